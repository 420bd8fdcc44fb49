//! The simulated keeper: starts processes, kills them, and tells the server how they ended.

use crate::choices::Part;
use crate::events::{Event, Notice};
use crate::faults::Fault;
use crate::world::{SIGKILL, World};
use std::collections::BTreeMap;
use zproc::seam::proto::ids::{ProcessId, Token};
use zproc::seam::proto::message::FromKeeper;
use zproc::seam::proto::time::Time;

/// What the keeper knows of the processes that it was ever asked for.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    children: BTreeMap<ProcessId, Child>,
    /// Its notices reach the server in the order in which they were sent.
    last_notice: Time,
}

#[derive(Debug)]
struct Child {
    key: Token,
    /// It was to be killed before it had started.
    killed_early: bool,
    started: bool,
}

/// `EAGAIN`, as a fork without pids left gives it.
const EAGAIN: i32 = 11;

impl World {
    /// The server wants a process; asked again for the same one, nothing happens.
    pub(crate) fn keeper_spawns(&mut self, process: ProcessId, key: Token, name: String) {
        if self.keeper.children.contains_key(&process) {
            return;
        }
        self.keeper.children.insert(
            process,
            Child {
                key,
                killed_early: false,
                started: false,
            },
        );
        if let Some(story) = self.trace.story(self.now) {
            story.spawning(process, &name);
        }
        if self.strikes(Fault::SpawnFailure, process) {
            self.notify(process, Notice::NotStarted);
            return;
        }
        let delay_ns = self
            .choices
            .between(Part::Keeper(process.0), 100_000, 2_000_000);
        self.after(delay_ns, Event::Start { process });
    }

    /// The fork.
    pub(crate) fn keeper_start(&mut self, process: ProcessId) {
        let child = self
            .keeper
            .children
            .get_mut(&process)
            .expect("only known processes are started");
        child.started = true;
        let (key, killed) = (child.key, child.killed_early || self.program_ended);
        self.notify(process, Notice::Started);
        if killed {
            self.notify(process, Notice::Ended { status: SIGKILL });
            return;
        }
        let world = self.id;
        self.start_process(process, move || crate::process::child(world, process, key));
    }

    /// A signal strikes.
    pub(crate) fn keeper_kill(&mut self, process: ProcessId) {
        if self.processes.contains_key(&process) {
            self.process_died(process, SIGKILL);
        } else if let Some(child) = self.keeper.children.get_mut(&process)
            && !child.started
        {
            child.killed_early = true;
        }
    }

    /// A process has ended: the keeper reaps it and will say so.
    pub(crate) fn keeper_reaps(&mut self, process: ProcessId, status: i32) {
        self.notify(process, Notice::Ended { status });
    }

    fn notify(&mut self, process: ProcessId, notice: Notice) {
        let slow = self.choices.below(Part::Keeper(process.0), 8) == 7;
        let delay_ns = if slow {
            self.choices
                .between(Part::Keeper(process.0), 100_000, 5_000_000)
        } else {
            self.choices.between(Part::Keeper(process.0), 2_000, 50_000)
        };
        let at = Time(self.now.0 + delay_ns).max(self.keeper.last_notice);
        self.keeper.last_notice = at;
        self.at(at, Event::Notice { process, notice });
    }

    /// A notice arrives at the server.
    pub(crate) fn keeper_notice(&mut self, process: ProcessId, notice: Notice) {
        let event = match notice {
            Notice::Started => FromKeeper::Started {
                process,
                pid: 1000 + (process.0 % 30_000) as u32,
            },
            Notice::NotStarted => FromKeeper::NotStarted {
                process,
                call: "fork",
                errno: EAGAIN,
            },
            Notice::Ended { status } => FromKeeper::Ended {
                process,
                status,
                cpu_user_ns: 1_000_000,
                cpu_system_ns: 500_000,
                memory_bytes_max: 4_000_000,
            },
        };
        if let Some(story) = self.trace.story(self.now) {
            story.keeper_says(&event);
        }
        let now = self.server_now();
        self.host.server.keeper(event, now);
        self.settle();
    }
}
