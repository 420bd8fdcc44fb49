//! Everything that can happen in the simulated world, and in which order it does.

use crate::world::ThreadId;
use zproc::seam::proto::ids::ProcessId;
use zproc::seam::proto::time::Time;

/// Everything that can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// A thread goes on, if `turn` still is the sleep it is in.
    Wake { thread: ThreadId, turn: u64 },
    /// Bytes, or the end, arrive at the server.
    ToServer { link: usize },
    /// Bytes, or the end, arrive at the client.
    ToClient { link: usize },
    /// The server goes on with a connection that it has not served to the end.
    ServerTurn { link: usize },
    /// The server finds room in a connection that it has more to say on.
    ServerWritable { link: usize },
    /// Both directions of a connection stand still from now on.
    Hold { link: usize, until: Time },
    /// The server's deadline.
    ServerTick,
    /// The keeper comes to the next thing that the server has asked of it.
    KeeperTurn,
    /// The keeper's deadline.
    KeeperTick,
    /// What the keeper has told arrives at the server.
    Notice,
    /// The keeper reaps a dead process.
    Reap { process: ProcessId, status: i32 },
    /// The keeper sees that the program has ended.
    ProgramLost,
    /// The keeper sees that the server has ended.
    ServerLost,
    /// The server sees that the keeper has ended.
    KeeperLost,
    /// The server sees that the keeper of this program has ended.
    LinkLost { root: ProcessId },
    /// A signal asks the program to end.
    Interrupt,
    /// The keeper hears that it was asked.
    StopBell,
    /// A signal kills a process.
    Kill { process: ProcessId },
}

impl Event {
    /// Kind and subjects, for the hash.
    pub(crate) fn parts(self) -> (u8, u64, u64) {
        match self {
            Event::Wake { thread, turn } => (1, thread as u64, turn),
            Event::ToServer { link } => (2, link as u64, 0),
            Event::ToClient { link } => (3, link as u64, 0),
            Event::ServerTurn { link } => (4, link as u64, 0),
            Event::ServerWritable { link } => (5, link as u64, 0),
            Event::ServerTick => (6, 0, 0),
            Event::KeeperTurn => (7, 0, 0),
            Event::KeeperTick => (7, 1, 0),
            Event::Notice => (8, 0, 0),
            Event::Reap { process, status } => (9, process.0, u64::from(status.cast_unsigned())),
            Event::ProgramLost => (10, 0, 0),
            Event::ServerLost => (10, 1, 0),
            Event::KeeperLost => (10, 2, 0),
            Event::LinkLost { root } => (14, root.0, 0),
            Event::Interrupt => (13, 0, 0),
            Event::StopBell => (13, 1, 0),
            Event::Kill { process } => (11, process.0, 0),
            Event::Hold { link, until } => (12, link as u64, until.0),
        }
    }
}

/// An event with its place in the order: time first, then who was queued first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Queued {
    pub(crate) time: Time,
    pub(crate) sequence: u64,
    pub(crate) event: Event,
}
