//! Planted bugs: real mistakes that the simulator's checkers must find.
//!
//! Without the feature `planted` every question here is a constant `false` and costs nothing.

/// One planted bug. The simulator's catalogue says what each breaks and who must find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum Bug {
    /// A commit re-tests no wait that reads the changed key by prefix or as a whole.
    WaitNotRetested = 1,
    /// A wait first looks at the next revision, not at the present state.
    WaitSkipsPresent,
    /// A retried request that was applied is applied again.
    RetryAppliedTwice,
    /// An undo entry is missed: the first write of a change set stays after a rollback.
    UndoMissed,
    /// What a process owns is released before its last writes are read.
    ReleaseBeforeLastWrite,
    /// A cursor that lags goes on at the log's oldest entry instead of telling `Compacted`.
    CursorSkipsWrap,
    /// After a resume a watch starts at the server's cursor, not at what the client had seen.
    ResumeAtServerCursor,
    /// Credit that is granted while a watch lags does not wake it.
    CreditLost,
    /// A key's owner is not changed when another process overwrites it.
    OwnerNotReplaced,
    /// The client, back on a new connection, sends unanswered requests under new numbers.
    ResendUnderNewSeq,
    /// A thread that leaves the reader's role hands it to nobody.
    RoleHandedToNobody,
    /// The end of a killed process is told before its record and release are committed.
    EndBeforeRelease,
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
