//! What is said on the wire. All payloads are borrowed; user values are opaque MessagePack.

#![expect(
    missing_docs,
    reason = "fields whose name and type say it all; the variants have their docs"
)]

mod keeping;

pub use keeping::{FromKeeper, KeeperHello, Left, ToKeeper};

use super::dump::Dump;
use super::ids::{BuildId, LeaseId, PartsId, ProcessId, Revision, Seq, SessionId, Token, WatchId};
pub use super::ids::{Feeds, FunctionRef};
use super::limits::Agreed;
use super::operations::{Leased, Operation, Part, Span, Test, Told};
use super::setup::Setup;
use super::time::Time;
use speedy::{Readable, Writable};

/// Everything a client sends.
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time is decoded, where it lies, and none is kept"
)]
#[derive(Debug, Clone, PartialEq, Readable, Writable)]
pub enum FromClient<'a> {
    /// First on every connection, once.
    Hello(Hello<'a>),
    /// First on the link of a program's keeper to a server that stands alone, once. From then on the
    /// link carries [`FromKeeper`] one way and [`ToKeeper`] the other.
    Keeper(KeeperHello<'a>),
    /// A request, sent again with the same `seq` after a resume if it is still unanswered.
    Request {
        /// Its number in the session.
        seq: Seq,
        /// Replies that have arrived since the last message; the server forgets them.
        acks: Vec<Seq>,
        /// What is asked.
        body: Request<'a>,
    },
    /// Replies that have arrived, when no request is there to carry the news.
    Ack {
        /// Their numbers.
        acks: Vec<Seq>,
    },
    /// The caller no longer waits: a wait is dropped; any other request runs on, unanswered.
    Cancel {
        /// The request.
        seq: Seq,
    },
    /// More room for updates of a watch.
    Credit {
        /// The watch.
        watch: WatchId,
        /// All bytes granted since the watch began (so a repeated grant is harmless).
        granted: u64,
    },
    /// The session ends now; what it owns is released.
    Goodbye,
}

/// Who is there.
#[derive(Debug, Clone, PartialEq, Readable, Writable)]
pub struct Hello<'a> {
    /// [`super::limits::PROTOCOL_VERSION`] of the client.
    pub version: u32,
    /// The client's build.
    pub build: BuildId,
    /// The process that speaks.
    pub process: ProcessId,
    /// The secret that the process was given when it was made.
    pub key: Token,
    /// Its number in the system, for its record, should this come before the keeper's word.
    pub pid: u32,
    /// Counts the process's hellos: one that a later one has overtaken on the way is told by this.
    pub attempt: u64,
    /// Name of the crate and its version, for the message of a refusal.
    pub software: &'a str,
    /// To go on with a session that has lost its connection.
    pub resume: Option<Resume>,
}

/// What a client knows of the session it comes back to.
#[derive(Debug, Clone, PartialEq, Readable, Writable)]
pub struct Resume {
    /// The session.
    pub session: SessionId,
    /// Its secret.
    pub token: Token,
    /// Every watch that has begun for the client, and where it stands.
    pub watches: Vec<WatchPosition>,
}

/// How far a watch has come, as the client saw it.
#[derive(Debug, Clone, Copy, PartialEq, Readable, Writable)]
pub struct WatchPosition {
    /// The watch.
    pub watch: WatchId,
    /// The next revision that it has not seen.
    pub next: Revision,
    /// All bytes granted so far.
    pub granted: u64,
    /// All bytes of updates received so far.
    pub received: u64,
}

