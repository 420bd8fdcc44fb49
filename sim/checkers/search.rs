//! "Linearizable", without the revision: a search for an order of the calls on one key.
//!
//! The search of Wing and Gong (1993) with the memo of Lowe (2017), as in Knossos and porcupine. A
//! history is linearizable if it is so for each key by itself, so calls on many keys count for each
//! as what they do there. Only calls, returns and values are looked at: of the server's commits and
//! of the revisions in replies nothing is known here.
//!
//! A key's calls are cut, where none is open, into windows that are searched one by one. What the
//! key held at the start of a later window is not taken over from the one before, but found in the search.

use super::once::RECORDS;
use super::{Call, Calls, End, GIVEN_UP, LINEARIZABLE, SEARCHED, Verdict, batches, transactions};
use crate::workloads::models::{self, Keys};
use std::collections::{BTreeMap, BTreeSet};
use zproc::seam::proto::message::{Reply, Request};
use zproc::seam::proto::operations::{self, Test, Told};

/// Calls in one window; with more the search is not tried. Calls of unknown outcome stay open for
/// ever, so they are in every window after them.
const WINDOW_CALLS_MAX: usize = 64;
/// Steps of one search, after which it is given up.
const STEPS_MAX: usize = 4_000;
/// A window is closed, where it can be, once it has so many calls.
const WINDOW_CALLS: usize = 24;

/// What a key holds: a number for each value that was ever seen. What it held at the start of a
/// window is not known until a call has told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Held {
    Unknown,
    Nothing,
    Value(usize),
}

/// What a call does to one key, and what it says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// It is as told.
    Read(Held),
    /// It becomes this, whatever it was.
    Write(Held),
    /// It was as told, if that is known, and is gone.
    Remove(Option<Held>),
    /// It was there with this value, or was not and is now.
    Keep { told: Option<Held>, offered: Held },
    /// It was as told, and becomes this.
    Swap { told: Held, new: Held },
    /// It is a number, more by `by` now; told is the sum.
    Add { by: i64, told: Option<Held> },
}

/// A call on one key.
#[derive(Debug, Clone, Copy)]
struct Operation {
    /// Its place among all calls.
    index: usize,
    called: u64,
    /// `None`: it may take effect at any time, or never.
    returned: Option<u64>,
    effect: Effect,
}

/// Values by their numbers, and back.
#[derive(Debug, Default)]
struct Values {
    numbers: BTreeMap<Vec<u8>, usize>,
    values: Vec<Vec<u8>>,
}

impl Values {
    fn held(&mut self, value: Option<&[u8]>) -> Held {
        let Some(value) = value else {
            return Held::Nothing;
        };
        if let Some(number) = self.numbers.get(value) {
            return Held::Value(*number);
        }
        self.values.push(value.to_vec());
        let number = self.values.len() - 1;
        self.numbers.insert(value.to_vec(), number);
        Held::Value(number)
    }

    fn sum(&mut self, held: Held, by: i64) -> Held {
        let before = match held {
            Held::Value(number) => batches::integer(&self.values[number]).unwrap_or(0),
            Held::Nothing | Held::Unknown => 0,
        };
        // Where there is no such sum, the call has failed and is not looked at.
        self.number((before + i128::from(by)) as i64)
    }

    fn number(&mut self, number: i64) -> Held {
        let bytes = rmp_serde::to_vec_named(&number).expect("a number is encodable");
        self.held(Some(&bytes))
    }
}

/// Judges the calls on each key, as far as the search goes.
pub(crate) fn check(calls: &Calls<'_>, verdict: &mut Verdict) {
    let mut values = Values::default();
    for ((namespace, key), operations) in by_key(calls, &mut values) {
        // The state is empty at first.
        let mut held = Held::Nothing;
        for window in windows(&operations) {
            let found = search(&window, held, &mut values);
            held = Held::Unknown;
            let count = match found {
                Found::TooMuch => GIVEN_UP,
                Found::Order | Found::None => SEARCHED,
            };
            *verdict.judged.entry(count).or_default() += window.len() as u64;
            match found {
                Found::Order => verdict.judge(LINEARIZABLE, true, String::new),
                Found::TooMuch => {}
                Found::None => verdict.judge(LINEARIZABLE, false, || {
                    let stories = window.iter().map(|operation| {
                        let call = &calls.all[operation.index];
                        format!("{} until {:?}", call.story(), operation.returned)
                    });
                    let stories: Vec<String> = stories.collect();
                    format!("no order of these calls explains {namespace}/{key}: {stories:#?}")
                }),
            }
        }
    }
}

