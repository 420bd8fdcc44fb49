//! What an error advises fits the call that it comes of.

use zproc::{Context, Limits, Result, View};

/// A `when` was advised to `restart`, as a watch is, which it can't.
#[test]
fn a_when_that_the_log_has_left_behind_is_not_advised_as_a_watch() -> Result<()> {
    let mut limits = Limits::default();
    limits.history_entries_max = 16;
    let ctx = Context::builder().limits(limits).start()?;
    let state = ctx.state();
    state.set("a", &1)?;
    let mut matches = state.when(|view: &View<'_>| match view.get::<u64>("a")? {
        Some(2) => view.get::<u64>("b"),
        a => Ok(a),
    });
    assert_eq!(matches.next().expect("it holds")?.0, 1);
    // It is to see this one next, and "b" as it was then.
    state.set("a", &2)?;
    for number in 0..100 {
        state.set("b", &number)?;
    }
    let error = matches.next().expect("an error").expect_err("it is gone");
    assert!(error.is_compacted(), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("a new `when` begins") && !text.contains("restart"),
        "{text}"
    );
    assert!(matches.next().is_none());
    Ok(())
}
