//! One key, one namespace, snapshots.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use zproc::{Context, Result, Revision};

pub(super) fn set_get_remove(ctx: &Context) -> Result<()> {
    ctx.ping(Duration::from_secs(60))?;
    let state = ctx.state();
    assert_eq!(state.namespace_name(), "default");
    assert_eq!(state.get::<u64>("a")?, None);
    assert!(!state.contains_key("a")?);
    assert!(!state.remove("a")?);
    state.set("a", &1)?;
    assert_eq!(state.get::<u64>("a")?, Some(1));
    state.set("a", &2)?;
    assert_eq!(state.get::<u64>("a")?, Some(2));
    assert!(state.contains_key("a")?);
    assert!(state.remove("a")?);
    assert_eq!(state.get::<u64>("a")?, None);
    // Any string is a key, the empty one too.
    for key in ["", "\0", "ä/ö", " "] {
        state.set(key, key)?;
        assert_eq!(state.get::<String>(key)?.as_deref(), Some(key));
    }
    Ok(())
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Record {
    name: String,
    parts: Vec<Part>,
    at: Option<(i32, i32)>,
    notes: BTreeMap<String, f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Part {
    Unit,
    Tuple(u8, char),
    Struct { bytes: Vec<u8>, flag: bool },
}

pub(super) fn any_serde_type(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let record = Record {
        name: "n".to_owned(),
        parts: vec![
            Part::Unit,
            Part::Tuple(7, 'ß'),
            Part::Struct {
                bytes: vec![0, 255],
                flag: true,
            },
        ],
        at: Some((-1, i32::MAX)),
        notes: BTreeMap::from([("pi".to_owned(), 3.25)]),
    };
    state.set("record", &record)?;
    assert_eq!(state.get("record")?, Some(record));
    state.set("unit", &())?;
    assert_eq!(state.get("unit")?, Some(()));
    state.set("none", &None::<u8>)?;
    // The key is there, and holds None.
    assert_eq!(state.get("none")?, Some(None::<u8>));
    state.set("wide", &u64::MAX)?;
    assert_eq!(state.get("wide")?, Some(u64::MAX));
    // A slice of a str, an unsized value.
    state.set("text", &"hello"[1..])?;
    assert_eq!(state.get("text")?, Some("ello".to_owned()));
    Ok(())
}

pub(super) fn wrong_type_is_told(ctx: &Context) -> Result<()> {
    let state = ctx.namespace("shop");
    state.set("price", "cheap")?;
    let error = state.get::<u64>("price").unwrap_err();
    assert!(error.is_wrong_type());
    let text = error.to_string();
    for part in ["price", "shop", "u64", "the string \"cheap\""] {
        assert!(text.contains(part), "{text}");
    }
    // Where the call stands is in the long form.
    assert!(format!("{error:?}").contains("dict.rs:"), "{error:?}");
    // The value is as it was.
    assert_eq!(state.get::<String>("price")?.as_deref(), Some("cheap"));
    let error = state.snapshot()?.get::<Vec<u8>>("price").unwrap_err();
    assert!(error.is_wrong_type());
    Ok(())
}

pub(super) fn namespaces_are_apart(ctx: &Context) -> Result<()> {
    let (a, b) = (ctx.namespace("a"), ctx.namespace("b".to_owned()));
    a.set("k", &1)?;
    b.set("k", &2)?;
    assert_eq!((a.get("k")?, b.get("k")?), (Some(1), Some(2)));
    a.clear()?;
    assert_eq!((a.len()?, b.len()?), (0, 1));
    assert!(!ctx.state().contains_key("k")?);
    Ok(())
}

pub(super) fn keys_len_clear(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    assert!(state.is_empty()?);
    assert!(state.keys(..)?.is_empty());
    for key in ["b", "c", "a"] {
        state.set(key, &0)?;
    }
    assert_eq!(state.keys(..)?, ["a", "b", "c"]);
    assert_eq!(state.len()?, 3);
    state.clear()?;
    assert!(state.is_empty()?);
    // Again, with nothing there.
    state.clear()?;
    assert!(state.keys(..)?.is_empty());
    Ok(())
}

/// Every process proposes its own number; all must get the same one.
fn propose(ctx: &Context, number: u64) -> Result<u64> {
    ctx.state().get_or_insert("leader", &number)
}

pub(super) fn get_or_insert_once(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    assert_eq!(state.get_or_insert("k", &1)?, 1);
    assert_eq!(state.get_or_insert("k", &2)?, 1);
    assert!(
        state
            .get_or_insert("k", &String::new())
            .unwrap_err()
            .is_wrong_type()
    );
    let processes = (0..3)
        .map(|number| ctx.spawn(propose, number))
        .collect::<Result<Vec<_>>>()?;
    let mut answers = Vec::new();
    for process in processes {
        answers.push(process.join()??);
    }
    let leader: u64 = state.get("leader")?.expect("somebody wrote it");
    assert_eq!(answers, [leader; 3]);
    Ok(())
}

pub(super) fn revisions_rise(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let mut last = Revision::ZERO;
    for number in 0..10 {
        // In the order of calls, over all namespaces.
        for revision in [
            state.set("a", &number)?,
            ctx.namespace("other").set("a", &number)?,
            state.clear()?,
        ] {
            assert!(revision > last, "{revision} after {last}");
            last = revision;
        }
    }
    Ok(())
}

pub(super) fn snapshot_is_a_copy(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    state.set("a", &1)?;
    let revision = state.set("b", "two")?;
    let before = state.snapshot()?;
    assert!(before.revision() >= revision);
    state.set("a", &9)?;
    state.remove("b")?;
    assert_eq!(before.get("a")?, Some(1));
    assert_eq!(before.get("b")?, Some("two".to_owned()));
    assert_eq!(before.get::<u8>("c")?, None);
    assert!(before.contains_key("b") && !before.contains_key("c"));
    assert_eq!(before.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!((before.len(), before.is_empty()), (2, false));
    let after = state.snapshot()?;
    assert_ne!(before, after);
    // Equal contents are equal, whatever the revision.
    state.set("a", &1)?;
    state.set("b", "two")?;
    assert_eq!(before, state.snapshot()?);
    assert!(ctx.namespace("empty").snapshot()?.is_empty());
    Ok(())
}

/// More keys than a page holds.
const MANY: u64 = 1300;

fn fill(txn: &mut zproc::Txn<'_>, count: u64) -> Result<()> {
    for number in 0..count {
        txn.set(&format!("{number:05}"), &number)?;
    }
    Ok(())
}

pub(super) fn snapshot_of_many_pages(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    state.atomic(fill, MANY)?;
    let snapshot = state.snapshot()?;
    assert_eq!(snapshot.len() as u64, MANY);
    for number in 0..MANY {
        assert_eq!(snapshot.get(&format!("{number:05}"))?, Some(number));
    }
    assert_eq!(state.keys(..)?, snapshot.keys().collect::<Vec<_>>());
    Ok(())
}

/// Moves one token along the keys, back and forth over the pages' ends: there is always exactly
/// one, and the keys' total never changes.
fn shift(txn: &mut zproc::Txn<'_>, (from, to): (String, String)) -> Result<()> {
    assert!(txn.remove(&from)?);
    txn.set(&to, "token")
}

fn shifter(ctx: &Context, rounds: u64) -> Result<()> {
    let state = ctx.state();
    let mut from = "00000t".to_owned();
    for round in 0..rounds {
        let to = format!("{:05}t", (round + 1) * 397 % MANY);
        state.atomic(shift, (from, to.clone()))?;
        from = to;
    }
    Ok(())
}

pub(super) fn snapshot_while_others_write(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    state.atomic(fill, MANY)?;
    state.set("00000t", "token")?;
    let process = ctx.spawn(shifter, 40)?;
    let mut last = Revision::ZERO;
    for _ in 0..6 {
        let snapshot = state.snapshot()?;
        let tokens: Vec<_> = snapshot.keys().filter(|key| key.ends_with('t')).collect();
        assert_eq!(tokens.len(), 1, "{tokens:?} at {}", snapshot.revision());
        assert_eq!(snapshot.len() as u64, MANY + 1);
        assert_eq!(state.keys(..)?.len() as u64, MANY + 1);
        assert!(snapshot.revision() >= last);
        last = snapshot.revision();
    }
    process.join()?
}

pub(super) fn keys_of_prefixes_and_ranges(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    let keys = ["", "a", "a/", "a/1", "a/2", "a/\u{10ffff}", "a0", "b", "ä"];
    state.extend(keys.map(|key| (key, key.len())))?;
    assert_eq!(state.keys(..)?, keys);
    assert_eq!(state.keys("a/")?, keys[2..6]);
    assert_eq!(state.keys("a/1".."b")?, keys[3..7]);
    assert_eq!(state.keys("a/1"..="b")?, keys[3..8]);
    assert_eq!(state.keys(.."a/")?, keys[..2]);
    assert_eq!(state.keys("b"..)?, keys[7..]);
    assert!(state.keys("b".."a")?.is_empty());
    assert!(state.keys("c")?.is_empty());
    let found = state.atomic(
        |txn: &mut zproc::Txn<'_>, ()| {
            txn.set("a/3", &0)?;
            let entries: Vec<(String, usize)> = txn.iter("a/2".."a0").collect::<Result<_>>()?;
            Ok((entries, txn.keys("a0"..)?))
        },
        (),
    )?;
    let entries = ["a/2", "a/3", "a/\u{10ffff}"].map(|key| (key.to_owned(), key.len()));
    assert_eq!(found.0[0], entries[0]);
    assert_eq!(found.0[1], ("a/3".to_owned(), 0));
    assert_eq!(found.0[2], entries[2]);
    assert_eq!(found.1, keys[6..]);
    Ok(())
}

pub(super) fn iter_reads_page_by_page(ctx: &Context) -> Result<()> {
    let state = ctx.state();
    state.atomic(fill, MANY)?;
    let mut entries = state.iter::<u64>("00010"..);
    for number in 10..20 {
        let entry = entries.next().expect("there are more")?;
        assert_eq!(entry, (format!("{number:05}"), number));
    }
    let first = entries.revision();
    // What is changed behind the page that was read is seen with the page that holds it.
    state.set("01200", "text")?;
    state.remove("01201")?;
    let rest: Vec<_> = entries.by_ref().collect();
    assert_eq!(rest.len() as u64, MANY - 21);
    let wrong = rest.iter().filter_map(|entry| entry.as_ref().err());
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.len() == 1 && wrong[0].is_wrong_type(), "{wrong:?}");
    assert!(entries.revision() > first);
    assert!(entries.next().is_none());
    assert_eq!(state.iter::<u64>("x").count(), 0);
    Ok(())
}

pub(super) fn handles_are_clones(ctx: &Context) -> Result<()> {
    fn shareable<T: Clone + Send + Sync + 'static>(_: &T) {}
    let state = ctx.state();
    shareable(ctx);
    shareable(&state);
    state.clone().set("k", &1)?;
    assert_eq!(ctx.clone().state().get("k")?, Some(1));
    assert_eq!(ctx.process_id(), zproc::ProcessId::PROGRAM);
    Ok(())
}
