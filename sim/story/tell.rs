//! What the world tells, and what is made of it.

use super::wire::Wire;
use super::words::{self, Said};
use super::{Item, Lane, Message, Sink, What};
use crate::faults::{FAULTS, Fault, Struck};
use crate::history::Committed;
use crate::world::{Sleep, ThreadId};
use std::collections::BTreeMap;
use std::rc::Rc;
use zproc::seam::proto::ids::ProcessId;
use zproc::seam::proto::message::{FromKeeper, Request};
use zproc::seam::proto::points::Point;
use zproc::seam::proto::time::Time;
use zproc::seam::runtime::Observation;

/// Makes the story's items. It is there only while somebody reads.
pub(crate) struct Teller {
    sink: Sink,
    /// With the story, the hash after every event is told too.
    hashes: bool,
    now: Time,
    /// Whom the present event is about, and when it happens.
    event: (Lane, Time),
    /// How often each fault had struck when that was last told.
    told: [u64; FAULTS],
    /// A fault that struck as often since anything else happened, and first when.
    again: Option<(Lane, Fault, Time, u64)>,
    /// By link; the direction to the server is true.
    wires: BTreeMap<(usize, bool), Wire>,
    messages: u64,
    threads: BTreeMap<ThreadId, Doing>,
    /// It runs again, and if it does not go back to the same sleep at once, it goes on.
    woken: Option<(ProcessId, ThreadId)>,
    /// How many threads each process has had.
    counts: BTreeMap<ProcessId, usize>,
    names: BTreeMap<ProcessId, Rc<str>>,
}

/// What a thread does.
struct Doing {
    process: ProcessId,
    /// Its number in its process.
    number: usize,
    /// Its calls that have not returned: number, request, and whether that takes its time.
    calls: Vec<(u64, Rc<str>, bool)>,
    /// On what it waits, and since when.
    blocked: Option<(Rc<str>, Time)>,
}

/// Faults of which many strike and none is seen by itself.
fn is_small(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::PartialRead | Fault::PartialWrite | Fault::Preemption | Fault::SpuriousWake
    )
}

impl Teller {
    pub(crate) fn new(sink: Sink, hashes: bool) -> Teller {
        Teller {
            sink,
            hashes,
            now: crate::trace::START,
            event: (Lane::World, crate::trace::START),
            told: [0; FAULTS],
            again: None,
            wires: BTreeMap::new(),
            messages: 0,
            threads: BTreeMap::new(),
            woken: None,
            counts: BTreeMap::new(),
            names: BTreeMap::new(),
        }
    }

    /// What is told from now on happens at `now`.
    pub(crate) fn set_now(&mut self, now: Time) {
        self.now = now;
    }

    fn add(&mut self, lane: Lane, what: What) {
        self.add_of(lane, None, what);
    }

    fn add_of(&mut self, lane: Lane, thread: Option<usize>, what: What) {
        self.woken_goes_on();
        self.faults_so_far();
        (self.sink)(Item {
            time: self.now,
            lane,
            thread,
            what,
        });
    }

    /// Tells the fault that has struck again and again.
    fn faults_so_far(&mut self) {
        let Some((lane, fault, time, times)) = self.again.take() else {
            return;
        };
        let what = What::Fault {
            name: fault.name(),
            text: String::new(),
            times,
            small: is_small(fault),
        };
        (self.sink)(Item {
            time,
            lane,
            thread: None,
            what,
        });
    }

    /// The event before is over, and faults that it did not tell of by itself are told; the next
    /// is about `lane`.
    pub(crate) fn next_event(&mut self, lane: Lane, struck: &Struck) {
        let next = (lane, self.now);
        let (lane, time) = std::mem::replace(&mut self.event, next);
        self.now = time;
        self.woken_goes_on();
        self.now = self.event.1;
        for fault in Fault::all() {
            let struck = struck.count[fault as usize];
            let told = std::mem::replace(&mut self.told[fault as usize], struck);
            let times = struck.saturating_sub(told);
            match &mut self.again {
                _ if times == 0 => {}
                Some((of, again, _, sum)) if *of == lane && *again == fault => *sum += times,
                _ => {
                    self.faults_so_far();
                    self.again = Some((lane, fault, time, times));
                }
            }
        }
    }

    /// The run is over: what was not told yet is told.
    pub(crate) fn finish(&mut self, struck: &Struck) {
        self.next_event(Lane::World, struck);
        self.faults_so_far();
    }

    /// The hash after an event.
    pub(crate) fn hash(&mut self, event: u64, hash: u64) {
        if self.hashes {
            self.add(Lane::World, What::Hash { event, hash });
        }
    }

