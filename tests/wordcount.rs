//! A hundred workers of the example are killed at seeded points, between claim and commit too, and
//! the total is always that of no worker at all.

#[path = "../examples/wordcount/count.rs"]
mod count;

use count::{Plan, Stage, Total, count_here, count_in_processes};
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use zproc::{Context, Result, Txn};

const ROUNDS: u64 = 5;
const DEATHS_PER_ROUND: u64 = 20;
const WORKERS: usize = 3;
/// Small, so that there are many claims, and words that lie across the cuts.
const CHUNK_BYTES: u64 = 4 * 1024;

/// How a worker dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Death {
    /// Where it stands.
    Here,
    /// From another thread, while it goes on to its next request.
    OnTheWay,
}

/// Draws, in the state, whether the worker that asks dies: all workers share one seeded sequence
/// and one number of deaths to come.
fn draw(txn: &mut Txn<'_>, stage: Stage) -> Result<Option<Death>> {
    let left: u64 = txn.get("left")?.unwrap_or(0);
    let mut seed: u64 = txn.get("seed")?.expect("the test has set the seed");
    // xorshift64: the next number of the sequence.
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    txn.set("seed", &seed)?;
    if left == 0 || !seed.is_multiple_of(8) {
        return Ok(None);
    }
    let death = match (seed >> 3) % 3 {
        0 => Death::OnTheWay,
        _ => Death::Here,
    };
    txn.set("left", &(left - 1))?;
    let mut told: Vec<(Stage, Death)> = txn.get("told")?.unwrap_or_default();
    told.push((stage, death));
    txn.set("told", &told)?;
    Ok(Some(death))
}

/// The hook: runs in the worker.
fn maybe_die(ctx: &Context, stage: Stage) {
    let die = || kill_process(getpid(), Signal::KILL).expect("a process may kill itself");
    let drawn = ctx.namespace("deaths").atomic(draw, stage);
    match drawn.expect("the state can be asked") {
        Some(Death::Here) => die(),
        Some(Death::OnTheWay) => drop(std::thread::spawn(die)),
        None => {}
    }
}

#[test]
fn the_total_is_right_whoever_dies() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let plan = Plan::below(&sources, u64::MAX, CHUNK_BYTES).expect("the sources are there");
    let expected = count_here(&plan);
    let mut deaths = BTreeMap::<String, u64>::new();
    for round in 1..=ROUNDS {
        let ctx = Context::new().expect("a tree");
        let drawn = ctx.namespace("deaths");
        drawn.set("seed", &(round * 0x9e37_79b9)).expect("set");
        drawn.set("left", &DEATHS_PER_ROUND).expect("set");

        let mut last = Total::default();
        let progress = |total: Total| {
            assert!(
                total.chunks == last.chunks + 1,
                "a commit was not seen, or twice"
            );
            last = total;
        };
        let (counts, replaced) =
            count_in_processes(&ctx, &plan, WORKERS, maybe_die, progress).expect("all is counted");
        assert_eq!(counts, expected, "in round {round}");
        assert_eq!(last.words, expected.total, "as the watch saw it");

        let told: Vec<(Stage, Death)> = drawn.get("told").expect("get").unwrap_or_default();
        let here = told.iter().filter(|(_, how)| *how == Death::Here).count() as u64;
        assert_eq!(
            told.len() as u64,
            DEATHS_PER_ROUND,
            "deaths in round {round}"
        );
        // Who is killed on the way may have ended of itself before.
        assert!(
            (here..=DEATHS_PER_ROUND).contains(&replaced),
            "{replaced} replaced, {here} had to be"
        );
        for (stage, _) in told {
            *deaths.entry(format!("{stage:?}")).or_default() += 1;
        }
        let keys = ctx.state().keys(..).expect("keys");
        let left: Vec<_> = keys
            .iter()
            .filter(|key| key.starts_with("claim/"))
            .collect();
        assert!(left.is_empty(), "claims are left: {left:?}");
    }
    assert_eq!(deaths.len(), 4, "no death at some stage: {deaths:?}");
    assert_eq!(deaths.values().sum::<u64>(), ROUNDS * DEATHS_PER_ROUND);
}

#[test]
fn where_chunks_are_cut_makes_no_difference() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let whole = Plan::below(&sources, u64::MAX, count::CHUNK_BYTES_MAX).expect("the sources");
    let expected = count_here(&whole);
    assert_eq!(expected.unreadable + whole.unreadable, 0);
    assert!(expected.total > 10_000 && expected.commonest(1)[0].1 > 1000);
    for chunk_bytes in [97, 1000, 64 * 1024] {
        let plan = Plan::below(&sources, u64::MAX, chunk_bytes).expect("the sources");
        assert_eq!((plan.files, plan.bytes), (whole.files, whole.bytes));
        assert_eq!(
            count_here(&plan),
            expected,
            "in chunks of {chunk_bytes} bytes"
        );
    }
}
