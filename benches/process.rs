//! Processes beside what the system offers: from spawn to result beside `Command` of a small program,
//! from a small program and from one of 1 GB with 100 threads; a hundred at once; a large argument
//! and result beside a pipe; and how long a hundred processes outlive a SIGKILL of their program.
//!
//! ```text
//! cargo bench --bench process [-- --json]
//! ```

mod measure;

use measure::{Options, Work, beside};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use zproc::{Context, Process};

/// Processes of a crowd.
const CROWD: usize = 100;
/// The large argument and result.
const LARGE_BYTES: usize = 64 * 1024 * 1024;
/// What the large program holds, in bytes that it has written to.
const PROGRAM_BYTES: usize = 1 << 30;
const PROGRAM_THREADS: usize = 100;
const PAGE_BYTES: usize = 4096;

/// Given to this program when it is started to be something else.
const ECHO: &str = "--echo";
const CROWDED: &str = "--crowd";
const CROWDED_BARE: &str = "--bare-crowd";

type Failure = Box<dyn std::error::Error>;

fn identity(_: &Context, value: u64) -> u64 {
    value
}

fn reflect(_: &Context, text: String) -> String {
    text
}

/// Says that it is there, and waits for its end.
fn stay(ctx: &Context, number: u64) {
    let _ = ctx
        .namespace("there")
        .set(&number.to_string(), &std::process::id());
    let _ = ctx.state().wait_equal("never", &1);
}

/// Sends back all of its standard input, when it has all of it.
fn echo() -> std::io::Result<()> {
    let mut text = Vec::new();
    std::io::stdin().read_to_end(&mut text)?;
    std::io::stdout().write_all(&text)
}

/// Starts a crowd; each has begun.
fn start_crowd(ctx: &Context) -> zproc::Result<Vec<Process<()>>> {
    let crowd = (0..CROWD as u64)
        .map(|number| ctx.spawn(stay, number))
        .collect();
    ctx.namespace("there")
        .wait_until(|view| Ok(view.len()? == CROWD as u64))?;
    crowd
}

/// A program with a crowd of processes, which tells their numbers and waits to be killed.
fn crowded() -> Result<(), Failure> {
    let ctx = Context::new()?;
    let crowd = start_crowd(&ctx)?;
    for number in 0..CROWD {
        let pid: Option<u32> = ctx.namespace("there").get(&number.to_string())?;
        println!("{}", pid.ok_or("it is there")?);
    }
    std::io::stdin().read_line(&mut String::new())?;
    drop(crowd);
    Ok(())
}

/// The same with `Command`: these have to see for themselves that the program is gone.
fn crowded_bare() -> Result<(), Failure> {
    let crowd = (0..CROWD)
        .map(|_| Command::new("cat").stdin(Stdio::piped()).spawn())
        .collect::<std::io::Result<Vec<Child>>>()?;
    for child in &crowd {
        println!("{}", child.id());
    }
    std::io::stdin().read_line(&mut String::new())?;
    for mut child in crowd {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}

/// This program in another role, with pipes to it and from it.
fn start(role: &str) -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .arg(role)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
}

/// A program with a crowd, to be killed.
struct Crowded {
    program: Child,
    alive: Vec<OwnedFd>,
}

impl Crowded {
    fn start(role: &str) -> Result<Crowded, Failure> {
        let mut program = start(role)?;
        let output = program.stdout.as_mut().ok_or("it is piped")?;
        let alive = BufReader::new(output)
            .lines()
            .take(CROWD)
            .map(|line| {
                let pid = Pid::from_raw(line?.parse()?).ok_or("no process is 0")?;
                Ok(pidfd_open(pid, PidfdFlags::empty())?)
            })
            .collect::<Result<Vec<OwnedFd>, Failure>>()?;
        if alive.len() < CROWD {
            return Err("not all have started".into());
        }
        Ok(Crowded { program, alive })
    }

