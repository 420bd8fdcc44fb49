//! What processes use now, as the system tells it.

use crate::runtime::Usage;
use std::time::Duration;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// Asks about these, in their order.
pub(super) fn of(pids: &[u32]) -> Vec<Option<Usage>> {
    let pids: Vec<Pid> = pids.iter().copied().map(Pid::from_u32).collect();
    let Ok(mut system) = System::new() else {
        return vec![None; pids.len()];
    };
    let what = ProcessRefreshKind::nothing().with_cpu().with_memory();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&pids), false, what);
    let usage = |pid: &Pid| {
        let process = system.process(*pid)?;
        Some(Usage {
            cpu: Duration::from_millis(process.accumulated_cpu_time()),
            memory_bytes: process.memory(),
        })
    };
    pids.iter().map(usage).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something_and_one_that_is_not_there_nothing() {
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_millis(30) {
            std::hint::black_box(0);
        }
        let found = of(&[std::process::id(), u32::MAX / 2]);
        let own = found[0].expect("it is there");
        assert!(
            own.memory_bytes > 100_000 && own.cpu > Duration::ZERO,
            "{own:?}"
        );
        assert_eq!(found[1], None);
    }
}
