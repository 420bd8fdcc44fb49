//! The recorder: what the processes of a real tree observe, kept in files for the simulator's
//! checkers. Compiled in with the feature `recording` only, and asleep unless [`DIRECTORY`] is in
//! the environment when the tree begins.
//!
//! Each process appends to a file of its own: whole records, each a frame, each by one write, so
//! that what was written before a SIGKILL is there after it (the page cache is the kernel's), and a
//! torn record at the end is known as one. Stamps are of the machine's monotonic clock, the same for
//! all processes.
//!
//! A call is recorded before it is sent, and what came back after it has come; a commit before
//! anybody can hear of it, and a death when the process has been reaped, before anybody is told. So
//! the interval between two stamps is never shorter than what it stands for.
//!
//! The recorder is also where a process dies at a point that was chosen beforehand ([`DEATHS`]): by
//! a SIGKILL that it sends to itself at a record of a given number.

use super::sweep;
use super::sys::{self, Pid};
use crate::proto::codec;
use crate::proto::frame;
use crate::proto::ids::{LeaseId, ProcessId, Revision};
use crate::proto::server::{Commit, Server};
use crate::proto::time::Time;
use crate::runtime::{ConnectError, LinkId, Observation, Parker, Port, Ready, Usage};
use speedy::{Readable, Writable};
use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The environment variable that names the directory of the recording. One tree writes to it; trees
/// within that tree are not meant to.
pub const DIRECTORY: &str = "ZPROC_RECORD";
/// The environment variable that says who dies where, as [`Death`]s with commas in between.
pub const DEATHS: &str = "ZPROC_RECORD_DEATHS";

/// One record, with who it is of: the file is its process's.
#[derive(Debug, Clone, PartialEq, Eq, Readable, Writable)]
pub struct Record<'a> {
    /// When, in nanoseconds of the machine's monotonic clock.
    pub stamp_ns: u64,
    /// The thread, numbered within its process.
    pub thread: u64,
    /// What it was.
    pub what: What<'a>,
}

/// What a record tells. Messages are encoded as on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Readable, Writable)]
pub enum What<'a> {
    /// A call begins.
    Called {
        /// Its number among all calls of the process.
        call: u64,
        /// What is asked.
        request: &'a [u8],
    },
    /// It returned with a reply.
    Returned {
        /// Its number.
        call: u64,
        /// The reply.
        reply: &'a [u8],
    },
    /// It returned without one: whether it took effect is not known.
    Unknown {
        /// Its number.
        call: u64,
    },
    /// It took no effect.
    NotSent {
        /// Its number.
        call: u64,
    },
    /// A watch gave an update.
    Updated {
        /// The watch's number.
        watch: u64,
        /// The update.
        update: &'a [u8],
    },
    /// The user of a watch has ended it.
    Unwatched {
        /// The watch's number.
        watch: u64,
    },
    /// The holder of a lock gives it back.
    Unlocked {
        /// The lock.
        name: &'a str,
        /// The revision of its grant.
        grant: Revision,
    },
    /// A transaction gives a lease back.
    Released {
        /// The lease.
        lease: LeaseId,
    },
    /// The kernel has taken these bytes for the server.
    Wrote {
        /// On this connection out of all the process has had.
        link: u64,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// The server has changed the state.
    Committed(Commit),
    /// The keeper has reaped a process.
    Died {
        /// The process.
        process: ProcessId,
        /// As `wait4` gives it.
        status: i32,
    },
    /// Something of the user's.
    Note(&'a [u8]),
    /// This process kills itself now, as was chosen.
    Dies(Moment),
}

/// Who keeps a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The program or a child.
    Process(ProcessId),
    /// The server.
    Server,
    /// The keeper.
    Keeper,
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Who::Process(process) => write!(f, "process-{}", process.0),
            Who::Server => f.write_str("server"),
            Who::Keeper => f.write_str("keeper"),
        }
    }
}

impl Who {
    /// Whom this names: the reverse of `Display`. Files of the recording are named so.
    #[must_use]
    pub fn parse(name: &str) -> Option<Who> {
        match name {
            "server" => Some(Who::Server),
            "keeper" => Some(Who::Keeper),
            _ => {
                let id = name.strip_prefix("process-")?.parse().ok()?;
                Some(Who::Process(ProcessId(id)))
            }
        }
    }
}

