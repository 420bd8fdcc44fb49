//! One run of a transaction: what it reads, all at one revision, and what it wants to write.
//!
//! Reads go to the server, the first for the present and every later one for that revision. Writes
//! stay here until the run has come to its end, and the run's own reads see them.

use super::context::unexpected;
use super::state::{State, check_names};
use super::txn::Writes;
use super::view::{Entry, Reads};
use crate::error::{Kind, Operation};
use crate::proto::ids::Revision;
use crate::proto::interest::{Interest, ReadSet};
use crate::proto::limits::{
    CHANGE_SET_BYTES_MAX, CHANGE_SET_CHANGES_MAX, DEPTH_MAX, READ_NAMESPACES_MAX,
};
use crate::proto::message::{Reply, Request};
use crate::proto::operations::{self, Part, Read, Span};
use crate::proto::planted::{self, Bug};
use crate::proto::store::{
    Coming, Key, RESERVED, StoreError, Value, Wrote, WroteKey, check_key, check_namespace,
    check_value,
};
use crate::proto::time::Time;
use crate::proto::value;
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// What a run has touched: keys, or whole namespaces.
pub(super) type Touched = BTreeSet<(Box<str>, Option<Box<str>>)>;

/// See the module's docs.
pub(super) struct Run<'a> {
    state: &'a State,
    operation: &'a Operation<'a>,
    deadline: Option<Time>,
    seen: RefCell<Seen>,
    written: BTreeMap<Box<str>, Written>,
    /// How many keys are written, and their bytes.
    changes: usize,
    bytes: usize,
    /// The first refused write. It sticks.
    refused: Option<Kind>,
    /// The server takes no larger values.
    value_bytes_max: usize,
}

/// What was read.
#[derive(Default)]
struct Seen {
    /// Set by the first read.
    at: Option<Revision>,
    reads: ReadSet,
    values: BTreeMap<(Box<str>, Box<str>), Option<Value>>,
    /// The page of a scan that was read last.
    page: Option<Page>,
    /// The first read that failed. It sticks: what comes of the run can't be told to be true.
    failed: Option<Kind>,
    is_doomed: bool,
}

/// What is to be written in one namespace.
#[derive(Default)]
struct Written {
    /// Everything goes first.
    is_cleared: bool,
    keys: BTreeMap<Box<str>, Write>,
}

/// What one key becomes.
struct Write {
    now: Option<Value>,
    /// Set if so much was added to it, and nothing else done.
    added: Option<i64>,
}

type Entries = Vec<(String, Value)>;

/// A part of a scan.
struct Page {
    namespace: Box<str>,
    prefix: Box<str>,
    from: Box<str>,
    until: Option<Box<str>>,
    values: bool,
    /// It has what comes after this.
    after: Option<String>,
    entries: Entries,
    /// And up to this, if it is not the last.
    more: Option<String>,
}

impl Page {
    /// Does it say what comes after `after`?
    fn tells(&self, namespace: &str, span: Span<'_>, values: bool, after: Option<&str>) -> bool {
        *self.namespace == *namespace
            && (&*self.prefix, &*self.from) == (span.prefix, span.from)
            && self.until.as_deref() == span.until
            && (self.values || !values)
            && self.after.as_deref() <= after
            && (self.more.as_deref()).is_none_or(|more| after < Some(more))
    }
}

