//! The simulated world: clock, event queue, processes and their threads.
//!
//! One world lives in a thread-local of the OS thread that runs it. The engine takes one event
//! after the other; an event delivers bytes, or wakes one simulated thread, which then runs until
//! its next scheduling point. The world is never borrowed while a simulated thread runs: the port
//! borrows it for the length of one call.

use crate::alone::Links;
use crate::choices::{Choices, Part};
use crate::coroutine::{self, Task};
use crate::events::{Event, Queued};
use crate::faults::{Fault, Faults};
use crate::history::{History, What};
use crate::keeper::KeeperHost;
use crate::points::FaultPoints;
use crate::port::SimParker;
use crate::seen::Seen;
use crate::server::ServerHost;
use crate::trace::{START, Trace};
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use zproc::seam::panics::exchange_depth;
use zproc::seam::proto::ids::ProcessId;
use zproc::seam::proto::time::Time;

/// A simulated thread, out of all that the world has had.
pub(crate) type ThreadId = usize;

/// Why a thread sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sleep {
    /// It does not: it runs, or its wake-up is queued.
    Awake,
    /// In `Parker::park`.
    Parked,
    /// In `Port::wait`, as the one who reads the connection.
    Waiting { link: usize, write: bool },
    /// It joins another thread of its process.
    Joining(ThreadId),
    /// It has ended.
    Ended,
}

/// A simulated thread.
pub(crate) struct Thread {
    pub(crate) process: ProcessId,
    /// Its place among the threads that its process ever had.
    pub(crate) place: u8,
    /// `None` while it runs, and when it is gone.
    task: Option<Task>,
    pub(crate) sleep: Sleep,
    /// Counts its sleeps, so that a wake-up for an earlier one is known.
    pub(crate) turn: u64,
    /// An `unpark` that no `park` has taken yet.
    pub(crate) token: bool,
    pub(crate) parker: Arc<SimParker>,
    /// Since when it sleeps.
    pub(crate) since: Time,
    /// How many captures of panics its stack is in.
    captures: u32,
}

/// A simulated process whose memory exists.
pub(crate) struct Process {
    pub(crate) threads: Vec<ThreadId>,
    /// Its connection now.
    pub(crate) link: Option<usize>,
    /// Its thread in `Port::wait`.
    pub(crate) waiter: Option<ThreadId>,
    /// A `Port::wake` that no `wait` has taken yet.
    pub(crate) woken: bool,
    /// It was asked to end.
    pub(crate) is_stopping: bool,
    /// Calls without a reply.
    pub(crate) in_flight: u64,
    /// How many times slower than others it is.
    pub(crate) slowness: u64,
    /// How far its clock is ahead of the world's.
    pub(crate) clock_ahead_ns: u64,
    /// None of its threads goes on before.
    pub(crate) paused_until: Time,
    /// A crash has struck it; it is taken apart as soon as none of its code runs.
    pub(crate) crashed: Option<i32>,
}

/// How far a run may go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Faults end after this many events.
    pub(crate) heal_after_events: u64,
    /// Everything must finish within so many events after that.
    pub(crate) events_after_heal: u64,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RunEnd {
    /// The program returned, and all that it had started is gone.
    Finished,
    /// Nothing could happen any more although somebody waited.
    Stuck,
    /// It went on and on after the faults had ended.
    Endless,
}

/// The world.
pub(crate) struct World {
    /// Tells this world from all others of the program.
    pub(crate) id: u64,
    pub(crate) now: Time,
    pub(crate) choices: Choices,
    pub(crate) faults: Faults,
    pub(crate) points: FaultPoints,
    pub(crate) trace: Trace,
    pub(crate) history: History,
    queue: BinaryHeap<Reverse<Queued>>,
    sequence: u64,
    /// Wake-ups of others that came while a thread was driving the world itself.
    deferred: Vec<Queued>,
    pub(crate) threads: Vec<Thread>,
    pub(crate) processes: BTreeMap<ProcessId, Process>,
    pub(crate) running: Option<ThreadId>,
    pub(crate) host: ServerHost,
    pub(crate) keeper: KeeperHost,
    /// The server stands alone, and these are the links to it.
    pub(crate) is_alone: bool,
    pub(crate) links: Links,
    bounds: Bounds,
    healed_at_events: Option<u64>,
    /// The program has returned.
    pub(crate) program_ended: bool,
    /// Processes that ever ran.
    pub(crate) processes_started: u64,
    /// Calls that were ever made.
    pub(crate) calls: u64,
    /// What the watchdog sees.
    pub(crate) progress: Arc<crate::watchdog::Progress>,
}

