//! What is asked of running processes by others: to end.

use super::super::codec;
use super::super::ids::ProcessId;
use super::super::limits;
use super::super::marks::{self, Mark};
use super::super::message::{Failure, Reply, Why};
use super::super::planted::{self, Bug};
use super::super::time::nanoseconds;
use super::{Effect, Server};

impl Server {
    /// Has the keeper ask a process to end, and kill it when its grace is over.
    pub(super) fn stop(&mut self, process: ProcessId, grace_ns: Option<u64>) -> Vec<u8> {
        let own_ns = self.processes.get(&process).and_then(|it| it.grace_ns);
        let usual_ns = nanoseconds(limits::GRACE);
        let grace_ns = grace_ns.or(own_ns).unwrap_or(usual_ns);
        marks::reached_if(self.is_ended(process) == Some(false), Mark::StopAsked);
        match self.room_to_order(process) {
            Err(failure) => self.failed(failure),
            Ok(()) => self.end(process, Effect::Stop { process, grace_ns }),
        }
    }

    /// Has the keeper kill a process.
    pub(super) fn kill(&mut self, process: ProcessId) -> Vec<u8> {
        marks::reached_if(self.is_ended(process) == Some(false), Mark::KillAsked);
        let why = Why::Asked;
        self.end(process, Effect::Kill { process, why })
    }

    /// Has a process end with the program, no more with who spawned it.
    pub(super) fn move_to_root(&mut self, id: ProcessId) -> Vec<u8> {
        match self.is_ended(id) {
            None => return self.failed(Failure::UnknownProcess { process: id }),
            Some(true) => marks::reached(Mark::EndTooLate),
            Some(false) => {
                marks::reached(Mark::MovedToRoot);
                let root = self.root_of(id);
                let head = match self.processes.get_mut(&id) {
                    Some(process) => std::mem::replace(&mut process.ends_with, root),
                    None => root,
                };
                if let Some(head) = self.processes.get_mut(&head)
                    && !planted::is(Bug::MovedStaysChild)
                {
                    head.children.remove(&id);
                }
                if let Some(program) = self.processes.get_mut(&root) {
                    program.children.insert(id);
                }
            }
        }
        let revision = self.store.revision();
        codec::to_bytes(&Reply::Done { revision })
    }

    /// To one that has ended nothing happens.
    fn end(&mut self, process: ProcessId, effect: Effect) -> Vec<u8> {
        match self.is_ended(process) {
            None => return self.failed(Failure::UnknownProcess { process }),
            Some(true) => marks::reached(Mark::EndTooLate),
            // Who is killed is killed: it is said to the keeper once, however often it is asked for.
            Some(false) if matches!(effect, Effect::Kill { .. }) && self.is_killed(process) => {}
            Some(false) => self.order(effect),
        }
        let revision = self.store.revision();
        codec::to_bytes(&Reply::Done { revision })
    }

    /// Was the keeper told to kill it? From now on it counts as told.
    fn is_killed(&mut self, process: ProcessId) -> bool {
        let process = self.processes.get_mut(&process);
        process.is_some_and(|process| std::mem::replace(&mut process.is_killed, true))
    }

    /// Has the process ended, or is its death known? `None`: there is none that anybody may end.
    /// A program is not one: it is nobody's, and its processes end with it.
    fn is_ended(&self, process: ProcessId) -> Option<bool> {
        if self.root_of(process) == process {
            return None;
        }
        Some(self.processes.get(&process)?.has_ended())
    }
}
