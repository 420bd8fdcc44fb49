//! What was observed: every call and its return, every update, and the server's own commits, each
//! with a stamp from one counter, so that "returned before it was called" is a comparison.

use crate::checkers::here::RanHere;
use crate::checkers::{self, Guarantee};
use crate::seen::Seen;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use zproc::seam::proto::codec;
use zproc::seam::proto::ids::{LeaseId, ProcessId, Revision};
use zproc::seam::proto::message::{Reply, Request, Update};
use zproc::seam::proto::server::Commit;
use zproc::seam::runtime::Observation;

/// One thing that was observed.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Its place among all that was observed.
    pub(crate) stamp: u64,
    /// The process concerned.
    pub(crate) process: ProcessId,
    /// Its thread.
    pub(crate) thread: usize,
    /// What it was.
    pub(crate) what: What,
}

/// What can be observed of a process. Messages are kept encoded, in the history's arena.
#[derive(Debug, Clone)]
pub(crate) enum What {
    /// A call began.
    Called { call: u64, request: Range<usize> },
    /// It returned with a reply.
    Returned { call: u64, reply: Range<usize> },
    /// It returned, and whether it took effect is not known.
    Unknown { call: u64 },
    /// It returned, and took no effect.
    NotSent { call: u64 },
    /// A watch gave an update.
    Updated { watch: u64, update: Range<usize> },
    /// The user of a watch has ended it.
    Unwatched { watch: u64 },
    /// The holder of a lock, granted at this revision, gives it back.
    Unlocked { name: String, grant: Revision },
    /// A transaction gives a lease back.
    Released { lease: LeaseId },
    /// An atomic function has run in its caller.
    Ran(RanHere),
    /// The process's memory is gone. `status` as `wait4` gives it; `unread`: requests of its that
    /// are known to have lain, whole, in its connection.
    Died { status: i32, unread: Vec<Vec<u8>> },
    /// A workload says what it has seen.
    Note(Note),
    /// The engine, or a peer that it has made, says what it has seen.
    Seen(Seen),
}

/// What a tree can lose, besides its processes and its program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Lost {
    /// The server was killed, or ended for want of a keeper.
    Server,
    /// The keeper was killed.
    Keeper,
}

/// What a transaction has seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Looked {
    /// What a key held: namespace, key and number.
    Key(String, String, Option<i64>),
    /// What the keys held that start so: namespace, prefix, and the entries.
    Span(String, String, Vec<(String, i64)>),
}

/// What a workload says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Note {
    /// It took a snapshot: these were the entries.
    Snapshot {
        /// Of this namespace.
        namespace: String,
        /// At this revision.
        revision: Revision,
        /// Key and value, as stored.
        entries: Vec<(String, Vec<u8>)>,
    },
    /// The watch that this thread has begun last ended: the log no longer holds what it needs.
    Compacted {
        /// The oldest revision held, as the watch was told.
        oldest: Revision,
    },
    /// This thread looks no more at the watch that it has begun last.
    Idle,
    /// Not a workload's word but the engine's: from here on there is no server, or no keeper.
    Lost(Lost),
    /// Its transaction has come to its end, and this is what its last run had read.
    Transacted {
        /// What it read, as far as it is not what it wrote.
        reads: Vec<Looked>,
        /// It has written something.
        wrote: bool,
    },
    /// An invariant of the workload does not hold.
    Broken {
        /// The guarantee that says it should.
        #[serde(deserialize_with = "checkers::known_guarantee")]
        guarantee: Guarantee,
        /// What is wrong.
        explanation: String,
    },
}

/// One commit, as the server logged it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committed {
    /// Its place among all that was observed.
    pub(crate) stamp: u64,
    /// Its revision.
    pub(crate) revision: Revision,
    /// Who asked.
    pub(crate) process: ProcessId,
    /// By which function.
    pub(crate) function: Option<String>,
    /// Set on a release: how the process ended.
    pub(crate) released: Option<String>,
    /// A release while the server held a connection of the process.
    pub(crate) attached: bool,
    /// What changed.
    pub(crate) changes: Vec<Changed>,
    /// Namespaces whose changes were too many to list.
    pub(crate) resets: Vec<String>,
    /// What these hold now.
    pub(crate) refilled: Vec<Changed>,
}

/// One key of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Changed {
    /// The key's namespace.
    pub(crate) namespace: String,
    /// The key.
    pub(crate) key: String,
    /// Its value before.
    pub(crate) before: Option<Vec<u8>>,
    /// Its value after.
    pub(crate) after: Option<Vec<u8>>,
}

