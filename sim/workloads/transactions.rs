//! A role of transactions that run in it.

use super::writers::unique;
use super::{ACCOUNTS, BANK, DEPOSIT, is_lost};
use crate::checkers::{ATOMIC, BOUND, LINEARIZABLE};
use crate::history::{Looked, Note};
use crate::thread::{self, choose, note, sleep_ns};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use zproc::{Context, Error, Result, State, Txn};

/// Its namespaces.
pub(crate) const TXN: &str = "txn";
const OTHER: &str = "txn/other";

pub(crate) fn transactor(ctx: &Context, steps: u64) -> Result<u64> {
    // In each other's way.
    let threads: Vec<_> = (0..[0, 0, 0, 1, 2][choose(5) as usize])
        .map(|_| {
            let ctx = ctx.clone();
            thread::spawn(move || work(&ctx, steps))
        })
        .collect();
    work(ctx, steps)?;
    for thread in threads {
        if let Ok(result) = thread.join() {
            result?;
        }
    }
    Ok(steps)
}

fn work(ctx: &Context, steps: u64) -> Result<()> {
    let (state, bank) = (ctx.namespace(TXN), ctx.namespace(BANK));
    for step in 0..steps.min(30) {
        match choose(18) {
            0..4 => increment(&state)?,
            4 | 5 => transfer(&bank)?,
            6 => sum(&bank)?,
            7 => insert(&state, unique(step))?,
            8 | 9 => number(&state)?,
            10 => across(&state)?,
            11 => fail(&state)?,
            12 => look(&state)?,
            13 => many(&state)?,
            14 => nest(&state)?,
            15 => stop(ctx)?,
            _ => disturb(&state, unique(step))?,
        }
    }
    Ok(())
}

/// A transaction, and what its run has seen.
struct Seeing<'a, 'b> {
    txn: &'a mut Txn<'b>,
    reads: &'a mut Vec<Looked>,
}

impl Seeing<'_, '_> {
    fn get(&mut self, key: &str) -> Result<Option<i64>> {
        let value = self.txn.get(key)?;
        let namespace = self.txn.namespace_name().to_owned();
        self.reads
            .push(Looked::Key(namespace, key.to_owned(), value));
        Ok(value)
    }

    fn entries(&mut self, prefix: &str) -> Result<Vec<(String, i64)>> {
        let entries: Vec<(String, i64)> = self.txn.iter(prefix).collect::<Result<_>>()?;
        let namespace = self.txn.namespace_name().to_owned();
        let prefix = prefix.to_owned();
        self.reads
            .push(Looked::Span(namespace, prefix, entries.clone()));
        Ok(entries)
    }
}