/// Where, around a record, a process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Readable, Writable)]
pub enum Moment {
    /// Instead of writing the record.
    Before,
    /// When it has written it.
    After,
    /// At its next write to the server behind it, when it has written one half.
    Halfway,
    /// When it has written that whole, with the server stopped: it goes on when the keeper has told
    /// of the death, and finds both at once. For a child only.
    Unheard,
}

/// Who dies where: `process-5:17-` before its 17th record, `process-5:17+` after it,
/// `process-5:17/` halfway through what it sends next, `process-5:17!` behind that, unheard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    /// Who.
    pub who: Who,
    /// At this record of its, counted from 1.
    pub record: u64,
    /// And where around it.
    pub moment: Moment,
}

impl std::fmt::Display for Death {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let moment = match self.moment {
            Moment::Before => '-',
            Moment::After => '+',
            Moment::Halfway => '/',
            Moment::Unheard => '!',
        };
        write!(f, "{}:{}{moment}", self.who, self.record)
    }
}

impl Death {
    /// The reverse of `Display`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Death> {
        let (who, rest) = text.split_once(':')?;
        let (record, moment) = rest.split_at_checked(rest.len().checked_sub(1)?)?;
        Some(Death {
            who: Who::parse(who)?,
            record: record.parse().ok()?,
            moment: match moment {
                "-" => Moment::Before,
                "+" => Moment::After,
                "/" => Moment::Halfway,
                "!" => Moment::Unheard,
                _ => return None,
            },
        })
    }
}

struct Recorder {
    who: Who,
    file: File,
    death: Option<Death>,
    /// The keeper's: there was a death since this was last asked.
    has_died: AtomicBool,
    page: Mutex<Page>,
}

#[derive(Default)]
struct Page {
    records: u64,
    buffer: Vec<u8>,
}

/// This process's recorder, from the beginning of its role on: a fact of the process, as its role.
static RECORDER: OnceLock<Option<Recorder>> = OnceLock::new();

fn recorder() -> Option<&'static Recorder> {
    RECORDER.get()?.as_ref()
}

/// The process begins its role; from here on it records, if the environment says so.
pub(crate) fn begin(who: Who) {
    RECORDER.get_or_init(|| {
        let directory = std::env::var_os(DIRECTORY)?;
        let path = Path::new(&directory).join(who.to_string());
        let file = OpenOptions::new().create(true).append(true).open(path);
        let deaths = std::env::var(DEATHS).unwrap_or_default();
        let mut deaths = deaths.split(',').filter_map(Death::parse);
        Some(Recorder {
            who,
            // Without its record a run is worth nothing; the tree ends, and says why.
            file: file.expect("the directory of the recording can be written to"),
            death: deaths.find(|death| death.who == who),
            has_died: AtomicBool::new(false),
            page: Mutex::new(Page::default()),
        })
    });
}

/// Does this process record?
pub(crate) fn is_on() -> bool {
    recorder().is_some()
}

/// The process of the tree that this one is, if it records.
#[must_use]
pub fn process() -> Option<ProcessId> {
    match recorder()?.who {
        Who::Process(process) => Some(process),
        Who::Server | Who::Keeper => None,
    }
}

/// Adds something of the user's to this process's record.
pub fn note(bytes: &[u8]) {
    if let Some(recorder) = recorder() {
        recorder.write(What::Note(bytes));
    }
}

/// The keeper has reaped a process and has not told of it.
pub(crate) fn died(process: ProcessId, status: i32) {
    if let Some(recorder) = recorder() {
        recorder.write(What::Died { process, status });
        recorder.has_died.store(true, Ordering::Relaxed);
    }
}

/// The keeper has told the server all it had to tell: one that was stopped for a death goes on.
pub(crate) fn told(server: Pid) {
    if recorder().is_some_and(|recorder| recorder.has_died.swap(false, Ordering::Relaxed)) {
        // It may have ended, and then there is nobody to wake.
        let _ = sys::pidfd_open(server)
            .and_then(|server| sys::pidfd_signal(server.as_fd(), libc::SIGCONT));
    }
}

