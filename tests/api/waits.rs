//! Blocking until something is true.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use zproc::{Context, Error, Filter, Result, View};

pub(super) fn present_state_first(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let set = state.set("ready", &true)?;
    let ((), revision) = state.wait_until(|view| view.contains_key("ready"))?;
    assert!(revision >= set);
    let ((), _) = state.wait_until(|_| true)?;
    assert!(state.wait_equal("ready", &true)? >= set);
    Ok(())
}

/// Sets the keys one after another.
fn setter(ctx: &Context, keys: Vec<String>) -> Result<()> {
    for key in keys {
        ctx.state().set(&key, &true)?;
    }
    Ok(())
}

pub(super) fn woken_by_a_process(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let process = ctx.spawn(setter, ["a", "b", "done"].map(str::to_owned).to_vec())?;
    let ((), revision) = state.wait_until(|view| view.contains_key("done"))?;
    // What was written before is there, too.
    assert_eq!(state.len()?, 3);
    let waited = state.wait_equal("done", &true)?;
    assert!(waited >= revision);
    process.join()?
}

/// Counts up, one by one.
fn counter(ctx: &Context, last: u64) -> Result<()> {
    for number in 0..=last {
        ctx.state().set("count", &number)?;
    }
    Ok(())
}

fn seven_or_more(view: &View<'_>) -> Result<Option<String>> {
    let count: Option<u64> = view.get("count")?;
    Ok(count
        .filter(|count| *count >= 7)
        .map(|count| format!("{count} in {}", view.namespace_name())))
}

pub(super) fn option_gives_its_contents(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let process = ctx.spawn(counter, 20)?;
    let (text, revision) = state.wait_until(seven_or_more)?;
    // It is tested at each revision from its beginning, which may come late.
    let number = text
        .strip_suffix(" in default")
        .and_then(|n| n.parse().ok());
    assert!(number.is_some_and(|n: u64| n >= 7), "{text}");
    process.join()??;
    let (at, later) = state.wait_until(|view| {
        let count: Option<u64> = view.get("count").ok()?;
        (count == Some(20)).then(|| view.revision())
    })?;
    assert!(at >= revision && later >= at);
    Ok(())
}

pub(super) fn on_a_prefix(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    state.set("other/1", &true)?;
    let keys = ["job/1", "x", "job/2", "y", "job/3"];
    let process = ctx.spawn(setter, keys.map(str::to_owned).to_vec())?;
    let (keys, _) = state.wait_until(|view| {
        let keys = view.keys("job/")?;
        Ok((keys.len() == 3).then_some(keys))
    })?;
    assert_eq!(keys, ["job/1", "job/2", "job/3"]);
    let ((), _) = state.wait_until(|view| Ok(view.len()? == 6 && !view.is_empty()?))?;
    process.join()?
}

pub(super) fn on_a_range(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let keys = ["a", "b", "c", "b2", "d"];
    let process = ctx.spawn(setter, keys.map(str::to_owned).to_vec())?;
    let (count, _) = state.wait_until(|view| {
        let mut count = 0;
        for entry in view.iter::<bool>("b".."c") {
            count += u64::from(entry?.1);
        }
        Ok((count == 2).then_some(count))
    })?;
    assert_eq!(count, 2);
    process.join()?
}

pub(super) fn across_namespaces(ctx: &Context) -> Result<()> {
    let process = ctx.spawn(counter, 3)?;
    let elsewhere = ctx.namespace("elsewhere");
    let (sum, _) = elsewhere.wait_until(|view| {
        let count: u64 = view.namespace("default").get("count")?.unwrap_or(0);
        let own: u64 = view.get("own")?.unwrap_or(0);
        Ok((count == 3).then_some(count + own))
    })?;
    assert_eq!(sum, 3);
    process.join()?
}

