//! The state: a dict that every process sees the same way.

use super::context::{Context, unexpected};
use super::fed;
use super::here;
use super::scan::{Entries, Span};
use super::shipped::{AtomicBody, AtomicSignature, ConditionBody, ConditionSignature};
use super::snapshot::{self, Snapshot};
use super::txn::Txn;
use super::value::{self, Side};
use super::view::{Verdict, View};
use super::watch::{Filter, WatchBuilder};
use crate::error::{Error, Kind, Operation, Result};
use crate::process::code;
use crate::proto::ids::Revision;
use crate::proto::limits::{KEY_BYTES_MAX, NAMESPACE_BYTES_MAX};
use crate::proto::message::{Condition, Reply, Request};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

/// A handle on one namespace: a dict from strings to values of any serde type.
///
/// Every call is one request to the server and takes effect at one instant between its call and
/// its return. Clones are cheap and may be used from any thread at once.
///
/// Keys are at most 1024 bytes, values at most 1 MiB and 128 levels deep when encoded.
///
/// ```
/// # fn main() -> zproc::Result<()> {
/// let ctx = zproc::Context::new()?;
/// let state = ctx.state();
/// state.set("apples", &3)?;
/// assert_eq!(state.get::<u32>("apples")?, Some(3));
/// assert_eq!(state.get::<u32>("pears")?, None);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Besides what each call tells: [`is_server_lost`](Error::is_server_lost) when the tree has
/// ended; [`is_outcome_unknown`](Error::is_outcome_unknown) and
/// [`is_session_lost`](Error::is_session_lost) when the server has given this process up;
/// [`is_timeout`](Error::is_timeout) only where [`within`](State::within) has set a time; and
/// [`is_limit`](Error::is_limit) for a name, key or value over its limit.
#[derive(Clone, Debug)]
pub struct State {
    context: Context,
    namespace: Arc<str>,
    limit: Option<Duration>,
}

impl State {
    pub(super) fn new(context: Context, namespace: Arc<str>) -> State {
        State {
            context,
            namespace,
            limit: None,
        }
    }

    /// The name of the namespace.
    #[must_use]
    pub fn namespace_name(&self) -> &str {
        &self.namespace
    }

    /// A handle on the same namespace whose blocking calls fail when they are not done after
    /// `limit`, each by itself: with [`is_timeout`](Error::is_timeout), and nothing is left behind;
    /// or, for a write that was sent already, with
    /// [`is_outcome_unknown`](Error::is_outcome_unknown), since it may yet take effect.
    ///
    /// A limit of zero says: as things stand. The server's answer is waited for, however long it takes
    /// to come, and nothing else is: a wait for what holds now gives it, any other
    /// [`is_timeout`](Error::is_timeout). The same is true of the limits that other calls have.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> zproc::Result<()> {
    /// # let ctx = zproc::Context::new()?;
    /// let soon = ctx.state().within(Duration::from_millis(20));
    /// let error = soon.wait_equal("never", &true).unwrap_err();
    /// assert!(error.is_timeout());
    ///
    /// ctx.state().set("now", &true)?;
    /// let now = ctx.state().within(Duration::ZERO);
    /// now.wait_equal("now", &true)?;
    /// assert!(now.wait_equal("never", &true).is_err_and(|error| error.is_timeout()));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn within(&self, limit: Duration) -> State {
        State {
            limit: Some(limit),
            ..self.clone()
        }
    }
}

