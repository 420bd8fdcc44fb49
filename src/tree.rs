//! The glue: how a tree begins for the program, and the mains of its server and its children.

use crate::api::context::{Context, Home};
use crate::api::shipped::{self, InitBody, InitSignature, ShippedFunctions};
use crate::client::{CallError, Connection};
use crate::driver::clock::Clock;
use crate::driver::port::{LossTeller, StopSign, UnixPort};
use crate::driver::server_loop::{self, LoopEnd, Sockets};
use crate::error::{Error, Kind, Operation, Result, Unconnected};
use crate::process::joining::{self, JoinError};
use crate::process::noted::Noted;
use crate::process::page::{Page, Told};
#[cfg(feature = "recording")]
use crate::process::record;
use crate::process::role::Functions;
use crate::process::start::{self, StartError, Tree};
use crate::process::{code, directory, overflow, panics, peer, stopping, sweep, sys};
use crate::proto::client::{Config, RefusalKind};
use crate::proto::ids::{ProcessId, Token};
use crate::proto::limits::{self, Limits};
use crate::proto::loss::{ServerEnd, ServerLoss};
use crate::proto::server::{self, Server};
use crate::runtime::Port;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Exit code of a child whose server is gone, or would not have it.
const EXIT_SERVER_LOST: i32 = 120;
/// Exit code of a server that has met a bug of its own, and of a child likewise.
const EXIT_BUG: i32 = 121;
/// The stack of the thread that runs a child's function: that of a main thread.
const STACK_BYTES: usize = 8 * 1024 * 1024;

impl Context {
    /// Starts a tree: a keeper and a server, with this program as its root.
    ///
    /// The tree lives as long as any handle of it does (context, state, watch, process); dropping
    /// the last one ends it and waits until nothing of it is left. However this program ends, the
    /// tree ends with it. Every call makes a tree of its own, in a process of another tree too.
    ///
    /// Processes of the tree get the environment and the arguments of this program as they are at
    /// this call, its working directory, its standard output and error, and `/dev/null` as input,
    /// unless [`Context::process`] says otherwise.
    ///
    /// As long as it has a tree, the program heeds SIGINT (the terminal's Ctrl-C) and SIGTERM, where
    /// they would end it; what it ignores or handles itself stays so. The first one asks it, and
    /// every process of its trees, to end: [`Context::stopping`] is true, and calls that wait end with
    /// [`is_stopped`](Error::is_stopped). See the
    /// [crate's docs](crate#signals-and-the-terminal) for what follows.
    ///
    /// # Errors
    /// The tree could not be started: no processes, descriptors or temporary directory to be had;
    /// or this program can't be started again as a process of the tree (the error says why; where
    /// the platform does not run the library's hook, it names [`init`](crate::init)).
    #[track_caller]
    pub fn new() -> Result<Context> {
        Context::builder().start()
    }

    /// Connects to a [server](crate::Server) that stands alone, and with it to all that are connected
    /// there: the state is theirs together.
    ///
    /// What [`Context::new`] says of the tree, its end and the signals holds here, too: this program has a
    /// keeper of its own, which starts its processes, and ends them when the program ends, however
    /// it does. But the server is not part of the tree:
    ///
    /// - When **this program** ends, what it and its processes own there is released, their locks too, and
    ///   their records tell that they have ended. The state stays, and the others go on.
    /// - When **the keeper** of this program is lost, its processes are ended, and the server takes
    ///   the program for ended, too: its calls fail with [`is_server_lost`](Error::is_server_lost), the
    ///   [reason](Error::server_loss) being [`ServerEnd::KeeperLost`](crate::ServerEnd::KeeperLost). The others go on.
    /// - When **the server** ends, this program's processes are ended. The program lives on, and its calls fail with
    ///   [`is_server_lost`](Error::is_server_lost). It may connect anew.
    ///
    /// The server runs no functions: [`State::atomic`](crate::State::atomic) ones and conditions of
    /// [`State::wait_until`](crate::State::wait_until) run here, and take effect as they do elsewhere. So
    /// programs need not be of one build; a process that is spawned always is of the build of the
    /// program that spawns it.
    ///
    /// Processes of all programs have numbers in one row, and their records in the namespace `""`. A
    /// program's own number is [`process_id`](Context::process_id). A process may be stopped or killed by
    /// whoever has it as a [`Process`](crate::Process); a program by nobody.
    ///
    /// # Errors
    /// At once, or after [`connect_timeout`](ContextBuilder::connect_timeout) at the latest:
    /// [`is_invalid`](Error::is_invalid), no socket can have this path, which is empty or of more than 107
    /// bytes; [`is_no_server`](Error::is_no_server), there is no such file, or nobody listens there;
    /// [`is_other_user`](Error::is_other_user), it is another user's;
    /// [`is_stranger`](Error::is_stranger), what is there is no server of zproc's;
    /// [`is_timeout`](Error::is_timeout), it does not answer;
    /// [`is_other_version`](Error::is_other_version); [`is_refused`](Error::is_refused), when the server
    /// belongs to one program's tree, or a limit is reached;
    /// and [`is_no_tree`](Error::is_no_tree), as [`Context::new`] gives it.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// # let place = tempfile::tempdir()?;
    /// # let path = place.path().join("state.socket");
    /// # let server = zproc::Server::bind(&path)?;
    /// # std::thread::spawn(move || server.run());
    /// let ctx = zproc::Context::connect(&path)?;
    /// ctx.state().set("visitors", &1)?;
    ///
    /// // As another program would.
    /// let other = zproc::Context::connect(&path)?;
    /// assert_eq!(other.state().add("visitors", 1)?, 2);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn connect(path: impl AsRef<Path>) -> Result<Context> {
        Context::builder().connect(path)
    }

    /// As [`Context::new`], with more to say on how.
    ///
    /// ```
    /// fn main() -> zproc::Result<()> {
    ///     fn set_up_logging(ctx: &zproc::Context) {
    ///         eprintln!("process {} begins", ctx.process_id());
    ///     }
    ///     let ctx = zproc::Context::builder().child_init(set_up_logging).start()?;
    ///     assert_eq!(ctx.spawn(|_, n: u64| n + 1, 1)?.join()?, 2);
    ///     Ok(())
    /// }
    /// ```
    pub fn builder() -> ContextBuilder {
        ContextBuilder::default()
    }
}

