//! What kept everybody waiting, or the machine without memory, for one client's sake: each by its
//! trigger, with its work counted.

use super::hostile::blob;
use super::*;
use crate::proto::limits::{CHANGE_SET_CHANGES_MAX, READ_RANGES_MAX};
use crate::proto::operations::Test;

fn until_a_function_says_so(name: &str) -> Request<'_> {
    let function = FunctionRef { offset: 0, name };
    let args = &[];
    Request::Wait {
        namespace: "n",
        condition: Condition::Function { function, args },
    }
}

/// Trigger: a hundred waits whose functions read a thousand ranges each, then one batch that sets
/// 16,000 keys. Harm: each key was compared with each range: everybody waited for 100 s. Fix: ranges
/// are found by the keys that they hold, each once for a change set; and more than a few that one
/// function reads count as one.
#[test]
fn many_ranges_and_then_many_keys() {
    let mut server = server_with(|_| ());
    let mut peer = Peer::program(&mut server);
    for _ in 0..100 {
        peer.ask(&mut server, until_a_function_says_so("a thousand ranges"));
    }
    let waits = |server: &Server| -> Vec<(usize, u64)> {
        let waits = server.sessions[&SessionId(1)].waits.values();
        let counts = waits.map(|wait| (wait.reads.iter().count(), wait.tests));
        counts.collect()
    };
    assert_eq!(waits(&server).len(), 100);
    for (ranges, tests) in waits(&server) {
        assert!(ranges <= READ_RANGES_MAX, "{ranges} ranges are kept");
        assert_eq!(tests, 1);
    }
    let keys: Vec<String> = (0..CHANGE_SET_CHANGES_MAX)
        .map(|n| format!("{n:05}"))
        .collect();
    let set = |key| Operation::Set {
        key,
        value: &[1],
        owned: false,
    };
    let batch = Request::Batch {
        namespace: "n",
        operations: keys.iter().map(|key| set(key)).collect(),
    };
    peer.ask(&mut server, batch);
    let mut found = BTreeSet::new();
    let keys: Vec<&str> = keys.iter().map(|key| &**key).collect();
    let looked_at = server.wait_index.find("n", &keys, &mut found);
    assert_eq!(found.len(), 100);
    assert!(
        looked_at <= keys.len() + 100 * READ_RANGES_MAX,
        "{looked_at}"
    );
    for (_, tests) in waits(&server) {
        assert_eq!(tests, 2, "once at its beginning, once for the batch");
    }
}

/// Requires this of a key sixteen thousand times in one batch.
fn require_again_and_again(server: &mut Server, peer: &mut Peer, test: Test<'_>) -> String {
    let key = "map";
    let batch = Request::Batch {
        namespace: "n",
        operations: vec![Operation::Require { key, test }; CHANGE_SET_CHANGES_MAX],
    };
    let mut told = String::new();
    peer.call(server, batch, |reply| match reply {
        Reply::Failed { failure, .. } => told = format!("{failure:?}"),
        Reply::Batched { .. } => told = "done".to_owned(),
        other => panic!("no reply to a batch: {other:?}"),
    });
    told
}

/// A map of so many small entries, in this order or the other; what is backwards is written in more
/// bytes than it needs.
fn map(entries: u16, backwards: bool) -> Vec<u8> {
    let mut bytes = vec![0xde];
    bytes.extend(entries.to_be_bytes());
    for number in 0..entries {
        let number = if backwards {
            entries - 1 - number
        } else {
            number
        };
        if backwards {
            bytes.push(0xcf);
            bytes.extend(u64::from(number).to_be_bytes());
        } else {
            bytes.push(0xcd);
            bytes.extend(number.to_be_bytes());
        }
        bytes.push(0);
    }
    bytes
}

