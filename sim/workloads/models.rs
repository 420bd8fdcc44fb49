//! The workloads' functions a second time, in plain Rust over a plain map: what they must change
//! and give, found by name.

use std::collections::BTreeMap;

/// Values as they are stored.
type Bytes = Vec<u8>;

/// What a function does to a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ran {
    /// Every key that it touches, with its value afterwards.
    pub(crate) changes: BTreeMap<String, Option<Bytes>>,
    /// What it gives, encoded; or why it fails, and then it changes nothing.
    pub(crate) result: Result<Bytes, String>,
}

fn bytes<T: serde::Serialize>(value: &T) -> Bytes {
    rmp_serde::to_vec_named(value).expect("numbers, flags and texts are always encodable")
}

fn number(value: Option<Bytes>) -> i64 {
    value.map_or(0, |value| rmp_serde::from_slice(&value).unwrap_or(0))
}

fn gives<T: serde::Serialize>(changes: &[(&str, Option<i64>)], result: &T) -> Ran {
    let changes = changes.iter().map(|(key, value)| {
        let value = value.map(|value| bytes(&value));
        ((*key).to_owned(), value)
    });
    Ran {
        changes: changes.collect(),
        result: Ok(bytes(result)),
    }
}

fn fails(why: &str) -> Ran {
    Ran {
        changes: BTreeMap::new(),
        result: Err(why.to_owned()),
    }
}

/// The last part of a function's name, and its constant parameter if it has one.
fn split(name: &str) -> Option<(&str, Option<i64>)> {
    let name = name.strip_prefix("zproc_sim::workloads::functions::")?;
    match name.split_once('<') {
        None => Some((name, None)),
        Some((name, rest)) => Some((name, rest.strip_suffix('>')?.parse().ok())),
    }
}

