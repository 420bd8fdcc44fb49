//! How a process is to be started.

use super::context::{Context, unexpected};
use super::parts;
use super::process::Process;
use super::value::{self, Side};
use crate::error::{Error, Kind, Operation, Result};
use crate::proto::ids::FunctionRef;
use crate::proto::message::{Reply, Request};
use crate::proto::setup::{self, Resource, ResourceLimit, Setup, Variable};
use crate::proto::time::nanoseconds;
use serde::Serialize;
use std::ffi::{OsStr, OsString};
use std::marker::PhantomData;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How a process is to be started, and what it runs. Made by [`Context::process`].
///
/// It can start any number of processes; each [`spawn`](ProcessBuilder::spawn) is one.
///
/// What is not said is as the program had it when it made the tree, whoever spawns: environment,
/// working directory, standard output and error, priority and limits. Relative paths are counted
/// from the program's working directory at that time, [`current_dir`](ProcessBuilder::current_dir)
/// or not.
///
/// What can't be done as it was said (a directory that is not there, a niceness that is not
/// allowed) is told when the process is joined: it was
/// [not started](crate::Error::is_not_started), by the system call that failed.
///
/// ```
/// # fn main() -> zproc::Result<()> {
/// fn count(_: &zproc::Context, text: String) -> usize {
///     text.split_whitespace().count()
/// }
/// let ctx = zproc::Context::new()?;
/// let counter = ctx.process(count).name("counter").niceness(5);
/// let processes = [counter.spawn("one two".to_owned())?, counter.spawn("three".to_owned())?];
/// let counts = processes.map(|process| process.join().unwrap());
/// assert_eq!(counts, [2, 1]);
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is started before `spawn`"]
pub struct ProcessBuilder<A, R> {
    context: Context,
    function: FunctionRef<'static>,
    name: String,
    namespace: Option<String>,
    clears_environment: bool,
    environment: Vec<(OsString, Option<OsString>)>,
    directory: Option<PathBuf>,
    stdin: Input,
    stdout: Output,
    stderr: Output,
    limits: Vec<ResourceLimit>,
    niceness: Option<i32>,
    time_limit: Option<Duration>,
    grace: Option<Duration>,
    at_root: bool,
    types: PhantomData<fn(A) -> R>,
}

/// Where a process's standard input comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input {
    /// Nowhere: it is at its end (`/dev/null`).
    #[default]
    Null,
    /// From the program's. Who reads first gets it, the program included; and of a terminal the shell,
    /// while the program is stopped or in the background.
    Inherit,
    /// From this file. The process opens it itself: a pipe with a name, say, lets it wait, and
    /// nobody else, until it has its other end.
    File(PathBuf),
}

/// Where a process's standard output or error goes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// To the program's.
    #[default]
    Inherit,
    /// Nowhere (`/dev/null`).
    Null,
    /// To the keeper of the tree: what came last, up to 64 KiB, is part of the process's
    /// [outcome](crate::Outcome::stdout).
    Captured,
    /// To this file, which is made or emptied first. The process opens it itself, as for
    /// [`Input::File`].
    File(PathBuf),
    /// To the end of this file, which is made if it is not there.
    Append(PathBuf),
}

impl<A, R> std::fmt::Debug for ProcessBuilder<A, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessBuilder")
            .field("function", &self.function.name)
            .field("setup", &self.setup())
            .finish_non_exhaustive()
    }
}

impl<A, R> Clone for ProcessBuilder<A, R> {
    fn clone(&self) -> ProcessBuilder<A, R> {
        ProcessBuilder {
            context: self.context.clone(),
            function: self.function,
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            clears_environment: self.clears_environment,
            environment: self.environment.clone(),
            directory: self.directory.clone(),
            stdin: self.stdin.clone(),
            stdout: self.stdout.clone(),
            stderr: self.stderr.clone(),
            limits: self.limits.clone(),
            niceness: self.niceness,
            time_limit: self.time_limit,
            grace: self.grace,
            at_root: self.at_root,
            types: PhantomData,
        }
    }
}

