//! Many processes, one live state: a plain, blocking program becomes many processes that share a
//! dict, by messages, without shared memory, mutexes, an async runtime or a broker to install.
//!
//! ```
//! use zproc::{Context, Result, Txn};
//!
//! /// Runs in the server, as one operation.
//! fn take(txn: &mut Txn<'_>, most: u64) -> Result<u64> {
//!     let cookies: u64 = txn.get("cookies")?.unwrap_or(0);
//!     let taken = cookies.min(most);
//!     txn.set("cookies", &(cookies - taken))?;
//!     Ok(taken)
//! }
//!
//! /// Runs in a process of its own.
//! fn eater(ctx: &Context, appetite: u64) -> Result<u64> {
//!     let state = ctx.state();
//!     state.wait_until(|view| Ok(view.get::<u64>("cookies")? > Some(0)))?;
//!     state.atomic(take, appetite)
//! }
//!
//! fn main() -> Result<()> {
//!     let ctx = Context::new()?;
//!     let first = ctx.spawn(eater, 2)?;
//!     let second = ctx.spawn(eater, 3)?;
//!     ctx.state().set("cookies", &10)?;
//!     assert_eq!(first.join()?? + second.join()??, 5);
//!     assert_eq!(ctx.state().get("cookies")?, Some(5));
//!     Ok(())
//! }
//! ```
//!
//! - [`Context`] is the hold on the tree of processes: it [spawns](Context::spawn) them and leads
//!   to the state.
//! - [`State`] is a dict that all of them see the same way. It lives in one server process, which
//!   the program starts by itself.
//! - [`Server`] stands alone, for programs that are started one by one: they
//!   [connect](Context::connect) to it, and share its state.
//! - [`State::atomic`] runs a function on it as one operation; [`State::wait_until`] blocks,
//!   without polling, until something is true; [`State::watch`] tells every update.
//! - [`Context::lock`] keeps others out, wherever they run, for as long as its guard lives.
//! - [`Process`] is what `spawn` gives: it is [joined](Process::join) for the function's result.
//! - [`Error`] is what goes wrong, with `is_*` questions to ask it.
//!
//! # What is promised
//!
//! Each with an example: [the guarantees](guide::guarantees).
//!
//! | name | promise |
//! |---|---|
//! | Linearizable | each operation takes effect at one instant between its call and its return; its [`Revision`] is the witness |
//! | Atomic | all writes of one atomic function appear at one revision, or none does: an error, a panic or a dead caller leaves the state as it was |
//! | Every update | a [`Watch`] gives each revision that changes one of its keys exactly once, in order, from the revision it asked for; a gap is never silent: it is [`is_compacted`](Error::is_compacted), if and only if something that may have matched was dropped |
//! | No lost wake-up | a wait tests the present state first, then every later revision |
//! | Once | a call that returned has been applied exactly once, over however many lost connections; where that can't be known, the error [says so](Error::is_outcome_unknown) |
//! | Own writes | a process reads its own writes, and never an older revision after a newer one |
//! | Bound to a process | what a process [owns](State::set_owned) is released in one revision when it dies, after its last writes, and the update says how it died |
//! | Locks | a [lock](Context::lock) is held by one at a time, in the order of asking; it is free again at the drop of its guard, or with the keys of its holder, in the same revision; each grant has a greater [revision](LockGuard::revision) than the one before |
//! | Nothing outlives | when the program ends, however it does (return, panic, SIGKILL), every process of its tree is dead |
//! | Bounded | queues, history, keys, values and depth have named limits; at a limit there is backpressure or an [error](Error::is_limit), and nobody else notices |
//! | Bad input is harmless | malformed or hostile bytes cost the one connection they came on |
//!
//! # What is not promised
//!
//! A function that overflows its stack, aborts or exits inside the server (an
//! [atomic](State::atomic) one, or the condition of a [wait](State::wait_until)) takes the server
//! down with it. One that runs for more than 10 seconds there, while everybody waits for it, costs
//! the server its life, too (unless a debugger is attached to the server). The tree then ends, and
//! every call, in flight or later, gives an error that [`is_server_lost`](Error::is_server_lost); its
//! [`server_loss`](Error::server_loss) tells how the server ended and which function it was running.
//!
//! "Nothing outlives" is about the end of the program. When a single process ends, what it had started
//! is ended with it as far as that can be told from parents, process group, session and environment:
//! a daemon that has shed all four lives until the tree ends. If keeper and guard, the two processes
//! that hold a tree, are both killed at once, the server ends what bears the tree's mark in its
//! environment, so a daemon with a cleared one stays. What has become another user's, and what hangs
//! in the kernel, can't be killed by anybody.
//!
//! A [server that stands alone](Server) runs no functions, so none can take it down. There, should keeper
//! and guard of a program both be killed at once, its processes are killed with them, but nobody looks
//! for daemons that those have started.
//!
//! The tree is one machine's: the state does not outlast the program, and is not replicated.
//!
//! # Signals and the terminal
//!
//! - **Ctrl-C** (SIGINT) and SIGTERM ask the program to end, and with it every process of its tree:
//!   [`Context::stopping`] is true, calls that wait end with [`is_stopped`](Error::is_stopped), all
//!   others go on working, so that everybody can put things in order. If `main` returns, it does so
//!   with the exit code that it likes; dropping the last handle waits for those that were asked.
//!   When the [grace](ContextBuilder::grace) of 5 seconds is over, who is left is killed, and the
//!   program dies by that signal, as the shell expects. `std::process::exit` waits for nobody.
//! - **A second one** ends program and tree at once, unless it comes within a tenth of a second of the
//!   first: then it is the same told twice, as `timeout(1)` does.
//! - **Children** end with their parent: they are killed. But one that was asked to end, as everybody
//!   is now, has the rest of its grace first, also if its parent hands its error up by `?` and returns
//!   before.
//! - A signal that the program ignores (`nohup`, `&` in a script) or handles itself does nothing of
//!   this, whether its handler was set before [`Context::new`] or after it; one that was set after, and
//!   calls the handler before it (as those of the crate `signal-hook` do), has the tree asked all the
//!   same, and it alone decides of the program's end. When the last context is
//!   dropped, both do again what they did before. A program that was asked stays so: a tree that it
//!   makes later is asked to end, too.
//! - SIGTERM or SIGINT to a single process, whoever sends it, asks it to end as
//!   [`Process::request_stop`] does, but with nobody to kill it when it doesn't.
//! - SIGHUP and SIGQUIT are nothing special: they end the program, and so the tree, at once.
//! - **Ctrl-Z** stops the program alone. Its processes are in a session of their own: they go on, and
//!   so does the state; `fg` has the program go on where it was.
//! - **Output** of the processes goes where the program's goes, to the terminal too, also while the
//!   program is stopped or in the background.
//! - **Input**: they read from nowhere, unless they are given the program's
//!   ([`Input::Inherit`]). That works with a terminal; but as they are in another session, the shell's
//!   job control does not hold them: they read on while the program is stopped or in the background,
//!   and take what was meant for the shell.
//!
//! # Functions that run elsewhere
//!
//! `spawn`, `atomic` and `wait_until` take ordinary functions, generic ones too, and closures that
//! **capture nothing** (else it does not compile): what they need goes into their argument, any
//! serde type. They run in another process of the same executable, in which `main` has not run:
//! they see statics as the source has them, not as `main` has set them. Functions in shared
//! libraries are [not known](Error::is_unknown_function) there. Only a condition may capture: it is
//! tested in its caller then, see [`State::wait_until`]. What captures and writes is a
//! [transaction](State::transaction), which runs in its caller.
//!
//! Atomic functions and conditions must be **pure but for the state**: no I/O, no clock, no
//! randomness, no statics, and quick, since everybody waits for them. It is not promised that they
//! are run only once, only that what they did is applied once. A test mode runs each twice and
//! compares: [`ContextBuilder::run_functions_twice`].
//!
//! In a program that is built with `panic = "abort"` the server calls no functions, since a panic would
//! be its end: then [atomic](State::atomic) ones and conditions run in their callers.

