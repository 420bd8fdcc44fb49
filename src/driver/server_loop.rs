//! The event loop around the server's state machine.
//!
//! An idle server's request costs one `epoll_wait`, one `read` and one `write`. epoll tells of
//! changes only; a read that comes back short has emptied the socket. Turns are fair: a connection
//! is read once and served once, then the others are.

use super::clock::Clock;
use super::connection::{Connection, Flush, READ_BYTES};
use super::patience::Patience;
use crate::proto::codec::{self, Malformed};
use crate::proto::frame::{self, Outbox};
use crate::proto::ids::ConnectionId;
use crate::proto::server::{Effect, Server};
use crate::proto::time::Time;
use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::collections::{HashMap, VecDeque};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

const LISTENER: Token = Token(0);
const KEEPER: Token = Token(1);
/// The tokens from here on are those of connections.
const FIRST_CONNECTION: u64 = 2;

const EVENTS_PER_WAIT: usize = 256;
/// Connections that are taken in one turn of the loop.
const ACCEPTS_PER_TURN_MAX: usize = 64;
/// When there are no more descriptors, how long until the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the loop stands on.
pub(crate) struct Sockets {
    /// Where clients connect.
    pub(crate) listener: UnixListener,
    /// The way to the keeper; for a server that stands alone, to whoever may stop it, who says nothing.
    pub(crate) keeper: UnixStream,
    /// Is the peer of this socket let in?
    pub(crate) admits: fn(BorrowedFd<'_>) -> bool,
    /// Called after each step of the server, before anybody can hear what came of it.
    #[cfg(feature = "recording")]
    pub(crate) witness: fn(&mut Server),
}

/// Why the loop ended.
#[derive(Debug)]
pub(crate) enum LoopEnd {
    /// The keeper's side of the link is closed: it is dead.
    KeeperLost,
    /// The keeper sent what is no message of its.
    KeeperMalformed(Malformed),
    /// epoll failed.
    Broken(io::Error),
}

/// Runs the server until the keeper is lost. The keeper ends it otherwise, by SIGKILL. `last` is called
/// before the connections close.
pub(crate) fn run(server: Server, clock: Clock, sockets: Sockets, last: impl FnOnce()) -> LoopEnd {
    match ServerLoop::new(server, clock, sockets) {
        Ok(mut server_loop) => loop {
            if let Err(end) = server_loop.turn() {
                last();
                // Its memory goes with the process. To free a large state piece by piece would keep
                // all those waiting who wait for the end of this process.
                std::mem::forget(server_loop.server);
                return end;
            }
        },
        Err(error) => LoopEnd::Broken(error),
    }
}

struct ServerLoop {
    server: Server,
    clock: Clock,
    poll: Poll,
    events: Events,
    patience: Patience,
    sockets: Sockets,
    connections: HashMap<ConnectionId, Connection>,
    /// Connections that have something to do, each once.
    turns: VecDeque<ConnectionId>,
    /// Connections with output that waits for the end of the turn, each at least once.
    to_flush: Vec<ConnectionId>,
    /// There may be more to accept, unless it is paused until then.
    accepts: Accepts,
    keeper_inbox: Vec<u8>,
    keeper_outbox: Outbox,
    keeper_waits_for_room: bool,
    scratch: Box<[u8]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accepts {
    /// epoll will tell.
    Idle,
    /// There may be somebody.
    Pending,
    /// There may be somebody, but there was no room for them.
    PausedUntil(Time),
}

impl ServerLoop {
    fn new(server: Server, clock: Clock, sockets: Sockets) -> io::Result<ServerLoop> {
        let poll = Poll::new()?;
        sockets.listener.set_nonblocking(true)?;
        sockets.keeper.set_nonblocking(true)?;
        let registry = poll.registry();
        let listener = sockets.listener.as_raw_fd();
        registry.register(&mut SourceFd(&listener), LISTENER, Interest::READABLE)?;
        let keeper = sockets.keeper.as_raw_fd();
        registry.register(&mut SourceFd(&keeper), KEEPER, Interest::READABLE)?;
        Ok(ServerLoop {
            server,
            clock,
            poll,
            events: Events::with_capacity(EVENTS_PER_WAIT),
            patience: Patience::default(),
            sockets,
            connections: HashMap::new(),
            turns: VecDeque::new(),
            to_flush: Vec::new(),
            accepts: Accepts::Pending,
            keeper_inbox: Vec::new(),
            keeper_outbox: Outbox::default(),
            keeper_waits_for_room: false,
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
        })
    }

    /// Waits for something to do, and does some of it for everyone.
    fn turn(&mut self) -> Result<(), LoopEnd> {
        self.wait()?;
        let now = self.clock.now();
        if self
            .server
            .deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            self.server.tick(now);
            self.carry_out(now);
        }
        self.accept(now);
        // Those that are there now; who asks for another turn gets it after the others.
        for _ in 0..self.turns.len() {
            let Some(id) = self.turns.pop_front() else {
                break;
            };
            self.serve(id, now);
        }
        self.flush_all(now);
        self.flush_keeper()
    }

