//! Named locks: who holds each, and who waits for it, in which order.
//!
//! It only keeps the books: that a lock has passed on is written, and told, by the server.

use super::ids::{ProcessId, Revision, Seq, SessionId};
use super::limits::DUMP_LINES_MAX;
use super::planted::{self, Bug};
use super::time::Time;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Records of locks are the keys of the reserved namespace that start so; the lock's name follows.
pub const LOCK_PREFIX: &str = "lock/";

/// What the state tells of a lock that is held. The revision of the record is that of the grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockRecord {
    /// The process that holds it.
    pub holder: u64,
    /// Since when, in nanoseconds of the server's clock.
    pub since_ns: u64,
}

/// A lock's name, shared by all that mention it.
pub type Name = Arc<str>;

/// Who asks: a request of a session. Each asks for itself, whatever others of its process hold.
pub type Asker = (SessionId, Seq);

/// Who has a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The request that it was granted to.
    pub asker: Asker,
    /// The process that asked.
    pub process: ProcessId,
    /// The revision at which it was granted, which no other grant of this lock has.
    pub grant: Revision,
    /// When.
    pub since: Time,
}

/// Who is next, and in which process.
type Queued = (Asker, ProcessId);

#[derive(Debug)]
struct Lock {
    holder: Holder,
    /// By ticket: tickets rise.
    queue: BTreeMap<u64, Queued>,
}

/// All locks that somebody holds.
#[derive(Debug, Default)]
pub struct Locks {
    locks: BTreeMap<Name, Lock>,
    held: BTreeMap<Asker, Name>,
    /// How many each session holds and waits for.
    asked: BTreeMap<SessionId, usize>,
    tickets: u64,
}

impl Locks {
    /// Who holds this lock, if anybody does.
    #[must_use]
    pub fn holder(&self, name: &str) -> Option<&Holder> {
        self.locks.get(name).map(|lock| &lock.holder)
    }

