//! Functions that run in the server.

use serde::{Deserialize, Serialize, Serializer};
use zproc::{Context, Error, Result, Txn};

fn add(txn: &mut Txn<'_>, step: u64) -> Result<u64> {
    let sum = txn.get::<u64>("sum")?.unwrap_or(0) + step;
    txn.set("sum", &sum)?;
    Ok(sum)
}

pub(super) fn returns_a_value(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    assert_eq!(state.atomic(add, 5)?, 5);
    assert_eq!(state.atomic(add, 7)?, 12);
    assert_eq!(state.get("sum")?, Some(12));
    // It need not write, nor take or give anything.
    state.atomic(|_, ()| Ok(()), ())?;
    let text = state.atomic(
        |_, (a, b): (String, char)| Ok(format!("{a}{b}")),
        ("x".into(), 'y'),
    )?;
    assert_eq!(text, "xy");
    Ok(())
}

fn put<const N: usize, T: Serialize>(txn: &mut Txn<'_>, value: T) -> Result<usize> {
    txn.set(&format!("{N}/{}", std::any::type_name::<T>()), &value)?;
    Ok(N)
}

struct Bank;

impl Bank {
    fn open(txn: &mut Txn<'_>, name: String) -> Result<bool> {
        let fresh = !txn.contains_key(&name)?;
        if fresh {
            txn.set(&name, &0)?;
        }
        Ok(fresh)
    }
}

pub(super) fn plain_and_generic_functions(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    assert_eq!(state.atomic(put::<1, String>, "a".to_owned())?, 1);
    assert_eq!(state.atomic(put::<2, String>, "b".to_owned())?, 2);
    assert_eq!(state.atomic(put::<2, u64>, 3)?, 2);
    assert_eq!(state.get("2/u64")?, Some(3));
    assert_eq!(state.len()?, 3);
    assert!(state.atomic(Bank::open, "ann".to_owned())?);
    assert!(!state.atomic(Bank::open, "ann".to_owned())?);
    Ok(())
}

pub(super) fn spans_namespaces(ctx: &Context) -> Result<()> {
    let (from, to) = (ctx.namespace("from"), ctx.namespace("to"));
    from.set("k", "treasure")?;
    let moved = from.atomic(
        |txn, ()| {
            assert_eq!(txn.namespace_name(), "from");
            let value: Option<String> = txn.get("k")?;
            txn.remove("k")?;
            let mut to = txn.namespace("to");
            to.set("k", &value)?;
            to.namespace("count").set("moves", &1)?;
            Ok((value, txn.len()?))
        },
        (),
    )?;
    assert_eq!(moved, (Some("treasure".to_owned()), 0));
    assert!(from.is_empty()?);
    assert_eq!(to.get("k")?, Some("treasure".to_owned()));
    assert_eq!(ctx.namespace("count").get("moves")?, Some(1));
    Ok(())
}

pub(super) fn reads_its_own_writes(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    state.set("a/1", &1)?;
    let set = state.set("b/1", &1)?;
    let stands_at = state.atomic(
        |txn, ()| {
            txn.set("a/2", &2)?;
            assert_eq!(txn.get("a/2")?, Some(2));
            assert_eq!(txn.keys("a/")?, ["a/1", "a/2"]);
            assert!(txn.remove("a/1")?);
            assert!(!txn.remove("a/1")?);
            assert_eq!(txn.keys("")?, ["a/2", "b/1"]);
            assert_eq!(txn.len()?, 2);
            txn.clear()?;
            assert!(txn.is_empty()? && txn.keys("")?.is_empty());
            txn.set("c", &3)?;
            Ok(txn.revision())
        },
        (),
    )?;
    assert_eq!(state.keys(..)?, ["c"]);
    assert!(stands_at > set);
    Ok(())
}

pub(super) fn error_is_rolled_back(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    state.set("kept", &1)?;
    let before = state.snapshot()?;
    let error = state
        .atomic(
            |txn, why: String| -> Result<()> {
                txn.set("kept", &2)?;
                txn.set("new", &2)?;
                txn.namespace("other").set("new", &2)?;
                txn.clear()?;
                Err(Error::msg(why))
            },
            "out of paper".to_owned(),
        )
        .unwrap_err();
    assert!(error.is_remote() && !error.is_panic(), "{error}");
    assert!(error.to_string().contains("out of paper"), "{error}");
    // Where the error was made, and where it was called.
    assert!(
        format!("{error:#}").matches("atomic.rs:").count() >= 2,
        "{error:#}"
    );
    assert_eq!(before, state.snapshot()?);
    assert!(ctx.namespace("other").is_empty()?);
    Ok(())
}

