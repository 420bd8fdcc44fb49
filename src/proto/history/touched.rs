//! What the log holds of one namespace, by key: so that the past is found without a look at the rest.

use super::{History, LoggedSpace};
use crate::proto::ids::Revision;
use crate::proto::operations::Span;
use crate::proto::planted::{self, Bug};
use crate::proto::store::{Key, KeyChange};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

/// What the log holds of one namespace.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// The revisions that touched it, rising.
    revisions: VecDeque<Revision>,
    /// Those that changed each key, rising. What was replaced as a whole is not among them.
    keys: BTreeMap<Key, VecDeque<Revision>>,
    /// The last of those that replaced it as a whole.
    reset: Revision,
    /// See [`LoggedSpace::grown`]: as it is now.
    grown: i64,
}

/// How many keys come with it, less those that go.
fn growth(change: &KeyChange) -> i64 {
    i64::from(change.after.is_some()) - i64::from(change.before.is_some())
}

/// The first of these that is later.
fn first_after(revisions: &VecDeque<Revision>, at: Revision) -> Option<Revision> {
    let place = revisions.partition_point(|revision| *revision <= at);
    revisions.get(place).copied()
}

/// How far the next key is looked for beside the last one, before it is from the root.
const BESIDE_MAX: usize = 4;

/// Goes through the keys of changes, which are in order, with what is there of each: mostly they are
/// neighbours, and then each is found from the one before.
fn each_of<'c>(
    keys: &mut BTreeMap<Key, VecDeque<Revision>>,
    changes: &'c [KeyChange],
    mut visit: impl FnMut(&'c Key, Option<&mut VecDeque<Revision>>),
) {
    let Some(first) = changes.first() else { return };
    let mut near = keys.range_mut(first.key.clone()..).peekable();
    for KeyChange { key, .. } in changes {
        let mut passed = 0;
        while near.next_if(|(there, _)| *there < key).is_some() {
            passed += 1;
            if passed == BESIDE_MAX {
                near = keys.range_mut(key.clone()..).peekable();
            }
        }
        visit(
            key,
            near.next_if(|(there, _)| *there == key).map(|(_, r)| r),
        );
    }
}

impl Touched {
    /// Adds an entry; gives how far the namespace had grown before it.
    pub(super) fn push(&mut self, revision: Revision, space: &LoggedSpace) -> i64 {
        self.revisions.push_back(revision);
        let mut new = Vec::new();
        each_of(&mut self.keys, &space.changes, |key, there| match there {
            Some(revisions) => revisions.push_back(revision),
            None => new.push(key),
        });
        for key in new {
            self.keys.insert(key.clone(), VecDeque::from([revision]));
        }
        if space.reset {
            self.reset = revision;
        }
        let grown = self.grown;
        self.grown += space.changes.iter().map(growth).sum::<i64>();
        grown
    }

    /// Forgets the oldest entry. True: it was the last.
    pub(super) fn drop_oldest(&mut self, space: &LoggedSpace) -> bool {
        self.revisions.pop_front();
        let mut old = Vec::new();
        each_of(&mut self.keys, &space.changes, |key, there| {
            if let Some(revisions) = there {
                revisions.pop_front();
                if revisions.is_empty() {
                    old.push(key);
                }
            }
        });
        for key in old {
            self.keys.remove(key);
        }
        self.revisions.is_empty()
    }
}

/// The past, as far as the log reaches back.
impl History {
    /// The oldest revision at which the namespace can be read: nothing that came after it has been
    /// dropped, or has replaced everything.
    #[must_use]
    pub fn readable_from(&self, namespace: &str) -> Revision {
        let touched = self.touched.get(namespace);
        let reset = touched.map_or(Revision::ZERO, |touched| touched.reset);
        match planted::is(Bug::ReadBehindReset) {
            true => self.dropped(namespace),
            false => self.dropped(namespace).max(reset),
        }
    }

    /// What a key held at a revision from which on the namespace can be read, if it was changed
    /// after that: its value, or that it was not there.
    #[must_use]
    pub fn held(&self, namespace: &str, key: &str, at: Revision) -> Option<Option<&[u8]>> {
        let revisions = self.touched.get(namespace)?.keys.get(key)?;
        let changed = match planted::is(Bug::PastOfLastChange) {
            true => revisions.back().copied().filter(|last| *last > at)?,
            false => first_after(revisions, at)?,
        };
        let space = self.entries[self.place(changed)].space(namespace)?;
        let place = space
            .changes
            .binary_search_by(|change| (*change.key).cmp(key));
        let change = &space.changes[place.ok()?];
        Some(change.before.as_deref())
    }

    /// Was the key changed after this revision?
    #[must_use]
    pub fn changed_after(&self, namespace: &str, key: &str, at: Revision) -> bool {
        let touched = self.touched.get(namespace);
        let revisions = touched.and_then(|touched| touched.keys.get(key));
        revisions.is_some_and(|revisions| revisions.back() > Some(&at))
    }

    /// Was anything of the namespace changed after this revision?
    #[must_use]
    pub fn touched_after(&self, namespace: &str, at: Revision) -> bool {
        let touched = self.touched.get(namespace);
        touched.is_some_and(|touched| touched.revisions.back() > Some(&at))
    }

    /// The keys of the span that come after `after` and that the log knows, in order.
    pub fn known_keys<'a, 's>(
        &'a self,
        namespace: &str,
        span: Span<'s>,
        after: Option<&'s str>,
    ) -> impl Iterator<Item = &'a Key> {
        let start = span.start_after(after);
        let touched = self.touched.get(namespace).into_iter();
        touched
            .flat_map(move |touched| touched.keys.range::<str, _>((start, Bound::Unbounded)))
            .map(|(key, _)| key)
            .take_while(move |key| key.starts_with(span.prefix) && span.is_before_end(key))
    }

    /// How many keys have come to the namespace after this revision, less those that have gone.
    #[must_use]
    pub fn grown_after(&self, namespace: &str, at: Revision) -> i64 {
        let Some(touched) = self.touched.get(namespace) else {
            return 0;
        };
        let Some(first) = first_after(&touched.revisions, at) else {
            return 0;
        };
        let space = self.entries[self.place(first)].space(namespace);
        space.map_or(0, |space| touched.grown - space.grown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::btree_set;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_key_is_found_wherever_the_one_before_it_was(
            there in btree_set(0..60_u32, 0..60),
            asked in btree_set(0..60_u32, 0..30),
        ) {
            let key = |number: &u32| Key::from(format!("{number:02}"));
            let of = |number: &u32| VecDeque::from([Revision(u64::from(*number))]);
            let mut keys: BTreeMap<_, _> = there.iter().map(|n| (key(n), of(n))).collect();
            let change = |n| KeyChange { key: key(n), before: None, after: None };
            let changes: Vec<KeyChange> = asked.iter().map(change).collect();
            let mut found = Vec::new();
            each_of(&mut keys, &changes, |key, there| {
                found.push((key.clone(), there.map(|revisions| revisions.clone())));
            });
            let expected = asked.iter().map(|n| (key(n), there.contains(n).then(|| of(n))));
            prop_assert_eq!(found, expected.collect::<Vec<_>>());
        }
    }
}
