//! A history made by a naive server, of any length: for the bench of the checkers.
//!
//! Many processes call at once, each call takes effect at some instant between its call and its
//! return, a watch sees every change, and owners die. So every checker has work, and none a reason
//! to refuse.

use crate::checkers::{self, Ending};
use crate::choices::mix;
use crate::history::{Changed, Committed, History, What};
use crate::seen::Seen;
use crate::world::RunEnd;
use std::collections::BTreeMap;
use zproc::seam::proto::ids::{ProcessId, Revision, WatchId};
use zproc::seam::proto::limits::Limits;
use zproc::seam::proto::message::{Change, Filter, FunctionRef, Origin, Reply, Request, Update};
use zproc::seam::proto::server::Usage;
use zproc::seam::proto::time::Time;
use zproc::seam::runtime::Observation;

/// Processes that call at the same time.
const CALLERS: u64 = 8;
/// Keys that they use.
const KEYS: u64 = 64;
const NAMESPACE: &str = "n";
const ADD: &str = "zproc_sim::workloads::functions::add";
const WATCHER: ProcessId = ProcessId(100);

/// What a call came to, as long as it has not returned.
enum Stage {
    Idle,
    Called(u64, Asked),
    Done(u64, Answer),
}

enum Asked {
    Get(String),
    Set(String, Vec<u8>),
    Remove(String),
    Add(String, i64, Vec<u8>),
}

enum Answer {
    Value(Revision, Option<Vec<u8>>),
    Written(Revision, Option<Vec<u8>>),
    Returned(Revision, Vec<u8>),
}

struct Naive {
    history: History,
    state: BTreeMap<String, Vec<u8>>,
    revision: u64,
    calls: u64,
    drawn: u64,
    stages: Vec<Stage>,
}

fn number(value: i64) -> Vec<u8> {
    rmp_serde::to_vec_named(&value).expect("a number is encodable")
}

impl Naive {
    fn draw(&mut self, below: u64) -> u64 {
        self.drawn += 1;
        mix(self.drawn) % below
    }

    fn observe(&mut self, process: ProcessId, observation: &Observation<'_>) {
        let thread = usize::try_from(process.0).unwrap_or(0);
        self.history.observe(process, thread, observation);
    }

    fn called(&mut self, process: ProcessId, request: &Request<'_>) -> u64 {
        self.calls += 1;
        let call = self.calls;
        self.observe(process, &Observation::Called { call, request });
        call
    }

    fn watch(&mut self) {
        let request = Request::Watch {
            watch: WatchId(1),
            namespace: NAMESPACE,
            filter: Filter::All,
            from: None,
            credit: 1,
            feeds: None,
        };
        let call = self.called(WATCHER, &request);
        let next = Revision(1);
        let reply = &Reply::Watching { next };
        self.observe(WATCHER, &Observation::Returned { call, reply });
    }

    /// One step of one process: it calls, or its call is done, or it returns.
    fn step(&mut self) {
        let caller = self.draw(CALLERS);
        let process = ProcessId(2 + caller);
        let place = usize::try_from(caller).expect("there are few");
        self.stages[place] = match std::mem::replace(&mut self.stages[place], Stage::Idle) {
            Stage::Idle => {
                let (call, asked) = self.ask(process);
                Stage::Called(call, asked)
            }
            Stage::Called(call, asked) => Stage::Done(call, self.apply(process, asked)),
            Stage::Done(call, answer) => {
                self.answer(process, call, &answer);
                Stage::Idle
            }
        };
    }

    fn ask(&mut self, process: ProcessId) -> (u64, Asked) {
        let kind = self.draw(10);
        let count = i64::try_from(self.draw(1000)).expect("it is small");
        // Half of the keys are counters.
        let key = match kind {
            8.. => format!("c{}", self.draw(KEYS / 2)),
            _ => format!("k{}", self.draw(KEYS / 2)),
        };
        let (namespace, name) = (NAMESPACE, ADD);
        let asked = match kind {
            0..4 => Asked::Get(key),
            4..7 => Asked::Set(key, number(count)),
            7 => Asked::Remove(key),
            _ => {
                let args = rmp_serde::to_vec_named(&(&key, count)).expect("it is encodable");
                Asked::Add(key, count, args)
            }
        };
        let request = match &asked {
            Asked::Get(key) => Request::Get {
                namespace,
                key,
                at: None,
            },
            Asked::Set(key, value) => Request::Set {
                namespace,
                key,
                value,
                owned: false,
            },
            Asked::Remove(key) => Request::Remove { namespace, key },
            Asked::Add(_, _, args) => Request::Atomic {
                namespace,
                function: FunctionRef { offset: 0, name },
                args,
            },
        };
        (self.called(process, &request), asked)
    }

