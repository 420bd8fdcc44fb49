//! Every bound of the system by its name, and what must hold between them, checked when compiled.
//!
//! At a limit the caller gets backpressure or a typed error; nobody else notices. A constant that is no
//! field of [`Limits`] says why it is the same everywhere: what a user may set is a field.

mod agreed;
mod relations;

pub use agreed::Agreed;

use speedy::{Readable, Writable};
use std::time::Duration;

/// Version of the wire protocol; a peer of another one is refused by name.
/// Fixed: it names the protocol.
pub const PROTOCOL_VERSION: u32 = 8;

/// Longest key, in bytes of UTF-8.
pub const KEY_BYTES_MAX: usize = 1024;
/// Longest name of a namespace, in bytes of UTF-8.
/// Fixed: clients go by it before they know their server.
pub const NAMESPACE_BYTES_MAX: usize = 255;
/// Largest value, in bytes of MessagePack; also the largest argument or result of a function that
/// runs in the server.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;
/// Largest argument or result of a process, in bytes of MessagePack: 64 MiB, and what the encoding
/// adds to it.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024 * 1024 + 64 * 1024;
/// What of it goes with one message; the rest goes in parts of this size. So much is done for one
/// client while others wait.
pub const PART_BYTES_MAX: usize = 256 * 1024;
/// Most bytes of parts on their way: of those that no request has named yet, of arguments that
/// their processes have not fetched, and of results whose processes have not ended.
pub const PARTS_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Most bytes of those that no request of one session has named yet: nobody can take all the room.
pub const PARTS_PER_SESSION_BYTES_MAX: usize = PARTS_BYTES_MAX / 2;
/// Most arguments and results of which one session may have sent some parts.
pub const UPLOADS_PER_SESSION_MAX: usize = 1024;
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
/// Most keys, prefixes and ranges that one condition is remembered to have read; past it, whole namespaces.
/// Fixed: both sides go by it: the client says whole namespaces past it.
pub const READS_MAX: usize = 1024;
/// Most namespaces that one transaction or condition may read.
/// Fixed: a message that names them all has to fit a frame.
pub const READ_NAMESPACES_MAX: usize = 1024;
/// Most ranges of one namespace among them; past it, one range that covers them.
/// Fixed: past it a condition is tested more often, and nothing else; nobody is refused.
pub const READ_RANGES_MAX: usize = 16;
/// Most bytes of keys that one condition is remembered to have read; past it, whole namespaces.
/// Fixed: past it a condition is tested more often, and nothing else; nobody is refused.
pub const READS_BYTES_MAX: usize = 128 * 1024;
/// Most bytes of values that may be compared in one batch or commit, where their first bytes don't tell.
/// Fixed: it is the time that everybody waits for one request, not memory.
pub const COMPARED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of values after whose comparison a connection's turn is over.
/// Fixed: it is the time that everybody waits for one turn, not memory.
pub const COMPARED_PER_TURN_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Conflicts of one transaction after which it queues for a lease on what it has touched.
/// Fixed: it is how the client goes about it; no memory of anybody depends on it.
pub const CONFLICTS_MAX: u32 = 3;
/// Transactions of the same function that queue at once in a process after one that had to; then one tries
/// without.
/// Fixed: it is how the client goes about it; no memory of anybody depends on it.
pub const QUEUED_AT_ONCE: u32 = 16;
/// Most keys that a lease is on; past it, whole namespaces.
/// Fixed: both sides go by it: the client says whole namespaces past it.
pub const LEASED_KEYS_MAX: usize = 64;
/// Most leases, those included that are queued for.
pub const LEASES_MAX: usize = 8192;
/// Most of them that one session has.
pub const LEASES_PER_SESSION_MAX: usize = 256;
/// Most keys and namespaces that are looked at in one turn of the server to see whose lease has come.
/// Fixed: it is the time that everybody waits for one turn, not memory.
pub const LEASE_STEPS_PER_TURN_MAX: usize = 16 * 1024;
/// How long a transaction may hold a lease.
/// Fixed: nobody else waits longer than this for one transaction that hangs.
pub const LEASE_TIME: Duration = Duration::from_secs(2);
/// How long a transaction queues for leases before it is told that it is contended.
/// Fixed: the caller's own limit of time is `within`.
pub const LEASE_WAIT: Duration = Duration::from_secs(30);
/// Most comparisons by which a commit looks for changes of what was read as a span; past it, it
/// counts as a conflict.
pub const VALIDATION_STEPS_MAX: usize = 64 * 1024;
/// Most keys that a watch may be told, to see them or to leave them out.
/// Fixed: a message that names them all has to fit a frame.
pub const WATCH_KEYS_MAX: usize = 1024;
/// Least credit of a watch, in bytes: one change set always fits.
/// Fixed: both sides go by it: one change set of the largest kind must always fit.
pub const CREDIT_BYTES_MIN: u64 = 2 * CHANGE_SET_BYTES_MAX as u64;
/// Most bytes that the update log keeps.
pub const HISTORY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most revisions that the update log keeps.
pub const HISTORY_ENTRIES_MAX: usize = 64 * 1024;
/// Most bytes that all namespaces may hold together: keys, values, and what each entry takes besides
/// ([`ENTRY_OVERHEAD_BYTES`](super::store::ENTRY_OVERHEAD_BYTES)).
pub const STATE_BYTES_MAX: usize = 4 * 1024 * 1024 * 1024;
/// Most namespaces.
pub const NAMESPACES_MAX: usize = 64 * 1024;

