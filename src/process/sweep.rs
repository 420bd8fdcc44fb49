//! Ending processes for certain: those below a process, or those that bear a tree's mark.
//!
//! Freeze, then kill: a process that is stopped forks no more, so after a look at `/proc` that finds
//! nobody new there is nobody else. A process is signalled by its pidfd after a second look at who
//! it is, so a number that was given anew meanwhile never costs a stranger its life.

use super::role::{TREE_VARIABLE, is_marked};
use super::sys::{self, Pid};
use crate::proto::ids::ProcessId;
use std::collections::{HashMap, HashSet};
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Looks at `/proc` before freezing counts as done whatever is found: enough for any tree that does
/// not fork faster than it is frozen, which one frozen process after the other makes impossible.
const PASSES_MAX: usize = 64;
/// How long the end of the tree may make no progress (a process that can't be killed, since it is
/// another user's by now, or hangs in the kernel) before the keeper leaves the rest to itself.
pub(super) const END_PATIENCE: Duration = Duration::from_secs(10);
/// How long the end waits for the next death before it looks for processes again.
const END_LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A process as `/proc` shows it. Pid and start together name it for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    pub(crate) pid: Pid,
    pub(crate) parent: Pid,
    pub(crate) group: Pid,
    pub(crate) session: Pid,
    /// In clock ticks since boot.
    pub(crate) start: u64,
    /// Ended, and not reaped yet.
    pub(crate) is_zombie: bool,
}

/// All processes there are.
pub(crate) fn census() -> Vec<Seen> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| look(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .collect()
}

/// One process, if it is there.
pub(crate) fn look(pid: Pid) -> Option<Seen> {
    // One read gives all of it: the kernel writes it as one piece, and it is shorter than this.
    let mut line = [0; 2048];
    let mut file = std::fs::File::open(format!("/proc/{pid}/stat")).ok()?;
    let length = file.read(&mut line).ok()?;
    parse_stat(&line[..length])
}

