//! The requests that are unanswered.

use crate::proto::ids::{Seq, WatchId};
use crate::proto::message::Request;
use crate::proto::operations::Operation;
use crate::proto::planted::{self, Bug};

/// Why a request was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubmitError {
    /// As many as may be are unanswered, or their replies may take all the room there is for them. One
    /// that is answered makes room.
    Full,
    /// It does not fit a frame.
    TooLarge {
        /// Its bytes.
        actual: u64,
        /// The most there may be.
        max: u64,
    },
    /// The client has ended.
    Ended,
}

/// Why there is no reply, and never will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The session was lost after the request had been sent: it was applied once, or not at all.
    OutcomeUnknown,
    /// The session was lost, and the request had no effect.
    SessionLost,
}

/// What a request that its caller has given up may have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// None, and it will have none.
    None,
    /// It may have taken effect, or may yet do so.
    Unknown,
}

/// What giving up on a request, or losing it, means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Has no effect.
    Read,
    /// Has an effect, once.
    Mutating,
    /// Occupies the server until it is cancelled.
    Wait,
    /// Begins a watch.
    Watch(WatchId),
}

impl Kind {
    pub(super) fn of(request: &Request<'_>) -> Kind {
        match request {
            Request::GetOrInsert { .. } if planted::is(Bug::InsertIsARead) => Kind::Read,
            Request::Ping
            | Request::Get { .. }
            | Request::Len { .. }
            | Request::Page { .. }
            | Request::Updates { .. }
            | Request::Unwatch { .. }
            | Request::Dump
            // Nothing comes of a part alone.
            | Request::Part { .. }
            | Request::Fetch { .. }
            | Request::Forget { .. }
            // Nobody waits for it, and what is lost with its session is free anyway.
            | Request::Unlock { .. }
            // Asked twice, it is told the same.
            | Request::Begin => Kind::Read,
            Request::Batch { operations, .. } if operations.iter().all(Operation::is_read) => {
                Kind::Read
            }
            Request::Set { .. }
            | Request::Batch { .. }
            | Request::Remove { .. }
            | Request::GetOrInsert { .. }
            | Request::Clear { .. }
            | Request::Commit { .. }
            | Request::Atomic { .. }
            | Request::Spawn { .. }
            | Request::Finish { .. }
            | Request::Stop { .. }
            | Request::Kill { .. }
            | Request::ToRoot { .. } => Kind::Mutating,
            // A grant that nobody waits for any more is taken back.
            Request::Wait { .. } | Request::Lock { .. } | Request::Lease { .. } => Kind::Wait,
            Request::Watch { watch, .. } => Kind::Watch(*watch),
        }
    }
}

/// What a request takes of the window until it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// The most that its reply may take of the room for replies.
    pub reply_bytes: usize,
    /// It may stay unanswered until something comes true.
    pub waits: bool,
}

/// What is left of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// So many more requests.
    pub requests: usize,
    /// So many of them may be waits.
    pub waits: usize,
    /// So many more bytes of the replies that the server keeps.
    pub reply_bytes: usize,
}

impl Room {
    /// Takes what a request needs, if there is so much.
    pub fn take(&mut self, need: Need) -> bool {
        let waits = usize::from(need.waits && !planted::is(Bug::WaitsTakeAllRoom));
        let fits = self.requests > 0 && waits <= self.waits && need.reply_bytes <= self.reply_bytes;
        if fits {
            self.requests -= 1;
            self.waits -= waits;
            self.reply_bytes -= need.reply_bytes;
        }
        fits
    }
}

/// One request.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) seq: Seq,
    /// As it goes out, prefix included; later the buffer of its reply.
    pub(super) frame: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) need: Need,
    /// It was handed to a connection once, this one or one before: the server may know it.
    pub(super) sent: bool,
    /// Nobody waits for the reply.
    pub(super) abandoned: bool,
}

/// Sorted by number. New ones come at the end and most are answered soon, so that a vector is
/// searched and closed up faster than a tree allocates its nodes; the window bounds it.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: Vec<Call>,
    /// Invariant: the sum over all.
    reply_bytes: usize,
    /// Invariant: how many of them may wait.
    waits: usize,
}

impl Calls {
    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// The most that all their replies may take.
    pub(super) fn reply_bytes(&self) -> usize {
        self.reply_bytes
    }

    /// How many of them may wait for something.
    pub(super) fn waits(&self) -> usize {
        self.waits
    }

    /// Appends a call with a number above all others.
    pub(super) fn push(&mut self, call: Call) {
        debug_assert!(self.calls.last().is_none_or(|last| last.seq < call.seq));
        self.reply_bytes += call.need.reply_bytes;
        self.waits += usize::from(call.need.waits);
        self.calls.push(call);
    }

    fn position(&self, seq: Seq) -> Option<usize> {
        self.calls.binary_search_by_key(&seq, |call| call.seq).ok()
    }

    pub(super) fn get_mut(&mut self, seq: Seq) -> Option<&mut Call> {
        self.position(seq).map(|position| &mut self.calls[position])
    }

    pub(super) fn remove(&mut self, seq: Seq) -> Option<Call> {
        let position = self.position(seq)?;
        let call = self.calls.remove(position);
        self.reply_bytes -= call.need.reply_bytes;
        let keeps = call.abandoned && planted::is(Bug::PlaceOfWaitLost);
        self.waits -= usize::from(call.need.waits && !keeps);
        Some(call)
    }

    /// Is there one with this number or a later one?
    pub(super) fn any_from(&self, seq: Seq) -> bool {
        self.calls.last().is_some_and(|last| last.seq >= seq)
    }

    /// Those with this number or a later one, in order.
    pub(super) fn from(&mut self, seq: Seq) -> impl Iterator<Item = &mut Call> {
        let start = self.calls.partition_point(|call| call.seq < seq);
        self.calls[start..].iter_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter()
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Call> + '_ {
        (self.reply_bytes, self.waits) = (0, 0);
        self.calls.drain(..)
    }
}
