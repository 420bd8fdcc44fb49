//! Every bound of the system by its name, and what must hold between them, checked when compiled.
//!
//! At a limit the caller gets backpressure or a typed error; nobody else notices.

use std::time::Duration;

/// Version of the wire protocol; a peer of another one is refused by name.
pub const PROTOCOL_VERSION: u32 = 1;

/// Longest key, in bytes of UTF-8.
pub const KEY_BYTES_MAX: usize = 1024;
/// Longest name of a namespace, in bytes of UTF-8.
pub const NAMESPACE_BYTES_MAX: usize = 255;
/// Largest value, in bytes of MessagePack; also the largest argument or result of a function that
/// runs in the server, or of a process.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;
/// Deepest nesting of a value.
pub const DEPTH_MAX: usize = 128;
/// Largest change set (keys, values before and after), in bytes. What is larger is rolled back.
pub const CHANGE_SET_BYTES_MAX: usize = 4 * VALUE_BYTES_MAX;
/// Most changes in one change set.
pub const CHANGE_SET_CHANGES_MAX: usize = 16 * 1024;
/// Most bytes that one process may own, keys and values: all of it is released in one change set.
pub const OWNED_BYTES_MAX: usize = CHANGE_SET_BYTES_MAX / 2;
/// Most keys that one process may own.
pub const OWNED_KEYS_MAX: usize = CHANGE_SET_CHANGES_MAX / 2;
/// Most keys and prefixes that one condition is remembered to have read; past it, whole namespaces.
pub const READS_MAX: usize = 1024;
/// Least credit of a watch, in bytes: one change set always fits.
pub const CREDIT_BYTES_MIN: u64 = 2 * CHANGE_SET_BYTES_MAX as u64;
/// Most bytes that the update log keeps.
pub const HISTORY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most revisions that the update log keeps.
pub const HISTORY_ENTRIES_MAX: usize = 64 * 1024;
/// Most bytes of keys and values that all namespaces may hold together.
pub const STATE_BYTES_MAX: usize = 4 * 1024 * 1024 * 1024;
/// Most namespaces.
pub const NAMESPACES_MAX: usize = 64 * 1024;

/// Largest frame, in bytes, its length prefix not counted.
pub const FRAME_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What a message may need besides the values in it.
pub const MESSAGE_OVERHEAD_BYTES_MAX: usize = 16 * 1024;
/// Longest message of a remote error or panic, with its location and backtrace; cut when longer.
pub const FAILURE_BYTES_MAX: usize = 64 * 1024;
/// Longest name of a function on the wire.
pub const FUNCTION_NAME_BYTES_MAX: usize = 4 * 1024;

/// Most requests of one session that are unanswered or whose replies are unacknowledged.
pub const IN_FLIGHT_MAX: usize = 1024;
/// Most bytes of retained replies of one session. While it is reached, joins wait; other requests
/// whose reply may be large are refused, and so are the answers of waits.
pub const REPLIES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most bytes queued for one connection before its requests wait.
pub const OUTBOX_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;
/// Most watches of one session.
pub const WATCHES_PER_SESSION_MAX: usize = 16 * 1024;
/// Most connections.
pub const CONNECTIONS_MAX: usize = 4096;
/// Most sessions, detached ones included.
pub const SESSIONS_MAX: usize = 8192;
/// Most processes of a tree that have not ended.
pub const PROCESSES_LIVE_MAX: usize = 4096;
/// Most records of ended processes that are kept; the oldest goes first.
pub const PROCESSES_ENDED_MAX: usize = 1024;
/// Most bytes of results of ended processes that are kept; the oldest goes first.
pub const RESULTS_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Most frames that one connection is served in one turn.
pub const FRAMES_PER_TURN_MAX: usize = 64;
/// Most entries of the log that are looked at for one watch in one turn.
pub const LOG_ENTRIES_PER_TURN_MAX: usize = 256;
/// Most entries of the log that are looked at for all watches in one turn.
pub const LOG_ENTRIES_PER_TICK_MAX: usize = 4096;
/// While this much is queued for a connection, its watches wait: replies go first.
pub const UPDATES_QUEUED_BYTES_MAX: usize = 256 * 1024;
/// Most entries in one page of a scan.
pub const PAGE_ENTRIES_MAX: usize = 512;
/// Bytes after which a page of a scan is closed.
pub const PAGE_BYTES_MAX: usize = 256 * 1024;

/// How long a session without a connection may live before it ends (its process alive or not known).
pub const SESSION_GRACE: Duration = Duration::from_secs(30);
/// How long a connection may take to say hello.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client tries to come back before its session counts as lost.
pub const RECONNECT_TIMEOUT: Duration = Duration::from_secs(20);

// The order that backpressure rests on: a value fits a change set, a change set fits any credit,
// and what any credit lets through fits the log.
const _: () = assert!(VALUE_BYTES_MAX <= CHANGE_SET_BYTES_MAX);
const _: () = assert!(OWNED_BYTES_MAX < CHANGE_SET_BYTES_MAX);
const _: () = assert!(CHANGE_SET_BYTES_MAX as u64 <= CREDIT_BYTES_MIN);
const _: () = assert!(CREDIT_BYTES_MIN <= HISTORY_BYTES_MAX as u64);
const _: () = assert!(
    CHANGE_SET_BYTES_MAX + MESSAGE_OVERHEAD_BYTES_MAX + CHANGE_SET_CHANGES_MAX * 64
        <= FRAME_BYTES_MAX
);
const _: () =
    assert!(VALUE_BYTES_MAX + FAILURE_BYTES_MAX + MESSAGE_OVERHEAD_BYTES_MAX <= FRAME_BYTES_MAX);
const _: () = assert!(
    PAGE_BYTES_MAX + VALUE_BYTES_MAX + KEY_BYTES_MAX + MESSAGE_OVERHEAD_BYTES_MAX
        <= FRAME_BYTES_MAX
);
const _: () = assert!(FRAME_BYTES_MAX <= OUTBOX_BYTES_MAX);
const _: () = assert!(CONNECTIONS_MAX <= SESSIONS_MAX);
const _: () = assert!(RECONNECT_TIMEOUT.as_nanos() < SESSION_GRACE.as_nanos());
