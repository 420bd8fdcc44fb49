//! What becomes of a tree when its program gets SIGINT or SIGTERM.
//!
//! The program is this very test binary, started again to run [`program`] alone, in a process group
//! of its own. It and its processes write on one pipe what happens to them; the tests wait for these
//! lines and for the ends of processes, and for nothing else.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};
use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use zproc::{Context, ProcessState, Result};

/// Says to the program what it is to do.
const HOW: &str = "SIGNALS_HOW";
/// Longer than anything takes that is to come, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// So long that who waits for its end is stuck.
const FOR_EVER: Duration = Duration::from_secs(24 * 3600);
const SHORT: Duration = Duration::from_millis(50);
/// The program's own choice.
const EXIT: i32 = 7;

fn say(line: &str) {
    // In one piece, as others write there, too.
    let text = format!("\n{line}\n");
    std::io::stdout().write_all(text.as_bytes()).expect("write");
    std::io::stdout().flush().expect("write");
}

/// What a process of the tree does, by name.
fn work(ctx: &Context, kind: String) -> Result<()> {
    say(&format!("pid {}", std::process::id()));
    match kind.as_str() {
        "tidy" => tidy(ctx),
        "deaf" => {
            ctx.state().set("deaf", &true)?;
            loop {
                std::thread::park();
            }
        }
        "inner" => inner(ctx),
        "hasty" => hasty(ctx),
        other => panic!("{other}?"),
    }
}

/// Waits until it is asked to end, then puts in order what it has made.
fn tidy(ctx: &Context) -> Result<()> {
    ctx.state().set("tidy", &true)?;
    let error = ctx.state().wait_equal("never", &true).unwrap_err();
    assert!(error.is_stopped(), "{error}");
    ctx.state().remove("tidy")?;
    say("tidied up");
    Ok(())
}

/// Has a child that tidies up, and hands the end of its own wait up.
fn hasty(ctx: &Context) -> Result<()> {
    let child = ctx.spawn(tidy_late, ctx.process_id())?;
    ctx.state().wait_equal("child", &true)?;
    ctx.state().set("hasty", &true)?;
    child.join()?
}

/// Tidies up when it is alone.
fn tidy_late(ctx: &Context, parent: zproc::ProcessId) -> Result<()> {
    say(&format!("pid {}", std::process::id()));
    ctx.state().set("child", &true)?;
    let error = ctx.state().wait_equal("never", &true).unwrap_err();
    assert!(error.is_stopped(), "{error}");
    let lives = |all: zproc::Processes| {
        all.iter()
            .any(|one| one.id == parent && one.state != ProcessState::Ended)
    };
    while lives(ctx.processes()?) {}
    say("tidied up");
    Ok(())
}

/// Has a tree of its own, with one process that tidies up.
fn inner(ctx: &Context) -> Result<()> {
    let tree = Context::builder().grace(FOR_EVER).start()?;
    let process = tree.spawn(work, "tidy".to_owned())?;
    tree.state().wait_equal("tidy", &true)?;
    ctx.state().set("inner", &true)?;
    // Its process was asked as it was itself, so this may be told first.
    let told = process.outcome();
    assert!(told.map_or_else(|error| error.is_stopped(), |outcome| outcome.is_value()));
    drop((process, tree));
    say("the inner tree has ended");
    Ok(())
}

/// Not a test of its own: the program that the others start.
#[test]
fn program() {
    let Ok(how) = std::env::var(HOW) else { return };
    let (kinds, grace) = match how.split_once(' ') {
        Some((kinds, "short")) => (kinds, SHORT),
        _ => (how.as_str(), FOR_EVER),
    };
    let ctx = Context::builder().grace(grace).start().expect("a tree");
    if kinds == "one of two" {
        drop(Context::new().expect("another tree"));
    }
    for kind in ["tidy", "deaf", "inner", "hasty"] {
        if kinds.split('+').any(|wanted| wanted == kind) {
            let process = ctx.spawn(work, kind.to_owned()).expect("spawn");
            let ready = ctx.state().wait_equal(kind, &true);
            ready.expect("it runs");
            process.detach();
        }
    }
    match kinds {
        "gone" => {
            drop(ctx);
            say("ready");
            read_a_word();
            std::process::exit(EXIT);
        }
        "unheard" => {
            say("ready");
            read_a_word();
            assert!(!ctx.stopping());
            say("goes on");
        }
        "own" => {
            let pressed = handle_ctrl_c();
            say("ready");
            assert!(ctx.state().wait_equal("never", &true).is_err());
            pressed.join().expect("it does not panic");
            say("goes on");
        }
        "busy" => {
            say("ready");
            loop {
                std::thread::park();
            }
        }
        _ => {
            say("ready");
            let error = ctx.state().wait_equal("never", &true).unwrap_err();
            assert!(error.is_stopped() && ctx.stopping(), "{error}");
            say("stopped");
        }
    }
    // The library's own thread of the test harness knows nothing of it.
    drop(ctx);
    say("the tree has ended");
    std::process::exit(EXIT);
}

