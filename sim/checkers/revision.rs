//! "Linearizable" and "Own writes": the revision as the witness of the order of all operations.
//!
//! In linear time: an operation may not be answered at a revision older than one that was seen
//! before it was called, the state must have been at its revision at some instant between its call
//! and its return, each change has a revision of its own, and each read gives what the model holds
//! at its revision.

use super::once::Attribution;
use super::plain;
use super::timeline::{Timeline, before};
use super::updates::covers;
use super::{Call, Calls, End, LINEARIZABLE, OWN_WRITES, Verdict, batches};
use crate::history::{Changed, History, Note, What, revision_of};
use crate::workloads::models;
use std::collections::BTreeMap;
use zproc::seam::proto::codec;
use zproc::seam::proto::ids::{ProcessId, Revision};
use zproc::seam::proto::message::{Change, Condition, Failure, Filter, Reply, Request, Update};

/// Judges every reply that tells a revision.
pub(crate) fn check(
    history: &History,
    calls: &Calls<'_>,
    timeline: &Timeline<'_>,
    attribution: &Attribution,
    verdict: &mut Verdict,
) {
    check_order(history, calls, attribution, verdict);
    for (index, call) in calls.all.iter().enumerate() {
        let End::Returned { stamp, reply } = &call.end else {
            continue;
        };
        if let (Some(at), Reply::Compacted { oldest }) = (call.at(), reply) {
            verdict.judge(LINEARIZABLE, *oldest > at, || {
                format!("{} is told that {oldest} is held", call.story())
            });
        }
        if let Some(revision) = revision_of(reply) {
            match call.at() {
                Some(at) => check_past(call, (*stamp, reply), at, timeline, verdict),
                None => check_span(call, *stamp, revision, timeline, verdict),
            }
            check_read(call, reply, attribution.commit_of(index), timeline, verdict);
        }
    }
    for entry in &history.entries {
        if let What::Note(Note::Snapshot {
            namespace,
            revision,
            entries,
        }) = &entry.what
        {
            let expected = timeline.entries(namespace, "", None, *revision);
            let got = entries
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_slice()));
            verdict.judge(LINEARIZABLE, got.eq(expected.iter().copied()), || {
                format!(
                    "a snapshot of {namespace} in process {} at {revision} was {entries:02x?}, the \
                     state was {expected:02x?}",
                    entry.process
                )
            });
        }
    }
}

/// The largest revisions that have been seen so far.
#[derive(Debug, Default)]
struct Seen {
    by_all: Revision,
    by_process: BTreeMap<ProcessId, Revision>,
}

/// One pass over the history: what had been seen before each call began.
fn check_order(
    history: &History,
    calls: &Calls<'_>,
    attribution: &Attribution,
    verdict: &mut Verdict,
) {
    let mut seen = Seen::default();
    let mut seen_at_call: BTreeMap<(ProcessId, u64), (usize, Revision, Revision)> = BTreeMap::new();
    let mut next = 0;
    for entry in &history.entries {
        let revision = match &entry.what {
            What::Called { call, .. } => {
                let own = seen.by_process.get(&entry.process).copied();
                let at_call = (next, seen.by_all, own.unwrap_or_default());
                seen_at_call.insert((entry.process, *call), at_call);
                next += 1;
                continue;
            }
            What::Returned { call, reply } => {
                let Some(revision) = revision_of(&history.reply(reply)) else {
                    continue;
                };
                if let Some((index, all, own)) = seen_at_call.get(&(entry.process, *call)) {
                    // What is asked of the past says nothing of the present.
                    if calls.all[*index].at().is_some() {
                        continue;
                    }
                    let made = attribution.commit_of(*index);
                    judge_order(&calls.all[*index], revision, made, (*all, *own), verdict);
                }
                revision
            }
            What::Updated { update, .. } => history.update(update).revision,
            _ => continue,
        };
        seen.by_all = seen.by_all.max(revision);
        let own = seen.by_process.entry(entry.process).or_default();
        *own = (*own).max(revision);
    }
}

fn judge_order(
    call: &Call<'_>,
    revision: Revision,
    made: Option<Revision>,
    (all, own): (Revision, Revision),
    verdict: &mut Verdict,
) {
    // A change is newer than all that was seen before; a read is as new.
    let holds = |seen: Revision| match made {
        Some(made) => made > seen,
        None => revision >= seen,
    };
    verdict.judge(OWN_WRITES, holds(own), || {
        format!(
            "{} was answered at {revision}, after its process had seen {own}",
            call.story()
        )
    });
    verdict.judge(LINEARIZABLE, holds(all), || {
        format!(
            "{} was answered at {revision}, but {all} had been seen before it was called",
            call.story()
        )
    });
}

