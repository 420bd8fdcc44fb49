//! Any sequence of calls, on a real server, against a naive model of the dict: what each call gives,
//! what an error leaves, and the updates that a watch tells afterwards.

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use zproc::{Batched, Context, Error, Expected, Filter, Past, Result, Revision, Span, State, Txn};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Value {
    Number(i64),
    Text(String),
    None(()),
}

/// One operation on the dict, alone or among others.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Step {
    Get(String),
    Set(String, Value),
    Remove(String),
    Take(String),
    Add(String, i64),
    PopFirst(String),
    PopLast(String),
    Clear,
    Require(String, Value),
    RequireAbsent(String),
}

/// What a step gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Given {
    Nothing,
    Found,
    Value(Value),
    Entry(String, Value),
}

/// Why nothing was done.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Refused {
    Unmet,
    WrongType,
    Overflow,
    Remote,
}

#[derive(Debug, Clone)]
enum Call {
    One(Step),
    Batch(Vec<Step>),
    /// In the server, as one function, which fails at its end or not.
    Atomic(Vec<Step>, bool),
    /// The same here.
    Transaction(Vec<Step>, bool),
    GetOrInsert(String, Value),
    Extend(Vec<(String, Value)>),
    ReplaceAll(Vec<(String, Value)>),
    /// Write, if the key's revision is the newest (or the one before).
    Replace(String, bool, Value),
    Look(Look),
    /// Wait for what is true already.
    Wait(String),
}

/// Is this key among those looked at?
type Sees<'a> = Box<dyn Fn(&String) -> bool + 'a>;

/// A part of the keys.
#[derive(Debug, Clone)]
enum Look {
    /// Those that start so, from here on.
    Prefix { prefix: String, from: String },
    /// From here, up to there.
    Range { from: String, until: String },
}

/// No call here takes long.
const PATIENCE: Duration = Duration::from_secs(30);

type Entries = BTreeMap<String, Value>;
/// Before and after of each key that a change set has touched, be it the same.
type Changes = BTreeMap<String, (Option<Value>, Option<Value>)>;

#[derive(Debug, Default)]
struct Model {
    entries: Entries,
    updates: Vec<Changes>,
}

impl Model {
    /// Does all steps, or none.
    fn run(&mut self, steps: &[Step]) -> std::result::Result<Vec<Given>, Refused> {
        let mut entries = self.entries.clone();
        let mut touched = Changes::new();
        let mut given = Vec::new();
        for step in steps {
            given.push(one(&mut entries, &mut touched, step)?);
        }
        for (key, (_, after)) in &mut touched {
            *after = entries.get(key).cloned();
        }
        self.entries = entries;
        if !touched.is_empty() {
            self.updates.push(touched);
        }
        Ok(given)
    }
}

impl Model {
    /// What ran here is told as it has come out: a key that came and went again was never there.
    fn net(&mut self, first: usize) {
        for changes in &mut self.updates[first..] {
            changes.retain(|_, (before, after)| before.is_some() || after.is_some());
        }
        self.updates.retain(|changes| !changes.is_empty());
    }
}

fn one(
    entries: &mut Entries,
    touched: &mut Changes,
    step: &Step,
) -> std::result::Result<Given, Refused> {
    let found = |value: Option<Value>| value.map_or(Given::Nothing, Given::Value);
    let mut write = |entries: &mut Entries, key: &str, value: Option<Value>| {
        let before = match value {
            Some(value) => entries.insert(key.to_owned(), value),
            None => entries.remove(key),
        };
        let change = (before.clone(), None);
        touched.entry(key.to_owned()).or_insert(change);
        before
    };
    Ok(match step {
        Step::Get(key) => found(entries.get(key).cloned()),
        Step::Set(key, value) => {
            write(entries, key, Some(value.clone()));
            Given::Found
        }
        Step::Remove(key) | Step::Take(key) if !entries.contains_key(key) => Given::Nothing,
        Step::Remove(key) => {
            write(entries, key, None);
            Given::Found
        }
        Step::Take(key) => found(write(entries, key, None)),
        Step::Add(key, by) => {
            let before = match entries.get(key) {
                None => 0,
                Some(Value::Number(number)) => *number,
                Some(_) => return Err(Refused::WrongType),
            };
            let sum = before.checked_add(*by).ok_or(Refused::Overflow)?;
            write(entries, key, Some(Value::Number(sum)));
            Given::Value(Value::Number(sum))
        }
        Step::PopFirst(prefix) | Step::PopLast(prefix) => {
            let mut keys = entries.keys().filter(|key| key.starts_with(prefix));
            let key = match step {
                Step::PopFirst(_) => keys.next(),
                _ => keys.next_back(),
            };
            match key.cloned() {
                Some(key) => {
                    let value = write(entries, &key, None).expect("it is there");
                    Given::Entry(key, value)
                }
                None => Given::Nothing,
            }
        }
        Step::Clear => {
            for key in entries.keys().cloned().collect::<Vec<_>>() {
                write(entries, &key, None);
            }
            Given::Found
        }
        Step::Require(key, wanted) if entries.get(key) == Some(wanted) => Given::Found,
        Step::RequireAbsent(key) if !entries.contains_key(key) => Given::Found,
        Step::Require(..) | Step::RequireAbsent(_) => return Err(Refused::Unmet),
    })
}

