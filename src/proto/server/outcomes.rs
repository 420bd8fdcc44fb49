//! How a process ended: from what the keeper tells and what it said itself.

use super::super::codec;
use super::super::kinds;
use super::super::limits::{LAST_WORDS_BYTES_MAX, OUTPUT_TAIL_BYTES_MAX};
use super::super::marks::{self, Mark};
use super::super::message::{Captured, End, Finish, LastWords, Left, Why, WireOutcome};
use super::super::signal::Signal;
use super::super::time::{Time, nanoseconds};
use super::processes::{Death, DeathKind, Process};
use super::wire::{bounded, cut};
use std::time::Duration;

/// What the keeper has found of it: [`Left`], kept.
#[derive(Debug, Default)]
pub(super) struct Remains {
    pub(super) words: Vec<u8>,
    pub(super) streams: [Option<(Vec<u8>, u64)>; 2],
    pub(super) out_of_memory: bool,
}

impl Remains {
    pub(super) fn of(left: &Left<'_>) -> Remains {
        // Keepers are other programs, and may say what they like: no more is kept than one of ours says.
        let tail = |tail: &[u8]| tail[tail.len().saturating_sub(OUTPUT_TAIL_BYTES_MAX)..].to_vec();
        let kept = |captured: Option<Captured<'_>>| {
            captured.map(|captured| (tail(captured.tail), captured.omitted))
        };
        Remains {
            words: left.words[..left.words.len().min(LAST_WORDS_BYTES_MAX)].to_vec(),
            streams: [left.stdout, left.stderr].map(kept),
            out_of_memory: left.out_of_memory,
        }
    }
}

/// The name of a call that failed, as a keeper tells it.
pub(super) fn call(name: &str) -> String {
    cut(name, NAME_BYTES_MAX).to_owned()
}

/// What happened to a process, encoded and in words.
pub(super) fn outcome_of(process: &Process, death: &Death, now: Time) -> (Vec<u8>, String) {
    let finish = process
        .finish
        .as_deref()
        .map(|finish| codec::decode::<Finish<'_>>(finish).expect("it was encoded by this server"));
    let end = match (&death.end, finish) {
        (DeathKind::NotStarted { call, errno }, _) => End::NotStarted {
            call,
            errno: *errno,
        },
        (DeathKind::Status(_) | DeathKind::Unseen, Some(finish)) => End::Finished(finish),
        (DeathKind::Unseen, None) => End::Gone,
        (DeathKind::Status(_), None) if let Some(why) = death.why => End::Killed { why },
        (DeathKind::Status(status), None) if !process.has_connected => {
            not_begun(*status, &death.left)
        }
        (DeathKind::Status(status), None) => unfinished(*status, &death.left),
    };
    kinds::said(&end);
    let clean = matches!(death.end, DeathKind::Status(0) | DeathKind::Unseen);
    marks::reached_if(
        !clean && matches!(end, End::Finished(_)),
        Mark::FinishedAndDied,
    );
    let text = describe(&end);
    let outcome = WireOutcome {
        end,
        cpu_user_ns: death.cpu_user_ns,
        cpu_system_ns: death.cpu_system_ns,
        memory_bytes_max: death.memory_bytes_max,
        wall_ns: wall_ns(process.started_at, now),
        stdout: captured(&death.left.streams[0]),
        stderr: captured(&death.left.streams[1]),
    };
    (codec::to_bytes(&outcome), text)
}

/// From the request to the end.
fn wall_ns(started_at: Time, now: Time) -> u64 {
    nanoseconds(now.since(started_at))
}

fn captured(stream: &Option<(Vec<u8>, u64)>) -> Option<Captured<'_>> {
    stream.as_ref().map(|(tail, omitted)| Captured {
        // The keeper keeps no more; should it be wrong, an outcome still fits a frame.
        tail: &tail[tail.len().saturating_sub(OUTPUT_TAIL_BYTES_MAX)..],
        omitted: *omitted,
    })
}

const SIGABRT: i32 = 6;
const SIGBUS: i32 = 7;
const SIGKILL: i32 = 9;
const SIGSEGV: i32 = 11;

