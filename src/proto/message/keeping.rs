//! What server and keeper say to each other.

use super::super::ids::{ProcessId, Token};
use super::super::setup::Setup;
use super::{Captured, Why};
use speedy::{Readable, Writable};

/// A program that wants to have its processes with a server that stands alone.
#[derive(Debug, Clone, PartialEq, Readable, Writable)]
pub struct KeeperHello<'a> {
    /// [`PROTOCOL_VERSION`](crate::proto::limits::PROTOCOL_VERSION) of the program.
    pub version: u32,
    /// The program's number in the system, for its record.
    pub pid: u32,
    /// Its name, for people.
    pub name: &'a str,
    /// Name of the crate and its version.
    pub software: &'a str,
}

/// What the server asks of the keeper.
#[derive(Debug, Clone, PartialEq, Readable, Writable)]
#[expect(
    clippy::large_enum_variant,
    reason = "it lives for the time of one encoding"
)]
pub enum ToKeeper<'a> {
    /// Start a process. Repeated for the same id, it is done once.
    Spawn {
        process: ProcessId,
        /// The secret it shows when it connects.
        key: Token,
        /// For people: what `ps` shows.
        name: &'a str,
        setup: Setup<'a>,
    },
    /// Ask a process to end, and kill it if it has not within this time.
    Stop { process: ProcessId, grace_ns: u64 },
    /// Kill a process and what it has forked.
    Kill { process: ProcessId, why: Why },
}

/// What the keeper tells the server.
#[derive(Debug, Clone, Copy, PartialEq, Readable, Writable)]
pub enum FromKeeper<'a> {
    /// It runs.
    Started { process: ProcessId, pid: u32 },
    /// It could not be started.
    NotStarted {
        process: ProcessId,
        call: &'a str,
        errno: i32,
    },
    /// It has ended and was reaped.
    Ended {
        process: ProcessId,
        /// As `wait4` gave it.
        status: i32,
        /// Set if it was the keeper that killed it.
        why: Option<Why>,
        cpu_user_ns: u64,
        cpu_system_ns: u64,
        memory_bytes_max: u64,
        left: Left<'a>,
    },
}

impl FromKeeper<'_> {
    /// Whom it is about.
    #[must_use]
    pub fn process(&self) -> ProcessId {
        let (FromKeeper::Started { process, .. }
        | FromKeeper::NotStarted { process, .. }
        | FromKeeper::Ended { process, .. }) = *self;
        process
    }
}

/// What the keeper finds of a process that has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Readable, Writable)]
pub struct Left<'a> {
    /// Encoded [`LastWords`](super::LastWords); empty: none.
    pub words: &'a [u8],
    /// Its standard output, if it was captured.
    pub stdout: Option<Captured<'a>>,
    /// Its standard error, likewise.
    pub stderr: Option<Captured<'a>>,
    /// The system has killed somebody for want of memory in the meantime.
    pub out_of_memory: bool,
}
