//! Histories of "Nothing outlives" and "Bad input is harmless".

use super::*;
use crate::checkers::endings::STRUCK_WITHIN;
use crate::checkers::outlives::{BEGUN_WITHIN, GONE_WITHIN};
use crate::interrupt::GRACE;
use crate::seen::{Attack, Reaction, Refused, Seen};
use std::time::Duration;
use zproc::seam::proto::setup::Setup;

impl Script {
    fn see(&mut self, process: ProcessId, seen: Seen) {
        self.history.push(process, 0, What::Seen(seen));
    }

    fn dies(&mut self, process: ProcessId, at: Time) {
        let unread = Vec::new();
        let died = What::Died { status: 9, unread };
        self.history.push(process, 0, died);
        self.see(process, Seen::Gone { at });
    }
}

/// The program and a child begin; then each dies as is told, the program at a second.
fn tree(child_dies: Option<Time>) -> Script {
    let mut script = Script::default();
    script.see(ProcessId::PROGRAM, Seen::Began { at: Time(0) });
    script.see(A, Seen::Began { at: Time(5) });
    script.dies(ProcessId::PROGRAM, Time(1_000_000_000));
    if let Some(at) = child_dies {
        script.dies(A, at);
        let ended = record("ended");
        let key = format!("process/{}", A.0);
        script.committed(
            1,
            A,
            None,
            Some("killed by signal 9"),
            &[("", &key, None, Some(&ended))],
        );
    }
    script
}

#[test]
fn who_began_is_dead_soon_after_the_program() {
    let end = Time(1_000_000_000);
    let last = end.after(GONE_WITHIN);
    let late = last.after(Duration::from_nanos(1));
    assert_eq!(tree(Some(Time(7))).judged(), NONE);
    assert_eq!(tree(Some(last)).judged(), NONE);
    assert_eq!(tree(Some(late)).judged(), [OUTLIVES]);
    assert_eq!(tree(None).judged(), [OUTLIVES]);
    // Nobody can say when the run was cut short.
    let cut = tree(None).judged_at(RunEnd::Endless, &[A]);
    assert!(!cut.contains(&OUTLIVES), "{cut:?}");
}

#[test]
fn nobody_begins_behind_the_program() {
    let last = Time(1_000_000_000).after(BEGUN_WITHIN);
    let late = last.after(Duration::from_nanos(1));
    for (at, broken) in [(last, vec![]), (late, vec![OUTLIVES])] {
        let mut script = tree(Some(Time(7)));
        script.see(B, Seen::Began { at });
        script.dies(B, late);
        let key = format!("process/{}", B.0);
        let ended = record("ended");
        let change = ("", key.as_str(), None, Some(ended.as_slice()));
        script.committed(2, B, None, Some("killed by signal 9"), &[change]);
        assert_eq!(script.judged(), broken);
    }
}

#[test]
fn the_loss_of_server_or_keeper_ends_the_tree() {
    let lost = Time(10);
    let last = lost.after(GONE_WITHIN);
    let late = last.after(Duration::from_nanos(1));
    for (at, broken) in [(last, false), (late, true)] {
        let mut script = tree(None);
        script.see(ProcessId::PROGRAM, Seen::Doomed { at: lost });
        script.dies(A, at);
        let judged = script.judged();
        assert_eq!(judged.contains(&OUTLIVES), broken, "{judged:?}");
    }
}

#[test]
fn a_death_that_was_only_said_is_none() {
    let mut script = tree(None);
    script.see(A, Seen::Gone { at: Time(7) });
    assert_eq!(script.judged(), [OUTLIVES]);
}

fn protocol() -> Reaction {
    Reaction::Refused(Refused::Protocol("of another kind".to_owned()))
}

