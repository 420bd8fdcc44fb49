//! Values to bytes and back: MessagePack with field names.
//!
//! What does not fit is found here, before anything is sent: a value that does not serialise, that
//! is too deep (while it is serialised, so a deep one costs no more stack than the limit allows),
//! or too large (counted, not kept).

use super::depth::Limited;
use crate::error::Kind;
use crate::proto::limits::{DEPTH_MAX, PAYLOAD_BYTES_MAX, VALUE_BYTES_MAX};
use crate::proto::marks::{self, Mark};
use crate::proto::value::{self, ValueError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::type_name;
use std::cell::Cell;

/// What of a call is encoded, for the message of an error.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Side {
    Value,
    Argument,
    Result,
}

impl Side {
    fn text(self) -> &'static str {
        match self {
            Side::Value => "the value",
            Side::Argument => "the argument",
            Side::Result => "the result",
        }
    }
}

const VALUE_LIMIT: (&str, usize) = ("VALUE_BYTES_MAX", VALUE_BYTES_MAX);

/// `value` as bytes that the server takes.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Kind> {
    encode_as(Side::Value, value)
}

/// As [`encode`], with what it is to the call.
pub(crate) fn encode_as<T: Serialize + ?Sized>(side: Side, value: &T) -> Result<Vec<u8>, Kind> {
    encode_within(value, side, VALUE_LIMIT)
}

/// `value` as bytes that go to a process as its argument, or come from it as its result.
pub(crate) fn encode_payload<T>(side: Side, value: &T) -> Result<Vec<u8>, Kind>
where
    T: Serialize + ?Sized,
{
    encode_within(value, side, ("PAYLOAD_BYTES_MAX", PAYLOAD_BYTES_MAX))
}

/// As [`encode`], behind what is in `bytes` already, where nothing is left of what does not fit.
pub(crate) fn encode_behind<T: Serialize + ?Sized>(
    value: &T,
    bytes: &mut Vec<u8>,
) -> Result<(), Kind> {
    append(value, bytes, Side::Value, VALUE_LIMIT)
}

fn encode_within<T: Serialize + ?Sized>(
    value: &T,
    side: Side,
    limit: (&'static str, usize),
) -> Result<Vec<u8>, Kind> {
    // Mostly there is room for all of it, so that it need not grow with each part.
    let mut bytes = Vec::with_capacity(64);
    append(value, &mut bytes, side, limit)?;
    Ok(bytes)
}

fn append<T: Serialize + ?Sized>(
    value: &T,
    bytes: &mut Vec<u8>,
    side: Side,
    limit: (&'static str, usize),
) -> Result<(), Kind> {
    let start = bytes.len();
    let mut out = Counted {
        bytes,
        count: 0,
        max: limit.1,
    };
    let too_deep = Cell::new(false);
    let result = rmp_serde::encode::write_named(&mut out, &Limited::new(value, &too_deep));
    let count = out.count;
    let unencodable = |why: String| Kind::Unencodable {
        type_name: type_name::<T>().to_owned(),
        why,
    };
    let checked = if too_deep.get() {
        Err(depth())
    } else if count > limit.1 {
        Err(size(side, count, limit))
    } else if let Err(error) = result {
        Err(unencodable(error.to_string()))
    } else {
        // A `Serialize` may lie about its lengths; that is found before it can confuse others.
        value::check_within(&bytes[start..], limit.1, DEPTH_MAX).map_err(|error| match error {
            ValueError::Malformed(what) => unencodable(what.to_owned()),
            ValueError::TooDeep => depth(),
            ValueError::TooLarge(actual) => size(side, actual, limit),
        })
    };
    if checked.is_err() {
        bytes.truncate(start);
    }
    checked
}

/// The value that `bytes` hold, or why they hold no `T`.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Kind> {
    rmp_serde::from_slice(bytes).map_err(|error| {
        marks::reached(Mark::WrongType);
        Kind::WrongType {
            wanted: type_name::<T>().to_owned(),
            found: value::describe(bytes),
            why: error.to_string(),
        }
    })
}

/// As [`decode`], of what was removed: if it is no `T`, the error has it.
pub(crate) fn decode_taken<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, Kind> {
    decode(bytes).map_err(|why| Kind::Taken {
        why: Box::new(why),
        key: key.to_owned(),
        value: bytes.to_vec(),
    })
}

fn depth() -> Kind {
    Kind::Limit {
        limit: "DEPTH_MAX".to_owned(),
        // It is not known how deep it would have become.
        actual: DEPTH_MAX as u64 + 1,
        max: DEPTH_MAX as u64,
    }
}

fn size(side: Side, actual: usize, (limit, max): (&str, usize)) -> Kind {
    Kind::TooLarge {
        side: side.text().to_owned(),
        limit: limit.to_owned(),
        actual: actual as u64,
        max: max as u64,
    }
}

/// Keeps bytes up to the limit, and counts those beyond.
struct Counted<'a> {
    bytes: &'a mut Vec<u8>,
    count: usize,
    max: usize,
}

