//! Bad input: each a typed error that says what and where, and everything else is as it was.

use serde::{Deserialize, Serialize, Serializer};
use std::time::Duration;
use zproc::{Context, Error, Filter, Result, Txn};

const KEY_BYTES_MAX: usize = 1024;
const VALUE_BYTES_MAX: usize = 1024 * 1024;
const DEPTH_MAX: usize = 128;

/// It is a limit, it is named, and the connection is as good as before.
fn told(ctx: &Context, error: &Error, limit: &str) {
    assert!(error.is_limit(), "{error}");
    assert!(error.to_string().contains(limit), "{error}");
    ctx.ping(Duration::from_secs(60))
        .expect("the connection goes on");
}

pub(super) fn key_too_long(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let longest = "k".repeat(KEY_BYTES_MAX);
    state.set(&longest, &1)?;
    assert_eq!(state.get(&longest)?, Some(1));
    // In bytes, not in characters.
    for key in [
        "k".repeat(KEY_BYTES_MAX + 1),
        "ß".repeat(KEY_BYTES_MAX / 2 + 1),
    ] {
        let limit = "KEY_BYTES_MAX";
        told(ctx, &state.set(&key, &1).unwrap_err(), limit);
        told(ctx, &state.set_owned(&key, &1).unwrap_err(), limit);
        told(ctx, &state.get::<u8>(&key).unwrap_err(), limit);
        told(ctx, &state.contains_key(&key).unwrap_err(), limit);
        told(ctx, &state.remove(&key).unwrap_err(), limit);
        told(ctx, &state.get_or_insert(&key, &1).unwrap_err(), limit);
        told(ctx, &state.wait_equal(&key, &1).unwrap_err(), limit);
        told(
            ctx,
            &state.watch(Filter::key(&*key)).start().unwrap_err(),
            limit,
        );
        let error = state
            .atomic(|txn, key: String| txn.set(&key, &1), key)
            .unwrap_err();
        assert!(error.to_string().contains(limit), "{error}");
    }
    assert_eq!(state.len()?, 1);
    Ok(())
}

