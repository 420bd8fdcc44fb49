//! Conditions that run here: on a copy of what they read, which watches feed.
//!
//! What a condition reads first is fetched, and noted. All that it reads is of one revision, the
//! copy's. When it gave no result, a watch of each namespace that it has read, from that revision
//! on, brings the copy from one revision to the next, and it runs again at each that changes what
//! it has read. When that can't be (the log has dropped what comes next, or what is to be fetched)
//! the copy is of no use any more: a wait begins again with another, and who wants every revision is
//! told. A run that this happens to is doomed: whatever comes of it is dropped.

use super::context::{Context, unexpected};
use super::run::reads_fit;
use super::scan::Span;
use super::snapshot;
use super::state::State;
use super::update::{Change, Update};
use super::view::{Entry, Reads, View};
use super::watch::{Feeding, Filter, Watch};
use crate::error::{Error, Kind, Operation, Result};
use crate::proto::ids::{Revision, WatchId};
use crate::proto::interest::Interest;
use crate::proto::limits::{DUMP_TEXT_BYTES_MAX, WATCH_KEYS_MAX};
use crate::proto::marks::{self, Mark};
use crate::proto::message::{Reply, Request};
use crate::proto::operations;
use crate::proto::planted::{self, Bug};
use crate::proto::time::{AT_ONCE, Time};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

/// Blocks until `f` gives a result, running it here.
pub(super) fn wait_until<R>(
    state: &State,
    operation: &Operation<'_>,
    f: impl Fn(&Fed<'_>, &View<'_>) -> Result<Option<R>>,
) -> Result<(R, Revision)> {
    let wait = state.context().connection().name_fed();
    let fed = Fed::new(state, operation, wait, Copy::default());
    loop {
        match fed.next(&f) {
            // What was missed does not matter: the wait is for what is so in the end.
            Err(error) if error.is_compacted() => fed.copy.borrow_mut().forget(),
            Err(error) => return Err(error),
            Ok(found) => return found,
        }
    }
}

/// A wait whose condition is tested here.
pub(super) struct Fed<'a> {
    context: &'a Context,
    namespace: &'a str,
    operation: Operation<'a>,
    deadline: Option<Time>,
    /// What its watches are there for, for those who ask who waits for what.
    feeding: Feeding,
    copy: RefCell<Copy>,
}

/// What is known of the state. Invariant: all of it is so at `revision`.
#[derive(Default)]
pub(super) struct Copy {
    /// None: nothing is known.
    revision: Option<Revision>,
    /// The condition has been tested at this revision.
    is_tested: bool,
    namespaces: BTreeMap<Arc<str>, Part>,
    /// Updates behind the revision that have come already.
    coming: BTreeMap<Revision, Vec<(Arc<str>, Update)>>,
    /// What the run could not read: it is worth nothing.
    doom: Option<Error>,
}

/// What is known of one namespace.
#[derive(Default)]
struct Part {
    /// The entries of these are known.
    held: BTreeSet<Interest>,
    entries: BTreeMap<Arc<str>, Box<[u8]>>,
    /// How many keys there are, if that was asked for.
    len: Option<u64>,
    /// What this run has read, the number of keys aside.
    read: BTreeSet<Interest>,
    is_len_read: bool,
    feed: Option<Feed>,
}

/// A watch, and what of the namespace it sees.
struct Feed {
    watch: Watch,
    sees: Seen,
}

/// A set of keys that a watch can be asked for.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Keys(BTreeSet<Arc<str>>),
    Prefix(String),
}

impl Seen {
    /// The smallest one with all of these in it.
    fn of(part: &Part) -> Seen {
        let mut keys = BTreeSet::new();
        for interest in &part.read {
            if let Interest::Key(key) = interest {
                keys.insert(key.clone());
            }
        }
        if keys.len() == part.read.len() && !part.is_len_read && keys.len() <= WATCH_KEYS_MAX {
            return Seen::Keys(keys);
        }
        let starts = part.read.iter().map(|interest| match interest {
            Interest::Key(start) | Interest::Prefix(start) => start,
            Interest::Range(from, Some(until)) => common_prefix(from, until),
            Interest::Range(_, None) | Interest::Keys(_) | Interest::AllBut(_) => "",
        });
        let common = starts.reduce(common_prefix).filter(|_| !part.is_len_read);
        Seen::Prefix(common.unwrap_or("").to_owned())
    }

