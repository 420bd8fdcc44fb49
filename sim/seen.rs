//! What the engine itself has seen of a run, and the peers that break the rules for it.

use crate::history::What;
use crate::world::{self, World};
use zproc::seam::proto::ids::ProcessId;
use zproc::seam::proto::message::Refusal;
use zproc::seam::proto::server::Usage;
use zproc::seam::proto::time::Time;

/// One thing of this kind, about one process.
#[derive(Debug, Clone)]
pub(crate) enum Seen {
    /// What the server holds, counted.
    Usage(Box<Usage>),
    /// The process's memory is there from now on.
    Began { at: Time },
    /// It is gone.
    Gone { at: Time },
    /// The keeper was told to ask the process to end, and to kill it after so long.
    ToStop { at: Time, grace_ns: u64 },
    /// It was started: until when it may run, if not as long as it likes, and how long it may take
    /// when the tree is stopped, if not as long as that.
    Started {
        until: Option<Time>,
        grace_ns: Option<u64>,
    },
    /// The keeper heard that the program was asked to end.
    Interrupted { at: Time },
    /// The keeper was told to kill it, by somebody or since its parent has ended.
    ToKill { at: Time, by_parent: bool },
    /// The keeper asked it to end.
    Asked { at: Time },
    /// The keeper killed it.
    Struck { at: Time },
    /// Server or keeper is lost, and the tree is to end with it.
    Doomed { at: Time },
    /// The server closed a connection of the process for this reason. `is_told`: there was room to
    /// say so.
    Refused { refused: Refused, is_told: bool },
    /// This process is a program that has come to the server with a keeper of its own.
    Guest,
    /// Its keeper is lost.
    Abandoned,
    /// This process breaks the rules of the protocol on purpose.
    Hostile,
    /// It broke one, and this came of it.
    Attacked { attack: Attack, reaction: Reaction },
}

/// Puts what the calling process has seen into the history.
pub(crate) fn tell(seen: Seen) {
    world::with(|world| {
        let thread = world.running.expect("a simulated thread tells");
        let process = world.threads[thread].process;
        world.history.push(process, thread, What::Seen(seen));
    });
}

impl World {
    /// Puts what the engine has seen of a process into the history.
    pub(crate) fn saw(&mut self, process: ProcessId, seen: Seen) {
        self.history.push(process, 0, What::Seen(seen));
    }
}

/// A rule that is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attack {
    /// Whole frames of random bytes.
    Garbage,
    /// A frame that claims to be empty, or huge.
    Length,
    /// A part of a hello, and no more.
    Truncated,
    /// A hello of another version.
    Version,
    /// A hello of another executable.
    Build,
    /// A hello with a wrong secret, or of a process that there is not.
    Credentials,
    /// A request before any hello.
    Unintroduced,
    /// A hello of which one byte is another.
    MutatedHello,
    /// A hello that resumes a session with a wrong secret.
    WrongToken,
    /// A second hello.
    SecondHello,
    /// A request of which one byte is another, and a good one behind it.
    MutatedRequest,
    /// A well-formed request that can't be done: bad values, names, functions, credit.
    Body,
    /// More requests than the window holds.
    Flood,
    /// A good request with bytes behind it in its frame.
    Trailing,
}

/// What the server did about an attack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// It closed the connection with this reason.
    Refused(Refused),
    /// It answered that the request can't be done.
    Failed,
    /// It answered as if nothing were wrong.
    Answered,
    /// It closed the connection without a word.
    Ended,
    /// The connection broke.
    Broken,
    /// Nothing came.
    Silence,
}

/// The reason that the server gives when it closes a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    Version,
    Build,
    Credentials,
    SessionUnknown,
    Limit,
    Ended,
    Late,
    Private,
    /// In its words.
    Protocol(String),
}

impl Refused {
    pub(crate) fn of(refusal: Refusal<'_>) -> Refused {
        match refusal {
            Refusal::Version { .. } => Refused::Version,
            Refusal::Build => Refused::Build,
            Refusal::Credentials => Refused::Credentials,
            Refusal::SessionUnknown => Refused::SessionUnknown,
            Refusal::Limit { .. } => Refused::Limit,
            Refusal::Protocol { what } => Refused::Protocol(what.to_owned()),
            Refusal::Ended => Refused::Ended,
            Refusal::Late => Refused::Late,
            Refusal::Private => Refused::Private,
        }
    }
}
