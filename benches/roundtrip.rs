//! One `set`, `get` and `atomic` beside a bare ping-pong with another process over the same kind of
//! socket.
//!
//! ```text
//! cargo bench --bench roundtrip [-- --json]
//! ```

mod measure;

use measure::{Options, Work, beside};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use zproc::{Context, Result, Txn};

/// What a small request and its reply take.
const MESSAGE_BYTES: usize = 32;
/// Given to this program when it is started as the other end of the ping-pong.
const ECHO: &str = "--echo";

/// The other end: sends back what comes on its standard input, which is a socket.
fn echo() -> std::io::Result<()> {
    let mut stream = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let mut message = [0; MESSAGE_BYTES];
    while stream.read_exact(&mut message).is_ok() {
        stream.write_all(&message)?;
    }
    Ok(())
}

fn start_echo() -> std::io::Result<(UnixStream, Child)> {
    let (ours, theirs) = UnixStream::pair()?;
    let child = Command::new(std::env::current_exe()?)
        .arg(ECHO)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()?;
    Ok((ours, child))
}

fn increment(txn: &mut Txn<'_>, by: u64) -> Result<u64> {
    let count = txn.get::<u64>("count")?.unwrap_or(0) + by;
    txn.set("count", &count)?;
    Ok(count)
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    if std::env::args().nth(1).as_deref() == Some(ECHO) {
        return Ok(echo()?);
    }
    let options = Options::from_arguments();
    let ctx = Context::new()?;
    let state = ctx.state();
    state.set("key", &1_u64)?;
    let (mut stream, mut other_end) = start_echo()?;
    let mut message = [7; MESSAGE_BYTES];
    let ping_pong = Work::new("ping-pong", || {
        stream.write_all(&message).expect("the other end reads");
        stream
            .read_exact(&mut message)
            .expect("the other end answers");
    });
    let calls = vec![
        Work::new("set", || {
            state.set("key", &2_u64).expect("set");
        }),
        Work::new("get", || {
            assert_eq!(state.get::<u64>("key").expect("get"), Some(2));
        }),
        Work::new("atomic", || {
            state.atomic(increment, 1).expect("atomic");
        }),
    ];
    beside(&options, ping_pong, calls, 100, 200);
    drop(stream);
    other_end.wait()?;
    Ok(())
}
