//! A port in memory, with a scripted server behind it and a clock that only tests move.

use crate::proto::client::Config;
use crate::proto::codec;
use crate::proto::frame;
use crate::proto::ids::{BuildId, ProcessId, Revision, Seq, SessionId, Token};
use crate::proto::limits::{IN_FLIGHT_MAX, Limits, PART_BYTES_MAX};
use crate::proto::loss::{ServerEnd, ServerLoss};
use crate::proto::message::{Change, FromClient, FromServer, Origin, Reply, Request, Update};
use crate::proto::time::Time;
use crate::runtime::{ConnectError, LinkId, Observation, Parker, Port, Ready};
use crate::sync::{Mutex, lock};
#[cfg(loom)]
use loom::sync::Condvar;
use std::collections::VecDeque;
use std::io::{Error, ErrorKind};
use std::sync::Arc;
#[cfg(not(loom))]
use std::sync::Condvar;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the server does with a message: it appends frames for the client.
pub(super) type Script = Box<dyn FnMut(&FromClient<'_>, &mut Vec<u8>) + Send>;

/// Everything that tests look at and turn.
pub(super) struct World {
    pub(super) now: Time,
    pub(super) link: Option<u64>,
    pub(super) links: u64,
    /// So many connections are refused first.
    pub(super) refuse: u32,
    pub(super) gone: bool,
    #[cfg_attr(loom, expect(dead_code, reason = "no model forks"))]
    pub(super) forked: bool,
    /// Bytes that the client may write before its socket is full.
    pub(super) room: usize,
    pub(super) write_fails: bool,
    /// Bytes that one read gives at most.
    pub(super) read_max: usize,
    /// A sleep until a deadline moves the clock there.
    pub(super) clock_runs: bool,
    /// Threads in `wait`, and the write interest of the last.
    pub(super) waiting: usize,
    pub(super) wants_write: bool,
    /// Threads in `park`.
    pub(super) parked: usize,
    /// What the client did to the port: c(onnect), d(isconnect), r(ead), w(rite), s(leep), !(wake).
    pub(super) trace: String,
    /// What the client sent, debug-printed.
    pub(super) sent: Vec<String>,
    pub(super) observed: Vec<String>,
    /// Requests that have arrived, repeated ones too.
    pub(super) requests: usize,
    script: Script,
    inbound: VecDeque<u8>,
    eof: bool,
    woken: bool,
    /// The client's process was asked to end, which no `wait` has told yet.
    bell: bool,
    partial: Vec<u8>,
    parkers: Vec<Arc<Condvar>>,
}

struct Shared {
    world: Mutex<World>,
    /// The client's process was asked to end. Not behind the lock: a handler takes none.
    stopping: AtomicBool,
    /// Something for the thread in `wait`.
    link: Condvar,
    /// Something for the test.
    test: Condvar,
}

#[derive(Clone)]
pub(super) struct Mock(Arc<Shared>);

pub(super) fn config() -> Config {
    Config {
        process: ProcessId(7),
        key: Token([1, 2]),
        pid: 70,
        build: BuildId([3, 4]),
        in_flight_max: IN_FLIGHT_MAX,
        part_bytes_max: PART_BYTES_MAX,
    }
}

pub(super) const SESSION: SessionId = SessionId(5);
pub(super) const TOKEN: Token = Token([6, 7]);

/// Welcomes, and resumes whatever is asked for.
pub(super) fn welcome(message: &FromClient<'_>, to: &mut Vec<u8>) {
    if let FromClient::Hello(hello) = message {
        let welcome = FromServer::Welcome {
            session: SESSION,
            token: TOKEN,
            resumed: hello.resume.is_some(),
            limits: Limits::USUAL.agreed(),
        };
        frame::append(&welcome, to);
    }
}

pub(super) fn reply(seq: Seq, reply: &Reply<'_>, to: &mut Vec<u8>) {
    let body = codec::to_bytes(reply);
    frame::append(&FromServer::Reply { seq, body: &body }, to);
}

/// The answer by which a caller knows its own request: its key, as the value.
pub(super) fn echo(message: &FromClient<'_>, to: &mut Vec<u8>) {
    welcome(message, to);
    if let FromClient::Request { seq, body, .. } = message {
        match body {
            Request::Get { key, .. } => {
                let value = Some(key.as_bytes());
                let revision = Revision(seq.0);
                reply(*seq, &Reply::Value { revision, value }, to);
            }
            Request::Wait { .. } => {}
            Request::Watch { .. } => {
                reply(*seq, &Reply::Watching { next: Revision(1) }, to);
            }
            _ => {
                let revision = Revision(seq.0);
                reply(*seq, &Reply::Done { revision }, to);
            }
        }
    }
}

impl Mock {
    pub(super) fn new(script: impl FnMut(&FromClient<'_>, &mut Vec<u8>) + Send + 'static) -> Mock {
        Mock(Arc::new(Shared {
            stopping: AtomicBool::new(false),
            world: Mutex::new(World {
                now: Time(1),
                link: None,
                links: 0,
                refuse: 0,
                gone: false,
                forked: false,
                room: usize::MAX,
                write_fails: false,
                read_max: usize::MAX,
                clock_runs: false,
                waiting: 0,
                wants_write: false,
                parked: 0,
                trace: String::new(),
                sent: Vec::new(),
                observed: Vec::new(),
                requests: 0,
                script: Box::new(script),
                inbound: VecDeque::new(),
                eof: false,
                woken: false,
                bell: false,
                partial: Vec::new(),
                parkers: Vec::new(),
            }),
            link: Condvar::new(),
            test: Condvar::new(),
        }))
    }

    pub(super) fn port(&self) -> Arc<dyn Port> {
        Arc::new(self.clone())
    }

    /// Looks at the world, or turns something in it that no sleeper has to see.
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut World) -> R) -> R {
        work(&mut lock(&self.0.world))
    }

    /// Sends bytes to the client.
    pub(super) fn push_bytes(&self, bytes: &[u8]) {
        self.with(|world| world.inbound.extend(bytes));
        self.0.link.notify_all();
    }

    pub(super) fn push(&self, message: &FromServer<'_>) {
        let mut bytes = Vec::new();
        frame::append(message, &mut bytes);
        self.push_bytes(&bytes);
    }

    pub(super) fn push_reply(&self, seq: u64) {
        let mut bytes = Vec::new();
        let revision = Revision(seq);
        reply(Seq(seq), &Reply::Done { revision }, &mut bytes);
        self.push_bytes(&bytes);
    }

    /// The server closes the connection.
    pub(super) fn cut(&self) {
        self.with(|world| world.eof = true);
        self.0.link.notify_all();
    }

    /// The client may write this many bytes more.
    pub(super) fn give_room(&self, bytes: usize) {
        self.with(|world| world.room = bytes);
        self.0.link.notify_all();
    }

    pub(super) fn advance(&self, now: Time) {
        let parkers = self.with(|world| {
            world.now = now;
            world.parkers.clone()
        });
        self.0.link.notify_all();
        for parker in parkers {
            parker.notify_all();
        }
    }

    /// Asks the client's process to end, as the handler of the signal does: the flag, then the bell.
    pub(super) fn stop(&self) {
        self.0.stopping.store(true, Ordering::Release);
        self.with(|world| world.bell = true);
        self.0.link.notify_all();
    }

    /// Sleeps until the world is so.
    #[cfg(not(loom))]
    pub(super) fn until(&self, condition: impl Fn(&World) -> bool) {
        let mut world = lock(&self.0.world);
        while !condition(&world) {
            world = self
                .0
                .test
                .wait(world)
                .expect("no test panics with the lock");
        }
    }

    /// Sleeps until so many requests have arrived.
    #[cfg(loom)]
    pub(super) fn until_requests(&self, count: usize) {
        let mut world = lock(&self.0.world);
        while world.requests < count {
            world = self
                .0
                .test
                .wait(world)
                .expect("no test panics with the lock");
        }
    }

    fn tell_test(&self) {
        if cfg!(not(loom)) {
            self.0.test.notify_all();
        }
    }
}

