//! The server's machine: connections in, change sets through, replies and updates out.
//!
//! Connections and sessions are here; `requests` does what is asked, `commits` tells those who
//! wait and watch, `processes` knows the tree, `ending` what is done to it.

mod atomic;
mod batch;
mod changes;
mod commits;
mod config;
mod connections;
mod dump;
mod ending;
mod functions;
mod guests;
mod leases;
mod locks;
mod outcomes;
mod parts;
mod past;
mod processes;
mod requests;
mod room;
mod secrets;
mod transactions;
mod twice;
mod usage;
mod wire;

pub use super::dump::RECORD_PREFIX;
pub use config::Config;
pub use functions::{FaultText, FunctionFailure, Functions, NoFunctions};
pub use processes::{Record, Used};
pub use twice::{Ran, Returned};
pub use usage::Usage;

use super::codec;
use super::frame::{self, Outbox};
use super::history::History;
use super::ids::{ConnectionId, ProcessId, Revision, Seq, SessionId, Token, WatchId};
use super::kinds;
use super::limits::{self, FREED_PER_TICK_MAX, Limits};
use super::locks::Locks;
use super::marks::{self, Mark};
use super::message::{FromClient, FromServer, Refusal, Request, ToKeeper, Why};
use super::planted::{self, Bug};
use super::points::{Point, Points};
use super::session::{self, Arrival, Session};
use super::store::Store;
use super::time::Time;
use super::value::Comparer;
use super::watch::Index;
use leases::{Leases, Ticket};
use processes::Process;
use speedy::{Readable, Writable};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What a driver has to do for the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send what [`Server::outbox`] holds as far as it goes without waiting, then close. The
    /// outbox can be had until the next `poll_effect`; `disconnected` need not be called.
    Close {
        /// The connection.
        connection: ConnectionId,
    },
    /// Read all that is there now (until it would block, or the end), give it to `receive`, then
    /// call [`Server::drained`].
    Drain {
        /// The connection.
        connection: ConnectionId,
    },
    /// Have the keeper start a process.
    Spawn {
        /// The process.
        process: ProcessId,
        /// The secret it shows when it connects.
        key: Token,
        /// Its name, for people.
        name: String,
        /// How it is to be started: an encoded [`Setup`](super::setup::Setup).
        setup: Vec<u8>,
    },
    /// Have the keeper ask a process to end, and kill it when the grace is over.
    Stop {
        /// The process.
        process: ProcessId,
        /// How long it may take.
        grace_ns: u64,
    },
    /// Have the keeper kill a process and what is below it.
    Kill {
        /// The process.
        process: ProcessId,
        /// What for.
        why: Why,
    },
}

impl Effect {
    /// What the keeper is to be told by it, if it is one for the keeper.
    ///
    /// # Panics
    /// When the effect is not one that a server gave.
    #[must_use]
    pub fn to_keeper(&self) -> Option<ToKeeper<'_>> {
        Some(match *self {
            Effect::Close { .. } | Effect::Drain { .. } => return None,
            Effect::Spawn {
                process,
                key,
                ref name,
                ref setup,
            } => ToKeeper::Spawn {
                process,
                key,
                name,
                setup: codec::decode(setup).expect("the server has encoded it"),
            },
            Effect::Stop { process, grace_ns } => ToKeeper::Stop { process, grace_ns },
            Effect::Kill { process, why } => ToKeeper::Kill { process, why },
        })
    }
}

/// What [`Server::receive`] made of its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// So many bytes from the start are done with.
    pub consumed: usize,
    /// Whole frames are left and may be given again after the others had their turn. If whole
    /// frames are left though this is false, the connection's outbox is full: try after `sent`.
    pub more: bool,
}

/// Namespace, key, value before, value after.
pub type CommitChange = (String, String, Option<Vec<u8>>, Option<Vec<u8>>);

/// A change set, as a checker sees it.
#[derive(Debug, Clone, PartialEq, Eq, Readable, Writable)]
pub struct Commit {
    /// Its revision.
    pub revision: Revision,
    /// When it was applied.
    pub time: Time,
    /// Who asked.
    pub process: ProcessId,
    /// The atomic function, if there was one.
    pub function: Option<String>,
    /// How the process ended whose keys this releases.
    pub released: Option<String>,
    /// What it changed, in order of namespace and key.
    pub changes: Vec<CommitChange>,
    /// Namespaces that were replaced whole.
    pub resets: Vec<String>,
    /// What these hold now: namespace, key and value.
    pub refilled: Vec<(String, String, Vec<u8>)>,
}