    fn apply(&mut self, process: ProcessId, asked: Asked) -> Answer {
        match asked {
            Asked::Get(key) => {
                Answer::Value(Revision(self.revision), self.state.get(&key).cloned())
            }
            Asked::Set(key, value) => {
                let (revision, _) = self.commit(process, None, key, Some(value));
                Answer::Written(revision, None)
            }
            Asked::Remove(key) if !self.state.contains_key(&key) => {
                Answer::Written(Revision(self.revision), None)
            }
            Asked::Remove(key) => {
                let (revision, before) = self.commit(process, None, key, None);
                Answer::Written(revision, before)
            }
            Asked::Add(key, by, _) => {
                let there = self.state.get(&key);
                let there = there.map_or(0, |value| rmp_serde::from_slice(value).unwrap_or(0));
                let sum = number(there + by);
                let (revision, _) = self.commit(process, Some(ADD), key, Some(sum.clone()));
                Answer::Returned(revision, sum)
            }
        }
    }

    fn commit(
        &mut self,
        process: ProcessId,
        function: Option<&str>,
        key: String,
        after: Option<Vec<u8>>,
    ) -> (Revision, Option<Vec<u8>>) {
        self.revision += 1;
        let revision = Revision(self.revision);
        let before = match &after {
            Some(value) => self.state.insert(key.clone(), value.clone()),
            None => self.state.remove(&key),
        };
        let changes = vec![Change {
            key: &key,
            before: before.as_deref(),
            after: after.as_deref(),
        }];
        let update = Update {
            revision,
            time: Time(0),
            origin: Origin {
                process,
                function,
                released: None,
            },
            reset: false,
            changes,
        };
        self.history.committed(Committed {
            stamp: 0,
            revision,
            process,
            function: function.map(str::to_owned),
            released: None,
            attached: false,
            changes: vec![Changed {
                namespace: NAMESPACE.to_owned(),
                key: key.clone(),
                before: before.clone(),
                after: after.clone(),
            }],
            resets: Vec::new(),
            refilled: Vec::new(),
        });
        let update = Observation::Updated {
            watch: 1,
            update: &update,
        };
        self.history.observe(WATCHER, 100, &update);
        (revision, before)
    }

    fn answer(&mut self, process: ProcessId, call: u64, answer: &Answer) {
        let reply = &match answer {
            Answer::Value(revision, value) => Reply::Value {
                revision: *revision,
                value: value.as_deref(),
            },
            Answer::Written(revision, before) => Reply::Written {
                revision: *revision,
                before: before.as_deref(),
            },
            Answer::Returned(revision, value) => Reply::Returned {
                revision: *revision,
                value,
            },
        };
        self.observe(process, &Observation::Returned { call, reply });
    }
}

fn history(operations: u64) -> History {
    let mut naive = Naive {
        history: History::default(),
        state: BTreeMap::new(),
        revision: 0,
        calls: 0,
        drawn: 0,
        stages: (0..CALLERS).map(|_| Stage::Idle).collect(),
    };
    naive.watch();
    while naive.calls < operations {
        naive.step();
        if naive.drawn.is_multiple_of(64) {
            let usage = What::Seen(Seen::Usage(Box::<Usage>::default()));
            naive.history.push(ProcessId::PROGRAM, 0, usage);
        }
    }
    naive.history
}

/// A history, to be checked as often as is wanted.
#[derive(Debug)]
pub struct Generated {
    history: History,
    ending: Ending,
}

impl Generated {
    /// A history of so many operations that breaks no guarantee.
    #[must_use]
    pub fn new(operations: u64) -> Generated {
        Generated {
            history: history(operations),
            ending: Ending {
                end: RunEnd::Finished,
                limits: Limits::USUAL,
                has_points: false,
                alive: Vec::new(),
                waiting: Vec::new(),
            },
        }
    }

    /// Runs all checkers; `done` is told the name of each that has come to its end. Gives what was
    /// judged by name, and the explanations of what did not hold.
    pub fn check(
        &self,
        done: &mut dyn FnMut(&'static str),
    ) -> (Vec<(&'static str, u64)>, Vec<String>) {
        let verdict = checkers::check_telling(&self.history, &self.ending, done);
        let explanations = verdict.violations.into_iter().map(|v| v.explanation);
        (verdict.judged.into_iter().collect(), explanations.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_generated_is_judged_and_holds() {
        let (judged, broken) = Generated::new(3_000).check(&mut |_| ());
        assert_eq!(broken, Vec::<String>::new());
        let of = |name| {
            judged
                .iter()
                .find(|(of, _)| *of == name)
                .map_or(0, |(_, n)| *n)
        };
        assert!(of(checkers::LINEARIZABLE) > 5_000);
        assert!(of(checkers::EVERY_UPDATE) > 1_000);
        assert!(of(checkers::SEARCHED) > 2_900, "{judged:?}");
    }
}
