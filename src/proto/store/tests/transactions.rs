//! What a transaction sees, and what its writes are refused for.

use super::*;

fn small(configure: impl FnOnce(&mut Limits)) -> Store {
    let mut limits = Limits::USUAL;
    configure(&mut limits);
    assert_eq!(limits.check(), Ok(()));
    Store::new(limits)
}

fn owned(store: &mut Store, process: ProcessId, name: &str, value: &[u8]) {
    let mut transaction = store.transaction(process, Rights::User);
    transaction.set_owned(name, "k", value).expect("it fits");
    transaction.commit().expect("nothing failed");
}

fn refused_by(result: Result<(), StoreError>) -> &'static str {
    match result {
        Err(StoreError::Limit { limit, .. }) => limit,
        other => panic!("no limit: {other:?}"),
    }
}

#[test]
fn it_reads_what_it_has_written() {
    let mut store = Store::default();
    set(&mut store, "a", &[1]);
    let mut transaction = store.transaction(P, Rights::User);
    assert_eq!(transaction.process(), P);
    assert_eq!(transaction.revision(), Revision(2));
    assert!(!transaction.is_dirty());
    transaction.set("n", "b", &[2]).expect("small");
    assert!(transaction.is_dirty());
    assert_eq!(transaction.get("n", "a"), Some(&[1][..]));
    assert_eq!(transaction.get("n", "b"), Some(&[2][..]));
    assert_eq!(transaction.get("n", "c"), None);
    assert!(transaction.contains("n", "b"));
    assert!(!transaction.contains("n", "c"));
    assert_eq!(transaction.len("n"), 2);
    let entries: Vec<_> = transaction.entries("n", "b", None).collect();
    assert_eq!(entries, [("b", &[2][..])]);
}

#[test]
fn a_namespace_at_and_over_its_limit() {
    let mut store = Store::default();
    let mut transaction = store.transaction(P, Rights::User);
    let name = "n".repeat(NAMESPACE_BYTES_MAX + 1);
    transaction.set(&name[1..], "k", &[1]).expect("it fits");
    let refused = transaction.set(&name, "k", &[1]);
    assert_eq!(refused_by(refused), "NAMESPACE_BYTES_MAX");
}

#[test]
fn too_deep_a_value_is_one_level_over_the_limit() {
    let depth = crate::proto::limits::DEPTH_MAX;
    let value = [vec![0x91; depth + 5], vec![1]].concat();
    let error = StoreError::Limit {
        limit: "DEPTH_MAX",
        actual: depth as u64 + 1,
        max: depth as u64,
    };
    assert_eq!(check_value(&value, 1000, depth), Err(error));
}

#[test]
fn the_state_at_and_over_its_limit() {
    let mut store = small(|limits| limits.state_bytes_max = ENTRY_OVERHEAD_BYTES + 7);
    set(&mut store, "k", b"\xa5abcde");
    assert_eq!(store.bytes(), ENTRY_OVERHEAD_BYTES + 7);
    // What it takes the place of is free again.
    set(&mut store, "k", b"\xa5fghij");
    let mut transaction = store.transaction(P, Rights::User);
    let refused = transaction.set("n", "k", b"\xa6abcdef");
    assert_eq!(refused_by(refused), "STATE_BYTES_MAX");
}

#[test]
fn what_a_process_owns_at_and_over_its_limit() {
    let mut store = small(|limits| limits.owned_bytes_max = 7);
    // Each time the room of what was there is free again: overwritten, or removed.
    owned(&mut store, P, "n", b"\xa5abcde");
    owned(&mut store, P, "n", b"\xa5fghij");
    let mut transaction = store.transaction(P, Rights::User);
    transaction.set_owned("n", "l", &[]).expect_err("no value");
    drop(transaction);
    let mut transaction = store.transaction(P, Rights::User);
    transaction.remove("n", "k").expect("it is there");
    transaction.commit().expect("nothing failed");
    owned(&mut store, P, "n", &[1]);
    owned(&mut store, P, "m", b"\xa3abc");
    let mut transaction = store.transaction(P, Rights::User);
    let refused = transaction.set_owned("m", "l", &[1]);
    assert_eq!(refused_by(refused), "OWNED_BYTES_MAX");
}

#[test]
fn one_of_many_owned_keys_leaves_room_when_it_goes() {
    let mut store = small(|limits| limits.owned_bytes_max = 7);
    let mut transaction = store.transaction(P, Rights::User);
    for key in ["a", "b", "c"] {
        transaction.set_owned("n", key, &[1]).expect("it fits");
    }
    transaction.remove("n", "a").expect("it is there");
    let again = transaction.set_owned("n", "d", &[0xcc, 1]);
    assert_eq!(again, Ok(()), "four bytes, and three");
}

