//! The processes of the tree: their records, their tasks, and what is left to do when one ends.

use super::super::codec;
use super::super::dump::{RECORD_PREFIX, Standing};
use super::super::history::Cause;
use super::super::ids::{ConnectionId, ProcessId, Seq, SessionId, Token};
use super::super::kinds;
use super::super::marks::{self, Mark};
use super::super::message::{Failure, Finish, FromKeeper, FunctionRef, Reply, Why, WireOutcome};
use super::super::planted::{self, Bug};
use super::super::session::WaitKind;
use super::super::setup::Setup;
use super::super::store::{Key, Namespace, RESERVED, Rights, Transaction};
use super::super::time::Time;
use super::outcomes::{self, Remains, outcome_of};
use super::parts::Rests;
use super::requests::cause;
use super::{Effect, Keep, Server, WaitKey, wire};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What the state tells of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its number.
    pub id: u64,
    /// The process that spawned it.
    pub parent: u64,
    /// Its name, if it was given one; else that of its function.
    pub name: String,
    /// The name of its function.
    pub function: String,
    /// `starting`, `running` or `ended`.
    pub state: String,
    /// Its operating system's number, once it runs.
    pub pid: Option<u32>,
    /// When it was asked for, in nanoseconds of the server's clock.
    pub started_ns: u64,
    /// When it ended, by the same clock.
    pub ended_ns: Option<u64>,
    /// How it ended, in words.
    pub outcome: Option<String>,
    /// What it had used by then, if anybody has seen its end.
    pub used: Option<Used>,
}

/// What a process has used in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// CPU time of its own code and of the kernel for it, nanoseconds.
    pub cpu_ns: u64,
    /// The most memory it had resident, bytes.
    pub memory_bytes_max: u64,
}

/// A death notice that waits until the last writes have been read.
#[derive(Debug)]
pub(super) struct Death {
    pub(super) end: DeathKind,
    /// Set if it was the keeper that killed it.
    pub(super) why: Option<Why>,
    pub(super) cpu_user_ns: u64,
    pub(super) cpu_system_ns: u64,
    pub(super) memory_bytes_max: u64,
    pub(super) left: Remains,
}

#[derive(Debug)]
pub(super) enum DeathKind {
    Status(i32),
    NotStarted {
        call: String,
        errno: i32,
    },
    /// Nobody has seen it: its keeper is gone.
    Unseen,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Starting,
    Running,
    Ended,
}

/// A process, as the server knows it.
#[derive(Debug)]
pub(super) struct Process {
    parent: ProcessId,
    /// The program that it belongs to; a program's own number.
    pub(super) root: ProcessId,
    /// With whom it ends: its parent, or the program.
    pub(super) ends_with: ProcessId,
    pub(super) key: Token,
    pub(super) session: Option<SessionId>,
    pub(super) has_connected: bool,
    /// The number of its latest hello.
    pub(super) attempt: u64,
    /// Who waits for its end.
    pub(super) joiners: BTreeSet<WaitKey>,
    /// Those that end with it.
    pub(super) children: BTreeSet<ProcessId>,
    /// How long it may take to end, once it is asked to, where nothing else is said.
    pub(super) grace_ns: Option<u64>,
    function: String,
    offset: i64,
    /// For people.
    name: String,
    /// Given away with the task: its argument, and an encoded [`Setup`].
    args: Option<(Vec<u8>, Vec<u8>)>,
    pub(super) rests: Rests,
    pub(super) state: State,
    pub(super) pid: Option<u32>,
    pub(super) started_at: Time,
    ended_at: Option<Time>,
    /// What it said of its own end: an encoded [`Finish`].
    pub(super) finish: Option<Vec<u8>>,
    death: Option<Death>,
    /// The keeper was told to kill it.
    pub(super) is_killed: bool,
    /// An encoded [`WireOutcome`].
    pub(super) outcome: Option<Vec<u8>>,
    outcome_text: Option<String>,
    used: Option<Used>,
}

impl Death {
    /// What nobody could tell more of.
    pub(super) fn new(end: DeathKind) -> Death {
        Death {
            end,
            why: None,
            cpu_user_ns: 0,
            cpu_system_ns: 0,
            memory_bytes_max: 0,
            left: Remains::default(),
        }
    }
}

