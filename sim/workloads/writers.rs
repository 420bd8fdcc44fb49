//! Roles that write, each for a number of steps.

use super::{ACCOUNTS, BANK, MIX, OWNED, WAITS, functions, tolerate};
use crate::history::Note;
use crate::thread::{self, choose, note, sleep_ns};
use std::time::Duration;
use zproc::seam::proto::marks::{self, Mark};
use zproc::{Context, Result, State};

/// A value that no other write of the run has.
pub(super) fn unique(step: u64) -> i64 {
    (thread::number() * 1_000_000 + step) as i64
}

pub(crate) fn banker(ctx: &Context, steps: u64) -> Result<u64> {
    let bank = ctx.namespace(BANK);
    let account = || format!("a{}", choose(ACCOUNTS));
    for _ in 0..steps {
        let amount = choose(60) as i64;
        match choose(6) {
            0 => {
                let key = format!("c{}", choose(3));
                bank.atomic(functions::add, (key, amount))?;
            }
            1 => {
                bank.atomic(functions::transfer, (account(), account(), amount))?;
            }
            2 => {
                let (from, to) = two_accounts();
                tolerate(bank.atomic(functions::spend, (from, to, amount)))?;
            }
            3 => {
                let (from, to) = two_accounts();
                tolerate(bank.atomic(functions::spend_or_panic, (from, to, amount)))?;
            }
            4 => {
                bank.atomic(functions::total, ())?;
            }
            _ => {
                bank.get::<i64>(&account())?;
            }
        }
    }
    Ok(steps)
}

/// Two accounts that are not the same.
fn two_accounts() -> (String, String) {
    let from = choose(ACCOUNTS);
    let to = (from + 1 + choose(ACCOUNTS - 1)) % ACCOUNTS;
    (format!("a{from}"), format!("a{to}"))
}

/// A key of a few, with and without a prefix.
pub(super) fn key() -> String {
    match choose(12) {
        key @ 0..3 => format!("x{key}"),
        key @ 3..6 => format!("p/{key}"),
        // One that begins with another's name, one that is a prefix, one behind all ASCII.
        8 => "x10".to_owned(),
        9 => "p/".to_owned(),
        10 => "p/ŝ".to_owned(),
        11 => "up/1".to_owned(),
        key => format!("q/{key}"),
    }
}

pub(crate) fn mixer(ctx: &Context, namespace: &str, steps: u64) -> Result<u64> {
    let state = ctx.namespace(namespace);
    for step in 0..steps {
        mix(ctx, &state, step)?;
    }
    Ok(steps)
}

/// One plain operation.
fn mix(ctx: &Context, state: &State, step: u64) -> Result<()> {
    let value = unique(step);
    match choose(28) {
        0..6 => {
            state.set(&key(), &value)?;
        }
        6..11 => {
            state.get::<i64>(&key())?;
        }
        11 | 12 => {
            state.remove(&key())?;
        }
        13 => {
            state.contains_key(&key())?;
        }
        14 => {
            state.len()?;
        }
        15 => {
            state.keys(..)?;
        }
        16 | 17 => unless_compacted(snapshot(state))?,
        18 => {
            if choose(8) == 7 {
                state.clear()?;
            }
        }
        19 | 20 => {
            state.get_or_insert(&key(), &value)?;
        }
        21 => {
            let prefix = ["p/", "q/"][choose(2) as usize].to_owned();
            state.atomic(functions::purge, prefix)?;
        }
        22 => impatient(state, value)?,
        23 | 24 => {
            state.atomic(functions::pair, (key(), key(), value))?;
        }
        25 => {
            tolerate(state.atomic(functions::botch, (key(), value)))?;
        }
        // The model knows one namespace: this one comes before the other in a change set.
        26 if state.namespace_name() == MIX => {
            state.atomic(functions::shadow, (key(), value))?;
        }
        _ => {
            let pid = ctx.ping(Duration::from_secs(3_600))?;
            assert_ne!(pid, 0, "a server has a number");
        }
    }
    Ok(())
}

/// A write with a time limit that it may well miss: then nobody knows whether it was done.
fn impatient(state: &State, value: i64) -> Result<()> {
    let hasty = state.within(Duration::from_micros(20 + choose(2_000)));
    let result = match choose(4) {
        0 => hasty.remove(&key()).map(drop),
        1 => hasty.get_or_insert(&key(), &value).map(drop),
        2 => (hasty.atomic(functions::add, ("n".to_owned(), 1_i64))).map(drop),
        _ => hasty.set(&key(), &value).map(drop),
    };
    match result {
        Ok(()) => Ok(()),
        Err(error) if error.is_timeout() || error.is_outcome_unknown() => {
            marks::reached(Mark::HastyWriteMissed);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// With a short log and busy writers a snapshot may be given up.
pub(super) fn unless_compacted(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.is_compacted() => Ok(()),
        other => other,
    }
}

fn snapshot(state: &State) -> Result<()> {
    let snapshot = state.snapshot()?;
    let mut entries = Vec::new();
    for key in snapshot.keys() {
        let value = snapshot.get::<i64>(key)?;
        let value = rmp_serde::to_vec_named(&value).unwrap_or_default();
        entries.push((key.to_owned(), value));
    }
    note(Note::Snapshot {
        namespace: state.namespace_name().to_owned(),
        revision: snapshot.revision(),
        entries,
    });
    Ok(())
}

pub(crate) fn owner(ctx: &Context, steps: u64) -> Result<u64> {
    for step in 0..steps {
        // What is owned is spread over two namespaces.
        let state = ctx.namespace([OWNED, OWNED, OWNED, MIX][choose(4) as usize]);
        let value = unique(step);
        let key = format!("o/{}", choose(6));
        match choose(9) {
            0..4 => {
                state.set_owned(&key, &value)?;
            }
            4 => {
                state.set(&key, &value)?;
            }
            5 => {
                state.remove(&key)?;
            }
            6 => {
                state.get::<i64>(&key)?;
            }
            7 => {
                tolerate(state.atomic(functions::fumble, (key, value)))?;
            }
            _ => sleep_ns(choose(200_000)),
        }
    }
    Ok(steps)
}

pub(crate) fn producer(ctx: &Context, steps: u64) -> Result<u64> {
    let state = ctx.namespace(WAITS);
    for step in 0..steps {
        match choose(9) {
            0..2 => {
                state.atomic(functions::add, ("k0".to_owned(), 1_i64))?;
            }
            2 => {
                state.set(&format!("w/{}", choose(8)), &unique(step))?;
            }
            3 => {
                state.remove(&format!("w/{}", choose(8)))?;
            }
            4 => {
                state.set("e", &(choose(4) as i64))?;
            }
            5 | 8 => {
                let names = ["which", "helm"][choose(2) as usize];
                state.set(names, &(choose(3) as i64))?;
            }
            6 => {
                state.set(&format!("f{}", choose(3)), &(choose(4) as i64))?;
            }
            _ => sleep_ns(choose(300_000)),
        }
    }
    Ok(steps)
}

pub(crate) fn bulk(ctx: &Context, steps: u64) -> Result<u64> {
    let state = ctx.namespace("bulk");
    for step in 0..steps.min(12) {
        if choose(4) == 0 {
            state.atomic(functions::fill, (520 + choose(80), unique(step)))?;
        } else {
            state.set(&format!("bulk/{:04}", choose(600)), &unique(step))?;
        }
        unless_compacted(snapshot(&state))?;
    }
    Ok(steps)
}