    fn covers(&self, other: &Seen) -> bool {
        match (self, other) {
            (Seen::Keys(keys), Seen::Keys(wanted)) => wanted.is_subset(keys),
            (Seen::Keys(_), Seen::Prefix(_)) => false,
            (Seen::Prefix(prefix), Seen::Keys(wanted)) => {
                wanted.iter().all(|key| key.starts_with(prefix))
            }
            (Seen::Prefix(prefix), Seen::Prefix(wanted)) => wanted.starts_with(prefix),
        }
    }

    fn filter(&self) -> Filter {
        match self {
            Seen::Keys(keys) => Filter::keys(keys.iter().map(|key| &**key)),
            Seen::Prefix(prefix) => Filter::prefix(prefix),
        }
    }
}

/// All keys between two texts begin as both do.
fn common_prefix<'a>(a: &'a str, b: &str) -> &'a str {
    let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b);
    let bytes = same.map(|(a, _)| a.len_utf8()).sum();
    &a[..bytes]
}

/// Is this key among these? Single keys come first in their order, so they are looked up.
fn covers(interests: &BTreeSet<Interest>, key: &Arc<str>) -> bool {
    let is_key = |interest: &&Interest| matches!(interest, Interest::Key(_));
    let mut others = interests.iter().rev().take_while(|one| !is_key(one));
    interests.contains(&Interest::Key(key.clone())) || others.any(|one| one.covers(key))
}

impl Part {
    /// Is all of this known?
    fn holds(&self, interest: &Interest) -> bool {
        match interest {
            Interest::Key(key) => covers(&self.held, key),
            interest => self.held.contains(interest) || self.held.iter().any(Interest::covers_all),
        }
    }

    /// Brings it on by one update; true if that changes what was read.
    fn apply(&mut self, update: &Update) -> bool {
        if update.reset {
            // What is there now is not told: it is fetched when it is read.
            marks::reached(Mark::FedReset);
            self.held.clear();
            self.entries.clear();
            self.len = None;
            return true;
        }
        let mut touched = false;
        for change in &update.changes {
            touched |= self.change(change);
        }
        touched
    }

    fn change(&mut self, change: &Change) -> bool {
        let key: Arc<str> = change.key().into();
        let (before, after) = (change.before_raw(), change.after_raw());
        if let Some(len) = &mut self.len {
            *len = (*len + u64::from(after.is_some())).saturating_sub(before.is_some().into());
        }
        let overlooked = planted::is(Bug::FedAbsenceOverlooked) && before.is_none();
        let touched = (covers(&self.read, &key) && !overlooked)
            || (self.is_len_read && before.is_some() != after.is_some());
        if covers(&self.held, &key) {
            match after {
                Some(value) => drop(self.entries.insert(key, value.into())),
                None if planted::is(Bug::FedRemovalMissed) => {}
                None => drop(self.entries.remove(&key)),
            }
        }
        touched
    }

    /// Forgets what the run has not read; false if that is all.
    fn prune(&mut self) -> bool {
        if self.held != self.read {
            self.held = self.read.clone();
            let held = &self.held;
            self.entries.retain(|key, _| covers(held, key));
        }
        self.len = self.len.filter(|_| self.is_len_read);
        self.is_len_read || !self.read.is_empty()
    }
}

impl Copy {
    /// A run begins.
    fn begin(&mut self) {
        self.doom = None;
        for part in self.namespaces.values_mut() {
            part.read.clear();
            part.is_len_read = false;
        }
    }

    /// May the run go on?
    fn check(&self) -> Result<(), Kind> {
        match &self.doom {
            None => Ok(()),
            Some(error) => Err(error.kind().clone()),
        }
    }

