//! What became of one key: the updates of it that the server still holds.

use super::context::unexpected;
use super::state::State;
use super::update::Update;
use crate::error::{Error, Kind, Operation, Result};
use crate::proto::codec;
use crate::proto::ids::Revision;
use crate::proto::marks::{self, Mark};
use crate::proto::message::{self, Filter, Reply, Request};
use std::collections::VecDeque;
use std::panic::Location;
use std::sync::Arc;

/// How often the beginning is looked for, when others write so much that the log loses it meanwhile.
const ATTEMPTS_MAX: usize = 8;

impl State {
    /// What became of one key, as far as the server holds it: each update with who made it
    /// ([process and function](crate::Origin)) and when, the newest last.
    ///
    /// The server keeps the updates of all namespaces in one log of at most 65,536 revisions and
    /// 64 MiB, and drops the oldest for new ones; [`oldest`](History::oldest) tells from where on the
    /// list is whole. It ends with what there was when the call began, and is read in parts, as it is
    /// asked for.
    ///
    /// # Errors
    /// [`is_limit`](Error::is_limit) for a key that is too long, and what a lost server gives.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// # let ctx = zproc::Context::new()?;
    /// let state = ctx.namespace("doc-history");
    /// for price in [5, 7, 6] {
    ///     state.set("price", &price)?;
    /// }
    /// let history = state.history("price")?;
    /// assert_eq!(history.oldest(), zproc::Revision(1)); // nothing is lost
    /// let mut prices = Vec::new();
    /// for update in history {
    ///     let update = update?;
    ///     prices.push(update.changes[0].after::<u32>()?.unwrap());
    ///     println!("{:?}: process {}", update.time, update.origin.process);
    /// }
    /// assert_eq!(prices, [5, 7, 6]);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn history(&self, key: &str) -> Result<History> {
        let mut history = History {
            state: self.clone(),
            namespace: self.namespace_name().into(),
            key: key.to_owned(),
            part: VecDeque::new(),
            oldest: Revision::ZERO.next(),
            after: Revision::ZERO,
            until: None,
            ended: false,
            caller: Location::caller(),
        };
        for _ in 1..ATTEMPTS_MAX {
            match history.read() {
                Err(error) if let Some(oldest) = error.oldest() => {
                    marks::reached(Mark::HistoryCutShort);
                    history.oldest = oldest;
                    history.after = Revision(oldest.0.saturating_sub(1));
                }
                read => return read.map(|()| history),
            }
        }
        history.read().map(|()| history)
    }
}

/// The updates of one key, the newest last. Made by [`State::history`].
///
/// When the log drops what comes next before it is read, it gives one `Err` that
/// [`is_compacted`](Error::is_compacted), and `None` from then on.
pub struct History {
    state: State,
    namespace: Arc<str>,
    key: String,
    part: VecDeque<Update>,
    oldest: Revision,
    /// All up to here is in `part`, or was given.
    after: Revision,
    /// Where it ends, once that is known.
    until: Option<Revision>,
    ended: bool,
    caller: &'static Location<'static>,
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History")
            .field("key", &self.key)
            .field("oldest", &self.oldest)
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}

impl History {
    /// The oldest revision from which on it is whole: updates of the key before it, if there were any,
    /// are no longer held.
    #[must_use]
    pub fn oldest(&self) -> Revision {
        self.oldest
    }

    /// Reads the next part.
    fn read(&mut self) -> Result<()> {
        let operation = Operation {
            verb: "history",
            object: Some(&self.key),
            namespace: Some(&self.namespace),
            caller: self.caller,
        };
        let request = Request::Updates {
            namespace: &self.namespace,
            filter: Filter::Key(&self.key),
            after: self.after,
            until: self.until.unwrap_or(Revision(u64::MAX)),
        };
        let (updates, reached, head) =
            self.state.call(&operation, &request, |reply| match reply {
                Reply::Updates {
                    revision,
                    updates,
                    until,
                } => {
                    let decoded = updates.iter().map(|update| {
                        codec::decode::<message::Update<'_>>(update)
                            .map(|update| Update::from_message(&update, &self.namespace))
                            .map_err(|malformed| Kind::Protocol(malformed.to_string()))
                    });
                    Ok((decoded.collect::<Result<_, _>>()?, *until, *revision))
                }
                other => Err(unexpected(other)),
            })?;
        let until = *self.until.get_or_insert(head);
        if reached <= self.after && reached < until {
            let kind = Kind::Protocol("an answer that goes no further".to_owned());
            return Err(Error::new(kind, &operation));
        }
        self.part = updates;
        self.after = reached.min(until);
        Ok(())
    }
}

impl Iterator for History {
    type Item = Result<Update>;

    fn next(&mut self) -> Option<Result<Update>> {
        loop {
            if let Some(update) = self.part.pop_front() {
                return Some(Ok(update));
            }
            if self.ended || Some(self.after) >= self.until {
                return None;
            }
            marks::reached(Mark::HistoryInParts);
            if let Err(error) = self.read() {
                self.ended = true;
                return Some(Err(error));
            }
        }
    }
}

impl std::iter::FusedIterator for History {}
