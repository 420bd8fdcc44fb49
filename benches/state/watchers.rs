//! One update to many watchers, and a watcher that is far behind.

use crate::measure::{Options, Work, beside};
use crate::redis::{Peer, Redis};
use crate::tree::Tree;
use crate::{Failure, amount, tell};
use std::time::Instant;
use zproc::{Filter, Limits, State, Watch};

/// What an update or a message holds.
const TEXT: &str = "thirty-two bytes, more or less..";

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let redis = Redis::start()?;
    for count in [1, 100, 1000].map(|count| amount(options, count)) {
        fan_out(options, redis.as_ref(), count)?;
    }
    catch_up(options, amount(options, 100_000))
}

/// From the call until the last of them has it. Ours are watches of one process, theirs are
/// connections of one process; both are read in turn by one thread.
fn fan_out(options: &Options, redis: Option<&Redis>, count: usize) -> Result<(), Failure> {
    let tree = Tree::start(Limits::default())?;
    let state = tree.ctx.state();
    let watches = (0..count).map(|_| state.watch(Filter::key("k")).start());
    let mut watches = watches.collect::<zproc::Result<Vec<Watch>>>()?;
    let name = format!("{count} watchers");
    let ours = Work::new(&name, || {
        state.set("k", TEXT).expect("set");
        for watch in &mut watches {
            watch.next_update().expect("an update");
        }
    });
    let Some(redis) = redis else {
        let least = Work::new("set alone", || {
            state.set("nobody watches", TEXT).expect("set");
        });
        beside(options, least, vec![ours], 40, 5);
        return Ok(());
    };
    let mut publisher = redis.connect()?;
    let mut subscribers = Vec::new();
    for _ in 0..count {
        let mut peer: Peer = redis.connect()?;
        peer.call(vec![b"SUBSCRIBE", b"k"])?;
        subscribers.push(peer);
    }
    let theirs = Work::new("Redis pub/sub", || {
        let publish = vec![&b"PUBLISH"[..], b"k", TEXT.as_bytes()];
        publisher.call(publish).expect("publish");
        for peer in &mut subscribers {
            peer.read().expect("a message");
        }
    });
    beside(options, theirs, vec![ours], 40, 5);
    Ok(())
}

/// Limits with room for that many updates.
pub(crate) fn long_history() -> Limits {
    let mut limits = Limits::default();
    limits.history_entries_max = 1_000_000;
    limits.history_bytes_max = 1 << 30;
    limits
}

/// Makes so many updates of one namespace.
pub(crate) fn make_updates(state: &State, count: usize) -> Result<(), Failure> {
    std::thread::scope(|scope| {
        let write = |thread: usize| {
            (thread..count)
                .step_by(8)
                .try_for_each(|number| state.set(&format!("{thread}"), &number).map(drop))
        };
        let threads: Vec<_> = (0..8)
            .map(|thread| scope.spawn(move || write(thread)))
            .collect();
        for thread in threads {
            thread.join().expect("no panic")?;
        }
        Ok(())
    })
}

fn catch_up(options: &Options, count: usize) -> Result<(), Failure> {
    let tree = Tree::start(long_history())?;
    let state = tree.ctx.state();
    make_updates(&state, count)?;
    let mut rates = Vec::new();
    for _ in 0..5 {
        let begin = Instant::now();
        let mut watch = state.watch(Filter::all()).from_start().start()?;
        for _ in 0..count {
            watch.next_update()?;
        }
        rates.push(count as f64 / begin.elapsed().as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    let name = format!("catching up, {count} updates behind: middle");
    tell(options, &name, rates[2], "updates/s", None);
    tell(
        options,
        "the same, slowest of five",
        rates[0],
        "updates/s",
        None,
    );
    Ok(())
}
