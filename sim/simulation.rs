//! One run from one seed: set up, run, judge, report.

use crate::alone::{self, GUEST, Links};
use crate::checkers::{self, Ending, Violation};
use crate::choices::{Choice, Choices, Otherwise, Part};
use crate::faults::{Fault, Faults, Struck};
use crate::limits;
use crate::points::{FaultPoints, StruckPoints};
use crate::process::{self, BUILD, Outcome, Program};
use crate::seen::Seen;
use crate::server::ServerHost;
use crate::story::Sink;
use crate::watchdog;
use crate::world::{self, Bounds, RunEnd, World};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use zproc::Context;
use zproc::seam::ShippedFunctions;
use zproc::seam::panics;
use zproc::seam::proto::ids::{ProcessId, Token};
use zproc::seam::proto::limits::CREDIT_BYTES_MIN;
use zproc::seam::proto::server::{Config, Server};

/// How a program is run.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Options {
    /// Which faults the run has is drawn from the seed; false: it has none.
    pub faults: bool,
    /// Processes may crash, or fail to start, too; false: only the network, the schedule and the
    /// speed of processes are bad.
    pub crashes: bool,
    /// What all stand on may be lost, too, or be taken for lost when a clock jumps: then calls fail
    /// with `is_server_lost` and the like, and a session's keys are gone.
    pub losses: bool,
    /// All limits of the server as in production; false: some runs draw smaller ones, so that the
    /// update log wraps and sessions are lost.
    pub usual_limits: bool,
    /// Where atomic functions and conditions run that capture nothing, and how often.
    pub functions: Functions,
}

/// Where atomic functions and conditions run that capture nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Functions {
    /// In the server.
    #[default]
    InServer,
    /// In their callers, as where the server runs none.
    InCaller,
    /// In the server, each twice on the same state: see `ContextBuilder::run_functions_twice`.
    Twice,
    /// In their callers, likewise.
    TwiceInCaller,
    /// As drawn from the seed.
    Drawn,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            faults: true,
            crashes: true,
            losses: false,
            usual_limits: true,
            functions: Functions::InServer,
        }
    }
}

/// What came of a run.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// The seed that brings it back.
    pub seed: u64,
    /// What the program's function returned: its error or panic as text.
    pub outcome: Result<(), String>,
    /// Guarantees of zproc that did not hold. One is a bug in zproc.
    pub violations: Vec<Violation>,
    /// Who waited for what when the run could not go on; empty if all finished.
    pub waiting: Vec<String>,
    /// The rolling hash over all events: the same for the same seed and the same program.
    pub hash: u64,
    /// Events: deliveries of bytes and wake-ups.
    pub events: u64,
    /// Calls of the api's requests.
    pub operations: u64,
    /// Processes that ran, the program among them.
    pub processes: u64,
    /// How often each fault struck.
    pub struck: Struck,
    /// How often each fault point in the code struck.
    pub struck_points: StruckPoints,
    /// How many observations were judged, by guarantee.
    pub judged: BTreeMap<&'static str, u64>,
    /// How long the run took in simulated time.
    pub simulated: Duration,
}

impl Report {
    /// True when every guarantee that is judged here held and the program finished.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty() && self.waiting.is_empty()
    }
}

/// Runs `program` in a simulated world of its own, with faults drawn from `seed`.
///
/// `program` is the body of the program's `main`, given the context that `Context::new` would give.
/// It may spawn processes and do whatever else the api offers; see the crate's docs for what it
/// must not do. The real server, client and api run, and the guarantees are checked on all that
/// they do.
///
/// # Panics
/// When it is called inside a simulation.
pub fn run(seed: u64, program: impl FnOnce(&Context) -> zproc::Result<()> + 'static) -> Report {
    run_with(seed, Options::default(), program)
}

/// As [`run`], with options.
///
/// # Panics
/// When it is called inside a simulation.
pub fn run_with(
    seed: u64,
    options: Options,
    program: impl FnOnce(&Context) -> zproc::Result<()> + 'static,
) -> Report {
    let setup = Setup {
        seed,
        options,
        only: None,
        feed: Vec::new(),
        otherwise: Otherwise::Drawn,
        record: false,
        story: None,
    };
    simulate(setup, Box::new(program)).0
}

