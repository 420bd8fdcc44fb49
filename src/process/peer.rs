//! Who is at the other end of a Unix socket.

#![expect(unsafe_code, reason = "std's way to ask for it is unstable")]

use super::sys;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

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

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    #[test]
    fn a_socket_pair_is_our_own() {
        let (a, _b) = std::os::unix::net::UnixStream::pair().expect("socket pair");
        assert!(super::is_own_user(a.as_fd()));
    }
}
