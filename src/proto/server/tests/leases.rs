//! Transactions of clients: their limits. What they promise is checked in the simulator.

use super::*;
use crate::proto::ids::LeaseId;
use crate::proto::limits::{READ_NAMESPACES_MAX, READS_MAX};
use crate::proto::operations::{Operation, Part, Read, Span, Test};

/// The limit that a request was refused for, if it was.
fn over(reply: Reply<'_>) -> Option<(String, u64, u64)> {
    match reply {
        Reply::Failed {
            failure: Failure::Limit { limit, actual, max },
            ..
        } => Some((limit.to_owned(), actual, max)),
        _ => None,
    }
}

/// What the program has been answered, in words.
fn replies(server: &mut Server, program: &Peer) -> Vec<String> {
    let frames = frames(server, program.id);
    let texts = frames
        .iter()
        .filter_map(|frame| match codec::decode(frame) {
            Ok(FromServer::Reply { body, .. }) => {
                let reply = codec::decode::<Reply<'_>>(body).expect("the server's own reply");
                Some(format!("{reply:?}"))
            }
            _ => None,
        });
    texts.collect()
}

fn lease(number: u64, key: &str) -> Request<'_> {
    Request::Lease {
        lease: LeaseId(number),
        function: "f",
        on: vec![("n", Some(key))],
    }
}

#[test]
fn leases_at_their_limit_and_over_it() {
    let mut server = server_with(|config| config.limits.leases_max = 2);
    let mut program = Peer::program(&mut server);
    program.call(&mut server, lease(0, "k"), |reply| {
        assert_eq!(over(reply), None);
    });
    // The second one waits for the first, and takes room all the same.
    program.ask(&mut server, lease(1, "k"));
    program.call(&mut server, lease(2, "free"), |reply| {
        assert_eq!(over(reply), Some(("LEASES_MAX".to_owned(), 3, 2)));
    });
    let ended = Request::Commit {
        function: "f",
        at: Revision::ZERO,
        parts: Vec::new(),
        lease: Some(LeaseId(0)),
    };
    program.ask(&mut server, ended);
    program.call(&mut server, lease(3, "free"), |reply| {
        assert_eq!(over(reply), None);
    });
}

/// What comes of a commit that has read all of a namespace, three changes of another span ago.
fn committed(steps_max: usize) -> bool {
    let mut server = server_with(|config| config.limits.validation_steps_max = steps_max);
    let mut program = Peer::program(&mut server);
    program.set(&mut server, "a", 0);
    let at = server.store.revision();
    for value in 1..=3 {
        program.set(&mut server, "b", value);
    }
    let span = Span {
        prefix: "a",
        from: "",
        until: None,
    };
    let write = Operation::Add { key: "a", by: 1 };
    let commit = Request::Commit {
        function: "f",
        at,
        parts: vec![Part {
            namespace: "n",
            reads: vec![Read::Span(span)],
            writes: vec![write],
        }],
        lease: None,
    };
    let mut done = false;
    program.call(&mut server, commit, |reply| {
        done = matches!(reply, Reply::Written { .. });
        assert!(
            done || matches!(
                reply,
                Reply::Failed {
                    failure: Failure::Conflict { .. },
                    ..
                }
            )
        );
    });
    done
}

/// Each change passed over takes two: itself, and its one key beside the one span.
#[test]
fn a_commit_that_would_have_to_look_at_too_much_is_a_conflict() {
    assert!(committed(6));
    assert!(!committed(5));
}

/// One session took them all, and kept everybody else's transactions from theirs.
#[test]
fn no_session_takes_all_leases_and_none_is_on_nothing() {
    let mut server = server_with(|config| config.limits.leases_per_session_max = 3);
    let mut program = Peer::program(&mut server);
    for number in 0..3 {
        program.call(&mut server, lease(number, &number.to_string()), |reply| {
            assert_eq!(over(reply), None);
        });
    }
    program.call(&mut server, lease(1000, "k"), |reply| {
        let name = "LEASES_PER_SESSION_MAX".to_owned();
        assert_eq!(over(reply), Some((name, 4, 3)));
    });
    let nothing = Request::Lease {
        lease: LeaseId(1001),
        function: "f",
        on: Vec::new(),
    };
    program.call(&mut server, nothing, |reply| {
        let Reply::Failed { failure, .. } = reply else {
            panic!("{reply:?}");
        };
        assert!(matches!(failure, Failure::Malformed { .. }), "{failure:?}");
    });
}