pub(super) fn panic_is_rolled_back(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    state.set("kept", &1)?;
    let before = state.snapshot()?;
    let error = state
        .atomic(
            |txn, divisor: u64| -> Result<u64> {
                txn.set("kept", &2)?;
                txn.remove("kept")?;
                Ok(100_u64.checked_div(divisor).expect("a divisor"))
            },
            0,
        )
        .unwrap_err();
    assert!(error.is_panic() && !error.is_remote(), "{error}");
    assert!(error.to_string().contains("a divisor"), "{error}");
    assert!(format!("{error:#}").contains("there, at"), "{error:#}");
    assert_eq!(before, state.snapshot()?);
    // The server lives, and the function may be tried again.
    assert_eq!(state.atomic(add, 1)?, 1);
    Ok(())
}

pub(super) fn refused_write_sticks(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let error = state
        .atomic(
            |txn, ()| {
                txn.set("good", &1)?;
                let refused = txn.set(&"k".repeat(5000), &1);
                assert!(refused.is_err_and(|error| error.is_limit()));
                // Goes on as if nothing had happened.
                txn.set("better", &1)
            },
            (),
        )
        .unwrap_err();
    assert!(error.to_string().contains("KEY_BYTES_MAX"), "{error}");
    assert!(state.is_empty()?);
    // What is too large is refused before it is tried.
    let ignores = |txn: &mut Txn<'_>, ()| {
        let refused = txn.set("large", &"x".repeat(2 << 20));
        assert!(refused.is_err_and(|error| error.is_limit()));
        txn.set("better", &1)
    };
    let once = state.atomic(ignores, ()).unwrap_err();
    let here = state.transaction(|txn| ignores(txn, ())).unwrap_err();
    for error in [once, here] {
        assert!(error.is_limit(), "{error}");
        assert!(error.to_string().contains("VALUE_BYTES_MAX"), "{error}");
    }
    assert!(state.is_empty()?);
    Ok(())
}

pub(super) fn wrong_type_inside(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    state.set("sum", "a text")?;
    let error = state.atomic(add, 1).unwrap_err();
    assert!(error.is_remote(), "{error}");
    let text = error.to_string();
    for part in ["add", "\"sum\"", "u64", "\"a text\""] {
        assert!(text.contains(part), "{text}");
    }
    Ok(())
}

#[derive(Deserialize)]
struct Refuses;

impl Serialize for Refuses {
    fn serialize<S: Serializer>(&self, _: S) -> std::result::Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("not in this form"))
    }
}

pub(super) fn result_does_not_serialise(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let error = state
        .atomic(
            |txn, ()| {
                txn.set("k", &1)?;
                Ok(Refuses)
            },
            (),
        )
        .err()
        .expect("the result can't be sent");
    assert!(error.is_undecodable(), "{error}");
    assert!(error.to_string().contains("not in this form"), "{error}");
    assert!(state.is_empty()?);
    Ok(())
}

fn adder(ctx: &Context, times: u64) -> Result<()> {
    for _ in 0..times {
        ctx.state().atomic(add, 1)?;
    }
    Ok(())
}

pub(super) fn counts_of_many_processes(ctx: &Context) -> Result<()> {
    let processes = (0..3)
        .map(|_| ctx.spawn(adder, 20))
        .collect::<Result<Vec<_>>>()?;
    adder(ctx, 20)?;
    for process in processes {
        process.join()??;
    }
    assert_eq!(ctx.state().get("sum")?, Some(80));
    Ok(())
}

pub(super) fn origin_and_own_writes(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let mut watch = state.watch(zproc::Filter::all()).start()?;
    for sum in 1..=3 {
        assert_eq!(state.atomic(add, 1)?, sum);
        assert_eq!(state.get("sum")?, Some(sum), "it is there at once");
        let update = watch.next_update()?;
        let function = update.origin.function.unwrap_or_default();
        assert!(function.ends_with("atomic::add"), "{function}");
        assert_eq!(update.origin.process, ctx.process_id());
    }
    Ok(())
}

fn long(_: &mut Txn<'_>, text: String) -> Result<String> {
    Ok(text.repeat(2))
}

pub(super) fn argument_and_result_at_their_limits(ctx: &Context) -> Result<()> {
    const MAX: usize = zproc::Limits::USUAL.value_bytes_max;
    let state = ctx.state();
    // A text of that length takes five bytes more.
    let half = (MAX - 5) / 2;
    assert_eq!(state.atomic(long, "x".repeat(half))?.len(), 2 * half);
    for (length, what) in [(half + 3, "result"), (MAX, "argument")] {
        let error = state.atomic(long, "x".repeat(length)).unwrap_err();
        assert!(error.is_limit(), "{what}: {error}");
        assert!(error.to_string().contains("VALUE_BYTES_MAX"), "{error}");
    }
    Ok(())
}
