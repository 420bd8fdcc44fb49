//! The simulator's workloads on real processes, killed by real SIGKILLs at seeded points, recorded,
//! and judged by the simulator's checkers.
//!
//! The program is this very test binary, started again to run [`program`] alone with the run's seed
//! in its environment. Who dies where is drawn from the seed as well, in records of its own: the
//! schedule is the machine's, so a seed does not bring a run back, but it brings back its points.
//!
//! `ZPROC_REAL_SECONDS=600` runs new seeds for that long; `ZPROC_REAL_FROM` says with which to begin.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use zproc::seam::record::{DEATHS, DIRECTORY};
use zproc_sim::GUARANTEES;
use zproc_sim::real::{self, Ended, Judgement, Recording, SEED, TAMPERS, Tally, Tamper};

/// Seeds of the short form.
const SEEDS: u64 = 60;
/// A run takes a second or two; a machine may be busy.
const RUN_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the rest of a tree may take to go when its program is gone.
const END_TIMEOUT: Duration = Duration::from_secs(30);

const EXIT_LOST: i32 = 3;
const SIGKILL: i32 = 9;

/// Not a test of its own: the program that the others start.
#[test]
fn program() {
    if std::env::var_os(SEED).is_none() {
        return;
    }
    match real::program() {
        Ok(Ended::Finished) => {}
        Ok(Ended::Lost) => std::process::exit(EXIT_LOST),
        Err(error) => panic!("{error:#}"),
    }
}

/// A run of one seed, when nothing is left of it.
struct Run {
    seed: u64,
    place: TempDir,
    /// None: it hung, and was killed.
    status: Option<ExitStatus>,
    recording: Recording,
}

impl Run {
    fn new(seed: u64) -> Run {
        let place = tempfile::tempdir().expect("a temporary directory");
        let (records, runtime) = (place.path().join("records"), place.path().join("runtime"));
        fs::create_dir(&records).expect("a directory");
        fs::create_dir(&runtime).expect("a directory");
        let stderr = File::create(place.path().join("stderr")).expect("a file");
        let mut program = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "program", "--nocapture", "--test-threads=1"])
            .env(SEED, seed.to_string())
            .env(DIRECTORY, &records)
            .env(DEATHS, real::deaths(seed))
            .env("XDG_RUNTIME_DIR", &runtime)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .expect("this test starts again");
        let pid = i32::try_from(program.id()).expect("a pid");
        let ended = has_ended_within(pid, RUN_TIMEOUT);
        if !ended {
            program.kill().expect("it is a child of ours");
        }
        let status = program.wait().expect("it is a child of ours");
        wait_for_the_rest(&records);
        let left = fs::read_dir(&runtime).expect("a directory").count();
        assert_eq!(left, 0, "seed {seed} leaves its socket's directory behind");
        Run {
            seed,
            recording: Recording::load(&records).unwrap_or_else(|error| {
                let place = place.path().to_path_buf();
                panic!("seed {seed}: {error} (in {})", place.display())
            }),
            place,
            status: ended.then_some(status),
        }
    }

    /// What is wrong with how the program ended.
    fn complaint(&self) -> Option<String> {
        let Some(status) = self.status else {
            return Some(format!("it did not end within {RUN_TIMEOUT:?}"));
        };
        let killed = |name| self.recording.tally().killed.contains_key(name);
        let fits = match (status.code(), status.signal()) {
            (Some(0), _) => true,
            (Some(EXIT_LOST), _) => killed("server") || killed("keeper"),
            (_, Some(SIGKILL)) => killed("program"),
            _ => false,
        };
        (!fits).then(|| format!("the program ended with {status}"))
    }

    fn judge(&self) -> Judgement {
        self.recording.judge(self.status.is_none())
    }
}

/// Waits for the end of a process; one that is not there has ended.
fn has_ended_within(pid: i32, limit: Duration) -> bool {
    let pid = Pid::from_raw(pid).expect("a pid is no zero");
    let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) else {
        return true;
    };
    let timeout = Timespec::try_from(limit).expect("a short time");
    let mut watched = [PollFd::from_borrowed_fd(descriptor.as_fd(), PollFlags::IN)];
    poll(&mut watched, Some(&timeout)).expect("poll") > 0
}