/// The steps of an atomic function.
fn steps(txn: &mut Txn<'_>, (steps, fails): (Vec<Step>, bool)) -> Result<Vec<Given>> {
    let mut given = Vec::new();
    for step in steps {
        let found = |value: Option<Value>| value.map_or(Given::Nothing, Given::Value);
        let entry = |entry: Option<(String, Value)>| {
            entry.map_or(Given::Nothing, |(key, value)| Given::Entry(key, value))
        };
        given.push(match step {
            Step::Get(key) => found(txn.get(&key)?),
            Step::Set(key, value) => txn.set(&key, &value).map(|()| Given::Found)?,
            Step::Remove(key) if txn.remove(&key)? => Given::Found,
            Step::Remove(_) => Given::Nothing,
            Step::Take(key) => found(txn.take(&key)?),
            Step::Add(key, by) => Given::Value(Value::Number(txn.add(&key, by)?)),
            Step::PopFirst(prefix) => entry(txn.pop_first(&prefix)?),
            Step::PopLast(prefix) => entry(txn.pop_last(&prefix)?),
            Step::Clear => txn.clear().map(|()| Given::Found)?,
            Step::Require(key, wanted) if txn.get(&key)?.as_ref() == Some(&wanted) => Given::Found,
            Step::RequireAbsent(key) if !txn.contains_key(&key)? => Given::Found,
            Step::Require(..) | Step::RequireAbsent(_) => return Err(Error::msg("unmet")),
        });
    }
    if fails {
        return Err(Error::msg("it fails"));
    }
    Ok(given)
}

fn refused(error: &Error) -> Refused {
    match error {
        error if error.is_unmet() => Refused::Unmet,
        error if error.is_wrong_type() => Refused::WrongType,
        error if error.is_overflow() => Refused::Overflow,
        error if error.is_remote() => Refused::Remote,
        error => panic!("{error}"),
    }
}

fn batch(state: &State, steps: &[Step]) -> Result<Vec<Given>> {
    let mut batch = state.batch();
    for step in steps {
        match step {
            Step::Get(key) => batch.get(key),
            Step::Set(key, value) => batch.set(key, value),
            Step::Remove(key) => batch.remove(key),
            Step::Take(key) => batch.take(key),
            Step::Add(key, by) => batch.add(key, *by),
            Step::PopFirst(prefix) => batch.pop_first(prefix),
            Step::PopLast(prefix) => batch.pop_last(prefix),
            Step::Clear => batch.clear(),
            Step::Require(key, value) => batch.require(key, Expected::value(value)),
            Step::RequireAbsent(key) => batch.require(key, Expected::absent()),
        };
    }
    let done: Batched = batch.commit()?;
    let given = steps.iter().enumerate().map(|(place, step)| {
        Ok(match (step, done.key(place)) {
            (Step::Set(..) | Step::Clear, _) => Given::Found,
            (Step::Require(..) | Step::RequireAbsent(_), _) => Given::Found,
            (Step::Remove(_), _) if done.is_found(place) => Given::Found,
            (Step::Remove(_), _) => Given::Nothing,
            (_, key) => match (key, done.value(place)?) {
                (Some(key), Some(value)) => Given::Entry(key.to_owned(), value),
                (None, Some(value)) => Given::Value(value),
                (_, None) => Given::Nothing,
            },
        })
    });
    given.collect()
}