impl Process {
    /// The root of the tree.
    pub(super) fn program(key: Token, now: Time) -> Process {
        Process {
            parent: ProcessId::PROGRAM,
            root: ProcessId::PROGRAM,
            ends_with: ProcessId::PROGRAM,
            key,
            session: None,
            has_connected: false,
            attempt: 0,
            joiners: BTreeSet::new(),
            children: BTreeSet::new(),
            grace_ns: None,
            function: "main".to_owned(),
            offset: 0,
            name: "main".to_owned(),
            args: None,
            rests: Rests::default(),
            state: State::Running,
            pid: None,
            started_at: now,
            ended_at: None,
            finish: None,
            death: None,
            is_killed: false,
            outcome: None,
            outcome_text: None,
            used: None,
        }
    }

    /// A program that has come with a keeper of its own.
    pub(super) fn guest(id: ProcessId, key: Token, pid: u32, name: &str, now: Time) -> Process {
        Process {
            parent: id,
            root: id,
            ends_with: id,
            pid: Some(pid),
            name: name.to_owned(),
            ..Process::program(key, now)
        }
    }

    /// Has it ended, or is its death known?
    pub(super) fn has_ended(&self) -> bool {
        self.state == State::Ended || self.death.is_some()
    }

    /// Has it ended, and is all told of it?
    pub(super) fn is_over(&self) -> bool {
        self.state == State::Ended
    }

    /// The program has said goodbye: nobody may speak for it any more.
    pub(super) fn end_program(&mut self) {
        self.state = State::Ended;
    }

    /// For a picture of the tree: how it stands, given since when it has lost its connection.
    pub(super) fn standing(&self, detached_at: Option<Time>, now: Time) -> Standing {
        let age = now.since(self.started_at);
        match (self.state, self.session, detached_at) {
            _ if self.death.is_some() => Standing::Ending,
            (State::Starting, None, _) => Standing::Starting(age.into()),
            (_, Some(_), Some(since)) => Standing::Detached(now.since(since).into()),
            (_, Some(_), None) => Standing::Connected,
            (_, None, _) if self.has_connected => Standing::WithoutSession,
            (_, None, _) => Standing::Silent(age.into()),
        }
    }

    pub(super) fn parent(&self) -> ProcessId {
        self.parent
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn function(&self) -> &str {
        &self.function
    }

    /// What is kept of its result.
    pub(super) fn result_bytes(&self) -> usize {
        self.outcome.as_ref().map_or(0, Vec::len) + self.rests.result_bytes()
    }

    pub(super) fn record(&self, id: ProcessId) -> Vec<u8> {
        let state = match self.state {
            State::Starting => "starting",
            State::Running => "running",
            State::Ended => "ended",
        };
        let record = Record {
            id: id.0,
            parent: self.parent.0,
            name: self.name.clone(),
            function: self.function.clone(),
            state: state.to_owned(),
            pid: self.pid,
            started_ns: self.started_at.0,
            ended_ns: self.ended_at.map(|at| at.0),
            outcome: self.outcome_text.clone(),
            used: self.used,
        };
        rmp_serde::to_vec_named(&record).expect("numbers and strings are always encodable")
    }
}

fn record_key(id: ProcessId) -> String {
    format!("{RECORD_PREFIX}{}", id.0)
}

impl Server {
    /// Gives a new process its number and its record, and has the keeper start it.
    pub(super) fn spawn(
        &mut self,
        parent: ProcessId,
        function: &FunctionRef<'_>,
        (args, rest): (&[u8], Vec<u8>),
        setup: &Setup<'_>,
        now: Time,
    ) -> Vec<u8> {
        let limits = self.config.limits;
        let fits = wire::task(function, args, &limits)
            .and_then(|()| wire::rest(args.len(), rest.len(), &limits))
            .and_then(|()| wire::setup(setup))
            .and_then(|()| self.room_for_one_of(self.root_of(parent)))
            .and_then(|()| self.room_to_order(parent));
        if let Err(failure) = fits {
            return self.failed(failure);
        }
        let root = self.root_of(parent);
        marks::reached_if(parent != root, Mark::NestedSpawn);
        self.processes_made += 1;
        let id = ProcessId(self.processes_made);
        let key = self.draw_token();
        let name = match setup.name {
            "" => function.name.to_owned(),
            name => name.to_owned(),
        };
        let ends_with = match setup.to_root {
            true => root,
            false => parent,
        };
        let grace_ns = setup.grace_ns;
        let setup = codec::to_bytes(setup);
        self.parts_bytes += rest.len();
        let process = Process {
            parent,
            root,
            ends_with,
            key,
            grace_ns,
            function: function.name.to_owned(),
            offset: function.offset,
            name: name.clone(),
            args: Some((args.to_vec(), setup.clone())),
            rests: Rests::of_argument(rest),
            state: State::Starting,
            ..Process::program(key, now)
        };
        let record = process.record(id);
        self.processes.insert(id, process);
        if let Some(head) = self.processes.get_mut(&ends_with) {
            head.children.insert(id);
        }
        let before = self.store.revision();
        self.write_record(id, &record, &cause(parent, now));
        self.order(Effect::Spawn {
            process: id,
            key,
            name,
            setup,
        });
        codec::to_bytes(&Reply::Spawned {
            revision: match planted::is(Bug::SpawnedBeforeRecord) {
                true => before,
                false => self.store.revision(),
            },
            process: id,
        })
    }