/// The state was at this revision at some instant between call and return.
fn check_span(
    call: &Call<'_>,
    returned: u64,
    revision: Revision,
    timeline: &Timeline<'_>,
    verdict: &mut Verdict,
) {
    let (from, until) = timeline.span(revision);
    // A revision is a change set: there is none that no commit has.
    let known = revision == Revision::ZERO || timeline.commit(revision).is_some();
    verdict.judge(LINEARIZABLE, known && from < returned && until > call.called, || {
        format!(
            "{} returned at {returned} with {revision}, which was the state's revision from {from} \
             to {until} only (all as stamps)",
            call.story()
        )
    });
}

/// What is asked of the past is told of that revision, unless it is still to come.
fn check_past(
    call: &Call<'_>,
    (returned, reply): (u64, &Reply<'_>),
    at: Revision,
    timeline: &Timeline<'_>,
    verdict: &mut Verdict,
) {
    let holds = match (reply, revision_of(reply)) {
        (Reply::Failed { failure, .. }, Some(now)) => {
            *failure == Failure::Future { asked: at } && at > now
        }
        (_, told) => told == Some(at) && at <= timeline.newest_at(returned),
    };
    verdict.judge(LINEARIZABLE, holds, || {
        let told = revision_of(reply);
        format!("{} was answered for {told:?}: {reply:02x?}", call.story())
    });
}

/// What a call got is what the model holds at its revision.
fn check_read(
    call: &Call<'_>,
    reply: &Reply<'_>,
    commit: Option<Revision>,
    timeline: &Timeline<'_>,
    verdict: &mut Verdict,
) {
    let expected = expected_lookup(call, reply, commit, timeline)
        .or_else(|| expected_batch(call, reply, commit, timeline))
        .or_else(|| expected_scan(call, reply, timeline));
    if let Some(expected) = expected {
        verdict.judge(LINEARIZABLE, expected.holds, || {
            format!(
                "{} got {reply:02x?}, the state has {}",
                call.story(),
                expected.story
            )
        });
    }
}

/// What a reply should have been.
struct Expected {
    holds: bool,
    story: String,
}

impl Expected {
    fn new(holds: bool, expected: &dyn std::fmt::Debug) -> Expected {
        // Told only if it does not hold.
        let story = if holds {
            String::new()
        } else {
            format!("{expected:02x?}")
        };
        Expected { holds, story }
    }
}

/// For calls that ask for one value or a number.
fn expected_lookup(
    call: &Call<'_>,
    reply: &Reply<'_>,
    commit: Option<Revision>,
    timeline: &Timeline<'_>,
) -> Option<Expected> {
    let (namespace, revision) = match (&call.request, reply) {
        (
            Request::Get { namespace, .. } | Request::GetOrInsert { namespace, .. },
            Reply::Value { revision, .. },
        )
        | (Request::Len { namespace, .. }, Reply::Count { revision, .. })
        | (Request::Remove { namespace, .. }, Reply::Written { revision, .. })
        | (Request::Wait { namespace, .. }, Reply::Returned { revision, .. }) => {
            (*namespace, *revision)
        }
        _ => return None,
    };
    Some(match (&call.request, reply) {
        (
            Request::Get { key, .. } | Request::GetOrInsert { key, .. },
            Reply::Value { value, .. },
        ) => {
            let expected = timeline.get(namespace, key, revision);
            Expected::new(*value == expected, &expected)
        }
        (Request::Len { .. }, Reply::Count { count, .. }) => {
            let expected = timeline.len(namespace, revision);
            Expected::new(*count == expected, &expected)
        }
        (
            Request::Remove { key, .. },
            Reply::Written {
                before: removed, ..
            },
        ) => {
            let at = commit.map_or(revision, before);
            let expected = timeline.get(namespace, key, at);
            Expected::new(*removed == expected, &expected)
        }
        (Request::Wait { condition, .. }, Reply::Returned { value, .. }) => {
            let expected = condition_at(namespace, condition, timeline, revision)?;
            Expected::new(expected.as_deref() == Some(*value), &expected)
        }
        _ => return None,
    })
}

/// For batches: those too that were not done, for what they found.
fn expected_batch(
    call: &Call<'_>,
    reply: &Reply<'_>,
    commit: Option<Revision>,
    timeline: &Timeline<'_>,
) -> Option<Expected> {
    let revision = revision_of(reply)?;
    let ran = batches::run(call, timeline, commit.map_or(revision, before), revision)?;
    let holds = batches::is_answered_by(&ran, reply)?;
    Some(Expected::new(holds, ran.story()))
}

/// For calls that ask for many entries or updates.
fn expected_scan(call: &Call<'_>, reply: &Reply<'_>, timeline: &Timeline<'_>) -> Option<Expected> {
    match (&call.request, reply) {
        (
            Request::Page {
                namespace,
                span,
                after,
                values,
                ..
            },
            Reply::Page {
                revision,
                entries,
                more,
            },
        ) => {
            let mut expected = timeline.entries(namespace, span.prefix, *after, *revision);
            expected
                .retain(|(key, _)| *key >= span.from && span.until.is_none_or(|end| *key < end));
            if !values {
                expected.iter_mut().for_each(|(_, value)| *value = &[]);
            }
            // What is there until the place from which the next page goes on.
            if let Some(more) = more {
                expected.retain(|(key, _)| key <= more);
            }
            let holds = *entries == expected && more.is_none_or(|more| Some(more) > *after);
            Some(Expected::new(holds, &expected))
        }
        (
            Request::Updates {
                namespace,
                filter,
                after,
                ..
            },
            Reply::Updates {
                revision,
                updates,
                until,
            },
        ) => {
            let until = (*until).min(*revision);
            let holds = are_updates((namespace, filter), *after, until, updates, timeline);
            Some(Expected::new(holds, &"other updates"))
        }
        _ => None,
    }
}

/// What a wait for this condition is answered at a revision: `None` when it is not known here,
/// `Some(None)` when the condition does not hold.
pub(crate) fn condition_at(
    namespace: &str,
    condition: &Condition<'_>,
    timeline: &Timeline<'_>,
    at: Revision,
) -> Option<Option<Vec<u8>>> {
    match condition {
        Condition::Equal { key, value } => {
            let there = timeline.get(namespace, key, at);
            let holds = there.is_some_and(|there| plain::equal(there, value));
            Some(holds.then(Vec::new))
        }
        Condition::Key { key, test } => {
            let there = timeline.get(namespace, key, at);
            let there = there.map(|value| (value.to_vec(), timeline.version(namespace, key, at)));
            let holds = batches::holds(*test, there.as_ref());
            Some(holds.then(|| there.map(|(value, _)| value).unwrap_or_default()))
        }
        Condition::Function { function, .. } => {
            let get = |key: &str| timeline.get(namespace, key, at).map(<[u8]>::to_vec);
            let entries = || {
                let entries = timeline.entries(namespace, "", None, at);
                (entries.into_iter())
                    .map(|(key, value)| (key.to_owned(), value.to_vec()))
                    .collect()
            };
            models::condition(function.name, &get, &entries)
        }
        Condition::Ended { .. } | Condition::Changed { .. } => None,
    }
}

/// Are these all the updates of the namespace in a range of revisions?
fn are_updates(
    (namespace, filter): (&str, &Filter<'_>),
    after: Revision,
    until: Revision,
    updates: &[&[u8]],
    timeline: &Timeline<'_>,
) -> bool {
    let wanted = |c: &Changed| c.namespace == namespace && covers(filter, &c.key);
    let expected = (timeline.since(after.next()).iter())
        .take_while(|commit| commit.revision <= until)
        .filter(|commit| {
            commit.changes.iter().any(wanted)
                || commit.resets.iter().any(|reset| reset == namespace)
        });
    let decoded: Option<Vec<Update<'_>>> = updates.iter().map(|u| codec::decode(u).ok()).collect();
    decoded.is_some_and(|decoded| {
        decoded.len() == expected.clone().count()
            && decoded.iter().zip(expected).all(|(update, commit)| {
                let changes = commit.changes.iter().filter(|c| wanted(c));
                update.revision == commit.revision
                    && (update.reset
                        || update.changes.iter().copied().eq(changes.map(|c| Change {
                            key: &c.key,
                            before: c.before.as_deref(),
                            after: c.after.as_deref(),
                        })))
            })
    })
}
