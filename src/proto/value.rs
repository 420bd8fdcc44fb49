//! Values: MessagePack, opaque to the wire, but checked, compared and described here.
//!
//! Format: <https://github.com/msgpack/msgpack/blob/master/spec.md>.

mod compare;
mod difference;

pub use compare::{Comparer, Digest, There, equal};
pub use difference::difference;

use super::limits::{DEPTH_MAX, VALUE_BYTES_MAX};
use super::planted::{self, Bug};

/// Why bytes are not a value that may be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueError {
    /// Not one whole MessagePack value.
    Malformed(&'static str),
    /// Nested deeper than [`DEPTH_MAX`].
    TooDeep,
    /// Longer than [`VALUE_BYTES_MAX`].
    TooLarge(usize),
}

/// The first bytes of a value: what it is, before its contents.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Head {
    Nil,
    Bool(bool),
    Int(i128),
    Float(f64),
    String(usize),
    Binary(usize),
    /// Type and length.
    Extension(i8, usize),
    Array(usize),
    Map(usize),
}

/// A cursor over bytes that gives heads and payloads.
#[derive(Debug, Clone, Copy)]
struct Reader<'a> {
    rest: &'a [u8],
}

const SHORT: ValueError = ValueError::Malformed("it ends too early");

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], ValueError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(SHORT)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ValueError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(SHORT)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn length_8(&mut self) -> Result<usize, ValueError> {
        Ok(usize::from(u8::from_be_bytes(self.array()?)))
    }

    fn length_16(&mut self) -> Result<usize, ValueError> {
        Ok(usize::from(u16::from_be_bytes(self.array()?)))
    }

    fn length_32(&mut self) -> Result<usize, ValueError> {
        Ok(u32::from_be_bytes(self.array()?) as usize)
    }

    fn extension(&mut self, length: usize) -> Result<Head, ValueError> {
        Ok(Head::Extension(i8::from_be_bytes(self.array()?), length))
    }

    fn head(&mut self) -> Result<Head, ValueError> {
        let [marker] = self.array()?;
        Ok(match marker {
            0x00..=0x7f => Head::Int(i128::from(marker)),
            0x80..=0x8f => Head::Map(usize::from(marker & 0x0f)),
            0x90..=0x9f => Head::Array(usize::from(marker & 0x0f)),
            0xa0..=0xbf => Head::String(usize::from(marker & 0x1f)),
            0xc0 => Head::Nil,
            0xc1 => return Err(ValueError::Malformed("the marker 0xc1 is never used")),
            0xc2 => Head::Bool(false),
            0xc3 => Head::Bool(true),
            0xc4 => Head::Binary(self.length_8()?),
            0xc5 => Head::Binary(self.length_16()?),
            0xc6 => Head::Binary(self.length_32()?),
            0xc7 => {
                let length = self.length_8()?;
                self.extension(length)?
            }
            0xc8 => {
                let length = self.length_16()?;
                self.extension(length)?
            }
            0xc9 => {
                let length = self.length_32()?;
                self.extension(length)?
            }
            0xca => Head::Float(f64::from(f32::from_be_bytes(self.array()?))),
            0xcb => Head::Float(f64::from_be_bytes(self.array()?)),
            0xcc => Head::Int(i128::from(u8::from_be_bytes(self.array()?))),
            0xcd => Head::Int(i128::from(u16::from_be_bytes(self.array()?))),
            0xce => Head::Int(i128::from(u32::from_be_bytes(self.array()?))),
            0xcf => Head::Int(i128::from(u64::from_be_bytes(self.array()?))),
            0xd0 => Head::Int(i128::from(i8::from_be_bytes(self.array()?))),
            0xd1 => Head::Int(i128::from(i16::from_be_bytes(self.array()?))),
            0xd2 => Head::Int(i128::from(i32::from_be_bytes(self.array()?))),
            0xd3 => Head::Int(i128::from(i64::from_be_bytes(self.array()?))),
            0xd4 => self.extension(1)?,
            0xd5 => self.extension(2)?,
            0xd6 => self.extension(4)?,
            0xd7 => self.extension(8)?,
            0xd8 => self.extension(16)?,
            0xd9 => Head::String(self.length_8()?),
            0xda => Head::String(self.length_16()?),
            0xdb => Head::String(self.length_32()?),
            0xdc => Head::Array(self.length_16()?),
            0xdd => Head::Array(self.length_32()?),
            0xde => Head::Map(self.length_16()?),
            0xdf => Head::Map(self.length_32()?),
            0xe0..=0xff => Head::Int(i128::from(i8::from_be_bytes([marker]))),
        })
    }

    /// Steps over one value, which may have so many levels below its own.
    fn skip(&mut self, levels: usize) -> Result<(), ValueError> {
        let (children, head) = match self.head()? {
            Head::String(length) => {
                let text = self.take(length)?;
                return std::str::from_utf8(text)
                    .map(drop)
                    .map_err(|_| ValueError::Malformed("a string is not UTF-8"));
            }
            Head::Binary(length) | Head::Extension(_, length) => {
                return self.take(length).map(drop);
            }
            head @ Head::Array(count) => (count, head),
            head @ Head::Map(count) => (count.saturating_mul(2), head),
            Head::Nil | Head::Bool(_) | Head::Int(_) | Head::Float(_) => return Ok(()),
        };
        debug_assert!(matches!(head, Head::Array(_) | Head::Map(_)));
        let Some(below) = levels.checked_sub(1) else {
            return Err(ValueError::TooDeep);
        };
        // Each child takes a byte at least, so a claimed count of billions ends at once.
        if children > self.rest.len() {
            return Err(SHORT);
        }
        for _ in 0..children {
            self.skip(below)?;
        }
        Ok(())
    }
}