#[test]
fn each_attack_has_its_reason() {
    let bad = || vec![BAD_INPUT];
    let cases: [(Attack, Reaction, Vec<&str>); 16] = [
        (Attack::Garbage, protocol(), vec![]),
        (Attack::Garbage, Reaction::Broken, vec![]),
        (Attack::Garbage, Reaction::Ended, bad()),
        (Attack::Length, Reaction::Silence, bad()),
        (Attack::Unintroduced, Reaction::Answered, bad()),
        (Attack::Version, Reaction::Refused(Refused::Version), vec![]),
        (Attack::Version, Reaction::Refused(Refused::Build), bad()),
        (Attack::Build, Reaction::Answered, bad()),
        (Attack::Credentials, protocol(), bad()),
        (Attack::Body, Reaction::Failed, vec![]),
        (Attack::Body, Reaction::Answered, bad()),
        (Attack::Body, protocol(), bad()),
        (Attack::MutatedRequest, Reaction::Answered, vec![]),
        (Attack::Flood, Reaction::Failed, bad()),
        (Attack::Trailing, protocol(), vec![]),
        (Attack::Trailing, Reaction::Answered, bad()),
    ];
    for (attack, reaction, broken) in cases {
        let mut script = Script::default();
        script.see(A, Seen::Hostile);
        let told = format!("{attack:?} {reaction:?}");
        script.see(A, Seen::Attacked { attack, reaction });
        assert_eq!(script.judged(), broken, "{told}");
    }
}

#[test]
fn who_keeps_the_rules_is_not_sent_away() {
    let words = |what: &str| Refused::Protocol(what.to_owned());
    let cases = [
        (A, Refused::SessionUnknown, vec![]),
        (A, Refused::Late, vec![]),
        (A, words("a second hello"), vec![BAD_INPUT]),
        (A, Refused::Credentials, vec![BAD_INPUT]),
        (A, Refused::Limit, vec![BAD_INPUT]),
        // It asked for it.
        (B, words("a second hello"), vec![]),
    ];
    for (process, refused, broken) in cases {
        let mut script = Script::default();
        script.see(B, Seen::Hostile);
        let told = format!("{refused:?}");
        let is_told = true;
        script.see(process, Seen::Refused { refused, is_told });
        assert_eq!(script.judged(), broken, "{told}");
    }
}

#[test]
fn a_reason_for_which_there_was_no_room() {
    let reason = || Refused::Protocol("a frame of 0 bytes".to_owned());
    let cases = [
        (Some((reason(), false)), vec![]),
        // There was room, and yet it did not come; it was another's; there was none.
        (Some((reason(), true)), vec![BAD_INPUT]),
        (Some((Refused::Build, false)), vec![BAD_INPUT]),
        (None, vec![BAD_INPUT]),
    ];
    for (closed, broken) in cases {
        let mut script = Script::default();
        script.see(A, Seen::Hostile);
        if let Some((refused, is_told)) = closed {
            script.see(A, Seen::Refused { refused, is_told });
        }
        let (attack, reaction) = (Attack::Length, Reaction::Ended);
        script.see(A, Seen::Attacked { attack, reaction });
        assert_eq!(script.judged(), broken);
    }
}

/// As in seed 4975: the server was killed before it came to the second hello.
#[test]
fn a_lost_server_gives_no_reason() {
    let lost = || Seen::Doomed { at: Time(5) };
    let wrong = || Seen::Refused {
        refused: Refused::Build,
        is_told: false,
    };
    let cases = [
        (vec![lost()], Reaction::Ended, vec![]),
        // It had closed the connection before, for a wrong reason; it answered; it was not lost.
        (vec![wrong(), lost()], Reaction::Ended, vec![BAD_INPUT]),
        (vec![lost()], Reaction::Answered, vec![BAD_INPUT]),
        (vec![], Reaction::Ended, vec![BAD_INPUT]),
    ];
    for (before, reaction, broken) in cases {
        let mut script = Script::default();
        script.see(A, Seen::Hostile);
        for seen in before {
            let of = match seen {
                Seen::Doomed { .. } => ProcessId::PROGRAM,
                _ => A,
            };
            script.see(of, seen);
        }
        let attack = Attack::SecondHello;
        script.see(A, Seen::Attacked { attack, reaction });
        assert_eq!(script.judged(), broken);
    }
}

#[test]
fn garbage_changes_nothing() {
    for (process, broken) in [(B, vec![]), (A, vec![BAD_INPUT])] {
        let mut script = Script::default();
        script.see(A, Seen::Hostile);
        script.set(process, 1, "k", &[1]);
        assert_eq!(script.judged(), broken);
    }
}

