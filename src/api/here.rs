//! The program's atomic functions and conditions, run by their caller where the server runs none.
//!
//! They do what they do in the server: argument and result are encoded and decoded, within the same
//! limits; an error or a panic is told as text. An atomic function is a [transaction](super::run), a
//! condition is [fed](super::fed). With `panic = "abort"` nothing is caught: a panic is the end of the
//! caller's process, and is told as such by whoever joins it.

use super::fed;
use super::run::Run;
use super::shipped::{AtomicSignature, ConditionSignature};
use super::state::State;
use super::transaction::Of;
use super::txn::Txn;
use crate::error::{Error, Kind, Operation, Result};
use crate::process::code::Shipped;
use crate::process::panics;
use crate::proto::ids::Revision;
use crate::proto::limits::FUNCTION_NAME_BYTES_MAX;
use crate::proto::marks::{self, Mark};
use crate::proto::planted::{self, Bug};
use crate::proto::server::{FunctionFailure, Ran, Returned};
use crate::proto::store::Wrote;
use crate::runtime::{Observation, RanHere};

/// Runs an atomic function here; gives its encoded result.
pub(super) fn atomic(
    state: &State,
    operation: &Operation<'_>,
    function: Shipped<AtomicSignature>,
    args: &[u8],
) -> Result<Vec<u8>> {
    let name = function.name();
    let here = Here::begin(state, operation, name, args)?;
    let done = state.transact(operation, (name, Of::Shipped), |run| {
        let returned = here.twice(|| {
            if !planted::is(Bug::SecondRunHereOnFirst) {
                run.begin_again();
            }
            let returned = caught(|| {
                let txn = Txn::new(run, state.namespace_name());
                function.call((txn, args)).map(Some)
            });
            // What could not be read is no difference of the function's.
            let wrote = run.is_whole().then(|| run.wrote());
            (returned, wrote)
        });
        Ok(here.told(returned).map(Option::unwrap_or_default))
    });
    let failed = |error: &Error| {
        let own = [error.is_remote(), error.is_panic()];
        own.contains(&true)
    };
    match &done {
        Ok(value) => here.observe(args, Some(value)),
        Err(error) if failed(error) => here.observe(args, None),
        Err(_) => {}
    }
    done
}

/// Waits for a condition that is tested here; gives its encoded result.
pub(super) fn wait_until(
    state: &State,
    operation: &Operation<'_>,
    function: Shipped<ConditionSignature>,
    args: &[u8],
) -> Result<(Vec<u8>, Revision)> {
    let here = Here::begin(state, operation, function.name(), args)?;
    fed::wait_until(state, operation, |fed, view| {
        let returned = here.twice(|| {
            let view = view.namespace(view.namespace_name());
            let returned = caught(|| function.call((view, args)));
            (returned, (!fed.is_doomed()).then(Wrote::default))
        });
        here.told(returned)
    })
}

/// A function that is run here.
struct Here<'a> {
    state: &'a State,
    operation: &'a Operation<'a>,
    name: &'static str,
    value_bytes_max: usize,
    is_twice: bool,
}

impl<'a> Here<'a> {
    /// It is told of as much as the server is.
    fn begin(
        state: &'a State,
        operation: &'a Operation<'a>,
        name: &'static str,
        args: &[u8],
    ) -> Result<Here<'a>> {
        // Else nobody would know where a panic was.
        if cfg!(panic = "unwind") {
            panics::install(panics::Options {
                backtraces: true,
                print: false,
            });
        }
        let connection = state.context().connection();
        let here = Here {
            state,
            operation,
            name,
            value_bytes_max: connection.value_bytes_max(),
            is_twice: connection.runs_functions_twice(),
        };
        let named = within(
            "FUNCTION_NAME_BYTES_MAX",
            name.len(),
            FUNCTION_NAME_BYTES_MAX,
        );
        let fits = named.and_then(|()| here.fits(args));
        fits.map_err(|kind| Error::new(kind, operation))?;
        marks::reached(Mark::FunctionHere);
        Ok(here)
    }

    fn fits(&self, value: &[u8]) -> Result<(), Kind> {
        within("VALUE_BYTES_MAX", value.len(), self.value_bytes_max)
    }

    /// Runs it, and a second time where that is so: then it must do the same. Whoever runs it gives
    /// what it has written, unless it could not read all that it wanted.
    fn twice(&self, mut run: impl FnMut() -> (Returned, Option<Wrote>)) -> Returned {
        let (returned, wrote) = run();
        let Some(wrote) = wrote.filter(|_| self.is_twice) else {
            return returned;
        };
        let first = Ran { returned, wrote };
        let (returned, wrote) = run();
        let Some(wrote) = wrote else {
            return returned;
        };
        let second = Ran { returned, wrote };
        match first.difference(&second) {
            Some(what) if !planted::is(Bug::SecondRunHereOnFirst) => {
                marks::reached(Mark::RunsHereDiffer);
                Err(FunctionFailure::NotDeterministic(what))
            }
            _ => second.returned,
        }
    }

    /// What came of it, as the server would tell it.
    fn told(&self, returned: Returned) -> Result<Option<Vec<u8>>> {
        let kind = match returned {
            Ok(value) => match value.as_deref().map_or(Ok(()), |value| self.fits(value)) {
                Ok(()) => return Ok(value),
                Err(kind) => kind,
            },
            Err(failure) => Kind::from(failure.told(self.name)),
        };
        Err(Error::new(kind, self.operation))
    }

    /// Tells the witness of what came of an atomic function.
    fn observe(&self, args: &[u8], returned: Option<&[u8]>) {
        let ran = RanHere {
            namespace: self.state.namespace_name(),
            function: self.name,
            args,
            returned,
        };
        let port = self.state.context().connection().port();
        port.observe(Observation::Ran(ran));
    }
}

fn within(limit: &str, actual: usize, max: usize) -> Result<(), Kind> {
    if actual <= max {
        return Ok(());
    }
    Err(Kind::Limit {
        limit: limit.to_owned(),
        actual: actual as u64,
        max: max as u64,
    })
}

/// What the function gives; its panic is what it failed by, if panics can be caught.
fn caught(call: impl FnOnce() -> Returned) -> Returned {
    match cfg!(panic = "unwind") {
        true => panics::capture(call).map_err(FunctionFailure::Panic)?,
        false => call(),
    }
}

impl Run<'_> {
    /// Could it read all that it wanted?
    fn is_whole(&self) -> bool {
        !self.is_doomed() && self.unread().is_none()
    }
}
