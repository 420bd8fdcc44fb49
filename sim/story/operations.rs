//! How the operations of a batch read.

use super::words::{LISTED, optional, place, value};
use zproc::seam::proto::operations::{Operation, Span, Test, Told};

/// A batch, with its first operations.
pub(super) fn batch(namespace: &str, operations: &[Operation<'_>]) -> String {
    let listed = operations.iter().take(LISTED);
    let listed: Vec<String> = listed.map(|one| operation(namespace, one)).collect();
    format!("batch: {}{}", listed.join(", "), dots(operations.len()))
}

fn dots(count: usize) -> &'static str {
    if count > LISTED { ", ..." } else { "" }
}

fn operation(namespace: &str, operation: &Operation<'_>) -> String {
    let at = |key: &str| place(namespace, key);
    match *operation {
        Operation::Require { key, test } => format!("require {}", tested(&at(key), &test)),
        Operation::Get { key } => format!("get {}", at(key)),
        Operation::Set {
            key,
            value: bytes,
            owned,
        } => {
            let owned = if owned { " (owned)" } else { "" };
            format!("set {} = {}{owned}", at(key), value(bytes))
        }
        Operation::Remove { key } => format!("remove {}", at(key)),
        Operation::Take { key } => format!("take {}", at(key)),
        Operation::Add { key, by } => format!("add {by} to {}", at(key)),
        Operation::Pop { prefix, last } => {
            let end = if last { "last" } else { "first" };
            format!("pop the {end} of {}", at(&format!("{prefix}*")))
        }
        Operation::Clear => format!("clear {namespace}"),
    }
}

/// What is asked of the key at this place.
pub(super) fn tested(place: &str, test: &Test<'_>) -> String {
    match test {
        Test::Absent => format!("{place} is absent"),
        Test::Present => format!("{place} is there"),
        Test::Equal(bytes) => format!("{place} = {}", value(bytes)),
        Test::NotEqual(bytes) => format!("{place} is not {}", value(bytes)),
        Test::Truthy => format!("{place} is truthy"),
        Test::Falsy => format!("{place} is falsy"),
        Test::Nil => format!("{place} is nil or absent"),
        Test::NotNil => format!("{place} is there and not nil"),
        Test::Revision(revision) => format!("{place} is of revision {}", revision.0),
    }
}

/// What the operations of a batch are told.
pub(super) fn all_told(told: &[Told<'_>]) -> String {
    let listed = told.iter().take(LISTED).map(|told| match told {
        Told::Done => "done".to_owned(),
        Told::Nothing => optional(None),
        Told::Value { value: bytes, .. } => value(bytes),
        Told::Entry { key, value: bytes } => format!("{key}: {}", value(bytes)),
        Told::Number(number) => number.to_string(),
    });
    let listed: Vec<String> = listed.collect();
    format!("[{}{}]", listed.join(", "), dots(told.len()))
}

/// The keys of a span.
pub(super) fn spanned(span: &Span<'_>) -> String {
    let from = match span.from {
        "" => String::new(),
        from => format!(" from {from}"),
    };
    let until = span.until.map(|until| format!(" before {until}"));
    format!("{}*{from}{}", span.prefix, until.unwrap_or_default())
}
