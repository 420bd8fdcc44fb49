//! What was emptied as a whole is freed in steps, and is in nobody's way until then.

use super::*;

/// A namespace of so many small entries, too many for one change set, then cleared.
fn cleared(store: &mut Store, name: &str, count: usize) {
    let mut transaction = store.transaction(P, Rights::Framework);
    for number in 0..count {
        let key = format!("{number:06}");
        let set = match number % 20 {
            0 => transaction.set_owned(name, &key, &[1]),
            _ => transaction.set(name, &key, &[1]),
        };
        set.expect("the framework may");
    }
    transaction.commit().expect("it fits");
    let mut transaction = store.transaction(P, Rights::User);
    transaction.clear(name).expect("any size");
    let changes = transaction.commit().expect("fine").expect("changed");
    assert_eq!(changes.resets, [Arc::from(name)]);
}

const EACH: usize = ENTRY_OVERHEAD_BYTES + 6 + 1;

#[test]
fn a_step_frees_no_more_entries_than_it_may_and_at_last_all() {
    const COUNT: usize = 100_000;
    const STEP: usize = 1_000;
    let mut store = Store::default();
    cleared(&mut store, "n", COUNT);
    // Nobody sees any of it, and it counts as gone.
    assert_eq!((store.len("n"), store.bytes()), (0, 0));
    assert_eq!(store.buried_bytes(), COUNT * EACH);
    let mut steps = 0;
    while store.has_graves() {
        let before = store.buried_bytes();
        store.free_some(STEP);
        let freed = before - store.buried_bytes();
        assert!(freed <= STEP * EACH, "{freed}");
        let owned_only = before == 0;
        assert!(owned_only || freed > STEP * EACH / 2 || store.buried_bytes() == 0);
        steps += 1;
        store.invariants();
    }
    assert_eq!(store.buried_bytes(), 0);
    // And for those who owned one in twenty of it.
    let least = COUNT / STEP;
    assert!((least..=least * 6 / 5).contains(&steps), "{steps}");
}

#[test]
fn a_step_frees_large_values_one_by_one() {
    let mut store = Store::default();
    let value = blob(1024 * 1024);
    for number in 0..40 {
        set(&mut store, &number.to_string(), &value);
    }
    let mut transaction = store.transaction(P, Rights::User);
    transaction.clear("n").expect("any size");
    transaction.commit().expect("fine").expect("changed");
    let mut sizes = vec![store.buried_bytes()];
    while store.has_graves() {
        store.free_some(usize::MAX);
        sizes.push(store.buried_bytes());
    }
    assert_eq!(sizes.len(), 4, "16 MiB, as much again, and the rest");
    // And the leaves that have lost all their values, with their keys.
    let in_leaves = 40 * (ENTRY_OVERHEAD_BYTES + 2);
    let freed = sizes[0] - sizes[1];
    let enough = FREED_PER_TICK_BYTES_MAX..=FREED_PER_TICK_BYTES_MAX + in_leaves;
    assert!(enough.contains(&freed), "{freed}");
}

/// A clear that is undone puts all back, and what was written after it goes the same way as what is
/// cleared for good.
#[test]
fn what_was_written_after_a_clear_that_is_undone_is_freed_in_steps_too() {
    let mut store = small_change_sets();
    for number in 0..8 {
        set(&mut store, &number.to_string(), &[1]);
    }
    let mut owned = store.transaction(Q, Rights::User);
    owned.set_owned("n", "owned", &[1]).expect("small");
    owned.commit().expect("fine");
    let (before, bytes) = (dump(&store, "n"), store.bytes());
    let mut transaction = store.transaction(P, Rights::User);
    transaction.clear("n").expect("any size");
    transaction.set_owned("n", "after", &[1]).expect("small");
    drop(transaction);
    assert!(store.has_graves());
    assert_eq!((dump(&store, "n"), store.bytes()), (before, bytes));
    assert!(store.owned_by(P).is_empty());
    assert_eq!(store.owned_by(Q).len(), 1);
    store.free_some(ENTRIES);
    assert!(!store.has_graves());
    store.invariants();
}

const ENTRIES: usize = 1_000;

fn small_change_sets() -> Store {
    let mut limits = Limits::USUAL;
    limits.change_set_changes_max = 8;
    limits.owned_keys_max = 8;
    Store::new(limits)
}

/// Trigger: one clears and fills again, and no turn comes in between that frees. Harm: memory grew
/// by each clear, past all limits; or a write was refused for want of room that a clear had just
/// made.
#[test]
fn what_is_not_freed_yet_counts_but_nobody_is_refused_for_it() {
    let mut limits = Limits::USUAL;
    limits.change_set_changes_max = 8;
    limits.owned_keys_max = 8;
    const FULL: usize = 4_000;
    limits.state_bytes_max = FULL * (ENTRY_OVERHEAD_BYTES + 4 + 1);
    let mut store = Store::new(limits);
    for round in 0..4 {
        for number in 0..FULL {
            set(&mut store, &format!("{number:04}"), &[round]);
            assert!(store.bytes() + store.buried_bytes() <= limits.state_bytes_max);
        }
        let mut transaction = store.transaction(P, Rights::User);
        let refused = transaction.set("n", "one more", &[1]);
        assert!(refused.is_err(), "the state is full");
        drop(transaction);
        let mut transaction = store.transaction(P, Rights::User);
        transaction.clear("n").expect("any size");
        transaction.commit().expect("fine").expect("changed");
    }
}
