//! The connection: hello and welcome, frames, losing it and coming back.

use super::{Client, End, Kind, Loose, Loss, RefusalKind};
use crate::proto::codec;
use crate::proto::frame::{self, PREFIX_BYTES};
use crate::proto::ids::{Seq, SessionId, Token};
use crate::proto::kinds;
use crate::proto::limits::{HELLO_TIMEOUT, PROTOCOL_VERSION, RECONNECT_TIMEOUT};
use crate::proto::loss::{ServerEnd, ServerLoss};
use crate::proto::marks::{self, Mark};
use crate::proto::message::{FromClient, FromServer, Hello, Refusal, Resume};
use crate::proto::planted::{self, Bug};
use crate::proto::points::Point;
use crate::proto::time::{Time, nanoseconds};
use std::time::Duration;

/// What the client calls itself in its hello.
pub const SOFTWARE: &str = concat!("zproc ", env!("CARGO_PKG_VERSION"));
/// The pause after the first failure to connect; it doubles with each one.
const BACKOFF_MIN_NS: u64 = 1_000_000;
/// The longest pause.
const BACKOFF_MAX: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Session {
    id: SessionId,
    token: Token,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No connection; one is to be opened at this time.
    Down { retry_at: Time },
    /// Hello was said; the welcome must come by then.
    Greeting { until: Time },
    /// Welcome.
    Up,
}

#[derive(Debug)]
pub(super) struct Link {
    phase: Phase,
    /// Connections there have been.
    attempts: u64,
    /// Failures in a row.
    failures: u32,
    /// When coming back is given up; set by the first failure, cleared by a welcome.
    give_up_at: Option<Time>,
    /// The hello asked to resume.
    resuming: bool,
    /// Why the connection is of no use any more, although it is there.
    useless: Option<String>,
    /// The start of a frame whose rest has not come.
    partial: Vec<u8>,
}

impl Link {
    pub(super) fn new() -> Link {
        Link {
            phase: Phase::Down {
                retry_at: Time::default(),
            },
            attempts: 0,
            failures: 0,
            give_up_at: None,
            resuming: false,
            useless: None,
            partial: Vec::new(),
        }
    }
}

