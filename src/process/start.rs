//! The program's side of the start and the end of a tree.

use super::joining::Joined;
use super::launch::{Changes, Kind, Launch, LaunchError, launch};
use super::role::{self, Functions, KeeperRole, Role, TREE_VARIABLE, ToProgram, UpstreamRole};
use super::stopping;
use super::sys::{self, Pid};
use super::{directory, entry, keeper, page};
use crate::proto::codec;
use crate::proto::frame;
use crate::proto::ids::{ProcessId, Token};
use crate::proto::limits::Limits;
use crate::proto::time::nanoseconds;
use std::ffi::{CString, OsStr};
use std::io::{self, Read as _};
use std::net::Shutdown;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long the keeper may take to say that the tree stands: a machine under load is slow.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the program waits for its tree to end, its grace not counted: longer than the keeper goes
/// on without progress.
const END_TIMEOUT: Duration = Duration::from_secs(20);

/// Why there is no tree.
#[derive(Debug)]
pub(crate) enum StartError {
    /// The hook did not run before `main`.
    HookDidNotRun,
    /// The program has more rights than its user.
    Secure,
    /// The hook is part of a shared library, not of the program that would be started again.
    NotInExecutable,
    /// No directory for the socket.
    Directory(io::Error),
    /// The keeper could not be started.
    Keeper(LaunchError),
    /// The keeper could not set up the tree.
    Failed(String),
    /// A system call failed before that.
    System(&'static str, io::Error),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StartError::HookDidNotRun => f.write_str(
                "zproc's hook did not run before main on this platform: \
                 call zproc::init() first thing in main",
            ),
            StartError::Secure => f.write_str(
                "zproc starts no processes in a program that has more rights than its user \
                 (setuid, setgid or file capabilities)",
            ),
            StartError::NotInExecutable => f.write_str(
                "zproc is part of a shared library here, and /proc/self/exe is another program; \
                 it has to be linked into the executable itself",
            ),
            StartError::Directory(error) => write!(f, "{error}"),
            StartError::Keeper(error) => write!(f, "the keeper could not be started: {error}"),
            StartError::Failed(what) => write!(f, "the keeper could not set up the tree: {what}"),
            StartError::System(call, error) => write!(f, "{call} failed: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// The server that a tree is to have.
#[expect(clippy::large_enum_variant, reason = "there is one, once")]
pub(crate) enum Server {
    /// One of its own.
    Own {
        /// How long a function in it may run.
        function_time_max: Duration,
        limits: Limits,
        functions: Functions,
    },
    /// One that has taken the program in.
    Other(Joined),
}

/// A tree that stands.
pub(crate) struct Tree {
    #[expect(dead_code, reason = "it is kept for its drop")]
    pub(crate) guard: Guard,
    /// Behind the guard: while that waits for the tree's end, signals ask still.
    #[expect(dead_code, reason = "it is kept for its drop")]
    pub(crate) heeds: stopping::Heeds,
    /// Where its server listens.
    pub(crate) socket: PathBuf,
    /// Who the program is to the server.
    pub(crate) process: ProcessId,
    /// The program's secret.
    pub(crate) key: Token,
    /// The page that tells of the server's end.
    pub(crate) page: Arc<OwnedFd>,
}

/// Holds the tree: dropped, it ends it and waits until nothing is left.
pub(crate) struct Guard {
    lifeline: UnixStream,
    keeper: Pid,
    owner: Pid,
    grace: Duration,
}

impl Drop for Guard {
    fn drop(&mut self) {
        // After a fork(2) of the user's the tree is the parent's.
        if self.owner != sys::pid() {
            return;
        }
        // Failing means that the keeper has ended already.
        let _ = self.lifeline.shutdown(Shutdown::Write);
        let limit = END_TIMEOUT.saturating_add(self.grace);
        let _ = self.lifeline.set_read_timeout(Some(limit));
        let mut buffer = [0; 64];
        loop {
            match self.lifeline.read(&mut buffer) {
                Ok(1..) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Its end has closed: nothing is left. Or the time is up.
                Ok(0) | Err(_) => break,
            }
        }
        // It is a child of ours only if this program is the one that orphans go to.
        sys::reap_quietly(self.keeper);
    }
}

/// Can this program have a tree at all?
///
/// # Errors
/// See [`StartError`].
pub(crate) fn check() -> Result<(), StartError> {
    if sys::is_secure() {
        return Err(StartError::Secure);
    }
    if !entry::has_run() {
        return Err(StartError::HookDidNotRun);
    }
    if !is_in_executable(entry::address()) {
        return Err(StartError::NotInExecutable);
    }
    Ok(())
}

/// Starts a tree: its keeper, and by that its server, if it is to have one of its own, in a directory.
/// The program has passed the [`check`].
///
/// # Errors
/// See [`StartError`]; then nothing is left of the attempt.
pub(crate) fn start(server: Server, grace: Duration) -> Result<Tree, StartError> {
    let failed = |call| move |error| StartError::System(call, error);
    let joined = match server {
        Server::Other(joined) => joined,
        Server::Own {
            function_time_max,
            limits,
            functions,
        } => {
            let directory = directory::create().map_err(StartError::Directory)?;
            let result = start_in(&directory, function_time_max, limits, functions, grace);
            if result.is_err() {
                directory::remove_at_end(&directory.path);
            }
            // Our copy of the lock closes here: the keeper and the server hold it from now on.
            return result;
        }
    };
    let mut name = [0; 8];
    sys::random(&mut name).map_err(failed("getrandom"))?;
    let link = joined.link.as_raw_fd();
    let upstream = UpstreamRole::Other {
        socket: joined.socket.as_os_str().as_bytes(),
        link,
    };
    let who = (joined.process, joined.key);
    // Our copy of the link closes here: from now on it is the keeper's.
    start_keeper(&role::hex(&name), upstream, link, who, grace)
}

fn start_in(
    directory: &directory::Directory,
    function_time_max: Duration,
    limits: Limits,
    functions: Functions,
    grace: Duration,
) -> Result<Tree, StartError> {
    let failed = |call| move |error| StartError::System(call, error);
    let key = Token([
        sys::random_u64().map_err(failed("getrandom"))?,
        sys::random_u64().map_err(failed("getrandom"))?,
    ]);
    let lock = directory.lock.as_raw_fd();
    let upstream = UpstreamRole::Own {
        directory: directory.path.as_os_str().as_bytes(),
        key,
        lock,
        function_time_max_ns: nanoseconds(function_time_max),
        limits,
        functions,
    };
    let who = (ProcessId::PROGRAM, key);
    start_keeper(&directory.tree, upstream, lock, who, grace)
}

/// Starts the keeper of a tree of this name. `held` is the descriptor that `upstream` names.
fn start_keeper(
    tree: &str,
    upstream: UpstreamRole<'_>,
    held: RawFd,
    (process, key): (ProcessId, Token),
    grace: Duration,
) -> Result<Tree, StartError> {
    let failed = |call| move |error| StartError::System(call, error);
    let (lifeline, far_lifeline) = UnixStream::pair().map_err(failed("socketpair"))?;
    let program = sys::pidfd_open(sys::pid()).map_err(failed("pidfd_open"))?;
    let page = page::create().map_err(failed("memfd_create"))?;
    // From here on a signal is not lost, and it ends nothing at once.
    let heeds = stopping::heed_for_a_tree().map_err(failed("eventfd"))?;
    let role = Role::Keeper(KeeperRole {
        tree,
        upstream,
        lifeline: far_lifeline.as_raw_fd(),
        program: program.as_raw_fd(),
        page: page.as_raw_fd(),
        stop_bell: heeds.bell(),
        last_signal: heeds.last_signal(),
        grace_ns: nanoseconds(grace),
    });
    let packed = role::pack(&role).map_err(failed("pipe"))?;
    let inherit = [
        packed.pipe.as_raw_fd(),
        far_lifeline.as_raw_fd(),
        program.as_raw_fd(),
        held,
        page.as_raw_fd(),
        heeds.bell(),
    ];
    let mut environment = keeper::environment();
    environment.extend([packed.variable, mark(tree)]);
    let keeper = launch(&Launch {
        kind: Kind::Hidden,
        arguments: &arguments(),
        environment: &environment,
        inherit: &inherit,
        changes: &Changes::default(),
    })
    .map_err(StartError::Keeper)?;
    // Else its end would not show.
    drop(OwnedFd::from(far_lifeline));
    let guard = Guard {
        lifeline,
        keeper,
        owner: sys::pid(),
        grace,
    };
    let socket = wait_until_ready(&guard.lifeline)?;
    Ok(Tree {
        guard,
        heeds,
        socket,
        process,
        key,
        page: Arc::new(page),
    })
}

/// The keeper's arguments: a name of its own, and then the program's, for the children.
fn arguments() -> Vec<CString> {
    let own = std::env::args_os().skip(1);
    [CString::from(c"zproc-keeper")]
        .into_iter()
        .chain(own.filter_map(|argument| CString::new(argument.into_vec()).ok()))
        .collect()
}

/// The mark of the tree, behind those of the trees that this process belongs to itself.
fn mark(tree: &str) -> CString {
    let mut mark = format!("{TREE_VARIABLE}=").into_bytes();
    if let Some(outer) = std::env::var_os(TREE_VARIABLE) {
        mark.extend_from_slice(outer.as_bytes());
        mark.push(b',');
    }
    mark.extend_from_slice(tree.as_bytes());
    CString::new(mark).expect("neither the environment nor a name of ours holds a zero")
}

fn wait_until_ready(mut lifeline: &UnixStream) -> Result<PathBuf, StartError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            StartError::Failed("it ended without a word (a library's constructor?)".to_string())
        }
        io::ErrorKind::WouldBlock => StartError::Failed(format!(
            "it said nothing for {} seconds",
            READY_TIMEOUT.as_secs()
        )),
        _ => StartError::System("read", error),
    };
    lifeline
        .set_read_timeout(Some(READY_TIMEOUT))
        .map_err(failed)?;
    let mut prefix = [0; frame::PREFIX_BYTES];
    lifeline.read_exact(&mut prefix).map_err(failed)?;
    let mut payload = vec![0; (u32::from_le_bytes(prefix) as usize).min(64 * 1024)];
    lifeline.read_exact(&mut payload).map_err(failed)?;
    match codec::decode(&payload) {
        Ok(ToProgram::Ready { socket }) => Ok(PathBuf::from(OsStr::from_bytes(socket))),
        Ok(ToProgram::Failed { what }) => Err(StartError::Failed(what.to_string())),
        Err(error) => Err(StartError::Failed(error.to_string())),
    }
}

