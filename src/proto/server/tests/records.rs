//! The framework's own records: a namespace like any other to those who read it, with a log of its
//! own.

use super::*;

fn watch_of_records() -> Request<'static> {
    Request::Watch {
        watch: WatchId(1),
        namespace: "",
        filter: Filter::Prefix("process/"),
        from: None,
        credit: CREDIT_BYTES_MIN,
        feeds: None,
    }
}

#[test]
fn a_watch_of_the_records_hears_of_processes_and_of_nothing_else() {
    let mut server = server_with(|_| ());
    let mut program = Peer::program(&mut server);
    program.ask(&mut server, watch_of_records());
    program.set(&mut server, "process/2", 1);
    program.ask(&mut server, spawn_of_f());
    assert_eq!(program.updates(&mut server).0, [2]);
}

#[test]
fn what_users_write_does_not_push_records_out_of_their_log() {
    let mut server = server_with(|config| config.limits.history_entries_max = 2);
    let mut program = Peer::program(&mut server);
    child(&mut server, &mut program);
    for value in 0..5 {
        program.set(&mut server, "k", value);
    }
    let updates = |namespace| Request::Updates {
        namespace,
        filter: Filter::All,
        after: Revision::ZERO,
        until: Revision(6),
    };
    program.call(&mut server, updates(""), |reply| {
        assert!(matches!(&reply, Reply::Updates { updates, .. } if updates.len() == 1));
    });
    program.call(&mut server, updates("n"), |reply| {
        let oldest = Revision(5);
        assert_eq!(reply, Reply::Compacted { oldest });
    });
}
