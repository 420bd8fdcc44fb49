//! What the program tells on its standard output.
//!
//! `println!` panics when it can't write. A reader that has seen enough and closes the pipe is no
//! reason for that, and a full disk is one to say so.

use std::io::{self, ErrorKind, Write};

/// The exit code of a program that SIGPIPE has ended, as a shell tells it.
const NOBODY_READS: i32 = 128 + 13;
/// The exit code for what can't be done.
pub(crate) const CANNOT: u8 = 2;

/// One line of output, as `println!` takes it.
macro_rules! say {
    ($($what:tt)*) => { $crate::say::line(&format!($($what)*)) };
}
pub(crate) use say;

/// Writes a line. Ends the program when it can't: without a word if nobody reads any more.
pub(crate) fn line(text: &str) {
    if let Err(error) = writeln!(io::stdout(), "{text}") {
        if error.kind() == ErrorKind::BrokenPipe {
            std::process::exit(NOBODY_READS);
        }
        let _ = writeln!(io::stderr(), "zproc-sim: the standard output: {error}");
        std::process::exit(CANNOT.into());
    }
}