/// Largest frame, in bytes, its length prefix not counted.
/// Fixed: both sides go by it before they know each other.
pub const FRAME_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What a message may need besides the values in it.
/// Fixed: it follows from the messages that there are.
pub const MESSAGE_OVERHEAD_BYTES_MAX: usize = 16 * 1024;
/// Longest message of a remote error or panic, with its location and backtrace; cut when longer.
/// Fixed: both sides cut at it; a result with it has to fit a frame.
pub const FAILURE_BYTES_MAX: usize = 64 * 1024;
/// Longest name of a function on the wire.
/// Fixed: names are made by the compiler; a message with three has to fit a frame.
pub const FUNCTION_NAME_BYTES_MAX: usize = 4 * 1024;

/// Most requests of one session that are unanswered or whose replies are unacknowledged.
pub const IN_FLIGHT_MAX: usize = 1024;
/// Most bytes of retained replies of one session, and as many again of its waits' answers. Clients have
/// only so many requests under way that all their replies fit; who has more is refused. While the
/// answers take all their room, joins wait, and other waits are told so instead of their answer.
pub const REPLIES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most bytes queued for one connection before its requests wait.
pub const OUTBOX_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;
/// Most watches of one session.
pub const WATCHES_PER_SESSION_MAX: usize = 16 * 1024;
/// Most bytes of what one session's watches, waits and leases are for: keys, filters, values and arguments.
pub const INTERESTS_PER_SESSION_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most connections that have not said hello. When there is one more, the oldest of them goes.
pub const CONNECTIONS_SILENT_MAX: usize = 256;
/// Longest name of a lock, in bytes of UTF-8.
/// Fixed: clients go by it before they know their server.
pub const LOCK_NAME_BYTES_MAX: usize = 255;
/// Most locks that are held at a time.
pub const LOCKS_MAX: usize = 64 * 1024;
/// Most locks that one session may hold or wait for: what it holds is released in one change set.
pub const LOCKS_PER_SESSION_MAX: usize = 1024;
/// Most requests that wait for one lock.
pub const LOCK_WAITERS_MAX: usize = 16 * 1024;
/// Most connections.
pub const CONNECTIONS_MAX: usize = 4096;
/// Most sessions, detached ones included.
pub const SESSIONS_MAX: usize = 8192;
/// Most processes that have not ended: of a tree, or of all programs at one server together.
pub const PROCESSES_LIVE_MAX: usize = 4096;
/// Most records of ended processes that are kept; the oldest goes first.
pub const PROCESSES_ENDED_MAX: usize = 1024;
/// Most bytes of results of ended processes that are kept; the oldest goes first. What came in parts
/// is given back when it is joined.
pub const RESULTS_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Most bytes of what is said of the way to start a process: its environment and its paths.
/// Fixed: a task with it has to fit a frame.
pub const SETUP_BYTES_MAX: usize = 256 * 1024;
/// Most changes of its environment.
/// Fixed: a task with them has to fit a frame.
pub const SETUP_VARIABLES_MAX: usize = 4096;
/// Most bytes of a captured stream that are kept: the newest.
/// Fixed: the keeper cuts at it; an outcome with two has to fit a frame.
pub const OUTPUT_TAIL_BYTES_MAX: usize = 64 * 1024;
/// Most bytes that a dying process can write down for its outcome: a panic with its place.
/// Fixed: it follows from what is cut at `FAILURE_BYTES_MAX`.
pub const LAST_WORDS_BYTES_MAX: usize = 2 * FAILURE_BYTES_MAX;
/// Most limits of its resources.
/// Fixed: the system has fewer.
pub const SETUP_LIMITS_MAX: usize = 64;
/// How long a process, or the whole tree, may take when it is asked to end, where nothing else is
/// said.
/// Fixed: whoever asks for an end, or starts a tree, says another.
pub const GRACE: Duration = Duration::from_secs(5);

