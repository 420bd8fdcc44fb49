//! Setups that are refused, and what the keeper finds of a process that has ended.

use super::*;
use crate::proto::limits::OUTPUT_TAIL_BYTES_MAX;
use crate::proto::setup::Variable;

/// What a spawn with this setup is told.
fn told(setup: Setup<'_>) -> String {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    let spawn = Request::Spawn {
        function: FunctionRef {
            offset: 1,
            name: "f",
        },
        args: &[],
        setup,
        rest: None,
    };
    let mut told = String::new();
    program.call(&mut server, spawn, |reply| told = format!("{reply:?}"));
    let starts = server.poll_effect().is_some();
    assert_eq!(starts, told.starts_with("Spawned"), "{told}");
    told
}

#[test]
fn a_setup_is_checked_whoever_sends_it() {
    assert!(told(Setup::default()).starts_with("Spawned"));
    let variable = Variable {
        name: b"ZPROC_TREE",
        value: Some(b"another's"),
    };
    let stolen = Setup {
        environment: vec![variable],
        ..Setup::default()
    };
    let told_so = told(stolen);
    assert!(
        told_so.contains("Setup { what: \"ZPROC_ENTRY and"),
        "{told_so}"
    );
    let long = "x".repeat(256);
    let large = Setup {
        namespace: &long,
        ..Setup::default()
    };
    let told_so = told(large);
    assert!(told_so.contains("NAMESPACE_BYTES_MAX"), "{told_so}");
}

/// How a process has ended by this status that left this, as its joiner is told.
fn end_of(status: i32, left: Left<'_>, check: impl FnOnce(&WireOutcome<'_>)) {
    end_of_one(true, status, left, check);
}

fn end_of_one(connects: bool, status: i32, left: Left<'_>, check: impl FnOnce(&WireOutcome<'_>)) {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    let (process, key) = child(&mut server, &mut program);
    let peer = connects.then(|| Peer::connect(&mut server, process, key));
    let ended = FromKeeper::Ended {
        process,
        status,
        cpu_user_ns: 0,
        cpu_system_ns: 0,
        memory_bytes_max: 0,
        left,
        why: None,
    };
    server.keeper(ended, Time(3));
    if let Some(peer) = peer {
        server.drained(peer.id, Time(3));
    }
    let wait = Request::Wait {
        namespace: "",
        condition: Condition::Ended { process },
    };
    program.call(&mut server, wait, |reply| match reply {
        Reply::Ended { outcome, .. } => check(&outcome),
        other => panic!("{other:?}"),
    });
}

fn words(words: &LastWords<'_>) -> Vec<u8> {
    codec::to_bytes(words)
}

#[test]
fn last_words_count_if_the_signal_fits_them() {
    let overflow = words(&LastWords::StackOverflow { thread: "t" });
    let panic = words(&LastWords::Panic {
        thread: "",
        fault: Fault {
            message: "no",
            location: "here",
            backtrace: "",
        },
    });
    let cases = [
        (11, &overflow, "StackOverflow { thread: \"t\" }"),
        (7, &overflow, "StackOverflow"),
        (6, &overflow, "Signaled { signal: 6"),
        (
            6,
            &panic,
            "Panicked { thread: \"\", fault: Fault { message: \"no\"",
        ),
        (11, &panic, "Signaled { signal: 11"),
        (9, &panic, "Signaled { signal: 9"),
        (1 << 8, &panic, "Exited { code: 1 }"),
        (6, &vec![0xff; 40], "Signaled { signal: 6"),
        (6, &vec![], "Signaled { signal: 6"),
    ];
    for (status, words, wanted) in cases {
        let left = Left {
            words,
            ..Left::default()
        };
        end_of(status, left, |outcome| {
            let end = format!("{:?}", outcome.end);
            assert!(end.starts_with(wanted), "{status}: {end}");
        });
    }
}

#[test]
fn who_could_not_set_out_was_not_started() {
    let words = words(&LastWords::NotStarted {
        call: "chdir",
        errno: 2,
    });
    let cases = [
        (false, 123 << 8, "NotStarted { call: \"chdir\", errno: 2 }"),
        (false, 9, "BeforeConnect { status: 9 }"),
        // It has begun, whatever it says.
        (true, 123 << 8, "Exited { code: 123 }"),
    ];
    for (connects, status, wanted) in cases {
        let left = Left {
            words: &words,
            ..Left::default()
        };
        end_of_one(connects, status, left, |outcome| {
            assert_eq!(format!("{:?}", outcome.end), wanted);
        });
    }
}

#[test]
fn want_of_memory_is_told_of_sigkill_alone() {
    for (status, wanted) in [(9, "OutOfMemory"), (15, "Signaled"), (0, "Exited")] {
        let left = Left {
            out_of_memory: true,
            ..Left::default()
        };
        end_of(status, left, |outcome| {
            let end = format!("{:?}", outcome.end);
            assert!(end.starts_with(wanted), "{end}");
        });
    }
}

#[test]
fn captured_streams_come_with_the_outcome_and_are_bounded() {
    let long = vec![7; OUTPUT_TAIL_BYTES_MAX + 10];
    let left = Left {
        stdout: Some(Captured {
            tail: &long,
            omitted: 5,
        }),
        ..Left::default()
    };
    end_of(0, left, |outcome| {
        assert_eq!(outcome.stderr, None);
        let stdout = outcome.stdout.expect("it was captured");
        assert_eq!(
            (stdout.tail.len(), stdout.omitted),
            (OUTPUT_TAIL_BYTES_MAX, 5)
        );
    });
}
