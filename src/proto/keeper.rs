//! What the keeper of a tree decides: which process it starts, whom it kills, what it tells the
//! server, and when the tree ends.
//!
//! # The grammar
//!
//! The keeper is told what happens: what the [server asks](Keeper::asked), that a process that it
//! was to start [runs](Keeper::forked) or [does not](Keeper::not_forked), that a child was
//! [reaped](Keeper::reaped), that the [program](Keeper::program_lost) or the way to the
//! [server](Keeper::server_lost) is lost, that the program is [asked to end](Keeper::program_asked)
//! or [lets go](Keeper::program_let_go) of the tree, that it is [time](Keeper::tick). After each it wants [effects](Keeper::poll_effect), to be
//! carried out at once and in order: a number names a process only until that process is reaped.

mod stopping;

use self::stopping::Stopping;
use super::codec;
use super::ids::{ProcessId, Token};
use super::marks::{self, Mark};
use super::message::{FromKeeper, Left, ToKeeper, Why};
use super::planted::{self, Bug};
use super::time::Time;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Start this process; say [`Keeper::forked`] or [`Keeper::not_forked`] before anything else.
    Fork {
        /// The process.
        process: ProcessId,
        /// The secret that it shows the server.
        key: Token,
        /// Its name, for people.
        name: String,
        /// How it is to be started: an encoded [`Setup`](super::setup::Setup).
        setup: Vec<u8>,
    },
    /// Ask the process with this number to end: SIGTERM.
    Ask {
        /// Its number, which is its own until it is reaped.
        pid: u32,
        /// Which it is.
        process: ProcessId,
    },
    /// Kill the process with this number, all below it, and what it has left behind.
    Kill {
        /// Its number, which is its own until it is reaped.
        pid: u32,
        /// Which it is.
        process: ProcessId,
    },
    /// The process with this number has been reaped: kill what it has left behind.
    KillLeft {
        /// The number it had. It may be another's soon.
        pid: u32,
        /// Which it was.
        process: ProcessId,
    },
    /// Ask the program once more to end, in the same way; this time it is ended by it.
    EndProgram,
    /// Tell the server. What a process has [`Left`] is the caller's to add.
    Tell(FromKeeper<'static>),
    /// Kill and reap all that is below the keeper, the server too, then end. Nothing comes after.
    End,
}

/// How a child ended, and what it had used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reaped {
    /// Its number.
    pub pid: u32,
    /// As `wait4` gives it.
    pub status: i32,
    /// Processor time of its own code.
    pub cpu_user_ns: u64,
    /// Processor time that the kernel spent for it.
    pub cpu_system_ns: u64,
    /// The most memory it ever had.
    pub memory_bytes_max: u64,
}

/// What is agreed of a process's end when it is started.
#[derive(Debug, Clone, Copy, Default)]
struct Terms {
    /// How long it may take when the tree ends in good order. `None`: as long as the tree.
    grace_ns: Option<u64>,
    /// How long it may run.
    time_limit_ns: Option<u64>,
}

/// A process that was started and not reaped.
#[derive(Debug)]
struct Running {
    process: ProcessId,
    terms: Terms,
    /// It was asked to end.
    is_asked: bool,
    /// When it is to be killed, and why, if nothing comes before.
    due: Option<(Time, Why)>,
    /// Why it was killed from here, if it was.
    killed: Option<Why>,
}

/// The signal's number, and so the low bits of the status of whom it has killed.
const SIGKILL: i32 = 9;

impl Running {
    /// Why it was killed, if that is what it died of: it may have ended a moment before.
    fn died_of(&self, status: i32) -> Option<Why> {
        self.killed.filter(|_| status & 0x7f == SIGKILL)
    }
}

/// The keeper. See the [module](self).
#[derive(Debug)]
pub struct Keeper {
    server: Option<u32>,
    running: BTreeMap<u32, Running>,
    /// Those that are being started.
    starting: BTreeMap<ProcessId, Terms>,
    /// Who is to be killed when, first the next: each `due` of those that run.
    timers: BTreeSet<(Time, u32)>,
    /// The latest process that was asked for; the server gives rising numbers and asks in order.
    latest: ProcessId,
    /// How long the tree may take to end in good order.
    grace: Duration,
    stopping: Option<Stopping>,
    has_ended: bool,
    effects: VecDeque<Effect>,
}

