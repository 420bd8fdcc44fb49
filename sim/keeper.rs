//! The keeper of the simulated tree: the real one's machine, with simulated forks, signals and
//! pids.
//!
//! It does one thing after the other, as its single thread does: while it forks, what the server
//! asks waits. What has died keeps its pid until it is reaped; then the pid may be given again at
//! once.

use crate::choices::Part;
use crate::events::Event;
use crate::faults::Fault;
use crate::history::Lost;
use crate::interrupt;
use crate::seen::Seen;
use crate::story::Lane;
use crate::workloads;
use crate::world::{SIGKILL, ThreadId, World};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use zproc::seam::proto::codec;
use zproc::seam::proto::ids::{ProcessId, Token};
use zproc::seam::proto::keeper::{Effect, Keeper, Reaped};
use zproc::seam::proto::loss::ServerEnd;
use zproc::seam::proto::message::{FromKeeper, Left, ToKeeper, Why};
use zproc::seam::proto::setup::Setup;
use zproc::seam::proto::time::Time;

/// The server's pid.
pub(crate) const SERVER_PID: u32 = 1_000;
/// `EAGAIN`, as a fork without pids left gives it.
const EAGAIN: i32 = 11;

/// The keeper, the kernel's pids, and the way between keeper and server.
#[derive(Debug)]
pub(crate) struct KeeperHost {
    pub(crate) machine: Keeper,
    /// The keeper was killed.
    pub(crate) is_lost: bool,
    /// It has heard that the program was asked to end.
    pub(crate) is_stopping: bool,
    /// The program's thread that waits for the end of the tree.
    pub(crate) letting_go: Option<ThreadId>,
    /// What the server has asked and the keeper has not read.
    asked: VecDeque<Asked>,
    /// A `KeeperTurn` is queued.
    turn_queued: bool,
    /// What the keeper has told and the server has not read: each has a `Notice` queued.
    told: VecDeque<FromKeeper<'static>>,
    /// A `KeeperTick` is queued for then.
    tick_at: Option<Time>,
    /// Its notices reach the server in the order in which they were sent.
    last_notice: Time,
    /// Who has which pid, dead but not reaped ones included.
    pids: BTreeMap<u32, ProcessId>,
    /// The pid that came free last.
    freed: Option<u32>,
    next_pid: u32,
}

/// A message of the server's, encoded, and whom it is about.
#[derive(Debug)]
struct Asked {
    process: ProcessId,
    message: Vec<u8>,
    /// It takes as long as a fork does.
    is_spawn: bool,
}

impl KeeperHost {
    pub(crate) fn new(is_alone: bool) -> KeeperHost {
        let server = (!is_alone).then_some(SERVER_PID);
        KeeperHost {
            machine: Keeper::new(server, interrupt::GRACE),
            is_lost: false,
            is_stopping: false,
            letting_go: None,
            asked: VecDeque::new(),
            turn_queued: false,
            told: VecDeque::new(),
            tick_at: None,
            last_notice: Time::default(),
            pids: BTreeMap::new(),
            freed: None,
            next_pid: SERVER_PID + 1,
        }
    }

    /// Is nobody left that it would have to reap?
    pub(crate) fn has_nobody(&self) -> bool {
        self.pids.is_empty()
    }

    /// When what it has told last arrives.
    pub(crate) fn last_notice(&self) -> Time {
        self.last_notice
    }

    /// The number of a process that was not reaped yet.
    pub(crate) fn pid(&self, process: ProcessId) -> Option<u32> {
        let mut all = self.pids.iter();
        let (pid, _) = all.find(|(_, other)| **other == process)?;
        Some(*pid)
    }
}

impl World {
    /// The server wants a process.
    pub(crate) fn keeper_spawns(
        &mut self,
        process: ProcessId,
        key: Token,
        name: String,
        setup: Vec<u8>,
    ) {
        if let Some(story) = self.trace.story(self.now) {
            story.spawning(process, &name);
        }
        let setup = codec::decode(&setup).expect("the server has encoded it");
        let message = ToKeeper::Spawn {
            process,
            key,
            name: &name,
            // Mostly opaque here: a simulated process has no environment or files.
            setup,
        };
        self.ask_keeper(process, true, &message);
    }

