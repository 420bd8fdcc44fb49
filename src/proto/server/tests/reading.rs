//! Reads in portions, and what plain requests are answered with.

use super::*;
use crate::proto::interest::Interest;

fn set<'a>(namespace: &'a str, key: &'a str, value: &'a [u8]) -> Request<'a> {
    Request::Set {
        namespace,
        key,
        value,
        owned: false,
    }
}

/// Keys of one page, the bytes of its values, and whether there is more.
fn page(
    server: &mut Server,
    peer: &mut Peer,
    after: Option<&str>,
    values: bool,
) -> (String, usize, bool) {
    let body = Request::Page {
        namespace: "n",
        span: "".into(),
        after,
        values,
        at: None,
    };
    let mut page = None;
    peer.call(server, body, |reply| {
        let Reply::Page { entries, more, .. } = reply else {
            panic!("not a page: {reply:?}");
        };
        let keys: Vec<&str> = entries.iter().map(|(key, _)| *key).collect();
        let bytes = entries.iter().map(|(_, value)| value.len()).sum();
        assert!(more.is_none_or(|more| keys.last() == Some(&more)));
        page = Some((keys.join(" "), bytes, more.is_some()));
    });
    page.expect("it was looked at")
}

/// A server with five entries of five bytes each, two of them the key's.
fn five(configure: impl FnOnce(&mut Limits)) -> (Server, Peer) {
    let mut server = server_with(|config| configure(&mut config.limits));
    let mut peer = Peer::program(&mut server);
    for key in ["k1", "k2", "k3", "k4", "k5"] {
        peer.ask(&mut server, set("n", key, &[0xcd, 1, 0]));
        frames(&mut server, peer.id);
    }
    (server, peer)
}

#[test]
fn a_page_has_so_many_entries_and_says_whether_there_are_more() {
    let (mut server, mut peer) = five(|limits| limits.page_entries_max = 3);
    let mut page = |after, values| page(&mut server, &mut peer, after, values);
    assert_eq!(page(None, true), ("k1 k2 k3".to_owned(), 9, true));
    assert_eq!(page(Some("k3"), true), ("k4 k5".to_owned(), 6, false));
    assert_eq!(page(Some("k2"), false), ("k3 k4 k5".to_owned(), 0, false));
}

#[test]
fn a_page_is_full_when_its_keys_and_values_are_so_many_bytes() {
    let (mut server, mut peer) = five(|limits| limits.page_bytes_max = 11);
    let mut page = |values| page(&mut server, &mut peer, None, values);
    assert_eq!(page(true), ("k1 k2 k3".to_owned(), 9, true));
    assert_eq!(page(false), ("k1 k2 k3 k4 k5".to_owned(), 0, false));
}

