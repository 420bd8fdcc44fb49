//! Whether a function in the server has run past its time.
//!
//! Time is measured in looks, a quarter of the limit apart, each of which must find the same function
//! at work: so a machine that stands still, or a watcher that is not let run, costs nobody its life,
//! as one look counts for one quarter at most. A function is ended when it has run for the limit, and
//! at the latest a quarter of it after.
//!
//! # The grammar
//!
//! The server numbers its turns: odd while a function runs, even between. When it begins one and
//! nobody watches, it rings; the watcher says [`Watchdog::rung`]. From then on, when
//! [`Watchdog::deadline`] has come, [`Watchdog::look`] is given the present turn and tells what to
//! do. A look before its time does nothing, and one at a server that is held counts for nothing: who
//! has stopped it, or looks at it with a debugger, has all the time in the world.

use super::time::Time;
use std::time::Duration;

/// Looks that make up the limit.
const LOOKS: u32 = 4;

/// What is to be done after a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Look again at the deadline.
    GoOn,
    /// Nothing has run since the last look: the server is to ring again.
    Rest,
    /// This function has run for too long.
    Over,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Watchdog {
    interval: Duration,
    /// When to look; `None` while nobody watches.
    deadline: Option<Time>,
    /// The turn that the last look found, and for how many looks it has been that.
    turn: u64,
    looks: u32,
}

impl Watchdog {
    /// Nobody watches yet. No function may run for longer than `limit`.
    #[must_use]
    pub fn new(limit: Duration) -> Watchdog {
        Watchdog {
            interval: limit / LOOKS,
            deadline: None,
            turn: 0,
            looks: 0,
        }
    }

    /// When to look.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// The server has begun to run functions. A second ring changes nothing.
    pub fn rung(&mut self, turn: u64, now: Time) {
        if self.deadline.is_none() {
            self.turn = turn;
            self.looks = 0;
            self.deadline = Some(now.after(self.interval));
        }
    }

    /// A look at the server's turn. `is_held` is asked if the function is the one of the look before:
    /// is it not the function that takes the time?
    pub fn look(&mut self, turn: u64, now: Time, is_held: impl FnOnce() -> bool) -> Verdict {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return Verdict::GoOn;
        }
        let is_running = !turn.is_multiple_of(2);
        let is_same = turn == self.turn;
        let counts = is_same && !(is_running && is_held());
        self.looks = if counts { self.looks + 1 } else { 0 };
        self.turn = turn;
        self.deadline = Some(now.after(self.interval));
        match (is_running, is_same) {
            (true, true) if self.looks >= LOOKS => Verdict::Over,
            (false, true) => {
                self.deadline = None;
                Verdict::Rest
            }
            _ => Verdict::GoOn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(8);

    /// Nobody holds the server.
    fn free() -> bool {
        false
    }

    fn at(seconds: u64) -> Time {
        Time::default().after(Duration::from_secs(seconds))
    }

    #[test]
    fn a_function_that_never_ends_is_over_at_the_limit() {
        let mut dog = Watchdog::new(LIMIT);
        assert_eq!(dog.deadline(), None);
        dog.rung(1, at(0));
        for second in 0..8 {
            assert_eq!(dog.look(1, at(second), free), Verdict::GoOn, "{second}");
        }
        assert_eq!(dog.look(1, at(8), free), Verdict::Over);
    }

    #[test]
    fn one_that_begins_between_looks_gets_its_whole_time() {
        let mut dog = Watchdog::new(LIMIT);
        dog.rung(1, at(0));
        assert_eq!(dog.look(1, at(2), free), Verdict::GoOn);
        // It began just after that look.
        for second in [4, 6, 8, 10] {
            assert_eq!(dog.look(5, at(second), free), Verdict::GoOn, "{second}");
        }
        assert_eq!(dog.look(5, at(12), free), Verdict::Over);
    }

    #[test]
    fn many_short_ones_are_never_over_and_silence_is_rest() {
        let mut dog = Watchdog::new(LIMIT);
        dog.rung(1, at(0));
        for look in 1..100 {
            assert_eq!(dog.look(2 * look + 1, at(2 * look), free), Verdict::GoOn);
        }
        // The last one ended, and then nothing ran.
        assert_eq!(dog.look(200, at(200), free), Verdict::GoOn);
        assert_eq!(dog.look(200, at(202), free), Verdict::Rest);
        assert_eq!(dog.deadline(), None);
        assert_eq!(dog.look(200, at(999), free), Verdict::GoOn);
        dog.rung(201, at(1000));
        assert_eq!(dog.deadline(), Some(at(1002)));
    }

    #[test]
    fn a_watcher_that_stood_still_counts_one_look() {
        let mut dog = Watchdog::new(LIMIT);
        dog.rung(1, at(0));
        assert_eq!(dog.look(1, at(5_000), free), Verdict::GoOn);
        // And looks that come too early do not count at all.
        for _ in 0..10 {
            assert_eq!(dog.look(1, at(5_001), free), Verdict::GoOn);
        }
        assert_eq!(dog.look(1, at(5_002), free), Verdict::GoOn);
        assert_eq!(dog.look(1, at(5_004), free), Verdict::GoOn);
        assert_eq!(dog.look(1, at(5_006), free), Verdict::Over);
    }

    /// It was killed for the time in which it was stopped, at the first look after SIGCONT.
    #[test]
    fn looks_at_a_server_that_is_held_count_for_nothing() {
        let mut dog = Watchdog::new(LIMIT);
        dog.rung(1, at(0));
        for second in [2, 4, 6] {
            assert_eq!(dog.look(1, at(second), free), Verdict::GoOn, "{second}");
        }
        for second in [8, 10, 12, 14, 16, 18] {
            assert_eq!(dog.look(1, at(second), || true), Verdict::GoOn, "{second}");
        }
        // Then it has its whole time again.
        for second in [20, 22, 24] {
            assert_eq!(dog.look(1, at(second), free), Verdict::GoOn, "{second}");
        }
        assert_eq!(dog.look(1, at(26), free), Verdict::Over);
    }
}
