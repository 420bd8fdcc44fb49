//! Bugs that were found by attacking the server, each by what set it off.

use super::*;
use crate::proto::limits::{FRAME_BYTES_MAX, REPLIES_BYTES_MAX, VALUE_BYTES_MAX};
use crate::proto::message::Fault;

/// Bytes as one value of MessagePack.
pub(super) fn blob(bytes: usize) -> Vec<u8> {
    let length = (bytes - 5) as u32;
    let mut blob = [&[0xc6][..], &length.to_be_bytes()].concat();
    blob.resize(bytes, 0);
    blob
}

/// Trigger: a process says that it panicked with a message as large as a frame lets it, and
/// somebody joins it. Harm: the outcome with its numbers fits no frame, and the server died of the
/// assertion that says so: the whole tree ended. Fix: last words are cut when they are taken in.
#[test]
fn last_words_as_large_as_a_frame() {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    let (process, key) = child(&mut server, &mut program);
    let mut peer = Peer::connect(&mut server, process, key);
    let message = "x".repeat(FRAME_BYTES_MAX - 40);
    let finish = Finish::Panic(Fault {
        message: &message,
        location: "",
        backtrace: "",
    });
    peer.ask(&mut server, Request::Finish { finish, rest: None });
    server.disconnected(peer.id, Time(2));
    server.keeper(ended(process, 0), Time(3));
    let condition = Condition::Ended { process };
    let namespace = "";
    program.call(
        &mut server,
        Request::Wait {
            namespace,
            condition,
        },
        |reply| match reply {
            Reply::Ended { outcome, .. } => match outcome.end {
                End::Finished(Finish::Panic(fault)) => {
                    assert!(fault.message.len() <= limits::FAILURE_BYTES_MAX);
                }
                other => panic!("not a panic: {other:?}"),
            },
            other => panic!("not an outcome: {other:?}"),
        },
    );
}

/// Trigger: a resume that claims to have received `u64::MAX` bytes of a watch. Harm: the sum of
/// sent bytes overflowed: with checks the server died, without them the credit was no bound any
/// more. Fix: nobody can have received more than was sent.
#[test]
fn a_position_that_received_more_than_was_sent() {
    let mut server = server_with(|_| ());
    let mut peer = Peer::program(&mut server);
    peer.watch(&mut server, Filter::All, None);
    peer.set(&mut server, "k", 1);
    let position = WatchPosition {
        watch: WatchId(1),
        next: Revision(1),
        granted: 0,
        received: u64::MAX,
    };
    let mut peer = peer.resumed(&mut server, vec![position]);
    peer.set(&mut server, "k", 2);
    let cursor = &server.sessions[&peer.session].watches[&WatchId(1)];
    assert!(cursor.sent <= cursor.granted);
}

/// Trigger: updates are asked for after revision `u64::MAX`. Harm: the next revision overflowed,
/// and the server died where that is checked. Fix: there is none after the last.
#[test]
fn updates_after_the_last_revision_there_can_be() {
    let mut server = server_with(|_| ());
    let mut peer = Peer::program(&mut server);
    peer.set(&mut server, "k", 1);
    let body = Request::Updates {
        namespace: "n",
        filter: Filter::All,
        after: Revision(u64::MAX),
        until: Revision(u64::MAX),
    };
    peer.call(&mut server, body, |reply| {
        assert!(
            matches!(&reply, Reply::Updates { updates, .. } if updates.is_empty()),
            "{reply:?}"
        );
    });
}

/// Trigger: a watch from a revision that is yet to come. Harm: its cursor was soon taken for one
/// that has caught up, so it got the revisions before its beginning too, and its client, told of
/// revisions it had not asked for, ended with a protocol error: all calls of the process failed.
/// Fix: what is before the beginning of a watch does not put it behind.
#[test]
fn a_watch_from_the_future_sees_nothing_before_it() {
    let mut server = server_with(|_| ());
    let mut peer = Peer::program(&mut server);
    peer.watch(&mut server, Filter::All, Some(Revision(3)));
    frames(&mut server, peer.id);
    let mut seen = Vec::new();
    for value in 1..=4 {
        let body = Request::Set {
            namespace: "n",
            key: "k",
            value: &[value],
            owned: false,
        };
        peer.ask(&mut server, body);
        seen.extend(peer.updates(&mut server).0);
    }
    assert_eq!(seen, [3, 4]);
}

/// Trigger: a watch from revision 0. Harm: `Compacted` although nothing was ever dropped. Fix: the
/// first change is revision 1, so to begin at 0 is to begin there.
#[test]
fn a_watch_from_revision_zero_is_one_from_the_start() {
    let mut server = server_with(|_| ());
    let mut peer = Peer::program(&mut server);
    peer.set(&mut server, "k", 1);
    peer.watch(&mut server, Filter::All, Some(Revision::ZERO));
    assert_eq!(peer.updates(&mut server).0, [1]);
}

