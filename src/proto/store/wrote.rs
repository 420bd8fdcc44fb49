//! What was written in a change set, to be held against another.

use super::Value;
use crate::proto::value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a function has written, whatever the order.
#[derive(Debug, Clone, Default)]
pub struct Wrote {
    /// These namespaces were emptied first.
    pub cleared: BTreeSet<Arc<str>>,
    /// By namespace and key what it holds now, if it is there.
    pub keys: BTreeMap<(Arc<str>, Arc<str>), Option<Value>>,
}

impl Wrote {
    /// What two have not in common, in words: the first such key, with what it is in each.
    #[must_use]
    pub fn difference(&self, second: &Wrote) -> Option<String> {
        let keys: BTreeSet<_> = self.keys.keys().chain(second.keys.keys()).collect();
        for id in keys {
            let (first, second) = (self.keys.get(id), second.keys.get(id));
            let same = match (first, second) {
                (Some(Some(first)), Some(Some(second))) => value::equal(first, second),
                (first, second) => first == second,
            };
            if !same {
                let (namespace, key) = id;
                let (first, second) = (made(first), made(second));
                return Some(format!(
                    "key {key:?} in namespace {namespace:?} {first}, and the second time {second}"
                ));
            }
        }
        let namespace = self.cleared.symmetric_difference(&second.cleared).next()?;
        Some(format!("it emptied namespace {namespace:?} only once"))
    }
}

/// What became of a key.
fn made(value: Option<&Option<Value>>) -> String {
    match value {
        None => "was not written".to_owned(),
        Some(None) => "was removed".to_owned(),
        Some(Some(value)) => format!("became {}", value::describe(value)),
    }
}
