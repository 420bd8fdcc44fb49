//! The fault points in the code: in a first phase a run draws which are active and how often, in the
//! second each of these is asked, wherever the server or a client comes by.
//!
//! They are asked while the world or a client's lock is held, so each holder draws from streams of
//! its own, and what struck is counted aside.

use crate::choices::{Choices, Detached, Part};
use crate::story::Lane;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use zproc::seam::proto::ids::ProcessId;
use zproc::seam::proto::points::{POINTS, Point, Points};

/// Weights that a point draws from. Half of all are not active in a run.
const WEIGHTS: [u64; 6] = [0, 0, 0, 200, 1000, 3000];
/// A weight of this size strikes every time.
const WEIGHT_MAX: u64 = 10_000;

/// The process number under which the server's points draw; no process has it.
const SERVER: u64 = 0;

/// How often each point struck.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StruckPoints {
    /// In all, by the point's number.
    pub count: [u64; POINTS],
    /// In how many runs it was active, whether it struck or not.
    pub active: [u64; POINTS],
}

impl StruckPoints {
    /// Adds another run's.
    pub fn add(&mut self, other: &StruckPoints) {
        for point in 0..POINTS {
            self.count[point] += other.count[point];
            self.active[point] += other.active[point];
        }
    }
}

/// What the holders tell.
#[derive(Debug, Default)]
struct Told {
    count: [AtomicU64; POINTS],
    healed: AtomicBool,
    /// Somebody reads the story.
    is_read: AtomicBool,
    story: Mutex<Vec<(u64, Point)>>,
}

/// The fault points of one run.
#[derive(Debug, Default)]
pub(crate) struct FaultPoints {
    weights: [u64; POINTS],
    told: Arc<Told>,
}

impl FaultPoints {
    /// Which are active in this run.
    pub(crate) fn draw(choices: &mut Choices) -> FaultPoints {
        let weights = [(); POINTS].map(|()| {
            let drawn = choices.below(Part::Swarm, WEIGHTS.len() as u64);
            WEIGHTS[drawn as usize]
        });
        FaultPoints {
            weights,
            told: Arc::default(),
        }
    }

    /// The holder of a client.
    pub(crate) fn of_client(&self, choices: &Choices, process: ProcessId) -> Points {
        self.holder(choices, process.0)
    }

    /// The server's holder.
    pub(crate) fn of_server(&self, choices: &Choices) -> Points {
        self.holder(choices, SERVER)
    }

    fn active(&self) -> impl Iterator<Item = Point> {
        let is_active = |point: &Point| self.weights[*point as usize] > 0;
        Point::ALL.into_iter().filter(is_active)
    }

    fn holder(&self, choices: &Choices, process: u64) -> Points {
        let mut streams: [Option<Detached>; POINTS] = [const { None }; POINTS];
        for point in self.active() {
            let part = Part::Point(point as u8, process);
            streams[point as usize] = Some(choices.detached(part));
        }
        let (streams, weights) = (Mutex::new(streams), self.weights);
        let told = Arc::clone(&self.told);
        Points::new(self.active(), move |point| {
            if told.healed.load(Ordering::Relaxed) {
                return false;
            }
            let index = point as usize;
            let mut streams = streams.lock().unwrap_or_else(PoisonError::into_inner);
            let strikes = streams[index]
                .as_mut()
                .is_some_and(|stream| stream.strikes(weights[index], WEIGHT_MAX));
            if strikes {
                told.count[index].fetch_add(1, Ordering::Relaxed);
                if told.is_read.load(Ordering::Relaxed) {
                    let mut story = told.story.lock().unwrap_or_else(PoisonError::into_inner);
                    story.push((process, point));
                }
            }
            strikes
        })
    }

    /// None strikes from now on.
    pub(crate) fn heal(&self) {
        self.told.healed.store(true, Ordering::Relaxed);
    }

    /// From now on what strikes is kept for [`FaultPoints::story`].
    pub(crate) fn tell(&self) {
        self.told.is_read.store(true, Ordering::Relaxed);
    }

    /// What has struck since this was last asked, for the story, and where.
    pub(crate) fn story(&self) -> Vec<(Lane, Point)> {
        let mut story = self
            .told
            .story
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let line = |(process, point): (u64, Point)| {
            let lane = match process {
                SERVER => Lane::Server,
                process => Lane::Process(ProcessId(process)),
            };
            (lane, point)
        };
        story.drain(..).map(line).collect()
    }

    /// How often each struck so far.
    pub(crate) fn struck(&self) -> StruckPoints {
        let mut struck = StruckPoints::default();
        for point in 0..POINTS {
            struck.count[point] = self.told.count[point].load(Ordering::Relaxed);
            struck.active[point] = u64::from(self.weights[point] > 0);
        }
        struck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn active_points_strike_now_and_then_and_are_counted() {
        let mut weights = [0; POINTS];
        weights[Point::EvictEarly as usize] = WEIGHT_MAX / 2;
        let points = FaultPoints {
            weights,
            told: Arc::default(),
        };
        points.tell();
        let holder = points.of_server(&Choices::new(4));
        let struck = (0..100).filter(|_| holder.strike(Point::EvictEarly));
        let struck = struck.count() as u64;
        assert!((20..80).contains(&struck), "{struck}");
        assert!(!holder.strike(Point::AckAtOnce));
        let counted = points.struck();
        assert_eq!(counted.count[Point::EvictEarly as usize], struck);
        assert_eq!(counted.active.iter().sum::<u64>(), 1);
        assert_eq!(points.story().len() as u64, struck);
        points.heal();
        assert!((0..100).all(|_| !holder.strike(Point::EvictEarly)));
    }
}
