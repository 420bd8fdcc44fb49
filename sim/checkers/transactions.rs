//! Transactions: what each has read stood at one revision, at the last moment before its writes if
//! it wrote; and while a lease is held, no other transaction writes what it is on.

use super::batches::integer;
use super::once::{Attribution, user_changes};
use super::timeline::{Timeline, before};
use super::{Calls, End, LINEARIZABLE, NO_LOST_WAKEUP, Verdict};
use crate::history::{Committed, Entry, History, Looked, Note, What};
use std::collections::BTreeMap;
use zproc::seam::proto::ids::{LeaseId, ProcessId, Revision};
use zproc::seam::proto::message::{Failure, Reply, Request};
use zproc::seam::proto::operations::{Leased, Operation, Part};

/// The key that an operation of a transaction writes; none: any.
pub(crate) fn written<'a>(write: &Operation<'a>) -> Option<&'a str> {
    match *write {
        Operation::Set { key, .. } | Operation::Remove { key } | Operation::Add { key, .. } => {
            Some(key)
        }
        _ => None,
    }
}

/// By namespace and key, what it becomes.
type Changes = BTreeMap<(String, String), Option<Vec<u8>>>;

/// What these writes change in the state at this revision.
pub(crate) fn changes(parts: &[Part<'_>], timeline: &Timeline<'_>, at: Revision) -> Changes {
    let mut changes = Changes::new();
    for part in parts {
        let id = |key: &str| (part.namespace.to_owned(), key.to_owned());
        for write in &part.writes {
            let there = |changes: &Changes, key: &str| match changes.get(&id(key)) {
                Some(changed) => changed.clone(),
                None => timeline.get(part.namespace, key, at).map(<[u8]>::to_vec),
            };
            match *write {
                Operation::Set { key, value, .. } => {
                    changes.insert(id(key), Some(value.to_vec()));
                }
                Operation::Remove { key } if there(&changes, key).is_some() => {
                    changes.insert(id(key), None);
                }
                Operation::Add { key, by } => {
                    let number = there(&changes, key).and_then(|value| integer(&value));
                    let sum = number.unwrap_or(0) + i128::from(by);
                    let bytes = i64::try_from(sum)
                        .ok()
                        .and_then(|sum| rmp_serde::to_vec(&sum).ok());
                    changes.insert(id(key), bytes);
                }
                Operation::Clear => {
                    for (key, _) in timeline.entries(part.namespace, "", None, at) {
                        changes.insert(id(key), None);
                    }
                }
                _ => {}
            }
        }
    }
    changes
}

/// Did these writes change just this?
pub(crate) fn is_change_of(
    parts: &[Part<'_>],
    commit: &Committed,
    timeline: &Timeline<'_>,
) -> bool {
    let mut wanted = changes(parts, timeline, before(commit.revision));
    for reset in &commit.resets {
        let part = parts.iter().find(|part| part.namespace == reset);
        let is_cleared = part.is_some_and(|part| part.writes.contains(&Operation::Clear));
        let stands = timeline.entries(reset, "", None, commit.revision);
        let stands = stands.into_iter().map(|(key, value)| (key, Some(value)));
        let filled = (wanted.iter())
            .filter(|((namespace, _), value)| namespace == reset && value.is_some())
            .map(|((_, key), value)| (key.as_str(), value.as_deref()));
        if !is_cleared || !stands.eq(filled) {
            return false;
        }
        wanted.retain(|(namespace, _), _| namespace != reset);
    }
    let got = user_changes(commit).map(|change| {
        (
            (change.namespace.clone(), change.key.clone()),
            change.after.clone(),
        )
    });
    got.eq(wanted)
}

pub(crate) fn check(
    history: &History,
    calls: &Calls<'_>,
    timeline: &Timeline<'_>,
    attribution: &Attribution,
    verdict: &mut Verdict,
) {
    check_reads(history, calls, timeline, verdict);
    check_leases(calls, timeline, attribution, verdict);
}

/// What a thread has done last, as far as it matters to what it says of a transaction.
#[derive(Default, Clone, Copy)]
struct Last {
    /// When it read the present last: the first read of a run does.
    read_at: u64,
    /// At which revision its last commit was done.
    committed: Option<Revision>,
}

fn check_reads(
    history: &History,
    calls: &Calls<'_>,
    timeline: &Timeline<'_>,
    verdict: &mut Verdict,
) {
    let mut notes: Vec<(&Entry, &[Looked], bool)> = (history.entries.iter())
        .filter_map(|entry| match &entry.what {
            What::Note(Note::Transacted { reads, wrote }) => Some((entry, &**reads, *wrote)),
            _ => None,
        })
        .collect();
    notes.reverse();
    let mut last: BTreeMap<(ProcessId, usize), Last> = BTreeMap::new();
    let mut tell = |until: u64, last: &BTreeMap<(ProcessId, usize), Last>| {
        while let Some((entry, reads, wrote)) = notes.pop_if(|(entry, ..)| entry.stamp < until) {
            let last = last.get(&(entry.process, entry.thread));
            let last = last.copied().unwrap_or_default();
            judge_reads(entry, reads, (wrote, last), timeline, verdict);
        }
    };
    for call in &calls.all {
        tell(call.called, &last);
        let own = last.entry((call.process, call.thread)).or_default();
        match (&call.request, &call.end) {
            (
                Request::Get { at: None, .. }
                | Request::Len { at: None, .. }
                | Request::Page { at: None, .. },
                _,
            ) => own.read_at = call.called,
            (
                Request::Commit { parts, .. },
                End::Returned {
                    reply: Reply::Written { revision, .. },
                    ..
                },
            ) if !parts.is_empty() => own.committed = Some(*revision),
            _ => {}
        }
    }
    tell(u64::MAX, &last);
}

fn judge_reads(
    entry: &Entry,
    reads: &[Looked],
    (wrote, last): (bool, Last),
    timeline: &Timeline<'_>,
    verdict: &mut Verdict,
) {
    let stand_at = |at: Revision| reads.iter().all(|looked| stands(looked, timeline, at));
    let (holds, when) = if wrote {
        let at = last.committed.map(before);
        (
            at.is_some_and(stand_at),
            format!("{at:?}, just before its writes"),
        )
    } else {
        let (from, until) = (
            timeline.newest_at(last.read_at),
            timeline.newest_at(entry.stamp),
        );
        let between = timeline
            .since(from.next())
            .iter()
            .map(|commit| commit.revision);
        let mut between = std::iter::once(from).chain(between.take_while(|at| *at <= until));
        (
            between.any(stand_at),
            format!("any revision from {from} to {until}"),
        )
    };
    verdict.judge(LINEARIZABLE, holds, || {
        format!(
            "process {} thread {}: what its transaction has read did not stand at {when}: {reads:?}",
            entry.process, entry.thread
        )
    });
}

fn stands(looked: &Looked, timeline: &Timeline<'_>, at: Revision) -> bool {
    let number = |value: &[u8]| integer(value).and_then(|number| i64::try_from(number).ok());
    match looked {
        Looked::Key(namespace, key, value) => {
            timeline.get(namespace, key, at).map(number) == value.map(Some)
        }
        Looked::Span(namespace, prefix, entries) => {
            let there = timeline.entries(namespace, prefix, None, at).into_iter();
            let seen = entries
                .iter()
                .map(|(key, value)| (key.as_str(), Some(*value)));
            there.map(|(key, value)| (key, number(value))).eq(seen)
        }
    }
}

/// A lease that was held for certain, from one stamp to another.
struct Held<'a> {
    process: ProcessId,
    lease: LeaseId,
    on: &'a [Leased<'a>],
    from: u64,
    until: u64,
}

