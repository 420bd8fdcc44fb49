//! The program `zproc-sim`: runs seeds, replays one, kills the planted bugs.

use crate::arguments::{Run, Task, USAGE, Wanted, parse};
use crate::case::{self, Case};
use crate::choices::{Choice, Otherwise};
use crate::coverage;
use crate::ensemble::Ensemble;
use crate::explore;
use crate::html::Recording;
use crate::hunt::Hunt;
use crate::mutants;
use crate::process::Program;
use crate::progress::Progress;
use crate::say::{self, say};
use crate::simulation::{Functions, Options, Report, Setup, Story, simulate};
use crate::story::{Sink, terminal};
use crate::summary::Summary;
use crate::workloads::{self, tiny::TINY};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

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
        }) => planted(plant.as_deref())
            .and_then(|()| explore_worlds(world.as_deref(), changes, jobs, plant.as_deref())),
        Ok(Task::Mutants(mutants)) => mutants::run(&mutants),
        Ok(Task::Help) => {
            say!("{USAGE}");
            Ok(true)
        }
        Err(error) => Err(format!("{error}; see zproc-sim --help")),
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

/// Switches a planted bug on, in a build that has them.
#[cfg(feature = "planted")]
fn planted(name: Option<&str>) -> Result<(), String> {
    let Some(name) = name else { return Ok(()) };
    let bug = crate::catalogue::catalogue()
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

/// The run that a case describes; and what to say of a case that does not describe it all.
fn replayed(case: &Case, story: Option<Story>) -> Result<(Report, Option<String>), String> {
    let (report, drawn) = match &case.world {
        Some(world) => explore::run(explore::world(world)?, &case.choices, story),
        None => again_as(&case.choices, case.faults, story),
    }?;
    Ok((report, case.stale(&drawn)))
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
            functions: Functions::Drawn,
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

fn run_seeds(run: &Run) -> Result<bool, String> {
    let kept_failed = if run.print_hashes { 0 } else { run_kept()? };
    let mut first_failed = None;
    let started = Instant::now();
    let mut summary = Summary::default();
    let mut hashes = BTreeMap::new();
    let mut progress = Progress::new(run.seeds);
    let mut panics = 0;
    let (from, seeds, jobs, faults) = (run.from, run.seeds, run.jobs, run.faults);
    let each = move |seed| one(seed, faults, None);
    let hang = Ensemble { from, seeds, jobs }.run(each, |seed, result| {
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
                say!("FAILED seed {seed}: a panic outside of the simulated processes: {panic}");
            }
        }
        progress.tell(summary.runs, summary.failed + panics);
    });
    progress.clear();
    let wall = started.elapsed();
    if let Some(hang) = &hang {
        say!("FAILED {hang}; it ends this program, too");
        hang.seed.inspect(|seed| tell_replay(*seed));
    }
    tell_hashes(run, &hashes)?;
    if run.print_hashes {
        return Ok(hang.is_none());
    }
    say!("{}", summary.text(wall));
    let covered = coverage::tell(run.all_marks);
    let mut blind = summary.blind();
    if !blind.is_empty() && summary.is_short() {
        let blind = std::mem::take(&mut blind).join(", ");
        say!("so few runs had nothing to judge for {blind}; that is no failure");
    }
    if !blind.is_empty() {
        say!("FAILED: nothing was judged for {}", blind.join(", "));
    }
    let idle = summary.idle();
    if !idle.is_empty() {
        say!("FAILED: never struck: {}", idle.join(", "));
    }
    let same = hang.is_none() && (!run.twice || is_same_again(run, &hashes)?);
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

/// Writes the hash of each seed's run to where it is wanted.
fn tell_hashes(run: &Run, hashes: &BTreeMap<u64, u64>) -> Result<(), String> {
    let lines: Vec<String> = (hashes.iter())
        .map(|(seed, hash)| format!("{seed} {hash:016x}"))
        .collect();
    let lines = lines.join("\n");
    if run.print_hashes {
        say!("{lines}");
    }
    let Some(path) = &run.hashes else {
        return Ok(());
    };
    std::fs::write(path, lines + "\n").map_err(|error| format!("{path}: {error}"))
}

fn tell_failure(report: &Report) {
    let seed = report.seed;
    for violation in &report.violations {
        say!(
            "FAILED seed {seed}: {}: {}",
            violation.guarantee,
            violation.explanation
        );
    }
    tell_replay(seed);
}

fn tell_replay(seed: u64) {
    say!("       see it with: cargo run --release -p zproc-sim -- replay {seed}");
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
        say!("FAILED: {seen} of {} seeds ran again", hashes.len());
        return Ok(false);
    }
    let Some(seed) = differing.first() else {
        say!("all {seen} seeds ran the same again in another process");
        return Ok(true);
    };
    say!(
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
        Some((first, second)) => say!("seed {seed} first differs in:\n  {first}\n  {second}"),
        None => say!("seed {seed} differs, though two replays of it do not"),
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
    terminal::printer(colour, say::line)
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
            let name = format!("{} ({})", path.display(), case.about);
            let ran = replayed(&case, story);
            if let Ok((_, Some(stale))) = &ran {
                say!("{stale}");
            }
            (name, ran.map(|(report, _)| report))
        }
    };
    if let Some(file) = html {
        let page = recording.page(&name, ran.as_ref().map_err(String::as_str));
        std::fs::write(file, page).map_err(|error| format!("{file}: {error}"))?;
        say!("drawn in {file}");
    }
    Ok(match ran {
        Ok(report) => {
            say!(
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
                say!("waiting: {line}");
            }
            if report.is_clean() {
                say!("the guarantees held");
            }
            for violation in &report.violations {
                say!("FAILED: {}: {}", violation.guarantee, violation.explanation);
            }
            report.is_clean()
        }
        Err(panic) => {
            say!("FAILED: {name}: a panic outside of the simulated processes: {panic}");
            false
        }
    })
}

