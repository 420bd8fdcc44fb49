//! What each limit costs when it is reached: how much more the server has in memory then.

use crate::measure::Options;
use crate::tree::{Tree, key};
use crate::watchers::make_updates;
use crate::{Failure, amount, tell};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use zproc::{Context, Filter, Limits, Watch};

/// Brings a tree to a limit, and gives what has to be held for it.
type Fill = fn(&Context, &Options) -> Result<Vec<Watch>, Failure>;

const FILLS: [(&str, Fill); 8] = [
    ("history_entries_max", |ctx, options| {
        make_updates(&ctx.state(), amount(options, 65_536))?;
        Ok(Vec::new())
    }),
    ("history_bytes_max", |ctx, options| {
        // Each update holds what was before and what is after, and is encoded for watchers once.
        let text = "x".repeat(100_000);
        let watch = ctx.state().watch(Filter::all()).start()?;
        for _ in 0..amount(options, 400) {
            ctx.state().set("k", &text)?;
        }
        Ok(vec![watch])
    }),
    ("watches_per_session_max", |ctx, options| {
        let watches = (0..amount(options, 16_384)).map(|n| {
            let watch = ctx.state().watch(Filter::key(key(n))).start()?;
            Ok::<_, Failure>(watch)
        });
        watches.collect()
    }),
    ("interests_per_session_bytes_max", |ctx, _| {
        let mut watches = Vec::new();
        loop {
            let number = watches.len();
            let keys = (0..1000).map(|n| format!("{number:04}/{n:0995}"));
            match ctx.state().watch(Filter::keys(keys)).start() {
                Ok(watch) => watches.push(watch),
                Err(error) if error.is_limit() => return Ok(watches),
                Err(error) => return Err(error.into()),
            }
        }
    }),
    ("owned_keys_max", |ctx, options| {
        for number in 0..amount(options, 8192) {
            ctx.state().set_owned(&key(number), &number)?;
        }
        Ok(Vec::new())
    }),
    ("namespaces_max", |ctx, options| {
        // One is there already.
        for number in 0..amount(options, 65_535) {
            ctx.namespace(key(number)).set("k", &number)?;
        }
        Ok(Vec::new())
    }),
    ("processes_ended_max", |ctx, options| {
        for _ in 0..amount(options, 1024) {
            ctx.spawn(|_, ()| (), ())?.join()?;
        }
        Ok(Vec::new())
    }),
    (
        "results of 2 x 64 MiB, of results_bytes_max",
        |ctx, options| {
            let bytes = amount(options, 64 << 20);
            for _ in 0..2 {
                let process = ctx.spawn(|_, bytes: usize| "x".repeat(bytes), bytes)?;
                process.outcome()?;
            }
            Ok(Vec::new())
        },
    ),
];

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    for (name, fill) in FILLS {
        let tree = Tree::start(Limits::default())?;
        tree.ctx.state().set("warm", &1)?;
        let before = tree.bytes()?;
        let held = fill(&tree.ctx, options)?;
        let more = tree.bytes()?.saturating_sub(before) as f64 / f64::from(1 << 20);
        drop(held);
        tell(options, &format!("full: {name}"), more, "MiB", None);
    }
    waits(options)
}

/// As many waits as one process may have.
fn waits(options: &Options) -> Result<(), Failure> {
    let tree = Tree::start(Limits::default())?;
    let state = tree.ctx.state();
    state.set("warm", &1)?;
    let before = tree.bytes()?;
    let count = amount(options, 1000);
    let failed = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..count {
            let wait = || {
                if state.wait_equal("enough", &true).is_err() {
                    failed.store(true, Ordering::Relaxed);
                }
            };
            let builder = thread::Builder::new().stack_size(128 * 1024);
            builder.spawn_scoped(scope, wait)?;
        }
        // One call behind theirs: they are all there.
        loop {
            let dump = tree.ctx.dump()?;
            let shown = dump
                .processes
                .iter()
                .map(|process| process.waits.len())
                .sum::<usize>();
            if shown >= count {
                break;
            }
            thread::yield_now();
        }
        let more = tree.bytes()?.saturating_sub(before) as f64 / f64::from(1 << 20);
        state.set("enough", &true)?;
        tell(
            options,
            &format!("full: {count} waits of in_flight_max"),
            more,
            "MiB",
            None,
        );
        Ok::<_, Failure>(())
    })?;
    assert!(!failed.into_inner(), "each wait was answered");
    Ok(())
}
