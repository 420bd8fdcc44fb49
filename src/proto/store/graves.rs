//! Namespaces that were emptied as a whole: taken out in one step, freed in many small ones.

use super::Owned;
use super::dict::{Budget, Dict};
use crate::proto::ids::ProcessId;

/// What one namespace held when it was emptied as a whole.
#[derive(Debug)]
pub(super) struct Emptied {
    pub(super) dict: Dict,
    pub(super) owners: Vec<(ProcessId, Owned)>,
}

/// What nobody sees any more, and still has its memory.
#[derive(Debug, Default)]
pub(super) struct Graves {
    emptied: Vec<Emptied>,
    /// Invariant: the sum of what their dicts weigh.
    bytes: usize,
}

impl Graves {
    pub(super) fn is_empty(&self) -> bool {
        self.emptied.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn bury(&mut self, emptied: Emptied) {
        self.bytes += emptied.dict.weight();
        self.emptied.push(emptied);
    }

    /// Frees no more entries than the budget has, and bytes until it has none.
    pub(super) fn free(&mut self, mut budget: Budget) {
        while let Some(last) = self.emptied.last_mut() {
            self.bytes -= last.dict.weight();
            let is_left = last.dict.free(&mut budget);
            self.bytes += last.dict.weight();
            if is_left || !last.free_owners(&mut budget) {
                return;
            }
            self.emptied.pop();
        }
    }
}

impl Emptied {
    /// Forgets who owned what. False: there is more.
    fn free_owners(&mut self, budget: &mut Budget) -> bool {
        while let Some((_, owned)) = self.owners.last_mut() {
            while !owned.keys.is_empty() {
                if budget.entries == 0 {
                    return false;
                }
                budget.entries -= 1;
                owned.keys.pop_last();
            }
            self.owners.pop();
        }
        true
    }
}
