//! What one key holds: as it is handed around, and as it is looked at where it stands.

use crate::proto::ids::{ProcessId, Revision};
use crate::proto::value::There;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ops::Deref;
use std::sync::Arc;

/// What finds room beside its length in as many bytes as a pointer to more would take.
const SMALL_BYTES_MAX: usize = 22;

/// A value, taken out of the state or on its way there: a small one by itself, a larger one shared
/// by the state and the log.
#[derive(Clone, PartialEq, Eq)]
pub struct Value(Form);

#[derive(Clone)]
enum Form {
    Small {
        length: u8,
        bytes: [u8; SMALL_BYTES_MAX],
    },
    Shared(Arc<[u8]>),
}

impl PartialEq for Form {
    fn eq(&self, other: &Form) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Form {}

impl Form {
    fn bytes(&self) -> &[u8] {
        match self {
            Form::Small { length, bytes } => &bytes[..usize::from(*length)],
            Form::Shared(bytes) => bytes,
        }
    }
}

impl From<&[u8]> for Value {
    fn from(from: &[u8]) -> Value {
        if from.len() > SMALL_BYTES_MAX {
            return Value(Form::Shared(Arc::from(from)));
        }
        let mut bytes = [0; SMALL_BYTES_MAX];
        bytes[..from.len()].copy_from_slice(from);
        let length = from.len() as u8;
        Value(Form::Small { length, bytes })
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Value) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By their bytes, which is the order of keys too.
impl Ord for Value {
    fn cmp(&self, other: &Value) -> Ordering {
        self.0.bytes().cmp(other.0.bytes())
    }
}

impl Borrow<[u8]> for Value {
    fn borrow(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl std::fmt::Debug for Value {
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
            assert_eq!(is_small, length <= 22);
        }
    }

    /// A change in the log has two of them.
    #[test]
    fn a_value_takes_no_more_than_a_pointer_to_more_with_its_length_would() {
        assert_eq!(size_of::<Option<Value>>(), 24);
    }
}
