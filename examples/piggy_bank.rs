//! Atomic functions and conditions in a program of any kind. Built with `panic = "abort"`, such functions
//! run in their callers, not in the server: then a panic ends the process that has called it, and
//! nobody else.
//!
//! ```sh
//! cargo run --example piggy_bank
//! cargo run --example piggy_bank --config 'profile.dev.panic="abort"'
//! ```

use zproc::{Context, Output, Result, Txn, View};

fn put_in(txn: &mut Txn<'_>, amount: i64) -> Result<i64> {
    let all = txn.get("bank")?.unwrap_or(0) + amount;
    txn.set("bank", &all)?;
    Ok(all)
}

/// Smashes it first, and then finds that there is not enough.
fn take_out(txn: &mut Txn<'_>, amount: i64) -> Result<i64> {
    let all: i64 = txn.take("bank")?.unwrap_or(0);
    assert!(all >= amount, "only {all} in it, and {amount} are wanted");
    txn.set("bank", &(all - amount))?;
    Ok(all - amount)
}

fn is_rich(view: &View<'_>) -> Result<Option<i64>> {
    Ok(view.get("bank")?.filter(|all| *all >= 40))
}

fn saver(ctx: &Context, times: u32) -> Result<()> {
    for _ in 0..times {
        ctx.state().atomic(put_in, 1)?;
    }
    Ok(())
}

fn spender(ctx: &Context, amount: i64) -> i64 {
    ctx.state()
        .atomic(take_out, amount)
        .expect("there is enough")
}

fn main() -> Result<()> {
    let ctx = Context::new()?;
    let state = ctx.state();
    let savers: Result<Vec<_>> = (0..4).map(|_| ctx.spawn(saver, 10)).collect();
    let (all, revision) = state.wait_until(is_rich)?;
    println!("{all} in it, as of {revision}");
    for saver in savers? {
        saver.join()??;
    }

    let spender = ctx.process(spender).stderr(Output::Captured).spawn(100)?;
    let error = spender.join().expect_err("there is not enough");
    println!("the spender has ended: {error}");
    assert!(error.is_panic() && error.to_string().contains("only 40 in it"));

    // It is as it was, and whoever goes on does so.
    assert_eq!(state.get::<i64>("bank")?, Some(40));
    assert_eq!(state.atomic(take_out, 15)?, 25);
    println!("25 are left");
    Ok(())
}
