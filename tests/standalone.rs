//! A server that stands alone, and the programs that come to it: real processes, which are killed.
//!
//! The programs are this very test binary, started again to run [`program`] alone; the one of another
//! build is a copy of it, which is another file. They do what they are told on their standard input.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use zproc::{Context, Error, Filter, LockGuard, Result, Server, ServerEnd, Stopper, Txn};

/// What the program is to be: `server` or `guest`, a space, and the path of the socket.
const ROLE: &str = "STANDALONE_ROLE";
/// At once is the aim; a test machine may be busy.
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs until its program is gone.
fn child(ctx: &Context, (): ()) -> Result<()> {
    let state = ctx.state();
    let pid = std::process::id();
    state.set_owned(&format!("child of {pid}"), &pid)?;
    state.set("child", &pid)?;
    state.wait_equal("the end of time", &true)?;
    Ok(())
}

/// As one operation, which runs in its caller where the server runs none.
fn bump(txn: &mut Txn<'_>, key: String) -> Result<u64> {
    let next = txn.get::<u64>(&key)?.unwrap_or(0) + 1;
    txn.set(&key, &next)?;
    Ok(next)
}

fn double(_: &Context, number: u64) -> u64 {
    2 * number
}

/// Not a test of its own: a program that the others start.
#[test]
fn program() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let (role, path) = role.split_once(' ').expect("a role and a path");
    match role {
        "server" => serve(path),
        _ => visit(path),
    }
}

fn serve(path: &str) {
    match Server::bind(path) {
        Ok(server) => {
            println!("\nready");
            server.run().expect("it serves");
        }
        Err(error) => println!("\nno: {}", error.is_address_in_use()),
    }
}

fn visit(path: &str) {
    let ctx = Context::connect(path).expect("a server listens there");
    println!("\nready");
    let mut held: Vec<LockGuard> = Vec::new();
    for line in std::io::stdin().lines() {
        let line = line.expect("text");
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let answer = match word {
            "end" => break,
            "lock" => ctx.lock(rest).map(|guard| {
                held.push(guard);
                "ok".to_owned()
            }),
            _ => obey(&ctx, word, rest),
        };
        println!("{}", answer.unwrap_or_else(|error| told(&error)));
    }
}

fn obey(ctx: &Context, word: &str, key: &str) -> Result<String> {
    let state = ctx.state();
    Ok(match word {
        "get" => format!("{:?}", state.get::<u64>(key)?),
        "own" => {
            state.set_owned(key, &1)?;
            "ok".to_owned()
        }
        "add" => state.add(key, 1)?.to_string(),
        "bump" => state.atomic(bump, key.to_owned())?.to_string(),
        "until" => {
            state.wait_until(|view| Ok(view.get::<u64>("bumped")? == Some(100)))?;
            "ok".to_owned()
        }
        "wait" => state.wait_equal(key, &true).map(|_| "ok".to_owned())?,
        "double" => ctx.spawn(double, 21)?.join()?.to_string(),
        // It goes on when the handle is dropped.
        "child" => {
            let child = ctx.spawn(child, ())?;
            begun(ctx, &child)?.to_string()
        }
        "id" => ctx.process_id().0.to_string(),
        other => panic!("{other:?} is nothing to do"),
    })
}

/// The number of a process that was started, when it has begun.
fn begun<R>(ctx: &Context, process: &zproc::Process<R>) -> Result<u32> {
    loop {
        if let Some(pid) = process.pid()? {
            let key = format!("child of {pid}");
            ctx.state().wait_available::<u32>(&key)?;
            return Ok(pid);
        }
    }
}

/// What an error says of a loss.
fn told(error: &Error) -> String {
    match error.server_loss() {
        Some(loss) => format!("lost {:?}", loss.how),
        None => format!("error {error}"),
    }
}

