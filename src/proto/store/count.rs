//! What users have stored, counted from the entries and not from the sums that the limits go by.

use super::{ENTRY_OVERHEAD_BYTES, RESERVED, Store};
use crate::proto::ids::ProcessId;
use std::collections::BTreeMap;
use std::ops::Bound;

/// What the users' namespaces hold.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Bytes of keys and values, and what entries take besides.
    pub bytes: usize,
    /// Namespaces that have a key.
    pub namespaces: usize,
    /// Bytes of the largest value.
    pub value_bytes: usize,
    /// Keys that one process owns: the one that has most.
    pub owned_keys: usize,
    /// Bytes that one process owns, keys and values: the one that has most.
    pub owned_bytes: usize,
}

impl Store {
    /// Counts. It takes time in proportion to the whole state.
    #[must_use]
    pub fn count(&self) -> Counted {
        let mut counted = Counted::default();
        let mut owned: BTreeMap<ProcessId, (usize, usize)> = BTreeMap::new();
        for (name, dict) in &self.dicts {
            if **name == *RESERVED {
                continue;
            }
            counted.namespaces += 1;
            for (key, entry) in dict.onwards(Bound::Unbounded) {
                let size = key.len() + entry.value.len();
                counted.bytes += size + ENTRY_OVERHEAD_BYTES;
                counted.value_bytes = counted.value_bytes.max(entry.value.len());
                if let Some(owner) = entry.owner {
                    let (keys, bytes) = owned.entry(owner).or_default();
                    *keys += 1;
                    *bytes += size;
                }
            }
        }
        for (keys, bytes) in owned.into_values() {
            counted.owned_keys = counted.owned_keys.max(keys);
            counted.owned_bytes = counted.owned_bytes.max(bytes);
        }
        counted
    }
}
