//! The guarantees, each judged on what was observed, whatever the workload was.
//!
//! A checker knows nothing of the server's code: it compares what processes saw and what the server
//! logged with a naive model. Each counts the observations that it judged, so that a checker which
//! sees nothing is noticed.

pub(crate) mod bad_input;
pub(crate) mod batches;
pub(crate) mod bound;
pub(crate) mod bounded;
mod calls;
mod changes;
pub(crate) mod endings;
pub(crate) mod here;
pub(crate) mod locks;
pub(crate) mod model;
pub(crate) mod once;
pub(crate) mod outlives;
mod plain;
pub(crate) mod revision;
#[cfg(test)]
mod scripted;
pub(crate) mod search;
mod timeline;
pub(crate) mod transactions;
pub(crate) mod updates;
pub(crate) mod wakes;

pub(crate) use calls::{Call, Calls, End};

use crate::history::{History, Note, What};
use crate::world::RunEnd;
use serde::de::{Deserialize as _, Deserializer, Error as _};
use std::collections::BTreeMap;
use zproc::seam::proto::ids::ProcessId;
use zproc::seam::proto::limits::Limits;

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

/// A lock is held by one at a time, in the order of asking, and goes with its holder.
pub(crate) const LOCKS: &str = "Locks";

/// Everything has a named limit, and what comes to it is told so.
pub(crate) const BOUNDED: &str = "Bounded";

/// Malformed or hostile bytes cost the connection they came on, and nothing else.
pub(crate) const BAD_INPUT: &str = "Bad input is harmless";

/// When the program has ended, everything that it has started is dead.
pub(crate) const OUTLIVES: &str = "Nothing outlives";

/// Nothing in the core panics, and client and server never find fault with each other: judged by
/// the engine and the workloads.
pub(crate) const NO_SURPRISE: &str = "No surprise";

/// Beside the guarantees: calls that the search judged, without the revisions.
pub(crate) const SEARCHED: &str = "calls searched";
/// And those for which the search would have taken too long.
pub(crate) const GIVEN_UP: &str = "calls given up";

/// All guarantees that are judged.
pub const GUARANTEES: [&str; 11] = [
    LINEARIZABLE,
    ATOMIC,
    EVERY_UPDATE,
    NO_LOST_WAKEUP,
    ONCE,
    OWN_WRITES,
    BOUND,
    LOCKS,
    OUTLIVES,
    BOUNDED,
    BAD_INPUT,
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
/// An explanation is cut to this many characters.
const EXPLANATION_CHARS: usize = 20_000;

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

    pub(crate) fn violate(&mut self, guarantee: &'static str, mut explanation: String) {
        // What a reply held may be large.
        if let Some((end, _)) = explanation.char_indices().nth(EXPLANATION_CHARS) {
            explanation.truncate(end);
            explanation.push_str("...");
        }
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
    /// What the server allowed.
    pub(crate) limits: Limits,
    /// Fault points were active: in the code, not in the world.
    pub(crate) has_points: bool,
    /// Processes that had not ended.
    pub(crate) alive: Vec<ProcessId>,
    /// Who waits for what.
    pub(crate) waiting: Vec<String>,
}

/// Judges one run.
pub(crate) fn check(history: &History, ending: &Ending) -> Verdict {
    check_telling(history, ending, &mut |_| ())
}

/// The same; `done` is told the name of each part that has come to its end.
pub(crate) fn check_telling(
    history: &History,
    ending: &Ending,
    done: &mut dyn FnMut(&'static str),
) -> Verdict {
    let mut verdict = Verdict::default();
    judge_all(history, ending, &mut verdict, done);
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

fn judge_all(
    history: &History,
    ending: &Ending,
    verdict: &mut Verdict,
    done: &mut dyn FnMut(&'static str),
) {
    let calls = Calls::of(history);
    done("reading");
    let timeline = model::replay(&history.commits, verdict);
    done("timeline");
    let attribution = once::check(&calls, &timeline, verdict);
    done("once");
    model::check(&calls, &timeline, &attribution, verdict);
    done("naive model");
    revision::check(history, &calls, &timeline, &attribution, verdict);
    done("revision witness");
    transactions::check(history, &calls, &timeline, &attribution, verdict);
    done("transactions");
    here::check(history, &calls, &timeline, verdict);
    search::check(&calls, verdict);
    done("search");
    updates::check(history, &calls, &timeline, ending, verdict);
    changes::check(&calls, &timeline, verdict);
    done("updates");
    bound::check(history, &calls, &timeline, &attribution, ending, verdict);
    done("bound");
    locks::check(history, &timeline, verdict);
    done("locks");
    bounded::check(history, &calls, &timeline, &ending.limits, verdict);
    done("bounded");
    bad_input::check(history, ending, verdict);
    done("bad input");
    outlives::check(history, ending, verdict);
    done("outlives");
    endings::check(history, &calls, &timeline, ending, verdict);
    done("endings");
    wakes::check(&calls, &timeline, ending, verdict);
    done("wake-ups");
}