/// Seeds that are looked at for a smaller run that breaks the same guarantee.
const SHRINK_SEEDS: u64 = 500;

/// Shrinks a seed's run, if it fails, and writes the case to where kept ones are.
fn shrink_seed(seed: u64) -> bool {
    let Ok((first, choices)) = drawn(seed, &[], Otherwise::Drawn) else {
        say!("seed {seed} panics outside of the simulated processes: it can't be shrunk");
        return false;
    };
    let Some(violation) = first.violations.first() else {
        say!("seed {seed} does not fail");
        return first.is_clean();
    };
    say!("shrinking seed {seed} ...");
    let hunt = Hunt::new(violation.guarantee);
    let Some(mut shrunk) = hunt.shrunk(choices) else {
        say!("seed {seed} was not the same again");
        return false;
    };
    if !shrunk.is_small()
        && let Some(other) = hunt.smallest(SHRINK_SEEDS)
        && other.size() < shrunk.size()
    {
        say!("another run that breaks the same guarantee gets smaller:");
        shrunk = other;
    }
    let found = (shrunk.report.violations.iter())
        .find(|found| found.guarantee == violation.guarantee)
        .map_or_else(String::new, |found| {
            format!("{}: {}", found.guarantee, found.explanation)
        });
    say!(
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
        Ok(path) => say!(
            "kept: see it with: cargo run --release -p zproc-sim -- replay {}",
            path.display()
        ),
        Err(error) => say!("the case was not kept: {error}"),
    }
    false
}

fn explore_worlds(
    world: Option<&str>,
    changes: usize,
    jobs: u64,
    plant: Option<&str>,
) -> Result<bool, String> {
    let mut clean = true;
    match world {
        Some(world) => clean = explore::explore(explore::world(world)?, changes, jobs, plant)?,
        None => {
            for tiny in &TINY {
                clean &= explore::explore(tiny, changes, jobs, plant)?;
            }
        }
    }
    Ok(clean)
}

/// Runs the kept cases; how many failed.
fn run_kept() -> Result<usize, String> {
    let files = case::kept(Path::new(case::KEPT))?;
    let mut failed = 0;
    for path in &files {
        let case = Case::load(path)?;
        let ran = replayed(&case, None);
        if let Ok((_, Some(stale))) = &ran {
            say!("{}: {stale}", path.display());
        }
        if !ran.is_ok_and(|(report, _)| report.is_clean()) {
            failed += 1;
            say!(
                "FAILED: kept case {}: {}\n       see it with: cargo run --release -p zproc-sim -- replay {0}",
                path.display(),
                case.about
            );
        }
    }
    say!("{} kept cases, {failed} failed", files.len());
    Ok(failed)
}
