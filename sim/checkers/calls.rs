//! The history's calls, each with its end.

use crate::history::{History, What};
use std::collections::BTreeMap;
use zproc::seam::proto::ids::{ProcessId, Revision};
use zproc::seam::proto::message::{Reply, Request};
use zproc::seam::proto::operations::Operation;

/// One call of a process.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) process: ProcessId,
    pub(crate) thread: usize,
    /// When it began, as a stamp.
    pub(crate) called: u64,
    pub(crate) request: Request<'a>,
    pub(crate) end: End<'a>,
}

/// How a call ended.
#[derive(Debug)]
pub(crate) enum End<'a> {
    /// It did not, or its process died first.
    Open,
    /// With a reply.
    Returned { stamp: u64, reply: Reply<'a> },
    /// Without one; it may have taken effect.
    Unknown,
    /// It took no effect.
    NotSent,
}

impl Call<'_> {
    /// Can it change the state?
    pub(crate) fn is_mutating(&self) -> bool {
        if let Request::Batch { operations, .. } = &self.request {
            return !operations.iter().all(Operation::is_read);
        }
        if let Request::Commit { parts, .. } = &self.request {
            // One of nothing gives a lease back.
            return !parts.is_empty();
        }
        matches!(
            self.request,
            Request::Set { .. }
                | Request::Remove { .. }
                | Request::GetOrInsert { .. }
                | Request::Clear { .. }
                | Request::Atomic { .. }
                | Request::Spawn { .. }
        )
    }

    /// The revision of the past that it asks for.
    pub(crate) fn at(&self) -> Option<Revision> {
        match self.request {
            Request::Get { at, .. } | Request::Len { at, .. } | Request::Page { at, .. } => at,
            _ => None,
        }
    }

    /// How it is named in an explanation.
    pub(crate) fn story(&self) -> String {
        let mut request = format!("{:?}", self.request);
        if let Some((end, _)) = request.char_indices().nth(160) {
            request.truncate(end);
        }
        format!(
            "process {} thread {}, called at {}: {request}",
            self.process, self.thread, self.called
        )
    }
}

/// All calls, in the order in which they were made.
#[derive(Debug)]
pub(crate) struct Calls<'a> {
    pub(crate) all: Vec<Call<'a>>,
}

impl<'a> Calls<'a> {
    pub(crate) fn of(history: &'a History) -> Calls<'a> {
        let mut all: Vec<Call<'a>> = Vec::new();
        let mut index: BTreeMap<(ProcessId, u64), usize> = BTreeMap::new();
        for entry in &history.entries {
            let (call, end) = match &entry.what {
                What::Called { call, request } => {
                    index.insert((entry.process, *call), all.len());
                    all.push(Call {
                        process: entry.process,
                        thread: entry.thread,
                        called: entry.stamp,
                        request: history.request(request),
                        end: End::Open,
                    });
                    continue;
                }
                What::Returned { call, reply } => (
                    call,
                    End::Returned {
                        stamp: entry.stamp,
                        reply: history.reply(reply),
                    },
                ),
                What::Unknown { call } => (call, End::Unknown),
                What::NotSent { call } => (call, End::NotSent),
                What::Updated { .. }
                | What::Unwatched { .. }
                | What::Unlocked { .. }
                | What::Released { .. }
                | What::Ran(_)
                | What::Died { .. }
                | What::Note(_)
                | What::Seen(_) => continue,
            };
            if let Some(index) = index.get(&(entry.process, *call)) {
                all[*index].end = end;
            }
        }
        Calls { all }
    }
}
