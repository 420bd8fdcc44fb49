//! One page of memory that the processes of a tree share: which function the server runs, and how it
//! ended.
//!
//! The server writes down the function before it calls it, a few stores each time; whatever then
//! becomes of the server, the page is still there. Whoever ends the tree for it (the keeper, or the
//! guard, or the server itself) writes how the server ended; who has lost the server reads both, or
//! waits for it a moment. All are the same executable, so a function is named by the place of its
//! record, as on the wire.

#![expect(unsafe_code, reason = "shared memory, and waiting on a word of it")]

use super::code;
use super::mapped;
use super::sys;
use crate::proto::loss::{ServerEnd, ServerLoss};
use crate::proto::time::nanoseconds;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering, fence};
use std::time::Duration;

/// How long who has lost the server waits for whoever ends the tree to say how. A keeper that lives
/// does so as soon as the server is dead.
const LOSS_PATIENCE: Duration = Duration::from_secs(2);

/// The page. All zero at first.
#[repr(C)]
struct Words {
    /// Counts beginnings and ends of functions: odd while one runs.
    turn: AtomicU64,
    /// The one that runs, or ran last: its record's distance from the anchor.
    function: AtomicI64,
    /// When it began, by the machine's coarse clock.
    since_ns: AtomicU64,
    /// The keeper looks at the turn now and then, so it need not be told that one begins.
    watched: AtomicU32,
    /// Somebody has begun to write how the server ended.
    claimed: AtomicU32,
    /// And has written it. A word that others wait on.
    told: AtomicU32,
    /// One of the numbers below.
    how: AtomicU32,
    /// As `wait4` gives it.
    status: AtomicI32,
    limit_ns: AtomicU64,
}

const PAGE_BYTES: usize = 4096;
const _: () = assert!(size_of::<Words>() <= PAGE_BYTES);

const HOW_STATUS: u32 = 1;
const HOW_TIME_LIMIT: u32 = 2;
const HOW_KEEPER_LOST: u32 = 3;
const HOW_UNSEEN: u32 = 4;

/// What whoever ends the tree knows of the server's end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Told {
    /// Its status, as `wait4` gives it.
    Status(i32),
    /// It was killed for a function that ran for longer than this.
    TimeLimit(Duration),
    /// It was not the first to go.
    KeeperLost,
    /// It is gone, and is not a process of this tree.
    Unseen,
}

/// The page, mapped.
pub(crate) struct Page(NonNull<Words>);

// SAFETY: it is made of atomics, in memory that stays until the drop.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length, and nobody has a reference into it any more.
        unsafe { libc::munmap(self.0.as_ptr().cast(), PAGE_BYTES) };
    }
}

/// Makes a page for a tree: a file in memory, of a size that nobody can change.
pub(crate) fn create() -> io::Result<OwnedFd> {
    mapped::create(c"zproc", PAGE_BYTES as u64)
}

impl Page {
    /// The page behind a descriptor that [`create`] made, in whichever process.
    pub(crate) fn map(fd: BorrowedFd<'_>) -> io::Result<Page> {
        mapped::map(fd, PAGE_BYTES).map(|address| Page(address.cast()))
    }

    fn words(&self) -> &Words {
        // SAFETY: the mapping is larger than this, aligned to a page, and stays until the drop;
        // atomics may be written by others meanwhile, and any bytes are a value of theirs.
        unsafe { self.0.as_ref() }
    }

    /// The server begins a function. True: the keeper must be told, for it does not look.
    ///
    /// Only the server calls it, on one thread.
    pub(crate) fn begin(&self, function: i64) -> bool {
        let words = self.words();
        let turn = words.turn.load(Ordering::Relaxed);
        // Who sees this function below sees at least the end of the one before it.
        fence(Ordering::Release);
        words.function.store(function, Ordering::Relaxed);
        words.since_ns.store(sys::coarse_ns(), Ordering::Relaxed);
        words.turn.store(turn.wrapping_add(1), Ordering::Release);
        // The keeper puts its watch down and then looks at the turn: one of us sees the other.
        fence(Ordering::SeqCst);
        words.watched.load(Ordering::Relaxed) == 0 && words.watched.swap(1, Ordering::Relaxed) == 0
    }

    /// The server has come to the end of it.
    pub(crate) fn end(&self) {
        let turn = &self.words().turn;
        let count = turn.load(Ordering::Relaxed);
        turn.store(count.wrapping_add(1), Ordering::Release);
    }

    /// How many functions have begun and ended: odd while one runs.
    pub(crate) fn turn(&self) -> u64 {
        self.words().turn.load(Ordering::Acquire)
    }