    pub(super) fn write_record(&mut self, id: ProcessId, record: &[u8], cause: &Cause) {
        let key = record_key(id);
        let written = self.change(cause, Rights::Framework, |transaction| {
            transaction.set(RESERVED, &key, record)
        });
        debug_assert!(
            written.is_ok(),
            "a record is within all limits but the total"
        );
    }

    /// What the process is to run.
    pub(super) fn begin(&mut self, id: ProcessId) -> Vec<u8> {
        let process = self.processes.get_mut(&id);
        let task = process.and_then(|process| {
            let args = process.args.take()?;
            let rest = process.rests.argument.len() as u64;
            Some((args, rest, process.offset, process.function.clone()))
        });
        match task {
            Some(((args, setup), rest, offset, name)) => {
                let setup =
                    codec::decode::<Setup<'_>>(&setup).expect("it was encoded by this server");
                codec::to_bytes(&Reply::Task {
                    function: FunctionRef {
                        offset,
                        name: &name,
                    },
                    args: &args,
                    rest,
                    namespace: setup.namespace,
                    init: setup.init,
                })
            }
            None => self.failed(Failure::UnknownProcess { process: id }),
        }
    }

    /// What came of it, in the process's own words. The first word counts.
    pub(super) fn finish(&mut self, id: ProcessId, finish: &Finish<'_>, rest: Vec<u8>) -> Vec<u8> {
        kinds::said(finish);
        let limits = self.config.limits;
        let finish = match wire::last_words(finish, rest.len(), &limits) {
            Ok(finish) => finish,
            Err(failure) => return self.failed(failure),
        };
        if let Some(process) = self.processes.get_mut(&id)
            && process.finish.is_none()
        {
            process.finish = Some(codec::to_bytes(&finish));
            self.parts_bytes += rest.len();
            process.rests.finish = rest;
        }
        let revision = self.store.revision();
        codec::to_bytes(&Reply::Done { revision })
    }

    /// The reply to a wait for the end of a process, if there is one already.
    pub(super) fn outcome(&self, id: ProcessId) -> Option<Vec<u8>> {
        let Some(process) = self.processes.get(&id) else {
            marks::reached(Mark::JoinUnknown);
            return Some(self.failed(Failure::UnknownProcess { process: id }));
        };
        let outcome = process.outcome.as_ref()?;
        let outcome =
            codec::decode::<WireOutcome<'_>>(outcome).expect("it was encoded by this server");
        Some(codec::to_bytes(&Reply::Ended {
            revision: self.store.revision(),
            outcome,
            rest: process.rests.promised(),
        }))
    }

