//! "Nothing outlives": when the program has ended, or server or keeper is lost, everything that the
//! program has started is dead soon.

use super::{Ending, OUTLIVES, Verdict};
use crate::history::{History, What};
use crate::seen::Seen;
use crate::world::RunEnd;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use zproc::seam::proto::ids::ProcessId;
use zproc::seam::proto::time::Time;

/// How much simulated time may pass from the tree's end to the last death. A kill takes
/// microseconds; a start that was under way, milliseconds.
pub(crate) const GONE_WITHIN: Duration = Duration::from_secs(1);

/// How long after the program's end a process may begin. The keeper hears of it at once.
pub(crate) const BEGUN_WITHIN: Duration = Duration::from_micros(10);

/// Judges every process that ever began.
pub(crate) fn check(history: &History, ending: &Ending, verdict: &mut Verdict) {
    let mut began: BTreeMap<ProcessId, Time> = BTreeMap::new();
    let mut gone: BTreeMap<ProcessId, Time> = BTreeMap::new();
    let mut died: BTreeSet<ProcessId> = BTreeSet::new();
    let mut guests: BTreeSet<ProcessId> = BTreeSet::new();
    // The first of what ends the tree.
    let mut doomed: Option<Time> = None;
    for entry in &history.entries {
        match entry.what {
            What::Seen(Seen::Began { at }) => {
                began.insert(entry.process, at);
            }
            What::Seen(Seen::Gone { at }) => {
                gone.insert(entry.process, at);
            }
            // It is not of this tree.
            What::Seen(Seen::Guest) => {
                guests.insert(entry.process);
            }
            What::Seen(Seen::Doomed { at }) => {
                doomed.get_or_insert(at);
            }
            What::Died { .. } => {
                died.insert(entry.process);
            }
            _ => {}
        }
    }
    began.retain(|process, _| !guests.contains(process));
    let ended = gone.get(&ProcessId::PROGRAM).copied();
    if let Some(ended) = ended {
        let latest = ended.after(BEGUN_WITHIN);
        for (process, began) in &began {
            verdict.judge(OUTLIVES, *began <= latest, || {
                format!("the program ended at {ended:?}, and process {process} began at {began:?}")
            });
        }
    }
    let Some(ended) = doomed.into_iter().chain(ended).min() else {
        return;
    };
    let latest = ended.after(GONE_WITHIN);
    for (process, began) in began {
        let end = gone.get(&process).filter(|_| died.contains(&process));
        // A run that did not finish stopped in the middle: some may still have had time to die.
        if end.is_none() && ending.end != RunEnd::Finished {
            continue;
        }
        // The program is told of a loss, and ends when it likes; the rest of the tree does not.
        if process == ProcessId::PROGRAM && doomed.is_some() {
            continue;
        }
        verdict.judge(OUTLIVES, end.is_some_and(|end| *end <= latest), || {
            format!(
                "process {process} began at {began:?}, the tree ended at {ended:?}, and the \
                 process at {end:?}"
            )
        });
    }
}
