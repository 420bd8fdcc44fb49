//! When a program ends, however, nothing of its tree is left.
//!
//! The program is this very test binary, started again to run [`program`] alone. It starts a process
//! three deep, each with one descendant of each kind, tells their pids and then ends as it was told;
//! the test holds a descriptor of each (so a pid that is used again can't deceive it) and waits until
//! all have ended. All ways to end are tried at once and told as a table.
//!
//! A hundred rounds of it: `ZPROC_SURVIVORS_ROUNDS=100 cargo test --test survivors -- --nocapture`.

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
/// How many rounds, if not one.
const ROUNDS: &str = "ZPROC_SURVIVORS_ROUNDS";
/// A hundred milliseconds are the aim; a test machine may be busy.
const DEADLINE: Duration = Duration::from_secs(60);
/// Processes below each other.
const DEPTH: u32 = 3;

/// What a process starts that has nothing to do with zproc, by the shell's rules: each prints a pid,
/// its own or its child's.
const STRANGERS: &[(&str, &str)] = &[
    ("plain", "echo $$; exec sleep 1000 >&-"),
    (
        "setsid",
        "sleep 1000 >&- & echo $!; exec setsid sleep 1000 >&-",
    ),
    ("daemon", "setsid sleep 1000 >&- & echo $!"),
    (BARE_DAEMON, "setsid env -i sleep 1000 >&- & echo $!"),
    ("deaf", "trap '' TERM INT HUP; echo $$; exec sleep 1000 >&-"),
    // Each generation starts the next, which is nobody's child by then; the first one stays.
    (
        "forking",
        "hop() { sleep 0.02; hop & }; echo $$; exec >&-; hop; exec sleep 1000",
    ),
    (
        "stopped",
        "echo $$; exec >&-; kill -STOP $$; exec sleep 1000",
    ),
];
/// It has shed group, session and environment: nothing tells whose it was.
const BARE_DAEMON: &str = "bare daemon";
/// The eighth kind: a process of the tree.
const NESTED: &str = "nested";

/// How the program ends, or what is killed.
const WAYS: &[Way] = &[
    Way::ends("return", |end| end.success()),
    Way::ends("panic", |end| end.code() == Some(101)),
    Way::ends("exit", |end| end.code() == Some(3)),
    Way::ends("abort", |end| end.signal() == Some(Signal::ABORT.as_raw())),
    Way::killed("SIGTERM", Signal::TERM),
    Way::killed("SIGINT", Signal::INT),
    Way::killed("SIGKILL", Signal::KILL),
    Way::loses("loss of the keeper", "zproc-keeper"),
    Way::loses("loss of the server", "zproc-server"),
    Way::loses("death of a parent", "nested at 1"),
];

/// One way in which it ends.
struct Way {
    name: &'static str,
    deed: Deed,
    /// Is this how the program itself was to end?
    is_right: fn(ExitStatus) -> bool,
}

#[derive(Clone, Copy)]
enum Deed {
    /// The program does it by itself.
    Word,
    /// A signal to the program.
    Signal(Signal),
    /// A SIGKILL to somebody of the tree, by what its name begins with.
    Kill(&'static str),
}

impl Way {
    const fn ends(name: &'static str, is_right: fn(ExitStatus) -> bool) -> Way {
        Way {
            name,
            deed: Deed::Word,
            is_right,
        }
    }

    const fn killed(name: &'static str, signal: Signal) -> Way {
        Way {
            name,
            deed: Deed::Signal(signal),
            is_right: |end| end.signal().is_some(),
        }
    }

    const fn loses(name: &'static str, who: &'static str) -> Way {
        Way {
            name,
            deed: Deed::Kill(who),
            is_right: |end| end.success(),
        }
    }
}

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
    if depth < DEPTH {
        ctx.spawn(parent, depth + 1)?;
    }
    // The trees that it belongs to, the innermost last, each with its process: `a1b2/3,c3d4/5`.
    let mark = std::env::var("ZPROC_TREE").expect("each process bears the tree's mark");
    let tree = mark
        .rsplit(',')
        .next()
        .and_then(|mark| mark.split('/').next());
    ctx.state().set("tree", &tree)?;
    state.set(&format!("{NESTED} at {depth}"), &std::process::id())?;
    ctx.state().wait_equal("the end of time", &true)?;
    Ok(())
}

