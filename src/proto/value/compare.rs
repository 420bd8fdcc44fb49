//! Are two values equal? Numbers are compared by value, maps whatever their order.
//!
//! By a digest that is the same for equal values: so each is gone over once, however many it is compared with.
//! It is keyed (SipHash-1-3 of 128 bits, Aumasson and Bernstein 2012) with what only one server knows:
//! nobody can look for two values that share one.

use super::{Head, Reader, ValueError};
use crate::proto::limits::DEPTH_MAX;
use crate::proto::planted::{self, Bug};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::collections::BTreeMap;
use std::hash::Hasher;
use std::sync::Arc;

/// What a digest that is kept costs besides its value, roughly.
const KNOWN_OVERHEAD_BYTES: usize = 160;

/// The same for equal values, and for no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest(u128);

/// Compares values for one server.
#[derive(Debug)]
pub struct Comparer {
    secret: [u64; 2],
    /// Digests of values of the state, by the place of each in memory, which it keeps.
    known: BTreeMap<usize, (Arc<[u8]>, Option<Digest>)>,
    known_bytes: usize,
    known_bytes_max: usize,
    gone_over: usize,
}

/// A value of the state.
#[derive(Debug, Clone, Copy)]
pub struct There<'a> {
    /// Its bytes.
    pub value: &'a [u8],
    /// The same, if the state shares it: then it can be known again.
    pub shared: Option<&'a Arc<[u8]>>,
}

impl Comparer {
    /// One with this key, that keeps the digests of so many bytes of values.
    #[must_use]
    pub fn new(secret: [u64; 2], known_bytes_max: usize) -> Comparer {
        Comparer {
            secret,
            known: BTreeMap::new(),
            known_bytes: 0,
            known_bytes_max,
            gone_over: 0,
        }
    }

    /// Of how many bytes digests were made, in all.
    #[must_use]
    pub fn gone_over(&self) -> usize {
        self.gone_over
    }

    /// The digest of a value; `None`: it is malformed, and equal to the same bytes only.
    pub fn digest(&mut self, value: &[u8]) -> Option<Digest> {
        self.gone_over = self.gone_over.wrapping_add(value.len());
        let mut hasher = self.hasher();
        let mut reader = Reader { rest: value };
        self.feed(&mut reader, &mut hasher, DEPTH_MAX).ok()?;
        (reader.rest.is_empty()).then(|| Digest(hasher.finish128().as_u128()))
    }

    /// Is this value of the state equal to that one, whose digest is this? Of each value that the state
    /// shares, which are the large ones, one digest is made, as long as there is room to keep it.
    pub fn is_equal(&mut self, there: There<'_>, wanted: &[u8], digest: Option<Digest>) -> bool {
        if *there.value == *wanted {
            return true;
        }
        may_be_equal(there.value, wanted) && digest.is_some() && self.digest_of(there) == digest
    }

    fn digest_of(&mut self, There { value, shared }: There<'_>) -> Option<Digest> {
        if planted::is(Bug::DigestOfSameLength) {
            let mut known = self.known.values();
            let same = known.find(|(known, _)| known.len() == value.len());
            if let Some((_, digest)) = same {
                return *digest;
            }
        }
        let kept = match shared {
            Some(shared) => shared.clone(),
            None if planted::is(Bug::DigestOfSameLength) => Arc::from(value),
            None => return self.digest(value),
        };
        let place = kept.as_ptr() as usize;
        if let Some((_, digest)) = self.known.get(&place) {
            return *digest;
        }
        let digest = self.digest(value);
        let bytes = value.len() + KNOWN_OVERHEAD_BYTES;
        if self.known_bytes + bytes > self.known_bytes_max {
            self.known.clear();
            self.known_bytes = 0;
        }
        self.known_bytes += bytes;
        self.known.insert(place, (kept, digest));
        digest
    }

    /// Are these equal? So many bytes may be gone over, and what it took is taken off; `None`: it is not
    /// known, and no work is left.
    pub fn equal_within(&mut self, left: &[u8], right: &[u8], work: &mut usize) -> Option<bool> {
        if left == right {
            return Some(true);
        }
        if !may_be_equal(left, right) {
            return Some(false);
        }
        *work = work.checked_sub(left.len() + right.len())?;
        let left = self.digest(left);
        Some(left.is_some() && left == self.digest(right))
    }

