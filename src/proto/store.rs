//! The state: namespaces of ordered keys, changed by transactions that can be rolled back.
//!
//! Cost per operation does not depend on the size of the state: a rollback restores the before
//! images of what was touched, and nothing is ever copied as a whole.

use super::ids::{ProcessId, Revision};
use super::limits::{
    CHANGE_SET_BYTES_MAX, CHANGE_SET_CHANGES_MAX, KEY_BYTES_MAX, NAMESPACE_BYTES_MAX,
    NAMESPACES_MAX, OWNED_BYTES_MAX, OWNED_KEYS_MAX, STATE_BYTES_MAX,
};
use super::planted::{self, Bug};
use super::value::{self, ValueError};
use super::watch::{Interest, ReadSet};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// The name of a namespace, shared by all that mention it.
pub type Namespace = Arc<str>;
/// A key, shared by the state and the log.
pub type Key = Arc<str>;
/// A value, shared by the state and the log.
pub type Value = Arc<[u8]>;

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

/// Is `value` one that may be stored?
///
/// # Errors
/// `VALUE_BYTES_MAX`, `DEPTH_MAX`, or `Malformed`.
pub fn check_value(value: &[u8]) -> Result<(), StoreError> {
    value::check(value).map_err(|error| match error {
        ValueError::Malformed(what) => StoreError::Malformed(what),
        ValueError::TooDeep => StoreError::Limit {
            limit: "DEPTH_MAX",
            actual: super::limits::DEPTH_MAX as u64 + 1,
            max: super::limits::DEPTH_MAX as u64,
        },
        ValueError::TooLarge(actual) => StoreError::Limit {
            limit: "VALUE_BYTES_MAX",
            actual: actual as u64,
            max: super::limits::VALUE_BYTES_MAX as u64,
        },
    })
}

#[derive(Debug, Clone)]
struct Entry {
    value: Value,
    owner: Option<ProcessId>,
}

#[derive(Debug, Default)]
struct Dict {
    entries: BTreeMap<Key, Entry>,
    /// Invariant: the sum of the lengths of all keys and values.
    bytes: usize,
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
    bytes: usize,
    revision: Revision,
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
    /// The revision of the last change.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// One value.
    #[must_use]
    pub fn get(&self, namespace: &str, key: &str) -> Option<&Value> {
        let entry = self.dicts.get(namespace)?.entries.get(key)?;
        Some(&entry.value)
    }

    /// How many keys a namespace has.
    #[must_use]
    pub fn len(&self, namespace: &str) -> usize {
        self.dicts.get(namespace).map_or(0, |d| d.entries.len())
    }

