//! When a program ends, however, nothing of its tree is left.
//!
//! The program is this very test binary, started again to run [`program`] alone. It starts one
//! process of each kind, tells their pids and then ends as it was told; the test holds a descriptor
//! of each (so a pid that is used again can't deceive it) and waits until all have ended.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use zproc::{Context, Result};

/// Says to the program how it shall end.
const HOW: &str = "SURVIVORS_HOW";
/// A hundred milliseconds are the aim; a test machine may be busy.
const DEADLINE: Duration = Duration::from_secs(30);

/// What a process starts that has nothing to do with zproc, by the shell's rules: each prints its
/// own pid, or its child's.
const STRANGERS: &[(&str, &str)] = &[
    ("plain", "echo $$; exec sleep 1000 >&-"),
    (
        "own session",
        "sleep 1000 >&- & echo $!; exec setsid sleep 1000 >&-",
    ),
    ("orphan", "sleep 1000 >&- & echo $!"),
    (
        "orphan in its own session",
        "setsid sleep 1000 >&- & echo $!",
    ),
    (
        "no environment",
        "exec env -i sh -c 'echo $$; exec sleep 1000 >&-'",
    ),
    ("deaf", "trap '' TERM INT HUP; echo $$; exec sleep 1000 >&-"),
];

/// A process that starts strangers and one more process, and never ends of itself.
#[expect(
    clippy::zombie_processes,
    reason = "that the keeper reaps what is left is the point"
)]
fn parent(ctx: &Context, depth: u32) -> Result<()> {
    let state = ctx.namespace("pids");
    for (name, script) in STRANGERS {
        let mut shell = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("there is a shell");
        let mut line = String::new();
        let output = shell.stdout.take().expect("it is piped");
        BufReader::new(output)
            .read_line(&mut line)
            .expect("it prints a pid");
        let pid: u32 = line.trim().parse().expect("a pid");
        state.set(&format!("{name} at {depth}"), &pid)?;
    }
    if depth < 2 {
        ctx.spawn(parent, depth + 1)?;
    }
    // The trees that it belongs to, the innermost last, each with its process: `a1b2/3,c3d4/5`.
    let mark = std::env::var("ZPROC_TREE").expect("each process bears the tree's mark");
    let tree = mark
        .rsplit(',')
        .next()
        .and_then(|mark| mark.split('/').next());
    ctx.state().set("tree", &tree)?;
    state.set(&format!("process at {depth}"), &std::process::id())?;
    ctx.state().wait_equal("the end of time", &true)?;
    Ok(())
}

/// Not a test of its own: the program that the others start.
#[test]
fn program() {
    let Ok(how) = std::env::var(HOW) else { return };
    let ctx = Context::new().expect("a tree");
    ctx.spawn(parent, 1).expect("spawn");
    let all = 2 * (STRANGERS.len() as u64 + 1);
    let pids = ctx.namespace("pids");
    // The condition runs in the server and captures nothing: the number comes by the state.
    ctx.state().set("all", &all).expect("set");
    pids.wait_until(|view| Ok(view.namespace("default").get("all")? == Some(view.len()?)))
        .expect("all have started");
    let mut out = std::io::stdout();
    let tree: Option<String> = ctx.state().get("tree").expect("get");
    writeln!(out, "\ntree {}", tree.expect("it was set")).expect("write");
    let socket = zproc::seam::socket_path(&ctx).expect("this is the program");
    writeln!(out, "socket {}", socket.display()).expect("write");
    let snapshot = pids.snapshot().expect("snapshot");
    for name in snapshot.keys() {
        let pid: Option<u32> = snapshot.get(name).expect("a pid");
        writeln!(out, "pid {} {name}", pid.expect("it is listed")).expect("write");
    }
    writeln!(out, "ready").expect("write");
    if how == "lost" {
        let lost = ctx.state().wait_equal("the end of time", &true);
        assert!(lost.expect_err("the server is lost").is_server_lost());
        return;
    }
    // Who shall be killed waits here; if the test fails, its end of the pipe closes.
    std::io::stdin()
        .read_line(&mut String::new())
        .expect("the word to end");
    match how.as_str() {
        "panic" => panic!("as told"),
        "exit" => std::process::exit(3),
        "abort" => std::process::abort(),
        _ => {}
    }
}

