//! What is done for one client at a time, counted, where it asks for as much as it can.

use super::*;
use crate::proto::limits::Limits;

/// The invariants of all of it are checked at each step.
const MANY: usize = 3_000;

/// Writes many entries, each in a revision of its own.
fn fill(server: &mut Server, peer: &mut Peer) {
    for number in 0..MANY {
        let key = format!("{number:06}");
        let set = Request::Set {
            namespace: "many",
            key: &key,
            value: &[1],
            owned: false,
        };
        peer.ask(server, set);
        if number % 100 == 0 {
            frames(server, peer.id);
            let acks = (1..=peer.seq).map(Seq).collect();
            say(server, peer.id, &FromClient::Ack { acks });
        }
    }
    frames(server, peer.id);
}

fn large(limits: &mut Limits) {
    limits.history_entries_max = 2 * MANY;
    limits.history_bytes_max *= 4;
}

/// The cost of a page is that of its entries, wherever it is in the scan.
#[test]
fn a_scan_comes_in_pages() {
    let mut server = server_with(|config| large(&mut config.limits));
    let mut peer = Peer::program(&mut server);
    fill(&mut server, &mut peer);
    let mut after: Option<String> = None;
    let (mut pages, mut seen) = (0, 0);
    loop {
        let page = Request::Page {
            namespace: "many",
            span: Span::default(),
            after: after.as_deref(),
            values: true,
            at: None,
        };
        let mut next = None;
        peer.call(&mut server, page, |reply| match reply {
            Reply::Page { entries, more, .. } => {
                assert!(entries.len() <= Limits::USUAL.page_entries_max);
                seen += entries.len();
                next = more.map(str::to_owned);
            }
            other => panic!("no page: {other:?}"),
        });
        pages += 1;
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(
        (seen, pages),
        (MANY, MANY.div_ceil(Limits::USUAL.page_entries_max))
    );
}

fn count_updates(mut frames: &[u8]) -> usize {
    let mut count = 0;
    while let Ok(Some((payload, length))) = frame::split(frames) {
        let message = codec::decode(payload).expect("the server's own message");
        count += usize::from(matches!(message, FromServer::Update { .. }));
        frames = &frames[length..];
    }
    count
}

/// A watcher that is far behind gets no more in a turn than its share, and others are answered in
/// each.
#[test]
fn a_watcher_that_is_far_behind_keeps_nobody_waiting() {
    let mut server = server_with(|config| large(&mut config.limits));
    let mut program = Peer::program(&mut server);
    fill(&mut server, &mut program);
    let (process, key) = child(&mut server, &mut program);
    let mut laggard = Peer::connect(&mut server, process, key);
    let body = Request::Watch {
        watch: WatchId(1),
        namespace: "many",
        filter: Filter::All,
        from: Some(Revision(1)),
        credit: 1 << 40,
        feeds: None,
    };
    laggard.ask(&mut server, body);
    let limits = server.config.limits;
    let (mut updates, mut turns) = (0, 0);
    while updates < MANY {
        turns += 1;
        let queued = server.outbox(laggard.id).to_vec();
        assert!(queued.len() <= limits.updates_queued_bytes_max + 1024);
        let come = count_updates(&queued);
        assert!(
            come <= limits.log_entries_per_tick_max,
            "{come} in one turn"
        );
        updates += come;
        server.sent(laggard.id, queued.len(), Time(turns));
        program.set(&mut server, "k", 1);
        server.tick(Time(turns));
    }
    assert!(turns as usize >= MANY / limits.log_entries_per_turn_max / 16);
}

/// Trigger: very many who watch everything, and one set of a large value. Harm: it was copied for all of
/// them in one turn of the server, for seconds, since an update of megabytes counted as one entry. Fix:
/// it counts by what of it is looked at and sent.
#[test]
fn a_large_update_comes_to_many_watchers_over_several_turns() {
    const WATCHERS: usize = 40;
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    let mut watchers: Vec<Peer> = (0..WATCHERS)
        .map(|_| {
            let (process, key) = child(&mut server, &mut program);
            let mut watcher = Peer::connect(&mut server, process, key);
            watcher.watch(&mut server, Filter::All, None);
            frames(&mut server, watcher.id);
            watcher
        })
        .collect();
    let value = hostile::blob(server.config.limits.value_bytes_max);
    let set = Request::Set {
        namespace: "n",
        key: "k",
        value: &value,
        owned: false,
    };
    program.ask(&mut server, set);
    let mut told = Vec::new();
    let mut reached = 0;
    while reached < WATCHERS {
        let mut come = 0;
        for watcher in &mut watchers {
            come += watcher.updates(&mut server).0.len();
        }
        assert!(come > 0, "somebody gets it in each turn");
        reached += come;
        told.push(come);
        if reached < WATCHERS {
            assert_eq!(server.deadline(), Some(Time(0)), "there is more to do");
            server.tick(Time(2));
        }
    }
    // A tick is worth 4096 entries, and 1 MiB counts as 256 of them.
    assert_eq!(told, [16, 16, 8]);
}

/// An entry of many changes is looked through as slowly as many entries.
#[test]
fn a_laggard_looks_through_few_large_entries_in_a_turn() {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    let (process, key) = child(&mut server, &mut program);
    let mut laggard = Peer::connect(&mut server, process, key);
    let begin = server.store.revision().next();
    let keys: Vec<String> = (0..4096).map(|number| format!("{number:04}")).collect();
    for value in 0..8 {
        let set = |key| Operation::Set {
            key,
            value: std::slice::from_ref(&value),
            owned: false,
        };
        let batch = Request::Batch {
            namespace: "n",
            operations: keys.iter().map(|key| set(&**key)).collect(),
        };
        program.ask(&mut server, batch);
        frames(&mut server, program.id);
    }
    laggard.watch(&mut server, Filter::Key("absent"), Some(begin));
    let place = |server: &Server| {
        let watches = server.sessions.values().flat_map(|s| s.watches.values());
        watches.filter_map(|cursor| cursor.next).next()
    };
    let mut turns = 1;
    while place(&server).is_some() {
        turns += 1;
        server.tick(Time(2));
    }
    // Each entry is worth 256, which is a turn of one session.
    assert!(turns >= 8, "{turns}");
}

/// Trigger: one frame after the other that asks for a picture of the tree. Harm: as many were drawn in one
/// turn as there may be frames, each of thousands of processes. Fix: a picture ends the turn.
#[test]
fn a_picture_of_the_tree_ends_the_turn_of_who_asks() {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    let mut input = Vec::new();
    for body in [Request::Ping, Request::Dump, Request::Dump, Request::Ping] {
        program.seq += 1;
        let (seq, acks) = (Seq(program.seq), Vec::new());
        frame::append(&FromClient::Request { seq, acks, body }, &mut input);
    }
    let mut rest = &input[..];
    let mut replies = Vec::new();
    while !rest.is_empty() {
        let received = server.receive(program.id, rest, Time(1));
        assert_eq!(received.more, received.consumed < rest.len());
        rest = &rest[received.consumed..];
        replies.push(frames(&mut server, program.id).len());
    }
    assert_eq!(replies, [2, 1, 1]);
}
