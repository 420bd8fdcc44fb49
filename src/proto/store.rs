//! The state: namespaces of ordered keys, changed by transactions that can be rolled back.
//!
//! Cost per operation does not depend on the size of the state: a rollback restores the before
//! images of what was touched, and nothing is ever copied as a whole.

mod count;
mod dict;
mod graves;
mod held;
mod leaf;
mod transaction;
mod view;
mod wrote;

pub use count::Counted;
pub use dict::ENTRY_OVERHEAD_BYTES;
pub use held::{Found, Value};
pub use transaction::{Coming, Rights, Transaction};
pub use view::View;
pub use wrote::{Wrote, WroteKey};

use super::ids::{ProcessId, Revision};
use super::interest;
use super::limits::{
    FREED_PER_TICK_BYTES_MAX, KEY_BYTES_MAX, Limits, NAMESPACE_BYTES_MAX, VALUE_BYTES_MAX,
};
use super::operations::Span;
use super::planted::{self, Bug};
use super::value::{self, ValueError};
use dict::Dict;
use graves::{Emptied, Graves};
use held::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

pub use super::interest::{Key, Namespace};

/// The namespace of the framework's own records: readable, not writable, to users.
pub const RESERVED: &str = "";

/// Why a write was refused. The change set it belongs to is refused with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreError {
    /// A named limit.
    Limit {
        /// Its name in `limits.rs`.
        limit: &'static str,
        /// What was asked for.
        actual: u64,
        /// What is allowed.
        max: u64,
    },
    /// The namespace is the framework's.
    ReadOnly,
    /// The value is not one whole MessagePack value.
    Malformed(&'static str),
    /// What is to be added to is no integer, but this.
    NotInteger(String),
    /// The sum is no `i64`.
    Overflow,
}

fn limit(limit: &'static str, actual: usize, max: usize) -> Result<(), StoreError> {
    if actual <= max {
        return Ok(());
    }
    Err(StoreError::Limit {
        limit,
        actual: actual as u64,
        max: max as u64,
    })
}

/// Is `key` short enough?
///
/// # Errors
/// `KEY_BYTES_MAX`.
pub fn check_key(key: &str) -> Result<(), StoreError> {
    limit("KEY_BYTES_MAX", key.len(), KEY_BYTES_MAX)
}

/// Is the name of the namespace short enough?
///
/// # Errors
/// `NAMESPACE_BYTES_MAX`.
pub fn check_namespace(namespace: &str) -> Result<(), StoreError> {
    limit("NAMESPACE_BYTES_MAX", namespace.len(), NAMESPACE_BYTES_MAX)
}

/// Is `value` one that may be stored where values have so many bytes and levels at most?
///
/// # Errors
/// `VALUE_BYTES_MAX`, `DEPTH_MAX`, or `Malformed`.
pub fn check_value(value: &[u8], bytes_max: usize, depth_max: usize) -> Result<(), StoreError> {
    if !planted::is(Bug::UsualValueLimit) {
        limit("VALUE_BYTES_MAX", value.len(), bytes_max)?;
    }
    value::check_within(value, VALUE_BYTES_MAX, depth_max).map_err(|error| match error {
        ValueError::Malformed(what) => StoreError::Malformed(what),
        ValueError::TooDeep => StoreError::Limit {
            limit: "DEPTH_MAX",
            actual: depth_max as u64 + 1,
            max: depth_max as u64,
        },
        ValueError::TooLarge(actual) => StoreError::Limit {
            limit: "VALUE_BYTES_MAX",
            actual: actual as u64,
            max: VALUE_BYTES_MAX as u64,
        },
    })
}

#[derive(Debug, Default)]
struct Owned {
    keys: BTreeSet<Key>,
    bytes: usize,
}

/// All namespaces.
#[derive(Debug, Default)]
pub struct Store {
    dicts: BTreeMap<Namespace, Dict>,
    /// Who owns which keys. Invariant: a key is here, under its owner, if and only if its entry
    /// names that owner.
    owners: BTreeMap<ProcessId, BTreeMap<Namespace, Owned>>,
    /// Invariant: the sum of what the dicts weigh.
    bytes: usize,
    /// What was emptied as a whole, and is not freed yet.
    graves: Graves,
    revision: Revision,
    limits: Limits,
}

