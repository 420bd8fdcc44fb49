//! The client's side of a session, as a machine: requests in, frames out; bytes in, replies out.
//!
//! # The grammar
//!
//! [`deadline`](Client::deadline) says when to open a connection (or when to give up on one that
//! does not say welcome). The caller opens it and says [`connected`](Client::connected), or
//! [`connect_failed`](Client::connect_failed) or [`gone`](Client::gone); sends what
//! [`outbox`](Client::outbox) appends; gives all that it reads to [`receive`](Client::receive);
//! calls [`tick`](Client::tick) when the deadline has come (a spurious tick does nothing). When
//! the stream ends, or [`is_useless`](Client::is_useless) has become true, it closes the
//! connection and says [`disconnected`](Client::disconnected). When [`ended`](Client::ended) is
//! set, nothing will come any more, and the connection is to be closed.
//!
//! Requests may be [submitted](Client::submit) at any time; each is kept, encoded, until it is
//! answered, and sent again under its number when the session is resumed. What has come is
//! [taken](Client::take) by its number, and a caller that no longer waits says
//! [`cancel`](Client::cancel). Numbers rise but need not be contiguous on the wire: a request that
//! was withdrawn before it was sent leaves a gap, and so may one that a cancelled wait had.
//! They go on rising in the next session, should this one be lost.

mod calls;
mod link;
mod unanswered;
mod watches;

#[cfg(all(test, not(loom)))]
mod tests;

pub use calls::{Effect, Loss, Need, Room, SubmitError};
pub use link::{SOFTWARE, describe};
pub use watches::WatchLoss;

use super::frame::{self, Outbox};
use super::ids::{BuildId, LeaseId, ProcessId, Revision, Seq, Token, WatchId};
use super::limits::{self, Agreed, FRAME_BYTES_MAX, REPLIES_BYTES_MAX, VALUE_BYTES_MAX};
use super::loss::ServerLoss;
use super::marks::{self, Mark};
use super::message::{FromClient, Reply, Request};
use super::planted::{self, Bug};
use super::points::{Point, Points};
use super::{codec, frame::PREFIX_BYTES, session};
use calls::{Call, Calls, Kind};
use link::{Link, Session};
use std::collections::{BTreeMap, VecDeque};
use watches::Watch;

/// This many replies may be unacknowledged before an acknowledgement is sent by itself.
const ACKS_MAX: usize = 64;
/// So many bytes of replies likewise.
const ACKS_BYTES_MAX: usize = 1024 * 1024;
/// So many unconfirmed messages may be kept before a ping asks for a confirmation.
const LOOSE_MAX: usize = 64;
/// One call of [`Client::outbox`] stops after this many bytes: what is not taken can be withdrawn.
const OUTPUT_BYTES: usize = 256 * 1024;

/// Who the client is.
#[derive(Debug, Clone)]
pub struct Config {
    /// The process that speaks.
    pub process: ProcessId,
    /// Its secret.
    pub key: Token,
    /// Its number in the system.
    pub pid: u32,
    /// The executable it runs.
    pub build: BuildId,
    /// How many requests may be unanswered, see [`IN_FLIGHT_MAX`](super::limits::IN_FLIGHT_MAX). The server's limit may not be
    /// smaller.
    pub in_flight_max: usize,
    /// How large the parts of what is too large for one message are, see
    /// [`PART_BYTES_MAX`](super::limits::PART_BYTES_MAX). The server's limit may not be smaller.
    pub part_bytes_max: usize,
}

/// How much may be under way, as the server has said in its welcome.
#[derive(Debug, Clone, Copy)]
struct Window {
    requests_max: usize,
    /// Of the replies that the server has to keep.
    replies_bytes_max: usize,
    value_bytes_max: usize,
    part_bytes_max: usize,
}

/// What a refusal was about, without its operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// Another version of the protocol.
    Version,
    /// Another executable.
    Build,
    /// Unknown process, or wrong key.
    Credentials,
    /// The session is not there.
    SessionUnknown,
    /// A limit of the server.
    Limit,
    /// The server could not make sense of what it received.
    Protocol,
    /// The process has ended, the server says.
    Ended,
    /// The hello came too late.
    Late,
    /// The server is of one program alone.
    Private,
    /// A request, not a connection, was refused: what it asks for is not possible.
    Request,
}

