//! Batches a second time, over a plain copy of the namespace: what one must change and tell.

use super::once::user_changes;
use super::plain;
use super::timeline::Timeline;
use super::{Call, End};
use crate::history::Committed;
use std::collections::BTreeMap;
use zproc::seam::proto::ids::Revision;
use zproc::seam::proto::message::{Failure, Reply, Request};
use zproc::seam::proto::operations::{Operation, Test, Told};

/// What one operation of a batch must be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    Nothing,
    Value(Vec<u8>, Revision),
    Entry(String, Vec<u8>),
    Number(i64),
}

/// Why nothing of it must be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    Unmet(String),
    NotInteger,
    Overflow,
}

/// What a batch does to a state.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Every key that it touches, with its value afterwards.
    changes: BTreeMap<String, Option<Vec<u8>>>,
    /// All that is there afterwards.
    after: BTreeMap<String, (Vec<u8>, Revision)>,
    told: Result<Vec<Answer>, Refusal>,
}

impl Ran {
    /// Is it done, and changes nothing?
    pub(crate) fn is_idle(&self) -> bool {
        self.told.is_ok() && self.changes.is_empty()
    }
}

/// Runs a batch on the state at `at`; what it writes is written at `made`. `None`: it is no batch.
pub(crate) fn run(
    call: &Call<'_>,
    timeline: &Timeline<'_>,
    at: Revision,
    made: Revision,
) -> Option<Ran> {
    let Request::Batch {
        namespace,
        operations,
    } = &call.request
    else {
        return None;
    };
    let entries = timeline.entries(namespace, "", None, at).into_iter();
    let mut copy = Copy {
        entries: entries
            .map(|(key, value)| {
                let version = timeline.version(namespace, key, at);
                (key.to_owned(), (value.to_vec(), version))
            })
            .collect(),
        changes: BTreeMap::new(),
        made,
    };
    let told: Result<Vec<Answer>, Refusal> = operations.iter().map(|one| copy.apply(one)).collect();
    if told.is_err() {
        copy.changes.clear();
    }
    Some(Ran {
        changes: copy.changes,
        after: copy.entries,
        told,
    })
}

/// The namespace, to be changed.
struct Copy {
    entries: BTreeMap<String, (Vec<u8>, Revision)>,
    changes: BTreeMap<String, Option<Vec<u8>>>,
    made: Revision,
}

impl Copy {
    fn set(&mut self, key: &str, value: &[u8]) {
        let entry = (value.to_vec(), self.made);
        self.entries.insert(key.to_owned(), entry);
        self.changes.insert(key.to_owned(), Some(value.to_vec()));
    }

    fn remove(&mut self, key: &str) -> Option<(Vec<u8>, Revision)> {
        let removed = self.entries.remove(key)?;
        self.changes.insert(key.to_owned(), None);
        Some(removed)
    }

    fn apply(&mut self, operation: &Operation<'_>) -> Result<Answer, Refusal> {
        let value = |found: Option<(Vec<u8>, Revision)>| match found {
            Some((value, revision)) => Answer::Value(value, revision),
            None => Answer::Nothing,
        };
        Ok(match *operation {
            Operation::Require { key, test } if holds(test, self.entries.get(key)) => Answer::Done,
            Operation::Require { key, .. } => return Err(Refusal::Unmet(key.to_owned())),
            Operation::Get { key } => value(self.entries.get(key).cloned()),
            Operation::Set { key, value, .. } => {
                self.set(key, value);
                Answer::Done
            }
            Operation::Remove { key } => match self.remove(key) {
                Some(_) => Answer::Done,
                None => Answer::Nothing,
            },
            Operation::Take { key } => value(self.remove(key)),
            Operation::Add { key, by } => {
                let there = match self.entries.get(key) {
                    None => 0,
                    Some((value, _)) => integer(value).ok_or(Refusal::NotInteger)?,
                };
                let sum = i64::try_from(there + i128::from(by)).map_err(|_| Refusal::Overflow)?;
                let bytes = rmp_serde::to_vec_named(&sum).expect("a number is encodable");
                self.set(key, &bytes);
                Answer::Number(sum)
            }
            Operation::Pop { prefix, last } => {
                let mut keys = self.entries.keys().filter(|key| key.starts_with(prefix));
                let key = if last { keys.next_back() } else { keys.next() }.cloned();
                match key.and_then(|key| Some((self.remove(&key)?, key))) {
                    Some(((value, _), key)) => Answer::Entry(key, value),
                    None => Answer::Nothing,
                }
            }
            Operation::Clear => {
                let keys: Vec<String> = self.entries.keys().cloned().collect();
                for key in keys {
                    self.remove(&key);
                }
                Answer::Done
            }
        })
    }
}

