//! Where two values that are not equal differ, in words.

use super::{Comparer, DEPTH_MAX, Digest, Head, Reader, ValueError, describe, equal, show};
use std::collections::BTreeMap;

/// So much of a key or a text is shown.
const SHOWN_CHARS_MAX: usize = 30;

/// The first place within two values where they are not the same, and what is in each: `at [2]["name"]
/// the string "a", and the second time the string "b"`. Nothing where [`describe`] tells them apart.
#[must_use]
pub fn difference(first: &[u8], second: &[u8]) -> Option<String> {
    let place = Place::default().within(first, second).ok()?;
    let tells = place.path.is_empty() && place.first != place.second;
    let Place {
        path,
        first,
        second,
    } = place;
    (!tells).then(|| format!("at {path} {first}, and the second time {second}"))
}

/// Where one is, and what is there in each.
#[derive(Default)]
struct Place {
    path: String,
    first: String,
    second: String,
}

impl Place {
    /// Looks into two that are not equal.
    fn within(self, first: &[u8], second: &[u8]) -> Result<Place, ValueError> {
        let (mut one, mut other) = (Reader { rest: first }, Reader { rest: second });
        let inner = match (one.head()?, other.head()?) {
            (Head::Array(count), Head::Array(others)) => {
                let both = count.min(others);
                in_arrays((&mut one, &mut other), both)?
            }
            (Head::Map(count), Head::Map(others)) => {
                in_maps(entries(&mut one, count)?, &entries(&mut other, others)?)
            }
            (Head::String(length), Head::String(others)) => {
                let (text, others) = (one.take(length)?, other.take(others)?);
                return Ok(self.in_texts(text, others));
            }
            (Head::Binary(length), Head::Binary(others)) => {
                return Ok(self.in_bytes(one.take(length)?, other.take(others)?));
            }
            _ => None,
        };
        match inner {
            Some((step, Some(first), Some(second))) => self.step(&step).within(first, second),
            Some((step, first, second)) => Ok(self.step(&step).with(told(first), told(second))),
            None => Ok(self.with(describe(first), describe(second))),
        }
    }

    fn step(mut self, step: &str) -> Place {
        self.path.push_str(step);
        self
    }

    fn with(self, first: String, second: String) -> Place {
        Place {
            first,
            second,
            ..self
        }
    }

    /// Short ones are told whole; of others what follows on that which is the same.
    fn in_texts(self, first: &[u8], second: &[u8]) -> Place {
        let (first, second) = (
            String::from_utf8_lossy(first),
            String::from_utf8_lossy(second),
        );
        let shown = |text: &str| {
            let start: String = text.chars().take(SHOWN_CHARS_MAX).collect();
            let dots = if start.len() < text.len() { "..." } else { "" };
            format!("the string {start:?}{dots}")
        };
        if first.len().max(second.len()) <= SHOWN_CHARS_MAX {
            return self.with(shown(&first), shown(&second));
        }
        let pairs = first.chars().zip(second.chars());
        let same = pairs.take_while(|(one, other)| one == other);
        let at = same.map(|(one, _)| one.len_utf8()).sum();
        self.step(&format!("[byte {at}..]"))
            .with(shown(&first[at..]), shown(&second[at..]))
    }

    fn in_bytes(self, first: &[u8], second: &[u8]) -> Place {
        if first.len() != second.len() {
            let told = |bytes: &[u8]| format!("{} bytes", bytes.len());
            return self.with(told(first), told(second));
        }
        let mut pairs = first.iter().zip(second);
        let at = pairs.position(|(one, other)| one != other).unwrap_or(0);
        let told = |bytes: &[u8]| {
            bytes
                .get(at)
                .map_or_else(String::new, |it| format!("the byte {it}"))
        };
        self.step(&format!("[byte {at}]"))
            .with(told(first), told(second))
    }
}

/// How one gets to what differs, and it in each, if it is there.
type Inner<'a> = Option<(String, Option<&'a [u8]>, Option<&'a [u8]>)>;

/// `None`: one begins as the other does, and so their lengths differ.
fn in_arrays<'a>(
    (one, other): (&mut Reader<'a>, &mut Reader<'a>),
    both: usize,
) -> Result<Inner<'a>, ValueError> {
    for index in 0..both {
        let (first, second) = (one.value()?, other.value()?);
        if !equal(first, second) {
            return Ok(Some((format!("[{index}]"), Some(first), Some(second))));
        }
    }
    Ok(None)
}

/// By what is the same for keys that are equal: key and value.
type Entries<'a> = BTreeMap<Digest, (&'a [u8], &'a [u8])>;