impl<'a> Run<'a> {
    pub(super) fn new(
        state: &'a State,
        operation: &'a Operation<'a>,
        deadline: Option<Time>,
    ) -> Run<'a> {
        Run {
            state,
            operation,
            deadline,
            seen: RefCell::default(),
            written: BTreeMap::new(),
            changes: 0,
            bytes: 0,
            refused: None,
            value_bytes_max: state.context().connection().value_bytes_max(),
        }
    }

    /// Forgets what was to be written: the function runs again, on what it has read.
    pub(super) fn begin_again(&mut self) {
        self.written.clear();
        (self.changes, self.bytes, self.refused) = (0, 0, None);
    }

    /// What is to be written.
    pub(super) fn wrote(&self) -> Wrote {
        let mut wrote = Wrote::default();
        for (name, written) in &self.written {
            let name: Arc<str> = (**name).into();
            if written.is_cleared {
                wrote.cleared.insert(name.clone());
            }
            for (key, write) in &written.keys {
                let id = (name.clone(), (**key).into());
                let now = write.now.clone().map(|value| WroteKey {
                    value,
                    keeps_owner: write.added.is_some(),
                });
                wrote.keys.insert(id, now);
            }
        }
        wrote
    }

    /// Could it not read at its revision any more? Then nothing that has come of it counts.
    pub(super) fn is_doomed(&self) -> bool {
        self.seen.borrow().is_doomed
    }

    /// Why it comes to nothing, though its function may have overlooked that.
    pub(super) fn failed(&self) -> Option<Kind> {
        self.unread().or_else(|| self.refused.clone())
    }

    /// Why it could not read, if that is so.
    pub(super) fn unread(&self) -> Option<Kind> {
        self.seen.borrow().failed.clone()
    }

    pub(super) fn has_written(&self) -> bool {
        !self.written.is_empty()
    }

    /// The revision that it has read; if it has read nothing, any is.
    pub(super) fn at(&self) -> Revision {
        self.seen.borrow().at.unwrap_or_default()
    }

    /// What it has touched; a span counts as its namespace.
    pub(super) fn touched(&self) -> Touched {
        let mut touched = Touched::new();
        for (namespace, interest) in self.seen.borrow().reads.iter() {
            let key = match interest {
                Interest::Key(key) => Some((**key).into()),
                _ => None,
            };
            touched.insert(((**namespace).into(), key));
        }
        for (namespace, written) in &self.written {
            if written.is_cleared {
                touched.insert((namespace.clone(), None));
            }
            let keys = written.keys.keys();
            touched.extend(keys.map(|key| (namespace.clone(), Some(key.clone()))));
        }
        touched
    }

    /// What it did, to be committed; with what it has read.
    pub(super) fn with_parts<R>(&self, then: impl FnOnce(Vec<Part<'_>>) -> R) -> R {
        let seen = self.seen.borrow();
        let mut parts: BTreeMap<&str, Part<'_>> = BTreeMap::new();
        fn part<'p, 'b>(
            parts: &'p mut BTreeMap<&'b str, Part<'b>>,
            namespace: &'b str,
        ) -> &'p mut Part<'b> {
            parts.entry(namespace).or_insert(Part {
                namespace,
                reads: Vec::new(),
                writes: Vec::new(),
            })
        }
        for (namespace, interest) in seen.reads.iter() {
            part(&mut parts, namespace).reads.push(read(interest));
        }
        for (namespace, written) in &self.written {
            part(&mut parts, namespace).writes = written.operations();
        }
        then(parts.into_values().collect())
    }

    /// One read of the server, at the run's revision.
    fn ask<'r, R>(
        &self,
        request: impl FnOnce(Option<Revision>) -> Request<'r>,
        read: impl FnOnce(&Reply<'_>) -> Result<(Revision, R), Kind>,
    ) -> Result<R, Kind> {
        let at = {
            let seen = self.seen.borrow();
            if let Some(kind) = &seen.failed {
                return Err(kind.clone());
            }
            seen.at.filter(|_| !planted::is(Bug::ReadsAtNow))
        };
        let context = self.state.context();
        let connection = context.connection();
        let answer =
            connection.aside(|| context.call_by(self.operation, self.deadline, &request(at), read));
        let mut seen = self.seen.borrow_mut();
        match answer {
            Ok((revision, found)) => {
                seen.at.get_or_insert(revision);
                Ok(found)
            }
            Err(error) => {
                let kind = match error.kind() {
                    Kind::Compacted { .. } => {
                        seen.is_doomed = true;
                        let (barred, held) = (false, true);
                        Kind::Conflict { barred, held }
                    }
                    other => other.clone(),
                };
                seen.failed = Some(kind.clone());
                Err(kind)
            }
        }
    }

    /// This is read; an error if it is of one namespace too many. It sticks.
    fn note(&self, namespace: &str, interest: Interest) -> Result<(), Kind> {
        let mut seen = self.seen.borrow_mut();
        seen.reads.insert(namespace, interest);
        reads_fit(seen.reads.namespaces()).inspect_err(|kind| {
            seen.failed.get_or_insert(kind.clone());
        })
    }

    /// What a key holds, own writes included.
    fn value(&self, namespace: &str, key: &str) -> Result<Option<Value>, Kind> {
        if let Some(written) = self.written.get(namespace) {
            match written.keys.get(key) {
                Some(write) => return Ok(write.now.clone()),
                None if written.is_cleared => return Ok(None),
                None => {}
            }
        }
        // What can't be there needs no look.
        if check_names(namespace, key).is_err() {
            return Ok(None);
        }
        let id = (namespace.into(), key.into());
        if let Some(known) = self.seen.borrow().values.get(&id) {
            return Ok(known.clone());
        }
        let value = self.ask_value(namespace, key)?;
        self.note(namespace, Interest::Key(Key::from(key)))?;
        self.seen.borrow_mut().values.insert(id, value.clone());
        Ok(value)
    }

    fn ask_value(&self, namespace: &str, key: &str) -> Result<Option<Value>, Kind> {
        let request = |at| Request::Get { namespace, key, at };
        self.ask(request, |reply| match reply {
            Reply::Value { revision, value } => Ok((*revision, value.map(Value::from))),
            other => Err(unexpected(other)),
        })
    }

    /// The first entry of the span that is after `after`, own writes included.
    fn entry(
        &self,
        namespace: &str,
        span: Span<'_>,
        after: Option<&str>,
        values: bool,
    ) -> Result<Option<(String, Value)>, Kind> {
        let written = self.written.get(namespace);
        let own = written.and_then(|written| written.first(span, after));
        let is_own = |key: &str| written.is_some_and(|written| written.keys.contains_key(key));
        if written.is_some_and(|written| written.is_cleared) || check_names(namespace, "").is_err()
        {
            return Ok(own);
        }
        self.note(namespace, Interest::of_span(span))?;
        let mut cursor = after.map(str::to_owned);
        let stored = loop {
            match self.stored(namespace, span, cursor.as_deref(), values)? {
                // What is behind an own entry need not be looked at before that one: else each would
                // cost as much as all that follow.
                Some((key, _)) if own.as_ref().is_some_and(|own| key >= own.0) => break None,
                Some((key, _)) if is_own(&key) => cursor = Some(key),
                found => break found,
            }
        };
        Ok(match (own, stored) {
            (Some(own), Some(stored)) => Some(if own.0 < stored.0 { own } else { stored }),
            (own, stored) => own.or(stored),
        })
    }

    /// The first entry of the span that is after `after`, as the server has it.
    fn stored(
        &self,
        namespace: &str,
        span: Span<'_>,
        after: Option<&str>,
        values: bool,
    ) -> Result<Option<(String, Value)>, Kind> {
        let mut from = after.map(str::to_owned);
        loop {
            if let Some(page) = &self.seen.borrow().page
                && page.tells(namespace, span, values, after)
            {
                let place = (page.entries).partition_point(|(key, _)| Some(key.as_str()) <= after);
                if let Some(entry) = page.entries.get(place) {
                    return Ok(Some(entry.clone()));
                }
                match &page.more {
                    Some(more) => from = Some(more.clone()),
                    None => return Ok(None),
                }
            }
            let (entries, more) = self.ask_page(namespace, span, from.as_deref(), values)?;
            self.seen.borrow_mut().page = Some(Page {
                namespace: namespace.into(),
                prefix: span.prefix.into(),
                from: span.from.into(),
                until: span.until.map(Box::from),
                values,
                after: after.map(str::to_owned),
                entries,
                more,
            });
        }
    }

    fn ask_page(
        &self,
        namespace: &str,
        span: Span<'_>,
        after: Option<&str>,
        values: bool,
    ) -> Result<(Entries, Option<String>), Kind> {
        let request = |at| Request::Page {
            namespace,
            span,
            after,
            values,
            at,
        };
        self.ask(request, |reply| match reply {
            Reply::Page {
                revision,
                entries,
                more,
            } => {
                let owned = |(key, value): &(&str, &[u8])| ((*key).to_owned(), Value::from(*value));
                // A page that comes no further can't be followed by another.
                let more = more.filter(|more| Some(*more) > after).map(str::to_owned);
                Ok((*revision, (entries.iter().map(owned).collect(), more)))
            }
            other => Err(unexpected(other)),
        })
    }

    /// May this be written? What is refused here, the server would refuse.
    fn check(&mut self, namespace: &str, key: &str, value: &[u8]) -> Result<(), Kind> {
        let checked = match namespace {
            RESERVED => Err(StoreError::ReadOnly),
            _ => check_namespace(namespace)
                .and_then(|()| check_key(key))
                .and_then(|()| check_value(value, self.value_bytes_max, DEPTH_MAX)),
        };
        self.noted(checked)
    }

    /// The first refusal sticks.
    fn noted<R>(&mut self, result: Result<R, StoreError>) -> Result<R, Kind> {
        result.map_err(|error| {
            let kind = Kind::from(error);
            self.refused.get_or_insert(kind.clone());
            kind
        })
    }

    /// Takes down what a key becomes.
    fn write(&mut self, namespace: &str, key: &str, write: Write) -> Result<(), Kind> {
        let new = write.now.as_ref().map_or(0, |value| value.len()) + key.len();
        let written = match self.written.get_mut(namespace) {
            Some(written) => written,
            None => self.written.entry(namespace.into()).or_default(),
        };
        let old = if write.now.is_none() && written.is_cleared {
            // It goes with all the others.
            written.keys.remove(key)
        } else {
            self.changes += 1;
            self.bytes += new;
            written.keys.insert(key.into(), write)
        };
        if let Some(old) = old {
            self.changes -= 1;
            self.bytes -= old.now.map_or(0, |value| value.len()) + key.len();
        }
        let limit = |limit, actual: usize, max: usize| match actual <= max {
            true => Ok(()),
            false => Err(StoreError::Limit {
                limit,
                actual: actual as u64,
                max: max as u64,
            }),
        };
        let fits = limit("CHANGE_SET_BYTES_MAX", self.bytes, CHANGE_SET_BYTES_MAX).and_then(|()| {
            limit(
                "CHANGE_SET_CHANGES_MAX",
                self.changes,
                CHANGE_SET_CHANGES_MAX,
            )
        });
        self.noted(fits)
    }
}

