//! The bodies of `tests/api/` in the simulated world; `tests/both_worlds.rs` runs the same ones with
//! real processes.

#[path = "../../tests/api/mod.rs"]
mod api;

use api::table::{BODIES, Body, Worlds};
use zproc_sim::{Options, run_with};

/// Runs every body that may be simulated with some seeds, and tells all that failed.
fn bodies(options: Options, seeds: std::ops::Range<u64>) {
    let mut failed = Vec::new();
    let mut count = 0;
    for body in BODIES.iter().filter(|body| body.worlds == Worlds::Both) {
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
