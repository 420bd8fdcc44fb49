//! Watches: every update of some keys, in order.

use super::context::Context;
use super::state::{State, check_names};
use super::value;
use crate::error::{Error, Kind, Operation, Result};
use crate::proto::ids::{ProcessId, Revision, WatchId};
use crate::proto::marks::{self, Mark};
use crate::proto::message;
use crate::proto::value as wire;
use serde::de::DeserializeOwned;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Which keys a [watch](State::watch) sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(Keys);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Keys {
    Key(String),
    Prefix(String),
    All,
}

impl Filter {
    /// This key.
    #[must_use]
    pub fn key(key: impl Into<String>) -> Filter {
        Filter(Keys::Key(key.into()))
    }

    /// The keys that start with `prefix`.
    #[must_use]
    pub fn prefix(prefix: impl Into<String>) -> Filter {
        Filter(Keys::Prefix(prefix.into()))
    }

    /// Every key of the namespace.
    #[must_use]
    pub fn all() -> Filter {
        Filter(Keys::All)
    }

    fn text(&self) -> Option<&str> {
        match &self.0 {
            Keys::Key(text) | Keys::Prefix(text) => Some(text),
            Keys::All => None,
        }
    }

    fn as_message(&self) -> message::Filter<'_> {
        match &self.0 {
            Keys::Key(key) => message::Filter::Key(key),
            Keys::Prefix(prefix) => message::Filter::Prefix(prefix),
            Keys::All => message::Filter::All,
        }
    }
}

/// A watch that has not begun: made by [`State::watch`].
#[derive(Debug, Clone)]
#[must_use = "a watch begins with `start`"]
pub struct WatchBuilder {
    state: State,
    filter: Filter,
    from: Option<Revision>,
}

impl WatchBuilder {
    pub(super) fn new(state: State, filter: Filter) -> WatchBuilder {
        WatchBuilder {
            state,
            filter,
            from: None,
        }
    }

    /// Begins with the updates of `revision`, itself included, instead of the next one to come.
    pub fn since(mut self, revision: Revision) -> WatchBuilder {
        self.from = Some(revision);
        self
    }

    /// Begins with the first update of all.
    pub fn from_start(self) -> WatchBuilder {
        self.since(Revision::ZERO.next())
    }

    /// Begins. Without [`since`](WatchBuilder::since) the first update is the first one made
    /// after this call has begun, and none after its return is missed.
    ///
    /// # Errors
    /// [`is_compacted`](Error::is_compacted) when the log no longer holds the revision asked for:
    /// [`oldest`](Error::oldest) tells the first one to be had.
    #[track_caller]
    pub fn start(self) -> Result<Watch> {
        let caller = Location::caller();
        let WatchBuilder {
            state,
            filter,
            from,
        } = self;
        let operation = Operation {
            verb: "watch",
            object: filter.text(),
            namespace: Some(state.namespace_name()),
            caller,
        };
        let context = state.context().clone();
        let started =
            check_names(state.namespace_name(), filter.text().unwrap_or("")).and_then(|()| {
                let connection = context.connection();
                let deadline = context.deadline(state.limit());
                connection
                    .watch(state.namespace_name(), filter.as_message(), from, deadline)
                    .map_err(Kind::from)
            });
        let (id, next) = started.map_err(|kind| Error::new(kind, &operation))?;
        Ok(Watch {
            id,
            next,
            namespace: state.namespace_name().into(),
            ended: None,
            context,
        })
    }
}