/// May something that runs here read so many namespaces?
pub(super) fn reads_fit(namespaces: usize) -> Result<(), Kind> {
    if namespaces <= READ_NAMESPACES_MAX {
        return Ok(());
    }
    Err(Kind::from(StoreError::Limit {
        limit: "READ_NAMESPACES_MAX",
        actual: namespaces as u64,
        max: READ_NAMESPACES_MAX as u64,
    }))
}

fn read(interest: &Interest) -> Read<'_> {
    match interest {
        Interest::Key(key) => Read::Key(key),
        Interest::Prefix(prefix) => Read::Span(Span::from(&**prefix)),
        Interest::Range(from, until) => Read::Span(Span {
            prefix: "",
            from,
            until: until.as_deref(),
        }),
        // No run has these; they are part of everything.
        Interest::Keys(_) | Interest::AllBut(_) => Read::Span(Span::default()),
    }
}

impl Written {
    /// The first entry of the span that is after `after`.
    fn first(&self, span: Span<'_>, after: Option<&str>) -> Option<(String, Value)> {
        let keys = self
            .keys
            .range::<str, _>((span.start_after(after), Bound::Unbounded));
        let mut covered =
            keys.take_while(|(key, _)| key.starts_with(span.prefix) && span.is_before_end(key));
        covered.find_map(|(key, write)| Some((key.to_string(), write.now.clone()?)))
    }

