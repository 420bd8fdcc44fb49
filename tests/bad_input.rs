//! Garbage, half frames, strangers, floods and clients that stop reading, on the real socket. Each
//! costs its own connection only: a bystander's checked workload goes on unchanged.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use zproc::seam::proto::ids::{BuildId, ProcessId, Seq, Token};
use zproc::seam::proto::limits::{FRAME_BYTES_MAX, PROTOCOL_VERSION};
use zproc::seam::proto::message::{FromClient, FromServer, Hello, Refusal, Request};
use zproc::seam::proto::{codec, frame};
use zproc::{Context, Filter, Result, Txn, Watch};

/// Far more than anything here takes.
const DEADLINE: Duration = Duration::from_secs(30);

fn add_one(txn: &mut Txn<'_>, _: ()) -> Result<u64> {
    let count = txn.get::<u64>("rounds")?.unwrap_or(0) + 1;
    txn.set("rounds", &count)?;
    Ok(count)
}

/// A process that checks all that it reads, until it is told that it's enough.
fn bystander(ctx: &Context, _: ()) -> Result<u64> {
    let state = ctx.namespace("bystander").within(DEADLINE);
    let mut watch = state.watch(Filter::key("rounds")).start()?;
    let mut rounds = 0;
    while !state.contains_key("enough")? {
        rounds += 1;
        state.set("mine", &(rounds, "a text"))?;
        assert_eq!(state.get("mine")?, Some((rounds, "a text".to_owned())));
        assert_eq!(state.atomic(add_one, ())?, rounds);
        let update = watch.next_update()?;
        assert_eq!(update.changes[0].after::<u64>()?, Some(rounds));
    }
    Ok(rounds)
}

/// Makes sure that the bystander has gone on for a while since this was called.
fn goes_on(ctx: &Context) {
    let state = ctx.namespace("bystander").within(DEADLINE);
    let now: u64 = state.get("rounds").expect("get").unwrap_or(0);
    state.set("wanted", &(now + 20)).expect("set");
    state
        .wait_until(|view| Ok(view.get::<u64>("rounds")? >= view.get("wanted")?))
        .expect("the bystander's work goes on");
}

/// A tree with a bystander in it, and `attack` on its socket.
fn beside_a_bystander(attack: impl FnOnce(&Context)) {
    let ctx = Context::new().expect("a tree");
    let process = ctx.spawn(bystander, ()).expect("spawn");
    goes_on(&ctx);
    attack(&ctx);
    goes_on(&ctx);
    ctx.namespace("bystander")
        .set("enough", &true)
        .expect("set");
    let rounds = process
        .join()
        .expect("it ends well")
        .expect("all it read was right");
    assert!(rounds >= 40);
}

fn socket_path(ctx: &Context) -> std::path::PathBuf {
    zproc::seam::socket_path(ctx).expect("this program has started the tree")
}

fn connect(ctx: &Context) -> UnixStream {
    let stream = UnixStream::connect(socket_path(ctx)).expect("the server listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("set");
    stream.set_write_timeout(Some(DEADLINE)).expect("set");
    stream
}

fn hello(version: u32) -> FromClient<'static> {
    FromClient::Hello(Hello {
        version,
        build: BuildId([1, 2]),
        process: ProcessId::PROGRAM,
        key: Token([3, 4]),
        pid: 77,
        attempt: 0,
        software: "a stranger 0.0.1",
        resume: None,
    })
}

fn framed(message: &FromClient<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::append(message, &mut bytes);
    bytes
}

/// Sends `bytes`; the server must close the connection, in time. Gives what it said before that.
fn refused(ctx: &Context, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(ctx);
    // It may have been enough for the server before all was sent.
    match stream.write_all(bytes) {
        Err(error) if !is_closed(&error) => panic!("{error}"),
        _ => {}
    }
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Err(error) if !is_closed(&error) => panic!("the server does not close: {error}"),
        _ => said,
    }
}

fn is_closed(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
    )
}

/// The one message that the server has said: why the connection is of no use.
#[track_caller]
fn refusal(said: &[u8]) -> Refusal<'_> {
    let (payload, length) = frame::split(said).expect("a frame").expect("a whole frame");
    assert_eq!(length, said.len(), "one frame and no more");
    match codec::decode(payload).expect("a message") {
        FromServer::Refused { refusal } => refusal,
        other => panic!("not a refusal: {other:?}"),
    }
}

/// Numbers that look random and are the same in each run.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut word = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = std::iter::repeat_with(|| {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word as u8
    });
    next.take(length).collect()
}

#[test]
fn garbage() {
    beside_a_bystander(|ctx| {
        for seed in 1..50 {
            let mut bytes = noise(seed, 64);
            // A length that is allowed, so that the garbage itself is looked at.
            bytes[..4].copy_from_slice(&60_u32.to_le_bytes());
            assert!(matches!(
                refusal(&refused(ctx, &bytes)),
                Refusal::Protocol { .. }
            ));
        }
        for length in [0, FRAME_BYTES_MAX as u32 + 1, u32::MAX] {
            let said = refused(ctx, &length.to_le_bytes());
            assert!(
                matches!(refusal(&said), Refusal::Protocol { .. }),
                "a frame of {length}"
            );
        }
    });
}

