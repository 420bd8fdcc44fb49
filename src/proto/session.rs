//! A session: what the server remembers of one client over all its connections.
//!
//! It holds the replies that the client has not acknowledged, so that a request that comes twice is
//! answered twice and applied once, and the cursors of its watches. The idea is TigerBeetle's
//! (`docs/reference/sessions.md`) and that of RIFL (Lee et al., SOSP 2015).

use super::ids::{
    ConnectionId, LeaseId, PartsId, ProcessId, Revision, Seq, SessionId, Token, WatchId,
};
use super::interest::{Interest, ReadSet};
use super::limits::{FAILURE_BYTES_MAX, Limits};
use super::locks::Name;
use super::marks::{self, Mark};
use super::message::{Condition, Request, WatchPosition};
use super::operations::Operation;
use super::planted::{self, Bug};
use super::store::Namespace;
use super::time::Time;
use super::value::Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// What a watch or a wait costs besides what it is for.
const INTEREST_OVERHEAD_BYTES: usize = 256;

/// A watch: a cursor into the update log. Its size does not depend on how far it lags.
#[derive(Debug)]
pub struct Cursor {
    /// The namespace watched.
    pub namespace: Namespace,
    /// What of it.
    pub interest: Interest,
    /// The first revision wanted.
    pub start: Revision,
    /// Where to look on in the log. `None`: caught up, which is to be at the head by definition.
    pub next: Option<Revision>,
    /// The last revision of interest that the log has dropped. What the cursor still needs is gone
    /// if and only if this is at or past it.
    pub dropped: Revision,
    /// All bytes that the client has granted.
    pub granted: u64,
    /// All bytes of updates sent.
    pub sent: u64,
    /// The client knows, or is being told, that the watch has begun. It takes no update before.
    pub announced: bool,
    /// The wait that it feeds, if it does: for those who ask who waits for what.
    pub feeds: Option<Fed>,
    /// When it began.
    pub since: Time,
    /// The last update that was sent: its revision, and when that was written.
    pub last: Option<(Revision, Time)>,
}

/// A wait whose condition is tested where it waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fed {
    /// As in a [`Feeds`](super::message::Feeds).
    pub wait: u64,
    /// Its condition.
    pub function: String,
    /// When it began.
    pub since: Time,
}

impl Cursor {
    /// What it costs to keep, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let fed = self.feeds.as_ref().map_or(0, |fed| fed.function.len());
        INTEREST_OVERHEAD_BYTES + self.namespace.len() + self.interest.bytes() + fed
    }

    /// Is what comes next no longer in the log?
    #[must_use]
    pub fn is_compacted(&self) -> bool {
        self.next.is_some_and(|next| self.dropped >= next)
    }

    /// Goes back to what the client has seen; what was sent after it is lost.
    fn rewind(&mut self, next: Revision, granted: u64, received: u64) {
        self.granted = self.granted.max(granted);
        // More than was sent can't have come: a peer that says so is taken at its word for no sum.
        if received >= self.sent || planted::is(Bug::ResumeAtServerCursor) {
            marks::reached(Mark::WatchNotRewound);
            return;
        }
        self.sent = received;
        self.next = Some(next);
        marks::reached(Mark::WatchRewound);
        marks::reached_if(self.is_compacted(), Mark::WatchCompactedAfterResume);
    }
}

/// What a wait waits for.
#[derive(Debug)]
pub enum WaitKind {
    /// A function of the program.
    Function {
        /// As in a `FunctionRef`.
        offset: i64,
        /// As in a `FunctionRef`.
        name: String,
        /// Its argument.
        args: Vec<u8>,
    },
    /// This value under this key.
    Equal {
        /// The key.
        key: String,
        /// As it was sent.
        value: Vec<u8>,
        /// By which it is compared: it is gone over once, however often it is tested.
        digest: Option<Digest>,
    },
    /// Something that holds for a key.
    Key {
        /// The key.
        key: String,
        /// The encoded [`Test`](super::operations::Test).
        test: Vec<u8>,
        /// Of the value in it.
        digest: Option<Digest>,
    },
    /// The end of a process.
    Ended(ProcessId),
    /// A change of keys.
    Changed {
        /// Which.
        interest: Interest,
        /// Later than this revision.
        after: Revision,
        /// By another than who waits.
        skip_own: bool,
    },
    /// A lock.
    Lock {
        /// Its name.
        name: Name,
        /// Its place in the queue.
        ticket: u64,
    },
    /// Its turn to have a lease.
    Lease {
        /// Its number.
        lease: LeaseId,
        /// The transaction's function.
        function: Box<str>,
    },
}

