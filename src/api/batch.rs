//! Batches: many operations on one namespace in one request, at one revision.

use super::context::unexpected;
use super::state::{State, check_names};
use super::value;
use crate::error::{Error, Kind, Operation, Result};
use crate::proto::ids::Revision;
use crate::proto::limits::CHANGE_SET_CHANGES_MAX;
use crate::proto::message::{Reply, Request};
use crate::proto::operations::{self, Test};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ops::Range;
use std::panic::Location;
use std::sync::Arc;

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
    /// Shared with what came of it.
    steps: Arc<Steps>,
    /// The first operation whose value does not serialise.
    unfit: Option<Kind>,
}

/// Operations, with all their keys and all their values each in one piece of memory.
#[derive(Debug, Clone, Default)]
struct Steps {
    steps: Vec<Step>,
    keys: String,
    values: Vec<u8>,
}

/// An operation with what it needs. `key` is where its key or its prefix is, `value` where its value.
#[derive(Debug, Clone)]
enum Step {
    Require {
        key: Range<usize>,
        wanted: Wanted,
    },
    Get {
        key: Range<usize>,
    },
    Set {
        key: Range<usize>,
        value: Range<usize>,
        owned: bool,
    },
    Remove {
        key: Range<usize>,
    },
    Take {
        key: Range<usize>,
    },
    Add {
        key: Range<usize>,
        by: i64,
    },
    Pop {
        key: Range<usize>,
        last: bool,
    },
    Clear,
}

impl Steps {
    fn note_key(&mut self, key: &str) -> Range<usize> {
        let start = self.keys.len();
        self.keys.push_str(key);
        start..self.keys.len()
    }

    fn key(&self, step: &Step) -> &str {
        match step {
            Step::Require { key, .. }
            | Step::Get { key }
            | Step::Set { key, .. }
            | Step::Remove { key }
            | Step::Take { key }
            | Step::Add { key, .. }
            | Step::Pop { key, .. } => &self.keys[key.clone()],
            Step::Clear => "",
        }
    }

    fn as_message<'a>(&'a self, step: &'a Step) -> operations::Operation<'a> {
        use operations::Operation;
        let key = self.key(step);
        match step {
            Step::Require { wanted, .. } => Operation::Require {
                key,
                test: wanted.as_message(),
            },
            Step::Get { .. } => Operation::Get { key },
            Step::Set { value, owned, .. } => Operation::Set {
                key,
                value: &self.values[value.clone()],
                owned: *owned,
            },
            Step::Remove { .. } => Operation::Remove { key },
            Step::Take { .. } => Operation::Take { key },
            Step::Add { by, .. } => Operation::Add { key, by: *by },
            Step::Pop { last, .. } => Operation::Pop {
                prefix: key,
                last: *last,
            },
            Step::Clear => Operation::Clear,
        }
    }
}

/// Filling it.
impl Batch {
    pub(super) fn new(state: State) -> Batch {
        Batch {
            state,
            steps: Arc::default(),
            unfit: None,
        }
    }

    /// How many operations there are: the place that the next one will have among the results.
    #[must_use]
    pub fn len(&self) -> usize {
        self.steps.steps.len()
    }