/// A program and all that it has told of its tree.
struct Tree {
    program: Child,
    tree: String,
    socket: String,
    /// By what they are: a pid, and a descriptor that becomes readable when the process ends.
    alive: BTreeMap<String, (u32, OwnedFd)>,
}

fn start(how: &str) -> Tree {
    let mut program = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "program", "--nocapture", "--test-threads=1"])
        .env(HOW, how)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("this test starts again");
    let output = BufReader::new(program.stdout.as_mut().expect("it is piped"));
    let (mut tree, mut socket) = (String::new(), String::new());
    let mut pids = BTreeMap::new();
    for line in output.lines() {
        let line = line.expect("text");
        let (what, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match what {
            "tree" => tree = rest.to_owned(),
            "socket" => socket = rest.to_owned(),
            "pid" => {
                let (pid, name) = rest.split_once(' ').expect("a pid and a name");
                pids.insert(name.to_owned(), pid.parse().expect("a pid"));
            }
            "ready" => break,
            _ => {}
        }
    }
    assert_eq!(
        pids.len(),
        2 * (STRANGERS.len() + 1),
        "not all have started: {pids:?}"
    );
    // The keeper and the server too: they carry the marker.
    for pid in marked(&tree) {
        if !pids.values().any(|known| *known == pid) {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).expect("it lives");
            pids.insert(format!("{} {pid}", name.trim()), pid);
        }
    }
    assert!(
        pids.len() > 2 * (STRANGERS.len() + 1) + 1,
        "keeper and server are not marked"
    );
    let alive = pids.into_iter().map(|(name, pid)| {
        let id = Pid::from_raw(pid as i32).expect("not zero");
        let descriptor = pidfd_open(id, PidfdFlags::empty()).expect("it lives");
        (name, (pid, descriptor))
    });
    Tree {
        alive: alive.collect(),
        program,
        tree,
        socket,
    }
}

/// The processes whose environment bears the tree's mark.
fn marked(tree: &str) -> Vec<u32> {
    let is_marked = |environment: &[u8]| {
        let mut entries = environment.split(|byte| *byte == 0);
        let marks = entries.find_map(|entry| entry.strip_prefix(b"ZPROC_TREE="));
        let marks = String::from_utf8_lossy(marks.unwrap_or_default());
        marks
            .split(',')
            .any(|mark| mark.split('/').next() == Some(tree))
    };
    let processes = std::fs::read_dir("/proc").expect("there is /proc");
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            // One that has just ended, or is somebody else's, can't be read.
            let environment = std::fs::read(format!("/proc/{pid}/environ"));
            is_marked(&environment.unwrap_or_default())
        })
        .collect()
}

/// Waits until all of the tree has ended; says who has not. Gives how the program ended.
fn nothing_is_left(mut tree: Tree) -> ExitStatus {
    let end = Instant::now() + DEADLINE;
    let mut survivors = Vec::new();
    for (name, (pid, descriptor)) in &tree.alive {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).expect("a short time");
        let mut wanted = [PollFd::new(descriptor, PollFlags::IN)];
        if poll(&mut wanted, Some(&left)).expect("poll") == 0 {
            survivors.push(name.as_str());
            // Leave nothing behind, even if this test fails.
            let pid = Pid::from_raw(*pid as i32).expect("not zero");
            kill_process(pid, Signal::KILL).expect("it lives on");
        }
    }
    assert!(survivors.is_empty(), "these live on: {survivors:?}");
    assert_eq!(marked(&tree.tree), [0_u32; 0], "there were more");
    assert!(
        !std::path::Path::new(&tree.socket).exists(),
        "the socket is left"
    );
    drop(tree.program.stdin.take());
    let mut rest = Vec::new();
    let output = tree.program.stdout.as_mut().expect("it is piped");
    output
        .read_to_end(&mut rest)
        .expect("nobody holds the program's output");
    tree.program.wait().expect("the program has ended")
}

