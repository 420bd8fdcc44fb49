//! Kills one planted bug: finds a seed, shrinks its run, and replays the case in a fresh process.

use crate::case::Case;
use crate::catalogue::Planted;
use crate::checkers::NO_SURPRISE;
use crate::choices::{Choice, Otherwise, Part};
use crate::runner::{again_as, drawn, one};
use crate::shrink::{self, Budget, Shrunk};
use crate::simulation::Report;
use crate::workloads::CREW;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use zproc::seam::proto::planted::activate;

/// Fault-free runs of which each bug must pass one: it is none that every test would see.
const CALM_SEEDS: u64 = 50;
/// What a bug's run must come down to.
const CHOICES_MAX: usize = 20;
const PROCESSES_MAX: u64 = 3;
/// How long the run of one seed is shrunk.
const BUDGET: Budget = Budget {
    runs: 20_000,
    time: Duration::from_secs(20),
};
/// Seeds of one ground that are run.
const GROUND_SEEDS: u64 = 1_500;
/// Runs of one ground that are shrunk, if the first does not get small enough.
const ATTEMPTS: usize = 3;

/// True when the right checker finds the bug within so many seeds, and its run gets small.
pub(crate) fn kill(planted: &Planted, name: &str, seeds: u64) -> bool {
    activate(Some(planted.bug));
    println!("{name} ({}): {}", planted.file, planted.explanation);
    let passes = |seed: &u64| one(*seed, false, None).is_ok_and(|report| report.is_clean());
    match (1..=CALM_SEEDS).find(passes) {
        Some(seed) => println!("  passes the fault-free run of seed {seed}"),
        None => {
            println!("  ALIVE: it passes none of {CALM_SEEDS} fault-free runs: too gross a bug");
            return false;
        }
    }
    let mut hunt = Hunt {
        guarantee: planted.guarantee,
        others: BTreeMap::new(),
    };
    let started = Instant::now();
    let Some(seed) = hunt.first(1..=seeds) else {
        let others = &hunt.others;
        println!("  ALIVE after {seeds} seeds; others that spoke up: {others:?}");
        return false;
    };
    let to_kill = started.elapsed();
    let Some(shrunk) = hunt.smallest(seeds) else {
        println!("  ALIVE: the run of seed {seed} could not be shrunk");
        return false;
    };
    let small = is_small(&shrunk);
    println!(
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
        println!("  {}: {}", violation.guarantee, violation.explanation);
    }
    comes_back(planted, name, &shrunk) && small
}

/// Goes through seeds until one breaks the guarantee.
struct Hunt {
    guarantee: &'static str,
    /// What else was found on the way.
    others: BTreeMap<&'static str, u64>,
}

/// Where small runs are looked for, the likeliest first: in worlds of two or three processes, calm
/// ones first, then in all.
const GROUNDS: [(bool, Otherwise); 5] = [
    (true, Otherwise::Calm(16)),
    (true, Otherwise::Calm(4)),
    (true, Otherwise::Calm(64)),
    (true, Otherwise::Drawn),
    (false, Otherwise::Drawn),
];

impl Hunt {
    /// Broken, and by that guarantee's checker: a panic or an odd error does not count.
    fn is_broken(&self, report: &Report) -> bool {
        let mut named = report.violations.iter().map(|found| found.guarantee);
        named.clone().any(|name| name == self.guarantee) && named.all(|name| name != NO_SURPRISE)
    }

    /// The first seed of these that breaks the guarantee.
    fn first(&mut self, seeds: RangeInclusive<u64>) -> Option<u64> {
        for seed in seeds {
            match one(seed, true, None) {
                Ok(report) if self.is_broken(&report) => return Some(seed),
                Ok(report) => {
                    for violation in &report.violations {
                        *self.others.entry(violation.guarantee).or_default() += 1;
                    }
                }
                Err(_) => *self.others.entry("a panic").or_default() += 1,
            }
        }
        None
    }

    /// The smallest case found within so many seeds of each ground; the first that is small enough.
    fn smallest(&self, seeds: u64) -> Option<Shrunk> {
        let mut smallest: Option<Shrunk> = None;
        for (few, otherwise) in GROUNDS {
            let found = (1..=seeds.min(GROUND_SEEDS)).filter_map(|seed| {
                let crew = Choice {
                    part: Part::Workload(1, 0),
                    nth: 0,
                    value: 1 + seed % 2,
                    below: CREW,
                };
                let given = if few { vec![crew] } else { Vec::new() };
                let (report, choices) = drawn(seed, &given, otherwise).ok()?;
                self.is_broken(&report).then_some(choices)
            });
            for choices in found.take(ATTEMPTS) {
                let mut run = |choices: &[_]| again_as(choices, true, None).ok();
                let broken = |report: &Report| self.is_broken(report);
                let choices = shrink::essence(choices);
                let Some(shrunk) = shrink::shrink(choices, BUDGET, &broken, &mut run) else {
                    continue;
                };
                let size = |shrunk: &Shrunk| {
                    let few = shrunk.report.processes.max(PROCESSES_MAX);
                    (few, shrunk.choices.len())
                };
                if smallest
                    .as_ref()
                    .is_none_or(|best| size(&shrunk) < size(best))
                {
                    smallest = Some(shrunk);
                }
                if smallest.as_ref().is_some_and(is_small) {
                    return smallest;
                }
            }
        }
        smallest
    }
}

fn is_small(shrunk: &Shrunk) -> bool {
    shrunk.choices.len() <= CHOICES_MAX && shrunk.report.processes <= PROCESSES_MAX
}

/// Writes the case to a file and has a fresh process replay it.
fn comes_back(planted: &Planted, name: &str, shrunk: &Shrunk) -> bool {
    let case = Case {
        about: format!("{name} breaks {}", planted.guarantee),
        faults: true,
        choices: shrunk.choices.clone(),
    };
    let path = PathBuf::from(format!("target/cases/{name}.case"));
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
                println!("  the case does not come back in a fresh process:\n{text}");
            }
            broken && same
        }
        Err(error) => {
            println!("  the case was not replayed: {error}");
            false
        }
    }
}
