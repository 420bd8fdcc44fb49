//! What kept everybody waiting, or the machine without memory, for one client's sake: each by its
//! trigger, with its work counted.

use super::*;
use crate::proto::limits::{CHANGE_SET_CHANGES_MAX, READ_RANGES_MAX};

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
    let keys: Vec<String> = (0..CHANGE_SET_CHANGES_MAX).map(|n| format!("{n:05}")).collect();
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
    assert!(looked_at <= keys.len() + 100 * READ_RANGES_MAX, "{looked_at}");
    for (_, tests) in waits(&server) {
        assert_eq!(tests, 2, "once at its beginning, once for the batch");
    }
}
