//! Each way in which a process can end, told apart, with real processes: one test for each row of
//! the list. (Those that also run in the simulator are in `api/processes.rs`, the failures to start
//! in `starting.rs`, `failed_starts.rs` and `want_of_pids.rs`.)

use std::hint::black_box;
use std::io::Write as _;
use std::panic::catch_unwind;
use std::process::{Command, Stdio};
use std::time::Duration;
use zproc::{Context, End, Outcome, Output, Process, Resource};

const PATIENCE: Duration = Duration::from_secs(60);

fn tree() -> Context {
    Context::new().expect("a tree")
}

/// How a process of this function ends.
fn outcome_of(ctx: &Context, function: fn(&Context, ())) -> Outcome {
    // By its place in the list: a pointer can't be sent.
    let index = WAYS
        .iter()
        .position(|way| std::ptr::fn_addr_eq(*way, function));
    let process = ctx
        .process(run)
        .stderr(Output::Captured)
        .spawn(index.expect("it is listed"));
    process.expect("spawn").outcome().expect("it is told")
}

type Way = fn(&Context, ());

const WAYS: [Way; 8] = [
    overflows,
    overflows_elsewhere,
    panics_where_it_may_not,
    panics_elsewhere_where_it_may_not,
    panics_twice,
    panics_aside_and_aborts,
    panics_is_caught_and_aborts,
    is_segfaulted,
];

fn run(ctx: &Context, way: usize) {
    WAYS[way](ctx, ());
}

#[expect(unconditional_recursion, reason = "it is to overflow the stack")]
fn deep(level: u64) -> u64 {
    let frame = black_box([level; 64]);
    deep(level + 1) + frame[7]
}

fn overflows(_: &Context, _: ()) {
    deep(0);
}

fn overflows_elsewhere(_: &Context, _: ()) {
    let thread = std::thread::spawn(|| deep(0));
    let _never = thread.join();
}

extern "C" fn may_not_unwind() {
    panic!("out of the C code");
}

fn panics_where_it_may_not(_: &Context, _: ()) {
    may_not_unwind();
}

fn panics_elsewhere_where_it_may_not(_: &Context, _: ()) {
    let thread = std::thread::Builder::new().name("worker".to_owned());
    let thread = thread.spawn(|| may_not_unwind()).expect("a thread");
    let _never = thread.join();
}

struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic!("in the destructor");
    }
}

fn panics_twice(_: &Context, _: ()) {
    let _bomb = PanicsOnDrop;
    panic!("before the destructor");
}

fn panics_aside_and_aborts(_: &Context, _: ()) {
    let thread = std::thread::spawn(|| panic!("of no consequence"));
    assert!(thread.join().is_err());
    std::process::abort();
}

fn panics_is_caught_and_aborts(_: &Context, _: ()) {
    assert!(catch_unwind(|| panic!("caught here")).is_err());
    std::process::abort();
}

fn is_segfaulted(ctx: &Context, _: ()) {
    let own = rustix::process::getpid();
    rustix::process::kill_process(own, rustix::process::Signal::SEGV).expect("a signal");
    // It may strike another thread, a little later.
    let _never = ctx.state().wait_equal("never", &true);
}

#[test]
fn stack_overflow() {
    let outcome = outcome_of(&tree(), overflows);
    assert_eq!(outcome.end, End::StackOverflow { thread: None });
    assert!(
        outcome.to_string().contains("overflowed its stack"),
        "{outcome}"
    );
    let stderr = outcome.stderr.as_ref().expect("it was captured");
    assert!(
        stderr.text().contains("has overflowed its stack"),
        "{}",
        stderr.text()
    );
    assert!(format!("{outcome:#}").contains("stderr:"), "{outcome:#}");
}

#[test]
fn stack_overflow_in_a_thread_of_its_own_is_a_signal() {
    let outcome = outcome_of(&tree(), overflows_elsewhere);
    assert!(
        matches!(outcome.end, End::Signaled { signal: 11, .. }),
        "{outcome}"
    );
}

#[test]
fn a_segfault_is_no_stack_overflow() {
    let outcome = outcome_of(&tree(), is_segfaulted);
    assert!(
        matches!(outcome.end, End::Signaled { signal: 11, .. }),
        "{outcome}"
    );
}

fn panic_of(outcome: &Outcome) -> (&str, &str, Option<&str>) {
    match &outcome.end {
        End::Panic {
            message,
            location,
            thread,
            ..
        } => (message, location, thread.as_deref()),
        _ => panic!("{outcome}"),
    }
}

