//! All ways to wait for the state and to watch it, a process for each, on one traffic light.
//!
//! Nobody polls. Each process says what it waits for; the server tests that when something changes
//! that it has to do with, and nothing else.

use zproc::{Context, Filter, Result, State};

const ROUND: [&str; 4] = ["red", "red-amber", "green", "amber"];

/// How many cars there are to see.
const CARS: u64 = 8;

/// The street, for one who watches it: a key says so, which goes when its process ends. As long as
/// there is one, the light goes on.
fn watching(ctx: &Context, name: &str) -> Result<State> {
    ctx.namespace("watching").set_owned(name, &())?;
    Ok(ctx.namespace("street"))
}

/// A ready-made wait: until the key has this value.
fn for_green(ctx: &Context, (): ()) -> Result<String> {
    let street = watching(ctx, "for_green")?;
    street.wait_equal("light", "green")?;
    street.wait_not_equal("light", &"green".to_owned())?;
    Ok("has seen green come and go".into())
}

/// A ready-made wait on a key that is not there yet.
fn for_a_car(ctx: &Context, (): ()) -> Result<String> {
    let street = watching(ctx, "for_a_car")?;
    let (cars, revision) = street.wait_truthy::<u64>("cars")?;
    Ok(format!("{cars} cars since {revision}"))
}

/// A function of the state, tested in the server; it may read as many keys as it likes.
fn for_an_accident(ctx: &Context, (): ()) -> Result<String> {
    let street = watching(ctx, "for_an_accident")?;
    let (cars, _) = street.wait_until(|view| {
        let crossing = view.get::<String>("light")?.as_deref() == Some("red");
        let cars: u64 = view.get("cars")?.unwrap_or(0);
        Ok((crossing && cars > 3).then_some(cars))
    })?;
    Ok(format!("{cars} cars at red"))
}

/// Every update of one key, in order, from the first on.
fn every_light(ctx: &Context, (): ()) -> Result<String> {
    let street = watching(ctx, "every_light")?;
    let watch = street.watch(Filter::key("light")).from_start().start()?;
    let mut seen = Vec::new();
    for update in watch.take(2 * ROUND.len()) {
        seen.push(update?.changes[0].after::<String>()?.unwrap_or_default());
    }
    assert!(seen.iter().eq(ROUND.iter().chain(&ROUND)), "{seen:?}");
    Ok(seen.join(" "))
}

/// Updates of all keys but one.
fn anything_else(ctx: &Context, (): ()) -> Result<String> {
    let street = watching(ctx, "anything_else")?;
    let watch = street
        .watch(Filter::all_but(["light"]))
        .from_start()
        .start()?;
    let mut cars = 0;
    for update in watch {
        let update = update?;
        cars += 1;
        assert_eq!(update.changes[0].after()?, Some(cars), "each car once");
        if cars == CARS {
            break;
        }
    }
    Ok(format!("{cars} cars, and never looked at the light"))
}

/// The state as it is now, and then each update that comes after it: no gap, no overlap.
fn from_now_on(ctx: &Context, (): ()) -> Result<String> {
    let street = watching(ctx, "from_now_on")?;
    let (snapshot, mut watch) = street.watch(Filter::key("cars")).start_with_snapshot()?;
    let came_at: u64 = snapshot.get("cars")?.unwrap_or(0);
    let mut cars = came_at;
    while cars < came_at + CARS {
        cars += 1;
        let update = watch.next_update()?;
        assert_eq!(update.changes[0].after()?, Some(cars), "the next one");
    }
    Ok(format!(
        "came at car {came_at}, and has seen each to {cars}"
    ))
}

fn main() -> Result<()> {
    let ctx = Context::new()?;
    let street = ctx.namespace("street");
    let watchers = [
        ("for_green", ctx.spawn(for_green, ())?),
        ("for_a_car", ctx.spawn(for_a_car, ())?),
        ("for_an_accident", ctx.spawn(for_an_accident, ())?),
        ("every_light", ctx.spawn(every_light, ())?),
        ("anything_else", ctx.spawn(anything_else, ())?),
        ("from_now_on", ctx.spawn(from_now_on, ())?),
    ];
    let still_watching = ctx.namespace("watching");
    still_watching.wait_until(|view| Ok(view.len()? == 6))?;
    for light in ROUND.iter().cycle() {
        if still_watching.is_empty()? {
            break;
        }
        street.set("light", light)?;
        street.add("cars", 1)?;
    }
    for (name, watcher) in watchers {
        println!("{name}: {}", watcher.join()??);
    }
    Ok(())
}
