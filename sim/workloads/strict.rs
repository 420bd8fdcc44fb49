//! Roles that rest on what they wait and watch for alone: none of them looks for the done key.

use super::functions::{DONE, combed, counted, followed, listed, steered};
use super::{MIX, OWNED, WAITS, fed};
use crate::history::Note;
use crate::thread::{self, choose, note, sleep_ns};
use serde::Serialize;
use zproc::{Context, Filter, Result, Revision, State};

/// A value, and the same with its fields in another order.
#[derive(Serialize)]
struct Named {
    left: i64,
    right: f32,
}

#[derive(Serialize)]
struct Turned {
    right: f64,
    left: u8,
}

/// Nobody else writes this.
const LAST: i64 = 1_000_000_000_000;
/// What a follower of one key watches.
const FOLLOWED: &str = "x1";

/// Makes true whatever a purist may wait for, and ends the followers.
pub(super) fn finish(ctx: &Context) -> Result<()> {
    let state = ctx.namespace(WAITS);
    for key in ["f0", "f1", "f2", "g3", "z"] {
        state.set(key, &LAST)?;
    }
    state.set("helm", &3_i64)?;
    // First one that is as long, and that nobody waits for.
    for left in [2, 1] {
        let right = -0.0;
        state.set("m", &Named { left, right })?;
    }
    for namespace in [MIX, OWNED] {
        ctx.namespace(namespace).set(FOLLOWED, &LAST)?;
    }
    Ok(())
}

/// Waits for what comes true late, or only at the end.
pub(super) fn purist(ctx: &Context, steps: u64) -> Result<u64> {
    let state = ctx.namespace(WAITS);
    for _ in 0..1 + steps % 3 {
        match choose(18) {
            16 => fed::key_reached(&state, "z", LAST)?,
            17 => fed::key_reached(&state, "f1", LAST)?,
            0..2 => state.wait_until(listed::<1>).map(drop)?,
            2..4 => state.wait_until(counted::<1>).map(drop)?,
            4..9 => state.wait_until(followed::<LAST>).map(drop)?,
            9..12 => state.wait_until(steered::<LAST>).map(drop)?,
            12 => state.wait_until(combed::<LAST>).map(drop)?,
            _ => {
                let turned = Turned {
                    right: 0.0,
                    left: 1,
                };
                state.wait_equal("m", &turned).map(drop)?;
            }
        }
    }
    Ok(steps)
}

/// Up to three watches of one process, each with a thread of its own.
pub(super) fn followers(ctx: &Context) -> Result<u64> {
    let threads: Vec<_> = (0..1 + choose(3))
        .map(|_| {
            let ctx = ctx.clone();
            thread::spawn(move || follow(&ctx))
        })
        .collect();
    let mut seen = 0;
    for thread in threads {
        if let Ok(result) = thread.join() {
            seen += result?;
        }
    }
    Ok(seen)
}

fn follow(ctx: &Context) -> Result<u64> {
    let state = ctx.namespace([MIX, OWNED][choose(2) as usize]);
    let filter = match choose(4) {
        0 => Filter::key(FOLLOWED),
        1 => Filter::prefix("x"),
        2 => Filter::prefix("p/"),
        _ => Filter::all(),
    };
    // Some leave while others that watch the same are still at it.
    let enough = [u64::MAX, u64::MAX, 1, 4][choose(4) as usize];
    let pace_ns = [0, 0, 200_000, 5_000_000][choose(4) as usize];
    // When it starts late, all may be over: so it begins at the start, as far as that is held.
    let mut from = Revision(1);
    let mut seen = 0;
    loop {
        match follow_from(&state, filter.clone(), from, (pace_ns, enough), &mut seen)? {
            None => return Ok(seen),
            Some(oldest) => from = oldest,
        }
    }
}

/// `Some`: the log no longer holds what comes next, but only what comes from there on.
fn follow_from(
    state: &State,
    filter: Filter,
    from: Revision,
    (pace_ns, enough): (u64, u64),
    seen: &mut u64,
) -> Result<Option<Revision>> {
    let mut watch = match state.watch(filter).since(from).start() {
        Ok(watch) => watch,
        Err(error) if error.is_compacted() => return over_or(state, error.oldest()),
        Err(error) => return Err(error),
    };
    loop {
        let update = match watch.next_update() {
            Ok(update) => update,
            Err(error) if error.is_compacted() => {
                let oldest = error.oldest();
                note(Note::Compacted {
                    oldest: oldest.unwrap_or_default(),
                });
                return over_or(state, oldest);
            }
            Err(error) => return Err(error),
        };
        *seen += 1;
        let ends = |change: &zproc::Change| {
            change.key().ends_with(DONE) || matches!(change.after::<i64>(), Ok(Some(LAST)))
        };
        if *seen >= enough || update.changes.iter().any(ends) {
            return Ok(None);
        }
        if pace_ns > 0 {
            sleep_ns(choose(pace_ns));
        }
    }
}

/// What ends a follower may be gone from the log already. If that can't be learned, the follower ends:
/// it could wait for ever (seed 684).
fn over_or(state: &State, oldest: Option<Revision>) -> Result<Option<Revision>> {
    let is_over = state.contains_key(DONE)?;
    Ok(oldest.filter(|_| !is_over))
}