/// How a tree is to be started. Made by [`Context::builder`].
#[derive(Debug, Clone)]
#[must_use = "nothing is started before `start`"]
pub struct ContextBuilder {
    home: Home,
    function_time_max: Duration,
    grace: Duration,
    limits: Limits,
    functions: Functions,
    connect_timeout: Duration,
}

impl Default for ContextBuilder {
    fn default() -> ContextBuilder {
        ContextBuilder {
            home: Home::default(),
            function_time_max: limits::FUNCTION_TIME_MAX,
            grace: limits::GRACE,
            limits: Limits::USUAL,
            functions: Functions {
                // A panic that can't be caught would be the server's end.
                in_server: cfg!(panic = "unwind"),
                twice: false,
            },
            connect_timeout: limits::HELLO_TIMEOUT,
        }
    }
}

impl ContextBuilder {
    /// Has `f` run in each process of the tree, before the process's own function: for logging,
    /// handlers of signals, and whatever else `main` would do, which never runs there.
    ///
    /// As the functions of processes it captures nothing. If it panics, the process ends so. It must
    /// not spawn: what it spawned would run it, too, and so on without end.
    pub fn child_init<F>(mut self, f: F) -> ContextBuilder
    where
        F: Fn(&Context) + Copy + Send + 'static,
    {
        self.home.init = Some(code::ship::<F, InitSignature, InitBody>(f));
        self
    }

    /// How long a function may run in the server, atomic functions and conditions of waits; 10
    /// seconds if nothing is said. Everybody waits meanwhile, so one that takes longer is ended, and
    /// the server and the tree with it: see [`Error::server_loss`].
    pub fn function_time_max(mut self, limit: Duration) -> ContextBuilder {
        self.function_time_max = limit;
        self
    }

