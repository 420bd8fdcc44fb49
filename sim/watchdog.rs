//! A simulated thread that never comes to a scheduling point holds up the whole world, and no event
//! can tell: an OS thread looks at the wall clock instead.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, Once, PoisonError, Weak};
use std::time::Duration;

/// How long one thread may run between two scheduling points.
const PATIENCE_S: u64 = 20;

/// What a world shows of itself to the watchdog.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Counts wake-ups.
    wakes: AtomicU64,
    /// The process that was woken last.
    process: AtomicU64,
    /// The seed of the run.
    seed: AtomicU64,
}

impl Progress {
    /// A thread of `process` goes on.
    pub(crate) fn tick(&self, process: u64) {
        self.wakes.fetch_add(1, Ordering::Relaxed);
        self.process.store(process, Ordering::Relaxed);
    }
}

/// The worlds that are watched.
static WATCHED: Mutex<Vec<Weak<Progress>>> = Mutex::new(Vec::new());
/// The watchdog waits on this, and nobody ever calls it: it looks once a second.
static NEVER: Condvar = Condvar::new();
static STARTED: Once = Once::new();

/// Watches a world until it is dropped.
pub(crate) fn watch(seed: u64, progress: &Arc<Progress>) {
    progress.seed.store(seed, Ordering::Relaxed);
    WATCHED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(Arc::downgrade(progress));
    STARTED.call_once(|| {
        std::thread::spawn(guard);
    });
}

fn guard() {
    let mut seen: Vec<(Weak<Progress>, u64, u64)> = Vec::new();
    loop {
        let watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut watched, _) = NEVER
            .wait_timeout(watched, Duration::from_secs(1))
            .unwrap_or_else(PoisonError::into_inner);
        seen.retain(|(progress, _, _)| progress.strong_count() > 0);
        seen.extend(watched.drain(..).map(|progress| (progress, u64::MAX, 0)));
        drop(watched);
        for (progress, wakes_before, idle_s) in &mut seen {
            let Some(progress) = progress.upgrade() else {
                continue;
            };
            let wakes = progress.wakes.load(Ordering::Relaxed);
            *idle_s = if wakes == *wakes_before {
                *idle_s + 1
            } else {
                0
            };
            *wakes_before = wakes;
            if *idle_s >= PATIENCE_S {
                eprintln!(
                    "zproc-sim: seed {}: process #{} has not come to a scheduling point for \
                     {PATIENCE_S} seconds (an endless loop, a real sleep, or a lock held by another \
                     simulated thread)",
                    progress.seed.load(Ordering::Relaxed),
                    progress.process.load(Ordering::Relaxed),
                );
                std::process::abort();
            }
        }
    }
}
