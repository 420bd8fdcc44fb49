//! Limits small enough to be reached, drawn for some runs; and what the server holds, measured.

use crate::choices::{Choices, Part};
use crate::seen::Seen;
use crate::world::{self, World};
use zproc::seam::proto::ids::ProcessId;
use zproc::seam::proto::limits::{CREDIT_BYTES_MIN, Limits};
use zproc::seam::proto::marks::{self, Mark};

/// What the server holds is measured after so many events.
const MEASURED_EVERY: u64 = 64;

/// Makes one limit as small as it may be, and those that must not be larger.
type Least = fn(&mut Limits);

/// One of them in some runs. Not here: what keeps a process from starting, which leaves nothing to look at,
/// and requests in flight, of which a process with threads that wait for each other needs a few.
const LEAST: [Least; 26] = [
    |limits| limits.key_bytes_max = 1,
    |limits| limits.depth_max = 1,
    |limits| {
        limits.value_bytes_max = 1;
        limits.part_bytes_max = 1;
    },
    |limits| limits.uploads_per_session_max = 1,
    |limits| {
        limits.change_set_changes_max = 1;
        limits.owned_keys_max = 1;
    },
    |limits| limits.owned_bytes_max = 1,
    |limits| limits.owned_keys_max = 1,
    |limits| limits.history_bytes_max = CREDIT_BYTES_MIN as usize,
    |limits| limits.history_entries_max = 1,
    |limits| limits.state_bytes_max = 1,
    |limits| limits.namespaces_max = 1,
    |limits| {
        limits.outbox_bytes_max = 1;
        limits.updates_queued_bytes_max = 1;
    },
    |limits| limits.watches_per_session_max = 1,
    |limits| limits.connections_silent_max = 1,
    |limits| limits.locks_max = 1,
    |limits| limits.locks_per_session_max = 1,
    |limits| limits.lock_waiters_max = 1,
    |limits| limits.processes_ended_max = 1,
    |limits| limits.results_bytes_max = 1,
    |limits| limits.frames_per_turn_max = 1,
    |limits| limits.log_entries_per_turn_max = 1,
    |limits| limits.log_entries_per_tick_max = 1,
    |limits| limits.page_entries_max = 1,
    |limits| limits.page_bytes_max = 1,
    |limits| limits.leases_max = 1,
    |limits| limits.validation_steps_max = 1,
];

/// Makes some limits small.
type Shrink = fn(&mut Limits, &mut Choices);

/// What a run may have small, each for itself. What goes together stays fit together.
const SHRINKS: [Shrink; 15] = [
    |limits, choices| {
        let entries_max = [64, 16, 4];
        limits.history_entries_max = entries_max[choices.below(Part::Swarm, 3) as usize];
    },
    |limits, _| {
        limits.value_bytes_max = 2 * 1024;
        limits.part_bytes_max = limits.part_bytes_max.min(1024);
        limits.change_set_bytes_max = 6 * 1024;
        limits.owned_bytes_max = 4 * 1024;
        limits.replies_bytes_max = 300_000;
    },
    |limits, _| {
        limits.change_set_changes_max = 48;
        limits.owned_keys_max = 5;
    },
    |limits, _| limits.state_bytes_max = 48 * 1024,
    |limits, _| limits.namespaces_max = 10,
    // So many waits as threads of one process ever wait for each other, and some that wait for nothing.
    |limits, choices| limits.in_flight_max = 7 + choices.below(Part::Swarm, 4) as usize,
    |limits, _| limits.watches_per_session_max = 2,
    |limits, _| limits.connections_silent_max = 2,
    |limits, _| {
        limits.value_bytes_max = 2 * 1024;
        limits.part_bytes_max = limits.part_bytes_max.min(1024);
        limits.interests_per_session_bytes_max = limits.value_bytes_max;
    },
    |limits, _| {
        limits.locks_max = 3;
        limits.locks_per_session_max = 2;
        limits.lock_waiters_max = 1;
    },
    |limits, _| {
        limits.outbox_bytes_max = 4 * 1024;
        limits.updates_queued_bytes_max = 1024;
    },
    |limits, _| {
        limits.processes_live_max = 14;
        limits.connections_max = 12;
        limits.connections_silent_max = limits.connections_silent_max.min(4);
        limits.sessions_max = 14;
    },
    |limits, _| {
        limits.processes_ended_max = 2;
        limits.results_bytes_max = 256;
    },
    |limits, _| {
        limits.value_bytes_max = 2 * 1024;
        limits.part_bytes_max = limits.part_bytes_max.min(1024);
        limits.payload_bytes_max = limits.value_bytes_max;
        limits.parts_bytes_max = limits.value_bytes_max;
        limits.parts_per_session_bytes_max = limits.parts_bytes_max;
        limits.uploads_per_session_max = 2;
    },
    |limits, _| {
        limits.history_bytes_max = CREDIT_BYTES_MIN as usize;
        limits.frames_per_turn_max = 1;
        limits.log_entries_per_turn_max = 1;
        limits.log_entries_per_tick_max = 2;
        limits.page_entries_max = 3;
        limits.page_bytes_max = 256;
    },
];