impl<A, R> ProcessBuilder<A, R> {
    pub(super) fn new(context: Context, function: FunctionRef<'static>) -> ProcessBuilder<A, R> {
        ProcessBuilder {
            context,
            function,
            name: String::new(),
            namespace: None,
            clears_environment: false,
            environment: Vec::new(),
            directory: None,
            stdin: Input::default(),
            stdout: Output::default(),
            stderr: Output::default(),
            limits: Vec::new(),
            niceness: None,
            time_limit: None,
            grace: None,
            at_root: false,
            types: PhantomData,
        }
    }

    /// Its name for people: in `ps`, in its record, as the name of its main thread. Else that of
    /// its function.
    ///
    /// At most 4 KiB, else [`spawn`](ProcessBuilder::spawn) says that it
    /// [is over a limit](Error::is_limit); its arguments (`argv[0]`) begin with the first 512 bytes
    /// of it, and the kernel shows 15.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets an environment variable. Of several changes of one variable the last counts.
    ///
    /// The names `ZPROC_TREE` and `ZPROC_ENTRY` are the framework's own.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let value = value.as_ref().to_owned();
        self.environment
            .push((name.as_ref().to_owned(), Some(value)));
        self
    }

    /// Removes an environment variable.
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), None));
        self
    }

    /// Begins with an empty environment, and forgets the changes made before this call.
    pub fn env_clear(mut self) -> Self {
        self.clears_environment = true;
        self.environment.clear();
        self
    }

    /// Its working directory. On a file system that does not answer it waits for that, alone, until
    /// it is [killed](Process::kill).
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// What [`Context::state`] means in it; else the namespace `"default"`. It can reach all the
    /// others as ever; those that it starts begin with `"default"` again.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Where its standard input comes from; else from nowhere.
    pub fn stdin(mut self, input: Input) -> Self {
        self.stdin = input;
        self
    }

    /// Where its standard output goes to; else to the program's.
    pub fn stdout(mut self, output: Output) -> Self {
        self.stdout = output;
        self
    }

    /// Where its standard error goes to; else to the program's.
    pub fn stderr(mut self, output: Output) -> Self {
        self.stderr = output;
        self
    }

    /// How willingly it lets others run first, from -20 (not at all) to 19, as `nice(1)` counts.
    /// To go below the program's own takes rights that most users have not.
    pub fn niceness(mut self, niceness: i32) -> Self {
        self.niceness = Some(niceness);
        self
    }

    /// How much it may use of something: what holds, and up to where it may raise that itself. It
    /// holds from the start: also when the files of its standard streams are opened.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// use zproc::Resource;
    ///
    /// fn burn(_: &zproc::Context, _: ()) {
    ///     loop {}
    /// }
    /// let ctx = zproc::Context::new()?;
    /// let process = ctx
    ///     .process(burn)
    ///     .resource_limit(Resource::CpuTime, 1, 2)
    ///     .spawn(())?;
    /// let killed = process.join().unwrap_err();
    /// assert!(killed.is_killed() && killed.to_string().contains("SIGXCPU"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn resource_limit(mut self, resource: Resource, soft: u64, hard: u64) -> Self {
        self.limits.retain(|limit| limit.resource != resource);
        self.limits.push(ResourceLimit {
            resource,
            soft,
            hard,
        });
        self
    }

    /// How long it may run, from its start; else as long as it likes.
    ///
    /// A hard limit: when it is over the process is killed at once, with its children, and is not
    /// asked before. What it has written is kept, and what it [owned](crate::State::set_owned) is
    /// released, as at any end. One that is to have time to put things in order is
    /// [asked to end](crate::Process::request_stop) in time.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// use std::time::Duration;
    /// use zproc::{Context, End};
    ///
    /// let ctx = Context::new()?;
    /// let limit = Duration::from_millis(50);
    /// let process = ctx
    ///     .process(|ctx: &Context, ()| ctx.state().wait_equal("never", &true).is_ok())
    ///     .time_limit(limit)
    ///     .spawn(())?;
    /// let error = process.join().unwrap_err();
    /// assert!(error.is_timed_out());
    /// assert_eq!(error.outcome().unwrap().end, End::TimedOut { limit });
    /// # Ok(())
    /// # }
    /// ```
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = Some(limit);
        self
    }

    /// How long it may take to end once it is [asked to](crate::Process::stop), before it is killed:
    /// where who asks says nothing else. If nothing is said here, 5 seconds, and as long as the
    /// [tree](crate::ContextBuilder::grace) where all of that is asked to. Who is asked by a mere
    /// SIGTERM from elsewhere has all the time it takes.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// use std::time::Duration;
    /// use zproc::{Context, End, Why};
    ///
    /// let ctx = Context::new()?;
    /// let deaf = ctx
    ///     .process(|_, ()| loop { std::thread::park() })
    ///     .grace(Duration::from_millis(10))
    ///     .spawn(())?;
    /// assert_eq!(deaf.stop(None)?.end, End::Killed { why: Why::Grace });
    /// # let _: zproc::Process<()> = deaf;
    /// # Ok(())
    /// # }
    /// ```
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// It ends with the tree, not with the process that spawns it: for what a process starts for
    /// others. Its record tells who spawned it all the same. From the program's own processes it
    /// differs in nothing else.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// use zproc::{Context, Result};
    ///
    /// fn serve(ctx: &Context, _: ()) -> Result<()> {
    ///     ctx.state().wait_equal("question", &6)?;
    ///     ctx.state().set("answer", &42)?;
    ///     Ok(())
    /// }
    /// fn start_server(ctx: &Context, _: ()) -> Result<()> {
    ///     ctx.process(serve).at_root().spawn(())?.detach();
    ///     Ok(())
    /// }
    ///
    /// let ctx = Context::new()?;
    /// ctx.spawn(start_server, ())?.join()??;
    /// ctx.state().set("question", &6)?;
    /// ctx.state().wait_equal("answer", &42)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn at_root(mut self) -> Self {
        self.at_root = true;
        self
    }

    /// Starts a process of this kind. See [`Context::spawn`].
    ///
    /// # Errors
    /// As for [`Context::spawn`]; [`is_bad_setup`](Error::is_bad_setup) when what was said makes
    /// no sense, [`is_limit`](Error::is_limit) when there is too much of it.
    #[track_caller]
    pub fn spawn(&self, args: A) -> Result<Process<R>>
    where
        A: Serialize,
    {
        let operation = Operation {
            verb: "spawn",
            object: Some(self.function.name),
            namespace: None,
            caller: Location::caller(),
        };
        let setup = self.setup();
        let fits = setup.check().map_err(Kind::from);
        let args = fits
            .and_then(|()| value::encode_payload(Side::Argument, &args))
            .map_err(|kind| Error::new(kind, &operation))?;
        let context = &self.context;
        let (args, rest) = parts::send(context, &operation, &args)?;
        let request = Request::Spawn {
            function: self.function,
            args,
            rest,
            setup,
        };
        let process = context.call(&operation, None, &request, |reply| match reply {
            Reply::Spawned { process, .. } => Ok(*process),
            other => Err(unexpected(other)),
        })?;
        Ok(Process::new(context.clone(), process))
    }

    fn setup(&self) -> Setup<'_> {
        let usual = Setup::default();
        let home = self.context.home();
        Setup {
            name: &self.name,
            namespace: self.namespace.as_deref().unwrap_or(usual.namespace),
            clears_environment: self.clears_environment,
            environment: self.environment.iter().map(variable).collect(),
            directory: self.directory.as_deref().map(bytes),
            stdin: match &self.stdin {
                Input::Null => setup::Input::Null,
                Input::Inherit => setup::Input::Inherit,
                Input::File(path) => setup::Input::File(bytes(path)),
            },
            stdout: self.stdout.as_message(),
            stderr: self.stderr.as_message(),
            limits: self.limits.clone(),
            niceness: self.niceness,
            time_limit_ns: self.time_limit.map(nanoseconds),
            grace_ns: self.grace.map(nanoseconds),
            to_root: self.at_root,
            init: home.init.map(|init| init.reference()),
        }
    }
}

impl Output {
    fn as_message(&self) -> setup::Output<'_> {
        match self {
            Output::Inherit => setup::Output::Inherit,
            Output::Null => setup::Output::Null,
            Output::Captured => setup::Output::Captured,
            Output::File(path) => setup::Output::File(bytes(path)),
            Output::Append(path) => setup::Output::Append(bytes(path)),
        }
    }
}

fn variable((name, value): &(OsString, Option<OsString>)) -> Variable<'_> {
    Variable {
        name: name.as_encoded_bytes(),
        value: value.as_deref().map(OsStr::as_encoded_bytes),
    }
}

/// A path as the system takes it, where all paths are bytes.
fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}
