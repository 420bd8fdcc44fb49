//! The program `zproc-sim`: runs seeds, replays one, kills the planted bugs.

use crate::case::{self, Case};
use crate::choices::{Choice, Otherwise};
use crate::coverage;
use crate::explore;
use crate::html::Recording;
use crate::hunt::Hunt;
use crate::mutants::{self, Mutants};
use crate::process::Program;
use crate::progress::Progress;
use crate::simulation::{Options, Report, Setup, Story, simulate};
use crate::story::{Sink, terminal};
use crate::summary::Summary;
use crate::workloads::{self, tiny::TINY};
use lexopt::prelude::*;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Instant;

const USAGE: &str = "\
zproc-sim: zproc in a deterministic simulation

  run --seeds N [--from S] [--jobs J] [--hashes FILE] [--print-hashes] [--twice] [--no-faults]
      [--all-marks]
      runs the cases kept in proptest-regressions/sim/, then N seeds, from S on (default 1), and
      checks the guarantees; the first run that fails is shrunk and written to a case file there; with
      --all-marks it also fails if no run reached a mark that is not a rare one
  replay SEED|FILE [--hash-trace] [--no-faults] [--plant NAME] [--html PAGE]
      tells what happens in one run, given by its seed or by a case file: line by line, or drawn on
      one page to look at in a browser
  shrink SEED
      makes a failing run small and writes it to a case file
  explore [WORLD] [--changes N] [--jobs J] [--plant NAME]
      goes through all runs of tiny worlds that differ from the mildest in up to N choices (2)
  mutants [--seeds N] [--only NAME] [--share K/N] [--jobs J] [--strict]
      plants each bug of the catalogue, shows that its checker finds it, and shrinks its run;
      with --strict it must come down to 20 choices and 3 processes";

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Task {
    Run(Run),
    Replay {
        what: Wanted,
        hashes: bool,
        plant: Option<String>,
        html: Option<String>,
    },
    Shrink(u64),
    Explore {
        world: Option<String>,
        changes: usize,
        jobs: u64,
        plant: Option<String>,
    },
    Mutants(Mutants),
    Help,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    Seed { seed: u64, faults: bool },
    File(PathBuf),
}

impl Wanted {
    /// A number is a seed, anything else a file.
    fn named(what: &str, faults: bool) -> Wanted {
        match what.parse() {
            Ok(seed) => Wanted::Seed { seed, faults },
            Err(_) => Wanted::File(PathBuf::from(what)),
        }
    }
}

/// Which seeds, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Run {
    seeds: u64,
    from: u64,
    jobs: u64,
    hashes: Option<String>,
    print_hashes: bool,
    twice: bool,
    faults: bool,
    all_marks: bool,
}

