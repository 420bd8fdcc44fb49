//! Pages to read; there is no code here.
//!
//! - [Guarantees](guarantees): what holds, each with an example.
//! - [Coming from ZProc](coming_from_zproc): what the Python package offers, and its name here.
//! - [Limits](limits): how much there may be of everything, and what happens then.

pub mod coming_from_zproc;
pub mod guarantees;
pub mod limits;
