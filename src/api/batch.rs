//! Batches: many operations on one namespace in one request, at one revision.

use super::context::unexpected;
use super::state::{State, check_names};
use super::value;
use crate::error::{Error, Kind, Operation, Result};
use crate::proto::ids::Revision;
use crate::proto::limits::CHANGE_SET_CHANGES_MAX;
use crate::proto::message::{Reply, Request};
use crate::proto::operations::{self, Test, Told};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::panic::Location;

/// What a key must be for a [batch](Batch::require), or a
/// [`compare_and_set`](State::compare_and_set), to be done.
#[derive(Debug, Clone)]
pub struct Expected(Result<Wanted, Kind>);

#[derive(Debug, Clone)]
enum Wanted {
    Absent,
    Present,
    Value(Vec<u8>),
    Revision(Revision),
}

impl Expected {
    /// The key is not there.
    #[must_use]
    pub fn absent() -> Expected {
        Expected(Ok(Wanted::Absent))
    }

    /// The key is there.
    #[must_use]
    pub fn present() -> Expected {
        Expected(Ok(Wanted::Present))
    }

    /// The key is there, with a value equal to this one, compared as
    /// [`wait_equal`](State::wait_equal) does.
    #[must_use]
    pub fn value<T: Serialize + ?Sized>(value: &T) -> Expected {
        Expected(value::encode(value).map(Wanted::Value))
    }

    /// The key is there, and was written last at this revision, as
    /// [`get_versioned`](State::get_versioned) has told it.
    #[must_use]
    pub fn revision(revision: Revision) -> Expected {
        Expected(Ok(Wanted::Revision(revision)))
    }
}

impl Wanted {
    fn as_message(&self) -> Test<'_> {
        match self {
            Wanted::Absent => Test::Absent,
            Wanted::Present => Test::Present,
            Wanted::Value(value) => Test::Equal(value),
            Wanted::Revision(revision) => Test::Revision(*revision),
        }
    }
}

/// Many operations on one namespace: they go to the server in one request, and are done there one
/// after another, at one revision, or not at all. Made by [`State::batch`].
///
/// It is filled in the order in which it is to be done; each operation sees what those before it have
/// done. [`commit`](Batch::commit) does it, and tells what each has found.
///
/// ```
/// # fn main() -> zproc::Result<()> {
/// # let ctx = zproc::Context::new()?;
/// use zproc::Expected;
/// let state = ctx.namespace("doc-batch");
/// state.set("stock", &3)?;
/// let mut order = state.batch();
/// order
///     .require("order/1", Expected::absent())
///     .set("order/1", "a tin of peas")
///     .add("stock", -1);
/// let done = order.commit()?;
/// assert_eq!(done.value::<i64>(2)?, Some(2));
///
/// // The order is there by now: nothing is done, the stock stays.
/// assert!(order.commit().unwrap_err().is_unmet());
/// assert_eq!(state.get("stock")?, Some(2));
/// # Ok(())
/// # }
/// ```
///
/// One batch takes no more than 16,384 operations (`CHANGE_SET_CHANGES_MAX`), changes no more than
/// 4 MiB (`CHANGE_SET_BYTES_MAX`), and what it reads is together no longer than 1 MiB
/// (`VALUE_BYTES_MAX`).
#[derive(Debug, Clone)]
pub struct Batch {
    state: State,
    steps: Vec<Step>,
    /// The first operation whose value does not serialise.
    unfit: Option<Kind>,
}

/// An operation with what it needs.
#[derive(Debug, Clone)]
enum Step {
    Require(String, Wanted),
    Get(String),
    Set {
        key: String,
        value: Vec<u8>,
        owned: bool,
    },
    Remove(String),
    Take(String),
    Add(String, i64),
    Pop {
        prefix: String,
        last: bool,
    },
    Clear,
}

impl Step {
    fn as_message(&self) -> operations::Operation<'_> {
        use operations::Operation;
        match self {
            Step::Require(key, wanted) => Operation::Require {
                key,
                test: wanted.as_message(),
            },
            Step::Get(key) => Operation::Get { key },
            Step::Set { key, value, owned } => Operation::Set {
                key,
                value,
                owned: *owned,
            },
            Step::Remove(key) => Operation::Remove { key },
            Step::Take(key) => Operation::Take { key },
            Step::Add(key, by) => Operation::Add { key, by: *by },
            Step::Pop { prefix, last } => Operation::Pop {
                prefix,
                last: *last,
            },
            Step::Clear => Operation::Clear,
        }
    }

    fn key(&self) -> &str {
        match self {
            Step::Require(key, _)
            | Step::Get(key)
            | Step::Set { key, .. }
            | Step::Remove(key)
            | Step::Take(key)
            | Step::Add(key, _)
            | Step::Pop { prefix: key, .. } => key,
            Step::Clear => "",
        }
    }
}

