//! The server driven by hand-made messages, one check per feature.

use super::super::message::*;
use super::super::operations::{Operation, Span};
use super::super::setup::Setup;
use super::super::store::{Transaction, View};
use super::*;
use crate::proto::ids::BuildId;
use crate::proto::limits::{CREDIT_BYTES_MIN, PROTOCOL_VERSION};

mod attacks;
mod burial;
mod changes;
mod coming_back;
mod counting;
mod dumped;
mod elsewhere;
mod endings;
mod fairness;
mod guests;
mod hostile;
mod leases;
mod left;
mod lives;
mod locks;
mod parts;
mod past;
mod pictures;
mod reading;
mod records;
mod shares;
mod small;
mod texts;
mod tokens;
mod turns;
mod waiting;
mod watching;

const BUILD: BuildId = BuildId([1, 2]);
const PROGRAM_KEY: Token = Token([3, 4]);

/// Stands for the program's functions: `name` says what to do.
struct Named;

impl Functions for Named {
    fn atomic(
        &mut self,
        namespace: &str,
        function: &FunctionRef<'_>,
        args: &[u8],
        transaction: &mut Transaction<'_>,
    ) -> Result<Vec<u8>, FunctionFailure> {
        let fault = |message: &str| FaultText {
            message: message.to_owned(),
            ..FaultText::default()
        };
        match function.name {
            "set two" => {
                for key in ["one", "two"] {
                    let _sticks = transaction.set(namespace, key, args);
                }
                Ok(vec![0xc3])
            }
            "set two and fail" => {
                let _sticks = transaction.set(namespace, "one", args);
                let _sticks = transaction.set(namespace, "two", args);
                Err(FunctionFailure::Error(fault("after two writes")))
            }
            "give up over a refused write" => {
                let _ignored = transaction.set("", "one", args);
                Err(FunctionFailure::Error(fault("in words of its own")))
            }
            "write the reserved" => {
                let _ignored = transaction.set("", "one", args);
                Ok(vec![0xc3])
            }
            _ => Err(FunctionFailure::Unknown),
        }
    }

    fn condition(
        &mut self,
        namespace: &str,
        function: &FunctionRef<'_>,
        _args: &[u8],
        view: &View<'_>,
    ) -> Result<Option<Vec<u8>>, FunctionFailure> {
        match function.name {
            "three with prefix" => {
                let count = view.entries(namespace, "p/", None).count();
                Ok((count >= 3).then(|| vec![count as u8]))
            }
            "a thousand ranges" => {
                for number in 0..1000 {
                    let (from, until) = (format!("{number:05}"), format!("{number:05}-"));
                    let span = Span {
                        prefix: "",
                        from: &from,
                        until: Some(&until),
                    };
                    if view.entries(namespace, span, None).count() > 1 {
                        return Ok(Some(vec![0xc3]));
                    }
                }
                Ok(None)
            }
            "the key that is named" => {
                let named = view
                    .get(namespace, "named")
                    .map(|value| value[0].to_string());
                Ok(named
                    .and_then(|key| view.get(namespace, &key))
                    .map(<[u8]>::to_vec))
            }
            _ => Err(FunctionFailure::Unknown),
        }
    }
}

fn server_with(configure: impl FnOnce(&mut Config)) -> Server {
    let mut config = Config::new(BUILD, PROGRAM_KEY, [5, 6]);
    config.record_commits = true;
    configure(&mut config);
    Server::new(config, Box::new(Named), Time(0))
}

fn hello(process: ProcessId, key: Token, resume: Option<Resume>) -> FromClient<'static> {
    FromClient::Hello(Hello {
        version: PROTOCOL_VERSION,
        build: BUILD,
        process,
        key,
        pid: 77,
        attempt: 0,
        software: "test",
        resume,
    })
}

/// One connection of a client that is made by hand.
struct Peer {
    id: ConnectionId,
    session: SessionId,
    token: Token,
    seq: u64,
}

fn say(server: &mut Server, id: ConnectionId, message: &FromClient<'_>) {
    let mut bytes = Vec::new();
    frame::append(message, &mut bytes);
    let received = server.receive(id, &bytes, Time(1));
    assert_eq!(received.consumed, bytes.len());
}

/// All frames that wait for this connection; they count as sent.
fn frames(server: &mut Server, id: ConnectionId) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    loop {
        let bytes = server.outbox(id).to_vec();
        if bytes.is_empty() {
            return frames;
        }
        let mut rest = &bytes[..];
        while let Some((payload, length)) = frame::split(rest).expect("the server's own frames") {
            frames.push(payload.to_vec());
            rest = &rest[length..];
        }
        assert!(rest.is_empty());
        server.sent(id, bytes.len(), Time(1));
    }
}

