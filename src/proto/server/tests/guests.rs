//! Programs at a server that stands alone, each with a keeper of its own.

use super::*;
use crate::proto::limits::FRAME_BYTES_MAX;
use crate::proto::message::{KeeperHello, ToKeeper};

/// A program with its keeper's link.
pub(super) struct Guest {
    pub(super) link: ConnectionId,
    pub(super) root: ProcessId,
    pub(super) peer: Peer,
}

pub(super) fn alone_with(configure: impl FnOnce(&mut Config)) -> Server {
    let mut config = Config::alone([5, 6]);
    config.record_commits = true;
    configure(&mut config);
    Server::new(config, Box::new(NoFunctions), Time(0))
}

fn alone() -> Server {
    alone_with(|_| ())
}

fn keeper_hello() -> FromClient<'static> {
    FromClient::Keeper(KeeperHello {
        version: PROTOCOL_VERSION,
        pid: 700,
        name: "guest",
        software: "test",
    })
}

/// The first answer to a keeper's hello.
pub(super) fn knock(server: &mut Server) -> (ConnectionId, Vec<u8>) {
    let link = server.connected(Time(1));
    say(server, link, &keeper_hello());
    let answer = last_output(server, link);
    (link, answer.expect("there is an answer"))
}

/// The first frame that is sent to this connection, be it closed or not.
fn last_output(server: &mut Server, id: ConnectionId) -> Option<Vec<u8>> {
    if server.connections.get(&id).is_some_and(|open| open.closed) {
        while server
            .poll_effect()
            .is_some_and(|effect| effect != Effect::Close { connection: id })
        {}
    }
    let bytes = server.outbox(id).to_vec();
    let (payload, length) = frame::split(&bytes).expect("the server's own frame")?;
    let payload = payload.to_vec();
    if server.connections.contains_key(&id) {
        server.sent(id, length, Time(1));
    }
    Some(payload)
}

impl Guest {
    pub(super) fn new(server: &mut Server) -> Guest {
        let (link, answer) = knock(server);
        let Ok(FromServer::Adopted { process, key }) = codec::decode(&answer) else {
            panic!("not taken in");
        };
        Guest {
            link,
            root: process,
            peer: Peer::connect(server, process, key),
        }
    }

    /// Has it start a process; the keeper is told on its link, and nobody else is.
    pub(super) fn child(&mut self, server: &mut Server) -> (ProcessId, Token) {
        self.peer.call(server, spawn_of_f(), |reply| {
            assert!(matches!(reply, Reply::Spawned { .. }), "{reply:?}");
        });
        self.spawned(server)
    }

    fn spawned(&self, server: &mut Server) -> (ProcessId, Token) {
        assert_eq!(server.poll_effect(), None, "there is no keeper but its own");
        let told = frames(server, self.link);
        match codec::decode(&told[0]) {
            Ok(ToKeeper::Spawn { process, key, .. }) => (process, key),
            other => panic!("no spawn: {other:?}"),
        }
    }

    pub(super) fn tell(&self, server: &mut Server, event: &FromKeeper<'_>) {
        let mut bytes = Vec::new();
        frame::append(event, &mut bytes);
        server.receive(self.link, &bytes, Time(2));
    }

    /// The link ends.
    pub(super) fn lose(&self, server: &mut Server) {
        server.hangup(self.link);
        server.disconnected(self.link, Time(3));
    }
}

/// Reads nothing more of those that are to be drained, and closes what is to be closed.
pub(super) fn carry_out(server: &mut Server) -> Vec<ConnectionId> {
    let mut drained = Vec::new();
    while let Some(effect) = server.poll_effect() {
        if let Effect::Drain { connection } = effect {
            drained.push(connection);
            server.drained(connection, Time(4));
        }
    }
    drained
}

pub(super) fn record(server: &Server, process: ProcessId) -> Record {
    let key = format!("{RECORD_PREFIX}{}", process.0);
    let record = server.store.get("", &key).expect("it has a record");
    rmp_serde::from_slice(record).expect("the server's own record")
}

