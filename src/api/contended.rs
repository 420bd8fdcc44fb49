//! What a process remembers of a transaction that had to queue: that the next one of its function
//! had better queue at once, rather than run in vain first.

use super::run::Touched;
use crate::proto::limits::QUEUED_AT_ONCE;
use crate::sync::{Mutex, lock};

/// Of one function, the one that had to queue last.
#[derive(Debug, Default)]
pub(super) struct Contended(Mutex<Option<Remembered>>);

#[derive(Debug)]
struct Remembered {
    function: Box<str>,
    /// What it had a lease on when it came to its end.
    on: Touched,
    /// So many more times; then one has to try without.
    left: u32,
}

impl Contended {
    /// What the next transaction of this function is to queue for.
    pub(super) fn recall(&self, function: &str) -> Option<Touched> {
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
    pub(super) fn remember(&self, function: &str, on: Touched) {
        *lock(&self.0) = Some(Remembered {
            function: function.into(),
            on,
            left: QUEUED_AT_ONCE,
        });
    }

    /// Its last one had no need of what it was to queue for.
    pub(super) fn forget(&self, function: &str) {
        let mut slot = lock(&self.0);
        if (slot.as_ref()).is_some_and(|remembered| *remembered.function == *function) {
            *slot = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(key: &str) -> Touched {
        Touched::from([("n".into(), Some(key.into()))])
    }

    #[test]
    fn so_many_queue_at_once_and_then_one_tries_without() {
        let contended = Contended::default();
        assert_eq!(contended.recall("f"), None);
        contended.remember("f", on("k"));
        for _ in 0..QUEUED_AT_ONCE {
            assert_eq!(contended.recall("f"), Some(on("k")));
        }
        assert_eq!(contended.recall("f"), None);
    }

    #[test]
    fn another_function_is_not_meant() {
        let contended = Contended::default();
        contended.remember("f", on("k"));
        contended.forget("g");
        assert_eq!(contended.recall("g"), None);
        assert_eq!(contended.recall("f"), Some(on("k")));
        contended.forget("f");
        assert_eq!(contended.recall("f"), None);
    }
}
