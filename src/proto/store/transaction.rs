//! Change sets: written into the state at once, and undone unless they are committed.

use super::graves::Emptied;
use super::held::{Entry, Found, Value};
use super::{
    ChangeSet, Key, KeyChange, Namespace, RESERVED, Store, StoreError, Wrote, WroteKey,
    check_namespace, check_value, dict, limit,
};
use crate::proto::ids::{ProcessId, Revision};
use crate::proto::limits::Limits;
use crate::proto::marks::{self, Mark};
use crate::proto::operations::Span;
use crate::proto::planted::{self, Bug};
use crate::proto::value;
use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// Who may write where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// Everything but the reserved namespace, within the limits of a change set.
    User,
    /// The framework: the reserved namespace too. What it writes is bounded by its caller.
    Framework,
}

/// What is to be written into a namespace after it has been cleared.
#[derive(Debug, Clone, Copy, Default)]
pub struct Coming {
    /// How many entries.
    pub entries: usize,
    /// Bytes of their keys and values.
    pub bytes: usize,
}

/// One key that was touched.
#[derive(Debug)]
struct Touched {
    namespace: Namespace,
    key: Key,
    /// What it was before its first change.
    before: Option<Entry>,
    /// What its first change made of it.
    after: Option<Value>,
}

/// A change set in the making. Writes are in the store at once; dropped without
/// [`commit`](Transaction::commit), they are undone.
#[derive(Debug)]
pub struct Transaction<'a> {
    store: &'a mut Store,
    process: ProcessId,
    rights: Rights,
    /// The undo log, in the order of the first changes. Invariant: each key stands in it once. That one
    /// does is seen from its entry, which has the revision of this change set, or from `removed`.
    touched: Vec<Touched>,
    /// Those of `touched` that are not there now.
    removed: BTreeSet<(Namespace, Key)>,
    /// Is there one that was changed again?
    changed_again: bool,
    /// What was there before the first clear of each namespace that was emptied as a whole.
    resets: BTreeMap<Namespace, Emptied>,
    /// Invariant: the sum over `touched` of key, value before and value now.
    bytes: usize,
    /// The first refused write. It sticks: such a change set can't be committed.
    failed: Option<StoreError>,
}

impl Store {
    /// Begins a change set. `process` is who asks: it owns what is written as owned.
    pub fn transaction(&mut self, process: ProcessId, rights: Rights) -> Transaction<'_> {
        Transaction {
            store: self,
            process,
            rights,
            touched: Vec::new(),
            removed: BTreeSet::new(),
            changed_again: false,
            resets: BTreeMap::new(),
            bytes: 0,
            failed: None,
        }
    }
}

