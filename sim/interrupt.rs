//! The program is asked to end, as by the terminal's Ctrl-C: its waits end, and its keeper, which
//! hears the bell a little later, ends the tree in good order.

use crate::choices::Part;
use crate::events::Event;
use crate::seen::Seen;
use crate::world::{self, Sleep, World};
use std::time::Duration;
use zproc::seam::proto::ids::ProcessId;

/// The grace of a simulated tree: some end within it, and some do not.
pub(crate) const GRACE: Duration = Duration::from_millis(300);

impl World {
    /// The signal reaches the program, if it lives.
    pub(crate) fn interrupt(&mut self) {
        if !self.processes.contains_key(&ProcessId::PROGRAM) {
            return;
        }
        self.ask(ProcessId::PROGRAM);
        let part = Part::Keeper(ProcessId::PROGRAM.0);
        let delay_ns = self.choices.between(part, 2_000, 50_000);
        self.after(delay_ns, Event::StopBell);
    }

    /// The keeper hears the bell.
    pub(crate) fn keeper_hears_bell(&mut self) {
        if self.keeper.is_lost || self.program_ended || self.keeper.machine.has_ended() {
            return;
        }
        let (at, now) = (self.now, self.now);
        self.keeper.is_stopping = true;
        self.saw(ProcessId::PROGRAM, Seen::Interrupted { at });
        self.keeper.machine.program_asked(now);
        self.carry_out();
    }

    /// The program has let go of the tree. True if it has to wait for the end of it.
    fn program_lets_go(&mut self) -> bool {
        if !self.keeper.is_stopping || self.keeper.is_lost {
            return false;
        }
        self.keeper.letting_go = self.running;
        self.keeper.machine.program_let_go();
        self.carry_out();
        true
    }

    /// The tree has ended: who waits for it goes on.
    pub(crate) fn wake_who_let_go(&mut self) {
        if let Some(thread) = self.keeper.letting_go {
            self.wake_thread(thread);
        }
    }
}

/// What the drop of the program's last handle does while the tree is being stopped.
pub(crate) fn let_go() {
    if !world::with(World::program_lets_go) {
        return;
    }
    loop {
        let waits = world::with(|world| {
            let waits = !world.keeper.is_lost && !world.keeper.machine.has_ended();
            if waits {
                world.fall_asleep(Sleep::Parked, None);
            }
            waits
        });
        if !waits {
            return;
        }
        world::pause();
    }
}
