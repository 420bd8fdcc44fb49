//! Watches: positions, credit, ends.

use super::*;
use crate::proto::ids::LeaseId;
use crate::proto::loss::ServerEnd;

#[test]
fn a_watch_resumes_where_it_stands() {
    let mut client = up();
    submit(&mut client, &watch(1));
    submit(&mut client, &watch(2));
    sent(&mut client);
    begin_watch(&mut client, 1, 1, 3);
    let mut received = give_update(&mut client, 1, 3);
    received += give_update(&mut client, 1, 8);
    assert!(client.take_update(WatchId(1)).is_some());
    let position = WatchPosition {
        watch: WatchId(1),
        next: Revision(9),
        granted: CREDIT_BYTES_MIN,
        received: received as u64,
    };
    // The other is unanswered: its request is sent again instead.
    assert_eq!(back(&mut client, true), Some((5, vec![position])));
    assert_eq!(sent(&mut client), ["ack 1", "2"]);
    give_update(&mut client, 1, 9);
    assert_eq!(client.ended(), None);
    assert_eq!(client.take_update(WatchId(1)), Some(Ok(update(8))));
    assert_eq!(client.take_update(WatchId(1)), Some(Ok(update(9))));
    assert_eq!(client.take_update(WatchId(1)), None);
}

#[test]
fn credit_is_given_back_when_updates_are_taken() {
    let mut client = up();
    submit(&mut client, &watch(1));
    sent(&mut client);
    begin_watch(&mut client, 1, 1, 1);
    let bytes = (CREDIT_BYTES_MIN / 4) as usize;
    let push = |client: &mut Client, revision: u64| {
        let mut body = revision.to_le_bytes().to_vec();
        body.resize(bytes, 0);
        let watch = WatchId(1);
        give(client, &FromServer::Update { watch, body: &body });
    };
    push(&mut client, 1);
    assert!(!client.has_output(), "nothing was taken");
    client.take_update(WatchId(1));
    let granted = CREDIT_BYTES_MIN + CREDIT_BYTES_MIN / 4;
    assert_eq!(sent(&mut client), [format!("credit 1 {granted}")]);
    // Granted without a connection, it is told by the resume; between hello and welcome, after it.
    push(&mut client, 2);
    push(&mut client, 3);
    client.disconnected(NOW, 0, "cut");
    client.take_update(WatchId(1));
    client.connected(NOW);
    client.take_update(WatchId(1));
    assert_eq!(sent(&mut client), ["hello"]);
    give(&mut client, &welcome(true));
    let granted = CREDIT_BYTES_MIN + 3 * (CREDIT_BYTES_MIN / 4);
    assert_eq!(
        sent(&mut client),
        ["ack 1".into(), format!("credit 1 {granted}")]
    );
}

#[test]
fn more_than_the_credit_is_a_breach() {
    let mut client = up();
    submit(&mut client, &watch(1));
    sent(&mut client);
    begin_watch(&mut client, 1, 1, 1);
    for revision in 1..=8u64 {
        let mut body = revision.to_le_bytes().to_vec();
        body.resize(CREDIT_BYTES_MIN as usize / 3, 0);
        let watch = WatchId(1);
        give(&mut client, &FromServer::Update { watch, body: &body });
    }
    assert!(protocol_error(&client).contains("credit"));
}

#[test]
fn an_ended_watch_drops_what_still_comes() {
    let mut client = up();
    submit(&mut client, &watch(1));
    sent(&mut client);
    begin_watch(&mut client, 1, 1, 1);
    give_update(&mut client, 1, 1);
    client.unwatch(WatchId(1));
    assert_eq!(sent(&mut client), ["2 acks 1"]);
    give_update(&mut client, 1, 2);
    let oldest = Revision(3);
    let end = FromServer::WatchCompacted {
        watch: WatchId(1),
        oldest,
    };
    give(&mut client, &end);
    assert_eq!(client.ended(), None);
    assert_eq!(client.take_update(WatchId(1)), Some(Err(WatchLoss::Over)));
    // Nobody asks for the reply to the unwatch; it makes no trouble.
    give_reply(&mut client, 2);
    assert_eq!(client.room().requests, IN_FLIGHT_MAX);
    // A watch whose caller has given up is ended as soon as it has begun.
    submit(&mut client, &watch(2));
    sent(&mut client);
    assert_eq!(client.cancel(Seq(3)), Effect::None);
    assert_eq!(sent(&mut client), ["4"]);
    begin_watch(&mut client, 2, 3, 1);
    give_update(&mut client, 2, 1);
    assert_eq!(client.ended(), None);
}

