//! Last words: what a process writes down while it still can, for the keeper to read when it has
//! ended. A file in memory, given to it at its start; the last words written count.

#![expect(unsafe_code, reason = "a signal handler, and a write that one may do")]

use super::sys;
use crate::proto::frame;
use crate::proto::limits::LAST_WORDS_BYTES_MAX;
use crate::proto::message::{Fault, LastWords};
use crate::proto::server::FaultText;
use std::ffi::c_int;
use std::os::fd::{IntoRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

/// The file's descriptor; -1 where there is none. A fact of the process, from its start on.
static FILE: AtomicI32 = AtomicI32::new(-1);
/// Whose it is: a process forked by the user's code has a copy of the descriptor.
static OWNER: AtomicI32 = AtomicI32::new(0);

/// What the standard library says itself when a panic may not unwind: the panic before it, which
/// is the cause, is to be told.
const STD_ABORTS: [&str; 2] = [
    "panic in a function that cannot unwind",
    "panic in a destructor during cleanup",
];

/// Has this process's last words go to `file`.
pub(crate) fn install(file: OwnedFd) {
    OWNER.store(sys::pid(), Ordering::Relaxed);
    FILE.store(file.into_raw_fd(), Ordering::Relaxed);
    // SAFETY: the handler makes async-signal-safe calls only; no code of the user's has run yet.
    unsafe {
        libc::signal(
            libc::SIGABRT,
            aborting as extern "C" fn(c_int) as libc::sighandler_t,
        )
    };
}

/// Are there last words in this process?
pub(crate) fn is_wanted() -> bool {
    FILE.load(Ordering::Relaxed) != -1
}

/// The words as they are written.
pub(crate) fn encode(words: &LastWords<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::append(words, &mut bytes);
    bytes
}

/// Writes down what [`encode`] gave. Async-signal-safe.
pub(crate) fn write(bytes: &[u8]) {
    let file = FILE.load(Ordering::Relaxed);
    if file == -1
        || bytes.len() > LAST_WORDS_BYTES_MAX
        || OWNER.load(Ordering::Relaxed) != sys::pid()
    {
        return;
    }
    // SAFETY: the pointer and the length are those of one live slice; the descriptor is never
    // closed. What is not written because of an error is not read either.
    unsafe { libc::pwrite(file, bytes.as_ptr().cast(), bytes.len(), 0) };
}

/// The process aborts. If that is not for a panic of this thread's, the words of an earlier one,
/// which was caught, are taken back.
extern "C" fn aborting(signal: c_int) {
    if !std::thread::panicking() {
        write(&[0; 4]);
    }
    // SAFETY: both calls may be made by a handler. The signal is held back until this returns, and
    // then does what it does by default.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// A panic begins, which may be the end of the process. `is_own`: in its function.
pub(crate) fn panicked(fault: &FaultText, is_own: bool) {
    if !is_wanted() || STD_ABORTS.contains(&fault.message.as_str()) {
        return;
    }
    let thread = std::thread::current();
    let thread = match is_own {
        true => "",
        false => thread.name().unwrap_or("(without a name)"),
    };
    write(&encode(&LastWords::Panic {
        thread,
        fault: Fault {
            message: &fault.message,
            location: &fault.location,
            backtrace: &fault.backtrace,
        },
    }));
}
