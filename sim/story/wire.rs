//! One direction of a connection, as the story sees it: which bytes are which message's.

use super::Message;
use std::collections::VecDeque;
use zproc::seam::proto::codec::Malformed;
use zproc::seam::proto::frame;

/// Counts bytes: what was written, what has arrived, and where each message that travels ends.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    /// Written, and not a whole frame yet.
    begun: Vec<u8>,
    /// Bytes of all whole frames.
    framed: u64,
    arrived: u64,
    /// What is behind this place never arrives.
    end: Option<u64>,
    /// With the place behind the last byte of each.
    travelling: VecDeque<(u64, Message)>,
}

impl Wire {
    /// Bytes were written: each payload that is whole now is given to `read`, which names it.
    ///
    /// # Errors
    /// When they are no frames; nothing more is read of what was written.
    pub(crate) fn write(
        &mut self,
        bytes: &[u8],
        mut read: impl FnMut(&[u8]) -> Message,
    ) -> Result<(), Malformed> {
        self.begun.extend_from_slice(bytes);
        let begun = std::mem::take(&mut self.begun);
        let mut rest = begun.as_slice();
        while let Some((payload, length)) = frame::split(rest)? {
            self.framed += length as u64;
            self.travelling.push_back((self.framed, read(payload)));
            rest = &rest[length..];
        }
        self.begun = rest.to_vec();
        Ok(())
    }

    /// `count` more bytes are at the reader: the messages that are whole there now.
    pub(crate) fn arrive(&mut self, count: usize) -> Vec<Message> {
        self.arrived += count as u64;
        let mut whole = Vec::new();
        while let Some((_, message)) =
            (self.travelling).pop_front_if(|(end, _)| *end <= self.arrived)
        {
            whole.push(message);
        }
        whole
    }

    /// Of what has not arrived only the first `keep` bytes ever will: the messages that are lost.
    pub(crate) fn cut(&mut self, keep: usize) -> Vec<Message> {
        let end = self.arrived + keep as u64;
        self.end = Some(self.end.map_or(end, |before| before.min(end)));
        self.lost()
    }

    /// The messages written behind the end.
    pub(crate) fn lost(&mut self) -> Vec<Message> {
        let Some(limit) = self.end else {
            return Vec::new();
        };
        let kept = (self.travelling).partition_point(|(end, _)| *end <= limit);
        (self.travelling.drain(kept..))
            .map(|(_, message)| message)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zproc::seam::proto::frame::append;
    use zproc::seam::proto::ids::ProcessId;
    use zproc::seam::proto::time::Time;

    /// Frames of eight bytes; each message's id is its payload.
    fn frames(numbers: &[u32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in numbers {
            append(number, &mut bytes);
        }
        bytes
    }

    fn named(payload: &[u8]) -> Message {
        let payload: [u8; 4] = payload.try_into().expect("a number of four bytes");
        Message {
            id: u64::from(u32::from_le_bytes(payload)),
            process: ProcessId::PROGRAM,
            to_server: true,
            seq: None,
            text: "".into(),
            sent: Time(0),
        }
    }

    fn ids(messages: &[Message]) -> Vec<u64> {
        messages.iter().map(|message| message.id).collect()
    }

    #[test]
    fn a_message_arrives_with_its_last_byte() {
        let mut wire = Wire::default();
        let bytes = frames(&[7, 8, 9]);
        wire.write(&bytes[..10], named).expect("frames");
        assert_eq!(ids(&wire.arrive(7)), [0; 0]);
        wire.write(&bytes[10..], named).expect("frames");
        assert_eq!(ids(&wire.arrive(1)), [7]);
        assert_eq!(ids(&wire.arrive(16)), [8, 9]);
    }

    #[test]
    fn a_cut_loses_what_is_not_whole_before_it() {
        let mut wire = Wire::default();
        wire.write(&frames(&[1, 2, 3]), named).expect("frames");
        assert_eq!(ids(&wire.arrive(3)), [0; 0]);
        assert_eq!(ids(&wire.cut(14)), [3]);
        wire.write(&frames(&[4]), named).expect("frames");
        assert_eq!(ids(&wire.lost()), [4], "written behind the end");
        assert_eq!(ids(&wire.arrive(14)), [1, 2]);
        assert_eq!(ids(&wire.cut(0)), [0; 0]);
    }

    #[test]
    fn no_frame_is_an_error() {
        assert!(Wire::default().write(&[0; 4], named).is_err());
    }
}
