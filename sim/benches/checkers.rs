//! How long the checkers take for a history of 10,000, 100,000 and 1,000,000 operations, and what
//! ten times as many cost: ten, if they are linear.
//!
//! ```text
//! cargo bench -p zproc-sim --bench checkers [-- --json]
//! ```

use std::time::{Duration, Instant};
use zproc_sim::generated::Generated;

/// Each is ten times the one before.
const SIZES: [u64; 3] = [10_000, 100_000, 1_000_000];
/// The fastest of so many runs counts.
const RUNS: u32 = 3;

/// Every checker's time, the least of all runs.
fn measure(operations: u64) -> Vec<(&'static str, Duration)> {
    let generated = Generated::new(operations);
    let mut best: Vec<(&'static str, Duration)> = Vec::new();
    for _ in 0..RUNS {
        let mut took = Vec::new();
        let begin = Instant::now();
        let mut last = begin;
        let (_, broken) = generated.check(&mut |name| {
            let now = Instant::now();
            took.push((name, now - last));
            last = now;
        });
        took.push(("all", begin.elapsed()));
        assert!(broken.is_empty(), "{broken:?}");
        if best.is_empty() {
            best = took;
        } else {
            for (best, took) in best.iter_mut().zip(took) {
                best.1 = best.1.min(took.1);
            }
        }
    }
    best
}

fn main() {
    let has = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    // `cargo test --benches` only tries it out.
    let sizes = if has("--bench") {
        &SIZES[..]
    } else {
        &SIZES[..1]
    };
    let mut smaller: Vec<(&'static str, Duration)> = Vec::new();
    for operations in sizes {
        let times = measure(*operations);
        if !has("--json") {
            println!("{operations} operations");
        }
        for (index, (name, time)) in times.iter().enumerate() {
            let ms = time.as_secs_f64() * 1e3;
            let ratio = smaller
                .get(index)
                .map(|(_, small)| ms / (small.as_secs_f64() * 1e3));
            if has("--json") {
                let ratio = ratio.map_or("null".to_owned(), |ratio| format!("{ratio:.2}"));
                println!(
                    r#"{{"name":"{name}","operations":{operations},"time":{ms:.3},"unit":"ms","ratio":{ratio}}}"#
                );
            } else {
                let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:>8.2} x"));
                println!("  {name:<18} {ms:>10.2} ms{ratio}");
            }
        }
        smaller = times;
    }
}
