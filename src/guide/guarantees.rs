//! What holds, whatever happens: each guarantee by its name, what it says and what not, and an
//! example that runs.
//!
//! The simulator (`zproc-sim`) injects faults and checks each of them by these names; the tests with
//! real processes and sockets do so as well.
//!
//! # Linearizable
//!
//! Every operation takes effect at one instant between its call and its return. The witness is the
//! **revision**: one number for all namespaces of a tree, which counts the sets of changes and is
//! never used again. What returned before another call began has the smaller one.
//!
//! ```
//! use zproc::{Context, Result, Revision};
//!
//! fn write(ctx: &Context, (): ()) -> Result<Revision> {
//!     ctx.state().set("who", "a process")
//! }
//!
//! fn main() -> Result<()> {
//!     let ctx = Context::new()?;
//!     let state = ctx.state();
//!     let first = ctx.spawn(write, ())?.join()??;
//!     let second = state.set("who", "the program")?;
//!     assert!(first < second);
//!     let (who, revision) = state.get_versioned::<String>("who")?.unwrap();
//!     assert_eq!((who.as_str(), revision), ("the program", second));
//!     Ok(())
//! }
//! ```
//!
//! What reads in several pages says so: [`State::iter`](crate::State::iter) is of one revision for
//! each page. `keys`, `snapshot` and all that an atomic function reads are of one revision in all.
//!
//! # Atomic
//!
//! All writes of one atomic function, of one batch or of one transaction appear at one revision, or none does: an
//! error, a panic or the death of the caller leaves the state as it was, or wholly changed.
//!
//! ```
//! use zproc::{Context, Error, Result, Txn};
//!
//! fn pay(txn: &mut Txn<'_>, (from, to, sum): (String, String, u64)) -> Result<()> {
//!     let has: u64 = txn.get(&to)?.unwrap_or(0);
//!     txn.set(&to, &(has + sum))?;
//!     let has: u64 = txn.get(&from)?.unwrap_or(0);
//!     let left = has.checked_sub(sum).ok_or_else(|| Error::msg("too poor"))?;
//!     txn.set(&from, &left)
//! }
//!
//! fn main() -> Result<()> {
//!     let ctx = Context::new()?;
//!     let state = ctx.state();
//!     state.extend([("ann", 10), ("bob", 0)])?;
//!     let (ann, bob) = ("ann".to_owned(), "bob".to_owned());
//!     state.atomic(pay, (ann.clone(), bob.clone(), 7))?;
//!     let error = state.atomic(pay, (ann, bob, 7)).unwrap_err();
//!     assert!(error.is_remote());
//!     // What it had written before the error is taken back.
//!     assert_eq!(state.get("ann")?, Some(3));
//!     assert_eq!(state.get("bob")?, Some(7));
//!     Ok(())
//! }
//! ```
//!
//! # Every update
//!
//! A [watch](crate::State::watch) gives each revision that touches its filter exactly once, in
//! order, from the revision it asked for. [`is_compacted`](crate::Error::is_compacted) comes if and
//! only if an update that may match was dropped from the history, which is bounded; a gap is never
//! silent. Then [`Watch::restart`](crate::Watch::restart) begins again, from a snapshot.
//!
//! ```
//! use zproc::{Context, Filter, Result};
//!
//! fn main() -> Result<()> {
//!     let ctx = Context::new()?;
//!     let state = ctx.state();
//!     for number in 1..=100 {
//!         state.set("number", &number)?;
//!     }
//!     // Long after that, and yet all of them.
//!     let watch = state.watch(Filter::key("number")).from_start().start()?;
//!     for (number, update) in (1..=100).zip(watch) {
//!         assert_eq!(update?.changes[0].after()?, Some(number));
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # No lost wake-up
//!
//! A wait tests the present state first, then every later revision: it can't matter whether the
//! wait or the write comes first, nor how short a thing was true once the wait has begun.
//!
//! ```
//! use zproc::{Context, Result};
//!
//! fn answer(ctx: &Context, (): ()) -> Result<()> {
//!     let state = ctx.state();
//!     state.set("ready", &true)?;
//!     state.wait_equal("go", &true)?;
//!     state.set("done", &true).map(drop)
//! }
//!
//! fn main() -> Result<()> {
//!     let ctx = Context::new()?;
//!     let state = ctx.state();
//!     let process = ctx.spawn(answer, ())?;
//!     state.wait_equal("ready", &true)?;
//!     // The other may be in its wait by now, or not yet.
//!     state.set("go", &true)?;
//!     state.wait_equal("done", &true)?;
//!     process.join()?
//! }
//! ```
//!
//! # Once
//!
//! A call that returned has been applied exactly once, however many connections were lost on the
//! way: the server keeps the replies to what changes something until they have arrived, and answers
//! a retry from them. Where it can't be known whether a call was applied, its error
//! [says so](crate::Error::is_outcome_unknown).
//!
//! ```
//! use zproc::{Context, Result};
//!
//! fn count(ctx: &Context, times: u64) -> Result<()> {
//!     for _ in 0..times {
//!         ctx.state().add("counter", 1)?;
//!     }
//!     Ok(())
//! }
//!
//! fn main() -> Result<()> {
//!     let ctx = Context::new()?;
//!     for counted in ctx.spawn_many(4, |ctx: &Context, _: (usize, ())| count(ctx, 50), ())?.join_all() {
//!         counted??;
//!     }
//!     assert_eq!(ctx.state().get("counter")?, Some(200));
//!     Ok(())
//! }
//! ```
//!
//! # Own writes
//!
//! A process reads its own writes, and never an older revision after a newer one. That goes for
//! all its threads together, and for what it has learnt from a watch or a wait.
//!
//! ```
//! use zproc::{Context, Result};
//!
//! fn main() -> Result<()> {
//!     let ctx = Context::new()?;
//!     let (state, same) = (ctx.state(), ctx.state());
//!     for number in 0..10 {
//!         let wrote = state.set("number", &number)?;
//!         let (read, at) = same.get_versioned::<u64>("number")?.unwrap();
//!         assert_eq!((read, at), (number, wrote));
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # Bound to a process
//!
//! What a process [owns](crate::State::set_owned) is released in one revision when it ends, after
//! its last writes, and the update says how it died.
//!
//! ```
//! use zproc::{Context, Filter, Result};
//!
//! fn serve(ctx: &Context, (): ()) -> Result<()> {
//!     ctx.state().set_owned("address", "10.0.0.7")?;
//!     ctx.state().set_owned("port", &80)?;
//!     std::process::abort()
//! }
//!
//! fn main() -> Result<()> {
//!     let ctx = Context::new()?;
//!     let state = ctx.state();
//!     let mut watch = state.watch(Filter::all()).start()?;
//!     let server = ctx.spawn(serve, ())?;
//!     assert_eq!(watch.next_update()?.changes[0].key(), "address");
//!     assert_eq!(watch.next_update()?.changes[0].key(), "port");
//!     let update = watch.next_update()?;
//!     assert_eq!(update.changes.len(), 2, "both at once");
//!     assert!(update.origin.released.unwrap().contains("signal 6"));
//!     assert_eq!(update.origin.process, server.id());
//!     Ok(())
//! }
//! ```
//!
//! # Locks
//!
//! A [lock](crate::Context::lock) is held by one at a time, and those who wait get it in the order in
//! which they asked. It is free again when its guard is dropped, or when its holder's process ends,
//! in the one revision in which its keys go. Each grant has a greater revision than the one before.
//! Who loses its session while it lives has lost its locks, and may not know yet: the
//! [revision](crate::LockGuard::revision) is what outsiders can tell it by.
//!
//! ```
//! use zproc::{Context, Result, Revision};
//!
//! fn crash_inside(ctx: &Context, (): ()) -> Result<()> {
//!     let guard = ctx.lock("door")?;
//!     ctx.state().set("inside", &guard.revision().0)?;
//!     std::process::abort()
//! }
//!
//! fn main() -> Result<()> {
//!     let ctx = Context::new()?;
//!     let crashed = ctx.spawn(crash_inside, ())?;
//!     let (first, _) = ctx.state().wait_available::<u64>("inside")?;
//!     let guard = ctx.lock("door")?; // free, however it ended
//!     assert!(guard.revision() > Revision(first));
//!     assert!(crashed.join().is_err());
//!     Ok(())
//! }
//! ```
//!
//! # Locks
//!
//! A [lock](crate::Context::lock) is held by one at a time, in the order of asking, and is released
//! at its guard's drop, or in one revision with what its holder owned when that dies. Each grant has
//! a greater revision than the one before, so that who was stopped for long while another has got the
//! lock can be told from that other (a fencing token).
//!
//! ```
//! use zproc::{Context, Result};
//!
//! fn careless(ctx: &Context, (): ()) -> Result<u64> {
//!     let guard = ctx.lock("printer")?;
//!     ctx.state().set("printing", &guard.revision().0)?;
//!     std::process::abort()
//! }
//!
//! fn main() -> Result<()> {
//!     let ctx = Context::new()?;
//!     let process = ctx.spawn(careless, ())?;
//!     let (before, _) = ctx.state().wait_available::<u64>("printing")?;
//!     // It has died with the lock, and nobody need clean up.
//!     let guard = ctx.lock("printer")?;
//!     assert!(guard.revision().0 > before);
//!     assert!(process.join().is_err());
//!     Ok(())
//! }
//! ```
//!
//! # Nothing outlives
//!
//! When the program ends, however it does (return, panic, SIGKILL), every process below it is dead,
//! daemons included. It holds for the loss of any one of program, keeper and server. The
//! [front page](crate#what-is-not-promised) says what can't be killed.
//!
//! ```
//! use std::process::Command;
//! use zproc::{Context, Result};
//!
//! /// Starts a daemon: in a session of its own, and nobody's child when `sh` has ended.
//! fn careless(ctx: &Context, (): ()) -> Result<()> {
//!     let script = "setsid sleep 1000 >/dev/null 2>&1 & echo $!";
//!     let output = Command::new("sh").args(["-c", script]).output();
//!     let pid = String::from_utf8(output.unwrap().stdout).unwrap();
//!     ctx.state().set("daemon", pid.trim())?;
//!     ctx.state().wait_equal("never", &true).map(drop)
//! }
//!
//! fn main() -> Result<()> {
//!     let ctx = Context::new()?;
//!     ctx.spawn(careless, ())?.detach();
//!     let (pid, _) = ctx.state().wait_available::<String>("daemon")?;
//!     assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
//!     drop(ctx); // the last handle: the tree ends, and this waits for it
//!     assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
//!     Ok(())
//! }
//! ```
//!
//! # Bounded
//!
//! Every queue, buffer, history, key, value, depth and total has a limit with a name. At the limit
//! the caller gets backpressure (it waits) or a typed error that names it, never an abort, and
//! nobody else notices.
//!
//! ```
//! use zproc::{Context, Result};
//!
//! fn main() -> Result<()> {
//!     let ctx = Context::new()?;
//!     let state = ctx.state();
//!     state.set("text", "short")?;
//!     let error = state.set("text", &"long".repeat(1 << 20)).unwrap_err();
//!     assert!(error.is_limit());
//!     assert!(error.to_string().contains("VALUE_BYTES_MAX"));
//!     assert_eq!(state.get::<String>("text")?, Some("short".into()));
//!     Ok(())
//! }
//! ```
//!
//! # Bad input is harmless
//!
//! Malformed, truncated or hostile bytes cost the one connection they came on, and are told why; a
//! bystander's work goes on unchanged. A value that is not what somebody takes it to be costs that
//! one call.
//!
//! ```
//! use zproc::{Context, Result};
//!
//! fn main() -> Result<()> {
//!     let ctx = Context::new()?;
//!     let state = ctx.state();
//!     state.set("port", "eighty")?;
//!     let error = state.get::<u16>("port").unwrap_err();
//!     assert!(error.is_wrong_type());
//!     assert_eq!(state.get::<String>("port")?, Some("eighty".into()));
//!     Ok(())
//! }
//! ```
