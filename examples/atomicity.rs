//! Why atomic functions: many processes count to the same number, with and without them.
//!
//! Read, add one, write: two processes read the same number, both write one more, and an increment
//! is lost. As an atomic function the three steps are one.

use zproc::{Context, Result, Txn};

const PROCESSES: u64 = 4;
const TIMES: u64 = 250;

/// One operation: it runs in the server, while nobody else may look.
fn increment(txn: &mut Txn<'_>, _: ()) -> Result<()> {
    let count: u64 = txn.get("atomic")?.unwrap_or(0);
    txn.set("atomic", &(count + 1))
}

/// A process that increments both numbers.
fn counter(ctx: &Context, times: u64) -> Result<()> {
    let state = ctx.state();
    for _ in 0..times {
        state.atomic(increment, ())?;
        // Two operations: whatever happens between them is overwritten.
        let count: u64 = state.get("read and write")?.unwrap_or(0);
        state.set("read and write", &(count + 1))?;
    }
    Ok(())
}

fn main() -> Result<()> {
    let ctx = Context::new()?;
    let counters = (0..PROCESSES)
        .map(|_| ctx.spawn(counter, TIMES))
        .collect::<Result<Vec<_>>>()?;
    for counter in counters {
        counter.join()??;
    }
    let expected = PROCESSES * TIMES;
    for key in ["atomic", "read and write"] {
        let count: u64 = ctx.state().get(key)?.unwrap_or(0);
        println!(
            "{key:>14}: {count} of {expected}, {} lost",
            expected - count
        );
    }
    assert_eq!(ctx.state().get("atomic")?, Some(expected));
    Ok(())
}
