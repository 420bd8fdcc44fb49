//! The server that stands alone: for programs that are started one by one, and share one state.

use crate::driver::clock::Clock;
use crate::driver::server_loop::{self, LoopEnd, Sockets};
use crate::error::{Error, Kind, Operation, Result, Unconnected};
use crate::process::address::{self, Address, BindError};
use crate::process::{peer, sys};
use crate::proto::limits::Limits;
use crate::proto::server::{self, NoFunctions};
use std::fmt;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::Location;
use std::path::{Path, absolute};
use std::sync::Arc;

/// A server that stands alone: it holds a state for programs that come and go.
///
/// A program that calls [`Context::new`](crate::Context::new) has a server of its own, which ends with it.
/// This one is bound to a path, a program of any kind may run it, and others of the same user
/// [connect](crate::Context::connect) to it; they need not be of one build. It runs nobody's functions:
/// [atomic](crate::State::atomic) ones and conditions run in their callers there.
///
/// # Lives
/// - **The state** lives as long as the server: until [`Stopper::stop`], or the end of the process that
///   runs it. Nothing of it is kept on disk.
/// - **The server** goes on when programs end, however they do. What a program and its processes
///   [own](crate::State::set_owned) is released, their locks too, and their records in the namespace
///   `""` say that they have ended.
/// - **Programs** live on when the server ends; their processes do not. Each call, those in flight too,
///   then gives an error that [`is_server_lost`](Error::is_server_lost).
/// - **What has ended** is remembered up to a [limit](crate::guide::limits) that all share: what a program
///   leaves makes room before anything of another's does.
/// - **Ctrl-C** in a program that runs a server ends it, as it does any other. Who wants to end in order
///   handles the signal, and calls [`Stopper::stop`] on another thread.
/// - **Files**: after such an end, a kill, or a `main` that returns while a server runs, the socket and the
///   file `PATH.lock` beside it stay behind, and the next server at that path replaces them. Should
///   somebody remove the socket of a server that lives, nobody can connect any more, and the path stays
///   taken until that server ends.
///
/// # Who may do what
/// The socket is private to its user (mode 0600, and who connects is asked for it). All that connect are
/// equal: each sees and writes the whole state. The server starts no processes and signals none: each
/// program has a keeper of its own, who does that for it.
///
/// ```
/// # fn main() -> zproc::Result<()> {
/// # let place = tempfile::tempdir()?;
/// # let path = place.path().join("state.socket");
/// let server = zproc::Server::bind(&path)?;
/// let stopper = server.stopper();
/// let serves = std::thread::spawn(move || server.run());
///
/// // In as many programs as you like:
/// let ctx = zproc::Context::connect(&path)?;
/// ctx.state().set("answer", &42)?;
/// let answer = ctx.spawn(|ctx, ()| ctx.state().get::<u64>("answer"), ())?;
/// assert_eq!(answer.join()??, Some(42));
///
/// stopper.stop();
/// serves.join().unwrap()?;
/// assert!(ctx.state().len().unwrap_err().is_server_lost());
/// # Ok(())
/// # }
/// ```
pub struct Server {
    // Dropped in this order: nobody finds a path at which nobody listens.
    address: Address,
    listener: UnixListener,
    limits: Limits,
    /// Its end is the sign to stop.
    life: UnixStream,
    stopper: Stopper,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (f.debug_struct("Server").field("path", &self.path())).finish_non_exhaustive()
    }
}

/// Stops a [`Server`], from any thread: made by [`Server::stopper`].
#[derive(Debug, Clone)]
pub struct Stopper {
    life: Arc<UnixStream>,
    /// Whose the server is: a fork(2) of it has a copy, and stops nothing.
    owner: sys::Pid,
}

impl Stopper {
    /// Has [`Server::run`] return, now or as soon as it is called. Does nothing the second time.
    ///
    /// Programs that are connected lose their server. In a process that the program has become by
    /// `fork(2)` since, it does nothing: the server is its parent's.
    pub fn stop(&self) {
        if self.owner == sys::pid() {
            // It fails when the server has gone, which is as good.
            let _ = self.life.shutdown(Shutdown::Both);
        }
    }
}

/// How a server is to be. Made by [`Server::builder`].
#[derive(Debug, Clone)]
#[must_use = "nothing listens before `bind`"]
pub struct ServerBuilder {
    limits: Limits,
}

impl ServerBuilder {
    /// How much the server may hold of everything: [`Limits`].
    pub fn limits(mut self, limits: Limits) -> ServerBuilder {
        self.limits = limits;
        self
    }

