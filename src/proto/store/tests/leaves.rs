//! Namespaces of many leaves: whatever is written in whatever order, they hold what a map would.

use super::*;
use crate::proto::store::dict::Dict;
use crate::proto::store::held::Entry;
use crate::proto::store::leaf::ENTRIES_MAX;
use proptest::prelude::*;

fn entry(value: &[u8], owner: Option<u64>, revision: u64) -> Entry {
    Entry {
        value: Value::from(value),
        owner: owner.map(ProcessId),
        revision: Revision(revision),
    }
}

/// What is done to one of the keys.
#[derive(Debug, Clone)]
enum Step {
    Put {
        bytes: usize,
        owner: Option<u64>,
    },
    /// It and so many that come after it go.
    Remove(usize),
}

fn step() -> impl Strategy<Value = (u16, Step)> {
    let bytes = prop_oneof![20 => 1..40_usize, 2 => 120..140_usize, 1 => 3000..6000_usize];
    let owner = prop::option::weighted(0.1, 1..4_u64);
    let put = (bytes, owner).prop_map(|(bytes, owner)| Step::Put { bytes, owner });
    let step = prop_oneof![12 => put, 2 => Just(Step::Remove(1)), 1 => (1..200_usize).prop_map(Step::Remove)];
    (0..700_u16, step)
}

/// Short ones, long ones, and such as begin like others.
fn key(number: u16) -> String {
    match number % 7 {
        0 => format!("{}{number}", "long".repeat(100)),
        1 => format!("{}\0", number / 7),
        2 => "ä".repeat(usize::from(number)),
        _ => (number / 7).to_string() + &"x".repeat(usize::from(number % 7)),
    }
}

fn all(dict: &Dict) -> Vec<(String, Entry)> {
    let entries = dict.onwards(Bound::Unbounded);
    entries
        .map(|(key, found)| (key.to_owned(), found.to_entry()))
        .collect()
}

fn same(dict: &Dict, model: &BTreeMap<String, Entry>, looked_for: &str) {
    dict.invariants();
    assert!(all(dict).into_iter().eq(model.clone()));
    let found = dict.get(looked_for).map(Found::to_entry);
    assert_eq!(found.as_ref(), model.get(looked_for));
    for start in [Bound::Included(looked_for), Bound::Excluded(looked_for)] {
        let ours = dict.onwards(start).map(|(key, _)| key).take(70);
        let theirs = model.range::<str, _>((start, Bound::Unbounded));
        assert!(ours.eq(theirs.map(|(key, _)| &**key).take(70)));
    }
    let before = model.range(..looked_for.to_owned()).next_back();
    assert_eq!(
        dict.last_before(Some(looked_for)),
        before.map(|(key, _)| &**key)
    );
    let last = model.keys().next_back();
    assert_eq!(dict.last_before(None), last.map(|key| &**key));
}

proptest! {
    #[test]
    fn a_dict_is_a_map(steps in prop::collection::vec(step(), 0..900)) {
        let mut dict = Dict::default();
        let mut model = BTreeMap::new();
        for (number, (at, step)) in steps.into_iter().enumerate() {
            let key = key(at);
            match step {
                Step::Put { bytes, owner } => {
                    let value: Vec<u8> = (0..bytes).map(|byte| (byte + number) as u8).collect();
                    let new = entry(&value, owner, number as u64);
                    let old = dict.replace(&key, Some(&new));
                    prop_assert_eq!(old, model.insert(key.clone(), new));
                }
                Step::Remove(count) => {
                    let gone = model.range(key.clone()..).take(count);
                    let gone: Vec<String> = gone.map(|(key, _)| key.clone()).collect();
                    for key in gone {
                        prop_assert_eq!(dict.replace(&key, None), model.remove(&key));
                    }
                }
            }
            if number % 37 == 0 {
                same(&dict, &model, &key);
            }
        }
        same(&dict, &model, "3x");
        for key in model.keys() {
            dict.replace(key, None);
        }
        prop_assert_eq!(dict.len(), 0);
        dict.invariants();
    }
}

/// How many leaves hold so many entries that were written in this order.
fn leaves(order: impl Iterator<Item = usize>) -> usize {
    let mut dict = Dict::default();
    for number in order {
        dict.replace(&format!("{number:06}"), Some(&entry(&[1], None, 1)));
    }
    dict.invariants();
    dict.leaves()
}

#[test]
fn in_whatever_order_keys_come_leaves_are_half_full_at_least() {
    const MANY: usize = 10_000;
    assert_eq!(
        leaves(0..MANY),
        MANY.div_ceil(ENTRIES_MAX),
        "in order: all are full"
    );
    let half = MANY.div_ceil(ENTRIES_MAX / 2);
    assert!(leaves((0..MANY).rev()) <= half + 1);
    assert!(leaves((0..MANY).map(|number| number * 7919 % MANY)) <= half + 1);
    // Behind a full leaf, backwards: the place at its end is not split off again and again.
    let behind = (0..ENTRIES_MAX).chain((ENTRIES_MAX..MANY).rev());
    assert!(leaves(behind) <= half + 2);
}

#[test]
fn who_takes_many_keys_out_leaves_few_leaves() {
    let mut dict = Dict::default();
    for number in 0..10_000 {
        dict.replace(&format!("{number:06}"), Some(&entry(&[1], None, 1)));
    }
    for number in (0..10_000).filter(|number| number % 100 != 0) {
        dict.replace(&format!("{number:06}"), None);
    }
    dict.invariants();
    assert_eq!(dict.len(), 100);
    assert!(
        dict.leaves() <= 100 / (ENTRIES_MAX / 8),
        "{}",
        dict.leaves()
    );
}
