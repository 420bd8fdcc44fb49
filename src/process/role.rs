//! What a process of the tree is told as it starts, and by which way.
//!
//! The environment variable [`ENTRY_VARIABLE`] names a pipe and a nonce; the pipe holds the nonce
//! and one [`Role`] as a frame. Both are good once: the pipe is closed and the variable removed as
//! soon as they are read, so a program that a process of the tree starts is an ordinary program.

use super::sys;
use crate::proto::codec;
use crate::proto::frame;
use crate::proto::ids::{ProcessId, Token};
use crate::proto::limits::Limits;
use speedy::{Readable, Writable};
use std::ffi::CString;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

/// Names the pipe and the nonce: `descriptor:nonce:version`.
pub(crate) const ENTRY_VARIABLE: &str = "ZPROC_ENTRY";
/// Names the trees that a process belongs to, outermost first: `tree` or `tree/process`, with
/// commas between. Inherited by whatever a process starts, so that a sweep finds it.
pub(crate) const TREE_VARIABLE: &str = "ZPROC_TREE";

/// Two versions of this crate in one program don't take each other's children.
const VERSION: &str = env!("CARGO_PKG_VERSION");
const NONCE_BYTES: usize = 16;
/// Longer names of functions are cut: they are shown to people, and a pipe is sure to hold 4 KiB.
const NAME_BYTES_MAX: usize = 512;

/// What a new process is to be. Paths are bytes, descriptors are numbers that were inherited.
#[derive(Debug, Clone, PartialEq, Readable, Writable)]
pub(crate) enum Role<'a> {
    /// Forks and reaps everything else of the tree.
    Keeper(KeeperRole<'a>),
    /// Holds the state.
    Server {
        tree: &'a str,
        directory: &'a [u8],
        key: Token,
        /// Socket to the keeper.
        link: RawFd,
        /// The socket that clients connect to.
        listener: RawFd,
        lock: RawFd,
        page: RawFd,
        /// Rung when a function begins and the keeper does not watch.
        bell: RawFd,
        limits: Limits,
        functions: Functions,
    },
    /// Runs a function of the user's.
    Child {
        socket: &'a [u8],
        process: ProcessId,
        key: Token,
        name: &'a str,
        page: RawFd,
        /// A file for its last words.
        words: RawFd,
        /// So many bytes behind them say what it does at first.
        outset_bytes: u32,
    },
}

/// How the program's functions are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Readable, Writable)]
pub(crate) struct Functions {
    /// In the server; else in their callers.
    pub(crate) in_server: bool,
    /// Each twice on the same state, and compared.
    pub(crate) twice: bool,
}

/// What a keeper begins with.
#[derive(Debug, Clone, PartialEq, Readable, Writable)]
pub(crate) struct KeeperRole<'a> {
    pub(crate) tree: &'a str,
    pub(crate) upstream: UpstreamRole<'a>,
    /// Socket to the program: its end means that the program has let go of the tree.
    pub(crate) lifeline: RawFd,
    /// Pidfd of the program.
    pub(crate) program: RawFd,
    /// The page that tells of the server's end.
    pub(crate) page: RawFd,
    /// Rung when the program is asked to end.
    pub(crate) stop_bell: RawFd,
    /// What ends the program when it was asked and its grace is over; zero: nothing does.
    pub(crate) last_signal: i32,
    /// How long the tree may take to end when the program is asked to.
    pub(crate) grace_ns: u64,
}

/// By which server a keeper is told what to do.
#[expect(clippy::large_enum_variant, reason = "there is one, once")]
#[derive(Debug, Clone, PartialEq, Readable, Writable)]
pub(crate) enum UpstreamRole<'a> {
    /// The tree's own, which is still to be started.
    Own {
        directory: &'a [u8],
        /// The program's secret, for the server.
        key: Token,
        /// The lock file of the directory, locked.
        lock: RawFd,
        /// How long a function in the server may run.
        function_time_max_ns: u64,
        /// For the server.
        limits: Limits,
        functions: Functions,
    },
    /// One that stands alone, listens here and has taken the program in.
    Other {
        socket: &'a [u8],
        /// The way to it.
        link: RawFd,
    },
}

