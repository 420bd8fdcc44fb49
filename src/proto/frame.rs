//! Frames: a `u32` length, little-endian, and that many bytes. And the buffer that holds them.

use super::codec::{self, Malformed};
use super::limits::FRAME_BYTES_MAX;
use super::planted::{self, Bug};
use speedy::{Endianness, Writable};

/// Bytes of the length prefix.
pub const PREFIX_BYTES: usize = 4;

/// Finds the frame at the start of `input`: its payload and the bytes it takes in all.
///
/// `Ok(None)` when more bytes are needed.
///
/// # Errors
/// A frame that claims to be empty or larger than [`FRAME_BYTES_MAX`].
pub fn split(input: &[u8]) -> Result<Option<(&[u8], usize)>, Malformed> {
    let Some((prefix, rest)) = input.split_first_chunk::<PREFIX_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*prefix) as usize;
    let overlong = length > FRAME_BYTES_MAX && !planted::is(Bug::OverlongFrameAwaited);
    if length == 0 || overlong {
        return Err(Malformed(format!(
            "a frame of {length} bytes (1 to {FRAME_BYTES_MAX} are allowed)"
        )));
    }
    if rest.len() < length {
        return Ok(None);
    }
    Ok(Some((&rest[..length], PREFIX_BYTES + length)))
}

/// Appends `message` to `to` as one frame.
pub fn append<T: Writable<Endianness>>(message: &T, to: &mut Vec<u8>) {
    let start = to.len();
    to.extend_from_slice(&[0; PREFIX_BYTES]);
    codec::encode(message, to);
    let length = to.len() - start - PREFIX_BYTES;
    // No one may build a message that its peer refuses: the limits of its parts see to that.
    assert!(
        length <= FRAME_BYTES_MAX,
        "a frame of {length} bytes was built"
    );
    to[start..start + PREFIX_BYTES].copy_from_slice(&(length as u32).to_le_bytes());
}

/// Bytes on their way out. A partial write is normal: send [`pending`](Outbox::pending), then say
/// how much went with [`advance`](Outbox::advance).
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
}

/// Above this much sent data in front, the rest is moved to the start of the buffer.
const COMPACT_BYTES: usize = 64 * 1024;
/// A drained buffer larger than this is given back.
const KEEP_BYTES: usize = 1024 * 1024;

impl Outbox {
    /// What is still to be sent.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// How many bytes are still to be sent.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// True when there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first `count` pending bytes have been sent.
    ///
    /// # Panics
    /// When fewer are pending.
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.len(), "more was sent than was pending");
        self.sent += count;
        if self.sent == self.bytes.len() {
            self.clear();
        } else if self.sent >= COMPACT_BYTES && self.sent * 2 >= self.bytes.len() {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Appends a message as a frame.
    pub fn push<T: Writable<Endianness>>(&mut self, message: &T) {
        append(message, &mut self.bytes);
    }

    /// Appends a frame that is encoded already, prefix included.
    pub fn push_encoded(&mut self, frame: &[u8]) {
        self.bytes.extend_from_slice(frame);
    }

    /// Forgets everything: the connection is gone.
    pub fn clear(&mut self) {
        self.sent = 0;
        if self.bytes.capacity() > KEEP_BYTES {
            self.bytes = Vec::new();
        } else {
            self.bytes.clear();
        }
    }

    /// Takes all that is pending, leaving the outbox empty; `spare` becomes its buffer.
    #[must_use]
    pub fn take(&mut self, spare: Vec<u8>) -> Vec<u8> {
        let mut taken = std::mem::replace(&mut self.bytes, spare);
        self.bytes.clear();
        taken.drain(..std::mem::take(&mut self.sent));
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claiming(length: usize) -> Vec<u8> {
        let mut bytes = (length as u32).to_le_bytes().to_vec();
        bytes.resize(PREFIX_BYTES + length.min(FRAME_BYTES_MAX), 7);
        bytes
    }

    #[test]
    fn a_frame_of_the_largest_size_is_one_and_a_larger_or_an_empty_one_is_not() {
        let largest = claiming(FRAME_BYTES_MAX);
        let (payload, length) = split(&largest).unwrap().unwrap();
        assert_eq!(payload.len(), FRAME_BYTES_MAX);
        assert_eq!(length, largest.len());
        assert!(matches!(split(&largest[..largest.len() - 1]), Ok(None)));
        assert!(split(&claiming(FRAME_BYTES_MAX + 1)).is_err());
        assert!(split(&claiming(0)).is_err());
    }

    #[test]
    fn an_outbox_counts_what_is_left_and_gives_sent_bytes_back() {
        let mut outbox = Outbox::default();
        outbox.push_encoded(&vec![1; COMPACT_BYTES]);
        outbox.push_encoded(&vec![2; COMPACT_BYTES]);
        outbox.advance(COMPACT_BYTES - 1);
        assert_eq!(outbox.len(), COMPACT_BYTES + 1);
        assert_eq!(
            outbox.sent,
            COMPACT_BYTES - 1,
            "too little to move the rest"
        );
        outbox.advance(1);
        assert_eq!((outbox.len(), outbox.sent), (COMPACT_BYTES, 0));
        assert!(outbox.pending().iter().all(|byte| *byte == 2));
        outbox.advance(COMPACT_BYTES);
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_drained_outbox_keeps_a_small_buffer_and_gives_a_large_one_back() {
        let mut outbox = Outbox::default();
        outbox.push_encoded(&vec![1; KEEP_BYTES / 2]);
        outbox.advance(KEEP_BYTES / 2);
        assert!(outbox.bytes.capacity() >= KEEP_BYTES / 2);
        outbox.push_encoded(&vec![1; KEEP_BYTES + 1]);
        outbox.advance(KEEP_BYTES + 1);
        assert_eq!(outbox.bytes.capacity(), 0);
    }
}
