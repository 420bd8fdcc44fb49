//! How a process ended.

use crate::error::{Over, Remote};
use crate::proto::loss::{ServerEnd, ServerLoss};
use crate::proto::message::{self, Fault, Finish, WireOutcome};
use crate::proto::signal::Signal;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// How a process ended, and what it used.
///
/// `{}` is one line; `{:#}` adds location and backtrace of a panic, what the process used, and the
/// last lines of what was captured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Outcome {
    /// What happened.
    pub end: End,
    /// CPU time in user mode, of the process and of those it has waited for.
    pub cpu_user: Duration,
    /// CPU time in the kernel, likewise.
    pub cpu_system: Duration,
    /// Most memory it had resident, in bytes.
    pub memory_bytes_max: u64,
    /// From the request to spawn it to its end.
    pub wall: Duration,
    /// The end of its standard output, if that was [captured](crate::Output::Captured).
    pub stdout: Option<Captured>,
    /// The end of its standard error, likewise.
    pub stderr: Option<Captured>,
}

/// The end of what a process has written to a stream that was
/// [captured](crate::Output::Captured).
///
/// ```
/// # fn main() -> zproc::Result<()> {
/// use zproc::{Context, Output};
///
/// let ctx = Context::new()?;
/// let process = ctx
///     .process(|_: &Context, ()| println!("three of five"))
///     .stdout(Output::Captured)
///     .spawn(())?;
/// let stdout = process.outcome()?.stdout.unwrap();
/// assert_eq!(stdout.text(), "three of five\n");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Captured {
    /// At most 64 KiB.
    pub tail: Vec<u8>,
    /// How many bytes there were before that.
    pub omitted: u64,
}

impl Captured {
    /// As text; what is none is replaced.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.tail)
    }

    fn from_message(captured: &message::Captured<'_>) -> Captured {
        Captured {
            tail: captured.tail.to_vec(),
            omitted: captured.omitted,
        }
    }

    /// The last lines, indented, below a title; without backtraces of panics if one is told already.
    fn fmt_below(&self, title: &str, is_traced: bool, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LINES_MAX: usize = 20;
        let text = self.text();
        let mut lines: Vec<&str> = text.lines().collect();
        if is_traced {
            leave_out_backtraces(&mut lines);
        }
        let shown = &lines[lines.len().saturating_sub(LINES_MAX)..];
        if shown.is_empty() {
            return write!(f, "\n  {title}: nothing");
        }
        let is_all = shown.len() == lines.len() && self.omitted == 0;
        write!(
            f,
            "\n  {title}{}",
            if is_all { ":" } else { ", the end of it:" }
        )?;
        shown.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

/// As the standard library prints them: a title, indented lines, and perhaps a note on how to get more.
fn leave_out_backtraces(lines: &mut Vec<&str>) {
    let mut is_inside = false;
    lines.retain(|line| {
        let begins = *line == "stack backtrace:";
        let ends = is_inside && line.starts_with("note: ") && line.contains("RUST_BACKTRACE");
        is_inside = begins || (is_inside && line.starts_with(' '));
        !is_inside && !ends
    });
}

/// What happened to a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum End {
    /// Its function returned a value.
    Value,
    /// Its function returned `Err`.
    Error {
        /// How the error reads.
        text: String,
    },
    /// Its function panicked.
    Panic {
        /// What the panic said.
        message: String,
        /// `file:line:column`; empty if it is not known.
        location: String,
        /// The backtrace; empty if there is none.
        backtrace: String,
        /// The thread, if it was another than that of the function: one whose panic ended the
        /// process (in `extern "C"` code, in a destructor while unwinding, or with
        /// `panic = "abort"`).
        thread: Option<String>,
    },
    /// Its stack was full: a recursion without end, mostly. Told of the thread in which its
    /// function runs; an overflow in a thread that the function has started is a
    /// [signal](End::Signaled).
    StackOverflow {
        /// The thread, if it was another than that of the function.
        thread: Option<String>,
    },
    /// Probably it was killed by the system, for want of memory: SIGKILL came, not from this tree,
    /// while the count of such kills in the tree's control group rose.
    OutOfMemory,
    /// Its program has ended, or the keeper of its program was lost, so nobody is there to tell how
    /// it ended itself. Told on a [stand-alone server](crate::Server), to other programs.
    Gone,
    /// The function, its argument or its result could not be found, decoded or encoded.
    Undecodable {
        /// What was wrong.
        message: String,
    },
    /// Its function returned more than can be told, or than there was room for just then: a limit
    /// of this name was passed.
    TooLarge {
        /// The limit's name.
        limit: String,
        /// What it returned, counted as the limit counts; where room was wanting, together with all
        /// else that would have taken it.
        actual: u64,
        /// What is allowed.
        max: u64,
    },
    /// It exited with this code, before its function had returned.
    Exited {
        /// The code.
        code: i32,
    },
    /// The tree's keeper killed it.
    Killed {
        /// For this reason.
        why: Why,
    },
    /// It had run for as long as it was [allowed to](crate::ProcessBuilder::time_limit), and the
    /// tree's keeper killed it.
    TimedOut {
        /// How long that was.
        limit: Duration,
    },
    /// A signal killed it, and it was not zproc that sent it.
    Signaled {
        /// Its number.
        signal: i32,
        /// A core was dumped.
        core: bool,
    },
    /// It ended before it had connected to the server.
    BeforeConnect {
        /// Its status, as `wait(2)` gives it.
        status: i32,
    },
    /// It could not be started.
    NotStarted {
        /// The system call that failed.
        call: String,
        /// Its `errno`.
        errno: i32,
    },
}

