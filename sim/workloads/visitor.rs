//! A role that calls what the others do not: every public call of the api is in some workload, which
//! `sim/tests/coverage.rs` holds. Names that several types have are written with the type, so that
//! the test can tell whose is called.

use super::{MIX, OWNED, is_death, is_lost, tolerate};
use crate::checkers::NO_SURPRISE;
use crate::history::Note;
use crate::thread::{self, choose, note};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use zproc::seam::proto::marks::{self, Mark};
use zproc::{
    Change, Context, Dump, End, Error, Filter, Input, Outcome, Output, Process, ProcessBuilder,
    ProcessState, Processes, Resource, Result, Snapshot, Span, State, Txn, Update, View, Watch,
    WatchBuilder,
};

pub(crate) fn visitor(ctx: &Context, steps: u64) -> Result<u64> {
    let state = Context::namespace(ctx, format!("visit/{}", ctx.process_id().0));
    for _ in 0..steps.min(6) {
        match choose(32) {
            0..5 => plain(ctx, &state)?,
            5..10 => inside(&state)?,
            10..15 => conditions(&state)?,
            15..19 => watches(&state)?,
            19..22 => processes(ctx)?,
            22..27 => picture(ctx)?,
            27..29 => mute(ctx, &state)?,
            29 => crowd(&state),
            30 => refused_for_size(&state)?,
            _ => large(&state)?,
        }
    }
    Ok(steps)
}

/// What must hold whatever happens, since nobody else writes here.
fn expect(holds: bool, what: &str) {
    if !holds {
        note(Note::Broken {
            guarantee: NO_SURPRISE,
            explanation: format!("a visitor found otherwise: {what}"),
        });
    }
}

fn plain(ctx: &Context, state: &State) -> Result<()> {
    expect(
        ctx.state().namespace_name() == "default",
        "the usual namespace",
    );
    State::clear(state)?;
    expect(State::is_empty(state)?, "an empty namespace");
    State::set(state, "a", &1)?;
    State::set_owned(state, "b", &2)?;
    // Nobody's from now on: what is owned goes with a session that was away for too long.
    State::set(state, "b", &2)?;
    expect(
        State::get_or_insert(state, "a", &7)? == 1,
        "the value that is there",
    );
    expect(State::keys(state, ..)? == ["a", "b"], "two keys");
    expect(State::len(state)? == 2, "two entries");
    let wrong = State::get::<bool>(state, "a");
    expect(
        wrong.is_err_and(|error| error.is_wrong_type() || is_lost(&error)),
        "a number is no flag",
    );
    let snapshot: Snapshot = State::snapshot(state)?;
    expect(Snapshot::keys(&snapshot).eq(["a", "b"]), "the same keys");
    expect(
        Snapshot::revision(&snapshot).0 > 0,
        "a snapshot of some time",
    );
    expect(Snapshot::len(&snapshot) == 2, "two entries in a snapshot");
    expect(!Snapshot::is_empty(&snapshot), "a snapshot of something");
    expect(
        Snapshot::contains_key(&snapshot, "b"),
        "a key of a snapshot",
    );
    expect(
        Snapshot::get::<i64>(&snapshot, "a")? == Some(1),
        "its value",
    );
    expect(State::remove(state, "a")?, "a key that is removed");
    expect(!State::contains_key(state, "a")?, "and then gone");
    Ok(())
}

/// Every call of a transaction. What it gives is what it found wrong.
fn all_of_txn(txn: &mut Txn<'_>, name: String) -> Result<Option<String>> {
    let wrong = |what: &str| Ok(Some(what.to_owned()));
    if Txn::namespace_name(txn) != name || Txn::revision(txn).0 == 0 {
        return wrong("name or revision");
    }
    Txn::clear(txn)?;
    if !Txn::is_empty(txn)? {
        return wrong("it was cleared");
    }
    Txn::set(txn, "t", &1)?;
    Txn::set(txn, "u", &2)?;
    Txn::set(&mut Txn::namespace(txn, &format!("{name}/other")), "v", &3)?;
    if Txn::len(txn)? != 2 || !Txn::contains_key(txn, "u")? || Txn::keys(txn, "t")? != ["t"] {
        return wrong("two keys");
    }
    let last = Txn::iter::<i64>(txn, "u"..).next().transpose()?;
    if last != Some(("u".to_owned(), 2)) {
        return wrong("the last of two keys");
    }
    if !Txn::remove(txn, "u")? || Txn::get::<i64>(txn, "t")? != Some(1) {
        return wrong("one key");
    }
    Ok(None)
}

