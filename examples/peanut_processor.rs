//! Three ways to consume what a fast producer makes, a process each: every peanut, the newest peanut
//! only, and every peanut until one falls too far behind.
//!
//! The producer waits for nobody: it writes the number of the newest peanut to one key. Each consumer
//! is slow at its first peanut: it takes until half of them all are there.

use serde::{Deserialize, Serialize};
use zproc::{Context, Filter, Result, State, Watch};

/// How many peanuts there are.
const PEANUTS: u64 = 5000;

/// The hybrid consumer lets go of what it has missed when it is more than this many peanuts behind.
const BEHIND_MAX: u64 = 100;

/// What a consumer has eaten.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Eaten {
    count: u64,
    /// The number of the last.
    last: u64,
    /// How often it has let go of what it had missed.
    went_live: u64,
}

impl Eaten {
    /// Eats a peanut, the first one slowly.
    fn eat(&mut self, number: u64, peanuts: &State) -> Result<()> {
        assert!(
            number > self.last,
            "{number}: none twice, and none too late"
        );
        self.last = number;
        self.count += 1;
        if self.count == 1 {
            peanuts.wait_until(|view| {
                let newest: u64 = view.get("newest")?.unwrap_or(0);
                Ok(newest >= PEANUTS / 2)
            })?;
        }
        Ok(())
    }
}

/// Says that a consumer's watch has begun.
fn ready(ctx: &Context, name: &str) -> Result<()> {
    ctx.namespace("ready").set(name, &()).map(drop)
}

/// The number of the next peanut.
fn next(watch: &mut Watch) -> Result<u64> {
    let update = watch.next_update()?;
    Ok(update.changes[0].after()?.unwrap_or(0))
}

/// Every peanut, in order, however far behind it is: the server's log keeps them for it.
fn buffered(ctx: &Context, (): ()) -> Result<Eaten> {
    let peanuts = ctx.namespace("peanuts");
    let mut watch = peanuts.watch(Filter::key("newest")).start()?;
    ready(ctx, "buffered")?;
    let mut eaten = Eaten::default();
    while eaten.last < PEANUTS {
        eaten.eat(next(&mut watch)?, &peanuts)?;
    }
    Ok(eaten)
}

/// The newest peanut, whenever it is done with one: those in between are made one update.
fn live(ctx: &Context, (): ()) -> Result<Eaten> {
    let peanuts = ctx.namespace("peanuts");
    let mut watch = peanuts.watch(Filter::key("newest")).latest().start()?;
    ready(ctx, "live")?;
    let mut eaten = Eaten::default();
    while eaten.last < PEANUTS {
        eaten.eat(next(&mut watch)?, &peanuts)?;
    }
    Ok(eaten)
}

/// Every peanut, until it is too far behind: then it lets go of those that it has missed, and goes on
/// with the newest.
fn hybrid(ctx: &Context, (): ()) -> Result<Eaten> {
    let peanuts = ctx.namespace("peanuts");
    let mut watch = peanuts.watch(Filter::key("newest")).start()?;
    ready(ctx, "hybrid")?;
    let mut eaten = Eaten::default();
    while eaten.last < PEANUTS {
        let number = next(&mut watch)?;
        if number <= eaten.last {
            continue; // It was the newest when the watch went live.
        }
        eaten.eat(number, &peanuts)?;
        let newest = || peanuts.get("newest").map(|number| number.unwrap_or(0));
        if newest()? - eaten.last > BEHIND_MAX {
            watch.go_live()?;
            eaten.went_live += 1;
            // Read only now, so that the last one can't be missed.
            eaten.eat(newest()?, &peanuts)?;
        }
    }
    Ok(eaten)
}

fn main() -> Result<()> {
    let ctx = Context::new()?;
    let consumers = [
        ctx.spawn(buffered, ())?,
        ctx.spawn(live, ())?,
        ctx.spawn(hybrid, ())?,
    ];
    ctx.namespace("ready")
        .wait_until(|view| Ok(view.len()? == 3))?;
    let peanuts = ctx.namespace("peanuts");
    for number in 1..=PEANUTS {
        peanuts.set("newest", &number)?;
    }
    let [buffered, live, hybrid] = consumers.map(|consumer| consumer.join());
    let (buffered, live, hybrid) = (buffered??, live??, hybrid??);
    println!("buffered: {buffered:?}\nlive: {live:?}\nhybrid: {hybrid:?}");
    for eaten in [&buffered, &live, &hybrid] {
        assert_eq!(eaten.last, PEANUTS, "all of them get the newest");
    }
    assert_eq!(buffered.count, PEANUTS, "every one");
    // Nobody gave it what was made while it was busy, but for the newest.
    assert!(live.count <= PEANUTS / 2 + 2);
    assert!(hybrid.count < PEANUTS && hybrid.went_live >= 1);
    Ok(())
}
