//! Limits of what only several threads at once reach: locks, transactions, arguments on their way.

use super::{length, text};
use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use zproc::{Context, Input, Process, Result, State};

/// So many wait at a door that is locked; what becomes of one more.
fn at_the_door(ctx: &Context, waiters: usize, one_more: bool) -> Result<()> {
    let guard = ctx.lock("door")?;
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..waiters)
            .map(|_| scope.spawn(|| ctx.lock("door").map(drop)))
            .collect();
        while ctx.dump()?.waits().count() < waiters {
            thread::yield_now();
        }
        let told = match one_more {
            true => ctx.lock("door").map(drop),
            false => Ok(()),
        };
        drop(guard);
        for waited in waiting {
            waited.join().expect("no panic").expect("it was its turn");
        }
        told
    })
}

pub(super) fn one_waits(ctx: &Context) -> Result<()> {
    at_the_door(ctx, 1, false)
}

pub(super) fn one_waits_and_one_more(ctx: &Context) -> Result<()> {
    at_the_door(ctx, 1, true)
}

/// By another thread: one whose function runs in a transaction has no other calls.
fn set_by_another(state: &State, key: &str, value: usize) {
    thread::scope(|scope| {
        let set = scope.spawn(|| state.set(key, &value));
        set.join().expect("no panic").expect("set");
    });
}

/// A transaction that others are in the way of until it has a lease; then it does this.
fn with_a_lease(ctx: &Context, number: usize, then: impl Fn()) -> Result<()> {
    let (state, key, mut runs) = (ctx.state(), format!("leased/{number}"), 0);
    state.transaction(|txn| {
        let value = txn.get::<usize>(&key)?.unwrap_or(0);
        runs += 1;
        match runs {
            1..=3 => set_by_another(&state, &key, value + 1),
            _ => then(),
        }
        txn.set(&key, &0)
    })
}

/// So many transactions hold a lease; what becomes of one more. (The number is a part of their function's
/// name: the next ones of the same function would wait for each other.)
pub(super) fn leases<const HELD: usize>(ctx: &Context) -> Result<()> {
    let (all, enough) = (Barrier::new(HELD + 1), Barrier::new(HELD + 1));
    let hold = |number| {
        with_a_lease(ctx, number, || {
            all.wait();
            enough.wait();
        })
    };
    thread::scope(|scope| {
        let hold = &hold;
        let holders: Vec<_> = (0..HELD)
            .map(|number| scope.spawn(move || hold(number)))
            .collect();
        all.wait();
        let told = with_a_lease(ctx, HELD, || ());
        enough.wait();
        for holder in holders {
            holder.join().expect("no panic").expect("it has its lease");
        }
        told
    })
}

/// How often a transaction runs that reads a span, beside which there are so many changes meanwhile.
fn runs_beside(ctx: &Context, changes: usize) -> Result<usize> {
    let (state, mut runs) = (ctx.state(), 0);
    state.transaction(|txn| {
        runs += 1;
        let count = txn.keys("read/")?.len();
        if runs == 1 {
            (0..changes).for_each(|number| set_by_another(&state, "beside", number));
        }
        txn.set("count", &count)
    })?;
    Ok(runs)
}

/// Each change that is passed over takes two steps: itself, and its one key beside the one span.
pub(super) fn six_steps(ctx: &Context) -> Result<()> {
    assert_eq!(runs_beside(ctx, 3)?, 1);
    Ok(())
}

/// That it can't be told whether it stands is a conflict, and no more.
pub(super) fn eight_steps(ctx: &Context) -> Result<()> {
    assert_eq!(runs_beside(ctx, 4)?, 2);
    Ok(())
}

/// Processes with arguments of these sizes. None fetches its own before all have been asked for: each waits
/// for the other end of its standard input.
fn not_fetched(ctx: &Context, sizes: &[usize]) -> Result<()> {
    let directory = tempfile::tempdir().expect("a directory");
    let mut started: Vec<(PathBuf, Process<usize>, usize)> = Vec::new();
    let mut told = Ok(());
    for (number, size) in sizes.iter().enumerate() {
        let pipe = directory.path().join(number.to_string());
        let made = Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("mkfifo runs").success());
        let process = ctx.process(length).stdin(Input::File(pipe.clone()));
        match process.spawn(text(*size)) {
            Ok(process) => started.push((pipe, process, text(*size).len())),
            Err(error) => told = Err(error),
        }
    }
    for (pipe, process, length) in started {
        File::create(pipe).expect("it is opened at the other end");
        assert_eq!(process.join()?, length, "nothing is missing");
    }
    told
}

/// Of each 500 bytes go with the message.
pub(super) fn parts_of_3000_bytes(ctx: &Context) -> Result<()> {
    not_fetched(ctx, &[2000, 2000])
}

pub(super) fn parts_of_3001_bytes(ctx: &Context) -> Result<()> {
    not_fetched(ctx, &[2000, 2000, 501])
}

/// One after the other: each is named before the next one is sent.
pub(super) fn arguments_in_turn(ctx: &Context) -> Result<()> {
    (0..3).try_for_each(|_| {
        assert_eq!(ctx.spawn(length, text(2000))?.join()?, 1997);
        Ok(())
    })
}

/// Two threads send theirs, again and again, until one is in the other's way. Who is not refused is
/// served whole.
pub(super) fn arguments_at_once(ctx: &Context) -> Result<()> {
    let enough = AtomicBool::new(false);
    let send = || {
        while !enough.load(Ordering::Relaxed) {
            let started = ctx.spawn(length, text(2000));
            let started = started.inspect_err(|_| enough.store(true, Ordering::Relaxed))?;
            assert_eq!(started.join()?, 1997);
        }
        Ok(())
    };
    let told = thread::scope(|scope| {
        let threads = [scope.spawn(send), scope.spawn(send)];
        threads.map(|thread| thread.join().expect("no panic"))
    });
    arguments_in_turn(ctx).expect("there is room again");
    told.into_iter().collect()
}

/// Ends processes with results of 10,000 bytes, then asks for them; how many of the first are gone.
fn results(ctx: &Context, count: usize) -> Result<usize> {
    let ended = (0..count).map(|_| {
        let process = ctx.spawn(|_, ()| text(10_000), ())?;
        process.outcome()?;
        Ok(process)
    });
    let ended = ended.collect::<Result<Vec<_>>>()?;
    let mut gone = 0;
    for (number, process) in ended.into_iter().enumerate() {
        match process.join() {
            Ok(result) => assert_eq!(result.len(), 9997),
            Err(error) => {
                assert!(error.is_limit(), "{error:#}");
                assert!(error.to_string().contains("RESULTS_BYTES_MAX"), "{error:#}");
                assert_eq!(gone, number, "the oldest go first");
                gone += 1;
            }
        }
    }
    Ok(gone)
}

pub(super) fn two_results(ctx: &Context) -> Result<()> {
    assert_eq!(results(ctx, 2)?, 0);
    Ok(())
}

pub(super) fn three_results(ctx: &Context) -> Result<()> {
    assert_eq!(results(ctx, 3)?, 1);
    Ok(())
}
