//! Processes that others end.

use super::*;

fn kill(process: u64) -> Request<'static> {
    Request::Kill {
        process: ProcessId(process),
    }
}

#[test]
fn a_kill_is_passed_on_as_long_as_there_is_somebody_to_kill() {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    let (process, _) = child(&mut server, &mut program);
    let done = |reply: Reply<'_>| assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
    program.call(&mut server, kill(process.0), done);
    let why = Why::Asked;
    assert_eq!(server.poll_effect(), Some(Effect::Kill { process, why }));
    // Each was queued for the keeper, which does nothing more.
    for _ in 0..3 {
        program.call(&mut server, kill(process.0), done);
    }
    assert_eq!(server.poll_effect(), None);
    let ended = FromKeeper::Ended {
        process,
        status: 9,
        why: Some(why),
        cpu_user_ns: 0,
        cpu_system_ns: 0,
        memory_bytes_max: 0,
        left: Left::default(),
    };
    server.keeper(ended, Time(3));
    let commits: Vec<_> = std::iter::from_fn(|| server.poll_commit()).collect();
    let last = commits.last().expect("there are change sets");
    // Not "before it connected": the reason is known.
    assert_eq!(last.released.as_deref(), Some("killed"));
    program.call(&mut server, kill(process.0), done);
    assert_eq!(server.poll_effect(), None);
}

/// A process that the peer spawns with this setup.
fn spawned(server: &mut Server, peer: &mut Peer, setup: Setup<'_>) -> (ProcessId, Token) {
    let request = Request::Spawn {
        function: FunctionRef {
            offset: 0,
            name: "f",
        },
        args: &[],
        setup,
        rest: None,
    };
    peer.call(server, request, |reply| {
        assert!(matches!(reply, Reply::Spawned { .. }), "{reply:?}");
    });
    match server.poll_effect() {
        Some(Effect::Spawn { process, key, .. }) => (process, key),
        other => panic!("no spawn: {other:?}"),
    }
}

#[test]
fn a_stop_is_passed_on_with_its_grace_or_the_usual_one() {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    let (process, _) = child(&mut server, &mut program);
    let setup = Setup {
        grace_ns: Some(99),
        ..Setup::default()
    };
    let (patient, _) = spawned(&mut server, &mut program, setup);
    let usual_ns = limits::GRACE.as_nanos() as u64;
    for (process, grace_ns, passed_on) in [
        (process, Some(7), 7),
        (process, None, usual_ns),
        (patient, Some(7), 7),
        (patient, None, 99),
    ] {
        let stop = Request::Stop { process, grace_ns };
        program.call(&mut server, stop, |reply| {
            assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
        });
        let grace_ns = passed_on;
        assert_eq!(
            server.poll_effect(),
            Some(Effect::Stop { process, grace_ns })
        );
    }
}

#[test]
fn at_the_root_it_is_not_killed_with_its_parent() {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    let (parent, key) = child(&mut server, &mut program);
    let mut peer = Peer::connect(&mut server, parent, key);
    let (bound, _) = child(&mut server, &mut peer);
    let (moved, _) = child(&mut server, &mut peer);
    let setup = Setup {
        to_root: true,
        ..Setup::default()
    };
    let (rooted, _) = spawned(&mut server, &mut peer, setup);
    let done = |reply: Reply<'_>| assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
    for _ in 0..2 {
        program.call(&mut server, Request::ToRoot { process: moved }, done);
    }
    let nobody = Request::ToRoot {
        process: ProcessId(99),
    };
    program.call(&mut server, nobody, |reply| {
        assert!(matches!(reply, Reply::Failed { .. }), "{reply:?}");
    });
    // They are said to be whose they were.
    for process in [moved, rooted] {
        assert_eq!(server.processes[&process].parent(), parent);
    }
    server.disconnected(peer.id, Time(2));
    server.keeper(ended(parent, 0), Time(3));
    let why = Why::Parent;
    let killed: Vec<_> = std::iter::from_fn(|| server.poll_effect()).collect();
    assert_eq!(
        killed,
        [Effect::Kill {
            process: bound,
            why
        }]
    );
    // Nothing is left of them in the program's list when they have ended.
    for process in [moved, rooted] {
        server.keeper(ended(process, 0), Time(5));
    }
    let done = |reply: Reply<'_>| assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
    program.call(&mut server, Request::ToRoot { process: moved }, done);
    assert!(server.processes[&ProcessId::PROGRAM].children.is_empty());
}

#[test]
fn nobody_kills_the_program_or_one_that_is_not_there() {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    for process in [1, 7] {
        program.call(&mut server, kill(process), |reply| {
            let failure = match reply {
                Reply::Failed { failure, .. } => failure,
                other => panic!("{other:?}"),
            };
            assert!(matches!(failure, Failure::UnknownProcess { .. }));
        });
    }
    assert_eq!(server.poll_effect(), None);
}
