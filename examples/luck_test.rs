//! A die is thrown until each player has had its lucky number. Who waits for one misses no throw.
//!
//! Each throw overwrites the one before, and nobody waits for the players: a player that looked at
//! the state now and then would miss most of them. A wait is tested in the server at each throw, so
//! it ends at the first that fits, and its revision tells which one that was.

use std::hash::{BuildHasher, RandomState};
use zproc::{Context, Filter, Result, Revision};

const SIDES: u64 = 20;

/// Waits for its number; tells the revision of the throw.
fn player(ctx: &Context, lucky: u64) -> Result<Revision> {
    let table = ctx.namespace("table");
    // A sign for the one who throws; it goes when this process ends.
    ctx.namespace("waiting")
        .set_owned(&lucky.to_string(), &())?;
    table.wait_equal("throw", &lucky)
}

/// Throws until nobody waits any more.
fn thrower(ctx: &Context, (): ()) -> Result<u64> {
    let (table, waiting) = (ctx.namespace("table"), ctx.namespace("waiting"));
    let luck = RandomState::new();
    let mut throws = 0;
    while !waiting.is_empty()? {
        throws += 1;
        table.set("throw", &(luck.hash_one(throws) % SIDES + 1))?;
    }
    Ok(throws)
}

fn main() -> Result<()> {
    let ctx = Context::new()?;
    let watch = ctx.namespace("table").watch(Filter::key("throw")).start()?;
    let players = ctx.spawn_map(player, 1..=SIDES)?;
    ctx.namespace("waiting")
        .wait_until(|view| Ok(view.len()? == SIDES))?;
    let throws = ctx.spawn(thrower, ())?.join()??;

    let mut won = Vec::new();
    for revision in players.join_all() {
        won.push(revision??);
    }
    // The watch has seen each throw. A player's wait may have begun after some of them, as its sign
    // comes first; but it has ended at a throw of its number.
    let mut seen = 0;
    for update in watch.take(throws as usize) {
        let update = update?;
        seen += 1;
        let number: u64 = update.changes[0].after()?.expect("a throw");
        for (player, _) in won
            .iter()
            .enumerate()
            .filter(|(_, it)| **it == update.revision)
        {
            println!(
                "throw {seen}: a {number}, and player {} has won",
                player + 1
            );
            assert_eq!(player as u64 + 1, number);
        }
    }
    println!("{throws} throws for {SIDES} players");
    assert_eq!(seen, throws, "no throw is missed");
    Ok(())
}
