//! What users call: blocking, `Send + Sync`, and the same in the simulator.
//!
//! Nothing here knows a socket, a thread or a clock: a call becomes a [`Request`], the
//! [connection](crate::client::Connection) gives the [`Reply`], and the reply becomes the result.
//! So it must be deterministic, and its destructors must not block.
//!
//! [`Request`]: crate::proto::message::Request
//! [`Reply`]: crate::proto::message::Reply

pub(crate) mod context;

pub(crate) mod state;

pub(crate) mod batch;

mod dict;

pub(crate) mod past;

pub(crate) mod scan;

mod waits;

mod fed;

mod here;

pub(crate) mod when;

pub(crate) mod snapshot;

mod transaction;

mod run;

pub(crate) mod txn;

pub(crate) mod update;

pub(crate) mod view;

pub(crate) mod watch;

pub(crate) mod process;

pub(crate) mod processes;

pub(crate) mod group;

pub(crate) mod history;

mod latest;

pub(crate) mod locks;

pub(crate) mod spawn;

pub(crate) mod outcome;

mod parts;

pub(crate) mod shipped;

pub(crate) mod value;

mod depth;
