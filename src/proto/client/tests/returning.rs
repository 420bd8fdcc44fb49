//! When a connection is tried again, and when nothing is listened to any more.

use super::*;
use crate::proto::loss::ServerEnd;
use std::time::Duration;

#[test]
fn hellos_are_numbered() {
    let mut client = client();
    for number in 1..=3 {
        client.connected(NOW);
        let frames = output(&mut client);
        let FromClient::Hello(hello) = message(&frames[0]) else {
            panic!("not a hello");
        };
        assert_eq!(hello.attempt, number);
        client.disconnected(NOW, 0, "cut");
    }
}

#[test]
fn pauses_grow_and_are_spread_between_a_half_and_all() {
    let pause = |failures: usize, random| {
        let mut client = client();
        for _ in 1..failures {
            client.connect_failed(NOW, 0, "refused");
        }
        client.connect_failed(NOW, random, "refused");
        client.deadline().map(|until| until.since(NOW))
    };
    let micros = |micros| Some(Duration::from_micros(micros));
    assert_eq!(pause(1, 0), micros(500));
    assert_eq!(pause(1, 500_000), micros(1_000));
    assert_eq!(pause(1, 500_001), micros(500));
    assert_eq!(pause(2, 0), micros(1_000));
    assert_eq!(pause(3, 0), micros(2_000));
    assert_eq!(pause(30, 0), micros(50_000));
}

/// Ends a client from outside.
type Ending = fn(&mut Client);

#[test]
fn ends_that_are_told_from_outside() {
    let endings: [(Ending, End); 3] = [
        (
            |client| client.gone(ServerLoss::new(ServerEnd::Unseen)),
            End::ServerLost(ServerLoss::new(ServerEnd::Unseen)),
        ),
        (Client::forked, End::Forked),
        (
            |client| client.fail("nonsense".into()),
            End::Protocol("nonsense".into()),
        ),
    ];
    for (end_it, end) in endings {
        let mut client = client();
        assert!(client.deadline().is_some());
        end_it(&mut client);
        assert_eq!(client.ended(), Some(&end));
        assert_eq!(client.deadline(), None, "there is nothing to be done");
    }
}

/// A reply, which before the welcome would be a breach of the protocol.
fn early(input: &mut Vec<u8>) {
    let body = done();
    let seq = Seq(1);
    frame::append(&FromServer::Reply { seq, body: &body }, input);
}

#[test]
fn what_comes_behind_a_refusal_is_not_listened_to() {
    let mut client = client();
    client.connected(NOW);
    let refusal = Refusal::Late;
    let mut input = Vec::new();
    frame::append(&FromServer::Refused { refusal }, &mut input);
    early(&mut input);
    client.receive(&input);
    assert!(client.is_useless().is_some());
    assert_eq!(client.ended(), None);
}

#[test]
fn what_comes_without_a_connection_is_not_listened_to() {
    let mut client = up();
    client.disconnected(NOW, 0, "cut");
    let mut input = Vec::new();
    early(&mut input);
    client.receive(&input);
    assert_eq!(client.ended(), None);
}

#[test]
fn what_comes_after_the_goodbye_is_not_listened_to() {
    let mut client = up();
    submit(&mut client, &SET);
    sent(&mut client);
    let mut input = Vec::new();
    early(&mut input);
    let (half, rest) = input.split_at(7);
    client.receive(half);
    client.goodbye();
    client.receive(rest);
    assert_eq!(client.take(Seq(1)), None);
}

#[test]
fn a_welcome_to_another_session_or_to_what_never_was_is_a_breach() {
    let mut client = up();
    client.disconnected(NOW, 0, "cut");
    client.connected(NOW);
    let another = FromServer::Welcome {
        session: SessionId(9),
        token: Token([6, 7]),
        resumed: true,
        limits: Limits::USUAL.agreed(),
    };
    give(&mut client, &another);
    assert!(protocol_error(&client).contains("another session"));
    let mut client = self::client();
    client.connected(NOW);
    give(&mut client, &welcome(true));
    assert!(protocol_error(&client).contains("never was"));
}

#[test]
fn an_update_before_the_welcome_is_a_breach() {
    let mut client = client();
    client.connected(NOW);
    give_update(&mut client, 1, 1);
    assert_eq!(protocol_error(&client), "a message before the welcome");
}

/// A program whose keeper was lost, or in whose server's place another one listens, was told that it
/// was refused, as if it had done something wrong.
#[test]
fn who_comes_back_to_a_server_that_holds_it_for_dead_or_is_another_has_lost_its_server() {
    for (refusal, how) in [
        (Refusal::Ended, ServerEnd::KeeperLost),
        (Refusal::Credentials, ServerEnd::Unseen),
    ] {
        let mut client = up();
        client.disconnected(NOW, 0, "cut");
        client.connected(NOW);
        give(&mut client, &FromServer::Refused { refusal });
        let Some(End::ServerLost(loss)) = client.ended() else {
            panic!("{:?}", client.ended());
        };
        assert_eq!(loss.how, how);
    }
}
