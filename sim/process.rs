//! What simulated processes run: the program, and its children with exactly the protocol of real
//! ones.

use crate::alone::GUEST;
use crate::interrupt;
use crate::port::SimPort;
use crate::workloads;
use crate::world;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use zproc::Context;
use zproc::seam::client::{CallError, Connection};
use zproc::seam::panics;
use zproc::seam::proto::client::Config;
use zproc::seam::proto::ids::{BuildId, ProcessId, Token};
use zproc::seam::run_task;

/// The simulator's build: the same wherever it is compiled, so that a seed means the same.
pub(crate) const BUILD: BuildId = BuildId([0x7a70_726f_635f_7369, 1]);

/// The program's `main`, given its context.
pub(crate) type Program = Box<dyn FnOnce(&Context) -> zproc::Result<()>>;

/// What the program's function came to.
pub(crate) type Outcome = Rc<RefCell<Option<Result<(), String>>>>;

fn open(world: u64, process: ProcessId, key: Token) -> Result<Connection, CallError> {
    let port = Arc::new(SimPort::new(world, process));
    let config = Config {
        process,
        key,
        pid: world::with(|world| world.keeper.pid(process).unwrap_or(1)),
        build: BUILD,
        in_flight_max: world::with(|world| world.host.limits.in_flight_max),
        part_bytes_max: world::with(|world| world.host.limits.part_bytes_max),
    };
    Connection::open(port, config)
}

/// The program's main thread.
pub(crate) fn program(world: u64, key: Token, body: Program, outcome: &Outcome) {
    let result = match open(world, ProcessId::PROGRAM, key) {
        Err(error) => Err(format!("the program could not connect: {error:?}")),
        Ok(connection) => {
            let context = Context::from_connection(connection.clone(), ProcessId::PROGRAM, None);
            let result = panics::capture(|| body(&context));
            drop(context);
            connection.close();
            match result {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(fault) => Err(format!("panic at {}: {}", fault.location, fault.message)),
            }
        }
    };
    *outcome.borrow_mut() = Some(result);
    interrupt::let_go();
}

/// The guest's main thread: another program's `main`.
pub(crate) fn guest(world: u64, key: Token) {
    // Who can't connect has lost the server, or its keeper, before it came to anything.
    if let Ok(connection) = open(world, GUEST, key) {
        let context = Context::from_connection(connection, GUEST, None);
        workloads::guest(&context);
    }
}

/// Exit code of a child that could not speak to the server to its end.
const EXIT_LOST: i32 = 70 << 8;

/// A child's main thread: asks what to run, runs it, says what came of it.
pub(crate) fn child(world: u64, process: ProcessId, key: Token) {
    if let Err(error) = try_child(world, process, key) {
        world::with(|world| {
            if let Some(story) = world.trace.story(world.now) {
                story.note(process.into(), error);
            }
            if let Some(process) = world.processes.get_mut(&process) {
                process.crashed.get_or_insert(EXIT_LOST);
            }
        });
    }
}

fn try_child(world: u64, process: ProcessId, key: Token) -> Result<(), String> {
    let connection = open(world, process, key).map_err(|error| format!("{error:?}"))?;
    let context = Context::from_connection(connection, process, None);
    run_task(&context).map_err(|error| error.to_string())
}
