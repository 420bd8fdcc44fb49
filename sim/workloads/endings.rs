//! Processes that are ended by others.

use super::{SCRATCH, tolerate};
use crate::checkers::{NO_LOST_WAKEUP, OUTLIVES};
use crate::history::Note;
use crate::thread::{self, choose, note, sleep_ns};
use serde::Deserialize;
use std::time::Duration;
use zproc::seam::proto::marks::{self, Mark};
use zproc::{Context, End, Filter, Process, ProcessBuilder, Result, View, Why};

/// Nobody writes here.
const NEVER: &str = "never";
/// Where those at the root are told to end.
const ROOTED: &str = "rooted";

/// Waits for what never comes.
fn sleeper(ctx: &Context, (): ()) -> Result<()> {
    ctx.namespace(NEVER).wait_equal("never", &1_i64)?;
    Ok(())
}

/// Has a child that never ends, and says so.
fn parent(ctx: &Context, key: String) -> Result<()> {
    let child = ctx.spawn(sleeper, ())?;
    ctx.namespace(SCRATCH).set(&key, &child.id().0)?;
    child.join()?
}

/// Ends when it is told to.
fn rooted(ctx: &Context, key: String) -> Result<()> {
    ctx.namespace(ROOTED).wait_equal(&key, &true)?;
    Ok(())
}

/// Has a child at the root, there from the beginning or later, says so, and never ends.
fn leaver(ctx: &Context, (key, late): (String, bool)) -> Result<()> {
    let child = match late {
        true => ctx.spawn(rooted, key.clone())?,
        false => ctx.process(rooted).at_root().spawn(key.clone())?,
    };
    if late {
        child.move_to_root()?;
    }
    ctx.namespace(SCRATCH).set(&key, &child.id().0)?;
    child.detach();
    sleeper(ctx, ())
}

/// Waits in several threads for what never comes, until it is asked to end.
fn heedful(ctx: &Context, number: u64) -> Result<u64> {
    let waits = |kind: u64| {
        let ctx = ctx.clone();
        thread::spawn(move || wait_for_never(&ctx, kind))
    };
    let others: Vec<_> = (1..1 + number % 3).map(waits).collect();
    let mut ended = u64::from(wait_for_never(ctx, number)?);
    for other in others {
        if let Ok(result) = other.join() {
            ended += u64::from(result?);
        }
    }
    // It can still put things in order.
    ctx.namespace(SCRATCH)
        .set("stopped", &i64::from(ctx.stopping()))?;
    Ok(ended)
}

/// Did the wait end since this process was asked to?
fn wait_for_never(ctx: &Context, kind: u64) -> Result<bool> {
    let state = ctx.namespace(NEVER);
    let result = match kind % 3 {
        0 => state.wait_equal("never", &1_i64).map(drop),
        1 => state
            .wait_until(|view| view.contains_key("never"))
            .map(drop),
        _ => {
            (state.watch(Filter::all()).start()).and_then(|mut watch| watch.next_update().map(drop))
        }
    };
    match result {
        Err(error) if error.is_stopped() => Ok(true),
        other => other.map(|()| false),
    }
}

/// Does not look whether it is to end.
fn deaf(ctx: &Context, (): ()) -> Result<()> {
    // Seldom and seldomer: whom nobody ends is to cost the simulation little.
    let mut pause_ns = 5_000_000;
    loop {
        sleep_ns(pause_ns);
        pause_ns = (2 * pause_ns).min(60_000_000_000);
        ctx.namespace(SCRATCH).contains_key("a")?;
    }
}

/// Ends by itself, soon.
fn quick(ctx: &Context, step: u64) -> Result<u64> {
    ctx.namespace(SCRATCH).set("quick", &step)?;
    Ok(step)
}

/// What a record tells that matters here.
#[derive(Deserialize)]
struct Record {
    state: String,
    outcome: Option<String>,
}

