//! Reads what the processes of a real tree have recorded into a history for the checkers.
//!
//! The stamps of all processes are put in one order. Where two are equal nothing is known of their
//! order, so they are taken as concurrent: a call comes before a return, which can neither hide that
//! one returned before the other was called by a clear stamp, nor make it so without. A commit
//! comes between them, as it was recorded before anybody could be told of it, and a death before
//! the commit that follows from it.

use crate::checkers::{BOUND, bound};
use crate::history::{Entry, History, Note, What};
use crate::server::whole_requests;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use zproc::seam::proto::codec::{self, Malformed};
use zproc::seam::proto::frame;
use zproc::seam::proto::ids::ProcessId;
use zproc::seam::proto::message::{Reply, Request, Update};
use zproc::seam::record::{self, Moment, Record, Who};

/// A recording in numbers.
#[derive(Debug, Default, Clone)]
#[non_exhaustive]
pub struct Tally {
    /// Processes that have recorded anything, the program among them.
    pub processes: u64,
    /// Calls that were made.
    pub calls: u64,
    /// Change sets.
    pub commits: u64,
    /// Updates that watches gave.
    pub updates: u64,
    /// Processes that killed themselves as they were told to, by what they were.
    pub killed: BTreeMap<&'static str, u64>,
    /// Of these, those that had calls in flight.
    pub killed_in_flight: u64,
    /// Of these, those whose last write the server found together with their death.
    pub killed_unheard: u64,
    /// Processes that ended by SIGKILL, the killed and those below them.
    pub ended_by_kill: u64,
    /// Requests that dead processes are known to have written whole, and had no reply to.
    pub last_writes: u64,
    /// Records that a death has cut in two.
    pub torn: u64,
}

impl Tally {
    /// Adds another recording's.
    pub fn add(&mut self, other: &Tally) {
        self.processes += other.processes;
        self.calls += other.calls;
        self.commits += other.commits;
        self.updates += other.updates;
        for (who, count) in &other.killed {
            *self.killed.entry(who).or_default() += count;
        }
        self.killed_in_flight += other.killed_in_flight;
        self.killed_unheard += other.killed_unheard;
        self.ended_by_kill += other.ended_by_kill;
        self.last_writes += other.last_writes;
        self.torn += other.torn;
    }
}

/// A recording.
pub(crate) struct Recorded {
    pub(crate) history: History,
    pub(crate) tally: Tally,
    processes: BTreeSet<ProcessId>,
    dead: BTreeSet<ProcessId>,
}

impl Recorded {
    /// Processes that were not seen to end.
    pub(crate) fn alive(&self) -> Vec<ProcessId> {
        self.processes.difference(&self.dead).copied().collect()
    }
}

/// One record and whose it is.
struct Line<'a> {
    who: Who,
    /// Its place in its file.
    place: usize,
    record: Record<'a>,
}

impl Line<'_> {
    /// Its place among all.
    fn order(&self) -> (u64, u8, Who, usize) {
        let kind = match self.record.what {
            record::What::Called { .. } => 0,
            record::What::Died { .. } => 1,
            record::What::Committed(_) => 2,
            _ => 3,
        };
        (self.record.stamp_ns, kind, self.who, self.place)
    }
}

/// Reads a directory.
pub(crate) fn load(directory: &Path) -> Result<Recorded, String> {
    let told = |error: std::io::Error| format!("{}: {error}", directory.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(told)? {
        let entry = entry.map_err(told)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let who = Who::parse(&name).ok_or_else(|| format!("{name} is nobody's record"))?;
        files.push((who, std::fs::read(entry.path()).map_err(told)?));
    }
    let mut lines = Vec::new();
    let mut torn = BTreeSet::new();
    for (who, bytes) in &files {
        let whole = read(*who, bytes, &mut lines).map_err(|what| format!("{who}: {what}"))?;
        if !whole {
            torn.insert(*who);
        }
    }
    lines.sort_by_key(Line::order);
    assemble(lines, &torn)
}

/// Reads one file; true if its last record is whole.
fn read<'a>(who: Who, bytes: &'a [u8], lines: &mut Vec<Line<'a>>) -> Result<bool, String> {
    let (mut rest, mut place, mut last_ns) = (bytes, 0, 0);
    let told = |Malformed(what): Malformed| what;
    while let Some((payload, length)) = frame::split(rest).map_err(told)? {
        let record: Record<'_> = codec::decode(payload).map_err(told)?;
        if record.stamp_ns < last_ns {
            return Err(format!(
                "record {place} is stamped before the one before it"
            ));
        }
        last_ns = record.stamp_ns;
        lines.push(Line { who, place, record });
        place += 1;
        rest = &rest[length..];
    }
    Ok(rest.is_empty())
}

/// What is known of a process while its records are read.
#[derive(Default)]
struct Life<'a> {
    /// Calls without a return.
    open: BTreeMap<u64, &'a [u8]>,
    /// Calls that returned without a reply.
    unanswered: BTreeSet<&'a [u8]>,
    /// The latest connection, and all that was written on it.
    link: u64,
    written: Vec<u8>,
    /// It was seen dead.
    is_dead: bool,
}