    /// Sleeps until there is something to do, and notes it.
    fn wait(&mut self) -> Result<(), LoopEnd> {
        let timeout = self.timeout();
        let polled = self
            .patience
            .poll(&mut self.poll, &mut self.events, timeout);
        if let Err(error) = polled {
            if error.kind() == io::ErrorKind::Interrupted {
                return Ok(());
            }
            return Err(LoopEnd::Broken(error));
        }
        let mut keeper_speaks = false;
        for event in self.events.iter() {
            match event.token() {
                LISTENER => self.accepts = Accepts::Pending,
                KEEPER => keeper_speaks = true,
                Token(number) => {
                    let id = ConnectionId(number as u64 - FIRST_CONNECTION);
                    if let Some(connection) = self.connections.get_mut(&id) {
                        note(connection, event);
                        if connection.wants_turn() && !connection.is_queued {
                            connection.is_queued = true;
                            self.turns.push_back(id);
                        }
                        if event.is_writable() || event.is_write_closed() {
                            connection.has_room = true;
                            self.to_flush.push(id);
                        }
                    }
                }
            }
        }
        if keeper_speaks {
            self.hear_keeper()?;
        }
        Ok(())
    }

    /// How long there is nothing to do unless a socket says otherwise.
    fn timeout(&self) -> Option<Duration> {
        if !self.turns.is_empty() || !self.to_flush.is_empty() || self.accepts == Accepts::Pending {
            return Some(Duration::ZERO);
        }
        let resume = match self.accepts {
            Accepts::PausedUntil(time) => Some(time),
            Accepts::Idle | Accepts::Pending => None,
        };
        let deadline = [self.server.deadline(), resume].into_iter().flatten().min();
        deadline.map(|deadline| self.clock.until(deadline))
    }

    fn accept(&mut self, now: Time) {
        if matches!(self.accepts, Accepts::PausedUntil(time) if now >= time) {
            self.accepts = Accepts::Pending;
        }
        if self.accepts != Accepts::Pending {
            return;
        }
        for _ in 0..ACCEPTS_PER_TURN_MAX {
            match self.sockets.listener.accept() {
                Ok((stream, _)) => self.take_in(stream, now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.accepts = Accepts::Idle;
                    return;
                }
                // The one that hung up or the signal between costs only itself.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                    ) => {}
                Err(_) => {
                    // No more descriptors, or memory: they wait in the kernel's queue, and we
                    // neither spin nor forget them.
                    self.accepts = Accepts::PausedUntil(now.after(ACCEPT_PAUSE));
                    return;
                }
            }
        }
    }

    fn take_in(&mut self, stream: UnixStream, now: Time) {
        if !(self.sockets.admits)(stream.as_fd()) || stream.set_nonblocking(true).is_err() {
            return;
        }
        let id = self.server.connected(now);
        let connection = Connection::new(stream);
        let descriptor = connection.stream.as_raw_fd();
        let registered = self.poll.registry().register(
            &mut SourceFd(&descriptor),
            token(id),
            Interest::READABLE,
        );
        if registered.is_err() {
            self.server.disconnected(id, now);
        } else {
            // What it sent before it was registered is told by epoll at once.
            self.connections.insert(id, connection);
        }
        self.carry_out(now);
    }

    /// One turn of one connection.
    fn serve(&mut self, id: ConnectionId, now: Time) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.is_queued = false;
        let count = connection.fill(&mut self.scratch);
        let server = &mut self.server;
        if connection.take_hangup() {
            server.hangup(id);
        }
        connection.offer(&self.scratch[..count], |input| {
            server.receive(id, input, now)
        });
        let has_ended = connection.has_ended();
        if has_ended {
            self.drop_connection(id);
            self.server.disconnected(id, now);
        } else if connection.wants_turn() {
            connection.is_queued = true;
            self.turns.push_back(id);
        }
        self.carry_out(now);
        // The one who asked hears at once; the watchers at the end of the turn.
        self.flush(id, now);
    }

    /// Does what the server wants done, and notes who has output.
    fn carry_out(&mut self, now: Time) {
        while let Some(effect) = self.next_effect() {
            match effect {
                Effect::Close { connection } => self.close(connection, now),
                Effect::Drain { connection } => self.drain(connection, now),
                order => {
                    if let Some(message) = order.to_keeper() {
                        self.keeper_outbox.push(&message);
                    }
                }
            }
        }
        while let Some(id) = self.server.poll_ready() {
            self.to_flush.push(id);
        }
    }

    fn next_effect(&mut self) -> Option<Effect> {
        #[cfg(feature = "recording")]
        (self.sockets.witness)(&mut self.server);
        self.server.poll_effect()
    }

    /// Sends what goes without waiting, and closes.
    fn close(&mut self, id: ConnectionId, now: Time) {
        if let Some(connection) = self.connections.get_mut(&id) {
            let outbox = self.server.outbox(id);
            let (sent, _) = connection.flush(outbox);
            if sent > 0 {
                self.server.sent(id, sent, now);
            }
        }
        self.drop_connection(id);
    }

