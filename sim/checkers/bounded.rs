//! "Bounded": what the server holds stays within its limits, and what is refused for a limit is
//! refused by that limit's name, for a reason.

use super::once::{self, RECORDS, user_changes};
use super::timeline::Timeline;
use super::{BOUNDED, Call, Calls, End, Verdict, bound, model};
use crate::history::{Committed, History, What};
use crate::seen::Seen;
use std::collections::{BTreeMap, BTreeSet};
use zproc::seam::proto::ids::ProcessId;
use zproc::seam::proto::limits::{
    COMPARED_BYTES_MAX, CREDIT_BYTES_MIN, FAILURE_BYTES_MAX, FUNCTION_NAME_BYTES_MAX,
    KEY_BYTES_MAX, LOCK_NAME_BYTES_MAX, Limits, MESSAGE_OVERHEAD_BYTES_MAX, NAMESPACE_BYTES_MAX,
    READ_NAMESPACES_MAX, WATCH_KEYS_MAX,
};
use zproc::seam::proto::message::{Failure, Reply, Request};
use zproc::seam::proto::server::{RECORD_PREFIX, Usage};
use zproc::seam::proto::store::ENTRY_OVERHEAD_BYTES;

/// Judges what was measured, what was committed, and what was refused.
pub(crate) fn check(
    history: &History,
    calls: &Calls<'_>,
    timeline: &Timeline<'_>,
    limits: &Limits,
    verdict: &mut Verdict,
) {
    for entry in &history.entries {
        if let What::Seen(Seen::Usage(usage)) = &entry.what {
            let bounds = bounds(usage, limits).into_iter();
            for (name, measured, max) in bounds.chain(bounds_of_locks(usage, limits)) {
                verdict.judge(BOUNDED, measured <= max, || {
                    format!(
                        "at stamp {} the server holds {measured}, and {name} allows {max}",
                        entry.stamp
                    )
                });
            }
        }
    }
    let mut model = Model::default();
    for commit in &history.commits {
        model.apply(commit);
        for (name, held, max) in model.bounds(commit, limits) {
            verdict.judge(BOUNDED, held <= max, || {
                format!(
                    "{} by process {} makes it {held}, and {name} allows {max}",
                    commit.revision, commit.process
                )
            });
        }
    }
    for call in &calls.all {
        check_call(call, timeline, limits, verdict);
    }
}

/// What is measured, with the name of its limit and what that allows.
fn bounds(usage: &Usage, limits: &Limits) -> Vec<(&'static str, usize, usize)> {
    [
        &of_the_state(usage, limits)[..],
        &of_clients(usage, limits),
        &of_processes(usage, limits),
    ]
    .concat()
}

