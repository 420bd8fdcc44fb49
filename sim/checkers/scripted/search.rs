//! Histories of the search, told by calls alone: it must come to its verdicts without any commit.

use super::*;
use crate::checkers::{GIVEN_UP, SEARCHED, search};

/// What the search says: broken guarantees, how many calls it judged, and how many it gave up.
fn searched(script: &Script) -> (usize, u64, u64) {
    let mut verdict = Verdict::default();
    search::check(&Calls::of(&script.history), &mut verdict);
    let broken = verdict.violations.iter();
    assert!(broken.clone().all(|v| v.guarantee == LINEARIZABLE));
    let count = |name| verdict.judged.get(name).copied().unwrap_or(0);
    (broken.count(), count(SEARCHED), count(GIVEN_UP))
}

fn finds_order(script: &Script) -> bool {
    searched(script).0 == 0
}

fn remove(key: &str) -> Request<'_> {
    Request::Remove {
        namespace: "n",
        key,
    }
}

#[test]
fn a_stale_read_has_no_order() {
    for (value, order) in [
        (Some(&[2_u8][..]), true),
        (Some(&[1]), false),
        (None, false),
    ] {
        let mut script = Script::default();
        for value in [1_u8, 2] {
            let write = script.call(A, &set("k", &[value]));
            script.written(A, write, 0);
        }
        let read = script.call(B, &get("k"));
        script.value(B, read, 0, value);
        assert_eq!(finds_order(&script), order, "{value:?}");
    }
}

#[test]
fn two_readers_agree_on_the_order_of_two_writes() {
    for (second, order) in [([2_u8, 2], true), ([1, 2], true), ([2, 1], false)] {
        let mut script = Script::default();
        let one = script.call(A, &set("k", &[1]));
        let two = script.call(B, &set("k", &[2]));
        for value in second {
            let read = script.call(ProcessId(4), &get("k"));
            script.value(ProcessId(4), read, 0, Some(&[value]));
        }
        // A third reader has seen the first before the second, while both were open.
        let read = script.call(ProcessId(5), &get("k"));
        script.value(ProcessId(5), read, 0, Some(&[2]));
        script.written(A, one, 0);
        script.written(B, two, 0);
        assert_eq!(finds_order(&script), order, "{second:?}");
    }
}

#[test]
fn what_is_unknown_takes_effect_late_or_never() {
    // Seen late: fine. Seen, and then gone again: not fine, for nobody has written the old value.
    for (values, order) in [
        (&[1_u8, 1, 9][..], true),
        (&[1, 1, 1], true),
        (&[1, 9, 1], false),
    ] {
        let mut script = Script::default();
        let write = script.call(A, &set("k", &[1]));
        script.written(A, write, 0);
        let lost = script.call(B, &set("k", &[9]));
        script.unknown(B, lost);
        for value in values {
            let read = script.call(A, &get("k"));
            script.value(A, read, 0, Some(&[*value]));
        }
        assert_eq!(finds_order(&script), order, "{values:?}");
    }
}

#[test]
fn a_removal_says_what_was_there() {
    for (before, order) in [
        (Some(&[1_u8][..]), true),
        (Some(&[2]), false),
        (None, false),
    ] {
        let mut script = Script::default();
        let write = script.call(A, &set("k", &[1]));
        script.written(A, write, 0);
        let call = script.call(B, &remove("k"));
        let reply = Reply::Written {
            revision: Revision(0),
            before,
        };
        script.returned(B, call, &reply);
        assert_eq!(finds_order(&script), order, "{before:?}");
    }
}

#[test]
fn a_counter_gives_each_sum_once() {
    let bytes = |value: i64| rmp_serde::to_vec_named(&value).expect("a number");
    let args = rmp_serde::to_vec_named(&("k", 1_i64)).expect("a tuple");
    let add = Request::Atomic {
        namespace: "n",
        function: FunctionRef {
            offset: 0,
            name: "zproc_sim::workloads::functions::add",
        },
        args: &args,
    };
    for (sums, order) in [([5, 6, 7], true), ([5, 6, 6], false), ([5, 7, 6], false)] {
        let mut script = Script::default();
        let write = script.call(A, &set("k", &bytes(4)));
        script.written(A, write, 0);
        for sum in sums {
            let call = script.call(B, &add);
            let value = bytes(sum);
            let revision = Revision(0);
            let value = &*value;
            script.returned(B, call, &Reply::Returned { revision, value });
        }
        assert_eq!(finds_order(&script), order, "{sums:?}");
    }
    // At once, they may come in any order, but still each sum once.
    for (sums, order) in [([7, 5, 6], true), ([5, 6, 6], false)] {
        let mut script = Script::default();
        let write = script.call(A, &set("k", &bytes(4)));
        script.written(A, write, 0);
        let calls: Vec<u64> = sums.iter().map(|_| script.call(B, &add)).collect();
        for (call, sum) in calls.into_iter().zip(sums) {
            let value = bytes(sum);
            let revision = Revision(0);
            let value = &*value;
            script.returned(B, call, &Reply::Returned { revision, value });
        }
        assert_eq!(finds_order(&script), order, "{sums:?}");
    }
}

#[test]
fn what_was_found_at_the_first_insert_stays() {
    for (found, order) in [(&[1_u8][..], true), (&[2], false)] {
        let mut script = Script::default();
        for offered in [&[1_u8][..], &[2]] {
            let insert = Request::GetOrInsert {
                namespace: "n",
                key: "k",
                value: offered,
            };
            let call = script.call(A, &insert);
            let got = if offered == [1] { &[1] } else { found };
            script.value(A, call, 0, Some(got));
        }
        let read = script.call(B, &get("k"));
        script.value(B, read, 0, Some(&[1]));
        assert_eq!(finds_order(&script), order, "{found:?}");
    }
}

#[test]
fn unknown_functions_may_have_changed_anything() {
    for (name, order) in [
        ("a::users::own", true),
        ("zproc_sim::workloads::functions::total", false),
    ] {
        let mut script = Script::default();
        let atomic = Request::Atomic {
            namespace: "other",
            function: FunctionRef { offset: 0, name },
            args: &[],
        };
        let call = script.call(A, &atomic);
        let reply = Reply::Returned {
            revision: Revision(0),
            value: &[],
        };
        script.returned(A, call, &reply);
        let read = script.call(B, &get("k"));
        script.value(B, read, 0, Some(&[1]));
        assert_eq!(finds_order(&script), order, "{name}");
    }
}

#[test]
fn long_histories_are_cut_and_crowds_are_given_up() {
    let mut script = Script::default();
    for round in 0..100_u8 {
        let write = script.call(A, &set("k", &[round]));
        script.written(A, write, 0);
        let read = script.call(B, &get("k"));
        script.value(B, read, 0, Some(&[round]));
    }
    assert_eq!(searched(&script), (0, 200, 0));
    // A mistake is found in whatever window it is.
    let read = script.call(B, &get("k"));
    script.value(B, read, 0, Some(&[3]));
    assert!(!finds_order(&script));
    // A hundred at once are too many to try.
    let mut script = Script::default();
    let calls: Vec<u64> = (0..100).map(|n| script.call(A, &set("k", &[n]))).collect();
    for call in calls {
        script.written(A, call, 0);
    }
    assert_eq!(searched(&script), (0, 0, 100));
}