/// Is the code at this address part of the program that `/proc/self/exe` is? Where that can't be
/// told, yes.
fn is_in_executable(address: usize) -> bool {
    let Ok(executable) = std::fs::read_link("/proc/self/exe") else {
        return true;
    };
    let Ok(maps) = std::fs::File::open("/proc/self/maps") else {
        return true;
    };
    let executable = executable.into_os_string().into_vec();
    if executable.contains(&b'\n') || executable.contains(&b'\\') {
        // These are written in another way there.
        return true;
    }
    // The executable's own lines come first, mostly, so this reads little.
    for line in io::BufRead::split(io::BufReader::new(maps), b'\n') {
        let Ok(line) = line else { return true };
        if range(&line).is_some_and(|range| range.contains(&address)) {
            let path = line.iter().position(|&byte| byte == b'/');
            return path.is_none_or(|path| line[path..] == executable[..]);
        }
    }
    true
}

/// The addresses of a line of `/proc/self/maps`.
fn range(line: &[u8]) -> Option<std::ops::Range<usize>> {
    let field = std::str::from_utf8(line.split(|&byte| byte == b' ').next()?).ok()?;
    let (start, end) = field.split_once('-')?;
    Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_code_is_in_the_executable_and_the_c_library_is_not() {
        assert!(is_in_executable(entry::address()));
        // Any other file that is mapped: the C library, or the loader.
        let maps = std::fs::read("/proc/self/maps").expect("maps");
        let other = maps
            .split(|&byte| byte == b'\n')
            .find(|line| line.windows(3).any(|part| part == b".so"));
        if let Some(line) = other {
            let address = range(line).expect("a range").start;
            assert!(!is_in_executable(address));
        }
    }
}
