//! The machine against messages made by hand.

mod giving_up;
mod returning;
mod watching;
mod window;

use super::*;
use crate::proto::ids::{LeaseId, Revision, SessionId};
use crate::proto::limits::{
    Agreed, CREDIT_BYTES_MIN, HELLO_TIMEOUT, IN_FLIGHT_MAX, Limits, PART_BYTES_MAX,
    RECONNECT_TIMEOUT, REPLIES_BYTES_MAX, VALUE_BYTES_MAX,
};
use crate::proto::message::{
    Condition, Filter, FromServer, Hello, Origin, Refusal, Resume, Update, WatchPosition,
};
use crate::proto::time::Time;

const NOW: Time = Time(1_000);

const SET: Request<'static> = Request::Set {
    namespace: "n",
    key: "k",
    value: &[1],
    owned: false,
};

const WAIT: Request<'static> = Request::Wait {
    namespace: "n",
    condition: Condition::Equal {
        key: "k",
        value: &[1],
    },
};

fn watch(id: u64) -> Request<'static> {
    Request::Watch {
        watch: WatchId(id),
        namespace: "n",
        filter: Filter::All,
        from: None,
        credit: CREDIT_BYTES_MIN,
        feeds: None,
    }
}

fn client() -> Client {
    Client::new(Config {
        process: ProcessId(7),
        key: Token([1, 2]),
        pid: 70,
        build: BuildId([3, 4]),
        in_flight_max: IN_FLIGHT_MAX,
        part_bytes_max: PART_BYTES_MAX,
    })
}

/// What the client sends now, frame by frame.
fn output(client: &mut Client) -> Vec<Vec<u8>> {
    let mut outbox = Outbox::default();
    while client.has_output() {
        client.outbox(&mut outbox);
    }
    let mut rest = outbox.pending();
    let mut frames = Vec::new();
    while let Some((payload, bytes)) = frame::split(rest).expect("a frame") {
        frames.push(payload.to_vec());
        rest = &rest[bytes..];
    }
    assert!(rest.is_empty(), "whole frames only");
    frames
}

fn message(frame: &[u8]) -> FromClient<'_> {
    codec::decode(frame).expect("a message")
}

/// The numbers of the requests sent now, and all else in words.
fn sent(client: &mut Client) -> Vec<String> {
    output(client)
        .iter()
        .map(|frame| match message(frame) {
            FromClient::Request { seq, acks, .. } if acks.is_empty() => format!("{}", seq.0),
            FromClient::Request { seq, acks, .. } => format!("{} acks {}", seq.0, acks.len()),
            FromClient::Ack { acks } => format!("ack {}", acks.len()),
            FromClient::Cancel { seq } => format!("cancel {}", seq.0),
            FromClient::Credit { watch, granted } => format!("credit {} {granted}", watch.0),
            FromClient::Hello(_) | FromClient::Keeper(_) => "hello".into(),
            FromClient::Goodbye => "goodbye".into(),
        })
        .collect()
}

fn give(client: &mut Client, message: &FromServer<'_>) {
    let mut bytes = Vec::new();
    frame::append(message, &mut bytes);
    client.receive(&bytes);
}

fn welcome(resumed: bool) -> FromServer<'static> {
    FromServer::Welcome {
        session: SessionId(5),
        token: Token([6, 7]),
        resumed,
        limits: Limits::USUAL.agreed(),
    }
}

fn welcome_with(limits: Agreed) -> FromServer<'static> {
    FromServer::Welcome {
        session: SessionId(5),
        token: Token([6, 7]),
        resumed: false,
        limits,
    }
}

fn done() -> Vec<u8> {
    codec::to_bytes(&Reply::Done {
        revision: Revision(1),
    })
}

fn give_reply(client: &mut Client, seq: u64) {
    let body = done();
    give(
        client,
        &FromServer::Reply {
            seq: Seq(seq),
            body: &body,
        },
    );
}

fn begin_watch(client: &mut Client, id: u64, seq: u64, next: u64) {
    let next = Revision(next);
    let body = codec::to_bytes(&Reply::Watching { next });
    let seq = Seq(seq);
    give(client, &FromServer::Reply { seq, body: &body });
    assert_eq!(client.ended(), None, "watch {id}");
}

fn update(revision: u64) -> Vec<u8> {
    codec::to_bytes(&Update {
        revision: Revision(revision),
        time: Time(1),
        origin: Origin {
            process: ProcessId(1),
            function: None,
            released: None,
        },
        reset: false,
        changes: Vec::new(),
    })
}