#[test]
fn a_full_set_of_namespaces_is_written_to_as_ever() {
    let mut store = small(|limits| limits.namespaces_max = 1);
    set(&mut store, "a", &[1]);
    set(&mut store, "b", &[1]);
    let mut transaction = store.transaction(P, Rights::User);
    let refused = transaction.set("m", "a", &[1]);
    assert_eq!(refused_by(refused), "NAMESPACES_MAX");
}

/// Harm: with a process there was room for one namespace less than without.
#[test]
fn the_framework_s_namespace_is_none_of_the_users() {
    let mut store = small(|limits| limits.namespaces_max = 1);
    let mut transaction = store.transaction(P, Rights::Framework);
    let written = transaction.set(RESERVED, "process/2", &[1]);
    assert_eq!(written, Ok(()));
    transaction.commit().expect("nothing failed");
    set(&mut store, "a", &[1]);
    let mut transaction = store.transaction(P, Rights::User);
    let refused = transaction.set("m", "a", &[1]);
    assert_eq!(refused_by(refused), "NAMESPACES_MAX");
}

/// A store of three keys in one namespace, of which a change set can hold three.
fn three() -> Store {
    let mut store = small(|limits| {
        limits.change_set_changes_max = 3;
        limits.owned_keys_max = 3;
    });
    for key in ["a", "b", "c"] {
        set(&mut store, key, &[1]);
    }
    store
}

#[test]
fn the_changes_of_a_change_set_at_and_over_their_limit() {
    let mut store = three();
    let mut transaction = store.transaction(P, Rights::User);
    for key in ["a", "b", "c", "a"] {
        transaction.set("n", key, &[2]).expect("three keys");
    }
    let refused = transaction.set("n", "d", &[2]);
    assert_eq!(refused_by(refused), "CHANGE_SET_CHANGES_MAX");
}

#[test]
fn a_clear_that_fits_is_listed() {
    let mut store = three();
    let mut transaction = store.transaction(P, Rights::User);
    transaction.clear("n").expect("any size");
    let changes = transaction.commit().expect("fine").expect("changed");
    assert_eq!((changes.changes.len(), changes.resets.len()), (3, 0));
}

#[test]
fn a_clear_that_does_not_fit_with_what_was_changed_before_is_a_reset() {
    let mut store = three();
    let mut transaction = store.transaction(P, Rights::User);
    transaction.set("m", "a", &[1]).expect("small");
    transaction.clear("n").expect("any size");
    let changes = transaction.commit().expect("fine").expect("changed");
    assert_eq!((changes.changes.len(), changes.resets.len()), (1, 1));
    assert_eq!((store.len("n"), store.len("m")), (0, 1));
}

#[test]
fn a_reset_alone_is_a_change() {
    let mut store = three();
    set(&mut store, "d", &[1]);
    let mut transaction = store.transaction(P, Rights::User);
    transaction.clear("n").expect("any size");
    assert!(transaction.is_dirty());
}

#[test]
fn a_reset_takes_what_was_owned_there_and_nothing_else() {
    let mut store = three();
    owned(&mut store, Q, "n", &[1]);
    owned(&mut store, Q, "m", &[1]);
    let mut transaction = store.transaction(P, Rights::User);
    transaction.clear("n").expect("any size");
    transaction.commit().expect("fine").expect("changed");
    assert_eq!(store.owned_by(Q), [(Arc::from("m"), Arc::from("k"))]);
    store.invariants();
}

#[test]
fn a_key_has_the_revision_that_wrote_it() {
    let mut store = Store::default();
    set(&mut store, "a", &[1]);
    set(&mut store, "b", &[1]);
    let mut transaction = store.transaction(P, Rights::User);
    transaction.set("n", "a", &[1]).expect("small");
    let version = |transaction: &Transaction<'_>, key| {
        transaction.found("n", key).map(|found| found.revision)
    };
    assert_eq!(version(&transaction, "a"), Some(Revision(3)));
    assert_eq!(version(&transaction, "b"), Some(Revision(2)));
    drop(transaction);
    let undone = store.found("n", "a").map(|found| found.revision);
    assert_eq!(undone, Some(Revision(1)));
    assert!(store.found("n", "c").is_none());
}

#[test]
fn an_addition_that_can_not_be_loses_nothing_else() {
    let mut store = Store::default();
    set(&mut store, "text", b"\xa1x");
    owned(&mut store, Q, "n", &[5]);
    let mut transaction = store.transaction(P, Rights::User);
    let text = transaction.add("n", "text", 1);
    assert_eq!(
        text,
        Err(StoreError::NotInteger("the string \"x\"".to_owned()))
    );
    assert_eq!(
        transaction.add("n", "k", i64::MAX),
        Err(StoreError::Overflow)
    );
    assert_eq!(transaction.add("n", "k", -7), Ok(-2));
    assert_eq!(transaction.add("n", "new", 3), Ok(3));
    transaction.commit().expect("fine").expect("changed");
    assert_eq!(dump(&store, "n")[0], ("k".to_owned(), vec![0xfe]));
    // Who owned it does so still.
    assert_eq!(store.owned_by(Q), [(Arc::from("n"), Arc::from("k"))]);
    store.invariants();
    let mut transaction = store.transaction(P, Rights::User);
    assert_eq!(transaction.add("", "k", 1), Err(StoreError::ReadOnly));
    assert!(transaction.commit().is_err(), "a refused write sticks");
}