    /// Kills the program; how long until the last of its crowd is gone.
    fn kill(mut self) -> Duration {
        let begin = Instant::now();
        self.program.kill().expect("it lives");
        for process in &self.alive {
            poll(&mut [PollFd::new(process, PollFlags::IN)], None).expect("poll");
        }
        let took = begin.elapsed();
        self.program.wait().expect("it was killed");
        took
    }
}

/// From spawn to result beside `Command` of a small program.
fn spawn_to_result(options: &Options, ctx: &Context, name: &'static str, command: &'static str) {
    let command = Work::new(command, || {
        let status = Command::new("true").status().expect("there is `true`");
        assert!(status.success());
    });
    let spawn = Work::new(name, || {
        let process = ctx.spawn(identity, 5).expect("spawn");
        assert_eq!(process.join().expect("join"), 5);
    });
    beside(options, command, vec![spawn], 40, 5);
}

fn crowds(options: &Options, ctx: &Context) {
    let commands = Work::new("100 Command", || {
        let crowd: Vec<Child> = (0..CROWD)
            .map(|_| Command::new("true").spawn().expect("there is `true`"))
            .collect();
        for mut child in crowd {
            assert!(child.wait().expect("it ends").success());
        }
    });
    let spawns = Work::new("spawn 100", || {
        let crowd: Vec<Process<u64>> = (0..CROWD as u64)
            .map(|number| ctx.spawn(identity, number).expect("spawn"))
            .collect();
        for (number, process) in crowd.into_iter().enumerate() {
            assert_eq!(process.join().expect("join"), number as u64);
        }
    });
    beside(options, commands, vec![spawns], 10, 1);
}

fn large(options: &Options, ctx: &Context) {
    let text = "x".repeat(LARGE_BYTES);
    let piped = Work::new("pipe", || {
        let mut child = start(ECHO).expect("this program starts");
        let mut input = child.stdin.take().expect("it is piped");
        let mut output = child.stdout.take().expect("it is piped");
        let mut back = Vec::new();
        thread::scope(|scope| {
            scope.spawn(|| {
                input.write_all(text.as_bytes()).expect("it reads");
                drop(input);
            });
            output.read_to_end(&mut back).expect("it writes");
        });
        assert_eq!(back.len(), LARGE_BYTES);
        assert!(child.wait().expect("it ends").success());
    });
    let spawn = Work::new("64 MiB", || {
        let process = ctx.spawn(reflect, text.clone()).expect("spawn");
        assert_eq!(process.join().expect("join").len(), LARGE_BYTES);
    });
    beside(options, piped, vec![spawn], 5, 1);
}

fn main() -> Result<(), Failure> {
    match std::env::args().nth(1).as_deref() {
        Some(ECHO) => return Ok(echo()?),
        Some(CROWDED) => return crowded(),
        Some(CROWDED_BARE) => return crowded_bare(),
        _ => {}
    }
    let options = Options::from_arguments();
    let ctx = Context::new()?;
    spawn_to_result(&options, &ctx, "spawn", "Command");
    crowds(&options, &ctx);
    large(&options, &ctx);
    let bare = Work::timed("100 cat", || {
        Crowded::start(CROWDED_BARE).expect("a crowd").kill()
    });
    let tree = Work::timed("SIGKILL", || {
        Crowded::start(CROWDED).expect("a crowd").kill()
    });
    beside(&options, bare, vec![tree], 10, 1);

    // From here on this is a large program.
    let mut memory = vec![0_u8; PROGRAM_BYTES];
    for place in (0..memory.len()).step_by(PAGE_BYTES) {
        memory[place] = 1;
    }
    for _ in 0..PROGRAM_THREADS {
        thread::spawn(thread::park);
    }
    spawn_to_result(&options, &ctx, "spawn, 1 GB", "Command, 1 GB");
    assert_eq!(memory[PAGE_BYTES], 1);
    Ok(())
}
