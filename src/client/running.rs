//! Which threads of this process run a function of the user's that has the state from a transaction
//! or a view: what such a function calls beside that would take effect by itself, so it is refused.

use super::{CallError, Connection};
use crate::proto::marks::{self, Mark};
use crate::runtime::ThreadNumber;
use crate::sync::{Mutex, lock};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Those of one connection.
#[derive(Default)]
pub(super) struct Running {
    /// How many there are: calls look at this alone where there are none. A thread always sees what
    /// it has itself added, and that is all it asks for.
    count: AtomicUsize,
    entries: Mutex<Vec<Entry>>,
}

struct Entry {
    thread: ThreadNumber,
    /// The public call that runs it, in words.
    call: Box<str>,
    /// What is asked now is asked for the function by that call.
    aside: bool,
}

/// A function of the user's runs on this thread, as long as this lives.
pub(crate) struct Entered<'a> {
    connection: &'a Connection,
    thread: ThreadNumber,
}

impl Running {
    fn with<R>(&self, thread: ThreadNumber, f: impl FnOnce(&mut Entry) -> R) -> Option<R> {
        let mut entries = lock(&self.entries);
        let entry = entries.iter_mut().find(|entry| entry.thread == thread);
        entry.map(f)
    }

    fn set_aside(&self, thread: ThreadNumber, aside: bool) {
        self.with(thread, |entry| entry.aside = aside);
    }
}

impl Connection {
    /// May this thread call? Not from within a function that it runs.
    pub(super) fn check_nested(&self) -> Result<(), CallError> {
        let running = &self.0.running;
        if running.count.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        let thread = self.port().thread();
        let within = running.with(thread, |entry| (!entry.aside).then(|| entry.call.clone()));
        match within.flatten() {
            Some(within) => {
                marks::reached(Mark::CallNested);
                Err(CallError::Nested(within))
            }
            None => Ok(()),
        }
    }

    /// A function of the user's is about to run on this thread, for this public call.
    ///
    /// # Errors
    /// [`CallError::Nested`] if one runs already.
    pub(crate) fn enter(&self, call: impl std::fmt::Display) -> Result<Entered<'_>, CallError> {
        if self.port().is_forked() {
            return Err(CallError::Forked);
        }
        self.check_nested()?;
        let thread = self.port().thread();
        let running = &self.0.running;
        let call = call.to_string().into();
        let aside = false;
        lock(&running.entries).push(Entry {
            thread,
            call,
            aside,
        });
        running.count.fetch_add(1, Ordering::Relaxed);
        Ok(Entered {
            connection: self,
            thread,
        })
    }

    /// Has `f` call for the function that this thread runs: what its transaction or view needs.
    pub(crate) fn aside<R>(&self, f: impl FnOnce() -> R) -> R {
        struct Back<'a>(&'a Running, ThreadNumber);
        impl Drop for Back<'_> {
            fn drop(&mut self) {
                self.0.set_aside(self.1, false);
            }
        }
        let (running, thread) = (&self.0.running, self.port().thread());
        running.set_aside(thread, true);
        let _back = Back(running, thread);
        f()
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let running = &self.connection.0.running;
        lock(&running.entries).retain(|entry| entry.thread != self.thread);
        running.count.fetch_sub(1, Ordering::Relaxed);
    }
}
