//! Processes that are waited for, and ended, together.

use super::context::Context;
use super::outcome::Outcome;
use super::process::Process;
use crate::error::Result;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Some processes, in the order they were started. Made by [`Context::spawn_many`] and
/// [`Context::spawn_map`], or by collecting any processes of one type.
///
/// What concerns all of them gives one answer for each, in their order: that one has failed tells
/// nothing of the others. Dropping a group detaches its processes, as dropping one of them does.
pub struct Group<R> {
    processes: Vec<Process<R>>,
}

impl<R> std::fmt::Debug for Group<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.processes).finish()
    }
}

impl<R> FromIterator<Process<R>> for Group<R> {
    fn from_iter<I: IntoIterator<Item = Process<R>>>(processes: I) -> Group<R> {
        Group {
            processes: processes.into_iter().collect(),
        }
    }
}

impl<R> IntoIterator for Group<R> {
    type Item = Process<R>;
    type IntoIter = std::vec::IntoIter<Process<R>>;

    fn into_iter(self) -> Self::IntoIter {
        self.processes.into_iter()
    }
}

impl<'a, R> IntoIterator for &'a Group<R> {
    type Item = &'a Process<R>;
    type IntoIter = std::slice::Iter<'a, Process<R>>;

    fn into_iter(self) -> Self::IntoIter {
        self.processes.iter()
    }
}

impl<R> Group<R> {
    /// How many they are, ended or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.processes.len()
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    /// Blocks until all have ended, and tells how each did.
    ///
    /// # Errors
    /// Each as for [`Process::outcome`].
    #[track_caller]
    pub fn outcomes(&self) -> Vec<Result<Outcome>> {
        let mut outcomes = Vec::with_capacity(self.len());
        for process in self {
            outcomes.push(process.outcome());
        }
        outcomes
    }

    /// Blocks until all have ended, and gives what each one's function returned. To have all values
    /// or the first error, collect them: `group.join_all().into_iter().collect::<Result<Vec<_>>>()`.
    ///
    /// # Errors
    /// Each as for [`Process::join`].
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// let ctx = zproc::Context::new()?;
    /// let group = ctx.spawn_map(|_, n: u32| 100 / n, [5, 0, 2])?;
    /// let results = group.join_all();
    /// assert_eq!(results[0].as_ref().unwrap(), &20);
    /// assert!(results[1].as_ref().unwrap_err().is_panic());
    /// assert_eq!(results[2].as_ref().unwrap(), &50);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn join_all(self) -> Vec<Result<R>>
    where
        R: DeserializeOwned,
    {
        let mut results = Vec::with_capacity(self.len());
        for process in self {
            results.push(process.join());
        }
        results
    }

    /// As [`join_all`](Group::join_all), for at most `limit` in all; it can be called again. Those
    /// that have ended by then give their results, wherever they stand.
    ///
    /// # Errors
    /// Each as for [`Process::join_timeout`].
    #[track_caller]
    pub fn join_all_timeout(&self, limit: Duration) -> Vec<Result<R>>
    where
        R: DeserializeOwned,
    {
        let mut results = Vec::with_capacity(self.len());
        let Some(first) = self.processes.first() else {
            return results;
        };
        let deadline = first.now().after(limit);
        for process in self {
            results.push(match process.try_join() {
                Ok(Some(result)) => Ok(result),
                Ok(None) => process.join_timeout(deadline.since(process.now())),
                Err(error) => Err(error),
            });
        }
        results
    }

    /// Asks all to end, kills those that have not when `grace` is over, and tells how each ended.
    /// They are asked at once, so it takes no longer than one of them. See [`Process::stop`].
    ///
    /// # Errors
    /// Each as for [`Process::stop`].
    #[track_caller]
    pub fn stop(&self, grace: impl Into<Option<Duration>>) -> Vec<Result<Outcome>> {
        let grace = grace.into();
        let mut outcomes = Vec::with_capacity(self.len());
        for process in self {
            // What went wrong is told below, where it is asked once more.
            let _ = process.request_stop(grace);
        }
        for process in self {
            outcomes.push(process.stop(grace));
        }
        outcomes
    }

    /// Kills all, and tells how each ended. See [`Process::kill`].
    ///
    /// # Errors
    /// Each as for [`Process::kill`].
    #[track_caller]
    pub fn kill(&self) -> Vec<Result<Outcome>> {
        let mut outcomes = Vec::with_capacity(self.len());
        for process in self {
            // As in `stop`.
            let _ = process.request_kill();
        }
        for process in self {
            outcomes.push(process.kill());
        }
        outcomes
    }
}

impl Context {
    /// Starts `count` processes that run `f(ctx, (index, args))`, each with its index, from 0 on.
    ///
    /// # Errors
    /// As for [`spawn`](Context::spawn). If one can't be started, those before it are killed.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// let ctx = zproc::Context::new()?;
    /// let group = ctx.spawn_many(3, |_, (index, step): (usize, usize)| index * step, 10)?;
    /// let results: zproc::Result<Vec<usize>> = group.join_all().into_iter().collect();
    /// assert_eq!(results?, [0, 10, 20]);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn_many<F, A, R>(&self, count: usize, f: F, args: A) -> Result<Group<R>>
    where
        F: Fn(&Context, (usize, A)) -> R + Copy + Send + 'static,
        A: Serialize + DeserializeOwned + Clone + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.spawn_map(f, (0..count).map(|index| (index, args.clone())))
    }

    /// Starts a process that runs `f(ctx, item)` for each item.
    ///
    /// # Errors
    /// As for [`spawn`](Context::spawn). If one can't be started, those before it are killed.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// let ctx = zproc::Context::new()?;
    /// let words = ["one", "three"].map(str::to_owned);
    /// let group = ctx.spawn_map(|_, word: String| word.len(), words)?;
    /// let lengths: zproc::Result<Vec<usize>> = group.join_all().into_iter().collect();
    /// assert_eq!(lengths?, [3, 5]);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn_map<F, A, R, I>(&self, f: F, items: I) -> Result<Group<R>>
    where
        F: Fn(&Context, A) -> R + Copy + Send + 'static,
        A: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A>,
    {
        let mut processes = Vec::new();
        for item in items {
            match self.spawn(f, item) {
                Ok(process) => processes.push(process),
                Err(error) => {
                    for process in &processes {
                        // It is the first error that counts; and a lost server has ended them.
                        let _ = process.request_kill();
                    }
                    return Err(error);
                }
            }
        }
        Ok(Group { processes })
    }
}