/// A child that may run until a moment, and is killed at another, for that reason or none.
fn limited(until: Option<Time>, struck: Time) -> Vec<&'static str> {
    let mut script = Script::default();
    script.see(ProcessId::PROGRAM, Seen::Began { at: Time(0) });
    script.see(A, Seen::Began { at: Time(5) });
    let grace_ns = Some(1_000_000_000);
    script.see(A, Seen::Started { until, grace_ns });
    script.see(A, Seen::Struck { at: struck });
    script.dies(A, struck);
    let key = format!("process/{}", A.0);
    let change = ("", key.as_str(), None, Some(&record("ended")[..]));
    script.committed(1, A, None, Some("killed by signal 9"), &[change]);
    script.dies(ProcessId::PROGRAM, Time(10_000_000_000));
    script.judged()
}

#[test]
fn a_time_limit_kills_when_it_is_over_and_not_before() {
    let until = Time(1000);
    let last = until.after(STRUCK_WITHIN);
    let late = last.after(Duration::from_nanos(1));
    assert_eq!(limited(Some(until), until), NONE);
    assert_eq!(limited(Some(until), last), NONE);
    assert_eq!(limited(Some(until), late), [OUTLIVES]);
    assert_eq!(limited(Some(until), Time(999)), [OUTLIVES]);
    assert_eq!(limited(None, until), [OUTLIVES]);
}

/// A tree whose program is asked to end at 1000; then this is seen of a child with this grace of
/// its own, if any, and the program ends at that moment.
fn interrupted(grace_ns: Option<u64>, seen: &[(u64, Did)], program_ends: u64) -> Vec<&'static str> {
    let mut script = Script::default();
    script.see(ProcessId::PROGRAM, Seen::Began { at: Time(0) });
    script.see(A, Seen::Began { at: Time(5) });
    script.see(
        A,
        Seen::Started {
            until: None,
            grace_ns,
        },
    );
    script.see(ProcessId::PROGRAM, Seen::Interrupted { at: Time(1000) });
    for (at, did) in seen {
        let at = Time(*at);
        match did {
            Did::Ask => script.see(A, Seen::Asked { at }),
            Did::Kill => script.see(A, Seen::Struck { at }),
            Did::KillProgram => script.see(ProcessId::PROGRAM, Seen::Struck { at }),
            Did::Die => script.dies(A, at),
        }
    }
    let key = format!("process/{}", A.0);
    let change = ("", key.as_str(), None, Some(&record("ended")[..]));
    script.committed(1, A, None, Some("killed by signal 9"), &[change]);
    script.dies(ProcessId::PROGRAM, Time(program_ends));
    script.judged()
}

enum Did {
    Ask,
    Kill,
    KillProgram,
    Die,
}

const GRACE_NS: u64 = GRACE.as_nanos() as u64;

#[test]
fn who_is_interrupted_asks_all_and_ends_when_the_grace_is_over() {
    use Did::{Ask, Die, Kill, KillProgram};
    let own = 1000 + GRACE_NS / 2;
    let end = 1000 + GRACE_NS;
    let late = end + GONE_WITHIN.as_nanos() as u64 + 1;
    let broken = vec![OUTLIVES];
    let cases = [
        // In good order: by itself; killed at the end of its own grace; the program at the tree's.
        (vec![(1000, Ask), (2000, Die)], 3000, vec![]),
        (vec![(1000, Ask), (own, Kill), (own, Die)], own + 1, vec![]),
        (
            vec![(1000, Ask), (2000, Die), (end, KillProgram)],
            end,
            vec![],
        ),
        // Not asked, though it lived; asked late; not asked, but it had ended by then.
        (vec![(2000, Die)], 3000, broken.clone()),
        (vec![(1001, Ask), (2000, Die)], 3000, broken.clone()),
        (vec![(900, Die)], 3000, vec![]),
        // Dead and not reaped.
        (vec![(900, Die), (1000, Ask)], 3000, vec![]),
        (vec![(999, Ask), (2000, Die)], 3000, broken.clone()),
        // Killed before its time, the program too; nobody killed it.
        (
            vec![(1000, Ask), (own - 1, Kill), (own, Die)],
            own + 1,
            broken.clone(),
        ),
        (
            vec![(1000, Ask), (2000, Die), (end - 1, KillProgram)],
            end,
            broken.clone(),
        ),
        (vec![(1000, Ask), (2000, Die)], late, broken),
    ];
    for (place, (seen, program_ends, expected)) in cases.into_iter().enumerate() {
        let judged = interrupted(Some(GRACE_NS / 2), &seen, program_ends);
        assert_eq!(judged, expected, "case {place}");
    }
}

