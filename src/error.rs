//! One error for everything that can fail: opaque, with questions to ask it.
//!
//! The shape (a boxed kind behind `is_*` questions, so that kinds can be added and given operands
//! without breaking anybody) is that of `hyper::Error` and `reqwest::Error`.

mod causes;
mod operation;
mod unconnected;
mod wanted;
mod words;

pub(crate) use operation::Operation;
pub(crate) use unconnected::Unconnected;
pub(crate) use wanted::Wanted;
pub(crate) use words::Over;

use crate::api::outcome::{End, Outcome};
use crate::api::value;
use crate::proto::ids::{ProcessId, Revision};
use crate::proto::loss::ServerLoss;
use crate::proto::message::Fault;
use crate::proto::server::FaultText;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::panic::Location;

/// What every fallible call of this crate gives.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed: what was being done, on what, and what was in the way.
///
/// - `{}` is one line (plus whatever lines a remote message has of its own);
/// - `{:#}` and `{:?}` add where the call stands in the source and, for an error or a panic that
///   happened in another process, its location and backtrace there.
///
/// It is asked by its `is_*` questions; more than one may be true. It can be stored, sent and
/// returned from a process like any serde type, so `fn(&Context, A) -> zproc::Result<T>` is a fine
/// function to spawn.
///
/// ```
/// # fn main() -> zproc::Result<()> {
/// let ctx = zproc::Context::new()?;
/// let state = ctx.state();
/// state.set("answer", &42)?;
/// let error = state.get::<String>("answer").unwrap_err();
/// assert!(error.is_wrong_type());
/// assert!(error.to_string().contains("answer"));
/// assert!(error.to_string().contains("the integer 42"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct Error(Box<Report>);

/// All that an error knows.
#[derive(Clone, Serialize, Deserialize)]
struct Report {
    kind: Kind,
    /// What was being done: `get "k" in namespace "default"`; may be empty.
    operation: String,
    /// `file:line:column` of the call in the program; may be empty.
    location: String,
    /// Where [`Error::msg`] was called, if backtraces are on; may be empty.
    backtrace: String,
}

/// What went wrong.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// The user's own words.
    Message(String),
    TimedOut,
    Stopped,
    /// Called in a function that this other call runs.
    Nested(String),
    Connect(String),
    /// There is no server at a path, or none for this program.
    Unconnected(Unconnected),
    /// `Context::new` could not start a tree.
    NoTree(String),
    /// The handle came over a fork(2).
    Forked,
    Refused(String),
    ServerLost(ServerLoss),
    SessionLost,
    OutcomeUnknown,
    Closed,
    Protocol(String),
    Compacted {
        oldest: Revision,
        wanted: Wanted,
    },
    /// The call can't be meant so.
    Invalid(String),
    /// What was to be read is of a revision that is still to come.
    Future(Revision),
    /// What a transaction has read was changed since, so it runs again.
    Conflict {
        barred: bool,
        held: bool,
    },
    /// A transaction met conflict after conflict.
    Contended,
    Limit {
        limit: String,
        actual: u64,
        max: u64,
    },
    /// The value, argument or result of a call passes a limit of its size.
    TooLarge {
        side: String,
        limit: String,
        actual: u64,
        max: u64,
    },
    ReadOnly,
    /// What a batch requires of this key does not hold.
    Unmet(String),
    /// A sum is too large for its type.
    Overflow,
    Malformed(String),
    WrongType {
        wanted: String,
        found: String,
        why: String,
    },
    /// What was removed is not of the type that was wanted.
    Taken {
        why: Box<Kind>,
        key: String,
        value: Vec<u8>,
    },
    /// A process can't be set up so.
    Setup(String),
    /// The limits of a tree do not fit each other.
    BadLimits(String),
    /// A value of the caller's does not serialise.
    Unencodable {
        type_name: String,
        why: String,
    },
    /// A function's argument or result could not be decoded or encoded where it ran.
    Undecodable(Remote),
    /// A function returned an error where it ran.
    Remote(Remote),
    /// A function panicked where it ran.
    Panic(Remote),
    UnknownFunction(String),
    /// The server calls no functions; its clients do.
    NoFunctions(String),
    /// A function was run twice and did not do the same.
    NotDeterministic {
        name: String,
        what: String,
    },
    UnknownProcess(ProcessId),
    /// A process ended without a value.
    Ended(Box<Outcome>),
}