impl Transaction<'_> {
    /// One value, own writes included.
    #[must_use]
    pub fn get(&self, namespace: &str, key: &str) -> Option<&[u8]> {
        self.store.get(namespace, key)
    }

    /// Is the key there?
    #[must_use]
    pub fn contains(&self, namespace: &str, key: &str) -> bool {
        self.get(namespace, key).is_some()
    }

    /// One value, own writes included, and the revision that wrote it: for an own write the one to
    /// come.
    #[must_use]
    pub fn found(&self, namespace: &str, key: &str) -> Option<Found<'_>> {
        self.store.found(namespace, key)
    }

    /// How many keys the namespace has.
    #[must_use]
    pub fn len(&self, namespace: &str) -> usize {
        self.store.len(namespace)
    }

    /// Entries of the span that come after `after`, in key order.
    pub fn entries<'a, 's>(
        &'a self,
        namespace: &str,
        span: impl Into<Span<'s>>,
        after: Option<&'s str>,
    ) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.store.entries(namespace, span, after)
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

    /// Has anything been written?
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        !self.touched.is_empty() || !self.resets.is_empty()
    }

    /// The first write that was refused, if one was: it is what the change set fails for, whatever
    /// its function made of it.
    #[must_use]
    pub fn refused(&self) -> Option<&StoreError> {
        self.failed.as_ref()
    }

    /// What was to be written can't even be tried: the change set is lost with it.
    pub fn refuse(&mut self, error: StoreError) {
        self.failed.get_or_insert(error);
    }

    /// Undoes all that was done: as if the change set were begun now.
    pub fn roll_back(&mut self) {
        self.undo();
        self.bytes = 0;
        self.failed = None;
    }

    /// What has been written so far.
    #[must_use]
    pub fn wrote(&self) -> Wrote {
        let touched = self.touched.iter();
        let touched = touched.map(|touched| (touched.namespace.clone(), touched.key.clone()));
        let whole = self.resets.keys();
        // Of what was emptied, everything that is there has been written since.
        let refilled = whole.clone().flat_map(|name| {
            let entries = self.store.entries(name, "", None);
            entries.map(|(key, _)| (name.clone(), Key::from(key)))
        });
        let keys = touched.chain(refilled).map(|id| {
            let now = self.store.found(&id.0, &id.1).map(|found| WroteKey {
                value: found.to_value(),
                keeps_owner: found.owner.is_some(),
            });
            (id, now)
        });
        Wrote {
            keys: keys.collect(),
            cleared: whole.cloned().collect(),
        }
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

    /// Removes the first key that starts with `prefix`, or the last, and gives it.
    ///
    /// # Errors
    /// See [`StoreError`]; the change set is lost with the first.
    pub fn pop(
        &mut self,
        namespace: &str,
        prefix: &str,
        last: bool,
    ) -> Result<Option<(Key, Value)>, StoreError> {
        let Some(key) = self.store.end(namespace, prefix, last).map(Key::from) else {
            return Ok(None);
        };
        let value = self.remove(namespace, &key)?;
        Ok(value.map(|value| (key, value)))
    }

    /// Adds to an integer, where a key that is not there counts as 0, and gives the sum. A key that
    /// somebody owns stays its owner's.
    ///
    /// # Errors
    /// [`StoreError::NotInteger`] and [`StoreError::Overflow`], with which nothing is written or
    /// lost; or another, with which the change set is.
    pub fn add(&mut self, namespace: &str, key: &str, by: i64) -> Result<i64, StoreError> {
        let there = self.store.found(namespace, key);
        let number = match there {
            None => 0,
            Some(entry) => value::as_integer(entry.value)
                .ok_or_else(|| StoreError::NotInteger(value::describe(entry.value)))?,
        };
        let sum = i64::try_from(number + i128::from(by)).map_err(|_| StoreError::Overflow)?;
        let owner = there.and_then(|entry| entry.owner);
        let result = self.try_set(namespace, key, &value::integer(sum), owner);
        self.note(result)?;
        Ok(sum)
    }

    /// Removes all keys of a namespace.
    ///
    /// # Errors
    /// See [`StoreError`]; the change set is lost with the first.
    pub fn clear(&mut self, namespace: &str) -> Result<(), StoreError> {
        self.clear_before(namespace, Coming::default())
    }

    /// Removes all keys of a namespace, where it is known what is written there next: what goes and
    /// what comes are listed together or not at all.
    ///
    /// # Errors
    /// See [`StoreError`]; the change set is lost with the first.
    pub fn clear_before(&mut self, namespace: &str, coming: Coming) -> Result<(), StoreError> {
        let result = self.try_clear(namespace, coming);
        self.note(result)
    }

    fn note<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &result
            && !planted::is(Bug::RefusalForgotten)
        {
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
        // What the framework writes is bounded by the number of processes, and must never fail for
        // want of what users have filled: the end of a process would be undone.
        let counts = self.rights == Rights::User;
        let limits = self.store.limits;
        let of_entry = if counts { limits } else { Limits::USUAL };
        limit("KEY_BYTES_MAX", key.len(), of_entry.key_bytes_max)?;
        check_value(value, of_entry.value_bytes_max, of_entry.depth_max)?;
        let known = self.store.dicts.get_key_value(namespace);
        if known.is_none() && counts {
            // The framework's own is none of the users'.
            let own = usize::from(self.store.dicts.contains_key(RESERVED));
            let count = self.store.dicts.len() - own + 1;
            limit("NAMESPACES_MAX", count, limits.namespaces_max)?;
        }
        let namespace = known.map_or_else(|| Arc::from(namespace), |(name, _)| name.clone());
        let owner = match planted::is(Bug::OwnerNotReplaced) {
            true => owner.or_else(|| self.store.found(&namespace, key)?.owner),
            false => owner,
        };
        let entry = Entry {
            value: Value::from(value),
            owner,
            revision: self.revision(),
        };
        self.change(&namespace, Arc::from(key), Some(entry))
    }

    /// May the state be as large as it has become? What was emptied and not freed yet is in nobody's
    /// way: as much of it goes as room is wanted for.
    fn check_state(&mut self) -> Result<(), StoreError> {
        let (total, max) = (self.store.bytes, self.store.limits.state_bytes_max);
        limit("STATE_BYTES_MAX", total, max)?;
        let graves = &mut self.store.graves;
        while total + graves.bytes() > max {
            graves.free(dict::Budget {
                entries: dict::FREED_AT_LEAST,
                bytes: total + graves.bytes() - max,
            });
        }
        Ok(())
    }

    /// May this process own as much as it now does? One of the keys it may have only just come to.
    fn check_owned(&self, owner: ProcessId, is_new: bool) -> Result<(), StoreError> {
        let spaces = self.store.owners.get(&owner).into_iter();
        let (keys, bytes) = spaces
            .flat_map(BTreeMap::values)
            .fold((0, 0), |(k, b), o| (k + o.keys.len(), b + o.bytes));
        let Limits {
            owned_bytes_max,
            owned_keys_max,
            ..
        } = self.store.limits;
        limit("OWNED_BYTES_MAX", bytes, owned_bytes_max)?;
        let uncounted = usize::from(is_new && planted::is(Bug::OwnedCountedBefore));
        limit("OWNED_KEYS_MAX", keys - uncounted, owned_keys_max)
    }

    fn try_remove(&mut self, namespace: &str, key: &str) -> Result<Option<Value>, StoreError> {
        self.writable(namespace)?;
        let Some((namespace, dict)) = self.store.dicts.get_key_value(namespace) else {
            return Ok(None);
        };
        let Some(found) = dict.get(key) else {
            return Ok(None);
        };
        let (namespace, value) = (namespace.clone(), found.to_value());
        self.change(&namespace, Key::from(key), None)?;
        Ok(Some(value))
    }

    fn try_clear(&mut self, namespace: &str, coming: Coming) -> Result<(), StoreError> {
        self.writable(namespace)?;
        let Some((name, dict)) = self.store.dicts.get_key_value(namespace) else {
            return Ok(());
        };
        let name = name.clone();
        let limits = &self.store.limits;
        let bytes = self.bytes + dict.bytes() + coming.bytes;
        let changes = self.touched.len() + dict.len() + coming.entries;
        let fits = bytes <= limits.change_set_bytes_max && changes <= limits.change_set_changes_max;
        if fits {
            let entries = dict.onwards(Bound::Unbounded);
            let keys: Vec<Key> = entries.map(|(key, _)| Key::from(key)).collect();
            for key in keys {
                self.change(&name, key, None)?;
            }
            return Ok(());
        }
        marks::reached(Mark::ResetLogged);
        let emptied = self.store.take_out(&name);
        match self.resets.entry(name) {
            Slot::Vacant(first) => {
                first.insert(emptied);
            }
            // It was written after the first clear of this transaction: nobody needs it back.
            Slot::Occupied(_) => self.store.graves.bury(emptied),
        }
        Ok(())
    }

    /// Changes one key, noting what it was before the first change. What is refused is undone at
    /// once: so a key is looked for only once.
    fn change(
        &mut self,
        namespace: &Namespace,
        key: Key,
        new: Option<Entry>,
    ) -> Result<(), StoreError> {
        let old = self.store.replace(namespace, &key, new.as_ref());
        let bytes_before = self.bytes;
        let first = match self.check(namespace, &key, (old.as_ref(), new.as_ref())) {
            Ok(first) => first,
            Err(error) => {
                self.bytes = bytes_before;
                self.store.replace(namespace, &key, old.as_ref());
                return Err(error);
            }
        };
        if self.resets.contains_key(namespace) {
            // Rollback puts the whole namespace back, so no single key need be remembered.
            return Ok(());
        }
        match (&old, &new) {
            (Some(_), None) => {
                self.removed.insert((namespace.clone(), key.clone()));
            }
            (None, Some(_)) if !first => {
                self.removed.remove(&(namespace.clone(), key.clone()));
            }
            _ => {}
        }
        if first {
            self.touched.push(Touched {
                namespace: namespace.clone(),
                key,
                before: old,
                after: new.map(|new| new.value),
            });
            return Ok(());
        }
        self.changed_again = true;
        if planted::is(Bug::UndoKeepsLast) {
            let mut touched = self.touched.iter_mut();
            let this = touched.find(|there| there.namespace == *namespace && there.key == key);
            if let Some(this) = this {
                this.before = old;
            }
        }
        Ok(())
    }

    /// May a key have become this of that? Counts it, and tells whether it is its first change.
    fn check(
        &mut self,
        namespace: &Namespace,
        key: &Key,
        (old, new): (Option<&Entry>, Option<&Entry>),
    ) -> Result<bool, StoreError> {
        if let Some(new) = new {
            self.check_entry(old, new)?;
        }
        let length = |entry: Option<&Entry>| entry.map_or(0, |entry| entry.value.len());
        if self.resets.contains_key(namespace) {
            self.bytes += new.map_or(0, |new| key.len() + new.value.len());
            self.check_size(self.touched.len())?;
            return Ok(true);
        }
        let first = match old {
            Some(old) => old.revision != self.revision(),
            None if self.removed.is_empty() => true,
            None => !self.removed.contains(&(namespace.clone(), key.clone())),
        };
        if first {
            self.bytes += key.len() + length(old) + length(new);
        } else {
            self.bytes = self.bytes - length(old) + length(new);
        }
        let checked = self.check_size(self.touched.len() + usize::from(first));
        marks::reached_if(checked.is_err(), Mark::ChangeSetTooLarge);
        checked.map(|()| first)
    }

    /// May this entry be there, in the place of that one?
    fn check_entry(&mut self, old: Option<&Entry>, new: &Entry) -> Result<(), StoreError> {
        if self.rights == Rights::User {
            self.check_state()?;
        }
        let before = old.and_then(|old| old.owner);
        marks::reached_if(
            before.is_some() && before == new.owner,
            Mark::OwnerOverwrites,
        );
        marks::reached_if(before.is_some() && new.owner.is_none(), Mark::OwnerLet);
        let Some(owner) = new.owner else {
            return Ok(());
        };
        marks::reached_if(before.is_some_and(|b| b != owner), Mark::OwnerChanges);
        self.check_owned(owner, before != Some(owner))
    }

    fn check_size(&self, count: usize) -> Result<(), StoreError> {
        if self.rights == Rights::Framework {
            return Ok(());
        }
        let limits = &self.store.limits;
        let bytes_max = limits.change_set_bytes_max;
        limit("CHANGE_SET_BYTES_MAX", self.bytes, bytes_max)?;
        let changes_max = limits.change_set_changes_max;
        limit("CHANGE_SET_CHANGES_MAX", count, changes_max)
    }

    /// Makes it last, at the next revision. `None`: it changed nothing, and there is no revision.
    ///
    /// # Errors
    /// The first refused write, if there was one: then all is undone.
    pub fn commit(mut self) -> Result<Option<ChangeSet>, StoreError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut touched = std::mem::take(&mut self.touched);
        let resets = std::mem::take(&mut self.resets);
        if touched.is_empty() && resets.is_empty() {
            return Ok(None);
        }
        self.store.revision = self.store.revision.next();
        touched.retain(|touched| !resets.contains_key(&touched.namespace));
        // Mostly they are in order already, which takes one comparison each.
        touched.sort_by(|one, other| match one.namespace == other.namespace {
            true => one.key.cmp(&other.key),
            false => one.namespace.cmp(&other.namespace),
        });
        if self.changed_again {
            for touched in &mut touched {
                let found = self.store.found(&touched.namespace, &touched.key);
                touched.after = found.map(|found| found.to_value());
            }
        }
        let change = |touched: Touched| {
            let before = touched.before.map(|entry| entry.value);
            let (key, after) = (touched.key, touched.after);
            (touched.namespace, KeyChange { key, before, after })
        };
        let changes = touched.into_iter().map(change).collect();
        let emptied = |(name, emptied)| {
            self.store.graves.bury(emptied);
            name
        };
        let change_set = ChangeSet {
            revision: self.store.revision,
            changes,
            resets: resets.into_iter().map(emptied).collect(),
        };
        Ok(Some(change_set))
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        self.undo();
    }
}

impl Transaction<'_> {
    fn undo(&mut self) {
        // First the namespaces as they were when they were emptied, then the keys as they were
        // before that.
        for (name, emptied) in std::mem::take(&mut self.resets) {
            let written = self.store.take_out(&name);
            self.store.graves.bury(written);
            self.store.put_back(&name, emptied);
        }
        let before = std::mem::take(&mut self.touched);
        if planted::is(Bug::RollbackTakesRevision) && before.len() > 1 {
            self.store.revision = self.store.revision.next();
        }
        self.removed.clear();
        self.changed_again = false;
        let missed = usize::from(planted::is(Bug::UndoMissed) && before.len() > 1);
        for touched in before.into_iter().skip(missed) {
            let mut before = touched.before;
            if let Some(entry) = &mut before
                && planted::is(Bug::OwnerNotRestored)
            {
                entry.owner = None;
            }
            self.store
                .replace(&touched.namespace, &touched.key, before.as_ref());
        }
    }
}
