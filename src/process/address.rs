//! A path for a server that stands alone: taken by one at a time, and free again when that one is gone,
//! however it went.
//!
//! Who has the path holds a lock on a file beside it, which the kernel takes back at any death. So a
//! socket whose lock is free is a dead server's, or none of ours; who listens there is asked then.

use super::sys;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{
    FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// A socket's path is this long at most, its terminating zero not counted.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Behind the path of the socket.
const LOCK_SUFFIX: &str = ".lock";

/// A path that is taken, and given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Address {
    path: PathBuf,
    lock_path: PathBuf,
    /// Locked for as long as it is open.
    _lock: File,
    /// Device and number of the socket's file: another's file is left alone.
    file: (u64, u64),
    /// Who took it: a fork(2) of it has a copy, and gives nothing back.
    owner: sys::Pid,
}

/// Why a path can't be had.
#[derive(Debug)]
pub(crate) enum BindError {
    /// Somebody has it: who, in words.
    InUse(String),
    /// The system would not.
    System(io::Error),
}

impl From<io::Error> for BindError {
    fn from(error: io::Error) -> BindError {
        match error.kind() {
            io::ErrorKind::AddrInUse => BindError::listens(),
            _ => BindError::System(error),
        }
    }
}

impl BindError {
    fn listens() -> BindError {
        BindError::InUse("somebody listens there already".to_owned())
    }

    /// The lock is held, and there is no socket.
    fn socket_gone(lock_path: &Path) -> BindError {
        BindError::InUse(format!(
            "there is no socket, yet a server that has this path still runs (or just begins or \
             ends): it holds a lock on the file {lock_path:?}. Nobody can connect to it any more, \
             and the path is free when it has ended"
        ))
    }
}

impl Address {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Is this the process that has taken it?
    pub(crate) fn is_own(&self) -> bool {
        self.owner == sys::pid()
    }

    /// From now on nobody finds a socket there, if it is still ours.
    pub(crate) fn remove_socket(&self) {
        if self.is_own() && file_at(&self.path).is_ok_and(|file| file == self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        if !self.is_own() {
            return;
        }
        self.remove_socket();
        // Nobody else can have bound the path until here. What is left by a failure the next server
        // that wants the path replaces.
        let _ = fs::remove_file(&self.lock_path);
    }
}

/// Listens at an absolute path, in the place of a server that is dead.
///
/// # Errors
/// See [`BindError`].
pub(crate) fn bind(path: &Path) -> Result<(UnixListener, Address), BindError> {
    if path.as_os_str().as_bytes().len() > SOCKET_PATH_BYTES_MAX {
        let text = format!("the path of a socket has at most {SOCKET_PATH_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text).into());
    }
    let mut lock_path = OsString::from(path);
    lock_path.push(LOCK_SUFFIX);
    let lock_path = PathBuf::from(lock_path);
    let lock = lock(&lock_path).map_err(|error| match error {
        BindError::InUse(_) if file_at(path).is_err() => BindError::socket_gone(&lock_path),
        error => error,
    })?;
    let listener = match listen(path) {
        Ok(listener) => listener,
        Err(error) => {
            let _ = fs::remove_file(&lock_path);
            return Err(error);
        }
    };
    let file = file_at(path)?;
    let address = Address {
        path: path.to_owned(),
        lock_path,
        _lock: lock,
        file,
        owner: sys::pid(),
    };
    // Until here who is not the user might have connected, but is asked for it when it is taken in.
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok((listener, address))
}

/// Takes the lock.
fn lock(path: &Path) -> Result<File, BindError> {
    loop {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)
            .map_err(|error| {
                let text = format!("the lock file {path:?} can't be opened: {error}");
                io::Error::new(error.kind(), text)
            })?;
        if !sys::try_lock(file.as_fd())? {
            return Err(BindError::listens());
        }
        // Its holder may have removed it since it was opened: then it locks nothing any more.
        if file.metadata()?.nlink() > 0 {
            return Ok(file);
        }
    }
}

/// Binds the path, of which the lock is held.
fn listen(path: &Path) -> Result<UnixListener, BindError> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
        result => return Ok(result?),
    }
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        let text = "there is a file of this name, which is no socket";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text).into());
    }
    // Without waiting: who has a full queue is alive, too.
    match mio::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        // It went just now.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Ok(_) | Err(_) => return Err(BindError::listens()),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    Ok(UnixListener::bind(path)?)
}

