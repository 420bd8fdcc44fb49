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
    /// A connection breaks; a part of what travelled is lost.
    Reset,
    /// A connect is refused.
    Refusal,
    /// A process is gone from one instruction to the next.
    Crash,
    /// A process can't be started.
    SpawnFailure,
    /// A process is a hundred times slower than its peers.
    SlowProcess,
    /// A thread loses the processor at a call where it would not have to wait.
    Preemption,
    /// A sleeping thread wakes up without a reason.
    SpuriousWake,
}

/// How many kinds there are.
pub const FAULTS: usize = 11;

/// A weight of this size strikes every time.
const WEIGHT_MAX: u64 = 10_000;

/// Each fault with its name and the weights that a run draws from, mildest first.
const CATALOGUE: [(Fault, &str, &[u64]); FAULTS] = [
    (Fault::Delay, "delay", &[0, 200, 1000, 4000]),
    (Fault::PartialRead, "partial read", &[0, 500, 2000, 6000]),
    (Fault::PartialWrite, "partial write", &[0, 500, 2000, 6000]),
    (Fault::Stall, "stall", &[0, 5, 20, 80]),
    (Fault::Reset, "reset", &[0, 10, 40, 150]),
    (Fault::Refusal, "refusal", &[0, 1000, 5000]),
    (Fault::Crash, "crash", &[0, 3, 10, 30]),
    (Fault::SpawnFailure, "spawn failure", &[0, 300, 1500]),
    (Fault::SlowProcess, "slow process", &[0, 1000, 4000]),
    (Fault::Preemption, "preemption", &[0, 100, 1000, 4000]),
    (Fault::SpuriousWake, "spurious wake", &[0, 100, 1000]),
];

impl Fault {
    /// All kinds, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Fault> {
        CATALOGUE.iter().map(|(fault, _, _)| *fault)
    }

    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        CATALOGUE[self as usize].1
    }
}

/// The faults of one run.
#[derive(Debug, Clone)]
pub(crate) struct Faults {
    weights: [u64; FAULTS],
    /// False before the run has begun and after it was healed.
    active: bool,
    crashes_left: u64,
    struck: Struck,
}

/// How often each fault struck.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Struck {
    /// In all, by the fault's number.
    pub count: [u64; FAULTS],
    /// While the process it struck had requests in flight.
    pub in_flight: [u64; FAULTS],
}

impl Struck {
    /// Adds another run's.
    pub fn add(&mut self, other: &Struck) {
        for fault in 0..FAULTS {
            self.count[fault] += other.count[fault];
            self.in_flight[fault] += other.in_flight[fault];
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
            active: false,
            crashes_left: 0,
            struck: Struck::default(),
        }
    }

    /// The faults of this run.
    pub(crate) fn draw(choices: &mut Choices) -> Faults {
        let mut weights = [0; FAULTS];
        for (fault, _, table) in CATALOGUE {
            let drawn = choices.below(Part::Swarm, table.len() as u64) as usize;
            weights[fault as usize] = table[drawn];
        }
        Faults {
            weights,
            active: true,
            crashes_left: choices.between(Part::Swarm, 1, 6),
            struck: Struck::default(),
        }
    }

    /// The same without those that end processes.
    pub(crate) fn spare_processes(&mut self) {
        self.weights[Fault::Crash as usize] = 0;
        self.weights[Fault::SpawnFailure as usize] = 0;
    }

    /// Does this fault strike here, as far as it concerns this process? `in_flight`: the process
    /// waits for an answer.
    pub(crate) fn strike(
        &mut self,
        choices: &mut Choices,
        fault: Fault,
        ProcessId(process): ProcessId,
        in_flight: bool,
    ) -> bool {
        if !self.active {
            return false;
        }
        let index = fault as usize;
        if fault == Fault::Crash && self.crashes_left == 0 {
            return false;
        }
        if !choices.strikes(Part::Fault(fault, process), self.weights[index], WEIGHT_MAX) {
            return false;
        }
        if fault == Fault::Crash {
            self.crashes_left -= 1;
        }
        self.struck.count[index] += 1;
        self.struck.in_flight[index] += u64::from(in_flight);
        true
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
        for (index, (fault, _, weights)) in CATALOGUE.iter().enumerate() {
            assert_eq!(*fault as usize, index);
            assert_eq!(weights[0], 0, "every fault can be absent");
        }
    }

    #[test]
    fn healed_faults_do_not_strike() {
        let mut choices = Choices::new(5);
        let mut faults = Faults {
            weights: [WEIGHT_MAX; FAULTS],
            active: true,
            crashes_left: 1,
            struck: Struck::default(),
        };
        let mut strike = |faults: &mut Faults, fault, in_flight| {
            faults.strike(&mut choices, fault, ProcessId::PROGRAM, in_flight)
        };
        assert!(strike(&mut faults, Fault::Reset, true));
        assert!(strike(&mut faults, Fault::Crash, false));
        assert!(!strike(&mut faults, Fault::Crash, false));
        faults.heal();
        assert!(!strike(&mut faults, Fault::Reset, true));
        assert_eq!(faults.struck().in_flight_total(), 1);
    }
}