/// Runs the program with the arguments it was started with.
#[must_use]
pub fn main() -> ExitCode {
    let result = match parse(lexopt::Parser::from_env()) {
        Ok(Task::Run(run)) => run_seeds(&run),
        Ok(Task::Replay {
            what,
            hashes,
            plant,
            html,
        }) => planted(plant.as_deref()).and_then(|()| replay(&what, hashes, html.as_deref())),
        Ok(Task::Shrink(seed)) => Ok(shrink_seed(seed)),
        Ok(Task::Explore {
            world,
            changes,
            jobs,
            plant,
        }) => {
            planted(plant.as_deref()).and_then(|()| explore_worlds(world.as_deref(), changes, jobs))
        }
        Ok(Task::Mutants(mutants)) => mutants::run(&mutants),
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
        from: 1,
        jobs,
        faults: true,
        ..Run::default()
    };
    let (mut words, mut hash_trace, mut plant) = (Vec::new(), false, None);
    let (mut only, mut share, mut html, mut changes) = (None, (0, 1), None, 2);
    let mut strict = false;
    while let Some(argument) = parser.next()? {
        match argument {
            Long("seeds") => run.seeds = parser.value()?.parse()?,
            Long("from") => run.from = parser.value()?.parse()?,
            Long("jobs") => run.jobs = parser.value()?.parse::<u64>()?.max(1),
            Long("hashes") => run.hashes = Some(parser.value()?.string()?),
            Long("print-hashes") => run.print_hashes = true,
            Long("twice") => run.twice = true,
            Long("all-marks") => run.all_marks = true,
            Long("no-faults") => run.faults = false,
            Long("hash-trace") => hash_trace = true,
            Long("html") => html = Some(parser.value()?.string()?),
            Long("only") => only = Some(parser.value()?.string()?),
            Long("strict") => strict = true,
            Long("share") => share = parser.value()?.parse_with(self::share)?,
            Long("changes") => changes = parser.value()?.parse()?,
            Long("plant") => plant = Some(parser.value()?.string()?),
            Short('h') | Long("help") => return Ok(Task::Help),
            Value(word) => words.push(word.string()?),
            other => return Err(other.unexpected()),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["run"] if run.seeds > 0 => Ok(Task::Run(run)),
        ["run"] => Err("run needs --seeds".into()),
        ["replay", what] => Ok(Task::Replay {
            what: Wanted::named(what, run.faults),
            hashes: hash_trace,
            plant,
            html,
        }),
        ["shrink", seed] => Ok(Task::Shrink(
            seed.parse().map_err(|_| "shrink needs a seed, a number")?,
        )),
        ["explore", ref world @ ..] if world.len() < 2 => Ok(Task::Explore {
            world: world.first().map(|world| (*world).to_owned()),
            changes,
            jobs: run.jobs,
            plant,
        }),
        ["mutants"] => Ok(Task::Mutants(Mutants {
            seeds: if run.seeds == 0 { 5_000 } else { run.seeds },
            only,
            share,
            strict,
            jobs: run.jobs,
        })),
        [] => Ok(Task::Help),
        _ => Err(format!("not a command: {}", words.join(" ")).into()),
    }
}

/// `K/N`, the share K, from zero, of N.
fn share(text: &str) -> Result<(u64, u64), String> {
    let numbers = text
        .split_once('/')
        .and_then(|(share, of)| Some((share.parse().ok()?, of.parse().ok()?)));
    match numbers {
        Some((share, of)) if share < of => Ok((share, of)),
        _ => Err(format!("not a share, as 0/4 is one: {text}")),
    }
}

/// Switches a planted bug on, in a build that has them.
#[cfg(feature = "planted")]
fn planted(name: Option<&str>) -> Result<(), String> {
    let Some(name) = name else { return Ok(()) };
    let bug = (crate::catalogue::CATALOGUE.iter())
        .find(|planted| format!("{:?}", planted.bug) == name)
        .ok_or_else(|| format!("no such bug: {name}"))?;
    zproc::seam::proto::planted::activate(Some(bug.bug));
    Ok(())
}

#[cfg(not(feature = "planted"))]
fn planted(name: Option<&str>) -> Result<(), String> {
    match name {
        Some(name) => Err(format!(
            "--plant {name} needs a build with --features planted"
        )),
        None => Ok(()),
    }
}

/// One run of the built-in workload. What panics outside of simulated processes is told as text.
pub(crate) fn one(seed: u64, faults: bool, story: Option<Story>) -> Result<Report, String> {
    let setup = Setup {
        story,
        ..setup(seed, faults)
    };
    caught(setup, Box::new(workloads::program)).map(|(report, _)| report)
}

/// The run that these choices describe, and all that it drew.
pub(crate) fn again_as(
    choices: &[Choice],
    faults: bool,
    story: Option<Story>,
) -> Result<(Report, Vec<Choice>), String> {
    let setup = Setup {
        feed: choices.to_vec(),
        otherwise: Otherwise::Zero,
        record: true,
        story,
        ..setup(0, faults)
    };
    caught(setup, Box::new(workloads::program))
}

/// The run that a case describes.
fn replayed(case: &Case, story: Option<Story>) -> Result<Report, String> {
    let ran = match &case.world {
        Some(world) => explore::run(explore::world(world)?, &case.choices, story),
        None => again_as(&case.choices, case.faults, story),
    };
    ran.map(|(report, _)| report)
}

/// A seed's run with some choices given, and all that it drew.
pub(crate) fn drawn(
    seed: u64,
    given: &[Choice],
    otherwise: Otherwise,
) -> Result<(Report, Vec<Choice>), String> {
    let setup = Setup {
        feed: given.to_vec(),
        otherwise,
        record: true,
        ..setup(seed, true)
    };
    caught(setup, Box::new(workloads::program))
}

/// The built-in workload.
fn setup(seed: u64, faults: bool) -> Setup {
    Setup {
        seed,
        options: Options {
            faults,
            crashes: true,
            losses: true,
            usual_limits: false,
        },
        only: None,
        feed: Vec::new(),
        otherwise: Otherwise::Drawn,
        record: false,
        story: None,
    }
}

/// Runs a program. What panics outside of simulated processes is told as text.
pub(crate) fn caught(setup: Setup, program: Program) -> Result<(Report, Vec<Choice>), String> {
    let run = AssertUnwindSafe(|| simulate(setup, program));
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
    let kept_failed = if run.print_hashes { 0 } else { run_kept()? };
    let mut first_failed = None;
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
                    first_failed.get_or_insert(seed);
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
    let covered = coverage::tell(run.all_marks);
    let blind = summary.blind();
    if !blind.is_empty() {
        println!("FAILED: nothing was judged for {}", blind.join(", "));
    }
    let idle = summary.idle();
    if !idle.is_empty() {
        println!("FAILED: never struck: {}", idle.join(", "));
    }
    let same = !run.twice || is_same_again(run, &hashes)?;
    if let Some(seed) = first_failed.filter(|_| run.faults) {
        shrink_seed(seed);
    }
    Ok(kept_failed == 0
        && summary.failed == 0
        && panics == 0
        && blind.is_empty()
        && idle.is_empty()
        && same
        && covered)
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

/// Prints each line of a story.
fn printer() -> Sink {
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    terminal::printer(colour, |line| {
        // A reader that has seen enough closes the pipe.
        if writeln!(std::io::stdout(), "{line}").is_err() {
            std::process::exit(0);
        }
    })
}

/// Tells a run on the terminal, or with `html` on a page that is written there.
fn replay(what: &Wanted, hashes: bool, html: Option<&str>) -> Result<bool, String> {
    let recording = Recording::default();
    let sink = html.map_or_else(printer, |_| recording.sink());
    let story: Option<Story> = Some((sink, hashes));
    let (name, ran) = match what {
        Wanted::Seed { seed, faults } => (format!("seed {seed}"), one(*seed, *faults, story)),
        Wanted::File(path) => {
            let case = Case::load(path)?;
            let ran = replayed(&case, story);
            let name = format!("{} ({})", path.display(), case.about);
            (name, ran)
        }
    };
    if let Some(file) = html {
        let page = recording.page(&name, ran.as_ref().map_err(String::as_str));
        std::fs::write(file, page).map_err(|error| format!("{file}: {error}"))?;
        println!("drawn in {file}");
    }
    Ok(match ran {
        Ok(report) => {
            println!(
                "\n{name}: {} events, {} operations, hash {:016x}; the program: {}",
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
            if report.is_clean() {
                println!("the guarantees held");
            }
            for violation in &report.violations {
                println!("FAILED: {}: {}", violation.guarantee, violation.explanation);
            }
            report.is_clean()
        }
        Err(panic) => {
            println!("FAILED: {name}: a panic outside of the simulated processes: {panic}");
            false
        }
    })
}

/// Seeds that are looked at for a smaller run that breaks the same guarantee.
const SHRINK_SEEDS: u64 = 500;

/// Shrinks a seed's run, if it fails, and writes the case to where kept ones are.
fn shrink_seed(seed: u64) -> bool {
    let Ok((first, choices)) = drawn(seed, &[], Otherwise::Drawn) else {
        println!("seed {seed} panics outside of the simulated processes: it can't be shrunk");
        return false;
    };
    let Some(violation) = first.violations.first() else {
        println!("seed {seed} does not fail");
        return first.is_clean();
    };
    println!("shrinking seed {seed} ...");
    let hunt = Hunt::new(violation.guarantee);
    let Some(mut shrunk) = hunt.shrunk(choices) else {
        println!("seed {seed} was not the same again");
        return false;
    };
    if !shrunk.is_small()
        && let Some(other) = hunt.smallest(SHRINK_SEEDS)
        && other.size() < shrunk.size()
    {
        println!("another run that breaks the same guarantee gets smaller:");
        shrunk = other;
    }
    let found = (shrunk.report.violations.iter())
        .find(|found| found.guarantee == violation.guarantee)
        .map_or_else(String::new, |found| {
            format!("{}: {}", found.guarantee, found.explanation)
        });
    println!(
        "to {} choices, {} processes, {} events, in {} runs: {found}",
        shrunk.choices.len(),
        shrunk.report.processes,
        shrunk.report.events,
        shrunk.runs
    );
    let case = Case {
        about: found,
        world: None,
        faults: true,
        choices: shrunk.choices,
    };
    match case.keep(Path::new(case::KEPT), &format!("seed-{seed}")) {
        Ok(path) => println!(
            "kept: see it with: cargo run --release -p zproc-sim -- replay {}",
            path.display()
        ),
        Err(error) => println!("the case was not kept: {error}"),
    }
    false
}

fn explore_worlds(world: Option<&str>, changes: usize, jobs: u64) -> Result<bool, String> {
    let mut clean = true;
    match world {
        Some(world) => clean = explore::explore(explore::world(world)?, changes, jobs)?,
        None => {
            for tiny in &TINY {
                clean &= explore::explore(tiny, changes, jobs)?;
            }
        }
    }
    Ok(clean)
}

/// Runs the kept cases; how many failed.
fn run_kept() -> Result<usize, String> {
    let files = case::kept(Path::new(case::KEPT));
    let mut failed = 0;
    for path in &files {
        let case = Case::load(path)?;
        if !replayed(&case, None).is_ok_and(|report| report.is_clean()) {
            failed += 1;
            println!(
                "FAILED: kept case {}: {}\n       see it with: cargo run --release -p zproc-sim -- replay {0}",
                path.display(),
                case.about
            );
        }
    }
    println!("{} kept cases, {failed} failed", files.len());
    Ok(failed)
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
        let replay = |what| Task::Replay {
            what,
            hashes: false,
            plant: None,
            html: None,
        };
        let seed = Wanted::Seed {
            seed: 5,
            faults: true,
        };
        assert_eq!(parsed(&["replay", "5"]), Ok(replay(seed)));
        let file = Wanted::File(PathBuf::from("x.case"));
        assert_eq!(parsed(&["replay", "x.case"]), Ok(replay(file)));
        let page = parsed(&["replay", "x.case", "--html", "x.html"]);
        assert!(
            matches!(&page, Ok(Task::Replay { html: Some(page), .. }) if page == "x.html"),
            "{page:?}"
        );
        assert_eq!(parsed(&["shrink", "7"]), Ok(Task::Shrink(7)));
        let mutants = parsed(&["mutants", "--share", "1/4", "--jobs=3"]);
        let Ok(Task::Mutants(mutants)) = mutants else {
            panic!("{mutants:?}");
        };
        assert_eq!((mutants.share, mutants.jobs), ((1, 4), 3));
        assert!(parsed(&["mutants", "--share", "4/4"]).is_err());
        assert!(parsed(&["run"]).is_err());
        assert!(parsed(&["shrink", "x"]).is_err());
        assert!(parsed(&["run", "--sedes", "5"]).is_err());
        assert_eq!(parsed(&[]), Ok(Task::Help));
    }
}
