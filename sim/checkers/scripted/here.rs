//! Histories of functions that ran in their callers, and of leases that are to be given back.

use super::*;
use zproc::seam::proto::ids::LeaseId;
use zproc::seam::proto::operations::{Operation, Part};
use zproc::seam::runtime::RanHere;

const ADD: &str = "zproc_sim::workloads::functions::add";
const FUMBLE: &str = "zproc_sim::workloads::functions::fumble";

/// The key "k", and a number.
const ARGS: &[u8] = &[0x92, 0xa1, b'k', 5];

impl Script {
    /// A commit of a function: called, done, returned.
    fn commits(&mut self, function: &str, revision: u64, before: Option<&[u8]>, after: &[u8]) {
        let parts = vec![Part {
            namespace: "n",
            reads: Vec::new(),
            writes: vec![Operation::Set {
                key: "k",
                value: after,
                owned: false,
            }],
        }];
        let at = Revision(revision - 1);
        let lease = None;
        let request = Request::Commit {
            function,
            at,
            parts,
            lease,
        };
        let call = self.call(A, &request);
        let lines = [("n", "k", before, Some(after))];
        self.committed(revision, A, Some(function), None, &lines);
        self.written(A, call, revision);
    }

    fn ran(&mut self, function: &str, returned: Option<&[u8]>) {
        let ran = RanHere {
            namespace: "n",
            function,
            args: ARGS,
            returned,
        };
        let ran = Observation::Ran(ran);
        self.history.observe(A, A.0 as usize, &ran);
    }
}

#[test]
fn a_function_gives_and_changes_what_it_does_on_the_state_before() {
    // The key holds 3.
    let cases: [(&[u8], &[u8], &[&str]); 4] = [
        (&[8], &[8], &NONE),
        (&[8], &[7], &[LINEARIZABLE]),
        (&[7], &[8], &[ATOMIC]),
        // On a state that was before that.
        (&[5], &[5], &[LINEARIZABLE, ATOMIC]),
    ];
    for (after, returned, broken) in cases {
        let mut script = Script::default();
        script.set(A, 1, "k", &[3]);
        script.commits(ADD, 2, Some(&[3]), after);
        script.ran(ADD, Some(returned));
        assert_eq!(script.judged(), broken, "{after:?} {returned:?}");
    }
}

#[test]
fn a_function_that_failed_has_changed_nothing() {
    let mut script = Script::default();
    script.set(A, 1, "k", &[3]);
    script.ran(FUMBLE, None);
    assert_eq!(script.judged(), NONE);
    let mut script = Script::default();
    script.set(A, 1, "k", &[3]);
    script.commits(FUMBLE, 2, Some(&[3]), &[5]);
    script.ran(FUMBLE, None);
    assert_eq!(script.judged(), [ATOMIC]);
    // One that has to fail has not come to its end; and who adds has written.
    for function in [FUMBLE, ADD] {
        let mut script = Script::default();
        script.set(A, 1, "k", &[3]);
        script.ran(function, Some(&[8]));
        assert_eq!(script.judged(), [LINEARIZABLE]);
    }
}

#[test]
fn a_lease_is_given_back_before_anything_else() {
    for (released, broken) in [(true, &NONE[..]), (false, &[NO_LOST_WAKEUP])] {
        let mut script = Script::default();
        let lease = LeaseId(1);
        let on = vec![("n", Some("k"))];
        let call = script.call(
            A,
            &Request::Lease {
                lease,
                function: "f",
                on,
            },
        );
        let revision = Revision(0);
        script.returned(A, call, &Reply::Done { revision });
        if released {
            let released = Observation::Released { lease };
            script.history.observe(A, A.0 as usize, &released);
        }
        script.set(A, 1, "k", &[1]);
        assert_eq!(script.judged(), broken);
    }
}
