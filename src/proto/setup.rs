//! How a process is to be started: all that can be chosen besides its function and its argument.
//!
//! Who spawns says it, the server checks it, the keeper carries it out, and the process is told
//! what concerns its own code.

#![expect(
    missing_docs,
    reason = "fields whose name and type say it all; the types have their docs"
)]

use super::ids::FunctionRef;
use super::limits::{
    FUNCTION_NAME_BYTES_MAX, NAMESPACE_BYTES_MAX, SETUP_BYTES_MAX, SETUP_LIMITS_MAX,
    SETUP_VARIABLES_MAX,
};
use speedy::{Readable, Writable};

/// How a process is to be started.
#[derive(Debug, Clone, PartialEq, Readable, Writable)]
pub struct Setup<'a> {
    /// Its name, for people; empty: that of its function.
    pub name: &'a str,
    /// What [`Context::state`](crate::Context::state) means in it.
    pub namespace: &'a str,
    /// Begin with an empty environment, not with the program's.
    pub clears_environment: bool,
    /// Changes of it, in this order.
    pub environment: Vec<Variable<'a>>,
    /// Its working directory, if not the program's.
    pub directory: Option<&'a [u8]>,
    pub stdin: Input<'a>,
    pub stdout: Output<'a>,
    pub stderr: Output<'a>,
    pub limits: Vec<ResourceLimit>,
    /// From -20, the most willing to run, to 19.
    pub niceness: Option<i32>,
    /// Runs in it before its function.
    pub init: Option<FunctionRef<'a>>,
    /// How long it may take to end once it is asked to. `None`: as long as the tree may where that is
    /// asked to, else the [usual grace](super::limits::GRACE).
    pub grace_ns: Option<u64>,
    /// How long it may run.
    pub time_limit_ns: Option<u64>,
    /// It ends with the program, not with who spawns it.
    pub to_root: bool,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Setup {
            name: "",
            namespace: "default",
            clears_environment: false,
            environment: Vec::new(),
            directory: None,
            stdin: Input::Null,
            stdout: Output::Inherit,
            stderr: Output::Inherit,
            limits: Vec::new(),
            niceness: None,
            init: None,
            grace_ns: None,
            time_limit_ns: None,
            to_root: false,
        }
    }
}

/// One change of the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Readable, Writable)]
pub struct Variable<'a> {
    pub name: &'a [u8],
    /// `None`: it is removed.
    pub value: Option<&'a [u8]>,
}

/// Where the standard input comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Readable, Writable)]
pub enum Input<'a> {
    /// Nowhere: it is at its end.
    #[default]
    Null,
    /// The program's.
    Inherit,
    /// This file.
    File(&'a [u8]),
}

