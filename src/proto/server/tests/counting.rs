//! What the server says that it holds: the simulator's checkers compare it with the limits.

use super::*;
use crate::proto::server::requests::cause;
use crate::proto::store::{ENTRY_OVERHEAD_BYTES, Rights, Transaction};

#[test]
fn connections_sessions_processes_and_replies() {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    let (not_started, _) = child(&mut server, &mut program);
    let (process, key) = child(&mut server, &mut program);
    Peer::connect(&mut server, process, key);
    let failed = FromKeeper::NotStarted {
        process: not_started,
        call: "execve",
        errno: 2,
    };
    server.keeper(failed, Time(2));
    let outcome = server.processes[&not_started].outcome.as_ref();
    let result_bytes = outcome.expect("it has ended").len();
    program.watch(&mut server, Filter::All, None);
    let condition = Condition::Ended { process };
    let namespace = "";
    let wait = Request::Wait {
        namespace,
        condition,
    };
    program.ask(&mut server, wait);
    server.connected(Time(3));
    let refused = server.connected(Time(3));
    server.receive(refused, &[0xff; 16], Time(3));
    let (in_flight, replies_bytes) = server.sessions[&program.session].count();
    assert_eq!(in_flight, 4, "two spawns, a watch, and a wait");
    let usage = server.usage();
    let expected = Usage {
        connections: 3,
        sessions: 2,
        timers: 1,
        outbox_bytes: server.outbox(refused).len(),
        in_flight,
        replies_bytes,
        watches: 1,
        processes_live: 2,
        processes_ended: 1,
        results_bytes: result_bytes,
        results_newest_bytes: result_bytes,
        ..usage.clone()
    };
    assert_eq!(usage, expected);
    assert!(result_bytes > 0 && usage.outbox_bytes > 0 && replies_bytes > 0);
    // It has no outcome that is kept, so it is not among the ended ones.
    say(&mut server, program.id, &FromClient::Goodbye);
    assert_eq!(server.usage().processes_live, 2);
}

#[test]
fn state_and_logs() {
    let mut server = server_with(|_| ());
    let by = cause(ProcessId::PROGRAM, Time(1));
    let set = |server: &mut Server, namespace: &str, value: &[u8]| {
        let write = |transaction: &mut Transaction<'_>| transaction.set(namespace, "k", value);
        let written = server.change(&by, Rights::Framework, write);
        written.expect("it fits");
    };
    let logged = |usage: &Usage| {
        let (bytes, newest) = (usage.history_bytes, usage.history_newest_bytes);
        (usage.history_entries, bytes, newest)
    };
    assert_eq!(logged(&server.usage()), (0, 0, 0));
    set(&mut server, "n", &[1]);
    set(&mut server, "", b"\xa2ok");
    // The newest of a log may be as large as it likes; without it both have nothing.
    let bytes = "k".len() + b"\xa2ok".len();
    assert_eq!(logged(&server.usage()), (1, bytes, bytes));
    set(&mut server, "n", &[2]);
    // A key, the value before, and the value after.
    assert_eq!(logged(&server.usage()), (2, 2 + 3, 3));
    let usage = server.usage();
    assert_eq!(usage.state, server.store.count());
    assert_eq!(usage.state.bytes, 2 + ENTRY_OVERHEAD_BYTES);
}
