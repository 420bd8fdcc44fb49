//! Many keys, or many operations, at one revision.

use std::collections::BTreeMap;
use zproc::{Context, Expected, Filter, Result, Txn};

pub(super) fn extend_and_replace_all(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    state.set("a", &0)?;
    let mut watch = state.watch(Filter::all()).start()?;
    let extended = state.extend([("a", 1), ("b", 2)])?;
    assert_eq!(state.snapshot()?.keys().collect::<Vec<_>>(), ["a", "b"]);
    let replaced = state.replace_all(BTreeMap::from([("b".to_owned(), 3), ("c".to_owned(), 4)]))?;
    assert!(replaced > extended);
    assert_eq!(state.keys(..)?, ["b", "c"]);
    assert_eq!(state.get("b")?, Some(3));
    // Each is one update.
    let update = watch.next_update()?;
    assert_eq!((update.revision, update.changes.len()), (extended, 2));
    let update = watch.next_update()?;
    assert_eq!((update.revision, update.changes.len()), (replaced, 3));
    assert!(!update.reset);
    // Nothing is a set, too.
    state.extend([("", 0); 0])?;
    state.replace_all([("", 0); 0])?;
    assert!(state.is_empty()?);
    Ok(())
}

pub(super) fn large_replace_all_is_a_reset(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let text = "x".repeat(900_000);
    state.extend([("1", &text), ("2", &text), ("3", &text)])?;
    let mut watch = state.watch(Filter::key("4")).start()?;
    let replaced = state.replace_all([("3", &text), ("4", &text)])?;
    let update = watch.next_update()?;
    assert_eq!(update.revision, replaced);
    assert!(update.reset && update.changes.is_empty());
    assert_eq!(state.keys(..)?, ["3", "4"]);
    // What is to come must fit by itself; if it does not, all is as it was.
    let too_much = (0..5).map(|number| (number.to_string(), &text));
    let error = state.replace_all(too_much).unwrap_err();
    assert!(error.is_limit(), "{error}");
    assert_eq!(state.keys(..)?, ["3", "4"]);
    let replaced = state.replace_all([("last", 1)])?;
    assert_eq!(watch.next_update()?.revision, replaced);
    Ok(())
}

/// A job of another type than was wanted was gone.
pub(super) fn what_was_popped_in_vain_is_in_the_error(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    for last in [false, true] {
        state.extend([("job/1", "wash"), ("job/2", "dry")])?;
        let (error, wanted) = match last {
            false => (state.pop_first::<u64>("job/").map(drop), ("job/1", "wash")),
            true => (state.pop_last::<u64>("job/").map(drop), ("job/2", "dry")),
        };
        let error = error.unwrap_err();
        assert!(error.is_wrong_type(), "{error}");
        assert!(error.to_string().contains(wanted.0), "{error}");
        let (key, job) = error.taken::<String>()?.expect("it was removed");
        assert_eq!((&*key, &*job), wanted);
        assert!(!state.contains_key(wanted.0)?);
        state.clear()?;
    }
    // What fails for it takes nothing.
    state.set("job/1", "wash")?;
    let error = state.transaction(|txn| txn.pop_first::<u64>("job/").map(drop));
    assert!(error.unwrap_err().is_wrong_type());
    let error = state.atomic(|txn, ()| txn.take::<u64>("job/1").map(drop), ());
    assert!(error.is_err());
    assert_eq!(state.get::<String>("job/1")?.as_deref(), Some("wash"));
    let other = state.get::<u64>("job/1").unwrap_err();
    assert_eq!(other.taken::<String>()?, None);
    Ok(())
}

/// Takes the key, if it is there.
fn taker(ctx: &Context, key: String) -> Result<bool> {
    Ok(ctx.state().take::<u64>(&key)?.is_some())
}

pub(super) fn take_gives_it_to_one(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    assert_eq!(state.take::<u64>("k")?, None);
    state.set("k", &5)?;
    assert_eq!(state.take("k")?, Some(5));
    assert!(!state.contains_key("k")?);
    state.set("text", "five")?;
    let error = state.take::<u64>("text").unwrap_err();
    assert!(error.is_wrong_type(), "{error}");
    assert!(!state.contains_key("text")?);
    // It was lost, once.
    assert!(error.taken::<u64>().unwrap_err().is_wrong_type());
    let (key, text) = error.taken::<String>()?.expect("it was there");
    assert_eq!((&*key, &*text), ("text", "five"));
    state.set("token", &1)?;
    let processes = (0..3)
        .map(|_| ctx.spawn(taker, "token".to_owned()))
        .collect::<Result<Vec<_>>>()?;
    let mut got = 0;
    for process in processes {
        got += u64::from(process.join()??);
    }
    assert_eq!(got, 1);
    Ok(())
}