/// Filling it.
impl Batch {
    pub(super) fn new(state: State) -> Batch {
        Batch {
            state,
            steps: Vec::new(),
            unfit: None,
        }
    }

    /// How many operations there are: the place that the next one will have among the results.
    #[must_use]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Is there no operation?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Nothing is done unless `key` is as expected.
    pub fn require(&mut self, key: impl Into<String>, expected: Expected) -> &mut Batch {
        match expected.0 {
            Ok(wanted) => self.push(Step::Require(key.into(), wanted)),
            Err(unfit) => self.is_unfit(unfit),
        }
    }

    /// Reads `key`.
    pub fn get(&mut self, key: impl Into<String>) -> &mut Batch {
        self.push(Step::Get(key.into()))
    }

    /// Writes `key`.
    pub fn set<T: Serialize + ?Sized>(&mut self, key: impl Into<String>, value: &T) -> &mut Batch {
        self.write(key.into(), value, false)
    }

    /// Writes `key`, which [goes with this process](State::set_owned).
    pub fn set_owned<T: Serialize + ?Sized>(
        &mut self,
        key: impl Into<String>,
        value: &T,
    ) -> &mut Batch {
        self.write(key.into(), value, true)
    }

    /// Removes `key`, if it is there.
    pub fn remove(&mut self, key: impl Into<String>) -> &mut Batch {
        self.push(Step::Remove(key.into()))
    }

    /// Removes `key`, if it is there, and gives its value.
    pub fn take(&mut self, key: impl Into<String>) -> &mut Batch {
        self.push(Step::Take(key.into()))
    }

    /// Adds to the integer at `key`, and gives the sum; see [`State::add`].
    pub fn add(&mut self, key: impl Into<String>, by: i64) -> &mut Batch {
        self.push(Step::Add(key.into(), by))
    }

    /// Removes the first key that starts with `prefix`, if there is one, and gives it.
    pub fn pop_first(&mut self, prefix: impl Into<String>) -> &mut Batch {
        self.pop(prefix.into(), false)
    }

    /// Removes the last key that starts with `prefix`, if there is one, and gives it.
    pub fn pop_last(&mut self, prefix: impl Into<String>) -> &mut Batch {
        self.pop(prefix.into(), true)
    }

    /// Removes all keys of the namespace.
    pub fn clear(&mut self) -> &mut Batch {
        self.push(Step::Clear)
    }

    /// Writes all of these, each an operation.
    pub fn extend<K: Into<String>, T: Serialize>(
        &mut self,
        entries: impl IntoIterator<Item = (K, T)>,
    ) -> &mut Batch {
        for (key, value) in entries {
            self.set(key, &value);
        }
        self
    }

    fn pop(&mut self, prefix: String, last: bool) -> &mut Batch {
        self.push(Step::Pop { prefix, last })
    }

    fn write<T: Serialize + ?Sized>(&mut self, key: String, value: &T, owned: bool) -> &mut Batch {
        match value::encode(value) {
            Ok(value) => self.push(Step::Set { key, value, owned }),
            Err(unfit) => self.is_unfit(unfit),
        }
    }

    fn push(&mut self, step: Step) -> &mut Batch {
        self.steps.push(step);
        self
    }

    fn is_unfit(&mut self, kind: Kind) -> &mut Batch {
        self.unfit.get_or_insert(kind);
        self
    }
}

impl Batch {
    /// Does all of it, at one revision. It can be done again.
    ///
    /// # Errors
    /// With each of them nothing was done: [`is_unmet`](Error::is_unmet),
    /// [`is_wrong_type`](Error::is_wrong_type) and [`is_overflow`](Error::is_overflow) of an addition,
    /// [`is_unencodable`](Error::is_unencodable), [`is_limit`](Error::is_limit),
    /// [`is_read_only`](Error::is_read_only).
    #[track_caller]
    pub fn commit(&self) -> Result<Batched> {
        self.commit_as(&self.state.operation("commit a batch", None))
    }

    pub(super) fn commit_as(&self, operation: &Operation<'_>) -> Result<Batched> {
        let caller = operation.caller;
        let told = self
            .check()
            .map_err(|kind| Error::new(kind, operation))
            .and_then(|()| {
                let request = Request::Batch {
                    namespace: self.state.namespace_name(),
                    operations: self.steps.iter().map(Step::as_message).collect(),
                };
                self.state.call(operation, &request, |reply| match reply {
                    Reply::Batched { revision, told } if told.len() == self.steps.len() => {
                        Ok((*revision, told.iter().map(Found::of).collect()))
                    }
                    other => Err(unexpected(other)),
                })
            });
        let (revision, found) = told?;
        Ok(Batched {
            namespace: self.state.namespace_name().to_owned(),
            keys: self
                .steps
                .iter()
                .map(|step| step.key().to_owned())
                .collect(),
            revision,
            found,
            caller,
        })
    }

