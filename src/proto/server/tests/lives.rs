//! The life of a process: its record, its standing, how its end is told, and how long that is kept.

use super::*;
use crate::proto::dump::Standing;
use crate::proto::message::Fault;

fn not_started(process: ProcessId) -> FromKeeper<'static> {
    FromKeeper::NotStarted {
        process,
        call: "execve",
        errno: 2,
    }
}

/// What the state tells of a process.
fn record(server: &Server, process: ProcessId) -> Option<Record> {
    let key = format!("{RECORD_PREFIX}{}", process.0);
    let record = server.store.get("", &key)?;
    Some(rmp_serde::from_slice(record).expect("the server's own record"))
}

fn standing(server: &Server, process: ProcessId) -> Standing {
    let dump = server.dump(Time(1));
    let process = dump.process(process).expect("it is listed");
    process.standing.clone()
}

#[test]
fn a_record_tells_what_a_process_is_and_how_it_stands() {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    let (parent, key) = child(&mut server, &mut program);
    let mut peer = Peer::connect(&mut server, parent, key);
    let (process, key) = child(&mut server, &mut peer);
    let mut expected = Record {
        id: process.0,
        parent: parent.0,
        name: "f".to_owned(),
        function: "f".to_owned(),
        state: "starting".to_owned(),
        pid: None,
        // When the test's peers ask.
        started_ns: 1,
        ended_ns: None,
        outcome: None,
        used: None,
    };
    assert_eq!(record(&server, process).as_ref(), Some(&expected));
    server.keeper(FromKeeper::Started { process, pid: 77 }, Time(2));
    // Told once more, it changes nothing.
    server.keeper(FromKeeper::Started { process, pid: 78 }, Time(2));
    (expected.state, expected.pid) = ("running".to_owned(), Some(77));
    assert_eq!(record(&server, process).as_ref(), Some(&expected));
    let mut peer = Peer::connect(&mut server, process, key);
    peer.call(&mut server, Request::Begin, |reply| {
        let (offset, name) = (1, "f");
        let function = FunctionRef { offset, name };
        let args = &[0xc0];
        let task = Reply::Task {
            function,
            args,
            namespace: "default",
            init: None,
            rest: 0,
        };
        assert_eq!(reply, task);
    });
    server.disconnected(peer.id, Time(3));
    server.keeper(ended(process, 3 << 8), Time(3));
    expected.state = "ended".to_owned();
    expected.outcome = Some("exited with code 3".to_owned());
    expected.ended_ns = Some(3);
    expected.used = Some(Used {
        cpu_ns: 0,
        memory_bytes_max: 0,
    });
    assert_eq!(record(&server, process), Some(expected));
}

/// Whoever has heard from a process finds its number in its record.
#[test]
fn a_process_that_says_hello_before_the_keeper_tells_of_it_runs() {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    let (process, key) = child(&mut server, &mut program);
    let id = server.connected(Time(1));
    say(&mut server, id, &hello(process, Token([0, 0]), None));
    let record_now = || record(&server, process).expect("it is kept");
    assert_eq!(record_now().state, "starting", "anybody could say so");
    Peer::connect(&mut server, process, key);
    let known = record(&server, process).expect("it is kept");
    assert_eq!((&*known.state, known.pid), ("running", Some(77)));
    let revision = server.store.revision();
    server.keeper(FromKeeper::Started { process, pid: 77 }, Time(2));
    assert_eq!(server.store.revision(), revision);
}

#[test]
fn how_a_process_stands_with_the_server() {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    let (process, key) = child(&mut server, &mut program);
    server.keeper(FromKeeper::Started { process, pid: 5 }, Time(1));
    assert!(matches!(standing(&server, process), Standing::Silent(_)));
    let peer = Peer::connect(&mut server, process, key);
    assert_eq!(standing(&server, process), Standing::Connected);
    say(&mut server, peer.id, &FromClient::Goodbye);
    assert_eq!(standing(&server, process), Standing::WithoutSession);
    Peer::connect(&mut server, process, key);
    server.keeper(ended(process, 0), Time(1));
    assert_eq!(standing(&server, process), Standing::Ending);
}

#[test]
fn a_death_is_taken_once_and_the_programs_is_not_the_keepers_to_tell() {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    let (process, key) = child(&mut server, &mut program);
    let peer = Peer::connect(&mut server, process, key);
    server.keeper(ended(process, 9), Time(2));
    server.keeper(ended(process, 0), Time(2));
    server.drained(peer.id, Time(2));
    let outcome = record(&server, process).and_then(|record| record.outcome);
    assert_eq!(outcome.as_deref(), Some("killed by SIGKILL (signal 9)"));
    server.keeper(ended(ProcessId::PROGRAM, 9), Time(2));
    program.set(&mut server, "k", 1);
}