pub(super) fn pop_from_both_ends(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    assert_eq!(state.pop_first::<u64>("")?, None);
    // The order is that of the bytes; the prefix itself is a key that starts so.
    let keys = ["b/\u{10ffff}", "a", "b", "b/", "b0", "c", "b/ä"];
    state.extend(keys.map(|key| (key, key.len())))?;
    let entry = |key: &str| Some((key.to_owned(), key.len()));
    assert_eq!(state.pop_last("b/")?, entry("b/\u{10ffff}"));
    assert_eq!(state.pop_first("b/")?, entry("b/"));
    assert_eq!(state.pop_last("b/")?, entry("b/ä"));
    assert_eq!(state.pop_last::<usize>("b/")?, None);
    assert_eq!(state.pop_first("")?, entry("a"));
    assert_eq!(state.pop_last("")?, entry("c"));
    assert_eq!(state.keys(..)?, ["b", "b0"]);
    Ok(())
}

fn adder(ctx: &Context, times: u64) -> Result<()> {
    for _ in 0..times {
        ctx.state().add("count", 1)?;
    }
    Ok(())
}

pub(super) fn add_counts_of_many_processes(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let processes = (0..3)
        .map(|_| ctx.spawn(adder, 7))
        .collect::<Result<Vec<_>>>()?;
    for process in processes {
        process.join()??;
    }
    assert_eq!(state.get("count")?, Some(21));
    assert_eq!(state.add("count", -30)?, -9);
    state.set("most", &i64::MAX)?;
    assert!(state.add("most", 1).unwrap_err().is_overflow());
    state.set("least", &i64::MIN)?;
    assert!(state.add("least", -1).unwrap_err().is_overflow());
    assert_eq!(state.add("least", 0)?, i64::MIN);
    // More than an i64, but the sum is none.
    state.set("wide", &u64::MAX)?;
    assert!(state.add("wide", 0).unwrap_err().is_overflow());
    state.set("wide", &(i64::MAX as u64 + 1))?;
    assert_eq!(state.add("wide", -1)?, i64::MAX);
    for other in ["1", "x"] {
        state.set("text", other)?;
        let error = state.add("text", 1).unwrap_err();
        assert!(error.is_wrong_type(), "{error}");
        assert_eq!(state.get::<String>("text")?.as_deref(), Some(other));
    }
    Ok(())
}

pub(super) fn compare_and_set_by_value_and_revision(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let set = |expected, value| state.compare_and_set("k", expected, value);
    assert!(set(Expected::present(), "a")?.is_none());
    assert!(set(Expected::value("a"), "a")?.is_none());
    let first = set(Expected::absent(), "a")?.expect("it was absent");
    assert!(set(Expected::absent(), "b")?.is_none());
    assert!(set(Expected::value("b"), "c")?.is_none());
    let second = set(Expected::value("a"), "b")?.expect("it was a");
    assert!(set(Expected::revision(first), "c")?.is_none());
    let third = set(Expected::revision(second), "b")?.expect("it was of that revision");
    assert!(first < second && second < third);
    assert_eq!(
        state.get_versioned::<String>("k")?,
        Some(("b".to_owned(), third))
    );
    // Others' writes do not change its revision, nor does one that was undone.
    state.set("other", &1)?;
    let undone = state.atomic(
        |txn: &mut Txn<'_>, ()| -> Result<()> {
            txn.set("k", "never")?;
            Err("undone".into())
        },
        (),
    );
    assert!(undone.is_err());
    assert!(set(Expected::revision(third), "d")?.is_some());
    assert_eq!(state.get_versioned::<String>("none")?, None);
    assert!(set(Expected::value(&f64::NAN), "e")?.is_none());
    Ok(())
}

