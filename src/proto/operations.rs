//! What a batch is made of: operations on the keys of one namespace, what each is told, and what can
//! be asked of a key's value.

#![expect(
    missing_docs,
    reason = "fields whose name and type say it all; the variants have their docs"
)]

use super::ids::Revision;
use super::value;
use speedy::{Readable, Writable};
use std::ops::Bound;

/// One operation of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Readable, Writable)]
pub enum Operation<'a> {
    /// Nothing of the batch is done unless this holds when its turn has come. Told `Done`.
    Require { key: &'a str, test: Test<'a> },
    /// Read one. Told `Value` or `Nothing`.
    Get { key: &'a str },
    /// Write one. Told `Done`.
    Set {
        key: &'a str,
        value: &'a [u8],
        /// The key goes when the process of this session ends.
        owned: bool,
    },
    /// Remove one. Told `Done`, or `Nothing` if it was not there.
    Remove { key: &'a str },
    /// Remove one and give what it was. Told `Value` or `Nothing`.
    Take { key: &'a str },
    /// Add to an integer; a key that is not there counts as 0. Told `Number`, the sum.
    Add { key: &'a str, by: i64 },
    /// Take the first key that starts so, or the last. Told `Entry` or `Nothing`.
    Pop { prefix: &'a str, last: bool },
    /// Remove all. Told `Done`.
    Clear,
}

impl Operation<'_> {
    /// Can it change nothing?
    #[must_use]
    pub fn is_read(&self) -> bool {
        matches!(self, Operation::Require { .. } | Operation::Get { .. })
    }
}

/// What is asked of a key's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Readable, Writable)]
pub enum Test<'a> {
    /// The key is not there.
    Absent,
    /// It is there.
    Present,
    /// It is there, with a value equal to this one.
    Equal(&'a [u8]),
    /// It was written last at this revision, and is there.
    Revision(Revision),
    /// It is not there, or has another value.
    NotEqual(&'a [u8]),
    /// It is there and is truthy: not nil, false, zero or empty.
    Truthy,
    /// It is not there, or is not truthy.
    Falsy,
    /// It is not there, or is nil.
    Nil,
    /// It is there and not nil.
    NotNil,
}

impl Test<'_> {
    /// Does it hold for this value, and the revision that wrote it? `equal` compares the value with that of
    /// the test, and may not be able to.
    #[must_use]
    pub fn holds(
        &self,
        there: Option<(&[u8], Revision)>,
        equal: impl FnOnce(&[u8]) -> Option<bool>,
    ) -> Option<bool> {
        match (*self, there) {
            (Test::Equal(wanted), Some(_)) => equal(wanted),
            (Test::NotEqual(other), Some(_)) => equal(other).map(|is_equal| !is_equal),
            _ => Some(self.holds_plain(there)),
        }
    }

    /// Those that compare no values.
    fn holds_plain(&self, there: Option<(&[u8], Revision)>) -> bool {
        match (*self, there) {
            (Test::Absent | Test::Nil | Test::Falsy | Test::NotEqual(_), None) => true,
            (_, None) | (Test::Absent, Some(_)) => false,
            (Test::Truthy, Some((value, _))) => value::is_truthy(value),
            (Test::Falsy, Some((value, _))) => !value::is_truthy(value),
            (Test::Nil, Some((value, _))) => value::is_nil(value),
            (Test::NotNil, Some((value, _))) => !value::is_nil(value),
            (Test::Present, Some(_)) => true,
            (Test::Equal(_) | Test::NotEqual(_), Some(_)) => false,
            (Test::Revision(wanted), Some((_, revision))) => revision == wanted,
        }
    }
}

impl<'a> Test<'a> {
    /// The value in it, if there is one.
    #[must_use]
    pub fn value(&self) -> Option<&'a [u8]> {
        match *self {
            Test::Equal(value) | Test::NotEqual(value) => Some(value),
            _ => None,
        }
    }
}

/// Which keys a scan sees: those that start so, from one on, up to another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Readable, Writable)]
pub struct Span<'a> {
    pub prefix: &'a str,
    pub from: &'a str,
    /// The first that it does not see any more.
    pub until: Option<&'a str>,
}

impl<'a> From<&'a str> for Span<'a> {
    fn from(prefix: &'a str) -> Span<'a> {
        Span {
            prefix,
            ..Span::default()
        }
    }
}

impl<'a> Span<'a> {
    /// The first text that it may see.
    #[must_use]
    pub fn start(&self) -> &'a str {
        self.prefix.max(self.from)
    }

    /// Where those begin that come after `after`.
    #[must_use]
    pub fn start_after(&self, after: Option<&'a str>) -> Bound<&'a str> {
        match after {
            Some(after) if after >= self.start() => Bound::Excluded(after),
            _ => Bound::Included(self.start()),
        }
    }

    /// Is this key before its end?
    #[must_use]
    pub fn is_before_end(&self, key: &str) -> bool {
        self.until.is_none_or(|until| key < until)
    }

    /// Does it see this key?
    #[must_use]
    pub fn covers(&self, key: &str) -> bool {
        key.starts_with(self.prefix) && key >= self.from && self.is_before_end(key)
    }
}

/// What a transaction that has run in its caller did in one namespace.
#[derive(Debug, Clone, PartialEq, Eq, Readable, Writable)]
pub struct Part<'a> {
    pub namespace: &'a str,
    /// What it has read, as far as it is not what it wrote.
    #[speedy(length_type = u16)]
    pub reads: Vec<Read<'a>>,
    /// What it writes, in the order in which it is to be done.
    #[speedy(length_type = u16)]
    pub writes: Vec<Operation<'a>>,
}

/// What a transaction has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Readable, Writable)]
pub enum Read<'a> {
    /// A key, there or not.
    Key(&'a str),
    /// All keys of a span.
    Span(Span<'a>),
}

/// A key, with its namespace, or all keys of it: what a lease is on.
pub type Leased<'a> = (&'a str, Option<&'a str>);

/// What one operation of a batch is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Readable, Writable)]
pub enum Told<'a> {
    /// It was done.
    Done,
    /// There is no such key.
    Nothing,
    /// What is there, or was, and the revision that wrote it.
    Value { value: &'a [u8], revision: Revision },
    /// What was taken.
    Entry { key: &'a str, value: &'a [u8] },
    /// The sum.
    Number(i64),
}
