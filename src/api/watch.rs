//! Watches: every update of some keys, in order.

use super::context::{Context, unexpected};
use super::latest::Asked;
use super::snapshot::Snapshot;
use super::state::{State, check_names};
use super::update::Update;
use crate::client::CallError;
use crate::error::{Error, Kind, Operation, Result, Wanted};
use crate::proto::ids::{ProcessId, Revision, WatchId};
use crate::proto::limits::WATCH_KEYS_MAX;
use crate::proto::marks::{self, Mark};
use crate::proto::message::{self, Feeds, Reply, Request};
use crate::proto::time::{AT_ONCE, Time, nanoseconds};
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

/// Which keys a [watch](State::watch) sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(Keys);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Keys {
    Key(String),
    Prefix(String),
    All,
    These(Vec<String>),
    AllBut(Vec<String>),
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

    /// Any of these keys.
    #[must_use]
    pub fn keys<K: Into<String>>(keys: impl IntoIterator<Item = K>) -> Filter {
        Filter(Keys::These(keys.into_iter().map(Into::into).collect()))
    }

    /// Every key of the namespace but these.
    #[must_use]
    pub fn all_but<K: Into<String>>(keys: impl IntoIterator<Item = K>) -> Filter {
        Filter(Keys::AllBut(keys.into_iter().map(Into::into).collect()))
    }

    fn text(&self) -> Option<&str> {
        match &self.0 {
            Keys::Key(text) | Keys::Prefix(text) => Some(text),
            Keys::All | Keys::These(_) | Keys::AllBut(_) => None,
        }
    }

    /// Does it see no key, whatever there is?
    pub(super) fn is_empty(&self) -> bool {
        matches!(&self.0, Keys::These(keys) if keys.is_empty())
    }

    /// Is all of it within the limits?
    pub(super) fn check(&self, namespace: &str) -> Result<(), Kind> {
        check_names(namespace, self.text().unwrap_or(""))?;
        let (Keys::These(keys) | Keys::AllBut(keys)) = &self.0 else {
            return Ok(());
        };
        if keys.len() > WATCH_KEYS_MAX {
            return Err(Kind::Limit {
                limit: "WATCH_KEYS_MAX".to_owned(),
                actual: keys.len() as u64,
                max: WATCH_KEYS_MAX as u64,
            });
        }
        keys.iter().try_for_each(|key| check_names(namespace, key))
    }

    pub(super) fn as_message(&self) -> message::Filter<'_> {
        match &self.0 {
            Keys::Key(key) => message::Filter::Key(key),
            Keys::Prefix(prefix) => message::Filter::Prefix(prefix),
            Keys::All => message::Filter::All,
            Keys::These(keys) => message::Filter::Keys(texts(keys)),
            Keys::AllBut(keys) => message::Filter::AllBut(texts(keys)),
        }
    }
}

fn texts(keys: &[String]) -> Vec<&str> {
    keys.iter().map(String::as_str).collect()
}

/// A watch that has not begun: made by [`State::watch`].
#[derive(Debug, Clone)]
#[must_use = "a watch begins with `start`"]
pub struct WatchBuilder {
    state: State,
    filter: Filter,
    from: Option<Revision>,
    options: Options,
    feeds: Option<Feeding>,
}

/// The wait that a watch is there for.
#[derive(Debug, Clone)]
pub(super) struct Feeding {
    pub(super) wait: u64,
    pub(super) function: Arc<str>,
    pub(super) since: Time,
}

/// What of its updates a watch gives, and how long it waits for one.
#[derive(Debug, Clone, Copy, Default)]
struct Options {
    skip_own: bool,
    skip_identical: bool,
    latest: bool,
    timeout: Option<Duration>,
}

impl Options {
    /// The update, as far as it is wanted.
    fn wanted(&self, mut update: Update, own: ProcessId) -> Option<Update> {
        // The latest is made of many: the server leaves some out.
        if self.skip_own && !self.latest && update.origin.process == own {
            marks::reached(Mark::WatchSkippedOwn);
            return None;
        }
        if self.skip_identical && !update.reset {
            update.changes.retain(|change| !change.is_identical());
            if update.changes.is_empty() {
                marks::reached(Mark::WatchSkippedIdentical);
                return None;
            }
        }
        Some(update)
    }
}

