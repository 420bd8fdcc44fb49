//! The guarantees, each judged on what was observed, whatever the workload was.
//!
//! A checker knows nothing of the server's code: it compares what processes saw and what the server
//! logged with a naive model. Each counts the observations that it judged, so that a checker which
//! sees nothing is noticed.

pub(crate) mod bound;
mod calls;
pub(crate) mod model;
pub(crate) mod once;
mod plain;
pub(crate) mod revision;
#[cfg(test)]
mod scripted;
mod timeline;
pub(crate) mod updates;
pub(crate) mod wakes;

pub(crate) use calls::{Call, Calls, End};

use crate::history::{History, Note, What};
use crate::world::RunEnd;
use serde::de::{Deserialize as _, Deserializer, Error as _};
use std::collections::BTreeMap;
use zproc::seam::proto::ids::ProcessId;

/// Every operation takes effect at one instant between its call and its return.
pub(crate) const LINEARIZABLE: &str = "Linearizable";
/// All writes of a change set appear at one revision, or none does.
pub(crate) const ATOMIC: &str = "Atomic";
/// A watch gives each revision that touches its filter once, in order.
pub(crate) const EVERY_UPDATE: &str = "Every update";
/// A wait tests the present state, then every later revision.
pub(crate) const NO_LOST_WAKEUP: &str = "No lost wake-up";
/// A call that returned was applied exactly once.
pub(crate) const ONCE: &str = "Once";
/// A process never sees an older revision after a newer one.
pub(crate) const OWN_WRITES: &str = "Own writes";
/// What a process owns goes in one revision when it dies, after its last writes.
pub(crate) const BOUND: &str = "Bound to a process";

/// Nothing in the core panics, and client and server never find fault with each other: judged by
/// the engine and the workloads.
pub(crate) const NO_SURPRISE: &str = "No surprise";

/// All guarantees that are judged.
pub const GUARANTEES: [&str; 7] = [
    LINEARIZABLE,
    ATOMIC,
    EVERY_UPDATE,
    NO_LOST_WAKEUP,
    ONCE,
    OWN_WRITES,
    BOUND,
];

/// A guarantee's name.
pub(crate) type Guarantee = &'static str;

/// Reads the name of one of the guarantees.
pub(crate) fn known_guarantee<'de, D: Deserializer<'de>>(from: D) -> Result<Guarantee, D::Error> {
    let name = String::deserialize(from)?;
    let mut known = GUARANTEES.into_iter().chain([NO_SURPRISE]);
    known
        .find(|known| *known == name)
        .ok_or_else(|| D::Error::custom(format!("{name:?} is no guarantee")))
}

/// A guarantee that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The guarantee's name.
    pub guarantee: &'static str,
    /// What was wrong, with the process and the revision concerned.
    pub explanation: String,
}

/// What all checkers together found.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// How many observations each checker judged.
    pub(crate) judged: BTreeMap<&'static str, u64>,
    pub(crate) violations: Vec<Violation>,
}

/// Violations of one guarantee that are listed; more of the same explain nothing.
const LISTED_MAX: usize = 5;

impl Verdict {
    pub(crate) fn judge(
        &mut self,
        guarantee: &'static str,
        holds: bool,
        explain: impl FnOnce() -> String,
    ) {
        *self.judged.entry(guarantee).or_default() += 1;
        if !holds {
            self.violate(guarantee, explain());
        }
    }

    pub(crate) fn violate(&mut self, guarantee: &'static str, explanation: String) {
        let of_same = self.violations.iter().filter(|v| v.guarantee == guarantee);
        if of_same.count() < LISTED_MAX {
            self.violations.push(Violation {
                guarantee,
                explanation,
            });
        }
    }
}

/// How the run ended, for those who judge liveness.
#[derive(Debug, Clone)]
pub(crate) struct Ending {
    pub(crate) end: RunEnd,
    /// Processes that had not ended.
    pub(crate) alive: Vec<ProcessId>,
    /// Who waits for what.
    pub(crate) waiting: Vec<String>,
}

/// Judges one run.
pub(crate) fn check(history: &History, ending: &Ending) -> Verdict {
    let mut verdict = Verdict::default();
    let calls = Calls::of(history);
    let timeline = model::replay(&history.commits, &mut verdict);
    let attribution = once::check(&calls, &timeline, &mut verdict);
    model::check(&calls, &timeline, &attribution, &mut verdict);
    revision::check(history, &calls, &timeline, &attribution, &mut verdict);
    updates::check(history, &calls, &timeline, ending, &mut verdict);
    bound::check(
        history,
        &calls,
        &timeline,
        &attribution,
        ending,
        &mut verdict,
    );
    wakes::check(&calls, &timeline, ending, &mut verdict);
    for entry in &history.entries {
        if let What::Note(Note::Broken {
            guarantee,
            explanation,
        }) = &entry.what
        {
            let process = entry.process;
            verdict.violate(guarantee, format!("process {process}: {explanation}"));
        }
    }
    verdict
}
