//! A serializer around another one that stops at a depth, before the stack does: serde recurses
//! once for each level of a value, and a stack that overflows ends the whole process.
//!
//! For reading `rmp-serde` has such a limit itself; for writing, the way to wrap is that of
//! `serde_stacker`.

use crate::proto::limits::DEPTH_MAX;
use serde::Serialize;
use serde::ser::{
    self, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use std::cell::Cell;

/// Deepest nesting of calls. Options and newtypes are levels here and not in the bytes, so this is
/// larger than what the bytes are held to.
const LEVELS_MAX: usize = 4 * DEPTH_MAX;

/// A value that serialises as `value` does, down to the limit.
pub(super) struct Limited<'a, T: ?Sized> {
    value: &'a T,
    level: usize,
    /// Set when the limit was the reason to fail.
    too_deep: &'a Cell<bool>,
}

impl<'a, T: ?Sized> Limited<'a, T> {
    pub(super) fn new(value: &'a T, too_deep: &'a Cell<bool>) -> Self {
        Limited {
            value,
            level: 0,
            too_deep,
        }
    }
}

impl<T: Serialize + ?Sized> Serialize for Limited<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.level > LEVELS_MAX {
            self.too_deep.set(true);
            return Err(ser::Error::custom("nested too deep"));
        }
        self.value.serialize(Level {
            inner: serializer,
            level: self.level,
            too_deep: self.too_deep,
        })
    }
}

/// A serializer, or a compound of one, at some level.
struct Level<'a, S> {
    inner: S,
    level: usize,
    too_deep: &'a Cell<bool>,
}

impl<'a, S> Level<'a, S> {
    fn below<'b, T: ?Sized>(&self, value: &'b T) -> Limited<'b, T>
    where
        'a: 'b,
    {
        Limited {
            value,
            level: self.level + 1,
            too_deep: self.too_deep,
        }
    }

    fn open<C, E>(self, open: impl FnOnce(S) -> Result<C, E>) -> Result<Level<'a, C>, E> {
        Ok(Level {
            inner: open(self.inner)?,
            level: self.level,
            too_deep: self.too_deep,
        })
    }
}

macro_rules! scalars {
    ($($method:ident: $type:ty),* $(,)?) => {
        $(fn $method(self, value: $type) -> Result<S::Ok, S::Error> {
            self.inner.$method(value)
        })*
    };
}

impl<'a, S: Serializer> Serializer for Level<'a, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Level<'a, S::SerializeSeq>;
    type SerializeTuple = Level<'a, S::SerializeTuple>;
    type SerializeTupleStruct = Level<'a, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Level<'a, S::SerializeTupleVariant>;
    type SerializeMap = Level<'a, S::SerializeMap>;
    type SerializeStruct = Level<'a, S::SerializeStruct>;
    type SerializeStructVariant = Level<'a, S::SerializeStructVariant>;

    scalars! {
        serialize_bool: bool, serialize_char: char, serialize_str: &str, serialize_bytes: &[u8],
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_i128: i128, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32,
        serialize_u64: u64, serialize_u128: u128, serialize_f32: f32, serialize_f64: f64,
        serialize_unit_struct: &'static str,
    }

    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.inner.serialize_none()
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit_variant(name, index, variant)
    }

    // Options and newtypes add no level to the value's bytes, but they do to the stack.
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        let value = self.below(value);
        self.inner.serialize_some(&value)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let value = self.below(value);
        self.inner.serialize_newtype_struct(name, &value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let value = self.below(value);
        self.inner
            .serialize_newtype_variant(name, index, variant, &value)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        self.open(|inner| inner.serialize_seq(length))
    }

    fn serialize_tuple(self, length: usize) -> Result<Self::SerializeTuple, S::Error> {
        self.open(|inner| inner.serialize_tuple(length))
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        length: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        self.open(|inner| inner.serialize_tuple_struct(name, length))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        self.open(|inner| inner.serialize_tuple_variant(name, index, variant, length))
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        self.open(|inner| inner.serialize_map(length))
    }

    fn serialize_struct(
        self,
        name: &'static str,
        length: usize,
    ) -> Result<Self::SerializeStruct, S::Error> {
        self.open(|inner| inner.serialize_struct(name, length))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        self.open(|inner| inner.serialize_struct_variant(name, index, variant, length))
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! compounds {
    ($($trait:ident: $method:ident $(($($name:ident: $type:ty),*))?),* $(,)?) => {
        $(impl<S: $trait> $trait for Level<'_, S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn $method<T: Serialize + ?Sized>(
                &mut self,
                $($($name: $type,)*)?
                value: &T,
            ) -> Result<(), S::Error> {
                let value = self.below(value);
                self.inner.$method($($($name,)*)? &value)
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.inner.end()
            }
        })*
    };
}

compounds! {
    SerializeSeq: serialize_element,
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field,
    SerializeStruct: serialize_field(key: &'static str),
    SerializeStructVariant: serialize_field(key: &'static str),
}

impl<S: SerializeMap> SerializeMap for Level<'_, S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        let key = self.below(key);
        self.inner.serialize_key(&key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        let value = self.below(value);
        self.inner.serialize_value(&value)
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.inner.end()
    }
}