/// A program that was started, spoken with by lines.
struct Guest {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Guest {
    fn start(executable: &Path, role: &str, path: &Path) -> Guest {
        zproc::seam::end_by_signals();
        let mut child = Command::new(executable)
            .args(["--exact", "program", "--nocapture", "--test-threads=1"])
            .env(ROLE, format!("{role} {}", path.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test starts again");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        Guest { child, output }
    }

    fn connected(place: &Place) -> Guest {
        let mut guest = Guest::start(&own_executable(), "guest", &place.path());
        guest.until("ready");
        guest
    }

    fn until(&mut self, wanted: &str) {
        while self.line() != wanted {}
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let count = self.output.read_line(&mut line).expect("text");
        assert!(count > 0, "the program has ended");
        line.trim_end().to_owned()
    }

    fn say(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("it is piped");
        writeln!(input, "{line}").expect("it reads");
    }

    fn ask(&mut self, line: &str) -> String {
        self.say(line);
        self.line()
    }

    /// Has it start a process, and looks who is there for it.
    fn family(&mut self) -> Family {
        let child = self.ask("child").parse().expect("a pid");
        let keeper = parent_of(child);
        let guard = parent_of(keeper);
        assert_eq!(
            (name_of(keeper), name_of(guard)),
            ("zproc-keeper".to_owned(), "zproc-guard".to_owned())
        );
        Family {
            child: Watched::new(child),
            keeper: Watched::new(keeper),
            guard: Watched::new(guard),
        }
    }

    fn kill(&mut self) {
        self.child.kill().expect("it lives");
        self.child.wait().expect("it is ours");
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process of a program, and those that hold it.
struct Family {
    child: Watched,
    keeper: Watched,
    guard: Watched,
}

impl Family {
    fn must_end(&self) {
        for (who, watched) in [
            ("child", &self.child),
            ("keeper", &self.keeper),
            ("guard", &self.guard),
        ] {
            assert!(watched.ends_within(DEADLINE), "the {who} lives on");
        }
    }
}

/// A process, and a descriptor that becomes readable when it ends.
struct Watched {
    pid: u32,
    descriptor: OwnedFd,
}

impl Watched {
    fn new(pid: u32) -> Watched {
        let descriptor = pidfd_open(raw(pid), PidfdFlags::empty()).expect("it lives");
        Watched { pid, descriptor }
    }

    fn ends_within(&self, limit: Duration) -> bool {
        let limit = Timespec::try_from(limit).expect("a short time");
        let mut wanted = [PollFd::new(&self.descriptor, PollFlags::IN)];
        poll(&mut wanted, Some(&limit)).expect("poll") > 0
    }

    fn kill(&self) {
        kill_process(raw(self.pid), Signal::KILL).expect("it lives");
    }
}

fn raw(pid: u32) -> Pid {
    Pid::from_raw(pid.cast_signed()).expect("not zero")
}

fn parent_of(pid: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    parent.expect("it has one").trim().parse().expect("a pid")
}

fn name_of(pid: u32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).expect("it lives");
    name.trim().to_owned()
}

fn own_executable() -> PathBuf {
    std::env::current_exe().expect("this test")
}

/// A directory for sockets.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().expect("a temporary directory"))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("socket")
    }

    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).expect("it is there");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        names
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    }

    /// A server on a thread of this process.
    fn serve(&self) -> Serving {
        let server = Server::bind(self.path()).expect("bind");
        let stopper = server.stopper();
        let thread = std::thread::spawn(move || server.run());
        Serving { stopper, thread }
    }

    /// A server in a process of its own.
    fn server(&self) -> Guest {
        let mut server = Guest::start(&own_executable(), "server", &self.path());
        server.until("ready");
        server
    }
}

struct Serving {
    stopper: Stopper,
    thread: JoinHandle<Result<()>>,
}

impl Serving {
    fn stop(self) {
        self.stopper.stop();
        self.thread.join().expect("no panic").expect("it served");
    }
}

