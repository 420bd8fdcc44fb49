//! The update log: one shared, bounded, revision-indexed history.
//!
//! A watcher is a cursor into it, not a queue, and an update is encoded once for all its watchers.
//! And since each change knows what was there before, the past can be read from it.

mod touched;

use super::codec;
use super::ids::{ProcessId, Revision};
use super::interest::Interest;
use super::marks::{self, Mark};
use super::message::{Change, Origin, Update};
use super::planted::{self, Bug};
use super::store::{ChangeSet, KeyChange, Namespace, Value};
use super::time::Time;
use std::cell::OnceCell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use touched::Touched;

/// Who made a change set, and when.
#[derive(Debug, Clone)]
pub struct Cause {
    /// When the server applied it.
    pub time: Time,
    /// The process that asked (or that ended).
    pub process: ProcessId,
    /// The atomic function that did it.
    pub function: Option<Arc<str>>,
    /// For the release of what a process owned: how it ended.
    pub released: Option<Arc<str>>,
}

/// One revision of the log.
#[derive(Debug)]
pub struct Logged {
    /// The revision.
    pub revision: Revision,
    /// Who did it.
    pub cause: Cause,
    /// What it did, by namespace.
    /// Mostly there is one: a map would take ten times as much.
    pub spaces: Box<[(Namespace, LoggedSpace)]>,
    bytes: usize,
}

/// What one revision did to one namespace.
#[derive(Debug, Default)]
pub struct LoggedSpace {
    /// Everything was replaced at once; the changes are not listed.
    pub reset: bool,
    /// The changes, by key.
    pub changes: Vec<KeyChange>,
    /// How many keys more the namespace had before it than when the log was begun: what was
    /// replaced as a whole is not counted.
    grown: i64,
    encoded: OnceCell<Arc<[u8]>>,
}

/// To look through so many changes of an entry counts as one entry more.
const STEP_CHANGES: usize = 16;

/// What an entry costs besides keys and values.
const ENTRY_OVERHEAD_BYTES: usize = 128;

/// Namespaces whose last dropped revision is remembered one by one.
const DROPPED_NAMESPACES_MAX: usize = 1024;

impl Logged {
    fn bytes_of(change: &KeyChange) -> usize {
        let values = [&change.before, &change.after];
        let values = values.into_iter().flatten().map(|value| value.len());
        let one = ENTRY_OVERHEAD_BYTES / 2 + change.key.len() + values.sum::<usize>();
        // As it is, and encoded for watchers.
        let kept = if planted::is(Bug::EncodedNotCounted) {
            1
        } else {
            2
        };
        kept * one + ENTRY_OVERHEAD_BYTES
    }

    fn count(&self) -> usize {
        let value = |value: &Option<Value>| value.as_ref().map_or(0, |value| value.len());
        let change =
            |change: &KeyChange| change.key.len() + value(&change.before) + value(&change.after);
        let space = |space: &LoggedSpace| {
            let encoded = space.encoded.get().map_or(0, |encoded| encoded.len());
            encoded + space.changes.iter().map(change).sum::<usize>()
        };
        self.spaces.iter().map(|(_, logged)| space(logged)).sum()
    }

    /// What it did to this namespace.
    #[must_use]
    pub fn space(&self, namespace: &str) -> Option<&LoggedSpace> {
        let place = self
            .spaces
            .binary_search_by(|(name, _)| (**name).cmp(namespace));
        Some(&self.spaces[place.ok()?].1)
    }

    /// How much it is to look through it, in entries of one change.
    #[must_use]
    pub fn steps(&self, namespace: &str) -> usize {
        let space = self.space(namespace);
        1 + space.map_or(0, |space| space.changes.len() / STEP_CHANGES)
    }

