//! "Atomic": the naive model.
//!
//! Replays every commit in a plain map: what a commit says was there before must have been there,
//! so nothing changes between commits and nothing of a failed change set stays. And the functions
//! of the workloads, written a second time in plain Rust, must have done the same.

use super::once::Attribution;
use super::timeline::{Timeline, before};
use super::{ATOMIC, Call, Calls, End, Verdict};
use crate::history::Committed;
use crate::workloads::models::{self, Ran};
use zproc::seam::proto::ids::Revision;
use zproc::seam::proto::message::{Failure, Reply, Request};

/// Builds the timeline, and judges each commit against what stood before.
pub(crate) fn replay<'a>(commits: &'a [Committed], verdict: &mut Verdict) -> Timeline<'a> {
    let mut timeline = Timeline::default();
    for commit in commits {
        let newest = timeline.newest();
        verdict.judge(ATOMIC, commit.revision > newest, || {
            format!("revision {} was committed after {newest}", commit.revision)
        });
        for change in &commit.changes {
            let stood = timeline.get(&change.namespace, &change.key, newest);
            verdict.judge(ATOMIC, change.before.as_deref() == stood, || {
                format!(
                    "at {} (process {}, function {:?}) {}/{} was {:02x?} before, but the commits \
                     up to there left {stood:02x?}",
                    commit.revision,
                    commit.process,
                    commit.function,
                    change.namespace,
                    change.key,
                    change.before,
                )
            });
        }
        timeline.push(commit);
    }
    timeline
}

/// Judges what functions that ran in the server changed and answered.
pub(crate) fn check(
    calls: &Calls<'_>,
    timeline: &Timeline<'_>,
    attribution: &Attribution,
    verdict: &mut Verdict,
) {
    for (index, call) in calls.all.iter().enumerate() {
        let End::Returned { reply, .. } = &call.end else {
            continue;
        };
        let Request::Atomic { .. } = call.request else {
            continue;
        };
        let commit = attribution.commit_of(index);
        match reply {
            Reply::Returned { revision, value } => {
                let at = commit.map_or(*revision, before);
                check_returned(call, timeline, at, commit, value, verdict);
            }
            // Whether it came to that limit is for "Bounded" to say.
            Reply::Failed {
                failure: Failure::Limit { .. },
                ..
            } => {}
            Reply::Failed { revision, failure } => {
                check_failed(call, timeline, *revision, failure, verdict);
            }
            _ => {}
        }
    }
}

/// Runs the model of the call's function on the state at `at`.
pub(crate) fn run(call: &Call<'_>, timeline: &Timeline<'_>, at: Revision) -> Option<Ran> {
    let Request::Atomic {
        namespace,
        function,
        args,
    } = &call.request
    else {
        return None;
    };
    run_on(namespace, function.name, (args, at), timeline)
}

/// Runs the model of this function on the state at a revision.
pub(crate) fn run_on(
    namespace: &str,
    function: &str,
    (args, at): (&[u8], Revision),
    timeline: &Timeline<'_>,
) -> Option<Ran> {
    let get = |key: &str| timeline.get(namespace, key, at).map(<[u8]>::to_vec);
    let entries = || {
        let entries = timeline.entries(namespace, "", None, at);
        (entries.into_iter())
            .map(|(key, value)| (key.to_owned(), value.to_vec()))
            .collect()
    };
    models::run(function, args, &get, &entries)
}

fn check_returned(
    call: &Call<'_>,
    timeline: &Timeline<'_>,
    at: Revision,
    commit: Option<Revision>,
    value: &[u8],
    verdict: &mut Verdict,
) {
    let Some(ran) = run(call, timeline, at) else {
        return;
    };
    let expected = match &ran.result {
        Ok(expected) => expected.as_slice(),
        Err(text) => {
            verdict.judge(ATOMIC, false, || {
                format!(
                    "{} returned, but on the state at {at} it fails: {text}",
                    call.story()
                )
            });
            return;
        }
    };
    verdict.judge(ATOMIC, value == expected, || {
        format!(
            "{} returned {value:02x?} on the state at {at}, where it gives {expected:02x?}",
            call.story()
        )
    });
    let Some(commit) = commit.and_then(|revision| timeline.commit(revision)) else {
        return;
    };
    verdict.judge(ATOMIC, changed(&ran, commit), || {
        format!(
            "{} changed {:02x?} at {}, but run on the state before it changes {:02x?}",
            call.story(),
            commit.changes,
            commit.revision,
            ran.changes
        )
    });
}

/// Did this commit change just that?
pub(crate) fn changed(ran: &Ran, commit: &Committed) -> bool {
    let got = commit.changes.iter();
    let got = got.map(|change| (change.key.as_str(), change.after.as_deref()));
    let wanted = ran.changes.iter();
    got.eq(wanted.map(|(key, after)| (key.as_str(), after.as_deref())))
}

fn check_failed(
    call: &Call<'_>,
    timeline: &Timeline<'_>,
    at: Revision,
    failure: &Failure<'_>,
    verdict: &mut Verdict,
) {
    let Some(ran) = run(call, timeline, at) else {
        return;
    };
    verdict.judge(ATOMIC, ran.result.is_err(), || {
        format!(
            "{} failed with {failure:?}, but on the state at {at} it succeeds",
            call.story()
        )
    });
}
