//! A simulated program that hangs: the report says who waits for what since when.

use zproc::{Context, Result};
use zproc_sim::{Options, run_with};

fn waits_for_a_value(ctx: &Context, (): ()) -> Result<()> {
    ctx.state().wait_equal("never/a", &1).map(drop)
}

fn waits_for_a_key(ctx: &Context, (): ()) -> Result<()> {
    ctx.state()
        .wait_until(|view| view.contains_key("never/b"))
        .map(drop)
}

fn program(ctx: &Context) -> Result<()> {
    let first = ctx.spawn(waits_for_a_value, ())?;
    let second = ctx.spawn(waits_for_a_key, ())?;
    first.join()??;
    second.join()?
}

/// A line without its durations, which are the seed's.
fn timeless(line: &str) -> String {
    let (before, behind) = match (line.split_once(" waits "), line.split_once(" since ")) {
        (Some((who, rest)), _) if rest.contains(" for: ") => {
            let (_, what) = rest.split_once(" for: ").unwrap_or_default();
            (who, format!(" waits for: {what}"))
        }
        (_, Some((before, _))) => (before, String::new()),
        _ => (line, String::new()),
    };
    format!("{before}{behind}")
}

#[test]
fn the_report_tells_who_waits_for_what() {
    let mut options = Options::default();
    options.faults = false;
    let report = run_with(1, options, program);
    assert!(!report.is_clean());
    let told: Vec<String> = report.waiting.iter().map(|line| timeless(line)).collect();
    let expected = [
        "at revision r4: 3 processes, 3 waits",
        "process 1 (main) waits for: join of process 2 (hangs::waits_for_a_value)",
        "process 2 (hangs::waits_for_a_value), pid 1002, waits for: key \"never/a\" in namespace \"default\" \
         to be the integer 1",
        "process 3 (hangs::waits_for_a_key), pid 1003, waits for: hangs::waits_for_a_key::{{closure}} to hold \
         in namespace \"default\"; it read key \"never/b\"",
    ];
    assert_eq!(told[..4], expected);
    // Which of the two came first is the seed's.
    for process in 1..=3 {
        let about = |start: &str, end: &str| {
            let of = format!(" of process {process}{end}");
            let mut lines = told[4..].iter();
            lines.any(|line| line.starts_with(start) && line.contains(&of))
        };
        assert!(about("thread ", " waits to read from link "), "{told:?}");
        assert!(about("link ", ": empty"), "{told:?}");
    }
    assert_eq!(told.len(), 10);
    let since = report.waiting[1]
        .split(" waits ")
        .nth(1)
        .unwrap_or_default();
    assert!(
        since.starts_with(|first: char| first.is_ascii_digit()),
        "{}",
        report.waiting[1]
    );
}

#[test]
fn faults_end_before_a_run_is_said_to_hang() {
    let mut hung = 0;
    for seed in 0..20 {
        let report = run_with(seed, Options::default(), program);
        // Its processes may be killed; then it ends.
        if report.outcome.is_ok() || report.waiting.is_empty() {
            continue;
        }
        hung += 1;
        let waits = |line: &&String| line.contains(" waits ") && line.contains(" for: ");
        assert!(
            report.waiting.iter().filter(waits).count() >= 2,
            "seed {seed}: {:#?}",
            report.waiting
        );
    }
    assert!(hung > 0, "some seed kills nobody");
}