impl Keeper {
    /// The keeper of a tree whose server runs under this number (`None`: the server is none of its
    /// processes), and in which nothing else runs. When its program is asked to end, it may take so
    /// long.
    #[must_use]
    pub fn new(server: Option<u32>, grace: Duration) -> Keeper {
        Keeper {
            server,
            running: BTreeMap::new(),
            starting: BTreeMap::new(),
            timers: BTreeSet::new(),
            latest: ProcessId::PROGRAM,
            grace,
            stopping: None,
            has_ended: false,
            effects: VecDeque::new(),
        }
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Has [`Effect::End`] been given out, or is it to come?
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// The server's number, if it is a process of the tree.
    #[must_use]
    pub fn server(&self) -> Option<u32> {
        self.server
    }

    /// The process that has this number.
    #[must_use]
    pub fn process(&self, pid: u32) -> Option<ProcessId> {
        self.running.get(&pid).map(|running| running.process)
    }

    /// Does this number belong to the server, or to a process that was started and not reaped?
    #[must_use]
    pub fn knows(&self, pid: u32) -> bool {
        self.server == Some(pid) || self.running.contains_key(&pid)
    }

    /// The server wants something. Asked again for the same process, nothing is started.
    pub fn asked(&mut self, message: &ToKeeper<'_>, now: Time) {
        match *message {
            ToKeeper::Spawn {
                process,
                key,
                name,
                ref setup,
            } if process > self.latest => {
                self.latest = process;
                let terms = Terms {
                    grace_ns: setup.grace_ns,
                    time_limit_ns: setup.time_limit_ns,
                };
                self.starting.insert(process, terms);
                self.want(Effect::Fork {
                    process,
                    key,
                    name: name.to_owned(),
                    setup: codec::to_bytes(setup),
                });
            }
            ToKeeper::Spawn { .. } => {}
            ToKeeper::Stop { process, grace_ns } => {
                if let Some(pid) = self.pid(process) {
                    let grace = match () {
                        () if planted::is(Bug::GraceCountedTwice) => grace_ns.saturating_mul(2),
                        () if planted::is(Bug::GraceInOtherUnit) => grace_ns / 1_000,
                        () => grace_ns,
                    };
                    self.stop(pid, now.after(Duration::from_nanos(grace)));
                }
            }
            ToKeeper::Kill { process, why } => {
                // If it is not there it was reaped, and its number may be another's.
                if let Some(pid) = self.pid(process)
                    && !self.is_spared(pid, why)
                {
                    self.kill(pid, why);
                }
            }
        }
    }

    /// A parent's end is none of a process that was asked to end: it has the rest of its grace.
    fn is_spared(&self, pid: u32, why: Why) -> bool {
        let by_parent = match why {
            Why::Parent => !planted::is(Bug::AskedEndsWithParent),
            _ => planted::is(Bug::KillSparesTheAsked),
        };
        let is_spared = by_parent && self.running[&pid].is_asked;
        marks::reached_if(is_spared, Mark::AskedOutlivedParent);
        is_spared
    }

    /// The number of a process that was started and not reaped.
    fn pid(&self, process: ProcessId) -> Option<u32> {
        let mut all = self.running.iter();
        all.find(|(_, running)| running.process == process)
            .map(|(pid, _)| *pid)
    }

    /// Asks who has this number to end, once, and notes until when it may take its time.
    fn stop(&mut self, pid: u32, until: Time) {
        let Some(running) = self.running.get_mut(&pid) else {
            return;
        };
        if !std::mem::replace(&mut running.is_asked, true) {
            let process = running.process;
            self.want(Effect::Ask { pid, process });
        }
        let why = match planted::is(Bug::GraceToldAsKill) {
            true => Why::Asked,
            false => Why::Grace,
        };
        self.set_due(pid, until, why);
    }

    /// Who has this number is to be killed at that time: of several, the first counts.
    fn set_due(&mut self, pid: u32, at: Time, why: Why) {
        let Some(running) = self.running.get_mut(&pid) else {
            return;
        };
        let is_later = |due| match planted::is(Bug::LongerGraceWins) {
            true => at <= due,
            false => due <= at,
        };
        if running.killed.is_some() || running.due.is_some_and(|(due, _)| is_later(due)) {
            return;
        }
        if let Some((before, _)) = running.due.replace((at, why)) {
            self.timers.remove(&(before, pid));
        }
        self.timers.insert((at, pid));
    }

    /// When to [tick](Keeper::tick) next.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        if self.has_ended {
            return None;
        }
        let first = self.timers.first().map(|(at, _)| *at);
        first.into_iter().chain(self.grace_ends_at()).min()
    }

    /// Time has passed: whose time is over is killed; when that of the whole tree is over, it ends.
    /// Before its time it does nothing.
    pub fn tick(&mut self, now: Time) {
        while let Some(&(at, pid)) = self.timers.first()
            && at <= now
        {
            self.timers.remove(&(at, pid));
            let running = self.running.get_mut(&pid);
            if let Some((_, why)) = running.and_then(|running| running.due.take()) {
                self.kill(pid, why);
            }
        }
        self.end_late(now);
    }

    /// Kills who has this number, unless that is done already: the first reason is the one.
    fn kill(&mut self, pid: u32, why: Why) {
        if let Some(running) = self.running.get_mut(&pid)
            && running.killed.is_none()
        {
            running.killed = Some(why);
            let process = running.process;
            if let Some((at, _)) = running.due.take() {
                self.timers.remove(&(at, pid));
            }
            self.want(Effect::Kill { pid, process });
        }
    }

    /// The process runs, under this number.
    pub fn forked(&mut self, process: ProcessId, pid: u32, now: Time) {
        let terms = self.starting.remove(&process).unwrap_or_default();
        let running = Running {
            process,
            terms,
            is_asked: false,
            due: None,
            killed: None,
        };
        self.running.insert(pid, running);
        if let Some(limit_ns) = terms.time_limit_ns {
            let times = 1 + u32::from(planted::is(Bug::TimeLimitCountedTwice));
            let until = now.after(Duration::from_nanos(limit_ns).saturating_mul(times));
            let why = match planted::is(Bug::TimeLimitToldAsGrace) {
                true => Why::Grace,
                false => Why::TimeLimit { limit_ns },
            };
            self.set_due(pid, until, why);
        }
        self.want(Effect::Tell(FromKeeper::Started { process, pid }));
        marks::reached_if(self.stopping.is_some(), Mark::StartedLate);
        if !planted::is(Bug::LateStarterNotAsked) {
            self.stop_with_tree(pid, now);
        }
    }

    /// The process could not be started: this call failed.
    pub fn not_forked(&mut self, process: ProcessId, call: &'static str, errno: i32) {
        self.starting.remove(&process);
        if planted::is(Bug::FailedStartNotTold) {
            return;
        }
        self.want(Effect::Tell(FromKeeper::NotStarted {
            process,
            call,
            errno,
        }));
        self.end_if_done();
    }

    /// A child has ended and was reaped: a process, the server, or somebody's orphan, which asks for
    /// nothing more.
    pub fn reaped(&mut self, reaped: Reaped) {
        if self.server == Some(reaped.pid) {
            return self.server_lost();
        }
        let Some(running) = self.running.remove(&reaped.pid) else {
            return;
        };
        let (pid, process) = (reaped.pid, running.process);
        if let Some((at, _)) = running.due {
            self.timers.remove(&(at, pid));
        }
        self.want(Effect::KillLeft { pid, process });
        self.want(Effect::Tell(FromKeeper::Ended {
            process,
            status: reaped.status,
            why: running.died_of(reaped.status),
            cpu_user_ns: reaped.cpu_user_ns,
            cpu_system_ns: reaped.cpu_system_ns,
            memory_bytes_max: reaped.memory_bytes_max,
            left: Left::default(),
        }));
        self.end_if_done();
    }

    /// The program has ended: the tree ends with it, at once.
    pub fn program_lost(&mut self) {
        self.end();
    }

    /// The server has ended, or can't be spoken with: nobody can do anything any more.
    pub fn server_lost(&mut self) {
        self.end();
    }

    fn end(&mut self) {
        if !self.has_ended {
            // What is still to be started is not; what is still to be told nobody hears.
            self.effects.clear();
            self.effects.push_back(Effect::End);
            self.has_ended = true;
        }
    }

    fn want(&mut self, effect: Effect) {
        let late = planted::is(Bug::StartedAfterEnd) && matches!(effect, Effect::Fork { .. });
        if !self.has_ended || late {
            self.effects.push_back(effect);
        }
    }
}