/// Stops the server of the tree that this process is a child of; true when it stands.
fn stop_server() -> bool {
    let mut siblings = sweep::children(sys::parent()).into_iter();
    let Some(server) = siblings.find(|pid| {
        std::fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name == b"zproc-server\n")
    }) else {
        return false;
    };
    let stopped =
        sys::pidfd_open(server).and_then(|server| sys::pidfd_signal(server.as_fd(), libc::SIGSTOP));
    // It may be in the middle of something on another core.
    let stands = || {
        std::fs::read_to_string(format!("/proc/{server}/stat"))
            .is_ok_and(|stat| stat.contains(") T "))
    };
    stopped.is_ok()
        && (0..LOOKS_MAX).any(|_| {
            std::thread::yield_now();
            stands()
        })
}

/// Looks at a server that was told to stop.
const LOOKS_MAX: u32 = 10_000;

/// Takes what the server has committed, before anybody can hear of it.
pub(crate) fn commits(server: &mut Server) {
    while let Some(commit) = server.poll_commit() {
        if let Some(recorder) = recorder() {
            recorder.write(What::Committed(commit));
        }
    }
}

/// The port with a recorder in front of it, if this process records.
pub(crate) fn port<P: Port + 'static>(port: P) -> Arc<dyn Port> {
    match recorder() {
        Some(recorder) => Arc::new(RecordingPort { port, recorder }),
        None => Arc::new(port),
    }
}

thread_local! {
    static THREAD: Cell<Option<u64>> = const { Cell::new(None) };
}

/// The calling thread's number, in the order in which threads first asked.
fn thread() -> u64 {
    static THREADS: AtomicU64 = AtomicU64::new(0);
    THREAD.get().unwrap_or_else(|| {
        let number = THREADS.fetch_add(1, Ordering::Relaxed);
        THREAD.set(Some(number));
        number
    })
}

impl Recorder {
    /// Held for as long as a stamp is taken and its record written: a file is in order.
    fn page(&self) -> MutexGuard<'_, Page> {
        self.page.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, what: What<'_>) {
        let mut page = self.page();
        page.records += 1;
        let here = |moment| {
            self.death
                .is_some_and(|death| (death.record, death.moment) == (page.records, moment))
        };
        let (before, after) = (here(Moment::Before), here(Moment::After));
        if before {
            self.die(&mut page, Moment::Before);
        }
        self.append(&mut page, what);
        if after {
            self.die(&mut page, Moment::After);
        }
    }

    fn append(&self, page: &mut Page, what: What<'_>) {
        page.buffer.clear();
        let record = Record {
            stamp_ns: sys::monotonic_ns(),
            thread: thread(),
            what,
        };
        frame::append(&record, &mut page.buffer);
        (&self.file)
            .write_all(&page.buffer)
            .expect("the recording can be written to");
    }

    /// Is it time to die in a write, or right behind it?
    fn dies_in_write(&self) -> Option<Moment> {
        let death = self.death?;
        let in_write = matches!(death.moment, Moment::Halfway | Moment::Unheard);
        (in_write && self.page().records >= death.record).then_some(death.moment)
    }

    /// Ends this process as by a stranger's SIGKILL, with the page held: nothing is recorded behind.
    fn die(&self, page: &mut Page, moment: Moment) -> ! {
        self.append(page, What::Dies(moment));
        let killed = sys::pidfd_open(sys::pid())
            .and_then(|own| sys::pidfd_signal(own.as_fd(), libc::SIGKILL));
        // It does not come back; if it could not be sent, the run must not go on either.
        unreachable!("a process that has killed itself goes on: {killed:?}")
    }
}

/// A port that tells the recorder what passes.
struct RecordingPort<P> {
    port: P,
    recorder: &'static Recorder,
}

impl<P: Port> Port for RecordingPort<P> {
    fn connect(&self) -> Result<LinkId, ConnectError> {
        self.port.connect()
    }

    fn disconnect(&self, link: LinkId) {
        self.port.disconnect(link);
    }

