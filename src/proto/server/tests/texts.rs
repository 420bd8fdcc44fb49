//! Texts of others are cut to what fits a frame, values and names are refused.

use super::*;
use crate::proto::limits::{FAILURE_BYTES_MAX, FUNCTION_NAME_BYTES_MAX};
use crate::proto::message::Fault;
use crate::proto::server::wire;

fn lengths(fault: &Fault<'_>) -> [usize; 3] {
    [fault.message, fault.location, fault.backtrace].map(str::len)
}

#[test]
fn what_a_function_says_of_its_failure_is_cut() {
    let long = "x".repeat(2 * FAILURE_BYTES_MAX);
    let text = |text: &str| FaultText {
        message: text.to_owned(),
        location: text.to_owned(),
        backtrace: text.to_owned(),
    };
    let told = |words: &str| {
        let failure = FunctionFailure::Panic(text(words));
        match wire::function_failure(&failure, "f") {
            Failure::Panic(fault) => lengths(&fault),
            other => panic!("no panic: {other:?}"),
        }
    };
    let quarter = FAILURE_BYTES_MAX / 4;
    assert_eq!(told(&long), [quarter, quarter, 2 * quarter]);
    assert_eq!(told("short"), [5; 3]);
    // Three bytes each: no part of a character is left.
    assert_eq!(told(&"\u{2713}".repeat(quarter))[0], quarter / 3 * 3);
}

#[test]
fn last_words_are_cut_and_too_large_a_result_is_refused() {
    let long = "x".repeat(4 * FAILURE_BYTES_MAX);
    let fault = Fault {
        message: &long,
        location: &long,
        backtrace: &long,
    };
    let limits = Limits::USUAL;
    let half = FAILURE_BYTES_MAX / 2;
    for finish in [Finish::Panic(fault), Finish::Undecodable(fault)] {
        match wire::last_words(&finish, 0, &limits) {
            Ok(Finish::Panic(fault) | Finish::Undecodable(fault)) => {
                assert_eq!(lengths(&fault), [half, half / 2, half]);
            }
            other => panic!("another end: {other:?}"),
        }
    }
    let error = Finish::Error {
        value: &[1],
        text: &long,
    };
    let cut = Finish::Error {
        value: &[1],
        text: &long[..FAILURE_BYTES_MAX],
    };
    assert_eq!(wire::last_words(&error, 0, &limits), Ok(cut));
    let value = vec![0; limits.value_bytes_max + 1];
    let too_large = Failure::Limit {
        limit: "VALUE_BYTES_MAX",
        actual: value.len() as u64,
        max: limits.value_bytes_max as u64,
    };
    let told = wire::last_words(&Finish::Value(&value), 0, &limits);
    assert_eq!(told, Err(too_large));
    assert!(wire::last_words(&Finish::Value(&value[1..]), 0, &limits).is_ok());
}

#[test]
fn the_name_of_a_function_at_and_over_its_limit() {
    let task = |bytes: usize| {
        let name = "f".repeat(bytes);
        let function = FunctionRef {
            offset: 1,
            name: &name,
        };
        wire::task(&function, &[], &Limits::USUAL)
    };
    assert_eq!(task(FUNCTION_NAME_BYTES_MAX), Ok(()));
    let too_long = Failure::Limit {
        limit: "FUNCTION_NAME_BYTES_MAX",
        actual: FUNCTION_NAME_BYTES_MAX as u64 + 1,
        max: FUNCTION_NAME_BYTES_MAX as u64,
    };
    assert_eq!(task(FUNCTION_NAME_BYTES_MAX + 1), Err(too_long));
}
