//! How much may be under way: requests, those of them that wait, and the bytes of replies.

use super::*;
use crate::proto::limits::waits_max;

#[test]
fn the_window_is_bounded() {
    let mut client = up();
    for _ in 0..IN_FLIGHT_MAX {
        submit(&mut client, &SET);
    }
    assert_eq!(client.submit(&SET), Err(SubmitError::Full));
    sent(&mut client);
    give_reply(&mut client, 9);
    assert_eq!(client.room().requests, 1);
    submit(&mut client, &SET);
}

#[test]
fn large_replies_have_a_window_of_their_own() {
    let mut client = up();
    let remove = Request::Remove {
        namespace: "n",
        key: "k",
    };
    let many = REPLIES_BYTES_MAX / VALUE_BYTES_MAX;
    for _ in 0..many {
        submit(&mut client, &remove);
    }
    assert_eq!(client.submit(&remove), Err(SubmitError::Full));
    // What is answered with a few words, read or waited for is not held up.
    submit(&mut client, &SET);
    submit(&mut client, &WAIT);
    submit(&mut client, &Request::Ping);
    sent(&mut client);
    give_reply(&mut client, many as u64 + 1);
    assert_eq!(client.submit(&remove), Err(SubmitError::Full));
    give_reply(&mut client, 9);
    submit(&mut client, &remove);
    assert_eq!(client.submit(&remove), Err(SubmitError::Full));
    // What is withdrawn makes room too, and what is lost with the session.
    client.cancel(Seq(many as u64 + 4));
    submit(&mut client, &remove);
    back(&mut client, false);
    assert_eq!(client.room().reply_bytes, REPLIES_BYTES_MAX);
}

fn lock(waits: bool) -> Request<'static> {
    Request::Lock {
        name: "door",
        waits,
    }
}

/// Harm: the threads of a process that waited for a lock which another thread of it held took all the
/// room for requests. To give the lock back found none, so they waited for ever.
#[test]
fn waits_leave_room_for_the_request_that_ends_them() {
    let mut client = up();
    let lease = Request::Lease {
        lease: LeaseId(1),
        function: "f",
        on: Vec::new(),
    };
    let latest = |waits| Request::Wait {
        namespace: "n",
        condition: Condition::Changed {
            filter: Filter::All,
            after: None,
            skip_own: false,
            waits,
        },
    };
    let kinds = [lock(true), WAIT, lease.clone(), latest(true)];
    let waits = waits_max(IN_FLIGHT_MAX);
    assert_eq!(waits, IN_FLIGHT_MAX / 4 * 3);
    let mut kind = kinds.iter().cycle();
    let seqs: Vec<Seq> = (0..waits)
        .map(|_| Seq(submit(&mut client, kind.next().expect("a cycle"))))
        .collect();
    for refused in &kinds {
        assert_eq!(client.submit(refused), Err(SubmitError::Full));
    }
    // What is answered at once is no wait.
    submit(&mut client, &lock(false));
    submit(&mut client, &latest(false));
    sent(&mut client);
    client.unlock("door", Revision(1));
    assert_eq!(sent(&mut client).len(), 1, "the lock is given back");
    client.unwatch(WatchId(1));
    // One that is answered makes room for another, and so does one that is given up.
    give_reply(&mut client, seqs[0].0);
    submit(&mut client, &lock(true));
    assert_eq!(client.submit(&lock(true)), Err(SubmitError::Full));
    client.cancel(seqs[1]);
    submit(&mut client, &lock(true));
    assert_eq!(client.submit(&lock(true)), Err(SubmitError::Full));
    back(&mut client, false);
    assert_eq!(client.room().waits, waits);
}

#[test]
fn in_a_small_window_one_may_wait_and_one_has_room() {
    for (requests_max, waits) in [(1, 1), (2, 1), (3, 2), (4, 3), (5, 3), (7, 5), (8, 6)] {
        assert_eq!(waits_max(requests_max), waits, "of {requests_max}");
    }
    let mut client = client();
    client.connected(Time(0));
    let limits = Agreed {
        in_flight_max: 2,
        ..Limits::USUAL.agreed()
    };
    give(&mut client, &welcome_with(limits));
    submit(&mut client, &lock(true));
    assert_eq!(client.submit(&lock(true)), Err(SubmitError::Full));
    submit(&mut client, &SET);
    assert_eq!(client.submit(&SET), Err(SubmitError::Full));
}

/// Harm: with little room for replies, a second join was held back for want of the acknowledgement of
/// the first, which the client kept until it had a mebibyte of them.
#[test]
fn where_there_is_little_room_for_answers_they_are_acknowledged_sooner() {
    let outcome = Limits::USUAL.outcome_bytes();
    for (replies_bytes_max, at_once) in [(outcome, true), (outcome + 1024, false)] {
        let mut client = client();
        client.connected(Time(0));
        let limits = Agreed {
            replies_bytes_max: replies_bytes_max as u64,
            ..Limits::USUAL.agreed()
        };
        give(&mut client, &welcome_with(limits));
        sent(&mut client);
        let seq = submit(&mut client, &WAIT);
        sent(&mut client);
        give_reply(&mut client, seq);
        let said = sent(&mut client);
        assert_eq!(said.len(), usize::from(at_once), "{said:?}");
    }
}
