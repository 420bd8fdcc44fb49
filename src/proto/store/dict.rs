//! One namespace: its entries in key order, in leaves, which are found by where they begin.
//!
//! The tree has a place for each leaf, not for each entry. So an entry takes little more than its
//! key, its value and its revision, and neighbours are in one piece of memory.

use super::held::{Entry, Found, Held};
use super::leaf::{self, Leaf};
use crate::proto::marks::{self, Mark};
use std::collections::BTreeMap;
use std::ops::Bound;

/// What an entry takes besides key and value: its slot, and its share of what its leaf takes.
pub const ENTRY_OVERHEAD_BYTES: usize = 24;

/// Who may free so many entries can free some.
pub(super) const FREED_AT_LEAST: usize = leaf::ENTRIES_MAX;

/// The key from which on entries are in a leaf. Mostly it is as short as this.
type Bytes = Held<22>;

/// How much may be freed in one go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    pub(super) entries: usize,
    pub(super) bytes: usize,
}

/// The entries of one namespace.
#[derive(Debug, Default)]
pub(super) struct Dict {
    /// Invariants: if there is a leaf, one is under the empty key; the keys of each are from its
    /// own on, and before the next one's; none is empty.
    ///
    /// Those are mostly short, and then stand in the tree: a look-up reads nothing else on its way.
    leaves: BTreeMap<Bytes, Leaf>,
    /// Invariant: how many entries there are.
    len: usize,
    /// Invariant: the sum of the lengths of all keys and values.
    bytes: usize,
}

impl Dict {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Of keys and values.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Of keys and values, and what the entries take besides.
    pub(super) fn weight(&self) -> usize {
        self.bytes + self.len * ENTRY_OVERHEAD_BYTES
    }

    #[cfg(test)]
    pub(super) fn leaves(&self) -> usize {
        self.leaves.len()
    }

    fn leaf(&self, key: &str) -> Option<(&[u8], &Leaf)> {
        let mut leaves = self.leaves.range::<[u8], _>(up_to(key));
        leaves.next_back().map(|(bound, leaf)| (&**bound, leaf))
    }

