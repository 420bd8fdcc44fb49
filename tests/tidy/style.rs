//! Rules about how the sources look.

use super::source::Source;
use super::{Complaint, LongFunction};

const FILE_LINES_MAX: usize = 700;
const FUNCTION_LINES_MAX: usize = 70;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &[
    "core", "common", "util", "utils", "helper", "helpers", "misc",
];

/// The one file of the simulator that may be unsafe: it makes and abandons the stacks.
const SIM_UNSAFE: &str = "sim/coroutine.rs";

pub(crate) fn file_length(sources: &[Source]) -> Vec<Complaint> {
    let rust = sources.iter().filter(|source| source.is_rust());
    rust.filter(|source| source.code.len() > FILE_LINES_MAX)
        .map(|source| {
            let lines = source.code.len();
            let what = format!("{lines} lines; at most {FILE_LINES_MAX}: cut it by subject");
            Complaint::new(source, FILE_LINES_MAX + 1, what)
        })
        .collect()
}

pub(crate) fn function_length(sources: &[Source], listed: &[LongFunction]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut seen = vec![false; listed.len()];
    for source in sources.iter().filter(|source| source.is_rust()) {
        let long = source.functions().into_iter();
        for function in long.filter(|function| function.lines > FUNCTION_LINES_MAX) {
            let entry = listed
                .iter()
                .position(|entry| entry.path == source.path && entry.name == function.name);
            match entry {
                Some(entry) => seen[entry] = true,
                None => complaints.push(Complaint::new(
                    source,
                    function.line,
                    format!(
                        "`{}` has {} lines; over {FUNCTION_LINES_MAX} it must be listed in tests/tidy.rs",
                        function.name, function.lines
                    ),
                )),
            }
        }
    }
    let entries = listed.iter().zip(seen);
    complaints.extend(entries.filter_map(|(entry, seen)| {
        let wrong = match (seen, entry.reason.trim().is_empty()) {
            (false, _) => "is listed as a long function and is not one (any more)",
            (true, true) => "is listed as a long function without a reason",
            (true, false) => return None,
        };
        Some(Complaint {
            path: entry.path.to_owned(),
            line: 1,
            what: format!("`{}` {wrong}", entry.name),
        })
    }));
    complaints
}

pub(crate) fn module_names(sources: &[Source]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        let mut parts = source.path.trim_end_matches(".rs").split('/');
        if let Some(name) = parts.find(|name| EMPTY_NAMES.contains(name)) {
            complaints.push(Complaint::new(source, 1, format!("a file named `{name}`")));
        }
        for line in source.lines_with("mod") {
            let (_, after) = source.code[line - 1].split_once("mod ").unwrap_or_default();
            let name = after.trim_matches(|c: char| !c.is_alphanumeric() && c != '_');
            if EMPTY_NAMES.contains(&name) {
                let what = format!("a module named `{name}`");
                complaints.push(Complaint::new(source, line, what));
            }
        }
    }
    complaints
}

pub(crate) fn left_undone(sources: &[Source]) -> Vec<Complaint> {
    // Put together here, so that this file does not break its own rule.
    let in_code = [
        ("#[allow", "use `#[expect(.., reason = ..)]`"),
        ("#![allow", "use `#![expect(.., reason = ..)]`"),
        (concat!("#[ig", "nore"), "a test that does not run"),
        (concat!("to", "do!"), "unfinished"),
        (concat!("unimple", "mented!"), "unfinished"),
        (concat!("db", "g!"), "left from a search for a bug"),
    ];
    let in_comments = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
    ];
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        for (number, (code, comment)) in (1..).zip(source.code.iter().zip(&source.comments)) {
            for (word, what) in in_code.iter().filter(|(word, _)| code.contains(word)) {
                let what = format!("`{word}`: {what}");
                complaints.push(Complaint::new(source, number, what));
            }
            let allows = code.contains("cfg_attr") && code.contains("allow(");
            if allows {
                complaints.push(Complaint::new(source, number, "a lint is allowed"));
            }
            for word in in_comments.iter().filter(|word| comment.contains(*word)) {
                complaints.push(Complaint::new(
                    source,
                    number,
                    format!("{word} in a comment"),
                ));
            }
        }
    }
    complaints
}