#[derive(Debug, Default)]
struct Connection {
    outbox: Outbox,
    session: Option<SessionId>,
    /// It is the link of this program's keeper.
    keeps: Option<ProcessId>,
    /// Nobody reads its output any more: it is dropped, and input does not wait for room.
    mute: bool,
    /// It is to be closed as soon as the driver hears of it.
    closed: bool,
    /// There is a timer for its hello, or, if it is a keeper's link, for its program's, at this time.
    hello_by: Option<Time>,
    /// Since when its requests are not read, because its outbox is full.
    held_up_at: Option<Time>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The connection has not said hello, or the program of this keeper has not.
    Hello(ConnectionId),
    /// The session has no connection.
    Grace(SessionId),
    /// The lease is over.
    Lease(Ticket),
}

/// Is a reply kept until it is acknowledged, and where is it counted?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// The request may be done again.
    Not,
    Reply,
    /// It is the answer to a wait.
    Answer,
}

type WaitKey = (SessionId, Seq);
type WatchKey = (SessionId, WatchId);

/// See the module's docs, and the grammar in [`super`].
pub struct Server {
    config: Config,
    points: Points,
    functions: Box<dyn Functions>,
    store: Store,
    /// Updates of the users' namespaces.
    history: History,
    /// Updates of the framework's own records.
    records: History,
    connections: BTreeMap<ConnectionId, Connection>,
    sessions: BTreeMap<SessionId, Session>,
    processes: BTreeMap<ProcessId, Process>,
    /// The links of the keepers of programs that have come with one.
    links: BTreeMap<ProcessId, ConnectionId>,
    /// Ended processes that still have a record, oldest first.
    ended: Vec<ProcessId>,
    /// Connections of dead processes that are being read to their end. The connection's session
    /// does not tell whose it was: what is read may end it.
    draining: BTreeMap<ConnectionId, ProcessId>,
    /// Invariant: the sum of the results of `ended`.
    results_bytes: usize,
    /// Invariant: the sum of the parts that no request has named, and of the rests that processes
    /// have not fetched or have not ended with.
    parts_bytes: usize,
    locks: Locks,
    watch_index: Index<WatchKey>,
    wait_index: Index<WaitKey>,
    leases: Leases,
    comparer: Comparer,
    /// A request was served that took so long that the others should have their turn.
    turn_ends: bool,
    timers: BTreeSet<(Time, Timer)>,
    /// Connections that have not said hello, oldest first. Invariant: those with a `hello_by`
    /// that are no keeper's link.
    silent: BTreeSet<ConnectionId>,
    /// Sessions with watches that lag, have credit, and were not served to the end.
    lagging: BTreeSet<SessionId>,
    /// The one served last: the next turn begins behind it.
    pumped_last: SessionId,
    ready: BTreeSet<ConnectionId>,
    effects: VecDeque<Effect>,
    /// The connection whose `Close` was polled last, for its last output.
    closing: Option<(ConnectionId, Outbox)>,
    commits: VecDeque<Commit>,
    connections_made: u64,
    sessions_made: u64,
    processes_made: u64,
    tokens_drawn: u64,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("revision", &self.store.revision())
            .field("connections", &self.connections.len())
            .field("sessions", &self.sessions.len())
            .field("processes", &self.processes.len())
            .finish_non_exhaustive()
    }
}

impl Server {
    /// A server with an empty state, and one process, the program, or none if it stands alone.
    ///
    /// # Panics
    /// When the limits do not fit each other.
    #[must_use]
    pub fn new(config: Config, functions: Box<dyn Functions>, now: Time) -> Server {
        let limits = &config.limits;
        if let Err(unfit) = limits.check() {
            panic!("{unfit}");
        }
        let history = History::new(limits.history_entries_max, limits.history_bytes_max);
        let records = History::new(limits.history_entries_max, limits.history_bytes_max);
        let mut server = Server {
            functions,
            store: Store::new(*limits),
            history,
            records,
            connections: BTreeMap::new(),
            sessions: BTreeMap::new(),
            processes: BTreeMap::new(),
            links: BTreeMap::new(),
            ended: Vec::new(),
            draining: BTreeMap::new(),
            results_bytes: 0,
            parts_bytes: 0,
            locks: Locks::default(),
            watch_index: Index::default(),
            wait_index: Index::default(),
            leases: Leases::default(),
            comparer: Comparer::new(
                secrets::of_digests(config.seed),
                config.limits.change_set_bytes_max,
            ),
            turn_ends: false,
            timers: BTreeSet::new(),
            silent: BTreeSet::new(),
            lagging: BTreeSet::new(),
            pumped_last: SessionId(0),
            ready: BTreeSet::new(),
            effects: VecDeque::new(),
            closing: None,
            commits: VecDeque::new(),
            connections_made: 0,
            sessions_made: 0,
            processes_made: u64::from(config.program_key.is_some()),
            tokens_drawn: 0,
            points: Points::default(),
            config,
        };
        if let Some(key) = server.config.program_key {
            let program = Process::program(key, now);
            server.processes.insert(ProcessId::PROGRAM, program);
        }
        server
    }

