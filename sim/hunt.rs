//! Looks for the smallest run that breaks a guarantee.

use crate::checkers::NO_SURPRISE;
use crate::choices::{Choice, Otherwise, Part};
use crate::runner::{again_as, drawn};
use crate::shrink::{self, Budget, Shrunk};
use crate::simulation::Report;
use crate::workloads::CREW;
use std::time::Duration;

/// How long the run of one seed is shrunk.
const BUDGET: Budget = Budget {
    runs: 20_000,
    time: Duration::from_secs(8),
};
/// Seeds of one ground that are run.
const GROUND_SEEDS: u64 = 3_000;
/// Runs that are shrunk, if the first does not get small enough.
const ATTEMPTS: usize = 20;

/// Looks for runs that break one guarantee.
pub(crate) struct Hunt {
    guarantee: &'static str,
}

/// Where small runs are looked for, the likeliest first: in worlds of two or three processes, calm
/// or even ones first, then in all. Each seed is tried on every ground before the next.
const GROUNDS: [(bool, Otherwise); 6] = [
    (true, Otherwise::Calm(16)),
    (true, Otherwise::Calm(4)),
    (true, Otherwise::Calm(64)),
    (true, Otherwise::Even),
    (true, Otherwise::Drawn),
    (false, Otherwise::Drawn),
];

impl Hunt {
    pub(crate) fn new(guarantee: &'static str) -> Hunt {
        Hunt { guarantee }
    }

    /// Broken, and by that guarantee's checker: a panic or an odd error does not count.
    pub(crate) fn is_broken(&self, report: &Report) -> bool {
        let mut named = report.violations.iter().map(|found| found.guarantee);
        let odd = self.guarantee != NO_SURPRISE && named.clone().any(|name| name == NO_SURPRISE);
        !odd && named.any(|name| name == self.guarantee)
    }

    /// The run that drew these choices, made small.
    pub(crate) fn shrunk(&self, choices: Vec<Choice>) -> Option<Shrunk> {
        let mut run = |choices: &[_]| again_as(choices, true, None).ok();
        let broken = |report: &Report| self.is_broken(report);
        shrink::shrink(shrink::essence(choices), BUDGET, &broken, &mut run)
    }

    /// The smallest case found within so many seeds of each ground; the first that is small enough.
    pub(crate) fn smallest(&self, seeds: u64) -> Option<Shrunk> {
        let mut smallest: Option<Shrunk> = None;
        let found = (1..=seeds.min(GROUND_SEEDS))
            .flat_map(|seed| GROUNDS.map(|(few, otherwise)| (seed, few, otherwise)))
            .filter_map(|(seed, few, otherwise)| self.broken_on(seed, few, otherwise));
        for choices in found.take(ATTEMPTS) {
            let Some(shrunk) = self.shrunk(choices) else {
                continue;
            };
            if (smallest.as_ref()).is_none_or(|best| shrunk.size() < best.size()) {
                smallest = Some(shrunk);
            }
            if smallest.as_ref().is_some_and(Shrunk::is_small) {
                break;
            }
        }
        smallest
    }

    /// What the seed draws on this ground, if that breaks the guarantee.
    fn broken_on(&self, seed: u64, few: bool, otherwise: Otherwise) -> Option<Vec<Choice>> {
        let crew = Choice {
            part: Part::Workload(1, 0),
            nth: 0,
            value: 1 + seed % 2,
            below: CREW,
        };
        let given = if few { vec![crew] } else { Vec::new() };
        let (report, choices) = drawn(seed, &given, otherwise).ok()?;
        self.is_broken(&report).then_some(choices)
    }
}
