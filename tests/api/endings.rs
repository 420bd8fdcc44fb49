//! Processes that are ended by others.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use zproc::{Context, End, Error, Filter, Group, ProcessId, Result, View, Why};

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

/// Starts one process in its own stead, as it is told, tells which, and waits to be killed.
fn starter(ctx: &Context, moved: bool) -> Result<()> {
    let process = match moved {
        true => {
            let process = ctx.spawn(follower, ())?;
            process.move_to_root()?;
            // Once more is no mistake.
            process.move_to_root()?;
            process
        }
        false => ctx.process(follower).at_root().spawn(())?,
    };
    let child = ctx.spawn(sleeper, "child".to_owned())?;
    ctx.state().set("child", &(process.id(), child.id()))?;
    process.detach();
    child.join()?
}

pub(super) fn at_the_root_it_outlives_its_parent(ctx: &Context) -> Result<()> {
    for moved in [false, true] {
        let parent = ctx.spawn(starter, moved)?;
        let ids = |view: &View| view.get::<(ProcessId, ProcessId)>("child");
        let ((rooted, child), _) = ctx.state().wait_until(ids)?;
        assert_eq!(parent.kill()?.end, KILLED);
        // The other one went, so this one would have gone by now.
        let record = ended(ctx, child)?;
        assert_eq!(
            record.outcome.as_deref(),
            Some("killed, as its parent had ended")
        );
        ctx.state().set("go", &true)?;
        let record = ended(ctx, rooted)?;
        assert_eq!(record.outcome.as_deref(), Some("returned"));
        assert_eq!(record.parent, parent.id().0);
        ctx.state().clear()?;
    }
    Ok(())
}

/// What a record tells that matters here.
#[derive(Serialize, Deserialize)]
struct Record {
    parent: u64,
    state: String,
    outcome: Option<String>,
}

/// The record of a process, when it has ended.
fn ended(ctx: &Context, process: ProcessId) -> Result<Record> {
    let records = ctx.namespace("");
    let key = format!("process/{}", process.0);
    let mut watch = records.watch(Filter::key(&key)).start()?;
    loop {
        let record: Record = records.get(&key)?.expect("it is not forgotten so soon");
        if record.state == "ended" {
            return Ok(record);
        }
        watch.next_update()?;
    }
}

pub(super) fn to_the_root_when_it_has_ended(ctx: &Context) -> Result<()> {
    let process = ctx.spawn(|_, n: u64| n, 5)?;
    process.outcome()?;
    process.move_to_root()?;
    assert_eq!(process.join()?, 5);
    Ok(())
}

/// So long that whoever is killed at the end of it has not listened.
const LONG: Duration = Duration::from_secs(60);

/// What a call came to that ended with its process being asked to end.
fn is_stopped<T>(result: Result<T>) -> bool {
    result.is_err_and(|error| error.is_stopped() && !error.is_timeout())
}

/// Waits in one way or another, then in all ways; puts in order what it has made, and says how many
/// of its waits have ended.
fn waiter(ctx: &Context, way: u64) -> Result<u64> {
    let (state, alive) = (ctx.state(), ctx.namespace("alive"));
    let child = ctx.spawn(sleeper, "child".to_owned())?;
    let mut watch = state.watch(Filter::key("never")).start()?;
    alive.set("waiter", &way)?;
    let mut ended = 0;
    let key = "never".to_owned();
    for turn in 0..7 {
        ended += u64::from(match (way + turn) % 7 {
            0 => is_stopped(state.wait_equal("never", &true)),
            1 => is_stopped(state.wait_until(|view| view.get::<bool>("never"))),
            2 => is_stopped(state.within(LONG).wait_equal("never", &true)),
            3 => is_stopped(watch.next_within(LONG)),
            4 => is_stopped(child.outcome()),
            5 => is_stopped(state.wait_until(|view| view.get::<bool>(&key))),
            _ => is_stopped(child.join_timeout(LONG)),
        });
    }
    assert!(ctx.stopping() && watch.next().is_none());
    // Everything else goes on working, and that it can end its children, too.
    alive.remove("waiter")?;
    assert_eq!(child.kill()?.end, KILLED);
    Ok(ended)
}

