//! From the server's own types to those of the wire.

use super::super::limits::{FAILURE_BYTES_MAX, FUNCTION_NAME_BYTES_MAX, Limits};
use super::super::message::{Failure, Fault, Finish, FunctionRef};
use super::super::planted::{self, Bug};
use super::super::setup::{Setup, Unfit};
use super::super::store::StoreError;
use super::{FaultText, FunctionFailure};

/// What a refused client of another version is told it has met.
pub(super) const SOFTWARE: &str = concat!("zproc ", env!("CARGO_PKG_VERSION"));

/// The protocol version in a frame that looks like a hello of whatever version: the first four
/// bytes are the message's tag, 0 for a process and 1 for a keeper, the next four the version. This
/// much must stay so for ever.
pub(super) fn version_of_hello(payload: &[u8]) -> Option<u32> {
    let (tag, rest) = payload.split_first_chunk::<4>()?;
    let (version, _) = rest.split_first_chunk::<4>()?;
    let hello = u32::from_le_bytes(*tag) <= 1 && !planted::is(Bug::LaterVersionIsGarbage);
    hello.then(|| u32::from_le_bytes(*version))
}

/// A text cut to `max` bytes, at a character.
pub(super) fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

fn fault(text: &FaultText) -> Fault<'_> {
    Fault {
        message: cut(&text.message, FAILURE_BYTES_MAX / 4),
        location: cut(&text.location, FAILURE_BYTES_MAX / 4),
        backtrace: cut(&text.backtrace, FAILURE_BYTES_MAX / 2),
    }
}

pub(super) fn function_failure<'a>(failure: &'a FunctionFailure, name: &'a str) -> Failure<'a> {
    match failure {
        FunctionFailure::Error(text) => Failure::Error(fault(text)),
        FunctionFailure::Panic(text) => Failure::Panic(fault(text)),
        FunctionFailure::Undecodable(text) => Failure::Undecodable(fault(text)),
        FunctionFailure::TooLarge { limit, actual, max } => Failure::Limit {
            limit,
            actual: *actual,
            max: *max,
        },
        FunctionFailure::Unknown => Failure::UnknownFunction { name },
        FunctionFailure::NotDeterministic(what) => Failure::NotDeterministic {
            name,
            what: cut(what, FAILURE_BYTES_MAX / 2),
        },
    }
}

pub(super) fn store_failure(error: &StoreError) -> Failure<'_> {
    match *error {
        StoreError::Limit { limit, actual, max } if planted::is(Bug::LimitToldBackwards) => {
            let (actual, max) = (max, actual);
            Failure::Limit { limit, actual, max }
        }
        StoreError::Limit { limit, actual, max } => Failure::Limit { limit, actual, max },
        StoreError::ReadOnly => Failure::ReadOnly,
        StoreError::Malformed(what) => Failure::Malformed { what },
        StoreError::NotInteger(ref found) => Failure::NotInteger { found },
        StoreError::Overflow => Failure::Overflow,
    }
}

pub(super) fn within(
    limit: &'static str,
    actual: usize,
    max: usize,
) -> Result<(), Failure<'static>> {
    if actual <= max {
        return Ok(());
    }
    Err(Failure::Limit {
        limit,
        actual: actual as u64,
        max: max as u64,
    })
}

/// A process's panic, cut to what fits a reply.
pub(super) fn bounded<'a>(fault: &Fault<'a>) -> Fault<'a> {
    Fault {
        message: cut(fault.message, FAILURE_BYTES_MAX / 2),
        location: cut(fault.location, FAILURE_BYTES_MAX / 4),
        backtrace: cut(fault.backtrace, FAILURE_BYTES_MAX / 2),
    }
}

/// What a process says of its own end, cut to what fits a reply together with what the keeper says.
/// Our own clients keep to these bounds; another's text must not become a frame that can't be built.
///
/// Only a value may go on in parts, of `rest_bytes`.
pub(super) fn last_words<'a>(
    finish: &Finish<'a>,
    rest_bytes: usize,
    limits: &Limits,
) -> Result<Finish<'a>, Failure<'static>> {
    let head_bytes = match finish {
        Finish::Value(value) | Finish::Error { value, .. } => value.len(),
        Finish::Panic(_) | Finish::Undecodable(_) | Finish::TooLarge { .. } if rest_bytes > 0 => {
            return Err(Failure::Malformed {
                what: "a panic does not go on in parts",
            });
        }
        Finish::Panic(_) | Finish::Undecodable(_) | Finish::TooLarge { .. } => 0,
    };
    rest(head_bytes, rest_bytes, limits)?;
    Ok(match finish {
        Finish::Value(value) => Finish::Value(result(value, limits)?),
        Finish::Error { value, text } => Finish::Error {
            value: result(value, limits)?,
            text: cut(text, FAILURE_BYTES_MAX),
        },
        Finish::Panic(fault) => Finish::Panic(bounded(fault)),
        Finish::Undecodable(fault) => Finish::Undecodable(bounded(fault)),
        Finish::TooLarge { limit, actual, max } => Finish::TooLarge {
            limit: cut(limit, FAILURE_BYTES_MAX / 4),
            actual: *actual,
            max: *max,
        },
    })
}

/// A function's result, if it is small enough to be sent.
pub(super) fn result<'a>(value: &'a [u8], limits: &Limits) -> Result<&'a [u8], Failure<'static>> {
    within("VALUE_BYTES_MAX", value.len(), limits.value_bytes_max)?;
    Ok(value)
}

/// The rest of an argument or a result, if it is not too large with what came before it.
pub(super) fn rest(head: usize, rest: usize, limits: &Limits) -> Result<(), Failure<'static>> {
    within("PAYLOAD_BYTES_MAX", head + rest, limits.payload_bytes_max)
}

/// A function and its argument, if they are small enough to be remembered.
pub(super) fn task(
    function: &FunctionRef<'_>,
    args: &[u8],
    limits: &Limits,
) -> Result<(), Failure<'static>> {
    let name_bytes = function.name.len();
    within(
        "FUNCTION_NAME_BYTES_MAX",
        name_bytes,
        FUNCTION_NAME_BYTES_MAX,
    )?;
    within("VALUE_BYTES_MAX", args.len(), limits.value_bytes_max)
}

/// How a process is to be started, if it can be.
pub(super) fn setup(setup: &Setup<'_>) -> Result<(), Failure<'static>> {
    setup.check().map_err(|unfit| match unfit {
        Unfit::Limit { limit, actual, max } => Failure::Limit {
            limit,
            actual: actual as u64,
            max: max as u64,
        },
        Unfit::Nonsense(what) => Failure::Setup { what },
    })
}
