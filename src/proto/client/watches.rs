//! The watches: their queues, their positions, their credit.

use super::{Client, End};
use crate::proto::frame;
use crate::proto::ids::{LeaseId, Revision, WatchId};
use crate::proto::limits::{CREDIT_BYTES_MIN, FRAME_BYTES_MAX};
use crate::proto::marks::{self, Mark};
use crate::proto::message::{FromClient, Request, WatchPosition};
use crate::proto::planted::{self, Bug};
use crate::proto::points::Point;
use std::collections::VecDeque;

/// Why a watch gives no more updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchLoss {
    /// What it needs next is no longer in the log.
    Compacted {
        /// The oldest revision still held.
        oldest: Revision,
    },
    /// The session it belonged to is lost.
    SessionLost,
    /// It was ended, or has told its end already.
    Over,
    /// The client has ended; [`Client::ended`] says why.
    Ended,
}

#[derive(Debug)]
pub(super) struct Watch {
    /// The next revision not seen, once the server has confirmed the watch.
    next: Option<Revision>,
    /// Bytes of updates; all of these are totals since the watch began.
    granted: u64,
    received: u64,
    taken: u64,
    /// What the server was told of `granted`.
    told: u64,
    updates: VecDeque<Vec<u8>>,
    end: Option<WatchLoss>,
}

impl Watch {
    pub(super) fn new(credit: u64) -> Watch {
        Watch {
            next: None,
            granted: credit,
            received: 0,
            taken: 0,
            told: credit,
            updates: VecDeque::new(),
            end: None,
        }
    }

    pub(super) fn begin(&mut self, next: Revision) {
        self.next = Some(next);
    }

    /// The user has taken an update. True when there is credit worth telling.
    fn took(&mut self, bytes: u64, at_once: bool) -> bool {
        self.taken += bytes;
        // Only what the user has taken makes room again: what is queued here stays bounded.
        let granted = self.taken + CREDIT_BYTES_MIN;
        if at_once || granted >= self.granted.saturating_add(CREDIT_BYTES_MIN / 4) {
            self.granted = granted;
        }
        self.told < self.granted
    }

    fn received(&mut self, body: &[u8]) -> Result<(), String> {
        let Some(next) = self.next else {
            return Err("an update of a watch that has not begun".into());
        };
        let Some(revision) = body.first_chunk::<8>() else {
            return Err(format!("an update of {} bytes", body.len()));
        };
        let revision = u64::from_le_bytes(*revision);
        if revision < next.0 || revision == u64::MAX {
            return Err(format!(
                "an update of r{revision} to a watch that is at {next}"
            ));
        }
        self.next = Some(Revision(revision + 1));
        self.received += body.len() as u64;
        if self.received > self.granted.saturating_add(FRAME_BYTES_MAX as u64) {
            return Err("more updates than there was credit for".into());
        }
        self.updates.push_back(body.to_vec());
        Ok(())
    }
}

impl Client {
    /// True when [`take_update`](Client::take_update) will give something.
    #[must_use]
    pub fn has_update(&self, watch: WatchId) -> bool {
        self.end.is_some()
            || self
                .watches
                .get(&watch)
                .is_none_or(|watch| !watch.updates.is_empty() || watch.end.is_some())
    }

    /// The next update of a watch, as an encoded [`Update`](crate::proto::message::Update), or
    /// why there is none; `None` when it has not come yet. Its credit is given back.
    pub fn take_update(&mut self, watch: WatchId) -> Option<Result<Vec<u8>, WatchLoss>> {
        if self.end == Some(End::Closed) {
            return Some(Err(WatchLoss::Ended));
        }
        let Some(state) = self.watches.get_mut(&watch) else {
            let loss = if self.end.is_some() {
                WatchLoss::Ended
            } else {
                WatchLoss::Over
            };
            return Some(Err(loss));
        };
        if let Some(body) = state.updates.pop_front() {
            let at_once = self.points.strike(Point::CreditAtOnce);
            if state.took(body.len() as u64, at_once) && state.end.is_none() {
                marks::reached(Mark::CreditGiven);
                self.tell_credit(watch);
            }
            return Some(Ok(body));
        }
        if let Some(loss) = state.end {
            self.watches.remove(&watch);
            return Some(Err(loss));
        }
        self.end.is_some().then_some(Err(WatchLoss::Ended))
    }