/// Most frames that one connection is served in one turn.
pub const FRAMES_PER_TURN_MAX: usize = 64;
/// Most entries of the log that are looked at for one watch in one turn.
pub const LOG_ENTRIES_PER_TURN_MAX: usize = 256;
/// Most entries of the log that are looked at for all watches in one turn.
pub const LOG_ENTRIES_PER_TICK_MAX: usize = 4096;
/// Most entries that are freed in one turn, of namespaces that were emptied as a whole.
/// Fixed: it is the time that everybody waits for one turn; what is not freed yet counts nowhere.
pub const FREED_PER_TICK_MAX: usize = 16 * 1024;
/// Bytes of such entries after which a turn frees no more.
/// Fixed: it is the time that everybody waits for one turn; what is not freed yet counts nowhere.
pub const FREED_PER_TICK_BYTES_MAX: usize = 16 * 1024 * 1024;
/// While this much is queued for a connection, its watches wait: replies go first.
pub const UPDATES_QUEUED_BYTES_MAX: usize = 256 * 1024;
/// Most entries in one page of a scan.
pub const PAGE_ENTRIES_MAX: usize = 512;
/// Bytes after which a page of a scan is closed.
pub const PAGE_BYTES_MAX: usize = 256 * 1024;

/// Most processes that a dump shows.
/// Fixed: a dump at all its limits has to fit a frame.
pub const DUMP_PROCESSES_MAX: usize = 512;
/// Most waits, most watches, and most calls of the asker's own, that it shows.
/// Fixed: a dump at all its limits has to fit a frame.
pub const DUMP_LINES_MAX: usize = 1024;
/// Most reads of one condition that it shows.
/// Fixed: a dump at all its limits has to fit a frame.
pub const DUMP_READS_MAX: usize = 6;
/// After so many bytes it cuts a name or a key.
/// Fixed: a dump at all its limits has to fit a frame.
pub const DUMP_TEXT_BYTES_MAX: usize = 200;
/// How long to wait for it: a server that does not answer is part of the picture.
/// Fixed: who looks at a tree that does not get on wants to see it soon.
pub const DUMP_TIMEOUT: Duration = Duration::from_secs(5);

/// What a task may take besides its argument.
const TASK_OVERHEAD_BYTES_MAX: usize = SETUP_BYTES_MAX
    + 3 * FUNCTION_NAME_BYTES_MAX
    + SETUP_VARIABLES_MAX * 16
    + MESSAGE_OVERHEAD_BYTES_MAX;

/// How long an atomic function or a condition may run in the server, where everybody waits for it.
/// The server is killed for one that runs on, at the latest a quarter of this time after.
/// Fixed: it is set by `function_time_max` of a builder.
pub const FUNCTION_TIME_MAX: Duration = Duration::from_secs(10);

