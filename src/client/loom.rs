//! Every interleaving of threads on one connection: hand-over, wake-up, timeout and drop.
//!
//! Loom reports a lost wake-up as a deadlock, for then nobody is left to run. The model of two
//! threads is searched whole. Those with a third, be it the test that plays server and clock, are
//! bounded by preemptions (switches away from a thread that could have gone on; a thread that
//! blocks costs none), as tightly as their size needs to be done in seconds.

use super::mock::{Mock, config, echo, reply};
use super::{CallError, Connection};
use crate::proto::ids::{Revision, WatchId};
use crate::proto::message::{Condition, Filter, FromClient, FromServer, Reply, Request};
use crate::proto::time::Time;
use loom::thread::{self, JoinHandle};

const WAIT: Request<'static> = Request::Wait {
    namespace: "",
    condition: Condition::Equal {
        key: "",
        value: &[],
    },
};

/// A wait that [`soon`] answers at once.
const SHORT: Request<'static> = Request::Wait {
    namespace: "",
    condition: Condition::Equal {
        key: "soon",
        value: &[],
    },
};

/// As [`echo`], and answers [`SHORT`].
fn soon(message: &FromClient<'_>, to: &mut Vec<u8>) {
    echo(message, to);
    if let FromClient::Request { seq, body, .. } = message
        && *body == SHORT
    {
        let revision = Revision(seq.0);
        reply(*seq, &Reply::Done { revision }, to);
    }
}

/// Runs a model with at most so many preemptions; `None`: every interleaving there is.
fn model(preemptions_max: Option<usize>, run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions_max;
    builder.check(run);
}

fn open(mock: &Mock) -> Connection {
    Connection::open(mock.port(), config()).expect("the mock welcomes")
}

fn call(
    connection: &Connection,
    request: Request<'static>,
    deadline: Option<Time>,
) -> JoinHandle<Result<(), CallError>> {
    let connection = connection.clone();
    thread::spawn(move || connection.call(&request, deadline, is_done))
}

fn is_done(reply: &Reply<'_>) {
    assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
}

#[test]
fn loom_two_calls_at_once() {
    model(None, || {
        let mock = Mock::new(echo);
        let connection = open(&mock);
        let other = call(&connection, Request::Ping, None);
        connection
            .call(&Request::Ping, None, is_done)
            .expect("a reply");
        other.join().expect("no panic").expect("a reply");
    });
}

#[test]
fn loom_three_calls_at_once() {
    model(Some(3), || {
        let mock = Mock::new(echo);
        let connection = open(&mock);
        let others = [
            call(&connection, Request::Ping, None),
            call(&connection, Request::Ping, None),
        ];
        connection
            .call(&Request::Ping, None, is_done)
            .expect("a reply");
        for other in others {
            other.join().expect("no panic").expect("a reply");
        }
    });
}

/// The replies come when they like, so whoever reads has to wake the other or hand the role on.
#[test]
fn loom_hand_over_at_a_reply() {
    model(Some(3), || {
        let mock = Mock::new(echo);
        let connection = open(&mock);
        let waits = [call(&connection, WAIT, None), call(&connection, WAIT, None)];
        mock.until_requests(2);
        mock.push_reply(1);
        mock.push_reply(2);
        for wait in waits {
            wait.join().expect("no panic").expect("a reply");
        }
    });
}

/// One of two waits times out, whichever role it has by then; the other gets its reply.
#[test]
fn loom_hand_over_at_a_timeout() {
    model(Some(4), || {
        let mock = Mock::new(echo);
        let connection = open(&mock);
        let timed = call(&connection, WAIT, Some(Time(5)));
        let other = call(&connection, Request::Ping, None);
        mock.advance(Time(5));
        let result = timed.join().expect("no panic");
        assert!(matches!(result, Err(CallError::TimedOut)), "{result:?}");
        other.join().expect("no panic").expect("a reply");
    });
}

/// The process is asked to end while threads begin to wait: each of them hears it, whoever reads.
#[test]
fn loom_stop_ends_every_wait() {
    model(Some(3), || {
        let mock = Mock::new(echo);
        let connection = open(&mock);
        let waits = [call(&connection, WAIT, None), call(&connection, WAIT, None)];
        mock.stop();
        for wait in waits {
            let result = wait.join().expect("no panic");
            assert!(matches!(result, Err(CallError::Stopped)), "{result:?}");
        }
        // What does not wait for something to come true goes on working.
        connection
            .call(&Request::Ping, None, is_done)
            .expect("a reply");
    });
}

/// The reader is answered and hands the role on while the one it hands it to times out: the third
/// must get it.
#[test]
fn loom_the_role_handed_to_one_that_times_out() {
    model(Some(2), || {
        let mock = Mock::new(echo);
        let connection = open(&mock);
        let timed = call(&connection, WAIT, Some(Time(5)));
        let untimed = call(&connection, WAIT, None);
        mock.until_requests(2);
        mock.advance(Time(5));
        connection
            .call(&Request::Ping, None, is_done)
            .expect("a reply");
        let result = timed.join().expect("no panic");
        assert!(matches!(result, Err(CallError::TimedOut)), "{result:?}");
        // Which of the two came first is the scheduler's choice.
        mock.push_reply(1);
        mock.push_reply(2);
        untimed.join().expect("no panic").expect("a reply");
    });
}