/// A wait that is not answered yet.
#[derive(Debug)]
pub struct Wait {
    /// The namespace it is about.
    pub namespace: Namespace,
    /// Its condition.
    pub kind: WaitKind,
    /// What the condition read when it was last tested: it is tested again when that changes.
    pub reads: ReadSet,
    /// How often the condition was tested.
    pub tests: u64,
    /// When it began.
    pub since: Time,
}

impl Wait {
    /// What it costs to keep, roughly; what its condition has read is bounded apart from this.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let kind = match &self.kind {
            // Noted with the process, too; it is never refused.
            WaitKind::Ended(_) => return 0,
            // Counted with the lease, which outlasts it.
            WaitKind::Lease { .. } => return 0,
            // Bounded by the number of locks.
            WaitKind::Lock { .. } => return 0,
            WaitKind::Function { name, args, .. } => name.len() + args.len(),
            WaitKind::Equal { key, value, .. } => key.len() + value.len(),
            WaitKind::Key { key, test, .. } => key.len() + test.len(),
            WaitKind::Changed { interest, .. } => interest.bytes(),
        };
        INTEREST_OVERHEAD_BYTES + self.namespace.len() + kind
    }
}

/// What has come of something that comes in parts.
#[derive(Debug)]
pub struct Upload {
    /// How long it is to be; so much is counted for it.
    pub size: usize,
    /// What is there.
    pub bytes: Vec<u8>,
}

/// A reply that is kept, framed.
#[derive(Debug)]
struct Kept {
    frame: Vec<u8>,
    is_answer: bool,
}

/// What is to be done with a request that has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It is new: apply it.
    New,
    /// It was answered before: send this again.
    Answered(Vec<u8>),
    /// It is a wait that still waits.
    Pending,
    /// It was applied or can't be: the client breaks the rules.
    Violation(&'static str),
}

/// See the module's docs.
#[derive(Debug)]
pub struct Session {
    /// Its name.
    pub id: SessionId,
    /// Who shows this may go on with it.
    pub token: Token,
    /// The process it belongs to.
    pub process: ProcessId,
    /// The connection it has now.
    pub connection: Option<ConnectionId>,
    /// Since when it has none.
    pub detached_at: Option<Time>,
    highest: Seq,
    replies: BTreeMap<Seq, Kept>,
    replies_bytes: usize,
    /// The same of waits. They come when they come, so they have room of their own: what a client
    /// counts on for its other requests is there.
    answers_bytes: usize,
    in_flight_max: usize,
    replies_bytes_max: usize,
    /// Invariant: the sum of what `waits`, `watches` and `leases` cost.
    pub interests_bytes: usize,
    /// Waits by the number of their request.
    pub waits: BTreeMap<Seq, Wait>,
    /// Leases, held or queued for, and what each costs.
    pub leases: BTreeMap<LeaseId, usize>,
    /// Waits for processes that have ended, whose answers there was no room to keep yet.
    pub held: BTreeSet<Seq>,
    /// Watches by their name.
    pub watches: BTreeMap<WatchId, Cursor>,
    /// What has come in parts, and has not been named by any request.
    pub uploads: BTreeMap<PartsId, Upload>,
    /// Watches that lag and have credit.
    pub ready: BTreeSet<WatchId>,
    /// The watch served last: the next turn begins behind it.
    served_last: WatchId,
}

impl Session {
    /// A session that nothing has been asked of yet.
    #[must_use]
    pub fn new(
        id: SessionId,
        token: Token,
        process: ProcessId,
        connection: ConnectionId,
        limits: &Limits,
    ) -> Self {
        Session {
            id,
            token,
            process,
            connection: Some(connection),
            detached_at: None,
            highest: Seq(0),
            replies: BTreeMap::new(),
            replies_bytes: 0,
            answers_bytes: 0,
            in_flight_max: limits.in_flight_max,
            replies_bytes_max: limits.replies_bytes_max,
            interests_bytes: 0,
            waits: BTreeMap::new(),
            leases: BTreeMap::new(),
            held: BTreeSet::new(),
            watches: BTreeMap::new(),
            uploads: BTreeMap::new(),
            ready: BTreeSet::new(),
            served_last: WatchId(0),
        }
    }