/// The call that has this name.
fn alone(state: &State, step: &Step) -> Result<Given> {
    let found = |value: Option<Value>| value.map_or(Given::Nothing, Given::Value);
    let entry = |entry: Option<(String, Value)>| {
        entry.map_or(Given::Nothing, |(key, value)| Given::Entry(key, value))
    };
    let there = |is_there| {
        if is_there {
            Given::Found
        } else {
            Given::Nothing
        }
    };
    Ok(match step {
        Step::Get(key) => {
            assert_eq!(state.contains_key(key)?, state.get::<Value>(key)?.is_some());
            found(state.get(key)?)
        }
        Step::Set(key, value) => state.set(key, value).map(|_| Given::Found)?,
        Step::Remove(key) => there(state.remove(key)?),
        Step::Take(key) => found(state.take(key)?),
        Step::Add(key, by) => Given::Value(Value::Number(state.add(key, *by)?)),
        Step::PopFirst(prefix) => entry(state.pop_first(prefix)?),
        Step::PopLast(prefix) => entry(state.pop_last(prefix)?),
        Step::Clear => state.clear().map(|_| Given::Found)?,
        // It has no call of its own.
        Step::Require(..) | Step::RequireAbsent(_) => {
            let given = batch(state, std::slice::from_ref(step))?;
            given.into_iter().next().expect("one for each")
        }
    })
}

impl Call {
    /// Does it on both, and compares what they give.
    fn check(&self, state: &State, model: &mut Model) -> Result<()> {
        match self {
            Call::One(step) => {
                let expected = model
                    .run(std::slice::from_ref(step))
                    .map(|mut given| given.remove(0));
                assert_eq!(
                    alone(state, step).map_err(|error| refused(&error)),
                    expected
                );
            }
            Call::Batch(steps) => {
                let given = batch(state, steps).map_err(|error| refused(&error));
                assert_eq!(given, model.run(steps));
            }
            Call::Atomic(list, fails) | Call::Transaction(list, fails) => {
                let given = match self {
                    Call::Atomic(..) => state.atomic(steps, (list.clone(), *fails)),
                    _ => state.transaction(|txn| steps(txn, (list.clone(), *fails))),
                };
                let before = model.updates.len();
                let expected = match fails {
                    true => Err(Refused::Remote),
                    // Which error it was is the function's business.
                    false => model.run(list).map_err(|_| Refused::Remote),
                };
                if matches!(self, Call::Transaction(..)) {
                    model.net(before);
                }
                let given = given.map_err(|error| match &*error.to_string() {
                    "unmet" | "it fails" => Refused::Remote,
                    _ => match refused(&error) {
                        Refused::WrongType | Refused::Overflow => Refused::Remote,
                        other => other,
                    },
                });
                assert_eq!(given, expected);
            }
            Call::GetOrInsert(key, value) => {
                if !model.entries.contains_key(key) {
                    let set = Step::Set(key.clone(), value.clone());
                    model.run(&[set]).expect("a write");
                }
                let given: Value = state.get_or_insert(key, value)?;
                assert_eq!(given, model.entries[key]);
            }
            Call::Extend(entries) | Call::ReplaceAll(entries) => {
                let set = |(key, value): &(String, Value)| Step::Set(key.clone(), value.clone());
                let mut list: Vec<_> = entries.iter().map(set).collect();
                match self {
                    Call::Extend(_) => state.extend(entries.clone())?,
                    _ => {
                        list.insert(0, Step::Clear);
                        state.replace_all(entries.clone())?
                    }
                };
                model.run(&list).expect("writes");
            }
            Call::Replace(key, newest, value) => replace(state, model, key, *newest, value)?,
            Call::Look(look) => look.check(state, &model.entries)?,
            Call::Wait(key) => wait(state, key, model.entries.get(key))?,
        }
        Ok(())
    }
}