    /// What was fetched; if it was not, the run is worth nothing.
    fn or_doom<T>(&mut self, fetched: Result<T>) -> Result<T, Kind> {
        fetched.map_err(|error| {
            let kind = error.kind().clone();
            self.doom = Some(error);
            kind
        })
    }

    fn part(&mut self, namespace: &str) -> &mut Part {
        self.namespaces.entry(namespace.into()).or_default()
    }

    /// What has come is not all that has changed, since the rest could not be fetched: it is asked for
    /// anew, from its revision on.
    fn stop_feeding(&mut self) {
        self.coming.clear();
        for part in self.namespaces.values_mut() {
            part.feed = None;
        }
    }

    /// An update that it is to be brought on by later.
    fn add(&mut self, namespace: &Arc<str>, update: Update) {
        let coming = self.coming.entry(update.revision).or_default();
        coming.push((namespace.clone(), update));
    }

    /// Brings it to a revision by all the updates up to there; true if that changes what was read.
    fn step(&mut self, revision: Revision, updates: &[(Arc<str>, Update)]) -> bool {
        let mut touched = false;
        for (namespace, update) in updates {
            touched |= self.part(namespace).apply(update);
        }
        self.revision = Some(revision);
        touched
    }

    /// The wait begins again.
    fn forget(&mut self) {
        marks::reached(Mark::FedBegunAgain);
        *self = Copy::default();
    }
}

