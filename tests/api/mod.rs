//! Test bodies that run in both worlds: with real processes, and in the simulator, which takes this
//! directory as its own module. So they use the public api alone, and know no clock, thread or file; whoever
//! takes it has an `on_another_thread` of its world, for what can't be done on the calling one.
//!
//! [`BODIES`](table::BODIES) lists them all.

pub(crate) mod table;

mod atomic;
mod batches;
mod dict;
mod dumps;
mod endings;
mod limits;
mod locks;
mod past;
mod processes;
mod rows;
mod transactions;
mod waits;
mod watches;
