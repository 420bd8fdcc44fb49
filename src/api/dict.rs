//! The dict's operations that are more than a read or a write of one key, each one request and at one
//! revision: small [batches](super::batch).

use super::batch::{Batch, Expected};
use super::context::unexpected;
use super::state::State;
use super::value;
use crate::error::{Operation, Result};
use crate::proto::ids::Revision;
use crate::proto::message::{Reply, Request};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Several steps at once.
impl State {
    /// A batch of operations on this namespace, to be filled and committed.
    #[must_use = "a batch does nothing until it is committed"]
    pub fn batch(&self) -> Batch {
        Batch::new(self.clone())
    }

    /// Writes all of these, at one revision.
    ///
    /// # Errors
    /// [`is_unencodable`](crate::Error::is_unencodable), [`is_limit`](crate::Error::is_limit),
    /// [`is_read_only`](crate::Error::is_read_only); then none is written.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// # let ctx = zproc::Context::new()?;
    /// let state = ctx.namespace("doc-extend");
    /// state.extend([("a", 1), ("b", 2)])?;
    /// assert_eq!(state.get("b")?, Some(2));
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn extend<K: AsRef<str>, T: Serialize>(
        &self,
        entries: impl IntoIterator<Item = (K, T)>,
    ) -> Result<Revision> {
        let operation = self.operation("extend", None);
        let done = self.batch().extend(entries).commit_as(&operation)?;
        Ok(done.revision())
    }