impl<'a> Fed<'a> {
    /// `wait`: its number, by [`name_fed`](crate::client::Connection::name_fed); 0: it goes on behind
    /// its result.
    pub(super) fn new(
        state: &'a State,
        operation: &Operation<'a>,
        wait: u64,
        copy: Copy,
    ) -> Fed<'a> {
        let context = state.context();
        let function = operation.object.unwrap_or("a condition");
        Fed {
            context,
            namespace: state.namespace_name(),
            operation: *operation,
            deadline: context.deadline(state.limit()),
            feeding: Feeding {
                wait,
                function: function[..function.floor_char_boundary(DUMP_TEXT_BYTES_MAX)].into(),
                since: context.connection().port().now(),
            },
            copy: RefCell::new(copy),
        }
    }

    /// What is known by now.
    pub(super) fn into_copy(self) -> Copy {
        self.copy.into_inner()
    }

    /// Tests `f` at the copy's revision, unless that was done, and then at each that changes what it
    /// has read, until it gives a result or an error of its own.
    ///
    /// # Errors
    /// What kept it from being tested. `Compacted`: it may have held at a revision that is no longer
    /// to be had.
    pub(super) fn next<R>(
        &self,
        f: &impl Fn(&Fed<'_>, &View<'_>) -> Result<Option<R>>,
    ) -> Result<Result<(R, Revision)>> {
        if self.context.stopping() {
            return Err(Error::new(Kind::Stopped, &self.operation));
        }
        loop {
            if self.copy.borrow().is_tested {
                self.follow()?;
            }
            self.copy.borrow_mut().begin();
            let view = View::new(self, self.namespace);
            let entered = self.context.connection().enter(self.operation);
            let entered = entered.map_err(|nested| Error::new(nested.into(), &self.operation))?;
            // A doomed run's panic may come of what it could not read.
            let run = catch_unwind(AssertUnwindSafe(|| f(self, &view)));
            drop(entered);
            let revision = self.judged()?;
            self.copy.borrow_mut().is_tested = true;
            let verdict = run.unwrap_or_else(|panic| resume_unwind(panic));
            if let Some(found) = verdict.transpose() {
                return Ok(found.map(|result| (result, revision)));
            }
            if self.deadline == Some(AT_ONCE) {
                return Err(Error::new(Kind::TimedOut, &self.operation));
            }
        }
    }

    /// Could the run that is under way not read something that it wanted?
    pub(super) fn is_doomed(&self) -> bool {
        self.copy.borrow().doom.is_some()
    }

    /// A namespace, whose calls end with the wait.
    fn state(&self, namespace: &str) -> State {
        let state = self.context.namespace(namespace);
        match self.deadline {
            None => state,
            Some(AT_ONCE) => state.within(Duration::ZERO),
            Some(deadline) => {
                let left = deadline.since(self.context.connection().port().now());
                // Time that is up is not the same as none to begin with.
                state.within(left.max(Duration::from_nanos(1)))
            }
        }
    }

    /// The revision of the run that has just ended, if it is worth something.
    fn judged(&self) -> Result<Revision> {
        let mut copy = self.copy.borrow_mut();
        match copy.doom.take() {
            None => self.revision_of(&mut copy),
            Some(error) => {
                marks::reached_if(error.is_compacted(), Mark::FedRunDoomed);
                Err(error)
            }
        }
    }

    fn revision_of(&self, copy: &mut Copy) -> Result<Revision> {
        if let Some(revision) = copy.revision {
            return Ok(revision);
        }
        let ping = |reply: &Reply<'_>| match reply {
            Reply::Done { revision } => Ok(*revision),
            other => Err(unexpected(other)),
        };
        let asked = (self.context).call_by(&self.operation, self.deadline, &Request::Ping, ping)?;
        copy.revision = Some(asked);
        Ok(asked)
    }

    /// What a part of the copy tells, which is fetched first unless it is known.
    fn look<R>(
        &self,
        namespace: &str,
        interest: Interest,
        span: &Span,
        tell: impl FnOnce(&Part) -> R,
    ) -> Result<R, Kind> {
        let copy = &mut *self.copy.borrow_mut();
        copy.check()?;
        if !copy.part(namespace).holds(&interest) {
            let connection = self.context.connection();
            let fetched = connection.aside(|| self.fetch(copy, namespace, span));
            let entries = copy.or_doom(fetched)?;
            let part = copy.part(namespace);
            (part.entries).extend(entries.into_iter().map(|(key, value)| (key.into(), value)));
            part.held.insert(interest.clone());
        }
        let part = copy.part(namespace);
        part.read.insert(interest);
        Ok(tell(part))
    }

    fn fetch(&self, copy: &mut Copy, namespace: &str, span: &Span) -> Result<snapshot::Entries> {
        let state = self.state(namespace);
        let at = copy
            .revision
            .filter(|_| !planted::is(Bug::FedAtAnyRevision));
        let (revision, entries) = snapshot::scan(&state, &self.operation, span, true, at)?;
        copy.revision.get_or_insert(revision);
        Ok(entries)
    }

    fn fetch_len(&self, copy: &mut Copy, namespace: &str) -> Result<u64> {
        let at = copy.revision;
        let request = Request::Len { namespace, at };
        let state = self.state(namespace);
        let (revision, count) = state.call(&self.operation, &request, |reply| match reply {
            Reply::Count { revision, count } => Ok((*revision, *count)),
            other => Err(unexpected(other)),
        })?;
        copy.revision.get_or_insert(revision);
        Ok(count)
    }

    /// All updates of a namespace after one revision and up to another.
    fn updates(&self, namespace: &str, after: Revision, until: Revision) -> Result<Vec<Update>> {
        let mut updates = Vec::new();
        let name: Arc<str> = namespace.into();
        let state = self.state(namespace);
        snapshot::updates(&state, &self.operation, (after, until), |update| {
            updates.push(Update::from_message(update, &name));
            true
        })?;
        Ok(updates)
    }

    /// Brings the copy on until something is changed that the last run has read.
    fn follow(&self) -> Result<()> {
        let copy = &mut *self.copy.borrow_mut();
        copy.namespaces.retain(|_, part| part.prune());
        let fits = reads_fit(copy.namespaces.len());
        fits.map_err(|kind| Error::new(kind, &self.operation))?;
        let watches = self.feed(copy).map_err(|error| {
            copy.stop_feeding();
            Error::new(error.kind().clone(), &self.operation)
        })?;
        loop {
            let revision = self.revision_of(copy)?;
            match copy.coming.pop_first() {
                Some((coming, updates)) if coming > revision => {
                    if copy.step(coming, &updates) {
                        copy.is_tested = false;
                        return Ok(());
                    }
                }
                Some(_) => {}
                None => self.hear(copy, revision, &watches)?,
            }
        }
    }

    /// Has each namespace watched for what was read of it.
    fn feed(&self, copy: &mut Copy) -> Result<Vec<WatchId>> {
        let revision = self.revision_of(copy)?;
        let from = revision.next();
        let mut watches = Vec::new();
        let mut renewed = Vec::new();
        for (namespace, part) in &mut copy.namespaces {
            let sees = Seen::of(part);
            let feed = match part.feed.take().filter(|feed| feed.sees.covers(&sees)) {
                Some(feed) => feed,
                None => {
                    let builder = self.state(namespace).watch(sees.filter());
                    let builder = builder.feeding(self.feeding.clone());
                    let builder = match planted::is(Bug::FedFromNow) {
                        true => builder,
                        false => builder.since(from),
                    };
                    let watch = builder.start_as(self.operation.verb, self.operation.caller)?;
                    renewed.push(namespace.clone());
                    Feed { watch, sees }
                }
            };
            watches.extend(feed.watch.id());
            part.feed = Some(feed);
        }
        if !planted::is(Bug::FedComingTooFew) {
            self.complete(copy, revision, &renewed)?;
        }
        Ok(watches)
    }

    /// What has come already came of watches that may have seen less than is read by now: fetches
    /// all of it for these namespaces.
    fn complete(&self, copy: &mut Copy, after: Revision, renewed: &[Arc<str>]) -> Result<()> {
        let Some((&until, _)) = copy.coming.last_key_value() else {
            return Ok(());
        };
        for namespace in renewed {
            marks::reached(Mark::FedCaughtUp);
            for updates in copy.coming.values_mut() {
                updates.retain(|(of, _)| of != namespace);
            }
            for update in self.updates(namespace, after, until)? {
                copy.add(namespace, update);
            }
        }
        Ok(())
    }

    /// Waits for the next update, and notes all that there is up to its revision.
    fn hear(&self, copy: &mut Copy, after: Revision, watches: &[WatchId]) -> Result<()> {
        let of = |watch: WatchId| {
            let mut parts = copy.namespaces.iter();
            let found = parts.find(|(_, part)| {
                (part.feed.as_ref()).is_some_and(|feed| feed.watch.id() == Some(watch))
            });
            found.map(|(namespace, _)| namespace.clone())
        };
        let connection = self.context.connection();
        let heard = connection.next_update_of(watches, self.deadline, |watch, update| {
            let namespace = of(watch).expect("it is one of these parts'");
            let update = Update::from_message(update, &namespace);
            (namespace, update)
        });
        let (heard_of, update) =
            heard.map_err(|error| Error::new(error.into(), &self.operation))?;
        if update.revision <= after {
            return Ok(());
        }
        let until = update.revision;
        copy.add(&heard_of, update);
        let namespaces: Vec<Arc<str>> = copy.namespaces.keys().cloned().collect();
        for other in namespaces.iter().filter(|name| **name != heard_of) {
            marks::reached(Mark::FedByMore);
            let updates = self.updates(other, after, until);
            for update in updates.inspect_err(|_| copy.stop_feeding())? {
                copy.add(other, update);
            }
        }
        Ok(())
    }
}

