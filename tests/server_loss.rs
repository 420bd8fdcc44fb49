//! A function that takes the server down: every call, in flight or later, says how and which it was,
//! and nothing is left of the tree.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::hint::black_box;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use zproc::{Context, Error, Result, ServerEnd, Txn, View};

/// How long the calls may take to come back once the server is dead: at once is the aim, but a test
/// machine may be busy.
const AT_ONCE: Duration = Duration::from_secs(10);
/// The limit of functions, for tests that wait until it is over.
const LIMIT: Duration = Duration::from_millis(600);

const SIGSEGV: i32 = 11;
const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;

fn exits(_: &mut Txn<'_>, code: i32) -> Result<()> {
    std::process::exit(code)
}

fn aborts(_: &mut Txn<'_>, (): ()) -> Result<()> {
    std::process::abort()
}

fn recurses(depth: u64) -> u64 {
    let page = black_box([depth; 512]);
    if page[0] == u64::MAX {
        return 0;
    }
    recurses(depth + 1) + page[511]
}

fn overflows(_: &mut Txn<'_>, (): ()) -> Result<u64> {
    Ok(recurses(black_box(0)))
}

fn kill_self(signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::getpid(), signal).expect("it lives");
}

fn segfaults(_: &mut Txn<'_>, (): ()) -> Result<()> {
    // As good as a bad pointer, which takes `unsafe`.
    kill_self(rustix::process::Signal::SEGV);
    Ok(())
}

fn is_killed(_: &mut Txn<'_>, (): ()) -> Result<()> {
    kill_self(rustix::process::Signal::KILL);
    Ok(())
}

fn loops(_: &mut Txn<'_>, (): ()) -> Result<()> {
    loop {
        std::hint::spin_loop();
    }
}

fn blocks(_: &mut Txn<'_>, (): ()) -> Result<()> {
    loop {
        std::thread::park();
    }
}

/// A condition that never comes to a verdict once the key is there.
fn loops_when_asked(view: &View<'_>) -> Result<bool> {
    while view.contains_key("loop")? {
        std::hint::spin_loop();
    }
    Ok(false)
}

/// Waits for what never comes, and leaves word of why it did not.
fn waits(ctx: &Context, word: String) {
    let lost = ctx.state().wait_equal("never", &1);
    let lost = lost.expect_err("nobody writes it");
    // It is about to be killed, so this need not get done.
    let half = format!("{word}.half");
    let _ = std::fs::write(&half, lost.to_string());
    let _ = std::fs::rename(&half, word);
}

fn descriptor(pid: u32) -> OwnedFd {
    let pid = Pid::from_raw(pid as i32).expect("not zero");
    pidfd_open(pid, PidfdFlags::empty()).expect("it lives")
}

fn has_ended(process: &OwnedFd) -> bool {
    let limit = Timespec::try_from(AT_ONCE).expect("a short time");
    poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&limit)).expect("poll") > 0
}

/// Has `deadly` done in a tree in which two threads and a process wait, and judges what they are told.
/// Gives how long it took.
fn takes_down(
    deadly: impl FnOnce(&Context) -> Error,
    how: impl Fn(&ServerEnd) -> bool,
    function: Option<&str>,
) -> Duration {
    let ctx = Context::builder()
        .function_time_max(LIMIT)
        .start()
        .expect("a tree");
    let socket = zproc::seam::socket_path(&ctx).expect("this is the program");
    let place = tempfile::tempdir().expect("a temporary directory");
    let word = place.path().join("word");
    let word_path = word.to_str().expect("text").to_owned();
    let child = ctx.spawn(waits, word_path).expect("spawn");
    let waiting = || {
        ctx.dump().is_ok_and(|dump| {
            dump.process(child.id())
                .is_some_and(|child| !child.waits.is_empty())
        })
    };
    while !waiting() {
        std::thread::yield_now();
    }
    let pid = child.pid().expect("its record").expect("it runs");
    let alive = descriptor(pid);
    let judge = |error: &Error| {
        assert!(error.is_server_lost(), "{error}");
        let loss = error.server_loss().expect("it is lost");
        assert!(how(&loss.how), "{error}");
        let name = loss.function.as_deref();
        match (name, function) {
            (Some(name), Some(function)) => assert!(name.ends_with(function), "{error}"),
            (name, function) => assert_eq!(name, function, "{error}"),
        }
    };
    let took = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| ctx.state().wait_equal("never", &1).expect_err("lost"));
        let joiner = scope.spawn(|| child.outcome().expect_err("lost"));
        let begin = Instant::now();
        let error = deadly(&ctx);
        judge(&error);
        judge(&waiter.join().expect("no panic"));
        judge(&joiner.join().expect("no panic"));
        begin.elapsed()
    });
    judge(&ctx.state().set("k", &1).expect_err("lost for ever"));
    judge(
        &ctx.ping(Duration::from_secs(60))
            .expect_err("lost for ever"),
    );
    assert!(has_ended(&alive), "the process lives on");
    if let Ok(told) = std::fs::read_to_string(&word) {
        let function = function.unwrap_or("the server is lost");
        assert!(told.contains(function), "{told}");
    }
    drop(child);
    drop(ctx);
    assert!(!socket.exists(), "the tree is not cleaned up");
    took
}

/// As [`takes_down`], by an atomic function that does so right away.
fn falls(
    deadly: impl FnOnce(&Context) -> Error,
    how: impl Fn(&ServerEnd) -> bool,
    function: Option<&str>,
) {
    let took = takes_down(deadly, how, function);
    assert!(took < AT_ONCE, "it took {took:?}");
}

