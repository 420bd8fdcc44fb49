//! Histories of "Locks".

use super::*;
use zproc::seam::proto::dump::{Awaited, Dump, ProcessDump, WaitDump};

/// One that only the library can make, all of it zero: as it travels, so many zeros.
macro_rules! empty {
    ($type:ty) => {{
        let mut lengths = 0..100;
        let decoded = lengths.find_map(|length| codec::decode::<$type>(&vec![0; length]).ok());
        decoded.expect("numbers, and lists of nothing")
    }};
}

/// The record of a lock that this process holds.
fn held_by(process: ProcessId) -> Vec<u8> {
    #[derive(serde::Serialize)]
    struct Record {
        holder: u64,
        since_ns: u64,
    }
    let record = Record {
        holder: process.0,
        since_ns: 1,
    };
    rmp_serde::to_vec_named(&record).expect("numbers are always encodable")
}

impl Script {
    fn asks(&mut self, process: ProcessId) -> u64 {
        let (name, waits) = ("a", true);
        self.call(process, &Request::Lock { name, waits })
    }

    fn gets(&mut self, process: ProcessId, call: u64, revision: u64) {
        let revision = Revision(revision);
        let granted = true;
        self.returned(process, call, &Reply::Locked { revision, granted });
    }

    fn gives_up(&mut self, process: ProcessId, call: u64) {
        let given_up = Observation::NotSent { call };
        self.history.observe(process, process.0 as usize, &given_up);
    }

    fn unlocks(&mut self, process: ProcessId, grant: u64) {
        let (name, grant) = ("a", Revision(grant));
        let unlocked = Observation::Unlocked { name, grant };
        self.history.observe(process, process.0 as usize, &unlocked);
    }

    /// A commit of this process in which the lock changes hands.
    fn passes(
        &mut self,
        revision: u64,
        (by, released): (ProcessId, Option<&str>),
        (from, to): (Option<ProcessId>, Option<ProcessId>),
    ) {
        let (before, after) = (from.map(held_by), to.map(held_by));
        let change = ("", "lock/a", before.as_deref(), after.as_deref());
        self.committed(revision, by, None, released, &[change]);
    }

    /// A asks and holds the lock from revision 1 on.
    fn held_by_a() -> Script {
        let mut script = Script::default();
        let call = script.asks(A);
        script.passes(1, (A, None), (None, Some(A)));
        script.gets(A, call, 1);
        script
    }

    /// Somebody is shown so many waits of a process for the lock.
    fn shows(&mut self, process: ProcessId, waits: usize) {
        let call = self.call(ProcessId::PROGRAM, &Request::Dump);
        let mut dump = Dump::default();
        dump.answered = true;
        dump.revision = Revision(1);
        let awaited = || Awaited::Lock {
            name: "a".to_owned(),
            holder: A,
            ahead: 0,
        };
        let mut shown = empty!(ProcessDump);
        shown.id = process;
        for _ in 0..waits {
            let mut wait = empty!(WaitDump);
            wait.awaited = awaited();
            shown.waits.push(wait);
        }
        dump.processes.push(shown);
        self.returned(ProcessId::PROGRAM, call, &Reply::Dump(dump));
    }
}

const GONE: Option<&str> = Some("its session was lost");

#[test]
fn a_lock_is_taken_from_nobody() {
    // Given back, or released with its session.
    let mut script = Script::held_by_a();
    let call = script.asks(B);
    script.unlocks(A, 1);
    script.passes(2, (A, None), (Some(A), Some(B)));
    script.gets(B, call, 2);
    assert_eq!(script.judged(), NONE);
    let mut script = Script::held_by_a();
    let call = script.asks(B);
    script.passes(2, (A, GONE), (Some(A), Some(B)));
    script.gets(B, call, 2);
    assert_eq!(script.judged(), NONE);
    // While it is held, or before it is given back; and by the end of another.
    let mut script = Script::held_by_a();
    let call = script.asks(B);
    script.passes(2, (A, None), (Some(A), Some(B)));
    script.gets(B, call, 2);
    script.unlocks(A, 1);
    assert_eq!(script.judged(), [LOCKS]);
    let mut script = Script::held_by_a();
    script.passes(2, (B, GONE), (Some(A), None));
    assert_eq!(script.judged(), [LOCKS]);
}

