//! A server that runs no functions: its clients run them.

use super::*;

fn server() -> Server {
    server_with(|config| config.runs_functions = false)
}

#[test]
fn it_says_so_in_its_welcome() {
    for runs_functions in [false, true] {
        let mut server = server_with(|config| config.runs_functions = runs_functions);
        let id = server.connected(Time(1));
        say(
            &mut server,
            id,
            &hello(ProcessId::PROGRAM, PROGRAM_KEY, None),
        );
        let frames = frames(&mut server, id);
        let Ok(FromServer::Welcome { limits, .. }) = codec::decode(&frames[0]) else {
            panic!("no welcome");
        };
        assert_eq!(limits.runs_functions, runs_functions);
    }
}

#[test]
fn a_program_of_another_build_is_welcome_there() {
    let mut server = server();
    let FromClient::Hello(mut hello) = hello(ProcessId::PROGRAM, PROGRAM_KEY, None) else {
        unreachable!("hello() makes hellos");
    };
    hello.build = BuildId([9, 9]);
    let id = server.connected(Time(1));
    say(&mut server, id, &FromClient::Hello(hello));
    Peer::welcomed(&mut server, id, 0).set(&mut server, "k", 7);
    assert_eq!(server.store.revision(), Revision(1));
}

#[test]
fn functions_are_refused_there() {
    let mut server = server();
    let mut peer = Peer::program(&mut server);
    let function = FunctionRef {
        offset: 0,
        name: "set two",
    };
    let namespace = "n";
    let args = &[7];
    let condition = Condition::Function { function, args };
    let asked = [
        Request::Atomic {
            namespace,
            function,
            args,
        },
        Request::Wait {
            namespace,
            condition,
        },
    ];
    for request in asked {
        peer.call(&mut server, request, |reply| {
            let Reply::Failed { failure, .. } = reply else {
                panic!("not refused: {reply:?}");
            };
            assert_eq!(failure, Failure::NoFunctions { name: "set two" });
        });
    }
    assert_eq!(server.store.revision(), Revision(0));
    server.invariants();
}
