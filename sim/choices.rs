//! The one stream of choices: everything that a run leaves open is drawn here.
//!
//! A draw is an integer below a bound, made for a named [`Part`] of the world. Each part has a
//! sub-stream of its own, so that one more draw by the network does not change what a workload
//! does. Zero is always the mildest choice (no fault, no delay, the first of a list), so that a
//! recording that is cut or zeroed describes a simpler run.

/// Who draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Part {
    /// Which of the runnable threads goes on, and when.
    Schedule,
    /// Delays and sizes of deliveries.
    Network,
    /// Whether a fault strikes.
    Faults,
    /// Which faults this run has at all, and how heavy they weigh.
    Swarm,
    /// The server's own seed.
    Server,
    /// The keeper: how long a start and a death notice take.
    Keeper,
    /// What one process draws for itself: its workload's choices and its port's random numbers.
    Process(u64),
}

/// Parts that are not processes; a process's stream comes behind them.
const FIXED_PARTS: usize = 6;

impl Part {
    fn index(self) -> usize {
        match self {
            Part::Schedule => 0,
            Part::Network => 1,
            Part::Faults => 2,
            Part::Swarm => 3,
            Part::Server => 4,
            Part::Keeper => 5,
            Part::Process(process) => {
                FIXED_PARTS + usize::try_from(process).expect("processes are counted from one")
            }
        }
    }
}

/// One draw as it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Who drew.
    pub(crate) part: Part,
    /// The bound.
    pub(crate) below: u64,
    /// What came, less than `below`.
    pub(crate) value: u64,
}

/// One part's sub-stream.
#[derive(Debug)]
struct Stream {
    /// The state of a SplitMix64 generator.
    state: u64,
    /// What is fed back instead, first draw first, and how far it is used up.
    replay: Option<(Vec<u64>, usize)>,
}

/// The choice stream of one run.
#[derive(Debug)]
pub(crate) struct Choices {
    seed: u64,
    streams: Vec<Option<Stream>>,
    recording: Option<Vec<Choice>>,
    feed: Option<Vec<Choice>>,
    drawn: u64,
}

/// The finalizer of SplitMix64: every bit of the input reaches every bit of the output.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The odd constant that SplitMix64 counts by.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Choices {
    /// All choices drawn from `seed`.
    #[must_use]
    pub(crate) fn new(seed: u64) -> Choices {
        Choices {
            seed,
            streams: Vec::new(),
            recording: None,
            feed: None,
            drawn: 0,
        }
    }

    /// The choices of `recording`, each part's in their order; when a part's are used up, zero.
    #[must_use]
    pub(crate) fn replay(recording: &[Choice]) -> Choices {
        Choices {
            feed: Some(recording.to_vec()),
            ..Choices::new(0)
        }
    }

    /// From now on every draw is kept, for [`Choices::recorded`].
    pub(crate) fn record(&mut self) {
        self.recording = Some(Vec::new());
    }

    /// The draws since [`Choices::record`].
    #[must_use]
    pub(crate) fn recorded(&self) -> &[Choice] {
        self.recording.as_deref().unwrap_or_default()
    }

    /// How many draws there were.
    #[cfg(test)]
    fn drawn(&self) -> u64 {
        self.drawn
    }

    /// A number less than `below`; zero without a draw when there is no choice.
    pub(crate) fn below(&mut self, part: Part, below: u64) -> u64 {
        if below <= 1 {
            return 0;
        }
        let index = part.index();
        if self.streams.len() <= index {
            self.streams.resize_with(index + 1, || None);
        }
        let stream = match &mut self.streams[index] {
            Some(stream) => stream,
            empty => empty.insert(Stream {
                state: mix(self.seed.wrapping_add(GOLDEN) ^ mix(index as u64 + 1)),
                replay: self.feed.as_ref().map(|feed| {
                    let values = feed.iter().filter(|choice| choice.part == part);
                    (values.map(|choice| choice.value).collect(), 0)
                }),
            }),
        };
        let value = match &mut stream.replay {
            Some((values, used)) => {
                let value = values.get(*used).copied().unwrap_or(0);
                *used += 1;
                value.min(below - 1)
            }
            None => {
                stream.state = stream.state.wrapping_add(GOLDEN);
                // The high half of a product spreads a 64-bit number over any range, all but evenly.
                ((u128::from(mix(stream.state)) * u128::from(below)) >> 64) as u64
            }
        };
        self.drawn += 1;
        if let Some(recording) = &mut self.recording {
            recording.push(Choice { part, below, value });
        }
        value
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, part: Part, low: u64, high: u64) -> u64 {
        low + self.below(part, high - low + 1)
    }

    /// True for `weight` draws of `of`; never, and without a draw, for weight zero.
    pub(crate) fn strikes(&mut self, part: Part, weight: u64, of: u64) -> bool {
        weight > 0 && self.below(part, of) >= of.saturating_sub(weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_disturb_each_other() {
        let mut alone = Choices::new(7);
        let expected: Vec<u64> = (0..50).map(|_| alone.below(Part::Schedule, 1000)).collect();
        let mut mixed = Choices::new(7);
        let mut got = Vec::new();
        for draw in 0..50 {
            for _ in 0..draw % 3 {
                mixed.below(Part::Process(9), 10);
                mixed.below(Part::Network, 10);
            }
            got.push(mixed.below(Part::Schedule, 1000));
        }
        assert_eq!(got, expected);
    }

    #[test]
    fn seeds_and_parts_differ() {
        let draw = |seed, part| {
            let mut choices = Choices::new(seed);
            (0..8)
                .map(|_| choices.below(part, 1 << 40))
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(1, Part::Network), draw(1, Part::Network));
        assert_ne!(draw(1, Part::Network), draw(2, Part::Network));
        assert_ne!(draw(1, Part::Network), draw(1, Part::Faults));
        assert_ne!(draw(1, Part::Process(1)), draw(1, Part::Process(2)));
    }

    #[test]
    fn a_recording_replays_and_a_cut_one_goes_on_with_zero() {
        let mut first = Choices::new(3);
        first.record();
        let run = |choices: &mut Choices| {
            let mut drawn = Vec::new();
            for n in 2..40 {
                drawn.push(choices.below(Part::Network, n));
                drawn.push(choices.between(Part::Process(n), 5, 5 + n));
            }
            drawn
        };
        let expected = run(&mut first);
        let recording = first.recorded().to_vec();
        assert_eq!(run(&mut Choices::replay(&recording)), expected);
        let mut cut = Choices::replay(&recording[..4]);
        let got = run(&mut cut);
        assert_eq!(got[..4], expected[..4]);
        assert_eq!(got[4], 0);
    }

    #[test]
    fn draws_stay_in_range_and_weights_hold() {
        let mut choices = Choices::new(11);
        let mut hits = 0;
        for _ in 0..10_000 {
            assert!(choices.below(Part::Network, 7) < 7);
            assert!((3..=9).contains(&choices.between(Part::Network, 3, 9)));
            hits += u32::from(choices.strikes(Part::Faults, 100, 1000));
        }
        assert!((800..1200).contains(&hits), "{hits}");
        let before = choices.drawn();
        assert!(!choices.strikes(Part::Faults, 0, 1000));
        assert_eq!(choices.below(Part::Faults, 1), 0);
        assert_eq!(choices.drawn(), before);
    }
}