impl Peer {
    fn connect(server: &mut Server, process: ProcessId, key: Token) -> Peer {
        let id = server.connected(Time(1));
        say(server, id, &hello(process, key, None));
        Peer::welcomed(server, id, 0)
    }

    fn program(server: &mut Server) -> Peer {
        Peer::connect(server, ProcessId::PROGRAM, PROGRAM_KEY)
    }

    fn welcomed(server: &mut Server, id: ConnectionId, seq: u64) -> Peer {
        let bytes = server.outbox(id).to_vec();
        let (payload, length) = frame::split(&bytes)
            .expect("the server's own frame")
            .expect("there is an answer");
        server.sent(id, length, Time(1));
        match codec::decode(payload).expect("the server's own message") {
            FromServer::Welcome { session, token, .. } => Peer {
                id,
                session,
                token,
                seq,
            },
            other => panic!("not welcome: {other:?}"),
        }
    }

    fn resumed(self, server: &mut Server, watches: Vec<WatchPosition>) -> Peer {
        server.disconnected(self.id, Time(1));
        let id = server.connected(Time(1));
        let process = server.sessions[&self.session].process;
        let key = server.processes[&process].key;
        let resume = Resume {
            session: self.session,
            token: self.token,
            watches,
        };
        say(server, id, &hello(process, key, Some(resume)));
        Peer::welcomed(server, id, self.seq)
    }

    fn ask(&mut self, server: &mut Server, body: Request<'_>) -> Seq {
        self.seq += 1;
        self.repeat(server, self.seq, body);
        Seq(self.seq)
    }

    fn repeat(&mut self, server: &mut Server, seq: u64, body: Request<'_>) {
        let seq = Seq(seq);
        let acks = Vec::new();
        say(server, self.id, &FromClient::Request { seq, acks, body });
    }

    /// Asks, and checks the one reply there is.
    fn call(&mut self, server: &mut Server, body: Request<'_>, check: impl FnOnce(Reply<'_>)) {
        let seq = self.ask(server, body);
        let frames = frames(server, self.id);
        let replies: Vec<_> = frames
            .iter()
            .filter_map(|frame| match codec::decode(frame) {
                Ok(FromServer::Reply { seq: of, body }) if of == seq => Some(body),
                _ => None,
            })
            .collect();
        assert_eq!(replies.len(), 1, "one reply to {seq:?}");
        check(codec::decode(replies[0]).expect("the server's own reply"));
    }

    fn set(&mut self, server: &mut Server, key: &str, value: u8) {
        let body = Request::Set {
            namespace: "n",
            key,
            value: &[value],
            owned: false,
        };
        self.call(server, body, |reply| {
            assert!(matches!(reply, Reply::Written { .. }), "{reply:?}");
        });
    }

    fn watch(&mut self, server: &mut Server, filter: Filter<'_>, from: Option<Revision>) {
        let body = Request::Watch {
            watch: WatchId(1),
            namespace: "n",
            filter,
            from,
            credit: CREDIT_BYTES_MIN,
            feeds: None,
        };
        self.ask(server, body);
    }

    /// Revisions of the updates that wait, and their bytes in all.
    fn updates(&self, server: &mut Server) -> (Vec<u64>, u64) {
        let mut revisions = Vec::new();
        let mut bytes = 0;
        for frame in frames(server, self.id) {
            if let Ok(FromServer::Update { body, .. }) = codec::decode(&frame) {
                let update: Update<'_> = codec::decode(body).expect("the server's own update");
                revisions.push(update.revision.0);
                bytes += body.len() as u64;
            }
        }
        (revisions, bytes)
    }
}

fn refusal(server: &mut Server, id: ConnectionId) -> String {
    let close = server.poll_effect();
    assert_eq!(close, Some(Effect::Close { connection: id }));
    let bytes = server.outbox(id).to_vec();
    let mut rest = &bytes[..];
    let mut last = String::new();
    while let Ok(Some((payload, length))) = frame::split(rest) {
        if let Ok(FromServer::Refused { refusal }) = codec::decode(payload) {
            last = format!("{refusal:?}");
        }
        rest = &rest[length..];
    }
    last
}

