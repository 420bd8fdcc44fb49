//! "Sometimes" marks: places that an ensemble of simulated runs must get to.
//!
//! A checker that sees nothing wrong says little if the hard places were never reached. So each
//! place that a reader would ask "does the simulation ever get there?" of has a mark here, and a
//! run over many seeds fails if one was not reached that is not marked rare (the idea is
//! Antithesis' "sometimes assertions", and FoundationDB's coverage macros before them).
//!
//! Without the feature `simulation` all of this is constant and costs nothing. With it a mark that
//! was reached before costs one relaxed load.

macro_rules! marks {
    ($($name:ident: $sentence:literal $(, rare: $reason:literal)?;)*) => {
        /// A place in the core, the client, the api or the simulator's workloads.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mark {
            $(#[doc = $sentence] $name,)*
        }

        impl Mark {
            /// All there are.
            pub const ALL: &'static [Mark] = &[$(Mark::$name),*];

            /// Its name in the source.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Mark::$name => stringify!($name),)* }
            }

            /// What was reached.
            #[must_use]
            pub fn sentence(self) -> &'static str {
                match self { $(Mark::$name => $sentence,)* }
            }

            /// Why an ensemble may do without it, if it may.
            #[must_use]
            pub fn rare(self) -> Option<&'static str> {
                match self { $(Mark::$name => marks!(@rare $($reason)?),)* }
            }
        }
    };
    (@rare) => { None };
    (@rare $reason:literal) => { Some($reason) };
}