/// Why nothing will come any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The server has ended, or could not be reached for too long.
    ServerLost(ServerLoss),
    /// This is the client of the process that this one was forked from.
    Forked,
    /// The server does not want this client.
    Refused {
        /// What about.
        kind: RefusalKind,
        /// In words.
        text: String,
    },
    /// What the server sent breaks the protocol.
    Protocol(String),
    /// The client said goodbye.
    Closed,
}

/// What was sent without expecting an answer, until something shows that it has arrived.
#[derive(Debug)]
enum Loose {
    Acks(Vec<Seq>),
    /// And the acknowledgements that the cancelled request had carried.
    Cancel(Seq, Vec<Seq>),
}

/// The machine. See the [module](self).
#[derive(Debug)]
pub struct Client {
    config: Config,
    window: Window,
    runs_functions: bool,
    runs_functions_twice: bool,
    server_pid: u32,
    points: Points,
    link: Link,
    session: Option<Session>,
    end: Option<End>,
    /// Every request that is unanswered, by number.
    calls: Calls,
    /// What has come and was not taken yet. At most one a waiting thread, so it is searched.
    settled: Vec<(Seq, Result<Vec<u8>, Loss>)>,
    next_seq: u64,
    /// Requests from here on have not been handed to the present connection.
    send_from: Seq,
    /// Messages other than requests, framed. They go before the requests.
    control: Vec<u8>,
    acks: Vec<Seq>,
    acks_bytes: usize,
    /// In the order of sending. A reply to a request numbered as the first part or later shows
    /// that the message has arrived, for it was sent before that request.
    loose: VecDeque<(Seq, Loose)>,
    /// Cancels to be sent again on the next connection.
    recancel: Vec<Seq>,
    /// The machine's own ping, sent when too much is loose.
    probe: Option<Seq>,
    watches: BTreeMap<WatchId, Watch>,
    /// Watches to be ended as soon as there is room for the request.
    unwatch_later: VecDeque<WatchId>,
    /// Locks to be given back, likewise: each with the revision of its grant.
    unlock_later: VecDeque<(String, Revision)>,
    /// Leases likewise.
    release_later: VecDeque<LeaseId>,
}

impl Client {
    /// A client that has no connection yet.
    #[must_use]
    pub fn new(config: Config) -> Client {
        Client {
            window: Window {
                requests_max: config.in_flight_max,
                replies_bytes_max: REPLIES_BYTES_MAX,
                value_bytes_max: VALUE_BYTES_MAX,
                part_bytes_max: config.part_bytes_max,
            },
            config,
            runs_functions: true,
            runs_functions_twice: false,
            server_pid: 0,
            points: Points::default(),
            link: Link::new(),
            session: None,
            end: None,
            calls: Calls::default(),
            settled: Vec::new(),
            next_seq: 1,
            send_from: Seq(0),
            control: Vec::new(),
            acks: Vec::new(),
            acks_bytes: 0,
            loose: VecDeque::new(),
            recancel: Vec::new(),
            probe: None,
            watches: BTreeMap::new(),
            unwatch_later: VecDeque::new(),
            unlock_later: VecDeque::new(),
            release_later: VecDeque::new(),
        }
    }

    /// Where the simulator lets it do what is rare.
    pub fn set_points(&mut self, points: Points) {
        self.points = points;
    }

    /// Does the server call the program's functions, as its welcome has said? If not, whoever
    /// wants one to be called has to do it here.
    #[must_use]
    pub fn runs_functions(&self) -> bool {
        self.runs_functions
    }

    /// Is each function run twice, whoever runs it?
    #[must_use]
    pub fn runs_functions_twice(&self) -> bool {
        self.runs_functions_twice
    }

    /// How large a value may be.
    #[must_use]
    pub fn value_bytes_max(&self) -> usize {
        self.window.value_bytes_max
    }

