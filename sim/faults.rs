//! Faults: which a run has, how heavy each weighs, and how often it struck.
//!
//! The weights are drawn per run (a swarm): any may be zero, so that some runs have only crashes,
//! others only resets, and some none at all.

use crate::choices::{Choices, Part};
use zproc::seam::proto::ids::ProcessId;

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
pub enum Fault {
    /// Bytes take milliseconds instead of microseconds.
    Delay,
    /// A reader gets fewer bytes than there are.
    PartialRead,
    /// A writer gets rid of fewer bytes than there is room for.
    PartialWrite,
    /// One direction of a connection stands still for up to seconds.
    Stall,
    /// Both directions of a connection stand still, and go on where they stood.
    TwoWayStall,
    /// Some of all connections are stalled one after the other, and go on in another order.
    Swizzle,
    /// A connection holds few bytes, so that writers wait for readers.
    Backpressure,
    /// A connection breaks; a part of what travelled is lost.
    Reset,
    /// A connect is refused.
    Refusal,
    /// A process is gone from one instruction to the next.
    Crash,
    /// A process calls `exit` between two calls: no destructor runs.
    Exit,
    /// All threads of a process stand still for up to seconds, as between SIGSTOP and SIGCONT.
    Pause,
    /// Who waited for a process that has died starts another in its place.
    Restart,
    /// A process can't be started.
    SpawnFailure,
    /// A process is a hundred times slower than its peers.
    SlowProcess,
    /// A thread loses the processor at a call where it would not have to wait.
    Preemption,
    /// A sleeping thread wakes up without a reason.
    SpuriousWake,
    /// A process's clock, or the server's, is ahead of the others' from the start.
    ClockSkew,
    /// A process's clock jumps ahead: its deadlines come at once.
    ClockJump,
    /// The server's clock jumps ahead: the grace of sessions ends, and the time for a hello.
    ServerClockJump,
    /// A process gets the pid of one that was reaped just before.
    PidReuse,
    /// The server is killed.
    ServerCrash,
    /// The keeper is killed, and its children with it.
    KeeperCrash,
    /// The program is killed.
    ProgramCrash,
    /// The program is asked to end, as by Ctrl-C: its tree has a grace, and ends.
    Interrupt,
}

/// How many kinds there are.
pub const FAULTS: usize = 25;

/// A weight of this size strikes every time.
pub(crate) const WEIGHT_MAX: u64 = 10_000;

/// What a fault does to those it strikes: some simulations leave the worst out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    /// Nothing is lost.
    None,
    /// Processes end.
    Processes,
    /// What all stand on is lost, or taken for lost: sessions, or the whole tree.
    Losses,
}

/// One kind of fault.
struct Kind {
    fault: Fault,
    name: &'static str,
    /// The weights that a run draws from, mildest first.
    weights: &'static [u64],
    /// Between so many and so many strike in one run at the most, if that is bounded.
    most: Option<(u64, u64)>,
    harm: Harm,
}

const fn kind(fault: Fault, name: &'static str, weights: &'static [u64]) -> Kind {
    Kind {
        fault,
        name,
        weights,
        most: None,
        harm: Harm::None,
    }
}

impl Kind {
    const fn most(self, low: u64, high: u64) -> Kind {
        Kind {
            most: Some((low, high)),
            ..self
        }
    }

    const fn harms(self, harm: Harm) -> Kind {
        Kind { harm, ..self }
    }
}

