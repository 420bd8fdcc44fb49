//! Batches: many operations in one request, at one revision, or none of them.

use super::super::codec;
use super::super::ids::{ProcessId, Revision};
use super::super::kinds;
use super::super::limits::{COMPARED_BYTES_MAX, Limits};
use super::super::marks::{self, Mark};
use super::super::message::{Failure, Reply};
use super::super::operations::{Operation, Test, Told};
use super::super::store::{Coming, Found, Key, Rights, StoreError, Transaction, Value, check_key};
use super::super::time::Time;
use super::super::value::Comparer;
use super::requests::cause;
use super::{Server, wire};

/// What one operation is told, as long as the change set is open.
pub(super) enum Answer {
    Done,
    Nothing,
    Value(Value, Revision),
    Entry(Key, Value),
    Number(i64),
}

/// Why nothing of a batch was done.
pub(super) enum Refused<'a> {
    /// What is required of this key does not hold.
    Unmet(&'a str),
    Store(StoreError),
    /// What is required of a key is none of what a batch can require.
    NoRequirement,
}

impl From<StoreError> for Refused<'_> {
    fn from(error: StoreError) -> Self {
        Refused::Store(error)
    }
}

impl Server {
    pub(super) fn batch(
        &mut self,
        process: ProcessId,
        namespace: &str,
        operations: &[Operation<'_>],
        now: Time,
    ) -> Vec<u8> {
        operations.iter().for_each(kinds::said);
        let limits = self.config.limits;
        let max = limits.change_set_changes_max;
        if operations.len() > max {
            return self.failed(Failure::Limit {
                limit: "CHANGE_SET_CHANGES_MAX",
                actual: operations.len() as u64,
                max: max as u64,
            });
        }
        let mut transaction = self.store.transaction(process, Rights::User);
        let mut comparing = Comparing::new(&mut self.comparer);
        let done = all(
            &mut transaction,
            namespace,
            operations,
            &limits,
            &mut comparing,
        )
        .and_then(|answers| Ok((answers, transaction.commit()?)));
        let (answers, changes) = match done {
            Ok(done) => done,
            Err(refused) => return self.refused(&refused),
        };
        if let Some(changes) = changes {
            marks::reached_if(!changes.resets.is_empty(), Mark::BatchResets);
            self.committed(changes, &cause(process, now));
        }
        codec::to_bytes(&Reply::Batched {
            revision: self.store.revision(),
            told: answers.iter().map(told).collect(),
        })
    }

    pub(super) fn refused(&self, refused: &Refused<'_>) -> Vec<u8> {
        match refused {
            Refused::Unmet(key) => {
                marks::reached(Mark::BatchUnmet);
                self.failed(Failure::Unmet { key })
            }
            Refused::Store(error) => self.failed(wire::store_failure(error)),
            Refused::NoRequirement => {
                let what = "a batch requires absence, presence, a value or a revision";
                self.failed(Failure::Malformed { what })
            }
        }
    }
}

fn told(answer: &Answer) -> Told<'_> {
    let told = match answer {
        Answer::Done => Told::Done,
        Answer::Nothing => Told::Nothing,
        Answer::Value(value, revision) => Told::Value {
            value,
            revision: *revision,
        },
        Answer::Entry(key, value) => Told::Entry { key, value },
        Answer::Number(number) => Told::Number(*number),
    };
    kinds::said(&told);
    told
}

/// How the values of one change set are compared, and how much of that may yet be done.
pub(super) struct Comparing<'a> {
    comparer: &'a mut Comparer,
    work: usize,
}

