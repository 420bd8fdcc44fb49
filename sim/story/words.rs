//! How messages, commits and ends read.

use super::operations;
use crate::history::Committed;
use zproc::seam::proto::codec;
use zproc::seam::proto::ids::{PartsId, Revision, Seq, WatchId};
use zproc::seam::proto::message::{
    Change, Condition, End, Failure, Filter, Finish, FromClient, FromServer, FunctionRef, Refusal,
    Reply, Request, RestOf, Update,
};
use zproc::seam::proto::server::Record;
use zproc::seam::proto::signal::Signal;
use zproc::seam::proto::value::show;

/// A value among others is cut to this many characters.
const VALUE_CHARS: usize = 60;
/// So is what a message says in all.
const TEXT_CHARS: usize = 400;
/// So many keys of a commit or a page are listed.
pub(super) const LISTED: usize = 8;

/// What a message says, and the request that it is or answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) seq: Option<u64>,
    pub(crate) text: String,
    /// What a process is told to run.
    pub(crate) role: Option<String>,
}

impl Said {
    fn new(seq: Option<u64>, text: impl Into<String>) -> Said {
        Said {
            seq,
            text: cut(text.into()),
            role: None,
        }
    }
}

/// One line of bounded length, whatever the text holds: a key may be full of control characters.
pub(crate) fn cut(mut text: String) -> String {
    if text.contains(char::is_control) {
        let escaped = |c: char| match c {
            c if c.is_control() => c.escape_default().to_string(),
            c => c.to_string(),
        };
        text = text.chars().take(TEXT_CHARS + 1).map(escaped).collect();
    }
    if let Some((end, _)) = text.char_indices().nth(TEXT_CHARS) {
        text.truncate(end);
        text.push_str("...");
    }
    text
}

/// A payload from a client.
pub(crate) fn from_client(payload: &[u8]) -> Said {
    let message = match codec::decode::<FromClient<'_>>(payload) {
        Ok(message) => message,
        Err(error) => return Said::new(None, format!("malformed: {error}")),
    };
    match message {
        FromClient::Request { seq, body, .. } => Said::new(Some(seq.0), request(&body)),
        FromClient::Hello(hello) => Said::new(
            None,
            match hello.resume {
                None => "hello".to_owned(),
                Some(resume) => format!("hello again, session {}", resume.session.0),
            },
        ),
        FromClient::Ack { acks } => {
            let acks: Vec<String> = acks.iter().map(|Seq(seq)| seq.to_string()).collect();
            Said::new(None, format!("has got {}", acks.join(", ")))
        }
        FromClient::Cancel { seq } => Said::new(Some(seq.0), "is waited for no more"),
        FromClient::Credit {
            watch: WatchId(watch),
            granted,
        } => Said::new(
            None,
            format!("watch {watch} may send up to {granted} bytes in all"),
        ),
        FromClient::Keeper(hello) => Said::new(None, format!("hello of {}'s keeper", hello.name)),
        FromClient::Goodbye => Said::new(None, "goodbye"),
    }
}

/// A payload from the server.
pub(crate) fn from_server(payload: &[u8]) -> Said {
    let message = match codec::decode::<FromServer<'_>>(payload) {
        Ok(message) => message,
        Err(error) => return Said::new(None, format!("malformed: {error}")),
    };
    match message {
        FromServer::Reply { seq, body } => match codec::decode::<Reply<'_>>(body) {
            Ok(body) => {
                let mut said = Said::new(Some(seq.0), reply(&body));
                if let Reply::Task { function, args, .. } = body {
                    said.role = Some(call(function, args));
                }
                said
            }
            Err(error) => Said::new(Some(seq.0), format!("malformed: {error}")),
        },
        FromServer::Update {
            watch: WatchId(watch),
            body,
        } => match codec::decode::<Update<'_>>(body) {
            Ok(body) => Said::new(None, format!("watch {watch}: {}", update(&body))),
            Err(error) => Said::new(None, format!("watch {watch}: malformed: {error}")),
        },
        FromServer::WatchCompacted {
            watch: WatchId(watch),
            oldest,
        } => Said::new(
            None,
            format!(
                "watch {watch} ends: the oldest revision held is {}",
                oldest.0
            ),
        ),
        FromServer::Welcome {
            session, resumed, ..
        } => {
            let back = if resumed { " back" } else { "" };
            Said::new(None, format!("welcome{back}, session {}", session.0))
        }
        FromServer::Refused { refusal } => Said::new(None, refused(refusal)),
        FromServer::Adopted { process, .. } => Said::new(None, format!("is process {process}")),
    }
}

