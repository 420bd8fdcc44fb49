//! What is asked, done.

use super::super::codec;
use super::super::history::Cause;
use super::super::ids::{ProcessId, Revision, Seq, SessionId, WatchId};
use super::super::interest::{Interest, ReadSet};
use super::super::kinds;
use super::super::limits::{CREDIT_BYTES_MIN, DEPTH_MAX, KEY_BYTES_MAX, Limits, WATCH_KEYS_MAX};
use super::super::marks::{self, Mark};
use super::super::message::{Condition, Failure, Filter, Reply, Request};
use super::super::planted::{self, Bug};
use super::super::points::Point;
use super::super::session::{Cursor, Fed, Session, Wait, WaitKind, reply_bytes_max};
use super::super::store::{
    Rights, StoreError, Transaction, Value, check_key, check_namespace, check_value,
};
use super::super::time::Time;
use super::transactions::Asked;
use super::{Server, dump, wire};
use std::sync::Arc;

impl Server {
    /// Does what is asked. The encoded reply; `None` if it comes later.
    pub(super) fn execute(
        &mut self,
        session: SessionId,
        seq: Seq,
        request: &Request<'_>,
        now: Time,
    ) -> Option<Vec<u8>> {
        let process = self.sessions.get(&session)?.process;
        kinds::said(request);
        // What is answered with a few words is not refused for want of room. Our own clients have no
        // more under way than there is room for.
        let kept = self.sessions.get(&session)?;
        let reply_bytes = reply_bytes_max(request, self.config.limits.value_bytes_max);
        if reply_bytes > 0 && kept.replies_bytes() > 0 && !kept.has_room(reply_bytes) {
            return Some(self.no_room(kept.replies_bytes() + reply_bytes));
        }
        let revision = self.store.revision();
        Some(match *request {
            Request::Ping if planted::is(Bug::PingTellsUsersRevision) => {
                let revision = self.history.newest().unwrap_or_default();
                codec::to_bytes(&Reply::Done { revision })
            }
            Request::Ping => codec::to_bytes(&Reply::Done { revision }),
            Request::Get { namespace, key, at } => self.get(namespace, key, at),
            Request::Len { namespace, at } => self.count(namespace, at),
            Request::Page {
                namespace,
                span,
                after,
                values,
                at,
            } => self.page(namespace, (span, after), values, at),
            Request::Updates {
                namespace,
                ref filter,
                after,
                until,
            } => self.updates(namespace, filter, after, until),
            Request::Set {
                namespace,
                key,
                value,
                owned,
            } => self.write(process, now, false, |transaction| {
                if owned {
                    transaction.set_owned(namespace, key, value)
                } else {
                    transaction.set(namespace, key, value)
                }
            }),
            Request::Remove { namespace, key } => self.write(process, now, true, |transaction| {
                transaction.remove(namespace, key).map(drop)
            }),
            Request::Clear { namespace } => self.write(process, now, false, |transaction| {
                transaction.clear(namespace)
            }),
            Request::GetOrInsert {
                namespace,
                key,
                value,
            } => self.get_or_insert(process, namespace, key, value, now),
            Request::Batch {
                namespace,
                ref operations,
            } => self.batch(process, namespace, operations, now),
            Request::Commit {
                function,
                at,
                ref parts,
                lease,
            } => {
                let asked = Asked {
                    function,
                    at,
                    parts,
                    lease,
                };
                self.commit(session, process, asked, now)
            }
            Request::Lease {
                lease,
                function,
                ref on,
            } => return self.begin_lease(session, seq, (lease, function), on, now),
            Request::Atomic {
                namespace,
                function,
                args,
            } => self.atomic(process, namespace, &function, args, now),
            Request::Wait {
                namespace,
                ref condition,
            } => return self.begin_wait(session, seq, namespace, condition, now),
            Request::Watch {
                watch,
                namespace,
                ref filter,
                from,
                credit,
                feeds,
            } => {
                let fed = feeds.map(|feeds| dump::fed(&feeds, now));
                self.begin_watch(
                    (session, watch),
                    namespace,
                    filter,
                    from,
                    credit,
                    (fed, now),
                )
            }
            Request::Unwatch { watch } => {
                self.remove_watch(session, watch);
                codec::to_bytes(&Reply::Done { revision })
            }
            Request::Spawn {
                function,
                args,
                ref setup,
                rest,
            } => match self.take_parts(session, rest) {
                Ok(rest) => self.spawn(process, &function, (args, rest), setup, now),
                Err(failure) => self.failed(failure),
            },
            Request::Begin => self.begin(process),
            Request::Finish { ref finish, rest } => match self.take_parts(session, rest) {
                Ok(rest) => self.finish(process, finish, rest),
                Err(failure) => self.failed(failure),
            },
            Request::Stop { process, grace_ns } => self.stop(process, grace_ns),
            Request::Kill { process } => self.kill(process),
            Request::ToRoot { process } => self.move_to_root(process),
            Request::Part {
                parts,
                size,
                from,
                bytes,
            } => self.part(session, parts, (size, from), bytes),
            Request::Fetch { rest, from } => self.fetch(process, rest, from),
            Request::Forget { process } => self.forget(process),
            Request::Lock { name, waits } => return self.lock(session, seq, name, waits, now),
            Request::Unlock { name, grant } => self.unlock(session, name, grant, now),
            Request::Dump => {
                self.turn_ends = true;
                codec::to_bytes(&Reply::Dump(self.dump(now)))
            }
        })
    }