/// Is this one whole value, within the limits of size and depth?
///
/// # Errors
/// See [`ValueError`].
pub fn check(bytes: &[u8]) -> Result<(), ValueError> {
    check_within(bytes, VALUE_BYTES_MAX, DEPTH_MAX)
}

/// As [`check`], where other limits hold.
///
/// # Errors
/// What is wrong.
pub fn check_within(bytes: &[u8], bytes_max: usize, depth_max: usize) -> Result<(), ValueError> {
    if bytes.len() > bytes_max {
        return Err(ValueError::TooLarge(bytes.len()));
    }
    let mut reader = Reader { rest: bytes };
    reader.skip(depth_max - 1)?;
    if reader.rest.is_empty() || planted::is(Bug::BytesBehindValue) {
        Ok(())
    } else {
        Err(ValueError::Malformed("there are bytes behind the value"))
    }
}

/// The integer that a value is, if it is one. It may be larger than an `i64`.
#[must_use]
pub fn as_integer(bytes: &[u8]) -> Option<i128> {
    let mut reader = Reader { rest: bytes };
    match reader.head() {
        Ok(Head::Int(value)) if reader.rest.is_empty() => Some(value),
        _ => None,
    }
}

/// An integer as a value, in the fewest bytes.
#[must_use]
pub fn integer(value: i64) -> Vec<u8> {
    let marked = |marker: u8, bytes: &[u8]| [&[marker], bytes].concat();
    if let Ok(value) = u64::try_from(value) {
        return match value {
            0..=0x7f => vec![value as u8],
            0x80..=0xff => vec![0xcc, value as u8],
            0x100..=0xffff => marked(0xcd, &(value as u16).to_be_bytes()),
            0x1_0000..=0xffff_ffff => marked(0xce, &(value as u32).to_be_bytes()),
            _ => marked(0xcf, &value.to_be_bytes()),
        };
    }
    match value {
        -0x20.. => vec![value as u8],
        -0x80.. => vec![0xd0, value as u8],
        -0x8000.. => marked(0xd1, &(value as i16).to_be_bytes()),
        -0x8000_0000.. => marked(0xd2, &(value as i32).to_be_bytes()),
        _ => marked(0xd3, &value.to_be_bytes()),
    }
}

