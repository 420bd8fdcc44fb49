//! Who waits for what since when: the picture of a tree that does not get on.
//!
//! The server's machine draws it, the simulator shows the same one for a run that can't go on, and
//! users get it from [`Context::dump`](crate::Context::dump).

mod circles;

use super::ids::{ProcessId, Revision};
use super::time::nanoseconds;
use speedy::{Readable, Writable};
use std::fmt;
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
    /// How it stands with the server.
    pub standing: Standing,
    /// What it waits for, in the order in which it asked. Empty: it runs, as far as the server
    /// can see.
    pub waits: Vec<WaitDump>,
    /// Its watches.
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

    fn name(&self, id: ProcessId) -> String {
        match self.process(id) {
            Some(process) => named(id, &process.name, &process.function),
            None => named(id, "", ""),
        }
    }
}

/// A duration, as precise as anybody wants it.
struct Short(Elapsed);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = Duration::from(self.0).as_secs_f64();
        match seconds {
            ..0.001 => write!(f, "{:.0} us", seconds * 1e6),
            ..1.0 => write!(f, "{:.0} ms", seconds * 1e3),
            ..600.0 => write!(f, "{seconds:.1} s"),
            _ => write!(f, "{} min", Duration::from(self.0).as_secs() / 60),
        }
    }
}

/// A process, by all that it is called.
fn named(ProcessId(id): ProcessId, name: &str, function: &str) -> String {
    match (name, function) {
        ("", "") => format!("process {id}"),
        ("", function) => format!("process {id} ({function})"),
        (name, "") => format!("process {id} {name:?}"),
        (name, function) => format!("process {id} {name:?} ({function})"),
    }
}

/// So many that are not listed.
fn more(left_out: u64) -> String {
    match left_out {
        0 => String::new(),
        more => format!(" and {more} more"),
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Keys::Key(key) => write!(f, "key {key:?}"),
            Keys::Prefix(prefix) => write!(f, "prefix {prefix:?}"),
            Keys::Range(from, Some(until)) => write!(f, "keys from {from:?} to {until:?}"),
            Keys::Range(from, None) => write!(f, "keys from {from:?} on"),
            Keys::All => f.write_str("all keys"),
            Keys::These { keys, left_out } => write!(f, "keys {keys:?}{}", more(*left_out)),
            Keys::AllBut { keys, left_out } => {
                write!(f, "all keys but {keys:?}{}", more(*left_out))
            }
        }
    }
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Awaited::Condition {
                function,
                namespace,
                reads,
                reads_left_out,
            } => {
                write!(f, "{function} to hold in namespace {namespace:?}; it read ")?;
                if reads.is_empty() && *reads_left_out == 0 {
                    return f.write_str("nothing, so nothing can make it hold");
                }
                for (place, (of, keys)) in reads.iter().enumerate() {
                    f.write_str(if place > 0 { ", " } else { "" })?;
                    keys.fmt(f)?;
                    if of != namespace {
                        write!(f, " of namespace {of:?}")?;
                    }
                }
                f.write_str(&more(*reads_left_out))
            }
            Awaited::Equal {
                namespace,
                key,
                value,
            }
            | Awaited::Key {
                namespace,
                key,
                test: value,
            } => write!(f, "key {key:?} in namespace {namespace:?} to be {value}"),
            Awaited::End {
                process,
                name,
                function,
                held_back,
            } => {
                write!(f, "join of {}", named(*process, name, function))?;
                if *held_back {
                    f.write_str(
                        ", which has ended: the answer is held back until this process has \
                         acknowledged others",
                    )?;
                }
                Ok(())
            }
            Awaited::Changed {
                namespace,
                keys,
                after,
            } => write!(
                f,
                "a change of {keys} in namespace {namespace:?} after {after}"
            ),
            Awaited::Lock {
                name,
                holder,
                ahead,
            } => {
                write!(f, "lock {name:?}, held by process {}", holder.0)?;
                match ahead {
                    0 => Ok(()),
                    ahead => write!(f, ", as number {} of those who wait", ahead + 1),
                }
            }
        }
    }
}

impl fmt::Display for ProcessDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = named(self.id, &self.name, &self.function);
        let mut lines = Vec::new();
        match &self.standing {
            Standing::Starting(since) => {
                lines.push(format!(
                    "{name} was asked for {} ago and does not run yet",
                    Short(*since)
                ));
            }
            Standing::Silent(since) => lines.push(format!(
                "{name} was asked for {} ago, runs, and has not connected yet",
                Short(*since)
            )),
            Standing::Detached(since) => {
                lines.push(format!("{name} lost its connection {} ago", Short(*since)));
            }
            Standing::WithoutSession => {
                lines.push(format!("{name} goes on without a session: its calls fail"));
            }
            Standing::Ending => {
                lines.push(format!("{name} is dead: its last writes are being read"));
            }
            Standing::Connected => {}
        }
        for wait in &self.waits {
            let waited = Short(wait.waited);
            lines.push(format!("{name} waits {waited} for: {}", wait.awaited));
        }
        if let Some(since) = self.held_up {
            lines.push(format!(
                "{name} has not taken {} bytes of answers and updates: its requests are not read \
                 since {}",
                self.queued_bytes,
                Short(since)
            ));
        } else if self.queued_bytes > 0 {
            let bytes = self.queued_bytes;
            lines.push(format!("{name}: {bytes} bytes are on their way to it"));
        }
        match (lines.is_empty(), self.watches.is_empty()) {
            (false, _) => {}
            (true, true) => lines.push(format!("{name} runs, and waits for nothing")),
            (true, false) => lines.push(format!("{name} runs, or waits for an update")),
        }
        for watch in &self.watches {
            lines.push(format!("  {watch}"));
        }
        f.write_str(&lines.join("\n"))
    }
}

