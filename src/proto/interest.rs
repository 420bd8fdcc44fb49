//! What of the state somebody cares for: a watch by its filter, a condition by what it has read.

use super::limits::{READ_NAMESPACES_MAX, READ_RANGES_MAX, READS_BYTES_MAX, READS_MAX};
use super::message::Filter;
use super::operations::Span;
use super::planted::{self, Bug};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The name of a namespace, shared by all that mention it.
pub type Namespace = Arc<str>;
/// A key, shared by the state and the log.
pub type Key = Arc<str>;

/// What of a namespace somebody wants to hear of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interest {
    /// One key.
    Key(Key),
    /// Keys that start so; the empty prefix is the whole namespace.
    Prefix(Arc<str>),
    /// Keys from the first on, up to the second if there is one.
    Range(Key, Option<Key>),
    /// Any of these keys.
    Keys(Arc<BTreeSet<Key>>),
    /// Every key but these.
    AllBut(Arc<BTreeSet<Key>>),
}

impl Interest {
    /// The interest of a watch with this filter.
    #[must_use]
    pub fn of(filter: &Filter<'_>) -> Interest {
        let set = |keys: &[&str]| Arc::new(keys.iter().map(|key| Key::from(*key)).collect());
        match *filter {
            Filter::Keys(ref keys) => Interest::Keys(set(keys)),
            Filter::AllBut(ref keys) => Interest::AllBut(set(keys)),
            Filter::Key(key) if planted::is(Bug::KeyWatchedAsPrefix) => {
                Interest::Prefix(Arc::from(key))
            }
            Filter::Key(key) => Interest::Key(Arc::from(key)),
            Filter::Prefix(prefix) => Interest::Prefix(Arc::from(prefix)),
            Filter::All => Interest::Prefix(Arc::from("")),
        }
    }

    /// The interest of one who reads these keys.
    #[must_use]
    pub fn of_span(span: Span<'_>) -> Interest {
        if span.from <= span.prefix && span.until.is_none() {
            return Interest::Prefix(Arc::from(span.prefix));
        }
        // The end of the prefix, if that is nearer. Without a prefix there is none.
        let end = end_of_prefix(span.prefix);
        let end = match (end.as_deref(), span.until) {
            (Some(end), Some(until)) => Some(end.min(until)),
            (end, until) => end.or(until),
        };
        Interest::Range(Arc::from(span.start()), end.map(Arc::from))
    }

    /// Is this key of interest?
    #[must_use]
    pub fn covers(&self, key: &str) -> bool {
        match self {
            Interest::Key(wanted) => **wanted == *key,
            Interest::Prefix(prefix) => key.starts_with(&**prefix),
            Interest::Range(from, until) => {
                **from <= *key && until.as_ref().is_none_or(|until| *key < **until)
            }
            Interest::Keys(keys) => keys.contains(key),
            Interest::AllBut(keys) => !keys.contains(key),
        }
    }

    /// What its keys take, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        // A place in a set or two, with its share of the node.
        const KEY_OVERHEAD_BYTES: usize = 64;
        let (keys, bytes) = match self {
            Interest::Key(key) | Interest::Prefix(key) => (1, key.len()),
            Interest::Range(from, until) => (2, from.len() + until.as_ref().map_or(0, |u| u.len())),
            Interest::Keys(keys) | Interest::AllBut(keys) => {
                (keys.len(), keys.iter().map(|key| key.len()).sum())
            }
        };
        keys * KEY_OVERHEAD_BYTES + bytes
    }

    /// Is every key of interest?
    #[must_use]
    pub fn covers_all(&self) -> bool {
        matches!(self, Interest::Prefix(prefix) if prefix.is_empty())
    }
}

/// The first text behind all that start with `prefix`; none if there is no such text.
///
/// Texts are ordered by their bytes, which is the order of their characters.
#[must_use]
pub fn end_of_prefix(prefix: &str) -> Option<String> {
    let mut end = prefix.to_owned();
    while let Some(last) = end.pop() {
        let next = match last {
            // Behind it come the surrogates, which are no characters.
            '\u{d7ff}' => Some('\u{e000}'),
            last => char::from_u32(last as u32 + 1),
        };
        if let Some(next) = next {
            end.push(next);
            return Some(end);
        }
    }
    None
}

