//! Goes through all runs of a tiny world that are near the mildest one.
//!
//! A run is its choices that are not the mildest. From the run without any, every run with one more
//! choice changed is made, and so on up to a number of changes: as in delay-bounded scheduling
//! (Emmi, Qadeer and Rakamaric), the bugs that need few odd events are then all found, and the
//! search says so: within the bound nothing was left out. Of a choice among many (a delay) the
//! mildest and the harshest are taken.

use crate::case::{self, Case};
use crate::choices::{Choice, Otherwise, Part};
use crate::runner::caught;
use crate::say::say;
use crate::simulation::{Options, Report, Setup, Story};
use crate::workloads::tiny::{TINY, Tiny};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Among so few alternatives all are taken.
const FEW: u64 = 4;

/// The tiny world with this name.
pub(crate) fn world(name: &str) -> Result<&'static Tiny, String> {
    let found = TINY.iter().find(|tiny| tiny.name == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = TINY.iter().map(|tiny| tiny.name).collect();
        format!("no such world: {name}; there are {}", names.join(", "))
    })
}

/// One run of a tiny world, and all that it drew.
pub(crate) fn run(
    tiny: &Tiny,
    choices: &[Choice],
    story: Option<Story>,
) -> Result<(Report, Vec<Choice>), String> {
    let setup = Setup {
        seed: 0,
        options: Options::default(),
        only: Some(tiny.faults),
        feed: choices.to_vec(),
        otherwise: Otherwise::Zero,
        record: true,
        story,
    };
    caught(setup, Box::new(tiny.program))
}

/// Goes through all runs with up to so many changes; true if all were clean. `plant`: the bug that
/// is switched on.
pub(crate) fn explore(
    tiny: &Tiny,
    changes: usize,
    jobs: u64,
    plant: Option<&str>,
) -> Result<bool, String> {
    let (first, drawn) = run(tiny, &[], None)?;
    let search = Search {
        tiny,
        changes,
        runs: AtomicUsize::new(1),
        failed: Mutex::new((!first.is_clean()).then(|| (Vec::new(), about(&first)))),
        stopped: AtomicBool::new(!first.is_clean()),
    };
    let starts = changed(&[], &drawn, 0);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..if changes == 0 { 0 } else { jobs } {
            scope.spawn(|| {
                while let Some((choices, from)) = starts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    search.visit(choices, *from);
                }
            });
        }
    });
    let runs = search.runs.into_inner();
    let failed = search.failed.into_inner();
    let Some((choices, about)) = failed.map_err(|_| "a search panicked")? else {
        say!(
            "{}: {}: all {runs} runs with up to {changes} choices changed, of {} that the mildest has, are clean",
            tiny.name,
            tiny.about,
            drawn.len()
        );
        return Ok(true);
    };
    let changed = choices.len();
    say!(
        "FAILED: {}: {about}, with {changed} choices changed",
        tiny.name
    );
    let case = Case {
        about,
        world: Some(tiny.name.to_owned()),
        faults: true,
        choices,
    };
    let path = match plant {
        None => case.keep(Path::new(case::KEPT), tiny.name)?,
        // It is the bug's, not one to look for ever after.
        Some(bug) => {
            let path = Path::new(case::PLANTED).join(format!("{}-{bug}.case", tiny.name));
            case.save(&path).map(|()| path)?
        }
    };
    let planted = plant.map(|bug| format!(" --plant {bug}"));
    let features = plant.map_or("", |_| " --features planted");
    say!(
        "       see it with: cargo run --release -p zproc-sim{features} -- replay {}{}",
        path.display(),
        planted.unwrap_or_default()
    );
    Ok(false)
}

/// What is wrong with a run.
fn about(report: &Report) -> String {
    match report.violations.first() {
        Some(found) => format!("{}: {}", found.guarantee, found.explanation),
        None => "it did not finish".to_owned(),
    }
}

struct Search<'a> {
    tiny: &'a Tiny,
    changes: usize,
    runs: AtomicUsize,
    failed: Mutex<Option<(Vec<Choice>, String)>>,
    stopped: AtomicBool,
}

impl Search<'_> {
    /// The run with these changes, and all those with more changes behind draw `from`.
    fn visit(&self, choices: &[Choice], from: usize) {
        if self.stopped.load(Ordering::Relaxed) {
            return;
        }
        self.runs.fetch_add(1, Ordering::Relaxed);
        let failure = match run(self.tiny, choices, None) {
            Ok((report, drawn)) if report.is_clean() => {
                if choices.len() < self.changes {
                    for (choices, from) in changed(choices, &drawn, from) {
                        self.visit(&choices, from);
                    }
                }
                return;
            }
            Ok((report, _)) => about(&report),
            Err(panic) => format!("a panic outside of the simulated processes: {panic}"),
        };
        self.stopped.store(true, Ordering::Relaxed);
        if let Ok(mut failed) = self.failed.lock() {
            failed.get_or_insert_with(|| (choices.to_vec(), failure));
        }
    }
}

/// All ways to change one more of the draws from `from` on, each with where the next may be.
fn changed(choices: &[Choice], drawn: &[Choice], from: usize) -> Vec<(Vec<Choice>, usize)> {
    let mut all = Vec::new();
    for (index, draw) in drawn.iter().enumerate().skip(from) {
        if matches!(draw.part, Part::Swarm | Part::Server | Part::Port(_)) {
            continue;
        }
        let harshest = draw.below - 1;
        let mildest = if draw.below <= FEW { 1 } else { harshest };
        for value in mildest..=harshest {
            let mut more = choices.to_vec();
            more.push(Choice { value, ..*draw });
            all.push((more, index + 1));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_draw_is_changed_once() {
        let draw = |nth, below| Choice {
            part: Part::Workload(1, 0),
            nth,
            value: 0,
            below,
        };
        let drawn = [draw(0, 2), draw(1, 4), draw(2, 1000)];
        let all = changed(&[], &drawn, 0);
        let values: Vec<(u64, u64)> = (all.iter())
            .map(|(choices, _)| (choices[0].nth, choices[0].value))
            .collect();
        assert_eq!(values, [(0, 1), (1, 1), (1, 2), (1, 3), (2, 999)]);
        assert_eq!(changed(&all[1].0, &drawn, all[1].1).len(), 1);
    }

    #[test]
    fn tiny_worlds_are_clean_with_one_change() {
        for tiny in &TINY {
            assert_eq!(explore(tiny, 1, 2, None), Ok(true), "{}", tiny.name);
        }
    }
}