impl World {
    fn check(&self, link: LinkId) -> std::io::Result<()> {
        if self.link == Some(link.0) {
            Ok(())
        } else {
            Err(Error::from(ErrorKind::NotConnected))
        }
    }

    fn serve(&mut self) {
        let input = std::mem::take(&mut self.partial);
        let mut rest = input.as_slice();
        let mut output = Vec::new();
        while let Some((payload, bytes)) = frame::split(rest).expect("the client frames well") {
            let message: FromClient<'_> = codec::decode(payload).expect("the client encodes well");
            if cfg!(not(loom)) {
                self.sent.push(format!("{message:?}"));
            }
            self.requests += usize::from(matches!(message, FromClient::Request { .. }));
            (self.script)(&message, &mut output);
            rest = &rest[bytes..];
        }
        self.partial = rest.to_vec();
        self.inbound.extend(output);
    }
}

impl Port for Mock {
    fn connect(&self) -> Result<LinkId, ConnectError> {
        let result = self.with(|world| {
            world.trace.push('c');
            if world.gone {
                let seen = ServerLoss::new(ServerEnd::Unseen);
                return Err(ConnectError::Gone(seen));
            }
            if world.refuse > 0 {
                world.refuse -= 1;
                let refused = Error::from(ErrorKind::ConnectionRefused);
                return Err(ConnectError::Refused(refused));
            }
            world.links += 1;
            world.link = Some(world.links);
            world.inbound.clear();
            world.partial.clear();
            world.eof = false;
            Ok(LinkId(world.links))
        });
        self.tell_test();
        result
    }

    fn disconnect(&self, link: LinkId) {
        self.with(|world| {
            world.trace.push('d');
            if world.link == Some(link.0) {
                world.link = None;
            }
        });
        self.tell_test();
    }

    fn try_read(&self, link: LinkId, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.with(|world| {
            world.trace.push('r');
            world.check(link)?;
            let count = buffer.len().min(world.inbound.len()).min(world.read_max);
            for (to, from) in buffer.iter_mut().zip(world.inbound.drain(..count)) {
                *to = from;
            }
            if count == 0 && !world.eof {
                return Err(Error::from(ErrorKind::WouldBlock));
            }
            Ok(count)
        })
    }