    /// The reply to a wait for the end of a process, if there is one already and room to keep it.
    /// Else who waits is noted, to be answered later.
    pub(super) fn join(&mut self, id: SessionId, seq: Seq, process: ProcessId) -> Option<Vec<u8>> {
        let reply = self.outcome(process);
        let session = self.sessions.get_mut(&id)?;
        if let Some(reply) = reply {
            if session.has_room_for_answer(reply.len()) {
                marks::reached(Mark::JoinAtOnce);
                return Some(reply);
            }
            marks::reached(Mark::JoinHeld);
            session.held.insert(seq);
        } else if let Some(process) = self.processes.get_mut(&process) {
            process.joiners.insert((id, seq));
        }
        None
    }

    /// The keeper tells what has become of a process.
    pub fn keeper(&mut self, event: FromKeeper<'_>, now: Time) {
        kinds::said(&event);
        match event {
            FromKeeper::Started { process, pid } => self.started(process, pid, now),
            FromKeeper::NotStarted {
                process,
                call,
                errno,
            } => {
                let call = outcomes::call(call);
                let death = Death::new(DeathKind::NotStarted { call, errno });
                self.died(process, death, now);
            }
            FromKeeper::Ended {
                process,
                status,
                why,
                cpu_user_ns,
                cpu_system_ns,
                memory_bytes_max,
                left,
            } => {
                let death = Death {
                    end: DeathKind::Status(status),
                    why,
                    cpu_user_ns,
                    cpu_system_ns,
                    memory_bytes_max,
                    left: Remains::of(&left),
                };
                self.died(process, death, now);
            }
        }
        self.pump();
        self.debug_invariants();
    }

    /// A process runs: the keeper says so, or the process itself, who may be the first to.
    pub(super) fn started(&mut self, id: ProcessId, pid: u32, now: Time) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        if process.state != State::Starting {
            return;
        }
        process.state = State::Running;
        process.pid = Some(pid);
        let record = process.record(id);
        self.write_record(id, &record, &cause(id, now));
    }

