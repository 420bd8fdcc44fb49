//! One connection for all threads of a process, with no thread of its own.
//!
//! The machine ([`crate::proto::client`]) is behind one lock; two roles are passed among the
//! threads that are in a call anyway.
//!
//! - The **writer** is whoever has something to send while nobody writes. It sends for all, and
//!   before it puts the role down it looks for more. What the socket has no room for stays
//!   queued, and is the reader's to send when there is room: a thread that waits to write reads.
//! - The **reader** is one of the waiting threads. It reads for all, and wakes those whose reply
//!   or update has come. It also comes back when the connection is lost. When its own reply has
//!   come, or its deadline, it puts the role down and wakes one other waiting thread, which takes
//!   it up. The role is put down before user code runs.
//!
//! What holds:
//! - No lock is held across a call into the port.
//! - If threads wait, one has the reader's role, or one that was woken is on its way to look: and
//!   whoever leaves, for whatever reason, looks whether that is so (`Inner::news`).
//! - In a process forked from the one that opened it, a connection is not touched at all: the lock
//!   and the roles may be held by threads that are not there.
//! - A thread registers as a waiter under the lock under which it saw that it has to wait.

pub(crate) mod contended;
mod error;
mod roles;
mod running;

#[cfg(all(test, loom))]
mod loom;
#[cfg(test)]
mod mock;
#[cfg(all(test, not(loom)))]
mod tests;

pub use error::CallError;

use crate::proto::client::{Client, Config, Effect, RefusalKind, SubmitError, WatchLoss};
use crate::proto::codec;
use crate::proto::dump::CallDump;
use crate::proto::ids::{LeaseId, PartsId, Revision, Seq, WatchId};
use crate::proto::kinds;
use crate::proto::limits::CREDIT_BYTES_MIN;
use crate::proto::marks::{self, Mark};
use crate::proto::message::{Failure, Feeds, Filter, Reply, Request, Update};
use crate::proto::planted::{self, Bug};
use crate::proto::time::{AT_ONCE, Time};
use crate::runtime::{Observation, Port};
use crate::sync::{Mutex, lock};
use roles::{Guard, Inner, Until, Want};
use running::Running;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// A session with the server, shared by all threads of a process.
#[derive(Clone)]
pub struct Connection(Arc<Shared>);

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

struct Shared {
    port: Arc<dyn Port>,
    inner: Mutex<Inner>,
    /// Written once, before anybody else has the connection.
    runs_functions: AtomicBool,
    running: Running,
    server_pid: AtomicU32,
    // These only give out names; nothing is ordered by them.
    calls: AtomicU64,
    watches: AtomicU64,
    parts: AtomicU64,
    leases: AtomicU64,
    fed: AtomicU64,
}

/// A call that came to nothing, and what it may have done.
struct Failed {
    error: CallError,
    effect: Effect,
}

impl Connection {
    /// Connects and says hello.
    ///
    /// # Errors
    /// When the server refuses, is gone, or could not be reached within
    /// [`RECONNECT_TIMEOUT`](crate::proto::limits::RECONNECT_TIMEOUT).
    pub fn open(port: Arc<dyn Port>, config: Config) -> Result<Connection, CallError> {
        let points = port.points();
        let mut machine = Client::new(config);
        machine.set_points(points.clone());
        let connection = Connection(Arc::new(Shared {
            port,
            inner: Mutex::new(Inner::new(machine, points)),
            runs_functions: AtomicBool::new(true),
            running: Running::default(),
            server_pid: AtomicU32::new(0),
            calls: AtomicU64::new(0),
            watches: AtomicU64::new(0),
            parts: AtomicU64::new(0),
            leases: AtomicU64::new(0),
            fed: AtomicU64::new(0),
        }));
        let shared = &*connection.0;
        let (mut inner, _) = shared.wait(lock(&shared.inner), Want::Welcome, Until::NEVER);
        let result = match inner.machine.ended() {
            None => Ok(()),
            Some(end) => Err(CallError::from(end)),
        };
        let error = inner.connect_error.take();
        let runs_functions = inner.machine.runs_functions();
        (shared.runs_functions).store(runs_functions, Ordering::Relaxed);
        (shared.server_pid).store(inner.machine.server_pid(), Ordering::Relaxed);
        shared.release(inner);
        match (result, error) {
            (Ok(()), _) => Ok(connection),
            // It was never there: the operating system's word says more than the machine's.
            (Err(CallError::ServerLost(_)), Some(error)) => Err(CallError::Connect(error)),
            (Err(error), _) => Err(error),
        }
    }

    /// The port it stands on.
    #[must_use]
    pub fn port(&self) -> &Arc<dyn Port> {
        &self.0.port
    }

