//! The simulated port: the client's window to the world.

use crate::choices::Part;
use crate::faults::Fault;
use crate::world::{self, Sleep, ThreadId, World};
use std::io::{Error, ErrorKind};
use std::sync::Arc;
use zproc::seam::proto::ids::ProcessId;
use zproc::seam::proto::points::Points;
use zproc::seam::proto::time::Time;
use zproc::seam::runtime::{ConnectError, LinkId, Observation, Parker, Port, Ready, ThreadNumber};

/// One process's port.
pub(crate) struct SimPort {
    world: u64,
    process: ProcessId,
}

impl SimPort {
    pub(crate) fn new(world: u64, process: ProcessId) -> SimPort {
        SimPort { world, process }
    }

    /// Calls `f` with the world that this port belongs to.
    ///
    /// # Panics
    /// When the caller is not one of its simulated threads.
    fn with<R>(&self, f: impl FnOnce(&mut World) -> R) -> R {
        world::with(|world| {
            assert!(
                world.id == self.world,
                "zproc-sim: a context of another simulation was used"
            );
            f(world)
        })
    }

    /// The link, if it is the process's present one.
    fn link(&self, world: &World, link: LinkId) -> Option<usize> {
        let index = usize::try_from(link.0).ok()?;
        let process = world.processes.get(&self.process)?;
        (process.link == Some(index)).then_some(index)
    }

    fn readiness(world: &World, link: usize, write: bool) -> Ready {
        let link = &world.host.links[link];
        Ready {
            readable: link.to_client.readable() > 0 || link.to_client.at_end(),
            writable: write && (link.to_server.room() > 0 || link.to_server.is_closed()),
        }
    }

    /// Falls asleep in `wait`, unless there is a reason not to.
    fn start_waiting(&self, link: LinkId, write: bool, deadline: Option<Time>) -> Option<Ready> {
        self.with(|world| {
            let Some(index) = self.link(world, link) else {
                return Some(Ready {
                    readable: true,
                    writable: write,
                });
            };
            let ready = Self::readiness(world, index, write);
            let deadline = deadline.map(|at| world.when_shown(self.process, at));
            let now = world.now;
            let thread = world.running.expect("a simulated thread waits");
            let process = world
                .processes
                .get_mut(&self.process)
                .expect("the process of the caller lives");
            let woken = std::mem::take(&mut process.woken);
            let late = deadline.is_some_and(|deadline| deadline <= now);
            if woken || late || ready.readable || ready.writable {
                return Some(ready);
            }
            process.waiter = Some(thread);
            world.fall_asleep(Sleep::Waiting { link: index, write }, deadline);
            None
        })
    }
}

fn gone() -> Error {
    Error::from(ErrorKind::NotConnected)
}

impl Port for SimPort {
    fn connect(&self) -> Result<LinkId, ConnectError> {
        world::maybe_preempt();
        self.with(|world| {
            if let Some(loss) = &world.host.loss {
                return Err(ConnectError::Gone(loss.clone()));
            }
            if world.strikes(Fault::Refusal, self.process) {
                if let Some(story) = world.trace.story(world.now) {
                    story.fault(
                        self.process.into(),
                        Fault::Refusal,
                        "its connect is refused",
                    );
                }
                return Err(ConnectError::Refused(Error::from(
                    ErrorKind::ConnectionRefused,
                )));
            }
            let old = world
                .processes
                .get_mut(&self.process)
                .and_then(|process| process.link.take());
            if let Some(old) = old {
                world.client_closed(old);
            }
            let link = world.open_link(self.process);
            if let Some(process) = world.processes.get_mut(&self.process) {
                process.link = Some(link);
            }
            Ok(LinkId(link as u64))
        })
    }

    fn disconnect(&self, link: LinkId) {
        self.with(|world| {
            if let Some(index) = self.link(world, link) {
                if let Some(process) = world.processes.get_mut(&self.process) {
                    process.link = None;
                }
                world.client_closed(index);
            }
        });
    }

    fn try_read(&self, link: LinkId, buffer: &mut [u8]) -> std::io::Result<usize> {
        world::maybe_preempt();
        self.with(|world| {
            let index = self.link(world, link).ok_or_else(gone)?;
            let readable = world.host.links[index].to_client.readable();
            if readable == 0 {
                let link = &world.host.links[index];
                return match (link.to_client.at_end(), link.broken) {
                    (true, true) => Err(Error::from(ErrorKind::ConnectionReset)),
                    (true, false) => Ok(0),
                    (false, _) => Err(Error::from(ErrorKind::WouldBlock)),
                };
            }
            let mut count = readable.min(buffer.len());
            if count > 1 && world.strikes(Fault::PartialRead, self.process) {
                count = world.choices.between(
                    Part::Fault(Fault::PartialRead, self.process.0),
                    1,
                    count as u64 - 1,
                ) as usize;
            }
            let pipe = &mut world.host.links[index].to_client;
            pipe.read_into(&mut buffer[..count]);
            world.room_for_server(index);
            Ok(count)
        })
    }