/// Sets a handler of the program's own, which calls the one before it. Ends when Ctrl-C was pressed
/// again for so long that the last one was none of the first.
fn handle_ctrl_c() -> std::thread::JoinHandle<()> {
    let mut signals = Signals::new([SIGINT]).expect("a handler");
    std::thread::spawn(move || {
        let mut first = None;
        for _ in signals.forever() {
            let first = *first.get_or_insert_with(Instant::now);
            if first.elapsed() > 4 * SHORT {
                return say("enough");
            }
            say("pressed");
        }
    })
}

fn read_a_word() {
    let mut word = String::new();
    std::io::stdin().read_line(&mut word).expect("a word");
}

/// A program that runs, and those of its tree that it has told of.
struct Program {
    child: Child,
    output: BufReader<ChildStdout>,
    processes: Vec<(Pid, OwnedFd)>,
}

impl Program {
    fn start(how: &str) -> Program {
        zproc::seam::end_by_signals();
        Program::start_by(&mut Command::new(own_path()), how)
    }

    /// Starts it by a command that has the program's path already; waits until it is ready.
    fn start_by(command: &mut Command, how: &str) -> Program {
        let mut child = command
            .args(["--exact", "program", "--nocapture", "--test-threads=1"])
            .env(HOW, how)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("this test starts again");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut program = Program {
            child,
            output,
            processes: Vec::new(),
        };
        program.wait_for("ready");
        program
    }

    /// Reads what is said until it is this.
    fn wait_for(&mut self, wanted: &str) {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            let count = self.output.read_line(&mut line).expect("text");
            assert!(count > 0, "{wanted:?} was not said, but this:\n{seen}");
            let line = line.trim();
            if let Some(pid) = line.strip_prefix("pid ") {
                let pid = Pid::from_raw(pid.parse().expect("a pid")).expect("not zero");
                let descriptor = pidfd_open(pid, PidfdFlags::empty()).expect("it lives");
                self.processes.push((pid, descriptor));
            }
            if line == wanted {
                return;
            }
            seen.push_str(line);
            seen.push('\n');
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it lives");
    }

    /// As a user does who loses patience: one that comes right behind the first counts as the same.
    fn press_ctrl_c_until_it_ends(&self) {
        let end = pidfd_open(self.pid(), PidfdFlags::empty()).expect("it lives");
        let begin = Instant::now();
        while !has_ended(&end, Duration::from_millis(50)) {
            assert!(begin.elapsed() < PATIENCE, "it does not end");
            kill_process_group(self.pid(), Signal::INT).expect("it is not reaped");
        }
    }

    fn say_a_word(&mut self) {
        let input = self.child.stdin.as_mut().expect("it is piped");
        input.write_all(b"\n").expect("it reads");
    }

