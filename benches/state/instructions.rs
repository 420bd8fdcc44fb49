//! Instructions of one operation in the core: of the server's machine, and of its caller's, with neither
//! sockets nor processes between them. They are counted by valgrind, under which this bench runs itself again,
//! so they are the same however busy the machine is. (A counter of the processor's, as `perf` reads it, is not
//! there on most virtual machines.)

use crate::measure::Options;
use crate::tree::key;
use crate::{Failure, amount, tell};
use std::process::Command;
use zproc::seam::build_id;
use zproc::seam::proto::client::{self, Client};
use zproc::seam::proto::codec;
use zproc::seam::proto::frame::Outbox;
use zproc::seam::proto::ids::{ConnectionId, ProcessId, Seq, Token, WatchId};
use zproc::seam::proto::limits::{CREDIT_BYTES_MIN, IN_FLIGHT_MAX, PART_BYTES_MAX};
use zproc::seam::proto::message::{Filter, FunctionRef, Reply, Request};
use zproc::seam::proto::server::{self, FunctionFailure, Functions, NoFunctions, Server};
use zproc::seam::proto::store::{Transaction, View};
use zproc::seam::proto::time::Time;

/// Before the name of an operation and a number of calls: do them, and nothing else.
pub(crate) const CALLS_OF: &str = "--calls-of";

const OPERATIONS: [&str; 4] = ["get", "set", "set that one watches", "atomic"];
/// What of it is counted, and the functions below in which it is done.
const SIDES: [(&str, &str); 2] = [
    ("the server", "in_the_server"),
    ("its caller", "in_the_caller"),
];
const ENTRIES: usize = 1000;
const VALUE: &[u8] = b"\xbfthirty-two bytes, more or less.";
const NOW: Time = Time(1);
const WATCH: WatchId = WatchId(1);

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let calls = amount(options, 2000);
    for operation in OPERATIONS {
        for (side, functions) in SIDES {
            let Some(count) = counted(operation, functions, calls)? else {
                println!("(valgrind is not installed: no instructions are counted)");
                return Ok(());
            };
            let each = count as f64 / calls as f64;
            let name = format!("{operation}, the core of {side}");
            tell(options, &name, each, "instructions", None);
        }
    }
    Ok(())
}

/// Instructions of so many calls in the functions of this name; `None`: nobody counts.
fn counted(operation: &str, functions: &str, calls: usize) -> Result<Option<u64>, Failure> {
    let told = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--collect-atstart=no")
        .arg(format!("--toggle-collect=*::{functions}*"))
        .arg(std::env::current_exe()?)
        .args([CALLS_OF, operation, &calls.to_string()])
        .output();
    let Ok(told) = told else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&told.stderr);
    let count = text
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    let count = count.and_then(|(_, count)| count.trim().parse().ok());
    match count.filter(|count| told.status.success() && *count > 0) {
        Some(count) => Ok(Some(count)),
        None => Err(format!("valgrind has not counted: {text}").into()),
    }
}

/// The calls, as [`CALLS_OF`] asks for them.
pub(crate) fn calls_of(operation: &str, calls: usize) -> Result<(), Failure> {
    let keys: Vec<String> = (0..ENTRIES).map(key).collect();
    let mut core = Core::new()?;
    for key in &keys {
        core.call(&set(key));
    }
    let is_watched = operation == "set that one watches";
    if is_watched {
        core.call(&Request::Watch {
            watch: WATCH,
            namespace: "n",
            filter: Filter::All,
            from: None,
            credit: CREDIT_BYTES_MIN,
            feeds: None,
        });
    }
    for key in keys.iter().cycle().take(calls) {
        match operation {
            "get" => core.counted(&get(key)),
            "atomic" => core.counted(&one_write(key)),
            _ => core.counted(&set(key)),
        }
        if is_watched && !in_the_caller_is_an_update(&mut core.client) {
            return Err("no update has come".into());
        }
    }
    Ok(())
}

fn get(key: &str) -> Request<'_> {
    Request::Get {
        namespace: "n",
        key,
        at: None,
    }
}

fn set(key: &str) -> Request<'_> {
    Request::Set {
        namespace: "n",
        key,
        value: VALUE,
        owned: false,
    }
}

fn one_write(key: &str) -> Request<'_> {
    Request::Atomic {
        namespace: "n",
        function: FunctionRef {
            offset: 1,
            name: "one write",
        },
        args: key.as_bytes(),
    }
}