    /// The server wants a process to be asked to end.
    pub(crate) fn keeper_stops(&mut self, process: ProcessId, grace_ns: u64) {
        self.ask_keeper(process, false, &ToKeeper::Stop { process, grace_ns });
    }

    /// The server wants a process killed.
    pub(crate) fn keeper_kills(&mut self, process: ProcessId, why: Why) {
        self.ask_keeper(process, false, &ToKeeper::Kill { process, why });
    }

    fn ask_keeper(&mut self, process: ProcessId, is_spawn: bool, message: &ToKeeper<'_>) {
        let message = codec::to_bytes(message);
        self.keeper.asked.push_back(Asked {
            process,
            message,
            is_spawn,
        });
        self.queue_keeper(process);
    }

    /// The keeper comes to its next piece of work.
    fn queue_keeper(&mut self, ProcessId(process): ProcessId) {
        if self.keeper.turn_queued {
            return;
        }
        self.keeper.turn_queued = true;
        let delay_ns = match self.keeper.asked.front() {
            Some(asked) if asked.is_spawn => {
                (self.choices).between(Part::Keeper(process), 100_000, 2_000_000)
            }
            _ => 2_000,
        };
        self.after(delay_ns, Event::KeeperTurn);
    }

    /// The keeper reads one message of the server's, and does what it says.
    pub(crate) fn keeper_turn(&mut self) {
        self.keeper.turn_queued = false;
        if self.keeper.is_lost {
            return;
        }
        let Some(Asked {
            process, message, ..
        }) = self.keeper.asked.pop_front()
        else {
            return;
        };
        if self.strikes(Fault::KeeperCrash, process) {
            return self.lose_keeper();
        }
        let message = codec::decode(&message).expect("it was encoded here");
        self.saw_order(&message);
        let now = self.now;
        self.keeper.machine.asked(&message, now);
        self.carry_out();
        if let Some(next) = self.keeper.asked.front() {
            let process = next.process;
            self.queue_keeper(process);
        }
    }

    /// Does what the keeper's machine wants.
    pub(crate) fn carry_out(&mut self) {
        while let Some(effect) = self.keeper.machine.poll_effect() {
            match effect {
                Effect::Fork {
                    process,
                    key,
                    name,
                    setup,
                } => self.fork(process, key, &name, &setup),
                // As the kernel does it: whoever has the number now. A dead one stays dead.
                Effect::Ask { pid, .. } => {
                    if let Some(process) = self.keeper.pids.get(&pid).copied() {
                        self.saw(process, Seen::Asked { at: self.now });
                        self.ask(process);
                    }
                }
                Effect::Kill { pid, .. } => {
                    if let Some(process) = self.keeper.pids.get(&pid).copied() {
                        self.saw(process, Seen::Struck { at: self.now });
                        self.signal(process);
                    }
                }
                // Simulated processes start none behind the keeper's back.
                Effect::KillLeft { .. } => {}
                Effect::Tell(message) => self.notify(message),
                // By its own hand, of the signal that asked it.
                Effect::EndProgram => {
                    self.saw(ProcessId::PROGRAM, Seen::Struck { at: self.now });
                    self.signal(ProcessId::PROGRAM);
                }
                Effect::End => self.end_tree(),
            }
        }
        if let Some(deadline) = self.keeper.machine.deadline()
            && self.keeper.tick_at.is_none_or(|queued| deadline < queued)
        {
            self.keeper.tick_at = Some(deadline);
            self.at(deadline, Event::KeeperTick);
        }
    }

    /// The keeper's deadline has come.
    pub(crate) fn keeper_tick(&mut self) {
        self.keeper.tick_at = None;
        if !self.keeper.is_lost {
            self.keeper.machine.tick(self.now);
            self.carry_out();
        }
    }

    /// What the server wants of the keeper, for the checkers.
    pub(crate) fn saw_order(&mut self, message: &ToKeeper<'_>) {
        let at = self.now;
        let (process, seen) = match *message {
            ToKeeper::Spawn { .. } => return,
            ToKeeper::Stop { process, grace_ns } => (process, Seen::ToStop { at, grace_ns }),
            ToKeeper::Kill { process, why } => {
                let by_parent = why == Why::Parent;
                (process, Seen::ToKill { at, by_parent })
            }
        };
        self.saw(process, seen);
    }

