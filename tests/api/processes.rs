//! Functions that run in processes of their own.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use zproc::{
    Context, End, Error, Filter, Input, Output, ProcessId, ProcessState, Resource, Result, Revision,
};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Job {
    name: String,
    numbers: Vec<i64>,
}

fn sum(_: &Context, job: Job) -> (String, i64) {
    (job.name, job.numbers.iter().sum())
}

pub(super) fn value_comes_back(ctx: &Context) -> Result<()> {
    let job = Job {
        name: "sum".to_owned(),
        numbers: vec![1, -2, 3],
    };
    assert_eq!(ctx.spawn(sum, job)?.join()?, ("sum".to_owned(), 2));
    // A closure; nothing in, nothing out.
    ctx.spawn(|_, ()| (), ())?.join()?;
    let id = ctx.spawn(|ctx, ()| ctx.process_id(), ())?;
    let expected = id.id();
    assert_ne!(expected, ProcessId::PROGRAM);
    assert_eq!(id.join()?, expected);
    Ok(())
}

/// Whoever has heard from a process knows its number, though the keeper may not have told of it yet.
pub(super) fn who_was_heard_of_has_a_number(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let process = ctx.spawn(
        |ctx, ()| {
            let state = ctx.state();
            state.set("here", &true).unwrap();
            state.wait_equal("seen", &true).unwrap();
        },
        (),
    )?;
    state.wait_equal("here", &true)?;
    assert!(process.pid()?.is_some_and(|pid| pid > 1));
    state.set("seen", &true)?;
    process.join()
}

pub(super) fn many_at_once(ctx: &Context) -> Result<()> {
    let processes = (0..8_u64)
        .map(|number| ctx.spawn(|_, number: u64| number * number, number))
        .collect::<Result<Vec<_>>>()?;
    // Joined in another order than they were spawned.
    for (number, process) in (0..8_u64)
        .zip(processes)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
    {
        assert_eq!(process.join()?, number * number);
    }
    Ok(())
}

fn half(_: &Context, number: u64) -> std::result::Result<u64, (u64, String)> {
    if number.is_multiple_of(2) {
        Ok(number / 2)
    } else {
        Err((number, "is odd".to_owned()))
    }
}

pub(super) fn err_is_a_value(ctx: &Context) -> Result<()> {
    assert_eq!(ctx.spawn(half, 8)?.join()?, Ok(4));
    let process = ctx.spawn(half, 7)?;
    assert_eq!(
        process.outcome()?.end,
        End::Error {
            text: "an array of 2 elements".to_owned()
        }
    );
    assert_eq!(process.join()?, Err((7, "is odd".to_owned())));
    Ok(())
}

pub(super) fn panic_is_told(ctx: &Context) -> Result<()> {
    let process = ctx.spawn(
        |_, why: String| -> u64 { panic!("because of {why}") },
        "rain".into(),
    )?;
    let outcome = process.outcome()?;
    let End::Panic {
        message, location, ..
    } = &outcome.end
    else {
        panic!("{outcome}");
    };
    assert_eq!(message, "because of rain");
    assert!(location.contains("processes.rs:"), "{location}");
    assert!(!outcome.is_value());
    let error = process.join().unwrap_err();
    assert!(error.is_panic() && !error.is_killed(), "{error}");
    assert!(error.to_string().contains("because of rain"), "{error}");
    assert!(format!("{error:#}").contains(location), "{error:#}");
    assert_eq!(error.outcome(), Some(&outcome));
    Ok(())
}

/// Itself, its child, and so on.
fn chain(ctx: &Context, depth: u64) -> Result<Vec<ProcessId>> {
    let mut ids = match depth {
        0 => Vec::new(),
        _ => ctx.spawn(chain, depth - 1)?.join()??,
    };
    ids.push(ctx.process_id());
    Ok(ids)
}

pub(super) fn nested(ctx: &Context) -> Result<()> {
    let ids = ctx.spawn(chain, 3)?.join()??;
    assert_eq!(ids.len(), 4);
    // Children have higher numbers than their parents, and come first here.
    assert!(ids.windows(2).all(|pair| pair[0] > pair[1]), "{ids:?}");
    Ok(())
}

