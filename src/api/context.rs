//! The context: a program's, or a process's, hold on its tree.

use super::process::Process;
use super::processes::Processes;
use super::run::Touched;
use super::shipped::{InitSignature, ProcessBody, ProcessSignature};
use super::spawn::ProcessBuilder;
use super::state::State;
use crate::client::contended::Contended;
use crate::client::{CallError, Connection};
use crate::error::{Error, Kind, Operation, Result, Wanted};
use crate::process::code::{self, Shipped};
use crate::proto::dump::{Dump, RunningDump};
use crate::proto::ids::ProcessId;
use crate::proto::limits::{DUMP_LINES_MAX, DUMP_TIMEOUT};
use crate::proto::marks::{self, Mark};
use crate::proto::message::{Reply, Request};
use crate::proto::time::{AT_ONCE, Time};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::Any;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

/// A hold on the state and the processes: of a program's own tree, or of all programs at a
/// [server](crate::Server) that stands alone.
///
/// The program gets one from `Context::new`; a process's function is given one. Clones are cheap
/// and mean the same, in any thread; every handle made from it ([`State`], [`Process`],
/// [`Watch`](crate::Watch)) holds the tree as it does. When the program's last handle is dropped,
/// the tree ends; in a process, dropping handles does nothing.
///
/// ```
/// fn main() -> zproc::Result<()> {
///     let ctx = zproc::Context::new()?;
///     ctx.state().set("greeting", "hello")?;
///     let process = ctx.spawn(|ctx, name: String| {
///         let greeting: String = ctx.state().get("greeting").unwrap().unwrap();
///         format!("{greeting}, {name}")
///     }, "world".to_owned())?;
///     assert_eq!(process.join()?, "hello, world");
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Context {
    inner: Arc<Inner>,
}

struct Inner {
    // Dropped in this order: the connection before what it leads to.
    connection: Connection,
    process: ProcessId,
    home: Home,
    contended: Contended<Touched>,
    keep: Option<Arc<dyn Any + Send + Sync>>,
}

/// What a process was given by those above it.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    /// What [`Context::state`] is.
    pub(crate) namespace: Arc<str>,
    /// Runs first in each process that it starts.
    pub(crate) init: Option<Shipped<InitSignature>>,
}

impl Default for Home {
    fn default() -> Home {
        Home {
            namespace: "default".into(),
            init: None,
        }
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("process", &self.inner.process)
            .finish_non_exhaustive()
    }
}

impl Context {
    /// A context on a connection that is there already: for `Context::new`, the main functions of
    /// child roles, and the simulator. What `keep` holds is dropped with the last handle, after
    /// the connection.
    ///
    /// Unstable: part of the [seam](crate::seam).
    #[doc(hidden)]
    #[must_use]
    pub fn from_connection(
        connection: Connection,
        process: ProcessId,
        keep: Option<Arc<dyn Any + Send + Sync>>,
    ) -> Context {
        Context {
            inner: Arc::new(Inner {
                connection,
                process,
                home: Home::default(),
                contended: Contended::default(),
                keep,
            }),
        }
    }

    /// The same with another home. For its first holder, before there are clones of it.
    pub(crate) fn at_home(&self, home: Home) -> Context {
        Context {
            inner: Arc::new(Inner {
                connection: self.inner.connection.clone(),
                process: self.inner.process,
                home,
                contended: Contended::default(),
                keep: self.inner.keep.clone(),
            }),
        }
    }

    pub(super) fn contended(&self) -> &Contended<Touched> {
        &self.inner.contended
    }

    pub(crate) fn home(&self) -> &Home {
        &self.inner.home
    }

    /// What was given to be kept.
    pub(crate) fn kept(&self) -> Option<&(dyn Any + Send + Sync)> {
        self.inner.keep.as_deref()
    }

    /// The state: the namespace `"default"`, or the one that the process was
    /// [given](ProcessBuilder::namespace).
    #[must_use]
    pub fn state(&self) -> State {
        State::new(self.clone(), self.inner.home.namespace.clone())
    }

