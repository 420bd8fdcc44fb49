//! Waiting awake for a moment before going to sleep.
//!
//! A core that has nothing to run is put to rest, and to wake it takes longer (some 50 us on a
//! virtual machine) than the whole exchange with the server (about 10 us). So who expects an answer
//! looks for it a few times first, and lets others run in between. Where looking has been in vain,
//! it is mostly left out, so that long waits and a busy machine pay next to nothing for it.

use mio::{Events, Poll};
use std::io;
use std::time::{Duration, Instant};

/// How long to look before sleeping: a little longer than to wake the other side takes, so that two
/// sides that both sleep can find out of it.
const LOOK_TIME: Duration = Duration::from_micros(100);
/// After so many times in vain in a row it is tried only now and then.
const MISSES_MAX: u32 = 4;
/// Now and then: every so many waits.
const TRY_EVERY: u32 = 16;

/// Polls, first awake, then asleep.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// Times in a row that nothing came while it looked.
    misses: u32,
    /// Waits since the last look.
    skipped: u32,
}

impl Patience {
    /// As [`Poll::poll`].
    pub(super) fn poll(
        &mut self,
        poll: &mut Poll,
        events: &mut Events,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        let is_short = timeout.is_some_and(|timeout| timeout <= LOOK_TIME);
        if is_short || !self.wants_to_look() {
            return poll.poll(events, timeout);
        }
        let begin = Instant::now();
        loop {
            poll.poll(events, Some(Duration::ZERO))?;
            if !events.is_empty() {
                self.misses = 0;
                return Ok(());
            }
            let looked = begin.elapsed();
            if looked >= LOOK_TIME {
                self.misses = self.misses.saturating_add(1);
                return poll.poll(events, timeout.map(|timeout| timeout - LOOK_TIME));
            }
            // The one that is waited for may need this very core.
            std::thread::yield_now();
        }
    }

    fn wants_to_look(&mut self) -> bool {
        if self.misses < MISSES_MAX {
            return true;
        }
        self.skipped += 1;
        if self.skipped < TRY_EVERY {
            return false;
        }
        self.skipped = 0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Token, Waker};

    #[test]
    fn it_gives_up_looking_and_takes_it_up_again() {
        let mut poll = Poll::new().expect("poll");
        let mut events = Events::with_capacity(4);
        let waker = Waker::new(poll.registry(), Token(0)).expect("waker");
        let mut patience = Patience::default();
        let wait = Some(2 * LOOK_TIME);
        for _ in 0..MISSES_MAX {
            patience.poll(&mut poll, &mut events, wait).expect("poll");
            assert!(events.is_empty());
        }
        assert!(!patience.wants_to_look());
        // What is there is seen, looked for or not.
        for _ in 0..TRY_EVERY {
            waker.wake().expect("wake");
            patience.poll(&mut poll, &mut events, None).expect("poll");
            assert!(!events.is_empty());
        }
        assert!(patience.wants_to_look());
    }
}
