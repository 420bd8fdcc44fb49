//! Values as a plain tree, decoded by serde: equality a second time, without zproc's own.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

/// A value. Numbers are compared by value, maps whatever their order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Plain {
    Nil,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Plain>),
    Map(Vec<(Plain, Plain)>),
}

/// Do both hold the same value?
pub(crate) fn equal(left: &[u8], right: &[u8]) -> bool {
    let decode = |bytes| rmp_serde::from_slice::<Plain>(bytes).ok();
    match (decode(left), decode(right)) {
        (Some(left), Some(right)) => same(&left, &right),
        _ => left == right,
    }
}

/// Is it there, and neither nil nor false nor zero nor empty?
pub(crate) fn is_truthy(bytes: &[u8]) -> bool {
    !matches!(
        rmp_serde::from_slice::<Plain>(bytes),
        Ok(Plain::Nil | Plain::Bool(false) | Plain::Int(0))
    ) && match rmp_serde::from_slice::<Plain>(bytes) {
        Ok(Plain::Float(number)) => number != 0.0,
        Ok(Plain::Text(text)) => !text.is_empty(),
        Ok(Plain::Bytes(bytes)) => !bytes.is_empty(),
        Ok(Plain::List(items)) => !items.is_empty(),
        Ok(Plain::Map(entries)) => !entries.is_empty(),
        _ => true,
    }
}

/// Is it nil?
pub(crate) fn is_nil(bytes: &[u8]) -> bool {
    matches!(rmp_serde::from_slice::<Plain>(bytes), Ok(Plain::Nil))
}

fn same(left: &Plain, right: &Plain) -> bool {
    match (left, right) {
        (Plain::List(left), Plain::List(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(l, r)| same(l, r))
        }
        (Plain::Map(left), Plain::Map(right)) => {
            let has = |entry: &(Plain, Plain)| {
                let mut others = right.iter();
                others.any(|other| same(&entry.0, &other.0) && same(&entry.1, &other.1))
            };
            left.len() == right.len() && left.iter().all(has)
        }
        (Plain::Float(left), Plain::Float(right)) => {
            left == right || left.is_nan() && right.is_nan()
        }
        _ => left == right,
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Plain;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Plain, E> {
        Ok(Plain::Nil)
    }

    fn visit_none<E>(self) -> Result<Plain, E> {
        Ok(Plain::Nil)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Plain, E> {
        Ok(Plain::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Plain, E> {
        Ok(Plain::Int(i128::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Plain, E> {
        Ok(Plain::Int(i128::from(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Plain, E> {
        Ok(Plain::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Plain, E> {
        Ok(Plain::Text(value.to_owned()))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Plain, E> {
        Ok(Plain::Bytes(value.to_vec()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Plain, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Plain::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Plain, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Plain::Map(entries))
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Plain, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::equal;

    #[test]
    fn by_value_and_not_by_bytes() {
        // {"a": 1, "b": 0.0} and {"b": -0.0_f32, "a": 1_u64}.
        let left = [&[0x82, 0xa1, b'a', 1, 0xa1, b'b', 0xcb][..], &[0; 8]].concat();
        let right = [
            &[0x82, 0xa1, b'b', 0xca, 0x80, 0, 0, 0, 0xa1, b'a', 0xcf][..],
            &[0, 0, 0, 0, 0, 0, 0, 1],
        ]
        .concat();
        assert!(equal(&left, &right));
        assert!(!equal(&left, &[0x80]));
        assert!(!equal(&[0x01], &[0xc3]));
    }
}
