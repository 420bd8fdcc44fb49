//! What follows a change set: those who wait are tested, those who watch are told.

use super::super::codec;
use super::super::frame::Outbox;
use super::super::history::{Cause, History, Logged};
use super::super::ids::{Revision, Seq, SessionId, WatchId};
use super::super::interest::{Interest, ReadSet};
use super::super::limits::{Limits, READ_NAMESPACES_MAX};
use super::super::marks::{self, Mark};
use super::super::message::{FromServer, FunctionRef, Reply};
use super::super::operations::Test;
use super::super::planted::{self, Bug};
use super::super::points::Point;
use super::super::session::{Cursor, Wait, WaitKind};
use super::super::store::{ChangeSet, Found, RESERVED, Store, View};
use super::super::time::Time;
use super::changes::Wanted;
use super::{Commit, Keep, Server, WaitKey, WatchKey, atomic, wire};
use std::collections::BTreeSet;
use std::ops::Bound;

/// Why the service of one watch stopped.
enum Served {
    CaughtUp,
    NoCredit,
    /// The turn is over, or the connection's queue is full.
    Later,
    Compacted,
}

/// What is done for the watches of one session while others wait, in entries of the log.
struct Turn {
    max: usize,
    spent: usize,
}

impl Turn {
    fn is_over(&self) -> bool {
        self.spent >= self.max
    }
}

/// So many bytes that are sent count as one entry more.
const STEP_BYTES: usize = 4096;

impl Server {
    /// A change set has been committed: logs it, wakes watches, tests waits.
    pub(super) fn committed(&mut self, changes: ChangeSet, cause: &Cause) {
        if self.config.record_commits {
            let commit = record(&self.store, &changes, cause);
            self.commits.push_back(commit);
        }
        let revision = changes.revision;
        let mut watches = BTreeSet::new();
        let mut waits = BTreeSet::new();
        // In order, so that each namespace is looked up once, and each interest in it.
        for space in changes.changes.chunk_by(|one, other| one.0 == other.0) {
            let namespace = &space[0].0;
            let keys: Vec<&str> = space.iter().map(|(_, change)| &*change.key).collect();
            self.watch_index.find(namespace, &keys, &mut watches);
            self.wait_index.find(namespace, &keys, &mut waits);
        }
        for namespace in &changes.resets {
            self.watch_index.find_all(namespace, &mut watches);
            self.wait_index.find_all(namespace, &mut waits);
        }
        self.log_changes(changes, cause);
        self.those_besides(&mut watches, &mut waits);
        for (session, watch) in watches {
            self.behind(session, watch, revision);
        }
        for (session, seq) in waits {
            if planted::is(Bug::WaitNotRetested) && self.reads_by_prefix(session, seq) {
                continue;
            }
            self.test(session, seq);
        }
    }

    /// Each change goes into the log that its namespace has.
    fn log_changes(&mut self, mut changes: ChangeSet, cause: &Cause) {
        let records = changes.split_off(RESERVED);
        let mut users = self.history.push(changes, cause);
        if self.points.strike(Point::EvictEarly) {
            users.extend(self.history.drop_early());
        }
        let records = self.records.push(records, cause);
        for dropped in users.iter().chain(&records) {
            self.dropped(dropped);
        }
    }

    /// Who has no part in a change set, and looks all the same.
    fn those_besides(&self, watches: &mut BTreeSet<WatchKey>, waits: &mut BTreeSet<WaitKey>) {
        if self.points.strike(Point::EveryWatchLooks) {
            for session in self.sessions.values() {
                watches.extend(session.watches.keys().map(|watch| (session.id, *watch)));
            }
        }
        if self.points.strike(Point::EveryWaitTested) {
            for session in self.sessions.values() {
                waits.extend(session.waits.keys().map(|seq| (session.id, *seq)));
            }
        }
    }

    fn reads_by_prefix(&self, session: SessionId, seq: Seq) -> bool {
        let wait = self.sessions.get(&session).and_then(|s| s.waits.get(&seq));
        wait.is_some_and(|wait| {
            let mut reads = wait.reads.iter();
            reads.any(|(_, interest)| matches!(interest, Interest::Prefix(_)))
        })
    }

