//! What kept everybody waiting, or the machine without memory, for one client's sake: each by its
//! trigger, with its work counted.

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

/// A map of so many small entries, in this order or the other.
fn map(entries: u16, backwards: bool) -> Vec<u8> {
    let mut bytes = vec![0xde];
    bytes.extend(entries.to_be_bytes());
    for number in 0..entries {
        let number = if backwards {
            entries - 1 - number
        } else {
            number
        };
        bytes.push(0xcd);
        bytes.extend(number.to_be_bytes());
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
    let (there, wanted) = (map(100, false), map(100, true));
    let set = Request::Set {
        namespace: "n",
        key: "map",
        value: &there,
        owned: false,
    };
    peer.ask(&mut server, set);
    frames(&mut server, peer.id);
    let told = require_again_and_again(&mut server, &mut peer, Test::NotEqual(&wanted));
    assert!(told.contains("Malformed"), "{told}");
    let told = require_again_and_again(&mut server, &mut peer, Test::Equal(&wanted));
    assert!(told.contains("COMPARED_BYTES_MAX"), "{told}");
    // Where one walk does, there is no end to it.
    let told = require_again_and_again(&mut server, &mut peer, Test::Equal(&there));
    assert_eq!(told, "done");
}
