//! Reads, of the state as it is, or as it was at a revision since when the log still knows what was
//! changed.

use super::super::codec;
use super::super::ids::Revision;
use super::super::marks::{self, Mark};
use super::super::message::{Failure, Reply};
use super::super::operations::Span;
use super::super::planted::{self, Bug};
use super::super::points::Point;
use super::Server;

impl Server {
    /// The revision of a read that is to be of this one, or else of the present.
    ///
    /// # Errors
    /// The reply that says why there is none.
    fn reading(&self, namespace: &str, at: Option<Revision>) -> Result<Revision, Vec<u8>> {
        let newest = self.store.revision();
        let Some(asked) = at else {
            return Ok(newest);
        };
        if asked > newest {
            marks::reached(Mark::PastIsFuture);
            return Err(self.failed(Failure::Future { asked }));
        }
        let oldest = self.log(namespace).readable_from(namespace);
        if asked < oldest {
            marks::reached(Mark::PastCompacted);
            return Err(codec::to_bytes(&Reply::Compacted { oldest }));
        }
        Ok(asked)
    }

    pub(super) fn get(&self, namespace: &str, key: &str, at: Option<Revision>) -> Vec<u8> {
        let revision = match self.reading(namespace, at) {
            Ok(revision) => revision,
            Err(reply) => return reply,
        };
        let value = self.held(namespace, key, at);
        codec::to_bytes(&Reply::Value { revision, value })
    }

    /// What a key holds, or held.
    fn held(&self, namespace: &str, key: &str, at: Option<Revision>) -> Option<&[u8]> {
        let before = at.and_then(|at| self.log(namespace).held(namespace, key, at));
        marks::reached_if(before.is_some(), Mark::PastFromLog);
        before.unwrap_or_else(|| self.store.get(namespace, key))
    }

    pub(super) fn count(&self, namespace: &str, at: Option<Revision>) -> Vec<u8> {
        let revision = match self.reading(namespace, at) {
            Ok(revision) => revision,
            Err(reply) => return reply,
        };
        let at = at.filter(|_| !planted::is(Bug::PastLengthOfPresent));
        let grown = at.map_or(0, |at| self.log(namespace).grown_after(namespace, at));
        let count = (self.store.len(namespace) as u64).saturating_add_signed(-grown);
        codec::to_bytes(&Reply::Count { revision, count })
    }

    pub(super) fn page(
        &self,
        namespace: &str,
        (span, after): (Span<'_>, Option<&str>),
        values: bool,
        at: Option<Revision>,
    ) -> Vec<u8> {
        let revision = match self.reading(namespace, at) {
            Ok(revision) => revision,
            Err(reply) => return reply,
        };
        let limits = &self.config.limits;
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut more = None;
        let mut last = None;
        let found = self.entries(namespace, (span, after), at);
        for (looked_at, (key, value)) in found.enumerate() {
            let ends_early = !entries.is_empty() && self.points.strike(Point::PageOfOneEntry);
            // Of a past page, keys that were not there then are looked at, too.
            let passed = looked_at - entries.len();
            if entries.len() == limits.page_entries_max
                || bytes >= limits.page_bytes_max
                || passed == limits.log_entries_per_tick_max
                || ends_early
            {
                more = last;
                marks::reached(Mark::PageMore);
                break;
            }
            last = Some(key);
            if let Some(value) = value {
                let value: &[u8] = if values { value } else { &[] };
                bytes += key.len() + value.len();
                entries.push((key, value));
            }
        }
        let there = after.and_then(|after| self.store.get(namespace, after));
        if let Some((after, value)) = after
            .zip(there)
            .filter(|_| planted::is(Bug::PageRepeatsLast))
        {
            entries.insert(0, (after, value));
        }
        codec::to_bytes(&Reply::Page {
            revision,
            entries,
            more,
        })
    }

    /// The keys of the span that are after `after`, in order, with what they hold, or held; among
    /// them, of the past, such as hold nothing.
    fn entries<'a>(
        &'a self,
        namespace: &'a str,
        (span, after): (Span<'a>, Option<&'a str>),
        at: Option<Revision>,
    ) -> Box<dyn Iterator<Item = (&'a str, Option<&'a [u8]>)> + 'a> {
        let mut present = self.store.entries(namespace, span, after).peekable();
        let Some(at) = at else {
            return Box::new(present.map(|(key, value)| (key, Some(value))));
        };
        let mut known = self
            .log(namespace)
            .known_keys(namespace, span, after)
            .map(|key| &**key)
            .peekable();
        Box::new(std::iter::from_fn(move || {
            let is_known = match (present.peek(), known.peek()) {
                (Some((key, _)), Some(known)) => known <= key,
                (None, known) => known.is_some(),
                (Some(_), None) => false,
            };
            if !is_known {
                return present.next().map(|(key, value)| (key, Some(value)));
            }
            let key = known.next()?;
            let is_there = present.next_if(|(other, _)| *other == key).is_some();
            let held = self.held(namespace, key, Some(at));
            Some((
                key,
                held.filter(|_| is_there || !planted::is(Bug::PastPageOfPresent)),
            ))
        }))
    }
}
