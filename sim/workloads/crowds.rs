//! Threads of one process that wait for each other: whoever holds the connection up holds up all.

use super::{functions, is_lost};
use crate::history::Note;
use crate::thread::{self, choose, note};
use std::time::Duration;
use zproc::{Context, Error, Filter, Result, State, Watch};

/// Its namespace.
const CROWD: &str = "crowd";
/// The turn at which a game is over.
const TURNS: i64 = 6;

/// Two threads take turns, others look on, and one watches for a while and goes away. None of them
/// looks for the done key: a game comes to its end by itself.
pub(crate) fn crowd(ctx: &Context, steps: u64) -> Result<u64> {
    let games = 1 + steps % 3;
    for game in 0..games {
        let turn = format!("{}/{game}", ctx.process_id());
        let player = |first: i64| {
            let (state, turn) = (ctx.namespace(CROWD), turn.clone());
            thread::spawn(move || play(&state, &turn, first))
        };
        let players = [player(0), player(1)];
        let onlooker = {
            let (state, turn) = (ctx.namespace(CROWD), turn.clone());
            let wanted = 1 + choose(TURNS as u64) as i64;
            thread::spawn(move || see(&state, &turn, wanted))
        };
        // Its end would stir the others: it is held until they are done.
        let watch = glance(&ctx.namespace(CROWD), &turn);
        for thread in players.into_iter().chain([onlooker]) {
            if let Ok(Err(error)) = thread.join() {
                return Err(error);
            }
        }
        drop(watch?);
    }
    Ok(games)
}

/// Makes every second turn, from `first` on.
fn play(state: &State, turn: &str, first: i64) -> Result<()> {
    for number in (first..TURNS).step_by(2) {
        if number > 0 {
            persist(|| state.wait_equal(turn, &number).map(drop))?;
        }
        // Tried again it must not take back what the other has made of it.
        persist(|| {
            let next = (turn.to_owned(), number + 1);
            state.atomic(functions::raise, next).map(drop)
        })?;
    }
    Ok(())
}

/// Waits for a turn, or for the last one.
fn see(state: &State, turn: &str, wanted: i64) -> Result<()> {
    let hasty = state.within(Duration::from_micros(choose(3_000)));
    match hasty.wait_equal(turn, &wanted) {
        Err(error) if !error.is_timeout() && !is_lost(&error) => return Err(error),
        _ => {}
    }
    persist(|| state.wait_equal(turn, &TURNS).map(drop))
}

/// Watches for a short time, and leaves without a word.
fn glance(state: &State, turn: &str) -> Result<Watch> {
    let mut watch = state.watch(Filter::key(turn)).start()?;
    for _ in 0..choose(4) {
        match watch.next_within(Duration::from_micros(choose(500))) {
            Err(error) if error.is_compacted() => {
                let oldest = error.oldest().unwrap_or_default();
                note(Note::Compacted { oldest });
                break;
            }
            Err(error) if !error.is_timeout() => return Err(error),
            _ => {}
        }
    }
    note(Note::Idle);
    Ok(watch)
}

/// Tries again in the next session if this one is lost: the other players count on it.
fn persist(mut step: impl FnMut() -> Result<()>) -> Result<()> {
    let again = |error: &Error| error.is_session_lost() || error.is_outcome_unknown();
    loop {
        match step() {
            Err(error) if again(&error) => {}
            result => return result,
        }
    }
}