pub(super) fn equal_by_value(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    state.set("number", &5_u8)?;
    state.wait_equal("number", &5_i64)?;
    let map = |keys: [&'static str; 2]| keys.map(|key| (key, key.len()));
    state.set("map", &BTreeMap::from(map(["a", "bb"])))?;
    #[derive(serde::Serialize)]
    struct Backwards {
        bb: u8,
        a: u8,
    }
    // Maps are equal in any order.
    state.wait_equal("map", &Backwards { bb: 2, a: 1 })?;
    let process = ctx.spawn(counter, 9)?;
    state.wait_equal("count", &9)?;
    process.join()?
}

pub(super) fn ready_made(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let soon = state.within(Duration::from_millis(20));
    // Where the key is missing.
    assert_eq!(state.wait_not_equal("k", &1)?.0, None);
    state.wait_falsy("k")?;
    state.wait_none("k")?;
    state.wait_absent("k")?;
    assert!(soon.wait_truthy::<u64>("k").unwrap_err().is_timeout());
    assert!(soon.wait_not_none::<u64>("k").unwrap_err().is_timeout());
    assert!(soon.wait_available::<u64>("k").unwrap_err().is_timeout());
    // Where it is none.
    let set = state.set("k", &None::<u64>)?;
    assert_eq!(state.wait_available::<Option<u64>>("k")?, (None, set));
    state.wait_none("k")?;
    state.wait_falsy("k")?;
    assert!(soon.wait_not_none::<u64>("k").unwrap_err().is_timeout());
    assert!(soon.wait_absent("k").unwrap_err().is_timeout());
    // Where it is a zero.
    let set = state.set("k", &0)?;
    assert_eq!(state.wait_not_none("k")?, (0, set));
    assert_eq!(state.wait_not_equal("k", &1)?, (Some(0), set));
    assert!(soon.wait_not_equal("k", &0).unwrap_err().is_timeout());
    assert!(soon.wait_none("k").unwrap_err().is_timeout());
    assert!(soon.wait_truthy::<u64>("k").unwrap_err().is_timeout());
    // Woken by another process.
    let process = ctx.spawn(counter, 9)?;
    let (count, _) = state.wait_truthy::<u64>("count")?;
    assert!((1..=9).contains(&count));
    process.join()??;
    assert!(soon.wait_falsy("count").unwrap_err().is_timeout());
    let wrong = state.wait_available::<String>("count").unwrap_err();
    assert!(wrong.is_wrong_type(), "{wrong}");
    Ok(())
}

/// Each was a timeout, whatever there was: the answer took longer than no time.
pub(super) fn a_limit_of_zero_is_as_things_stand(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let now = state.within(Duration::ZERO);
    let is_late = |result: Result<()>| result.is_err_and(|error| error.is_timeout());
    now.set("k", &1)?;
    assert_eq!(now.get("k")?, Some(1));
    let key = String::from("k");
    now.wait_equal("k", &1)?;
    assert_eq!(now.wait_available::<u64>("k")?.0, 1);
    now.wait_until(|view| view.contains_key("k"))?;
    now.wait_until(|view| view.contains_key(&key))?;
    assert!(is_late(now.wait_equal("k", &2).map(drop)));
    assert!(is_late(now.wait_absent("k").map(drop)));
    assert!(is_late(
        now.wait_until(|view| view.contains_key("no")).map(drop)
    ));
    let key = String::from("no");
    assert!(is_late(
        now.wait_until(|view| view.contains_key(&key)).map(drop)
    ));
    assert!(is_late(now.wait_change(["k"]).map(drop)));
    now.transaction(|txn| txn.add("k", 1))?;

    let process = ctx.spawn(|ctx, ()| ctx.state().wait_equal("go", &true).is_ok(), ())?;
    assert!(is_late(process.join_timeout(Duration::ZERO).map(drop)));
    state.set("go", &true)?;
    process.outcome()?;
    assert!(process.join_timeout(Duration::ZERO)?);

    let guard = ctx.lock_timeout("door", Duration::ZERO)?;
    assert!(is_late(ctx.lock_timeout("door", Duration::ZERO).map(drop)));
    drop(guard);
    drop(ctx.lock_timeout("door", Duration::ZERO)?);

    let watch = now.watch(Filter::key("k")).timeout(Duration::ZERO);
    let (mut every, mut latest) = (watch.clone().start()?, watch.latest().start()?);
    assert!(is_late(every.next_within(Duration::ZERO).map(drop)));
    for n in 0..10 {
        // It was committed, so it is there.
        let set = state.set("k", &n)?;
        assert_eq!(every.next_update()?.revision, set);
        assert!(latest.next_update()?.revision >= set);
        state.set("other", &n)?;
        assert!(is_late(every.next_update().map(drop)));
    }
    Ok(())
}

/// Each said that a watch had failed.
pub(super) fn errors_name_the_call(ctx: &Context) -> Result<()> {
    let state = ctx.state().within(Duration::ZERO);
    let mut watch = state.watch(Filter::key("k")).start()?;
    let next = watch.next_within(Duration::ZERO).unwrap_err();
    for (error, call) in [
        (next, "next_within \"k\" in namespace"),
        (state.wait_change(["k"]).unwrap_err(), "wait_change in"),
        (
            state
                .wait_absent("")
                .and(state.wait_equal("k", &0))
                .unwrap_err(),
            "wait_equal \"k\"",
        ),
    ] {
        assert!(error.to_string().starts_with(call), "{error}");
    }
    // It waited for ever.
    let none: [&str; 0] = [];
    let error = ctx.state().wait_change(none).unwrap_err();
    assert!(error.is_invalid(), "{error}");
    Ok(())
}

pub(super) fn change_of_some_keys(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    state.set("count", &100)?;
    let soon = state.within(Duration::from_millis(20));
    let error = soon.wait_change(["count"]).unwrap_err();
    assert!(error.is_timeout(), "{error}");
    // It is not known when the process begins, so it goes on until it is seen.
    let process = ctx.spawn(until_told, ())?;
    let update = state.wait_change(["none", "count"])?;
    assert_eq!(update.changes.len(), 1);
    assert_eq!(update.changes[0].key(), "count");
    state.set("enough", &true)?;
    process.join()?
}

/// Counts until it is told that it is enough.
fn until_told(ctx: &Context, (): ()) -> Result<()> {
    let state = ctx.state();
    while !state.contains_key("enough")? {
        state.extend([("count", 1), ("beside", 1)])?;
    }
    Ok(())
}

/// Waits for three keys with a prefix, and a key, which it reads only then.
fn reader(ctx: &Context, (): ()) -> Result<()> {
    let condition =
        |view: &View<'_>| Ok(view.keys("r/".."r0")?.len() == 3 && view.contains_key("go")?);
    ctx.state().wait_until(condition).map(drop)
}

pub(super) fn tested_only_when_what_it_reads_changes(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let process = ctx.spawn(reader, ())?;
    let id = process.id();
    let tests = || -> Result<Option<u64>> {
        let dump = ctx.dump()?;
        let waits = dump
            .process(id)
            .map(|one| one.waits.iter().map(|wait| wait.tests));
        Ok(waits.into_iter().flatten().next())
    };
    let first = loop {
        if let Some(tests) = tests()? {
            break tests;
        }
    };
    assert_eq!(first, 1);
    // Writes beside what it reads, the key among them that it would read next.
    for key in ["a", "r", "r0", "go", "s/1"] {
        state.set(key, &1)?;
    }
    assert_eq!(tests()?, Some(1));
    state.set("r/1", &1)?;
    state.set("r/2", &1)?;
    assert_eq!(tests()?, Some(3));
    state.remove("go")?;
    state.set("r/3", &1)?;
    assert_eq!(tests()?, Some(4));
    state.set("go", &1)?;
    process.join()?
}

pub(super) fn capturing_runs_here(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let wanted = ["a".to_owned(), "b".to_owned()];
    let all_there = |view: &View<'_>| -> Result<Option<Vec<bool>>> {
        let found = wanted.iter().map(|key| view.get::<bool>(key));
        let found = found.collect::<Result<Option<Vec<bool>>>>()?;
        Ok(found.filter(|_| view.contains_key("done").is_ok_and(|done| done)))
    };
    let process = ctx.spawn(setter, ["b", "x", "a", "done"].map(str::to_owned).to_vec())?;
    let (found, revision) = state.wait_until(all_there)?;
    assert_eq!(found, [true, true]);
    let waited = state.wait_equal("done", &true)?;
    assert!(waited >= revision, "{revision} {waited}");
    // What is true already is true at once, whatever is read, and nothing needs be.
    let least = 4;
    let (seen, at) = state.wait_until(|view| {
        let is_full = view.len()? >= least && !view.is_empty()?;
        Ok(is_full.then(|| view.revision()))
    })?;
    assert_eq!(seen, at);
    let ((), later) = state.wait_until(|_| least > 3)?;
    assert!(later >= at);
    process.join()?
}