#[test]
fn a_panic_that_aborts() {
    let ctx = tree();
    let outcome = outcome_of(&ctx, panics_where_it_may_not);
    let (message, location, thread) = panic_of(&outcome);
    assert_eq!((message, thread), ("out of the C code", None));
    assert!(location.contains("endings.rs:"), "{location}");

    let outcome = outcome_of(&ctx, panics_elsewhere_where_it_may_not);
    let (message, _, thread) = panic_of(&outcome);
    assert_eq!((message, thread), ("out of the C code", Some("worker")));
    assert!(outcome.to_string().contains("\"worker\""), "{outcome}");
}

/// The second one was told alone, which is mostly of no help.
#[test]
fn the_first_of_two_panics_is_told_and_the_second_is_mentioned() {
    let outcome = outcome_of(&tree(), panics_twice);
    let (message, location, thread) = panic_of(&outcome);
    let (first, second) = message.split_once('\n').expect("two lines");
    assert_eq!((first, thread), ("before the destructor", None));
    let told = "and while that unwound, a destructor panicked at tests/endings.rs:";
    assert!(second.starts_with(told), "{message}");
    assert!(second.ends_with(": in the destructor"), "{message}");
    let second_line = second.split(':').nth(1).expect("its line");
    assert!(
        !location.contains(&format!(":{second_line}:")),
        "{location}"
    );
}

/// Last words were written to a file, and so to panic under such a limit was to get SIGXFSZ.
#[test]
fn panics_are_told_where_no_file_may_grow() {
    fn catches(_: &Context, _: ()) -> bool {
        catch_unwind(|| panic!("caught here")).is_err()
    }
    let ctx = tree();
    let catches = ctx.process(catches).stderr(Output::Captured);
    let caught = catches.resource_limit(Resource::FileSize, 0, 0).spawn(());
    assert!(caught.expect("spawn").join().expect("it goes on"));
    let builder = ctx.process(|_: &Context, ()| may_not_unwind());
    let builder = builder.stderr(Output::Captured);
    let aborts = builder.resource_limit(Resource::FileSize, 0, 0).spawn(());
    let outcome = aborts.expect("spawn").outcome().expect("it is told");
    assert_eq!(panic_of(&outcome).0, "out of the C code");
}

#[test]
fn an_abort_is_not_taken_for_a_panic_before_it() {
    let ctx = tree();
    for way in [panics_aside_and_aborts, panics_is_caught_and_aborts] {
        let outcome = outcome_of(&ctx, way);
        assert!(
            matches!(outcome.end, End::Signaled { signal: 6, .. }),
            "{outcome}"
        );
    }
}

/// Writes that many numbered lines to each output.
fn writes(_: &Context, lines: u64) {
    for line in 0..lines {
        println!("out {line}");
        eprintln!("err {line}");
    }
}

#[test]
fn captured_output() {
    let ctx = tree();
    let writer = ctx.process(writes);
    let both = writer
        .clone()
        .stdout(Output::Captured)
        .stderr(Output::Captured);
    let outcome = both.spawn(2).expect("spawn").outcome().expect("it is told");
    let [stdout, stderr] = [outcome.stdout, outcome.stderr].map(|it| it.expect("captured"));
    assert_eq!((&*stdout.text(), stdout.omitted), ("out 0\nout 1\n", 0));
    assert_eq!((&*stderr.text(), stderr.omitted), ("err 0\nerr 1\n", 0));

    let silent = both.spawn(0).expect("spawn").outcome().expect("it is told");
    assert_eq!(silent.stdout.expect("captured").tail, b"");

    let one = writer.stdout(Output::Null).stderr(Output::Captured);
    let outcome = one
        .spawn(100_000)
        .expect("spawn")
        .outcome()
        .expect("it is told");
    assert_eq!(outcome.stdout, None);
    let stderr = outcome.stderr.as_ref().expect("captured");
    assert!(stderr.text().ends_with("\nerr 99998\nerr 99999\n"));
    assert_eq!(stderr.tail.len(), 64 * 1024);
    let all: usize = (0..100_000).map(|line| format!("err {line}\n").len()).sum();
    assert_eq!(stderr.omitted as usize, all - 64 * 1024);
    let report = format!("{outcome:#}");
    assert!(
        report.contains("stderr, the end of it:\n    err 99980\n"),
        "{report}"
    );
}

/// Writes until it is told to stop, which it looks for now and then.
fn writes_without_end(ctx: &Context, _: ()) {
    let line = [b'x'; 1024];
    let mut output = std::io::stdout().lock();
    while !ctx
        .state()
        .contains_key("stop")
        .expect("the server is there")
    {
        for _ in 0..1024 {
            output.write_all(&line).expect("the keeper reads");
        }
    }
}