fn refused(refusal: Refusal<'_>) -> String {
    let why = match refusal {
        Refusal::Version { server, .. } => format!("the server speaks version {server}"),
        Refusal::Build => "another build".to_owned(),
        Refusal::Credentials => "unknown, or the wrong key".to_owned(),
        Refusal::SessionUnknown => "there is no such session".to_owned(),
        Refusal::Limit { limit } => format!("the limit {limit}"),
        Refusal::Protocol { what } => format!("against the protocol: {what}"),
        Refusal::Late => "the hello came too late".to_owned(),
        Refusal::Ended => "the process has ended".to_owned(),
        Refusal::Private => "the server is of one program".to_owned(),
    };
    format!("refused: {why}")
}

/// `namespace/key`; the framework's own namespace has no name.
pub(super) fn place(namespace: &str, key: &str) -> String {
    if namespace.is_empty() {
        key.to_owned()
    } else {
        format!("{namespace}/{key}")
    }
}

pub(super) fn value(bytes: &[u8]) -> String {
    show(bytes, VALUE_CHARS)
}

pub(super) fn optional(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(|| "none".to_owned(), value)
}

fn call(function: FunctionRef<'_>, args: &[u8]) -> String {
    const NIL: [u8; 1] = [0xc0];
    let name = short_name(function.name);
    if args == NIL {
        format!("{name}()")
    } else {
        format!("{name}({})", value(args))
    }
}

/// A type's name without the paths of modules.
pub(crate) fn short_name(name: &str) -> String {
    let mut short = String::new();
    let mut rest = name;
    while !rest.is_empty() {
        let is_path = |c: char| c.is_alphanumeric() || "_:{}#".contains(c);
        let end = rest.find(|c| !is_path(c)).unwrap_or(rest.len());
        let (path, behind) = rest.split_at(end);
        // A closure has no name but its function's.
        let from = match path.strip_suffix("::{{closure}}") {
            Some(outer) => outer.rfind("::"),
            None => path.rfind("::"),
        };
        short.push_str(from.map_or(path, |from| &path[from + 2..]));
        let next = behind.find(is_path).unwrap_or(behind.len());
        short.push_str(&behind[..next]);
        rest = &behind[next..];
    }
    short
}

/// What is asked, without its number.
pub(crate) fn request(request: &Request<'_>) -> String {
    match request {
        Request::Ping => "ping".to_owned(),
        Request::Get { namespace, key, at } => {
            format!("get {}{}", place(namespace, key), of_past(*at))
        }
        Request::Len { namespace, at } => format!("len of {namespace}{}", of_past(*at)),
        Request::Page {
            namespace,
            span,
            after,
            values,
            at,
        } => {
            let place = place(namespace, &operations::spanned(span));
            let what = if *values { "entries" } else { "keys" };
            format!("{what} {place}{}{}", behind(*after), of_past(*at))
        }
        Request::Updates {
            namespace,
            filter,
            after: Revision(after),
            until: Revision(until),
        } => {
            let filtered = filtered(namespace, filter);
            format!("updates of {filtered} after revision {after} until {until}")
        }
        Request::Set {
            namespace,
            key,
            value: bytes,
            owned,
        } => {
            let owned = if *owned { " (owned)" } else { "" };
            format!("set {} = {}{owned}", place(namespace, key), value(bytes))
        }
        Request::Remove { namespace, key } => format!("remove {}", place(namespace, key)),
        Request::GetOrInsert {
            namespace,
            key,
            value: bytes,
        } => {
            let place = place(namespace, key);
            format!("get {place}, or insert {}", value(bytes))
        }
        Request::Clear { namespace } => format!("clear {namespace}"),
        Request::Batch {
            namespace,
            operations: all,
        } => operations::batch(namespace, all),
        Request::Commit {
            function,
            at,
            parts,
            ..
        } => operations::commit(function, *at, parts),
        Request::Lease { on, .. } => operations::lease(on),
        Request::Atomic {
            namespace,
            function,
            args,
        } => format!("atomic {} on {namespace}", call(*function, args)),
        Request::Wait {
            namespace,
            condition,
        } => wait(namespace, condition),
        Request::Watch {
            watch: WatchId(watch),
            namespace,
            filter,
            from,
            ..
        } => {
            let filtered = filtered(namespace, filter);
            format!("watch {watch}: {filtered} from {} on", start(*from))
        }
        Request::Unwatch {
            watch: WatchId(watch),
        } => format!("unwatch {watch}"),
        Request::Spawn {
            function,
            args,
            rest,
            ..
        } => format!("spawn {}{}", call(*function, args), goes_on(rest.is_some())),
        Request::Dump => "dump".to_owned(),
        Request::Begin => "begin: what is to be run?".to_owned(),
        Request::Stop { process, .. } => format!("stop {process}"),
        Request::Kill { process } => format!("kill {process}"),
        Request::ToRoot { process } => format!("move {process} to the root"),
        Request::Finish { finish, rest } => {
            format!("finish: {}{}", finished(finish), goes_on(rest.is_some()))
        }
        Request::Part {
            parts: PartsId(parts),
            size,
            from,
            bytes,
        } => format!("parts {parts}: {} bytes from {from} of {size}", bytes.len()),
        Request::Fetch { rest, from } => match rest {
            RestOf::Argument => format!("fetch the argument from {from}"),
            RestOf::Result { process } => format!("fetch the result of {process} from {from}"),
        },
        Request::Forget { process } => format!("forget the result of {process}"),
        Request::Lock { name, waits: true } => format!("lock {name}"),
        Request::Lock { name, waits: false } => format!("try lock {name}"),
        Request::Unlock { name, grant } => {
            format!("unlock {name}, held since revision {}", grant.0)
        }
    }
}

