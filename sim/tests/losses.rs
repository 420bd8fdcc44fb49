//! What is left when the server, the keeper or the program is gone: calls that say so, and nobody who
//! hangs.

use zproc::{Context, Result};
use zproc_sim::{Fault, Options, run_with};

/// Waits for what the program never writes.
fn patient(ctx: &Context, _: ()) -> Result<()> {
    ctx.state().wait_equal("never", &1).map(drop)
}

/// Starts processes and writes until something is lost; at the end it kills nobody, but returns.
fn program(ctx: &Context) -> Result<()> {
    let waiting = ctx.spawn(patient, ())?;
    for round in 0..300_u64 {
        ctx.state().set("round", &round)?;
        if round % 10 == 0 {
            ctx.spawn(|_: &Context, (): ()| (), ())?.join().ok();
        }
    }
    drop(waiting);
    Ok(())
}

#[test]
fn calls_say_what_is_lost_and_nobody_hangs() {
    let mut options = Options::default();
    options.losses = true;
    let mut struck = [0; 3];
    let mut noticed = 0;
    for seed in 0..150 {
        let report = run_with(seed, options, program);
        assert!(
            report.is_clean(),
            "seed {seed}: {:?} {:?}",
            report.violations,
            report.waiting
        );
        let faults = [Fault::ServerCrash, Fault::KeeperCrash, Fault::ProgramCrash];
        let counts = faults.map(|fault| report.struck.count[fault as usize]);
        for (sum, count) in struck.iter_mut().zip(counts) {
            *sum += count;
        }
        if counts[0] + counts[1] > 0 && counts[2] == 0 {
            // It may have been through just before it would have noticed.
            if let Err(told) = report.outcome {
                assert!(told.contains("the server is lost"), "seed {seed}: {told}");
                let how = match counts[0] {
                    0 => "the keeper of the tree was lost",
                    _ if counts[1] > 0 => "",
                    _ => "killed by SIGKILL",
                };
                assert!(told.contains(how), "seed {seed}: {told}");
                noticed += 1;
            }
        }
    }
    assert!(struck.iter().all(|count| *count > 0), "{struck:?}");
    assert!(noticed > 0);
}
