//! What a dying process may leave in its connection, and still be buried.

use super::*;

/// A process dies with these last bytes in its connection; how its joiner is answered.
fn dies_with(last_bytes: &[u8]) -> String {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    let (process, key) = child(&mut server, &mut program);
    let peer = Peer::connect(&mut server, process, key);
    let condition = Condition::Ended { process };
    let wait = Request::Wait {
        namespace: "",
        condition,
    };
    program.ask(&mut server, wait);
    frames(&mut server, program.id);
    let ended = ended(process, 9);
    server.keeper(ended, Time(3));
    let connection = peer.id;
    assert_eq!(server.poll_effect(), Some(Effect::Drain { connection }));
    server.receive(connection, last_bytes, Time(4));
    server.drained(connection, Time(4));
    while server.poll_effect().is_some() {}
    let told = frames(&mut server, program.id);
    let told = told.first().expect("the wait is answered");
    match codec::decode(told) {
        Ok(FromServer::Reply { body, .. }) => format!("{:?}", codec::decode::<Reply<'_>>(body)),
        other => panic!("{other:?}"),
    }
}

/// Trigger: a death notice, and behind it a goodbye in the connection. Harm: the goodbye ended the
/// session, by which the dead process was to be found again, and its joiners waited for ever. Fix:
/// the server remembers whose connection it has drained.
#[test]
fn a_goodbye_among_the_last_words() {
    let mut goodbye = Vec::new();
    frame::append(&FromClient::Goodbye, &mut goodbye);
    assert!(dies_with(&goodbye).contains("Signaled { signal: 9"));
}

/// The same with bytes that are no frame: they cost the connection, not the burial.
#[test]
fn garbage_among_the_last_words() {
    assert!(dies_with(&[0xff; 16]).contains("Signaled { signal: 9"));
}