marks! {
    // Sessions and connections, as the server sees them.
    ResumeAfterItsEndWasSeen: "a client came back to a session whose lost connection was known";
    ResumeBeforeItsEndWasSeen: "a client came back before the end of its old connection had come";
    ResumeWithReplies: "a session was resumed with replies that had to be kept";
    ResumeWithoutReplies: "a session was resumed with no reply kept";
    ResumeWithWaits: "a session was resumed while it waited";
    ResumeWithLease: "a session was resumed that had a lease, or queued for one";
    WatchUnheardOf: "a session was resumed by a client that had not heard of a watch's begin";
    ResumeToldCompactedAgain: "a client believed in a watch whose end it had not heard of",
        rare: "the news of a compaction must be lost with the connection it went out on";
    ResumeRefused: "a client came back to a session that was there no more";
    WelcomeLost: "a welcome was lost, and the unused session replaced";
    SecondSession: "a process asked for a session beside the one it has",
        rare: "the simulated client never does, and a lost welcome leaves the old session unused";
    HelloTooLate: "a connection did not say hello in time";
    SilentDropped: "a connection that had said nothing yet made room for another";
    GraceEnded: "a session without a connection ended by itself";
    GraceOwned: "what a process owned was released though it lives: its session was lost";
    GoodbyeOwned: "what the program owned was released at its goodbye";
    RetryAnswered: "a request came twice and was answered from its kept reply";
    RetryInProgress: "a request came twice and was still being waited for";
    RetryReadAgain: "a read came twice and was read again";
    RetryWatchGoesOn: "the begin of a watch came twice, and the watch went on";
    RetryWatchGone: "the begin of a watch came twice, and the watch had ended by then";
    FrameInPieces: "half a frame had arrived at the server";
    TurnOver: "a connection had more frames to give than one turn takes";
    OutboxFull: "a connection's requests were not read, for it did not take its replies";
    AfterRefusal: "what came behind a refusal was dropped";
    // Requests.
    AtomicError: "an atomic function returned an error after a write, and was rolled back";
    AtomicPanic: "an atomic function panicked after a write, and was rolled back";
    AtomicRefused: "an atomic function went on after a refused write, and was rolled back";
    AtomicReadOnly: "an atomic function changed nothing";
    InsertFound: "get_or_insert found a value";
    Inserted: "get_or_insert inserted one";
    BatchUnmet: "what a batch requires did not hold";
    BatchResets: "a namespace was replaced that was too large to list";
    CommitConflict: "something that a transaction had read was changed when it was to commit";
    ConflictOfKey: "a key that a transaction had read was written meanwhile";
    ConflictOfAbsence: "a key that a transaction had found absent was there meanwhile, or is";
    ConflictOfLostAbsence: "nobody knew any more whether a key had stayed absent since a transaction's read";
    ConflictOfSpan: "a change came to a span that a transaction had read";
    ConflictOfLostSpan: "nobody knew any more what had come to a span since a transaction's read";
    SpanUntouched: "the namespace of a span that a transaction had read was not changed at all";
    SpanStands: "others' changes had come beside a span that a transaction had read, and none to it";
    CommitLeaseOver: "a transaction came through whose lease was over by then";
    CommitConflictLeased: "a transaction was broken in spite of its lease";
    CommitBarred: "a transaction was to write what another had a lease on";
    CommitOfSeveral: "a transaction changed several namespaces";
    ValidationGivenUp: "too much was changed since a transaction's reads to be looked through",
        rare: "needs VALIDATION_STEPS_MAX changes during one run";
    LeaseAtOnce: "a lease was free when it was asked for";
    LeaseLater: "a lease was queued for and given later";
    LeaseTimedOut: "the time of a lease was over";
    LeaseOnAll: "a lease was asked for on a whole namespace";
    LeaseGivenBack: "a lease was given back by a transaction that had nothing to write";
    LeaseGivenUp: "who queued for a lease gave up";
    LeaseGivenUpTooLate: "who queued for a lease gave up, and had been given it by then",
        rare: "a time limit must end while the grant is on its way";
    LeaseQueueLeftBySession: "a session ended that queued for a lease";
    LeaseEndsWithSession: "a lease ended with the session that held it";
    TransactionRead: "a transaction only read";
    TransactionDoomed: "a transaction could not read at its revision any more, and ran again";
    DoomedRunDiscarded: "a transaction's run failed that could not have come to its end, and ran again";
    TransactionRunAgain: "a transaction ran again after a conflict";
    TransactionQueuedAtOnce: "a transaction queued for what the last one of its function had to queue for, before it ran";
    TransactionLeasedOther: "a transaction that had queued at once touched other keys";
    TransactionQueuedAgain: "a transaction touched other keys than it had a lease on, and queued again";
    TransactionStopped: "a transaction ran again no more, as its process was asked to end";
    FunctionHere: "a function of the program's ran in its caller";
    RunsDiffer: "a function that was run twice in the server did not do the same",
        rare: "the workloads' functions depend on nothing but the state";
    RunsHereDiffer: "a function that was run twice in its caller did not do the same",
        rare: "the workloads' functions depend on nothing but the state";
    VerdictsDiffer: "a condition that was tested twice did not say the same",
        rare: "the workloads' functions depend on nothing but the state";
    CallNested: "a call was refused that stood in a function of the caller's";
    TransactionContended: "a transaction was given up as contended",
        rare: "needs plain writes throughout the time of a lease";
    WatchSkippedOwn: "a watch left out what its own process had changed";
    WatchSkippedIdentical: "a watch left out a value equal to the one before";
    WatchWentLive: "a watch dropped what it had not given yet";
    PageMore: "a scan needed more than one page";
    UpdatesCompacted: "the updates between two pages of a scan were dropped";
    PastFromLog: "what a key held in the past was taken from the log";
    PastCompacted: "a read of the past came too late";
    PastIsFuture: "a read was to be of a revision that was still to come";
    UpdatesInParts: "the updates between two pages of a scan did not fit one answer";
    RepliesFull: "there was no room to keep one more reply",
        rare: "needs 64 MiB of replies that are not acknowledged";
    // The state and its log.
    OwnerOverwrites: "a key was written again by its owner";
    OwnerChanges: "an owned key was overwritten by another process";
    OwnerLet: "an owned key was overwritten by a value that nobody owns";
    ChangeSetTooLarge: "a change set was too large and was rolled back";
    ResetLogged: "a namespace was cleared that was too large to list";
    Freed: "what such a namespace had held was freed after the fact";
    LeafSplit: "a namespace had too many entries for its leaf, and got another";
    LeavesJoined: "a namespace had so few entries that two leaves became one";
    LogWrapsByEntries: "the log dropped an entry for the number of entries";
    LogWrapsByBytes: "the log dropped an entry for their bytes";
    EncodedOnce: "an update that was encoded for one watch was sent to another";
    EncodedApart: "an update was encoded for a watch that sees a part of it";
    // Waits.
    WaitAtOnce: "a wait's condition held at its begin";
    WaitLater: "a wait's condition came true later";
    WaitReadsOther: "a condition read other keys than the time before";
    WaitTestedInVain: "a condition was tested again and did not hold";
    WaitFailed: "a condition returned an error or panicked";
    WaitCancelled: "a wait was cancelled";
    CancelTooLate: "a cancel crossed the answer of its wait";
    // Watches.
    WatchFromPast: "a watch began at a revision before the present one";
    WatchFromFuture: "a watch began at a revision that was still to come";
    WatchCompactedAtStart: "a watch was to begin at what the log had dropped";
    WatchCompactedWhileBehind: "a watch that lagged lost what it needed";
    WatchCompactedAfterResume: "a watch went back, after a lost connection, to what was dropped";
    WatchRewound: "a watch went back, after a lost connection, to what the client had seen";
    WatchNotRewound: "a watch had lost nothing with its connection";
    WatchUnannounced: "a watch waited to be announced again, and took no update";
    WatchOutOfCredit: "a watch had no credit for the next update";
    WatchCredited: "a watch that was behind got new credit";
    WatchTurnOver: "a watch was left for the next turn, as it had looked at enough of the log";
    WatchWaitsForRoom: "a watch waited, as enough was queued for its connection";
    ChangesMerged: "a key that had changed several times was told once";
    ChangesInParts: "what had changed since a revision did not fit one answer";
    LatestGoesOn: "the changes since a revision were asked for in more than one go";
    ChangesOwnLeftOut: "what had changed since a revision was told but for what its process had done";
    ChangesReset: "what had changed since a revision was that all was replaced";
    LatestReset: "who looked for the newest was told that all was replaced";
    LatestCutShort: "all was replaced, and who looked for the newest asked for no more of it",
        rare: "needs a reset among more changes than one answer goes through";
    ChangesTooMany: "what had changed since a revision was too much for one update",
        rare: "needs more than 4 MiB of changes between two looks";
    HistoryInParts: "what became of a key came in parts";
    HistoryCutShort: "what became of a key was no longer held in whole";
    ChangesCompacted: "what had changed since a revision was dropped in part";
    // Locks.
    LockAtOnce: "a lock was granted at once";
    LockQueued: "a request waited for a lock";
    LockLater: "a lock was granted to one who had waited";
    LockNotTried: "a lock that was tried was another's";
    LockGivenBack: "a lock was given back";
    LockCancelledQueued: "one who waited for a lock gave up";
    LockCancelledGranted: "a lock was granted to one who had given up, and taken back";
    LockReleased: "a lock was released by the end of its holder's session";
    LockInherited: "a lock went from one who had ended to one who waited, in one revision";
    // Processes.
    NestedSpawn: "a process was spawned by another than the program";
    JoinAtOnce: "a join found the process ended";
    JoinLater: "a join waited for the process's end";
    JoinHeld: "a join's answer was held back, for want of room",
        rare: "needs 64 MiB of replies that are not acknowledged";
    JoinUnknown: "a join was of a process that is forgotten",
        rare: "needs more ended processes than PROCESSES_ENDED_MAX";
    DiedConnected: "a process died whose connection was there: it was drained";
    DiedDetached: "a process died without a connection";
    DiedUnconnected: "a process died before it had connected";
    NotStarted: "a process could not be started";
    LastWrites: "a dead process's connection still held whole frames";
    LastHalfFrame: "a dead process's connection ended in half a frame";
    EndReleased: "the end of a process released what it owned";
    EndReleasedNothing: "a process ended that owned nothing";
    ChildrenKilled: "the end of a process ended its children";
    KilledBeforeStart: "a process was to be killed before it ran";
    KillAsked: "a process was killed as somebody asked for it";
    StopAsked: "a process was asked to end";
    MovedToRoot: "a process was moved to the root while it lived";
    EndTooLate: "a process was to be ended that had ended";
    AskedOutlivedParent: "a process that had been asked to end kept its grace as its parent ended";
    TreeStopped: "the program was asked to end, and so was everybody in its tree";
    TreeStoppedInTime: "a tree that was being stopped ended as all had, and the program had let go";
    TreeStoppedLate: "the grace of a tree that was being stopped was over";
    StartedLate: "a process was started while its tree was being stopped";
    RecordEvicted: "the record of an ended process was forgotten",
        rare: "needs more ended processes than PROCESSES_ENDED_MAX";
    PartsFull: "there was no room for one more large argument or result on its way";
    ResultDropped: "a large result had to make room for others";
    PartsLost: "a session ended that had sent some parts of something large";
    FinishedAndDied: "a process had said what came of it, and died of something else",
        rare: "a crash must strike between a Finish and the end of the main thread";
    // Programs at a server that stands alone.
    ProgramTakenIn: "a program was taken in by a server that stands alone";
    ProgramTooLate: "a keeper had come whose program did not in time";
    ProgramGoneAlone: "a program was gone of which nothing else was left";
    ProgramGoneWithOthers: "a program was gone, and what it had started was buried with it";
    // The client's machine.
    ClientFrameInPieces: "half a frame was kept until the rest was read";
    ClientPrefixInPieces: "half the length of a frame was kept";
    Resent: "a request was sent again on a new connection";
    OutcomeUnknownTold: "a caller was told that nobody knows what became of its call";
    SessionLostTold: "a caller was told that the session was lost";
    WatchLostTold: "a watch was told that the session was lost";
    ReplyRepeated: "a reply came for a request that was answered or given up";
    ReplyCrossedCancel: "a reply came for a wait that was cancelled";
    Withdrawn: "a request was given up before it was sent";
    WithdrawnBeforeOthers: "a request was given up before it was sent, with others behind it";
    WaitGivenUpUp: "a wait was given up on the connection it had gone out on";
    WaitGivenUpDown: "a wait was given up while its connection was lost";
    WriteGivenUp: "a write that was sent was given up";
    ReadGivenUp: "a read that was sent was given up";
    WatchGivenUp: "the begin of a watch was given up",
        rare: "only with a time limit, which ends between sending and the answer";
    AcksAlone: "acknowledgements went in a message of their own";
    Probe: "a ping of the machine's own asked for a confirmation";
    CreditGiven: "credit was given back to a watch";
    CreditAtWelcome: "credit was given back between hello and welcome",
        rare: "needs a quarter of the credit taken in the moment between hello and welcome";
    UpdateAfterEnd: "an update came for a watch that is over";
    CompactedTold: "a watch was told that the log has dropped what it needs";
    UnwatchDelayed: "the end of a watch waited for room for its request",
        rare: "needs IN_FLIGHT_MAX requests at once";
    WindowFull: "a thread waited for room for one more request",
        rare: "needs IN_FLIGHT_MAX requests at once, and runs have a few threads";
    ComparedEnough: "a turn ended because many bytes of values had been compared in it",
        rare: "needs megabytes of values that somebody waits for";
    WaitsWindowFull: "a thread waited for another's wait to end, so that requests that don't wait have room";
    ConnectFailed: "a connection could not be opened, and was tried again";
    ServerGivenUp: "a client gave up to come back";
    NoWelcome: "a server did not say welcome in time";
    // The client's roles.
    WriterBlocked: "the writer found the link full";
    WriterFailed: "a write failed, and the reader found out why";
    WriterKeptSupplied: "a writer that others kept supplied left the rest to the reader",
        rare: "needs WRITES_PER_TURN_MAX writes in one turn";
    WriterLostLink: "a link was replaced under the writer",
        rare: "the reader must lose the link within one write";
    ReaderWaitsToWrite: "the reader waited for room to write, too";
    ReaderLostLink: "the reader lost the link";
    ReaderHandedOn: "the reader's role was handed to a thread that slept";
    ReaderTimedOut: "the reader left at its deadline";
    SleeperTimedOut: "a thread that slept left at its deadline";
    ReaderReadsOn: "a read filled the buffer, and the reader read on";
    ReaderSawStop: "the reader saw that its process was asked to end";
    WaitBegunStopped: "a wait was begun in a process that was asked to end";
    BackedOff: "a thread slept until it was time to connect again";
    GoneWhileConnecting: "a client closed while a connection was being opened",
        rare: "needs another thread that closes in that moment, and only the program's end closes";
    // The api.
    SnapshotAligned: "a snapshot's pages were brought to one revision by updates";
    SnapshotRestarted: "a snapshot began again";
    SnapshotGivenUp: "a snapshot was given up",
        rare: "needs ATTEMPTS_MAX scans that each lose against the end of the log";
    WatchLookedBehind: "a watch that was asked for what there is found that an update was on its way",
        rare: "it must have been committed and not have come";
    WatchTimedOut: "a watch gave nothing in the time allowed, and went on";
    WatchFused: "a watch that had ended gave its error again, or nothing";
    WrongType: "a value was of another type than was asked for";
    Dumped: "somebody asked who waits for what";
    FedRunDoomed: "what a condition was to read here was dropped from the log meanwhile";
    FedBegunAgain: "a wait here began again, as its copy could not be brought on";
    FedByMore: "a condition here read more than one namespace";
    FedReset: "a namespace that a condition here had read was emptied and not listed";
    FedCaughtUp: "a condition here read more when updates behind its revision had come already";
    WhenCompacted: "who wants all the times that something is true was too far behind";
    // The workloads.
    LimitOfOne: "one limit of a run was as small as it may be";
    HastyWriteMissed: "a role's write was not answered in its time";
    HastyWaitMissed: "a role's wait did not come true in its time";
    HastyWaitMet: "a role's wait with a time limit came true in it";
    WatcherStartedOver: "a watcher went on at the oldest revision that the log held";
    WatcherImpatient: "a watcher found by itself that all was done";
    UpdateReleased: "a watcher saw what a dead process had owned go";
    UpdateReset: "a watcher saw a namespace cleared that was too large to list";
    ParentSawDeath: "a parent joined a child that was killed";
    ParentSawPanic: "a parent joined a child that panicked";
    ParentSawNoStart: "a parent joined a child that could not be started";
    EnderKilled: "a process killed one that would not have ended by itself";
    EnderStopped: "a process that was asked to end returned";
    EnderLostPatience: "a process that did not end when it was asked to was killed";
    EnderSawTimeLimit: "a process was killed when its time limit was over";
    EnderKeptTimeLimit: "a process returned before its time limit was over";
    EnderSawChildStay: "a process saw the child of one that it had killed stay, as it was at the root";
    EnderLeftChildInGrace: "a process ended, and left a child that it had asked to end";
    EnderSawChildGo: "a process saw the child of one that it had killed go with its parent";
    MemberLostSession: "a member of the crew ended by the loss of its session";
    DumpSawWaits: "a dump told of a wait";
}

