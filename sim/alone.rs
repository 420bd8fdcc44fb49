//! A world whose server stands alone: the program has come to it with a keeper of its own, and so has a
//! guest, another program, which works on the same state.
//!
//! A keeper's link loses no bytes and is never reset, as a Unix socket to a living process; it ends with
//! the keeper. The program's keeper is that of any other world, but that it is told by its link. The
//! guest starts no processes, so its keeper has nothing to do but to be there: a world of few
//! processes has both programs. In some worlds the guest's program never comes: its keeper says
//! hello, and that is all.

use crate::choices::Part;
use crate::events::Event;
use crate::faults::Fault;
use crate::history::{Lost, Note, What};
use crate::seen::Seen;
use crate::story::Lane;
use crate::trace::START;
use crate::world::World;
use std::collections::BTreeMap;
use zproc::seam::proto::ids::{ConnectionId, ProcessId, Token};
use zproc::seam::proto::limits::{PROGRAM_TIMEOUT, PROTOCOL_VERSION};
use zproc::seam::proto::message::{FromClient, FromKeeper, FromServer, KeeperHello, ToKeeper};
use zproc::seam::proto::server::Server;
use zproc::seam::proto::time::Time;
use zproc::seam::proto::{codec, frame, kinds};

/// The links of the keepers, by their programs, as long as they are there.
#[derive(Debug, Default)]
pub(crate) struct Links(BTreeMap<ProcessId, ConnectionId>);

/// The guest: the second program that comes.
pub(crate) const GUEST: ProcessId = ProcessId(2);

impl Links {
    /// A program comes to the server, and is taken in: its secret.
    pub(crate) fn join(&mut self, server: &mut Server, now: Time) -> (ProcessId, Token) {
        let link = server.connected(now);
        let mut hello = Vec::new();
        let message = FromClient::Keeper(KeeperHello {
            version: PROTOCOL_VERSION,
            pid: 1,
            name: "simulated",
            software: "zproc-sim",
        });
        frame::append(&message, &mut hello);
        server.receive(link, &hello, now);
        let answer = server.outbox(link).to_vec();
        server.sent(link, answer.len(), now);
        let (payload, _) = frame::split(&answer)
            .expect("the server builds frames")
            .expect("it has answered");
        let answer: FromServer<'_> = codec::decode(payload).expect("a message");
        kinds::said(&answer);
        match answer {
            FromServer::Adopted { process, key } => {
                self.0.insert(process, link);
                (process, key)
            }
            other => panic!("a program is not taken in: {other:?}"),
        }
    }

    fn program_of(&self, link: ConnectionId) -> Option<ProcessId> {
        let mut all = self.0.iter();
        all.find(|(_, other)| **other == link)
            .map(|(root, _)| *root)
    }
}

impl World {
    /// Does the server stand alone?
    pub(crate) fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// Is it a program that has come with a keeper of its own, beside the world's program?
    pub(crate) fn is_guest(&self, process: ProcessId) -> bool {
        self.is_alone && process == GUEST
    }

    /// What the server says on the link of a keeper; false if it is no link.
    pub(crate) fn keeper_is_told(&mut self, link: ConnectionId) -> bool {
        let Some(root) = self.links.program_of(link) else {
            return false;
        };
        let said = self.host.server.outbox(link).to_vec();
        let now = self.server_now();
        self.host.server.sent(link, said.len(), now);
        let mut rest = &said[..];
        while let Some((payload, length)) = frame::split(rest).expect("the server builds frames") {
            rest = &rest[length..];
            let message = codec::decode(payload).expect("what a keeper is told");
            // The guest's keeper has started nobody, and so does nothing.
            if root != ProcessId::PROGRAM {
                self.saw_order(&message);
                continue;
            }
            match message {
                ToKeeper::Spawn {
                    process,
                    key,
                    name,
                    setup,
                } => self.keeper_spawns(process, key, name.to_owned(), codec::to_bytes(&setup)),
                ToKeeper::Stop { process, grace_ns } => self.keeper_stops(process, grace_ns),
                ToKeeper::Kill { process, why } => self.keeper_kills(process, why),
            }
        }
        true
    }

    /// The program's keeper tells the server.
    pub(crate) fn server_hears(&mut self, message: FromKeeper<'static>) {
        let now = self.server_now();
        if !self.is_alone {
            self.host.server.keeper(message, now);
        } else if let Some(link) = self.links.0.get(&ProcessId::PROGRAM) {
            let mut bytes = Vec::new();
            frame::append(&message, &mut bytes);
            self.host.server.receive(*link, &bytes, now);
        }
        self.settle();
    }