impl From<Commit> for Committed {
    /// With its stamp still to come.
    fn from(commit: Commit) -> Committed {
        Committed {
            stamp: 0,
            attached: false,
            revision: commit.revision,
            process: commit.process,
            function: commit.function,
            released: commit.released,
            changes: (commit.changes.into_iter())
                .map(|(namespace, key, before, after)| Changed {
                    namespace,
                    key,
                    before,
                    after,
                })
                .collect(),
            resets: commit.resets,
            refilled: (commit.refilled.into_iter())
                .map(|(namespace, key, value)| Changed {
                    namespace,
                    key,
                    before: None,
                    after: Some(value),
                })
                .collect(),
        }
    }
}

/// All that was observed in one run.
#[derive(Debug, Default, Clone)]
pub(crate) struct History {
    stamp: u64,
    arena: Vec<u8>,
    /// What processes saw, in order.
    pub(crate) entries: Vec<Entry>,
    /// What the server did, in order.
    pub(crate) commits: Vec<Committed>,
}

impl History {
    /// The next stamp.
    pub(crate) fn next_stamp(&mut self) -> u64 {
        self.stamp += 1;
        self.stamp
    }

    /// Adds what a process saw.
    pub(crate) fn push(&mut self, process: ProcessId, thread: usize, what: What) {
        let stamp = self.next_stamp();
        self.entries.push(Entry {
            stamp,
            process,
            thread,
            what,
        });
    }

    /// Adds what the port was told.
    pub(crate) fn observe(
        &mut self,
        process: ProcessId,
        thread: usize,
        observation: &Observation<'_>,
    ) {
        let what = match observation {
            Observation::Called { call, request } => What::Called {
                call: *call,
                request: self.keep(|arena| codec::encode(*request, arena)),
            },
            Observation::Returned { call, reply } => What::Returned {
                call: *call,
                reply: self.keep(|arena| codec::encode(*reply, arena)),
            },
            Observation::Unwatched { watch } => What::Unwatched { watch: *watch },
            Observation::Unlocked { name, grant } => What::Unlocked {
                name: (*name).to_owned(),
                grant: *grant,
            },
            Observation::Released { lease } => What::Released { lease: *lease },
            Observation::Ran(ran) => What::Ran(RanHere {
                namespace: ran.namespace.to_owned(),
                function: ran.function.to_owned(),
                args: ran.args.to_vec(),
                returned: ran.returned.map(<[u8]>::to_vec),
            }),
            Observation::Unknown { call } => What::Unknown { call: *call },
            Observation::NotSent { call } => What::NotSent { call: *call },
            Observation::Updated { watch, update } => What::Updated {
                watch: *watch,
                update: self.keep(|arena| codec::encode(*update, arena)),
            },
        };
        self.push(process, thread, what);
    }

    /// Adds a commit.
    pub(crate) fn committed(&mut self, mut commit: Committed) {
        commit.stamp = self.next_stamp();
        self.commits.push(commit);
    }

    /// Keeps a message in the arena.
    pub(crate) fn keep(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
        let start = self.arena.len();
        write(&mut self.arena);
        start..self.arena.len()
    }

    /// The request at `range`.
    #[must_use]
    pub(crate) fn request(&self, range: &Range<usize>) -> Request<'_> {
        codec::decode(&self.arena[range.clone()]).expect("it was encoded by this history")
    }

    /// The reply at `range`.
    #[must_use]
    pub(crate) fn reply(&self, range: &Range<usize>) -> Reply<'_> {
        codec::decode(&self.arena[range.clone()]).expect("it was encoded by this history")
    }

    /// The update at `range`.
    #[must_use]
    pub(crate) fn update(&self, range: &Range<usize>) -> Update<'_> {
        codec::decode(&self.arena[range.clone()]).expect("it was encoded by this history")
    }
}

/// The revision that a reply tells, if it tells one.
#[must_use]
pub(crate) fn revision_of(reply: &Reply<'_>) -> Option<Revision> {
    match reply {
        Reply::Done { revision }
        | Reply::Value { revision, .. }
        | Reply::Count { revision, .. }
        | Reply::Page { revision, .. }
        | Reply::Updates { revision, .. }
        | Reply::Written { revision, .. }
        | Reply::Batched { revision, .. }
        | Reply::Returned { revision, .. }
        | Reply::Locked { revision, .. }
        | Reply::Changed { revision, .. }
        | Reply::Spawned { revision, .. }
        | Reply::Ended { revision, .. }
        | Reply::Failed { revision, .. } => Some(*revision),
        Reply::Dump(dump) => Some(dump.revision),
        Reply::Watching { .. }
        | Reply::Compacted { .. }
        | Reply::Task { .. }
        | Reply::Part { .. } => None,
    }
}
