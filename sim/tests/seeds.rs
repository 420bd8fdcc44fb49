//! The public face on small programs: seeds, faults, crashes, threads, and mistakes that are named.

use std::time::Duration;
use zproc::{Context, Result, Txn};
use zproc_sim::{Options, run, run_with, thread};

fn count(txn: &mut Txn<'_>, by: u64) -> Result<u64> {
    let sum = txn.get::<u64>("sum")?.unwrap_or(0) + by;
    txn.set("sum", &sum)?;
    Ok(sum)
}

fn worker(ctx: &Context, rounds: u64) -> Result<u64> {
    for _ in 0..rounds {
        ctx.state().atomic(count, 1)?;
        thread::sleep_ns(thread::choose(10_000));
    }
    Ok(rounds)
}

fn program(ctx: &Context) -> Result<()> {
    let workers: Vec<_> = (0..3)
        .map(|_| ctx.spawn(worker, 5))
        .collect::<Result<_>>()?;
    let mut survived = 0;
    for worker in workers {
        survived += worker.join().map_or(0, |rounds| rounds.unwrap_or(0));
    }
    let sum = ctx.state().get::<u64>("sum")?.unwrap_or(0);
    assert!((survived..=15).contains(&sum), "{sum} of {survived}");
    Ok(())
}

#[test]
fn every_seed_is_clean_and_comes_back() {
    let mut hashes = std::collections::BTreeSet::new();
    let mut struck = 0;
    for seed in 0..40 {
        let report = run(seed, program);
        assert!(report.is_clean(), "seed {seed}: {:?}", report.violations);
        assert_eq!(report.outcome, Ok(()), "seed {seed}");
        assert_eq!(report.hash, run(seed, program).hash, "seed {seed}");
        hashes.insert(report.hash);
        struck += report.struck.in_flight_total();
    }
    assert_eq!(hashes.len(), 40);
    assert!(struck > 0);
}

#[test]
fn without_faults_nothing_is_lost() {
    let mut options = Options::default();
    options.faults = false;
    let report = run_with(1, options, |ctx| {
        program(ctx)?;
        assert_eq!(ctx.state().get("sum")?, Some(15));
        Ok(())
    });
    assert_eq!(report.outcome, Ok(()));
    assert_eq!(report.struck.count.iter().sum::<u64>(), 0);
}

#[test]
fn threads_share_a_context() {
    for seed in 0..20 {
        let report = run(seed, |ctx| {
            let threads: Vec<_> = (0..3)
                .map(|_| {
                    let ctx = ctx.clone();
                    thread::spawn(move || worker(&ctx, 4))
                })
                .collect();
            for thread in threads {
                thread.join().expect("it does not panic")?;
            }
            assert_eq!(ctx.state().get("sum")?, Some(12_u64));
            Ok(())
        });
        assert!(report.is_clean(), "seed {seed}: {:?}", report.violations);
        assert_eq!(report.outcome, Ok(()), "seed {seed}");
    }
}

#[test]
fn a_panic_of_the_program_is_told() {
    let report = run(3, |_| panic!("of my own"));
    let told = report.outcome.as_ref().expect_err("it panicked");
    assert!(
        told.contains("of my own") && told.contains("seeds.rs"),
        "{told}"
    );
    assert!(report.is_clean());
}

/// Asks the server for something while it panics.
struct LastWords(Context);

impl Drop for LastWords {
    fn drop(&mut self) {
        let _ = self.0.state().set("last", "words");
    }
}

#[test]
fn a_call_while_unwinding_works() {
    for seed in 0..20 {
        let report = run(seed, |ctx| {
            let child = ctx.spawn(
                |ctx, ()| {
                    let _last = LastWords(ctx.clone());
                    panic!("on purpose")
                },
                (),
            )?;
            let error: zproc::Error = child.join().map(|(): ()| ()).unwrap_err();
            if error.is_panic() {
                let last = ctx.state().get::<String>("last")?;
                assert_eq!(last.as_deref(), Some("words"));
            }
            Ok(())
        });
        assert!(report.is_clean(), "seed {seed}: {:?}", report.violations);
        assert_eq!(report.outcome, Ok(()), "seed {seed}");
    }
}

#[test]
fn a_foreign_thread_is_a_named_error() {
    let report = run(1, |ctx| {
        let ctx = ctx.clone();
        let foreign = std::thread::spawn(move || ctx.ping(Duration::from_secs(60)));
        let payload = foreign.join().expect_err("it may not");
        let text = payload.downcast_ref::<&str>().expect("a literal");
        assert!(text.contains("not part of the simulation"), "{text}");
        Ok(())
    });
    assert_eq!(report.outcome, Ok(()));
}

#[test]
fn a_wait_for_nothing_is_told() {
    let report = run(1, |ctx| ctx.state().wait_equal("never", &1).map(drop));
    assert!(!report.is_clean());
    assert!(!report.waiting.is_empty());
}

#[test]
fn time_limits_are_simulated() {
    let report = run(2, |ctx| {
        let hour = Duration::from_secs(3600);
        let error = ctx
            .state()
            .within(hour)
            .wait_equal("never", &1)
            .unwrap_err();
        assert!(error.is_timeout(), "{error}");
        Ok(())
    });
    assert_eq!(report.outcome, Ok(()));
    assert!(report.simulated >= Duration::from_secs(3600));
}
