//! "Bound to a process": what a process owns goes in one revision when it dies, after its last
//! writes, and its end is told only afterwards.

use super::batches::{self, Owner};
use super::once::{Attribution, RECORDS, user_changes};
use super::timeline::Timeline;
use super::{BOUND, Calls, End, Ending, Verdict, bad_input, bounded};
use crate::history::{Committed, Entry, History, Lost, Note, What};
use crate::seen::Seen;
use crate::world::RunEnd;
use std::collections::{BTreeMap, BTreeSet};
use zproc::seam::proto::ids::{ProcessId, Revision};
use zproc::seam::proto::message::{Condition, Reply, Request};

/// Who owns which keys, by the model.
type Owners<'a> = BTreeMap<(&'a str, &'a str), ProcessId>;

/// Judges each release and each process's end.
pub(crate) fn check(
    history: &History,
    calls: &Calls<'_>,
    timeline: &Timeline<'_>,
    attribution: &Attribution,
    ending: &Ending,
    verdict: &mut Verdict,
) {
    let ends = ends_of(timeline);
    let deaths = deaths_of(history);
    // The first release of each process after its death: nothing of it may come behind that.
    let mut last_words: BTreeMap<ProcessId, Revision> = BTreeMap::new();
    let mut owners = Owners::new();
    for commit in &timeline.commits {
        if user_changes(commit).next().is_some() {
            let over = last_words.get(&commit.process);
            verdict.judge(BOUND, over.is_none(), || {
                format!(
                    "process {} was released at {over:?}, and has changes at {} still",
                    commit.process, commit.revision
                )
            });
        }
        let dead = deaths
            .get(&commit.process)
            .is_some_and(|died| *died < commit.stamp);
        if dead && commit.released.is_some() {
            last_words.entry(commit.process).or_insert(commit.revision);
        }
        if commit.released.is_some() {
            judge_release(commit, &mut owners, verdict);
            continue;
        }
        let call = attribution
            .call_of(commit.revision)
            .map(|call| &calls.all[call].request);
        owners.retain(|(namespace, _), _| !commit.resets.iter().any(|reset| reset == namespace));
        let owned = matches!(call, Some(Request::Set { owned: true, .. }));
        for change in user_changes(commit).chain(&commit.refilled) {
            let key = (change.namespace.as_str(), change.key.as_str());
            let owner = match call {
                Some(Request::Batch { operations, .. }) => batches::owner_after(operations, key.1),
                _ if owned => Owner::Asker,
                _ => Owner::Nobody,
            };
            if change.after.is_none() || owner == Owner::Nobody {
                owners.remove(&key);
            } else if owner == Owner::Asker {
                owners.insert(key, commit.process);
            }
        }
    }
    // Without a server, or anybody who tells it, an end is recorded nowhere.
    let is_lost = judge_losses(history, timeline, verdict);
    if ending.end == RunEnd::Finished && !is_lost {
        check_ends(history, &owners, &ends, verdict);
    }
    // A write that came to a limit was refused, and nobody is left to be told.
    if !bounded::may_refuse(&ending.limits) {
        check_last_writes(history, calls, attribution, &ends, verdict);
    }
    check_told(calls, &ends, verdict);
}

/// Was the server or the keeper lost? A server that is lost commits nothing more.
fn judge_losses(history: &History, timeline: &Timeline<'_>, verdict: &mut Verdict) -> bool {
    let mut is_lost = false;
    for entry in &history.entries {
        let What::Note(Note::Lost(lost)) = &entry.what else {
            continue;
        };
        is_lost = true;
        let newest = timeline.commits.last().map_or(0, |commit| commit.stamp);
        if *lost == Lost::Server {
            verdict.judge(BOUND, newest < entry.stamp, || {
                format!(
                    "the server was lost at stamp {} and committed at {newest}",
                    entry.stamp
                )
            });
        }
    }
    is_lost
}

/// When each process's memory was gone, as a stamp.
fn deaths_of(history: &History) -> BTreeMap<ProcessId, u64> {
    let died = history.entries.iter().filter_map(|entry| match entry.what {
        What::Died { .. } => Some((entry.process, entry.stamp)),
        _ => None,
    });
    died.collect()
}

/// The commit that says that a process has ended, by process.
fn ends_of<'a>(timeline: &Timeline<'a>) -> BTreeMap<ProcessId, &'a Committed> {
    let mut ends = BTreeMap::new();
    for commit in &timeline.commits {
        for process in ended_in(commit) {
            ends.entry(process).or_insert(*commit);
        }
    }
    ends
}

/// The processes of which a commit says that they have ended.
pub(crate) fn ended_in(commit: &Committed) -> impl Iterator<Item = ProcessId> {
    let records = commit.changes.iter().filter(|c| c.namespace == RECORDS);
    records.filter_map(|change| {
        let id = change.key.strip_prefix("process/")?.parse().ok()?;
        is_ended(change.after.as_ref()?).then_some(ProcessId(id))
    })
}

/// Does the record say that its process has ended?
pub(crate) fn is_ended(record: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Record {
        state: String,
    }
    rmp_serde::from_slice::<Record>(record).is_ok_and(|record| record.state == "ended")
}

