//! Stack overflows told from other crashes, in the thread that runs a process's function.
//!
//! The standard library does this in programs whose `main` it runs, which is not so in a process of
//! the tree. A thread that the user's code starts there has no other stack for a handler to run on:
//! its overflow is a plain SIGSEGV.

#![expect(unsafe_code, reason = "a signal handler and its stack")]

use super::sys;
use super::words;
use crate::proto::message::LastWords;
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::ptr;

/// The handler's own stack: it makes some system calls, but the frame that the kernel puts there
/// can be large.
const STACK_BYTES: usize = 64 * 1024;

/// What the handler needs, made beforehand: it may not ask for memory.
struct Prepared {
    /// Addresses that are touched only by a stack that is full.
    guard: Range<usize>,
    /// For the keeper.
    words: Vec<u8>,
    /// For people.
    text: String,
}

thread_local! {
    static PREPARED: Cell<*const Prepared> = const { Cell::new(ptr::null()) };
}

/// From now on an overflow of the calling thread's stack is told. Where it can't be had, it is a
/// plain crash.
pub(crate) fn watch_this_thread(name: &str) {
    let Some(guard) = guard() else { return };
    let prepared = Box::new(Prepared {
        guard,
        words: words::encode(&LastWords::StackOverflow { thread: "" }),
        text: format!("\nthread '{name}' has overflowed its stack\n"),
    });
    // Both live as long as the process: the thread runs to its end.
    let stack = Box::leak(vec![0_u8; STACK_BYTES].into_boxed_slice());
    let stack = libc::stack_t {
        ss_sp: stack.as_mut_ptr().cast(),
        ss_flags: 0,
        ss_size: STACK_BYTES,
    };
    // SAFETY: the memory is this thread's for ever.
    if unsafe { libc::sigaltstack(&stack, ptr::null_mut()) } != 0 {
        return;
    }
    PREPARED.set(Box::into_raw(prepared));
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: sigaction is plain data; all zeroes are a value of it.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: the handler makes async-signal-safe calls only. Nobody else has set one: this is
        // before any code of the user's that could.
        unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
    }
}

/// The pages behind the end of the calling thread's stack.
fn guard() -> Option<Range<usize>> {
    // SAFETY: the attributes are made by the first call, read by the next ones, and destroyed; all
    // pointers are to live locals.
    unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        if libc::pthread_getattr_np(libc::pthread_self(), &mut attributes) != 0 {
            return None;
        }
        let (mut stack, mut stack_bytes, mut guard_bytes) = (ptr::null_mut(), 0, 0);
        let found = libc::pthread_attr_getstack(&attributes, &mut stack, &mut stack_bytes) == 0
            && libc::pthread_attr_getguardsize(&attributes, &mut guard_bytes) == 0;
        libc::pthread_attr_destroy(&mut attributes);
        let guard_bytes = guard_bytes.max(sys::page_bytes());
        // Some C libraries count the guard to the stack, others do not.
        found.then(|| stack.addr() - guard_bytes..stack.addr() + guard_bytes)
    }
}

extern "C" fn handler(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    let prepared = PREPARED.get();
    // SAFETY: the kernel passes a valid info of a signal that has an address; what was prepared is
    // never freed.
    unsafe {
        let address = (*info).si_addr().addr();
        if let Some(prepared) = prepared.as_ref()
            && prepared.guard.contains(&address)
        {
            words::write(&prepared.words);
            libc::write(2, prepared.text.as_ptr().cast(), prepared.text.len());
        }
        // It strikes again where it was, and by default ends the process there. One that somebody
        // has sent does not strike by itself.
        libc::signal(signal, libc::SIG_DFL);
        if (*info).si_code <= 0 {
            libc::raise(signal);
        }
    }
}
