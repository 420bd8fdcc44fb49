//! Rules about who may know whom.

use super::Complaint;
use super::source::{Path, Source};

/// The rooms of `src/` and whom each may import (itself apart). Others may import nobody.
const ROOMS: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("sync", &[]),
    ("runtime", &["proto"]),
    ("client", &["runtime", "sync", "proto"]),
    ("driver", &["runtime", "proto"]),
    // The other half of the public face: an error tells how a process ended.
    ("error", &["api", "client", "proto", "process::panics"]),
    // The pieces of process/ are functions as messages, not processes of an operating system.
    (
        "api",
        &[
            "client",
            "runtime",
            "proto",
            "error",
            "process::code",
            "process::panics",
        ],
    ),
    ("process", &["runtime", "proto"]),
    // Pages of the documentation.
    ("guide", &[]),
];

/// The modules of `proto` in reading order.
const PROTO: &[&str] = &[
    "ids",
    "time",
    "limits",
    "loss",
    "signal",
    "planted",
    "points",
    "marks",
    "dump",
    "setup",
    "value",
    "operations",
    "message",
    "kinds",
    "codec",
    "frame",
    "watchdog",
    "keeper",
    "locks",
    "interest",
    "intervals",
    "store",
    "history",
    "watch",
    "session",
    "server",
    "client",
];

/// The glue: it ties the rooms together, so it knows them all.
const GLUE: &[&str] = &["lib", "tree", "standalone", "seam"];

/// Extra doors: one file, one room.
const DOORS: &[(&str, &str, &str)] = &[(
    "src/process/entry.rs",
    "tree",
    "it is the `main` of the children, and what they do is put together there",
)];

/// What the pure part must not name, as the beginning of a path.
const IMPURE: &[&str] = &[
    "std::net",
    "std::io",
    "std::fs",
    "std::thread",
    "std::process",
    "std::env",
    "std::os",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::collections::hash_map::RandomState",
    "std::hash::RandomState",
    "std::collections::HashMap",
    "std::collections::HashSet",
    "libc",
    "mio",
    "rand",
    "getrandom",
    "rustix",
];

/// The same without a path: they would be in scope by some `use`, or by their bare name.
const IMPURE_WORDS: &[&str] = &[
    "HashMap",
    "HashSet",
    "RandomState",
    "Instant",
    "SystemTime",
    "thread_local",
    "println",
    "eprintln",
];

fn starts_with(parts: &[String], path: &str) -> bool {
    let mut wanted = path.split("::");
    let mut have = parts.iter();
    wanted.all(|part| have.next().is_some_and(|have| have == part))
}

pub(crate) fn proto_is_pure(sources: &[Source]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|s| s.path.starts_with("src/proto/")) {
        for path in source.paths() {
            if let Some(impure) = IMPURE.iter().find(|name| starts_with(&path.parts, name)) {
                let what = format!("proto is pure: no `{impure}`");
                complaints.push(Complaint::new(source, path.line, what));
            }
        }
        for word in IMPURE_WORDS {
            for line in source.lines_with(word) {
                let what = format!("proto is pure: no `{word}`");
                complaints.push(Complaint::new(source, line, what));
            }
        }
    }
    complaints
}

/// The module of the house that a path of a file leads to, from the crate's root: `["proto", ..]`.
fn within_crate(source: &Source, path: &Path) -> Option<Vec<String>> {
    let file = source.path.strip_prefix("src/")?.strip_suffix(".rs")?;
    let mut module: Vec<String> = file.split('/').map(str::to_owned).collect();
    if module
        .last()
        .is_some_and(|last| last == "mod" || last == "lib")
    {
        module.pop();
    }
    let mut parts = path.parts.as_slice();
    match parts.first()?.as_str() {
        "crate" => return Some(parts[1..].to_vec()),
        "self" => parts = &parts[1..],
        "super" => {
            while parts.first().is_some_and(|part| part == "super") {
                module.pop();
                parts = &parts[1..];
            }
        }
        _ => return None,
    }
    module.extend_from_slice(parts);
    Some(module)
}

fn room_of(source: &Source) -> Option<&str> {
    let file = source.path.strip_prefix("src/")?;
    Some(file.split(['/', '.']).next().unwrap_or(file))
}