#[test]
fn endless_output_holds_up_nobody() {
    let ctx = tree();
    let writer = ctx.process(writes_without_end).stdout(Output::Captured);
    let writers = [(); 2].map(|()| writer.spawn(()).expect("spawn"));
    for number in 0..20 {
        let other = ctx.spawn(|_, n: u32| n + 1, number).expect("spawn");
        assert_eq!(other.join_timeout(PATIENCE).expect("it runs"), number + 1);
    }
    ctx.state().set("stop", &true).expect("set");
    for writer in writers {
        let outcome = writer.outcome().expect("it is told");
        assert!(outcome.is_value(), "{outcome}");
        let stdout = outcome.stdout.expect("captured");
        assert_eq!(stdout.tail, [b'x'; 64 * 1024]);
    }
}

/// Leaves somebody behind who holds its output, and by nothing can be told to be its.
fn leaves_a_holder(_: &Context, _: ()) {
    println!("before");
    let script = "exec env -i setsid sh -c 'sleep 1000 & echo started'";
    let mut shell = Command::new("sh");
    let shell = shell.args(["-c", script]).stdin(Stdio::null());
    assert!(shell.status().expect("there is a shell").success());
}

#[test]
fn who_holds_the_output_is_not_waited_for() {
    let ctx = tree();
    let builder = ctx.process(leaves_a_holder).stdout(Output::Captured);
    let process: Process<()> = builder.spawn(()).expect("spawn");
    process.join_timeout(PATIENCE).expect("it ends");
    let outcome = process.outcome().expect("it is told");
    let stdout = outcome.stdout.expect("captured");
    assert_eq!(stdout.text(), "before\nstarted\n");
}

#[test]
fn what_was_captured_of_who_is_killed() {
    fn last(_: &Context, _: ()) {
        eprint!("the last that is heard");
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::KILL).expect("a signal");
    }
    let ctx = tree();
    let process = ctx
        .process(last)
        .stderr(Output::Captured)
        .spawn(())
        .expect("spawn");
    let outcome = process.outcome().expect("it is told");
    // Not for want of memory: nobody was killed for that.
    assert!(
        matches!(outcome.end, End::Signaled { signal: 9, .. }),
        "{outcome}"
    );
    assert_eq!(
        outcome.stderr.expect("captured").text(),
        "the last that is heard"
    );
    let error = process.join().expect_err("it was killed");
    let report = format!("{error:?}");
    assert!(
        error.is_killed() && report.contains("the last that is heard"),
        "{report}"
    );
}

/// Names the control group that the program of the next test is in.
const GROUP: &str = "ENDINGS_GROUP";

fn eats_memory(_: &Context, bytes: usize) -> u8 {
    let memory = vec![1_u8; bytes];
    black_box(&memory)[bytes / 2]
}

/// Not a test by itself: what [`want_of_memory`] runs in a control group of its own.
#[test]
fn program_in_want_of_memory() {
    if std::env::var_os(GROUP).is_none() {
        return;
    }
    let ctx = tree();
    let process = ctx.spawn(eats_memory, 512 << 20).expect("spawn");
    let outcome = process.outcome().expect("it is told");
    assert_eq!(outcome.end, End::OutOfMemory);
    assert!(outcome.to_string().contains("want of memory"), "{outcome}");
    assert!(process.join().expect_err("it was killed").is_killed());
    // The next one is killed by somebody.
    let process = ctx.spawn(
        |_, ()| {
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::KILL).expect("a signal");
        },
        (),
    );
    let outcome = process.expect("spawn").outcome().expect("it is told");
    assert!(
        matches!(outcome.end, End::Signaled { signal: 9, .. }),
        "{outcome}"
    );
    println!("found want of memory");
}

#[test]
fn want_of_memory() {
    let name = format!("zproc-endings-{}", std::process::id());
    // In the old form of control groups, and in the new one.
    let places = [
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        ("/sys/fs/cgroup", "memory.max"),
    ];
    let group = places.iter().find_map(|(place, limit)| {
        let group = std::path::Path::new(place).join(&name);
        std::fs::create_dir(&group).ok()?;
        let fits = group.join("cgroup.procs").exists()
            && std::fs::write(group.join(limit), (96 << 20).to_string()).is_ok();
        if !fits {
            let _ = std::fs::remove_dir(&group);
        }
        fits.then_some(group)
    });
    let Some(group) = group else {
        println!("not tried: no control group for memory can be made here");
        return;
    };
    let own = std::env::current_exe().expect("this is a program");
    let output = Command::new("sh")
        .args([
            "-c",
            "echo $$ > \"$ENDINGS_GROUP/cgroup.procs\" && exec \"$0\" \"$@\"",
        ])
        .arg(own)
        .args(["--exact", "program_in_want_of_memory", "--nocapture"])
        .env(GROUP, &group)
        .output()
        .expect("there is a shell");
    let _ = std::fs::remove_dir(&group);
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("found want of memory"), "{text}\n{errors}");
}
