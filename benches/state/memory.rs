//! What an entry takes.

use crate::measure::Options;
use crate::redis::Redis;
use crate::tree::{self, Tree};
use crate::{Failure, amount, tell};
use zproc::Limits;

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let count = amount(options, 1_000_000);
    let mut limits = Limits::default();
    // What the log holds is shown apart.
    limits.history_entries_max = 1;
    let ours = Tree::start(limits)?;
    let before = ours.bytes()?;
    tree::fill(&ours.ctx.state(), count)?;
    let per_entry = |after: u64, before: u64| after.saturating_sub(before) as f64 / count as f64;
    let figure = per_entry(ours.bytes()?, before);
    let theirs = match Redis::start()? {
        None => None,
        Some(redis) => {
            let before = tree::bytes(redis.process())?;
            redis.connect()?.fill(count)?;
            Some(per_entry(tree::bytes(redis.process())?, before))
        }
    };
    let name = format!("memory per entry of {count}");
    let theirs = theirs.map(|figure| ("Redis", figure));
    tell(options, &name, figure, "bytes", theirs);
    Ok(())
}
