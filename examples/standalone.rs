//! A server that stands alone, and programs that come and go: each is a process that was started for
//! itself, as from a shell.
//!
//! ```text
//! cargo run --example standalone serve visitors.socket &
//! cargo run --example standalone visit visitors.socket Ada
//! cargo run --example standalone visit visitors.socket Grace
//! ```
//!
//! Without arguments it does all of that by itself, and ends one of the visitors with SIGKILL: who waits
//! for it is told, and the others go on.

use std::process::{Child, Command, Stdio};
use zproc::{Context, Filter, Result, Server};

fn serve(path: &str) -> Result<()> {
    let server = Server::bind(path)?;
    println!("serves at {}", server.path().display());
    server.run()
}

/// Runs in a process of its visitor's program.
fn greet(ctx: &Context, name: String) -> Result<u64> {
    let state = ctx.state();
    // It goes with this process, and so does the process with its program, however that ends.
    state.set_owned(&format!("here/{name}"), &std::process::id())?;
    let number = state.add("visitors", 1)?;
    if name == "Sleepy" {
        state.wait_equal("the end of time", &true)?;
    }
    Ok(number.cast_unsigned())
}

fn visit(path: &str, name: &str) -> Result<()> {
    let ctx = Context::connect(path)?;
    let greeter = ctx.spawn(greet, name.to_owned())?;
    let number = greeter.join()??;
    println!("{name} is visitor number {number}");
    Ok(())
}

/// This program once more, with other arguments.
fn program(arguments: &[&str]) -> Result<Child> {
    let executable = std::env::current_exe()?;
    Ok(Command::new(executable)
        .args(arguments)
        .stdin(Stdio::null())
        .spawn()?)
}

fn all_of_it() -> Result<()> {
    let place = std::env::temp_dir().join(format!("zproc-example-{}", std::process::id()));
    let path = place.to_str().ok_or("a path that is no text")?;
    let mut server = program(&["serve", path])?;
    let ctx = loop {
        match Context::connect(path) {
            // It has only just been started.
            Err(error) if error.is_no_server() => std::thread::yield_now(),
            result => break result?,
        }
    };
    println!(
        "the server is process {}",
        ctx.ping(std::time::Duration::from_secs(10))?
    );
    for name in ["Ada", "Grace"] {
        program(&["visit", path, name])?.wait()?;
    }
    let mut here = ctx.state().watch(Filter::keys(["here/Sleepy"])).start()?;
    let mut sleepy = program(&["visit", path, "Sleepy"])?;
    here.next_update()?;
    println!("Sleepy is here, and is killed");
    sleepy.kill()?;
    sleepy.wait()?;
    let gone = here.next_update()?;
    println!("Sleepy is {}", gone.origin.released.unwrap_or_default());
    assert_eq!(ctx.state().get("visitors")?, Some(3));
    server.kill()?;
    server.wait()?;
    let error = ctx.state().len().unwrap_err();
    println!("and without its server a program is told: {error}");
    assert!(error.is_server_lost());
    // What a server that is killed leaves the next one at this path would have replaced.
    std::fs::remove_file(path)?;
    std::fs::remove_file(format!("{path}.lock"))?;
    Ok(())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["serve", path] => serve(path),
        ["visit", path, name] => visit(path, name),
        _ => all_of_it(),
    }
}
