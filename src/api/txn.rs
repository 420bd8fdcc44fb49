//! A transaction: what an atomic function reads and writes.

use super::scan::{Iter, Span};
use super::value;
use super::view::Reads;
use crate::error::{Error, Kind, Operation, Result};
use crate::proto::ids::Revision;
use crate::proto::store::{Coming, Key, StoreError, Transaction, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::panic::Location;

/// The state as an [atomic](crate::State::atomic) function or a
/// [transaction](crate::State::transaction) has it: nobody else sees what it writes before it has
/// returned `Ok`, and then all see all of it at once.
///
/// It begins in the namespace of the handle that `atomic` or `transaction` was called on;
/// [`namespace`](Txn::namespace) leads to others, within the same transaction.
///
/// A write that is refused (a limit, a read-only namespace) gives an error and dooms the
/// transaction: even if the function ignores the error and returns `Ok`, nothing is changed and the
/// caller gets that error.
pub struct Txn<'a> {
    raw: &'a mut (dyn Writes + 'a),
    namespace: Box<str>,
}

impl std::fmt::Debug for Txn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Txn")
            .field("namespace", &self.namespace)
            .field("revision", &self.raw.revision())
            .finish_non_exhaustive()
    }
}

/// What a [`Txn`] needs of a transaction: the server's, whose own lifetime this hides, or one that
/// runs here.
pub(super) trait Writes: Reads {
    /// What was to be written can't be: as if it had been refused.
    fn refuse(&mut self, unfit: &Kind);
    fn set(&mut self, namespace: &str, key: &str, value: &[u8]) -> Result<(), Kind>;
    fn clear(&mut self, namespace: &str, coming: Coming) -> Result<(), Kind>;
    fn add(&mut self, namespace: &str, key: &str, by: i64) -> Result<i64, Kind>;
    fn take(&mut self, namespace: &str, key: &str) -> Result<Option<Value>, Kind>;
    fn pop(
        &mut self,
        namespace: &str,
        prefix: &str,
        last: bool,
    ) -> Result<Option<(Key, Value)>, Kind>;
}

impl Writes for Transaction<'_> {
    fn refuse(&mut self, unfit: &Kind) {
        let error = match unfit.over() {
            Some((limit, actual, max)) => StoreError::Limit {
                limit: match limit {
                    "DEPTH_MAX" => "DEPTH_MAX",
                    _ => "VALUE_BYTES_MAX",
                },
                actual,
                max,
            },
            None => StoreError::Malformed("it does not serialise"),
        };
        Transaction::refuse(self, error);
    }

    fn set(&mut self, namespace: &str, key: &str, value: &[u8]) -> Result<(), Kind> {
        Ok(Transaction::set(self, namespace, key, value)?)
    }

    fn clear(&mut self, namespace: &str, coming: Coming) -> Result<(), Kind> {
        Ok(self.clear_before(namespace, coming)?)
    }

    fn add(&mut self, namespace: &str, key: &str, by: i64) -> Result<i64, Kind> {
        Ok(Transaction::add(self, namespace, key, by)?)
    }

    fn take(&mut self, namespace: &str, key: &str) -> Result<Option<Value>, Kind> {
        Ok(self.remove(namespace, key)?)
    }

    fn pop(
        &mut self,
        namespace: &str,
        prefix: &str,
        last: bool,
    ) -> Result<Option<(Key, Value)>, Kind> {
        Ok(Transaction::pop(self, namespace, prefix, last)?)
    }
}

impl From<StoreError> for Kind {
    fn from(error: StoreError) -> Kind {
        match error {
            StoreError::Limit { limit, actual, max } => Kind::Limit {
                limit: limit.to_owned(),
                actual,
                max,
            },
            StoreError::ReadOnly => Kind::ReadOnly,
            StoreError::Malformed(what) => Kind::Malformed(what.to_string()),
            StoreError::NotInteger(found) => Kind::not_integer(&found),
            StoreError::Overflow => Kind::Overflow,
        }
    }
}