#[test]
fn set_get_and_the_revision() {
    let mut server = server_with(|_| ());
    let mut peer = Peer::program(&mut server);
    peer.set(&mut server, "k", 7);
    let get = Request::Get {
        namespace: "n",
        key: "k",
        at: None,
    };
    peer.call(&mut server, get, |reply| {
        let value = Some(&[7][..]);
        let revision = Revision(1);
        assert_eq!(reply, Reply::Value { revision, value });
    });
}

#[test]
fn a_retry_over_a_new_connection_is_applied_once() {
    let mut server = server_with(|_| ());
    let mut peer = Peer::program(&mut server);
    peer.set(&mut server, "k", 7);
    let seq = peer.seq;
    let mut peer = peer.resumed(&mut server, Vec::new());
    let again = Request::Set {
        namespace: "n",
        key: "k",
        value: &[7],
        owned: false,
    };
    peer.repeat(&mut server, seq, again);
    assert_eq!(frames(&mut server, peer.id).len(), 1, "it is answered");
    assert_eq!(server.store.revision(), Revision(1), "and not applied");
}

#[test]
fn hellos_that_are_refused() {
    let mut server = server_with(|_| ());
    let mut refused = |change: fn(&mut Hello<'static>)| {
        let id = server.connected(Time(1));
        let FromClient::Hello(mut hello) = hello(ProcessId::PROGRAM, PROGRAM_KEY, None) else {
            unreachable!("hello() makes hellos");
        };
        change(&mut hello);
        say(&mut server, id, &FromClient::Hello(hello));
        refusal(&mut server, id)
    };
    let version = format!("Version {{ server: {}", PROTOCOL_VERSION);
    assert!(refused(|hello| hello.version = PROTOCOL_VERSION + 97).starts_with(&version));
    assert_eq!(refused(|hello| hello.build = BuildId([9, 9])), "Build");
    assert_eq!(refused(|hello| hello.key = Token([9, 9])), "Credentials");
    assert_eq!(refused(|hello| hello.process = ProcessId(9)), "Credentials");
    let unknown = refused(|hello| {
        hello.resume = Some(Resume {
            session: SessionId(9),
            token: Token([9, 9]),
            watches: Vec::new(),
        });
    });
    assert_eq!(unknown, "SessionUnknown");
}

#[test]
fn a_hello_that_was_overtaken_is_refused_and_takes_nothing_away() {
    let mut server = server_with(|_| ());
    let numbered = |attempt, resume| {
        let FromClient::Hello(hello) = hello(ProcessId::PROGRAM, PROGRAM_KEY, resume) else {
            unreachable!("hello() makes hellos");
        };
        FromClient::Hello(Hello { attempt, ..hello })
    };
    let overtaken = [server.connected(Time(1)), server.connected(Time(1))];
    let id = server.connected(Time(1));
    say(&mut server, id, &numbered(3, None));
    let mut peer = Peer::welcomed(&mut server, id, 0);
    // Nothing has been asked in this session yet, but the client knows it.
    say(&mut server, overtaken[0], &numbered(1, None));
    assert_eq!(refusal(&mut server, overtaken[0]), "Late");
    // And it knows more of its watches than it did then.
    let resume = Some(Resume {
        session: peer.session,
        token: peer.token,
        watches: Vec::new(),
    });
    say(&mut server, overtaken[1], &numbered(2, resume));
    assert_eq!(refusal(&mut server, overtaken[1]), "Late");
    peer.set(&mut server, "k", 1);
}

#[test]
fn a_hello_of_an_unknown_form_is_refused_for_its_version() {
    let mut server = server_with(|_| ());
    let id = server.connected(Time(1));
    let mut frame = 12_u32.to_le_bytes().to_vec();
    frame.extend_from_slice(&0_u32.to_le_bytes());
    frame.extend_from_slice(&77_u32.to_le_bytes());
    frame.extend_from_slice(&[0xff; 4]);
    server.receive(id, &frame, Time(1));
    assert!(refusal(&mut server, id).starts_with("Version"));
}

#[test]
fn garbage_costs_its_own_connection_only() {
    let mut server = server_with(|_| ());
    let mut bystander = Peer::program(&mut server);
    for garbage in [&[0; 64][..], &[0xff; 64], &[1, 0, 0, 0, 9]] {
        let id = server.connected(Time(1));
        let received = server.receive(id, garbage, Time(1));
        assert_eq!(received.consumed, garbage.len());
        assert!(refusal(&mut server, id).starts_with("Protocol"));
        assert_eq!(server.receive(id, garbage, Time(1)).consumed, garbage.len());
        bystander.set(&mut server, "k", 1);
    }
    // Half a frame costs nothing but the wait for the other half.
    let id = server.connected(Time(1));
    assert_eq!(server.receive(id, &[200, 0, 0], Time(1)).consumed, 0);
    assert_eq!(server.poll_effect(), None);
    server.tick(Time(1).after(limits::HELLO_TIMEOUT));
    assert_eq!(refusal(&mut server, id), "Late");
}

