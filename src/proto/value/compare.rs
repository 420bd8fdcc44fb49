//! Are two values equal? Numbers are compared by value, maps whatever their order.

use super::{Head, Reader, ValueError, check};
use crate::proto::planted::{self, Bug};

/// Do both hold the same value? Malformed bytes equal nothing but the same bytes.
#[must_use]
pub fn equal(left: &[u8], right: &[u8]) -> bool {
    equal_within(left, right, &mut usize::MAX.clone()) == Some(true)
}

/// As [`equal`], where only so many bytes may be gone over or moved beyond one walk of the shorter
/// of both; what it took is taken off. `None`: it is not known yet, and no work is left.
///
/// Most are settled by that walk. Only maps of as many entries, in another order or with other
/// contents, need more: first a sum that is the same for equal ones, and then their sorted form.
#[must_use]
pub fn equal_within(left: &[u8], right: &[u8], work: &mut usize) -> Option<bool> {
    if left == right {
        return Some(true);
    }
    let (mut one, mut other) = (Reader { rest: left }, Reader { rest: right });
    match walk(&mut one, &mut other) {
        Ok(Walked::Equal) if one.rest.is_empty() && other.rest.is_empty() => return Some(true),
        Ok(Walked::Equal | Walked::Unequal) | Err(_) => return Some(false),
        Ok(Walked::Unsettled) => {}
    }
    *work = work.checked_sub(left.len() + right.len())?;
    if check(left).is_err() || check(right).is_err() {
        return Some(false);
    }
    if sum(&mut Reader { rest: left }) != sum(&mut Reader { rest: right }) {
        return Some(false);
    }
    let (mut left_form, mut right_form) = (Vec::new(), Vec::new());
    let left = canonical_one(&mut Reader { rest: left }, &mut left_form, work);
    let right =
        left.and_then(|()| canonical_one(&mut Reader { rest: right }, &mut right_form, work));
    match right {
        Ok(()) => Some(left_form == right_form),
        Err(Stopped::NoWorkLeft) => None,
        Err(Stopped::Malformed) => Some(false),
    }
}

enum Walked {
    Equal,
    Unequal,
    /// Two maps of as many entries.
    Unsettled,
}

/// Compares two values from their beginnings, as far as that goes without sorting.
fn walk(left: &mut Reader<'_>, right: &mut Reader<'_>) -> Result<Walked, ValueError> {
    let (children, is_map) = match (left.head()?, right.head()?) {
        (Head::Float(one), Head::Float(other)) => {
            return Ok(settled(float(one) == float(other)));
        }
        (Head::String(one), Head::String(other)) | (Head::Binary(one), Head::Binary(other)) => {
            return Ok(settled(
                one == other && left.take(one)? == right.take(other)?,
            ));
        }
        (Head::Extension(kind, one), Head::Extension(other_kind, other)) => {
            let same = (kind, one) == (other_kind, other);
            return Ok(settled(same && left.take(one)? == right.take(other)?));
        }
        (Head::Array(one), Head::Array(other)) if one == other => (one, false),
        (Head::Map(one), Head::Map(other)) if one == other => (one.saturating_mul(2), true),
        (one, other) => return Ok(settled(one == other)),
    };
    // Depth was checked when each came; a claimed count of billions ends with the bytes.
    for _ in 0..children {
        match walk(left, right)? {
            Walked::Equal => {}
            Walked::Unequal if is_map => return Ok(Walked::Unsettled),
            other => return Ok(other),
        }
    }
    Ok(Walked::Equal)
}

fn settled(equal: bool) -> Walked {
    if equal {
        Walked::Equal
    } else {
        Walked::Unequal
    }
}

/// Zero has two forms that are equal; everything else is equal to itself only.
fn float(value: f64) -> [u8; 8] {
    let zero = value == 0.0 && !planted::is(Bug::SignOfZeroCounts);
    if zero { 0.0_f64 } else { value }.to_be_bytes()
}

