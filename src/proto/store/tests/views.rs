//! What a condition has looked at, and what is counted for the simulator's checkers.

use super::*;
use crate::proto::interest::Interest;

/// What was read by `look`, in a namespace that holds `a` and `b`.
fn noted(look: impl FnOnce(&View<'_>)) -> Vec<Interest> {
    let mut store = Store::default();
    set(&mut store, "a", &[1]);
    set(&mut store, "b", &[2]);
    let view = View::new(&store);
    assert_eq!(view.revision(), Revision(2));
    look(&view);
    let reads = view.into_reads();
    reads.iter().map(|(_, interest)| interest.clone()).collect()
}

#[test]
fn what_is_not_there_has_been_looked_at_too() {
    let reads = noted(|view| {
        assert_eq!(view.get("n", "a"), Some(&[1][..]));
        assert!(view.contains("n", "b"));
        assert!(!view.contains("n", "c"));
    });
    assert_eq!(reads, ["a", "b", "c"].map(|key| Interest::Key(key.into())));
}

#[test]
fn to_count_is_to_look_at_all() {
    let reads = noted(|view| assert_eq!(view.len("n"), 2));
    assert_eq!(reads, [Interest::Prefix("".into())]);
}

#[test]
fn the_state_is_counted_from_its_entries() {
    let mut store = Store::default();
    let write = |store: &mut Store, process, name: &str, key: &str, value: &[u8], owned| {
        let mut transaction = store.transaction(process, Rights::Framework);
        let written = match owned {
            true => transaction.set_owned(name, key, value),
            false => transaction.set(name, key, value),
        };
        written.expect("it fits");
        transaction.commit().expect("nothing failed");
    };
    write(&mut store, P, "n", "aa", b"\xa4abcd", false);
    write(&mut store, P, "n", "bb", &[1], true);
    write(&mut store, P, "m", "c", b"\xa2ab", true);
    write(&mut store, Q, "m", "d", &[1], true);
    write(&mut store, P, RESERVED, "not of the users", &[1], true);
    let counted = Counted {
        bytes: 7 + 3 + 4 + 2 + 4 * ENTRY_OVERHEAD_BYTES,
        namespaces: 2,
        value_bytes: 5,
        owned_keys: 2,
        owned_bytes: 3 + 4,
    };
    assert_eq!(store.count(), counted);
}
