//! What befalls a process: it crashes, exits or stands still.

use crate::choices::Part;
use crate::coroutine;
use crate::faults::Fault;
use crate::world::{self, Sleep, World};
use zproc::seam::proto::ids::ProcessId;
use zproc::seam::proto::time::Time;

/// How long a process stands still.
const PAUSE_NS: (u64, u64) = (1_000_000, 3_000_000_000);
/// What processes exit with; zero says no more of success than the others.
const EXIT_CODES: [i32; 4] = [0, 1, 3, 255];

impl World {
    /// Marks the process whose code runs as dead. It is taken apart as soon as its code is back in
    /// the engine's hands.
    pub(crate) fn crash_running(&mut self, process: ProcessId, status: i32) {
        if let Some(story) = self.trace.story(self.now) {
            story.struck_down(process, status);
        }
        if let Some(process) = self.processes.get_mut(&process) {
            process.crashed.get_or_insert(status);
        }
    }

    /// Has all threads of the process stand still for a while, if the fault strikes: after the
    /// present one has come to its scheduling point. What arrives for it meanwhile waits.
    pub(crate) fn maybe_pause(&mut self, process: ProcessId) {
        if !self.strikes(Fault::Pause, process) {
            return;
        }
        let part = Part::Fault(Fault::Pause, process.0);
        let until = Time(self.now.0 + self.choices.between(part, PAUSE_NS.0, PAUSE_NS.1));
        if let Some(story) = self.trace.story(self.now) {
            let ms = (until.0 - self.now.0) / 1_000_000;
            let text = format!("it stands still for {ms} ms");
            story.fault(process.into(), Fault::Pause, &text);
        }
        if let Some(process) = self.processes.get_mut(&process) {
            process.paused_until = until;
        }
    }

    /// Does this fault strike here, as far as it concerns this process?
    pub(crate) fn strikes(&mut self, fault: Fault, process: ProcessId) -> bool {
        let strikes = self.faults.strike(&mut self.choices, fault, process);
        if strikes {
            let in_flight = self.in_flight(process);
            self.faults.note(fault, in_flight);
        }
        strikes
    }

    /// True when the process waits for an answer.
    pub(crate) fn in_flight(&self, process: ProcessId) -> bool {
        self.processes
            .get(&process)
            .is_some_and(|process| process.in_flight > 0)
    }

    /// Does code of this process run, so that it can't be taken apart?
    pub(crate) fn is_running(&self, process: ProcessId) -> bool {
        self.running
            .is_some_and(|thread| self.threads[thread].process == process)
    }

    /// Until when the process stands still, if it does.
    pub(crate) fn is_paused(&self, process: ProcessId) -> Option<Time> {
        let until = self.processes.get(&process)?.paused_until;
        (until > self.now).then_some(until)
    }
}

/// Between two calls of a process: it may exit, from this thread, while its others stand anywhere.
/// The program is not a process of the keeper's: the tree would end with it.
pub(crate) fn maybe_exit() {
    if std::thread::panicking() || !coroutine::is_inside() {
        return;
    }
    let exits = world::with(|world| {
        let Some(thread) = world.running else {
            return false;
        };
        let process = world.threads[thread].process;
        if process == ProcessId::PROGRAM || !world.strikes(Fault::Exit, process) {
            return false;
        }
        let part = Part::Fault(Fault::Exit, process.0);
        let code = EXIT_CODES[world.choices.below(part, EXIT_CODES.len() as u64) as usize];
        world.crash_running(process, code << 8);
        world.fall_asleep(Sleep::Awake, None);
        true
    });
    if exits {
        world::pause();
    }
}
