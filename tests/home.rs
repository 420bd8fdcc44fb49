//! A program is at home wherever it runs: from a file that is gone, from many threads, below another
//! tree, beside another tree of its own.
//!
//! How it is built makes no difference either: `.ci/home` runs these tests, and those of the whole
//! api, linked statically, with musl, and optimised as one piece and stripped.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use zproc::{Context, End, ProcessId, Resource, Result};

/// Says to a copy of this very binary that it is the program under test, and what it shall do.
const PROGRAM: &str = "HOME_PROGRAM";

fn add(_: &Context, (a, b): (u64, u64)) -> u64 {
    a + b
}

/// Starts this binary, or a copy of it, to run [`program`] alone.
fn run(executable: &Path, what: &str) -> Output {
    Command::new(executable)
        .args(["--exact", "program", "--nocapture", "--test-threads=1"])
        .env(PROGRAM, what)
        .stdin(Stdio::null())
        .output()
        .expect("it starts")
}

fn this_binary() -> std::path::PathBuf {
    std::env::current_exe().expect("this test has a file")
}

/// Not a test of its own: the program that the others start.
#[test]
fn program() -> Result<()> {
    let Ok(what) = std::env::var(PROGRAM) else {
        return Ok(());
    };
    let ctx = Context::new()?;
    match what.as_str() {
        "removed" => std::fs::remove_file(this_binary()).expect("it is a copy"),
        "replaced" => {
            // Its own text can't be written over, but another file can get its name.
            std::fs::remove_file(this_binary()).expect("it is a copy");
            std::fs::write(this_binary(), "#!/bin/sh\nexit 9\n").expect("the place is writable");
        }
        "no descriptors" => {
            // If `main` ran there, it would be this function, which knows no such thing to do.
            let process = ctx.process(add).env(PROGRAM, "stray");
            let process = process.resource_limit(Resource::OpenFiles, 0, 0);
            let outcome = process.spawn((1, 1))?.outcome()?;
            let End::BeforeConnect { status } = outcome.end else {
                panic!("{outcome}");
            };
            assert!(
                ![0, 101].contains(&(status >> 8)),
                "main has run: {outcome}"
            );
        }
        "inner" => println!("inner tree of {:?}", std::env::var("ZPROC_TREE").ok()),
        other => panic!("not a thing to do: {other}"),
    }
    // The first server has begun before; a whole new tree has to find the program, too.
    for ctx in [ctx, Context::new()?] {
        assert_eq!(ctx.spawn(add, (2, 3))?.join()?, 5);
        ctx.state()
            .atomic(|txn, ()| txn.set("by", &"an atomic function"), ())?;
    }
    println!("all is well");
    Ok(())
}

fn is_well(output: &Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(text.contains("all is well"), "{text}");
}

#[test]
fn the_file_of_the_program_may_be_gone() {
    for what in ["removed", "replaced"] {
        let place = tempfile::tempdir().expect("a temporary directory");
        let copy = place.path().join("program with a space");
        // By a process of its own: a file that is open for writing here, and so for a moment in what
        // another test starts meanwhile, can't be executed.
        let copied = Command::new("cp").arg(this_binary()).arg(&copy).status();
        assert!(copied.expect("there is cp").success());
        is_well(&run(&copy, what));
    }
}

/// It can't take up its role, and ends: that `main` ran in its place would be worse. (Where the program
/// is linked dynamically it gets no further than the loader.)
#[test]
fn a_process_without_descriptors_does_not_run_main() {
    is_well(&run(&this_binary(), "no descriptors"));
}

#[test]
fn a_program_started_by_a_process_is_an_ordinary_one() {
    let ctx = Context::new().expect("a tree");
    let child = ctx.spawn(
        |ctx: &Context, ()| {
            let output = run(&this_binary(), "inner");
            is_well(&output);
            // The tree that it made was its own: this one has seen nothing of it.
            assert!(!ctx.state().contains_key("by").expect("the server is there"));
            String::from_utf8_lossy(&output.stdout).into_owned()
        },
        (),
    );
    let text = child.expect("spawn").join().expect("it ends well");
    assert!(text.contains("inner tree of Some"), "{text}");
}

#[test]
fn two_contexts_are_two_trees() -> Result<()> {
    let (one, other) = (Context::new()?, Context::new()?);
    one.state().set("whose", &"one's")?;
    assert!(!other.state().contains_key("whose")?);
    let ids = [&one, &other].map(|ctx| ctx.spawn(|ctx, ()| ctx.process_id(), ()));
    for id in ids {
        assert_eq!(id?.join()?, ProcessId(2));
    }
    drop(one);
    assert_eq!(other.spawn(add, (1, 1))?.join()?, 2);
    Ok(())
}

#[test]
fn a_hundred_threads_spawn_at_once() -> Result<()> {
    let ctx = Context::new()?;
    let sums: Result<Vec<u64>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..100)
            .map(|number| {
                scope.spawn({
                    let ctx = &ctx;
                    move || ctx.spawn(add, (number, 1))?.join()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("it has not panicked"))
            .collect()
    });
    assert_eq!(sums?, (1..=100).collect::<Vec<u64>>());
    Ok(())
}
