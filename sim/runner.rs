//! The program `zproc-sim`: runs seeds, replays one, kills the planted bugs.

use crate::mutants;
use crate::simulation::{Options, Report, Setup, Story, simulate};
use crate::summary::Summary;
use crate::workloads;
use lexopt::prelude::*;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const USAGE: &str = "\
zproc-sim: zproc in a deterministic simulation

  run --seeds N [--from S] [--jobs J] [--hashes FILE] [--print-hashes] [--twice] [--no-faults]
      runs N seeds, from S on (default 1), and checks the guarantees
  replay SEED [--hash-trace] [--no-faults]
      prints what happens in one run
  mutants [--seeds N] [--only NAME]
      plants each bug of the catalogue and shows that its checker finds it";

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Task {
    Run(Run),
    Replay {
        seed: u64,
        hashes: bool,
        faults: bool,
    },
    Mutants {
        seeds: u64,
        only: Option<String>,
    },
    Help,
}

/// Which seeds, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    seeds: u64,
    from: u64,
    jobs: u64,
    hashes: Option<String>,
    print_hashes: bool,
    twice: bool,
    faults: bool,
}

/// Runs the program with the arguments it was started with.
#[must_use]
pub fn main() -> ExitCode {
    let result = match parse(lexopt::Parser::from_env()) {
        Ok(Task::Run(run)) => run_seeds(&run),
        Ok(Task::Replay {
            seed,
            hashes,
            faults,
        }) => Ok(replay(seed, hashes, faults)),
        Ok(Task::Mutants { seeds, only }) => mutants::run(seeds, only.as_deref()),
        Ok(Task::Help) => {
            println!("{USAGE}");
            Ok(true)
        }
        Err(error) => Err(format!("{error}\n\n{USAGE}")),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("zproc-sim: {error}");
            ExitCode::from(2)
        }
    }
}

fn parse(mut parser: lexopt::Parser) -> Result<Task, lexopt::Error> {
    let jobs = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let mut run = Run {
        seeds: 0,
        from: 1,
        jobs,
        hashes: None,
        print_hashes: false,
        twice: false,
        faults: true,
    };
    let (mut words, mut hash_trace, mut only) = (Vec::new(), false, None);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("seeds") => run.seeds = parser.value()?.parse()?,
            Long("from") => run.from = parser.value()?.parse()?,
            Long("jobs") => run.jobs = parser.value()?.parse::<u64>()?.max(1),
            Long("hashes") => run.hashes = Some(parser.value()?.string()?),
            Long("print-hashes") => run.print_hashes = true,
            Long("twice") => run.twice = true,
            Long("no-faults") => run.faults = false,
            Long("hash-trace") => hash_trace = true,
            Long("only") => only = Some(parser.value()?.string()?),
            Short('h') | Long("help") => return Ok(Task::Help),
            Value(word) => words.push(word.string()?),
            other => return Err(other.unexpected()),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["run"] if run.seeds > 0 => Ok(Task::Run(run)),
        ["run"] => Err("run needs --seeds".into()),
        ["replay", seed] => Ok(Task::Replay {
            seed: seed.parse().map_err(|_| "replay needs a seed, a number")?,
            hashes: hash_trace,
            faults: run.faults,
        }),
        ["mutants"] => Ok(Task::Mutants {
            seeds: if run.seeds == 0 { 5_000 } else { run.seeds },
            only,
        }),
        [] => Ok(Task::Help),
        _ => Err(format!("not a command: {}", words.join(" ")).into()),
    }
}

/// One run of the built-in workload. What panics outside of simulated processes is told as text.
pub(crate) fn one(seed: u64, faults: bool, story: Option<Story>) -> Result<Report, String> {
    let setup = Setup {
        seed,
        options: Options {
            faults,
            crashes: true,
            usual_limits: false,
        },
        feed: None,
        record: false,
        story,
    };
    let run = AssertUnwindSafe(|| simulate(setup, Box::new(workloads::program)).0);
    catch_unwind(run).map_err(|payload| {
        crate::world::abandon();
        let text = payload.downcast_ref::<String>().cloned();
        let literal = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned());
        text.or(literal).unwrap_or_else(|| "a panic".to_owned())
    })
}

/// Runs many seeds over several OS threads, telling each result to `each` until it says stop.
fn for_each_seed(run: &Run, mut each: impl FnMut(u64, Result<Report, String>)) {
    let next = AtomicU64::new(run.from);
    let end = run.from + run.seeds;
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..run.jobs.min(run.seeds) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || sender.send((seed, one(seed, run.faults, None))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (seed, result) in receiver {
            each(seed, result);
        }
    });
}

fn run_seeds(run: &Run) -> Result<bool, String> {
    let started = Instant::now();
    let mut summary = Summary::default();
    let mut hashes = BTreeMap::new();
    let mut progress = Progress::new(run.seeds);
    let mut panics = 0;
    for_each_seed(run, |seed, result| {
        match result {
            Ok(report) => {
                summary.add(&report);
                hashes.insert(seed, report.hash);
                if !report.is_clean() {
                    progress.clear();
                    tell_failure(&report);
                }
            }
            Err(panic) => {
                progress.clear();
                panics += 1;
                println!("FAILED seed {seed}: a panic outside of the simulated processes: {panic}");
            }
        }
        progress.tell(summary.runs, summary.failed + panics);
    });
    progress.clear();
    let wall = started.elapsed();
    let lines: Vec<String> = (hashes.iter())
        .map(|(seed, hash)| format!("{seed} {hash:016x}"))
        .collect();
    if let Some(path) = &run.hashes {
        std::fs::write(path, lines.join("\n") + "\n")
            .map_err(|error| format!("{path}: {error}"))?;
    }
    if run.print_hashes {
        println!("{}", lines.join("\n"));
        return Ok(true);
    }
    println!("{}", summary.text(wall));
    let blind = summary.blind();
    if !blind.is_empty() {
        println!("FAILED: nothing was judged for {}", blind.join(", "));
    }
    let same = !run.twice || is_same_again(run, &hashes)?;
    Ok(summary.failed == 0 && panics == 0 && blind.is_empty() && same)
}

