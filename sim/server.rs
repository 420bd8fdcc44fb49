//! Drives the real server over the simulated network, as a real driver does over sockets.

use crate::choices::{Part, TO_CLIENT, TO_SERVER, TURNS};
use crate::events::Event;
use crate::faults::Fault;
use crate::history::Committed;
use crate::network::Pipe;
use crate::seen::{Refused, Seen};
use crate::story::Lane;
use crate::world::World;
use std::collections::BTreeMap;
use zproc::seam::proto::codec;
use zproc::seam::proto::frame;
use zproc::seam::proto::ids::{ConnectionId, ProcessId};
use zproc::seam::proto::limits::Limits;
use zproc::seam::proto::loss::{ServerEnd, ServerLoss};
use zproc::seam::proto::message::{FromClient, FromServer};
use zproc::seam::proto::server::{Effect, Server};
use zproc::seam::proto::time::Time;

/// One connection, with both its ends.
pub(crate) struct Link {
    /// The client's process.
    pub(crate) process: ProcessId,
    connection: ConnectionId,
    pub(crate) to_server: Pipe,
    pub(crate) to_client: Pipe,
    /// Read by the server's driver and not consumed by the server.
    inbox: Vec<u8>,
    /// The client has not closed its end.
    pub(crate) client_open: bool,
    /// The server has not closed its end, nor seen the client's end.
    pub(crate) server_open: bool,
    /// The connection was reset.
    pub(crate) broken: bool,
    /// The server has more to say than there was room for.
    server_has_output: bool,
    /// Bytes to the server, and to the client, stand still until then.
    pub(crate) held_until: [Time; 2],
    /// A `ServerWritable` is queued.
    writable_queued: bool,
    /// A `ServerTurn` is queued.
    turn_queued: bool,
    /// The server has read the hello, and not refused it.
    greeted: bool,
}

impl Link {
    /// Have both ends been closed?
    pub(crate) fn is_over(&self) -> bool {
        !self.client_open && !self.server_open
    }

    /// What the server's driver has read and the server has not taken.
    pub(crate) fn inbox_bytes(&self) -> usize {
        self.inbox.len()
    }
}

/// The server and its connections.
pub(crate) struct ServerHost {
    pub(crate) server: Server,
    /// The server's limits.
    pub(crate) limits: Limits,
    /// It calls the program's functions.
    pub(crate) runs_functions: bool,
    pub(crate) links: Vec<Link>,
    by_connection: BTreeMap<ConnectionId, usize>,
    tick_at: Option<Time>,
    /// It has ended.
    pub(crate) is_lost: bool,
    /// And so: whoever has lost it is told.
    pub(crate) loss: Option<ServerLoss>,
    /// How far its clock is ahead of the world's.
    pub(crate) clock_ahead_ns: u64,
}

/// The driver reads no further ahead of the server once it holds so much.
const INBOX_BYTES: usize = 256 * 1024;

impl ServerHost {
    pub(crate) fn new(server: Server, limits: Limits, runs_functions: bool) -> ServerHost {
        ServerHost {
            server,
            limits,
            runs_functions,
            links: Vec::new(),
            by_connection: BTreeMap::new(),
            tick_at: None,
            is_lost: false,
            loss: None,
            clock_ahead_ns: 0,
        }
    }
}

impl World {
    /// A client connects.
    pub(crate) fn open_link(&mut self, process: ProcessId) -> usize {
        let now = self.server_now();
        let connection = self.host.server.connected(now);
        let link = self.host.links.len();
        let [to_server, to_client] = self.pipes(process);
        self.host.links.push(Link {
            process,
            connection,
            to_server,
            to_client,
            held_until: [Time::default(); 2],
            inbox: Vec::new(),
            client_open: true,
            server_open: true,
            broken: false,
            server_has_output: false,
            writable_queued: false,
            turn_queued: false,
            greeted: false,
        });
        self.host.by_connection.insert(connection, link);
        if let Some(story) = self.trace.story(self.now) {
            story.note(process.into(), format!("connects (link {link})"));
        }
        self.settle();
        link
    }

    /// Queues the next delivery to the server, if something is due and none is queued.
    pub(crate) fn deliver_to_server(&mut self, link: usize) {
        let pipe = &self.host.links[link].to_server;
        if pipe.delivering || !pipe.is_due() || !self.host.links[link].server_open {
            return;
        }
        self.host.links[link].to_server.delivering = true;
        let delay_ns = self.delivery_delay(link, TO_SERVER);
        self.after(delay_ns, Event::ToServer { link });
    }