impl<'a> Comparing<'a> {
    pub(super) fn new(comparer: &'a mut Comparer) -> Comparing<'a> {
        let work = COMPARED_BYTES_MAX;
        Comparing { comparer, work }
    }
}

/// Does all operations, in their order. What they are told is together no more than one function may
/// return; so much work may go into comparing values.
pub(super) fn all<'a>(
    transaction: &mut Transaction<'_>,
    namespace: &str,
    operations: &[Operation<'a>],
    limits: &Limits,
    comparing: &mut Comparing<'_>,
) -> Result<Vec<Answer>, Refused<'a>> {
    let mut answers = Vec::with_capacity(operations.len());
    let mut bytes = 0;
    let mut coming = written(operations);
    for operation in operations {
        let done = written(std::slice::from_ref(operation));
        coming.entries -= done.entries;
        coming.bytes -= done.bytes;
        let answer = one(transaction, namespace, operation, coming, comparing)?;
        bytes += match &answer {
            Answer::Value(value, _) => value.len(),
            Answer::Entry(key, value) => key.len() + value.len(),
            Answer::Done | Answer::Nothing | Answer::Number(_) => 0,
        };
        if bytes > limits.value_bytes_max {
            return Err(Refused::Store(StoreError::Limit {
                limit: "VALUE_BYTES_MAX",
                actual: bytes as u64,
                max: limits.value_bytes_max as u64,
            }));
        }
        answers.push(answer);
    }
    Ok(answers)
}

/// What these write.
fn written(operations: &[Operation<'_>]) -> Coming {
    let mut written = Coming::default();
    for operation in operations {
        if let Operation::Set { key, value, .. } = operation {
            written.entries += 1;
            written.bytes += key.len() + value.len();
        }
    }
    written
}

/// Does one operation; behind it so much is still to be written, and so much may be compared.
fn one<'a>(
    transaction: &mut Transaction<'_>,
    namespace: &str,
    operation: &Operation<'a>,
    coming: Coming,
    comparing: &mut Comparing<'_>,
) -> Result<Answer, Refused<'a>> {
    Ok(match *operation {
        Operation::Require { key, test } => {
            require(transaction, namespace, (key, test), comparing)?;
            Answer::Done
        }
        Operation::Get { key } => found(transaction.found(namespace, key)),
        Operation::Set { key, value, owned } => {
            if owned {
                transaction.set_owned(namespace, key, value)?;
            } else {
                transaction.set(namespace, key, value)?;
            }
            Answer::Done
        }
        Operation::Remove { key } => match transaction.remove(namespace, key)? {
            Some(_) => Answer::Done,
            None => Answer::Nothing,
        },
        Operation::Take { key } => {
            let found = found(transaction.found(namespace, key));
            transaction.remove(namespace, key)?;
            found
        }
        Operation::Add { key, by } => Answer::Number(transaction.add(namespace, key, by)?),
        Operation::Pop { prefix, last } => match transaction.pop(namespace, prefix, last)? {
            Some((key, value)) => Answer::Entry(key, value),
            None => Answer::Nothing,
        },
        Operation::Clear => {
            transaction.clear_before(namespace, coming)?;
            Answer::Done
        }
    })
}

fn require<'a>(
    transaction: &Transaction<'_>,
    namespace: &str,
    (key, test): (&'a str, Test<'_>),
    comparing: &mut Comparing<'_>,
) -> Result<(), Refused<'a>> {
    kinds::said(&test);
    // It comes back if it is not met.
    check_key(key)?;
    // The others are for waits. A batch that went on where a value is not equal could compare a
    // large one again and again.
    if !matches!(
        test,
        Test::Absent | Test::Present | Test::Equal(_) | Test::Revision(_)
    ) {
        return Err(Refused::NoRequirement);
    }
    let there = transaction.found(namespace, key);
    let there = there.map(|found| (found.value, found.revision));
    let equal = |wanted: &[u8]| {
        let value = there.map_or(&[][..], |(value, _)| value);
        (comparing.comparer).equal_within(value, wanted, &mut comparing.work)
    };
    match test.holds(there, equal) {
        Some(true) => Ok(()),
        Some(false) => Err(Refused::Unmet(key)),
        None => Err(Refused::Store(StoreError::Limit {
            limit: "COMPARED_BYTES_MAX",
            actual: COMPARED_BYTES_MAX as u64 + 1,
            max: COMPARED_BYTES_MAX as u64,
        })),
    }
}

fn found(there: Option<Found<'_>>) -> Answer {
    match there {
        Some(found) => Answer::Value(found.to_value(), found.revision),
        None => Answer::Nothing,
    }
}