impl Client {
    /// True between welcome and the loss of the connection.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.link.phase == Phase::Up && self.end.is_none()
    }

    /// When to open a connection, if there is none; when to [`tick`](Client::tick), if there is.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        match self.link.phase {
            _ if self.end.is_some() => None,
            Phase::Down { retry_at } => Some(retry_at),
            Phase::Greeting { until } => Some(until),
            Phase::Up => None,
        }
    }

    /// Why the connection that is there is of no use and is to be closed.
    #[must_use]
    pub fn is_useless(&self) -> Option<&str> {
        self.link.useless.as_deref()
    }

    /// Looks at the clock: a server that does not say welcome is given up.
    pub fn tick(&mut self, now: Time) {
        if let Phase::Greeting { until } = self.link.phase
            && (until <= now || self.points.strike(Point::WelcomeOverdue))
        {
            marks::reached(Mark::NoWelcome);
            self.link.useless = Some("the server did not say welcome".into());
        }
    }

    /// A connection was opened: says hello.
    pub fn connected(&mut self, now: Time) {
        if self.end.is_some() {
            return;
        }
        self.link.phase = Phase::Greeting {
            until: now.after(HELLO_TIMEOUT),
        };
        self.link.attempts += 1;
        self.link.useless = None;
        self.link.partial.clear();
        self.link.resuming = self.session.is_some();
        self.send_from = Seq(0);
        let watches = self.positions();
        let hello = Hello {
            version: PROTOCOL_VERSION,
            build: self.config.build,
            process: self.config.process,
            key: self.config.key,
            pid: self.config.pid,
            attempt: self.link.attempts,
            software: SOFTWARE,
            resume: self.session.as_ref().map(|session| Resume {
                session: session.id,
                token: session.token,
                watches,
            }),
        };
        self.control.clear();
        frame::append(&FromClient::Hello(hello), &mut self.control);
    }

    /// The connection is gone. `random` spreads the return of many clients.
    pub fn disconnected(&mut self, now: Time, random: u64, reason: &str) {
        if self.end.is_some() {
            return;
        }
        let was_up = self.link.phase == Phase::Up;
        self.control.clear();
        self.link.partial.clear();
        self.link.useless = None;
        for (_, loose) in self.loose.drain(..) {
            match loose {
                Loose::Acks(acks) => self.acks.extend(acks),
                Loose::Cancel(seq, acks) => {
                    self.recancel.push(seq);
                    self.acks.extend(acks);
                }
            }
        }
        if was_up && !self.points.strike(Point::ComeBackLater) {
            // It may just be the connection: look at once. The time to give up starts now.
            self.link.failures = 0;
            self.link.give_up_at = Some(now.after(RECONNECT_TIMEOUT));
            self.link.phase = Phase::Down { retry_at: now };
        } else {
            self.retry_later(now, random, reason);
        }
    }

    /// No connection could be opened, this time.
    pub fn connect_failed(&mut self, now: Time, random: u64, reason: &str) {
        if self.end.is_none() {
            self.retry_later(now, random, reason);
        }
    }

    /// No connection can be opened, ever: there is no server any more.
    pub fn gone(&mut self, loss: ServerLoss) {
        self.finish(End::ServerLost(loss));
    }

    /// The client was copied into another process, which must not use it.
    pub fn forked(&mut self) {
        self.finish(End::Forked);
    }

    fn retry_later(&mut self, now: Time, random: u64, reason: &str) {
        let give_up_at = *self
            .link
            .give_up_at
            .get_or_insert(now.after(RECONNECT_TIMEOUT));
        marks::reached_if(now >= give_up_at, Mark::ServerGivenUp);
        if now >= give_up_at {
            let seconds = RECONNECT_TIMEOUT.as_secs();
            let reason = format!("no connection for {seconds} s: {reason}");
            let loss = ServerLoss::new(ServerEnd::Unreachable { reason });
            self.finish(End::ServerLost(loss));
            return;
        }
        let pause_ns = (BACKOFF_MIN_NS << self.link.failures.min(16)).min(nanoseconds(BACKOFF_MAX));
        // Between a half and all of it.
        let pause_ns = pause_ns / 2 + random % (pause_ns / 2 + 1);
        self.link.failures = self.link.failures.saturating_add(1);
        self.link.phase = Phase::Down {
            retry_at: now.after(Duration::from_nanos(pause_ns)),
        };
    }

    /// Takes what was read. Anything may be in it: a breach of the protocol ends the client.
    pub fn receive(&mut self, input: &[u8]) {
        if let Err(what) = self.consume(input) {
            self.finish(End::Protocol(what));
        }
    }

    fn listens(&self) -> bool {
        self.end.is_none()
            && self.link.useless.is_none()
            && !matches!(self.link.phase, Phase::Down { .. })
    }

    /// Whole frames are read where they are; only the start of a cut one is copied.
    fn consume(&mut self, mut input: &[u8]) -> Result<(), String> {
        while !self.link.partial.is_empty() && self.listens() {
            let missing = missing_bytes(&self.link.partial)?;
            if missing == 0 {
                let payload = std::mem::take(&mut self.link.partial);
                self.handle(&payload[PREFIX_BYTES..])?;
            } else if input.is_empty() {
                return Ok(());
            } else {
                let (some, rest) = input.split_at(missing.min(input.len()));
                self.link.partial.extend_from_slice(some);
                input = match planted::is(Bug::RestOfInputDropped) {
                    true => &[],
                    false => rest,
                };
            }
        }
        while self.listens() {
            match frame::split(input).map_err(|error| error.to_string())? {
                Some((payload, bytes)) => {
                    self.handle(payload)?;
                    input = &input[bytes..];
                }
                None => {
                    self.link.partial.extend_from_slice(input);
                    let cut = self.link.partial.len();
                    marks::reached_if(cut >= PREFIX_BYTES, Mark::ClientFrameInPieces);
                    let within_prefix = (1..PREFIX_BYTES).contains(&cut);
                    marks::reached_if(within_prefix, Mark::ClientPrefixInPieces);
                    break;
                }
            }
        }
        Ok(())
    }

    fn handle(&mut self, payload: &[u8]) -> Result<(), String> {
        let message: FromServer<'_> =
            codec::decode(payload).map_err(|error| format!("a message: {error}"))?;
        kinds::said(&message);
        let up = self.link.phase == Phase::Up;
        match message {
            FromServer::Welcome {
                session,
                token,
                resumed,
                limits,
            } if !up => {
                self.agree(&limits);
                self.welcome(session, token, resumed)
            }
            FromServer::Refused { refusal } => {
                self.refused(refusal);
                Ok(())
            }
            FromServer::Welcome { .. } => Err("a second welcome".into()),
            FromServer::Adopted { .. } => Err("an answer to a keeper".into()),
            _ if !up => Err("a message before the welcome".into()),
            FromServer::Reply { seq, body } => self.answered(seq, body),
            FromServer::Update { watch, body } => self.updated(watch, body),
            FromServer::WatchCompacted { watch, oldest } => self.compacted(watch, oldest),
        }
    }

    fn welcome(&mut self, id: SessionId, token: Token, resumed: bool) -> Result<(), String> {
        match &self.session {
            Some(session) if resumed && session.id != id => {
                return Err("another session than the one to be resumed".into());
            }
            None if resumed => return Err("a session resumed that never was".into()),
            Some(_) if !resumed => self.lose_session(),
            _ => {}
        }
        self.session = Some(Session { id, token });
        self.link.phase = Phase::Up;
        self.link.failures = 0;
        self.link.give_up_at = None;
        // These go before the requests, so that the server has room for them.
        self.send_acks();
        for seq in std::mem::take(&mut self.recancel) {
            self.send_cancel(seq, Vec::new());
        }
        self.tell_credits();
        Ok(())
    }

    fn refused(&mut self, refusal: Refusal<'_>) {
        kinds::said(&refusal);
        let greeting = self.link.phase != Phase::Up;
        let resuming = greeting && self.link.resuming;
        let (kind, text) = describe(refusal);
        match kind {
            // What was lost is told to everybody who has a part in it; the next call begins anew.
            RefusalKind::SessionUnknown if resuming => {
                self.lose_session();
                self.link.useless = Some(text);
            }
            // A process that was stopped, or a clock that jumped, is no reason to give up.
            RefusalKind::Late => self.link.useless = Some(text),
            // Its keeper is lost, or another server listens where its own did.
            RefusalKind::Ended if resuming => {
                self.gone(ServerLoss::new(ServerEnd::KeeperLost));
            }
            RefusalKind::Credentials if resuming => {
                self.gone(ServerLoss::new(ServerEnd::Unseen));
            }
            // The session is still there, and with it all reason to come back.
            RefusalKind::Limit if resuming => self.link.useless = Some(text),
            _ => self.finish(End::Refused { kind, text }),
        }
    }

    /// The session is lost: every request learns what may have become of it.
    fn lose_session(&mut self) {
        self.session = None;
        if planted::is(Bug::ResentInNewSession) {
            self.send_from = Seq(0);
            self.lose_watches();
            return;
        }
        for call in self.calls.drain() {
            if !call.abandoned {
                let loss = match call.kind {
                    Kind::Mutating if call.sent && !planted::is(Bug::SentMarkForgotten) => {
                        Loss::OutcomeUnknown
                    }
                    _ => Loss::SessionLost,
                };
                marks::reached_if(loss == Loss::OutcomeUnknown, Mark::OutcomeUnknownTold);
                marks::reached_if(loss == Loss::SessionLost, Mark::SessionLostTold);
                self.settled.push((call.seq, Err(loss)));
            }
        }
        self.acks.clear();
        self.acks_bytes = 0;
        self.loose.clear();
        self.recancel.clear();
        self.probe = None;
        self.lose_watches();
    }
}

