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
    let count = view.keys("w/")?.len() as u64;
    Ok((count >= N || is_done(view)?).then_some(count))
}

/// The whole namespace has `N` keys, or none but the counter.
pub(crate) fn sized<const N: u64>(view: &View<'_>) -> Result<bool> {
    let count = view.len()?;
    Ok(count >= N || is_done(view)?)
}
