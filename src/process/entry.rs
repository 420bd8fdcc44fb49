//! Where a process of the tree begins: before `main`, by an entry of `.init_array`.
//!
//! In an ordinary program the hook does nothing but a `getenv`. In a process that the keeper (or
//! `Context::new`) has started it enters the role and never comes back, so `main` does not run.

#![expect(
    unsafe_code,
    reason = "the constructor hook, and the environment at that time"
)]

use super::keeper;
use super::outset;
use super::role::{self, ENTRY_VARIABLE, KeeperRole, Role, UpstreamRole};
use super::stopping;
use super::sys;
use super::upstream::{Own, Upstream};
use super::words;
use crate::proto::limits::LAST_WORDS_BYTES_MAX;
use crate::tree;
use std::ffi::{CStr, CString, OsStr, c_char, c_int};
use std::os::fd::{AsFd as _, AsRawFd as _, IntoRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A constructor. glibc passes the arguments of `main`; musl passes nothing, so there they are not
/// to be looked at.
type Constructor = extern "C" fn(c_int, *const *const c_char, *const *const c_char);

/// The hook. Referred to by `Context::new` as well, so that no linker leaves it out of a program
/// that could need it.
#[used]
#[unsafe(link_section = ".init_array")]
static HOOK: Constructor = hook;

/// Has the hook (or [`init`]) run in this process? A fact of the program, not of any context.
static HAS_RUN: AtomicBool = AtomicBool::new(false);

/// The exit code of a process whose role could not be understood.
const EXIT_NO_ROLE: c_int = 122;
/// That of a process that could not be what its setup says; it has written down why.
const EXIT_NOT_SET_OUT: c_int = 123;

/// Must be called first in `main`, on platforms where the library's own hook does not run before
/// it (`Context::new` says so when that is the case). Elsewhere it does nothing.
///
/// In a process that was started to run a function it does not return.
pub fn init() {
    if !HAS_RUN.swap(true, Ordering::Relaxed) {
        enter(|| {});
    }
}

/// Did the hook run before `main`, or [`init`] in it?
pub(crate) fn has_run() -> bool {
    std::hint::black_box(&HOOK);
    HAS_RUN.load(Ordering::Relaxed)
}

/// An address in the object that the hook is part of.
pub(crate) fn address() -> usize {
    hook as Constructor as usize
}

extern "C" fn hook(
    arguments_count: c_int,
    arguments: *const *const c_char,
    environment: *const *const c_char,
) {
    HAS_RUN.store(true, Ordering::Relaxed);
    enter(|| run_later_constructors(arguments_count, arguments, environment));
}

unsafe extern "C" {
    /// The end of the array of constructors; the linker defines it.
    #[link_name = "__init_array_end"]
    static CONSTRUCTORS_END: [Option<Constructor>; 0];
}

/// Runs the constructors that come behind ours, as would happen if we returned.
fn run_later_constructors(
    arguments_count: c_int,
    arguments: *const *const c_char,
    environment: *const *const c_char,
) {
    let mut next = (&raw const HOOK).cast::<Option<Constructor>>();
    let end = (&raw const CONSTRUCTORS_END).cast::<Option<Constructor>>();
    // Pointers to different statics are compared as what they are here: addresses in one array.
    while next.addr() + size_of::<Constructor>() < end.addr() {
        next = next.wrapping_add(1);
        // SAFETY: between our own entry and the end the array holds pointers to constructors, each
        // to be called once and in order, with these arguments, before `main`: that is now.
        if let Some(constructor) = unsafe { *next } {
            constructor(arguments_count, arguments, environment);
        }
    }
}

/// Enters the role that this process was started for, if there is one.
fn enter(later_constructors: impl FnOnce()) {
    debug_assert_eq!(ENTRY_VARIABLE, "ZPROC_ENTRY");
    // SAFETY: a terminated name; this runs before `main`, or first in it, when nothing else
    // changes the environment.
    let variable = unsafe { libc::getenv(c"ZPROC_ENTRY".as_ptr()) };
    if variable.is_null() || sys::is_secure() {
        return;
    }
    // SAFETY: getenv gave a terminated string, which stays until the variable is changed.
    let variable = unsafe { CStr::from_ptr(variable) }.to_owned();
    // SAFETY: as above: nothing else reads or changes the environment now.
    unsafe { libc::unsetenv(c"ZPROC_ENTRY".as_ptr()) };
    let Some(payload) = variable.to_str().ok().and_then(role::unpack) else {
        return;
    };
    match role::read(&payload) {
        Ok(role) => run(role, later_constructors),
        Err(error) => {
            eprintln!("zproc: this process was started for a role that can't be read: {error}");
            sys::exit_now(EXIT_NO_ROLE)
        }
    }
}

/// Runs a role to its end.
fn run(role: Role<'_>, later_constructors: impl FnOnce()) -> ! {
    match role {
        Role::Keeper(role) => run_keeper(&role),
        Role::Server {
            tree,
            directory,
            key,
            link,
            listener,
            lock,
            page,
            bell,
            limits,
            functions,
        } => {
            settle_server();
            let [link, listener, lock, page, bell] = adopt([link, listener, lock, page, bell]);
            // Functions of the user's run here.
            later_constructors();
            tree::server_main(tree::ServerStart {
                tree: tree.to_string(),
                directory: path(directory),
                key,
                link,
                listener,
                lock,
                page,
                bell,
                limits,
                functions,
            })
        }
        Role::Child {
            socket,
            process,
            key,
            name,
            page,
            words: file,
            outset_bytes,
        } => {
            settle_child(name);
            let [page, file] = adopt([page, file]);
            install_words(&file);
            set_out(&file, outset_bytes);
            drop(file);
            heed();
            later_constructors();
            tree::child_main(tree::ChildStart {
                socket: path(socket),
                process,
                key,
                name: name.to_string(),
                page,
            })
        }
    }
}

/// Runs the keeper.
fn run_keeper(role: &KeeperRole<'_>) -> ! {
    let stdin = keeper::settle().map_or(-1, OwnedFd::into_raw_fd);
    let (UpstreamRole::Own { lock: held, .. } | UpstreamRole::Other { link: held, .. }) =
        role.upstream;
    let [lifeline, program, held, page, stop_bell, stdin] = adopt([
        role.lifeline,
        role.program,
        held,
        role.page,
        role.stop_bell,
        stdin,
    ]);
    let upstream = match role.upstream {
        UpstreamRole::Own {
            directory,
            key,
            function_time_max_ns,
            limits,
            functions,
            ..
        } => Upstream::Own(Own {
            directory: path(directory),
            key,
            lock: held,
            function_time_max: Duration::from_nanos(function_time_max_ns),
            limits,
            functions,
        }),
        UpstreamRole::Other { socket, .. } => Upstream::Other {
            socket: path(socket),
            link: held,
        },
    };
    keeper::main(keeper::Start {
        tree: role.tree.to_string(),
        upstream,
        lifeline,
        program,
        page,
        stop_bell,
        last_signal: role.last_signal,
        grace: Duration::from_nanos(role.grace_ns),
        stdin,
    })
}

/// Makes this process fit to be a server.
fn settle_server() {
    sys::set_thread_name(c"zproc-server");
    // Mostly 1024 is the default, and each process of the tree needs one.
    let _before = sys::raise_descriptor_limit();
    sys::settle_stdio(true);
    // Its life is the program's and the keeper's, not the terminal's.
    for signal in [
        libc::SIGPIPE,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGHUP,
        libc::SIGTERM,
    ] {
        sys::ignore(signal);
    }
}

/// Makes this process fit to run a function of this name.
fn settle_child(name: &str) {
    sys::set_thread_name(&title(name));
    sys::settle_stdio(false);
    // As the standard library does before `main`.
    sys::ignore(libc::SIGPIPE);
}

/// From now on this process has last words.
fn install_words(file: &OwnedFd) {
    if let Err(error) = words::install(file.as_fd()) {
        eprintln!("zproc: there is no memory for this process's last words: {error}");
        sys::exit_now(EXIT_NO_ROLE)
    }
}

/// Makes this process what its setup says, before anything of the user's runs in it.
fn set_out(file: &OwnedFd, outset_bytes: u32) {
    if outset_bytes == 0 {
        return;
    }
    let mut outset = vec![0; outset_bytes as usize];
    let count = sys::read_at(file.as_raw_fd(), &mut outset, LAST_WORDS_BYTES_MAX as i64);
    if outset::carry_out(&outset[..count]).is_err() {
        sys::exit_now(EXIT_NOT_SET_OUT)
    }
}

/// From now on this process hears when it is asked to end.
fn heed() {
    if let Err(error) = stopping::heed() {
        eprintln!("zproc: this process can't be asked to end: {error}");
        sys::exit_now(EXIT_NO_ROLE)
    }
}

/// Takes over what the role was given, and closes everything else.
fn adopt<const N: usize>(numbers: [RawFd; N]) -> [OwnedFd; N] {
    sys::close_strangers(&numbers);
    numbers.map(|number| {
        sys::adopt(number).unwrap_or_else(|| {
            eprintln!("zproc: descriptor {number} was not handed over");
            sys::exit_now(EXIT_NO_ROLE)
        })
    })
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

/// What `ps` and `top` show of a function in 15 bytes: the last segment that says something.
fn title(function: &str) -> CString {
    let plain = function.split('<').next().unwrap_or(function);
    let segment = plain
        .rsplit("::")
        .find(|segment| !segment.is_empty() && !segment.starts_with('{'))
        .unwrap_or(function);
    CString::new(segment).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hook_has_run_in_the_test_harness() {
        assert!(has_run());
        // Which is why this returns.
        init();
    }

    #[test]
    fn titles_say_something() {
        for (function, expected) in [
            ("count", c"count"),
            ("a::b::count", c"count"),
            ("a::main::{{closure}}", c"main"),
            ("a::run<b::C>", c"run"),
            ("", c""),
        ] {
            assert_eq!(title(function).as_c_str(), expected);
        }
    }
}