    /// Reads all that a dead process has left in its connection; then it is gone.
    fn drain(&mut self, id: ConnectionId, now: Time) {
        if let Some(mut connection) = self.connections.remove(&id) {
            let server = &mut self.server;
            connection.drain(&mut self.scratch, |input| server.receive(id, input, now));
        }
        self.drop_connection(id);
        self.server.drained(id, now);
    }

    /// Closing the socket takes it out of epoll; nobody else has a copy of it.
    fn drop_connection(&mut self, id: ConnectionId) {
        self.connections.remove(&id);
        // There is a descriptor again for who waits for one.
        if matches!(self.accepts, Accepts::PausedUntil(_)) {
            self.accepts = Accepts::Pending;
        }
    }

    fn flush_all(&mut self, now: Time) {
        // What becomes ready meanwhile is for the next turn, else a fast reader could keep us here.
        for id in std::mem::take(&mut self.to_flush) {
            self.flush(id, now);
        }
    }

    /// Sends what there is room for.
    fn flush(&mut self, id: ConnectionId, now: Time) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let outbox = self.server.outbox(id);
        // While a write is blocked epoll tells when to try again.
        if outbox.is_empty() || (connection.asks_room && !connection.has_room) {
            return;
        }
        connection.has_room = false;
        let (sent, result) = connection.flush(outbox);
        if sent > 0 {
            self.server.sent(id, sent, now);
        }
        match result {
            Flush::Done => self.ask_room(id, false),
            Flush::Full => self.ask_room(id, true),
            Flush::Broken => {
                // What it sent before it hung up still counts: reading comes to the end, too.
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.break_off();
                }
            }
        }
        if sent > 0 {
            self.carry_out(now);
        }
        // Requests that waited for room in the outbox may go on.
        if let Some(connection) = self.connections.get_mut(&id)
            && connection.wants_turn_after_send(sent)
            && !connection.is_queued
        {
            connection.is_queued = true;
            self.turns.push_back(id);
        }
    }

    /// Asks epoll about room to write while a write is blocked, and only then.
    fn ask_room(&mut self, id: ConnectionId, room: bool) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if connection.asks_room == room {
            return;
        }
        let interest = if room {
            Interest::READABLE | Interest::WRITABLE
        } else {
            Interest::READABLE
        };
        let descriptor = connection.stream.as_raw_fd();
        let result =
            self.poll
                .registry()
                .reregister(&mut SourceFd(&descriptor), token(id), interest);
        if result.is_ok() {
            connection.asks_room = room;
        } else {
            connection.break_off();
        }
    }

    fn hear_keeper(&mut self) -> Result<(), LoopEnd> {
        let has_ended = loop {
            match (&self.sockets.keeper).read(&mut self.scratch) {
                Ok(0) => break true,
                Ok(count) => self.keeper_inbox.extend_from_slice(&self.scratch[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break error.kind() != io::ErrorKind::WouldBlock,
            }
        };
        let now = self.clock.now();
        let mut inbox = std::mem::take(&mut self.keeper_inbox);
        let mut consumed = 0;
        while let Some((payload, length)) =
            frame::split(&inbox[consumed..]).map_err(LoopEnd::KeeperMalformed)?
        {
            let event = codec::decode(payload).map_err(LoopEnd::KeeperMalformed)?;
            self.server.keeper(event, now);
            self.carry_out(now);
            consumed += length;
        }
        inbox.drain(..consumed);
        self.keeper_inbox = inbox;
        if has_ended {
            return Err(LoopEnd::KeeperLost);
        }
        Ok(())
    }

    fn flush_keeper(&mut self) -> Result<(), LoopEnd> {
        let mut is_full = false;
        while !self.keeper_outbox.is_empty() {
            match (&self.sockets.keeper).write(self.keeper_outbox.pending()) {
                Ok(count) => self.keeper_outbox.advance(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    is_full = true;
                    break;
                }
                Err(_) => return Err(LoopEnd::KeeperLost),
            }
        }
        if is_full == self.keeper_waits_for_room {
            return Ok(());
        }
        let interest = if is_full {
            Interest::READABLE | Interest::WRITABLE
        } else {
            Interest::READABLE
        };
        let descriptor = self.sockets.keeper.as_raw_fd();
        self.poll
            .registry()
            .reregister(&mut SourceFd(&descriptor), KEEPER, interest)
            .map_err(LoopEnd::Broken)?;
        self.keeper_waits_for_room = is_full;
        Ok(())
    }
}

fn note(connection: &mut Connection, event: &Event) {
    let has_closed = event.is_read_closed() || event.is_error();
    if event.is_readable() || has_closed {
        connection.note_readable(has_closed);
    }
}

fn token(id: ConnectionId) -> Token {
    // 64 bits: every platform that we run on has them.
    Token((id.0 + FIRST_CONNECTION) as usize)
}
