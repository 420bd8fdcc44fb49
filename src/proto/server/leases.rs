//! Leases: who of those transactions that have met too many conflicts is next.
//!
//! A transaction that queues for a lease has a ticket, and names the keys (or whole namespaces) that
//! it has touched. It holds the lease as soon as no earlier ticket names any of the same. Tickets
//! never wait for later ones, so there is no deadlock; the first of all is never kept waiting.
//!
//! A lease orders transactions alone: while it is held, no commit of another may write what it is
//! on. So of many transactions on the same keys each gets its turn, and in its turn it can't be
//! broken by another: nobody starves. Plain writes and atomic functions take no notice of leases
//! and wait for nobody; a transaction that they break runs again with its lease, until that is over.

use super::super::ids::{LeaseId, SessionId};
use super::super::interest::{Key, Namespace};
use super::super::operations::Leased;
use super::super::planted::{self, Bug};
use super::super::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// A place in the order of all that ever queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

#[derive(Debug)]
struct Lease {
    owner: (SessionId, LeaseId),
    on: BTreeSet<(Namespace, Option<Key>)>,
    /// Set while it is held: until then.
    held_until: Option<Time>,
}

/// Who queues in one namespace; the first of each set is, or will be, the holder.
#[derive(Debug, Default)]
struct Queues {
    all: BTreeSet<Ticket>,
    /// For all keys.
    whole: BTreeSet<Ticket>,
    /// Those of all that hold theirs.
    held: BTreeSet<Ticket>,
    keys: BTreeMap<Key, BTreeSet<Ticket>>,
}

/// All leases.
#[derive(Debug, Default)]
pub(super) struct Leases {
    leases: BTreeMap<Ticket, Lease>,
    tickets: BTreeMap<(SessionId, LeaseId), Ticket>,
    /// Invariant: each ticket is in the queues of what its lease is on, and in no others.
    queues: BTreeMap<Namespace, Queues>,
    /// Those whose turn may have come.
    free: BTreeSet<Ticket>,
    drawn: u64,
}

impl Leases {
    /// How many there are, queued for or held.
    pub(super) fn len(&self) -> usize {
        self.leases.len()
    }

    /// May somebody's turn have come?
    pub(super) fn are_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// The ticket of a session's lease.
    pub(super) fn ticket(&self, session: SessionId, lease: LeaseId) -> Option<Ticket> {
        self.tickets.get(&(session, lease)).copied()
    }

    /// Whose a ticket is.
    pub(super) fn owner(&self, ticket: Ticket) -> Option<(SessionId, LeaseId)> {
        Some(self.leases.get(&ticket)?.owner)
    }

    /// The tickets of a session.
    pub(super) fn of(&self, session: SessionId) -> Vec<Ticket> {
        let own = (session, LeaseId(0))..=(session, LeaseId(u64::MAX));
        self.tickets.range(own).map(|(_, ticket)| *ticket).collect()
    }

    /// What a lease is on.
    pub(super) fn on(&self, ticket: Ticket) -> Option<&BTreeSet<(Namespace, Option<Key>)>> {
        Some(&self.leases.get(&ticket)?.on)
    }

    /// The lease that is next before this one: its turn is to be over first.
    pub(super) fn before(&self, ticket: Ticket) -> Option<Ticket> {
        let last = |set: &BTreeSet<Ticket>| set.range(..ticket).next_back().copied();
        let before = self.on(ticket)?.iter().filter_map(|(namespace, key)| {
            let queues = self.queues.get(namespace)?;
            match key {
                None => last(&queues.all),
                Some(key) => last(&queues.whole).max(queues.keys.get(key).and_then(last)),
            }
        });
        before.max()
    }

    /// Is the lease held?
    pub(super) fn is_held(&self, ticket: Ticket) -> bool {
        let lease = self.leases.get(&ticket);
        lease.is_some_and(|lease| lease.held_until.is_some())
    }

