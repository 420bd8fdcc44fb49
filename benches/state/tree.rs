//! A tree whose server's memory can be looked at.

use crate::Failure;
use std::collections::BTreeSet;
use zproc::{Context, Limits, State};

pub(crate) struct Tree {
    pub(crate) ctx: Context,
    /// The server's number.
    pub(crate) server: u32,
}

impl Tree {
    pub(crate) fn start(limits: Limits) -> Result<Tree, Failure> {
        let before = servers()?;
        let ctx = Context::builder().limits(limits).start()?;
        let server = servers()?.difference(&before).next().copied();
        let server = server.ok_or("the server has a name of its own")?;
        Ok(Tree { ctx, server })
    }

    /// What the server has in memory.
    pub(crate) fn bytes(&self) -> Result<u64, Failure> {
        bytes(self.server)
    }
}

/// What a process has in memory.
pub(crate) fn bytes(process: u32) -> Result<u64, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.ok_or("its memory is told")?.parse::<u64>()? * 1024)
}

fn servers() -> Result<BTreeSet<u32>, Failure> {
    let mut servers = BTreeSet::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(process) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // It may have ended meanwhile.
        let comm = std::fs::read_to_string(format!("/proc/{process}/comm"));
        if comm.is_ok_and(|comm| comm.trim() == "zproc-server") {
            servers.insert(process);
        }
    }
    Ok(servers)
}

/// The name of an entry.
pub(crate) fn key(number: usize) -> String {
    format!("entry/{number:010}")
}

/// Writes so many small entries.
pub(crate) fn fill(state: &State, count: usize) -> Result<(), Failure> {
    const BATCH: usize = 10_000;
    for start in (0..count).step_by(BATCH) {
        let end = count.min(start + BATCH);
        state.extend((start..end).map(|number| (key(number), number)))?;
    }
    Ok(())
}
