//! For tests: what a fork(2) of the program's own does with what it has copies of.

#![expect(unsafe_code, reason = "fork")]

use super::sys;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

static FORKS: RwLock<()> = RwLock::new(());

/// While this is held, no fork of this process has copies of sockets that are closed here.
pub(crate) fn none() -> RwLockReadGuard<'static, ()> {
    FORKS.read().unwrap_or_else(PoisonError::into_inner)
}

/// What a fork of this process finds: `check` runs in it, on copies of all that it reaches, and nothing
/// runs behind it.
pub(crate) fn in_fork(check: impl FnOnce() -> bool) -> bool {
    const YES: libc::c_int = 7;
    let _alone = FORKS.write().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: the child runs `check` alone. It touches no lock that another thread may hold here but
    // the allocator's, which is made good in a child.
    let child = unsafe { libc::fork() };
    if child == 0 {
        sys::exit_now(if check() { YES } else { 1 });
    }
    let status = sys::wait_for(child).expect("a child of this process");
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == YES
}
