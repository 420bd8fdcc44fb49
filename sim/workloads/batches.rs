//! A role of the dict's operations that are more than a read or a write of one key.

use super::writers::{key, unique};
use super::{MIX, OWNED, is_lost};
use crate::checkers::NO_SURPRISE;
use crate::history::Note;
use crate::limits;
use crate::thread::{choose, note};
use zproc::{
    Batch, Batched, Context, Entries, Error, Expected, Result, Revision, Span, State, Txn,
};

pub(crate) fn batcher(ctx: &Context, steps: u64) -> Result<u64> {
    let shared = ctx.namespace(MIX);
    let own = ctx.namespace(format!("batch/{}", ctx.process_id().0));
    for step in 0..steps.min(40) {
        match choose(24) {
            0..18 => share(&shared, unique(step))?,
            18 | 19 => owned(ctx, unique(step))?,
            20 | 21 => alone(&own)?,
            22 => inside(&own)?,
            _ => refused(&own)?,
        }
        if choose(24) == 23 {
            large(&own)?;
        }
    }
    own.clear()?;
    Ok(steps)
}

/// On keys that others use too: what must come of it, the checkers know.
fn share(state: &State, value: i64) -> Result<()> {
    match choose(15) {
        13 | 14 => scan(state)?,
        0 => {
            State::extend(state, [(key(), value), (key(), value)])?;
        }
        1 if choose(6) == 5 => {
            State::replace_all(state, [(key(), value), (key(), value)])?;
        }
        2 => {
            State::take::<i64>(state, &key())?;
        }
        3 => {
            State::pop_first::<i64>(state, ["p/", "q/", ""][choose(3) as usize])?;
        }
        4 => {
            State::pop_last::<i64>(state, ["p/", "q/", ""][choose(3) as usize])?;
        }
        5 | 6 => {
            state.add(&format!("n{}", choose(2)), value)?;
        }
        7 => {
            let key = key();
            let expected = match state.get_versioned::<i64>(&key)? {
                Some((_, revision)) if choose(2) == 0 => Expected::revision(revision),
                Some((there, _)) => Expected::value(&there),
                None => Expected::absent(),
            };
            state.compare_and_set(&key, expected, &value)?;
        }
        8 => {
            state.compare_and_set(&key(), Expected::present(), &value)?;
        }
        _ => mixed(state, value)?,
    }
    Ok(())
}

/// Entries page by page, and keys of one revision.
fn scan(state: &State) -> Result<()> {
    let (from, until) = (key(), key());
    let span = match choose(5) {
        0 => Span::all(),
        1 => Span::prefix("p/"),
        2 => Span::prefix("p/").and_from(from),
        3 => Span::range(from.as_str()..),
        _ => Span::range(from.as_str()..until.as_str()),
    };
    let mut last = None;
    let mut entries = State::iter::<i64>(state, span.clone());
    for entry in entries.by_ref() {
        let (key, _) = entry?;
        expect(last < Some(key.clone()), "keys in order");
        last = Some(key);
    }
    expect(
        Entries::revision(&entries) > Revision::ZERO,
        "a page of some revision",
    );
    match state.keys(span) {
        Err(error) if error.is_compacted() => Ok(()),
        keys => keys.map(drop),
    }
}

/// Some operations of any kind.
fn mixed(state: &State, value: i64) -> Result<()> {
    let mut batch = state.batch();
    for number in 0..1 + choose(4) as i64 {
        match choose(9) {
            0 => Batch::require(&mut batch, key(), Expected::absent()),
            1 => Batch::get(&mut batch, key()),
            2..4 => Batch::set(&mut batch, key(), &(value + 1000 * number)),
            4 => Batch::remove(&mut batch, key()),
            5 => Batch::take(&mut batch, key()),
            6 => Batch::pop_first(&mut batch, "p/"),
            7 => Batch::pop_last(&mut batch, "q/"),
            _ => Batch::add(&mut batch, "n2", number),
        };
    }
    match batch.commit() {
        Err(error) if error.is_unmet() => Ok(()),
        done => done.map(drop),
    }
}

