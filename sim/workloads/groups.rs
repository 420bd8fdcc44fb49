//! Processes that are started, waited for and ended as a group.

use super::{is_death, is_lost};
use crate::checkers::ONCE;
use crate::history::Note;
use crate::limits;
use crate::thread::{choose, note};
use std::time::Duration;
use zproc::{Context, Group, Result};

fn sum(_: &Context, (index, value): (usize, u64)) -> u64 {
    index as u64 + value
}

/// Some at once, perhaps ended before their time; each that gives a value gives its own.
pub(super) fn crowd(ctx: &Context) -> Result<()> {
    let value = choose(1_000);
    let count = choose(3) as usize + 1;
    let group = match choose(2) {
        0 => ctx.spawn_many(count, sum, value),
        _ => ctx.spawn_map(sum, (0..count).map(|index| (index, value))),
    };
    let group = match group {
        // There are too many already.
        Err(error) if error.is_limit() => return Ok(()),
        group => group?,
    };
    let ends = match choose(4) {
        0 => Group::kill(&group),
        1 => Group::stop(&group, Duration::from_millis(choose(50))),
        2 => group.outcomes(),
        _ => Vec::new(),
    };
    for end in ends {
        judge(end.map(drop))?;
    }
    for process in &group {
        judge(process.try_join().map(drop))?;
    }
    let is_whole = Group::len(&group) == count && !Group::is_empty(&group);
    let results = match choose(2) {
        0 => group.join_all_timeout(Duration::from_millis(choose(20))),
        _ => group.join_all(),
    };
    for (index, result) in results.into_iter().enumerate() {
        match result {
            Ok(got) if got == sum(ctx, (index, value)) && is_whole => {}
            Ok(got) => broken(format!("number {index} of {count} gave {got} for {value}")),
            Err(error) => judge(Err(error))?,
        }
    }
    Ok(())
}

/// May it end so, in a world where processes die and limits are small?
fn judge(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if is_lost(&error) => Err(error),
        Err(error) => {
            let limited = (error.is_limit() || error.is_undecodable()) && !limits::are_usual();
            if !(is_death(&error) || error.is_timeout() || limited) {
                broken(format!("one of a group came back as {error:?}"));
            }
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

fn broken(explanation: String) {
    note(Note::Broken {
        guarantee: ONCE,
        explanation,
    });
}
