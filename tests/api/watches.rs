//! Every update, once, in order.

use std::time::Duration;
use zproc::{Context, Filter, ProcessId, Result, Revision, Txn, Update, Watch};

/// Keys and values after, of an update with integers.
fn after(update: &Update) -> Vec<(&str, Option<u64>)> {
    update
        .changes
        .iter()
        .map(|change| (change.key(), change.after().expect("an integer")))
        .collect()
}

/// Nothing more comes.
fn quiet(watch: &mut Watch) {
    let error = watch.next_within(Duration::from_millis(20)).unwrap_err();
    assert!(error.is_timeout(), "{error}");
}

pub(super) fn by_key(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    state.set("a", &1)?;
    let mut watch = state.watch(Filter::key("a")).start()?;
    state.set("b", &2)?;
    state.set("ab", &2)?;
    let set = state.set("a", &3)?;
    state.remove("a")?;
    let update = watch.next_update()?;
    assert_eq!((update.revision, update.reset), (set, false));
    assert_eq!(update.changes.len(), 1);
    assert_eq!(update.changes[0].before()?, Some(1));
    assert_eq!(update.changes[0].after()?, Some(3));
    assert!(
        update.changes[0]
            .before::<String>()
            .unwrap_err()
            .is_wrong_type()
    );
    assert!(!update.changes[0].is_identical());
    assert_eq!(watch.next_revision(), set.next());
    let update = watch.next_update()?;
    assert!(update.revision > set);
    assert_eq!(update.changes[0].before()?, Some(3));
    assert_eq!(update.changes[0].after::<u64>()?, None);
    assert_eq!(update.changes[0].after_raw(), None);
    quiet(&mut watch);
    Ok(())
}

pub(super) fn by_prefix(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let mut watch = state.watch(Filter::prefix("job/")).start()?;
    for (key, value) in [
        ("job/1", 1),
        ("jo", 2),
        ("job", 3),
        ("job/", 4),
        ("job0", 5),
    ] {
        state.set(key, &value)?;
    }
    assert_eq!(after(&watch.next_update()?), [("job/1", Some(1))]);
    assert_eq!(after(&watch.next_update()?), [("job/", Some(4))]);
    quiet(&mut watch);
    Ok(())
}

pub(super) fn all_of_a_namespace(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let mut watch = state.watch(Filter::all()).start()?;
    ctx.namespace("other").set("a", &0)?;
    state.set("a", &1)?;
    state.set("b", &2)?;
    let cleared = state.clear()?;
    assert_eq!(after(&watch.next_update()?), [("a", Some(1))]);
    assert_eq!(after(&watch.next_update()?), [("b", Some(2))]);
    let update = watch.next_update()?;
    assert_eq!(update.revision, cleared);
    assert_eq!(after(&update), [("a", None), ("b", None)]);
    quiet(&mut watch);
    Ok(())
}

pub(super) fn since_a_revision(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let revisions = (0..10)
        .map(|number| state.set("a", &number))
        .collect::<Result<Vec<_>>>()?;
    let watch = state.watch(Filter::all()).since(revisions[4]).start()?;
    let seen = watch
        .take(6)
        .map(|update| update.map(|update| update.revision))
        .collect::<Result<Vec<_>>>()?;
    assert_eq!(seen, revisions[4..]);
    // One that is yet to come.
    let mut watch = state
        .watch(Filter::all())
        .since(revisions[9].next())
        .start()?;
    let set = state.set("a", &10)?;
    assert_eq!(watch.next_update()?.revision, set);
    Ok(())
}

pub(super) fn from_the_start(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    for number in 0..5_u64 {
        state.set(&number.to_string(), &number)?;
    }
    let watch = state.watch(Filter::all()).from_start().start()?;
    for (number, update) in (0..5).zip(watch) {
        assert_eq!(
            after(&update?),
            [(number.to_string().as_str(), Some(number))]
        );
    }
    Ok(())
}

