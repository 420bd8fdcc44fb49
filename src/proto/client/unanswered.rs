//! The requests that are under way, in words: a client's part of the picture of who waits for what.

use super::Client;
use crate::proto::codec;
use crate::proto::dump::CallDump;
use crate::proto::frame::PREFIX_BYTES;
use crate::proto::message::{Condition, FromClient, Request, RestOf};

impl Client {
    /// Requests that somebody waits for and that are not answered, in the order of their numbers.
    #[must_use]
    pub fn unanswered(&self) -> Vec<CallDump> {
        let awaited = self.calls.iter().filter(|call| !call.abandoned);
        awaited
            .map(|call| CallDump {
                what: match codec::decode(&call.frame[PREFIX_BYTES..]) {
                    Ok(FromClient::Request { body, .. }) => in_words(&body),
                    _ => "a request".to_owned(),
                },
                request: Some(call.seq.0),
                sent: call.sent,
                waited: None,
            })
            .collect()
    }
}

/// What is asked.
fn in_words(request: &Request<'_>) -> String {
    let on = |what: &str, key: &str, namespace: &str| {
        format!("{what} key {key:?} in namespace {namespace:?}")
    };
    match *request {
        Request::Ping => "ping".to_owned(),
        Request::Get { namespace, key, .. } => on("get", key, namespace),
        Request::Len { namespace, .. } => format!("count keys of namespace {namespace:?}"),
        Request::Page { namespace, .. } => format!("read a page of namespace {namespace:?}"),
        Request::Updates { namespace, .. } => format!("read updates of namespace {namespace:?}"),
        Request::Set { namespace, key, .. } => on("set", key, namespace),
        Request::Remove { namespace, key } => on("remove", key, namespace),
        Request::GetOrInsert { namespace, key, .. } => on("get or insert", key, namespace),
        Request::Clear { namespace } => format!("clear namespace {namespace:?}"),
        Request::Batch {
            namespace,
            ref operations,
        } => {
            let count = operations.len();
            format!("do {count} operations on namespace {namespace:?}")
        }
        Request::Commit { function, .. } => format!("commit {function}"),
        Request::Lease { function, .. } => format!("have a turn for transaction {function}"),
        Request::Atomic {
            namespace,
            function,
            ..
        } => format!("run {} on namespace {namespace:?}", function.name),
        Request::Wait {
            namespace,
            ref condition,
        } => match *condition {
            Condition::Function { function, .. } => {
                format!("wait until {} in namespace {namespace:?}", function.name)
            }
            Condition::Equal { key, .. } => on("wait for a value of", key, namespace),
            Condition::Key { key, .. } => on("wait for a change of", key, namespace),
            Condition::Changed { .. } => format!("wait for a change in namespace {namespace:?}"),
            Condition::Ended { process } => format!("join process {}", process.0),
        },
        Request::Watch { namespace, .. } => format!("begin a watch of namespace {namespace:?}"),
        Request::Unwatch { .. } => "end a watch".to_owned(),
        Request::Spawn { function, .. } => format!("spawn {}", function.name),
        Request::Begin => "ask what to run".to_owned(),
        Request::Finish { .. } => "say what came of it".to_owned(),
        Request::Stop { process, .. } => format!("stop process {process}"),
        Request::Kill { process } => format!("kill process {process}"),
        Request::ToRoot { process } => format!("move process {process} to the root"),
        Request::Part { from, size, .. } => format!("send a part, from {from} of {size} bytes"),
        Request::Fetch { rest, from } => match rest {
            RestOf::Argument => format!("fetch its argument from byte {from}"),
            RestOf::Result { process } => format!("fetch the result of {process} from byte {from}"),
        },
        Request::Forget { process } => format!("forget the result of {process}"),
        Request::Lock { name, .. } => format!("take lock {name:?}"),
        Request::Unlock { name, .. } => format!("give lock {name:?} back"),
        Request::Dump => "ask who waits for what".to_owned(),
    }
}