    /// A fault strikes that deserves words of its own.
    pub(crate) fn fault(&mut self, lane: Lane, fault: Fault, text: &str) {
        self.told[fault as usize] += 1;
        let what = What::Fault {
            name: fault.name(),
            text: text.to_owned(),
            times: 1,
            small: is_small(fault),
        };
        self.add(lane, what);
    }

    /// A fault point in the code strikes.
    pub(crate) fn fault_point(&mut self, lane: Lane, point: Point) {
        let what = What::Fault {
            name: "fault point",
            text: format!("{point:?}"),
            times: 1,
            small: true,
        };
        self.add(lane, what);
    }

    /// A process crashes or exits in the middle of what it does.
    pub(crate) fn struck_down(&mut self, process: ProcessId, status: i32) {
        let killed = status == crate::world::SIGKILL;
        let fault = match process {
            ProcessId::PROGRAM => Fault::ProgramCrash,
            _ if killed => Fault::Crash,
            _ => Fault::Exit,
        };
        let text = format!("it {} where it stands", words::status(status));
        self.fault(process.into(), fault, &text);
    }

    /// Something that has no form of its own.
    pub(crate) fn note(&mut self, lane: Lane, text: impl Into<String>) {
        let text = words::cut(text.into());
        self.add(lane, What::Note { text });
    }

    /// A workload's invariant does not hold.
    pub(crate) fn broken(&mut self, process: ProcessId, guarantee: &str, explanation: &str) {
        let text = words::cut(format!("{guarantee}: {explanation}"));
        self.add(process.into(), What::Broken { text });
    }

    /// The keeper is to start a process that runs the function of this name.
    pub(crate) fn spawning(&mut self, process: ProcessId, function: &str) {
        let name: Rc<str> = words::short_name(function).into();
        self.note(Lane::Keeper, format!("is to start {process}: {name}"));
        self.names.insert(process, name);
    }

    /// The keeper tells the server something.
    pub(crate) fn keeper_says(&mut self, notice: &FromKeeper<'_>) {
        let text = match notice {
            FromKeeper::Started { process, pid } => {
                format!("tells the server: {process} runs as pid {pid}")
            }
            FromKeeper::NotStarted {
                process,
                call,
                errno,
            } => format!(
                "tells the server: {process} could not be started, {call} gave error {errno}"
            ),
            FromKeeper::Ended {
                process, status, ..
            } => {
                let how = words::status(*status);
                format!("tells the server: {process} has ended, it {how}")
            }
        };
        self.note(Lane::Keeper, text);
    }

    /// A process begins to run.
    pub(crate) fn born(&mut self, process: ProcessId, slowness: u64) {
        let name = self.names.get(&process).cloned();
        let name = name.unwrap_or_else(|| "the program".into());
        self.add(process.into(), What::Born { name, slowness });
    }

    /// A process is gone.
    pub(crate) fn ended(&mut self, process: ProcessId, status: i32) {
        self.threads.retain(|_, doing| doing.process != process);
        let how = words::status(status);
        self.add(process.into(), What::Ended { how });
    }

    /// The state has changed.
    pub(crate) fn committed(&mut self, commit: &Committed) {
        let (revision, by) = (commit.revision, commit.process);
        let text = words::commit(commit);
        self.add(Lane::Server, What::Commit { revision, by, text });
    }

    /// Bytes were written into a link.
    pub(crate) fn written(
        &mut self,
        link: usize,
        process: ProcessId,
        to_server: bool,
        bytes: &[u8],
    ) {
        let mut wire = self.wires.remove(&(link, to_server)).unwrap_or_default();
        let mut whole = Vec::new();
        let (sent, messages) = (self.now, &mut self.messages);
        let written = wire.write(bytes, |payload| {
            *messages += 1;
            let Said { seq, text, role } = if to_server {
                words::from_client(payload)
            } else {
                words::from_server(payload)
            };
            let message = Message {
                id: *messages,
                process,
                to_server,
                seq,
                text: text.into(),
                sent,
            };
            whole.push((message.clone(), role));
            message
        });
        let lost = wire.lost();
        self.wires.insert((link, to_server), wire);
        let lane = if to_server {
            process.into()
        } else {
            Lane::Server
        };
        for (message, role) in whole {
            self.add(lane, What::Sent(message));
            if let Some(role) = role {
                self.add(process.into(), What::Role { role: role.into() });
            }
        }
        self.lose(to_server, lost);
        if let Err(malformed) = written {
            self.note(lane, format!("writes what is no frame: {malformed}"));
        }
    }

    /// Bytes have arrived at the other end of a link.
    pub(crate) fn arrived(&mut self, link: usize, to_server: bool, count: usize) {
        let Some(wire) = self.wires.get_mut(&(link, to_server)) else {
            return;
        };
        for message in wire.arrive(count) {
            let lane = if to_server {
                Lane::Server
            } else {
                message.process.into()
            };
            self.add(lane, What::Arrived(message));
        }
    }