fn three_keys(txn: &mut Txn<'_>, _: ()) -> Result<Revision> {
    for key in ["c", "a", "b"] {
        txn.set(key, &0)?;
        txn.set(key, &1)?;
    }
    txn.set("gone", &1)?;
    txn.remove("gone")?;
    txn.namespace("other").set("x", &1)?;
    Ok(txn.revision())
}

pub(super) fn one_update_for_one_atomic(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let mut watch = state.watch(Filter::all()).start()?;
    let mut other = ctx.namespace("other").watch(Filter::all()).start()?;
    let revision = state.atomic(three_keys, ())?;
    let update = watch.next_update()?;
    assert_eq!(update.revision, revision);
    let mut seen: Vec<_> = after(&update);
    // What came and went within is nothing, or a key with no value before and after.
    seen.retain(|(key, value)| *key != "gone" || value.is_some());
    assert_eq!(seen, [("a", Some(1)), ("b", Some(1)), ("c", Some(1))]);
    assert!(
        update
            .changes
            .iter()
            .all(|change| change.before_raw().is_none())
    );
    let update = other.next_update()?;
    assert_eq!(
        (update.revision, after(&update)),
        (revision, vec![("x", Some(1))])
    );
    quiet(&mut watch);
    Ok(())
}

fn set_mine(ctx: &Context, _: ()) -> Result<()> {
    ctx.state().set("mine", &1)?;
    Ok(())
}

pub(super) fn origin_tells_who(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let mut watch = state.watch(Filter::all()).start()?;
    state.set("k", &1)?;
    let origin = watch.next_update()?.origin;
    assert_eq!(origin.process, ProcessId::PROGRAM);
    assert_eq!((origin.function, origin.released), (None, None));
    state.atomic(three_keys, ())?;
    let update = watch.next_update()?;
    let function = update.origin.function.expect("it was a function");
    assert!(function.ends_with("three_keys"), "{function}");
    let process = ctx.spawn(set_mine, ())?;
    let id = process.id();
    assert_eq!(watch.next_update()?.origin.process, id);
    process.join()?
}

pub(super) fn time_limit_loses_nothing(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let mut watch = state
        .within(Duration::from_secs(60))
        .watch(Filter::all())
        .start()?;
    for number in 0..5_u64 {
        quiet(&mut watch);
        state.set("a", &number)?;
        let update = watch.next_within(Duration::from_secs(60))?;
        assert_eq!(after(&update), [("a", Some(number))]);
    }
    Ok(())
}

pub(super) fn some_keys_and_all_but_some(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let mut some = state.watch(Filter::keys(["a", "c"])).start()?;
    let mut others = state.watch(Filter::all_but(["a", "c"])).start()?;
    state.extend([("a", 1), ("b", 2), ("c", 3), ("d", 4)])?;
    state.set("a", &5)?;
    let last = state.extend([("b", 6), ("c", 7)])?;
    assert_eq!(
        after(&some.next_update()?),
        [("a", Some(1)), ("c", Some(3))]
    );
    assert_eq!(after(&some.next_update()?), [("a", Some(5))]);
    assert_eq!(after(&some.next_update()?), [("c", Some(7))]);
    assert_eq!(
        after(&others.next_update()?),
        [("b", Some(2)), ("d", Some(4))]
    );
    let update = others.next_update()?;
    assert_eq!(
        (after(&update), update.revision),
        (vec![("b", Some(6))], last)
    );
    quiet(&mut some);
    quiet(&mut others);
    // No key is no update; but no key is every key.
    quiet(&mut state.watch(Filter::keys([""; 0])).from_start().start()?);
    let mut all = state.watch(Filter::all_but([""; 0])).from_start().start()?;
    assert_eq!(all.next_update()?.changes.len(), 4);
    // At the limit, and over it.
    let keys = |count: u32| (0..count).map(|number| number.to_string());
    state.watch(Filter::keys(keys(1024))).start()?;
    let error = state
        .watch(Filter::all_but(keys(1025)))
        .start()
        .unwrap_err();
    assert!(error.is_limit(), "{error}");
    Ok(())
}

