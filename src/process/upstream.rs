//! The server by which a keeper is told what to do: the tree's own, which the keeper starts, or one
//! that stands alone and has taken the program in.

use super::directory;
use super::role::Functions;
use crate::proto::ids::Token;
use crate::proto::limits::{self, Limits};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// A tree's own server, that is still to be started.
pub(crate) struct Own {
    /// The tree's private directory.
    pub(crate) directory: PathBuf,
    /// The program's secret.
    pub(crate) key: Token,
    /// The lock file of the directory, locked.
    pub(crate) lock: OwnedFd,
    /// How long a function in the server may run.
    pub(crate) function_time_max: Duration,
    pub(crate) limits: Limits,
    /// How it runs them.
    pub(crate) functions: Functions,
}

/// See the [module](self).
#[expect(clippy::large_enum_variant, reason = "there is one, once")]
pub(crate) enum Upstream {
    Own(Own),
    /// It listens here, and this is the way to it.
    Other {
        socket: PathBuf,
        link: OwnedFd,
    },
}

impl Upstream {
    /// Where clients connect.
    pub(crate) fn socket(&self) -> PathBuf {
        match self {
            Upstream::Own(own) => directory::socket(&own.directory),
            Upstream::Other { socket, .. } => socket.clone(),
        }
    }

    pub(crate) fn lock(&self) -> Option<&OwnedFd> {
        match self {
            Upstream::Own(own) => Some(&own.lock),
            Upstream::Other { .. } => None,
        }
    }

    pub(crate) fn function_time_max(&self) -> Duration {
        match self {
            Upstream::Own(own) => own.function_time_max,
            // It runs none.
            Upstream::Other { .. } => limits::FUNCTION_TIME_MAX,
        }
    }

    /// The way to the server, and its own end of it if it is still to be started.
    pub(crate) fn link(&self) -> io::Result<(UnixStream, Option<UnixStream>)> {
        match self {
            Upstream::Own(_) => UnixStream::pair().map(|(link, far)| (link, Some(far))),
            Upstream::Other { link, .. } => Ok((UnixStream::from(link.try_clone()?), None)),
        }
    }

    /// Removes what the tree has in the file system.
    pub(crate) fn remove_at_end(&self) {
        if let Upstream::Own(own) = self {
            directory::remove_at_end(&own.directory);
        }
    }
}
