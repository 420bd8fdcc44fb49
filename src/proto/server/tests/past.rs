//! The past, read from the log, against copies of the state that were kept.

use super::*;
use crate::proto::operations::{Operation, Span};
use proptest::prelude::*;
use std::collections::BTreeMap;

type Copy = BTreeMap<String, u8>;

/// What one step does, to a few keys.
#[derive(Debug, Clone)]
enum Step {
    Set(u8, u8),
    Remove(u8),
    /// Some keys at once.
    Batch(Vec<(u8, Option<u8>)>),
    Clear,
    Elsewhere,
}

fn key(number: u8) -> String {
    ["a", "b/1", "b/2", "b/3", "c"][usize::from(number) % 5].to_owned()
}

fn step() -> impl Strategy<Value = Step> {
    let changes = prop::collection::vec((0..5_u8, prop::option::of(0..100_u8)), 1..4);
    prop_oneof![
        4 => (0..5_u8, 0..100_u8).prop_map(|(key, value)| Step::Set(key, value)),
        3 => (0..5_u8).prop_map(Step::Remove),
        2 => changes.prop_map(Step::Batch),
        1 => Just(Step::Clear),
        1 => Just(Step::Elsewhere),
    ]
}

fn write(server: &mut Server, peer: &mut Peer, step: &Step) {
    let namespace = "n";
    let set = |namespace, key, value| Request::Set {
        namespace,
        key,
        value,
        owned: false,
    };
    let body = match step {
        Step::Set(number, value) => {
            peer.ask(server, set("n", &key(*number), &[*value]));
            None
        }
        Step::Remove(number) => {
            let key = &key(*number);
            peer.ask(server, Request::Remove { namespace, key });
            None
        }
        Step::Batch(changes) => {
            let changes: Vec<_> = changes
                .iter()
                .map(|(k, v)| (key(*k), v.map(|v| [v])))
                .collect();
            let operations = changes.iter().map(|(key, value)| match value {
                Some(value) => Operation::Set {
                    key,
                    value,
                    owned: false,
                },
                None => Operation::Remove { key },
            });
            let operations = operations.collect();
            peer.ask(
                server,
                Request::Batch {
                    namespace,
                    operations,
                },
            );
            None
        }
        Step::Clear => Some(Request::Clear { namespace }),
        Step::Elsewhere => Some(set("m", "k", &[1])),
    };
    if let Some(body) = body {
        peer.ask(server, body);
    }
    frames(server, peer.id);
}

/// What the state holds.
fn copy(server: &Server) -> Copy {
    let entries = server.store.entries("n", "", None);
    entries
        .map(|(key, value)| (key.to_string(), value[0]))
        .collect()
}

/// All of the past, page by page; none if it is told to be compacted.
fn read(server: &mut Server, peer: &mut Peer, span: Span<'_>, at: Revision) -> Option<Copy> {
    let mut read = Copy::new();
    let mut after: Option<String> = None;
    loop {
        let body = Request::Page {
            namespace: "n",
            span,
            after: after.as_deref(),
            values: true,
            at: Some(at),
        };
        let mut next = None;
        peer.call(server, body, |reply| {
            let Reply::Page {
                revision,
                entries,
                more,
            } = reply
            else {
                assert!(matches!(reply, Reply::Compacted { oldest } if oldest > at));
                return;
            };
            assert_eq!(revision, at);
            assert!(more.is_none_or(|more| Some(more) > after.as_deref()));
            let entries = entries.into_iter();
            read.extend(entries.map(|(key, value)| (key.to_owned(), value[0])));
            next = Some(more.map(str::to_owned));
        });
        match next? {
            Some(more) => after = Some(more),
            None => return Some(read),
        }
    }
}

fn one(server: &mut Server, peer: &mut Peer, key: &str, at: Revision) -> Option<u8> {
    let (namespace, at) = ("n", Some(at));
    let mut found = None;
    peer.call(server, Request::Get { namespace, key, at }, |reply| {
        let Reply::Value { value, .. } = reply else {
            panic!("no value: {reply:?}");
        };
        found = value.map(|value| value[0]);
    });
    found
}

fn len(server: &mut Server, peer: &mut Peer, at: Revision) -> u64 {
    let (namespace, at) = ("n", Some(at));
    let mut len = 0;
    peer.call(server, Request::Len { namespace, at }, |reply| {
        let Reply::Count { count, .. } = reply else {
            panic!("no count: {reply:?}");
        };
        len = count;
    });
    len
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_past_is_as_it_was(
        steps in prop::collection::vec(step(), 1..30),
        entries_max in 1..40_usize,
        changes_max in prop_oneof![Just(3_usize), Just(100)],
        per_tick in prop_oneof![Just(1_usize), Just(4096)],
    ) {
        let mut server = server_with(|config| {
            config.limits.history_entries_max = entries_max;
            config.limits.change_set_changes_max = changes_max;
            config.limits.owned_keys_max = changes_max;
            config.limits.log_entries_per_tick_max = per_tick;
        });
        let mut peer = Peer::program(&mut server);
        let mut copies = BTreeMap::from([(Revision::ZERO, copy(&server))]);
        for step in &steps {
            write(&mut server, &mut peer, step);
            copies.insert(server.store.revision(), copy(&server));
        }
        let oldest = server.log("n").readable_from("n");
        prop_assert!(oldest <= server.store.revision());
        for (at, copy) in copies {
            let all = read(&mut server, &mut peer, Span::default(), at);
            prop_assert_eq!(all.is_some(), at >= oldest, "{} of {}", at, oldest);
            let Some(all) = all else { continue };
            prop_assert_eq!(&all, &copy);
            prop_assert_eq!(len(&mut server, &mut peer, at), copy.len() as u64);
            let span = Span { prefix: "b", from: "b/2", until: Some("b/3") };
            let some = read(&mut server, &mut peer, span, at);
            prop_assert_eq!(some, Some(copy.clone().into_iter().filter(|(key, _)| key == "b/2").collect()));
            for number in 0..5 {
                let key = key(number);
                prop_assert_eq!(one(&mut server, &mut peer, &key, at), copy.get(&key).copied());
            }
        }
    }
}

#[test]
fn what_is_still_to_come_is_told_to_be() {
    let mut server = server_with(|_| ());
    let mut peer = Peer::program(&mut server);
    peer.set(&mut server, "k", 7);
    let (namespace, key, asked) = ("n", "k", Revision(2));
    let at = Some(asked);
    peer.call(&mut server, Request::Get { namespace, key, at }, |reply| {
        let (revision, failure) = (Revision(1), Failure::Future { asked });
        assert_eq!(reply, Reply::Failed { revision, failure });
    });
}