    /// The next watch to serve: in turn, or the first again.
    pub fn next_ready(&mut self, out_of_turn: bool) -> Option<WatchId> {
        if out_of_turn {
            self.served_last = WatchId(0);
        }
        let behind = (Bound::Excluded(self.served_last), Bound::Unbounded);
        let next = self.ready.range(behind).next().or(self.ready.first());
        if let Some(next) = next {
            self.served_last = *next;
        }
        next.copied()
    }

    /// True until the first request.
    #[must_use]
    pub fn is_unused(&self) -> bool {
        self.highest == Seq(0)
    }

    /// Bytes of the replies that wait to be acknowledged, but for those to waits.
    #[must_use]
    pub fn replies_bytes(&self) -> usize {
        self.replies_bytes
    }

    /// Bytes of the replies to waits that wait to be acknowledged.
    #[must_use]
    pub fn answers_bytes(&self) -> usize {
        self.answers_bytes
    }

    /// May the answer to a wait, of this size, be kept?
    #[must_use]
    pub fn has_room_for_answer(&self, bytes: usize) -> bool {
        self.answers_bytes + bytes <= self.replies_bytes_max
    }

    /// May a reply of this size be kept? What each reply takes besides comes on top.
    #[must_use]
    pub fn has_room(&self, reply_bytes: usize) -> bool {
        let words = self.in_flight_max.saturating_mul(REPLY_OVERHEAD_BYTES);
        let max = self.replies_bytes_max.saturating_add(words);
        self.replies_bytes + reply_bytes <= max
    }

    /// The client has these replies.
    pub fn acknowledge(&mut self, acks: &[Seq]) {
        for seq in acks {
            if let Some(reply) = self.replies.remove(seq) {
                self.let_go(&reply);
            }
        }
    }

    fn let_go(&mut self, reply: &Kept) {
        match reply.is_answer {
            true => self.answers_bytes -= reply.frame.len(),
            false => self.replies_bytes -= reply.frame.len(),
        }
    }

    /// A request has come: is it new?
    pub fn arrive(&mut self, seq: Seq, is_read: bool) -> Arrival {
        if seq > self.highest {
            let waits = if planted::is(Bug::WaitsNotInFlight) {
                0
            } else {
                self.waits.len()
            };
            if self.replies.len() + waits >= self.in_flight_max {
                return Arrival::Violation("more requests in flight than IN_FLIGHT_MAX");
            }
            self.highest = seq;
            return Arrival::New;
        }
        if planted::is(Bug::RetryAppliedTwice) && !self.waits.contains_key(&seq) {
            return Arrival::New;
        }
        if let Some(reply) = self.replies.get(&seq) {
            Arrival::Answered(reply.frame.clone())
        } else if self.waits.contains_key(&seq) {
            Arrival::Pending
        } else if is_read {
            // Its reply was lost and is not kept: to read again is as good.
            marks::reached(Mark::RetryReadAgain);
            Arrival::New
        } else {
            Arrival::Violation("a request that was acknowledged came again")
        }
    }

    /// Keeps a reply until it is acknowledged; `is_answer` if it is that to a wait.
    pub fn retain(&mut self, seq: Seq, frame: Vec<u8>, is_answer: bool) {
        match is_answer {
            true => self.answers_bytes += frame.len(),
            false => self.replies_bytes += frame.len(),
        }
        if let Some(old) = self.replies.insert(seq, Kept { frame, is_answer }) {
            self.let_go(&old);
        }
    }

    /// The reply that is kept under the highest number.
    #[must_use]
    pub fn last_reply(&self) -> Option<&Vec<u8>> {
        self.replies.values().next_back().map(|kept| &kept.frame)
    }

    /// Puts the watches where the client is, after a connection was lost. Gives those that the
    /// client believes in and that are not here.
    pub fn rewind(&mut self, positions: &[WatchPosition]) -> Vec<WatchId> {
        let listed: BTreeMap<WatchId, &WatchPosition> =
            positions.iter().map(|at| (at.watch, at)).collect();
        for (id, cursor) in &mut self.watches {
            match listed.get(id) {
                Some(at) => cursor.rewind(at.next, at.granted, at.received),
                // The client has not heard that the watch began, so it has seen nothing of it, and
                // its request will come again: until that is answered it gets no updates.
                None => {
                    cursor.announced = false;
                    marks::reached(Mark::WatchUnheardOf);
                    cursor.rewind(cursor.start, 0, 0);
                }
            }
            if cursor.next.is_some() && !planted::is(Bug::ResumedWatchNotReady) {
                self.ready.insert(*id);
            }
        }
        let unknown = |id: &&WatchId| !self.watches.contains_key(id);
        listed.keys().filter(unknown).copied().collect()
    }