impl Kind {
    /// The same, if the log no longer holds what was needed, and it was needed for this.
    pub(crate) fn wanted_for(mut self, by: Wanted) -> Kind {
        if let Kind::Compacted { wanted, .. } = &mut self {
            *wanted = by;
        }
        self
    }

    /// Only integers are added to.
    pub(crate) fn not_integer(found: &str) -> Kind {
        Kind::WrongType {
            wanted: "an integer".to_owned(),
            found: found.to_owned(),
            why: "only integers can be added to".to_owned(),
        }
    }
}

/// An error or a panic that happened elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remote {
    pub(crate) message: String,
    pub(crate) location: String,
    pub(crate) backtrace: String,
}

impl From<Fault<'_>> for Remote {
    fn from(fault: Fault<'_>) -> Remote {
        Remote {
            message: fault.message.to_owned(),
            location: fault.location.to_owned(),
            backtrace: fault.backtrace.to_owned(),
        }
    }
}

impl Error {
    /// An error of your own, in words: for atomic functions, conditions and processes.
    ///
    /// It remembers where it was made, and a backtrace if `RUST_BACKTRACE` asks for one.
    ///
    /// ```
    /// fn withdraw(txn: &mut zproc::Txn<'_>, amount: u64) -> zproc::Result<u64> {
    ///     let balance: u64 = txn.get("balance")?.unwrap_or(0);
    ///     let left = balance
    ///         .checked_sub(amount)
    ///         .ok_or_else(|| zproc::Error::msg(format!("only {balance} left")))?;
    ///     txn.set("balance", &left)?;
    ///     Ok(left)
    /// }
    /// # let _ = withdraw;
    /// ```
    #[track_caller]
    #[must_use]
    pub fn msg(message: impl fmt::Display) -> Error {
        Error(Box::new(Report {
            kind: Kind::Message(message.to_string()),
            operation: String::new(),
            location: Location::caller().to_string(),
            backtrace: crate::process::panics::error_backtrace(),
        }))
    }

    pub(crate) fn new(kind: Kind, operation: &Operation<'_>) -> Error {
        Error(Box::new(Report {
            kind,
            operation: operation.to_string(),
            location: operation.caller.to_string(),
            backtrace: String::new(),
        }))
    }

    /// As the text that crosses to another process.
    pub(crate) fn to_fault(&self) -> FaultText {
        FaultText {
            message: self.to_string(),
            location: self.0.location.clone(),
            backtrace: self.0.backtrace.clone(),
        }
    }

    /// As [`Kind::wanted_for`].
    pub(crate) fn wanted_for(mut self, by: Wanted) -> Error {
        self.0.kind = self.0.kind.wanted_for(by);
        self
    }

    pub(crate) fn kind(&self) -> &Kind {
        &self.0.kind
    }
}

