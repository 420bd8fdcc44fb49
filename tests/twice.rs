//! Functions that are run twice and compared, in real processes: what they are told that don't do the
//! same, wherever they run.

use std::sync::atomic::{AtomicU64, Ordering};
use zproc::{Context, ContextBuilder, Result, Server, Txn};

fn twice() -> [ContextBuilder; 2] {
    let twice = || Context::builder().run_functions_twice(true);
    [twice(), twice().run_functions_here()]
}

/// Is this an odd call of a function that counts by this?
fn is_odd(calls: &AtomicU64) -> bool {
    calls.fetch_add(1, Ordering::Relaxed) % 2 == 1
}

/// The sum is the same either way; but a key that is set is nobody's any more.
fn adds_or_sets(txn: &mut Txn<'_>, (): ()) -> Result<()> {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    match is_odd(&CALLS) {
        false => txn.add("mine", 1).map(drop),
        true => txn.set("mine", &2),
    }
}

/// What a key that is written keeps of its owner was not compared.
#[test]
fn who_owns_what_was_written_is_compared() -> Result<()> {
    for tree in twice() {
        let ctx = tree.start()?;
        ctx.state().set_owned("mine", &1)?;
        let error = ctx
            .state()
            .atomic(adds_or_sets, ())
            .expect_err("it differs");
        assert!(error.is_not_deterministic(), "{error}");
        let told = error.to_string();
        assert!(
            told.contains("its owner's") && told.contains("nobody's"),
            "{told}"
        );
        assert_eq!(ctx.state().get("mine")?, Some(1));
    }
    Ok(())
}

fn lists(txn: &mut Txn<'_>, (): ()) -> Result<(String, Vec<u8>)> {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let last = u8::from(is_odd(&CALLS));
    txn.set("same", &1)?;
    Ok(("same".to_owned(), vec![7, 7, last]))
}

/// Two arrays of as many elements were told by words that were the same.
#[test]
fn what_differs_is_told_where_it_does() -> Result<()> {
    for tree in twice() {
        let ctx = tree.start()?;
        let error = ctx.state().atomic(lists, ()).expect_err("it differs");
        assert!(error.is_not_deterministic(), "{error}");
        let place = "at [1][2] the integer 0, and the second time the integer 1";
        assert!(error.to_string().contains(place), "{error}");
    }
    Ok(())
}

#[test]
fn a_server_that_stands_alone_has_no_such_mode() {
    let place = tempfile::tempdir().expect("temporary directory");
    let path = place.path().join("socket");
    let server = Server::bind(&path).expect("bind");
    let error = Context::builder()
        .run_functions_twice(true)
        .connect(&path)
        .expect_err("functions do not run twice there");
    assert!(error.is_invalid(), "{error}");
    assert!(error.to_string().contains("run_functions_twice"), "{error}");
    drop(server);
}
