//! The state alone, in this process: what an operation costs without a trip to the server.

use crate::measure::Options;
use crate::tree::{self, key};
use crate::{Failure, amount, tell};
use std::hint::black_box;
use zproc::Limits;
use zproc::seam::proto::ids::ProcessId;
use zproc::seam::proto::store::{Rights, Store, StoreError, Transaction};

const SIZES: [(&str, usize); 3] = [("1 k", 1_000), ("100 k", 100_000), ("10 M", 10_000_000)];

/// One operation on a key, which is among the entries.
type Operation = fn(&mut Store, &str, u32);

const OPERATIONS: [(&str, Operation); 4] = [
    ("get", |store, key, _| {
        black_box(store.get("n", key).map(|value| value.len()));
    }),
    ("set", |store, key, number| {
        let mut value = vec![0xce];
        value.extend(number.to_be_bytes());
        write(store, |transaction| transaction.set("n", key, &value));
    }),
    ("new and gone", |store, key, _| {
        let key = format!("{key}/new");
        write(store, |transaction| transaction.set("n", &key, &[1]));
        write(store, |transaction| transaction.remove("n", &key).map(drop));
    }),
    ("page of 512", |store, key, _| {
        let entries = store.entries("n", "", Some(key)).take(512);
        black_box(
            entries
                .map(|(key, value)| key.len() + value.len())
                .sum::<usize>(),
        );
    }),
];

fn write(store: &mut Store, what: impl FnOnce(&mut Transaction<'_>) -> Result<(), StoreError>) {
    let mut transaction = store.transaction(ProcessId::PROGRAM, Rights::User);
    what(&mut transaction).expect("it fits");
    black_box(transaction.commit().expect("it fits"));
}

/// How long this thread has run, in nanoseconds: what others take of the machine is not counted.
fn time_on_core() -> Result<u64, Failure> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let first = told.split_whitespace().next();
    Ok(first.ok_or("its time is told")?.parse()?)
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut least: Vec<f64> = Vec::new();
    for (size, count) in SIZES {
        let count = amount(options, count);
        let mut limits = Limits::default();
        limits.state_bytes_max = 16 << 30;
        let before = tree::bytes(std::process::id())?;
        let mut store = Store::new(limits);
        for number in 0..count {
            let mut value = vec![0xce];
            value.extend((number as u32).to_be_bytes());
            write(&mut store, |transaction| {
                transaction.set("n", &key(number), &value)
            });
        }
        let after = tree::bytes(std::process::id())?;
        if count > 1_000_000 {
            let per_entry = (after - before) as f64 / count as f64;
            tell(
                options,
                "memory of an entry, state alone",
                per_entry,
                "bytes",
                None,
            );
        }
        // Far from each other, whatever the size.
        let mut number = 1_usize;
        let keys: Vec<String> = (0..amount(options, 500_000))
            .map(|_| {
                number = number
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                key((number >> 20) % count)
            })
            .collect();
        for (index, (what, operation)) in OPERATIONS.iter().enumerate() {
            let times = if what.starts_with("page") { 50 } else { 1 };
            let begin = time_on_core()?;
            for (number, key) in keys.iter().step_by(times).enumerate() {
                operation(&mut store, key, number as u32);
            }
            let nanoseconds = time_on_core()?.saturating_sub(begin) as f64;
            let figure = nanoseconds / keys.len().div_ceil(times) as f64;
            if least.len() <= index {
                least.push(figure);
            }
            let name = format!("{what}, state alone, {size}");
            tell(options, &name, figure, "ns", Some(("1 k", least[index])));
        }
    }
    Ok(())
}
