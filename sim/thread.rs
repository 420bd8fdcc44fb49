//! Threads of the processes that workloads run in, and what else a workload asks of its world.
//!
//! In a simulated process the simulator answers. In a real one that records (`real.rs`) there
//! are threads of the system, sleeps, and draws from the run's seed.

use crate::choices::Part;
use crate::faults::Fault;
use crate::history::{Note, What};
use crate::real;
use crate::world::{self, Sleep, ThreadId};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A thread that can be joined.
pub struct JoinHandle<T>(Handle<T>);

enum Handle<T> {
    Simulated {
        thread: ThreadId,
        result: Arc<Mutex<Option<std::thread::Result<T>>>>,
    },
    Real(std::thread::JoinHandle<T>),
}

/// Starts a thread in the calling simulated process, in place of `std::thread::spawn`. It ends with
/// its process.
///
/// # Panics
/// When the caller is not part of a simulation.
pub fn spawn<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    if real::is_here() {
        return JoinHandle(Handle::Real(real::spawn(body)));
    }
    let result = Arc::new(Mutex::new(None));
    let slot = Arc::clone(&result);
    let thread = world::with(|world| {
        let process = world.threads[running(world)].process;
        world.start_thread(process, move || {
            let ended = std::panic::catch_unwind(AssertUnwindSafe(body));
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended);
        })
    });
    JoinHandle(Handle::Simulated { thread, result })
}

impl<T> JoinHandle<T> {
    /// Waits for its end.
    ///
    /// # Errors
    /// The payload of its panic.
    ///
    /// # Panics
    /// When the caller is not part of the thread's simulation.
    pub fn join(self) -> std::thread::Result<T> {
        match self.0 {
            Handle::Real(handle) => handle.join(),
            Handle::Simulated { thread, result } => {
                wait_for(thread);
                let mut result = result.lock().unwrap_or_else(PoisonError::into_inner);
                result.take().expect("an ended thread has left its result")
            }
        }
    }
}

/// Waits for the end of a simulated thread.
fn wait_for(thread: ThreadId) {
    loop {
        let ended = world::with(|world| {
            let ended = world.threads[thread].sleep == Sleep::Ended;
            if !ended {
                world.fall_asleep(Sleep::Joining(thread), None);
            }
            ended
        });
        if ended {
            return;
        }
        world::pause();
    }
}

fn running(world: &world::World) -> ThreadId {
    world
        .running
        .expect("zproc-sim: only a simulated thread can ask for this")
}

/// A number below `below`, drawn for the calling process: use it in place of a random one.
///
/// # Panics
/// When the caller is not part of a simulation.
#[must_use]
pub fn choose(below: u64) -> u64 {
    if real::is_here() {
        return real::choose(below);
    }
    world::with(|world| {
        let thread = &world.threads[running(world)];
        let part = Part::Workload(thread.process.0, thread.place);
        world.choices.below(part, below)
    })
}

/// A number below `below`, drawn for the member of a program's crew that has this place: a member
/// can then be taken out of a run without a change to what the others do.
pub(crate) fn choose_for(place: u64, below: u64) -> u64 {
    if real::is_here() {
        return real::choose_for(place, below);
    }
    world::with(|world| world.choices.below(Part::Crew(place), below))
}

/// The number of the calling thread among all that its run has had.
pub(crate) fn number() -> u64 {
    if real::is_here() {
        return real::number();
    }
    world::with(|world| running(world) as u64)
}

/// How long the calling simulation has run, in truth, whatever the clocks of processes say; outside of
/// simulations nothing.
pub(crate) fn elapsed_ns() -> u64 {
    world::with_any(|world| world.now.0).unwrap_or(0)
}

/// Sleeps for so many nanoseconds of its world's time.
///
/// # Panics
/// When the caller is not part of a simulation.
pub fn sleep_ns(duration_ns: u64) {
    if real::is_here() {
        return std::thread::sleep(Duration::from_nanos(duration_ns));
    }
    let deadline = world::with(|world| world.now.after(Duration::from_nanos(duration_ns)));
    loop {
        let early = world::with(|world| {
            let early = world.now < deadline;
            if early {
                let thread = running(world);
                if let Some(story) = world.trace.story(world.now) {
                    story.naps(world.threads[thread].process, thread);
                }
                world.fall_asleep(Sleep::Parked, Some(deadline));
            }
            early
        });
        if !early {
            return;
        }
        world::pause();
    }
}

/// Does this fault strike the calling process here? For those that a workload acts out.
pub(crate) fn strikes(fault: Fault) -> bool {
    if real::is_here() {
        return real::strikes(fault);
    }
    world::with(|world| {
        let process = world.threads[running(world)].process;
        world.strikes(fault, process)
    })
}

/// Puts what a workload has seen into the history, for the checkers.
pub(crate) fn note(note: Note) {
    if real::is_here() {
        return real::note(&note);
    }
    world::with(|world| {
        let thread = running(world);
        let process = world.threads[thread].process;
        if let Note::Broken {
            guarantee,
            explanation,
        } = &note
            && let Some(story) = world.trace.story(world.now)
        {
            story.broken(process, guarantee, explanation);
        }
        world.history.push(process, thread, What::Note(note));
    });
}
