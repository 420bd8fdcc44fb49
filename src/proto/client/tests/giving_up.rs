//! Who no longer waits, and what is said again when nobody knows whether it has arrived.

use super::*;

#[test]
fn to_give_up_on_one_takes_nothing_from_the_others() {
    let mut client = up();
    for seq in 1..=2 {
        submit(&mut client, &SET);
        sent(&mut client);
        assert!(!client.is_settled(Seq(seq)));
        give_reply(&mut client, seq);
    }
    client.cancel(Seq(1));
    assert_eq!(client.take(Seq(1)), None);
    assert_eq!(client.take(Seq(2)), Some(Ok(done())));
}

#[test]
fn a_reply_that_is_repeated_is_acknowledged_once() {
    let mut client = up();
    submit(&mut client, &SET);
    sent(&mut client);
    give_reply(&mut client, 1);
    give_reply(&mut client, 1);
    submit(&mut client, &SET);
    assert_eq!(sent(&mut client), ["2 acks 1"]);
}

#[test]
fn replies_of_half_a_mebibyte_are_acknowledged_two_at_a_time() {
    let mut client = up();
    submit(&mut client, &SET);
    submit(&mut client, &SET);
    sent(&mut client);
    let body = vec![0; 512 * 1024];
    let reply = |seq| FromServer::Reply {
        seq: Seq(seq),
        body: &body,
    };
    give(&mut client, &reply(1));
    assert!(!client.has_output(), "not yet");
    give(&mut client, &reply(2));
    assert_eq!(sent(&mut client), ["ack 2"]);
}

/// A client that has sent this and then a wait that carries an acknowledgement.
fn waiting_behind(request: &Request<'_>) -> Client {
    let mut client = up();
    submit(&mut client, &SET);
    submit(&mut client, request);
    sent(&mut client);
    give_reply(&mut client, 1);
    let _answered = client.take(Seq(1));
    submit(&mut client, &WAIT);
    assert_eq!(sent(&mut client), ["3 acks 1"]);
    client
}

#[test]
fn acks_that_this_connection_has_got_are_not_said_again() {
    let mut client = waiting_behind(&SET);
    client.cancel(Seq(3));
    assert_eq!(sent(&mut client), ["cancel 3"]);
}

#[test]
fn acks_of_a_wait_whose_turn_has_not_come_on_this_connection_are_said_again() {
    let value = vec![0; OUTPUT_BYTES];
    let large = Request::Set {
        namespace: "n",
        key: "k",
        value: &value,
        owned: false,
    };
    let mut client = waiting_behind(&large);
    back(&mut client, true);
    client.outbox(&mut Outbox::default());
    assert!(client.has_output(), "the wait did not go with it");
    client.cancel(Seq(3));
    assert_eq!(sent(&mut client), ["ack 1", "cancel 3"]);
}

#[test]
fn a_request_as_large_as_a_frame_is_taken_and_a_larger_one_is_not() {
    let set = |value| Request::Set {
        namespace: "n",
        key: "k",
        value,
        owned: false,
    };
    let besides = codec::to_bytes(&FromClient::Request {
        seq: Seq(1),
        acks: Vec::new(),
        body: set(&[]),
    });
    let value = vec![0; FRAME_BYTES_MAX - besides.len() + 1];
    let mut client = up();
    let (actual, max) = (FRAME_BYTES_MAX as u64 + 1, FRAME_BYTES_MAX as u64);
    let refused = client.submit(&set(&value));
    assert_eq!(refused, Err(SubmitError::TooLarge { actual, max }));
    assert_eq!(client.submit(&set(&value[1..])), Ok(Seq(1)));
}

#[test]
fn an_insert_that_was_given_up_may_have_been_done() {
    let mut client = up();
    let insert = Request::GetOrInsert {
        namespace: "n",
        key: "k",
        value: &[1],
    };
    submit(&mut client, &insert);
    sent(&mut client);
    assert_eq!(client.cancel(Seq(1)), Effect::Unknown);
}

#[test]
fn what_is_unanswered_is_told_in_words() {
    let mut client = up();
    submit(&mut client, &SET);
    submit(&mut client, &SET);
    sent(&mut client);
    client.cancel(Seq(1));
    submit(&mut client, &WAIT);
    let told: Vec<_> = client
        .unanswered()
        .into_iter()
        .map(|call| (call.request, call.sent, call.what))
        .collect();
    let set = "set key \"k\" in namespace \"n\"".to_owned();
    let wait = "wait for a value of key \"k\" in namespace \"n\"".to_owned();
    assert_eq!(told, [(Some(2), true, set), (Some(3), false, wait)]);
}
