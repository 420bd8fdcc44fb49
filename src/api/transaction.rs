//! Transactions: a closure that runs here, on the state as it is at one revision, until it has run
//! undisturbed.
//!
//! A run reads at one revision; its commit is one request, which the server refuses as a conflict if
//! anything that was read was changed meanwhile. Then it runs again. After a few conflicts, or when
//! another holds a lease on what it writes, it queues for a lease of its own: while that is held, no
//! other transaction writes what it has touched. This is optimistic concurrency control (Kung and
//! Robinson 1981) with a fall-back on locks, as in STMs that become serial after so many aborts. Who
//! had to queue is likely to have to again: the next transactions of its function queue before they run.

use super::context::unexpected;
use super::run::{Run, Touched};
use super::state::State;
use super::txn::Txn;
use crate::error::{Error, Kind, Operation, Result};
use crate::proto::ids::LeaseId;
use crate::proto::limits::{CONFLICTS_MAX, FUNCTION_NAME_BYTES_MAX, LEASE_WAIT, LEASED_KEYS_MAX};
use crate::proto::marks::{self, Mark};
use crate::proto::message::{Reply, Request};
use crate::proto::operations::{Leased, Part};
use crate::proto::planted::{self, Bug};
use crate::proto::time::{AT_ONCE, Time};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

impl State {
    /// Runs `f` here, in this process, on the state, and makes what it has written last at one
    /// revision; gives what it returns.
    ///
    /// It is for what [`atomic`](State::atomic) can't do: `f` is any closure, with all that it
    /// captures, and may take its time, since nobody waits for it. All that it reads is of one
    /// revision, and its writes are applied only if none of that was changed meanwhile: no key, none
    /// that it found absent, none that has come to a span that it has read. Else it **runs again**;
    /// so it should have no effect but on the state that it minds to have more than once. What it
    /// has to do with the state it does by its [`Txn`]: each read costs a round trip, and so does the
    /// commit, unless it has only read.
    ///
    /// After a few conflicts it queues for a lease on what it has touched, and has its turn: of many
    /// transactions on the same keys each comes to its end. The next ones of the same closure in this
    /// process queue at once for a while, before they run. Plain writes and atomic functions do not
    /// wait for leases; where they change what it reads again and again, and it takes long, it may
    /// be given up as [contended](Error::is_contended) after half a minute.
    ///
    /// Calls on the state or the context within `f`, instead of on its [`Txn`], would take effect by
    /// themselves, and what they change would be in the way of what it has read. They are
    /// [refused](Error::is_nested), as far as they are made on the same thread. Locks and watches that are dropped in it are given back.
    /// Unlike the refusal of a write by the [`Txn`], one that `f` ignores does not fail the transaction.
    ///
    /// When this process is [asked to end](crate::Context::stopping), a run that is under way may still commit, but
    /// `f` runs again no more: then the call has [stopped](Error::is_stopped), and nothing is written. One that is begun
    /// after that, to put things in order, runs again as long as it need not wait for a lease.
    ///
    /// Where it has a [time limit](State::within) and that is over, it is a [timeout](Error::is_timeout), and nothing is
    /// written: before a run, in the middle of one, or while it waits for its turn. Only if its commit is under way at that
    /// moment it is not known what comes of it ([`is_outcome_unknown`](Error::is_outcome_unknown)), as with any write; it may be
    /// applied, or be the conflict for which there would have been another run. Who has to know has it write a key that
    /// nobody else writes, and looks for that, or gives it no limit.
    ///
    /// What it has written is told to watches as it has come out: of a key that it set and removed
    /// again there is nothing.
    ///
    /// If `f` returns an error or panics, nothing is written, and the error or the panic is the
    /// caller's: it is true of the revision that was read.
    ///
    /// # Errors
    /// Those of `f`; [`is_contended`](Error::is_contended), [`is_stopped`](Error::is_stopped),
    /// [`is_nested`](Error::is_nested) where it stands in another's function; [`is_limit`](Error::is_limit) or
    /// [`is_read_only`](Error::is_read_only) when one of its writes was refused, even if `f` went on
    /// regardless.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// # let ctx = zproc::Context::new()?;
    /// let state = ctx.namespace("doc-transaction");
    /// state.extend([("from", 100), ("to", 0)])?;
    /// let amount = 40;
    /// let left = state.transaction(|txn| {
    ///     let from: i64 = txn.get("from")?.unwrap_or(0);
    ///     if from < amount {
    ///         return Err(zproc::Error::msg(format!("only {from} left")));
    ///     }
    ///     txn.set("from", &(from - amount))?;
    ///     txn.add("to", amount)?;
    ///     Ok(from - amount)
    /// })?;
    /// assert_eq!(left, 60);
    /// assert_eq!(state.get("to")?, Some(40));
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn transaction<R>(&self, mut f: impl FnMut(&mut Txn<'_>) -> Result<R>) -> Result<R> {
        let name = std::any::type_name_of_val(&f);
        let operation = self.operation("run a transaction", None);
        self.transact(&operation, (name, Of::Caller), |run| {
            let mut txn = Txn::new(run, self.namespace_name());
            // What `f` leaves half done when it panics is its own; the panic goes on below.
            catch_unwind(AssertUnwindSafe(|| f(&mut txn)))
        })
    }

    /// Runs what `attempt` does in one run, for this public call, until it has run undisturbed.
    pub(super) fn transact<R>(
        &self,
        operation: &Operation<'_>,
        (function, of): (&str, Of),
        mut attempt: impl FnMut(&mut Run<'_>) -> std::thread::Result<Result<R>>,
    ) -> Result<R> {
        let context = self.context();
        let mut transaction = Transaction {
            state: self,
            operation,
            function: &function[..function.floor_char_boundary(FUNCTION_NAME_BYTES_MAX)],
            of,
            deadline: context.deadline(self.limit()),
            asked_before: context.stopping(),
            conflicts: 0,
            give_up_at: None,
            lease: None,
        };
        let mut ready = transaction.begin();
        let settled = loop {
            if let Err(error) = ready {
                break Settled::Returned(Err(error));
            }
            let mut run = Run::new(self, operation, transaction.deadline);
            let entered = context.connection().enter(operation);
            let entered = match entered {
                Ok(entered) => entered,
                Err(nested) => break Settled::Returned(Err(Error::new(nested.into(), operation))),
            };
            let ended = attempt(&mut run);
            drop(entered);
            match transaction.settle(&run, ended) {
                Settled::Again(conflict) => ready = transaction.prepare(conflict, run.touched()),
                settled => break settled,
            }
        };
        transaction.release();
        match settled {
            Settled::Returned(result) => result,
            Settled::Panicked(payload) => resume_unwind(payload),
            Settled::Again(_) => unreachable!("the loop goes on then"),
        }
    }
}

/// Whose function is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// The caller's closure: its error is the caller's own.
    Caller,
    /// One that could run in the server as well, and is told of as if it did.
    Shipped,
}

/// What came of a run.
enum Settled<R> {
    Returned(Result<R>),
    Panicked(Box<dyn Any + Send>),
    Again(Conflict),
}

/// Why it is to run again.
#[derive(Clone, Copy)]
struct Conflict {
    /// Another holds a lease on what it writes.
    barred: bool,
    /// Its own lease, if it had one, still holds.
    held: bool,
}

/// A transaction, between its runs.
struct Transaction<'a> {
    state: &'a State,
    operation: &'a Operation<'a>,
    function: &'a str,
    of: Of,
    deadline: Option<Time>,
    /// This process was asked to end before it began.
    asked_before: bool,
    conflicts: u32,
    /// Set by the first conflict, or when it queues at once.
    give_up_at: Option<Time>,
    lease: Option<(LeaseId, Touched)>,
}

