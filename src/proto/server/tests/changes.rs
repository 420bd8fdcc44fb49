//! What has changed since a revision, as one update.

use super::*;

/// Asks for the changes of all keys but "not".
fn changed(after: Option<u64>, waits: bool) -> Request<'static> {
    Request::Wait {
        namespace: "n",
        condition: Condition::Changed {
            filter: Filter::AllBut(vec!["not"]),
            after: after.map(Revision),
            skip_own: false,
            waits,
        },
    }
}

/// The connection of a child.
fn another(server: &mut Server, peer: &mut Peer) -> Peer {
    let (process, key) = child(server, peer);
    Peer::connect(server, process, key)
}

/// The answers on this connection: how far they reach, whether there is more, and what they tell.
fn told(server: &mut Server, id: ConnectionId) -> Vec<(u64, bool, String)> {
    let frames = frames(server, id);
    let told = |frame: &Vec<u8>| match codec::decode(frame) {
        Ok(FromServer::Reply { body, .. }) => match codec::decode(body) {
            Ok(Reply::Changed {
                until,
                update,
                more,
                ..
            }) => Some((until.0, more, update.map_or_else(String::new, in_words))),
            _ => None,
        },
        _ => None,
    };
    frames.iter().filter_map(told).collect()
}

fn in_words(update: &[u8]) -> String {
    let update: Update<'_> = codec::decode(update).expect("the server's own update");
    let mut text = update.revision.to_string();
    if update.reset {
        text += " reset";
    }
    for Change { key, before, after } in update.changes {
        let value = |value: Option<&[u8]>| value.map_or(0, |value| value[0]);
        text += &format!(" {key}:{}-{}", value(before), value(after));
    }
    text
}

fn of(until: u64, more: bool, text: &str) -> (u64, bool, String) {
    (until, more, text.to_owned())
}

#[test]
fn what_has_changed_is_told_at_once_and_what_has_not_when_it_does() {
    let mut server = server_with(|_| ());
    let mut peer = Peer::program(&mut server);
    for (key, value) in [("a", 1), ("b", 2), ("a", 3), ("not", 4)] {
        peer.set(&mut server, key, value);
    }
    peer.ask(&mut server, changed(Some(0), true));
    assert_eq!(told(&mut server, peer.id), [of(4, false, "r3 a:0-3 b:0-2")]);
    peer.ask(&mut server, changed(Some(1), true));
    assert_eq!(told(&mut server, peer.id), [of(4, false, "r3 a:1-3 b:0-2")]);
    // There is none; who does not wait is told so.
    peer.ask(&mut server, changed(Some(3), false));
    assert_eq!(told(&mut server, peer.id), [of(4, false, "")]);
    let mut other = another(&mut server, &mut peer);
    other.ask(&mut server, changed(Some(3), true));
    other.ask(&mut server, changed(None, true));
    peer.set(&mut server, "not", 5);
    assert_eq!(told(&mut server, other.id), []);
    peer.set(&mut server, "b", 6);
    let revision = server.store.revision().0;
    let text = format!("r{revision} b:2-6");
    let both = [of(revision, false, &text), of(revision, false, &text)];
    assert_eq!(told(&mut server, other.id), both);
}

#[test]
fn what_is_dropped_while_one_waits_was_none_of_its_own() {
    let mut server = server_with(|config| config.limits.history_entries_max = 2);
    let mut peer = Peer::program(&mut server);
    let mut other = another(&mut server, &mut peer);
    peer.set(&mut server, "a", 1);
    let after = server.store.revision().0;
    other.ask(&mut server, changed(Some(after), true));
    for value in 0..9 {
        peer.set(&mut server, "not", value);
    }
    peer.set(&mut server, "a", 2);
    let revision = server.store.revision().0;
    let one = of(revision, false, &format!("r{revision} a:1-2"));
    assert_eq!(told(&mut server, other.id), [one]);
    // Who asks only now can't know.
    other.ask(&mut server, changed(Some(after), true));
    let reset = of(revision, false, &format!("r{revision} reset"));
    assert_eq!(told(&mut server, other.id), [reset]);
}

#[test]
fn a_tick_looks_at_so_much_of_the_log_only() {
    let mut server = server_with(|config| config.limits.log_entries_per_tick_max = 3);
    let mut peer = Peer::program(&mut server);
    for (key, value) in [("a", 1), ("a", 2), ("not", 3), ("not", 4), ("a", 5)] {
        peer.set(&mut server, key, value);
    }
    peer.ask(&mut server, changed(Some(0), true));
    assert_eq!(told(&mut server, peer.id), [of(3, true, "r2 a:0-2")]);
    peer.ask(&mut server, changed(Some(3), false));
    assert_eq!(told(&mut server, peer.id), [of(5, false, "r5 a:2-5")]);
    // Nothing found so far is no reason to wait.
    peer.set(&mut server, "not", 6);
    peer.ask(&mut server, changed(Some(2), true));
    assert_eq!(told(&mut server, peer.id), [of(5, true, "r5 a:2-5")]);
}

#[test]
fn one_answer_is_no_larger_than_a_change_set() {
    let mut server = server_with(|config| {
        config.limits.change_set_changes_max = 2;
        config.limits.owned_keys_max = 2;
    });
    let mut peer = Peer::program(&mut server);
    for (key, value) in [("a", 1), ("b", 2), ("c", 3)] {
        peer.set(&mut server, key, value);
    }
    peer.ask(&mut server, changed(Some(0), true));
    assert_eq!(told(&mut server, peer.id), [of(2, true, "r2 a:0-1 b:0-2")]);
}
