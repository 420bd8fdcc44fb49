//! Processes that can't be started, or die before they connect: told apart, in bounded time, and
//! the tree goes on. To make it happen the keeper gets the limits of a poor process, which those it
//! starts inherit.

use rustix::process::{Pid, Resource, Rlimit, getppid, prlimit};
use zproc::{Context, End, Process};

fn nothing(_: &Context, _: ()) {}

/// The keeper: all processes of the tree are its children.
fn keeper(ctx: &Context) -> Pid {
    let parent = |_: &Context, ()| Pid::as_raw(getppid());
    let process = ctx.spawn(parent, ()).expect("spawn");
    let pid = process.join().expect("it tells its parent");
    Pid::from_raw(pid).expect("it has a parent")
}

/// Spawns while the keeper has no more than `most` of a resource, and then as before.
fn spawn_in_want(ctx: &Context, resource: Resource, most: u64) -> Process<()> {
    let keeper = keeper(ctx);
    let poor = Rlimit {
        current: Some(most),
        maximum: rustix::process::getrlimit(resource).maximum,
    };
    let before = prlimit(Some(keeper), resource, poor).expect("limits can be lowered");
    let process = ctx.spawn(nothing, ()).expect("its record is written");
    let outcome = process.outcome();
    prlimit(Some(keeper), resource, before).expect("and raised again");
    outcome.expect("it is told how it ended");

    ctx.ping().expect("the server goes on");
    let next = ctx.spawn(nothing, ()).expect("spawn");
    next.join().expect("the next one starts");
    process
}

#[test]
fn a_spawn_that_fails() {
    let ctx = Context::new().expect("a tree");
    // Of descriptors: fewer than it has, so that it gets no more, but not fewer than it gives to
    // poll(2). For want of pids see `want_of_pids.rs`.
    let process = spawn_in_want(&ctx, Resource::Nofile, 7);
    let outcome = process.outcome().expect("it is known");
    let End::NotStarted { call, errno } = &outcome.end else {
        panic!("{outcome}");
    };
    assert!(!call.is_empty());
    assert_eq!(*errno, rustix::io::Errno::MFILE.raw_os_error());
    let error = process.join().expect_err("it was not started");
    assert!(error.is_not_started(), "{error}");
}

#[test]
fn a_process_that_dies_before_it_connects() {
    let ctx = Context::new().expect("a tree");
    // Too little stack to get as far as the hook.
    let process = spawn_in_want(&ctx, Resource::Stack, 4096);
    let outcome = process.outcome().expect("it is known");
    assert!(
        matches!(outcome.end, End::BeforeConnect { .. }),
        "{outcome}"
    );
    let error = process.join().expect_err("it has not returned");
    assert!(error.to_string().contains("connect"), "{error}");
}