    fn hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.secret[0], self.secret[1])
    }

    /// What a value is, in a form that is the same for equal ones; a map by the digests of its entries.
    fn feed(
        &self,
        reader: &mut Reader<'_>,
        hasher: &mut SipHasher13,
        depth: usize,
    ) -> Result<(), ValueError> {
        let deeper = depth.checked_sub(1).ok_or(ValueError::TooDeep);
        let payload = |hasher: &mut SipHasher13, tag: u8, bytes: &[u8]| {
            hasher.write(&[tag]);
            hasher.write(&(bytes.len() as u64).to_be_bytes());
            hasher.write(bytes);
        };
        match reader.head()? {
            Head::Nil => hasher.write(b"n"),
            Head::Bool(value) => hasher.write(&[b'b', u8::from(value)]),
            Head::Int(value) => payload(hasher, b'i', &value.to_be_bytes()),
            Head::Float(value) => payload(hasher, b'f', &float(value)),
            Head::String(length) => payload(hasher, b's', reader.take(length)?),
            Head::Binary(length) => payload(hasher, b'x', reader.take(length)?),
            Head::Extension(kind, length) => {
                hasher.write(&[b'e', kind.to_be_bytes()[0]]);
                payload(hasher, b'x', reader.take(length)?);
            }
            Head::Array(count) => {
                payload(hasher, b'a', &(count as u64).to_be_bytes());
                for _ in 0..count {
                    self.feed(reader, hasher, deeper.clone()?)?;
                }
            }
            Head::Map(count) => {
                payload(hasher, b'm', &(count as u64).to_be_bytes());
                // A claimed count of billions ends with the bytes.
                let mut entries = Vec::with_capacity(count.min(reader.rest.len() / 2));
                for _ in 0..count {
                    let mut entry = self.hasher();
                    self.feed(reader, &mut entry, deeper.clone()?)?;
                    self.feed(reader, &mut entry, deeper.clone()?)?;
                    entries.push(entry.finish128().as_u128());
                }
                if !planted::is(Bug::OrderOfMapCounts) {
                    entries.sort_unstable();
                }
                for entry in entries {
                    hasher.write(&entry.to_be_bytes());
                }
            }
        }
        Ok(())
    }
}

/// Do both hold the same value? For one look at values that nobody makes to be confused.
#[must_use]
pub fn equal(left: &[u8], right: &[u8]) -> bool {
    Comparer::new([0, 0], 0).equal_within(left, right, &mut usize::MAX.clone()) == Some(true)
}