/// Not a test of its own: the program that the others start.
#[test]
fn program() {
    let Ok(how) = std::env::var(HOW) else { return };
    let ctx = Context::new().expect("a tree");
    ctx.spawn(parent, 1).expect("spawn");
    let pids = ctx.namespace("pids");
    // The condition runs in the server and captures nothing: the number comes by the state.
    ctx.state().set("all", &all_kinds().len()).expect("set");
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
    if how.starts_with("loss") {
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

/// Each kind, at each depth.
fn all_kinds() -> Vec<String> {
    let kinds = STRANGERS.iter().map(|(name, _)| *name).chain([NESTED]);
    kinds
        .flat_map(|kind| (1..=DEPTH).map(move |depth| format!("{kind} at {depth}")))
        .collect()
}

/// A process, and a descriptor that becomes readable when it ends.
struct Watched {
    pid: Pid,
    descriptor: OwnedFd,
}

impl Watched {
    fn new(pid: u32) -> Watched {
        let pid = Pid::from_raw(pid.cast_signed()).expect("not zero");
        Watched {
            pid,
            descriptor: pidfd_open(pid, PidfdFlags::empty()).expect("it lives"),
        }
    }

    fn ends_within(&self, limit: Duration) -> bool {
        let limit = Timespec::try_from(limit).expect("a short time");
        let mut wanted = [PollFd::new(&self.descriptor, PollFlags::IN)];
        poll(&mut wanted, Some(&limit)).expect("poll") > 0
    }
}

/// A program and all that it has told of its tree.
struct Tree {
    program: Child,
    tree: String,
    socket: String,
    /// By what they are.
    alive: BTreeMap<String, Watched>,
}

impl Tree {
    fn start(how: &str) -> Tree {
        zproc::seam::end_by_signals();
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
        let mut alive = BTreeMap::new();
        let mut known = Vec::new();
        for line in output.lines() {
            let line = line.expect("text");
            let (what, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match what {
                "tree" => tree = rest.to_owned(),
                "socket" => socket = rest.to_owned(),
                "pid" => {
                    let (pid, name) = rest.split_once(' ').expect("a pid and a name");
                    let pid = pid.parse().expect("a pid");
                    known.push(pid);
                    alive.insert(name.to_owned(), Watched::new(pid));
                }
                "ready" => break,
                _ => {}
            }
        }
        let started: Vec<&String> = alive.keys().collect();
        assert!(
            all_kinds().iter().all(|kind| started.contains(&kind)),
            "{started:?}"
        );
        // The keeper and the server too: they carry the marker.
        for (name, pid) in own(&tree) {
            alive.insert(name, Watched::new(pid));
        }
        Tree {
            program,
            tree,
            socket,
            alive,
        }
    }

    /// Brings its end about.
    fn end(&mut self, deed: Deed) {
        match deed {
            Deed::Word => self.say_the_word(),
            Deed::Signal(signal) => {
                let pid = Pid::from_child(&self.program);
                kill_process(pid, signal).expect("it lives");
            }
            Deed::Kill(who) => {
                let found = self.alive.iter().find(|(name, _)| name.starts_with(who));
                let (_, watched) = found.expect("it has a name of its own");
                kill_process(watched.pid, Signal::KILL).expect("it lives");
            }
        }
    }

    fn say_the_word(&mut self) {
        let input = self.program.stdin.as_mut().expect("it is piped");
        input.write_all(b"\n").expect("the program reads");
    }

    /// Waits until those have ended whose names `shall` picks; gives who has not, killed by then.
    fn left(&self, shall: impl Fn(&str) -> bool) -> Vec<&str> {
        let end = Instant::now() + DEADLINE;
        let watched = self.alive.iter().filter(|(name, _)| shall(name));
        let left = watched.filter(|(_, watched)| {
            let ended = watched.ends_within(end.saturating_duration_since(Instant::now()));
            if !ended {
                // Leave nothing behind, even if this test fails.
                let _ = kill_process(watched.pid, Signal::KILL);
            }
            !ended
        });
        left.map(|(name, _)| name.as_str()).collect()
    }
}

/// The keeper, the server and the guard of a tree, by their names.
fn own(tree: &str) -> BTreeMap<String, u32> {
    let own = marked(tree).into_iter().filter_map(|pid| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        let name = name.trim().to_owned();
        name.starts_with("zproc-").then_some((name, pid))
    });
    let own: BTreeMap<String, u32> = own.collect();
    assert_eq!(own.len(), 3, "keeper, server and guard: {own:?}");
    own
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

/// One way to end, tried; how many of each kind are left of how many, and what else is wrong.
fn tried(way: &Way) -> (BTreeMap<&'static str, usize>, Vec<String>) {
    let mut tree = Tree::start(way.name);
    tree.end(way.deed);
    let mut wrong = Vec::new();
    let mut left = Vec::new();
    if let Deed::Kill(who) = way.deed
        && who.starts_with(NESTED)
    {
        // The program and its tree go on; all that was below the dead is gone but who has shed all
        // that could tell whose it is, and lives until the tree ends.
        let below = |name: &str| !name.starts_with("zproc-") && !name.starts_with(BARE_DAEMON);
        left.extend(tree.left(below).into_iter().map(str::to_owned));
        tree.say_the_word();
    }
    left.extend(tree.left(|_| true).into_iter().map(str::to_owned));
    if !marked(&tree.tree).is_empty() {
        wrong.push("more of the tree is left".to_owned());
    }
    if std::path::Path::new(&tree.socket).exists() {
        wrong.push("the socket is left".to_owned());
    }
    drop(tree.program.stdin.take());
    // Ends when nobody holds the program's output any more.
    let output = tree.program.stdout.as_mut().expect("it is piped");
    output.read_to_end(&mut Vec::new()).expect("it is a pipe");
    let end = tree.program.wait().expect("the program has ended");
    if !(way.is_right)(end) {
        wrong.push(format!("the program ended by {end}"));
    }
    wrong.extend(left.iter().cloned());
    let kinds = STRANGERS.iter().map(|(kind, _)| *kind);
    let counts = kinds.chain([NESTED, "zproc-"]).map(|kind| {
        let count = left.iter().filter(|name| name.starts_with(kind)).count();
        (kind, count)
    });
    (counts.collect(), wrong)
}

/// A round of all ways, printed as a table: how many of each kind are left.
fn round() {
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = WAYS.iter().map(|way| scope.spawn(|| tried(way))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("it has not panicked"))
            .collect()
    });
    println!("\n{:20}{}", "left after", columns(results[0].0.keys()));
    for (way, (counts, _)) in WAYS.iter().zip(&results) {
        println!("{:20}{}", way.name, columns(counts.values()));
    }
    for (way, (_, wrong)) in WAYS.iter().zip(&results) {
        assert!(wrong.is_empty(), "{}: {wrong:?}", way.name);
    }
}

fn columns<S: std::fmt::Display>(cells: impl Iterator<Item = S>) -> String {
    cells.map(|cell| format!("{cell:>12}")).collect()
}

#[test]
fn nothing_is_left_whoever_ends_and_however() {
    if std::env::var_os(HOW).is_some() {
        return;
    }
    let rounds = std::env::var(ROUNDS).map_or(1, |rounds| rounds.parse().expect("a number"));
    for _ in 0..rounds {
        round();
    }
}

/// It does not read, reap or kill any more: the guard ends the tree in its place.
#[test]
fn nothing_is_left_by_a_keeper_that_hangs() {
    let mut tree = Tree::start("SIGKILL");
    let keeper = tree.alive["zproc-keeper"].pid;
    kill_process(keeper, Signal::STOP).expect("it lives");
    tree.end(Deed::Signal(Signal::KILL));
    assert_eq!(tree.left(|_| true), [""; 0]);
    tree.program.wait().expect("it was killed");
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
    let tree = tree.expect("the directory is named after the tree");
    let alive: BTreeMap<String, Watched> = own(tree)
        .into_iter()
        .map(|(name, pid)| (name, Watched::new(pid)))
        .collect();
    let send = |name: &str, signal| kill_process(alive[name].pid, signal).expect("it lives");
    let ends_within = |name: &str, limit: Duration| alive[name].ends_within(limit);
    send("zproc-guard", Signal::STOP);
    send("zproc-keeper", Signal::KILL);
    assert!(ends_within("zproc-keeper", DEADLINE));
    let left_alone = !ends_within("zproc-guard", Duration::from_millis(300));
    // First of all nothing is to be left, even if this test fails.
    let survivors: Vec<&str> = ["zproc-guard", "zproc-server"]
        .into_iter()
        .filter(|name| {
            let _ = kill_process(alive[*name].pid, Signal::CONT);
            let ended = ends_within(name, DEADLINE);
            let _ = kill_process(alive[*name].pid, Signal::KILL);
            !ended
        })
        .collect();
    assert!(survivors.is_empty(), "these live on: {survivors:?}");
    assert!(left_alone, "the server has ended the guard");
    assert!(!socket.exists(), "the socket is left");
}