fn of_the_state(usage: &Usage, limits: &Limits) -> [(&'static str, usize, usize); 8] {
    // The newest is kept, however large.
    let history_bytes = (limits.history_bytes_max).max(usage.history_newest_bytes);
    let state = &usage.state;
    [
        ("VALUE_BYTES_MAX", state.value_bytes, limits.value_bytes_max),
        ("STATE_BYTES_MAX", state.bytes, limits.state_bytes_max),
        ("NAMESPACES_MAX", state.namespaces, limits.namespaces_max),
        ("OWNED_KEYS_MAX", state.owned_keys, limits.owned_keys_max),
        ("OWNED_BYTES_MAX", state.owned_bytes, limits.owned_bytes_max),
        (
            "HISTORY_ENTRIES_MAX",
            usage.history_entries,
            limits.history_entries_max,
        ),
        ("HISTORY_BYTES_MAX", usage.history_bytes, history_bytes),
        // Of the newest entry, whatever the others take.
        (
            "CHANGE_SET_BYTES_MAX, as the log keeps it",
            usage.history_newest_bytes,
            2 * limits.change_set_bytes_max
                + 64 * limits.change_set_changes_max
                + MESSAGE_OVERHEAD_BYTES_MAX,
        ),
    ]
}

fn of_clients(usage: &Usage, limits: &Limits) -> [(&'static str, usize, usize); 9] {
    let outbox_bytes = outbox_bytes(limits);
    // Words that are answered with no room left, and the text of one failure.
    let replies_bytes = 2 * limits.replies_bytes_max
        + limits.in_flight_max * 128
        + 2 * FAILURE_BYTES_MAX
        + MESSAGE_OVERHEAD_BYTES_MAX;
    let timers = limits.connections_max + limits.sessions_max;
    [
        ("CONNECTIONS_MAX", usage.connections, limits.connections_max),
        (
            "CONNECTIONS_SILENT_MAX",
            usage.connections_silent,
            limits.connections_silent_max,
        ),
        ("SESSIONS_MAX", usage.sessions, limits.sessions_max),
        ("OUTBOX_BYTES_MAX", usage.outbox_bytes, outbox_bytes),
        ("IN_FLIGHT_MAX", usage.in_flight, limits.in_flight_max),
        ("REPLIES_BYTES_MAX", usage.replies_bytes, replies_bytes),
        (
            "WATCHES_PER_SESSION_MAX",
            usage.watches,
            limits.watches_per_session_max,
        ),
        (
            "INTERESTS_PER_SESSION_BYTES_MAX",
            usage.interests_bytes,
            limits.interests_per_session_bytes_max,
        ),
        (
            "CONNECTIONS_MAX and SESSIONS_MAX, in deadlines",
            usage.timers,
            timers,
        ),
    ]
}

fn of_processes(usage: &Usage, limits: &Limits) -> [(&'static str, usize, usize); 7] {
    let results_bytes = (limits.results_bytes_max).max(usage.results_newest_bytes);
    let share = limits.parts_per_session_bytes_max;
    let session_parts = usage.session_parts_bytes;
    [
        (
            "PROCESSES_LIVE_MAX",
            usage.processes_live,
            limits.processes_live_max,
        ),
        (
            "PROCESSES_LIVE_PER_PROGRAM_MAX",
            usage.program_processes_live,
            limits.processes_live_per_program_max(),
        ),
        (
            "PROCESSES_ENDED_MAX",
            usage.processes_ended,
            limits.processes_ended_max,
        ),
        ("RESULTS_BYTES_MAX", usage.results_bytes, results_bytes),
        ("PARTS_BYTES_MAX", usage.parts_bytes, limits.parts_bytes_max),
        ("PARTS_PER_SESSION_BYTES_MAX", session_parts, share),
        (
            "UPLOADS_PER_SESSION_MAX",
            usage.uploads,
            limits.uploads_per_session_max,
        ),
    ]
}

/// The same, of locks.
fn bounds_of_locks(usage: &Usage, limits: &Limits) -> [(&'static str, usize, usize); 3] {
    let (held, max) = (usage.session_locks, limits.locks_per_session_max);
    let (waiters, waiters_max) = (usage.lock_waiters, limits.lock_waiters_max);
    [
        ("LOCKS_MAX", usage.locks, limits.locks_max),
        ("LOCKS_PER_SESSION_MAX", held, max),
        ("LOCK_WAITERS_MAX", waiters, waiters_max),
    ]
}

/// The most that may be queued for one connection.
fn outbox_bytes(limits: &Limits) -> usize {
    // A page, and what a wait was answered: neither waits for room in the outbox.
    let page_bytes = limits.page_bytes_max + limits.value_bytes_max + KEY_BYTES_MAX;
    limits.outbox_bytes_max
        + 2 * limits.replies_bytes_max
        + limits.change_set_bytes_max
        + page_bytes
        + 2 * FAILURE_BYTES_MAX
        + MESSAGE_OVERHEAD_BYTES_MAX
}

fn program_key() -> String {
    format!("{RECORD_PREFIX}{}", ProcessId::PROGRAM.0)
}

/// What the commits say that there is.
#[derive(Debug, Default)]
struct Model<'a> {
    sizes: BTreeMap<(&'a str, &'a str), usize>,
    bytes: usize,
    /// Processes that have a record which does not say that they have ended.
    live: BTreeSet<&'a str>,
    /// The program is among them, or was: at a server that stands alone it has a record, too.
    program_is_recorded: bool,
}

impl<'a> Model<'a> {
    fn apply(&mut self, commit: &'a Committed) {
        for namespace in &commit.resets {
            let gone = |(name, _): &(&str, &str)| *name == namespace.as_str();
            let sizes = std::mem::take(&mut self.sizes);
            self.sizes = sizes.into_iter().filter(|(id, _)| !gone(id)).collect();
            self.bytes = self.sizes.values().sum();
        }
        for change in commit.changes.iter().chain(&commit.refilled) {
            if once::is_lock(change) {
                continue;
            }
            if change.namespace == RECORDS {
                self.program_is_recorded |= change.key == program_key();
                match &change.after {
                    Some(record) if !bound::is_ended(record) => self.live.insert(&change.key),
                    _ => self.live.remove(change.key.as_str()),
                };
                continue;
            }
            let id = (change.namespace.as_str(), change.key.as_str());
            self.bytes -= self.sizes.remove(&id).unwrap_or(0);
            if let Some(after) = &change.after {
                let size = change.key.len() + after.len() + ENTRY_OVERHEAD_BYTES;
                self.sizes.insert(id, size);
                self.bytes += size;
            }
        }
    }

    /// What the state and this change set take, each with its limit.
    fn bounds(&self, commit: &Committed, limits: &Limits) -> [(&'static str, usize, usize); 4] {
        let value = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
        let (mut count, mut bytes) = (0, 0);
        for change in user_changes(commit) {
            count += 1;
            bytes += change.key.len() + value(&change.before) + value(&change.after);
        }
        [
            ("STATE_BYTES_MAX", self.bytes, limits.state_bytes_max),
            (
                "CHANGE_SET_CHANGES_MAX",
                count,
                limits.change_set_changes_max,
            ),
            ("CHANGE_SET_BYTES_MAX", bytes, limits.change_set_bytes_max),
            (
                "PROCESSES_LIVE_MAX",
                self.live.len() + usize::from(!self.program_is_recorded),
                limits.processes_live_max,
            ),
        ]
    }
}

/// May a small write be refused, though it is well formed?
pub(crate) fn may_refuse(limits: &Limits) -> bool {
    let usual = Limits::USUAL;
    limits.value_bytes_max < usual.value_bytes_max
        || limits.key_bytes_max < usual.key_bytes_max
        || limits.depth_max < usual.depth_max
        || limits.state_bytes_max < usual.state_bytes_max
        || limits.namespaces_max < usual.namespaces_max
        || limits.owned_keys_max < usual.owned_keys_max
        || limits.owned_bytes_max < usual.owned_bytes_max
        || limits.change_set_bytes_max < usual.change_set_bytes_max
        || limits.replies_bytes_max < usual.replies_bytes_max
}

/// What a limit of this name allows; `None`: there is none that a call can be refused for.
fn allowed(name: &str, limits: &Limits) -> Option<usize> {
    Some(match name {
        "KEY_BYTES_MAX" => limits.key_bytes_max,
        "NAMESPACE_BYTES_MAX" => NAMESPACE_BYTES_MAX,
        "DEPTH_MAX" => limits.depth_max,
        "FUNCTION_NAME_BYTES_MAX" => FUNCTION_NAME_BYTES_MAX,
        "CREDIT_BYTES_MIN" => CREDIT_BYTES_MIN as usize,
        "WATCH_KEYS_MAX" => WATCH_KEYS_MAX,
        "VALUE_BYTES_MAX" => limits.value_bytes_max,
        "STATE_BYTES_MAX" => limits.state_bytes_max,
        "NAMESPACES_MAX" => limits.namespaces_max,
        "OWNED_KEYS_MAX" => limits.owned_keys_max,
        "OWNED_BYTES_MAX" => limits.owned_bytes_max,
        "CHANGE_SET_BYTES_MAX" => limits.change_set_bytes_max,
        "CHANGE_SET_CHANGES_MAX" => limits.change_set_changes_max,
        "REPLIES_BYTES_MAX" => limits.replies_bytes_max,
        "PAYLOAD_BYTES_MAX" => limits.payload_bytes_max,
        "PARTS_BYTES_MAX" => limits.parts_bytes_max,
        "PARTS_PER_SESSION_BYTES_MAX" => limits.parts_per_session_bytes_max,
        "UPLOADS_PER_SESSION_MAX" => limits.uploads_per_session_max,
        "RESULTS_BYTES_MAX" => limits.results_bytes_max,
        "COMPARED_BYTES_MAX" => COMPARED_BYTES_MAX,
        "READ_NAMESPACES_MAX" => READ_NAMESPACES_MAX,
        "INTERESTS_PER_SESSION_BYTES_MAX" => limits.interests_per_session_bytes_max,
        "WATCHES_PER_SESSION_MAX" => limits.watches_per_session_max,
        "LOCKS_MAX" => limits.locks_max,
        "LOCKS_PER_SESSION_MAX" => limits.locks_per_session_max,
        "LOCK_WAITERS_MAX" => limits.lock_waiters_max,
        "LOCK_NAME_BYTES_MAX" => LOCK_NAME_BYTES_MAX,
        "LEASES_MAX" => limits.leases_max,
        "LEASES_PER_SESSION_MAX" => limits.leases_per_session_max,
        "PROCESSES_LIVE_MAX" => limits.processes_live_max,
        "PROCESSES_LIVE_PER_PROGRAM_MAX" => limits.processes_live_per_program_max(),
        _ => return None,
    })
}

fn check_call(call: &Call<'_>, timeline: &Timeline<'_>, limits: &Limits, verdict: &mut Verdict) {
    let End::Returned { reply, .. } = &call.end else {
        return;
    };
    match (&call.request, reply) {
        (
            request,
            Reply::Failed {
                revision,
                failure: Failure::Limit { limit, actual, max },
            },
        ) => {
            let told = (*limit, *actual, *max);
            let known = allowed(limit, limits).map(|max| max as u64) == Some(*max);
            let over = match *limit {
                "CREDIT_BYTES_MIN" => actual < max,
                _ => actual > max,
            };
            let same = match (request, *limit) {
                (Request::Set { value, .. }, "VALUE_BYTES_MAX") => value.len() as u64 == *actual,
                (Request::Atomic { .. }, "CHANGE_SET_CHANGES_MAX") => {
                    let ran = model::run(call, timeline, *revision);
                    ran.is_none_or(|ran| ran.changes.len() as u64 > *max)
                }
                _ => true,
            };
            // Clients have no more calls under way than there is room for; who waits may be unlucky.
            let same =
                same && (*limit != "REPLIES_BYTES_MAX" || matches!(request, Request::Wait { .. }));
            verdict.judge(BOUNDED, known && over && same, || {
                format!(
                    "{} was refused for {told:?}, which is no reason",
                    call.story()
                )
            });
        }
        (Request::Set { key, value, .. }, Reply::Written { .. }) => {
            let fits = value.len() <= limits.value_bytes_max && key.len() <= limits.key_bytes_max;
            verdict.judge(BOUNDED, fits, || {
                format!("{} was done, with {} bytes", call.story(), value.len())
            });
        }
        _ => {}
    }
}
