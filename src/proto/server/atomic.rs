//! Functions that the server calls for its clients: in a change set of their own, or on a view.

use super::super::codec;
use super::super::ids::{FunctionRef, ProcessId};
use super::super::marks::{self, Mark};
use super::super::message::{Failure, Reply};
use super::super::planted::{self, Bug};
use super::super::store::{ChangeSet, Rights, StoreError, Transaction, View, Wrote};
use super::super::time::Time;
use super::functions::{FunctionFailure, Functions};
use super::requests::cause;
use super::twice::{Ran, Returned};
use super::{Server, wire};
use std::sync::Arc;

/// Why an atomic function came to nothing.
enum Undone {
    Function(FunctionFailure),
    Write(StoreError),
}

impl Server {
    /// A function and its argument, if they are small enough and functions are called at all.
    pub(super) fn callable<'a>(
        &self,
        function: &FunctionRef<'a>,
        args: &[u8],
    ) -> Result<(), Failure<'a>> {
        if !self.config.runs_functions {
            let name = function.name;
            return Err(Failure::NoFunctions { name });
        }
        wire::task(function, args, &self.config.limits)
    }

    pub(super) fn atomic(
        &mut self,
        process: ProcessId,
        namespace: &str,
        function: &FunctionRef<'_>,
        args: &[u8],
        now: Time,
    ) -> Vec<u8> {
        if let Err(failure) = self.callable(function, args) {
            return self.failed(failure);
        }
        let (value, changes) = match self.apply(process, namespace, function, args) {
            Ok(done) => done,
            Err(Undone::Write(error)) => return self.failed(wire::store_failure(&error)),
            Err(Undone::Function(failure)) => {
                return self.failed(wire::function_failure(&failure, function.name));
            }
        };
        if let Err(failure) = wire::result(&value, &self.config.limits) {
            return self.failed(failure);
        }
        marks::reached_if(changes.is_none(), Mark::AtomicReadOnly);
        if let Some(changes) = changes {
            let mut cause = cause(process, now);
            cause.function = Some(Arc::from(function.name));
            self.committed(changes, &cause);
        }
        codec::to_bytes(&Reply::Returned {
            revision: self.store.revision(),
            value: &value,
        })
    }

    /// Runs it, and makes what it has written last.
    fn apply(
        &mut self,
        process: ProcessId,
        namespace: &str,
        function: &FunctionRef<'_>,
        args: &[u8],
    ) -> Result<(Vec<u8>, Option<ChangeSet>), Undone> {
        let twice = self.config.runs_functions_twice;
        let max = self.config.limits.value_bytes_max;
        let mut transaction = self.store.transaction(process, Rights::User);
        let functions = &mut self.functions;
        let mut call = |transaction: &mut Transaction<'_>| {
            functions.atomic(namespace, function, args, transaction)
        };
        let mut result = call(&mut transaction);
        if twice {
            let first = ran(result.map(Some), &transaction);
            if !planted::is(Bug::SecondRunOnFirst) {
                transaction.roll_back();
            }
            result = call(&mut transaction);
            let second = ran(result.map(Some), &transaction);
            let differs = first.difference(&second);
            result = second.returned.map(Option::unwrap_or_default);
            if let Some(what) = differs.filter(|_| !planted::is(Bug::SecondRunOnFirst)) {
                marks::reached(Mark::RunsDiffer);
                result = Err(FunctionFailure::NotDeterministic(what));
            }
        }
        // A larger one is refused where it is answered, and nothing of it may last.
        let fits = |value: &Vec<u8>| value.len() <= max;
        match result {
            Ok(value) if !fits(&value) => Ok((value, None)),
            Ok(value) => match transaction.commit() {
                Ok(changes) => Ok((value, changes)),
                Err(error) => {
                    marks::reached(Mark::AtomicRefused);
                    Err(Undone::Write(error))
                }
            },
            // Here the transaction is dropped, and with it all that was written.
            Err(failure) => {
                let wrote = transaction.is_dirty();
                let panic = matches!(failure, FunctionFailure::Panic(_));
                marks::reached_if(wrote && !panic, Mark::AtomicError);
                marks::reached_if(wrote && panic, Mark::AtomicPanic);
                // A function that gives up over a refused write fails for that write.
                Err(match (transaction.refused(), failure) {
                    (Some(error), FunctionFailure::Error(_)) => Undone::Write(error.clone()),
                    (_, failure) => Undone::Function(failure),
                })
            }
        }
    }
}

fn ran(returned: Returned, transaction: &Transaction<'_>) -> Ran {
    let wrote = transaction.wrote();
    Ran { returned, wrote }
}

/// Tests a condition; twice, where that is so.
pub(super) fn condition(
    functions: &mut dyn Functions,
    namespace: &str,
    function: &FunctionRef<'_>,
    args: &[u8],
    (view, twice): (&View<'_>, bool),
) -> Returned {
    let returned = functions.condition(namespace, function, args, view);
    if !twice {
        return returned;
    }
    let ran = |returned| Ran {
        returned,
        wrote: Wrote::default(),
    };
    let first = ran(returned);
    let second = ran(functions.condition(namespace, function, args, view));
    match first.difference(&second) {
        None => second.returned,
        Some(what) => {
            marks::reached(Mark::VerdictsDiffer);
            Err(FunctionFailure::NotDeterministic(what))
        }
    }
}
