//! The one stream of choices: everything that a run leaves open is drawn here.
//!
//! A draw is an integer below a bound, made for a named [`Part`] of the world. Each part has a
//! sub-stream of its own, so that one more draw by the network does not change what a workload
//! does, and a process that is taken out does not change the luck of the others. Zero is always the
//! mildest choice (no fault, no delay, the first of a list), so that a run is described by the
//! choices that are not zero: a [`Case`](crate::case::Case) is a list of them, and whatever is cut
//! from it or lowered describes a simpler run.

use crate::faults::Fault;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

/// Who draws. Most parts are one process's; the number is the process's, or the place in the crew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Part {
    /// Which faults this run has at all, and how heavy they weigh; limits.
    Swarm,
    /// The server's own seed.
    Server,
    /// When a thread of the process goes on that could run; the thread by its place among them.
    Schedule(u64, u8),
    /// How long what the process's connections carry takes: one way, the other, and the server's
    /// turns. What a fault does to it is drawn from the fault's own part.
    Network(u64, u8),
    /// How long the process's start and its death notice take.
    Keeper(u64),
    /// What the program has a member of its crew do.
    Crew(u64),
    /// What the process's own code draws in one of its threads: its workload's choices.
    Workload(u64, u8),
    /// The random numbers of the process's port.
    Port(u64),
    /// Whether a fault strikes that concerns the process.
    Fault(Fault, u64),
    /// Whether a fault point in the code strikes that concerns the process; by the point's number.
    Point(u8, u64),
}

/// Parts that one process has: those that it has once, those that each thread has, faults, and
/// fault points.
const PARTS: usize = 96;
const FIRST_NETWORK: usize = 5;
const FIRST_SCHEDULE: usize = FIRST_NETWORK + WAYS as usize;
const FIRST_WORKLOAD: usize = FIRST_SCHEDULE + THREADS as usize;
const FIRST_FAULT: usize = FIRST_WORKLOAD + THREADS as usize;
const FIRST_POINT: usize = 64;

/// The names of what a process has once, by their number.
const KINDS: [&str; FIRST_NETWORK] = ["swarm", "server", "keeper", "crew", "port"];

/// The parts of [`Part::Network`].
const WAYS: u8 = 3;
pub(crate) const TO_SERVER: u8 = 0;
pub(crate) const TO_CLIENT: u8 = 1;
pub(crate) const TURNS: u8 = 2;

/// So many threads of a process have parts of their own; all further ones share the last.
const THREADS: u8 = 4;

impl Part {
    /// The kind's number, and the process.
    fn split(self) -> (usize, u64) {
        let of_thread = |thread: u8| usize::from(thread.min(THREADS - 1));
        match self {
            Part::Swarm => (0, 0),
            Part::Server => (1, 0),
            Part::Keeper(process) => (2, process),
            Part::Crew(place) => (3, place),
            Part::Port(process) => (4, process),
            Part::Network(process, way) => (FIRST_NETWORK + usize::from(way), process),
            Part::Schedule(process, thread) => (FIRST_SCHEDULE + of_thread(thread), process),
            Part::Workload(process, thread) => (FIRST_WORKLOAD + of_thread(thread), process),
            Part::Fault(fault, process) => (FIRST_FAULT + fault as usize, process),
            Part::Point(point, process) => (FIRST_POINT + usize::from(point), process),
        }
    }

    /// The part of this kind and process; `None` when there is no such kind.
    fn join(kind: usize, process: u64) -> Option<Part> {
        let small = |first: usize| u8::try_from(kind - first).ok();
        Some(match kind {
            0 => Part::Swarm,
            1 => Part::Server,
            2 => Part::Keeper(process),
            3 => Part::Crew(process),
            4 => Part::Port(process),
            FIRST_NETWORK..FIRST_SCHEDULE => Part::Network(process, small(FIRST_NETWORK)?),
            FIRST_SCHEDULE..FIRST_WORKLOAD => Part::Schedule(process, small(FIRST_SCHEDULE)?),
            FIRST_WORKLOAD..FIRST_FAULT => Part::Workload(process, small(FIRST_WORKLOAD)?),
            FIRST_FAULT..FIRST_POINT => Part::Fault(Fault::all().nth(kind - FIRST_FAULT)?, process),
            FIRST_POINT..PARTS => Part::Point(small(FIRST_POINT)?, process),
            _ => return None,
        })
    }

