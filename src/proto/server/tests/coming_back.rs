//! Who may speak for a process: who comes a second time, who comes back, who has said goodbye.

use super::*;

/// Says hello as a process; the refusal, or that it is welcome.
fn says_hello(
    server: &mut Server,
    process: ProcessId,
    key: Token,
    resume: Option<Resume>,
) -> String {
    let id = server.connected(Time(1));
    say(server, id, &hello(process, key, resume));
    if server.connections[&id].closed {
        while let Some(effect) = server.poll_effect() {
            if effect == (Effect::Close { connection: id }) {
                break;
            }
        }
        let bytes = server.outbox(id);
        let (payload, _) = frame::split(bytes)
            .expect("the server's own frame")
            .expect("it is told why");
        match codec::decode(payload) {
            Ok(FromServer::Refused { refusal }) => format!("{refusal:?}"),
            other => panic!("no refusal: {other:?}"),
        }
    } else {
        "welcome".to_owned()
    }
}

fn program_again(server: &mut Server) -> String {
    says_hello(server, ProcessId::PROGRAM, PROGRAM_KEY, None)
}

#[test]
fn a_session_that_was_not_used_gives_way_and_one_that_was_does_not() {
    let mut server = server_with(|_| ());
    let mut peer = Peer::program(&mut server);
    peer.set(&mut server, "k", 1);
    assert!(program_again(&mut server).contains("has a session already"));
    let mut server = server_with(|_| ());
    let lost = Peer::program(&mut server);
    assert_eq!(program_again(&mut server), "welcome");
    assert!(!server.sessions.contains_key(&lost.session));
}

#[test]
fn a_session_is_resumed_by_its_own_process_with_its_token_only() {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    let (process, key) = child(&mut server, &mut program);
    let resume = |token| {
        Some(Resume {
            session: program.session,
            token,
            watches: Vec::new(),
        })
    };
    let (id, own) = (ProcessId::PROGRAM, PROGRAM_KEY);
    let wrong = resume(Token([9, 9]));
    assert_eq!(says_hello(&mut server, id, own, wrong), "SessionUnknown");
    let right = resume(program.token);
    let by_another = says_hello(&mut server, process, key, right.clone());
    assert_eq!(by_another, "SessionUnknown");
    assert_eq!(says_hello(&mut server, id, own, right), "welcome");
}

#[test]
fn a_goodbye_releases_what_is_owned_and_the_program_does_not_come_again() {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    let (process, key) = child(&mut server, &mut program);
    let mut peer = Peer::connect(&mut server, process, key);
    for peer in [&mut program, &mut peer] {
        let body = Request::Set {
            namespace: "n",
            key: &peer.session.0.to_string(),
            value: &[1],
            owned: true,
        };
        peer.ask(&mut server, body);
    }
    assert_eq!(server.store.len("n"), 2);
    say(&mut server, peer.id, &FromClient::Goodbye);
    assert_eq!(server.store.len("n"), 1);
    let again = says_hello(&mut server, process, key, None);
    assert_eq!(again, "welcome", "a child may have another client");
    say(&mut server, program.id, &FromClient::Goodbye);
    assert_eq!(server.store.len("n"), 0);
    assert_eq!(program_again(&mut server), "Ended");
}

#[test]
fn a_retry_is_answered_with_the_reply_of_its_own_session() {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    let (process, key) = child(&mut server, &mut program);
    let mut peer = Peer::connect(&mut server, process, key);
    for (peer, value) in [(&mut program, 1), (&mut peer, 2)] {
        peer.set(&mut server, "k", value);
    }
    for (mut peer, revision) in [(program, 3), (peer, 4)] {
        let body = Request::Set {
            namespace: "n",
            key: "k",
            value: &[1],
            owned: false,
        };
        peer.repeat(&mut server, peer.seq, body);
        let told = frames(&mut server, peer.id);
        let Ok(FromServer::Reply { body, .. }) = codec::decode(&told[0]) else {
            panic!("no reply: {told:?}");
        };
        let (revision, before) = (Revision(revision), None);
        let reply: Reply<'_> = codec::decode(body).expect("a reply");
        assert_eq!(reply, Reply::Written { revision, before });
    }
}
