//! The catalogue of planted bugs: for each, the guarantee that it breaks, what is wrong, and where.
//!
//! `proto/ids.rs` and `proto/time.rs` hold names and two sums: what could be wrong in them would be
//! wrong everywhere at once.

use crate::checkers::{ATOMIC, BOUND, EVERY_UPDATE, NO_LOST_WAKEUP, ONCE};
use zproc::seam::proto::planted::Bug;

/// One planted bug.
#[cfg_attr(
    not(any(test, feature = "planted")),
    expect(dead_code, reason = "only a build with the bugs plants them")
)]
pub(crate) struct Planted {
    pub(crate) bug: Bug,
    /// The guarantee that it breaks, whose checker must find it.
    pub(crate) guarantee: &'static str,
    /// What is wrong.
    pub(crate) explanation: &'static str,
    /// Where it is planted.
    pub(crate) file: &'static str,
}

const fn planted(
    bug: Bug,
    file: &'static str,
    guarantee: &'static str,
    explanation: &'static str,
) -> Planted {
    Planted {
        bug,
        guarantee,
        explanation,
        file,
    }
}

/// All of them, by file.
pub(crate) const CATALOGUE: &[Planted] = &[
    planted(
        Bug::WaitNotRetested,
        "proto/server/commits.rs",
        NO_LOST_WAKEUP,
        "a commit does not test the waits again that read by prefix",
    ),
    planted(
        Bug::WaitSkipsPresent,
        "proto/server/commits.rs",
        NO_LOST_WAKEUP,
        "a wait looks at the next revision first",
    ),
    planted(
        Bug::RetryAppliedTwice,
        "proto/session.rs",
        ONCE,
        "a retried request that was applied is applied again",
    ),
    planted(
        Bug::UndoMissed,
        "proto/store/transaction.rs",
        ATOMIC,
        "the first write of a change set stays after a rollback",
    ),
    planted(
        Bug::ReleaseBeforeLastWrite,
        "proto/server/processes.rs",
        BOUND,
        "what a process owns is released before its last writes are read",
    ),
    planted(
        Bug::CursorSkipsWrap,
        "proto/server/commits.rs",
        EVERY_UPDATE,
        "a cursor that was overtaken goes on at the oldest entry, and says nothing",
    ),
    planted(
        Bug::ResumeAtServerCursor,
        "proto/session.rs",
        EVERY_UPDATE,
        "after a resume a watch goes on where the server was, not the client",
    ),
    planted(
        Bug::CreditLost,
        "proto/server/commits.rs",
        EVERY_UPDATE,
        "credit that comes while a watch lags does not wake it",
    ),
    planted(
        Bug::OwnerNotReplaced,
        "proto/store/transaction.rs",
        BOUND,
        "a key keeps its owner when another process overwrites it",
    ),
    planted(
        Bug::ResendUnderNewSeq,
        "proto/client/link.rs",
        ONCE,
        "back on a new connection, unanswered requests go out under new numbers",
    ),
    planted(
        Bug::RoleHandedToNobody,
        "client/roles.rs",
        NO_LOST_WAKEUP,
        "a thread leaves the reader's role and hands it to nobody",
    ),
    planted(
        Bug::EndBeforeRelease,
        "proto/server/processes.rs",
        BOUND,
        "the end of a killed process is told before its release is committed",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bug_is_listed_twice() {
        for (index, planted) in CATALOGUE.iter().enumerate() {
            let before = &CATALOGUE[..index];
            assert!(before.iter().all(|other| other.bug != planted.bug));
            assert!(!planted.explanation.is_empty() && !planted.file.is_empty());
            assert!(crate::checkers::GUARANTEES.contains(&planted.guarantee));
        }
    }
}
