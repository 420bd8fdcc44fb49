//! The picture of who waits for what.

use zproc::{Awaited, Context, Dump, Result};

/// Waits for a key that nobody writes, by a value.
fn waits_for_a_value(ctx: &Context, (): ()) -> Result<()> {
    ctx.state().wait_equal("never/a", &1).map(drop)
}

/// The same by a condition.
fn waits_for_a_key(ctx: &Context, (): ()) -> Result<()> {
    ctx.state()
        .wait_until(|view| view.contains_key("never/b"))
        .map(drop)
}

/// Waits for a key of another namespace by a condition that captures, and so is tested in its process.
fn waits_here(ctx: &Context, key: String) -> Result<()> {
    let state = ctx.namespace("never");
    state.wait_until(|view| view.contains_key(&key)).map(drop)
}

/// A process in such a wait was said to wait for nothing; and no process was called by its name.
pub(super) fn waits_that_capture_and_names(ctx: &Context) -> Result<()> {
    let waiter = ctx
        .process(waits_here)
        .name("patience")
        .spawn("key".to_owned())?;
    let joiner = ctx.spawn(
        |ctx, ()| {
            let child = ctx
                .process(waits_here)
                .name("the child")
                .spawn("key".to_owned())?;
            child.join().and_then(|done| done)
        },
        (),
    )?;
    let dump = dump_of(ctx, 3)?;
    let text = dump.to_string();
    let own = dump.process(waiter.id()).expect("it waits");
    assert_eq!(
        (&*own.name, own.watches.len(), own.waits.len()),
        ("patience", 0, 1),
        "{text}"
    );
    let Awaited::Condition {
        function,
        namespace,
        reads,
        ..
    } = &own.waits[0].awaited
    else {
        panic!("{text}");
    };
    assert!(function.contains("waits_here"), "{text}");
    assert_eq!((&**namespace, reads.len()), ("never", 1), "{text}");
    let named = format!("process {} \"patience\" (", waiter.id().0);
    for told in [
        &*named,
        "waits_here), pid ",
        " \"the child\" (",
        "key \"key\"",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
    ctx.namespace("never").set("key", &1)?;
    waiter.join()??;
    joiner.join()??;
    assert_eq!(ctx.dump()?.waits().count(), 0);
    Ok(())
}

/// Asks until so many waits are told.
fn dump_of(ctx: &Context, waits: usize) -> Result<Dump> {
    loop {
        let dump = ctx.dump()?;
        if dump.answered && dump.waits().count() >= waits {
            return Ok(dump);
        }
    }
}

pub(super) fn who_waits_for_what(ctx: &Context) -> Result<()> {
    let first = ctx.spawn(waits_for_a_value, ())?;
    let second = ctx.spawn(waits_for_a_key, ())?;
    let joiner = ctx.spawn(
        |ctx, ()| {
            ctx.spawn(waits_for_a_value, ())?
                .join()
                .and_then(|done| done)
        },
        (),
    )?;
    let dump = dump_of(ctx, 4)?;
    assert_eq!(dump.processes.len(), 5, "{dump}");
    let text = dump.to_string();
    let told = |id: zproc::ProcessId, what: &str| {
        let begin = format!("process {} (", id.0);
        let mut lines = text.lines().filter(|line| line.starts_with(&begin));
        assert!(
            lines.any(|line| line.contains(" for: ") && line.contains(what)),
            "{id}, {what}: {text}"
        );
    };
    told(first.id(), "dumps::waits_for_a_value), pid ");
    told(
        first.id(),
        "key \"never/a\" in namespace \"default\" to be the integer 1",
    );
    told(second.id(), "dumps::waits_for_a_key), pid ");
    told(second.id(), "it read key \"never/b\"");
    told(joiner.id(), "join of process");
    let joined = dump
        .waits()
        .find_map(|(process, wait)| match wait.awaited {
            Awaited::End { process: of, .. } if process.id == joiner.id() => Some(of),
            _ => None,
        })
        .expect("it joins its child");
    assert_eq!(
        dump.process(joined).map(|child| child.parent),
        Some(joiner.id())
    );
    assert!(dump.circles().is_empty());
    // The pictures were nothing to those in them.
    for key in ["never/a", "never/b"] {
        ctx.state().set(key, &1)?;
    }
    first.join()??;
    second.join()??;
    joiner.join()??;
    let dump = ctx.dump()?;
    assert_eq!(dump.waits().count(), 0, "{dump}");
    assert_eq!(dump.processes.len(), 1, "{dump}");
    Ok(())
}