    /// A namespace: a dict of its own, on the same server, in the same order of revisions. It need
    /// not be made first.
    ///
    /// The namespace `""` is the framework's: it can be read, waited on and watched, not written.
    /// It holds a record for each process, under the key `process/{id}`.
    ///
    /// A name over its limit of 255 bytes is told by each call on the handle.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// let ctx = zproc::Context::new()?;
    /// let jobs = ctx.namespace("jobs");
    /// jobs.set("a", &1)?;
    /// assert!(!ctx.state().contains_key("a")?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn namespace(&self, name: impl Into<Arc<str>>) -> State {
        State::new(self.clone(), name.into())
    }

    /// Starts a process that runs `f(ctx, args)`, with a context of its own on the same tree.
    ///
    /// `f` is an ordinary function, or a closure that captures nothing: what it needs goes into
    /// `args`, any serde type (a tuple for more than one), of up to 64 MiB as MessagePack (where a `Vec<u8>`
    /// is a list of numbers; `serde_bytes` makes it one piece). It runs in a fresh process of this
    /// program, in which `main` never runs, so it sees no statics that `main` has set. What it
    /// returns, an `Err`, a panic, an exit or a signal is told by [`Process::join`].
    ///
    /// The process may spawn others. When it ends, its children are ended too, but for those
    /// [at the root](ProcessBuilder::at_root), and those that were asked to end before, which have the
    /// rest of their grace; when the program ends, all are.
    ///
    /// Returns when the process has an id and a record; that it could not be started after all is
    /// told by `join`.
    ///
    /// # Errors
    /// [`is_unencodable`](Error::is_unencodable) or [`is_limit`](Error::is_limit) for `args`;
    /// [`is_limit`](Error::is_limit) when there are too many processes; and what a lost server
    /// gives.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// fn add(_: &zproc::Context, (a, b): (u64, u64)) -> u64 {
    ///     a + b
    /// }
    /// let ctx = zproc::Context::new()?;
    /// assert_eq!(ctx.spawn(add, (2, 3))?.join()?, 5);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A closure that captures does not compile:
    ///
    /// ```compile_fail
    /// let ctx = zproc::Context::new().unwrap();
    /// let factor = 3;
    /// ctx.spawn(move |_, n: u64| n * factor, 14).unwrap();
    /// ```
    ///
    /// Nor does one that never returns, since its type `!` is no serde type. A type that it might
    /// return helps:
    ///
    /// ```compile_fail
    /// let ctx = zproc::Context::new().unwrap();
    /// ctx.spawn(|_, code: i32| std::process::exit(code), 3).unwrap();
    /// ```
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// let ctx = zproc::Context::new()?;
    /// let process = ctx.spawn(|_, code: i32| -> () { std::process::exit(code) }, 3)?;
    /// assert_eq!(process.join().unwrap_err().exit_code(), Some(3));
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn<F, A, R>(&self, f: F, args: A) -> Result<Process<R>>
    where
        F: Fn(&Context, A) -> R + Copy + Send + 'static,
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.process(f).spawn(args)
    }

    /// As [`spawn`](Context::spawn), with more to say on how: `f` is what the process runs,
    /// [`ProcessBuilder::spawn`] starts it.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// fn greet(_: &zproc::Context, name: String) -> String {
    ///     format!("{}, {name}", std::env::var("GREETING").unwrap())
    /// }
    /// let ctx = zproc::Context::new()?;
    /// let process = ctx
    ///     .process(greet)
    ///     .name("greeter")
    ///     .env("GREETING", "good morning")
    ///     .current_dir("/")
    ///     .spawn("world".to_owned())?;
    /// assert_eq!(process.join()?, "good morning, world");
    /// # Ok(())
    /// # }
    /// ```
    pub fn process<F, A, R>(&self, f: F) -> ProcessBuilder<A, R>
    where
        F: Fn(&Context, A) -> R + Copy + Send + 'static,
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        let function = code::ship::<F, ProcessSignature, ProcessBody<A, R>>(f);
        ProcessBuilder::new(self.clone(), function.reference())
    }

    /// The table of all processes that the tree has started, with what they use: those that live,
    /// and the last 1024 that have ended. At a [server](crate::Server) that stands alone these are all
    /// programs, and the processes of all.
    ///
    /// The same records can be read, [waited on](State::wait_until) and [watched](State::watch) in
    /// the namespace `""`; what those that live use now is not in them, but asked of the system
    /// here.
    ///
    /// # Errors
    /// What a lost server gives.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// use zproc::{Context, ProcessState};
    ///
    /// let ctx = Context::new()?;
    /// let process = ctx.process(|_: &Context, ()| ()).name("short-lived").spawn(())?;
    /// process.outcome()?;
    /// let processes = ctx.processes()?;
    /// let found = processes.find(process.id()).unwrap();
    /// assert_eq!(found.state, ProcessState::Ended);
    /// assert_eq!(found.outcome.as_deref(), Some("returned"));
    /// // id  parent  state  pid   cpu    memory   age   name         outcome
    /// // #2      #1  ended  4711  2 ms   4 MiB    9 ms  short-lived  returned
    /// println!("{processes}");
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn processes(&self) -> Result<Processes> {
        Processes::read(self)
    }

    /// This process's id: no other of the tree, or of all programs at one server, ever has the same.
    /// The program's own is [`ProcessId::PROGRAM`], unless it has
    /// [connected](Context::connect) to a server, which numbers its programs as they come.
    #[must_use]
    pub fn process_id(&self) -> ProcessId {
        self.inner.process
    }

    /// Was this process asked to end? By [`Process::stop`], or by anybody's SIGTERM or SIGINT; with the
    /// program, by Ctrl-C, all its processes are.
    ///
    /// Once true it stays so. Calls that wait end then by themselves, with
    /// [`is_stopped`](Error::is_stopped); a function that works on without waiting looks here now and
    /// then, and returns soon: when its grace is over, it is killed.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// use zproc::Context;
    ///
    /// fn count(ctx: &Context, _: ()) -> zproc::Result<u64> {
    ///     let mut number = 0;
    ///     ctx.state().set("counts", &true)?;
    ///     while !ctx.stopping() {
    ///         number += 1;
    ///     }
    ///     Ok(number)
    /// }
    ///
    /// let ctx = Context::new()?;
    /// let counter = ctx.spawn(count, ())?;
    /// ctx.state().wait_equal("counts", &true)?;
    /// assert!(counter.stop(None)?.is_value());
    /// assert!(!ctx.stopping());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn stopping(&self) -> bool {
        self.inner.connection.port().is_stopping()
    }

    /// Asks the server for a sign of life, and waits so long for it: the server's number in the
    /// system.
    ///
    /// # Errors
    /// [`is_timeout`](Error::is_timeout) when it did not answer in that time (it is stopped, or runs a
    /// function that takes longer), and what a lost server gives.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// use std::time::Duration;
    ///
    /// let ctx = zproc::Context::new()?;
    /// let pid = ctx.ping(Duration::from_secs(10))?;
    /// assert_ne!(pid, std::process::id());
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn ping(&self, timeout: Duration) -> Result<u32> {
        let operation = Operation {
            verb: "ping",
            object: None,
            namespace: None,
            caller: Location::caller(),
        };
        let limit = Some(timeout);
        let pid = self.inner.connection.server_pid();
        self.call(&operation, limit, &Request::Ping, |reply| match reply {
            Reply::Done { .. } => Ok(pid),
            other => Err(unexpected(other)),
        })
    }

    /// Who waits for what, since when: a picture of the whole tree, for when it hangs; or of all programs
    /// at a [server](crate::Server) that stands alone, and the processes of all.
    ///
    /// It tells of each process that has not ended: what it waits for (conditions with what they
    /// read, values, the ends of processes, locks, turns of transactions) and since when, or that it runs as
    /// far as the server can see; whether its connection is lost; what it watches, when that last had an
    /// update, and how far it is behind. Whether a thread waits for the next update the server can't tell. Processes that wait for each other's locks
    /// or ends in a circle are told as a deadlock, unless a thread that the server can't know of ends it. Of the calling process it also tells the calls that the server does
    /// not know of.
    ///
    /// A server that does not answer within 5 seconds is part of the picture, and no error:
    /// [`Dump::answered`] is false then.
    ///
    /// # Errors
    /// What a lost server gives.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// let ctx = zproc::Context::new()?;
    /// let waiter = ctx.spawn(|ctx: &zproc::Context, ()| {
    ///     ctx.state().wait_equal("never", &1).map(drop)
    /// }, ())?;
    /// // Until it waits.
    /// let dump = loop {
    ///     let dump = ctx.dump()?;
    ///     if dump.process(waiter.id()).is_some_and(|process| !process.waits.is_empty()) {
    ///         break dump;
    ///     }
    /// };
    /// // process 2 (..) waits 20 us for: key "never" in namespace "default" to be the integer 1
    /// assert!(dump.to_string().contains("key \"never\""));
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn dump(&self) -> Result<Dump> {
        let operation = Operation {
            verb: "dump",
            object: None,
            namespace: None,
            caller: Location::caller(),
        };
        marks::reached(Mark::Dumped);
        let mut calls = self.inner.connection.unanswered();
        let limit = Some(DUMP_TIMEOUT);
        let answer = self.call(&operation, limit, &Request::Dump, |reply| match reply {
            Reply::Dump(dump) => Ok(dump.clone()),
            other => Err(unexpected(other)),
        });
        let mut dump = match answer {
            Ok(dump) => dump,
            Err(error) if error.is_timeout() => {
                // What was not sent then may have been since, and be why there is no answer.
                calls = self.inner.connection.unanswered();
                let runs = self.inner.connection.port().server_runs();
                Dump {
                    running: runs.map(|(function, ran)| RunningDump::new(function, ran)),
                    ..Dump::default()
                }
            }
            Err(error) => return Err(error),
        };
        let known: Vec<u64> = dump
            .process(self.inner.process)
            .map(|own| own.waits.iter().map(|wait| wait.request).collect())
            .unwrap_or_default();
        calls.retain(|call| call.request.is_none_or(|request| !known.contains(&request)));
        dump.left_out.calls = calls.len().saturating_sub(DUMP_LINES_MAX) as u64;
        calls.truncate(DUMP_LINES_MAX);
        dump.calls = calls;
        Ok(dump)
    }

    /// A request that is done, with nothing more to say.
    pub(crate) fn order(&self, operation: &Operation<'_>, request: &Request<'_>) -> Result<()> {
        self.call(operation, None, request, |reply| match reply {
            Reply::Done { .. } => Ok(()),
            other => Err(unexpected(other)),
        })
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.inner.connection
    }

    /// When a call that begins now must be done.
    pub(crate) fn deadline(&self, limit: Option<Duration>) -> Option<Time> {
        limit.map(|limit| match limit {
            Duration::ZERO => AT_ONCE,
            limit => self.inner.connection.port().now().after(limit),
        })
    }

    /// One request and its reply; a `Failed` is an error whatever was asked.
    pub(crate) fn call<R>(
        &self,
        operation: &Operation<'_>,
        limit: Option<Duration>,
        request: &Request<'_>,
        read: impl FnOnce(&Reply<'_>) -> Result<R, Kind>,
    ) -> Result<R> {
        self.call_by(operation, self.deadline(limit), request, read)
    }

    /// As [`call`](Context::call), one of several that must be done by this time.
    pub(crate) fn call_by<R>(
        &self,
        operation: &Operation<'_>,
        deadline: Option<Time>,
        request: &Request<'_>,
        read: impl FnOnce(&Reply<'_>) -> Result<R, Kind>,
    ) -> Result<R> {
        let called = self.inner.connection.call(request, deadline, told(read));
        let result = finish(called, operation);
        match request {
            // These are refused for a revision of their own only.
            Request::Get { .. } | Request::Len { .. } | Request::Page { .. } => {
                result.map_err(|error| error.wanted_for(Wanted::Past))
            }
            _ => result,
        }
    }

    /// As [`call`](Context::call), whether this process is asked to end or not.
    pub(crate) fn call_unheeding<R>(
        &self,
        operation: &Operation<'_>,
        request: &Request<'_>,
        read: impl FnOnce(&Reply<'_>) -> Result<R, Kind>,
    ) -> Result<R> {
        let called = self.inner.connection.call_unheeding(request, told(read));
        finish(called, operation)
    }
}

/// A `Failed` is an error whatever was asked.
fn told<R>(
    read: impl FnOnce(&Reply<'_>) -> Result<R, Kind>,
) -> impl FnOnce(&Reply<'_>) -> Result<R, Kind> {
    |reply| match reply {
        Reply::Failed { failure, .. } => Err(Kind::from(*failure)),
        reply => read(reply),
    }
}

fn finish<R>(called: Result<Result<R, Kind>, CallError>, operation: &Operation<'_>) -> Result<R> {
    called
        .map_err(Kind::from)
        .and_then(|outcome| outcome)
        .map_err(|kind| Error::new(kind, operation))
}

/// The server answered something else than what is agreed.
pub(crate) fn unexpected(reply: &Reply<'_>) -> Kind {
    let name = match reply {
        Reply::Done { .. } => "Done",
        Reply::Value { .. } => "Value",
        Reply::Count { .. } => "Count",
        Reply::Page { .. } => "Page",
        Reply::Updates { .. } => "Updates",
        Reply::Written { .. } => "Written",
        Reply::Batched { .. } => "Batched",
        Reply::Returned { .. } => "Returned",
        Reply::Changed { .. } => "Changed",
        Reply::Locked { .. } => "Locked",
        Reply::Watching { .. } => "Watching",
        Reply::Compacted { oldest } => {
            return Kind::Compacted {
                oldest: *oldest,
                wanted: Wanted::Meanwhile,
            };
        }
        Reply::Spawned { .. } => "Spawned",
        Reply::Task { .. } => "Task",
        Reply::Ended { .. } => "Ended",
        Reply::Part { .. } => "Part",
        Reply::Failed { .. } => "Failed",
        Reply::Dump(_) => "Dump",
    };
    Kind::Protocol(format!("a reply of another kind: {name}"))
}