/// A public call: its name, and where it stands.
type PublicCall = (&'static str, &'static Location<'static>);

/// How often a snapshot and a watch from there on are tried, when the log does not reach so far.
const ATTEMPTS_MAX: usize = 8;

impl WatchBuilder {
    pub(super) fn new(state: State, filter: Filter) -> WatchBuilder {
        WatchBuilder {
            state,
            filter,
            from: None,
            options: Options::default(),
            feeds: None,
        }
    }

    /// Leaves out what this process itself has changed.
    pub fn skip_own(mut self) -> WatchBuilder {
        self.options.skip_own = true;
        self
    }

    /// Leaves out keys that were written with a value equal to the one before.
    pub fn skip_identical(mut self) -> WatchBuilder {
        self.options.skip_identical = true;
        self
    }

    /// Gives the newest only: whoever takes an update has all that changed since the one before,
    /// made one, at once, however much that is.
    ///
    /// Of each key it has the value before the first of these changes and the one after the last; its
    /// revision, time and origin are those of the last change. What can't be listed, since it is over
    /// 4 MiB, or the log of the server has dropped some of it, is told by a
    /// [reset](Update::reset): a [snapshot](State::snapshot) tells what is there. Nothing is queued for
    /// such a watch, neither here nor in the server, and it is never
    /// [compacted](Error::is_compacted).
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// # let ctx = zproc::Context::new()?;
    /// let state = ctx.namespace("doc-latest");
    /// let mut watch = state.watch(zproc::Filter::key("n")).latest().start()?;
    /// for n in 1..=1000 {
    ///     state.set("n", &n)?;
    /// }
    /// let update = watch.next_update()?;
    /// assert_eq!(update.changes[0].before::<u32>()?, None);
    /// assert_eq!(update.changes[0].after()?, Some(1000));
    /// # Ok(())
    /// # }
    /// ```
    pub fn latest(mut self) -> WatchBuilder {
        self.options.latest = true;
        self
    }

    /// Waits so long for each update, and gives [`is_timeout`](Error::is_timeout) when there is none in
    /// that time; the watch then goes on as before, nothing lost. See
    /// [`next_within`](Watch::next_within).
    pub fn timeout(mut self, limit: Duration) -> WatchBuilder {
        self.options.timeout = Some(limit);
        self
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
        self.start_as("watch", Location::caller())
    }

    /// It is there for a wait, and a dump tells so.
    pub(super) fn feeding(mut self, feeds: Feeding) -> WatchBuilder {
        self.feeds = Some(feeds);
        self
    }

    /// As [`start`](WatchBuilder::start), for a public call that stands there.
    pub(super) fn start_as(
        self,
        verb: &'static str,
        caller: &'static Location<'static>,
    ) -> Result<Watch> {
        let (id, next) = self.begin(self.from, (verb, caller))?;
        Ok(Watch::new(self, id, next))
    }

    /// Takes a snapshot of the namespace, and begins with the first update after it: no gap, and no
    /// update that is in the snapshot already. What [`since`](WatchBuilder::since) has said is left
    /// aside.
    ///
    /// # Errors
    /// As for [`State::snapshot`].
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// # let ctx = zproc::Context::new()?;
    /// use zproc::Filter;
    /// let state = ctx.namespace("doc-start-with-snapshot");
    /// state.set("a", &1)?;
    /// let (snapshot, mut watch) = state.watch(Filter::all()).start_with_snapshot()?;
    /// state.set("a", &2)?;
    /// assert_eq!(snapshot.get("a")?, Some(1));
    /// assert_eq!(watch.next_update()?.changes[0].after()?, Some(2));
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn start_with_snapshot(self) -> Result<(Snapshot, Watch)> {
        let call = ("start_with_snapshot", Location::caller());
        let (snapshot, id, next) = self.begin_with_snapshot(call)?;
        Ok((snapshot, Watch::new(self, id, next)))
    }

    /// What a public call does with the watch.
    fn operation(&self, (verb, caller): PublicCall) -> Operation<'_> {
        Operation {
            verb,
            object: self.filter.text(),
            namespace: Some(self.state.namespace_name()),
            caller,
        }
    }

    fn begin(
        &self,
        from: Option<Revision>,
        call: PublicCall,
    ) -> Result<(Option<WatchId>, Revision)> {
        let namespace = self.state.namespace_name();
        let operation = self.operation(call);
        let context = self.state.context();
        let started = self.filter.check(namespace).and_then(|()| {
            let deadline = context.deadline(self.state.limit());
            let filter = self.filter.as_message();
            if self.options.latest {
                return Ok((None, from));
            }
            let feeds = self.feeds.as_ref().map(|fed| Feeds {
                wait: fed.wait,
                function: &fed.function,
                waited_ns: nanoseconds(context.connection().port().now().since(fed.since)),
            });
            let started = context
                .connection()
                .watch(namespace, filter, from, feeds, deadline);
            let (id, next) =
                started.map_err(|error| Kind::from(error).wanted_for(Wanted::Begin))?;
            Ok((Some(id), Some(next)))
        });
        let (id, next) = started.map_err(|kind| Error::new(kind, &operation))?;
        let next = match next {
            Some(next) => next.max(Revision::ZERO.next()),
            None => self.head(&operation)?.next(),
        };
        Ok((id, next))
    }

    /// The revision that is newest now.
    fn head(&self, operation: &Operation<'_>) -> Result<Revision> {
        let state = &self.state;
        state.call(operation, &Request::Ping, |reply| match reply {
            Reply::Done { revision } => Ok(*revision),
            other => Err(unexpected(other)),
        })
    }

    fn begin_with_snapshot(
        &self,
        call: PublicCall,
    ) -> Result<(Snapshot, Option<WatchId>, Revision)> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let snapshot = self.state.snapshot_as(&self.operation(call))?;
            match self.begin(Some(snapshot.revision().next()), call) {
                Ok((id, next)) => return Ok((snapshot, id, next)),
                // Much was written in between.
                Err(error) if error.is_compacted() && attempt < ATTEMPTS_MAX => {
                    marks::reached(Mark::SnapshotRestarted);
                }
                Err(error) => return Err(error.wanted_for(Wanted::Meanwhile)),
            }
        }
    }
}

