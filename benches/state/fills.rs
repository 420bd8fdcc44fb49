//! Bringing a tree to its limits.

use crate::Failure;
use crate::full::Release;
use crate::tree::key;
use crate::watchers::make_updates;
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::Barrier;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use zproc::{Context, Filter, Input, Process, Result};

/// Longer than the server ever takes.
const WHILE: Duration = Duration::from_secs(60);

type Filled = std::result::Result<Release, Failure>;

/// What stays until it is dropped.
fn holding<T: 'static>(held: T) -> Filled {
    Ok(Box::new(move || {
        drop(held);
        Ok(())
    }))
}

/// A text that takes almost so many MiB.
fn text(mib: usize) -> String {
    "x".repeat((mib << 20) - 100)
}

pub(crate) fn value(ctx: &Context, mib: usize) -> Filled {
    ctx.state().set("k", &text(mib.min(1)))?;
    holding(())
}

pub(crate) fn result(ctx: &Context, mib: usize) -> Filled {
    let process = ctx.spawn(|_, mib: usize| text(mib), mib)?;
    process.outcome()?;
    holding(process)
}

pub(crate) fn results(ctx: &Context, mib: usize) -> Filled {
    let halves = [result(ctx, mib / 2)?, result(ctx, mib / 2)?];
    holding(halves)
}

/// The process waits for the other end of its standard input, so it does not get to fetching.
pub(crate) fn argument(ctx: &Context, mib: usize) -> Filled {
    let directory = tempfile::tempdir()?;
    let pipe = directory.path().join("pipe");
    Command::new("mkfifo").arg(&pipe).status()?;
    let process = ctx.process(|_: &Context, text: String| text.len());
    let process = process.stdin(Input::File(pipe)).spawn(text(mib))?;
    Ok(Box::new(move || {
        process.kill()?;
        drop(directory);
        Ok(())
    }))
}

pub(crate) fn large_batch(ctx: &Context, mib: usize) -> Filled {
    ctx.state()
        .extend((0..mib).map(|number| (key(number), text(1))))?;
    holding(())
}

pub(crate) fn long_batch(ctx: &Context, count: usize) -> Filled {
    ctx.state()
        .extend((0..count).map(|number| (key(number), number)))?;
    holding(())
}

pub(crate) fn owned_bytes(ctx: &Context, mib: usize) -> Filled {
    for number in 0..mib {
        ctx.state().set_owned(&key(number), &text(1))?;
    }
    holding(())
}

pub(crate) fn owned_keys(ctx: &Context, count: usize) -> Filled {
    for number in 0..count {
        ctx.state().set_owned(&key(number), &number)?;
    }
    holding(())
}

/// Each update holds what was before and what is after, and is encoded for watchers once.
pub(crate) fn history_bytes(ctx: &Context, mib: usize) -> Filled {
    let text = "x".repeat(100_000);
    let watch = ctx.state().watch(Filter::all()).start()?;
    for _ in 0..mib * 6 {
        ctx.state().set("k", &text)?;
    }
    holding(watch)
}

pub(crate) fn history_entries(ctx: &Context, count: usize) -> Filled {
    make_updates(&ctx.state(), count)?;
    holding(())
}

pub(crate) fn state_bytes(ctx: &Context, mib: usize) -> Filled {
    let text = "x".repeat(1000);
    for batch in 0..mib {
        let numbers = (0..1024).map(|number| batch * 1024 + number);
        ctx.state()
            .extend(numbers.map(|number| (key(number), &text)))?;
    }
    holding(())
}

/// One is there already.
pub(crate) fn namespaces(ctx: &Context, count: usize) -> Filled {
    for number in 0..count {
        ctx.namespace(key(number)).set("k", &number)?;
    }
    holding(())
}

/// So many threads do this, until they are let go.
fn crowd(
    count: usize,
    body: impl Fn(usize) -> Result<()> + Clone + Send + 'static,
) -> std::result::Result<Vec<JoinHandle<Result<()>>>, Failure> {
    let threads = (0..count).map(|number| {
        let body = body.clone();
        let builder = thread::Builder::new().stack_size(128 * 1024);
        Ok(builder.spawn(move || body(number))?)
    });
    threads.collect()
}

fn joined(threads: Vec<JoinHandle<Result<()>>>) -> std::result::Result<(), Failure> {
    for thread in threads {
        thread.join().expect("no panic")?;
    }
    Ok(())
}

/// Until this process is seen to have so many waits.
fn until_waiting(ctx: &Context, count: usize) -> Result<()> {
    loop {
        let dump = ctx.dump()?;
        let waits = dump.processes.iter().map(|process| process.waits.len());
        if waits.sum::<usize>() >= count {
            return Ok(());
        }
        thread::yield_now();
    }
}

pub(crate) fn waits(ctx: &Context, count: usize) -> Filled {
    let state = ctx.state();
    let waiting = state.clone();
    let threads = crowd(count, move |_| {
        waiting.wait_equal("enough", &true).map(drop)
    })?;
    until_waiting(ctx, count)?;
    Ok(Box::new(move || {
        state.set("enough", &true)?;
        joined(threads)
    }))
}

