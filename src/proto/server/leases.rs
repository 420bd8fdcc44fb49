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

    /// The tickets of a session.
    pub(super) fn of(&self, session: SessionId) -> Vec<Ticket> {
        let own = (session, LeaseId(0))..=(session, LeaseId(u64::MAX));
        self.tickets.range(own).map(|(_, ticket)| *ticket).collect()
    }

    /// The first of what a lease is on.
    pub(super) fn first_of(
        &self,
        session: SessionId,
        lease: LeaseId,
    ) -> Option<(&str, Option<&str>)> {
        let lease = self.leases.get(&self.ticket(session, lease)?)?;
        let (namespace, key) = lease.on.first()?;
        Some((namespace, key.as_deref()))
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

    /// Gives the next lease whose turn has come: its ticket and whose it is.
    pub(super) fn give(&mut self, until: Time) -> Option<(Ticket, SessionId, LeaseId)> {
        while let Some(ticket) = self.free.pop_first() {
            let Some(lease) = self.leases.get(&ticket) else {
                continue;
            };
            let comes = planted::is(Bug::LeaseGivenToTwo) || self.is_first(ticket, lease);
            if lease.held_until.is_none() && comes {
                let (session, id) = lease.owner;
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
            // Who is behind it for the same, and for more than that.
            self.free
                .extend(queues.whole.range(ticket..).find(|t| **t != ticket));
            match key {
                Some(key) => {
                    if let Some(tickets) = queues.keys.get_mut(key) {
                        tickets.remove(&ticket);
                        self.free.extend(tickets.first());
                        if tickets.is_empty() {
                            queues.keys.remove(key);
                        }
                    }
                }
                None => {
                    queues.whole.remove(&ticket);
                    let firsts = queues.keys.values().filter_map(BTreeSet::first);
                    self.free.extend(firsts);
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
            None => queues.all.iter().any(is_others),
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