/// What a condition has read, by namespace.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ReadSet {
    interests: BTreeMap<Namespace, BTreeSet<Interest>>,
    count: usize,
    /// Of all keys that came, but for namespaces that count as read whole.
    bytes: usize,
}

impl ReadSet {
    /// Adds one read. Past [`READS_MAX`] and [`READS_BYTES_MAX`] the namespace counts as read whole: the condition is then
    /// tested more often than it need be, never less. Likewise more than [`READ_RANGES_MAX`] ranges
    /// count as one that covers them. Of namespaces one more than [`READ_NAMESPACES_MAX`] is kept: who has read so
    /// many is refused.
    pub fn insert(&mut self, namespace: &str, interest: Interest) {
        let is_full = self.namespaces() > READ_NAMESPACES_MAX;
        let set = match self.interests.get_mut(namespace) {
            Some(set) => set,
            None if is_full => return,
            None => self.interests.entry(Arc::from(namespace)).or_default(),
        };
        let whole = Interest::Prefix(Arc::from(""));
        if set.contains(&interest) || set.contains(&whole) {
            return;
        }
        if self.count >= READS_MAX && planted::is(Bug::LateReadsForgotten) {
            return;
        }
        let is_full = self.count >= READS_MAX || self.bytes + interest.bytes() > READS_BYTES_MAX;
        if is_full || interest.covers_all() {
            self.count -= set.len();
            let bytes = set.iter().map(Interest::bytes).sum();
            self.bytes = self.bytes.saturating_sub(bytes);
            set.clear();
            set.insert(whole);
        } else {
            self.bytes += interest.bytes();
            set.insert(interest);
            self.count -= join_ranges(set);
        }
        self.count += 1;
    }

    /// How many namespaces were read; over the limit, one more than that.
    #[must_use]
    pub fn namespaces(&self) -> usize {
        self.interests.len()
    }

    /// All that was read.
    pub fn iter(&self) -> impl Iterator<Item = (&Namespace, &Interest)> + Clone {
        self.interests
            .iter()
            .flat_map(|(namespace, set)| set.iter().map(move |interest| (namespace, interest)))
    }
}