pub(super) fn value_too_large(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    // Five bytes say that it is a string, and how long.
    let largest = "v".repeat(VALUE_BYTES_MAX - 5);
    state.set("k", &largest)?;
    assert_eq!(state.get("k")?, Some(largest));
    for size in [VALUE_BYTES_MAX - 4, 20 * VALUE_BYTES_MAX] {
        let value = "v".repeat(size);
        let error = state.set("big", &value).unwrap_err();
        told(ctx, &error, "VALUE_BYTES_MAX");
        assert!(
            error.to_string().contains(&format!("{} bytes", size + 5)),
            "{error}"
        );
        assert!(error.to_string().contains("the value is over"), "{error}");
        told(
            ctx,
            &state.wait_equal("big", &value).unwrap_err(),
            "VALUE_BYTES_MAX",
        );
        let error = state.atomic(|_, _: String| Ok(()), value).unwrap_err();
        assert!(error.to_string().contains("the argument is"), "{error}");
        told(ctx, &error, "VALUE_BYTES_MAX");
        // What comes back was told as what can't be decoded.
        let error = state.atomic(|_, size: usize| Ok("v".repeat(size)), size);
        told(ctx, &error.unwrap_err(), "VALUE_BYTES_MAX");
    }
    // One that becomes too large inside.
    let error = state
        .atomic(
            |txn, size: usize| txn.set("big", &"v".repeat(size)),
            VALUE_BYTES_MAX,
        )
        .unwrap_err();
    assert!(error.to_string().contains("VALUE_BYTES_MAX"), "{error}");
    assert!(!state.contains_key("big")?);
    Ok(())
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Nested(Vec<Nested>);

fn nested(depth: usize) -> Nested {
    (1..depth).fold(Nested(Vec::new()), |inner, _| Nested(vec![inner]))
}

pub(super) fn value_too_deep(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let deep = nested(DEPTH_MAX - 1);
    state.set("k", &deep)?;
    assert_eq!(state.get("k")?, Some(deep));
    for depth in [DEPTH_MAX + 1, 6 * DEPTH_MAX] {
        let deep = nested(depth);
        told(ctx, &state.set("deep", &deep).unwrap_err(), "DEPTH_MAX");
        let error = state.atomic(|_, _: Nested| Ok(()), deep).unwrap_err();
        told(ctx, &error, "DEPTH_MAX");
    }
    assert!(!state.contains_key("deep")?);
    Ok(())
}

pub(super) fn namespace_name_too_long(ctx: &Context) -> Result<()> {
    ctx.namespace("n".repeat(255)).set("k", &1)?;
    let state = ctx.namespace("n".repeat(256));
    let limit = "NAMESPACE_BYTES_MAX";
    told(ctx, &state.set("k", &1).unwrap_err(), limit);
    told(ctx, &state.get::<u8>("k").unwrap_err(), limit);
    told(ctx, &state.len().unwrap_err(), limit);
    told(ctx, &state.keys(..).unwrap_err(), limit);
    told(ctx, &state.clear().unwrap_err(), limit);
    told(ctx, &state.wait_until(|_| true).unwrap_err(), limit);
    told(ctx, &state.watch(Filter::all()).start().unwrap_err(), limit);
    told(ctx, &state.atomic(|_, ()| Ok(()), ()).unwrap_err(), limit);
    Ok(())
}

pub(super) fn reserved_namespace_is_read_only(ctx: &Context) -> Result<()> {
    let reserved = ctx.namespace("");
    for error in [
        reserved.set("k", &1).unwrap_err(),
        reserved.set_owned("k", &1).unwrap_err(),
        reserved.get_or_insert("k", &1).unwrap_err(),
        reserved.remove("process/1").unwrap_err(),
        reserved.clear().unwrap_err(),
    ] {
        assert!(error.is_read_only(), "{error}");
    }
    let error = ctx
        .state()
        .atomic(
            |txn, ()| {
                txn.set("mine", &1)?;
                txn.namespace("").set("k", &1)
            },
            (),
        )
        .unwrap_err();
    assert!(error.to_string().contains("read-only"), "{error}");
    assert!(!ctx.state().contains_key("mine")?);
    assert!(!reserved.contains_key("k")?);
    Ok(())
}

/// Serialises only outside of the server.
#[derive(Deserialize)]
struct Refuses;

impl Serialize for Refuses {
    fn serialize<S: Serializer>(&self, _: S) -> std::result::Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("not in this form"))
    }
}

pub(super) fn what_does_not_serialise(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    for error in [
        state.set("key", &Refuses).unwrap_err(),
        state.wait_equal("key", &Refuses).unwrap_err(),
        state.atomic(|_, _: Refuses| Ok(()), Refuses).unwrap_err(),
        ctx.spawn(|_, _: Refuses| (), Refuses).unwrap_err(),
    ] {
        assert!(error.is_unencodable(), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("Refuses") && text.contains("not in this form"),
            "{text}"
        );
    }
    let text = state.set("key", &Refuses).unwrap_err().to_string();
    assert!(text.contains("\"key\""), "{text}");
    assert!(state.is_empty()?);
    Ok(())
}

/// Writes so many values of half a MiB.
fn write_large(txn: &mut Txn<'_>, count: u64) -> Result<()> {
    let value = "v".repeat(VALUE_BYTES_MAX / 2);
    for number in 0..count {
        txn.set(&number.to_string(), &value)?;
    }
    Ok(())
}

pub(super) fn change_set_too_large(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    state.atomic(write_large, 4)?;
    let before = state.snapshot()?;
    let error = state.atomic(write_large, 20).unwrap_err();
    assert!(
        error.to_string().contains("CHANGE_SET_BYTES_MAX"),
        "{error}"
    );
    assert_eq!(before, state.snapshot()?);
    Ok(())
}

pub(super) fn writes_of_one_function_too_many(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let error = state
        .atomic(
            |txn, ()| {
                for number in 0..20_000 {
                    txn.set(&number.to_string(), &())?;
                }
                Ok(())
            },
            (),
        )
        .unwrap_err();
    assert!(
        error.to_string().contains("CHANGE_SET_CHANGES_MAX"),
        "{error}"
    );
    assert!(state.is_empty()?);
    Ok(())
}
