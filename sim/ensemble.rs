//! Runs many seeds over several OS threads.

use crate::simulation::Report;
use crate::watchdog::{self, Hang};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

/// Which seeds, and how many at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ensemble {
    pub(crate) from: u64,
    pub(crate) seeds: u64,
    pub(crate) jobs: u64,
}

/// What came of one seed: its report, or the text of a panic outside of simulated processes.
pub(crate) type Ran = Result<Report, String>;

impl Ensemble {
    /// Runs each seed as `one` does and tells `each` what came of it. A run that hangs keeps its OS
    /// thread for ever, so the first one ends it all, and is given back.
    pub(crate) fn run(
        self,
        one: impl Fn(u64) -> Ran + Copy + Send + 'static,
        mut each: impl FnMut(u64, Ran),
    ) -> Option<Hang> {
        let next = Arc::new(AtomicU64::new(self.from));
        let end = self.from + self.seeds;
        let (sender, receiver) = mpsc::channel();
        let hung = sender.clone();
        watchdog::tell(Some(Box::new(move |hang| {
            // One is enough: nobody listens to a second.
            let _ = hung.send(Err(hang));
        })));
        // They are not joined, since nobody could wait for the end of one that hangs.
        for _ in 0..self.jobs.min(self.seeds) {
            let (sender, next) = (sender.clone(), Arc::clone(&next));
            std::thread::spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || sender.send(Ok((seed, one(seed)))).is_err() {
                        return;
                    }
                }
            });
        }
        let results = receiver.iter().take(self.seeds as usize);
        let mut hang = None;
        for result in results {
            match result {
                Ok((seed, ran)) => each(seed, ran),
                Err(found) => {
                    hang = Some(found);
                    break;
                }
            }
        }
        watchdog::tell(None);
        hang
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HANG: Hang = Hang {
        seed: Some(3),
        process: 2,
        thread: 4,
    };

    #[test]
    fn each_seed_is_run_once_and_a_hang_ends_it() {
        let ensemble = |from| Ensemble {
            from,
            seeds: 9,
            jobs: 1,
        };
        let one = |seed: u64| {
            if Some(seed) == HANG.seed {
                watchdog::hangs(HANG);
                loop {
                    std::thread::park();
                }
            }
            Err(String::new())
        };
        let mut told = Vec::new();
        assert_eq!(ensemble(1).run(one, |seed, _| told.push(seed)), Some(HANG));
        assert_eq!(told, [1, 2]);
        told.clear();
        assert_eq!(ensemble(4).run(one, |seed, _| told.push(seed)), None);
        assert_eq!(told, [4, 5, 6, 7, 8, 9, 10, 11, 12]);
    }
}