/// Is it nil?
#[must_use]
pub fn is_nil(bytes: &[u8]) -> bool {
    Reader { rest: bytes }.head() == Ok(Head::Nil)
}

/// Is it anything but nil, false, a zero, or an empty text, list, map or run of bytes?
#[must_use]
pub fn is_truthy(bytes: &[u8]) -> bool {
    match (Reader { rest: bytes }).head() {
        Ok(Head::Nil) | Err(_) => false,
        Ok(Head::Bool(value)) => value,
        Ok(Head::Int(value)) => value != 0,
        Ok(Head::Float(value)) => value != 0.0,
        Ok(Head::String(length) | Head::Binary(length)) => length > 0,
        Ok(Head::Array(count) | Head::Map(count)) => count > 0,
        Ok(Head::Extension(..)) => true,
    }
}

/// What a value is, in words for an error message: `the integer 5`, `a map of 3 entries`.
#[must_use]
pub fn describe(bytes: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 40;
    let mut reader = Reader { rest: bytes };
    let Ok(head) = reader.head() else {
        return "bytes that are not MessagePack".to_owned();
    };
    match head {
        Head::Nil => "nil".to_owned(),
        Head::Bool(value) => format!("the boolean {value}"),
        Head::Int(value) => format!("the integer {value}"),
        Head::Float(value) => format!("the number {value:?}"),
        Head::String(length) if length <= SHOWN_BYTES_MAX => match reader.take(length) {
            Ok(text) => format!("the string {:?}", String::from_utf8_lossy(text)),
            Err(_) => "a string that ends too early".to_owned(),
        },
        Head::String(length) => format!("a string of {length} bytes"),
        Head::Binary(length) => format!("{length} bytes"),
        Head::Extension(kind, length) => format!("an extension {kind} of {length} bytes"),
        Head::Array(count) => format!("an array of {count} elements"),
        Head::Map(count) => format!("a map of {count} entries"),
    }
}

/// The value as a person would write it: `17`, `"text"`, `[1, 2]`, `{"id": 3}`. What is longer than
/// `chars_max` characters is cut and ends in dots.
#[must_use]
pub fn show(bytes: &[u8], chars_max: usize) -> String {
    let mut shown = Shown {
        text: String::new(),
        chars_max,
    };
    let mut reader = Reader { rest: bytes };
    let whole = shown.one(&mut reader, 1);
    let long = shown.text.char_indices().nth(chars_max);
    if let Some((end, _)) = long {
        shown.text.truncate(end);
        shown.text.push_str("...");
    } else if whole.is_err() || !reader.rest.is_empty() {
        shown.text.push_str("(bytes that are not MessagePack)");
    }
    shown.text
}

/// A text that a value is written into until it is long enough.
struct Shown {
    text: String,
    chars_max: usize,
}

impl Shown {
    /// Bytes are no fewer than characters, and cheap to count.
    fn is_full(&self) -> bool {
        self.text.len() > self.chars_max.saturating_mul(4)
    }

    fn one(&mut self, reader: &mut Reader<'_>, depth: usize) -> Result<(), ValueError> {
        match reader.head()? {
            Head::Nil => self.text.push_str("nil"),
            Head::Bool(value) => self.text.push_str(if value { "true" } else { "false" }),
            Head::Int(value) => self.text.push_str(&value.to_string()),
            Head::Float(value) => self.text.push_str(&format!("{value:?}")),
            Head::String(length) => {
                let text = String::from_utf8_lossy(reader.take(length)?);
                let start: String = text.chars().take(self.chars_max).collect();
                self.text.push_str(&format!("{start:?}"));
            }
            Head::Binary(length) => {
                reader.take(length)?;
                self.text.push_str(&format!("({length} bytes)"));
            }
            Head::Extension(kind, length) => {
                reader.take(length)?;
                self.text
                    .push_str(&format!("(extension {kind} of {length} bytes)"));
            }
            Head::Array(count) => self.many(reader, depth, count, false)?,
            Head::Map(count) => self.many(reader, depth, count, true)?,
        }
        Ok(())
    }