    /// Does the server call the program's functions? If not, they are to be run here.
    #[must_use]
    pub fn runs_functions(&self) -> bool {
        self.0.runs_functions.load(Ordering::Relaxed)
    }

    /// Is each function run twice, whoever runs it?
    #[must_use]
    pub fn runs_functions_twice(&self) -> bool {
        lock(&self.0.inner).machine.runs_functions_twice()
    }

    /// How large a value may be.
    #[must_use]
    pub fn value_bytes_max(&self) -> usize {
        lock(&self.0.inner).machine.value_bytes_max()
    }

    /// How large the parts of what is too large for one message are.
    #[must_use]
    pub fn part_bytes_max(&self) -> usize {
        lock(&self.0.inner).machine.part_bytes_max()
    }

    /// The server's number in the system.
    #[must_use]
    pub fn server_pid(&self) -> u32 {
        self.0.server_pid.load(Ordering::Relaxed)
    }

    /// A name for the parts of one thing.
    #[must_use]
    pub fn name_parts(&self) -> PartsId {
        PartsId(self.0.parts.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// A name for a lease.
    #[must_use]
    pub fn name_lease(&self) -> LeaseId {
        LeaseId(self.0.leases.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// A number for a wait that watches feed.
    #[must_use]
    pub fn name_fed(&self) -> u64 {
        self.0.fed.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Sends a request, waits for its reply, and gives it to `read` on this thread, with no lock
    /// held. [`Reply::Failed`] is a reply like any other.
    ///
    /// When as many requests as may be are unanswered, it first waits for one to be answered.
    ///
    /// With [`AT_ONCE`] as its deadline it waits for the server's answer, as
    /// long as that takes, and not for anything to come true.
    ///
    /// When this process [is asked to end](Port::is_stopping), a call that waits for something to
    /// come true ends, and so does each that is begun then.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn call<R>(
        &self,
        request: &Request<'_>,
        deadline: Option<Time>,
        read: impl FnOnce(&Reply<'_>) -> R,
    ) -> Result<R, CallError> {
        let heeds = matches!(
            request,
            Request::Wait { .. } | Request::Lock { waits: true, .. } | Request::Lease { .. }
        );
        self.exchange(request, Until { deadline, heeds }, read)
    }

    /// As [`call`](Connection::call), whether this process is asked to end or not.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn call_unheeding<R>(
        &self,
        request: &Request<'_>,
        read: impl FnOnce(&Reply<'_>) -> R,
    ) -> Result<R, CallError> {
        self.exchange(request, Until::NEVER, read)
    }

    fn exchange<R>(
        &self,
        request: &Request<'_>,
        until: Until,
        read: impl FnOnce(&Reply<'_>) -> R,
    ) -> Result<R, CallError> {
        let port = &self.0.port;
        if port.is_forked() {
            return Err(CallError::Forked);
        }
        self.check_nested()?;
        let call = self.0.calls.fetch_add(1, Ordering::Relaxed) + 1;
        port.observe(Observation::Called { call, request });
        let failed = match self.0.exchange(request, until) {
            Ok(body) => match codec::decode(&body) {
                Ok(reply) => {
                    kinds::said(&reply);
                    if let Reply::Failed { failure, .. } = &reply {
                        kinds::said(failure);
                    }
                    port.observe(Observation::Returned {
                        call,
                        reply: &reply,
                    });
                    return Ok(read(&reply));
                }
                Err(malformed) => Failed {
                    error: self.0.fail(&format!("a reply: {malformed}")),
                    effect: Effect::Unknown,
                },
            },
            Err(failed) => failed,
        };
        port.observe(match failed.effect {
            Effect::Unknown => Observation::Unknown { call },
            Effect::None => Observation::NotSent { call },
        });
        Err(failed.error)
    }

    /// Begins a watch: its name, and the first revision that it may give.
    ///
    /// # Errors
    /// See [`CallError`]; [`CallError::Compacted`] when the log no longer holds `from`.
    pub fn watch(
        &self,
        namespace: &str,
        filter: Filter<'_>,
        from: Option<Revision>,
        feeds: Option<Feeds<'_>>,
        deadline: Option<Time>,
    ) -> Result<(WatchId, Revision), CallError> {
        let watch = WatchId(self.0.watches.fetch_add(1, Ordering::Relaxed) + 1);
        let request = Request::Watch {
            watch,
            namespace,
            filter,
            from,
            credit: CREDIT_BYTES_MIN,
            feeds,
        };
        let next = self.call(&request, deadline, |reply| match reply {
            Reply::Watching { next } => Ok(*next),
            Reply::Compacted { oldest } => Err(CallError::Compacted { oldest: *oldest }),
            Reply::Failed { failure, .. } => Err(watch_failure(failure)),
            other => Err(CallError::Protocol(format!(
                "the answer to a watch is {other:?}"
            ))),
        })??;
        Ok((watch, next))
    }

    /// Waits for the next update of a watch and gives it to `read` on this thread, with no lock
    /// held.
    ///
    /// # Errors
    /// See [`CallError`]. After `Compacted` and `SessionLost` the watch is over, and is `Closed`.
    pub fn next_update<R>(
        &self,
        watch: WatchId,
        deadline: Option<Time>,
        read: impl FnOnce(&Update<'_>) -> R,
    ) -> Result<R, CallError> {
        self.next_update_of(&[watch], deadline, |_, update| read(update))
    }

    /// As [`next_update`](Connection::next_update), of whichever of these watches has one first.
    ///
    /// # Errors
    /// As there, for any of them.
    pub fn next_update_of<R>(
        &self,
        watches: &[WatchId],
        deadline: Option<Time>,
        read: impl FnOnce(WatchId, &Update<'_>) -> R,
    ) -> Result<R, CallError> {
        if self.0.port.is_forked() {
            return Err(CallError::Forked);
        }
        self.check_nested()?;
        let (watch, body) = self.0.next_body(watches, deadline)?;
        match codec::decode(&body) {
            Ok(update) => {
                self.0.port.observe(Observation::Updated {
                    watch: watch.0,
                    update: &update,
                });
                Ok(read(watch, &update))
            }
            Err(malformed) => Err(self.0.fail(&format!("an update: {malformed}"))),
        }
    }

    /// What threads of this process wait for: requests that are not answered, and updates.
    #[must_use]
    pub fn unanswered(&self) -> Vec<CallDump> {
        if self.0.port.is_forked() {
            return Vec::new();
        }
        self.0.at_rest(self.0.port.now())
    }

    /// Ends a watch. Never blocks, never panics.
    pub fn unwatch(&self, watch: WatchId) {
        self.tell(Observation::Unwatched { watch: watch.0 }, |machine| {
            machine.unwatch(watch);
        });
    }

    /// Gives back a lock that was granted at this revision. Never blocks, never panics.
    pub fn unlock(&self, name: &str, grant: Revision) {
        self.tell(Observation::Unlocked { name, grant }, |machine| {
            machine.unlock(name, grant);
        });
    }

    /// Gives back a lease, or its place in the queue. Never blocks, never panics.
    pub fn release(&self, lease: LeaseId) {
        self.tell(Observation::Released { lease }, |machine| {
            machine.release(lease);
        });
    }

    /// Sends what nobody waits for the answer of.
    fn tell(&self, observation: Observation<'_>, submit: impl FnOnce(&mut Client)) {
        if self.0.port.is_forked() {
            return;
        }
        self.0.port.observe(observation);
        let mut inner = lock(&self.0.inner);
        submit(&mut inner.machine);
        inner.stirred = true;
        let inner = self.0.flush(inner);
        self.0.release(inner);
    }

    /// Says goodbye as far as that goes without blocking, and closes. Calls under way in other
    /// threads, and all later ones, are [`CallError::Closed`].
    pub fn close(&self) {
        if self.0.port.is_forked() {
            return;
        }
        let mut inner = lock(&self.0.inner);
        inner.machine.goodbye();
        inner.stirred = true;
        let inner = self.0.flush(inner);
        self.0.release(inner);
    }
}

/// May the answer come when something else has happened?
fn is_answered_late(request: &Request<'_>) -> bool {
    matches!(
        request,
        Request::Wait { .. } | Request::Lock { waits: true, .. } | Request::Lease { .. }
    )
}

/// Is it [`AT_ONCE`]? And how long the answer is waited for.
fn for_an_answer(until: Until) -> (bool, Until) {
    let deadline = until.deadline.filter(|deadline| *deadline != AT_ONCE);
    (deadline != until.deadline, Until { deadline, ..until })
}

impl Shared {
    /// One request and its encoded reply.
    fn exchange(&self, request: &Request<'_>, until: Until) -> Result<Vec<u8>, Failed> {
        if until.heeds && self.port.is_stopping() {
            marks::reached(Mark::WaitBegunStopped);
            return Err(Failed {
                error: CallError::Stopped,
                effect: Effect::None,
            });
        }
        let (is_at_once, until) = for_an_answer(until);
        let mut inner = lock(&self.inner);
        let submitted;
        (inner, submitted) = self.submit(inner, request, until);
        let seq = match submitted {
            Ok(seq) => seq,
            Err(error) => {
                self.release(inner);
                return Err(Failed {
                    error,
                    effect: Effect::None,
                });
            }
        };
        if is_at_once && is_answered_late(request) {
            inner = self.wait_at_once(inner, until);
        } else {
            if !(planted::is(Bug::WriteLeftToReader) && inner.has_reader()) {
                inner = self.flush(inner);
            }
            (inner, _) = self.wait(inner, Want::Reply(seq), until);
        }
        let result = match inner.machine.take(seq) {
            Some(Ok(body)) => Ok(body),
            Some(Err(loss)) => Err(Failed {
                error: loss.into(),
                effect: match CallError::from(loss) {
                    CallError::OutcomeUnknown => Effect::Unknown,
                    _ => Effect::None,
                },
            }),
            None => {
                let effect = inner.machine.cancel(seq);
                inner.stirred = true;
                let error = match (inner.machine.ended(), effect) {
                    (Some(end), _) => end.into(),
                    (None, Effect::None) => inner.given_up(until),
                    (None, Effect::Unknown) => CallError::OutcomeUnknown,
                };
                // The cancel of a wait.
                inner = self.flush(inner);
                Err(Failed { error, effect })
            }
        };
        self.release(inner);
        result
    }

    /// Gives a request its number, when there is room for one more.
    fn submit<'a>(
        &'a self,
        mut inner: Guard<'a>,
        request: &Request<'_>,
        until: Until,
    ) -> (Guard<'a>, Result<Seq, CallError>) {
        loop {
            let error = match inner.machine.submit(request) {
                Ok(seq) => return (inner, Ok(seq)),
                Err(SubmitError::Full) => {
                    marks::reached(Mark::WindowFull);
                    let need = inner.machine.need(request);
                    let crowded = need.waits && inner.machine.room().requests > 0;
                    marks::reached_if(crowded, Mark::WaitsWindowFull);
                    let (waited, ready) = self.wait(inner, Want::Room(need), until);
                    inner = waited;
                    if ready {
                        continue;
                    }
                    inner.given_up(until)
                }
                Err(SubmitError::TooLarge { actual, max }) => CallError::TooLarge {
                    limit: "FRAME_BYTES_MAX".into(),
                    actual,
                    max,
                },
                Err(SubmitError::Ended) => inner.end_error(),
            };
            return (inner, Err(error));
        }
    }

    /// Waits until the server has come to what was submitted last. It takes one request after the
    /// other, so what it can answer at once is answered before the next.
    fn wait_at_once<'a>(&'a self, inner: Guard<'a>, until: Until) -> Guard<'a> {
        let (mut inner, submitted) = self.submit(inner, &Request::Ping, until);
        inner = self.flush(inner);
        // If there was none any more, the first one is told why.
        let Ok(next) = submitted else { return inner };
        (inner, _) = self.wait(inner, Want::Reply(next), until);
        if inner.machine.take(next).is_none() {
            inner.machine.cancel(next);
            inner.stirred = true;
        }
        inner
    }

    /// The next update of one of these watches, encoded.
    fn next_body(
        &self,
        watches: &[WatchId],
        deadline: Option<Time>,
    ) -> Result<(WatchId, Vec<u8>), CallError> {
        let heeds = true;
        let until = Until { deadline, heeds };
        if self.port.is_stopping() {
            return Err(CallError::Stopped);
        }
        let mut inner = lock(&self.inner);
        let result = loop {
            let taken = (watches.iter())
                .find_map(|watch| Some((*watch, inner.machine.take_update(*watch)?)));
            match taken {
                Some((watch, Ok(body))) => break Ok((watch, body)),
                Some((_, Err(loss))) => {
                    break Err(match loss {
                        WatchLoss::Compacted { oldest } => CallError::Compacted { oldest },
                        WatchLoss::SessionLost => CallError::SessionLost,
                        WatchLoss::Over => CallError::Closed,
                        WatchLoss::Ended => inner.end_error(),
                    });
                }
                None => {
                    let (waited, ready) = self.wait(inner, Want::Update(watches.into()), until);
                    inner = waited;
                    if !ready {
                        break Err(inner.given_up(until));
                    }
                    // With nothing to wait for, this is the end of the connection.
                    if let (true, Some(end)) = (watches.is_empty(), inner.machine.ended()) {
                        break Err(CallError::from(end));
                    }
                }
            }
        };
        // The credit that was given back.
        let inner = self.flush(inner);
        self.release(inner);
        result
    }

    /// Ends the connection for something malformed that a caller found.
    fn fail(&self, what: &str) -> CallError {
        let mut inner = lock(&self.inner);
        inner.machine.fail(what.into());
        inner.stirred = true;
        self.release(inner);
        CallError::Protocol(what.into())
    }
}

/// Why a watch could not begin.
fn watch_failure(failure: &Failure<'_>) -> CallError {
    match failure {
        Failure::Limit { limit, actual, max } => CallError::TooLarge {
            limit: (*limit).into(),
            actual: *actual,
            max: *max,
        },
        other => CallError::Refused(format!("{other:?}"), RefusalKind::Request),
    }
}
