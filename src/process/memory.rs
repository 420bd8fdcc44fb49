//! Has the system killed anybody of this control group for want of memory? Its count of that tells
//! a process that was killed so from one that somebody has killed, though not for sure.

use crate::proto::ids::ProcessId;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long after a kill was counted its victim may be reaped.
const VICTIM_PATIENCE: Duration = Duration::from_secs(2);

/// The count, as it was last seen.
pub(crate) struct Kills {
    file: Option<PathBuf>,
    seen: u64,
    /// The process that was started last.
    latest: ProcessId,
    /// Kills that nobody was told to have died of.
    unclaimed: Option<Unclaimed>,
}

#[derive(Debug, Clone, Copy)]
struct Unclaimed {
    count: u64,
    /// Who was started later was not killed by them.
    latest: ProcessId,
    noticed: Instant,
}

impl Kills {
    /// Of the group that this process is in.
    pub(crate) fn new() -> Kills {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Kills::of(file(&groups, &mounts, |path| count(path).is_some()))
    }

    fn of(file: Option<PathBuf>) -> Kills {
        let seen = file.as_deref().and_then(count).unwrap_or(0);
        Kills {
            file,
            seen,
            latest: ProcessId::PROGRAM,
            unclaimed: None,
        }
    }

    /// This process is to be started.
    pub(crate) fn starts(&mut self, process: ProcessId, now: Instant) {
        self.look(now);
        self.latest = process;
    }

    /// Reads the count: to be done as soon as somebody was reaped, so that it is known when it rose.
    pub(crate) fn look(&mut self, now: Instant) {
        let Some(count) = self.file.as_deref().and_then(count) else {
            return;
        };
        let is_fresh =
            |kills: &Unclaimed| now.saturating_duration_since(kills.noticed) <= VICTIM_PATIENCE;
        self.unclaimed = self.unclaimed.filter(is_fresh);
        let risen = count.saturating_sub(self.seen);
        self.seen = count;
        if risen > 0 {
            self.unclaimed = Some(Unclaimed {
                count: self.unclaimed.map_or(0, |kills| kills.count) + risen,
                latest: self.latest,
                noticed: now,
            });
        }
    }

    /// May this process, which was reaped just now, have died of one? Each counts once.
    pub(crate) fn claim(&mut self, process: ProcessId) -> bool {
        let kills = self.unclaimed.as_mut();
        let Some(kills) = kills.filter(|kills| kills.count > 0 && process <= kills.latest) else {
            return false;
        };
        kills.count -= 1;
        true
    }
}

/// The count in such a file: `oom_kill 3`.
fn count(path: &Path) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    line?.trim().parse().ok()
}

/// Where the count of these groups is, in either of the two forms of control groups.
fn file(groups: &str, mounts: &str, has_count: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    // "0::/path" is of the new form, "4:memory:/path" of the old one.
    groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let (kind, name) = match controllers {
            "" => ("cgroup2", "memory.events"),
            names if names.split(',').any(|name| name == "memory") => {
                ("cgroup", "memory.oom_control")
            }
            _ => return None,
        };
        mounts.lines().find_map(|mount| {
            let (place, about) = mount.split_once(" - ")?;
            let mut about = about.split(' ');
            let of_kind = about.next() == Some(kind)
                && (kind == "cgroup2" || about.nth(1)?.split(',').any(|option| option == "memory"));
            let mut fields = place.split(' ').skip(3);
            let (root, point) = (fields.next()?, fields.next()?);
            // In a container the group's path may lead through what is not mounted.
            let below = path.strip_prefix(root).unwrap_or(path);
            let file = Path::new(point)
                .join(below.trim_start_matches('/'))
                .join(name);
            (of_kind && has_count(&file)).then_some(file)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                       32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                       35 31 0:32 /docker/1 /sys/fs/cgroup/memory rw,relatime shared:1 - cgroup cgroup rw,memory\n";
    const NEW: &str = "30 23 0:26 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn the_count_is_found_in_both_forms() {
        let all = |_: &Path| true;
        let new = file("0::/user.slice/a\n", NEW, all);
        let path = "/sys/fs/cgroup/user.slice/a/memory.events";
        assert_eq!(new.as_deref(), Some(Path::new(path)));
        let groups = "8:pids:/\n4:memory:/docker/1/b\n0::/\n";
        let old = file(groups, OLD, all);
        let path = "/sys/fs/cgroup/memory/b/memory.oom_control";
        assert_eq!(old.as_deref(), Some(Path::new(path)));
        assert_eq!(file(groups, OLD, |_| false), None);
        assert_eq!(file("", "", all), None);
        assert_eq!(file("nonsense\n1:\n", "more - of it\n", all), None);
    }

    /// A count that tests set.
    struct Counted {
        directory: tempfile::TempDir,
        kills: Kills,
        begin: Instant,
    }

    impl Counted {
        fn at(count: u64) -> Counted {
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join("memory.events");
            let mut counted = Counted {
                directory,
                kills: Kills::of(None),
                begin: Instant::now(),
            };
            counted.set(count);
            counted.kills = Kills::of(Some(path));
            for process in [2, 3] {
                counted
                    .kills
                    .starts(ProcessId(process), counted.after(Duration::ZERO));
            }
            counted
        }

        fn set(&self, count: u64) {
            let text = format!("low 0\noom 7\noom_kill {count}\noom_group_kill 0\n");
            fs::write(self.directory.path().join("memory.events"), text).expect("write");
        }

        fn after(&self, time: Duration) -> Instant {
            self.begin + time
        }

        fn reaped(&mut self, process: u64, after: Duration) -> bool {
            let now = self.after(after);
            self.kills.look(now);
            self.kills.claim(ProcessId(process))
        }
    }

    const SOON: Duration = Duration::from_millis(100);

    #[test]
    fn each_kill_counts_once() {
        let mut counted = Counted::at(5);
        assert!(!counted.reaped(2, SOON));
        counted.set(7);
        assert!(counted.reaped(2, SOON) && counted.reaped(3, SOON));
        assert!(!counted.reaped(3, SOON));
        counted.directory.close().expect("remove");
        let now = counted.begin + SOON;
        counted.kills.look(now);
        assert!(!counted.kills.claim(ProcessId(2)));
    }

    /// It was the next process to die of SIGKILL that was charged, whenever that was.
    #[test]
    fn an_old_kill_is_not_charged_to_a_later_death() {
        let mut counted = Counted::at(5);
        counted.set(6);
        // Somebody ends, not by SIGKILL, and so the rise is noticed.
        counted.kills.look(counted.after(SOON));
        assert!(!counted.reaped(2, SOON + VICTIM_PATIENCE * 2));
        // Nor to one that began behind it.
        counted.set(7);
        let now = counted.after(VICTIM_PATIENCE * 3);
        counted.kills.starts(ProcessId(4), now);
        assert!(!counted.reaped(4, VICTIM_PATIENCE * 3 + SOON));
        assert!(counted.reaped(3, VICTIM_PATIENCE * 3 + SOON));
    }
}