    /// The keeper no longer looks, unless this gives a turn: then a function has begun meanwhile,
    /// and it looks on.
    pub(crate) fn rest(&self) -> Option<u64> {
        let words = self.words();
        let before = self.turn();
        words.watched.store(0, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let turn = self.turn();
        let has_begun = turn != before || !turn.is_multiple_of(2);
        // If the server has seen it and rings as well, that does no harm.
        (has_begun && words.watched.swap(1, Ordering::Relaxed) == 0).then_some(turn)
    }

    /// The function that the server runs, and for how long it has.
    pub(crate) fn running(&self) -> Option<(&'static str, Duration)> {
        let (function, since_ns) = self.function()?;
        let ran_ns = sys::coarse_ns().saturating_sub(since_ns);
        Some((function, Duration::from_nanos(ran_ns)))
    }

    /// The function that runs, or ran when the server ended, and when it began. Whole at any moment.
    fn function(&self) -> Option<(&'static str, u64)> {
        let words = self.words();
        loop {
            let turn = words.turn.load(Ordering::Acquire);
            let function = words.function.load(Ordering::Relaxed);
            let since_ns = words.since_ns.load(Ordering::Relaxed);
            fence(Ordering::Acquire);
            if turn.is_multiple_of(2) {
                return None;
            }
            if words.turn.load(Ordering::Relaxed) == turn {
                return code::name_at(function).map(|name| (name, since_ns));
            }
        }
    }

    /// Writes down how the server ended; the first one counts. Wakes those who wait to know.
    pub(crate) fn tell(&self, told: Told) {
        let words = self.words();
        if words.claimed.swap(1, Ordering::Relaxed) != 0 {
            return;
        }
        let how = match told {
            Told::Status(status) => {
                words.status.store(status, Ordering::Relaxed);
                HOW_STATUS
            }
            Told::TimeLimit(limit) => {
                words.limit_ns.store(nanoseconds(limit), Ordering::Relaxed);
                HOW_TIME_LIMIT
            }
            Told::KeeperLost => HOW_KEEPER_LOST,
            Told::Unseen => HOW_UNSEEN,
        };
        words.how.store(how, Ordering::Relaxed);
        words.told.store(1, Ordering::Release);
        sys::futex_wake(&words.told);
    }

    /// How the server ended, if somebody has told.
    pub(crate) fn known_loss(&self) -> Option<ServerLoss> {
        let is_told = self.words().told.load(Ordering::Acquire) != 0;
        is_told.then(|| self.loss())
    }

    /// How the server ended, as soon as somebody has told.
    pub(crate) fn loss(&self) -> ServerLoss {
        let words = self.words();
        sys::futex_wait(&words.told, 0, LOSS_PATIENCE);
        let is_told = words.told.load(Ordering::Acquire) != 0;
        let how = match words.how.load(Ordering::Relaxed) {
            HOW_STATUS if is_told => of_status(words.status.load(Ordering::Relaxed)),
            HOW_TIME_LIMIT if is_told => ServerEnd::TimeLimit {
                limit: Duration::from_nanos(words.limit_ns.load(Ordering::Relaxed)),
            },
            // What it ran then has no part in it.
            HOW_KEEPER_LOST if is_told => return ServerLoss::new(ServerEnd::KeeperLost),
            _ => ServerEnd::Unseen,
        };
        let mut loss = ServerLoss::new(how);
        loss.function = self.function().map(|(name, _)| name.to_owned());
        loss
    }
}

fn of_status(status: i32) -> ServerEnd {
    if libc::WIFEXITED(status) {
        let code = libc::WEXITSTATUS(status);
        return ServerEnd::Exited { code };
    }
    ServerEnd::Signaled {
        signal: libc::WTERMSIG(status),
        core: libc::WCOREDUMP(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;
    use std::sync::Arc;
    use std::time::Instant;

    fn pages() -> (Page, Page) {
        let fd = create().expect("a page");
        let map = || Page::map(fd.as_fd()).expect("it is mapped");
        (map(), map())
    }

    #[test]
    fn what_one_writes_the_other_reads_and_the_first_word_counts() {
        let (server, keeper) = pages();
        assert_eq!(server.known_loss(), None);
        assert!(server.begin(5), "nobody looks yet");
        assert_eq!(keeper.turn(), 1);
        server.end();
        assert!(!server.begin(6), "it was told");
        server.end();
        assert_eq!(keeper.turn(), 4);
        assert_eq!(keeper.rest(), None);
        assert!(server.begin(7));
        assert_eq!(keeper.rest(), Some(5), "one has begun: it looks on");
        keeper.tell(Told::Status(11));
        keeper.tell(Told::KeeperLost);
        let (signal, core) = (11, false);
        let loss = server.loss();
        assert_eq!(loss.how, ServerEnd::Signaled { signal, core });
        assert_eq!(server.known_loss(), Some(loss.clone()));
        // No record of a function is there.
        assert_eq!(loss.function, None);
        assert_eq!(server.running(), None);
    }

    #[test]
    fn who_waits_is_woken() {
        let (server, keeper) = pages();
        let begin = Instant::now();
        let waiter = std::thread::spawn(move || server.loss());
        keeper.tell(Told::TimeLimit(Duration::from_secs(3)));
        let limit = Duration::from_secs(3);
        let loss = waiter.join().expect("no panic");
        assert_eq!(loss.how, ServerEnd::TimeLimit { limit });
        assert!(begin.elapsed() < LOSS_PATIENCE);
    }

    #[test]
    fn every_beginning_is_watched_or_rung() {
        let (server, keeper) = pages();
        let bell = Arc::new(AtomicU32::new(0));
        let rings = Arc::clone(&bell);
        let rounds = 20_000;
        let thread = std::thread::spawn(move || {
            for round in 0..rounds {
                if server.begin(round) {
                    rings.store(1, Ordering::SeqCst);
                }
                server.end();
            }
            // The last one runs on.
            if server.begin(rounds) {
                rings.store(1, Ordering::SeqCst);
            }
        });
        let mut watches = false;
        while !thread.is_finished() {
            watches |= bell.swap(0, Ordering::SeqCst) != 0;
            if watches {
                watches = keeper.rest().is_some();
            }
        }
        thread.join().expect("no panic");
        watches |= bell.swap(0, Ordering::SeqCst) != 0;
        assert!(watches, "a function runs, and nobody knows");
    }
}
