//! A transaction: what an atomic function reads and writes.

use super::value;
use super::view::Reads;
use crate::error::{Error, Kind, Operation, Result};
use crate::proto::ids::Revision;
use crate::proto::store::{StoreError, Transaction};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::panic::Location;

/// The state as an [atomic](crate::State::atomic) function has it: nobody else sees what it writes
/// before it has returned `Ok`, and then all see all of it at once.
///
/// It begins in the namespace of the handle that `atomic` was called on;
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

/// What a [`Txn`] needs of a transaction: the server's, whose own lifetime this hides.
pub(super) trait Writes: Reads {
    fn set(&mut self, namespace: &str, key: &str, value: &[u8]) -> Result<(), StoreError>;
    /// True: it was there.
    fn remove(&mut self, namespace: &str, key: &str) -> Result<bool, StoreError>;
    fn clear(&mut self, namespace: &str) -> Result<(), StoreError>;
}

impl Writes for Transaction<'_> {
    fn set(&mut self, namespace: &str, key: &str, value: &[u8]) -> Result<(), StoreError> {
        Transaction::set(self, namespace, key, value)
    }

    fn remove(&mut self, namespace: &str, key: &str) -> Result<bool, StoreError> {
        Transaction::remove(self, namespace, key).map(|before| before.is_some())
    }

    fn clear(&mut self, namespace: &str) -> Result<(), StoreError> {
        Transaction::clear(self, namespace)
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

    /// The revision at which the writes will stand.
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
        self.raw
            .get(&self.namespace, key)
            .map(value::decode)
            .transpose()
            .map_err(self.failed("get", Some(key)))
    }

    /// Writes `key`.
    ///
    /// # Errors
    /// [`is_unencodable`](Error::is_unencodable), [`is_limit`](Error::is_limit),
    /// [`is_read_only`](Error::is_read_only).
    #[track_caller]
    pub fn set<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<()> {
        let written = value::encode(value)
            .and_then(|bytes| Ok(self.raw.set(&self.namespace, key, &bytes)?));
        written.map_err(self.failed("set", Some(key)))
    }

    /// Removes `key`; false if it was not there.
    ///
    /// # Errors
    /// [`is_limit`](Error::is_limit), [`is_read_only`](Error::is_read_only).
    #[track_caller]
    pub fn remove(&mut self, key: &str) -> Result<bool> {
        let removed = self.raw.remove(&self.namespace, key).map_err(Kind::from);
        removed.map_err(self.failed("remove", Some(key)))
    }

    /// Removes all keys of the namespace.
    ///
    /// # Errors
    /// [`is_limit`](Error::is_limit), [`is_read_only`](Error::is_read_only).
    #[track_caller]
    pub fn clear(&mut self) -> Result<()> {
        let cleared = self.raw.clear(&self.namespace).map_err(Kind::from);
        cleared.map_err(self.failed("clear", None))
    }

    /// Is `key` there?
    ///
    /// # Errors
    /// None today; a transaction that runs elsewhere than in the server may have some.
    pub fn contains_key(&self, key: &str) -> Result<bool> {
        Ok(self.raw.contains(&self.namespace, key))
    }

    /// How many keys there are.
    ///
    /// # Errors
    /// As for [`contains_key`](Txn::contains_key).
    pub fn len(&self) -> Result<u64> {
        Ok(self.raw.len(&self.namespace))
    }

    /// Is there no key?
    ///
    /// # Errors
    /// As for [`contains_key`](Txn::contains_key).
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.raw.len(&self.namespace) == 0)
    }

    /// The keys that start with `prefix`, in order; all of them for `""`.
    ///
    /// # Errors
    /// As for [`contains_key`](Txn::contains_key).
    pub fn keys(&self, prefix: &str) -> Result<Vec<String>> {
        Ok(self.raw.keys(&self.namespace, prefix))
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