fn judge_release<'a>(commit: &'a Committed, owners: &mut Owners<'a>, verdict: &mut Verdict) {
    let owned: BTreeSet<(&str, &str)> = (owners.iter())
        .filter(|(_, owner)| **owner == commit.process)
        .map(|(key, _)| *key)
        .collect();
    let released: BTreeSet<(&str, &str)> = user_changes(commit)
        .map(|change| (change.namespace.as_str(), change.key.as_str()))
        .collect();
    let all_gone = user_changes(commit).all(|change| change.after.is_none());
    verdict.judge(BOUND, owned == released && all_gone, || {
        format!(
            "{} released {released:?} of process {}, which owned {owned:?}",
            commit.revision, commit.process
        )
    });
    let how = commit.released.as_deref().unwrap_or_default();
    verdict.judge(BOUND, !how.is_empty(), || {
        format!(
            "{} does not say how process {} died",
            commit.revision, commit.process
        )
    });
    let of_session = ["it said goodbye", "its session was lost"].contains(&how);
    let told = ended_in(commit).any(|ended| ended == commit.process);
    verdict.judge(BOUND, of_session || told, || {
        format!(
            "{} released what process {} owned, which died, and its record does not say so yet",
            commit.revision, commit.process
        )
    });
    let lost = commit.attached && how == "its session was lost";
    verdict.judge(BOUND, !lost, || {
        format!(
            "{} released what process {} owned, for want of a connection, though it had one",
            commit.revision, commit.process
        )
    });
    for key in owned.union(&released) {
        owners.remove(key);
    }
}

/// Of a process that died, nothing is left.
fn check_ends(
    history: &History,
    owners: &Owners<'_>,
    ends: &BTreeMap<ProcessId, &Committed>,
    verdict: &mut Verdict,
) {
    let abandoned = |entry: &&Entry| matches!(entry.what, What::Seen(Seen::Abandoned));
    let abandoned = history.entries.iter().filter(abandoned);
    let abandoned: BTreeSet<ProcessId> = abandoned.map(|entry| entry.process).collect();
    for entry in &history.entries {
        let What::Died { status, .. } = &entry.what else {
            continue;
        };
        let process = entry.process;
        // Who has lost its keeper is taken for dead before it is.
        if process == ProcessId::PROGRAM || abandoned.contains(&process) {
            continue;
        }
        let left: Vec<_> = owners.iter().filter(|(_, o)| **o == process).collect();
        verdict.judge(BOUND, left.is_empty(), || {
            format!("process {process} has died (status {status}) and still owns {left:?}")
        });
        let told = ends.get(&process);
        verdict.judge(BOUND, told.is_some_and(|end| end.stamp > entry.stamp), || {
            format!(
                "process {process} died at stamp {} (status {status}), its record says so at {:?}",
                entry.stamp,
                told.map(|end| end.stamp)
            )
        });
    }
}

/// What a dead process had written whole into its connection was applied before its release.
fn check_last_writes(
    history: &History,
    calls: &Calls<'_>,
    attribution: &Attribution,
    ends: &BTreeMap<ProcessId, &Committed>,
    verdict: &mut Verdict,
) {
    let hostile = bad_input::hostile(history);
    for entry in &history.entries {
        let What::Died { unread, .. } = &entry.what else {
            continue;
        };
        let Some(end) = ends.get(&entry.process) else {
            continue;
        };
        for request in unread {
            let Ok(request) = zproc::seam::proto::codec::decode::<Request<'_>>(request) else {
                continue;
            };
            // A set always changes something, so its commit must be there; what else lay there may
            // have changed nothing.
            if !matches!(request, Request::Set { .. }) || hostile.contains(&entry.process) {
                continue;
            }
            let applied = calls.all.iter().enumerate().any(|(index, call)| {
                call.process == entry.process
                    && call.request == request
                    && (attribution.commit_of(index)).is_some_and(|at| at <= end.revision)
            });
            verdict.judge(BOUND, applied, || {
                format!(
                    "process {} had written {request:?} before it died, and it was not applied \
                     before its release at {}",
                    entry.process, end.revision
                )
            });
        }
    }
}

/// A process's end is told when it has been committed, not before.
fn check_told(calls: &Calls<'_>, ends: &BTreeMap<ProcessId, &Committed>, verdict: &mut Verdict) {
    for call in &calls.all {
        let Request::Wait {
            condition: Condition::Ended { process },
            ..
        } = &call.request
        else {
            continue;
        };
        if let End::Returned {
            stamp,
            reply: Reply::Ended { revision, .. },
        } = &call.end
        {
            let end = ends.get(process);
            let at = end.map_or(Revision(u64::MAX), |end| end.revision);
            let after = end.is_some_and(|end| end.stamp < *stamp && at <= *revision);
            verdict.judge(BOUND, after, || {
                format!(
                    "process {} was told the end of {process} at {revision}, its record and \
                     release came at {:?}",
                    call.process,
                    end.map(|end| end.revision)
                )
            });
        }
    }
}