fn entries<'a>(reader: &mut Reader<'a>, count: usize) -> Result<Entries<'a>, ValueError> {
    let mut entries = Entries::new();
    let mut comparer = Comparer::new([0, 0], 0);
    for _ in 0..count {
        let (key, value) = (reader.value()?, reader.value()?);
        let digest = comparer.digest(key).ok_or(super::SHORT)?;
        entries.insert(digest, (key, value));
    }
    Ok(entries)
}

fn in_maps<'a>(first: Entries<'a>, second: &Entries<'a>) -> Inner<'a> {
    let of_first = first.iter().find_map(|(digest, (key, value))| {
        let other = second.get(digest).map(|(_, other)| *other);
        let same = other.is_some_and(|other| equal(value, other));
        (!same).then_some((*key, Some(*value), other))
    });
    let found = of_first.or_else(|| {
        let mut more = second
            .iter()
            .filter(|(digest, _)| !first.contains_key(digest));
        let (_, (key, value)) = more.next()?;
        Some((*key, None, Some(*value)))
    });
    found.map(|(key, first, second)| (format!("[{}]", show(key, SHOWN_CHARS_MAX)), first, second))
}

fn told(value: Option<&[u8]>) -> String {
    value.map_or_else(|| "nothing".to_owned(), describe)
}

impl<'a> Reader<'a> {
    /// The bytes of the next value.
    fn value(&mut self) -> Result<&'a [u8], ValueError> {
        let before = self.rest;
        self.skip(DEPTH_MAX)?;
        Ok(&before[..before.len() - self.rest.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Serialize;
    use std::collections::BTreeMap;

    fn told<T: Serialize, U: Serialize>(first: T, second: U) -> Option<String> {
        let encoded = |value: Result<Vec<u8>, _>| value.expect("it can be encoded");
        let first = encoded(rmp_serde::to_vec_named(&first));
        let second = encoded(rmp_serde::to_vec_named(&second));
        difference(&first, &second)
    }

    #[test]
    fn what_describes_itself_needs_no_more() {
        assert_eq!(told(1, 2), None);
        assert_eq!(told(1, "a"), None);
        assert_eq!(told("a", "b"), None);
        assert_eq!(told([1, 2], [1, 2].as_slice().repeat(2)), None);
        assert_eq!(difference(&[0xc1], &[0xc1]), None);
        assert_eq!(difference(&[0x92, 1], &[0x92, 1, 2]), None);
    }

    #[test]
    fn the_first_place_that_differs_is_named() {
        let cases = [
            (
                told([1, 2, 3], [1, 5, 4]),
                "at [1] the integer 2, and the second time the integer 5",
            ),
            (
                told(("a", [(1, "x")]), ("a", [(1, "y")])),
                r#"at [1][0][1] the string "x", and the second time the string "y""#,
            ),
            (
                told(
                    BTreeMap::from([("same", vec![0]), ("other", vec![1])]),
                    BTreeMap::from([("same", vec![0]), ("other", vec![2, 3])]),
                ),
                r#"at ["other"][0] the integer 1, and the second time the integer 2"#,
            ),
            (
                told(BTreeMap::from([("a", 1)]), BTreeMap::from([("b", 1)])),
                r#"at ["a"] the integer 1, and the second time nothing"#,
            ),
            (
                told(BTreeMap::from([(5, 1)]), BTreeMap::from([(5, 1), (7, 2)])),
                "at [7] nothing, and the second time the integer 2",
            ),
            (
                told("ä".repeat(40) + "one", "ä".repeat(40) + "two"),
                r#"at [byte 80..] the string "one", and the second time the string "two""#,
            ),
            (
                told("x".repeat(100), "x".repeat(50)),
                concat!(
                    r#"at [byte 50..] the string "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"..., "#,
                    r#"and the second time the string """#
                ),
            ),
            (
                told(
                    serde_bytes::Bytes::new(&[1, 2]),
                    serde_bytes::Bytes::new(&[1, 7]),
                ),
                "at [byte 1] the byte 2, and the second time the byte 7",
            ),
        ];
        for (told, words) in cases {
            assert_eq!(told.as_deref(), Some(words));
        }
    }

    /// A value may be as deep as the limit; each step down compares what is below it once.
    #[test]
    fn what_is_deep_is_found() {
        let nested = |last: u8| [vec![0x91; DEPTH_MAX - 1], vec![last]].concat();
        let told = difference(&nested(1), &nested(2)).expect("they differ");
        assert!(told.starts_with("at [0][0]"), "{told}");
        assert!(told.ends_with("the integer 1, and the second time the integer 2"));
    }
}