fn give_update(client: &mut Client, id: u64, revision: u64) -> usize {
    let body = update(revision);
    let watch = WatchId(id);
    give(client, &FromServer::Update { watch, body: &body });
    body.len()
}

/// A client that was welcomed.
fn up() -> Client {
    let mut client = client();
    client.connected(NOW);
    assert_eq!(sent(&mut client), ["hello"]);
    give(&mut client, &welcome(false));
    assert!(client.is_up());
    client
}

/// Loses the connection and opens the next, up to the welcome; gives the resume that it said.
fn back(client: &mut Client, resumed: bool) -> Option<(u64, Vec<WatchPosition>)> {
    client.disconnected(NOW, 0, "cut");
    assert!(
        !client.has_output(),
        "nothing goes out without a connection"
    );
    client.connected(NOW);
    let frames = output(client);
    assert_eq!(frames.len(), 1, "nothing before the welcome but hello");
    let FromClient::Hello(Hello { resume, .. }) = message(&frames[0]) else {
        panic!("not a hello");
    };
    let resume = resume.map(
        |Resume {
             session, watches, ..
         }| (session.0, watches),
    );
    give(client, &welcome(resumed));
    resume
}

fn submit(client: &mut Client, request: &Request<'_>) -> u64 {
    client.submit(request).expect("there is room").0
}