/// How one ended that would not have ended by itself: it was ended, or a fault struck it.
fn expect(ctx: &Context, end: &End, may: impl FnOnce(&End) -> bool) {
    let is_fault = match end {
        End::Signaled { signal, .. } => *signal == crate::world::SIGKILL,
        End::Exited { .. } | End::BeforeConnect { .. } | End::NotStarted { .. } => true,
        // It has lost its session.
        End::Error { .. } => true,
        // The whole tree is being stopped, and everybody is asked.
        End::Value | End::Killed { why: Why::Grace } => ctx.stopping(),
        _ => false,
    };
    if !is_fault && !may(end) {
        note(Note::Broken {
            guarantee: OUTLIVES,
            explanation: format!("a process that was to be ended has ended so: {end}"),
        });
    }
}

pub(crate) fn ender(ctx: &Context, steps: u64) -> Result<u64> {
    for step in 0..1 + steps % 4 {
        match choose(13) {
            0..2 => tolerate(
                ctx.spawn(sleeper, ())
                    .and_then(|process| kill_one(ctx, process)),
            )?,
            2 => tolerate(kill_parent(ctx, step))?,
            3 => tolerate(spawn_idle(ctx, step).and_then(|process| stop_heedful(ctx, process)))?,
            4..6 => tolerate(
                ctx.spawn(heedful, step)
                    .and_then(|process| stop_heedful(ctx, process)),
            )?,
            6..8 => tolerate(stop_deaf(ctx))?,
            8..10 => tolerate(limit_time(ctx, step))?,
            10..12 => tolerate(leave_child(ctx, step))?,
            _ => {
                tolerate(leave_asked(ctx))?;
                break;
            }
        };
    }
    Ok(steps)
}

/// Starts one that acts at matches which never come, by itself or by its builder.
fn spawn_idle(ctx: &Context, step: u64) -> Result<Process<Result<()>>> {
    let never = |view: &View<'_>| view.contains_key("never");
    let act = |_: &Context, ()| Ok(());
    match step % 2 {
        0 => ctx.spawn_when(never, act),
        _ => ctx.process_when(never, act).name("idle").spawn(()),
    }
}

/// Asks one to end that does not look, which has its grace though its parent ends meanwhile.
fn leave_asked(ctx: &Context) -> Result<()> {
    let child = ctx.spawn(deaf, ())?;
    child.request_stop(Duration::from_millis(1 + choose(100)))?;
    marks::reached(Mark::EnderLeftChildInGrace);
    child.detach();
    Ok(())
}

/// Longer than any fault takes.
const LONG: Duration = Duration::from_secs(3600);

/// One that heeds has all the time it needs, so it is never killed for its grace.
fn stop_heedful<R>(ctx: &Context, process: Process<R>) -> Result<()> {
    sleep_ns(choose(3_000_000));
    let outcome = Process::stop(&process, LONG)?;
    if outcome.end == (End::Killed { why: Why::Grace }) && !ctx.stopping() {
        note(Note::Broken {
            guarantee: NO_LOST_WAKEUP,
            explanation: format!("process {} did not hear that it is to end", process.id()),
        });
    }
    marks::reached_if(outcome.is_value(), Mark::EnderStopped);
    expect(ctx, &outcome.end, |end| *end == End::Value);
    Ok(())
}

fn stop_deaf(ctx: &Context) -> Result<()> {
    let grace = Duration::from_millis(choose(100));
    let process = ProcessBuilder::grace(ctx.process(deaf), grace).spawn(())?;
    sleep_ns(choose(3_000_000));
    if choose(2) == 1 {
        process.request_stop(grace * 2)?;
    }
    if choose(4) == 3 {
        // In between somebody loses patience.
        expect(ctx, &process.kill()?.end, |end| {
            matches!(
                end,
                End::Killed {
                    why: Why::Asked | Why::Grace
                }
            )
        });
        return Ok(());
    }
    // Nothing said is the same.
    let said = (choose(2) == 1).then_some(grace);
    let outcome = process.stop(said)?;
    let of_grace = |end: &End| *end == End::Killed { why: Why::Grace };
    marks::reached_if(of_grace(&outcome.end), Mark::EnderLostPatience);
    expect(ctx, &outcome.end, of_grace);
    Ok(())
}