/// One key.
impl State {
    /// The value of `key`, or `None` if it is not there.
    ///
    /// # Errors
    /// [`is_wrong_type`](Error::is_wrong_type) when what is there is no `T`: the message names
    /// the key, the type and what is there.
    #[track_caller]
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        self.get_at(&self.operation("get", Some(key)), key, None)
    }

    /// Writes `key`, whatever was there, and gives the revision at which it stands.
    ///
    /// A `Vec<u8>` or a `&[u8]` is a list of numbers to serde: written and read one by one, and up to
    /// twice as long. The crate `serde_bytes` makes it one piece.
    ///
    /// # Errors
    /// [`is_unencodable`](Error::is_unencodable), [`is_limit`](Error::is_limit),
    /// [`is_read_only`](Error::is_read_only).
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// # let ctx = zproc::Context::new()?;
    /// let first = ctx.state().set("k", "v")?;
    /// let second = ctx.state().set("k", &[1, 2])?;
    /// assert!(first < second);
    ///
    /// use serde_bytes::{ByteBuf, Bytes};
    /// let pixels = vec![200_u8; 100_000];
    /// ctx.state().set("pixels", Bytes::new(&pixels))?;
    /// let read = ctx.state().get::<ByteBuf>("pixels")?;
    /// assert_eq!(read.map(ByteBuf::into_vec), Some(pixels));
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn set<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<Revision> {
        self.write(&self.operation("set", Some(key)), key, value, false)
    }

    /// As [`set`](State::set), and the key is bound to this process: when the process ends,
    /// however it ends, the key goes, in one revision with all else that it owned.
    ///
    /// Another process that writes the key takes it over: by `set` it is nobody's from then on.
    ///
    /// # Errors
    /// As for [`set`](State::set).
    #[track_caller]
    pub fn set_owned<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<Revision> {
        self.write(&self.operation("set_owned", Some(key)), key, value, true)
    }

    /// Removes `key`; false if it was not there.
    ///
    /// # Errors
    /// [`is_read_only`](Error::is_read_only).
    #[track_caller]
    pub fn remove(&self, key: &str) -> Result<bool> {
        let operation = self.operation("remove", Some(key));
        let request = Request::Remove {
            namespace: &self.namespace,
            key,
        };
        self.call(&operation, &request, |reply| match reply {
            Reply::Written { before, .. } => Ok(before.is_some()),
            other => Err(unexpected(other)),
        })
    }

    /// Is `key` there?
    ///
    /// # Errors
    /// Those of every call.
    #[track_caller]
    pub fn contains_key(&self, key: &str) -> Result<bool> {
        self.contains_at(&self.operation("contains_key", Some(key)), key, None)
    }

    /// The value of `key`; if it is not there, `value` is written first. One operation: of many
    /// processes that call it at once, one writes and all get the same.
    ///
    /// # Errors
    /// [`is_wrong_type`](Error::is_wrong_type), [`is_unencodable`](Error::is_unencodable),
    /// [`is_limit`](Error::is_limit), [`is_read_only`](Error::is_read_only).
    #[track_caller]
    pub fn get_or_insert<T: Serialize + DeserializeOwned>(
        &self,
        key: &str,
        value: &T,
    ) -> Result<T> {
        let operation = self.operation("get_or_insert", Some(key));
        let bytes = value::encode(value).map_err(|kind| Error::new(kind, &operation))?;
        let request = Request::GetOrInsert {
            namespace: &self.namespace,
            key,
            value: &bytes,
        };
        self.call(&operation, &request, |reply| match reply {
            // None would mean that nothing was inserted either.
            Reply::Value {
                value: Some(value), ..
            } => value::decode(value),
            other => Err(unexpected(other)),
        })
    }
}

/// The whole namespace.
impl State {
    /// How many keys there are.
    ///
    /// # Errors
    /// Those of every call.
    #[track_caller]
    pub fn len(&self) -> Result<u64> {
        self.len_at(&self.operation("len", None), None)
    }

    /// Is there no key?
    ///
    /// # Errors
    /// Those of every call.
    #[track_caller]
    pub fn is_empty(&self) -> Result<bool> {
        self.len().map(|count| count == 0)
    }

    /// The keys in a [span](Span), in order, as they stood at one revision: `..` for all, a text for
    /// those that start so, or a range.
    ///
    /// # Errors
    /// As for [`snapshot`](State::snapshot).
    #[track_caller]
    pub fn keys(&self, span: impl Into<Span>) -> Result<Vec<String>> {
        let span = span.into();
        let operation = self.operation("keys", None);
        let (_, entries) = snapshot::scan(self, &operation, &span, false, None)?;
        Ok(entries.into_keys().collect())
    }