fn tell_failure(report: &Report) {
    let seed = report.seed;
    for violation in &report.violations {
        println!(
            "FAILED seed {seed}: {}: {}",
            violation.guarantee, violation.explanation
        );
    }
    println!("       see it with: cargo run --release -p zproc-sim -- replay {seed}");
}

/// Runs the same seeds in another OS process and compares the hashes.
fn is_same_again(run: &Run, hashes: &BTreeMap<u64, u64>) -> Result<bool, String> {
    let mut arguments = vec![
        "run".to_owned(),
        format!("--seeds={}", run.seeds),
        format!("--from={}", run.from),
        format!("--jobs={}", run.jobs),
        "--print-hashes".to_owned(),
    ];
    if !run.faults {
        arguments.push("--no-faults".to_owned());
    }
    let again = again(&arguments)?;
    let mut differing = Vec::new();
    let mut seen = 0;
    for line in again.lines() {
        let Some((seed, hash)) = line.split_once(' ') else {
            continue;
        };
        let (Ok(seed), Ok(hash)) = (seed.parse::<u64>(), u64::from_str_radix(hash, 16)) else {
            continue;
        };
        seen += 1;
        if hashes.get(&seed).is_some_and(|first| *first != hash) {
            differing.push(seed);
        }
    }
    if seen != hashes.len() {
        println!("FAILED: {seen} of {} seeds ran again", hashes.len());
        return Ok(false);
    }
    let Some(seed) = differing.first() else {
        println!("all {seen} seeds ran the same again in another process");
        return Ok(true);
    };
    println!(
        "FAILED: {} seeds ran otherwise in another process",
        differing.len()
    );
    let replays = [
        "replay".to_owned(),
        seed.to_string(),
        "--hash-trace".to_owned(),
    ];
    let (first, second) = (self::again(&replays)?, self::again(&replays)?);
    match first.lines().zip(second.lines()).find(|(a, b)| a != b) {
        Some((first, second)) => println!("seed {seed} first differs in:\n  {first}\n  {second}"),
        None => println!("seed {seed} differs, though two replays of it do not"),
    }
    Ok(false)
}

/// The output of this program run once more, with another address layout and other hash seeds.
fn again(arguments: &[String]) -> Result<String, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(program)
        .args(arguments)
        // Shifts the stack, beside what the system randomizes.
        .env(
            "ZPROC_SIM_PADDING",
            "x".repeat(std::process::id() as usize % 4096),
        )
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| error.to_string())?;
    String::from_utf8(output.stdout).map_err(|error| error.to_string())
}

fn replay(seed: u64, hashes: bool, faults: bool) -> bool {
    let sink = |line: &str| {
        // A reader that has seen enough closes the pipe.
        if writeln!(std::io::stdout(), "{line}").is_err() {
            std::process::exit(0);
        }
    };
    match one(seed, faults, Some((Box::new(sink), hashes))) {
        Ok(report) => {
            println!(
                "\nseed {seed}: {} events, {} operations, hash {:016x}; the program: {}",
                report.events,
                report.operations,
                report.hash,
                match &report.outcome {
                    Ok(()) => "returned",
                    Err(error) => error,
                }
            );
            for line in &report.waiting {
                println!("waiting: {line}");
            }
            tell_failure_or_not(&report)
        }
        Err(panic) => {
            println!("FAILED seed {seed}: a panic outside of the simulated processes: {panic}");
            false
        }
    }
}

fn tell_failure_or_not(report: &Report) -> bool {
    if report.is_clean() {
        println!("the guarantees held");
    } else {
        tell_failure(report);
    }
    report.is_clean()
}

/// The progress line: on a terminal in place, else every few seconds.
struct Progress {
    total: u64,
    told: Instant,
    terminal: bool,
}

impl Progress {
    fn new(total: u64) -> Progress {
        Progress {
            total,
            told: Instant::now(),
            terminal: std::io::stderr().is_terminal(),
        }
    }

    fn tell(&mut self, done: u64, failed: u64) {
        let pause = Duration::from_millis(if self.terminal { 100 } else { 5_000 });
        if self.told.elapsed() < pause {
            return;
        }
        self.told = Instant::now();
        let line = format!("{done} of {} seeds, {failed} failed", self.total);
        if self.terminal {
            eprint!("\r{line} ");
        } else {
            eprintln!("{line}");
        }
    }

    fn clear(&self) {
        if self.terminal {
            eprint!("\r{:60}\r", "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Task, String> {
        parse(lexopt::Parser::from_args(arguments)).map_err(|error| error.to_string())
    }

    #[test]
    fn arguments() {
        let run = parsed(&["run", "--seeds", "20", "--from=7", "--jobs", "2", "--twice"]);
        let Ok(Task::Run(run)) = run else {
            panic!("{run:?}");
        };
        assert_eq!((run.seeds, run.from, run.jobs, run.twice), (20, 7, 2, true));
        let replay = Task::Replay {
            seed: 5,
            hashes: false,
            faults: true,
        };
        assert_eq!(parsed(&["replay", "5"]), Ok(replay));
        assert!(parsed(&["run"]).is_err());
        assert!(parsed(&["replay", "x"]).is_err());
        assert!(parsed(&["run", "--sedes", "5"]).is_err());
        assert_eq!(parsed(&[]), Ok(Task::Help));
    }
}