/// Waits until nothing is left of the tree that records there.
fn wait_for_the_rest(records: &Path) {
    let mark = format!("{DIRECTORY}={}", records.display());
    let deadline = Instant::now() + END_TIMEOUT;
    loop {
        let left = processes_with(&mark);
        for pid in &left {
            let limit = deadline.saturating_duration_since(Instant::now());
            assert!(
                has_ended_within(*pid, limit),
                "{left:?} outlive the program"
            );
        }
        if left.is_empty() {
            return;
        }
    }
}

/// The processes that have this variable in their environment.
fn processes_with(variable: &str) -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("proc is mounted");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0);
        variables.any(|one| one == variable.as_bytes())
    })
    .collect()
}

/// Many runs.
#[derive(Default)]
struct Ensemble {
    runs: u64,
    ends: BTreeMap<String, u64>,
    total: Tally,
    judged: BTreeMap<&'static str, u64>,
    failed: Vec<String>,
}

impl Ensemble {
    fn add(&mut self, run: Run) {
        let judgement = run.judge();
        let complaint = run.complaint().into_iter();
        let violations = judgement.violations.iter();
        let wrong: Vec<String> = complaint
            .chain(violations.map(|v| format!("{}: {}", v.guarantee, v.explanation)))
            .collect();
        let status = run.status.map_or("hung".to_owned(), |s| s.to_string());
        self.runs += 1;
        *self.ends.entry(status).or_default() += 1;
        self.total.add(run.recording.tally());
        for (guarantee, count) in judgement.judged {
            *self.judged.entry(guarantee).or_default() += count;
        }
        if !wrong.is_empty() {
            let seed = run.seed;
            let place = run.place.keep();
            let text = wrong.join("\n  ");
            let told = format!("seed {seed} (kept in {}):\n  {text}", place.display());
            eprintln!("{told}");
            self.failed.push(told);
        }
    }

    fn tell(&self) {
        let Ensemble {
            runs,
            ends,
            total,
            judged,
            ..
        } = self;
        println!("{runs} runs of real processes: {ends:?}\n{total:#?}\njudged: {judged:#?}");
    }
}

#[test]
fn real_processes_are_as_good_as_simulated_ones() {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let from = number("ZPROC_REAL_FROM").unwrap_or(1);
    let seconds = number("ZPROC_REAL_SECONDS").map(Duration::from_secs);
    let began = Instant::now();
    let mut ensemble = Ensemble::default();
    for seed in from.. {
        let enough = match seconds {
            Some(limit) => began.elapsed() >= limit,
            None => seed >= from + SEEDS,
        };
        if enough {
            break;
        }
        ensemble.add(Run::new(seed));
    }
    ensemble.tell();
    assert!(
        ensemble.failed.is_empty(),
        "\n{}",
        ensemble.failed.join("\n")
    );
    let total = &ensemble.total;
    assert!(total.killed_in_flight > 0, "nobody was killed at work");
    assert!(
        total.last_writes > 0,
        "nobody was killed between writing and the answer"
    );
    assert!(
        total.killed_unheard > 0,
        "the server was told of each death after it had read all"
    );
    // What these say is seen by the engine alone; tests/survivors.rs, tests/bad_input.rs and
    // tests/api/limits.rs stand for them here.
    let engines = ["Nothing outlives", "Bounded", "Bad input is harmless"];
    for guarantee in GUARANTEES.iter().filter(|name| !engines.contains(name)) {
        let judged = ensemble.judged.get(*guarantee).copied().unwrap_or(0);
        assert!(judged > 0, "nothing was judged for {guarantee}");
    }
}

#[test]
fn a_falsified_recording_is_refused() {
    let mut left: Vec<Tamper> = TAMPERS.to_vec();
    for seed in 1.. {
        let run = Run::new(seed);
        let records = run.place.path().join("records");
        left.retain(|how| {
            let mut recording = Recording::load(&records).expect("it could be read before");
            if !recording.tamper(*how) {
                return true;
            }
            let judgement = recording.judge(false);
            let found = &judgement.violations;
            assert!(!found.is_empty(), "{how:?} was not noticed, seed {seed}");
            false
        });
        if left.is_empty() {
            return;
        }
        assert!(seed < SEEDS, "{left:?} could not be done");
    }
}