    /// How many locks are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.locks.len()
    }

    /// Is none held?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.locks.is_empty()
    }

    /// How many wait for this one.
    #[must_use]
    pub fn waiters(&self, name: &str) -> usize {
        self.locks.get(name).map_or(0, |lock| lock.queue.len())
    }

    /// How many wait for this one before the holder of this ticket, counted up to a limit.
    #[must_use]
    pub fn ahead(&self, name: &str, ticket: u64) -> usize {
        let lock = self.locks.get(name);
        lock.map_or(0, |lock| {
            let before = lock.queue.range(..ticket);
            before.take(DUMP_LINES_MAX).count()
        })
    }

    /// For a planted bug alone: who is first in the queue.
    pub(super) fn first_waiting(&self, name: &str) -> Option<Asker> {
        let lock = self.locks.get(name)?;
        lock.queue.values().next().map(|(asker, _)| *asker)
    }

    /// The most that wait for one lock.
    #[must_use]
    pub fn waiters_most(&self) -> usize {
        let queues = self.locks.values().map(|lock| lock.queue.len());
        queues.max().unwrap_or(0)
    }

    /// How many a session holds and waits for.
    #[must_use]
    pub fn asked_by(&self, session: SessionId) -> usize {
        self.asked.get(&session).copied().unwrap_or(0)
    }

    /// The lock that this request was granted and that is held still.
    #[must_use]
    pub fn held_by(&self, asker: Asker) -> Option<&Name> {
        self.held.get(&asker)
    }

    /// All that a session holds.
    #[must_use]
    pub fn all_of(&self, session: SessionId) -> Vec<Name> {
        let all = (session, Seq(0))..=(session, Seq(u64::MAX));
        self.held.range(all).map(|(_, name)| name.clone()).collect()
    }

    /// Gives a lock that nobody holds.
    pub fn take(&mut self, name: &Name, holder: Holder) {
        let queue = BTreeMap::new();
        let taken = self.locks.insert(name.clone(), Lock { holder, queue });
        debug_assert!(taken.is_none(), "the lock is held");
        self.held.insert(holder.asker, name.clone());
        *self.asked.entry(holder.asker.0).or_default() += 1;
    }

    /// Puts one who asks for a lock that is held behind all others; gives its ticket.
    pub fn queue(&mut self, name: &str, asker: Asker, process: ProcessId) -> u64 {
        self.tickets += 1;
        if let Some(lock) = self.locks.get_mut(name) {
            lock.queue.insert(self.tickets, (asker, process));
            *self.asked.entry(asker.0).or_default() += 1;
        }
        self.tickets
    }

    /// The holder of this ticket no longer waits.
    pub fn leave(&mut self, name: &str, ticket: u64) {
        if planted::is(Bug::LockWaiterStays) {
            return;
        }
        let lock = self.locks.get_mut(name);
        if let Some((asker, _)) = lock.and_then(|lock| lock.queue.remove(&ticket)) {
            self.forget(asker.0);
        }
    }

    /// A lock's holder lets go: who is next, if anybody is, holds it from now on.
    pub fn pass(&mut self, name: &str, grant: Revision, since: Time) -> Option<Holder> {
        let lock = self.locks.get_mut(name)?;
        let before = lock.holder.asker;
        let next = match planted::is(Bug::LockLastInFirst) {
            true => lock.queue.pop_last(),
            false => lock.queue.pop_first(),
        };
        let holder = next.map(|(_, (asker, process))| Holder {
            asker,
            process,
            grant: match planted::is(Bug::LockTokenRepeated) {
                true => lock.holder.grant,
                false => grant,
            },
            since,
        });
        let kept = match holder {
            Some(holder) => {
                lock.holder = holder;
                // As long as somebody holds or awaits a lock, its name is one.
                self.held.remove(&before)
            }
            None => {
                self.locks.remove(name);
                self.held.remove(&before)
            }
        };
        self.forget(before.0);
        if let (Some(holder), Some(name)) = (holder, kept) {
            self.held.insert(holder.asker, name);
        }
        holder
    }

    fn forget(&mut self, session: SessionId) {
        if let Some(count) = self.asked.get_mut(&session) {
            *count -= 1;
            if *count == 0 {
                self.asked.remove(&session);
            }
        }
    }

    /// Checks what must always hold: in tests and debug builds.
    ///
    /// # Panics
    /// When it does not.
    pub fn invariants(&self) {
        let mut asked: BTreeMap<SessionId, usize> = BTreeMap::new();
        for (name, lock) in &self.locks {
            assert_eq!(self.held.get(&lock.holder.asker), Some(name));
            let waiting = lock.queue.values().map(|(asker, _)| asker);
            for (session, _) in waiting.chain([&lock.holder.asker]) {
                *asked.entry(*session).or_default() += 1;
            }
        }
        assert_eq!(self.held.len(), self.locks.len());
        assert_eq!(self.asked, asked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn asker(number: u64) -> Asker {
        (SessionId(number % 3), Seq(number))
    }

    fn holder(number: u64, grant: u64) -> Holder {
        Holder {
            asker: asker(number),
            process: ProcessId(number % 3),
            grant: Revision(grant),
            since: Time(grant),
        }
    }

    #[test]
    fn in_the_order_of_asking() {
        let mut locks = Locks::default();
        let name: Name = "a".into();
        locks.take(&name, holder(1, 1));
        let second = locks.queue("a", asker(2), ProcessId(2));
        locks.queue("a", asker(3), ProcessId(0));
        let fourth = locks.queue("a", asker(4), ProcessId(1));
        assert_eq!((locks.waiters("a"), locks.ahead("a", fourth)), (3, 2));
        assert_eq!(locks.asked_by(SessionId(1)), 2);
        locks.leave("a", second);
        locks.leave("a", second);
        assert_eq!(locks.ahead("a", fourth), 1);
        assert_eq!(locks.pass("a", Revision(5), Time(5)), Some(holder(3, 5)));
        assert_eq!(locks.all_of(SessionId(0)), [name]);
        assert_eq!(locks.pass("a", Revision(6), Time(6)), Some(holder(4, 6)));
        assert_eq!(locks.pass("a", Revision(7), Time(7)), None);
        assert!(locks.is_empty());
        locks.invariants();
    }

    proptest! {
        /// Against queues of numbers, where the first of each holds the lock.
        #[test]
        fn any_sequence_is_as_in_the_naive_model(
            steps in prop::collection::vec((0..2_usize, 0..3_u8, any::<prop::sample::Index>()), 1..80),
        ) {
            let names: [Name; 2] = ["a".into(), "b".into()];
            let mut locks = Locks::default();
            let mut model: [VecDeque<(u64, u64)>; 2] = Default::default();
            for (step, (lock, what, which)) in (1_u64..).zip(steps) {
                let name = &names[lock];
                let queue = &mut model[lock];
                match what {
                    0 if queue.is_empty() => {
                        locks.take(name, holder(step, step));
                        queue.push_back((step, 0));
                    }
                    0 => {
                        let ticket = locks.queue(name, asker(step), ProcessId(step % 3));
                        queue.push_back((step, ticket));
                    }
                    1 if queue.len() > 1 => {
                        let place = 1 + which.index(queue.len() - 1);
                        let (_, ticket) = queue.remove(place).expect("it is there");
                        locks.leave(name, ticket);
                    }
                    _ => {
                        queue.pop_front();
                        let next = locks.pass(name, Revision(step), Time(step));
                        let expected = queue.front().map(|(number, _)| holder(*number, step));
                        prop_assert_eq!(next, expected);
                    }
                }
                let first = queue.front().map(|(number, _)| asker(*number));
                prop_assert_eq!(locks.holder(name).map(|holder| holder.asker), first);
                prop_assert_eq!(locks.waiters(name), queue.len().saturating_sub(1));
                locks.invariants();
            }
        }
    }
}
