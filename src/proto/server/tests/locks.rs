//! Locks: who gets one, when, and under which revision.

use super::*;
use crate::proto::locks::LockRecord;

fn lock(name: &str) -> Request<'_> {
    Request::Lock { name, waits: true }
}

/// What locks were answered on this connection: the request, and its grant if it is one.
fn told(server: &mut Server, id: ConnectionId) -> Vec<(Seq, Option<Revision>)> {
    let frames = frames(server, id);
    let told = |frame: &Vec<u8>| match codec::decode(frame) {
        Ok(FromServer::Reply { seq, body }) => match codec::decode(body) {
            Ok(Reply::Locked { revision, granted }) => Some((seq, granted.then_some(revision))),
            _ => None,
        },
        _ => None,
    };
    frames.iter().filter_map(told).collect()
}

fn holder(server: &Server, name: &str) -> Option<u64> {
    let record = server.store.get("", &format!("lock/{name}"))?;
    let record: LockRecord = rmp_serde::from_slice(record).expect("it is one");
    Some(record.holder)
}

/// The program, and a child that is connected.
fn two(configure: impl FnOnce(&mut Config)) -> (Server, Peer, Peer, ProcessId) {
    let mut server = server_with(configure);
    let mut program = Peer::program(&mut server);
    let (process, key) = child(&mut server, &mut program);
    let other = Peer::connect(&mut server, process, key);
    (server, program, other, process)
}

#[test]
fn a_lock_goes_from_one_to_the_next_in_the_order_of_asking() {
    let (mut server, mut program, mut other, process) = two(|_| ());
    let first = program.ask(&mut server, lock("a"));
    let second = other.ask(&mut server, lock("a"));
    let third = program.ask(&mut server, lock("a"));
    let granted = told(&mut server, program.id);
    let [(seq, Some(grant))] = granted[..] else {
        panic!("{granted:?}")
    };
    assert_eq!((seq, grant), (first, server.store.revision()));
    assert_eq!(told(&mut server, other.id), []);
    assert_eq!(holder(&server, "a"), Some(1));
    // Who does not hold it gives nothing back, nor does another grant.
    for peer in [&mut program, &mut other] {
        let grant = Revision(grant.0 - 1);
        let name = "a";
        peer.ask(&mut server, Request::Unlock { name, grant });
    }
    let name = "a";
    other.ask(&mut server, Request::Unlock { name, grant });
    assert_eq!(holder(&server, "a"), Some(1));
    program.ask(&mut server, Request::Unlock { name, grant });
    let next = server.store.revision();
    assert!(next > grant);
    assert_eq!(told(&mut server, other.id), [(second, Some(next))]);
    assert_eq!(holder(&server, "a"), Some(process.0));
    let grant = next;
    other.ask(&mut server, Request::Unlock { name, grant });
    let grant = server.store.revision();
    assert_eq!(told(&mut server, program.id), [(third, Some(grant))]);
    program.ask(&mut server, Request::Unlock { name, grant });
    assert_eq!(holder(&server, "a"), None);
    assert!(server.locks.is_empty());
}

#[test]
fn a_lock_that_is_tried_is_had_at_once_or_not_at_all() {
    let (mut server, mut program, mut other, _) = two(|_| ());
    let (name, waits) = ("a", false);
    let tried = program.ask(&mut server, Request::Lock { name, waits });
    let grant = server.store.revision();
    assert_eq!(told(&mut server, program.id), [(tried, Some(grant))]);
    let tried = other.ask(&mut server, Request::Lock { name, waits });
    assert_eq!(told(&mut server, other.id), [(tried, None)]);
    program.ask(&mut server, Request::Unlock { name, grant });
    assert!(server.locks.is_empty(), "nobody has waited");
}

#[test]
fn a_death_passes_locks_on_in_the_revision_that_records_it() {
    let (mut server, mut program, mut other, process) = two(|_| ());
    let own = Request::Set {
        namespace: "n",
        key: "own",
        value: &[1],
        owned: true,
    };
    other.ask(&mut server, own);
    for name in ["a", "b"] {
        other.ask(&mut server, lock(name));
    }
    let waits = program.ask(&mut server, lock("a"));
    // It waits for one, too; that is nobody's either.
    program.ask(&mut server, lock("c"));
    other.ask(&mut server, lock("c"));
    let _ = told(&mut server, program.id);
    while server.poll_commit().is_some() {}
    let unread = other.id;
    server.keeper(
        FromKeeper::Ended {
            process,
            status: 9,
            why: None,
            cpu_user_ns: 0,
            cpu_system_ns: 0,
            memory_bytes_max: 0,
            left: Left::default(),
        },
        Time(1),
    );
    assert_eq!(
        holder(&server, "a"),
        Some(process.0),
        "its last writes come first"
    );
    server.drained(unread, Time(1));
    let commit = server.poll_commit().expect("one revision");
    assert!(server.poll_commit().is_none(), "and no other");
    let keys: Vec<&str> = commit.changes.iter().map(|change| &*change.1).collect();
    let record = format!("process/{}", process.0);
    assert_eq!(keys, ["lock/a", "lock/b", &record, "own"]);
    let grant = Some(commit.revision);
    assert_eq!(told(&mut server, program.id), [(waits, grant)]);
    assert_eq!(
        (holder(&server, "a"), holder(&server, "b")),
        (Some(1), None)
    );
    assert_eq!(server.locks.waiters("c"), 0);
}