/// What is said of a value whose rest comes in parts.
fn goes_on(has_rest: bool) -> &'static str {
    if has_rest { ", and more in parts" } else { "" }
}

fn start(from: Option<Revision>) -> String {
    from.map_or_else(|| "now".to_owned(), |from| format!("revision {}", from.0))
}

fn behind(after: Option<&str>) -> String {
    after.map_or_else(String::new, |after| format!(" after {after}"))
}

fn filtered(namespace: &str, filter: &Filter<'_>) -> String {
    match filter {
        Filter::Key(key) => place(namespace, key),
        Filter::Prefix(prefix) => place(namespace, &format!("{prefix}*")),
        Filter::All => place(namespace, "*"),
        Filter::Keys(keys) => place(namespace, &keys.join(", ")),
        Filter::AllBut(keys) => format!("{} but {}", place(namespace, "*"), keys.join(", ")),
    }
}

fn wait(namespace: &str, condition: &Condition<'_>) -> String {
    match condition {
        Condition::Function { function, args } => {
            format!("wait until {} on {namespace}", call(*function, args))
        }
        Condition::Equal { key, value: bytes } => {
            format!("wait until {} = {}", place(namespace, key), value(bytes))
        }
        Condition::Key { key, test } => {
            format!(
                "wait until {}",
                operations::tested(&place(namespace, key), test)
            )
        }
        Condition::Ended { process } => format!("wait until {process} has ended"),
        Condition::Changed { filter, after, .. } => {
            let filtered = filtered(namespace, filter);
            format!("changes of {filtered} after {}", start(*after))
        }
    }
}

fn finished(finish: &Finish<'_>) -> String {
    match finish {
        Finish::Value(bytes) => value(bytes),
        Finish::Error { text, .. } => format!("error: {text}"),
        Finish::Panic(fault) => format!("panic: {} ({})", fault.message, fault.location),
        Finish::Undecodable(fault) => format!("undecodable: {}", fault.message),
        Finish::TooLarge { limit, .. } => format!("more than {limit} allows"),
    }
}

fn at(revision: &Revision) -> String {
    format!("at revision {}", revision.0)
}

fn locked(revision: &Revision, granted: bool) -> String {
    let what = match granted {
        true => "locked",
        false => "it is held by another",
    };
    format!("{what} {}", at(revision))
}

fn changed(revision: &Revision, any: bool, more: bool) -> String {
    let what = if any { "changes" } else { "none" };
    let more = if more { ", and the log goes on," } else { "" };
    format!("{what}{more} {}", at(revision))
}

fn page(revision: &Revision, entries: &[(&str, &[u8])], more: bool) -> String {
    let more = if more { ", and there are more" } else { "" };
    let all: Vec<String> = (entries.iter().take(LISTED))
        .map(|(key, bytes)| match bytes {
            [] => (*key).to_owned(),
            _ => format!("{key}: {}", value(bytes)),
        })
        .collect();
    let dots = if entries.len() > LISTED { ", ..." } else { "" };
    format!(
        "{} entries {{{}{dots}}} {}{more}",
        entries.len(),
        all.join(", "),
        at(revision)
    )
}