#[test]
fn what_goes_and_what_comes_are_listed_together_or_not_at_all() {
    for (entries, bytes, resets) in [(1, 103, 0), (1, 104, 1), (2, 2, 1)] {
        let mut store = bounded();
        set(&mut store, "a", &blob(98));
        set(&mut store, "b", &blob(100));
        let mut transaction = store.transaction(P, Rights::User);
        let coming = Coming { entries, bytes };
        transaction.clear_before("n", coming).expect("any size");
        transaction.set("n", "c", &[1]).expect("it fits");
        let changes = transaction.commit().expect("fine").expect("changed");
        assert_eq!(changes.resets.len(), resets, "{entries} of {bytes} bytes");
        assert_eq!(dump(&store, "n"), [("c".to_owned(), vec![1])]);
        store.invariants();
    }
}

/// Room for two keys with a value of a hundred bytes each, and not for three.
fn bounded() -> Store {
    small(|limits| {
        limits.value_bytes_max = 100;
        limits.part_bytes_max = limits.value_bytes_max;
        limits.change_set_bytes_max = 303;
        limits.change_set_changes_max = 3;
        limits.owned_bytes_max = 100;
        limits.owned_keys_max = 3;
    })
}

#[test]
fn a_value_that_is_overwritten_in_one_transaction_counts_once() {
    let mut store = bounded();
    let value = blob(100);
    let mut transaction = store.transaction(P, Rights::User);
    for key in ["k1", "k1", "k1", "k1", "k2"] {
        transaction.set("n", key, &value).expect("two of them fit");
    }
    let refused = transaction.set("n", "k3", &value);
    assert_eq!(refused_by(refused), "CHANGE_SET_BYTES_MAX");
}

#[test]
fn what_is_written_after_a_reset_is_bounded_too() {
    let mut store = bounded();
    for key in ["a", "b", "c", "d"] {
        set(&mut store, key, &[1]);
    }
    let mut transaction = store.transaction(P, Rights::User);
    transaction.clear("n").expect("any size");
    let value = blob(100);
    for key in ["k1", "k2"] {
        transaction.set("n", key, &value).expect("two of them fit");
    }
    let refused = transaction.set("n", "k3", &value);
    assert_eq!(refused_by(refused), "CHANGE_SET_BYTES_MAX");
}

#[test]
#[should_panic(expected = "assertion `left == right` failed")]
fn a_sum_that_is_wrong_is_noticed() {
    let mut store = Store::default();
    store.bytes += 1;
    store.invariants();
}

/// However often a key is changed, it stands once in a change set and counts once: as what it was
/// before all of it, and what it has become.
#[test]
fn a_key_counts_once_gone_and_there_again() {
    let mut store = small(|limits| {
        limits.change_set_changes_max = 2;
        limits.owned_keys_max = 2;
    });
    set(&mut store, "there", &[1]);
    let mut transaction = store.transaction(P, Rights::User);
    for round in 0..3 {
        for key in ["there", "new"] {
            transaction.set("n", key, &[2 + round]).expect("once");
            transaction.remove("n", key).expect("once");
        }
    }
    transaction.set("n", "new", &[9]).expect("once");
    let changes = transaction.commit().expect("it fits").expect("changes");
    let told: Vec<_> = changes.changes.iter().map(|(_, change)| change).collect();
    let [new, there] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!((&*new.key, &*there.key), ("new", "there"));
    assert_eq!(new.before.as_deref(), None);
    assert_eq!(new.after.as_deref(), Some(&[9][..]));
    assert_eq!(there.before.as_deref(), Some(&[1][..]));
    assert_eq!(there.after.as_deref(), None);
    store.invariants();
    // And one more is one too many, with which all is as it was.
    let mut transaction = store.transaction(P, Rights::User);
    transaction.remove("n", "new").expect("it fits");
    transaction.set("n", "new", &[3]).expect("once");
    transaction.set("n", "a", &[3]).expect("it fits");
    let refused = transaction.set("n", "b", &[3]);
    assert_eq!(refused_by(refused), "CHANGE_SET_CHANGES_MAX");
    drop(transaction);
    assert_eq!(store.get("n", "new"), Some(&[9][..]));
    assert_eq!((store.get("n", "a"), store.len("n")), (None, 1));
    store.invariants();
}