/// How a call failed when the server was lost; it took no time to speak of.
fn loss(call: impl FnOnce() -> Error) -> ServerEnd {
    let begin = Instant::now();
    let error = call();
    // Far less than is tried to come back where nobody knows.
    assert!(begin.elapsed() < Duration::from_secs(15));
    error
        .server_loss()
        .unwrap_or_else(|| panic!("{error}"))
        .how
        .clone()
}

#[test]
fn programs_of_different_builds_share_one_state() {
    let place = Place::new();
    let serving = place.serve();
    let copy = place.0.path().join("copy");
    std::fs::copy(own_executable(), &copy).expect("copy");
    let mut one = Guest::connected(&place);
    let mut other = Guest::start(&copy, "guest", &place.path());
    other.until("ready");
    assert_ne!(one.ask("id"), other.ask("id"));
    for count in 1..=3 {
        assert_eq!(one.ask("add k"), (2 * count - 1).to_string());
        assert_eq!(other.ask("add k"), (2 * count).to_string());
    }
    // Functions are one operation each, in whichever program they run, and conditions come true.
    let mut third = Guest::connected(&place);
    third.say("until");
    for guest in [&mut one, &mut other] {
        (0..50).for_each(|_| guest.say("bump bumped"));
    }
    let mut numbers: Vec<u64> = Vec::new();
    for _ in 0..50 {
        for guest in [&mut one, &mut other] {
            numbers.push(guest.line().parse().expect("a number"));
        }
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=100).collect::<Vec<u64>>());
    assert_eq!(third.line(), "ok");
    third.kill();
    // Both start processes of their own builds, and join them.
    assert_eq!(one.ask("double"), "42");
    assert_eq!(other.ask("double"), "42");
    // What one waits for the other writes; here a third does.
    let ctx = Context::connect(place.path()).expect("connect");
    one.say("wait w");
    other.say("wait w");
    ctx.state().set("w", &true).expect("set");
    assert_eq!(
        (one.line(), other.line()),
        ("ok".to_owned(), "ok".to_owned())
    );
    let processes = ctx.processes().expect("processes");
    let ended = processes
        .iter()
        .filter(|process| process.outcome.is_some())
        .count();
    // Three programs are here, one was, and each of two had a process.
    assert_eq!((processes.iter().count(), ended), (6, 3), "{processes}");
    drop(ctx);
    one.say("end");
    other.say("end");
    assert!(one.child.wait().expect("it is ours").success());
    assert!(other.child.wait().expect("it is ours").success());
    serving.stop();
    assert_eq!(place.files(), ["copy"]);
}

/// Has a program with a process, owned keys and a lock end in some way, while another watches.
fn goes(end: impl FnOnce(&mut Guest, &Family)) {
    let place = Place::new();
    let serving = place.serve();
    let mut guest = Guest::connected(&place);
    let mut bystander = Guest::connected(&place);
    let bystanders = bystander.family();
    let ctx = Context::connect(place.path()).expect("connect");
    let state = ctx.state();
    let family = guest.family();
    assert_eq!(guest.ask("own mine"), "ok");
    assert_eq!(guest.ask("lock door"), "ok");
    let childs = format!("child of {}", family.child.pid);
    let mut watch = state
        .watch(Filter::keys(["mine", &childs]))
        .start()
        .expect("watch");
    end(&mut guest, &family);
    // Each is released in a revision of its own, which says why.
    for _ in 0..2 {
        let update = watch.next_within(DEADLINE).expect("it comes");
        let released = update.origin.released.expect("it is a release");
        assert_eq!(released, "ended with its program or its keeper");
    }
    assert!(!state.contains_key("mine").expect("get"));
    drop(ctx.lock_timeout("door", DEADLINE).expect("it is free"));
    family.must_end();
    // The others go on.
    assert_eq!(bystander.ask("add k"), "1");
    assert!(!bystanders.child.ends_within(Duration::ZERO));
    let mut records = String::new();
    for process in ctx.processes().expect("processes").iter() {
        writeln!(records, "{:?} {:?}", process.pid, process.outcome).expect("to a string");
    }
    let ended = records
        .matches("ended with its program or its keeper")
        .count();
    assert_eq!(ended, 2, "the program and its process:\n{records}");
    drop(watch);
    drop(ctx);
    bystander.kill();
    bystanders.must_end();
    serving.stop();
    assert_eq!(place.files(), Vec::<String>::new());
}

