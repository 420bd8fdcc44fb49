//! The bodies of `tests/api/` with real processes; `zproc-sim` runs the same ones simulated.

mod api;

use api::table::{BODIES, Body, Worlds};
use std::panic::{AssertUnwindSafe, catch_unwind};
use zproc::Context;

/// Runs every body of a theme, each in a tree of its own, and tells all that failed.
fn theme(name: &str) {
    let prefix = format!("{name}::");
    let bodies = BODIES.iter().filter(|body| body.name.starts_with(&prefix));
    let failed: Vec<String> = bodies.filter_map(run).collect();
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

/// Runs one; gives what went wrong.
fn run(body: &Body) -> Option<String> {
    match body.worlds {
        Worlds::Both => println!("{}", body.name),
        Worlds::RealOnly(reason) => println!("{} (not simulated: {reason})", body.name),
    }
    let result = catch_unwind(AssertUnwindSafe(|| {
        let ctx = Context::new()?;
        (body.run)(&ctx)
    }));
    match result {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{}: {error:#}", body.name)),
        Err(_) => Some(format!("{}: panicked, see above", body.name)),
    }
}

macro_rules! themes {
    ($($theme:ident)*) => {
        $(#[test]
        fn $theme() {
            theme(stringify!($theme));
        })*

        #[test]
        fn each_body_is_of_a_theme() {
            let themes = [$(stringify!($theme)),*];
            for body in BODIES {
                let theme = body.name.split("::").next().unwrap_or_default();
                assert!(themes.contains(&theme), "{} is run by nobody", body.name);
            }
        }
    };
}

themes! {
    rows dict past batches limits atomic transactions waits watches processes endings dumps locks
}
