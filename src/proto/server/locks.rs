//! Locks: granted, given back, passed on.
//!
//! Each lock that is held has a record in the reserved namespace, so every grant has a revision; and
//! what a process holds goes with what it owns, in one revision.

use super::super::codec;
use super::super::history::Cause;
use super::super::ids::{ProcessId, Revision, Seq, SessionId};
use super::super::interest::ReadSet;
use super::super::limits::LOCK_NAME_BYTES_MAX;
use super::super::locks::{Holder, LOCK_PREFIX, LockRecord, Name};
use super::super::marks::{self, Mark};
use super::super::message::{Failure, Reply};
use super::super::planted::{self, Bug};
use super::super::session::{Wait, WaitKind};
use super::super::store::{RESERVED, Rights, StoreError, Transaction};
use super::super::time::Time;
use super::requests::cause;
use super::{Keep, Server, wire};
use std::sync::Arc;

/// Locks that change hands in one revision.
#[derive(Debug, Default)]
pub(super) struct Passed {
    /// Each with who holds it then.
    locks: Vec<(Name, Option<Holder>)>,
}

impl Passed {
    /// Writes their records.
    pub(super) fn write(&self, transaction: &mut Transaction<'_>) -> Result<(), StoreError> {
        for (name, holder) in &self.locks {
            let key = format!("{LOCK_PREFIX}{name}");
            match holder {
                Some(holder) => transaction.set(RESERVED, &key, &record(holder))?,
                None => drop(transaction.remove(RESERVED, &key)?),
            }
        }
        Ok(())
    }
}

fn record(holder: &Holder) -> Vec<u8> {
    let record = LockRecord {
        holder: holder.process.0,
        since_ns: holder.since.0,
    };
    rmp_serde::to_vec_named(&record).expect("numbers are always encodable")
}

fn locked(revision: Revision, granted: bool) -> Vec<u8> {
    codec::to_bytes(&Reply::Locked { revision, granted })
}

impl Server {
    /// Grants a lock, or has the request wait for it.
    pub(super) fn lock(
        &mut self,
        id: SessionId,
        seq: Seq,
        name: &str,
        waits: bool,
        now: Time,
    ) -> Option<Vec<u8>> {
        let process = self.sessions.get(&id)?.process;
        let is_held = self.locks.holder(name).is_some();
        if is_held && !waits {
            marks::reached(Mark::LockNotTried);
            return Some(locked(self.store.revision(), false));
        }
        if let Err(failure) = self.room_for_lock(id, name) {
            return Some(self.failed(failure));
        }
        if is_held {
            marks::reached(Mark::LockQueued);
            let ticket = self.locks.queue(name, (id, seq), process);
            let kind = WaitKind::Lock {
                name: Arc::from(name),
                ticket,
            };
            let wait = Wait {
                namespace: Arc::from(RESERVED),
                kind,
                reads: ReadSet::default(),
                tests: 0,
                since: now,
            };
            self.sessions.get_mut(&id)?.waits.insert(seq, wait);
            return None;
        }
        marks::reached(Mark::LockAtOnce);
        let holder = Holder {
            asker: (id, seq),
            process,
            grant: self.store.revision().next(),
            since: now,
        };
        let name = Name::from(name);
        self.locks.take(&name, holder);
        let passed = Passed {
            locks: vec![(name, Some(holder))],
        };
        self.write_locks(&passed, &cause(process, now));
        Some(locked(holder.grant, true))
    }

    fn room_for_lock(&self, id: SessionId, name: &str) -> Result<(), Failure<'static>> {
        let limits = self.config.limits;
        wire::within("LOCK_NAME_BYTES_MAX", name.len(), LOCK_NAME_BYTES_MAX)?;
        let asked = self.locks.asked_by(id) + 1;
        wire::within("LOCKS_PER_SESSION_MAX", asked, limits.locks_per_session_max)?;
        if self.locks.holder(name).is_none() {
            return wire::within("LOCKS_MAX", self.locks.len() + 1, limits.locks_max);
        }
        let waiters = self.locks.waiters(name) + 1;
        wire::within("LOCK_WAITERS_MAX", waiters, limits.lock_waiters_max)
    }

    /// Gives back what was granted at this revision, if this session still holds it.
    pub(super) fn unlock(
        &mut self,
        id: SessionId,
        name: &str,
        grant: Revision,
        now: Time,
    ) -> Vec<u8> {
        let holder = self.locks.holder(name).copied();
        let own = |holder: &Holder| holder.asker.0 == id && holder.grant == grant;
        if let Some(holder) = holder.filter(own) {
            marks::reached(Mark::LockGivenBack);
            self.let_go(name, holder.process, now);
        }
        let revision = self.store.revision();
        codec::to_bytes(&Reply::Done { revision })
    }

    /// The caller of a request no longer waits: a lock that it was granted is nobody's, who would
    /// give it back?
    pub(super) fn take_grant_back(&mut self, id: SessionId, seq: Seq, now: Time) {
        if let Some(name) = self.locks.held_by((id, seq)).cloned()
            && let Some(process) = self.sessions.get(&id).map(|session| session.process)
            && !planted::is(Bug::LockKeptByCancelled)
        {
            marks::reached(Mark::LockCancelledGranted);
            self.let_go(&name, process, now);
        }
    }

    fn let_go(&mut self, name: &str, process: ProcessId, now: Time) {
        let passed = self.pass_on(&[Name::from(name)], now);
        self.write_locks(&passed, &cause(process, now));
        self.tell_passed(&passed);
    }

    /// Takes locks from who holds them, in the revision that comes next.
    pub(super) fn pass_on(&mut self, names: &[Name], now: Time) -> Passed {
        let grant = self.store.revision().next();
        let pass = |name: &Name| (name.clone(), self.locks.pass(name, grant, now));
        Passed {
            locks: names.iter().map(pass).collect(),
        }
    }

    /// The locks of a session that has ended, as far as it had one.
    pub(super) fn pass_on_all_of(&mut self, session: Option<SessionId>, now: Time) -> Passed {
        let names = session.map_or_else(Vec::new, |session| self.locks.all_of(session));
        marks::reached_if(!names.is_empty(), Mark::LockReleased);
        if planted::is(Bug::LockOutlivesHolder) {
            return Passed::default();
        }
        let passed = self.pass_on(&names, now);
        let handed_on = passed.locks.iter().any(|(_, holder)| holder.is_some());
        marks::reached_if(handed_on, Mark::LockInherited);
        passed
    }

    fn write_locks(&mut self, passed: &Passed, cause: &Cause) {
        let written = self.change(cause, Rights::Framework, |transaction| {
            passed.write(transaction)
        });
        debug_assert!(written.is_ok(), "a record is within all limits");
    }

    /// Answers those who hold a lock now and did not before.
    pub(super) fn tell_passed(&mut self, passed: &Passed) {
        for (name, holder) in &passed.locks {
            let Some(Holder { asker, grant, .. }) = *holder else {
                continue;
            };
            marks::reached(Mark::LockLater);
            let next = match planted::is(Bug::LockGivenToTwo) {
                true => self.locks.first_waiting(name),
                false => None,
            };
            for (id, seq) in [Some(asker), next].into_iter().flatten() {
                self.remove_wait(id, seq);
                // So short a reply is kept, however many are.
                self.answer(id, seq, &locked(grant, true), Keep::Reply);
            }
        }
    }
}
