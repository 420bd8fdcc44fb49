//! Histories of those who ask what has changed since a revision.

use super::*;

/// What an answer says.
struct Answer<'a> {
    revision: u64,
    until: u64,
    /// The update's revision, and its changes.
    update: Option<(u64, &'a [Change<'a>])>,
    reset: bool,
    more: bool,
}

const fn change(key: &'static str, before: &'static [u8], after: &'static [u8]) -> Change<'static> {
    Change {
        key,
        before: Some(before),
        after: Some(after),
    }
}

/// B writes "k" twice and "l" once; A asks for the changes of "k" after the first.
fn judged(answer: &Answer<'_>, skip_own: bool) -> Vec<&'static str> {
    let mut script = Script::default();
    script.set(B, 1, "k", &[1]);
    for (revision, key, before, after) in [(2, "k", 1, 2), (3, "k", 2, 3), (4, "l", 0, 1)] {
        let before = (before > 0).then_some([before]);
        let call = script.call(B, &set(key, &[after]));
        let before = before.as_ref().map(<[u8; 1]>::as_slice);
        script.commit(revision, B, &[("n", key, before, Some(&[after]))]);
        script.written(B, call, revision);
    }
    let condition = Condition::Changed {
        filter: Filter::Key("k"),
        after: Some(Revision(1)),
        skip_own,
        waits: false,
    };
    let namespace = "n";
    let asker = if skip_own { B } else { A };
    let call = script.call(
        asker,
        &Request::Wait {
            namespace,
            condition,
        },
    );
    let update = answer.update.map(|(revision, changes)| {
        codec::to_bytes(&Update {
            revision: Revision(revision),
            time: Time(0),
            origin: Origin {
                process: B,
                function: None,
                released: None,
            },
            reset: answer.reset,
            changes: changes.to_vec(),
        })
    });
    let reply = Reply::Changed {
        revision: Revision(answer.revision),
        until: Revision(answer.until),
        update: update.as_deref(),
        more: answer.more,
    };
    script.returned(asker, call, &reply);
    script.judged()
}

#[test]
fn changes_are_told_as_the_commits_make_them_together() {
    let right = [change("k", &[1], &[3])];
    let first = [change("k", &[1], &[2])];
    let answer = |update| Answer {
        revision: 4,
        until: 4,
        update,
        reset: false,
        more: false,
    };
    assert_eq!(judged(&answer(Some((3, &right))), false), NONE);
    // Of a part, the same.
    let part = Answer {
        until: 2,
        more: true,
        ..answer(Some((2, &first)))
    };
    assert_eq!(judged(&part, false), NONE);
    // Nothing is right where only the asker has written, and nowhere else.
    assert_eq!(judged(&answer(None), true), NONE);
    assert_eq!(judged(&answer(None), false), [EVERY_UPDATE]);
    let wrong: [&[Change<'_>]; 5] = [
        &[change("k", &[1], &[2])],
        &[change("k", &[2], &[3])],
        &[],
        &[change("l", &[0], &[1])],
        &[change("k", &[1], &[3]), change("l", &[0], &[1])],
    ];
    for changes in wrong {
        let judged = judged(&answer(Some((3, changes))), false);
        assert_eq!(judged, [EVERY_UPDATE], "{changes:?}");
    }
    let late = answer(Some((4, &right)));
    assert_eq!(judged(&late, false), [EVERY_UPDATE]);
}

#[test]
fn an_answer_says_how_far_it_reaches() {
    let right = [change("k", &[1], &[3])];
    for (until, more, broken) in [
        (4, false, vec![]),
        (3, true, vec![]),
        (3, false, vec![EVERY_UPDATE]),
        (4, true, vec![EVERY_UPDATE]),
        (2, true, vec![EVERY_UPDATE]),
    ] {
        let answer = Answer {
            revision: 4,
            until,
            update: Some((3, &right)),
            reset: false,
            more,
        };
        assert_eq!(judged(&answer, false), broken, "{until} {more}");
    }
}

#[test]
fn a_reset_needs_something_that_was_lost() {
    let answer = |revision| Answer {
        revision,
        until: revision,
        update: Some((revision, &[])),
        reset: true,
        more: false,
    };
    assert_eq!(judged(&answer(4), false), NONE);
    // Nothing has happened after the first revision by then.
    let early = judged(&answer(1), false);
    assert!(early.contains(&EVERY_UPDATE), "{early:?}");
}
