//! The picture of who waits for what.

use super::*;
use crate::proto::dump::Standing;
use crate::proto::ids::LeaseId;
use crate::proto::limits::DUMP_LINES_MAX;
use crate::proto::message::Feeds;
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
            "process 2 ({name}), pid 77, waits 12.0 s for: key \"never\" in namespace \"n\" to be the \
             integer 1"
        ),
        format!(
            "process 2 ({name}), pid 77, waits 12.0 s for: three with prefix to hold in namespace \"n\"; it \
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
    // A process in its next update was said to wait for nothing.
    let text = |server: &Server, at| server.dump(seconds(at)).to_string();
    let waits = "process 1 (main) runs, or waits for an update of:\n  its watch 1 of prefix \"k\" in \
                 namespace \"n\" has been sent all there is; ";
    let none = format!("{waits}none has come since it began, 3.0 s ago");
    assert!(text(&server, 3).contains(&none), "{}", text(&server, 3));
    let by = cause(ProcessId::PROGRAM, seconds(4));
    let write = |transaction: &mut Transaction<'_>| transaction.set("n", "k", &[7]);
    (server.change(&by, Rights::User, write)).expect("it is a small value");
    server.tick(seconds(4));
    frames(&mut server, peer.id);
    let one = format!("{waits}the last was r1, 2.5 s ago");
    let at = Time(1).after(Duration::from_millis(6_500));
    let told = server.dump(at).to_string();
    assert!(told.contains(&one), "{told}");
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
fn the_turn_of_a_transaction_is_told_by_its_function_and_keys() {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    let (process, key) = child(&mut server, &mut program);
    let mut peer = Peer::connect(&mut server, process, key);
    let queue = |lease, function: &'static str, on: &[(&'static str, Option<&'static str>)]| {
        let (lease, on) = (LeaseId(lease), on.to_vec());
        Request::Lease {
            lease,
            function,
            on,
        }
    };
    program.ask(&mut server, queue(1, "app::first", &[("n", Some("k"))]));
    let on = [("m", None), ("n", Some("k"))];
    peer.ask(&mut server, queue(1, "app::second", &on));
    let dump = server.dump(seconds(2));
    let waits: Vec<String> = dump
        .waits()
        .map(|(_, wait)| wait.awaited.to_string())
        .collect();
    let told = "its turn in transaction app::second on all keys of namespace \"m\", key \"k\" of \
                namespace \"n\", behind process 1";
    assert_eq!(waits, [told]);
    assert!(dump.circles().is_empty());
}

#[test]
fn a_watch_for_a_condition_that_goes_on_is_no_wait() {
    let mut server = server_with(|_| ());
    let mut peer = Peer::program(&mut server);
    let feeds = Feeds {
        wait: 0,
        function: "app::is_due",
        waited_ns: 0,
    };
    let watch = Request::Watch {
        watch: WatchId(1),
        namespace: "n",
        filter: Filter::Key("k"),
        from: None,
        credit: CREDIT_BYTES_MIN,
        feeds: Some(feeds),
    };
    peer.call(&mut server, watch, |_| ());
    let dump = server.dump(seconds(2));
    assert_eq!(dump.waits().count(), 0);
    let told = "its watch 1 of key \"k\" in namespace \"n\", for `when` of app::is_due, has been";
    assert!(dump.to_string().contains(told), "{dump}");
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
