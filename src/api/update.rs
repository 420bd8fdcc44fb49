//! What a revision changed, as a watch gives it.

use super::value;
use crate::error::{Error, Operation, Result};
use crate::proto::ids::{ProcessId, Revision};
use crate::proto::message;
use crate::proto::value as wire;
use serde::de::DeserializeOwned;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What one revision changed in a namespace, as far as a watch's [`Filter`](crate::Filter) sees it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Update {
    /// The revision.
    pub revision: Revision,
    /// When the server applied it, by its clock. The order is told by the revisions, not by this.
    pub time: SystemTime,
    /// Who did it.
    pub origin: Origin,
    /// The namespace was emptied at once, and held too much to list it here: `changes` is empty,
    /// every key that was there is gone, and a [snapshot](crate::State::snapshot) tells what is there. Of a
    /// watch of the [latest](crate::WatchBuilder::latest): what has changed can't be listed.
    pub reset: bool,
    /// Each key that changed, in order.
    pub changes: Vec<Change>,
}

/// Who changed the state.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Origin {
    /// The process that asked for it.
    pub process: ProcessId,
    /// The atomic function, if one did it, as `type_name` gives it.
    pub function: Option<String>,
    /// Set when this is the release of what the process owned: how the process ended.
    pub released: Option<String>,
}

/// One key of an [`Update`].
#[derive(Clone)]
pub struct Change {
    namespace: Arc<str>,
    key: String,
    before: Option<Box<[u8]>>,
    after: Option<Box<[u8]>>,
}

impl Update {
    pub(super) fn from_message(update: &message::Update<'_>, namespace: &Arc<str>) -> Update {
        Update {
            revision: update.revision,
            time: SystemTime::UNIX_EPOCH + Duration::from_nanos(update.time.0),
            origin: Origin {
                process: update.origin.process,
                function: update.origin.function.map(str::to_owned),
                released: update.origin.released.map(str::to_owned),
            },
            reset: update.reset,
            changes: update
                .changes
                .iter()
                .map(|change| Change {
                    namespace: namespace.clone(),
                    key: change.key.to_owned(),
                    before: change.before.map(Into::into),
                    after: change.after.map(Into::into),
                })
                .collect(),
        }
    }
}

impl Change {
    /// What it takes.
    pub(super) fn bytes(&self) -> usize {
        let values = [&self.before, &self.after].into_iter().flatten();
        self.key.len() + values.map(|value| value.len()).sum::<usize>()
    }

    /// The same key has changed again.
    pub(super) fn goes_on_as(&mut self, later: Change) {
        self.after = later.after;
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The value before, or `None` if the key was not there.
    ///
    /// # Errors
    /// [`is_wrong_type`](Error::is_wrong_type).
    #[track_caller]
    pub fn before<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        self.decoded("before", self.before.as_deref())
    }

    /// The value after, or `None` if the key was removed.
    ///
    /// # Errors
    /// [`is_wrong_type`](Error::is_wrong_type).
    #[track_caller]
    pub fn after<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        self.decoded("after", self.after.as_deref())
    }

    /// The value before, as MessagePack.
    #[must_use]
    pub fn before_raw(&self) -> Option<&[u8]> {
        self.before.as_deref()
    }

    /// The value after, as MessagePack.
    #[must_use]
    pub fn after_raw(&self) -> Option<&[u8]> {
        self.after.as_deref()
    }

    /// Was an equal value written?
    #[must_use]
    pub fn is_identical(&self) -> bool {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => wire::equal(before, after),
            (before, after) => before.is_none() && after.is_none(),
        }
    }

    #[track_caller]
    fn decoded<T: DeserializeOwned>(
        &self,
        verb: &'static str,
        value: Option<&[u8]>,
    ) -> Result<Option<T>> {
        let caller = Location::caller();
        value.map(value::decode).transpose().map_err(|kind| {
            Error::new(
                kind,
                &Operation {
                    verb,
                    object: Some(&self.key),
                    namespace: Some(&self.namespace),
                    caller,
                },
            )
        })
    }
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let describe = |value: &Option<Box<[u8]>>| match value {
            Some(value) => wire::describe(value),
            None => "nothing".to_owned(),
        };
        write!(
            f,
            "{:?}: {} -> {}",
            self.key,
            describe(&self.before),
            describe(&self.after)
        )
    }
}
