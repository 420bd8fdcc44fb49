//! "Once": every commit belongs to exactly one call, and every returned call to its one effect.

use super::timeline::{Timeline, before};
use super::{ATOMIC, Call, Calls, End, ONCE, Verdict, batches, model, transactions};
use crate::history::{Changed, Committed};
use crate::workloads::models;
use std::collections::BTreeMap;
use zproc::seam::proto::ids::{ProcessId, Revision};
use zproc::seam::proto::locks::LOCK_PREFIX;
use zproc::seam::proto::message::{Reply, Request};

/// Which call made which commit.
#[derive(Debug, Default)]
pub(crate) struct Attribution {
    commit_of: BTreeMap<usize, Revision>,
    call_of: BTreeMap<Revision, usize>,
}

impl Attribution {
    /// The revision of the call's commit.
    pub(crate) fn commit_of(&self, call: usize) -> Option<Revision> {
        self.commit_of.get(&call).copied()
    }

    /// The call that made the commit.
    pub(crate) fn call_of(&self, revision: Revision) -> Option<usize> {
        self.call_of.get(&revision).copied()
    }

    fn claim(&mut self, call: usize, revision: Revision) {
        self.commit_of.insert(call, revision);
        self.call_of.insert(revision, call);
    }
}

/// The namespace of the framework's records.
pub(crate) const RECORDS: &str = "";

/// What a call would have to do with a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// It does exactly this.
    Exact,
    /// It is of this kind, but does something else.
    Wrong,
    /// It has nothing to do with it.
    None,
}

/// Is this a commit that some call has asked for? Releases, the changes of a process's record, and the
/// record of a program that is taken in are the framework's own.
fn is_asked_for(commit: &Committed) -> bool {
    let programs = format!("process/{}", commit.process.0);
    let own = |change: &Changed| {
        let is_its = change.before.is_some() || is_lock(change) || change.key == programs;
        change.namespace == RECORDS && is_its
    };
    commit.released.is_none() && !(commit.changes.iter().all(own) && commit.resets.is_empty())
}

/// Is this the record of a lock?
pub(crate) fn is_lock(change: &Changed) -> bool {
    change.namespace == RECORDS && change.key.starts_with(LOCK_PREFIX)
}

/// The changes of a commit but those of records.
pub(crate) fn user_changes(commit: &Committed) -> impl Iterator<Item = &Changed> {
    commit
        .changes
        .iter()
        .filter(|change| change.namespace != RECORDS)
}

fn fit(call: &Call<'_>, commit: &Committed, timeline: &Timeline<'_>) -> Fit {
    if call.process != commit.process {
        return Fit::None;
    }
    let function = match &call.request {
        Request::Atomic { function, .. } => Some(function.name),
        Request::Commit { function, .. } => Some(*function),
        _ => None,
    };
    if function != commit.function.as_deref() {
        return Fit::None;
    }
    let at = before(commit.revision);
    let mut changes = user_changes(commit);
    let mut one = |namespace: &str, key: &str, value: Option<&[u8]>| {
        let first = changes.next();
        let alone = changes.next().is_none();
        match first {
            Some(c) if c.namespace == namespace && c.key == key => {
                if alone && c.after.as_deref() == value {
                    Fit::Exact
                } else {
                    Fit::Wrong
                }
            }
            _ => Fit::None,
        }
    };
    match &call.request {
        Request::Set {
            namespace,
            key,
            value,
            ..
        }
        | Request::GetOrInsert {
            namespace,
            key,
            value,
        } => one(namespace, key, Some(value)),
        Request::Remove { namespace, key } => one(namespace, key, None),
        Request::Clear { namespace } => fit_clear(commit, namespace, timeline, at),
        Request::Spawn { .. } => {
            let mut records = commit.changes.iter();
            let is_new = |change: &&Changed| {
                change.namespace == RECORDS && change.before.is_none() && !is_lock(change)
            };
            match records.find(is_new) {
                Some(_) => Fit::Exact,
                None => Fit::None,
            }
        }
        Request::Atomic { .. } => fit_atomic(call, commit, timeline, at),
        Request::Commit { parts, .. } => {
            match transactions::is_change_of(parts, commit, timeline) {
                true => Fit::Exact,
                false => Fit::Wrong,
            }
        }
        Request::Batch { .. } => match batches::run(call, timeline, at, commit.revision) {
            Some(ran) if batches::is_change_of(call, &ran, commit, timeline) => Fit::Exact,
            _ => Fit::Wrong,
        },
        _ => Fit::None,
    }
}