type Key<'a> = (&'a str, String);

/// Keys that calls name, and those that are left out.
#[derive(Debug, Default)]
struct Named<'a> {
    keys: BTreeMap<&'a str, BTreeSet<String>>,
    /// Their changes are not all told by calls alone: what is owned goes with its owner, and a
    /// transfer depends on two keys at once.
    barred: BTreeSet<(&'a str, String)>,
    barred_whole: BTreeSet<&'a str>,
    /// Of these prefixes one key was taken, perhaps, and nobody has heard which.
    barred_prefixes: Vec<(&'a str, &'a str)>,
    /// Functions that nobody has told of may have changed any key.
    is_blind: bool,
}

impl<'a> Named<'a> {
    fn of(calls: &Calls<'a>) -> Named<'a> {
        let mut named = Named::default();
        named.barred_whole.insert(RECORDS);
        for call in &calls.all {
            named.add(&call.request);
            named.add_batch(call);
        }
        named
    }

    fn add_batch(&mut self, call: &Call<'a>) {
        let Request::Batch {
            namespace,
            operations,
        } = &call.request
        else {
            return;
        };
        let is_told = matches!(call.end, End::Returned { .. } | End::NotSent);
        let mut touched: BTreeMap<&str, (usize, bool)> = BTreeMap::new();
        for operation in operations {
            let key = match *operation {
                operations::Operation::Set {
                    key, owned: true, ..
                } => {
                    self.barred.insert((namespace, key.to_owned()));
                    key
                }
                operations::Operation::Require { key, .. }
                | operations::Operation::Get { key }
                | operations::Operation::Set { key, .. }
                | operations::Operation::Remove { key }
                | operations::Operation::Take { key }
                | operations::Operation::Add { key, .. } => key,
                operations::Operation::Pop { prefix, .. } if !is_told => {
                    self.barred_prefixes.push((namespace, prefix));
                    continue;
                }
                operations::Operation::Pop { .. } | operations::Operation::Clear => continue,
            };
            self.keys
                .entry(namespace)
                .or_default()
                .insert(key.to_owned());
            let (count, adds) = touched.entry(key).or_default();
            *count += 1;
            *adds |= matches!(operation, operations::Operation::Add { .. });
            if *adds && *count > 1 {
                self.barred.insert((namespace, key.to_owned()));
            }
        }
    }

    fn add(&mut self, request: &Request<'a>) {
        match request {
            Request::Set {
                namespace,
                key,
                owned: true,
                ..
            } => {
                self.barred.insert((namespace, (*key).to_owned()));
            }
            Request::Set { namespace, key, .. }
            | Request::Get {
                namespace,
                key,
                at: None,
            }
            | Request::Remove { namespace, key }
            | Request::GetOrInsert { namespace, key, .. } => {
                self.keys
                    .entry(namespace)
                    .or_default()
                    .insert((*key).to_owned());
            }
            Request::Commit { parts, .. } => {
                for part in parts {
                    for write in &part.writes {
                        match transactions::written(write) {
                            Some(key) => {
                                self.barred.insert((part.namespace, key.to_owned()));
                            }
                            None => {
                                self.barred_whole.insert(part.namespace);
                            }
                        }
                    }
                }
            }
            Request::Atomic {
                namespace,
                function,
                args,
            } => match models::keys_of(function.name, args) {
                Keys::One(key) => {
                    self.keys.entry(namespace).or_default().insert(key);
                }
                Keys::These(keys) => {
                    let named = keys.into_iter();
                    self.barred
                        .extend(named.map(|(other, key)| (other.unwrap_or(namespace), key)));
                }
                Keys::ToRemove(_) | Keys::ToRead => {}
                Keys::Many => {
                    self.barred_whole.insert(namespace);
                }
                Keys::Unknown => self.is_blind = true,
            },
            _ => {}
        }
    }
}

/// The calls on each key, in the order in which they were called.
fn by_key<'a>(calls: &Calls<'a>, values: &mut Values) -> BTreeMap<Key<'a>, Vec<Operation>> {
    let Named {
        keys,
        barred,
        barred_whole,
        barred_prefixes,
        is_blind,
    } = Named::of(calls);
    if is_blind {
        return BTreeMap::new();
    }
    let mut by_key: BTreeMap<Key<'a>, Vec<Operation>> = BTreeMap::new();
    for (index, call) in calls.all.iter().enumerate() {
        let Some(namespace) = namespace_of(&call.request) else {
            continue;
        };
        if barred_whole.contains(namespace) || matches!(call.end, End::NotSent) {
            continue;
        }
        for key in keys.get(namespace).into_iter().flatten() {
            let id = (namespace, key.clone());
            let of_barred =
                |(name, prefix): &(&str, &str)| *name == namespace && key.starts_with(prefix);
            if barred.contains(&id) || barred_prefixes.iter().any(of_barred) {
                continue;
            }
            if let Some(effect) = effect_on(key, call, values) {
                let returned = match call.end {
                    End::Returned { stamp, .. } => Some(stamp),
                    _ => None,
                };
                by_key.entry(id).or_default().push(Operation {
                    index,
                    called: call.called,
                    returned,
                    effect,
                });
            }
        }
    }
    by_key
}

