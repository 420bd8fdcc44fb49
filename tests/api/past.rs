//! Reads of the past.

use zproc::{Context, Result, Revision};

pub(super) fn at_reads_the_past(ctx: &Context) -> Result<()> {
    let state = ctx.namespace("past");
    let first = state.extend([("a", 1), ("b/1", 2)])?;
    let second = state.extend([("a", 10), ("b/2", 3)])?;
    state.remove("b/1")?;
    let last = state.set("c", &4)?;
    ctx.namespace("another").set("a", &0)?;

    let past = state.at(first);
    assert_eq!((past.revision(), past.namespace_name()), (first, "past"));
    assert_eq!(past.get::<i64>("a")?, Some(1));
    assert_eq!(past.get::<i64>("c")?, None);
    assert!(past.contains_key("b/1")? && !past.contains_key("b/2")?);
    assert_eq!(past.len()?, 2);
    assert_eq!(past.keys(..)?, ["a", "b/1"]);
    assert_eq!(past.snapshot()?.revision(), first);

    let past = state.at(second);
    assert_eq!(past.len()?, 3);
    let entries: Result<Vec<(String, i64)>> = past.iter("b/").collect();
    assert_eq!(entries?, [("b/1".to_owned(), 2), ("b/2".to_owned(), 3)]);
    let wrong = past.get::<String>("a").unwrap_err();
    assert!(wrong.is_wrong_type());

    assert!(state.at(Revision::ZERO).is_empty()?);
    assert_eq!(state.at(last).snapshot()?, state.snapshot()?);
    let error = state
        .at(Revision(last.0 + 100))
        .get::<i64>("a")
        .unwrap_err();
    assert!(error.is_future(), "{error}");
    Ok(())
}

pub(super) fn the_past_of_many_keys_comes_in_pages(ctx: &Context) -> Result<()> {
    let state = ctx.namespace("past");
    let many = |by: u64| (0..1_500_u64).map(move |n| (format!("k{n:04}"), n + by));
    let first = state.extend(many(0))?;
    state.replace_all(many(1).skip(1_000))?;
    let entries: Result<Vec<(String, u64)>> = state.at(first).iter(..).collect();
    assert_eq!(entries?, many(0).collect::<Vec<_>>());
    let keys = state.at(first).keys("k0500".."k0505")?;
    assert_eq!(keys, ["k0500", "k0501", "k0502", "k0503", "k0504"]);
    Ok(())
}

pub(super) fn a_past_that_is_gone_is_compacted(ctx: &Context) -> Result<()> {
    let state = ctx.namespace("past");
    let text = "x".repeat(900_000);
    let first = state.set("k", &1)?;
    for number in 0..5 {
        state.set(&format!("large/{number}"), &text)?;
    }
    // More than an update lists.
    let cleared = state.clear()?;
    let error = state.at(first).get::<i64>("k").unwrap_err();
    assert_eq!(error.oldest(), Some(cleared));
    assert!(state.at(cleared).is_empty()?);
    // More than the log holds.
    let second = state.set("k", &2)?;
    for _ in 0..40 {
        state.set("large", &text)?;
    }
    let error = state.at(second).get::<i64>("k").unwrap_err();
    assert!(error.is_compacted(), "{error}");
    let oldest = error.oldest().expect("it is compacted");
    assert!(oldest > second);
    assert_eq!(state.at(oldest).get::<i64>("k")?, Some(2));
    Ok(())
}