pub(super) fn batch_is_whole_or_not_at_all(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let mut batch = state.batch();
    batch
        .set("a", &1)
        .add("a", 1)
        .get("a")
        .remove("none")
        .take("a")
        .pop_last("")
        .set_owned("mine", &true);
    assert_eq!(batch.len(), 7);
    let mut watch = state.watch(Filter::all()).start()?;
    let done = batch.commit()?;
    assert_eq!(done.value::<i64>(0)?, None);
    assert!(done.is_found(0));
    assert_eq!(done.value(1)?, Some(2));
    assert_eq!(done.value(2)?, Some(2));
    assert_eq!(done.version(2), Some(done.revision()));
    assert!(!done.is_found(3));
    assert_eq!(done.value(4)?, Some(2));
    assert_eq!((done.key(5), done.is_found(5)), (None, false));
    assert!(done.value::<String>(2).unwrap_err().is_wrong_type());
    assert_eq!(watch.next_update()?.revision, done.revision());
    assert_eq!(state.keys(..)?, ["mine"]);
    // The last of them fails, so nothing of it is done.
    let mut batch = state.batch();
    batch.set("b", &1).require("b", Expected::absent());
    let error = batch.commit().unwrap_err();
    assert!(
        error.is_unmet() && error.to_string().contains("\"b\""),
        "{error}"
    );
    let mut batch = state.batch();
    batch.set("b", &1).add("mine", 1);
    assert!(batch.commit().unwrap_err().is_wrong_type());
    assert!(
        ctx.namespace("")
            .batch()
            .set("b", &1)
            .commit()
            .unwrap_err()
            .is_read_only()
    );
    assert_eq!(state.keys(..)?, ["mine"]);
    // One that reads only, and one that does nothing.
    let read = state.batch().get("mine").get("b").commit()?;
    assert_eq!((read.value(0)?, read.is_found(1)), (Some(true), false));
    assert!(state.batch().commit()?.revision() >= done.revision());
    Ok(())
}

pub(super) fn batch_at_and_over_its_limits(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let most = 16 * 1024;
    let mut batch = state.batch();
    batch.extend((0..most).map(|number| (format!("{number:05}"), 0)));
    batch.commit()?;
    assert_eq!(state.len()?, most);
    batch.get("one more");
    assert!(batch.commit().unwrap_err().is_limit());
    // What is read is bounded as a function's result is.
    state.set("half", &"x".repeat(500_000))?;
    let mut batch = state.batch();
    batch.get("half").get("half");
    batch.commit()?;
    assert!(batch.get("half").commit().unwrap_err().is_limit());
    let long = "k".repeat(1025);
    assert!(state.batch().get(&*long).commit().unwrap_err().is_limit());
    assert!(state.batch().add(&long[1..], 1).commit().is_ok());
    Ok(())
}

fn all_in_txn(txn: &mut Txn<'_>, (): ()) -> Result<()> {
    txn.extend([("a", 1), ("b", 2)])?;
    txn.replace_all([("b", 3), ("c", 4), ("d", 5)])?;
    assert_eq!(txn.keys("")?, ["b", "c", "d"]);
    assert_eq!(txn.take::<i64>("b")?, Some(3));
    assert_eq!(txn.take::<i64>("b")?, None);
    assert_eq!(txn.pop_last::<i64>("")?, Some(("d".to_owned(), 5)));
    assert_eq!(txn.pop_first::<i64>("x")?, None);
    // An addition that can't be does not doom the rest.
    txn.set("text", "1")?;
    assert!(txn.add("text", 1).unwrap_err().is_wrong_type());
    assert!(txn.add("c", i64::MAX).unwrap_err().is_overflow());
    assert_eq!(txn.add("c", 1)?, 5);
    Ok(())
}

pub(super) fn the_same_in_a_transaction(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    state.atomic(all_in_txn, ())?;
    assert_eq!(state.keys(..)?, ["c", "text"]);
    assert_eq!(state.get("c")?, Some(5));
    Ok(())
}

pub(super) fn a_place_that_is_not_there_is_told(ctx: &Context) -> Result<()> {
    let done = ctx.state().batch().set("a", &1).get("a").commit()?;
    let asks: [&dyn Fn(); 4] = [
        &|| assert!(done.value::<i64>(77).is_err()),
        &|| assert!(done.is_found(77)),
        &|| assert!(done.key(77).is_none()),
        &|| assert!(done.version(77).is_none()),
    ];
    for ask in asks {
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(ask));
        let panic = panic.expect_err("there is no such place");
        let text: &String = panic.downcast_ref().expect("a text");
        assert!(text.contains("no operation 77: it has 2"), "{text}");
    }
    Ok(())
}