    /// The log has dropped an entry: notes it for the watches it was of interest to, and no others.
    fn dropped(&mut self, entry: &Logged) {
        let mut watches: BTreeSet<WatchKey> = BTreeSet::new();
        for (namespace, space) in &entry.spaces {
            let keys: Vec<&str> = space.changes.iter().map(|change| &*change.key).collect();
            self.watch_index.find(namespace, &keys, &mut watches);
            if space.reset || planted::is(Bug::CompactedForOthers) {
                self.watch_index.find_all(namespace, &mut watches);
            }
        }
        for (id, watch) in watches {
            let Some(session) = self.sessions.get_mut(&id) else {
                continue;
            };
            if let Some(cursor) = session.watches.get_mut(&watch)
                && cursor.start <= entry.revision
            {
                cursor.dropped = entry.revision;
                if cursor.is_compacted() {
                    marks::reached(Mark::WatchCompactedWhileBehind);
                    // To be told, credit or not.
                    session.ready.insert(watch);
                    self.lagging.insert(id);
                }
            }
        }
    }

    /// A revision touches what the watch wants.
    fn behind(&mut self, id: SessionId, watch: WatchId, revision: Revision) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if let Some(cursor) = session.watches.get_mut(&watch)
            && (cursor.next.is_none() || planted::is(Bug::CursorJumpsAhead))
            // A watch may begin in the future.
            && (revision > cursor.start
                || revision == cursor.start && !planted::is(Bug::FutureStartMissed))
        {
            cursor.next = Some(revision);
            session.ready.insert(watch);
            self.lagging.insert(id);
        }
    }

    /// More room for a watch.
    pub(super) fn credit(&mut self, id: SessionId, watch: WatchId, granted: u64) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if let Some(cursor) = session.watches.get_mut(&watch) {
            cursor.granted = cursor.granted.max(granted);
            marks::reached_if(cursor.next.is_some(), Mark::WatchCredited);
            if cursor.next.is_some() && !planted::is(Bug::CreditLost) {
                session.ready.insert(watch);
                self.lagging.insert(id);
            }
        }
    }

    /// The client is told (again) that the watch has begun: from now on it takes updates. False:
    /// there is no such watch any more.
    pub(super) fn announce(&mut self, id: SessionId, watch: WatchId) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else {
            return false;
        };
        let Some(cursor) = session.watches.get_mut(&watch) else {
            return false;
        };
        cursor.announced = true;
        marks::reached(Mark::RetryWatchGoesOn);
        session.ready.insert(watch);
        self.lagging.insert(id);
        true
    }

    /// The log that has the updates of a namespace.
    pub(super) fn log(&self, namespace: &str) -> &History {
        match namespace {
            RESERVED => &self.records,
            _ => &self.history,
        }
    }

    /// Serves the watches that lag, each session in turn, as far as one tick goes.
    pub(super) fn pump(&mut self) {
        let mut looked_at = 0;
        let mut sessions = self.lagging.len();
        while looked_at < self.config.limits.log_entries_per_tick_max && sessions > 0 {
            let behind = (Bound::Excluded(self.pumped_last), Bound::Unbounded);
            let next = self.lagging.range(behind).next().or(self.lagging.first());
            let Some(next) = next.copied() else { break };
            self.pumped_last = next;
            sessions -= 1;
            looked_at += self.pump_session(next);
        }
    }

    /// Serves the watches of one session for one turn; gives how many log entries that was worth.
    pub(super) fn pump_session(&mut self, id: SessionId) -> usize {
        self.lagging.remove(&id);
        let turn = if self.points.strike(Point::LogTurnOfOneEntry) {
            1
        } else {
            self.config.limits.log_entries_per_turn_max
        };
        let mut turn = Turn {
            max: turn,
            spent: 0,
        };
        while self.pump_watch(id, &mut turn).is_some() {}
        turn.spent
    }

    /// Serves the next watch of a session. `None`: there is none, or it is not the time.
    fn pump_watch(&mut self, id: SessionId, turn: &mut Turn) -> Option<()> {
        let limits = &self.config.limits;
        let session = self.sessions.get_mut(&id)?;
        let connection_id = session.connection?;
        let connection = self.connections.get_mut(&connection_id)?;
        let queued = connection.outbox.len();
        let waits = queued > 0 && self.points.strike(Point::UpdatesWait);
        if connection.mute || queued >= limits.updates_queued_bytes_max || waits {
            marks::reached_if(!connection.mute, Mark::WatchWaitsForRoom);
            // `sent` goes on with it.
            return None;
        }
        if turn.is_over() {
            if !session.ready.is_empty() {
                marks::reached(Mark::WatchTurnOver);
                self.lagging.insert(id);
            }
            return None;
        }
        let watch = session.next_ready(self.points.strike(Point::WatchOutOfTurn))?;
        let cursor = session.watches.get_mut(&watch);
        let Some(cursor) = cursor.filter(|cursor| cursor.announced) else {
            session.ready.remove(&watch);
            marks::reached(Mark::WatchUnannounced);
            return Some(());
        };
        let log = match &*cursor.namespace {
            RESERVED => &self.records,
            _ => &self.history,
        };
        let pending = connection.outbox.len();
        let served = serve(watch, cursor, log, &mut connection.outbox, turn, limits);
        if connection.outbox.len() > pending {
            self.ready.insert(connection_id);
        }
        match served {
            Served::CaughtUp | Served::NoCredit => {
                session.ready.remove(&watch);
            }
            Served::Later => {}
            Served::Compacted => self.compacted(id, watch),
        }
        Some(())
    }

    /// Tells a watch that it can't go on, and ends it.
    fn compacted(&mut self, id: SessionId, watch: WatchId) {
        let Some(cursor) = self.remove_watch(id, watch) else {
            return;
        };
        let oldest = self.log(&cursor.namespace).oldest(&cursor.namespace);
        if let Some(connection) = self.sessions.get(&id).and_then(|s| s.connection) {
            self.push(connection, &FromServer::WatchCompacted { watch, oldest });
        }
    }

    /// Ends a watch of a session, if it is there.
    pub(super) fn remove_watch(&mut self, id: SessionId, watch: WatchId) -> Option<Cursor> {
        let session = self.sessions.get_mut(&id)?;
        session.ready.remove(&watch);
        let cursor = session.watches.remove(&watch)?;
        session.interests_bytes -= cursor.bytes();
        self.watch_index
            .remove(&cursor.namespace, &cursor.interest, (id, watch));
        Some(cursor)
    }

    /// Registers a wait, and tests it on the state as it is: the present comes first, then every
    /// later revision.
    pub(super) fn wait(&mut self, id: SessionId, seq: Seq, wait: Wait) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.interests_bytes += wait.bytes();
        session.waits.insert(seq, wait);
        if planted::is(Bug::WaitSkipsPresent) {
            let tested = self.tested(id, seq);
            if let Some((_, reads)) = tested {
                self.reads_again(id, seq, reads);
            }
            return;
        }
        self.test(id, seq);
    }

    /// Tests a wait on the state as it is, and answers it if its condition holds.
    fn test(&mut self, id: SessionId, seq: Seq) {
        match self.tested(id, seq) {
            Some((Some(body), _)) => {
                let later = self.was_tested(id, seq);
                marks::reached_if(!later, Mark::WaitAtOnce);
                marks::reached_if(later, Mark::WaitLater);
                self.remove_wait(id, seq);
                let Some(session) = self.sessions.get(&id) else {
                    return;
                };
                // It can't be put off: the condition may hold now and never again.
                let body = if session.has_room_for_answer(body.len()) {
                    body
                } else {
                    self.no_room(session.answers_bytes() + body.len())
                };
                self.answer(id, seq, &body, Keep::Answer);
            }
            Some((None, reads)) => self.reads_again(id, seq, reads),
            None => {}
        }
    }

    /// Has the condition of a wait been found not to hold?
    fn was_tested(&self, id: SessionId, seq: Seq) -> bool {
        let wait = self
            .sessions
            .get(&id)
            .and_then(|session| session.waits.get(&seq));
        wait.is_some_and(|wait| wait.reads.iter().next().is_some())
    }

    /// What a wait's condition says now (the encoded reply, if it holds or failed), and what it
    /// read for it.
    fn tested(&mut self, id: SessionId, seq: Seq) -> Option<(Option<Vec<u8>>, ReadSet)> {
        let session = self.sessions.get_mut(&id)?;
        let process = session.process;
        let wait = session.waits.get_mut(&seq)?;
        wait.tests += 1;
        let revision = self.store.revision();
        let view = View::new(&self.store);
        let returned = |value: &[u8]| codec::to_bytes(&Reply::Returned { revision, value });
        let log = match &*wait.namespace {
            RESERVED => &self.records,
            _ => &self.history,
        };
        let body = match &mut wait.kind {
            WaitKind::Changed {
                interest,
                after,
                skip_own,
            } => {
                view.note(&wait.namespace, interest.clone());
                let is_first = wait.reads.iter().next().is_none();
                let wanted = Wanted {
                    namespace: &wait.namespace,
                    interest,
                    but_by: skip_own.then_some(process),
                };
                wanted.awaited(log, (after, is_first), revision, &self.config.limits)
            }
            WaitKind::Ended(_) | WaitKind::Lock { .. } | WaitKind::Lease { .. } => None,
            WaitKind::Equal { key, value, digest } => {
                view.note_key(&wait.namespace, key);
                let there = self.store.found(&wait.namespace, key).map(Found::there);
                let equal = |there| self.comparer.is_equal(there, value, *digest);
                there.is_some_and(equal).then(|| returned(&[]))
            }
            WaitKind::Key { key, test, digest } => {
                let there = view.versioned(&wait.namespace, key);
                let value = self.store.found(&wait.namespace, key).map(Found::there);
                let equal = |wanted: &[u8]| Some(self.comparer.is_equal(value?, wanted, *digest));
                let test = codec::decode::<Test<'_>>(test).ok();
                let holds = test.and_then(|test| test.holds(there, equal)) == Some(true);
                holds.then(|| returned(there.map_or(&[], |(value, _)| value)))
            }
            WaitKind::Function { offset, name, args } => {
                let function = FunctionRef {
                    offset: *offset,
                    name,
                };
                let namespace = &wait.namespace;
                let functions = &mut *self.functions;
                let run = (&view, self.config.runs_functions_twice);
                match atomic::condition(functions, namespace, &function, args, run) {
                    Ok(Some(value)) => Some(match wire::result(&value, &self.config.limits) {
                        Ok(value) => returned(value),
                        Err(failure) => codec::to_bytes(&Reply::Failed { revision, failure }),
                    }),
                    Ok(None) => None,
                    Err(failure) => {
                        marks::reached(Mark::WaitFailed);
                        let failure = wire::function_failure(&failure, name);
                        Some(codec::to_bytes(&Reply::Failed { revision, failure }))
                    }
                }
            }
        };
        let reads = view.into_reads();
        let (count, max) = (reads.namespaces(), READ_NAMESPACES_MAX);
        let fits = wire::within("READ_NAMESPACES_MAX", count, max);
        let refused = |failure| codec::to_bytes(&Reply::Failed { revision, failure });
        Some((body.or(fits.err().map(refused)), reads))
    }

    /// Puts a wait into the index under what it has read now.
    fn reads_again(&mut self, id: SessionId, seq: Seq, reads: ReadSet) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Some(wait) = session.waits.get_mut(&seq) else {
            return;
        };
        let noted = wait.reads.iter().next().is_some();
        marks::reached_if(noted, Mark::WaitTestedInVain);
        marks::reached_if(noted && wait.reads != reads, Mark::WaitReadsOther);
        if wait.reads == reads || noted && planted::is(Bug::FirstReadsCount) {
            return;
        }
        let added_first = planted::is(Bug::ReadsAddedThenRemoved);
        if added_first {
            for (namespace, interest) in reads.iter() {
                self.wait_index.insert(namespace, interest, (id, seq));
            }
        }
        for (namespace, interest) in wait.reads.iter() {
            self.wait_index.remove(namespace, interest, (id, seq));
        }
        for (namespace, interest) in reads.iter().filter(|_| !added_first) {
            self.wait_index.insert(namespace, interest, (id, seq));
        }
        wait.reads = reads;
    }

    /// Ends a wait without an answer, if it is there.
    pub(super) fn remove_wait(&mut self, id: SessionId, seq: Seq) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.held.remove(&seq);
        let Some(wait) = session.waits.remove(&seq) else {
            return;
        };
        session.interests_bytes -= wait.bytes();
        for (namespace, interest) in wait.reads.iter() {
            self.wait_index.remove(namespace, interest, (id, seq));
        }
        match wait.kind {
            WaitKind::Ended(process) => {
                if let Some(process) = self.processes.get_mut(&process) {
                    process.joiners.remove(&(id, seq));
                }
            }
            WaitKind::Lock { name, ticket } => self.locks.leave(&name, ticket),
            WaitKind::Lease { lease, .. } => self.end_lease(id, lease),
            WaitKind::Function { .. }
            | WaitKind::Equal { .. }
            | WaitKind::Key { .. }
            | WaitKind::Changed { .. } => {}
        }
    }

    /// The caller no longer waits for this.
    pub(super) fn cancel(&mut self, id: SessionId, seq: Seq, now: Time) {
        let wait = self.sessions.get(&id).and_then(|s| s.waits.get(&seq));
        let (waits, locks) = match wait.map(|wait| &wait.kind) {
            Some(WaitKind::Lock { .. }) => (true, true),
            Some(_) => (true, false),
            None => (false, false),
        };
        marks::reached_if(locks, Mark::LockCancelledQueued);
        marks::reached_if(waits, Mark::WaitCancelled);
        marks::reached_if(!waits, Mark::CancelTooLate);
        self.remove_wait(id, seq);
        self.acknowledge(id, &[seq]);
        self.take_grant_back(id, seq, now);
    }
}

