//! What a server holds, counted from what is there and not from the sums that its limits go by.

use super::super::store::Counted;
use super::Server;
use super::processes::{Process, State};

/// What is bounded, as it is now. Numbers that a limit bounds per process, session or connection
/// are those of the one that has most.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// What users have stored.
    pub state: Counted,
    /// Revisions in one update log.
    pub history_entries: usize,
    /// Bytes in one update log: keys, values, and what is kept encoded.
    pub history_bytes: usize,
    /// Bytes of that log's newest revision, which is kept however large it is.
    pub history_newest_bytes: usize,
    /// Connections that are not closed.
    pub connections: usize,
    /// Sessions, detached ones included.
    pub sessions: usize,
    /// Bytes queued for one connection.
    pub outbox_bytes: usize,
    /// Requests of one session that wait, or whose replies are kept.
    pub in_flight: usize,
    /// Bytes of the replies kept for one session.
    pub replies_bytes: usize,
    /// Watches of one session.
    pub watches: usize,
    /// Bytes of what the watches and waits of one session are for.
    pub interests_bytes: usize,
    /// Connections that have not said hello.
    pub connections_silent: usize,
    /// Locks that are held.
    pub locks: usize,
    /// Locks that one session holds or waits for.
    pub session_locks: usize,
    /// Requests that wait for one lock.
    pub lock_waiters: usize,
    /// Processes that have not ended.
    pub processes_live: usize,
    /// Those of the program that has most, at a server that stands alone.
    pub program_processes_live: usize,
    /// Ended processes that are remembered.
    pub processes_ended: usize,
    /// Bytes of parts on their way.
    pub parts_bytes: usize,
    /// Bytes of those of one session that no request has named.
    pub session_parts_bytes: usize,
    /// Arguments and results of which one session has sent some parts.
    pub uploads: usize,
    /// Bytes of the results of ended processes.
    pub results_bytes: usize,
    /// Bytes of the result of the process that ended last, which is kept however large it is.
    pub results_newest_bytes: usize,
    /// Deadlines that are kept.
    pub timers: usize,
}

impl Server {
    /// Counts. It takes time in proportion to the whole state: for the simulator's checkers.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let mut usage = Usage {
            state: self.store.count(),
            sessions: self.sessions.len(),
            timers: self.timers.len(),
            locks: self.locks.len(),
            lock_waiters: self.locks.waiters_most(),
            ..Usage::default()
        };
        for log in [&self.history, &self.records] {
            let (entries, bytes, newest) = log.count();
            usage.history_entries = usage.history_entries.max(entries);
            if bytes - newest >= usage.history_bytes - usage.history_newest_bytes {
                (usage.history_bytes, usage.history_newest_bytes) = (bytes, newest);
            }
        }
        for (id, connection) in &self.connections {
            usage.connections += usize::from(!connection.closed);
            usage.connections_silent += usize::from(self.silent.contains(id));
            usage.outbox_bytes = usage.outbox_bytes.max(connection.outbox.pending().len());
        }
        for session in self.sessions.values() {
            let (in_flight, bytes) = session.count();
            usage.in_flight = usage.in_flight.max(in_flight);
            usage.replies_bytes = usage.replies_bytes.max(bytes);
            usage.session_locks = usage.session_locks.max(self.locks.asked_by(session.id));
            usage.watches = usage.watches.max(session.watches.len());
            usage.interests_bytes = usage.interests_bytes.max(session.count_interests());
            usage.uploads = usage.uploads.max(session.uploads.len());
            let parts = session.uploads.values().map(|upload| upload.size);
            let bytes = parts.sum();
            usage.parts_bytes += bytes;
            usage.session_parts_bytes = usage.session_parts_bytes.max(bytes);
        }
        for process in self.processes.values() {
            usage.results_bytes += process.result_bytes();
            usage.parts_bytes += process.rests.moving_bytes();
            if process.state == State::Ended && process.outcome.is_some() {
                usage.processes_ended += 1;
            } else {
                usage.processes_live += 1;
            }
        }
        let of_programs = self.links.keys().map(|root| self.live_of(*root));
        usage.program_processes_live = of_programs.max().unwrap_or(0);
        let newest = self.ended.last().and_then(|id| self.processes.get(id));
        usage.results_newest_bytes = newest.map_or(0, Process::result_bytes);
        usage
    }
}