#[test]
fn a_program_that_is_killed_leaves_nothing_but_the_state() {
    goes(|guest, _| guest.kill());
}

#[test]
fn a_program_that_returns_leaves_nothing_but_the_state() {
    goes(|guest, _| {
        guest.say("end");
        assert!(guest.child.wait().expect("it is ours").success());
    });
}

#[test]
fn a_program_whose_keeper_is_killed_is_told_so_by_each_call() {
    goes(|guest, family| {
        guest.say("wait never");
        family.keeper.kill();
        assert_eq!(guest.line(), "lost KeeperLost");
        assert_eq!(guest.ask("add k"), "lost KeeperLost");
        assert_eq!(guest.ask("child"), "lost KeeperLost");
    });
}

/// Two programs lose their server, with calls in flight and after.
fn loses_server(place: &Place, end: impl FnOnce()) {
    let mut guest = Guest::connected(place);
    let family = guest.family();
    let ctx = Context::connect(place.path()).expect("connect");
    guest.say("wait never");
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| loss(|| ctx.state().wait_equal("never", &1).expect_err("lost")));
        while !ctx.dump().is_ok_and(|dump| {
            let waiting = dump
                .processes
                .iter()
                .filter(|process| !process.waits.is_empty());
            waiting.count() == 3
        }) {}
        end();
        assert_eq!(waits.join().expect("no panic"), ServerEnd::Unseen);
    });
    assert_eq!(
        loss(|| ctx.state().len().expect_err("lost")),
        ServerEnd::Unseen
    );
    assert_eq!(
        loss(|| ctx.ping(DEADLINE).expect_err("lost")),
        ServerEnd::Unseen
    );
    assert_eq!(
        loss(|| ctx.spawn(double, 1).expect_err("lost")),
        ServerEnd::Unseen
    );
    assert_eq!(guest.line(), "lost Unseen");
    assert_eq!(guest.ask("add k"), "lost Unseen");
    family.must_end();
    // The programs live on.
    assert!(guest.child.try_wait().expect("it is ours").is_none());
}

#[test]
fn the_loss_of_the_server_ends_all_processes_and_no_program() {
    let place = Place::new();
    let mut server = place.server();
    loses_server(&place, || server.kill());
    let mut left = place.files();
    left.sort();
    assert_eq!(left, ["socket", "socket.lock"]);
    assert!(
        Context::connect(place.path())
            .expect_err("it is dead")
            .is_no_server()
    );
    // The next one takes its place, and the programs may come anew.
    let serving = place.serve();
    let ctx = Context::connect(place.path()).expect("connect");
    assert_eq!(ctx.state().len().expect("len"), 0);
    serving.stop();
    assert_eq!(place.files(), Vec::<String>::new());
}

#[test]
fn a_server_that_is_stopped_leaves_nothing_behind() {
    let place = Place::new();
    let serving = place.serve();
    loses_server(&place, || serving.stop());
    assert_eq!(place.files(), Vec::<String>::new());
    assert!(
        Context::connect(place.path())
            .expect_err("it is gone")
            .is_no_server()
    );
}

/// A program that came back to the path met the next server there, and was refused as a stranger.
#[test]
fn a_program_does_not_come_back_to_another_server() {
    let place = Place::new();
    let serving = place.serve();
    let mut guest = Guest::connected(&place);
    guest.say("wait never");
    serving.stop();
    let serving = place.serve();
    assert_eq!(guest.line(), "lost Unseen");
    assert_eq!(guest.ask("add k"), "lost Unseen");
    serving.stop();
}