/// Reads the line of `/proc/PID/stat`. The name in it stands in parentheses and may hold anything,
/// more parentheses too.
fn parse_stat(line: &[u8]) -> Option<Seen> {
    let name_start = line.iter().position(|&byte| byte == b'(')?;
    let name_end = line.iter().rposition(|&byte| byte == b')')?;
    let pid = std::str::from_utf8(line.get(..name_start)?).ok()?;
    let rest = std::str::from_utf8(line.get(name_end + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some(Seen {
        pid: pid.trim().parse().ok()?,
        is_zombie: matches!(*fields.first()?, "Z" | "X"),
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        start: fields.get(19)?.parse().ok()?,
    })
}

/// All that descends from `roots`, themselves not counted.
pub(crate) fn below(all: &[Seen], roots: &[Pid]) -> Vec<Seen> {
    let mut children: HashMap<Pid, Vec<Seen>> = HashMap::new();
    for &seen in all {
        children.entry(seen.parent).or_default().push(seen);
    }
    let mut found = Vec::new();
    let mut queue: Vec<Pid> = roots.to_vec();
    while let Some(pid) = queue.pop() {
        // Taking them out ends it even if numbers were given anew while we looked.
        for seen in children.remove(&pid).unwrap_or_default() {
            queue.push(seen.pid);
            found.push(seen);
        }
    }
    found
}

/// Does the process bear the mark of this tree (and of this process of it)? As its environment was
/// when its program began; one that cleared it bears none.
pub(crate) fn bears_mark(pid: Pid, tree: &str, process: Option<ProcessId>) -> bool {
    let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")) else {
        return false;
    };
    environment.split(|&byte| byte == 0).any(|variable| {
        variable
            .strip_prefix(TREE_VARIABLE.as_bytes())
            .and_then(|rest| rest.strip_prefix(b"="))
            .is_some_and(|value| is_marked(value, tree, process))
    })
}

/// Signals the very process that was seen; false when it is not there any more, or is not ours to
/// signal.
pub(crate) fn signal(seen: &Seen, signal: libc::c_int) -> bool {
    let Ok(pidfd) = sys::pidfd_open(seen.pid) else {
        return false;
    };
    // The descriptor names whoever has the number now: still the one that was seen?
    if look(seen.pid).is_none_or(|now| now.start != seen.start) {
        return false;
    }
    sys::pidfd_signal(pidfd.as_fd(), signal).is_ok()
}

/// Stops and then kills all that `find` finds, until it finds nobody new. Gives how many were
/// killed; zombies and those that can't be signalled are not among them.
pub(crate) fn kill_all(mut find: impl FnMut() -> Vec<Seen>) -> usize {
    let mut known: HashSet<(Pid, u64)> = HashSet::new();
    let mut frozen = Vec::new();
    for _ in 0..PASSES_MAX {
        let fresh: Vec<Seen> = find()
            .into_iter()
            .filter(|seen| !seen.is_zombie && known.insert((seen.pid, seen.start)))
            .collect();
        if fresh.is_empty() {
            break;
        }
        for seen in fresh {
            if signal(&seen, libc::SIGSTOP) {
                frozen.push(seen);
            }
        }
    }
    frozen
        .iter()
        .filter(|seen| signal(seen, libc::SIGKILL))
        .count()
}

/// Descriptors that are held open to be closed for a sweep: one that could not look at `/proc`, for
/// want of descriptors, would find nobody.
#[derive(Default)]
pub(crate) struct Spare {
    #[expect(dead_code, reason = "held open until it is dropped")]
    descriptors: Vec<OwnedFd>,
}

impl Spare {
    /// As many as a sweep has open at a time, or fewer if there are no more.
    pub(crate) fn new() -> Spare {
        let open = || std::fs::File::open("/dev/null").map(OwnedFd::from).ok();
        let descriptors = (0..SPARE_DESCRIPTORS).map_while(|_| open());
        Spare {
            descriptors: descriptors.collect(),
        }
    }
}

/// A list of a directory, a file of it or a process, and one to be sure.
const SPARE_DESCRIPTORS: usize = 3;

/// How long the guard is given to end the tree before the server does.
const GUARD_PATIENCE: Duration = Duration::from_secs(10);

/// For the server that has lost its keeper: as long as there is a guard, it is the one to end the
/// tree, this process with it, which then does not come back. If both did it, each could freeze the
/// other first, and neither would ever go on.
pub(crate) fn leave_to_guard(keeper: &OwnedFd, tree: &str) {
    // Its sockets close a moment before its orphans get their next parent.
    await_end(keeper, GUARD_PATIENCE);
    let parent = sys::parent();
    let guard = sys::pidfd_open(parent);
    if let Ok(guard) = guard
        && sys::parent() == parent
        && bears_mark(parent, tree, None)
    {
        await_end(&guard, GUARD_PATIENCE);
    }
}

/// Waits until a process has ended, or the time is up.
fn await_end(process: &OwnedFd, limit: Duration) {
    let begin = Instant::now();
    while let Some(left) = limit.checked_sub(begin.elapsed()) {
        match sys::poll([Some((process.as_fd(), false))], Some(left)) {
            Ok([polled]) if !polled.readable => {}
            _ => return,
        }
    }
}

/// Kills every process that bears the tree's mark, but this one. For the server that has lost the
/// keeper, and with it the knowledge of who descends from whom.
pub(crate) fn kill_marked(tree: &str) {
    let own = sys::pid();
    let find = || {
        let all = census();
        let marked: Vec<Seen> = all
            .iter()
            .filter(|seen| seen.pid != own && bears_mark(seen.pid, tree, None))
            .copied()
            .collect();
        // And what these have started, with whatever environment.
        let roots: Vec<Pid> = marked.iter().map(|seen| seen.pid).collect();
        let mut found = below(&all, &roots);
        found.extend(marked);
        found.retain(|seen| seen.pid != own);
        found
    };
    // Again until a round finds nobody: the dead may have had children that were missed.
    for _ in 0..PASSES_MAX {
        if kill_all(find) == 0 {
            break;
        }
    }
}

/// The children of a process that are there now, without a look at all of `/proc`: cheap, and good
/// only where a miss does no harm. Every child, if the kernel doesn't tell it so.
pub(crate) fn children(parent: Pid) -> Vec<Pid> {
    match std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")) {
        Ok(text) => text
            .split_ascii_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => census()
            .iter()
            .filter(|seen| seen.parent == parent)
            .map(|seen| seen.pid)
            .collect(),
        Err(_) => Vec::new(),
    }
}