    /// Is there no operation?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.steps.is_empty()
    }

    /// Nothing is done unless `key` is as expected.
    pub fn require(&mut self, key: impl AsRef<str>, expected: Expected) -> &mut Batch {
        match expected.0 {
            Ok(wanted) => self.push(key.as_ref(), |key| Step::Require { key, wanted }),
            Err(unfit) => self.is_unfit(unfit),
        }
    }

    /// Reads `key`.
    pub fn get(&mut self, key: impl AsRef<str>) -> &mut Batch {
        self.push(key.as_ref(), |key| Step::Get { key })
    }

    /// Writes `key`.
    pub fn set<T: Serialize + ?Sized>(&mut self, key: impl AsRef<str>, value: &T) -> &mut Batch {
        self.write(key.as_ref(), value, false)
    }

    /// Writes `key`, which [goes with this process](State::set_owned).
    pub fn set_owned<T: Serialize + ?Sized>(
        &mut self,
        key: impl AsRef<str>,
        value: &T,
    ) -> &mut Batch {
        self.write(key.as_ref(), value, true)
    }

    /// Removes `key`, if it is there.
    pub fn remove(&mut self, key: impl AsRef<str>) -> &mut Batch {
        self.push(key.as_ref(), |key| Step::Remove { key })
    }

    /// Removes `key`, if it is there, and gives its value.
    pub fn take(&mut self, key: impl AsRef<str>) -> &mut Batch {
        self.push(key.as_ref(), |key| Step::Take { key })
    }

    /// Adds to the integer at `key`, and gives the sum; see [`State::add`].
    pub fn add(&mut self, key: impl AsRef<str>, by: i64) -> &mut Batch {
        self.push(key.as_ref(), |key| Step::Add { key, by })
    }

    /// Removes the first key that starts with `prefix`, if there is one, and gives it.
    pub fn pop_first(&mut self, prefix: impl AsRef<str>) -> &mut Batch {
        self.push(prefix.as_ref(), |key| Step::Pop { key, last: false })
    }

    /// Removes the last key that starts with `prefix`, if there is one, and gives it.
    pub fn pop_last(&mut self, prefix: impl AsRef<str>) -> &mut Batch {
        self.push(prefix.as_ref(), |key| Step::Pop { key, last: true })
    }

    /// Removes all keys of the namespace.
    pub fn clear(&mut self) -> &mut Batch {
        self.push("", |_| Step::Clear)
    }

    /// Writes all of these, each an operation.
    pub fn extend<K: AsRef<str>, T: Serialize>(
        &mut self,
        entries: impl IntoIterator<Item = (K, T)>,
    ) -> &mut Batch {
        for (key, value) in entries {
            self.set(key, &value);
        }
        self
    }

    fn write<T: Serialize + ?Sized>(&mut self, key: &str, value: &T, owned: bool) -> &mut Batch {
        let values = &mut Arc::make_mut(&mut self.steps).values;
        let start = values.len();
        match value::encode_behind(value, values) {
            Ok(()) => {
                let value = start..values.len();
                self.push(key, |key| Step::Set { key, value, owned })
            }
            Err(unfit) => self.is_unfit(unfit),
        }
    }

    fn push(&mut self, key: &str, step: impl FnOnce(Range<usize>) -> Step) -> &mut Batch {
        let steps = Arc::make_mut(&mut self.steps);
        let key = steps.note_key(key);
        steps.steps.push(step(key));
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
        self.check().map_err(|kind| Error::new(kind, operation))?;
        let steps = &self.steps;
        let messages = steps.steps.iter().map(|step| steps.as_message(step));
        let request = Request::Batch {
            namespace: self.state.namespace_name(),
            operations: messages.collect(),
        };
        let told = self.state.call(operation, &request, |reply| match reply {
            Reply::Batched { revision, told } if told.len() == steps.steps.len() => {
                Ok((*revision, Told::of(told)))
            }
            other => Err(unexpected(other)),
        });
        let (revision, told) = told?;
        Ok(Batched {
            namespace: self.state.namespace_name().to_owned(),
            steps: steps.clone(),
            revision,
            told,
            caller,
        })
    }

    /// What the server would refuse in any case, and what can't even be sent.
    fn check(&self) -> Result<(), Kind> {
        if let Some(unfit) = &self.unfit {
            return Err(unfit.clone());
        }
        if self.len() > CHANGE_SET_CHANGES_MAX {
            return Err(Kind::Limit {
                limit: "CHANGE_SET_CHANGES_MAX".to_owned(),
                actual: self.len() as u64,
                max: CHANGE_SET_CHANGES_MAX as u64,
            });
        }
        let namespace = self.state.namespace_name();
        let steps = &self.steps;
        let mut keys = steps.steps.iter().map(|step| steps.key(step));
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
    steps: Arc<Steps>,
    revision: Revision,
    told: Told,
    caller: &'static Location<'static>,
}

/// What all operations have found, with all values in one piece of memory.
#[derive(Debug, Clone, Default)]
struct Told {
    found: Vec<Found>,
    values: Vec<u8>,
}

/// What one operation has found. `value` is where its value is.
#[derive(Debug, Clone)]
enum Found {
    Done,
    Nothing,
    Value {
        value: Range<usize>,
        revision: Revision,
    },
    Entry {
        key: String,
        value: Range<usize>,
    },
    Number(i64),
}

impl Told {
    fn of(all: &[operations::Told<'_>]) -> Told {
        let mut told = Told::default();
        told.found.reserve_exact(all.len());
        for one in all {
            let found = told.note(one);
            told.found.push(found);
        }
        told
    }

    fn note(&mut self, one: &operations::Told<'_>) -> Found {
        match *one {
            operations::Told::Done => Found::Done,
            operations::Told::Nothing => Found::Nothing,
            operations::Told::Value { value, revision } => {
                let value = self.note_value(value);
                Found::Value { value, revision }
            }
            operations::Told::Entry { key, value } => {
                let (key, value) = (key.to_owned(), self.note_value(value));
                Found::Entry { key, value }
            }
            operations::Told::Number(number) => Found::Number(number),
        }
    }

    fn note_value(&mut self, value: &[u8]) -> Range<usize> {
        let start = self.values.len();
        self.values.extend_from_slice(value);
        start..self.values.len()
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
        let count = self.told.found.len();
        match self.told.found.get(place) {
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
            Found::Value { value, .. } | Found::Entry { value, .. } => {
                value::decode(&self.told.values[value.clone()]).map(Some)
            }
            Found::Number(number) => {
                value::decode(&crate::proto::value::integer(*number)).map(Some)
            }
            Found::Done | Found::Nothing => Ok(None),
        };
        decoded.map_err(|kind| {
            let operation = Operation {
                verb: "read the result of a batch for",
                object: self.key(place).or(Some(self.asked(place))),
                namespace: Some(&self.namespace),
                caller: self.caller,
            };
            Error::new(kind, &operation)
        })
    }

    /// The key that an operation was asked to do something with.
    fn asked(&self, place: usize) -> &str {
        self.steps.key(&self.steps.steps[place])
    }

    /// The key that a `pop` has removed.
    ///
    /// # Panics
    /// There is no operation at this place.
    #[must_use]
    #[track_caller]
    pub fn key(&self, place: usize) -> Option<&str> {
        match self.at(place) {
            Found::Entry { key, .. } => Some(key),
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
            Found::Value { revision, .. } => Some(*revision),
            _ => None,
        }
    }

    /// What a batch of one pop has taken.
    pub(super) fn popped<T: DeserializeOwned>(
        self,
        operation: &Operation<'_>,
    ) -> Result<Option<(String, T)>> {
        let Some(Found::Entry { key, value }) = self.told.found.into_iter().next() else {
            return Ok(None);
        };
        match value::decode_taken(&key, &self.told.values[value]) {
            Ok(value) => Ok(Some((key, value))),
            Err(kind) => Err(Error::new(kind, operation)),
        }
    }
}
