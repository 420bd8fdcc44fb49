//! Programs so small that all of their runs near the mildest one can be gone through.

use super::{ACCOUNTS, functions};
use crate::checkers::{BOUND, EVERY_UPDATE, NO_LOST_WAKEUP, ONCE};
use crate::faults::Fault;
use crate::history::Note;
use crate::thread::note;
use zproc::{Context, Filter, Result, Revision};

/// A tiny program, and the faults that may strike it.
pub(crate) struct Tiny {
    pub(crate) name: &'static str,
    /// What it is about.
    pub(crate) about: &'static str,
    pub(crate) faults: &'static [Fault],
    pub(crate) program: fn(&Context) -> Result<()>,
}

/// All of them.
pub(crate) const TINY: [Tiny; 4] = [
    Tiny {
        name: "counter",
        about: "two processes add one to one key, over connections that break",
        faults: &[Fault::Reset, Fault::PartialWrite],
        program: counter,
    },
    Tiny {
        name: "waiter",
        about: "a process waits for what another sets, and threads wake without reason",
        faults: &[Fault::SpuriousWake, Fault::Preemption, Fault::Reset],
        program: waiter,
    },
    Tiny {
        name: "owner",
        about: "a process that may crash owns a key, and another waits until it is gone",
        faults: &[Fault::Crash, Fault::Exit],
        program: owner,
    },
    Tiny {
        name: "watcher",
        about: "a watch from the start over a connection that breaks",
        faults: &[Fault::Reset, Fault::Stall],
        program: watcher,
    },
];

fn expect(guarantee: &'static str, holds: bool, explanation: &str) {
    if !holds {
        note(Note::Broken {
            guarantee,
            explanation: explanation.to_owned(),
        });
    }
}

fn add_one(ctx: &Context, (): ()) -> Result<i64> {
    (ctx.state()).atomic(functions::add, ("sum".to_owned(), 1_i64))
}

fn counter(ctx: &Context) -> Result<()> {
    let other = ctx.spawn(add_one, ())?;
    add_one(ctx, ())?;
    other.join()??;
    let sum = ctx.state().get::<i64>("sum")?;
    expect(ONCE, sum == Some(2), "two added one, and it is not two");
    Ok(())
}

fn wait_for_go(ctx: &Context, (): ()) -> Result<()> {
    ctx.state().wait_equal("go", &true)?;
    Ok(())
}

fn waiter(ctx: &Context) -> Result<()> {
    let waiting = ctx.spawn(wait_for_go, ())?;
    ctx.state().set("go", &true)?;
    let came = waiting.join()?;
    expect(NO_LOST_WAKEUP, came.is_ok(), "the wait came to nothing");
    Ok(())
}

fn own(ctx: &Context, (): ()) -> Result<()> {
    ctx.state().set_owned("mine", &1_i64)?;
    ctx.state().set("ours", &1_i64)?;
    Ok(())
}

fn owner(ctx: &Context) -> Result<()> {
    let owning = ctx.spawn(own, ())?;
    // However it ended.
    drop(owning.join());
    let left = ctx.state().contains_key("mine")?;
    expect(BOUND, !left, "an owned key outlived its owner's end");
    Ok(())
}

fn watcher(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let mut watch = state.watch(Filter::all()).since(Revision(1)).start()?;
    for value in 0..ACCOUNTS {
        state.set("k", &value)?;
    }
    let mut before = None;
    for value in 0..ACCOUNTS {
        let update = watch.next_update()?;
        let rises = before.is_none_or(|before| before < update.revision);
        let change = update.changes.first();
        let got = change.map(|change| change.after::<u64>()).transpose()?;
        let fits = got.flatten() == Some(value);
        expect(EVERY_UPDATE, rises && fits, "an update out of turn");
        before = Some(update.revision);
    }
    Ok(())
}