/// Keys that go with this process, in a batch, and one of them counted.
fn owned(ctx: &Context, value: i64) -> Result<()> {
    let key = format!("o/{}", choose(6));
    let mut batch = ctx.namespace(OWNED).batch();
    Batch::set_owned(&mut batch, &*key, &value);
    if choose(2) == 0 {
        batch.add(key, 1);
    }
    batch.commit().map(drop)
}

/// What must hold whatever happens, since nobody else writes here.
fn expect(holds: bool, what: &str) {
    if !holds {
        note(Note::Broken {
            guarantee: NO_SURPRISE,
            explanation: format!("a batcher found otherwise: {what}"),
        });
    }
}

fn alone(state: &State) -> Result<()> {
    state.replace_all([("a", 1), ("b", 2)])?;
    let mut batch = state.batch();
    expect(Batch::is_empty(&batch), "nothing to be done");
    Batch::clear(&mut batch);
    Batch::extend(&mut batch, [("c", 3), ("d", 4)]);
    batch.take("d").get("c").get("d").pop_first("");
    expect(Batch::len(&batch) == 7, "seven operations");
    let done: Batched = batch.commit()?;
    expect(
        Batched::value::<i64>(&done, 3)? == Some(4),
        "what was taken",
    );
    expect(done.value::<i64>(4)? == Some(3), "what was read");
    expect(
        done.version(4) == Some(Batched::revision(&done)),
        "a key of the same revision",
    );
    expect(!done.is_found(5), "what is not there any more");
    expect(Batched::key(&done, 6) == Some("c"), "the first key");
    expect(state.is_empty()?, "nothing is left");
    Ok(())
}

/// The same operations in a function. What it gives is what it found wrong.
fn all_in_txn(txn: &mut Txn<'_>, (): ()) -> Result<Option<String>> {
    let wrong = |what: &str| Ok(Some(what.to_owned()));
    Txn::replace_all(txn, [("a", 1), ("b", 2), ("z", 9)])?;
    Txn::extend(txn, [("c", 3)])?;
    if Txn::take::<i64>(txn, "b")? != Some(2) || Txn::take::<i64>(txn, "b")?.is_some() {
        return wrong("take");
    }
    if Txn::add(txn, "a", 4)? != 5 || !Txn::add(txn, "a", i64::MAX).is_err_and(overflows) {
        return wrong("add");
    }
    let first = Txn::pop_first::<i64>(txn, "")?;
    let last = Txn::pop_last::<i64>(txn, "")?;
    if first != Some(("a".to_owned(), 5)) || last != Some(("z".to_owned(), 9)) {
        return wrong("pop");
    }
    Ok(None)
}

fn overflows(error: Error) -> bool {
    error.is_overflow()
}

fn inside(state: &State) -> Result<()> {
    let found = state.atomic(all_in_txn, ())?;
    expect(found.is_none(), "what a transaction does");
    expect(state.keys(..)? == ["c"], "one key is left");
    Ok(())
}

/// Additions that can't be.
fn refused(state: &State) -> Result<()> {
    state.set("text", "5")?;
    state.set("most", &i64::MAX)?;
    let wrong = State::add(state, "text", 1);
    expect(
        wrong.is_err_and(|error| error.is_wrong_type() || is_lost(&error)),
        "a text is no integer",
    );
    let over = State::add(state, "most", 1);
    expect(
        over.is_err_and(|error| overflows(error.clone()) || is_lost(&error)),
        "more than the most",
    );
    let mut batch = state.batch();
    batch.set("text", &5).require("most", Expected::absent());
    let unmet = batch.commit();
    expect(
        unmet.is_err_and(|error| error.is_unmet() || is_lost(&error)),
        "a key that is there",
    );
    expect(
        state.get::<String>("text")?.as_deref() == Some("5"),
        "nothing was done",
    );
    Ok(())
}

/// So much that what goes and what comes can't be listed together.
fn large(state: &State) -> Result<()> {
    if !limits::are_usual() {
        return Ok(());
    }
    let text = "x".repeat(900_000);
    state.clear()?;
    state.extend([("1", &text), ("2", &text), ("3", &text)])?;
    state.replace_all([("3", &*text), ("4", &text), ("5", "short")])?;
    expect(state.keys(..)? == ["3", "4", "5"], "what has come");
    state.clear()?;
    Ok(())
}
