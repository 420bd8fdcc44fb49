//! Being asked to end: a flag and a bell of the process, set and rung by the handler of SIGTERM and
//! SIGINT.
//!
//! The bell is rung and never heard out, so each port that waits on it is woken once by itself.

#![expect(unsafe_code, reason = "a signal handler")]

use super::sys;
use std::io;
use std::os::fd::{BorrowedFd, IntoRawFd as _, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// A fact of the process, not of any context.
static STOPPING: AtomicBool = AtomicBool::new(false);
/// The bell; negative as long as there is none.
static BELL: AtomicI32 = AtomicI32::new(-1);

/// The signals that ask for it.
const SIGNALS: [libc::c_int; 2] = [libc::SIGTERM, libc::SIGINT];

/// Was this process asked to end?
pub(crate) fn is_asked() -> bool {
    STOPPING.load(Ordering::Acquire)
}

/// Readable for ever when this process was asked to end. `None`: nobody heeds it here.
pub(crate) fn bell() -> Option<RawFd> {
    Some(BELL.load(Ordering::Acquire)).filter(|bell| *bell >= 0)
}

/// The handler: async-signal-safe.
extern "C" fn asked(_: libc::c_int) {
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

/// From now on the signals ask this process to end instead of ending it, those too that have come
/// already and were held back.
pub(crate) fn heed() -> io::Result<()> {
    if bell().is_none() {
        BELL.store(sys::bell()?.into_raw_fd(), Ordering::Release);
    }
    for signal in SIGNALS {
        sys::handle(signal, asked)?;
    }
    sys::SignalMask::EMPTY.set();
    Ok(())
}

/// What a process of the tree holds back until it heeds.
pub(crate) fn held_back() -> sys::SignalMask {
    sys::SignalMask::of(&SIGNALS)
}

#[cfg(test)]
mod tests {
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
