//! What one key holds: as it is handed around, and as it is looked at where it stands.

use crate::proto::ids::{ProcessId, Revision};
use crate::proto::value::There;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ops::Deref;
use std::sync::Arc;

/// What finds room beside its length in twice as many bytes as a pointer to more would take: most
/// values of a program, which the log then has two of with each change.
const SMALL_BYTES_MAX: usize = 46;

/// A value, taken out of the state or on its way there: a small one by itself, a larger one shared
/// by the state and the log.
pub type Value = Held<SMALL_BYTES_MAX>;

/// Bytes that stand by themselves if they are no more than so many, or else are shared.
#[derive(Clone, PartialEq, Eq)]
pub struct Held<const SMALL: usize>(Form<SMALL>);

#[derive(Clone)]
enum Form<const SMALL: usize> {
    Small { length: u8, bytes: [u8; SMALL] },
    Shared(Arc<[u8]>),
}

impl<const SMALL: usize> PartialEq for Form<SMALL> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl<const SMALL: usize> Eq for Form<SMALL> {}

impl<const SMALL: usize> Form<SMALL> {
    fn bytes(&self) -> &[u8] {
        match self {
            Form::Small { length, bytes } => &bytes[..usize::from(*length)],
            Form::Shared(bytes) => bytes,
        }
    }
}

impl<const SMALL: usize> From<&[u8]> for Held<SMALL> {
    fn from(from: &[u8]) -> Self {
        if from.len() > SMALL {
            return Held(Form::Shared(Arc::from(from)));
        }
        let mut bytes = [0; SMALL];
        bytes[..from.len()].copy_from_slice(from);
        let length = from.len() as u8;
        Held(Form::Small { length, bytes })
    }
}

impl<const SMALL: usize> PartialOrd for Held<SMALL> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By their bytes, which is the order of keys too.
impl<const SMALL: usize> Ord for Held<SMALL> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.bytes().cmp(other.0.bytes())
    }
}

impl<const SMALL: usize> Borrow<[u8]> for Held<SMALL> {
    fn borrow(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl<const SMALL: usize> Deref for Held<SMALL> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl<const SMALL: usize> std::fmt::Debug for Held<SMALL> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.bytes().fmt(f)
    }
}

/// What is put under a key, or was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) owner: Option<ProcessId>,
    /// The change set that wrote it.
    pub(super) revision: Revision,
}

/// What stands under a key.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// The value.
    pub value: &'a [u8],
    /// The change set that wrote it.
    pub revision: Revision,
    pub(super) owner: Option<ProcessId>,
    /// The same value, if it is a large one.
    pub(super) shared: Option<&'a Value>,
}

impl<'a> Found<'a> {
    /// The value, to be compared.
    #[must_use]
    pub fn there(self) -> There<'a> {
        There {
            value: self.value,
            shared: self.shared.and_then(|value| match &value.0 {
                Form::Small { .. } => None,
                Form::Shared(shared) => Some(shared),
            }),
        }
    }

    /// The value by itself. What is large is not copied.
    #[must_use]
    pub fn to_value(&self) -> Value {
        self.shared
            .map_or_else(|| Value::from(self.value), Value::clone)
    }

    pub(super) fn to_entry(self) -> Entry {
        Entry {
            value: self.to_value(),
            owner: self.owner,
            revision: self.revision,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_what_it_was_made_of_small_or_large() {
        let bytes: Vec<u8> = (0..100).collect();
        for length in 0..bytes.len() - 1 {
            let value = Value::from(&bytes[..length]);
            assert_eq!(*value, bytes[..length]);
            assert_eq!(value.clone(), value);
            assert_ne!(value, Value::from(&bytes[..=length]));
            let is_small = matches!(value.0, Form::Small { .. });
            assert_eq!(is_small, length <= SMALL_BYTES_MAX);
        }
    }

    /// A change in the log has two of them.
    #[test]
    fn a_value_takes_no_more_than_it_has_room_for_and_its_length() {
        assert_eq!(size_of::<Option<Value>>(), 48);
    }
}
