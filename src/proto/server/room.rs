//! Room for processes: places for those that live, and for what is kept of those that have ended.
//!
//! Programs at a server that stands alone share it. One has half of the living's places at most; and
//! what is kept of a program's ended processes makes room for its own newer ones, and after its end for
//! anybody's, before another's has to go.

use super::super::ids::ProcessId;
use super::super::marks::{self, Mark};
use super::super::message::Failure;
use super::processes::Process;
use super::{Server, wire};

impl Server {
    /// May one more process live?
    pub(super) fn room_for_process(&self) -> Result<(), Failure<'static>> {
        let live = self.processes.len() - self.ended.len();
        let max = self.config.limits.processes_live_max;
        wire::within("PROCESSES_LIVE_MAX", live + 1, max)
    }

    /// May one more process of this program live?
    pub(super) fn room_for_one_of(&self, root: ProcessId) -> Result<(), Failure<'static>> {
        self.room_for_process()?;
        if self.config.program_key.is_some() {
            return Ok(());
        }
        let max = self.config.limits.processes_live_per_program_max();
        wire::within(
            "PROCESSES_LIVE_PER_PROGRAM_MAX",
            self.live_of(root) + 1,
            max,
        )
    }

    /// How many processes of this program live, itself included.
    pub(super) fn live_of(&self, root: ProcessId) -> usize {
        let lives = |process: &&Process| process.root == root && !process.is_over();
        self.processes.values().filter(lives).count()
    }

    /// Counts a process among the ended, and has others make room for what is kept of it: the oldest of
    /// its own program and of programs that are gone, and only then the oldest of others. Gives whose
    /// records are forgotten.
    pub(super) fn make_room(&mut self, id: ProcessId) -> Vec<ProcessId> {
        self.results_bytes += self.result_bytes_of(id);
        let mut forgotten = Vec::new();
        if self.is_room_for(self.ended.len() + 1) {
            self.ended.push(id);
            return forgotten;
        }
        let root = self.root_of(id);
        let goes_first = |other: &ProcessId| {
            let its = self.root_of(*other);
            its == root || self.processes.get(&its).is_none_or(Process::is_over)
        };
        let (first, then): (Vec<_>, Vec<_>) = self.ended.iter().copied().partition(goes_first);
        for some in [first, then] {
            // The rests of large results go before records do.
            for other in &some {
                if self.results_bytes > self.config.limits.results_bytes_max {
                    self.drop_rest(*other);
                }
            }
            for other in some {
                if !self.is_room_for(self.ended.len() + 1 - forgotten.len()) {
                    marks::reached(Mark::RecordEvicted);
                    self.results_bytes -= self.result_bytes_of(other);
                    self.processes.remove(&other);
                    forgotten.push(other);
                }
            }
        }
        self.ended
            .retain(|other| self.processes.contains_key(other));
        self.ended.push(id);
        forgotten
    }

    /// Is there room for the results that are kept, and for so many records?
    fn is_room_for(&self, records: usize) -> bool {
        let limits = &self.config.limits;
        records <= limits.processes_ended_max && self.results_bytes <= limits.results_bytes_max
    }

    fn result_bytes_of(&self, id: ProcessId) -> usize {
        self.processes.get(&id).map_or(0, Process::result_bytes)
    }
}
