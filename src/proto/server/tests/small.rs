//! Limits smaller than usual are held by the server, by their names.

use super::*;

/// Asks one thing of a server with these limits, as its program; the limit that refuses it.
fn refused_by(configure: impl FnOnce(&mut Limits), asked: &[Request<'_>]) -> (String, u64) {
    let mut server = server_with(|config| configure(&mut config.limits));
    let mut peer = Peer::program(&mut server);
    let (last, before) = asked.split_last().expect("something is asked");
    for request in before {
        peer.call(&mut server, request.clone(), |reply| {
            assert!(!matches!(reply, Reply::Failed { .. }), "{reply:?}");
        });
    }
    let mut told = None;
    peer.call(&mut server, last.clone(), |reply| {
        let Reply::Failed {
            failure: Failure::Limit { limit, max, .. },
            ..
        } = reply
        else {
            panic!("not refused: {reply:?}");
        };
        told = Some((limit.to_owned(), max));
    });
    server.invariants();
    told.expect("it was looked at")
}

fn set<'a>(namespace: &'a str, key: &'a str, value: &'a [u8], owned: bool) -> Request<'a> {
    Request::Set {
        namespace,
        key,
        value,
        owned,
    }
}

fn watch(number: u64) -> Request<'static> {
    Request::Watch {
        watch: WatchId(number),
        namespace: "n",
        filter: Filter::All,
        from: None,
        credit: CREDIT_BYTES_MIN,
        feeds: None,
    }
}

/// Limits, what is asked under them, and which limit refuses the last of it.
type Case<'a> = (fn(&mut Limits), &'a [Request<'a>], &'a str, u64);

#[test]
fn small_limits_of_the_state() {
    let text = b"\xa5abcde";
    let cases: [Case<'_>; 6] = [
        (
            |limits| (limits.value_bytes_max, limits.part_bytes_max) = (5, 5),
            &[
                set("n", "k", b"\xa4abcd", false),
                set("n", "k", text, false),
            ],
            "VALUE_BYTES_MAX",
            5,
        ),
        (
            |limits| limits.state_bytes_max = 50,
            &[set("n", "k", text, false), set("n", "l", text, false)],
            "STATE_BYTES_MAX",
            50,
        ),
        (
            |limits| limits.namespaces_max = 1,
            &[set("n", "k", text, false), set("m", "k", text, false)],
            "NAMESPACES_MAX",
            1,
        ),
        (
            |limits| limits.owned_keys_max = 1,
            &[set("n", "k", text, true), set("n", "l", text, true)],
            "OWNED_KEYS_MAX",
            1,
        ),
        (
            |limits| limits.owned_bytes_max = 7,
            &[set("n", "k", text, true), set("n", "l", text, true)],
            "OWNED_BYTES_MAX",
            7,
        ),
        (
            |limits| limits.watches_per_session_max = 1,
            &[watch(1), watch(2)],
            "WATCHES_PER_SESSION_MAX",
            1,
        ),
    ];
    for (configure, asked, limit, max) in cases {
        assert_eq!(refused_by(configure, asked), (limit.to_owned(), max));
    }
}

#[test]
fn small_limits_of_the_tree() {
    let spawn = Request::Spawn {
        function: FunctionRef {
            offset: 1,
            name: "f",
        },
        args: &[],
        setup: Setup::default(),
        rest: None,
    };
    // The program is a process too.
    let told = refused_by(
        |limits| limits.processes_live_max = 2,
        &[spawn.clone(), spawn],
    );
    assert_eq!(told, ("PROCESSES_LIVE_MAX".to_owned(), 2));
}

#[test]
fn sessions_that_have_no_connection_count_too() {
    let mut server = server_with(|config| {
        config.limits.sessions_max = 2;
        config.limits.connections_max = 2;
        config.limits.connections_silent_max = 2;
    });
    let mut program = Peer::program(&mut server);
    let (first, key) = child(&mut server, &mut program);
    let peer = Peer::connect(&mut server, first, key);
    server.disconnected(peer.id, Time(2));
    let (second, key) = child(&mut server, &mut program);
    let id = server.connected(Time(2));
    say(&mut server, id, &hello(second, key, None));
    assert!(refusal(&mut server, id).contains("SESSIONS_MAX"));
    // Nobody else notices.
    program.set(&mut server, "k", 1);
    // When the first has ended there is room.
    server.keeper(ended(first, 0), Time(3));
    Peer::connect(&mut server, second, key);
}

#[test]
#[should_panic(expected = "the limits do not fit each other: a value does not fit a change set")]
fn limits_that_do_not_fit_are_refused() {
    let _ = server_with(|config| config.limits.change_set_bytes_max = 1);
}