    /// How long the tree may take to end when the program is asked to, by Ctrl-C or SIGTERM; 5
    /// seconds if nothing is said. See [`Context::new`]. A process whose
    /// [own grace](crate::ProcessBuilder::grace) is shorter has only that; one that was given none has
    /// as long as the tree.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// use std::time::Duration;
    ///
    /// let ctx = zproc::Context::builder().grace(Duration::from_secs(30)).start()?;
    /// # assert_eq!(ctx.spawn(|_, n: u64| n + 1, 1)?.join()?, 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn grace(mut self, grace: Duration) -> ContextBuilder {
        self.grace = grace;
        self
    }

    /// How much the tree may hold of everything: [`Limits`].
    pub fn limits(mut self, limits: Limits) -> ContextBuilder {
        self.limits = limits;
        self
    }

    /// A mode for tests: has each [atomic](crate::State::atomic) function and each condition of
    /// [`wait_until`](crate::State::wait_until) that captures nothing run twice on the same state, and
    /// what it has done compared: the keys that it wrote with their values and whether they stay their owner's, and what it returned
    /// (values as [`wait_equal`](crate::State::wait_equal) compares them, so maps in any order), its
    /// error or its panic. One that does not do the same depends on something besides the state
    /// and its argument, such as a static, a clock or chance. Its caller gets an error that
    /// [says so](Error::is_not_deterministic), and the state is as it was.
    ///
    /// What the first run has written is undone before the second, whose doing counts. Functions
    /// take twice as long, and everybody waits meanwhile. [Transactions](crate::State::transaction) and conditions that
    /// capture are run as ever: what they depend on is their caller's affair.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use zproc::{Context, Result, Txn};
    ///
    /// fn number(txn: &mut Txn<'_>, key: String) -> Result<()> {
    ///     static LAST: AtomicU64 = AtomicU64::new(0);
    ///     txn.set(&key, &LAST.fetch_add(1, Ordering::Relaxed))
    /// }
    ///
    /// let ctx = Context::builder().run_functions_twice(true).start()?;
    /// let error = ctx.state().atomic(number, "a".to_owned()).unwrap_err();
    /// assert!(error.is_not_deterministic());
    /// // .. key "a" in namespace "default" became the integer 0, and the second time became the integer 1 ..
    /// assert!(error.to_string().contains("\"a\""));
    /// assert!(ctx.state().is_empty()?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn run_functions_twice(mut self, twice: bool) -> ContextBuilder {
        self.functions.twice = twice;
        self
    }

    /// Has functions run in their callers, as with `panic = "abort"`.
    ///
    /// Unstable: for the tests of this crate.
    #[doc(hidden)]
    pub fn run_functions_here(mut self) -> ContextBuilder {
        self.functions.in_server = false;
        self
    }

    /// How long a server may take to answer when this program [connects](ContextBuilder::connect) to it;
    /// 10 seconds if nothing is said.
    pub fn connect_timeout(mut self, timeout: Duration) -> ContextBuilder {
        self.connect_timeout = timeout;
        self
    }

    /// Connects to a server that stands alone, as [`Context::connect`] does.
    ///
    /// [`limits`](ContextBuilder::limits) and
    /// [`function_time_max`](ContextBuilder::function_time_max) have no part in it: they are of a
    /// server that this program would start.
    ///
    /// # Errors
    /// As for [`Context::connect`]; and [`is_invalid`](Error::is_invalid) where functions are to be
    /// [run twice](ContextBuilder::run_functions_twice), which servers do that a program starts itself.
    #[track_caller]
    pub fn connect(self, path: impl AsRef<Path>) -> Result<Context> {
        let shown = path.as_ref().to_string_lossy();
        let operation = Operation {
            verb: "Context::connect",
            object: Some(&shown),
            namespace: None,
            caller: Location::caller(),
        };
        let failed = |why| Error::new(Kind::Unconnected(why), &operation);
        if self.functions.twice {
            let why = "run_functions_twice is of a server that this program starts itself";
            return Err(Error::new(Kind::Invalid(why.to_owned()), &operation));
        }
        let no_tree = |error: StartError| Error::new(Kind::NoTree(error.to_string()), &operation);
        start::check().map_err(no_tree)?;
        if path.as_ref().as_os_str().is_empty() {
            let why = "the path is empty".to_owned();
            return Err(Error::new(Kind::Invalid(why), &operation));
        }
        // Its processes may be elsewhere, and so may the program itself when it comes back.
        let path = std::path::absolute(path.as_ref())
            .map_err(|error| failed(Unconnected::System(error.to_string())))?;
        let joined = joining::join(&path, self.connect_timeout)
            .map_err(|error| Error::new(error.into(), &operation))?;
        let tree = start::start(start::Server::Other(joined), self.grace).map_err(no_tree)?;
        open(tree, self.home)
    }

    /// Starts the tree.
    ///
    /// # Errors
    /// As for [`Context::new`]; and [`is_bad_limits`](Error::is_bad_limits) if the
    /// [limits](ContextBuilder::limits) do not fit each other.
    #[track_caller]
    pub fn start(self) -> Result<Context> {
        let operation = Operation {
            verb: "Context::new",
            object: None,
            namespace: None,
            caller: Location::caller(),
        };
        self.limits
            .check()
            .map_err(|unfit| Error::new(Kind::BadLimits(unfit.to_string()), &operation))?;
        let server = start::Server::Own {
            function_time_max: self.function_time_max,
            limits: self.limits,
            functions: self.functions,
        };
        let tree = start::check()
            .and_then(|()| start::start(server, self.grace))
            .map_err(|error| Error::new(Kind::NoTree(error.to_string()), &operation))?;
        open(tree, self.home)
    }
}

