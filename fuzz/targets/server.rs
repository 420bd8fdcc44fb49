//! What a client may send to the server, beside a bystander whose answers must stay right.
//! `cargo +nightly fuzz run server`; the body also runs in `tests/fuzzed.rs`.

#![no_main]

#[path = "../bodies/server.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
