//! Locks: one holder at a time, over all processes of the tree, or of all programs at one server.

use super::context::{Context, unexpected};
use super::scan::Span;
use crate::error::{Error, Kind, Operation, Result};
use crate::proto::ids::{ProcessId, Revision};
use crate::proto::limits::LOCK_NAME_BYTES_MAX;
use crate::proto::locks::{LOCK_PREFIX, LockRecord};
use crate::proto::message::{Reply, Request};
use crate::proto::operations::{self, Test};
use std::panic::Location;
use std::time::Duration;

/// Locks, by name. They are the server's, so the tree's, or all programs' that are connected to one
/// server: every process that names one means the same, whatever its
/// [state](Context::state) is. A lock need not be made first, and is no more when nobody holds it.
impl Context {
    /// Blocks until the lock is this call's, and holds it as long as the guard lives. Those who wait
    /// get it in the order in which they asked.
    ///
    /// Each call is a holder of its own, so that threads of one process exclude each other too; one
    /// thread that takes a lock twice waits for itself, for ever. [`dump`](Context::dump) names who
    /// waits for whom.
    ///
    /// The lock is given back when the guard is dropped, which does not block; when its process ends,
    /// however that is: after its last writes, in the one revision in which what it
    /// [owns](crate::State::set_owned) goes; and when its session is lost
    /// ([`is_session_lost`](Error::is_session_lost)), as that of a process may be that was stopped for
    /// longer than half a minute. Such a process lives on, and may not know yet that another holds the
    /// lock: what must not happen then is to be guarded by the guard's
    /// [revision](LockGuard::revision), too. [`is_held`](LockGuard::is_held) asks.
    ///
    /// # Errors
    /// [`is_stopped`](Error::is_stopped) when this process is asked to end,
    /// [`is_limit`](Error::is_limit) for a name over 255 bytes, or when there are too many locks or too
    /// many who wait; and what a lost server gives. A call that failed holds nothing.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// use zproc::Context;
    ///
    /// fn add_slowly(ctx: &Context, _: usize) -> zproc::Result<()> {
    ///     for _ in 0..10 {
    ///         let _guard = ctx.lock("counter")?;
    ///         let count: u64 = ctx.state().get("count")?.unwrap_or(0);
    ///         ctx.state().set("count", &(count + 1))?;
    ///     }
    ///     Ok(())
    /// }
    ///
    /// let ctx = Context::new()?;
    /// for result in ctx.spawn_map(add_slowly, 0..3)?.join_all() {
    ///     result??;
    /// }
    /// assert_eq!(ctx.state().get("count")?, Some(30));
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn lock(&self, name: &str) -> Result<LockGuard> {
        self.take_lock(&lock_operation("lock", name), name, None)
    }

    /// As [`lock`](Context::lock), for at most `limit`. With a limit of zero it takes a lock that is
    /// free, and does not wait for any other.
    ///
    /// # Errors
    /// [`is_timeout`](Error::is_timeout), after which this call neither holds the lock nor waits for
    /// it; and as for [`lock`](Context::lock).
    #[track_caller]
    pub fn lock_timeout(&self, name: &str, limit: Duration) -> Result<LockGuard> {
        self.take_lock(&lock_operation("lock_timeout", name), name, Some(limit))
    }

    /// The lock, if nobody holds it. Does not wait.
    ///
    /// # Errors
    /// [`is_limit`](Error::is_limit), and what a lost server gives.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// # let ctx = zproc::Context::new()?;
    /// let guard = ctx.try_lock("door")?.unwrap();
    /// assert!(ctx.try_lock("door")?.is_none());
    /// drop(guard);
    /// assert!(ctx.try_lock("door")?.is_some());
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn try_lock(&self, name: &str) -> Result<Option<LockGuard>> {
        let operation = lock_operation("try_lock", name);
        check_name(name).map_err(|kind| Error::new(kind, &operation))?;
        let request = Request::Lock { name, waits: false };
        let granted = self.call_unheeding(&operation, &request, granted)?;
        Ok(granted.map(|grant| self.guard(name, grant)))
    }

