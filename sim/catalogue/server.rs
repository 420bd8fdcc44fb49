//! Bugs planted in the server's machine.

use super::{Bug, Planted, planted};
use crate::checkers::{
    ATOMIC, BAD_INPUT, BOUND, BOUNDED, EVERY_UPDATE, LINEARIZABLE, LOCKS, NO_LOST_WAKEUP, ONCE,
    OUTLIVES, OWN_WRITES,
};

/// By file.
pub(super) const BUGS: [Planted; 38] = [
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
        Bug::WatchesCountedBefore,
        "proto/server/requests.rs",
        BOUNDED,
        "whether a session has too many watches is asked before the new one is counted",
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
];
