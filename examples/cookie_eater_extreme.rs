//! A hundred eaters for as many cookies as they can eat, and each reads the whole story afterwards,
//! from the first cookie on.
//!
//! An eater that comes late misses nothing: a watch `from_start` reads the updates that the server
//! still holds. The story is the same for all of them, update for update, whoever wrote it.

use std::hash::{DefaultHasher, Hash, Hasher};
use zproc::{Context, Filter, Result, Txn};

const EATERS: u64 = 100;
const COOKIES: u64 = 5 * EATERS;

/// Takes a cookie if there is one, and says who had it. Runs in the server, whole or not at all.
fn eat(txn: &mut Txn<'_>, eater: u64) -> Result<bool> {
    let cookies: u64 = txn.get("cookies")?.unwrap_or(0);
    if cookies == 0 {
        return Ok(false);
    }
    txn.set("cookies", &(cookies - 1))?;
    txn.set("last eater", &eater)?;
    Ok(true)
}

/// Eats until nothing is left; then tells how many cookies it had, how many updates made the story,
/// and a hash of who ate when.
fn eater(ctx: &Context, number: u64) -> Result<(u64, usize, u64)> {
    let state = ctx.state();
    // They are baked when some eaters are there; who comes when all are gone goes hungry.
    state.wait_available::<u64>("cookies")?;
    let mut eaten = 0;
    while state.atomic(eat, number)? {
        eaten += 1;
    }
    let mut hash = DefaultHasher::new();
    let mut updates = 0;
    for update in state.watch(Filter::all()).from_start().start()? {
        let update = update?;
        updates += 1;
        let mut last = None;
        for change in &update.changes {
            match change.key() {
                "cookies" => last = change.after::<u64>()?,
                _ => (update.revision, change.after::<u64>()?).hash(&mut hash),
            }
        }
        if last == Some(0) {
            break;
        }
    }
    Ok((eaten, updates, hash.finish()))
}

fn main() -> Result<()> {
    let ctx = Context::new()?;
    let eaters = ctx.spawn_map(eater, 0..EATERS)?;
    ctx.state().set("cookies", &COOKIES)?;
    let mut total = 0;
    let mut stories = Vec::new();
    for told in eaters.join_all() {
        let (eaten, updates, hash) = told??;
        total += eaten;
        stories.push((updates, hash));
    }
    let (updates, hash) = stories[0];
    println!("{EATERS} eaters had {total} cookies");
    println!("each has read the same {updates} updates ({hash:016x})");
    assert_eq!(total, COOKIES, "each cookie is eaten once");
    assert_eq!(
        updates as u64,
        1 + COOKIES,
        "one update for each, and one for baking"
    );
    assert!(stories.iter().all(|story| *story == (updates, hash)));
    Ok(())
}
