//! What a server says of itself in its welcome.

use super::Limits;
use speedy::{Readable, Writable};

/// What a client has to know of its server, so as not to break the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Readable, Writable)]
pub struct Agreed {
    /// See [`IN_FLIGHT_MAX`](super::IN_FLIGHT_MAX).
    pub in_flight_max: u64,
    /// See [`PART_BYTES_MAX`](super::PART_BYTES_MAX).
    pub part_bytes_max: u64,
    /// See [`VALUE_BYTES_MAX`](super::VALUE_BYTES_MAX).
    pub value_bytes_max: u64,
    /// See [`REPLIES_BYTES_MAX`](super::REPLIES_BYTES_MAX).
    pub replies_bytes_max: u64,
    /// Does it call the program's functions? If not, they run in their callers.
    pub runs_functions: bool,
    /// Is each run twice, and what it does compared?
    pub runs_functions_twice: bool,
    /// Its number in the system.
    pub server_pid: u32,
}

impl Limits {
    /// What clients are told of them.
    #[must_use]
    pub const fn agreed(&self) -> Agreed {
        Agreed {
            in_flight_max: self.in_flight_max as u64,
            part_bytes_max: self.part_bytes_max as u64,
            value_bytes_max: self.value_bytes_max as u64,
            replies_bytes_max: self.replies_bytes_max as u64,
            runs_functions: true,
            runs_functions_twice: false,
            server_pid: 0,
        }
    }
}