    /// Takes the path, and listens there. Who connects waits until the server [runs](Server::run).
    ///
    /// Beside the socket there is a file `PATH.lock` as long as the server is: of those who want the
    /// path at one moment, one has it. The socket of a server that is dead is replaced.
    ///
    /// # Errors
    /// [`is_address_in_use`](Error::is_address_in_use) when somebody listens there;
    /// [`is_bad_limits`](Error::is_bad_limits) when the limits do not fit each other; else
    /// [`is_bind`](Error::is_bind) with what the system says (no such directory, not permitted, a path of
    /// more than 107 bytes, a file of this name that is no socket).
    #[track_caller]
    pub fn bind(self, path: impl AsRef<Path>) -> Result<Server> {
        let path = path.as_ref();
        let shown = path.to_string_lossy();
        let operation = operation("Server::bind", Some(&shown), Location::caller());
        let failed = |kind| Error::new(kind, &operation);
        let not_bound =
            |error: std::io::Error| failed(Kind::Unconnected(Unconnected::Bind(error.to_string())));
        (self.limits.check()).map_err(|unfit| failed(Kind::BadLimits(unfit.to_string())))?;
        let path = absolute(path).map_err(not_bound)?;
        let (listener, address) = address::bind(&path).map_err(|error| match error {
            BindError::InUse(why) => failed(Kind::Unconnected(Unconnected::AddressInUse(why))),
            BindError::System(error) => not_bound(error),
        })?;
        let (life, far) = UnixStream::pair().map_err(not_bound)?;
        Ok(Server {
            address,
            listener,
            limits: self.limits,
            life,
            stopper: Stopper {
                life: Arc::new(far),
                owner: sys::pid(),
            },
        })
    }
}

impl Server {
    /// Takes a path, and listens there: [`ServerBuilder::bind`] with the usual limits.
    ///
    /// # Errors
    /// As there.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// # let place = tempfile::tempdir()?;
    /// # let path = place.path().join("state.socket");
    /// let server = zproc::Server::bind(&path)?;
    /// assert!(zproc::Server::bind(&path).unwrap_err().is_address_in_use());
    /// drop(server);
    /// assert!(!path.exists());
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn bind(path: impl AsRef<Path>) -> Result<Server> {
        Server::builder().bind(path)
    }

    /// As [`bind`](Server::bind), with more to say on how.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// # let place = tempfile::tempdir()?;
    /// # let path = place.path().join("state.socket");
    /// let mut limits = zproc::Limits::default();
    /// limits.processes_live_max = 16;
    /// let server = zproc::Server::builder().limits(limits).bind(&path)?;
    /// # assert_eq!(server.path(), path);
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> ServerBuilder {
        ServerBuilder {
            limits: Limits::USUAL,
        }
    }

    /// Where it listens, as an absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.address.path()
    }

    /// What stops it.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Serves, on this thread, until it is [stopped](Stopper::stop). Then the socket's file is gone.
    ///
    /// Each connection takes a descriptor of this program, and each program that is connected takes
    /// two and one for each of its processes; when there are no more, who comes next waits. The limit of
    /// the process is mostly 1024, and is the program's own to raise.
    ///
    /// # Errors
    /// The system has no descriptors or randomness for it to begin with, or its event loop fails:
    /// [`is_bind`](Error::is_bind), with the reason. [`is_forked`](Error::is_forked) in a process that
    /// the program has become by `fork(2)` since: the path is its parent's, and what serves has to bind.
    #[track_caller]
    pub fn run(self) -> Result<()> {
        let shown = self.path().to_string_lossy().into_owned();
        let operation = operation("Server::run", Some(&shown), Location::caller());
        let broken =
            |why: String| Error::new(Kind::Unconnected(Unconnected::Bind(why)), &operation);
        if !self.address.is_own() {
            return Err(Error::new(Kind::Forked, &operation));
        }
        let draw = || sys::random_u64().map_err(|error| broken(error.to_string()));
        let mut config = server::Config::alone([draw()?, draw()?]);
        config.pid = std::process::id();
        config.limits = self.limits;
        let clock = Clock::new();
        let server = server::Server::new(config, Box::new(NoFunctions), clock.now());
        let Server {
            address,
            listener,
            life,
            stopper: _stopper,
            ..
        } = self;
        let sockets = Sockets {
            listener,
            keeper: life,
            admits: peer::is_own_user,
            #[cfg(feature = "recording")]
            witness: crate::process::record::commits,
        };
        let end = server_loop::run(server, clock, sockets, || address.remove_socket());
        // Free again when nobody is connected any more.
        drop(address);
        match end {
            LoopEnd::KeeperLost => Ok(()),
            LoopEnd::KeeperMalformed(malformed) => Err(broken(malformed.to_string())),
            LoopEnd::Broken(error) => Err(broken(error.to_string())),
        }
    }
}

fn operation<'a>(
    verb: &'static str,
    object: Option<&'a str>,
    caller: &'static Location<'static>,
) -> Operation<'a> {
    Operation {
        verb,
        object,
        namespace: None,
        caller,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::forked::in_fork;

    /// A child that the program had forked stopped its parent's server.
    #[test]
    fn a_fork_neither_stops_the_server_nor_serves() {
        let place = tempfile::tempdir().expect("temporary directory");
        let mut server = Some(Server::bind(place.path().join("socket")).expect("bind"));
        let stopper = server.as_ref().expect("it is there").stopper();
        assert!(in_fork(|| {
            stopper.stop();
            let server = server.take().expect("its copy");
            server.run().is_err_and(|error| error.is_forked())
        }));
        // It runs: a client is let in, and only then is it stopped.
        let path = server.as_ref().expect("it is there").path().to_owned();
        let serves = std::thread::spawn(move || server.take().expect("it is there").run());
        let joined = crate::process::joining::join(&path, std::time::Duration::from_secs(60));
        joined.expect("nobody has stopped it");
        stopper.stop();
        serves.join().expect("no panic").expect("it was stopped");
    }
}
