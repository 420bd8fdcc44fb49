//! Recordings made by hand: how they are ordered, and what is refused.

use super::*;
use crate::checkers::{self, Ending, LINEARIZABLE};
use crate::world::RunEnd;
use zproc::seam::proto::ids::{Revision, Seq};
use zproc::seam::proto::limits::Limits;
use zproc::seam::proto::message::FromClient;
use zproc::seam::proto::server::Commit;
use zproc::seam::proto::time::Time;

const A: Who = Who::Process(ProcessId(2));
const B: Who = Who::Process(ProcessId(3));

/// A recording made by hand.
struct Script(tempfile::TempDir);

impl Script {
    fn new() -> Script {
        Script(tempfile::tempdir().expect("a temporary directory"))
    }

    fn add(&self, who: Who, stamp_ns: u64, what: record::What<'_>) -> &Script {
        let record = Record {
            stamp_ns,
            thread: 0,
            what,
        };
        let path = self.0.path().join(who.to_string());
        let mut bytes = std::fs::read(&path).unwrap_or_default();
        frame::append(&record, &mut bytes);
        std::fs::write(path, bytes).expect("it can be written");
        self
    }

    fn called(&self, who: Who, stamp_ns: u64, request: &Request<'_>) -> &Script {
        let request = &codec::to_bytes(request);
        self.add(who, stamp_ns, record::What::Called { call: 1, request })
    }

    fn returned(&self, who: Who, stamp_ns: u64, reply: &Reply<'_>) -> &Script {
        let reply = &codec::to_bytes(reply);
        self.add(who, stamp_ns, record::What::Returned { call: 1, reply })
    }

    fn committed(
        &self,
        stamp_ns: u64,
        revision: u64,
        namespace: &str,
        (key, after): (&str, &[u8]),
    ) -> &Script {
        let commit = Commit {
            revision: Revision(revision),
            time: Time::default(),
            process: ProcessId(2),
            function: None,
            released: (namespace.is_empty()).then(|| "killed by signal 9".to_owned()),
            changes: vec![(namespace.into(), key.into(), None, Some(after.into()))],
            resets: Vec::new(),
            refilled: Vec::new(),
        };
        self.add(Who::Server, stamp_ns, record::What::Committed(commit))
    }

    fn died(&self, stamp_ns: u64, process: u64, status: i32) -> &Script {
        let process = ProcessId(process);
        self.add(
            Who::Keeper,
            stamp_ns,
            record::What::Died { process, status },
        )
    }

    fn tear(&self, who: Who) {
        let path = self.0.path().join(who.to_string());
        let mut bytes = std::fs::read(&path).expect("it was written");
        bytes.pop();
        std::fs::write(path, bytes).expect("it can be written");
    }

    fn load(&self) -> Result<Recorded, String> {
        load(self.0.path())
    }

    fn broken(&self) -> Vec<&'static str> {
        let recorded = self.load().expect("it is well-formed");
        let ending = Ending {
            end: RunEnd::Finished,
            limits: Limits::USUAL,
            has_points: false,
            alive: Vec::new(),
            waiting: Vec::new(),
        };
        let verdict = checkers::check(&recorded.history, &ending);
        verdict.violations.iter().map(|v| v.guarantee).collect()
    }
}

const SET: Request<'_> = Request::Set {
    namespace: "n",
    key: "k",
    value: &[1],
    owned: false,
};
const GET: Request<'_> = Request::Get {
    namespace: "n",
    key: "k",
    at: None,
};

#[test]
fn one_clock_orders_all_and_a_tie_is_no_order() {
    let written = Reply::Written {
        revision: Revision(1),
        before: None,
    };
    let nothing = Reply::Value {
        revision: Revision(0),
        value: None,
    };
    for (called_ns, broken) in [(30, false), (31, true)] {
        let script = Script::new();
        script
            .called(B, called_ns, &GET)
            .returned(B, 40, &nothing)
            .called(A, 10, &SET)
            .committed(30, 1, "n", ("k", &[1]))
            .returned(A, 30, &written);
        assert_eq!(script.broken().contains(&LINEARIZABLE), broken);
    }
}

#[test]
fn half_a_record_is_left_by_a_kill_only() {
    for (status, accepted) in [(SIGKILL, true), (0, false)] {
        let script = Script::new();
        let ended = rmp_serde::to_vec_named(&BTreeMap::from([("state", "ended")]));
        script
            .called(A, 10, &SET)
            .called(A, 20, &GET)
            .died(30, 2, status)
            .committed(40, 1, "", ("process/2", &ended.expect("a map of texts")));
        script.tear(A);
        let loaded = script.load();
        assert_eq!(loaded.is_ok(), accepted);
        if let Ok(recorded) = loaded {
            assert_eq!((recorded.tally.calls, recorded.tally.torn), (1, 1));
        }
    }
}

#[test]
fn what_was_written_whole_must_be_applied_unless_nobody_heard_of_the_death() {
    let mut wire = Vec::new();
    let request = FromClient::Request {
        seq: Seq(1),
        acks: Vec::new(),
        body: SET,
    };
    frame::append(&request, &mut wire);
    let ended = rmp_serde::to_vec_named(&BTreeMap::from([("state", "ended")]));
    let ended = ended.expect("a map of texts");
    for (bytes, told, broken) in [
        (&wire[..], true, true),
        (&wire[..wire.len() - 1], true, false),
        (&wire[..], false, false),
    ] {
        let script = Script::new();
        let wrote = record::What::Wrote { link: 1, bytes };
        script.called(A, 10, &SET).add(A, 20, wrote).died(30, 2, 9);
        if told {
            script.committed(40, 1, "", ("process/2", &ended));
        }
        assert_eq!(script.broken().contains(&BOUND), broken);
    }
}

#[test]
fn the_dead_do_nothing() {
    let script = Script::new();
    script.died(30, 2, 9).called(A, 31, &GET);
    assert_eq!(script.broken(), [BOUND]);
}

#[test]
fn strangers_are_refused() {
    let script = Script::new();
    script.died(30, 2, 9);
    assert!(script.load().is_ok());
    script.add(
        A,
        31,
        record::What::Died {
            process: ProcessId(3),
            status: 0,
        },
    );
    assert!(script.load().is_err());
    let script = Script::new();
    std::fs::write(script.0.path().join("passer-by"), b"").expect("it can be written");
    assert!(script.load().is_err());
}
