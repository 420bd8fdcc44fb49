//! One update to many watchers, and a watcher that is far behind.

use crate::measure::{Options, Work, beside};
use crate::redis::{Peer, Redis};
use crate::tree::{Tree, bytes};
use crate::{Failure, amount, tell};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use zproc::{Context, Filter, Limits, Process, Server, State, Watch};

/// What an update or a message holds.
const TEXT: &str = "thirty-two bytes, more or less..";

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let redis = Redis::start()?;
    for count in [1, 100, 1000].map(|count| amount(options, count)) {
        let tree = Tree::start(Limits::default())?;
        let states = vec![tree.ctx.state(); count];
        fan_out(
            options,
            redis.as_ref(),
            &format!("{count} watchers"),
            &states,
        )?;
    }
    for count in [100, 1000].map(|count| if options.in_earnest { count } else { 10 }) {
        fan_out_to_connections(options, redis.as_ref(), count)?;
    }
    if let Some(redis) = &redis {
        fan_out_to_processes(options, redis, amount(options, 100).min(100))?;
    }
    idle(options, amount(options, 10_000))?;
    catch_up(options, amount(options, 100_000))
}

/// What the clock says, the same in all processes.
fn stamp() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

/// Tells when it had each of so many updates, or messages of Redis at this path.
fn watcher(ctx: &Context, (path, rounds): (Option<String>, usize)) -> zproc::Result<Vec<u64>> {
    let there = || ctx.namespace("signs").add("there", 1);
    let mut stamps = Vec::new();
    let Some(path) = path else {
        let mut watch = ctx.namespace("fan").watch(Filter::key("k")).start()?;
        there()?;
        for _ in 0..rounds {
            watch.next_update()?;
            stamps.push(stamp());
        }
        return Ok(stamps);
    };
    let mut peer = Peer::to(path.as_ref()).expect("Redis listens");
    peer.call(vec![b"SUBSCRIBE", b"k"]).expect("subscribe");
    there()?;
    for _ in 0..rounds {
        peer.read().expect("a message");
        stamps.push(stamp());
    }
    Ok(stamps)
}

/// From the call until the last of so many processes has it, each with a connection of its own, in
/// turns with as many that have theirs to Redis. (A thousand processes of each would measure the machine.)
fn fan_out_to_processes(options: &Options, redis: &Redis, count: usize) -> Result<(), Failure> {
    // More than any round takes: none begins while another is under way.
    const PAUSE: Duration = Duration::from_millis(50);
    let rounds = if options.in_earnest { 60 } else { 2 };
    let tree = Tree::start(Limits::default())?;
    let path = redis.socket().to_str().ok_or("a path")?.to_owned();
    let crew = |path: Option<String>| {
        let crew = (0..count).map(|_| tree.ctx.spawn(watcher, (path.clone(), rounds)));
        crew.collect::<zproc::Result<Vec<_>>>()
    };
    let (ours, theirs) = (crew(None)?, crew(Some(path))?);
    tree.ctx
        .namespace("signs")
        .wait_equal("there", &(2 * count))?;
    let (state, mut publisher) = (tree.ctx.namespace("fan"), redis.connect()?);
    let (mut set_at, mut published_at) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        thread::sleep(PAUSE);
        set_at.push(stamp());
        state.set("k", TEXT)?;
        thread::sleep(PAUSE);
        published_at.push(stamp());
        publisher.call(vec![&b"PUBLISH"[..], b"k", TEXT.as_bytes()])?;
    }
    let ours = last_has_it(ours, &set_at)?;
    let theirs = last_has_it(theirs, &published_at)?;
    let name = format!("{count} watchers, each a process: the last has it");
    tell(options, &name, ours, "us", Some(("Redis", theirs)));
    Ok(())
}

/// The middle of what each round took until the last had it, in microseconds.
fn last_has_it(crew: Vec<Process<zproc::Result<Vec<u64>>>>, began: &[u64]) -> Result<f64, Failure> {
    let mut last = vec![0; began.len()];
    for process in crew {
        for (last, stamp) in last.iter_mut().zip(process.join()??) {
            *last = stamp.max(*last);
        }
    }
    let mut took: Vec<u64> = (last.iter().zip(began))
        .map(|(last, began)| last.saturating_sub(*began))
        .collect();
    took.sort_unstable();
    Ok(took[took.len() / 2] as f64 / 1000.0)
}

/// What many watches cost that see nothing: time of a set of another key, and memory.
fn idle(options: &Options, most: usize) -> Result<(), Failure> {
    let counts = [0, most / 100, most];
    let mut held = Vec::new();
    for count in counts {
        let tree = Tree::start(Limits::default())?;
        let state = tree.ctx.state();
        state.set("other", TEXT)?;
        let before = (tree.bytes()?, bytes(std::process::id())?);
        let watches = (0..count).map(|n| state.watch(Filter::key(format!("{n}"))).start());
        let watches = watches.collect::<zproc::Result<Vec<Watch>>>()?;
        let after = (tree.bytes()?, bytes(std::process::id())?);
        if count == most {
            let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / count as f64;
            let (server, client) = (each(before.0, after.0), each(before.1, after.1));
            let name = format!("memory per idle watch of {count}, server");
            tell(
                options,
                &name,
                server,
                "bytes",
                Some(("etcd's word", 350.0)),
            );
            tell(options, "the same, its process", client, "bytes", None);
        }
        held.push((tree, state, watches));
    }
    let names = counts.map(|count| format!("set beside {count} idle watches"));
    let mut works = held.iter().zip(&names).map(|((_, state, _), name)| {
        Work::new(name, || {
            state.set("other", TEXT).expect("set");
        })
    });
    let least = works.next().ok_or("there is a least")?;
    beside(options, least, works.collect(), 100, 50);
    Ok(())
}

/// Each watcher is a program's connection to a server that stands alone: so many contexts of one process,
/// each with a keeper of its own. The server is a thread of this process.
fn fan_out_to_connections(
    options: &Options,
    redis: Option<&Redis>,
    count: usize,
) -> Result<(), Failure> {
    let place = tempfile::tempdir()?;
    let path = place.path().join("state.socket");
    let server = Server::bind(&path)?;
    let stopper = server.stopper();
    let serves = thread::spawn(move || server.run());
    let contexts = (0..count).map(|_| Context::connect(&path));
    let contexts = contexts.collect::<zproc::Result<Vec<Context>>>()?;
    let states: Vec<State> = contexts.iter().map(Context::state).collect();
    let name = format!("{count} connections");
    fan_out(options, redis, &name, &states)?;
    drop((states, contexts));
    stopper.stop();
    serves.join().expect("no panic")?;
    Ok(())
}

/// From the call until the last of them has it. Ours are watches of these states, theirs are
/// connections of one process; both are read in turn by one thread.
fn fan_out(
    options: &Options,
    redis: Option<&Redis>,
    name: &str,
    states: &[State],
) -> Result<(), Failure> {
    let state = states.first().ok_or("somebody watches")?;
    let watches = states
        .iter()
        .map(|state| state.watch(Filter::key("k")).start());
    let mut watches = watches.collect::<zproc::Result<Vec<Watch>>>()?;
    let ours = Work::new(name, || {
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
    for _ in states {
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
    thread::scope(|scope| {
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
