//! The program is asked to end.

use super::*;
use crate::proto::limits;

/// A process with a grace of its own.
fn spawn_with_grace(process: u64, grace_ns: u64) -> ToKeeper<'static> {
    let setup = Setup {
        grace_ns: Some(grace_ns),
        ..Setup::default()
    };
    spawn_with(process, setup)
}

/// A keeper of process 2, with much time, and 3, with little.
fn keeper() -> Keeper {
    let mut keeper = Keeper::new(Some(SERVER), GRACE);
    for (process, grace_ns) in [(2, 1_000_000), (3, 70)] {
        keeper.asked(&spawn_with_grace(process, grace_ns), NOW);
        keeper.forked(ProcessId(process), 100 + process as u32, NOW);
    }
    effects(&mut keeper);
    keeper
}

#[test]
fn all_are_asked_once_and_each_has_its_own_grace_but_no_more_than_the_tree() {
    let mut keeper = keeper();
    keeper.program_asked(Time(100));
    assert_eq!(effects(&mut keeper), [ask(2), ask(3)]);
    keeper.program_asked(Time(150));
    assert_eq!(effects(&mut keeper), []);
    assert_eq!(keeper.deadline(), Some(Time(170)));
    keeper.tick(Time(170));
    assert_eq!(effects(&mut keeper), [killed(3)]);
    assert_eq!(keeper.deadline(), Some(Time(1_100)));
    keeper.tick(Time(1_099));
    assert_eq!(effects(&mut keeper), []);
    keeper.tick(Time(1_100));
    let ended = [killed(2), Effect::EndProgram, Effect::End];
    assert_eq!(effects(&mut keeper), ended);
    assert!(keeper.has_ended());
    assert_eq!(keeper.deadline(), None);
    keeper.tick(Time(2_000));
    keeper.program_lost();
    assert_eq!(effects(&mut keeper), []);
}

/// Seen: it had the usual 5 seconds, and a tree that was given more ended no later for it.
#[test]
fn who_has_no_grace_of_its_own_has_that_of_the_tree_however_long() {
    let mut keeper = Keeper::new(Some(SERVER), limits::GRACE * 6);
    keeper.asked(&spawn(2), NOW);
    keeper.forked(ProcessId(2), 102, NOW);
    effects(&mut keeper);
    keeper.program_asked(NOW);
    assert_eq!(effects(&mut keeper), [ask(2)]);
    let end = NOW.after(limits::GRACE * 6);
    assert_eq!(keeper.deadline(), Some(end));
    keeper.tick(Time(end.0 - 1));
    assert_eq!(effects(&mut keeper), []);
    keeper.tick(end);
    let ended = [killed(2), Effect::EndProgram, Effect::End];
    assert_eq!(effects(&mut keeper), ended);
}

#[test]
fn who_was_asked_before_is_not_asked_again_and_has_no_more_time() {
    let mut keeper = keeper();
    keeper.asked(&stop(2, 50), NOW);
    assert_eq!(effects(&mut keeper), [ask(2)]);
    keeper.program_asked(Time(10));
    assert_eq!(effects(&mut keeper), [ask(3)]);
    assert_eq!(keeper.deadline(), Some(Time(55)));
}

#[test]
fn who_starts_while_the_tree_is_stopped_is_asked_at_once() {
    let mut keeper = keeper();
    keeper.program_asked(Time(100));
    effects(&mut keeper);
    keeper.asked(&spawn_with_grace(4, 60), Time(101));
    effects(&mut keeper);
    keeper.forked(ProcessId(4), 104, Time(105));
    assert_eq!(effects(&mut keeper).pop(), Some(ask(4)));
    assert_eq!(keeper.deadline(), Some(Time(165)));
}

#[test]
fn a_program_that_lets_go_waits_for_those_that_were_asked() {
    let mut keeper = keeper();
    keeper.asked(&spawn_with_grace(4, 60), NOW);
    effects(&mut keeper);
    keeper.program_asked(Time(100));
    keeper.program_let_go();
    assert!(!keeper.has_ended());
    for pid in [102, 103] {
        keeper.reaped(reaped(pid, 0));
        assert!(!keeper.has_ended());
    }
    // One was still being started.
    keeper.not_forked(ProcessId(4), "clone", 11);
    assert!(keeper.has_ended());
    // The ends of all are told before.
    let all = effects(&mut keeper);
    let told = all
        .iter()
        .filter(|effect| matches!(effect, Effect::Tell(_)));
    assert_eq!(told.count(), 3);
    assert_eq!(all.last(), Some(&Effect::End));
}

#[test]
fn a_program_that_lets_go_last_waits_for_nobody() {
    let mut keeper = keeper();
    keeper.program_asked(Time(100));
    for pid in [102, 103] {
        keeper.reaped(reaped(pid, 0));
    }
    // It may be at work still.
    assert!(!keeper.has_ended());
    effects(&mut keeper);
    keeper.program_let_go();
    assert_eq!(effects(&mut keeper), [Effect::End]);
}

#[test]
fn a_program_that_was_not_asked_waits_for_nobody() {
    let mut keeper = keeper();
    keeper.program_let_go();
    assert_eq!(effects(&mut keeper), [Effect::End]);
    keeper.program_asked(Time(100));
    assert_eq!((keeper.deadline(), effects(&mut keeper)), (None, vec![]));
}

#[test]
fn a_program_that_is_gone_or_lets_go_too_late_ends_the_tree_by_the_grace() {
    let mut keeper = keeper();
    keeper.program_asked(Time(100));
    keeper.program_let_go();
    effects(&mut keeper);
    keeper.tick(Time(1_100));
    let all = effects(&mut keeper);
    assert!(all.ends_with(&[Effect::EndProgram, Effect::End]), "{all:?}");

    let mut keeper = keeper_of(&[2]);
    keeper.program_asked(Time(100));
    effects(&mut keeper);
    keeper.program_lost();
    assert_eq!(effects(&mut keeper), [Effect::End]);
}