/// A number that is the same for equal values, and hardly ever for others (FNV-1a for texts; entries
/// of a map are added, so that their order does not matter). `None`: malformed.
fn sum(reader: &mut Reader<'_>) -> Option<u64> {
    let head = reader.head().ok()?;
    let many = |reader: &mut Reader<'_>, tag: u8, count: usize| {
        let mut all = mixed(tag.into(), count as u64);
        for _ in 0..count {
            all = mixed(all, sum(reader)?);
        }
        Some(all)
    };
    Some(match head {
        Head::Nil => 1,
        Head::Bool(value) => mixed(2, u64::from(value)),
        // Both halves: an integer may be any `i64` or `u64`.
        Head::Int(value) => mixed(mixed(3, value as u64), (value >> 64) as u64),
        Head::Float(value) => mixed(4, u64::from_be_bytes(float(value))),
        Head::String(length) => bytes(5, reader.take(length).ok()?),
        Head::Binary(length) => bytes(6, reader.take(length).ok()?),
        Head::Extension(kind, length) => mixed(kind as u64, bytes(7, reader.take(length).ok()?)),
        Head::Array(count) => many(reader, 8, count)?,
        Head::Map(count) => {
            let mut all = count as u64;
            for _ in 0..count {
                let key = sum(reader)?;
                let entry = mixed(key, sum(reader)?);
                all = match planted::is(Bug::EntriesSummedInOrder) {
                    true => mixed(all, entry),
                    false => all.wrapping_add(entry),
                };
            }
            mixed(9, all)
        }
    })
}

fn mixed(one: u64, other: u64) -> u64 {
    let word = (one.rotate_left(23) ^ other).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word ^ (word >> 29)
}

