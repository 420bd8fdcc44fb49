//! The picture of who waits for what.

use super::super::codec;
use super::super::dump::{Awaited, Dump, Keys, LeftOut, ProcessDump, WaitDump, WatchDump};
use super::super::ids::{LeaseId, ProcessId, Seq, WatchId};
use super::super::interest::{Interest, Key};
use super::super::limits::{
    DUMP_LINES_MAX, DUMP_PROCESSES_MAX, DUMP_READS_MAX, DUMP_TEXT_BYTES_MAX,
};
use super::super::message::Feeds;
use super::super::operations::Test;
use super::super::session::{Cursor, Fed, Session, Wait, WaitKind};
use super::super::time::Time;
use super::super::value;
use super::Server;
use super::processes::Process;
use std::collections::{BTreeMap, BTreeSet};

/// How many more lines there is room for.
struct Room {
    waits: usize,
    watches: usize,
}

impl Server {
    /// Who waits for what since when, as far as the server can see.
    #[must_use]
    pub fn dump(&self, now: Time) -> Dump {
        let mut shown: Vec<(&ProcessId, &Process)> = self
            .processes
            .iter()
            .filter(|(_, process)| !process.is_over())
            .collect();
        let mut dump = Dump {
            answered: true,
            revision: self.store.revision(),
            ..Dump::default()
        };
        if shown.len() > DUMP_PROCESSES_MAX {
            // Those that wait, or do not get to it, tell more than those that run.
            shown.sort_by_cached_key(|(id, process)| (self.is_busy(process), **id));
            dump.left_out.processes = (shown.len() - DUMP_PROCESSES_MAX) as u64;
            shown.truncate(DUMP_PROCESSES_MAX);
            shown.sort_by_key(|(id, _)| **id);
        }
        let mut room = Room {
            waits: DUMP_LINES_MAX,
            watches: DUMP_LINES_MAX,
        };
        for (id, process) in shown {
            let drawn = self.draw(*id, process, now, &mut room, &mut dump.left_out);
            dump.processes.push(drawn);
        }
        dump
    }

    fn session_of(&self, process: &Process) -> Option<&Session> {
        self.sessions.get(&process.session?)
    }

    /// Is it connected, and waits for nothing?
    fn is_busy(&self, process: &Process) -> bool {
        self.session_of(process)
            .is_some_and(|session| session.waits.is_empty() && session.connection.is_some())
    }

    fn draw(
        &self,
        id: ProcessId,
        process: &Process,
        now: Time,
        room: &mut Room,
        left_out: &mut LeftOut,
    ) -> ProcessDump {
        let session = self.session_of(process);
        let detached_at = session.and_then(|session| session.detached_at);
        let connection = session
            .and_then(|session| session.connection)
            .and_then(|connection| self.connections.get(&connection));
        let mut drawn = ProcessDump {
            id,
            parent: process.parent(),
            name: name_of(process),
            function: cut(process.function()),
            pid: process.pid,
            standing: process.standing(detached_at, now),
            waits: Vec::new(),
            watches: Vec::new(),
            queued_bytes: connection.map_or(0, |connection| connection.outbox.len() as u64),
            held_up: connection
                .and_then(|connection| connection.held_up_at)
                .map(|since| now.since(since).into()),
        };
        let Some(session) = session else {
            return drawn;
        };
        for (seq, wait) in session.waits.iter().take(room.waits) {
            drawn.waits.push(WaitDump {
                request: seq.0,
                waited: now.since(wait.since).into(),
                tests: wait.tests,
                awaited: self.awaited(session, *seq, wait),
            });
        }
        let fed = fed_waits(session, now);
        let waits = session.waits.len() + fed.len();
        let rest = room.waits - drawn.waits.len();
        drawn.waits.extend(fed.into_iter().take(rest));
        let own = |(_, cursor): &(&WatchId, &Cursor)| fed_wait(cursor).is_none();
        let watches = session.watches.iter().filter(own).count();
        for (watch, cursor) in session.watches.iter().filter(own).take(room.watches) {
            drawn.watches.push(WatchDump {
                watch: watch.0,
                namespace: cut(&cursor.namespace),
                keys: keys(&cursor.interest),
                function: (cursor.feeds.as_ref())
                    .map_or_else(String::new, |fed| fed.function.clone()),
                last: cursor.last.map(|(revision, _)| revision),
                quiet: now
                    .since(cursor.last.map_or(cursor.since, |(_, written)| written))
                    .into(),
                behind: self.behind_by(cursor),
                credit_bytes: cursor.granted.saturating_sub(cursor.sent),
            });
        }
        room.waits -= drawn.waits.len();
        room.watches -= drawn.watches.len();
        left_out.waits += (waits - drawn.waits.len()) as u64;
        left_out.watches += (watches - drawn.watches.len()) as u64;
        drawn
    }