#[test]
fn an_unwatch_without_room_is_sent_later() {
    let mut client = up();
    submit(&mut client, &watch(1));
    sent(&mut client);
    begin_watch(&mut client, 1, 1, 1);
    for _ in 0..IN_FLIGHT_MAX {
        submit(&mut client, &SET);
    }
    sent(&mut client);
    client.unwatch(WatchId(1));
    assert!(!client.has_output());
    give_reply(&mut client, 2);
    assert_eq!(sent(&mut client), ["1026 acks 1"]);
}

/// When the time of its transaction was over, it was withdrawn with the call, and the lease stayed.
#[test]
fn a_lease_is_given_back_even_if_there_is_no_room_yet() {
    let mut client = up();
    for _ in 0..IN_FLIGHT_MAX {
        submit(&mut client, &SET);
    }
    sent(&mut client);
    client.release(LeaseId(7));
    assert!(!client.has_output());
    give_reply(&mut client, 1);
    assert_eq!(sent(&mut client), ["1025 acks 1"]);
    // It is lost with its session, and then there is nothing to give back.
    client.disconnected(NOW, 0, "cut");
    client.release(LeaseId(8));
    client.connected(NOW);
    sent(&mut client);
    give(&mut client, &welcome(false));
    assert_eq!(sent(&mut client), Vec::<String>::new());
}

#[test]
fn compacted_is_told_once_after_what_came_before() {
    let mut client = up();
    submit(&mut client, &watch(1));
    sent(&mut client);
    begin_watch(&mut client, 1, 1, 1);
    give_update(&mut client, 1, 1);
    let (watch, oldest) = (WatchId(1), Revision(9));
    give(&mut client, &FromServer::WatchCompacted { watch, oldest });
    assert_eq!(client.take_update(watch), Some(Ok(update(1))));
    let end = WatchLoss::Compacted { oldest };
    assert_eq!(client.take_update(watch), Some(Err(end)));
    assert_eq!(client.take_update(watch), Some(Err(WatchLoss::Over)));
}

/// Gives an update of so many bytes to watch 1.
fn give_bytes(client: &mut Client, revision: u64, bytes: u64) {
    let mut body = revision.to_le_bytes().to_vec();
    body.resize(bytes as usize, 0);
    let watch = WatchId(1);
    give(client, &FromServer::Update { watch, body: &body });
}

/// A client with watch 1, which has begun.
fn watching() -> Client {
    let mut client = up();
    submit(&mut client, &watch(1));
    sent(&mut client);
    begin_watch(&mut client, 1, 1, 1);
    client
}

#[test]
fn what_may_be_under_way_beside_the_credit_is_one_frame() {
    let mut client = watching();
    let most = CREDIT_BYTES_MIN + FRAME_BYTES_MAX as u64;
    for revision in 1..=4 {
        give_bytes(&mut client, revision, most / 4);
    }
    assert_eq!(client.ended(), None);
    give_bytes(&mut client, 5, 8);
    assert!(protocol_error(&client).contains("credit"));
}

#[test]
fn credit_for_little_is_not_worth_a_message() {
    let mut client = watching();
    give_update(&mut client, 1, 1);
    client.take_update(WatchId(1));
    assert!(!client.has_output());
}

#[test]
fn no_credit_for_a_watch_that_has_ended_and_no_end_for_one_either() {
    let mut client = watching();
    give_bytes(&mut client, 1, CREDIT_BYTES_MIN / 4);
    let (watch, oldest) = (WatchId(1), Revision(9));
    give(&mut client, &FromServer::WatchCompacted { watch, oldest });
    client.take_update(watch);
    assert!(!client.has_output(), "no credit");
    client.unwatch(watch);
    assert!(!client.has_output(), "the server has no such watch");
}

#[test]
fn an_update_behind_the_end_of_its_watch_is_dropped() {
    let mut client = watching();
    let (watch, oldest) = (WatchId(1), Revision(9));
    give(&mut client, &FromServer::WatchCompacted { watch, oldest });
    give_update(&mut client, 1, 10);
    let end = WatchLoss::Compacted { oldest };
    assert_eq!(client.take_update(watch), Some(Err(end)));
}

#[test]
fn whether_there_is_an_update_to_take() {
    let mut client = watching();
    let id = WatchId(1);
    assert!(!client.has_update(id));
    give_update(&mut client, 1, 1);
    assert!(client.has_update(id));
    client.take_update(id);
    assert!(!client.has_update(id));
    let oldest = Revision(9);
    give(
        &mut client,
        &FromServer::WatchCompacted { watch: id, oldest },
    );
    assert!(client.has_update(id), "its end");
    client.take_update(id);
    assert!(client.has_update(id), "that it is over");
    let mut client = watching();
    client.gone(ServerLoss::new(ServerEnd::Unseen));
    assert!(client.has_update(id), "the end of all");
}
