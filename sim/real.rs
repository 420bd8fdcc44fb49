//! The workloads on real processes: what they ask of their world there, who of them dies where, and
//! the judgement of what they have recorded.
//!
//! `tests/real.rs` starts programs and looks after them; this is what they run.

use crate::checkers::{self, Ending, Violation};
use crate::choices::{Choices, Part, mix};
use crate::faults::Fault;
use crate::history::Note;
use crate::recorded;
use crate::workloads;
use crate::world::{self, RunEnd};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use zproc::Context;
use zproc::seam::proto::ids::ProcessId;
use zproc::seam::proto::limits::Limits;
use zproc::seam::record::{self, Death, Moment, Who};

pub use crate::recorded::{TAMPERS, Tally, Tamper};

/// The environment variable with the seed of the run.
pub const SEED: &str = "ZPROC_REAL_SEED";

/// Is this a real process of a recorded run, and not a simulated one?
pub(crate) fn is_here() -> bool {
    record::process().is_some() && world::with_any(|_| ()).is_none()
}

thread_local! {
    /// The calling thread's number within its process.
    static NUMBER: Cell<u64> = const { Cell::new(0) };
    static CHOICES: RefCell<Option<Choices>> = const { RefCell::new(None) };
}

/// Threads of one process have numbers below this.
const THREADS_MAX: u64 = 256;

/// The number of the calling thread among all of the run.
pub(crate) fn number() -> u64 {
    let process = record::process().map_or(0, |process| process.0);
    process * THREADS_MAX + NUMBER.get()
}

pub(crate) fn spawn<T: Send + 'static>(
    body: impl FnOnce() -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    static STARTED: AtomicU64 = AtomicU64::new(0);
    let number = STARTED.fetch_add(1, Ordering::Relaxed) + 1;
    std::thread::spawn(move || {
        NUMBER.set(number);
        body()
    })
}

/// Each thread draws for itself, so that what it draws does not depend on the others' speed.
pub(crate) fn choose(below: u64) -> u64 {
    draw(Part::Workload(0, 0), below)
}

/// For a member of the program's crew: drawn by the program alone.
pub(crate) fn choose_for(place: u64, below: u64) -> u64 {
    draw(Part::Crew(place), below)
}

/// Here the dead are dead by their own hand; only what comes after is the workload's to draw.
pub(crate) fn strikes(fault: Fault) -> bool {
    fault == Fault::Restart && choose(2) == 1
}

fn draw(part: Part, below: u64) -> u64 {
    CHOICES.with_borrow_mut(|choices| {
        let choices = choices.get_or_insert_with(|| {
            let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
            let seed: u64 = seed.expect("a recorded run has its seed in the environment");
            Choices::new(mix(seed) ^ mix(number() + 1))
        });
        choices.below(part, below)
    })
}

pub(crate) fn note(note: &Note) {
    let bytes = rmp_serde::to_vec_named(note).expect("a note is texts and numbers");
    record::note(&bytes);
}

/// How a program of [`program`] has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It came to its end.
    Finished,
    /// It lost its server, as it may if that was killed.
    Lost,
}

/// The program of a run.
///
/// # Errors
/// Any other than those of a lost server.
pub fn program() -> zproc::Result<Ended> {
    let ctx = Context::new()?;
    match workloads::program(&ctx) {
        Ok(()) => Ok(Ended::Finished),
        Err(error) if workloads::is_lost(&error) => Ok(Ended::Lost),
        Err(error) => Err(error),
    }
}

/// Processes that a run may have; those beyond are spared.
const PROCESSES: std::ops::Range<u64> = 2..40;

/// Who dies where in the run of a seed, as the recorder wants to be told.
#[must_use]
pub fn deaths(seed: u64) -> String {
    let mut choices = Choices::new(mix(seed) ^ mix(u64::MAX));
    let mut draw = |below| choices.below(Part::Swarm, below);
    // Some runs are calm, in some nobody is safe.
    let odds = [0, 2, 4, 8][draw(4) as usize];
    let span = [12, 60, 250, 600][draw(4) as usize];
    let mut deaths = Vec::new();
    let mut die = |who, span, draw: &mut dyn FnMut(u64) -> u64| {
        let moment = match (who, draw(4)) {
            (Who::Process(_), 0) => Moment::Halfway,
            (Who::Process(_), 1) => Moment::Unheard,
            (_, 2) => Moment::Before,
            _ => Moment::After,
        };
        let record = 1 + draw(span);
        let death = Death {
            who,
            record,
            moment,
        };
        deaths.push(death.to_string());
    };
    for process in PROCESSES {
        if draw(8) < odds {
            die(Who::Process(ProcessId(process)), span, &mut draw);
        }
    }
    // With any of these the whole tree ends.
    match draw(16) {
        0 => die(Who::Process(ProcessId::PROGRAM), 250, &mut draw),
        1 => die(Who::Server, 250, &mut draw),
        2 => die(Who::Keeper, 5, &mut draw),
        _ => {}
    }
    deaths.join(",")
}

/// What was recorded of a run.
pub struct Recording(recorded::Recorded);

/// What the checkers say of a run.
#[derive(Debug)]
pub struct Judgement {
    /// Guarantees that did not hold.
    pub violations: Vec<Violation>,
    /// How many observations were judged, by guarantee.
    pub judged: BTreeMap<&'static str, u64>,
}

impl Recording {
    /// Reads the directory of a run whose processes are all gone.
    ///
    /// # Errors
    /// It holds what nobody has recorded so.
    pub fn load(directory: &Path) -> Result<Recording, String> {
        recorded::load(directory).map(Recording)
    }

    /// What it holds, in numbers.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.0.tally
    }

    /// Judges it by the checkers of the simulator. `hung`: the program did not end by itself, so it
    /// is asked who waited for what.
    #[must_use]
    pub fn judge(&self, hung: bool) -> Judgement {
        let ending = Ending {
            // A tree that was cut off by the death of one of its pillars owes nobody anything.
            end: if hung {
                RunEnd::Stuck
            } else {
                RunEnd::Finished
            },
            limits: Limits::USUAL,
            has_points: false,
            alive: if hung { self.0.alive() } else { Vec::new() },
            waiting: Vec::new(),
        };
        let verdict = checkers::check(&self.0.history, &ending);
        Judgement {
            violations: verdict.violations,
            judged: verdict.judged,
        }
    }

    /// Falsifies it, if it holds what it takes. The checkers must notice.
    #[must_use]
    pub fn tamper(&mut self, how: Tamper) -> bool {
        recorded::tamper(&mut self.0.history, how)
    }
}
