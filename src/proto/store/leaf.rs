//! A run of entries in key order, one behind the other: what is the same for each of them takes no
//! allocation of its own.

use super::held::{Entry, Found, Value};
use crate::proto::ids::{ProcessId, Revision};
use std::ops::Range;

/// Most entries of a leaf. In the simulator, where namespaces are small, so few that they have many.
pub(super) const ENTRIES_MAX: usize = if cfg!(feature = "simulation") { 8 } else { 64 };
/// Most bytes of keys and values in a leaf with more than a few entries.
const BYTES_MAX: usize = 4096;
/// Largest value that stands in the leaf. A larger one is shared with the log: it is not copied, and
/// not moved when its neighbours are.
const IN_LEAF_BYTES_MAX: usize = 128;

/// Where an entry ends that begins where the one before it does, and what is known of it.
#[derive(Debug, Clone, Copy)]
struct Slot {
    revision: Revision,
    key_end: u16,
    value_end: u16,
    is_shared: bool,
    is_owned: bool,
}

/// Some entries. Those before and behind it in the dict are in other leaves.
#[derive(Debug, Default)]
pub(super) struct Leaf {
    slots: Vec<Slot>,
    keys: String,
    values: Vec<u8>,
    /// The values of those slots that say so, in their order.
    shared: Vec<Value>,
    /// The owners of those slots that say so, in their order.
    owners: Vec<ProcessId>,
}

impl Leaf {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Is it to be split?
    pub(super) fn is_overfull(&self) -> bool {
        self.len() > ENTRIES_MAX || self.bytes() > BYTES_MAX && self.len() > 1
    }

    /// So few entries that another leaf should have them?
    pub(super) fn is_small(&self) -> bool {
        self.len() < ENTRIES_MAX / 4
    }

    /// Is there room for both in one, and for as much again?
    pub(super) fn fits_with(&self, other: &Leaf) -> bool {
        self.len() + other.len() <= ENTRIES_MAX / 2 && self.bytes() + other.bytes() <= BYTES_MAX / 2
    }

    /// Of what stands in it.
    fn bytes(&self) -> usize {
        self.keys.len() + self.values.len()
    }

    /// Where a key is, or else where it would be.
    pub(super) fn place(&self, key: &str) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            let there = &self.keys.as_bytes()[self.key_range(middle)];
            match there.cmp(key.as_bytes()) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Where the keys of the entry at this place begin, and the values.
    fn starts(&self, at: usize) -> (usize, usize) {
        let before = at.checked_sub(1).map(|before| &self.slots[before]);
        before.map_or((0, 0), |slot| (slot.key_end.into(), slot.value_end.into()))
    }

    fn key_range(&self, at: usize) -> Range<usize> {
        self.starts(at).0..self.slots[at].key_end.into()
    }

    fn value_range(&self, at: usize) -> Range<usize> {
        self.starts(at).1..self.slots[at].value_end.into()
    }

    /// How many of those before it are shared.
    fn shared_before(&self, at: usize) -> usize {
        match self.shared.is_empty() {
            true => 0,
            false => self.slots[..at].iter().filter(|s| s.is_shared).count(),
        }
    }

    /// How many of those before it are owned.
    fn owned_before(&self, at: usize) -> usize {
        match self.owners.is_empty() {
            true => 0,
            false => self.slots[..at].iter().filter(|s| s.is_owned).count(),
        }
    }

    pub(super) fn key(&self, at: usize) -> &str {
        &self.keys[self.key_range(at)]
    }

