//! What a process remembers of a transaction that had to queue: that the next one of its function
//! had better queue at once, rather than run in vain first.

use crate::proto::limits::QUEUED_AT_ONCE;
use crate::sync::{Mutex, lock};

/// Of one function, the one that had to queue last.
#[derive(Debug)]
pub(crate) struct Contended<T>(Mutex<Option<Remembered<T>>>);

impl<T> Default for Contended<T> {
    fn default() -> Contended<T> {
        Contended(Mutex::default())
    }
}

#[derive(Debug)]
struct Remembered<T> {
    function: Box<str>,
    /// What it had a lease on when it came to its end.
    on: T,
    /// So many more times; then one has to try without.
    left: u32,
}

impl<T: Clone> Contended<T> {
    /// What the next transaction of this function is to queue for.
    pub(crate) fn recall(&self, function: &str) -> Option<T> {
        let mut slot = lock(&self.0);
        let remembered = (slot.as_mut()).filter(|remembered| *remembered.function == *function)?;
        let on = remembered.on.clone();
        remembered.left -= 1;
        if remembered.left == 0 {
            *slot = None;
        }
        Some(on)
    }

    /// One of this function had to queue for these.
    pub(crate) fn remember(&self, function: &str, on: T) {
        *lock(&self.0) = Some(Remembered {
            function: function.into(),
            on,
            left: QUEUED_AT_ONCE,
        });
    }

    /// Its last one had no need of what it was to queue for.
    pub(crate) fn forget(&self, function: &str) {
        let mut slot = lock(&self.0);
        if (slot.as_ref()).is_some_and(|remembered| *remembered.function == *function) {
            *slot = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_queue_at_once_and_then_one_tries_without() {
        let contended: Contended<&str> = Contended::default();
        assert_eq!(contended.recall("f"), None);
        contended.remember("f", "k");
        for _ in 0..QUEUED_AT_ONCE {
            assert_eq!(contended.recall("f"), Some("k"));
        }
        assert_eq!(contended.recall("f"), None);
    }

    #[test]
    fn another_function_is_not_meant() {
        let contended: Contended<&str> = Contended::default();
        contended.remember("f", "k");
        contended.forget("g");
        assert_eq!(contended.recall("g"), None);
        assert_eq!(contended.recall("f"), Some("k"));
        contended.forget("f");
        assert_eq!(contended.recall("f"), None);
    }
}