/// Each fault, in the order of their numbers.
const CATALOGUE: [Kind; FAULTS] = [
    kind(Fault::Delay, "delay", &[0, 200, 1000, 4000]),
    kind(Fault::PartialRead, "partial read", &[0, 500, 2000, 6000]),
    kind(Fault::PartialWrite, "partial write", &[0, 500, 2000, 6000]),
    kind(Fault::Stall, "one-way stall", &[0, 5, 20, 80]),
    kind(Fault::TwoWayStall, "two-way stall", &[0, 3, 12, 50]),
    kind(Fault::Swizzle, "swizzle", &[0, 2, 8, 30]),
    kind(Fault::Backpressure, "backpressure", &[0, 2000, 7000]),
    kind(Fault::Reset, "reset", &[0, 10, 40, 150]),
    kind(Fault::Refusal, "refusal", &[0, 1000, 5000]),
    kind(Fault::Crash, "crash", &[0, 3, 10, 30])
        .most(1, 6)
        .harms(Harm::Processes),
    kind(Fault::Exit, "exit", &[0, 10, 40, 100])
        .most(1, 4)
        .harms(Harm::Processes),
    kind(Fault::Pause, "pause", &[0, 2, 8, 30]),
    kind(Fault::Restart, "restart", &[0, 3000, 8000]).most(1, 6),
    kind(Fault::SpawnFailure, "spawn failure", &[0, 300, 1500]).harms(Harm::Processes),
    kind(Fault::SlowProcess, "slow process", &[0, 1000, 4000]),
    kind(Fault::Preemption, "preemption", &[0, 100, 1000, 4000]),
    kind(Fault::SpuriousWake, "spurious wake", &[0, 100, 1000]),
    kind(Fault::ClockSkew, "clock skew", &[0, 3000, 8000]),
    kind(Fault::ClockJump, "clock jump", &[0, 5, 20, 100]).harms(Harm::Losses),
    kind(Fault::ServerClockJump, "server clock jump", &[0, 2, 8, 30]).harms(Harm::Losses),
    kind(Fault::PidReuse, "pid reuse", &[0, 5000, WEIGHT_MAX]),
    kind(Fault::ServerCrash, "server crash", &[0, 0, 0, 2])
        .most(1, 1)
        .harms(Harm::Losses),
    kind(Fault::KeeperCrash, "keeper crash", &[0, 0, 0, 300])
        .most(1, 1)
        .harms(Harm::Losses),
    kind(Fault::ProgramCrash, "program crash", &[0, 0, 0, 15])
        .most(1, 1)
        .harms(Harm::Losses),
    kind(Fault::Interrupt, "interrupt", &[0, 0, 0, 0, 30])
        .most(1, 1)
        .harms(Harm::Losses),
];

/// See [`Faults::draw_late`].
fn is_late(kind: &&Kind) -> bool {
    kind.fault == Fault::Interrupt
}

impl Fault {
    /// All kinds, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Fault> {
        CATALOGUE.iter().map(|kind| kind.fault)
    }

    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        CATALOGUE[self as usize].name
    }
}

/// The faults of one run.
#[derive(Debug, Clone)]
pub(crate) struct Faults {
    weights: [u64; FAULTS],
    /// How often each may strike still.
    left: [u64; FAULTS],
    /// False before the run has begun and after it was healed.
    active: bool,
    struck: Struck,
}

/// How often each fault struck.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Struck {
    /// In all, by the fault's number.
    pub count: [u64; FAULTS],
    /// While the process it struck had requests in flight.
    pub in_flight: [u64; FAULTS],
    /// In how many runs it was active, whether it struck or not.
    pub active: [u64; FAULTS],
}

impl Struck {
    /// Adds another run's.
    pub fn add(&mut self, other: &Struck) {
        for fault in 0..FAULTS {
            self.count[fault] += other.count[fault];
            self.in_flight[fault] += other.in_flight[fault];
            self.active[fault] += other.active[fault];
        }
    }

    /// How many faults hit requests in flight.
    #[must_use]
    pub fn in_flight_total(&self) -> u64 {
        self.in_flight.iter().sum()
    }
}

impl Faults {
    /// No faults at all.
    pub(crate) fn none() -> Faults {
        Faults {
            weights: [0; FAULTS],
            left: [0; FAULTS],
            active: false,
            struck: Struck::default(),
        }
    }

    /// The faults of this run.
    pub(crate) fn draw(choices: &mut Choices) -> Faults {
        let mut faults = Faults {
            left: [u64::MAX; FAULTS],
            active: true,
            ..Faults::none()
        };
        for kind in CATALOGUE.iter().filter(|kind| !is_late(kind)) {
            faults.draw_kind(kind, choices);
        }
        faults
    }

    /// Those that came later to the catalogue: drawn behind all else of a run, so that a seed goes on
    /// to mean what it meant before.
    pub(crate) fn draw_late(&mut self, choices: &mut Choices) {
        for kind in CATALOGUE.iter().filter(is_late) {
            self.draw_kind(kind, choices);
        }
    }

