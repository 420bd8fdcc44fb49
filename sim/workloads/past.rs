//! A role that reads the state as it was.

use super::writers::{key, unique};
use super::{MIX, is_lost};
use crate::checkers::LINEARIZABLE;
use crate::history::Note;
use crate::thread::{choose, note};
use zproc::{Context, History, Past, Result, Revision, State};

/// A text of nearly the largest value.
const LARGE_BYTES: usize = 900_000;

pub(crate) fn historian(ctx: &Context, steps: u64) -> Result<u64> {
    let shared = ctx.namespace(MIX);
    let own = ctx.namespace(format!("past/{}", ctx.process_id().0));
    let mut newest = own.set("begun", &unique(steps))?;
    for step in 0..steps.min(40) {
        match choose(12) {
            0 => newest = shared.set(&key(), &unique(step))?,
            1 => {
                newest = shared
                    .batch()
                    .set(key(), &1_i64)
                    .remove(key())
                    .commit()?
                    .revision()
            }
            2 if choose(4) == 0 => replaced(&own)?,
            3 => remember(&shared)?,
            _ => look(&shared, newest)?,
        }
    }
    own.clear()?;
    Ok(steps)
}

/// What became of a key: in order, and only what is held.
fn remember(state: &State) -> Result<()> {
    let key = key();
    let history = state.history(&key)?;
    let mut next = History::oldest(&history);
    for update in history {
        let update = match update {
            Err(error) if error.is_compacted() => return Ok(()),
            update => update?,
        };
        let own = update.changes.iter().all(|change| change.key() == key);
        expect(own && update.revision >= next, "the next of this key");
        next = update.revision.next();
    }
    Ok(())
}

/// Reads at some revision; what must come of it, the checkers know.
fn look(state: &State, newest: Revision) -> Result<()> {
    let at = match choose(12) {
        0 => Revision(newest.0 + choose(40)),
        _ => Revision(newest.0.saturating_sub(choose(60))),
    };
    let past = state.at(at);
    expect(Past::revision(&past) == at, "the revision that was asked");
    expect(
        Past::namespace_name(&past) == MIX,
        "the namespace that was asked",
    );
    match all(&past) {
        Err(error) if error.is_future() => Ok(()),
        Err(error) if error.is_compacted() => {
            let oldest = error.oldest().unwrap_or_default();
            expect(oldest > at, "what is held is newer than what was asked");
            match all(&state.at(oldest)) {
                Err(error) if is_lost(&error) || !error.is_compacted() => Err(error),
                _ => Ok(()),
            }
        }
        result => result,
    }
}

fn all(past: &Past) -> Result<()> {
    match choose(6) {
        0 | 1 => drop(Past::get::<i64>(past, &key())?),
        2 => drop(Past::contains_key(past, &key())?),
        3 => {
            let keys = Past::keys(past, ..)?.len() as u64;
            expect(Past::len(past)? == keys, "as many keys as are listed");
            expect(Past::is_empty(past)? == (keys == 0), "empty or not");
        }
        4 => {
            let snapshot = Past::snapshot(past)?;
            expect(snapshot.revision() == past.revision(), "of that revision");
        }
        _ => {
            for entry in Past::iter::<i64>(past, ["", "p/", "x"][choose(3) as usize]) {
                entry?;
            }
        }
    }
    Ok(())
}

/// So much that a clear of it can't list what it removes: nothing before it can be read.
fn replaced(state: &State) -> Result<()> {
    let text = "x".repeat(LARGE_BYTES);
    let mut filled = Revision::ZERO;
    for number in 0..5 {
        filled = match state.set(&format!("large/{number}"), &text) {
            Err(error) if error.is_limit() => return Ok(()),
            filled => filled?,
        };
    }
    let mut lens = state.when(|view| view.len().map(Some));
    let before = lens.next().transpose();
    let cleared = state.clear()?;
    let after = lens.next().transpose();
    match before.and(after) {
        Err(error) if error.is_compacted() => {}
        after => expect(after? == Some((0, cleared)), "the clear itself"),
    }
    match state.at(filled).get::<String>("large/0") {
        Err(error) if error.is_compacted() => {}
        found => expect(found?.is_some_and(|found| found == text), "what was there"),
    }
    match state.at(cleared).is_empty() {
        Err(error) if error.is_compacted() => {}
        is_empty => expect(is_empty?, "nothing behind a clear"),
    }
    Ok(())
}

fn expect(holds: bool, what: &str) {
    if !holds {
        note(Note::Broken {
            guarantee: LINEARIZABLE,
            explanation: format!("a historian found otherwise: {what}"),
        });
    }
}
