//! Batches that did, or were told, something else than they should.

use super::*;
use zproc::seam::proto::message::Failure;
use zproc::seam::proto::operations::{Operation, Test, Told};

const K: Operation<'_> = Operation::Take { key: "k" };
const ADD: Operation<'_> = Operation::Add { key: "n", by: 2 };

fn batch<'a>(operations: &[Operation<'a>]) -> Request<'a> {
    Request::Batch {
        namespace: "n",
        operations: operations.to_vec(),
    }
}

fn batched(script: &mut Script, call: u64, revision: u64, told: &[Told<'_>]) {
    let reply = Reply::Batched {
        revision: Revision(revision),
        told: told.to_vec(),
    };
    script.returned(A, call, &reply);
}

fn taken(revision: u64) -> Told<'static> {
    Told::Value {
        value: &[1],
        revision: Revision(revision),
    }
}

#[test]
fn a_batch_changes_and_tells_what_it_should() {
    let whole: &[Line<'_>] = &[("n", "k", Some(&[1]), None), ("n", "n", None, Some(&[2]))];
    let half = &whole[..1];
    let cases: [(&[Line<'_>], [Told<'_>; 2], &[&str]); 4] = [
        (whole, [taken(1), Told::Number(2)], &[]),
        (half, [taken(1), Told::Number(2)], &[ATOMIC]),
        (whole, [taken(0), Told::Number(2)], &[ATOMIC, LINEARIZABLE]),
        (whole, [taken(1), Told::Number(3)], &[ATOMIC, LINEARIZABLE]),
    ];
    for (changes, told, broken) in cases {
        let mut script = Script::default();
        script.set(B, 1, "k", &[1]);
        let call = script.call(A, &batch(&[K, ADD]));
        script.commit(2, A, changes);
        batched(&mut script, call, 2, &told);
        let judged = script.judged();
        assert!(
            broken.iter().all(|name| judged.contains(name))
                && judged.is_empty() == broken.is_empty(),
            "{told:?}: {judged:?}"
        );
    }
}

#[test]
fn a_batch_is_refused_for_what_is_so() {
    let absent = Operation::Require {
        key: "k",
        test: Test::Absent,
    };
    for (is_there, broken) in [(true, vec![]), (false, vec![LINEARIZABLE])] {
        let mut script = Script::default();
        let key = if is_there { "k" } else { "other" };
        script.set(B, 1, key, &[1]);
        let call = script.call(A, &batch(&[absent, ADD]));
        let reply = Reply::Failed {
            revision: Revision(1),
            failure: Failure::Unmet { key: "k" },
        };
        script.returned(A, call, &reply);
        assert_eq!(script.judged(), broken);
    }
}

#[test]
fn a_batch_that_was_not_answered_is_done_once_or_not_at_all() {
    for times in 0..3 {
        let mut script = Script::default();
        script.call(A, &batch(&[ADD]));
        let mut before = None;
        for time in 1..=times {
            let sum = [2 * time as u8];
            script.commit(time, A, &[("n", "n", before.as_deref(), Some(&sum))]);
            before = Some(sum.to_vec());
        }
        let broken: &[&str] = if times == 2 { &[ONCE] } else { &[] };
        assert_eq!(script.judged(), broken, "{times} times");
    }
}
