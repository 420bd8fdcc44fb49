//! How much there may be of everything, and what happens at each limit.
//!
//! Nothing grows without end, so that no process can take what all need: at a limit the caller waits or
//! gets a typed error that names it ([`is_limit`](crate::Error::is_limit)); the tree never ends for
//! it, and nobody else notices.
//!
//! # Those that can be set
//!
//! They are the fields of [`Limits`](crate::Limits), given to
//! [`ContextBuilder::limits`](crate::ContextBuilder::limits), and hold for the whole tree; or to
//! [`ServerBuilder::limits`](crate::ServerBuilder::limits), and hold for all programs together. Errors
//! name them in capitals.
//!
//! | name | usually | of what | at it |
//! |---|---|---|---|
//! | `key_bytes_max` | 1 KiB | a key that is written, in bytes of UTF-8 | refused: `is_limit` |
//! | `depth_max` | 128 | levels of nesting of a value that is written | refused: `is_limit` |
//! | `value_bytes_max` | 1 MiB | a value; also the argument and the result of a function that runs in the server | refused: `is_limit` |
//! | `payload_bytes_max` | 65600 KiB | the argument or the result of a process | the spawn is refused; a result that is larger is lost, and a join says so |
//! | `part_bytes_max` | 256 KiB | one part of the argument or the result of a process | nothing: clients send smaller parts |
//! | `parts_bytes_max` | 1 GiB | all parts on their way | the spawn is refused; a result is lost, and a join says so |
//! | `parts_per_session_bytes_max` | 512 MiB | parts that one process has sent and that no request has named yet | the spawn is refused; a result is lost, and a join says so |
//! | `uploads_per_session_max` | 1024 | arguments and results of which one process has sent some parts | the spawn is refused; a result is lost, and a join says so |
//! | `change_set_bytes_max` | 4 MiB | the keys and values, before and after, of what one call, batch or function changes | all of it is undone, and refused; a `clear` or `replace_all` becomes one reset |
//! | `change_set_changes_max` | 16384 | the keys that one call, batch or function changes, and the operations of a batch | all of it is undone, and refused |
//! | `owned_bytes_max` | 2 MiB | keys and values that one process owns | refused |
//! | `owned_keys_max` | 8192 | keys that one process owns | refused |
//! | `history_bytes_max` | 64 MiB | the update log | the oldest updates go: who still needs them is told `Compacted` |
//! | `history_entries_max` | 65536 | revisions in the update log | the oldest updates go: who still needs them is told `Compacted` |
//! | `state_bytes_max` | 4 GiB | all keys and values, and 24 bytes for each entry | refused, but for what makes it smaller |
//! | `namespaces_max` | 65536 | namespaces that have a key | refused |
//! | `in_flight_max` | 1024 | calls of one process that are unanswered, or whose answers it has not acknowledged | its further calls wait for their turn; those that wait for something (a lock, a condition, an end) when they are three quarters, so that others find room |
//! | `replies_bytes_max` | 64 MiB | answers that one process has not acknowledged, and as many again of its waits | its further calls with large answers wait for their turn, and so do joins; other waits are refused instead of answered |
//! | `outbox_bytes_max` | 16 MiB | what is queued for one process | its requests are not read until it reads; a program's keeper that does not read has no more processes started or stopped, which is refused |
//! | `watches_per_session_max` | 16384 | the watches of one process | refused |
//! | `interests_per_session_bytes_max` | 32 MiB | what one process's watches, waits and leases are for: keys, values, arguments | refused |
//! | `connections_silent_max` | 256 | connections that have not said who they are | the oldest of them is closed |
//! | `connections_max` | 4096 | connections; at a server that stands alone, a program has two | the new one is closed, with the reason |
//! | `sessions_max` | 8192 | processes that are known, those included whose connection was lost a moment ago | refused, with the reason |
//! | `processes_live_max` | 4096 | processes that have not ended; at a server that stands alone, the programs too, and half of them for one program | the spawn is refused, or the program, with the reason |
//! | `processes_ended_max` | 1024 | records of processes that have ended | the oldest goes |
//! | `results_bytes_max` | 1 GiB | results that nobody has joined | the oldest go: first what of them came in parts, and a join says so; then their records |
//! | `locks_max` | 65536 | locks that are held | refused |
//! | `locks_per_session_max` | 1024 | locks that one process holds or waits for | refused |
//! | `lock_waiters_max` | 16384 | requests that wait for one lock | refused |
//! | `leases_max` | 8192 | leases of transactions, those included that are queued for | refused |
//! | `leases_per_session_max` | 256 | leases of one process, those included that it queues for: of so many transactions at once | refused |
//! | `validation_steps_max` | 65536 | comparisons by which one commit looks for changes of the spans that it read | it counts as a conflict |
//! | `frames_per_turn_max` | 64 | requests of one process that are served in one turn | the others have their turns |
//! | `log_entries_per_turn_max` | 256 | updates that are looked at for one process in one turn; 16 changes of one, or 4 KiB that are sent, count as one more | the others have their turns |
//! | `log_entries_per_tick_max` | 4096 | updates that are looked at for all in one turn, counted likewise | requests are served first |
//! | `updates_queued_bytes_max` | 256 KiB | what is queued for a process while its watches are served | they wait: answers go first |
//! | `page_entries_max` | 512 | entries of one page of a scan | the scan goes on with the next page, after the others' turns |
//! | `page_bytes_max` | 256 KiB | what a page of a scan may take before it is closed | the scan goes on with the next page, after the others' turns |
//!
//! Programs at a server that stands alone share all of it. One has half of `processes_live_max` at most
//! (rounded up; the error says `PROCESSES_LIVE_PER_PROGRAM_MAX`). Where a record or a result of an ended
//! process has to go, the oldest of the program whose process has just ended, and of programs that are
//! gone, goes first; only where there is none of these, the oldest of another program.
//!
//! They have to fit each other (a value fits a change set, what one process owns is released in one,
//! that fits what a watch is sent, and that fits the update log, ...). Some have a highest figure: a value
//! and what holds one must fit a message, and clients send no longer keys and no deeper values than usual.
//!
//! ```
//! # fn main() -> zproc::Result<()> {
//! let mut limits = zproc::Limits::default();
//! limits.value_bytes_max = 300 * 1024;
//! let ctx = zproc::Context::builder().limits(limits).start()?;
//! let error = ctx.state().set("big", &"x".repeat(300 * 1024)).unwrap_err();
//! assert!(error.is_limit());
//! assert!(error.to_string().contains("VALUE_BYTES_MAX"));
//! # Ok(())
//! # }
//! ```
//!
//! # Those that are the same everywhere
//!
//! Some of them both sides of a connection go by before they know each other (namespaces, the
//! credit of a watch, a message, what one transaction or condition reads). The others are what the server
//! does for one before the others have their turns: more of it would be no use to anybody, and less no
//! protection.
//!
//! | name | figure | of what | at it |
//! |---|---|---|---|
//! | `NAMESPACE_BYTES_MAX` | 255 | the name of a namespace | refused |
//! | `WATCH_KEYS_MAX` | 1024 | keys that one watch names | refused |
//! | `LOCK_NAME_BYTES_MAX` | 255 | the name of a lock | refused |
//! | `CONFLICTS_MAX` | 3 | conflicts of one transaction | it queues for a lease |
//! | `QUEUED_AT_ONCE` | 16 | transactions of a function, behind one that had to queue, that queue before they run | the next one tries without |
//! | `LEASED_KEYS_MAX` | 64 | keys that a lease is on | it is on their namespaces; over as many of these there is none |
//! | `LEASE_STEPS_PER_TURN_MAX` | 16384 | keys of leases that are looked at in one turn of the server | it looks at the others after the next requests |
//! | `READS_MAX` | 1024 | keys and ranges that one condition is remembered to have read | whole namespaces count as read: it is tested more often than it need be |
//! | `READ_NAMESPACES_MAX` | 1024 | namespaces that one transaction or condition reads | refused |
//! | `READS_BYTES_MAX` | 128 KiB | their keys | the same |
//! | `READ_RANGES_MAX` | 16 | the ranges of one namespace among them | one range that covers them counts as read |
//! | `COMPARED_BYTES_MAX` | 16 MiB | values that one batch or commit compares, where their first bytes don't tell | refused |
//! | `COMPARED_PER_TURN_BYTES_MAX` | 4 MiB | values that are compared for one process in one turn | the others have their turns |
//! | `CREDIT_BYTES_MIN` | 8 MiB | updates that a watch is sent before its process has taken some of them | its next ones wait in the log |
//! | `FRAME_BYTES_MAX` | 8 MiB | one message | refused where it is made; from anybody else it costs the connection |
//!
//! A function that runs in the server has a time,
//! [`function_time_max`](crate::ContextBuilder::function_time_max). What each limit costs when it is
//! reached is printed by `cargo bench --bench state`.