    /// An iterator over the entries in a [span](Span), in order, that reads them page by page: see
    /// [`Entries`] for what holds between two pages.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// # let ctx = zproc::Context::new()?;
    /// let state = ctx.namespace("doc-iter");
    /// state.extend([("job/1", 10), ("job/2", 20), ("other", 0)])?;
    /// for entry in state.iter::<i64>("job/") {
    ///     let (key, seconds) = entry?;
    ///     println!("{key} takes {seconds} s");
    /// }
    /// let first: Option<(String, i64)> = state.iter(..).next().transpose()?;
    /// assert_eq!(first, Some(("job/1".to_owned(), 10)));
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn iter<T: DeserializeOwned>(&self, span: impl Into<Span>) -> Entries<T> {
        Entries::new(self.clone(), span.into(), None, Location::caller())
    }

    /// A copy of everything, as it stood at one revision.
    ///
    /// It is read in pages, so that a large one delays nobody; what changed while it was read is
    /// made good from the update log.
    ///
    /// # Errors
    /// [`is_compacted`](Error::is_compacted) when, several times over, more was changed during the
    /// reading than the log holds.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// # let ctx = zproc::Context::new()?;
    /// let state = ctx.namespace("doc-snapshot");
    /// state.set("a", &1)?;
    /// let before = state.snapshot()?;
    /// state.set("a", &2)?;
    /// assert_eq!(before.get::<i32>("a")?, Some(1));
    /// assert!(before != state.snapshot()?);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.snapshot_as(&self.operation("snapshot", None))
    }

    /// As [`snapshot`](State::snapshot), for another public call.
    pub(super) fn snapshot_as(&self, operation: &Operation<'_>) -> Result<Snapshot> {
        let (revision, entries) = snapshot::scan(self, operation, &Span::all(), true, None)?;
        Ok(Snapshot::new(&self.namespace, revision, entries))
    }

    /// Removes all keys, at one revision.
    ///
    /// # Errors
    /// [`is_read_only`](Error::is_read_only).
    #[track_caller]
    pub fn clear(&self) -> Result<Revision> {
        let operation = self.operation("clear", None);
        let request = Request::Clear {
            namespace: &self.namespace,
        };
        self.call(&operation, &request, |reply| match reply {
            Reply::Written { revision, .. } => Ok(*revision),
            other => Err(unexpected(other)),
        })
    }
}

/// Functions and waits.
impl State {
    /// Runs `f` on the state as one atomic operation, in the server, and gives what it returns.
    ///
    /// No other operation comes between what it reads and what it writes, and all its writes
    /// appear at one revision. If it returns an error or panics, the state is as it was, and the
    /// caller gets the message, the location and, where `RUST_BACKTRACE` asks for it, the
    /// backtrace.
    ///
    /// `f` is an ordinary function, or a closure that captures nothing; what it needs goes into
    /// `args`. It must be quick, must have no effect but on the state, and sees no statics that
    /// `main` has set: it may one day be run more than once. While it runs, everybody waits; one
    /// that never ends, overflows its stack or exits takes the server down.
    ///
    /// Where the server calls no functions (it [stands alone](crate::Server), or the program is built
    /// with `panic = "abort"`, where a panic would take it down), `f` **runs here**, as a [transaction](State::transaction) does:
    /// perhaps more than once, and each read is a round trip. What it gives, how its errors are told, its
    /// limits and its name in the [origin](crate::Origin) of the update are the same; besides, it may be
    /// [contended](Error::is_contended) or [stopped](Error::is_stopped). A panic that can be caught is told as the same error; with
    /// `panic = "abort"` it ends this process, whose outcome then tells of it, and nobody else.
    ///
    /// # Errors
    /// [`is_remote`](Error::is_remote) when `f` returned an error,
    /// [`is_panic`](Error::is_panic) when it panicked; [`is_limit`](Error::is_limit) or
    /// [`is_read_only`](Error::is_read_only) when one of its writes was refused, even if `f` went on
    /// regardless; [`is_unencodable`](Error::is_unencodable) for `args`,
    /// [`is_undecodable`](Error::is_undecodable) for its result;
    /// [`is_unknown_function`](Error::is_unknown_function) when `f` comes from a shared library.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// # let ctx = zproc::Context::new()?;
    /// let state = ctx.namespace("doc-atomic");
    /// state.set("count", &40)?;
    /// let count = state.atomic(|txn, step: u64| {
    ///     let count: u64 = txn.get("count")?.unwrap_or(0) + step;
    ///     txn.set("count", &count)?;
    ///     Ok(count)
    /// }, 2)?;
    /// assert_eq!(count, 42);
    ///
    /// let error = state.atomic(|txn, ()| -> zproc::Result<()> {
    ///     txn.clear()?;
    ///     Err(zproc::Error::msg("changed my mind"))
    /// }, ()).unwrap_err();
    /// assert!(error.is_remote() && error.to_string().contains("changed my mind"));
    /// assert_eq!(state.len()?, 1);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn atomic<F, A, R>(&self, f: F, args: A) -> Result<R>
    where
        F: Fn(&mut Txn<'_>, A) -> Result<R> + Copy + Send + 'static,
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        let shipped = code::ship::<F, AtomicSignature, AtomicBody<A, R>>(f);
        let operation = self.operation("atomic", Some(shipped.name()));
        let failed = |kind| Error::new(kind, &operation);
        let args = value::encode_as(Side::Argument, &args).map_err(failed)?;
        if !self.context.connection().runs_functions() {
            let result = here::atomic(self, &operation, shipped, &args)?;
            return value::decode(&result).map_err(failed);
        }
        let function = shipped.reference();
        let request = Request::Atomic {
            namespace: &self.namespace,
            function,
            args: &args,
        };
        self.call(&operation, &request, |reply| match reply {
            Reply::Returned { value, .. } => value::decode(value),
            other => Err(unexpected(other)),
        })
    }

