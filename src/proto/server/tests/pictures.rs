//! What a picture of who waits leaves out, and how it cuts what it shows.

use super::*;
use crate::proto::dump::{Awaited, Keys};
use crate::proto::limits::{DUMP_LINES_MAX, DUMP_PROCESSES_MAX, DUMP_TEXT_BYTES_MAX};

fn until_equal(key: &str) -> Request<'_> {
    let value = &[1];
    Request::Wait {
        namespace: "n",
        condition: Condition::Equal { key, value },
    }
}

#[test]
fn of_too_many_processes_those_that_run_are_left_out() {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    let mut connected = Vec::new();
    for number in 2..=DUMP_PROCESSES_MAX + 2 {
        let (process, key) = child(&mut server, &mut program);
        let acks = vec![Seq(program.seq)];
        say(&mut server, program.id, &FromClient::Ack { acks });
        if number <= 4 {
            connected.push(Peer::connect(&mut server, process, key));
        }
    }
    program.ask(&mut server, until_equal("k"));
    connected[2].ask(&mut server, until_equal("k"));
    let dump = server.dump(Time(1));
    assert_eq!(dump.left_out.processes, 2);
    assert_eq!(dump.processes.len(), DUMP_PROCESSES_MAX);
    let first: Vec<u64> = dump.processes.iter().take(3).map(|one| one.id.0).collect();
    assert_eq!(first, [1, 4, 5]);
}

#[test]
fn watches_are_shown_up_to_a_number_for_all_processes_together() {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    let (process, key) = child(&mut server, &mut program);
    let mut peer = Peer::connect(&mut server, process, key);
    for (peer, watches) in [(&mut program, DUMP_LINES_MAX - 24), (&mut peer, 30)] {
        for number in 1..=watches as u64 {
            let watch = Request::Watch {
                watch: WatchId(number),
                namespace: "n",
                filter: Filter::All,
                from: None,
                credit: CREDIT_BYTES_MIN,
                feeds: None,
            };
            peer.ask(&mut server, watch);
            let acks = vec![Seq(peer.seq)];
            say(&mut server, peer.id, &FromClient::Ack { acks });
        }
    }
    let dump = server.dump(Time(1));
    assert_eq!(dump.left_out.watches, 6);
    let shown = dump.process(process).expect("it is listed");
    assert_eq!(shown.watches.len(), 24);
    assert_eq!(shown.watches[0].keys, Keys::All);
}

#[test]
fn long_names_are_cut_and_others_are_not() {
    let mut server = server_with(|_| ());
    let mut peer = Peer::program(&mut server);
    let long = "x".repeat(DUMP_TEXT_BYTES_MAX + 1);
    peer.ask(&mut server, until_equal(&long));
    peer.ask(&mut server, until_equal(&long[1..]));
    let dump = server.dump(Time(1));
    let keys: Vec<&str> = dump
        .waits()
        .map(|(_, wait)| match &wait.awaited {
            Awaited::Equal { key, .. } => &**key,
            other => panic!("another wait: {other:?}"),
        })
        .collect();
    assert_eq!(keys, [&format!("{}...", &long[1..]), &long[1..]]);
}