    /// The update that a watch with this interest sees, encoded. `None`: nothing of interest.
    #[must_use]
    pub fn encoded(&self, namespace: &str, interest: &Interest) -> Option<Arc<[u8]>> {
        let space = self.space(namespace)?;
        let covered = |change: &&KeyChange| interest.covers(&change.key);
        let count = space.changes.iter().filter(covered).count();
        if count == 0 && !space.reset {
            return None;
        }
        if planted::is(Bug::EncodedForFirstFilter) {
            let encode = || self.encode(space, &mut space.changes.iter().filter(covered));
            return Some(space.encoded.get_or_init(encode).clone());
        }
        if count == space.changes.len() {
            let encode = || self.encode(space, &mut space.changes.iter());
            marks::reached_if(space.encoded.get().is_some(), Mark::EncodedOnce);
            return Some(space.encoded.get_or_init(encode).clone());
        }
        marks::reached(Mark::EncodedApart);
        Some(self.encode(space, &mut space.changes.iter().filter(covered)))
    }

    fn encode(
        &self,
        space: &LoggedSpace,
        changes: &mut dyn Iterator<Item = &KeyChange>,
    ) -> Arc<[u8]> {
        let changes = changes.map(|change| Change {
            key: &change.key,
            before: change.before.as_deref(),
            after: change.after.as_deref(),
        });
        let update = Update {
            revision: self.revision,
            time: self.cause.time,
            origin: Origin {
                process: self.cause.process,
                function: self.cause.function.as_deref(),
                released: self.cause.released.as_deref(),
            },
            reset: space.reset,
            changes: changes.collect(),
        };
        Arc::from(codec::to_bytes(&update))
    }
}

/// What a change set did, namespace by namespace, and how many bytes of the log that takes.
fn by_namespace(changes: ChangeSet) -> (Vec<(Namespace, LoggedSpace)>, usize) {
    let mut spaces: Vec<(Namespace, LoggedSpace)> = Vec::new();
    let mut bytes = changes.resets.len() * ENTRY_OVERHEAD_BYTES;
    // So long a run each namespace has: room for no more, however many namespaces there are.
    let runs = changes.changes.chunk_by(|one, other| one.0 == other.0);
    let runs: Vec<usize> = runs.map(<[_]>::len).collect();
    let mut changes_left = changes.changes.into_iter();
    for run in runs {
        let mut space = LoggedSpace::default();
        space.changes.reserve_exact(run);
        let mut of = None;
        for (namespace, change) in changes_left.by_ref().take(run) {
            bytes += Logged::bytes_of(&change);
            space.changes.push(change);
            of.get_or_insert(namespace);
        }
        spaces.extend(of.map(|namespace| (namespace, space)));
    }
    for namespace in changes.resets {
        match spaces.binary_search_by(|(there, _)| there.cmp(&namespace)) {
            Ok(place) => spaces[place].1.reset = true,
            Err(place) => {
                let space = LoggedSpace {
                    reset: true,
                    ..LoggedSpace::default()
                };
                spaces.insert(place, (namespace, space));
            }
        }
    }
    (spaces, bytes)
}

/// The log.
#[derive(Debug)]
pub struct History {
    /// Invariant: revisions rise; they need not be contiguous.
    entries: VecDeque<Logged>,
    bytes: usize,
    entries_max: usize,
    bytes_max: usize,
    /// What is held of each namespace. Invariant: a revision is in here if and only if its entry is
    /// in `entries`.
    touched: BTreeMap<Namespace, Touched>,
    /// The last revision that touched the namespace and was dropped.
    dropped: BTreeMap<Namespace, Revision>,
    /// The same for all namespaces that are not in `dropped`.
    dropped_elsewhere: Revision,
}

impl History {
    /// An empty log of at most so many entries and bytes. The newest entry is always kept, however
    /// large.
    #[must_use]
    pub fn new(entries_max: usize, bytes_max: usize) -> History {
        History {
            entries: VecDeque::new(),
            bytes: 0,
            entries_max: entries_max.max(1),
            bytes_max,
            touched: BTreeMap::new(),
            dropped: BTreeMap::new(),
            dropped_elsewhere: Revision::ZERO,
        }
    }

