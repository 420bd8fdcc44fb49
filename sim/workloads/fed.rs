//! Conditions that capture something, and so run in their own process.

use super::functions::DONE;
use super::{MIX, OWNED};
use crate::checkers::ATOMIC;
use crate::history::Note;
use crate::thread::{choose, note};
use std::sync::atomic::{AtomicU64, Ordering};
use zproc::{Context, Result, Revision, State, View};

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

/// Waits for some test of a condition, or until all is done, and tells what that test saw.
pub(super) fn gather(ctx: &Context, within: impl Fn(State) -> State) -> Result<()> {
    let wanted = choose(7);
    let cuts = &CUTS[..choose(4) as usize];
    let both = choose(4) == 3;
    let tests = AtomicU64::new(0);
    let state = within(ctx.namespace(MIX));
    let ((mine, others, len), revision) = state.wait_until(|view| {
        let mine = pieces(view, cuts)?;
        let others = match both {
            true => Some(pieces(&view.namespace(OWNED), &[])?),
            false => None,
        };
        let len = view.len()?;
        let enough = tests.fetch_add(1, Ordering::Relaxed) >= wanted;
        let done = mine.iter().any(|(key, _)| key == DONE);
        Ok((enough || done).then_some((mine, others, len)))
    })?;
    tell(MIX, revision, &mine);
    if let Some(others) = others {
        tell(OWNED, revision, &others);
    }
    if len != mine.len() as u64 {
        note(Note::Broken {
            guarantee: ATOMIC,
            explanation: format!("{len} keys were counted where {mine:?} were listed"),
        });
    }
    Ok(())
}

/// Waits until this key has come to a value.
pub(super) fn key_reached(state: &State, key: &str, least: i64) -> Result<()> {
    let condition = |view: &View<'_>| Ok(view.get::<i64>(key)?.is_some_and(|value| value >= least));
    state.wait_until(condition).map(drop)
}