    /// Why nothing will come any more, if that is so.
    #[must_use]
    pub fn ended(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// What more may be submitted.
    #[must_use]
    pub fn room(&self) -> Room {
        let Window {
            requests_max,
            replies_bytes_max,
            ..
        } = self.window;
        let left = |max: usize, taken: usize| max.saturating_sub(taken);
        Room {
            requests: left(requests_max, self.calls.len()),
            waits: left(limits::waits_max(requests_max), self.calls.waits()),
            reply_bytes: left(replies_bytes_max, self.calls.reply_bytes()),
        }
    }

    /// How much of that a request takes. The server keeps its reply until it is acknowledged, which is
    /// done with the next request, before that is looked at.
    #[must_use]
    pub fn need(&self, request: &Request<'_>) -> Need {
        let bytes = session::reply_bytes_max(request, self.window.value_bytes_max);
        Need {
            reply_bytes: bytes.min(self.window.replies_bytes_max),
            waits: session::may_wait(request),
        }
    }

    /// How large the parts of what is too large for one message are.
    #[must_use]
    pub fn part_bytes_max(&self) -> usize {
        self.window.part_bytes_max
    }

    /// The server's number in the system, as it has said in its welcome.
    #[must_use]
    pub fn server_pid(&self) -> u32 {
        self.server_pid
    }

    /// Keeps to what the server allows.
    fn agree(&mut self, limits: &Agreed) {
        self.runs_functions = limits.runs_functions;
        self.runs_functions_twice = limits.runs_functions_twice;
        self.server_pid = limits.server_pid;
        let least =
            |own: usize, theirs: u64| own.min(usize::try_from(theirs).unwrap_or(own)).max(1);
        self.window = Window {
            requests_max: least(self.config.in_flight_max, limits.in_flight_max),
            part_bytes_max: least(self.config.part_bytes_max, limits.part_bytes_max),
            value_bytes_max: least(VALUE_BYTES_MAX, limits.value_bytes_max),
            replies_bytes_max: least(usize::MAX, limits.replies_bytes_max),
        };
    }

    /// Takes a request; [`take`](Client::take) gives what comes of it.
    ///
    /// # Errors
    /// [`SubmitError`]: too many are unanswered, it is too large, or the client has ended.
    pub fn submit(&mut self, request: &Request<'_>) -> Result<Seq, SubmitError> {
        if self.end.is_some() {
            return Err(SubmitError::Ended);
        }
        let need = self.need(request);
        if !self.room().take(need) {
            return Err(SubmitError::Full);
        }
        let seq = Seq(self.next_seq);
        let message = FromClient::Request {
            seq,
            acks: std::mem::take(&mut self.acks),
            body: request.clone(),
        };
        let encoded = encode_bounded(&message);
        // The vector of acks is used again; on success they are under way now.
        if let FromClient::Request { acks, .. } = message {
            self.acks = acks;
        }
        let frame = encoded?;
        self.acks.clear();
        self.acks_bytes = 0;
        self.next_seq += 1;
        let kind = Kind::of(request);
        if let Request::Watch { watch, credit, .. } = request {
            self.watches.insert(*watch, Watch::new(*credit));
        }
        self.calls.push(Call {
            seq,
            frame,
            kind,
            need,
            sent: false,
            abandoned: false,
        });
        Ok(seq)
    }

    /// True when [`take`](Client::take) will give something.
    #[must_use]
    pub fn is_settled(&self, seq: Seq) -> bool {
        self.settled.iter().any(|(settled, _)| *settled == seq)
    }

    /// What came of a request, once: an encoded [`Reply`], or why there will be none. Always
    /// `None` after the [end](Client::ended) for what had not come by then: [`cancel`](Client::cancel)
    /// tells then whether it may have taken effect.
    pub fn take(&mut self, seq: Seq) -> Option<Result<Vec<u8>, Loss>> {
        let position = self
            .settled
            .iter()
            .position(|(settled, _)| *settled == seq)?;
        Some(self.settled.swap_remove(position).1)
    }

    /// The caller no longer waits for this request. Tells whether it may have taken effect, or
    /// may yet do so.
    ///
    /// What was never sent is withdrawn. A wait is cancelled at the server; a watch is ended;
    /// anything else runs on, and its reply is dropped when it comes.
    pub fn cancel(&mut self, seq: Seq) -> Effect {
        self.settled.retain(|(settled, _)| *settled != seq);
        let Some(call) = self.calls.get_mut(seq) else {
            // Already answered: the caller chose not to look.
            return Effect::Unknown;
        };
        let kind = call.kind;
        if !call.sent {
            marks::reached(Mark::Withdrawn);
            self.withdraw(seq);
            return Effect::None;
        }
        match kind {
            Kind::Wait => {
                call.abandoned = true;
                let acks = self.calls.remove(seq).map_or_else(Vec::new, acks_of);
                // Has the present connection got it? Else nothing says these any more.
                if self.is_up() && seq < self.send_from {
                    marks::reached(Mark::WaitGivenUpUp);
                    self.send_cancel(seq, acks);
                } else {
                    marks::reached(Mark::WaitGivenUpDown);
                    self.acks.extend(acks);
                    self.send_acks();
                    self.send_cancel(seq, Vec::new());
                }
                self.submit_owed();
                Effect::None
            }
            Kind::Read => {
                call.abandoned = true;
                marks::reached(Mark::ReadGivenUp);
                Effect::None
            }
            Kind::Watch(watch) => {
                call.abandoned = true;
                marks::reached(Mark::WatchGivenUp);
                self.unwatch(watch);
                Effect::None
            }
            Kind::Mutating => {
                call.abandoned = true;
                marks::reached(Mark::WriteGivenUp);
                if planted::is(Bug::TimedOutSaidUndone) {
                    return Effect::None;
                }
                Effect::Unknown
            }
        }
    }

    /// Takes a request back that was never sent, and the acks that it would have carried.
    fn withdraw(&mut self, seq: Seq) {
        let Some(call) = self.calls.remove(seq) else {
            return;
        };
        if let Kind::Watch(watch) = call.kind {
            self.watches.remove(&watch);
        }
        self.acks.extend(acks_of(call));
        if self.calls.any_from(seq) {
            marks::reached(Mark::WithdrawnBeforeOthers);
            // The requests behind it were counted on to come after these.
            self.send_acks();
        }
        self.submit_owed();
    }

    /// True when [`outbox`](Client::outbox) has something to append.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.control.is_empty() || (self.is_up() && self.calls.any_from(self.send_from))
    }