/// In the place of the program's functions: reads an entry and writes it.
struct OneWrite;

impl Functions for OneWrite {
    fn atomic(
        &mut self,
        namespace: &str,
        _: &FunctionRef<'_>,
        args: &[u8],
        transaction: &mut Transaction<'_>,
    ) -> Result<Vec<u8>, FunctionFailure> {
        let key = std::str::from_utf8(args).map_err(|_| FunctionFailure::Unknown)?;
        let value = transaction.get(namespace, key).map(<[u8]>::to_vec);
        let value = value.ok_or(FunctionFailure::Unknown)?;
        let written = transaction.set(namespace, key, &value);
        written.map_err(|_| FunctionFailure::Unknown)?;
        Ok(vec![0xc3])
    }

    fn condition(
        &mut self,
        namespace: &str,
        function: &FunctionRef<'_>,
        args: &[u8],
        view: &View<'_>,
    ) -> Result<Option<Vec<u8>>, FunctionFailure> {
        NoFunctions.condition(namespace, function, args, view)
    }
}

/// Both machines, and what is on its way between them.
struct Core {
    server: Server,
    connection: ConnectionId,
    client: Client,
    requests: Outbox,
    replies: Vec<u8>,
}

impl Core {
    fn new() -> Result<Core, Failure> {
        let (build, key) = (build_id(), Token([1, 2]));
        let config = server::Config::new(build, key, [3, 4]);
        let mut server = Server::new(config, Box::new(OneWrite), NOW);
        let config = client::Config {
            process: ProcessId::PROGRAM,
            key,
            pid: std::process::id(),
            build,
            in_flight_max: IN_FLIGHT_MAX,
            part_bytes_max: PART_BYTES_MAX,
        };
        let mut client = Client::new(config);
        let connection = server.connected(NOW);
        client.connected(NOW);
        let mut core = Core {
            server,
            connection,
            client,
            requests: Outbox::default(),
            replies: Vec::new(),
        };
        core.client.outbox(&mut core.requests);
        core.serve();
        core.client.receive(&core.replies);
        match core.client.is_up() {
            true => Ok(core),
            false => Err("the client is not taken in".into()),
        }
    }

    fn ask(&mut self, request: &Request<'_>) -> Seq {
        let seq = self.client.submit(request).expect("there is room");
        self.client.outbox(&mut self.requests);
        seq
    }

    fn serve(&mut self) {
        let input = self.requests.pending();
        let received = self.server.receive(self.connection, input, NOW);
        self.requests.advance(received.consumed);
        self.server.tick(NOW);
        self.replies.clear();
        while let Some(ready) = self.server.poll_ready() {
            let output = self.server.outbox(ready);
            self.replies.extend_from_slice(output);
            let count = output.len();
            self.server.sent(ready, count, NOW);
        }
    }

    fn hear(&mut self, seq: Seq) -> Vec<u8> {
        self.client.receive(&self.replies);
        let reply = self.client.take(seq).expect("it has come");
        reply.expect("no end")
    }

    fn call(&mut self, request: &Request<'_>) {
        let seq = self.ask(request);
        self.serve();
        done(&self.hear(seq));
    }

    /// The same, in functions whose names are counted by.
    fn counted(&mut self, request: &Request<'_>) {
        let seq = in_the_caller_is_asked(self, request);
        in_the_server(self);
        done(&in_the_caller_is_heard(self, seq));
    }
}

/// What was asked for was done.
fn done(reply: &[u8]) {
    let reply = codec::decode::<Reply<'_>>(reply).expect("the server's own reply");
    let failed = matches!(
        reply,
        Reply::Failed { .. } | Reply::Value { value: None, .. }
    );
    assert!(!failed, "{reply:?}");
}

#[inline(never)]
fn in_the_caller_is_asked(core: &mut Core, request: &Request<'_>) -> Seq {
    core.ask(request)
}

#[inline(never)]
fn in_the_server(core: &mut Core) {
    core.serve();
}

#[inline(never)]
fn in_the_caller_is_heard(core: &mut Core, seq: Seq) -> Vec<u8> {
    core.hear(seq)
}

#[inline(never)]
fn in_the_caller_is_an_update(client: &mut Client) -> bool {
    matches!(client.take_update(WATCH), Some(Ok(_)))
}
