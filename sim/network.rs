//! Simulated connections: two byte streams each, with the bounds and the ends of real ones.
//!
//! What is written lies in the kernel at once and arrives at the reader in pieces, later. Within a
//! living stream nothing is lost or reordered; a stream ends by being closed (all that was written
//! arrives first) or by being cut (a part of it arrives first).

use std::collections::VecDeque;
use std::ops::Range;

/// Bytes that one direction of a connection holds before its writer has to wait.
pub(crate) const PIPE_BYTES: usize = 64 * 1024;

/// One direction of a connection.
#[derive(Debug)]
pub(crate) struct Pipe {
    /// How many bytes it holds at most.
    capacity: usize,
    /// Written and not yet read.
    bytes: VecDeque<u8>,
    /// How many of `bytes`, from the front, have arrived at the reader.
    arrived: usize,
    /// The writer is gone: nothing comes behind `bytes`.
    closed: bool,
    /// The reader has been told so.
    end_arrived: bool,
    /// A delivery is on its way.
    pub(crate) delivering: bool,
}

impl Default for Pipe {
    fn default() -> Pipe {
        Pipe::new(PIPE_BYTES)
    }
}

impl Pipe {
    /// An open one that holds so many bytes.
    pub(crate) fn new(capacity: usize) -> Pipe {
        Pipe {
            capacity,
            bytes: VecDeque::new(),
            arrived: 0,
            closed: false,
            end_arrived: false,
            delivering: false,
        }
    }

    /// From now on it holds as much as any.
    pub(crate) fn widen(&mut self) {
        self.capacity = PIPE_BYTES;
    }

    /// How much may be written.
    pub(crate) fn room(&self) -> usize {
        if self.closed {
            0
        } else {
            self.capacity.saturating_sub(self.bytes.len())
        }
    }

    /// Appends `bytes`, for which there must be room.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len() <= self.room(), "more was written than fits");
        self.bytes.extend(bytes);
    }

    /// What has been written and has not arrived.
    pub(crate) fn travelling(&self) -> usize {
        self.bytes.len() - self.arrived
    }

    /// True when something is still to arrive: bytes or the end.
    pub(crate) fn is_due(&self) -> bool {
        self.travelling() > 0 || (self.closed && !self.end_arrived)
    }

    /// `count` more bytes arrive; with the last of a closed stream its end does too.
    pub(crate) fn arrive(&mut self, count: usize) {
        self.arrived += count.min(self.travelling());
        self.end_arrived = self.closed && self.travelling() == 0;
    }

    /// What the reader can read now.
    pub(crate) fn readable(&self) -> usize {
        self.arrived
    }

    /// True when the reader has read all and is told the end.
    pub(crate) fn at_end(&self) -> bool {
        self.end_arrived && self.bytes.is_empty()
    }

    /// Moves up to `count` arrived bytes to the end of `to`.
    pub(crate) fn read(&mut self, count: usize, to: &mut Vec<u8>) {
        let count = count.min(self.arrived);
        let (front, back) = self.bytes.as_slices();
        to.extend_from_slice(overlap(front, 0..count, 0));
        to.extend_from_slice(overlap(back, 0..count, front.len()));
        self.bytes.drain(..count);
        self.arrived -= count;
    }

    /// Moves arrived bytes into `to`, which must not be longer than what is readable.
    pub(crate) fn read_into(&mut self, to: &mut [u8]) {
        debug_assert!(to.len() <= self.arrived, "only arrived bytes can be read");
        let count = to.len();
        let (front, back) = self.bytes.as_slices();
        let (front, back) = (
            overlap(front, 0..count, 0),
            overlap(back, 0..count, front.len()),
        );
        to[..front.len()].copy_from_slice(front);
        to[front.len()..].copy_from_slice(back);
        self.bytes.drain(..count);
        self.arrived -= count;
    }

    /// Moves all bytes to the end of `to`, whether they have arrived or not: a look into the
    /// kernel of the machine that reader and writer share.
    pub(crate) fn read_all(&mut self, to: &mut Vec<u8>) {
        let (front, back) = self.bytes.as_slices();
        to.extend_from_slice(front);
        to.extend_from_slice(back);
        self.bytes.clear();
        self.arrived = 0;
        self.end_arrived = self.closed;
    }

    /// The writer closes its end.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    /// True when the writer has closed its end, or the stream was cut.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// The stream is cut: what has arrived stays, of the rest the first `keep` bytes still come.
    pub(crate) fn cut(&mut self, keep: usize) {
        let kept = self.arrived + keep.min(self.travelling());
        self.bytes.truncate(kept);
        self.closed = true;
    }

    /// What is in the pipe, in two slices.
    pub(crate) fn contents(&self) -> (&[u8], &[u8]) {
        self.bytes.as_slices()
    }

    /// A hash-ready look at the bytes that `arrive` would bring: the range's slices.
    pub(crate) fn travelling_slices(&self, count: usize) -> (&[u8], &[u8]) {
        let range = self.arrived..self.arrived + count.min(self.travelling());
        let (front, back) = self.bytes.as_slices();
        (
            overlap(front, range.clone(), 0),
            overlap(back, range, front.len()),
        )
    }
}