    fn deliver_to_client(&mut self, link: usize) {
        let pipe = &self.host.links[link].to_client;
        if pipe.delivering || !pipe.is_due() || !self.host.links[link].client_open {
            return;
        }
        self.host.links[link].to_client.delivering = true;
        let delay_ns = self.delivery_delay(link, TO_CLIENT);
        self.after(delay_ns, Event::ToClient { link });
    }

    /// How many of the travelling bytes arrive now; all of them, unless a fault cuts them in two.
    fn delivery_size(&mut self, travelling: usize, process: ProcessId) -> usize {
        if travelling > 1 && self.strikes(Fault::PartialRead, process) {
            return self.choices.between(
                Part::Fault(Fault::PartialRead, process.0),
                1,
                travelling as u64 - 1,
            ) as usize;
        }
        travelling
    }

    pub(crate) fn arrive_at_server(&mut self, link: usize) {
        if let Some(until) = self.is_held(link, 0) {
            return self.at(until, Event::ToServer { link });
        }
        self.host.links[link].to_server.delivering = false;
        if self.maybe_reset(link) || !self.host.links[link].server_open {
            return;
        }
        let process = self.host.links[link].process;
        if self.maybe_lose_server(process) {
            return;
        }
        self.maybe_jump_server(process);
        let travelling = self.host.links[link].to_server.travelling();
        let count = self.delivery_size(travelling, process);
        let arriving = &mut self.host.links[link];
        let (front, back) = arriving.to_server.travelling_slices(count);
        self.trace.fold_bytes(front);
        self.trace.fold_bytes(back);
        arriving.to_server.arrive(count);
        if let Some(story) = self.trace.story(self.now) {
            story.arrived(link, true, count);
        }
        self.server_reads(link);
        self.deliver_to_server(link);
    }

    pub(crate) fn arrive_at_client(&mut self, link: usize) {
        if let Some(until) = self.is_held(link, 1) {
            return self.at(until, Event::ToClient { link });
        }
        self.host.links[link].to_client.delivering = false;
        if self.maybe_reset(link) || !self.host.links[link].client_open {
            return;
        }
        let process = self.host.links[link].process;
        let travelling = self.host.links[link].to_client.travelling();
        let count = self.delivery_size(travelling, process);
        let arriving = &mut self.host.links[link];
        let (front, back) = arriving.to_client.travelling_slices(count);
        self.trace.fold_bytes(front);
        self.trace.fold_bytes(back);
        arriving.to_client.arrive(count);
        if let Some(story) = self.trace.story(self.now) {
            story.arrived(link, false, count);
        }
        self.wake_reader(link);
        self.deliver_to_client(link);
    }

    /// The thread that waits on this link has something to look at.
    pub(crate) fn wake_reader(&mut self, link: usize) {
        let process = self.host.links[link].process;
        if let Some(process) = self.processes.get(&process)
            && process.link == Some(link)
            && let Some(waiter) = process.waiter
        {
            self.wake_thread(waiter);
        }
    }

    /// Breaks a connection whose bytes are on the move, if the fault strikes.
    fn maybe_reset(&mut self, link: usize) -> bool {
        let process = self.host.links[link].process;
        let whole = !self.host.links[link].broken
            && self.host.links[link].client_open
            && self.host.links[link].server_open;
        if !whole || !self.strikes(Fault::Reset, process) {
            return false;
        }
        let travelling = [
            self.host.links[link].to_server.travelling(),
            self.host.links[link].to_client.travelling(),
        ];
        let keep = travelling.map(|count| {
            self.choices
                .below(Part::Fault(Fault::Reset, process.0), count as u64 + 1) as usize
        });
        let broken = &mut self.host.links[link];
        broken.broken = true;
        broken.to_server.cut(keep[0]);
        broken.to_client.cut(keep[1]);
        if let Some(story) = self.trace.story(self.now) {
            story.fault(process.into(), Fault::Reset, &format!("link {link} breaks"));
            story.cut(link, true, keep[0]);
            story.cut(link, false, keep[1]);
        }
        self.deliver_to_server(link);
        self.deliver_to_client(link);
        self.room_for_server(link);
        true
    }

