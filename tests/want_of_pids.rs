//! A spawn that fails for want of pids is a typed error in bounded time, and nobody else notices.
//!
//! The program is a copy of this very test binary, run as a user that has no other process, under a
//! limit of the processes of that user. Only root can do that: for anybody else the limit would
//! count what they run besides, so there the test says that it has not run, and ends.

use rustix::process::{Resource, Rlimit, geteuid, setrlimit};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use zproc::seam::proto::server::Record;
use zproc::{Context, End, Result, Txn, View};

/// Set where this binary is the program under test: how many processes it may have.
const PROGRAM: &str = "WANT_OF_PIDS";
/// More than any of the limits below lets live.
const SPAWNS: usize = 40;

fn add_one(txn: &mut Txn<'_>, _: ()) -> Result<u64> {
    let count = txn.get::<u64>("count")?.unwrap_or(0) + 1;
    txn.set("count", &count)?;
    Ok(count)
}

/// Counts until it is told to stop: a bystander, and a process that takes pids.
fn counter(ctx: &Context, _: ()) -> Result<u64> {
    let state = ctx.state();
    let mut counted = 0;
    while !state.contains_key("stop")? {
        state.atomic(add_one, ())?;
        counted += 1;
    }
    Ok(counted)
}

fn sleeper(ctx: &Context, _: ()) -> Result<()> {
    ctx.state().wait_equal("stop", &true)?;
    Ok(())
}

fn has_counted_on(view: &View<'_>) -> Result<bool> {
    Ok(view.get::<u64>("count")? >= view.get::<u64>("goal")?)
}

fn one_has_ended(view: &View<'_>) -> Result<bool> {
    for key in view.keys("process/")? {
        let record: Option<Record> = view.get(&key)?;
        if record.is_some_and(|record| record.state == "ended") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Spawns more than there are pids for, and prints how each process ended.
#[test]
fn program() -> Result<()> {
    let Ok(pids) = std::env::var(PROGRAM) else {
        return Ok(());
    };
    let pids = Some(pids.parse().expect("a number"));
    let limit = Rlimit {
        current: pids,
        maximum: pids,
    };
    setrlimit(Resource::Nproc, limit).expect("a limit may always be lowered");
    let ctx = Context::new()?;
    let state = ctx.state();
    let bystander = ctx.spawn(counter, ())?;
    state.wait_until(|view| view.contains_key("count"))?;
    let sleepers = (0..SPAWNS)
        .map(|_| ctx.spawn(sleeper, ()))
        .collect::<Result<Vec<_>>>()?;
    // Nobody ends before the stop, so the one that does has failed.
    ctx.namespace("").wait_until(one_has_ended)?;
    let counted = state.get::<u64>("count")?.unwrap_or(0);
    state.set("goal", &(counted + 100))?;
    state.wait_until(has_counted_on)?;
    state.set("stop", &true)?;
    // The harness has begun a line of its own.
    println!();
    for sleeper in sleepers {
        match sleeper.outcome()?.end {
            End::Value => println!("ended: lived"),
            End::NotStarted { call, errno } => println!("ended: no {call}, {errno}"),
            End::BeforeConnect { .. } => println!("ended: no thread"),
            other => println!("ended: {other:?}"),
        }
    }
    // All it counted is there, and nothing else.
    let by_hand = bystander.join()??;
    assert_eq!(state.get::<u64>("count")?, Some(by_hand));
    println!("bystander is right");
    Ok(())
}

/// A user that nobody is, and another one for each run of this test: two at a time would count each
/// other's processes.
fn user() -> u32 {
    20_000 + std::process::id() % 40_000
}

/// How the processes ended under a limit of so many.
fn under_a_limit(pids: u32) -> Vec<String> {
    let user = user();
    // The user may not be let into the folder where this binary is.
    let directory = tempfile::tempdir().expect("a temporary directory");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory.path(), open).expect("it is ours");
    let copy = directory.path().join("program");
    let this = std::env::current_exe().expect("this test");
    let copied = Command::new("cp").arg(this).arg(&copy).status();
    assert!(copied.expect("there is cp").success());
    let scratch = directory.path().join("scratch");
    std::fs::create_dir(&scratch).expect("it is ours");
    std::os::unix::fs::chown(&scratch, Some(user), Some(user)).expect("root may");
    let mut program = Command::new(&copy)
        .args(["--exact", "program", "--nocapture", "--test-threads=1"])
        .current_dir(&scratch)
        .env_clear()
        .env("TMPDIR", &scratch)
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env(PROGRAM, pids.to_string())
        .uid(user)
        .gid(user)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the copy starts");
    let mut output = String::new();
    let stdout = program.stdout.as_mut().expect("it is piped");
    stdout.read_to_string(&mut output).expect("text");
    assert!(program.wait().expect("it ends").success(), "{output}");
    assert!(output.contains("bystander is right"), "{output}");
    let ends = output
        .lines()
        .filter_map(|line| line.strip_prefix("ended: "));
    ends.map(str::to_owned).collect()
}

#[test]
fn a_spawn_without_a_pid_is_a_typed_error() {
    if !geteuid().is_root() {
        println!("not run: only root can give a user a limit that counts nothing else");
        return;
    }
    let mut all = Vec::new();
    // A process needs two (it and the thread of its function), so with one limit of the two the
    // last one left is no pid at all.
    for pids in [24, 25] {
        let ends = under_a_limit(pids);
        assert_eq!(ends.len(), SPAWNS);
        assert!(ends.iter().any(|end| end == "lived"), "{ends:?}");
        all.extend(ends);
    }
    let again = rustix::io::Errno::AGAIN.raw_os_error();
    assert!(
        all.iter().any(|end| end == &format!("no clone, {again}")),
        "{all:?}"
    );
    let known =
        |end: &String| end == "lived" || end == "no thread" || *end == format!("no clone, {again}");
    assert!(all.iter().all(known), "{all:?}");
}
