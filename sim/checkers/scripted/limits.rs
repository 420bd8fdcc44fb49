//! Histories of "Bounded": at each limit, and over it.

use super::*;
use crate::seen::Seen;
use zproc::seam::proto::message::Failure;
use zproc::seam::proto::server::Usage;
use zproc::seam::proto::setup::Setup;
use zproc::seam::proto::store::ENTRY_OVERHEAD_BYTES;

/// What an entry of one byte of a key and two of a value takes.
const EACH_BYTES: usize = 3 + ENTRY_OVERHEAD_BYTES;

/// A script under limits that are small.
fn small() -> Script {
    let mut script = Script::default();
    script.limits.value_bytes_max = 3;
    script.limits.state_bytes_max = 2 * EACH_BYTES;
    script.limits.change_set_changes_max = 2;
    script.limits.processes_live_max = 2;
    script.limits.watches_per_session_max = 2;
    script.limits.parts_per_session_bytes_max = 9;
    script.limits.history_entries_max = 4;
    script
}

#[test]
fn what_is_held_is_within_the_limits() {
    type Hold = fn(&mut Usage, usize);
    let full = 2 * EACH_BYTES;
    let cases: [(Hold, usize); 6] = [
        (|usage, held| usage.state.value_bytes = held, 3),
        (|usage, held| usage.state.bytes = held, full),
        (|usage, held| usage.watches = held, 2),
        (|usage, held| usage.session_parts_bytes = held, 9),
        (|usage, held| usage.history_entries = held, 4),
        (|usage, held| usage.processes_live = held, 2),
    ];
    for (hold, max) in cases {
        for (held, broken) in [(max, vec![]), (max + 1, vec![BOUNDED])] {
            let mut script = small();
            let mut usage = Box::<Usage>::default();
            hold(&mut usage, held);
            let what = What::Seen(Seen::Usage(usage));
            script.history.push(ProcessId::PROGRAM, 0, what);
            assert_eq!(script.judged(), broken, "{held} of {max}");
        }
    }
}

#[test]
fn the_newest_revision_is_kept_however_large() {
    for (newest, broken) in [(101, vec![]), (50, vec![BOUNDED])] {
        let mut script = small();
        script.limits.history_bytes_max = 100;
        let mut usage = Box::<Usage>::default();
        (usage.history_bytes, usage.history_newest_bytes) = (101, newest);
        let what = What::Seen(Seen::Usage(usage));
        script.history.push(ProcessId::PROGRAM, 0, what);
        assert_eq!(script.judged(), broken);
    }
}

#[test]
fn commits_keep_the_state_within_its_limits() {
    // Two keys of three bytes fit, a third does not, unless one of them went before.
    let mut script = small();
    script.set(A, 1, "k", &[1, 2]);
    script.set(A, 2, "l", &[1, 2]);
    assert_eq!(script.judged(), NONE);
    script.set(A, 3, "m", &[1]);
    assert_eq!(script.judged(), [BOUNDED]);
    let mut script = small();
    script.set(A, 1, "k", &[1, 2]);
    script.set(A, 2, "l", &[1, 2]);
    let remove = Request::Remove {
        namespace: "n",
        key: "k",
    };
    let call = script.call(A, &remove);
    script.commit(3, A, &[("n", "k", Some(&[1, 2]), None)]);
    let reply = Reply::Written {
        revision: Revision(3),
        before: Some(&[1, 2]),
    };
    script.returned(A, call, &reply);
    script.set(A, 4, "m", &[1]);
    assert_eq!(script.judged(), NONE);
}

#[test]
fn a_value_that_was_taken_is_no_larger_than_allowed() {
    for (value, broken) in [(&[1_u8, 2, 3][..], vec![]), (&[1, 2, 3, 4], vec![BOUNDED])] {
        let mut script = small();
        script.set(A, 1, "k", value);
        assert_eq!(script.judged(), broken);
    }
}

#[test]
fn the_records_of_the_living_are_counted() {
    let spawn = Request::Spawn {
        function: FunctionRef {
            offset: 0,
            name: "f",
        },
        args: &[],
        setup: Setup::default(),
        rest: None,
    };
    for (second, broken) in [("ended", vec![]), ("starting", vec![BOUNDED])] {
        let mut script = small();
        let (starting, second) = (record("starting"), record(second));
        for (revision, key, record) in [(1, "process/2", &starting), (2, "process/3", &second)] {
            let call = script.call(A, &spawn);
            script.commit(revision, A, &[("", key, None, Some(record))]);
            let reply = Reply::Spawned {
                revision: Revision(revision),
                process: B,
            };
            script.returned(A, call, &reply);
        }
        assert_eq!(script.judged(), broken);
    }
}

#[test]
fn a_refusal_names_its_limit_and_has_a_reason() {
    let full = 2 * EACH_BYTES as u64;
    let cases: [(&str, u64, u64, Vec<&str>); 6] = [
        ("VALUE_BYTES_MAX", 4, 3, vec![]),
        // Not over it, not the limit there is, not the size there was, no such limit.
        ("VALUE_BYTES_MAX", 3, 3, vec![BOUNDED]),
        ("VALUE_BYTES_MAX", 4, 2, vec![BOUNDED]),
        ("VALUE_BYTES_MAX", 5, 3, vec![BOUNDED]),
        ("PATIENCE_MAX", 4, 3, vec![BOUNDED]),
        ("STATE_BYTES_MAX", full + 1, full, vec![]),
    ];
    for (limit, actual, max, broken) in cases {
        let mut script = small();
        let call = script.call(A, &set("k", &[1, 2, 3, 4]));
        let failure = Failure::Limit { limit, actual, max };
        let revision = Revision(0);
        script.returned(A, call, &Reply::Failed { revision, failure });
        assert_eq!(script.judged(), broken, "{limit} {actual} {max}");
    }
}

#[test]
fn a_function_is_refused_only_for_what_it_would_write() {
    let fill = |count: u64| rmp_serde::to_vec_named(&(count, 1_i64)).expect("a tuple");
    for (count, broken) in [(3, vec![]), (2, vec![BOUNDED])] {
        let mut script = small();
        let args = fill(count);
        let atomic = Request::Atomic {
            namespace: "n",
            function: FunctionRef {
                offset: 0,
                name: "zproc_sim::workloads::functions::fill",
            },
            args: &args,
        };
        let call = script.call(A, &atomic);
        let failure = Failure::Limit {
            limit: "CHANGE_SET_CHANGES_MAX",
            actual: 3,
            max: 2,
        };
        let revision = Revision(0);
        script.returned(A, call, &Reply::Failed { revision, failure });
        assert_eq!(script.judged(), broken, "{count}");
    }
}
