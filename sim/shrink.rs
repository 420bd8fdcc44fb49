//! Makes a failing run small: fewer processes, fewer choices that are not the mildest, lower ones.
//!
//! All that a run is lies in its choices, so this knows nothing of what a choice means: it cuts
//! (Zeller and Hildebrandt's delta debugging, over the choices in the order of their draws), lowers,
//! and takes out whole parts and processes, and keeps whatever still fails. After every step what
//! the run itself has drawn replaces what was fed to it, so that choices nobody drew vanish.

use crate::choices::{Choice, Part};
use crate::faults::WEIGHT_MAX;
use crate::simulation::Report;
use crate::workloads::members;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Runs a case: what came of it, and all that it drew. `None` when the engine itself failed.
pub(crate) type Runner<'a> = &'a mut dyn FnMut(&[Choice]) -> Option<(Report, Vec<Choice>)>;

/// How long one shrinking may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    /// Most runs.
    pub(crate) runs: u64,
    /// Longest time.
    pub(crate) time: Duration,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Shrunk {
    /// The choices that are not zero, in the order of their draws.
    pub(crate) choices: Vec<Choice>,
    /// What they lead to.
    pub(crate) report: Report,
    /// How many runs it took.
    pub(crate) runs: u64,
}

/// What the run of every bug that is known comes down to.
const CHOICES_FEW: usize = 20;

impl Shrunk {
    /// What counts when two are compared.
    pub(crate) fn size(&self) -> (u64, usize) {
        (self.report.processes.max(PROCESSES_FEW), self.choices.len())
    }

    /// Small enough to be read.
    pub(crate) fn is_small(&self) -> bool {
        self.choices.len() <= CHOICES_FEW && self.report.processes <= PROCESSES_FEW
    }
}

/// What is made small, the most important first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Size {
    processes: u64,
    choices: usize,
    /// Digits of all values, so that lower ones count as smaller.
    bits: u64,
    events: u64,
}

/// Among so many choices pairs are tried: more would take too long.
const PAIRED_MAX: usize = 60;
/// Values below this are tried one by one.
const LOWEST_FEW: u64 = 4;
/// A run of so few processes is small enough: from there on, choices count more.
const PROCESSES_FEW: u64 = 3;

impl Size {
    fn of(choices: &[Choice], report: &Report) -> Size {
        Size {
            processes: report.processes.max(PROCESSES_FEW),
            choices: choices.len(),
            bits: choices.iter().map(|choice| bits(choice.value)).sum(),
            events: report.events,
        }
    }
}

fn bits(value: u64) -> u64 {
    u64::from(64 - value.leading_zeros())
}

/// Shrinks the run with these choices, which must fail. `fails` says whether a run still does.
pub(crate) fn shrink(
    choices: Vec<Choice>,
    budget: Budget,
    fails: &dyn Fn(&Report) -> bool,
    run: Runner<'_>,
) -> Option<Shrunk> {
    let (report, drawn) = run(&choices)?;
    if !fails(&report) {
        return None;
    }
    let mut shrinking = Shrinking {
        best: essence(drawn),
        report,
        runs: 1,
        budget,
        started: Instant::now(),
        fails,
        run,
    };
    loop {
        let before = shrinking.size();
        shrinking.cut_the_end();
        shrinking.drop_kinds();
        shrinking.drop_processes();
        shrinking.drop_chunks();
        shrinking.lower();
        shrinking.drop_pairs();
        if shrinking.size() == before || shrinking.is_over() {
            break;
        }
    }
    Some(Shrunk {
        choices: shrinking.best,
        report: shrinking.report,
        runs: shrinking.runs,
    })
}

/// The choices that matter.
pub(crate) fn essence(mut choices: Vec<Choice>) -> Vec<Choice> {
    choices.retain(|choice| choice.value > 0);
    choices
}

struct Shrinking<'a> {
    best: Vec<Choice>,
    report: Report,
    runs: u64,
    budget: Budget,
    started: Instant,
    fails: &'a dyn Fn(&Report) -> bool,
    run: Runner<'a>,
}

