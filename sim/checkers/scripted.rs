//! Each checker has histories that it must refuse, and near misses that it must accept.

use super::*;
use crate::history::{Changed, Committed};
use zproc::seam::proto::codec;
use zproc::seam::proto::ids::{Revision, WatchId};
use zproc::seam::proto::limits::Limits;
use zproc::seam::proto::message::{
    Change, Condition, End as ProcessEnd, Filter, Finish, FunctionRef, Origin, Reply, Request,
    Update, WireOutcome,
};
use zproc::seam::proto::time::Time;
use zproc::seam::runtime::Observation;

mod batches;
mod changes;
mod endings;
mod here;
mod limits;
mod locks;
mod search;
mod transactions;

const A: ProcessId = ProcessId(2);
const B: ProcessId = ProcessId(3);

/// A history made by hand. Every line is one stamp after the one before.
#[derive(Default)]
struct Script {
    history: History,
    limits: Limits,
    calls: u64,
}

/// Namespace, key, value before, value after.
type Line<'a> = (&'a str, &'a str, Option<&'a [u8]>, Option<&'a [u8]>);

impl Script {
    fn call(&mut self, process: ProcessId, request: &Request<'_>) -> u64 {
        self.calls += 1;
        let call = self.calls;
        let called = Observation::Called { call, request };
        self.history.observe(process, process.0 as usize, &called);
        call
    }

    fn returned(&mut self, process: ProcessId, call: u64, reply: &Reply<'_>) {
        let returned = Observation::Returned { call, reply };
        self.history.observe(process, process.0 as usize, &returned);
    }

    fn unknown(&mut self, process: ProcessId, call: u64) {
        let unknown = Observation::Unknown { call };
        self.history.observe(process, process.0 as usize, &unknown);
    }

    fn written(&mut self, process: ProcessId, call: u64, revision: u64) {
        let reply = Reply::Written {
            revision: Revision(revision),
            before: None,
        };
        self.returned(process, call, &reply);
    }

    fn value(&mut self, process: ProcessId, call: u64, revision: u64, value: Option<&[u8]>) {
        let reply = Reply::Value {
            revision: Revision(revision),
            value,
        };
        self.returned(process, call, &reply);
    }

    fn commit(&mut self, revision: u64, process: ProcessId, lines: &[Line<'_>]) {
        self.committed(revision, process, None, None, lines);
    }

    fn committed(
        &mut self,
        revision: u64,
        process: ProcessId,
        function: Option<&str>,
        released: Option<&str>,
        lines: &[Line<'_>],
    ) {
        let changes = lines.iter().map(|(namespace, key, before, after)| Changed {
            namespace: (*namespace).to_owned(),
            key: (*key).to_owned(),
            before: before.map(<[u8]>::to_vec),
            after: after.map(<[u8]>::to_vec),
        });
        self.history.committed(Committed {
            stamp: 0,
            revision: Revision(revision),
            process,
            function: function.map(str::to_owned),
            released: released.map(str::to_owned),
            attached: false,
            changes: changes.collect(),
            resets: Vec::new(),
            refilled: Vec::new(),
        });
    }

    /// A whole set: called, committed, returned.
    fn set(&mut self, process: ProcessId, revision: u64, key: &str, value: &[u8]) {
        let call = self.call(process, &set(key, value));
        self.commit(revision, process, &[("n", key, None, Some(value))]);
        self.written(process, call, revision);
    }

    fn updated(&mut self, process: ProcessId, revision: u64, changes: &[Change<'_>]) {
        let update = Update {
            revision: Revision(revision),
            time: Time(0),
            origin: Origin {
                process: B,
                function: None,
                released: None,
            },
            reset: false,
            changes: changes.to_vec(),
        };
        let updated = Observation::Updated {
            watch: 1,
            update: &update,
        };
        self.history.observe(process, process.0 as usize, &updated);
    }

    fn watch(&mut self, process: ProcessId, filter: Filter<'_>, next: u64) {
        let request = Request::Watch {
            watch: WatchId(1),
            namespace: "n",
            filter,
            from: None,
            credit: 1,
            feeds: None,
        };
        let call = self.call(process, &request);
        let next = Revision(next);
        self.returned(process, call, &Reply::Watching { next });
    }

    /// What the checkers say of it, as a run that has finished.
    fn judged(&self) -> Vec<&'static str> {
        self.judged_at(RunEnd::Finished, &[])
    }

    fn judged_at(&self, end: RunEnd, alive: &[ProcessId]) -> Vec<&'static str> {
        let ending = Ending {
            end,
            limits: self.limits,
            has_points: false,
            alive: alive.to_vec(),
            waiting: Vec::new(),
        };
        let verdict = check(&self.history, &ending);
        let mut broken: Vec<_> = verdict.violations.iter().map(|v| v.guarantee).collect();
        broken.dedup();
        broken
    }
}

fn set<'a>(key: &'a str, value: &'a [u8]) -> Request<'a> {
    Request::Set {
        namespace: "n",
        key,
        value,
        owned: false,
    }
}

fn own<'a>(key: &'a str, value: &'a [u8]) -> Request<'a> {
    Request::Set {
        namespace: "n",
        key,
        value,
        owned: true,
    }
}

fn get(key: &str) -> Request<'_> {
    get_at(key, None)
}

