//! Processes, as their parents and others see them.

use super::context::{Context, unexpected};
use super::outcome::Outcome;
use super::parts;
use super::value;
use crate::error::{Error, Kind, Operation, Result};
use crate::proto::ids::ProcessId;
use crate::proto::message::{Condition, End, Finish, Reply, Request, RestOf};
use crate::proto::server::{RECORD_PREFIX, Record};
use crate::proto::time::{Time, nanoseconds};
use serde::de::DeserializeOwned;
use std::marker::PhantomData;
use std::panic::Location;
use std::time::Duration;

/// A process that was [spawned](Context::spawn), and what its function will return: an `R`.
///
/// Dropping it [detaches](Process::detach) it: the process goes on, bound to its parent and to the
/// tree.
pub struct Process<R> {
    context: Context,
    id: ProcessId,
    /// The key of its record, by which errors name it.
    key: String,
    result: PhantomData<fn() -> R>,
}

/// What the end of a process brings of its result.
enum Got<R> {
    Whole(R),
    /// So many bytes are still to be fetched.
    Beginning(Vec<u8>, u64),
}

impl<R> std::fmt::Debug for Process<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process").field("id", &self.id).finish()
    }
}

impl<R> Process<R> {
    pub(super) fn new(context: Context, id: ProcessId) -> Process<R> {
        Process {
            context,
            id,
            key: format!("{RECORD_PREFIX}{}", id.0),
            result: PhantomData,
        }
    }

    /// Its id, which no other of the tree, or of all programs at one server, ever has.
    #[must_use]
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// Its id in the system, once it has been started; `None` before, and when its record is gone.
    /// When it has ended, the number may be another's.
    ///
    /// # Errors
    /// What a lost server gives.
    #[track_caller]
    pub fn pid(&self) -> Result<Option<u32>> {
        Ok(self
            .record("pid", Location::caller())?
            .and_then(|record| record.pid))
    }

    /// Has it not ended yet?
    ///
    /// # Errors
    /// What a lost server gives.
    #[track_caller]
    pub fn is_alive(&self) -> Result<bool> {
        let record = self.record("is_alive", Location::caller())?;
        Ok(record.is_some_and(|record| record.state != "ended"))
    }

    /// Blocks until it has ended, and tells how, whatever that was.
    ///
    /// # Errors
    /// [`is_unknown_process`](crate::Error::is_unknown_process) when the record is gone: those of long
    /// ended processes are forgotten when there are too many; and what a lost server gives.
    #[track_caller]
    pub fn outcome(&self) -> Result<Outcome> {
        let operation = self.operation("outcome", Location::caller());
        self.wait(&operation, None, |(_, _, outcome)| Ok(outcome))
    }

    /// Blocks until it has ended, and gives what its function returned.
    ///
    /// A result may have up to 64 MiB. Results that nobody has joined are kept up to 1 GiB in all; of
    /// those over it the oldest large ones are gone ([`is_limit`](crate::Error::is_limit)), and should
    /// that not be enough, the oldest records. Once joined, a large one is not kept any more.
    ///
    /// A function that returned `Err` has returned a value like another: `R` is then a `Result`,
    /// and is given as it is.
    ///
    /// # Errors
    /// [`is_panic`](crate::Error::is_panic), with location (and backtrace, where
    ///   `RUST_BACKTRACE` asks for it);
    /// [`exit_code`](crate::Error::exit_code), [`is_killed`](crate::Error::is_killed),
    /// [`is_timed_out`](crate::Error::is_timed_out), [`is_not_started`](crate::Error::is_not_started), [`is_undecodable`](crate::Error::is_undecodable): each
    /// with the [`outcome`](crate::Error::outcome). [`is_stopped`](crate::Error::is_stopped): the
    /// process that waits was asked to end. And as for [`outcome`](Process::outcome).
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// fn half(_: &zproc::Context, n: u64) -> Result<u64, String> {
    ///     if n % 2 == 0 { Ok(n / 2) } else { Err(format!("{n} is odd")) }
    /// }
    /// let ctx = zproc::Context::new()?;
    /// assert_eq!(ctx.spawn(half, 8)?.join()?, Ok(4));
    /// assert_eq!(ctx.spawn(half, 7)?.join()?, Err("7 is odd".to_owned()));
    ///
    /// let error = ctx.spawn(|_, ()| -> u64 { panic!("no luck") }, ())?.join().unwrap_err();
    /// assert!(error.is_panic() && error.to_string().contains("no luck"));
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn join(self) -> Result<R>
    where
        R: DeserializeOwned,
    {
        let operation = self.operation("join", Location::caller());
        let (result, in_parts) = self.result(&operation, None)?;
        if in_parts {
            // Nobody can ask for it again: the server need not keep it. If it can't be told, it
            // goes when there are too many.
            let request = Request::Forget { process: self.id };
            let _ = self.context.call(&operation, None, &request, |_| Ok(()));
        }
        Ok(result)
    }

