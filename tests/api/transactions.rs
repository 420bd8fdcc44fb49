//! Transactions: closures that run in their caller.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use zproc::{Context, Error, Result, Txn};

pub(super) fn a_closure_with_captures_runs_here(ctx: &Context) -> Result<()> {
    let state = ctx.namespace("txn");
    let before = state.extend([("from", 100), ("to", 5)])?;
    let amount = 30_i64;
    let mut runs = 0;
    let to = state.transaction(|txn| {
        runs += 1;
        let from: i64 = txn.get("from")?.unwrap_or(0);
        txn.set("from", &(from - amount))?;
        assert_eq!(txn.get("from")?, Some(from - amount), "it sees its own");
        assert_eq!(txn.revision(), before.next());
        txn.add("to", amount)
    })?;
    assert_eq!((to, runs), (35, 1));
    let after = state.snapshot()?;
    assert_eq!(after.get("from")?, Some(70));
    assert_eq!(after.revision(), before.next(), "both at one revision");
    // What only reads, or does nothing, takes no revision.
    let sum = state.transaction(|txn| {
        let entries: Result<Vec<(String, i64)>> = txn.iter(..).collect();
        Ok(entries?.iter().map(|(_, value)| value).sum::<i64>())
    })?;
    assert_eq!(sum, 105);
    state.transaction(|_| Ok(()))?;
    assert_eq!(state.snapshot()?.revision(), after.revision());
    Ok(())
}

fn withdraw(txn: &mut Txn<'_>, amount: i64) -> Result<i64> {
    let left = txn.get::<i64>("account")?.unwrap_or(0) - amount;
    txn.set("account", &left)?;
    match left {
        0.. => Ok(left),
        _ => Err(Error::msg(format!("{} are missing", -left))),
    }
}

pub(super) fn the_same_function_runs_here_and_in_the_server(ctx: &Context) -> Result<()> {
    let state = ctx.namespace("txn");
    state.set("account", &50)?;
    assert_eq!(state.atomic(withdraw, 20)?, 30);
    assert_eq!(state.transaction(|txn| withdraw(txn, 20))?, 10);
    for failed in [
        state.atomic(withdraw, 20),
        state.transaction(|txn| withdraw(txn, 20)),
    ] {
        assert!(failed.unwrap_err().to_string().contains("10 are missing"));
        assert_eq!(state.get("account")?, Some(10));
    }
    Ok(())
}

/// All that a [`Txn`] can do, in a namespace with these: a = 1, b/1 = 2, b/2 = 3, c = 4.
fn all_calls(txn: &mut Txn<'_>) -> Result<()> {
    let keys = |txn: &Txn<'_>| txn.keys(..);
    assert_eq!(txn.namespace_name(), "txn");
    assert_eq!((txn.len()?, txn.is_empty()?), (4, false));
    assert!(txn.contains_key("a")? && !txn.contains_key("z")?);
    txn.set("b/15", &15)?;
    assert!(txn.remove("a")? && !txn.remove("a")? && !txn.remove("z")?);
    assert_eq!(keys(txn)?, ["b/1", "b/15", "b/2", "c"]);
    assert_eq!(txn.len()?, 4);
    let entries: Result<Vec<(String, i64)>> = txn.iter("b/").collect();
    let entries = entries?;
    assert_eq!(entries[1], ("b/15".to_owned(), 15));
    assert_eq!(entries[2], ("b/2".to_owned(), 3));
    assert_eq!(txn.keys("b/15".."c")?, ["b/15", "b/2"]);
    assert_eq!(txn.take::<i64>("b/15")?, Some(15));
    assert_eq!(txn.pop_first("b/")?, Some(("b/1".to_owned(), 2)));
    assert_eq!(txn.pop_last("")?, Some(("c".to_owned(), 4)));
    assert_eq!(txn.pop_first::<i64>("x")?, None);
    assert_eq!((txn.add("b/2", 4)?, txn.add("n", -3)?), (7, -3));
    assert_eq!(txn.add("n", 1)?, -2);
    txn.extend([("x/1", 1), ("x/2", 2)])?;
    assert_eq!(keys(txn)?, ["b/2", "n", "x/1", "x/2"]);
    let mut other = txn.namespace("txn/other");
    other.replace_all([("k", "v")])?;
    assert_eq!(other.keys(..)?, ["k"]);
    other.clear()?;
    assert!(other.is_empty()? && other.get::<String>("k")?.is_none());
    other.set("last", "v")?;
    Ok(())
}

