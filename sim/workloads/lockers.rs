//! Locks that several processes want, and several threads of one.

use super::is_lost;
use crate::checkers::LOCKS;
use crate::history::Note;
use crate::limits;
use crate::thread::{self, choose, note, sleep_ns};
use std::time::Duration;
use zproc::{Awaited, Context, LockGuard, Result};

/// Where the holders leave the revisions of their grants.
const TOKENS: &str = "tokens";
/// Locks that all lockers want. Who wants both takes the first one first.
const DOORS: [&str; 2] = ["door", "gate"];
/// More threads than this are too many to simulate.
const SIEGE_MAX: usize = 16;
/// One that is not given back: whoever takes it ends.
const LEGACY: &str = "legacy";

pub(super) fn locker(ctx: &Context, steps: u64) -> Result<u64> {
    for step in 0..1 + steps % 6 {
        let door = DOORS[choose(2) as usize];
        match choose(11) {
            0 => queue(ctx, step)?,
            1 | 2 => enter(ctx, &ctx.lock(door)?)?,
            3 => hurry(ctx, door)?,
            4 => {
                if let Some(guard) = ctx.try_lock(door)? {
                    enter(ctx, &guard)?;
                }
            }
            5 => {
                let first = ctx.lock(DOORS[0])?;
                let second = ctx.lock(DOORS[1])?;
                enter(ctx, &second)?;
                enter(ctx, &first)?;
            }
            6 => look(ctx, door)?,
            7 => inherit(ctx, step)?,
            8 => besiege(ctx, step)?,
            9 => outlast(ctx, step)?,
            _ => {
                // It goes with this process.
                std::mem::forget(ctx.lock(LEGACY)?);
                return Ok(step);
            }
        }
    }
    Ok(steps)
}

/// What only the holder does: no other has left a greater revision, and none comes in between.
fn enter(ctx: &Context, guard: &LockGuard) -> Result<()> {
    let state = ctx.namespace(TOKENS);
    let (door, token) = (LockGuard::name(guard), LockGuard::revision(guard).0);
    let before: Option<u64> = state.get(door)?;
    expect(before.is_none_or(|before| before < token), || {
        format!("{door} was held at {before:?} before, and now at {token}")
    });
    state.set(door, &token)?;
    sleep_ns(choose(200_000));
    let now = state.get(door)?;
    expect(now == Some(token), || {
        format!("{door}, held at {token}, was entered by {now:?}")
    });
    Ok(())
}

/// Asks for a short time only.
fn hurry(ctx: &Context, door: &str) -> Result<()> {
    match ctx.lock_timeout(door, Duration::from_micros(choose(3_000))) {
        Err(error) if error.is_timeout() => Ok(()),
        guard => enter(ctx, &guard?),
    }
}

/// Who holds a lock is in the list, and knows it.
fn look(ctx: &Context, door: &str) -> Result<()> {
    let guard = ctx.lock(door)?;
    let locks = ctx.locks()?;
    let held = locks.iter().find(|lock| lock.name == door);
    expect(
        held.is_some_and(|lock| lock.holder == ctx.process_id()),
        || format!("{door} is held, and the list says {held:?}"),
    );
    expect(guard.is_held()?, || format!("{door} is held"));
    expect(ctx.try_lock(door)?.is_none(), || {
        format!("{door} is held, and was had")
    });
    Ok(())
}

/// Two threads that ask one after the other, as a picture shows; the first may lose patience.
fn queue(ctx: &Context, step: u64) -> Result<()> {
    let name = format!("queue/{}/{step}", ctx.process_id());
    let Some(guard) = ctx.try_lock(&name)? else {
        expect(false, || format!("{name} is nobody else's"));
        return Ok(());
    };
    let hasty = choose(3) == 2;
    let threads: Vec<_> = (1..3)
        .map(|place| {
            let limit = (hasty && place == 1).then(|| Duration::from_micros(choose(5_000)));
            let thread = {
                let (ctx, name) = (ctx.clone(), name.clone());
                thread::spawn(move || match limit {
                    Some(limit) => ctx.lock_timeout(&name, limit).map(drop),
                    None => ctx.lock(&name).map(drop),
                })
            };
            wait_for(ctx, &name, place).map(|()| thread)
        })
        .collect();
    drop(guard);
    for thread in threads {
        match thread?.join() {
            Ok(Err(error)) if !error.is_timeout() => return Err(error),
            _ => {}
        }
    }
    // Whoever has given up by now: the lock is free, or will be.
    ctx.lock(&name).map(drop)
}