/// An iterator over updates: each revision that changes a key that the [`Filter`] sees, exactly
/// once, in order. It blocks until there is one, and by itself it never ends.
///
/// When it can't go on, it gives one `Err`, and `None` from then on (it is fused): a gap is never
/// silent. One who reads too slowly gets [`is_compacted`](Error::is_compacted) when what comes next
/// is no longer in the log; a new watch [since](WatchBuilder::since) the [oldest](Error::oldest)
/// revision, and a [snapshot](State::snapshot), lead on from there. A time limit set by
/// [`State::within`] holds for the start only; see [`next_within`](Watch::next_within).
///
/// It goes on over a lost connection by itself. Dropping it ends it, at once.
///
/// ```
/// # fn main() -> zproc::Result<()> {
/// let ctx = zproc::Context::new()?;
/// let state = ctx.namespace("doc-watch-iterator");
/// for n in 1..=3 {
///     state.set("n", &n)?;
/// }
/// let watch = state.watch(zproc::Filter::all()).from_start().start()?;
/// let mut seen = Vec::new();
/// for update in watch.take(3) {
///     seen.push(update?.changes[0].after::<u32>()?);
/// }
/// assert_eq!(seen, [Some(1), Some(2), Some(3)]);
/// # Ok(())
/// # }
/// ```
pub struct Watch {
    context: Context,
    id: WatchId,
    namespace: Arc<str>,
    next: Revision,
    /// Why it can't go on.
    ended: Option<Error>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("namespace", &self.namespace)
            .field("next", &self.next)
            .field("ended", &self.ended.is_some())
            .finish_non_exhaustive()
    }
}

impl Watch {
    /// The next update; blocks until there is one.
    ///
    /// # Errors
    /// [`is_compacted`](Error::is_compacted), [`is_session_lost`](Error::is_session_lost),
    /// [`is_server_lost`](Error::is_server_lost); the same again when called again.
    #[track_caller]
    pub fn next_update(&mut self) -> Result<Update> {
        self.update(None, Location::caller())
    }

    /// The next update, if there is one within `limit`.
    ///
    /// # Errors
    /// As for [`next_update`](Watch::next_update); and [`is_timeout`](Error::is_timeout) when
    /// there is none in that time, after which the watch goes on as before, nothing lost.
    #[track_caller]
    pub fn next_within(&mut self, limit: Duration) -> Result<Update> {
        self.update(Some(limit), Location::caller())
    }

    /// The first revision whose update has not been given yet: one to
    /// [begin another watch](WatchBuilder::since) at.
    #[must_use]
    pub fn next_revision(&self) -> Revision {
        self.next
    }

    fn update(
        &mut self,
        limit: Option<Duration>,
        caller: &'static Location<'static>,
    ) -> Result<Update> {
        if let Some(error) = &self.ended {
            marks::reached(Mark::WatchFused);
            return Err(error.clone());
        }
        let deadline = self.context.deadline(limit);
        let namespace = &self.namespace;
        let taken = self
            .context
            .connection()
            .next_update(self.id, deadline, |update| {
                Update::from_message(update, namespace)
            });
        match taken {
            Ok(update) => {
                self.next = update.revision.next();
                Ok(update)
            }
            Err(error) => {
                let error = Error::new(
                    error.into(),
                    &Operation {
                        verb: "watch",
                        object: None,
                        namespace: Some(&self.namespace),
                        caller,
                    },
                );
                marks::reached_if(error.is_timeout(), Mark::WatchTimedOut);
                if !error.is_timeout() {
                    self.ended = Some(error.clone());
                }
                Err(error)
            }
        }
    }
}

impl Iterator for Watch {
    type Item = Result<Update>;

    fn next(&mut self) -> Option<Result<Update>> {
        if self.ended.is_some() {
            marks::reached(Mark::WatchFused);
            return None;
        }
        Some(self.next_update())
    }
}

impl std::iter::FusedIterator for Watch {}

impl Drop for Watch {
    fn drop(&mut self) {
        self.context.connection().unwatch(self.id);
    }
}

/// What one revision changed in a namespace, as far as a watch's [`Filter`] sees it.
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
    /// every key that was there is gone, and a [snapshot](State::snapshot) tells what is there.
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
    fn from_message(update: &message::Update<'_>, namespace: &Arc<str>) -> Update {
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
