//! Arguments and results that come and go in parts.

use super::*;
use crate::proto::ids::PartsId;

const LARGE: &[u8] = b"abcdefghij";

/// A server whose parts are of three bytes.
fn server() -> Server {
    server_with(|config| {
        config.limits.part_bytes_max = 3;
    })
}

fn part(parts: u64, from: usize, bytes: &[u8]) -> Request<'_> {
    Request::Part {
        parts: PartsId(parts),
        size: LARGE.len() as u64,
        from: from as u64,
        bytes,
    }
}

/// Sends all of it, in parts.
fn send(server: &mut Server, peer: &mut Peer, parts: u64) {
    for (index, bytes) in LARGE.chunks(3).enumerate() {
        peer.call(server, part(parts, 3 * index, bytes), |reply| {
            assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
        });
    }
}

fn spawn(rest: u64) -> Request<'static> {
    Request::Spawn {
        function: FunctionRef {
            offset: 1,
            name: "f",
        },
        args: b"head:",
        rest: Some(PartsId(rest)),
        setup: Setup::default(),
    }
}

fn spawned(server: &mut Server, peer: &mut Peer, rest: u64) -> (ProcessId, Token) {
    peer.call(server, spawn(rest), |reply| {
        assert!(matches!(reply, Reply::Spawned { .. }), "{reply:?}");
    });
    match server.poll_effect() {
        Some(Effect::Spawn { process, key, .. }) => (process, key),
        other => panic!("no spawn: {other:?}"),
    }
}

/// Fetches until there is no more.
fn fetch(server: &mut Server, peer: &mut Peer, rest: RestOf) -> Vec<u8> {
    let mut fetched = Vec::new();
    loop {
        let from = fetched.len() as u64;
        let mut count = 0;
        peer.call(server, Request::Fetch { rest, from }, |reply| match reply {
            Reply::Part { bytes } => {
                assert!(bytes.len() <= 3);
                count = bytes.len();
                fetched.extend_from_slice(bytes);
            }
            other => panic!("{other:?}"),
        });
        if count == 0 {
            return fetched;
        }
    }
}

fn failure(server: &mut Server, peer: &mut Peer, request: Request<'_>) -> String {
    let mut told = String::new();
    peer.call(server, request, |reply| match reply {
        Reply::Failed { failure, .. } => told = format!("{failure:?}"),
        other => panic!("{other:?}"),
    });
    told
}

/// A process that returns a large result and ends.
fn ended_with_large_result(server: &mut Server, program: &mut Peer) -> ProcessId {
    send(server, program, 1);
    let (process, key) = spawned(server, program, 1);
    let mut peer = Peer::connect(server, process, key);
    send(server, &mut peer, 7);
    let finish = Request::Finish {
        finish: Finish::Value(b"value:"),
        rest: Some(PartsId(7)),
    };
    peer.call(server, finish, |reply| {
        assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
    });
    server.keeper(ended(process, 0), Time(3));
    server.drained(peer.id, Time(3));
    while server.poll_effect().is_some() {}
    process
}

fn promised(server: &mut Server, peer: &mut Peer, process: ProcessId) -> u64 {
    let wait = Request::Wait {
        namespace: "",
        condition: Condition::Ended { process },
    };
    let mut promised = 0;
    peer.call(server, wait, |reply| match reply {
        Reply::Ended { rest, outcome, .. } => {
            assert_eq!(outcome.end, End::Finished(Finish::Value(b"value:")));
            promised = rest;
        }
        other => panic!("{other:?}"),
    });
    promised
}

