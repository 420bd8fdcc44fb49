//! The clocks of the simulated processes, and the server's: none need agree with another's.
//!
//! Each is the world's clock and so much more. It never goes back, as CLOCK_MONOTONIC does not; but
//! it may jump ahead, and then whatever its process waited for with a deadline comes at once.

use crate::choices::Part;
use crate::faults::Fault;
use crate::world::{Sleep, World};
use zproc::seam::proto::ids::ProcessId;
use zproc::seam::proto::time::Time;

/// How far ahead of the world's a clock may be from the start.
const SKEW_NS_MAX: u64 = 100_000_000_000;
/// How far a clock jumps: some milliseconds, or more than any time limit of ours.
const JUMPS_NS: [(u64, u64); 3] = [
    (1_000_000, 20_000_000),
    (100_000_000, 15_000_000_000),
    (20_000_000_000, 60_000_000_000),
];

impl World {
    /// What a clock shows that is so much ahead.
    fn shown(&self, ahead_ns: u64) -> Time {
        Time(self.now.0 + ahead_ns)
    }

    /// The server's clock.
    pub(crate) fn server_now(&self) -> Time {
        self.shown(self.host.clock_ahead_ns)
    }

    /// When the server's clock will show this, on the world's.
    pub(crate) fn when_server_shows(&self, time: Time) -> Time {
        Time(time.0.saturating_sub(self.host.clock_ahead_ns))
    }

    /// The server's clock may jump.
    pub(crate) fn maybe_jump_server(&mut self, process: ProcessId) {
        if self.strikes(Fault::ServerClockJump, process) {
            self.host.clock_ahead_ns += self.jump(process);
            if let Some(story) = self.trace.story(self.now) {
                let lane = crate::story::Lane::Server;
                story.fault(lane, Fault::ServerClockJump, "its clock jumps ahead");
            }
            self.settle();
        }
    }

    fn clock_ahead_ns(&self, process: ProcessId) -> u64 {
        let process = self.processes.get(&process);
        process.map_or(0, |process| process.clock_ahead_ns)
    }

    /// A process's clock. When it jumps, those of its threads that sleep wake up and look at it:
    /// some have a deadline, and the others may wake without a reason.
    pub(crate) fn process_now(&mut self, process: ProcessId) -> Time {
        if self.strikes(Fault::ClockJump, process) {
            let jump_ns = self.jump(process);
            if let Some(story) = self.trace.story(self.now) {
                story.fault(process.into(), Fault::ClockJump, "its clock jumps ahead");
            }
            let mut threads = Vec::new();
            if let Some(process) = self.processes.get_mut(&process) {
                process.clock_ahead_ns += jump_ns;
                threads.clone_from(&process.threads);
            }
            for thread in threads {
                let sleep = self.threads[thread].sleep;
                if matches!(sleep, Sleep::Parked | Sleep::Waiting { .. }) {
                    self.wake_thread(thread);
                }
            }
        }
        self.shown(self.clock_ahead_ns(process))
    }

    /// When the process's clock will show this, on the world's.
    pub(crate) fn when_shown(&self, process: ProcessId, time: Time) -> Time {
        Time(time.0.saturating_sub(self.clock_ahead_ns(process)))
    }

    fn jump(&mut self, ProcessId(process): ProcessId) -> u64 {
        let part = Part::Fault(Fault::ClockJump, process);
        let drawn = self.choices.below(part, JUMPS_NS.len() as u64) as usize;
        let (low, high) = JUMPS_NS[drawn];
        self.choices.between(part, low, high)
    }

    /// How far ahead a new process's clock is; the server's is set with the program's.
    pub(crate) fn skew(&mut self, process: ProcessId) -> u64 {
        let mut drawn = || {
            if !self.strikes(Fault::ClockSkew, process) {
                return 0;
            }
            let part = Part::Fault(Fault::ClockSkew, process.0);
            self.choices.below(part, SKEW_NS_MAX)
        };
        let ahead_ns = drawn();
        if process == ProcessId::PROGRAM {
            let server_ahead_ns = drawn();
            self.host.clock_ahead_ns += server_ahead_ns;
        }
        ahead_ns
    }
}