#[cfg(test)]
mod tests {
    mod stopping;
    mod terms;

    use super::super::setup::Setup;
    use super::*;

    const SERVER: u32 = 10;
    const NOW: Time = Time(5);
    /// Of the whole tree.
    const GRACE: Duration = Duration::from_nanos(1_000);

    fn effects(keeper: &mut Keeper) -> Vec<Effect> {
        std::iter::from_fn(|| keeper.poll_effect()).collect()
    }

    fn spawn(process: u64) -> ToKeeper<'static> {
        spawn_with(process, Setup::default())
    }

    fn spawn_with(process: u64, setup: Setup<'static>) -> ToKeeper<'static> {
        ToKeeper::Spawn {
            process: ProcessId(process),
            key: Token([process, 0]),
            name: "work",
            setup,
        }
    }

    fn kill(process: u64) -> ToKeeper<'static> {
        ToKeeper::Kill {
            process: ProcessId(process),
            why: Why::Asked,
        }
    }

    fn reaped(pid: u32, status: i32) -> Reaped {
        Reaped {
            pid,
            status,
            cpu_user_ns: 1,
            cpu_system_ns: 2,
            memory_bytes_max: 3,
        }
    }

    /// A keeper of these processes, each under its own number and a hundred.
    fn keeper_of(processes: &[u64]) -> Keeper {
        let mut keeper = Keeper::new(Some(SERVER), GRACE);
        for process in processes {
            keeper.asked(&spawn(*process), NOW);
            keeper.forked(ProcessId(*process), 100 + *process as u32, NOW);
        }
        effects(&mut keeper);
        keeper
    }

    #[test]
    fn a_process_is_started_once_however_often_it_is_asked_for() {
        let mut keeper = Keeper::new(Some(SERVER), GRACE);
        keeper.asked(&spawn(2), NOW);
        keeper.asked(&spawn(2), NOW);
        let fork = Effect::Fork {
            process: ProcessId(2),
            key: Token([2, 0]),
            name: "work".into(),
            setup: codec::to_bytes(&Setup::default()),
        };
        assert_eq!(effects(&mut keeper), [fork]);
        keeper.not_forked(ProcessId(2), "clone", 11);
        keeper.asked(&spawn(2), NOW);
        let told = Effect::Tell(FromKeeper::NotStarted {
            process: ProcessId(2),
            call: "clone",
            errno: 11,
        });
        assert_eq!(effects(&mut keeper), [told]);
    }

    #[test]
    fn the_end_of_a_process_is_told_behind_what_it_left_being_killed() {
        let mut keeper = keeper_of(&[2]);
        keeper.reaped(reaped(102, 9));
        let process = ProcessId(2);
        let told = effects(&mut keeper);
        assert_eq!(told[0], Effect::KillLeft { pid: 102, process });
        assert!(matches!(
            told[1],
            Effect::Tell(FromKeeper::Ended { status: 9, .. })
        ));
        // An orphan of somebody's is nobody to tell of.
        keeper.reaped(reaped(777, 9));
        assert_eq!(effects(&mut keeper), []);
    }

    #[test]
    fn a_number_that_is_given_anew_is_not_killed_for_who_had_it_before() {
        let mut keeper = keeper_of(&[2]);
        keeper.reaped(reaped(102, 0));
        keeper.asked(&spawn(3), NOW);
        keeper.forked(ProcessId(3), 102, NOW);
        effects(&mut keeper);
        keeper.asked(&kill(2), NOW);
        assert_eq!(effects(&mut keeper), []);
        keeper.asked(&kill(3), NOW);
        let process = ProcessId(3);
        assert_eq!(effects(&mut keeper), [Effect::Kill { pid: 102, process }]);
        assert!(keeper.knows(102) && keeper.knows(SERVER) && !keeper.knows(103));
    }

    #[test]
    fn the_first_reason_of_a_kill_is_told_if_it_died_of_it() {
        let kill_as = |process: u64, why| ToKeeper::Kill {
            process: ProcessId(process),
            why,
        };
        for (status, told) in [(9, Some(Why::Parent)), (3 << 8, None), (15, None)] {
            let mut keeper = keeper_of(&[2, 3]);
            keeper.asked(&kill_as(2, Why::Parent), NOW);
            keeper.asked(&kill_as(2, Why::Asked), NOW);
            let process = ProcessId(2);
            assert_eq!(effects(&mut keeper), [Effect::Kill { pid: 102, process }]);
            keeper.reaped(reaped(102, status));
            keeper.reaped(reaped(103, 9));
            let whys: Vec<_> = effects(&mut keeper)
                .into_iter()
                .filter_map(|effect| match effect {
                    Effect::Tell(FromKeeper::Ended { why, .. }) => Some(why),
                    _ => None,
                })
                .collect();
            // The other one was killed by somebody else.
            assert_eq!(whys, [told, None]);
        }
    }

    fn stop(process: u64, grace_ns: u64) -> ToKeeper<'static> {
        ToKeeper::Stop {
            process: ProcessId(process),
            grace_ns,
        }
    }

    fn ask(process: u64) -> Effect {
        Effect::Ask {
            pid: 100 + process as u32,
            process: ProcessId(process),
        }
    }

    fn killed(process: u64) -> Effect {
        Effect::Kill {
            pid: 100 + process as u32,
            process: ProcessId(process),
        }
    }

    #[test]
    fn who_was_asked_to_end_is_killed_when_the_grace_is_over_and_not_before() {
        let mut keeper = keeper_of(&[2, 3]);
        assert_eq!(keeper.deadline(), None);
        keeper.asked(&stop(2, 100), NOW);
        keeper.asked(&stop(3, 50), Time(20));
        assert_eq!(effects(&mut keeper), [ask(2), ask(3)]);
        assert_eq!(keeper.deadline(), Some(Time(70)));
        keeper.tick(Time(69));
        assert_eq!(effects(&mut keeper), []);
        keeper.tick(Time(104));
        assert_eq!(effects(&mut keeper), [killed(3)]);
        assert_eq!(keeper.deadline(), Some(Time(105)));
        keeper.tick(Time(300));
        assert_eq!(effects(&mut keeper), [killed(2)]);
        assert_eq!(keeper.deadline(), None);
        keeper.reaped(reaped(102, SIGKILL));
        let told = effects(&mut keeper).pop();
        let Some(Effect::Tell(FromKeeper::Ended { why, .. })) = told else {
            panic!("{told:?}");
        };
        assert_eq!(why, Some(Why::Grace));
    }

    #[test]
    fn asked_again_it_has_no_more_time_than_before() {
        let mut keeper = keeper_of(&[2]);
        keeper.asked(&stop(2, 100), NOW);
        keeper.asked(&stop(2, 500), NOW);
        // It is told once.
        assert_eq!(effects(&mut keeper), [ask(2)]);
        assert_eq!(keeper.deadline(), Some(Time(105)));
        keeper.asked(&stop(2, 10), NOW);
        assert_eq!(keeper.deadline(), Some(Time(15)));
        keeper.asked(&kill(2), NOW);
        assert_eq!(effects(&mut keeper), [killed(2)]);
        // Killed is killed.
        keeper.asked(&stop(2, 10), NOW);
        assert_eq!((keeper.deadline(), effects(&mut keeper)), (None, vec![]));
    }

    /// A process that handed its stopped wait up by `?` took its children with it, which were still
    /// putting things in order.
    #[test]
    fn who_was_asked_keeps_its_grace_when_its_parent_ends() {
        let by_parent = |process| ToKeeper::Kill {
            process: ProcessId(process),
            why: Why::Parent,
        };
        let mut keeper = keeper_of(&[2, 3]);
        keeper.asked(&stop(2, 100), NOW);
        effects(&mut keeper);
        keeper.asked(&by_parent(2), NOW);
        keeper.asked(&by_parent(3), NOW);
        assert_eq!(effects(&mut keeper), [killed(3)]);
        keeper.tick(Time(104));
        assert_eq!(effects(&mut keeper), []);
        keeper.tick(Time(105));
        assert_eq!(effects(&mut keeper), [killed(2)]);
    }

    #[test]
    fn who_has_ended_in_time_is_not_killed_nor_who_gets_its_number() {
        let mut keeper = keeper_of(&[2]);
        keeper.asked(&stop(2, 100), NOW);
        keeper.reaped(reaped(102, 0));
        assert_eq!(keeper.deadline(), None);
        keeper.asked(&spawn(3), NOW);
        keeper.forked(ProcessId(3), 102, NOW);
        effects(&mut keeper);
        keeper.tick(Time(1000));
        assert_eq!(effects(&mut keeper), []);
        keeper.asked(&stop(2, 1), NOW);
        assert_eq!(effects(&mut keeper), []);
    }

    #[test]
    fn the_tree_ends_once_with_the_program_or_the_server() {
        let losses: [fn(&mut Keeper); 3] = [
            Keeper::program_lost,
            Keeper::server_lost,
            |keeper: &mut Keeper| keeper.reaped(reaped(SERVER, 9)),
        ];
        for lose in losses {
            let mut keeper = keeper_of(&[2]);
            keeper.asked(&spawn(3), NOW);
            lose(&mut keeper);
            keeper.server_lost();
            assert_eq!(effects(&mut keeper), [Effect::End]);
            keeper.asked(&spawn(4), NOW);
            keeper.asked(&kill(2), NOW);
            keeper.reaped(reaped(102, 9));
            assert_eq!(effects(&mut keeper), []);
        }
    }

    #[test]
    fn the_loss_of_the_program_alone_ends_the_tree() {
        let mut keeper = keeper_of(&[2]);
        assert_eq!(keeper.server(), Some(SERVER));
        assert_eq!(keeper.process(102), Some(ProcessId(2)));
        assert_eq!(keeper.process(103), None);
        assert!(!keeper.has_ended());
        keeper.program_lost();
        assert!(keeper.has_ended());
        assert_eq!(effects(&mut keeper), [Effect::End]);
    }
}
