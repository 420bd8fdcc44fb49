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
    pub keys: BTreeMap<(Arc<str>, Arc<str>), Option<WroteKey>>,
}

/// What a key holds that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WroteKey {
    /// Its value.
    pub value: Value,
    /// It is its owner's still, if it has one: it was added to.
    pub keeps_owner: bool,
}

impl Wrote {
    /// What two have not in common, in words: the first such key, with what it is in each.
    #[must_use]
    pub fn difference(&self, second: &Wrote) -> Option<String> {
        let keys: BTreeSet<_> = self.keys.keys().chain(second.keys.keys()).collect();
        for id in keys {
            let (first, second) = (self.keys.get(id), second.keys.get(id));
            let same = match (first, second) {
                (Some(Some(first)), Some(Some(second))) => {
                    first.keeps_owner == second.keeps_owner
                        && value::equal(&first.value, &second.value)
                }
                (first, second) => first == second,
            };
            if !same {
                return Some(told(id, first, second));
            }
        }
        let namespace = self.cleared.symmetric_difference(&second.cleared).next()?;
        Some(format!("it emptied namespace {namespace:?} only once"))
    }
}

/// One key is not the same.
fn told(
    (namespace, key): &(Arc<str>, Arc<str>),
    first: Option<&Option<WroteKey>>,
    second: Option<&Option<WroteKey>>,
) -> String {
    let (mut owners, mut place) = (["", ""], None);
    if let (Some(Some(first)), Some(Some(second))) = (first, second) {
        if first.keeps_owner != second.keeps_owner {
            let whose = |it: &WroteKey| {
                if it.keeps_owner {
                    ", its owner's"
                } else {
                    ", nobody's"
                }
            };
            owners = [whose(first), whose(second)];
        }
        if !value::equal(&first.value, &second.value) {
            place = value::difference(&first.value, &second.value);
        }
    }
    let (first, second) = (made(first), made(second));
    let place = place.map_or_else(String::new, |place| format!(": {place}"));
    let [of_first, of_second] = owners;
    format!(
        "key {key:?} in namespace {namespace:?} {first}{of_first}, and the second time \
         {second}{of_second}{place}"
    )
}

/// What became of a key.
fn made(written: Option<&Option<WroteKey>>) -> String {
    match written {
        None => "was not written".to_owned(),
        Some(None) => "was removed".to_owned(),
        Some(Some(written)) => format!("became {}", value::describe(&written.value)),
    }
}
