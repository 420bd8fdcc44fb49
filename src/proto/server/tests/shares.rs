//! What programs at one server have of the room for processes.

use super::guests::{Guest, alone_with, carry_out, knock, record};
use super::*;
use crate::proto::ids::PartsId;

/// A child that ends at once; with a result in parts, if it is to be `large`.
fn ended_child(server: &mut Server, guest: &mut Guest, large: bool) -> ProcessId {
    let (process, key) = guest.child(server);
    if large {
        let mut peer = Peer::connect(server, process, key);
        let (parts, bytes) = (PartsId(1), &[7; 100][..]);
        let part = Request::Part {
            parts,
            size: 100,
            from: 0,
            bytes,
        };
        peer.ask(server, part);
        let finish = Finish::Value(b"");
        let rest = Some(parts);
        peer.ask(server, Request::Finish { finish, rest });
    }
    guest.tell(server, &ended(process, 0));
    carry_out(server);
    process
}

/// Of these processes, those that have a record.
fn kept(server: &Server, processes: &[ProcessId]) -> Vec<ProcessId> {
    let is_kept = |process: &ProcessId| {
        let key = format!("{RECORD_PREFIX}{}", process.0);
        let is_known = server.processes.contains_key(process);
        assert_eq!(server.store.get("", &key).is_some(), is_known);
        is_known
    };
    processes.iter().copied().filter(is_kept).collect()
}

/// A visitor that came and left as often as there are records took the places of all results that
/// another program had not joined.
#[test]
fn a_visitor_that_comes_and_goes_takes_the_place_of_one_record_at_most() {
    let mut server = alone_with(|config| config.limits.processes_ended_max = 8);
    let mut host = Guest::new(&mut server);
    let unjoined: Vec<_> = (0..7)
        .map(|_| ended_child(&mut server, &mut host, false))
        .collect();
    for _ in 0..20 {
        let mut visitor = Guest::new(&mut server);
        for _ in 0..3 {
            let newest = ended_child(&mut server, &mut visitor, false);
            assert_eq!(kept(&server, &[newest]), [newest]);
        }
        visitor.lose(&mut server);
        carry_out(&mut server);
        server.invariants();
    }
    assert_eq!(kept(&server, &unjoined), unjoined);
    // Who stays has the same right to what nobody else needs.
    let mut guest = Guest::new(&mut server);
    ended_child(&mut server, &mut guest, false);
    let own: Vec<_> = (0..9)
        .map(|_| ended_child(&mut server, &mut host, false))
        .collect();
    let all = [&unjoined[..], &own].concat();
    assert_eq!(kept(&server, &all), &own[2..], "its own oldest");
    assert_eq!(server.ended.len(), 8);
}

#[test]
fn large_results_make_room_for_those_of_their_own_program_first() {
    let mut server = alone_with(|config| config.limits.results_bytes_max = 700);
    let mut host = Guest::new(&mut server);
    let unjoined = ended_child(&mut server, &mut host, true);
    let mut other = Guest::new(&mut server);
    let others: Vec<_> = (0..20)
        .map(|_| ended_child(&mut server, &mut other, true))
        .collect();
    let rest = |server: &Server, process| server.processes[&process].rests.result_bytes();
    assert_eq!(rest(&server, unjoined), 100);
    assert_eq!(rest(&server, others[19]), 100);
    assert!(server.results_bytes <= 700);
    // Once it is gone, its results are the first to go.
    host.lose(&mut server);
    carry_out(&mut server);
    for _ in 0..20 {
        ended_child(&mut server, &mut other, true);
    }
    assert_eq!(kept(&server, &[unjoined]), []);
    server.invariants();
}

#[test]
fn one_program_does_not_take_all_places_for_live_processes() {
    let mut server = alone_with(|config| config.limits.processes_live_max = 7);
    let mut greedy = Guest::new(&mut server);
    let limit = "PROCESSES_LIVE_PER_PROGRAM_MAX";
    let children = [(); 3].map(|()| greedy.child(&mut server));
    greedy.peer.call(&mut server, spawn_of_f(), |reply| {
        let Reply::Failed { failure, .. } = reply else {
            panic!("it has more than its share: {reply:?}");
        };
        let (actual, max) = (5, 4);
        assert_eq!(failure, Failure::Limit { limit, actual, max });
    });
    assert_eq!(server.usage().program_processes_live, 4);
    // There is still room for others, and what has ended does not count.
    let mut other = Guest::new(&mut server);
    other.child(&mut server);
    greedy.tell(&mut server, &ended(children[0].0, 0));
    greedy.child(&mut server);
    other.child(&mut server);
    other.peer.call(&mut server, spawn_of_f(), |reply| {
        let all = "PROCESSES_LIVE_MAX";
        assert!(format!("{reply:?}").contains(all), "{reply:?}");
    });
}

/// A keeper that said hello, and whose program never came, had its place for ever.
#[test]
fn a_keeper_whose_program_does_not_come_has_no_place_for_ever() {
    let mut server = alone_with(|config| config.limits.processes_live_max = 2);
    let (link, root) = lone_keeper(&mut server);
    let late = Time(1).after(limits::PROGRAM_TIMEOUT);
    let mut guest = Guest::new(&mut server);
    assert_eq!(server.usage().connections_silent, 0);
    assert_eq!(server.deadline(), Some(late));
    server.tick(Time(late.0 - 1));
    assert_eq!(server.poll_effect(), None);
    server.tick(late);
    assert_eq!(
        server.poll_effect(),
        Some(Effect::Close { connection: link })
    );
    assert_eq!(record(&server, root).state, "ended");
    // Who came in time is not in a hurry any more, and the place is free.
    assert_eq!(server.deadline(), None);
    guest.peer.set(&mut server, "k", 1);
    Guest::new(&mut server);
}

#[test]
fn the_deadline_of_a_keeper_goes_with_its_link() {
    let mut server = alone_with(|_| ());
    let (link, root) = lone_keeper(&mut server);
    server.disconnected(link, Time(2));
    assert_eq!(server.deadline(), None);
    assert_eq!(record(&server, root).state, "ended");
}

fn lone_keeper(server: &mut Server) -> (ConnectionId, ProcessId) {
    let (link, answer) = knock(server);
    match codec::decode(&answer) {
        Ok(FromServer::Adopted { process, .. }) => (link, process),
        other => panic!("not taken in: {other:?}"),
    }
}
