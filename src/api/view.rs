//! A view: what the condition of a wait reads.

use super::scan::{Iter, Span};
use super::value;
use crate::error::{Error, Kind, Operation, Result};
use crate::proto::ids::Revision;
use crate::proto::operations;
use crate::proto::store;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::panic::Location;

/// The state as a condition of [`wait_until`](crate::State::wait_until) sees it, at one revision.
///
/// What it reads is noted: the condition is tested again when one of these keys changes (or, where
/// it asked for [`len`](View::len) or [`keys`](View::keys), one that counts there), and not before.
pub struct View<'a> {
    raw: &'a (dyn Reads + 'a),
    namespace: Box<str>,
}

impl std::fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View")
            .field("namespace", &self.namespace)
            .field("revision", &self.raw.revision())
            .finish_non_exhaustive()
    }
}

/// A key and its value.
pub(super) type Entry<'a> = (Cow<'a, str>, Cow<'a, [u8]>);

/// What views and transactions can read, whatever the lifetime of what is behind them, and wherever
/// that is. Only what is elsewhere fails.
pub(super) trait Reads {
    fn get(&self, namespace: &str, key: &str) -> Result<Option<Cow<'_, [u8]>>, Kind>;
    fn contains(&self, namespace: &str, key: &str) -> Result<bool, Kind>;
    fn len(&self, namespace: &str) -> Result<u64, Kind>;
    fn keys(&self, namespace: &str, span: operations::Span<'_>) -> Result<Vec<String>, Kind>;
    /// The first entry of the span that is after `after`.
    fn next(
        &self,
        namespace: &str,
        span: operations::Span<'_>,
        after: Option<&str>,
    ) -> Result<Option<Entry<'_>>, Kind>;
    fn revision(&self) -> Revision;
}

macro_rules! reads {
    ($type:ty) => {
        impl Reads for $type {
            fn get(&self, namespace: &str, key: &str) -> Result<Option<Cow<'_, [u8]>>, Kind> {
                Ok(<$type>::get(self, namespace, key).map(Cow::Borrowed))
            }
            fn contains(&self, namespace: &str, key: &str) -> Result<bool, Kind> {
                Ok(<$type>::contains(self, namespace, key))
            }
            fn len(&self, namespace: &str) -> Result<u64, Kind> {
                Ok(<$type>::len(self, namespace) as u64)
            }
            fn keys(
                &self,
                namespace: &str,
                span: operations::Span<'_>,
            ) -> Result<Vec<String>, Kind> {
                let entries = <$type>::entries(self, namespace, span, None);
                Ok(entries.map(|(key, _)| key.to_owned()).collect())
            }
            fn next(
                &self,
                namespace: &str,
                span: operations::Span<'_>,
                after: Option<&str>,
            ) -> Result<Option<Entry<'_>>, Kind> {
                let mut entries = <$type>::entries(self, namespace, span, after);
                Ok(entries
                    .next()
                    .map(|(key, value)| (key.into(), value.into())))
            }
            fn revision(&self) -> Revision {
                <$type>::revision(self)
            }
        }
    };
}

reads!(store::View<'_>);
reads!(store::Transaction<'_>);

impl<'a> View<'a> {
    pub(super) fn new(raw: &'a (dyn Reads + 'a), namespace: &str) -> View<'a> {
        View {
            raw,
            namespace: namespace.into(),
        }
    }

    /// The same revision, seen from another namespace.
    #[must_use]
    pub fn namespace(&self, name: &str) -> View<'a> {
        View {
            raw: self.raw,
            namespace: name.into(),
        }
    }

    /// The name of the namespace.
    #[must_use]
    pub fn namespace_name(&self) -> &str {
        &self.namespace
    }

    /// The revision that is seen.
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
        let found = self.raw.get(&self.namespace, key);
        found
            .and_then(|value| value.map(|value| value::decode(&value)).transpose())
            .map_err(self.failed("get", Some(key)))
    }

    /// Is `key` there?
    ///
    /// # Errors
    /// None in the server; where the condition runs elsewhere, those of a read.
    #[track_caller]
    pub fn contains_key(&self, key: &str) -> Result<bool> {
        let found = self.raw.contains(&self.namespace, key);
        found.map_err(self.failed("contains_key", Some(key)))
    }

    /// How many keys there are.
    ///
    /// # Errors
    /// As for [`contains_key`](View::contains_key).
    #[track_caller]
    pub fn len(&self) -> Result<u64> {
        let len = self.raw.len(&self.namespace);
        len.map_err(self.failed("len", None))
    }

    /// Is there no key?
    ///
    /// # Errors
    /// As for [`contains_key`](View::contains_key).
    #[track_caller]
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// The keys in a [span](Span), in order: `..` for all, a text for those that start so, or a range.
    ///
    /// # Errors
    /// As for [`contains_key`](View::contains_key).
    #[track_caller]
    pub fn keys(&self, span: impl Into<Span>) -> Result<Vec<String>> {
        let keys = self.raw.keys(&self.namespace, span.into().as_message());
        keys.map_err(self.failed("keys", None))
    }

    /// The entries in a [span](Span), in order. The whole span counts as read.
    #[track_caller]
    pub fn iter<T: DeserializeOwned>(&self, span: impl Into<Span>) -> Iter<'_, T> {
        Iter::new(self.raw, &self.namespace, span.into(), Location::caller())
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

/// What a condition may give: `bool`, `Option<R>`, or a [`Result`] of one of them.
///
/// `true` and `Some` end the wait with a result, an error ends it with that error; `false` and
/// `None` let it go on. It can't be implemented elsewhere.
pub trait Verdict: sealed::Sealed + 'static {
    /// What [`wait_until`](crate::State::wait_until) gives.
    type Output: Serialize + DeserializeOwned + 'static;

    /// The result, if there is one.
    ///
    /// # Errors
    /// The condition's own.
    fn decide(self) -> Result<Option<Self::Output>>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for bool {}
    impl<R> Sealed for Option<R> {}
    impl<V: Sealed> Sealed for crate::Result<V> {}
}

impl Verdict for bool {
    type Output = ();

    fn decide(self) -> Result<Option<()>> {
        Ok(self.then_some(()))
    }
}

impl<R: Serialize + DeserializeOwned + 'static> Verdict for Option<R> {
    type Output = R;

    fn decide(self) -> Result<Option<R>> {
        Ok(self)
    }
}

impl<V: Verdict> Verdict for Result<V> {
    type Output = V::Output;

    fn decide(self) -> Result<Option<V::Output>> {
        self?.decide()
    }
}