/// Goes on over a refused write, and leaves nothing of the one before it.
fn over_a_refused_write(txn: &mut Txn<'_>, (): ()) -> Result<()> {
    txn.set("refused", &1)?;
    let _sticks = txn.namespace("").set("refused", &1);
    Ok(())
}

fn inside(state: &State) -> Result<()> {
    let name = State::namespace_name(state).to_owned();
    let found = state.atomic(all_of_txn, name)?;
    expect(found.is_none(), "what a transaction sees");
    let refused = state.atomic(over_a_refused_write, ());
    expect(
        refused.is_err_and(|error| error.is_read_only() || is_lost(&error)),
        "a refused write sticks",
    );
    expect(!state.contains_key("refused")?, "it is rolled back");
    Ok(())
}

/// Every call of a view.
fn all_of_view(view: &View<'_>) -> Result<bool> {
    let other = View::namespace(view, "visit/nowhere");
    Ok(View::namespace_name(view) != "visit/nowhere"
        && View::revision(view).0 > 0
        && View::is_empty(&other)?
        && View::len(view)? > 0
        && View::contains_key(view, "seen")?
        && View::get::<i64>(view, "seen")? == Some(1)
        && View::keys(view, "se")?.contains(&"seen".to_owned())
        && View::iter::<i64>(view, Span::range("seen"..="seen")).count() == 1)
}

/// Reads one key first and, when that is there, another.
fn second_behind_first(view: &View<'_>) -> Result<bool> {
    Ok(view.contains_key("first")? && view.contains_key("second")?)
}

fn fed_up(view: &View<'_>) -> Result<bool> {
    match view.get::<i64>("seen")? {
        Some(1) => Err(Error::msg("it has been seen")),
        _ => Ok(false),
    }
}

fn conditions(state: &State) -> Result<()> {
    for key in ["first", "second"] {
        state.remove(key)?;
    }
    state.set("seen", &1)?;
    state.wait_until(all_of_view)?;
    let failed = state.wait_until(fed_up);
    expect(
        failed.is_err_and(|error| error.is_remote() || is_lost(&error)),
        "a condition that fails",
    );
    let waiting = {
        let state = state.clone();
        thread::spawn(move || state.wait_until(second_behind_first).map(drop))
    };
    for key in ["first", "second"] {
        thread::sleep_ns(choose(200_000));
        state.set(key, &1)?;
    }
    match waiting.join() {
        Ok(result) => result,
        Err(_) => Ok(()),
    }
}

fn watches(state: &State) -> Result<()> {
    let first = state.set("watched", &1)?;
    let started = state.watch(Filter::key("watched")).since(first).start();
    let mut watch: Watch = match started {
        // The log is that short.
        Err(error) if error.is_compacted() => return Ok(()),
        watch => watch?,
    };
    state.set("watched", &1)?;
    state.remove("watched")?;
    for update in watch.by_ref().take(3) {
        let update: Update = match update {
            Err(error) if error.is_compacted() => break,
            update => update?,
        };
        for change in &update.changes {
            let (before, after) = (
                Change::before::<i64>(change)?,
                Change::after::<i64>(change)?,
            );
            expect(Change::key(change) == "watched", "the key that is watched");
            expect(
                change.before_raw().is_some() == before.is_some()
                    && change.after_raw().is_some() == after.is_some(),
                "bytes and values",
            );
            expect(
                change.is_identical() == (before == after),
                "the same written again",
            );
        }
    }
    expect(watch.next_revision() >= first, "where a watch is");
    choosy(state)
}

/// Watches that leave something out, and such as begin again.
fn choosy(state: &State) -> Result<()> {
    let (snapshot, mut watch) = state
        .watch(Filter::all_but(["else"]))
        .start_with_snapshot()?;
    state.set("again", &1)?;
    let next = watch.next_revision();
    let soon = Duration::from_micros(200 + choose(2_000));
    let builder = state.watch(Filter::keys(["again"]));
    let mut others = builder.clone().skip_own().timeout(soon).start()?;
    let mut newest = builder.clone().latest().skip_own().timeout(soon).start()?;
    let mut changed = builder.skip_identical().timeout(soon).start()?;
    state.set("again", &1)?;
    let none = [others.next_update(), changed.next_update()];
    // Where the log has dropped what lies between, all may have been replaced.
    let newest = newest.next_update();
    let is_newest = newest.as_ref().map_or_else(
        |error| error.is_timeout() || is_lost(error),
        |update| update.reset,
    );
    expect(is_newest, "the newest of what others did");
    let is_none = |update: &Result<Update>| {
        let error = update.as_ref().err();
        error.is_some_and(|error| error.is_timeout() || error.is_compacted() || is_lost(error))
    };
    expect(none.iter().all(is_none), "nothing but what was left out");
    expect(next > snapshot.revision(), "a watch behind its snapshot");
    watch.go_live()?;
    expect(watch.next_revision() > next, "a watch that lives now");
    let snapshot = watch.restart()?;
    expect(
        watch.next_revision() == snapshot.revision().next(),
        "a watch behind its second snapshot",
    );
    Ok(())
}

