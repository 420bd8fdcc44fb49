//! What a process does for itself before anything else, as its setup says: it opens the files of
//! its standard streams, and goes to its directory.
//!
//! Both may wait, for a file system that does not answer or for the other end of a pipe. So it is
//! not done between fork and exec, where the keeper would wait as well: it costs the process alone,
//! which can be killed meanwhile.

use super::sys;
use super::words;
use crate::proto::codec;
use crate::proto::message::LastWords;
use crate::proto::setup::{Input, Output, Setup};
use speedy::{Readable, Writable};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd as _, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;

/// As the keeper hands it to the process.
#[derive(Debug, Readable, Writable)]
struct Outset<'a> {
    stdin: Input<'a>,
    outputs: [Output<'a>; 2],
    directory: Option<&'a [u8]>,
}

/// What the process is to do, encoded; empty when there is nothing.
pub(crate) fn encode(setup: &Setup<'_>) -> Vec<u8> {
    let outset = Outset {
        stdin: setup.stdin,
        outputs: [setup.stdout, setup.stderr],
        directory: setup.directory,
    };
    let is_nothing = outset.directory.is_none()
        && !matches!(outset.stdin, Input::File(_))
        && outset
            .outputs
            .iter()
            .all(|output| matches!(output, Output::Inherit | Output::Captured));
    match is_nothing {
        true => Vec::new(),
        false => codec::to_bytes(&outset),
    }
}

/// Does what [`encode`] was told. If it can't be done, this process writes that down for the keeper.
///
/// # Errors
/// It could not be done.
pub(crate) fn carry_out(encoded: &[u8]) -> Result<(), Failed> {
    if encoded.is_empty() {
        return Ok(());
    }
    let outset: Outset<'_> = codec::decode(encoded).map_err(|_| Failed)?;
    outset.carry_out().map_err(|(call, error)| {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        words::write(&words::encode(&LastWords::NotStarted { call, errno }));
        Failed
    })
}

/// This process can't be what it was to be.
#[derive(Debug)]
pub(crate) struct Failed;

impl Outset<'_> {
    /// Files first: their paths are counted from where the program was.
    fn carry_out(&self) -> Result<(), (&'static str, io::Error)> {
        let failed = |call| move |error| (call, error);
        let mut way = OpenOptions::new();
        way.custom_flags(libc::O_NOCTTY);
        if let Input::File(path) = self.stdin {
            let call = "open of the standard input";
            put(way.clone().read(true), path, 0).map_err(failed(call))?;
        }
        let calls = ["open of the standard output", "open of the standard error"];
        for ((number, call), output) in (1..).zip(calls).zip(self.outputs) {
            let mut way = way.clone();
            match output {
                Output::Inherit | Output::Captured => Ok(()),
                Output::Null => put(way.write(true), b"/dev/null", number),
                Output::File(path) => {
                    let way = way.write(true).create(true).truncate(true);
                    put(way, path, number)
                }
                Output::Append(path) => put(way.append(true).create(true), path, number),
            }
            .map_err(failed(call))?;
        }
        match self.directory {
            None => Ok(()),
            Some(directory) => {
                std::env::set_current_dir(OsStr::from_bytes(directory)).map_err(failed("chdir"))
            }
        }
    }
}

/// Puts a file in the place of a standard stream.
fn put(way: &OpenOptions, path: &[u8], number: RawFd) -> io::Result<()> {
    let file: File = way.open(OsStr::from_bytes(path))?;
    sys::put_standard(file.as_fd(), number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_processes_have_nothing_to_do() {
        let mut setup = Setup {
            stdin: Input::Inherit,
            stdout: Output::Captured,
            ..Setup::default()
        };
        assert!(encode(&setup).is_empty());
        setup.stderr = Output::Null;
        assert!(!encode(&setup).is_empty());
        setup.stderr = Output::Inherit;
        setup.directory = Some(b"/");
        let encoded = encode(&setup);
        let outset: Outset<'_> = codec::decode(&encoded).expect("as encoded");
        assert_eq!(outset.directory, Some(&b"/"[..]));
    }

    #[test]
    fn nonsense_is_a_failure() {
        carry_out(&[7; 3]).expect_err("nobody wrote that");
    }
}
