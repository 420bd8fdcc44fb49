//! Why there is no server at a path, or none for this program.

use super::{Error, Kind};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// What was in the way of [`Server::bind`](crate::Server::bind) or
/// [`Context::connect`](crate::Context::connect).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Unconnected {
    /// Somebody has the path that a server wants: who.
    AddressInUse(String),
    /// The system would not have a server there.
    Bind(String),
    /// There is no such file.
    NoFile,
    /// Nobody listens there.
    Nobody,
    /// Who listens there is another user's.
    OtherUser,
    /// It does not answer.
    Silent(Duration),
    /// It is no server of zproc's.
    Stranger(String),
    /// It speaks another version of the protocol.
    OtherVersion(String),
    /// It would not have this program.
    Refused(String),
    /// The system would not connect.
    System(String),
}

impl Error {
    fn unconnected(&self) -> Option<&Unconnected> {
        match self.kind() {
            Kind::Unconnected(why) => Some(why),
            _ => None,
        }
    }

    pub(super) fn is_silent(&self) -> bool {
        matches!(self.unconnected(), Some(Unconnected::Silent(_)))
    }

    pub(super) fn is_refused_at_once(&self) -> bool {
        matches!(
            self.unconnected(),
            Some(Unconnected::OtherVersion(_) | Unconnected::Refused(_))
        )
    }

    /// Somebody listens already where a [`Server`](crate::Server) was to be bound.
    #[must_use]
    pub fn is_address_in_use(&self) -> bool {
        matches!(self.unconnected(), Some(Unconnected::AddressInUse(_)))
    }

    /// The system would not have a [`Server`](crate::Server) there, or it could not go on; the text says
    /// why.
    #[must_use]
    pub fn is_bind(&self) -> bool {
        matches!(self.unconnected(), Some(Unconnected::Bind(_)))
    }

    /// Nobody listens where a program was to [connect](crate::Context::connect): there is no such
    /// socket, or its server is dead.
    ///
    /// ```
    /// let error = zproc::Context::connect("/nowhere").unwrap_err();
    /// assert!(error.is_no_server());
    /// ```
    #[must_use]
    pub fn is_no_server(&self) -> bool {
        matches!(
            self.unconnected(),
            Some(Unconnected::NoFile | Unconnected::Nobody)
        )
    }

    /// Where a program was to [connect](crate::Context::connect), another user's server listens, or the
    /// path is not this user's to use.
    #[must_use]
    pub fn is_other_user(&self) -> bool {
        matches!(self.unconnected(), Some(Unconnected::OtherUser))
    }

    /// What is where a program was to [connect](crate::Context::connect) is no server of zproc's: some
    /// other file, or a socket at which something else listens.
    #[must_use]
    pub fn is_stranger(&self) -> bool {
        matches!(self.unconnected(), Some(Unconnected::Stranger(_)))
    }

    /// The server to which a program was to [connect](crate::Context::connect) speaks another version
    /// of the protocol; the text says which.
    #[must_use]
    pub fn is_other_version(&self) -> bool {
        matches!(self.unconnected(), Some(Unconnected::OtherVersion(_)))
    }
}

impl fmt::Display for Unconnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unconnected::AddressInUse(why) | Unconnected::Bind(why) => f.write_str(why),
            Unconnected::NoFile => {
                f.write_str("no such file: no server was started there, or it has ended")
            }
            Unconnected::Nobody => f.write_str("nobody listens there: its server is dead"),
            Unconnected::OtherUser => {
                f.write_str("what listens there is not this user's, or must not be used by it")
            }
            Unconnected::Silent(limit) => {
                write!(f, "what listens there has not answered within {limit:?}")
            }
            Unconnected::Stranger(what) => {
                write!(f, "what is there is no server of zproc's: {what}")
            }
            Unconnected::OtherVersion(why) => f.write_str(why),
            Unconnected::Refused(why) => write!(f, "the server refused this program: {why}"),
            Unconnected::System(why) => write!(f, "there is no connection to the server: {why}"),
        }
    }
}