/// Lives until somebody ends it.
fn sleeper(ctx: &Context, _: ()) -> Result<()> {
    let id = ctx.process_id().0.to_string();
    ctx.namespace("alive").set_owned(&id, &true)?;
    ctx.state().wait_equal("never", &true)?;
    Ok(())
}

/// Spawns one that never ends by itself, and returns when it runs.
fn parent_of_a_sleeper(ctx: &Context, _: ()) -> Result<ProcessId> {
    let child = ctx.spawn(sleeper, ())?.id();
    let alive = ctx.namespace("alive");
    alive.wait_equal(&child.0.to_string(), &true)?;
    Ok(child)
}

pub(super) fn children_end_with_their_parent(ctx: &Context) -> Result<()> {
    let alive = ctx.namespace("alive");
    let child = ctx.spawn(parent_of_a_sleeper, ())?.join()??;
    let ((), _) = alive.wait_until(|view| view.is_empty())?;
    let record = ctx.namespace("");
    let ((), _) = record.wait_until(|view| {
        #[derive(Deserialize)]
        struct Record {
            state: String,
        }
        for key in view.keys("process/")? {
            let record: Option<Record> = view.get(&key)?;
            if key != "process/1" && record.is_some_and(|record| record.state != "ended") {
                return Ok(false);
            }
        }
        Ok(true)
    })?;
    assert!(record.contains_key(&format!("process/{}", child.0))?);
    Ok(())
}

/// Owns some keys, writes another, and ends one way or another.
fn owner(ctx: &Context, how: String) -> Result<u64> {
    let state = ctx.state();
    state.set_owned("claim/1", &1)?;
    state.set_owned("claim/2", &2)?;
    ctx.namespace("elsewhere").set_owned("claim", &3)?;
    state.set("last words", &how)?;
    match how.as_str() {
        "value" => Ok(1),
        "error" => Err(Error::msg("no")),
        _ => panic!("{how}"),
    }
}

pub(super) fn owned_keys_are_released(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    for how in ["value", "error", "panic"] {
        let mut watch = state.watch(Filter::prefix("claim/")).start()?;
        let process = ctx.spawn(owner, how.to_owned())?;
        let id = process.id();
        assert_eq!(watch.next_update()?.changes[0].key(), "claim/1");
        assert_eq!(watch.next_update()?.changes[0].key(), "claim/2");
        // Both at one revision, and who reads it is told why.
        let update = watch.next_update()?;
        let keys: Vec<_> = update.changes.iter().map(zproc::Change::key).collect();
        assert_eq!(keys, ["claim/1", "claim/2"]);
        assert!(
            update
                .changes
                .iter()
                .all(|change| change.after_raw().is_none())
        );
        assert_eq!(update.origin.process, id);
        assert!(update.origin.released.is_some());
        // After its last writes, and not later than its end is told.
        assert_eq!(state.get("last words")?, Some(how.to_owned()));
        process.outcome()?;
        assert!(ctx.namespace("elsewhere").is_empty()?);
    }
    Ok(())
}

/// Owns a key until it is told to end.
fn owner_until_told(ctx: &Context, _: ()) -> Result<()> {
    let state = ctx.state();
    state.set_owned("mine", &1)?;
    state.set_owned("yours", &1)?;
    state.set("owned", &true)?;
    state.wait_equal("end", &true)?;
    Ok(())
}

pub(super) fn overwritten_keys_are_not_released(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let process = ctx.spawn(owner_until_told, ())?;
    state.wait_equal("owned", &true)?;
    state.set("yours", &2)?;
    state.set("end", &true)?;
    process.join()??;
    assert!(!state.contains_key("mine")?);
    assert_eq!(state.get("yours")?, Some(2));
    Ok(())
}

