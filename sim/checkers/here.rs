//! Functions that have run in their callers: what each gave and changed is what it gives and changes
//! on the state just before its writes; one that failed has changed nothing. And a lease is given back
//! before whoever had it does anything else.

use super::timeline::{Timeline, before};
use super::{ATOMIC, Call, Calls, End, LINEARIZABLE, NO_LOST_WAKEUP, Verdict, model};
use crate::history::{Entry, History, What};
use crate::workloads::models::Ran;
use std::collections::BTreeMap;
use zproc::seam::proto::ids::{LeaseId, ProcessId, Revision};
use zproc::seam::proto::message::{Reply, Request};

/// What came of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RanHere {
    pub(crate) namespace: String,
    pub(crate) function: String,
    /// Encoded.
    pub(crate) args: Vec<u8>,
    /// Encoded; none, if it failed.
    pub(crate) returned: Option<Vec<u8>>,
}

pub(crate) fn check(
    history: &History,
    calls: &Calls<'_>,
    timeline: &Timeline<'_>,
    verdict: &mut Verdict,
) {
    let mut threads: BTreeMap<(ProcessId, usize), Thread> = BTreeMap::new();
    let mut later = calls.all.iter().peekable();
    for entry in &history.entries {
        while let Some(call) = later.next_if(|call| call.called < entry.stamp) {
            let thread = threads.entry((call.process, call.thread)).or_default();
            thread.calls(call, verdict);
        }
        let thread = threads.entry((entry.process, entry.thread)).or_default();
        match &entry.what {
            What::Ran(ran) => {
                judge(entry, ran, thread, timeline, verdict);
                *thread = Thread {
                    lease: thread.lease.take(),
                    ..Thread::default()
                };
            }
            What::Released { lease } => {
                thread.lease.take_if(|held| held == lease);
            }
            _ => {}
        }
    }
    for call in later {
        let thread = threads.entry((call.process, call.thread)).or_default();
        thread.calls(call, verdict);
    }
}

/// What a thread has done since its last function.
#[derive(Default)]
struct Thread {
    /// When the present was read last: the first read of a run does.
    read_at: u64,
    /// By which function, and when, it has committed.
    committed: Option<(String, Revision)>,
    /// The lease that it has asked for and not given back.
    lease: Option<LeaseId>,
}

impl Thread {
    fn calls(&mut self, call: &Call<'_>, verdict: &mut Verdict) {
        match &call.request {
            Request::Get { at, .. } | Request::Len { at, .. } | Request::Page { at, .. } => {
                if at.is_none() {
                    self.read_at = call.called;
                }
            }
            Request::Lease { lease, .. } => {
                self.judge_lease(call, verdict);
                // One that was refused is not queued for.
                let failed = matches!(
                    call.end,
                    End::Returned {
                        reply: Reply::Failed { .. },
                        ..
                    }
                );
                self.lease = (!failed).then_some(*lease);
            }
            Request::Commit {
                function, lease, ..
            } => {
                if let End::Returned {
                    reply: Reply::Written { revision, .. },
                    ..
                } = call.end
                {
                    self.committed = Some(((*function).to_owned(), revision));
                    self.lease.take_if(|held| Some(*held) == *lease);
                }
            }
            // Reads of which a wait here is fed, among others; a transaction may be in between.
            Request::Ping | Request::Updates { .. } | Request::Unwatch { .. } => {}
            _ => {
                self.judge_lease(call, verdict);
                *self = Thread::default();
            }
        }
    }

    /// Nothing else is asked for with a lease.
    fn judge_lease(&self, call: &Call<'_>, verdict: &mut Verdict) {
        verdict.judge(NO_LOST_WAKEUP, self.lease.is_none(), || {
            format!(
                "{}: its transaction is over, and {:?} was not given back: others wait for it",
                call.story(),
                self.lease
            )
        });
    }
}

fn judge(
    entry: &Entry,
    ran: &RanHere,
    thread: &Thread,
    timeline: &Timeline<'_>,
    verdict: &mut Verdict,
) {
    let on = |at| model::run_on(&ran.namespace, &ran.function, (&ran.args, at), timeline);
    if on(timeline.newest()).is_none() {
        return;
    }
    let story = || {
        format!(
            "process {} thread {}: {} on {:02x?}, run in its caller, gave {:02x?}",
            entry.process, entry.thread, ran.function, ran.args, ran.returned
        )
    };
    let gave = |expected: &Ran| match &ran.returned {
        Some(value) => expected.result.as_ref() == Ok(value),
        None => expected.result.is_err(),
    };
    let committed = thread.committed.as_ref();
    let Some((_, revision)) = committed.filter(|(function, _)| *function == ran.function) else {
        let (from, until) = (
            timeline.newest_at(thread.read_at),
            timeline.newest_at(entry.stamp),
        );
        let later = timeline.since(from.next()).iter();
        let later = later.map(|commit| commit.revision);
        let mut between = std::iter::once(from).chain(later.take_while(|at| *at <= until));
        let holds = between.any(|at| {
            on(at).is_some_and(|expected| gave(&expected) && expected.changes.is_empty())
        });
        verdict.judge(LINEARIZABLE, holds, || {
            let story = story();
            format!("{story}, and changed nothing; at no revision from {from} to {until} it does")
        });
        return;
    };
    let is_failure = ran.returned.is_none();
    verdict.judge(ATOMIC, !is_failure, || {
        format!("{}, but was committed at {revision}", story())
    });
    let at = before(*revision);
    let (Some(expected), Some(commit)) = (on(at), timeline.commit(*revision)) else {
        return;
    };
    verdict.judge(LINEARIZABLE, is_failure || gave(&expected), || {
        format!("{}; on the state at {at} it gives {expected:02x?}", story())
    });
    verdict.judge(ATOMIC, model::changed(&expected, commit), || {
        format!(
            "{}, and changed {:02x?} at {revision}; on the state before it changes {:02x?}",
            story(),
            commit.changes,
            expected.changes
        )
    });
}
