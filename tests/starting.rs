//! Each thing that can be said of the way to start a process, with real processes.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Resource as SystemResource, getrlimit, pidfd_open};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zproc::{Context, End, Input, Output, ProcessBuilder, Resource, Why};

const PATIENCE: Duration = Duration::from_secs(60);

fn tree() -> Context {
    Context::new().expect("a tree")
}

/// The end of a process that can't be started: which call failed, and how.
fn failed_call(builder: &ProcessBuilder<(), ()>) -> (String, i32) {
    let process = builder.spawn(()).expect("its record is written");
    let outcome = process.outcome().expect("it is told how it ended");
    let error = process.join().expect_err("it did not run");
    assert!(error.is_not_started(), "{error}");
    match outcome.end {
        End::NotStarted { call, errno } => {
            assert!(error.to_string().contains(&call), "{error}");
            (call, errno)
        }
        end => panic!("{end}"),
    }
}

fn nothing(_: &Context, _: ()) {}

#[test]
fn name() {
    fn names(_: &Context, _: ()) -> (String, Option<String>, String) {
        let comm = fs::read_to_string("/proc/self/comm").expect("a process has a name");
        let thread = std::thread::current().name().map(str::to_owned);
        let zeroth = std::env::args().next().expect("there is a name");
        (comm.trim_end().to_owned(), thread, zeroth)
    }
    let ctx = tree();
    let named = ctx.process(names).name("stage 1").spawn(());
    let (comm, thread, zeroth) = named.expect("spawn").join().expect("it runs");
    assert_eq!(comm, "stage 1");
    assert_eq!(thread.as_deref(), Some("stage 1"));
    assert_eq!(zeroth, "stage 1");
}

#[test]
fn environment() {
    fn variable(_: &Context, name: String) -> Option<String> {
        std::env::var(name).ok()
    }
    fn all(_: &Context, _: ()) -> Vec<String> {
        let names = std::env::vars_os().map(|(name, _)| name.into_string());
        names.filter_map(Result::ok).collect()
    }
    let ctx = tree();
    let ask = |builder: &ProcessBuilder<String, Option<String>>, name: &str| {
        let process = builder.spawn(name.to_owned()).expect("spawn");
        process.join().expect("it runs")
    };
    let usual = ctx.process(variable);
    assert!(ask(&usual, "PATH").is_some());
    assert_eq!(ask(&usual.clone().env_remove("PATH"), "PATH"), None);
    let set = usual.clone().env("STARTING", "1").env("STARTING", "2");
    assert_eq!(ask(&set, "STARTING").as_deref(), Some("2"));
    let path = std::env::var("PATH").ok();
    assert_eq!(ask(&set, "PATH"), path);
    assert_eq!(ask(&set.env_remove("STARTING"), "STARTING"), None);

    let cleared = ctx.process(all).env("A", "0").env_clear().env("B", "1");
    let mut left = cleared.spawn(()).expect("spawn").join().expect("it runs");
    left.retain(|name| !name.starts_with("ZPROC_TREE"));
    assert_eq!(left, ["B"]);
    // Of one process a change is: the next begins as ever.
    assert_eq!(ask(&usual, "STARTING"), None);
}

#[test]
fn directory() {
    fn here(_: &Context, _: ()) -> String {
        let directory = std::env::current_dir().expect("it has one");
        directory.to_str().expect("it is text").to_owned()
    }
    let ctx = tree();
    let elsewhere = tempfile::tempdir().expect("a directory");
    let path = elsewhere.path().canonicalize().expect("it is there");
    let process = ctx.process(here).current_dir(&path).spawn(());
    let found = process.expect("spawn").join().expect("it runs");
    assert_eq!(found.as_str(), path.to_str().expect("it is text"));

    let nowhere = ctx.process(nothing).current_dir("/nowhere/at/all");
    let enoent = rustix::io::Errno::NOENT.raw_os_error();
    assert_eq!(failed_call(&nowhere), ("chdir".to_owned(), enoent));
    // The tree goes on.
    ctx.spawn(nothing, ())
        .expect("spawn")
        .join()
        .expect("it runs");
}

#[test]
fn niceness() {
    fn nice(_: &Context, _: ()) -> i32 {
        let stat = fs::read_to_string("/proc/self/stat").expect("it is there");
        // Behind the name, which may have blanks in it: the 17th number.
        let (_, numbers) = stat.rsplit_once(") ").expect("a name in brackets");
        let nice = numbers.split(' ').nth(16).expect("it is there");
        nice.parse().expect("a number")
    }
    let ctx = tree();
    let usual = ctx.spawn(nice, ()).expect("spawn").join().expect("it runs");
    let process = ctx.process(nice).niceness(usual + 3).spawn(());
    assert_eq!(process.expect("spawn").join().expect("it runs"), usual + 3);
}