/// Keys and values of one update.
type Seen = Vec<(String, Option<u64>)>;

/// Sets `a` to each of these.
fn sets(ctx: &Context, values: Vec<u64>) -> Result<()> {
    for value in values {
        ctx.state().set("a", &value)?;
    }
    Ok(())
}

pub(super) fn own_and_identical_are_left_out(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let mut others = state.watch(Filter::all()).skip_own().start()?;
    let mut changed = state.watch(Filter::all()).skip_identical().start()?;
    let mut all = state.watch(Filter::all()).start()?;
    state.set("a", &1)?;
    ctx.spawn(sets, vec![1, 2])?.join()??;
    state.extend([("a", 2), ("b", 3)])?;
    state.set("b", &3)?;
    let seen = |watch: &mut Watch, count| -> Result<Vec<Seen>> {
        let mut seen = Vec::new();
        for _ in 0..count {
            let update = watch.next_within(Duration::from_secs(60))?;
            let changes = after(&update).into_iter();
            seen.push(
                changes
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect(),
            );
        }
        quiet(watch);
        Ok(seen)
    };
    let (a, b) = (
        |value| ("a".to_owned(), Some(value)),
        ("b".to_owned(), Some(3)),
    );
    assert_eq!(seen(&mut others, 2)?, [[a(1)], [a(2)]]);
    assert_eq!(seen(&mut changed, 3)?, [[a(1)], [a(2)], [b.clone()]]);
    assert_eq!(seen(&mut all, 5)?[3], [a(2), b]);
    Ok(())
}

pub(super) fn timeout_in_a_loop(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let watch = state
        .watch(Filter::key("a"))
        .timeout(Duration::from_millis(5));
    let watch = watch.start()?;
    let (mut seen, mut written) = (0, 0);
    // The loop goes on over timeouts, and loses nothing by them.
    for update in watch {
        match update {
            Ok(update) => {
                assert_eq!(after(&update), [("a", Some(seen))]);
                seen += 1;
                if seen == 3 {
                    break;
                }
            }
            Err(error) => {
                assert!(error.is_timeout(), "{error}");
                // What was written last may still be on its way.
                if written == seen {
                    state.set("a", &written)?;
                    written += 1;
                }
            }
        }
    }
    Ok(())
}

pub(super) fn live_again(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let mut watch = state.watch(Filter::key("a")).start()?;
    for number in 0..10_u64 {
        state.set("a", &number)?;
    }
    assert_eq!(after(&watch.next_update()?), [("a", Some(0))]);
    watch.go_live()?;
    quiet(&mut watch);
    state.set("a", &10)?;
    assert_eq!(after(&watch.next_update()?), [("a", Some(10))]);
    Ok(())
}

pub(super) fn from_a_snapshot_without_gap_or_overlap(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let process = ctx.spawn(sets, (1..=40).collect())?;
    for round in 0..3 {
        let (snapshot, mut watch) = state.watch(Filter::key("a")).start_with_snapshot()?;
        let mut last = snapshot.get::<u64>("a")?.unwrap_or(0);
        for _ in 0..3_u64.min((40 - last) / 2) {
            let update = watch.next_update()?;
            assert!(update.revision > snapshot.revision());
            assert_eq!(after(&update), [("a", Some(last + 1))], "round {round}");
            last += 1;
        }
        // The same again, of a watch that has begun.
        let snapshot = watch.restart()?;
        let now = snapshot.get::<u64>("a")?.unwrap_or(0);
        assert!(now >= last);
        if now < 40 {
            assert_eq!(after(&watch.next_update()?), [("a", Some(now + 1))]);
        }
    }
    process.join()?
}

