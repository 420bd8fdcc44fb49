//! How much is done in one turn, and who is told that there is something to send.

use super::*;
use crate::proto::interest::Interest;
use crate::proto::limits::FREED_PER_TICK_MAX;
use crate::proto::server::requests::cause;
use crate::proto::store::{Rights, Transaction};

/// Change sets as the framework makes them: no turn of anybody's goes with them.
fn change(server: &mut Server, key: &str, times: u8) {
    for value in 0..times {
        let by = cause(ProcessId::PROGRAM, Time(1));
        let write = |transaction: &mut Transaction<'_>| transaction.set("n", key, &[value]);
        server
            .change(&by, Rights::User, write)
            .expect("it is a small value");
    }
}

/// Revisions of the updates that are queued and not sent.
fn queued(server: &Server, id: ConnectionId) -> Vec<u64> {
    let mut rest = server.outbox(id);
    let mut revisions = Vec::new();
    while let Some((payload, length)) = frame::split(rest).expect("the server's own frames") {
        if let Ok(FromServer::Update { body, .. }) = codec::decode(payload) {
            let update: Update<'_> = codec::decode(body).expect("the server's own update");
            revisions.push(update.revision.0);
        }
        rest = &rest[length..];
    }
    revisions
}

/// The program, watching all of the namespace, told of that and of nothing yet.
fn watching(server: &mut Server) -> Peer {
    let mut peer = Peer::program(server);
    peer.watch(server, Filter::All, None);
    frames(server, peer.id);
    while server.poll_ready().is_some() {}
    peer
}

#[test]
fn a_turn_takes_so_many_frames_and_no_more() {
    let mut server = server_with(|config| config.limits.frames_per_turn_max = 2);
    let peer = Peer::program(&mut server);
    let mut input = Vec::new();
    let mut ends = Vec::new();
    for seq in (1..=5).map(Seq) {
        let (acks, body) = (Vec::new(), Request::Ping);
        frame::append(&FromClient::Request { seq, acks, body }, &mut input);
        ends.push(input.len());
    }
    let mut taken = 0;
    for (frames, more) in [(2, true), (4, true), (5, false)] {
        let received = server.receive(peer.id, &input[taken..], Time(1));
        taken += received.consumed;
        assert_eq!((taken, received.more), (ends[frames - 1], more));
    }
}

#[test]
fn a_watch_gets_so_many_entries_in_a_turn_and_the_rest_in_the_next() {
    let mut server = server_with(|config| config.limits.log_entries_per_turn_max = 2);
    let peer = watching(&mut server);
    assert_eq!(server.deadline(), None);
    change(&mut server, "k", 5);
    for expected in [&[1, 2][..], &[1, 2, 3, 4], &[1, 2, 3, 4, 5]] {
        assert_eq!(server.deadline(), Some(Time::default()), "at once");
        server.tick(Time(1));
        assert_eq!(queued(&server, peer.id), expected);
    }
    assert_eq!(server.deadline(), None, "nothing is left to do");
}

/// Trigger: `clear` of a namespace of very many entries. Harm: all of them were freed in the turn
/// that cleared it, and everybody waited.
#[test]
fn what_was_cleared_is_freed_a_part_in_each_turn() {
    const COUNT: usize = 2 * FREED_PER_TICK_MAX + 1;
    let mut server = server_with(|_| ());
    let mut peer = Peer::program(&mut server);
    let by = cause(ProcessId::PROGRAM, Time(1));
    let fill = |transaction: &mut Transaction<'_>| {
        (0..COUNT).try_for_each(|number| transaction.set("n", &format!("{number:06}"), &[1]))
    };
    let filled = server.change(&by, Rights::Framework, fill);
    filled.expect("the framework may");
    let namespace = "n";
    peer.call(&mut server, Request::Clear { namespace }, |reply| {
        assert!(matches!(reply, Reply::Written { .. }), "{reply:?}");
    });
    let all = server.store.buried_bytes();
    let each = all / COUNT;
    assert_eq!((server.store.bytes(), all), (0, COUNT * each));
    for left in [COUNT - FREED_PER_TICK_MAX, 1, 0] {
        assert_eq!(server.deadline(), Some(Time::default()), "at once");
        server.tick(Time(1));
        let buried = server.store.buried_bytes() / each;
        // Leaves are freed whole: so some may be left over for the next turn.
        assert!((left..left + 64).contains(&buried), "{buried}, not {left}");
    }
    assert_eq!(server.deadline(), None, "nothing is left to do");
}