/// How long a session without a connection may live before it ends (its process alive or not known).
/// Fixed: it must be longer than `RECONNECT_TIMEOUT` of every client.
pub const SESSION_GRACE: Duration = Duration::from_secs(30);
/// How long a connection may take to say hello.
/// Fixed: so long who says nothing takes a place, and of these there are `CONNECTIONS_SILENT_MAX`.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a program that a server has taken in may take to connect itself. Longer, since who was late
/// for a hello comes back, and here the program has lost its server.
/// Fixed: so long a keeper that says nothing more takes a place of a process.
pub const PROGRAM_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a client tries to come back before its session counts as lost.
/// Fixed: it must be shorter than `SESSION_GRACE` of every server.
pub const RECONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// What one server allows. The default is [`Limits::USUAL`], the constants of this module; a smaller
/// set makes the limits easy to reach. What both sides of a connection must agree on (frames,
/// names, credit) is not here: it is the same everywhere.
///
/// Given to a tree with [`ContextBuilder::limits`](crate::ContextBuilder::limits), or to a server that
/// stands alone with [`ServerBuilder::limits`](crate::ServerBuilder::limits), where they hold for all programs
/// together. Names end in what is
/// counted (`_bytes_max`; else a number of the things that are named); [the list](crate::guide::limits)
/// says what happens at each.
///
/// ```
/// # fn main() -> zproc::Result<()> {
/// let mut limits = zproc::Limits::default();
/// limits.history_entries_max = 1_000_000;
/// limits.history_bytes_max = 1 << 30;
/// let ctx = zproc::Context::builder().limits(limits).start()?;
/// # ctx.ping(std::time::Duration::from_secs(60))?;
///
/// limits.value_bytes_max = 2 * limits.change_set_bytes_max;
/// let error = zproc::Context::builder().limits(limits).start().unwrap_err();
/// assert!(error.is_bad_limits(), "{error}");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Readable, Writable)]
#[non_exhaustive]
pub struct Limits {
    /// Most bytes: a key that is written, in bytes of UTF-8. Usually 1 KiB. At it: refused: `is_limit`.
    pub key_bytes_max: usize,
    /// Most: levels of nesting of a value that is written. Usually 128. At it: refused: `is_limit`.
    pub depth_max: usize,
    /// Most bytes: a value; also the argument and the result of a function that runs in the server.
    /// Usually 1 MiB. At it: refused: `is_limit`.
    pub value_bytes_max: usize,
    /// Most bytes: the argument or the result of a process. Usually 65600 KiB. At it: the spawn is
    /// refused; a result that is larger is lost, and a join says so.
    pub payload_bytes_max: usize,
    /// Most bytes: one part of the argument or the result of a process. Usually 256 KiB. At it:
    /// nothing: clients send smaller parts. No client's parts may be larger.
    pub part_bytes_max: usize,
    /// Most bytes: all parts on their way. Usually 1 GiB. At it: the spawn is refused; a result is
    /// lost, and a join says so.
    pub parts_bytes_max: usize,
    /// Most bytes: parts that one process has sent and that no request has named yet. Usually 512 MiB.
    /// At it: the spawn is refused; a result is lost, and a join says so.
    pub parts_per_session_bytes_max: usize,
    /// Most: arguments and results of which one process has sent some parts. Usually 1024. At it: the
    /// spawn is refused; a result is lost, and a join says so.
    pub uploads_per_session_max: usize,
    /// Most bytes: the keys and values, before and after, of what one call, batch or function changes.
    /// Usually 4 MiB. At it: all of it is undone, and refused; a `clear` or `replace_all` becomes one
    /// reset.
    pub change_set_bytes_max: usize,
    /// Most: the keys that one call, batch or function changes, and the operations of a batch. Usually
    /// 16384. At it: all of it is undone, and refused.
    pub change_set_changes_max: usize,
    /// Most bytes: keys and values that one process owns. Usually 2 MiB. At it: refused.
    pub owned_bytes_max: usize,
    /// Most: keys that one process owns. Usually 8192. At it: refused.
    pub owned_keys_max: usize,
    /// Most bytes: the update log. Usually 64 MiB. At it: the oldest updates go: who still needs them
    /// is told `Compacted`.
    pub history_bytes_max: usize,
    /// Most: revisions in the update log. Usually 65536. At it: the oldest updates go: who still needs
    /// them is told `Compacted`.
    pub history_entries_max: usize,
    /// Most bytes: all keys and values, and 24 bytes for each entry. Usually 4 GiB. At it: refused, but
    /// for what makes it smaller.
    pub state_bytes_max: usize,
    /// Most: namespaces that have a key. Usually 65536. At it: refused.
    pub namespaces_max: usize,
    /// Most: calls of one process that are unanswered, or whose answers it has not acknowledged.
    /// Usually 1024. At it: its further calls wait for their turn; those that wait for something (a
    /// lock, a condition, an end) when they are three quarters, so that others find room. No client's
    /// window may be larger: it would break the rules.
    pub in_flight_max: usize,
    /// Most bytes: answers that one process has not acknowledged, and as many again of its waits.
    /// Usually 64 MiB. At it: its further calls with large answers wait for their turn, and so do
    /// joins; other waits are refused instead of answered.
    pub replies_bytes_max: usize,
    /// Most bytes: what is queued for one process. Usually 16 MiB. At it: its requests are not read
    /// until it reads; a program's keeper that does not read has no more processes started or stopped,
    /// which is refused.
    pub outbox_bytes_max: usize,
    /// Most: the watches of one process. Usually 16384. At it: refused.
    pub watches_per_session_max: usize,
    /// Most bytes: what one process's watches, waits and leases are for: keys, values, arguments.
    /// Usually 32 MiB. At it: refused.
    pub interests_per_session_bytes_max: usize,
    /// Most: connections that have not said who they are. Usually 256. At it: the oldest of them is
    /// closed.
    pub connections_silent_max: usize,
    /// Most: locks that are held. Usually 65536. At it: refused.
    pub locks_max: usize,
    /// Most: locks that one process holds or waits for. Usually 1024. At it: refused.
    pub locks_per_session_max: usize,
    /// Most: requests that wait for one lock. Usually 16384. At it: refused.
    pub lock_waiters_max: usize,
    /// Most: connections; at a server that stands alone, a program has two. Usually 4096. At it: the
    /// new one is closed, with the reason.
    pub connections_max: usize,
    /// Most: processes that are known, those included whose connection was lost a moment ago. Usually
    /// 8192. At it: refused, with the reason.
    pub sessions_max: usize,
    /// Most: processes that have not ended; at a server that stands alone, the programs too, and half of
    /// them for one program. Usually 4096. At it: the spawn is refused, or the program, with the reason.
    pub processes_live_max: usize,
    /// Most: records of processes that have ended. Usually 1024. At it: the oldest goes.
    pub processes_ended_max: usize,
    /// Most bytes: results that nobody has joined. Usually 1 GiB. At it: the oldest go: first what of
    /// them came in parts, and a join says so; then their records.
    pub results_bytes_max: usize,
    /// Most: requests of one process that are served in one turn. Usually 64. At it: the others have
    /// their turns.
    pub frames_per_turn_max: usize,
    /// Most: updates that are looked at for one process in one turn; 16 changes of one, or 4 KiB that
    /// are sent, count as one more. Usually 256. At it: the others have their turns.
    pub log_entries_per_turn_max: usize,
    /// Most: updates that are looked at for all in one turn, counted likewise. Usually 4096. At it:
    /// requests are served first.
    pub log_entries_per_tick_max: usize,
    /// Most bytes: what is queued for a process while its watches are served. Usually 256 KiB. At it:
    /// they wait: answers go first.
    pub updates_queued_bytes_max: usize,
    /// Most: entries of one page of a scan. Usually 512. At it: the scan goes on with the next page,
    /// after the others' turns.
    pub page_entries_max: usize,
    /// Most bytes: what a page of a scan may take before it is closed. Usually 256 KiB. At it: the scan
    /// goes on with the next page, after the others' turns.
    pub page_bytes_max: usize,
    /// Most: leases of transactions, those included that are queued for. Usually 8192. At it: refused.
    pub leases_max: usize,
    /// Most: leases of one process, those included that it queues for: of so many transactions at once.
    /// Usually 256. At it: refused.
    pub leases_per_session_max: usize,
    /// Most: comparisons by which one commit looks for changes of the spans that it read. Usually
    /// 65536. At it: it counts as a conflict.
    pub validation_steps_max: usize,
}