fn reply(reply: &Reply<'_>) -> String {
    match reply {
        Reply::Done { revision } => format!("done {}", at(revision)),
        Reply::Value {
            revision,
            value: found,
        } => format!("{} {}", optional(*found), at(revision)),
        Reply::Count { revision, count } => format!("{count} {}", at(revision)),
        Reply::Page {
            revision,
            entries,
            more,
        } => page(revision, entries, more.is_some()),
        Reply::Updates { updates, until, .. } => {
            format!("{} updates until revision {}", updates.len(), until.0)
        }
        Reply::Written { revision, before } => {
            // What a `set` replaces is not sent back, only what a `remove` took away.
            let was = before.map_or_else(String::new, |bytes| format!(", was {}", value(bytes)));
            format!("done {}{was}", at(revision))
        }
        Reply::Batched { revision, told } => {
            format!("{} {}", operations::all_told(told), at(revision))
        }
        Reply::Returned {
            revision,
            value: bytes,
        } => format!("{} {}", value(bytes), at(revision)),
        Reply::Changed {
            revision,
            update,
            more,
            ..
        } => changed(revision, update.is_some(), *more),
        Reply::Locked { revision, granted } => locked(revision, *granted),
        Reply::Watching { next } => format!("the watch begins at revision {}", next.0),
        Reply::Compacted { oldest } => {
            format!("compacted: the oldest revision held is {}", oldest.0)
        }
        Reply::Spawned { revision, process } => format!("{process} {}", at(revision)),
        Reply::Dump(_) => "the dump".to_owned(),
        Reply::Task {
            function,
            args,
            rest,
            ..
        } => format!("run {}{}", call(*function, args), goes_on(*rest > 0)),
        Reply::Ended {
            revision,
            outcome,
            rest,
        } => {
            let more = goes_on(*rest > 0);
            format!("{}{more} {}", ended(&outcome.end), at(revision))
        }
        Reply::Part { bytes } => format!("{} bytes", bytes.len()),
        Reply::Failed { revision, failure } => {
            format!("failed {}: {}", at(revision), failed(failure))
        }
    }
}

fn of_past(at: Option<Revision>) -> String {
    at.map_or(String::new(), |at| format!(" as at revision {}", at.0))
}

fn failed(failure: &Failure<'_>) -> String {
    match failure {
        Failure::Error(fault) => format!("error: {}", fault.message),
        Failure::Panic(fault) => format!("panic: {} ({})", fault.message, fault.location),
        Failure::Undecodable(fault) => format!("undecodable: {}", fault.message),
        Failure::UnknownFunction { name } => format!("no such function: {name}"),
        Failure::NotDeterministic { name, what } => format!("{name} run twice: {what}"),
        Failure::NoFunctions { name } => format!("functions are not run here, nor {name}"),
        Failure::Limit { limit, actual, max } => format!("{limit}: {actual} of at most {max}"),
        Failure::ReadOnly => "the namespace is read-only".to_owned(),
        Failure::Unmet { key } => format!("what is required of {key} does not hold"),
        Failure::NotInteger { found } => format!("{found} is no integer"),
        Failure::Overflow => "the sum is too large".to_owned(),
        Failure::NoParts => "there are no such parts".to_owned(),
        Failure::UnknownProcess { process } => format!("there is no process {process}"),
        Failure::Conflict { barred: true, .. } => "conflict: another has a lease".to_owned(),
        Failure::Conflict { .. } => "conflict: something was changed".to_owned(),
        Failure::Future { asked } => format!("revision {} is still to come", asked.0),
        Failure::Malformed { what } => format!("malformed: {what}"),
        Failure::Setup { what } => format!("no such setup: {what}"),
    }
}

fn ended(end: &End<'_>) -> String {
    match end {
        End::Finished(finish) => format!("finished: {}", finished(finish)),
        End::Exited { code } => format!("exited with {code}"),
        End::Killed { why } => format!("killed ({why:?})"),
        End::Signaled { signal, .. } => format!("killed by {}", Signal(*signal)),
        End::BeforeConnect { .. } => "ended before it had connected".to_owned(),
        End::Panicked { fault, .. } => format!("panicked: {}", fault.message),
        End::StackOverflow { .. } => "overflowed its stack".to_owned(),
        End::Gone => "ended with its program or its keeper".to_owned(),
        End::OutOfMemory => "probably killed for want of memory".to_owned(),
        End::NotStarted { call, errno } => format!("not started: {call} gave error {errno}"),
    }
}

/// A wait status as `wait4` gives it.
pub(crate) fn status(status: i32) -> String {
    match status & 0x7f {
        0 => format!("exits with {}", (status >> 8) & 0xff),
        signal => format!("is killed by {}", Signal(signal)),
    }
}