pub(super) fn every_call_of_a_txn(ctx: &Context) -> Result<()> {
    let state = ctx.namespace("txn");
    let mut ends = Vec::new();
    for here in [false, true] {
        state.replace_all([("a", 1), ("b/1", 2), ("b/2", 3), ("c", 4)])?;
        let before = ctx.namespace("txn/other").set("k", "old")?;
        match here {
            true => state.transaction(all_calls)?,
            false => state.atomic(|txn, ()| all_calls(txn), ())?,
        }
        let snapshot = state.snapshot()?;
        assert_eq!(snapshot.revision(), before.next());
        let other = ctx.namespace("txn/other").snapshot()?;
        assert!(other.keys().eq(["last"]));
        ends.push(snapshot);
    }
    assert_eq!(ends[0], ends[1]);
    assert!(ends[0].keys().eq(["b/2", "n", "x/1", "x/2"]));
    Ok(())
}

pub(super) fn all_reads_are_of_one_revision(ctx: &Context) -> Result<()> {
    let state = ctx.namespace("txn");
    state.extend([("a", 1), ("b", 1)])?;
    let mut runs = 0;
    // It only reads, so that what it sees was true, though it is no more.
    let seen = state.transaction(|txn| {
        runs += 1;
        let a: i64 = txn.get("a")?.unwrap_or(0);
        // From outside, as another process would.
        other(ctx, [("a", 2), ("b", 2)])?;
        let b: i64 = txn.get("b")?.unwrap_or(0);
        let sum: Result<Vec<(String, i64)>> = txn.iter(..).collect();
        Ok((a, b, sum?.len(), txn.len()?))
    })?;
    assert_eq!((seen, runs), ((1, 1, 2, 2), 1));
    Ok(())
}

/// Another process writes these. Another thread starts it: this one is in a transaction.
fn other<const N: usize>(ctx: &Context, entries: [(&str, i64); N]) -> Result<()> {
    let entries: Vec<(String, i64)> = (entries.into_iter())
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    let ctx = ctx.clone();
    crate::on_another_thread(move || ctx.spawn(write, entries)?.join()?)
}

fn write(ctx: &Context, entries: Vec<(String, i64)>) -> Result<()> {
    ctx.namespace("txn").extend(entries).map(drop)
}

pub(super) fn what_it_read_must_still_stand(ctx: &Context) -> Result<()> {
    let state = ctx.namespace("txn");
    state.set("a", &1)?;
    let mut runs = 0;
    let sum = state.transaction(|txn| {
        runs += 1;
        let a: i64 = txn.get("a")?.unwrap_or(0);
        if runs == 1 {
            other(ctx, [("a", 10)])?;
        }
        txn.set("sum", &(a + 1))?;
        Ok(a + 1)
    })?;
    assert_eq!((sum, runs), (11, 2));
    // What it has not read does not matter, even if it writes it.
    let mut runs = 0;
    state.transaction(|txn| {
        runs += 1;
        txn.get::<i64>("a")?;
        other(ctx, [("b", 1), ("sum", 0)])?;
        txn.set("sum", &5)
    })?;
    assert_eq!((state.get("sum")?, runs), (Some(5), 1));
    Ok(())
}