#[test]
fn half_frames() {
    beside_a_bystander(|ctx| {
        let whole = framed(&hello(PROTOCOL_VERSION));
        for length in 0..whole.len() {
            let mut stream = connect(ctx);
            stream.write_all(&whole[..length]).expect("write");
            stream
                .shutdown(std::net::Shutdown::Write)
                .expect("shutdown");
            let mut said = Vec::new();
            let read = stream.read_to_end(&mut said);
            assert!(read.is_ok() || read.is_err_and(|error| is_closed(&error)));
        }
        // Some that stay half, and silent.
        let half: Vec<UnixStream> = (0..100)
            .map(|_| {
                let mut stream = connect(ctx);
                stream.write_all(&whole[..whole.len() / 2]).expect("write");
                stream
            })
            .collect();
        goes_on(ctx);
        drop(half);
    });
}

#[test]
fn strangers() {
    beside_a_bystander(|ctx| {
        let said = refused(ctx, &framed(&hello(PROTOCOL_VERSION + 1)));
        let Refusal::Version { server, software } = refusal(&said) else {
            panic!("another version is refused by name");
        };
        assert_eq!(server, PROTOCOL_VERSION);
        assert!(
            software.starts_with("zproc "),
            "it says who it is: {software}"
        );

        let said = refused(ctx, &framed(&hello(PROTOCOL_VERSION)));
        assert_eq!(refusal(&said), Refusal::Credentials);

        let request = FromClient::Request {
            seq: Seq(1),
            acks: Vec::new(),
            body: Request::Clear {
                namespace: "bystander",
            },
        };
        let said = refused(ctx, &framed(&request));
        assert!(
            matches!(refusal(&said), Refusal::Protocol { .. }),
            "a request before hello"
        );
    });
}

#[test]
fn many_who_say_nothing() {
    beside_a_bystander(|ctx| {
        let silent: Vec<UnixStream> = (0..300).map(|_| connect(ctx)).collect();
        goes_on(ctx);
        drop(silent);
    });
}

#[test]
fn a_flood_of_bytes() {
    beside_a_bystander(|ctx| {
        std::thread::scope(|scope| {
            for seed in 1..4 {
                scope.spawn(move || {
                    // A frame as large as may be that never gets whole; then one that lies.
                    for length in [FRAME_BYTES_MAX as u32, 1000] {
                        let mut bytes = length.to_le_bytes().to_vec();
                        bytes.extend(noise(seed, 4 * 1024 * 1024));
                        let mut stream = connect(ctx);
                        drop(stream.write_all(&bytes));
                    }
                });
            }
            goes_on(ctx);
        });
    });
}

/// A process that asks for as much as it can, on many threads at once.
fn flooder(ctx: &Context, _: ()) -> Result<()> {
    let state = ctx.namespace("flood");
    let text = "x".repeat(64 * 1024);
    std::thread::scope(|scope| {
        let write = |thread: u64| {
            for round in 0.. {
                state.set(&format!("{thread}"), &(round, &text))?;
                if state.contains_key("enough")? {
                    break;
                }
            }
            Ok(())
        };
        let threads: Vec<_> = (0..16)
            .map(|thread| scope.spawn(move || write(thread)))
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no panic"))
    })
}

#[test]
fn a_client_that_floods() {
    beside_a_bystander(|ctx| {
        let process = ctx.spawn(flooder, ()).expect("spawn");
        let flood = ctx.namespace("flood").within(DEADLINE);
        flood
            .wait_until(|view| Ok(view.len()? >= 16))
            .expect("all threads write");
        goes_on(ctx);
        flood.set("enough", &true).expect("set");
        process
            .join()
            .expect("it ends well")
            .expect("all calls were answered");
    });
}

/// A process that watches, is stopped by a signal for a while, and must have missed nothing.
fn sleeper(ctx: &Context, count: u64) -> Result<()> {
    let state = ctx.namespace("noise");
    let mut watch: Watch = state.watch(Filter::key("number")).start()?;
    ctx.namespace("sleeper").set("pid", &std::process::id())?;
    for expected in 1..=count {
        let update = watch.next_update()?;
        let (number, _): (u64, String) = update.changes[0].after()?.expect("it was set");
        assert_eq!(number, expected);
    }
    Ok(())
}

#[test]
fn a_client_that_stops_reading() {
    const COUNT: u64 = 200;
    beside_a_bystander(|ctx| {
        let process = ctx.spawn(sleeper, COUNT).expect("spawn");
        let sleeper = ctx.namespace("sleeper").within(DEADLINE);
        let started = sleeper.wait_until(|view| view.get::<u32>("pid"));
        let (pid, _) = started.expect("it watches");
        let pid = Pid::from_raw(pid as i32).expect("a pid");
        kill_process(pid, Signal::STOP).expect("stop");
        // 26 MB, before and after: more than its sockets hold, less than the update log does.
        let text = "x".repeat(64 * 1024);
        for number in 1..=COUNT {
            ctx.namespace("noise")
                .set("number", &(number, &text))
                .expect("set");
        }
        goes_on(ctx);
        assert!(process.is_alive().expect("its record"));
        kill_process(pid, Signal::CONT).expect("continue");
        process
            .join()
            .expect("it ends well")
            .expect("it has seen every update");
    });
}