    fn index(self) -> usize {
        let (kind, process) = self.split();
        kind + PARTS * usize::try_from(process).expect("processes are counted from zero")
    }

    /// The number of the kind: parts of one kind and different processes have the same.
    pub(crate) fn kind(self) -> usize {
        self.split().0
    }

    /// The process, or the place in the crew; zero for what belongs to none.
    pub(crate) fn process(self) -> u64 {
        self.split().1
    }

    /// Is it only how long something takes that always takes a while?
    pub(crate) fn is_pace(self) -> bool {
        matches!(
            self,
            Part::Schedule(..) | Part::Network(..) | Part::Keeper(_)
        )
    }

    /// The same kind of part, of another process.
    pub(crate) fn of(self, process: u64) -> Part {
        Part::join(self.kind(), process).unwrap_or(self)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, process) = self.split();
        match self {
            Part::Fault(fault, _) => {
                write!(to, "fault:{} {process}", fault.name().replace(' ', "-"))
            }
            Part::Point(point, _) => write!(to, "point:{point} {process}"),
            Part::Network(_, way) => write!(to, "network:{way} {process}"),
            Part::Schedule(_, thread) => write!(to, "schedule:{thread} {process}"),
            Part::Workload(_, thread) => write!(to, "workload:{thread} {process}"),
            _ => write!(to, "{} {process}", KINDS[kind]),
        }
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Part, String> {
        let unknown = || format!("not a part of the world: {text}");
        let (name, process) = text.split_once(' ').ok_or_else(unknown)?;
        let process = process.parse().map_err(|_| unknown())?;
        let kind = match name.split_once(':') {
            None => KINDS.iter().position(|kind| *kind == name),
            Some(("fault", name)) => {
                let mut faults = Fault::all().map(|fault| fault.name().replace(' ', "-"));
                let fault = faults.position(|fault| fault == name);
                fault.map(|fault| FIRST_FAULT + fault)
            }
            Some((kind, number)) => {
                let (first, end) = match kind {
                    "network" => (FIRST_NETWORK, FIRST_SCHEDULE),
                    "schedule" => (FIRST_SCHEDULE, FIRST_WORKLOAD),
                    "workload" => (FIRST_WORKLOAD, FIRST_FAULT),
                    "point" => (FIRST_POINT, PARTS),
                    _ => return Err(unknown()),
                };
                let number: usize = number.parse().map_err(|_| unknown())?;
                first.checked_add(number).filter(|kind| *kind < end)
            }
        };
        let part = kind.and_then(|kind| Part::join(kind, process));
        // What belongs to no process has no other number than zero.
        part.filter(|part| part.process() == process)
            .ok_or_else(unknown)
    }
}

/// One draw as it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Choice {
    /// Who drew.
    pub(crate) part: Part,
    /// The number of the draw among its part's, from zero.
    pub(crate) nth: u64,
    /// What came, less than `below`.
    pub(crate) value: u64,
    /// The bound.
    pub(crate) below: u64,
}

/// In a calm run one weight or limit of so many is drawn, the others are as mild as can be.
const SWARM_CALM: u64 = 4;

/// One part's sub-stream.
#[derive(Debug)]
pub(crate) struct Stream {
    part: Part,
    /// The state of a SplitMix64 generator.
    state: u64,
    /// What is fed back instead, by the number of the draw.
    fed: BTreeMap<u64, u64>,
    /// What comes where nothing is fed.
    otherwise: Otherwise,
    drawn: u64,
}

