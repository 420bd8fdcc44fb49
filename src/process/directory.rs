//! The private directory of a tree: where its socket is.
//!
//! Whoever runs the tree holds a lock on a file in it. A directory whose lock nobody holds is left
//! from a tree that lost keeper and server at once; the next `Context::new` removes it.

use super::role::hex;
use super::sys;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

const PREFIX: &str = "zproc-";
const LOCK: &str = "lock";
const SOCKET: &str = "socket";
/// A socket's path is this long at most, its terminating zero not counted.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// A directory without a lock file may be somebody's who is just making it, until it is this old.
const UNLOCKED_AGE_MIN: Duration = Duration::from_secs(60);
const ATTEMPTS_MAX: usize = 16;

/// A directory that is ours.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    /// 16 hexadecimal digits: names the directory, and marks the processes.
    pub(crate) tree: String,
    /// Locked for as long as any copy is open.
    pub(crate) lock: OwnedFd,
}

/// Where the socket is.
pub(crate) fn socket(directory: &Path) -> PathBuf {
    directory.join(SOCKET)
}

/// Removes a tree's directory, and those of lost trees beside it (that of a tree within this one,
/// ended with it, is such). What is gone already is no error.
pub(crate) fn remove_at_end(directory: &Path) {
    remove(directory);
    if let Some(place) = directory.parent() {
        sweep_stale(place);
    }
}

fn remove(directory: &Path) {
    // A failure leaves some bytes in a temporary directory; there is nobody left to tell.
    let _ = fs::remove_dir_all(directory);
}

/// Makes a new directory in the first place that will have it.
///
/// # Errors
/// Every place refused: the last error, with the place's name.
pub(crate) fn create() -> io::Result<Directory> {
    let mut refusal = io::Error::other("there is no place for the socket's directory");
    for place in places() {
        sweep_stale(&place);
        match create_in(&place) {
            Ok(directory) => return Ok(directory),
            Err(error) => {
                let text = format!("no private directory in {}: {error}", place.display());
                refusal = io::Error::new(error.kind(), text);
            }
        }
    }
    Err(refusal)
}

fn places() -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = Vec::new();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let candidates = runtime
        .into_iter()
        .chain([std::env::temp_dir(), PathBuf::from("/tmp")]);
    for place in candidates {
        if place.is_absolute() && !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

fn create_in(place: &Path) -> io::Result<Directory> {
    for _ in 0..ATTEMPTS_MAX {
        let mut random = [0; 8];
        sys::random(&mut random)?;
        let tree = hex(&random);
        let path = place.join(format!("{PREFIX}{tree}"));
        if socket(&path).as_os_str().as_bytes().len() > SOCKET_PATH_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("the path of a socket may have {SOCKET_PATH_BYTES_MAX} bytes"),
            ));
        }
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            result => result?,
        }
        match lock(&path) {
            Ok(Some(lock)) => return Ok(Directory { path, tree, lock }),
            // A sweeper was quicker; it removes the directory.
            Ok(None) => {}
            Err(error) => {
                remove(&path);
                return Err(error);
            }
        }
    }
    Err(io::Error::other("every name was taken"))
}

/// Makes the lock file and takes its lock; `None` when another has it, or has removed it.
fn lock(directory: &Path) -> io::Result<Option<OwnedFd>> {
    let file = File::create_new(directory.join(LOCK))?;
    let taken = sys::try_lock(file.as_fd())? && file.metadata()?.nlink() > 0;
    Ok(taken.then(|| OwnedFd::from(file)))
}

/// Removes what lost trees have left in `place`. Best effort: it helps the next one, not this one.
fn sweep_stale(place: &Path) {
    let Ok(entries) = fs::read_dir(place) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(tree) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
            continue;
        };
        let is_ours = tree.len() == 16 && tree.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_ours {
            remove_if_stale(&entry.path());
        }
    }
}

/// Removes a directory of this user's that nobody holds. Its lock is held meanwhile, and whoever is
/// just making it sees that and takes another name.
fn remove_if_stale(directory: &Path) {
    let Ok(metadata) = fs::symlink_metadata(directory) else {
        return;
    };
    if !metadata.is_dir() || metadata.uid() != sys::user() {
        return;
    }
    match File::open(directory.join(LOCK)) {
        Ok(file) => {
            if matches!(sys::try_lock(file.as_fd()), Ok(true)) {
                remove(directory);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let age = metadata
                .modified()
                .ok()
                .and_then(|time| time.elapsed().ok());
            if age.is_some_and(|age| age >= UNLOCKED_AGE_MIN) {
                remove(directory);
            }
        }
        // Not ours to judge.
        Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn held_directories_stay_and_stale_ones_go() {
        let place = tempfile::tempdir().expect("temporary directory");
        let held = create_in(place.path()).expect("create");
        let stale = create_in(place.path()).expect("create");
        let mode = fs::metadata(&held.path)
            .expect("metadata")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700);
        drop(stale.lock);
        sweep_stale(place.path());
        assert!(held.path.is_dir());
        assert!(!stale.path.exists());
    }

    #[test]
    fn strangers_and_new_directories_are_left_alone() {
        let place = tempfile::tempdir().expect("temporary directory");
        let fresh = place.path().join("zproc-0123456789abcdef");
        let stranger = place.path().join("zproc-something");
        fs::create_dir(&fresh).expect("create");
        fs::create_dir(&stranger).expect("create");
        sweep_stale(place.path());
        assert!(fresh.is_dir() && stranger.is_dir());
    }

    #[test]
    fn a_long_path_is_refused_by_name() {
        let place = tempfile::tempdir().expect("temporary directory");
        let deep = place.path().join("x".repeat(100));
        fs::create_dir(&deep).expect("create");
        let error = create_in(&deep).expect_err("too long");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