/// Marks that were reached in this program.
#[cfg(feature = "simulation")]
static REACHED: [std::sync::atomic::AtomicBool; Mark::ALL.len()] =
    [const { std::sync::atomic::AtomicBool::new(false) }; Mark::ALL.len()];

/// This place was reached.
#[cfg(feature = "simulation")]
pub fn reached(mark: Mark) {
    set(&REACHED[mark as usize]);
}

/// This place was reached.
#[cfg(not(feature = "simulation"))]
#[inline(always)]
pub const fn reached(_mark: Mark) {}

/// This place was reached, if `so`.
#[inline(always)]
pub fn reached_if(so: bool, mark: Mark) {
    if cfg!(feature = "simulation") && so {
        reached(mark);
    }
}

/// Sets a flag that is most often set already.
#[cfg(feature = "simulation")]
pub(super) fn set(flag: &std::sync::atomic::AtomicBool) {
    use std::sync::atomic::Ordering::Relaxed;
    // A store would take the cache line from the other jobs, a load leaves it with all.
    if !flag.load(Relaxed) {
        flag.store(true, Relaxed);
    }
}

/// The marks that no run of this program has reached.
#[cfg(feature = "simulation")]
#[must_use]
pub fn unreached() -> Vec<Mark> {
    let missed = |mark: &Mark| !REACHED[*mark as usize].load(std::sync::atomic::Ordering::Relaxed);
    Mark::ALL.iter().copied().filter(missed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mark_says_what_was_reached() {
        let mut sentences = std::collections::BTreeSet::new();
        for (place, mark) in Mark::ALL.iter().enumerate() {
            assert_eq!(*mark as usize, place);
            assert!(
                sentences.insert(mark.sentence()),
                "{mark:?} says the same as another"
            );
            assert!(
                mark.rare().is_none_or(|reason| reason.len() > 10),
                "{mark:?}"
            );
        }
    }

    #[cfg(feature = "simulation")]
    #[test]
    fn what_is_reached_is_no_longer_unreached() {
        // Nothing in the crate's own tests asks the other side to be late.
        assert!(unreached().contains(&Mark::ParentSawNoStart));
        reached_if(false, Mark::ParentSawNoStart);
        assert!(unreached().contains(&Mark::ParentSawNoStart));
        reached_if(true, Mark::ParentSawNoStart);
        assert!(!unreached().contains(&Mark::ParentSawNoStart));
    }
}