/// What comes where no choice is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Otherwise {
    /// The mildest: this is a replay.
    Zero,
    /// What the seed gives.
    Drawn,
    /// The mildest, but for one draw of so many that is what the seed gives: such a run is near to
    /// a small one. It has few kinds of faults; its crew is drawn as ever.
    Calm(u64),
    /// All takes the same time but for faults, of which there are few kinds; the rest is what the
    /// seed gives. A run that fails like this has no noise that must be told from its cause.
    Even,
}

impl Stream {
    fn next(&mut self, below: u64) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        let random = mix(self.state);
        if self.otherwise == Otherwise::Even && self.part.is_pace() {
            return 0;
        }
        let one_of = match (self.otherwise, self.part) {
            (Otherwise::Calm(_) | Otherwise::Even, Part::Swarm) => SWARM_CALM,
            (Otherwise::Calm(one_of), part) if !matches!(part, Part::Server | Part::Crew(_)) => {
                one_of
            }
            _ => 1,
        };
        if !random.is_multiple_of(one_of) {
            return 0;
        }
        // The high half of a product spreads a 64-bit number over any range, all but evenly.
        ((u128::from(random) * u128::from(below)) >> 64) as u64
    }

    fn draw(&mut self, below: u64) -> Choice {
        let nth = self.drawn;
        self.drawn += 1;
        let value = match self.fed.get(&nth) {
            Some(value) => (*value).min(below - 1),
            None if self.otherwise == Otherwise::Zero => 0,
            None => self.next(below),
        };
        Choice {
            part: self.part,
            nth,
            value,
            below,
        }
    }
}

/// The choice stream of one run.
#[derive(Debug)]
pub(crate) struct Choices {
    seed: u64,
    streams: Vec<Option<Box<Stream>>>,
    recording: Option<Recording>,
    feed: BTreeMap<Part, BTreeMap<u64, u64>>,
    otherwise: Otherwise,
}

/// The draws of a run, in their order; shared with those that draw for themselves.
pub(crate) type Recording = Arc<Mutex<Vec<Choice>>>;

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
    #[cfg(any(test, feature = "recording"))]
    #[must_use]
    pub(crate) fn new(seed: u64) -> Choices {
        Choices::given(&[], Otherwise::Drawn, seed)
    }

    /// These choices, and for all that is not among them what `otherwise` says.
    #[must_use]
    pub(crate) fn given(choices: &[Choice], otherwise: Otherwise, seed: u64) -> Choices {
        let mut feed = BTreeMap::<Part, BTreeMap<u64, u64>>::new();
        for choice in choices {
            let fed = feed.entry(choice.part).or_default();
            fed.insert(choice.nth, choice.value);
        }
        Choices {
            seed,
            streams: Vec::new(),
            recording: None,
            feed,
            otherwise,
        }
    }

    /// From now on every draw is kept, for [`Choices::recorded`].
    pub(crate) fn record(&mut self) {
        self.recording = Some(Recording::default());
    }

    /// The draws since [`Choices::record`]. A strike that missed is kept as zero.
    #[must_use]
    pub(crate) fn recorded(&self) -> Vec<Choice> {
        self.recording.as_ref().map_or_else(Vec::new, |recording| {
            std::mem::take(&mut recording.lock().unwrap_or_else(PoisonError::into_inner))
        })
    }

    /// The sub-stream of `part` from its beginning, for one who can't come here to draw.
    fn stream(&self, part: Part) -> Stream {
        Stream {
            part,
            state: mix(self.seed.wrapping_add(GOLDEN) ^ mix(part.index() as u64 + 1)),
            fed: self.feed.get(&part).cloned().unwrap_or_default(),
            otherwise: self.otherwise,
            drawn: 0,
        }
    }

    fn draw(&mut self, part: Part, below: u64) -> Choice {
        let index = part.index();
        if self.streams.len() <= index {
            self.streams.resize_with(index + PARTS, || None);
        }
        if self.streams[index].is_none() {
            self.streams[index] = Some(Box::new(self.stream(part)));
        }
        let stream = self.streams[index].as_mut();
        stream.expect("it was just put there").draw(below)
    }

    fn keep(&self, choice: Choice) {
        if let Some(recording) = &self.recording {
            let mut recording = recording.lock().unwrap_or_else(PoisonError::into_inner);
            recording.push(choice);
        }
    }

    /// A number less than `below`; zero without a draw when there is no choice.
    pub(crate) fn below(&mut self, part: Part, below: u64) -> u64 {
        if below <= 1 {
            return 0;
        }
        let choice = self.draw(part, below);
        self.keep(choice);
        choice.value
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, part: Part, low: u64, high: u64) -> u64 {
        low + self.below(part, high - low + 1)
    }

    /// True for `weight` draws of `of`; never, and without a draw, for weight zero.
    pub(crate) fn strikes(&mut self, part: Part, weight: u64, of: u64) -> bool {
        if weight == 0 {
            return false;
        }
        let choice = self.draw(part, of);
        let strikes = choice.value >= of.saturating_sub(weight);
        // All misses are one choice, and all hits another.
        let value = if strikes { of - 1 } else { 0 };
        self.keep(Choice { value, ..choice });
        strikes
    }

    /// A generator of its own for `part`, kept in the same recording: for one who can't reach the
    /// world when it draws.
    pub(crate) fn detached(&self, part: Part) -> Detached {
        Detached {
            stream: self.stream(part),
            recording: self.recording.clone(),
        }
    }
}

