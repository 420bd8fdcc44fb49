//! The clock of the real world.

use crate::proto::time::Time;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Tells the time of day as it was when the clock was made, and from then on what has passed: it
/// never goes back, whatever is done to the machine's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    base: Time,
    start: Instant,
}

impl Clock {
    pub(crate) fn new() -> Clock {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Clock {
            base: Time::default().after(since_epoch),
            start: Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> Time {
        self.base.after(self.start.elapsed())
    }

    /// Is it the same clock?
    pub(crate) fn is(&self, other: &Clock) -> bool {
        self.base == other.base && self.start == other.start
    }

    /// How long from now until `deadline`; zero when it has come.
    pub(crate) fn until(&self, deadline: Time) -> Duration {
        deadline.since(self.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_goes_back_and_counts_down() {
        let clock = Clock::new();
        let first = clock.now();
        let second = clock.now();
        assert!(second >= first && first > Time::default());
        assert_eq!(clock.until(first), Duration::ZERO);
        let hour = Duration::from_secs(3600);
        assert!(clock.until(first.after(hour)) > hour / 2);
    }
}