#[test]
fn a_grant_is_one_askers_alone() {
    // Of two who are told of one grant, one holds nothing.
    for (process, revision) in [(B, 1), (A, 1), (B, 7)] {
        let mut script = Script::held_by_a();
        let call = script.asks(process);
        script.gets(process, call, revision);
        assert!(script.judged().contains(&LOCKS), "{process} {revision}");
    }
    // Nor one who was told before the record stood, or had asked only after.
    let mut script = Script::default();
    let call = script.asks(A);
    script.gets(A, call, 1);
    script.passes(1, (A, None), (None, Some(A)));
    assert!(script.judged().contains(&LOCKS));
    // What nobody has asked for is nobody's.
    let mut script = Script::default();
    script.passes(1, (A, None), (None, Some(A)));
    assert_eq!(script.judged(), [LOCKS]);
}

#[test]
fn a_release_leaves_its_process_no_lock() {
    let mut script = Script::held_by_a();
    script.committed(2, A, None, GONE, &[]);
    assert_eq!(script.judged(), [LOCKS]);
    let mut script = Script::held_by_a();
    script.committed(2, B, None, GONE, &[]);
    assert_eq!(script.judged(), NONE);
    // Its next session may have it again.
    let mut script = Script::held_by_a();
    script.passes(2, (A, GONE), (Some(A), None));
    let call = script.asks(A);
    script.passes(3, (A, None), (None, Some(A)));
    script.gets(A, call, 3);
    script.committed(4, B, None, GONE, &[]);
    assert_eq!(script.judged(), NONE);
}

/// A gives up; the lock is granted all the same, and is or is not free before A is answered again.
fn given_up(freed_in_time: bool) -> Script {
    let mut script = Script::default();
    let call = script.asks(A);
    script.gives_up(A, call);
    script.passes(1, (A, None), (None, Some(A)));
    if freed_in_time {
        script.passes(2, (A, None), (Some(A), None));
    }
    let get = script.call(A, &get("k"));
    script.value(A, get, 1 + u64::from(freed_in_time), None);
    if !freed_in_time {
        script.passes(2, (A, None), (Some(A), None));
    }
    script
}

#[test]
fn who_gives_up_holds_nothing() {
    assert_eq!(given_up(true).judged(), NONE);
    assert_eq!(given_up(false).judged(), [LOCKS]);
    // Granted only after the server must know.
    let mut script = Script::default();
    let call = script.asks(A);
    script.gives_up(A, call);
    let get = script.call(A, &get("k"));
    script.value(A, get, 0, None);
    script.passes(1, (A, None), (None, Some(A)));
    assert_eq!(script.judged(), [LOCKS]);
}

/// A holds the lock, B is shown to wait, then C asks; both get it, in this order.
fn queue(shown: usize, b_first: bool) -> Script {
    const C: ProcessId = ProcessId(4);
    let mut script = Script::held_by_a();
    let first = script.asks(B);
    script.shows(B, shown);
    let second = script.asks(C);
    script.unlocks(A, 1);
    let mut turns = [(B, first), (C, second)];
    if !b_first {
        turns.reverse();
    }
    let mut before = A;
    for (revision, (process, call)) in (2..).zip(turns) {
        script.passes(revision, (before, None), (Some(before), Some(process)));
        script.gets(process, call, revision);
        script.unlocks(process, revision);
        before = process;
    }
    script
}

#[test]
fn who_is_known_to_wait_comes_before_who_asks_later() {
    assert_eq!(queue(1, true).judged(), NONE);
    assert_eq!(queue(1, false).judged(), [LOCKS]);
    // Not shown, it may have come later.
    assert_eq!(queue(0, false).judged(), NONE);
}

#[test]
fn who_has_left_the_queue_is_overtaken() {
    for (leaves, broken) in [(true, vec![]), (false, vec![LOCKS])] {
        let mut script = Script::held_by_a();
        let first = script.asks(B);
        script.shows(B, 1);
        let second = script.asks(A);
        if leaves {
            script.gives_up(B, first);
        }
        script.unlocks(A, 1);
        script.passes(2, (A, None), (Some(A), Some(A)));
        script.gets(A, second, 2);
        assert_eq!(script.judged(), broken);
    }
    // Or its session is lost.
    let mut script = Script::held_by_a();
    script.asks(B);
    script.shows(B, 1);
    let second = script.asks(A);
    script.committed(2, B, None, GONE, &[]);
    script.unlocks(A, 1);
    script.passes(3, (A, None), (Some(A), Some(A)));
    script.gets(A, second, 3);
    assert_eq!(script.judged(), NONE);
}
