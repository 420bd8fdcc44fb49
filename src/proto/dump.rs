//! Who waits for what since when: the picture of processes that do not get on.
//!
//! The server's machine draws it, the simulator shows the same one for a run that can't go on, and
//! users get it from [`Context::dump`](crate::Context::dump).

mod circles;
mod words;

use super::ids::{ProcessId, Revision};
use super::time::nanoseconds;
use speedy::{Readable, Writable};
use std::time::Duration;

/// Records of processes are the keys of the reserved namespace that start so; the number follows.
pub const RECORD_PREFIX: &str = "process/";

/// Who waits for what, since when. Its `Display` is meant to be read by people.
///
/// What is over a limit of `limits.rs` is counted in [`left_out`](Dump::left_out).
#[derive(Debug, Clone, PartialEq, Eq, Default, Readable, Writable)]
#[non_exhaustive]
pub struct Dump {
    /// False: the server gave no answer in time (it is busy, stopped, or can't be reached), and
    /// only [`calls`](Dump::calls) is filled in.
    pub answered: bool,
    /// The revision of the state.
    pub revision: Revision,
    /// The processes that have not ended, in order of their numbers.
    pub processes: Vec<ProcessDump>,
    /// Where the server gave no answer: the function that it has been running since then, if that is
    /// why.
    pub running: Option<RunningDump>,
    /// What there was no room for.
    pub left_out: LeftOut,
    /// Calls of the process that asked, which nobody has answered and which are not among its
    /// waits above: under way, not sent yet, or waits for an update, which the server knows
    /// nothing of.
    pub calls: Vec<CallDump>,
}

/// A function that the server runs, while everybody waits.
#[derive(Debug, Clone, PartialEq, Eq, Readable, Writable)]
#[non_exhaustive]
pub struct RunningDump {
    /// Its name.
    pub function: String,
    /// For how long.
    pub since: Elapsed,
}

impl RunningDump {
    pub(crate) fn new(function: String, since: Duration) -> RunningDump {
        let since = since.into();
        RunningDump { function, since }
    }
}

/// How much of a picture was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Readable, Writable)]
#[non_exhaustive]
pub struct LeftOut {
    /// Processes, with all that they wait for.
    pub processes: u64,
    /// Waits of processes that are listed.
    pub waits: u64,
    /// Watches of processes that are listed.
    pub watches: u64,
    /// Calls of the process that asked.
    pub calls: u64,
}

/// One process of a [`Dump`].
#[derive(Debug, Clone, PartialEq, Eq, Readable, Writable)]
#[non_exhaustive]
pub struct ProcessDump {
    /// Its number.
    pub id: ProcessId,
    /// The process that spawned it.
    pub parent: ProcessId,
    /// The [name](crate::ProcessBuilder::name) that it was given; empty: none.
    pub name: String,
    /// What it was spawned with, as `type_name` gives it; `main` for the program.
    pub function: String,
    /// Its number in the system, once it runs.
    pub pid: Option<u32>,
    /// How it stands with the server.
    pub standing: Standing,
    /// What it waits for, in the order in which it asked. Empty: it runs, as far as the server
    /// can see.
    pub waits: Vec<WaitDump>,
    /// Its watches. Whether a thread waits for the next update of one, or is at work on the last,
    /// the server can't tell.
    pub watches: Vec<WatchDump>,
    /// Bytes that the server has for it and that it has not taken.
    pub queued_bytes: u64,
    /// Its requests are not read until it takes what is queued for it: since so long.
    pub held_up: Option<Elapsed>,
}

/// How a process stands with the server.
#[derive(Debug, Clone, PartialEq, Eq, Readable, Writable)]
#[non_exhaustive]
pub enum Standing {
    /// It was asked for so long ago, and does not run yet.
    Starting(Elapsed),
    /// It was asked for so long ago, runs, and has not said hello.
    Silent(Elapsed),
    /// It is connected.
    Connected,
    /// It lost its connection so long ago.
    Detached(Elapsed),
    /// Its session has ended, though it has not.
    WithoutSession,
    /// It is dead; its last writes are being read.
    Ending,
}

/// One thing that a process waits for.
#[derive(Debug, Clone, PartialEq, Eq, Readable, Writable)]
#[non_exhaustive]
pub struct WaitDump {
    /// The number of its request; 0: it is none, but is fed by watches.
    pub request: u64,
    /// How long it has waited.
    pub waited: Elapsed,
    /// How often its condition was tested: once at its begin, and then when something that it reads
    /// has changed. 0 if it is tested in its process.
    pub tests: u64,
    /// For what.
    pub awaited: Awaited,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Readable, Writable)]