    /// Puts these in the place of all that is there, at one revision.
    ///
    /// What goes and what comes may together be more than one change set holds; a watch then sees a
    /// [reset](crate::Update::reset). What comes must fit one change set.
    ///
    /// # Errors
    /// As for [`extend`](State::extend); then all is as it was.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// # let ctx = zproc::Context::new()?;
    /// let state = ctx.namespace("doc-replace-all");
    /// state.set("old", &0)?;
    /// state.replace_all([("a", 1), ("b", 2)])?;
    /// assert_eq!(state.keys(..)?, ["a", "b"]);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn replace_all<K: AsRef<str>, T: Serialize>(
        &self,
        entries: impl IntoIterator<Item = (K, T)>,
    ) -> Result<Revision> {
        let operation = self.operation("replace_all", None);
        let mut batch = self.batch();
        let done = batch.clear().extend(entries).commit_as(&operation)?;
        Ok(done.revision())
    }

    /// Removes `key` and gives its value, or `None` if it was not there. Of many processes that take
    /// the same key, one gets it.
    ///
    /// It is one round trip, in which the server does not know the type: a value that is no `T` is
    /// removed, too, and the error [has it](crate::Error::taken). Where it is to stay,
    /// `state.transaction(|txn| txn.take::<T>(key))` takes nothing unless it is a `T`, in two.
    ///
    /// # Errors
    /// [`is_wrong_type`](crate::Error::is_wrong_type), and the value is in the error.
    /// [`is_read_only`](crate::Error::is_read_only).
    #[track_caller]
    pub fn take<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let operation = self.operation("take", Some(key));
        let request = Request::Remove {
            namespace: self.namespace_name(),
            key,
        };
        self.call(&operation, &request, |reply| match reply {
            Reply::Written { before, .. } => before
                .map(|value| value::decode_taken(key, value))
                .transpose(),
            other => Err(unexpected(other)),
        })
    }

    /// Removes the first key that starts with `prefix` (`""`: the first of all) and gives it with its
    /// value; `None` if there is none. Keys are in the order of their bytes, so that those of a queue
    /// are best written with leading zeros.
    ///
    /// # Errors
    /// As for [`take`](State::take).
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// # let ctx = zproc::Context::new()?;
    /// let state = ctx.namespace("doc-pop");
    /// state.extend([("job/1", "wash"), ("job/2", "dry"), ("zebra", "?")])?;
    /// let (key, job) = state.pop_first::<String>("job/")?.expect("two jobs");
    /// assert_eq!((&*key, &*job), ("job/1", "wash"));
    /// let (key, _) = state.pop_last::<String>("job/")?.expect("one job");
    /// assert_eq!(key, "job/2");
    /// assert_eq!(state.pop_first::<String>("job/")?, None);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn pop_first<T: DeserializeOwned>(&self, prefix: &str) -> Result<Option<(String, T)>> {
        let operation = self.operation("pop_first", Some(prefix));
        popped(self.batch().pop_first(prefix), &operation)
    }

    /// As [`pop_first`](State::pop_first), from the other end.
    ///
    /// # Errors
    /// As for [`take`](State::take).
    #[track_caller]
    pub fn pop_last<T: DeserializeOwned>(&self, prefix: &str) -> Result<Option<(String, T)>> {
        let operation = self.operation("pop_last", Some(prefix));
        popped(self.batch().pop_last(prefix), &operation)
    }

    /// Adds `by` to the integer at `key` and gives the sum. A key that is not there counts as 0; one
    /// that a process owns stays its own.
    ///
    /// # Errors
    /// [`is_wrong_type`](crate::Error::is_wrong_type) when there is no integer,
    /// [`is_overflow`](crate::Error::is_overflow) when the sum does not fit an `i64`: then the value is
    /// as it was. [`is_limit`](crate::Error::is_limit), [`is_read_only`](crate::Error::is_read_only).
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// # let ctx = zproc::Context::new()?;
    /// let state = ctx.namespace("doc-add");
    /// assert_eq!(state.add("visits", 1)?, 1);
    /// assert_eq!(state.add("visits", 10)?, 11);
    /// assert_eq!(state.get("visits")?, Some(11));
    /// assert!(state.add("visits", i64::MAX).unwrap_err().is_overflow());
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn add(&self, key: &str, by: i64) -> Result<i64> {
        let operation = self.operation("add to", Some(key));
        let done = self.batch().add(key, by).commit_as(&operation)?;
        // There is always a sum.
        Ok(done.value(0)?.unwrap_or(by))
    }

    /// Writes `key` if it is as expected, and gives the revision at which it stands; `None` if it is
    /// not as expected, and nothing was written.
    ///
    /// # Errors
    /// As for [`set`](State::set).
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// # let ctx = zproc::Context::new()?;
    /// use zproc::Expected;
    /// let state = ctx.namespace("doc-compare");
    /// assert!(state.compare_and_set("k", Expected::absent(), "mine")?.is_some());
    /// assert!(state.compare_and_set("k", Expected::absent(), "mine too")?.is_none());
    /// assert!(state.compare_and_set("k", Expected::value("mine"), "yours")?.is_some());
    ///
    /// let (value, revision) = state.get_versioned::<String>("k")?.expect("it was set");
    /// state.set("k", "somebody else's")?;
    /// let late = state.compare_and_set("k", Expected::revision(revision), &(value + "!"))?;
    /// assert!(late.is_none());
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn compare_and_set<T: Serialize + ?Sized>(
        &self,
        key: &str,
        expected: Expected,
        value: &T,
    ) -> Result<Option<Revision>> {
        let operation = self.operation("compare_and_set", Some(key));
        let mut batch = self.batch();
        match batch
            .require(key, expected)
            .set(key, value)
            .commit_as(&operation)
        {
            Ok(done) => Ok(Some(done.revision())),
            Err(error) if error.is_unmet() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The value of `key` and the revision that wrote it, for
    /// [`Expected::revision`]; `None` if it is not there.
    ///
    /// # Errors
    /// As for [`get`](State::get).
    #[track_caller]
    pub fn get_versioned<T: DeserializeOwned>(&self, key: &str) -> Result<Option<(T, Revision)>> {
        let operation = self.operation("get_versioned", Some(key));
        let found = self.batch().get(key).commit_as(&operation)?;
        Ok(found.value(0)?.zip(found.version(0)))
    }
}

/// What a batch of one `pop` has taken.
fn popped<T: DeserializeOwned>(
    batch: &Batch,
    operation: &Operation<'_>,
) -> Result<Option<(String, T)>> {
    batch.commit_as(operation)?.popped(operation)
}
