//! Kills one planted bug: finds a seed, shrinks its run, and replays the case in a fresh process.

use crate::case::{self, Case};
use crate::catalogue::Planted;
use crate::hunt::Hunt;
use crate::runner::one;
use crate::say::say;
use crate::shrink::Shrunk;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use zproc::seam::proto::planted::activate;

/// Fault-free runs of which each bug must pass one: it is none that every test would see.
const CALM_SEEDS: u64 = 50;

/// True when the right checker finds the bug within so many seeds, and, if `strict`, its run gets
/// small.
pub(crate) fn kill(planted: &Planted, name: &str, seeds: u64, strict: bool) -> bool {
    activate(Some(planted.bug));
    say!("{name} ({}): {}", planted.file, planted.explanation);
    let passes = |seed: &u64| one(*seed, false, None).is_ok_and(|report| report.is_clean());
    match (1..=CALM_SEEDS).find(passes) {
        Some(seed) => say!("  passes the fault-free run of seed {seed}"),
        None => {
            say!("  ALIVE: it passes none of {CALM_SEEDS} fault-free runs: too gross a bug");
            return false;
        }
    }
    let hunt = Hunt::new(planted.guarantee);
    let started = Instant::now();
    let seed = match first(&hunt, seeds) {
        Ok(seed) => seed,
        Err(others) => {
            say!("  ALIVE after {seeds} seeds; others that spoke up: {others:?}");
            return false;
        }
    };
    let to_kill = started.elapsed();
    let Some(shrunk) = hunt.smallest(seeds) else {
        say!("  ALIVE: the run of seed {seed} could not be shrunk");
        return false;
    };
    let small = shrunk.is_small();
    say!(
        "  KILLED {name:<26} {:<24} {:>5} seeds {:>6.1} s  to {:>2} choices {} processes {:>4} events, in {:>5} runs {:>5.1} s{}",
        planted.guarantee,
        seed,
        to_kill.as_secs_f64(),
        shrunk.choices.len(),
        shrunk.report.processes,
        shrunk.report.events,
        shrunk.runs,
        (started.elapsed() - to_kill).as_secs_f64(),
        if small { "" } else { "  TOO LARGE" },
    );
    for violation in &shrunk.report.violations {
        say!("  {}: {}", violation.guarantee, violation.explanation);
    }
    comes_back(planted, name, &shrunk) && (small || !strict)
}

/// The first seed that breaks the guarantee; without one, what else was found, and how often.
fn first(hunt: &Hunt, seeds: u64) -> Result<u64, BTreeMap<&'static str, u64>> {
    let mut others = BTreeMap::new();
    for seed in 1..=seeds {
        match one(seed, true, None) {
            Ok(report) if hunt.is_broken(&report) => return Ok(seed),
            Ok(report) => {
                for violation in &report.violations {
                    *others.entry(violation.guarantee).or_default() += 1;
                }
            }
            Err(_) => *others.entry("a panic").or_default() += 1,
        }
    }
    Err(others)
}

/// Writes the case to a file and has a fresh process replay it.
fn comes_back(planted: &Planted, name: &str, shrunk: &Shrunk) -> bool {
    let case = Case {
        about: format!("{name} breaks {}", planted.guarantee),
        world: None,
        faults: true,
        choices: shrunk.choices.clone(),
    };
    let path = Path::new(case::PLANTED).join(format!("{name}.case"));
    let replayed = case.save(&path).and_then(|()| {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.arg("replay").arg(&path).args(["--plant", name]);
        command.output().map_err(|error| error.to_string())
    });
    match replayed {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let broken = text.contains(&format!("FAILED: {}: ", planted.guarantee));
            let same = text.contains(&format!("hash {:016x}", shrunk.report.hash));
            if !(broken && same) {
                say!("  the case does not come back in a fresh process:\n{text}");
            }
            broken && same
        }
        Err(error) => {
            say!("  the case was not replayed: {error}");
            false
        }
    }
}
