//! How a server was lost, as far as anybody knows.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What is known of the loss of a server: how it ended, and which function of the program it ran
/// just then.
///
/// [`Error::server_loss`](crate::Error::server_loss) gives it. `{}` reads like a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServerLoss {
    /// How it ended.
    pub how: ServerEnd,
    /// The atomic function or the condition that it ran when it ended, by its path in the source.
    /// `None`: it ran none, or that is not known.
    pub function: Option<String>,
}

impl ServerLoss {
    /// A loss that no function is known to have part in.
    #[must_use]
    pub fn new(how: ServerEnd) -> ServerLoss {
        let function = None;
        ServerLoss { how, function }
    }
}

/// How a server ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ServerEnd {
    /// It exited with this code.
    Exited {
        /// The code.
        code: i32,
    },
    /// A signal killed it.
    Signaled {
        /// Its number.
        signal: i32,
        /// A core was dumped.
        core: bool,
    },
    /// A function in it ran for longer than this, and it was killed for that.
    TimeLimit {
        /// The limit.
        limit: Duration,
    },
    /// The keeper of the tree was lost, and the tree was ended for that.
    KeeperLost,
    /// It could not be reached for too long.
    Unreachable {
        /// What happened.
        reason: String,
    },
    /// It is gone, and nobody is there to tell how: as always of a server that stands alone, which is
    /// nobody's child here.
    Unseen,
}
