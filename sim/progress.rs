//! How far an ensemble is, while it runs.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// The progress line: on a terminal in place, else every few seconds.
pub(crate) struct Progress {
    total: u64,
    told: Instant,
    terminal: bool,
}

impl Progress {
    pub(crate) fn new(total: u64) -> Progress {
        Progress {
            total,
            told: Instant::now(),
            terminal: stderr().is_terminal(),
        }
    }

    pub(crate) fn tell(&mut self, done: u64, failed: u64) {
        let pause = Duration::from_millis(if self.terminal { 100 } else { 5_000 });
        if self.told.elapsed() < pause {
            return;
        }
        self.told = Instant::now();
        let line = format!("{done} of {} seeds, {failed} failed", self.total);
        if self.terminal {
            let _ = write!(stderr(), "\r{line} ");
        } else {
            let _ = writeln!(stderr(), "{line}");
        }
    }

    pub(crate) fn clear(&self) {
        if self.terminal {
            let _ = write!(stderr(), "\r{:60}\r", "");
        }
    }
}
