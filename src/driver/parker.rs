//! A thread's place to sleep.

use super::clock::Clock;
use crate::proto::time::Time;
use crate::runtime::Parker;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};

/// Parks the thread that it was made on.
///
/// The flag is what counts; `std`'s own token may be taken or left by other code of the thread.
pub(crate) struct ThreadParker {
    thread: Thread,
    is_woken: AtomicBool,
    clock: Clock,
}

thread_local! {
    /// The calling thread's parker, made once.
    static PARKER: RefCell<Option<Arc<ThreadParker>>> = const { RefCell::new(None) };
}

/// The calling thread's parker. Its deadlines are of `clock`.
pub(crate) fn current(clock: Clock) -> Arc<dyn Parker> {
    let make = || {
        Arc::new(ThreadParker {
            thread: thread::current(),
            is_woken: AtomicBool::new(false),
            clock,
        })
    };
    let cached = PARKER.try_with(|cached| {
        let mut cached = cached.borrow_mut();
        match cached.as_ref() {
            Some(parker) if parker.clock.is(&clock) => Arc::clone(parker),
            // None yet, or of a connection with another clock.
            _ => Arc::clone(cached.insert(make())),
        }
    });
    // While the thread's locals are being dropped there is no cache any more.
    cached.unwrap_or_else(|_| make())
}

impl Parker for ThreadParker {
    fn park(&self, deadline: Option<Time>) {
        while !self.is_woken.swap(false, Ordering::Acquire) {
            let Some(deadline) = deadline else {
                thread::park();
                continue;
            };
            let left = self.clock.until(deadline);
            if left.is_zero() {
                return;
            }
            thread::park_timeout(left);
        }
    }

    fn unpark(&self) {
        self.is_woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_early_unpark_is_not_lost_and_a_deadline_ends_it() {
        let clock = Clock::new();
        let parker = current(clock);
        parker.unpark();
        parker.park(None);
        let deadline = clock.now().after(Duration::from_millis(5));
        parker.park(Some(deadline));
        assert!(clock.now() >= deadline);
    }

    #[test]
    fn foreign_tokens_do_not_end_it() {
        let clock = Clock::new();
        let parker = current(clock);
        thread::current().unpark();
        let deadline = clock.now().after(Duration::from_millis(5));
        parker.park(Some(deadline));
        assert!(clock.now() >= deadline);
    }

    #[test]
    fn another_thread_wakes_it() {
        let clock = Clock::new();
        let parker = current(clock);
        let waker = Arc::clone(&parker);
        let thread = thread::spawn(move || waker.unpark());
        parker.park(None);
        thread.join().expect("the waker returns");
    }

    #[test]
    fn a_thread_has_one_per_clock() {
        let clock = Clock::new();
        assert!(Arc::ptr_eq(&current(clock), &current(clock)));
    }
}