pub(super) fn record_tells_its_life(ctx: &Context) -> Result<()> {
    #[derive(Debug, Deserialize)]
    struct Record {
        id: u64,
        parent: u64,
        function: String,
        state: String,
        outcome: Option<String>,
    }
    let process = ctx.spawn(sleeper, ())?;
    let key = format!("process/{}", process.id().0);
    let records = ctx.namespace("");
    let mut watch = (records.watch(Filter::key(&*key)).since(Revision(1))).start()?;
    let mut next = || -> Result<Record> {
        let update = watch.next_update()?;
        Ok(update.changes[0].after()?.expect("it outlasts the process"))
    };
    let record = next()?;
    assert_eq!((record.id, record.parent), (process.id().0, 1));
    assert!(record.function.ends_with("sleeper"), "{record:?}");
    assert_eq!((record.state.as_str(), record.outcome), ("starting", None));
    // The process may speak with the server before the keeper has told that it runs, and as whom.
    let record = next()?;
    assert_eq!((record.state.as_str(), record.outcome), ("running", None));
    ctx.namespace("alive")
        .wait_equal(&process.id().0.to_string(), &true)?;
    assert!(process.is_alive()?);
    assert!(process.pid()?.is_some());
    ctx.state().set("never", &true)?;
    let record = next()?;
    assert_eq!(record.state, "ended");
    assert!(record.outcome.is_some());
    process.outcome()?;
    assert!(!process.is_alive()?);
    process.join()?
}

pub(super) fn outcome_of_a_value(ctx: &Context) -> Result<()> {
    let process = ctx.spawn(|_, n: u64| n + 1, 1)?;
    let outcome = process.outcome()?;
    assert!(outcome.is_value(), "{outcome}");
    // It may be asked for again, and the value is still there.
    assert_eq!(process.outcome()?, outcome);
    assert_eq!(process.join()?, 2);
    Ok(())
}

pub(super) fn join_with_a_time_limit(ctx: &Context) -> Result<()> {
    let process = ctx.spawn(sleeper, ())?;
    let error = process.join_timeout(Duration::from_millis(30)).unwrap_err();
    assert!(error.is_timeout(), "{error}");
    ctx.state().set("never", &true)?;
    process.join_timeout(Duration::from_secs(60))?
}

pub(super) fn dropped_is_detached(ctx: &Context) -> Result<()> {
    drop(ctx.spawn(sleeper, ())?);
    let alive = ctx.namespace("alive");
    let ((), _) = alive.wait_until(|view| Ok(view.len()? == 1))?;
    ctx.state().set("never", &true)?;
    let ((), _) = alive.wait_until(|view| view.is_empty())?;
    Ok(())
}

pub(super) fn large_argument_and_result(ctx: &Context) -> Result<()> {
    // More than one message takes.
    let bytes = 300_000;
    let process = ctx.spawn(|_, text: String| text.to_uppercase(), "x".repeat(bytes))?;
    // To ask with a limit leaves it there; whoever joins takes it away.
    let upper = "X".repeat(bytes);
    assert_eq!(process.join_timeout(Duration::from_secs(60))?, upper);
    assert_eq!(process.join_timeout(Duration::from_secs(60))?, upper);
    assert!(process.outcome()?.is_value());
    assert_eq!(process.join()?, upper);
    Ok(())
}

pub(super) fn largest_argument_and_result(ctx: &Context) -> Result<()> {
    let bytes = 64 * 1024 * 1024;
    let process = ctx.spawn(|_, text: String| text.to_uppercase(), "x".repeat(bytes))?;
    let result = process.join()?;
    assert!(result.len() == bytes && result.bytes().all(|byte| byte == b'X'));
    Ok(())
}

pub(super) fn argument_over_the_limit(ctx: &Context) -> Result<()> {
    let error = ctx
        .spawn(|_, _: String| (), "x".repeat(70_000_000))
        .unwrap_err();
    assert!(error.is_limit(), "{error}");
    // Nothing was started.
    assert_eq!(ctx.spawn(|ctx, ()| ctx.process_id().0, ())?.join()?, 2);
    Ok(())
}

