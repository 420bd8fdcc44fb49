//! Starting this very program again, as another process.
//!
//! The way of `vfork`: the child borrows the memory of its parent until it has turned into the new
//! program, so the cost is the same for a program of any size, and a failed `exec` is told with its
//! `errno`. Between, it does nothing but system calls, on a stack of its own, with all signals held
//! back (a handler of the user's must not run in borrowed memory).
//!
//! The keeper is *hidden*: it is cloned by a go-between that ends at once, and neither has a signal
//! to end with, so the user's `waitpid(-1)` and SIGCHLD see nothing of them.

#![expect(unsafe_code, reason = "clone, and what its child may do")]

use super::stopping;
use super::sys::{self, Pid, SignalMask};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};

/// The program itself, even when its file has been replaced or removed since.
const EXECUTABLE: &CStr = c"/proc/self/exe";

/// How the new process stands to this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No child that anybody could see or wait for, in a session of its own.
    Hidden,
    /// A child in a process group of its own, that lives on when its parent is lost.
    Lasting,
    /// A child in a process group of its own, killed when its parent is lost.
    Bound,
}

/// What to start.
pub(crate) struct Launch<'a> {
    pub(crate) kind: Kind,
    pub(crate) arguments: &'a [CString],
    pub(crate) environment: &'a [CString],
    /// The descriptors from 3 on that it gets; no other is open in it.
    pub(crate) inherit: &'a [RawFd],
    /// What is to be different in it.
    pub(crate) changes: &'a Changes,
}

/// What is done between fork and exec, in this order. Nothing that could wait: the parent would wait
/// as well.
#[derive(Default)]
pub(crate) struct Changes {
    /// The standard input, output and error.
    pub(crate) stdio: [Redirect; 3],
    pub(crate) niceness: Option<c_int>,
    /// Last, so that they hinder nothing of the above. They, and the niceness, hold when the process
    /// opens its files (see [`outset`](super::outset)).
    pub(crate) limits: Vec<(c_int, libc::rlimit)>,
}

/// What becomes of a standard descriptor.
#[derive(Default, Clone, Copy)]
pub(crate) enum Redirect {
    /// It is this process's.
    #[default]
    Keep,
    /// It is this descriptor, which is not a standard one.
    To(RawFd),
}

/// The system call that failed, and how.
#[derive(Debug)]
pub(crate) struct LaunchError {
    pub(crate) call: &'static str,
    pub(crate) errno: c_int,
}

impl std::fmt::Display for LaunchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let error = io::Error::from_raw_os_error(self.errno);
        write!(f, "{} failed: {error}", self.call)
    }
}

/// The steps of the child that can fail, by number, since it can't hand over a string.
const CALLS: [&str; 6] = [
    "clone",
    "setsid",
    "execve",
    "dup2",
    "setpriority",
    "setrlimit",
];
const CALL_CLONE: u8 = 0;
const CALL_SETSID: u8 = 1;
const CALL_EXECVE: u8 = 2;
const CALL_DUP: u8 = 3;
const CALL_SETPRIORITY: u8 = 4;
const CALL_SETRLIMIT: u8 = 5;

const STACK_BYTES: usize = 64 * 1024;

/// All that the child needs, laid out before it is there, and where it says what went wrong.
struct Shared<'a> {
    kind: Kind,
    parent: Pid,
    arguments: *const *const c_char,
    environment: *const *const c_char,
    inherit: &'a [RawFd],
    changes: &'a Changes,
    /// What a bound process begins with.
    held_back: SignalMask,
    /// The go-between's child runs here.
    inner_stack_top: *mut c_void,
    failed_call: AtomicU8,
    /// Zero: nothing failed.
    errno: AtomicI32,
    /// The new process, when the go-between made it.
    pid: AtomicI32,
}

impl Shared<'_> {
    fn fail(&self, call: u8) {
        let errno = io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(libc::EIO);
        self.failed_call.store(call, Ordering::Relaxed);
        self.errno.store(errno, Ordering::Relaxed);
    }

    /// Of a process that shares the memory: says what failed and ends.
    fn give_up(&self, call: u8) -> ! {
        self.fail(call);
        // SAFETY: ends this process only, and runs no handler.
        unsafe { libc::_exit(127) }
    }
}

/// A stack for a process that shares our memory: 16-byte units, as the calling convention wants.
struct Stack(Vec<u128>);

impl Stack {
    fn new() -> Stack {
        Stack(Vec::with_capacity(STACK_BYTES / size_of::<u128>()))
    }

    fn top(&mut self) -> *mut c_void {
        // One past the end: the stack grows down from here.
        let capacity = self.0.capacity();
        self.0.as_mut_ptr().wrapping_add(capacity).cast()
    }
}

