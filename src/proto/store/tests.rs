use super::*;
use crate::proto::limits::{FREED_PER_TICK_BYTES_MAX, KEY_BYTES_MAX};
use std::sync::Arc;

mod graves;
mod leaves;
mod transactions;
mod views;

const P: ProcessId = ProcessId(7);
const Q: ProcessId = ProcessId(8);

fn dump(store: &Store, namespace: &str) -> Vec<(String, Vec<u8>)> {
    let entries = store.entries(namespace, "", None);
    entries.map(|(k, v)| (k.to_string(), v.to_vec())).collect()
}

fn set(store: &mut Store, key: &str, value: &[u8]) {
    let mut transaction = store.transaction(P, Rights::User);
    transaction.set("n", key, value).expect("a small value");
    transaction.commit().expect("nothing failed");
}

#[test]
fn a_dropped_transaction_leaves_the_state_as_it_was() {
    let mut store = Store::default();
    set(&mut store, "a", &[1]);
    let before = dump(&store, "n");
    let mut transaction = store.transaction(P, Rights::User);
    transaction.set("n", "a", &[2]).expect("small");
    transaction.set("n", "a", &[3]).expect("small");
    transaction.set_owned("n", "b", &[4]).expect("small");
    transaction.remove("n", "a").expect("there");
    transaction.set("m", "c", &[5]).expect("small");
    drop(transaction);
    assert_eq!(dump(&store, "n"), before);
    assert_eq!(store.len("m"), 0);
    assert_eq!(store.revision(), Revision(1));
    store.invariants();
}

#[test]
fn a_change_set_lists_each_key_once() {
    let mut store = Store::default();
    set(&mut store, "a", &[1]);
    let mut transaction = store.transaction(P, Rights::User);
    transaction.set("n", "a", &[2]).expect("small");
    transaction.set("n", "a", &[3]).expect("small");
    let changes = transaction.commit().expect("fine").expect("changed");
    assert_eq!(changes.revision, Revision(2));
    assert_eq!(changes.changes.len(), 1);
    let change = &changes.changes[0].1;
    assert_eq!(change.before.as_deref(), Some(&[1][..]));
    assert_eq!(change.after.as_deref(), Some(&[3][..]));
}

#[test]
fn nothing_changed_is_no_revision() {
    let mut store = Store::default();
    let mut transaction = store.transaction(P, Rights::User);
    assert_eq!(transaction.remove("n", "a"), Ok(None));
    transaction.clear("n").expect("empty");
    assert!(transaction.commit().expect("fine").is_none());
    assert_eq!(store.revision(), Revision::ZERO);
}

#[test]
fn a_refused_write_sticks() {
    let mut store = Store::default();
    let mut transaction = store.transaction(P, Rights::User);
    transaction.set("n", "a", &[1]).expect("small");
    assert_eq!(
        transaction.set("", "a", &[1]),
        Err(StoreError::ReadOnly),
        "the reserved namespace"
    );
    assert_eq!(transaction.commit().unwrap_err(), StoreError::ReadOnly);
    assert_eq!(store.len("n"), 0);
}

#[test]
fn a_key_at_and_over_its_limit() {
    let mut store = Store::default();
    set(&mut store, &"k".repeat(KEY_BYTES_MAX), &[1]);
    let mut transaction = store.transaction(P, Rights::User);
    let error = transaction.set("n", &"k".repeat(KEY_BYTES_MAX + 1), &[1]);
    assert!(matches!(
        error,
        Err(StoreError::Limit {
            limit: "KEY_BYTES_MAX",
            ..
        })
    ));
}

fn blob(bytes: usize) -> Vec<u8> {
    let length = (bytes - 5) as u32;
    let mut blob = vec![0xc6];
    blob.extend_from_slice(&length.to_be_bytes());
    blob.resize(bytes, 0);
    blob
}

#[test]
fn a_change_set_over_its_limit_is_refused_whole() {
    let mut store = Store::default();
    let value = blob(VALUE_BYTES_MAX);
    let mut transaction = store.transaction(P, Rights::User);
    for number in 0..3 {
        transaction
            .set("n", &number.to_string(), &value)
            .expect("three of them fit");
    }
    let error = transaction.set("n", "3", &value).unwrap_err();
    assert!(matches!(
        error,
        StoreError::Limit {
            limit: "CHANGE_SET_BYTES_MAX",
            ..
        }
    ));
    assert_eq!(transaction.commit().unwrap_err(), error);
    assert_eq!(store.bytes(), 0);
    store.invariants();
}