    /// The client closes its end; what it has written still arrives.
    pub(crate) fn client_closed(&mut self, link: usize) {
        let closed = &mut self.host.links[link];
        if !closed.client_open {
            return;
        }
        closed.client_open = false;
        closed.to_server.close();
        if let Some(story) = self.trace.story(self.now) {
            story.cut(link, false, 0);
        }
        self.deliver_to_server(link);
        self.room_for_server(link);
    }

    /// The server's driver reads what has arrived and gives it to the server.
    fn server_reads(&mut self, link: usize) {
        loop {
            let reading = &mut self.host.links[link];
            if !reading.server_open {
                return;
            }
            // Read ahead is bounded, but a whole frame always fits.
            let has_frame = matches!(frame::split(&reading.inbox), Ok(Some(_)));
            let full = has_frame && reading.inbox.len() >= INBOX_BYTES;
            let count = if full {
                0
            } else {
                reading.to_server.readable()
            };
            reading.to_server.read(count, &mut reading.inbox);
            if reading.to_server.at_end() {
                // What the server says now nobody reads, so nothing waits for room.
                let connection = reading.connection;
                self.host.server.hangup(connection);
            }
            if count > 0 {
                self.wake_reader(link);
            }
            let consumed = self.server_receives(link);
            if count == 0 && consumed == 0 {
                break;
            }
        }
        let reading = &mut self.host.links[link];
        // As a real driver, which reads zero bytes only behind all others. What the server has left
        // in the inbox is half a frame, or waits for room: with the reader gone, neither comes.
        if reading.to_server.at_end() && !reading.turn_queued && reading.server_open {
            reading.server_open = false;
            let connection = reading.connection;
            self.host.by_connection.remove(&connection);
            let now = self.server_now();
            self.host.server.disconnected(connection, now);
            self.host.links[link].to_client.close();
            self.deliver_to_client(link);
            self.settle();
        }
    }

    /// Offers the inbox to the server; how much it took.
    fn server_receives(&mut self, link: usize) -> usize {
        let now = self.server_now();
        let offered = &mut self.host.links[link];
        if offered.inbox.is_empty() || offered.turn_queued {
            return 0;
        }
        let received = (self.host.server).receive(offered.connection, &offered.inbox, now);
        offered.inbox.drain(..received.consumed);
        offered.greeted |= received.consumed > 0;
        if received.more {
            offered.turn_queued = true;
            let ProcessId(process) = self.host.links[link].process;
            let delay_ns = 500 + self.choices.below(Part::Network(process, TURNS), 2_000);
            self.after(delay_ns, Event::ServerTurn { link });
        }
        self.settle();
        received.consumed
    }

    pub(crate) fn server_turn(&mut self, link: usize) {
        self.host.links[link].turn_queued = false;
        self.server_reads(link);
    }

    pub(crate) fn server_writable(&mut self, link: usize) {
        self.host.links[link].writable_queued = false;
        if self.host.links[link].server_has_output {
            self.server_writes(link);
            self.settle();
        }
    }

    /// The client has read: there may be room again for the server.
    pub(crate) fn room_for_server(&mut self, link: usize) {
        let roomy = &mut self.host.links[link];
        if roomy.server_has_output && !roomy.writable_queued {
            roomy.writable_queued = true;
            let ProcessId(process) = roomy.process;
            let delay_ns = self
                .choices
                .between(Part::Network(process, TURNS), 1_000, 10_000);
            self.after(delay_ns, Event::ServerWritable { link });
        }
    }

    pub(crate) fn server_tick(&mut self) {
        self.host.tick_at = None;
        if self.host.is_lost {
            return;
        }
        let now = self.server_now();
        self.host.server.tick(now);
        self.settle();
    }

    /// Takes from the server all that it wants done, until it wants nothing more.
    pub(crate) fn settle(&mut self) {
        loop {
            if self.host.is_lost {
                return;
            }
            self.take_commits();
            if let Some(effect) = self.host.server.poll_effect() {
                self.effect(effect);
            } else if let Some(connection) = self.host.server.poll_ready() {
                if let Some(link) = self.host.by_connection.get(&connection) {
                    self.server_writes(*link);
                } else {
                    self.keeper_is_told(connection);
                }
            } else {
                break;
            }
        }
        let deadline = self.host.server.deadline();
        if let Some(deadline) = deadline.map(|at| self.when_server_shows(at))
            && self.host.tick_at.is_none_or(|queued| deadline < queued)
        {
            self.host.tick_at = Some(deadline);
            self.at(deadline, Event::ServerTick);
        }
    }