/// What a committed transaction changed.
#[derive(Debug)]
pub struct ChangeSet {
    /// The revision it took effect at.
    pub revision: Revision,
    /// By namespace and key, in order.
    pub changes: Vec<(Namespace, KeyChange)>,
    /// Namespaces that were emptied as a whole because the list would have been too large; what
    /// else the transaction wrote there is not listed.
    pub resets: Vec<Namespace>,
}

impl ChangeSet {
    /// Takes out what it did to the first of its namespaces, if that is this one.
    #[must_use]
    pub fn split_off(&mut self, namespace: &str) -> ChangeSet {
        let is_there = |name: &Namespace| **name == *namespace;
        let count = self.changes.partition_point(|(name, _)| is_there(name));
        ChangeSet {
            revision: self.revision,
            changes: self.changes.drain(..count).collect(),
            resets: self.resets.extract_if(.., |name| is_there(name)).collect(),
        }
    }
}

/// One key before and after.
#[derive(Debug, Clone)]
pub struct KeyChange {
    /// The key.
    pub key: Key,
    /// Its value before, if it was there.
    pub before: Option<Value>,
    /// Its value after, if it is there.
    pub after: Option<Value>,
}

impl Store {
    /// An empty state within these limits.
    #[must_use]
    pub fn new(limits: Limits) -> Store {
        Store {
            limits,
            ..Store::default()
        }
    }