/// How many more bytes a cut frame needs, as far as is known by now.
fn missing_bytes(partial: &[u8]) -> Result<usize, String> {
    match frame::split(partial).map_err(|error| error.to_string())? {
        Some(_) => Ok(0),
        None => match partial.first_chunk::<PREFIX_BYTES>() {
            None => Ok(PREFIX_BYTES - partial.len()),
            Some(prefix) => Ok(PREFIX_BYTES + u32::from_le_bytes(*prefix) as usize - partial.len()),
        },
    }
}

/// What a refusal is about, and how it reads.
#[must_use]
pub fn describe(refusal: Refusal<'_>) -> (RefusalKind, String) {
    match refusal {
        Refusal::Version { server, software } => (
            RefusalKind::Version,
            format!(
                "the server ({software}) speaks version {server} of the protocol, \
                 this client ({SOFTWARE}) version {PROTOCOL_VERSION}"
            ),
        ),
        Refusal::Build => (
            RefusalKind::Build,
            "the server runs another executable".into(),
        ),
        Refusal::Credentials => (
            RefusalKind::Credentials,
            "the process is not known to the server, or its key is wrong".into(),
        ),
        Refusal::SessionUnknown => (
            RefusalKind::SessionUnknown,
            "the server does not know the session".into(),
        ),
        Refusal::Limit { limit } => (
            RefusalKind::Limit,
            format!("a limit of the server is reached: {limit}"),
        ),
        Refusal::Protocol { what } => (
            RefusalKind::Protocol,
            format!("the server could not make sense of this client: {what}"),
        ),
        Refusal::Ended => (
            RefusalKind::Ended,
            "the process has ended, the server says".into(),
        ),
        Refusal::Late => (RefusalKind::Late, "the hello came too late".into()),
        Refusal::Private => (
            RefusalKind::Private,
            "the server belongs to one program and its processes".into(),
        ),
    }
}
