//! All the times that something is true: a wait that goes on.

use super::context::Context;
use super::fed::{Copy as Known, Fed};
use super::process::Process;
use super::shipped::{ProcessSignature, WhenBody};
use super::spawn::ProcessBuilder;
use super::state::State;
use super::view::{Verdict, View};
use crate::error::{Error, Operation, Result, Wanted};
use crate::process::code;
use crate::proto::ids::Revision;
use crate::proto::marks::{self, Mark};
use crate::proto::planted::{self, Bug};
use std::panic::Location;

impl State {
    /// All the times that `f` gives a result: an iterator over what it gives, each with its revision.
    ///
    /// As for [`wait_until`](State::wait_until), `f` is tested on the present state first (that is at
    /// the first call of `next`), then at each later revision that changes what it has read; but each
    /// time that it gives a result, that is one item, and it goes on behind it. No such revision is
    /// left out, however slowly the items are taken: where the log of updates no longer holds the next
    /// one, there is an error that [`is_compacted`](Error::is_compacted) instead, and the iterator
    /// ends.
    ///
    /// `f` runs here, captures or not: on a copy of what it reads. [`within`](State::within) bounds the
    /// time until each next item; after such a [timeout](Error::is_timeout) the iterator goes on where
    /// it was, after any other error it ends.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// # let ctx = zproc::Context::new()?;
    /// fn count(ctx: &zproc::Context, last: u64) -> zproc::Result<()> {
    ///     for number in 1..=last {
    ///         ctx.state().set("count", &number)?;
    ///     }
    ///     Ok(())
    /// }
    /// let process = ctx.spawn(count, 9)?;
    /// let threes = ctx.state().when(|view| {
    ///     let count: Option<u64> = view.get("count")?;
    ///     Ok(count.filter(|count| count % 3 == 0))
    /// });
    /// let mut seen = Vec::new();
    /// for found in threes {
    ///     let (count, _) = found?;
    ///     seen.push(count);
    ///     if count == 9 {
    ///         break;
    ///     }
    /// }
    /// // What was over before the first look is not among them.
    /// assert!([3, 6, 9].ends_with(&seen));
    /// process.join()?
    /// # }
    /// ```
    #[track_caller]
    pub fn when<F, V>(&self, f: F) -> When<F>
    where
        F: Fn(&View<'_>) -> V,
        V: Verdict,
    {
        When {
            state: self.clone(),
            f,
            caller: Location::caller(),
            known: Known::default(),
            has_ended: false,
        }
    }
}

/// An iterator over all the times that something is true. Made by [`State::when`].
#[must_use = "an iterator does nothing before it is asked"]
pub struct When<F> {
    state: State,
    f: F,
    caller: &'static Location<'static>,
    known: Known,
    has_ended: bool,
}

impl<F> std::fmt::Debug for When<F> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("When")
            .field("condition", &std::any::type_name::<F>())
            .field("namespace", &self.state.namespace_name())
            .field("has_ended", &self.has_ended)
            .finish_non_exhaustive()
    }
}

impl<F, V> Iterator for When<F>
where
    F: Fn(&View<'_>) -> V,
    V: Verdict,
{
    type Item = Result<(V::Output, Revision)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_ended {
            return None;
        }
        let operation = Operation {
            verb: "when",
            object: Some(std::any::type_name::<F>()),
            namespace: Some(self.state.namespace_name()),
            caller: self.caller,
        };
        // Should `f` panic, nothing is known any more, and the iterator has ended.
        self.has_ended = true;
        let fed = Fed::new(&self.state, &operation, 0, std::mem::take(&mut self.known));
        let decide = |_: &Fed<'_>, view: &View<'_>| (self.f)(view).decide();
        let found = fed.next(&decide);
        if !planted::is(Bug::WhenBegunAnew) {
            self.known = fed.into_copy();
        }
        self.has_ended = match &found {
            Ok(found) => found.is_err(),
            Err(error) => !error.is_timeout(),
        };
        let compacted = |error: &Error| error.is_compacted();
        marks::reached_if(found.as_ref().is_err_and(compacted), Mark::WhenCompacted);
        let found = found.map_err(|error| error.wanted_for(Wanted::When));
        Some(found.unwrap_or_else(Err))
    }
}

