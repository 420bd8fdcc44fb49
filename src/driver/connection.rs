//! One client's socket in the server's loop: what was read and is not consumed yet, and what is
//! known of the socket.

use crate::proto::frame;
use crate::proto::limits::FRAME_BYTES_MAX;
use crate::proto::server::Received;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;

/// Most bytes that are read in one turn.
pub(crate) const READ_BYTES: usize = 64 * 1024;
/// Most bytes that wait to be consumed: one frame that is as large as may be, and one read more.
const INBOX_BYTES_MAX: usize = FRAME_BYTES_MAX + frame::PREFIX_BYTES + READ_BYTES;
/// An empty inbox larger than this is given back.
const KEEP_BYTES: usize = READ_BYTES;
/// Most bytes that are read of what a dead process has left: more than a socket holds, and an end
/// to it if something that it left behind goes on writing.
const DRAIN_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flush {
    /// All went.
    Done,
    /// There is no more room.
    Full,
    /// The peer is gone.
    Broken,
}

/// A client's connection.
pub(crate) struct Connection {
    pub(crate) stream: UnixStream,
    /// It stands in the queue for a turn.
    pub(crate) is_queued: bool,
    /// epoll is asked about room to write: a write was blocked.
    pub(crate) asks_room: bool,
    /// epoll has told of room since.
    pub(crate) has_room: bool,
    inbox: Vec<u8>,
    /// The first byte of the inbox that is not consumed.
    start: usize,
    /// There may be something to read.
    readable: bool,
    /// The peer has closed: epoll says so once, and what it wrote before is to be read first.
    has_closed: bool,
    /// Reading has come to the end.
    is_at_end: bool,
    /// Writing is of no use any more.
    is_broken: bool,
    /// The server was told that the peer reads no more.
    is_hung_up: bool,
    /// The server wants to go on with what is there, when the others have had their turn.
    more: bool,
    /// The server takes no more before some of its output has gone.
    is_stalled: bool,
}

impl Connection {
    pub(crate) fn new(stream: UnixStream) -> Connection {
        Connection {
            stream,
            is_queued: false,
            asks_room: false,
            has_room: false,
            inbox: Vec::new(),
            start: 0,
            readable: false,
            has_closed: false,
            is_at_end: false,
            is_broken: false,
            is_hung_up: false,
            more: false,
            is_stalled: false,
        }
    }

    /// epoll says that there is something to read, or the end.
    pub(crate) fn note_readable(&mut self, has_closed: bool) {
        self.readable = true;
        self.has_closed |= has_closed;
    }

    /// Is there something to do without waiting?
    pub(crate) fn wants_turn(&self) -> bool {
        let hangs_up = self.is_broken && !self.is_hung_up;
        self.more || (self.readable && !self.is_stalled) || hangs_up || self.has_ended()
    }

    /// Is there nothing more to come from it, and nothing to be done with what came?
    pub(crate) fn has_ended(&self) -> bool {
        self.is_at_end && !self.more && !self.is_stalled
    }

    /// Some output has gone: what was stalled may go on. Is there something to do now?
    pub(crate) fn wants_turn_after_send(&mut self, sent: usize) -> bool {
        if self.is_stalled && sent > 0 {
            self.is_stalled = false;
            self.more = true;
        }
        self.wants_turn()
    }

    /// True once, when it is known that the peer reads no more: the server no longer waits for room
    /// then, and takes the rest of the input.
    pub(crate) fn take_hangup(&mut self) -> bool {
        if self.is_hung_up || !(self.is_at_end || self.is_broken) {
            return false;
        }
        self.is_hung_up = true;
        self.more |= std::mem::take(&mut self.is_stalled);
        true
    }

    /// Writing has failed; what is there to read still counts.
    pub(crate) fn break_off(&mut self) {
        self.is_broken = true;
        self.readable = !self.is_at_end;
    }

    /// Reads once into `scratch`, if the inbox is through with what it has; gives how much.
    pub(crate) fn fill(&mut self, scratch: &mut [u8]) -> usize {
        if !self.readable || self.more || self.is_stalled || self.is_at_end {
            return 0;
        }
        self.read(scratch)
    }

    fn read(&mut self, scratch: &mut [u8]) -> usize {
        loop {
            match self.stream.read(scratch) {
                Ok(0) => break,
                Ok(count) => {
                    // A short read has emptied the socket.
                    self.readable = count == scratch.len() || self.has_closed;
                    return count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    return 0;
                }
                Err(_) => break,
            }
        }
        self.is_at_end = true;
        self.readable = false;
        0
    }

    /// Offers the server what is there: the inbox and `fresh` behind it. Keeps what it leaves;
    /// gives how much it took.
    pub(crate) fn offer(&mut self, fresh: &[u8], receive: impl FnOnce(&[u8]) -> Received) -> usize {
        let has_old = self.start < self.inbox.len();
        if fresh.is_empty() && !(has_old && self.more) {
            return 0;
        }
        // Mostly all of it is consumed at once, and nothing is copied.
        let Received { consumed, more } = if has_old {
            self.inbox.extend_from_slice(fresh);
            let received = receive(&self.inbox[self.start..]);
            self.start += received.consumed;
            received
        } else {
            let received = receive(fresh);
            self.inbox.extend_from_slice(&fresh[received.consumed..]);
            received
        };
        self.compact();
        self.more = more;
        let rest = &self.inbox[self.start..];
        // A frame that is no frame is the server's to refuse; it has seen it.
        self.is_stalled = !more && matches!(frame::split(rest), Ok(Some(_)));
        consumed
    }