pub(super) fn many_at_once(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let mut watches = (0..30)
        .map(|number| {
            state
                .watch(Filter::prefix(format!("{}", number % 10)))
                .start()
        })
        .collect::<Result<Vec<_>>>()?;
    // Some end before anything happens.
    watches.truncate(25);
    for number in 0..20_u64 {
        state.set(&format!("{}/{number}", number % 10), &number)?;
    }
    for (number, watch) in watches.iter_mut().enumerate() {
        let number = number as u64 % 10;
        for expected in [number, number + 10] {
            let key = format!("{number}/{expected}");
            assert_eq!(
                after(&watch.next_update()?),
                [(key.as_str(), Some(expected))]
            );
        }
    }
    Ok(())
}

fn writer(ctx: &Context, (name, count): (String, u64)) -> Result<Vec<Revision>> {
    (0..count)
        .map(|number| ctx.state().set(&name, &number))
        .collect()
}

pub(super) fn every_update_of_other_processes(ctx: &Context) -> Result<()> {
    const EACH: u64 = 40;
    let state = ctx.state();
    let watch = state.watch(Filter::all()).start()?;
    let names = ["a", "b", "c"];
    let processes = names
        .map(|name| ctx.spawn(writer, (name.to_owned(), EACH)))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let updates = watch.take(3 * EACH as usize).collect::<Result<Vec<_>>>()?;
    assert!(
        updates
            .windows(2)
            .all(|pair| pair[0].revision < pair[1].revision)
    );
    for (name, process) in names.iter().zip(processes) {
        let written = process.join()??;
        let seen: Vec<_> = updates
            .iter()
            .filter(|update| update.changes[0].key() == *name)
            .map(|update| update.revision)
            .collect();
        assert_eq!(seen, written);
    }
    Ok(())
}

pub(super) fn large_clear_is_a_reset(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let value = "v".repeat(900_000);
    for number in 0..6 {
        state.set(&number.to_string(), &value)?;
    }
    let mut watch = state.watch(Filter::key("3")).start()?;
    let cleared = state.clear()?;
    let update = watch.next_update()?;
    assert_eq!(update.revision, cleared);
    assert!(update.reset && update.changes.is_empty());
    assert!(state.is_empty()?);
    Ok(())
}

pub(super) fn latest_gives_the_newest_at_once(ctx: &Context) -> Result<()> {
    let state = ctx.namespace("latest");
    let first = state.set("kept", &1)?;
    state.set("b", &0)?;
    let mut watch = state.watch(Filter::all_but(["kept"])).latest().start()?;
    let mut last = first;
    for number in 1..=700 {
        state.set("a", &number)?;
        state.set("kept", &number)?;
        last = state.set("b", &number)?;
    }
    state.remove("a")?;
    let update = watch.next_update()?;
    assert!(update.revision > last);
    if update.reset {
        // A simulated log drops entries early now and then.
        assert!(update.changes.is_empty());
        assert_eq!(state.get("b")?, Some(700));
        return Ok(());
    }
    let seen: Result<Vec<_>> = (update.changes.iter())
        .map(|change| Ok((change.key(), change.before()?, change.after()?)))
        .collect();
    // Of each key what was before the first change, and what is after the last.
    let expected: [(&str, Option<u64>, Option<u64>); 2] =
        [("a", None, None), ("b", Some(0), Some(700))];
    assert_eq!(seen?, expected);
    // That was all: nothing is kept back.
    let nothing = watch.next_within(Duration::from_millis(5));
    assert!(nothing.is_err_and(|error| error.is_timeout()));
    let next = state.set("a", &1)?;
    assert_eq!(watch.next_update()?.revision, next);
    assert_eq!(watch.next_revision(), next.next());
    Ok(())
}