/// Questions.
impl Error {
    /// The call was not done in the time that [`State::within`](crate::State::within),
    /// [`Watch::next_within`](crate::Watch::next_within),
    /// [`Context::lock_timeout`](crate::Context::lock_timeout) or
    /// [`Process::join_timeout`](crate::Process::join_timeout) allowed, and had no effect: it was
    /// never sent, or it only reads or waits. A write that was sent and not answered in time
    /// [is unknown](Error::is_outcome_unknown) instead. A server that says nothing to a program that
    /// [connects](crate::Context::connect) is told so, too.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self.kind(), Kind::TimedOut) || self.is_silent()
    }

    /// This process was [asked to end](crate::Context::stopping), and so calls that wait for something
    /// to come true do no more: [`State::wait_until`](crate::State::wait_until) and its like,
    /// [`Process::join`](crate::Process::join) and its like, and the next update of a
    /// [`Watch`](crate::Watch). Whatever else goes on working, so that the process can put things in
    /// order. Mostly it is handed up by `?`, and with it the function ends.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        matches!(self.kind(), Kind::Stopped)
    }

    /// The call was made in a function that another call runs on this thread: in that of a
    /// [transaction](crate::State::transaction), or of a [condition](crate::State::wait_until) that is
    /// tested here. It would take effect by itself, whatever comes of that function, and be no part of
    /// what it reads or writes at one revision. So nothing was done: what belongs to it is done by its
    /// [`Txn`](crate::Txn) or [`View`](crate::View), the rest behind it. The message names both calls.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// # let ctx = zproc::Context::new()?;
    /// let state = ctx.state();
    /// let error = state.transaction(|txn| {
    ///     txn.set("a", &1)?;
    ///     state.set("b", &2)
    /// }).unwrap_err();
    /// assert!(error.is_nested());
    /// assert!(state.is_empty()?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_nested(&self) -> bool {
        matches!(self.kind(), Kind::Nested(_))
    }

    /// There is no server (any more): the tree has ended or is about to; or the server that this program
    /// was [connected](crate::Context::connect) to has.
    #[must_use]
    pub fn is_server_lost(&self) -> bool {
        self.server_loss().is_some()
    }

    /// How the server was lost, and which function it ran when it was, when that is what this error
    /// tells.
    ///
    /// Every call of the tree, or of all programs at that server, gets the same answer, those in flight
    /// and later ones.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// use zproc::{Context, ServerEnd, Txn};
    ///
    /// fn leave(_: &mut Txn<'_>, code: i32) -> zproc::Result<()> {
    ///     std::process::exit(code)
    /// }
    /// let ctx = Context::new()?;
    /// let error = ctx.state().atomic(leave, 3).unwrap_err();
    /// let loss = error.server_loss().expect("it has exited");
    /// assert_eq!(loss.how, ServerEnd::Exited { code: 3 });
    /// assert!(loss.function.as_ref().is_some_and(|name| name.ends_with("leave")));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn server_loss(&self) -> Option<&ServerLoss> {
        match self.kind() {
            Kind::ServerLost(loss) => Some(loss),
            _ => None,
        }
    }

    /// The server has forgotten this process's session, so what the session had begun (watches,
    /// waits) is gone; the call itself took no effect.
    #[must_use]
    pub fn is_session_lost(&self) -> bool {
        matches!(self.kind(), Kind::SessionLost)
    }

    /// The request was sent, and whether it took effect can't be known: its time was over, or the
    /// session was lost, before it was answered.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self.kind(), Kind::OutcomeUnknown)
    }

    /// The server refused this process, with a reason that the message gives.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self.kind(), Kind::Refused(_)) || self.is_refused_at_once()
    }

    /// This handle's connection was closed by the program itself.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.kind(), Kind::Closed)
    }

    /// The handle was made before a `fork(2)` of the program's own, and this is the forked process:
    /// it needs a context, or a server, of its own.
    #[must_use]
    pub fn is_forked(&self) -> bool {
        matches!(self.kind(), Kind::Forked)
    }

    /// The call can't be meant as it was made; the text says why.
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        matches!(self.kind(), Kind::Invalid(_))
    }

    /// No tree could be started by [`Context::new`](crate::Context::new), or no keeper by
    /// [`Context::connect`](crate::Context::connect); the text says why.
    #[must_use]
    pub fn is_no_tree(&self) -> bool {
        matches!(self.kind(), Kind::NoTree(_))
    }

    /// A watch, a long read or a read of the [past](crate::State::at) wants updates that the log no
    /// longer holds.
    #[must_use]
    pub fn is_compacted(&self) -> bool {
        self.oldest().is_some()
    }

    /// The oldest revision that the log still held, when it [is compacted](Error::is_compacted).
    #[must_use]
    pub fn oldest(&self) -> Option<Revision> {
        match *self.kind() {
            Kind::Compacted { oldest, .. } => Some(oldest),
            _ => None,
        }
    }

    /// The revision at which the state was to be [read](crate::State::at) is still to come.
    #[must_use]
    pub fn is_future(&self) -> bool {
        matches!(self.kind(), Kind::Future(_))
    }

    /// A [transaction](crate::State::transaction) got no turn to run undisturbed in its time, and
    /// changed nothing.
    #[must_use]
    pub fn is_contended(&self) -> bool {
        matches!(self.kind(), Kind::Contended)
    }

    /// A named limit was reached: size of a key, a value, a change set, depth of a value, ... A
    /// function that returned more than can be told is among it.
    #[must_use]
    pub fn is_limit(&self) -> bool {
        matches!(self.kind(), Kind::Limit { .. } | Kind::TooLarge { .. })
            || matches!(self.end(), Some(End::TooLarge { .. }))
    }

    /// The namespace is the framework's own and can only be read.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        matches!(self.kind(), Kind::ReadOnly)
    }

    /// What a [batch](crate::Batch::require) requires of a key does not hold, and nothing of it was
    /// done.
    #[must_use]
    pub fn is_unmet(&self) -> bool {
        matches!(self.kind(), Kind::Unmet(_))
    }

    /// What was to be [added](crate::State::add) makes the sum larger or smaller than an `i64` can be;
    /// the value is as it was.
    #[must_use]
    pub fn is_overflow(&self) -> bool {
        matches!(self.kind(), Kind::Overflow)
    }

    /// What is stored is not of the type that was asked for.
    #[must_use]
    pub fn is_wrong_type(&self) -> bool {
        matches!(self.kind(), Kind::WrongType { .. } | Kind::Taken { .. })
    }

    /// What [`take`](crate::State::take), [`pop_first`](crate::State::pop_first) or
    /// [`pop_last`](crate::State::pop_last) has removed, which was not of the type that was asked for:
    /// key and value, as the type that it is.
    ///
    /// # Errors
    /// [`is_wrong_type`](Error::is_wrong_type), again: it can be asked for as another type then.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// # let ctx = zproc::Context::new()?;
    /// let state = ctx.namespace("doc-taken");
    /// state.set("job/1", "wash")?;
    /// let error = state.pop_first::<u64>("job/").unwrap_err();
    /// assert!(error.is_wrong_type());
    /// let (key, job) = error.taken::<String>()?.expect("it was removed");
    /// state.set(&key, &job)?;
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn taken<T: DeserializeOwned>(&self) -> Result<Option<(String, T)>> {
        let Kind::Taken { key, value, .. } = self.kind() else {
            return Ok(None);
        };
        let operation = Operation {
            verb: "read what was taken from",
            object: Some(key),
            namespace: None,
            caller: Location::caller(),
        };
        match value::decode(value) {
            Ok(value) => Ok(Some((key.clone(), value))),
            Err(kind) => Err(Error::new(kind, &operation)),
        }
    }

    /// A value given to the call does not serialise (its `Serialize` failed, or made no whole
    /// value); nothing was sent.
    #[must_use]
    pub fn is_unencodable(&self) -> bool {
        matches!(self.kind(), Kind::Unencodable { .. } | Kind::Malformed(_))
    }

    /// What a [`ProcessBuilder`](crate::ProcessBuilder) was told makes no sense (a zero byte in a
    /// path, a soft limit above the hard one, ...); nothing was started.
    #[must_use]
    pub fn is_bad_setup(&self) -> bool {
        matches!(self.kind(), Kind::Setup(_))
    }

    /// The [`Limits`](crate::Limits) of a tree do not fit each other; it says which. Nothing was
    /// started.
    #[must_use]
    pub fn is_bad_limits(&self) -> bool {
        matches!(self.kind(), Kind::BadLimits(_))
    }

    /// The argument or the result of a function could not be decoded or encoded where it ran.
    #[must_use]
    pub fn is_undecodable(&self) -> bool {
        matches!(self.kind(), Kind::Undecodable(_))
            || matches!(self.end(), Some(End::Undecodable { .. }))
    }

    /// A function that ran elsewhere returned an error. The state is as it was.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        matches!(self.kind(), Kind::Remote(_)) || matches!(self.end(), Some(End::Error { .. }))
    }

    /// A function that ran elsewhere panicked: an atomic function or a condition in the server
    /// (the state is as it was), or a process's.
    #[must_use]
    pub fn is_panic(&self) -> bool {
        matches!(self.kind(), Kind::Panic(_)) || matches!(self.end(), Some(End::Panic { .. }))
    }

    /// The server does not know this function: it does not stand in the program's own executable
    /// (but, for example, in a shared library), or the server is of another build.
    #[must_use]
    pub fn is_unknown_function(&self) -> bool {
        matches!(self.kind(), Kind::UnknownFunction(_) | Kind::NoFunctions(_))
    }

    /// An atomic function, or a condition, was [run twice](crate::ContextBuilder::run_functions_twice)
    /// on the same state and did not do the same: so it depends on something besides. The state is as
    /// it was; the message says what differs, with both values in short. What writes or returns a
    /// `HashSet` is one: its order is another each time (that of maps does not count).
    #[must_use]
    pub fn is_not_deterministic(&self) -> bool {
        matches!(self.kind(), Kind::NotDeterministic { .. })
    }

    /// There is no record of the process (any more).
    #[must_use]
    pub fn is_unknown_process(&self) -> bool {
        matches!(self.kind(), Kind::UnknownProcess(_))
    }

    /// The process was killed, by a signal of whoever's, a stack overflow, a time limit
    /// and want of memory among the reasons. The [outcome](Error::outcome) tells
    /// whose: [`End::Killed`] if it was zproc's own, and why.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        matches!(
            self.end(),
            Some(
                End::Signaled { .. }
                    | End::Killed { .. }
                    | End::TimedOut { .. }
                    | End::StackOverflow { .. }
                    | End::OutOfMemory
            )
        )
    }

    /// The process was killed, as it had run for its
    /// [time limit](crate::ProcessBuilder::time_limit). That a call took too long is
    /// [`is_timeout`](Error::is_timeout).
    #[must_use]
    pub fn is_timed_out(&self) -> bool {
        matches!(self.end(), Some(End::TimedOut { .. }))
    }

    /// The process could not be started, or ended before it had connected.
    #[must_use]
    pub fn is_not_started(&self) -> bool {
        matches!(
            self.end(),
            Some(End::NotStarted { .. } | End::BeforeConnect { .. })
        )
    }

    /// The code of a process that exited by itself, without a value.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        match *self.end()? {
            End::Exited { code } => Some(code),
            _ => None,
        }
    }

    /// How the process ended, when that is what this error tells.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        match self.kind() {
            Kind::Ended(outcome) => Some(outcome),
            _ => None,
        }
    }

    fn end(&self) -> Option<&End> {
        self.outcome().map(|outcome| &outcome.end)
    }
}

impl Kind {
    /// The limit's name, what was asked and what is allowed, if that is what it tells.
    pub(crate) fn over(&self) -> Option<(&str, u64, u64)> {
        match self {
            Kind::Limit { limit, actual, max }
            | Kind::TooLarge {
                limit, actual, max, ..
            } => Some((limit, *actual, *max)),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.operation.is_empty() {
            write!(f, "{}: ", self.0.operation)?;
        }
        fmt::Display::fmt(&self.0.kind, f)?;
        if f.alternate() {
            if !self.0.location.is_empty() {
                write!(f, "\n  called at {}", self.0.location)?;
            }
            if !self.0.backtrace.is_empty() {
                write!(f, "\n  backtrace:\n{}", self.0.backtrace.trim_end())?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What `main` and `unwrap` print: a report for people.
        write!(f, "{self:#}")
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    #[track_caller]
    fn from(error: std::io::Error) -> Error {
        Error::msg(error)
    }
}

impl From<String> for Error {
    #[track_caller]
    fn from(message: String) -> Error {
        Error::msg(message)
    }
}

impl From<&str> for Error {
    #[track_caller]
    fn from(message: &str) -> Error {
        Error::msg(message)
    }
}
