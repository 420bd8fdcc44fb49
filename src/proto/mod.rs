//! The sans-IO core: pure state machines, bytes and ticks in, bytes and effects out.
//!
//! # The grammar
//!
//! **Server.** A driver calls [`server::Server::connected`] once per connection, then any number of
//! [`receive`](server::Server::receive) with the unconsumed input (whole frames are consumed, the
//! rest is offered again with more bytes behind it), then
//! [`disconnected`](server::Server::disconnected) once. After *every* call that is given a `now` it
//! drains [`poll_effect`](server::Server::poll_effect) and
//! [`poll_ready`](server::Server::poll_ready); for each ready connection it sends what
//! [`outbox`](server::Server::outbox) holds and tells how much went with
//! [`sent`](server::Server::sent). When [`deadline`](server::Server::deadline) has come it calls
//! [`tick`](server::Server::tick); a spurious tick does nothing.
//!
//! **Client.** [`client::Client`] is told [`connected`](client::Client::connected), then
//! [`receive`](client::Client::receive) with all bytes read, then
//! [`disconnected`](client::Client::disconnected), and again `connected` for the next connection;
//! its output is in [`client::Client::outbox`].
//!
//! Nothing here does I/O or knows a clock, a thread or randomness: the caller passes them in.

pub mod client;
pub mod codec;
pub mod dump;
pub mod frame;
pub mod history;
pub mod ids;
pub mod interest;
pub mod intervals;
pub mod keeper;
pub mod kinds;
pub mod limits;
pub mod locks;
pub mod loss;
pub mod marks;
pub mod message;
pub mod operations;
pub mod planted;
pub mod points;
pub mod server;
pub mod session;
pub mod setup;
pub mod signal;
pub mod store;
pub mod time;
pub mod value;
pub mod watch;
pub mod watchdog;
