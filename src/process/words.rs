//! Last words: what a process writes down while it still can, for the keeper to read when it has
//! ended. A file in memory, given to it at its start; the last words written count.
//!
//! The file is mapped, not written to: a limit of the size of files is for the user's.

#![expect(unsafe_code, reason = "a signal handler, and shared memory")]

use super::mapped;
use super::panics;
use super::sys;
use crate::proto::frame;
use crate::proto::limits::LAST_WORDS_BYTES_MAX;
use crate::proto::message::{Fault, LastWords};
use crate::proto::server::FaultText;
use std::cell::Cell;
use std::ffi::c_int;
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, Ordering, fence};

/// The file, mapped; null where there is none. A fact of the process, from its start on.
static MEMORY: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
/// Whose it is: a process forked by the user's code shares the memory.
static OWNER: AtomicI32 = AtomicI32::new(0);
/// Somebody writes.
static BUSY: AtomicBool = AtomicBool::new(false);
/// How often who finds it busy lets others run: a handler may have come between its own thread's
/// write, and then waits in vain.
const TRIES_MAX: u32 = 1000;

/// What the standard library says itself when a panic may not unwind: the panic before it, which
/// is the cause, is to be told.
const STD_ABORTS: &str = "panic in a function that cannot unwind";
/// And when a panic comes out of a destructor that another one runs: the cause is that other one.
const STD_ABORTS_IN_DESTRUCTOR: &str = "panic in a destructor during cleanup";

thread_local! {
    /// The calling thread's latest panic, and the one before it.
    static LATEST: Cell<[Option<FaultText>; 2]> = const { Cell::new([None, None]) };
}

/// Has this process's last words go to `file`, which is not needed afterwards.
pub(crate) fn install(file: BorrowedFd<'_>) -> io::Result<()> {
    OWNER.store(sys::pid(), Ordering::Relaxed);
    let memory = mapped::map(file, LAST_WORDS_BYTES_MAX)?;
    MEMORY.store(memory.as_ptr(), Ordering::Release);
    // SAFETY: the handler makes async-signal-safe calls only; no code of the user's has run yet.
    unsafe {
        libc::signal(
            libc::SIGABRT,
            aborting as extern "C" fn(c_int) as libc::sighandler_t,
        )
    };
    Ok(())
}

/// Are there last words in this process?
pub(crate) fn is_wanted() -> bool {
    !MEMORY.load(Ordering::Relaxed).is_null()
}

/// The words as they are written.
pub(crate) fn encode(words: &LastWords<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::append(words, &mut bytes);
    bytes
}

/// Writes down what [`encode`] gave. Async-signal-safe.
pub(crate) fn write(bytes: &[u8]) {
    let memory = MEMORY.load(Ordering::Acquire);
    let Some((prefix, payload)) = bytes.split_first_chunk() else {
        return;
    };
    if memory.is_null()
        || bytes.len() > LAST_WORDS_BYTES_MAX
        || OWNER.load(Ordering::Relaxed) != sys::pid()
    {
        return;
    }
    let is_mine = (0..TRIES_MAX).any(|_| {
        let is_free = !BUSY.swap(true, Ordering::Acquire);
        if !is_free {
            sys::let_others_run();
        }
        is_free
    });
    if !is_mine {
        return;
    }
    // The length is there only while the words are whole: the process may be killed in between.
    // SAFETY: the mapping has room for so many bytes, begins at a page and stays for ever; nobody
    // else in this process writes to it now.
    unsafe {
        let length = &*memory.cast::<AtomicU32>();
        length.store(0, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        memory
            .add(prefix.len())
            .copy_from_nonoverlapping(payload.as_ptr(), payload.len());
        fence(Ordering::SeqCst);
        length.store(u32::from_ne_bytes(*prefix), Ordering::Relaxed);
    }
    BUSY.store(false, Ordering::Release);
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
    if !is_wanted() {
        return;
    }
    match fault.message.as_str() {
        STD_ABORTS => {}
        STD_ABORTS_IN_DESTRUCTOR => {
            if let Ok([Some(second), Some(first)]) = LATEST.try_with(Cell::take) {
                write_panic(&with_second(first, &second), is_own);
            }
        }
        _ => {
            write_panic(fault, is_own);
            // A thread that ends may have none any more.
            let _ = LATEST.try_with(|latest| {
                let [before, _] = latest.take();
                latest.set([Some(fault.clone()), before]);
            });
        }
    }
}

/// A panic with the one that came while it unwound, and made an end of it.
fn with_second(first: FaultText, second: &FaultText) -> FaultText {
    let message = format!(
        "{}\nand while that unwound, a destructor panicked at {}: {}",
        first.message, second.location, second.message
    );
    panics::bound(FaultText { message, ..first })
}

fn write_panic(fault: &FaultText, is_own: bool) {
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
