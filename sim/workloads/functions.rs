//! The functions that the workloads run in the server, and the conditions that they wait for.
//!
//! Each has an independent twin in [`super::models`], found by its name.

use zproc::{Error, Result, Txn, View};

/// Adds to a counter.
pub(crate) fn add(txn: &mut Txn<'_>, (key, by): (String, i64)) -> Result<i64> {
    let value = txn.get::<i64>(&key)?.unwrap_or(0) + by;
    txn.set(&key, &value)?;
    Ok(value)
}

/// Moves an amount between two accounts, if it is there.
pub(crate) fn transfer(
    txn: &mut Txn<'_>,
    (from, to, amount): (String, String, i64),
) -> Result<bool> {
    let there = txn.get::<i64>(&from)?.unwrap_or(0);
    if from == to || there < amount {
        return Ok(false);
    }
    txn.set(&from, &(there - amount))?;
    let sum = txn.get::<i64>(&to)?.unwrap_or(0) + amount;
    txn.set(&to, &sum)?;
    Ok(true)
}

/// Writes first, and fails if that was not allowed.
pub(crate) fn spend(txn: &mut Txn<'_>, (from, to, amount): (String, String, i64)) -> Result<i64> {
    let (left, _) = spent(txn, &from, &to, amount)?;
    if left < 0 {
        return Err(Error::msg("overdrawn"));
    }
    Ok(left)
}

/// Writes first, and panics if that was not allowed.
pub(crate) fn spend_or_panic(
    txn: &mut Txn<'_>,
    (from, to, amount): (String, String, i64),
) -> Result<i64> {
    let (left, _) = spent(txn, &from, &to, amount)?;
    assert!(left >= 0, "overdrawn by {}", -left);
    Ok(left)
}

fn spent(txn: &mut Txn<'_>, from: &str, to: &str, amount: i64) -> Result<(i64, i64)> {
    let left = txn.get::<i64>(from)?.unwrap_or(0) - amount;
    txn.set(from, &left)?;
    let got = txn.get::<i64>(to)?.unwrap_or(0) + amount;
    txn.set(to, &got)?;
    Ok((left, got))
}

/// Removes every key with a prefix; how many there were.
pub(crate) fn purge(txn: &mut Txn<'_>, prefix: String) -> Result<u64> {
    let keys = txn.keys(&prefix)?;
    for key in &keys {
        txn.remove(key)?;
    }
    Ok(keys.len() as u64)
}

/// Fills a namespace with many keys at once.
pub(crate) fn fill(txn: &mut Txn<'_>, (count, value): (u64, i64)) -> Result<u64> {
    for key in 0..count {
        txn.set(&format!("bulk/{key:04}"), &value)?;
    }
    txn.len()
}

/// Writes two keys, which may be the same one.
pub(crate) fn pair(txn: &mut Txn<'_>, (first, second, value): (String, String, i64)) -> Result<()> {
    txn.set(&first, &value)?;
    txn.set(&second, &value)
}

/// Raises a number to another, if it is below that.
pub(crate) fn raise(txn: &mut Txn<'_>, (key, to): (String, i64)) -> Result<()> {
    if txn.get::<i64>(&key)?.unwrap_or(0) < to {
        txn.set(&key, &to)?;
    }
    Ok(())
}

/// Writes one key, and overlooks that another write is refused.
pub(crate) fn botch(txn: &mut Txn<'_>, (key, value): (String, i64)) -> Result<()> {
    txn.set(&key, &value)?;
    let too_long = "k".repeat(2_000);
    txn.set(&too_long, &value).or(Ok(()))
}

/// Writes, and fails.
pub(crate) fn fumble(txn: &mut Txn<'_>, (key, value): (String, i64)) -> Result<()> {
    txn.set(&key, &value)?;
    Err(Error::msg("dropped it"))
}

/// Writes a key, and its shadow in another namespace.
pub(crate) fn shadow(txn: &mut Txn<'_>, (key, value): (String, i64)) -> Result<()> {
    txn.set(&key, &value)?;
    let mut other = txn.namespace(super::OWNED);
    other.set(&format!("{key}~"), &value)
}

/// The sum of all accounts.
pub(crate) fn total(txn: &mut Txn<'_>, (): ()) -> Result<i64> {
    let mut sum = 0;
    for key in txn.keys("a")? {
        sum += txn.get::<i64>(&key)?.unwrap_or(0);
    }
    Ok(sum)
}

/// The key that ends every wait.
pub(crate) const DONE: &str = "done";

fn is_done(view: &View<'_>) -> Result<bool> {
    view.contains_key(DONE)
}

/// A counter has come to `N`.
pub(crate) fn reached<const N: i64>(view: &View<'_>) -> Result<Option<i64>> {
    let value = view.get::<i64>("k0")?.unwrap_or(0);
    Ok((value >= N || is_done(view)?).then_some(value))
}

/// There are `N` keys with a prefix.
pub(crate) fn crowded<const N: u64>(view: &View<'_>) -> Result<Option<u64>> {
    // The same as the prefix, but another kind of read.
    let count = view.keys("w/".."w0")?.len() as u64;
    Ok((count >= N || is_done(view)?).then_some(count))
}

/// There are `N` keys with a prefix; it does not look for the done key.
pub(crate) fn listed<const N: u64>(view: &View<'_>) -> Result<bool> {
    Ok(view.keys("w/")?.len() as u64 >= N)
}

/// There are `N` keys; likewise.
pub(crate) fn counted<const N: u64>(view: &View<'_>) -> Result<bool> {
    Ok(view.len()? >= N)
}

/// The key that another key names has come to `N`: what is read changes from test to test.
pub(crate) fn followed<const N: i64>(view: &View<'_>) -> Result<bool> {
    let which = view.get::<i64>("which")?.unwrap_or(0);
    let value = view.get::<i64>(&format!("f{which}"))?.unwrap_or(0);
    Ok(value >= N)
}

/// The same, where what is named changes for the last time when it all comes true.
pub(crate) fn steered<const N: i64>(view: &View<'_>) -> Result<bool> {
    let helm = view.get::<i64>("helm")?.unwrap_or(0);
    let value = view.get::<i64>(&format!("g{helm}"))?.unwrap_or(0);
    Ok(value >= N)
}

/// Reads more keys than are remembered one by one, and then the one that counts.
pub(crate) fn combed<const N: i64>(view: &View<'_>) -> Result<bool> {
    for number in 0..1_100 {
        view.contains_key(&format!("y{number}"))?;
    }
    Ok(view.get::<i64>("z")?.unwrap_or(0) >= N)
}

/// The whole namespace has `N` keys, or none but the counter.
pub(crate) fn sized<const N: u64>(view: &View<'_>) -> Result<bool> {
    let count = view.len()?;
    Ok(count >= N || is_done(view)?)
}