    /// Appends what is to be sent on the present connection, or a good part of it.
    pub fn outbox(&mut self, to: &mut Outbox) {
        to.push_encoded(&self.control);
        self.control.clear();
        if !self.is_up() {
            return;
        }
        for call in self.calls.from(self.send_from) {
            let ends_early = !to.is_empty() && self.points.strike(Point::OutputOfOne);
            if to.len() >= OUTPUT_BYTES || ends_early {
                break;
            }
            marks::reached_if(call.sent, Mark::Resent);
            call.sent = true;
            self.send_from = Seq(call.seq.0 + 1);
            to.push_encoded(&call.frame);
        }
    }

    /// Says goodbye, if there is a connection to say it on, and ends. What was not sent by now
    /// is not sent any more.
    pub fn goodbye(&mut self) {
        if self.end.is_some() {
            return;
        }
        if self.is_up() {
            frame::append(&FromClient::Goodbye, &mut self.control);
        } else {
            self.control.clear();
        }
        self.end = Some(End::Closed);
    }

    /// Ends for a fault of the server's that a caller found in what it had taken.
    pub fn fail(&mut self, what: String) {
        self.finish(End::Protocol(what));
    }

    fn finish(&mut self, end: End) {
        if self.end.is_none() {
            self.end = Some(end);
            self.control.clear();
        }
    }

    /// A request of the machine's own, whose reply nobody waits for.
    fn submit_own(&mut self, request: &Request<'_>) -> Option<Seq> {
        let seq = self.submit(request).ok()?;
        if let Some(call) = self.calls.get_mut(seq) {
            call.abandoned = true;
        }
        Some(seq)
    }

    /// Cancels a wait; `acks` went with it, and are said again if the connection is lost.
    fn send_cancel(&mut self, seq: Seq, acks: Vec<Seq>) {
        if self.is_up() {
            frame::append(&FromClient::Cancel { seq }, &mut self.control);
            self.push_loose(Loose::Cancel(seq, acks));
        } else {
            self.recancel.push(seq);
        }
    }

    /// Acknowledges by a message of its own. Without a connection the acks stay where they are.
    fn send_acks(&mut self) {
        if self.acks.is_empty() || !self.is_up() {
            return;
        }
        let message = FromClient::Ack {
            acks: std::mem::take(&mut self.acks),
        };
        frame::append(&message, &mut self.control);
        self.acks_bytes = 0;
        marks::reached(Mark::AcksAlone);
        if let FromClient::Ack { acks } = message {
            self.push_loose(Loose::Acks(acks));
        }
    }