    fn try_read(&self, link: LinkId, buffer: &mut [u8]) -> io::Result<usize> {
        self.port.try_read(link, buffer)
    }

    fn try_write(&self, link: LinkId, bytes: &[u8]) -> io::Result<usize> {
        let dies = self.recorder.dies_in_write();
        let bytes = match dies {
            Some(Moment::Halfway) => &bytes[..bytes.len() / 2],
            _ => bytes,
        };
        let unheard = dies == Some(Moment::Unheard) && stop_server();
        let result = self.port.try_write(link, bytes);
        if let Ok(count) = result {
            self.recorder.write(What::Wrote {
                link: link.0,
                bytes: &bytes[..count],
            });
        }
        if let Some(moment) = dies {
            let moment = if unheard { moment } else { Moment::Halfway };
            self.recorder.die(&mut self.recorder.page(), moment);
        }
        result
    }

    fn wait(&self, link: LinkId, write: bool, deadline: Option<Time>) -> Ready {
        self.port.wait(link, write, deadline)
    }

    fn server_runs(&self) -> Option<(String, std::time::Duration)> {
        self.port.server_runs()
    }

    fn is_stopping(&self) -> bool {
        self.port.is_stopping()
    }

    fn wake(&self) {
        self.port.wake();
    }

    fn is_forked(&self) -> bool {
        self.port.is_forked()
    }

    fn parker(&self) -> Arc<dyn Parker> {
        self.port.parker()
    }

    fn now(&self) -> Time {
        self.port.now()
    }

    fn usage(&self, pids: &[u32]) -> Vec<Option<Usage>> {
        self.port.usage(pids)
    }

    fn random(&self) -> u64 {
        self.port.random()
    }

    fn observe(&self, observation: Observation<'_>) {
        let recorder = self.recorder;
        match observation {
            Observation::Called { call, request } => recorder.write(What::Called {
                call,
                request: &codec::to_bytes(request),
            }),
            Observation::Returned { call, reply } => recorder.write(What::Returned {
                call,
                reply: &codec::to_bytes(reply),
            }),
            Observation::Unknown { call } => recorder.write(What::Unknown { call }),
            Observation::NotSent { call } => recorder.write(What::NotSent { call }),
            Observation::Updated { watch, update } => recorder.write(What::Updated {
                watch,
                update: &codec::to_bytes(update),
            }),
            Observation::Unwatched { watch } => recorder.write(What::Unwatched { watch }),
            Observation::Unlocked { name, grant } => recorder.write(What::Unlocked { name, grant }),
            Observation::Released { lease } => recorder.write(What::Released { lease }),
            // The servers whose runs are recorded run functions themselves.
            Observation::Ran(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deaths_are_read_as_they_are_written() {
        for text in ["process-5:17-", "server:1+", "keeper:300/", "process-1:2!"] {
            let death = Death::parse(text).expect(text);
            assert_eq!(death.to_string(), text);
        }
        for text in [
            "",
            "process-5",
            "process-5:17",
            "process-x:1+",
            "guard:1+",
            "server:+",
        ] {
            assert_eq!(Death::parse(text), None, "{text}");
        }
    }

    #[test]
    fn nothing_is_recorded_unless_it_is_asked_for() {
        begin(Who::Keeper);
        assert!(!is_on());
        note(b"nobody reads this");
        assert_eq!(process(), None);
    }

    #[test]
    fn records_come_back() {
        let record = Record {
            stamp_ns: 7,
            thread: 1,
            what: What::Wrote {
                link: 1,
                bytes: b"abc",
            },
        };
        let mut bytes = Vec::new();
        frame::append(&record, &mut bytes);
        let (payload, length) = frame::split(&bytes).expect("a frame").expect("whole");
        assert_eq!(length, bytes.len());
        assert_eq!(codec::decode(payload), Ok(record));
        // The end of the file after a death in the middle of it.
        assert_eq!(frame::split(&bytes[..length - 1]), Ok(None));
    }

    #[test]
    fn the_clock_of_records_is_the_machines() {
        let first = sys::monotonic_ns();
        assert!(first > 0 && sys::monotonic_ns() >= first);
    }
}
