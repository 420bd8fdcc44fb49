//! What simulated programs do: a crew of processes of various roles on one state.
//!
//! A workload says nothing of what must hold but its own invariants; the checkers stand apart. It
//! ends by itself once the faults have ended: whoever waits, waits for the [`functions::DONE`] key
//! too, which the program writes last.

mod batches;
mod consumers;
mod crowds;
mod endings;
mod families;
mod fed;
pub(crate) mod functions;
mod gluttons;
mod groups;
pub(crate) mod hostile;
mod lockers;
pub(crate) mod models;
mod past;
mod strict;
pub(crate) mod tiny;
mod transactions;
mod visitor;
mod writers;

use crate::checkers::{ATOMIC, NO_SURPRISE};
use crate::faults::Fault;
use crate::history::Note;
use crate::limits;
use crate::thread::{choose, choose_for, note, strikes};
use serde::{Deserialize, Serialize};
use zproc::seam::proto::marks::{self, Mark};
use zproc::{Context, Error, Process, Result};

/// What a process of the crew does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    /// Counters and transfers by atomic functions, some of which fail or panic after a write.
    Banker,
    /// Every plain operation on a few keys.
    Mixer,
    /// Keys that go with their owner.
    Owner,
    /// As a mixer, where nobody waits for anything.
    Stray,
    /// What the waiters wait for.
    Producer,
    /// Waits by key, by prefix, on everything, and for a value.
    Waiter,
    /// Watches by key, by prefix or all, from now or from the start, at its own pace.
    Watcher,
    /// Processes below it.
    Parent,
    /// Processes below it that it ends.
    Ender,
    /// Several threads on one connection.
    Threads,
    /// Two threads on one connection, of which one gives up its waits.
    Fickle,
    /// Several threads that wait for each other.
    Crowd,
    /// Waits that no done key ends.
    Purist,
    /// Several threads that watch, each until all is done.
    Followers,
    /// Many keys, and snapshots of more than a page.
    Bulk,
    /// Updates of more bytes than a watch's credit.
    Heavy,
    /// Batches, and what is made of them.
    Batcher,
    /// Transactions that run in it.
    Transactor,
    /// Reads of the past.
    Historian,
    /// Locks that several want.
    Locker,
    /// All calls of the api, those too that no other role needs.
    Visitor,
    /// More of everything than any limit allows.
    Glutton,
    /// Beside processes that send garbage.
    Hostile,
}

/// Roles, each as often as it is to be drawn.
const ROLES: [Role; 22] = [
    Role::Banker,
    Role::Mixer,
    Role::Mixer,
    Role::Banker,
    Role::Owner,
    Role::Owner,
    Role::Producer,
    Role::Waiter,
    Role::Waiter,
    Role::Watcher,
    Role::Watcher,
    Role::Watcher,
    Role::Parent,
    Role::Threads,
    Role::Threads,
    Role::Fickle,
    Role::Bulk,
    Role::Crowd,
    Role::Crowd,
    Role::Purist,
    Role::Followers,
    Role::Followers,
];

impl Role {
    /// Does it end only when the program says that all is done?
    fn is_consumer(self) -> bool {
        matches!(
            self,
            Role::Waiter
                | Role::Watcher
                | Role::Threads
                | Role::Fickle
                | Role::Purist
                | Role::Followers
        )
    }
}

/// What a member is told: its role, and for how many steps.
type Told = (Role, u64);

/// Namespaces of the roles.
pub(crate) const BANK: &str = "bank";
pub(crate) const WAITS: &str = "waits";
pub(crate) const MIX: &str = "mix";
pub(crate) const OWNED: &str = "owned";
/// For those who may still write, and clear, when all is done.
pub(crate) const SCRATCH: &str = "scratch";

/// Accounts of the bank, and what is in each at the start.
pub(crate) const ACCOUNTS: u64 = 4;
const DEPOSIT: i64 = 100;

/// The bound of the program's first choice: how many members its crew has.
pub(crate) const CREW: u64 = 64;

/// How many members a crew has, by that choice: few is the mildest, many the usual one. What
/// chooses so many members at the least is their number itself.
pub(crate) fn members(chosen: u64) -> u64 {
    match chosen {
        few @ 0..3 => few,
        many => 3 + (many - 3) % 5,
    }
}

/// One member of the crew.
pub(crate) fn member(ctx: &Context, (role, steps): Told) -> Result<u64> {
    let result = act(ctx, role, steps);
    marks::reached_if(result.is_err(), Mark::MemberLostSession);
    if let Err(error) = &result {
        surprise(error);
    }
    result
}

/// The only errors that a role does not expect are those of a lost session, and of a limit that is
/// smaller than usual: who fills the state fills it for all, and ends are soon forgotten.
fn surprise(error: &Error) {
    let limited = (error.is_limit() || error.is_unknown_process()) && !limits::are_usual();
    if !is_lost(error) && !limited {
        note(Note::Broken {
            guarantee: NO_SURPRISE,
            explanation: format!("{error:#}"),
        });
    }
}