    /// The program's keeper has ended the tree, and ends when the last of it is reaped.
    pub(crate) fn keeper_ends_if_done(&mut self) {
        let ends = self.is_alone && self.keeper.machine.has_ended() && !self.keeper.is_lost;
        if ends && self.keeper.has_nobody() {
            // Behind what it has told.
            let at = Time(self.keeper.last_notice().0.max(self.now.0) + 1_000);
            let root = ProcessId::PROGRAM;
            self.at(at, Event::LinkLost { root });
        }
    }

    /// The guest has ended, and its keeper does.
    pub(crate) fn guest_ended(&mut self) {
        let delay_ns = self.keeper_delay(GUEST);
        self.after(delay_ns, Event::LinkLost { root: GUEST });
    }

    /// The keeper of the guest may be killed, while the guest lives.
    pub(crate) fn maybe_lose_guests_keeper(&mut self, process: ProcessId) {
        let is_kept = self.is_guest(process) && self.links.0.contains_key(&GUEST);
        if !is_kept || !self.strikes(Fault::KeeperCrash, process) {
            return;
        }
        if let Some(story) = self.trace.story(self.now) {
            story.fault(process.into(), Fault::KeeperCrash, "its keeper is killed");
        }
        self.saw(process, Seen::Abandoned);
        self.guest_ended();
    }

    /// The server sees the link of a keeper end.
    pub(crate) fn link_lost(&mut self, root: ProcessId) {
        let Some(link) = self.links.0.remove(&root) else {
            return;
        };
        if self.host.is_lost {
            return;
        }
        if let Some(story) = self.trace.story(self.now) {
            story.note(
                Lane::Server,
                format!("sees the end of the keeper of {root}"),
            );
        }
        let now = self.server_now();
        self.host.server.hangup(link);
        self.host.server.disconnected(link, now);
        self.settle();
    }

    /// The server has closed a connection. The keepers have done nothing for which it might be theirs,
    /// but that the program of one has not come in time.
    pub(crate) fn judge_close(&mut self, connection: ConnectionId) {
        let Some(root) = self.links.program_of(connection) else {
            return;
        };
        if !self.is_time_to_come_over() || self.has_greeted(root) {
            let explanation = format!("the server closed the link of the keeper of {root}");
            return self.broken(root, crate::checkers::NO_SURPRISE, explanation);
        }
        if root == ProcessId::PROGRAM {
            self.lose_keeper();
        } else {
            self.saw(root, Seen::Abandoned);
            self.guest_ended();
        }
    }

    /// The run is over. A keeper whose program has not come has no place at the server for ever.
    pub(crate) fn judge_silent_guest(&mut self) {
        let deadline = self.host.server.deadline();
        let has_ticked = deadline.is_none_or(|deadline| deadline > self.server_now());
        let is_there = self.links.0.contains_key(&GUEST) && !self.host.is_lost;
        if is_there && has_ticked && self.is_time_to_come_over() && !self.has_greeted(GUEST) {
            let explanation = format!("{GUEST} has not come, and its keeper's link is still open");
            self.broken(GUEST, crate::checkers::BOUNDED, explanation);
        }
    }

    /// By the server's clock, for programs that were taken in when the run began.
    fn is_time_to_come_over(&self) -> bool {
        self.server_now() >= START.after(PROGRAM_TIMEOUT)
    }

    fn broken(&mut self, process: ProcessId, guarantee: &'static str, explanation: String) {
        let broken = Note::Broken {
            guarantee,
            explanation,
        };
        self.history.push(process, 0, What::Note(broken));
    }

    /// The program's keeper was killed: its link ends, and the server goes on.
    pub(crate) fn keeper_lost_alone(&mut self) {
        self.link_lost(ProcessId::PROGRAM);
    }

    /// For those who ask what was lost.
    pub(crate) fn note_lost(&mut self, lost: Lost) {
        let what = What::Note(Note::Lost(lost));
        self.history.push(ProcessId::PROGRAM, 0, what);
    }
}

/// Is the server of this world to stand alone?
pub(crate) fn draw(choices: &mut crate::choices::Choices) -> bool {
    choices.below(Part::Server, 4) == 3
}

/// Does the guest's program never come?
pub(crate) fn draw_silent(choices: &mut crate::choices::Choices) -> bool {
    choices.below(Part::Server, 4) == 3
}