    /// Where the simulator lets it do what is rare.
    pub fn set_points(&mut self, points: Points) {
        self.points = points;
    }

    /// A connection has been accepted.
    pub fn connected(&mut self, now: Time) -> ConnectionId {
        self.connections_made += 1;
        let id = ConnectionId(self.connections_made);
        if self.connections.len() >= self.config.limits.connections_max {
            self.connections.insert(id, Connection::default());
            let limit = "CONNECTIONS_MAX";
            self.refuse(id, Refusal::Limit { limit }, now);
        } else {
            self.expect_hello(id, now);
        }
        id
    }

    /// Takes whole frames from the start of `input` and does what they say, as many as one turn
    /// allows.
    pub fn receive(&mut self, id: ConnectionId, input: &[u8], now: Time) -> Received {
        let mut consumed = 0;
        let mut frames = 0;
        let compared_before = self.comparer.gone_over();
        self.turn_ends = false;
        let more = loop {
            let open = self.connections.get_mut(&id).filter(|c| !c.closed);
            let Some(connection) = open else {
                // It has been refused: the rest of what it says does not matter.
                marks::reached_if(!input.is_empty(), Mark::AfterRefusal);
                consumed = input.len();
                break false;
            };
            let waits_for_room = !connection.mute && connection.keeps.is_none();
            if waits_for_room && is_full(&connection.outbox, &self.config.limits, &self.points) {
                connection.held_up_at.get_or_insert(now);
                marks::reached(Mark::OutboxFull);
                break false;
            }
            connection.held_up_at = None;
            match frame::split(&input[consumed..]) {
                Ok(Some(_)) if frames == self.config.limits.frames_per_turn_max => {
                    marks::reached(Mark::TurnOver);
                    break true;
                }
                Ok(Some(_)) if self.turn_ends => break true,
                Ok(Some(_)) if self.has_compared_enough(compared_before) => break true,
                Ok(Some(_)) if frames > 0 && self.points.strike(Point::TurnOfOneFrame) => {
                    break true;
                }
                Ok(Some((payload, length))) => {
                    consumed += length;
                    frames += 1;
                    self.frame(id, payload, now);
                }
                Ok(None) => {
                    let dead = self.draining.contains_key(&id);
                    let half = consumed < input.len();
                    marks::reached_if(half && !dead, Mark::FrameInPieces);
                    marks::reached_if(half && dead, Mark::LastHalfFrame);
                    marks::reached_if(frames > 0 && dead, Mark::LastWrites);
                    break false;
                }
                Err(malformed) => {
                    self.violation(id, &malformed.0, now);
                    consumed = input.len();
                    break false;
                }
            }
        };
        self.give_leases(now);
        self.pump();
        self.debug_invariants();
        Received { consumed, more }
    }

    /// Were so many values compared in this turn that the others should have theirs?
    fn has_compared_enough(&self, before: usize) -> bool {
        let compared = self.comparer.gone_over().wrapping_sub(before);
        let enough = compared >= limits::COMPARED_PER_TURN_BYTES_MAX;
        marks::reached_if(enough, Mark::ComparedEnough);
        enough
    }