/// What a client can ask.
#[derive(Debug, Clone, PartialEq, Readable, Writable)]
pub enum Request<'a> {
    /// Is the server alive? Answered by `Done`.
    Ping,
    /// One value, now or as it was at a revision. Answered by `Value`, or `Compacted`.
    Get {
        namespace: &'a str,
        key: &'a str,
        at: Option<Revision>,
    },
    /// How many keys, now or at a revision. Answered by `Count`, or `Compacted`.
    Len {
        namespace: &'a str,
        at: Option<Revision>,
    },
    /// Some entries, in key order, from the first key of these that is after `after`, now or as
    /// they were at a revision. Answered by `Page`, or `Compacted`.
    Page {
        namespace: &'a str,
        span: Span<'a>,
        after: Option<&'a str>,
        /// False: values are left out (sent empty).
        values: bool,
        at: Option<Revision>,
    },
    /// The updates with `after < revision <= until` of a namespace, of these keys, as many as fit.
    /// Answered by `Updates`, or `Compacted`.
    Updates {
        namespace: &'a str,
        filter: Filter<'a>,
        after: Revision,
        until: Revision,
    },
    /// Write one. Answered by `Written`.
    Set {
        namespace: &'a str,
        key: &'a str,
        value: &'a [u8],
        /// The key goes when the process of this session ends.
        owned: bool,
    },
    /// Remove one. Answered by `Written`, with the value before.
    Remove { namespace: &'a str, key: &'a str },
    /// Read one, or write it if it is not there. Answered by `Value`.
    GetOrInsert {
        namespace: &'a str,
        key: &'a str,
        value: &'a [u8],
    },
    /// Remove all. Answered by `Written`.
    Clear { namespace: &'a str },
    /// Do all of these, at one revision, or none. Answered by `Batched`, or `Failed`.
    Batch {
        namespace: &'a str,
        /// No more than a change set may have changes.
        #[speedy(length_type = u16)]
        operations: Vec<Operation<'a>>,
    },
    /// Make last what a transaction has written that ran in its caller, if nothing of what it has
    /// read was changed after the revision at which it has. Ends its lease, but for a conflict.
    /// Answered by `Written`, or `Failed`.
    Commit {
        /// The transaction's function.
        function: &'a str,
        /// When all was read.
        at: Revision,
        #[speedy(length_type = u16)]
        parts: Vec<Part<'a>>,
        lease: Option<LeaseId>,
    },
    /// Have a lease on these, in turn: while it is held, no other transaction writes them. Answered
    /// by `Done` when it is given.
    Lease {
        lease: LeaseId,
        /// The transaction's function. Shown, and of no other effect.
        function: &'a str,
        #[speedy(length_type = u16)]
        on: Vec<Leased<'a>>,
    },
    /// Run a function in the server. Answered by `Returned`, or `Failed`.
    Atomic {
        namespace: &'a str,
        function: FunctionRef<'a>,
        args: &'a [u8],
    },
    /// Answer when the condition holds. Answered by `Returned` (or `Ended`, for a process).
    Wait {
        namespace: &'a str,
        condition: Condition<'a>,
    },
    /// Start a watch. Answered by `Watching`, or `Compacted`.
    Watch {
        watch: WatchId,
        namespace: &'a str,
        filter: Filter<'a>,
        /// First revision wanted; `None`: the one after now.
        from: Option<Revision>,
        /// Bytes granted at the start.
        credit: u64,
        /// The wait that it is there for, if its process waits by it.
        feeds: Option<Feeds<'a>>,
    },
    /// End a watch. Answered by `Done`.
    Unwatch { watch: WatchId },
    /// Start a process that runs a function. Answered by `Spawned` as soon as the record stands;
    /// what comes of it is told by a wait for its end.
    Spawn {
        function: FunctionRef<'a>,
        args: &'a [u8],
        setup: Setup<'a>,
        /// Where the argument goes on, if it is large.
        rest: Option<PartsId>,
    },
    /// Asked by a process first of all: what shall I run? Answered by `Task`.
    Begin,
    /// Said by a process last of all: what came of it. Answered by `Done`.
    Finish {
        finish: Finish<'a>,
        /// Where the value goes on, if it is large.
        rest: Option<PartsId>,
    },
    /// Ask a process to end, and kill it if it has not within its grace (`None`: its usual one).
    /// Answered as `Kill` is.
    Stop {
        process: ProcessId,
        grace_ns: Option<u64>,
    },
    /// End a process at once. Answered by `Done` as soon as the keeper is told; for one that has
    /// ended nothing happens.
    Kill { process: ProcessId },
    /// From now on this process ends with the program, no more with who spawned it. Answered as
    /// `Kill` is.
    ToRoot { process: ProcessId },
    /// Keep this for the `Spawn` or the `Finish` that will name it: a part of what is too large for
    /// one message. Answered by `Done`.
    Part {
        parts: PartsId,
        /// How long all parts of this name are together.
        size: u64,
        /// How long those before this one are.
        from: u64,
        bytes: &'a [u8],
    },
    /// The rest of a large argument or result, from there on, as much as one message takes.
    /// Answered by `Part`.
    Fetch { rest: RestOf, from: u64 },
    /// Nobody will fetch this process's result any more. Answered by `Done`.
    Forget { process: ProcessId },
    /// Hold this lock until it is given back, or the session ends. Answered by `Locked`: when the
    /// lock is this request's, or, unless it `waits`, at once.
    Lock { name: &'a str, waits: bool },
    /// Give back what was granted at this revision. Answered by `Done`, also when it is another's by
    /// now.
    Unlock { name: &'a str, grant: Revision },
    /// Who waits for what? Answered by `Dump`.
    Dump,
}

/// What went, or came, too large for one message: all but the beginning, which the message had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Readable, Writable)]
pub enum RestOf {
    /// The argument of the process that asks. Asked for its end, it is forgotten.
    Argument,
    /// The result of a process that has ended.
    Result { process: ProcessId },
}

/// What a wait waits for.
#[derive(Debug, Clone, PartialEq, Readable, Writable)]
pub enum Condition<'a> {
    /// A function of the state gives a result. Answered by `Returned`.
    Function {
        function: FunctionRef<'a>,
        args: &'a [u8],
    },
    /// The key is there and its value equals this one. Answered by `Returned`, empty.
    Equal { key: &'a str, value: &'a [u8] },
    /// This holds for the key's value. Answered by `Returned`, with the value if the key is there.
    Key { key: &'a str, test: Test<'a> },
    /// The process has ended. Answered by `Ended`.
    Ended { process: ProcessId },
    /// One of these keys has changed after this revision (`None`: after now), and, if `skip_own`, not by
    /// the asker. Answered by `Changed`: unless it `waits`, at once.
    Changed {
        filter: Filter<'a>,
        after: Option<Revision>,
        skip_own: bool,
        waits: bool,
    },
}

/// Which keys a watch sees.
#[derive(Debug, Clone, PartialEq, Eq, Readable, Writable)]
pub enum Filter<'a> {
    /// This key.
    Key(&'a str),
    /// Keys that start so.
    Prefix(&'a str),
    /// Every key.
    All,
    /// These keys, at most `WATCH_KEYS_MAX` of them.
    Keys(#[speedy(length_type = u16)] Vec<&'a str>),
    /// Every key but these, at most `WATCH_KEYS_MAX` of them.
    AllBut(#[speedy(length_type = u16)] Vec<&'a str>),
}

/// How a process says that its function ended.
#[derive(Debug, Clone, PartialEq, Readable, Writable)]
pub enum Finish<'a> {
    /// It returned this value.
    Value(&'a [u8]),
    /// It returned `Err`: the whole value (still typed for the one who joins), and how it reads.
    Error { value: &'a [u8], text: &'a str },
    /// It panicked.
    Panic(Fault<'a>),
    /// The function, its argument or its result could not be decoded or encoded.
    Undecodable(Fault<'a>),
    /// It returned more than this limit allows, or has room for now.
    TooLarge {
        limit: &'a str,
        actual: u64,
        max: u64,
    },
}

/// An error or a panic, as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Readable, Writable)]
pub struct Fault<'a> {
    /// What it says.
    pub message: &'a str,
    /// `file:line:column`, if known.
    pub location: &'a str,
    /// The backtrace, if there is one.
    pub backtrace: &'a str,
}

/// What a process that can't finish any more has written down for the keeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Readable, Writable)]
pub enum LastWords<'a> {
    /// This thread's stack is full.
    StackOverflow { thread: &'a str },
    /// A panic, which may be the end of it: here, or in this other thread.
    Panic { thread: &'a str, fault: Fault<'a> },
    /// It could not be made what its setup says: this call failed.
    NotStarted { call: &'a str, errno: i32 },
}

/// What a process has written to a stream that was captured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Readable, Writable)]
pub struct Captured<'a> {
    /// The end of it.
    pub tail: &'a [u8],
    /// Bytes before that, which were not kept.
    pub omitted: u64,
}

/// Everything the server sends.
#[derive(Debug, Clone, PartialEq, Readable, Writable)]
pub enum FromServer<'a> {
    /// The answer to a hello.
    Welcome {
        session: SessionId,
        /// The secret to resume with.
        token: Token,
        /// True: the session asked for goes on; unanswered requests are to be sent again.
        resumed: bool,
        /// What the client has to keep to.
        limits: Agreed,
    },
    /// The connection is of no use; it closes after this.
    Refused { refusal: Refusal<'a> },
    /// The answer to a request.
    Reply {
        seq: Seq,
        /// A [`Reply`], encoded by itself, so that the caller's own thread decodes it.
        body: &'a [u8],
    },
    /// One revision of a watch.
    Update {
        watch: WatchId,
        /// An [`Update`], encoded by itself, so that it is encoded once for all its watchers. Its
        /// length is what it takes from the watch's credit.
        body: &'a [u8],
    },
    /// The watch can't go on: what it needs next is no longer in the log.
    WatchCompacted {
        watch: WatchId,
        /// The oldest revision still held.
        oldest: Revision,
    },
    /// The answer to a keeper's hello: this is the program now, and this its secret.
    Adopted { process: ProcessId, key: Token },
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Readable, Writable)]
pub enum Refusal<'a> {
    /// Another version of the protocol.
    Version { server: u32, software: &'a str },
    /// Another executable, and the role needs the same.
    Build,
    /// The process is not known, or its key is wrong.
    Credentials,
    /// The session to be resumed is not there (any more).
    SessionUnknown,
    /// A named limit of the server is reached.
    Limit { limit: &'a str },
    /// What was received breaks the protocol.
    Protocol { what: &'a str },
    /// The process has ended, the server says.
    Ended,
    /// The hello did not come in time, or behind a later one. The next may.
    Late,
    /// The server is of one program, and takes in no other.
    Private,
}

/// Answers to requests.
#[derive(Debug, Clone, PartialEq, Readable, Writable)]
pub enum Reply<'a> {
    /// Done; nothing more to say.
    Done { revision: Revision },
    /// A value, or none.
    Value {
        revision: Revision,
        value: Option<&'a [u8]>,
    },
    /// A number.
    Count { revision: Revision, count: u64 },
    /// Some entries.
    Page {
        /// The revision at which this page was read.
        revision: Revision,
        entries: Vec<(&'a str, &'a [u8])>,
        /// There may be more, behind this key.
        more: Option<&'a str>,
    },
    /// Some updates: each body an encoded [`Update`].
    Updates {
        revision: Revision,
        updates: Vec<&'a [u8]>,
        /// All updates up to here are given (with those of earlier answers).
        until: Revision,
    },
    /// A write took effect, or changed nothing and was seen at this revision.
    Written {
        revision: Revision,
        before: Option<&'a [u8]>,
    },
    /// A batch took effect, or changed nothing and was seen at this revision.
    Batched {
        revision: Revision,
        /// What each operation is told, in their order.
        #[speedy(length_type = u16)]
        told: Vec<Told<'a>>,
    },
    /// A function's result.
    Returned { revision: Revision, value: &'a [u8] },
    /// All that has changed up to `until`, as one update.
    Changed {
        revision: Revision,
        until: Revision,
        /// An encoded [`Update`]: of each key what was before, what is after, and who was last. `None`:
        /// nothing has.
        update: Option<&'a [u8]>,
        /// The log goes on behind `until`.
        more: bool,
    },
    /// The lock is held from this revision on, which no other grant of it has; or, if it was not
    /// granted, it is another's.
    Locked { revision: Revision, granted: bool },
    /// The watch has begun; its first update is at `next` or later.
    Watching { next: Revision },
    /// The watch or the scan wants what the log no longer holds.
    Compacted { oldest: Revision },
    /// The process has an id and a record.
    Spawned {
        revision: Revision,
        process: ProcessId,
    },
    /// What a new process is to run.
    Task {
        function: FunctionRef<'a>,
        args: &'a [u8],
        /// What the process's state is.
        namespace: &'a str,
        /// To be run first, by those that it starts, too.
        init: Option<FunctionRef<'a>>,
        /// How many bytes of the argument are still to be fetched.
        rest: u64,
    },
    /// A process has ended.
    Ended {
        revision: Revision,
        outcome: WireOutcome<'a>,
        /// How many bytes of its value are still to be fetched.
        rest: u64,
    },
    /// A part of what was to be fetched.
    Part { bytes: &'a [u8] },
    /// The request was not done, and changed nothing.
    Failed {
        revision: Revision,
        failure: Failure<'a>,
    },
    /// Who waits for what.
    Dump(Dump),
}

/// Why a request was not done. The state is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Readable, Writable)]
pub enum Failure<'a> {
    /// The function returned an error.
    Error(Fault<'a>),
    /// The function panicked.
    Panic(Fault<'a>),
    /// Argument or result could not be decoded or encoded.
    Undecodable(Fault<'a>),
    /// The function is not one of this program's.
    UnknownFunction { name: &'a str },
    /// The server runs no functions at all.
    NoFunctions { name: &'a str },
    /// Run twice on the same state, it did not do the same: what differs.
    NotDeterministic { name: &'a str, what: &'a str },
    /// A named limit: what was asked, and what is allowed.
    Limit {
        limit: &'a str,
        actual: u64,
        max: u64,
    },
    /// The namespace is read-only: it is the framework's.
    ReadOnly,
    /// What a batch requires of this key does not hold.
    Unmet { key: &'a str },
    /// What is to be added to is no integer, but this.
    NotInteger { found: &'a str },
    /// The sum is none that fits 64 bits with a sign.
    Overflow,
    /// There is no such process (any more).
    UnknownProcess { process: ProcessId },
    /// The value is not well-formed MessagePack.
    Malformed { what: &'a str },
    /// No process can be set up so.
    Setup { what: &'a str },
    /// The session has no such parts, or not all of them.
    NoParts,
    /// Something that the transaction has read was changed since, or it is `barred`: another holds a
    /// lease on what it writes.
    Conflict {
        barred: bool,
        /// The lease that it has named is still its own.
        held: bool,
    },
    /// The revision at which it was to be read is still to come.
    Future { asked: Revision },
}

/// How a process ended, all parts, as the server and the keeper together know it.
#[derive(Debug, Clone, PartialEq, Readable, Writable)]
pub struct WireOutcome<'a> {
    /// What happened.
    pub end: End<'a>,
    /// User CPU time of the process and its waited-for children, nanoseconds.
    pub cpu_user_ns: u64,
    /// System CPU time likewise.
    pub cpu_system_ns: u64,
    /// Largest resident size, bytes.
    pub memory_bytes_max: u64,
    /// From the request to the end, nanoseconds.
    pub wall_ns: u64,
    /// Its standard output, if it was captured.
    pub stdout: Option<Captured<'a>>,
    /// Its standard error, likewise.
    pub stderr: Option<Captured<'a>>,
}

/// What happened to a process.
#[derive(Debug, Clone, PartialEq, Readable, Writable)]
pub enum End<'a> {
    /// It said so itself, by `Finish`, and then exited.
    Finished(Finish<'a>),
    /// It exited with this code without having finished.
    Exited { code: i32 },
    /// The keeper killed it.
    Killed { why: Why },
    /// This signal killed it, and it was not the keeper's.
    Signaled { signal: i32, core: bool },
    /// It exited before it had connected.
    BeforeConnect { status: i32 },
    /// It could not be started: the system call and its errno.
    NotStarted { call: &'a str, errno: i32 },
    /// A panic that could not be caught ended it, in another thread if that is named.
    Panicked { thread: &'a str, fault: Fault<'a> },
    /// This thread's stack was full.
    StackOverflow { thread: &'a str },
    /// Probably the system killed it, for want of memory.
    OutOfMemory,
    /// The keeper of its program is gone, and with it all that the program had started: nobody is
    /// there to tell.
    Gone,
}

/// Why the keeper killed a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Readable, Writable)]
pub enum Why {
    /// Somebody asked for it.
    Asked,
    /// It was asked to end, and had not when its grace was over.
    Grace,
    /// The process that had spawned it ended.
    Parent,
    /// It had run for as long as it was allowed to.
    TimeLimit { limit_ns: u64 },
}

/// One revision of one namespace, as a watch sees it.
#[derive(Debug, Clone, PartialEq, Readable, Writable)]
pub struct Update<'a> {
    pub revision: Revision,
    /// When the server applied it.
    pub time: Time,
    /// Who did it.
    pub origin: Origin<'a>,
    /// True: everything in the namespace was replaced at once, and the set was too large to list:
    /// `changes` is empty and a snapshot tells what is there now.
    pub reset: bool,
    pub changes: Vec<Change<'a>>,
}

/// Who changed the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Readable, Writable)]
pub struct Origin<'a> {
    /// The process that asked.
    pub process: ProcessId,
    /// The atomic function, if one did it.
    pub function: Option<&'a str>,
    /// Set when this is the release of what the process owned: how it ended.
    pub released: Option<&'a str>,
}

/// One key of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Readable, Writable)]
pub struct Change<'a> {
    pub key: &'a str,
    pub before: Option<&'a [u8]>,
    pub after: Option<&'a [u8]>,
}