/// Revisions of the updates that one request gives, and how far it says they reach; or from where
/// they are held.
fn updates(server: &mut Server, peer: &mut Peer, after: u64, until: u64) -> (Vec<u64>, u64) {
    let body = Request::Updates {
        namespace: "n",
        filter: Filter::All,
        after: Revision(after),
        until: Revision(until),
    };
    let mut told = None;
    peer.call(server, body, |reply| {
        told = Some(match reply {
            Reply::Updates { updates, until, .. } => {
                let decoded = updates.iter().map(|body| codec::decode::<Update<'_>>(body));
                let revision = |update: Result<Update<'_>, _>| update.map(|u| u.revision.0);
                let revisions: Result<Vec<u64>, _> = decoded.map(revision).collect();
                (revisions.expect("the server's own updates"), until.0)
            }
            Reply::Compacted { oldest } => (Vec::new(), oldest.0),
            other => panic!("no updates: {other:?}"),
        });
    });
    told.expect("it was looked at")
}

#[test]
fn updates_from_behind_one_revision_until_another() {
    let (mut server, mut peer) = five(|_| ());
    let mut updates = |after, until| updates(&mut server, &mut peer, after, until);
    assert_eq!(updates(1, 3), (vec![2, 3], 3));
    assert_eq!(updates(3, 9), (vec![4, 5], 9), "it is known so far");
    assert_eq!(updates(5, 5), (vec![], 5));
}

#[test]
fn updates_that_the_log_has_dropped_are_told_to_be_compacted() {
    let (mut server, mut peer) = five(|limits| limits.history_entries_max = 2);
    let mut updates = |after| updates(&mut server, &mut peer, after, 5);
    let (none, oldest) = (vec![], 4);
    assert_eq!(updates(0), (none.clone(), oldest));
    assert_eq!(updates(2), (none, oldest));
    assert_eq!(updates(3), (vec![4, 5], 5), "nothing of it is missing");
}

#[test]
fn updates_come_in_parts_of_so_many_entries_looked_at() {
    let (mut server, mut peer) = five(|limits| limits.log_entries_per_tick_max = 2);
    for number in 0..2 {
        peer.ask(&mut server, set("another", "k", &[number]));
        frames(&mut server, peer.id);
    }
    peer.set(&mut server, "k1", 1);
    let mut updates = |after| updates(&mut server, &mut peer, after, 8);
    assert_eq!(updates(0), (vec![1, 2], 2));
    assert_eq!(updates(2), (vec![3, 4], 4));
    assert_eq!(updates(4), (vec![5], 6));
    assert_eq!(updates(6), (vec![8], 8), "the rest");
}

#[test]
fn updates_come_in_parts_of_so_many_bytes() {
    let all = Interest::Prefix("".into());
    let (server, _) = five(|_| ());
    let sizes = server.history.since(Revision::ZERO);
    let sizes: Vec<usize> = sizes
        .map(|entry| entry.encoded("n", &all).expect("it is of interest").len())
        .collect();
    let size = sizes[0];
    assert!(sizes.iter().all(|other| *other == size));
    let first_part = |bytes_max| {
        let (mut server, mut peer) = five(|limits| limits.page_bytes_max = bytes_max);
        updates(&mut server, &mut peer, 0, 5)
    };
    assert_eq!(first_part(2 * size), (vec![1, 2], 2));
    assert_eq!(first_part(2 * size + 1), (vec![1, 2], 2), "not three");
    assert_eq!(first_part(1), (vec![1], 1), "one at least: it goes on");
}

#[test]
fn a_watch_begins_where_the_log_still_is() {
    let (mut server, mut peer) = five(|limits| limits.history_entries_max = 2);
    let mut begun = |number, from| {
        let body = Request::Watch {
            watch: WatchId(number),
            namespace: "n",
            filter: Filter::All,
            from: Some(Revision(from)),
            credit: CREDIT_BYTES_MIN + 1,
            feeds: None,
        };
        let mut told = None;
        peer.call(&mut server, body, |reply| {
            told = Some(match reply {
                Reply::Watching { next } => Ok(next.0),
                Reply::Compacted { oldest } => Err(oldest.0),
                other => panic!("neither: {other:?}"),
            });
        });
        told.expect("it was looked at")
    };
    assert_eq!(begun(1, 2), Err(4));
    assert_eq!(begun(2, 3), Err(4));
    assert_eq!(begun(3, 4), Ok(4));
}

#[test]
fn a_watch_of_too_little_credit_is_refused() {
    let mut server = server_with(|_| ());
    let mut peer = Peer::program(&mut server);
    let body = Request::Watch {
        watch: WatchId(1),
        namespace: "n",
        filter: Filter::All,
        from: None,
        credit: CREDIT_BYTES_MIN - 1,
        feeds: None,
    };
    peer.call(&mut server, body, |reply| {
        let failure = Failure::Limit {
            limit: "CREDIT_BYTES_MIN",
            actual: CREDIT_BYTES_MIN - 1,
            max: CREDIT_BYTES_MIN,
        };
        let revision = Revision::ZERO;
        assert_eq!(reply, Reply::Failed { revision, failure });
    });
}

#[test]
fn what_plain_requests_are_answered_with() {
    let mut server = server_with(|_| ());
    let mut peer = Peer::program(&mut server);
    let (namespace, key) = ("n", "k");
    let insert = |value| Request::GetOrInsert {
        namespace,
        key,
        value,
    };
    let value = Some(&[1][..]);
    let revision = Revision(1);
    for offered in [&[1], &[2]] {
        peer.call(&mut server, insert(offered), |reply| {
            assert_eq!(reply, Reply::Value { revision, value });
        });
    }
    let before = None;
    peer.call(&mut server, set("n", "k", &[3]), |reply| {
        let revision = Revision(2);
        assert_eq!(reply, Reply::Written { revision, before });
    });
    peer.call(&mut server, Request::Remove { namespace, key }, |reply| {
        let (revision, before) = (Revision(3), Some(&[3][..]));
        assert_eq!(reply, Reply::Written { revision, before });
    });
    child(&mut server, &mut peer);
    peer.call(&mut server, Request::Ping, |reply| {
        let revision = Revision(4);
        assert_eq!(reply, Reply::Done { revision }, "records count too");
    });
}

#[test]
fn without_room_for_replies_reads_and_what_is_answered_in_few_words_are_done() {
    let mut server = server_with(|_| ());
    let mut peer = Peer::program(&mut server);
    let limits = server.config.limits;
    let words = limits.in_flight_max * 128;
    let kept = limits.replies_bytes_max + words - limits.value_bytes_max;
    let session = server.sessions.get_mut(&peer.session).expect("it is there");
    assert_eq!(session.arrive(Seq(1), false), Arrival::New);
    session.retain(Seq(1), vec![0; kept], false);
    peer.seq = 1;
    peer.set(&mut server, "k", 1);
    // The reply to that has taken the last of the room.
    let kept = server.sessions[&peer.session].replies_bytes();
    let (namespace, key) = ("n", "k");
    peer.call(&mut server, Request::Remove { namespace, key }, |reply| {
        let failure = Failure::Limit {
            limit: "REPLIES_BYTES_MAX",
            actual: (kept + limits.value_bytes_max) as u64,
            max: limits.replies_bytes_max as u64,
        };
        let revision = Revision(1);
        assert_eq!(reply, Reply::Failed { revision, failure });
    });
    let at = None;
    peer.call(&mut server, Request::Get { namespace, key, at }, |reply| {
        assert!(matches!(
            reply,
            Reply::Value {
                value: Some(&[1]),
                ..
            }
        ));
    });
    let watch = WatchId(1);
    peer.call(&mut server, Request::Unwatch { watch }, |reply| {
        assert!(matches!(reply, Reply::Done { .. }));
    });
}
