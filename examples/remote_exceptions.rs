//! What goes wrong in another process is told where it is waited for: an error comes back as the
//! value that it was, and everything else as an error that says what happened, and where.

use std::hint::black_box;
use zproc::{Context, End, Error, Output, Result};

/// An `Err` is a value like another.
fn fails(_: &Context, number: i64) -> Result<i64> {
    let divisor: i64 = "0".parse().map_err(Error::msg)?;
    number
        .checked_div(divisor)
        .ok_or_else(|| Error::msg(format!("{number} can't be divided by {divisor}")))
}

fn panics(_: &Context, list: Vec<u32>) -> u32 {
    eprintln!("now to take the element at 9");
    list[9]
}

fn recurses(_: &Context, level: u64) -> u64 {
    deep(level)
}

#[expect(unconditional_recursion, reason = "it is to overflow the stack")]
fn deep(level: u64) -> u64 {
    let frame = black_box([level; 64]);
    deep(level + 1) + frame[7]
}

fn main() -> Result<()> {
    let ctx = Context::new()?;

    let error = ctx.spawn(fails, 7)?.join()?.unwrap_err();
    println!("an error:\n{error:#}\n");

    let panics = ctx.process(panics).stderr(Output::Captured);
    let error = panics.spawn(vec![1, 2, 3])?.join().unwrap_err();
    println!("a panic, with what the process has said:\n{error:#}\n");
    assert!(error.is_panic());

    let recurses = ctx.process(recurses).stderr(Output::Captured);
    let outcome = recurses.spawn(0)?.outcome()?;
    println!("a stack overflow:\n{outcome:#}\n");
    assert!(matches!(outcome.end, End::StackOverflow { .. }));

    let nowhere = ctx.process(|_: &Context, ()| ()).current_dir("/nowhere");
    let error = nowhere.spawn(())?.join().unwrap_err();
    println!("a process that could not be started:\n{error:#}");
    assert!(error.is_not_started());
    Ok(())
}