    /// Ends a watch; what is queued for it is dropped. Does nothing for one that is over.
    pub fn unwatch(&mut self, watch: WatchId) {
        let Some(state) = self.watches.remove(&watch) else {
            return;
        };
        if state.end.is_none() && self.end.is_none() {
            marks::reached_if(self.room().requests == 0, Mark::UnwatchDelayed);
            self.unwatch_later.push_back(watch);
            self.submit_owed();
        }
    }

    /// Gives back a lock that was granted at this revision.
    pub fn unlock(&mut self, name: &str, grant: Revision) {
        if self.end.is_none() {
            self.unlock_later.push_back((name.to_owned(), grant));
            self.submit_owed();
        }
    }

    /// Gives back a lease, by a commit of nothing.
    pub fn release(&mut self, lease: LeaseId) {
        if self.end.is_none() {
            self.release_later.push_back(lease);
            self.submit_owed();
        }
    }

    /// Sends what [`unwatch`](Client::unwatch), [`unlock`](Client::unlock) and
    /// [`release`](Client::release) owe, as far as there is room.
    pub(super) fn submit_owed(&mut self) {
        while self.room().requests > 0 && self.end.is_none() {
            if let Some((name, grant)) = self.unlock_later.pop_front() {
                let name = &*name;
                self.submit_own(&Request::Unlock { name, grant });
            } else if let Some(lease) = self.release_later.pop_front() {
                self.submit_own(&Request::Commit {
                    function: "",
                    at: Revision::ZERO,
                    parts: Vec::new(),
                    lease: Some(lease),
                });
            } else if let Some(watch) = self.unwatch_later.pop_front() {
                self.submit_own(&Request::Unwatch { watch });
            } else {
                return;
            }
        }
    }

    /// Tells the credit of a watch, if there is a connection; if not, the resume will.
    fn tell_credit(&mut self, watch: WatchId) {
        if !self.is_up() {
            return;
        }
        if let Some(state) = self.watches.get_mut(&watch) {
            state.told = state.granted;
            let granted = state.granted;
            frame::append(&FromClient::Credit { watch, granted }, &mut self.control);
        }
    }

    /// Tells what was granted between hello and welcome.
    pub(super) fn tell_credits(&mut self) {
        let untold: Vec<WatchId> = self
            .watches
            .iter()
            .filter(|(_, state)| state.next.is_some() && state.told < state.granted)
            .map(|(watch, _)| *watch)
            .collect();
        marks::reached_if(!untold.is_empty(), Mark::CreditAtWelcome);
        for watch in untold {
            self.tell_credit(watch);
        }
    }

    /// Where every watch stands that has begun: for the resume.
    pub(super) fn positions(&mut self) -> Vec<WatchPosition> {
        let mut positions = Vec::new();
        for (watch, state) in &mut self.watches {
            if let (Some(next), None) = (state.next, state.end) {
                state.told = state.granted;
                if planted::is(Bug::QueueLostOnResume) {
                    state.updates.clear();
                }
                positions.push(WatchPosition {
                    watch: *watch,
                    next,
                    granted: state.granted,
                    received: state.received,
                });
            }
        }
        positions
    }

    /// An update has come. One of a watch that is over crossed its end on the way, and is dropped.
    pub(super) fn updated(&mut self, watch: WatchId, body: &[u8]) -> Result<(), String> {
        match self.watches.get_mut(&watch) {
            Some(state) if state.end.is_none() => state.received(body),
            _ => {
                marks::reached(Mark::UpdateAfterEnd);
                Ok(())
            }
        }
    }

    /// The server has ended a watch.
    pub(super) fn compacted(&mut self, watch: WatchId, oldest: Revision) -> Result<(), String> {
        let Some(state) = self.watches.get_mut(&watch) else {
            return Ok(());
        };
        if state.next.is_none() {
            return Err("the end of a watch that has not begun".into());
        }
        marks::reached(Mark::CompactedTold);
        state.end = Some(WatchLoss::Compacted { oldest });
        Ok(())
    }

    /// The session is lost. Watches that had begun tell it to their users; of the others, the
    /// request does.
    pub(super) fn lose_watches(&mut self) {
        self.watches.retain(|_, state| state.next.is_some());
        marks::reached_if(!self.watches.is_empty(), Mark::WatchLostTold);
        for state in self.watches.values_mut() {
            state.end.get_or_insert(WatchLoss::SessionLost);
        }
        self.unwatch_later.clear();
        self.unlock_later.clear();
        self.release_later.clear();
    }
}
