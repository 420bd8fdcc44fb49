//! "Nothing outlives", for single processes: one that is to end ends in time, and none is killed
//! before its time, or without anybody's having asked for it.

use super::bound::ended_in;
use super::outlives::GONE_WITHIN;
use super::timeline::Timeline;
use super::{BOUND, Call, Calls, End, Ending, OUTLIVES, Verdict};
use crate::history::{History, What};
use crate::interrupt::GRACE;
use crate::seen::Seen;
use crate::world::{RunEnd, SIGKILL};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use zproc::seam::proto::ids::ProcessId;
use zproc::seam::proto::message::{self, Reply};
use zproc::seam::proto::time::Time;

/// How long after a process's time the keeper may kill it: it does so when its own clock tells it.
pub(crate) const STRUCK_WITHIN: Duration = Duration::from_millis(1);

/// What the engine has seen of one process.
#[derive(Debug, Default)]
struct Life {
    began: Option<Time>,
    gone: Option<Time>,
    status: Option<i32>,
    /// When the keeper was told to have it end, and until when it had time.
    stops: Vec<(Time, Time)>,
    /// When the keeper was told to kill it.
    kills: Vec<Time>,
    /// Until when it may run.
    limited: Option<Time>,
    /// How long it may take when the tree is stopped. `None`: as long as the tree.
    grace: Option<Duration>,
    /// When the keeper asked it to end, and killed it.
    asked: Option<Time>,
    struck: Option<Time>,
}

impl Life {
    /// Did it live then?
    fn lives_at(&self, at: Time) -> bool {
        self.began.is_some_and(|began| began <= at) && self.gone.is_none_or(|gone| gone > at)
    }

    /// When it was to be killed, if nothing came before.
    fn due(&self) -> Option<Time> {
        let ends = self.stops.iter().map(|(_, until)| *until);
        let kills = self.kills.iter().copied();
        ends.chain(kills).chain(self.limited).min()
    }
}

/// Judges every process that anybody wanted to end, or that was killed.
pub(crate) fn check(
    history: &History,
    calls: &Calls<'_>,
    timeline: &Timeline<'_>,
    ending: &Ending,
    verdict: &mut Verdict,
) {
    let (lives, doomed) = lives_of(history);
    for (process, life) in &lives {
        judge(*process, life, doomed, ending, verdict);
    }
    judge_children(calls, &lives, doomed, ending, verdict);
    judge_reasons(calls, &lives, verdict);
    judge_records(timeline, &lives, verdict);
}

/// Every process's life, and when the tree began to end.
fn lives_of(history: &History) -> (BTreeMap<ProcessId, Life>, Time) {
    let mut lives: BTreeMap<ProcessId, Life> = BTreeMap::new();
    let mut doomed = Time(u64::MAX);
    let mut interrupted = None;
    // Those are not of this tree.
    let mut guests = BTreeSet::new();
    for entry in &history.entries {
        let life = lives.entry(entry.process).or_default();
        let seen = match &entry.what {
            What::Seen(seen) => seen,
            What::Died { status, .. } => {
                life.status = Some(*status);
                continue;
            }
            _ => continue,
        };
        match *seen {
            Seen::Began { at } => life.began = Some(at),
            Seen::Gone { at } => {
                life.gone = Some(at);
                if entry.process == ProcessId::PROGRAM {
                    doomed = doomed.min(at);
                }
            }
            Seen::Doomed { at } => doomed = doomed.min(at),
            Seen::Guest => {
                guests.insert(entry.process);
            }
            Seen::ToStop { at, grace_ns } => {
                let until = at.after(Duration::from_nanos(grace_ns));
                life.stops.push((at, until));
            }
            Seen::Started { until, grace_ns } => {
                life.limited = until;
                life.grace = grace_ns.map(Duration::from_nanos);
            }
            Seen::Interrupted { at } => {
                // Its own wait was ended before the keeper heard of it.
                life.asked = Some(at);
                interrupted = Some(at);
            }
            // Who was asked to end has the rest of its grace.
            Seen::ToKill {
                by_parent: true, ..
            } if interrupted.is_some() || !life.stops.is_empty() => {}
            Seen::ToKill { at, .. } => life.kills.push(at),
            Seen::Asked { at } => {
                life.asked.get_or_insert(at);
            }
            Seen::Struck { at } => {
                life.struck.get_or_insert(at);
            }
            _ => {}
        }
    }
    if let Some(at) = interrupted {
        let until = at.after(GRACE);
        let of_tree = |(process, _): &(&ProcessId, &mut Life)| !guests.contains(*process);
        for (_, life) in lives.iter_mut().filter(of_tree) {
            let from = life.began.map_or(at, |began| began.max(at));
            // Who has died and is not reaped may be asked, too.
            let own = life.grace.map_or(until, |grace| from.after(grace));
            life.stops.push((from, until.min(own)));
        }
    }
    (lives, doomed)
}