#[test]
fn a_server_may_be_stopped_before_it_runs_and_twice() {
    let place = Place::new();
    let server = Server::bind(place.path()).expect("bind");
    let stopper = server.stopper();
    stopper.stop();
    stopper.clone().stop();
    server.run().expect("it was stopped");
    stopper.stop();
    assert_eq!(place.files(), Vec::<String>::new());
}

#[test]
fn a_live_address_is_refused_at_once_and_a_relative_one_is_made_whole() {
    let place = Place::new();
    let mut server = place.server();
    let error = Server::bind(place.path()).expect_err("it is taken");
    assert!(error.is_address_in_use(), "{error}");
    server.kill();
    let serving = place.serve();
    assert!(
        Server::bind(place.path())
            .expect_err("it is taken")
            .is_address_in_use()
    );
    serving.stop();
    let error = Server::bind(place.path().join("deeper")).expect_err("no such directory");
    assert!(error.is_bind(), "{error}");
    let error = Server::bind(format!("/{}", "x".repeat(200))).expect_err("too long");
    assert!(
        error.is_bind() && error.to_string().contains("107 bytes"),
        "{error}"
    );
}

#[test]
fn of_two_programs_that_bind_at_one_moment_one_serves() {
    let place = Place::new();
    for _ in 0..3 {
        // A dead server's socket is there for each to replace.
        place.server().kill();
        let mut both = [(); 2].map(|()| Guest::start(&own_executable(), "server", &place.path()));
        let words = both.each_mut().map(|server| {
            loop {
                let line = server.line();
                if line == "ready" || line.starts_with("no: ") {
                    return line;
                }
            }
        });
        let ready = words.iter().filter(|word| *word == "ready").count();
        assert_eq!(ready, 1, "{words:?}");
        assert!(words.contains(&"no: true".to_owned()), "{words:?}");
        let ctx = Context::connect(place.path()).expect("one of them serves");
        ctx.state().set("k", &1).expect("set");
    }
}

#[test]
fn garbage_harms_nobody() {
    let place = Place::new();
    let serving = place.serve();
    let ctx = Context::connect(place.path()).expect("connect");
    let family_child = ctx.spawn(child, ()).expect("spawn");
    for garbage in [
        &[0xff; 100][..],
        &[0; 100],
        b"GET / HTTP/1.1\r\n\r\n",
        &[4, 0, 0, 0, 1, 0, 0, 0],
    ] {
        let mut stream = UnixStream::connect(place.path()).expect("connect");
        stream.write_all(garbage).expect("it reads");
        let mut said = Vec::new();
        // The answer is a refusal, and the end; or a reset, where not all was read.
        let _ = stream.read_to_end(&mut said);
        ctx.state().add("k", 1).expect("add");
    }
    assert_eq!(ctx.state().get::<u64>("k").expect("get"), Some(4));
    assert!(family_child.is_alive().expect("its record"));
    serving.stop();
}

#[test]
fn ping_tells_who_serves_and_not_for_ever() {
    let place = Place::new();
    let server = place.server();
    let ctx = Context::connect(place.path()).expect("connect");
    assert_eq!(ctx.ping(DEADLINE).expect("it lives"), server.child.id());
    let pid = raw(server.child.id());
    kill_process(pid, Signal::STOP).expect("it lives");
    // It is told to stop, and does when it comes by the kernel.
    let status = || std::fs::read_to_string(format!("/proc/{}/status", server.child.id()));
    while !status().expect("it lives").contains("State:\tT") {
        std::thread::yield_now();
    }
    let error = ctx
        .ping(Duration::from_millis(50))
        .expect_err("it is stopped");
    assert!(error.is_timeout(), "{error}");
    kill_process(pid, Signal::CONT).expect("it lives");
    assert_eq!(ctx.ping(DEADLINE).expect("it goes on"), server.child.id());
}