fn owned(key: &str) -> Request<'_> {
    Request::Set {
        namespace: "n",
        key,
        value: &[1],
        owned: true,
    }
}

fn refusal_of(answer: &[u8]) -> Refusal<'_> {
    match codec::decode(answer) {
        Ok(FromServer::Refused { refusal }) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_program_is_taken_in_with_a_number_a_record_and_a_secret() {
    let mut server = alone();
    let mut first = Guest::new(&mut server);
    let second = Guest::new(&mut server);
    assert_eq!((first.root, second.root), (ProcessId(1), ProcessId(2)));
    let found = record(&server, first.root);
    assert_eq!((found.name.as_str(), found.pid), ("guest", Some(700)));
    assert_eq!((found.state.as_str(), found.parent), ("running", 1));
    first.peer.set(&mut server, "k", 1);
    // Another's secret is none.
    let key = server.processes[&first.root].key;
    let id = server.connected(Time(1));
    say(&mut server, id, &hello(second.root, key, None));
    let answer = last_output(&mut server, id).expect("an answer");
    assert_eq!(refusal_of(&answer), Refusal::Credentials);
}

#[test]
fn the_server_of_a_tree_takes_nobody_in() {
    let mut server = server_with(|_| ());
    let (_, answer) = knock(&mut server);
    assert_eq!(refusal_of(&answer), Refusal::Private);
    assert_eq!(server.processes.len(), 1);
}

#[test]
fn a_keeper_of_another_version_is_told_so_whatever_else_it_says() {
    let mut server = alone();
    let FromClient::Keeper(mut later) = keeper_hello() else {
        unreachable!("it is one");
    };
    later.version = PROTOCOL_VERSION + 1;
    let mut bytes = Vec::new();
    frame::append(&FromClient::Keeper(later), &mut bytes);
    let mut longer = bytes.clone();
    // A later version may have more to say.
    longer.extend_from_slice(&[7; 5]);
    let length = u32::try_from(longer.len() - frame::PREFIX_BYTES).expect("it is short");
    longer[..frame::PREFIX_BYTES].copy_from_slice(&length.to_le_bytes());
    for said in [bytes, longer] {
        let id = server.connected(Time(1));
        server.receive(id, &said, Time(1));
        let answer = last_output(&mut server, id).expect("an answer");
        assert!(matches!(refusal_of(&answer), Refusal::Version { .. }));
    }
    assert_eq!(server.processes.len(), 0);
}

#[test]
fn a_program_counts_as_a_process_at_the_limit() {
    let mut server = alone_with(|config| config.limits.processes_live_max = 2);
    let mut first = Guest::new(&mut server);
    let second = Guest::new(&mut server);
    let (_, answer) = knock(&mut server);
    let limit = "PROCESSES_LIVE_MAX";
    assert_eq!(refusal_of(&answer), Refusal::Limit { limit });
    first.peer.call(&mut server, spawn_of_f(), |reply| {
        assert!(format!("{reply:?}").contains(limit), "{reply:?}");
    });
    second.lose(&mut server);
    carry_out(&mut server);
    Guest::new(&mut server);
}

#[test]
fn each_keeper_is_told_of_its_own() {
    let mut server = alone();
    let mut first = Guest::new(&mut server);
    let mut second = Guest::new(&mut server);
    let (of_first, _) = first.child(&mut server);
    let (of_second, _) = second.child(&mut server);
    assert!(frames(&mut server, first.link).is_empty());
    // Any program may have any process killed, by that one's keeper.
    let kill = Request::Kill { process: of_first };
    second.peer.call(&mut server, kill, |reply| {
        assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
    });
    let told = frames(&mut server, first.link);
    let why = Why::Asked;
    let process = of_first;
    assert_eq!(codec::decode(&told[0]), Ok(ToKeeper::Kill { process, why }));
    assert!(frames(&mut server, second.link).is_empty());
    let (process, grace_ns) = (of_second, Some(5));
    first
        .peer
        .ask(&mut server, Request::Stop { process, grace_ns });
    let told = frames(&mut server, second.link);
    let grace_ns = 5;
    assert_eq!(
        codec::decode(&told[0]),
        Ok(ToKeeper::Stop { process, grace_ns })
    );
    assert_eq!(server.poll_effect(), None);
}

#[test]
fn nobody_ends_a_program() {
    let mut server = alone();
    let mut first = Guest::new(&mut server);
    let second = Guest::new(&mut server);
    for process in [second.root, first.root, ProcessId(0)] {
        let grace_ns = None;
        for request in [
            Request::Kill { process },
            Request::Stop { process, grace_ns },
            Request::ToRoot { process },
        ] {
            first.peer.call(&mut server, request, |reply| {
                assert!(format!("{reply:?}").contains("UnknownProcess"), "{reply:?}");
            });
        }
    }
    assert!(frames(&mut server, second.link).is_empty());
}

#[test]
fn at_the_root_is_with_ones_own_program() {
    let mut server = alone();
    let mut guest = Guest::new(&mut server);
    let _other = Guest::new(&mut server);
    let (parent, key) = guest.child(&mut server);
    let mut peer = Peer::connect(&mut server, parent, key);
    let to_root = |to_root| Request::Spawn {
        function: FunctionRef {
            offset: 1,
            name: "f",
        },
        args: &[0xc0],
        setup: Setup {
            to_root,
            ..Setup::default()
        },
        rest: None,
    };
    peer.ask(&mut server, to_root(true));
    let (at_root, _) = guest.spawned(&mut server);
    peer.ask(&mut server, to_root(false));
    let (moved, _) = guest.spawned(&mut server);
    peer.ask(&mut server, to_root(false));
    let (bound, _) = guest.spawned(&mut server);
    peer.ask(&mut server, Request::ToRoot { process: moved });
    frames(&mut server, peer.id);
    server.disconnected(peer.id, Time(2));
    guest.tell(&mut server, &ended(parent, 0));
    let told = frames(&mut server, guest.link);
    let (process, why) = (bound, Why::Parent);
    assert_eq!(told.len(), 1);
    assert_eq!(codec::decode(&told[0]), Ok(ToKeeper::Kill { process, why }));
    let root = &server.processes[&guest.root];
    assert!(root.children.contains(&at_root) && root.children.contains(&moved));
}

#[test]
fn a_keepers_news_are_as_good_as_in_a_tree() {
    let mut server = alone();
    let mut guest = Guest::new(&mut server);
    let (process, key) = guest.child(&mut server);
    guest.tell(&mut server, &FromKeeper::Started { process, pid: 5 });
    assert_eq!(record(&server, process).pid, Some(5));
    let mut peer = Peer::connect(&mut server, process, key);
    peer.ask(&mut server, owned("k"));
    guest.tell(&mut server, &ended(process, 9));
    assert_eq!(carry_out(&mut server), [peer.id]);
    assert_eq!(server.store.len("n"), 0);
    let outcome = record(&server, process).outcome;
    assert_eq!(outcome.as_deref(), Some("killed by SIGKILL (signal 9)"));
}

#[test]
fn with_the_link_ends_all_of_that_program_and_nothing_else() {
    let mut server = alone();
    let mut first = Guest::new(&mut server);
    let mut second = Guest::new(&mut server);
    let (child, key) = first.child(&mut server);
    let (unconnected, _) = first.child(&mut server);
    let (other, _) = second.child(&mut server);
    let mut peer = Peer::connect(&mut server, child, key);
    let name = "lock";
    let waits = true;
    first.peer.ask(&mut server, owned("root's"));
    first.peer.ask(&mut server, Request::Lock { name, waits });
    peer.ask(&mut server, owned("child's"));
    second.peer.ask(&mut server, owned("other's"));
    second.peer.ask(&mut server, Request::Lock { name, waits });
    frames(&mut server, second.peer.id);
    while server.poll_commit().is_some() {}
    first.lose(&mut server);
    // What they wrote last is still to be read, and the program is the last.
    assert_eq!(server.store.len("n"), 3);
    let drain = |connection| Some(Effect::Drain { connection });
    assert_eq!(server.poll_effect(), drain(peer.id));
    peer.ask(&mut server, owned("child's last"));
    server.drained(peer.id, Time(4));
    assert_eq!(server.store.len("n"), 2);
    assert_eq!(server.poll_effect(), drain(first.peer.id));
    server.drained(first.peer.id, Time(4));
    assert_eq!(server.poll_effect(), None, "no keeper is told anything");
    assert_eq!(server.store.len("n"), 1);
    let told = frames(&mut server, second.peer.id);
    assert_eq!(told.len(), 1, "the lock is the other's now");
    for process in [child, unconnected, first.root] {
        let record = record(&server, process);
        assert_eq!(record.state, "ended");
        assert_eq!(
            record.outcome.as_deref(),
            Some("ended with its program or its keeper")
        );
        assert_eq!(record.used, None, "nobody knows");
    }
    let releases: Vec<_> = std::iter::from_fn(|| server.poll_commit())
        .filter(|commit| commit.released.is_some())
        .map(|commit| commit.process)
        .collect();
    assert_eq!(releases, [unconnected, child, first.root]);
    for process in [other, second.root] {
        assert_ne!(record(&server, process).state, "ended");
    }
    assert!(frames(&mut server, second.link).is_empty());
    second.peer.set(&mut server, "k", 1);
    server.invariants();
}

#[test]
fn a_program_whose_keeper_is_gone_is_told_that_it_has_ended() {
    let mut server = alone();
    let guest = Guest::new(&mut server);
    let key = server.processes[&guest.root].key;
    guest.lose(&mut server);
    carry_out(&mut server);
    let id = server.connected(Time(5));
    say(&mut server, id, &hello(guest.root, key, None));
    let answer = last_output(&mut server, id).expect("an answer");
    assert_eq!(refusal_of(&answer), Refusal::Ended);
}

#[test]
fn a_goodbye_of_a_program_leaves_its_keeper_and_its_processes() {
    let mut server = alone();
    let mut guest = Guest::new(&mut server);
    let (child, _) = guest.child(&mut server);
    guest.peer.ask(&mut server, owned("k"));
    say(&mut server, guest.peer.id, &FromClient::Goodbye);
    carry_out(&mut server);
    assert_eq!(server.store.len("n"), 0);
    assert_eq!(record(&server, child).state, "starting");
    guest.lose(&mut server);
    carry_out(&mut server);
    for process in [child, guest.root] {
        // Nobody has seen what it used, but when it ended is known: its age went on counting.
        let record = record(&server, process);
        assert_eq!((&*record.state, record.used), ("ended", None));
        assert!(record.ended_ns.is_some());
    }
}

/// What a keeper must not say costs it its link, and with it its program; nobody else.
#[test]
fn a_keeper_that_says_what_it_must_not_is_taken_for_lost() {
    let attacks: [fn(&Guest, ProcessId) -> Vec<u8>; 6] = [
        |_, _| framed(&keeper_hello()),
        |_, other| framed(&ended(other, 9)),
        |guest, _| framed(&ended(guest.root, 9)),
        |_, _| framed(&ended(ProcessId(4711), 9)),
        |_, _| framed(&FromClient::Goodbye),
        |_, _| vec![0xff; 64],
    ];
    for attack in attacks {
        let mut server = alone();
        let mut first = Guest::new(&mut server);
        let mut second = Guest::new(&mut server);
        let (child, _) = first.child(&mut server);
        let (other, _) = second.child(&mut server);
        first.peer.ask(&mut server, owned("k"));
        server.receive(first.link, &attack(&first, other), Time(2));
        let connection = first.link;
        let mut closed = false;
        while let Some(effect) = server.poll_effect() {
            match effect {
                Effect::Drain { connection } => server.drained(connection, Time(3)),
                effect => closed |= effect == Effect::Close { connection },
            }
        }
        assert!(closed);
        assert_eq!(server.outbox(connection), [], "a keeper is told no reasons");
        assert_eq!(server.store.len("n"), 0);
        for process in [child, first.root] {
            assert_eq!(record(&server, process).state, "ended");
        }
        for process in [other, second.root] {
            assert_ne!(record(&server, process).state, "ended");
        }
        second.peer.set(&mut server, "k", 1);
        server.invariants();
    }
}

fn framed<M: Writable<speedy::Endianness>>(message: &M) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::append(message, &mut bytes);
    bytes
}