impl fmt::Display for WatchDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "its watch {} of {} in namespace {:?} ",
            self.watch, self.keys, self.namespace
        )?;
        match (self.behind, self.credit_bytes) {
            (0, _) => f.write_str("has been sent all there is"),
            (behind, credit) => write!(
                f,
                "is {behind} revisions behind; room for {credit} more bytes"
            ),
        }
    }
}

impl fmt::Display for CallDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if self.request.is_some() {
            f.write_str(if self.sent {
                ": sent, not answered"
            } else {
                ": not sent yet"
            })?;
        }
        match self.waited {
            Some(waited) => write!(f, ", for {}", Short(waited)),
            None => Ok(()),
        }
    }
}

fn counted(count: usize, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.answered {
            let (count, waits) = (self.processes.len(), self.waits().count());
            write!(
                f,
                "at revision {}: {}, {}",
                self.revision,
                counted(count, "process", "processes"),
                counted(waits, "wait", "waits")
            )?;
        } else {
            f.write_str("the server did not answer")?;
            if let Some(RunningDump { function, since }) = &self.running {
                write!(f, ": it has been running {function} for {}", Short(*since))?;
            }
        }
        for process in &self.processes {
            write!(f, "\n{process}")?;
        }
        for circle in self.circles() {
            f.write_str("\n")?;
            circles::tell(self, &circle, f)?;
        }
        for call in &self.calls {
            write!(f, "\nthis process's own call: {call}")?;
        }
        for (count, what) in [
            (self.left_out.processes, "processes"),
            (self.left_out.waits, "waits"),
            (self.left_out.watches, "watches"),
            (self.left_out.calls, "calls"),
        ] {
            if count > 0 {
                write!(f, "\nnot shown: {count} more {what}")?;
            }
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn process(id: u64, waits: Vec<Awaited>) -> ProcessDump {
        let wait = |(request, awaited)| WaitDump {
            request,
            tests: 1,
            waited: Duration::from_millis(12_345).into(),
            awaited,
        };
        ProcessDump {
            id: ProcessId(id),
            parent: ProcessId::PROGRAM,
            name: String::new(),
            function: format!("f{id}"),
            standing: Standing::Connected,
            waits: (1..).zip(waits).map(wait).collect(),
            watches: Vec::new(),
            queued_bytes: 0,
            held_up: None,
        }
    }

    pub(super) fn dump(processes: Vec<ProcessDump>) -> Dump {
        Dump {
            answered: true,
            revision: Revision(17),
            processes,
            ..Dump::default()
        }
    }

    #[test]
    fn what_there_was_no_room_for_is_counted() {
        let mut dump = dump(Vec::new());
        dump.left_out.waits = 7;
        dump.answered = false;
        let text = dump.to_string();
        assert_eq!(text, "the server did not answer\nnot shown: 7 more waits");
        let function = "app::f".to_owned();
        dump.running = Some(RunningDump::new(function, Duration::from_millis(3_200)));
        let text = dump.to_string();
        let told = "the server did not answer: it has been running app::f for 3.2 s\n";
        assert!(text.starts_with(told), "{text}");
    }

    #[test]
    fn durations_are_short() {
        let text = |micros| Short(Duration::from_micros(micros).into()).to_string();
        assert_eq!(text(20), "20 us");
        assert_eq!(text(20_000), "20 ms");
        assert_eq!(text(12_340_000), "12.3 s");
        assert_eq!(text(3_600_000_000), "60 min");
    }

    #[test]
    fn what_is_waited_for_in_words() {
        let condition = |reads: &[(&str, Keys)]| Awaited::Condition {
            function: "c".to_owned(),
            namespace: "n".to_owned(),
            reads: reads
                .iter()
                .map(|(namespace, keys)| ((*namespace).to_owned(), keys.clone()))
                .collect(),
            reads_left_out: 0,
        };
        assert_eq!(
            condition(&[]).to_string(),
            "c to hold in namespace \"n\"; it read nothing, so nothing can make it hold"
        );
        let reads = [("n", Keys::Key("k".to_owned())), ("m", Keys::All)];
        assert_eq!(
            condition(&reads).to_string(),
            "c to hold in namespace \"n\"; it read key \"k\", all keys of namespace \"m\""
        );
    }

    #[test]
    fn what_is_under_way_in_words() {
        let mut one = process(2, vec![]);
        one.queued_bytes = 7;
        assert_eq!(
            one.to_string(),
            "process 2 (f2): 7 bytes are on their way to it"
        );
        let mut call = CallDump {
            what: "ping".to_owned(),
            request: Some(3),
            sent: true,
            waited: Some(Duration::from_secs(2).into()),
        };
        assert_eq!(call.to_string(), "ping: sent, not answered, for 2.0 s");
        (call.sent, call.waited) = (false, None);
        assert_eq!(call.to_string(), "ping: not sent yet");
    }
}
