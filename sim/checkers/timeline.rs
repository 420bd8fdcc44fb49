//! The naive model: every key's values over the revisions.

use crate::history::{Changed, Committed};
use std::collections::BTreeMap;
use std::ops::Bound;
use zproc::seam::proto::ids::Revision;

/// A key's values, each with the revision that wrote it; `None`: removed.
type Versions<'a> = Vec<(Revision, Option<&'a [u8]>)>;

/// The state at every revision, built from the commits alone.
#[derive(Debug, Default)]
pub(crate) struct Timeline<'a> {
    /// In revision order.
    pub(crate) commits: Vec<&'a Committed>,
    spaces: BTreeMap<&'a str, BTreeMap<&'a str, Versions<'a>>>,
    lengths: BTreeMap<&'a str, Vec<(Revision, u64)>>,
}

impl<'a> Timeline<'a> {
    /// Adds the next commit.
    pub(crate) fn push(&mut self, commit: &'a Committed) {
        for change in &commit.changes {
            self.apply(commit.revision, change);
        }
        for namespace in &commit.resets {
            self.empty(commit.revision, namespace);
        }
        for filled in &commit.refilled {
            self.apply(commit.revision, filled);
        }
        self.commits.push(commit);
    }

    fn apply(&mut self, revision: Revision, change: &'a Changed) {
        let space = self.spaces.entry(&change.namespace).or_default();
        let versions = space.entry(&change.key).or_default();
        let before = versions.last().is_some_and(|(_, value)| value.is_some());
        versions.push((revision, change.after.as_deref()));
        let lengths = self.lengths.entry(&change.namespace).or_default();
        let length = lengths.last().map_or(0, |(_, length)| *length);
        let length = match (before, change.after.is_some()) {
            (false, true) => length + 1,
            (true, false) => length - 1,
            _ => length,
        };
        lengths.push((revision, length));
    }

    /// Every key of the namespace goes.
    fn empty(&mut self, revision: Revision, namespace: &'a str) {
        for versions in self.spaces.entry(namespace).or_default().values_mut() {
            if versions.last().is_some_and(|(_, value)| value.is_some()) {
                versions.push((revision, None));
            }
        }
        let lengths = self.lengths.entry(namespace).or_default();
        lengths.push((revision, 0));
    }

    /// A key's value at a revision.
    pub(crate) fn get(&self, namespace: &str, key: &str, at: Revision) -> Option<&'a [u8]> {
        let versions = self.spaces.get(namespace)?.get(key)?;
        value_at(versions, at)
    }

    /// The revision that has last written a key, up to this one.
    pub(crate) fn version(&self, namespace: &str, key: &str, at: Revision) -> Revision {
        let versions = self.spaces.get(namespace).and_then(|space| space.get(key));
        let written = versions.into_iter().flatten().rev();
        let mut until = written.filter(|(revision, value)| *revision <= at && value.is_some());
        until
            .next()
            .map_or(Revision::ZERO, |(revision, _)| *revision)
    }

    /// How many keys a namespace has at a revision.
    pub(crate) fn len(&self, namespace: &str, at: Revision) -> u64 {
        let Some(lengths) = self.lengths.get(namespace) else {
            return 0;
        };
        let end = lengths.partition_point(|(revision, _)| *revision <= at);
        end.checked_sub(1).map_or(0, |last| lengths[last].1)
    }

    /// The entries of a namespace at a revision, in key order, with `prefix` and after `after`.
    pub(crate) fn entries(
        &self,
        namespace: &str,
        prefix: &str,
        after: Option<&str>,
        at: Revision,
    ) -> Vec<(&'a str, &'a [u8])> {
        let Some(space) = self.spaces.get(namespace) else {
            return Vec::new();
        };
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        space
            .range::<str, _>((start, Bound::Unbounded))
            .filter(|(key, _)| key.starts_with(prefix))
            .filter_map(|(key, versions)| Some((*key, value_at(versions, at)?)))
            .collect()
    }

    /// The last revision that is not after `at` and has a commit.
    fn index_at(&self, at: Revision) -> usize {
        self.commits.partition_point(|commit| commit.revision <= at)
    }

    /// The commit at exactly this revision.
    pub(crate) fn commit(&self, at: Revision) -> Option<&'a Committed> {
        let index = self.index_at(at).checked_sub(1)?;
        (self.commits[index].revision == at).then(|| self.commits[index])
    }

    /// The commits from `first` on.
    pub(crate) fn since(&self, first: Revision) -> &[&'a Committed] {
        let start = self
            .commits
            .partition_point(|commit| commit.revision < first);
        &self.commits[start..]
    }

    /// The stamps between which the state was the one of this revision: from the commit that made
    /// it, up to the next.
    pub(crate) fn span(&self, at: Revision) -> (u64, u64) {
        let index = self.index_at(at);
        let from = index.checked_sub(1).map_or(0, |i| self.commits[i].stamp);
        let until = self.commits.get(index).map_or(u64::MAX, |c| c.stamp);
        (from, until)
    }

    /// The newest revision.
    pub(crate) fn newest(&self) -> Revision {
        self.commits
            .last()
            .map_or(Revision::ZERO, |commit| commit.revision)
    }

    /// The revision that was newest at this stamp.
    pub(crate) fn newest_at(&self, stamp: u64) -> Revision {
        let index = self.commits.partition_point(|commit| commit.stamp <= stamp);
        index
            .checked_sub(1)
            .map_or(Revision::ZERO, |i| self.commits[i].revision)
    }
}

fn value_at<'a>(versions: &Versions<'a>, at: Revision) -> Option<&'a [u8]> {
    let end = versions.partition_point(|(revision, _)| *revision <= at);
    versions[..end].last().and_then(|(_, value)| *value)
}

/// The revision just before.
pub(crate) fn before(revision: Revision) -> Revision {
    Revision(revision.0.saturating_sub(1))
}
