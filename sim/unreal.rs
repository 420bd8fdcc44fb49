//! In place of `real.rs` where the recorder of real runs is not compiled in: all processes are
//! simulated ones.

use crate::faults::Fault;
use crate::history::Note;
use std::thread::JoinHandle;

/// Is this a real process of a recorded run? Nobody calls the others then.
pub(crate) const fn is_here() -> bool {
    false
}

fn nowhere() -> ! {
    unreachable!("there are no real processes here")
}

pub(crate) fn spawn<T: Send + 'static>(_: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    nowhere()
}

pub(crate) fn choose(_: u64) -> u64 {
    nowhere()
}

pub(crate) fn choose_for(_: u64, _: u64) -> u64 {
    nowhere()
}

pub(crate) fn number() -> u64 {
    nowhere()
}

pub(crate) fn strikes(_: Fault) -> bool {
    nowhere()
}

pub(crate) fn note(_: &Note) {
    nowhere()
}
