//! The real port: one Unix socket, an epoll that only the reader waits on, and std's parking.
//!
//! epoll tells of changes (edge-triggered), so what it told is remembered until a read or a write
//! finds nothing more to do: a reader that goes without having read leaves no sleeper behind, and a
//! read that can find nothing costs no system call.

use super::clock::Clock;
use super::parker;
use super::patience::Patience;
use crate::proto::loss::ServerLoss;
use crate::proto::time::Time;
use crate::runtime::{ConnectError, LinkId, Parker, Port, Ready, Usage};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const WAKE: Token = Token(0);
/// That the process was asked to end. Links have rising numbers and never come to it.
const STOP: Token = Token(usize::MAX);
const EVENTS_PER_WAIT: usize = 16;

/// A connection, and what is known of it.
struct Link {
    id: LinkId,
    stream: UnixStream,
    /// There may be something to read: epoll said so, and no read has come to the end of it.
    readable: AtomicBool,
    /// The server has closed its side. epoll says so once, so it has to be kept: what was written
    /// before is read first.
    has_ended: AtomicBool,
    /// There may be room to write, likewise.
    writable: AtomicBool,
    /// epoll is asked about room as well.
    asks_room: AtomicBool,
}

/// What only the thread in the reader's role uses.
struct Sleeper {
    poll: Poll,
    events: Events,
    patience: Patience,
}

/// A client's port to the server behind a Unix socket.
pub(crate) struct UnixPort {
    path: PathBuf,
    clock: Clock,
    /// Locked for as long as it takes to copy the pointer.
    link: Mutex<Option<Arc<Link>>>,
    /// The number of the latest connection.
    latest: AtomicU64,
    sleeper: Mutex<Sleeper>,
    registry: Registry,
    waker: Waker,
    random: RandomState,
    draws: AtomicU64,
    /// Tells this process from one that was forked from it.
    generation: fn() -> u64,
    born_in: u64,
    loss: LossTeller,
    runs: Option<RunTeller>,
    stop: StopSign,
}

/// How a process is asked to end.
#[derive(Clone, Copy)]
pub(crate) struct StopSign {
    pub(crate) is_asked: fn() -> bool,
    /// Readable from then on; never closed. `None`: nobody asks.
    pub(crate) bell: Option<RawFd>,
}

/// Tells how the server was lost.
pub(crate) struct LossTeller {
    /// If that is known by now.
    pub(crate) known: Box<dyn Fn() -> Option<ServerLoss> + Send + Sync>,
    /// Asked when there is no server any more. May take a moment.
    pub(crate) wait: Box<dyn Fn() -> ServerLoss + Send + Sync>,
}

