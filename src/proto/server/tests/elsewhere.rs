//! A server that runs no functions, whose clients run them; and one that runs each twice.

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

/// Counts its calls, which a function may write down.
struct Counting(u8);

impl Functions for Counting {
    fn atomic(
        &mut self,
        namespace: &str,
        function: &FunctionRef<'_>,
        args: &[u8],
        transaction: &mut Transaction<'_>,
    ) -> Result<Vec<u8>, FunctionFailure> {
        self.0 += 1;
        let there = transaction.get(namespace, "k").map_or(0, |value| value[0]);
        let value = match function.name {
            "add" => there + args[0],
            _ => self.0,
        };
        let _fits = transaction.set(namespace, "k", &[value]);
        Ok(vec![value])
    }

    fn condition(
        &mut self,
        _: &str,
        function: &FunctionRef<'_>,
        _: &[u8],
        _: &View<'_>,
    ) -> Result<Option<Vec<u8>>, FunctionFailure> {
        self.0 += 1;
        let holds = function.name == "true" || self.0.is_multiple_of(2);
        Ok(holds.then(|| vec![0xc0]))
    }
}

fn call<'a>(name: &'a str) -> FunctionRef<'a> {
    FunctionRef { offset: 0, name }
}

#[test]
fn run_twice_the_second_run_counts_and_the_first_is_undone() {
    let mut config = Config::new(BUILD, PROGRAM_KEY, [5, 6]);
    config.runs_functions_twice = true;
    let mut server = Server::new(config, Box::new(Counting(0)), Time(0));
    let mut peer = Peer::program(&mut server);
    peer.set(&mut server, "k", 5);
    let atomic = |name| Request::Atomic {
        namespace: "n",
        function: call(name),
        args: &[2],
    };
    peer.call(&mut server, atomic("add"), |reply| {
        let (revision, value) = (Revision(2), &[7][..]);
        assert_eq!(reply, Reply::Returned { revision, value });
    });
    peer.call(&mut server, atomic("count"), |reply| {
        let Reply::Failed {
            failure: Failure::NotDeterministic { name, what },
            ..
        } = reply
        else {
            panic!("not found: {reply:?}");
        };
        assert_eq!(name, "count");
        assert!(
            what.starts_with("key \"k\" in namespace \"n\" became"),
            "{what}"
        );
    });
    assert_eq!(server.store.get("n", "k").map(|value| value[0]), Some(7));
    assert_eq!(server.store.revision(), Revision(2), "it is as it was");
    let wait = |name| Request::Wait {
        namespace: "n",
        condition: Condition::Function {
            function: call(name),
            args: &[],
        },
    };
    peer.call(&mut server, wait("true"), |reply| {
        assert!(matches!(reply, Reply::Returned { .. }), "{reply:?}");
    });
    peer.call(&mut server, wait("now and then"), |reply| {
        let failure = match reply {
            Reply::Failed { failure, .. } => failure,
            other => panic!("not found: {other:?}"),
        };
        assert!(
            matches!(failure, Failure::NotDeterministic { .. }),
            "{failure:?}"
        );
    });
    server.invariants();
}
