//! What is asked of running processes by others: to end.

use super::super::codec;
use super::super::ids::ProcessId;
use super::super::marks::{self, Mark};
use super::super::message::{Failure, Reply, Why};
use super::{Effect, Server};

impl Server {
    /// Has the keeper kill a process.
    pub(super) fn kill(&mut self, process: ProcessId) -> Vec<u8> {
        match self.is_ended(process) {
            None => return self.failed(Failure::UnknownProcess { process }),
            Some(true) => marks::reached(Mark::KillTooLate),
            Some(false) => {
                marks::reached(Mark::KillAsked);
                let why = Why::Asked;
                self.effects.push_back(Effect::Kill { process, why });
            }
        }
        let revision = self.store.revision();
        codec::to_bytes(&Reply::Done { revision })
    }

    /// Has the process ended, or is its death known? `None`: there is none that anybody may end.
    /// The program is not one: it is nobody's, and the tree ends with it.
    fn is_ended(&self, process: ProcessId) -> Option<bool> {
        if process == ProcessId::PROGRAM {
            return None;
        }
        Some(self.processes.get(&process)?.has_ended())
    }
}