pub(super) fn capturing_is_tested_only_when_what_it_reads_changes(ctx: &Context) -> Result<()> {
    let tests = AtomicU64::new(0);
    let process = ctx.spawn(setter_beside, ctx.process_id())?;
    let ((), _) = ctx.state().wait_until(|view| {
        tests.fetch_add(1, Ordering::Relaxed);
        Ok(view.keys("r/".."r0")?.len() == 2 && view.contains_key("go")?)
    })?;
    // At first, at each of the two keys, and at the one that it reads only then, unless that was
    // there already.
    let tests = tests.into_inner();
    assert!((3..=4).contains(&tests), "{tests}");
    process.join()?
}

/// When the other process waits, writes what its condition reads, and much beside it.
fn setter_beside(ctx: &Context, other: zproc::ProcessId) -> Result<()> {
    let waits = |dump: zproc::Dump| {
        let other = dump.process(other);
        other.is_some_and(|other| !other.waits.is_empty())
    };
    while !waits(ctx.dump()?) {}
    for key in ["r/1", "r/2", "go"] {
        for number in 0..10 {
            ctx.state().set(&format!("q/{number}"), &number)?;
            ctx.state().set(&format!("r0{number}"), &number)?;
        }
        ctx.state().set(key, &true)?;
    }
    Ok(())
}