fn get_at(key: &str, at: Option<Revision>) -> Request<'_> {
    Request::Get {
        namespace: "n",
        key,
        at,
    }
}

const NONE: [&str; 0] = [];

#[test]
fn a_read_gives_what_the_state_had() {
    for (value, broken) in [(Some(&[1_u8][..]), vec![]), (None, vec![LINEARIZABLE])] {
        let mut script = Script::default();
        script.set(A, 1, "k", &[1]);
        let call = script.call(B, &get("k"));
        script.value(B, call, 1, value);
        assert_eq!(script.judged(), broken);
    }
}

#[test]
fn a_read_may_be_concurrent_with_a_write_but_not_stale() {
    // Called before the write returned: the old state is fine.
    let mut script = Script::default();
    let read = script.call(B, &get("k"));
    let write = script.call(A, &set("k", &[1]));
    script.commit(1, A, &[("n", "k", None, Some(&[1]))]);
    script.written(A, write, 1);
    script.value(B, read, 0, None);
    assert_eq!(script.judged(), NONE);
    // Called after it returned: it is not.
    let mut script = Script::default();
    script.set(A, 1, "k", &[1]);
    let read = script.call(B, &get("k"));
    script.value(B, read, 0, None);
    assert_eq!(script.judged(), [LINEARIZABLE]);
    // The same within one process breaks that promise too.
    let mut script = Script::default();
    script.set(A, 1, "k", &[1]);
    let read = script.call(A, &get("k"));
    script.value(A, read, 0, None);
    assert_eq!(script.judged(), [OWN_WRITES, LINEARIZABLE]);
}

#[test]
fn a_read_does_not_see_the_future() {
    let mut script = Script::default();
    let read = script.call(B, &get("k"));
    script.value(B, read, 1, Some(&[1]));
    script.set(A, 1, "k", &[1]);
    assert!(script.judged().contains(&LINEARIZABLE));
}

#[test]
fn an_answer_after_an_update_is_as_new() {
    for (revision, broken) in [(2, vec![]), (1, vec![OWN_WRITES, LINEARIZABLE])] {
        let mut script = Script::default();
        script.set(B, 1, "k", &[1]);
        script.watch(A, Filter::All, 2);
        let read = script.call(A, &get("k"));
        script.value(A, read, 1, Some(&[1]));
        let write = script.call(B, &set("k", &[2]));
        script.commit(2, B, &[("n", "k", Some(&[1]), Some(&[2]))]);
        script.written(B, write, 2);
        let change = Change {
            key: "k",
            before: Some(&[1]),
            after: Some(&[2]),
        };
        script.updated(A, 2, &[change]);
        let read = script.call(A, &get("k"));
        script.value(A, read, revision, Some(&[revision as u8]));
        assert_eq!(script.judged(), broken);
    }
}

