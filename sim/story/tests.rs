//! The story of whole runs.

use super::{Item, Lane, Sink, What, terminal};
use crate::choices::Otherwise;
use crate::process::Program;
use crate::simulation::{Options, Report, Setup, simulate};
use crate::workloads;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use zproc::{Context, Result, Txn};

fn told(seed: u64, faults: bool, sink: Sink, program: Program) -> Report {
    let setup = Setup {
        seed,
        options: Options {
            faults,
            ..Options::default()
        },
        only: None,
        feed: Vec::new(),
        otherwise: Otherwise::Drawn,
        record: false,
        story: Some((sink, false)),
    };
    simulate(setup, program).0
}

fn add(txn: &mut Txn<'_>, by: u64) -> Result<u64> {
    let sum = txn.get::<u64>("sum")?.unwrap_or(0) + by;
    txn.set("sum", &sum)?;
    Ok(sum)
}

fn tiny(ctx: &Context) -> Result<()> {
    ctx.namespace("mix").set("x0", &("seventeen", [17]))?;
    ctx.state().atomic(add, 3)?;
    let child = ctx.spawn(|ctx, by: u64| ctx.state().atomic(add, by), 4_u64)?;
    assert_eq!(child.join()??, 7);
    Ok(())
}

/// The lines behind the legend, without their times: those are drawn.
fn lines(program: fn(&Context) -> Result<()>) -> Vec<String> {
    let lines = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&lines);
    let sink = terminal::printer(false, move |line| kept.borrow_mut().push(line.to_owned()));
    let report = told(1, false, sink, Box::new(program));
    assert_eq!(report.outcome, Ok(()));
    let lines = lines.borrow();
    let (legend, lines) = lines.split_at(terminal::LEGEND.len());
    assert_eq!(legend, terminal::LEGEND);
    let column = "     0.000000  ".len();
    lines.iter().map(|line| line[column..].to_owned()).collect()
}

#[test]
fn a_tiny_program_reads_so() {
    let lines = lines(tiny);
    // Whether a thread was held up for long enough to say so is drawn.
    let of = |who: &str| -> Vec<&str> {
        (lines.iter().filter(|line| !line.contains(" ^^ ")))
            .filter_map(|line| Some(line.strip_prefix(who)?.trim_start()))
            .collect()
    };
    let program = [
        "++       begins: the program",
        "..       connects (link 0)",
        "->       hello",
        "zz       waits for a message",
        "<-       welcome, session 1",
        r#"->    1  set mix/x0 = ["seventeen", [17]]"#,
        "<-    1  done at revision 1",
        "->    2  atomic add(3) on default",
        "<-    2  3 at revision 2",
        "->    3  spawn tiny::{{closure}}(4)",
        "<-    3  #2 at revision 3",
        "->    4  wait until #2 has ended",
        "zz       waits until #2 has ended",
    ];
    assert_eq!(of("#1")[..program.len()], program, "{lines:#?}");
    let child = of("#2");
    for line in [
        "++       begins: tiny::{{closure}}",
        "<-    1  run tiny::{{closure}}(4)",
        "->    2  atomic add(4) on default",
        "--       exits with 0",
    ] {
        assert!(child.contains(&line), "{line}: {lines:#?}");
    }
    let commits = [
        r#"==       revision 1: mix/x0 none -> ["seventeen", [17]] (by #1)"#,
        "==       revision 2: default/sum none -> 3 (by #1, function add)",
        "==       revision 3: process/2 none -> starting (by #1)",
    ];
    assert_eq!(of("server")[..3], commits);
    assert!(of("keeper").contains(&"..       tells the server: #2 has ended, it exits with 0"));
}

fn items(seed: u64) -> (Vec<Item>, Report) {
    let items = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&items);
    let sink = Box::new(move |item| kept.borrow_mut().push(item));
    let report = told(seed, true, sink, Box::new(workloads::program));
    (items.take(), report)
}

/// Whatever the faults: each message is sent once and then arrives or is lost, who waits goes on
/// before it waits again, time does not run backwards, and every fault is told.
#[test]
fn stories_add_up() {
    let mut lost = 0;
    for seed in 0..30 {
        let (items, report) = items(seed);
        let mut travelling = BTreeMap::new();
        let mut waiting = BTreeSet::new();
        let mut struck: BTreeMap<&str, u64> = BTreeMap::new();
        let mut revisions = Vec::new();
        let mut time = crate::trace::START;
        for item in items {
            assert!(item.time >= time, "seed {seed}: {item:?}");
            time = item.time;
            let thread = (item.lane, item.thread);
            match item.what {
                What::Sent(message) => {
                    assert!(travelling.insert(message.id, message).is_none());
                }
                What::Arrived(message) => {
                    assert_eq!(travelling.remove(&message.id).as_ref(), Some(&message));
                    let client = Lane::from(message.process);
                    let lane = if message.to_server {
                        Lane::Server
                    } else {
                        client
                    };
                    assert_eq!(item.lane, lane);
                }
                What::Lost(message) => {
                    assert_eq!(travelling.remove(&message.id).as_ref(), Some(&message));
                    lost += 1;
                }
                What::Blocks { .. } => assert!(waiting.insert(thread), "seed {seed}"),
                What::GoesOn { since, .. } => {
                    assert!(waiting.remove(&thread) && since <= time, "seed {seed}");
                }
                What::Ended { .. } => waiting.retain(|(lane, _)| *lane != item.lane),
                What::Fault { name, times, .. } => *struck.entry(name).or_default() += times,
                What::Commit { revision, .. } => revisions.push(revision.0),
                _ => {}
            }
        }
        for fault in crate::faults::Fault::all() {
            let told = struck.get(fault.name()).copied().unwrap_or(0);
            assert_eq!(
                told, report.struck.count[fault as usize],
                "seed {seed}: {fault:?}"
            );
        }
        assert!(revisions.is_sorted() && revisions.len() > 10);
    }
    assert!(lost > 0, "resets and crashes lose messages");
}
