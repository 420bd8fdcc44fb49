//! Processes that start processes.

use super::{Role, groups, is_death, is_lost, member};
use crate::checkers::ONCE;
use crate::faults::Fault;
use crate::history::Note;
use crate::limits;
use crate::thread::{choose, note, strikes};
use std::time::Duration;
use zproc::seam::proto::marks::{self, Mark};
use zproc::{Context, Process, Result};

/// A text of so many bytes, each place with its own.
fn text(bytes: u64) -> String {
    (0..bytes)
        .map(|place| char::from(b'a' + ((place * 7 + bytes) % 26) as u8))
        .collect()
}

/// Gives back what it was given, twice as long.
fn double(_: &Context, text: String) -> String {
    text.repeat(2)
}

/// Sends and fetches what mostly does not fit one message, some at once, and judges what comes back.
fn exchange(ctx: &Context) -> Result<()> {
    let mut children = Vec::new();
    for _ in 0..1 + choose(3) {
        let text = text(choose(1_500));
        match ctx.spawn(double, text.clone()) {
            // There is no room for it now, or no process to be had.
            Err(error) if error.is_limit() => {}
            child => children.push((text, child?)),
        }
    }
    for (text, child) in children {
        judge(&text, child)?;
    }
    Ok(())
}

/// Joins one that was told to [`double`] this.
fn judge(text: &str, child: Process<String>) -> Result<()> {
    let id = child.id();
    // To ask twice is allowed.
    let got = match choose(4) {
        0 => child.join_timeout(Duration::from_millis(1 + choose(20))),
        1 => child.join_timeout(Duration::from_secs(100)),
        _ => child.join(),
    };
    match got {
        Ok(got) => {
            if got != text.repeat(2) {
                note(Note::Broken {
                    guarantee: ONCE,
                    explanation: format!("process {id} came back with {got:?} for {text:?}"),
                });
            }
            Ok(())
        }
        Err(error) if is_lost(&error) => Err(error),
        Err(error) => {
            // Of results, too, there is no room for more than so many.
            let limited = (error.is_limit() || error.is_undecodable()) && !limits::are_usual();
            let fits = is_death(&error) || error.is_timeout() || limited;
            if !fits {
                note(Note::Broken {
                    guarantee: ONCE,
                    explanation: format!("process {id} came back as {error:?}"),
                });
            }
            Ok(())
        }
    }
}

/// Gives a value, an `Err` or a panic, as it is told.
fn fate(ctx: &Context, (fate, value): (u64, u64)) -> std::result::Result<u64, String> {
    match fate {
        0 => Ok(value + 1),
        1 => Err(format!("no luck with {value}")),
        2 => panic!("process {} was told to panic", ctx.process_id()),
        _ => {
            let child = ctx
                .spawn(fate_below, value)
                .map_err(|error| error.to_string())?;
            child.join().map_err(|error| error.to_string())
        }
    }
}

fn fate_below(_: &Context, value: u64) -> u64 {
    value + 1
}

pub(crate) fn parent(ctx: &Context, steps: u64) -> Result<u64> {
    let mut children = Vec::new();
    for value in 0..1 + steps % 3 {
        let told = choose(4);
        children.push((told, value, ctx.spawn(fate, (told, value))?));
    }
    if choose(3) == 2 {
        // Nobody joins this one; it ends with its parent at the latest.
        drop(ctx.spawn(member, (Role::Stray, steps / 2))?);
    }
    if choose(2) == 1 {
        match choose(3) {
            0 => groups::crowd(ctx)?,
            _ => exchange(ctx)?,
        }
    }
    let mut sum = 0;
    for (told, value, child) in children {
        let mut id = child.id();
        let mut got = child.join();
        while got.as_ref().is_err_and(is_death) && strikes(Fault::Restart) {
            let child = ctx.spawn(fate, (told, value))?;
            id = child.id();
            got = child.join();
        }
        if let Err(error) = &got {
            marks::reached_if(error.is_killed(), Mark::ParentSawDeath);
            marks::reached_if(error.is_panic(), Mark::ParentSawPanic);
            marks::reached_if(error.is_not_started(), Mark::ParentSawNoStart);
        }
        let fits = match (told, &got) {
            (0, Ok(Ok(got))) => *got == value + 1,
            (1, Ok(Err(text))) => *text == format!("no luck with {value}"),
            // Its own child may have died, or it itself: any error will do.
            (3, Ok(Ok(got))) => *got == value + 1,
            (3, Ok(Err(_))) => true,
            (2, Err(error)) => error.is_panic() || is_death(error) || is_lost(error),
            (_, Err(error)) => is_death(error) || is_lost(error),
            _ => false,
        };
        if !fits {
            note(Note::Broken {
                guarantee: ONCE,
                explanation: format!("process {id}, told {told}, came back as {got:?}"),
            });
        }
        match got {
            Err(error) if is_lost(&error) => return Err(error),
            _ => sum += 1,
        }
    }
    Ok(sum)
}