pub(super) fn an_absent_key_and_a_span_count_as_read(ctx: &Context) -> Result<()> {
    let state = ctx.namespace("txn");
    let reads: [fn(&Txn<'_>) -> Result<u64>; 4] = [
        |txn| Ok(u64::from(txn.contains_key("p/new")?)),
        |txn| Ok(txn.keys("p/")?.len() as u64),
        |txn| Ok(txn.iter::<i64>("p/a".."p/z").count() as u64),
        |txn| txn.len(),
    ];
    for read in reads {
        state.clear()?;
        let mut counts = Vec::new();
        state.transaction(|txn| {
            counts.push(read(txn)?);
            if counts.len() == 1 {
                other(ctx, [("p/new", 1)])?;
            }
            txn.set("q", &1)
        })?;
        assert_eq!(counts, [0, 1]);
    }
    Ok(())
}

pub(super) fn several_namespaces_at_one_revision(ctx: &Context) -> Result<()> {
    let (left, right) = (ctx.namespace("txn/left"), ctx.namespace("txn/right"));
    left.set("job", "j")?;
    let before = right.set("count", &1)?;
    left.transaction(|txn| {
        let job: Option<String> = txn.take("job")?;
        let mut right = txn.namespace("txn/right");
        right.add("count", 1)?;
        right.set("job", &job)
    })?;
    assert_eq!(left.snapshot()?.revision(), before.next());
    assert!(left.is_empty()?);
    assert_eq!(right.get("count")?, Some(2));
    assert_eq!(right.get("job")?, Some(Some("j".to_owned())));
    Ok(())
}

pub(super) fn an_error_or_a_panic_leaves_nothing(ctx: &Context) -> Result<()> {
    let state = ctx.namespace("txn");
    let before = state.set("a", &1)?;
    let error = state.transaction(|txn| -> Result<()> {
        txn.clear()?;
        Err(Error::msg("changed my mind"))
    });
    let error = error.unwrap_err();
    assert!(error.to_string().contains("changed my mind") && !error.is_remote());
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        state.transaction(|txn| -> Result<()> {
            txn.set("a", &2)?;
            std::panic::panic_any(7_u8)
        })
    }));
    let payload = panicked.expect_err("the panic goes on");
    assert_eq!(payload.downcast_ref(), Some(&7_u8));
    let snapshot = state.snapshot()?;
    assert_eq!((snapshot.get("a")?, snapshot.revision()), (Some(1), before));
    Ok(())
}

pub(super) fn a_refused_write_sticks(ctx: &Context) -> Result<()> {
    let state = ctx.namespace("txn");
    let refused = state.transaction(|txn| {
        txn.set("a", &1)?;
        let _sticks = txn.namespace("").set("a", &1);
        Ok(())
    });
    assert!(refused.unwrap_err().is_read_only());
    let refused = state.transaction(|txn| {
        txn.set("a", &1)?;
        txn.set(&"k".repeat(2_000), &1).or(Ok(()))
    });
    assert!(refused.unwrap_err().is_limit());
    let refused = state.transaction(|txn| {
        let text = "x".repeat(1_000_000);
        (0..5).try_for_each(|number| txn.set(&format!("{number}"), &text).or(Ok(())))
    });
    assert!(refused.unwrap_err().is_limit());
    // These two tell something, and the transaction goes on.
    state.transaction(|txn| {
        txn.set("text", "t")?;
        assert!(txn.add("text", 1).unwrap_err().is_wrong_type());
        txn.set("large", &i64::MAX)?;
        assert!(txn.add("large", 1).unwrap_err().is_overflow());
        Ok(())
    })?;
    assert_eq!(state.keys(..)?, ["large", "text"]);
    Ok(())
}

fn increment(ctx: &Context, times: u64) -> Result<u64> {
    let state = ctx.namespace("txn");
    for _ in 0..times {
        state.transaction(|txn| {
            let count: u64 = txn.get("count")?.unwrap_or(0);
            txn.set("count", &(count + 1))
        })?;
    }
    Ok(times)
}

pub(super) fn processes_that_increment_one_key_all_finish(ctx: &Context) -> Result<()> {
    const TIMES: u64 = 20;
    let crew: Result<Vec<_>> = (0..16).map(|_| ctx.spawn(increment, TIMES)).collect();
    for process in crew? {
        assert_eq!(process.join()??, TIMES);
    }
    assert_eq!(ctx.namespace("txn").get("count")?, Some(16 * TIMES));
    Ok(())
}

/// Adds to a key which nobody has a lease on for plain writes.
fn disturb(ctx: &Context, (): ()) -> Result<()> {
    ctx.namespace("txn").add("disturbed", 1).map(drop)
}

pub(super) fn plain_writes_break_a_lease(ctx: &Context) -> Result<()> {
    let state = ctx.namespace("txn");
    let mut runs = 0;
    state.transaction(|txn| {
        runs += 1;
        let seen: i64 = txn.get("disturbed")?.unwrap_or(0);
        // More often than a transaction runs without a lease.
        if runs <= 6 {
            let ctx = ctx.clone();
            crate::on_another_thread(move || ctx.spawn(disturb, ())?.join()?)?;
        }
        txn.set("seen", &seen)
    })?;
    assert_eq!((runs, state.get("seen")?), (7, Some(6)));
    // The lease is gone with it: another has its turn at once.
    state.transaction(|txn| txn.add("disturbed", 1))?;
    Ok(())
}