impl Life<'_> {
    /// What it had written whole, and had no reply to.
    fn last_writes(&self) -> Vec<Vec<u8>> {
        let open: BTreeSet<&[u8]> = self.open.values().copied().collect();
        let mut requests = whole_requests(&self.written);
        requests.retain(|request| {
            let request = request.as_slice();
            open.contains(request) || self.unanswered.contains(request)
        });
        requests
    }
}

/// Threads of one process have numbers below this.
const THREADS_MAX: usize = 1 << 16;

/// Puts a history together.
#[derive(Default)]
struct Assembly<'a> {
    history: History,
    tally: Tally,
    lives: BTreeMap<ProcessId, Life<'a>>,
}

fn assemble(lines: Vec<Line<'_>>, torn: &BTreeSet<Who>) -> Result<Recorded, String> {
    let mut assembly = Assembly::default();
    for line in lines {
        let Line { who, place, record } = line;
        assembly
            .add(who, record)
            .map_err(|what| format!("{who}, record {place}: {what}"))?;
    }
    let Assembly {
        mut history,
        mut tally,
        lives,
    } = assembly;
    forget_untold_deaths(&mut history);
    for entry in &history.entries {
        if let What::Died { status, .. } = entry.what {
            let whole = !torn.contains(&Who::Process(entry.process));
            let is_signal = status & 0x7f != 0;
            if !whole && !is_signal {
                let process = entry.process;
                return Err(format!("{process} ended by itself and left half a record"));
            }
        }
    }
    tally.torn = torn.len() as u64;
    tally.processes = lives.len() as u64;
    tally.commits = history.commits.len() as u64;
    let dead = |life: &Life<'_>| life.is_dead;
    Ok(Recorded {
        dead: (lives.iter())
            .filter_map(|(process, life)| dead(life).then_some(*process))
            .collect(),
        processes: lives.into_keys().collect(),
        history,
        tally,
    })
}

/// The keeper tells deaths in their order, and the server notes their ends in that order. Of deaths
/// behind the last that was noted it may not have heard: the end of the tree came first.
fn forget_untold_deaths(history: &mut History) {
    let told: BTreeSet<ProcessId> = (history.commits.iter()).flat_map(bound::ended_in).collect();
    let is_death = |entry: &Entry| matches!(entry.what, What::Died { .. });
    let deaths = history.entries.iter().filter(|entry| is_death(entry));
    let last = deaths
        .filter(|death| told.contains(&death.process))
        .map(|death| death.stamp)
        .max()
        .unwrap_or(0);
    history
        .entries
        .retain(|entry| !is_death(entry) || entry.stamp <= last);
}

impl<'a> Assembly<'a> {
    fn add(&mut self, who: Who, record: Record<'a>) -> Result<(), String> {
        let process = match (who, record.what) {
            (_, record::What::Dies(moment)) => {
                self.dies(who, moment);
                return Ok(());
            }
            (Who::Server, record::What::Committed(commit)) => {
                self.history.committed(commit.into());
                return Ok(());
            }
            (Who::Keeper, record::What::Died { process, status }) => {
                self.died(process, status);
                return Ok(());
            }
            (Who::Process(process), what) => {
                let thread = process.0 as usize * THREADS_MAX + record.thread as usize;
                return self.observed(process, thread, what);
            }
            (who, _) => who,
        };
        Err(format!("not for {process} to tell"))
    }

    fn observed(
        &mut self,
        process: ProcessId,
        thread: usize,
        what: record::What<'a>,
    ) -> Result<(), String> {
        let history = &mut self.history;
        let life = self.lives.entry(process).or_default();
        if std::mem::take(&mut life.is_dead) {
            let broken = Note::Broken {
                guarantee: BOUND,
                explanation: format!("its end was told, and then it went on: {what:02x?}"),
            };
            history.push(process, thread, What::Note(broken));
        }
        let what = match what {
            record::What::Called { call, request } => {
                life.open.insert(call, request);
                self.tally.calls += 1;
                What::Called {
                    call,
                    request: keep::<Request<'_>>(history, request, codec::decode)?,
                }
            }
            record::What::Returned { call, reply } => {
                life.open.remove(&call);
                What::Returned {
                    call,
                    reply: keep::<Reply<'_>>(history, reply, codec::decode)?,
                }
            }
            record::What::Unknown { call } => {
                life.unanswered.extend(life.open.remove(&call));
                What::Unknown { call }
            }
            record::What::NotSent { call } => {
                life.open.remove(&call);
                What::NotSent { call }
            }
            record::What::Updated { watch, update } => {
                self.tally.updates += 1;
                What::Updated {
                    watch,
                    update: keep::<Update<'_>>(history, update, codec::decode)?,
                }
            }
            record::What::Unwatched { watch } => What::Unwatched { watch },
            record::What::Unlocked { name, grant } => What::Unlocked {
                name: name.to_owned(),
                grant,
            },
            record::What::Released { lease } => What::Released { lease },
            record::What::Wrote { link, bytes } => {
                if life.link != link {
                    life.link = link;
                    life.written.clear();
                }
                life.written.extend_from_slice(bytes);
                return Ok(());
            }
            record::What::Note(note) => {
                What::Note(rmp_serde::from_slice(note).map_err(|error| error.to_string())?)
            }
            record::What::Committed(_) | record::What::Died { .. } | record::What::Dies(_) => {
                return Err("not for a process to tell".to_owned());
            }
        };
        history.push(process, thread, what);
        Ok(())
    }