#[test]
fn a_client_is_no_keeper_and_a_keeper_no_client() {
    let mut server = alone();
    let guest = Guest::new(&mut server);
    say(&mut server, guest.peer.id, &keeper_hello());
    let answer = last_output(&mut server, guest.peer.id).expect("an answer");
    let Refusal::Protocol { what } = refusal_of(&answer) else {
        panic!("it may not");
    };
    assert_eq!(what, "a second hello");
    assert_eq!(server.links.len(), 1);
}

/// A keeper that reads nothing can't make the server keep more and more for it.
#[test]
fn a_keeper_that_does_not_read_is_told_no_more_but_to_kill() {
    let mut server = alone_with(|config| {
        config.limits.outbox_bytes_max = 200;
        config.limits.updates_queued_bytes_max = 200;
    });
    let mut guest = Guest::new(&mut server);
    let mut other = Guest::new(&mut server);
    let (process, _) = guest.child(&mut server);
    let grace_ns = Some(5);
    let mut refused = 0;
    for _ in 0..50 {
        let stop = Request::Stop { process, grace_ns };
        other.peer.call(&mut server, stop, |reply| {
            refused += usize::from(format!("{reply:?}").contains("OUTBOX_BYTES_MAX"));
        });
    }
    assert!((1..50).contains(&refused), "{refused}");
    guest.peer.call(&mut server, spawn_of_f(), |reply| {
        assert!(format!("{reply:?}").contains("OUTBOX_BYTES_MAX"));
    });
    let before = server.outbox(guest.link).len();
    for _ in 0..2 {
        let kill = Request::Kill { process };
        other.peer.call(&mut server, kill, |reply| {
            assert!(matches!(reply, Reply::Done { .. }));
        });
    }
    let after = server.outbox(guest.link).len();
    assert!((before + 1..before + 40).contains(&after));
    // Its news are read all the same.
    guest.tell(&mut server, &FromKeeper::Started { process, pid: 5 });
    assert_eq!(record(&server, process).pid, Some(5));
}