#[test]
fn a_goodbye_and_the_loss_of_a_session_free_its_locks() {
    let (mut server, mut program, mut other, _) = two(|_| ());
    other.ask(&mut server, lock("a"));
    let waits = program.ask(&mut server, lock("a"));
    say(&mut server, other.id, &FromClient::Goodbye);
    let grant = Some(server.store.revision());
    assert_eq!(told(&mut server, program.id), [(waits, grant)]);
    server.disconnected(program.id, Time(1));
    server.tick(Time(1).after(limits::SESSION_GRACE));
    assert!(server.locks.is_empty());
    assert_eq!(holder(&server, "a"), None);
}

#[test]
fn who_gives_up_has_neither_place_nor_lock() {
    let (mut server, mut program, mut other, _) = two(|_| ());
    let first = program.ask(&mut server, lock("a"));
    let seq = other.ask(&mut server, lock("a"));
    let third = program.ask(&mut server, lock("a"));
    say(&mut server, other.id, &FromClient::Cancel { seq });
    assert_eq!(server.locks.waiters("a"), 1);
    // The grant crosses the cancel.
    let _ = told(&mut server, program.id);
    say(&mut server, program.id, &FromClient::Cancel { seq: first });
    let grant = server.store.revision();
    assert_eq!(told(&mut server, program.id), [(third, Some(grant))]);
    say(&mut server, program.id, &FromClient::Cancel { seq: third });
    assert!(server.locks.is_empty());
    assert_eq!(
        server.sessions[&program.session].count().0,
        1,
        "the spawn's"
    );
    // Told twice, it is done once.
    let fourth = other.ask(&mut server, lock("a"));
    say(&mut server, program.id, &FromClient::Cancel { seq: third });
    assert_eq!(told(&mut server, other.id).len(), 1);
    assert_eq!(
        server.locks.held_by((other.session, fourth)),
        Some(&"a".into())
    );
}

#[test]
fn a_request_that_comes_twice_gets_the_same_grant() {
    let (mut server, mut program, other, _) = two(|_| ());
    let mut other = other;
    program.ask(&mut server, lock("a"));
    let grant = server.store.revision();
    let waits = other.ask(&mut server, lock("a"));
    let mut other = other.resumed(&mut server, Vec::new());
    other.repeat(&mut server, waits.0, lock("a"));
    assert_eq!(
        told(&mut server, other.id),
        [],
        "it waits still, in its place"
    );
    assert_eq!(server.locks.waiters("a"), 1);
    server.disconnected(other.id, Time(1));
    let name = "a";
    program.ask(&mut server, Request::Unlock { name, grant });
    let grant = server.store.revision();
    let mut other = other.resumed(&mut server, Vec::new());
    other.repeat(&mut server, waits.0, lock("a"));
    assert_eq!(told(&mut server, other.id), [(waits, Some(grant))]);
    assert_eq!(server.store.revision(), grant);
}

#[test]
fn each_limit_of_locks_at_it_and_over_it() {
    let refused = |server: &mut Server, peer: &mut Peer, name: &str| {
        let seq = peer.ask(server, lock(name));
        let frames = frames(server, peer.id);
        frames.iter().find_map(|frame| match codec::decode(frame) {
            Ok(FromServer::Reply { seq: of, body }) if of == seq => match codec::decode(body) {
                Ok(Reply::Failed {
                    failure: Failure::Limit { limit, actual, max },
                    ..
                }) => Some((limit.to_owned(), actual, max)),
                _ => None,
            },
            _ => None,
        })
    };
    let small = |config: &mut Config| {
        config.limits.locks_max = 3;
        config.limits.locks_per_session_max = 2;
        config.limits.lock_waiters_max = 1;
    };
    let (mut server, mut program, mut other, _) = two(small);
    for name in ["a", "b"] {
        assert_eq!(refused(&mut server, &mut program, name), None);
    }
    let of = |name: &str, actual, max| Some((name.to_owned(), actual, max));
    let per_session = of("LOCKS_PER_SESSION_MAX", 3, 2);
    assert_eq!(refused(&mut server, &mut program, "c"), per_session);
    assert_eq!(refused(&mut server, &mut other, "a"), None);
    assert_eq!(refused(&mut server, &mut other, "c"), None);
    assert_eq!(refused(&mut server, &mut other, "d"), per_session);
    let name = "b";
    let grant = server.locks.holder("b").expect("it is held").grant;
    program.ask(&mut server, Request::Unlock { name, grant });
    // One more waits for "a"; and "d" is one too many when "b" is taken again.
    assert_eq!(
        refused(&mut server, &mut program, "a"),
        of("LOCK_WAITERS_MAX", 2, 1)
    );
    assert_eq!(refused(&mut server, &mut program, "b"), None);
    let (process, key) = child(&mut server, &mut program);
    let mut third = Peer::connect(&mut server, process, key);
    assert_eq!(refused(&mut server, &mut third, "d"), of("LOCKS_MAX", 4, 3));
    let long = "x".repeat(limits::LOCK_NAME_BYTES_MAX + 1);
    assert_eq!(
        refused(&mut server, &mut third, &long),
        of("LOCK_NAME_BYTES_MAX", 256, 255)
    );
    let usage = server.usage();
    assert_eq!(
        (usage.locks, usage.session_locks, usage.lock_waiters),
        (3, 2, 1)
    );
}

#[test]
fn a_circle_of_locks_is_in_the_picture() {
    let (mut server, mut program, mut other, process) = two(|_| ());
    program.ask(&mut server, lock("a"));
    other.ask(&mut server, lock("b"));
    program.ask(&mut server, lock("b"));
    assert!(server.dump(Time(9)).circles().is_empty());
    other.ask(&mut server, lock("a"));
    let dump = server.dump(Time(9));
    assert_eq!(dump.circles(), [[ProcessId::PROGRAM, process]]);
    let text = dump.to_string();
    let wanted = "waits for lock \"a\", held by process 1 (main)";
    assert!(
        text.contains("deadlock, unless ") && text.contains(wanted),
        "{text}"
    );
}