#[cfg(not(target_os = "linux"))]
compile_error!("zproc runs on Linux only (x86-64 and aarch64)");

mod api;

mod error;

#[doc(hidden)]
pub mod client;

#[doc(hidden)]
pub mod runtime;

mod sync;

#[doc(hidden)]
pub mod proto;

mod process;

mod driver;

mod standalone;

mod tree;

pub mod seam;

pub mod guide;

pub use api::batch::{Batch, Batched, Expected};
pub use api::context::Context;
pub use api::group::Group;
pub use api::history::History;
pub use api::locks::{LockGuard, LockInfo};
pub use api::outcome::{Captured, End, Outcome, Why};
pub use api::past::Past;
pub use api::process::Process;
pub use api::processes::{ProcessInfo, ProcessState, Processes};
pub use api::scan::{Entries, Iter, Span};
pub use api::snapshot::Snapshot;
pub use api::spawn::{Input, Output, ProcessBuilder};
pub use api::state::State;
pub use api::txn::Txn;
pub use api::update::{Change, Origin, Update};
pub use api::view::{Verdict, View};
pub use api::watch::{Filter, Watch, WatchBuilder};
pub use api::when::When;
pub use error::{Error, Result};
pub use process::entry::init;
pub use proto::dump::{
    Awaited, CallDump, Dump, Elapsed, Keys, LeftOut, ProcessDump, RunningDump, Standing, WaitDump,
    WatchDump,
};
pub use proto::ids::{ProcessId, Revision};
pub use proto::limits::Limits;
pub use proto::loss::{ServerEnd, ServerLoss};
pub use proto::setup::Resource;
pub use standalone::{Server, ServerBuilder, Stopper};
pub use tree::ContextBuilder;

/// The README's programs are compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