/// The program ends of itself.
fn ends(how: &str) -> ExitStatus {
    let mut tree = start(how);
    let input = tree.program.stdin.as_mut().expect("it is piped");
    input.write_all(b"\n").expect("the program reads");
    nothing_is_left(tree)
}

#[test]
fn after_a_return() {
    assert!(ends("return").success());
}

#[test]
fn after_a_panic() {
    assert_eq!(
        ends("panic").code(),
        Some(101),
        "the harness's, for a failed test"
    );
}

#[test]
fn after_an_exit_without_a_drop() {
    assert_eq!(ends("exit").code(), Some(3));
}

#[test]
fn after_an_abort() {
    assert_eq!(ends("abort").signal(), Some(Signal::ABORT.as_raw()));
}

#[test]
fn after_sigkill() {
    let mut tree = start("killed");
    tree.program.kill().expect("it lives");
    let end = nothing_is_left(tree);
    assert_eq!(end.signal(), Some(Signal::KILL.as_raw()));
}

/// A process of the tree's own is killed: the tree ends, and the program can tell.
fn loses(name: &str) {
    let tree = start("lost");
    let own = tree.alive.iter().find(|(known, _)| known.starts_with(name));
    let (_, (pid, _)) = own.expect("it has a name of its own");
    let pid = Pid::from_raw(*pid as i32).expect("not zero");
    kill_process(pid, Signal::KILL).expect("it lives");
    assert!(nothing_is_left(tree).success(), "the program was told");
}

#[test]
fn after_the_loss_of_the_keeper() {
    loses("zproc-keeper");
}

#[test]
fn after_the_loss_of_the_server() {
    loses("zproc-server");
}

/// The guard and the server both hear that the keeper is lost. If both set about ending the tree,
/// each could stop the other first, and neither would ever go on: so it is the guard's as long as
/// there is one, however slow.
#[test]
fn the_server_leaves_the_end_of_the_tree_to_the_guard() {
    let ctx = Context::new().expect("a tree");
    let socket = zproc::seam::socket_path(&ctx).expect("this is the program");
    let directory = socket.parent().and_then(|place| place.file_name());
    let tree = directory.and_then(|name| name.to_str()?.strip_prefix("zproc-"));
    let mut alive = BTreeMap::new();
    for pid in marked(tree.expect("the directory is named after the tree")) {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).expect("it lives");
        let pid = Pid::from_raw(pid as i32).expect("not zero");
        let descriptor = pidfd_open(pid, PidfdFlags::empty()).expect("it lives");
        alive.insert(name.trim().to_owned(), (pid, descriptor));
    }
    let send = |name: &str, signal| kill_process(alive[name].0, signal).expect("it lives");
    let ends_within = |name: &str, limit: Duration| {
        let limit = Timespec::try_from(limit).expect("a short time");
        let mut wanted = [PollFd::new(&alive[name].1, PollFlags::IN)];
        poll(&mut wanted, Some(&limit)).expect("poll") > 0
    };
    send("zproc-guard", Signal::STOP);
    send("zproc-keeper", Signal::KILL);
    assert!(ends_within("zproc-keeper", DEADLINE));
    let left_alone = !ends_within("zproc-guard", Duration::from_millis(300));
    // First of all nothing is to be left, even if this test fails.
    let survivors: Vec<&str> = ["zproc-guard", "zproc-server"]
        .into_iter()
        .filter(|name| {
            let _ = kill_process(alive[*name].0, Signal::CONT);
            let ended = ends_within(name, DEADLINE);
            let _ = kill_process(alive[*name].0, Signal::KILL);
            !ended
        })
        .collect();
    assert!(survivors.is_empty(), "these live on: {survivors:?}");
    assert!(left_alone, "the server has ended the guard");
    assert!(!socket.exists(), "the socket is left");
}