/// Where a standard output goes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Readable, Writable)]
pub enum Output<'a> {
    /// To the program's.
    #[default]
    Inherit,
    /// Nowhere.
    Null,
    /// To the keeper, which hands on the end of it with the outcome.
    Captured,
    /// To this file, from its beginning.
    File(&'a [u8]),
    /// To the end of this file.
    Append(&'a [u8]),
}

/// How much of something a process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Readable, Writable)]
pub struct ResourceLimit {
    pub resource: Resource,
    /// What holds; the process may change it, up to `hard`. `u64::MAX`: no limit.
    pub soft: u64,
    pub hard: u64,
}

/// What the system can limit for a process, as `setrlimit(2)` describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Readable, Writable)]
#[non_exhaustive]
pub enum Resource {
    /// Bytes of its address space (`RLIMIT_AS`).
    AddressSpace,
    /// Bytes of a core dump (`RLIMIT_CORE`).
    CoreSize,
    /// Seconds of CPU time, after which it gets SIGXCPU, and at the hard limit SIGKILL
    /// (`RLIMIT_CPU`).
    CpuTime,
    /// Bytes of its data: heap, and private writable mappings (`RLIMIT_DATA`).
    Data,
    /// Bytes of a file that it writes; past it, SIGXFSZ (`RLIMIT_FSIZE`).
    FileSize,
    /// Bytes that it may lock in memory (`RLIMIT_MEMLOCK`).
    LockedMemory,
    /// One more than the largest number of a descriptor (`RLIMIT_NOFILE`). A process needs some
    /// itself, to reach the server.
    OpenFiles,
    /// Processes and threads of its user (`RLIMIT_NPROC`). One process takes at least two.
    Processes,
    /// Bytes of its main thread's stack (`RLIMIT_STACK`). Its function runs in a thread of its own,
    /// which has 8 MiB.
    Stack,
}

impl Resource {
    /// As a limit: none.
    pub const UNLIMITED: u64 = u64::MAX;
}

/// Why no process can be started so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// A named limit.
    Limit {
        limit: &'static str,
        actual: usize,
        max: usize,
    },
    /// The system could not be told, for this reason.
    Nonsense(&'static str),
}

impl<'a> Setup<'a> {
    /// Can a process be started so, as far as that can be told beforehand?
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), Unfit> {
        let within = |limit, actual, max| match actual <= max {
            true => Ok(()),
            false => Err(Unfit::Limit { limit, actual, max }),
        };
        let init_bytes = self.init.map_or(0, |init| init.name.len());
        within(
            "FUNCTION_NAME_BYTES_MAX",
            self.name.len(),
            FUNCTION_NAME_BYTES_MAX,
        )?;
        within(
            "FUNCTION_NAME_BYTES_MAX",
            init_bytes,
            FUNCTION_NAME_BYTES_MAX,
        )?;
        within(
            "NAMESPACE_BYTES_MAX",
            self.namespace.len(),
            NAMESPACE_BYTES_MAX,
        )?;
        within(
            "SETUP_VARIABLES_MAX",
            self.environment.len(),
            SETUP_VARIABLES_MAX,
        )?;
        within("SETUP_LIMITS_MAX", self.limits.len(), SETUP_LIMITS_MAX)?;
        within("SETUP_BYTES_MAX", self.bytes(), SETUP_BYTES_MAX)?;
        match self.nonsense() {
            None => Ok(()),
            Some(what) => Err(Unfit::Nonsense(what)),
        }
    }

    /// The paths in it.
    fn paths(&self) -> impl Iterator<Item = &'a [u8]> {
        let input = match self.stdin {
            Input::File(path) => Some(path),
            Input::Null | Input::Inherit => None,
        };
        let output = |output| match output {
            Output::File(path) | Output::Append(path) => Some(path),
            Output::Inherit | Output::Null | Output::Captured => None,
        };
        [
            self.directory,
            input,
            output(self.stdout),
            output(self.stderr),
        ]
        .into_iter()
        .flatten()
    }

    /// How much it has to say.
    fn bytes(&self) -> usize {
        let variables = self.environment.iter();
        let variables = variables.map(|it| it.name.len() + it.value.map_or(0, <[u8]>::len));
        variables.sum::<usize>() + self.paths().map(<[u8]>::len).sum::<usize>()
    }

    /// What the system could not be told.
    fn nonsense(&self) -> Option<&'static str> {
        let has_zero = |bytes: &[u8]| bytes.contains(&0);
        for Variable { name, value } in &self.environment {
            if name.is_empty() || name.contains(&b'=') || has_zero(name) {
                return Some("the name of a variable is empty, or has a '=' or a zero byte in it");
            }
            if value.is_some_and(has_zero) {
                return Some("the value of a variable has a zero byte in it");
            }
            if [&b"ZPROC_ENTRY"[..], b"ZPROC_TREE"].contains(name) {
                return Some("ZPROC_ENTRY and ZPROC_TREE are the framework's own variables");
            }
        }
        if self.paths().any(|path| path.is_empty() || has_zero(path)) {
            return Some("a path is empty or has a zero byte in it");
        }
        if self.limits.iter().any(|limit| limit.soft > limit.hard) {
            return Some("a soft limit is above its hard limit");
        }
        if self
            .niceness
            .is_some_and(|nice| !(-20..=19).contains(&nice))
        {
            return Some("the niceness is not between -20 and 19");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_setup_is_fine() {
        assert_eq!(Setup::default().check(), Ok(()));
    }

    #[test]
    fn what_is_too_large_is_refused_by_name() {
        let long = "x".repeat(SETUP_BYTES_MAX + 1);
        let variable = Variable {
            name: b"A",
            value: None,
        };
        let limit = ResourceLimit {
            resource: Resource::CpuTime,
            soft: 1,
            hard: 1,
        };
        let init = Setup {
            init: Some(FunctionRef {
                offset: 0,
                name: &long,
            }),
            ..Setup::default()
        };
        let cases = [
            (
                Setup {
                    name: &long,
                    ..Setup::default()
                },
                "FUNCTION_NAME_BYTES_MAX",
            ),
            (init, "FUNCTION_NAME_BYTES_MAX"),
            (
                Setup {
                    namespace: &long,
                    ..Setup::default()
                },
                "NAMESPACE_BYTES_MAX",
            ),
            (
                Setup {
                    environment: vec![variable; SETUP_VARIABLES_MAX + 1],
                    ..Setup::default()
                },
                "SETUP_VARIABLES_MAX",
            ),
            (
                Setup {
                    limits: vec![limit; SETUP_LIMITS_MAX + 1],
                    ..Setup::default()
                },
                "SETUP_LIMITS_MAX",
            ),
            (
                Setup {
                    directory: Some(long.as_bytes()),
                    ..Setup::default()
                },
                "SETUP_BYTES_MAX",
            ),
            (
                Setup {
                    stdout: Output::Append(long.as_bytes()),
                    ..Setup::default()
                },
                "SETUP_BYTES_MAX",
            ),
        ];
        for (setup, name) in cases {
            match setup.check() {
                Err(Unfit::Limit { limit, .. }) => assert_eq!(limit, name),
                other => panic!("{name}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_words() {
        let with = |name, value| Setup {
            environment: vec![Variable { name, value }],
            ..Setup::default()
        };
        let limit = ResourceLimit {
            resource: Resource::CpuTime,
            soft: 2,
            hard: 1,
        };
        let cases = [
            (with(b"", None), "name of a variable"),
            (with(b"A=B", None), "name of a variable"),
            (with(b"A\0", None), "name of a variable"),
            (with(b"A", Some(b"\0")), "value of a variable"),
            (with(b"ZPROC_TREE", Some(b"x")), "own variables"),
            (with(b"ZPROC_ENTRY", None), "own variables"),
            (
                Setup {
                    directory: Some(b""),
                    ..Setup::default()
                },
                "a path",
            ),
            (
                Setup {
                    stdin: Input::File(b"a\0"),
                    ..Setup::default()
                },
                "a path",
            ),
            (
                Setup {
                    stderr: Output::File(b""),
                    ..Setup::default()
                },
                "a path",
            ),
            (
                Setup {
                    limits: vec![limit],
                    ..Setup::default()
                },
                "soft limit",
            ),
            (
                Setup {
                    niceness: Some(20),
                    ..Setup::default()
                },
                "niceness",
            ),
            (
                Setup {
                    niceness: Some(i32::MIN),
                    ..Setup::default()
                },
                "niceness",
            ),
        ];
        for (setup, text) in cases {
            match setup.check() {
                Err(Unfit::Nonsense(what)) => assert!(what.contains(text), "{what}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }
}
