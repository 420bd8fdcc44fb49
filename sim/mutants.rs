//! Plants the bugs of the catalogue, and sees that the right checker finds each.

use crate::catalogue::CATALOGUE;

/// Without the bugs compiled in: builds this program with them, and runs that.
#[cfg(not(feature = "planted"))]
pub(crate) fn run(seeds: u64, only: Option<&str>) -> Result<bool, String> {
    let known = |only| {
        CATALOGUE
            .iter()
            .any(|planted| format!("{:?}", planted.bug) == only)
    };
    if let Some(only) = only.filter(|only| !known(*only)) {
        return Err(format!("no such bug: {only}"));
    }
    let mut command = std::process::Command::new(std::env::var("CARGO").unwrap_or("cargo".into()));
    command.args([
        "run",
        "--release",
        "-p",
        "zproc-sim",
        "--features",
        "planted",
    ]);
    // A directory of its own, so that the two builds don't take turns in undoing each other.
    command.args(["--target-dir", "target/planted", "--", "mutants"]);
    command.arg(format!("--seeds={seeds}"));
    command.args(only.map(|only| format!("--only={only}")));
    let status = command
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    Ok(status.success())
}

/// Plants each bug in turn.
#[cfg(feature = "planted")]
pub(crate) fn run(seeds: u64, only: Option<&str>) -> Result<bool, String> {
    let mut alive = 0;
    for planted in CATALOGUE {
        let name = format!("{:?}", planted.bug);
        if only.is_some_and(|only| only != name) {
            continue;
        }
        alive += u32::from(!hunt::kill(planted, &name, seeds));
    }
    zproc::seam::proto::planted::activate(None);
    println!("{alive} planted bugs are alive");
    Ok(alive == 0)
}

#[cfg(feature = "planted")]
mod hunt {
    use crate::catalogue::Planted;
    use crate::runner::one;
    use std::time::Instant;
    use zproc::seam::proto::planted::activate;

    /// Fault-free runs of which each bug must pass one: it is none that every test would see.
    const CALM_SEEDS: u64 = 50;

    /// True when the right checker finds the bug within so many seeds.
    pub(super) fn kill(planted: &Planted, name: &str, seeds: u64) -> bool {
        let started = Instant::now();
        activate(Some(planted.bug));
        println!("{name} ({}): {}", planted.file, planted.explanation);
        let passes = |seed: &u64| one(*seed, false, None).is_ok_and(|report| report.is_clean());
        match (1..=CALM_SEEDS).find(passes) {
            Some(seed) => println!("  passes the fault-free run of seed {seed}"),
            None => {
                println!(
                    "  ALIVE: it passes none of {CALM_SEEDS} fault-free runs: too gross a bug"
                );
                return false;
            }
        }
        let mut others = std::collections::BTreeMap::new();
        for seed in 1..=seeds {
            match one(seed, true, None) {
                Ok(report) => {
                    for violation in &report.violations {
                        if violation.guarantee == planted.guarantee {
                            println!(
                                "  KILLED by {:?} with seed {seed}, after {seed} seeds and {:.1} s\n  {}",
                                violation.guarantee,
                                started.elapsed().as_secs_f64(),
                                violation.explanation
                            );
                            return true;
                        }
                        *others.entry(violation.guarantee).or_insert(0) += 1;
                    }
                }
                Err(_) => *others.entry("a panic").or_insert(0) += 1,
            }
        }
        println!("  ALIVE after {seeds} seeds; others that spoke up: {others:?}");
        false
    }
}