/// A process that has not said how its function ended: what the signal that ended it and what it
/// wrote down before make of each other.
fn unfinished<'a>(status: i32, left: &'a Remains) -> End<'a> {
    let words = codec::decode(&left.words).ok();
    match (of_status(status), words) {
        (
            End::Signaled {
                signal: SIGSEGV | SIGBUS,
                ..
            },
            Some(LastWords::StackOverflow { thread }),
        ) => End::StackOverflow {
            thread: cut(thread, NAME_BYTES_MAX),
        },
        (
            End::Signaled {
                signal: SIGABRT, ..
            },
            Some(LastWords::Panic { thread, fault }),
        ) => End::Panicked {
            thread: cut(thread, NAME_BYTES_MAX),
            fault: bounded(&fault),
        },
        (
            End::Signaled {
                signal: SIGKILL, ..
            },
            _,
        ) if left.out_of_memory => End::OutOfMemory,
        (end, _) => end,
    }
}

/// A process that the server has not heard of, though it was forked.
fn not_begun(status: i32, left: &Remains) -> End<'_> {
    match (of_status(status), codec::decode(&left.words)) {
        (End::Exited { .. }, Ok(LastWords::NotStarted { call, errno })) => {
            marks::reached(Mark::NotStarted);
            let call = cut(call, NAME_BYTES_MAX);
            End::NotStarted { call, errno }
        }
        _ => End::BeforeConnect { status },
    }
}

/// Most bytes of a thread's name.
const NAME_BYTES_MAX: usize = 1024;

/// The parts of a wait status, as Linux lays them out (wait(2)).
fn of_status(status: i32) -> End<'static> {
    match status & 0x7f {
        0 => End::Exited {
            code: (status >> 8) & 0xff,
        },
        signal => End::Signaled {
            signal,
            core: status & 0x80 != 0,
        },
    }
}

/// How a process ended, in a few words: for its record and for those who lose what it owned.
fn describe(end: &End<'_>) -> String {
    const WORDS_BYTES_MAX: usize = 1024;
    let mut text = match end {
        End::Finished(Finish::Value(_)) => "returned".to_owned(),
        End::Finished(Finish::Error { text, .. }) => format!("returned an error: {text}"),
        End::Finished(Finish::Panic(fault)) => format!("panicked: {}", fault.message),
        End::Finished(Finish::Undecodable(fault)) => {
            format!("could not be decoded: {}", fault.message)
        }
        End::Finished(Finish::TooLarge { limit, .. }) => {
            format!("returned more than {limit} has room for")
        }
        End::Exited { code } => format!("exited with code {code}"),
        End::Killed { why: Why::Asked } => "killed".to_owned(),
        End::Killed { why: Why::Grace } => "killed, as its grace was over".to_owned(),
        End::Killed { why: Why::Parent } => "killed, as its parent had ended".to_owned(),
        End::Killed {
            why: Why::TimeLimit { limit_ns },
        } => {
            let limit = Duration::from_nanos(*limit_ns);
            format!("killed, as it had run for its time limit of {limit:?}")
        }
        End::Signaled { signal, core: true } => {
            format!("killed by {} (core dumped)", Signal(*signal))
        }
        End::Signaled { signal, .. } => format!("killed by {}", Signal(*signal)),
        End::BeforeConnect { status } => match of_status(*status) {
            End::Exited { code } => format!("exited with code {code} before it connected"),
            End::Signaled { signal, .. } => {
                format!("killed by {} before it connected", Signal(signal))
            }
            _ => "died before it connected".to_owned(),
        },
        End::Panicked { fault, .. } => format!("panicked: {}", fault.message),
        End::StackOverflow { thread: "" } => "overflowed its stack".to_owned(),
        End::StackOverflow { thread } => format!("overflowed the stack of thread {thread:?}"),
        End::OutOfMemory => "killed, probably for want of memory".to_owned(),
        End::Gone => "ended with its program or its keeper".to_owned(),
        End::NotStarted { call, errno } => {
            format!("could not be started: {call} failed with errno {errno}")
        }
    };
    text.truncate(text.floor_char_boundary(WORDS_BYTES_MAX));
    text
}