    /// How it ends; all that it had started have ended then.
    fn end(&mut self) -> (ExitStatus, String) {
        let mut said = String::new();
        self.output.read_to_string(&mut said).expect("text");
        let status = self.child.wait().expect("it is a child");
        for (pid, descriptor) in &self.processes {
            let ended = has_ended(descriptor, PATIENCE);
            assert!(ended, "{pid:?} has outlived the program");
        }
        (status, said)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Nothing is left, even if a test fails; the tree goes with the program.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for the end of a process.
fn has_ended(descriptor: &OwnedFd, limit: Duration) -> bool {
    let limit = Timespec::try_from(limit).expect("a short time");
    let mut wanted = [PollFd::new(descriptor, PollFlags::IN)];
    poll(&mut wanted, Some(&limit)).expect("poll") > 0
}

fn own_path() -> std::path::PathBuf {
    std::env::current_exe().expect("this test")
}

/// The terminal's Ctrl-C goes to all of the program's process group, and to nobody of its tree.
#[test]
fn ctrl_c_asks_all_and_waits_for_them() {
    let mut program = Program::start("tidy");
    kill_process_group(program.pid(), Signal::INT).expect("it lives");
    let (status, said) = program.end();
    // The program chooses its end; the tree has waited for those who tidied up.
    assert_eq!(status.code(), Some(EXIT), "{said}");
    for line in ["stopped", "tidied up", "the tree has ended"] {
        assert!(said.lines().any(|said| said == line), "{line}: {said}");
    }
    let place = |line: &str| said.find(line);
    assert!(place("tidied up") < place("the tree has ended"), "{said}");
}

/// A child that tidied up was killed as soon as its parent had returned.
#[test]
fn who_tidies_up_has_its_grace_though_its_parent_returns() {
    let mut program = Program::start("hasty");
    program.signal(Signal::INT);
    let (status, said) = program.end();
    assert_eq!(status.code(), Some(EXIT), "{said}");
    assert!(said.contains("tidied up"), "{said}");
}

#[test]
fn sigterm_does_the_same() {
    let mut program = Program::start("tidy");
    program.signal(Signal::TERM);
    let (status, said) = program.end();
    assert_eq!(status.code(), Some(EXIT), "{said}");
    assert!(said.contains("tidied up"), "{said}");
}

/// As `timeout(1)` does it: one for the program, and one for its group. Here there are two kinds, and
/// the program is held, so that both come in the same moment. A machine with much else to do may let
/// a tenth of a second pass between them: then they are two, and it is tried again.
#[test]
fn signals_that_come_at_once_are_one() {
    let mut last = None;
    for _ in 0..5 {
        let mut program = Program::start("tidy");
        for signal in [Signal::STOP, Signal::TERM, Signal::INT, Signal::CONT] {
            program.signal(signal);
        }
        let (status, said) = program.end();
        if status.code() == Some(EXIT) {
            assert!(said.contains("tidied up"), "{said}");
            return;
        }
        last = Some((status, said));
    }
    panic!("each time they were two: {last:?}");
}

#[test]
fn when_the_grace_is_over_the_program_dies_by_the_signal() {
    // One whose main waits for its tree, which does not end; and one whose main is busy.
    for how in ["tidy+deaf short", "busy short"] {
        for signal in [Signal::INT, Signal::TERM] {
            let mut program = Program::start(how);
            program.signal(signal);
            let (status, said) = program.end();
            assert_eq!(status.signal(), Some(signal.as_raw()), "{how}: {said}");
            assert!(!said.contains("the tree has ended"), "{said}");
        }
    }
}

#[test]
fn a_second_signal_ends_the_tree_at_once() {
    let mut program = Program::start("deaf");
    kill_process_group(program.pid(), Signal::INT).expect("it lives");
    program.wait_for("stopped");
    program.press_ctrl_c_until_it_ends();
    let (status, said) = program.end();
    assert_eq!(status.signal(), Some(Signal::INT.as_raw()), "{said}");
    assert!(!said.contains("the tree has ended"), "{said}");
}

/// The second signal put the default in place of a handler that was set behind the context's, and
/// ended the program, which had said that it decides that itself.
#[test]
fn a_handler_that_is_set_later_decides() {
    let mut program = Program::start("own");
    let mut line = String::new();
    while line.trim() != "enough" {
        program.signal(Signal::INT);
        loop {
            line.clear();
            let count = program.output.read_line(&mut line).expect("text");
            assert!(count > 0, "it has ended: {}", program.end().0);
            if ["pressed", "enough"].contains(&line.trim()) {
                break;
            }
        }
    }
    let (status, said) = program.end();
    assert!(said.contains("goes on"), "{said}");
    assert_eq!(status.code(), Some(EXIT), "{said}");
}

/// This binary, started with SIGINT ignored.
fn deaf_to_ctrl_c() -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", r#"trap "" INT; exec "$0" "$@""#]);
    command.arg(own_path());
    command
}

/// As of a program that `nohup` or a script has started in the background.
#[test]
fn a_signal_that_is_ignored_stays_so() {
    let mut program = Program::start_by(&mut deaf_to_ctrl_c(), "unheard");
    program.signal(Signal::INT);
    program.say_a_word();
    program.wait_for("goes on");
    assert_eq!(program.end().0.code(), Some(EXIT));

    // The other one asks as ever.
    let mut program = Program::start_by(&mut deaf_to_ctrl_c(), "tidy");
    program.signal(Signal::INT);
    program.signal(Signal::TERM);
    program.wait_for("tidied up");
    assert_eq!(program.end().0.code(), Some(EXIT));
}

#[test]
fn without_a_tree_a_signal_does_what_it_did_before() {
    let mut program = Program::start("gone");
    program.signal(Signal::INT);
    let (status, said) = program.end();
    assert_eq!(status.signal(), Some(Signal::INT.as_raw()), "{said}");

    // One tree of two is gone.
    let mut program = Program::start("one of two");
    program.signal(Signal::INT);
    program.wait_for("stopped");
    assert_eq!(program.end().0.code(), Some(EXIT));
}

#[test]
fn an_inner_tree_is_stopped_with_its_program() {
    let mut program = Program::start("inner");
    program.signal(Signal::INT);
    let (status, said) = program.end();
    assert_eq!(status.code(), Some(EXIT), "{said}");
    let place = |line: &str| said.find(line).unwrap_or_else(|| panic!("{line}: {said}"));
    assert!(
        place("tidied up") < place("the inner tree has ended"),
        "{said}"
    );
    assert!(
        place("the inner tree has ended") < place("the tree has ended"),
        "{said}"
    );
}

/// To be asked to end is to get SIGTERM, whosever it is.
#[test]
fn a_kill_from_outside_asks_a_process_as_stop_does() {
    let ctx = Context::new().expect("a tree");
    for signal in [Signal::TERM, Signal::INT] {
        let process = ctx.spawn(work, "tidy".to_owned()).expect("spawn");
        ctx.state().wait_equal("tidy", &true).expect("it runs");
        let pid = process.pid().expect("pid").expect("it runs");
        let pid = Pid::from_raw(pid.cast_signed()).expect("not zero");
        kill_process(pid, signal).expect("it lives");
        let outcome = process.outcome().expect("it is told");
        assert!(outcome.is_value(), "{outcome}");
        assert!(ctx.state().is_empty().expect("it has tidied up"));
    }
    assert!(!ctx.stopping());
}
