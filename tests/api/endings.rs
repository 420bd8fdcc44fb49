//! Processes that are ended by others.

use zproc::{Context, End, Filter, ProcessId, Result, Why};

const KILLED: End = End::Killed { why: Why::Asked };

/// Says that it lives, and waits for what never comes.
fn sleeper(ctx: &Context, name: String) -> Result<()> {
    ctx.namespace("alive").set_owned(&name, &true)?;
    ctx.state().wait_equal("never", &true)?;
    Ok(())
}

pub(super) fn kill(ctx: &Context) -> Result<()> {
    let process = ctx.spawn(sleeper, "a".to_owned())?;
    ctx.namespace("alive").wait_equal("a", &true)?;
    let outcome = process.kill()?;
    assert_eq!(outcome.end, KILLED);
    assert!(outcome.to_string().contains("killed"), "{outcome}");
    // What it owned is released before its end is told.
    assert!(ctx.namespace("alive").is_empty()?);
    assert!(!process.is_alive()?);
    assert_eq!(process.outcome()?, outcome);
    let error = process.join().unwrap_err();
    assert!(error.is_killed() && !error.is_panic(), "{error}");
    Ok(())
}

pub(super) fn kill_before_it_runs(ctx: &Context) -> Result<()> {
    for _ in 0..3 {
        let process = ctx.spawn(sleeper, "a".to_owned())?;
        assert_eq!(process.kill()?.end, KILLED);
    }
    assert!(ctx.namespace("alive").is_empty()?);
    Ok(())
}

pub(super) fn kill_of_one_that_has_ended(ctx: &Context) -> Result<()> {
    let process = ctx.spawn(|_, n: u64| n, 5)?;
    let outcome = process.outcome()?;
    assert_eq!(process.kill()?, outcome);
    assert_eq!(process.join()?, 5);
    Ok(())
}

/// Has a child, tells which, and waits for it.
fn parent(ctx: &Context, _: ()) -> Result<()> {
    let child = ctx.spawn(sleeper, "child".to_owned())?;
    ctx.state().set("child", &child.id())?;
    child.join()?
}

pub(super) fn killed_with_its_children(ctx: &Context) -> Result<()> {
    let process = ctx.spawn(parent, ())?;
    let alive = ctx.namespace("alive");
    alive.wait_equal("child", &true)?;
    let (child, _) = ctx
        .state()
        .wait_until(|view| view.get::<ProcessId>("child"))?;
    let key = format!("process/{}", child.0);
    let records = ctx.namespace("");
    let mut watch = records.watch(Filter::key(key)).start()?;
    assert_eq!(process.kill()?.end, KILLED);
    let update = watch.next_update()?;
    let why = update.origin.released.expect("it owned a key");
    assert_eq!(why, "killed, as its parent had ended");
    assert!(alive.is_empty()?);
    Ok(())
}
