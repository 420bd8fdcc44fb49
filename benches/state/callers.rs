//! Many calls at once, and many operations in one: beside Redis, each caller with a connection of its
//! own there, and with as many commands on their way at once as ours puts into one batch.

use crate::measure::{Options, Work, beside};
use crate::redis::{Peer, Redis};
use crate::tree::Tree;
use crate::{Failure, amount};
use std::thread;
use std::time::{Duration, Instant};
use zproc::{Context, Limits, Result, State};

const CALLERS: usize = 8;
/// Operations of one batch, commands in one pipeline.
const TOGETHER: usize = 128;
const TEXT: &str = "thirty-two bytes, more or less..";

pub(crate) fn run(options: &Options) -> std::result::Result<(), Failure> {
    let Some(redis) = Redis::start()? else {
        return Ok(());
    };
    let tree = Tree::start(Limits::default())?;
    callers(options, &tree, &redis)?;
    crews(options, &tree, &redis)?;
    drop(tree);
    // With a log of its own: none that others have filled, which each batch would have to make room in.
    let tree = Tree::start(Limits::default())?;
    batches(options, &tree.ctx.namespace("batches"), &redis)
}

/// All of them call in turn: a set, a get.
fn at_once<T: Send>(
    callers: &mut [T],
    times: usize,
    call: impl Fn(&mut T, usize) + Sync,
) -> Duration {
    let begin = Instant::now();
    thread::scope(|scope| {
        for caller in callers {
            let call = &call;
            scope.spawn(move || (0..times).for_each(|number| call(caller, number)));
        }
    });
    begin.elapsed()
}

/// Eight threads of one process.
fn callers(options: &Options, tree: &Tree, redis: &Redis) -> std::result::Result<(), Failure> {
    let times = amount(options, 1000);
    let mut states: Vec<State> = (0..CALLERS)
        .map(|n| tree.ctx.namespace(n.to_string()))
        .collect();
    let mut peers = (0..CALLERS)
        .map(|_| redis.connect())
        .collect::<std::result::Result<Vec<Peer>, Failure>>()?;
    let theirs = Work::timed("Redis", || at_once(&mut peers, times, redis_calls));
    let ours = Work::timed("8,000 calls of 8 threads at once", || {
        at_once(&mut states, times, |state, number| {
            calls(state, number).expect("a call");
        })
    });
    beside(options, theirs, vec![ours], 20, 1);
    Ok(())
}

fn calls(state: &State, number: usize) -> Result<()> {
    if number.is_multiple_of(2) {
        return state.set("k", TEXT).map(drop);
    }
    state.get::<String>("k").map(drop)
}

fn redis_calls(peer: &mut Peer, number: usize) {
    let command = match number % 2 {
        0 => vec![&b"SET"[..], b"k", TEXT.as_bytes()],
        _ => vec![&b"GET"[..], b"k"],
    };
    peer.call(command).expect("a call");
}

/// Calls when it is told to, and tells when it has: Redis at this path, or the state.
fn caller(ctx: &Context, (path, times, rounds): (Option<String>, usize, u64)) -> Result<()> {
    let (signs, own) = (
        ctx.namespace("signs"),
        ctx.namespace(std::process::id().to_string()),
    );
    let mut peer = path.map(|path| Peer::to(path.as_ref()).expect("Redis listens"));
    let round = match peer {
        Some(_) => "theirs",
        None => "ours",
    };
    signs.add("there", 1)?;
    for number in 1..=rounds {
        signs.wait_equal(round, &number)?;
        for number in 0..times {
            match &mut peer {
                Some(peer) => redis_calls(peer, number),
                None => calls(&own, number)?,
            }
        }
        signs.add(&format!("{round} done"), 1)?;
    }
    Ok(())
}

/// Eight processes, each with one thread.
fn crews(options: &Options, tree: &Tree, redis: &Redis) -> std::result::Result<(), Failure> {
    let (times, rounds) = (amount(options, 1000), 20);
    let measured = if options.in_earnest { rounds } else { 1 };
    let all = measured as u64 + 1;
    let path = redis.socket().to_str().ok_or("a path")?.to_owned();
    let mut crew = Vec::new();
    for path in [None, Some(path)] {
        for _ in 0..CALLERS {
            crew.push(tree.ctx.spawn(caller, (path.clone(), times, all))?);
        }
    }
    let signs = tree.ctx.namespace("signs");
    signs.wait_equal("there", &(2 * CALLERS))?;
    let round = |name: &'static str| {
        let (signs, mut number) = (signs.clone(), 0_usize);
        move || {
            number += 1;
            let begin = Instant::now();
            signs.set(name, &number).expect("set");
            let done = number * CALLERS;
            signs
                .wait_equal(&format!("{name} done"), &done)
                .expect("they come to their end");
            begin.elapsed()
        }
    };
    let theirs = Work::timed("Redis", round("theirs"));
    let ours = Work::timed("8,000 calls of 8 processes at once", round("ours"));
    beside(options, theirs, vec![ours], rounds, 1);
    for process in crew {
        process.join()??;
    }
    Ok(())
}

/// As many sets, or gets, at once. A client of Redis that does what ours does, from keys and texts to
/// texts; and beside it one that has its bytes ready and does not look at the answers.
fn batches(options: &Options, state: &State, redis: &Redis) -> std::result::Result<(), Failure> {
    let keys: Vec<String> = (0..TOGETHER)
        .map(|number| format!("key/{number:03}"))
        .collect();
    let (mut peer, mut bare) = (redis.connect()?, redis.connect()?);
    let pipeline = |words: &dyn Fn(&'_ str) -> Vec<Vec<u8>>| -> Vec<u8> {
        let commands = keys.iter().map(|key| words(key));
        commands.flat_map(|words| Peer::encoded(&words)).collect()
    };
    let ready = pipeline(&|key| vec![b"SET".to_vec(), key.into(), TEXT.into()]);
    let theirs = Work::new("Redis, in one pipeline", || {
        let sets = keys.iter().map(|key| ["SET", key, TEXT]);
        let answers = peer.pipeline(sets).expect("set");
        assert!(answers.iter().all(|answer| answer == "OK"));
    });
    let bare_sets = Work::new("Redis, bytes made before", || {
        bare.exchange(&ready, TOGETHER * "+OK\r\n".len())
            .expect("set");
    });
    let ours = Work::new("128 sets in a batch", || {
        let mut batch = state.batch();
        for key in &keys {
            batch.set(key, TEXT);
        }
        batch.commit().expect("set");
    });
    beside(options, theirs, vec![ours, bare_sets], 50, 20);
    let ready = pipeline(&|key| vec![b"GET".to_vec(), key.into()]);
    let answer = TOGETHER * format!("${}\r\n{TEXT}\r\n", TEXT.len()).len();
    let theirs = Work::new("Redis, in one pipeline", || {
        let gets = keys.iter().map(|key| ["GET", key]);
        let answers = peer.pipeline(gets).expect("get");
        assert!(answers.iter().all(|answer| answer == TEXT));
    });
    let bare_gets = Work::new("Redis, bytes made before", || {
        bare.exchange(&ready, answer).expect("get");
    });
    let ours = Work::new("128 gets in a batch", || {
        let mut batch = state.batch();
        for key in &keys {
            batch.get(key);
        }
        let batched = batch.commit().expect("get");
        let all = (0..TOGETHER).all(|place| {
            let value = batched.value::<String>(place).expect("a text");
            value.is_some_and(|value| value == TEXT)
        });
        assert!(all, "each has one");
    });
    beside(options, theirs, vec![ours, bare_gets], 50, 20);
    Ok(())
}
