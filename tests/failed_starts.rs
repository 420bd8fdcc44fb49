//! Processes that can't be started, or die before they connect: told apart, in bounded time, and
//! the tree goes on. To make it happen the keeper gets the limits of a poor process, which those it
//! starts inherit. So it is for the want of descriptors in which it has to kill.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, getppid, pidfd_open, prlimit};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use zproc::{Context, End, Process, Why};

const PATIENCE: Duration = Duration::from_secs(60);

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

    ctx.ping(Duration::from_secs(60))
        .expect("the server goes on");
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

/// Starts somebody by whom nothing tells whose he is, and waits.
fn leads_a_stranger(ctx: &Context, _: ()) {
    let mut stranger = Command::new("sleep");
    let stranger = stranger.arg("1000").env_clear().process_group(0);
    let pid = stranger.spawn().expect("there is a sleep").id();
    ctx.state().set("stranger", &pid).expect("set");
    ctx.state().wait_equal("never", &true).expect("it is told");
}

/// Lower numbers for descriptors are taken in the keeper, this and higher ones are free. Told when it
/// waits for something to do, so that it has none open for a moment.
fn free_descriptor(keeper: Pid) -> u64 {
    let waits = || {
        let stat = std::fs::read_to_string(format!("/proc/{keeper}/stat")).expect("it lives");
        let state = stat.rsplit(") ").next().expect("it is there");
        state.starts_with('S')
    };
    let is_taken =
        |number: &u64| std::fs::exists(format!("/proc/{keeper}/fd/{number}")).unwrap_or(false);
    let look = || (0..).find(|number| !is_taken(number)).expect("some are");
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        if waits() {
            let looks = [look(), look()];
            if waits() && looks[0] == looks[1] {
                return looks[0];
            }
        }
        std::thread::yield_now();
    }
    panic!("the keeper is never at rest");
}

/// The sweep found nobody then, the process itself included: it lived on, and was not killed again.
#[test]
fn a_kill_in_want_of_descriptors() {
    let ctx = Context::new().expect("a tree");
    let keeper = keeper(&ctx);
    let process = Arc::new(ctx.spawn(leads_a_stranger, ()).expect("spawn"));
    let stranger: u32 = ctx
        .state()
        .wait_until(|view| view.get("stranger").ok().flatten())
        .expect("it is told")
        .0;
    let stranger = Pid::from_raw(stranger.cast_signed()).expect("a number");
    let stranger = pidfd_open(stranger, PidfdFlags::empty()).expect("he lives");
    let free = free_descriptor(keeper);
    let before = rustix::process::getrlimit(Resource::Nofile);
    let poor = Rlimit {
        current: Some(free),
        maximum: before.maximum,
    };
    prlimit(Some(keeper), Resource::Nofile, poor).expect("limits can be lowered");
    let killer = Arc::clone(&process);
    std::thread::spawn(move || killer.kill());
    let error = process.join_timeout(PATIENCE).expect_err("it was killed");
    assert!(error.is_killed(), "{error}");
    let why = Why::Asked;
    let outcome = process.outcome().expect("it is told");
    assert_eq!(outcome.end, End::Killed { why });
    let deadline = Timespec::try_from(PATIENCE).expect("a time");
    let mut watched = [PollFd::new(&stranger, PollFlags::IN)];
    assert_eq!(poll(&mut watched, Some(&deadline)), Ok(1), "he lives on");
}
