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
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// No answer to a hello is longer.
const ANSWER_BYTES_MAX: usize = 4 * 1024;

/// What is told of whoever answers otherwise than a server does.
const OTHER_LANGUAGE: &str = "its answer is not one of zproc's protocol";

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
    /// No socket can be there: the path is empty, too long, or has a zero in it.
    BadPath(&'static str),
    /// There is no such file.
    NoFile,
    /// Nobody listens there.
    Nobody,
    /// Whoever listens there is another user's.
    OtherUser,
    /// It has said nothing, or not all, in the time allowed.
    Silent(Duration),
    /// It is no server of zproc's, or has broken off.
    Stranger(&'static str),
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
        io::ErrorKind::UnexpectedEof => JoinError::Stranger("it has hung up without an answer"),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
            JoinError::Stranger("it has hung up")
        }
        _ => JoinError::System(error),
    };
    let mut stream = peer::connect(path, left()?).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => JoinError::BadPath(peer::BAD_PATH),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => JoinError::NoFile,
        io::ErrorKind::ConnectionRefused if !is_socket(path) => {
            JoinError::Stranger("it is a file or a directory, and no socket")
        }
        io::ErrorKind::ConnectionRefused => JoinError::Nobody,
        _ if error.raw_os_error() == Some(libc::EPROTOTYPE) => {
            JoinError::Stranger("it is a socket for datagrams")
        }
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
        return Err(JoinError::Stranger(OTHER_LANGUAGE));
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

/// Is there a socket, and not some other kind of file?
fn is_socket(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.file_type().is_socket())
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
        Ok(_) | Err(_) => Err(JoinError::Stranger(OTHER_LANGUAGE)),
    }
}
