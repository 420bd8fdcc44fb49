//! The planted bugs: for each, which guarantee it breaks, and that this guarantee's checker says so.

use crate::checkers::{ATOMIC, BOUND, EVERY_UPDATE, NO_LOST_WAKEUP, ONCE};
use zproc::seam::proto::planted::Bug;

/// One planted bug.
#[cfg_attr(
    not(any(test, feature = "planted")),
    expect(dead_code, reason = "only a build with the bugs plants them")
)]
pub(crate) struct Planted {
    pub(crate) bug: Bug,
    /// The guarantee that it breaks, whose checker must find it.
    pub(crate) guarantee: &'static str,
    /// What is wrong.
    pub(crate) explanation: &'static str,
    /// Where it is planted.
    pub(crate) file: &'static str,
}

/// All of them.
pub(crate) const CATALOGUE: [Planted; 12] = [
    Planted {
        bug: Bug::WaitNotRetested,
        guarantee: NO_LOST_WAKEUP,
        explanation: "a commit does not test the waits again that read by prefix",
        file: "proto/server/commits.rs",
    },
    Planted {
        bug: Bug::WaitSkipsPresent,
        guarantee: NO_LOST_WAKEUP,
        explanation: "a wait looks at the next revision first",
        file: "proto/server/commits.rs",
    },
    Planted {
        bug: Bug::RetryAppliedTwice,
        guarantee: ONCE,
        explanation: "a retried request that was applied is applied again",
        file: "proto/session.rs",
    },
    Planted {
        bug: Bug::UndoMissed,
        guarantee: ATOMIC,
        explanation: "the first write of a change set stays after a rollback",
        file: "proto/store/transaction.rs",
    },
    Planted {
        bug: Bug::ReleaseBeforeLastWrite,
        guarantee: BOUND,
        explanation: "what a process owns is released before its last writes are read",
        file: "proto/server/processes.rs",
    },
    Planted {
        bug: Bug::CursorSkipsWrap,
        guarantee: EVERY_UPDATE,
        explanation: "a cursor that was overtaken goes on at the oldest entry, and says nothing",
        file: "proto/server/commits.rs",
    },
    Planted {
        bug: Bug::ResumeAtServerCursor,
        guarantee: EVERY_UPDATE,
        explanation: "after a resume a watch goes on where the server was, not the client",
        file: "proto/session.rs",
    },
    Planted {
        bug: Bug::CreditLost,
        guarantee: EVERY_UPDATE,
        explanation: "credit that comes while a watch lags does not wake it",
        file: "proto/server/commits.rs",
    },
    Planted {
        bug: Bug::OwnerNotReplaced,
        guarantee: BOUND,
        explanation: "a key keeps its owner when another process overwrites it",
        file: "proto/store/transaction.rs",
    },
    Planted {
        bug: Bug::ResendUnderNewSeq,
        guarantee: ONCE,
        explanation: "back on a new connection, unanswered requests go out under new numbers",
        file: "proto/client/link.rs",
    },
    Planted {
        bug: Bug::RoleHandedToNobody,
        guarantee: NO_LOST_WAKEUP,
        explanation: "a thread leaves the reader's role and hands it to nobody",
        file: "client/roles.rs",
    },
    Planted {
        bug: Bug::EndBeforeRelease,
        guarantee: BOUND,
        explanation: "the end of a killed process is told before its release is committed",
        file: "proto/server/processes.rs",
    },
];

/// Without the bugs compiled in: builds this program with them, and runs that.
#[cfg(not(feature = "planted"))]
pub(crate) fn run(seeds: u64, only: Option<&str>) -> Result<bool, String> {
    let known = |only| {
        CATALOGUE
            .iter()
            .any(|planted| format!("{:?}", planted.bug) == only)
    };
    if let Some(only) = only.filter(|only| !known(*only)) {
        return Err(format!("no such bug: {only}"));
    }
    let mut command = std::process::Command::new(std::env::var("CARGO").unwrap_or("cargo".into()));
    command.args([
        "run",
        "--release",
        "-p",
        "zproc-sim",
        "--features",
        "planted",
    ]);
    // A directory of its own, so that the two builds don't take turns in undoing each other.
    command.args(["--target-dir", "target/planted", "--", "mutants"]);
    command.arg(format!("--seeds={seeds}"));
    command.args(only.map(|only| format!("--only={only}")));
    let status = command
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    Ok(status.success())
}

/// Plants each bug in turn.
#[cfg(feature = "planted")]
pub(crate) fn run(seeds: u64, only: Option<&str>) -> Result<bool, String> {
    let mut alive = 0;
    for planted in &CATALOGUE {
        let name = format!("{:?}", planted.bug);
        if only.is_some_and(|only| only != name) {
            continue;
        }
        alive += u32::from(!hunt::kill(planted, &name, seeds));
    }
    zproc::seam::proto::planted::activate(None);
    println!("{alive} planted bugs are alive");
    Ok(alive == 0)
}

#[cfg(feature = "planted")]
mod hunt {
    use super::Planted;
    use crate::runner::one;
    use std::time::Instant;
    use zproc::seam::proto::planted::activate;

    /// Fault-free runs of which each bug must pass one: it is none that every test would see.
    const CALM_SEEDS: u64 = 50;

    /// True when the right checker finds the bug within so many seeds.
    pub(super) fn kill(planted: &Planted, name: &str, seeds: u64) -> bool {
        let started = Instant::now();
        activate(Some(planted.bug));
        println!("{name} ({}): {}", planted.file, planted.explanation);
        let passes = |seed: &u64| one(*seed, false, None).is_ok_and(|report| report.is_clean());
        match (1..=CALM_SEEDS).find(passes) {
            Some(seed) => println!("  passes the fault-free run of seed {seed}"),
            None => {
                println!(
                    "  ALIVE: it passes none of {CALM_SEEDS} fault-free runs: too gross a bug"
                );
                return false;
            }
        }
        let mut others = std::collections::BTreeMap::new();
        for seed in 1..=seeds {
            match one(seed, true, None) {
                Ok(report) => {
                    for violation in &report.violations {
                        if violation.guarantee == planted.guarantee {
                            println!(
                                "  KILLED by {:?} with seed {seed}, after {seed} seeds and {:.1} s\n  {}",
                                violation.guarantee,
                                started.elapsed().as_secs_f64(),
                                violation.explanation
                            );
                            return true;
                        }
                        *others.entry(violation.guarantee).or_insert(0) += 1;
                    }
                }
                Err(_) => *others.entry("a panic").or_insert(0) += 1,
            }
        }
        println!("  ALIVE after {seeds} seeds; others that spoke up: {others:?}");
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bug_is_listed_twice() {
        for (index, planted) in CATALOGUE.iter().enumerate() {
            let before = &CATALOGUE[..index];
            assert!(before.iter().all(|other| other.bug != planted.bug));
            assert!(!planted.explanation.is_empty() && !planted.file.is_empty());
            assert!(crate::checkers::GUARANTEES.contains(&planted.guarantee));
        }
    }
}
