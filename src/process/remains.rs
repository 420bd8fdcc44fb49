//! What the keeper holds of each process until its end is told: the streams that it captures, and
//! the file in which a dying process writes its last words.
//!
//! Streams are read as they fill, so that no process waits for its end to be read, and a bounded
//! part of each at a time, so that none that writes without end holds up the others. At a
//! process's end what its pipes hold is read and they are closed: a descendant that still holds the
//! other end is not waited for.

use super::launch::{LaunchError, Redirect};
use super::mapped;
use super::stage::Stage;
use super::sys;
use crate::proto::ids::ProcessId;
use crate::proto::limits::{LAST_WORDS_BYTES_MAX, OUTPUT_TAIL_BYTES_MAX};
use crate::proto::message::{Captured, Left};
use crate::proto::setup::{Output, Setup};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt as _;

/// Most bytes that one stream is read by at a time.
const READ_BYTES: usize = 64 * 1024;
/// Most streams that are read at a time.
const STREAMS_PER_TURN_MAX: usize = 16;
/// Most bytes that are read of a stream when its process has ended: what a pipe can hold.
const LAST_READ_BYTES_MAX: usize = 1024 * 1024;

/// All of them.
pub(crate) struct Estate {
    /// Tells which streams have something to read; their numbers are made of the process's.
    epoll: OwnedFd,
    remains: BTreeMap<ProcessId, Remains>,
    buffer: Vec<u8>,
}

/// Of one process.
struct Remains {
    words: OwnedFd,
    /// Its standard output and error.
    streams: [Option<Stream>; 2],
}

/// A captured stream.
struct Stream {
    pipe: OwnedFd,
    tail: VecDeque<u8>,
    omitted: u64,
}

/// What a process to come is to inherit; kept until it has.
pub(crate) struct Inherited {
    /// Its last words go here, and so many bytes behind them are the stage's.
    pub(crate) words: OwnedFd,
    pub(crate) outset_bytes: u32,
    /// Its ends of the pipes.
    #[expect(dead_code, reason = "kept open until the process has its copies")]
    pipes: Vec<OwnedFd>,
}

/// What is told of a process that has ended.
#[derive(Default)]
pub(crate) struct Found {
    words: Vec<u8>,
    streams: [Option<(Vec<u8>, u64)>; 2],
}

impl Found {
    /// As it is told.
    pub(crate) fn as_message(&self, out_of_memory: bool) -> Left<'_> {
        let [stdout, stderr] = &self.streams;
        Left {
            words: &self.words,
            stdout: stdout.as_ref().map(captured),
            stderr: stderr.as_ref().map(captured),
            out_of_memory,
        }
    }
}

fn captured((tail, omitted): &(Vec<u8>, u64)) -> Captured<'_> {
    Captured {
        tail,
        omitted: *omitted,
    }
}

