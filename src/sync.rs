//! The facade over locks: std in production and in the simulator, loom in loom's tests.
//!
//! The simulator needs no locks of its own: its coroutines share one thread and switch inside the
//! port only, where no lock is held.

#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};
#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, MutexGuard};

/// Locks; a poisoned lock is taken as it is, since every writer leaves its data whole before it
/// can panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