    fn operations(&self) -> Vec<operations::Operation<'_>> {
        use operations::Operation;
        let cleared = self.is_cleared.then_some(Operation::Clear);
        let keys = self.keys.iter().map(|(key, write)| match write {
            Write {
                added: Some(by), ..
            } => Operation::Add { key, by: *by },
            Write {
                now: Some(value), ..
            } => Operation::Set {
                key,
                value,
                owned: false,
            },
            Write { now: None, .. } => Operation::Remove { key },
        });
        cleared.into_iter().chain(keys).collect()
    }
}

impl Reads for Run<'_> {
    fn get(&self, namespace: &str, key: &str) -> Result<Option<Cow<'_, [u8]>>, Kind> {
        let value = self.value(namespace, key)?;
        Ok(value.map(|value| Cow::Owned(value.to_vec())))
    }

    fn contains(&self, namespace: &str, key: &str) -> Result<bool, Kind> {
        Ok(self.value(namespace, key)?.is_some())
    }

    fn len(&self, namespace: &str) -> Result<u64, Kind> {
        if self.written.contains_key(namespace) {
            return Ok(self.keys(namespace, Span::default())?.len() as u64);
        }
        if check_names(namespace, "").is_err() {
            return Ok(0);
        }
        self.note(namespace, Interest::of_span(Span::default()))?;
        self.ask(
            |at| Request::Len { namespace, at },
            |reply| match reply {
                Reply::Count { revision, count } => Ok((*revision, *count)),
                other => Err(unexpected(other)),
            },
        )
    }

    fn keys(&self, namespace: &str, span: Span<'_>) -> Result<Vec<String>, Kind> {
        let mut keys: Vec<String> = Vec::new();
        while let Some((key, _)) =
            self.entry(namespace, span, keys.last().map(String::as_str), false)?
        {
            keys.push(key);
        }
        Ok(keys)
    }

    fn next(
        &self,
        namespace: &str,
        span: Span<'_>,
        after: Option<&str>,
    ) -> Result<Option<Entry<'_>>, Kind> {
        let found = self.entry(namespace, span, after, true)?;
        Ok(found.map(|(key, value)| (Cow::Owned(key), Cow::Owned(value.to_vec()))))
    }

    fn revision(&self) -> Revision {
        self.at().next()
    }
}

