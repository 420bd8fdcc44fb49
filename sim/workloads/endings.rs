//! Processes that are ended by others.

use super::{SCRATCH, tolerate};
use crate::checkers::OUTLIVES;
use crate::history::Note;
use crate::thread::{choose, note, sleep_ns};
use serde::Deserialize;
use std::time::Duration;
use zproc::seam::proto::marks::{self, Mark};
use zproc::{Context, End, Filter, Process, Result, Why};

/// Waits for what never comes.
fn sleeper(ctx: &Context, (): ()) -> Result<()> {
    ctx.namespace(SCRATCH).wait_equal("never", &1_i64)?;
    Ok(())
}

/// Has a child that never ends, and says so.
fn parent(ctx: &Context, key: String) -> Result<()> {
    let child = ctx.spawn(sleeper, ())?;
    ctx.namespace(SCRATCH).set(&key, &child.id().0)?;
    child.join()?
}

/// What a record tells that matters here.
#[derive(Deserialize)]
struct Record {
    state: String,
    outcome: Option<String>,
}

/// How one ended that would not have ended by itself: it was ended, or a fault struck it.
fn expect(end: &End, may: impl FnOnce(&End) -> bool) {
    let is_fault = match end {
        End::Signaled { signal, .. } => *signal == crate::world::SIGKILL,
        End::Exited { .. } | End::BeforeConnect { .. } | End::NotStarted { .. } => true,
        // It has lost its session.
        End::Error { .. } => true,
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
        match choose(4) {
            0..3 => tolerate(ctx.spawn(sleeper, ()).and_then(kill_one))?,
            _ => tolerate(kill_parent(ctx, step))?,
        };
    }
    Ok(steps)
}

fn kill_one(victim: Process<Result<()>>) -> Result<()> {
    sleep_ns(choose(3_000_000));
    let is_killed = |end: &End| *end == End::Killed { why: Why::Asked };
    let end = victim.kill()?.end;
    marks::reached_if(is_killed(&end), Mark::EnderKilled);
    expect(&end, is_killed);
    // Once more does nothing, and tells the same.
    match victim.kill() {
        Ok(outcome) if outcome.end == end => Ok(()),
        Ok(outcome) => {
            expect(&outcome.end, |_| false);
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
    let mut told = (ctx.namespace(SCRATCH).watch(Filter::key(&key))).start()?;
    let victim = ctx.spawn(parent, key)?;
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
    expect(&victim.kill()?.end, asked);
    match child {
        Some(child) => see_go(ctx, child),
        None => Ok(()),
    }
}

/// Waits until a process is gone, which nobody but zproc itself ends.
fn see_go(ctx: &Context, process: u64) -> Result<()> {
    let (records, key) = (ctx.namespace(""), format!("process/{process}"));
    let mut watch = records.watch(Filter::key(&key)).start()?;
    while let Some(record) = records.get::<Record>(&key)? {
        if record.state == "ended" {
            let by_parent = record.outcome.is_some_and(|how| how.contains("its parent"));
            marks::reached_if(by_parent, Mark::EnderSawChildGo);
            break;
        }
        watch.next_update()?;
    }
    Ok(())
}