/// Where the story of a run goes; and whether the hash after each event is in it.
pub(crate) type Story = (Sink, bool);

/// All that a run is made from.
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) options: Options,
    /// These faults alone may strike, whatever else is drawn.
    pub(crate) only: Option<&'static [Fault]>,
    /// Choices that are given.
    pub(crate) feed: Vec<Choice>,
    /// What all others are.
    pub(crate) otherwise: Otherwise,
    /// Keep the choices.
    pub(crate) record: bool,
    pub(crate) story: Option<Story>,
}

/// Worlds are numbered, so that a context of one is not taken for another's.
static WORLDS: AtomicU64 = AtomicU64::new(0);

/// One run. The choices are given back if they were to be kept.
pub(crate) fn simulate(setup: Setup, program: Program) -> (Report, Vec<Choice>) {
    panics::install(panics::Options {
        backtraces: false,
        print: false,
    });
    let mut choices = Choices::given(&setup.feed, setup.otherwise, setup.seed);
    if setup.record {
        choices.record();
    }
    let outcome: Outcome = Rc::new(RefCell::new(None));
    let (mut world, key, guests_key) = build(choices, &setup);
    let is_seed = setup.feed.is_empty() && setup.otherwise == Otherwise::Drawn;
    watchdog::watch(is_seed.then_some(setup.seed), &world.progress);
    if let Some((sink, hashes)) = setup.story {
        world.trace.tell(sink, hashes);
        world.points.tell();
    }
    let (id, slot) = (world.id, Rc::clone(&outcome));
    world.start_process(ProcessId::PROGRAM, move || {
        process::program(id, key, program, &slot);
    });
    if let Some(key) = guests_key {
        world.saw(GUEST, Seen::Guest);
        world.start_process(GUEST, move || process::guest(id, key));
    }
    let (mut world, end) = world::run(world);
    // What follows takes as long as it takes.
    world.progress = Arc::default();
    if let Some(story) = world.trace.story(world.now) {
        story.finish(&world.faults.struck());
    }
    report(setup.seed, &mut world, end, &outcome)
}

/// The world, and the secrets of its program and, if there is one, of its guest.
fn build(mut choices: Choices, setup: &Setup) -> (Box<World>, Token, Option<Token>) {
    let options = setup.options;
    let seed = [(); 2].map(|()| choices.below(Part::Server, u64::MAX));
    let is_alone = !options.usual_limits && setup.only.is_none() && alone::draw(&mut choices);
    let mut config = Config::new(BUILD, PROGRAM_KEY, seed);
    if is_alone {
        config.program_key = None;
    }
    config.pid = crate::keeper::SERVER_PID;
    config.record_commits = true;
    if !options.usual_limits {
        config.limits = limits::draw(&mut choices);
        if choices.below(Part::Swarm, 4) == 3 {
            // The least that there may be.
            config.limits.history_bytes_max = CREDIT_BYTES_MIN as usize;
        }
        if choices.below(Part::Swarm, 4) == 3 {
            let grace_us = [50_000, 10_000, 2_000, 500];
            let drawn = choices.below(Part::Swarm, 4) as usize;
            config.session_grace = Duration::from_micros(grace_us[drawn]);
        }
    }
    let (mut faults, points) = match setup.only {
        Some(only) => (Faults::only(only), FaultPoints::default()),
        None if options.faults => (Faults::draw(&mut choices), FaultPoints::draw(&mut choices)),
        None => (Faults::none(), FaultPoints::default()),
    };
    let bounds = Bounds {
        heal_after_events: choices.between(Part::Swarm, 1_000, 12_000),
        events_after_heal: 400_000,
    };
    if setup.only.is_none() && options.faults {
        faults.draw_late(&mut choices);
    }
    if !options.usual_limits && choices.below(Part::Swarm, 4) == 3 {
        let lease_us = [10_000, 1_000, 200];
        let drawn = choices.below(Part::Swarm, 3) as usize;
        config.lease_time = Duration::from_micros(lease_us[drawn]);
    }
    let (here, twice) = match options.functions {
        Functions::InServer => (false, false),
        Functions::InCaller => (true, false),
        Functions::Twice => (false, true),
        Functions::TwiceInCaller => (true, true),
        Functions::Drawn => {
            let mut draw = |below| choices.below(Part::Swarm, below) == below - 1;
            (draw(3), draw(5))
        }
    };
    config.runs_functions = !here;
    config.runs_functions_twice = twice;
    faults.spare(!options.crashes, !options.losses);
    let limits = config.limits;
    let mut server = Server::new(config, Box::new(ShippedFunctions), crate::trace::START);
    let id = WORLDS.fetch_add(1, Ordering::Relaxed);
    let mut links = Links::default();
    let (mut key, mut guests_key) = (PROGRAM_KEY, None);
    if is_alone {
        let mut join = || links.join(&mut server, crate::trace::START);
        let (program, guest) = (join(), join());
        assert_eq!((program.0, guest.0), (ProcessId::PROGRAM, GUEST));
        let comes = !alone::draw_silent(&mut choices);
        (key, guests_key) = (program.1, comes.then_some(guest.1));
    }
    server.set_points(points.of_server(&choices));
    let host = ServerHost::new(server, limits, !here);
    let links = (is_alone, links);
    let world = World::new(id, choices, (faults, points), host, links, bounds);
    (world, key, guests_key)
}