/// The program's context, of a tree that stands.
#[track_caller]
fn open(tree: Tree, home: Home) -> Result<Context> {
    let process = tree.process;
    begin(process);
    let page = Arc::clone(&tree.page);
    let connection = connect(&tree.socket, process, tree.key, page)?;
    Ok(Context::from_connection(connection, process, Some(Arc::new(tree))).at_home(home))
}

impl From<JoinError> for Kind {
    fn from(error: JoinError) -> Kind {
        Kind::Unconnected(match error {
            JoinError::BadPath(why) => return Kind::Invalid(why.to_owned()),
            JoinError::NoFile => Unconnected::NoFile,
            JoinError::Nobody => Unconnected::Nobody,
            JoinError::OtherUser => Unconnected::OtherUser,
            JoinError::Silent(limit) => Unconnected::Silent(limit),
            JoinError::Stranger(what) => Unconnected::Stranger(what.to_owned()),
            JoinError::Refused(RefusalKind::Version, text) => Unconnected::OtherVersion(text),
            JoinError::Refused(_, text) => Unconnected::Refused(text),
            JoinError::System(error) => Unconnected::System(error.to_string()),
        })
    }
}

/// Where the server of this context's tree listens; `None` where the program did not start it.
#[must_use]
pub fn socket_path(ctx: &Context) -> Option<PathBuf> {
    let tree = ctx.kept()?.downcast_ref::<Tree>()?;
    Some(tree.socket.clone())
}

#[track_caller]
fn connect(
    socket: &Path,
    process: ProcessId,
    key: Token,
    page: Arc<OwnedFd>,
) -> Result<Connection> {
    let operation = Operation {
        verb: "connect",
        object: None,
        namespace: None,
        caller: Location::caller(),
    };
    let config = Config {
        process,
        key,
        pid: std::process::id(),
        build: code::build_id(),
        in_flight_max: limits::IN_FLIGHT_MAX,
        part_bytes_max: limits::PART_BYTES_MAX,
    };
    let told = page.clone();
    let runs = move || {
        let page = Page::map(told.as_fd()).ok()?;
        let (function, ran) = page.running()?;
        Some((function.to_owned(), ran))
    };
    let known_page = Arc::clone(&page);
    let loss = LossTeller {
        known: Box::new(move || Page::map(known_page.as_fd()).ok()?.known_loss()),
        wait: Box::new(move || match Page::map(page.as_fd()) {
            Ok(page) => page.loss(),
            Err(_) => ServerLoss::new(ServerEnd::Unseen),
        }),
    };
    let stop = StopSign {
        is_asked: stopping::is_asked,
        bell: stopping::bell(),
    };
    UnixPort::new(socket, sys::generation, loss, stop)
        .map_err(CallError::Connect)
        .map(|port| port.with_runs(Box::new(runs)))
        .and_then(|port| Connection::open(witnessed(port), config))
        .map_err(|error| Error::new(error.into(), &operation))
}

/// This process begins its role as a process of the tree that calls.
#[cfg(not(feature = "recording"))]
fn begin(_: ProcessId) {}

#[cfg(feature = "recording")]
fn begin(process: ProcessId) {
    record::begin(record::Who::Process(process));
}

/// The port, and with the feature `recording` perhaps a recorder in front of it.
#[cfg(not(feature = "recording"))]
fn witnessed(port: UnixPort) -> Arc<dyn Port> {
    Arc::new(port)
}

#[cfg(feature = "recording")]
fn witnessed(port: UnixPort) -> Arc<dyn Port> {
    record::port(port)
}

/// What the server is started with.
pub(crate) struct ServerStart {
    pub(crate) tree: String,
    pub(crate) directory: PathBuf,
    pub(crate) key: Token,
    /// Socket to the keeper.
    pub(crate) link: OwnedFd,
    pub(crate) listener: OwnedFd,
    pub(crate) lock: OwnedFd,
    /// The page in which it notes the functions that it runs.
    pub(crate) page: OwnedFd,
    /// Rung when it begins one and the keeper does not watch.
    pub(crate) bell: OwnedFd,
    /// What it allows.
    pub(crate) limits: Limits,
    pub(crate) functions: Functions,
}