#[test]
fn resource_limits() {
    type Both = (Option<u64>, Option<u64>);
    const RESOURCES: [(Resource, SystemResource, u64); 9] = [
        (Resource::AddressSpace, SystemResource::As, 1 << 34),
        (Resource::CoreSize, SystemResource::Core, 4096),
        (Resource::CpuTime, SystemResource::Cpu, 100),
        (Resource::Data, SystemResource::Data, 1 << 33),
        (Resource::FileSize, SystemResource::Fsize, 1 << 20),
        (Resource::LockedMemory, SystemResource::Memlock, 4096),
        (Resource::OpenFiles, SystemResource::Nofile, 50),
        (Resource::Processes, SystemResource::Nproc, 10_000),
        (Resource::Stack, SystemResource::Stack, 1 << 20),
    ];
    fn limits(_: &Context, _: ()) -> Vec<Both> {
        let limits = RESOURCES.iter().map(|(_, system, _)| getrlimit(*system));
        limits.map(|limit| (limit.current, limit.maximum)).collect()
    }
    let ctx = tree();
    let before = ctx
        .spawn(limits, ())
        .expect("spawn")
        .join()
        .expect("it runs");
    // The keeper takes more descriptors than the program has; its processes do not.
    let own = getrlimit(SystemResource::Nofile);
    assert_eq!(before[6], (own.current, own.maximum));
    let mut builder = ctx.process(limits);
    let mut wanted = Vec::new();
    for ((resource, _, limit), (_, maximum)) in RESOURCES.iter().zip(&before) {
        // Anybody may lower it.
        let hard = maximum.map_or(*limit, |maximum| maximum.min(*limit));
        builder = builder.resource_limit(*resource, hard / 2, hard);
        wanted.push((Some(hard / 2), Some(hard)));
    }
    let found = builder.spawn(()).expect("spawn").join().expect("it runs");
    assert_eq!(found, wanted);
    let after = ctx
        .spawn(limits, ())
        .expect("spawn")
        .join()
        .expect("it runs");
    assert_eq!(after, before);

    // More descriptors than the system has for anybody.
    let all = Resource::UNLIMITED;
    let greedy = ctx
        .process(nothing)
        .resource_limit(Resource::OpenFiles, all, all);
    let eperm = rustix::io::Errno::PERM.raw_os_error();
    assert_eq!(failed_call(&greedy), ("setrlimit".to_owned(), eperm));
}

/// Says something on both outputs, and tells what its input is.
fn speak(_: &Context, word: String) -> String {
    println!("{word} out");
    eprintln!("{word} err");
    let mut input = String::new();
    std::io::stdin()
        .read_to_string(&mut input)
        .expect("it can be read");
    input
}

#[test]
fn files_as_standard_streams() {
    let ctx = tree();
    let directory = tempfile::tempdir().expect("a directory");
    let [input, out, err] = ["in", "out", "err"].map(|name| directory.path().join(name));
    fs::write(&input, "some text").expect("write");
    fs::write(&out, "what was there, which is longer").expect("write");
    fs::write(&err, "before\n").expect("write");
    let speaker = ctx
        .process(speak)
        .stdin(Input::File(input))
        .stdout(Output::File(out.clone()))
        .stderr(Output::Append(err.clone()));
    let heard = speaker.spawn("first".to_owned()).expect("spawn").join();
    assert_eq!(heard.expect("it runs"), "some text");
    let text = |path| fs::read_to_string(path).expect("it is there");
    assert_eq!(text(&out), "first out\n");
    assert_eq!(text(&err), "before\nfirst err\n");
    // Each process opens it anew, and appends where others have.
    let second = speaker.spawn("second".to_owned()).expect("spawn");
    second.join().expect("it runs");
    assert_eq!(text(&out), "second out\n");
    assert_eq!(text(&err), "before\nfirst err\nsecond err\n");
}

#[test]
fn nothing_as_standard_streams() {
    fn targets(_: &Context, _: ()) -> Vec<String> {
        let link = |number| fs::read_link(format!("/proc/self/fd/{number}"));
        let links = (0..3).map(|number| link(number).expect("it is open"));
        links
            .map(|link| link.to_string_lossy().into_owned())
            .collect()
    }
    let ctx = tree();
    let mute = ctx
        .process(targets)
        .stdout(Output::Null)
        .stderr(Output::Null);
    let found = mute.spawn(()).expect("spawn").join().expect("it runs");
    assert_eq!(found, ["/dev/null"; 3]);
    let own: Vec<_> = (0..3)
        .map(|number| fs::read_link(format!("/proc/self/fd/{number}")))
        .collect();
    let inherits = ctx.process(targets).stdin(Input::Inherit);
    let found = inherits.spawn(()).expect("spawn").join().expect("it runs");
    for (found, own) in found.iter().zip(own) {
        assert_eq!(*found, own.expect("it is open").to_string_lossy());
    }
}