pub(super) fn stop_ends_every_kind_of_wait(ctx: &Context) -> Result<()> {
    for way in 0..7 {
        let process = ctx.spawn(waiter, way)?;
        ctx.namespace("alive").wait_equal("waiter", &way)?;
        let outcome = process.stop(LONG)?;
        assert!(outcome.is_value(), "{way}: {outcome}");
        assert_eq!(process.join()??, 7);
        assert!(ctx.namespace("alive").is_empty()?);
    }
    assert!(!ctx.stopping());
    Ok(())
}

pub(super) fn stop_before_it_runs(ctx: &Context) -> Result<()> {
    let process = ctx.spawn(sleeper, "a".to_owned())?;
    let outcome = process.stop(LONG)?;
    assert!(matches!(outcome.end, End::Error { .. }), "{outcome}");
    let error = process.join()?.unwrap_err();
    assert!(error.is_stopped(), "{error}");
    assert!(error.to_string().contains("wait"), "{error}");
    Ok(())
}

/// Does not look whether it is asked to end.
fn deaf(ctx: &Context, _: ()) -> Result<()> {
    ctx.namespace("alive").set_owned("deaf", &true)?;
    loop {
        ctx.ping(Duration::from_secs(60))?;
    }
}

pub(super) fn killed_when_the_grace_is_over(ctx: &Context) -> Result<()> {
    let process = ctx.spawn(deaf, ())?;
    ctx.namespace("alive").wait_equal("deaf", &true)?;
    let outcome = process.stop(Duration::from_millis(30))?;
    assert_eq!(outcome.end, End::Killed { why: Why::Grace });
    assert!(outcome.to_string().contains("grace"), "{outcome}");
    assert!(outcome.wall >= Duration::from_millis(30), "{outcome:#}");
    assert!(ctx.namespace("alive").is_empty()?);
    assert!(process.join().unwrap_err().is_killed());
    Ok(())
}

pub(super) fn the_grace_it_was_started_with(ctx: &Context) -> Result<()> {
    let grace = Duration::from_millis(20);
    let process = ctx.process(deaf).grace(grace).spawn(())?;
    ctx.namespace("alive").wait_equal("deaf", &true)?;
    let outcome = process.stop(None)?;
    assert_eq!(outcome.end, End::Killed { why: Why::Grace });
    assert!(outcome.wall >= grace, "{outcome:#}");
    Ok(())
}

pub(super) fn killed_when_its_time_limit_is_over(ctx: &Context) -> Result<()> {
    let limit = Duration::from_millis(30);
    let process = ctx.process(deaf).time_limit(limit).spawn(())?;
    let outcome = process.outcome()?;
    assert_eq!(outcome.end, End::TimedOut { limit });
    assert!(outcome.wall >= limit, "{outcome:#}");
    assert!(outcome.to_string().contains("30ms"), "{outcome}");
    // What it owned went with it, for that reason.
    assert!(ctx.namespace("alive").is_empty()?);
    let error = process.join().unwrap_err();
    assert!(error.is_timed_out() && error.is_killed(), "{error}");
    assert!(!error.is_timeout(), "{error}");
    Ok(())
}

/// Waits for what its parent writes.
fn follower(ctx: &Context, _: ()) -> Result<u64> {
    ctx.state().wait_equal("go", &true)?;
    Ok(7)
}

pub(super) fn a_time_limit_that_is_kept_does_nothing(ctx: &Context) -> Result<()> {
    let process = ctx.process(follower).time_limit(LONG).spawn(())?;
    ctx.state().set("go", &true)?;
    assert!(process.outcome()?.is_value());
    assert_eq!(process.join()??, 7);
    // Longer than anybody can count is for ever.
    let for_ever = ctx.process(follower).time_limit(Duration::MAX);
    let process = for_ever.spawn(())?;
    assert_eq!(process.join()??, 7);
    Ok(())
}

pub(super) fn the_shortest_grace_counts(ctx: &Context) -> Result<()> {
    let process = ctx.spawn(deaf, ())?;
    ctx.namespace("alive").wait_equal("deaf", &true)?;
    process.request_stop(LONG)?;
    assert!(process.is_alive()?);
    process.request_stop(Duration::from_millis(10))?;
    process.request_stop(LONG)?;
    let end = process.outcome()?.end;
    assert_eq!(end, End::Killed { why: Why::Grace });
    Ok(())
}

pub(super) fn stop_of_one_that_has_ended(ctx: &Context) -> Result<()> {
    let process = ctx.spawn(|_, n: u64| n, 5)?;
    let outcome = process.outcome()?;
    process.request_stop(None)?;
    assert_eq!(process.stop(Duration::ZERO)?, outcome);
    assert_eq!(process.join()?, 5);
    Ok(())
}