fn replace(state: &State, model: &mut Model, key: &str, newest: bool, value: &Value) -> Result<()> {
    let Some((found, version)) = state.get_versioned::<Value>(key)? else {
        assert!(!model.entries.contains_key(key));
        return Ok(());
    };
    assert_eq!(model.entries.get(key), Some(&found));
    let wanted = Revision(version.0 - u64::from(!newest));
    let done = state.compare_and_set(key, Expected::revision(wanted), value)?;
    assert_eq!(done.is_some(), newest);
    if newest {
        let set = Step::Set(key.to_owned(), value.clone());
        model.run(&[set]).expect("a write");
    }
    Ok(())
}

impl Look {
    fn check(&self, state: &State, entries: &Entries) -> Result<()> {
        let (span, is_seen): (Span, Sees<'_>) = match self {
            Look::Prefix { prefix, from } => (
                Span::prefix(prefix).and_from(from),
                Box::new(move |key| key.starts_with(prefix) && key >= from),
            ),
            Look::Range { from, until } => (
                (&**from..&**until).into(),
                Box::new(move |key| key >= from && key < until),
            ),
        };
        let expected: Vec<_> = entries.iter().filter(|(key, _)| is_seen(key)).collect();
        let keys = state.keys(span.clone())?;
        assert!(
            keys.iter().eq(expected.iter().map(|(key, _)| *key)),
            "{keys:?}"
        );
        let given = state.iter::<Value>(span).collect::<Result<Vec<_>>>()?;
        assert!(
            given.iter().map(|(key, value)| (key, value)).eq(expected),
            "{given:?}"
        );
        assert_eq!(state.len()?, entries.len() as u64);
        assert_eq!(state.is_empty()?, entries.is_empty());
        let snapshot = state.snapshot()?;
        for (key, value) in entries {
            assert_eq!(snapshot.get::<Value>(key)?.as_ref(), Some(value));
        }
        assert!(snapshot.keys().eq(entries.keys().map(String::as_str)));
        Ok(())
    }
}

/// What holds already ends a wait at once.
fn wait(state: &State, key: &str, value: Option<&Value>) -> Result<()> {
    let other = Value::Text("another".to_owned());
    let is_truthy = match value {
        None | Some(Value::None(())) => false,
        Some(Value::Number(number)) => *number != 0,
        Some(Value::Text(text)) => !text.is_empty(),
    };
    match value {
        None => drop(state.wait_absent(key)?),
        Some(value) => {
            state.wait_equal(key, value)?;
            assert_eq!(state.wait_available::<Value>(key)?.0, *value);
        }
    }
    state.wait_not_equal(key, &other)?;
    match is_truthy {
        true => assert_eq!(Some(&state.wait_truthy::<Value>(key)?.0), value),
        false => drop(state.wait_falsy(key)?),
    }
    match value {
        None | Some(Value::None(())) => drop(state.wait_none(key)?),
        Some(value) => assert_eq!(state.wait_not_none::<Value>(key)?.0, *value),
    }
    Ok(())
}

/// What the state was.
fn check_past(past: &Past, entries: &Entries) -> Result<()> {
    assert_eq!(past.len()?, entries.len() as u64);
    let given = past.iter::<Value>(..).collect::<Result<Entries>>()?;
    assert_eq!(given, *entries);
    let given = past.keys("a")?;
    let expected = entries.keys().filter(|key| key.starts_with('a'));
    assert!(given.iter().eq(expected), "{given:?}");
    for key in ["a", "b"] {
        assert_eq!(past.get::<Value>(key)?.as_ref(), entries.get(key));
    }
    Ok(())
}

/// The watch, read last, tells what the model has noted, and each key has the revision of its last.
fn check_updates(state: &State, model: &Model, start: Revision) -> Result<()> {
    let watching = state.watch(Filter::all()).timeout(PATIENCE);
    let mut watch = watching.since(start).start()?;
    let mut last = start;
    let mut versions = BTreeMap::new();
    let mut past = Entries::new();
    for expected in &model.updates {
        let update = watch.next_update()?;
        assert!(update.revision >= last, "{update:?}");
        last = update.revision.next();
        let mut changes = Changes::new();
        for change in &update.changes {
            versions.insert(change.key().to_owned(), update.revision);
            let change = (change.key().to_owned(), (change.before()?, change.after()?));
            changes.insert(change.0, change.1);
        }
        assert_eq!(changes, *expected);
        for (key, (_, after)) in changes {
            match after {
                Some(value) => past.insert(key, value),
                None => past.remove(&key),
            };
        }
        check_past(&state.at(update.revision), &past)?;
    }
    assert_eq!(past, model.entries);
    // There is no other update.
    let end = state.set("end", &())?;
    assert_eq!(watch.next_update()?.revision, end);
    for (key, value) in &model.entries {
        let found = state.get_versioned::<Value>(key)?;
        assert_eq!(found.as_ref(), Some(&(value.clone(), versions[key])));
    }
    Ok(())
}