    fn try_write(&self, link: LinkId, bytes: &[u8]) -> std::io::Result<usize> {
        let result = self.with(|world| {
            world.trace.push('w');
            world.check(link)?;
            if world.write_fails {
                return Err(Error::from(ErrorKind::BrokenPipe));
            }
            let count = bytes.len().min(world.room);
            if count == 0 {
                return Err(Error::from(ErrorKind::WouldBlock));
            }
            world.room -= count;
            world.partial.extend_from_slice(&bytes[..count]);
            world.serve();
            Ok(count)
        });
        self.0.link.notify_all();
        // In loom's models every notice is one more branch, so only this one is given there.
        self.0.test.notify_all();
        result
    }

    fn wait(&self, link: LinkId, write: bool, deadline: Option<Time>) -> Ready {
        let mut world = lock(&self.0.world);
        world.trace.push('s');
        world.waiting += 1;
        world.wants_write = write;
        self.tell_test();
        assert_eq!(world.waiting, 1, "two threads in the reader's role");
        let ready = loop {
            let ready = Ready {
                readable: world.link != Some(link.0) || !world.inbound.is_empty() || world.eof,
                writable: write && world.room > 0,
            };
            let told = std::mem::take(&mut world.bell);
            if told || ready != Ready::default() || std::mem::take(&mut world.woken) {
                break ready;
            }
            if deadline.is_some_and(|deadline| deadline <= world.now) {
                break ready;
            }
            if world.clock_runs
                && let Some(deadline) = deadline
            {
                world.now = deadline;
                continue;
            }
            world = self.0.link.wait(world).expect("no test panics with it");
        };
        world.waiting -= 1;
        ready
    }

    fn is_stopping(&self) -> bool {
        self.0.stopping.load(Ordering::Acquire)
    }

    fn wake(&self) {
        self.with(|world| {
            world.trace.push('!');
            world.woken = true;
        });
        self.0.link.notify_all();
    }

    // Loom's tests don't fork, and a look at the world is one more place for it to switch.
    #[cfg(not(loom))]
    fn is_forked(&self) -> bool {
        self.with(|world| world.forked)
    }

    fn parker(&self) -> Arc<dyn Parker> {
        let parker = MockParker {
            mock: self.clone(),
            token: Mutex::new(false),
            condition: Arc::new(Condvar::new()),
        };
        self.with(|world| world.parkers.push(parker.condition.clone()));
        Arc::new(parker)
    }

    fn now(&self) -> Time {
        self.with(|world| world.now)
    }

    fn random(&self) -> u64 {
        0
    }

    fn observe(&self, observation: Observation<'_>) {
        if cfg!(not(loom)) {
            self.with(|world| {
                world.observed.push(match observation {
                    Observation::Called { call, .. } => format!("called {call}"),
                    Observation::Returned { call, .. } => format!("returned {call}"),
                    Observation::Unknown { call } => format!("unknown {call}"),
                    Observation::NotSent { call } => format!("not sent {call}"),
                    Observation::Unwatched { watch } => format!("unwatched {watch}"),
                    Observation::Unlocked { name, grant } => format!("unlocked {name} {grant}"),
                    Observation::Released { lease } => format!("released {}", lease.0),
                    Observation::Ran(ran) => format!("ran {}", ran.function),
                    Observation::Updated { watch, update } => {
                        format!("updated {watch} {}", update.revision)
                    }
                });
            });
        }
    }
}

struct MockParker {
    mock: Mock,
    /// Guarded by the world's lock as well, which the sleeper holds between look and sleep.
    token: Mutex<bool>,
    condition: Arc<Condvar>,
}

impl Parker for MockParker {
    fn park(&self, deadline: Option<Time>) {
        let mut world = lock(&self.mock.0.world);
        world.parked += 1;
        self.mock.tell_test();
        loop {
            if std::mem::take(&mut *lock(&self.token)) {
                break;
            }
            if deadline.is_some_and(|deadline| deadline <= world.now) {
                break;
            }
            if world.clock_runs
                && let Some(deadline) = deadline
            {
                world.now = deadline;
                continue;
            }
            world = self.condition.wait(world).expect("no test panics with it");
        }
        world.parked -= 1;
    }

    fn unpark(&self) {
        let world = lock(&self.mock.0.world);
        *lock(&self.token) = true;
        drop(world);
        self.condition.notify_all();
    }
}

/// An update of one change with a value of so many bytes, encoded.
pub(super) fn update(revision: u64, value_bytes: usize) -> Vec<u8> {
    let value = vec![0; value_bytes];
    let change = Change {
        key: "k",
        before: None,
        after: Some(&value),
    };
    codec::to_bytes(&Update {
        revision: Revision(revision),
        time: Time(revision),
        origin: Origin {
            process: ProcessId(1),
            function: None,
            released: None,
        },
        reset: false,
        changes: vec![change],
    })
}