impl Writes for Run<'_> {
    fn refuse(&mut self, unfit: &Kind) {
        self.refused.get_or_insert_with(|| unfit.clone());
    }

    fn set(&mut self, namespace: &str, key: &str, value: &[u8]) -> Result<(), Kind> {
        self.check(namespace, key, value)?;
        let (now, added) = (Some(Value::from(value)), None);
        self.write(namespace, key, Write { now, added })
    }

    fn clear(&mut self, namespace: &str, _coming: Coming) -> Result<(), Kind> {
        // What is written behind it goes with it, so the server sees what comes.
        self.check(namespace, "", &NIL)?;
        let written = self.written.entry(namespace.into()).or_default();
        written.is_cleared = true;
        for (key, write) in std::mem::take(&mut written.keys) {
            self.changes -= 1;
            self.bytes -= write.now.map_or(0, |value| value.len()) + key.len();
        }
        Ok(())
    }

    fn add(&mut self, namespace: &str, key: &str, by: i64) -> Result<i64, Kind> {
        self.check(namespace, key, &NIL)?;
        let there = self.value(namespace, key)?;
        let number = match &there {
            None => 0,
            Some(value) => value::as_integer(value)
                .ok_or_else(|| StoreError::NotInteger(value::describe(value)))?,
        };
        let sum = i64::try_from(number + i128::from(by)).map_err(|_| StoreError::Overflow)?;
        // An addition leaves a key its owner, as long as nothing else has been done to it.
        let written = self.written.get(namespace);
        let added = match written.and_then(|written| written.keys.get(key)) {
            Some(write) => write.added.and_then(|before| before.checked_add(by)),
            None => written
                .is_none_or(|written| !written.is_cleared)
                .then_some(by),
        };
        let now = Some(Value::from(&*value::integer(sum)));
        self.write(namespace, key, Write { now, added })?;
        Ok(sum)
    }

    fn take(&mut self, namespace: &str, key: &str) -> Result<Option<Value>, Kind> {
        self.check(namespace, "", &NIL)?;
        let there = self.value(namespace, key)?;
        if there.is_some() {
            let (now, added) = (None, None);
            self.write(namespace, key, Write { now, added })?;
        }
        Ok(there)
    }

    fn pop(
        &mut self,
        namespace: &str,
        prefix: &str,
        last: bool,
    ) -> Result<Option<(Key, Value)>, Kind> {
        let span = Span::from(prefix);
        let key = match last {
            // The server gives keys from the first on.
            true => self.keys(namespace, span)?.pop(),
            false => self
                .entry(namespace, span, None, false)?
                .map(|(key, _)| key),
        };
        let Some(key) = key else {
            return Ok(None);
        };
        let value = self.take(namespace, &key)?;
        Ok(value.map(|value| (Key::from(key), value)))
    }
}

/// A value that may be written anywhere.
const NIL: [u8; 1] = [0xc0];
