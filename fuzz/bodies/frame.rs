//! Decoding never panics, and what was decoded is no larger than the bytes it came from.

use speedy::{Endianness, Readable, Writable};
use std::fmt::Debug;
use zproc::seam::proto::message::{FromClient, FromKeeper, FromServer, Reply, ToKeeper, Update};
use zproc::seam::proto::{codec, frame, value};

pub(crate) fn run(data: &[u8]) {
    let mut rest = data;
    while let Ok(Some((payload, length))) = frame::split(rest) {
        assert_eq!(length, payload.len() + frame::PREFIX_BYTES);
        messages(payload);
        rest = &rest[length..];
    }
    messages(data);
    if value::check(data).is_ok() {
        let digest = value::Comparer::new([1, 2], 0).digest(data);
        assert!(digest.is_some(), "a value can be compared");
        assert!(!value::describe(data).is_empty());
    }
}

fn messages(bytes: &[u8]) {
    again::<FromClient<'_>>(bytes);
    again::<FromServer<'_>>(bytes);
    again::<Reply<'_>>(bytes);
    again::<Update<'_>>(bytes);
    again::<ToKeeper<'_>>(bytes);
    again::<FromKeeper<'_>>(bytes);
}

fn again<'a, T>(bytes: &'a [u8])
where
    T: Readable<'a, Endianness> + Writable<Endianness> + Debug,
{
    let Ok(message) = codec::decode::<T>(bytes) else {
        return;
    };
    let written = codec::to_bytes(&message);
    assert!(written.len() <= bytes.len(), "{message:?} has grown");
}
