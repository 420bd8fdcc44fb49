//! Histories of transactions: what they have read, what they write, and their leases.

use super::*;
use crate::history::Looked;
use zproc::seam::proto::ids::LeaseId;
use zproc::seam::proto::message::Failure;
use zproc::seam::proto::operations::{Operation, Part, Read};

const NAME: &str = "the closure";
const L: LeaseId = LeaseId(1);

fn number(key: &'static str, value: &'static [u8]) -> Operation<'static> {
    let owned = false;
    Operation::Set { key, value, owned }
}

/// A commit of these writes, of a run that has read the key "k" at this revision.
fn commit<'a>(at: u64, lease: Option<LeaseId>, writes: &[Operation<'a>]) -> Request<'a> {
    let part = Part {
        namespace: "n",
        reads: vec![Read::Key("k")],
        writes: writes.to_vec(),
    };
    Request::Commit {
        function: NAME,
        at: Revision(at),
        parts: vec![part],
        lease,
    }
}

fn looked(key: &str, value: Option<i64>) -> Looked {
    Looked::Key("n".to_owned(), key.to_owned(), value)
}

fn looked_through(prefix: &str, entries: &[(&str, i64)]) -> Looked {
    let entries = entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), *value));
    Looked::Span("n".to_owned(), prefix.to_owned(), entries.collect())
}

impl Script {
    fn transacted(&mut self, process: ProcessId, reads: &[Looked], wrote: bool) {
        let reads = reads.to_vec();
        let note = Note::Transacted { reads, wrote };
        self.history
            .push(process, process.0 as usize, What::Note(note));
    }

    /// The first read of a run: of the present.
    fn reads(&mut self, process: ProcessId, revision: u64, key: &str, value: Option<&[u8]>) {
        let call = self.call(process, &get(key));
        self.value(process, call, revision, value);
    }

    /// A whole commit of one write: called, done, returned.
    fn commits_one(
        &mut self,
        process: ProcessId,
        (at, revision): (u64, u64),
        lease: Option<LeaseId>,
        (key, before, after): (&'static str, Option<&[u8]>, &'static [u8]),
    ) {
        let call = self.call(process, &commit(at, lease, &[number(key, after)]));
        let lines = &[("n", key, before, Some(after))];
        self.committed(revision, process, Some(NAME), None, lines);
        self.written(process, call, revision);
    }

    fn queues(&mut self, process: ProcessId, key: Option<&str>) -> u64 {
        let (lease, on) = (L, vec![("n", key)]);
        self.call(
            process,
            &Request::Lease {
                lease,
                function: NAME,
                on,
            },
        )
    }

    fn given(&mut self, process: ProcessId, call: u64, revision: u64) {
        let revision = Revision(revision);
        self.returned(process, call, &Reply::Done { revision });
    }

    /// Its commit is a conflict, and it has its lease still or has it no more.
    fn conflicts(&mut self, process: ProcessId, revision: u64, held: bool) {
        let call = self.call(process, &commit(0, Some(L), &[number("k", &[9])]));
        let barred = false;
        let reply = Reply::Failed {
            revision: Revision(revision),
            failure: Failure::Conflict { barred, held },
        };
        self.returned(process, call, &reply);
    }
}

