//! What ZProc offers for the state, row by row of its tables, each test named after its row. The page
//! "Coming from ZProc" of the docs says which call is which.

use std::time::Duration;
use zproc::{Context, Error, Filter, Result, Revision, Txn};

pub(super) fn create_state_with_first_values(ctx: &Context) -> Result<()> {
    let state = ctx.namespace("made");
    state.replace_all([("a", 1), ("b", 2)])?;
    assert_eq!(ctx.namespace("made").get("a")?, Some(1));
    assert!(ctx.state().is_empty()?);
    Ok(())
}

pub(super) fn get_with_a_default(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    assert_eq!(state.get("k")?.unwrap_or(7), 7);
    state.set("k", &1)?;
    assert_eq!(state.get("k")?.unwrap_or(7), 1);
    Ok(())
}

pub(super) fn write_one(ctx: &Context) -> Result<()> {
    let first: Revision = ctx.state().set("k", &1)?;
    assert!(ctx.state().set("k", &2)? > first);
    assert_eq!(ctx.state().get("k")?, Some(2));
    Ok(())
}

pub(super) fn del(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    state.set("k", &1)?;
    assert!(state.remove("k")?);
    assert!(!state.remove("k")?);
    assert_eq!(state.get::<u64>("k")?, None);
    Ok(())
}

pub(super) fn in_len_iteration_keys_values_items(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    assert!(state.is_empty()?);
    state.extend([("b", 2), ("a", 1), ("c/1", 3)])?;
    assert!(state.contains_key("a")? && !state.contains_key("c")?);
    assert_eq!(state.len()?, 3);
    assert_eq!(state.keys(..)?, ["a", "b", "c/1"]);
    assert_eq!(state.keys("c/")?, ["c/1"]);
    let items = state.iter::<u64>("a".."c").collect::<Result<Vec<_>>>()?;
    assert_eq!(items, [("a".to_owned(), 1), ("b".to_owned(), 2)]);
    let values = state.iter::<u64>(..).map(|entry| Ok(entry?.1));
    assert_eq!(values.collect::<Result<Vec<_>>>()?, [1, 2, 3]);
    Ok(())
}

pub(super) fn copy(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let set = state.set("k", &1)?;
    let copy = state.snapshot()?;
    state.set("k", &2)?;
    assert_eq!((copy.revision(), copy.get("k")?), (set, Some(1)));
    Ok(())
}

pub(super) fn set_of_a_dict(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    state.extend([("a", 1), ("b", 2)])?;
    let replaced = state.replace_all([("b", 3), ("c", 4)])?;
    let copy = state.snapshot()?;
    assert_eq!(copy.revision(), replaced);
    assert!(copy.keys().eq(["b", "c"]));
    Ok(())
}

pub(super) fn update(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    state.set("a", &1)?;
    let mut watch = state.watch(Filter::all()).start()?;
    let merged = state.extend([("a", 2), ("b", 3)])?;
    let update = watch.next_update()?;
    assert_eq!((update.revision, update.changes.len()), (merged, 2));
    Ok(())
}

pub(super) fn setdefault(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    assert_eq!(state.get_or_insert("k", &1)?, 1);
    assert_eq!(state.get_or_insert("k", &2)?, 1);
    Ok(())
}

pub(super) fn pop_and_popitem(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    state.extend([("a", 1), ("b", 2), ("c", 3)])?;
    assert_eq!(state.take("b")?, Some(2));
    assert_eq!(state.take::<u64>("b")?, None);
    assert_eq!(state.pop_first("")?, Some(("a".to_owned(), 1)));
    assert_eq!(state.pop_last("")?, Some(("c".to_owned(), 3)));
    assert!(state.is_empty()?);
    Ok(())
}

pub(super) fn clear(ctx: &Context) -> Result<()> {
    ctx.state().extend([("a", 1), ("b", 2)])?;
    ctx.namespace("other").set("a", &1)?;
    ctx.state().clear()?;
    assert!(ctx.state().is_empty()?);
    assert_eq!(ctx.namespace("other").len()?, 1);
    Ok(())
}

pub(super) fn equal_and_not_equal(ctx: &Context) -> Result<()> {
    let (one, other) = (ctx.namespace("one"), ctx.namespace("other"));
    one.extend([("a", 1), ("b", 2)])?;
    other.extend([("b", 2), ("a", 1)])?;
    assert_eq!(one.snapshot()?, other.snapshot()?);
    other.set("b", &3)?;
    assert_ne!(one.snapshot()?, other.snapshot()?);
    Ok(())
}

