//! An attacker says what it likes on one connection, as a stranger or as a process of the tree. On
//! another, a bystander's answers must stay right, and the server's invariants must hold. The server is
//! a tree's, or stands alone: then the bystander has a keeper, and the attacker may say it is one.

use zproc::seam::proto::ids::{BuildId, ConnectionId, ProcessId, Seq, Token};
use zproc::seam::proto::limits::PROTOCOL_VERSION;
use zproc::seam::proto::message::{
    FromClient, FromKeeper, FromServer, FunctionRef, Hello, KeeperHello, Left, Reply, Request,
    ToKeeper,
};
use zproc::seam::proto::server::{Config, Effect, FunctionFailure, Functions, Server};
use zproc::seam::proto::setup::Setup;
use zproc::seam::proto::store::{Transaction, View};
use zproc::seam::proto::time::Time;
use zproc::seam::proto::{codec, frame};

const BUILD: BuildId = BuildId([1, 2]);
const PROGRAM_KEY: Token = Token([3, 4]);

/// A program whose one function writes its argument as the key `written`.
struct OneFunction;

impl Functions for OneFunction {
    fn atomic(
        &mut self,
        namespace: &str,
        function: &FunctionRef<'_>,
        args: &[u8],
        transaction: &mut Transaction<'_>,
    ) -> Result<Vec<u8>, FunctionFailure> {
        if function.offset != 1 {
            return Err(FunctionFailure::Unknown);
        }
        // Whether this was allowed is the server's to say.
        let _ = transaction.set(namespace, "written", args);
        Ok(args.to_vec())
    }

    fn condition(
        &mut self,
        namespace: &str,
        function: &FunctionRef<'_>,
        _args: &[u8],
        view: &View<'_>,
    ) -> Result<Option<Vec<u8>>, FunctionFailure> {
        match function.offset {
            1 => Ok(view.get(namespace, "written").map(<[u8]>::to_vec)),
            _ => Err(FunctionFailure::Unknown),
        }
    }
}

/// The server and the two ends.
struct World {
    server: Server,
    now: Time,
    bystander: ConnectionId,
    /// Of the bystander's keeper, where the server stands alone.
    link: Option<ConnectionId>,
    ordered: Vec<u8>,
    heard: Vec<u8>,
    seq: u64,
    attacker: ConnectionId,
    attacker_is_open: bool,
    /// What the server has not consumed yet.
    unread: Vec<u8>,
    /// The id and secret of a process that the bystander has asked for.
    child: Option<(ProcessId, Token)>,
}

/// The first byte says who the attacker is, and what the server; then come steps: a kind, a length, and so many bytes.
pub(crate) fn run(data: &[u8]) {
    let Some((who, mut steps)) = data.split_first() else {
        return;
    };
    let is_alone = who & 2 == 2;
    let mut world = World::new(is_alone);
    if is_alone && who & 4 == 4 {
        world.attack(&framed(&keeper_hello()));
    } else if who & 1 == 1 {
        let (process, key) = world.child.expect("the bystander has asked for one");
        world.attack(&framed(&hello(process, key)));
    }
    while let Some(([kind, length], rest)) = steps.split_first_chunk() {
        let (bytes, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        steps = rest;
        match kind % 8 {
            0 | 1 => world.attack(bytes),
            // The prefix is right, so that the message itself is looked at.
            2..=4 => world.attack(&prefixed(bytes)),
            5 => world.attack(&prefixed(&codec::to_bytes(&Seq(u64::from(*length))))),
            6 => world.pass(*length),
            _ => world.reconnect(),
        }
        world.check_bystander();
        world.server.invariants();
    }
}

fn hello(process: ProcessId, key: Token) -> FromClient<'static> {
    FromClient::Hello(Hello {
        version: PROTOCOL_VERSION,
        build: BUILD,
        process,
        key,
        pid: 77,
        attempt: 0,
        software: "fuzz",
        resume: None,
    })
}

fn keeper_hello() -> FromClient<'static> {
    FromClient::Keeper(KeeperHello {
        version: PROTOCOL_VERSION,
        pid: 9,
        name: "fuzz",
        software: "fuzz",
    })
}

fn framed(message: &FromClient<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::append(message, &mut bytes);
    bytes
}

