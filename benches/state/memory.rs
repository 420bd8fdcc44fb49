//! What an entry takes.

use crate::measure::Options;
use crate::redis::Redis;
use crate::tree::{self, Tree, key};
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
            let mut peer = redis.connect()?;
            for start in (0..count).step_by(1000) {
                let entries: Vec<(String, String)> = (start..count.min(start + 1000))
                    .map(|number| (key(number), number.to_string()))
                    .collect();
                let set = |entry: &'_ (String, String)| (entry.0.clone(), entry.1.clone());
                let entries: Vec<_> = entries.iter().map(set).collect();
                let commands: Vec<Vec<&[u8]>> = entries
                    .iter()
                    .map(|(key, value)| vec![&b"SET"[..], key.as_bytes(), value.as_bytes()])
                    .collect();
                peer.send(&commands)?;
                for _ in &commands {
                    peer.read()?;
                }
            }
            Some(per_entry(tree::bytes(redis.process())?, before))
        }
    };
    let name = format!("memory per entry of {count}");
    let theirs = theirs.map(|figure| ("Redis", figure));
    tell(options, &name, figure, "bytes", theirs);
    Ok(())
}