/// Makes one range of those in `set`, if they are too many. Gives how many fewer there are.
fn join_ranges(set: &mut BTreeSet<Interest>) -> usize {
    // The least range there could be: only prefixes and keys come before it.
    let least = Interest::Range(Arc::from(""), None);
    if set.range(&least..).count() <= READ_RANGES_MAX {
        return 0;
    }
    let before = set.len();
    let ranges = set.split_off(&least);
    let mut covered: Option<(Key, Option<Key>)> = None;
    for range in ranges {
        match (range, &mut covered) {
            (Interest::Range(from, until), None) => covered = Some((from, until)),
            // They are in the order of their beginnings.
            (Interest::Range(_, until), Some((_, end))) => {
                *end = end.take().zip(until).map(|(end, until)| end.max(until));
            }
            (other, _) => {
                set.insert(other);
            }
        }
    }
    set.extend(covered.map(|(from, until)| Interest::Range(from, until)));
    before - set.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_ranges_become_one_that_covers_them_and_few_stay_apart() {
        let range = |from: usize, until: Option<usize>| {
            let key = |number: usize| Key::from(format!("{number:04}"));
            Interest::Range(key(from), until.map(key))
        };
        let mut reads = ReadSet::default();
        reads.insert("n", Interest::Key(Arc::from("k")));
        for number in 0..READ_RANGES_MAX {
            reads.insert("n", range(10 * number + 5, Some(10 * number + 9)));
        }
        assert_eq!(reads.iter().count(), READ_RANGES_MAX + 1);
        reads.insert("m", range(1, None));
        // One that reaches furthest comes first, and one too many last.
        reads.insert("n", range(2, Some(900)));
        let interests: Vec<_> = reads.iter().collect();
        assert_eq!(reads.count, interests.len());
        let covering = range(2, Some(900));
        let [(_, apart), (_, key), (_, covers)] = interests[..] else {
            panic!("{interests:?}");
        };
        assert_eq!((apart, covers), (&range(1, None), &covering));
        assert_eq!(key, &Interest::Key(Arc::from("k")));
        // Without an end if one of them has none.
        for number in 0..READ_RANGES_MAX {
            reads.insert("n", range(2000 + number, (number != 3).then_some(3000)));
        }
        assert!(
            reads
                .iter()
                .any(|(_, interest)| *interest == range(2, None))
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

    #[test]
    fn long_keys_become_the_whole_namespace_sooner() {
        let mut reads = ReadSet::default();
        let key = |number: usize| Interest::Key(Arc::from(format!("{number:01000}")));
        let few = READS_BYTES_MAX / key(0).bytes();
        (0..few).for_each(|number| reads.insert("n", key(number)));
        assert_eq!(reads.iter().count(), few);
        reads.insert("n", key(few));
        let interests: Vec<_> = reads.iter().collect();
        assert_eq!(interests.len(), 1);
        assert!(interests[0].1.covers_all());
    }

    #[test]
    fn a_namespace_that_is_read_whole_counts_as_one_read() {
        let mut reads = ReadSet::default();
        for number in 0..=READS_MAX {
            reads.insert("n", Interest::Key(Arc::from(number.to_string())));
        }
        // There is room for as many as before, but for the one.
        for number in 1..READS_MAX {
            reads.insert("m", Interest::Key(Arc::from(number.to_string())));
        }
        assert_eq!(reads.iter().count(), READS_MAX);
        reads.insert("m", Interest::Key(Arc::from("one too many")));
        assert_eq!(reads.iter().count(), 2);
    }

    #[test]
    fn the_end_of_a_prefix_is_behind_all_of_its_keys_and_before_all_others() {
        let end = |prefix| end_of_prefix(prefix);
        assert_eq!(end("a").as_deref(), Some("b"));
        assert_eq!(end("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(end("\u{7f}").as_deref(), Some("\u{80}"));
        assert_eq!(end("x\u{d7ff}").as_deref(), Some("x\u{e000}"));
        assert_eq!(end(""), None);
        assert_eq!(end("\u{10ffff}\u{10ffff}"), None);
        assert!("a\u{10ffff}\u{10ffff}" < "b");
    }

    #[test]
    fn the_interest_of_a_span_is_in_its_keys_and_no_others() {
        let keys = ["", "a", "a/", "a/1", "a/2", "a/3", "a0", "b", "\u{10ffff}"];
        let (from, until) = (["", "a/1", "a/2", "b"], [None, Some("a/2"), Some("a0")]);
        for prefix in ["", "a", "a/", "\u{10ffff}"] {
            for from in from {
                for until in until {
                    let span = Span {
                        prefix,
                        from,
                        until,
                    };
                    let interest = Interest::of_span(span);
                    for key in keys {
                        assert_eq!(interest.covers(key), span.covers(key), "{span:?} {key:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_interest_of_a_filter() {
        let prefix = |text| Interest::Prefix(Arc::from(text));
        let key = Interest::of(&Filter::Key("k"));
        assert_eq!(key, Interest::Key(Arc::from("k")));
        assert_eq!(Interest::of(&Filter::Prefix("k")), prefix("k"));
        assert_eq!(Interest::of(&Filter::All), prefix(""));
        let keys = Interest::of(&Filter::Keys(vec!["a", "b", "a"]));
        let others = Interest::of(&Filter::AllBut(vec!["a", "b"]));
        for (key, among) in [("a", true), ("b", true), ("c", false), ("", false)] {
            assert_eq!((keys.covers(key), others.covers(key)), (among, !among));
        }
    }
}
