//! One neutron is enough: each nucleus is a process that waits for a neutron, splits, and sets
//! two free, which split others, until none is left.
//!
//! Nobody polls and nobody is told whom to hit: to see a neutron and to absorb it is one atomic
//! function, so none is absorbed twice.

use std::time::Instant;
use zproc::{Context, Result, Txn, View};

const NUCLEI: u64 = 14;

/// Runs in the server, whole or not at all.
fn free(txn: &mut Txn<'_>, count: u64) -> Result<()> {
    let neutrons: u64 = txn.get("neutrons")?.unwrap_or(0);
    txn.set("neutrons", &(neutrons + count))
}

/// Absorbs a neutron, if there still is one.
fn absorb(txn: &mut Txn<'_>, _: ()) -> Result<bool> {
    let neutrons: u64 = txn.get("neutrons")?.unwrap_or(0);
    if neutrons > 0 {
        txn.set("neutrons", &(neutrons - 1))?;
    }
    Ok(neutrons > 0)
}

/// Tested in the server whenever the count changes.
fn neutron_flies(view: &View<'_>) -> Result<bool> {
    Ok(view.get::<u64>("neutrons")? > Some(0))
}

/// Runs in a process of its own. Tells its energy, in MeV.
fn nucleus(ctx: &Context, number: u64) -> Result<u64> {
    let state = ctx.state();
    loop {
        state.wait_until(neutron_flies)?;
        if state.atomic(absorb, ())? {
            break;
        }
    }
    println!("nucleus {number} splits");
    state.atomic(free, 2)?;
    Ok(200)
}

fn main() -> Result<()> {
    let ctx = Context::new()?;
    let nuclei = (0..NUCLEI)
        .map(|number| {
            let builder = ctx.process(nucleus).name(format!("nucleus {number}"));
            builder.spawn(number)
        })
        .collect::<Result<Vec<_>>>()?;
    println!("{}", ctx.processes()?);

    let begun = Instant::now();
    ctx.state().atomic(free, 1)?;
    let mut energy = 0;
    for nucleus in nuclei {
        energy += nucleus.join()??;
    }
    let left: u64 = ctx.state().get("neutrons")?.unwrap_or(0);
    println!(
        "{energy} MeV in {:?}, {left} neutrons fly on",
        begun.elapsed()
    );
    // One came, and each of the nuclei has made one of it two.
    assert_eq!(left, 1 + NUCLEI);
    Ok(())
}
