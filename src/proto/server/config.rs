//! What a server is told at its start.

use super::super::ids::{BuildId, Token};
use super::super::limits::{self, Agreed, Limits};
use std::time::Duration;

/// What a server is told at its start.
#[derive(Debug, Clone)]
pub struct Config {
    /// Identity of the executable; clients must have the same, where the server runs functions.
    pub build: BuildId,
    /// Does it call the program's functions? If not, its clients run them, whatever their builds.
    pub runs_functions: bool,
    /// Is each function of the program run twice on the same state, and what it does compared?
    /// Whoever runs it.
    pub runs_functions_twice: bool,
    /// The secret of the program, process [`ProcessId::PROGRAM`](super::super::ids::ProcessId::PROGRAM). `None`: the server stands alone, and
    /// takes in programs that come with keepers of their own.
    pub program_key: Option<Token>,
    /// The server's number in the system.
    pub pid: u32,
    /// From this all tokens are drawn.
    pub seed: [u64; 2],
    /// What is allowed. Must pass [`Limits::check`].
    pub limits: Limits,
    /// See [`limits::SESSION_GRACE`].
    pub session_grace: Duration,
    /// See [`limits::LEASE_TIME`].
    pub lease_time: Duration,
    /// Keeps each change set for [`Server::poll_commit`](super::Server::poll_commit): for the simulator's checkers.
    pub record_commits: bool,
}

impl Config {
    /// The server of a program's tree, with the limits as they stand in `limits.rs`.
    #[must_use]
    pub fn new(build: BuildId, program_key: Token, seed: [u64; 2]) -> Config {
        Config {
            build,
            runs_functions: true,
            runs_functions_twice: false,
            program_key: Some(program_key),
            pid: 0,
            seed,
            limits: Limits::USUAL,
            session_grace: limits::SESSION_GRACE,
            lease_time: limits::LEASE_TIME,
            record_commits: false,
        }
    }

    /// A server that stands alone, for programs of whatever builds: it runs no functions.
    #[must_use]
    pub fn alone(seed: [u64; 2]) -> Config {
        Config {
            runs_functions: false,
            program_key: None,
            ..Config::new(BuildId([0; 2]), Token([0; 2]), seed)
        }
    }

    /// What a client is told of it.
    pub(super) fn agreed(&self) -> Agreed {
        Agreed {
            runs_functions: self.runs_functions,
            runs_functions_twice: self.runs_functions_twice,
            server_pid: self.pid,
            ..self.limits.agreed()
        }
    }
}
