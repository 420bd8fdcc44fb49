//! Transactions on one key: sixteen processes that all increment it, beside one that does as many
//! increments alone. None starves: each must come to its own last one. And one transaction beside one
//! atomic call, which is one round trip where it has two.
//!
//! ```text
//! cargo bench --bench transactions [-- --json]
//! ```

mod measure;

use measure::{Options, Work, beside};
use std::time::{Duration, Instant};
use zproc::{Context, Result};

/// Processes that contend.
const CROWD: u64 = 16;
/// Increments of one run, by all together.
const INCREMENTS: u64 = 4_000;

/// Increments, when all are there, so many times.
fn increment(ctx: &Context, times: u64) -> Result<()> {
    let (state, signs) = (ctx.namespace("counter"), ctx.namespace("signs"));
    signs.add("ready", 1)?;
    signs.wait_equal("go", &true)?;
    for _ in 0..times {
        state.transaction(|txn| {
            let count: u64 = txn.get("count")?.unwrap_or(0);
            txn.set("count", &(count + 1))
        })?;
    }
    signs.add("done", 1).map(drop)
}

/// How long so many processes take together for all increments.
fn run(ctx: &Context, processes: u64, increments: u64) -> Result<Duration> {
    let (state, signs) = (ctx.namespace("counter"), ctx.namespace("signs"));
    signs.clear()?;
    state.set("count", &0)?;
    let times = increments / processes;
    let crew: Result<Vec<_>> = (0..processes)
        .map(|_| ctx.spawn(increment, times))
        .collect();
    let crew = crew?;
    signs.wait_equal("ready", &processes)?;
    let begin = Instant::now();
    signs.set("go", &true)?;
    signs.wait_equal("done", &processes)?;
    let took = begin.elapsed();
    for process in crew {
        process.join()??;
    }
    assert_eq!(state.get("count")?, Some(times * processes), "none is lost");
    Ok(took)
}

fn main() -> Result<()> {
    let options = Options::from_arguments();
    let increments = if options.in_earnest { INCREMENTS } else { 160 };
    let ctx = Context::new()?;
    let work = |processes| {
        let ctx = ctx.clone();
        move || run(&ctx, processes, increments).expect("it runs to its end")
    };
    let state = ctx.namespace("one");
    beside(
        &options,
        Work::new("one atomic call", || {
            let count = state.atomic(|txn, by| txn.add("count", by), 1_i64);
            assert!(count.is_ok_and(|count| count > 0), "it is done");
        }),
        vec![Work::new("one transaction", || {
            let count = state.transaction(|txn| txn.add("count", 1));
            assert!(count.is_ok_and(|count| count > 0), "it is done");
        })],
        20,
        100,
    );
    beside(
        &options,
        Work::timed("4,000 increments by one process", work(1)),
        vec![Work::timed("the same by 16 processes", work(CROWD))],
        10,
        1,
    );
    Ok(())
}