/// Why a process of the tree was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Why {
    /// Somebody asked for it, by [`Process::kill`](crate::Process::kill).
    Asked,
    /// It was [asked to end](crate::Process::stop), and had not when its grace was over.
    Grace,
    /// The process that had spawned it ended.
    Parent,
}

impl Outcome {
    /// Did its function return a value?
    #[must_use]
    pub fn is_value(&self) -> bool {
        self.end == End::Value
    }

    pub(super) fn from_message(outcome: &WireOutcome<'_>) -> Outcome {
        Outcome {
            end: End::from_message(&outcome.end),
            cpu_user: Duration::from_nanos(outcome.cpu_user_ns),
            cpu_system: Duration::from_nanos(outcome.cpu_system_ns),
            memory_bytes_max: outcome.memory_bytes_max,
            wall: Duration::from_nanos(outcome.wall_ns),
            stdout: outcome.stdout.as_ref().map(Captured::from_message),
            stderr: outcome.stderr.as_ref().map(Captured::from_message),
        }
    }
}

impl End {
    fn panic(thread: &str, fault: Fault<'_>) -> End {
        End::Panic {
            message: fault.message.to_owned(),
            location: fault.location.to_owned(),
            backtrace: fault.backtrace.to_owned(),
            thread: named(thread),
        }
    }

    fn killed(why: message::Why) -> End {
        let why = match why {
            message::Why::Asked => Why::Asked,
            message::Why::Grace => Why::Grace,
            message::Why::Parent => Why::Parent,
            message::Why::TimeLimit { limit_ns } => {
                let limit = Duration::from_nanos(limit_ns);
                return End::TimedOut { limit };
            }
        };
        End::Killed { why }
    }

    fn from_message(end: &message::End<'_>) -> End {
        match *end {
            message::End::Finished(Finish::Value(_)) => End::Value,
            message::End::Finished(Finish::Error { text, .. }) => End::Error {
                text: text.to_owned(),
            },
            message::End::Finished(Finish::Panic(fault)) => End::panic("", fault),
            message::End::Panicked { thread, fault } => End::panic(thread, fault),
            message::End::StackOverflow { thread } => End::StackOverflow {
                thread: named(thread),
            },
            message::End::OutOfMemory => End::OutOfMemory,
            message::End::Gone => End::Gone,
            message::End::Finished(Finish::Undecodable(fault)) => End::Undecodable {
                message: fault.message.to_owned(),
            },
            message::End::Finished(Finish::TooLarge { limit, actual, max }) => End::TooLarge {
                limit: limit.to_owned(),
                actual,
                max,
            },
            message::End::Exited { code } => End::Exited { code },
            message::End::Killed { why } => End::killed(why),
            message::End::Signaled { signal, core } => End::Signaled { signal, core },
            message::End::BeforeConnect { status } => End::BeforeConnect { status },
            message::End::NotStarted { call, errno } => End::NotStarted {
                call: call.to_owned(),
                errno,
            },
        }
    }
}

