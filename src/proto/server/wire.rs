//! From the server's own types to those of the wire.

use super::super::limits::FAILURE_BYTES_MAX;
use super::super::message::{Failure, Fault};
use super::super::store::StoreError;
use super::{FaultText, FunctionFailure};

/// What a refused client of another version is told it has met.
pub(super) const SOFTWARE: &str = concat!("zproc ", env!("CARGO_PKG_VERSION"));

/// The protocol version in a frame that looks like a hello of whatever version: the first four
/// bytes are the message's tag, 0, the next four the version. This much must stay so for ever.
pub(super) fn version_of_hello(payload: &[u8]) -> Option<u32> {
    let (tag, rest) = payload.split_first_chunk::<4>()?;
    let (version, _) = rest.split_first_chunk::<4>()?;
    (u32::from_le_bytes(*tag) == 0).then(|| u32::from_le_bytes(*version))
}

/// A text cut to `max` bytes, at a character.
fn cut(text: &str, max: usize) -> &str {
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
        FunctionFailure::Unknown => Failure::UnknownFunction { name },
    }
}

pub(super) fn store_failure(error: &StoreError) -> Failure<'static> {
    match *error {
        StoreError::Limit { limit, actual, max } => Failure::Limit { limit, actual, max },
        StoreError::ReadOnly => Failure::ReadOnly,
        StoreError::Malformed(what) => Failure::Malformed { what },
    }
}

/// A function's result, if it is small enough to be sent.
pub(super) fn result(value: &[u8]) -> Result<&[u8], Failure<'static>> {
    use super::super::limits::VALUE_BYTES_MAX;
    if value.len() <= VALUE_BYTES_MAX {
        return Ok(value);
    }
    Err(Failure::Limit {
        limit: "VALUE_BYTES_MAX",
        actual: value.len() as u64,
        max: VALUE_BYTES_MAX as u64,
    })
}