pub(super) fn namespace_and_fork(ctx: &Context) -> Result<()> {
    let (one, other) = (ctx.namespace("one"), ctx.namespace("other"));
    one.set("k", &1)?;
    assert_eq!(other.get::<u64>("k")?, None);
    // The reserved one is to be read only.
    assert!(ctx.namespace("").set("k", &1).unwrap_err().is_read_only());
    Ok(())
}

/// The server's clock is what stamps an update.
pub(super) fn ping_and_time(ctx: &Context) -> Result<()> {
    assert_ne!(ctx.ping(Duration::from_secs(60))?, 0);
    let mut watch = ctx.state().watch(Filter::all()).start()?;
    ctx.state().set("k", &1)?;
    let first = watch.next_update()?.time;
    ctx.state().set("k", &2)?;
    assert!(watch.next_update()?.time >= first);
    Ok(())
}

fn pay(txn: &mut Txn<'_>, sum: i64) -> Result<i64> {
    let left = txn.get("purse")?.unwrap_or(0) - sum;
    txn.set("purse", &left)?;
    txn.set("till", &(txn.get("till")?.unwrap_or(0) + sum))?;
    if left < 0 {
        return Err(Error::msg("too poor"));
    }
    Ok(left)
}

pub(super) fn atomify(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    state.set("purse", &10)?;
    let mut watch = state.watch(Filter::all()).start()?;
    assert_eq!(state.atomic(pay, 4)?, 6);
    assert_eq!(watch.next_update()?.changes.len(), 2);
    Ok(())
}

pub(super) fn exception_inside(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    state.set("purse", &1)?;
    let before = state.snapshot()?;
    let error = state.atomic(pay, 4).unwrap_err();
    assert!(error.is_remote() && error.to_string().contains("too poor"));
    let error = state.atomic(
        |_: &mut Txn<'_>, ()| -> Result<()> { panic!("no luck") },
        (),
    );
    let error = error.unwrap_err();
    // Read by people, with `{:?}`: where it was, too.
    assert!(error.is_panic() && error.to_string().contains("no luck"));
    assert!(format!("{error:?}").contains("there, at "), "{error:?}");
    assert_eq!(state.snapshot()?, before);
    Ok(())
}

fn pays_until_asked(ctx: &Context, (): ()) -> Result<i64> {
    let mut paid = 0;
    while !ctx.stopping() {
        ctx.state().atomic(pay, 1)?;
        paid += 1;
    }
    Ok(paid)
}

pub(super) fn signal_at_the_caller_meanwhile(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    state.set("purse", &1_000_000_000)?;
    let payer = ctx.spawn(pays_until_asked, ())?;
    state.wait_truthy::<i64>("till")?;
    payer.request_stop(None)?;
    let paid = payer.join()??;
    assert_eq!(state.get("till")?, Some(paid));
    assert_eq!(state.get("purse")?, Some(1_000_000_000 - paid));
    Ok(())
}

fn three_steps(ctx: &Context, (): ()) -> Result<()> {
    for step in 1..=3_u64 {
        ctx.state().set("step", &step)?;
    }
    Ok(())
}

/// However quick the steps are.
pub(super) fn get_when(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let process = ctx.spawn(three_steps, ())?;
    let (step, _) = state.wait_until(|view| {
        let step: Option<u64> = view.get("step")?;
        Ok(step.filter(|step| *step >= 3))
    })?;
    assert_eq!(step, 3);
    state.wait_equal("step", &3_u64)?;
    state.wait_not_equal("step", &2_u64)?;
    process.join()?
}

pub(super) fn get_when_change(ctx: &Context) -> Result<()> {
    fn endless(ctx: &Context, (): ()) -> Result<()> {
        while !ctx.stopping() {
            ctx.state().add("other", 1)?;
            ctx.state().add("k", 1)?;
        }
        Ok(())
    }
    let process = ctx.spawn(endless, ())?;
    let update = ctx.state().wait_change(["k", "none"])?;
    assert_eq!(update.changes[0].key(), "k");
    process.request_stop(None)?;
    process.join()?
}

/// Each is true at once here; where the key is missing, none of them fails.
pub(super) fn when_truthy_falsy_none_not_none_available(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    state.wait_falsy("k")?;
    state.wait_none("k")?;
    state.set("k", &None::<u64>)?;
    state.wait_falsy("k")?;
    state.wait_none("k")?;
    assert_eq!(state.wait_available::<Option<u64>>("k")?.0, None);
    state.set("k", &0)?;
    state.wait_falsy("k")?;
    assert_eq!(state.wait_not_none::<u64>("k")?.0, 0);
    state.set("k", &1)?;
    assert_eq!(state.wait_truthy::<u64>("k")?.0, 1);
    Ok(())
}

