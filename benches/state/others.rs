//! What others notice of somebody who asks for much: how long their calls take, one in a hundred.

use crate::measure::Options;
use crate::tree::{Tree, fill};
use crate::watchers::{long_history, make_updates};
use crate::{Failure, amount, tell};
use rustix::process::{Pid, Signal, kill_process};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use zproc::{Context, Filter, Process, Result, State};

const LAG: usize = 100_000;

/// Starts a process that does something to the others.
type Load = fn(&Context, usize) -> Result<Process<Result<()>>>;

/// Has it been enough? Until then a load goes on.
fn is_enough(ctx: &Context) -> Result<bool> {
    ctx.namespace("load").contains_key("enough")
}

fn begins(ctx: &Context) -> Result<()> {
    let id = std::process::id();
    ctx.namespace("load").set("begun", &id).map(drop)
}

fn scans(ctx: &Context, _: usize) -> Result<()> {
    begins(ctx)?;
    while !is_enough(ctx)? {
        let million = ctx.namespace("million");
        for (number, entry) in million.iter::<usize>(..).enumerate() {
            entry?;
            if number % 50_000 == 0 && is_enough(ctx)? {
                break;
            }
        }
    }
    Ok(())
}

fn lags(ctx: &Context, behind: usize) -> Result<()> {
    begins(ctx)?;
    while !is_enough(ctx)? {
        let past = ctx.namespace("past");
        let mut watch = past.watch(Filter::all()).from_start().start()?;
        for _ in 0..behind {
            watch.next_update()?;
        }
    }
    Ok(())
}

fn floods(ctx: &Context, _: usize) -> Result<()> {
    begins(ctx)?;
    let state = ctx.namespace("flood");
    let write = |thread: u64| -> Result<()> {
        while !is_enough(ctx)? {
            for round in 0..100 {
                state.set(&thread.to_string(), &round)?;
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|thread| scope.spawn(move || write(thread)))
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no panic"))
    })
}

/// Calls nobody: a thread for each core computes. What others notice of it is the machine's part in the
/// other figures.
fn computes(ctx: &Context, _: usize) -> Result<()> {
    begins(ctx)?;
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let told = ctx.namespace("load").wait_equal("enough", &true);
        enough.store(true, Ordering::Relaxed);
        told.map(drop)
    })
}

/// Watches what another writes, until it is stopped by a signal.
fn stops_reading(ctx: &Context, _: usize) -> Result<()> {
    let mut watch = ctx.namespace("noise").watch(Filter::all()).start()?;
    begins(ctx)?;
    while !is_enough(ctx)? {
        match watch.next_within(Duration::from_millis(100)) {
            Err(error) if error.is_compacted() => return Ok(()),
            Err(error) if !error.is_timeout() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The calls of a bystander, shortest first.
fn bystander(state: &State, count: usize) -> Vec<Duration> {
    let mut took: Vec<Duration> = (0..count)
        .map(|round| {
            let begin = Instant::now();
            if round % 2 == 0 {
                state.set("mine", &round).expect("set");
            } else {
                state.get::<usize>("mine").expect("get");
            }
            begin.elapsed()
        })
        .collect();
    took.sort_unstable();
    took
}

fn p99(took: &[Duration]) -> f64 {
    took[(took.len() - 1) * 99 / 100].as_secs_f64() * 1e6
}

pub(crate) fn run(options: &Options) -> std::result::Result<(), Failure> {
    let tree = Tree::start(long_history())?;
    let ctx = &tree.ctx;
    fill(&ctx.namespace("million"), amount(options, 1_000_000))?;
    make_updates(&ctx.namespace("past"), amount(options, LAG))?;
    let count = amount(options, 30_000);
    let state = ctx.namespace("bystander");
    bystander(&state, count / 10);
    let loads: [(&str, Load); 5] = [
        ("a thread that computes for each core", |ctx, n| {
            ctx.spawn(computes, n)
        }),
        ("a scan of a million entries", |ctx, n| ctx.spawn(scans, n)),
        ("a watcher 100,000 updates behind", |ctx, n| {
            ctx.spawn(lags, n)
        }),
        ("a client that floods", |ctx, n| ctx.spawn(floods, n)),
        ("a client that stops reading", |ctx, n| {
            ctx.spawn(stops_reading, n)
        }),
    ];
    for (name, load) in loads {
        let idle = bystander(&state, count);
        ctx.namespace("load").clear()?;
        let process = load(ctx, amount(options, LAG))?;
        let begun = ctx
            .namespace("load")
            .wait_until(|view| view.get::<u32>("begun"));
        let (process_id, _) = begun?;
        let took = match name {
            "a client that stops reading" => beside_one_stopped(ctx, &state, count, process_id)?,
            _ => bystander(&state, count),
        };
        ctx.namespace("load").set("enough", &true)?;
        finished(process)?;
        let idle_p99 = p99(&idle);
        let name = format!("p99 beside {name}");
        tell(options, &name, p99(&took), "us", Some(("idle", idle_p99)));
        let median = took[took.len() / 2].as_secs_f64() * 1e6;
        tell(options, "    median of the same", median, "us", None);
    }
    Ok(())
}

fn finished(process: Process<Result<()>>) -> std::result::Result<(), Failure> {
    process.join()??;
    Ok(())
}

/// It is stopped, and what it watches goes on changing: more than its sockets and its credit hold.
fn beside_one_stopped(
    ctx: &Context,
    state: &State,
    count: usize,
    process: u32,
) -> std::result::Result<Vec<Duration>, Failure> {
    let pid = Pid::from_raw(i32::try_from(process)?).ok_or("a pid")?;
    kill_process(pid, Signal::STOP)?;
    let text = "x".repeat(64 * 1024);
    for number in 0..200 {
        ctx.namespace("noise").set("number", &(number, &text))?;
    }
    let took = bystander(state, count);
    kill_process(pid, Signal::CONT)?;
    Ok(took)
}