    pub(super) fn failed(&self, failure: Failure<'_>) -> Vec<u8> {
        let revision = self.store.revision();
        codec::to_bytes(&Reply::Failed { revision, failure })
    }

    /// There is no room to keep the reply until it is acknowledged.
    pub(super) fn no_room(&self, actual: usize) -> Vec<u8> {
        marks::reached(Mark::RepliesFull);
        self.failed(Failure::Limit {
            limit: "REPLIES_BYTES_MAX",
            actual: actual as u64,
            max: self.config.limits.replies_bytes_max as u64,
        })
    }

    /// Runs one change set for a process; of a single key it gives the value before.
    ///
    /// # Errors
    /// The refused write; nothing has changed.
    pub(super) fn change(
        &mut self,
        cause: &Cause,
        rights: Rights,
        write: impl FnOnce(&mut Transaction<'_>) -> Result<(), StoreError>,
    ) -> Result<Option<Value>, StoreError> {
        let mut transaction = self.store.transaction(cause.process, rights);
        write(&mut transaction)?;
        let Some(changes) = transaction.commit()? else {
            return Ok(None);
        };
        let before = match &changes.changes[..] {
            [(_, change)] => change.before.clone(),
            _ => None,
        };
        self.committed(changes, cause);
        Ok(before)
    }

    /// A change set of one plain request; the reply tells the value before if that is wanted.
    fn write(
        &mut self,
        process: ProcessId,
        now: Time,
        wants_before: bool,
        write: impl FnOnce(&mut Transaction<'_>) -> Result<(), StoreError>,
    ) -> Vec<u8> {
        match self.change(&cause(process, now), Rights::User, write) {
            Ok(before) => codec::to_bytes(&Reply::Written {
                revision: self.store.revision(),
                before: before.as_deref().filter(|_| wants_before),
            }),
            Err(error) => self.failed(wire::store_failure(&error)),
        }
    }

    fn get_or_insert(
        &mut self,
        process: ProcessId,
        namespace: &str,
        key: &str,
        value: &[u8],
        now: Time,
    ) -> Vec<u8> {
        if let Some(there) = self.store.get(namespace, key) {
            let revision = self.store.revision();
            let value = Some(there);
            marks::reached(Mark::InsertFound);
            return codec::to_bytes(&Reply::Value { revision, value });
        }
        let write = |transaction: &mut Transaction<'_>| transaction.set(namespace, key, value);
        let before = self.store.revision();
        match self.change(&cause(process, now), Rights::User, write) {
            Ok(_) => {
                marks::reached(Mark::Inserted);
                codec::to_bytes(&Reply::Value {
                    revision: match planted::is(Bug::RevisionBeforeInsert) {
                        true => before,
                        false => self.store.revision(),
                    },
                    value: Some(value),
                })
            }
            Err(error) => self.failed(wire::store_failure(&error)),
        }
    }

    fn updates(
        &self,
        namespace: &str,
        filter: &Filter<'_>,
        after: Revision,
        until: Revision,
    ) -> Vec<u8> {
        if let Err(failure) = check_filter(filter) {
            return self.failed(failure);
        }
        let limits = &self.config.limits;
        let log = self.log(namespace);
        marks::reached_if(log.dropped(namespace) > after, Mark::UpdatesCompacted);
        if log.dropped(namespace) > after && !planted::is(Bug::GapInUpdates) {
            let oldest = log.oldest(namespace);
            return codec::to_bytes(&Reply::Compacted { oldest });
        }
        let interest = match planted::is(Bug::UpdatesNotFiltered) {
            true => Interest::Prefix(Arc::from("")),
            false => Interest::of(filter),
        };
        let mut bodies: Vec<Arc<[u8]>> = Vec::new();
        let mut bytes = 0;
        let mut reached = after;
        let mut complete = true;
        let mut looked_at = 0;
        for entry in log.since(after.next()) {
            if entry.revision > until
                || entry.revision == until && planted::is(Bug::LastUpdateMissed)
            {
                break;
            }
            let ends_early = !bodies.is_empty() && self.points.strike(Point::UpdatesOfOne);
            if looked_at >= limits.log_entries_per_tick_max
                || bytes >= limits.page_bytes_max
                || ends_early
            {
                complete = false;
                break;
            }
            looked_at += entry.steps(namespace);
            if let Some(body) = entry.encoded(namespace, &interest) {
                if !bodies.is_empty() && bytes + body.len() > limits.page_bytes_max {
                    complete = false;
                    break;
                }
                bytes += body.len();
                bodies.push(body);
            }
            reached = entry.revision;
        }
        marks::reached_if(!complete, Mark::UpdatesInParts);
        codec::to_bytes(&Reply::Updates {
            revision: self.store.revision(),
            updates: bodies.iter().map(|body| &**body).collect(),
            until: if complete { until } else { reached },
        })
    }

    fn begin_watch(
        &mut self,
        (id, watch): (SessionId, WatchId),
        namespace: &str,
        filter: &Filter<'_>,
        from: Option<Revision>,
        credit: u64,
        (feeds, now): (Option<Fed>, Time),
    ) -> Vec<u8> {
        let head = self.store.revision().next();
        // Revision 0 is the empty state: no update has it, and so none of it is ever dropped.
        let next = from.map_or(head, |from| from.max(Revision::ZERO.next()));
        let log = self.log(namespace);
        kinds::said(filter);
        marks::reached_if(next < head, Mark::WatchFromPast);
        marks::reached_if(next > head, Mark::WatchFromFuture);
        marks::reached_if(next <= log.dropped(namespace), Mark::WatchCompactedAtStart);
        let dropped = log.dropped(namespace);
        if next < dropped || next == dropped && !planted::is(Bug::WatchFromDropped) {
            let oldest = log.oldest(namespace);
            return codec::to_bytes(&Reply::Compacted { oldest });
        }
        if let Err(failure) = check_filter(filter) {
            return self.failed(failure);
        }
        if let Err(error) = check_namespace(namespace) {
            return self.failed(wire::store_failure(&error));
        }
        let Some(session) = self.sessions.get_mut(&id) else {
            return Vec::new();
        };
        let fits = watch_fits(session, watch, credit, &self.config.limits);
        if let Err(failure) = fits {
            return self.failed(failure);
        }
        let cursor = Cursor {
            namespace: Arc::from(namespace),
            interest: Interest::of(filter),
            start: next,
            // A start in the future is a cursor at that place, not one that has caught up.
            next: (next != head).then_some(next),
            dropped: Revision::ZERO,
            granted: credit,
            sent: 0,
            announced: true,
            feeds,
            since: now,
            last: None,
        };
        if let Err(failure) = interests_fit(session, cursor.bytes(), &self.config.limits) {
            return self.failed(failure);
        }
        let index = &mut self.watch_index;
        index.insert(&cursor.namespace, &cursor.interest, (id, watch));
        session.interests_bytes += cursor.bytes();
        session.watches.insert(watch, cursor);
        session.ready.insert(watch);
        self.lagging.insert(id);
        codec::to_bytes(&Reply::Watching { next })
    }

    fn begin_wait(
        &mut self,
        id: SessionId,
        seq: Seq,
        namespace: &str,
        condition: &Condition<'_>,
        now: Time,
    ) -> Option<Vec<u8>> {
        kinds::said(condition);
        if let Err(error) = check_namespace(namespace) {
            return Some(self.failed(wire::store_failure(&error)));
        }
        if let Condition::Ended { process } = *condition
            && let Some(reply) = self.join(id, seq, process)
        {
            return Some(reply);
        }
        let kind = match self.wait_kind(condition) {
            Ok(kind) => kind,
            Err(refusal) => return Some(refusal),
        };
        if let WaitKind::Changed {
            interest,
            after,
            skip_own,
        } = &kind
            && matches!(condition, Condition::Changed { waits: false, .. })
        {
            return Some(self.changes(id, namespace, interest, *after, *skip_own));
        }
        let wait = Wait {
            namespace: Arc::from(namespace),
            kind,
            reads: ReadSet::default(),
            tests: 0,
            since: now,
        };
        let session = self.sessions.get(&id)?;
        if let Err(failure) = interests_fit(session, wait.bytes(), &self.config.limits) {
            return Some(self.failed(failure));
        }
        self.wait(id, seq, wait);
        None
    }

    /// What a condition waits for, if it is within the limits; else the reply that says so.
    fn wait_kind(&mut self, condition: &Condition<'_>) -> Result<WaitKind, Vec<u8>> {
        let limits = self.config.limits;
        let max = limits.value_bytes_max;
        let wanted = match *condition {
            Condition::Equal { value, .. } => Some(value),
            Condition::Key { test, .. } => test.value(),
            _ => None,
        };
        let wanted = wanted.filter(|value| value.len() <= max);
        let digest = wanted.and_then(|value| self.comparer.digest(value));
        let refused = |failure| self.failed(failure);
        let out_of_bounds = |error| self.failed(wire::store_failure(&error));
        Ok(match *condition {
            Condition::Function { function, args } => {
                self.callable(&function, args).map_err(refused)?;
                WaitKind::Function {
                    offset: function.offset,
                    name: function.name.to_owned(),
                    args: args.to_vec(),
                }
            }
            Condition::Equal { key, value } => {
                let checked = check_key(key).and_then(|()| check_value(value, max, DEPTH_MAX));
                checked.map_err(out_of_bounds)?;
                WaitKind::Equal {
                    key: key.to_owned(),
                    value: value.to_vec(),
                    digest,
                }
            }
            Condition::Key { key, test } => {
                kinds::said(&test);
                let value = test
                    .value()
                    .map_or(Ok(()), |value| check_value(value, max, DEPTH_MAX));
                check_key(key).and(value).map_err(out_of_bounds)?;
                WaitKind::Key {
                    key: key.to_owned(),
                    test: codec::to_bytes(&test),
                    digest,
                }
            }
            Condition::Changed {
                ref filter,
                after,
                skip_own,
                waits: _,
            } => {
                check_filter(filter).map_err(refused)?;
                WaitKind::Changed {
                    interest: Interest::of(filter),
                    after: after.unwrap_or(self.store.revision()),
                    skip_own,
                }
            }
            Condition::Ended { process } => WaitKind::Ended(process),
        })
    }
}

/// May the session have one more watch, and one of so little credit?
fn watch_fits(
    session: &Session,
    watch: WatchId,
    credit: u64,
    limits: &Limits,
) -> Result<(), Failure<'static>> {
    let count = session.watches.len() as u64 + 1;
    let max = limits.watches_per_session_max as u64;
    let slack = u64::from(planted::is(Bug::WatchesCountedBefore));
    if count > max + slack || session.watches.contains_key(&watch) {
        return Err(Failure::Limit {
            limit: "WATCHES_PER_SESSION_MAX",
            actual: count,
            max,
        });
    }
    if credit < CREDIT_BYTES_MIN {
        return Err(Failure::Limit {
            limit: "CREDIT_BYTES_MIN",
            actual: credit,
            max: CREDIT_BYTES_MIN,
        });
    }
    Ok(())
}

/// Is there room for one more watch, wait or lease that costs so much?
pub(super) fn interests_fit(
    session: &Session,
    bytes: usize,
    limits: &Limits,
) -> Result<(), Failure<'static>> {
    let bytes = session.interests_bytes + bytes;
    let max = limits.interests_per_session_bytes_max;
    wire::within("INTERESTS_PER_SESSION_BYTES_MAX", bytes, max)
}

/// Is what a watch names within the limits?
fn check_filter(filter: &Filter<'_>) -> Result<(), Failure<'static>> {
    let keys = match filter {
        Filter::All => return Ok(()),
        Filter::Key(key) | Filter::Prefix(key) => std::slice::from_ref(key),
        Filter::Keys(keys) | Filter::AllBut(keys) => keys,
    };
    wire::within("WATCH_KEYS_MAX", keys.len(), WATCH_KEYS_MAX)?;
    let mut lengths = keys.iter().map(|key| key.len());
    lengths.try_for_each(|length| wire::within("KEY_BYTES_MAX", length, KEY_BYTES_MAX))
}

pub(super) fn cause(process: ProcessId, now: Time) -> Cause {
    Cause {
        time: now,
        process,
        function: None,
        released: None,
    }
}
