//! The end of a tree whose program was asked to end: everybody is asked, and has a grace.

use super::{Effect, Keeper};
use crate::proto::marks::{self, Mark};
use crate::proto::message::Why;
use crate::proto::planted::{self, Bug};
use crate::proto::time::Time;
use std::time::Duration;

/// That the program was asked to end, and what has come of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stopping {
    /// When the grace of the whole tree is over.
    until: Time,
    /// The program has let go of the tree, and waits for its end.
    let_go: bool,
}

impl Keeper {
    /// The program was asked to end: all its processes are, those too that are still to start, and
    /// the grace of the tree begins. Each may take as long as its own grace, if it has one, and not longer
    /// than the tree's. Asked again, nothing changes.
    pub fn program_asked(&mut self, now: Time) {
        if self.has_ended || self.stopping.is_some() {
            return;
        }
        marks::reached(Mark::TreeStopped);
        let until = match planted::is(Bug::TreeGraceNotGiven) {
            true => now,
            false => now.after(self.grace),
        };
        self.stopping = Some(Stopping {
            until,
            let_go: false,
        });
        let all: Vec<u32> = self.running.keys().copied().collect();
        for pid in all {
            self.stop_with_tree(pid, now);
        }
    }

    /// The program has let go of the tree, and waits for its end. It comes at once, or, if the program
    /// was asked to end, as soon as all processes have ended or the grace is over.
    pub fn program_let_go(&mut self) {
        match &mut self.stopping {
            None => self.end(),
            Some(stopping) => {
                stopping.let_go = true;
                self.end_if_done();
            }
        }
    }

    /// If the tree is being stopped, this process is asked, too.
    pub(super) fn stop_with_tree(&mut self, pid: u32, now: Time) {
        let (Some(stopping), Some(running)) = (self.stopping, self.running.get(&pid)) else {
            return;
        };
        let until = match running.terms.grace_ns {
            Some(own_ns) => (stopping.until).min(now.after(Duration::from_nanos(own_ns))),
            None => stopping.until,
        };
        self.stop(pid, until);
    }

    /// Somebody has ended: ends the tree if it waits for nobody else.
    pub(super) fn end_if_done(&mut self) {
        let waits = self.stopping.is_some_and(|stopping| stopping.let_go);
        if waits && self.running.is_empty() && self.starting.is_empty() {
            marks::reached(Mark::TreeStoppedInTime);
            self.end_in_order();
        }
    }

    /// When the grace of the whole tree is over.
    pub(super) fn grace_ends_at(&self) -> Option<Time> {
        let stopping = self
            .stopping
            .filter(|_| !planted::is(Bug::TreeGraceForgotten))?;
        Some(stopping.until)
    }

    /// Ends the program, and the tree, if its grace is over. Those that were killed for it go first.
    pub(super) fn end_late(&mut self, now: Time) {
        if self.has_ended || self.grace_ends_at().is_none_or(|until| until > now) {
            return;
        }
        marks::reached(Mark::TreeStoppedLate);
        let all: Vec<u32> = self.running.keys().copied().collect();
        for pid in all {
            self.kill(pid, Why::Grace);
        }
        self.want(Effect::EndProgram);
        self.end_in_order();
    }

    /// Ends the tree behind all that is still to be done.
    fn end_in_order(&mut self) {
        self.want(Effect::End);
        self.has_ended = true;
    }
}