    /// Requests that wait or whose replies are kept, and the bytes of those, counted anew.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        let bytes = self.replies.values().map(|kept| kept.frame.len()).sum();
        (self.replies.len() + self.waits.len(), bytes)
    }

    /// What watches, waits and leases cost, counted anew.
    #[must_use]
    pub fn count_interests(&self) -> usize {
        let watches = self.watches.values().map(Cursor::bytes);
        let waits = self.waits.values().map(Wait::bytes);
        watches
            .chain(waits)
            .chain(self.leases.values().copied())
            .sum()
    }

    /// Checks what must always hold: in tests and debug builds.
    ///
    /// # Panics
    /// When it does not.
    pub fn invariants(&self) {
        assert!(self.connection.is_some() != self.detached_at.is_some());
        assert!(self.replies.len() + self.waits.len() <= self.in_flight_max);
        assert_eq!(self.interests_bytes, self.count_interests());
        assert!(self.ready.iter().all(|id| self.watches.contains_key(id)));
        let bytes = |is_answer| -> usize {
            let kept = self
                .replies
                .values()
                .filter(|kept| kept.is_answer == is_answer);
            kept.map(|kept| kept.frame.len()).sum()
        };
        assert_eq!(self.replies_bytes, bytes(false));
        assert_eq!(self.answers_bytes, bytes(true));
        assert!(self.held.iter().all(|seq| self.waits.contains_key(seq)));
        assert!(self.replies.keys().all(|seq| *seq <= self.highest));
        assert!(self.waits.keys().all(|seq| *seq <= self.highest));
    }
}

/// The most bytes that the reply to a request may take as long as it is kept, where that is more than a
/// few words. Waits are not asked: nobody knows when they are answered.
#[must_use]
pub fn reply_bytes_max(request: &Request<'_>, value_bytes_max: usize) -> usize {
    // A value, or why there is none.
    let most = value_bytes_max.max(FAILURE_BYTES_MAX);
    match request {
        Request::Batch { operations, .. } if !is_read(request) => {
            most + operations.len() * TOLD_BYTES
        }
        Request::Remove { .. } | Request::GetOrInsert { .. } | Request::Atomic { .. } => most,
        _ => 0,
    }
}

/// What a reply of a few words takes, or one with a value besides that.
const REPLY_OVERHEAD_BYTES: usize = 128;

/// What the reply to a batch takes for each operation beside the values in it.
const TOLD_BYTES: usize = 24;

/// May the request stay unanswered until something comes true?
#[must_use]
pub fn may_wait(request: &Request<'_>) -> bool {
    match request {
        Request::Wait { condition, .. } => {
            !matches!(condition, Condition::Changed { waits: false, .. })
        }
        Request::Lock { waits, .. } => *waits,
        Request::Lease { .. } => true,
        _ => false,
    }
}