    /// A process is dead. If it has a connection, what it wrote last is read first.
    pub(super) fn died(&mut self, id: ProcessId, death: Death, now: Time) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        let is_own = self.config.program_key.is_some() && id == ProcessId::PROGRAM;
        if process.has_ended() || is_own {
            return;
        }
        let unconnected = !process.has_connected && matches!(death.end, DeathKind::Status(_));
        marks::reached_if(unconnected, Mark::DiedUnconnected);
        marks::reached_if(
            matches!(death.end, DeathKind::NotStarted { .. }),
            Mark::NotStarted,
        );
        process.death = Some(death);
        let session = process.session;
        let connection = session
            .and_then(|session| self.sessions.get(&session))
            .and_then(|session| session.connection);
        match connection {
            Some(connection) => {
                marks::reached(Mark::DiedConnected);
                if planted::is(Bug::ReleaseBeforeLastWrite) {
                    self.release(id, None, "its last writes are still unread", now);
                }
                self.hangup(connection);
                self.draining.insert(connection, id);
                self.effects.push_back(Effect::Drain { connection });
            }
            None => {
                marks::reached_if(session.is_some(), Mark::DiedDetached);
                self.bury(id, now);
            }
        }
    }

    /// All that a dead process had still written to this connection has been received.
    pub fn drained(&mut self, connection: ConnectionId, now: Time) {
        self.detach(connection, now);
        if let Some(process) = self.draining.remove(&connection) {
            self.bury(process, now);
        }
        self.pump();
        self.debug_invariants();
    }

    /// Ends a dead process for good: in one revision its keys go and its record tells how it
    /// ended; then those who wait for its end are answered, and its children are ended.
    fn bury(&mut self, id: ProcessId, now: Time) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        let Some(death) = process.death.take() else {
            return;
        };
        let (outcome, text) = outcome_of(process, &death, now);
        let is_seen = !matches!(death.end, DeathKind::Unseen);
        process.used = is_seen.then(|| Used {
            cpu_ns: death.cpu_user_ns.saturating_add(death.cpu_system_ns),
            memory_bytes_max: death.memory_bytes_max,
        });
        process.state = State::Ended;
        process.ended_at = Some(now);
        process.outcome = Some(outcome);
        process.outcome_text = Some(text.clone());
        process.args = None;
        process.finish = None;
        self.parts_bytes -= process.rests.settle();
        let record = process.record(id);
        let children = std::mem::take(&mut process.children);
        let session = process.session.take();
        let ends_with = process.ends_with;
        if let Some(session) = session {
            self.drop_session(session, now);
        }
        if let Some(head) = self.processes.get_mut(&ends_with) {
            head.children.remove(&id);
        }
        let killed = matches!(death.end, DeathKind::Status(status) if status & 0x7f != 0);
        if planted::is(Bug::EndBeforeRelease) && killed {
            self.answer_joiners(id);
        }
        let forgotten = self.make_room(id);
        if planted::is(Bug::ReleasedInTwo) {
            self.release(id, session, &text, now);
        }
        let owned = match planted::is(Bug::ProgramKeepsItsKeys) && ends_with == id {
            true => Vec::new(),
            false => self.store.owned_by(id),
        };
        marks::reached_if(!owned.is_empty(), Mark::EndReleased);
        marks::reached_if(owned.is_empty(), Mark::EndReleasedNothing);
        marks::reached_if(!children.is_empty(), Mark::ChildrenKilled);
        let mut cause = cause(id, now);
        cause.released = Some(Arc::from(text));
        let passed = self.pass_on_all_of(session, now);
        let released = self.change(&cause, Rights::Framework, |transaction| {
            remove_all(transaction, &owned)?;
            passed.write(transaction)?;
            for old in forgotten {
                transaction.remove(RESERVED, &record_key(old))?;
            }
            transaction.set(RESERVED, &record_key(id), &record)
        });
        debug_assert!(released.is_ok(), "the framework's writes are within bounds");
        self.tell_passed(&passed);
        self.answer_joiners(id);
        for child in children {
            let state = self.processes.get(&child).map(|child| child.state);
            marks::reached_if(state == Some(State::Starting), Mark::KilledBeforeStart);
            let why = Why::Parent;
            self.order(Effect::Kill {
                process: child,
                why,
            });
        }
    }

    fn answer_joiners(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        let joiners: Vec<(SessionId, Seq)> =
            std::mem::take(&mut process.joiners).into_iter().collect();
        let Some(body) = self.outcome(id) else {
            return;
        };
        for (id, seq) in joiners {
            let Some(session) = self.sessions.get_mut(&id) else {
                continue;
            };
            if session.has_room_for_answer(body.len()) {
                marks::reached(Mark::JoinLater);
                self.remove_wait(id, seq);
                self.answer(id, seq, &body, Keep::Answer);
            } else {
                marks::reached(Mark::JoinHeld);
                session.held.insert(seq);
            }
        }
    }

    /// Answers the waits that were held back for want of room, as far as there is some now.
    pub(super) fn answer_held(&mut self, id: SessionId) {
        loop {
            let Some(session) = self.sessions.get_mut(&id) else {
                return;
            };
            let Some(seq) = session.held.first().copied() else {
                return;
            };
            let Some(WaitKind::Ended(process)) = session.waits.get(&seq).map(|wait| &wait.kind)
            else {
                session.held.remove(&seq);
                continue;
            };
            let process = *process;
            // The process may be forgotten by now; then that is the answer.
            let Some(body) = self.outcome(process) else {
                return;
            };
            if !self
                .sessions
                .get(&id)
                .is_some_and(|session| session.has_room_for_answer(body.len()))
            {
                return;
            }
            self.remove_wait(id, seq);
            self.answer(id, seq, &body, Keep::Answer);
        }
    }

    /// Releases what a process owns, and the locks of its session, in one revision that says why.
    pub(super) fn release(
        &mut self,
        id: ProcessId,
        session: Option<SessionId>,
        why: &str,
        now: Time,
    ) {
        let owned = self.store.owned_by(id);
        let mut cause = cause(id, now);
        cause.released = Some(Arc::from(why));
        let passed = self.pass_on_all_of(session, now);
        let released = self.change(&cause, Rights::Framework, |transaction| {
            remove_all(transaction, &owned)?;
            passed.write(transaction)
        });
        debug_assert!(released.is_ok(), "removing is within all limits");
        self.tell_passed(&passed);
    }
}

fn remove_all(
    transaction: &mut Transaction<'_>,
    keys: &[(Namespace, Key)],
) -> Result<(), super::super::store::StoreError> {
    for (namespace, key) in keys {
        transaction.remove(namespace, key)?;
    }
    Ok(())
}