/// In the place of a figure where there is none.
const NO_FIGURE: Figure = ("", 0);

/// Limits that do not fit each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfit {
    /// What does not hold, in words.
    pub what: &'static str,
    /// The limits that it is about, each with its figure; without a name: none.
    pub figures: [Figure; 4],
}

/// A limit and what it is set to.
pub type Figure = (&'static str, usize);

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the limits do not fit each other: {}", self.what)?;
        let figures = self.figures.iter().filter(|(name, _)| !name.is_empty());
        for (place, (name, figure)) in figures.enumerate() {
            let before = if place == 0 { " (" } else { ", " };
            write!(f, "{before}{name} = {figure}")?;
        }
        f.write_str(if self.figures[0].0.is_empty() {
            ""
        } else {
            ")"
        })
    }
}

impl std::error::Error for Unfit {}

impl Default for Limits {
    fn default() -> Limits {
        Limits::USUAL
    }
}

impl Limits {
    /// The constants of this module.
    pub const USUAL: Limits = Limits {
        key_bytes_max: KEY_BYTES_MAX,
        depth_max: DEPTH_MAX,
        value_bytes_max: VALUE_BYTES_MAX,
        payload_bytes_max: PAYLOAD_BYTES_MAX,
        part_bytes_max: PART_BYTES_MAX,
        parts_bytes_max: PARTS_BYTES_MAX,
        parts_per_session_bytes_max: PARTS_PER_SESSION_BYTES_MAX,
        uploads_per_session_max: UPLOADS_PER_SESSION_MAX,
        change_set_bytes_max: CHANGE_SET_BYTES_MAX,
        change_set_changes_max: CHANGE_SET_CHANGES_MAX,
        owned_bytes_max: OWNED_BYTES_MAX,
        owned_keys_max: OWNED_KEYS_MAX,
        history_bytes_max: HISTORY_BYTES_MAX,
        history_entries_max: HISTORY_ENTRIES_MAX,
        state_bytes_max: STATE_BYTES_MAX,
        namespaces_max: NAMESPACES_MAX,
        in_flight_max: IN_FLIGHT_MAX,
        replies_bytes_max: REPLIES_BYTES_MAX,
        outbox_bytes_max: OUTBOX_BYTES_MAX,
        watches_per_session_max: WATCHES_PER_SESSION_MAX,
        interests_per_session_bytes_max: INTERESTS_PER_SESSION_BYTES_MAX,
        connections_silent_max: CONNECTIONS_SILENT_MAX,
        locks_max: LOCKS_MAX,
        locks_per_session_max: LOCKS_PER_SESSION_MAX,
        lock_waiters_max: LOCK_WAITERS_MAX,
        connections_max: CONNECTIONS_MAX,
        sessions_max: SESSIONS_MAX,
        processes_live_max: PROCESSES_LIVE_MAX,
        processes_ended_max: PROCESSES_ENDED_MAX,
        results_bytes_max: RESULTS_BYTES_MAX,
        frames_per_turn_max: FRAMES_PER_TURN_MAX,
        log_entries_per_turn_max: LOG_ENTRIES_PER_TURN_MAX,
        log_entries_per_tick_max: LOG_ENTRIES_PER_TICK_MAX,
        updates_queued_bytes_max: UPDATES_QUEUED_BYTES_MAX,
        page_entries_max: PAGE_ENTRIES_MAX,
        page_bytes_max: PAGE_BYTES_MAX,
        leases_max: LEASES_MAX,
        leases_per_session_max: LEASES_PER_SESSION_MAX,
        validation_steps_max: VALIDATION_STEPS_MAX,
    };