impl<'a> Txn<'a> {
    pub(super) fn new(raw: &'a mut (dyn Writes + 'a), namespace: &str) -> Txn<'a> {
        Txn {
            raw,
            namespace: namespace.into(),
        }
    }

    /// The same transaction, seen from another namespace.
    ///
    /// ```
    /// fn publish(txn: &mut zproc::Txn<'_>, key: String) -> zproc::Result<()> {
    ///     let draft: Option<String> = txn.namespace("drafts").get(&key)?;
    ///     txn.namespace("drafts").remove(&key)?;
    ///     txn.set(&key, &draft)
    /// }
    /// # let _ = publish;
    /// ```
    pub fn namespace(&mut self, name: &str) -> Txn<'_> {
        Txn {
            raw: &mut *self.raw,
            namespace: name.into(),
        }
    }

    /// The name of the namespace.
    #[must_use]
    pub fn namespace_name(&self) -> &str {
        &self.namespace
    }

    /// The revision at which the writes will stand; in a
    /// [transaction](crate::State::transaction) the earliest at which they can, as far as that is
    /// known: the one after the revision that it reads.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.raw.revision()
    }

    /// The value of `key`, or `None` if it is not there.
    ///
    /// # Errors
    /// [`is_wrong_type`](Error::is_wrong_type).
    #[track_caller]
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let value = self.raw.get(&self.namespace, key);
        let decoded = value.and_then(|value| value.map(|value| value::decode(&value)).transpose());
        decoded.map_err(self.failed("get", Some(key)))
    }

    /// Writes `key`.
    ///
    /// # Errors
    /// [`is_unencodable`](Error::is_unencodable), [`is_limit`](Error::is_limit),
    /// [`is_read_only`](Error::is_read_only).
    #[track_caller]
    pub fn set<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<()> {
        let encoded = self.encode(value);
        let written = encoded.and_then(|bytes| self.raw.set(&self.namespace, key, &bytes));
        written.map_err(self.failed("set", Some(key)))
    }

    /// What can't be encoded is a refused write, too.
    fn encode<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<Vec<u8>, Kind> {
        value::encode(value).inspect_err(|unfit| self.raw.refuse(unfit))
    }

    /// Removes `key`; false if it was not there.
    ///
    /// # Errors
    /// [`is_limit`](Error::is_limit), [`is_read_only`](Error::is_read_only).
    #[track_caller]
    pub fn remove(&mut self, key: &str) -> Result<bool> {
        let removed = self.raw.take(&self.namespace, key);
        let removed = removed.map_err(self.failed("remove", Some(key)))?;
        Ok(removed.is_some())
    }

    /// Removes all keys of the namespace.
    ///
    /// # Errors
    /// [`is_limit`](Error::is_limit), [`is_read_only`](Error::is_read_only).
    #[track_caller]
    pub fn clear(&mut self) -> Result<()> {
        let cleared = self.raw.clear(&self.namespace, Coming::default());
        cleared.map_err(self.failed("clear", None))
    }

    /// Writes all of these.
    ///
    /// # Errors
    /// As for [`set`](Txn::set).
    #[track_caller]
    pub fn extend<K: AsRef<str>, T: Serialize>(
        &mut self,
        entries: impl IntoIterator<Item = (K, T)>,
    ) -> Result<()> {
        let mut entries = entries.into_iter();
        entries.try_for_each(|(key, value)| self.set(key.as_ref(), &value))
    }

    /// Puts these in the place of all that is there; see
    /// [`State::replace_all`](crate::State::replace_all).
    ///
    /// # Errors
    /// As for [`set`](Txn::set).
    #[track_caller]
    pub fn replace_all<K: AsRef<str>, T: Serialize>(
        &mut self,
        entries: impl IntoIterator<Item = (K, T)>,
    ) -> Result<()> {
        let failed = |txn: &Txn<'_>, kind| txn.failed("replace_all", None)(kind);
        let mut encoded = Vec::new();
        let mut coming = Coming::default();
        for (key, value) in entries {
            let bytes = self.encode(&value).map_err(|kind| failed(self, kind))?;
            coming.entries += 1;
            coming.bytes += key.as_ref().len() + bytes.len();
            encoded.push((key, bytes));
        }
        let cleared = self.raw.clear(&self.namespace, coming);
        cleared.map_err(|kind| failed(self, kind))?;
        for (key, bytes) in encoded {
            let written = self.raw.set(&self.namespace, key.as_ref(), &bytes);
            written.map_err(|kind| failed(self, kind))?;
        }
        Ok(())
    }

    /// Removes `key` and gives its value, or `None` if it was not there.
    ///
    /// # Errors
    /// [`is_wrong_type`](Error::is_wrong_type): the value is in the error
    /// ([`taken`](Error::taken)), and if the function fails for it, it is where it was.
    /// [`is_read_only`](Error::is_read_only).
    #[track_caller]
    pub fn take<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>> {
        let taken = self.raw.take(&self.namespace, key);
        let decoded = |value: Value| value::decode_taken(key, &value);
        let value = taken.and_then(|value| value.map(decoded).transpose());
        value.map_err(self.failed("take", Some(key)))
    }

    /// Removes the first key that starts with `prefix` (`""`: the first of all) and gives it with its
    /// value; `None` if there is none.
    ///
    /// # Errors
    /// As for [`take`](Txn::take).
    #[track_caller]
    pub fn pop_first<T: DeserializeOwned>(&mut self, prefix: &str) -> Result<Option<(String, T)>> {
        let popped = self.pop(prefix, false);
        popped.map_err(self.failed("pop_first", Some(prefix)))
    }

    /// As [`pop_first`](Txn::pop_first), from the other end.
    ///
    /// # Errors
    /// As for [`take`](Txn::take).
    #[track_caller]
    pub fn pop_last<T: DeserializeOwned>(&mut self, prefix: &str) -> Result<Option<(String, T)>> {
        let popped = self.pop(prefix, true);
        popped.map_err(self.failed("pop_last", Some(prefix)))
    }

    fn pop<T: DeserializeOwned>(
        &mut self,
        prefix: &str,
        last: bool,
    ) -> Result<Option<(String, T)>, Kind> {
        let popped = self.raw.pop(&self.namespace, prefix, last)?;
        popped
            .map(|(key, value)| Ok((key.to_string(), value::decode_taken(&key, &value)?)))
            .transpose()
    }

    /// Adds `by` to the integer at `key` and gives the sum; see [`State::add`](crate::State::add).
    /// With an error that tells of the type or of the size of the sum nothing is lost: the function
    /// may go on.
    ///
    /// # Errors
    /// [`is_wrong_type`](Error::is_wrong_type), [`is_overflow`](Error::is_overflow),
    /// [`is_limit`](Error::is_limit), [`is_read_only`](Error::is_read_only).
    #[track_caller]
    pub fn add(&mut self, key: &str, by: i64) -> Result<i64> {
        let sum = self.raw.add(&self.namespace, key, by);
        sum.map_err(self.failed("add to", Some(key)))
    }

    /// Is `key` there?
    ///
    /// # Errors
    /// In the server none; in a [transaction](crate::State::transaction) those of every call.
    #[track_caller]
    pub fn contains_key(&self, key: &str) -> Result<bool> {
        let contains = self.raw.contains(&self.namespace, key);
        contains.map_err(self.failed("contains_key", Some(key)))
    }

    /// How many keys there are.
    ///
    /// # Errors
    /// As for [`contains_key`](Txn::contains_key).
    #[track_caller]
    pub fn len(&self) -> Result<u64> {
        let len = self.raw.len(&self.namespace);
        len.map_err(self.failed("len", None))
    }

    /// Is there no key?
    ///
    /// # Errors
    /// As for [`contains_key`](Txn::contains_key).
    #[track_caller]
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// The keys in a [span](Span), in order: `..` for all, a text for those that start so, or a range.
    ///
    /// # Errors
    /// As for [`contains_key`](Txn::contains_key).
    #[track_caller]
    pub fn keys(&self, span: impl Into<Span>) -> Result<Vec<String>> {
        let keys = self.raw.keys(&self.namespace, span.into().as_message());
        keys.map_err(self.failed("keys", None))
    }

    /// The entries in a [span](Span), in order.
    #[track_caller]
    pub fn iter<T: DeserializeOwned>(&self, span: impl Into<Span>) -> Iter<'_, T> {
        Iter::new(&*self.raw, &self.namespace, span.into(), Location::caller())
    }

    /// How an error of this call is told.
    #[track_caller]
    fn failed(&self, verb: &'static str, key: Option<&str>) -> impl Fn(Kind) -> Error {
        let caller = Location::caller();
        move |kind| {
            Error::new(
                kind,
                &Operation {
                    verb,
                    object: key,
                    namespace: Some(&self.namespace),
                    caller,
                },
            )
        }
    }
}
