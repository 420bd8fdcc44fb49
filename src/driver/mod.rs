//! The real world's side of the sockets, on mio: the client's port and the server's event loop.

pub(crate) mod clock;
pub(crate) mod connection;
pub(crate) mod parker;
mod patience;
pub(crate) mod port;
pub(crate) mod server_loop;
mod usage;