    /// SIGTERM reaches a process: its handler notes it, and wakes who waits for the connection.
    pub(crate) fn ask(&mut self, process: ProcessId) {
        if let Some(story) = self.trace.story(self.now) {
            story.note(process.into(), "is asked to end");
        }
        let Some(process) = self.processes.get_mut(&process) else {
            return;
        };
        process.is_stopping = true;
        process.woken = true;
        if let Some(waiter) = process.waiter {
            self.wake_thread(waiter);
        }
    }

    fn fork(&mut self, process: ProcessId, key: Token, name: &str, setup: &[u8]) {
        if self.strikes(Fault::SpawnFailure, process) {
            self.keeper.machine.not_forked(process, "fork", EAGAIN);
            return;
        }
        let pid = self.draw_pid(process);
        let before = self.keeper.pids.insert(pid, process);
        assert!(before.is_none(), "the kernel gives no pid to two");
        let world = self.id;
        let is_hostile = workloads::hostile::is_insider(name);
        self.start_process(process, move || match is_hostile {
            true => workloads::hostile::attack(world, process, key),
            false => crate::process::child(world, process, key),
        });
        let setup: Setup<'_> = codec::decode(setup).expect("the machine has encoded it");
        let limit = setup.time_limit_ns.map(Duration::from_nanos);
        let until = limit.map(|limit| self.now.after(limit));
        let grace_ns = setup.grace_ns;
        self.saw(process, Seen::Started { until, grace_ns });
        self.keeper.machine.forked(process, pid, self.now);
    }

    /// A pid that nobody has: the next of all, or the one that came free last.
    fn draw_pid(&mut self, process: ProcessId) -> u32 {
        if self.keeper.freed.is_some() && self.strikes(Fault::PidReuse, process) {
            return self.keeper.freed.take().expect("it was just there");
        }
        self.keeper.next_pid += 1;
        self.keeper.next_pid
    }

    /// SIGKILL strikes a process, if it is alive. The code of it that runs has a little time left.
    pub(crate) fn signal(&mut self, process: ProcessId) {
        if self.is_running(process) {
            self.after(1_000, Event::Kill { process });
        } else if self.processes.contains_key(&process) {
            self.process_died(process, SIGKILL);
        }
    }

    /// A process has died: the keeper will reap it.
    pub(crate) fn keeper_hears_of(&mut self, process: ProcessId, status: i32) {
        if self.is_guest(process) {
            return self.guest_ended();
        }
        let delay_ns = self.keeper_delay(process);
        self.after(delay_ns, Event::Reap { process, status });
    }

    /// The keeper reaps a process, whose pid is free from now on.
    pub(crate) fn keeper_reaps(&mut self, process: ProcessId, status: i32) {
        let Some(pid) = self.keeper.pid(process) else {
            return;
        };
        self.keeper.pids.remove(&pid);
        self.keeper.freed = Some(pid);
        if self.keeper.is_lost {
            return;
        }
        let (cpu_user_ns, cpu_system_ns, memory_bytes_max) = (1_000_000, 500_000, 4_000_000);
        if self.keeper.machine.has_ended() {
            if self.is_alone() {
                // It tells nothing more, but by its own end.
                return self.keeper_ends_if_done();
            }
            // The real keeper tells nothing more; this server is the last to go.
            return self.notify(FromKeeper::Ended {
                why: None,
                process,
                status,
                cpu_user_ns,
                cpu_system_ns,
                memory_bytes_max,
                left: Left::default(),
            });
        }
        self.keeper.machine.reaped(Reaped {
            pid,
            status,
            cpu_user_ns,
            cpu_system_ns,
            memory_bytes_max,
        });
        self.carry_out();
    }

    pub(crate) fn keeper_delay(&mut self, ProcessId(process): ProcessId) -> u64 {
        let part = Part::Keeper(process);
        if self.choices.below(part, 8) == 7 {
            self.choices.between(part, 100_000, 5_000_000)
        } else {
            self.choices.between(part, 2_000, 50_000)
        }
    }