thread_local! {
    static WORLD: RefCell<Option<Box<World>>> = const { RefCell::new(None) };
}

/// Calls `f` with this OS thread's world; `None` when there is none.
///
/// # Panics
/// When the world is in use: a function that runs in the server has called into it.
pub(crate) fn with_any<R>(f: impl FnOnce(&mut World) -> R) -> Option<R> {
    WORLD.with(|slot| {
        let mut slot = slot.try_borrow_mut().unwrap_or_else(|_| {
            panic!(
                "zproc-sim: a function that runs in the server, or a serializer, called into the \
                 simulated world"
            )
        });
        let world = slot.as_deref_mut()?;
        let calm = !std::thread::panicking();
        let alarm = Alarm { calm };
        let result = f(world);
        drop(alarm);
        Some(result)
    })
}

thread_local! {
    /// The core or the engine has panicked under a simulated process, which may have caught it.
    static ALARMED: Cell<bool> = const { Cell::new(false) };
}

/// Notes a panic that begins while it is alive.
struct Alarm {
    calm: bool,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if self.calm && std::thread::panicking() {
            ALARMED.set(true);
        }
    }
}

/// Has there been a panic of the core or the engine since this was last asked?
pub(crate) fn take_alarm() -> bool {
    ALARMED.take()
}

/// Calls `f` with this OS thread's world.
///
/// # Panics
/// When this OS thread runs no world, with the name of the mistake.
pub(crate) fn with<R>(f: impl FnOnce(&mut World) -> R) -> R {
    with_any(f).unwrap_or_else(|| {
        panic!(
            "zproc-sim: called from an OS thread that is not part of the simulation (use \
             zproc_sim::thread::spawn for threads, and no context after its run has ended)"
        )
    })
}

/// Forgets the OS thread's world after a panic of the engine or of the core.
pub(crate) fn abandon() {
    let world = WORLD.with(|slot| slot.try_borrow_mut().ok().and_then(|mut slot| slot.take()));
    drop(world);
    exchange_depth(0);
}

/// What the engine does next.
enum Step {
    /// Run this thread until its next scheduling point.
    Resume(ThreadId, Task),
    /// Nothing ran; take the next event.
    Next,
    /// The run is over.
    End(RunEnd),
}

/// Runs the world until its program has ended or nothing more can happen, and gives it back.
pub(crate) fn run(world: Box<World>) -> (Box<World>, RunEnd) {
    WORLD.with(|slot| {
        let before = slot.borrow_mut().replace(world);
        assert!(before.is_none(), "one OS thread runs one world at a time");
    });
    let end = loop {
        match with(World::step) {
            Step::Resume(thread, mut task) => {
                let outer = exchange_depth(with(|world| world.threads[thread].captures));
                let ended = task.resume();
                let captures = exchange_depth(outer);
                with(|world| world.threads[thread].captures = captures);
                with(|world| world.came_back(thread, task, ended));
            }
            Step::Next => {}
            Step::End(end) => break end,
        }
    };
    let world = WORLD.with(|slot| slot.borrow_mut().take());
    (world.expect("the world was put there above"), end)
}

impl World {
    pub(crate) fn new(
        id: u64,
        choices: Choices,
        (faults, points): (Faults, FaultPoints),
        host: ServerHost,
        (is_alone, links): (bool, Links),
        bounds: Bounds,
    ) -> Box<World> {
        Box::new(World {
            id,
            now: START,
            choices,
            faults,
            points,
            trace: Trace::new(),
            history: History::default(),
            queue: BinaryHeap::new(),
            sequence: 0,
            deferred: Vec::new(),
            threads: Vec::new(),
            processes: BTreeMap::new(),
            running: None,
            host,
            keeper: KeeperHost::new(is_alone),
            is_alone,
            links,
            bounds,
            healed_at_events: None,
            program_ended: false,
            processes_started: 0,
            calls: 0,
            progress: Arc::default(),
        })
    }

    /// Queues `event`, to happen `delay_ns` from now.
    pub(crate) fn after(&mut self, delay_ns: u64, event: Event) {
        self.at(Time(self.now.0.saturating_add(delay_ns)), event);
    }