#[test]
fn what_a_transaction_has_read_stands_just_before_its_writes() {
    let none: &[(&str, i64)] = &[];
    let cases = [
        (looked("k", Some(2)), vec![]),
        // As it was before another wrote it.
        (looked("k", Some(1)), vec![LINEARIZABLE]),
        // As it is after its own write.
        (looked("k", Some(3)), vec![LINEARIZABLE]),
        (looked("k", None), vec![LINEARIZABLE]),
        (looked("absent", None), vec![]),
        (looked("absent", Some(1)), vec![LINEARIZABLE]),
        (looked_through("", &[("k", 2)]), vec![]),
        (looked_through("k", &[("k", 2)]), vec![]),
        (looked_through("k/", none), vec![]),
        // One is missing, one is too many, one is old.
        (looked_through("", none), vec![LINEARIZABLE]),
        (
            looked_through("", &[("k", 2), ("l", 1)]),
            vec![LINEARIZABLE],
        ),
        (looked_through("", &[("k", 1)]), vec![LINEARIZABLE]),
    ];
    for (read, broken) in cases {
        let mut script = Script::default();
        script.set(B, 1, "k", &[1]);
        let call = script.call(B, &set("k", &[2]));
        script.commit(2, B, &[("n", "k", Some(&[1]), Some(&[2]))]);
        script.written(B, call, 2);
        script.reads(A, 2, "k", Some(&[2]));
        script.commits_one(A, (2, 3), None, ("k", Some(&[2]), &[3]));
        script.transacted(A, std::slice::from_ref(&read), true);
        assert_eq!(script.judged(), broken, "{read:?}");
    }
}

#[test]
fn a_transaction_that_wrote_has_committed() {
    let mut script = Script::default();
    script.reads(A, 0, "k", None);
    script.transacted(A, &[looked("k", None)], true);
    assert_eq!(script.judged(), [LINEARIZABLE]);
}

/// The key "k" is 1 when A begins to read, then "l" is written, then A says what it has read.
fn reads_only(reads: &[Looked]) -> Vec<&'static str> {
    let mut script = Script::default();
    script.set(B, 1, "before", &[1]);
    script.set(B, 2, "k", &[1]);
    script.reads(A, 2, "k", Some(&[1]));
    script.set(B, 3, "l", &[1]);
    script.set(B, 4, "m", &[1]);
    script.transacted(A, reads, false);
    script.set(B, 5, "behind", &[1]);
    script.judged()
}

#[test]
fn what_a_transaction_that_only_reads_has_seen_was_so_at_one_revision_while_it_ran() {
    let (k, no_l) = (looked("k", Some(1)), looked("l", None));
    let (l, m) = (looked("l", Some(1)), looked("m", Some(1)));
    assert_eq!(reads_only(&[]), NONE);
    // Of its first revision, of its last, of the one between.
    assert_eq!(reads_only(&[k.clone(), no_l.clone()]), NONE);
    assert_eq!(reads_only(&[k.clone(), l.clone(), m.clone()]), NONE);
    assert_eq!(reads_only(&[k.clone(), l, looked("m", None)]), NONE);
    // Of two at once, of one before it began, of one after its end.
    assert_eq!(reads_only(&[k, no_l, m]), [LINEARIZABLE]);
    assert_eq!(reads_only(&[looked("k", None)]), [LINEARIZABLE]);
    assert_eq!(reads_only(&[looked("behind", Some(1))]), [LINEARIZABLE]);
}

