//! Snapshots: a whole namespace as it stood at one revision, read in pages.
//!
//! Each page is right for its own revision. What was changed in a page's range of keys between that
//! revision and the last page's is taken from the update log and applied, so that all pages come to
//! stand at the last one's revision. The idea is that of a backup which copies a live file and then
//! replays the log (SQLite's and PostgreSQL's).

use super::context::unexpected;
use super::scan::{self, Span};
use super::state::State;
use super::value;
use crate::error::{Error, Kind, Operation, Result, Wanted};
use crate::proto::codec;
use crate::proto::ids::Revision;
use crate::proto::marks::{self, Mark};
use crate::proto::message::{Filter, Reply, Request, Update};
use crate::proto::value as wire;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::Arc;

/// How often a scan that has lost its race against the log's end is begun again.
const ATTEMPTS_MAX: usize = 8;

/// A copy of a namespace, as it stood at one [`revision`](Snapshot::revision).
///
/// Two are equal when the same keys have equal values, whatever their revisions.
#[derive(Clone)]
pub struct Snapshot {
    namespace: Arc<str>,
    revision: Revision,
    entries: Entries,
}

pub(super) type Entries = BTreeMap<String, Box<[u8]>>;

impl Snapshot {
    pub(super) fn new(namespace: &str, revision: Revision, entries: Entries) -> Snapshot {
        Snapshot {
            namespace: namespace.into(),
            revision,
            entries,
        }
    }

    /// When the namespace was so.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The value of `key`, or `None` if it was not there.
    ///
    /// # Errors
    /// [`is_wrong_type`](Error::is_wrong_type).
    #[track_caller]
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let caller = Location::caller();
        self.entries
            .get(key)
            .map(|value| value::decode(value))
            .transpose()
            .map_err(|kind| {
                Error::new(
                    kind,
                    &Operation {
                        verb: "get",
                        object: Some(key),
                        namespace: Some(&self.namespace),
                        caller,
                    },
                )
            })
    }

    /// Was `key` there?
    #[must_use]
    pub fn contains_key(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// How many keys there were.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Was there no key?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }
}

impl PartialEq for Snapshot {
    fn eq(&self, other: &Snapshot) -> bool {
        self.len() == other.len()
            && self
                .entries
                .iter()
                .zip(&other.entries)
                .all(|(mine, theirs)| mine.0 == theirs.0 && wire::equal(mine.1, theirs.1))
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        /// A value as it reads.
        struct Described<'a>(&'a [u8]);
        impl std::fmt::Debug for Described<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&wire::describe(self.0))
            }
        }
        write!(f, "{} of namespace {:?}: ", self.revision, self.namespace)?;
        f.debug_map()
            .entries(
                self.entries
                    .iter()
                    .map(|(key, value)| (key, Described(value))),
            )
            .finish()
    }
}

/// All entries of a span at one revision, this one if there is one; with empty values, if they are not
/// wanted.
pub(super) fn scan(
    state: &State,
    operation: &Operation<'_>,
    span: &Span,
    values: bool,
    at: Option<Revision>,
) -> Result<(Revision, Entries)> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let mut scan = Scan::default();
        while scan.more {
            scan.page(state, operation, (span, at), values)?;
        }
        // What is of the past is of one revision already.
        if at.is_some() {
            return Ok((scan.revision, scan.entries));
        }
        match scan.align(state, operation, span, values) {
            Ok(true) => return Ok((scan.revision, scan.entries)),
            Ok(false) if attempt < ATTEMPTS_MAX => marks::reached(Mark::SnapshotRestarted),
            Ok(false) => {
                marks::reached(Mark::SnapshotGivenUp);
                return Err(Error::new(
                    Kind::Compacted {
                        oldest: scan.revision,
                        wanted: Wanted::Meanwhile,
                    },
                    operation,
                ));
            }
            Err(error) if error.is_compacted() && attempt < ATTEMPTS_MAX => {
                marks::reached(Mark::SnapshotRestarted);
            }
            Err(error) => {
                marks::reached_if(error.is_compacted(), Mark::SnapshotGivenUp);
                return Err(error);
            }
        }
    }
}

