//! What a condition sees, and what of it it has looked at.

use super::Store;
use crate::proto::ids::Revision;
use crate::proto::interest::{Interest, ReadSet};
use crate::proto::operations::Span;
use crate::proto::planted::{self, Bug};
use std::cell::RefCell;
use std::sync::Arc;

/// The state as a condition sees it: at one revision, read-only, and every read is noted, so that
/// the condition is tested again when, and only when, one of them may have changed.
#[derive(Debug)]
pub struct View<'a> {
    store: &'a Store,
    reads: RefCell<ReadSet>,
}

impl<'a> View<'a> {
    /// A view of the state as it is.
    #[must_use]
    pub fn new(store: &'a Store) -> View<'a> {
        View {
            store,
            reads: RefCell::default(),
        }
    }

    /// One value.
    #[must_use]
    pub fn get(&self, namespace: &str, key: &str) -> Option<&[u8]> {
        self.note_key(namespace, key);
        self.store.get(namespace, key)
    }

    /// This key counts as read.
    pub fn note_key(&self, namespace: &str, key: &str) {
        if !planted::is(Bug::AbsenceNotNoted) || self.store.get(namespace, key).is_some() {
            self.note(namespace, Interest::Key(Arc::from(key)));
        }
    }

    /// One value, and the revision that wrote it.
    #[must_use]
    pub fn versioned(&self, namespace: &str, key: &str) -> Option<(&[u8], Revision)> {
        self.get(namespace, key)?;
        let found = self.store.found(namespace, key)?;
        Some((found.value, found.revision))
    }

    /// Is the key there?
    #[must_use]
    pub fn contains(&self, namespace: &str, key: &str) -> bool {
        self.get(namespace, key).is_some()
    }

    /// How many keys the namespace has.
    #[must_use]
    pub fn len(&self, namespace: &str) -> usize {
        self.note(namespace, Interest::Prefix(Arc::from("")));
        self.store.len(namespace)
    }

    /// Entries of the span that come after `after`, in key order. The whole span counts as read.
    pub fn entries<'b, 's>(
        &'b self,
        namespace: &str,
        span: impl Into<Span<'s>>,
        after: Option<&'s str>,
    ) -> impl Iterator<Item = (&'b str, &'b [u8])> {
        let span = span.into();
        if planted::is(Bug::PhantomsNotNoted) {
            for (key, _) in self.store.entries(namespace, span, after) {
                self.note(namespace, Interest::Key(Arc::from(key)));
            }
        } else {
            self.note(namespace, Interest::of_span(span));
        }
        self.store.entries(namespace, span, after)
    }

    /// The revision that is seen.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.store.revision
    }

    /// This counts as read.
    pub fn note(&self, namespace: &str, interest: Interest) {
        self.reads.borrow_mut().insert(namespace, interest);
    }

    /// What was read.
    #[must_use]
    pub fn into_reads(self) -> ReadSet {
        self.reads.into_inner()
    }
}
