//! The table of all processes.

use super::context::Context;
use crate::error::Result;
use crate::proto::dump::RECORD_PREFIX;
use crate::proto::ids::{ProcessId, Revision};
use crate::proto::server::Record;
use crate::proto::time::Time;
use crate::runtime::Usage;
use std::fmt;
use std::time::Duration;

/// The processes of a tree, or of all programs at one server, as they were at one revision, in the order of their ids. Made by
/// [`Context::processes`].
///
/// `{}` is a table for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Processes {
    revision: Revision,
    list: Vec<ProcessInfo>,
}

/// What is known of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessInfo {
    /// Its id, which no other has.
    pub id: ProcessId,
    /// Who has spawned it.
    pub parent: ProcessId,
    /// Its [name](crate::ProcessBuilder::name), or that of its function.
    pub name: String,
    /// Its function.
    pub function: String,
    /// How far it is.
    pub state: ProcessState,
    /// Its id in the system, once it has been started. When it has ended, another may have it.
    pub pid: Option<u32>,
    /// CPU time that it has used: by now, or in its life. `None` where that can't be told.
    pub cpu: Option<Duration>,
    /// Memory that it has resident now; of one that has ended the most that it ever had. In bytes.
    pub memory_bytes: Option<u64>,
    /// How long ago it was asked for; of one that has ended, how long it lived.
    pub age: Duration,
    /// How it ended, in words.
    pub outcome: Option<String>,
}

/// How far a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProcessState {
    /// It has an id and a record.
    Starting,
    /// The system has started it.
    Running,
    /// It has ended.
    Ended,
}

impl Processes {
    /// Reads the records, and asks the system about those that live.
    #[track_caller]
    pub(super) fn read(ctx: &Context) -> Result<Processes> {
        let records = ctx.namespace("").snapshot()?;
        let mut list = Vec::new();
        let now = ctx.connection().port().now();
        for key in records.keys().filter(|key| key.starts_with(RECORD_PREFIX)) {
            if let Some(record) = records.get::<Record>(key)? {
                list.push(ProcessInfo::of(record, now));
            }
        }
        // The keys are in the order of texts.
        list.sort_by_key(|process| process.id);
        let living = list.iter_mut().filter(|it| it.state != ProcessState::Ended);
        let (mut asked, pids): (Vec<_>, Vec<u32>) = living
            .filter_map(|process| process.pid.map(|pid| (process, pid)))
            .unzip();
        let usage = ctx.connection().port().usage(&pids);
        for (process, usage) in asked.iter_mut().zip(usage) {
            process.cpu = usage.map(|Usage { cpu, .. }| cpu);
            process.memory_bytes = usage.map(|usage| usage.memory_bytes);
        }
        Ok(Processes {
            revision: records.revision(),
            list,
        })
    }

    /// The revision of the records. What the living use is as it was when it was asked for.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The process with this id.
    #[must_use]
    pub fn find(&self, id: ProcessId) -> Option<&ProcessInfo> {
        self.list.iter().find(|process| process.id == id)
    }

    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, ProcessInfo> {
        self.list.iter()
    }
}

impl<'a> IntoIterator for &'a Processes {
    type Item = &'a ProcessInfo;
    type IntoIter = std::slice::Iter<'a, ProcessInfo>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl ProcessInfo {
    fn of(record: Record, now: Time) -> ProcessInfo {
        let until = record.ended_ns.map_or(now, Time);
        ProcessInfo {
            id: ProcessId(record.id),
            parent: ProcessId(record.parent),
            name: record.name,
            function: record.function,
            state: match record.state.as_str() {
                "starting" => ProcessState::Starting,
                "running" => ProcessState::Running,
                _ => ProcessState::Ended,
            },
            pid: record.pid,
            cpu: record.used.map(|used| Duration::from_nanos(used.cpu_ns)),
            memory_bytes: record.used.map(|used| used.memory_bytes_max),
            age: until.since(Time(record.started_ns)),
            outcome: record.outcome,
        }
    }

    /// As cells of the table.
    fn row(&self) -> [String; COLUMNS] {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let outcome = self.outcome.as_deref().unwrap_or_default();
        [
            self.id.to_string(),
            self.parent.to_string(),
            self.state.to_string(),
            or_dash(self.pid.map(|pid| pid.to_string())),
            or_dash(self.cpu.map(short_duration)),
            or_dash(self.memory_bytes.map(short_size)),
            short_duration(self.age),
            first_line(&self.name),
            first_line(outcome),
        ]
    }
}

impl fmt::Display for ProcessState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ProcessState::Starting => "starting",
            ProcessState::Running => "running",
            ProcessState::Ended => "ended",
        })
    }
}