    /// All locks that somebody holds, in the order of their names.
    ///
    /// The same records are in the namespace `""`, under keys `lock/{name}`, where they can be
    /// [waited on](crate::State::wait_absent) and [watched](crate::State::watch).
    ///
    /// # Errors
    /// What a lost server gives.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// # let ctx = zproc::Context::new()?;
    /// let guard = ctx.lock("door")?;
    /// let locks = ctx.locks()?;
    /// assert_eq!((&*locks[0].name, locks[0].holder), ("door", ctx.process_id()));
    /// drop(guard);
    /// assert!(ctx.locks()?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn locks(&self) -> Result<Vec<LockInfo>> {
        let now = self.connection().port().now();
        let records = self.namespace("");
        let mut locks = Vec::new();
        for entry in records.iter::<LockRecord>(Span::prefix(LOCK_PREFIX)) {
            let (key, record) = entry?;
            locks.push(LockInfo {
                name: key[LOCK_PREFIX.len()..].to_owned(),
                holder: ProcessId(record.holder),
                held: Duration::from_nanos(now.0.saturating_sub(record.since_ns)),
            });
        }
        Ok(locks)
    }

    fn take_lock(
        &self,
        operation: &Operation<'_>,
        name: &str,
        limit: Option<Duration>,
    ) -> Result<LockGuard> {
        check_name(name).map_err(|kind| Error::new(kind, operation))?;
        let request = Request::Lock { name, waits: true };
        let read = |reply: &Reply<'_>| granted(reply)?.ok_or_else(|| unexpected(reply));
        let grant = self.call(operation, limit, &request, read)?;
        Ok(self.guard(name, grant))
    }

    fn guard(&self, name: &str, revision: Revision) -> LockGuard {
        LockGuard {
            context: self.clone(),
            name: name.to_owned(),
            revision,
        }
    }
}

/// A lock that is held. Dropping it gives the lock back, without blocking.
///
/// It may go to another thread, and be dropped there.
#[must_use = "a lock is given back when its guard is dropped"]
pub struct LockGuard {
    context: Context,
    name: String,
    revision: Revision,
}

impl std::fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LockGuard")
            .field("name", &self.name)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

impl LockGuard {
    /// The lock's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The revision at which the lock was granted: a *fencing token*. It is greater than that of
    /// each grant of this lock before.
    ///
    /// Who keeps something outside of this tree, a file or a service, can refuse requests with a
    /// revision that is smaller than the greatest seen: then one who was thought dead, and comes back
    /// with a lock that was taken from it, spoils nothing.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// # let ctx = zproc::Context::new()?;
    /// let first = ctx.lock("printer")?.revision();
    /// let second = ctx.lock("printer")?.revision();
    /// assert!(second > first);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Is the lock still held by this guard? It is not, when the session that it was granted to is
    /// lost; a moment later it may be lost, too.
    ///
    /// # Errors
    /// What a lost server gives.
    #[track_caller]
    pub fn is_held(&self) -> Result<bool> {
        let key = format!("{LOCK_PREFIX}{}", self.name);
        let request = Request::Batch {
            namespace: "",
            operations: vec![operations::Operation::Require {
                key: &key,
                test: Test::Revision(self.revision),
            }],
        };
        let operation = lock_operation("is_held", &self.name);
        let answer = self
            .context
            .call_unheeding(&operation, &request, |reply| match reply {
                Reply::Batched { .. } => Ok(()),
                other => Err(unexpected(other)),
            });
        match answer {
            Err(error) if matches!(error.kind(), Kind::Unmet(_)) => Ok(false),
            answer => answer.map(|()| true),
        }
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        self.context.connection().unlock(&self.name, self.revision);
    }
}

/// A lock that somebody holds. See [`Context::locks`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockInfo {
    /// Its name.
    pub name: String,
    /// The process that holds it.
    pub holder: ProcessId,
    /// How long it has.
    pub held: Duration,
}

#[track_caller]
fn lock_operation<'a>(verb: &'static str, name: &'a str) -> Operation<'a> {
    Operation {
        verb,
        object: Some(name),
        namespace: None,
        caller: Location::caller(),
    }
}

fn check_name(name: &str) -> Result<(), Kind> {
    if name.len() > LOCK_NAME_BYTES_MAX {
        return Err(Kind::Limit {
            limit: "LOCK_NAME_BYTES_MAX".to_owned(),
            actual: name.len() as u64,
            max: LOCK_NAME_BYTES_MAX as u64,
        });
    }
    Ok(())
}

/// The revision of the grant, if there is one.
fn granted(reply: &Reply<'_>) -> Result<Option<Revision>, Kind> {
    match reply {
        Reply::Locked { revision, granted } => Ok(granted.then_some(*revision)),
        other => Err(unexpected(other)),
    }
}
