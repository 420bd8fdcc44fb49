//! Blocking until something is true.

use std::collections::BTreeMap;
use std::time::Duration;
use zproc::{Context, Error, Result, View};

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