/// There is a place for one wait. Who waits for it gets it when the other gives up, whichever of
/// them reads; and what is no wait has room. Harm: a reader that waited for room slept on when another
/// thread made some.
#[test]
fn loom_the_place_of_a_wait_is_handed_on() {
    model(Some(2), || {
        let mock = Mock::new(soon);
        let mut config = config();
        config.in_flight_max = 2;
        let connection = Connection::open(mock.port(), config).expect("the mock welcomes");
        let timed = call(&connection, WAIT, Some(Time(5)));
        let short = call(&connection, SHORT, None);
        connection
            .call(&Request::Ping, None, is_done)
            .expect("a reply");
        mock.advance(Time(5));
        let result = timed.join().expect("no panic");
        assert!(matches!(result, Err(CallError::TimedOut)), "{result:?}");
        short.join().expect("no panic").expect("a reply");
    });
}

#[test]
fn loom_close_ends_calls_under_way() {
    model(Some(4), || {
        let mock = Mock::new(echo);
        let connection = open(&mock);
        let waits = [call(&connection, WAIT, None), call(&connection, WAIT, None)];
        connection.close();
        for wait in waits {
            let result = wait.join().expect("no panic");
            assert!(matches!(result, Err(CallError::Closed)), "{result:?}");
        }
        assert_eq!(mock.with(|world| world.link), None, "the link is closed");
    });
}

/// A watch is dropped by one thread while another waits on it and a third calls.
#[test]
fn loom_unwatch_beside_its_waiter() {
    model(Some(4), || {
        let mock = Mock::new(echo);
        let connection = open(&mock);
        let (watch, _) = connection
            .watch("", Filter::All, None, None, None)
            .expect("a watch");
        let waiter = connection.clone();
        let waiter = thread::spawn(move || waiter.next_update(watch, None, |_| ()));
        let other = call(&connection, Request::Ping, None);
        connection.unwatch(watch);
        let result = waiter.join().expect("no panic");
        assert!(matches!(result, Err(CallError::Closed)), "{result:?}");
        other.join().expect("no panic").expect("a reply");
    });
}

#[test]
fn loom_an_update_reaches_its_waiter() {
    model(Some(4), || {
        let mock = Mock::new(echo);
        let connection = open(&mock);
        let (watch, _) = connection
            .watch("", Filter::All, None, None, None)
            .expect("a watch");
        let waiter = connection.clone();
        let waiter = thread::spawn(move || {
            waiter.next_update(watch, None, |update| {
                assert_eq!(update.revision, Revision(3));
            })
        });
        let other = call(&connection, Request::Ping, None);
        push_update(&mock, watch);
        waiter.join().expect("no panic").expect("an update");
        other.join().expect("no panic").expect("a reply");
    });
}

fn push_update(mock: &Mock, watch: WatchId) {
    let body = super::mock::update(3, 1);
    mock.push(&FromServer::Update { watch, body: &body });
}

/// A write finds no room; whoever reads, then or later, sends the rest when there is some.
#[test]
fn loom_a_blocked_write_is_the_readers() {
    model(Some(4), || {
        let mock = Mock::new(echo);
        let connection = open(&mock);
        let first = call(&connection, Request::Ping, None);
        mock.give_room(3);
        let second = call(&connection, Request::Ping, None);
        mock.give_room(usize::MAX);
        first.join().expect("no panic").expect("a reply");
        second.join().expect("no panic").expect("a reply");
    });
}

/// The connection is lost under two calls: one of them comes back for both.
#[test]
fn loom_a_cut_under_two_calls() {
    model(Some(4), || {
        let mock = Mock::new(echo);
        let connection = open(&mock);
        let other = call(&connection, Request::Ping, None);
        mock.cut();
        connection
            .call(&Request::Ping, None, is_done)
            .expect("a reply");
        other.join().expect("no panic").expect("a reply");
    });
}

/// What one thread finds malformed ends the call of the other too.
#[test]
fn loom_garbage_reaches_everybody() {
    model(Some(4), || {
        let mock = Mock::new(echo);
        let connection = open(&mock);
        let waits = [call(&connection, WAIT, None), call(&connection, WAIT, None)];
        mock.push_bytes(&[1, 0, 0, 0, 255]);
        for wait in waits {
            let result = wait.join().expect("no panic");
            assert!(matches!(result, Err(CallError::Protocol(_))), "{result:?}");
        }
    });
}

/// The server is gone: one of the two finds out, both learn it.
#[test]
fn loom_a_lost_server_is_told_to_everybody() {
    model(Some(4), || {
        let mock = Mock::new(echo);
        let connection = open(&mock);
        let waits = [call(&connection, WAIT, None), call(&connection, WAIT, None)];
        mock.with(|world| world.gone = true);
        mock.cut();
        for wait in waits {
            let result = wait.join().expect("no panic");
            assert!(
                matches!(result, Err(CallError::ServerLost(_))),
                "{result:?}"
            );
        }
    });
}