/// One that never ends by itself is ended by its time limit; one that does may come before it.
fn limit_time(ctx: &Context, step: u64) -> Result<()> {
    let limit = Duration::from_millis(choose(50));
    let timed_out = |end: &End| *end == End::TimedOut { limit };
    let outcome = match step % 2 {
        0 => (ctx.process(deaf).time_limit(limit).spawn(()))?.outcome()?,
        _ => (ctx.process(quick).time_limit(limit).spawn(step))?.outcome()?,
    };
    let has_returned = outcome.is_value() && step % 2 == 1;
    marks::reached_if(timed_out(&outcome.end), Mark::EnderSawTimeLimit);
    marks::reached_if(has_returned, Mark::EnderKeptTimeLimit);
    expect(ctx, &outcome.end, |end| timed_out(end) || has_returned);
    Ok(())
}

fn kill_one(ctx: &Context, victim: Process<Result<()>>) -> Result<()> {
    sleep_ns(choose(3_000_000));
    let is_killed = |end: &End| *end == End::Killed { why: Why::Asked };
    let end = Process::kill(&victim)?.end;
    marks::reached_if(is_killed(&end), Mark::EnderKilled);
    expect(ctx, &end, is_killed);
    // Once more does nothing, and tells the same.
    match victim.kill() {
        Ok(outcome) if outcome.end == end => Ok(()),
        Ok(outcome) => {
            expect(ctx, &outcome.end, |_| false);
            Ok(())
        }
        // Forgotten, where few ends are remembered.
        Err(error) if error.is_unknown_process() => Ok(()),
        Err(error) => Err(error),
    }
}

/// With its parent a child ends, too.
fn kill_parent(ctx: &Context, step: u64) -> Result<()> {
    let key = format!("child/{}/{step}", ctx.process_id().0);
    let Some(child) = orphan(ctx, &key, |key| ctx.spawn(parent, key))? else {
        return Ok(());
    };
    let outcome = outcome_of(ctx, child)?;
    let by_parent = outcome.is_some_and(|how| how.contains("its parent"));
    marks::reached_if(by_parent, Mark::EnderSawChildGo);
    Ok(())
}

/// One at the root does not.
fn leave_child(ctx: &Context, step: u64) -> Result<()> {
    let key = format!("rooted/{}/{step}", ctx.process_id().0);
    let late = choose(2) == 1;
    let Some(child) = orphan(ctx, &key, |key| ctx.spawn(leaver, (key, late)))? else {
        return Ok(());
    };
    ctx.namespace(ROOTED).set(&key, &true)?;
    let outcome = outcome_of(ctx, child)?.unwrap_or_default();
    marks::reached_if(outcome == "returned", Mark::EnderSawChildStay);
    if outcome.contains("its parent") {
        note(Note::Broken {
            guarantee: OUTLIVES,
            explanation: format!("process {child} was at the root, and has ended so: {outcome}"),
        });
    }
    Ok(())
}

/// Kills one that tells its child under the key; gives the child, if it has come so far.
fn orphan(
    ctx: &Context,
    key: &str,
    spawn: impl FnOnce(String) -> Result<Process<Result<()>>>,
) -> Result<Option<u64>> {
    let mut told = (ctx.namespace(SCRATCH).watch(Filter::key(key))).start()?;
    let victim = spawn(key.to_owned())?;
    // It may be killed before, or when it has no child yet.
    let limit = Duration::from_millis(choose(20));
    let child = match told.next_within(limit) {
        Ok(update) => match update.changes.first() {
            Some(change) => change.after::<u64>()?,
            None => None,
        },
        Err(error) if error.is_timeout() => None,
        Err(error) => return Err(error),
    };
    let asked = |end: &End| *end == End::Killed { why: Why::Asked };
    expect(ctx, &Process::kill(&victim)?.end, asked);
    Ok(child)
}

/// Waits until a process has ended, and tells how, if that is not forgotten yet.
fn outcome_of(ctx: &Context, process: u64) -> Result<Option<String>> {
    let (records, key) = (ctx.namespace(""), format!("process/{process}"));
    let mut watch = records.watch(Filter::key(&key)).start()?;
    while let Some(record) = records.get::<Record>(&key)? {
        if record.state == "ended" {
            return Ok(record.outcome);
        }
        match watch.next_within(LONG) {
            Err(error) if error.is_timeout() => {
                note(Note::Broken {
                    guarantee: OUTLIVES,
                    explanation: format!("process {process} goes on, and its parent is long gone"),
                });
                return Ok(None);
            }
            other => other.map(drop)?,
        }
    }
    Ok(None)
}