/// One part's draws, made apart from the others'.
#[derive(Debug)]
pub(crate) struct Detached {
    stream: Stream,
    recording: Option<Recording>,
}

impl Detached {
    /// As [`Choices::strikes`].
    pub(crate) fn strikes(&mut self, weight: u64, of: u64) -> bool {
        if weight == 0 {
            return false;
        }
        let choice = self.stream.draw(of);
        let strikes = choice.value >= of.saturating_sub(weight);
        if let Some(recording) = &self.recording {
            let value = if strikes { of - 1 } else { 0 };
            let mut recording = recording.lock().unwrap_or_else(PoisonError::into_inner);
            recording.push(Choice { value, ..choice });
        }
        strikes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay(choices: &[Choice]) -> Choices {
        Choices::given(choices, Otherwise::Zero, 0)
    }

    #[test]
    fn a_calm_run_is_mostly_mild_and_what_is_given_is_fixed() {
        let fixed = Choice {
            part: Part::Workload(1, 0),
            nth: 2,
            value: 5,
            below: 6,
        };
        let mut calm = Choices::given(&[fixed], Otherwise::Calm(8), 9);
        let drawn: Vec<u64> = (0..800)
            .map(|_| calm.below(Part::Workload(1, 0), 1000))
            .collect();
        assert_eq!(drawn[2], 5);
        let wild = drawn.iter().filter(|value| **value > 0).count();
        assert!((50..200).contains(&wild), "{wild}");
        let crew = (0..100).filter(|_| calm.below(Part::Crew(0), 1000) > 0);
        assert!(crew.count() > 90);
    }

    #[test]
    fn in_an_even_run_nothing_takes_longer_than_it_must() {
        let mut even = Choices::given(&[], Otherwise::Even, 9);
        assert!((0..100).all(|_| even.below(Part::Schedule(2, 0), 1000) == 0));
        assert!((0..100).all(|_| even.below(Part::Network(2, 1), 1000) == 0));
        let workload = (0..100).filter(|_| even.below(Part::Workload(2, 0), 1000) > 0);
        assert!(workload.count() > 90);
    }

    #[test]
    fn parts_do_not_disturb_each_other() {
        let mut alone = Choices::new(7);
        let expected: Vec<u64> = (0..50)
            .map(|_| alone.below(Part::Schedule(2, 0), 1000))
            .collect();
        let mut mixed = Choices::new(7);
        let mut got = Vec::new();
        for draw in 0..50 {
            for _ in 0..draw % 3 {
                mixed.below(Part::Workload(9, 0), 10);
                mixed.below(Part::Schedule(3, 0), 10);
            }
            got.push(mixed.below(Part::Schedule(2, 0), 1000));
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
        let network = Part::Network(1, 0);
        assert_eq!(draw(1, network), draw(1, network));
        assert_ne!(draw(1, network), draw(2, network));
        assert_ne!(draw(1, network), draw(1, Part::Fault(Fault::Reset, 1)));
        assert_ne!(draw(1, network), draw(1, Part::Network(2, 0)));
    }

    #[test]
    fn a_recording_replays_and_a_cut_one_goes_on_with_zero() {
        let mut first = Choices::new(3);
        first.record();
        let run = |choices: &mut Choices| {
            let mut drawn = Vec::new();
            for n in 2..40 {
                drawn.push(choices.below(Part::Network(1, 0), n));
                drawn.push(choices.between(Part::Workload(n, 0), 5, 5 + n) - 5);
                let fault = Part::Fault(Fault::Crash, n % 2);
                drawn.push(u64::from(choices.strikes(fault, 300, 1000)));
            }
            drawn
        };
        let expected = run(&mut first);
        assert!(expected.iter().any(|drawn| *drawn > 0));
        let recording = first.recorded();
        assert_eq!(run(&mut replay(&recording)), expected);
        // Zeros need not be told.
        let mut short = recording.clone();
        short.retain(|choice| choice.value > 0);
        assert!(short.len() < recording.len());
        assert_eq!(run(&mut replay(&short)), expected);
        let mut cut = replay(&recording[..6]);
        let got = run(&mut cut);
        assert_eq!(got[..6], expected[..6]);
        assert!(got[6..].iter().all(|drawn| *drawn == 0));
    }

    #[test]
    fn a_detached_part_draws_the_same_and_is_recorded() {
        let part = Part::Point(3, 2);
        let draw = |choices: &Choices| {
            let mut detached = choices.detached(part);
            (0..100)
                .map(|_| detached.strikes(100, 1000))
                .collect::<Vec<_>>()
        };
        let mut first = Choices::new(5);
        first.record();
        let expected = draw(&first);
        assert!(expected.contains(&true) && expected.contains(&false));
        let recording = first.recorded();
        assert_eq!(recording.len(), 100);
        assert_eq!(draw(&replay(&recording)), expected);
        let mut there = Choices::new(5);
        assert_eq!(there.strikes(part, 100, 1000), expected[0]);
    }

    #[test]
    fn parts_have_names_and_places_of_their_own() {
        let kinds = (0..PARTS).filter_map(|kind| Part::join(kind, 3));
        let mut seen = std::collections::BTreeSet::new();
        for part in kinds {
            assert!(seen.insert(part.index()));
            assert_eq!(part.of(4).of(part.process()), part);
            assert_eq!(part.to_string().parse(), Ok(part));
        }
        assert!(seen.len() > FIRST_FAULT + crate::faults::FAULTS);
        const { assert!(FIRST_FAULT + crate::faults::FAULTS <= FIRST_POINT) };
        for wrong in [
            "",
            "network",
            "network x",
            "fault:love 1",
            "weather 3",
            "workload:4 1",
            "workload:18446744073709551615 1",
            "swarm 1",
        ] {
            assert!(wrong.parse::<Part>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn draws_stay_in_range_and_weights_hold() {
        let mut choices = Choices::new(11);
        choices.record();
        let crash = Part::Fault(Fault::Crash, 1);
        let mut hits = 0;
        for _ in 0..10_000 {
            assert!(choices.below(Part::Network(1, 0), 7) < 7);
            assert!((3..=9).contains(&choices.between(Part::Network(1, 0), 3, 9)));
            hits += u32::from(choices.strikes(crash, 100, 1000));
        }
        assert!((800..1200).contains(&hits), "{hits}");
        assert_eq!(choices.recorded().len(), 30_000);
        assert!(!choices.strikes(crash, 0, 1000));
        assert_eq!(choices.below(crash, 1), 0);
        assert_eq!(choices.recorded(), []);
    }
}