/// Runs it, and says what it has seen; `None`: others were in its way for too long.
fn transact<R>(
    state: &State,
    wrote: bool,
    mut f: impl FnMut(&mut Seeing<'_, '_>) -> Result<R>,
) -> Result<Option<R>> {
    let mut reads = Vec::new();
    let began = thread::elapsed_ns();
    let done = state.transaction(|txn| {
        reads.clear();
        let reads = &mut reads;
        f(&mut Seeing { txn, reads })
    });
    match done {
        Ok(value) => {
            note(Note::Transacted { reads, wrote });
            Ok(Some(value))
        }
        Err(error) if error.is_contended() => {
            // By its own clock, which may have jumped, or in truth.
            let waited = thread::elapsed_ns() - began;
            expect(
                BOUND,
                waited < LONG_NS,
                "a lease that nobody has was not given",
            );
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// So long nobody waits for leases of those who live.
const LONG_NS: u64 = 25_000_000_000;

fn increment(state: &State) -> Result<()> {
    let pause = choose(4) == 3;
    // Some take another key in another run.
    let wavers = choose(4) == 3;
    let (first, mut runs) = (choose(2), 0);
    transact(state, true, |seeing| {
        runs += 1;
        let key = match wavers {
            true => format!("k{}", (first + runs) % 3),
            false => format!("k{first}"),
        };
        let count = seeing.get(&key)?.unwrap_or(0);
        if pause {
            // Late runs may have a lease, and die with it.
            sleep_ns(choose(if runs > 2 { 20_000_000 } else { 400_000 }));
        }
        seeing.txn.set(&key, &(count + 1))
    })
    .map(drop)
}

fn transfer(bank: &State) -> Result<()> {
    let (from, to) = (choose(ACCOUNTS), choose(ACCOUNTS));
    let (from, to, amount) = (format!("a{from}"), format!("a{to}"), choose(60) as i64);
    transact(bank, true, |seeing| {
        let left = seeing.get(&from)?.unwrap_or(0);
        let right = seeing.get(&to)?.unwrap_or(0);
        let moved = if from == to { 0 } else { amount };
        seeing.txn.set(&from, &(left - moved))?;
        seeing.txn.set(&to, &(right + moved))
    })
    .map(drop)
}

fn sum(bank: &State) -> Result<()> {
    let sum = transact(bank, false, |seeing| {
        let accounts = seeing.entries("a")?;
        Ok(accounts.iter().map(|(_, value)| value).sum::<i64>())
    })?;
    let all = DEPOSIT * ACCOUNTS as i64;
    expect(
        ATOMIC,
        sum.is_none_or(|sum| sum == all),
        "a sum of half a transfer",
    );
    Ok(())
}

/// Writes a key if it is not there: of many who do so at once, one.
fn insert(state: &State, value: i64) -> Result<()> {
    let key = format!("once/{}", choose(3));
    let pause = choose(3) == 2;
    transact(state, true, |seeing| {
        let there = seeing.get(&key)?;
        if pause {
            sleep_ns(choose(400_000));
        }
        if there.is_none() {
            seeing.txn.set(&key, &value)?;
        } else {
            seeing.txn.remove(&key)?;
        }
        Ok(())
    })
    .map(drop)
}

/// Takes the next number of a range, by counting it.
fn number(state: &State) -> Result<()> {
    transact(state, true, |seeing| {
        let taken = seeing.entries("n/")?.len() as i64;
        if taken > 20 {
            let keys = seeing.txn.keys("n/")?;
            keys.iter()
                .try_for_each(|key| seeing.txn.remove(key).map(drop))?;
        }
        seeing.txn.set(&format!("n/{taken:03}"), &taken)
    })
    .map(drop)
}

/// Moves a number from one namespace to another.
fn across(state: &State) -> Result<()> {
    let key = format!("k{}", choose(2));
    transact(state, true, |seeing| {
        let count = seeing.get(&key)?.unwrap_or(0);
        seeing.txn.set(&key, &0)?;
        let mut other = seeing.txn.namespace(OTHER);
        other.add(&key, count)?;
        let taken: Option<(String, i64)> = other.pop_first("o/")?;
        other.set(&format!("o/{count}"), &taken.map_or(0, |(_, value)| value))
    })
    .map(drop)
}

/// Writes, and then fails or panics: nothing of it may stay.
fn fail(state: &State) -> Result<()> {
    let panics = choose(2) == 1;
    let mut overtakes = choose(2) == 1;
    let ended = catch_unwind(AssertUnwindSafe(|| {
        state.transaction(|txn| -> Result<()> {
            txn.set("failed", &1)?;
            let _count = txn.get::<i64>("k0")?;
            if std::mem::take(&mut overtakes) {
                overtake(state);
            }
            let _count = txn.len()?;
            if panics {
                std::panic::resume_unwind(Box::new("it had to be"));
            }
            Err(Error::msg("it had to be"))
        })
    }));
    match ended {
        Ok(Err(error)) if is_lost(&error) => Err(error),
        Ok(Err(error)) => {
            let own = error.to_string().contains("had to be") || error.is_contended();
            expect(LINEARIZABLE, own && !panics, "another error than its own");
            Ok(())
        }
        Ok(Ok(())) => {
            expect(
                ATOMIC,
                false,
                "a transaction that fails has come to its end",
            );
            Ok(())
        }
        Err(_) => {
            expect(LINEARIZABLE, panics, "another's panic");
            Ok(())
        }
    }
}

/// Writes as often as a short log holds, so that a run that has begun to read can't go on.
fn overtake(state: &State) {
    let state = state.clone();
    let other = thread::spawn(move || (0..6_i64).try_for_each(|n| state.set("k0", &n).map(drop)));
    // It may have lost its session, as the run will see.
    drop(other.join());
}

/// Reads for a while: the log may wrap meanwhile.
fn look(state: &State) -> Result<()> {
    let pauses = choose(4);
    let seen = transact(state, false, |seeing| {
        let first = seeing.get("k0")?;
        for _ in 0..pauses {
            sleep_ns(choose(600_000));
            seeing.get("k1")?;
        }
        let entries = seeing.entries("")?;
        let again = entries.iter().find(|(key, _)| key == "k0");
        Ok(again.map(|(_, value)| *value) == first)
    })?;
    expect(
        LINEARIZABLE,
        seen != Some(false),
        "two reads of a key differ",
    );
    Ok(())
}

/// More keys than a lease is on one by one.
fn many(state: &State) -> Result<()> {
    if choose(6) > 0 {
        return Ok(());
    }
    let done = transact(state, true, |seeing| {
        for number in 0..300 {
            seeing.txn.set(&format!("many/{number}"), &number)?;
        }
        seeing.get("k0").map(drop)?;
        Ok(())
    });
    match done {
        Err(error) if error.is_limit() => return Ok(()),
        done => done.map(drop)?,
    }
    transact(state, true, |seeing| {
        seeing.txn.clear()?;
        seeing.txn.set("k0", &0)
    })
    .map(drop)
}

/// Calls for itself where it has a transaction.
fn nest(state: &State) -> Result<()> {
    let mut refused = true;
    transact(state, true, |seeing| {
        let count = seeing.get("k1")?.unwrap_or(0);
        let nested = state.set("nested", &count);
        refused &= nested.is_err_and(|error| error.is_nested());
        seeing.txn.set("k1", &(count + 1))
    })?;
    expect(
        ATOMIC,
        refused,
        "a call within its transaction that was done",
    );
    Ok(())
}

/// Is in everybody's way, until it is asked to end.
fn stubborn(ctx: &Context, (): ()) -> Result<()> {
    let state = ctx.namespace(TXN);
    for _ in 0..30 {
        let done = transact(&state, true, |seeing| {
            let count = seeing.get("k0")?.unwrap_or(0);
            sleep_ns(choose(1_000_000));
            seeing.txn.set("k0", &(count + 1))
        });
        match done {
            Err(error) if error.is_stopped() => break,
            done => done.map(drop)?,
        }
    }
    // What it puts in order.
    state.set("stopped", &i64::from(ctx.stopping())).map(drop)
}

/// Has such a process for a while.
fn stop(ctx: &Context) -> Result<()> {
    if choose(4) > 0 {
        return Ok(());
    }
    let Some(process) = super::tolerate(ctx.spawn(stubborn, ()))? else {
        return Ok(());
    };
    for _ in 0..choose(6) {
        increment(&ctx.namespace(TXN))?;
    }
    super::tolerate(process.stop(Duration::from_secs(2))).map(drop)
}

/// What takes no notice of leases.
fn disturb(state: &State, value: i64) -> Result<()> {
    let key = format!("k{}", choose(2));
    match choose(4) {
        0 => state.set(&key, &value).map(drop),
        1 => state.remove(&key).map(drop),
        2 => state.add(&key, 1).map(drop),
        _ => state.set(&format!("n/{:03}", choose(20)), &value).map(drop),
    }
}

fn expect(guarantee: &'static str, holds: bool, what: &str) {
    if !holds {
        note(Note::Broken {
            guarantee,
            explanation: format!("a transactor found otherwise: {what}"),
        });
    }
}
