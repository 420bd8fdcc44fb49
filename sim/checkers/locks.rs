//! "Locks": each is held by one at a time, in the order of asking, and goes with its holder.
//!
//! Who holds what is read from the records that the commits write; what the processes say of the same
//! must fit it.

use super::once::is_lock;
use super::timeline::Timeline;
use super::{LOCKS, Verdict};
use crate::history::{Changed, Committed, History, What};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use zproc::seam::proto::dump::{Awaited, Dump};
use zproc::seam::proto::ids::{ProcessId, Revision};
use zproc::seam::proto::locks::LOCK_PREFIX;
use zproc::seam::proto::message::{Reply, Request};

/// One call that asks for a lock.
#[derive(Debug)]
struct Ask<'a> {
    process: ProcessId,
    name: &'a str,
    called: u64,
    waits: bool,
    /// When it returned, with or without the lock.
    ended: Option<u64>,
    /// The revision that it was told.
    granted: Option<Revision>,
    /// When the lock was given back.
    unlocked: Option<u64>,
    /// From here on it is known to wait in the server.
    queued: Option<u64>,
}

/// One grant, as the records tell it.
#[derive(Debug)]
struct Grant<'a> {
    name: &'a str,
    process: ProcessId,
    revision: Revision,
    stamp: u64,
    /// The commit that ends it.
    end: Option<&'a Committed>,
    /// The ask that was told of it.
    told: Option<usize>,
}

/// Judges every lock.
pub(crate) fn check(history: &History, timeline: &Timeline<'_>, verdict: &mut Verdict) {
    let names = names_of(history);
    let mut asks = asks_of(history, &names);
    let mut grants = grants_of(timeline, verdict);
    claim(&asks, &mut grants, verdict);
    for grant in &grants {
        check_end(grant, &asks, verdict);
        if grant.told.is_none() {
            check_untold(grant, history, &asks, verdict);
        }
    }
    note_queued(history, &mut asks);
    check_order(&asks, &grants, timeline, verdict);
}

/// The names that are asked for, of which asks borrow theirs.
fn names_of(history: &History) -> Vec<String> {
    let mut names = Vec::new();
    for entry in &history.entries {
        if let What::Called { request, .. } = &entry.what
            && let Request::Lock { name, .. } = history.request(request)
            && !names.iter().any(|known| known == name)
        {
            names.push(name.to_owned());
        }
    }
    names
}

fn asks_of<'a>(history: &History, names: &'a [String]) -> Vec<Ask<'a>> {
    let mut asks: Vec<Ask<'a>> = Vec::new();
    let mut index: BTreeMap<(ProcessId, u64), usize> = BTreeMap::new();
    for entry in &history.entries {
        let of = |call: &u64| index.get(&(entry.process, *call)).copied();
        match &entry.what {
            What::Called { call, request } => {
                let Request::Lock { name, waits } = history.request(request) else {
                    continue;
                };
                let Some(name) = names.iter().find(|known| *known == name) else {
                    continue;
                };
                index.insert((entry.process, *call), asks.len());
                asks.push(Ask {
                    process: entry.process,
                    name,
                    called: entry.stamp,
                    waits,
                    ended: None,
                    granted: None,
                    unlocked: None,
                    queued: None,
                });
            }
            What::Returned { call, reply } if let Some(ask) = of(call) => {
                asks[ask].ended = Some(entry.stamp);
                if let Reply::Locked {
                    revision,
                    granted: true,
                } = history.reply(reply)
                {
                    asks[ask].granted = Some(revision);
                }
            }
            What::Unknown { call } | What::NotSent { call } if let Some(ask) = of(call) => {
                asks[ask].ended = Some(entry.stamp);
            }
            What::Unlocked { name, grant } => {
                let held = asks.iter_mut().find(|ask| {
                    ask.process == entry.process
                        && ask.name == name
                        && ask.granted == Some(*grant)
                        && ask.unlocked.is_none()
                });
                if let Some(held) = held {
                    held.unlocked = Some(entry.stamp);
                }
            }
            _ => {}
        }
    }
    asks
}

