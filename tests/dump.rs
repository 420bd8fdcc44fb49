//! The picture of a real program that hangs: a watch that gets nothing, joins in a circle, and a
//! server that does not answer.

use rustix::process::{Pid, Signal, kill_process};
use std::path::PathBuf;
use zproc::{Context, Dump, Filter, ProcessId, Result, View};

/// Waits until the record of the program is there: it never is, for the program has none.
fn waits_for_the_program(ctx: &Context, (): ()) -> Result<()> {
    let records = ctx.namespace("");
    records
        .wait_until(|view| view.contains_key("process/1"))
        .map(drop)
}

fn waits_for_an_update(ctx: &Context, (): ()) -> Result<()> {
    let mut watch = ctx.state().watch(Filter::key("never")).start()?;
    watch.next_update().map(drop)
}

fn is_due(view: &View<'_>) -> Result<Option<u64>> {
    view.get("due")
}

fn act(_: &Context, _: u64) -> Result<()> {
    Ok(())
}

/// They were said to wait for nothing, and what acts at matches was called by a name of the crate's own.
#[test]
fn processes_that_wait_for_updates_are_told_by_what_they_watch() -> Result<()> {
    let ctx = Context::new()?;
    let watcher = ctx.spawn(waits_for_an_update, ())?;
    let actor = ctx.spawn_when(is_due, act)?;
    let watches = |dump: &Dump| {
        dump.processes
            .iter()
            .map(|it| it.watches.len())
            .sum::<usize>()
    };
    let text = dump_until(&ctx, |dump| watches(dump) == 2)?.to_string();
    let pid = |process: ProcessId| ctx.processes().map(|all| all.find(process)?.pid);
    let line = |id, name| -> Result<String> {
        let pid = pid(id)?.expect("it runs");
        Ok(format!(
            "process {} (dump::{name}), pid {pid}, runs, or waits for an update of:",
            id.0
        ))
    };
    for told in [
        &*line(watcher.id(), "waits_for_an_update")?,
        "watch 1 of key \"never\" in namespace \"default\" has been sent all there is; none has come",
        &*line(actor.id(), "act")?,
        "watch 1 of keys [\"due\"] in namespace \"default\", for `when` of dump::is_due, has been sent",
    ] {
        assert!(text.contains(told), "{told} is not in\n{text}");
    }
    ctx.state().set("never", &1)?;
    watcher.join()?
}

fn dump_until(ctx: &Context, enough: impl Fn(&Dump) -> bool) -> Result<Dump> {
    loop {
        let dump = ctx.dump()?;
        if enough(&dump) {
            return Ok(dump);
        }
    }
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a pid is not 0");
    kill_process(pid, Signal::KILL).expect("it lives");
}

#[test]
fn a_circle_and_a_watch_without_updates() -> Result<()> {
    let ctx = Context::new()?;
    let child = ctx.spawn(waits_for_the_program, ())?;
    let id = child.id();
    let pid = {
        ctx.namespace("")
            .wait_until(|view| Ok(view.keys("process/")?.len() == 1))?;
        loop {
            if let Some(pid) = child.pid()? {
                break pid;
            }
        }
    };
    let mut watch = ctx.state().watch(Filter::key("never")).start()?;
    let dump = std::thread::scope(|scope| {
        let joiner = scope.spawn(|| child.join());
        let watcher = scope.spawn(|| watch.next_update());
        let dump = dump_until(&ctx, |dump| {
            !dump.circles().is_empty() && !dump.calls.is_empty()
        });
        kill(pid);
        let error = joiner.join().expect("it does not panic").map(drop);
        assert!(error.is_err_and(|error| error.is_killed()));
        ctx.state().set("never", &1)?;
        watcher.join().expect("it does not panic")?;
        dump
    })?;
    assert_eq!(dump.circles(), [[ProcessId::PROGRAM, id]], "{dump}");
    let text = dump.to_string();
    for told in [
        "process 1 (main) waits ",
        "join of process 2 (dump::waits_for_the_program)",
        "process 2 (dump::waits_for_the_program) waits ",
        "it read key \"process/1\"",
        "deadlock, unless another thread of one of them goes on: process 1 (main) waits for the end of process 2",
        "this process's own call: the next update of its watch 1, for ",
    ] {
        assert!(text.contains(told), "{told} is not in\n{text}");
    }
    Ok(())
}

/// Holds everybody up until the file is gone.
fn loops_while_it_is_there(_: &mut zproc::Txn<'_>, file: PathBuf) -> Result<()> {
    while file.exists() {
        std::hint::spin_loop();
    }
    Ok(())
}

#[test]
fn a_server_that_does_not_answer_is_told() -> Result<()> {
    let ctx = Context::new()?;
    let file = tempfile::NamedTempFile::new()?;
    let path = file.path().to_owned();
    let dump = std::thread::scope(|scope| {
        scope.spawn(|| ctx.state().atomic(loops_while_it_is_there, path));
        let dump = dump_until(&ctx, |dump| !dump.calls.is_empty() && !dump.answered);
        drop(file);
        dump
    })?;
    let text = dump.to_string();
    // Which function holds it up, too.
    let told = "the server did not answer: it has been running dump::loops_while_it_is_there for ";
    assert!(text.starts_with(told), "{text}");
    let running = dump.running.expect("it runs");
    assert!(std::time::Duration::from(running.since) > std::time::Duration::from_secs(1));
    let call = "loops_while_it_is_there on namespace \"default\": sent, not answered";
    assert!(text.contains(call), "{text}");
    Ok(())
}
