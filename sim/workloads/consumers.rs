//! Roles that wait and watch, until all is done.

use super::functions::{DONE, crowded, reached, sized};
use super::writers::{self, unless_compacted};
use super::{BANK, MIX, OWNED, SCRATCH, WAITS, fed, is_lost};
use crate::history::Note;
use crate::thread::{self, choose, note, sleep_ns};
use std::time::Duration;
use zproc::seam::proto::marks::{self, Mark};
use zproc::{Context, Error, Filter, Result, Revision, State, Watch};

/// Prefixes that are watched; the program writes the done key under each.
pub(crate) const PREFIXES: [&str; 4] = ["w/", "p/", "o/", "c"];

/// A call that was given up is as good as one that returned.
fn unless_timeout<T>(result: Result<T>) -> Result<()> {
    match result {
        Err(error) if error.is_timeout() => {
            marks::reached(Mark::HastyWaitMissed);
            Ok(())
        }
        result => result.map(drop),
    }
}

pub(crate) fn waiter(ctx: &Context, steps: u64) -> Result<u64> {
    let patient = ctx.namespace(WAITS);
    for step in 0..steps.min(12) {
        let limit = (choose(4) == 3).then(|| Duration::from_micros(50 + choose(20_000)));
        let within = |state: State| match limit {
            Some(limit) => state.within(limit),
            None => state,
        };
        unless_timeout(match choose(9) {
            7 => unless_compacted(fed::gather(ctx, within)),
            8 => {
                let limit = limit.unwrap_or(Duration::from_millis(10));
                unless_compacted(fed::times(ctx, limit))
            }
            _ => wait(&within(patient.clone()), step),
        })?;
    }
    // `e` is set to 7 by nobody, but `wait_equal` on the done key holds in the end.
    patient.wait_equal(DONE, &1_i64)?;
    Ok(steps)
}

fn wait(state: &State, step: u64) -> Result<()> {
    match (choose(6), step) {
        (0, 0..2) => state.wait_until(reached::<3>).map(drop),
        (0, 2..6) => state.wait_until(reached::<12>).map(drop),
        (0, _) => state.wait_until(reached::<40>).map(drop),
        (1, 0..4) => state.wait_until(crowded::<2>).map(drop),
        (1, _) => state.wait_until(crowded::<4>).map(drop),
        (2, _) => state.wait_until(sized::<5>).map(drop),
        (3, _) => {
            let hasty = state.within(Duration::from_millis(1 + choose(50)));
            wait_on_key(&hasty)?;
            marks::reached(Mark::HastyWaitMet);
            Ok(())
        }
        (4, _) => state.get::<i64>("k0").map(drop),
        _ => {
            sleep_ns(choose(500_000));
            Ok(())
        }
    }
}

/// One of the ready-made waits. Whether it comes true is not sure.
fn wait_on_key(state: &State) -> Result<()> {
    let key = format!("w/{}", choose(8));
    match choose(11) {
        0 => state.wait_not_equal("e", &(choose(4) as i64)).map(drop),
        1 => state.wait_truthy::<i64>("e").map(drop),
        2 => state.wait_falsy("e").map(drop),
        3 => state.wait_none(&key).map(drop),
        4 => state.wait_not_none::<i64>(&key).map(drop),
        5 => state.wait_available::<i64>(&key).map(drop),
        6 => state.wait_absent(&key).map(drop),
        7 => match state.wait_change(["e", &*key]) {
            Err(error) if error.is_compacted() => Ok(()),
            change => change.map(drop),
        },
        _ => state.wait_equal("e", &(choose(4) as i64)).map(drop),
    }
}

pub(crate) fn watcher(ctx: &Context, steps: u64) -> Result<u64> {
    let namespace = [WAITS, MIX, OWNED, BANK][choose(4) as usize];
    let state = ctx.namespace(namespace);
    let prefix = PREFIXES[choose(PREFIXES.len() as u64) as usize];
    let pace_ns = [0, 0, 100_000, 2_000_000][choose(4) as usize];
    let mut from = match choose(4) {
        0 => Some(Revision(1)),
        1 => Some(Revision(1 + choose(60))),
        _ => None,
    };
    let mut seen = 0;
    loop {
        let (filter, done_key) = match choose(4) {
            0 => (Filter::all(), DONE.to_owned()),
            1 => (Filter::prefix(prefix), format!("{prefix}{DONE}")),
            2 => (Filter::key(DONE), DONE.to_owned()),
            _ => {
                let filter = match choose(4) {
                    0 => Filter::prefix(""),
                    1 | 2 => Filter::all_but(["x0", "e", "a0"]),
                    _ => Filter::keys([DONE, "x1", "p/4", "e", "a1", "o/1"]),
                };
                (filter, DONE.to_owned())
            }
        };
        let builder = state.watch(filter);
        let builder = match from {
            Some(from) => builder.since(from),
            None => builder,
        };
        let builder = match choose(4) {
            3 => builder.latest(),
            _ => builder,
        };
        let watch = match builder.start() {
            Ok(watch) => watch,
            Err(error) if error.is_compacted() => {
                // The checker has the reply itself; go on with what there is.
                from = error.oldest();
                continue;
            }
            Err(error) => return Err(error),
        };
        // What is done by now may lie before the watch, and then will not come; and what is done
        // later may lie before a start that is still to come.
        let mut reader = Reader {
            watch,
            impatient: from.is_some() || state.contains_key(&done_key)?,
            state: state.clone(),
            done_key,
            pace_ns,
        };
        match reader.consume(steps, &mut seen)? {
            Consumed::Done => return Ok(seen),
            Consumed::Compacted(oldest) => {
                marks::reached(Mark::WatcherStartedOver);
                from = Some(oldest);
            }
            Consumed::Enough => from = None,
        }
    }
}