/// Trigger: the news that a watch has begun is lost; while the client comes back, what the watch
/// needs is dropped; and the connection on which it is told both, beginning and end, is lost as
/// well. Harm: the client asked once more, was told the beginning once more, and waited for
/// updates for ever: the server knew of no such watch. Fix: who is told the beginning of a watch
/// that is over is told its end too.
#[test]
fn the_end_of_a_watch_is_told_again_with_its_beginning() {
    let mut server = server_with(|config| config.limits.history_entries_max = 1);
    let mut peer = Peer::program(&mut server);
    peer.watch(&mut server, Filter::All, None);
    let request = Request::Watch {
        watch: WatchId(1),
        namespace: "n",
        filter: Filter::All,
        from: None,
        credit: CREDIT_BYTES_MIN,
        feeds: None,
    };
    // What is queued for it is lost with its connection, each time.
    for value in 1..=3 {
        peer.ask(
            &mut server,
            Request::Set {
                namespace: "n",
                key: "k",
                value: &[value],
                owned: false,
            },
        );
    }
    let mut peer = peer.resumed(&mut server, Vec::new());
    peer.repeat(&mut server, 1, request.clone());
    let mut peer = peer.resumed(&mut server, Vec::new());
    peer.repeat(&mut server, 1, request);
    let told: Vec<_> = frames(&mut server, peer.id)
        .iter()
        .map(|frame| match codec::decode(frame) {
            Ok(FromServer::Reply { .. }) => "begun",
            Ok(FromServer::WatchCompacted { .. }) => "compacted",
            other => panic!("what else? {other:?}"),
        })
        .collect();
    assert_eq!(told, ["begun", "compacted"]);
}

/// Trigger: a client waits for the end of one process many times over, and acknowledges nothing.
/// Harm: its retained replies, up to a gigabyte of them, heeded no limit. Fix: an end that there
/// is no room to tell of is told when there is some; any other answer is replaced by one that says so.
#[test]
fn the_answers_of_waits_are_bounded_too() {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    let (process, key) = child(&mut server, &mut program);
    let mut peer = Peer::connect(&mut server, process, key);
    let value = blob(VALUE_BYTES_MAX);
    let finish = Finish::Value(&value);
    peer.ask(&mut server, Request::Finish { finish, rest: None });
    let replies = |server: &mut Server| -> Vec<Seq> {
        let frames = frames(server, program.id);
        let seq = |frame: &Vec<u8>| match codec::decode(frame) {
            Ok(FromServer::Reply { seq, .. }) => Some(seq),
            _ => None,
        };
        frames.iter().filter_map(seq).collect()
    };
    let request = |number: u64| FromClient::Request {
        seq: Seq(10 + number),
        acks: Vec::new(),
        body: Request::Wait {
            namespace: "",
            condition: Condition::Ended { process },
        },
    };
    for number in 0..70 {
        say(&mut server, program.id, &request(number));
    }
    server.disconnected(peer.id, Time(2));
    server.keeper(ended(process, 0), Time(3));
    let mut fresh = replies(&mut server);
    // These come too late to wait for the end.
    for number in 70..100 {
        say(&mut server, program.id, &request(number));
    }
    let kept = server.sessions[&program.session].answers_bytes();
    assert!(kept <= REPLIES_BYTES_MAX, "{kept}");
    let mut answers = 0;
    while !fresh.is_empty() {
        answers += fresh.len();
        say(&mut server, program.id, &FromClient::Ack { acks: fresh });
        fresh = replies(&mut server);
    }
    assert_eq!(answers, 100, "each is answered in the end");
}

/// Trigger: a client that reconnects as fast as it can. Harm: each time left two timers behind, for
/// the time of grace and that of the hello: memory grew with the rate, without a limit. Fix: a
/// timer goes when what it waits for has come.
#[test]
fn reconnects_leave_no_timers_behind() {
    let mut server = server_with(|_| ());
    let mut peer = Peer::program(&mut server);
    peer.set(&mut server, "k", 1);
    for _ in 0..100 {
        peer = peer.resumed(&mut server, Vec::new());
    }
    assert_eq!(server.timers.len(), 0);
    server.disconnected(peer.id, Time(1));
    assert_eq!(server.timers.len(), 1, "that of its grace");
    let silent = server.connected(Time(1));
    server.disconnected(silent, Time(1));
    assert_eq!(server.timers.len(), 1, "no hello is waited for");
}

/// Trigger: an atomic function is called with an argument over the limit of a value, as no client
/// of ours does. Harm: the limit was heeded for spawns and waits only. Fix: for all three.
#[test]
fn the_argument_of_an_atomic_function_is_bounded() {
    let mut server = server_with(|_| ());
    let mut peer = Peer::program(&mut server);
    let body = Request::Atomic {
        namespace: "n",
        function: FunctionRef {
            offset: 1,
            name: "set two and fail",
        },
        args: &blob(VALUE_BYTES_MAX + 1),
    };
    peer.call(&mut server, body, |reply| {
        let Reply::Failed { failure, .. } = reply else {
            panic!("it was done: {reply:?}");
        };
        assert!(matches!(
            failure,
            Failure::Limit {
                limit: "VALUE_BYTES_MAX",
                ..
            }
        ));
    });
}

/// Trigger: a process ends while its session keeps as many replies as it may. Harm: its last words
/// were refused for want of room, and those who joined it were told a bare exit code. Fix: what is
/// answered with a word is not refused for it.
#[test]
fn last_words_need_no_room_for_replies() {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    let (process, key) = child(&mut server, &mut program);
    let mut peer = Peer::connect(&mut server, process, key);
    let value = blob(VALUE_BYTES_MAX - 16);
    for _ in 0..REPLIES_BYTES_MAX / VALUE_BYTES_MAX {
        peer.ask(
            &mut server,
            Request::GetOrInsert {
                namespace: "n",
                key: "k",
                value: &value,
            },
        );
        frames(&mut server, peer.id);
    }
    let finish = Finish::Value(&[7]);
    peer.call(
        &mut server,
        Request::Finish { finish, rest: None },
        |reply| {
            assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
        },
    );
}
