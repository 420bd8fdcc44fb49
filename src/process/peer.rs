//! Who is at the other end of a Unix socket, and how to get there in time.

#![expect(
    unsafe_code,
    reason = "std's way to ask for it is unstable, and to connect in time it has none"
)]

use super::sys;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// The user that the peer had when it connected.
///
/// # Errors
/// When it is no Unix socket.
pub(crate) fn user(socket: BorrowedFd<'_>) -> io::Result<libc::uid_t> {
    let mut peer = libc::ucred {
        pid: 0,
        uid: libc::uid_t::MAX,
        gid: libc::gid_t::MAX,
    };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: a live descriptor, and a buffer of exactly the length that is told.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(peer.uid)
}

/// Is the peer of this process's own user? Nobody else gets to talk to the server.
pub(crate) fn is_own_user(socket: BorrowedFd<'_>) -> bool {
    user(socket).is_ok_and(|user| user == sys::user())
}

/// What is told of a path that no socket can have.
pub(crate) const BAD_PATH: &str = "the path of a socket has at most 107 bytes, none of them zero";

/// Connects to whoever listens there. Where many wait to be taken in, it waits for its place among them
/// so long (`None`: for ever), and is `WouldBlock` then. What is written later has as much time.
///
/// # Errors
/// What the system says.
pub(crate) fn connect(path: &Path, limit: Option<Duration>) -> io::Result<UnixStream> {
    // SAFETY: numbers only.
    let fd = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if fd == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was opened just now, and nobody else has it.
    let stream = unsafe { UnixStream::from_raw_fd(fd) };
    // It counts for `connect` as well.
    stream.set_write_timeout(limit)?;
    // SAFETY: plain numbers; all zeroes are a value of it.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let bytes = path.as_os_str().as_bytes();
    // One place stays zero, which ends the path.
    if bytes.len() >= address.sun_path.len() || bytes.contains(&0) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, BAD_PATH));
    }
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    let length = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    loop {
        // SAFETY: a live descriptor, and an address of exactly the length that is told.
        let result = unsafe { libc::connect(fd, (&raw const address).cast(), length) };
        if result != -1 {
            return Ok(stream);
        }
        match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => {}
            error => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    use std::os::fd::AsFd;

    #[test]
    fn a_socket_pair_is_our_own() {
        let (a, _b) = UnixStream::pair().expect("socket pair");
        assert!(is_own_user(a.as_fd()));
    }

    /// To connect took for ever where nobody took anybody in.
    #[test]
    fn a_full_queue_is_waited_for_in_time() {
        let place = tempfile::tempdir().expect("temporary directory");
        let path = place.path().join("socket");
        let listener = UnixListener::bind(&path).expect("bind");
        // SAFETY: a live descriptor and a number.
        unsafe { libc::listen(listener.as_raw_fd(), 1) };
        let limit = Some(Duration::from_millis(20));
        let mut queued = Vec::new();
        let error = loop {
            match connect(&path, limit) {
                Ok(stream) => queued.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!((1..10).contains(&queued.len()));
        drop(listener.accept().expect("accept"));
        connect(&path, limit).expect("there is room again");
        drop(listener);
        let error = connect(&path, limit).expect_err("nobody listens");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