/// False: their first bytes say that they are not.
fn may_be_equal(left: &[u8], right: &[u8]) -> bool {
    let head = |bytes| Reader { rest: bytes }.head();
    match (head(left), head(right)) {
        (Ok(Head::Float(one)), Ok(Head::Float(other))) => float(one) == float(other),
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// Zero has two forms that are equal; everything else is equal to itself only.
fn float(value: f64) -> [u8; 8] {
    let zero = value == 0.0 && !planted::is(Bug::SignOfZeroCounts);
    if zero { 0.0_f64 } else { value }.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(value: &Arc<[u8]>) -> There<'_> {
        There {
            value,
            shared: Some(value),
        }
    }
    use crate::proto::value::check;
    use proptest::prelude::*;

    fn comparer() -> Comparer {
        Comparer::new([1, 2], 20 * (5 + KNOWN_OVERHEAD_BYTES))
    }

    fn map(entries: &[(u8, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0x80 | entries.len() as u8];
        for (key, value) in entries {
            bytes.push(*key);
            bytes.extend_from_slice(value);
        }
        bytes
    }

    #[test]
    fn same_bytes_and_other_kinds_take_no_work() {
        let large = [&[0xc6, 0, 1, 0, 0][..], &[7; 65536]].concat();
        let small = map(&[(1, &[2])]);
        for (left, right, are_equal) in [
            (&large, &small, false),
            (&small, &small, true),
            (&vec![1], &vec![2], false),
            (&map(&[]), &small, false),
        ] {
            let told = comparer().equal_within(left, right, &mut 0);
            assert_eq!(told, Some(are_equal));
        }
    }

    /// Whatever is in them, and however deep, both are gone over once.
    #[test]
    fn other_orders_take_as_much_work_as_there_are_bytes() {
        let left = map(&[(1, &map(&[(3, &[1]), (4, &[2])])), (2, &[9])]);
        let right = map(&[(2, &[9]), (1, &map(&[(4, &[2]), (3, &[1])]))]);
        let other = map(&[(2, &[8]), (1, &map(&[(4, &[2]), (3, &[1])]))]);
        let bytes = left.len() + right.len();
        for (right, are_equal) in [(&right, true), (&other, false)] {
            let mut comparer = comparer();
            let told = comparer.equal_within(&left, right, &mut bytes.clone());
            assert_eq!(told, Some(are_equal));
            assert_eq!(comparer.gone_over(), bytes);
            assert_eq!(comparer.equal_within(&left, right, &mut (bytes - 1)), None);
            assert_eq!(comparer.gone_over(), bytes);
        }
    }

    #[test]
    fn a_value_of_the_state_is_gone_over_once_while_there_is_room_to_keep_its_digest() {
        let mut comparer = comparer();
        let value = |number: u8| -> Arc<[u8]> { map(&[(1, &[number; 1]), (2, &[7])]).into() };
        let turned = map(&[(2, &[7]), (1, &[5])]);
        let digest = comparer.digest(&turned);
        let (there, other) = (value(5), value(6));
        let before = comparer.gone_over();
        for _ in 0..9 {
            assert!(comparer.is_equal(shared(&there), &turned, digest));
            assert!(!comparer.is_equal(shared(&other), &turned, digest));
        }
        assert_eq!(comparer.gone_over() - before, there.len() + other.len());
        // Twenty of five bytes are kept: one more is, in the place of all of them.
        let many: Vec<_> = (0..19).map(|_| value(5)).collect();
        for there in &many {
            assert!(comparer.is_equal(shared(there), &turned, digest));
        }
        assert_eq!(comparer.known.len(), 1);
    }

    #[test]
    fn malformed_bytes_equal_nothing_but_the_same_bytes() {
        let mut comparer = comparer();
        for bytes in [&[0x81, 1][..], &[0xdf, 255, 255, 255, 255, 1, 2], &[1, 2]] {
            assert_eq!(comparer.digest(bytes), None);
            let longer = [bytes, &[0xc1]].concat();
            let mut work = usize::MAX;
            assert_eq!(comparer.equal_within(bytes, bytes, &mut work), Some(true));
            let told = comparer.equal_within(bytes, &longer, &mut work);
            assert_eq!(told, Some(false));
        }
        let deep = |depth: usize| [vec![0x91; depth], vec![1]].concat();
        for (depth, fits) in [(DEPTH_MAX, true), (DEPTH_MAX + 1, false)] {
            assert_eq!(comparer.digest(&deep(depth)).is_some(), fits);
        }
        assert!(check(&deep(DEPTH_MAX + 1)).is_err());
    }

    /// The bytes in a form that is the same for equal values: numbers by value, maps by sorted entries.
    fn canonical(reader: &mut Reader<'_>) -> Vec<u8> {
        let head = reader.head().expect("it is well formed");
        let mut out = format!("{head:?}").into_bytes();
        match head {
            Head::Float(value) => out = [&b"f"[..], &float(value)].concat(),
            Head::String(length) | Head::Binary(length) | Head::Extension(_, length) => {
                out.extend(reader.take(length).expect("it is well formed"));
            }
            Head::Array(count) => (0..count).for_each(|_| out.extend(canonical(reader))),
            Head::Map(count) => {
                let entry = |_| [canonical(reader), canonical(reader)].concat();
                let mut entries: Vec<_> = (0..count).map(entry).collect();
                entries.sort_unstable();
                out.extend(entries.concat());
            }
            Head::Nil | Head::Bool(_) | Head::Int(_) => {}
        }
        out
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
            let form = |bytes: &[u8]| canonical(&mut Reader { rest: bytes });
            let mut comparer = comparer();
            let told = comparer.equal_within(&left, &right, &mut usize::MAX.clone());
            prop_assert_eq!(told, Some(form(&left) == form(&right)));
        }
    }
}
