//! Runs `zproc` programs in a deterministic simulation.
//!
//! The real server, protocol, client and api run unmodified; network, clock and processes are
//! simulated on one OS thread. Everything that is left open (schedule, delays, faults) is drawn from
//! one seed, so a failure comes back from its seed alone.
//!
//! A simulated process runs an ordinary `fn(&Context, A) -> R`. What it must not do, because the
//! simulator can't see it:
//!
//! - start OS threads (use [`thread::spawn`]), or use its context from one;
//! - sleep or wait for anything but the api (use [`thread::sleep_ns`]);
//! - hold a lock that another simulated thread wants, across a call of the api;
//! - call `exit`, or keep what it knows in statics: they are everybody's;
//! - draw random numbers (use [`thread::choose`]), or iterate over a hash map with random seeds.

mod alone;
mod arguments;
mod case;
mod catalogue;
mod checkers;
mod choices;
mod clocks;
mod coroutine;
mod coverage;
mod ensemble;
mod events;
mod explore;
mod faults;
#[doc(hidden)]
pub mod generated;
mod history;
mod html;
mod hunt;
mod interrupt;
mod keeper;
#[cfg(feature = "planted")]
mod kill;
mod limits;
mod lives;
mod mutants;
mod network;
mod points;
mod port;
mod process;
mod progress;
#[cfg(feature = "recording")]
#[doc(hidden)]
pub mod real;
#[cfg(not(feature = "recording"))]
#[path = "unreal.rs"]
mod real;
#[cfg(feature = "recording")]
mod recorded;
#[doc(hidden)]
pub mod runner;
mod say;
mod seen;
mod server;
mod shrink;
mod simulation;
mod stalls;
mod story;
mod summary;
pub mod thread;
mod trace;
mod waiting;
mod watchdog;
mod workloads;
mod world;

#[doc = include_str!("cargo_mutants.md")]
pub mod cargo_mutants {}

#[doc = include_str!("determinism.md")]
pub mod determinism {}

pub use checkers::{GUARANTEES, Violation};
pub use faults::{FAULTS, Fault, Struck};
pub use points::StruckPoints;
pub use simulation::{Functions, Options, Report, run, run_with};