impl Held<'_> {
    fn is_on(&self, namespace: &str, key: Option<&str>) -> bool {
        self.on.iter().any(|(of, leased)| {
            *of == namespace && (leased.is_none() || key.is_none() || *leased == key)
        })
    }
}

fn check_leases(
    calls: &Calls<'_>,
    timeline: &Timeline<'_>,
    attribution: &Attribution,
    verdict: &mut Verdict,
) {
    let mut held: Vec<Held<'_>> = Vec::new();
    for call in &calls.all {
        let given = match &call.end {
            End::Returned {
                stamp,
                reply: Reply::Done { .. },
            } => Some(*stamp),
            _ => None,
        };
        if let (Request::Lease { lease, on, .. }, Some(from)) = (&call.request, given) {
            let until = last_held(calls, call.process, *lease).unwrap_or(from);
            let (process, lease) = (call.process, *lease);
            let other = held.iter().find(|other| {
                let both = call.called > other.from && from < other.until;
                both && on
                    .iter()
                    .any(|(namespace, key)| other.is_on(namespace, *key))
            });
            verdict.judge(NO_LOST_WAKEUP, other.is_none(), || {
                let other = other.map(|other| other.process);
                format!("{} was given while {other:?} held it", call.story())
            });
            held.push(Held {
                process,
                lease,
                on,
                from,
                until,
            });
        }
    }
    for commit in &timeline.commits {
        let Some(call) = attribution
            .call_of(commit.revision)
            .map(|index| &calls.all[index])
        else {
            continue;
        };
        let Request::Commit { lease, .. } = &call.request else {
            continue;
        };
        let barred = held.iter().find(|held| {
            let own = held.process == call.process && Some(held.lease) == *lease;
            let during = held.from < commit.stamp && commit.stamp < held.until;
            let mut changes = user_changes(commit);
            !own && during && changes.any(|c| held.is_on(&c.namespace, Some(&c.key)))
        });
        verdict.judge(NO_LOST_WAKEUP, barred.is_none(), || {
            let holder = barred.map(|held| held.process);
            format!("{} wrote what {holder:?} had a lease on", call.story())
        });
    }
}

/// When the last commit was called that has still found its lease held.
fn last_held(calls: &Calls<'_>, process: ProcessId, id: LeaseId) -> Option<u64> {
    let is_held = |call: &&super::Call<'_>| {
        let named =
            matches!(call.request, Request::Commit { lease: Some(lease), .. } if lease == id);
        let failure = match &call.end {
            End::Returned {
                reply: Reply::Failed { failure, .. },
                ..
            } => Some(failure),
            _ => None,
        };
        call.process == process
            && named
            && matches!(failure, Some(Failure::Conflict { held: true, .. }))
    };
    calls.all.iter().rev().find(is_held).map(|call| call.called)
}