/// Empties a descriptor that doesn't block.
pub(super) fn drain(fd: &OwnedFd) {
    let mut buffer = [0; 1024];
    while matches!(sys::read(fd.as_fd(), &mut buffer), Ok(1..)) {}
}

/// Kills and reaps every descendant of this process, until there is none.
pub(super) fn end_all_below() {
    let own = sys::pid();
    let deaths = sys::child_signals();
    let mut progress = Instant::now();
    // Nothing to look for: so it is for a guard whose keeper has ended the tree itself.
    if sys::reap().is_err() {
        return;
    }
    loop {
        // What it kills again and again, and what can't be killed, is no progress; a death is.
        kill_all(|| below(&census(), &[own]));
        loop {
            match sys::reap() {
                Ok(Some(_)) => {
                    progress = Instant::now();
                    continue;
                }
                Ok(None) => {}
                // No children: nobody is below us.
                Err(_) => return,
            }
            let has_news = deaths.as_ref().is_ok_and(|deaths| {
                let watched = [Some((deaths.as_fd(), false))];
                let polled = sys::poll(watched, Some(END_LOOK_INTERVAL));
                drain(deaths);
                polled.is_ok_and(|polled| polled[0].readable)
            });
            if !has_news {
                break;
            }
        }
        if progress.elapsed() > END_PATIENCE {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_stat_line_with_an_evil_name_is_read() {
        let mut line = b"12 (a) b) (c) S 3 12 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 ".to_vec();
        line.extend_from_slice(b"987 1 2 3");
        let seen = parse_stat(&line).expect("well-formed");
        assert_eq!(
            (seen.pid, seen.parent, seen.group, seen.session),
            (12, 3, 12, 9)
        );
        assert_eq!(seen.start, 987);
        assert!(!seen.is_zombie);
        assert!(parse_stat(b"12 (x").is_none());
    }

    #[test]
    fn this_process_is_in_the_census_below_its_parent() {
        let own = sys::pid();
        let all = census();
        assert!(all.iter().any(|seen| seen.pid == own));
        let parent = Pid::try_from(std::os::unix::process::parent_id()).expect("a pid");
        let found = below(&all, &[parent]);
        assert!(found.iter().any(|seen| seen.pid == own));
    }

    #[test]
    fn the_marked_and_what_they_started_are_killed() {
        // A mark of its own: the sweep looks at every process of the machine.
        let tree = format!("{:016x}", sys::random_u64().expect("there is randomness"));
        let mut child = Command::new("sh")
            .args(["-c", "env -i sleep 1000 & wait"])
            .env(TREE_VARIABLE, format!("{tree}/3"))
            .stdin(Stdio::null())
            .spawn()
            .expect("spawn sh");
        let pid = Pid::try_from(child.id()).expect("a pid");
        let grandchild = loop {
            let found = below(&census(), &[pid]);
            match found.first() {
                Some(seen) if bears_mark(pid, &tree, Some(ProcessId(3))) => {
                    break *seen;
                }
                _ => std::thread::yield_now(),
            }
        };
        let death = sys::pidfd_open(grandchild.pid).expect("it lives");
        kill_marked(&tree);
        assert!(!child.wait().expect("wait").success());
        // It dies when it next runs, and its descriptor tells.
        let limit = Duration::from_secs(60);
        let polled = sys::poll([Some((death.as_fd(), false))], Some(limit)).expect("poll");
        assert!(polled[0].readable);
    }
}