    fn awaited(&self, session: &Session, seq: Seq, wait: &Wait) -> Awaited {
        match &wait.kind {
            WaitKind::Function { name, .. } => {
                let reads = wait.reads.iter();
                let count = reads.clone().count();
                let shown: Vec<_> = reads
                    .take(DUMP_READS_MAX)
                    .map(|(namespace, interest)| (cut(namespace), keys(interest)))
                    .collect();
                Awaited::Condition {
                    function: cut(name),
                    namespace: cut(&wait.namespace),
                    reads_left_out: (count - shown.len()) as u64,
                    reads: shown,
                }
            }
            WaitKind::Equal { key, value, .. } => Awaited::Equal {
                namespace: cut(&wait.namespace),
                key: cut(key),
                value: cut(&value::describe(value)),
            },
            WaitKind::Key { key, test, .. } => Awaited::Key {
                namespace: cut(&wait.namespace),
                key: cut(key),
                test: codec::decode(test).map_or_else(|_| String::new(), |test| in_words(&test)),
            },
            WaitKind::Lease { lease, function } => self.turn(session, *lease, function),
            WaitKind::Ended(process) => Awaited::End {
                process: *process,
                name: (self.processes.get(process)).map_or_else(String::new, name_of),
                function: self
                    .processes
                    .get(process)
                    .map_or_else(String::new, |process| cut(process.function())),
                held_back: session.held.contains(&seq),
            },
            WaitKind::Changed {
                interest, after, ..
            } => Awaited::Changed {
                namespace: cut(&wait.namespace),
                keys: keys(interest),
                after: *after,
            },
            WaitKind::Lock { name, ticket } => Awaited::Lock {
                name: cut(name),
                holder: self
                    .locks
                    .holder(name)
                    .map_or(session.process, |holder| holder.process),
                ahead: self.locks.ahead(name, *ticket) as u64,
            },
        }
    }

    /// A transaction that waits for its lease.
    fn turn(&self, session: &Session, lease: LeaseId, function: &str) -> Awaited {
        let ticket = self.leases.ticket(session.id, lease);
        let on = ticket.and_then(|ticket| self.leases.on(ticket));
        let shown: Vec<_> = (on.into_iter().flatten())
            .take(DUMP_READS_MAX)
            .map(|(namespace, key)| {
                let keys = key.as_ref().map_or(Keys::All, |key| Keys::Key(cut(key)));
                (cut(namespace), keys)
            })
            .collect();
        let before = ticket.and_then(|ticket| self.leases.before(ticket));
        let owner = before.and_then(|ticket| self.leases.owner(ticket));
        let behind = owner.and_then(|(session, _)| self.sessions.get(&session));
        Awaited::Turn {
            function: function.to_owned(),
            on_left_out: (on.map_or(0, BTreeSet::len) - shown.len()) as u64,
            on: shown,
            behind: behind.map(|session| session.process),
        }
    }

    fn behind_by(&self, cursor: &Cursor) -> u64 {
        let head = self.store.revision();
        cursor
            .next
            .map_or(0, |next| (head.0 + 1).saturating_sub(next.0))
    }
}

