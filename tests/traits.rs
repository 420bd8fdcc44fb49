//! What every type of the public api can be relied on for: it may be shown, and handed to and shared
//! with other threads, unless it is lent by a call.

use std::fmt::Debug;
use zproc::*;

fn shared<T: Debug + Send + Sync>() {}
fn owned<T: Debug + Send + Sync + Clone>() {}
fn shown<T: Debug>() {}

type F = fn(&View<'_>) -> bool;

#[test]
fn handles_and_values_go_to_other_threads_and_are_shown() {
    owned::<Context>();
    owned::<State>();
    owned::<Past>();
    owned::<Batch>();
    owned::<Batched>();
    owned::<Expected>();
    owned::<Snapshot>();
    owned::<Span>();
    owned::<Filter>();
    owned::<WatchBuilder>();
    owned::<ProcessBuilder<u8, u8>>();
    owned::<ContextBuilder>();
    owned::<ServerBuilder>();
    owned::<Stopper>();
    owned::<(Update, Change, Origin)>();
    owned::<(Outcome, Captured, End, Why)>();
    owned::<(Processes, ProcessInfo, ProcessState)>();
    owned::<(Input, Output, Resource, Limits)>();
    owned::<(Error, ServerLoss, ServerEnd)>();
    owned::<(Dump, ProcessDump, WaitDump, WatchDump, CallDump)>();
    owned::<(Awaited, Keys, Standing, LeftOut, RunningDump, Elapsed)>();
    owned::<(ProcessId, Revision, LockInfo)>();
    shared::<Server>();
    shared::<Process<u8>>();
    shared::<Group<u8>>();
    shared::<LockGuard>();
    shared::<History>();
    shared::<Entries<u8>>();
    shared::<Watch>();
    shown::<When<F>>();
    shown::<(Txn<'_>, View<'_>, Iter<'_, u8>)>();
}
