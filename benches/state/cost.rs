//! One operation among few entries and among many, in turns.

use crate::measure::{Options, Work, beside};
use crate::tree::{Tree, fill, key};
use crate::{Failure, amount};
use std::cell::Cell;
use zproc::{Limits, State};

const SIZES: [(&str, usize); 3] = [("1 k", 1_000), ("100 k", 100_000), ("10 M", 10_000_000)];

/// One operation on the entry of this number.
type Operation = fn(&State, usize);

const OPERATIONS: [(&str, Operation); 3] = [
    ("get", |state, number| {
        let value = state.get::<usize>(&key(number)).expect("get");
        assert!(value.is_some());
    }),
    ("set", |state, number| {
        state.set(&key(number), &number).expect("set");
    }),
    ("new and gone", |state, number| {
        let key = format!("{}/new", key(number));
        state.set(&key, &number).expect("set");
        state.remove(&key).expect("remove");
    }),
];

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut limits = Limits::default();
    limits.state_bytes_max = 16 << 30;
    let tree = Tree::start(limits)?;
    let sizes = SIZES.map(|(name, count)| (name, amount(options, count)));
    for (name, count) in sizes {
        fill(&tree.ctx.namespace(name), count)?;
    }
    for (what, operation) in OPERATIONS {
        let names = sizes.map(|(size, _)| format!("{what} {size}"));
        let mut works = sizes.iter().zip(&names).map(|((namespace, count), name)| {
            let state = tree.ctx.namespace(*namespace);
            let (count, number) = (*count, Cell::new(0_usize));
            Work::new(name, move || {
                // Far from the last one, whatever the size.
                let next = number.get().wrapping_mul(6_364_136_223_846_793_005);
                number.set(next.wrapping_add(1_442_695_040_888_963_407));
                operation(&state, (number.get() >> 20) % count);
            })
        });
        let least = works.next().ok_or("there is a least")?;
        beside(options, least, works.collect(), 200, 50);
    }
    Ok(())
}