fn key() -> impl Strategy<Value = String> {
    let keys = ["a", "a/1", "a/2", "ab", "b", "é", "z\u{10FFFF}"];
    prop::sample::select(keys.to_vec()).prop_map(str::to_owned)
}

/// Where keys begin, and where one lies between them.
fn edge() -> impl Strategy<Value = String> {
    let edges = ["", "a", "a/", "a/1", "aa", "b", "z", "é", "zz"];
    prop::sample::select(edges.to_vec()).prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        prop::sample::select(&[0, 1, -1, 7, i64::MAX][..]).prop_map(Value::Number),
        prop::sample::select(&["", "text"][..]).prop_map(|text| Value::Text(text.to_owned())),
        Just(Value::None(())),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let by = || prop::sample::select(&[1, -1, i64::MAX][..]);
    prop_oneof![
        1 => key().prop_map(Step::Get),
        5 => (key(), value()).prop_map(|(key, value)| Step::Set(key, value)),
        1 => key().prop_map(Step::Remove),
        1 => key().prop_map(Step::Take),
        2 => (key(), by()).prop_map(|(key, by)| Step::Add(key, by)),
        1 => edge().prop_map(Step::PopFirst),
        1 => edge().prop_map(Step::PopLast),
        1 => Just(Step::Clear),
        1 => (key(), value()).prop_map(|(key, value)| Step::Require(key, value)),
        1 => key().prop_map(Step::RequireAbsent),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    let steps = || prop::collection::vec(step(), 0..6);
    let entries = || prop::collection::vec((key(), value()), 0..5);
    let fails = prop::bool::weighted(0.2);
    let replace = (key(), any::<bool>(), value());
    prop_oneof![
        8 => step().prop_map(Call::One),
        4 => steps().prop_map(Call::Batch),
        4 => (steps(), fails).prop_map(|(steps, fails)| Call::Atomic(steps, fails)),
        4 => (steps(), fails).prop_map(|(steps, fails)| Call::Transaction(steps, fails)),
        1 => (key(), value()).prop_map(|(key, value)| Call::GetOrInsert(key, value)),
        1 => entries().prop_map(Call::Extend),
        1 => entries().prop_map(Call::ReplaceAll),
        1 => replace.prop_map(|(key, newest, value)| Call::Replace(key, newest, value)),
        1 => (edge(), edge()).prop_map(|(prefix, from)| Call::Look(Look::Prefix { prefix, from })),
        1 => (edge(), edge()).prop_map(|(from, until)| Call::Look(Look::Range { from, until })),
        2 => key().prop_map(Call::Wait),
    ]
}

/// Found sequences are kept here.
const FOUND: FileFailurePersistence =
    FileFailurePersistence::Direct("proptest-regressions/model.txt");

/// One tree for all cases; each has a namespace of its own.
static TREE: LazyLock<Context> = LazyLock::new(|| Context::new().expect("a tree"));
static CASES: AtomicU64 = AtomicU64::new(0);

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: Some(Box::new(FOUND)),
        ..ProptestConfig::default()
    })]
    #[test]
    fn any_sequence_of_calls_does_what_the_model_does(
        calls in prop::collection::vec(call(), 1..40),
    ) {
        let case = CASES.fetch_add(1, Ordering::Relaxed);
        let state = TREE.namespace(format!("case {case}")).within(PATIENCE);
        let start = TREE.namespace("cases").set("newest", &case).expect("set");
        let mut model = Model::default();
        for call in &calls {
            call.check(&state, &mut model).expect("no other error");
        }
        check_updates(&state, &model, start).expect("no other error");
    }
}