fn bytes(tag: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(mixed(tag, 0), |all, byte| {
        (all ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The bytes in a form that is the same for equal values: numbers by value, maps by sorted keys.
///
/// # Errors
/// When the bytes are not one whole value within the limits.
pub fn canonical(bytes: &[u8]) -> Result<Vec<u8>, ValueError> {
    check(bytes)?;
    let mut out = Vec::with_capacity(bytes.len() + 16);
    let done = canonical_one(
        &mut Reader { rest: bytes },
        &mut out,
        &mut usize::MAX.clone(),
    );
    done.map_err(|_| ValueError::Malformed("it ends too early"))?;
    Ok(out)
}

/// Why there is no canonical form.
enum Stopped {
    Malformed,
    NoWorkLeft,
}

impl From<ValueError> for Stopped {
    fn from(_: ValueError) -> Stopped {
        Stopped::Malformed
    }
}

fn canonical_one(
    reader: &mut Reader<'_>,
    out: &mut Vec<u8>,
    work: &mut usize,
) -> Result<(), Stopped> {
    let payload = |out: &mut Vec<u8>, tag: u8, bytes: &[u8]| {
        out.push(tag);
        out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        out.extend_from_slice(bytes);
    };
    let begin = out.len();
    match reader.head()? {
        Head::Nil => out.push(b'n'),
        Head::Bool(value) => out.extend_from_slice(&[b'b', u8::from(value)]),
        Head::Int(value) => {
            out.push(b'i');
            out.extend_from_slice(&value.to_be_bytes());
        }
        Head::Float(value) => {
            out.push(b'f');
            out.extend_from_slice(&float(value));
        }
        Head::String(length) => payload(out, b's', reader.take(length)?),
        Head::Binary(length) => payload(out, b'x', reader.take(length)?),
        Head::Extension(kind, length) => {
            out.extend_from_slice(&[b'e', kind.to_be_bytes()[0]]);
            payload(out, b'x', reader.take(length)?);
        }
        Head::Array(count) => {
            out.push(b'a');
            out.extend_from_slice(&(count as u64).to_be_bytes());
            for _ in 0..count {
                canonical_one(reader, out, work)?;
            }
        }
        Head::Map(count) => {
            out.push(b'm');
            out.extend_from_slice(&(count as u64).to_be_bytes());
            let first = out.len();
            let mut ends = Vec::with_capacity(count);
            for _ in 0..count {
                canonical_one(reader, out, work)?;
                canonical_one(reader, out, work)?;
                ends.push(out.len());
            }
            sort_entries(out, first, &ends);
        }
    }
    // What is written here, that of maps once for each map that it is in.
    let written = out.len() - begin;
    *work = work.checked_sub(written).ok_or(Stopped::NoWorkLeft)?;
    Ok(())
}

/// Sorts the entries that lie behind `first` and end at `ends`.
fn sort_entries(out: &mut Vec<u8>, first: usize, ends: &[usize]) {
    let begins = std::iter::once(first).chain(ends.iter().copied());
    let mut entries: Vec<&[u8]> = begins.zip(ends).map(|(from, to)| &out[from..*to]).collect();
    if entries.is_sorted() || planted::is(Bug::OrderOfMapCounts) {
        return;
    }
    entries.sort_unstable();
    let sorted = entries.concat();
    out.truncate(first);
    out.extend_from_slice(&sorted);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(entries: &[(u8, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0x80 | entries.len() as u8];
        for (key, value) in entries {
            bytes.push(*key);
            bytes.extend_from_slice(value);
        }
        bytes
    }

    #[test]
    fn most_are_settled_without_work() {
        let large = [&[0xc6, 0, 1, 0, 0][..], &[7; 65536]].concat();
        let small = map(&[(1, &[2])]);
        let same = map(&[(1, &[0xcc, 2])]);
        for (left, right, are_equal) in [
            (&large, &small, false),
            (&small, &same, true),
            (&vec![1], &vec![0xd0, 1], true),
            (&map(&[]), &small, false),
        ] {
            assert_eq!(equal_within(left, right, &mut 0), Some(are_equal));
        }
    }

    /// Another order is work, which is counted, and other contents too, but less.
    #[test]
    fn other_orders_take_work_and_no_more_than_there_is() {
        let left = map(&[(1, &map(&[(3, &[1]), (4, &[2])])), (2, &[9])]);
        let right = map(&[(2, &[9]), (1, &map(&[(4, &[2]), (3, &[1])]))]);
        let mut work = 10_000;
        assert_eq!(equal_within(&left, &right, &mut work), Some(true));
        let took = 10_000 - work;
        assert!(took > left.len() + right.len() && took < 1000, "{took}");
        assert_eq!(equal_within(&left, &right, &mut took.clone()), Some(true));
        assert_eq!(equal_within(&left, &right, &mut (took - 1)), None);
        let other = map(&[(2, &[8]), (1, &map(&[(4, &[2]), (3, &[1])]))]);
        let sums = left.len() + other.len();
        assert_eq!(equal_within(&left, &other, &mut sums.clone()), Some(false));
        assert_eq!(equal_within(&left, &other, &mut (sums - 1)), None);
    }

    /// Small values of which many are equal in another form.
    fn some_value() -> impl Strategy<Value = Vec<u8>> {
        let leaf = prop_oneof![
            Just(vec![1]),
            Just(vec![0xcc, 1]),
            Just(vec![0xca, 0, 0, 0, 0]),
            Just(vec![0xcb, 0x80, 0, 0, 0, 0, 0, 0, 0]),
            Just(vec![0xa1, b'x']),
            Just(vec![0xd9, 1, b'x']),
            Just(vec![0xc4, 1, b'x']),
            Just(vec![0xc0]),
            Just(vec![0xd4, 5, 1]),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            let many = prop::collection::vec(inner, 0..4);
            (any::<bool>(), many).prop_map(|(is_map, mut children)| {
                let count = if is_map {
                    children.len() / 2
                } else {
                    children.len()
                };
                children.truncate(if is_map { 2 * count } else { count });
                let marker = if is_map { 0x80 } else { 0x90 } | count as u8;
                std::iter::once(vec![marker])
                    .chain(children)
                    .flatten()
                    .collect()
            })
        })
    }

    proptest! {
        #[test]
        fn equal_if_and_only_if_the_canonical_forms_are(left in some_value(), right in some_value()) {
            let forms = canonical(&left).unwrap() == canonical(&right).unwrap();
            prop_assert_eq!(equal(&left, &right), forms);
            let sums = sum(&mut Reader { rest: &left }) == sum(&mut Reader { rest: &right });
            prop_assert!(sums || !forms, "equal ones have equal sums");
        }
    }
}