    fn take_commits(&mut self) {
        while let Some(commit) = self.host.server.poll_commit() {
            self.trace.fold(commit.revision.0);
            let held =
                |link: &Link| link.process == commit.process && link.server_open && link.greeted;
            let attached = commit.released.is_some() && self.host.links.iter().any(held);
            let committed = Committed {
                attached,
                ..Committed::from(commit)
            };
            if let Some(story) = self.trace.story(self.now) {
                story.committed(&committed);
            }
            self.history.committed(committed);
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Close { connection } => {
                let Some(link) = self.host.by_connection.remove(&connection) else {
                    return self.judge_close(connection);
                };
                self.note_refusal(link);
                self.server_flushes(link);
                let closed = &mut self.host.links[link];
                closed.server_open = false;
                closed.to_client.close();
                if let Some(story) = self.trace.story(self.now) {
                    story.note(Lane::Server, format!("closes link {link}"));
                    story.cut(link, true, 0);
                }
                self.deliver_to_client(link);
                self.wake_reader(link);
            }
            Effect::Drain { connection } => self.server_drains(connection),
            Effect::Spawn {
                process,
                key,
                name,
                setup,
            } => self.keeper_spawns(process, key, name, setup),
            Effect::Stop { process, grace_ns } => self.keeper_stops(process, grace_ns),
            Effect::Kill { process, why } => self.keeper_kills(process, why),
        }
    }

    /// Reads all that the kernel holds of a dead process's connection, arrived or not.
    fn server_drains(&mut self, connection: ConnectionId) {
        let now = self.server_now();
        if let Some(link) = self.host.by_connection.get(&connection).copied() {
            let drained = &mut self.host.links[link];
            if let Some(story) = self.trace.story(self.now) {
                story.note(
                    Lane::Server,
                    format!("drains link {link} of {}", drained.process),
                );
                story.arrived(link, true, drained.to_server.travelling());
            }
            drained.to_server.read_all(&mut drained.inbox);
            loop {
                let drained = &mut self.host.links[link];
                let received = (self.host.server).receive(connection, &drained.inbox, now);
                drained.inbox.drain(..received.consumed);
                if received.consumed == 0 {
                    break;
                }
            }
            let drained = &mut self.host.links[link];
            drained.server_open = false;
            drained.to_client.close();
            self.host.by_connection.remove(&connection);
            // Who has lost its keeper may live, and sees the end.
            self.deliver_to_client(link);
            self.wake_reader(link);
        }
        self.host.server.drained(connection, now);
    }

    /// Writes what the server has to say on a connection, as much as there is room for.
    fn server_writes(&mut self, link: usize) {
        let process = self.host.links[link].process;
        if !self.host.links[link].server_open || self.maybe_lose_server(process) {
            return;
        }
        let writing = &mut self.host.links[link];
        let pending = self.host.server.outbox(writing.connection).len();
        let mut count = pending.min(writing.to_client.room());
        if writing.broken || !writing.client_open {
            // What is written to a connection without a reader goes nowhere.
            count = pending;
        } else if count > 1 && self.strikes(Fault::PartialWrite, process) {
            count = self.choices.between(
                Part::Fault(Fault::PartialWrite, process.0),
                1,
                count as u64 - 1,
            ) as usize;
        }
        let written = self.server_sends(link, count);
        let writing = &mut self.host.links[link];
        writing.server_has_output = written < pending;
        if written < pending && writing.to_client.room() > 0 {
            self.room_for_server(link);
        }
        self.deliver_to_client(link);
        // With room in its outbox the server may take more of what it was offered.
        let holds_a_frame = matches!(frame::split(&self.host.links[link].inbox), Ok(Some(_)));
        if written > 0 && holds_a_frame {
            self.server_may_go_on(link);
        }
    }

    /// The server may be killed, here: before what has come is looked at, or when it has been dealt
    /// with and nobody was told.
    fn maybe_lose_server(&mut self, process: ProcessId) -> bool {
        let strikes = !self.host.is_lost && self.strikes(Fault::ServerCrash, process);
        if strikes {
            self.lose_server();
        }
        strikes
    }

