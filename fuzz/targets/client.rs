//! What a server may send to a client.
//! `cargo +nightly fuzz run client`; the body also runs in `tests/fuzzed.rs`.

#![no_main]

#[path = "../bodies/client.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