    fn compact(&mut self) {
        if self.start == self.inbox.len() {
            self.start = 0;
            if self.inbox.capacity() > KEEP_BYTES {
                self.inbox = Vec::new();
            } else {
                self.inbox.clear();
            }
        } else if self.start * 2 >= self.inbox.len() {
            self.inbox.drain(..self.start);
            self.start = 0;
        }
    }

    /// Reads and offers all that is there now, whatever the server's turn would allow.
    pub(crate) fn drain(&mut self, scratch: &mut [u8], mut receive: impl FnMut(&[u8]) -> Received) {
        let mut total = 0;
        loop {
            // What is left from before counts as well.
            loop {
                self.more = true;
                if self.offer(&[], &mut receive) == 0 {
                    break;
                }
            }
            if total > DRAIN_BYTES_MAX || self.inbox.len() - self.start > INBOX_BYTES_MAX {
                return;
            }
            let count = self.read(scratch);
            if count == 0 {
                return;
            }
            total += count;
            self.offer(&scratch[..count], &mut receive);
        }
    }

    /// Writes as much of `outbox` as there is room for; gives how much.
    pub(crate) fn flush(&mut self, outbox: &[u8]) -> (usize, Flush) {
        let mut sent = 0;
        if self.is_broken {
            return (0, Flush::Broken);
        }
        while sent < outbox.len() {
            match self.stream.write(&outbox[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return (sent, Flush::Full);
                }
                Err(_) => return (sent, Flush::Broken),
            }
        }
        (sent, Flush::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Connection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("socket pair");
        ours.set_nonblocking(true).expect("nonblocking");
        let mut connection = Connection::new(ours);
        connection.note_readable(false);
        (connection, theirs)
    }

    /// Takes whole frames, at most `most` of them.
    fn take(input: &[u8], most: usize) -> Received {
        let (mut consumed, mut taken) = (0, 0);
        while let Ok(Some((_, length))) = frame::split(&input[consumed..]) {
            if taken == most {
                return Received {
                    consumed,
                    more: true,
                };
            }
            taken += 1;
            consumed += length;
        }
        Received {
            consumed,
            more: false,
        }
    }

    fn frames(count: u8) -> Vec<u8> {
        (0..count).flat_map(|byte| [1, 0, 0, 0, byte]).collect()
    }

    #[test]
    fn a_short_read_ends_the_turn() {
        let (mut connection, mut peer) = pair();
        peer.write_all(&frames(2)).expect("write");
        let mut scratch = [0; 1024];
        let count = connection.fill(&mut scratch);
        assert_eq!(
            connection.offer(&scratch[..count], |input| take(input, 8)),
            10
        );
        assert!(!connection.wants_turn() && !connection.has_ended());
    }

    #[test]
    fn what_is_left_comes_with_the_next_turn_before_anything_is_read() {
        let (mut connection, mut peer) = pair();
        peer.write_all(&frames(3)).expect("write");
        let mut scratch = [0; 1024];
        let count = connection.fill(&mut scratch);
        assert_eq!(
            connection.offer(&scratch[..count], |input| take(input, 2)),
            10
        );
        assert!(connection.wants_turn());
        assert_eq!(connection.fill(&mut scratch), 0);
        assert_eq!(connection.offer(&[], |input| take(input, 2)), 5);
        assert!(!connection.wants_turn());
    }

    #[test]
    fn halves_of_frames_are_kept() {
        let (mut connection, mut peer) = pair();
        let bytes = frames(1);
        let mut scratch = [0; 1024];
        for (index, byte) in bytes.iter().enumerate() {
            peer.write_all(&[*byte]).expect("write");
            connection.note_readable(false);
            let count = connection.fill(&mut scratch);
            let taken = connection.offer(&scratch[..count], |input| take(input, 8));
            assert_eq!(taken, if index + 1 == bytes.len() { 5 } else { 0 });
        }
    }

    #[test]
    fn a_full_outbox_stalls_until_something_went() {
        let (mut connection, mut peer) = pair();
        peer.write_all(&frames(1)).expect("write");
        let mut scratch = [0; 1024];
        let count = connection.fill(&mut scratch);
        let full = Received {
            consumed: 0,
            more: false,
        };
        connection.offer(&scratch[..count], |_| full);
        connection.note_readable(false);
        assert!(!connection.wants_turn());
        assert!(!connection.wants_turn_after_send(0));
        assert!(connection.wants_turn_after_send(1));
        assert_eq!(connection.offer(&[], |input| take(input, 8)), 5);
        assert!(!connection.is_stalled);
    }

    #[test]
    fn the_end_comes_after_what_was_written() {
        let (mut connection, mut peer) = pair();
        peer.write_all(&frames(1)).expect("write");
        drop(peer);
        connection.note_readable(true);
        let mut scratch = [0; 1024];
        let count = connection.fill(&mut scratch);
        assert_eq!(
            connection.offer(&scratch[..count], |input| take(input, 8)),
            5
        );
        assert!(connection.wants_turn() && !connection.has_ended());
        assert_eq!(connection.fill(&mut scratch), 0);
        assert!(connection.has_ended());
    }

    #[test]
    fn a_drain_takes_all_that_is_there() {
        let (mut connection, mut peer) = pair();
        peer.write_all(&frames(200)).expect("write");
        let mut scratch = [0; 64];
        let mut taken = 0;
        // The peer is still open: it does not wait for its end.
        connection.drain(&mut scratch, |input| {
            let received = take(input, 3);
            taken += received.consumed;
            received
        });
        assert_eq!(taken, 1000);
    }
}