/// Starts it; returns when it has become the new program.
///
/// # Errors
/// The call that failed; then there is no new process.
pub(crate) fn launch(launch: &Launch<'_>) -> Result<Pid, LaunchError> {
    let arguments = pointers(launch.arguments);
    let environment = pointers(launch.environment);
    let (mut stack, mut inner_stack) = (Stack::new(), Stack::new());
    let shared = Shared {
        kind: launch.kind,
        parent: sys::pid(),
        arguments: arguments.as_ptr(),
        environment: environment.as_ptr(),
        inherit: launch.inherit,
        changes: launch.changes,
        held_back: stopping::held_back(),
        inner_stack_top: inner_stack.top(),
        failed_call: AtomicU8::new(CALL_CLONE),
        errno: AtomicI32::new(0),
        pid: AtomicI32::new(0),
    };
    let argument = (&raw const shared).cast_mut().cast();
    let borrowing = libc::CLONE_VM | libc::CLONE_VFORK;
    let before = SignalMask::ALL.set();
    // SAFETY: with CLONE_VFORK this thread sleeps until the child has called exec or exit, so all
    // that `shared` points to, and the stacks, outlive the child's use of them. Both functions make
    // system calls only, and signals are held back.
    let result = unsafe {
        match launch.kind {
            Kind::Hidden => libc::clone(go_between, stack.top(), borrowing, argument),
            Kind::Lasting | Kind::Bound => {
                libc::clone(child, stack.top(), borrowing | libc::SIGCHLD, argument)
            }
        }
    };
    if result == -1 {
        shared.fail(CALL_CLONE);
    } else if launch.kind == Kind::Hidden {
        // The go-between, which nobody else can know of.
        sys::wait_for(result);
    }
    before.set();
    let errno = shared.errno.load(Ordering::Relaxed);
    if errno != 0 {
        if launch.kind != Kind::Hidden && result > 0 {
            sys::wait_for(result);
        }
        let call = CALLS[usize::from(shared.failed_call.load(Ordering::Relaxed))];
        return Err(LaunchError { call, errno });
    }
    match launch.kind {
        Kind::Hidden => Ok(shared.pid.load(Ordering::Relaxed)),
        Kind::Lasting | Kind::Bound => Ok(result),
    }
}

/// The strings as `exec` wants them: pointers, with a null behind.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

/// The process between: makes the hidden one and ends, which leaves that one to the nearest foster
/// parent.
extern "C" fn go_between(argument: *mut c_void) -> c_int {
    // SAFETY: `launch` passes a pointer to its own `Shared` and sleeps meanwhile.
    let shared = unsafe { &*argument.cast::<Shared<'_>>() };
    // SAFETY: as in `launch`; this process sleeps in turn, and the inner stack is used by nobody.
    let pid = unsafe {
        libc::clone(
            child,
            shared.inner_stack_top,
            libc::CLONE_VM | libc::CLONE_VFORK,
            argument,
        )
    };
    if pid == -1 {
        shared.fail(CALL_CLONE);
    } else {
        shared.pid.store(pid, Ordering::Relaxed);
    }
    // SAFETY: ends this process only, and runs no handler.
    unsafe { libc::_exit(0) }
}

/// The child until it is the new program: system calls only.
extern "C" fn child(argument: *mut c_void) -> c_int {
    // SAFETY: `launch` passes a pointer to its own `Shared` and sleeps meanwhile.
    let shared = unsafe { &*argument.cast::<Shared<'_>>() };
    // SAFETY: system calls on numbers, and pointers that `launch` keeps alive. The table of
    // descriptors is this process's own copy.
    unsafe {
        match shared.kind {
            Kind::Hidden => {
                // Out of the reach of the terminal's Ctrl-C from the first moment on.
                if libc::setsid() == -1 {
                    shared.give_up(CALL_SETSID);
                }
            }
            Kind::Lasting => {
                libc::setpgid(0, 0);
            }
            Kind::Bound => {
                libc::setpgid(0, 0);
                libc::prctl(
                    libc::PR_SET_PDEATHSIG,
                    libc::SIGKILL as libc::c_ulong,
                    0,
                    0,
                    0,
                );
                // It may have died before the line above.
                if libc::getppid() != shared.parent {
                    libc::_exit(127);
                }
            }
        }
        // An older kernel refuses; the roles close what they don't know once more.
        libc::syscall(
            libc::SYS_close_range,
            3_u32,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        );
        for &fd in shared.inherit {
            libc::fcntl(fd, libc::F_SETFD, 0);
        }
        change(shared);
        // The keeper, which starts these, keeps every disposition at its default.
        match shared.kind {
            Kind::Hidden => {}
            Kind::Lasting => {
                SignalMask::EMPTY.set();
            }
            // What asks it to end must not end it before it has a handler.
            Kind::Bound => {
                shared.held_back.set();
            }
        }
        libc::execve(EXECUTABLE.as_ptr(), shared.arguments, shared.environment);
        shared.give_up(CALL_EXECVE)
    }
}

/// What is to be different in the child, done by itself: system calls only.
fn change(shared: &Shared<'_>) {
    let changes = shared.changes;
    for (number, redirect) in (0..).zip(changes.stdio) {
        let Redirect::To(from) = redirect else {
            continue;
        };
        // SAFETY: numbers. It is the child's own table of descriptors.
        if unsafe { libc::dup2(from, number) } == -1 {
            shared.give_up(CALL_DUP);
        }
    }
    if let Some(niceness) = changes.niceness {
        // SAFETY: numbers; zero is the calling process.
        if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, niceness) } == -1 {
            shared.give_up(CALL_SETPRIORITY);
        }
    }
    for (resource, bounds) in &changes.limits {
        // SAFETY: a number, and a pointer to a struct that `launch` keeps alive. Limits are a
        // process's own, though its memory is borrowed.
        if unsafe { libc::setrlimit(*resource as _, bounds) } == -1 {
            shared.give_up(CALL_SETRLIMIT);
        }
    }
}
