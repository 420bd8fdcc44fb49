//! Why a call did not return what it was made for.

use crate::proto::client::{End, Loss, RefusalKind};
use crate::proto::ids::Revision;
use crate::proto::loss::ServerLoss;
use crate::proto::planted::{self, Bug};

/// Why a call failed.
#[derive(Debug)]
pub enum CallError {
    /// Its deadline has passed, and it had no effect: it was never sent, or it only reads or
    /// waits. (One that changes the state and may have been sent is
    /// [`OutcomeUnknown`](CallError::OutcomeUnknown).)
    TimedOut,
    /// This process was asked to end, and so a call that waits does no more; it had no effect.
    Stopped,
    /// It was made in a function that this call runs, and would not be part of what that does.
    Nested(Box<str>),
    /// There is no server any more, or it could not be reached for too long.
    ServerLost(ServerLoss),
    /// The session was lost: what it owned is released, its watches are over. This call had no
    /// effect. The next one begins a new session.
    SessionLost,
    /// The call was sent, but whether it took effect can't be known any more.
    OutcomeUnknown,
    /// The server does not do it: the reason in words, and what it is about.
    Refused(String, RefusalKind),
    /// The server said what the protocol does not allow.
    Protocol(String),
    /// The request is over a limit.
    TooLarge {
        /// Which limit.
        limit: String,
        /// What was asked.
        actual: u64,
        /// The most there may be.
        max: u64,
    },
    /// The watch needs what the log no longer holds.
    Compacted {
        /// The oldest revision still held.
        oldest: Revision,
    },
    /// The connection was closed on this side, or the watch is over.
    Closed,
    /// The connection belongs to the process that this one was forked from.
    Forked,
    /// No connection to the server could be opened.
    Connect(std::io::Error),
}

impl From<&End> for CallError {
    fn from(end: &End) -> CallError {
        match end {
            End::Forked => CallError::Forked,
            End::ServerLost(loss) => CallError::ServerLost(loss.clone()),
            End::Refused { kind, text } => CallError::Refused(text.clone(), *kind),
            End::Protocol(what) => CallError::Protocol(what.clone()),
            End::Closed => CallError::Closed,
        }
    }
}

impl From<Loss> for CallError {
    fn from(loss: Loss) -> CallError {
        match loss {
            Loss::OutcomeUnknown if planted::is(Bug::UnknownSaysLost) => CallError::SessionLost,
            Loss::OutcomeUnknown => CallError::OutcomeUnknown,
            Loss::SessionLost => CallError::SessionLost,
        }
    }
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CallError::TimedOut => f.write_str("timed out"),
            CallError::Stopped => f.write_str("this process was asked to end"),
            CallError::Nested(within) => write!(f, "called in a function that runs for: {within}"),
            CallError::ServerLost(loss) => loss.fmt(f),
            CallError::SessionLost => f.write_str("the session with the server is lost"),
            CallError::OutcomeUnknown => {
                f.write_str("the call was sent, but whether it took effect is not known")
            }
            CallError::Refused(text, _) => write!(f, "refused: {text}"),
            CallError::Protocol(what) => write!(f, "the server breaks the protocol: {what}"),
            CallError::TooLarge { limit, actual, max } => {
                write!(f, "over the limit {limit}: {actual} ({max} at most)")
            }
            CallError::Compacted { oldest } => {
                write!(
                    f,
                    "the log no longer holds what is needed: it begins at {oldest}"
                )
            }
            CallError::Closed => f.write_str("closed"),
            CallError::Forked => f.write_str("the connection was made before a fork(2)"),
            CallError::Connect(error) => write!(f, "can't connect to the server: {error}"),
        }
    }
}

impl std::error::Error for CallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CallError::Connect(error) => Some(error),
            _ => None,
        }
    }
}