impl std::io::Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.count += bytes.len();
        if self.count <= self.max {
            self.bytes.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(Debug, Serialize, serde::Deserialize, PartialEq)]
    enum Nested {
        Leaf,
        Unit(()),
        Pair(Box<Nested>, u8),
        Named { inner: Box<Nested> },
        List(Vec<Nested>),
        Map(BTreeMap<String, Nested>),
        Maybe(Option<Box<Nested>>),
    }

    fn list(depth: usize) -> Nested {
        (0..depth).fold(Nested::Leaf, |inner, _| Nested::List(vec![inner]))
    }

    #[test]
    fn values_come_back() {
        let value = Nested::Named {
            inner: Box::new(Nested::Map(BTreeMap::from([
                ("a".to_owned(), Nested::Pair(Box::new(Nested::Leaf), 5)),
                ("b".to_owned(), Nested::Maybe(Some(Box::new(list(3))))),
                ("c".to_owned(), Nested::Maybe(None)),
                ("d".to_owned(), Nested::Unit(())),
            ]))),
        };
        let bytes = encode(&value).expect("it is a fine value");
        assert_eq!(
            bytes,
            rmp_serde::to_vec_named(&value).expect("it is a fine value")
        );
        assert_eq!(
            decode::<Nested>(&bytes).expect("it was just encoded"),
            value
        );
    }

    #[test]
    fn a_wrong_type_names_both() {
        let bytes = encode("abc").expect("a string is a fine value");
        match decode::<u64>(&bytes) {
            Err(Kind::WrongType { wanted, found, .. }) => {
                assert_eq!(
                    (wanted.as_str(), found.as_str()),
                    ("u64", "the string \"abc\"")
                );
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn depth_is_stopped_on_the_way() {
        assert!(encode(&list(DEPTH_MAX / 2 - 1)).is_ok());
        for depth in [DEPTH_MAX, 1_000_000] {
            let deep = list(depth);
            let error = encode(&deep).expect_err("it is too deep");
            assert!(matches!(error, Kind::Limit { ref limit, .. } if limit == "DEPTH_MAX"));
            // Its destructor recurses too.
            std::mem::forget(deep);
        }
    }

    #[test]
    fn size_is_counted_beyond_the_limit() {
        let text = "x".repeat(VALUE_BYTES_MAX - 5);
        assert_eq!(
            encode(&text).map(|bytes| bytes.len()).ok(),
            Some(VALUE_BYTES_MAX)
        );
        let text = "x".repeat(3 * VALUE_BYTES_MAX);
        let error = encode(&text).expect_err("it is too large");
        assert!(
            matches!(error, Kind::TooLarge { actual, .. } if actual == 3 * VALUE_BYTES_MAX as u64 + 5)
        );
        assert_eq!(
            error.to_string(),
            "the value is over the limit VALUE_BYTES_MAX: 3145733 bytes, and 1048576 is allowed"
        );
    }

    #[test]
    fn what_does_not_serialise_says_why() {
        struct No;
        impl Serialize for No {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("not today"))
            }
        }
        struct Liar;
        impl Serialize for Liar {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serde::ser::SerializeSeq::end(serializer.serialize_seq(Some(3))?)
            }
        }
        match encode(&No) {
            Err(Kind::Unencodable { type_name, why }) => {
                assert!(type_name.ends_with("No"));
                assert!(why.contains("not today"));
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(encode(&Liar), Err(Kind::Unencodable { .. })));
    }
}