fn fit_clear(commit: &Committed, namespace: &str, timeline: &Timeline<'_>, at: Revision) -> Fit {
    if commit.resets.iter().any(|reset| reset == namespace) {
        return Fit::Exact;
    }
    let stood = timeline.entries(namespace, "", None, at);
    let all_removed = commit.changes.iter().all(|c| c.after.is_none());
    let gone = commit.changes.iter().map(|c| c.key.as_str());
    if !all_removed || commit.changes.iter().any(|c| c.namespace != namespace) {
        Fit::None
    } else if gone.eq(stood.iter().map(|(key, _)| *key)) {
        Fit::Exact
    } else {
        Fit::Wrong
    }
}

fn fit_atomic(call: &Call<'_>, commit: &Committed, timeline: &Timeline<'_>, at: Revision) -> Fit {
    let Some(ran) = model::run(call, timeline, at) else {
        return Fit::Exact;
    };
    let wanted = ran.changes.iter();
    let got = user_changes(commit).map(|change| (&change.key, &change.after));
    if ran.result.is_ok() && got.eq(wanted) {
        Fit::Exact
    } else {
        Fit::Wrong
    }
}

/// Would the call change nothing in the state at this revision?
fn is_idle(call: &Call<'_>, timeline: &Timeline<'_>, at: Revision) -> bool {
    match &call.request {
        Request::Remove { namespace, key } => timeline.get(namespace, key, at).is_none(),
        Request::GetOrInsert { namespace, key, .. } => timeline.get(namespace, key, at).is_some(),
        Request::Clear { namespace } => timeline.len(namespace, at) == 0,
        Request::Atomic { .. } => {
            let idle = |ran: models::Ran| ran.result.is_ok() && ran.changes.is_empty();
            model::run(call, timeline, at).is_none_or(idle)
        }
        Request::Commit { parts, .. } => transactions::changes(parts, timeline, at).is_empty(),
        Request::Batch { .. } => {
            batches::run(call, timeline, at, at).is_some_and(|ran| ran.is_idle())
        }
        _ => false,
    }
}

/// Does the call's reply say that there was nothing to remove?
fn says_idle(call: &Call<'_>) -> bool {
    let removes = matches!(call.request, Request::Remove { .. });
    let nothing = Reply::Written {
        revision: effective(call).unwrap_or_default(),
        before: None,
    };
    removes && matches!(&call.end, End::Returned { reply, .. } if *reply == nothing)
}

/// The revision at which a mutating call says that it took effect, if it returned and did not fail.
fn effective(call: &Call<'_>) -> Option<Revision> {
    let End::Returned { reply, .. } = &call.end else {
        return None;
    };
    match reply {
        Reply::Value { revision, .. }
        | Reply::Written { revision, .. }
        | Reply::Batched { revision, .. }
        | Reply::Returned { revision, .. }
        | Reply::Spawned { revision, .. } => Some(*revision),
        _ => None,
    }
}

/// Judges all commits and all mutating calls.
pub(crate) fn check(
    calls: &Calls<'_>,
    timeline: &Timeline<'_>,
    verdict: &mut Verdict,
) -> Attribution {
    let mut attribution = Attribution::default();
    // First those that can't have been idle, so that an idle call at the same revision does not
    // take the commit from the one that made it.
    for idle_ones in [false, true] {
        for (index, call) in calls.all.iter().enumerate() {
            let Some(revision) = effective(call).filter(|_| call.is_mutating()) else {
                continue;
            };
            if is_idle(call, timeline, revision) == idle_ones {
                claim(index, call, revision, timeline, &mut attribution, verdict);
            }
        }
    }
    claim_for_open_calls(calls, timeline, &mut attribution, verdict);
    attribution
}