    fn notify(&mut self, message: FromKeeper<'static>) {
        let (FromKeeper::Started { process, .. }
        | FromKeeper::NotStarted { process, .. }
        | FromKeeper::Ended { process, .. }) = message;
        let delay_ns = match message {
            FromKeeper::Ended { .. } => 1_000,
            _ => self.keeper_delay(process),
        };
        let at = Time(self.now.0 + delay_ns).max(self.keeper.last_notice);
        self.keeper.last_notice = at;
        self.keeper.told.push_back(message);
        self.at(at, Event::Notice);
    }

    /// A notice arrives at the server.
    pub(crate) fn keeper_notice(&mut self) {
        let Some(message) = self.keeper.told.pop_front() else {
            return;
        };
        self.trace.fold_bytes(&codec::to_bytes(&message));
        if let Some(story) = self.trace.story(self.now) {
            story.keeper_says(&message);
        }
        if self.host.is_lost {
            return;
        }
        self.server_hears(message);
    }

    /// The keeper sees that the program has ended. The server is the last to go, and hears of the
    /// others' ends, so that what the checkers judge is whole.
    pub(crate) fn keeper_misses_program(&mut self) {
        if self.keeper.is_lost {
            // Its children were killed with it, but for one that was being started.
            return self.kill_children();
        }
        self.keeper.machine.program_lost();
        self.carry_out();
    }

    /// The program or the server is lost, and the keeper ends the tree.
    fn end_tree(&mut self) {
        self.kill_children();
        self.keeper_ends_if_done();
        self.wake_who_let_go();
    }

    /// All processes but the programs, which are not below the keeper.
    fn kill_children(&mut self) {
        let children: Vec<ProcessId> = (self.processes.keys().copied())
            .filter(|process| *process != ProcessId::PROGRAM && !self.is_guest(*process))
            .collect();
        for process in children {
            self.signal(process);
        }
    }

    /// The server is killed. What it has written still arrives; then there is no server any more.
    pub(crate) fn lose_server(&mut self) {
        if self.host.is_lost {
            return;
        }
        if let Some(story) = self.trace.story(self.now) {
            story.fault(Lane::Server, Fault::ServerCrash, "it is killed");
        }
        self.note_loss(Lost::Server);
        self.close_server(match self.is_alone() {
            // Nobody has seen it.
            true => ServerEnd::Unseen,
            false => ServerEnd::Signaled {
                signal: SIGKILL,
                core: false,
            },
        });
        let delay_ns = self.keeper_delay(ProcessId::PROGRAM);
        self.after(delay_ns, Event::ServerLost);
    }

    /// The keeper is killed. Its children are killed with it (PR_SET_PDEATHSIG), but for the server,
    /// which sees the end of the link, sweeps the tree, and ends.
    pub(crate) fn lose_keeper(&mut self) {
        if let Some(story) = self.trace.story(self.now) {
            story.fault(Lane::Keeper, Fault::KeeperCrash, "it is killed");
        }
        self.note_loss(Lost::Keeper);
        self.keeper.is_lost = true;
        self.kill_children();
        self.wake_who_let_go();
        let delay_ns = self.keeper_delay(ProcessId::PROGRAM);
        self.after(delay_ns, Event::KeeperLost);
    }

    /// The keeper hears that the server is lost.
    pub(crate) fn keeper_misses_server(&mut self) {
        if !self.keeper.is_lost {
            self.keeper.machine.server_lost();
            self.carry_out();
        }
    }

    /// The server hears that the keeper is lost.
    pub(crate) fn server_misses_keeper(&mut self) {
        if self.is_alone() {
            return self.keeper_lost_alone();
        }
        if !self.host.is_lost {
            if let Some(story) = self.trace.story(self.now) {
                story.note(Lane::Server, "has lost its keeper, and ends");
            }
            self.note_loss(Lost::Server);
            self.kill_children();
            self.close_server(ServerEnd::KeeperLost);
        }
    }

    fn note_loss(&mut self, lost: Lost) {
        self.note_lost(lost);
        self.saw(ProcessId::PROGRAM, Seen::Doomed { at: self.now });
    }
}
