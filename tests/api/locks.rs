//! Locks, as users see them.

use std::time::Duration;
use zproc::{Awaited, Context, Dump, LockGuard, Process, Result, Revision};

fn add_slowly(ctx: &Context, times: u64) -> Result<()> {
    for _ in 0..times {
        let _guard = ctx.lock("counter")?;
        let count: u64 = ctx.state().get("count")?.unwrap_or(0);
        ctx.state().set("count", &(count + 1))?;
    }
    Ok(())
}

pub(super) fn lock_is_held_by_one(ctx: &Context) -> Result<()> {
    let processes = ctx.spawn_many(3, |ctx, (_, times)| add_slowly(ctx, times), 4)?;
    add_slowly(ctx, 4)?;
    for result in processes.join_all() {
        result??;
    }
    assert_eq!(ctx.state().get("count")?, Some(16));
    assert!(ctx.locks()?.is_empty());
    Ok(())
}

/// The picture in which so many wait for locks.
fn dump_of(ctx: &Context, waits: usize) -> Result<Dump> {
    loop {
        let dump = ctx.dump()?;
        let locks = dump
            .waits()
            .filter(|(_, wait)| matches!(wait.awaited, Awaited::Lock { .. }));
        if locks.count() == waits {
            return Ok(dump);
        }
    }
}

/// Gives the revision at which it got the lock.
fn queue(ctx: &Context, (): ()) -> Result<Revision> {
    Ok(ctx.lock("queue")?.revision())
}

pub(super) fn locks_are_first_come_first_served(ctx: &Context) -> Result<()> {
    let guard = ctx.lock("queue")?;
    let mut queued: Vec<Process<Result<Revision>>> = Vec::new();
    for place in 1..4 {
        queued.push(ctx.spawn(queue, ())?);
        let dump = dump_of(ctx, place)?;
        let (_, wait) = dump
            .process(queued[place - 1].id())
            .and_then(|process| Some((process, process.waits.first()?)))
            .expect("it waits");
        let awaited = Awaited::Lock {
            name: "queue".to_owned(),
            holder: ctx.process_id(),
            ahead: place as u64 - 1,
        };
        assert_eq!(format!("{:?}", wait.awaited), format!("{awaited:?}"));
    }
    // A fencing token: greater with each grant.
    let mut newest = guard.revision();
    drop(guard);
    for process in queued {
        let revision = process.join()??;
        assert!(revision > newest);
        newest = revision;
    }
    assert!(ctx.lock("queue")?.revision() > newest);
    Ok(())
}

pub(super) fn lock_is_released_at_its_drop(ctx: &Context) -> Result<()> {
    let guard = ctx.lock("door")?;
    assert_eq!(LockGuard::name(&guard), "door");
    assert!(guard.is_held()?);
    let held = ctx.locks()?;
    assert_eq!((&*held[0].name, held[0].holder), ("door", ctx.process_id()));
    // The lock and what is written under it are seen in their order.
    ctx.state().set("inside", &true)?;
    drop(guard);
    ctx.namespace("").wait_absent("lock/door")?;
    assert!(ctx.state().contains_key("inside")?);
    let _again = ctx.lock("door")?;
    Ok(())
}

pub(super) fn try_lock_does_not_wait(ctx: &Context) -> Result<()> {
    let guard = ctx.try_lock("door")?.expect("nobody holds it");
    assert!(ctx.try_lock("door")?.is_none());
    let other = ctx.spawn(|ctx, ()| Ok(ctx.try_lock("door")?.is_some()), ())?;
    let other: Result<bool> = other.join()?;
    assert!(!other?);
    assert!(ctx.try_lock("another")?.is_some());
    drop(guard);
    assert!(ctx.try_lock("door")?.is_some());
    let long = "x".repeat(256);
    assert!(ctx.try_lock(&long).is_err_and(|error| error.is_limit()));
    Ok(())
}

pub(super) fn lock_timeout_leaves_no_trace(ctx: &Context) -> Result<()> {
    let guard = ctx.lock("door")?;
    let late = ctx.lock_timeout("door", Duration::from_millis(20));
    assert!(late.is_err_and(|error| error.is_timeout()));
    let dump = dump_of(ctx, 0)?;
    assert_eq!(dump.waits().count(), 0, "{dump}");
    drop(guard);
    let in_time = ctx.lock_timeout("door", Duration::from_secs(60))?;
    assert!(in_time.is_held()?);
    Ok(())
}

/// Takes the lock, says so, and dies with it.
fn dies_inside(ctx: &Context, (): ()) -> Result<()> {
    let guard = ctx.lock("door")?;
    ctx.state().set_owned("inside", &guard.revision().0)?;
    std::mem::forget(guard);
    Ok(())
}

pub(super) fn lock_is_released_at_its_holders_death(ctx: &Context) -> Result<()> {
    let holder = ctx.spawn(dies_inside, ())?;
    holder.outcome()?;
    let guard = ctx.lock("door")?;
    assert!(!ctx.state().contains_key("inside")?, "its keys went too");
    // In one revision: its record, its lock, and its key.
    let records = ctx
        .namespace("")
        .watch(zproc::Filter::all())
        .from_start()
        .start()?;
    let owned = ctx
        .state()
        .watch(zproc::Filter::key("inside"))
        .from_start()
        .start()?;
    let mut gone = None;
    for update in records {
        let update = update?;
        let released = update.origin.released.is_some();
        if released {
            let keys: Vec<&str> = update.changes.iter().map(|change| change.key()).collect();
            let record = format!("process/{}", holder.id().0);
            assert_eq!(keys, ["lock/door", &record]);
            gone = Some(update.revision);
            break;
        }
    }
    let last = owned.take(2).last().expect("it was written, and went")?;
    assert_eq!(Some(last.revision), gone);
    assert!(Some(guard.revision()) > gone);
    Ok(())
}

/// Holds the first and wants the second.
fn crosses(ctx: &Context, (first, second): (String, String)) -> Result<()> {
    let _first = ctx.lock(&first)?;
    ctx.state().set(&first, &true)?;
    ctx.state().wait_available::<bool>(&second)?;
    let _second = ctx.lock_timeout(&second, Duration::from_secs(3600))?;
    Ok(())
}

pub(super) fn a_deadlock_is_named(ctx: &Context) -> Result<()> {
    let both = ("a".to_owned(), "b".to_owned());
    let turned = ("b".to_owned(), "a".to_owned());
    let one = ctx.spawn(crosses, both)?;
    let other = ctx.spawn(crosses, turned)?;
    let dump = dump_of(ctx, 2)?;
    assert_eq!(dump.circles(), [[one.id(), other.id()]]);
    let text = dump.to_string();
    let line = text.lines().find(|line| line.starts_with("deadlock, "));
    let line = line.unwrap_or_else(|| panic!("{text}"));
    for told in [
        format!("waits for lock \"b\", held by process {} (", other.id().0),
        format!("waits for lock \"a\", held by process {} (", one.id().0),
    ] {
        assert!(line.contains(&told), "{told} is not in {line}");
    }
    one.kill()?;
    other.join()??;
    Ok(())
}