    /// Entries in key order: those that start with `prefix` and come after `after`.
    pub fn entries<'a>(
        &'a self,
        namespace: &str,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Key, &'a Value)> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.dicts
            .get(namespace)
            .into_iter()
            .flat_map(move |dict| dict.entries.range::<str, _>((start, Bound::Unbounded)))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(key, entry)| (key, &entry.value))
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
    fn replace(&mut self, namespace: &Namespace, key: &Key, new: Option<Entry>) -> Option<Entry> {
        let dict = self.dicts.entry(namespace.clone()).or_default();
        let mut owner_of_new = None;
        if let Some(new) = &new {
            let size = key.len() + new.value.len();
            dict.bytes += size;
            self.bytes += size;
            owner_of_new = new.owner.map(|owner| (owner, size));
        }
        let old = match new {
            Some(new) => dict.entries.insert(key.clone(), new),
            None => dict.entries.remove(key),
        };
        if let Some(old) = &old {
            let size = key.len() + old.value.len();
            dict.bytes -= size;
            self.bytes -= size;
            if let Some(owner) = old.owner {
                self.disown(owner, namespace, key, size);
            }
        }
        if dict_is_empty(&self.dicts, namespace) {
            self.dicts.remove(namespace);
        }
        if let Some((owner, size)) = owner_of_new {
            let spaces = self.owners.entry(owner).or_default();
            let owned = spaces.entry(namespace.clone()).or_default();
            owned.keys.insert(key.clone());
            owned.bytes += size;
        }
        old
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

    /// Begins a change set. `process` is who asks: it owns what is written as owned.
    pub fn transaction(&mut self, process: ProcessId, rights: Rights) -> Transaction<'_> {
        Transaction {
            store: self,
            process,
            rights,
            before: BTreeMap::new(),
            resets: BTreeMap::new(),
            bytes: 0,
            failed: None,
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
            assert!(!dict.entries.is_empty(), "an empty dict is kept");
            let size = |(key, entry): (&Key, &Entry)| key.len() + entry.value.len();
            assert_eq!(dict.bytes, dict.entries.iter().map(size).sum::<usize>());
            bytes += dict.bytes;
            for (key, entry) in &dict.entries {
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

fn dict_is_empty(dicts: &BTreeMap<Namespace, Dict>, namespace: &str) -> bool {
    dicts
        .get(namespace)
        .is_some_and(|dict| dict.entries.is_empty())
}

/// Who may write where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// Everything but the reserved namespace, within the limits of a change set.
    User,
    /// The framework: the reserved namespace too. What it writes is bounded by its caller.
    Framework,
}

/// What one namespace held when it was emptied as a whole.
#[derive(Debug)]
struct Emptied {
    dict: Dict,
    owners: Vec<(ProcessId, Owned)>,
}

/// A change set in the making. Writes are in the store at once; dropped without
/// [`commit`](Transaction::commit), they are undone.
#[derive(Debug)]
pub struct Transaction<'a> {
    store: &'a mut Store,
    process: ProcessId,
    rights: Rights,
    /// The undo log: what each touched key was before its first change.
    before: BTreeMap<(Namespace, Key), Option<Entry>>,
    resets: BTreeMap<Namespace, Emptied>,
    /// Invariant: the sum over `before` of key, value before and value now.
    bytes: usize,
    /// The first refused write. It sticks: such a change set can't be committed.
    failed: Option<StoreError>,
}

impl Transaction<'_> {
    /// One value, own writes included.
    #[must_use]
    pub fn get(&self, namespace: &str, key: &str) -> Option<&[u8]> {
        self.store.get(namespace, key).map(|value| &**value)
    }

    /// Is the key there?
    #[must_use]
    pub fn contains(&self, namespace: &str, key: &str) -> bool {
        self.get(namespace, key).is_some()
    }

    /// How many keys the namespace has.
    #[must_use]
    pub fn len(&self, namespace: &str) -> usize {
        self.store.len(namespace)
    }

    /// Entries that start with `prefix`, in key order.
    pub fn entries<'a>(
        &'a self,
        namespace: &str,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.store
            .entries(namespace, prefix, None)
            .map(|(key, value)| (&**key, &**value))
    }

    /// The revision that this change set will have.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.store.revision.next()
    }

    /// The process for which it runs.
    #[must_use]
    pub fn process(&self) -> ProcessId {
        self.process
    }

    /// Writes one value that nobody owns.
    ///
    /// # Errors
    /// See [`StoreError`]; the change set is lost with the first.
    pub fn set(&mut self, namespace: &str, key: &str, value: &[u8]) -> Result<(), StoreError> {
        let result = self.try_set(namespace, key, value, None);
        self.note(result)
    }

    /// Writes one value that goes when the process of this transaction ends.
    ///
    /// # Errors
    /// See [`StoreError`]; the change set is lost with the first.
    pub fn set_owned(
        &mut self,
        namespace: &str,
        key: &str,
        value: &[u8],
    ) -> Result<(), StoreError> {
        let result = self.try_set(namespace, key, value, Some(self.process));
        self.note(result)
    }

    /// Removes one key, if it is there, and gives its value.
    ///
    /// # Errors
    /// See [`StoreError`]; the change set is lost with the first.
    pub fn remove(&mut self, namespace: &str, key: &str) -> Result<Option<Value>, StoreError> {
        let result = self.try_remove(namespace, key);
        self.note(result)
    }

    /// Removes all keys of a namespace.
    ///
    /// # Errors
    /// See [`StoreError`]; the change set is lost with the first.
    pub fn clear(&mut self, namespace: &str) -> Result<(), StoreError> {
        let result = self.try_clear(namespace);
        self.note(result)
    }

    fn note<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &result {
            self.failed.get_or_insert_with(|| error.clone());
        }
        result
    }

    fn writable(&self, namespace: &str) -> Result<(), StoreError> {
        if namespace == RESERVED && self.rights == Rights::User {
            return Err(StoreError::ReadOnly);
        }
        check_namespace(namespace)
    }

    fn try_set(
        &mut self,
        namespace: &str,
        key: &str,
        value: &[u8],
        owner: Option<ProcessId>,
    ) -> Result<(), StoreError> {
        self.writable(namespace)?;
        check_key(key)?;
        check_value(value)?;
        let dict = self.store.dicts.get_key_value(namespace);
        if dict.is_none() {
            let count = self.store.dicts.len() + 1;
            limit("NAMESPACES_MAX", count, NAMESPACES_MAX)?;
        }
        let old = dict.and_then(|(_, dict)| dict.entries.get_key_value(key));
        // The names are shared with what is there already.
        let shared_key = old.map_or_else(|| Arc::from(key), |(key, _)| key.clone());
        let freed = old.map_or(0, |(key, entry)| key.len() + entry.value.len());
        let namespace = dict.map_or_else(|| Arc::from(namespace), |(name, _)| name.clone());
        let size = key.len() + value.len();
        let total = self.store.bytes - freed + size;
        limit("STATE_BYTES_MAX", total, STATE_BYTES_MAX)?;
        let owner_before = old.and_then(|(_, entry)| entry.owner);
        let owner = if planted::is(Bug::OwnerNotReplaced) {
            owner.or(owner_before)
        } else {
            owner
        };
        if let Some(owner) = owner {
            let returned = if owner_before == Some(owner) {
                freed
            } else {
                0
            };
            self.check_owned(owner, size, returned)?;
        }
        let value = Value::from(value);
        self.change(&namespace, &shared_key, Some(Entry { value, owner }))
    }

    fn check_owned(&self, owner: ProcessId, size: usize, freed: usize) -> Result<(), StoreError> {
        let spaces = self.store.owners.get(&owner).into_iter();
        let (keys, bytes) = spaces
            .flat_map(BTreeMap::values)
            .fold((0, 0), |(k, b), o| (k + o.keys.len(), b + o.bytes));
        limit("OWNED_BYTES_MAX", bytes - freed + size, OWNED_BYTES_MAX)?;
        let added = usize::from(freed == 0);
        limit("OWNED_KEYS_MAX", keys + added, OWNED_KEYS_MAX)
    }

    fn try_remove(&mut self, namespace: &str, key: &str) -> Result<Option<Value>, StoreError> {
        self.writable(namespace)?;
        let Some((namespace, dict)) = self.store.dicts.get_key_value(namespace) else {
            return Ok(None);
        };
        let Some((key, entry)) = dict.entries.get_key_value(key) else {
            return Ok(None);
        };
        let (namespace, key, value) = (namespace.clone(), key.clone(), entry.value.clone());
        self.change(&namespace, &key, None)?;
        Ok(Some(value))
    }

    fn try_clear(&mut self, namespace: &str) -> Result<(), StoreError> {
        self.writable(namespace)?;
        let Some((name, dict)) = self.store.dicts.get_key_value(namespace) else {
            return Ok(());
        };
        let name = name.clone();
        let fits = self.bytes + dict.bytes <= CHANGE_SET_BYTES_MAX
            && self.before.len() + dict.entries.len() <= CHANGE_SET_CHANGES_MAX;
        if fits {
            let keys: Vec<Key> = dict.entries.keys().cloned().collect();
            for key in keys {
                self.change(&name, &key, None)?;
            }
            return Ok(());
        }
        // Taken out whole: what it costs does not depend on how much there is.
        let dict = self
            .store
            .dicts
            .remove(&name)
            .expect("the dict was just found");
        self.store.bytes -= dict.bytes;
        let mut owners = Vec::new();
        self.store.owners.retain(|process, spaces| {
            if let Some(owned) = spaces.remove(&name) {
                owners.push((*process, owned));
            }
            !spaces.is_empty()
        });
        // What a second clear of one transaction removes was written after the first: nobody
        // needs it back.
        self.resets.entry(name).or_insert(Emptied { dict, owners });
        Ok(())
    }

    /// Changes one key, noting what it was before the first change.
    fn change(
        &mut self,
        namespace: &Namespace,
        key: &Key,
        new: Option<Entry>,
    ) -> Result<(), StoreError> {
        if self.resets.contains_key(namespace) {
            // Rollback puts the whole namespace back, so no single key need be remembered; but
            // what is written is bounded all the same.
            self.bytes += new.as_ref().map_or(0, |new| key.len() + new.value.len());
            self.check_size(0)?;
            self.store.replace(namespace, key, new);
            return Ok(());
        }
        let id = (namespace.clone(), key.clone());
        let new_len = new.as_ref().map_or(0, |entry| entry.value.len());
        let now = self
            .store
            .dicts
            .get(namespace)
            .and_then(|d| d.entries.get(key));
        let now_len = now.map_or(0, |entry| entry.value.len());
        let first = !self.before.contains_key(&id);
        let bytes = if first {
            self.bytes + key.len() + now_len + new_len
        } else {
            self.bytes - now_len + new_len
        };
        let bytes_before = std::mem::replace(&mut self.bytes, bytes);
        if let Err(error) = self.check_size(usize::from(first)) {
            self.bytes = bytes_before;
            return Err(error);
        }
        let old = self.store.replace(namespace, key, new);
        if first {
            self.before.insert(id, old);
        }
        Ok(())
    }

    fn check_size(&self, added: usize) -> Result<(), StoreError> {
        if self.rights == Rights::Framework {
            return Ok(());
        }
        limit("CHANGE_SET_BYTES_MAX", self.bytes, CHANGE_SET_BYTES_MAX)?;
        let count = self.before.len() + added;
        limit("CHANGE_SET_CHANGES_MAX", count, CHANGE_SET_CHANGES_MAX)
    }

    /// Makes it last, at the next revision. `None`: it changed nothing, and there is no revision.
    ///
    /// # Errors
    /// The first refused write, if there was one: then all is undone.
    pub fn commit(mut self) -> Result<Option<ChangeSet>, StoreError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let before = std::mem::take(&mut self.before);
        let resets = std::mem::take(&mut self.resets);
        if before.is_empty() && resets.is_empty() {
            return Ok(None);
        }
        self.store.revision = self.store.revision.next();
        let changes = before
            .into_iter()
            .filter(|((namespace, _), _)| !resets.contains_key(namespace))
            .map(|((namespace, key), before)| {
                let after = self.store.get(&namespace, &key).cloned();
                let before = before.map(|entry| entry.value);
                (namespace, KeyChange { key, before, after })
            })
            .collect();
        let change_set = ChangeSet {
            revision: self.store.revision,
            changes,
            resets: resets.into_keys().collect(),
        };
        Ok(Some(change_set))
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // First the namespaces as they were when they were emptied, then the keys as they were
        // before that.
        for (name, emptied) in std::mem::take(&mut self.resets) {
            let written: Vec<Key> = self
                .store
                .dicts
                .get(&name)
                .map_or_else(Vec::new, |dict| dict.entries.keys().cloned().collect());
            for key in written {
                self.store.replace(&name, &key, None);
            }
            self.store.bytes += emptied.dict.bytes;
            self.store.dicts.insert(name.clone(), emptied.dict);
            for (process, owned) in emptied.owners {
                let spaces = self.store.owners.entry(process).or_default();
                spaces.insert(name.clone(), owned);
            }
        }
        let before = std::mem::take(&mut self.before);
        let missed = usize::from(planted::is(Bug::UndoMissed) && before.len() > 1);
        for ((namespace, key), entry) in before.into_iter().skip(missed) {
            self.store.replace(&namespace, &key, entry);
        }
    }
}

