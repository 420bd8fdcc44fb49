//! Waits for something that is asked of keys often, ready-made.

use super::context::unexpected;
use super::latest::Asked;
use super::state::State;
use super::update::Update;
use super::value;
use super::watch::Filter;
use crate::error::{Error, Kind, Operation, Result};
use crate::proto::ids::Revision;
use crate::proto::message::{Condition, Reply, Request};
use crate::proto::operations::Test;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// Waits for one key. Each tests the present state first, then each later change of the key; all are
/// safe where the key is missing; [`within`](State::within) bounds them.
///
/// A value is *truthy* unless it is nil (`None`, `()`), `false`, a zero, or empty.
impl State {
    /// Blocks until `key` is not there, or has another value than this one; gives what it has, and the
    /// revision at which that was so.
    ///
    /// # Errors
    /// [`is_wrong_type`](Error::is_wrong_type) when what it has is no `T`,
    /// [`is_unencodable`](Error::is_unencodable), [`is_limit`](Error::is_limit).
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// # let ctx = zproc::Context::new()?;
    /// let state = ctx.namespace("doc-wait-not-equal");
    /// state.set("light", "green")?;
    /// let (light, _) = state.wait_not_equal("light", &"red".to_owned())?;
    /// assert_eq!(light.as_deref(), Some("green"));
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn wait_not_equal<T: Serialize + DeserializeOwned>(
        &self,
        key: &str,
        value: &T,
    ) -> Result<(Option<T>, Revision)> {
        let operation = self.operation("wait_not_equal", Some(key));
        let value = value::encode(value).map_err(|kind| Error::new(kind, &operation))?;
        self.wait_for(&operation, key, Test::NotEqual(&value))
    }

    /// Blocks until `key` is there with a truthy value, and gives it.
    ///
    /// # Errors
    /// [`is_wrong_type`](Error::is_wrong_type), [`is_limit`](Error::is_limit).
    #[track_caller]
    pub fn wait_truthy<T: DeserializeOwned>(&self, key: &str) -> Result<(T, Revision)> {
        self.wait_value(&self.operation("wait_truthy", Some(key)), key, Test::Truthy)
    }

    /// Blocks until `key` is not there, or its value is not truthy.
    ///
    /// # Errors
    /// [`is_limit`](Error::is_limit).
    #[track_caller]
    pub fn wait_falsy(&self, key: &str) -> Result<Revision> {
        self.wait_plain(&self.operation("wait_falsy", Some(key)), key, Test::Falsy)
    }

    /// Blocks until `key` is not there, or holds `None`.
    ///
    /// # Errors
    /// [`is_limit`](Error::is_limit).
    #[track_caller]
    pub fn wait_none(&self, key: &str) -> Result<Revision> {
        self.wait_plain(&self.operation("wait_none", Some(key)), key, Test::Nil)
    }

    /// Blocks until `key` is there and does not hold `None`, and gives its value.
    ///
    /// # Errors
    /// [`is_wrong_type`](Error::is_wrong_type), [`is_limit`](Error::is_limit).
    #[track_caller]
    pub fn wait_not_none<T: DeserializeOwned>(&self, key: &str) -> Result<(T, Revision)> {
        self.wait_value(
            &self.operation("wait_not_none", Some(key)),
            key,
            Test::NotNil,
        )
    }

    /// Blocks until `key` is there, and gives its value.
    ///
    /// # Errors
    /// [`is_wrong_type`](Error::is_wrong_type), [`is_limit`](Error::is_limit).
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// # let ctx = zproc::Context::new()?;
    /// fn answer(ctx: &zproc::Context, (): ()) -> zproc::Result<()> {
    ///     ctx.state().set("answer", &42).map(drop)
    /// }
    /// let process = ctx.spawn(answer, ())?;
    /// let (answer, _) = ctx.state().wait_available::<u64>("answer")?;
    /// assert_eq!(answer, 42);
    /// process.join()?
    /// # }
    /// ```
    #[track_caller]
    pub fn wait_available<T: DeserializeOwned>(&self, key: &str) -> Result<(T, Revision)> {
        self.wait_value(
            &self.operation("wait_available", Some(key)),
            key,
            Test::Present,
        )
    }

    /// Blocks until `key` is not there.
    ///
    /// # Errors
    /// [`is_limit`](Error::is_limit).
    #[track_caller]
    pub fn wait_absent(&self, key: &str) -> Result<Revision> {
        self.wait_plain(&self.operation("wait_absent", Some(key)), key, Test::Absent)
    }
}

/// Waits for the next change, whatever the state is when the call begins.
impl State {
    /// Blocks until one of these keys is written or removed, after the call has begun, and gives the
    /// update, as a [watch](State::watch) of them would.
    ///
    /// # Errors
    /// [`is_invalid`](Error::is_invalid) for no keys at all: nothing would ever come.
    /// [`is_limit`](Error::is_limit), and what a lost server gives.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// # let ctx = zproc::Context::new()?;
    /// fn count(ctx: &zproc::Context, (): ()) -> zproc::Result<()> {
    ///     while !ctx.state().contains_key("enough")? {
    ///         ctx.state().add("count", 1)?;
    ///     }
    ///     Ok(())
    /// }
    /// let process = ctx.spawn(count, ())?;
    /// let update = ctx.state().wait_change(["count", "other"])?;
    /// assert_eq!(update.changes[0].key(), "count");
    /// ctx.state().set("enough", &true)?;
    /// process.join()?
    /// # }
    /// ```
    #[track_caller]
    pub fn wait_change<K: Into<String>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Update> {
        let operation = self.operation("wait_change", None);
        let filter = Filter::keys(keys);
        let namespace = Arc::from(self.namespace_name());
        let checked = match filter.is_empty() {
            true => Err(Kind::Invalid("no keys, so nothing can change".to_owned())),
            false => filter.check(&namespace),
        };
        checked.map_err(|kind| Error::new(kind, &operation))?;
        let asked = Asked {
            context: self.context(),
            namespace: &namespace,
            filter: &filter,
            skip_own: false,
        };
        let deadline = self.context().deadline(self.limit());
        let (update, _) = asked.next(&operation, None, deadline)?;
        Ok(update)
    }
}

impl State {
    fn wait_plain(&self, operation: &Operation<'_>, key: &str, test: Test<'_>) -> Result<Revision> {
        let (_, revision) = self.wait_raw(operation, key, test, |_| Ok(()))?;
        Ok(revision)
    }

    fn wait_for<T: DeserializeOwned>(
        &self,
        operation: &Operation<'_>,
        key: &str,
        test: Test<'_>,
    ) -> Result<(Option<T>, Revision)> {
        self.wait_raw(operation, key, test, |value| match value {
            [] => Ok(None),
            value => value::decode(value).map(Some),
        })
    }

    /// As [`wait_for`](State::wait_for), where the key is known to be there.
    fn wait_value<T: DeserializeOwned>(
        &self,
        operation: &Operation<'_>,
        key: &str,
        test: Test<'_>,
    ) -> Result<(T, Revision)> {
        self.wait_raw(operation, key, test, value::decode)
    }

    fn wait_raw<R>(
        &self,
        operation: &Operation<'_>,
        key: &str,
        test: Test<'_>,
        read: impl FnOnce(&[u8]) -> Result<R, Kind>,
    ) -> Result<(R, Revision)> {
        let request = Request::Wait {
            namespace: self.namespace_name(),
            condition: Condition::Key { key, test },
        };
        self.call(operation, &request, |reply| match reply {
            Reply::Returned { revision, value } => Ok((read(value)?, *revision)),
            other => Err(unexpected(other)),
        })
    }
}