fn namespace_of<'a>(request: &Request<'a>) -> Option<&'a str> {
    match request {
        Request::Set { namespace, .. }
        | Request::Get { namespace, .. }
        | Request::Remove { namespace, .. }
        | Request::GetOrInsert { namespace, .. }
        | Request::Clear { namespace }
        | Request::Batch { namespace, .. }
        | Request::Atomic { namespace, .. } => Some(namespace),
        _ => None,
    }
}

/// What a call does to this key; `None`: nothing, or it failed.
fn effect_on(on: &str, call: &Call<'_>, values: &mut Values) -> Option<Effect> {
    let reply = match &call.end {
        End::Returned {
            reply: Reply::Failed { .. },
            ..
        } => return None,
        End::Returned { reply, .. } => Some(reply),
        _ => None,
    };
    match &call.request {
        Request::Set { key, value, .. } if *key == on => {
            Some(Effect::Write(values.held(Some(value))))
        }
        Request::Get { key, at: None, .. } if *key == on => match reply {
            Some(Reply::Value { value, .. }) => Some(Effect::Read(values.held(*value))),
            _ => None,
        },
        Request::Remove { key, .. } if *key == on => Some(Effect::Remove(match reply {
            Some(Reply::Written { before, .. }) => Some(values.held(*before)),
            _ => None,
        })),
        Request::GetOrInsert { key, value, .. } if *key == on => {
            let told = match reply {
                Some(Reply::Value { value, .. }) => Some(values.held(*value)),
                _ => None,
            };
            let offered = values.held(Some(value));
            Some(Effect::Keep { told, offered })
        }
        Request::Clear { .. } => Some(Effect::Write(Held::Nothing)),
        Request::Batch { operations, .. } => {
            let told = match reply {
                Some(Reply::Batched { told, .. }) => Some(told.as_slice()),
                _ => None,
            };
            effect_of_batch(on, operations, told, values)
        }
        Request::Atomic { function, args, .. } => match models::keys_of(function.name, args) {
            Keys::One(key) if key == on => {
                let (_, by): (String, i64) = rmp_serde::from_slice(args).ok()?;
                let told = match reply {
                    Some(Reply::Returned { value, .. }) => Some(values.held(Some(value))),
                    _ => None,
                };
                Some(Effect::Add { by, told })
            }
            Keys::ToRemove(prefix) if on.starts_with(&prefix) => Some(Effect::Write(Held::Nothing)),
            _ => None,
        },
        _ => None,
    }
}