fn act(ctx: &Context, role: Role, steps: u64) -> Result<u64> {
    match role {
        Role::Banker => writers::banker(ctx, steps),
        Role::Mixer => writers::mixer(ctx, MIX, steps),
        Role::Stray => writers::mixer(ctx, SCRATCH, steps),
        Role::Owner => writers::owner(ctx, steps),
        Role::Producer => writers::producer(ctx, steps),
        Role::Crowd => crowds::crowd(ctx, steps),
        Role::Purist => strict::purist(ctx, steps),
        Role::Followers => strict::followers(ctx),
        Role::Bulk => writers::bulk(ctx, steps),
        Role::Heavy => consumers::heavy(ctx),
        Role::Batcher => batches::batcher(ctx, steps),
        Role::Transactor => transactions::transactor(ctx, steps),
        Role::Historian => past::historian(ctx, steps),
        Role::Locker => lockers::locker(ctx, steps),
        Role::Visitor => visitor::visitor(ctx, steps),
        Role::Glutton => gluttons::glutton(ctx, steps),
        Role::Hostile => hostile::host(ctx, steps),
        Role::Waiter => consumers::waiter(ctx, steps),
        Role::Watcher => consumers::watcher(ctx, steps),
        Role::Threads => consumers::threads(ctx, steps),
        Role::Fickle => consumers::fickle(ctx, steps),
        Role::Parent => families::parent(ctx, steps),
        Role::Ender => endings::ender(ctx, steps),
    }
}

/// The program: draws a crew, starts it, works too, and ends it.
pub(crate) fn program(ctx: &Context) -> Result<()> {
    let result = lead(ctx);
    if let Err(error) = &result {
        surprise(error);
    }
    result
}

/// Another program on the same state, which comes and goes as it likes.
pub(crate) fn guest(ctx: &Context) {
    let steps = choose(30);
    let role = [Role::Owner, Role::Owner, Role::Locker, Role::Mixer][choose(4) as usize];
    // What it finds surprising is noted.
    let _ = member(ctx, (role, steps));
}

/// From so many numbers a member's role is drawn.
const ROLES_DRAWN: u64 = 128;

/// The role of a member, as it is drawn.
fn role_of(drawn: u64) -> Role {
    match drawn {
        127 => Role::Heavy,
        119..127 => Role::Visitor,
        66..70 => Role::Batcher,
        70..74 => Role::Historian,
        74..80 => Role::Locker,
        80..89 => Role::Transactor,
        89..93 => Role::Parent,
        109..112 => Role::Ender,
        112..116 => Role::Glutton,
        116..119 => Role::Hostile,
        drawn => ROLES[drawn as usize % ROLES.len()],
    }
}

fn lead(ctx: &Context) -> Result<()> {
    let bank = ctx.namespace(BANK);
    for account in 0..ACCOUNTS {
        bank.set(&format!("a{account}"), &DEPOSIT)?;
    }
    let mut crew: Vec<(Told, Process<Result<u64>>)> = Vec::new();
    // What the first of the enders does the program does itself.
    let mut own = None;
    // The shrinker knows that this is the first choice.
    for place in 0..members(choose(CREW)) {
        let role = role_of(choose_for(place, ROLES_DRAWN));
        let steps = match choose_for(place, 1024) {
            few @ 0..25 => few,
            many => 25 + (many - 25) % 75,
        };
        // What needs one process less is easier to read.
        if role == Role::Ender && own.is_none() {
            own = Some(steps);
            continue;
        }
        match ctx.spawn(member, (role, steps)) {
            Ok(process) => crew.push(((role, steps), process)),
            Err(error) if error.is_limit() => break,
            Err(error) => return Err(error),
        }
    }
    gluttons::taken(writers::mixer(ctx, MIX, choose(40)))?;
    if let Some(Err(error)) = own.map(|steps| member(ctx, (Role::Ender, steps)))
        && is_lost(&error)
    {
        return Err(error);
    }
    let (consumers, producers): (Vec<_>, Vec<_>) = crew
        .into_iter()
        .partition(|((role, _), _)| role.is_consumer());
    for (member, process) in producers {
        joined(ctx, member, process)?;
    }
    // What one of them could not give back, because it died.
    ctx.namespace(gluttons::GLUT).clear()?;
    for namespace in [WAITS, MIX, OWNED, BANK] {
        let state = ctx.namespace(namespace);
        state.set(functions::DONE, &1_i64)?;
        for prefix in consumers::PREFIXES {
            state.set(&format!("{prefix}{}", functions::DONE), &1_i64)?;
        }
    }
    strict::finish(ctx)?;
    for (member, process) in consumers {
        joined(ctx, member, process)?;
    }
    visitor::review(ctx)?;
    let sum = bank.atomic(functions::total, ())?;
    if sum != DEPOSIT * ACCOUNTS as i64 {
        note(Note::Broken {
            guarantee: ATOMIC,
            explanation: format!("the accounts hold {sum}"),
        });
    }
    Ok(())
}

/// Waits for a member's end; how it ended does not matter, except that one that has died may get a
/// successor, which does the same from the beginning.
fn joined(ctx: &Context, told: Told, mut process: Process<Result<u64>>) -> Result<()> {
    loop {
        match process.join() {
            Ok(_) => return Ok(()),
            Err(error) if is_lost(&error) => return Err(error),
            Err(error) if is_death(&error) && strikes(Fault::Restart) => {
                process = match ctx.spawn(member, told) {
                    Err(error) if error.is_limit() => return Ok(()),
                    successor => successor?,
                };
            }
            Err(_) => return Ok(()),
        }
    }
}

/// A death that a fault may be the cause of.
pub(crate) fn is_death(error: &Error) -> bool {
    error.is_killed()
        || error.is_not_started()
        || error.exit_code().is_some()
        // Forgotten already: many have ended since.
        || error.is_unknown_process()
}

/// The caller's own session is lost, or it was asked to end, so it had better end.
pub(crate) fn is_lost(error: &Error) -> bool {
    error.is_session_lost()
        || error.is_server_lost()
        || error.is_outcome_unknown()
        || error.is_closed()
        || error.is_stopped()
}

/// Keeps what came of a call that may fail or panic in the server.
pub(crate) fn tolerate<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_lost(&error) => Err(error),
        Err(_) => Ok(None),
    }
}
