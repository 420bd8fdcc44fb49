//! Each limit that can be set: what fits it, and one more. A limit that is not in the table fails.

#[path = "limits/crowds.rs"]
mod crowds;

use std::collections::BTreeSet;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;
use zproc::{Context, Filter, Limits, Process, Result, Standing, View};

/// What happens to one more than a limit allows.
enum Over {
    /// It is refused, and the error names the limit.
    Refused(fn(&Context) -> Result<()>),
    /// It is served all the same, or something else makes room: the body looks.
    Served(fn(&Context) -> Result<()>),
    /// It can't be brought about from outside; it is tested in this file, by this test.
    InCore(&'static str, &'static str),
}

use Over::{InCore, Refused, Served};

/// Name of the field; a set in which it is small; what fits; one more.
type Row = (
    &'static str,
    fn(&mut Limits),
    fn(&Context) -> Result<()>,
    Over,
);

const NOTHING: fn(&Context) -> Result<()> = |ctx| ctx.ping(Duration::from_secs(60)).map(drop);

/// A text that takes so many bytes as a value.
fn text(bytes: usize) -> String {
    let head = match bytes {
        0..=32 => 1,
        33..=257 => 2,
        258..=65_538 => 3,
        _ => 5,
    };
    "x".repeat(bytes - head)
}

fn values_of_1000_bytes(limits: &mut Limits) {
    limits.value_bytes_max = 1000;
    limits.part_bytes_max = 500;
}

fn arguments_of_2000_bytes(limits: &mut Limits) {
    values_of_1000_bytes(limits);
    limits.payload_bytes_max = 2000;
}

fn length(_: &Context, text: String) -> usize {
    text.len()
}

fn wait(ctx: &Context, _: ()) -> Result<()> {
    ctx.state().set("waits", &true)?;
    ctx.state().wait_equal("enough", &true).map(drop)
}

/// Eight threads do this at once.
fn eight(ctx: &Context, body: fn(&Context, u64) -> Result<()>) -> Result<()> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| scope.spawn(move || body(ctx, number)))
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no panic"))
    })
}

fn eight_large_answers(ctx: &Context) -> Result<()> {
    eight(ctx, |ctx, _| {
        let text = ctx.state().atomic(|_, bytes| Ok(text(bytes)), 1 << 20)?;
        assert_eq!(text.len(), (1 << 20) - 5);
        Ok(())
    })
}

fn eight_large_values(ctx: &Context) -> Result<()> {
    let large = text(1 << 20);
    ctx.state().set("large", &large)?;
    eight(ctx, |ctx, _| {
        let read = ctx.state().get::<String>("large")?;
        assert_eq!(read.map(|text| text.len()), Some((1 << 20) - 5));
        Ok(())
    })
}

/// Many small requests, a scan, and a watch from the start: all is there, however small the turns.
fn everything_in_small_turns(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    eight(ctx, |ctx, number| {
        (0..10).try_for_each(|round| {
            ctx.state()
                .set(&format!("{number}/{round}"), &round)
                .map(drop)
        })
    })?;
    assert_eq!(state.keys(..)?.len(), 80);
    let mut watch = state.watch(Filter::all()).from_start().start()?;
    let revisions: BTreeSet<_> = (0..80)
        .map(|_| {
            watch
                .next_within(Duration::from_secs(30))
                .map(|update| update.revision)
        })
        .collect::<Result<_>>()?;
    assert_eq!(revisions.len(), 80);
    Ok(())
}

/// Threads that wait for a lock leave room for the request that gives it back.
fn a_siege_in_small_turns(ctx: &Context) -> Result<()> {
    everything_in_small_turns(ctx)?;
    let guard = ctx.lock("door")?;
    thread::scope(|scope| {
        let besiegers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| ctx.lock("door").map(drop)))
            .collect();
        while ctx.dump()?.waits().count() == 0 {
            thread::yield_now();
        }
        drop(guard);
        let mut ended = besiegers.into_iter().map(|thread| thread.join());
        ended.try_for_each(|ended| ended.expect("no panic"))
    })
}

