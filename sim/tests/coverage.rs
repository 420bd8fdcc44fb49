//! Every kind of request, and every public call of the api, is in some workload.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Public functions that no workload calls, each with the reason.
const EXEMPT: &[(&str, &str)] = &[
    (
        "Context::from_connection",
        "the seam's, by which the simulator itself makes contexts",
    ),
    (
        "Captured::text",
        "nothing is captured of a simulated process",
    ),
    (
        "Context::builder",
        "for trees of real processes; a simulated program is given its context",
    ),
    (
        "Context::new",
        "starts real processes; a simulated program is given its context",
    ),
    (
        "Context::connect",
        "as Context::new: a simulated program is given its context; tests/standalone.rs connects",
    ),
    (
        "ContextBuilder::child_init",
        "for trees of real processes; tests/starting.rs runs it",
    ),
    ("ContextBuilder::connect", "as Context::connect"),
    (
        "ContextBuilder::connect_timeout",
        "of a real connect, tests/standalone.rs waits for its end",
    ),
    (
        "ContextBuilder::function_time_max",
        "functions take no time in a simulated server",
    ),
    (
        "ContextBuilder::grace",
        "for trees of real processes; a simulated tree has a grace of its own",
    ),
    (
        "ContextBuilder::limits",
        "for trees of real processes; a simulated server is given its limits",
    ),
    (
        "ContextBuilder::run_functions_here",
        "for trees of real processes; a simulated server is told",
    ),
    (
        "ContextBuilder::run_functions_twice",
        "for trees of real processes; a simulated server is told",
    ),
    (
        "ContextBuilder::start",
        "starts real processes; a simulated program is given its context",
    ),
];

/// Requests that no workload needs to make, each with the reason. There are none.
const UNASKED: &[(&str, &str)] = &[];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the simulator is a member of the workspace")
        .to_owned()
}

fn sources(directory: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root().join(directory)).expect("the sources are there");
    let paths = entries.map(|entry| entry.expect("they can be listed").path());
    let rust = paths.filter(|path| path.extension().is_some_and(|end| end == "rs"));
    let text = |path: PathBuf| std::fs::read_to_string(path).expect("a source is text");
    rust.map(text).collect()
}

/// `Type::function` for each public function of each type's own `impl`s.
fn public_functions(source: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut of = None;
    for line in source.lines() {
        if line.starts_with("impl") {
            of = type_of_impl(line);
        } else if line.starts_with('}') {
            of = None;
        }
        let function = line
            .strip_prefix("    pub fn ")
            .or_else(|| line.strip_prefix("    pub const fn "));
        if let (Some(of), Some(function)) = (&of, function) {
            let name: String = function
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            found.push((of.clone(), name));
        }
    }
    found
}

/// The type in `impl<..> Type<..> {`; none for a trait's.
fn type_of_impl(line: &str) -> Option<String> {
    if line.contains(" for ") {
        return None;
    }
    let rest = line.strip_prefix("impl")?;
    let rest = match rest.strip_prefix('<') {
        Some(generics) => generics.split_once("> ")?.1,
        None => rest,
    };
    let name: String = rest
        .trim_start()
        .chars()
        .take_while(|c| c.is_alphanumeric())
        .collect();
    Some(name)
}

/// Is the name behind `before` somewhere, as a whole?
fn is_named(texts: &[String], before: &str, name: &str) -> bool {
    let wanted = format!("{before}{name}");
    texts.iter().any(|text| {
        text.match_indices(&wanted).any(|(at, found)| {
            let next = text[at + found.len()..].chars().next();
            next.is_some_and(|next| !next.is_alphanumeric() && next != '_')
        })
    })
}

/// Functions of `api` that `workloads` do not call. One whose name only one type has is called as
/// a method; of the others, the type must stand before it.
fn uncalled(api: &[String], workloads: &[String]) -> BTreeSet<String> {
    let functions: BTreeSet<(String, String)> =
        api.iter().flat_map(|text| public_functions(text)).collect();
    let mut types_with: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, name) in &functions {
        *types_with.entry(name).or_default() += 1;
    }
    functions
        .iter()
        .filter(|(of, name)| {
            let alone = types_with[name.as_str()] == 1;
            let called = is_named(workloads, &format!("{of}::"), name)
                || (alone && is_named(workloads, ".", name));
            !called
        })
        .map(|(of, name)| format!("{of}::{name}"))
        .collect()
}

#[test]
fn every_public_call_is_in_a_workload() {
    let mut api = sources("src/api");
    api.extend(
        ["src/proto/dump.rs", "src/tree.rs"]
            .map(|path| std::fs::read_to_string(root().join(path)).expect("the source is there")),
    );
    // Not of the public face, though in the api's directory.
    api.retain(|text| !text.contains("pub struct ShippedFunctions"));
    let all: usize = api.iter().map(|text| public_functions(text).len()).sum();
    assert!(all > 60, "the api has moved: {all} calls");
    let uncalled = uncalled(&api, &sources("sim/workloads"));
    let exempt: BTreeSet<String> = EXEMPT.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(uncalled, exempt, "left: in no workload; right: exempt");
    assert!(EXEMPT.iter().all(|(_, reason)| reason.len() > 10));
}

#[test]
fn a_call_that_is_in_no_workload_is_found() {
    let api = "impl<R> One<R> {\n    pub fn get(&self) {}\n    pub fn only(&self) {}\n}\n\
               impl Two {\n    pub fn get(&self) {}\n}\n\
               impl Clone for Two {\n    pub fn clone(&self) {}\n}\n";
    let of = |workload: &str| uncalled(&[api.to_owned()], &[workload.to_owned()]);
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(of(""), set(&["One::get", "One::only", "Two::get"]));
    assert_eq!(
        of("x.get(); x.only_so();"),
        set(&["One::get", "One::only", "Two::get"])
    );
    assert_eq!(of("Two::get(x); x.only()"), set(&["One::get"]));
    assert_eq!(
        of("One::get::<u8>(x); One::only(x); Two::get_all(x)"),
        set(&["Two::get"])
    );
}

/// In a process of its own, which has made no other runs.
#[test]
fn every_kind_of_request_is_asked() {
    let output = Command::new(env!("CARGO_BIN_EXE_zproc-sim"))
        .args(["run", "--seeds", "300", "--from", "1"])
        .output()
        .expect("the simulator runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("Linearizable"), "{text}");
    let unasked: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| {
            let name = line.split_whitespace().next()?;
            [
                "Request::",
                "Condition::",
                "Filter::",
                "FromClient::",
                "FromKeeper::",
            ]
            .iter()
            .any(|of| name.starts_with(of))
            .then_some(name)
        })
        .collect();
    let expected: BTreeSet<&str> = UNASKED.iter().map(|(name, _)| *name).collect();
    assert_eq!(unasked, expected, "left: in no workload; right: exempt");
}
