//! What may be said, kind by kind, and which kinds the simulation has said.
//!
//! The lists are made of the same names as the matches below them, which the compiler holds to be
//! complete: a new kind of request that no workload uses can't be forgotten.

use super::message::{
    Condition, End, Failure, Filter, Finish, FromClient, FromKeeper, FromServer, Refusal, Reply,
    Request,
};
use super::operations::{Operation, Read, Test, Told};

/// A message of several kinds.
pub trait Kind {
    /// What the message is.
    const OF: &'static str;
    /// The names of its kinds.
    const KINDS: &'static [&'static str];

    /// The place of this one's kind in [`KINDS`](Kind::KINDS).
    fn kind(&self) -> usize;

    /// Which have been said in this program.
    #[cfg(feature = "simulation")]
    #[must_use]
    fn said() -> &'static [std::sync::atomic::AtomicBool];
}

macro_rules! kinds {
    ($($type:ident { $($kind:ident),* $(,)? })*) => {
        $(
            impl Kind for $type<'_> {
                const OF: &'static str = stringify!($type);
                const KINDS: &'static [&'static str] = &[$(stringify!($kind)),*];

                fn kind(&self) -> usize {
                    /// In the order of the list.
                    enum Place { $($kind),* }
                    let place = match self { $($type::$kind { .. } => Place::$kind),* };
                    place as usize
                }

                #[cfg(feature = "simulation")]
                fn said() -> &'static [std::sync::atomic::AtomicBool] {
                    use std::sync::atomic::AtomicBool;
                    const COUNT: usize = <$type<'static> as Kind>::KINDS.len();
                    static SAID: [AtomicBool; COUNT] = [const { AtomicBool::new(false) }; COUNT];
                    &SAID
                }
            }
        )*

        /// Every kind that no run of this program has said: the message and the kind.
        #[cfg(feature = "simulation")]
        #[must_use]
        pub fn unsaid() -> Vec<(&'static str, &'static str)> {
            let mut unsaid = Vec::new();
            $(
                let said = <$type<'_> as Kind>::said();
                for (flag, kind) in said.iter().zip(<$type<'_> as Kind>::KINDS) {
                    if !flag.load(std::sync::atomic::Ordering::Relaxed) {
                        unsaid.push((<$type<'_> as Kind>::OF, *kind));
                    }
                }
            )*
            unsaid
        }
    };
}

kinds! {
    Request {
        Ping, Get, Len, Page, Updates, Set, Remove, GetOrInsert, Clear, Batch, Commit, Lease, Atomic, Wait, Watch,
        Unwatch, Spawn, Begin, Finish, Stop, Kill, ToRoot, Part, Fetch, Forget, Lock, Unlock, Dump,
    }
    Condition { Function, Equal, Key, Ended, Changed }
    Filter { Key, Prefix, All, Keys, AllBut }
    Finish { Value, Error, Panic, Undecodable, TooLarge }
    FromClient { Hello, Keeper, Request, Ack, Cancel, Credit, Goodbye }
    FromServer { Welcome, Refused, Reply, Update, WatchCompacted, Adopted }
    FromKeeper { Started, NotStarted, Ended }
    Reply {
        Done, Value, Count, Page, Updates, Written, Batched, Returned, Changed, Locked, Watching, Compacted,
        Spawned, Task, Ended, Part, Failed, Dump,
    }
    Failure {
        Error, Panic, Undecodable, UnknownFunction, NoFunctions, NotDeterministic, Limit, ReadOnly, Unmet, NotInteger, Overflow,
        UnknownProcess, Malformed, Setup, NoParts, Conflict, Future,
    }
    Read { Key, Span }
    Operation { Require, Get, Set, Remove, Take, Add, Pop, Clear }
    Test { Absent, Present, Equal, Revision, NotEqual, Truthy, Falsy, Nil, NotNil }
    Told { Done, Nothing, Value, Entry, Number }
    Refusal { Version, Build, Credentials, SessionUnknown, Limit, Protocol, Ended, Late, Private }
    End {
        Finished, Exited, Killed, Signaled, BeforeConnect, NotStarted, Panicked, StackOverflow,
        OutOfMemory, Gone,
    }
}

/// Kinds that an ensemble may do without, each with the reason.
pub const RARE: &[(&str, &str, &str)] = &[
    (
        "Failure",
        "UnknownFunction",
        "a simulated tree is one executable",
    ),
    (
        "Failure",
        "NoFunctions",
        "the api runs functions itself where the server does not",
    ),
    (
        "Failure",
        "NotDeterministic",
        "the workloads' functions depend on nothing but the state",
    ),
    (
        "Failure",
        "UnknownProcess",
        "needs more ended processes than PROCESSES_ENDED_MAX",
    ),
    (
        "Failure",
        "Malformed",
        "the api refuses to send what is malformed",
    ),
    (
        "Failure",
        "Setup",
        "the api refuses to send what no process can be set up by",
    ),
    (
        "Failure",
        "NoParts",
        "needs a session that is lost between two parts",
    ),
    (
        "End",
        "Panicked",
        "an abort would end the simulator's own process",
    ),
    (
        "End",
        "StackOverflow",
        "it would end the simulator's own process",
    ),
    ("End", "OutOfMemory", "simulated processes have no memory"),
    ("Refusal", "Private", "no simulated program connects"),
    ("Refusal", "Version", "a simulated tree is one executable"),
    ("Refusal", "Build", "a simulated tree is one executable"),
    ("Refusal", "Credentials", "keys are never wrong here"),
    (
        "Refusal",
        "Limit",
        "needs more connections than CONNECTIONS_MAX",
    ),
    (
        "Refusal",
        "Ended",
        "whom it is told to is dead, and hears it only if the keeper is wrong",
    ),
    (
        "Refusal",
        "Protocol",
        "the real client keeps to the protocol",
    ),
];

/// This was said: by the one who decodes it.
#[cfg(feature = "simulation")]
pub fn said<K: Kind>(message: &K) {
    super::marks::set(&K::said()[message.kind()]);
}

/// This was said: by the one who decodes it.
#[cfg(not(feature = "simulation"))]
#[inline(always)]
pub fn said<K: Kind>(_message: &K) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_kind_is_that_of_its_name() {
        assert_eq!(Request::KINDS[Request::Dump.kind()], "Dump");
        assert_eq!(Request::KINDS[Request::Ping.kind()], "Ping");
        assert_eq!(Filter::KINDS[Filter::All.kind()], "All");
        let refusal = Refusal::Protocol { what: "" };
        assert_eq!(Refusal::KINDS[refusal.kind()], "Protocol");
    }

    #[test]
    fn rare_kinds_are_kinds() {
        let lists = [
            (Failure::OF, Failure::KINDS),
            (Refusal::OF, Refusal::KINDS),
            (End::OF, End::KINDS),
        ];
        for (of, kind, _) in RARE {
            let there = |(name, kinds): &(&str, &[&str])| name == of && kinds.contains(kind);
            assert!(lists.iter().any(there), "{of}::{kind}");
        }
    }
}
