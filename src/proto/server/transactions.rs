//! Transactions that have run in their callers: whether what they have read still stands, and what
//! they write; and the leases that they queue for.

use super::super::codec;
use super::super::ids::{LeaseId, ProcessId, Revision, Seq, SessionId};
use super::super::interest::{Interest, ReadSet};
use super::super::kinds;
use super::super::limits::{
    FUNCTION_NAME_BYTES_MAX, KEY_BYTES_MAX, LEASE_STEPS_PER_TURN_MAX, LEASED_KEYS_MAX,
    NAMESPACE_BYTES_MAX, READ_NAMESPACES_MAX, READS_MAX,
};
use super::super::marks::{self, Mark};
use super::super::message::{Failure, Reply};
use super::super::operations::{Leased, Operation, Part, Read};
use super::super::planted::{self, Bug};
use super::super::session::{Wait, WaitKind};
use super::super::store::Rights;
use super::super::time::Time;
use super::leases::Ticket;
use super::requests::{cause, interests_fit};
use super::{Keep, Server, Timer, batch, dump, wire};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A transaction that wants to commit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) function: &'a str,
    pub(super) at: Revision,
    pub(super) parts: &'a [Part<'a>],
    pub(super) lease: Option<LeaseId>,
}

impl Server {
    pub(super) fn commit(
        &mut self,
        session: SessionId,
        process: ProcessId,
        asked: Asked<'_>,
        now: Time,
    ) -> Vec<u8> {
        let own = asked
            .lease
            .and_then(|lease| self.leases.ticket(session, lease));
        if let Err(failure) = self.check(&asked) {
            return self.failed(failure);
        }
        let barred = self.is_barred(asked.parts, own);
        if barred || !self.still_stands(asked.at, asked.parts) {
            let held = own.is_some_and(|own| self.leases.is_held(own));
            marks::reached_if(barred, Mark::CommitBarred);
            marks::reached_if(!barred && held, Mark::CommitConflictLeased);
            marks::reached_if(!barred && !held, Mark::CommitConflict);
            return self.failed(Failure::Conflict { barred, held });
        }
        let is_over = asked.lease.is_some() && own.is_none();
        marks::reached_if(is_over && !asked.parts.is_empty(), Mark::CommitLeaseOver);
        let reply = self.write_all(process, asked, now);
        if let Some(own) = own {
            marks::reached_if(asked.parts.is_empty(), Mark::LeaseGivenBack);
            self.over(own);
        }
        reply
    }