fn prefixed(payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_le_bytes().to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

impl World {
    fn new(is_alone: bool) -> World {
        let now = Time(1_000_000_000);
        let config = match is_alone {
            true => Config::alone([5, 6]),
            false => Config::new(BUILD, PROGRAM_KEY, [5, 6]),
        };
        let mut server = Server::new(config, Box::new(OneFunction), now);
        let link = is_alone.then(|| server.connected(now));
        let bystander = server.connected(now);
        let attacker = server.connected(now);
        let mut world = World {
            server,
            now,
            bystander,
            link,
            ordered: Vec::new(),
            heard: Vec::new(),
            seq: 0,
            attacker,
            attacker_is_open: true,
            unread: Vec::new(),
            child: None,
        };
        let (process, key) = match link {
            None => (ProcessId::PROGRAM, PROGRAM_KEY),
            Some(link) => world.join(link),
        };
        world.say(&hello(process, key));
        world.ask(Request::Spawn {
            function: FunctionRef {
                offset: 2,
                name: "child",
            },
            args: &[0xc0],
            setup: Setup::default(),
            rest: None,
        });
        world
    }

    /// The bystander's keeper says hello: who the bystander is.
    fn join(&mut self, link: ConnectionId) -> (ProcessId, Token) {
        (self.server).receive(link, &framed(&keeper_hello()), self.now);
        let answer = self.server.outbox(link).to_vec();
        self.server.sent(link, answer.len(), self.now);
        let (payload, _) = frame::split(&answer)
            .expect("the server builds frames")
            .expect("the server answers");
        match codec::decode(payload) {
            Ok(FromServer::Adopted { process, key }) => (process, key),
            other => panic!("not taken in: {other:?}"),
        }
    }

    /// What the bystander's keeper is told, if it has a link.
    fn obey(&mut self) {
        let ordered = std::mem::take(&mut self.ordered);
        let mut rest = &ordered[..];
        while let Some((payload, length)) = frame::split(rest).expect("the server builds frames") {
            rest = &rest[length..];
            match codec::decode(payload).expect("what a keeper is told") {
                ToKeeper::Spawn { process, key, .. } => self.spawned(process, key),
                ToKeeper::Stop { process, .. } | ToKeeper::Kill { process, .. } => {
                    self.ended(process);
                }
            }
        }
    }

    fn spawned(&mut self, process: ProcessId, key: Token) {
        self.child.get_or_insert((process, key));
        self.tell(&FromKeeper::Started { process, pid: 7 });
    }

    fn ended(&mut self, process: ProcessId) {
        self.tell(&FromKeeper::Ended {
            process,
            status: 9,
            why: None,
            cpu_user_ns: 0,
            cpu_system_ns: 0,
            memory_bytes_max: 0,
            left: Left::default(),
        });
    }

    /// The bystander's keeper tells.
    fn tell(&mut self, event: &FromKeeper<'static>) {
        let Some(link) = self.link else {
            return self.server.keeper(*event, self.now);
        };
        let mut bytes = Vec::new();
        frame::append(event, &mut bytes);
        self.server.receive(link, &bytes, self.now);
    }

    /// The attacker's bytes, as far as the server takes them now.
    fn attack(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        while self.attacker_is_open {
            let received = self.server.receive(self.attacker, &self.unread, self.now);
            self.unread.drain(..received.consumed);
            self.settle();
            if !received.more {
                break;
            }
        }
    }

    /// Time goes by.
    fn pass(&mut self, eighths: u8) {
        self.now = Time(self.now.0 + u64::from(eighths) * 125_000_000);
        self.server.tick(self.now);
        self.settle();
    }

    /// The attacker's connection is lost, and there is another.
    fn reconnect(&mut self) {
        if self.attacker_is_open {
            self.server.disconnected(self.attacker, self.now);
            self.settle();
        }
        self.attacker = self.server.connected(self.now);
        self.attacker_is_open = true;
        self.unread.clear();
        self.settle();
    }

    /// What a driver does after each call.
    fn settle(&mut self) {
        loop {
            while let Some(ready) = self.server.poll_ready() {
                let output = self.server.outbox(ready);
                let length = output.len();
                if ready == self.bystander {
                    self.heard.extend_from_slice(output);
                } else if Some(ready) == self.link {
                    self.ordered.extend_from_slice(output);
                }
                self.server.sent(ready, length, self.now);
            }
            if !self.ordered.is_empty() {
                self.obey();
                continue;
            }
            let Some(effect) = self.server.poll_effect() else {
                break;
            };
            match effect {
                Effect::Close { connection } => {
                    let is_bystanders =
                        connection == self.bystander || Some(connection) == self.link;
                    assert!(!is_bystanders, "the bystander has done nothing");
                    self.attacker_is_open &= connection != self.attacker;
                }
                Effect::Drain { connection } => self.server.drained(connection, self.now),
                Effect::Spawn { process, key, .. } => self.spawned(process, key),
                Effect::Stop { process, .. } | Effect::Kill { process, .. } => self.ended(process),
            }
        }
    }

    /// The bystander says something.
    fn say(&mut self, message: &FromClient<'_>) {
        let bytes = framed(message);
        let received = self.server.receive(self.bystander, &bytes, self.now);
        assert_eq!(received.consumed, bytes.len(), "the bystander is served");
        self.settle();
    }

    /// The bystander asks something and is answered at once; gives the reply, encoded.
    fn ask(&mut self, request: Request<'_>) -> Vec<u8> {
        self.seq += 1;
        let wanted = Seq(self.seq);
        self.heard.clear();
        let acks = if self.seq > 1 {
            vec![Seq(self.seq - 1)]
        } else {
            Vec::new()
        };
        let body = request;
        self.say(&FromClient::Request {
            seq: wanted,
            acks,
            body,
        });
        let (payload, length) = frame::split(&self.heard)
            .expect("the server builds frames")
            .expect("the server answers");
        assert_eq!(length, self.heard.len(), "one answer");
        match codec::decode(payload).expect("a message") {
            FromServer::Reply { seq, body } if seq == wanted => body.to_vec(),
            other => panic!("not the answer: {other:?}"),
        }
    }

    /// Nothing of the attacker's is looked at between the bystander's two calls.
    fn check_bystander(&mut self) {
        let value = [0xcc, self.seq as u8];
        let (namespace, key) = ("bystander", "key");
        let owned = false;
        let written = self.ask(Request::Set {
            namespace,
            key,
            value: &value,
            owned,
        });
        let Ok(Reply::Written { revision, .. }) = codec::decode(&written) else {
            panic!("the bystander can't write: {written:?}");
        };
        let at = None;
        let read = self.ask(Request::Get { namespace, key, at });
        let expected = Reply::Value {
            revision,
            value: Some(&value),
        };
        assert_eq!(codec::decode(&read), Ok(expected));
    }
}
