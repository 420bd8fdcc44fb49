//! What a run did: a rolling hash of every event, and on demand a story to read.

use crate::choices::mix;
use crate::story::{Sink, Teller};
use zproc::seam::proto::time::Time;

/// When simulated time begins: a round number, so that a trace reads well.
pub(crate) const START: Time = Time(1_000_000_000);

/// The hash, the count, and the story if one is wanted.
pub(crate) struct Trace {
    hash: u64,
    events: u64,
    /// There only if somebody reads: else nothing is made for the story.
    teller: Option<Box<Teller>>,
}

impl Trace {
    /// A trace that only counts and hashes.
    pub(crate) fn new() -> Trace {
        Trace {
            hash: 0,
            events: 0,
            teller: None,
        }
    }

    /// From now on each item of the story goes to `sink`; with `hashes`, the hash after each event
    /// too.
    pub(crate) fn tell(&mut self, sink: Sink, hashes: bool) {
        self.teller = Some(Box::new(Teller::new(sink, hashes)));
    }

    /// One event: a delivery or a wake-up. `kind` tells which, `a` and `b` what it is about.
    pub(crate) fn event(&mut self, kind: u8, time: Time, a: u64, b: u64) {
        self.events += 1;
        self.fold(u64::from(kind) ^ time.0.rotate_left(8));
        self.fold(a);
        self.fold(b);
        if let Some(teller) = &mut self.teller {
            teller.hash(self.events, self.hash);
        }
    }

    /// One number into the hash.
    pub(crate) fn fold(&mut self, value: u64) {
        self.hash = mix(self.hash.rotate_left(5) ^ value).wrapping_add(0x9e37_79b9_7f4a_7c15);
    }

    /// Bytes into the hash.
    pub(crate) fn fold_bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        let mut hash = self.hash ^ bytes.len() as u64;
        for word in words {
            hash = (hash.rotate_left(5) ^ u64::from_le_bytes(*word))
                .wrapping_mul(0x517c_c1b7_2722_0a95);
        }
        for byte in rest {
            hash = (hash.rotate_left(5) ^ u64::from(*byte)).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
        self.hash = mix(hash);
    }

    /// The hash of all events so far.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events so far.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    /// Who is to be told what happens at `now`, if somebody reads the story.
    pub(crate) fn story(&mut self, now: Time) -> Option<&mut Teller> {
        let teller = self.teller.as_deref_mut()?;
        teller.set_now(now);
        Some(teller)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_an_event_counts() {
        let hash = |kind, time, a, b, bytes: &[u8]| {
            let mut trace = Trace::new();
            trace.event(kind, Time(time), a, b);
            trace.fold_bytes(bytes);
            trace.hash()
        };
        let base = hash(1, 2, 3, 4, b"123456789");
        assert_eq!(base, hash(1, 2, 3, 4, b"123456789"));
        for other in [
            hash(2, 2, 3, 4, b"123456789"),
            hash(1, 3, 3, 4, b"123456789"),
            hash(1, 2, 4, 4, b"123456789"),
            hash(1, 2, 3, 5, b"123456789"),
            hash(1, 2, 3, 4, b"123456780"),
            hash(1, 2, 3, 4, b"12345678"),
        ] {
            assert_ne!(base, other);
        }
    }
}
