//! What a process's setup says of its end.

use super::*;

fn spawn_limited(process: u64, limit_ns: u64) -> ToKeeper<'static> {
    let setup = Setup {
        time_limit_ns: Some(limit_ns),
        ..Setup::default()
    };
    spawn_with(process, setup)
}

/// A keeper of one process that may run so long, under the number 102.
fn keeper_with_limit(limit_ns: u64) -> Keeper {
    let mut keeper = Keeper::new(Some(SERVER), GRACE);
    keeper.asked(&spawn_limited(2, limit_ns), Time(1));
    // Its time begins when it does.
    keeper.forked(ProcessId(2), 102, Time(100));
    effects(&mut keeper);
    keeper
}

fn told_why(keeper: &mut Keeper) -> Option<Why> {
    keeper.reaped(reaped(102, SIGKILL));
    match effects(keeper).pop() {
        Some(Effect::Tell(FromKeeper::Ended { why, .. })) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_has_run_for_its_time_limit_is_killed_and_not_asked() {
    let mut keeper = keeper_with_limit(50);
    assert_eq!(keeper.deadline(), Some(Time(150)));
    keeper.tick(Time(149));
    assert_eq!(effects(&mut keeper), []);
    keeper.tick(Time(150));
    assert_eq!(effects(&mut keeper), [killed(2)]);
    let why = Why::TimeLimit { limit_ns: 50 };
    assert_eq!(told_why(&mut keeper), Some(why));
}

#[test]
fn of_a_grace_and_a_time_limit_the_first_counts() {
    for (grace_ns, due, why) in [
        (20, 140, Why::Grace),
        (40, 150, Why::TimeLimit { limit_ns: 50 }),
    ] {
        let mut keeper = keeper_with_limit(50);
        keeper.asked(&stop(2, grace_ns), Time(120));
        assert_eq!(effects(&mut keeper), [ask(2)]);
        assert_eq!(keeper.deadline(), Some(Time(due)));
        keeper.tick(Time(due));
        assert_eq!(effects(&mut keeper), [killed(2)]);
        assert_eq!(told_why(&mut keeper), Some(why));
    }
}

#[test]
fn a_time_limit_ends_with_its_process() {
    let mut keeper = keeper_with_limit(50);
    keeper.reaped(reaped(102, 0));
    assert_eq!(keeper.deadline(), None);
    // One that was not started has left none to the next.
    keeper.asked(&spawn_limited(3, 7), NOW);
    keeper.not_forked(ProcessId(3), "clone", 11);
    keeper.asked(&spawn(4), NOW);
    keeper.forked(ProcessId(4), 102, NOW);
    assert_eq!(keeper.deadline(), None);
}