fn names_both_calls_once(name: &str, error: &Error) {
    assert!(error.is_nested(), "{name}: {error}");
    let text = error.to_string();
    let both = text.contains(name) && text.contains("run a transaction");
    assert!(both, "{text}");
    // It said the other call twice over, and of a lock or a spawn that the Txn does it.
    assert_eq!(text.matches("another call").count(), 1, "{text}");
    let ends_well = text.ends_with("called before that call, or after it");
    assert!(ends_well, "{text}");
}

/// Every call in its own function would be outside of it, whatever it is.
pub(super) fn calls_in_a_transaction_are_refused(ctx: &Context) -> Result<()> {
    let state = ctx.namespace("txn");
    state.set("k", &1)?;
    let mut watch = state.watch(zproc::Filter::all()).start()?;
    let before = state.snapshot()?.revision();
    type Call<'a> = (&'static str, Box<dyn Fn() -> Result<()> + 'a>);
    let calls: Vec<Call<'_>> = vec![
        ("get", Box::new(|| state.get::<u64>("k").map(drop))),
        ("set", Box::new(|| state.set("k", &2).map(drop))),
        (
            "batch",
            Box::new(|| state.batch().set("k", &2).commit().map(drop)),
        ),
        ("atomic", Box::new(|| state.atomic(withdraw, 1).map(drop))),
        (
            "run a transaction",
            Box::new(|| state.transaction(|_| Ok(()))),
        ),
        (
            "wait_equal",
            Box::new(|| state.wait_equal("k", &2).map(drop)),
        ),
        (
            "wait_until",
            Box::new(|| state.wait_until(|_| true).map(drop)),
        ),
        (
            "ping",
            Box::new(|| ctx.ping(Duration::from_secs(60)).map(drop)),
        ),
        ("spawn", Box::new(|| ctx.spawn(|_, ()| (), ()).map(drop))),
        ("lock", Box::new(|| ctx.try_lock("l").map(drop))),
    ];
    for (name, call) in &calls {
        let error = state
            .transaction(|txn| {
                txn.set("k", &3)?;
                call()
            })
            .unwrap_err();
        names_both_calls_once(name, &error);
    }
    // What it overlooks is its own affair, and hinders nothing.
    let missed = state.transaction(|txn| {
        assert!(watch.next_update().is_err_and(|error| error.is_nested()));
        let missed = state.remove("k").is_err();
        txn.set("k", &4)?;
        Ok(missed)
    })?;
    assert!(missed);
    assert_eq!(state.get("k")?, Some(4));
    assert_eq!(
        state.snapshot()?.revision(),
        before.next(),
        "and nothing else was done"
    );
    // What is dropped in it is given back.
    let mut dropped = Some((ctx.lock("l")?, watch));
    state.transaction(|_| {
        dropped = None;
        Ok(())
    })?;
    assert!(ctx.try_lock("l")?.is_some());
    Ok(())
}

/// Is in its own way: another thread of it changes what it has read.
fn in_its_own_way(ctx: &Context, (): ()) -> Result<bool> {
    let state = ctx.namespace("txn");
    let ended = state.transaction(|txn| {
        let runs = txn.get::<u64>("runs")?.unwrap_or(0);
        let state = state.clone();
        crate::on_another_thread(move || state.set("runs", &(runs + 1)).map(drop))?;
        txn.set("never", &runs)
    });
    Ok(ended.is_err_and(|error| error.is_stopped()))
}

pub(super) fn a_stop_ends_one_that_would_run_again(ctx: &Context) -> Result<()> {
    let state = ctx.namespace("txn");
    let process = ctx.spawn(in_its_own_way, ())?;
    // With a lease by then.
    state.wait_until(|view| Ok(view.get::<u64>("runs")? >= Some(6)))?;
    process.request_stop(Duration::from_secs(60))?;
    assert!(process.join()??, "it was told so, and not killed");
    assert!(!state.contains_key("never")?);
    Ok(())
}

pub(super) fn one_that_is_late_is_not_committed(ctx: &Context) -> Result<()> {
    let limit = Duration::from_millis(20);
    let late = Instant::now() + 2 * limit;
    let error = ctx.state().within(limit).transaction(|txn| {
        txn.set("late", &true)?;
        while Instant::now() < late {
            std::hint::spin_loop();
        }
        Ok(())
    });
    // Not an outcome that is not known.
    let error = error.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert!(!ctx.state().contains_key("late")?);
    Ok(())
}