const COLUMNS: usize = 9;
const TITLES: [&str; COLUMNS] = [
    "id", "parent", "state", "pid", "cpu", "memory", "age", "name", "outcome",
];
/// Numbers, which stand at the right of their columns.
const AT_RIGHT: [bool; COLUMNS] = [true, true, false, true, true, true, true, false, false];

impl fmt::Display for Processes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<_> = [TITLES.map(str::to_owned)]
            .into_iter()
            .chain(self.list.iter().map(ProcessInfo::row))
            .collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
        let widths: [usize; COLUMNS] = std::array::from_fn(|column| width(column).unwrap_or(0));
        for (number, row) in rows.iter().enumerate() {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = widths[column];
                let cell = match AT_RIGHT[column] {
                    true => format!("{cell:>width$}  "),
                    false => format!("{cell:<width$}  "),
                };
                line.push_str(&cell);
            }
            let end = if number == 0 { "" } else { "\n" };
            write!(f, "{end}{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A text as a cell: one line of it, not too long.
fn first_line(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(CHARS_MAX) {
        None => line.to_owned(),
        Some((cut, _)) => format!("{}...", &line[..cut]),
    }
}

/// Three figures or so: a person looks at it.
fn short_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

fn short_size(bytes: u64) -> String {
    match bytes >> 20 {
        0 => format!("{} KiB", bytes >> 10),
        mebibytes @ 1..10_240 => format!("{mebibytes} MiB"),
        mebibytes => format!("{} GiB", mebibytes >> 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads_well() {
        let running = ProcessInfo {
            id: ProcessId(2),
            parent: ProcessId(1),
            name: "counter".to_owned(),
            function: "a::count".to_owned(),
            state: ProcessState::Running,
            pid: Some(4711),
            cpu: Some(Duration::from_millis(1234)),
            memory_bytes: Some(5 << 20),
            age: Duration::from_secs(3725),
            outcome: None,
        };
        let ended = ProcessInfo {
            id: ProcessId(10),
            parent: ProcessId(2),
            name: "a::fail".to_owned(),
            state: ProcessState::Ended,
            pid: None,
            cpu: None,
            memory_bytes: Some(900 << 10),
            age: Duration::from_millis(12),
            outcome: Some(format!("panicked: {}\nsecond line", "x".repeat(80))),
            ..running.clone()
        };
        let processes = Processes {
            revision: Revision(7),
            list: vec![running, ended],
        };
        let wanted = format!(
            "id  parent  state     pid    cpu   memory       age  name     outcome\n\
             #2      #1  running  4711  1.2 s    5 MiB  1 h 2 min  counter\n\
             #10      #2  ended       -      -  900 KiB     12 ms  a::fail  panicked: {}...",
            "x".repeat(50)
        );
        let squeezed = |text: &str| {
            let lines = text
                .lines()
                .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
            lines.collect::<Vec<_>>()
        };
        let table = processes.to_string();
        assert_eq!(squeezed(&table), squeezed(&wanted), "\n{table}");
        // Columns stand below each other.
        let ends: Vec<_> = table
            .lines()
            .map(|line| {
                line.find("ended")
                    .or(line.find("running"))
                    .or(line.find("state"))
            })
            .collect();
        assert!(ends.windows(2).all(|pair| pair[0] == pair[1]), "\n{table}");
        assert_eq!(
            processes.find(ProcessId(10)).map(|it| it.state),
            Some(ProcessState::Ended)
        );
        assert_eq!(processes.find(ProcessId(3)), None);
    }

    /// The age of one whose end nobody had seen went on counting.
    #[test]
    fn what_has_ended_grows_no_older() {
        let record = Record {
            id: 7,
            parent: 1,
            name: "f".to_owned(),
            function: "f".to_owned(),
            state: "ended".to_owned(),
            pid: None,
            started_ns: 5,
            ended_ns: Some(12),
            outcome: None,
            used: None,
        };
        let age = |record| ProcessInfo::of(record, Time(100)).age;
        assert_eq!(age(record.clone()), Duration::from_nanos(7));
        let (state, ended_ns) = ("running".to_owned(), None);
        let running = Record {
            state,
            ended_ns,
            ..record
        };
        assert_eq!(age(running), Duration::from_nanos(95));
    }

    #[test]
    fn figures_for_people() {
        let text = |seconds| short_duration(Duration::from_secs(seconds));
        assert_eq!(
            [59, 61, 7260].map(text),
            ["59.0 s", "1 min 1 s", "2 h 1 min"]
        );
        assert_eq!(
            [1023, 1 << 20, 20 << 30].map(short_size),
            ["0 KiB", "1 MiB", "20 GiB"]
        );
    }
}
