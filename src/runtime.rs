//! The port: all that the client needs from the world, cut at bytes and parking.
//!
//! The real port stands on mio and `std::thread`; the simulator has one of its own. No lock of the
//! client is held while any of these is called.

use crate::proto::loss::ServerLoss;
use crate::proto::message::{Reply, Request};
use crate::proto::points::Points;
use crate::proto::time::Time;
use std::sync::Arc;

/// One connection of a port, out of all it has had: a call that names an old one fails with
/// `NotConnected`, so bytes of one connection never get into the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Why there is no connection.
#[derive(Debug)]
pub enum ConnectError {
    /// There is no server, and there will be none: it has ended, this way.
    Gone(ServerLoss),
    /// The handle was made before this process was forked from another: the connection is that
    /// one's.
    Forked,
    /// Not now; it is worth to try again.
    Refused(std::io::Error),
}

/// Why [`Port::wait`] returned. More than one may be true; all false is a spurious return, which
/// is allowed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ready {
    /// There may be something to read (or the end of the stream).
    pub readable: bool,
    /// There may be room to write.
    pub writable: bool,
}

/// One thread's place to sleep.
///
/// Works as `std::thread::park` does: an `unpark` that comes first is not lost, and `park` may
/// return without a reason.
pub trait Parker: Send + Sync {
    /// Sleeps until `unpark`, or the deadline. Only the thread that got this parker calls it.
    fn park(&self, deadline: Option<Time>);
    /// Wakes the thread.
    fn unpark(&self);
}

/// One of the threads of a process: no two that run have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadNumber(pub u64);

/// What a process of the system uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// CPU time since it began, in its own code and in the kernel.
    pub cpu: std::time::Duration,
    /// Memory that it has resident, in bytes.
    pub memory_bytes: u64,
}

/// The client's window to the world. All methods may be called by any thread at any time.
pub trait Port: Send + Sync + 'static {
    /// Opens a new connection in place of the one there is, which is closed.
    ///
    /// # Errors
    /// See [`ConnectError`].
    fn connect(&self) -> Result<LinkId, ConnectError>;

    /// Closes the connection, if `link` still is the present one.
    fn disconnect(&self, link: LinkId);

    /// Reads what is there; `Ok(0)` is the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there; anything else: the connection is lost.
    fn try_read(&self, link: LinkId, buffer: &mut [u8]) -> std::io::Result<usize>;

    /// Writes what there is room for.
    ///
    /// # Errors
    /// `WouldBlock` when there is no room; anything else: the connection is lost.
    fn try_write(&self, link: LinkId, bytes: &[u8]) -> std::io::Result<usize>;

    /// Sleeps until the link is readable (or writable, if asked for), [`wake`](Port::wake) is
    /// called, or the deadline. Only the thread in the reader's role calls it.
    ///
    /// A wake that comes before the wait is not lost.
    fn wait(&self, link: LinkId, write: bool, deadline: Option<Time>) -> Ready;

    /// Ends the `wait` of the thread in the reader's role, now or the next.
    fn wake(&self);

    /// Was this process asked to end? When that becomes so, [`wait`](Port::wait) returns, once: the
    /// one that waits then, or else the next.
    fn is_stopping(&self) -> bool {
        false
    }

    /// Was the port made before a fork(2), of which this process came? Then the lock of whoever
    /// stands on it may be held, and its roles taken, by threads that are not here: it must not
    /// touch them.
    fn is_forked(&self) -> bool {
        false
    }

    /// The calling thread, which is one of the system's unless the port says otherwise: then where
    /// a variable of its own stands tells it from all others that run.
    fn thread(&self) -> ThreadNumber {
        thread_local! {
            static OWN: u8 = const { 0 };
        }
        OWN.with(|own| ThreadNumber(std::ptr::from_ref(own).addr() as u64))
    }

    /// The calling thread's place to sleep.
    fn parker(&self) -> Arc<dyn Parker>;

    /// The clock.
    fn now(&self) -> Time;

    /// A random number: for jitter and for names, never for secrets.
    fn random(&self) -> u64;

    /// What processes of the system use now, in the order asked; `None` of one that can't be asked.
    fn usage(&self, pids: &[u32]) -> Vec<Option<Usage>> {
        vec![None; pids.len()]
    }

    /// The function that the server runs now, and for how long it has, if that can be told.
    fn server_runs(&self) -> Option<(String, std::time::Duration)> {
        None
    }

    /// Where the simulator lets the client do what is rare. Nowhere otherwise.
    fn points(&self) -> Points {
        Points::default()
    }

    /// Told of every request as it is called and of its reply as it returns, on the caller's
    /// thread: the simulator's witness. Does nothing otherwise.
    fn observe(&self, _observation: Observation<'_>) {}
}

/// What a port may see of the calls that pass above it.
#[derive(Debug)]
pub enum Observation<'a> {
    /// A call begins.
    Called {
        /// Its number among all calls of this client.
        call: u64,
        /// What is asked.
        request: &'a Request<'a>,
    },
    /// It returned with the server's reply.
    Returned {
        /// Its number.
        call: u64,
        /// The reply.
        reply: &'a Reply<'a>,
    },
    /// It returned without a reply: whether it took effect is not known.
    Unknown {
        /// Its number.
        call: u64,
    },
    /// It is certain that the call took no effect.
    NotSent {
        /// Its number.
        call: u64,
    },
    /// A watch gave an update to its user.
    Updated {
        /// The watch's number.
        watch: u64,
        /// The update.
        update: &'a crate::proto::message::Update<'a>,
    },
    /// The user of a watch has ended it.
    Unwatched {
        /// The watch's number.
        watch: u64,
    },
    /// The holder of a lock gives it back.
    Unlocked {
        /// The lock.
        name: &'a str,
        /// The revision at which it was granted.
        grant: crate::proto::ids::Revision,
    },
    /// A transaction gives back a lease, or its place in the queue.
    Released {
        /// The lease.
        lease: crate::proto::ids::LeaseId,
    },
    /// An atomic function has run here, and has come to its end.
    Ran(RanHere<'a>),
}

/// What came of an atomic function that has run in its caller.
#[derive(Debug, Clone, Copy)]
pub struct RanHere<'a> {
    /// Where it began.
    pub namespace: &'a str,
    /// Its name.
    pub function: &'a str,
    /// Its argument, encoded.
    pub args: &'a [u8],
    /// Its result, encoded; `None`: it has failed or panicked.
    pub returned: Option<&'a [u8]>,
}
