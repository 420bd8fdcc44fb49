//! System calls in safe dress: descriptors are owned, failures are `io::Error`.

#![expect(unsafe_code, reason = "system calls that std does not offer")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A process as the kernel numbers it.
pub(crate) type Pid = libc::pid_t;

/// The usual convention: -1 means that `errno` tells why.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Does it again as long as a signal comes between.
fn retry(mut call: impl FnMut() -> libc::c_int) -> io::Result<libc::c_int> {
    loop {
        match check(call()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// This process.
pub(crate) fn pid() -> Pid {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::getpid() }
}

/// The parent of this process, as it is now.
pub(crate) fn parent() -> Pid {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::getppid() }
}

/// The user that this process acts for.
pub(crate) fn user() -> libc::uid_t {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// The machine's clock that never goes back: the same for all its processes. Async-signal-safe.
pub(crate) fn monotonic_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// The same to some milliseconds, for a few instructions.
pub(crate) fn coarse_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC_COARSE)
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a live local. It can't fail: the clock is there on every Linux.
    unsafe { libc::clock_gettime(clock, &mut time) };
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Fills `bytes` from the kernel's random source.
pub(crate) fn random(bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = &mut bytes[filled..];
        // By number: std declares the function as a weak symbol, and a statically linked program
        // that is optimised as one piece (musl, `lto = true`) then calls address zero.
        // SAFETY: the pointer and the length are those of one live, writable slice.
        let count = unsafe { libc::syscall(libc::SYS_getrandom, rest.as_mut_ptr(), rest.len(), 0) };
        match usize::try_from(count) {
            Ok(count) => filled += count,
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

/// One random number.
pub(crate) fn random_u64() -> io::Result<u64> {
    let mut bytes = [0; 8];
    random(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// Does the program run with more rights than its user has (setuid and the like)?
pub(crate) fn is_secure() -> bool {
    // SAFETY: reads the auxiliary vector, which is there for the life of the process.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// A descriptor that becomes readable when the process has ended.
pub(crate) fn pidfd_open(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only; a result that is not negative is a new descriptor (CLOEXEC).
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = check(libc::c_int::try_from(fd).unwrap_or(-1))?;
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal to the very process that the descriptor names.
pub(crate) fn pidfd_signal(pidfd: BorrowedFd<'_>, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: a live descriptor, numbers, and a null that is allowed (the default siginfo).
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    check(libc::c_int::try_from(result).unwrap_or(-1)).map(drop)
}

/// Makes this process the foster parent of all orphans below it.
pub(crate) fn become_subreaper() -> io::Result<()> {
    let on: libc::c_ulong = 1;
    // SAFETY: takes numbers only.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, on, 0, 0, 0) }).map(drop)
}

/// Names the calling thread, for `ps` and `top`; the kernel cuts it at 15 bytes.
pub(crate) fn set_thread_name(name: &CStr) {
    // SAFETY: the string is terminated and outlives the call; the kernel copies at most 16 bytes.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) };
}

/// Takes the lock of an open file, for as long as any copy of its descriptor is open.
/// `Ok(false)`: somebody else holds it.
pub(crate) fn try_lock(file: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: a live descriptor and a number.
    match retry(|| unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// What a wait for several descriptors found: per descriptor, whether something can be read (or its
/// end has come), and whether there is room to write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Polled {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// Waits until one of `watched` is readable (or writable, where asked for), or the time is up.
pub(crate) fn poll<const N: usize>(
    watched: [Option<(BorrowedFd<'_>, bool)>; N],
    timeout: Option<Duration>,
) -> io::Result<[Polled; N]> {
    let mut entries = watched.map(|watched| libc::pollfd {
        // The kernel skips negative descriptors.
        fd: watched.map_or(-1, |(fd, _)| fd.as_raw_fd()),
        events: match watched {
            Some((_, true)) => libc::POLLIN | libc::POLLOUT,
            _ => libc::POLLIN,
        },
        revents: 0,
    });
    let timeout_ms = timeout.map_or(-1, |timeout| {
        let rounded_up = timeout.as_nanos().div_ceil(1_000_000);
        libc::c_int::try_from(rounded_up).unwrap_or(libc::c_int::MAX)
    });
    // SAFETY: the pointer and the count are those of one live array.
    let result = check(unsafe { libc::poll(entries.as_mut_ptr(), N as libc::nfds_t, timeout_ms) });
    match result {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
        _ => {}
    }
    let gone = libc::POLLHUP | libc::POLLERR | libc::POLLNVAL;
    Ok(entries.map(|entry| Polled {
        readable: entry.revents & (libc::POLLIN | gone) != 0,
        writable: entry.revents & (libc::POLLOUT | libc::POLLERR) != 0,
    }))
}

/// A child that has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reaped {
    pub(crate) pid: Pid,
    /// As `wait4` gives it.
    pub(crate) status: libc::c_int,
    pub(crate) cpu_user_ns: u64,
    pub(crate) cpu_system_ns: u64,
    pub(crate) memory_bytes_max: u64,
}

/// Reaps one ended child, whichever; `Ok(None)` when all live.
///
/// # Errors
/// `ECHILD` when there are no children.
pub(crate) fn reap() -> io::Result<Option<Reaped>> {
    let mut status = 0;
    // SAFETY: rusage is plain numbers; all zeroes are a value of it.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live locals of the right type.
    let pid = retry(|| unsafe { libc::wait4(-1, &mut status, libc::WNOHANG, &mut usage) })?;
    if pid == 0 {
        return Ok(None);
    }
    let nanoseconds = |time: libc::timeval| {
        u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
            + u64::try_from(time.tv_usec).unwrap_or(0) * 1_000
    };
    Ok(Some(Reaped {
        pid,
        status,
        cpu_user_ns: nanoseconds(usage.ru_utime),
        cpu_system_ns: nanoseconds(usage.ru_stime),
        memory_bytes_max: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
    }))
}

/// Reaps a child if it has ended, whatever signal it was made to end with.
pub(crate) fn reap_quietly(pid: Pid) {
    let flags = libc::WNOHANG | libc::__WALL;
    // SAFETY: a null status is allowed; failing (it is no child of ours) is fine.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), flags) };
}

/// Becomes two processes. `None` in the child.
///
/// For a role that has one thread only, so that the child is as good as its parent.
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: there is one thread, so no lock is held by anybody else, and the child may go on as
    // if it were alone.
    let pid = check(unsafe { libc::fork() })?;
    Ok((pid != 0).then_some(pid))
}

/// Waits until a child of this process has ended, and reaps it: its status, if it was one.
pub(crate) fn wait_for(pid: Pid) -> Option<libc::c_int> {
    let mut status = 0;
    // A failure means that it is no child, and so has ended.
    // SAFETY: the pointer is to a live local.
    let result = retry(|| unsafe { libc::waitpid(pid, &mut status, libc::__WALL) });
    result.is_ok().then_some(status)
}

/// As [`wait_for`], but no longer than this: one that hangs in the kernel dies when that lets go of
/// it. `deaths` tells of the [death of children](child_signals), and is read.
pub(crate) fn wait_within(
    pid: Pid,
    deaths: BorrowedFd<'_>,
    limit: Duration,
) -> Option<libc::c_int> {
    let end = Instant::now() + limit;
    loop {
        let mut status = 0;
        let flags = libc::WNOHANG | libc::__WALL;
        // SAFETY: the pointer is to a live local.
        match retry(|| unsafe { libc::waitpid(pid, &mut status, flags) }) {
            Ok(0) => {}
            Ok(_) => return Some(status),
            Err(_) => return None,
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        // One news may be of several deaths.
        let _ = poll([Some((deaths, false))], Some(left));
        let _ = read(deaths, &mut [0; 1024]);
    }
}

/// Signals a child of this process that has not been reaped, so that its number is its own.
pub(crate) fn signal_child(pid: Pid, signal: libc::c_int) {
    // Failing means that it has ended.
    // SAFETY: numbers only.
    unsafe { libc::kill(pid, signal) };
}

/// Sleeps until the word, in memory that processes share, is something else than this, or the time
/// is up.
pub(crate) fn futex_wait(word: &AtomicU32, unless: u32, limit: Duration) {
    let end = Instant::now() + limit;
    while word.load(Ordering::Acquire) == unless {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        let timeout = libc::timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        // SAFETY: the word and the timeout live as long as the call; the kernel only reads them.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                libc::FUTEX_WAIT,
                unless,
                &raw const timeout,
            )
        };
    }
}

/// Wakes everybody who sleeps on the word.
pub(crate) fn futex_wake(word: &AtomicU32) {
    // SAFETY: the kernel uses the address only to find who sleeps there.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE,
            libc::c_int::MAX,
        )
    };
}

/// A bell: a descriptor that is readable once it was [rung](ring), until it is read.
pub(crate) fn bell() -> io::Result<OwnedFd> {
    // SAFETY: numbers only; a result that is not negative is a new descriptor.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Rings a bell. Async-signal-safe.
pub(crate) fn ring(bell: BorrowedFd<'_>) {
    let one = 1_u64.to_ne_bytes();
    // Failing means that it has been rung very often and not been heard: it is readable.
    // SAFETY: the pointer and the length are those of one live array.
    unsafe { libc::write(bell.as_raw_fd(), one.as_ptr().cast(), one.len()) };
}

/// Every signal that can be, the C library's own included.
const ALL_SIGNALS: u64 = u64::MAX;

/// The signals that a thread holds back, as the kernel keeps them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SignalMask(u64);

impl SignalMask {
    /// Holds nothing back.
    pub(crate) const EMPTY: SignalMask = SignalMask(0);
    /// Holds everything back that can be.
    pub(crate) const ALL: SignalMask = SignalMask(ALL_SIGNALS);

    /// Holds these back.
    pub(crate) fn of(signals: &[libc::c_int]) -> SignalMask {
        // The kernel counts from one.
        SignalMask(
            signals
                .iter()
                .fold(0, |mask, signal| mask | 1 << (signal - 1)),
        )
    }

    /// Makes this the calling thread's mask; gives the one before. Async-signal-safe.
    pub(crate) fn set(self) -> SignalMask {
        let mut before = 0_u64;
        // The system call itself, since the C library's refuses to block its own signals.
        // SAFETY: both pointers are to live 8-byte masks, which is the kernel's size.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigprocmask,
                libc::SIG_SETMASK,
                &raw const self.0,
                &raw mut before,
                size_of::<u64>(),
            )
        };
        SignalMask(before)
    }
}

/// Makes a descriptor of the death of children; the signal itself must be held back.
pub(crate) fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: a signal set is plain numbers, which sigemptyset then sets right.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live set, and the signal is one that exists.
    unsafe {
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGCHLD);
    }
    // SAFETY: the pointer is to a live set; a result that is not negative is a new descriptor.
    let fd = check(unsafe { libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) })?;
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Gives every signal its default action again: `exec` keeps those that are ignored.
pub(crate) fn reset_dispositions() {
    for signal in 1..=64 {
        set_disposition(signal, libc::SIG_DFL);
    }
}

/// Ignores one signal.
pub(crate) fn ignore(signal: libc::c_int) {
    set_disposition(signal, libc::SIG_IGN);
}

/// Has a signal handled by this function, which must be async-signal-safe. System calls that it comes
/// between go on where they can.
pub(crate) fn handle(signal: libc::c_int, by: extern "C" fn(libc::c_int)) -> io::Result<()> {
    // SAFETY: sigaction is plain numbers; all zeroes are a value of it, with an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = by as *const () as libc::sighandler_t;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the pointer is to a live local; the handler has the type that these flags ask for.
    check(unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) }).map(drop)
}

/// Has a signal do what it does where nothing is said. Async-signal-safe.
pub(crate) fn default_action(signal: libc::c_int) {
    set_disposition(signal, libc::SIG_DFL);
}

/// What a signal does: a handler, or `SIG_DFL` or `SIG_IGN`.
pub(crate) fn action(signal: libc::c_int) -> Option<libc::sighandler_t> {
    // SAFETY: sigaction is plain numbers; all zeroes are a value of it.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: nothing is changed; the pointer is to a live local.
    check(unsafe { libc::sigaction(signal, std::ptr::null(), &mut action) }).ok()?;
    Some(action.sa_sigaction)
}

fn set_disposition(signal: libc::c_int, to: libc::sighandler_t) {
    // SAFETY: SIG_DFL and SIG_IGN run no code. Signals that allow no change make it fail, which
    // is fine.
    unsafe { libc::signal(signal, to) };
}

/// Reads some bytes.
pub(crate) fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        // SAFETY: the pointer and the length are those of one live, writable slice.
        let count = unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
        match usize::try_from(count) {
            Ok(count) => return Ok(count),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

/// Opens `/dev/null` on every one of the first three descriptors that is closed (so that a socket
/// never becomes the standard output), and always on the first if `stdin` says so.
pub(crate) fn settle_stdio(stdin: bool) {
    for fd in 0..3 {
        // SAFETY: asks about a number; it need not be an open descriptor.
        let closed = unsafe { libc::fcntl(fd, libc::F_GETFD) } == -1;
        let is_wanted = closed || (stdin && fd == 0);
        if !is_wanted {
            continue;
        }
        // SAFETY: a terminated path. The lowest free number is what open gives.
        let null = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
        if null >= 0 && null != fd {
            // SAFETY: numbers only. `fd` is free or the standard input, which the roles that
            // come here have no other use for.
            unsafe {
                libc::dup2(null, fd);
                libc::close(null);
            }
        }
    }
}

/// Puts a descriptor in the place of a standard one.
pub(crate) fn put_standard(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    debug_assert!((0..3).contains(&number));
    // SAFETY: numbers. What was there was nobody's own: the standard streams are the process's.
    retry(|| unsafe { libc::dup2(fd.as_raw_fd(), number) }).map(drop)
}

/// The standard input under another number, for a process to come.
pub(crate) fn duplicate_stdin() -> Option<OwnedFd> {
    // SAFETY: numbers only.
    let fd = unsafe { libc::fcntl(0, libc::F_DUPFD_CLOEXEC, 3) };
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows of it.
    (fd >= 3).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes over a descriptor that this process was started with.
///
/// `None` if it is not open. To be called once per number, by the role that was told of it.
pub(crate) fn adopt(fd: RawFd) -> Option<OwnedFd> {
    if fd < 3 {
        return None;
    }
    // SAFETY: asks about a number, and marks it; it need not be an open descriptor.
    let result = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    if result == -1 {
        return None;
    }
    // SAFETY: it is open, it came over exec to be ours, and its number was given to this call only.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Is this number an open pipe that has something to read? Takes nothing and changes nothing.
pub(crate) fn is_filled_pipe(fd: RawFd) -> bool {
    // SAFETY: stat is plain numbers; all zeroes are a value of it.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live local; the number need not be an open descriptor.
    if unsafe { libc::fstat(fd, &mut stat) } != 0 || stat.st_mode & libc::S_IFMT != libc::S_IFIFO {
        return false;
    }
    // Not poll, which fails where a process may have no descriptors (RLIMIT_NOFILE).
    let mut bytes: libc::c_int = 0;
    // SAFETY: the request takes a pointer to an int, which is live.
    unsafe { libc::ioctl(fd, libc::FIONREAD, &mut bytes) == 0 && bytes > 0 }
}

/// Closes every descriptor from 3 on that is not in `keep`.
///
/// For a role that has just begun: whatever is open then is a stranger's.
pub(crate) fn close_strangers(keep: &[RawFd]) {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    let open: Vec<RawFd> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for fd in open {
        if fd >= 3 && !keep.contains(&fd) {
            // SAFETY: at the start of a role nothing owns a descriptor but what `keep` names; the
            // one that listed the directory is closed already, which makes this call fail.
            unsafe { libc::close(fd) };
        }
    }
}

/// Takes as many descriptors as this process may have. Fails quietly: then there are fewer. Gives
/// how many it had before.
pub(crate) fn raise_descriptor_limit() -> Option<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live local, here and below.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return None;
        }
        let before = limit;
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        Some(before)
    }
}

/// Lets another thread run, if one wants to. Async-signal-safe.
pub(crate) fn let_others_run() {
    // SAFETY: takes nothing.
    unsafe { libc::sched_yield() };
}

/// Reads from a place of a file; how much could be read.
pub(crate) fn read_at(fd: RawFd, buffer: &mut [u8], offset: i64) -> usize {
    // SAFETY: the pointer and the length are those of one live, writable slice.
    let count = unsafe { libc::pread(fd, buffer.as_mut_ptr().cast(), buffer.len(), offset) };
    usize::try_from(count).unwrap_or(0)
}

/// Reads from it never wait from now on.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: a live descriptor, and numbers.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) }).map(drop)
}