/// Writes so many updates; is the first of them still to be had?
fn updates(ctx: &Context, count: u64, bytes: usize) -> Result<bool> {
    let state = ctx.state();
    let first = state.set("k", &text(bytes))?;
    for _ in 1..count {
        state.set("k", &text(bytes))?;
    }
    match state.watch(Filter::all()).since(first).start() {
        Ok(_) => Ok(true),
        Err(error) if error.is_compacted() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Two locks, for good.
fn hold_two(ctx: &Context) -> Result<()> {
    // One that is given back makes room.
    drop((ctx.lock("first")?, ctx.lock("second")?));
    std::mem::forget((ctx.lock("first")?, ctx.lock("second")?));
    Ok(())
}

const TABLE: &[Row] = &[
    (
        "locks_max",
        |limits| limits.locks_max = 2,
        hold_two,
        Refused(|ctx| ctx.try_lock("third").map(drop)),
    ),
    (
        "locks_per_session_max",
        |limits| limits.locks_per_session_max = 2,
        hold_two,
        Refused(|ctx| ctx.try_lock("third").map(drop)),
    ),
    (
        "lock_waiters_max",
        |limits| limits.lock_waiters_max = 1,
        crowds::one_waits,
        Refused(crowds::one_waits_and_one_more),
    ),
    (
        "leases_max",
        |limits| limits.leases_max = 2,
        crowds::leases::<1>,
        Refused(crowds::leases::<2>),
    ),
    (
        "leases_per_session_max",
        |limits| limits.leases_per_session_max = 2,
        crowds::leases::<1>,
        Refused(crowds::leases::<2>),
    ),
    (
        "validation_steps_max",
        |limits| limits.validation_steps_max = 6,
        crowds::six_steps,
        Served(crowds::eight_steps),
    ),
    (
        "key_bytes_max",
        |limits| limits.key_bytes_max = 10,
        |ctx| ctx.state().set(&"k".repeat(10), &1).map(drop),
        Refused(|ctx| ctx.state().set(&"k".repeat(11), &1).map(drop)),
    ),
    (
        "depth_max",
        |limits| limits.depth_max = 3,
        |ctx| ctx.state().set("k", &[[1]]).map(drop),
        Refused(|ctx| ctx.state().set("k", &[[[1]]]).map(drop)),
    ),
    (
        "value_bytes_max",
        values_of_1000_bytes,
        |ctx| ctx.state().set("k", &text(1000)).map(drop),
        Refused(|ctx| ctx.state().set("k", &text(1001)).map(drop)),
    ),
    (
        "payload_bytes_max",
        arguments_of_2000_bytes,
        |ctx| ctx.spawn(length, text(2000))?.join().map(drop),
        Refused(|ctx| ctx.spawn(length, text(2001)).map(drop)),
    ),
    (
        "part_bytes_max",
        |limits| limits.part_bytes_max = 100,
        |ctx| ctx.spawn(length, text(100))?.join().map(drop),
        Served(|ctx| {
            assert_eq!(ctx.spawn(length, text(10_000))?.join()?, 9997);
            Ok(())
        }),
    ),
    (
        "parts_bytes_max",
        |limits| {
            arguments_of_2000_bytes(limits);
            limits.parts_per_session_bytes_max = 3000;
            limits.parts_bytes_max = 3000;
        },
        crowds::parts_of_3000_bytes,
        Refused(crowds::parts_of_3001_bytes),
    ),
    (
        "parts_per_session_bytes_max",
        |limits| {
            arguments_of_2000_bytes(limits);
            limits.part_bytes_max = 10;
            limits.parts_per_session_bytes_max = 2000;
        },
        crowds::arguments_in_turn,
        Refused(crowds::arguments_at_once),
    ),
    (
        "uploads_per_session_max",
        |limits| {
            arguments_of_2000_bytes(limits);
            limits.part_bytes_max = 10;
            limits.uploads_per_session_max = 1;
        },
        crowds::arguments_in_turn,
        Refused(crowds::arguments_at_once),
    ),
    (
        "change_set_bytes_max",
        |limits| {
            values_of_1000_bytes(limits);
            limits.change_set_bytes_max = 3000;
            limits.owned_bytes_max = 1000;
        },
        |ctx| {
            ctx.state()
                .extend(["a", "b", "c"].map(|key| (key, text(999))))
                .map(drop)
        },
        Refused(|ctx| {
            let entries = [("a", text(999)), ("b", text(999)), ("c", text(1000))];
            ctx.state().extend(entries).map(drop)
        }),
    ),
    (
        "change_set_changes_max",
        |limits| {
            limits.change_set_changes_max = 4;
            limits.owned_keys_max = 4;
        },
        |ctx| {
            ctx.state()
                .extend(["a", "b", "c", "d"].map(|key| (key, 1)))
                .map(drop)
        },
        Refused(|ctx| {
            ctx.state()
                .extend(["a", "b", "c", "d", "e"].map(|key| (key, 1)))
                .map(drop)
        }),
    ),
    (
        "owned_bytes_max",
        |limits| limits.owned_bytes_max = 1000,
        |ctx| ctx.state().set_owned("k", &text(999)).map(drop),
        Refused(|ctx| ctx.state().set_owned("k", &text(1000)).map(drop)),
    ),
    (
        "owned_keys_max",
        |limits| limits.owned_keys_max = 2,
        |ctx| {
            ctx.state().set_owned("a", &1)?;
            ctx.state().set_owned("b", &1).map(drop)
        },
        Refused(|ctx| ctx.state().set_owned("c", &1).map(drop)),
    ),
    (
        "history_bytes_max",
        // The least there may be.
        |limits| limits.history_bytes_max = 8 << 20,
        |ctx| {
            // Each is kept twice, before and after, and once more for watchers.
            assert!(updates(ctx, 4, 1 << 19)?);
            Ok(())
        },
        Served(|ctx| {
            assert!(!updates(ctx, 9, 1 << 20)?, "the oldest is gone");
            Ok(())
        }),
    ),
    (
        "history_entries_max",
        |limits| limits.history_entries_max = 4,
        |ctx| {
            assert!(updates(ctx, 4, 10)?);
            Ok(())
        },
        Served(|ctx| {
            assert!(!updates(ctx, 5, 10)?, "the oldest is gone");
            Ok(())
        }),
    ),
    (
        "state_bytes_max",
        // A key of one byte, and what an entry takes besides key and value.
        |limits| limits.state_bytes_max = 1000 + 24,
        |ctx| ctx.state().set("k", &text(999)).map(drop),
        Refused(|ctx| ctx.state().set("k", &text(1000)).map(drop)),
    ),
    (
        "namespaces_max",
        |limits| limits.namespaces_max = 2,
        |ctx| {
            ["a", "b"]
                .iter()
                .try_for_each(|name| ctx.namespace(*name).set("k", &1).map(drop))
        },
        Refused(|ctx| ctx.namespace("c").set("k", &1).map(drop)),
    ),
    (
        "in_flight_max",
        |limits| limits.in_flight_max = 2,
        NOTHING,
        Served(a_siege_in_small_turns),
    ),
    (
        "replies_bytes_max",
        // Room for one such answer.
        |limits| limits.replies_bytes_max = 3 << 19,
        NOTHING,
        Served(eight_large_answers),
    ),
    (
        "outbox_bytes_max",
        |limits| limits.outbox_bytes_max = limits.updates_queued_bytes_max,
        NOTHING,
        Served(eight_large_values),
    ),
    (
        "watches_per_session_max",
        |limits| limits.watches_per_session_max = 2,
        |ctx| {
            let watch = || ctx.state().watch(Filter::all()).start();
            let both = (watch()?, watch()?);
            // One that goes makes room.
            drop(both);
            std::mem::forget((watch()?, watch()?));
            Ok(())
        },
        Refused(|ctx| ctx.state().watch(Filter::all()).start().map(drop)),
    ),
    (
        "interests_per_session_bytes_max",
        |limits| {
            values_of_1000_bytes(limits);
            limits.interests_per_session_bytes_max = 1000;
        },
        |ctx| {
            std::mem::forget(ctx.state().watch(Filter::key("k".repeat(600))).start()?);
            Ok(())
        },
        Refused(|ctx| ctx.state().watch(Filter::key("k")).start().map(drop)),
    ),
    (
        "connections_silent_max",
        |limits| limits.connections_silent_max = 2,
        NOTHING,
        Served(|ctx| {
            let path = zproc::seam::socket_path(ctx).expect("this program has the tree");
            let silent: Vec<_> = (0..20).map(|_| UnixStream::connect(&path)).collect();
            assert_eq!(ctx.spawn(length, "text".to_owned())?.join()?, 4);
            drop(silent);
            Ok(())
        }),
    ),
    (
        "connections_max",
        |limits| {
            limits.connections_max = 2;
            limits.connections_silent_max = 2;
        },
        |ctx| ctx.spawn(length, "text".to_owned())?.join().map(drop),
        Served(|ctx| {
            let first = ctx.spawn(wait, ())?;
            ctx.state().wait_until(|view| view.contains_key("waits"))?;
            let second = ctx.spawn(length, String::new())?;
            assert!(second.join().is_err(), "there is no room for a third");
            // When one has gone, there is.
            ctx.state().set("enough", &true)?;
            first.join()??;
            ctx.spawn(length, String::new())?.join().map(drop)
        }),
    ),
    (
        "sessions_max",
        |_| (),
        NOTHING,
        // Connections run out first, unless one was lost whose process lives.
        InCore(
            "server/tests/small.rs",
            "sessions_that_have_no_connection_count_too",
        ),
    ),
    (
        "processes_live_max",
        // The program is one.
        |limits| limits.processes_live_max = 2,
        |ctx| ctx.spawn(wait, ()).map(drop),
        Refused(|ctx| ctx.spawn(wait, ()).map(drop)),
    ),
    (
        "processes_ended_max",
        |limits| limits.processes_ended_max = 2,
        |ctx| {
            for _ in 0..2 {
                ctx.spawn(length, String::new())?.join()?;
            }
            assert_eq!(ctx.namespace("").len()?, 2);
            Ok(())
        },
        Served(|ctx| {
            ctx.spawn(length, String::new())?.join()?;
            assert_eq!(ctx.namespace("").len()?, 2, "the oldest is gone");
            Ok(())
        }),
    ),
    (
        "results_bytes_max",
        |limits| {
            limits.part_bytes_max = 500;
            limits.results_bytes_max = 25_000;
        },
        crowds::two_results,
        Served(crowds::three_results),
    ),
    (
        "frames_per_turn_max",
        |limits| limits.frames_per_turn_max = 1,
        NOTHING,
        Served(everything_in_small_turns),
    ),
    (
        "log_entries_per_turn_max",
        |limits| limits.log_entries_per_turn_max = 1,
        NOTHING,
        Served(everything_in_small_turns),
    ),
    (
        "log_entries_per_tick_max",
        |limits| limits.log_entries_per_tick_max = 1,
        NOTHING,
        Served(everything_in_small_turns),
    ),
    (
        "updates_queued_bytes_max",
        |limits| limits.updates_queued_bytes_max = 1,
        NOTHING,
        Served(everything_in_small_turns),
    ),
    (
        "page_entries_max",
        |limits| limits.page_entries_max = 1,
        NOTHING,
        Served(everything_in_small_turns),
    ),
    (
        "page_bytes_max",
        |limits| limits.page_bytes_max = 1,
        NOTHING,
        Served(everything_in_small_turns),
    ),
];

/// Asks the server again and again, and ends when it is not answered.
fn stands_by(ctx: &Context, _: ()) -> Result<()> {
    loop {
        ctx.ping(Duration::from_secs(60))?;
    }
}

/// Somebody else, who must not notice what is done at limits; where there is room for one.
fn bystander(ctx: &Context, limits: &Limits) -> Option<Process<Result<()>>> {
    let least = (limits.processes_live_max)
        .min(limits.processes_ended_max)
        .min(limits.connections_max);
    // Its record is among what the state holds.
    if least <= 2 || limits.state_bytes_max < Limits::USUAL.state_bytes_max {
        return None;
    }
    let process = ctx.spawn(stands_by, ()).expect("a bystander");
    let is_there = |process: &zproc::ProcessDump| process.standing == Standing::Connected;
    while (ctx.dump().expect("a picture").processes.iter())
        .filter(|process| is_there(process))
        .count()
        < 2
    {
        thread::yield_now();
    }
    Some(process)
}

/// The names of the fields, in order.
fn fields() -> Vec<String> {
    let shown = format!("{:?}", Limits::default());
    let fields = shown.split(['{', ',']).skip(1);
    let name = |field: &str| field.split(':').next().map(|name| name.trim().to_owned());
    fields.filter_map(name).collect()
}

#[test]
fn each_limit_is_in_the_table() {
    let names: BTreeSet<String> = TABLE.iter().map(|row| row.0.to_owned()).collect();
    assert_eq!(names.len(), TABLE.len(), "one is there twice");
    assert_eq!(names, fields().into_iter().collect());
}

#[test]
fn each_limit_has_a_figure_of_what_it_costs_or_a_reason() {
    let path = format!("{}/benches/state/full.rs", env!("CARGO_MANIFEST_DIR"));
    let bench = std::fs::read_to_string(path).expect("the bench");
    for field in fields() {
        let rows = bench.matches(&format!("\"{field}\",")).count();
        assert_eq!(rows, 1, "{field}, of benches/state/full.rs");
    }
}

#[test]
fn what_fits_is_done_and_one_more_gets_what_its_limit_says() {
    for (name, set, fits, over) in TABLE {
        let mut limits = Limits::default();
        set(&mut limits);
        if !matches!(over, InCore(..)) {
            assert_ne!(limits, Limits::default(), "{name} is small");
        }
        let ctx = Context::builder().limits(limits).start().expect(name);
        let bystander = bystander(&ctx, &limits);
        fits(&ctx).unwrap_or_else(|error| panic!("{name}: what fits is not done: {error:#}"));
        match over {
            Refused(body) => {
                let error = body(&ctx).expect_err(name);
                assert!(error.is_limit(), "{name}: {error:#}");
                let text = error.to_string();
                assert!(text.contains(&name.to_uppercase()), "{name}: {text}");
            }
            Served(body) => {
                body(&ctx).unwrap_or_else(|error| panic!("{name}: {error:#}"));
            }
            InCore(tests, test) => {
                let path = format!("{}/src/proto/{tests}", env!("CARGO_MANIFEST_DIR"));
                let tests = std::fs::read_to_string(path).expect("the file of its test");
                let body = tests.split(&format!("fn {test}() {{")).nth(1);
                let body = body.and_then(|rest| rest.split("\n}\n").next());
                assert!(body.is_some_and(|body| body.contains(name)), "{name}");
            }
        }
        ctx.ping(Duration::from_secs(60)).expect("the tree goes on");
        if let Some(bystander) = bystander {
            bystander.kill().expect("it is there");
            let told = bystander.join();
            assert!(told.is_err_and(|error| error.is_killed()), "{name}");
        }
    }
}

/// Looks into so many namespaces for a key.
fn any_of(view: &View<'_>, count: usize) -> bool {
    (0..count).rev().any(|number| {
        let found = view.namespace(&format!("n{number}")).get::<i64>("k");
        found.is_ok_and(|found| found.is_some())
    })
}

/// Harm: who read very many was told that a message of so many bytes is too large.
#[test]
fn a_transaction_or_a_condition_reads_so_many_namespaces_and_no_more() {
    const MAX: usize = 1024;
    let ctx = Context::new().expect("a tree");
    ctx.state().set("k", &1).expect("set");
    let transaction = |count: usize| {
        ctx.state().transaction(|txn| {
            for number in 0..count {
                txn.namespace(&format!("n{number}")).get::<i64>("k")?;
            }
            txn.set("k", &2)
        })
    };
    // One that captures runs here, the other in the server.
    let fed = |count: usize| ctx.state().wait_until(move |view| any_of(view, count));
    transaction(MAX).expect("it fits");
    let refusals = [
        transaction(MAX + 1).map(drop),
        fed(MAX + 1).map(drop),
        ctx.state()
            .wait_until(|view| any_of(view, MAX + 1))
            .map(drop),
    ];
    for refused in refusals {
        let error = refused.expect_err("one namespace too many");
        assert!(error.is_limit(), "{error:#}");
        assert!(
            error.to_string().contains("READ_NAMESPACES_MAX"),
            "{error:#}"
        );
    }
    thread::scope(|scope| {
        let fits = [
            scope.spawn(|| fed(MAX).map(drop)),
            scope.spawn(|| ctx.state().wait_until(|view| any_of(view, MAX)).map(drop)),
        ];
        ctx.namespace("n0").set("k", &1).expect("set");
        for waited in fits {
            waited.join().expect("no panic").expect("it fits");
        }
    });
}

#[test]
fn limits_that_do_not_fit_each_other_start_nothing() {
    let mut limits = Limits::default();
    limits.sessions_max = 1;
    let error = Context::builder().limits(limits).start().unwrap_err();
    assert!(error.is_bad_limits(), "{error}");
    let text = error.to_string();
    assert!(
        text.contains(
            "a connection finds no room for its session (connections_max = 4096, sessions_max = 1)"
        ),
        "{text}"
    );
}

/// A hundred calls at once, whose answers together are more than is kept for one process: none is
/// refused for it.
#[test]
fn a_hundred_large_answers_at_once() {
    let ctx = Context::new().expect("a tree");
    thread::scope(|scope| {
        let take = || ctx.state().atomic(|_, bytes| Ok(text(bytes)), 1 << 20);
        let threads: Vec<_> = (0..100).map(|_| scope.spawn(take)).collect();
        for thread in threads {
            let answer = thread.join().expect("no panic");
            assert_eq!(answer.expect("it was answered").len(), (1 << 20) - 5);
        }
    });
}