#[test]
fn nothing_changes_between_commits() {
    for (before, broken) in [(Some(&[1_u8][..]), vec![]), (Some(&[9]), vec![ATOMIC])] {
        let mut script = Script::default();
        script.set(A, 1, "k", &[1]);
        let call = script.call(A, &set("k", &[2]));
        script.commit(2, A, &[("n", "k", before, Some(&[2]))]);
        script.written(A, call, 2);
        assert_eq!(script.judged(), broken);
    }
}

const SPEND: FunctionRef<'static> = FunctionRef {
    offset: 0,
    name: "zproc_sim::workloads::functions::spend",
};

#[test]
fn a_function_changes_all_of_what_it_should() {
    let bytes = |value: i64| rmp_serde::to_vec_named(&value).expect("a number");
    let args = rmp_serde::to_vec_named(&("a", "b", 3_i64)).expect("a tuple");
    let ten = bytes(10);
    let atomic = Request::Atomic {
        namespace: "n",
        function: SPEND,
        args: &args,
    };
    let (left, moved) = (bytes(7), bytes(3));
    let whole: &[Line<'_>] = &[
        ("n", "a", Some(&ten), Some(&left)),
        ("n", "b", None, Some(&moved)),
    ];
    for (lines, broken) in [(whole, vec![]), (&whole[..1], vec![ATOMIC])] {
        let mut script = Script::default();
        script.set(A, 1, "a", &ten);
        let call = script.call(A, &atomic);
        script.committed(2, A, Some(SPEND.name), None, lines);
        let reply = Reply::Returned {
            revision: Revision(2),
            value: &left,
        };
        script.returned(A, call, &reply);
        assert_eq!(script.judged(), broken);
    }
}

#[test]
fn a_returned_write_has_its_commit_and_no_other() {
    // None at all.
    let mut script = Script::default();
    let call = script.call(A, &set("k", &[1]));
    script.written(A, call, 1);
    assert!(script.judged().contains(&ONCE));
    // Two.
    let mut script = Script::default();
    let call = script.call(A, &set("k", &[1]));
    script.commit(1, A, &[("n", "k", None, Some(&[1]))]);
    script.commit(2, A, &[("n", "k", Some(&[1]), Some(&[1]))]);
    script.written(A, call, 2);
    assert_eq!(script.judged(), [ONCE]);
    // A removal of nothing needs none.
    let mut script = Script::default();
    let remove = Request::Remove {
        namespace: "n",
        key: "k",
    };
    let call = script.call(A, &remove);
    script.written(A, call, 0);
    assert_eq!(script.judged(), NONE);
}

#[test]
fn what_is_unknown_was_done_at_most_once() {
    for (times, broken) in [(0, vec![]), (1, vec![]), (2, vec![ONCE])] {
        let mut script = Script::default();
        let call = script.call(A, &set("k", &[1]));
        let mut before: Option<&[u8]> = None;
        for revision in 1..=times {
            script.commit(revision, A, &[("n", "k", before, Some(&[1]))]);
            before = Some(&[1]);
        }
        script.unknown(A, call);
        assert_eq!(script.judged(), broken);
    }
    // Not before it was called, and not by another process.
    let mut script = Script::default();
    script.commit(1, A, &[("n", "k", None, Some(&[1]))]);
    script.call(A, &set("k", &[1]));
    assert_eq!(script.judged(), [ONCE]);
    let mut script = Script::default();
    script.call(A, &set("k", &[1]));
    script.commit(1, B, &[("n", "k", None, Some(&[1]))]);
    assert_eq!(script.judged(), [ONCE]);
}