pub(super) fn result_over_the_limit(ctx: &Context) -> Result<()> {
    let process = ctx.spawn(|_, size: usize| "x".repeat(size), 70_000_000)?;
    let error = process.join().unwrap_err();
    assert!(error.is_limit() && !error.is_undecodable(), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("result is over the limit PAYLOAD_BYTES_MAX"),
        "{text}"
    );
    Ok(())
}

fn reads_a_wrong_type(ctx: &Context, _: ()) -> Result<u64> {
    ctx.state().set("k", "text")?;
    Ok(ctx.state().get("k")?.unwrap_or(0))
}

pub(super) fn errors_are_values_too(ctx: &Context) -> Result<()> {
    let process = ctx.spawn(reads_a_wrong_type, ())?;
    let outcome = process.outcome()?;
    let error = process.join()?.unwrap_err();
    // It comes back whole, and can be asked as ever.
    assert!(error.is_wrong_type());
    assert_eq!(
        outcome.end,
        End::Error {
            text: error.to_string()
        }
    );
    Ok(())
}

pub(super) fn exit_code(ctx: &Context) -> Result<()> {
    for code in [0, 3] {
        let process = ctx.spawn(|_, code: i32| -> u64 { std::process::exit(code) }, code)?;
        assert_eq!(process.outcome()?.end, End::Exited { code });
        let error = process.join().unwrap_err();
        assert_eq!(error.exit_code(), Some(code), "{error}");
        assert!(
            error.to_string().contains(&format!("code {code}")),
            "{error}"
        );
    }
    Ok(())
}

pub(super) fn killed_by_a_signal(ctx: &Context) -> Result<()> {
    let process = ctx.spawn(|_, ()| -> u64 { std::process::abort() }, ())?;
    let error = process.join().unwrap_err();
    assert!(error.is_killed(), "{error}");
    assert!(error.to_string().contains("SIGABRT"), "{error}");
    assert_eq!(error.exit_code(), None);
    Ok(())
}

/// The name of its state, and of that of a child of its own.
fn states(ctx: &Context, depth: u32) -> Result<Vec<String>> {
    ctx.state().set("here", &depth)?;
    let mut names = match depth {
        0 => Vec::new(),
        _ => ctx.spawn(states, depth - 1)?.join()??,
    };
    names.push(ctx.state().namespace_name().to_owned());
    Ok(names)
}

pub(super) fn state_of_its_own(ctx: &Context) -> Result<()> {
    let process = ctx.process(states).namespace("elsewhere").spawn(1)?;
    assert_eq!(process.join()??, ["default", "elsewhere"]);
    assert_eq!(ctx.namespace("elsewhere").get("here")?, Some(1));
    assert_eq!(ctx.state().get("here")?, Some(0));
    Ok(())
}

pub(super) fn one_builder_many_processes(ctx: &Context) -> Result<()> {
    let adder = ctx.process(|ctx: &Context, n: u64| ctx.process_id().0 + n);
    for number in 0..4 {
        let process = adder
            .clone()
            .name(format!("adder {number}"))
            .spawn(number)?;
        let id = process.id().0;
        assert_eq!(process.join()?, id + number);
    }
    let (first, second) = (adder.spawn(1)?, adder.spawn(1)?);
    assert_ne!(first.id(), second.id());
    assert_ne!(first.join()?, second.join()?);
    Ok(())
}

pub(super) fn name_in_the_record(ctx: &Context) -> Result<()> {
    #[derive(Deserialize)]
    struct Record {
        name: String,
        function: String,
    }
    let quiet = ctx.process(|_, ()| ());
    let named = quiet.clone().name("quiet: 1").spawn(())?;
    let nameless = quiet.spawn(())?;
    let record = |id: ProcessId| ctx.namespace("").get(&format!("process/{}", id.0));
    let record_of: Record = record(named.id())?.expect("it was spawned");
    assert_eq!(record_of.name, "quiet: 1");
    assert!(record_of.function.contains("name_in_the_record"));
    let record_of: Record = record(nameless.id())?.expect("it was spawned");
    assert_eq!(record_of.name, record_of.function);
    named.join()?;
    nameless.join()
}

