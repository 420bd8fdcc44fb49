//! Processes: what a function is called in another process, and what becomes of its panics.

pub(crate) mod code;
pub(crate) mod panics;
