//! A simulated thread that never comes to a scheduling point holds up the whole world, and no event
//! can tell: an OS thread looks at the wall clock instead.
//!
//! Such a run can't be ended: its thread holds whatever it holds. Who runs many may ask to be told,
//! and goes on without it; else the whole program is aborted.

use std::fmt;
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
    /// Its thread, by its number among all that the run has had.
    thread: AtomicU64,
}

impl Progress {
    /// This thread of `process` goes on.
    pub(crate) fn tick(&self, process: u64, thread: usize) {
        self.wakes.fetch_add(1, Ordering::Relaxed);
        self.process.store(process, Ordering::Relaxed);
        self.thread.store(thread as u64, Ordering::Relaxed);
    }
}

/// A run that does not get on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hang {
    /// The seed of the run, if that alone brings it back.
    pub(crate) seed: Option<u64>,
    pub(crate) process: u64,
    pub(crate) thread: u64,
}

impl fmt::Display for Hang {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seed {
            Some(seed) => write!(to, "seed {seed}: ")?,
            None => write!(to, "a run of given choices: ")?,
        }
        write!(
            to,
            "thread {} of process #{} has not come to a scheduling point for {PATIENCE_S} seconds \
             (an endless loop, a real sleep, or a lock held by another simulated thread)",
            self.thread, self.process
        )
    }
}

/// Is told of a run that hangs.
type Listener = Box<dyn Fn(Hang) + Send>;

/// The worlds that are watched.
static WATCHED: Mutex<Vec<Watch>> = Mutex::new(Vec::new());
/// Who is told of hangs, if anybody is.
static LISTENER: Mutex<Option<Listener>> = Mutex::new(None);
/// The watchdog waits on this, and nobody ever calls it: it looks once a second.
static NEVER: Condvar = Condvar::new();
static STARTED: Once = Once::new();

/// Watches a world until its progress is dropped. The seed: if that alone brings the run back.
pub(crate) fn watch(seed: Option<u64>, progress: &Arc<Progress>) {
    WATCHED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(Watch::new(seed, progress));
    STARTED.call_once(|| {
        std::thread::spawn(guard);
    });
}

/// From now on a hang is told to `listener`, and aborts nothing; with `None` it does again.
pub(crate) fn tell(listener: Option<Listener>) {
    *LISTENER.lock().unwrap_or_else(PoisonError::into_inner) = listener;
}

/// One world, as the watchdog sees it.
struct Watch {
    seed: Option<u64>,
    progress: Weak<Progress>,
    /// How many wake-ups it had at the last look.
    wakes: u64,
    /// For how many looks it has been the same.
    idle_s: u64,
}

impl Watch {
    fn new(seed: Option<u64>, progress: &Arc<Progress>) -> Watch {
        Watch {
            seed,
            progress: Arc::downgrade(progress),
            wakes: u64::MAX,
            idle_s: 0,
        }
    }

    /// The look of one more second; a hang is told once.
    fn look(&mut self) -> Option<Hang> {
        let progress = self.progress.upgrade()?;
        let wakes = progress.wakes.load(Ordering::Relaxed);
        if wakes != self.wakes {
            self.wakes = wakes;
            self.idle_s = 0;
            return None;
        }
        self.idle_s += 1;
        (self.idle_s == PATIENCE_S).then(|| Hang {
            seed: self.seed,
            process: progress.process.load(Ordering::Relaxed),
            thread: progress.thread.load(Ordering::Relaxed),
        })
    }
}

fn guard() {
    let mut seen: Vec<Watch> = Vec::new();
    loop {
        let watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut watched, _) = NEVER
            .wait_timeout(watched, Duration::from_secs(1))
            .unwrap_or_else(PoisonError::into_inner);
        seen.retain(|watch| watch.progress.strong_count() > 0);
        seen.append(&mut watched);
        drop(watched);
        seen.iter_mut().filter_map(Watch::look).for_each(hangs);
    }
}

/// Tells who listens, or aborts the program.
pub(crate) fn hangs(hang: Hang) {
    let listener = LISTENER.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(listener) = &*listener else {
        eprintln!("zproc-sim: {hang}. It can't be ended, so the whole program is.");
        if let Some(seed) = hang.seed {
            eprintln!("If it was a run of the program zproc-sim: replay {seed} brings it back");
        }
        std::process::abort();
    };
    listener(hang);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_does_not_come_back_is_named_once() {
        let progress = Arc::new(Progress::default());
        let mut watch = Watch::new(Some(7), &progress);
        for second in 0..3 * PATIENCE_S {
            progress.tick(3, 5);
            assert_eq!(watch.look(), None, "at {second} s it goes on");
        }
        let looks: Vec<Option<Hang>> = (0..2 * PATIENCE_S).map(|_| watch.look()).collect();
        let told: Vec<Hang> = looks.iter().flatten().copied().collect();
        let hang = Hang {
            seed: Some(7),
            process: 3,
            thread: 5,
        };
        assert_eq!(told, [hang]);
        assert_eq!(looks[PATIENCE_S as usize - 1], Some(hang));
        let text = hang.to_string();
        assert!(
            text.starts_with("seed 7: thread 5 of process #3 "),
            "{text}"
        );
        drop(progress);
        assert_eq!(watch.look(), None);
    }
}