#[test]
fn an_argument_in_parts_is_fetched_once_and_given_back() {
    let mut server = server();
    let mut program = Peer::program(&mut server);
    send(&mut server, &mut program, 5);
    assert_eq!(server.usage().uploads, 1);
    let (process, key) = spawned(&mut server, &mut program, 5);
    assert_eq!((server.usage().uploads, server.parts_bytes), (0, 10));
    let mut peer = Peer::connect(&mut server, process, key);
    peer.call(&mut server, Request::Begin, |reply| match reply {
        Reply::Task { args, rest, .. } => assert_eq!((args, rest), (&b"head:"[..], 10)),
        other => panic!("{other:?}"),
    });
    let fetched = fetch(&mut server, &mut peer, RestOf::Argument);
    assert_eq!(fetched, LARGE);
    assert_eq!(server.parts_bytes, 0);
    // Of its own argument each may ask, and of no other's.
    assert_eq!(fetch(&mut server, &mut program, RestOf::Argument), b"");
}

#[test]
fn a_result_in_parts_is_there_until_it_is_forgotten() {
    let mut server = server();
    let mut program = Peer::program(&mut server);
    let process = ended_with_large_result(&mut server, &mut program);
    // The argument that nobody fetched is gone as well.
    assert_eq!(server.parts_bytes, 0);
    let rest = RestOf::Result { process };
    for _ in 0..2 {
        assert_eq!(promised(&mut server, &mut program, process), 10);
        assert_eq!(fetch(&mut server, &mut program, rest), LARGE);
    }
    let before = server.results_bytes;
    program.call(&mut server, Request::Forget { process }, |_| ());
    program.call(&mut server, Request::Forget { process }, |_| ());
    assert_eq!(server.results_bytes, before - 10);
    assert_eq!(promised(&mut server, &mut program, process), 0);
}

#[test]
fn results_that_are_too_many_bytes_go_oldest_first_and_it_is_told() {
    let mut measured = server();
    let mut program = Peer::program(&mut measured);
    ended_with_large_result(&mut measured, &mut program);
    let one = measured.results_bytes;
    let mut server = server_with(|config| {
        config.limits.part_bytes_max = 3;
        config.limits.results_bytes_max = 3 * one - 5;
    });
    let mut program = Peer::program(&mut server);
    let [first, second, third] =
        [(); 3].map(|()| ended_with_large_result(&mut server, &mut program));
    assert_eq!(server.results_bytes, 3 * one - 10);
    for process in [second, third] {
        assert_eq!(promised(&mut server, &mut program, process), 10);
    }
    // Its record is there, and who asks for the value is told why it is not.
    assert!(promised(&mut server, &mut program, first) > 0);
    let rest = RestOf::Result { process: first };
    let told = failure(&mut server, &mut program, Request::Fetch { rest, from: 0 });
    assert!(told.contains("RESULTS_BYTES_MAX"), "{told}");
}