    /// As [`join`](Process::join), for at most `limit`; it can be called again. With a limit of zero it
    /// gives the result of one that has ended, and does not wait for any other.
    ///
    /// # Errors
    /// [`is_timeout`](crate::Error::is_timeout), and as for [`join`](Process::join).
    #[track_caller]
    pub fn join_timeout(&self, limit: Duration) -> Result<R>
    where
        R: DeserializeOwned,
    {
        let operation = self.operation("join_timeout", Location::caller());
        Ok(self.result(&operation, Some(limit))?.0)
    }

    /// What its function returned, if it has ended; `None` if it has not. Does not wait.
    ///
    /// # Errors
    /// As for [`join`](Process::join).
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// let ctx = zproc::Context::new()?;
    /// let process = ctx.spawn(|ctx, ()| ctx.state().wait_equal("go", &true).is_ok(), ())?;
    /// assert_eq!(process.try_join()?, None);
    /// ctx.state().set("go", &true)?;
    /// process.outcome()?;
    /// assert_eq!(process.try_join()?, Some(true));
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn try_join(&self) -> Result<Option<R>>
    where
        R: DeserializeOwned,
    {
        let operation = self.operation("try_join", Location::caller());
        let record = self.record("try_join", Location::caller())?;
        if record.is_some_and(|record| record.state != "ended") {
            return Ok(None);
        }
        // Answered at once: that it has ended is told in the revision that its record tells it in.
        Ok(Some(self.result(&operation, None)?.0))
    }

    /// The clock by which its time limits are counted.
    pub(super) fn now(&self) -> Time {
        self.context.connection().port().now()
    }

    /// Asks it to end, and kills it if it has not when `grace` is over; tells how it ended.
    ///
    /// It is asked by SIGTERM, as by anybody's `kill`: [`Context::stopping`] is true in it from then
    /// on, and its calls that wait end with [`is_stopped`](crate::Error::is_stopped). A function that
    /// then returns has returned: its outcome is its value or its `Err`. Its children are not asked;
    /// they are its own to [stop](Process::stop), and are killed when it has ended, but for those that
    /// it has asked: they have the rest of their grace.
    ///
    /// `None` is the grace that it was [started with](crate::ProcessBuilder::grace), 5 seconds if
    /// nothing was said. Asked again, it has as long as the shortest grace leaves it. Stopping one that has ended does nothing.
    ///
    /// In a process that is itself asked to end this goes on working, and takes no longer than the
    /// grace and a moment.
    ///
    /// # Errors
    /// As for [`kill`](Process::kill).
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// use std::time::Duration;
    /// use zproc::{Context, End, Result, Why};
    ///
    /// fn work(ctx: &Context, _: ()) -> Result<u64> {
    ///     ctx.state().set("works", &true)?;
    ///     match ctx.state().wait_equal("never", &true) {
    ///         Err(error) if error.is_stopped() => {
    ///             ctx.state().remove("works")?;
    ///             Ok(7)
    ///         }
    ///         result => result.map(|_| 0),
    ///     }
    /// }
    ///
    /// let ctx = Context::new()?;
    /// let worker = ctx.spawn(work, ())?;
    /// ctx.state().wait_equal("works", &true)?;
    /// assert!(worker.stop(None)?.is_value());
    /// assert!(ctx.state().is_empty()?);
    /// assert_eq!(worker.join()??, 7);
    ///
    /// // One that does not listen.
    /// let deaf = ctx.spawn(|_, ()| loop { std::thread::park() }, ())?;
    /// let outcome = deaf.stop(Duration::from_millis(10))?;
    /// assert_eq!(outcome.end, End::Killed { why: Why::Grace });
    /// # let _: zproc::Process<()> = deaf;
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn stop(&self, grace: impl Into<Option<Duration>>) -> Result<Outcome> {
        let operation = self.operation("stop", Location::caller());
        self.ask_to_stop(&operation, grace.into())?;
        self.wait_unheeding(&operation)
    }

    /// As [`stop`](Process::stop), but returns as soon as it is on its way.
    ///
    /// # Errors
    /// As for [`kill`](Process::kill).
    #[track_caller]
    pub fn request_stop(&self, grace: impl Into<Option<Duration>>) -> Result<()> {
        let operation = self.operation("request_stop", Location::caller());
        self.ask_to_stop(&operation, grace.into())
    }

    fn ask_to_stop(&self, operation: &Operation<'_>, grace: Option<Duration>) -> Result<()> {
        let request = Request::Stop {
            process: self.id,
            grace_ns: grace.map(nanoseconds),
        };
        self.context.order(operation, &request)
    }

    /// Kills it, with all that it has started, and tells how it ended: `killed`, unless it had
    /// ended a moment before. It runs no code any more; what it had written is kept, what it
    /// [owned](crate::State::set_owned) is released, and its children are killed, too, but for those
    /// that were asked to end before: they have the rest of their grace.
    ///
    /// Killing one that has ended does nothing.
    ///
    /// # Errors
    /// [`is_unknown_process`](crate::Error::is_unknown_process) when its record is gone, and what a
    /// lost server gives.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// use zproc::{Context, End, Why};
    ///
    /// let ctx = Context::new()?;
    /// let process = ctx.spawn(|ctx: &Context, ()| ctx.state().wait_equal("never", &1).map(drop), ())?;
    /// let outcome = process.kill()?;
    /// assert_eq!(outcome.end, End::Killed { why: Why::Asked });
    /// assert!(process.join().unwrap_err().is_killed());
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn kill(&self) -> Result<Outcome> {
        self.request_kill()?;
        self.wait_unheeding(&self.operation("kill", Location::caller()))
    }

