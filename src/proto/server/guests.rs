//! Programs that come to a server that stands alone, each with a keeper of its own: how they are
//! taken in, what their keepers say and are told, and what is left to do when one is gone.

use super::super::codec;
use super::super::ids::{ConnectionId, ProcessId};
use super::super::limits::{self, FUNCTION_NAME_BYTES_MAX};
use super::super::marks::{self, Mark};
use super::super::message::{Failure, FromKeeper, FromServer, KeeperHello, Refusal};
use super::super::planted::{self, Bug};
use super::super::time::Time;
use super::processes::{Death, DeathKind, Process};
use super::requests::cause;
use super::{Effect, Server, wire};

impl Server {
    /// Takes in a program: it gets a number, a secret and a record, and this connection is from now
    /// on the link of its keeper.
    pub(super) fn adopt(&mut self, link: ConnectionId, hello: &KeeperHello<'_>, now: Time) {
        if hello.version != limits::PROTOCOL_VERSION {
            return self.refuse_version(link, now);
        }
        if self.config.program_key.is_some() {
            return self.refuse(link, Refusal::Private, now);
        }
        if self.room_for_process().is_err() {
            let limit = "PROCESSES_LIVE_MAX";
            return self.refuse(link, Refusal::Limit { limit }, now);
        }
        self.has_said_hello(link);
        self.processes_made += 1;
        let id = ProcessId(self.processes_made);
        let key = self.draw_token();
        let name = wire::cut(hello.name, FUNCTION_NAME_BYTES_MAX);
        let program = Process::guest(id, key, hello.pid, name, now);
        let record = program.record(id);
        self.processes.insert(id, program);
        self.links.insert(id, link);
        if let Some(connection) = self.connections.get_mut(&link) {
            connection.keeps = Some(id);
        }
        // Else it would have its place for ever, and say nothing.
        self.hurry(link, limits::PROGRAM_TIMEOUT, now);
        marks::reached(Mark::ProgramTakenIn);
        self.write_record(id, &record, &cause(id, now));
        self.push(link, &FromServer::Adopted { process: id, key });
    }

    /// A frame on the link of a program's keeper. It may speak of what its program has started, and
    /// of nothing else.
    pub(super) fn keeper_said(
        &mut self,
        link: ConnectionId,
        root: ProcessId,
        payload: &[u8],
        now: Time,
    ) {
        let event = match codec::decode::<FromKeeper<'_>>(payload) {
            Ok(event) => event,
            Err(malformed) => return self.violation(link, &malformed.0, now),
        };
        let process = event.process();
        let is_its_own = process != root && self.root_of(process) == root;
        if !is_its_own {
            return self.violation(link, "a keeper speaks of what is not its own", now);
        }
        self.keeper(event, now);
    }

    /// The program that a process belongs to.
    pub(super) fn root_of(&self, process: ProcessId) -> ProcessId {
        let known = self.processes.get(&process);
        known.map_or(ProcessId(0), |process| process.root)
    }

    /// Has the keeper of its program do something: by an effect if that is the server's own, else by
    /// its link, if it is still there.
    pub(super) fn order(&mut self, effect: Effect) {
        let process = match effect {
            Effect::Spawn { process, .. }
            | Effect::Stop { process, .. }
            | Effect::Kill { process, .. } => process,
            Effect::Close { .. } | Effect::Drain { .. } => return self.effects.push_back(effect),
        };
        if self.config.program_key.is_some() {
            return self.effects.push_back(effect);
        }
        let link = self.link_of(process);
        if let Some(message) = effect.to_keeper()
            && let Some(link) = link
            && let Some(connection) = self.connections.get_mut(&link)
            && !connection.mute
        {
            connection.outbox.push(&message);
            self.ready.insert(link);
        }
    }

    /// The link by which the keeper of a process is told what to do.
    fn link_of(&self, process: ProcessId) -> Option<ConnectionId> {
        self.links.get(&self.root_of(process)).copied()
    }

    /// Is the keeper of this process told more, or has it not read what it was told for too long? A
    /// kill is told always: once for each process.
    pub(super) fn room_to_order(&self, process: ProcessId) -> Result<(), Failure<'static>> {
        let link = self.link_of(process);
        if link.is_none() && self.config.program_key.is_none() {
            // The last words of one whose keeper is gone: nobody would start it, and nobody bury it.
            return Err(Failure::UnknownProcess { process });
        }
        let queued = link.and_then(|link| self.connections.get(&link));
        let bytes = queued.map_or(0, |connection| connection.outbox.len());
        let max = self.config.limits.outbox_bytes_max;
        wire::within("OUTBOX_BYTES_MAX", bytes, max)
    }

    /// The keeper of a program is gone, and so is all that it has kept, the program last. What they
    /// wrote last is read first.
    pub(super) fn keeper_lost(&mut self, root: ProcessId, now: Time) {
        self.links.remove(&root);
        let left = |(id, process): (&ProcessId, &Process)| {
            let is_its = process.root == root || planted::is(Bug::LinkEndBuriesAll);
            (is_its && !process.has_ended()).then_some(*id)
        };
        let left: Vec<ProcessId> = self.processes.iter().rev().filter_map(left).collect();
        marks::reached_if(left == [root], Mark::ProgramGoneAlone);
        marks::reached_if(left.len() > 1, Mark::ProgramGoneWithOthers);
        for process in left {
            self.died(process, Death::new(DeathKind::Unseen), now);
        }
    }
}
