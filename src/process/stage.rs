//! What the keeper makes of a setup before it starts a process: all that may need memory or may
//! fail beforehand is done here, so that between fork and exec only system calls are left.

use super::launch::{Changes, Redirect};
use super::outset;
use crate::proto::setup::{Input, Resource, Setup};
use std::collections::HashMap;
use std::ffi::{CString, c_int};
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
    let changes = setup.environment.iter().enumerate();
    let last: HashMap<&[u8], usize> = changes
        .clone()
        .map(|(index, change)| (change.name, index))
        .collect();
    let is_kept = |variable: &&CString| {
        let name = variable.to_bytes().split(|byte| *byte == b'=').next();
        !name.is_some_and(|name| last.contains_key(name))
    };
    let usual = match setup.clears_environment {
        true => &[],
        false => usual,
    };
    let added = changes
        .filter(|(index, change)| last[change.name] == *index)
        .filter_map(|(_, change)| {
            let value = change.value?;
            Some(string(&[change.name, b"=", value].concat()))
        });
    usual.iter().filter(is_kept).cloned().chain(added).collect()
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

    /// Each change went through the whole environment, and everybody's start waited for it: of so
    /// many this would take minutes.
    #[test]
    fn many_changes_of_a_large_environment() {
        let count = 50_000;
        let names: Vec<Vec<u8>> = (0..count)
            .map(|n| format!("NAME_{n}").into_bytes())
            .collect();
        let usual: Vec<CString> = names
            .iter()
            .map(|name| string(&[name, &b"=1"[..]].concat()))
            .collect();
        let changes = names.iter().map(|name| Variable {
            name,
            value: Some(b"2"),
        });
        let setup = Setup {
            environment: changes.collect(),
            ..Setup::default()
        };
        let environment = environment(&setup, &usual);
        assert_eq!(environment.len(), count);
        assert!(environment.iter().all(|it| it.to_bytes().ends_with(b"=2")));
    }
}
