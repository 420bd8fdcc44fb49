//! Processes that put things in order when the user presses Ctrl-C, and one that does not listen.
//!
//! ```sh
//! cargo run --example ctrl_c              # Ctrl-C: all tidy up, and the program ends by itself
//! cargo run --example ctrl_c -- deaf      # Ctrl-C: one is killed after 5 seconds, and the program with it
//! ```
//!
//! A second Ctrl-C ends everything at once. Ctrl-Z stops the program alone: the others go on.

use std::time::Duration;
use zproc::{Context, Result};

/// Works until it is asked to end; then removes what it has made, and tells how far it came.
fn worker(ctx: &Context, name: String) -> Result<u64> {
    let state = ctx.state();
    let mut done = 0;
    while !ctx.stopping() {
        done += 1;
        state.set_owned(&name, &done)?;
        // Its work, in which nothing may come between.
        std::thread::sleep(Duration::from_millis(200));
    }
    println!("{name} puts things in order");
    state.remove(&name)?;
    Ok(done)
}

/// Never looks whether it is to end.
fn deaf(_: &Context, _: ()) {
    loop {
        std::thread::park();
    }
}

fn main() -> Result<()> {
    let ctx = Context::new()?;
    if std::env::args()
        .nth(1)
        .is_some_and(|argument| argument == "deaf")
    {
        ctx.spawn(deaf, ())?.detach();
    }
    let workers = ctx.spawn_map(worker, ["anna", "bert"].map(str::to_owned))?;
    println!("press Ctrl-C");
    for outcome in workers.outcomes() {
        // Asked to end as they are, so it waits no more.
        match outcome {
            Err(error) if error.is_stopped() => {}
            outcome => println!("{}", outcome?),
        }
    }
    // They have been asked already; this waits for them.
    for outcome in workers.stop(None) {
        println!("{}", outcome?);
    }
    println!("main is done");
    Ok(())
}
