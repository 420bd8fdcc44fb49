//! How what went wrong reads.

use super::{Kind, Remote};
use std::fmt;

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Message(text) => f.write_str(text),
            Kind::TimedOut => f.write_str("not done in the time allowed"),
            Kind::Stopped => f.write_str("this process was asked to end, so it waits no more"),
            Kind::Nested(within) => write!(
                f,
                "not done, since it was called by a function that another call runs ({within}), and \
                 would be no part of that: the function reads and writes the state by its own Txn or \
                 View; whatever else is to be called before that call, or after it"
            ),
            Kind::Connect(why) => write!(f, "there is no connection to the server: {why}"),
            Kind::Unconnected(why) => why.fmt(f),
            Kind::NoTree(why) => write!(f, "no tree of processes could be started: {why}"),
            Kind::Refused(why) => write!(f, "the server refused this process: {why}"),
            Kind::Forked => f.write_str(
                "this handle was made before a fork(2) and belongs to the parent; \
                 the forked process has to make its own",
            ),
            Kind::ServerLost(loss) => loss.fmt(f),
            Kind::SessionLost => f.write_str("the session was lost; the call took no effect"),
            Kind::OutcomeUnknown => f.write_str(
                "it was sent and not answered (in the time allowed, or before the session was \
                 lost), so whether it took effect can't be known",
            ),
            Kind::Closed => f.write_str("the connection was closed by this program"),
            Kind::Protocol(what) => write!(f, "the protocol was broken: {what}"),
            Kind::Compacted { oldest, wanted } => wanted.fmt_of(*oldest, f),
            Kind::Invalid(what) => f.write_str(what),
            Kind::Future(asked) => write!(f, "revision {asked} is still to come"),
            Kind::Conflict { .. } => {
                f.write_str("what this transaction has read was changed since: it runs again")
            }
            Kind::Contended => f.write_str(
                "others changed what it reads again and again, and it got no turn in its time",
            ),
            Kind::Limit { limit, actual, max } => Over(limit, *actual, *max).fmt(f),
            Kind::TooLarge {
                side,
                limit,
                actual,
                max,
            } => write!(f, "{side} is {}", Over(limit, *actual, *max)),
            Kind::ReadOnly => f.write_str("the namespace is read-only: it is the framework's"),
            Kind::Unmet(key) => write!(f, "what is required of key {key:?} does not hold"),
            Kind::Overflow => f.write_str("the sum does not fit an i64"),
            Kind::Malformed(what) => write!(f, "the value is not well-formed: {what}"),
            Kind::BadLimits(what) => f.write_str(what),
            Kind::Setup(what) => write!(f, "no process can be started so: {what}"),
            Kind::Taken { why, key, .. } => write!(
                f,
                "{why}; key {key:?} was removed all the same: `Error::taken` gives its value"
            ),
            Kind::WrongType { wanted, found, why } => {
                write!(f, "wanted {wanted}, but there is {found} ({why})")
            }
            Kind::Unencodable { type_name, why } => {
                write!(f, "a value of type {type_name} does not serialise: {why}")
            }
            Kind::Undecodable(remote) => remote.fmt_as("could not be decoded or encoded", f),
            Kind::Remote(remote) => remote.fmt_as("the function returned an error", f),
            Kind::Panic(remote) => remote.fmt_as("the function panicked", f),
            Kind::UnknownFunction(_) | Kind::NoFunctions(_) | Kind::NotDeterministic { .. } => {
                self.fmt_of_function(f)
            }
            Kind::UnknownProcess(process) => write!(f, "there is no record of process {process}"),
            Kind::Ended(outcome) => outcome.fmt(f),
        }
    }
}

impl Kind {
    /// What is wrong with a function, not with what it was asked for.
    fn fmt_of_function(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::UnknownFunction(name) => write!(
                f,
                "the server does not know the function {name}: it is not in the program's own \
                 executable, or the server is of another build"
            ),
            Kind::NoFunctions(name) => write!(
                f,
                "the server calls no functions, and so not {name}: it is to be run by its caller"
            ),
            Kind::NotDeterministic { name, what } => write!(
                f,
                "run twice on the same state, the function {name} did not do the same: {what}; \
                 it depends on something that is not in the state, nor in its argument"
            ),
            _ => Ok(()),
        }
    }
}

/// A limit that was passed, with what was asked and what is allowed.
pub(crate) struct Over<'a>(pub(crate) &'a str, pub(crate) u64, pub(crate) u64);

impl fmt::Display for Over<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Over(limit, actual, max) = *self;
        // All limits of sizes say so in their names.
        let unit = if limit.contains("BYTES") {
            " bytes"
        } else {
            ""
        };
        write!(
            f,
            "over the limit {limit}: {actual}{unit}, and {max} is allowed"
        )
    }
}

impl Remote {
    pub(crate) fn fmt_as(&self, what: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{what}: {}", self.message)?;
        if f.alternate() {
            if !self.location.is_empty() {
                write!(f, "\n  there, at {}", self.location)?;
            }
            if !self.backtrace.is_empty() {
                write!(f, "\n  backtrace there:\n{}", self.backtrace.trim_end())?;
            }
        }
        Ok(())
    }
}
