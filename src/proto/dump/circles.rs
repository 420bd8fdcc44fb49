//! Processes that wait for each other.

use super::{Awaited, Dump, Keys, RECORD_PREFIX, WaitDump};
use crate::proto::ids::ProcessId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

type Edges = BTreeMap<ProcessId, BTreeSet<ProcessId>>;

/// See [`Dump::circles`].
pub(super) fn of(dump: &Dump) -> Vec<Vec<ProcessId>> {
    let mut edges = Edges::new();
    for (process, wait) in dump.waits() {
        let waits_for = edges.entry(process.id).or_default();
        waits_for.extend(awaited_by(wait));
    }
    let starts = edges.keys();
    starts
        .filter_map(|start| shortest(&edges, *start))
        .collect()
}

/// The shortest way from `start` back to it over greater numbers, if there is one.
fn shortest(edges: &Edges, start: ProcessId) -> Option<Vec<ProcessId>> {
    let mut came_from: BTreeMap<ProcessId, ProcessId> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        for next in edges.get(&at).into_iter().flatten() {
            if *next == start {
                let mut circle = vec![at];
                let mut back = at;
                while back != start {
                    back = came_from[&back];
                    circle.push(back);
                }
                circle.reverse();
                return Some(circle);
            }
            if *next > start && !came_from.contains_key(next) {
                came_from.insert(*next, at);
                queue.push_back(*next);
            }
        }
    }
    None
}

/// The processes that must do something before this wait can end.
fn awaited_by(wait: &WaitDump) -> Vec<ProcessId> {
    match &wait.awaited {
        Awaited::End {
            held_back: true, ..
        }
        | Awaited::Equal { .. }
        | Awaited::Key { .. }
        | Awaited::Changed { .. }
        // Turns are taken in the order of asking, so they are in no circle.
        | Awaited::Turn { .. } => Vec::new(),
        Awaited::End { process, .. } => vec![*process],
        Awaited::Lock { holder, .. } => vec![*holder],
        Awaited::Condition {
            reads,
            reads_left_out,
            ..
        } => {
            let record = |(namespace, keys): &(String, Keys)| match keys {
                Keys::Key(key) if namespace.is_empty() => key
                    .strip_prefix(RECORD_PREFIX)
                    .and_then(|id| id.parse().ok())
                    .map(ProcessId),
                _ => None,
            };
            let records: Option<Vec<_>> = reads.iter().map(record).collect();
            records.filter(|_| *reads_left_out == 0).unwrap_or_default()
        }
    }
}

/// One circle in words.
pub(super) fn tell(dump: &Dump, circle: &[ProcessId], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let ways: Vec<String> = circle
        .iter()
        .zip(circle.iter().cycle().skip(1))
        .map(|(from, to)| way(dump, *from, *to))
        .collect();
    let is_own_lock = matches!(circle, [alone] if locks(dump, *alone, *alone).next().is_some());
    f.write_str(match is_own_lock {
        true => "deadlock, if one thread has taken the lock twice: ",
        false => "deadlock, unless another thread of one of them goes on: ",
    })?;
    f.write_str(&ways.join("; "))
}

/// The locks that the first process waits for and the second holds.
fn locks(dump: &Dump, from: ProcessId, to: ProcessId) -> impl Iterator<Item = &str> {
    let waits = dump.process(from).into_iter().flat_map(|it| &it.waits);
    waits.filter_map(move |wait| match &wait.awaited {
        Awaited::Lock { name, holder, .. } if *holder == to => Some(name.as_str()),
        _ => None,
    })
}