pub(super) fn capturing_sees_one_revision(ctx: &Context) -> Result<()> {
    let keys = ["left".to_owned(), "right".to_owned()];
    let process = ctx.spawn(pairs, 200)?;
    let (state, beside) = (ctx.state(), "beside".to_owned());
    // It reads two keys that are always equal, and one of another namespace, as they change.
    let (last, _) = state.wait_until(|view| {
        let left: Option<u64> = view.get(&keys[0])?;
        let third: Option<u64> = view.namespace(&beside).get("third")?;
        let right: Option<u64> = view.get(&keys[1])?;
        assert_eq!((left, left), (right, third));
        Ok(left.filter(|number| *number == 200))
    })?;
    assert_eq!(last, 200);
    process.join()?
}

/// Writes three keys at once, again and again.
fn pairs(ctx: &Context, last: u64) -> Result<()> {
    for number in 1..=last {
        let write = |txn: &mut zproc::Txn<'_>, number: u64| {
            txn.set("left", &number)?;
            txn.namespace("beside").set("third", &number)?;
            txn.set("right", &number)
        };
        ctx.state().atomic(write, number)?;
    }
    Ok(())
}

pub(super) fn capturing_that_reads_more_as_it_goes_sees_one_revision(ctx: &Context) -> Result<()> {
    let odd = 1_u64;
    let process = ctx.spawn(pairs_and_thirds, 300)?;
    let (state, beside) = (ctx.state(), "beside".to_owned());
    // Of two keys that are always equal it reads one, and the other one now and then: when a key of
    // another namespace, which changes by itself, says so.
    let (last, _) = state.wait_until(|view| {
        let pair = view.namespace(&beside);
        let left: Option<u64> = pair.get("left")?;
        if view
            .get::<u64>("third")?
            .is_some_and(|third| third % 2 == odd)
        {
            assert_eq!(left, pair.get("right")?);
        }
        Ok(left.filter(|number| *number == 300))
    })?;
    assert_eq!(last, 300);
    process.join()?
}

