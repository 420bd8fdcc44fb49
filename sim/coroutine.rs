//! Coroutines with stacks of their own: what a simulated thread runs on.
//!
//! The one module of the simulator with unsafe code: suspending finds the running coroutine's
//! yielder through a pointer, and a crash abandons a stack without running its destructors.
#![expect(
    unsafe_code,
    reason = "a crash abandons a stack, and suspending finds the running coroutine by pointer"
)]

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use std::cell::{Cell, RefCell};

/// Bytes of a coroutine's stack: room for a debug build's serde and for a panic with its hook.
/// Only touched pages cost memory.
const STACK_BYTES: usize = 1024 * 1024;
/// Most idle stacks that one OS thread keeps for the next coroutines.
const STACKS_KEPT_MAX: usize = 64;

thread_local! {
    /// The yielder of the coroutine that runs on this OS thread; null outside of one.
    static CURRENT: Cell<*const Yielder<(), ()>> = const { Cell::new(std::ptr::null()) };
    /// Stacks of finished coroutines.
    static STACKS: RefCell<Vec<DefaultStack>> = const { RefCell::new(Vec::new()) };
}

/// One coroutine, suspended unless it is the one that runs.
pub(crate) struct Task {
    /// `None` only while [`Task::crash`] takes it apart.
    coroutine: Option<Coroutine<(), (), ()>>,
}

impl Task {
    /// A coroutine that will run `body` when it is first resumed. `body` must not unwind out.
    pub(crate) fn new(body: impl FnOnce() + 'static) -> Task {
        let stack = STACKS
            .with(|stacks| stacks.borrow_mut().pop())
            .unwrap_or_else(|| {
                DefaultStack::new(STACK_BYTES).expect("the system has room for a coroutine's stack")
            });
        let coroutine = Coroutine::with_stack(stack, move |yielder: &Yielder<(), ()>, ()| {
            CURRENT.set(yielder);
            body();
        });
        Task {
            coroutine: Some(coroutine),
        }
    }

    /// Runs it until it suspends itself or ends; true when it has ended.
    pub(crate) fn resume(&mut self) -> bool {
        let coroutine = self
            .coroutine
            .as_mut()
            .expect("a crashed coroutine is not kept");
        let outer = CURRENT.replace(std::ptr::null());
        let result = coroutine.resume(());
        CURRENT.set(outer);
        matches!(result, CoroutineResult::Return(()))
    }

    /// Ends it where it stands, as `kill -9` does: no destructor runs, and what its stack owned
    /// on the heap is leaked.
    pub(crate) fn crash(mut self) {
        let Some(mut coroutine) = self.coroutine.take() else {
            return;
        };
        if coroutine.started() && !coroutine.done() {
            // SAFETY: the destructors that are skipped are those of a simulated process's values;
            // its body is `'static`, so nothing outside borrows from the stack or lends to it
            // beyond what is leaked with it; all its threads are abandoned together, so none is
            // left that could look at another's stack; and no code of the stack is resumed again.
            unsafe { coroutine.force_reset() };
        }
        if coroutine.done() {
            keep(coroutine.into_stack());
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        // A coroutine that was never resumed is dropped with its body, as any closure is; one that
        // is suspended is unwound by its own drop.
        if let Some(coroutine) = self.coroutine.take()
            && coroutine.done()
        {
            keep(coroutine.into_stack());
        }
    }
}

fn keep(stack: DefaultStack) {
    STACKS.with(|stacks| {
        let mut stacks = stacks.borrow_mut();
        if stacks.len() < STACKS_KEPT_MAX {
            stacks.push(stack);
        }
    });
}

/// True when the caller runs in a coroutine.
pub(crate) fn is_inside() -> bool {
    !CURRENT.get().is_null()
}

/// Suspends the running coroutine until it is resumed.
pub(crate) fn suspend() {
    let yielder = CURRENT.get();
    assert!(!yielder.is_null(), "only a coroutine can be suspended");
    // SAFETY: `CURRENT` is set by the coroutine's own first frame and after each of its resumptions,
    // and taken back when it leaves the OS thread; so it points to the yielder in the running
    // coroutine's stack, which outlives this call made on that stack.
    unsafe { &*yielder }.suspend(());
    CURRENT.set(yielder);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    #[test]
    fn coroutines_take_turns() {
        let log = Rc::new(RefCell::new(Vec::new()));
        let mut tasks: Vec<Task> = (0..3)
            .map(|name| {
                let log = Rc::clone(&log);
                Task::new(move || {
                    for turn in 0..2 {
                        log.borrow_mut().push((name, turn));
                        suspend();
                    }
                })
            })
            .collect();
        for _ in 0..2 {
            for task in &mut tasks {
                assert!(!task.resume());
            }
        }
        assert!(tasks.iter_mut().all(Task::resume));
        assert_eq!(
            *log.borrow(),
            [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]
        );
        assert!(!is_inside());
    }

    #[test]
    fn a_crash_runs_no_destructor_and_an_end_runs_all() {
        struct Noted(Rc<Cell<u32>>);
        impl Drop for Noted {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        let drops = Rc::new(Cell::new(0));
        let task = |drops: &Rc<Cell<u32>>| {
            let noted = Noted(Rc::clone(drops));
            Task::new(move || {
                let _noted = noted;
                suspend();
            })
        };
        let mut crashed = task(&drops);
        assert!(!crashed.resume());
        crashed.crash();
        assert_eq!(drops.get(), 0);
        let mut ended = task(&drops);
        assert!(!ended.resume());
        assert!(ended.resume());
        assert_eq!(drops.get(), 1);
        task(&drops).crash();
        assert_eq!(drops.get(), 2, "a body that never ran is dropped");
    }

    #[test]
    fn a_stack_is_used_again() {
        let mut first = Task::new(suspend);
        assert!(!first.resume());
        first.crash();
        let before = STACKS.with(|stacks| stacks.borrow().len());
        assert!(before > 0);
        let second = Task::new(suspend);
        assert_eq!(STACKS.with(|stacks| stacks.borrow().len()), before - 1);
        drop(second);
    }
}