    fn draw_kind(&mut self, kind: &Kind, choices: &mut Choices) {
        let index = kind.fault as usize;
        let drawn = choices.below(Part::Swarm, kind.weights.len() as u64) as usize;
        self.weights[index] = kind.weights[drawn];
        self.struck.active[index] = u64::from(self.weights[index] > 0);
        if let Some((low, high)) = kind.most {
            self.left[index] = choices.between(Part::Swarm, low, high);
        }
    }

    /// These alone, each once at most.
    pub(crate) fn only(kinds: &[Fault]) -> Faults {
        let mut faults = Faults {
            active: true,
            ..Faults::none()
        };
        for kind in kinds {
            faults.weights[*kind as usize] = 1;
            faults.left[*kind as usize] = 1;
            faults.struck.active[*kind as usize] = 1;
        }
        faults
    }

    /// The same without those that end processes, or that what all stand on does not outlast.
    pub(crate) fn spare(&mut self, processes: bool, losses: bool) {
        let is_spared = |kind: &&Kind| match kind.harm {
            Harm::None => false,
            Harm::Processes => processes,
            Harm::Losses => losses,
        };
        for kind in CATALOGUE.iter().filter(is_spared) {
            self.weights[kind.fault as usize] = 0;
            self.struck.active[kind.fault as usize] = 0;
        }
    }

    /// Does this fault strike here, as far as it concerns this process? Who asks tells
    /// [`Faults::note`] if it does.
    pub(crate) fn strike(
        &mut self,
        choices: &mut Choices,
        fault: Fault,
        ProcessId(process): ProcessId,
    ) -> bool {
        let index = fault as usize;
        if !self.active || self.left[index] == 0 {
            return false;
        }
        choices.strikes(Part::Fault(fault, process), self.weights[index], WEIGHT_MAX)
    }

    /// It struck. `in_flight`: the process waits for an answer.
    pub(crate) fn note(&mut self, fault: Fault, in_flight: bool) {
        let index = fault as usize;
        self.left[index] = self.left[index].saturating_sub(1);
        self.struck.count[index] += 1;
        self.struck.in_flight[index] += u64::from(in_flight);
    }

    /// No more faults from now on.
    pub(crate) fn heal(&mut self) {
        self.active = false;
    }

    /// True until [`Faults::heal`].
    pub(crate) fn is_active(&self) -> bool {
        self.active
    }

    /// How often each struck so far.
    pub(crate) fn struck(&self) -> Struck {
        self.struck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_in_the_order_of_the_numbers() {
        for (index, kind) in CATALOGUE.iter().enumerate() {
            assert_eq!(kind.fault as usize, index);
            assert_eq!(kind.weights[0], 0, "every fault can be absent");
            assert!(kind.weights.iter().all(|weight| *weight <= WEIGHT_MAX));
        }
    }

    #[test]
    fn healed_faults_do_not_strike() {
        let mut choices = Choices::new(5);
        let mut faults = Faults {
            weights: [WEIGHT_MAX; FAULTS],
            left: [1; FAULTS],
            active: true,
            struck: Struck::default(),
        };
        let mut strike = |faults: &mut Faults, fault, in_flight| {
            let strikes = faults.strike(&mut choices, fault, ProcessId::PROGRAM);
            if strikes {
                faults.note(fault, in_flight);
            }
            strikes
        };
        assert!(strike(&mut faults, Fault::Reset, true));
        assert!(strike(&mut faults, Fault::Crash, false));
        assert!(!strike(&mut faults, Fault::Crash, false));
        faults.heal();
        assert!(!strike(&mut faults, Fault::Pause, true));
        assert_eq!(faults.struck().in_flight_total(), 1);
    }

    #[test]
    fn a_spared_process_meets_nothing_that_ends_it() {
        for seed in 0..50 {
            let mut faults = Faults::draw(&mut Choices::new(seed));
            faults.spare(true, true);
            for fault in [Fault::Crash, Fault::Exit, Fault::ServerClockJump] {
                assert_eq!(faults.weights[fault as usize], 0);
                assert_eq!(faults.struck().active[fault as usize], 0);
            }
        }
    }
}
