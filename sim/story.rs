//! The story of a run, for people: what happened when, to whom, in words.
//!
//! The world tells a [`Teller`], which is there only if somebody reads, and which makes [`Item`]s of
//! it and gives them to a sink: the terminal's printer or the page's recorder. Nothing flows back,
//! so a run is the same whether it is told or not.

mod operations;
mod tell;
pub(crate) mod terminal;
#[cfg(test)]
mod tests;
mod wire;
mod words;

pub(crate) use tell::Teller;

use crate::events::Event;
use crate::world::World;
use std::fmt;
use std::rc::Rc;
use zproc::seam::proto::ids::{ProcessId, Revision};
use zproc::seam::proto::time::Time;

/// Takes a story item by item.
pub(crate) type Sink = Box<dyn FnMut(Item)>;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// When, in simulated time.
    pub(crate) time: Time,
    /// To whom.
    pub(crate) lane: Lane,
    /// The number of the thread in its process, if it was one thread; the main thread is 0.
    pub(crate) thread: Option<usize>,
    /// What.
    pub(crate) what: What,
}

/// To whom something can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// To all.
    World,
    Keeper,
    Server,
    Process(ProcessId),
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lane::World => f.write_str("world"),
            Lane::Keeper => f.write_str("keeper"),
            Lane::Server => f.write_str("server"),
            Lane::Process(process) => write!(f, "{process}"),
        }
    }
}

impl From<ProcessId> for Lane {
    fn from(process: ProcessId) -> Lane {
        Lane::Process(process)
    }
}

/// A message on a connection, from the write of its last byte on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// Its number among all of the run.
    pub(crate) id: u64,
    /// The client's end.
    pub(crate) process: ProcessId,
    /// True: from the client to the server.
    pub(crate) to_server: bool,
    /// The request that it is, or answers.
    pub(crate) seq: Option<u64>,
    /// What it says.
    pub(crate) text: Rc<str>,
    /// When its last byte was written.
    pub(crate) sent: Time,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// A process begins to run.
    Born { name: Rc<str>, slowness: u64 },
    /// It knows what it is to do.
    Role { role: Rc<str> },
    /// It has ended.
    Ended { how: String },
    /// The last byte of a message was written.
    Sent(Message),
    /// It arrived at the other end.
    Arrived(Message),
    /// It never will.
    Lost(Message),
    /// The state has changed.
    Commit {
        revision: Revision,
        by: ProcessId,
        text: String,
    },
    /// A fault strikes, so many times in a row. `small`: many of the kind strike in a run, and none
    /// shows by itself.
    Fault {
        name: &'static str,
        text: String,
        times: u64,
        small: bool,
    },
    /// A thread waits. `long`: it asked for something that takes its time.
    Blocks { on: Rc<str>, long: bool },
    /// It goes on.
    GoesOn { on: Rc<str>, since: Time },
    /// An invariant of a workload does not hold.
    Broken { text: String },
    /// Something else.
    Note { text: String },
    /// The hash after an event.
    Hash { event: u64, hash: u64 },
}

impl World {
    /// Tells the story that the next event is this one.
    pub(crate) fn tell_event(&mut self, event: Event) {
        let Some(story) = self.trace.story(self.now) else {
            return;
        };
        let lane = match event {
            Event::Wake { thread, .. } => self.threads[thread].process.into(),
            Event::ToServer { link } | Event::ToClient { link } | Event::Hold { link, .. } => {
                self.host.links[link].process.into()
            }
            Event::ServerTurn { .. } | Event::ServerWritable { .. } | Event::ServerTick => {
                Lane::Server
            }
            Event::KeeperTurn
            | Event::KeeperTick
            | Event::Notice
            | Event::ProgramLost
            | Event::StopBell
            | Event::ServerLost => Lane::Keeper,
            Event::Interrupt => ProcessId::PROGRAM.into(),
            Event::KeeperLost | Event::LinkLost { .. } => Lane::Server,
            Event::Reap { process, .. } => process.into(),
            Event::Kill { process } => process.into(),
        };
        story.next_event(lane, &self.faults.struck());
    }
}