fn double(_: &Context, number: u64) -> u64 {
    2 * number
}

fn processes(ctx: &Context) -> Result<()> {
    let process: Process<u64> = Context::spawn(ctx, double, 21)?;
    let _may_be_over = process.is_alive()?;
    let _may_be_none = process.pid()?;
    let soon = process.join_timeout(Duration::from_micros(choose(3_000)));
    match soon {
        Err(error) if error.is_timeout() || is_death(&error) => {}
        result => expect(result? == 42, "twice 21"),
    }
    let outcome: Outcome = process.outcome()?;
    let id = process.id();
    let killed = process.kill()?;
    expect(killed.end == outcome.end, "the end of one that has ended");
    let joined = process.join();
    // In between it may be forgotten, where few ends are remembered, or all be lost.
    let forgotten = matches!(&joined, Err(error) if error.is_unknown_process() || is_lost(error));
    let same = outcome.is_value() == joined.is_ok();
    expect(same || forgotten, "outcome and result");
    expect(id.0 > 1, "a number of its own");
    with_options(ctx)?;
    table(ctx)
}

/// The records as a table.
fn table(ctx: &Context) -> Result<()> {
    let processes = ctx.processes()?;
    let own = Processes::find(&processes, ctx.process_id());
    expect(
        own.is_some_and(|own| own.state == ProcessState::Running),
        "this process runs",
    );
    let ids: Vec<_> = Processes::iter(&processes)
        .map(|process| process.id)
        .collect();
    expect(ids.is_sorted(), "processes in order");
    expect(
        Processes::revision(&processes) > zproc::Revision::ZERO,
        "records have a revision",
    );
    expect(
        processes.to_string().lines().count() == ids.len() + 1,
        "a line for each process",
    );
    Ok(())
}

/// What its state is.
fn at_home(ctx: &Context, _: ()) -> String {
    ctx.state().namespace_name().to_owned()
}

/// A process that is told how to start; of most of it a simulated one sees nothing.
fn with_options(ctx: &Context) -> Result<()> {
    let builder: ProcessBuilder<(), String> = Context::process(ctx, at_home);
    let builder = ProcessBuilder::name(builder, "at home");
    let builder = ProcessBuilder::namespace(builder, MIX)
        .env_clear()
        .env("A", "1")
        .env_remove("B")
        .current_dir("/")
        .stdin(Input::Null)
        .stdout(Output::Null)
        .stderr(Output::Inherit)
        .niceness(1)
        .resource_limit(Resource::OpenFiles, 100, Resource::UNLIMITED);
    match ProcessBuilder::spawn(&builder, ())?.join() {
        Err(error) if is_death(&error) || is_lost(&error) || error.is_unknown_process() => {}
        home => expect(home? == MIX, "a state of its own"),
    }
    let refused = builder.env("A=", "").spawn(());
    expect(
        refused.is_err_and(|error| error.is_bad_setup()),
        "a variable that can't be",
    );
    Ok(())
}

/// A value that does not serialise.
#[derive(Debug, Deserialize)]
struct Mute;

impl Serialize for Mute {
    fn serialize<S: serde::Serializer>(&self, _: S) -> std::result::Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("it never speaks"))
    }
}

fn says_nothing(_: &mut Txn<'_>, (): ()) -> Result<Mute> {
    Ok(Mute)
}

/// Lists in lists, so many.
#[derive(Deserialize)]
struct Deep(u32);

impl Serialize for Deep {
    fn serialize<S: serde::Serializer>(
        &self,
        serializer: S,
    ) -> std::result::Result<S::Ok, S::Error> {
        match self.0 {
            0 => serializer.serialize_unit(),
            left => serializer.collect_seq([Deep(left - 1)]),
        }
    }
}

/// Deeper than anything may be.
const DEEP: Deep = Deep(1000);

