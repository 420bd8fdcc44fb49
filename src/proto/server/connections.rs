//! Who may come in, who comes back, who has to go.

use super::super::ids::{ConnectionId, ProcessId, SessionId, Token};
use super::super::limits;
use super::super::marks::{self, Mark};
use super::super::message::{FromServer, Hello, Refusal, Resume};
use super::super::planted::{self, Bug};
use super::super::points::Point;
use super::super::session::Session;
use super::super::time::Time;
use super::{Connection, Effect, Server, Timer, wire};
use std::time::Duration;

impl Server {
    /// Makes room for a connection that has to say hello. Of those that say nothing the oldest goes:
    /// they can't keep others out, and who was slow comes back.
    pub(super) fn expect_hello(&mut self, id: ConnectionId, now: Time) {
        if self.silent.len() >= self.config.limits.connections_silent_max
            && let Some(oldest) = self.silent.first().copied()
        {
            marks::reached(Mark::SilentDropped);
            self.refuse(oldest, Refusal::Late, now);
        }
        self.silent.insert(id);
        self.connections.insert(id, Connection::default());
        self.hurry(id, limits::HELLO_TIMEOUT, now);
    }

    /// It is closed unless what it is waited for comes in this time.
    pub(super) fn hurry(&mut self, id: ConnectionId, time: Duration, now: Time) {
        let hello_by = now.after(time);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.hello_by = Some(hello_by);
            self.timers.insert((hello_by, Timer::Hello(id)));
        }
    }

    pub(super) fn hello(&mut self, id: ConnectionId, hello: &Hello<'_>, now: Time) {
        if hello.version != limits::PROTOCOL_VERSION {
            return self.refuse_version(id, now);
        }
        if self.points.strike(Point::HelloTooLate) {
            return self.refuse(id, Refusal::Late, now);
        }
        let refusal = match self.processes.get(&hello.process) {
            Some(process)
                if process.key == hello.key
                    || process.has_connected && planted::is(Bug::SecretNotAskedAgain) =>
            {
                if process.has_ended() {
                    Some(Refusal::Ended)
                } else if self.config.runs_functions && hello.build != self.config.build {
                    Some(Refusal::Build)
                } else if hello.attempt < process.attempt {
                    // The client has given it up, and knows more by now than it says here.
                    Some(Refusal::Late)
                } else {
                    None
                }
            }
            _ => Some(Refusal::Credentials),
        };
        if let Some(refusal) = refusal {
            return self.refuse(id, refusal, now);
        }
        if let Some(process) = self.processes.get_mut(&hello.process) {
            process.attempt = hello.attempt;
        }
        self.started(hello.process, hello.pid, now);
        match &hello.resume {
            Some(resume) => self.resume(id, hello.process, resume, now),
            None => self.begin_session(id, hello.process, now),
        }
    }

    pub(super) fn begin_session(&mut self, id: ConnectionId, process: ProcessId, now: Time) {
        let old = self.processes.get(&process).and_then(|p| p.session);
        if let Some(old) = old {
            let unused = self.sessions.get(&old).is_some_and(Session::is_unused);
            if !unused {
                let what = "the process has a session already";
                marks::reached(Mark::SecondSession);
                return self.refuse(id, Refusal::Protocol { what }, now);
            }
            // Its welcome was lost on the way, so the client can't know it.
            self.drop_session(old, now);
            marks::reached(Mark::WelcomeLost);
        }
        if self.sessions.len() >= self.config.limits.sessions_max {
            let limit = "SESSIONS_MAX";
            return self.refuse(id, Refusal::Limit { limit }, now);
        }
        self.sessions_made += 1;
        let session = SessionId(self.sessions_made);
        let token = self.draw_token();
        let limits = &self.config.limits;
        self.sessions
            .insert(session, Session::new(session, token, process, id, limits));
        if let Some(process) = self.processes.get_mut(&process) {
            process.session = Some(session);
            process.has_connected = true;
        }
        if let Some(link) = self.links.get(&process).copied() {
            self.has_said_hello(link);
        }
        self.welcome(id, session, token, false);
    }

    pub(super) fn resume(
        &mut self,
        id: ConnectionId,
        process: ProcessId,
        resume: &Resume,
        now: Time,
    ) {
        let known = self.sessions.get(&resume.session);
        if !known.is_some_and(|s| s.process == process && s.token == resume.token) {
            marks::reached(Mark::ResumeRefused);
            return self.refuse(id, Refusal::SessionUnknown, now);
        }
        if self.points.strike(Point::ResumeRefused) {
            let limit = "CONNECTIONS_MAX";
            return self.refuse(id, Refusal::Limit { limit }, now);
        }
        if let Some(old) = known.and_then(|session| session.connection) {
            // The client has given the old connection up, though its end has not arrived here.
            // What is still unread on it will come again, in order, on the new one.
            self.close(old, now);
            marks::reached(Mark::ResumeBeforeItsEndWasSeen);
        } else {
            marks::reached(Mark::ResumeAfterItsEndWasSeen);
        }
        let Some(session) = self.sessions.get_mut(&resume.session) else {
            return;
        };
        session.connection = Some(id);
        let over = !planted::is(Bug::GraceNotStopped);
        if let Some(since) = session.detached_at.take_if(|_| over) {
            let ends_at = since.after(self.config.session_grace);
            self.timers.remove(&(ends_at, Timer::Grace(session.id)));
        }
        let has_replies = session.replies_bytes() > 0;
        marks::reached_if(has_replies, Mark::ResumeWithReplies);
        marks::reached_if(!has_replies, Mark::ResumeWithoutReplies);
        marks::reached_if(!session.waits.is_empty(), Mark::ResumeWithWaits);
        let leases = self.leases.of(resume.session);
        marks::reached_if(!leases.is_empty(), Mark::ResumeWithLease);
        let token = session.token;
        let unknown = session.rewind(&resume.watches);
        self.welcome(id, resume.session, token, true);
        for watch in unknown {
            // It was told `WatchCompacted` before, and the news was lost.
            let oldest = self.history.first_held();
            marks::reached(Mark::ResumeToldCompactedAgain);
            self.push(id, &FromServer::WatchCompacted { watch, oldest });
        }
        self.lagging.insert(resume.session);
    }

    pub(super) fn welcome(
        &mut self,
        id: ConnectionId,
        session: SessionId,
        token: Token,
        resumed: bool,
    ) {
        self.has_said_hello(id);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.session = Some(session);
        }
        let welcome = FromServer::Welcome {
            session,
            token,
            resumed,
            limits: self.config.agreed(),
        };
        self.push(id, &welcome);
    }

    /// It need not hurry any more.
    pub(super) fn has_said_hello(&mut self, id: ConnectionId) {
        let connection = self.connections.get_mut(&id);
        if let Some(hello_by) = connection.and_then(|connection| connection.hello_by.take()) {
            self.silent.remove(&id);
            self.timers.remove(&(hello_by, Timer::Hello(id)));
        }
    }

    pub(super) fn goodbye(&mut self, id: SessionId, now: Time) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let process = session.process;
        marks::reached_if(!self.store.owned_by(process).is_empty(), Mark::GoodbyeOwned);
        self.end_session(id, "it said goodbye", now);
        if let Some(process) = self.processes.get_mut(&process) {
            // Another client may come, which counts from the beginning.
            process.attempt = 0;
        }
        if self.config.program_key.is_some()
            && process == ProcessId::PROGRAM
            && let Some(program) = self.processes.get_mut(&process)
        {
            program.end_program();
        }
    }

    pub(super) fn grace_ended(&mut self, id: SessionId, time: Time, now: Time) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        // It may have been back in between, and have gone again.
        let due = |at: Time| at.after(self.config.session_grace) == time;
        if session.detached_at.is_some_and(due) {
            marks::reached(Mark::GraceEnded);
            let owned = self.store.owned_by(session.process);
            marks::reached_if(!owned.is_empty(), Mark::GraceOwned);
            self.end_session(id, "its session was lost", now);
        }
    }

    pub(super) fn refuse_version(&mut self, id: ConnectionId, now: Time) {
        let refusal = Refusal::Version {
            server: limits::PROTOCOL_VERSION,
            software: wire::SOFTWARE,
        };
        self.refuse(id, refusal, now);
    }

    pub(super) fn violation(&mut self, id: ConnectionId, what: &str, now: Time) {
        self.refuse(id, Refusal::Protocol { what }, now);
    }

    /// Tells the peer why, and closes.
    pub(super) fn refuse(&mut self, id: ConnectionId, refusal: Refusal<'_>, now: Time) {
        let is_keeper = self.connections.get(&id).is_some_and(|c| c.keeps.is_some());
        // A keeper is told nothing but what to do.
        if !is_keeper {
            self.push(id, &FromServer::Refused { refusal });
        }
        self.close(id, now);
    }

    /// Closes a connection; its session lives on without one.
    pub(super) fn close(&mut self, id: ConnectionId, now: Time) {
        let open = self.connections.get_mut(&id).filter(|c| !c.closed);
        let Some(connection) = open else {
            return;
        };
        let outbox = std::mem::take(&mut connection.outbox);
        self.detach(id, now);
        // Kept for its last output until the driver has been told.
        let last = Connection {
            outbox,
            session: None,
            keeps: None,
            mute: true,
            closed: true,
            hello_by: None,
            held_up_at: None,
        };
        self.connections.insert(id, last);
        self.effects.push_back(Effect::Close { connection: id });
    }

    /// Takes a connection away from its session and forgets it.
    pub(super) fn detach(&mut self, id: ConnectionId, now: Time) {
        let Some(connection) = self.connections.remove(&id) else {
            return;
        };
        self.ready.remove(&id);
        if let Some(hello_by) = connection.hello_by {
            self.silent.remove(&id);
            self.timers.remove(&(hello_by, Timer::Hello(id)));
        }
        if let Some(root) = connection.keeps {
            return self.keeper_lost(root, now);
        }
        let session = connection
            .session
            .and_then(|session| self.sessions.get_mut(&session));
        if let Some(session) = session
            && session.connection == Some(id)
        {
            session.connection = None;
            session.detached_at = Some(now);
            let ends_at = now.after(self.config.session_grace);
            self.timers.insert((ends_at, Timer::Grace(session.id)));
        }
    }

    /// Ends a session whose process may live on: what it owned is released.
    pub(super) fn end_session(&mut self, id: SessionId, why: &str, now: Time) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let process = session.process;
        self.drop_session(id, now);
        self.release(process, Some(id), why, now);
    }

    /// Forgets a session, its waits and its watches.
    pub(super) fn drop_session(&mut self, id: SessionId, now: Time) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let waits: Vec<_> = session.waits.keys().copied().collect();
        let watches: Vec<_> = session.watches.keys().copied().collect();
        let (process, connection) = (session.process, session.connection);
        self.end_leases_of(id);
        for seq in waits {
            self.remove_wait(id, seq);
        }
        for watch in watches {
            self.remove_watch(id, watch);
        }
        if let Some(connection) = connection {
            self.close(connection, now);
        }
        let session = self.sessions.remove(&id);
        let has_parts = |session: &Session| !session.uploads.is_empty();
        marks::reached_if(session.as_ref().is_some_and(has_parts), Mark::PartsLost);
        let parts = session.iter().flat_map(|session| session.uploads.values());
        self.parts_bytes -= parts.map(|upload| upload.size).sum::<usize>();
        if let Some(since) = session.and_then(|session| session.detached_at) {
            let ends_at = since.after(self.config.session_grace);
            self.timers.remove(&(ends_at, Timer::Grace(id)));
        }
        self.lagging.remove(&id);
        if let Some(process) = self.processes.get_mut(&process)
            && process.session == Some(id)
        {
            process.session = None;
        }
    }
}
