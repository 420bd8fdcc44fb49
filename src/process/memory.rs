//! Has the system killed anybody of this control group for want of memory? Its count of that tells
//! a process that was killed so from one that somebody has killed, though not for sure.

use std::fs;
use std::path::{Path, PathBuf};

/// The count, as it was last seen.
pub(crate) struct Kills {
    file: Option<PathBuf>,
    seen: u64,
}

impl Kills {
    /// Of the group that this process is in.
    pub(crate) fn new() -> Kills {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let file = file(&groups, &mounts, |path| count(path).is_some());
        let seen = file.as_deref().and_then(count).unwrap_or(0);
        Kills { file, seen }
    }

    /// Has there been one more than was asked for? Each counts once.
    pub(crate) fn has_risen(&mut self) -> bool {
        let now = self.file.as_deref().and_then(count).unwrap_or(0);
        let risen = now > self.seen;
        self.seen += u64::from(risen);
        risen
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

    #[test]
    fn each_kill_counts_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("memory.events");
        let write = |count: u64| {
            let text = format!("low 0\noom 7\noom_kill {count}\noom_group_kill 0\n");
            fs::write(&path, text).expect("write");
        };
        write(5);
        let mut kills = Kills {
            file: Some(path.clone()),
            seen: count(&path).expect("it is there"),
        };
        assert!(!kills.has_risen());
        write(7);
        assert!(kills.has_risen() && kills.has_risen() && !kills.has_risen());
        fs::remove_file(&path).expect("remove");
        assert!(!kills.has_risen());
    }
}