/// An iterator over updates: each revision that changes a key that the [`Filter`] sees, exactly
/// once, in order. It blocks until there is one, and by itself it never ends.
///
/// When it can't go on, it gives one `Err`, and `None` from then on (it is fused): a gap is never
/// silent. One who reads too slowly gets [`is_compacted`](Error::is_compacted) when what comes next
/// is no longer in the log; [`restart`](Watch::restart) leads on from there. A time limit set by
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
    /// None: of the latest only, which is asked for when it is wanted.
    id: Option<WatchId>,
    namespace: Arc<str>,
    /// To begin again.
    builder: WatchBuilder,
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
    fn new(builder: WatchBuilder, id: Option<WatchId>, next: Revision) -> Watch {
        Watch {
            context: builder.state.context().clone(),
            id,
            namespace: builder.state.namespace_name().into(),
            builder,
            next,
            ended: None,
        }
    }

    /// Drops what has not been given yet: the next update is the first one made after this call has
    /// begun. A watch that could not go on begins again.
    ///
    /// # Errors
    /// As for [`WatchBuilder::start`]; then the watch is as it was.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// # let ctx = zproc::Context::new()?;
    /// let state = ctx.namespace("doc-go-live");
    /// let mut watch = state.watch(zproc::Filter::all()).start()?;
    /// state.set("n", &1)?;
    /// watch.go_live()?;
    /// state.set("n", &2)?;
    /// assert_eq!(watch.next_update()?.changes[0].after()?, Some(2));
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn go_live(&mut self) -> Result<()> {
        let call = ("go_live", Location::caller());
        let (id, next) = self.builder.begin(None, call)?;
        self.go_on_as(id, next);
        marks::reached(Mark::WatchWentLive);
        Ok(())
    }

    /// Begins again from a snapshot, as one does after [`is_compacted`](Error::is_compacted): what has
    /// not been given yet is in the snapshot, and the next update is the first one after it.
    ///
    /// # Errors
    /// As for [`State::snapshot`]; then the watch is as it was.
    #[track_caller]
    pub fn restart(&mut self) -> Result<Snapshot> {
        let call = ("restart", Location::caller());
        let (snapshot, id, next) = self.builder.begin_with_snapshot(call)?;
        self.go_on_as(id, next);
        Ok(snapshot)
    }

    pub(super) fn id(&self) -> Option<WatchId> {
        self.id
    }

    fn go_on_as(&mut self, id: Option<WatchId>, next: Revision) {
        if let Some(old) = std::mem::replace(&mut self.id, id) {
            self.context.connection().unwatch(old);
        }
        self.next = next;
        self.ended = None;
    }

    /// The next update; blocks until there is one, or until the
    /// [timeout](WatchBuilder::timeout), if there is one.
    ///
    /// # Errors
    /// [`is_compacted`](Error::is_compacted), [`is_session_lost`](Error::is_session_lost),
    /// [`is_server_lost`](Error::is_server_lost); the same again when called again.
    #[track_caller]
    pub fn next_update(&mut self) -> Result<Update> {
        let call = ("next_update", Location::caller());
        self.update(self.builder.options.timeout, call)
    }

    /// The next update, if there is one within `limit`. With a limit of zero it gives one that was
    /// committed when it is called, and does not wait for any other.
    ///
    /// # Errors
    /// As for [`next_update`](Watch::next_update); and [`is_timeout`](Error::is_timeout) when
    /// there is none in that time, after which the watch goes on as before, nothing lost.
    #[track_caller]
    pub fn next_within(&mut self, limit: Duration) -> Result<Update> {
        self.update(Some(limit), ("next_within", Location::caller()))
    }

    /// The first revision whose update has not been given yet: one to
    /// [begin another watch](WatchBuilder::since) at.
    #[must_use]
    pub fn next_revision(&self) -> Revision {
        self.next
    }

    fn update(&mut self, limit: Option<Duration>, call: PublicCall) -> Result<Update> {
        let deadline = self.context.deadline(limit);
        if let Some(error) = &self.ended {
            marks::reached(Mark::WatchFused);
            return Err(error.clone());
        }
        let own = self.context.process_id();
        let error = loop {
            match self.take_next(deadline, call) {
                Ok((update, next)) => {
                    self.next = next;
                    if let Some(update) = self.builder.options.wanted(update, own) {
                        return Ok(update);
                    }
                }
                Err(error) => break error,
            }
        };
        marks::reached_if(error.is_timeout(), Mark::WatchTimedOut);
        if !error.is_timeout() {
            self.ended = Some(error.clone());
        }
        Err(error)
    }
}