#[test]
fn files_that_can_not_be_opened() {
    let ctx = tree();
    let builder = ctx.process(nothing);
    let enoent = rustix::io::Errno::NOENT.raw_os_error();
    let nowhere = || "/nowhere/at/all".into();
    let cases = [
        (
            builder.clone().stdin(Input::File(nowhere())),
            "standard input",
        ),
        (
            builder.clone().stdout(Output::File(nowhere())),
            "standard output",
        ),
        (
            builder.clone().stderr(Output::Append(nowhere())),
            "standard error",
        ),
    ];
    for (builder, which) in cases {
        let (call, errno) = failed_call(&builder);
        assert_eq!((call, errno), (format!("open of the {which}"), enoent));
    }
}

/// A pipe with a name, which is opened when it has both ends: until then the open waits, as it does
/// for a file system that does not answer.
fn fifo(directory: &Path) -> PathBuf {
    let fifo = directory.join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.expect("there is a mkfifo").success());
    fifo
}

/// Files were opened between fork and exec: there the keeper waited as well, and nobody of the tree
/// could begin or end.
#[test]
fn a_file_that_does_not_open_holds_up_its_process_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let fifo = fifo(directory.path());
    let ctx = tree();
    let writer = ctx.process(nothing).stdout(Output::Append(fifo.clone()));
    let reader = ctx.process(nothing).stdin(Input::File(fifo.clone()));
    let [killed, stopped, left] = [(); 3].map(|()| writer.spawn(()).expect("spawn"));
    let next = ctx.spawn(nothing, ()).expect("spawn");
    next.join_timeout(PATIENCE).expect("others begin and end");

    let outcome = killed.kill().expect("it is told");
    let asked = Why::Asked;
    assert_eq!(outcome.end, End::Killed { why: asked });
    let outcome = stopped.stop(Duration::ZERO).expect("it is told");
    let grace = Why::Grace;
    assert_eq!(outcome.end, End::Killed { why: grace });
    // With the other end it goes on, here that of another process.
    let other = reader.spawn(()).expect("spawn");
    for process in [left, other] {
        process.join_timeout(PATIENCE).expect("both go on");
    }
    // The tree ends with one that waits.
    let waits = writer.spawn(()).expect("spawn");
    let pid = loop {
        if let Some(pid) = waits.pid().expect("its record") {
            break pid;
        }
        std::thread::yield_now();
    };
    let pid = Pid::from_raw(pid.cast_signed()).expect("not zero");
    let alive = pidfd_open(pid, PidfdFlags::empty()).expect("it waits");
    drop((killed, stopped, next, waits));
    drop((writer, reader, ctx));
    let limit = Timespec::try_from(PATIENCE).expect("a short time");
    let ended = poll(&mut [PollFd::new(&alive, PollFlags::IN)], Some(&limit));
    assert_eq!(ended.expect("poll"), 1, "it lives on");
}

#[test]
fn child_init_runs_first_in_each_process_at_any_depth() {
    use std::sync::atomic::{AtomicU32, Ordering};
    static RUNS: AtomicU32 = AtomicU32::new(0);
    fn init(ctx: &Context) {
        RUNS.fetch_add(1, Ordering::Relaxed);
        ctx.namespace("init")
            .set(&ctx.process_id().0.to_string(), &true)
            .expect("set");
    }
    fn runs(ctx: &Context, depth: u32) -> Vec<u32> {
        let mut runs = match depth {
            0 => Vec::new(),
            _ => ctx
                .spawn(runs, depth - 1)
                .expect("spawn")
                .join()
                .expect("it runs"),
        };
        runs.push(RUNS.load(Ordering::Relaxed));
        runs
    }
    let ctx = Context::builder().child_init(init).start().expect("a tree");
    let process = ctx.spawn(runs, 2).expect("spawn");
    assert_eq!(process.join().expect("it runs"), [1, 1, 1]);
    assert_eq!(ctx.namespace("init").len().expect("len"), 3);
    // Not in the program, nor in the server.
    assert_eq!(RUNS.load(Ordering::Relaxed), 0);
}

#[test]
fn child_init_that_panics_ends_the_process_so() {
    let builder = Context::builder().child_init(|_| panic!("no log file"));
    let ctx = builder.start().expect("a tree");
    let error = ctx
        .spawn(nothing, ())
        .expect("spawn")
        .join()
        .expect_err("it panicked");
    assert!(
        error.is_panic() && error.to_string().contains("no log file"),
        "{error}"
    );
}