/// Tells which function the server runs, and for how long it has.
pub(crate) type RunTeller = Box<dyn Fn() -> Option<(String, Duration)> + Send + Sync>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that is done under these locks leaves its data in halves.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl UnixPort {
    /// A port to the server that listens at `path`; not yet connected. `generation` tells how often
    /// this process has become another by fork(2), `loss` how the server was lost,
    /// `stop` whether the process was asked to end.
    ///
    /// # Errors
    /// No more descriptors.
    pub(crate) fn new(
        path: &Path,
        generation: fn() -> u64,
        loss: LossTeller,
        stop: StopSign,
    ) -> io::Result<UnixPort> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let waker = Waker::new(&registry, WAKE)?;
        if let Some(bell) = stop.bell {
            // Told of once, even if it was rung before.
            registry.register(&mut SourceFd(&bell), STOP, Interest::READABLE)?;
        }
        Ok(UnixPort {
            path: path.to_path_buf(),
            clock: Clock::new(),
            link: Mutex::new(None),
            latest: AtomicU64::new(0),
            sleeper: Mutex::new(Sleeper {
                poll,
                events: Events::with_capacity(EVENTS_PER_WAIT),
                patience: Patience::default(),
            }),
            registry,
            waker,
            random: RandomState::new(),
            draws: AtomicU64::new(0),
            generation,
            born_in: generation(),
            loss,
            runs: None,
            stop,
        })
    }

    /// The same, which knows what the server runs.
    pub(crate) fn with_runs(mut self, runs: RunTeller) -> UnixPort {
        self.runs = Some(runs);
        self
    }

    /// In a forked process the sockets are shared with the parent: touching them would break its.
    fn check_fork(&self) -> io::Result<()> {
        if (self.generation)() == self.born_in {
            Ok(())
        } else {
            Err(io::Error::other("made before a fork(2)"))
        }
    }

    fn link(&self, id: LinkId) -> io::Result<Arc<Link>> {
        self.check_fork()?;
        match lock(&self.link).as_ref() {
            Some(link) if link.id == id => Ok(Arc::clone(link)),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn open(&self) -> io::Result<Link> {
        // mio's connect doesn't block when the server's queue is full, as std's would.
        let stream = UnixStream::from(mio::net::UnixStream::connect(&self.path)?);
        let id = LinkId(self.latest.fetch_add(1, Ordering::Relaxed) + 1);
        let descriptor = stream.as_raw_fd();
        self.registry
            .register(&mut SourceFd(&descriptor), token(id), Interest::READABLE)?;
        Ok(Link {
            id,
            stream,
            readable: AtomicBool::new(true),
            has_ended: AtomicBool::new(false),
            writable: AtomicBool::new(true),
            asks_room: AtomicBool::new(false),
        })
    }

    fn close(&self, link: &Link) {
        // Said here, since a copy in some forked process would keep it in epoll's set.
        let _ = self
            .registry
            .deregister(&mut SourceFd(&link.stream.as_raw_fd()));
        let _ = link.stream.shutdown(std::net::Shutdown::Both);
    }

    /// Asks epoll about room to write, or no longer. Only the reader comes here.
    fn ask_room(&self, link: &Link, room: bool) {
        let asks = link.asks_room.swap(room, Ordering::Relaxed);
        // Asking once more makes epoll look at once: a writer on another thread may have found it
        // full after epoll's last word on it.
        let is_full = room && !link.writable.load(Ordering::Relaxed);
        if asks == room && !is_full {
            return;
        }
        let interest = if room {
            Interest::READABLE | Interest::WRITABLE
        } else {
            Interest::READABLE
        };
        let descriptor = link.stream.as_raw_fd();
        let result = self
            .registry
            .reregister(&mut SourceFd(&descriptor), token(link.id), interest);
        if result.is_err() {
            // Closed meanwhile: reading and writing will say so.
            link.readable.store(true, Ordering::Relaxed);
            link.writable.store(true, Ordering::Relaxed);
        }
    }
}

fn token(id: LinkId) -> Token {
    // 0 is the waker's, and ids begin at 1.
    Token(usize::try_from(id.0).unwrap_or(usize::MAX))
}

impl Port for UnixPort {
    fn connect(&self) -> Result<LinkId, ConnectError> {
        if self.check_fork().is_err() {
            return Err(ConnectError::Forked);
        }
        let old = lock(&self.link).take();
        if let Some(old) = old {
            self.close(&old);
        }
        // Where it was, another may listen by now.
        if let Some(loss) = (self.loss.known)() {
            return Err(ConnectError::Gone(loss));
        }
        match self.open() {
            Ok(link) => {
                let id = link.id;
                *lock(&self.link) = Some(Arc::new(link));
                Ok(id)
            }
            Err(error) => Err(match error.kind() {
                // The socket lives as long as its server, and there is no other.
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    ConnectError::Gone((self.loss.wait)())
                }
                _ => ConnectError::Refused(error),
            }),
        }
    }

    fn disconnect(&self, id: LinkId) {
        if self.check_fork().is_err() {
            return;
        }
        let old = lock(&self.link).take_if(|link| link.id == id);
        if let Some(old) = old {
            self.close(&old);
        }
    }

    fn try_read(&self, id: LinkId, buffer: &mut [u8]) -> io::Result<usize> {
        let link = self.link(id)?;
        if !link.readable.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let result = retry(|| (&link.stream).read(buffer));
        // Less than was asked for: there was no more. What comes later, epoll tells again.
        let is_drained = match &result {
            Ok(count) => *count > 0 && *count < buffer.len(),
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        };
        if is_drained && !link.has_ended.load(Ordering::Relaxed) {
            link.readable.store(false, Ordering::Relaxed);
        }
        result
    }

    fn try_write(&self, id: LinkId, bytes: &[u8]) -> io::Result<usize> {
        let link = self.link(id)?;
        let result = retry(|| (&link.stream).write(bytes));
        match &result {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                link.writable.store(false, Ordering::Relaxed);
            }
            // The last words of the server may be there, and its end.
            Err(_) => link.readable.store(true, Ordering::Relaxed),
        }
        result
    }

    fn wait(&self, id: LinkId, write: bool, deadline: Option<Time>) -> Ready {
        let Ok(link) = self.link(id) else {
            // A read or a write tells what is wrong.
            return Ready {
                readable: true,
                writable: write,
            };
        };
        let known = || Ready {
            readable: link.readable.load(Ordering::Relaxed),
            writable: write && link.writable.load(Ordering::Relaxed),
        };
        self.ask_room(&link, write);
        let found = known();
        if found.readable && (found.writable || !write) {
            return found;
        }
        let timeout = if found == Ready::default() {
            deadline.map(|deadline| self.clock.until(deadline))
        } else {
            // One of two is known; a look is enough for the other, so that neither starves.
            Some(Duration::ZERO)
        };
        let mut sleeper = lock(&self.sleeper);
        let Sleeper {
            poll,
            events,
            patience,
        } = &mut *sleeper;
        if let Err(error) = patience.poll(poll, events, timeout) {
            // A signal is as good as a spurious return. Anything else: a read will fail, too.
            let is_broken = error.kind() != io::ErrorKind::Interrupted;
            link.readable.fetch_or(is_broken, Ordering::Relaxed);
            return known();
        }
        for event in events.iter() {
            if event.token() == token(id) {
                if event.is_read_closed() || event.is_error() {
                    link.has_ended.store(true, Ordering::Relaxed);
                }
                // Whatever it is, reading finds out; mostly it is something to read.
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    link.readable.store(true, Ordering::Relaxed);
                }
                if event.is_writable() || event.is_write_closed() || event.is_error() {
                    link.writable.store(true, Ordering::Relaxed);
                }
            }
        }
        known()
    }

    fn wake(&self) {
        if self.check_fork().is_ok() {
            // It fails only when the counter behind it is full, and then it is awake already.
            let _ = self.waker.wake();
        }
    }

    fn server_runs(&self) -> Option<(String, Duration)> {
        self.runs.as_ref().and_then(|runs| runs())
    }

    fn is_stopping(&self) -> bool {
        (self.stop.is_asked)()
    }

    fn is_forked(&self) -> bool {
        self.check_fork().is_err()
    }

    fn parker(&self) -> Arc<dyn Parker> {
        parker::current(self.clock)
    }

    fn now(&self) -> Time {
        self.clock.now()
    }

    fn usage(&self, pids: &[u32]) -> Vec<Option<Usage>> {
        super::usage::of(pids)
    }

    fn random(&self) -> u64 {
        self.random
            .hash_one(self.draws.fetch_add(1, Ordering::Relaxed))
    }
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::loss::ServerEnd;
    use std::os::unix::net::UnixListener;

    struct World {
        _place: tempfile::TempDir,
        listener: UnixListener,
        port: UnixPort,
    }

    const NEVER: StopSign = StopSign {
        is_asked: || false,
        bell: None,
    };

    fn unseen() -> LossTeller {
        LossTeller {
            known: Box::new(|| None),
            wait: Box::new(|| ServerLoss::new(ServerEnd::Unseen)),
        }
    }

    fn world() -> World {
        let place = tempfile::tempdir().expect("temporary directory");
        let path = place.path().join("socket");
        let listener = UnixListener::bind(&path).expect("bind");
        let port = UnixPort::new(&path, || 0, unseen(), NEVER).expect("port");
        World {
            _place: place,
            listener,
            port,
        }
    }

    fn read_within(port: &UnixPort, link: LinkId, wait: Duration) -> io::Result<Vec<u8>> {
        let deadline = port.now().after(wait);
        let mut buffer = [0; 64];
        loop {
            match port.try_read(link, &mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if port.now() >= deadline {
                        return Err(error);
                    }
                    port.wait(link, false, Some(deadline));
                }
                result => return result.map(|count| buffer[..count].to_vec()),
            }
        }
    }

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(5);

    #[test]
    fn bytes_come_and_go_and_the_end_comes_after_them() {
        let world = world();
        let link = world.port.connect().expect("connect");
        let (mut server, _) = world.listener.accept().expect("accept");
        assert!(read_within(&world.port, link, SHORT).is_err());
        assert_eq!(world.port.try_write(link, b"ask").expect("write"), 3);
        let mut asked = [0; 3];
        server.read_exact(&mut asked).expect("read");
        server.write_all(b"last words").expect("write");
        drop(server);
        assert_eq!(
            read_within(&world.port, link, LONG).expect("read"),
            b"last words"
        );
        assert_eq!(read_within(&world.port, link, LONG).expect("read"), b"");
        assert_eq!(read_within(&world.port, link, LONG).expect("read"), b"");
    }

    #[test]
    fn a_wake_ends_the_wait_even_when_it_comes_first() {
        let world = world();
        let link = world.port.connect().expect("connect");
        assert!(read_within(&world.port, link, SHORT).is_err());
        world.port.wake();
        assert_eq!(world.port.wait(link, false, None), Ready::default());
    }

    #[test]
    fn the_sign_to_stop_ends_one_wait_even_when_it_comes_first() {
        let (bell, mut rope) = io::pipe().expect("pipe");
        let world = world();
        let stop = StopSign {
            is_asked: || true,
            bell: Some(bell.as_raw_fd()),
        };
        let port = UnixPort::new(&world.port.path, || 0, unseen(), stop).expect("port");
        let link = port.connect().expect("connect");
        assert!(read_within(&port, link, SHORT).is_err());
        rope.write_all(b"x").expect("write");
        assert_eq!(port.wait(link, false, None), Ready::default());
        // Told is told.
        let begin = port.now();
        let deadline = begin.after(SHORT);
        port.wait(link, false, Some(deadline));
        assert!(port.now() >= deadline && port.is_stopping());
    }

    #[test]
    fn what_was_not_read_is_told_to_the_next() {
        let world = world();
        let link = world.port.connect().expect("connect");
        let (mut server, _) = world.listener.accept().expect("accept");
        assert!(read_within(&world.port, link, SHORT).is_err());
        server.write_all(b"x").expect("write");
        assert!(world.port.wait(link, false, None).readable);
        assert!(world.port.wait(link, false, None).readable);
    }

    #[test]
    fn room_to_write_is_told_when_there_is_some() {
        let world = world();
        let link = world.port.connect().expect("connect");
        let (mut server, _) = world.listener.accept().expect("accept");
        let mut written = 0;
        while let Ok(count) = world.port.try_write(link, &[7; 4096]) {
            written += count;
        }
        let deadline = world.port.now().after(SHORT);
        assert!(!world.port.wait(link, true, Some(deadline)).writable);
        let mut all = vec![0; written];
        server.read_exact(&mut all).expect("read");
        while !world.port.wait(link, true, None).writable {}
        assert!(world.port.try_write(link, b"more").is_ok());
    }

    #[test]
    fn links_are_told_apart_and_a_dead_server_is_gone() {
        let world = world();
        let first = world.port.connect().expect("connect");
        let second = world.port.connect().expect("connect");
        let old = world.port.try_write(first, b"x").expect_err("old");
        assert_eq!(old.kind(), io::ErrorKind::NotConnected);
        world.port.disconnect(first);
        assert!(world.port.try_write(second, b"x").is_ok());
        world.port.disconnect(second);
        assert!(world.port.try_write(second, b"x").is_err());
        drop(world.listener);
        assert!(matches!(world.port.connect(), Err(ConnectError::Gone(_))));
    }

    /// A program came back to whoever listened at the path of the server that it had lost.
    #[test]
    fn who_listens_where_a_lost_server_did_is_not_spoken_with() {
        let world = world();
        let loss = LossTeller {
            known: Box::new(|| Some(ServerLoss::new(ServerEnd::KeeperLost))),
            wait: Box::new(|| ServerLoss::new(ServerEnd::Unseen)),
        };
        let port = UnixPort::new(&world.port.path, || 0, loss, NEVER).expect("port");
        let Err(ConnectError::Gone(loss)) = port.connect() else {
            panic!("it has connected");
        };
        assert_eq!(loss.how, ServerEnd::KeeperLost);
    }

    #[test]
    fn a_forked_handle_is_refused() {
        static GENERATION: AtomicU64 = AtomicU64::new(0);
        let world = world();
        let path = world.port.path.clone();
        let port = UnixPort::new(
            &path,
            || GENERATION.load(Ordering::Relaxed),
            unseen(),
            NEVER,
        )
        .expect("port");
        let link = port.connect().expect("connect");
        GENERATION.store(1, Ordering::Relaxed);
        let error = port.try_write(link, b"x").expect_err("forked");
        assert!(error.to_string().contains("fork(2)"));
        assert!(matches!(port.connect(), Err(ConnectError::Forked)));
    }
}