#[test]
fn a_commit_changes_what_it_says_all_of_it() {
    let writes = &[number("k", &[1]), number("l", &[2])];
    let whole: &[Line<'_>] = &[("n", "k", None, Some(&[1])), ("n", "l", None, Some(&[2]))];
    let other: &[Line<'_>] = &[whole[0], ("n", "l", None, Some(&[3]))];
    let more: &[Line<'_>] = &[whole[0], whole[1], ("n", "m", None, Some(&[3]))];
    let cases = [
        (whole, vec![]),
        (&whole[..1], vec![ATOMIC]),
        (other, vec![ATOMIC]),
        (more, vec![ATOMIC]),
    ];
    for (lines, broken) in cases {
        let mut script = Script::default();
        let call = script.call(A, &commit(0, None, writes));
        script.committed(1, A, Some(NAME), None, lines);
        script.written(A, call, 1);
        assert_eq!(script.judged(), broken, "{lines:?}");
    }
}

#[test]
fn a_commit_that_conflicts_changes_nothing() {
    for (is_done, broken) in [(false, vec![]), (true, vec![ATOMIC])] {
        let mut script = Script::default();
        script.set(B, 1, "k", &[1]);
        let call = script.call(A, &commit(0, None, &[number("k", &[2])]));
        if is_done {
            script.committed(
                2,
                A,
                Some(NAME),
                None,
                &[("n", "k", Some(&[1]), Some(&[2]))],
            );
        }
        let (barred, held) = (false, false);
        let reply = Reply::Failed {
            revision: Revision(if is_done { 2 } else { 1 }),
            failure: Failure::Conflict { barred, held },
        };
        script.returned(A, call, &reply);
        assert_eq!(script.judged(), broken);
    }
}

#[test]
fn a_commit_without_an_answer_is_done_once_or_not_at_all() {
    for (times, broken) in [(0, vec![]), (1, vec![]), (2, vec![ONCE])] {
        let mut script = Script::default();
        let add = Operation::Add { key: "k", by: 1 };
        let call = script.call(A, &commit(0, None, &[add]));
        let mut before = None;
        for time in 1..=times {
            let sum = [time as u8];
            let line = ("n", "k", before.as_deref(), Some(&sum[..]));
            script.committed(time, A, Some(NAME), None, &[line]);
            before = Some(sum.to_vec());
        }
        script.unknown(A, call);
        assert_eq!(script.judged(), broken, "{times} times");
    }
}

/// A is given a lease on "k" and has it until its commit conflicts, the last time that it is held for
/// certain; B asks for one on this meanwhile, and is given it before that or after.
fn two_leases(on: Option<&str>, is_after: bool) -> Vec<&'static str> {
    let mut script = Script::default();
    let first = script.queues(A, Some("k"));
    script.given(A, first, 0);
    let second = script.queues(B, on);
    if !is_after {
        script.given(B, second, 0);
    }
    script.conflicts(A, 0, true);
    if is_after {
        script.conflicts(A, 0, false);
        script.given(B, second, 0);
    }
    script.judged()
}

#[test]
fn a_lease_is_given_to_one_at_a_time() {
    assert_eq!(two_leases(Some("k"), false), [NO_LOST_WAKEUP]);
    // The whole namespace has the key in it.
    assert_eq!(two_leases(None, false), [NO_LOST_WAKEUP]);
    assert_eq!(two_leases(Some("other"), false), NONE);
    assert_eq!(two_leases(Some("k"), true), NONE);
}

/// A has a lease on "k"; then there is such a write of "k" or of another key.
fn written_beside_a_lease(write: impl FnOnce(&mut Script)) -> Vec<&'static str> {
    let mut script = Script::default();
    let call = script.queues(A, Some("k"));
    script.given(A, call, 0);
    write(&mut script);
    script.conflicts(A, 1, true);
    script.judged()
}

#[test]
fn another_transaction_does_not_write_what_a_lease_is_on() {
    let by = |process, lease, key| {
        written_beside_a_lease(move |script: &mut Script| {
            script.commits_one(process, (0, 1), lease, (key, None, &[1]));
        })
    };
    assert_eq!(by(B, None, "k"), [NO_LOST_WAKEUP]);
    // One of the same name, but its own: names are a session's.
    assert_eq!(by(B, Some(L), "k"), [NO_LOST_WAKEUP]);
    assert_eq!(by(A, None, "k"), [NO_LOST_WAKEUP]);
    assert_eq!(by(A, Some(L), "k"), NONE);
    assert_eq!(by(B, None, "other"), NONE);
    // What is no transaction does.
    assert_eq!(
        written_beside_a_lease(|script| script.set(B, 1, "k", &[1])),
        NONE
    );
    // And a transaction does, once the lease has ended.
    let mut script = Script::default();
    let call = script.queues(A, Some("k"));
    script.given(A, call, 0);
    script.conflicts(A, 0, true);
    script.conflicts(A, 0, false);
    script.commits_one(B, (0, 1), None, ("k", None, &[1]));
    assert_eq!(script.judged(), NONE);
}