/// The state as a condition sees it: at one revision, read-only, and every read is noted, so that
/// the condition is tested again when, and only when, one of them may have changed.
#[derive(Debug)]
pub struct View<'a> {
    store: &'a Store,
    reads: RefCell<ReadSet>,
}

impl<'a> View<'a> {
    /// A view of the state as it is.
    #[must_use]
    pub fn new(store: &'a Store) -> View<'a> {
        View {
            store,
            reads: RefCell::default(),
        }
    }

    /// One value.
    #[must_use]
    pub fn get(&self, namespace: &str, key: &str) -> Option<&[u8]> {
        self.note(namespace, Interest::Key(Arc::from(key)));
        self.store.get(namespace, key).map(|value| &**value)
    }

    /// Is the key there?
    #[must_use]
    pub fn contains(&self, namespace: &str, key: &str) -> bool {
        self.get(namespace, key).is_some()
    }

    /// How many keys the namespace has.
    #[must_use]
    pub fn len(&self, namespace: &str) -> usize {
        self.note(namespace, Interest::Prefix(Arc::from("")));
        self.store.len(namespace)
    }

    /// Entries that start with `prefix`, in key order.
    pub fn entries<'b>(
        &'b self,
        namespace: &str,
        prefix: &'b str,
    ) -> impl Iterator<Item = (&'b str, &'b [u8])> {
        self.note(namespace, Interest::Prefix(Arc::from(prefix)));
        self.store
            .entries(namespace, prefix, None)
            .map(|(key, value)| (&**key, &**value))
    }

    /// The revision that is seen.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.store.revision
    }

    fn note(&self, namespace: &str, interest: Interest) {
        self.reads.borrow_mut().insert(namespace, interest);
    }

    /// What was read.
    #[must_use]
    pub fn into_reads(self) -> ReadSet {
        self.reads.into_inner()
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