enum Consumed {
    Done,
    Compacted(Revision),
    Enough,
}

/// One watch and its user.
struct Reader {
    watch: Watch,
    state: State,
    /// The key that the watch sees when all is done.
    done_key: String,
    /// That key may never come: look for it now and then.
    impatient: bool,
    pace_ns: u64,
}

impl Reader {
    /// Takes updates until one says that all is done.
    fn consume(&mut self, steps: u64, seen: &mut u64) -> Result<Consumed> {
        for count in 0.. {
            let hasty = self.impatient || choose(8) == 7;
            let next = if hasty {
                let limit = Duration::from_micros(200 + choose(5_000));
                self.watch.next_within(limit)
            } else {
                self.watch.next_update()
            };
            let update = match next {
                Ok(update) => update,
                Err(error) if error.is_timeout() => {
                    if self.impatient && self.is_over()? {
                        marks::reached(Mark::WatcherImpatient);
                        return Ok(Consumed::Done);
                    }
                    continue;
                }
                Err(error) if error.is_compacted() => {
                    let oldest = error.oldest().unwrap_or_default();
                    note(Note::Compacted { oldest });
                    // It stays at its end.
                    if self.watch.next().is_some() {
                        return Err(Error::msg("a watch went on behind its end"));
                    }
                    return Ok(Consumed::Compacted(oldest));
                }
                Err(error) => return Err(error),
            };
            *seen += 1;
            marks::reached_if(update.origin.released.is_some(), Mark::UpdateReleased);
            let mut keys = update.changes.iter().map(|change| change.key());
            // A reset names no keys.
            if keys.any(|key| key.ends_with(DONE)) || update.reset && self.is_over()? {
                return Ok(Consumed::Done);
            }
            if self.pace_ns > 0 {
                sleep_ns(choose(self.pace_ns));
            }
            if count > steps && choose(16) == 15 {
                return Ok(Consumed::Enough);
            }
        }
        Ok(Consumed::Enough)
    }

    /// All is done, and what was still to come has had its time.
    fn is_over(&mut self) -> Result<bool> {
        if !self.state.contains_key(&self.done_key)? {
            return Ok(false);
        }
        sleep_ns(10_000_000);
        Ok(true)
    }
}

/// Writes more than a watch has credit for, and takes it only then.
pub(crate) fn heavy(ctx: &Context) -> Result<u64> {
    const WRITES: u64 = 7;
    let state = ctx.namespace("heavy");
    let key = format!("{}", ctx.process_id());
    let mut watch = state.watch(Filter::key(&*key)).start()?;
    let text = "x".repeat(900_000);
    for _ in 0..WRITES {
        state.set(&key, &text)?;
    }
    let mut seen = 0;
    while seen < WRITES {
        match watch.next_update() {
            Ok(_) => seen += 1,
            Err(error) if error.is_compacted() => {
                let oldest = error.oldest().unwrap_or_default();
                note(Note::Compacted { oldest });
                return Ok(seen);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(seen)
}

/// One thread waits to the end; the other waits too, for short times, and then leaves the connection
/// to it: whoever read for both has to hand that on.
pub(crate) fn fickle(ctx: &Context, steps: u64) -> Result<u64> {
    let patient = {
        let state = ctx.namespace(WAITS);
        thread::spawn(move || state.wait_equal(DONE, &1_i64).map(drop))
    };
    let state = ctx.namespace(WAITS);
    for _ in 0..1 + steps % 4 {
        let hasty = state.within(Duration::from_micros(50 + choose(20_000)));
        unless_timeout(hasty.wait_equal("e", &7_i64))?;
    }
    match patient.join() {
        Ok(Err(error)) if is_lost(&error) => Err(error),
        _ => Ok(steps),
    }
}

/// Up to three threads on one connection: the reader's role is handed about among them.
pub(crate) fn threads(ctx: &Context, steps: u64) -> Result<u64> {
    let waiting = {
        let ctx = ctx.clone();
        thread::spawn(move || waiter(&ctx, steps))
    };
    let other = {
        let ctx = ctx.clone();
        let watches = choose(2) == 0;
        thread::spawn(move || {
            if watches {
                watcher(&ctx, steps)
            } else {
                writers::mixer(&ctx, SCRATCH, steps)
            }
        })
    };
    let mut result = match choose(3) {
        0 => writers::banker(ctx, steps),
        1 => writers::mixer(ctx, SCRATCH, steps),
        _ => writers::owner(ctx, steps),
    };
    for thread in [waiting, other] {
        match thread.join() {
            Ok(Ok(done)) => result = result.map(|sum| sum + done),
            Ok(Err(error)) if is_lost(&error) => result = Err(error),
            _ => {}
        }
    }
    result
}