/// Sends what one watch may have, from its cursor on.
fn serve(
    watch: WatchId,
    cursor: &mut Cursor,
    log: &History,
    outbox: &mut Outbox,
    turn: &mut Turn,
    limits: &Limits,
) -> Served {
    let Some(mut next) = cursor.next else {
        return Served::CaughtUp;
    };
    if cursor.is_compacted() {
        if !planted::is(Bug::CursorSkipsWrap) {
            return Served::Compacted;
        }
        cursor.dropped = Revision::ZERO;
        next = log.oldest(&cursor.namespace);
    }
    for entry in log.since(next) {
        cursor.next = Some(entry.revision);
        if turn.is_over() {
            return Served::Later;
        }
        turn.spent += entry.steps(&cursor.namespace);
        let Some(body) = entry.encoded(&cursor.namespace, &cursor.interest) else {
            continue;
        };
        if outbox.len() >= limits.updates_queued_bytes_max {
            return Served::Later;
        }
        let size = body.len() as u64;
        // Invariant: sent <= granted, and one change set always fits the least credit.
        marks::reached_if(cursor.sent + size > cursor.granted, Mark::WatchOutOfCredit);
        if cursor.sent + size > cursor.granted {
            if planted::is(Bug::CreditEdgeSkipped) {
                cursor.next = Some(entry.revision.next());
            }
            return Served::NoCredit;
        }
        cursor.sent += size;
        cursor.last = Some((entry.revision, entry.cause.time));
        turn.spent += body.len() / STEP_BYTES;
        outbox.push(&FromServer::Update { watch, body: &body });
    }
    cursor.next = None;
    Served::CaughtUp
}

fn record(store: &Store, changes: &ChangeSet, cause: &Cause) -> Commit {
    let changed = changes.changes.iter().map(|(namespace, change)| {
        let value = |value: &Option<super::super::store::Value>| value.as_ref().map(|v| v.to_vec());
        (
            namespace.to_string(),
            change.key.to_string(),
            value(&change.before),
            value(&change.after),
        )
    });
    let refilled = changes.resets.iter().flat_map(|namespace| {
        let entries = store.entries(namespace, "", None);
        entries.map(|(key, value)| (namespace.to_string(), key.to_string(), value.to_vec()))
    });
    Commit {
        revision: changes.revision,
        time: cause.time,
        process: cause.process,
        function: cause.function.as_deref().map(str::to_owned),
        released: cause.released.as_deref().map(str::to_owned),
        changes: changed.collect(),
        resets: changes.resets.iter().map(|name| name.to_string()).collect(),
        refilled: refilled.collect(),
    }
}
