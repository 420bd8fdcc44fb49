//! The catalogue of planted bugs: for each, the guarantee that it breaks, what is wrong, and where.
//!
//! `proto/ids.rs` and `proto/time.rs` hold names and two sums: what could be wrong in them would be
//! wrong everywhere at once. `proto/message.rs` and `proto/limits.rs` hold types and numbers, and
//! what pictures the tree (`dump.rs`, `server/dump.rs`, `client/unanswered.rs`) is under no guarantee.

use crate::checkers::{
    ATOMIC, BAD_INPUT, BOUND, BOUNDED, EVERY_UPDATE, LINEARIZABLE, LOCKS, NO_LOST_WAKEUP, ONCE,
    OUTLIVES, OWN_WRITES,
};
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
        Bug::BytesBehindMessage,
        "proto/codec.rs",
        BAD_INPUT,
        "bytes behind a message are overlooked",
    ),
    planted(
        Bug::OverlongFrameAwaited,
        "proto/frame.rs",
        BAD_INPUT,
        "a frame that claims to be larger than allowed is waited for",
    ),
    planted(
        Bug::OrderOfMapCounts,
        "proto/value/compare.rs",
        NO_LOST_WAKEUP,
        "maps are compared in the order of their entries",
    ),
    planted(
        Bug::EntriesSummedInOrder,
        "proto/value/compare.rs",
        NO_LOST_WAKEUP,
        "the sum that tells different maps apart depends on the order of their entries",
    ),
    planted(
        Bug::SignOfZeroCounts,
        "proto/value/compare.rs",
        NO_LOST_WAKEUP,
        "a negative zero is not equal to a positive one",
    ),
    planted(
        Bug::BytesBehindValue,
        "proto/value.rs",
        BAD_INPUT,
        "bytes behind a value are overlooked",
    ),
    planted(
        Bug::KeyWatchedAsPrefix,
        "proto/interest.rs",
        EVERY_UPDATE,
        "a watch of one key gets those that begin with its name too",
    ),
    planted(
        Bug::LateReadsForgotten,
        "proto/interest.rs",
        NO_LOST_WAKEUP,
        "what a condition reads past the limit is forgotten, not taken for the whole namespace",
    ),
    planted(
        Bug::PrefixEndTooLow,
        "proto/store.rs",
        ATOMIC,
        "keys with a prefix end where a character above U+00FF follows it",
    ),
    planted(
        Bug::PageRepeatsLast,
        "proto/store.rs",
        LINEARIZABLE,
        "a scan that goes on after a key gives that key again",
    ),
    planted(
        Bug::OwnedAgainForgotten,
        "proto/store.rs",
        BOUND,
        "a key that its owner writes again is not among the owner's keys any more",
    ),
    planted(
        Bug::UsualValueLimit,
        "proto/store.rs",
        BOUNDED,
        "values are held against the usual limit, not the server's own",
    ),
    planted(
        Bug::UndoMissed,
        "proto/store/transaction.rs",
        ATOMIC,
        "the first write of a change set stays after a rollback",
    ),
    planted(
        Bug::OwnerNotReplaced,
        "proto/store/transaction.rs",
        BOUND,
        "a key keeps its owner when another process overwrites it",
    ),
    planted(
        Bug::RollbackTakesRevision,
        "proto/store/transaction.rs",
        LINEARIZABLE,
        "a change set of several keys that is rolled back takes a revision all the same",
    ),
    planted(
        Bug::UndoKeepsLast,
        "proto/store/transaction.rs",
        ATOMIC,
        "the undo log keeps what a key was before its last change, not before its first",
    ),
    planted(
        Bug::RefusalForgotten,
        "proto/store/transaction.rs",
        ATOMIC,
        "a change set is committed though one of its writes was refused",
    ),
    planted(
        Bug::OwnerNotRestored,
        "proto/store/transaction.rs",
        BOUND,
        "a rollback gives keys back their values, not their owners",
    ),
    planted(
        Bug::OwnedCountedBefore,
        "proto/store/transaction.rs",
        BOUNDED,
        "whether a process owns too many keys is asked before the new one is counted",
    ),
    planted(
        Bug::AbsenceNotNoted,
        "proto/store/view.rs",
        NO_LOST_WAKEUP,
        "a condition that looks for an absent key is not noted to have read it",
    ),
    planted(
        Bug::PhantomsNotNoted,
        "proto/store/view.rs",
        NO_LOST_WAKEUP,
        "of a prefix that a condition reads only the keys that are there are noted",
    ),
    planted(
        Bug::OldestIsDropped,
        "proto/history.rs",
        EVERY_UPDATE,
        "the oldest revision held is told to be the newest that was dropped",
    ),
    planted(
        Bug::EncodedForFirstFilter,
        "proto/history.rs",
        EVERY_UPDATE,
        "an update is encoded for the filter that asks first, and kept for all",
    ),
    planted(
        Bug::DropNotedForOne,
        "proto/history.rs",
        EVERY_UPDATE,
        "a dropped change set of several namespaces is noted for the first of them only",
    ),
    planted(
        Bug::EncodedNotCounted,
        "proto/history.rs",
        BOUNDED,
        "the log does not count what it keeps encoded",
    ),
    planted(
        Bug::PastOfLastChange,
        "proto/history/touched.rs",
        LINEARIZABLE,
        "what a key held in the past is taken from its last change, not from the first one after",
    ),
    planted(
        Bug::ReadBehindReset,
        "proto/history/touched.rs",
        LINEARIZABLE,
        "the past before everything was replaced at once is read as if that had not happened",
    ),
    planted(
        Bug::AbsenceNotValidated,
        "proto/server/transactions.rs",
        LINEARIZABLE,
        "what a transaction has found absent is not looked at again when it commits",
    ),
    planted(
        Bug::SpanNotValidated,
        "proto/server/transactions.rs",
        LINEARIZABLE,
        "of the spans that a transaction has read nothing is looked at again when it commits",
    ),
    planted(
        Bug::CommitInPart,
        "proto/server/transactions.rs",
        ATOMIC,
        "of what a transaction writes the last operation is left out, if there are several",
    ),
    planted(
        Bug::LeaseOutlivesSession,
        "proto/server/transactions.rs",
        BOUND,
        "the leases of a session that has ended stay with nobody",
    ),
    planted(
        Bug::LeaseBarsNobody,
        "proto/server/transactions.rs",
        NO_LOST_WAKEUP,
        "while a lease is held, other transactions write what it is on",
    ),
    planted(
        Bug::LeaseGivenToTwo,
        "proto/server/leases.rs",
        NO_LOST_WAKEUP,
        "a lease is given at once, whoever holds another on the same",
    ),
    planted(
        Bug::PastPageOfPresent,
        "proto/server/past.rs",
        LINEARIZABLE,
        "a page of the past leaves out keys that are there no more",
    ),
    planted(
        Bug::PastLengthOfPresent,
        "proto/server/past.rs",
        LINEARIZABLE,
        "how many keys there were is told to be how many there are",
    ),
    planted(
        Bug::PrefixLengthForgotten,
        "proto/watch.rs",
        EVERY_UPDATE,
        "when one of two who watch a prefix leaves, keys are not looked up under its length any more",
    ),
    planted(
        Bug::IndexSpaceDropped,
        "proto/watch.rs",
        EVERY_UPDATE,
        "the last interest in a single key takes those in prefixes with it",
    ),
    planted(
        Bug::WholeKeyIsNoPrefix,
        "proto/watch.rs",
        EVERY_UPDATE,
        "a key that is itself the prefix that is watched is not found",
    ),
    planted(
        Bug::RetryAppliedTwice,
        "proto/session.rs",
        ONCE,
        "a retried request that was applied is applied again",
    ),
    planted(
        Bug::ResumeAtServerCursor,
        "proto/session.rs",
        EVERY_UPDATE,
        "after a resume a watch goes on where the server was, not the client",
    ),
    planted(
        Bug::ResumedWatchNotReady,
        "proto/session.rs",
        EVERY_UPDATE,
        "a watch that was put back by a resume is not served until something else stirs it",
    ),
    planted(
        Bug::WaitsNotInFlight,
        "proto/session.rs",
        BOUNDED,
        "requests that wait do not count among those in flight",
    ),
    planted(
        Bug::CommitIsARead,
        "proto/session.rs",
        ONCE,
        "a commit counts as a read, whose reply is not kept: sent again, it is done again",
    ),
    planted(
        Bug::FailedStartNotTold,
        "proto/keeper.rs",
        NO_LOST_WAKEUP,
        "that a process could not be started is not told",
    ),
    planted(
        Bug::StartedAfterEnd,
        "proto/keeper.rs",
        OUTLIVES,
        "a process that is asked for after the tree's end is started all the same",
    ),
    planted(
        Bug::GraceCountedTwice,
        "proto/keeper.rs",
        OUTLIVES,
        "the grace that a process is given counts twice",
    ),
    planted(
        Bug::GraceInOtherUnit,
        "proto/keeper.rs",
        OUTLIVES,
        "a grace in nanoseconds is taken for one in picoseconds",
    ),
    planted(
        Bug::TimeLimitCountedTwice,
        "proto/keeper.rs",
        OUTLIVES,
        "how long a process may run counts twice",
    ),
    planted(
        Bug::TimeLimitToldAsGrace,
        "proto/keeper.rs",
        BOUND,
        "who has run for too long is said to have been killed for its grace",
    ),
    planted(
        Bug::LongerGraceWins,
        "proto/keeper.rs",
        OUTLIVES,
        "of two graces the longer counts",
    ),
    planted(
        Bug::GraceToldAsKill,
        "proto/keeper.rs",
        BOUND,
        "who is killed as its grace is over is said to have been killed because somebody asked for it",
    ),
    planted(
        Bug::KillSparesTheAsked,
        "proto/keeper.rs",
        OUTLIVES,
        "who is asked to end is not killed before its grace is over, whoever wants it",
    ),
    planted(
        Bug::LateStarterNotAsked,
        "proto/keeper/stopping.rs",
        OUTLIVES,
        "who starts while the tree is being stopped is not asked to end",
    ),
    planted(
        Bug::TreeGraceForgotten,
        "proto/keeper/stopping.rs",
        OUTLIVES,
        "the tree has no grace of its own: it waits for its program for ever",
    ),
    planted(
        Bug::TreeGraceNotGiven,
        "proto/keeper/stopping.rs",
        OUTLIVES,
        "the grace of the tree is over as soon as it begins",
    ),
    planted(
        Bug::ReplyOfAnotherSession,
        "proto/server/mod.rs",
        ONCE,
        "a retry is answered by what was kept last for another session",
    ),
    planted(
        Bug::WatchNotAnnouncedAgain,
        "proto/server/mod.rs",
        EVERY_UPDATE,
        "a watch whose first answer was lost is answered again, but stays without updates",
    ),
    planted(
        Bug::GraceNotStopped,
        "proto/server/connections.rs",
        BOUND,
        "a session that came back in time is still ended when its grace time is over",
    ),
    planted(
        Bug::SecretNotAskedAgain,
        "proto/server/connections.rs",
        BAD_INPUT,
        "the secret of a process that was here before is not looked at",
    ),
    planted(
        Bug::LimitToldBackwards,
        "proto/server/wire.rs",
        BOUNDED,
        "of a limit, what was asked for and what is allowed are told the wrong way round",
    ),
    planted(
        Bug::LaterVersionIsGarbage,
        "proto/server/wire.rs",
        BAD_INPUT,
        "a hello of another version that has more in it is taken for garbage",
    ),
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
        Bug::CursorSkipsWrap,
        "proto/server/commits.rs",
        EVERY_UPDATE,
        "a cursor that was overtaken goes on at the oldest entry, and says nothing",
    ),
    planted(
        Bug::CreditEdgeSkipped,
        "proto/server/commits.rs",
        EVERY_UPDATE,
        "a cursor steps over the update that it has no credit for",
    ),
    planted(
        Bug::CreditLost,
        "proto/server/commits.rs",
        EVERY_UPDATE,
        "credit that comes while a watch lags does not wake it",
    ),
    planted(
        Bug::CursorJumpsAhead,
        "proto/server/commits.rs",
        EVERY_UPDATE,
        "a watch that lags is put at the newest revision of interest",
    ),
    planted(
        Bug::FutureStartMissed,
        "proto/server/commits.rs",
        EVERY_UPDATE,
        "a watch that begins in the future does not get the revision that it begins at",
    ),
    planted(
        Bug::FirstReadsCount,
        "proto/server/commits.rs",
        NO_LOST_WAKEUP,
        "a wait stays in the index under what it read first",
    ),
    planted(
        Bug::ReadsAddedThenRemoved,
        "proto/server/commits.rs",
        NO_LOST_WAKEUP,
        "the new reads of a wait are added before its old ones are removed: what is in both is lost",
    ),
    planted(
        Bug::CompactedForOthers,
        "proto/server/commits.rs",
        EVERY_UPDATE,
        "a watch that lags is ended when the log drops a key that it does not watch",
    ),
    planted(
        Bug::RevisionBeforeInsert,
        "proto/server/requests.rs",
        ONCE,
        "an insert is answered with the revision before its own",
    ),
    planted(
        Bug::LastUpdateMissed,
        "proto/server/requests.rs",
        LINEARIZABLE,
        "a range of updates ends before its last revision",
    ),
    planted(
        Bug::GapInUpdates,
        "proto/server/requests.rs",
        LINEARIZABLE,
        "a range of updates is given though some of it has been dropped",
    ),
    planted(
        Bug::WatchFromDropped,
        "proto/server/requests.rs",
        EVERY_UPDATE,
        "a watch may begin at the last revision that was dropped",
    ),
    planted(
        Bug::PingTellsUsersRevision,
        "proto/server/requests.rs",
        OWN_WRITES,
        "a ping tells the newest revision of the users' log, which knows no records",
    ),
    planted(
        Bug::PrefixesOfFirstKey,
        "proto/watch.rs",
        EVERY_UPDATE,
        "where there are more keys than prefixes, only the first key is asked which it has",
    ),
    planted(
        Bug::AllButOfEachKey,
        "proto/watch.rs",
        EVERY_UPDATE,
        "a change set with a key that a watch leaves out is left out whole",
    ),
    planted(
        Bug::FirstKeyFindsAll,
        "proto/watch.rs",
        EVERY_UPDATE,
        "of the keys of one change set only the first is looked up",
    ),
    planted(
        Bug::WatchesCountedBefore,
        "proto/server/requests.rs",
        BOUNDED,
        "whether a session has too many watches is asked before the new one is counted",
    ),
    planted(
        Bug::LockWaiterStays,
        "proto/locks.rs",
        LOCKS,
        "who gives up to wait for a lock keeps its place, and gets it",
    ),
    planted(
        Bug::LockLastInFirst,
        "proto/locks.rs",
        LOCKS,
        "of those who wait for a lock the last gets it",
    ),
    planted(
        Bug::LockTokenRepeated,
        "proto/locks.rs",
        LOCKS,
        "a lock that is passed on keeps the revision of its first grant",
    ),
    planted(
        Bug::LockKeptByCancelled,
        "proto/server/locks.rs",
        LOCKS,
        "a lock that was granted to one who no longer waits stays held",
    ),
    planted(
        Bug::LockOutlivesHolder,
        "proto/server/locks.rs",
        LOCKS,
        "the locks of a process outlive it",
    ),
    planted(
        Bug::LockGivenToTwo,
        "proto/server/locks.rs",
        LOCKS,
        "a lock that is given back is granted to the first two who wait",
    ),
    planted(
        Bug::MovedStaysChild,
        "proto/server/ending.rs",
        OUTLIVES,
        "who is moved to the root still ends with its parent",
    ),
    planted(
        Bug::ReleaseBeforeLastWrite,
        "proto/server/processes.rs",
        BOUND,
        "what a process owns is released before its last writes are read",
    ),
    planted(
        Bug::EndBeforeRelease,
        "proto/server/processes.rs",
        BOUND,
        "the end of a killed process is told before its release is committed",
    ),
    planted(
        Bug::ReleasedInTwo,
        "proto/server/processes.rs",
        BOUND,
        "what a dead process owned goes in one revision, its record tells it in the next",
    ),
    planted(
        Bug::SpawnedBeforeRecord,
        "proto/server/processes.rs",
        ONCE,
        "a spawn is answered with the revision before its record's",
    ),
    planted(
        Bug::TimedOutSaidUndone,
        "proto/client.rs",
        ONCE,
        "a write that was given up after it was sent is said to have had no effect",
    ),
    planted(
        Bug::InsertIsARead,
        "proto/client/calls.rs",
        ONCE,
        "an insert counts as a read, which has no effect when it is lost",
    ),
    planted(
        Bug::ResentInNewSession,
        "proto/client/link.rs",
        ONCE,
        "when the session is lost, what was sent in it is sent again in the next",
    ),
    planted(
        Bug::SentMarkForgotten,
        "proto/client/link.rs",
        ONCE,
        "a write that was sent in a lost session is said to have had no effect",
    ),
    planted(
        Bug::RestOfInputDropped,
        "proto/client/link.rs",
        EVERY_UPDATE,
        "what comes behind the rest of a cut frame is dropped",
    ),
    planted(
        Bug::QueueLostOnResume,
        "proto/client/watches.rs",
        EVERY_UPDATE,
        "updates that were received and not taken yet are dropped by a resume",
    ),
    planted(
        Bug::ReadsAtNow,
        "api/run.rs",
        LINEARIZABLE,
        "every read of a transaction is of the present",
    ),
    planted(
        Bug::DoomedRunTold,
        "api/transaction.rs",
        LINEARIZABLE,
        "what came of a run that could not read what it had to is told",
    ),
    planted(
        Bug::WriteLeftToReader,
        "client/mod.rs",
        NO_LOST_WAKEUP,
        "a request is left to the reader to send, who is asleep",
    ),
    planted(
        Bug::RoleHandedToNobody,
        "client/roles.rs",
        NO_LOST_WAKEUP,
        "a thread that leaves the reader's role at its deadline hands it to nobody",
    ),
    planted(
        Bug::OneWokenPerRead,
        "client/roles.rs",
        NO_LOST_WAKEUP,
        "of the threads whose replies have come in one read, one is woken",
    ),
    planted(
        Bug::WokenForGood,
        "client/roles.rs",
        NO_LOST_WAKEUP,
        "a thread that was woken counts as on its way even when it sleeps again",
    ),
    planted(
        Bug::FedFromNow,
        "api/fed.rs",
        LINEARIZABLE,
        "a condition that runs in its caller is fed from now on, not from what it has read on",
    ),
    planted(
        Bug::FedAbsenceOverlooked,
        "api/fed.rs",
        NO_LOST_WAKEUP,
        "such a condition is not tested again when a key comes that it had not found",
    ),
    planted(
        Bug::FedRemovalMissed,
        "api/fed.rs",
        LINEARIZABLE,
        "a key that is removed stays in the copy that such a condition reads",
    ),
    planted(
        Bug::FedAtAnyRevision,
        "api/fed.rs",
        LINEARIZABLE,
        "such a condition reads each key as it is when it comes to it",
    ),
    planted(
        Bug::UnknownSaysLost,
        "client/error.rs",
        ONCE,
        "an unknown outcome is told as a lost session, which has had no effect",
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