/// Trigger: one batch that requires of a large map, 16,384 times, that it is not equal to another:
/// each time both were sorted, for hours. Fix: a batch requires no such thing, which our own clients
/// can't say; and the work of comparing is counted and bounded.
#[test]
fn a_large_map_compared_again_and_again() {
    let mut server = server_with(|_| ());
    let mut peer = Peer::program(&mut server);
    // So small that all the batch fits a frame; and a test that takes the most work: it holds.
    let (there, wanted) = (map(100, true), map(100, false));
    let set = |value| Request::Set {
        namespace: "n",
        key: "map",
        value,
        owned: false,
    };
    peer.ask(&mut server, set(&there));
    frames(&mut server, peer.id);
    let told = require_again_and_again(&mut server, &mut peer, Test::NotEqual(&wanted));
    assert!(told.contains("Malformed"), "{told}");
    let told = require_again_and_again(&mut server, &mut peer, Test::Equal(&wanted));
    assert!(told.contains("COMPARED_BYTES_MAX"), "{told}");
    // The same bytes take no work.
    peer.ask(&mut server, set(&wanted));
    frames(&mut server, peer.id);
    let told = require_again_and_again(&mut server, &mut peer, Test::Equal(&wanted));
    assert_eq!(told, "done");
}

/// A hundred maps within each other, with their entries in this order or in the other.
pub(super) fn nested(inner_first: bool, bytes: usize) -> Vec<u8> {
    let mut value = [&[0xc6][..], &(bytes as u32).to_be_bytes(), &vec![7; bytes]].concat();
    for _ in 0..100 {
        value = match inner_first {
            true => [&[0x82, 1][..], &value, &[2, 0xc0]].concat(),
            false => [&[0x82, 2, 0xc0, 1][..], &value].concat(),
        };
    }
    value
}

/// Trigger: a hundred waits for a nested map whose entries are in another order, then sets of that
/// map. Harm: each wait sorted both, at each level again: 0.7 s for one set. Fix: values are compared
/// by a digest, which is made once for what is waited for and once for what is set.
#[test]
fn a_nested_map_that_many_wait_for() {
    let mut server = server_with(|_| ());
    let mut peer = Peer::program(&mut server);
    let (there, wanted) = (nested(true, 10_000), nested(false, 10_000));
    let (other, third) = (nested(true, 9_999), nested(true, 10_001));
    let set = |value| Request::Set {
        namespace: "n",
        key: "k",
        value,
        owned: false,
    };
    peer.ask(&mut server, set(&other));
    let waits = |server: &Server| server.sessions[&SessionId(1)].waits.len();
    let before = server.comparer.gone_over();
    for number in 0..100 {
        let condition = match number % 2 {
            0 => Condition::Equal {
                key: "k",
                value: &wanted,
            },
            _ => Condition::Key {
                key: "k",
                test: Test::Equal(&wanted),
            },
        };
        let namespace = "n";
        peer.ask(
            &mut server,
            Request::Wait {
                namespace,
                condition,
            },
        );
    }
    assert_eq!(waits(&server), 100);
    let began = server.comparer.gone_over() - before;
    assert_eq!(began, 100 * wanted.len() + other.len());
    peer.ask(&mut server, set(&third));
    assert_eq!(waits(&server), 100);
    peer.ask(&mut server, set(&there));
    assert_eq!(waits(&server), 0);
    let compared = server.comparer.gone_over() - before - began;
    assert_eq!(compared, 2 * there.len() + 1);
    server.invariants();
}

/// Trigger: as many waits for large values as go into one turn. Harm: none before these values were
/// compared by digests. Fix: a turn ends when much has been compared in it.
#[test]
fn waits_for_large_values_have_several_turns() {
    let mut server = server_with(|_| ());
    let mut peer = Peer::program(&mut server);
    let wanted = nested(false, 1 << 19);
    let mut input = Vec::new();
    for _ in 0..20 {
        let condition = Condition::Equal {
            key: "k",
            value: &wanted,
        };
        let namespace = "n";
        let body = Request::Wait {
            namespace,
            condition,
        };
        peer.seq += 1;
        let (seq, acks) = (Seq(peer.seq), Vec::new());
        frame::append(&FromClient::Request { seq, acks, body }, &mut input);
    }
    let mut rest = &input[..];
    let mut waiting = Vec::new();
    while !rest.is_empty() {
        let received = server.receive(peer.id, rest, Time(1));
        assert_eq!(received.more, received.consumed < rest.len());
        rest = &rest[received.consumed..];
        waiting.push(server.sessions[&SessionId(1)].waits.len());
    }
    assert_eq!(waiting, [8, 16, 20], "after 4 MiB each");
}

