//! The real factory: how the processes of a tree come to be, and how nothing of them is left; what
//! a function is called in another process, and what becomes of its panics.
//!
//! All that is Linux alone, and all `unsafe` of the crate, stands in this folder.

pub(crate) mod address;
pub(crate) mod code;
pub(crate) mod directory;
pub(crate) mod entry;
#[cfg(test)]
pub(crate) mod forked;
pub(crate) mod joining;
pub(crate) mod keeper;
pub(crate) mod launch;
mod mapped;
mod memory;
pub(crate) mod noted;
mod outset;
pub(crate) mod overflow;
pub(crate) mod overtime;
pub(crate) mod page;
pub mod panics;
pub(crate) mod peer;
#[cfg(feature = "recording")]
pub mod record;
mod remains;
pub(crate) mod role;
mod stage;
pub(crate) mod start;
pub(crate) mod stopping;
pub(crate) mod sweep;
pub(crate) mod sys;
pub(crate) mod upstream;
mod words;