#[test]
fn a_watch_gives_each_update_once_in_order() {
    let change = |value: &'static [u8]| Change {
        key: "k",
        before: None,
        after: Some(value),
    };
    let cases: [(&[u64], Vec<&str>); 5] = [
        (&[1, 3], vec![]),
        // A prefix is no gap: more may be on its way.
        (&[1], vec![]),
        (&[3], vec![EVERY_UPDATE]),
        (&[1, 1], vec![EVERY_UPDATE]),
        (&[3, 1], vec![EVERY_UPDATE]),
    ];
    for (given, broken) in cases {
        let mut script = Script::default();
        script.watch(A, Filter::Key("k"), 1);
        script.set(B, 1, "k", &[1]);
        script.set(B, 2, "other", &[2]);
        let call = script.call(
            B,
            &Request::Remove {
                namespace: "n",
                key: "k",
            },
        );
        script.commit(3, B, &[("n", "k", Some(&[1]), None)]);
        let reply = Reply::Written {
            revision: Revision(3),
            before: Some(&[1]),
        };
        script.returned(B, call, &reply);
        for revision in given {
            let change = match revision {
                1 => change(&[1]),
                _ => Change {
                    key: "k",
                    before: Some(&[1]),
                    after: None,
                },
            };
            script.updated(A, *revision, &[change]);
        }
        assert_eq!(script.judged(), broken, "{given:?}");
    }
}

#[test]
fn an_update_says_what_was_changed() {
    let mut script = Script::default();
    script.watch(A, Filter::All, 1);
    script.set(B, 1, "k", &[1]);
    let change = Change {
        key: "k",
        before: None,
        after: Some(&[2]),
    };
    script.updated(A, 1, &[change]);
    assert_eq!(script.judged(), [EVERY_UPDATE]);
}

#[test]
fn a_watch_that_hangs_owes_nothing() {
    for (key, broken) in [("other", vec![NO_LOST_WAKEUP]), ("k", vec![EVERY_UPDATE])] {
        let mut script = Script::default();
        script.watch(A, Filter::Key("k"), 1);
        script.set(B, 1, key, &[1]);
        // A run that hangs is told in any case; with an update owed, that is why.
        assert_eq!(script.judged_at(RunEnd::Stuck, &[A]), broken);
    }
}

#[test]
fn compacted_needs_something_lost() {
    for (oldest, broken) in [(3, vec![]), (2, vec![EVERY_UPDATE])] {
        let mut script = Script::default();
        script.set(B, 1, "k", &[1]);
        script.watch(A, Filter::All, 2);
        script.set(B, 2, "l", &[2]);
        let oldest = Revision(oldest);
        script
            .history
            .push(A, A.0 as usize, What::Note(Note::Compacted { oldest }));
        assert_eq!(script.judged(), broken);
    }
}

#[test]
fn a_wait_returns_when_it_holds_and_not_before() {
    let wait = |value| Request::Wait {
        namespace: "n",
        condition: Condition::Equal { key: "k", value },
    };
    let returned = Reply::Returned {
        revision: Revision(1),
        value: &[],
    };
    let mut script = Script::default();
    let call = script.call(A, &wait(&[1]));
    script.set(B, 1, "k", &[1]);
    script.returned(A, call, &returned);
    assert_eq!(script.judged(), NONE);
    let mut script = Script::default();
    let call = script.call(A, &wait(&[2]));
    script.set(B, 1, "k", &[1]);
    script.returned(A, call, &returned);
    assert!(script.judged().contains(&NO_LOST_WAKEUP));
    // It held for one revision only, and that was enough.
    let mut script = Script::default();
    script.call(A, &wait(&[1]));
    script.set(B, 1, "k", &[1]);
    assert_eq!(script.judged(), NONE, "it may still be on its way");
    assert_eq!(script.judged_at(RunEnd::Stuck, &[A]), [NO_LOST_WAKEUP]);
}

/// The record of a process, as far as the checker reads it.
fn record(state: &str) -> Vec<u8> {
    #[derive(serde::Serialize)]
    struct Record<'a> {
        state: &'a str,
    }
    rmp_serde::to_vec_named(&Record { state }).expect("a text")
}