    /// As [`kill`](Process::kill), but returns as soon as it is on its way.
    #[track_caller]
    pub(super) fn request_kill(&self) -> Result<()> {
        let operation = self.operation("kill", Location::caller());
        let request = Request::Kill { process: self.id };
        self.context.order(&operation, &request)
    }

    /// Has it end with the tree, no more with the process that has spawned it: its own children
    /// stay bound to it. Its record tells who spawned it as before. See
    /// [`ProcessBuilder::at_root`](crate::ProcessBuilder::at_root).
    ///
    /// If that process ends at this moment, this one lives on if this call has returned. For one
    /// that has ended, or is at the root already, it does nothing.
    ///
    /// # Errors
    /// As for [`kill`](Process::kill).
    #[track_caller]
    pub fn move_to_root(&self) -> Result<()> {
        let operation = self.operation("move_to_root", Location::caller());
        let request = Request::ToRoot { process: self.id };
        self.context.order(&operation, &request)
    }

    /// Lets it go on by itself: nobody joins it by this handle, and its result goes when there are
    /// too many. The same as dropping the handle; it says that this is meant.
    ///
    /// It ends with its parent and with the tree as before. One that is to go on without its parent is
    /// [moved to the root](Process::move_to_root) first; none goes on without the program.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// use zproc::Context;
    ///
    /// let ctx = Context::new()?;
    /// let log = |ctx: &Context, line: String| ctx.state().set("log", &line).map(drop);
    /// ctx.spawn(log, "begun".to_owned())?.detach();
    /// ctx.state().wait_equal("log", "begun")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn detach(self) {
        drop(self);
    }

    /// The result, and whether it came in parts.
    fn result(&self, operation: &Operation<'_>, limit: Option<Duration>) -> Result<(R, bool)>
    where
        R: DeserializeOwned,
    {
        let deadline = self.context.deadline(limit);
        let got = self.wait(operation, deadline, |(value, rest, outcome)| match value {
            Some(value) if rest == 0 => value::decode(value).map(Got::Whole),
            Some(value) => Ok(Got::Beginning(value.to_vec(), rest)),
            None => Err(Kind::Ended(Box::new(outcome))),
        })?;
        let (head, rest) = match got {
            Got::Whole(result) => return Ok((result, false)),
            Got::Beginning(head, rest) => (head, rest),
        };
        let of = RestOf::Result { process: self.id };
        let value = parts::fetch(&self.context, operation, deadline, head, (rest, of))?;
        let result = value::decode(&value).map_err(|kind| Error::new(kind, operation))?;
        Ok((result, true))
    }

    /// Waits for the end: the encoded result, if there is one, how many bytes of it are still to be
    /// fetched, and the outcome.
    fn wait<T>(
        &self,
        operation: &Operation<'_>,
        deadline: Option<Time>,
        read: impl FnOnce((Option<&[u8]>, u64, Outcome)) -> Result<T, Kind>,
    ) -> Result<T> {
        let request = self.end();
        self.context
            .call_by(operation, deadline, &request, |reply| match reply {
                Reply::Ended { outcome, rest, .. } => {
                    let value = match outcome.end {
                        End::Finished(Finish::Value(value) | Finish::Error { value, .. }) => {
                            Some(value)
                        }
                        _ => None,
                    };
                    read((value, *rest, Outcome::from_message(outcome)))
                }
                other => Err(unexpected(other)),
            })
    }

    /// Waits for the end of one that is being ended, in a process that is being ended too.
    fn wait_unheeding(&self, operation: &Operation<'_>) -> Result<Outcome> {
        let request = self.end();
        self.context
            .call_unheeding(operation, &request, |reply| match reply {
                Reply::Ended { outcome, .. } => Ok(Outcome::from_message(outcome)),
                other => Err(unexpected(other)),
            })
    }

    /// The request that is answered at its end.
    fn end(&self) -> Request<'static> {
        Request::Wait {
            namespace: "",
            condition: Condition::Ended { process: self.id },
        }
    }

    fn record(
        &self,
        verb: &'static str,
        caller: &'static Location<'static>,
    ) -> Result<Option<Record>> {
        let operation = self.operation(verb, caller);
        let request = Request::Get {
            namespace: "",
            key: &self.key,
            at: None,
        };
        self.context
            .call(&operation, None, &request, |reply| match reply {
                Reply::Value { value, .. } => value.map(value::decode).transpose(),
                other => Err(unexpected(other)),
            })
    }

    fn operation(&self, verb: &'static str, caller: &'static Location<'static>) -> Operation<'_> {
        Operation {
            verb,
            object: Some(&self.key),
            namespace: None,
            caller,
        }
    }
}
