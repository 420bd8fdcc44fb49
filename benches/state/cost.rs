//! One operation among few entries and among many, in turns; and beside Redis with as many keys.

use crate::measure::{Options, Work, beside};
use crate::redis::{Peer, Redis};
use crate::tree::{Tree, fill, key};
use crate::{Failure, amount};
use std::cell::Cell;
use zproc::{Limits, Result, State, Txn};

const SIZES: [(&str, usize); 3] = [("1 k", 1_000), ("100 k", 100_000), ("10 M", 10_000_000)];
const PAGE: usize = Limits::USUAL.page_entries_max;

/// One operation on the entry of this number.
type Operation = fn(&State, usize);
/// What comes closest to it there; the server is asked once for each command.
type Theirs = fn(&mut Peer, usize) -> std::result::Result<(), Failure>;

/// What is measured: its name, ours, and theirs with its name.
type Row = (&'static str, Operation, Option<(&'static str, Theirs)>);

const OPERATIONS: [Row; 5] = [
    (
        "get",
        |state, number| {
            let value = state.get::<usize>(&key(number)).expect("get");
            assert!(value.is_some());
        },
        Some(("GET", |peer, number| {
            peer.call(vec![b"GET", key(number).as_bytes()])
        })),
    ),
    (
        "set",
        |state, number| {
            state.set(&key(number), &number).expect("set");
        },
        Some(("SET", |peer, number| {
            let text = number.to_string();
            peer.call(vec![b"SET", key(number).as_bytes(), text.as_bytes()])
        })),
    ),
    (
        "new and gone",
        |state, number| {
            let key = format!("{}/new", key(number));
            state.set(&key, &number).expect("set");
            state.remove(&key).expect("remove");
        },
        Some(("SET, DEL", |peer, number| {
            let key = format!("{}/new", key(number));
            peer.call(vec![b"SET", key.as_bytes(), number.to_string().as_bytes()])?;
            peer.call(vec![b"DEL", key.as_bytes()])
        })),
    ),
    (
        "atomic",
        |state, number| {
            state.atomic(one_more, key(number)).expect("atomic");
        },
        Some(("INCR", |peer, number| {
            peer.call(vec![b"INCR", key(number).as_bytes()])
        })),
    ),
    // Redis has its keys in no order: nothing there is a page of them.
    (
        "page of 512",
        |state, number| {
            let first = key(number);
            let entries = state.iter::<usize>(first.as_str()..).take(PAGE);
            let sum = entries.map(|entry| entry.map(|(_, value)| value));
            sum.sum::<Result<usize>>().expect("a page");
        },
        None,
    ),
];

/// Reads the entry, and writes it.
fn one_more(txn: &mut Txn<'_>, key: String) -> Result<usize> {
    let value = txn.get::<usize>(&key)?.map_or(0, |value| value + 1);
    txn.set(&key, &value)?;
    Ok(value)
}

/// Numbers of entries far from the last one, whatever the size; a whole page begins at each.
fn numbers(count: usize) -> impl Fn() -> usize {
    let (number, count) = (Cell::new(0_usize), count.saturating_sub(PAGE).max(1));
    move || {
        let next = number.get().wrapping_mul(6_364_136_223_846_793_005);
        number.set(next.wrapping_add(1_442_695_040_888_963_407));
        (number.get() >> 20) % count
    }
}

pub(crate) fn run(options: &Options) -> std::result::Result<(), Failure> {
    let mut limits = Limits::default();
    limits.state_bytes_max = 16 << 30;
    let tree = Tree::start(limits)?;
    let redis = Redis::start()?;
    let sizes = SIZES.map(|(name, count)| (name, amount(options, count)));
    let mut peers = Vec::new();
    for (database, (name, count)) in sizes.iter().enumerate() {
        fill(&tree.ctx.namespace(*name), *count)?;
        if let Some(redis) = &redis {
            let mut peer = redis.connect()?;
            peer.call(vec![b"SELECT", database.to_string().as_bytes()])?;
            peer.fill(*count)?;
            peers.push(peer);
        }
    }
    for (what, operation, theirs) in OPERATIONS {
        let names = sizes.map(|(size, _)| format!("{what} {size}"));
        let ours = |index: usize| {
            let (namespace, count) = sizes[index];
            let (state, next) = (tree.ctx.namespace(namespace), numbers(count));
            Work::new(&names[index], move || operation(&state, next()))
        };
        beside(options, ours(0), vec![ours(1), ours(2)], 200, 50);
        let Some((command, theirs)) = theirs else {
            continue;
        };
        for (index, peer) in peers.iter_mut().enumerate() {
            let (size, count) = sizes[index];
            let (name, next) = (format!("Redis, {command} {size}"), numbers(count));
            let their = Work::new(&name, || theirs(peer, next()).expect("an answer"));
            beside(options, their, vec![ours(index)], 100, 50);
        }
    }
    Ok(())
}
