//! "Every update", for who asks what has changed since a revision: it is told as one update, which is
//! what the commits make together.

use super::timeline::Timeline;
use super::updates::covers;
use super::{Call, Calls, EVERY_UPDATE, End, Verdict};
use crate::history::Committed;
use std::collections::BTreeMap;
use zproc::seam::proto::codec;
use zproc::seam::proto::ids::{ProcessId, Revision};
use zproc::seam::proto::message::{Change, Condition, Filter, Reply, Request, Update};

/// What is asked.
struct Asked<'a> {
    namespace: &'a str,
    filter: &'a Filter<'a>,
    but_by: Option<ProcessId>,
    waits: bool,
}

/// What is answered.
struct Told<'a> {
    revision: Revision,
    until: Revision,
    update: Option<Update<'a>>,
    more: bool,
}

/// Judges each such answer.
pub(crate) fn check(calls: &Calls<'_>, timeline: &Timeline<'_>, verdict: &mut Verdict) {
    for call in &calls.all {
        let (
            Request::Wait {
                namespace,
                condition:
                    Condition::Changed {
                        filter,
                        after,
                        skip_own,
                        waits,
                    },
            },
            End::Returned {
                reply:
                    Reply::Changed {
                        revision,
                        until,
                        update,
                        more,
                    },
                ..
            },
        ) = (&call.request, &call.end)
        else {
            continue;
        };
        let asked = Asked {
            namespace,
            filter,
            but_by: skip_own.then_some(call.process),
            waits: *waits,
        };
        let decoded = update.map(codec::decode::<Update<'_>>).transpose();
        let holds = decoded.is_ok_and(|update| {
            let told = Told {
                revision: *revision,
                until: *until,
                update,
                more: *more,
            };
            starts(call, *after, &told, timeline)
                .any(|after| asked.is_answered(after, &told, timeline))
        });
        verdict.judge(EVERY_UPDATE, holds, || {
            format!(
                "{} was answered at {revision}, up to {until}, by what the commits do not make: \
                 {update:02x?}",
                call.story()
            )
        });
    }
}

/// The revisions that it may have been asked from: one, if that was said.
fn starts(
    call: &Call<'_>,
    after: Option<Revision>,
    told: &Told<'_>,
    timeline: &Timeline<'_>,
) -> impl Iterator<Item = Revision> {
    let (first, last) = match after {
        Some(after) => (after, after),
        None => (timeline.newest_at(call.called), told.revision),
    };
    (first.0..=last.0).map(Revision)
}

impl Asked<'_> {
    fn is_answered(&self, after: Revision, told: &Told<'_>, timeline: &Timeline<'_>) -> bool {
        let reaches = match told.more {
            true => told.until > after && told.until < told.revision,
            false => told.until == told.revision.max(after),
        };
        let between = timeline.since(after.next()).iter();
        let commits = between.take_while(|commit| commit.revision <= told.until);
        let wanted = commits.filter(|commit| self.but_by != Some(commit.process));
        let Some(update) = &told.update else {
            let nothing = !wanted.clone().any(|commit| self.touches(commit));
            return reaches && nothing && (told.more || !self.waits);
        };
        if update.reset {
            // Emptied, or no longer held in whole.
            let since = timeline.since(after.next()).iter();
            let mut until = since.take_while(|commit| commit.revision <= told.revision);
            return reaches && until.any(|commit| self.may_be_lost(commit));
        }
        let mut changes: BTreeMap<&str, Change<'_>> = BTreeMap::new();
        let mut last = None;
        for commit in wanted.filter(|commit| self.touches(commit)) {
            last = Some(*commit);
            if commit.resets.iter().any(|reset| reset == self.namespace) {
                return false;
            }
            for changed in self.covered(commit) {
                let after = changed.after.as_deref();
                let change = changes.entry(&changed.key).or_insert(Change {
                    key: &changed.key,
                    before: changed.before.as_deref(),
                    after,
                });
                change.after = after;
            }
        }
        let by = (update.revision, update.origin.process);
        reaches
            && last.is_some_and(|last| (last.revision, last.process) == by)
            && update.changes.iter().eq(changes.values())
    }

    fn covered<'a>(
        &'a self,
        commit: &'a Committed,
    ) -> impl Iterator<Item = &'a crate::history::Changed> {
        let here = commit.changes.iter();
        here.filter(|c| c.namespace == self.namespace && covers(self.filter, &c.key))
    }

    fn touches(&self, commit: &Committed) -> bool {
        let reset = commit.resets.iter().any(|reset| reset == self.namespace);
        reset || self.covered(commit).next().is_some()
    }

    fn may_be_lost(&self, commit: &Committed) -> bool {
        let own = |namespace: &String| namespace == self.namespace;
        commit.resets.iter().any(own) || commit.changes.iter().any(|c| own(&c.namespace))
    }
}