pub(super) fn latest_begins_where_it_is_told(ctx: &Context) -> Result<()> {
    let state = ctx.namespace("latest");
    state.set("a", &1)?;
    let second = state.set("a", &2)?;
    state.set("a", &3)?;
    let seen = |builder: zproc::WatchBuilder| -> Result<(Option<u64>, Option<u64>)> {
        let update = builder.latest().start()?.next_update()?;
        Ok((update.changes[0].before()?, update.changes[0].after()?))
    };
    let all = || state.watch(Filter::all());
    assert_eq!(seen(all().from_start())?, (None, Some(3)));
    assert_eq!(seen(all().since(second))?, (Some(1), Some(3)));
    let mut live = all().from_start().latest().start()?;
    live.go_live()?;
    state.set("a", &4)?;
    assert_eq!(live.next_update()?.changes[0].before::<u64>()?, Some(3));
    // What this process has written itself, and what is equal to what was there.
    let mut others = all().skip_own().latest().start()?;
    let mut different = all().skip_identical().latest().start()?;
    state.set("a", &4)?;
    let other = ctx.spawn(|ctx, ()| ctx.namespace("latest").set("b", &1), ())?;
    other.join()??;
    for watch in [&mut others, &mut different] {
        let update = watch.next_update()?;
        assert_eq!(update.changes.len(), 1, "{update:?}");
        assert_eq!(update.changes[0].key(), "b");
    }
    Ok(())
}

pub(super) fn latest_is_never_too_late(ctx: &Context) -> Result<()> {
    let state = ctx.namespace("latest");
    let mut watch = state.watch(Filter::key("small")).latest().start()?;
    state.set("small", &0)?;
    // More than the log keeps.
    let large = "x".repeat(900_000);
    for _ in 0..80 {
        state.set("large", &large)?;
    }
    let last = state.set("small", &1)?;
    let update = watch.next_update()?;
    assert!(update.reset && update.changes.is_empty());
    assert_eq!(state.snapshot()?.get("small")?, Some(1));
    assert_eq!(update.revision, last);
    state.set("small", &2)?;
    assert_eq!(watch.next_update()?.changes[0].before()?, Some(1));
    Ok(())
}

fn raises(txn: &mut Txn<'_>, by: i64) -> Result<()> {
    let price: i64 = txn.get("price")?.unwrap_or(0);
    txn.set("other", &by)?;
    txn.set("price", &(price + by))
}

pub(super) fn history_lists_who_and_when(ctx: &Context) -> Result<()> {
    let state = ctx.namespace("history");
    let first = state.set("price", &5)?;
    state.set("another", &1)?;
    let child = ctx.spawn(|ctx, ()| ctx.namespace("history").atomic(raises, 2), ())?;
    let by = child.id();
    child.join()??;
    state.remove("price")?;
    let history = state.history("price")?;
    let oldest = history.oldest();
    let updates: Vec<Update> = history.collect::<Result<_>>()?;
    if oldest > Revision(1) {
        // A simulated log drops entries early now and then.
        assert!(updates.iter().all(|update| update.revision >= oldest));
        return Ok(());
    }
    assert_eq!(updates[0].revision, first);
    let seen: Vec<_> = (updates.iter())
        .map(|update| {
            assert_eq!(update.changes.len(), 1, "of this key alone");
            let price: Option<i64> = update.changes[0].after().expect("a number");
            (
                update.origin.process,
                update.origin.function.is_some(),
                price,
            )
        })
        .collect();
    let own = ctx.process_id();
    let expected = [
        (own, false, Some(5)),
        (by, true, Some(7)),
        (own, false, None),
    ];
    assert_eq!(seen, expected);
    assert!(updates.is_sorted_by_key(|update| update.time));
    assert_eq!(state.history("nobody's")?.count(), 0);
    let long = "x".repeat(2000);
    assert!(state.history(&long).is_err_and(|error| error.is_limit()));
    Ok(())
}

pub(super) fn history_says_what_is_lost(ctx: &Context) -> Result<()> {
    let state = ctx.namespace("history");
    let lost = state.set("small", &0)?;
    let large = "x".repeat(900_000);
    for _ in 0..80 {
        state.set("large", &large)?;
    }
    let held = state.set("small", &1)?;
    let history = state.history("small")?;
    assert!(history.oldest() > lost);
    let revisions: Result<Vec<_>> = history.map(|update| Ok(update?.revision)).collect();
    assert_eq!(revisions?, [held]);
    Ok(())
}