/// How many of three sessions, each three revisions behind, one tick serves.
fn served_in_one_tick(entries_max: usize) -> usize {
    let mut server = server_with(|config| {
        config.limits.log_entries_per_turn_max = 4;
        config.limits.log_entries_per_tick_max = entries_max;
    });
    let mut program = watching(&mut server);
    let mut peers = Vec::new();
    for _ in 0..2 {
        let (process, key) = child(&mut server, &mut program);
        let mut peer = Peer::connect(&mut server, process, key);
        peer.watch(&mut server, Filter::All, None);
        frames(&mut server, peer.id);
        peers.push(peer);
    }
    peers.push(program);
    change(&mut server, "k", 3);
    server.tick(Time(1));
    let served = |peer: &&Peer| queued(&server, peer.id).len() == 3;
    peers.iter().filter(served).count()
}

#[test]
fn a_tick_looks_at_so_many_entries_for_all_sessions_together() {
    assert_eq!(served_in_one_tick(6), 2, "then it has looked at enough");
    assert_eq!(served_in_one_tick(7), 3, "at what there was, not more");
}

#[test]
fn updates_do_not_wait_for_what_is_queued_before_them() {
    let mut server = server_with(|_| ());
    let peer = watching(&mut server);
    for revision in 1..=2 {
        change(&mut server, "k", 1);
        server.tick(Time(1));
        assert_eq!(queued(&server, peer.id).last(), Some(&revision));
    }
}

#[test]
fn who_has_output_is_named_and_nobody_else() {
    let mut server = server_with(|_| ());
    let peer = watching(&mut server);
    change(&mut server, "k", 1);
    server.tick(Time(1));
    assert_eq!(server.poll_ready(), Some(peer.id));
    assert_eq!(server.poll_ready(), None);
    // Out of credit, it is looked at and gets nothing.
    let session = server.sessions.get_mut(&peer.session).expect("it is there");
    let cursor = session.watches.get_mut(&WatchId(1)).expect("it is there");
    cursor.sent = cursor.granted;
    change(&mut server, "k", 1);
    server.tick(Time(1));
    assert_eq!(queued(&server, peer.id), [1]);
    assert_eq!(server.poll_ready(), None);
}

#[test]
fn credit_may_be_used_to_its_last_byte() {
    let mut server = server_with(|_| ());
    let peer = watching(&mut server);
    change(&mut server, "k", 2);
    let all = Interest::Prefix("".into());
    let mut log = server.history.since(Revision(1));
    let update = log.next().and_then(|entry| entry.encoded("n", &all));
    let size = update.expect("it is of interest").len() as u64;
    drop(log);
    let session = server.sessions.get_mut(&peer.session).expect("it is there");
    let cursor = session.watches.get_mut(&WatchId(1)).expect("it is there");
    cursor.sent = cursor.granted - size;
    server.tick(Time(1));
    assert_eq!(queued(&server, peer.id), [1], "and no byte more");
}

#[test]
fn who_reads_no_more_gets_no_updates() {
    let mut server = server_with(|_| ());
    let peer = watching(&mut server);
    change(&mut server, "k", 1);
    server.hangup(peer.id);
    server.tick(Time(1));
    assert!(server.outbox(peer.id).is_empty());
}

#[test]
fn a_watch_whose_connection_takes_nothing_keeps_nobody_awake() {
    let mut server = server_with(|config| config.limits.updates_queued_bytes_max = 1);
    let peer = watching(&mut server);
    change(&mut server, "k", 2);
    server.tick(Time(1));
    assert_eq!(queued(&server, peer.id), [1]);
    assert_eq!(server.deadline(), None, "`sent` goes on with it");
    let bytes = server.outbox(peer.id).len();
    server.sent(peer.id, bytes, Time(1));
    assert_eq!(queued(&server, peer.id), [2]);
}
