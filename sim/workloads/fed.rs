//! Conditions that capture something, and so run in their own process.

use super::functions::DONE;
use super::{MIX, OWNED};
use crate::checkers::{ATOMIC, EVERY_UPDATE};
use crate::history::Note;
use crate::thread::{choose, note};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use zproc::{Context, Filter, Result, Revision, State, View};

type Entries = Vec<(String, i64)>;

/// Where the namespace is cut: the reads of one run are of various revisions at first.
const CUTS: [&str; 3] = ["p", "q", "x1"];

/// All entries of a namespace, read in several spans.
fn pieces(view: &View<'_>, cuts: &[&str]) -> Result<Entries> {
    let mut entries = Entries::new();
    let mut from = "";
    for until in cuts {
        for entry in view.iter::<i64>(from..until) {
            entries.push(entry?);
        }
        from = until;
    }
    for entry in view.iter::<i64>(from..) {
        entries.push(entry?);
    }
    Ok(entries)
}

fn tell(namespace: &str, revision: Revision, entries: &Entries) {
    let encoded = |value: &i64| rmp_serde::to_vec_named(value).unwrap_or_default();
    let entries = entries.iter();
    note(Note::Snapshot {
        namespace: namespace.to_owned(),
        revision,
        entries: entries
            .map(|(key, value)| (key.clone(), encoded(value)))
            .collect(),
    });
}

/// Waits for some test of a condition, or until all is done, and tells what each test saw.
pub(super) fn gather(ctx: &Context, within: impl Fn(State) -> State) -> Result<()> {
    let wanted = choose(7);
    let cuts = &CUTS[..choose(4) as usize];
    let both = choose(2) == 1;
    // It reads little at first, and now and then.
    let sparing = choose(2) == 1;
    let tests = AtomicU64::new(0);
    let seen = Mutex::new(Vec::new());
    let state = within(ctx.namespace(MIX));
    let waited = state.wait_until(|view| {
        let test = tests.fetch_add(1, Ordering::Relaxed);
        let little = sparing && test.is_multiple_of(3) && !view.contains_key(DONE)?;
        let mine = match little {
            true => {
                view.contains_key("x1")?;
                Entries::new()
            }
            false => pieces(view, cuts)?,
        };
        let others = match both {
            true => Some(pieces(&view.namespace(OWNED), &[])?),
            false => None,
        };
        if little {
            return Ok(false);
        }
        let len = view.len()?;
        let enough = test >= wanted;
        let done = mine.iter().any(|(key, _)| key == DONE);
        let mut seen = seen.lock().expect("nobody panics with it");
        seen.push((view.revision(), mine, others, len));
        Ok(enough || done)
    });
    // What each of its tests has seen, not the last one's alone.
    for (revision, mine, others, len) in seen.into_inner().expect("nobody panics with it") {
        tell(MIX, revision, &mine);
        if let Some(others) = others {
            tell(OWNED, revision, &others);
        }
        count(&mine, len);
    }
    waited.map(drop)
}

fn count(mine: &Entries, len: u64) {
    if len != mine.len() as u64 {
        note(Note::Broken {
            guarantee: ATOMIC,
            explanation: format!("{len} keys were counted where {mine:?} were listed"),
        });
    }
}

/// All the times that a key is there, beside a watch of it: neither leaves one out.
pub(super) fn times(ctx: &Context, within: Duration) -> Result<()> {
    const KEY: &str = "x1";
    let state = ctx.namespace(MIX).within(within);
    let both = choose(2) == 1;
    let mut times = state.when(|view| {
        if both {
            view.namespace(OWNED).contains_key(KEY)?;
        }
        view.get::<i64>(KEY)
    });
    let Some(first) = times.next().transpose()? else {
        return Ok(());
    };
    let watch = state.watch(Filter::key(KEY)).since(first.1.next());
    let mut watch = watch.timeout(within).start()?;
    let mut last = first;
    for _ in 0..choose(8) {
        let wanted = loop {
            let update = watch.next_update()?;
            let change = update.changes.first();
            let after = change.map(|change| change.after::<i64>()).transpose()?;
            if let Some(Some(after)) = after {
                break (after, update.revision);
            }
        };
        // What it reads beside that key changes, too.
        let found = loop {
            match times.next().transpose()? {
                Some(found) if both && found.1 < wanted.1 && found.1 > last.1 => last = found,
                Some(found) => break found,
                None => return Ok(()),
            }
        };
        last = found;
        if found != wanted {
            note(Note::Broken {
                guarantee: EVERY_UPDATE,
                explanation: format!("a watch tells {wanted:?}, its like of a condition {found:?}"),
            });
        }
    }
    Ok(())
}

/// Waits until this key has come to a value.
pub(super) fn key_reached(state: &State, key: &str, least: i64) -> Result<()> {
    let condition = |view: &View<'_>| Ok(view.get::<i64>(key)?.is_some_and(|value| value >= least));
    state.wait_until(condition).map(drop)
}