/// Harm: leases were counted, what they are on was not: 8192 of them took gigabytes.
#[test]
fn what_leases_are_on_counts_as_what_their_session_waits_for() {
    let mut server = server_with(|config| {
        config.limits.value_bytes_max = 1024;
        config.limits.part_bytes_max = 1024;
        config.limits.interests_per_session_bytes_max = 1024;
    });
    let mut program = Peer::program(&mut server);
    // Two fit, be they held or queued for, and a third does not.
    let key = "k".repeat(200);
    let begun = |server: &mut Server, program: &mut Peer, number| {
        program.ask(server, lease(number, &key));
        let name = "INTERESTS_PER_SESSION_BYTES_MAX";
        !(replies(server, program).iter()).any(|text| text.contains(name))
    };
    assert!(begun(&mut server, &mut program, 1));
    assert!(begun(&mut server, &mut program, 2));
    assert!(!begun(&mut server, &mut program, 3));
    // One that has ended makes room.
    let ended = Request::Commit {
        function: "f",
        at: Revision::ZERO,
        parts: Vec::new(),
        lease: Some(LeaseId(1)),
    };
    program.ask(&mut server, ended);
    assert!(begun(&mut server, &mut program, 4));
    assert!(!begun(&mut server, &mut program, 5));
    server.invariants();
}

/// Trigger: one commit with as many reads as go into a frame. Harm: each was looked up, for a quarter of
/// a second.
#[test]
fn a_commit_has_so_many_reads_and_no_more() {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    program.set(&mut server, "k", 1);
    let at = server.store.revision();
    let mut refused_for = |namespaces: usize, reads: usize| {
        let names: Vec<String> = (0..namespaces).map(|number| number.to_string()).collect();
        let parts = names.iter().map(|namespace| Part {
            namespace,
            reads: vec![Read::Key("k"); reads / namespaces],
            writes: Vec::new(),
        });
        let commit = Request::Commit {
            function: "f",
            at,
            parts: parts.collect(),
            lease: None,
        };
        let mut name = None;
        program.call(&mut server, commit, |reply| {
            name = over(reply).map(|(name, ..)| name);
        });
        name
    };
    let most = READS_MAX + READ_NAMESPACES_MAX;
    assert_eq!(refused_for(1, most), None);
    assert_eq!(refused_for(1, most + 1).as_deref(), Some("READS_MAX"));
    let many = READ_NAMESPACES_MAX;
    assert_eq!(refused_for(many, many), None);
    let over = refused_for(many + 1, many + 1);
    assert_eq!(over.as_deref(), Some("READ_NAMESPACES_MAX"));
}

/// It was as much for each part of a commit as a batch has in all.
#[test]
fn the_parts_of_a_commit_share_what_may_be_compared() {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    // What is there takes nine bytes for each number, what is asked for one.
    let numbers = |long: bool| {
        let number: &[u8] = if long {
            &[0xcf, 0, 0, 0, 0, 0, 0, 0, 7]
        } else {
            &[7]
        };
        [&[0xdc, 0xf0, 0][..], &number.repeat(0xf000)].concat()
    };
    let (there, other) = (numbers(true), numbers(false));
    program.call(
        &mut server,
        Request::Set {
            namespace: "n",
            key: "k",
            value: &there,
            owned: false,
        },
        |reply| assert!(matches!(reply, Reply::Written { .. }), "{reply:?}"),
    );
    let part = || Part {
        namespace: "n",
        reads: Vec::new(),
        writes: vec![Operation::Require {
            key: "k",
            test: Test::Equal(&other),
        }],
    };
    let mut outcomes = Vec::new();
    for parts in [10, 40] {
        let commit = Request::Commit {
            function: "f",
            at: Revision::ZERO,
            parts: (0..parts).map(|_| part()).collect(),
            lease: None,
        };
        program.call(&mut server, commit, |reply| {
            outcomes.push(over(reply).map(|it| it.0))
        });
    }
    assert_eq!(outcomes, [None, Some("COMPARED_BYTES_MAX".to_owned())]);
}
