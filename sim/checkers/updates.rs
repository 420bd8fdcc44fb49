//! "Every update": a watch gives each revision that touches its filter exactly once, in order.

use super::timeline::Timeline;
use super::{Calls, EVERY_UPDATE, End, Ending, Verdict};
use crate::history::{Committed, History, Note, What};
use crate::world::RunEnd;
use std::collections::BTreeMap;
use zproc::seam::proto::ids::{ProcessId, Revision, WatchId};
use zproc::seam::proto::message::{Change, Filter, Reply, Request, Update};

/// One watch and how far it has come.
#[derive(Debug)]
struct Watched<'a> {
    process: ProcessId,
    namespace: &'a str,
    filter: Filter<'a>,
    /// The next revision that it may give.
    next: Revision,
    /// Its user has ended it, or it has told that it can't go on.
    ended: bool,
}

/// Does the filter see this key?
pub(super) fn covers(filter: &Filter<'_>, key: &str) -> bool {
    match *filter {
        Filter::Key(wanted) => key == wanted,
        Filter::Prefix(prefix) => key.starts_with(prefix),
        Filter::All => true,
        Filter::Keys(ref keys) => keys.contains(&key),
        Filter::AllBut(ref keys) => !keys.contains(&key),
    }
}

impl Watched<'_> {
    fn covers(&self, key: &str) -> bool {
        covers(&self.filter, key)
    }

    fn touches(&self, commit: &Committed) -> bool {
        let own = |c: &&crate::history::Changed| c.namespace == self.namespace;
        commit.resets.iter().any(|reset| reset == self.namespace)
            || commit
                .changes
                .iter()
                .filter(own)
                .any(|c| self.covers(&c.key))
    }

    fn story(&self) -> String {
        format!(
            "the watch of {:?} in {:?} by process {}",
            self.filter, self.namespace, self.process
        )
    }

    /// The first commit from where the watch stands that it must give.
    fn expected<'t>(&self, timeline: &Timeline<'t>) -> Option<&'t Committed> {
        let mut commits = timeline.since(self.next).iter();
        commits.find(|commit| self.touches(commit)).copied()
    }
}

/// Judges every update that a watch gave, and those that it owes.
pub(crate) fn check(
    history: &History,
    calls: &Calls<'_>,
    timeline: &Timeline<'_>,
    ending: &Ending,
    verdict: &mut Verdict,
) {
    let mut watches: BTreeMap<(ProcessId, u64), Watched<'_>> = BTreeMap::new();
    // The watch that a thread has begun last: its notes are about that one.
    let mut last_of_thread: BTreeMap<usize, (ProcessId, u64)> = BTreeMap::new();
    let mut index_of: BTreeMap<(ProcessId, u64), usize> = BTreeMap::new();
    let mut called = 0;
    for entry in &history.entries {
        match &entry.what {
            What::Called { call, .. } => {
                index_of.insert((entry.process, *call), called);
                called += 1;
            }
            What::Returned { call, .. } => {
                let Some(index) = index_of.get(&(entry.process, *call)) else {
                    continue;
                };
                if let Some((id, watched)) =
                    begun(&calls.all[*index], entry.stamp, timeline, verdict)
                {
                    last_of_thread.insert(entry.thread, (entry.process, id.0));
                    watches.insert((entry.process, id.0), watched);
                }
            }
            What::Updated { watch, update } => {
                let update = history.update(update);
                match watches.get_mut(&(entry.process, *watch)) {
                    Some(watched) => judge_update(watched, &update, timeline, verdict),
                    None => verdict.judge(EVERY_UPDATE, false, || {
                        format!(
                            "process {} got {} of watch {watch}, which has not begun",
                            entry.process, update.revision
                        )
                    }),
                }
            }
            What::Unwatched { watch } => {
                if let Some(watched) = watches.get_mut(&(entry.process, *watch)) {
                    watched.ended = true;
                }
            }
            What::Note(note) => {
                let watched = last_of_thread
                    .get(&entry.thread)
                    .and_then(|id| watches.get_mut(id));
                match (note, watched) {
                    (Note::Compacted { oldest }, Some(watched)) => {
                        judge_overtaken(watched, timeline, *oldest, verdict);
                        judge_compacted(watched, *oldest, timeline, verdict);
                    }
                    (Note::Idle, Some(watched)) => watched.ended = true,
                    _ => {}
                }
            }
            _ => {}
        }
    }
    if ending.end != RunEnd::Finished {
        check_owed(&watches, timeline, ending, verdict);
    }
}