    /// What is wrong with it whatever the state is.
    fn check(&self, asked: &Asked<'_>) -> Result<(), Failure<'static>> {
        let name = asked.function.len();
        wire::within("FUNCTION_NAME_BYTES_MAX", name, FUNCTION_NAME_BYTES_MAX)?;
        if asked.at > self.store.revision() {
            let asked = asked.at;
            return Err(Failure::Future { asked });
        }
        let reading = asked.parts.iter().filter(|part| !part.reads.is_empty());
        let (namespaces, max) = (reading.clone().count(), READ_NAMESPACES_MAX);
        wire::within("READ_NAMESPACES_MAX", namespaces, max)?;
        // Each namespace may count as read whole beside those that do not.
        let reads = reading.map(|part| part.reads.len()).sum();
        wire::within("READS_MAX", reads, READS_MAX + READ_NAMESPACES_MAX)?;
        let writes = asked.parts.iter().map(|part| part.writes.len()).sum();
        let max = self.config.limits.change_set_changes_max;
        wire::within("CHANGE_SET_CHANGES_MAX", writes, max)
    }

    /// Does somebody else hold a lease on what is written?
    fn is_barred(&self, parts: &[Part<'_>], own: Option<Ticket>) -> bool {
        if planted::is(Bug::LeaseBarsNobody) {
            return false;
        }
        let written = parts.iter().flat_map(|part| {
            let writes = part.writes.iter();
            writes.map(|write| (part.namespace, write.key()))
        });
        // Each once: to ask for a whole namespace takes as long as there are leases on it.
        let written: BTreeSet<_> = written.collect();
        (written.into_iter()).any(|(namespace, key)| self.leases.bars(namespace, key, own))
    }

    /// Is all that was read as it was at that revision?
    fn still_stands(&self, at: Revision, parts: &[Part<'_>]) -> bool {
        let mut steps = self.config.limits.validation_steps_max;
        parts.iter().all(|part| {
            let mut spans = Vec::new();
            for read in &part.reads {
                kinds::said(read);
                match read {
                    Read::Key(key) if !self.key_stands(part.namespace, key, at) => return false,
                    Read::Key(_) => {}
                    Read::Span(span) => spans.push(Interest::of_span(*span)),
                }
            }
            self.spans_stand(part.namespace, &spans, at, &mut steps)
        })
    }

    fn key_stands(&self, namespace: &str, key: &str, at: Revision) -> bool {
        if let Some(there) = self.store.found(namespace, key) {
            marks::reached_if(there.revision > at, Mark::ConflictOfKey);
            return there.revision <= at;
        }
        let log = self.log(namespace);
        let is_known = log.readable_from(namespace) <= at;
        let stands = is_known && !log.changed_after(namespace, key, at);
        marks::reached_if(!is_known, Mark::ConflictOfLostAbsence);
        marks::reached_if(is_known && !stands, Mark::ConflictOfAbsence);
        stands || planted::is(Bug::AbsenceNotValidated)
    }

    fn spans_stand(
        &self,
        namespace: &str,
        spans: &[Interest],
        at: Revision,
        steps: &mut usize,
    ) -> bool {
        let log = self.log(namespace);
        if spans.is_empty() || planted::is(Bug::SpanNotValidated) {
            return true;
        }
        if log.readable_from(namespace) > at {
            marks::reached(Mark::ConflictOfLostSpan);
            return false;
        }
        if !log.touched_after(namespace, at) {
            marks::reached(Mark::SpanUntouched);
            return true;
        }
        // An entry that is passed over costs a step as well.
        let spaces = (log.since(at.next())).map(|entry| entry.space(namespace));
        let spaces = spaces.map(|space| space.map_or(&[][..], |space| &space.changes));
        for changes in spaces {
            let cost = 1 + changes.len() * spans.len();
            if cost > *steps {
                marks::reached(Mark::ValidationGivenUp);
                return false;
            }
            *steps -= cost;
            let mut keys = changes.iter().map(|change| &*change.key);
            if keys.any(|key| spans.iter().any(|span| span.covers(key))) {
                marks::reached(Mark::ConflictOfSpan);
                return false;
            }
        }
        marks::reached(Mark::SpanStands);
        true
    }

    /// Writes it all, at one revision.
    fn write_all(&mut self, process: ProcessId, asked: Asked<'_>, now: Time) -> Vec<u8> {
        let limits = self.config.limits;
        let mut transaction = self.store.transaction(process, Rights::User);
        let mut comparing = batch::Comparing::new(&mut self.comparer);
        for part in asked.parts {
            part.writes.iter().for_each(kinds::said);
            let mut writes = &part.writes[..];
            if let [most @ .., _] = writes
                && !most.is_empty()
                && planted::is(Bug::CommitInPart)
            {
                writes = most;
            }
            let namespace = part.namespace;
            let done = batch::all(&mut transaction, namespace, writes, &limits, &mut comparing);
            if let Err(refused) = done {
                drop(transaction);
                return self.refused(&refused);
            }
        }
        let changes = match transaction.commit() {
            Ok(changes) => changes,
            Err(error) => return self.failed(wire::store_failure(&error)),
        };
        if let Some(changes) = changes {
            marks::reached_if(asked.parts.len() > 1, Mark::CommitOfSeveral);
            let mut cause = cause(process, now);
            cause.function = Some(Arc::from(asked.function));
            self.committed(changes, &cause);
        }
        codec::to_bytes(&Reply::Written {
            revision: self.store.revision(),
            before: None,
        })
    }

    pub(super) fn begin_lease(
        &mut self,
        id: SessionId,
        seq: Seq,
        (lease, function): (LeaseId, &str),
        on: &[Leased<'_>],
        now: Time,
    ) -> Option<Vec<u8>> {
        let function = dump::cut(function);
        let bytes = lease_bytes(on) + function.len();
        if let Err(failure) = self.check_lease(id, on, bytes) {
            return Some(self.failed(failure));
        }
        let session = self.sessions.get_mut(&id)?;
        if self.leases.ticket(id, lease).is_some() {
            let what = "the lease has been asked for";
            return Some(self.failed(Failure::Malformed { what }));
        }
        let namespace = on.first().map_or("", |(namespace, _)| namespace);
        let wait = Wait {
            namespace: Arc::from(namespace),
            kind: WaitKind::Lease {
                lease,
                function: function.into(),
            },
            reads: ReadSet::default(),
            tests: 0,
            since: now,
        };
        session.waits.insert(seq, wait);
        session.leases.insert(lease, bytes);
        session.interests_bytes += bytes;
        let is_on_all = on.iter().any(|(_, key)| key.is_none());
        marks::reached_if(is_on_all, Mark::LeaseOnAll);
        self.leases.queue(id, lease, on);
        None
    }

    fn check_lease(
        &self,
        id: SessionId,
        on: &[Leased<'_>],
        bytes: usize,
    ) -> Result<(), Failure<'static>> {
        if on.is_empty() {
            let what = "a lease on nothing";
            return Err(Failure::Malformed { what });
        }
        let session = self.sessions.get(&id);
        let own = session.map_or(0, |session| session.leases.len()) + 1;
        let max = self.config.limits.leases_per_session_max;
        wire::within("LEASES_PER_SESSION_MAX", own, max)?;
        let count = self.leases.len() + 1;
        wire::within("LEASES_MAX", count, self.config.limits.leases_max)?;
        wire::within("LEASED_KEYS_MAX", on.len(), LEASED_KEYS_MAX)?;
        session.map_or(Ok(()), |session| {
            interests_fit(session, bytes, &self.config.limits)
        })?;
        on.iter().try_for_each(|(namespace, key)| {
            let key = key.unwrap_or_default();
            wire::within("NAMESPACE_BYTES_MAX", namespace.len(), NAMESPACE_BYTES_MAX)?;
            wire::within("KEY_BYTES_MAX", key.len(), KEY_BYTES_MAX)
        })
    }

    /// Gives the leases whose turn has come, as many as one turn of the server allows.
    pub(super) fn give_leases(&mut self, now: Time) {
        let until = now.after(self.config.lease_time);
        let mut steps = LEASE_STEPS_PER_TURN_MAX;
        while let Some((ticket, id, lease)) = self.leases.give(until, &mut steps) {
            self.timers.insert((until, Timer::Lease(ticket)));
            let Some(session) = self.sessions.get_mut(&id) else {
                continue;
            };
            let is_its =
                |wait: &Wait| matches!(wait.kind, WaitKind::Lease { lease: id, .. } if id == lease);
            let seq = session.waits.iter().find(|(_, wait)| is_its(wait));
            if let Some((seq, wait)) = seq.map(|(seq, wait)| (*seq, wait)) {
                marks::reached_if(wait.since == now, Mark::LeaseAtOnce);
                marks::reached_if(wait.since != now, Mark::LeaseLater);
                session.waits.remove(&seq);
                let revision = self.store.revision();
                let body = codec::to_bytes(&Reply::Done { revision });
                self.answer(id, seq, &body, Keep::Answer);
            }
        }
    }

    /// The time of a lease is over.
    pub(super) fn lease_is_over(&mut self, ticket: Ticket) {
        marks::reached(Mark::LeaseTimedOut);
        self.over(ticket);
    }

    /// A lease is queued for or held no more, if it was.
    pub(super) fn end_lease(&mut self, session: SessionId, lease: LeaseId) {
        if let Some(ticket) = self.leases.ticket(session, lease) {
            let is_held = self.leases.is_held(ticket);
            marks::reached_if(!is_held, Mark::LeaseGivenUp);
            marks::reached_if(is_held, Mark::LeaseGivenUpTooLate);
            self.over(ticket);
        }
    }

    pub(super) fn end_leases_of(&mut self, session: SessionId) {
        for ticket in self.leases.of(session) {
            let is_held = self.leases.is_held(ticket);
            marks::reached_if(is_held, Mark::LeaseEndsWithSession);
            marks::reached_if(!is_held, Mark::LeaseQueueLeftBySession);
            if planted::is(Bug::LeaseOutlivesSession) {
                self.timers.retain(|(_, t)| *t != Timer::Lease(ticket));
                continue;
            }
            self.over(ticket);
        }
    }

    fn over(&mut self, ticket: Ticket) {
        if let Some((id, lease)) = self.leases.owner(ticket)
            && let Some(session) = self.sessions.get_mut(&id)
        {
            session.interests_bytes -= session.leases.remove(&lease).unwrap_or(0);
        }
        if let Some(until) = self.leases.end(ticket) {
            self.timers.remove(&(until, Timer::Lease(ticket)));
        }
    }
}

/// What it takes to keep a lease, roughly.
fn lease_bytes(on: &[Leased<'_>]) -> usize {
    // Places in a few sets.
    const OVERHEAD_BYTES: usize = 256;
    let bytes = |(namespace, key): &Leased<'_>| namespace.len() + key.map_or(0, str::len);
    on.iter().map(|on| OVERHEAD_BYTES + bytes(on)).sum()
}

impl<'a> Operation<'a> {
    /// The key that it writes; none: any.
    fn key(&self) -> Option<&'a str> {
        match *self {
            Operation::Require { key, .. }
            | Operation::Get { key }
            | Operation::Set { key, .. }
            | Operation::Remove { key }
            | Operation::Take { key }
            | Operation::Add { key, .. } => Some(key),
            Operation::Pop { .. } | Operation::Clear => None,
        }
    }
}
