//! Ordered keys: which of them a scan sees, and scans that are read page by page.

use super::context::unexpected;
use super::state::State;
use super::value;
use super::view::Reads;
use crate::error::{Error, Kind, Operation, Result};
use crate::proto::ids::Revision;
use crate::proto::message::{Reply, Request};
use crate::proto::operations;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::ops::{
    Bound, Range, RangeBounds, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive,
};
use std::panic::Location;

/// Which keys a scan sees, in the order of their bytes: all, those with a prefix, or a range.
///
/// What takes a span takes a text, for the keys that start so, and a range of texts, too:
///
/// ```
/// # fn main() -> zproc::Result<()> {
/// # let ctx = zproc::Context::new()?;
/// use zproc::Span;
/// let state = ctx.namespace("doc-span");
/// state.extend([("a/1", 1), ("a/2", 2), ("b", 3), ("c", 4)])?;
/// assert_eq!(state.keys(..)?.len(), 4);
/// assert_eq!(state.keys("a/")?, ["a/1", "a/2"]);
/// assert_eq!(state.keys("a/2".."c")?, ["a/2", "b"]);
/// assert_eq!(state.keys(Span::prefix("a/").and_from("a/2"))?, ["a/2"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Span {
    prefix: String,
    from: String,
    until: Option<String>,
}

impl Span {
    /// Every key.
    #[must_use]
    pub fn all() -> Span {
        Span::default()
    }

    /// The keys that start with `prefix`.
    #[must_use]
    pub fn prefix(prefix: impl Into<String>) -> Span {
        Span {
            prefix: prefix.into(),
            ..Span::default()
        }
    }

    /// The keys in a range of texts.
    #[must_use]
    pub fn range<'a>(range: impl RangeBounds<&'a str>) -> Span {
        // The next text of all is the same with a zero byte.
        let next = |key: &str| format!("{key}\0");
        Span {
            prefix: String::new(),
            from: match range.start_bound() {
                Bound::Included(from) => (*from).to_owned(),
                Bound::Excluded(from) => next(from),
                Bound::Unbounded => String::new(),
            },
            until: match range.end_bound() {
                Bound::Included(until) => Some(next(until)),
                Bound::Excluded(until) => Some((*until).to_owned()),
                Bound::Unbounded => None,
            },
        }
    }

    /// Of these, the keys from this one on.
    #[must_use]
    pub fn and_from(self, from: impl Into<String>) -> Span {
        Span {
            from: self.from.max(from.into()),
            ..self
        }
    }

    pub(super) fn as_message(&self) -> operations::Span<'_> {
        operations::Span {
            prefix: &self.prefix,
            from: &self.from,
            until: self.until.as_deref(),
        }
    }
}

impl From<&str> for Span {
    fn from(prefix: &str) -> Span {
        Span::prefix(prefix)
    }
}

impl From<&String> for Span {
    fn from(prefix: &String) -> Span {
        Span::prefix(prefix)
    }
}

impl From<RangeFull> for Span {
    fn from(_: RangeFull) -> Span {
        Span::all()
    }
}

impl From<operations::Span<'_>> for Span {
    fn from(span: operations::Span<'_>) -> Span {
        Span {
            prefix: span.prefix.to_owned(),
            from: span.from.to_owned(),
            until: span.until.map(str::to_owned),
        }
    }
}

macro_rules! from_ranges {
    ($($range:ident)*) => {
        $(impl From<$range<&str>> for Span {
            fn from(range: $range<&str>) -> Span {
                Span::range(range)
            }
        })*
    };
}

from_ranges! { Range RangeFrom RangeInclusive RangeTo RangeToInclusive }

/// The entries of a [`State`] in a [`Span`], in order, read page by page as they are asked for. Made by
/// [`State::iter`], and by [`Past::iter`](crate::Past::iter), whose pages are all of one revision.
///
/// Each page is right for its own [`revision`](Entries::revision), and the next may be of a later one:
/// an entry that is there all the time is given once, one that comes or goes meanwhile is given or
/// not. What must be of one revision is a [snapshot](State::snapshot)'s.
///
/// When it can't go on, it gives one `Err`, and `None` from then on; after an entry of another type it
/// goes on.
pub struct Entries<T> {
    state: State,
    span: Span,
    page: VecDeque<(String, Box<[u8]>)>,
    /// The last key that was read.
    after: Option<String>,
    revision: Revision,
    more: bool,
    /// The revision that is read, if it is not the present one.
    at: Option<Revision>,
    caller: &'static Location<'static>,
    of: PhantomData<fn() -> T>,
}

impl<T> std::fmt::Debug for Entries<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entries")
            .field("span", &self.span)
            .field("after", &self.after)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

impl<T> Entries<T> {
    pub(super) fn new(
        state: State,
        span: Span,
        at: Option<Revision>,
        caller: &'static Location<'static>,
    ) -> Entries<T> {
        Entries {
            state,
            span,
            page: VecDeque::new(),
            after: None,
            revision: Revision::ZERO,
            more: true,
            at,
            caller,
            of: PhantomData,
        }
    }