impl Transaction<'_> {
    /// Queues at once if that of its function before it had to.
    fn begin(&mut self) -> Result<()> {
        let Some(on) = self.state.context().contended().recall(self.function) else {
            return Ok(());
        };
        marks::reached(Mark::TransactionQueuedAtOnce);
        let now = self.state.context().connection().port().now();
        let give_up_at = *self.give_up_at.insert(now.after(LEASE_WAIT));
        self.queue(on, give_up_at)
    }

    /// What the next one of its function is to know, now that this one is done. With a commit its lease
    /// has ended.
    fn learn(&mut self, touched: &Touched) {
        let Some((_, on)) = self.lease.take() else {
            return;
        };
        let contended = self.state.context().contended();
        if !covers(&on, touched) {
            marks::reached(Mark::TransactionLeasedOther);
            contended.forget(self.function);
        } else if self.conflicts > 0 {
            contended.remember(self.function, on);
        }
    }

    /// What comes of a run that has ended so.
    fn settle<R>(&mut self, run: &Run<'_>, ended: std::thread::Result<Result<R>>) -> Settled<R> {
        if run.is_doomed() {
            let failed = !matches!(ended, Ok(Ok(_)));
            marks::reached(Mark::TransactionDoomed);
            marks::reached_if(failed, Mark::DoomedRunDiscarded);
            if !(failed && planted::is(Bug::DoomedRunTold)) {
                let (barred, held) = (false, true);
                return Settled::Again(Conflict { barred, held });
            }
        }
        // A run that is not doomed has read one revision and no other, so an error or a panic of it
        // is what comes of the state at that revision: nothing need be asked of the server.
        let value = match ended {
            Ok(Ok(value)) => value,
            Ok(Err(error)) => return Settled::Returned(Err(self.failed(run, error))),
            Err(payload) => return Settled::Panicked(payload),
        };
        if let Some(kind) = run.failed() {
            return Settled::Returned(Err(Error::new(kind, self.operation)));
        }
        if !run.has_written() {
            marks::reached(Mark::TransactionRead);
            self.state.context().contended().forget(self.function);
            return Settled::Returned(Ok(value));
        }
        match run.with_parts(|parts| self.commit(run, parts)) {
            Ok(()) => {
                self.learn(&run.touched());
                Settled::Returned(Ok(value))
            }
            Err(error) => match *error.kind() {
                Kind::Conflict { barred, held } => Settled::Again(Conflict { barred, held }),
                _ => Settled::Returned(Err(error)),
            },
        }
    }

    /// What its function's error is told as.
    fn failed(&self, run: &Run<'_>, error: Error) -> Error {
        if self.of == Of::Caller {
            return error;
        }
        if planted::is(Bug::ErrorHereCommits) {
            let _done = run.with_parts(|parts| self.commit(run, parts));
        }
        // In the server no read fails; and what gives up over a refused write fails for that.
        let why = match error.kind() {
            Kind::Remote(_) => run.failed(),
            _ => run.unread(),
        };
        why.map_or(error, |kind| Error::new(kind, self.operation))
    }

    fn commit(&self, run: &Run<'_>, mut parts: Vec<Part<'_>>) -> Result<()> {
        if self.of == Of::Shipped
            && planted::is(Bug::ReadHereNotValidated)
            && let Some(part) = parts.first_mut()
        {
            part.reads.pop();
        }
        let now = self.state.context().connection().port().now();
        if self
            .deadline
            .is_some_and(|due| due != AT_ONCE && due <= now)
        {
            // Its outcome would not be known.
            return Err(Error::new(Kind::TimedOut, self.operation));
        }
        let request = Request::Commit {
            function: self.function,
            at: run.at(),
            parts,
            lease: self.lease.as_ref().map(|(lease, _)| *lease),
        };
        self.ask(&request, self.deadline)
    }

    fn ask(&self, request: &Request<'_>, deadline: Option<Time>) -> Result<()> {
        let context = self.state.context();
        context.call_by(self.operation, deadline, request, |reply| match reply {
            Reply::Written { .. } | Reply::Done { .. } => Ok(()),
            other => Err(unexpected(other)),
        })
    }

    /// Sees to it that the next run may do better.
    fn prepare(&mut self, conflict: Conflict, mut touched: Touched) -> Result<()> {
        marks::reached(Mark::TransactionRunAgain);
        self.conflicts += 1;
        let now = self.state.context().connection().port().now();
        let give_up_at = *self.give_up_at.get_or_insert(now.after(LEASE_WAIT));
        if now >= give_up_at {
            return Err(self.contended());
        }
        if self.state.context().stopping() && !self.asked_before {
            marks::reached(Mark::TransactionStopped);
            return Err(Error::new(Kind::Stopped, self.operation));
        }
        match &self.lease {
            None if !conflict.barred && self.conflicts < CONFLICTS_MAX => return Ok(()),
            None => {}
            Some((_, on)) => {
                let is_covered = covers(on, &touched);
                if is_covered && conflict.held {
                    // Plain writes have broken it.
                    return Ok(());
                }
                marks::reached_if(!is_covered, Mark::TransactionQueuedAgain);
                touched.extend(on.iter().cloned());
                self.release();
            }
        }
        self.queue(touched, give_up_at)
    }

    /// Waits for a lease on these.
    fn queue(&mut self, touched: Touched, give_up_at: Time) -> Result<()> {
        let on = bounded(touched);
        if on.len() > LEASED_KEYS_MAX {
            // More namespaces than a lease is on: it has to come through without one.
            return Ok(());
        }
        let lease = self.state.context().connection().name_lease();
        let leased: Vec<Leased<'_>> = (on.iter())
            .map(|(namespace, key)| (&**namespace, key.as_deref()))
            .collect();
        let request = Request::Lease {
            lease,
            function: self.function,
            on: leased,
        };
        let first = self.deadline.is_some_and(|deadline| deadline < give_up_at);
        let until = if first {
            self.deadline
        } else {
            Some(give_up_at)
        };
        let given = self.ask(&request, until);
        drop(request);
        // It may have been given while it was given up.
        self.lease = Some((lease, on));
        match given {
            Err(error) if error.is_timeout() && !first => Err(self.contended()),
            given => given,
        }
    }

    fn contended(&self) -> Error {
        marks::reached(Mark::TransactionContended);
        Error::new(Kind::Contended, self.operation)
    }

    /// Gives the lease back, if there is one, whatever else has come to its end by now.
    fn release(&mut self) {
        if let Some((lease, _)) = self.lease.take() {
            let context = self.state.context();
            let kept = planted::is(Bug::LeaseKeptWhenStopped) && context.stopping();
            if !kept {
                context.connection().release(lease);
            }
        }
    }
}

/// Is a lease on these a lease on all of those?
fn covers(on: &Touched, touched: &Touched) -> bool {
    touched.iter().all(|(namespace, key)| {
        let whole = (namespace.clone(), None);
        on.contains(&(namespace.clone(), key.clone())) || on.contains(&whole)
    })
}

/// So many as a lease may be on: whole namespaces in the place of too many keys.
fn bounded(mut touched: Touched) -> Touched {
    if touched.len() > LEASED_KEYS_MAX {
        touched = touched
            .into_iter()
            .map(|(namespace, _)| (namespace, None))
            .collect();
    }
    touched
}
