//! The rules of the house. Each reads the sources and names file and line of what breaks it; each
//! is tried on a snippet that breaks it, in `tidy/tried.rs`.

#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/manifests.rs"]
mod manifests;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/style.rs"]
mod style;
#[path = "tidy/tried.rs"]
mod tried;

use source::Source;

/// What is wrong, and where.
#[derive(Debug)]
pub(crate) struct Complaint {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) what: String,
}

impl Complaint {
    pub(crate) fn new(source: &Source, line: usize, what: impl Into<String>) -> Complaint {
        Complaint {
            path: source.path.clone(),
            line,
            what: what.into(),
        }
    }
}

/// Functions over 70 lines: each with the reason why it is not cut.
pub(crate) const LONG_FUNCTIONS: &[LongFunction] = &[
    LongFunction {
        path: "src/proto/server/requests.rs",
        name: "execute",
        reason: "one arm for each request, each a call",
    },
    LongFunction {
        path: "sim/story/words.rs",
        name: "request",
        reason: "one arm for each request, each a sentence",
    },
];

/// Files that may sleep besides examples and benches, where no event can tell: each with the reason.
pub(crate) const SLEEPERS: &[(&str, &str)] = &[(
    "sim/thread.rs",
    "the pace of workloads that run on real processes: nobody waits for the end of it",
)];

/// One of [`LONG_FUNCTIONS`].
pub(crate) struct LongFunction {
    pub(crate) path: &'static str,
    pub(crate) name: &'static str,
    pub(crate) reason: &'static str,
}

/// All that is written by hand: sources, manifests, documents and scripts.
fn sources() -> Vec<Source> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for directory in [
        "", "src", "sim", "tests", "benches", "examples", "fuzz", ".ci",
    ] {
        collect(root, directory, &mut found);
    }
    assert!(found.len() > 20, "the sources have moved");
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

fn collect(root: &std::path::Path, directory: &str, found: &mut Vec<Source>) {
    let entries = std::fs::read_dir(root.join(directory))
        .into_iter()
        .flatten();
    for entry in entries.map(|entry| entry.expect("the sources can be listed")) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = match directory {
            "" => name.clone(),
            _ => format!("{directory}/{name}"),
        };
        let kind = entry.file_type().expect("a file has a kind");
        // Below the root itself, only the directories named above; fuzz has more than sources.
        let product = ["target", "corpus", "artifacts", "coverage"].contains(&name.as_str());
        if kind.is_dir() && !directory.is_empty() && !product {
            collect(root, &path, found);
        }
        let written = [".rs", ".toml", ".md", ".sh", "/run", "Cargo.lock"];
        if kind.is_file() && written.iter().any(|end| path.ends_with(end)) {
            let text = std::fs::read_to_string(entry.path()).expect("a source is text");
            found.push(Source::new(&path, &text));
        }
    }
}

/// Fails with all that `rule` has to complain about.
fn hold(rule: impl Fn(&[Source]) -> Vec<Complaint>) {
    let complaints = rule(&sources());
    let lines: String = complaints
        .iter()
        .map(|c| format!("\n  {}:{}: {}", c.path, c.line, c.what))
        .collect();
    assert!(complaints.is_empty(), "{lines}\n");
}

#[test]
fn no_file_is_over_700_lines() {
    hold(style::file_length);
}

#[test]
fn functions_over_70_lines_are_listed_with_a_reason() {
    hold(|sources| style::function_length(sources, LONG_FUNCTIONS));
}

#[test]
fn no_module_has_a_name_that_says_nothing() {
    hold(style::module_names);
}

#[test]
fn no_lint_is_allowed_no_test_ignored_nothing_left_unfinished() {
    hold(style::left_undone);
}

#[test]
fn nothing_sleeps_but_examples_and_benches() {
    hold(|sources| style::sleeps(sources, SLEEPERS));
}

#[test]
fn unsafe_stays_where_it_may_and_says_why() {
    hold(style::unsafe_code);
}

#[test]
fn no_path_of_a_machine() {
    hold(style::machine_paths);
}

#[test]
fn proto_is_pure() {
    hold(imports::proto_is_pure);
}

#[test]
fn proto_imports_in_reading_order() {
    hold(imports::proto_order);
}

#[test]
fn rooms_import_whom_they_may() {
    hold(imports::rooms);
}

#[test]
fn the_simulator_uses_the_public_face_and_the_seam() {
    hold(imports::sim_uses_the_seam);
}

#[test]
fn no_lock_is_held_across_a_call_into_the_port() {
    hold(imports::locks_and_port);
}

#[test]
fn every_dependency_says_why() {
    hold(manifests::reasons);
}

#[test]
fn the_recorder_is_for_tests() {
    hold(manifests::recorder_for_tests);
}

#[test]
fn no_async_runtime_below_zproc() {
    hold(manifests::no_async_runtime);
}

#[test]
fn one_version_and_one_licence_for_all() {
    hold(manifests::inherited);
}

#[test]
fn readme_and_crate_docs_agree() {
    hold(documents::readme_and_crate_agree);
}

#[test]
fn documents_name_files_that_exist() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    hold(|sources| documents::paths_exist(sources, |path| root.join(path).exists()));
}