/// What the keeper tells the program, once.
#[derive(Debug, Clone, PartialEq, Readable, Writable)]
pub(crate) enum ToProgram<'a> {
    /// The tree stands; the server listens here.
    Ready { socket: &'a [u8] },
    /// It does not.
    Failed { what: &'a str },
}

/// Cuts a name to what is shown.
pub(crate) fn short(name: &str) -> &str {
    let mut end = name.len().min(NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

/// A role that is packed for a process to come.
pub(crate) struct Packed {
    /// To be inherited.
    pub(crate) pipe: OwnedFd,
    /// To be set in the environment, `NAME=value`.
    pub(crate) variable: CString,
}

/// Packs a role.
///
/// # Errors
/// No more descriptors, or no randomness.
pub(crate) fn pack(role: &Role<'_>) -> io::Result<Packed> {
    let mut nonce = [0; NONCE_BYTES];
    sys::random(&mut nonce)?;
    let mut content = nonce.to_vec();
    frame::append(role, &mut content);
    let (reader, mut writer) = io::pipe()?;
    // Far less than any pipe holds, so this doesn't block.
    writer.write_all(&content)?;
    let pipe = OwnedFd::from(reader);
    let variable = format!(
        "{ENTRY_VARIABLE}={}:{}:{VERSION}",
        pipe.as_raw_fd(),
        hex(&nonce)
    );
    let variable = CString::new(variable).expect("it is made of digits and letters");
    Ok(Packed { pipe, variable })
}

/// Unpacks what the variable names: the frame's payload, to be read with [`read`].
///
/// `None`: it was not meant for this program. The variable came from outside then, and so nothing
/// is taken but bytes of a pipe that was left open under that very number.
pub(crate) fn unpack(variable: &str) -> Option<Vec<u8>> {
    let mut parts = variable.splitn(3, ':');
    let (descriptor, nonce, version) = (parts.next()?, parts.next()?, parts.next()?);
    let descriptor: RawFd = descriptor.parse().ok()?;
    if version != VERSION || !sys::is_filled_pipe(descriptor) {
        return None;
    }
    let mut pipe = io::PipeReader::from(sys::adopt(descriptor)?);
    let mut start = [0; NONCE_BYTES + frame::PREFIX_BYTES];
    pipe.read_exact(&mut start).ok()?;
    let (found, prefix) = start.split_at(NONCE_BYTES);
    if hex(found) != nonce {
        return None;
    }
    let length = u32::from_le_bytes(prefix.try_into().ok()?) as usize;
    if length > 64 * 1024 {
        return None;
    }
    let mut payload = vec![0; length];
    pipe.read_exact(&mut payload).ok()?;
    Some(payload)
}

/// Reads the payload of a frame.
///
/// # Errors
/// [`codec::Malformed`].
pub(crate) fn read(payload: &[u8]) -> Result<Role<'_>, codec::Malformed> {
    codec::decode(payload)
}

/// Bytes as text.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}

/// Does the value of [`TREE_VARIABLE`] name this tree (and this process of it, if one is given)?
pub(crate) fn is_marked(value: &[u8], tree: &str, process: Option<ProcessId>) -> bool {
    let wanted_process = process.map(|process| process.0.to_string());
    value.split(|&byte| byte == b',').any(|mark| {
        let mut parts = mark.splitn(2, |&byte| byte == b'/');
        let of_tree = parts.next() == Some(tree.as_bytes());
        let of_process = parts.next();
        of_tree
            && match &wanted_process {
                None => true,
                Some(wanted) => of_process == Some(wanted.as_bytes()),
            }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_comes_as_it_was_packed_and_once() {
        let role = Role::Child {
            socket: b"/nowhere",
            process: ProcessId(7),
            key: Token([1, 2]),
            name: "f",
            page: 9,
            words: 3,
            outset_bytes: 0,
        };
        let packed = pack(&role).expect("pack");
        let variable = packed.variable.to_str().expect("text");
        let value = variable
            .strip_prefix("ZPROC_ENTRY=")
            .expect("its own name")
            .to_string();
        // As over exec: the number goes on without its owner.
        std::mem::forget(packed.pipe);
        let payload = unpack(&value).expect("ours");
        assert_eq!(read(&payload).expect("a role"), role);
        assert!(unpack(&value).is_none());
    }

    #[test]
    fn strange_variables_are_left_alone() {
        for value in [
            "",
            "x",
            "3",
            "0:00:0",
            "-1:aa:0.1.0",
            "99999:aa:0.1.0",
            ":::",
        ] {
            assert!(unpack(value).is_none(), "{value}");
        }
    }

    #[test]
    fn marks_name_trees_and_processes() {
        let value = b"aa,bb/7,cc/12";
        assert!(is_marked(value, "aa", None));
        assert!(is_marked(value, "bb", None));
        assert!(is_marked(value, "bb", Some(ProcessId(7))));
        assert!(!is_marked(value, "bb", Some(ProcessId(1))));
        assert!(!is_marked(value, "aa", Some(ProcessId(7))));
        assert!(!is_marked(value, "b", None));
        assert!(!is_marked(b"", "aa", None));
    }

    #[test]
    fn names_are_cut_at_a_letter() {
        let long = "é".repeat(400);
        assert_eq!(short(&long).len(), 512);
        assert_eq!(short("f"), "f");
    }
}
