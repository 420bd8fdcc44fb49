//! Who things are for: output of the connection that was closed, versions.

use super::*;

#[test]
fn the_last_output_of_a_closed_connection_is_no_one_elses() {
    let mut server = server_with(|_| ());
    let id = server.connected(Time(1));
    server.receive(id, &[0xff; 16], Time(1));
    let connection = id;
    assert_eq!(server.poll_effect(), Some(Effect::Close { connection }));
    assert!(!server.outbox(id).is_empty());
    assert!(server.outbox(ConnectionId(id.0 + 1)).is_empty());
}

#[test]
fn a_malformed_hello_of_this_version_is_not_refused_for_its_version() {
    let mut server = server_with(|_| ());
    let id = server.connected(Time(1));
    let mut frame = 12_u32.to_le_bytes().to_vec();
    frame.extend_from_slice(&0_u32.to_le_bytes());
    frame.extend_from_slice(&PROTOCOL_VERSION.to_le_bytes());
    frame.extend_from_slice(&[0xff; 4]);
    server.receive(id, &frame, Time(1));
    assert!(refusal(&mut server, id).starts_with("Protocol"));
}

/// The checks that all tests lean on do look.
#[test]
#[should_panic(expected = "assertion `left == right` failed")]
fn a_server_that_has_lost_its_order_is_noticed_at_its_next_step() {
    let mut server = server_with(|_| ());
    let peer = Peer::program(&mut server);
    let connection = server.connections.get_mut(&peer.id);
    connection.expect("it is there").session = None;
    server.tick(Time(1));
}