#[test]
fn an_atomic_function_is_one_revision_or_none() {
    let mut server = server_with(|_| ());
    let mut peer = Peer::program(&mut server);
    let atomic = |name| Request::Atomic {
        namespace: "n",
        function: FunctionRef { offset: 0, name },
        args: &[5],
    };
    peer.call(&mut server, atomic("set two and fail"), |reply| {
        let Reply::Failed { failure, .. } = reply else {
            panic!("{reply:?}");
        };
        assert!(matches!(failure, Failure::Error(_)));
    });
    for name in ["write the reserved", "give up over a refused write"] {
        peer.call(&mut server, atomic(name), |reply| {
            let failure = Failure::ReadOnly;
            let revision = Revision::ZERO;
            assert_eq!(reply, Reply::Failed { revision, failure });
        });
    }
    assert_eq!(server.store.len("n"), 0);
    peer.call(&mut server, atomic("set two"), |reply| {
        let revision = Revision(1);
        let value = &[0xc3];
        assert_eq!(reply, Reply::Returned { revision, value });
    });
    let commit = server.poll_commit().expect("one change set");
    assert_eq!(commit.function.as_deref(), Some("set two"));
    assert_eq!(commit.changes.len(), 2);
    assert_eq!(server.poll_commit(), None);
}

#[test]
fn a_wait_looks_at_the_present_then_at_every_change_of_what_it_read() {
    let mut server = server_with(|_| ());
    let mut peer = Peer::program(&mut server);
    let function = FunctionRef {
        offset: 0,
        name: "three with prefix",
    };
    let args = &[];
    let wait = |condition| Request::Wait {
        namespace: "n",
        condition,
    };
    peer.set(&mut server, "p/1", 1);
    peer.ask(&mut server, wait(Condition::Function { function, args }));
    peer.set(&mut server, "p/2", 1);
    peer.set(&mut server, "q", 1);
    assert!(frames(&mut server, peer.id).is_empty());
    let seq = peer.ask(
        &mut server,
        Request::Set {
            namespace: "n",
            key: "p/3",
            value: &[1],
            owned: false,
        },
    );
    assert_eq!(seq, Seq(5));
    assert_eq!(
        frames(&mut server, peer.id).len(),
        2,
        "the wait and the set"
    );
    // The present state is enough.
    peer.call(
        &mut server,
        wait(Condition::Function { function, args }),
        |reply| {
            assert!(matches!(reply, Reply::Returned { value: &[3], .. }));
        },
    );
    let equal = Condition::Equal {
        key: "p/1",
        value: &[0xcc, 1],
    };
    peer.call(&mut server, wait(equal), |reply| {
        assert!(
            matches!(reply, Reply::Returned { .. }),
            "1 is 1 in any form"
        );
    });
}

/// A spawn like any other.
fn spawn_of_f() -> Request<'static> {
    Request::Spawn {
        function: FunctionRef {
            offset: 1,
            name: "f",
        },
        args: &[0xc0],
        setup: Setup::default(),
        rest: None,
    }
}

/// The keeper's news of an end that nobody at zproc has caused.
fn ended(process: ProcessId, status: i32) -> FromKeeper<'static> {
    FromKeeper::Ended {
        process,
        status,
        why: None,
        cpu_user_ns: 0,
        cpu_system_ns: 0,
        memory_bytes_max: 0,
        left: Left::default(),
    }
}

fn child(server: &mut Server, parent: &mut Peer) -> (ProcessId, Token) {
    parent.call(server, spawn_of_f(), |reply| {
        assert!(matches!(reply, Reply::Spawned { .. }), "{reply:?}");
    });
    match server.poll_effect() {
        Some(Effect::Spawn { process, key, .. }) => (process, key),
        other => panic!("no spawn: {other:?}"),
    }
}