impl<F, V> std::iter::FusedIterator for When<F>
where
    F: Fn(&View<'_>) -> V,
    V: Verdict,
{
}

impl Context {
    /// Starts a process that runs `f` at every match: whenever `when` gives a result, `f` is given it,
    /// one after the other, none left out.
    ///
    /// It is [`State::when`] in a process of its own, on the state that [`Context::state`] is. It ends
    /// with the first error, be it of `f`, of `when` or of the iteration, which its
    /// [`join`](Process::join) gives; well, when it is [asked to](Process::stop); and with its parent.
    /// To have several run at a time, `f` spawns them. What was so, and is over before the process looks
    /// for the first time, is not seen.
    ///
    /// Neither of the two captures anything, as for [`spawn`](Context::spawn).
    ///
    /// # Errors
    /// As for [`spawn`](Context::spawn).
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// let ctx = zproc::Context::new()?;
    /// let doubler = ctx.spawn_when(
    ///     |view| view.get::<i64>("number"),
    ///     |ctx, number| ctx.state().set("double", &(2 * number)).map(drop),
    /// )?;
    /// for number in 1..=3 {
    ///     ctx.state().set("number", &number)?;
    ///     ctx.state().wait_equal("double", &(2 * number))?;
    /// }
    /// doubler.request_stop(None)?;
    /// doubler.join()?
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn_when<W, V, F>(&self, when: W, f: F) -> Result<Process<Result<()>>>
    where
        W: Fn(&View<'_>) -> V + Copy + Send + 'static,
        V: Verdict,
        F: Fn(&Context, V::Output) -> Result<()> + Copy + Send + 'static,
    {
        self.process_when(when, f).spawn(())
    }

    /// As [`spawn_when`](Context::spawn_when), with more to say on how: [`ProcessBuilder::spawn`]
    /// starts it. Unless it is given a [name](ProcessBuilder::name), it goes by that of `f`.
    ///
    /// ```
    /// # fn main() -> zproc::Result<()> {
    /// use zproc::{Context, View};
    ///
    /// fn order(view: &View<'_>) -> zproc::Result<Option<u64>> {
    ///     view.get("order")
    /// }
    /// fn deliver(ctx: &Context, order: u64) -> zproc::Result<()> {
    ///     ctx.state().set("delivered", &order).map(drop)
    /// }
    /// let ctx = Context::new()?;
    /// let courier = ctx.process_when(order, deliver).name("courier").spawn(())?;
    /// ctx.state().set("order", &7)?;
    /// ctx.state().wait_equal("delivered", &7)?;
    /// let processes = ctx.processes()?;
    /// let found = processes.find(courier.id()).expect("it is listed");
    /// assert_eq!(found.name, "courier");
    /// assert!(found.function.ends_with("deliver"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn process_when<W, V, F>(&self, when: W, f: F) -> ProcessBuilder<(), Result<()>>
    where
        W: Fn(&View<'_>) -> V + Copy + Send + 'static,
        V: Verdict,
        F: Fn(&Context, V::Output) -> Result<()> + Copy + Send + 'static,
    {
        let function = code::ship::<(W, F), ProcessSignature, WhenBody<V>>((when, f));
        ProcessBuilder::new(self.clone(), function.reference())
    }
}

/// Does `f` at every match, until this process is asked to end.
pub(super) fn each<W, V, F>(ctx: &Context, when: &W, f: &F) -> Result<()>
where
    W: Fn(&View<'_>) -> V + Copy,
    V: Verdict,
    F: Fn(&Context, V::Output) -> Result<()>,
{
    for found in ctx.state().when(*when) {
        match found {
            Ok((result, _)) => f(ctx, result)?,
            Err(error) if error.is_stopped() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
