//! A program knocks at a server that stands alone: it connects, says a keeper's hello, and is told
//! who it is from now on. Whatever listens there, this ends in its time.

use super::peer;
use super::sys;
use crate::proto::client::{RefusalKind, SOFTWARE, describe};
use crate::proto::codec;
use crate::proto::frame::{self, PREFIX_BYTES};
use crate::proto::ids::{ProcessId, Token};
use crate::proto::limits::PROTOCOL_VERSION;
use crate::proto::message::{FromClient, FromServer, KeeperHello};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// No answer to a hello is longer.
const ANSWER_BYTES_MAX: usize = 4 * 1024;

/// A program that was taken in.
pub(crate) struct Joined {
    /// Where the server listens.
    pub(crate) socket: PathBuf,
    /// The way to it, which is to be the keeper's.
    pub(crate) link: OwnedFd,
    /// Who the program is to the server.
    pub(crate) process: ProcessId,
    /// Its secret.
    pub(crate) key: Token,
}

/// Why it was not taken in.
#[derive(Debug)]
pub(crate) enum JoinError {
    /// Nobody listens there.
    Nobody,
    /// Whoever listens there is another user's.
    OtherUser,
    /// It has said nothing, or not all, in the time allowed.
    Silent(Duration),
    /// It is no server of zproc's, or has broken off.
    Stranger(String),
    /// It would not have this program.
    Refused(RefusalKind, String),
    /// The system would not.
    System(io::Error),
}

/// Joins the server that listens at this absolute path.
///
/// # Errors
/// See [`JoinError`].
pub(crate) fn join(path: &Path, timeout: Duration) -> Result<Joined, JoinError> {
    let deadline = Instant::now().checked_add(timeout);
    let left = || match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    {
        Some(Duration::ZERO) => Err(JoinError::Silent(timeout)),
        left => Ok(left),
    };
    let of_system = |error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => JoinError::Silent(timeout),
        io::ErrorKind::UnexpectedEof => {
            JoinError::Stranger("it has hung up without an answer".to_owned())
        }
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
            JoinError::Stranger("it has hung up".to_owned())
        }
        _ => JoinError::System(error),
    };
    let mut stream = peer::connect(path, left()?).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => JoinError::Nobody,
        io::ErrorKind::PermissionDenied => JoinError::OtherUser,
        _ => of_system(error),
    })?;
    if !peer::is_own_user(stream.as_fd()) {
        return Err(JoinError::OtherUser);
    }
    stream.set_write_timeout(left()?).map_err(of_system)?;
    stream.write_all(&hello()).map_err(of_system)?;
    let mut read = |bytes: &mut [u8]| {
        let mut filled = 0;
        while filled < bytes.len() {
            stream.set_read_timeout(left()?).map_err(of_system)?;
            match stream.read(&mut bytes[filled..]) {
                Ok(0) => return Err(of_system(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(of_system(error)),
            }
        }
        Ok(())
    };
    let mut prefix = [0; PREFIX_BYTES];
    read(&mut prefix)?;
    let length = u32::from_le_bytes(prefix) as usize;
    if length > ANSWER_BYTES_MAX {
        let what = format!("an answer of {length} bytes");
        return Err(JoinError::Stranger(what));
    }
    let mut payload = vec![0; length];
    read(&mut payload)?;
    let (process, key) = answer(&payload)?;
    Ok(Joined {
        socket: path.to_owned(),
        link: OwnedFd::from(stream),
        process,
        key,
    })
}

fn hello() -> Vec<u8> {
    let executable = std::env::current_exe().unwrap_or_default();
    let name = executable.file_name().unwrap_or_default().to_string_lossy();
    let mut bytes = Vec::new();
    let hello = KeeperHello {
        version: PROTOCOL_VERSION,
        pid: sys::pid().unsigned_abs(),
        name: &name,
        software: SOFTWARE,
    };
    frame::append(&FromClient::Keeper(hello), &mut bytes);
    bytes
}

fn answer(payload: &[u8]) -> Result<(ProcessId, Token), JoinError> {
    match codec::decode(payload) {
        Ok(FromServer::Adopted { process, key }) => Ok((process, key)),
        Ok(FromServer::Refused { refusal }) => {
            let (kind, text) = describe(refusal);
            Err(JoinError::Refused(kind, text))
        }
        Ok(_) => Err(JoinError::Stranger(
            "an answer to something else".to_owned(),
        )),
        Err(malformed) => Err(JoinError::Stranger(malformed.to_string())),
    }
}