    /// Of what travels on a link only the first `keep` bytes will arrive.
    pub(crate) fn cut(&mut self, link: usize, to_server: bool, keep: usize) {
        let Some(wire) = self.wires.get_mut(&(link, to_server)) else {
            return;
        };
        let lost = wire.cut(keep);
        self.lose(to_server, lost);
    }

    fn lose(&mut self, to_server: bool, lost: Vec<Message>) {
        for message in lost {
            let lane = if to_server {
                message.process.into()
            } else {
                Lane::Server
            };
            self.add(lane, What::Lost(message));
        }
    }

    fn doing(&mut self, process: ProcessId, thread: ThreadId) -> &mut Doing {
        let count = self.counts.entry(process).or_default();
        self.threads.entry(thread).or_insert_with(|| {
            *count += 1;
            Doing {
                process,
                number: *count - 1,
                calls: Vec::new(),
                blocked: None,
            }
        })
    }

    /// A thread sleeps in `sleep`; told if it waits for something.
    pub(crate) fn asleep(&mut self, process: ProcessId, thread: ThreadId, sleep: Sleep) {
        let (on, long) = match (self.doing(process, thread).calls.last(), sleep) {
            (_, Sleep::Awake) => return,
            (Some((_, call, long)), _) => (Rc::clone(call), *long),
            (None, Sleep::Joining(_)) => ("a thread's end".into(), true),
            (None, Sleep::Waiting { .. }) => ("a message".into(), true),
            (None, _) => ("a message, or time to pass".into(), true),
        };
        self.blocks(process, thread, on, long);
    }

    /// A thread sleeps because it wants to.
    pub(crate) fn naps(&mut self, process: ProcessId, thread: ThreadId) {
        self.blocks(process, thread, "the clock".into(), false);
    }

    fn blocks(&mut self, process: ProcessId, thread: ThreadId, on: Rc<str>, long: bool) {
        let same = |(before, _): &(Rc<str>, Time)| *before == on;
        if (self.doing(process, thread).blocked.as_ref()).is_some_and(same) {
            self.woken = None;
            return;
        }
        self.woken_goes_on();
        let now = self.now;
        let doing = self.doing(process, thread);
        if doing.blocked.is_none() {
            doing.blocked = Some((Rc::clone(&on), now));
            let number = doing.number;
            self.add_of(process.into(), Some(number), What::Blocks { on, long });
        }
    }

    /// A thread runs again. What it waits for in a call may still not be there.
    pub(crate) fn awake(&mut self, process: ProcessId, thread: ThreadId) {
        if self.doing(process, thread).calls.is_empty() {
            self.woken = Some((process, thread));
        }
    }

    fn woken_goes_on(&mut self) {
        if let Some((process, thread)) = self.woken.take() {
            self.goes_on(process, thread);
        }
    }

    fn goes_on(&mut self, process: ProcessId, thread: ThreadId) {
        let doing = self.doing(process, thread);
        let number = doing.number;
        if let Some((on, since)) = doing.blocked.take() {
            self.add_of(process.into(), Some(number), What::GoesOn { on, since });
        }
    }

    /// What a process's client saw.
    pub(crate) fn observed(
        &mut self,
        process: ProcessId,
        thread: ThreadId,
        observation: &Observation<'_>,
    ) {
        match observation {
            Observation::Called { call, request } => {
                let long = matches!(request, Request::Wait { .. });
                let text = words::cut(words::request(request)).into();
                let doing = self.doing(process, thread);
                doing.calls.push((*call, text, long));
            }
            Observation::Returned { call, .. } => {
                self.returned(process, thread, *call);
            }
            Observation::Unknown { call } => {
                if let Some(text) = self.returned(process, thread, *call) {
                    self.note(process.into(), format!("can't know what came of: {text}"));
                }
            }
            Observation::NotSent { call } => {
                if let Some(text) = self.returned(process, thread, *call) {
                    self.note(process.into(), format!("gives up, without effect: {text}"));
                }
            }
            Observation::Updated { .. }
            | Observation::Unwatched { .. }
            | Observation::Unlocked { .. }
            | Observation::Released { .. } => {}
            Observation::Ran(ran) => {
                let came = if ran.returned.is_some() {
                    ""
                } else {
                    ", and failed"
                };
                self.note(
                    process.into(),
                    format!("has run {} here{came}", ran.function),
                );
            }
        }
    }

    /// A call is over; what was asked.
    fn returned(&mut self, process: ProcessId, thread: ThreadId, call: u64) -> Option<Rc<str>> {
        self.goes_on(process, thread);
        let calls = &mut self.doing(process, thread).calls;
        let index = calls.iter().position(|(number, ..)| *number == call)?;
        Some(calls.remove(index).1)
    }
}
