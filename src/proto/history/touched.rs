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

impl Touched {
    /// Adds an entry; gives how far the namespace had grown before it.
    pub(super) fn push(&mut self, revision: Revision, space: &LoggedSpace) -> i64 {
        self.revisions.push_back(revision);
        for change in &space.changes {
            match self.keys.get_mut(&change.key) {
                Some(revisions) => revisions.push_back(revision),
                None => {
                    self.keys
                        .insert(change.key.clone(), VecDeque::from([revision]));
                }
            }
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
        for change in &space.changes {
            if let Some(revisions) = self.keys.get_mut(&change.key) {
                revisions.pop_front();
                if revisions.is_empty() {
                    self.keys.remove(&change.key);
                }
            }
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