    /// Blocks until `f` gives a result, and gives it with the revision at which it held.
    ///
    /// `f` is tested on the present state first, then after each change of what it has read, and not
    /// before; so nothing is missed and nothing polls. Its verdict is a `bool`, or an `Option` whose
    /// contents are the result, or either of them in a [`Result`].
    ///
    /// An ordinary function, or a closure that captures nothing, is tested in the server, under the
    /// same rules as an [`atomic`](State::atomic) function. An error or a panic of it ends this wait
    /// alone. Where the server calls no functions it is tested here, and told of in the same way.
    ///
    /// A closure that captures something (it may borrow, and must be `Copy`, as closures are that
    /// borrow or own what is) is tested here: on a copy of what it reads, which a watch of each of
    /// these namespaces feeds; spans are copied whole. Its own error is returned as it is, and its
    /// panic goes on here. Where it reads what the log of updates no longer holds, that read gives an
    /// error, the run counts for nothing, whatever comes of it, and the wait begins again.
    ///
    /// # Errors
    /// [`is_remote`](Error::is_remote), [`is_panic`](Error::is_panic),
    /// [`is_undecodable`](Error::is_undecodable),
    /// [`is_unknown_function`](Error::is_unknown_function).
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// # let ctx = zproc::Context::new()?;
    /// let state = ctx.namespace("doc-wait");
    /// state.set("count", &12)?;
    /// let (count, _) = state.wait_until(|view| {
    ///     let count: Option<u64> = view.get("count")?;
    ///     Ok(count.filter(|count| *count > 10))
    /// })?;
    /// assert_eq!(count, 12);
    /// // This one captures, so it runs here.
    /// let names = ["a".to_owned(), "count".to_owned()];
    /// let (name, _) = state.wait_until(|view| {
    ///     names.iter().position(|name| view.contains_key(name).is_ok_and(|there| there))
    /// })?;
    /// assert_eq!(name, 1);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn wait_until<F, V>(&self, f: F) -> Result<(V::Output, Revision)>
    where
        F: Fn(&View<'_>) -> V + Copy + Send,
        V: Verdict,
    {
        let operation = self.operation("wait_until", Some(std::any::type_name::<F>()));
        let Some(shipped) = code::try_ship::<F, ConditionSignature, ConditionBody<V>>(f) else {
            return fed::wait_until(self, &operation, |_, view| f(view).decide());
        };
        let failed = |kind| Error::new(kind, &operation);
        let args = value::encode_as(Side::Argument, &()).map_err(failed)?;
        if !self.context.connection().runs_functions() {
            let (result, revision) = here::wait_until(self, &operation, shipped, &args)?;
            return Ok((value::decode(&result).map_err(failed)?, revision));
        }
        let function = shipped.reference();
        let request = Request::Wait {
            namespace: &self.namespace,
            condition: Condition::Function {
                function,
                args: &args,
            },
        };
        self.call(&operation, &request, |reply| match reply {
            Reply::Returned { revision, value } => Ok((value::decode(value)?, *revision)),
            other => Err(unexpected(other)),
        })
    }

    /// Blocks until `key` is there with a value equal to `value`, and gives the revision at which
    /// that was so.
    ///
    /// Values are compared as they are encoded: integers by value (an integer never equals a float),
    /// maps whatever their order.
    ///
    /// # Errors
    /// [`is_unencodable`](Error::is_unencodable), [`is_limit`](Error::is_limit).
    #[track_caller]
    pub fn wait_equal<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<Revision> {
        let operation = self.operation("wait_equal", Some(key));
        let value = value::encode(value).map_err(|kind| Error::new(kind, &operation))?;
        let request = Request::Wait {
            namespace: &self.namespace,
            condition: Condition::Equal { key, value: &value },
        };
        self.call(&operation, &request, |reply| match reply {
            Reply::Returned { revision, .. } => Ok(*revision),
            other => Err(unexpected(other)),
        })
    }

    /// Prepares a watch: an iterator over all updates of the keys that `filter` sees.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// # let ctx = zproc::Context::new()?;
    /// use zproc::Filter;
    /// let state = ctx.namespace("doc-watch");
    /// let mut watch = state.watch(Filter::prefix("job/")).start()?;
    /// state.set("other", &0)?;
    /// state.set("job/1", "queued")?;
    /// let update = watch.next_update()?;
    /// assert_eq!(update.changes[0].key(), "job/1");
    /// assert_eq!(update.changes[0].after::<String>()?.as_deref(), Some("queued"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch(&self, filter: Filter) -> WatchBuilder {
        WatchBuilder::new(self.clone(), filter)
    }
}