#[test]
fn a_large_clear_is_one_reset_and_can_be_undone() {
    let mut store = Store::default();
    for number in 0..5 {
        set(&mut store, &number.to_string(), &blob(1024 * 1024));
    }
    let mut owned = store.transaction(Q, Rights::User);
    owned.set_owned("n", "owned", &[1]).expect("small");
    owned.commit().expect("fine");
    let before = dump(&store, "n");

    let mut transaction = store.transaction(P, Rights::User);
    transaction.set("n", "0", &[9]).expect("small");
    transaction.clear("n").expect("any size");
    transaction.set("n", "new", &[1]).expect("small");
    transaction.clear("n").expect("any size");
    transaction.set("n", "newer", &[1]).expect("small");
    drop(transaction);
    assert!(dump(&store, "n") == before);
    assert_eq!(store.owned_by(Q).len(), 1);
    store.invariants();

    let mut transaction = store.transaction(P, Rights::User);
    transaction.clear("n").expect("any size");
    transaction.set("n", "new", &[1]).expect("small");
    let changes = transaction.commit().expect("fine").expect("changed");
    assert_eq!(changes.resets, [Arc::from("n")]);
    assert!(changes.changes.is_empty());
    assert_eq!(store.len("n"), 1);
    assert_eq!(store.owned_by(Q).len(), 0);
    store.invariants();
}

#[test]
fn ownership_goes_with_the_last_writer() {
    let mut store = Store::default();
    let mut transaction = store.transaction(P, Rights::User);
    transaction.set_owned("n", "a", &[1]).expect("small");
    transaction.set_owned("n", "b", &[1]).expect("small");
    transaction.commit().expect("fine");
    let mut transaction = store.transaction(Q, Rights::User);
    transaction.set("n", "a", &[2]).expect("small");
    transaction.commit().expect("fine");
    assert_eq!(store.owned_by(P), [(Arc::from("n"), Arc::from("b"))]);
    assert!(store.owned_by(Q).is_empty());
    store.invariants();
}

#[test]
fn entries_by_prefix_and_after() {
    let mut store = Store::default();
    for key in ["a", "aa", "b/1", "b/2", "b/3", "c", "ä", "ä\u{2713}"] {
        set(&mut store, key, &[1]);
    }
    let keys = |prefix: &'static str, after: Option<&'static str>| -> Vec<String> {
        let entries = store.entries("n", prefix, after);
        entries.map(|(key, _)| key.to_string()).collect()
    };
    assert_eq!(keys("b/", None), ["b/1", "b/2", "b/3"]);
    assert_eq!(keys("b/", Some("b/1")), ["b/2", "b/3"]);
    assert_eq!(keys("b/", Some("a")), ["b/1", "b/2", "b/3"]);
    assert_eq!(keys("b/", Some("c")), Vec::<String>::new());
    assert_eq!(keys("", Some("b/3")), ["c", "ä", "ä\u{2713}"]);
    assert_eq!(keys("ä", None), ["ä", "ä\u{2713}"]);
}

/// Trigger: users have filled the state (all namespaces there may be, or all bytes) when the
/// framework writes a record. Harm: the end of a process was rolled back whole: what it owned stayed
/// for ever, and its record said that it runs. Fix: the framework's own writes, which are bounded
/// by the number of processes, don't count the users' limits.
#[test]
fn a_full_state_does_not_stop_the_framework() {
    let mut store = Store::default();
    for number in 0..crate::proto::limits::NAMESPACES_MAX {
        let mut transaction = store.transaction(P, Rights::User);
        let written = transaction.set(&format!("n{number}"), "k", &[1]);
        written.expect("there is room");
        transaction.commit().expect("nothing failed");
    }
    let mut transaction = store.transaction(P, Rights::Framework);
    let written = transaction.set(RESERVED, "process/2", &[1]);
    assert_eq!(written, Ok(()));
}

mod against_a_naive_model {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Set(u8, u8, bool),
        Remove(u8),
        Clear,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..6_u8, 0..100_u8, any::<bool>()).prop_map(|(k, v, o)| Step::Set(k, v, o)),
            3 => (0..6_u8).prop_map(Step::Remove),
            1 => Just(Step::Clear),
        ]
    }

    proptest! {
        #[test]
        fn any_transactions_some_dropped(
            transactions in prop::collection::vec((prop::collection::vec(step(), 0..8), any::<bool>()), 0..20)
        ) {
            let mut store = Store::default();
            let mut model: BTreeMap<String, Vec<u8>> = BTreeMap::new();
            for (steps, keep) in transactions {
                let mut next = model.clone();
                let mut transaction = store.transaction(P, Rights::User);
                for step in steps {
                    match step {
                        Step::Set(key, value, owned) => {
                            let key = key.to_string();
                            let result = if owned {
                                transaction.set_owned("n", &key, &[value])
                            } else {
                                transaction.set("n", &key, &[value])
                            };
                            prop_assert!(result.is_ok());
                            next.insert(key, vec![value]);
                        }
                        Step::Remove(key) => {
                            let removed = transaction.remove("n", &key.to_string());
                            let removed = removed.expect("removing is within limits");
                            let expected = next.remove(&key.to_string());
                            prop_assert_eq!(removed.map(|v| v.to_vec()), expected);
                        }
                        Step::Clear => {
                            prop_assert!(transaction.clear("n").is_ok());
                            next.clear();
                        }
                    }
                }
                if keep {
                    transaction.commit().expect("nothing failed");
                    model = next;
                } else {
                    drop(transaction);
                }
                store.invariants();
                let expected: Vec<_> = model.clone().into_iter().collect();
                prop_assert_eq!(dump(&store, "n"), expected);
            }
        }
    }
}