fn holder(record: &[u8]) -> Option<ProcessId> {
    #[derive(serde::Deserialize)]
    struct Record {
        holder: u64,
    }
    let record = rmp_serde::from_slice::<Record>(record).ok()?;
    Some(ProcessId(record.holder))
}

/// Every grant, with its end; and that nothing is left to those who are released.
fn grants_of<'a>(timeline: &Timeline<'a>, verdict: &mut Verdict) -> Vec<Grant<'a>> {
    let mut grants: Vec<Grant<'a>> = Vec::new();
    let mut held: BTreeMap<&str, usize> = BTreeMap::new();
    for commit in &timeline.commits {
        let records = |change: &&'a Changed| is_lock(change);
        for change in commit.changes.iter().filter(records) {
            let name = &change.key[LOCK_PREFIX.len()..];
            if let Some(before) = held.remove(name) {
                grants[before].end = Some(commit);
            }
            let Some(process) = change.after.as_deref().and_then(holder) else {
                continue;
            };
            held.insert(name, grants.len());
            grants.push(Grant {
                name,
                process,
                revision: commit.revision,
                stamp: commit.stamp,
                end: None,
                told: None,
            });
        }
        if commit.released.is_some() {
            let mut left = held.iter().filter(|(_, grant)| {
                let grant = &grants[**grant];
                grant.process == commit.process && grant.revision < commit.revision
            });
            let left = left.next();
            verdict.judge(LOCKS, left.is_none(), || {
                format!(
                    "{} releases what process {} had, and leaves it the lock {:?}",
                    commit.revision,
                    commit.process,
                    left.map(|(name, _)| name)
                )
            });
        }
    }
    grants
}

/// Who is told that it holds a lock does, under a revision of its own.
fn claim(asks: &[Ask<'_>], grants: &mut [Grant<'_>], verdict: &mut Verdict) {
    for (index, ask) in asks.iter().enumerate() {
        let (Some(revision), Some(ended)) = (ask.granted, ask.ended) else {
            continue;
        };
        let grant = grants.iter_mut().find(|grant| {
            (grant.name, grant.revision, grant.process) == (ask.name, revision, ask.process)
        });
        let grant = grant.filter(|grant| {
            grant.told.is_none() && ask.called < grant.stamp && grant.stamp < ended
        });
        verdict.judge(LOCKS, grant.is_some(), || {
            format!(
                "process {}, which asked at stamp {}, was told that it holds lock {:?} from {revision} on: \
                 no record says so, or it was told to another",
                ask.process, ask.called, ask.name
            )
        });
        if let Some(grant) = grant {
            grant.told = Some(index);
        }
    }
}

/// Nobody loses a lock but by giving it back, by giving up, or with its session.
fn check_end(grant: &Grant<'_>, asks: &[Ask<'_>], verdict: &mut Verdict) {
    let Some(end) = grant.end else {
        return;
    };
    let is_over = match grant.told {
        Some(told) => asks[told].unlocked.is_some_and(|stamp| stamp < end.stamp),
        None => candidates(grant, asks).any(|ask| ask.ended.is_some_and(|at| at < end.stamp)),
    };
    let released = end.released.is_some() && end.process == grant.process;
    verdict.judge(LOCKS, is_over || released, || {
        format!(
            "{} takes lock {:?} from process {}, which has held it since {}",
            end.revision, grant.name, grant.process, grant.revision
        )
    });
}

/// The calls that a grant may have been for, if none was told of it.
fn candidates<'a>(grant: &'a Grant<'_>, asks: &'a [Ask<'_>]) -> impl Iterator<Item = &'a Ask<'a>> {
    asks.iter().filter(move |ask| {
        (ask.name, ask.process) == (grant.name, grant.process)
            && ask.granted.is_none()
            && ask.called < grant.stamp
    })
}