/// The part of `slice`, which begins at `offset`, that `range` covers.
fn overlap(slice: &[u8], range: Range<usize>, offset: usize) -> &[u8] {
    let start = range.start.saturating_sub(offset).min(slice.len());
    let end = range.end.saturating_sub(offset).min(slice.len());
    &slice[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pipe: &mut Pipe, count: usize) -> Vec<u8> {
        let mut to = Vec::new();
        pipe.read(count, &mut to);
        to
    }

    #[test]
    fn bytes_arrive_in_order_and_in_pieces() {
        let mut pipe = Pipe::default();
        pipe.write(b"abcdef");
        assert_eq!(pipe.readable(), 0);
        assert_eq!(read(&mut pipe, 10), b"");
        pipe.arrive(2);
        assert_eq!(read(&mut pipe, 1), b"a");
        pipe.write(b"gh");
        assert_eq!(pipe.travelling_slices(3).0, b"cde");
        pipe.arrive(100);
        assert_eq!(read(&mut pipe, 10), b"bcdefgh");
        assert!(!pipe.is_due() && !pipe.at_end());
    }

    #[test]
    fn a_closed_stream_ends_behind_its_last_byte() {
        let mut pipe = Pipe::default();
        pipe.write(b"xy");
        pipe.close();
        assert_eq!(pipe.room(), 0);
        pipe.arrive(1);
        assert!(pipe.is_due() && !pipe.at_end());
        pipe.arrive(1);
        assert!(!pipe.at_end(), "it is still to be read");
        assert_eq!(read(&mut pipe, 9), b"xy");
        assert!(pipe.at_end() && !pipe.is_due());
    }

    #[test]
    fn an_empty_closed_stream_has_its_end_to_deliver() {
        let mut pipe = Pipe::default();
        pipe.close();
        assert!(pipe.is_due() && !pipe.at_end());
        pipe.arrive(0);
        assert!(pipe.at_end());
    }

    #[test]
    fn a_cut_stream_keeps_what_has_arrived() {
        let mut pipe = Pipe::default();
        pipe.write(b"abcdef");
        pipe.arrive(2);
        pipe.cut(1);
        pipe.arrive(100);
        assert_eq!(read(&mut pipe, 9), b"abc");
        assert!(pipe.at_end());
    }

    #[test]
    fn room_is_bounded_and_comes_back() {
        let mut pipe = Pipe::default();
        pipe.write(&vec![0; PIPE_BYTES]);
        assert_eq!(pipe.room(), 0);
        pipe.arrive(PIPE_BYTES);
        assert_eq!(read(&mut pipe, 10).len(), 10);
        assert_eq!(pipe.room(), 10);
        let mut all = Vec::new();
        pipe.read_all(&mut all);
        assert_eq!(all.len(), PIPE_BYTES - 10);
        let mut narrow = Pipe::new(3);
        narrow.write(b"abc");
        assert_eq!(narrow.room(), 0);
        narrow.widen();
        assert_eq!(narrow.room(), PIPE_BYTES - 3);
    }

    #[test]
    fn slices_span_the_ring() {
        let mut pipe = Pipe::default();
        for round in 0..2000_u32 {
            let bytes = round.to_le_bytes();
            pipe.write(&bytes);
            let (front, back) = pipe.travelling_slices(4);
            assert_eq!([front, back].concat(), bytes);
            pipe.arrive(4);
            assert_eq!(read(&mut pipe, 4), bytes);
        }
    }
}