/// How the end of a process is told, in words: what it said, whether it had connected, its status.
fn told(finish: Option<Finish<'_>>, connected: bool, status: i32) -> String {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    let (process, key) = child(&mut server, &mut program);
    if connected {
        let mut peer = Peer::connect(&mut server, process, key);
        if let Some(finish) = finish {
            peer.ask(&mut server, Request::Finish { finish, rest: None });
        }
        server.disconnected(peer.id, Time(2));
    }
    server.keeper(ended(process, status), Time(3));
    let outcome = record(&server, process).and_then(|record| record.outcome);
    outcome.expect("it has ended")
}

#[test]
fn every_end_in_words() {
    let fault = Fault {
        message: "m",
        location: "l",
        backtrace: "b",
    };
    let (value, text) = (&[1][..], "t");
    let said = [
        (Finish::Value(value), "returned"),
        (Finish::Error { value, text }, "returned an error: t"),
        (Finish::Panic(fault), "panicked: m"),
        (Finish::Undecodable(fault), "could not be decoded: m"),
        (
            Finish::TooLarge {
                limit: "L",
                actual: 2,
                max: 1,
            },
            "returned more than L has room for",
        ),
    ];
    for (finish, words) in said {
        assert_eq!(told(Some(finish), true, 9), words);
    }
    let statuses = [
        (0, "exited with code 0"),
        (0xff00, "exited with code 255"),
        (9, "killed by SIGKILL (signal 9)"),
        (11 | 0x80, "killed by SIGSEGV (signal 11) (core dumped)"),
    ];
    for (status, words) in statuses {
        assert_eq!(told(None, true, status), words);
    }
    let unconnected = [
        (3 << 8, "exited with code 3 before it connected"),
        (9, "killed by SIGKILL (signal 9) before it connected"),
    ];
    for (status, words) in unconnected {
        assert_eq!(told(None, false, status), words);
    }
    let long = "\u{2713}".repeat(1000);
    let text = &*long;
    let words = told(Some(Finish::Error { value, text }), true, 0);
    assert_eq!(words.len(), 1024 - (1024 - "returned an error: ".len()) % 3);
}

#[test]
fn one_that_was_not_started_says_so() {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    let (process, _) = child(&mut server, &mut program);
    server.keeper(not_started(process), Time(2));
    let outcome = record(&server, process).and_then(|record| record.outcome);
    let words = "could not be started: execve failed with errno 2";
    assert_eq!(outcome.as_deref(), Some(words));
}

/// Starts processes that fail to start; of how many of them the record is kept.
fn kept(limits: impl FnOnce(&mut Limits), processes: usize) -> Vec<u64> {
    let mut server = server_with(|config| limits(&mut config.limits));
    let mut program = Peer::program(&mut server);
    let mut all = Vec::new();
    for _ in 0..processes {
        let (process, _) = child(&mut server, &mut program);
        server.keeper(not_started(process), Time(2));
        all.push(process);
    }
    let kept = all.iter().filter(|process| {
        let known = server.processes.contains_key(process);
        assert_eq!(record(&server, **process).is_some(), known);
        known
    });
    kept.map(|process| process.0).collect()
}

#[test]
fn ended_processes_are_remembered_up_to_a_number() {
    assert_eq!(kept(|limits| limits.processes_ended_max = 2, 2), [2, 3]);
    assert_eq!(kept(|limits| limits.processes_ended_max = 2, 4), [4, 5]);
}

#[test]
fn ended_processes_are_remembered_up_to_so_many_bytes_but_the_last() {
    let size = {
        let mut server = server_with(|_| ());
        let mut program = Peer::program(&mut server);
        let (process, _) = child(&mut server, &mut program);
        server.keeper(not_started(process), Time(2));
        server.usage().results_bytes
    };
    assert_eq!(
        kept(|limits| limits.results_bytes_max = 2 * size, 4),
        [4, 5]
    );
    assert_eq!(
        kept(|limits| limits.results_bytes_max = 2 * size - 1, 4),
        [5]
    );
    assert_eq!(kept(|limits| limits.results_bytes_max = 1, 2), [3]);
}

#[test]
fn ended_processes_do_not_count_among_the_living() {
    let mut server = server_with(|config| config.limits.processes_live_max = 2);
    let mut program = Peer::program(&mut server);
    for _ in 0..2 {
        let (process, _) = child(&mut server, &mut program);
        server.keeper(not_started(process), Time(2));
    }
    child(&mut server, &mut program);
    program.call(&mut server, spawn_of_f(), |reply| {
        let Reply::Failed { failure, .. } = reply else {
            panic!("it was started: {reply:?}");
        };
        let limit = "PROCESSES_LIVE_MAX";
        let (actual, max) = (3, 2);
        assert_eq!(failure, Failure::Limit { limit, actual, max });
    });
}