fn by(signal: i32) -> impl Fn(&ServerEnd) -> bool {
    move |how| matches!(how, ServerEnd::Signaled { signal: found, .. } if *found == signal)
}

#[test]
fn a_function_that_exits() {
    falls(
        |ctx| ctx.state().atomic(exits, 7).expect_err("it exits"),
        |how| *how == ServerEnd::Exited { code: 7 },
        Some("server_loss::exits"),
    );
}

#[test]
fn a_function_that_aborts() {
    falls(
        |ctx| ctx.state().atomic(aborts, ()).expect_err("it aborts"),
        by(SIGABRT),
        Some("server_loss::aborts"),
    );
}

#[test]
fn a_function_that_overflows_its_stack() {
    falls(
        |ctx| ctx.state().atomic(overflows, ()).expect_err("too deep"),
        by(SIGSEGV),
        Some("server_loss::overflows"),
    );
}

#[test]
fn a_function_that_segfaults() {
    falls(
        |ctx| ctx.state().atomic(segfaults, ()).expect_err("it dies"),
        by(SIGSEGV),
        Some("server_loss::segfaults"),
    );
}

#[test]
fn a_function_during_which_the_server_is_killed() {
    falls(
        |ctx| ctx.state().atomic(is_killed, ()).expect_err("it dies"),
        by(SIGKILL),
        Some("server_loss::is_killed"),
    );
}

/// Is it the limit, with this function's time over?
fn is_over_time(how: &ServerEnd) -> bool {
    *how == ServerEnd::TimeLimit { limit: LIMIT }
}

#[test]
fn a_function_that_loops() {
    let took = takes_down(
        |ctx| ctx.state().atomic(loops, ()).expect_err("it loops"),
        is_over_time,
        Some("server_loss::loops"),
    );
    assert!(took >= LIMIT * 3 / 4 && took < AT_ONCE, "it took {took:?}");
}

#[test]
fn a_function_that_waits_for_ever() {
    falls(
        |ctx| ctx.state().atomic(blocks, ()).expect_err("it waits"),
        is_over_time,
        Some("server_loss::blocks"),
    );
}

#[test]
fn a_condition_that_loops() {
    falls(
        |ctx| {
            std::thread::scope(|scope| {
                let wait = scope.spawn(|| {
                    let looping = ctx.state().wait_until(loops_when_asked);
                    looping.expect_err("it never comes to a verdict")
                });
                let waits = || {
                    ctx.dump().is_ok_and(|dump| {
                        let own = dump.process(ctx.process_id());
                        // The other thread's wait, and this one.
                        own.is_some_and(|own| own.waits.len() >= 3)
                    })
                };
                while !waits() {
                    std::thread::yield_now();
                }
                // It makes the server test the condition again, so it is not answered.
                assert!(
                    ctx.state()
                        .set("loop", &1)
                        .expect_err("lost")
                        .is_server_lost()
                );
                wait.join().expect("no panic")
            })
        },
        is_over_time,
        Some("server_loss::loops_when_asked"),
    );
}

fn kill(name: &str, ctx: &Context) {
    let socket = zproc::seam::socket_path(ctx).expect("this is the program");
    let directory = socket.parent().and_then(|place| place.file_name());
    let tree = directory.and_then(|name| name.to_str()?.strip_prefix("zproc-"));
    let mark = format!("ZPROC_TREE={}", tree.expect("it is named after the tree"));
    let processes = std::fs::read_dir("/proc").expect("there is /proc");
    let found = processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .find(|pid| {
            let read = |file| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let environment = read("environ");
            let is_marked = environment
                .split(|byte| *byte == 0)
                .any(|entry| entry == mark.as_bytes());
            is_marked && read("comm") == format!("{name}\n").as_bytes()
        });
    let pid = Pid::from_raw(found.expect("it lives")).expect("not zero");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it lives");
}

#[test]
fn a_server_that_is_killed_while_it_runs_nothing() {
    falls(
        |ctx| {
            kill("zproc-server", ctx);
            ctx.state().wait_equal("never", &1).expect_err("it is dead")
        },
        by(SIGKILL),
        None,
    );
}

#[test]
fn a_keeper_that_is_killed() {
    falls(
        |ctx| {
            kill("zproc-keeper", ctx);
            ctx.state().wait_equal("never", &1).expect_err("it is dead")
        },
        |how| *how == ServerEnd::KeeperLost,
        None,
    );
}

fn works(_: &mut Txn<'_>, time: Duration) -> Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < time {
        std::hint::spin_loop();
    }
    Ok(())
}

/// Many that together take far longer than the limit, and one that takes nearly all of it.
#[test]
fn functions_that_end_in_time_are_left_alone() {
    let ctx = Context::builder()
        .function_time_max(LIMIT)
        .start()
        .expect("a tree");
    let state = ctx.state();
    state.atomic(works, LIMIT / 2).expect("in time");
    let begin = Instant::now();
    while begin.elapsed() < LIMIT * 2 {
        state.atomic(works, LIMIT / 50).expect("in time");
    }
    // The keeper looks no more by now, and has to be told.
    let silence = state.within(LIMIT * 2).wait_equal("never", &1);
    assert!(silence.expect_err("nobody writes it").is_timeout());
    state.atomic(works, LIMIT / 2).expect("in time");
    let error = state.atomic(loops, ()).expect_err("it loops");
    assert!(
        is_over_time(&error.server_loss().expect("lost").how),
        "{error}"
    );
}
