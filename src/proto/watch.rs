//! Who is to be told of a change: found from the changed key alone, without looking at the others.

use super::interest::{Interest, Key, Namespace};
use super::intervals::Intervals;
use super::planted::{self, Bug};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Debug)]
struct Space<T> {
    keys: BTreeMap<Key, BTreeSet<T>>,
    prefixes: BTreeMap<Arc<str>, BTreeSet<T>>,
    /// How many different prefixes of each length there are: only these lengths are looked up.
    lengths: BTreeMap<usize, usize>,
    ranges: Intervals<T>,
    /// By what they leave out. Nearly every change is of interest to nearly all of them, so they are
    /// looked at one by one.
    all_but: BTreeMap<Arc<BTreeSet<Key>>, BTreeSet<T>>,
}

impl<T> Default for Space<T> {
    fn default() -> Self {
        Space {
            keys: BTreeMap::new(),
            prefixes: BTreeMap::new(),
            lengths: BTreeMap::new(),
            ranges: Intervals::default(),
            all_but: BTreeMap::new(),
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
            Interest::Keys(keys) => {
                for key in keys.iter() {
                    space.keys.entry(key.clone()).or_default().insert(who);
                }
            }
            Interest::Range(from, until) => space.ranges.insert(from, until.as_ref(), who),
            Interest::AllBut(keys) => {
                space.all_but.entry(keys.clone()).or_default().insert(who);
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
                remove_from(&mut space.keys, key, who);
            }
            Interest::Keys(keys) => {
                for key in keys.iter() {
                    remove_from(&mut space.keys, key, who);
                }
            }
            Interest::Prefix(prefix) => {
                if let Some(set) = space.prefixes.get_mut(prefix) {
                    set.remove(&who);
                    if planted::is(Bug::PrefixLengthForgotten) && !set.is_empty() {
                        decrement(&mut space.lengths, prefix.len());
                    } else if set.is_empty() {
                        space.prefixes.remove(prefix);
                        decrement(&mut space.lengths, prefix.len());
                    }
                }
            }
            Interest::Range(from, until) => space.ranges.remove(from, until.as_ref(), who),
            Interest::AllBut(keys) => remove_from(&mut space.all_but, keys, who),
        }
        let unused =
            space.prefixes.is_empty() && space.ranges.is_empty() && space.all_but.is_empty()
                || planted::is(Bug::IndexSpaceDropped);
        if space.keys.is_empty() && unused {
            self.spaces.remove(namespace);
        }
    }

    /// Adds all who are interested in one of these keys, which are in order, to `found`. Gives how
    /// many places it looked at: of many keys, about as many as there are keys and interests.
    pub fn find(&self, namespace: &str, keys: &[&str], found: &mut BTreeSet<T>) -> usize {
        let Some(space) = self.spaces.get(namespace) else {
            return 0;
        };
        let first_only = planted::is(Bug::FirstKeyFindsAll) && !keys.is_empty();
        let keys = if first_only { &keys[..1] } else { keys };
        let sets = keys.iter().filter_map(|key| space.keys.get(*key));
        found.extend(sets.flatten());
        let all_but = space.all_but.iter();
        let touched = all_but.filter(|(but, _)| match planted::is(Bug::AllButOfEachKey) {
            true => keys.iter().all(|key| !but.contains(*key)),
            false => keys.iter().any(|key| !but.contains(*key)),
        });
        found.extend(touched.flat_map(|(_, set)| set));
        let prefixes = space.find_prefixes(keys, found);
        let ranges = space.ranges.find(keys, found);
        keys.len() + space.all_but.len() + prefixes + ranges
    }

    /// Adds all who are interested in anything of the namespace.
    pub fn find_all(&self, namespace: &str, found: &mut BTreeSet<T>) {
        let Some(space) = self.spaces.get(namespace) else {
            return;
        };
        let sets = space.keys.values().chain(space.prefixes.values());
        found.extend(sets.chain(space.all_but.values()).flatten());
        space.ranges.find_all(found);
    }
}

impl<T: Copy + Ord> Space<T> {
    /// Goes by the keys or by the prefixes, whichever are fewer.
    fn find_prefixes(&self, keys: &[&str], found: &mut BTreeSet<T>) -> usize {
        let lookups = keys.len() * self.lengths.len();
        if self.prefixes.len() < lookups {
            for (prefix, set) in &self.prefixes {
                let mut first = keys.partition_point(|key| *key < &**prefix);
                if planted::is(Bug::PrefixesOfFirstKey) {
                    first = 0;
                }
                if keys
                    .get(first)
                    .is_some_and(|key| key.starts_with(&**prefix))
                {
                    found.extend(set);
                }
            }
            return self.prefixes.len();
        }
        for key in keys {
            for (&length, _) in self.lengths.range(..=key.len()) {
                // A length that would cut a character can be no prefix of this key.
                let whole = length == key.len() && length > 0;
                let missed = whole && planted::is(Bug::WholeKeyIsNoPrefix);
                let prefix = key.get(..length).filter(|_| !missed);
                if let Some(set) = prefix.and_then(|prefix| self.prefixes.get(prefix)) {
                    found.extend(set);
                }
            }
        }
        lookups
    }
}

