//! What the keeper makes of a setup before it starts a process: all that may need memory or may
//! fail beforehand is done here, so that between fork and exec only system calls are left.

use super::launch::{Changes, Redirect};
use super::outset;
use crate::proto::setup::{Input, Resource, Setup};
use std::ffi::{CStr, CString, c_int};
use std::os::fd::RawFd;

/// A process to come, as far as its setup says.
#[derive(Default)]
pub(crate) struct Stage {
    /// Its environment, if it is another than usual.
    pub(crate) environment: Option<Vec<CString>>,
    /// What is done between fork and exec.
    pub(crate) changes: Changes,
    /// What it does itself at first, as [`outset`] encodes it.
    pub(crate) outset: Vec<u8>,
}

/// Reads a setup, which the server has checked. `usual` is the program's environment, `stdin` its
/// standard input, `descriptors` how many it may have.
pub(crate) fn prepare(
    setup: &Setup<'_>,
    usual: &[CString],
    stdin: RawFd,
    descriptors: Option<libc::rlimit>,
) -> Stage {
    let mut stage = Stage::default();
    if setup.clears_environment || !setup.environment.is_empty() {
        stage.environment = Some(environment(setup, usual));
    }
    stage.changes = Changes {
        stdio: [
            match setup.stdin {
                // The keeper has nothing else itself.
                Input::Null | Input::File(_) => Redirect::Keep,
                Input::Inherit => Redirect::To(stdin),
            },
            // The pipe of a captured one is put there when it is made.
            Redirect::Keep,
            Redirect::Keep,
        ],
        niceness: setup.niceness,
        limits: descriptors
            .map(|descriptors| (number(Resource::OpenFiles), descriptors))
            .into_iter()
            .chain(setup.limits.iter().map(|limit| {
                let bounds = libc::rlimit {
                    rlim_cur: limit.soft,
                    rlim_max: limit.hard,
                };
                (number(limit.resource), bounds)
            }))
            .collect(),
    };
    stage.outset = outset::encode(setup);
    stage
}

/// The program's environment with the changes; of several of one variable the last one.
fn environment(setup: &Setup<'_>, usual: &[CString]) -> Vec<CString> {
    let is_of = |variable: &CStr, name: &[u8]| {
        let rest = variable.to_bytes().strip_prefix(name);
        rest.is_some_and(|rest| rest.first() == Some(&b'='))
    };
    let mut environment = match setup.clears_environment {
        true => Vec::new(),
        false => usual.to_vec(),
    };
    // One pass over what is there for each change: a few by a few dozen, mostly.
    for change in &setup.environment {
        environment.retain(|variable| !is_of(variable, change.name));
        if let Some(value) = change.value {
            environment.push(string(&[change.name, b"=", value].concat()));
        }
    }
    environment
}

fn string(bytes: &[u8]) -> CString {
    CString::new(bytes).expect("the server refuses setups with zero bytes")
}

/// As `setrlimit(2)` numbers it.
fn number(resource: Resource) -> c_int {
    let number = match resource {
        Resource::AddressSpace => libc::RLIMIT_AS,
        Resource::CoreSize => libc::RLIMIT_CORE,
        Resource::CpuTime => libc::RLIMIT_CPU,
        Resource::Data => libc::RLIMIT_DATA,
        Resource::FileSize => libc::RLIMIT_FSIZE,
        Resource::LockedMemory => libc::RLIMIT_MEMLOCK,
        Resource::OpenFiles => libc::RLIMIT_NOFILE,
        Resource::Processes => libc::RLIMIT_NPROC,
        Resource::Stack => libc::RLIMIT_STACK,
    };
    // The C libraries disagree about the sign of its type.
    number as c_int
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::setup::Variable;

    #[test]
    fn the_last_change_of_a_variable_counts() {
        let usual = [c"A=1", c"AB=2", c"C=3"].map(CString::from);
        let change = |name, value| Variable { name, value };
        let mut setup = Setup {
            environment: vec![
                change(&b"A"[..], Some(&b"4"[..])),
                change(b"D", Some(b"5=6")),
                change(b"C", None),
                change(b"A", Some(b"7")),
                change(b"E", Some(b"")),
                change(b"D", None),
            ],
            ..Setup::default()
        };
        let stage = prepare(&setup, &usual, 0, None);
        let wanted = [c"AB=2", c"A=7", c"E="].map(CString::from);
        assert_eq!(stage.environment.expect("it was changed"), wanted);
        setup.clears_environment = true;
        let stage = prepare(&setup, &usual, 0, None);
        let wanted = [c"A=7", c"E="].map(CString::from);
        assert_eq!(stage.environment.expect("it was changed"), wanted);
        assert!(
            prepare(&Setup::default(), &usual, 0, None)
                .environment
                .is_none()
        );
    }
}