    /// Queues for a lease.
    pub(super) fn queue(&mut self, session: SessionId, lease: LeaseId, on: &[Leased<'_>]) {
        self.drawn += 1;
        let ticket = Ticket(self.drawn);
        let mut names = BTreeSet::new();
        for (namespace, key) in on {
            let namespace: Namespace = Arc::from(*namespace);
            let queues = self.queues.entry(namespace.clone()).or_default();
            queues.all.insert(ticket);
            let key = key.map(Key::from);
            match &key {
                None => queues.whole.insert(ticket),
                Some(key) => queues.keys.entry(key.clone()).or_default().insert(ticket),
            };
            names.insert((namespace, key));
        }
        let held_until = None;
        let owner = (session, lease);
        let on = names;
        self.leases.insert(
            ticket,
            Lease {
                owner,
                on,
                held_until,
            },
        );
        self.tickets.insert(owner, ticket);
        self.free.insert(ticket);
    }

    /// Gives the next lease whose turn has come: its ticket and whose it is. What it is on is looked
    /// at; so many more steps of that may be taken.
    pub(super) fn give(
        &mut self,
        until: Time,
        steps: &mut usize,
    ) -> Option<(Ticket, SessionId, LeaseId)> {
        while *steps > 0 {
            let ticket = self.free.pop_first()?;
            let Some(lease) = self.leases.get(&ticket) else {
                continue;
            };
            *steps = steps.saturating_sub(lease.on.len());
            let comes = planted::is(Bug::LeaseGivenToTwo) || self.is_first(ticket, lease);
            if lease.held_until.is_none() && comes {
                let (session, id) = lease.owner;
                for (namespace, _) in &lease.on {
                    if let Some(queues) = self.queues.get_mut(namespace) {
                        queues.held.insert(ticket);
                    }
                }
                self.leases.get_mut(&ticket)?.held_until = Some(until);
                return Some((ticket, session, id));
            }
        }
        None
    }

    /// Does no earlier ticket name anything of this lease?
    fn is_first(&self, ticket: Ticket, lease: &Lease) -> bool {
        lease.on.iter().all(|(namespace, key)| {
            let Some(queues) = self.queues.get(namespace) else {
                return true;
            };
            let none_before = |set: &BTreeSet<Ticket>| set.first().is_none_or(|f| *f >= ticket);
            match key {
                None => none_before(&queues.all),
                Some(key) => {
                    none_before(&queues.whole) && queues.keys.get(key).is_none_or(none_before)
                }
            }
        })
    }

    /// Ends a lease, or leaves its queue. Gives until when it was held.
    pub(super) fn end(&mut self, ticket: Ticket) -> Option<Time> {
        let lease = self.leases.remove(&ticket)?;
        self.tickets.remove(&lease.owner);
        for (namespace, key) in &lease.on {
            let Some(queues) = self.queues.get_mut(namespace) else {
                continue;
            };
            queues.all.remove(&ticket);
            queues.held.remove(&ticket);
            let behind = (Bound::Excluded(ticket), Bound::Unbounded);
            let next_whole = queues.whole.range(behind).next().copied();
            match key {
                Some(key) => {
                    if let Some(tickets) = queues.keys.get_mut(key) {
                        tickets.remove(&ticket);
                        self.free.extend(tickets.first());
                        if tickets.is_empty() {
                            queues.keys.remove(key);
                        }
                    }
                    // Who is behind it for more than that.
                    self.free.extend(next_whole);
                }
                None => {
                    queues.whole.remove(&ticket);
                    // While there is one before it that is on all, all behind wait for that. The next one
                    // that is on all goes on keeping up those behind it. So each is found here once.
                    if queues.whole.first() == next_whole.as_ref() {
                        let last = next_whole.map_or(Bound::Unbounded, Bound::Included);
                        let kept_up = queues.all.range((Bound::Excluded(ticket), last));
                        self.free.extend(kept_up);
                    }
                }
            }
            if queues.all.is_empty() {
                self.queues.remove(namespace);
            }
        }
        lease.held_until
    }

    /// Does somebody else hold a lease on this key, or on any key of the namespace?
    pub(super) fn bars(&self, namespace: &str, key: Option<&str>, own: Option<Ticket>) -> bool {
        let Some(queues) = self.queues.get(namespace) else {
            return false;
        };
        let is_others = |ticket: &Ticket| Some(*ticket) != own && self.is_held(*ticket);
        match key {
            None => queues.held.iter().any(is_others),
            Some(key) => {
                let of_key = queues.keys.get(key).and_then(BTreeSet::first);
                [of_key, queues.whole.first()]
                    .into_iter()
                    .flatten()
                    .any(is_others)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SESSION: SessionId = SessionId(1);

    fn queue(leases: &mut Leases, number: u64, on: &[Leased<'_>]) -> Ticket {
        leases.queue(SESSION, LeaseId(number), on);
        leases
            .ticket(SESSION, LeaseId(number))
            .expect("it is queued")
    }

    fn give_all(leases: &mut Leases) -> usize {
        let given = std::iter::from_fn(|| leases.give(Time(9), &mut usize::MAX.clone()));
        given.count()
    }

    /// Trigger: a lease on a whole namespace that is given up, again and again, while two thousand keys
    /// are leased there. Harm: each time all of these were looked at: 148 ms for a pair of frames.
    #[test]
    fn a_lease_on_a_whole_namespace_that_is_given_up_looks_at_no_others() {
        let mut leases = Leases::default();
        for number in 0..2_000 {
            queue(&mut leases, number, &[("n", Some(&number.to_string()))]);
        }
        assert_eq!(give_all(&mut leases), 2_000);
        for _ in 0..3 {
            let whole = queue(&mut leases, 5_000, &[("n", None)]);
            assert_eq!(give_all(&mut leases), 0);
            let mut steps = 10;
            assert_eq!(leases.end(whole), None);
            assert!(leases.give(Time(9), &mut steps).is_none());
            assert_eq!(steps, 10, "nothing is looked at");
        }
        // Those behind it are, each once.
        let whole = queue(&mut leases, 5_000, &[("n", None)]);
        for number in 3_000..3_100 {
            queue(&mut leases, number, &[("n", Some(&number.to_string()))]);
        }
        assert_eq!(give_all(&mut leases), 0);
        leases.end(whole);
        let mut steps = 1_000;
        while leases.give(Time(9), &mut steps).is_some() {}
        assert_eq!(steps, 1_000 - 100);
    }

    #[test]
    fn what_there_is_no_time_for_is_looked_at_later() {
        let mut leases = Leases::default();
        for number in 0..3 {
            queue(
                &mut leases,
                number,
                &[("n", Some(&number.to_string())), ("m", Some("k"))],
            );
        }
        let mut steps = 2;
        assert!(leases.give(Time(9), &mut steps).is_some());
        assert!(leases.give(Time(9), &mut steps).is_none());
        assert!(leases.are_free(), "there is more to look at");
        assert!(leases.give(Time(9), &mut 100).is_none());
        assert!(!leases.are_free());
    }

    /// What a lease of the model is on: these of three keys, or all; of two namespaces.
    type On = Vec<(bool, Option<u8>)>;

    fn meet(one: &On, other: &On) -> bool {
        let meets = |(namespace, key): &(bool, Option<u8>)| {
            other.iter().any(|(of, other)| {
                namespace == of && (key.is_none() || other.is_none() || key == other)
            })
        };
        one.iter().any(meets)
    }

    proptest! {
        /// Each lease is held if and only if no earlier one is on any of the same.
        #[test]
        fn each_gets_its_turn(
            steps in prop::collection::vec(
                (
                    prop::collection::vec((any::<bool>(), prop::option::weighted(0.8, 0..3_u8)), 1..3),
                    prop::option::of(0..6_usize),
                    any::<bool>(),
                ),
                1..40,
            ),
        ) {
            let mut leases = Leases::default();
            let mut model: Vec<(Ticket, On)> = Vec::new();
            for (number, (on, ends, gives)) in steps.into_iter().enumerate() {
                let names: Vec<_> = on
                    .iter()
                    .map(|(namespace, key)| (namespace.to_string(), key.map(|key| key.to_string())))
                    .collect();
                let leased: Vec<Leased<'_>> = names
                    .iter()
                    .map(|(namespace, key)| (&**namespace, key.as_deref()))
                    .collect();
                model.push((queue(&mut leases, number as u64, &leased), on));
                if let Some(place) = ends.filter(|place| *place < model.len()) {
                    leases.end(model.remove(place).0);
                }
                if gives {
                    give_all(&mut leases);
                }
            }
            give_all(&mut leases);
            for (place, (ticket, on)) in model.iter().enumerate() {
                let first = model[..place].iter().all(|(_, before)| !meet(before, on));
                prop_assert_eq!(leases.is_held(*ticket), first);
            }
            for namespace in ["false", "true"] {
                let held = model.iter().filter(|(ticket, on)| {
                    leases.is_held(*ticket) && on.iter().any(|(of, _)| of.to_string() == namespace)
                });
                prop_assert_eq!(leases.bars(namespace, None, None), held.count() > 0);
            }
        }
    }
}