/// Its last writes are read when its keeper's link has ended. The process that they asked for was
/// neither started nor buried by anybody, and joins of it never ended.
#[test]
fn a_spawn_among_last_writes_behind_the_end_of_the_link() {
    let mut server = alone();
    let mut guest = Guest::new(&mut server);
    let (child, key) = guest.child(&mut server);
    let mut peer = Peer::connect(&mut server, child, key);
    guest.lose(&mut server);
    while let Some(effect) = server.poll_effect() {
        if let Effect::Drain { connection } = effect {
            if connection == peer.id {
                peer.ask(&mut server, spawn_of_f());
            }
            server.drained(connection, Time(4));
        }
    }
    let left = |process: &&Process| process.root == guest.root && !process.has_ended();
    assert_eq!(server.processes.values().filter(left).count(), 0);
}

/// It was kept whole, and the reply to who joined was larger than a frame: the server panicked.
#[test]
fn the_name_of_a_call_that_failed_is_cut() {
    let mut server = alone();
    let mut guest = Guest::new(&mut server);
    let (process, _) = guest.child(&mut server);
    let call = &*"x".repeat(FRAME_BYTES_MAX - 40);
    let errno = 1;
    let told = FromKeeper::NotStarted {
        process,
        call,
        errno,
    };
    guest.tell(&mut server, &told);
    assert!(server.processes[&process].result_bytes() < 4096);
    let condition = Condition::Ended { process };
    let wait = Request::Wait {
        namespace: "",
        condition,
    };
    guest.peer.ask(&mut server, wait);
    assert!(server.outbox(guest.peer.id).len() < 8192);
}