fn claim(
    index: usize,
    call: &Call<'_>,
    revision: Revision,
    timeline: &Timeline<'_>,
    attribution: &mut Attribution,
    verdict: &mut Verdict,
) {
    let commit = timeline.commit(revision);
    // An earlier call that was given up may have made what this one found done.
    let own = commit.filter(|commit| commit.stamp > call.called && !says_idle(call));
    let fit = own.map_or(Fit::None, |commit| fit(call, commit, timeline));
    let claimed = attribution.call_of(revision).is_some();
    if fit == Fit::Exact && !claimed {
        verdict.judge(ONCE, true, String::new);
        attribution.claim(index, revision);
    } else if is_idle(call, timeline, revision) {
        verdict.judge(ONCE, true, String::new);
    } else if fit == Fit::Wrong && !claimed {
        attribution.claim(index, revision);
        verdict.judge(ATOMIC, false, || {
            format!(
                "{} took effect at {revision} and did not what it should: {:02x?}",
                call.story(),
                commit.map(|commit| &commit.changes)
            )
        });
    } else {
        verdict.judge(ONCE, false, || {
            let made = match attribution.call_of(revision) {
                Some(_) => "another call made the change of that revision",
                None => "there is no such change",
            };
            format!(
                "{} says that it took effect at {revision}, but {made}",
                call.story()
            )
        });
    }
}

/// What is left belongs to calls that did not return: each to at most one, each commit to one.
fn claim_for_open_calls(
    calls: &Calls<'_>,
    timeline: &Timeline<'_>,
    attribution: &mut Attribution,
    verdict: &mut Verdict,
) {
    let mut open: BTreeMap<ProcessId, Vec<usize>> = BTreeMap::new();
    for (index, call) in calls.all.iter().enumerate() {
        if call.is_mutating() && matches!(call.end, End::Open | End::Unknown) {
            open.entry(call.process).or_default().push(index);
        }
    }
    let mut taken_by: BTreeMap<usize, usize> = BTreeMap::new();
    let left: Vec<&Committed> = (timeline.commits.iter().copied())
        .filter(|c| is_asked_for(c) && attribution.call_of(c.revision).is_none())
        .collect();
    let candidates: Vec<Vec<usize>> = left
        .iter()
        .map(|commit| {
            let of_process = open.get(&commit.process).into_iter().flatten().copied();
            of_process
                .filter(|index| calls.all[*index].called < commit.stamp)
                .filter(|index| fit(&calls.all[*index], commit, timeline) == Fit::Exact)
                .collect()
        })
        .collect();
    for (index, commit) in left.iter().enumerate() {
        let mut tried = Vec::new();
        let found = augment(index, &candidates, &mut taken_by, &mut tried);
        if let Some(call) = calls
            .all
            .iter()
            .find(|call| !found && has_failed(call, commit))
        {
            verdict.judge(ATOMIC, false, || {
                format!(
                    "{} failed, and yet it made the change at {}: {:02x?}",
                    call.story(),
                    commit.revision,
                    commit.changes
                )
            });
            continue;
        }
        verdict.judge(ONCE, found, || {
            format!(
                "the change at {} (process {}, function {:?}, {:02x?}) belongs to no call: it was \
                 applied twice, or nobody asked for it",
                commit.revision, commit.process, commit.function, commit.changes
            )
        });
    }
    for (call, commit) in taken_by {
        attribution.claim(call, left[commit].revision);
    }
}

/// Did the call run the commit's function, around its time, and fail?
fn has_failed(call: &Call<'_>, commit: &Committed) -> bool {
    let name = match &call.request {
        Request::Atomic { function, .. } => function.name,
        Request::Commit { function, .. } => function,
        _ => return false,
    };
    let during = call.process == commit.process && call.called < commit.stamp;
    let End::Returned { stamp, reply } = &call.end else {
        return false;
    };
    let same = commit.function.as_deref() == Some(name);
    during && same && *stamp > commit.stamp && matches!(reply, Reply::Failed { .. })
}

/// Finds a call for a commit, moving others to calls that suit them too (Kuhn's algorithm).
fn augment(
    commit: usize,
    candidates: &[Vec<usize>],
    taken_by: &mut BTreeMap<usize, usize>,
    tried: &mut Vec<usize>,
) -> bool {
    for call in &candidates[commit] {
        if tried.contains(call) {
            continue;
        }
        tried.push(*call);
        let free = match taken_by.get(call).copied() {
            None => true,
            Some(other) => augment(other, candidates, taken_by, tried),
        };
        if free {
            taken_by.insert(*call, commit);
            return true;
        }
    }
    false
}