fn way(dump: &Dump, from: ProcessId, to: ProcessId) -> String {
    let (waiter, other) = (dump.name(from), dump.name(to));
    match locks(dump, from, to).next() {
        Some(lock) if from == to => format!("{waiter} waits for lock {lock:?}, which it holds"),
        Some(lock) => format!("{waiter} waits for lock {lock:?}, held by {other}"),
        None => format!("{waiter} waits for the end of {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::words::tests::{dump, process};
    use super::*;

    fn join(id: u64) -> Awaited {
        Awaited::End {
            process: ProcessId(id),
            name: String::new(),
            function: format!("f{id}"),
            held_back: false,
        }
    }

    fn lock(name: &str, holder: u64) -> Awaited {
        Awaited::Lock {
            name: name.to_owned(),
            holder: ProcessId(holder),
            ahead: 0,
        }
    }

    #[test]
    fn joins_in_a_circle_are_told() {
        let dump = dump(vec![
            process(1, vec![join(2)]),
            process(2, vec![join(4), join(3)]),
            process(3, vec![join(2)]),
            process(4, vec![]),
            process(5, vec![join(5)]),
        ]);
        let circles = [vec![ProcessId(2), ProcessId(3)], vec![ProcessId(5)]];
        assert_eq!(dump.circles(), circles);
        assert_eq!(
            dump.to_string(),
            "at revision r17: 5 processes, 5 waits\n\
             process 1 (f1) waits 12.3 s for: join of process 2 (f2)\n\
             process 2 (f2) waits 12.3 s for: join of process 4 (f4)\n\
             process 2 (f2) waits 12.3 s for: join of process 3 (f3)\n\
             process 3 (f3) waits 12.3 s for: join of process 2 (f2)\n\
             process 4 (f4) runs, as far as the server can see\n\
             process 5 (f5) waits 12.3 s for: join of process 5 (f5)\n\
             deadlock, unless another thread of one of them goes on: process 2 (f2) waits for the \
             end of process 3 (f3); process 3 (f3) waits for the end of process 2 (f2)\n\
             deadlock, unless another thread of one of them goes on: process 5 (f5) waits for the \
             end of process 5 (f5)"
        );
    }

    #[test]
    fn locks_in_a_circle_are_told_by_name() {
        let dump = dump(vec![
            process(3, vec![lock("a", 4)]),
            process(4, vec![join(6), lock("b", 5)]),
            process(5, vec![join(3)]),
            process(7, vec![lock("c", 7)]),
            process(8, vec![lock("c", 7)]),
        ]);
        let circles = [[3, 4, 5].map(ProcessId).to_vec(), vec![ProcessId(7)]];
        assert_eq!(dump.circles(), circles);
        let text = dump.to_string();
        let last: Vec<&str> = text.lines().rev().take(2).collect();
        assert_eq!(
            last[1],
            "deadlock, unless another thread of one of them goes on: process 3 (f3) waits for lock \
             \"a\", held by process 4 (f4); process 4 (f4) waits for lock \"b\", held by process 5 \
             (f5); process 5 (f5) waits for the end of process 3 (f3)"
        );
        assert_eq!(
            last[0],
            "deadlock, if one thread has taken the lock twice: process 7 (f7) waits for lock \"c\", \
             which it holds"
        );
    }

    #[test]
    fn a_condition_on_a_record_is_a_join_and_one_on_more_is_not() {
        let condition = |namespace: &str, key: &str, left| Awaited::Condition {
            function: "c".to_owned(),
            namespace: String::new(),
            reads: vec![(namespace.to_owned(), Keys::Key(key.to_owned()))],
            reads_left_out: left,
        };
        let of = |namespace, key, left| {
            let processes = vec![
                process(1, vec![join(2)]),
                process(2, vec![condition(namespace, key, left)]),
            ];
            dump(processes).circles().len()
        };
        assert_eq!(of("", "process/1", 0), 1);
        assert_eq!(of("", "process/1", 1), 0, "another read may make it hold");
        assert_eq!(of("", "process/x", 0), 0);
        assert_eq!(of("", "process/3", 0), 0);
        assert_eq!(of("n", "process/1", 0), 0, "a user's key");
    }
}