pub(crate) fn locks(ctx: &Context, count: usize) -> Filled {
    let guards = (0..count).map(|number| ctx.lock(&key(number)));
    let guards = guards.collect::<Result<Vec<_>>>()?;
    holding(guards)
}

pub(crate) fn lock_waiters(ctx: &Context, count: usize) -> Filled {
    let guard = ctx.lock("a")?;
    let waiting = ctx.clone();
    let threads = crowd(count, move |_| waiting.lock("a").map(drop))?;
    until_waiting(ctx, count)?;
    Ok(Box::new(move || {
        drop(guard);
        joined(threads)
    }))
}

/// Each has a key of its own, is in its own way until it is given a lease, and holds it till all have one.
pub(crate) fn leases(ctx: &Context, count: usize) -> Filled {
    let (all, enough) = (
        Arc::new(Barrier::new(count + 1)),
        Arc::new(Barrier::new(count + 1)),
    );
    let state = ctx.namespace("leased");
    let (there, done) = (Arc::clone(&all), Arc::clone(&enough));
    let threads = crowd(count, move |number| {
        let (key, mut runs) = (key(number), 0);
        state.transaction(|txn| {
            let value: usize = txn.get(&key)?.unwrap_or(0);
            runs += 1;
            match runs {
                // By another thread: this one has no other calls.
                1..=3 => thread::scope(|scope| {
                    let set = scope.spawn(|| state.set(&key, &(value + 1)).map(drop));
                    set.join().expect("no panic")
                })?,
                4 => {
                    there.wait();
                    done.wait();
                }
                _ => {}
            }
            txn.set(&key, &0)
        })
    })?;
    all.wait();
    Ok(Box::new(move || {
        enough.wait();
        joined(threads)
    }))
}

pub(crate) fn watches(ctx: &Context, count: usize) -> Filled {
    let watches = (0..count).map(|number| ctx.state().watch(Filter::key(key(number))).start());
    let watches = watches.collect::<Result<Vec<_>>>()?;
    holding(watches)
}

pub(crate) fn interests(ctx: &Context, _: usize) -> Filled {
    let mut watches = Vec::new();
    loop {
        let number = watches.len();
        let keys = (0..1000).map(|n| format!("{number:04}/{n:0995}"));
        match ctx.state().watch(Filter::keys(keys)).start() {
            Ok(watch) => watches.push(watch),
            Err(error) if error.is_limit() => return holding(watches),
            Err(error) => return Err(error.into()),
        }
    }
}

pub(crate) fn silent(ctx: &Context, count: usize) -> Filled {
    let path = zproc::seam::socket_path(ctx).ok_or("the tree is this program's")?;
    let streams = (0..count).map(|_| UnixStream::connect(&path));
    let streams = streams.collect::<std::io::Result<Vec<_>>>()?;
    // They are taken in, in turn with this.
    ctx.ping(WHILE)?;
    holding(streams)
}

fn idles(ctx: &Context, _: ()) -> Result<()> {
    ctx.state().add("idle", 1)?;
    ctx.state().wait_equal("enough", &true).map(drop)
}

pub(crate) fn processes(ctx: &Context, count: usize) -> Filled {
    let processes = (0..count).map(|_| ctx.spawn(idles, ()));
    let processes = processes.collect::<Result<Vec<_>>>()?;
    let state = ctx.state();
    state.wait_equal("idle", &count)?;
    Ok(Box::new(move || {
        state.set("enough", &true)?;
        for process in processes {
            process.join()??;
        }
        Ok(())
    }))
}

pub(crate) fn ended(ctx: &Context, count: usize) -> Filled {
    for _ in 0..count {
        ctx.spawn(|_, ()| (), ())?.join()?;
    }
    holding(())
}

/// Sixty threads ask for a MiB again and again, by an atomic function or a get.
fn asks(ctx: &Context, by_function: bool) -> Result<()> {
    let state = ctx.state();
    thread::scope(|scope| {
        for _ in 0..60 {
            let ask = || -> Result<()> {
                loop {
                    match by_function {
                        true => state
                            .atomic(|txn, ()| txn.get::<String>("large"), ())
                            .map(drop)?,
                        false => state.get::<String>("large").map(drop)?,
                    }
                }
            };
            thread::Builder::new()
                .spawn_scoped(scope, ask)
                .expect("a thread");
        }
        state.set("asks", &std::process::id())
    })
    .map(drop)
}

/// It is stopped while sixty answers are on their way to it.
fn stopped(ctx: &Context, by_function: bool) -> Filled {
    ctx.state().set("large", &text(1))?;
    let process: Process<Result<()>> = ctx.spawn(asks, by_function)?;
    let (pid, _) = ctx.state().wait_until(|view| view.get::<u32>("asks"))?;
    let pid = Pid::from_raw(i32::try_from(pid)?).ok_or("a pid")?;
    kill_process(pid, Signal::STOP)?;
    // What it has asked for is answered by now, as far as there is room.
    for _ in 0..100 {
        ctx.ping(WHILE)?;
    }
    Ok(Box::new(move || {
        process.kill()?;
        Ok(())
    }))
}

pub(crate) fn replies(ctx: &Context, _: usize) -> Filled {
    stopped(ctx, true)
}

pub(crate) fn outbox(ctx: &Context, _: usize) -> Filled {
    stopped(ctx, false)
}
