//! The picture of who waits for what.

use super::*;
use crate::proto::dump::Standing;
use crate::proto::limits::DUMP_LINES_MAX;
use crate::proto::server::requests::cause;
use crate::proto::store::{Rights, Transaction};
use std::time::Duration;

fn wait(condition: Condition<'static>) -> Request<'static> {
    Request::Wait {
        namespace: "n",
        condition,
    }
}

fn join(process: ProcessId) -> Request<'static> {
    wait(Condition::Ended { process })
}

fn equal(key: &'static str) -> Request<'static> {
    wait(Condition::Equal { key, value: &[1] })
}

fn seconds(seconds: u64) -> Time {
    Time(1).after(Duration::from_secs(seconds))
}

#[test]
fn each_kind_of_wait_is_told() {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    let (process, key) = child(&mut server, &mut program);
    let (starting, _) = child(&mut server, &mut program);
    let mut peer = Peer::connect(&mut server, process, key);
    program.ask(&mut server, join(process));
    peer.ask(&mut server, equal("never"));
    let function = FunctionRef {
        offset: 0,
        name: "three with prefix",
    };
    peer.ask(
        &mut server,
        wait(Condition::Function {
            function,
            args: &[],
        }),
    );
    let name = server.processes[&process].function().to_owned();
    let dump = server.dump(seconds(12));
    assert_eq!(dump.processes.len(), 3);
    assert_eq!(
        dump.process(starting).map(|process| &process.standing),
        Some(&Standing::Starting(Duration::from_secs(12).into()))
    );
    let told = [
        "at revision r3: 3 processes, 3 waits".to_owned(),
        format!("process 1 (main) waits 12.0 s for: join of process 2 ({name})"),
        format!(
            "process 2 ({name}) waits 12.0 s for: key \"never\" in namespace \"n\" to be the \
             integer 1"
        ),
        format!(
            "process 2 ({name}) waits 12.0 s for: three with prefix to hold in namespace \"n\"; it \
             read prefix \"p/\""
        ),
        format!("process 3 ({name}) was asked for 12.0 s ago and does not run yet"),
    ];
    // What is on its way to them is told too.
    let text = dump.to_string();
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.contains("on their way"))
        .collect();
    assert_eq!(lines, told);
}

#[test]
fn a_lost_connection_and_a_circle_are_told() {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    let (process, key) = child(&mut server, &mut program);
    let mut peer = Peer::connect(&mut server, process, key);
    program.ask(&mut server, join(process));
    peer.ask(&mut server, join(ProcessId::PROGRAM));
    server.disconnected(peer.id, seconds(5));
    let dump = server.dump(seconds(8));
    assert_eq!(dump.circles(), [[ProcessId::PROGRAM, process]]);
    let standing = dump.process(process).map(|process| &process.standing);
    assert_eq!(
        standing,
        Some(&Standing::Detached(Duration::from_secs(3).into()))
    );
    assert!(dump.to_string().contains("deadlock, unless"), "{dump}");
    // It is dead: nothing of it is left but what joins it.
    let ended = ended(process, 9);
    server.keeper(ended, seconds(9));
    let dump = server.dump(seconds(9));
    assert_eq!((dump.processes.len(), dump.waits().count()), (1, 0));
}

#[test]
fn how_far_a_watch_is_behind_is_told() {
    let mut server = server_with(|_| ());
    let mut peer = Peer::program(&mut server);
    peer.watch(&mut server, Filter::Prefix("k"), None);
    frames(&mut server, peer.id);
    let watch = |server: &Server| server.dump(seconds(1)).processes[0].watches[0].clone();
    assert_eq!((watch(&server).behind, watch(&server).watch), (0, 1));
    server.disconnected(peer.id, seconds(1));
    for number in 0..3 {
        let by = cause(ProcessId::PROGRAM, seconds(1));
        let write = |transaction: &mut Transaction<'_>| transaction.set("n", "k", &[number]);
        server
            .change(&by, Rights::User, write)
            .expect("it is a small value");
    }
    assert_eq!(watch(&server).behind, 3);
    assert!(
        server
            .dump(seconds(1))
            .to_string()
            .contains("is 3 revisions behind")
    );
}

#[test]
fn what_there_is_no_room_for_is_counted() {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    let (process, key) = child(&mut server, &mut program);
    let mut peer = Peer::connect(&mut server, process, key);
    for _ in 0..DUMP_LINES_MAX - 100 {
        program.ask(&mut server, equal("never"));
    }
    for _ in 0..150 {
        peer.ask(&mut server, equal("never"));
    }
    program.call(&mut server, Request::Dump, |reply| match reply {
        Reply::Dump(dump) => {
            assert_eq!(dump.waits().count(), DUMP_LINES_MAX);
            assert_eq!(dump.left_out.waits, 50);
            assert!(dump.to_string().ends_with("not shown: 50 more waits"));
        }
        other => panic!("not a dump: {other:?}"),
    });
}