    /// The peer can read no more: its output is dropped from now on, and its input no longer waits
    /// for room. A driver says so at the end of a stream, before it gives the last of the input.
    pub fn hangup(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.mute = true;
            connection.outbox.clear();
        }
    }

    /// The connection has ended or failed. Its session lives on without one.
    pub fn disconnected(&mut self, id: ConnectionId, now: Time) {
        self.detach(id, now);
    }

    /// Something must be sent on this connection; each is named once per piece of output.
    pub fn poll_ready(&mut self) -> Option<ConnectionId> {
        self.ready.pop_first()
    }

    /// What is to be sent on this connection.
    #[must_use]
    pub fn outbox(&self, id: ConnectionId) -> &[u8] {
        if let Some(connection) = self.connections.get(&id) {
            return connection.outbox.pending();
        }
        match &self.closing {
            Some((closing, outbox)) if *closing == id => outbox.pending(),
            _ => &[],
        }
    }

    /// The first `count` bytes of the outbox have been sent.
    ///
    /// # Panics
    /// When there were fewer.
    pub fn sent(&mut self, id: ConnectionId, count: usize, _now: Time) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.outbox.advance(count);
            if let Some(session) = connection.session {
                self.pump_session(session);
            }
        }
    }

    /// What a driver has to do next, if anything.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        let effect = self.effects.pop_front()?;
        if let Effect::Close { connection } = effect {
            let closed = self.connections.remove(&connection);
            self.closing = closed.map(|closed| (connection, closed.outbox));
            self.ready.remove(&connection);
        }
        Some(effect)
    }

    /// The next change set, if `record_commits` is on.
    pub fn poll_commit(&mut self) -> Option<Commit> {
        self.commits.pop_front()
    }

    /// When [`tick`](Server::tick) is wanted. A time that has passed means at once.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        if !self.lagging.is_empty() || self.leases.are_free() || self.store.has_graves() {
            return Some(Time::default());
        }
        self.timers.first().map(|(time, _)| *time)
    }

    /// Time has passed: goes on with what was put off, ends what has taken too long. Does nothing
    /// when there is nothing.
    pub fn tick(&mut self, now: Time) {
        self.pump();
        self.free_some();
        while let Some((time, timer)) = self.timers.first().copied() {
            if time > now {
                break;
            }
            self.timers.pop_first();
            match timer {
                Timer::Hello(id) => {
                    let silent = self.connections.get(&id);
                    if silent.is_some_and(|connection| connection.session.is_none()) {
                        let is_link = silent.is_some_and(|connection| connection.keeps.is_some());
                        marks::reached_if(!is_link, Mark::HelloTooLate);
                        marks::reached_if(is_link, Mark::ProgramTooLate);
                        self.refuse(id, Refusal::Late, now);
                    }
                }
                Timer::Grace(id) => self.grace_ended(id, time, now),
                Timer::Lease(ticket) => self.lease_is_over(ticket),
            }
        }
        self.give_leases(now);
        self.debug_invariants();
    }

    /// Frees some of what was emptied as a whole.
    fn free_some(&mut self) {
        if self.store.has_graves() && !self.points.strike(Point::FreeLater) {
            marks::reached(Mark::Freed);
            self.store.free_some(FREED_PER_TICK_MAX);
        }
    }

    /// One frame of a connection.
    fn frame(&mut self, id: ConnectionId, payload: &[u8], now: Time) {
        if let Some(root) = self.connections.get(&id).and_then(|c| c.keeps) {
            return self.keeper_said(id, root, payload, now);
        }
        let message = match codec::decode::<FromClient<'_>>(payload) {
            Ok(message) => message,
            Err(malformed) => {
                match wire::version_of_hello(payload) {
                    Some(version) if version != limits::PROTOCOL_VERSION => {
                        self.refuse_version(id, now);
                    }
                    _ => self.violation(id, &malformed.0, now),
                }
                return;
            }
        };
        kinds::said(&message);
        let session = self.connections.get(&id).and_then(|c| c.session);
        match (message, session) {
            (FromClient::Hello(hello), None) => self.hello(id, &hello, now),
            (FromClient::Keeper(hello), None) => self.adopt(id, &hello, now),
            (FromClient::Hello(_) | FromClient::Keeper(_), Some(_)) => {
                self.violation(id, "a second hello", now)
            }
            (_, None) => self.violation(id, "the first message is no hello", now),
            (FromClient::Request { seq, acks, body }, Some(session)) => {
                self.acknowledge(session, &acks);
                self.request(id, session, seq, &body, now);
            }
            (FromClient::Ack { acks }, Some(session)) => self.acknowledge(session, &acks),
            (FromClient::Cancel { seq }, Some(session)) => self.cancel(session, seq, now),
            (FromClient::Credit { watch, granted }, Some(session)) => {
                self.credit(session, watch, granted);
            }
            (FromClient::Goodbye, Some(session)) => self.goodbye(session, now),
        }
    }

    fn request(
        &mut self,
        connection: ConnectionId,
        id: SessionId,
        seq: Seq,
        request: &Request<'_>,
        now: Time,
    ) {
        let is_read = session::is_read(request);
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        match session.arrive(seq, is_read) {
            Arrival::New => {
                if let Some(body) = self.execute(id, seq, request, now) {
                    let keep = match request {
                        Request::Wait { .. } => Keep::Answer,
                        _ if is_read => Keep::Not,
                        _ => Keep::Reply,
                    };
                    self.answer(id, seq, &body, keep);
                }
            }
            Arrival::Answered(frame) => {
                marks::reached(Mark::RetryAnswered);
                let mut others = self.sessions.values().filter(|other| other.id != id);
                match others.find_map(Session::last_reply) {
                    Some(other) if planted::is(Bug::ReplyOfAnotherSession) => {
                        let other = other.clone();
                        self.answer_with(connection, seq, &other);
                    }
                    _ => self.push_encoded(connection, &frame),
                }
                if let Request::Watch {
                    watch, namespace, ..
                } = request
                    && !planted::is(Bug::WatchNotAnnouncedAgain)
                    && !self.announce(id, *watch)
                {
                    marks::reached(Mark::RetryWatchGone);
                    // It was told that the watch had begun and then its end, and both were lost.
                    let oldest = self.log(namespace).oldest(namespace);
                    let watch = *watch;
                    self.push(connection, &FromServer::WatchCompacted { watch, oldest });
                }
            }
            Arrival::Pending => marks::reached(Mark::RetryInProgress),
            Arrival::Violation(what) => self.violation(connection, what, now),
        }
    }

    /// For a planted bug alone: a kept reply under another number.
    fn answer_with(&mut self, connection: ConnectionId, seq: Seq, kept: &[u8]) {
        if let Ok(FromServer::Reply { body, .. }) = codec::decode(&kept[frame::PREFIX_BYTES..]) {
            self.push(connection, &FromServer::Reply { seq, body });
        }
    }

    fn acknowledge(&mut self, id: SessionId, acks: &[Seq]) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.acknowledge(acks);
            self.answer_held(id);
        }
    }

    /// Sends the reply to a request, and keeps it if the request must not be applied again.
    fn answer(&mut self, id: SessionId, seq: Seq, body: &[u8], keep: Keep) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let connection = session.connection;
        let mut frame = Vec::with_capacity(body.len() + 32);
        frame::append(&FromServer::Reply { seq, body }, &mut frame);
        if let Some(connection) = connection {
            self.push_encoded(connection, &frame);
        }
        if keep != Keep::Not
            && let Some(session) = self.sessions.get_mut(&id)
        {
            session.retain(seq, frame, keep == Keep::Answer);
        }
    }

    fn push(&mut self, id: ConnectionId, message: &FromServer<'_>) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !connection.mute
        {
            connection.outbox.push(message);
            self.ready.insert(id);
        }
    }

    fn push_encoded(&mut self, id: ConnectionId, frame: &[u8]) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !connection.mute
        {
            connection.outbox.push_encoded(frame);
            self.ready.insert(id);
        }
    }

    fn draw_token(&mut self) -> Token {
        self.tokens_drawn += 1;
        Token(secrets::draw(self.config.seed, self.tokens_drawn))
    }

    fn debug_invariants(&self) {
        if cfg!(debug_assertions) && cfg!(test) {
            self.invariants();
        }
    }

    /// Checks what must always hold: in tests and debug builds.
    ///
    /// # Panics
    /// When it does not.
    pub fn invariants(&self) {
        self.store.invariants();
        self.locks.invariants();
        let usage = self.usage();
        assert_eq!(self.parts_bytes, usage.parts_bytes);
        assert_eq!(self.results_bytes, usage.results_bytes);
        for session in self.sessions.values() {
            session.invariants();
            if let Some(id) = session.connection {
                assert_eq!(self.connections[&id].session, Some(session.id));
            }
        }
        for (id, connection) in &self.connections {
            let silent = self.silent.contains(id);
            let hurries = connection.hello_by.is_some() && connection.keeps.is_none();
            assert_eq!(hurries, silent);
            if let Some(session) = connection.session {
                assert_eq!(self.sessions[&session].connection, Some(*id));
            }
            if let Some(root) = connection.keeps {
                assert_eq!(self.links.get(&root), Some(id));
            }
        }
    }
}

/// Is there no room in an outbox for more replies? `sent` makes some.
fn is_full(outbox: &Outbox, limits: &Limits, points: &Points) -> bool {
    outbox.len() >= limits.outbox_bytes_max
        || (!outbox.is_empty() && points.strike(Point::OutboxFull))
}

#[cfg(test)]
mod tests;
