//! What ZProc, the Python package, offers, and what it is called here.
//!
//! The idea is the same: processes share one live dict by messages, functions run on it atomically,
//! and everybody can wait for it to change. What differs most: values have types; each change has a
//! [`Revision`](crate::Revision); a watch misses nothing unless it says so; a wait looks at the
//! present first; nothing outlives the program. What a row calls *not yet* is not there.
//!
//! # State
//!
//! | ZProc | here |
//! |---|---|
//! | `Context().state`, `create_state(value, namespace=)` | [`Context::state`](crate::Context::state), [`Context::namespace`](crate::Context::namespace); first values by `extend` |
//! | `state[k]`, `get(k, default)` | [`get`](crate::State::get), an `Option`: `unwrap_or(default)` |
//! | `state[k] = v` | [`set`](crate::State::set) |
//! | `del state[k]` | [`remove`](crate::State::remove) |
//! | `k in state`, `len` | [`contains_key`](crate::State::contains_key), [`len`](crate::State::len), [`is_empty`](crate::State::is_empty) |
//! | iteration, `keys`, `values`, `items` | [`keys`](crate::State::keys), [`iter`](crate::State::iter), of a prefix or a range too |
//! | `copy()`, `==`, `!=` | [`snapshot`](crate::State::snapshot); snapshots compare |
//! | `set(dict)` | [`replace_all`](crate::State::replace_all) |
//! | `update(dict)` | [`extend`](crate::State::extend) |
//! | `setdefault(k, v)` | [`get_or_insert`](crate::State::get_or_insert) |
//! | `pop(k)`, `popitem()` | [`take`](crate::State::take), [`pop_first`](crate::State::pop_first), [`pop_last`](crate::State::pop_last) |
//! | `clear()` | [`clear`](crate::State::clear) |
//! | `namespace`, `fork(namespace=)` | [`Context::namespace`](crate::Context::namespace); a handle costs nothing |
//! | `ping(timeout)` | [`Context::ping`](crate::Context::ping): the server's pid |
//! | `time()` | the time of an [`Update`](crate::Update) is the server's |
//!
//! ```
//! use zproc::{Context, Result};
//!
//! fn main() -> Result<()> {
//!     let ctx = Context::new()?;
//!     let state = ctx.namespace("shop"); // Context().create_state(namespace="shop")
//!     state.extend([("apples", 3), ("pears", 2)])?; // state.update({"apples": 3, "pears": 2})
//!     state.set("plums", &7)?; // state["plums"] = 7
//!     assert_eq!(state.get("plums")?.unwrap_or(0), 7); // state.get("plums", 0)
//!     assert_eq!(state.take::<u64>("pears")?, Some(2)); // state.pop("pears")
//!     assert_eq!(state.keys(..)?, ["apples", "plums"]); // list(state)
//!     assert_eq!(state.snapshot()?, state.snapshot()?); // state.copy() == state.copy()
//!     Ok(())
//! }
//! ```
//!
//! # Atomic
//!
//! | ZProc | here |
//! |---|---|
//! | `@state.atomify()`, `state.atomic(fn, *args)`, `@zproc.atomic` | [`State::atomic`](crate::State::atomic) |
//! | an exception inside: the state is as before, and the caller has the traceback | the same, with place and backtrace: [`is_remote`](crate::Error::is_remote), [`is_panic`](crate::Error::is_panic) |
//! | a signal at the caller meanwhile | the function completes whole |
//!
//! There, each call copies the whole namespace; here, its cost does not depend on the state's size.
//!
//! ```
//! use zproc::{Context, Result, Txn};
//!
//! // @zproc.atomic
//! // def eat(snap): snap["cookies"] -= 1
//! fn eat(txn: &mut Txn<'_>, _: ()) -> Result<i64> {
//!     let left = txn.get("cookies")?.unwrap_or(0) - 1;
//!     txn.set("cookies", &left)?;
//!     Ok(left)
//! }
//!
//! fn main() -> Result<()> {
//!     let ctx = Context::new()?;
//!     ctx.state().set("cookies", &5)?;
//!     assert_eq!(ctx.state().atomic(eat, ())?, 4);
//!     Ok(())
//! }
//! ```
//!
//! # Watching
//!
//! | ZProc | here |
//! |---|---|
//! | `get_when(fn)`, `when(fn)` | [`wait_until`](crate::State::wait_until) |
//! | `get_when_equal`, `get_when_not_equal` | [`wait_equal`](crate::State::wait_equal), [`wait_not_equal`](crate::State::wait_not_equal) |
//! | `get_when_change(*keys)` | [`wait_change`](crate::State::wait_change) |
//! | `when_truthy`, `when_falsy` | [`wait_truthy`](crate::State::wait_truthy), [`wait_falsy`](crate::State::wait_falsy) |
//! | `when_none`, `when_not_none` | [`wait_none`](crate::State::wait_none), [`wait_not_none`](crate::State::wait_not_none) |
//! | `when_available` | [`wait_available`](crate::State::wait_available), and [`wait_absent`](crate::State::wait_absent) |
//! | `when_change(*keys, exclude=)` | [`watch`](crate::State::watch) with a [`Filter`](crate::Filter): `keys`, `all_but` |
//! | `when_change_raw` | an [`Update`](crate::Update): revision, time, origin, and before and after of each key |
//! | identical writes | given; [`skip_identical`](crate::WatchBuilder::skip_identical) leaves them out |
//! | `live=True` | [`latest`](crate::WatchBuilder::latest): all since the last update, made one |
//! | `live=False` | every update, which is the default |
//! | `go_live()` | [`go_live`](crate::Watch::go_live) |
//! | `timeout=`, `count=` | [`timeout`](crate::WatchBuilder::timeout), [`State::within`](crate::State::within); a watch is an iterator: `take(n)` |
//! | no such thing | [`history`](crate::State::history) of a key: its updates, with who made them and when |
//! | `start_time=` | [`since`](crate::WatchBuilder::since) a revision, [`from_start`](crate::WatchBuilder::from_start); [`State::at`](crate::State::at) reads the past |
//! | a State never sees its own writes | [`skip_own`](crate::WatchBuilder::skip_own), off by default |
//! | `for x in state.when(fn)` | [`when`](crate::State::when): an iterator over all the times that it is true |
//! | `call_when_*` | [`spawn_when`](crate::Context::spawn_when) |
//!
//! ```
//! use zproc::{Context, Filter, Result};
//!
//! fn main() -> Result<()> {
//!     let ctx = Context::new()?;
//!     let state = ctx.state();
//!     // for change in state.when_change("a", "b", count=2): ...
//!     let watch = state.watch(Filter::keys(["a", "b"])).start()?;
//!     state.set("a", &1)?;
//!     state.set("c", &2)?;
//!     state.set("b", &3)?;
//!     let mut seen = Vec::new();
//!     for update in watch.take(2) {
//!         seen.push(update?.changes[0].key().to_owned());
//!     }
//!     assert_eq!(seen, ["a", "b"]);
//!     // state.get_when_equal("a", 1): it is so already
//!     state.wait_equal("a", &1)?;
//!     Ok(())
//! }
//! ```
//!
//! # Processes
//!
//! | ZProc | here |
//! |---|---|
//! | `process(target)`, `processify()`, `spawn(*targets, count=, args=)` | [`spawn`](crate::Context::spawn), [`spawn_many`](crate::Context::spawn_many); each is told its index |
//! | `pass_context` | the function is `fn(&Context, A) -> R` |
//! | `start=False`, `start()`, `stop()` | [`Context::process`](crate::Context::process), with [`spawn`](crate::ProcessBuilder::spawn) at the end; [`stop`](crate::Process::stop), [`kill`](crate::Process::kill) |
//! | `wait(timeout)`, on one or on a list | [`join`](crate::Process::join), [`join_timeout`](crate::Process::join_timeout), [`Group::join_all`](crate::Group::join_all) |
//! | `wait(safe=True)` | [`Group::outcomes`](crate::Group::outcomes) |
//! | `exitcode`, `is_alive`, `pid` | [`outcome`](crate::Process::outcome), [`is_alive`](crate::Process::is_alive), [`pid`](crate::Process::pid) |
//! | `retry_for=`, `max_retries` ... | *not yet* |
//! | `spawn_map(f, iter)` | [`spawn_map`](crate::Context::spawn_map) |
//! | `Swarm`, `create_swarm(n)`, `map` ... | *not yet* |
//! | kills all children at exit | nothing outlives the program, however it dies |
//! | `process_list` | [`Context::processes`](crate::Context::processes), with CPU and memory |
//! | `wait=True` on the context | *not yet*: join them |
//! | `background=True` | *not yet* |
//! | `signal_to_exception`, `send_signal` | a signal asks: [`stopping`](crate::Context::stopping), and waits end with [`is_stopped`](crate::Error::is_stopped) |
//!
//! ```
//! use zproc::{Context, Result};
//!
//! // @ctx.process
//! // def square(ctx, n): return n * n
//! fn square(_: &Context, n: u64) -> u64 {
//!     n * n
//! }
//!
//! fn main() -> Result<()> {
//!     let ctx = Context::new()?;
//!     assert_eq!(ctx.spawn(square, 3)?.join()?, 9);
//!     let squares = ctx.spawn_map(square, 1..=4)?.join_all(); // ctx.spawn_map(square, range(1, 5))
//!     let squares: Result<Vec<_>> = squares.into_iter().collect();
//!     assert_eq!(squares?, [1, 4, 9, 16]);
//!     Ok(())
//! }
//! ```
//!
//! # Server
//!
//! | ZProc | here |
//! |---|---|
//! | an address, `ipc://...` or `tcp://...` | the tree's server has an address that its processes alone know; a [server that stands alone](crate::Server) has a path; TCP *not yet* |
//! | `start_server(address)`, `Context(address, start_server=False)` | [`Server::bind`](crate::Server::bind), [`Context::connect`](crate::Context::connect); programs need not be of one build |
//! | version check at connect | the hello has the protocol's version and the build |
//! | a wrong secret key | a typed error at once; a server is its user's alone |
//!
//! ```
//! use zproc::{Context, Result, Server};
//!
//! fn main() -> Result<()> {
//! #   let place = tempfile::tempdir()?;
//! #   let path = place.path().join("socket");
//!     // zproc.start_server("ipc://...")
//!     let server = Server::bind(&path)?;
//!     std::thread::spawn(move || server.run());
//!     // zproc.Context("ipc://...", start_server=False)
//!     let ctx = Context::connect(&path)?;
//!     assert_eq!(ctx.ping(std::time::Duration::from_secs(10))?, std::process::id());
//!     Ok(())
//! }
//! ```