/// Runs the server until its keeper is gone.
pub(crate) fn server_main(start: ServerStart) -> ! {
    // Panics of functions are told to those who called them, not to this process's output.
    panics::install(panics::Options {
        backtraces: true,
        print: false,
    });
    // Should the keeper be lost already, it is the guard that this names, which is as good.
    let keeper = sys::pidfd_open(sys::parent());
    // Held open for as long as this process lives: it says that the directory is in use.
    let _lock = start.lock;
    let sockets = Sockets {
        listener: UnixListener::from(start.listener),
        keeper: UnixStream::from(start.link),
        admits: peer::is_own_user,
        #[cfg(feature = "recording")]
        witness: record::commits,
    };
    #[cfg(feature = "recording")]
    record::begin(record::Who::Server);
    let (Ok(own_page), Ok(page)) = (Page::map(start.page.as_fd()), Page::map(start.page.as_fd()))
    else {
        eprintln!("zproc-server: there is no memory for a page");
        sys::exit_now(EXIT_BUG)
    };
    let functions = Noted::new(ShippedFunctions, own_page, start.bell);
    let (key, limits, how) = (start.key, start.limits, start.functions);
    let end = catch_unwind(AssertUnwindSafe(|| {
        let seed = [(); 2].map(|()| sys::random_u64().expect("the kernel has randomness"));
        let mut config = server_config(key, seed);
        config.limits = limits;
        config.runs_functions = how.in_server;
        config.runs_functions_twice = how.twice;
        let clock = Clock::new();
        let server = Server::new(config, Box::new(functions), clock.now());
        server_loop::run(server, clock, sockets, || {})
    }));
    match end {
        Ok(LoopEnd::KeeperLost) => {
            if let Ok(keeper) = keeper {
                sweep::leave_to_guard(&keeper, &start.tree);
            }
            // Nobody else is left to do it.
            page.tell(Told::KeeperLost);
            sweep::kill_marked(&start.tree);
            directory::remove_at_end(&start.directory);
            sys::exit_now(0)
        }
        // The keeper sees us end, and ends the tree.
        Ok(LoopEnd::KeeperMalformed(what)) => {
            eprintln!("zproc-server: the keeper sent nonsense: {what}");
            sys::exit_now(EXIT_BUG)
        }
        Ok(LoopEnd::Broken(error)) => {
            eprintln!("zproc-server: the event loop failed: {error}");
            sys::exit_now(EXIT_BUG)
        }
        Err(_) => {
            eprintln!("zproc-server: this is a bug in zproc (see the panic above)");
            sys::exit_now(EXIT_BUG)
        }
    }
}

#[cfg(not(feature = "recording"))]
fn server_config(key: Token, seed: [u64; 2]) -> server::Config {
    let mut config = server::Config::new(code::build_id(), key, seed);
    config.pid = std::process::id();
    config
}

#[cfg(feature = "recording")]
fn server_config(key: Token, seed: [u64; 2]) -> server::Config {
    let mut config = server::Config::new(code::build_id(), key, seed);
    config.pid = std::process::id();
    config.record_commits = record::is_on();
    config
}

/// What a child is started with.
pub(crate) struct ChildStart {
    /// Where the server listens.
    pub(crate) socket: PathBuf,
    pub(crate) process: ProcessId,
    pub(crate) key: Token,
    /// Its function, for people.
    pub(crate) name: String,
    /// The page that tells of the server's end.
    pub(crate) page: OwnedFd,
}

/// Runs one function of the user's, as if `main` had begun, and ends the process.
pub(crate) fn child_main(start: ChildStart) -> ! {
    // Printed, too, since perhaps nobody joins it.
    panics::install(panics::Options {
        backtraces: true,
        print: true,
    });
    let process = start.process;
    let name = start.name.replace('\0', "");
    let thread = std::thread::Builder::new()
        .name(name.clone())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            overflow::watch_this_thread(&start.name);
            run_child(start)
        });
    let code = match thread.map(std::thread::JoinHandle::join) {
        Ok(Ok(Ok(()))) => 0,
        Ok(Ok(Err(what))) => {
            eprintln!("zproc: process {process} ({name}) ends: {what}");
            EXIT_SERVER_LOST
        }
        Ok(Err(_)) => {
            eprintln!("zproc: process {process} ({name}): a bug in zproc (see the panic above)");
            EXIT_BUG
        }
        Err(error) => {
            eprintln!("zproc: process {process} ({name}): no thread to run it: {error}");
            EXIT_BUG
        }
    };
    // Not the short way: this flushes the standard output.
    std::process::exit(code)
}

/// Asks what to run, runs it, and tells what came of it.
fn run_child(start: ChildStart) -> Result<()> {
    begin(start.process);
    let page = Arc::new(start.page);
    let connection = connect(&start.socket, start.process, start.key, page)?;
    let context = Context::from_connection(connection, start.process, None);
    let result = shipped::run_task(&context);
    // Dropping the last handle would end the session, which is the keeper's to tell: the process
    // ends when it is dead, not before.
    std::mem::forget(context);
    result
}