    /// Do they fit each other? Backpressure rests on their order: a value fits a change set, a
    /// change set fits any credit, and what any credit lets through fits the log.
    ///
    /// # Errors
    /// The first relation that does not hold.
    pub const fn check(&self) -> Result<(), Unfit> {
        if let Some(name) = self.zero() {
            let figures = [(name, 0), NO_FIGURE, NO_FIGURE, NO_FIGURE];
            return Err(Unfit {
                what: "one of them is zero",
                figures,
            });
        }
        if let Err(unfit) = self.check_kept() {
            return Err(unfit);
        }
        self.check_sent()
    }

    /// A result with its text, or a panic's text, and what the keeper says.
    pub(super) const fn outcome_bytes(&self) -> usize {
        outcome_bytes(self.value_bytes_max)
    }

    /// What a process owns and the locks of its session go in one change set.
    const fn ends_fit(&self) -> bool {
        self.owned_bytes_max < self.change_set_bytes_max
            && self.owned_keys_max <= self.change_set_changes_max
            && self.locks_per_session_max <= LOCKS_PER_SESSION_MAX
    }

    /// The largest page: its last value may be too much.
    const fn page_bytes(&self) -> usize {
        (self.page_bytes_max)
            .saturating_add(self.value_bytes_max)
            .saturating_add(self.page_entries_max.saturating_mul(8))
            .saturating_add(MESSAGE_OVERHEAD_BYTES_MAX + KEY_BYTES_MAX)
    }

    /// A change set as it is sent.
    const fn update_bytes(&self) -> usize {
        (self.change_set_changes_max.saturating_mul(64))
            .saturating_add(self.change_set_bytes_max)
            .saturating_add(MESSAGE_OVERHEAD_BYTES_MAX)
    }

    /// Of `processes_live_max`, what one program at a server that stands alone may have.
    #[doc(hidden)]
    #[must_use]
    pub const fn processes_live_per_program_max(&self) -> usize {
        self.processes_live_max.div_ceil(2)
    }