/// What a watch is told that it feeds, as it is kept.
pub(super) fn fed(feeds: &Feeds<'_>, now: Time) -> Fed {
    Fed {
        wait: feeds.wait,
        function: cut(feeds.function),
        since: Time(now.0.saturating_sub(feeds.waited_ns)),
    }
}

/// The wait that a watch feeds; one for a `State::when` feeds none, since that goes on.
fn fed_wait(cursor: &Cursor) -> Option<&Fed> {
    cursor.feeds.as_ref().filter(|fed| fed.wait != 0)
}

/// The waits of a session whose conditions are tested where they wait: each is fed by one watch or
/// more, which together see all that it has read.
fn fed_waits(session: &Session, now: Time) -> Vec<WaitDump> {
    let mut waits: BTreeMap<u64, (&Fed, Vec<&Cursor>)> = BTreeMap::new();
    for cursor in session.watches.values() {
        if let Some(fed) = fed_wait(cursor) {
            let (_, cursors) = waits.entry(fed.wait).or_insert((fed, Vec::new()));
            cursors.push(cursor);
        }
    }
    let waits = waits.into_values().map(|(fed, cursors)| {
        let mut reads = Vec::new();
        for cursor in &cursors {
            let namespace = cut(&cursor.namespace);
            match &cursor.interest {
                Interest::Keys(keys) => {
                    let keys = keys.iter().map(|key| Keys::Key(cut(key)));
                    reads.extend(keys.map(|key| (namespace.clone(), key)));
                }
                interest => reads.push((namespace, keys(interest))),
            }
        }
        let reads_left_out = reads.len().saturating_sub(DUMP_READS_MAX) as u64;
        reads.truncate(DUMP_READS_MAX);
        WaitDump {
            request: 0,
            waited: now.since(fed.since).into(),
            tests: 0,
            awaited: Awaited::Condition {
                function: fed.function.clone(),
                namespace: cursors
                    .first()
                    .map_or_else(String::new, |cursor| cut(&cursor.namespace)),
                reads,
                reads_left_out,
            },
        }
    });
    waits.collect()
}

/// The name that a process was given, if it was given one.
fn name_of(process: &Process) -> String {
    match process.name() == process.function() {
        true => String::new(),
        false => cut(process.name()),
    }
}

/// What a key is to be.
fn in_words(test: &Test<'_>) -> String {
    match *test {
        Test::Absent => "absent".to_owned(),
        Test::Present => "there".to_owned(),
        Test::Equal(value) => cut(&value::describe(value)),
        Test::NotEqual(value) => cut(&format!("other than {}", value::describe(value))),
        Test::Revision(revision) => format!("of {revision}"),
        Test::Truthy => "truthy".to_owned(),
        Test::Falsy => "falsy".to_owned(),
        Test::Nil => "nil or absent".to_owned(),
        Test::NotNil => "there and not nil".to_owned(),
    }
}

fn keys(interest: &Interest) -> Keys {
    match interest {
        Interest::Key(key) => Keys::Key(cut(key)),
        Interest::Prefix(_) if interest.covers_all() => Keys::All,
        Interest::Prefix(prefix) => Keys::Prefix(cut(prefix)),
        Interest::Keys(keys) => {
            let (keys, left_out) = listed(keys);
            Keys::These { keys, left_out }
        }
        Interest::AllBut(keys) => {
            let (keys, left_out) = listed(keys);
            Keys::AllBut { keys, left_out }
        }
        Interest::Range(from, until) => Keys::Range(cut(from), until.as_deref().map(cut)),
    }
}

/// The first keys, and how many more there are.
fn listed(keys: &BTreeSet<Key>) -> (Vec<String>, u64) {
    let shown: Vec<String> = keys
        .iter()
        .take(DUMP_READS_MAX)
        .map(|key| cut(key))
        .collect();
    let left_out = (keys.len() - shown.len()) as u64;
    (shown, left_out)
}

/// A text that is short enough for a picture.
pub(super) fn cut(text: &str) -> String {
    match text.floor_char_boundary(DUMP_TEXT_BYTES_MAX) {
        end if end == text.len() => text.to_owned(),
        end => format!("{}...", &text[..end]),
    }
}