/// Writes two keys at once, and, half as often, one of another namespace.
fn pairs_and_thirds(ctx: &Context, last: u64) -> Result<()> {
    let (state, beside) = (ctx.state(), ctx.namespace("beside"));
    for number in 1..=last {
        beside.extend([("left", number), ("right", number)])?;
        if number % 2 == 0 {
            state.set("third", &(number / 2))?;
        }
    }
    Ok(())
}

pub(super) fn when_gives_every_match(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let set = state.set("count", &3)?;
    let least = 3;
    let mut matches = state.when(|view| {
        let count: Option<u64> = view.get("count")?;
        Ok(count.filter(|count| *count >= least))
    });
    // From the first look on, nothing is left out.
    assert_eq!(matches.next().expect("it is so now")?, (3, set));
    let process = ctx.spawn(counter, 9)?;
    let mut revisions = Vec::new();
    for (found, wanted) in matches.by_ref().take(7).zip(3..) {
        let (count, revision) = found?;
        // Slowly: by now others have come.
        state.get::<u64>("count")?;
        assert_eq!(count, wanted);
        revisions.push(revision);
    }
    assert!(revisions.is_sorted_by(|a, b| a < b), "{revisions:?}");
    process.join()??;
    // Its own writes count; what it does not read doesn't, and what is so still is no news.
    state.set("other", &1)?;
    let again = state.set("count", &9)?;
    assert_eq!(matches.next().expect("it goes on")?, (9, again));
    drop(matches);
    let limit = Duration::from_millis(20);
    let mut soon = state.within(limit).when(|view| view.get::<u64>("soon"));
    let set = state.set("soon", &0)?;
    assert_eq!(patient(&mut soon)?, (0, set));
    let error = soon.next().expect("an error").unwrap_err();
    assert!(error.is_timeout(), "{error}");
    // It goes on where it was.
    let first = state.set("soon", &1)?;
    state.set("soon", &2)?;
    assert_eq!(patient(&mut soon)?, (1, first));
    assert_eq!(patient(&mut soon)?.0, 2);
    // Its own error ends it.
    let mut failing = state.when(|_| Err::<bool, _>(Error::msg("no use")));
    assert_eq!(
        failing.next().expect("an error").unwrap_err().to_string(),
        "no use"
    );
    assert!(failing.next().is_none());
    Ok(())
}

/// An update of one of two namespaces was heard, and there was no time left to fetch the other's: the
/// next item was of both, at two revisions.
pub(super) fn when_that_is_late_sees_one_revision(ctx: &Context) -> Result<()> {
    let process = ctx.spawn(pairs, 200)?;
    let hasty = ctx.state().within(Duration::from_millis(20));
    let both = |view: &View<'_>| -> Result<_> {
        let left: Option<u64> = view.get("left")?;
        let third: Option<u64> = view.namespace("beside").get("third")?;
        Ok(Some((left, third)))
    };
    let mut items = hasty.when(both);
    loop {
        let ((left, third), revision) = match patient(&mut items) {
            Err(error) if error.is_compacted() => {
                items = hasty.when(both);
                continue;
            }
            item => item?,
        };
        assert_eq!(left, third, "at {revision}");
        if left == Some(200) {
            return process.join()?;
        }
    }
}

/// The next item, however often it is not there in time.
fn patient<T>(items: &mut impl Iterator<Item = Result<T>>) -> Result<T> {
    let late = |item: &Result<T>| item.as_ref().is_err_and(Error::is_timeout);
    items.find(|item| !late(item)).expect("it goes on")
}