    fn try_write(&self, link: LinkId, bytes: &[u8]) -> std::io::Result<usize> {
        world::maybe_preempt();
        self.with(|world| {
            let index = self.link(world, link).ok_or_else(gone)?;
            let link = &world.host.links[index];
            if link.to_server.is_closed() || link.to_client.is_closed() {
                return Err(Error::from(ErrorKind::BrokenPipe));
            }
            let mut count = link.to_server.room().min(bytes.len());
            if count == 0 {
                return Err(Error::from(ErrorKind::WouldBlock));
            }
            if count > 1 && world.strikes(Fault::PartialWrite, self.process) {
                count = world.choices.between(
                    Part::Fault(Fault::PartialWrite, self.process.0),
                    1,
                    count as u64 - 1,
                ) as usize;
            }
            world.client_writes(index, &bytes[..count]);
            Ok(count)
        })
    }

    fn wait(&self, link: LinkId, write: bool, deadline: Option<Time>) -> Ready {
        world::maybe_preempt();
        if let Some(ready) = self.start_waiting(link, write, deadline) {
            return ready;
        }
        world::pause();
        self.with(|world| {
            if let Some(process) = world.processes.get_mut(&self.process) {
                process.waiter = None;
                process.woken = false;
            }
            match self.link(world, link) {
                Some(index) => Self::readiness(world, index, write),
                None => Ready {
                    readable: true,
                    writable: write,
                },
            }
        })
    }

    fn is_stopping(&self) -> bool {
        self.with(|world| {
            let process = world.processes.get(&self.process);
            process.is_some_and(|process| process.is_stopping)
        })
    }

    fn wake(&self) {
        self.with(|world| {
            let Some(process) = world.processes.get_mut(&self.process) else {
                return;
            };
            process.woken = true;
            if let Some(waiter) = process.waiter {
                world.wake_thread(waiter);
            }
        });
    }

    fn thread(&self) -> ThreadNumber {
        let running = self.with(|world| world.running);
        ThreadNumber(running.expect("a simulated thread asks who it is") as u64)
    }

    fn parker(&self) -> Arc<dyn Parker> {
        self.with(|world| {
            let thread = world
                .running
                .expect("a simulated thread asks for its parker");
            Arc::clone(&world.threads[thread].parker) as Arc<dyn Parker>
        })
    }

    fn now(&self) -> Time {
        self.with(|world| world.process_now(self.process))
    }

    fn random(&self) -> u64 {
        self.with(|world| world.choices.below(Part::Port(self.process.0), u64::MAX))
    }

    fn points(&self) -> Points {
        self.with(|world| world.points.of_client(&world.choices, self.process))
    }

    fn observe(&self, observation: Observation<'_>) {
        self.with(|world| {
            let thread = world.running.unwrap_or(0);
            if let Some(process) = world.processes.get_mut(&self.process) {
                match observation {
                    Observation::Called { .. } => {
                        process.in_flight += 1;
                        world.calls += 1;
                    }
                    Observation::Updated { .. }
                    | Observation::Unwatched { .. }
                    | Observation::Unlocked { .. }
                    | Observation::Released { .. }
                    | Observation::Ran(_) => {}
                    Observation::Returned { .. }
                    | Observation::Unknown { .. }
                    | Observation::NotSent { .. } => {
                        process.in_flight = process.in_flight.saturating_sub(1);
                    }
                }
            }
            if let Some(story) = world.trace.story(world.now) {
                story.observed(self.process, thread, &observation);
            }
            world.history.observe(self.process, thread, &observation);
        });
        if !matches!(observation, Observation::Called { .. }) {
            crate::lives::maybe_exit();
        }
    }
}

/// One simulated thread's place to sleep.
pub(crate) struct SimParker {
    world: u64,
    thread: ThreadId,
}

impl SimParker {
    pub(crate) fn new(world: u64, thread: ThreadId) -> SimParker {
        SimParker { world, thread }
    }
}

impl Parker for SimParker {
    fn park(&self, deadline: Option<Time>) {
        let asleep = world::with(|world| {
            assert!(
                world.id == self.world && world.running == Some(self.thread),
                "zproc-sim: a thread parked in another thread's place"
            );
            let process = world.threads[self.thread].process;
            let deadline = deadline.map(|at| world.when_shown(process, at));
            let now = world.now;
            let thread = &mut world.threads[self.thread];
            let late = deadline.is_some_and(|deadline| deadline <= now);
            if std::mem::take(&mut thread.token) || late {
                return false;
            }
            world.fall_asleep(Sleep::Parked, deadline);
            true
        });
        if asleep {
            world::pause();
            world::with(|world| world.threads[self.thread].token = false);
        } else {
            world::maybe_preempt();
        }
    }

    fn unpark(&self) {
        world::with(|world| {
            world.threads[self.thread].token = true;
            if world.threads[self.thread].sleep == Sleep::Parked {
                world.wake_thread(self.thread);
            }
        });
    }
}