#[test]
fn parts_that_do_not_fit_each_other_come_to_nothing() {
    let fault = Fault {
        message: "",
        location: "",
        backtrace: "",
    };
    // A panic has no value that could go on.
    let panic = Request::Finish {
        finish: Finish::Panic(fault),
        rest: Some(PartsId(2)),
    };
    // What is said after one good part of the first thing, and all of the second.
    let cases: [(Request<'_>, &str); 6] = [
        (spawn(1), "NoParts"),
        (part(1, 0, b"abc"), "NoParts"),
        (part(1, 6, b"abc"), "NoParts"),
        (part(1, 3, b""), "Malformed"),
        (part(1, 9, b"abc"), "Malformed"),
        (panic, "Malformed"),
    ];
    for (request, told) in cases {
        let mut server = server();
        let mut program = Peer::program(&mut server);
        program.call(&mut server, part(1, 0, b"abc"), |reply| {
            assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
        });
        send(&mut server, &mut program, 2);
        let failed = failure(&mut server, &mut program, request.clone());
        assert!(failed.contains(told), "{request:?}: {failed}");
        assert_eq!(server.parts_bytes, 10, "{request:?}");
        assert!(failure(&mut server, &mut program, spawn(3)).contains("NoParts"));
        assert!(server.poll_effect().is_none(), "nothing was started");
    }
}

#[test]
fn limits_of_parts() {
    let mut server = server_with(|config| {
        config.limits.value_bytes_max = 14;
        config.limits.part_bytes_max = 3;
        config.limits.payload_bytes_max = 14;
        config.limits.parts_bytes_max = 25;
        config.limits.parts_per_session_bytes_max = 24;
        config.limits.uploads_per_session_max = 2;
        config.limits.owned_bytes_max = 14;
    });
    let mut program = Peer::program(&mut server);
    let sized = |parts, size| Request::Part {
        parts: PartsId(parts),
        size,
        from: 0,
        bytes: b"abc",
    };
    let cases = [
        (part(1, 0, b"abcd"), "PART_BYTES_MAX"),
        (sized(1, 15), "PAYLOAD_BYTES_MAX"),
        (sized(1, u64::MAX), "PAYLOAD_BYTES_MAX"),
    ];
    for (request, limit) in cases {
        let told = failure(&mut server, &mut program, request);
        assert!(told.contains(limit), "{told}");
    }
    send(&mut server, &mut program, 1);
    program.call(&mut server, sized(2, 14), |reply| {
        assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
    });
    let told = failure(&mut server, &mut program, sized(3, 3));
    assert!(told.contains("UPLOADS_PER_SESSION_MAX"), "{told}");
    // With its beginning the argument is too long, and it is gone.
    let told = failure(&mut server, &mut program, spawn(1));
    assert!(told.contains("PAYLOAD_BYTES_MAX"), "{told}");
    let told = failure(&mut server, &mut program, sized(3, 11));
    assert!(told.contains("PARTS_PER_SESSION_BYTES_MAX"), "{told}");
    let (process, key) = child(&mut server, &mut program);
    let mut other = Peer::connect(&mut server, process, key);
    let told = failure(&mut server, &mut other, sized(3, 12));
    assert!(told.contains("\"PARTS_BYTES_MAX"), "{told}");
    other.call(&mut server, sized(3, 11), |reply| {
        assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
    });
    assert_eq!(server.parts_bytes, 25);
}

/// One session could announce all the room there is, and the server took the memory at once.
#[test]
fn who_announces_much_costs_nobody_room_or_memory() {
    let mut server = server_with(|config| config.limits.part_bytes_max = 3);
    let mut program = Peer::program(&mut server);
    let (process, key) = child(&mut server, &mut program);
    let mut other = Peer::connect(&mut server, process, key);
    let limits = server.config.limits;
    let size = limits.payload_bytes_max;
    let announced = |parts: usize| Request::Part {
        parts: PartsId(parts as u64),
        size: size as u64,
        from: 0,
        bytes: b"abc",
    };
    let share = limits.parts_per_session_bytes_max / size;
    for number in 0..share {
        program.call(&mut server, announced(number), |reply| {
            assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
        });
    }
    let told = failure(&mut server, &mut program, announced(share));
    assert!(told.contains("PARTS_PER_SESSION_BYTES_MAX"), "{told}");
    let reserved = server.sessions.values();
    let reserved = reserved.flat_map(|session| session.uploads.values());
    assert!(
        reserved
            .map(|upload| upload.bytes.capacity())
            .sum::<usize>()
            < 1024
    );
    send(&mut server, &mut other, 1);
}

#[test]
fn parts_go_with_their_session_and_a_retry_adds_nothing() {
    let mut server = server();
    let mut program = Peer::program(&mut server);
    let seq = program.ask(&mut server, part(1, 0, b"abc"));
    program.repeat(&mut server, seq.0, part(1, 0, b"abc"));
    program.call(&mut server, part(1, 3, b"def"), |reply| {
        assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
    });
    assert_eq!(server.parts_bytes, 10);
    say(&mut server, program.id, &FromClient::Goodbye);
    assert_eq!(server.parts_bytes, 0);
}