#[test]
fn last_writes_then_release_then_the_outcome() {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    let (process, key) = child(&mut server, &mut program);
    server.keeper(FromKeeper::Started { process, pid: 5 }, Time(2));
    let mut peer = Peer::connect(&mut server, process, key);
    peer.call(&mut server, Request::Begin, |reply| {
        assert!(matches!(reply, Reply::Task { args: &[0xc0], .. }));
    });
    let owned = |key| Request::Set {
        namespace: "n",
        key,
        value: &[1],
        owned: true,
    };
    peer.ask(&mut server, owned("first"));
    let condition = Condition::Ended { process };
    program.ask(
        &mut server,
        Request::Wait {
            namespace: "",
            condition,
        },
    );
    let ended = FromKeeper::Ended {
        process,
        status: 9,
        why: None,
        cpu_user_ns: 1,
        cpu_system_ns: 2,
        memory_bytes_max: 3,
        left: Left::default(),
    };
    server.keeper(ended, Time(3));
    let drain = server.poll_effect();
    assert_eq!(
        drain,
        Some(Effect::Drain {
            connection: peer.id
        })
    );
    assert!(frames(&mut server, program.id).is_empty(), "not yet");
    peer.ask(&mut server, owned("last"));
    server.drained(peer.id, Time(4));
    assert_eq!(server.store.len("n"), 0, "both are released");
    let commits: Vec<_> = std::iter::from_fn(|| server.poll_commit()).collect();
    let last = commits.last().expect("there are change sets");
    assert_eq!(
        last.released.as_deref(),
        Some("killed by SIGKILL (signal 9)")
    );
    assert_eq!(last.changes.len(), 3, "two keys and the record");
    let told = frames(&mut server, program.id);
    let outcome = told.iter().find_map(|frame| match codec::decode(frame) {
        Ok(FromServer::Reply { body, .. }) => codec::decode::<Reply<'_>>(body)
            .map(|reply| format!("{reply:?}"))
            .ok(),
        _ => None,
    });
    let outcome = outcome.expect("the wait is answered");
    assert!(
        outcome.contains("Signaled { signal: 9, core: false }"),
        "{outcome}"
    );
}

#[test]
fn the_end_of_a_process_ends_its_children() {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    let (parent, key) = child(&mut server, &mut program);
    let mut peer = Peer::connect(&mut server, parent, key);
    let (grandchild, _) = child(&mut server, &mut peer);
    server.disconnected(peer.id, Time(2));
    let ended = ended(parent, 0);
    server.keeper(ended, Time(3));
    let kill = Effect::Kill {
        process: grandchild,
        why: Why::Parent,
    };
    assert_eq!(server.poll_effect(), Some(kill));
}

#[test]
fn a_session_that_stays_away_is_ended_and_releases() {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    let owned = Request::Set {
        namespace: "n",
        key: "k",
        value: &[1],
        owned: true,
    };
    program.ask(&mut server, owned);
    server.disconnected(program.id, Time(2));
    let grace_over = Time(2).after(limits::SESSION_GRACE);
    assert_eq!(server.deadline().map(|at| at <= grace_over), Some(true));
    server.tick(Time(grace_over.0 - 1));
    assert_eq!(server.store.len("n"), 1);
    server.tick(grace_over);
    assert_eq!(server.store.len("n"), 0);
    assert!(server.sessions.is_empty());
}

#[test]
fn a_client_that_does_not_read_is_not_served_without_end() {
    let mut server = server_with(|_| ());
    let mut peer = Peer::program(&mut server);
    let value = [&[0xc6, 0, 15, 0, 0][..], &vec![0; 15 << 16]].concat();
    let set = Request::Set {
        namespace: "n",
        key: "k",
        value: &value,
        owned: false,
    };
    peer.ask(&mut server, set);
    let mut bytes = Vec::new();
    for seq in 2..100 {
        let body = Request::Get {
            namespace: "n",
            key: "k",
            at: None,
        };
        let seq = Seq(seq);
        let acks = Vec::new();
        frame::append(&FromClient::Request { seq, acks, body }, &mut bytes);
    }
    let mut consumed = 0;
    loop {
        let received = server.receive(peer.id, &bytes[consumed..], Time(1));
        consumed += received.consumed;
        if received.consumed == 0 {
            break;
        }
    }
    assert!(consumed < bytes.len(), "it was served without end");
    let queued = server.outbox(peer.id).len();
    assert!(queued <= limits::OUTBOX_BYTES_MAX + limits::FRAME_BYTES_MAX);
    server.sent(peer.id, queued, Time(1));
    assert!(
        server
            .receive(peer.id, &bytes[consumed..], Time(1))
            .consumed
            > 0
    );
}