    /// Somebody kills itself.
    fn dies(&mut self, who: Who, moment: Moment) {
        let name = match who {
            Who::Process(ProcessId::PROGRAM) => "program",
            Who::Process(_) => "child",
            Who::Server => "server",
            Who::Keeper => "keeper",
        };
        *self.tally.killed.entry(name).or_default() += 1;
        self.tally.killed_unheard += u64::from(moment == Moment::Unheard);
        if let Who::Process(process) = who {
            let life = self.lives.entry(process).or_default();
            self.tally.killed_in_flight += u64::from(!life.open.is_empty());
        }
    }

    fn died(&mut self, process: ProcessId, status: i32) {
        // One that has not come to its first record has a life, too.
        let life = self.lives.entry(process).or_default();
        life.is_dead = true;
        let unread = life.last_writes();
        self.tally.last_writes += unread.len() as u64;
        self.tally.ended_by_kill += u64::from(status & 0x7f == SIGKILL);
        let thread = process.0 as usize * THREADS_MAX;
        let died = What::Died { status, unread };
        self.history.push(process, thread, died);
    }
}

const SIGKILL: i32 = 9;

/// Keeps a message as it was recorded, if it is the one that it should be.
fn keep<'a, T>(
    history: &mut History,
    bytes: &'a [u8],
    decode: fn(&'a [u8]) -> Result<T, Malformed>,
) -> Result<Range<usize>, String> {
    decode(bytes).map_err(|Malformed(what)| what)?;
    Ok(history.keep(|arena| arena.extend_from_slice(bytes)))
}

/// A way to falsify a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tamper {
    /// A read gives another value.
    Value,
    /// A change set is left out.
    Commit,
    /// An update that a watch gave is left out.
    Update,
    /// A process dies after its end was told.
    Death,
    /// A process had written one more request before it died.
    LastWrite,
}

/// All of them.
pub const TAMPERS: [Tamper; 5] = [
    Tamper::Value,
    Tamper::Commit,
    Tamper::Update,
    Tamper::Death,
    Tamper::LastWrite,
];

/// Falsifies a history; false if there is nothing in it that it could be done to.
pub(crate) fn tamper(history: &mut History, how: Tamper) -> bool {
    let done = match how {
        Tamper::Value => change_value(history),
        Tamper::Commit => {
            let mut commits = history.commits.iter();
            let position = commits.position(|commit| commit.released.is_none());
            position.map(|position| drop(history.commits.remove(position)))
        }
        Tamper::Update => leave_out_update(history),
        Tamper::Death => {
            let mut entries = history.entries.iter();
            let position = entries.position(|entry| matches!(entry.what, What::Died { .. }));
            position.map(|position| {
                let mut death = history.entries.remove(position);
                death.stamp = history.next_stamp();
                history.entries.push(death);
            })
        }
        Tamper::LastWrite => {
            let mut entries = history.entries.iter_mut();
            entries.find_map(|entry| match &mut entry.what {
                What::Died { unread, .. } => {
                    unread.push(codec::to_bytes(&Request::Set {
                        namespace: "nowhere",
                        key: "k",
                        value: &[1],
                        owned: false,
                    }));
                    Some(())
                }
                _ => None,
            })
        }
    };
    done.is_some()
}

fn change_value(history: &mut History) -> Option<()> {
    let (position, changed) = (history.entries.iter().enumerate()).find_map(|(at, entry)| {
        let What::Returned { reply, .. } = &entry.what else {
            return None;
        };
        match history.reply(reply) {
            Reply::Value {
                revision,
                value: Some(value),
            } => {
                let mut value = value.to_vec();
                *value.last_mut()? ^= 1;
                let value = Some(value.as_slice());
                Some((at, codec::to_bytes(&Reply::Value { revision, value })))
            }
            _ => None,
        }
    })?;
    let kept = history.keep(|arena| arena.extend_from_slice(&changed));
    match &mut history.entries[position].what {
        What::Returned { reply, .. } => *reply = kept,
        _ => return None,
    }
    Some(())
}

/// Leaves out one with another behind it, or nobody could tell.
fn leave_out_update(history: &mut History) -> Option<()> {
    let mut seen = BTreeMap::new();
    let mut entries = history.entries.iter().enumerate();
    let position = entries.find_map(|(position, entry)| match entry.what {
        What::Updated { watch, .. } => seen.insert((entry.process, watch), position),
        _ => None,
    })?;
    history.entries.remove(position);
    Some(())
}

#[cfg(test)]
mod tests;