pub(super) fn when_goes_on_over_a_clear_that_is_not_listed(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let text = "x".repeat(700_000);
    for number in 0..8 {
        state.set(&format!("text/{number}"), &text)?;
    }
    let filled = state.set("count", &8)?;
    let mut lens = state.when(|view| Ok(Some((view.len()?, view.contains_key("count")?))));
    assert_eq!(lens.next().expect("the first")?, ((9, true), filled));
    // Far too much for one change set.
    let cleared = state.clear()?;
    let set = state.set("count", &0)?;
    assert_eq!(lens.next().expect("the clear")?, ((0, false), cleared));
    assert_eq!(lens.next().expect("the key")?, ((1, true), set));
    Ok(())
}

pub(super) fn capturing_ends_with_its_error_its_panic_and_its_time(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let (text, limit) = ("no use".to_owned(), 3_u64);
    let error = state
        .wait_until(|_| Err::<bool, _>(Error::msg(&text)))
        .unwrap_err();
    assert_eq!(error.to_string(), "no use");
    let soon = state.within(Duration::from_millis(20));
    let never = |view: &View<'_>| Ok(view.get::<u64>("count")?.is_some_and(|n| n > 1_000 + limit));
    assert!(soon.wait_until(never).unwrap_err().is_timeout());
    // It reads nothing, so nothing can change it.
    assert!(soon.wait_until(|_| limit == 4).unwrap_err().is_timeout());
    let process = ctx.spawn(counter, 5)?;
    let panics = |view: &View<'_>| {
        let count: Option<u64> = view.get("count").expect("a number");
        assert!(count <= Some(limit), "this is too much");
        false
    };
    let panic = catch_unwind(AssertUnwindSafe(|| state.wait_until(panics)));
    let panic = panic.expect_err("it panics here, in its caller");
    assert_eq!(panic.downcast_ref(), Some(&"this is too much"));
    process.join()??;
    // Nothing is left of it: the next one is another.
    let ((), _) = state.wait_until(|view| Ok(view.get::<u64>("count")? >= Some(limit)))?;
    let wrong = state.wait_until(|view| {
        view.get::<String>("count")
            .map(|text| text == Some(String::new()) && limit > 1)
    });
    assert!(wrong.unwrap_err().is_wrong_type());
    Ok(())
}

pub(super) fn time_limit(ctx: &Context) -> Result<()> {
    let soon = ctx.state().within(Duration::from_millis(30));
    let error = soon.wait_equal("never", &1).unwrap_err();
    assert!(error.is_timeout(), "{error}");
    let error = soon.wait_until(|_| false).unwrap_err();
    assert!(error.is_timeout(), "{error}");
    // Nothing is left of it: the next wait is one of its own.
    ctx.state().set("never", &1)?;
    ctx.state()
        .within(Duration::from_secs(60))
        .wait_equal("never", &1)?;
    Ok(())
}

pub(super) fn error_and_panic_end_it(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let error = state
        .wait_until(|_| Err::<bool, _>(Error::msg("no use waiting")))
        .unwrap_err();
    assert!(error.is_remote(), "{error}");
    assert!(error.to_string().contains("no use waiting"), "{error}");
    // Later than the first test, too.
    let process = ctx.spawn(counter, 5)?;
    let error = state
        .wait_until(|view| {
            let count: Option<u64> = view.get("count").expect("a number");
            assert!(count < Some(4), "this is too much");
            false
        })
        .unwrap_err();
    assert!(error.is_panic(), "{error}");
    assert!(error.to_string().contains("this is too much"), "{error}");
    process.join()?
}

pub(super) fn calls_in_a_condition_are_refused(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let key = "k".to_owned();
    let error = state
        .wait_until(|view| {
            view.contains_key(&key)?;
            state.set(&key, &1).map(|_| true)
        })
        .unwrap_err();
    assert!(error.is_nested(), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("set \"k\"") && text.contains("wait_until"),
        "{text}"
    );
    assert!(state.is_empty()?);
    Ok(())
}
