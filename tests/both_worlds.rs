//! The bodies of `tests/api/` with real processes; `zproc-sim` runs the same ones simulated.

mod api;

use api::table::{BODIES, Body, Worlds};
use std::panic::{AssertUnwindSafe, catch_unwind};
use zproc::{Context, ContextBuilder};

/// Runs every body of a theme, each in a tree of its own, and tells all that failed.
fn theme(name: &str) {
    theme_in(name, Context::builder, &[]);
}

/// The same in trees that are started so, but for these bodies.
fn theme_in(name: &str, tree: fn() -> ContextBuilder, but: &[&str]) {
    let prefix = format!("{name}::");
    let bodies = BODIES.iter().filter(|body| body.name.starts_with(&prefix));
    let bodies = bodies.filter(|body| !but.contains(&body.name));
    let failed: Vec<String> = bodies.filter_map(|body| run(body, tree())).collect();
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

/// Runs one; gives what went wrong.
fn run(body: &Body, tree: ContextBuilder) -> Option<String> {
    match body.worlds {
        Worlds::Both => println!("{}", body.name),
        Worlds::RealOnly(reason) => println!("{} (not simulated: {reason})", body.name),
    }
    let result = catch_unwind(AssertUnwindSafe(|| {
        let ctx = tree.start()?;
        (body.run)(&ctx)
    }));
    match result {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{}: {error:#}", body.name)),
        Err(_) => Some(format!("{}: panicked, see above", body.name)),
    }
}

/// A server that runs no functions: they run in their callers.
fn here() -> ContextBuilder {
    Context::builder().run_functions_here()
}

fn twice() -> ContextBuilder {
    Context::builder().run_functions_twice(true)
}

#[test]
fn functions_that_run_in_their_callers() {
    // What it counts are tests in the server.
    let but = ["waits::tested_only_when_what_it_reads_changes"];
    for theme in ["atomic", "waits"] {
        theme_in(theme, here, &but);
    }
}

#[test]
fn functions_that_run_twice() {
    theme_in("atomic", twice, &[]);
    theme_in("atomic", || here().run_functions_twice(true), &[]);
    // Each is tested twice as often there.
    let but = ["waits::tested_only_when_what_it_reads_changes"];
    theme_in("waits", twice, &but);
    theme_in("waits", || here().run_functions_twice(true), &but);
}

/// Runs it on another thread of this process.
pub(crate) fn on_another_thread<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
    std::thread::spawn(f).join().expect("it does not panic")
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
