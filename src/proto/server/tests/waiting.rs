//! Waits: what wakes them, and what becomes of those that nobody waits for.

use super::*;

fn set(key: &'static str, value: &'static [u8]) -> Request<'static> {
    Request::Set {
        namespace: "n",
        key,
        value,
        owned: false,
    }
}

fn until_equal(key: &'static str, value: &'static [u8]) -> Request<'static> {
    Request::Wait {
        namespace: "n",
        condition: Condition::Equal { key, value },
    }
}

/// The numbers of the requests that are answered by now, in order.
fn answered(server: &mut Server, id: ConnectionId) -> Vec<Seq> {
    let frames = frames(server, id);
    let seq = |frame: &Vec<u8>| match codec::decode(frame) {
        Ok(FromServer::Reply { seq, .. }) => Some(seq),
        _ => None,
    };
    frames.iter().filter_map(seq).collect()
}

#[test]
fn a_condition_is_tested_again_when_what_it_read_last_changes() {
    let mut server = server_with(|_| ());
    let mut peer = Peer::program(&mut server);
    peer.set(&mut server, "named", 1);
    let function = FunctionRef {
        offset: 0,
        name: "the key that is named",
    };
    let args = &[];
    let condition = Condition::Function { function, args };
    let namespace = "n";
    let wait = Request::Wait {
        namespace,
        condition,
    };
    let wait = peer.ask(&mut server, wait);
    // From now on it reads another key.
    let renamed = peer.ask(&mut server, set("named", &[2]));
    let written = peer.ask(&mut server, set("2", &[7]));
    assert_eq!(answered(&mut server, peer.id), [renamed, wait, written]);
}

#[test]
fn a_cancelled_wait_is_not_answered() {
    let mut server = server_with(|_| ());
    let mut peer = Peer::program(&mut server);
    let seq = peer.ask(&mut server, until_equal("k", &[1]));
    say(&mut server, peer.id, &FromClient::Cancel { seq });
    let written = peer.ask(&mut server, set("k", &[1]));
    assert_eq!(answered(&mut server, peer.id), [written]);
}

#[test]
fn a_cancel_that_crossed_the_answer_acknowledges_it() {
    let mut server = server_with(|_| ());
    let mut peer = Peer::program(&mut server);
    peer.set(&mut server, "k", 1);
    let acks = vec![Seq(1)];
    say(&mut server, peer.id, &FromClient::Ack { acks });
    let seq = peer.ask(&mut server, until_equal("k", &[1]));
    let kept = |server: &Server| server.sessions[&peer.session].count().0;
    assert_eq!(kept(&server), 1);
    say(&mut server, peer.id, &FromClient::Cancel { seq });
    assert_eq!(kept(&server), 0);
}

#[test]
fn acknowledged_replies_are_forgotten() {
    let mut server = server_with(|_| ());
    let mut peer = Peer::program(&mut server);
    peer.ask(&mut server, set("k", &[1]));
    peer.ask(&mut server, set("k", &[2]));
    let kept = |server: &Server| server.sessions[&peer.session].count().0;
    assert_eq!(kept(&server), 2);
    let acks = vec![Seq(1)];
    say(&mut server, peer.id, &FromClient::Ack { acks });
    assert_eq!(kept(&server), 1);
    // Those that come with a request count too.
    let (seq, acks, body) = (Seq(3), vec![Seq(2)], Request::Ping);
    say(
        &mut server,
        peer.id,
        &FromClient::Request { seq, acks, body },
    );
    assert_eq!(kept(&server), 0);
}

#[test]
fn a_wait_whose_answer_there_is_no_room_for_is_told_how_much_it_would_take() {
    let mut server = server_with(|_| ());
    let mut peer = Peer::program(&mut server);
    let (process, key) = child(&mut server, &mut peer);
    let mut other = Peer::connect(&mut server, process, key);
    let wait = peer.ask(&mut server, until_equal("k", &[1]));
    let max = server.config.limits.replies_bytes_max;
    let session = server.sessions.get_mut(&peer.session).expect("it is there");
    let fill = max - 1 - session.answers_bytes();
    assert_eq!(session.arrive(Seq(3), false), Arrival::New);
    session.retain(Seq(3), vec![0; fill], true);
    let (revision, value) = (Revision(1), &[][..]);
    let answer = codec::to_bytes(&Reply::Returned { revision, value });
    let revision = server.store.revision().next();
    other.ask(&mut server, set("k", &[1]));
    let told = frames(&mut server, peer.id);
    let body = told.iter().find_map(|frame| match codec::decode(frame) {
        Ok(FromServer::Reply { seq, body }) if seq == wait => Some(body),
        _ => None,
    });
    let failure = Failure::Limit {
        limit: "REPLIES_BYTES_MAX",
        actual: (max - 1 + answer.len()) as u64,
        max: max as u64,
    };
    let reply: Reply<'_> = codec::decode(body.expect("it is answered")).expect("a reply");
    assert_eq!(reply, Reply::Failed { revision, failure });
}
