//! Being asked to end: a flag and a bell of the process, set and rung by the handler of SIGTERM and
//! SIGINT.
//!
//! The bell is rung and never heard out, so each port that waits on it is woken once by itself, and
//! so is the keeper of each tree that this process has made.
//!
//! A process of a tree heeds the signals from its beginning. The program does so while it has a
//! tree, and only where a signal would have ended it: what it ignores, or handles itself, stays so.
//! There a second one ends it as the first would have done, unless it has come to handle the signal
//! itself meanwhile.

#![expect(unsafe_code, reason = "a signal handler")]

use super::sys;
use std::io;
use std::os::fd::{BorrowedFd, IntoRawFd as _, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// A fact of the process, not of any context.
static STOPPING: AtomicBool = AtomicBool::new(false);
/// The bell; negative as long as there is none.
static BELL: AtomicI32 = AtomicI32::new(-1);
/// Whose it is: in a fork of that process it would be heard by the wrong one.
static BELL_OF: AtomicI32 = AtomicI32::new(0);

/// The program whose handlers are set; a fork of it is another process.
static PROGRAM: AtomicI32 = AtomicI32::new(0);
/// When the program was asked, by the machine's clock; zero: it was not.
static FIRST_AT: AtomicU64 = AtomicU64::new(0);
/// The signal by which it was.
static FIRST: AtomicI32 = AtomicI32::new(0);
/// So soon after the first signal another one says the same once more: `timeout(1)` sends one to the
/// program and one to its group, and nobody presses Ctrl-C twice in that time.
const SAME_NS: u64 = 100_000_000;
/// How many trees of this process there are.
static TREES: Mutex<usize> = Mutex::new(0);

/// The signals that ask for it.
const SIGNALS: [libc::c_int; 2] = [libc::SIGTERM, libc::SIGINT];

/// Was this process asked to end?
pub(crate) fn is_asked() -> bool {
    STOPPING.load(Ordering::Acquire)
}

/// Readable for ever when this process was asked to end. `None`: nobody heeds it here.
pub(crate) fn bell() -> Option<RawFd> {
    let is_own = BELL_OF.load(Ordering::Acquire) == sys::pid();
    Some(BELL.load(Ordering::Acquire)).filter(|bell| is_own && *bell >= 0)
}

/// The handler: async-signal-safe.
extern "C" fn asked(signal: libc::c_int) {
    if BELL_OF.load(Ordering::Acquire) != sys::pid() {
        // Forked from it: nobody there would hear of it.
        return die_by(signal);
    }
    // SAFETY: the address of this thread's own errno.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above. What the interrupted code would read there is put back below.
    let before = unsafe { *errno };
    STOPPING.store(true, Ordering::Release);
    if let Some(bell) = bell() {
        // SAFETY: the bell is never closed.
        sys::ring(unsafe { BorrowedFd::borrow_raw(bell) });
    }
    // SAFETY: as above.
    unsafe { *errno = before };
}

/// The bell of this process, which is made where there is none yet.
fn own_bell() -> io::Result<RawFd> {
    if let Some(bell) = bell() {
        return Ok(bell);
    }
    let bell = sys::bell()?.into_raw_fd();
    BELL.store(bell, Ordering::Release);
    BELL_OF.store(sys::pid(), Ordering::Release);
    Ok(bell)
}

/// From now on the signals ask this process to end instead of ending it, those too that have come
/// already and were held back.
pub(crate) fn heed() -> io::Result<()> {
    own_bell()?;
    for signal in SIGNALS {
        sys::handle(signal, asked)?;
    }
    sys::SignalMask::EMPTY.set();
    Ok(())
}

/// The program's handler: async-signal-safe, too.
extern "C" fn program_asked(signal: libc::c_int) {
    if PROGRAM.load(Ordering::Acquire) != sys::pid() {
        // Forked from it: it has no tree that could be asked.
        return die_by_one_of([signal]);
    }
    let now_ns = sys::monotonic_ns().max(1);
    match FIRST_AT.compare_exchange(0, now_ns, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {
            FIRST.store(signal, Ordering::Release);
            asked(signal);
        }
        Err(first_ns) if is_same(first_ns, now_ns) => {}
        Err(_) => die_by_one_of([FIRST.load(Ordering::Acquire), signal]),
    }
}

/// Ends this process by the first of these that it handles by [`program_asked`]. What it has come to
/// handle itself since is its own, also if that handler has called this one.
fn die_by_one_of<const N: usize>(signals: [libc::c_int; N]) {
    if let Some(signal) = signals.into_iter().find(|signal| is_ours(*signal)) {
        die_by(signal);
    }
}

/// Does a signal at this time say the same as the first once more? Of two that two threads handle at
/// once the one that is told second may have looked at the clock first.
fn is_same(first_ns: u64, now_ns: u64) -> bool {
    now_ns.saturating_sub(first_ns) < SAME_NS
}

/// Ends this process as the signal does where nobody handles it. Async-signal-safe.
fn die_by(signal: libc::c_int) {
    sys::default_action(signal);
    // If this is its handler, it is held back until that has returned.
    sys::signal_child(sys::pid(), signal);
}

/// That this process heeds the signals, as long as it has this tree.
#[derive(Debug)]
pub(crate) struct Heeds {
    bell: RawFd,
    last_signal: libc::c_int,
    /// The process that does.
    pid: sys::Pid,
}

impl Heeds {
    /// The bell: it stays open for ever.
    pub(crate) fn bell(&self) -> RawFd {
        self.bell
    }

    /// A signal that ends the program once it was asked to end; zero: there is none.
    pub(crate) fn last_signal(&self) -> libc::c_int {
        self.last_signal
    }
}

/// From now on the signals that would end this program ask it to end.
///
/// # Errors
/// No more descriptors.
pub(crate) fn heed_for_a_tree() -> io::Result<Heeds> {
    let mut trees = TREES.lock().unwrap_or_else(PoisonError::into_inner);
    if BELL_OF.load(Ordering::Acquire) != sys::pid() {
        // Nothing has happened here yet: what stands here is of the process that this is a fork of.
        *trees = 0;
        STOPPING.store(false, Ordering::Release);
        FIRST_AT.store(0, Ordering::Release);
    }
    let bell = own_bell()?;
    if *trees == 0 {
        PROGRAM.store(sys::pid(), Ordering::Release);
        for signal in SIGNALS {
            if sys::action(signal) == Some(libc::SIG_DFL) {
                sys::handle(signal, program_asked)?;
            }
        }
    }
    *trees += 1;
    let last_signal = SIGNALS.into_iter().find(|signal| is_ours(*signal));
    Ok(Heeds {
        bell,
        last_signal: last_signal.unwrap_or(0),
        pid: sys::pid(),
    })
}

/// Is the program's handler set for this signal? Async-signal-safe.
fn is_ours(signal: libc::c_int) -> bool {
    sys::action(signal) == Some(program_asked as *const () as libc::sighandler_t)
}

impl Drop for Heeds {
    fn drop(&mut self) {
        if self.pid != sys::pid() {
            // In a fork of it, whose tree it is not.
            return;
        }
        let mut trees = TREES.lock().unwrap_or_else(PoisonError::into_inner);
        *trees -= 1;
        if *trees == 0 {
            SIGNALS
                .into_iter()
                .filter(|signal| is_ours(*signal))
                .for_each(sys::default_action);
        }
    }
}

/// From now on SIGINT and SIGTERM end this process, and what it starts by `exec`, whatever it was
/// started with: who is started in the background of a script has SIGINT ignored, and tests that send
/// one mean another program.
pub fn end_by_signals() {
    SIGNALS.into_iter().for_each(sys::default_action);
}

/// What a process of the tree holds back until it heeds.
pub(crate) fn held_back() -> sys::SignalMask {
    sys::SignalMask::of(&SIGNALS)
}

#[cfg(test)]
mod tests {
    use super::super::forked::in_fork;
    use super::*;
    use std::os::fd::{AsFd as _, AsRawFd as _};

    #[test]
    fn the_mask_holds_the_bits_of_the_signals() {
        // The kernel counts signals from one.
        let expected = 1 << 14 | 1 << 1;
        assert_eq!(
            format!("{:?}", held_back()),
            format!("SignalMask({expected})")
        );
    }

    #[test]
    fn what_comes_soon_after_the_first_signal_says_the_same() {
        let first_ns = 10 * SAME_NS;
        for (now_ns, expected) in [
            (first_ns, true),
            (first_ns - 1, true),
            (first_ns + SAME_NS - 1, true),
            (first_ns + SAME_NS, false),
            (u64::MAX, false),
        ] {
            assert_eq!(is_same(first_ns, now_ns), expected, "{now_ns}");
        }
    }

    /// SIGTERM to one of the two rang the bell of the other, whose tree then ended.
    #[test]
    fn a_fork_with_a_tree_of_its_own_has_a_bell_of_its_own() {
        let heeds = heed_for_a_tree().expect("a bell");
        let has_its_own = || heed_for_a_tree().is_ok_and(|own| own.bell() != heeds.bell());
        assert!(in_fork(has_its_own));
        assert_eq!(bell(), Some(heeds.bell()), "here it is as it was");
    }

    #[test]
    fn a_bell_that_is_rung_stays_readable() {
        let bell = sys::bell().expect("a bell");
        sys::ring(bell.as_fd());
        for _ in 0..2 {
            let watched = [Some((bell.as_fd(), false))];
            let polled = sys::poll(watched, Some(std::time::Duration::ZERO)).expect("poll");
            assert!(polled[0].readable);
        }
        assert!(bell.as_raw_fd() > 2);
    }
}