    /// Appends a change set, and gives what had to be dropped for it, oldest first.
    pub fn push(&mut self, changes: ChangeSet, cause: &Cause) -> Vec<Logged> {
        let revision = changes.revision;
        let (mut spaces, mut bytes) = by_namespace(changes);
        if spaces.is_empty() {
            return Vec::new();
        }
        // Names are kept with the entry, and encoded with each of its namespaces.
        let names = [&cause.function, &cause.released].into_iter().flatten();
        bytes += names.map(|name| name.len()).sum::<usize>() * (1 + spaces.len());
        debug_assert!(self.newest() < Some(revision));
        for (namespace, space) in &mut spaces {
            let touched = match self.touched.get_mut(namespace) {
                Some(touched) => touched,
                None => self.touched.entry(namespace.clone()).or_default(),
            };
            space.grown = touched.push(revision, space);
        }
        self.bytes += bytes;
        self.entries.push_back(Logged {
            revision,
            cause: cause.clone(),
            spaces: spaces.into_boxed_slice(),
            bytes,
        });
        let mut dropped = Vec::new();
        while self.entries.len() > 1
            && (self.entries.len() > self.entries_max || self.bytes > self.bytes_max)
        {
            let too_many = self.entries.len() > self.entries_max;
            marks::reached_if(too_many, Mark::LogWrapsByEntries);
            marks::reached_if(!too_many, Mark::LogWrapsByBytes);
            dropped.extend(self.drop_oldest());
        }
        dropped
    }

    /// Drops the oldest entry before its time, unless it is the newest too.
    pub fn drop_early(&mut self) -> Option<Logged> {
        if self.entries.len() > 1 {
            self.drop_oldest()
        } else {
            None
        }
    }

    fn drop_oldest(&mut self) -> Option<Logged> {
        let oldest = self.entries.pop_front()?;
        self.bytes -= oldest.bytes;
        for (namespace, space) in &oldest.spaces {
            if let Some(touched) = self.touched.get_mut(namespace)
                && touched.drop_oldest(space)
            {
                self.touched.remove(namespace);
            }
        }
        for (namespace, _) in &oldest.spaces {
            self.dropped.insert(namespace.clone(), oldest.revision);
            if planted::is(Bug::DropNotedForOne) {
                break;
            }
        }
        if self.dropped.len() > DROPPED_NAMESPACES_MAX {
            // Coarser, never wrong: a watch is told `Compacted` where something may be missing.
            self.dropped_elsewhere = oldest.revision;
            self.dropped.clear();
        }
        Some(oldest)
    }

    /// The last revision that may have touched the namespace and is no longer held.
    #[must_use]
    pub fn dropped(&self, namespace: &str) -> Revision {
        let own = self.dropped.get(namespace).copied().unwrap_or_default();
        own.max(self.dropped_elsewhere)
    }

    /// The oldest revision from which the namespace's updates are held without a gap.
    #[must_use]
    pub fn oldest(&self, namespace: &str) -> Revision {
        match planted::is(Bug::OldestIsDropped) {
            true => self.dropped(namespace),
            false => self.dropped(namespace).next(),
        }
    }

    /// The newest revision held.
    #[must_use]
    pub fn newest(&self) -> Option<Revision> {
        self.entries.back().map(|entry| entry.revision)
    }

    /// The newest entry.
    #[must_use]
    pub fn newest_entry(&self) -> Option<&Logged> {
        self.entries.back()
    }

    /// The revision from which every namespace's updates are held.
    #[must_use]
    pub fn first_held(&self) -> Revision {
        let first = self.entries.front().map(|entry| entry.revision);
        first.unwrap_or_default()
    }

    /// Entries, their bytes, and the bytes of the newest, counted anew: keys, values, and what is
    /// kept encoded for watchers.
    #[must_use]
    pub fn count(&self) -> (usize, usize, usize) {
        let sizes = self.entries.iter().map(Logged::count);
        let newest = self.entries.back().map_or(0, Logged::count);
        (self.entries.len(), sizes.sum(), newest)
    }