/// A descriptor that watches others.
pub(crate) fn epoll() -> io::Result<OwnedFd> {
    // SAFETY: a number; a result that is not negative is a new descriptor.
    let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Has it tell of `fd`, by this number, while there is something to read or its end.
pub(crate) fn epoll_add(epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>, number: u64) -> io::Result<()> {
    let mut event = libc::epoll_event {
        events: libc::EPOLLIN as u32,
        u64: number,
    };
    let (epoll, fd) = (epoll.as_raw_fd(), fd.as_raw_fd());
    // SAFETY: live descriptors, and a pointer to a live local.
    check(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event) }).map(drop)
}

/// Has it tell nothing more of `fd`.
pub(crate) fn epoll_remove(epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>) {
    let (epoll, fd) = (epoll.as_raw_fd(), fd.as_raw_fd());
    // SAFETY: live descriptors, and a null that is allowed. It can't fail for one that was added.
    unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_DEL, fd, std::ptr::null_mut()) };
}

/// The numbers of those that have something to read now, at most `N`.
pub(crate) fn epoll_ready<const N: usize>(epoll: BorrowedFd<'_>) -> impl Iterator<Item = u64> {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; N];
    let most = libc::c_int::try_from(N).unwrap_or(libc::c_int::MAX);
    // SAFETY: the pointer and the count are those of one live array.
    let count = unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), most, 0) };
    let count = usize::try_from(count).unwrap_or(0);
    events.into_iter().take(count).map(|event| event.u64)
}

