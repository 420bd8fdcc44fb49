//! The decoders of frames, of every kind of message, and of values.
//! `cargo +nightly fuzz run frame`; the body also runs in `tests/fuzzed.rs`.

#![no_main]

#[path = "../bodies/frame.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
