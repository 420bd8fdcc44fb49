//! Messages to bytes and back. Little-endian, whatever the machine.

use super::planted::{self, Bug};
use speedy::{Endianness, Readable, Writable};

/// The bytes are not the message they should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(pub String);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Appends `message` to `to`.
pub fn encode<T: Writable<Endianness>>(message: &T, to: &mut Vec<u8>) {
    // Writing into a vector can only fail for want of memory or for a length over u32::MAX, which
    // FRAME_BYTES_MAX rules out long before.
    message
        .write_to_stream_with_ctx(Endianness::LittleEndian, &mut *to)
        .expect("a message is shorter than 4 GiB");
}

/// `message` as bytes of its own.
pub fn to_bytes<T: Writable<Endianness>>(message: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(message, &mut bytes);
    bytes
}

/// Reads one message that fills `bytes` exactly; what can be borrowed is.
///
/// # Errors
/// [`Malformed`] when the bytes are short, too many, or not a message.
pub fn decode<'a, T: Readable<'a, Endianness>>(bytes: &'a [u8]) -> Result<T, Malformed> {
    let (result, length) =
        T::read_with_length_from_buffer_with_ctx(Endianness::LittleEndian, bytes);
    let message = result.map_err(|error| Malformed(error.to_string()))?;
    if length != bytes.len() && !planted::is(Bug::BytesBehindMessage) {
        return Err(Malformed(format!(
            "{} bytes behind the message",
            bytes.len() - length
        )));
    }
    Ok(message)
}