    fn many(
        &mut self,
        reader: &mut Reader<'_>,
        depth: usize,
        count: usize,
        map: bool,
    ) -> Result<(), ValueError> {
        if depth == DEPTH_MAX {
            return Err(ValueError::TooDeep);
        }
        let (open, close) = if map { ('{', '}') } else { ('[', ']') };
        self.text.push(open);
        for index in 0..count {
            // What comes now is cut off anyway, however many elements are claimed.
            if self.is_full() {
                return Ok(());
            }
            if index > 0 {
                self.text.push_str(", ");
            }
            self.one(reader, depth + 1)?;
            if map {
                self.text.push_str(": ");
                self.one(reader, depth + 1)?;
            }
        }
        self.text.push(close);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<T: serde::Serialize>(value: T) -> Vec<u8> {
        rmp_serde::to_vec_named(&value).expect("a test value is encodable")
    }

    #[test]
    fn equal_maps_in_any_order() {
        // {"a": 1, "b": [true]} and the same the other way round, the 1 as a u64.
        let left = [&[0x82, 0xa1, b'a', 1, 0xa1, b'b', 0x91, 0xc3][..]].concat();
        let right = [
            &[0x82, 0xa1, b'b', 0x91, 0xc3, 0xa1, b'a', 0xcf][..],
            &[0, 0, 0, 0, 0, 0, 0, 1],
        ]
        .concat();
        assert!(equal(&left, &right));
        assert!(!equal(&left, &value("a")));
    }

    #[test]
    fn numbers_by_value_but_not_across_kinds() {
        assert!(equal(&value(1.5_f32), &value(1.5_f64)));
        assert!(!equal(&value(1), &value(1.0)));
        assert!(!equal(&value(1), &value(true)));
        assert!(equal(&value(0.0), &value(-0.0)));
        assert!(!equal(&value(0.5), &value(1.5)));
        assert!(!equal(&value(0.0), &value(1.5)));
    }

    #[test]
    fn integers_are_encoded_as_serde_does() {
        for bits in 0..63 {
            for near in -2..=2_i64 {
                for number in [(1_i64 << bits) + near, -(1_i64 << bits) + near] {
                    assert_eq!(integer(number), value(number));
                    assert_eq!(as_integer(&integer(number)), Some(i128::from(number)));
                }
            }
        }
        for number in [i64::MIN, i64::MAX] {
            assert_eq!(integer(number), value(number));
        }
        assert_eq!(as_integer(&value(u64::MAX)), Some(i128::from(u64::MAX)));
        for other in [
            value(1.0),
            value("1"),
            value([1]),
            vec![1, 1],
            vec![0xcc],
            vec![],
        ] {
            assert_eq!(as_integer(&other), None);
        }
    }

    #[test]
    fn what_is_truthy() {
        let empty: [u8; 0] = [];
        let map = std::collections::BTreeMap::from([(1, 1)]);
        for falsy in [
            value(()),
            value(false),
            value(0),
            value(-0.0),
            value(""),
            value(empty),
        ] {
            assert!(!is_truthy(&falsy), "{}", describe(&falsy));
        }
        for truthy in [
            value(true),
            value(-1),
            value(0.5),
            value(" "),
            value([0]),
            value(map),
        ] {
            assert!(is_truthy(&truthy), "{}", describe(&truthy));
        }
        assert!(!is_truthy(&[0x80]) && !is_truthy(&[0xc4, 0]) && is_truthy(&[0xd4, 1, 0]));
        assert!(is_truthy(&value(f64::NAN)));
        assert!(is_nil(&[0xc0]) && !is_nil(&[0xc2]));
    }

    #[test]
    fn depth_at_and_over_the_limit() {
        // The innermost value is no container, so it may stand in DEPTH_MAX brackets less one.
        let nested = |brackets: usize| [vec![0x91; brackets], vec![0xc0]].concat();
        assert_eq!(check(&nested(DEPTH_MAX - 1)), Ok(()));
        assert_eq!(check(&nested(DEPTH_MAX)), Err(ValueError::TooDeep));
        // A hundred thousand brackets cost no stack.
        assert_eq!(check(&vec![0x91; 100_000]), Err(ValueError::TooDeep));
    }

    #[test]
    fn claims_of_more_than_there_is() {
        for bytes in [
            &[0xdf, 0xff, 0xff, 0xff, 0xff][..],
            &[0xdb, 0, 0, 1, 0],
            &[],
        ] {
            assert_eq!(check(bytes), Err(SHORT));
        }
        assert!(matches!(
            check(&[0xc0, 0xc0]),
            Err(ValueError::Malformed(_))
        ));
        assert!(matches!(check(&[0xc1]), Err(ValueError::Malformed(_))));
        assert!(matches!(
            check(&[0xa1, 0xff]),
            Err(ValueError::Malformed(_))
        ));
    }

    #[test]
    fn size_at_and_over_the_limit() {
        let blob = |size: usize| {
            let length = (size - 5) as u32;
            [
                &[0xc6][..],
                &length.to_be_bytes(),
                &vec![0; length as usize],
            ]
            .concat()
        };
        assert_eq!(check(&blob(VALUE_BYTES_MAX)), Ok(()));
        assert_eq!(
            check(&blob(VALUE_BYTES_MAX + 1)),
            Err(ValueError::TooLarge(VALUE_BYTES_MAX + 1))
        );
    }

    #[test]
    fn descriptions() {
        assert_eq!(describe(&value(5)), "the integer 5");
        assert_eq!(describe(&value("hi")), "the string \"hi\"");
        let long = "x".repeat(41);
        assert_eq!(describe(&value(&long)), "a string of 41 bytes");
        let shown = format!("the string {:?}", &long[1..]);
        assert_eq!(describe(&value(&long[1..])), shown);
        assert_eq!(describe(&value(vec![1, 2])), "an array of 2 elements");
        assert_eq!(describe(&[]), "bytes that are not MessagePack");
    }

    #[test]
    fn shown_as_a_person_would_write_it() {
        assert_eq!(show(&value(-17), 80), "-17");
        assert_eq!(show(&value(1.0), 80), "1.0");
        assert_eq!(show(&value("a\"b\n"), 80), r#""a\"b\n""#);
        assert_eq!(show(&value((1, [true], "x")), 80), r#"[1, [true], "x"]"#);
        let map = [("id", Some(3)), ("parent", None)];
        let map: std::collections::BTreeMap<_, _> = map.into();
        assert_eq!(show(&value(map), 80), r#"{"id": 3, "parent": nil}"#);
        assert_eq!(show(&[0xc4, 2, 0, 0], 80), "(2 bytes)");
        assert_eq!(show(&[], 80), "(bytes that are not MessagePack)");
        assert_eq!(show(&[1, 2], 80), "1(bytes that are not MessagePack)");
    }

    #[test]
    fn what_is_nested_too_deep_is_not_shown_to_its_end() {
        let arrays = |depth: usize| [vec![0x91; depth], vec![0xc0]].concat();
        let maps = |depth: usize| [[0x81, 0xc0].repeat(depth), vec![0xc0]].concat();
        for nested in [arrays, maps] {
            let deepest = show(&nested(DEPTH_MAX - 1), 10_000);
            assert!(deepest.ends_with([']', '}']), "{deepest}");
            let deeper = show(&nested(DEPTH_MAX), 10_000);
            assert!(deeper.ends_with("(bytes that are not MessagePack)"));
        }
    }

    #[test]
    fn what_is_shown_is_bounded() {
        assert_eq!(show(&value("ääääää"), 4), "\"äää...");
        assert_eq!(show(&value(vec![7; 100_000]), 6), "[7, 7,...");
        // Claims of billions, and a hundred thousand brackets, cost nothing.
        let claims = [&[0xdd, 0xff, 0xff, 0xff, 0xff][..], &[1; 9][..]].concat();
        assert_eq!(show(&claims, 5), "[1, 1...");
        assert_eq!(show(&vec![0x91; 100_000], 3), "[[[...");
    }
}