/// Trigger: a few hundred watches of a thousand long keys each. Harm: watches were counted, their
/// keys were not: 400 took 429 MB. Fix: a limit of bytes of what a session's watches and waits are
/// for, which is given back with each.
#[test]
fn watches_of_many_long_keys() {
    let mut server = server_with(|config| {
        config.limits.interests_per_session_bytes_max = config.limits.value_bytes_max;
    });
    let mut peer = Peer::program(&mut server);
    let keys: Vec<String> = (0..200).map(|n| format!("{n:01000}")).collect();
    let watch = |number: u64| Request::Watch {
        watch: WatchId(number),
        namespace: "n",
        filter: Filter::Keys(keys.iter().map(|key| &**key).collect()),
        from: None,
        credit: CREDIT_BYTES_MIN,
        feeds: None,
    };
    let begun = |server: &mut Server, peer: &mut Peer, number| {
        let mut begun = false;
        peer.call(server, watch(number), |reply| match reply {
            Reply::Watching { .. } => begun = true,
            Reply::Failed {
                failure: Failure::Limit { limit, .. },
                ..
            } => {
                assert_eq!(limit, "INTERESTS_PER_SESSION_BYTES_MAX");
            }
            other => panic!("{other:?}"),
        });
        begun
    };
    for number in 0..4 {
        assert!(
            begun(&mut server, &mut peer, number),
            "there is room for {number}"
        );
    }
    assert!(!begun(&mut server, &mut peer, 4));
    // A wait is refused by the same name, a join is not.
    let value = blob(server.config.limits.value_bytes_max - 300);
    let condition = Condition::Equal {
        key: "k",
        value: &value,
    };
    let namespace = "n";
    peer.call(
        &mut server,
        Request::Wait {
            namespace,
            condition,
        },
        |reply| {
            let text = format!("{reply:?}");
            assert!(text.contains("INTERESTS_PER_SESSION_BYTES_MAX"), "{text}");
        },
    );
    peer.call(
        &mut server,
        Request::Unwatch { watch: WatchId(2) },
        |reply| assert!(matches!(reply, Reply::Done { .. })),
    );
    assert!(begun(&mut server, &mut peer, 5));
    assert!(!begun(&mut server, &mut peer, 6));
    server.invariants();
}

/// Trigger: as many connections as there may be, none of which says hello. Harm: for ten seconds
/// nobody else of the same user got in. Fix: those have a smaller limit of their own, and the oldest
/// goes when there is one more.
#[test]
fn silent_connections_keep_nobody_out() {
    let mut server = server_with(|config| config.limits.connections_silent_max = 3);
    let silent: Vec<ConnectionId> = (0..3).map(|_| server.connected(Time(1))).collect();
    assert_eq!(server.poll_effect(), None);
    let mut peer = Peer::program(&mut server);
    assert!(refusal(&mut server, silent[0]).contains("Late"));
    // Who has said hello is not among them.
    server.connected(Time(1));
    assert_eq!(server.poll_effect(), None, "there was room for one");
    server.connected(Time(1));
    assert!(refusal(&mut server, silent[1]).contains("Late"));
    peer.set(&mut server, "k", 1);
    // Who leaves makes room.
    server.disconnected(silent[2], Time(2));
    server.connected(Time(2));
    assert_eq!(server.poll_effect(), None);
    server.invariants();
}