impl Reads for Fed<'_> {
    fn get(&self, namespace: &str, key: &str) -> Result<Option<Cow<'_, [u8]>>, Kind> {
        let span = Span::range(key..=key);
        self.look(namespace, Interest::Key(key.into()), &span, |part| {
            part.entries.get(key).map(|value| value.to_vec().into())
        })
    }

    fn contains(&self, namespace: &str, key: &str) -> Result<bool, Kind> {
        let span = Span::range(key..=key);
        self.look(namespace, Interest::Key(key.into()), &span, |part| {
            part.entries.contains_key(key)
        })
    }

    fn len(&self, namespace: &str) -> Result<u64, Kind> {
        let copy = &mut *self.copy.borrow_mut();
        copy.check()?;
        if copy.part(namespace).len.is_none() {
            let connection = self.context.connection();
            let fetched = connection.aside(|| self.fetch_len(copy, namespace));
            copy.part(namespace).len = Some(copy.or_doom(fetched)?);
        }
        let part = copy.part(namespace);
        part.is_len_read = true;
        Ok(part.len.unwrap_or_default())
    }

    fn keys(&self, namespace: &str, span: operations::Span<'_>) -> Result<Vec<String>, Kind> {
        let interest = Interest::of_span(span);
        self.look(namespace, interest, &span.into(), |part| {
            let keys = part.entries.keys().filter(|key| span.covers(key));
            keys.map(|key| key.to_string()).collect()
        })
    }

    fn next(
        &self,
        namespace: &str,
        span: operations::Span<'_>,
        after: Option<&str>,
    ) -> Result<Option<Entry<'_>>, Kind> {
        let interest = Interest::of_span(span);
        self.look(namespace, interest, &span.into(), |part| {
            let from = match after {
                Some(after) if after >= span.start() => Bound::Excluded(after),
                _ => Bound::Included(span.start()),
            };
            let mut behind = part.entries.range::<str, _>((from, Bound::Unbounded));
            let (key, value) = behind.next().filter(|(key, _)| span.covers(key))?;
            Some((key.to_string().into(), value.to_vec().into()))
        })
    }

    fn revision(&self) -> Revision {
        let copy = &mut *self.copy.borrow_mut();
        let connection = self.context.connection();
        let known = connection.aside(|| self.revision_of(copy));
        known.unwrap_or_else(|error| {
            copy.doom = Some(error);
            Revision::ZERO
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(read: &[Interest], is_len_read: bool) -> Part {
        Part {
            read: read.iter().cloned().collect(),
            is_len_read,
            ..Part::default()
        }
    }

    #[test]
    fn a_watch_sees_all_that_was_read_and_little_more() {
        let key = |key: &str| Interest::Key(key.into());
        let prefix = |prefix: &str| Interest::Prefix(prefix.into());
        let range = |from: &str, until: &str| Interest::Range(from.into(), Some(until.into()));
        let keys = |keys: &[&str]| Seen::Keys(keys.iter().map(|key| Arc::from(*key)).collect());
        let begins = |text: &str| Seen::Prefix(text.to_owned());
        let seen = |read: &[Interest]| Seen::of(&part(read, false));
        assert_eq!(seen(&[key("a"), key("b")]), keys(&["a", "b"]));
        assert_eq!(seen(&[prefix("job/")]), begins("job/"));
        assert_eq!(seen(&[prefix("job/1"), key("job/2")]), begins("job/"));
        assert_eq!(seen(&[range("j/é", "j/è")]), begins("j/"));
        assert_eq!(seen(&[prefix("job/"), key("go")]), begins(""));
        assert_eq!(seen(&[Interest::Range("j".into(), None)]), begins(""));
        assert_eq!(Seen::of(&part(&[key("a")], true)), begins(""));
        assert!(begins("").covers(&begins("x")) && begins("x").covers(&keys(&["x1"])));
        assert!(!begins("x").covers(&begins("")) && !keys(&["x"]).covers(&begins("x")));
        assert!(keys(&["a", "b"]).covers(&keys(&["b"])) && !keys(&["a"]).covers(&keys(&["b"])));
    }

    #[test]
    fn keys_are_found_beside_prefixes() {
        let read = BTreeSet::from([
            Interest::Key("a".into()),
            Interest::Key("c".into()),
            Interest::Prefix("p/".into()),
        ]);
        for (key, is_read) in [("a", true), ("b", false), ("p/1", true), ("p", false)] {
            assert_eq!(covers(&read, &key.into()), is_read, "{key}");
        }
    }
}
