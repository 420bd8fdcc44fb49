//! How the operations of a batch read.

use super::words::{LISTED, optional, place, short_name, value};
use zproc::seam::proto::ids::Revision;
use zproc::seam::proto::operations::{Leased, Operation, Part, Read, Span, Test, Told};

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

/// What a transaction wants to commit.
pub(super) fn commit(function: &str, at: Revision, parts: &[Part<'_>]) -> String {
    let mut all: Vec<String> = Vec::new();
    for part in parts {
        all.extend(part.reads.iter().map(|read| match read {
            Read::Key(key) => format!("read {}", place(part.namespace, key)),
            Read::Span(span) => format!("read {}", place(part.namespace, &spanned(span))),
        }));
        let writes = part.writes.iter();
        all.extend(writes.map(|write| operation(part.namespace, write)));
    }
    let count = all.len();
    all.truncate(LISTED);
    let (name, at) = (short_name(function), at.0);
    format!(
        "commit {name} of revision {at}: {}{}",
        all.join(", "),
        dots(count)
    )
}

/// What a lease is to be on.
pub(super) fn lease(on: &[Leased<'_>]) -> String {
    let named = |(namespace, key): &Leased<'_>| place(namespace, key.unwrap_or("*"));
    let listed: Vec<String> = on.iter().take(LISTED).map(named).collect();
    format!("lease on {}{}", listed.join(", "), dots(on.len()))
}