    const fn parts_fit(&self) -> bool {
        self.part_bytes_max <= self.value_bytes_max
            && self.value_bytes_max <= self.payload_bytes_max
            && self.payload_bytes_max <= self.parts_per_session_bytes_max
            && self.parts_per_session_bytes_max <= self.parts_bytes_max
            && self.payload_bytes_max <= PAYLOAD_BYTES_MAX
    }

    /// The name of one that is zero and may not be.
    const fn zero(&self) -> Option<&'static str> {
        let figures = [
            ("key_bytes_max", self.key_bytes_max),
            ("depth_max", self.depth_max),
            ("value_bytes_max", self.value_bytes_max),
            ("part_bytes_max", self.part_bytes_max),
            ("uploads_per_session_max", self.uploads_per_session_max),
            ("owned_bytes_max", self.owned_bytes_max),
            ("owned_keys_max", self.owned_keys_max),
            ("history_entries_max", self.history_entries_max),
            ("state_bytes_max", self.state_bytes_max),
            ("namespaces_max", self.namespaces_max),
            ("in_flight_max", self.in_flight_max),
            ("outbox_bytes_max", self.outbox_bytes_max),
            ("watches_per_session_max", self.watches_per_session_max),
            ("connections_silent_max", self.connections_silent_max),
            ("locks_max", self.locks_max),
            ("locks_per_session_max", self.locks_per_session_max),
            ("lock_waiters_max", self.lock_waiters_max),
            ("connections_max", self.connections_max),
            ("processes_live_max", self.processes_live_max),
            ("processes_ended_max", self.processes_ended_max),
            ("results_bytes_max", self.results_bytes_max),
            ("frames_per_turn_max", self.frames_per_turn_max),
            ("log_entries_per_turn_max", self.log_entries_per_turn_max),
            ("log_entries_per_tick_max", self.log_entries_per_tick_max),
            ("updates_queued_bytes_max", self.updates_queued_bytes_max),
            ("page_entries_max", self.page_entries_max),
            ("page_bytes_max", self.page_bytes_max),
            ("leases_max", self.leases_max),
            ("leases_per_session_max", self.leases_per_session_max),
            ("validation_steps_max", self.validation_steps_max),
        ];
        let mut index = 0;
        while index < figures.len() {
            if figures[index].1 == 0 {
                return Some(figures[index].0);
            }
            index += 1;
        }
        None
    }
}

/// A result with its text, or a panic's text, and what the keeper says.
pub(super) const fn outcome_bytes(value_bytes_max: usize) -> usize {
    let besides = 2 * FAILURE_BYTES_MAX + 2 * OUTPUT_TAIL_BYTES_MAX;
    value_bytes_max.saturating_add(besides + MESSAGE_OVERHEAD_BYTES_MAX)
}

/// How many of the requests that one session may have in flight may wait for something to come true: three
/// quarters, so that all others, which the server answers at once, always find room. What ends a wait
/// may be one of them: the lock that is given back, the key that is set.
#[must_use]
pub const fn waits_max(in_flight_max: usize) -> usize {
    let most = in_flight_max - in_flight_max.div_ceil(4);
    if most == 0 { 1 } else { most }
}

const _: () = assert!(Limits::USUAL.check().is_ok());
// Each line of a dump has some texts, each with its length, and numbers.
const _: () = assert!(
    (DUMP_TEXT_BYTES_MAX + 16)
        * (3 * DUMP_PROCESSES_MAX + (2 * (DUMP_READS_MAX + 1) + 3) * DUMP_LINES_MAX)
        + MESSAGE_OVERHEAD_BYTES_MAX
        <= FRAME_BYTES_MAX
);
// A process's task.
const _: () = assert!(VALUE_BYTES_MAX + TASK_OVERHEAD_BYTES_MAX <= FRAME_BYTES_MAX);
const _: () = assert!(FRAME_BYTES_MAX <= OUTBOX_BYTES_MAX);
// All locks of one session, each with its name and its records, fit an update.
const _: () = assert!(
    LOCKS_PER_SESSION_MAX * (LOCK_NAME_BYTES_MAX + 512) + MESSAGE_OVERHEAD_BYTES_MAX
        <= CHANGE_SET_BYTES_MAX
);
const _: () = assert!(LOCKS_PER_SESSION_MAX <= CHANGE_SET_CHANGES_MAX / 2);
const _: () = assert!(RECONNECT_TIMEOUT.as_nanos() < SESSION_GRACE.as_nanos());

#[cfg(test)]
mod tests;