/// Takes one out of the set at this place, and the set when it is empty.
fn remove_from<P: Ord, T: Ord>(sets: &mut BTreeMap<P, BTreeSet<T>>, place: &P, who: T) {
    if let Some(set) = sets.get_mut(place) {
        set.remove(&who);
        if set.is_empty() {
            sets.remove(place);
        }
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
        index.find("n", &[key], &mut found);
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
            Interest::Range(Arc::from("a/c"), Some(Arc::from("z"))),
            Interest::Keys(Arc::new(["a/b", "y"].map(Arc::from).into())),
            Interest::AllBut(Arc::new(
                ["a/b", "a/c", "z", "a", "ö"].map(Arc::from).into(),
            )),
        ];
        for (who, interest) in interests.iter().enumerate() {
            index.insert(&name, interest, who as u32);
        }
        assert_eq!(found(&index, "a/b"), [0, 1, 2, 5]);
        assert_eq!(found(&index, "y"), [2, 4, 5, 6]);
        assert_eq!(found(&index, "a/c"), [1, 2, 4]);
        assert_eq!(found(&index, "z"), [2]);
        assert_eq!(found(&index, "a"), [2]);
        assert_eq!(found(&index, "äb"), [2, 3, 6]);
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
    fn a_prefix_is_found_as_long_as_somebody_is_interested() {
        let mut index = Index::default();
        let name: Namespace = Arc::from("n");
        let prefix = |text: &str| Interest::Prefix(Arc::from(text));
        let interests = [
            (0, prefix("a/")),
            (1, prefix("a/")),
            (2, prefix("b/")),
            (3, Interest::Key(Arc::from("k"))),
        ];
        for (who, interest) in &interests {
            index.insert(&name, interest, *who);
        }
        index.remove("n", &prefix("a/"), 0);
        assert_eq!(found(&index, "a/x"), [1]);
        // Another of the same length.
        index.remove("n", &prefix("a/"), 1);
        assert_eq!(found(&index, "b/x"), [2]);
        index.remove("n", &prefix("b/"), 2);
        assert_eq!(found(&index, "k"), [3]);
        assert!(index.spaces[&name].lengths.is_empty(), "none to look up");
        index.insert(&name, &prefix("a/"), 4);
        index.remove("n", &Interest::Key(Arc::from("k")), 3);
        assert_eq!(found(&index, "a/x"), [4]);
    }

    #[test]
    fn of_many_keys_each_interest_is_looked_at_once() {
        let mut index = Index::default();
        let name: Namespace = Arc::from("n");
        let interests: Vec<Interest> = (0..900)
            .map(|number| match number % 3 {
                0 => Interest::Prefix(Arc::from("k".repeat(number + 1))),
                1 => Interest::Range(Arc::from(format!("k{number}")), None),
                _ => Interest::AllBut(Arc::new(BTreeSet::from([Arc::from(format!("k{number}"))]))),
            })
            .collect();
        for (who, interest) in interests.iter().enumerate() {
            index.insert(&name, interest, who);
        }
        let keys: Vec<String> = (10_000..26_000)
            .map(|number| format!("k{number}"))
            .collect();
        let keys: Vec<&str> = keys.iter().map(|key| &**key).collect();
        let mut found = BTreeSet::new();
        let looked_at = index.find("n", &keys, &mut found);
        assert!(looked_at <= keys.len() + interests.len(), "{looked_at}");
        let touched = |interest: &Interest| keys.iter().any(|key| interest.covers(key));
        let expected = interests.iter().enumerate();
        let expected = expected.filter(|(_, interest)| touched(interest));
        assert_eq!(found, expected.map(|(who, _)| who).collect());
        // One by one the same are found.
        let mut one_by_one = BTreeSet::new();
        for key in &keys {
            index.find("n", &[key], &mut one_by_one);
        }
        assert_eq!(found, one_by_one);
    }

    #[test]
    fn all_of_a_namespace_and_of_no_other() {
        let mut index = Index::default();
        index.insert(&Arc::from("n"), &Interest::Key(Arc::from("k")), 1);
        index.insert(&Arc::from("n"), &Interest::Prefix(Arc::from("p")), 2);
        index.insert(&Arc::from("m"), &Interest::Key(Arc::from("k")), 3);
        let mut found = BTreeSet::new();
        index.find_all("n", &mut found);
        assert_eq!(found, BTreeSet::from([1, 2]));
    }
}