fn judge(process: ProcessId, life: &Life, doomed: Time, ending: &Ending, verdict: &mut Verdict) {
    if let Some(struck) = life.struck {
        let due = life.due().is_some_and(|due| due <= struck);
        verdict.judge(OUTLIVES, due, || {
            format!("process {process} was killed at {struck:?}, and was to be: {life:?}")
        });
    }
    if let Some(asked) = life.asked {
        let told = life.stops.iter().any(|(at, _)| *at <= asked);
        verdict.judge(OUTLIVES, told, || {
            format!("process {process} was asked to end, and nobody had wanted it: {life:?}")
        });
    }
    // What was wanted behind the end of the tree came too late.
    for (at, _) in life.stops.iter().filter(|(at, _)| *at < doomed) {
        let struck = life.struck.is_some_and(|struck| struck <= *at);
        if life.lives_at(*at) && !struck {
            verdict.judge(
                OUTLIVES,
                life.asked.is_some_and(|asked| asked <= *at),
                || format!("process {process} was to be asked to end at {at:?}: {life:?}"),
            );
        }
    }
    let Some(due) = life.due().filter(|due| life.lives_at(*due)) else {
        return;
    };
    let promptly = due.after(STRUCK_WITHIN);
    let is_known = ending.end == RunEnd::Finished || life.struck.is_some();
    if promptly < doomed && life.lives_at(promptly) && is_known {
        verdict.judge(
            OUTLIVES,
            life.struck.is_some_and(|struck| struck <= promptly),
            || format!("process {process} was to be killed at {due:?}: {life:?}"),
        );
    }
    let latest = due.after(GONE_WITHIN);
    let unknown = ending.end != RunEnd::Finished && life.gone.is_none();
    if latest < doomed && !unknown {
        verdict.judge(
            OUTLIVES,
            life.gone.is_some_and(|gone| gone <= latest),
            || format!("process {process} was to be gone at {due:?}: {life:?}"),
        );
    }
}

/// A process's children end with it, unless they are at the root, or were asked to end: then their
/// grace is what counts.
fn judge_children(
    calls: &Calls<'_>,
    lives: &BTreeMap<ProcessId, Life>,
    doomed: Time,
    ending: &Ending,
    verdict: &mut Verdict,
) {
    let moved = |call: &Call<'_>| match call.request {
        message::Request::ToRoot { process } => Some(process),
        _ => None,
    };
    let at_root: BTreeSet<ProcessId> = calls.all.iter().filter_map(moved).collect();
    for call in &calls.all {
        let (message::Request::Spawn { setup, .. }, End::Returned { reply, .. }) =
            (&call.request, &call.end)
        else {
            continue;
        };
        let &Reply::Spawned { process, .. } = reply else {
            continue;
        };
        let parent = lives.get(&call.process).and_then(|parent| parent.gone);
        let (Some(parent), Some(child)) = (parent, lives.get(&process)) else {
            continue;
        };
        let latest = parent.after(GONE_WITHIN);
        let is_asked = child.stops.iter().any(|(at, _)| *at <= latest);
        let stays = setup.to_root || at_root.contains(&process) || is_asked;
        let is_known = ending.end == RunEnd::Finished || child.gone.is_some();
        if !stays && latest < doomed && child.began.is_some() && is_known {
            verdict.judge(
                OUTLIVES,
                child.gone.is_some_and(|gone| gone <= latest),
                || format!("process {process} outlives its parent, gone at {parent:?}: {child:?}"),
            );
        }
    }
}

/// Who is said to have been killed by the keeper was, and died of it.
fn judge_reasons(calls: &Calls<'_>, lives: &BTreeMap<ProcessId, Life>, verdict: &mut Verdict) {
    for call in &calls.all {
        let (
            message::Request::Wait {
                condition: message::Condition::Ended { process },
                ..
            },
            End::Returned {
                reply: Reply::Ended { outcome, .. },
                ..
            },
        ) = (&call.request, &call.end)
        else {
            continue;
        };
        // Real processes are seen by no engine.
        let life = lives.get(process).filter(|life| life.began.is_some());
        let (message::End::Killed { why }, Some(life)) = (&outcome.end, life) else {
            continue;
        };
        let killed = life.struck.is_some() && life.status == Some(SIGKILL);
        let is_true = match why {
            message::Why::Grace => !life.stops.is_empty(),
            message::Why::Asked | message::Why::Parent => !life.kills.is_empty(),
            message::Why::TimeLimit { .. } => {
                life.limited.is_some_and(|it| Some(it) <= life.struck)
            }
        };
        verdict.judge(BOUND, killed && is_true, || {
            format!("process {process} is said to have been killed ({why:?}): {life:?}")
        });
    }
}

/// The same of what those who lose what it owned are told.
fn judge_records(
    timeline: &Timeline<'_>,
    lives: &BTreeMap<ProcessId, Life>,
    verdict: &mut Verdict,
) {
    for commit in &timeline.commits {
        let how = commit.released.as_deref().unwrap_or_default();
        let by_keeper = how == "killed" || how.starts_with("killed, as ");
        if !by_keeper || !ended_in(commit).any(|ended| ended == commit.process) {
            continue;
        }
        // Real processes are seen by no engine.
        let life = lives.get(&commit.process);
        let Some(life) = life.filter(|life| life.began.is_some()) else {
            continue;
        };
        verdict.judge(BOUND, life.struck.is_some(), || {
            format!(
                "process {} was released as {how}, and was not",
                commit.process
            )
        });
    }
}
