//! How a process ended: from what the keeper tells and what it said itself.

use super::super::codec;
use super::super::kinds;
use super::super::marks::{self, Mark};
use super::super::message::{End, Finish, Why, WireOutcome};
use super::super::time::Time;
use super::processes::{Death, DeathKind, Process};

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
        (DeathKind::Status(_), Some(finish)) => End::Finished(finish),
        (DeathKind::Status(_), None) if let Some(why) = death.why => End::Killed { why },
        (DeathKind::Status(status), None) if !process.has_connected => {
            End::BeforeConnect { status: *status }
        }
        (DeathKind::Status(status), None) => of_status(*status),
    };
    kinds::said(&end);
    let clean = matches!(death.end, DeathKind::Status(0));
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
        wall_ns: u64::try_from(now.since(process.started_at).as_nanos()).unwrap_or(u64::MAX),
    };
    (codec::to_bytes(&outcome), text)
}

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
        End::Exited { code } => format!("exited with code {code}"),
        End::Killed { why: Why::Asked } => "killed".to_owned(),
        End::Killed { why: Why::Parent } => "killed, as its parent had ended".to_owned(),
        End::Signaled { signal, core: true } => {
            format!("killed by signal {signal}, with a core dump")
        }
        End::Signaled { signal, .. } => format!("killed by signal {signal}"),
        End::BeforeConnect { status } => match of_status(*status) {
            End::Exited { code } => format!("exited with code {code} before it connected"),
            End::Signaled { signal, .. } => {
                format!("killed by signal {signal} before it connected")
            }
            _ => "died before it connected".to_owned(),
        },
        End::NotStarted { call, errno } => {
            format!("could not be started: {call} failed with errno {errno}")
        }
    };
    text.truncate(text.floor_char_boundary(WORDS_BYTES_MAX));
    text
}
