//! A peer that breaks every rule of the protocol on connections of its own, and notes how the server
//! takes it.
//!
//! It is a process of the tree, so it has a secret that is good for a session; but it speaks bytes,
//! not the api. What it sends never asks for a change that the server could do.

use crate::limits;
use crate::port::SimPort;
use crate::process::BUILD;
use crate::seen::{self, Attack, Reaction, Refused, Seen};
use crate::thread::{choose, sleep_ns};
use crate::world;
use std::io::ErrorKind;
use std::time::Duration;
use zproc::seam::proto::ids::{BuildId, ProcessId, Revision, Seq, SessionId, Token, WatchId};
use zproc::seam::proto::limits::{DEPTH_MAX, FRAME_BYTES_MAX, KEY_BYTES_MAX, PROTOCOL_VERSION};
use zproc::seam::proto::message::{
    Condition, Filter, FromClient, FromServer, FunctionRef, Hello, Reply, Request, Resume,
};
use zproc::seam::proto::{codec, frame};
use zproc::seam::runtime::{LinkId, Port};
use zproc::{Context, Result};

/// Longer than any fault holds a connection up, and than the server waits for a hello.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where it would write.
const NAMESPACE: &str = "hostile";

/// Starts hostile processes and waits for their ends, a bystander in between.
pub(crate) fn host(ctx: &Context, steps: u64) -> Result<u64> {
    let mut hostile = Vec::new();
    for _ in 0..1 + choose(2) {
        match ctx.spawn(insider, ()) {
            Ok(process) => hostile.push(process),
            Err(error) if error.is_limit() => break,
            Err(error) => return Err(error),
        }
    }
    super::writers::mixer(ctx, super::SCRATCH, steps / 4)?;
    for process in hostile {
        match process.join() {
            Err(error) if super::is_lost(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(steps)
}

/// Never runs: a process that is to run it [attacks](attack) instead.
fn insider(_: &Context, _: ()) {}

/// Is a process with a function of this name to attack?
pub(crate) fn is_insider(function: &str) -> bool {
    function == std::any::type_name_of_val(&insider)
}

/// The main thread of a hostile process.
pub(crate) fn attack(world: u64, process: ProcessId, key: Token) {
    seen::tell(Seen::Hostile);
    let mut peer = Peer {
        port: SimPort::new(world, process),
        process,
        key,
        link: None,
        heard: Vec::new(),
        session: None,
        seq: 0,
    };
    for _ in 0..1 + choose(8) {
        let attack = ATTACKS[choose(ATTACKS.len() as u64) as usize];
        if let Some(reaction) = peer.try_out(attack) {
            seen::tell(Seen::Attacked { attack, reaction });
        }
    }
}

const ATTACKS: [Attack; 14] = [
    Attack::Garbage,
    Attack::Length,
    Attack::Truncated,
    Attack::Version,
    Attack::Build,
    Attack::Credentials,
    Attack::Unintroduced,
    Attack::MutatedHello,
    Attack::WrongToken,
    Attack::SecondHello,
    Attack::MutatedRequest,
    Attack::Body,
    Attack::Trailing,
    Attack::Flood,
];

/// What comes from the server.
enum Heard {
    Welcome(SessionId, Token),
    Reaction(Reaction),
    Other,
}

struct Peer {
    port: SimPort,
    process: ProcessId,
    key: Token,
    link: Option<LinkId>,
    heard: Vec<u8>,
    session: Option<(SessionId, Token)>,
    seq: u64,
}

fn framed(message: &FromClient<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::append(message, &mut bytes);
    bytes
}

/// Random bytes behind a prefix that tells their number rightly.
fn garbage() -> Vec<u8> {
    let length = 1 + choose(40) as u32;
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend((0..length).map(|_| choose(256) as u8));
    bytes
}

/// One byte behind the length prefix is another.
fn mutated(mut bytes: Vec<u8>) -> Vec<u8> {
    let place = 4 + choose(bytes.len() as u64 - 4) as usize;
    bytes[place] ^= 1 + choose(255) as u8;
    bytes
}

/// More bytes in the frame than its message takes.
fn with_more_in_it(mut frame: Vec<u8>) -> Vec<u8> {
    frame.extend((0..=choose(20)).map(|_| choose(256) as u8));
    let length = (frame.len() - frame::PREFIX_BYTES) as u32;
    frame[..frame::PREFIX_BYTES].copy_from_slice(&length.to_le_bytes());
    frame
}

/// Would the server do something for it that lasts? Then it is no garbage.
fn is_harmless(bytes: &[u8]) -> bool {
    match codec::decode::<FromClient<'_>>(&bytes[4..]) {
        Ok(FromClient::Request { body, .. }) => matches!(
            body,
            Request::Ping
                | Request::Get { .. }
                | Request::Len { .. }
                | Request::Page { .. }
                | Request::Updates { .. }
                | Request::Wait { .. }
                | Request::Watch { .. }
                | Request::Unwatch { .. }
        ),
        Ok(message) => !matches!(message, FromClient::Goodbye),
        Err(_) => true,
    }
}

impl Peer {
    fn hello(&self) -> Hello<'static> {
        Hello {
            version: PROTOCOL_VERSION,
            build: BUILD,
            process: self.process,
            key: self.key,
            pid: u32::MAX,
            // Never one that was overtaken, whatever a mutated hello has said.
            attempt: u64::MAX,
            software: "hostile",
            resume: self.session.map(|(session, token)| Resume {
                session,
                token,
                watches: Vec::new(),
            }),
        }
    }

    /// `None`: it did not come to it.
    fn try_out(&mut self, attack: Attack) -> Option<Reaction> {
        match attack {
            Attack::Garbage => {
                let greeted = choose(2) == 1 && self.greet();
                if !greeted {
                    self.connect()?;
                }
                self.provoke(&garbage())
            }
            Attack::Length => {
                let greeted = choose(2) == 1 && self.greet();
                if !greeted {
                    self.connect()?;
                }
                let length = [0, FRAME_BYTES_MAX as u32 + 1, u32::MAX][choose(3) as usize];
                self.provoke(&length.to_le_bytes())
            }
            Attack::Truncated => {
                self.connect()?;
                let whole = framed(&FromClient::Hello(self.hello()));
                let part = 1 + choose(whole.len() as u64 - 1) as usize;
                self.say(&whole[..part])?;
                if choose(8) == 7 {
                    return Some(self.reaction());
                }
                self.hang_up();
                None
            }
            Attack::Version | Attack::Build | Attack::Credentials | Attack::WrongToken => {
                self.connect()?;
                let mut hello = framed(&FromClient::Hello(self.wrong_hello(attack)));
                // Another version may well say more.
                if attack == Attack::Version && choose(2) == 1 {
                    hello = with_more_in_it(hello);
                }
                self.provoke(&hello)
            }
            Attack::Unintroduced => {
                self.connect()?;
                let request = self.request(Request::Ping);
                self.provoke(&request)
            }
            Attack::MutatedHello => {
                self.connect()?;
                let hello = mutated(framed(&FromClient::Hello(self.hello())));
                let reaction = self.provoke(&hello);
                // Whatever session that was, it is given up.
                self.hang_up();
                reaction
            }
            Attack::SecondHello => {
                self.greeted()?;
                let hello = framed(&FromClient::Hello(self.hello()));
                self.provoke(&hello)
            }
            Attack::MutatedRequest => self.mutated_request(),
            Attack::Body => {
                self.greeted()?;
                self.hostile_body()
            }
            Attack::Flood => self.flood(),
            Attack::Trailing => {
                self.greeted()?;
                let request = with_more_in_it(self.request(Request::Ping));
                self.provoke(&request)
            }
        }
    }

    fn wrong_hello(&self, attack: Attack) -> Hello<'static> {
        let mut hello = self.hello();
        match attack {
            Attack::Version => hello.version += 1 + choose(1000) as u32,
            // Where no functions are called, every build is welcome.
            Attack::Build if !world::with(|world| world.host.runs_functions) => {
                hello.key = Token([choose(1 << 32), 7]);
            }
            Attack::Build => hello.build = BuildId([choose(1 << 32), 7]),
            Attack::WrongToken => {
                hello.resume = Some(Resume {
                    session: SessionId(1 + choose(8)),
                    token: Token([choose(1 << 32), 7]),
                    watches: Vec::new(),
                });
            }
            _ => match choose(2) {
                0 => hello.key = Token([choose(1 << 32), 7]),
                _ => hello.process = ProcessId(1_000_000 + choose(8)),
            },
        }
        hello
    }

    fn mutated_request(&mut self) -> Option<Reaction> {
        self.greeted()?;
        let revision = Revision(choose(50));
        let body = match choose(5) {
            0 => Request::Get {
                namespace: NAMESPACE,
                key: "k",
                at: (choose(2) == 0).then_some(revision),
            },
            1 => Request::Page {
                namespace: NAMESPACE,
                span: "".into(),
                after: None,
                values: true,
                at: (choose(2) == 0).then_some(revision),
            },
            2 => Request::Updates {
                namespace: NAMESPACE,
                filter: Filter::All,
                after: revision,
                until: Revision(100),
            },
            3 => Request::Watch {
                watch: WatchId(choose(5)),
                namespace: NAMESPACE,
                filter: Filter::Prefix("k"),
                from: Some(revision),
                credit: u64::MAX >> choose(64),
                feeds: None,
            },
            _ => Request::Wait {
                namespace: NAMESPACE,
                condition: Condition::Equal {
                    key: "k",
                    value: &[1],
                },
            },
        };
        let request = mutated(self.request(body));
        if !is_harmless(&request) {
            return None;
        }
        // Whatever it means now, or whether it is refused: what comes behind it is answered, or
        // the connection is closed with a reason.
        self.say(&request)?;
        let ping = self.request(Request::Ping);
        let reaction = self.provoke(&ping);
        self.leave();
        reaction
    }

    /// A request that is well formed, and whose contents are not.
    fn hostile_body(&mut self) -> Option<Reaction> {
        let deep = [vec![0x91; DEPTH_MAX + choose(500) as usize], vec![0xc0]].concat();
        let values: [&[u8]; 6] = [
            &[],
            &[0xc1],
            &[0xa5, b'a'],
            &[0xc0, 0xc0],
            &[0xdf; 5],
            &deep,
        ];
        let value = values[choose(6) as usize];
        let long_key = "k".repeat(KEY_BYTES_MAX + 1);
        let function = FunctionRef {
            offset: choose(1 << 40) as i64 - (1 << 39),
            name: "no::such::function",
        };
        let (namespace, key) = (NAMESPACE, "k");
        let body = match choose(8) {
            0..3 => Request::Set {
                namespace,
                key,
                value,
                owned: choose(2) == 0,
            },
            3 => Request::Set {
                namespace: "",
                key,
                value: &[1],
                owned: false,
            },
            4 => Request::GetOrInsert {
                namespace,
                key: &long_key,
                value: &[1],
            },
            5 => Request::Atomic {
                namespace,
                function,
                args: value,
            },
            6 => Request::Wait {
                namespace,
                condition: Condition::Function {
                    function,
                    args: value,
                },
            },
            _ => Request::Watch {
                watch: WatchId(1),
                namespace,
                filter: Filter::All,
                from: None,
                credit: choose(1000),
                feeds: None,
            },
        };
        let request = self.request(body);
        self.provoke(&request)
    }

    /// More requests than the window holds, and none acknowledged.
    fn flood(&mut self) -> Option<Reaction> {
        let window = limits::in_flight_max();
        if window > 16 {
            return None;
        }
        self.greeted()?;
        let mut flood = Vec::new();
        let waits = choose(2) == 1;
        for _ in 0..=window {
            self.seq += 1;
            let (namespace, key) = (NAMESPACE, "k");
            let body = if waits {
                let condition = Condition::Equal { key, value: &[1] };
                Request::Wait {
                    namespace,
                    condition,
                }
            } else {
                Request::Remove { namespace, key }
            };
            let (seq, acks) = (Seq(self.seq), Vec::new());
            frame::append(&FromClient::Request { seq, acks, body }, &mut flood);
        }
        self.say(&flood)?;
        let reaction = loop {
            match self.hear() {
                Heard::Reaction(Reaction::Failed | Reaction::Answered) => {}
                Heard::Reaction(reaction) => break reaction,
                Heard::Welcome(..) | Heard::Other => {}
            }
        };
        self.leave();
        Some(reaction)
    }

    /// The next request, in a frame; it acknowledges all before it.
    fn request(&mut self, body: Request<'_>) -> Vec<u8> {
        let acks = (1..=self.seq).map(Seq).collect();
        self.seq += 1;
        let seq = Seq(self.seq);
        framed(&FromClient::Request { seq, acks, body })
    }

    /// A new connection. `None`: there is none to be had.
    fn connect(&mut self) -> Option<()> {
        self.heard.clear();
        for _ in 0..50 {
            self.link = self.port.connect().ok();
            if self.link.is_some() {
                return Some(());
            }
            sleep_ns(1_000_000);
        }
        None
    }

    fn hang_up(&mut self) {
        if let Some(link) = self.link.take() {
            self.port.disconnect(link);
        }
    }

    /// A connection with a session, or `None`.
    fn greeted(&mut self) -> Option<()> {
        self.greet().then_some(())
    }

    fn greet(&mut self) -> bool {
        for _ in 0..30 {
            if self.connect().is_none() {
                return false;
            }
            let hello = framed(&FromClient::Hello(self.hello()));
            if self.say(&hello).is_none() {
                continue;
            }
            match self.hear() {
                Heard::Welcome(session, token) => {
                    if self.session != Some((session, token)) {
                        self.seq = 0;
                    }
                    self.session = Some((session, token));
                    return true;
                }
                Heard::Reaction(Reaction::Refused(refused)) => {
                    if refused == Refused::SessionUnknown {
                        self.session = None;
                    }
                    // Or the server has not heard yet that the session before it is over.
                    sleep_ns(100_000_000);
                }
                _ => {}
            }
        }
        false
    }

    /// Ends the session, so that nothing of it is in the way of the next.
    fn leave(&mut self) {
        if self.session.is_none() || !self.greet() {
            return;
        }
        if self.say(&framed(&FromClient::Goodbye)).is_some() {
            while matches!(
                self.hear(),
                Heard::Other | Heard::Reaction(Reaction::Answered | Reaction::Failed)
            ) {}
        }
        self.session = None;
    }

    /// Sends it, and waits for what comes of it.
    fn provoke(&mut self, bytes: &[u8]) -> Option<Reaction> {
        self.say(bytes)?;
        Some(self.reaction())
    }

    fn reaction(&mut self) -> Reaction {
        loop {
            match self.hear() {
                Heard::Reaction(reaction) => return reaction,
                Heard::Welcome(..) => return Reaction::Answered,
                Heard::Other => {}
            }
        }
    }

    /// Writes it all. `None`: the connection broke, or was closed before that.
    fn say(&mut self, mut bytes: &[u8]) -> Option<()> {
        let link = self.link?;
        while !bytes.is_empty() {
            match self.port.try_write(link, bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // The server may wait for room, too.
                    if self.read(link).ok()? == Some(0) {
                        return None;
                    }
                    self.port.wait(link, true, None);
                }
                Err(_) => return None,
            }
        }
        Some(())
    }

    /// Reads what is there; `None`: nothing is. Zero bytes are the end.
    fn read(&mut self, link: LinkId) -> std::io::Result<Option<usize>> {
        let mut buffer = [0; 4096];
        match self.port.try_read(link, &mut buffer) {
            Ok(count) => {
                self.heard.extend_from_slice(&buffer[..count]);
                Ok(Some(count))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The next message of the server, or what came in its place.
    fn hear(&mut self) -> Heard {
        let Some(link) = self.link else {
            return Heard::Reaction(Reaction::Broken);
        };
        // By the world's clock: its own may jump (seed 5753).
        let now = || world::with(|world| world.now);
        let deadline = now().after(PATIENCE);
        loop {
            if let Ok(Some((payload, length))) = frame::split(&self.heard) {
                let heard = understood(payload);
                self.heard.drain(..length);
                return heard;
            }
            match self.read(link) {
                Ok(Some(0)) => return Heard::Reaction(Reaction::Ended),
                Ok(Some(_)) => {}
                Ok(None) => {
                    if now() >= deadline {
                        return Heard::Reaction(Reaction::Silence);
                    }
                    let deadline = self.port.now().after(PATIENCE);
                    self.port.wait(link, false, Some(deadline));
                }
                Err(_) => return Heard::Reaction(Reaction::Broken),
            }
        }
    }
}

fn understood(payload: &[u8]) -> Heard {
    match codec::decode::<FromServer<'_>>(payload) {
        Ok(FromServer::Welcome { session, token, .. }) => Heard::Welcome(session, token),
        Ok(FromServer::Refused { refusal }) => {
            Heard::Reaction(Reaction::Refused(Refused::of(refusal)))
        }
        Ok(FromServer::Reply { body, .. }) => match codec::decode::<Reply<'_>>(body) {
            Ok(Reply::Failed { .. }) => Heard::Reaction(Reaction::Failed),
            _ => Heard::Reaction(Reaction::Answered),
        },
        _ => Heard::Other,
    }
}