    pub(super) fn found(&self, at: usize) -> Found<'_> {
        let slot = &self.slots[at];
        let shared = slot.is_shared.then(|| &self.shared[self.shared_before(at)]);
        Found {
            value: match shared {
                Some(shared) => shared,
                None => &self.values[self.value_range(at)],
            },
            revision: slot.revision,
            owner: slot.is_owned.then(|| self.owners[self.owned_before(at)]),
            shared,
        }
    }

    /// Puts an entry at a place where its key belongs.
    pub(super) fn insert(&mut self, at: usize, key: &str, entry: &Entry) {
        let (key_start, value_start) = self.starts(at);
        let more = grown(self.keys.capacity(), self.keys.len(), key.len());
        self.keys.reserve_exact(more);
        self.keys.insert_str(key_start, key);
        let more = grown(self.slots.capacity(), self.len(), 1);
        self.slots.reserve_exact(more);
        let slot = Slot {
            revision: entry.revision,
            key_end: end(key_start),
            value_end: end(value_start),
            is_shared: false,
            is_owned: false,
        };
        self.slots.insert(at, slot);
        for slot in &mut self.slots[at..] {
            slot.key_end += end(key.len());
        }
        self.put(at, entry);
    }

    /// Overwrites what is at a place.
    pub(super) fn set(&mut self, at: usize, entry: &Entry) {
        self.take(at);
        self.put(at, entry);
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, at: usize) {
        self.take(at);
        self.overwrite(at, &[]);
        let range = self.key_range(at);
        let length = range.len();
        self.keys.replace_range(range, "");
        self.slots.remove(at);
        for slot in &mut self.slots[at..] {
            slot.key_end -= end(length);
        }
    }

    /// What is rare of an entry goes: its owner, and a value that is not in the leaf.
    fn take(&mut self, at: usize) {
        if self.slots[at].is_shared {
            self.shared.remove(self.shared_before(at));
            self.slots[at].is_shared = false;
        }
        if self.slots[at].is_owned {
            self.owners.remove(self.owned_before(at));
            self.slots[at].is_owned = false;
        }
    }

    fn put(&mut self, at: usize, entry: &Entry) {
        self.slots[at].revision = entry.revision;
        if entry.value.len() > IN_LEAF_BYTES_MAX {
            let place = self.shared_before(at);
            self.shared.insert(place, entry.value.clone());
            self.slots[at].is_shared = true;
            self.overwrite(at, &[]);
        } else {
            self.overwrite(at, &entry.value);
        }
        if let Some(owner) = entry.owner {
            let place = self.owned_before(at);
            self.owners.insert(place, owner);
            self.slots[at].is_owned = true;
        }
    }

    /// Puts other bytes in the place of a value.
    fn overwrite(&mut self, at: usize, bytes: &[u8]) {
        let range = self.value_range(at);
        if range.len() != bytes.len() {
            let length = self.values.len();
            if bytes.len() > range.len() {
                let added = bytes.len() - range.len();
                let more = grown(self.values.capacity(), length, added);
                self.values.reserve_exact(more);
                self.values.resize(length + added, 0);
            }
            self.values
                .copy_within(range.end..length, range.start + bytes.len());
            self.values.truncate(length - range.len() + bytes.len());
            for slot in &mut self.slots[at..] {
                slot.value_end = slot.value_end - end(range.len()) + end(bytes.len());
            }
        }
        self.values[range.start..][..bytes.len()].copy_from_slice(bytes);
    }

    /// Takes the entries from a place on.
    pub(super) fn split_off(&mut self, at: usize) -> Leaf {
        let (key_start, value_start) = self.starts(at);
        let (shared, owners) = (self.shared_before(at), self.owned_before(at));
        let mut rest = Leaf {
            shared: self.shared.split_off(shared),
            owners: self.owners.split_off(owners),
            slots: self.slots[at..].to_vec(),
            keys: self.keys[key_start..].to_owned(),
            values: self.values[value_start..].to_vec(),
        };
        for slot in &mut rest.slots {
            slot.key_end -= end(key_start);
            slot.value_end -= end(value_start);
        }
        self.slots.truncate(at);
        self.keys.truncate(key_start);
        self.values.truncate(value_start);
        self.shrink();
        rest
    }

    /// Puts the entries of the next leaf behind its own.
    pub(super) fn append(&mut self, next: Leaf) {
        if self.is_empty() {
            *self = next;
            return;
        }
        let (key_start, value_start) = self.starts(self.len());
        self.slots.extend(next.slots.into_iter().map(|slot| Slot {
            key_end: slot.key_end + end(key_start),
            value_end: slot.value_end + end(value_start),
            ..slot
        }));
        self.keys.push_str(&next.keys);
        self.values.extend_from_slice(&next.values);
        self.shared.extend(next.shared);
        self.owners.extend(next.owners);
    }

    /// Gives room back that it is unlikely to need soon.
    pub(super) fn shrink(&mut self) {
        self.slots.shrink_to_fit();
        self.keys.shrink_to_fit();
        self.values.shrink_to_fit();
        self.shared.shrink_to_fit();
        self.owners.shrink_to_fit();
    }

    /// Does it hold room for more than twice what is in it?
    pub(super) fn is_hollow(&self) -> bool {
        self.slots.capacity() > 2 * self.len()
    }

    /// Frees a value that is not in the leaf, when nobody looks at the leaf any more; gives its
    /// length.
    pub(super) fn pop_shared(&mut self) -> Option<usize> {
        self.shared.pop().map(|value| value.len())
    }

    /// Of its keys and the values that stand in it.
    pub(super) fn bytes_in_leaf(&self) -> usize {
        self.bytes()
    }
}

/// How much to reserve for `added` more: something over it, but not as much again.
fn grown(capacity: usize, length: usize, added: usize) -> usize {
    match capacity - length < added {
        true => added + length / 8,
        false => 0,
    }
}

/// A place in a leaf.
fn end(place: usize) -> u16 {
    u16::try_from(place).expect("a leaf is split long before it has so many bytes")
}