/// A watch that has begun now, if that is what the call was for.
fn begun<'a>(
    call: &super::Call<'a>,
    returned: u64,
    timeline: &Timeline<'_>,
    verdict: &mut Verdict,
) -> Option<(WatchId, Watched<'a>)> {
    let Request::Watch {
        watch,
        namespace,
        filter,
        from,
        ..
    } = &call.request
    else {
        return None;
    };
    let (watch, namespace, from) = (*watch, *namespace, *from);
    let End::Returned { reply, .. } = &call.end else {
        return None;
    };
    let watched = |next| Watched {
        process: call.process,
        namespace,
        filter: filter.clone(),
        next,
        ended: false,
    };
    match reply {
        Reply::Watching { next } => {
            match from {
                Some(from) => verdict.judge(EVERY_UPDATE, *next <= from.max(Revision(1)), || {
                    format!(
                        "{} was to begin at {from} and begins at {next}",
                        call.story()
                    )
                }),
                None => {
                    // The one after the newest, at some instant between call and return.
                    let low = timeline.newest_at(call.called).next();
                    let high = timeline.newest_at(returned).next();
                    verdict.judge(EVERY_UPDATE, (low..=high).contains(next), || {
                        format!("{} begins at {next}, not in {low} to {high}", call.story())
                    });
                }
            }
            Some((watch, watched(from.unwrap_or(*next))))
        }
        Reply::Compacted { oldest } => {
            let mut gone = watched(from.unwrap_or_default());
            judge_compacted(&mut gone, *oldest, timeline, verdict);
            None
        }
        _ => None,
    }
}

fn judge_update(
    watched: &mut Watched<'_>,
    update: &Update<'_>,
    timeline: &Timeline<'_>,
    verdict: &mut Verdict,
) {
    let expected = watched.expected(timeline);
    let in_order = expected.is_some_and(|commit| commit.revision == update.revision);
    verdict.judge(EVERY_UPDATE, in_order, || {
        format!(
            "{} gave {} where {:?} comes next",
            watched.story(),
            update.revision,
            expected.map(|commit| commit.revision)
        )
    });
    if let Some(commit) = expected.filter(|_| in_order) {
        let holds = is_update_of(watched, update, commit);
        verdict.judge(EVERY_UPDATE, holds, || {
            format!("{} gave {update:02x?} for {commit:02x?}", watched.story())
        });
    }
    watched.next = watched.next.max(update.revision.next());
}

/// Does the update say what the commit did? It may leave out what the filter does not cover.
fn is_update_of(watched: &Watched<'_>, update: &Update<'_>, commit: &Committed) -> bool {
    let reset = commit.resets.iter().any(|reset| reset == watched.namespace);
    let changes = || {
        let own = commit.changes.iter();
        own.filter(|c| c.namespace == watched.namespace)
            .map(|c| Change {
                key: &c.key,
                before: c.before.as_deref(),
                after: c.after.as_deref(),
            })
    };
    let given = || update.changes.iter().copied();
    let covered = |change: &Change<'_>| watched.covers(change.key);
    update.reset == reset
        && update.origin.process == commit.process
        && update.origin.function == commit.function.as_deref()
        && update.origin.released == commit.released.as_deref()
        && (reset || given().eq(changes()) || given().eq(changes().filter(covered)))
}

/// A watch that has begun is told `Compacted` for what it wants itself, not for other keys.
fn judge_overtaken(
    watched: &Watched<'_>,
    timeline: &Timeline<'_>,
    oldest: Revision,
    verdict: &mut Verdict,
) {
    let expected = watched.expected(timeline);
    let lost = expected.is_some_and(|commit| commit.revision < oldest);
    verdict.judge(EVERY_UPDATE, lost, || {
        format!(
            "{} stood at {} and was told that nothing before {oldest} is held, but nothing that it \
             wants lies in between",
            watched.story(),
            watched.next
        )
    });
}

/// `Compacted` is the truth if what the watch needs next may really be gone.
fn judge_compacted(
    watched: &mut Watched<'_>,
    oldest: Revision,
    timeline: &Timeline<'_>,
    verdict: &mut Verdict,
) {
    watched.ended = true;
    // The log need not know which keys a dropped revision had touched, only which namespaces.
    let touches = |commit: &&Committed| {
        let own = |name: &str| name == watched.namespace;
        commit.changes.iter().any(|c| own(&c.namespace)) || commit.resets.iter().any(|r| own(r))
    };
    let mut dropped = timeline.since(watched.next).iter().copied();
    let lost = dropped
        .find(touches)
        .is_some_and(|commit| commit.revision < oldest);
    verdict.judge(EVERY_UPDATE, lost, || {
        format!(
            "{} stood at {} and was told that nothing before {oldest} is held, but there is \
             nothing in between",
            watched.story(),
            watched.next
        )
    });
}

/// In a run that hangs: a watch that is still open and owes an update is why.
fn check_owed(
    watches: &BTreeMap<(ProcessId, u64), Watched<'_>>,
    timeline: &Timeline<'_>,
    ending: &Ending,
    verdict: &mut Verdict,
) {
    for watched in watches.values() {
        if watched.ended || !ending.alive.contains(&watched.process) {
            continue;
        }
        let owed = watched.expected(timeline);
        verdict.judge(EVERY_UPDATE, owed.is_none(), || {
            format!(
                "{} never gave {:?}, which touches it, although the faults had ended",
                watched.story(),
                owed.map(|commit| commit.revision)
            )
        });
    }
}
