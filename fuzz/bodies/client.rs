//! A server that says what it likes: the client ends with a reason, or goes on; it never panics,
//! and never gives a caller what nobody asked for.

use zproc::seam::proto::client::{Client, Config};
use zproc::seam::proto::frame::{self, Outbox};
use zproc::seam::proto::ids::{BuildId, ProcessId, Revision, Seq, SessionId, Token, WatchId};
use zproc::seam::proto::limits::{CREDIT_BYTES_MIN, IN_FLIGHT_MAX, Limits, PART_BYTES_MAX};
use zproc::seam::proto::message::{Filter, FromServer, Reply, Request};
use zproc::seam::proto::time::Time;

const WATCH: WatchId = WatchId(1);

/// The client, and what a caller of it waits for.
struct World {
    client: Client,
    now: Time,
    waiting: Vec<Seq>,
}

/// Steps: a kind, a length, and so many bytes.
pub(crate) fn run(data: &[u8]) {
    let mut steps = data;
    let mut world = World::new();
    while let Some(([kind, length], rest)) = steps.split_first_chunk() {
        let (bytes, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        steps = rest;
        world.step(*kind, *length, bytes);
        world.take_all();
    }
}

impl World {
    fn new() -> World {
        let config = Config {
            process: ProcessId::PROGRAM,
            pid: 77,
            key: Token([1, 2]),
            build: BuildId([3, 4]),
            in_flight_max: IN_FLIGHT_MAX,
            part_bytes_max: PART_BYTES_MAX,
        };
        let mut world = World {
            client: Client::new(config),
            now: Time(1_000_000_000),
            waiting: Vec::new(),
        };
        world.client.connected(world.now);
        world
    }

    fn step(&mut self, kind: u8, length: u8, bytes: &[u8]) {
        match kind % 11 {
            0 | 1 => self.client.receive(bytes),
            2 | 3 => {
                // The prefix is right, so that the message itself is looked at.
                self.client.receive(&(bytes.len() as u32).to_le_bytes());
                self.client.receive(bytes);
            }
            4 => self.hear(&FromServer::Welcome {
                session: SessionId(1),
                token: Token([5, 6]),
                resumed: length & 1 == 1,
                limits: Limits::USUAL.agreed(),
            }),
            5 => self.hear(&FromServer::Reply {
                seq: self.waiting.first().copied().unwrap_or(Seq(1)),
                body: bytes,
            }),
            6 => self.hear(&FromServer::Update {
                watch: WATCH,
                body: bytes,
            }),
            7 => self.hear_watching(),
            8 => self.submit(length),
            9 => self.lose(length),
            _ => {
                self.now = Time(self.now.0 + u64::from(length) * 125_000_000);
                self.client.tick(self.now);
            }
        }
        let mut output = Outbox::default();
        self.client.outbox(&mut output);
        let pending = output.pending();
        let mut rest = pending;
        while let Some((_, length)) = frame::split(rest).expect("the client builds frames") {
            rest = &rest[length..];
        }
        assert!(rest.is_empty(), "only whole frames");
    }

    fn hear(&mut self, message: &FromServer<'_>) {
        let mut bytes = Vec::new();
        frame::append(message, &mut bytes);
        self.client.receive(&bytes);
    }

    fn hear_watching(&mut self) {
        let next = Revision(1);
        let body = zproc::seam::proto::codec::to_bytes(&Reply::Watching { next });
        for seq in self.waiting.clone() {
            self.hear(&FromServer::Reply { seq, body: &body });
        }
    }

    fn submit(&mut self, which: u8) {
        let (namespace, key, at) = ("n", "k", None);
        let request = match which % 4 {
            0 => Request::Get { namespace, key, at },
            1 => Request::Clear { namespace },
            2 => Request::Ping,
            _ => Request::Watch {
                watch: WATCH,
                namespace,
                filter: Filter::All,
                from: None,
                credit: CREDIT_BYTES_MIN,
                feeds: None,
            },
        };
        if let Ok(seq) = self.client.submit(&request) {
            assert!(!self.waiting.contains(&seq), "a number is used once");
            self.waiting.push(seq);
        }
    }

    fn lose(&mut self, random: u8) {
        self.client
            .disconnected(self.now, u64::from(random), "fuzz");
        if self.client.ended().is_none() {
            if random & 1 == 1 {
                self.client
                    .connect_failed(self.now, u64::from(random), "fuzz");
            }
            self.client.connected(self.now);
        }
    }

    fn take_all(&mut self) {
        let client = &mut self.client;
        self.waiting.retain(|seq| {
            let is_there = client.is_settled(*seq);
            let taken = client.take(*seq);
            assert_eq!(taken.is_some(), is_there);
            assert!(client.take(*seq).is_none(), "it is given once");
            taken.is_none()
        });
        // Why there are no more is told again and again.
        while client.has_update(WATCH) {
            let update = client.take_update(WATCH);
            if update.expect("there is something").is_err() {
                break;
            }
        }
    }
}