    /// The revision of the page that was read last; zero, if none was.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    fn operation<'a>(&'a self, key: Option<&'a str>) -> Operation<'a> {
        Operation {
            verb: "iterate over",
            object: key,
            namespace: Some(self.state.namespace_name()),
            caller: self.caller,
        }
    }

    fn read(&mut self) -> Result<()> {
        let span = self.span.as_message();
        let after = self.after.as_deref();
        let operation = self.operation(None);
        let page = page(&self.state, &operation, (span, after), true, self.at)?;
        self.revision = page.revision;
        self.more = page.more.is_some();
        self.after = page.more;
        self.page = page.entries.into();
        Ok(())
    }
}

impl<T: DeserializeOwned> Iterator for Entries<T> {
    type Item = Result<(String, T)>;

    fn next(&mut self) -> Option<Result<(String, T)>> {
        while self.page.is_empty() && self.more {
            if let Err(error) = self.read() {
                self.more = false;
                return Some(Err(error));
            }
        }
        let (key, value) = self.page.pop_front()?;
        let decoded = value::decode(&value);
        let decoded = decoded.map_err(|kind| Error::new(kind, &self.operation(Some(&key))));
        Some(decoded.map(|value| (key, value)))
    }
}

impl<T: DeserializeOwned> std::iter::FusedIterator for Entries<T> {}

/// Some entries in key order.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) revision: Revision,
    pub(super) entries: Vec<(String, Box<[u8]>)>,
    /// There may be more, behind this key.
    pub(super) more: Option<String>,
}

/// Reads the first page of these keys, or the one after this key.
pub(super) fn page(
    state: &State,
    operation: &Operation<'_>,
    (span, after): (operations::Span<'_>, Option<&str>),
    values: bool,
    at: Option<Revision>,
) -> Result<Page> {
    let request = Request::Page {
        namespace: state.namespace_name(),
        span,
        after,
        values,
        at,
    };
    state.call(operation, &request, |reply| match reply {
        Reply::Page {
            revision,
            entries,
            more,
        } => Ok(Page {
            revision: *revision,
            // A page that comes no further can't be followed by another: that would never end.
            more: more.filter(|more| Some(*more) > after).map(str::to_owned),
            entries: (entries.iter())
                .map(|(key, value)| ((*key).to_owned(), (*value).into()))
                .collect(),
        }),
        other => Err(unexpected(other)),
    })
}

/// The entries of a [`Txn`](crate::Txn) or a [`View`](crate::View) in a [`Span`], in order, read as
/// they are asked for.
pub struct Iter<'a, T> {
    raw: &'a (dyn Reads + 'a),
    namespace: &'a str,
    span: Span,
    after: Option<String>,
    /// It could not go on.
    ended: bool,
    caller: &'static Location<'static>,
    of: PhantomData<fn() -> T>,
}

impl<T> std::fmt::Debug for Iter<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Iter")
            .field("span", &self.span)
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}

impl<'a, T> Iter<'a, T> {
    pub(super) fn new(
        raw: &'a (dyn Reads + 'a),
        namespace: &'a str,
        span: Span,
        caller: &'static Location<'static>,
    ) -> Iter<'a, T> {
        Iter {
            raw,
            namespace,
            span,
            after: None,
            ended: false,
            caller,
            of: PhantomData,
        }
    }
}

impl<T: DeserializeOwned> Iterator for Iter<'_, T> {
    type Item = Result<(String, T)>;

    fn next(&mut self) -> Option<Result<(String, T)>> {
        let failed = |kind: Kind, key: Option<&str>| {
            let operation = Operation {
                verb: "iterate over",
                object: key,
                namespace: Some(self.namespace),
                caller: self.caller,
            };
            Some(Err(Error::new(kind, &operation)))
        };
        if self.ended {
            return None;
        }
        let span = self.span.as_message();
        let (key, value) = match self.raw.next(self.namespace, span, self.after.as_deref()) {
            Ok(next) => next?,
            Err(kind) => {
                self.ended = true;
                return failed(kind, None);
            }
        };
        self.after = Some(key.clone().into_owned());
        match value::decode(&value) {
            Ok(value) => Some(Ok((key.into_owned(), value))),
            Err(kind) => failed(kind, Some(&key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_ranges() {
        let covers = |span: Span| {
            let keys = ["", "a", "a\0", "a/1", "b", "c"];
            let span = span.as_message();
            keys.map(|key| span.covers(key))
        };
        let (yes, no) = (true, false);
        assert_eq!(covers(Span::from(..)), [yes; 6]);
        assert_eq!(covers("a".into()), [no, yes, yes, yes, no, no]);
        assert_eq!(covers(("a".."b").into()), [no, yes, yes, yes, no, no]);
        assert_eq!(covers(("a"..="b").into()), [no, yes, yes, yes, yes, no]);
        assert_eq!(covers((.."b").into()), [yes, yes, yes, yes, no, no]);
        assert_eq!(covers((..="a").into()), [yes, yes, no, no, no, no]);
        assert_eq!(covers(("b"..).into()), [no, no, no, no, yes, yes]);
        assert_eq!(covers(("c".."a").into()), [no; 6]);
        let behind = (Bound::Excluded("a"), Bound::Excluded("b"));
        assert_eq!(covers(Span::range(behind)), [no, no, yes, yes, no, no]);
        assert_eq!(
            covers(Span::prefix("a").and_from("a/")),
            [no, no, no, yes, no, no]
        );
    }
}