    /// The entries from `first` on, oldest first.
    pub fn since(&self, first: Revision) -> impl Iterator<Item = &Logged> {
        self.entries.range(self.place(first)..)
    }

    /// Where the entries from `first` on begin.
    fn place(&self, first: Revision) -> usize {
        self.entries.partition_point(|entry| entry.revision < first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change_set(revision: u64, namespace: &str, keys: &[&str]) -> ChangeSet {
        let change = |key: &&str| {
            let change = KeyChange {
                key: Arc::from(*key),
                before: None,
                after: Some(Value::from(&[1_u8][..])),
            };
            (Arc::from(namespace), change)
        };
        ChangeSet {
            revision: Revision(revision),
            changes: keys.iter().map(change).collect(),
            resets: Vec::new(),
        }
    }

    fn cause() -> Cause {
        Cause {
            time: Time(7),
            process: ProcessId::PROGRAM,
            function: None,
            released: None,
        }
    }

    #[test]
    fn bounded_by_entries_and_told_by_namespace() {
        let mut history = History::new(2, usize::MAX);
        for (revision, namespace) in [(1, "a"), (2, "b"), (5, "a"), (6, "a")] {
            history.push(change_set(revision, namespace, &["k"]), &cause());
        }
        assert_eq!(history.oldest("a"), Revision(2));
        assert_eq!(history.oldest("b"), Revision(3));
        assert_eq!(history.oldest("c"), Revision(1));
        let held: Vec<_> = history.since(Revision(2)).map(|e| e.revision.0).collect();
        assert_eq!(held, [5, 6]);
    }

    /// Each had room for all changes: of as many namespaces as changes that was their square.
    #[test]
    fn each_namespace_has_room_for_its_own_changes_alone() {
        let mut changes = change_set(1, "a", &["k1", "k2"]);
        changes.changes.extend(change_set(1, "b", &["k"]).changes);
        let (spaces, _) = by_namespace(changes);
        let room: Vec<_> = spaces.iter().map(|(_, s)| s.changes.capacity()).collect();
        assert_eq!(room, [2, 1]);
    }

    #[test]
    fn bounded_by_bytes_but_the_newest_stays() {
        let mut history = History::new(100, 1);
        assert!(
            history
                .push(change_set(1, "a", &["k"]), &cause())
                .is_empty()
        );
        let dropped = history.push(change_set(2, "a", &["k"]), &cause());
        assert_eq!(dropped.len(), 1);
        assert_eq!(history.newest(), Some(Revision(2)));
    }

    #[test]
    fn long_names_count_among_the_bytes() {
        let mut history = History::new(100, 5_000);
        let mut named = cause();
        named.function = Some(Arc::from("f".repeat(4_000)));
        history.push(change_set(1, "a", &["k"]), &named);
        let dropped = history.push(change_set(2, "a", &["k"]), &named);
        assert_eq!(dropped.len(), 1);
        let all = Interest::Prefix(Arc::from(""));
        for entry in history.since(Revision::ZERO) {
            entry.encoded("a", &all).expect("it is of interest");
        }
        assert!(history.bytes >= history.count().1);
    }

    #[test]
    fn encoded_once_if_all_is_of_interest_and_cut_if_not() {
        let mut history = History::new(100, usize::MAX);
        history.push(change_set(1, "a", &["k1", "k2"]), &cause());
        let entry = history.since(Revision::ZERO).next().expect("one entry");
        let all = Interest::Prefix(Arc::from(""));
        let whole = entry.encoded("a", &all).expect("all is of interest");
        assert!(Arc::ptr_eq(
            &whole,
            &entry.encoded("a", &all).expect("again")
        ));
        let one = entry
            .encoded("a", &Interest::Key(Arc::from("k2")))
            .expect("one is of interest");
        let update: Update<'_> = codec::decode(&one).expect("what was encoded is decodable");
        assert_eq!(update.changes.len(), 1);
        assert_eq!(update.changes[0].key, "k2");
        assert!(entry.encoded("b", &all).is_none());
    }

    /// Three bytes of a key, two of the value before, four of the value after.
    fn nine_bytes(revision: u64, namespaces: &[&str]) -> ChangeSet {
        let change = |namespace: &&str| {
            let change = KeyChange {
                key: Arc::from("key"),
                before: Some(Value::from(&[0_u8; 2][..])),
                after: Some(Value::from(&[0_u8; 4][..])),
            };
            (Arc::from(*namespace), change)
        };
        ChangeSet {
            revision: Revision(revision),
            changes: namespaces.iter().map(change).collect(),
            resets: Vec::new(),
        }
    }

    /// What an entry with one such change weighs: the change twice, as it is and encoded.
    const NINE_BYTES_WEIGH: usize = 2 * (ENTRY_OVERHEAD_BYTES / 2 + 9) + ENTRY_OVERHEAD_BYTES;

    #[test]
    fn what_an_entry_weighs() {
        let mut history = History::new(100, usize::MAX);
        history.push(nine_bytes(1, &["a"]), &cause());
        assert_eq!(history.bytes, NINE_BYTES_WEIGH);
        let mut named = cause();
        named.function = Some(Arc::from("f".repeat(10)));
        let mut history = History::new(100, usize::MAX);
        history.push(nine_bytes(1, &["a", "b"]), &named);
        // The name as it is, and with each of the namespaces encoded.
        assert_eq!(history.bytes, 2 * NINE_BYTES_WEIGH + 3 * 10);
        let mut history = History::new(100, usize::MAX);
        let mut reset = nine_bytes(1, &[]);
        reset.resets.push(Arc::from("a"));
        history.push(reset, &cause());
        assert_eq!(history.bytes, ENTRY_OVERHEAD_BYTES);
    }

    #[test]
    fn the_bytes_of_the_log_at_and_over_their_limit() {
        let mut history = History::new(100, 2 * NINE_BYTES_WEIGH);
        for revision in 1..=4 {
            let dropped = history.push(nine_bytes(revision, &["a"]), &cause());
            assert_eq!(dropped.len(), usize::from(revision > 2));
        }
        assert_eq!(history.first_held(), Revision(3));
        assert_eq!(history.count(), (2, 18, 9));
    }

    #[test]
    fn what_is_kept_encoded_is_counted() {
        let mut history = History::new(100, usize::MAX);
        for revision in 1..=2 {
            history.push(nine_bytes(revision, &["a"]), &cause());
        }
        let all = Interest::Prefix(Arc::from(""));
        let newest = history.since(Revision(2)).next().expect("it is held");
        let encoded = newest.encoded("a", &all).expect("it is of interest");
        assert_eq!(history.count(), (2, 18 + encoded.len(), 9 + encoded.len()));
    }

    #[test]
    fn an_entry_may_go_before_its_time_but_not_the_last() {
        let mut history = History::new(100, usize::MAX);
        for revision in 1..=2 {
            history.push(nine_bytes(revision, &["a"]), &cause());
        }
        let dropped = history.drop_early().map(|entry| entry.revision);
        assert_eq!(dropped, Some(Revision(1)));
        assert!(history.drop_early().is_none());
    }

    #[test]
    fn drops_are_told_apart_for_so_many_namespaces() {
        let mut history = History::new(1, usize::MAX);
        let many = DROPPED_NAMESPACES_MAX as u64;
        for revision in 1..=many + 1 {
            let namespace = format!("n{revision}");
            history.push(nine_bytes(revision, &[&namespace]), &cause());
        }
        assert_eq!(history.oldest("another"), Revision(1), "nothing is missing");
        history.push(nine_bytes(many + 2, &["n"]), &cause());
        assert_eq!(history.oldest("another"), Revision(many + 2));
    }
}