impl State {
    #[track_caller]
    pub(super) fn operation<'a>(
        &'a self,
        verb: &'static str,
        object: Option<&'a str>,
    ) -> Operation<'a> {
        Operation {
            verb,
            object,
            namespace: Some(&self.namespace),
            caller: Location::caller(),
        }
    }

    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    pub(super) fn limit(&self) -> Option<Duration> {
        self.limit
    }

    /// One request on this namespace. Names too long to be sent are told here; the server checks
    /// them all the same.
    pub(super) fn call<R>(
        &self,
        operation: &Operation<'_>,
        request: &Request<'_>,
        read: impl FnOnce(&Reply<'_>) -> Result<R, Kind>,
    ) -> Result<R> {
        let key = match request {
            Request::Get { key, .. }
            | Request::Set { key, .. }
            | Request::Remove { key, .. }
            | Request::GetOrInsert { key, .. }
            | Request::Wait {
                condition: Condition::Equal { key, .. } | Condition::Key { key, .. },
                ..
            } => key,
            _ => "",
        };
        check_names(&self.namespace, key).map_err(|kind| Error::new(kind, operation))?;
        self.context.call(operation, self.limit, request, read)
    }

    fn write<T: Serialize + ?Sized>(
        &self,
        operation: &Operation<'_>,
        key: &str,
        value: &T,
        owned: bool,
    ) -> Result<Revision> {
        let value = value::encode(value).map_err(|kind| Error::new(kind, operation))?;
        let request = Request::Set {
            namespace: &self.namespace,
            key,
            value: &value,
            owned,
        };
        self.call(operation, &request, |reply| match reply {
            Reply::Written { revision, .. } => Ok(*revision),
            other => Err(unexpected(other)),
        })
    }
}

/// Are the names within their limits?
pub(super) fn check_names(namespace: &str, key: &str) -> Result<(), Kind> {
    for (limit, name, max) in [
        ("NAMESPACE_BYTES_MAX", namespace, NAMESPACE_BYTES_MAX),
        ("KEY_BYTES_MAX", key, KEY_BYTES_MAX),
    ] {
        if name.len() > max {
            return Err(Kind::Limit {
                limit: limit.to_owned(),
                actual: name.len() as u64,
                max: max as u64,
            });
        }
    }
    Ok(())
}