/// Does the request change nothing, so that it may be done again instead of being remembered?
#[must_use]
pub fn is_read(request: &Request<'_>) -> bool {
    if let Request::Batch { operations, .. } = request {
        return operations.iter().all(Operation::is_read);
    }
    if matches!(request, Request::Commit { .. }) && planted::is(Bug::CommitIsARead) {
        return true;
    }
    matches!(
        request,
        Request::Ping
            | Request::Get { .. }
            | Request::Len { .. }
            | Request::Page { .. }
            | Request::Updates { .. }
            | Request::Fetch { .. }
            | Request::Dump
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::limits::IN_FLIGHT_MAX;

    fn session() -> Session {
        let (id, process, connection) = (SessionId(1), ProcessId(3), ConnectionId(4));
        Session::new(id, Token([1, 2]), process, connection, &Limits::USUAL)
    }

    #[test]
    fn a_retry_is_answered_not_applied() {
        let mut session = session();
        assert_eq!(session.arrive(Seq(1), false), Arrival::New);
        session.retain(Seq(1), vec![9], false);
        assert_eq!(session.arrive(Seq(1), false), Arrival::Answered(vec![9]));
        session.acknowledge(&[Seq(1)]);
        assert!(matches!(
            session.arrive(Seq(1), false),
            Arrival::Violation(_)
        ));
        session.invariants();
    }

    #[test]
    fn a_read_is_read_again() {
        let mut session = session();
        assert_eq!(session.arrive(Seq(5), true), Arrival::New);
        assert_eq!(session.arrive(Seq(5), true), Arrival::New);
    }

    #[test]
    fn the_window_at_and_over_its_limit() {
        let mut session = session();
        for seq in 1..=IN_FLIGHT_MAX as u64 {
            assert_eq!(session.arrive(Seq(seq), false), Arrival::New);
            session.retain(Seq(seq), vec![0], false);
        }
        session.invariants();
        let next = Seq(IN_FLIGHT_MAX as u64 + 1);
        assert!(matches!(session.arrive(next, false), Arrival::Violation(_)));
        session.acknowledge(&[Seq(1)]);
        assert_eq!(session.arrive(next, false), Arrival::New);
    }

    #[test]
    fn a_watch_goes_back_only_if_something_was_lost() {
        let mut session = session();
        let cursor = Cursor {
            namespace: "n".into(),
            interest: Interest::Key("k".into()),
            start: Revision(3),
            next: None,
            dropped: Revision(8),
            granted: 100,
            sent: 40,
            announced: true,
            feeds: None,
            since: Time(0),
            last: None,
        };
        session.interests_bytes = cursor.bytes();
        session.watches.insert(WatchId(1), cursor);
        let position = |received| WatchPosition {
            watch: WatchId(1),
            next: Revision(7),
            granted: 120,
            received,
        };
        // All was received: the client's old position does not matter, nothing is missing.
        assert!(session.rewind(&[position(40)]).is_empty());
        assert!(session.ready.is_empty());
        assert_eq!(session.watches[&WatchId(1)].next, None);
        assert!(!session.watches[&WatchId(1)].is_compacted());
        // Something sent was lost, and revision 8 is dropped.
        assert!(session.rewind(&[position(30)]).is_empty());
        assert_eq!(session.watches[&WatchId(1)].next, Some(Revision(7)));
        assert!(session.watches[&WatchId(1)].is_compacted());
        assert_eq!(session.watches[&WatchId(1)].granted, 120);
    }

    #[test]
    fn unused_until_the_first_request() {
        let mut session = session();
        assert!(session.is_unused());
        assert_eq!(session.arrive(Seq(1), true), Arrival::New);
        assert!(!session.is_unused());
    }

    #[test]
    fn the_room_for_replies_at_and_over_its_limit() {
        let mut session = session();
        assert_eq!(session.arrive(Seq(1), false), Arrival::New);
        session.retain(Seq(1), vec![0; 7], false);
        // Another reply to the same request takes the place of the first.
        session.retain(Seq(1), vec![0; 3], false);
        session.invariants();
        assert_eq!(session.replies_bytes(), 3);
        let words = IN_FLIGHT_MAX * REPLY_OVERHEAD_BYTES;
        let room = Limits::USUAL.replies_bytes_max + words - 3;
        assert!(session.has_room(room));
        assert!(!session.has_room(room + 1));
    }

    #[test]
    fn what_is_kept_and_what_waits_are_counted() {
        let mut session = session();
        session.retain(Seq(1), vec![0; 3], false);
        for seq in 2..4 {
            let wait = Wait {
                namespace: "n".into(),
                kind: WaitKind::Ended(ProcessId(9)),
                reads: ReadSet::default(),
                tests: 0,
                since: Time(1),
            };
            session.waits.insert(Seq(seq), wait);
        }
        assert_eq!(session.count(), (3, 3));
    }

    #[test]
    #[should_panic(expected = "self.held.iter()")]
    fn a_held_answer_without_its_wait_is_noticed() {
        let mut session = session();
        session.held.insert(Seq(1));
        session.invariants();
    }

    #[test]
    fn what_changes_nothing_is_a_read() {
        let (namespace, key, at) = ("n", "k", None);
        assert!(is_read(&Request::Get { namespace, key, at }));
        assert!(is_read(&Request::Ping));
        assert!(!is_read(&Request::Remove { namespace, key }));
        assert!(!is_read(&Request::Begin), "a task is given away once");
    }
}