pub(crate) fn sleeps(sources: &[Source], listed: &[(&str, &str)]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut seen = vec![false; listed.len()];
    for source in sources.iter().filter(|source| source.is_rust()) {
        if source.path.starts_with("examples/") || source.path.starts_with("benches/") {
            continue;
        }
        for path in source.paths() {
            let sleeps = path.parts.ends_with(&["thread".into(), "sleep".into()])
                || path
                    .parts
                    .ends_with(&["thread".into(), "sleep_until".into()]);
            let entry = listed.iter().position(|(path, _)| *path == source.path);
            if let Some(entry) = entry.filter(|_| sleeps) {
                seen[entry] = true;
            } else if sleeps {
                let what = "a sleep: wait for the event instead";
                complaints.push(Complaint::new(source, path.line, what));
            }
        }
    }
    let stale = listed.iter().zip(seen).filter(|(_, seen)| !seen);
    complaints.extend(stale.map(|((path, _), _)| Complaint {
        path: (*path).to_owned(),
        line: 1,
        what: "is listed as one that may sleep and does not (any more)".to_owned(),
    }));
    complaints
}

pub(crate) fn unsafe_code(sources: &[Source]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        let may = source.path.starts_with("src/process/") || source.path == SIM_UNSAFE;
        for line in source.lines_with("unsafe") {
            if !may {
                let what = "unsafe code outside its places";
                complaints.push(Complaint::new(source, line, what));
            } else if needs_reason(&source.code[line - 1]) && !says_why(source, line) {
                let what = "unsafe code without a `SAFETY:` comment above it";
                complaints.push(Complaint::new(source, line, what));
            }
        }
    }
    complaints
}

/// A block or an impl promises something; an `unsafe fn` or `unsafe extern` asks for it.
fn needs_reason(code: &str) -> bool {
    code.split("unsafe")
        .skip(1)
        .map(str::trim_start)
        .any(|after| after.starts_with('{') || after.starts_with("impl") || after.is_empty())
}

/// Is there a `SAFETY:` on this line, or in the comment right above the statement it is in?
fn says_why(source: &Source, line: usize) -> bool {
    let has = |index: usize| source.comments[index].contains("SAFETY:");
    let mut index = line - 1;
    if has(index) {
        return true;
    }
    while index > 0 {
        index -= 1;
        if has(index) {
            return true;
        }
        let code = source.code[index].trim();
        let is_comment = code.is_empty() && !source.comments[index].trim().is_empty();
        let is_attribute = code.starts_with("#[");
        // The statement may have begun on an earlier line: `let x =` or `call(`.
        let goes_on = !code.is_empty() && !code.ends_with([';', '{', '}']);
        if !(is_comment || is_attribute || goes_on) {
            return false;
        }
    }
    false
}

pub(crate) fn machine_paths(sources: &[Source]) -> Vec<Complaint> {
    // Put together here, so that this file does not break its own rule.
    let starts = [
        concat!("/ro", "ot/"),
        concat!("/wo", "rk/"),
        concat!("/ho", "me/"),
        concat!("/Us", "ers/"),
    ];
    let temporary = concat!("/t", "mp/");
    let mut complaints = Vec::new();
    for source in sources {
        for (number, line) in (1..).zip(source.text.lines()) {
            let machine = starts.iter().any(|start| begins_path(line, start))
                || line
                    .split(temporary)
                    .skip(1)
                    .any(|after| after.starts_with(|first: char| first.is_ascii_lowercase()));
            if machine {
                let what = "a path of one machine: use a temporary directory or a relative path";
                complaints.push(Complaint::new(source, number, what));
            }
        }
    }
    complaints
}

/// Is `start` in the line as the beginning of an absolute path, not as the middle of one?
fn begins_path(line: &str, start: &str) -> bool {
    line.match_indices(start).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-*}".contains(c))
    })
}