pub(super) fn when_change_of_keys_or_of_all_but_keys(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let some = state.watch(Filter::keys(["a", "b"])).start()?;
    let others = state.watch(Filter::all_but(["a", "b"])).start()?;
    for key in ["a", "c", "b", "d"] {
        state.set(key, &1)?;
    }
    for (watch, keys) in [(some, ["a", "b"]), (others, ["c", "d"])] {
        let seen = watch
            .take(2)
            .map(|update| Ok(update?.changes[0].key().to_owned()));
        assert_eq!(seen.collect::<Result<Vec<_>>>()?, keys);
    }
    Ok(())
}

pub(super) fn when_change_raw(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let mut watch = state.watch(Filter::key("k")).start()?;
    let set = state.set("k", &1)?;
    state.set("k", &1)?;
    let update = watch.next_update()?;
    assert_eq!(
        (update.revision, update.origin.process),
        (set, ctx.process_id())
    );
    let change = &update.changes[0];
    assert_eq!(
        (change.key(), change.before::<u64>()?, change.after()?),
        ("k", None, Some(1))
    );
    assert!(!change.is_identical());
    assert!(watch.next_update()?.changes[0].is_identical());

    let mut news = state.watch(Filter::key("k")).skip_identical().start()?;
    state.set("k", &1)?;
    state.set("k", &2)?;
    assert_eq!(news.next_update()?.changes[0].after()?, Some(2));
    Ok(())
}

pub(super) fn call_when(ctx: &Context) -> Result<()> {
    let (state, seen) = (ctx.state(), ctx.namespace("seen"));
    // @ctx.call_when(lambda state: state.get("k", 0) % 2 == 1)
    let caller = ctx.spawn_when(
        |view| Ok(view.get::<u64>("k")?.filter(|k| k % 2 == 1)),
        |ctx, k| match k {
            7 => Err(Error::msg("seven is too much")),
            k => ctx.namespace("seen").set(&k.to_string(), &true).map(drop),
        },
    )?;
    // It is not known when it begins, but it looks at the present first.
    state.set("k", &1)?;
    seen.wait_available::<bool>("1")?;
    for k in 2..=5 {
        state.set("k", &k)?;
    }
    seen.wait_available::<bool>("5")?;
    assert_eq!(seen.keys(..)?, ["1", "3", "5"]);
    state.set("k", &7)?;
    let error = caller.join()?.unwrap_err();
    assert!(error.to_string().contains("seven is too much"), "{error}");

    let patient = ctx.spawn_when(|view| view.contains_key("never"), |_, ()| Ok(()))?;
    patient.request_stop(None)?;
    patient.join()?
}

pub(super) fn live_is_the_newest(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let mut watch = state.watch(Filter::key("k")).latest().start()?;
    for number in 1..=5 {
        state.set("k", &number)?;
    }
    let update = watch.next_update()?;
    assert_eq!(update.changes[0].after()?, Some(5), "the newest alone");
    let sixth = state.set("k", &6)?;
    let update = watch.next_update()?;
    assert_eq!(update.revision, sixth, "one by one for who keeps up");
    assert_eq!(update.changes[0].before()?, Some(5));
    Ok(())
}

pub(super) fn not_live_and_go_live(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let mut watch = state.watch(Filter::key("k")).start()?;
    for number in 1..=5 {
        state.set("k", &number)?;
    }
    assert_eq!(
        watch.next_update()?.changes[0].after()?,
        Some(1),
        "all are kept"
    );
    watch.go_live()?;
    state.set("k", &6)?;
    assert_eq!(watch.next_update()?.changes[0].after()?, Some(6));
    Ok(())
}

pub(super) fn count_start_time_and_consume(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    state.set("k", &1)?;
    let second = state.set("k", &2)?;
    state.set("k", &3)?;
    let numbers = |watch: zproc::Watch, count| {
        let numbers = watch
            .take(count)
            .map(|update| update?.changes[0].after::<u64>());
        numbers.collect::<Result<Vec<_>>>()
    };
    let since = state.watch(Filter::key("k")).since(second).start()?;
    assert_eq!(numbers(since, 2)?, [Some(2), Some(3)]);
    let all = state.watch(Filter::key("k")).from_start().start()?;
    assert_eq!(numbers(all, 3)?, [Some(1), Some(2), Some(3)]);
    Ok(())
}

pub(super) fn own_writes_are_seen_or_not(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let mut all = state.watch(Filter::all()).start()?;
    let mut others = state.watch(Filter::all()).skip_own().start()?;
    state.set("mine", &1)?;
    ctx.spawn(three_steps, ())?.join()??;
    assert_eq!(all.next_update()?.changes[0].key(), "mine");
    assert_eq!(others.next_update()?.changes[0].key(), "step");
    Ok(())
}