fn file_at(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::super::forked::{self, in_fork};
    use super::*;
    use std::sync::Barrier;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Place {
            Place(tempfile::tempdir().expect("temporary directory"))
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("socket")
        }

        fn files(&self) -> usize {
            fs::read_dir(self.0.path()).expect("it is there").count()
        }
    }

    #[test]
    fn a_path_is_one_servers_at_a_time_and_nothing_is_left_of_it() {
        let place = Place::new();
        let (listener, address) = bind(&place.path()).expect("bind");
        assert!(matches!(bind(&place.path()), Err(BindError::InUse(_))));
        let mode = fs::metadata(address.path()).expect("metadata").mode();
        assert_eq!(mode & 0o777, 0o600);
        drop((listener, address));
        assert_eq!(place.files(), 0);
        drop(bind(&place.path()).expect("it is free again"));
    }

    #[test]
    fn the_socket_of_a_dead_server_is_replaced_and_a_live_strangers_is_not() {
        let _closed = forked::none();
        let place = Place::new();
        let stranger = UnixListener::bind(place.path()).expect("bind");
        assert!(matches!(bind(&place.path()), Err(BindError::InUse(_))));
        assert_eq!(place.files(), 1, "the lock is not left");
        drop(stranger);
        let bound = bind(&place.path()).expect("nobody listens there");
        drop(bound);
        assert_eq!(place.files(), 0);
    }

    /// The end of a fork that the program had made took the path away from the server.
    #[test]
    fn a_fork_gives_no_path_back() {
        let place = Place::new();
        let mut bound = Some(bind(&place.path()).expect("bind"));
        assert!(in_fork(|| {
            let (_, address) = bound.as_ref().expect("it is there");
            address.remove_socket();
            drop(bound.take());
            true
        }));
        assert_eq!(place.files(), 2);
        assert!(matches!(bind(&place.path()), Err(BindError::InUse(_))));
        drop(bound);
        assert_eq!(place.files(), 0);
    }

    /// It was told that somebody listens there.
    #[test]
    fn a_server_without_its_socket_is_told_by_its_lock() {
        let _closed = forked::none();
        let place = Place::new();
        let bound = bind(&place.path()).expect("bind");
        fs::remove_file(place.path()).expect("remove");
        let Err(BindError::InUse(why)) = bind(&place.path()) else {
            panic!("it was taken");
        };
        for told in ["no socket", "still runs", "socket.lock"] {
            assert!(why.contains(told), "{why}");
        }
        drop(bound);
        drop(bind(&place.path()).expect("it is free again"));
    }

    /// It was told as "Is a directory", of which file nobody knew.
    #[test]
    fn a_lock_that_can_not_be_opened_is_told_by_its_path() {
        let place = Place::new();
        fs::create_dir(place.0.path().join("socket.lock")).expect("create");
        let Err(BindError::System(error)) = bind(&place.path()) else {
            panic!("it was taken");
        };
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
        assert!(error.to_string().contains("socket.lock"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_socket_stays() {
        let place = Place::new();
        fs::write(place.path(), "precious").expect("write");
        let Err(BindError::System(error)) = bind(&place.path()) else {
            panic!("it was taken");
        };
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(place.path()).expect("read"), b"precious");
    }

    #[test]
    fn the_socket_that_another_has_put_there_stays() {
        let place = Place::new();
        let bound = bind(&place.path()).expect("bind");
        fs::remove_file(place.path()).expect("remove");
        let _other = UnixListener::bind(place.path()).expect("bind");
        drop(bound);
        assert!(place.path().exists());
    }

    #[test]
    fn of_many_that_bind_at_one_moment_one_has_the_path() {
        const COUNT: usize = 8;
        let _closed = forked::none();
        for _ in 0..20 {
            let place = Place::new();
            // As a dead server leaves it.
            drop(UnixListener::bind(place.path()).expect("bind"));
            let (begin, end) = (Barrier::new(COUNT), Barrier::new(COUNT));
            let won: usize = std::thread::scope(|scope| {
                let one = || {
                    begin.wait();
                    let bound = bind(&place.path());
                    end.wait();
                    usize::from(bound.is_ok())
                };
                let threads: Vec<_> = (0..COUNT).map(|_| scope.spawn(one)).collect();
                let won = threads.into_iter().map(|thread| thread.join());
                won.map(|won| won.expect("no panic")).sum()
            });
            assert_eq!(won, 1);
        }
    }

    #[test]
    fn a_long_path_is_refused_by_name() {
        let Err(BindError::System(error)) = bind(Path::new(&format!("/{}", "x".repeat(107))))
        else {
            panic!("it is too long");
        };
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
