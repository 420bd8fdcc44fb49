//! Who is to be told of a change: found from the changed key alone, without looking at the others.

use super::limits::READS_MAX;
use super::message::Filter;
use super::store::{Key, Namespace};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What of a namespace somebody wants to hear of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interest {
    /// One key.
    Key(Key),
    /// Keys that start so; the empty prefix is the whole namespace.
    Prefix(Arc<str>),
}

impl Interest {
    /// The interest of a watch with this filter.
    #[must_use]
    pub fn of(filter: Filter<'_>) -> Interest {
        match filter {
            Filter::Key(key) => Interest::Key(Arc::from(key)),
            Filter::Prefix(prefix) => Interest::Prefix(Arc::from(prefix)),
            Filter::All => Interest::Prefix(Arc::from("")),
        }
    }

    /// Is this key of interest?
    #[must_use]
    pub fn covers(&self, key: &str) -> bool {
        match self {
            Interest::Key(wanted) => **wanted == *key,
            Interest::Prefix(prefix) => key.starts_with(&**prefix),
        }
    }

    /// Is every key of interest?
    #[must_use]
    pub fn covers_all(&self) -> bool {
        matches!(self, Interest::Prefix(prefix) if prefix.is_empty())
    }
}

/// What a condition has read, by namespace.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ReadSet {
    interests: BTreeMap<Namespace, BTreeSet<Interest>>,
    count: usize,
}

impl ReadSet {
    /// Adds one read. Past [`READS_MAX`] the namespace counts as read whole: the condition is then
    /// tested more often than it need be, never less.
    pub fn insert(&mut self, namespace: &str, interest: Interest) {
        let set = match self.interests.get_mut(namespace) {
            Some(set) => set,
            None => self.interests.entry(Arc::from(namespace)).or_default(),
        };
        let whole = Interest::Prefix(Arc::from(""));
        if set.contains(&interest) || set.contains(&whole) {
            return;
        }
        if self.count >= READS_MAX || interest.covers_all() {
            self.count -= set.len();
            set.clear();
            set.insert(whole);
        } else {
            set.insert(interest);
        }
        self.count += 1;
    }

    /// All that was read.
    pub fn iter(&self) -> impl Iterator<Item = (&Namespace, &Interest)> {
        self.interests
            .iter()
            .flat_map(|(namespace, set)| set.iter().map(move |interest| (namespace, interest)))
    }
}

#[derive(Debug)]
struct Space<T> {
    keys: BTreeMap<Key, BTreeSet<T>>,
    prefixes: BTreeMap<Arc<str>, BTreeSet<T>>,
    /// How many different prefixes of each length there are: only these lengths are looked up.
    lengths: BTreeMap<usize, usize>,
}

impl<T> Default for Space<T> {
    fn default() -> Self {
        Space {
            keys: BTreeMap::new(),
            prefixes: BTreeMap::new(),
            lengths: BTreeMap::new(),
        }
    }
}

/// From namespace and key to those who are interested.
#[derive(Debug)]
pub struct Index<T> {
    spaces: BTreeMap<Namespace, Space<T>>,
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Index {
            spaces: BTreeMap::new(),
        }
    }
}

impl<T: Copy + Ord> Index<T> {
    /// Adds one interest of `who`.
    pub fn insert(&mut self, namespace: &Namespace, interest: &Interest, who: T) {
        let space = self.spaces.entry(namespace.clone()).or_default();
        match interest {
            Interest::Key(key) => {
                space.keys.entry(key.clone()).or_default().insert(who);
            }
            Interest::Prefix(prefix) => {
                let set = space.prefixes.entry(prefix.clone()).or_default();
                if set.is_empty() {
                    *space.lengths.entry(prefix.len()).or_default() += 1;
                }
                set.insert(who);
            }
        }
    }

    /// Takes one interest back.
    pub fn remove(&mut self, namespace: &str, interest: &Interest, who: T) {
        let Some(space) = self.spaces.get_mut(namespace) else {
            return;
        };
        match interest {
            Interest::Key(key) => {
                if let Some(set) = space.keys.get_mut(key) {
                    set.remove(&who);
                    if set.is_empty() {
                        space.keys.remove(key);
                    }
                }
            }
            Interest::Prefix(prefix) => {
                if let Some(set) = space.prefixes.get_mut(prefix) {
                    set.remove(&who);
                    if set.is_empty() {
                        space.prefixes.remove(prefix);
                        decrement(&mut space.lengths, prefix.len());
                    }
                }
            }
        }
        if space.keys.is_empty() && space.prefixes.is_empty() {
            self.spaces.remove(namespace);
        }
    }

    /// Adds all who are interested in this key to `found`.
    pub fn find(&self, namespace: &str, key: &str, found: &mut BTreeSet<T>) {
        let Some(space) = self.spaces.get(namespace) else {
            return;
        };
        if let Some(set) = space.keys.get(key) {
            found.extend(set);
        }
        for (&length, _) in space.lengths.range(..=key.len()) {
            // A length that would cut a character can be no prefix of this key.
            let prefix = key.get(..length);
            if let Some(set) = prefix.and_then(|prefix| space.prefixes.get(prefix)) {
                found.extend(set);
            }
        }
    }

    /// Adds all who are interested in anything of the namespace.
    pub fn find_all(&self, namespace: &str, found: &mut BTreeSet<T>) {
        let Some(space) = self.spaces.get(namespace) else {
            return;
        };
        let sets = space.keys.values().chain(space.prefixes.values());
        found.extend(sets.flatten());
    }
}

fn decrement(counts: &mut BTreeMap<usize, usize>, key: usize) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(index: &Index<u32>, key: &str) -> Vec<u32> {
        let mut found = BTreeSet::new();
        index.find("n", key, &mut found);
        found.into_iter().collect()
    }

    #[test]
    fn keys_prefixes_and_the_whole() {
        let mut index = Index::default();
        let name: Namespace = Arc::from("n");
        let interests = [
            Interest::Key(Arc::from("a/b")),
            Interest::Prefix(Arc::from("a/")),
            Interest::Prefix(Arc::from("")),
            Interest::Prefix(Arc::from("ä")),
        ];
        for (who, interest) in interests.iter().enumerate() {
            index.insert(&name, interest, who as u32);
        }
        assert_eq!(found(&index, "a/b"), [0, 1, 2]);
        assert_eq!(found(&index, "a/c"), [1, 2]);
        assert_eq!(found(&index, "a"), [2]);
        assert_eq!(found(&index, "äb"), [2, 3]);
        // "ö" shares its first byte with "ä".
        assert_eq!(found(&index, "ö"), [2]);
        for (who, interest) in interests.iter().enumerate() {
            index.remove("n", interest, who as u32);
        }
        assert_eq!(found(&index, "a/b"), []);
        assert!(
            index.spaces.is_empty(),
            "an index without interests is empty"
        );
    }

    #[test]
    fn many_reads_become_the_whole_namespace() {
        let mut reads = ReadSet::default();
        for number in 0..READS_MAX + 10 {
            reads.insert("n", Interest::Key(Arc::from(number.to_string())));
        }
        let interests: Vec<_> = reads.iter().collect();
        assert_eq!(interests.len(), 1);
        assert!(interests[0].1.covers_all());
    }
}
