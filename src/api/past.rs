//! Reads of the past: the state as it was at a revision, as far as the update log reaches back.

use super::context::unexpected;
use super::scan::{Entries, Span};
use super::snapshot::{self, Snapshot};
use super::state::State;
use super::value;
use crate::error::{Kind, Operation, Result};
use crate::proto::ids::Revision;
use crate::proto::message::{Reply, Request};
use serde::de::DeserializeOwned;
use std::panic::Location;

/// A namespace as it was at one revision. Made by [`State::at`].
///
/// Nothing is kept for it: each call reads the past anew, as long as the server's update log knows
/// what was changed since. What must be kept is a [snapshot](Past::snapshot)'s.
///
/// # Errors
///
/// Besides what each call tells and the errors of [`State`]'s calls:
/// [`is_compacted`](crate::Error::is_compacted) when the log no longer reaches back so far;
/// [`oldest`](crate::Error::oldest) is the oldest revision that could still be read. And
/// [`is_future`](crate::Error::is_future) when the revision is still to come.
#[derive(Clone, Debug)]
pub struct Past {
    state: State,
    revision: Revision,
}

impl State {
    /// A handle on the namespace as it was at this revision, to be read.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// # let ctx = zproc::Context::new()?;
    /// let state = ctx.namespace("doc-past");
    /// let first = state.set("k", "old")?;
    /// let second = state.set("k", "new")?;
    /// assert_eq!(state.at(first).get::<String>("k")?.as_deref(), Some("old"));
    /// assert_eq!(state.at(second).get::<String>("k")?.as_deref(), Some("new"));
    /// assert!(state.at(zproc::Revision(first.0 - 1)).is_empty()?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn at(&self, revision: Revision) -> Past {
        Past {
            state: self.clone(),
            revision,
        }
    }
}

impl Past {
    /// The revision that is read.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The name of the namespace.
    #[must_use]
    pub fn namespace_name(&self) -> &str {
        self.state.namespace_name()
    }

    /// The value that `key` had, or `None` if it was not there.
    ///
    /// # Errors
    /// [`is_wrong_type`](crate::Error::is_wrong_type).
    #[track_caller]
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let operation = self.state.operation("get", Some(key));
        self.state.get_at(&operation, key, Some(self.revision))
    }

    /// Was `key` there?
    ///
    /// # Errors
    /// Those of every call.
    #[track_caller]
    pub fn contains_key(&self, key: &str) -> Result<bool> {
        let operation = self.state.operation("contains_key", Some(key));
        self.state.contains_at(&operation, key, Some(self.revision))
    }

    /// How many keys there were.
    ///
    /// # Errors
    /// Those of every call.
    #[track_caller]
    pub fn len(&self) -> Result<u64> {
        let operation = self.state.operation("len", None);
        self.state.len_at(&operation, Some(self.revision))
    }

    /// Was there no key?
    ///
    /// # Errors
    /// Those of every call.
    #[track_caller]
    pub fn is_empty(&self) -> Result<bool> {
        self.len().map(|count| count == 0)
    }

    /// The keys that were in a [span](Span), in order.
    ///
    /// # Errors
    /// Those of every call.
    #[track_caller]
    pub fn keys(&self, span: impl Into<Span>) -> Result<Vec<String>> {
        let operation = self.state.operation("keys", None);
        let (span, at) = (span.into(), Some(self.revision));
        let (_, entries) = snapshot::scan(&self.state, &operation, &span, false, at)?;
        Ok(entries.into_keys().collect())
    }

    /// An iterator over the entries that were in a [span](Span), in order. It reads them page by page,
    /// all of this revision.
    #[track_caller]
    pub fn iter<T: DeserializeOwned>(&self, span: impl Into<Span>) -> Entries<T> {
        let at = Some(self.revision);
        Entries::new(self.state.clone(), span.into(), at, Location::caller())
    }

    /// A copy of everything that was there.
    ///
    /// # Errors
    /// Those of every call.
    #[track_caller]
    pub fn snapshot(&self) -> Result<Snapshot> {
        let operation = self.state.operation("snapshot", None);
        let at = Some(self.revision);
        let (revision, entries) = snapshot::scan(&self.state, &operation, &Span::all(), true, at)?;
        Ok(Snapshot::new(self.namespace_name(), revision, entries))
    }
}

/// Reads, now or at a revision.
impl State {
    pub(super) fn get_at<T: DeserializeOwned>(
        &self,
        operation: &Operation<'_>,
        key: &str,
        at: Option<Revision>,
    ) -> Result<Option<T>> {
        self.value_at(operation, key, at, |value| {
            value.map(value::decode).transpose()
        })
    }

    pub(super) fn contains_at(
        &self,
        operation: &Operation<'_>,
        key: &str,
        at: Option<Revision>,
    ) -> Result<bool> {
        self.value_at(operation, key, at, |value| Ok(value.is_some()))
    }

    fn value_at<R>(
        &self,
        operation: &Operation<'_>,
        key: &str,
        at: Option<Revision>,
        read: impl FnOnce(Option<&[u8]>) -> Result<R, Kind>,
    ) -> Result<R> {
        let namespace = self.namespace_name();
        let request = Request::Get { namespace, key, at };
        self.call(operation, &request, |reply| match reply {
            Reply::Value { value, .. } => read(*value),
            other => Err(unexpected(other)),
        })
    }

    pub(super) fn len_at(&self, operation: &Operation<'_>, at: Option<Revision>) -> Result<u64> {
        let namespace = self.namespace_name();
        self.call(
            operation,
            &Request::Len { namespace, at },
            |reply| match reply {
                Reply::Count { count, .. } => Ok(*count),
                other => Err(unexpected(other)),
            },
        )
    }
}