/// Process B owns two keys and dies; what is released is for the caller to say.
fn death(released: &[&str], after: bool) -> Script {
    let mut script = Script::default();
    for (revision, key) in [(1, "k"), (2, "l")] {
        let call = script.call(B, &own(key, &[1]));
        script.commit(revision, B, &[("n", key, None, Some(&[1]))]);
        script.written(B, call, revision);
    }
    let status = 9;
    let unread = Vec::new();
    script.history.push(B, 3, What::Died { status, unread });
    let ended = record("ended");
    let mut lines: Vec<Line<'_>> = vec![("", "process/3", None, Some(&ended))];
    lines.extend(
        released
            .iter()
            .map(|key| ("n", *key, Some(&[1_u8][..]), None)),
    );
    if after {
        script.committed(3, B, None, Some("killed by signal 9"), &lines);
    }
    script
}

#[test]
fn all_that_a_process_owned_goes_with_it() {
    assert_eq!(death(&["k", "l"], true).judged(), NONE);
    assert_eq!(death(&["k"], true).judged(), [BOUND]);
    assert_eq!(death(&[], false).judged(), [BOUND]);
    // What another has overwritten is not its own any more.
    let mut script = Script::default();
    let call = script.call(B, &own("k", &[1]));
    script.commit(1, B, &[("n", "k", None, Some(&[1]))]);
    script.written(B, call, 1);
    let call = script.call(A, &set("k", &[2]));
    script.commit(2, A, &[("n", "k", Some(&[1]), Some(&[2]))]);
    script.written(A, call, 2);
    let ended = record("ended");
    let lines: [Line<'_>; 2] = [
        ("", "process/3", None, Some(&ended)),
        ("n", "k", Some(&[2]), None),
    ];
    for (lines, broken) in [(&lines[..1], vec![]), (&lines[..], vec![BOUND])] {
        let mut script = Script {
            history: script.history.clone(),
            limits: script.limits,
            calls: script.calls,
        };
        let died = What::Died {
            status: 9,
            unread: Vec::new(),
        };
        script.history.push(B, 3, died);
        script.committed(3, B, None, Some("killed by signal 9"), lines);
        assert_eq!(script.judged(), broken);
    }
}

#[test]
fn nothing_comes_behind_a_release() {
    let mut script = death(&["k", "l"], true);
    let call = script.call(B, &set("m", &[1]));
    script.commit(4, B, &[("n", "m", None, Some(&[1]))]);
    script.unknown(B, call);
    assert_eq!(script.judged(), [BOUND]);
}

#[test]
fn last_writes_come_before_the_release() {
    for (applied, broken) in [(true, vec![]), (false, vec![BOUND])] {
        let mut script = Script::default();
        script.call(B, &set("k", &[1]));
        let unread = vec![codec::to_bytes(&set("k", &[1]))];
        script.history.push(B, 3, What::Died { status: 9, unread });
        if applied {
            script.commit(1, B, &[("n", "k", None, Some(&[1]))]);
        }
        let ended = record("ended");
        let lines: &[Line<'_>] = &[("", "process/3", None, Some(&ended))];
        script.committed(2, B, None, Some("killed by signal 9"), lines);
        assert_eq!(script.judged(), broken);
        // Where the state may be full, a last write may be refused.
        script.limits.state_bytes_max = 1_000;
        assert_eq!(script.judged(), NONE);
    }
}

#[test]
fn an_end_is_told_when_it_is_committed() {
    for (told_at, broken) in [(3, vec![]), (2, vec![BOUND])] {
        let mut script = death(&["k", "l"], true);
        let condition = Condition::Ended { process: B };
        let wait = Request::Wait {
            namespace: "",
            condition,
        };
        let call = script.call(A, &wait);
        let reply = Reply::Ended {
            revision: Revision(told_at),
            outcome: WireOutcome {
                end: ProcessEnd::Finished(Finish::Value(&[])),
                cpu_user_ns: 0,
                cpu_system_ns: 0,
                memory_bytes_max: 0,
                wall_ns: 0,
                stdout: None,
                stderr: None,
            },
            rest: 0,
        };
        script.returned(A, call, &reply);
        let judged = script.judged();
        assert_eq!(
            judged.contains(&BOUND),
            broken.contains(&BOUND),
            "{judged:?}"
        );
    }
}
