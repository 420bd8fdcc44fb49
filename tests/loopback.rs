//! The bodies of `tests/api/` on the real server's machine, client and api, in this one process:
//! pipes of memory for sockets, threads for processes. No fault, no keeper, no exec; what is left
//! is the logic, and it fails in a debugger.

#[path = "api/mod.rs"]
mod api;

use api::table::{BODIES, Worlds};
use std::collections::{BTreeMap, VecDeque};
use std::io::{Error, ErrorKind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::Thread;
use std::time::{Duration, SystemTime};
use zproc::Context;
use zproc::seam::client::Connection;
use zproc::seam::panics;
use zproc::seam::proto::client::Config;
use zproc::seam::proto::codec;
use zproc::seam::proto::ids::{ConnectionId, ProcessId, Token};
use zproc::seam::proto::limits::{IN_FLIGHT_MAX, PART_BYTES_MAX};
use zproc::seam::proto::loss::{ServerEnd, ServerLoss};
use zproc::seam::proto::message::{FromKeeper, Left, Why};
use zproc::seam::proto::server::{self, Effect, Server};
use zproc::seam::proto::setup::Setup;
use zproc::seam::proto::time::Time;
use zproc::seam::runtime::{ConnectError, LinkId, Parker, Port, Ready};
use zproc::seam::{ShippedFunctions, build_id, run_task};

const PROGRAM_KEY: Token = Token([1, 2]);

fn now() -> Time {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Time(0).after(since.expect("the clock is later than 1970"))
}

/// A connection's two streams.
#[derive(Default)]
struct Pipe {
    to_server: VecDeque<u8>,
    to_client: VecDeque<u8>,
    woken: bool,
    closed: bool,
}

struct Inner {
    server: Server,
    pipes: BTreeMap<ConnectionId, Pipe>,
    /// Processes that were asked to end.
    stopping: Vec<ProcessId>,
    /// Processes that have ended by themselves.
    over: Vec<ProcessId>,
    /// Processes that may not reach the server any more.
    dead: Vec<ProcessId>,
}

struct World {
    inner: Mutex<Inner>,
    changed: Condvar,
}

impl World {
    fn new() -> Arc<World> {
        let mut config = server::Config::new(build_id(), PROGRAM_KEY, [3, 4]);
        config.pid = std::process::id();
        let server = Server::new(config, Box::new(ShippedFunctions), now());
        Arc::new(World {
            inner: Mutex::new(Inner {
                server,
                pipes: BTreeMap::new(),
                stopping: Vec::new(),
                over: Vec::new(),
                dead: Vec::new(),
            }),
            changed: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nobody panics with it")
    }

    /// Lets the server do all that it can.
    fn pump(self: &Arc<World>, inner: &mut Inner) {
        inner.server.tick(now());
        loop {
            let mut busy = false;
            let connections: Vec<_> = inner.pipes.keys().copied().collect();
            for connection in connections {
                busy |= inner.feed(connection);
            }
            while let Some(connection) = inner.server.poll_ready() {
                inner.flush(connection);
                busy = true;
            }
            while let Some(effect) = inner.server.poll_effect() {
                self.perform(inner, effect);
                busy = true;
            }
            if !busy {
                break;
            }
        }
        self.changed.notify_all();
    }

    fn perform(self: &Arc<World>, inner: &mut Inner, effect: Effect) {
        match effect {
            Effect::Close { connection } => {
                let bytes = inner.server.outbox(connection).to_vec();
                if let Some(pipe) = inner.pipes.get_mut(&connection) {
                    pipe.to_client.extend(bytes);
                    pipe.closed = true;
                }
            }
            Effect::Drain { connection } => {
                while inner.feed(connection) {}
                inner.server.drained(connection, now());
                inner
                    .pipes
                    .get_mut(&connection)
                    .expect("it is known")
                    .closed = true;
            }
            Effect::Spawn {
                process,
                key,
                setup,
                ..
            } => {
                let pid = 1000 + process.0 as u32;
                inner
                    .server
                    .keeper(FromKeeper::Started { process, pid }, now());
                let world = self.clone();
                std::thread::spawn(move || world.child(process, key));
                let setup: Setup<'_> = codec::decode(&setup).expect("the server has encoded it");
                if let Some(limit_ns) = setup.time_limit_ns {
                    let world = self.clone();
                    let why = Why::TimeLimit { limit_ns };
                    let limit = Duration::from_nanos(limit_ns);
                    std::thread::spawn(move || world.kill_after(process, limit, why));
                }
            }
            Effect::Stop { process, grace_ns } => {
                inner.stopping.push(process);
                inner.wake_all();
                let world = self.clone();
                let grace = Duration::from_nanos(grace_ns);
                std::thread::spawn(move || world.kill_after(process, grace, Why::Grace));
            }
            // Who was asked to end has the rest of its grace.
            Effect::Kill { process, why }
                if why == Why::Parent && inner.stopping.contains(&process) => {}
            Effect::Kill { process, why } => {
                inner.dead.push(process);
                inner.ended(process, 9, Some(why));
            }
        }
    }

    fn connect(self: &Arc<World>, process: ProcessId, key: Token) -> Option<Context> {
        let port = Arc::new(PipePort {
            world: self.clone(),
            process,
        });
        let config = Config {
            process,
            key,
            pid: 77,
            build: build_id(),
            in_flight_max: IN_FLIGHT_MAX,
            part_bytes_max: PART_BYTES_MAX,
        };
        let connection = Connection::open(port, config).ok()?;
        Some(Context::from_connection(connection, process, None))
    }

    fn child(self: Arc<World>, process: ProcessId, key: Token) {
        if let Some(ctx) = self.connect(process, key) {
            // A child that was "killed" meets a server that is gone.
            let _ = run_task(&ctx);
        }
        let mut inner = self.lock();
        if !inner.dead.contains(&process) {
            inner.over.push(process);
            inner.ended(process, 0, None);
        }
        self.pump(&mut inner);
    }

    /// The end of who has not ended when its time is over.
    fn kill_after(self: Arc<World>, process: ProcessId, time: Duration, why: Why) {
        let deadline = now().after(time);
        let mut inner = self.lock();
        while !inner.over.contains(&process) && !inner.dead.contains(&process) {
            let left = deadline.since(now());
            if left.is_zero() {
                inner.dead.push(process);
                inner.ended(process, 9, Some(why));
                return self.pump(&mut inner);
            }
            inner = match self.changed.wait_timeout(inner, left) {
                Ok((inner, _)) => inner,
                Err(_) => return,
            };
        }
    }
}

impl Inner {
    /// Gives the server what has arrived; true if it took any.
    fn feed(&mut self, connection: ConnectionId) -> bool {
        let Some(pipe) = self.pipes.get_mut(&connection) else {
            return false;
        };
        let bytes = pipe.to_server.make_contiguous();
        if pipe.closed || bytes.is_empty() {
            return false;
        }
        let received = self.server.receive(connection, bytes, now());
        pipe.to_server.drain(..received.consumed);
        received.consumed > 0
    }

    fn flush(&mut self, connection: ConnectionId) {
        let bytes = self.server.outbox(connection).to_vec();
        if let Some(pipe) = self.pipes.get_mut(&connection) {
            pipe.to_client.extend(&bytes);
        }
        self.server.sent(connection, bytes.len(), now());
    }

    /// All of a port's connections are as good as its own: a wake may be spurious.
    fn wake_all(&mut self) {
        self.pipes.values_mut().for_each(|pipe| pipe.woken = true);
    }

    fn ended(&mut self, process: ProcessId, status: i32, why: Option<Why>) {
        let event = FromKeeper::Ended {
            process,
            status,
            why,
            cpu_user_ns: 1,
            cpu_system_ns: 2,
            memory_bytes_max: 3,
            left: Left::default(),
        };
        self.server.keeper(event, now());
    }
}

struct PipePort {
    world: Arc<World>,
    process: ProcessId,
}

impl PipePort {
    fn pipe<R>(
        &self,
        link: LinkId,
        act: impl FnOnce(&mut Pipe) -> Result<R, ErrorKind>,
    ) -> std::io::Result<R> {
        let mut inner = self.world.lock();
        if inner.dead.contains(&self.process) {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let pipe = inner.pipes.get_mut(&ConnectionId(link.0));
        let result = act(pipe.ok_or(ErrorKind::NotConnected)?);
        self.world.pump(&mut inner);
        result.map_err(Error::from)
    }
}

/// Runs it on another thread.
pub(crate) fn on_another_thread<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
    std::thread::spawn(f).join().expect("it does not panic")
}

struct ThreadParker(Thread);

impl Parker for ThreadParker {
    fn park(&self, deadline: Option<Time>) {
        match deadline {
            None => std::thread::park(),
            Some(deadline) => std::thread::park_timeout(deadline.since(now())),
        }
    }

    fn unpark(&self) {
        self.0.unpark();
    }
}

impl Port for PipePort {
    fn connect(&self) -> Result<LinkId, ConnectError> {
        let mut inner = self.world.lock();
        if inner.dead.contains(&self.process) {
            let loss = ServerLoss::new(ServerEnd::Unseen);
            return Err(ConnectError::Gone(loss));
        }
        let connection = inner.server.connected(now());
        inner.pipes.insert(connection, Pipe::default());
        Ok(LinkId(connection.0))
    }

    fn disconnect(&self, link: LinkId) {
        let mut inner = self.world.lock();
        let connection = ConnectionId(link.0);
        if inner
            .pipes
            .remove(&connection)
            .is_some_and(|pipe| !pipe.closed)
        {
            inner.server.disconnected(connection, now());
        }
        self.world.pump(&mut inner);
    }

    fn try_read(&self, link: LinkId, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.pipe(link, |pipe| {
            let count = buffer.len().min(pipe.to_client.len());
            for (place, byte) in buffer.iter_mut().zip(pipe.to_client.drain(..count)) {
                *place = byte;
            }
            match count {
                0 if !pipe.closed => Err(ErrorKind::WouldBlock),
                count => Ok(count),
            }
        })
    }

    fn try_write(&self, link: LinkId, bytes: &[u8]) -> std::io::Result<usize> {
        self.pipe(link, |pipe| {
            if pipe.closed {
                return Err(ErrorKind::BrokenPipe);
            }
            pipe.to_server.extend(bytes);
            Ok(bytes.len())
        })
    }

    fn wait(&self, link: LinkId, write: bool, deadline: Option<Time>) -> Ready {
        let mut inner = self.world.lock();
        loop {
            let dead = inner.dead.contains(&self.process);
            let pipe = inner.pipes.get_mut(&ConnectionId(link.0));
            let readable = pipe
                .as_ref()
                .is_none_or(|pipe| !pipe.to_client.is_empty() || pipe.closed);
            let woken = pipe.is_some_and(|pipe| std::mem::take(&mut pipe.woken));
            let left = deadline.map_or(Duration::from_secs(60), |deadline| deadline.since(now()));
            if readable || woken || write || dead || left.is_zero() {
                return Ready {
                    readable: readable || dead,
                    writable: write,
                };
            }
            inner = match self.world.changed.wait_timeout(inner, left) {
                Ok((inner, _)) => inner,
                Err(_) => panic!("another thread has panicked with the lock"),
            };
        }
    }

    fn is_stopping(&self) -> bool {
        self.world.lock().stopping.contains(&self.process)
    }

    fn wake(&self) {
        let mut inner = self.world.lock();
        inner.wake_all();
        self.world.changed.notify_all();
    }

    fn parker(&self) -> Arc<dyn Parker> {
        Arc::new(ThreadParker(std::thread::current()))
    }

    fn now(&self) -> Time {
        now()
    }

    fn random(&self) -> u64 {
        7
    }
}

#[test]
fn all_bodies() {
    panics::install(panics::Options {
        backtraces: true,
        print: false,
    });
    let mut failed = Vec::new();
    for body in BODIES.iter().filter(|body| body.worlds == Worlds::Both) {
        let world = World::new();
        let ctx = world
            .connect(ProcessId::PROGRAM, PROGRAM_KEY)
            .expect("the program is let in");
        match panics::capture(|| (body.run)(&ctx)) {
            Ok(Ok(())) => println!("{}: ok", body.name),
            Ok(Err(error)) => failed.push(format!("{}: {error:#}", body.name)),
            Err(fault) => failed.push(format!(
                "{}: {} at {}",
                body.name, fault.message, fault.location
            )),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