/// The program's secret. It guards nothing here.
const PROGRAM_KEY: Token = Token([0x7072_6f67, 0x7261_6d00]);

fn report(seed: u64, world: &mut World, end: RunEnd, outcome: &Outcome) -> (Report, Vec<Choice>) {
    let finished = end == RunEnd::Finished;
    let ending = Ending {
        end,
        limits: world.host.limits,
        has_points: world.points.struck().active.contains(&1),
        alive: world.alive().collect(),
        waiting: if finished {
            Vec::new()
        } else {
            world.waiting()
        },
    };
    world.judge_silent_guest();
    let history = std::mem::take(&mut world.history);
    let verdict = checkers::check(&history, &ending);
    let mut violations = verdict.violations;
    if world::take_alarm() {
        violations.push(Violation {
            guarantee: checkers::NO_SURPRISE,
            explanation: "the core or the simulator panicked under a simulated process".into(),
        });
    }
    let result = outcome.borrow_mut().take();
    let report = Report {
        seed,
        outcome: result.unwrap_or_else(|| Err("it did not return".to_owned())),
        violations,
        waiting: ending.waiting,
        hash: world.trace.hash(),
        events: world.trace.events(),
        operations: world.calls,
        processes: world.processes_started,
        struck: world.faults.struck(),
        struck_points: world.points.struck(),
        judged: verdict.judged,
        simulated: world.now.since(crate::trace::START),
    };
    (report, world.choices.recorded())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workloads;

    fn run(seed: u64, feed: Option<Vec<Choice>>, record: bool) -> (Report, Vec<Choice>) {
        let setup = Setup {
            seed,
            options: Options::default(),
            only: None,
            otherwise: if feed.is_some() {
                Otherwise::Zero
            } else {
                Otherwise::Drawn
            },
            feed: feed.unwrap_or_default(),
            record,
            story: None,
        };
        simulate(setup, Box::new(workloads::program))
    }

    #[test]
    fn a_recording_brings_the_run_back() {
        for seed in 0..5 {
            let (first, recording) = run(seed, None, true);
            assert!(recording.len() > 100);
            let (again, _) = run(seed + 100, Some(recording), false);
            assert_eq!((again.hash, again.events), (first.hash, first.events));
        }
    }

    #[test]
    fn a_cut_recording_is_a_run_too() {
        let (_, mut recording) = run(1, None, true);
        recording.truncate(recording.len() / 2);
        let (cut, _) = run(0, Some(recording), false);
        assert!(cut.violations.is_empty(), "{:?}", cut.violations);
    }

    #[test]
    fn a_story_does_not_change_the_run() {
        let (silent, _) = run(3, None, false);
        let lines = Rc::new(RefCell::new(0));
        let count = Rc::clone(&lines);
        let sink = Box::new(move |_| *count.borrow_mut() += 1);
        let setup = Setup {
            seed: 3,
            options: Options::default(),
            only: None,
            feed: Vec::new(),
            otherwise: Otherwise::Drawn,
            record: false,
            story: Some((sink, true)),
        };
        let (told, _) = simulate(setup, Box::new(workloads::program));
        assert_eq!(told.hash, silent.hash);
        assert!(*lines.borrow() > 500);
    }
}
