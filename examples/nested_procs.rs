//! A process that starts a process that starts a process: all share one state, and results and
//! errors come up the whole way.

use zproc::{Context, Error, Result};

const LEVELS: u32 = 5;

/// Writes itself into the state and starts the next level; gives the pids of all levels below.
fn level(ctx: &Context, depth: u32) -> Result<Vec<u32>> {
    let pid = std::process::id();
    println!("level {depth}: process {} with pid {pid}", ctx.process_id());
    ctx.state().set(&format!("level {depth}"), &pid)?;
    let mut pids = vec![pid];
    if depth < LEVELS {
        // The first `?` is about the process, the second is its own result.
        pids.extend(ctx.spawn(level, depth + 1)?.join()??);
    }
    Ok(pids)
}

/// Fails at the deepest level only.
fn failing(ctx: &Context, depth: u32) -> Result<()> {
    if depth == LEVELS {
        return Err(Error::msg("this deep and no deeper"));
    }
    ctx.spawn(failing, depth + 1)?.join()?
}

fn main() -> Result<()> {
    let ctx = Context::new()?;
    let pids = ctx.spawn(level, 1)?.join()??;

    // Each level was a process of its own, and all wrote to the same state.
    let mut different = pids.clone();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), LEVELS as usize);
    for (depth, pid) in (1..).zip(&pids) {
        assert_eq!(ctx.state().get(&format!("level {depth}"))?, Some(*pid));
    }

    let error = ctx
        .spawn(failing, 1)?
        .join()?
        .expect_err("the last level fails");
    println!("from level {LEVELS}: {error}");
    assert!(error.to_string().contains("this deep and no deeper"));
    Ok(())
}