pub(crate) fn rooms(sources: &[Source]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        let Some(room) = room_of(source) else {
            continue;
        };
        if GLUE.contains(&room) {
            continue;
        }
        let Some((_, may)) = ROOMS.iter().find(|(name, _)| *name == room) else {
            let what =
                format!("`{room}` is no room of the house: list it in tests/tidy/imports.rs");
            complaints.push(Complaint::new(source, 1, what));
            continue;
        };
        for path in source.paths() {
            let Some(target) = within_crate(source, &path) else {
                continue;
            };
            let Some(first) = target.first() else {
                continue;
            };
            let is_room =
                ROOMS.iter().any(|(name, _)| name == first) || GLUE.contains(&first.as_str());
            let allowed = first == room
                || may.iter().any(|path| starts_with(&target, path))
                || DOORS
                    .iter()
                    .any(|(file, door, _)| *file == source.path && door == first);
            if is_room && !allowed {
                let what = format!("`{room}` may not import `{}`", target.join("::"));
                complaints.push(Complaint::new(source, path.line, what));
            }
        }
    }
    complaints
}

/// Inside `proto` a module imports only what stands before it, and the two ends never meet.
pub(crate) fn proto_order(sources: &[Source]) -> Vec<Complaint> {
    let rank = |name: &str| PROTO.iter().position(|known| *known == name);
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|s| s.path.starts_with("src/proto/")) {
        let module = source.path["src/proto/".len()..].split(['/', '.']).next();
        // `store_tests.rs` is a part of `store`.
        let module = module.unwrap_or_default().trim_end_matches("_tests");
        let Some(own) = rank(module) else {
            if module != "mod" {
                let what = format!("`{module}` has no place in the order of proto: list it here");
                complaints.push(Complaint::new(source, 1, what));
            }
            continue;
        };
        for path in source.paths() {
            let Some(target) = within_crate(source, &path) else {
                continue;
            };
            let [room, other, ..] = target.as_slice() else {
                continue;
            };
            let Some(theirs) = rank(other).filter(|_| room == "proto") else {
                continue;
            };
            let ends = module.starts_with("client") && other.starts_with("server");
            if theirs > own || ends {
                let what = format!("`{module}` may not import `{other}`");
                complaints.push(Complaint::new(source, path.line, what));
            }
        }
    }
    complaints
}

/// The simulator sees what users see, and the seam.
pub(crate) fn sim_uses_the_seam(sources: &[Source]) -> Vec<Complaint> {
    let hidden = [
        "proto", "runtime", "sync", "client", "driver", "process", "tree",
    ];
    let mut complaints = Vec::new();
    for source in sources
        .iter()
        .filter(|source| source.path.starts_with("sim/") && source.is_rust())
    {
        for path in source.paths() {
            let [first, second, ..] = path.parts.as_slice() else {
                continue;
            };
            if first == "zproc" && hidden.contains(&second.as_str()) {
                let what = format!("`zproc::{second}` is reached through `zproc::seam`");
                complaints.push(Complaint::new(source, path.line, what));
            }
        }
    }
    complaints
}

/// Calls that leave the client for the world.
const PORT_CALLS: &[&str] = &[
    "connect",
    "disconnect",
    "try_read",
    "try_write",
    "wait",
    "wake",
    "parker",
    "park",
    "unpark",
    "now",
    "random",
    "observe",
];

/// In the client, between `let guard = lock(..)` and the end of its block or `drop(guard)`, no
/// method of the port or of a parker is called on a thing named after them.
pub(crate) fn locks_and_port(sources: &[Source]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let client = sources
        .iter()
        .filter(|source| source.path.starts_with("src/client"));
    for source in client {
        let mut depth = 0_i32;
        let mut held: Vec<(String, i32)> = Vec::new();
        for (number, code) in (1..).zip(&source.code) {
            let text = code.trim();
            let released = held
                .iter()
                .position(|(guard, _)| text.contains(&format!("drop({guard})")));
            if let Some(index) = released {
                held.remove(index);
            }
            // A guard that lives for one statement is held while that statement runs.
            let takes = text.contains("lock(");
            if (takes || !held.is_empty()) && calls_port(text) {
                let what = "the port is called while a lock is held";
                complaints.push(Complaint::new(source, number, what));
            }
            let bound = text
                .strip_prefix("let ")
                .filter(|_| takes && is_guard(text))
                .and_then(|rest| {
                    rest.trim_start_matches("mut ")
                        .split([' ', ':', '='])
                        .next()
                });
            if let Some(guard) = bound {
                held.push((guard.to_owned(), depth));
            }
            for c in code.chars() {
                depth += i32::from(c == '{') - i32::from(c == '}');
                held.retain(|(_, at)| depth >= *at);
            }
        }
    }
    complaints
}

/// Does the statement bind the guard itself, not something read through it?
fn is_guard(text: &str) -> bool {
    text.trim_end_matches(';').ends_with(')')
        && text
            .split("lock(")
            .nth(1)
            .is_some_and(|after| after.matches(").").count() == 0)
}

fn calls_port(text: &str) -> bool {
    PORT_CALLS.iter().any(|call| {
        ["port.", "port().", "parker.", "thread."]
            .iter()
            .any(|receiver| text.contains(&format!("{receiver}{call}(")))
    })
}