    /// The server's ends of all connections close, as when its process ends.
    pub(crate) fn close_server(&mut self, how: ServerEnd) {
        self.host.is_lost = true;
        self.host.loss = Some(ServerLoss::new(how));
        self.host.by_connection.clear();
        for link in 0..self.host.links.len() {
            let closed = &mut self.host.links[link];
            if closed.server_open {
                closed.server_open = false;
                closed.to_client.close();
                self.deliver_to_client(link);
                self.wake_reader(link);
            }
        }
    }

    fn server_may_go_on(&mut self, link: usize) {
        let offered = &mut self.host.links[link];
        if offered.server_open && !offered.turn_queued {
            offered.turn_queued = true;
            let ProcessId(process) = self.host.links[link].process;
            let delay_ns = 500 + self.choices.below(Part::Network(process, TURNS), 2_000);
            self.after(delay_ns, Event::ServerTurn { link });
        }
    }

    /// Puts the first `count` bytes of the outbox into the stream.
    fn server_sends(&mut self, link: usize, count: usize) -> usize {
        let sending = &mut self.host.links[link];
        let bytes = &self.host.server.outbox(sending.connection)[..count];
        if sending.client_open && !sending.broken {
            sending.to_client.write(bytes);
        }
        if let Some(story) = self.trace.story(self.now) {
            story.written(link, sending.process, false, bytes);
        }
        if count > 0 {
            let now = Time(self.now.0 + self.host.clock_ahead_ns);
            self.host.server.sent(sending.connection, count, now);
        }
        count
    }

    /// Before a close: notes why, if the last that the server says is a reason.
    fn note_refusal(&mut self, link: usize) {
        let closing = &self.host.links[link];
        let bytes = self.host.server.outbox(closing.connection);
        // What was sent before may have ended in the middle of a frame.
        let refused = (0..bytes.len()).find_map(|start| match frame::split(&bytes[start..]) {
            Ok(Some((payload, length))) if start + length == bytes.len() => {
                match codec::decode::<FromServer<'_>>(payload) {
                    Ok(FromServer::Refused { refusal }) => Some(Refused::of(refusal)),
                    _ => None,
                }
            }
            _ => None,
        });
        if let Some(refused) = refused {
            let is_told = closing.to_client.room() >= bytes.len();
            let process = closing.process;
            self.host.links[link].greeted = false;
            self.saw(process, Seen::Refused { refused, is_told });
        }
    }

    /// Has a client of this process been welcome?
    pub(crate) fn has_greeted(&self, process: ProcessId) -> bool {
        let mut links = self.host.links.iter();
        links.any(|link| link.process == process && link.greeted)
    }

    /// Before a close: what goes without waiting.
    fn server_flushes(&mut self, link: usize) {
        let flushing = &self.host.links[link];
        if !flushing.client_open || flushing.broken {
            return;
        }
        let pending = self.host.server.outbox(flushing.connection).len();
        let count = pending.min(flushing.to_client.room());
        let bytes = &self.host.server.outbox(flushing.connection)[..count];
        let flushing = &mut self.host.links[link];
        flushing.to_client.write(bytes);
        if let Some(story) = self.trace.story(self.now) {
            story.written(link, flushing.process, false, bytes);
        }
    }

    /// A client's bytes go into the stream.
    pub(crate) fn client_writes(&mut self, link: usize, bytes: &[u8]) {
        let writing = &mut self.host.links[link];
        writing.to_server.write(bytes);
        if let Some(story) = self.trace.story(self.now) {
            story.written(link, writing.process, true, bytes);
        }
        self.deliver_to_server(link);
    }

    /// The whole requests that lie in a connection, read by the server's driver or not. None if the
    /// server can't know yet whose connection it is.
    pub(crate) fn unread_requests(&self, link: usize) -> Vec<Vec<u8>> {
        let link = &self.host.links[link];
        if !link.server_open || link.broken || !link.greeted {
            return Vec::new();
        }
        let (front, back) = link.to_server.contents();
        whole_requests(&[&link.inbox, front, back].concat())
    }
}

/// The requests that stand, whole, in what a client has written.
pub(crate) fn whole_requests(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut requests = Vec::new();
    let mut rest = bytes;
    while let Ok(Some((payload, length))) = frame::split(rest) {
        if let Ok(FromClient::Request { body, .. }) = codec::decode::<FromClient<'_>>(payload) {
            requests.push(codec::to_bytes(&body));
        }
        rest = &rest[length..];
    }
    requests
}