/// As many threads as there may be requests wait for what this one holds: to give it back, or to
/// say anything else, finds room all the same.
fn besiege(ctx: &Context, step: u64) -> Result<()> {
    let threads = limits::in_flight_max();
    if threads > SIEGE_MAX {
        return queue(ctx, step);
    }
    let name = format!("siege/{}/{step}", ctx.process_id());
    let guard = ctx.lock(&name)?;
    let threads: Vec<_> = (0..threads)
        .map(|_| {
            let (ctx, name) = (ctx.clone(), name.clone());
            thread::spawn(move || ctx.lock(&name).map(drop))
        })
        .collect();
    sleep_ns(choose(1_000_000));
    let entered = enter(ctx, &guard);
    drop(guard);
    for thread in threads {
        if let Ok(Err(error)) = thread.join() {
            return Err(error);
        }
    }
    entered
}

/// Threads that ask for a short time take all the places for waits: who has patience gets one when they
/// have given up, though nobody else says anything then.
fn outlast(ctx: &Context, step: u64) -> Result<()> {
    let threads = limits::in_flight_max();
    if threads > SIEGE_MAX {
        return queue(ctx, step);
    }
    let name = format!("outlast/{}/{step}", ctx.process_id());
    let guard = ctx.lock(&name)?;
    let hasty: Vec<_> = (0..threads)
        .map(|_| {
            let (ctx, name) = (ctx.clone(), name.clone());
            let limit = Duration::from_micros(1 + choose(3_000));
            thread::spawn(move || ctx.lock_timeout(&name, limit).map(drop))
        })
        .collect();
    let patient = {
        let (ctx, name) = (ctx.clone(), format!("{name}/free"));
        thread::spawn(move || ctx.lock(&name).map(drop))
    };
    let had = patient.join();
    for thread in hasty {
        match thread.join() {
            Ok(Err(error)) if !error.is_timeout() => return Err(error),
            _ => {}
        }
    }
    drop(guard);
    had.unwrap_or(Ok(()))
}

/// Takes the lock, and ends without giving it back.
fn keep(ctx: &Context, (name, length_ns): (String, u64)) -> Result<()> {
    std::mem::forget(ctx.lock(&name)?);
    sleep_ns(length_ns);
    Ok(())
}

/// What a child has not given back is had after its end.
fn inherit(ctx: &Context, step: u64) -> Result<()> {
    let name = format!("estate/{}/{step}", ctx.process_id());
    let child = match ctx.spawn(keep, (name.clone(), choose(3_000_000))) {
        // There are too many already.
        Err(error) if error.is_limit() => return Ok(()),
        child => child?,
    };
    sleep_ns(choose(1_500_000));
    drop(ctx.lock(&name)?);
    match child.outcome() {
        Err(error) if is_lost(&error) => Err(error),
        _ => ctx.lock(&name).map(drop),
    }
}

/// Looks a few times whether so many of this process wait for the lock.
fn wait_for(ctx: &Context, name: &str, count: usize) -> Result<()> {
    for _ in 0..10 {
        let dump = ctx.dump()?;
        let awaited = dump.waits().filter(|(process, wait)| {
            process.id == ctx.process_id()
                && matches!(&wait.awaited, Awaited::Lock { name: of, .. } if of == name)
        });
        if awaited.count() >= count {
            break;
        }
        sleep_ns(100_000);
    }
    Ok(())
}

fn expect(holds: bool, explain: impl FnOnce() -> String) {
    if !holds {
        note(Note::Broken {
            guarantee: LOCKS,
            explanation: explain(),
        });
    }
}