fn protocol_error(client: &Client) -> &str {
    match client.ended() {
        Some(End::Protocol(what)) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn requests_wait_for_the_welcome() {
    let mut client = client();
    assert_eq!(submit(&mut client, &SET), 1);
    client.connected(NOW);
    assert_eq!(client.deadline(), Some(NOW.after(HELLO_TIMEOUT)));
    assert_eq!(sent(&mut client), ["hello"]);
    give(&mut client, &welcome(false));
    assert_eq!(client.deadline(), None);
    assert_eq!(sent(&mut client), ["1"]);
    give_reply(&mut client, 1);
    assert!(client.is_settled(Seq(1)));
    assert_eq!(client.take(Seq(1)), Some(Ok(done())));
    assert_eq!(client.take(Seq(1)), None);
    assert_eq!(submit(&mut client, &SET), 2);
    assert_eq!(sent(&mut client), ["2 acks 1"]);
}

#[test]
fn input_may_come_in_any_pieces() {
    let mut input = Vec::new();
    frame::append(&welcome(false), &mut input);
    let body = vec![9; 300];
    for seq in [1, 2] {
        let seq = Seq(seq);
        frame::append(&FromServer::Reply { seq, body: &body }, &mut input);
    }
    for piece in 1..input.len() {
        let mut client = client();
        submit(&mut client, &SET);
        submit(&mut client, &SET);
        client.connected(NOW);
        sent(&mut client);
        // The requests count as sent as soon as there is a welcome.
        let (first, rest) = input.split_at(72);
        for some in first.chunks(piece).chain(rest.chunks(piece)) {
            client.receive(some);
            sent(&mut client);
        }
        assert_eq!(client.take(Seq(1)), Some(Ok(body.clone())), "{piece}");
        assert_eq!(client.take(Seq(2)), Some(Ok(body.clone())), "{piece}");
        assert_eq!(client.ended(), None);
    }
}

#[test]
fn a_resume_sends_what_is_unanswered_in_order_under_its_number() {
    let mut client = up();
    for _ in 0..4 {
        submit(&mut client, &SET);
    }
    assert_eq!(sent(&mut client), ["1", "2", "3", "4"]);
    give_reply(&mut client, 3);
    submit(&mut client, &SET);
    assert_eq!(back(&mut client, true), Some((5, vec![])));
    // The ack of 3 still rides on the request that it was put on.
    assert_eq!(sent(&mut client), ["1", "2", "4", "5 acks 1"]);
    // The server repeats what it had answered; the second copy is ignored.
    for seq in [2, 1, 2] {
        give_reply(&mut client, seq);
    }
    assert_eq!(client.ended(), None);
    assert!(client.take(Seq(2)).is_some());
    assert_eq!(client.take(Seq(2)), None);
}

#[test]
fn acks_are_batched_and_come_again_when_they_may_be_lost() {
    let mut client = up();
    for _ in 0..ACKS_MAX + 2 {
        submit(&mut client, &Request::Ping);
    }
    sent(&mut client);
    for seq in 1..ACKS_MAX as u64 {
        give_reply(&mut client, seq);
    }
    assert!(!client.has_output(), "not yet");
    give_reply(&mut client, ACKS_MAX as u64);
    assert_eq!(sent(&mut client), ["ack 64"]);
    back(&mut client, true);
    // Both pings are sent again, behind the acks.
    assert_eq!(sent(&mut client), ["ack 64", "65", "66"]);
    // A reply to a request sent after the acks shows that they have arrived.
    submit(&mut client, &Request::Ping);
    sent(&mut client);
    give_reply(&mut client, 67);
    back(&mut client, true);
    assert_eq!(sent(&mut client), ["ack 1", "65", "66"]);
}

#[test]
fn large_replies_are_acknowledged_at_once() {
    let mut client = up();
    submit(&mut client, &SET);
    sent(&mut client);
    let seq = Seq(1);
    let body = vec![0; ACKS_BYTES_MAX];
    give(&mut client, &FromServer::Reply { seq, body: &body });
    assert_eq!(sent(&mut client), ["ack 1"]);
}

#[test]
fn what_was_never_sent_is_withdrawn() {
    let mut client = up();
    submit(&mut client, &SET);
    sent(&mut client);
    give_reply(&mut client, 1);
    submit(&mut client, &SET);
    assert_eq!(client.cancel(Seq(2)), Effect::None);
    // The ack that it carried is not lost.
    submit(&mut client, &SET);
    assert_eq!(sent(&mut client), ["3 acks 1"]);
    assert_eq!(client.cancel(Seq(3)), Effect::Unknown);
    give_reply(&mut client, 3);
    assert_eq!(client.take(Seq(3)), None, "nobody wants it");
}

#[test]
fn a_wait_is_cancelled_and_the_cancel_comes_again() {
    let mut client = up();
    submit(&mut client, &WAIT);
    submit(&mut client, &WAIT);
    sent(&mut client);
    assert_eq!(client.cancel(Seq(1)), Effect::None);
    assert_eq!(sent(&mut client), ["cancel 1"]);
    back(&mut client, true);
    assert_eq!(sent(&mut client), ["cancel 1", "2"]);
    // It crossed its reply: that is acknowledged, and dropped.
    give_reply(&mut client, 1);
    assert_eq!(client.take(Seq(1)), None);
    assert_eq!(client.ended(), None);
    client.disconnected(NOW, 0, "cut");
    assert_eq!(client.cancel(Seq(2)), Effect::None);
    client.connected(NOW);
    give(&mut client, &welcome(true));
    assert_eq!(
        sent(&mut client),
        ["hello", "ack 1", "cancel 1", "cancel 2"]
    );
}

/// Trigger: a wait that carried acknowledgements is lost with its connection, and cancelled before
/// the client is back. Harm: nothing said these acknowledgements again, so the server kept the
/// replies for the rest of the session; after enough of that it refused the client for having too
/// much in flight. Fix: they are said again.
#[test]
fn acks_of_a_cancelled_wait_come_again() {
    let mut client = up();
    submit(&mut client, &SET);
    sent(&mut client);
    give_reply(&mut client, 1);
    let _answered = client.take(Seq(1));
    submit(&mut client, &WAIT);
    assert_eq!(sent(&mut client), ["2 acks 1"]);
    client.disconnected(NOW, 0, "cut");
    assert_eq!(client.cancel(Seq(2)), Effect::None);
    client.connected(NOW);
    give(&mut client, &welcome(true));
    assert_eq!(sent(&mut client), ["hello", "ack 1", "cancel 2"]);
}

/// Trigger: a request that was not sent yet and carries acknowledgements is withdrawn, with others
/// behind it. Harm: these went without them, and a server whose window is full refused the client
/// for the next one. Fix: the acknowledgements go at once, before the requests.
#[test]
fn acks_of_a_withdrawn_request_go_before_the_next() {
    let mut client = up();
    submit(&mut client, &SET);
    sent(&mut client);
    give_reply(&mut client, 1);
    let _answered = client.take(Seq(1));
    submit(&mut client, &SET);
    submit(&mut client, &SET);
    assert_eq!(client.cancel(Seq(2)), Effect::None);
    assert_eq!(sent(&mut client), ["ack 1", "3"]);
}

#[test]
fn cancels_do_not_heap_up() {
    let mut client = up();
    for _ in 0..10_000 {
        let seq = client.submit(&WAIT).expect("there is room");
        output(&mut client);
        client.cancel(seq);
        for frame in output(&mut client) {
            if let FromClient::Request {
                seq,
                body: Request::Ping,
                ..
            } = message(&frame)
            {
                give_reply(&mut client, seq.0);
            }
        }
        assert!(client.loose.len() <= LOOSE_MAX, "{}", client.loose.len());
    }
}

#[test]
fn a_lost_session_tells_each_request_what_became_of_it() {
    let mut client = up();
    submit(&mut client, &SET);
    submit(&mut client, &WAIT);
    submit(&mut client, &watch(1));
    submit(&mut client, &watch(2));
    sent(&mut client);
    begin_watch(&mut client, 1, 3, 1);
    client.take(Seq(3));
    give_update(&mut client, 1, 4);
    client.disconnected(NOW, 0, "cut");
    submit(&mut client, &SET);
    client.connected(NOW);
    let refusal = Refusal::SessionUnknown;
    give(&mut client, &FromServer::Refused { refusal });
    assert!(client.is_useless().is_some());
    assert_eq!(client.ended(), None);
    assert_eq!(client.take(Seq(1)), Some(Err(Loss::OutcomeUnknown)));
    assert_eq!(client.take(Seq(2)), Some(Err(Loss::SessionLost)));
    assert_eq!(client.take(Seq(4)), Some(Err(Loss::SessionLost)));
    assert_eq!(client.take(Seq(5)), Some(Err(Loss::SessionLost)));
    // What had come is still given, then the end, once.
    assert_eq!(client.take_update(WatchId(1)), Some(Ok(update(4))));
    let end = client.take_update(WatchId(1));
    assert_eq!(end, Some(Err(WatchLoss::SessionLost)));
    assert_eq!(client.take_update(WatchId(1)), Some(Err(WatchLoss::Over)));
    // The next session is a new one; its numbers go on.
    submit(&mut client, &SET);
    assert_eq!(back(&mut client, false), None);
    assert_eq!(sent(&mut client), ["6"]);
}

#[test]
fn a_welcome_that_does_not_resume_loses_the_session() {
    let mut client = up();
    submit(&mut client, &SET);
    sent(&mut client);
    assert!(back(&mut client, false).is_some());
    assert_eq!(client.take(Seq(1)), Some(Err(Loss::OutcomeUnknown)));
    assert!(client.is_up());
}

#[test]
fn breaches_of_the_protocol_are_told() {
    let reply = done();
    let cases: [(&str, FromServer<'_>); 5] = [
        ("a second welcome", welcome(false)),
        (
            "never made",
            FromServer::Reply {
                seq: Seq(99),
                body: &reply,
            },
        ),
        (
            "never sent",
            FromServer::Reply {
                seq: Seq(2),
                body: &reply,
            },
        ),
        (
            "not begun",
            FromServer::Update {
                watch: WatchId(1),
                body: &[0; 40],
            },
        ),
        (
            "a reply: ",
            FromServer::Reply {
                seq: Seq(1),
                body: &[255; 4],
            },
        ),
    ];
    for (what, breach) in cases {
        let mut client = up();
        submit(&mut client, &watch(1));
        sent(&mut client);
        submit(&mut client, &SET);
        give(&mut client, &breach);
        assert!(protocol_error(&client).contains(what), "{what}");
        assert_eq!(client.submit(&SET), Err(SubmitError::Ended));
        assert!(!client.has_output());
        assert_eq!(client.cancel(Seq(2)), Effect::None);
    }
    for revision in [4, u64::MAX] {
        let mut client = up();
        submit(&mut client, &watch(1));
        sent(&mut client);
        begin_watch(&mut client, 1, 1, 5);
        give_update(&mut client, 1, revision);
        assert!(protocol_error(&client).contains("is at r5"));
    }
}

#[test]
fn garbage_never_panics() {
    // A small generator of its own: no seed to be kept, every byte pattern is as good.
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
        (state >> 33) as u8
    };
    for round in 0..2_000 {
        let mut client = up();
        submit(&mut client, &watch(1));
        submit(&mut client, &SET);
        sent(&mut client);
        for _ in 0..4 {
            let length = next() as usize % 64 + 1;
            let mut bytes = vec![length as u8, 0, 0, 0];
            if round % 2 == 0 {
                // The tag of a message, so that the garbage gets further.
                bytes.extend([next() % 6, 0, 0, 0]);
            }
            bytes.extend((0..length).map(|_| next() % if round % 3 == 0 { 4 } else { 255 }));
            client.receive(&bytes);
            sent(&mut client);
        }
    }
    let mut client = up();
    client.receive(&[255; 4]);
    assert!(protocol_error(&client).contains("a frame of"));
    client.receive(&[255; 4]);
}

#[test]
fn refusals_are_told_in_words() {
    let refusals = [
        (
            Refusal::Version {
                server: 9,
                software: "zproc 8",
            },
            "version 9",
        ),
        (Refusal::Build, "another executable"),
        (Refusal::Credentials, "key is wrong"),
        (Refusal::SessionUnknown, "know the session"),
        (Refusal::Limit { limit: "SOME_MAX" }, "SOME_MAX"),
        (Refusal::Protocol { what: "why" }, "why"),
        (Refusal::Ended, "has ended"),
        (Refusal::Private, "one program"),
    ];
    for (refusal, words) in refusals {
        let mut client = client();
        client.connected(NOW);
        give(&mut client, &FromServer::Refused { refusal });
        match client.ended() {
            Some(End::Refused { text, .. }) => assert!(text.contains(words), "{text}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn coming_back_is_tried_for_a_while() {
    let mut client = up();
    client.disconnected(NOW, 0, "cut");
    assert_eq!(client.deadline(), Some(NOW), "at once");
    let mut now = NOW;
    let mut pauses = Vec::new();
    while client.ended().is_none() {
        client.connect_failed(now, u64::MAX, "refused");
        if let Some(at) = client.deadline() {
            pauses.push(at.since(now));
            now = at;
        }
    }
    assert!(now.since(NOW) >= RECONNECT_TIMEOUT);
    assert!(now.since(NOW).as_secs() <= RECONNECT_TIMEOUT.as_secs() + 1);
    assert!(pauses[0].as_micros() <= 1_000);
    assert!(pauses.iter().all(|pause| pause.as_millis() <= 100));
    let Some(End::ServerLost(loss)) = client.ended() else {
        panic!("{:?}", client.ended());
    };
    let text = loss.to_string();
    assert!(text.contains("refused"), "{text}");
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let mut client = client();
    client.connected(NOW);
    client.tick(NOW);
    assert_eq!(client.is_useless(), None, "a spurious tick does nothing");
    let later = NOW.after(HELLO_TIMEOUT);
    client.tick(later);
    assert!(client.is_useless().is_some());
    client.disconnected(later, 0, "silent");
    assert!(client.deadline() > Some(later));
}

#[test]
fn a_full_server_is_tried_again_for_the_sake_of_the_session() {
    let mut client = up();
    submit(&mut client, &SET);
    sent(&mut client);
    client.disconnected(NOW, 0, "cut");
    client.connected(NOW);
    let refusal = Refusal::Limit {
        limit: "CONNECTIONS_MAX",
    };
    give(&mut client, &FromServer::Refused { refusal });
    assert!(client.is_useless().is_some());
    assert!(back(&mut client, true).is_some());
    assert_eq!(sent(&mut client), ["1"]);
}

#[test]
fn a_hello_that_came_too_late_is_said_again() {
    let mut client = up();
    submit(&mut client, &SET);
    sent(&mut client);
    client.disconnected(NOW, 0, "cut");
    client.connected(NOW);
    let refusal = Refusal::Late;
    give(&mut client, &FromServer::Refused { refusal });
    assert!(client.ended().is_none() && client.is_useless().is_some());
    assert!(back(&mut client, true).is_some());
    assert_eq!(sent(&mut client), ["1"]);
}

#[test]
fn goodbye_is_the_last_word() {
    let mut client = up();
    submit(&mut client, &SET);
    client.goodbye();
    assert_eq!(sent(&mut client), ["goodbye"]);
    assert_eq!(client.submit(&SET), Err(SubmitError::Ended));
    assert_eq!(client.cancel(Seq(1)), Effect::None);
    assert_eq!(client.deadline(), None);
    let end = client.take_update(WatchId(1));
    assert_eq!(end, Some(Err(WatchLoss::Ended)));
}

#[test]
fn output_comes_in_portions_so_that_the_rest_can_be_withdrawn() {
    let mut client = up();
    let value = vec![0; OUTPUT_BYTES];
    let request = Request::Set {
        namespace: "n",
        key: "k",
        value: &value,
        owned: false,
    };
    for _ in 0..3 {
        submit(&mut client, &request);
    }
    let mut outbox = Outbox::default();
    client.outbox(&mut outbox);
    assert!(client.has_output());
    assert_eq!(client.cancel(Seq(1)), Effect::Unknown);
    assert_eq!(client.cancel(Seq(2)), Effect::None);
    assert_eq!(sent(&mut client), ["3"]);
}