    /// What the server would refuse in any case, and what can't even be sent.
    fn check(&self) -> Result<(), Kind> {
        if let Some(unfit) = &self.unfit {
            return Err(unfit.clone());
        }
        if self.steps.len() > CHANGE_SET_CHANGES_MAX {
            return Err(Kind::Limit {
                limit: "CHANGE_SET_CHANGES_MAX".to_owned(),
                actual: self.steps.len() as u64,
                max: CHANGE_SET_CHANGES_MAX as u64,
            });
        }
        let namespace = self.state.namespace_name();
        let mut keys = self.steps.iter().map(Step::key);
        keys.try_for_each(|key| check_names(namespace, key))
    }
}

/// What came of a [`Batch`]: the results of its operations, by their places from 0 on.
///
/// Operations are named by their places, from 0 on. Each of its methods panics when the batch has no such
/// operation, as indexing does, and says how many it has.
#[derive(Debug, Clone)]
pub struct Batched {
    namespace: String,
    keys: Vec<String>,
    revision: Revision,
    found: Vec<Found>,
    caller: &'static Location<'static>,
}

/// What one operation has found.
#[derive(Debug, Clone)]
enum Found {
    Done,
    Nothing,
    Value(Box<[u8]>, Revision),
    Entry(String, Box<[u8]>),
    Number(i64),
}

impl Found {
    fn of(told: &Told<'_>) -> Found {
        match *told {
            Told::Done => Found::Done,
            Told::Nothing => Found::Nothing,
            Told::Value { value, revision } => Found::Value(value.into(), revision),
            Told::Entry { key, value } => Found::Entry(key.to_owned(), value.into()),
            Told::Number(number) => Found::Number(number),
        }
    }
}

impl Batched {
    /// The revision at which it was done; or, when it changed nothing, at which that was so.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    #[track_caller]
    fn at(&self, place: usize) -> &Found {
        let count = self.found.len();
        match self.found.get(place) {
            Some(found) => found,
            None => panic!("the batch has no operation {place}: it has {count}, counted from 0"),
        }
    }

    /// Did this operation find its key? A write always does.
    ///
    /// # Panics
    /// There is no operation at this place.
    #[must_use]
    #[track_caller]
    pub fn is_found(&self, place: usize) -> bool {
        !matches!(self.at(place), Found::Nothing)
    }

    /// The value that a `get`, a `take` or a `pop` has found, or an `add` has made; `None` if there
    /// was none, or for another operation.
    ///
    /// # Errors
    /// [`is_wrong_type`](Error::is_wrong_type).
    ///
    /// # Panics
    /// There is no operation at this place.
    #[track_caller]
    pub fn value<T: DeserializeOwned>(&self, place: usize) -> Result<Option<T>> {
        let decoded = match self.at(place) {
            Found::Value(value, _) | Found::Entry(_, value) => value::decode(value).map(Some),
            Found::Number(number) => {
                value::decode(&crate::proto::value::integer(*number)).map(Some)
            }
            Found::Done | Found::Nothing => Ok(None),
        };
        decoded.map_err(|kind| {
            let operation = Operation {
                verb: "read the result of a batch for",
                object: self.key(place).or(Some(&self.keys[place])),
                namespace: Some(&self.namespace),
                caller: self.caller,
            };
            Error::new(kind, &operation)
        })
    }

    /// The key that a `pop` has removed.
    ///
    /// # Panics
    /// There is no operation at this place.
    #[must_use]
    #[track_caller]
    pub fn key(&self, place: usize) -> Option<&str> {
        match self.at(place) {
            Found::Entry(key, _) => Some(key),
            _ => None,
        }
    }

    /// The revision at which the value that a `get` or a `take` has found was written.
    ///
    /// # Panics
    /// There is no operation at this place.
    #[must_use]
    #[track_caller]
    pub fn version(&self, place: usize) -> Option<Revision> {
        match self.at(place) {
            Found::Value(_, revision) => Some(*revision),
            _ => None,
        }
    }

    /// What a batch of one pop has taken.
    pub(super) fn popped<T: DeserializeOwned>(
        self,
        operation: &Operation<'_>,
    ) -> Result<Option<(String, T)>> {
        let Some(Found::Entry(key, value)) = self.found.into_iter().next() else {
            return Ok(None);
        };
        match value::decode_taken(&key, &value) {
            Ok(value) => Ok(Some((key, value))),
            Err(kind) => Err(Error::new(kind, operation)),
        }
    }
}
