//! The names that travel: small numbers with a type each, so that one is never taken for another.

use speedy::{Readable, Writable};

/// The server's count of change sets: one global, never reused number per atomic change.
///
/// Revision 0 is the empty state before the first change. A read carries the revision it was
/// answered at, which makes the revision the witness of the order of all operations (the idea and
/// the word are etcd's).
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Readable,
    Writable,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Revision(pub u64);

impl Revision {
    /// The state before the first change.
    pub const ZERO: Revision = Revision(0);

    /// The revision after this one. There is none after the last that a peer may name.
    #[must_use]
    pub fn next(self) -> Revision {
        Revision(self.0.saturating_add(1))
    }
}

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "r{}", self.0)
    }
}

/// A process of the tree. The program itself is [`ProcessId::PROGRAM`]; numbers are never reused.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Readable,
    Writable,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct ProcessId(pub u64);

impl ProcessId {
    /// The process that called `Context::new`: the root of the tree.
    pub const PROGRAM: ProcessId = ProcessId(1);
}

impl std::fmt::Display for ProcessId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A session: what the server remembers of one client over all its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Readable, Writable)]
pub struct SessionId(pub u64);

/// A connection, named by the driver that holds its socket. Never on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// A request of one session: 1, 2, 3, ... in the order of sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Readable, Writable)]
pub struct Seq(pub u64);

/// A watch of one session, named by the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Readable, Writable)]
pub struct WatchId(pub u64);

/// Parts of one session that belong together, named by the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Readable, Writable)]
pub struct PartsId(pub u64);

/// A lease of one session, named by the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Readable, Writable)]
pub struct LeaseId(pub u64);

/// A secret of 128 bits: who shows it is let in. Its `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq, Readable, Writable)]
pub struct Token(pub [u64; 2]);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

/// A wait whose condition is tested where it waits, on what its watches tell. Shown, and of no other
/// effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Readable, Writable)]
pub struct Feeds<'a> {
    /// Its number among those of its session: several watches may feed one. 0: it is no wait, but a
    /// `State::when`, which goes on with them behind each result.
    pub wait: u64,
    /// Its condition.
    pub function: &'a str,
    /// How long it has waited by now.
    pub waited_ns: u64,
}

/// A function of the program, so named that another process of the same build finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Readable, Writable)]
pub struct FunctionRef<'a> {
    /// Bytes from the anchor to the function's record in the executable's image.
    pub offset: i64,
    /// The function's `type_name`, checked before it is called and shown to people.
    pub name: &'a str,
}

/// Identity of the executable: functions may be shipped between equal ones only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Readable, Writable)]
pub struct BuildId(pub [u64; 2]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_people_read_them_and_secrets_as_nobody_does() {
        assert_eq!(Revision(7).to_string(), "r7");
        assert_eq!(ProcessId(7).to_string(), "#7");
        assert_eq!(format!("{:?}", Token([7, 8])), "Token(..)");
    }
}
