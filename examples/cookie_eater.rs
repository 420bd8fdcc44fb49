//! The main process bakes cookies; three hungry processes eat them, each cookie once.
//!
//! The eaters don't poll: each blocks until there is a cookie, or the oven is off. Whoever comes
//! first gets it, since looking and taking is one atomic function. The main process watches.

use zproc::{Context, Filter, Result, Txn, View};

const COOKIES: u64 = 20;

/// Runs in the server, whole or not at all.
fn bake(txn: &mut Txn<'_>, _: ()) -> Result<()> {
    let cookies: u64 = txn.get("cookies")?.unwrap_or(0);
    txn.set("cookies", &(cookies + 1))
}

/// Takes a cookie, if there still is one.
fn eat(txn: &mut Txn<'_>, _: ()) -> Result<bool> {
    let cookies: u64 = txn.get("cookies")?.unwrap_or(0);
    if cookies > 0 {
        txn.set("cookies", &(cookies - 1))?;
    }
    Ok(cookies > 0)
}

/// Something to eat, or nothing more to wait for. Tested in the server when either key changes.
fn cookie_or_end(view: &View<'_>) -> Result<bool> {
    let cookies: u64 = view.get("cookies")?.unwrap_or(0);
    Ok(cookies > 0 || view.contains_key("oven is off")?)
}

/// Runs in a process of its own; tells how many cookies it had.
fn eater(ctx: &Context, name: String) -> Result<u64> {
    let state = ctx.state();
    let mut eaten = 0;
    loop {
        state.wait_until(cookie_or_end)?;
        if state.atomic(eat, ())? {
            eaten += 1;
            println!("{name}: cookie {eaten}, nom nom nom");
        } else if state.contains_key("oven is off")? {
            return Ok(eaten);
        }
    }
}

fn main() -> Result<()> {
    let ctx = Context::new()?;
    let state = ctx.state();
    let watch = state.watch(Filter::key("cookies")).start()?;
    let names = ["ann", "bob", "cleo"];
    let eaters = names
        .map(|name| ctx.spawn(eater, name.to_owned()))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;

    for _ in 0..COOKIES {
        state.atomic(bake, ())?;
    }
    state.set("oven is off", &true)?;

    // Every update comes once, in order, however late it is read: one for each cookie baked and
    // one for each cookie eaten.
    let (mut baked, mut eaten) = (0, 0);
    for update in watch.take(2 * COOKIES as usize) {
        let change = &update?.changes[0];
        let before: u64 = change.before()?.unwrap_or(0);
        let after: u64 = change.after()?.unwrap_or(0);
        baked += after.saturating_sub(before);
        eaten += before.saturating_sub(after);
    }
    let mut told = 0;
    for (name, eater) in names.iter().zip(eaters) {
        let cookies = eater.join()??;
        println!("{name} had {cookies}");
        told += cookies;
    }
    assert_eq!((baked, eaten, told), (COOKIES, COOKIES, COOKIES));
    assert_eq!(state.get::<u64>("cookies")?, Some(0));
    Ok(())
}