/// What a batch does to this key: what it found there at first, and what it left.
fn effect_of_batch(
    on: &str,
    operations: &[operations::Operation<'_>],
    told: Option<&[Told<'_>]>,
    values: &mut Values,
) -> Option<Effect> {
    let (mut found, mut left) = (None, None);
    for (index, operation) in operations.iter().enumerate() {
        let told = told.map(|told| told[index]);
        let was = match told {
            Some(Told::Value { value, .. }) => Some(values.held(Some(value))),
            Some(Told::Nothing) => Some(Held::Nothing),
            _ => None,
        };
        let (seen, new) = match *operation {
            operations::Operation::Require {
                key,
                test: Test::Absent,
            } if key == on => (Some(Held::Nothing), None),
            operations::Operation::Require {
                key,
                test: Test::Equal(value),
            } if key == on => (Some(values.held(Some(value))), None),
            operations::Operation::Get { key } if key == on => (was, None),
            operations::Operation::Set { key, value, .. } if key == on => {
                (None, Some(values.held(Some(value))))
            }
            operations::Operation::Remove { key } | operations::Operation::Take { key }
                if key == on =>
            {
                (was, Some(Held::Nothing))
            }
            // It is the only one on this key.
            operations::Operation::Add { key, by } if key == on => {
                let told = match told {
                    Some(Told::Number(sum)) => Some(values.number(sum)),
                    _ => None,
                };
                return Some(Effect::Add { by, told });
            }
            operations::Operation::Pop { .. } => match told {
                Some(Told::Entry { key, value }) if key == on => {
                    (Some(values.held(Some(value))), Some(Held::Nothing))
                }
                _ => continue,
            },
            operations::Operation::Clear => (None, Some(Held::Nothing)),
            _ => continue,
        };
        if left.is_none() && found.is_none() {
            found = seen;
        }
        left = new.or(left);
    }
    match (found, left) {
        (Some(told), Some(new)) => Some(Effect::Swap { told, new }),
        (Some(told), None) => Some(Effect::Read(told)),
        (None, Some(new)) => Some(Effect::Write(new)),
        (None, None) => None,
    }
}

/// Cuts a key's calls, in the order in which they were called, where none that will return is open.
fn windows(operations: &[Operation]) -> Vec<Vec<Operation>> {
    let mut windows = Vec::new();
    let mut open_for_ever: Vec<Operation> = Vec::new();
    let mut window: Vec<Operation> = Vec::new();
    let (mut count, mut last_return) = (0, 0);
    for operation in operations {
        if count >= WINDOW_CALLS && operation.called > last_return {
            windows.push(std::mem::take(&mut window));
            window.clone_from(&open_for_ever);
            count = 0;
        }
        match operation.returned {
            Some(returned) => last_return = last_return.max(returned),
            None => open_for_ever.push(*operation),
        }
        window.push(*operation);
        count += 1;
    }
    windows.push(window);
    windows
}

/// What the key holds after this effect; `None`: the call can't have said what it did.
fn apply(effect: Effect, held: Held, values: &mut Values) -> Option<Held> {
    let fits = |told: Held| held == Held::Unknown || held == told;
    match effect {
        Effect::Read(told) => fits(told).then_some(told),
        Effect::Write(new) => Some(new),
        Effect::Swap { told, new } => fits(told).then_some(new),
        Effect::Remove(told) => told.is_none_or(fits).then_some(Held::Nothing),
        Effect::Keep { told, offered } => match (told, held) {
            (Some(told), Held::Nothing) => (told == offered).then_some(told),
            (Some(told), _) => fits(told).then_some(told),
            (None, Held::Nothing) => Some(offered),
            // Nothing can be said of it now, nor later.
            (None, held) => Some(held),
        },
        Effect::Add { told, .. } if held == Held::Unknown => Some(told.unwrap_or(held)),
        Effect::Add { by, told } => {
            let sum = values.sum(held, by);
            told.is_none_or(|told| told == sum).then_some(sum)
        }
    }
}

/// What came of a search.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// There is an order.
    Order,
    /// There is none.
    None,
    /// It would take too long to know.
    TooMuch,
}

/// Looks for an order of the calls in which each says what was there.
fn search(window: &[Operation], at_first: Held, values: &mut Values) -> Found {
    if window.len() > WINDOW_CALLS_MAX {
        return Found::TooMuch;
    }
    let wanted: u64 = (window.iter().enumerate())
        .filter(|(_, operation)| operation.returned.is_some())
        .fold(0, |bits, (index, _)| bits | 1 << index);
    // What has been tried: which calls are done, and what the key holds then.
    let mut seen: BTreeSet<(u64, Held)> = BTreeSet::new();
    let mut stack = vec![(0_u64, at_first)];
    let mut steps = 0;
    while let Some((done, held)) = stack.pop() {
        if done & wanted == wanted {
            return Found::Order;
        }
        if !seen.insert((done, held)) {
            continue;
        }
        steps += 1;
        if steps > STEPS_MAX {
            return Found::TooMuch;
        }
        let open = |index: &usize| done & (1 << index) == 0;
        // A call may be next if none that is not done returned before it was called.
        let first_return = (0..window.len())
            .filter(open)
            .filter_map(|index| window[index].returned)
            .min();
        let first_return = first_return.unwrap_or(u64::MAX);
        // The last that is pushed is tried first: those that return, in the order of their calls.
        let may_be_next = |index: &usize| open(index) && window[*index].called < first_return;
        let mut next: Vec<usize> = (0..window.len()).filter(may_be_next).collect();
        next.sort_by_key(|index| (window[*index].returned.is_some(), std::cmp::Reverse(*index)));
        for index in next {
            if let Some(held) = apply(window[index].effect, held, values) {
                stack.push((done | 1 << index, held));
            }
        }
    }
    Found::None
}
