//! Planted bugs: real mistakes that the simulator's checkers must find.
//!
//! Without the feature `planted` every question here is a constant `false` and costs nothing.

/// One planted bug. The simulator's catalogue says what each breaks and who must find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum Bug {
    // proto/codec.rs
    /// Bytes behind a message are overlooked.
    BytesBehindMessage = 1,

    // proto/frame.rs
    /// A frame that claims to be larger than allowed is waited for.
    OverlongFrameAwaited,

    // proto/value.rs
    /// Bytes behind a value are overlooked.
    BytesBehindValue,

    // proto/value/compare.rs
    /// Maps are compared in the order of their entries.
    OrderOfMapCounts,
    /// A negative zero is not equal to a positive one.
    SignOfZeroCounts,
    /// A value of the state is compared by the digest of another that is as long.
    DigestOfSameLength,

    // proto/interest.rs
    /// A watch of one key gets those that begin with its name too.
    KeyWatchedAsPrefix,
    /// What a condition reads past the limit is forgotten, not taken for the whole namespace.
    LateReadsForgotten,

    // proto/locks.rs
    /// Who gives up to wait for a lock keeps its place, and gets it.
    LockWaiterStays,
    /// Of those who wait for a lock the last gets it.
    LockLastInFirst,
    /// A lock that is passed on keeps the revision of its first grant.
    LockTokenRepeated,

    // proto/store.rs
    /// Keys with a prefix end where a character above U+00FF follows it.
    PrefixEndTooLow,
    /// A scan that goes on after a key gives that key again.
    PageRepeatsLast,
    /// A key that its owner writes again is not among the owner's keys any more.
    OwnedAgainForgotten,
    /// Values are held against the usual limit, not the server's own.
    UsualValueLimit,

    // proto/store/transaction.rs
    /// The first write of a change set stays after a rollback.
    UndoMissed,
    /// A key keeps its owner when another process overwrites it.
    OwnerNotReplaced,
    /// A change set of several keys that is rolled back takes a revision all the same.
    RollbackTakesRevision,
    /// The undo log keeps what a key was before its last change, not before its first.
    UndoKeepsLast,
    /// A change set is committed though one of its writes was refused.
    RefusalForgotten,
    /// A rollback gives keys back their values, not their owners.
    OwnerNotRestored,
    /// Whether a process owns too many keys is asked before the new one is counted.
    OwnedCountedBefore,

    // proto/store/view.rs
    /// A condition that looks for an absent key is not noted to have read it.
    AbsenceNotNoted,
    /// Of a prefix that a condition reads only the keys that are there are noted.
    PhantomsNotNoted,

    // proto/history.rs
    /// The oldest revision held is told to be the newest that was dropped.
    OldestIsDropped,
    /// An update is encoded for the filter that asks first, and kept for all.
    EncodedForFirstFilter,
    /// A dropped change set of several namespaces is noted for the first of them only.
    DropNotedForOne,
    /// The log does not count what it keeps encoded.
    EncodedNotCounted,

    // proto/history/touched.rs
    /// What a key held in the past is taken from its last change, not from the first one after.
    PastOfLastChange,
    /// The past before everything was replaced at once is read as if that had not happened.
    ReadBehindReset,

    // proto/watch.rs
    /// When one of two who watch a prefix leaves, keys are not looked up under its length any
    /// more.
    PrefixLengthForgotten,
    /// The last interest in a single key takes those in prefixes with it.
    IndexSpaceDropped,
    /// Of the keys of one change set only the first is looked up.
    FirstKeyFindsAll,
    /// Where there are more keys than prefixes, only the first key is asked which it has.
    PrefixesOfFirstKey,
    /// A change set with a key that a watch leaves out is left out whole.
    AllButOfEachKey,
    /// A key that is itself the prefix that is watched is not found.
    WholeKeyIsNoPrefix,

    // proto/session.rs
    /// A retried request that was applied is applied again.
    RetryAppliedTwice,
    /// After a resume a watch goes on where the server was, not the client.
    ResumeAtServerCursor,
    /// A watch that was put back by a resume is not served until something else stirs it.
    ResumedWatchNotReady,
    /// Requests that wait do not count among those in flight.
    WaitsNotInFlight,
    /// A commit counts as a read, whose reply is not kept: sent again, it is done again.
    CommitIsARead,

    // proto/keeper.rs
    /// That a process could not be started is not told.
    FailedStartNotTold,
    /// A process that is asked for after the tree's end is started all the same.
    StartedAfterEnd,
    /// The grace that a process is given counts twice.
    GraceCountedTwice,
    /// A grace in nanoseconds is taken for one in picoseconds.
    GraceInOtherUnit,
    /// How long a process may run counts twice.
    TimeLimitCountedTwice,
    /// Who has run for too long is said to have been killed for its grace.
    TimeLimitToldAsGrace,
    /// Of two graces the longer counts.
    LongerGraceWins,
    /// Who is killed as its grace is over is said to have been killed because somebody asked for it.
    GraceToldAsKill,
    /// Who is asked to end is not killed before its grace is over, whoever wants it.
    KillSparesTheAsked,
    /// Who is asked to end is killed when its parent ends, whatever is left of its grace.
    AskedEndsWithParent,

    // proto/keeper/stopping.rs
    /// Who starts while the tree is being stopped is not asked to end.
    LateStarterNotAsked,
    /// The tree has no grace of its own: it waits for its program for ever.
    TreeGraceForgotten,
    /// The grace of the tree is over as soon as it begins.
    TreeGraceNotGiven,

    // proto/server/mod.rs
    /// A retry is answered by what was kept last for another session.
    ReplyOfAnotherSession,
    /// A watch whose first answer was lost is answered again, but stays without updates.
    WatchNotAnnouncedAgain,

    // proto/server/connections.rs
    /// A session that came back in time is still ended when its grace time is over.
    GraceNotStopped,
    /// The secret of a process that was here before is not looked at.
    SecretNotAskedAgain,

    // proto/server/wire.rs
    /// Of a limit, what was asked for and what is allowed are told the wrong way round.
    LimitToldBackwards,
    /// A hello of another version that has more in it is taken for garbage.
    LaterVersionIsGarbage,

    // proto/server/commits.rs
    /// A commit does not test the waits again that read by prefix.
    WaitNotRetested,
    /// A wait looks at the next revision first.
    WaitSkipsPresent,
    /// A cursor that was overtaken goes on at the oldest entry, and says nothing.
    CursorSkipsWrap,
    /// Credit that comes while a watch lags does not wake it.
    CreditLost,
    /// A cursor steps over the update that it has no credit for.
    CreditEdgeSkipped,
    /// A watch that lags is put at the newest revision of interest.
    CursorJumpsAhead,
    /// A watch that begins in the future does not get the revision that it begins at.
    FutureStartMissed,
    /// A wait stays in the index under what it read first.
    FirstReadsCount,
    /// The new reads of a wait are added before its old ones are removed: what is in both is
    /// lost.
    ReadsAddedThenRemoved,
    /// A watch that lags is ended when the log drops a key that it does not watch.
    CompactedForOthers,

    // proto/server/changes.rs
    /// Of the changes of a key the first counts, not the last.
    FirstChangeKept,
    /// Who waits for a change since a revision waits for the next.
    ChangeSinceOverlooked,

    // proto/server/requests.rs
    /// Who asks for the updates of one key is told all that came with them.
    UpdatesNotFiltered,
    /// An insert is answered with the revision before its own.
    RevisionBeforeInsert,
    /// A range of updates ends before its last revision.
    LastUpdateMissed,
    /// A range of updates is given though some of it has been dropped.
    GapInUpdates,
    /// A watch may begin at the last revision that was dropped.
    WatchFromDropped,
    /// A ping tells the newest revision of the users' log, which knows no records.
    PingTellsUsersRevision,
    /// Whether a session has too many watches is asked before the new one is counted.
    WatchesCountedBefore,

    // proto/server/locks.rs
    /// A lock that was granted to one who no longer waits stays held.
    LockKeptByCancelled,
    /// The locks of a process outlive it.
    LockOutlivesHolder,
    /// A lock that is given back is granted to the first two who wait.
    LockGivenToTwo,

    // proto/server/past.rs
    /// A page of the past leaves out keys that are there no more.
    PastPageOfPresent,
    /// How many keys there were is told to be how many there are.
    PastLengthOfPresent,

    // proto/server/transactions.rs
    /// What a transaction has found absent is not looked at again when it commits.
    AbsenceNotValidated,
    /// Of the spans that a transaction has read nothing is looked at again when it commits.
    SpanNotValidated,
    /// Of what a transaction writes the last operation is left out, if there are several.
    CommitInPart,
    /// The leases of a session that has ended stay with nobody.
    LeaseOutlivesSession,
    /// While a lease is held, other transactions write what it is on.
    LeaseBarsNobody,

    // proto/server/leases.rs
    /// A lease is given at once, whoever holds another on the same.
    LeaseGivenToTwo,

    // proto/server/ending.rs
    /// Who is moved to the root still ends with its parent.
    MovedStaysChild,

    // proto/server/guests.rs
    /// What a program owns stays when the link of its keeper ends.
    ProgramKeepsItsKeys,
    /// The end of a link buries the processes of all programs.
    LinkEndBuriesAll,

    // proto/server/processes.rs
    /// What a process owns is released before its last writes are read.
    ReleaseBeforeLastWrite,
    /// The end of a killed process is told before its release is committed.
    EndBeforeRelease,
    /// What a dead process owned goes in one revision, its record tells it in the next.
    ReleasedInTwo,
    /// A spawn is answered with the revision before its record's.
    SpawnedBeforeRecord,

    // proto/client.rs
    /// A write that was given up after it was sent is said to have had no effect.
    TimedOutSaidUndone,

    // proto/client/calls.rs
    /// An insert counts as a read, which has no effect when it is lost.
    InsertIsARead,
    /// Requests that wait may take all the room that there is for requests.
    WaitsTakeAllRoom,
    /// The place of a wait that was given up is not free again.
    PlaceOfWaitLost,

    // proto/client/link.rs
    /// When the session is lost, what was sent in it is sent again in the next.
    ResentInNewSession,
    /// A write that was sent in a lost session is said to have had no effect.
    SentMarkForgotten,
    /// What comes behind the rest of a cut frame is dropped.
    RestOfInputDropped,

    // proto/client/watches.rs
    /// Updates that were received and not taken yet are dropped by a resume.
    QueueLostOnResume,

    // proto/server/atomic.rs
    /// Run twice, a function begins on what its first run wrote.
    SecondRunOnFirst,

    // api/run.rs
    /// Every read of a transaction is of the present.
    ReadsAtNow,

    // api/transaction.rs
    /// What came of a run that could not read what it had to is told.
    DoomedRunTold,

    /// A function that runs in its caller commits without one of the things that it has read.
    ReadHereNotValidated,
    /// What a function wrote that failed in its caller is committed all the same.
    ErrorHereCommits,
    /// A transaction keeps its lease when its process is asked to end.
    LeaseKeptWhenStopped,

    // api/here.rs
    /// Run twice in its caller, a function begins on what its first run wrote.
    SecondRunHereOnFirst,

    // client/mod.rs
    /// A request is left to the reader to send, who is asleep.
    WriteLeftToReader,

    // client/roles.rs
    /// A thread that leaves the reader's role at its deadline hands it to nobody.
    RoleHandedToNobody,
    /// Of the threads whose replies have come in one read, one is woken.
    OneWokenPerRead,
    /// A thread that was woken counts as on its way even when it sleeps again.
    WokenForGood,

    // api/when.rs
    /// Who wants all the times that something is true begins at the present each time.
    WhenBegunAnew,

    // api/fed.rs
    /// A condition that runs in its caller is fed from now on, not from what it has read on.
    FedFromNow,
    /// What has come of a watch that saw less than is read by now counts as all that has changed.
    FedComingTooFew,
    /// Such a condition is not tested again when a key comes that it had not found.
    FedAbsenceOverlooked,
    /// A key that is removed stays in the copy that such a condition reads.
    FedRemovalMissed,
    /// Such a condition reads each key as it is when it comes to it.
    FedAtAnyRevision,

    // client/error.rs
    /// An unknown outcome is told as a lost session, which has had no effect.
    UnknownSaysLost,
}

/// Is this bug switched on?
#[cfg(not(feature = "planted"))]
#[must_use]
#[inline(always)]
pub const fn is(_bug: Bug) -> bool {
    false
}

/// The bug that is switched on in this program, as a number; 0 for none.
#[cfg(feature = "planted")]
static ACTIVE: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);

/// Is this bug switched on?
#[cfg(feature = "planted")]
#[must_use]
pub fn is(bug: Bug) -> bool {
    ACTIVE.load(std::sync::atomic::Ordering::Relaxed) == bug as u8
}

/// Switches one bug on (or all off) for the whole program.
#[cfg(feature = "planted")]
pub fn activate(bug: Option<Bug>) {
    ACTIVE.store(
        bug.map_or(0, |bug| bug as u8),
        std::sync::atomic::Ordering::Relaxed,
    );
}