/// Gives `each` all updates after one revision and up to another, as long as it wants more; false if
/// it did not.
pub(super) fn updates(
    state: &State,
    operation: &Operation<'_>,
    (mut after, until): (Revision, Revision),
    mut each: impl FnMut(&Update<'_>) -> bool,
) -> Result<bool> {
    while after < until {
        let request = Request::Updates {
            namespace: state.namespace_name(),
            filter: Filter::All,
            after,
            until,
        };
        let (reached, whole) = state.call(operation, &request, |reply| match reply {
            Reply::Updates { updates, until, .. } => {
                for update in updates {
                    let update = codec::decode::<Update<'_>>(update)
                        .map_err(|malformed| Kind::Protocol(malformed.to_string()))?;
                    if !each(&update) {
                        return Ok((*until, false));
                    }
                }
                Ok((*until, true))
            }
            other => Err(unexpected(other)),
        })?;
        if !whole {
            return Ok(false);
        }
        if reached <= after {
            let kind = Kind::Protocol("an answer that goes no further".to_owned());
            return Err(Error::new(kind, operation));
        }
        after = reached;
    }
    Ok(true)
}

/// The pages read so far.
#[derive(Debug)]
struct Scan {
    /// What is there, in all pages.
    entries: Entries,
    /// Where each page but the last ends, and the revision it was read at, in key order: a page
    /// covers the keys after the end of the one before it, up to its own.
    ends: Vec<(String, Revision)>,
    /// The last page's revision; it has no end.
    revision: Revision,
    more: bool,
}

impl Default for Scan {
    fn default() -> Scan {
        Scan {
            entries: Entries::new(),
            ends: Vec::new(),
            revision: Revision::ZERO,
            more: true,
        }
    }
}

impl Scan {
    /// Reads the next page.
    fn page(
        &mut self,
        state: &State,
        operation: &Operation<'_>,
        (span, at): (&Span, Option<Revision>),
        values: bool,
    ) -> Result<()> {
        let after = self.ends.last().map(|(key, _)| key.as_str());
        let page = scan::page(state, operation, (span.as_message(), after), values, at)?;
        match page.more {
            Some(key) => self.ends.push((key, page.revision)),
            None => self.more = false,
        }
        self.revision = page.revision;
        self.entries.extend(page.entries);
        Ok(())
    }

    /// Brings all pages to the last one's revision; false if the log says to begin again.
    fn align(
        &mut self,
        state: &State,
        operation: &Operation<'_>,
        span: &Span,
        values: bool,
    ) -> Result<bool> {
        let until = self.revision;
        let after = self.ends.first().map_or(until, |(_, revision)| *revision);
        marks::reached_if(after < until, Mark::SnapshotAligned);
        updates(state, operation, (after, until), |update| {
            // One that does not tell all that it changed is of no use.
            if !update.reset {
                self.apply(update, span, values);
            }
            !update.reset
        })
    }

    /// One update, on those of its keys that are wanted and whose page is older.
    fn apply(&mut self, update: &Update<'_>, span: &Span, values: bool) {
        let span = span.as_message();
        for change in update
            .changes
            .iter()
            .filter(|change| span.covers(change.key))
        {
            let page = self
                .ends
                .partition_point(|(end, _)| end.as_str() < change.key);
            let read_at = self.ends.get(page).map_or(self.revision, |(_, at)| *at);
            if update.revision <= read_at {
                continue;
            }
            match change.after {
                Some(value) => {
                    let value = if values { value } else { &[] };
                    self.entries.insert(change.key.to_owned(), value.into());
                }
                None => {
                    self.entries.remove(change.key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ids::ProcessId;
    use crate::proto::message::{Change, Origin};
    use crate::proto::time::Time;

    fn update<'a>(revision: u64, changes: &[(&'a str, Option<&'a [u8]>)]) -> Update<'a> {
        Update {
            revision: Revision(revision),
            time: Time(0),
            origin: Origin {
                process: ProcessId::PROGRAM,
                function: None,
                released: None,
            },
            reset: false,
            changes: changes
                .iter()
                .map(|&(key, after)| Change {
                    key,
                    before: None,
                    after,
                })
                .collect(),
        }
    }

    #[test]
    fn each_page_takes_the_updates_after_its_own_revision() {
        // Pages: up to "b" at 10, up to "d" at 20, the rest at 30.
        let mut scan = Scan {
            entries: ["a", "b", "c", "d", "e"]
                .into_iter()
                .map(|key| (key.to_owned(), Box::from([0_u8])))
                .collect(),
            ends: vec![
                ("b".to_owned(), Revision(10)),
                ("d".to_owned(), Revision(20)),
            ],
            revision: Revision(30),
            more: false,
        };
        // At 15 the first page is older, the second is not; keys between the ends count to the
        // page that would hold them.
        scan.apply(
            &update(
                15,
                &[("a", Some(&[1])), ("aa", Some(&[1])), ("c", Some(&[9]))],
            ),
            &Span::from(.."f"),
            true,
        );
        scan.apply(
            &update(25, &[("b", None), ("bb", Some(&[2])), ("d", Some(&[2]))]),
            &Span::from(.."f"),
            true,
        );
        scan.apply(
            &update(
                30,
                &[("e", Some(&[9])), ("a", Some(&[3])), ("f", Some(&[9]))],
            ),
            &Span::from(.."f"),
            true,
        );
        let shown: Vec<_> = scan
            .entries
            .iter()
            .map(|(key, value)| (key.as_str(), value[0]))
            .collect();
        assert_eq!(
            shown,
            [("a", 3), ("aa", 1), ("bb", 2), ("c", 0), ("d", 2), ("e", 0)]
        );
    }

    #[test]
    fn snapshots_compare_by_content() {
        let snapshot = |revision, value: &[u8]| {
            let entries = Entries::from([("k".to_owned(), Box::from(value))]);
            Snapshot::new("n", Revision(revision), entries)
        };
        // 5 as a fixint and as a u8.
        assert_eq!(snapshot(1, &[5]), snapshot(2, &[0xcc, 5]));
        assert_ne!(snapshot(1, &[5]), snapshot(1, &[6]));
        assert_ne!(
            snapshot(1, &[5]),
            Snapshot::new("n", Revision(1), Entries::new())
        );
    }
}