    /// Queues `event`.
    pub(crate) fn at(&mut self, time: Time, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse(Queued {
            time: time.max(self.now),
            sequence: self.sequence,
            event,
        }));
    }

    /// True when nothing is queued but the server's clock and deadlines that nobody waits for any
    /// more.
    fn is_quiet(&self) -> bool {
        self.queue.iter().all(|Reverse(queued)| match queued.event {
            Event::ServerTick | Event::KeeperTick => true,
            Event::Wake { thread, turn } => {
                let sleeper = &self.threads[thread];
                sleeper.turn != turn || sleeper.sleep == Sleep::Ended
            }
            _ => false,
        })
    }

    fn step(&mut self) -> Step {
        if self.program_ended && self.is_quiet() {
            return Step::End(RunEnd::Finished);
        }
        let Some(Reverse(queued)) = self.queue.pop() else {
            return Step::End(RunEnd::Stuck);
        };
        self.now = self.now.max(queued.time);
        if let Event::Wake { thread, turn } = queued.event {
            return self.step_wake(thread, turn, queued.event);
        }
        self.handle(queued.event);
        self.bounds_step()
    }

    fn step_wake(&mut self, thread: ThreadId, turn: u64, event: Event) -> Step {
        let sleeper = &mut self.threads[thread];
        if sleeper.turn != turn || sleeper.task.is_none() || sleeper.sleep == Sleep::Ended {
            return Step::Next;
        }
        if let Some(until) = self.is_paused(self.threads[thread].process) {
            self.at(until, event);
            return Step::Next;
        }
        let sleeper = &mut self.threads[thread];
        let task = sleeper.task.take().expect("it was just looked at");
        sleeper.sleep = Sleep::Awake;
        // A wake-up for this sleep that is still queued, its deadline for one, comes too late.
        sleeper.turn += 1;
        let process = sleeper.process;
        self.running = Some(thread);
        self.note_event(event);
        if let Some(story) = self.trace.story(self.now) {
            story.awake(process, thread);
        }
        self.progress.tick(process.0, thread);
        match self.bounds_step() {
            Step::Next => Step::Resume(thread, task),
            end => {
                self.threads[thread].task = Some(task);
                end
            }
        }
    }

    fn note_event(&mut self, event: Event) {
        let (kind, a, b) = event.parts();
        // First, since it tells what struck in the event before, at its time.
        self.tell_event(event);
        if let Some(story) = self.trace.story(self.now) {
            for (lane, point) in self.points.story() {
                story.fault_point(lane, point);
            }
        }
        self.trace.event(kind, self.now, a, b);
    }

    /// Ends the faults, or the run, when it is time.
    fn bounds_step(&mut self) -> Step {
        self.measure();
        let events = self.trace.events();
        match self.healed_at_events {
            None if events >= self.bounds.heal_after_events || !self.faults.is_active() => {
                self.heal();
            }
            Some(healed) if events - healed > self.bounds.events_after_heal => {
                return Step::End(RunEnd::Endless);
            }
            _ => {}
        }
        Step::Next
    }

    fn heal(&mut self) {
        self.faults.heal();
        self.points.heal();
        self.healed_at_events = Some(self.trace.events());
        for process in self.processes.values_mut() {
            process.slowness = 1;
        }
        self.widen_pipes();
        if let Some(story) = self.trace.story(self.now) {
            story.note(crate::story::Lane::World, "no more faults from here on");
        }
    }

    /// Handles an event that runs no simulated thread.
    fn handle(&mut self, event: Event) {
        self.note_event(event);
        match event {
            Event::Wake { .. } => unreachable!("wake-ups are the engine's"),
            Event::ToServer { link } => self.arrive_at_server(link),
            Event::ToClient { link } => self.arrive_at_client(link),
            Event::ServerTurn { link } => self.server_turn(link),
            Event::ServerWritable { link } => self.server_writable(link),
            Event::Hold { link, until } => self.hold(link, until),
            Event::ServerTick => self.server_tick(),
            Event::KeeperTurn => self.keeper_turn(),
            Event::KeeperTick => self.keeper_tick(),
            Event::Notice => self.keeper_notice(),
            Event::Reap { process, status } => self.keeper_reaps(process, status),
            Event::ProgramLost => self.keeper_misses_program(),
            Event::ServerLost => self.keeper_misses_server(),
            Event::KeeperLost => self.server_misses_keeper(),
            Event::LinkLost { root } => self.link_lost(root),
            Event::Interrupt => self.interrupt(),
            Event::StopBell => self.keeper_hears_bell(),
            Event::Kill { process } => self.signal(process),
        }
    }

    /// A thread is back in the engine's hands: it sleeps, or has ended.
    fn came_back(&mut self, thread: ThreadId, task: Task, ended: bool) {
        self.running = None;
        let process_id = self.threads[thread].process;
        if ended {
            drop(task);
            self.thread_ended(thread);
        } else {
            self.threads[thread].task = Some(task);
        }
        let crashed = self
            .processes
            .get(&process_id)
            .and_then(|process| process.crashed);
        if let Some(status) = crashed {
            self.process_died(process_id, status);
        }
    }

    fn thread_ended(&mut self, thread: ThreadId) {
        self.threads[thread].sleep = Sleep::Ended;
        let process_id = self.threads[thread].process;
        let Some(process) = self.processes.get(&process_id) else {
            return;
        };
        if process.threads.first() == Some(&thread) {
            // As when `main` returns: the other threads are gone, wherever they stand.
            let status = process.crashed.unwrap_or(0);
            self.process_died(process_id, status);
            return;
        }
        let joining: Vec<ThreadId> = (process.threads.iter().copied())
            .filter(|other| self.threads[*other].sleep == Sleep::Joining(thread))
            .collect();
        for other in joining {
            self.wake_thread(other);
        }
    }

    /// A new process with its main thread, which will run `body`.
    pub(crate) fn start_process(&mut self, process: ProcessId, body: impl FnOnce() + 'static) {
        let slowness = if self.strikes(Fault::SlowProcess, process) {
            self.choices
                .between(Part::Fault(Fault::SlowProcess, process.0), 10, 200)
        } else {
            1
        };
        let clock_ahead_ns = self.skew(process);
        if let Some(story) = self.trace.story(self.now) {
            story.born(process, slowness);
        }
        self.processes_started += 1;
        self.saw(process, Seen::Began { at: self.now });
        self.processes.insert(
            process,
            Process {
                threads: Vec::new(),
                link: None,
                waiter: None,
                woken: false,
                is_stopping: false,
                in_flight: 0,
                slowness,
                clock_ahead_ns,
                paused_until: Time::default(),
                crashed: None,
            },
        );
        self.start_thread(process, body);
    }

    /// A new thread of a process.
    pub(crate) fn start_thread(
        &mut self,
        process: ProcessId,
        body: impl FnOnce() + 'static,
    ) -> ThreadId {
        let thread = self.threads.len();
        let threads = self
            .processes
            .get(&process)
            .map_or(0, |of| of.threads.len());
        self.threads.push(Thread {
            process,
            place: u8::try_from(threads).unwrap_or(u8::MAX),
            task: Some(Task::new(body)),
            sleep: Sleep::Awake,
            turn: 0,
            token: false,
            parker: Arc::new(SimParker::new(self.id, thread)),
            since: self.now,
            captures: 0,
        });
        self.processes
            .get_mut(&process)
            .expect("a thread starts in a living process")
            .threads
            .push(thread);
        let delay_ns = self.wake_delay(thread);
        self.after(delay_ns, Event::Wake { thread, turn: 0 });
        thread
    }

    /// How long a runnable thread of `process` waits for a processor.
    fn wake_delay(&mut self, thread: ThreadId) -> u64 {
        let Thread { process, place, .. } = self.threads[thread];
        let delay_ns = 200 + self.choices.below(Part::Schedule(process.0, place), 20_000);
        delay_ns
            * self
                .processes
                .get(&process)
                .map_or(1, |process| process.slowness)
    }

    /// Wakes a thread that sleeps; does nothing to one that is awake.
    pub(crate) fn wake_thread(&mut self, thread: ThreadId) {
        let sleeper = &mut self.threads[thread];
        if matches!(sleeper.sleep, Sleep::Awake | Sleep::Ended) {
            return;
        }
        sleeper.sleep = Sleep::Awake;
        let turn = sleeper.turn;
        let delay_ns = self.wake_delay(thread);
        self.after(delay_ns, Event::Wake { thread, turn });
    }

    /// The running thread goes to sleep: the caller suspends it after this.
    pub(crate) fn fall_asleep(&mut self, sleep: Sleep, deadline: Option<Time>) {
        let thread = self.running.expect("a thread runs");
        let process = self.threads[thread].process;
        let crash = match process {
            ProcessId::PROGRAM => Fault::ProgramCrash,
            _ => Fault::Crash,
        };
        if self.strikes(crash, process) {
            self.crash_running(process, SIGKILL);
        }
        if process == ProcessId::PROGRAM && self.strikes(Fault::Interrupt, process) {
            self.after(1_000, Event::Interrupt);
        }
        self.maybe_lose_guests_keeper(process);
        self.maybe_pause(process);
        if let Some(story) = self.trace.story(self.now) {
            story.asleep(process, thread, sleep);
        }
        let sleeper = &mut self.threads[thread];
        sleeper.sleep = sleep;
        sleeper.turn += 1;
        sleeper.since = self.now;
        let turn = sleeper.turn;
        if sleep == Sleep::Awake {
            let delay_ns = self.wake_delay(thread);
            self.after(delay_ns, Event::Wake { thread, turn });
            return;
        }
        if let Some(deadline) = deadline {
            self.at(deadline, Event::Wake { thread, turn });
        }
        if self.strikes(Fault::SpuriousWake, process) {
            self.wake_thread(thread);
        }
    }

    /// Takes a process apart: its threads stop where they are, its connection closes, the keeper
    /// hears of it later. None of its code may be running.
    pub(crate) fn process_died(&mut self, process: ProcessId, status: i32) {
        let Some(dead) = self.processes.remove(&process) else {
            return;
        };
        for thread in dead.threads {
            self.threads[thread].sleep = Sleep::Ended;
            if let Some(task) = self.threads[thread].task.take() {
                task.crash();
            }
        }
        let unread = dead
            .link
            .map_or_else(Vec::new, |link| self.unread_requests(link));
        self.history.push(process, 0, What::Died { status, unread });
        self.saw(process, Seen::Gone { at: self.now });
        if let Some(story) = self.trace.story(self.now) {
            story.ended(process, status);
        }
        if let Some(link) = dead.link {
            self.client_closed(link);
        }
        if process == ProcessId::PROGRAM {
            self.program_ended = true;
            self.after(1_000, Event::ProgramLost);
        } else {
            self.keeper_hears_of(process, status);
        }
    }

    /// Processes that have not ended.
    pub(crate) fn alive(&self) -> impl Iterator<Item = ProcessId> {
        self.processes.keys().copied()
    }

    /// One event on behalf of a thread that may not be suspended, because it is unwinding and the
    /// OS thread counts its panic. True when the thread may go on.
    fn step_inline(&mut self, thread: ThreadId) -> bool {
        let Some(Reverse(queued)) = self.queue.pop() else {
            // Printing and aborting is all that is left: unwinding out of a destructor aborts too.
            eprintln!(
                "zproc-sim: process {} waits for ever in a destructor while it panics",
                self.threads[thread].process
            );
            std::process::abort();
        };
        self.now = self.now.max(queued.time);
        match queued.event {
            Event::Wake {
                thread: woken,
                turn,
            } if woken == thread => {
                let sleeper = &mut self.threads[thread];
                if sleeper.turn == turn {
                    sleeper.sleep = Sleep::Awake;
                    sleeper.turn += 1;
                    self.note_event(queued.event);
                    return true;
                }
            }
            Event::Wake { .. } => self.deferred.push(queued),
            Event::Kill { process } if process == self.threads[thread].process => {
                self.deferred.push(queued);
            }
            event => self.handle(event),
        }
        false
    }

    fn requeue_deferred(&mut self) {
        for queued in std::mem::take(&mut self.deferred) {
            self.queue.push(Reverse(queued));
        }
    }
}

/// The signal's number, which is its wait status too.
pub(crate) const SIGKILL: i32 = 9;

impl Drop for World {
    fn drop(&mut self) {
        for thread in &mut self.threads {
            if let Some(task) = thread.task.take() {
                task.crash();
            }
        }
    }
}

/// Suspends the running thread, which has fallen asleep.
pub(crate) fn pause() {
    if !std::thread::panicking() {
        coroutine::suspend();
        return;
    }
    let thread = with(|world| world.running.expect("a thread runs"));
    while !with(|world| world.step_inline(thread)) {}
    with(World::requeue_deferred);
}

/// A scheduling point where the thread would not have to wait: with some luck it goes on.
pub(crate) fn maybe_preempt() {
    let preempted = !std::thread::panicking()
        && coroutine::is_inside()
        && with(|world| {
            let Some(thread) = world.running else {
                return false;
            };
            let process = world.threads[thread].process;
            let strikes = world.strikes(Fault::Preemption, process);
            if strikes {
                world.fall_asleep(Sleep::Awake, None);
            }
            strikes
        });
    if preempted {
        pause();
    }
}