impl Shrinking<'_> {
    fn size(&self) -> Size {
        Size::of(&self.best, &self.report)
    }

    fn is_over(&self) -> bool {
        self.runs >= self.budget.runs || self.started.elapsed() >= self.budget.time
    }

    /// Takes the candidate if it fails as well, and is smaller.
    fn takes(&mut self, candidate: &[Choice]) -> bool {
        if self.is_over() {
            return false;
        }
        self.runs += 1;
        let Some((report, drawn)) = (self.run)(candidate) else {
            return false;
        };
        let drawn = essence(drawn);
        let smaller = Size::of(&drawn, &report) < self.size();
        if smaller && (self.fails)(&report) {
            self.best = drawn;
            self.report = report;
            return true;
        }
        false
    }

    /// What was drawn after the failure does not matter.
    fn cut_the_end(&mut self) {
        let (mut low, mut high) = (0, self.best.len());
        while low < high && !self.is_over() {
            let middle = usize::midpoint(low, high);
            let cut = self.best[..middle].to_vec();
            if self.takes(&cut) {
                high = self.best.len().min(middle);
            } else {
                low = middle + 1;
            }
        }
    }

    /// A whole kind of parts at once: all of the schedule, all resets.
    fn drop_kinds(&mut self) {
        let kinds: BTreeSet<usize> = self.best.iter().map(|choice| choice.part.kind()).collect();
        for kind in kinds {
            self.drop_where(|choice| choice.part.kind() == kind);
        }
    }

    fn drop_where(&mut self, dropped: impl Fn(&Choice) -> bool) -> bool {
        let kept: Vec<Choice> = (self.best.iter().copied())
            .filter(|choice| !dropped(choice))
            .collect();
        kept.len() < self.best.len() && self.takes(&kept)
    }

    /// One process's choices at once; and one process out of the crew, the later ones moving up.
    fn drop_processes(&mut self) {
        let mut process = self.report.processes;
        while process > 1 && !self.is_over() {
            let gone = process;
            self.drop_where(|choice| choice.part.process() == gone && !is_crew(choice));
            for apart in [1, 2, 3] {
                let candidate = without(&self.best, gone, apart);
                if self.takes(&candidate) {
                    break;
                }
            }
            process -= 1;
        }
    }

    /// Runs of choices, long ones first.
    fn drop_chunks(&mut self) {
        let mut length = self.best.len().div_ceil(2);
        while length > 0 && !self.is_over() {
            let mut start = 0;
            while start < self.best.len() {
                let end = (start + length).min(self.best.len());
                let kept = [&self.best[..start], &self.best[end..]].concat();
                if !self.takes(&kept) {
                    start = end;
                }
            }
            length /= 2;
        }
    }

    /// Two choices at once, wherever they are: of two that undo each other neither goes alone.
    fn drop_pairs(&mut self) {
        if self.best.len() > PAIRED_MAX {
            return;
        }
        let mut second = self.best.len();
        while second > 1 && !self.is_over() {
            second = second.min(self.best.len()).saturating_sub(1);
            for first in (0..second).rev() {
                let mut kept = self.best.clone();
                kept.remove(second);
                kept.remove(first);
                if self.takes(&kept) {
                    break;
                }
            }
        }
    }

    /// Each choice as low as it goes.
    fn lower(&mut self) {
        let mut index = 0;
        while index < self.best.len() && !self.is_over() {
            let choice = self.best[index];
            if !is_strike(&choice) {
                self.lower_one(choice);
            }
            index += 1;
        }
    }

    fn lower_one(&mut self, choice: Choice) {
        let value = choice.value;
        // Where values stand for things, a lower one need not be milder: the lowest are tried first.
        for lowest in 1..LOWEST_FEW.min(value) {
            if self.takes_lower(choice, lowest) {
                return;
            }
        }
        let (mut low, mut high) = (LOWEST_FEW.min(value), value);
        while low < high {
            let middle = u64::midpoint(low, high);
            if self.takes_lower(choice, middle) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
    }

    fn takes_lower(&mut self, lowered: Choice, value: u64) -> bool {
        let mut candidate = self.best.clone();
        let is_it = |choice: &&mut Choice| (choice.part, choice.nth) == (lowered.part, lowered.nth);
        let Some(choice) = candidate.iter_mut().find(is_it) else {
            return false;
        };
        choice.value = value;
        self.takes(&candidate)
    }
}

/// A fault that strikes: it does or it does not.
fn is_strike(choice: &Choice) -> bool {
    matches!(choice.part, Part::Fault(..) | Part::Point(..)) && choice.below == WEIGHT_MAX
}

fn is_crew(choice: &Choice) -> bool {
    matches!(choice.part, Part::Crew(_))
}

/// The choices with a process taken out. It is a member of the crew, if its number and the place are
/// `apart` from each other: the program is the first process, but the crew's own children count too.
fn without(choices: &[Choice], process: u64, apart: u64) -> Vec<Choice> {
    let place = process.saturating_sub(apart + 1);
    let mut kept = Vec::with_capacity(choices.len());
    for choice in choices {
        let own = choice.part.process();
        let gone = if is_crew(choice) { place } else { process };
        let mut choice = *choice;
        if matches!(choice.part, Part::Swarm | Part::Server) || own < gone {
            kept.push(choice);
        } else if own > gone {
            choice.part = choice.part.of(own - 1);
            kept.push(choice);
        }
    }
    // The first draw of the program is how many there are.
    for choice in &mut kept {
        if choice.part == Part::Workload(1, 0) && choice.nth == 0 {
            choice.value = members(choice.value) - 1;
        }
    }
    kept
}
