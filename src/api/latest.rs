//! What has changed since a revision, asked of the server and made one update: the newest, at once.

use super::context::{Context, unexpected};
use super::update::{Change, Update};
use super::watch::Filter;
use crate::error::{Kind, Operation, Result};
use crate::proto::codec;
use crate::proto::ids::Revision;
use crate::proto::limits::CHANGE_SET_BYTES_MAX;
use crate::proto::marks::{self, Mark};
use crate::proto::message::{self, Condition, Reply, Request};
use crate::proto::time::Time;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Whose changes of what are asked for.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) context: &'a Context,
    pub(super) namespace: &'a Arc<str>,
    pub(super) filter: &'a Filter,
    pub(super) skip_own: bool,
}

/// One answer.
struct Part {
    update: Option<Update>,
    until: Revision,
    head: Revision,
    more: bool,
}

impl Asked<'_> {
    /// Blocks until something has changed after this revision (`None`: after now); gives all of it as
    /// one update, and up to where that is.
    pub(super) fn next(
        &self,
        operation: &Operation<'_>,
        after: Option<Revision>,
        deadline: Option<Time>,
    ) -> Result<(Update, Revision)> {
        let mut merged = Merged::default();
        let mut after = after;
        loop {
            // What has come of it is not kept waiting for what may come.
            let waits = merged.last.is_none();
            let part = self.part(operation, (after, waits), deadline)?;
            if let Some(update) = part.update {
                merged.add(update);
            }
            let goes_on = part.more && !merged.is_reset;
            marks::reached_if(goes_on, Mark::LatestGoesOn);
            marks::reached_if(part.more && merged.is_reset, Mark::LatestCutShort);
            let until = match merged.is_reset {
                true => part.head,
                false => part.until,
            };
            match merged.last.is_some() && !goes_on {
                true => return Ok((merged.into_update(until), until)),
                false => after = Some(until),
            }
        }
    }

    fn part(
        &self,
        operation: &Operation<'_>,
        (after, waits): (Option<Revision>, bool),
        deadline: Option<Time>,
    ) -> Result<Part> {
        let condition = Condition::Changed {
            filter: self.filter.as_message(),
            after,
            skip_own: self.skip_own,
            waits,
        };
        let request = Request::Wait {
            namespace: self.namespace,
            condition,
        };
        let read = |reply: &Reply<'_>| match reply {
            Reply::Changed {
                revision,
                until,
                update,
                more,
            } => {
                let decoded = update.map(codec::decode::<message::Update<'_>>).transpose();
                let update = decoded.map_err(|malformed| Kind::Protocol(malformed.to_string()))?;
                if *more && after.is_some_and(|after| *until <= after) {
                    let what = "an answer that goes no further";
                    return Err(Kind::Protocol(what.to_owned()));
                }
                Ok(Part {
                    update: update.map(|update| Update::from_message(&update, self.namespace)),
                    until: *until,
                    head: *revision,
                    more: *more,
                })
            }
            other => Err(unexpected(other)),
        };
        self.context.call_by(operation, deadline, &request, read)
    }
}

/// Updates made one, as far as there is room.
#[derive(Default)]
struct Merged {
    changes: BTreeMap<String, Change>,
    bytes: usize,
    is_reset: bool,
    last: Option<Update>,
}

impl Merged {
    fn add(&mut self, mut update: Update) {
        marks::reached_if(update.reset, Mark::LatestReset);
        self.is_reset |= update.reset;
        for change in std::mem::take(&mut update.changes) {
            self.bytes += change.bytes();
            match self.changes.get_mut(change.key()) {
                Some(merged) => merged.goes_on_as(change),
                None => drop(self.changes.insert(change.key().to_owned(), change)),
            }
        }
        if self.bytes > CHANGE_SET_BYTES_MAX {
            marks::reached(Mark::ChangesTooMany);
            self.is_reset = true;
        }
        if self.is_reset {
            self.changes.clear();
        }
        self.last = Some(update);
    }

    fn into_update(self, until: Revision) -> Update {
        let mut update = self.last.expect("something has changed");
        if self.is_reset {
            update.revision = until;
        }
        update.reset = self.is_reset;
        update.changes = self.changes.into_values().collect();
        update
    }
}