    /// The revision of the last change.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Bytes of all keys and values, and what entries take besides.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What stands under a key.
    #[must_use]
    pub fn found(&self, namespace: &str, key: &str) -> Option<Found<'_>> {
        self.dicts.get(namespace)?.get(key)
    }

    /// One value.
    #[must_use]
    pub fn get(&self, namespace: &str, key: &str) -> Option<&[u8]> {
        self.found(namespace, key).map(|found| found.value)
    }

    /// The first key with `prefix`, or the last.
    #[must_use]
    pub fn end(&self, namespace: &str, prefix: &str, last: bool) -> Option<&str> {
        let dict = self.dicts.get(namespace)?;
        let found = match last {
            true => dict.last_before(interest::end_of_prefix(prefix).as_deref()),
            false => dict
                .onwards(Bound::Included(prefix))
                .next()
                .map(|(key, _)| key),
        };
        found.filter(|key| key.starts_with(prefix))
    }

    /// How many keys a namespace has.
    #[must_use]
    pub fn len(&self, namespace: &str) -> usize {
        self.dicts.get(namespace).map_or(0, Dict::len)
    }

    /// Entries in key order: those of the span that come after `after`.
    pub fn entries<'a, 's>(
        &'a self,
        namespace: &str,
        span: impl Into<Span<'s>>,
        after: Option<&'s str>,
    ) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let span = span.into();
        let start = span.start_after(after);
        self.dicts
            .get(namespace)
            .into_iter()
            .flat_map(move |dict| dict.onwards(start))
            .take_while(move |(key, _)| {
                let beyond = |rest: &str| rest.starts_with(|first| first > '\u{ff}');
                let rest = key.strip_prefix(span.prefix);
                let rest = rest.filter(|_| span.is_before_end(key));
                rest.is_some_and(|rest| !(beyond(rest) && planted::is(Bug::PrefixEndTooLow)))
            })
            .map(|(key, found)| (key, found.value))
    }

    /// What a process owns, by namespace.
    #[must_use]
    pub fn owned_by(&self, process: ProcessId) -> Vec<(Namespace, Key)> {
        let spaces = self.owners.get(&process).into_iter().flatten();
        spaces
            .flat_map(|(name, owned)| owned.keys.iter().map(|key| (name.clone(), key.clone())))
            .collect()
    }

    /// The one place where an entry changes; keeps the sums and the owners right.
    fn replace(&mut self, namespace: &Namespace, key: &Key, new: Option<&Entry>) -> Option<Entry> {
        let dict = match self.dicts.get_mut(namespace) {
            Some(dict) => dict,
            None => self.dicts.entry(namespace.clone()).or_default(),
        };
        self.bytes -= dict.weight();
        let old = dict.replace(key, new);
        self.bytes += dict.weight();
        if dict.len() == 0 {
            self.dicts.remove(namespace);
        }
        if let Some(old) = &old
            && let Some(owner) = old.owner
        {
            self.disown(owner, namespace, key, key.len() + old.value.len());
        }
        if let Some(new) = new
            && let Some(owner) = new.owner
        {
            let spaces = self.owners.entry(owner).or_default();
            let owned = spaces.entry(namespace.clone()).or_default();
            let again = old.as_ref().is_some_and(|old| old.owner == Some(owner));
            if !(again && planted::is(Bug::OwnedAgainForgotten)) {
                owned.keys.insert(key.clone());
            }
            owned.bytes += key.len() + new.value.len();
        }
        old
    }

    /// Takes a whole namespace out, with what is owned of it. What that costs does not depend on how
    /// much there is.
    fn take_out(&mut self, namespace: &str) -> Emptied {
        let dict = self.dicts.remove(namespace).unwrap_or_default();
        self.bytes -= dict.weight();
        let mut owners = Vec::new();
        self.owners.retain(|process, spaces| {
            if let Some(owned) = spaces.remove(namespace) {
                owners.push((*process, owned));
            }
            !spaces.is_empty()
        });
        Emptied { dict, owners }
    }

    /// Puts back what was taken out, where nothing is now.
    fn put_back(&mut self, namespace: &Namespace, emptied: Emptied) {
        self.bytes += emptied.dict.weight();
        if emptied.dict.len() > 0 {
            self.dicts.insert(namespace.clone(), emptied.dict);
        }
        for (process, owned) in emptied.owners {
            let spaces = self.owners.entry(process).or_default();
            spaces.insert(namespace.clone(), owned);
        }
    }

    /// Is there anything that was emptied and is not freed yet?
    #[must_use]
    pub fn has_graves(&self) -> bool {
        !self.graves.is_empty()
    }

    /// Bytes of it, as [`bytes`](Store::bytes) counts.
    #[must_use]
    pub fn buried_bytes(&self) -> usize {
        self.graves.bytes()
    }

    /// Frees a bounded part of it, no more than so many entries.
    pub fn free_some(&mut self, entries_max: usize) {
        self.graves.free(dict::Budget {
            entries: entries_max,
            bytes: FREED_PER_TICK_BYTES_MAX,
        });
    }

    fn disown(&mut self, owner: ProcessId, namespace: &Namespace, key: &Key, size: usize) {
        let Some(spaces) = self.owners.get_mut(&owner) else {
            return;
        };
        if let Some(owned) = spaces.get_mut(namespace) {
            owned.keys.remove(key);
            owned.bytes -= size;
            if owned.keys.is_empty() {
                spaces.remove(namespace);
            }
        }
        if spaces.is_empty() {
            self.owners.remove(&owner);
        }
    }

    /// Checks what must always hold: in tests and debug builds.
    ///
    /// # Panics
    /// When it does not.
    pub fn invariants(&self) {
        let mut bytes = 0;
        let mut owned = 0;
        for (name, dict) in &self.dicts {
            assert!(dict.len() > 0, "an empty dict is kept");
            dict.invariants();
            bytes += dict.weight();
            for (key, entry) in dict.onwards(Bound::Unbounded) {
                let Some(owner) = entry.owner else { continue };
                owned += 1;
                assert!(self.owners[&owner][name].keys.contains(key));
            }
        }
        assert_eq!(self.bytes, bytes);
        let indexed = self.owners.values().flat_map(BTreeMap::values);
        assert_eq!(owned, indexed.map(|owned| owned.keys.len()).sum::<usize>());
    }
}

#[cfg(test)]
mod tests;