#[non_exhaustive]
pub enum Awaited {
    /// That a function of the state gives a result.
    Condition {
        /// Its name.
        function: String,
        /// Where it looks first.
        namespace: String,
        /// What it read when it was last tested, each with its namespace: it is tested again when
        /// one of these changes.
        reads: Vec<(String, Keys)>,
        /// So many more reads.
        reads_left_out: u64,
    },
    /// That a key has a value.
    Equal {
        /// The key's namespace.
        namespace: String,
        /// The key.
        key: String,
        /// The value, in words.
        value: String,
    },
    /// That something else holds for a key.
    Key {
        /// The key's namespace.
        namespace: String,
        /// The key.
        key: String,
        /// What it is to be, in words.
        test: String,
    },
    /// The end of a process.
    End {
        /// The process.
        process: ProcessId,
        /// The name that it was given, if it was given one.
        name: String,
        /// Its function.
        function: String,
        /// It has ended, and the answer waits until this process has acknowledged others.
        held_back: bool,
    },
    /// A change of keys.
    Changed {
        /// Their namespace.
        namespace: String,
        /// Which.
        keys: Keys,
        /// Later than this revision.
        after: Revision,
    },
    /// Its turn to run a [transaction](crate::State::transaction) that was in conflict with others.
    Turn {
        /// Its function.
        function: String,
        /// What it has read and written, each with its namespace.
        on: Vec<(String, Keys)>,
        /// So much more of that.
        on_left_out: u64,
        /// The process whose turn is before this, if it is known.
        behind: Option<ProcessId>,
    },
    /// A lock.
    Lock {
        /// Its name.
        name: String,
        /// The process that holds it.
        holder: ProcessId,
        /// How many others get it first; they are counted up to 1024.
        ahead: u64,
    },
}

/// Which keys are read or watched.
#[derive(Debug, Clone, PartialEq, Eq, Readable, Writable)]
#[non_exhaustive]
pub enum Keys {
    /// This one.
    Key(String),
    /// Those that start so.
    Prefix(String),
    /// Those from the first on, up to the second if there is one.
    Range(String, Option<String>),
    /// These, and so many more.
    These {
        /// The first of them.
        keys: Vec<String>,
        /// How many more.
        left_out: u64,
    },
    /// Every key but these, and so many more.
    AllBut {
        /// The first of them.
        keys: Vec<String>,
        /// How many more.
        left_out: u64,
    },
    /// Every key.
    All,
}

/// One watch of a process.
#[derive(Debug, Clone, PartialEq, Eq, Readable, Writable)]
#[non_exhaustive]
pub struct WatchDump {
    /// Its number in the process.
    pub watch: u64,
    /// The namespace that it sees.
    pub namespace: String,
    /// What of it.
    pub keys: Keys,
    /// The condition of the [`State::when`](crate::State::when) that it is there for; empty: none.
    pub function: String,
    /// The revision of the last update that it was sent, if it was sent one.
    pub last: Option<Revision>,
    /// How long ago that was written; if there is none, how long ago the watch began.
    pub quiet: Elapsed,
    /// How many revisions it is behind; 0: it has been sent all there is.
    pub behind: u64,
    /// Bytes of updates that may be sent before its user has taken some.
    pub credit_bytes: u64,
}

/// A call of the process that asked.
#[derive(Debug, Clone, PartialEq, Eq, Readable, Writable)]
#[non_exhaustive]
pub struct CallDump {
    /// What is asked, in words.
    pub what: String,
    /// The number of its request, if it is one.
    pub request: Option<u64>,
    /// It was handed to a connection.
    pub sent: bool,
    /// How long it has waited, if that is known.
    pub waited: Option<Elapsed>,
}

impl Dump {
    /// Every wait, with the process that waits.
    pub fn waits(&self) -> impl Iterator<Item = (&ProcessDump, &WaitDump)> {
        self.processes
            .iter()
            .flat_map(|process| process.waits.iter().map(move |wait| (process, wait)))
    }

    /// The process of this number, if it is listed.
    #[must_use]
    pub fn process(&self, id: ProcessId) -> Option<&ProcessDump> {
        let place = self.processes.binary_search_by_key(&id, |one| one.id);
        place.ok().map(|place| &self.processes[place])
    }

    /// Circles of processes, each of which waits for the next, and the last for the first: a
    /// deadlock, unless another thread of one of them ends it. Each begins with its smallest number.
    ///
    /// A process waits for another when it waits for a lock that this one holds; when it joins it; or
    /// when a condition of its reads nothing but records of processes. One that waits for a lock that it
    /// holds itself is a circle of its own: that is usual where several threads of it take turns, and a
    /// deadlock where one thread takes a lock twice.
    #[must_use]
    pub fn circles(&self) -> Vec<Vec<ProcessId>> {
        circles::of(self)
    }
}

/// A time span as it travels: whole nanoseconds, so that whatever bytes come are one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Readable, Writable)]
pub struct Elapsed(u64);

impl From<Duration> for Elapsed {
    fn from(duration: Duration) -> Elapsed {
        Elapsed(nanoseconds(duration))
    }
}

impl From<Elapsed> for Duration {
    fn from(elapsed: Elapsed) -> Duration {
        Duration::from_nanos(elapsed.0)
    }
}
