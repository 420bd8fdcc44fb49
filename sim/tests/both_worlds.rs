//! The bodies of `tests/api/` in the simulated world; `tests/both_worlds.rs` runs the same ones with
//! real processes.

#[path = "../../tests/api/mod.rs"]
mod api;

use api::table::{BODIES, Body, Worlds};
use zproc_sim::{Functions, Options, run_with};

/// Runs every body that may be simulated with some seeds, and tells all that failed.
fn bodies(options: Options, seeds: std::ops::Range<u64>) {
    bodies_of("", options, seeds);
}

/// The same with those whose names begin so.
fn bodies_of(theme: &str, options: Options, seeds: std::ops::Range<u64>) {
    let mut failed = Vec::new();
    let mut count = 0;
    let simulated = BODIES.iter().filter(|body| body.worlds == Worlds::Both);
    for body in simulated.filter(|body| body.name.starts_with(theme)) {
        for seed in seeds.clone() {
            count += 1;
            failed.extend(run(body, seed, options));
        }
    }
    assert!(count > 0, "there are bodies to run");
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

/// Runs one; gives what went wrong.
fn run(body: &Body, seed: u64, options: Options) -> Option<String> {
    let report = run_with(seed, options, body.run);
    let name = body.name;
    match &report.outcome {
        _ if !report.is_clean() => Some(format!(
            "{name}, seed {seed}: {:?} {:?}",
            report.violations, report.waiting
        )),
        Ok(()) => None,
        Err(error) => Some(format!("{name}, seed {seed}: {error}")),
    }
}

#[test]
fn in_calm() {
    let mut options = Options::default();
    options.faults = false;
    bodies(options, 1..4);
}

#[test]
fn on_a_bad_network() {
    let mut options = Options::default();
    options.crashes = false;
    bodies(options, 1..6);
}

#[test]
fn functions_here_and_twice() {
    let mut options = Options::default();
    options.crashes = false;
    for functions in [
        Functions::InCaller,
        Functions::Twice,
        Functions::TwiceInCaller,
    ] {
        options.functions = functions;
        for theme in ["atomic::", "waits::"] {
            bodies_of(theme, options, 1..4);
        }
    }
}

/// Runs it on another thread of the simulated process.
pub(crate) fn on_another_thread<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
    zproc_sim::thread::spawn(f)
        .join()
        .expect("it does not panic")
}

/// A transaction that had written many keys and then listed them asked for the rest of the pages again
/// at each one of them.
#[test]
fn a_transaction_asks_for_each_page_once() {
    const KEYS: usize = 4_000;
    let mut options = Options::default();
    options.faults = false;
    let report = run_with(1, options, |ctx| {
        let state = ctx.state();
        let keys = (0..KEYS).map(|key| format!("{key:04}"));
        state.extend(keys.clone().map(|key| (key, 1)))?;
        let count = state.transaction(|txn| {
            txn.extend(keys.clone().map(|key| (key, 2)))?;
            txn.len()
        })?;
        assert_eq!(count, KEYS as u64);
        Ok(())
    });
    assert_eq!(report.outcome, Ok(()));
    assert!(report.operations < 100, "{}", report.operations);
}