/// A thread that is not the function's own.
fn named(thread: &str) -> Option<String> {
    (!thread.is_empty()).then(|| thread.to_owned())
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Value => f.write_str("the function returned a value"),
            End::Error { text } => write!(f, "the function returned an error: {text}"),
            End::Panic {
                message,
                location,
                backtrace,
                thread,
            } => {
                let what = match thread {
                    None => "the function panicked".to_owned(),
                    Some(thread) => format!("the thread {thread:?} panicked"),
                };
                Remote {
                    message: message.clone(),
                    location: location.clone(),
                    backtrace: backtrace.clone(),
                }
                .fmt_as(&what, f)
            }
            End::StackOverflow { thread: None } => f.write_str("the function overflowed its stack"),
            End::StackOverflow {
                thread: Some(thread),
            } => write!(f, "the thread {thread:?} overflowed its stack"),
            End::OutOfMemory => f.write_str(
                "the process was killed, probably by the system for want of memory (SIGKILL came \
                 while the control group's count of such kills rose)",
            ),
            End::Gone => f.write_str(
                "the process is gone with its program, or with the keeper of its program",
            ),
            End::Undecodable { message } => write!(f, "could not be decoded or encoded: {message}"),
            End::TooLarge { limit, actual, max } => {
                write!(f, "the function's result is {}", Over(limit, *actual, *max))
            }
            End::Exited { code } => write!(
                f,
                "the process exited with code {code} before its function had returned"
            ),
            End::Killed { why } => write!(f, "the process was killed: {why}"),
            End::TimedOut { limit } => write!(
                f,
                "the process was killed: it had run for its time limit of {limit:?}"
            ),
            End::Signaled { signal, core } => {
                write!(f, "the process was killed by {}", Signal(*signal))?;
                f.write_str(if *core { " (core dumped)" } else { "" })
            }
            End::BeforeConnect { status } => {
                f.write_str("the process ended before it had connected: ")?;
                match (libc::WIFEXITED(*status), libc::WIFSIGNALED(*status)) {
                    (true, _) => write!(f, "exit code {}", libc::WEXITSTATUS(*status)),
                    (_, true) => Signal(libc::WTERMSIG(*status)).fmt(f),
                    _ => write!(f, "status {status:#x}"),
                }
            }
            End::NotStarted { call, errno } => {
                let error = std::io::Error::from_raw_os_error(*errno);
                write!(f, "the process could not be started: {call}: {error}")
            }
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Asked => "it was asked for",
            Why::Grace => "it was asked to end and had not when its grace was over",
            Why::Parent => "its parent had ended",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.end.fmt(f)?;
        if f.alternate() {
            write!(
                f,
                "\n  wall {:?}, user {:?}, system {:?}, at most {} KiB",
                self.wall,
                self.cpu_user,
                self.cpu_system,
                self.memory_bytes_max / 1024
            )?;
            let is_traced =
                matches!(&self.end, End::Panic { backtrace, .. } if !backtrace.is_empty());
            let streams = [
                ("stdout", &self.stdout, false),
                ("stderr", &self.stderr, is_traced),
            ];
            for (title, stream, is_traced) in streams {
                if let Some(stream) = stream {
                    stream.fmt_below(title, is_traced, f)?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for ServerLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server is lost: {}", self.how)?;
        match &self.function {
            Some(function) => write!(f, "; it was running the function {function}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ServerEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerEnd::Exited { code } => write!(f, "it exited with code {code}"),
            ServerEnd::Signaled { signal, core } => {
                write!(f, "it was killed by {}", Signal(*signal))?;
                if *signal == libc::SIGSEGV {
                    f.write_str(", as for a bad memory access or a stack overflow")?;
                }
                f.write_str(if *core { " (core dumped)" } else { "" })
            }
            ServerEnd::TimeLimit { limit } => {
                write!(
                    f,
                    "it was killed for a function that ran past its time limit of {limit:?}"
                )
            }
            ServerEnd::KeeperLost => {
                f.write_str("the keeper of the tree was lost, and so the tree has ended")
            }
            ServerEnd::Unreachable { reason } => f.write_str(reason),
            ServerEnd::Unseen => f.write_str("it has ended, and nobody saw how"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_reads_like_a_report() {
        let mut loss = ServerLoss::new(ServerEnd::Signaled {
            signal: libc::SIGABRT,
            core: true,
        });
        loss.function = Some("app::count".to_owned());
        assert_eq!(
            loss.to_string(),
            "the server is lost: it was killed by SIGABRT (signal 6) (core dumped); \
             it was running the function app::count"
        );
        let limit = Duration::from_secs(10);
        assert_eq!(
            ServerLoss::new(ServerEnd::TimeLimit { limit }).to_string(),
            "the server is lost: it was killed for a function that ran past its time limit of 10s"
        );
    }

    #[test]
    fn ends_read_like_a_report() {
        let text = |end: End| end.to_string();
        assert_eq!(
            text(End::Signaled {
                signal: 9,
                core: false
            }),
            "the process was killed by SIGKILL (signal 9)"
        );
        assert_eq!(
            text(End::BeforeConnect { status: 3 << 8 }),
            "the process ended before it had connected: exit code 3"
        );
        assert_eq!(
            text(End::BeforeConnect { status: 11 }),
            "the process ended before it had connected: SIGSEGV (signal 11)"
        );
        assert!(
            text(End::NotStarted {
                call: "fork".to_owned(),
                errno: libc::EAGAIN
            })
            .starts_with("the process could not be started: fork: ")
        );
        let why = Why::Parent;
        assert_eq!(
            text(End::Killed { why }),
            "the process was killed: its parent had ended"
        );
        let panic = End::Panic {
            message: "no".to_owned(),
            location: "a.rs:1:2".to_owned(),
            backtrace: "  0: f\n".to_owned(),
            thread: None,
        };
        assert_eq!(panic.to_string(), "the function panicked: no");
        assert_eq!(
            format!("{panic:#}"),
            "the function panicked: no\n  there, at a.rs:1:2\n  backtrace there:\n  0: f"
        );
    }

    #[test]
    fn a_backtrace_is_told_once() {
        let stderr = "before\n\nthread 'f' panicked at a.rs:1:2:\nno\nstack backtrace:\n   0: f\n\
                      \x20            at a.rs:1\nnote: Some details are omitted, run with \
                      `RUST_BACKTRACE=full` for a verbose backtrace.\nafter\n";
        let mut outcome = Outcome {
            end: End::Panic {
                message: "no".to_owned(),
                location: "a.rs:1:2".to_owned(),
                backtrace: "   0: f".to_owned(),
                thread: None,
            },
            cpu_user: Duration::ZERO,
            cpu_system: Duration::ZERO,
            memory_bytes_max: 0,
            wall: Duration::ZERO,
            stdout: None,
            stderr: Some(Captured {
                tail: stderr.as_bytes().to_vec(),
                omitted: 0,
            }),
        };
        let report = format!("{outcome:#}");
        assert_eq!(report.matches("0: f").count(), 1, "{report}");
        let (_, shown) = report.split_once("stderr:").expect("it is shown");
        let lines: Vec<&str> = shown.lines().map(str::trim).collect();
        let thread = "thread 'f' panicked at a.rs:1:2:";
        assert_eq!(lines, ["", "before", "", thread, "no", "after"], "{report}");
        // Where it is told nowhere else it stays.
        outcome.end = End::Value;
        assert!(format!("{outcome:#}").contains("0: f"));
    }
}