/// The size of a page of memory.
pub(crate) fn page_bytes() -> usize {
    // SAFETY: takes a number.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Ends this process at once, without what was registered to run at exit.
pub(crate) fn exit_now(code: libc::c_int) -> ! {
    // SAFETY: ends the process; runs no code of anybody's.
    unsafe { libc::_exit(code) }
}

/// How often this process has become another by fork(2): tells a handle of the parent from one of
/// this process.
pub(crate) fn generation() -> u64 {
    use std::sync::Once;
    use std::sync::atomic::AtomicU64;
    static GENERATION: AtomicU64 = AtomicU64::new(0);
    static REGISTERED: Once = Once::new();
    extern "C" fn forked() {
        GENERATION.fetch_add(1, Ordering::Relaxed);
    }
    // The fast path is one load: this is asked before every read and write.
    if !REGISTERED.is_completed() {
        REGISTERED.call_once(|| {
            // SAFETY: the handler only adds to an atomic, which is allowed in a forked child.
            unsafe { libc::pthread_atfork(None, None, Some(forked)) };
        });
    }
    GENERATION.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn pidfd_of_this_process_is_silent() {
        let pidfd = pidfd_open(pid()).expect("pidfd");
        let polled = poll([Some((pidfd.as_fd(), false))], Some(Duration::ZERO)).expect("poll");
        assert!(!polled[0].readable);
        pidfd_signal(pidfd.as_fd(), 0).expect("signal 0 asks only");
    }

    /// The keeper waited for a server that hung in the kernel as long as that did.
    #[test]
    fn a_wait_for_a_child_has_an_end() {
        let deaths = child_signals().expect("a descriptor");
        let mut sleeper = std::process::Command::new("sleep");
        let mut child = sleeper.arg("1000").spawn().expect("there is a sleep");
        let pid = Pid::try_from(child.id()).expect("a number");
        let short = Duration::from_millis(20);
        assert_eq!(wait_within(pid, deaths.as_fd(), short), None);
        signal_child(pid, libc::SIGKILL);
        // Here the signal is not held back, so that no news may come: the last look finds it.
        let end = pidfd_open(pid).expect("it has not been reaped");
        poll([Some((end.as_fd(), false))], None).expect("poll");
        let status = wait_within(pid, deaths.as_fd(), short);
        assert_eq!(status, Some(libc::SIGKILL));
        assert_eq!(wait_within(pid, deaths.as_fd(), short), None);
        child.wait().expect_err("it was reaped");
    }

    #[test]
    fn a_pipe_is_told_from_other_things() {
        let (reader, mut writer) = io::pipe().expect("pipe");
        assert!(!is_filled_pipe(reader.as_raw_fd()));
        io::Write::write_all(&mut writer, b"x").expect("write");
        assert!(is_filled_pipe(reader.as_raw_fd()));
        assert!(!is_filled_pipe(100_000));
    }
}
