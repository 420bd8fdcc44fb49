//! What has changed since a revision, as one update: for who wants the newest, not every step to it.

use super::super::codec;
use super::super::history::{History, Logged};
use super::super::ids::{ProcessId, Revision, SessionId};
use super::super::interest::Interest;
use super::super::limits::Limits;
use super::super::marks::{self, Mark};
use super::super::message::{Change, Origin, Reply, Update};
use super::super::planted::{self, Bug};
use super::super::store::Value;
use super::Server;
use std::collections::BTreeMap;

/// Whose changes of what somebody wants to hear of.
pub(super) struct Wanted<'a> {
    pub(super) namespace: &'a str,
    pub(super) interest: &'a Interest,
    /// Leaves out what this process has changed.
    pub(super) but_by: Option<ProcessId>,
}

/// What was found.
struct Found {
    /// An encoded update.
    update: Option<Vec<u8>>,
    until: Revision,
    more: bool,
}

impl Found {
    fn reply(&self, revision: Revision) -> Vec<u8> {
        codec::to_bytes(&Reply::Changed {
            revision,
            until: self.until,
            update: self.update.as_deref(),
            more: self.more,
        })
    }
}

impl Server {
    /// All that has changed after this revision; nothing, if that is so.
    pub(super) fn changes(
        &self,
        id: SessionId,
        namespace: &str,
        interest: &Interest,
        after: Revision,
        skip_own: bool,
    ) -> Vec<u8> {
        let process = self.sessions.get(&id).map(|session| session.process);
        let wanted = Wanted {
            namespace,
            interest,
            but_by: process.filter(|_| skip_own),
        };
        let revision = self.store.revision();
        let found = wanted.merged(self.log(namespace), after, revision, &self.config.limits);
        found.reply(revision)
    }
}

impl Wanted<'_> {
    /// The reply to who waits for a change after this revision, if there is one. If not, it need not be
    /// looked for again up to here.
    pub(super) fn awaited(
        &self,
        log: &History,
        (after, is_first): (&mut Revision, bool),
        head: Revision,
        limits: &Limits,
    ) -> Option<Vec<u8>> {
        if is_first && planted::is(Bug::ChangeSinceOverlooked) {
            *after = head;
        }
        if !is_first {
            // It has been tested at each revision of interest: what was dropped since was none.
            *after = (*after).max(log.dropped(self.namespace));
        }
        let found = self.merged(log, *after, head, limits);
        if found.update.is_none() && !found.more {
            *after = found.until;
            return None;
        }
        Some(found.reply(head))
    }

    fn merged(&self, log: &History, after: Revision, head: Revision, limits: &Limits) -> Found {
        let mut merged = Merged::default();
        if log.dropped(self.namespace) > after {
            marks::reached(Mark::ChangesCompacted);
            merged.reset = true;
            merged.last = log.newest_entry();
            return merged.found(head, false);
        }
        let mut until = after;
        let mut looked_at = 0;
        for entry in log.since(after.next()) {
            if looked_at >= limits.log_entries_per_tick_max || !merged.add(entry, self, limits) {
                marks::reached(Mark::ChangesInParts);
                return merged.found(until, true);
            }
            looked_at += entry.steps(self.namespace);
            until = entry.revision;
        }
        merged.found(head.max(after), false)
    }
}

/// Updates made one.
#[derive(Default)]
struct Merged<'a> {
    changes: BTreeMap<&'a str, Change<'a>>,
    bytes: usize,
    reset: bool,
    last: Option<&'a Logged>,
}

impl<'a> Merged<'a> {
    /// Adds what is wanted of an entry; false if there is no room.
    fn add(&mut self, entry: &'a Logged, wanted: &Wanted<'_>, limits: &Limits) -> bool {
        let by_another = wanted.but_by != Some(entry.cause.process);
        let space = entry.space(wanted.namespace);
        let Some(space) = space else {
            return true;
        };
        let covered = || {
            let changes = space.changes.iter();
            changes.filter(|change| wanted.interest.covers(&change.key))
        };
        if !by_another {
            marks::reached_if(covered().next().is_some(), Mark::ChangesOwnLeftOut);
            return true;
        }
        let length = |value: &Option<Value>| value.as_ref().map_or(0, |value| value.len());
        let bytes: usize = covered()
            .map(|change| change.key.len() + length(&change.before) + length(&change.after))
            .sum();
        let count = self.changes.len() + covered().count();
        let is_full = self.bytes + bytes > limits.change_set_bytes_max
            || count > limits.change_set_changes_max;
        // One entry fits by itself.
        if is_full && self.last.is_some() {
            return false;
        }
        if space.reset {
            marks::reached(Mark::ChangesReset);
            self.reset = true;
            self.last = Some(entry);
        }
        for change in covered() {
            self.last = Some(entry);
            let after = change.after.as_deref();
            let merged = self.changes.entry(&change.key).or_insert(Change {
                key: &change.key,
                before: change.before.as_deref(),
                after,
            });
            marks::reached_if(merged.after != after, Mark::ChangesMerged);
            if !planted::is(Bug::FirstChangeKept) {
                merged.after = after;
            }
        }
        self.bytes += bytes;
        true
    }

    fn found(self, until: Revision, more: bool) -> Found {
        let update = self.last.map(|last| Update {
            revision: last.revision,
            time: last.cause.time,
            origin: Origin {
                process: last.cause.process,
                function: last.cause.function.as_deref(),
                released: last.cause.released.as_deref(),
            },
            reset: self.reset,
            changes: match self.reset {
                true => Vec::new(),
                false => self.changes.into_values().collect(),
            },
        });
        Found {
            update: update.map(|update| codec::to_bytes(&update)),
            until,
            more,
        }
    }
}