/// What is granted to one who has given up is free again before anything that its process asks later
/// is answered: the server has heard of it by then.
fn check_untold(grant: &Grant<'_>, history: &History, asks: &[Ask<'_>], verdict: &mut Verdict) {
    let mut given_up = 0;
    for ask in candidates(grant, asks) {
        match ask.ended {
            Some(ended) => given_up = given_up.max(ended),
            // It may still come.
            None => return,
        }
    }
    verdict.judge(LOCKS, given_up > 0, || {
        format!(
            "{} gives lock {:?} to process {}, which has not asked for it",
            grant.revision, grant.name, grant.process
        )
    });
    let mut later = BTreeSet::new();
    let mut answered = None;
    for entry in &history.entries {
        match &entry.what {
            _ if entry.process != grant.process || entry.stamp < given_up => {}
            What::Called { call, .. } => {
                later.insert(*call);
            }
            What::Returned { call, .. } if later.contains(call) => {
                answered = Some(entry.stamp);
                break;
            }
            _ => {}
        }
    }
    let free = grant.end.map(|end| end.stamp);
    let holds = answered.is_none_or(|answered| free.is_some_and(|free| free < answered));
    verdict.judge(LOCKS, holds, || {
        format!(
            "process {} gave up to wait for lock {:?} by stamp {given_up}, got it at {} and had it still \
             when it was answered at {answered:?}",
            grant.process, grant.name, grant.revision
        )
    });
}

/// A picture that shows as many waits of a process for a lock as it has asked for proves that they
/// all are in the queue.
fn note_queued(history: &History, asks: &mut [Ask<'_>]) {
    for entry in &history.entries {
        let What::Returned { reply, .. } = &entry.what else {
            continue;
        };
        let Reply::Dump(dump) = history.reply(reply) else {
            continue;
        };
        for ((process, name), shown) in waits_of(&dump) {
            // One that has given up may be shown still.
            let concerned = |ask: &Ask<'_>| {
                (ask.process, ask.name) == (process, name)
                    && ask.called < entry.stamp
                    && ask.waits
                    && ask.granted.is_none_or(|_| ask.ended > Some(entry.stamp))
            };
            if asks.iter().filter(|ask| concerned(ask)).count() == shown {
                for ask in asks.iter_mut().filter(|ask| concerned(ask)) {
                    ask.queued.get_or_insert(entry.stamp);
                }
            }
        }
    }
}

fn waits_of(dump: &Dump) -> BTreeMap<(ProcessId, &str), usize> {
    let mut waits = BTreeMap::new();
    for (process, wait) in dump.waits() {
        if let Awaited::Lock { name, .. } = &wait.awaited {
            *waits.entry((process.id, name.as_str())).or_default() += 1;
        }
    }
    waits
}

/// Who asks when another is known to wait gets the lock after it.
fn check_order(
    asks: &[Ask<'_>],
    grants: &[Grant<'_>],
    timeline: &Timeline<'_>,
    verdict: &mut Verdict,
) {
    for first in asks {
        let Some(queued) = first.queued else {
            continue;
        };
        let of_first = grants.iter().find(|grant| {
            (grant.name, grant.process) == (first.name, first.process)
                && Some(grant.revision) == first.granted
        });
        let later = asks
            .iter()
            .filter(|ask| ask.name == first.name && ask.called > queued);
        for second in later {
            let Some(granted) = grants.iter().find(|grant| {
                (grant.name, grant.process) == (second.name, second.process)
                    && Some(grant.revision) == second.granted
            }) else {
                continue;
            };
            let in_order = match of_first {
                Some(of_first) => of_first.revision < granted.revision,
                None => is_gone(first, queued..granted.stamp, grants, timeline),
            };
            verdict.judge(LOCKS, in_order, || {
                format!(
                    "process {} waited for lock {:?} by stamp {queued}; who asked for it at {} got it first, \
                     at {}",
                    first.process, first.name, second.called, granted.revision
                )
            });
        }
    }
}

/// Has it given up in this time, has its session ended, or was the lock granted to it before it could
/// be told?
fn is_gone(
    ask: &Ask<'_>,
    within: Range<u64>,
    grants: &[Grant<'_>],
    timeline: &Timeline<'_>,
) -> bool {
    let own = |grant: &Grant<'_>| {
        (grant.name, grant.process) == (ask.name, ask.process)
            && grant.told.is_none()
            && within.contains(&grant.stamp)
    };
    let released = |commit: &Committed| {
        commit.released.is_some() && commit.process == ask.process && within.contains(&commit.stamp)
    };
    ask.ended.is_some_and(|ended| ended < within.end)
        || grants.iter().any(own)
        || timeline.commits.iter().any(|commit| released(commit))
}
