//! What each limit costs when it is reached: how much more the server has in memory then. A limit that
//! is neither here nor in [`WITHOUT`] fails `tests/limits.rs`.

use crate::fills;
use crate::measure::Options;
use crate::tree::Tree;
use crate::{Failure, amount, tell};
use zproc::seam::proto::limits::waits_max;
use zproc::{Context, Limits};

/// Lets go of what a figure holds.
pub(crate) type Release = Box<dyn FnOnce() -> Result<(), Failure>>;

/// Brings a tree to so much of what a limit counts.
type Fill = fn(&Context, usize) -> Result<Release, Failure>;

/// A limit; how much of it is filled, of how much it allows, in what; and how.
type Row = (&'static str, usize, usize, &'static str, Fill);

const MIB: usize = 1 << 20;
const USUAL: Limits = Limits::USUAL;

/// So many of one process's requests in flight may wait.
const WAITS: usize = waits_max(USUAL.in_flight_max);

const ROWS: [Row; 27] = [
    (
        "value_bytes_max",
        1,
        USUAL.value_bytes_max / MIB,
        "MiB",
        fills::value,
    ),
    (
        "payload_bytes_max",
        64,
        USUAL.payload_bytes_max / MIB,
        "MiB, as a result",
        fills::result,
    ),
    (
        "results_bytes_max",
        128,
        USUAL.results_bytes_max / MIB,
        "MiB",
        fills::results,
    ),
    (
        "parts_bytes_max",
        64,
        USUAL.parts_bytes_max / MIB,
        "MiB, an argument not fetched",
        fills::argument,
    ),
    (
        "change_set_bytes_max",
        3,
        USUAL.change_set_bytes_max / MIB,
        "MiB",
        fills::large_batch,
    ),
    (
        "change_set_changes_max",
        USUAL.change_set_changes_max,
        USUAL.change_set_changes_max,
        "entries",
        fills::long_batch,
    ),
    (
        "owned_bytes_max",
        1,
        USUAL.owned_bytes_max / MIB,
        "MiB",
        fills::owned_bytes,
    ),
    (
        "owned_keys_max",
        USUAL.owned_keys_max,
        USUAL.owned_keys_max,
        "keys",
        fills::owned_keys,
    ),
    (
        "history_bytes_max",
        USUAL.history_bytes_max / MIB,
        USUAL.history_bytes_max / MIB,
        "MiB",
        fills::history_bytes,
    ),
    (
        "history_entries_max",
        USUAL.history_entries_max,
        USUAL.history_entries_max,
        "revisions",
        fills::history_entries,
    ),
    (
        "state_bytes_max",
        128,
        USUAL.state_bytes_max / MIB,
        "MiB, values of 1,000 bytes",
        fills::state_bytes,
    ),
    (
        "namespaces_max",
        USUAL.namespaces_max - 1,
        USUAL.namespaces_max,
        "namespaces",
        fills::namespaces,
    ),
    (
        "in_flight_max",
        WAITS,
        USUAL.in_flight_max,
        "waits",
        fills::waits,
    ),
    (
        "replies_bytes_max",
        60,
        USUAL.replies_bytes_max / MIB,
        "replies of 1 MiB to one that is stopped",
        fills::replies,
    ),
    (
        "outbox_bytes_max",
        16,
        USUAL.outbox_bytes_max / MIB,
        "MiB to one that is stopped",
        fills::outbox,
    ),
    (
        "watches_per_session_max",
        USUAL.watches_per_session_max,
        USUAL.watches_per_session_max,
        "watches",
        fills::watches,
    ),
    (
        "interests_per_session_bytes_max",
        USUAL.interests_per_session_bytes_max / MIB,
        USUAL.interests_per_session_bytes_max / MIB,
        "MiB",
        fills::interests,
    ),
    (
        "connections_silent_max",
        USUAL.connections_silent_max,
        USUAL.connections_silent_max,
        "connections",
        fills::silent,
    ),
    (
        "connections_max",
        100,
        USUAL.connections_max,
        "of idle processes",
        fills::processes,
    ),
    (
        "sessions_max",
        100,
        USUAL.sessions_max,
        "of idle processes",
        fills::processes,
    ),
    (
        "processes_live_max",
        100,
        USUAL.processes_live_max,
        "idle processes",
        fills::processes,
    ),
    (
        "processes_ended_max",
        USUAL.processes_ended_max,
        USUAL.processes_ended_max,
        "records",
        fills::ended,
    ),
    (
        "locks_per_session_max",
        USUAL.locks_per_session_max,
        USUAL.locks_per_session_max,
        "locks",
        fills::locks,
    ),
    (
        "locks_max",
        USUAL.locks_per_session_max,
        USUAL.locks_max,
        "locks of one process",
        fills::locks,
    ),
    (
        "lock_waiters_max",
        WAITS,
        USUAL.lock_waiters_max,
        "waiters of one process",
        fills::lock_waiters,
    ),
    ("leases_max", 200, USUAL.leases_max, "leases", fills::leases),
    (
        "leases_per_session_max",
        200,
        USUAL.leases_per_session_max,
        "leases",
        fills::leases,
    ),
];

/// Those that bound nothing that is held, or what another's figure holds already.
const WITHOUT: [(&str, &str); 12] = [
    (
        "key_bytes_max",
        "a part of what change_set_bytes_max bounds",
    ),
    ("depth_max", "a part of a value: value_bytes_max"),
    (
        "part_bytes_max",
        "one part is held while it is taken in; all of them: parts_bytes_max",
    ),
    (
        "parts_per_session_bytes_max",
        "the same bytes as of parts_bytes_max, of one process",
    ),
    (
        "uploads_per_session_max",
        "what is held are the parts: parts_bytes_max",
    ),
    (
        "updates_queued_bytes_max",
        "a part of what outbox_bytes_max bounds",
    ),
    (
        "page_entries_max",
        "one answer, a part of what outbox_bytes_max bounds",
    ),
    (
        "page_bytes_max",
        "one answer, a part of what outbox_bytes_max bounds",
    ),
    ("frames_per_turn_max", "work of one turn: nothing is held"),
    (
        "log_entries_per_turn_max",
        "work of one turn: nothing is held",
    ),
    (
        "log_entries_per_tick_max",
        "work of one turn: nothing is held",
    ),
    (
        "validation_steps_max",
        "work of one commit: nothing is held",
    ),
];

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    for (name, filled, of, what, fill) in ROWS {
        let tree = Tree::start(Limits::default())?;
        tree.ctx.state().set("warm", &1)?;
        let before = tree.bytes()?;
        let filled = amount(options, filled);
        let release = fill(&tree.ctx, filled)?;
        let more = tree.bytes()?.saturating_sub(before) as f64 / MIB as f64;
        release()?;
        let name = format!("full: {name}, {filled} of {of}: {what}");
        tell(options, &name, more, "MiB", None);
    }
    if !options.json {
        for (name, reason) in WITHOUT {
            println!("no figure: {name}: {reason}");
        }
    }
    Ok(())
}