fn mute(ctx: &Context, state: &State) -> Result<()> {
    let failed = state.atomic(|_, ()| Ok(DEEP), ()).err();
    expect(
        failed.is_some_and(|error| error.is_limit() || is_lost(&error)),
        "a result that is too deep",
    );
    let outcome = ctx.spawn(|_, ()| DEEP, ())?.outcome()?;
    expect(outcome.end != End::Value, "an outcome that is too deep");
    let failed = state.atomic(says_nothing, ());
    expect(
        failed.is_err_and(|error| error.is_undecodable() || is_lost(&error)),
        "a result that can't be told",
    );
    let outcome = ctx.spawn(|_, ()| Mute, ())?.outcome()?;
    expect(
        !matches!(
            outcome.end,
            End::Value | End::Error { .. } | End::Panic { .. }
        ),
        "an outcome that can't be told",
    );
    Ok(())
}

/// Who waits for what: nobody here joins in a circle.
fn picture(ctx: &Context) -> Result<()> {
    let dump = ctx.dump()?;
    marks::reached_if(dump.waits().count() > 0, Mark::DumpSawWaits);
    // Threads of a locker wait for each other, who are one process.
    expect(
        dump.circles().iter().all(|circle| circle.len() == 1),
        "processes in a circle",
    );
    let own = Dump::process(&dump, ctx.process_id());
    expect(
        own.is_some() || !dump.answered,
        "this process is in the picture",
    );
    Ok(())
}

/// More threads at once than a connection is served in one turn.
fn crowd(state: &State) {
    let threads: Vec<_> = (0..80)
        .map(|_| {
            let state = state.clone();
            thread::spawn(move || state.len().map(drop))
        })
        .collect();
    for thread in threads {
        let _may_be_lost = thread.join();
    }
}

/// A text of nearly the largest value.
const LARGE_BYTES: usize = 900_000;

fn writes_too_much(txn: &mut Txn<'_>, count: u64) -> Result<()> {
    let text = "x".repeat(LARGE_BYTES);
    for number in 0..count {
        txn.set(&format!("much/{number}"), &text)?;
    }
    Ok(())
}

fn refused_for_size(state: &State) -> Result<()> {
    let refused = state.atomic(writes_too_much, 6);
    expect(
        refused.is_err_and(|error| error.is_limit() || is_lost(&error)),
        "a change set that is too large",
    );
    expect(!state.contains_key("much/0")?, "it is rolled back");
    Ok(())
}

/// So much that a clear of it can't list what it removes.
fn large(state: &State) -> Result<()> {
    let text = "x".repeat(LARGE_BYTES);
    for number in 0..5 {
        state.set(&format!("large/{number}"), &text)?;
    }
    let builder = state.watch(Filter::prefix("large/"));
    let mut newest = builder.clone().latest().start()?;
    let mut watch = WatchBuilder::start(builder)?;
    state.clear()?;
    if let Some(update) = tolerate(newest.next_update())? {
        let gone = update.reset || update.changes.iter().all(|c| c.after_raw().is_none());
        expect(gone, "the newest of a cleared namespace");
    }
    match tolerate(watch.next_update())? {
        Some(update) => marks::reached_if(update.reset, Mark::UpdateReset),
        None => expect(watch.next().is_none(), "a watch that has ended stays so"),
    }
    Ok(())
}

/// The program's last look: every update from the start, as far as the log goes, up to a write of
/// its own. And it leaves something that goes with it.
pub(crate) fn review(ctx: &Context) -> Result<()> {
    ctx.namespace(OWNED).set_owned("o/program", &1)?;
    let state = ctx.namespace(MIX);
    let last = state.set("reviewed", &1)?;
    let mut builder = state.watch(Filter::all()).from_start();
    loop {
        let compacted = match builder.start() {
            Ok(watch) => match read_until(watch, last)? {
                None => return Ok(()),
                Some(error) => error,
            },
            Err(error) if error.is_compacted() => error,
            Err(error) => return Err(error),
        };
        let oldest = compacted.oldest().unwrap_or_default();
        builder = state.watch(Filter::all()).since(oldest);
    }
}

/// Reads up to this revision, or as far as it goes.
fn read_until(mut watch: Watch, last: zproc::Revision) -> Result<Option<Error>> {
    loop {
        match watch.next_update() {
            Ok(update) if update.revision >= last => return Ok(None),
            Ok(_) => {}
            Err(error) if error.is_compacted() => {
                let oldest = error.oldest().unwrap_or_default();
                note(Note::Compacted { oldest });
                expect(watch.next().is_none(), "a watch that has ended stays so");
                return Ok(Some(error));
            }
            Err(error) => return Err(error),
        }
    }
}