/// Which keys a function looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Keys {
    /// It adds to this one.
    One(String),
    /// It writes these, perhaps by what others hold; each with its namespace, if it is another.
    These(Vec<(Option<&'static str>, String)>),
    /// It removes all with this prefix.
    ToRemove(String),
    /// It changes none.
    ToRead,
    /// It writes here and there in its namespace.
    Many,
    /// That is not known: it may be any key of any namespace.
    Unknown,
}

/// Which keys an atomic function looks at, by its name and its argument.
pub(crate) fn keys_of(name: &str, args: &[u8]) -> Keys {
    let two = || {
        let (from, to, _): (String, String, i64) = rmp_serde::from_slice(args).ok()?;
        Some(Keys::These(vec![(None, from), (None, to)]))
    };
    let one = || {
        let (key, _): (String, i64) = rmp_serde::from_slice(args).ok()?;
        Some(key)
    };
    let shadowed = |key: String| {
        let shadow = (Some(super::OWNED), format!("{key}~"));
        Keys::These(vec![(None, key), shadow])
    };
    let prefix = || rmp_serde::from_slice(args).ok().map(Keys::ToRemove);
    let keys = match split(name) {
        Some(("add", _)) => one().map(Keys::One),
        Some(("transfer" | "spend" | "spend_or_panic" | "pair", _)) => two(),
        Some(("raise", _)) => one().map(|key| Keys::These(vec![(None, key)])),
        Some(("shadow", _)) => one().map(shadowed),
        Some(("purge", _)) => prefix(),
        Some(("total" | "botch" | "fumble", _)) => Some(Keys::ToRead),
        Some(("fill", _)) => Some(Keys::Many),
        _ => None,
    };
    keys.unwrap_or(Keys::Unknown)
}

/// Runs the model of an atomic function. `None`: it is no workload's.
pub(crate) fn run(
    name: &str,
    args: &[u8],
    get: &dyn Fn(&str) -> Option<Bytes>,
    entries: &dyn Fn() -> Vec<(String, Bytes)>,
) -> Option<Ran> {
    let (name, _) = split(name)?;
    let number_of = |key: &str| number(get(key));
    Some(match name {
        "add" => {
            let (key, by): (String, i64) = rmp_serde::from_slice(args).ok()?;
            let value = number_of(&key) + by;
            gives(&[(&key, Some(value))], &value)
        }
        "transfer" => {
            let (from, to, amount): (String, String, i64) = rmp_serde::from_slice(args).ok()?;
            let (there, other) = (number_of(&from), number_of(&to));
            if from == to || there < amount {
                gives(&[], &false)
            } else {
                let moved = [(&*from, Some(there - amount)), (&*to, Some(other + amount))];
                gives(&moved, &true)
            }
        }
        "spend" | "spend_or_panic" => {
            let (from, to, amount): (String, String, i64) = rmp_serde::from_slice(args).ok()?;
            let left = number_of(&from) - amount;
            if left < 0 {
                fails("overdrawn")
            } else if from == to {
                gives(&[(&*from, Some(left + amount))], &left)
            } else {
                let moved = [(&*from, Some(left)), (&*to, Some(number_of(&to) + amount))];
                gives(&moved, &left)
            }
        }
        "purge" => {
            let prefix: String = rmp_serde::from_slice(args).ok()?;
            let keys: Vec<String> = (entries().into_iter())
                .map(|(key, _)| key)
                .filter(|key| key.starts_with(&prefix))
                .collect();
            let gone: Vec<(&str, Option<i64>)> = keys.iter().map(|key| (&**key, None)).collect();
            gives(&gone, &(keys.len() as u64))
        }
        "fill" => {
            let (count, value): (u64, i64) = rmp_serde::from_slice(args).ok()?;
            let keys: Vec<String> = (0..count).map(|key| format!("bulk/{key:04}")).collect();
            let set: Vec<(&str, Option<i64>)> =
                keys.iter().map(|key| (&**key, Some(value))).collect();
            let others = entries().into_iter().filter(|(key, _)| {
                let number = key
                    .strip_prefix("bulk/")
                    .and_then(|n| n.parse::<u64>().ok());
                number.is_none_or(|number| number >= count)
            });
            gives(&set, &(others.count() as u64 + count))
        }
        "total" => {
            let accounts = entries()
                .into_iter()
                .filter(|(key, _)| key.starts_with('a'));
            let sum: i64 = accounts.map(|(_, value)| number(Some(value))).sum();
            gives(&[], &sum)
        }
        _ => return written(name, args, &number_of),
    })
}

/// The functions that write keys they are given.
fn written(name: &str, args: &[u8], number_of: &dyn Fn(&str) -> i64) -> Option<Ran> {
    Some(match name {
        "pair" => {
            let (first, second, value): (String, String, i64) = rmp_serde::from_slice(args).ok()?;
            gives(&[(&first, Some(value)), (&second, Some(value))], &())
        }
        "raise" => {
            let (key, to): (String, i64) = rmp_serde::from_slice(args).ok()?;
            let raised: &[(&str, Option<i64>)] = &[(&key, Some(to))];
            gives(if number_of(&key) < to { raised } else { &[] }, &())
        }
        "botch" => fails("a key is too long"),
        "fumble" => fails("dropped it"),
        "shadow" => {
            let (key, value): (String, i64) = rmp_serde::from_slice(args).ok()?;
            gives(
                &[(&key, Some(value)), (&format!("{key}~"), Some(value))],
                &(),
            )
        }
        _ => return None,
    })
}

/// What a condition says of a state: `None`, it is no workload's; `Some(None)`, it does not hold.
pub(crate) fn condition(
    name: &str,
    get: &dyn Fn(&str) -> Option<Bytes>,
    entries: &dyn Fn() -> Vec<(String, Bytes)>,
) -> Option<Option<Bytes>> {
    let (name, parameter) = split(name)?;
    let wanted = parameter?;
    let number_of = |key: &str| number(get(key));
    let holds = |holds: bool| Some(holds.then(|| bytes(&())));
    let done = get(super::functions::DONE).is_some();
    match name {
        "reached" => {
            let value = number(get("k0"));
            Some((value >= wanted || done).then(|| bytes(&value)))
        }
        "crowded" => {
            let crowd = entries()
                .into_iter()
                .filter(|(key, _)| key.starts_with("w/"));
            let count = crowd.count() as u64;
            Some((count as i64 >= wanted || done).then(|| bytes(&count)))
        }
        "sized" => {
            let count = entries().len() as i64;
            // A condition that is a `bool` gives nothing but that it holds.
            holds(count >= wanted || done)
        }
        "listed" => {
            let entries = entries();
            let listed = entries.iter().filter(|(key, _)| key.starts_with("w/"));
            holds(listed.count() as i64 >= wanted)
        }
        "counted" => holds(entries().len() as i64 >= wanted),
        "followed" => holds(number_of(&format!("f{}", number_of("which"))) >= wanted),
        "steered" => holds(number_of(&format!("g{}", number_of("helm"))) >= wanted),
        "combed" => holds(number_of("z") >= wanted),
        _ => None,
    }
}