pub(super) fn setups_that_make_no_sense(ctx: &Context) -> Result<()> {
    let fine = ctx.process(|_, ()| ());
    let bad = [
        fine.clone().env("", "x"),
        fine.clone().env("A=B", "x"),
        fine.clone().env("A", "x\0"),
        fine.clone().env("ZPROC_TREE", "x"),
        fine.clone().env_remove("ZPROC_ENTRY"),
        fine.clone().current_dir(""),
        fine.clone().stdin(Input::File("a\0b".into())),
        fine.clone().stderr(Output::Append("".into())),
        fine.clone().niceness(20),
        fine.clone().resource_limit(Resource::CpuTime, 2, 1),
    ];
    for builder in bad {
        let error = builder.spawn(()).unwrap_err();
        assert!(error.is_bad_setup() && !error.is_limit(), "{error}");
    }
    let large = [
        fine.clone().name("x".repeat(5_000)),
        fine.clone().namespace("x".repeat(256)),
        fine.clone().env("A", "x".repeat(300_000)),
        (0..5_000).fold(fine.clone(), |builder, n| builder.env(format!("A{n}"), "")),
    ];
    for builder in large {
        let error = builder.spawn(()).unwrap_err();
        assert!(error.is_limit(), "{error}");
    }
    // Nothing was started.
    assert_eq!(fine.spawn(())?.id().0, 2);
    Ok(())
}

pub(super) fn all_in_a_table(ctx: &Context) -> Result<()> {
    assert_eq!(ctx.processes()?.iter().count(), 0);
    let living = ctx.process(sleeper).name("a sleeper").spawn(())?;
    let alive = ctx.namespace("alive");
    alive.wait_equal(&living.id().0.to_string(), &true)?;
    let mut ended = Vec::new();
    for number in 0..10 {
        let process = ctx.spawn(half, number)?;
        process.outcome()?;
        ended.push(process.id());
    }
    let processes = ctx.processes()?;
    let ids: Vec<ProcessId> = processes.iter().map(|process| process.id).collect();
    assert!(ids.is_sorted() && ids.len() == 11, "{ids:?}");
    let found = processes.find(living.id()).expect("it lives");
    assert_eq!(
        (found.state, &*found.name),
        (ProcessState::Running, "a sleeper")
    );
    assert_eq!((found.parent, &found.outcome), (ProcessId::PROGRAM, &None));
    let found = processes.find(ended[1]).expect("it is remembered");
    assert_eq!(found.state, ProcessState::Ended);
    assert!(found.cpu.is_some() && found.memory_bytes.is_some());
    assert!(found.function.ends_with("half") && found.name == found.function);
    let outcome = found.outcome.as_deref().expect("it has ended");
    assert!(outcome.starts_with("returned an error"), "{outcome}");
    let table = processes.to_string();
    assert!(
        table.contains("a sleeper") && table.lines().count() == 12,
        "{table}"
    );
    ctx.state().set("never", &true)?;
    living.join()?
}

pub(super) fn records_are_waited_on_and_watched(ctx: &Context) -> Result<()> {
    #[derive(Deserialize)]
    struct Record {
        name: String,
        state: String,
    }
    let records = ctx.namespace("");
    let mut watch = records.watch(Filter::prefix("process/")).start()?;
    let process = ctx.process(sleeper).name("watched").spawn(())?;
    let mut seen = Vec::new();
    while seen.last().is_none_or(|state| state != "running") {
        let update = watch.next_update()?;
        let record: Record = update.changes[0].after()?.expect("it is there");
        assert_eq!(record.name, "watched");
        seen.push(record.state);
    }
    assert_eq!(seen, ["starting", "running"]);
    ctx.state().set("never", &true)?;
    // As any other state: a condition, which is tested in the server.
    let (ended, _) = records.wait_until(|view| {
        for key in view.keys("process/")? {
            let record: Option<Record> = view.get(&key)?;
            if record.is_some_and(|record| record.state == "ended") {
                return Ok(Some(key));
            }
        }
        Ok(None)
    })?;
    assert_eq!(ended, format!("process/{}", process.id().0));
    process.join()?
}
