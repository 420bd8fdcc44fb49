//! The bodies of the fuzz targets, for a moment each and without a fuzzer: so they are compiled and
//! run on stable. The targets in `fuzz/` are for long runs.

use proptest::collection::vec;
use proptest::prelude::*;

#[path = "../fuzz/bodies/client.rs"]
mod client;
#[path = "../fuzz/bodies/frame.rs"]
mod frame;
#[path = "../fuzz/bodies/server.rs"]
mod server;

/// Steps as the bodies read them: a kind, a length, bytes; small numbers more often, as messages
/// begin with them.
fn steps() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![3 => Just(0_u8), 3 => 0..20_u8, 1 => any::<u8>()];
    let step = (any::<u8>(), vec(byte, 0..60)).prop_map(|(kind, bytes)| {
        let mut step = vec![kind, bytes.len() as u8];
        step.extend(bytes);
        step
    });
    vec(step, 0..30).prop_map(|steps| steps.concat())
}

proptest! {
    #[test]
    fn the_frame_decoder(data in vec(any::<u8>(), 0..200), steps in steps()) {
        frame::run(&data);
        frame::run(&steps);
    }

    #[test]
    fn the_servers_input(who in any::<u8>(), steps in steps()) {
        server::run(&[&[who], steps.as_slice()].concat());
    }

    #[test]
    fn the_clients_input(steps in steps()) {
        client::run(&steps);
    }
}