impl Estate {
    pub(crate) fn new() -> io::Result<Estate> {
        Ok(Estate {
            epoll: sys::epoll()?,
            remains: BTreeMap::new(),
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Becomes readable when [`read`](Estate::read) has something to do.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Makes what a process needs, and has its stage use it.
    pub(crate) fn open(
        &mut self,
        process: ProcessId,
        setup: &Setup<'_>,
        stage: &mut Stage,
    ) -> Result<Inherited, LaunchError> {
        let failed = |call| {
            move |error: io::Error| LaunchError {
                call,
                errno: error.raw_os_error().unwrap_or(libc::EIO),
            }
        };
        let begin = LAST_WORDS_BYTES_MAX as u64;
        let size = begin + stage.outset.len() as u64;
        let words = mapped::create(c"zproc-words", size)
            .and_then(|words| {
                let file = File::from(words);
                file.write_all_at(&stage.outset, begin)?;
                Ok(OwnedFd::from(file))
            })
            .map_err(failed("memfd_create"))?;
        let mut streams = [None, None];
        let mut pipes = Vec::new();
        for (index, output) in [setup.stdout, setup.stderr].into_iter().enumerate() {
            if output != Output::Captured {
                continue;
            }
            let (reader, writer) = io::pipe().map_err(failed("pipe"))?;
            let (reader, writer) = (OwnedFd::from(reader), OwnedFd::from(writer));
            stage.changes.stdio[index + 1] = Redirect::To(writer.as_raw_fd());
            let key = process.0 << 1 | index as u64;
            let watched = sys::set_nonblocking(reader.as_fd())
                .and_then(|()| sys::epoll_add(self.epoll.as_fd(), reader.as_fd(), key));
            watched.map_err(failed("epoll_ctl"))?;
            streams[index] = Some(Stream::new(reader));
            pipes.push(writer);
        }
        let own = words.try_clone().map_err(failed("fcntl"))?;
        let remains = Remains {
            words: own,
            streams,
        };
        self.remains.insert(process, remains);
        Ok(Inherited {
            words,
            outset_bytes: u32::try_from(stage.outset.len()).expect("a setup is bounded"),
            pipes,
        })
    }

    /// Reads some of what the streams hold.
    pub(crate) fn read(&mut self) {
        for key in sys::epoll_ready::<STREAMS_PER_TURN_MAX>(self.epoll.as_fd()) {
            let remains = self.remains.get_mut(&ProcessId(key >> 1));
            let Some(stream) = remains.map(|remains| &mut remains.streams[(key & 1) as usize])
            else {
                continue;
            };
            if let Some(stream) = stream
                && !stream.read(&mut self.buffer)
            {
                // It is told of again and again, otherwise.
                sys::epoll_remove(self.epoll.as_fd(), stream.pipe.as_fd());
            }
        }
    }

    /// All that there is of a process that has ended, or was not started; it is forgotten.
    pub(crate) fn take(&mut self, process: ProcessId) -> Found {
        let Some(remains) = self.remains.remove(&process) else {
            return Found::default();
        };
        let mut buffer = std::mem::take(&mut self.buffer);
        let streams = remains.streams.map(|stream| {
            let mut stream = stream?;
            stream.read_all(&mut buffer);
            Some((Vec::from(stream.tail), stream.omitted))
        });
        self.buffer = buffer;
        Found {
            words: words(remains.words.as_raw_fd()),
            streams,
        }
    }
}

/// What was written down: a frame's payload, or nothing.
fn words(file: RawFd) -> Vec<u8> {
    let mut prefix = [0; 4];
    let mut payload = Vec::new();
    if sys::read_at(file, &mut prefix, 0) == prefix.len() {
        let length = u32::from_le_bytes(prefix) as usize;
        if (1..=LAST_WORDS_BYTES_MAX - prefix.len()).contains(&length) {
            payload = vec![0; length];
            let count = sys::read_at(file, &mut payload, prefix.len() as i64);
            payload.truncate(count);
        }
    }
    payload
}

impl Stream {
    fn new(pipe: OwnedFd) -> Stream {
        Stream {
            pipe,
            tail: VecDeque::new(),
            omitted: 0,
        }
    }

    /// Reads once; false when nothing will come any more.
    fn read(&mut self, buffer: &mut [u8]) -> bool {
        match sys::read(self.pipe.as_fd(), buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.keep(&buffer[..count]);
                true
            }
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Reads what is there.
    fn read_all(&mut self, buffer: &mut [u8]) {
        let mut room = LAST_READ_BYTES_MAX;
        while room > 0 {
            match sys::read(self.pipe.as_fd(), buffer) {
                Ok(count) if count > 0 => {
                    self.keep(&buffer[..count]);
                    room = room.saturating_sub(count);
                }
                _ => return,
            }
        }
    }

    /// Keeps the newest.
    fn keep(&mut self, bytes: &[u8]) {
        self.tail.extend(bytes);
        let excess = self.tail.len().saturating_sub(OUTPUT_TAIL_BYTES_MAX);
        self.tail.drain(..excess);
        self.omitted += excess as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn the_newest_of_a_stream_is_kept_and_the_rest_is_counted() {
        let (reader, mut writer) = io::pipe().expect("pipe");
        let mut stream = Stream::new(reader.into());
        sys::set_nonblocking(stream.pipe.as_fd()).expect("a pipe can be so");
        let mut buffer = vec![0; READ_BYTES];
        for letter in [b'a', b'b', b'c'] {
            writer.write_all(&[letter; 50_000]).expect("there is room");
            assert!(stream.read(&mut buffer));
        }
        // Nothing now, but something may come.
        assert!(stream.read(&mut buffer));
        assert_eq!(stream.tail.len(), OUTPUT_TAIL_BYTES_MAX);
        assert_eq!(stream.omitted, 150_000 - OUTPUT_TAIL_BYTES_MAX as u64);
        assert_eq!(stream.tail.back(), Some(&b'c'));
        assert_eq!(stream.tail.front(), Some(&b'b'));
        writer.write_all(b"last").expect("there is room");
        // Somebody holds the other end still: that is not waited for.
        stream.read_all(&mut buffer);
        assert!(Vec::from(stream.tail.clone()).ends_with(b"clast"));
        drop(writer);
        assert!(!stream.read(&mut buffer));
    }

    #[test]
    fn words_that_are_none_are_none() {
        let file = mapped::create(c"test", LAST_WORDS_BYTES_MAX as u64).expect("memory");
        let number = file.as_raw_fd();
        assert!(words(number).is_empty());
        let mut file = File::from(file);
        file.write_all(&u32::MAX.to_le_bytes()).expect("write");
        assert!(words(number).is_empty());
        file.write_all_at(b"\x03\0\0\0abc", 0).expect("write");
        assert_eq!(words(number), b"abc");
        // It can't be made to hold more than it may.
        file.write_all_at(b"x", LAST_WORDS_BYTES_MAX as u64)
            .expect_err("it is sealed");
    }
}