impl Watch {
    /// The next update, wanted or not, and the first revision behind it.
    fn take_next(&self, deadline: Option<Time>, call: PublicCall) -> Result<(Update, Revision)> {
        let operation = self.builder.operation(call);
        let Some(id) = self.id else {
            let asked = Asked {
                context: &self.context,
                namespace: &self.namespace,
                filter: &self.builder.filter,
                skip_own: self.builder.options.skip_own,
            };
            let after = Revision(self.next.0.saturating_sub(1));
            let (update, until) = asked.next(&operation, Some(after), deadline)?;
            return Ok((update, until.next()));
        };
        let connection = self.context.connection();
        let take = |deadline| {
            connection.next_update(id, deadline, |update| {
                Update::from_message(update, &self.namespace)
            })
        };
        let taken = match take(deadline) {
            // What has been committed by now may be on its way.
            Err(CallError::TimedOut)
                if deadline == Some(AT_ONCE) && self.is_behind(&operation)? =>
            {
                marks::reached(Mark::WatchLookedBehind);
                take(None)
            }
            taken => taken,
        };
        let update = taken.map_err(|error| Error::new(error.into(), &operation))?;
        let next = update.revision.next();
        Ok((update, next))
    }

    /// Is there an update that is not here yet? What the log has dropped is not looked at.
    fn is_behind(&self, operation: &Operation<'_>) -> Result<bool> {
        let head = self.builder.head(operation)?;
        let mut after = Revision(self.next.0.saturating_sub(1));
        while after < head {
            let request = Request::Updates {
                namespace: &self.namespace,
                filter: self.builder.filter.as_message(),
                after,
                until: head,
            };
            let read = |reply: &Reply<'_>| match reply {
                Reply::Updates { updates, .. } if !updates.is_empty() => Ok(None),
                Reply::Updates { until, .. } if *until > after => Ok(Some(*until)),
                Reply::Compacted { oldest } if *oldest > after.next() => {
                    Ok(Some(Revision(oldest.0 - 1)))
                }
                other => Err(unexpected(other)),
            };
            match self.context.call(operation, None, &request, read)? {
                None => return Ok(true),
                Some(until) => after = until,
            }
        }
        Ok(false)
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
        if let Some(id) = self.id {
            self.context.connection().unwatch(id);
        }
    }
}