#[test]
fn who_has_no_grace_of_its_own_has_that_of_the_tree() {
    use Did::{Ask, Die, Kill};
    let end = 1000 + GRACE_NS;
    for (killed, expected) in [(end, vec![]), (end - 1, vec![OUTLIVES])] {
        let seen = [(1000, Ask), (killed, Kill), (killed, Die)];
        assert_eq!(interrupted(None, &seen, end + 1), expected, "{killed}");
    }
}

/// B is spawned by A, and this is done to its setup; then A dies at 1000 and B at that moment.
fn orphaned(setup: Setup<'_>, moved: bool, dies: u64) -> Vec<&'static str> {
    orphaned_after(&[], setup, moved, dies)
}

/// As [`orphaned`], and this is seen of B in between.
fn orphaned_after(seen: &[Seen], setup: Setup<'_>, moved: bool, dies: u64) -> Vec<&'static str> {
    let mut script = Script::default();
    let begun = [(ProcessId::PROGRAM, 0), (A, 5), (B, 6)];
    for (process, at) in begun {
        script.see(process, Seen::Began { at: Time(at) });
    }
    let function = FunctionRef {
        offset: 0,
        name: "f",
    };
    let spawn = Request::Spawn {
        function,
        args: &[],
        setup,
        rest: None,
    };
    let call = script.call(A, &spawn);
    let key = |process: ProcessId| format!("process/{}", process.0);
    let record_of_b = ("", &key(B)[..], None, Some(&record("starting")[..]));
    script.commit(1, A, &[record_of_b]);
    let spawned = Reply::Spawned {
        revision: Revision(1),
        process: B,
    };
    script.returned(A, call, &spawned);
    if moved {
        let call = script.call(A, &Request::ToRoot { process: B });
        script.returned(
            A,
            call,
            &Reply::Done {
                revision: Revision(1),
            },
        );
    }
    script.dies(A, Time(1000));
    for seen in seen {
        script.see(B, seen.clone());
    }
    script.dies(B, Time(dies));
    for (revision, process) in [(2, A), (3, B)] {
        let before = (process == B).then(|| record("starting"));
        let ended = record("ended");
        let key = key(process);
        let change = ("", &key[..], before.as_deref(), Some(&ended[..]));
        script.committed(
            revision,
            process,
            None,
            Some("killed by signal 9"),
            &[change],
        );
    }
    script.dies(ProcessId::PROGRAM, Time(dies + 1));
    script.judged()
}

#[test]
fn children_end_with_their_parent_unless_they_are_at_the_root() {
    let last = 1000 + GONE_WITHIN.as_nanos() as u64;
    let at_root = Setup {
        to_root: true,
        ..Setup::default()
    };
    assert_eq!(orphaned(Setup::default(), false, last), NONE);
    assert_eq!(orphaned(Setup::default(), false, last + 1), [OUTLIVES]);
    assert_eq!(orphaned(at_root, false, last + 1), NONE);
    assert_eq!(orphaned(Setup::default(), true, last + 1), NONE);
}

#[test]
fn a_child_that_was_asked_to_end_has_its_grace_and_no_more() {
    let grace_ns = 3 * GONE_WITHIN.as_nanos() as u64;
    let until = 900 + grace_ns;
    let seen = |struck: u64| {
        let at = Time(900);
        let by_parent = true;
        [
            Seen::ToStop { at, grace_ns },
            Seen::Asked { at },
            Seen::ToKill {
                at: Time(1100),
                by_parent,
            },
            Seen::Struck { at: Time(struck) },
        ]
    };
    let judged = |seen: &[Seen], dies: u64| orphaned_after(seen, Setup::default(), false, dies);
    assert_eq!(judged(&seen(until), until), NONE);
    // It was killed as its parent ended; nobody killed it; it never was asked.
    assert_eq!(judged(&seen(1100), 1100), [OUTLIVES]);
    let late = until + GONE_WITHIN.as_nanos() as u64 + 1;
    assert_eq!(judged(&seen(until)[..3], late), [OUTLIVES]);
    assert_eq!(judged(&seen(until)[2..], until), [OUTLIVES]);
}
