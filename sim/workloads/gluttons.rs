//! Roles that come to every limit there is. At a limit they expect its typed error and nothing
//! else, and give back what they have taken.

use super::{Role, functions, member};
use crate::thread::{self, choose};
use std::time::Duration;
use zproc::{Context, Filter, Result, State};

/// The namespace that they fill.
pub(crate) const GLUT: &str = "glut";

/// How often one of them asks for more.
const HELPINGS: u64 = 24;

/// False: that was too much, and was refused for it.
pub(super) fn taken<T>(result: Result<T>) -> Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.is_limit() => Ok(false),
        Err(error) => Err(error),
    }
}

pub(crate) fn glutton(ctx: &Context, steps: u64) -> Result<u64> {
    let state = ctx.namespace(GLUT);
    for _ in 0..1 + steps % 4 {
        match choose(9) {
            0 => {
                let mut more = true;
                for size in 9..9 + choose(9) {
                    more = more && taken(state.set("large", &"x".repeat(1 << size)))?;
                }
            }
            1 => {
                let count = 20 + choose(200);
                taken(state.atomic(functions::fill, (count, 1_i64)))?;
                state.clear()?;
            }
            2 => full(&state)?,
            3 => owned(&state)?,
            4 => watches(&state)?,
            5 => in_flight(ctx)?,
            6 => processes(ctx)?,
            7 => namespaces(ctx)?,
            _ => {
                taken(state.set(&"k".repeat(1000 + choose(50) as usize), &1_i64))?;
            }
        }
    }
    Ok(steps)
}

/// Fills the state.
fn full(state: &State) -> Result<()> {
    let text = "y".repeat(1 + choose(4_000) as usize);
    for number in 0..HELPINGS {
        if !taken(state.set(&format!("full/{number}"), &text))? {
            break;
        }
    }
    for number in 0..HELPINGS {
        state.remove(&format!("full/{number}"))?;
    }
    Ok(())
}

fn owned(state: &State) -> Result<()> {
    let text = "z".repeat(choose(1_500) as usize);
    for number in 0..HELPINGS {
        if !taken(state.set_owned(&format!("mine/{}/{number}", thread::number()), &text))? {
            break;
        }
    }
    Ok(())
}

fn watches(state: &State) -> Result<()> {
    let mut watches = Vec::new();
    for _ in 0..HELPINGS / 2 {
        match state.watch(Filter::prefix("full/")).start() {
            Ok(watch) => watches.push(watch),
            Err(error) if error.is_limit() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// More calls at once than the window may hold: those that don't fit wait for their turn.
fn in_flight(ctx: &Context) -> Result<()> {
    let threads: Vec<_> = (0..2 + choose(10))
        .map(|number| {
            let hasty = ctx.namespace(GLUT).within(Duration::from_millis(50));
            thread::spawn(move || {
                let waited = match number % 2 {
                    0 => hasty.wait_equal("never", &1_i64).map(drop),
                    _ => hasty.set("once", &(number as i64)).map(drop),
                };
                match waited {
                    Err(error) if error.is_timeout() => Ok(true),
                    other => taken(other),
                }
            })
        })
        .collect();
    for thread in threads {
        if let Ok(result) = thread.join() {
            result?;
        }
    }
    Ok(())
}

fn processes(ctx: &Context) -> Result<()> {
    let mut children = Vec::new();
    for _ in 0..HELPINGS / 2 {
        let told = (Role::Stray, choose(3));
        match ctx.spawn(member, told) {
            Ok(child) => children.push((told, child)),
            Err(error) if error.is_limit() => break,
            Err(error) => return Err(error),
        }
    }
    for (told, child) in children {
        super::joined(ctx, told, child)?;
    }
    Ok(())
}

fn namespaces(ctx: &Context) -> Result<()> {
    let mut used = Vec::new();
    for number in 0..HELPINGS / 2 {
        let state = ctx.namespace(format!("{GLUT}/{number}"));
        if !taken(state.set("k", &1_i64))? {
            break;
        }
        used.push(state);
    }
    for state in used {
        state.clear()?;
    }
    Ok(())
}
