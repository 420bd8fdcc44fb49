//! Functions that are run twice, and whether they have done the same.

use super::super::store::Wrote;
use super::super::value;
use super::FunctionFailure;

/// A function's result, encoded; a condition's, if it holds.
pub type Returned = Result<Option<Vec<u8>>, FunctionFailure>;

/// What came of one run.
#[derive(Debug)]
pub struct Ran {
    /// What it gave, or why nothing.
    pub returned: Returned,
    /// What it wrote.
    pub wrote: Wrote,
}

impl Ran {
    /// What is not the same in a second run on the same state, in words: the first such key, or else
    /// what was returned.
    #[must_use]
    pub fn difference(&self, second: &Ran) -> Option<String> {
        let written = self.wrote.difference(&second.wrote);
        written.or_else(|| {
            let same = match (&self.returned, &second.returned) {
                (Ok(Some(first)), Ok(Some(second))) => value::equal(first, second),
                (Ok(None), Ok(None)) => true,
                (Err(first), Err(second)) => told(first) == told(second),
                _ => false,
            };
            if same {
                return None;
            }
            let place = match (&self.returned, &second.returned) {
                (Ok(Some(first)), Ok(Some(second))) => value::difference(first, second),
                _ => None,
            };
            let (first, second) = (shown(&self.returned), shown(&second.returned));
            let place = place.map_or_else(String::new, |place| format!(": {place}"));
            Some(format!(
                "it returned {first}, and the second time {second}{place}"
            ))
        })
    }
}

fn shown(returned: &Returned) -> String {
    match returned {
        Ok(Some(value)) => value::describe(value),
        Ok(None) => "nothing".to_owned(),
        Err(failure) => {
            let (what, text) = told(failure);
            format!("{what} ({text})")
        }
    }
}

/// What a failure is, without where it was.
fn told(failure: &FunctionFailure) -> (&'static str, String) {
    match failure {
        FunctionFailure::Error(fault) => ("an error", fault.message.clone()),
        FunctionFailure::Panic(fault) => ("no more, but panicked", fault.message.clone()),
        FunctionFailure::Undecodable(fault) => ("nothing readable", fault.message.clone()),
        FunctionFailure::TooLarge { limit, .. } => ("too much", limit.clone()),
        FunctionFailure::Unknown => ("nothing", "it is unknown".to_owned()),
        FunctionFailure::NotDeterministic(what) => ("not the same", what.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::store::{Value, WroteKey};
    use super::super::FaultText;
    use super::*;
    use std::sync::Arc;

    fn ran(keys: &[(&str, Option<&[u8]>)], returned: Returned) -> Ran {
        let keys = keys.iter().map(|(key, value)| {
            let id = (Arc::from("n"), Arc::from(*key));
            let written = |value| WroteKey {
                value: Value::from(value),
                keeps_owner: false,
            };
            (id, value.map(written))
        });
        let wrote = Wrote {
            keys: keys.collect(),
            ..Wrote::default()
        };
        Ran { returned, wrote }
    }

    fn failed(message: &str, location: &str) -> Returned {
        Err(FunctionFailure::Error(FaultText {
            message: message.to_owned(),
            location: location.to_owned(),
            backtrace: String::new(),
        }))
    }

    #[test]
    fn what_is_the_same() {
        let nothing = || Ok(None);
        // Maps whatever their order, numbers however they are encoded, failures wherever they were.
        let ab: &[u8] = &[0x82, 0xa1, b'a', 1, 0xa1, b'b', 2];
        let ba: &[u8] = &[0x82, 0xa1, b'b', 2, 0xa1, b'a', 0xcc, 1];
        let same = [
            (ran(&[], nothing()), ran(&[], nothing())),
            (
                ran(&[("k", Some(ab)), ("gone", None)], Ok(Some(ba.to_vec()))),
                ran(&[("k", Some(ba)), ("gone", None)], Ok(Some(ab.to_vec()))),
            ),
            (ran(&[], failed("no", "1")), ran(&[], failed("no", "2"))),
        ];
        for (first, second) in same {
            assert_eq!(first.difference(&second), None);
        }
    }

    #[test]
    fn what_differs_is_named_with_both_values() {
        let one = |value: u8| Ok(Some(vec![value]));
        let differ = [
            (
                ran(&[("a", Some(&[1])), ("b", Some(&[2]))], one(0)),
                ran(&[("a", Some(&[1])), ("b", Some(&[3]))], one(1)),
                r#"key "b" in namespace "n" became the integer 2, and the second time became the integer 3"#,
            ),
            (
                ran(&[("b", Some(&[2]))], one(0)),
                ran(&[("a", None)], one(0)),
                r#"key "a" in namespace "n" was not written, and the second time was removed"#,
            ),
            (
                ran(&[], one(0)),
                ran(&[], one(1)),
                "it returned the integer 0, and the second time the integer 1",
            ),
            (
                ran(&[], failed("no", "")),
                ran(&[], Ok(None)),
                "it returned an error (no), and the second time nothing",
            ),
        ];
        for (first, second, words) in differ {
            assert_eq!(first.difference(&second).as_deref(), Some(words));
        }
        let emptied = |names: &[&str]| Ran {
            returned: Ok(None),
            wrote: Wrote {
                cleared: names.iter().map(|name| Arc::from(*name)).collect(),
                ..Wrote::default()
            },
        };
        assert_eq!(
            emptied(&["n"]).difference(&emptied(&[])).as_deref(),
            Some(r#"it emptied namespace "n" only once"#)
        );
    }

    #[test]
    fn what_is_described_alike_is_told_by_its_place_and_its_owner() {
        let one = |value: u8| Ok(Some(vec![value]));
        // What looks the same is told by the place.
        let list = |last: u8| Ok(Some(vec![0x92, 1, last]));
        let told = ran(&[("k", Some(&[0x91, 1]))], one(0))
            .difference(&ran(&[("k", Some(&[0x91, 2]))], one(0)));
        assert_eq!(
            told.as_deref(),
            Some(concat!(
                r#"key "k" in namespace "n" became an array of 1 elements, and the second time became "#,
                "an array of 1 elements: at [0] the integer 1, and the second time the integer 2"
            ))
        );
        assert_eq!(
            ran(&[], list(2)).difference(&ran(&[], list(3))).as_deref(),
            Some(concat!(
                "it returned an array of 2 elements, and the second time an array of 2 elements: ",
                "at [1] the integer 2, and the second time the integer 3"
            ))
        );
        // A key that is added to stays its owner's, one that is set does not.
        let added = |keeps_owner| {
            let mut ran = ran(&[("k", Some(&[1]))], one(0));
            for written in ran.wrote.keys.values_mut().flatten() {
                written.keeps_owner = keeps_owner;
            }
            ran
        };
        assert_eq!(
            added(true).difference(&added(false)).as_deref(),
            Some(concat!(
                r#"key "k" in namespace "n" became the integer 1, its owner's, "#,
                "and the second time became the integer 1, nobody's"
            ))
        );
    }
}