/// The limits of one run: the usual ones, some of them made small.
pub(crate) fn draw(choices: &mut Choices) -> Limits {
    let mut limits = Limits::USUAL;
    limits.part_bytes_max = PART_BYTES[choices.below(Part::Swarm, 3) as usize];
    for (index, shrink) in SHRINKS.iter().enumerate() {
        // A log that wraps is what most runs should see; the other limits are seldom met.
        let weight = if index == 0 { 6 } else { 1 };
        if choices.strikes(Part::Swarm, weight, 8) {
            shrink(&mut limits, choices);
        }
    }
    if choices.strikes(Part::Swarm, 1, 8) {
        marks::reached(Mark::LimitOfOne);
        LEAST[choices.below(Part::Swarm, LEAST.len() as u64) as usize](&mut limits);
    }
    limits
}

/// Parts are always small: what comes in many of them is then still cheap to simulate.
const PART_BYTES: [usize; 3] = [2048, 512, 64];

/// Has this simulation no limit but the usual ones, parts aside? True outside of simulations.
pub(crate) fn are_usual() -> bool {
    world::with_any(|world| is_usual(world.host.limits)).unwrap_or(true)
}

fn is_usual(mut limits: Limits) -> bool {
    limits.part_bytes_max = Limits::USUAL.part_bytes_max;
    limits == Limits::USUAL
}

/// How many requests of one session may be unanswered, in this simulation or outside of all.
pub(crate) fn in_flight_max() -> usize {
    let limits = world::with_any(|world| world.host.limits);
    limits.unwrap_or(Limits::USUAL).in_flight_max
}

impl World {
    /// Counts what the server holds, now and then.
    pub(crate) fn measure(&mut self) {
        if self.trace.events().is_multiple_of(MEASURED_EVERY) {
            let usage = Box::new(self.host.server.usage());
            self.saw(ProcessId::PROGRAM, Seen::Usage(usage));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_drawn_fits_together() {
        let mut seen_usual = false;
        for seed in 0..500 {
            let limits = draw(&mut Choices::new(seed));
            assert_eq!(limits.check(), Ok(()));
            seen_usual |= is_usual(limits);
        }
        assert!(seen_usual);
        let mut all = Limits::USUAL;
        for shrink in SHRINKS {
            shrink(&mut all, &mut Choices::new(1));
        }
        assert_eq!(all.check(), Ok(()));
        for least in LEAST {
            let mut limits = all;
            least(&mut limits);
            assert_eq!(limits.check(), Ok(()));
            let mut limits = Limits::USUAL;
            least(&mut limits);
            assert_eq!(limits.check(), Ok(()));
            assert!(!is_usual(limits));
        }
    }
}