/// The integer that a value is, if it is one.
pub(crate) fn integer(value: &[u8]) -> Option<i128> {
    let signed = rmp_serde::from_slice::<i64>(value).map(i128::from).ok();
    signed.or_else(|| rmp_serde::from_slice::<u64>(value).map(i128::from).ok())
}

/// Does the test hold for this value, and the revision that wrote it?
pub(crate) fn holds(test: Test<'_>, there: Option<&(Vec<u8>, Revision)>) -> bool {
    match (test, there) {
        (Test::Absent, there) => there.is_none(),
        (Test::Present, there) => there.is_some(),
        (Test::Equal(wanted), Some((value, _))) => plain::equal(value, wanted),
        (Test::Revision(wanted), Some((_, revision))) => *revision == wanted,
        (Test::NotEqual(_) | Test::Falsy | Test::Nil, None) => true,
        (Test::NotEqual(other), Some((value, _))) => !plain::equal(value, other),
        (Test::Truthy, Some((value, _))) => plain::is_truthy(value),
        (Test::Falsy, Some((value, _))) => !plain::is_truthy(value),
        (Test::Nil, Some((value, _))) => plain::is_nil(value),
        (Test::NotNil, Some((value, _))) => !plain::is_nil(value),
        (_, None) => false,
    }
}

/// Did the batch change just this, and was it told what it must be, if it was told anything?
pub(crate) fn is_change_of(
    call: &Call<'_>,
    ran: &Ran,
    commit: &Committed,
    timeline: &Timeline<'_>,
) -> bool {
    let Request::Batch { namespace, .. } = &call.request else {
        return false;
    };
    let told = match &call.end {
        End::Returned {
            reply: Reply::Batched { told, .. },
            ..
        } => is_told(ran, told),
        End::Returned { .. } => false,
        _ => ran.told.is_ok(),
    };
    let own = user_changes(commit).all(|change| change.namespace == *namespace);
    told && own && {
        if commit.resets.is_empty() {
            let got = user_changes(commit).map(|change| (&change.key, &change.after));
            got.eq(ran.changes.iter())
        } else {
            let got = timeline.entries(namespace, "", None, commit.revision);
            let wanted = ran
                .after
                .iter()
                .map(|(key, (value, _))| (key.as_str(), &**value));
            commit.resets == [*namespace] && got.into_iter().eq(wanted)
        }
    }
}

fn is_told(ran: &Ran, told: &[Told<'_>]) -> bool {
    let Ok(wanted) = &ran.told else {
        return false;
    };
    let same = |(told, wanted): (&Told<'_>, &Answer)| match (*told, wanted) {
        (Told::Done, Answer::Done) | (Told::Nothing, Answer::Nothing) => true,
        (Told::Value { value, revision }, Answer::Value(wanted, at)) => {
            value == wanted && revision == *at
        }
        (Told::Entry { key, value }, Answer::Entry(name, wanted)) => key == name && value == wanted,
        (Told::Number(number), Answer::Number(wanted)) => number == *wanted,
        _ => false,
    };
    told.len() == wanted.len() && told.iter().zip(wanted).all(same)
}

/// Is the reply what the batch gives? `None`: it is no batch, or was refused for something else.
pub(crate) fn is_answered_by(ran: &Ran, reply: &Reply<'_>) -> Option<bool> {
    Some(match reply {
        Reply::Batched { told, .. } => is_told(ran, told),
        Reply::Failed { failure, .. } => match (failure, &ran.told) {
            (Failure::Unmet { key }, told) => {
                matches!(told, Err(Refusal::Unmet(wanted)) if wanted == key)
            }
            (Failure::NotInteger { .. }, told) => *told == Err(Refusal::NotInteger),
            (Failure::Overflow, told) => *told == Err(Refusal::Overflow),
            _ => return None,
        },
        _ => return None,
    })
}

impl Ran {
    /// What it must be told, for an explanation.
    pub(crate) fn story(&self) -> &dyn std::fmt::Debug {
        &self.told
    }
}

/// Who owns a key after a batch that has touched it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The process that asked for it.
    Asker,
    /// Nobody.
    Nobody,
    /// Who owned it before.
    AsBefore,
}

/// Who owns this key after these operations?
pub(crate) fn owner_after(operations: &[Operation<'_>], of: &str) -> Owner {
    for operation in operations.iter().rev() {
        match *operation {
            Operation::Set { key, owned, .. } if key == of => {
                return if owned { Owner::Asker } else { Owner::Nobody };
            }
            Operation::Remove { key } | Operation::Take { key } if key == of => {
                return Owner::Nobody;
            }
            // What was popped and is there again was set anew.
            Operation::Clear => return Owner::Nobody,
            _ => {}
        }
    }
    Owner::AsBefore
}