/// Who did it.
fn origin(
    process: impl std::fmt::Display,
    function: Option<&str>,
    released: Option<&str>,
) -> String {
    let mut text = format!("(by {process}");
    if let Some(function) = function {
        text += &format!(", function {}", short_name(function));
    }
    if let Some(released) = released {
        text += &format!(", released: {released}");
    }
    text + ")"
}

fn change(place: &str, before: Option<&[u8]>, after: Option<&[u8]>) -> String {
    format!("{place} {} -> {}", optional(before), optional(after))
}

fn changes(listed: impl ExactSizeIterator<Item = String>, reset: Option<String>) -> String {
    let count = listed.len();
    let mut all: Vec<String> = listed.take(LISTED).collect();
    if count > LISTED {
        all.push(format!("{} more keys", count - LISTED));
    }
    all.extend(reset);
    all.join(", ")
}

fn update(update: &Update<'_>) -> String {
    let listed =
        (update.changes.iter()).map(|Change { key, before, after }| change(key, *before, *after));
    format!(
        "revision {}: {} {}",
        update.revision.0,
        changes(listed, update.reset.then(|| "all is new".to_owned())),
        origin(
            update.origin.process,
            update.origin.function,
            update.origin.released
        )
    )
}

/// What counts of a process's record, if it is one.
fn record_state(bytes: &[u8]) -> Option<String> {
    let record: Record = rmp_serde::from_slice(bytes).ok()?;
    let outcome = record.outcome.unwrap_or_default();
    Some(match record.state.as_str() {
        "ended" => format!("ended ({outcome})"),
        state => state.to_owned(),
    })
}

/// A commit in one line, without its revision.
pub(crate) fn commit(commit: &Committed) -> String {
    let listed = (commit.changes.iter()).map(|changed| {
        let place = place(&changed.namespace, &changed.key);
        let (before, after) = (changed.before.as_deref(), changed.after.as_deref());
        let state = |bytes: Option<&[u8]>| match bytes {
            None => Some("none".to_owned()),
            Some(bytes) => record_state(bytes),
        };
        if changed.namespace.is_empty()
            && let (Some(before), Some(after)) = (state(before), state(after))
        {
            format!("{place} {before} -> {after}")
        } else {
            change(&place, before, after)
        }
    });
    let reset = (!commit.resets.is_empty()).then(|| format!("all of {}", commit.resets.join(", ")));
    let function = commit.function.as_deref();
    let released = commit.released.as_deref();
    let changes = changes(listed, reset);
    cut(format!(
        "{changes} {}",
        origin(commit.process, function, released)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Changed;
    use zproc::seam::proto::ids::ProcessId;

    #[test]
    fn names_without_paths() {
        for (long, short) in [
            ("zproc_sim::workloads::member", "member"),
            ("a::reached<3, b::c::D<e::F>>", "reached<3, D<F>>"),
            ("a::b::main::{{closure}}", "main::{{closure}}"),
            ("plain", "plain"),
            ("", ""),
        ] {
            assert_eq!(short_name(long), short);
        }
    }

    #[test]
    fn a_commit_in_one_line() {
        let mut story = Committed {
            stamp: 0,
            attached: false,
            revision: Revision(5),
            process: ProcessId(2),
            function: Some("bank::add".to_owned()),
            released: None,
            changes: vec![Changed {
                namespace: "mix".to_owned(),
                key: "x0".to_owned(),
                before: Some(vec![3]),
                after: Some(vec![17]),
            }],
            resets: Vec::new(),
            refilled: Vec::new(),
        };
        assert_eq!(commit(&story), "mix/x0 3 -> 17 (by #2, function add)");
        story.function = None;
        story.released = Some("killed by signal 9".to_owned());
        story.changes = vec![story.changes[0].clone(); 10];
        story.resets = vec!["mix".to_owned()];
        let text = commit(&story);
        assert!(
            text.ends_with("17, 2 more keys, all of mix (by #2, released: killed by signal 9)"),
            "{text}"
        );
    }

    #[test]
    fn every_text_is_one_short_line() {
        assert_eq!(cut("a\nb\u{1b}[31m ä".to_owned()), r"a\nb\u{1b}[31m ä");
        let long = cut("\0".repeat(10_000));
        assert_eq!(long.len(), TEXT_CHARS + "...".len());
    }

    #[test]
    fn what_is_no_message_is_said_to_be_none() {
        for said in [from_client(&[99; 3]), from_server(&[99; 3])] {
            assert!(said.text.starts_with("malformed"), "{said:?}");
        }
    }

    #[test]
    fn statuses() {
        assert_eq!(status(9), "is killed by SIGKILL (signal 9)");
        assert_eq!(status(70 << 8), "exits with 70");
    }
}