    pub(super) fn get(&self, key: &str) -> Option<Found<'_>> {
        let (_, leaf) = self.leaf(key)?;
        let at = leaf.place(key).ok()?;
        Some(leaf.found(at))
    }

    /// The entries from a key on, in order.
    pub(super) fn onwards<'a, 's>(
        &'a self,
        start: Bound<&'s str>,
    ) -> impl Iterator<Item = (&'a str, Found<'a>)> + use<'a, 's> {
        let key = match start {
            Bound::Included(key) | Bound::Excluded(key) => key,
            Bound::Unbounded => "",
        };
        let first = self.leaf(key).map_or(&[][..], |(bound, _)| bound);
        let leaves = self
            .leaves
            .range::<[u8], _>((Bound::Included(first), Bound::Unbounded));
        leaves.flat_map(move |(_, leaf)| {
            let from = match (leaf.place(key), start) {
                (Ok(at), Bound::Excluded(_)) => at + 1,
                (Ok(at) | Err(at), _) => at,
            };
            (from..leaf.len()).map(move |at| (leaf.key(at), leaf.found(at)))
        })
    }

    /// The last key before this one; without one, the last of all.
    pub(super) fn last_before(&self, end: Option<&str>) -> Option<&str> {
        let before = end.map_or(Bound::Unbounded, |end| Bound::Excluded(end.as_bytes()));
        let mut leaves = self.leaves.range::<[u8], _>((Bound::Unbounded, before));
        // The last of them may have nothing before it, the one before has.
        leaves.next_back().and_then(|last| {
            let at = |leaf: &Leaf| match end {
                Some(end) => leaf.place(end).unwrap_or_else(|at| at),
                None => leaf.len(),
            };
            let (leaf, behind) = match (at(last.1), leaves.next_back()) {
                (0, Some((_, before))) => (before, before.len()),
                (behind, _) => (last.1, behind),
            };
            behind.checked_sub(1).map(|at| leaf.key(at))
        })
    }

    /// Puts this in the place of what the key holds, and gives what that was.
    pub(super) fn replace(&mut self, key: &str, new: Option<&Entry>) -> Option<Entry> {
        let Some((bound, leaf)) = self.leaves.range_mut::<[u8], _>(up_to(key)).next_back() else {
            let first = new?;
            let mut leaf = Leaf::default();
            leaf.insert(0, key, first);
            self.leaves.insert(Bytes::from(&[][..]), leaf);
            (self.len, self.bytes) = (1, key.len() + first.value.len());
            return None;
        };
        let place = leaf.place(key);
        let old = place.ok().map(|at| leaf.found(at).to_entry());
        if let Some(new) = new {
            self.len += 1;
            self.bytes += key.len() + new.value.len();
        }
        if let Some(old) = &old {
            self.len -= 1;
            self.bytes -= key.len() + old.value.len();
        }
        let rest = match (place, new) {
            (Ok(at), Some(new)) => {
                leaf.set(at, new);
                split(leaf, leaf.len() / 2)
            }
            (Err(at), Some(new)) => {
                leaf.insert(at, key, new);
                // Who writes behind all others goes on there: what is full stays full.
                let is_last = at + 1 == leaf.len();
                split(leaf, if is_last { at } else { leaf.len() / 2 })
            }
            (Ok(at), None) => {
                leaf.remove(at);
                if leaf.is_small() {
                    let bound = bound.clone();
                    self.tidy(&bound);
                }
                None
            }
            (Err(_), None) => None,
        };
        if let Some((bound, rest)) = rest {
            self.leaves.insert(bound, rest);
        }
        old
    }

    /// What to do with a leaf of few entries: it is joined with one beside it if there is room, and
    /// goes if it is empty.
    fn tidy(&mut self, bound: &[u8]) {
        let leaf = &self.leaves[bound];
        let fits = |other: &Leaf| leaf.is_empty() || leaf.fits_with(other);
        let beside = |range| self.leaves.range::<[u8], _>(range);
        let before = beside((Bound::Unbounded, Bound::Excluded(bound))).next_back();
        let behind = beside((Bound::Excluded(bound), Bound::Unbounded)).next();
        let pair = match (before, behind) {
            (Some((before, leaf)), _) if fits(leaf) => (before.clone(), Bytes::from(bound)),
            (_, Some((behind, leaf))) if fits(leaf) => (Bytes::from(bound), behind.clone()),
            _ if leaf.is_empty() => {
                self.leaves.remove(bound);
                return;
            }
            _ => {
                if leaf.is_hollow()
                    && let Some(leaf) = self.leaves.get_mut(bound)
                {
                    leaf.shrink();
                }
                return;
            }
        };
        if let Some(rest) = self.leaves.remove(&pair.1)
            && let Some(leaf) = self.leaves.get_mut(&pair.0)
        {
            marks::reached(Mark::LeavesJoined);
            leaf.append(rest);
        }
    }

    /// Frees some of it, when nobody looks at it any more: no more entries than the budget has, and
    /// bytes until it has none. Gives false when there is nothing left.
    pub(super) fn free(&mut self, budget: &mut Budget) -> bool {
        while let Some(mut last) = self.leaves.last_entry() {
            if budget.entries < last.get().len() || budget.bytes == 0 {
                return true;
            }
            if let Some(length) = last.get_mut().pop_shared() {
                budget.bytes = budget.bytes.saturating_sub(length);
                self.bytes -= length;
                continue;
            }
            let leaf = last.remove();
            budget.entries -= leaf.len();
            budget.bytes = budget.bytes.saturating_sub(leaf.bytes_in_leaf());
            self.len -= leaf.len();
            self.bytes -= leaf.bytes_in_leaf();
        }
        false
    }

    /// Checks what must always hold.
    ///
    /// # Panics
    /// When it does not.
    pub(super) fn invariants(&self) {
        let (mut len, mut bytes) = (0, 0);
        let mut last: Option<&str> = None;
        assert!(
            self.leaves
                .keys()
                .next()
                .is_none_or(|bound| bound.is_empty())
        );
        for (bound, leaf) in &self.leaves {
            assert!(!leaf.is_empty(), "an empty leaf is kept");
            assert!(leaf.len() <= leaf::ENTRIES_MAX);
            for at in 0..leaf.len() {
                let key = leaf.key(at);
                assert!(&**bound <= key.as_bytes() && last.is_none_or(|last| last < key));
                bytes += key.len() + leaf.found(at).value.len();
                last = Some(key);
            }
            len += leaf.len();
            // What comes next is behind all of it, and it is where it is looked for.
            assert!(last.is_some_and(|last| self.leaf(last).is_some_and(|(b, _)| b == &**bound)));
        }
        assert_eq!((self.len, self.bytes), (len, bytes));
    }
}

fn up_to(key: &str) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (Bound::Unbounded, Bound::Included(key.as_bytes()))
}

/// Splits a leaf that is to be split. The rest is found under what comes first behind the other.
fn split(leaf: &mut Leaf, at: usize) -> Option<(Bytes, Leaf)> {
    if !leaf.is_overfull() {
        return None;
    }
    let rest = leaf.split_off(at);
    let last = leaf.key(leaf.len() - 1);
    marks::reached(Mark::LeafSplit);
    let bound = format!("{last}\0");
    Some((Bytes::from(bound.as_bytes()), rest))
}