/// Stops its child when it is stopped itself.
fn head(ctx: &Context, _: ()) -> Result<bool> {
    let child = ctx.spawn(waiter, 0)?;
    let stopped = is_stopped(child.outcome());
    Ok(stopped && child.stop(LONG)?.is_value())
}

pub(super) fn who_is_stopped_can_stop_its_children(ctx: &Context) -> Result<()> {
    let process = ctx.spawn(head, ())?;
    ctx.namespace("alive").wait_equal("waiter", &0)?;
    assert!(process.stop(LONG)?.is_value());
    let result: Result<bool, Error> = process.join()?;
    assert!(result?);
    Ok(())
}

/// Asked to end, it works on until it is told that its parent is gone.
fn orderly(ctx: &Context, _: ()) -> Result<()> {
    ctx.state().set("ready", &true)?;
    assert!(is_stopped(ctx.state().wait_equal("never", &true)));
    while !ctx.state().contains_key("parent is gone")? {}
    ctx.state().set("in order", &true).map(drop)
}

/// Returns when its child has been asked to end.
fn hasty(ctx: &Context, _: ()) -> Result<ProcessId> {
    let child = ctx.spawn(orderly, ())?;
    ctx.state().wait_equal("ready", &true)?;
    child.request_stop(LONG)?;
    Ok(child.id())
}

/// It was killed when its parent returned, with its grace just begun.
pub(super) fn who_was_asked_has_its_grace_when_its_parent_ends(ctx: &Context) -> Result<()> {
    let child = ctx.spawn(hasty, ())?.join()??;
    ctx.state().set("parent is gone", &true)?;
    assert_eq!(ended(ctx, child)?.outcome.as_deref(), Some("returned"));
    assert_eq!(ctx.state().get("in order")?, Some(true));
    Ok(())
}

pub(super) fn groups_give_one_answer_for_each(ctx: &Context) -> Result<()> {
    let group = ctx.spawn_many(3, |_, (index, step): (usize, usize)| index * step, 10)?;
    assert_eq!(group.len(), 3);
    let values: Result<Vec<usize>> = group.join_all().into_iter().collect();
    assert_eq!(values?, [0, 10, 20]);

    let group = ctx.spawn_map(|_, n: u32| 100 / n, [5, 0, 2])?;
    let ends: Result<Vec<_>> = group.outcomes().into_iter().collect();
    let values: Vec<bool> = ends?.iter().map(|outcome| outcome.is_value()).collect();
    assert_eq!(values, [true, false, true]);
    let mut results = group.join_all().into_iter();
    assert_eq!(results.next().expect("the first")?, 20);
    assert!(results.next().expect("the second").unwrap_err().is_panic());
    assert_eq!(results.next().expect("the third")?, 50);
    Ok(())
}

/// Waits for ever if it is told to.
fn slow(ctx: &Context, waits: bool) -> Result<u64> {
    if waits {
        ctx.state().wait_equal("never", &true)?;
    }
    Ok(7)
}

pub(super) fn groups_have_one_deadline(ctx: &Context) -> Result<()> {
    let group = ctx.spawn_map(slow, [true, false, true])?;
    let quick = group.into_iter().collect::<Vec<_>>();
    // The second has ended when the time begins, but stands behind one that never does.
    quick[1].outcome()?;
    assert_eq!(quick[0].try_join()?.map(drop), None);
    assert_eq!(quick[1].try_join()?.expect("it has ended")?, 7);
    let group: Group<_> = quick.into_iter().collect();
    let results = group.join_all_timeout(Duration::from_millis(20));
    assert!(results[0].as_ref().unwrap_err().is_timeout());
    assert_eq!(
        results[1].as_ref().expect("it had ended").as_ref().ok(),
        Some(&7)
    );
    assert!(results[2].as_ref().unwrap_err().is_timeout());
    // Asked at once, they heed at once.
    for outcome in group.stop(Duration::from_secs(60)) {
        assert!(!matches!(outcome?.end, End::Killed { .. }));
    }
    let group = ctx.spawn_map(slow, [true, true])?;
    let killed = group
        .kill()
        .into_iter()
        .all(|outcome| outcome.is_ok_and(|it| it.end == KILLED));
    assert!(killed);
    Ok(())
}