    fn push_loose(&mut self, loose: Loose) {
        self.loose.push_back((Seq(self.next_seq), loose));
        let is_early = self.points.strike(Point::ProbeEarly);
        if (self.loose.len() >= LOOSE_MAX || is_early) && self.probe.is_none() {
            marks::reached(Mark::Probe);
            self.probe = self.submit_own(&Request::Ping);
        }
    }

    /// The server has answered `seq`, so all that was sent before it has arrived.
    fn confirm(&mut self, seq: Seq) {
        while self
            .loose
            .front()
            .is_some_and(|(barrier, _)| *barrier <= seq)
        {
            self.loose.pop_front();
        }
        if self.probe == Some(seq) {
            self.probe = None;
        }
    }

    /// A reply has come. `Err` is a breach of the protocol.
    fn answered(&mut self, seq: Seq, body: &[u8]) -> Result<(), String> {
        if seq.0 == 0 || seq.0 >= self.next_seq {
            return Err(format!("a reply to request {}, never made", seq.0));
        }
        let Some(call) = self.calls.get_mut(seq) else {
            // A repeated reply: its ack is under way. Or it crossed the cancel of its wait.
            marks::reached(Mark::ReplyRepeated);
            if self.was_cancelled(seq) {
                marks::reached(Mark::ReplyCrossedCancel);
                self.acknowledge(seq, body.len());
            }
            return Ok(());
        };
        if !call.sent {
            return Err(format!("a reply to request {}, never sent", seq.0));
        }
        if let Kind::Watch(watch) = call.kind {
            let reply = codec::decode(body).map_err(|error| format!("a reply: {error}"))?;
            self.watch_answered(watch, &reply);
        }
        if let Some(call) = self.calls.remove(seq)
            && !call.abandoned
        {
            let mut reply = call.frame;
            reply.clear();
            reply.extend_from_slice(body);
            self.settled.push((seq, Ok(reply)));
        }
        self.confirm(seq);
        self.acknowledge(seq, body.len());
        self.submit_owed();
        Ok(())
    }

    fn acknowledge(&mut self, seq: Seq, reply_bytes: usize) {
        self.acks.push(seq);
        self.acks_bytes += reply_bytes;
        let at_once = self.points.strike(Point::AckAtOnce);
        // What is not acknowledged leaves room for the largest answer: it may be all that is waited for.
        let Window {
            replies_bytes_max,
            value_bytes_max,
            ..
        } = self.window;
        let spare = replies_bytes_max.saturating_sub(limits::outcome_bytes(value_bytes_max));
        let bytes_max = ACKS_BYTES_MAX.min(spare);
        if self.acks.len() >= ACKS_MAX || self.acks_bytes >= bytes_max || at_once {
            self.send_acks();
        }
    }

    fn was_cancelled(&self, seq: Seq) -> bool {
        self.recancel.contains(&seq)
            || self
                .loose
                .iter()
                .any(|(_, loose)| matches!(loose, Loose::Cancel(cancelled, _) if *cancelled == seq))
    }

    fn watch_answered(&mut self, watch: WatchId, reply: &Reply<'_>) {
        match reply {
            Reply::Watching { next } => {
                if let Some(watch) = self.watches.get_mut(&watch) {
                    watch.begin(*next);
                }
            }
            _ => {
                self.watches.remove(&watch);
            }
        }
    }
}

/// The acknowledgements that a request carries.
fn acks_of(call: Call) -> Vec<Seq> {
    match codec::decode(&call.frame[PREFIX_BYTES..]) {
        Ok(FromClient::Request { acks, .. }) => acks,
        _ => Vec::new(),
    }
}

/// A message as a frame, or how far it is too large for one.
fn encode_bounded(message: &FromClient<'_>) -> Result<Vec<u8>, SubmitError> {
    use speedy::{Endianness, Writable};
    // Asked first, since a frame over the limit may not be built, and one over 4 GiB can't be.
    let bytes = Writable::<Endianness>::bytes_needed(message).unwrap_or(usize::MAX);
    if bytes > FRAME_BYTES_MAX {
        return Err(SubmitError::TooLarge {
            actual: bytes as u64,
            max: FRAME_BYTES_MAX as u64,
        });
    }
    let mut frame = Vec::with_capacity(PREFIX_BYTES + bytes);
    frame::append(message, &mut frame);
    Ok(frame)
}
