//! Rules about manifests and the lock file.

use super::Complaint;
use super::source::Source;
use std::collections::{BTreeMap, BTreeSet};

/// An executor of futures, or what exists only for one.
const ASYNC_RUNTIMES: &[&str] = &[
    "actix-rt",
    "async-executor",
    "async-global-executor",
    "async-io",
    "async-std",
    "compio",
    "embassy-executor",
    "futures",
    "futures-executor",
    "glommio",
    "monoio",
    "pollster",
    "smol",
    "tokio",
];

fn named<'a>(sources: &'a [Source], name: &'a str) -> impl Iterator<Item = &'a Source> {
    sources.iter().filter(move |source| {
        let (_, file) = source.path.rsplit_once('/').unwrap_or(("", &source.path));
        file == name
    })
}

/// Every dependency has a comment right above it.
pub(crate) fn reasons(sources: &[Source]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for manifest in named(sources, "Cargo.toml") {
        let (mut inside, mut above) = (false, "");
        for (number, line) in (1..).zip(manifest.text.lines().map(str::trim)) {
            if let Some(section) = line.strip_prefix('[') {
                let section = section.trim_end_matches(']');
                inside = section.ends_with("dependencies");
                // `[dependencies.serde]` is a dependency itself.
                let parent = section.rsplit_once('.').map_or("", |(parent, _)| parent);
                if parent.ends_with("dependencies") && !above.starts_with('#') {
                    complaints.push(Complaint::new(manifest, number, "no reason above it"));
                }
            } else if inside && line.contains('=') && !line.starts_with('#') {
                // A table or array over several lines goes on with what is no new dependency.
                let opens = above.ends_with(['[', '{', ',']);
                if !opens && !above.starts_with('#') {
                    complaints.push(Complaint::new(manifest, number, "no reason above it"));
                }
            }
            above = line;
        }
    }
    complaints
}

/// The recorder, by which the environment can have processes killed, is compiled in for tests only.
pub(crate) fn recorder_for_tests(sources: &[Source]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for manifest in named(sources, "Cargo.toml") {
        let mut section = "";
        for (number, line) in (1..).zip(manifest.text.lines().map(str::trim)) {
            if line.starts_with('[') {
                section = line;
            }
            let wants = line.contains("recording\"") && !line.starts_with('#');
            let is_its_own = section == "[features]" && line.starts_with("recording = ");
            if wants && !is_its_own && !section.starts_with("[dev-dependencies") {
                let what = "turns the recorder on, for more than tests";
                complaints.push(Complaint::new(manifest, number, what));
            }
        }
    }
    complaints
}

/// Nothing that zproc or its tests need runs futures.
pub(crate) fn no_async_runtime(sources: &[Source]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let lock = sources.iter().filter(|source| source.path == "Cargo.lock");
    for lock in lock {
        let packages = packages(&lock.text);
        let mut wanted = vec![("zproc", "zproc".to_owned())];
        let mut seen = BTreeSet::new();
        while let Some((name, way)) = wanted.pop() {
            if !seen.insert(name) {
                continue;
            }
            if ASYNC_RUNTIMES.contains(&name) {
                let what = format!("an async runtime: {way}");
                complaints.push(Complaint::new(lock, 1, what));
            }
            for below in packages.get(name).into_iter().flatten() {
                wanted.push((below, format!("{way} -> {below}")));
            }
        }
    }
    complaints
}

/// Each package of the lock file with what it depends on; versions don't matter here.
fn packages(lock: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut packages: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut name = "";
    for line in lock.lines() {
        if let Some(value) = line.strip_prefix("name = ") {
            name = value.trim_matches('"');
            packages.entry(name).or_default();
        } else if let Some(value) = line.trim().strip_prefix('"') {
            let below = value.split(['"', ' ']).next().unwrap_or_default();
            packages.entry(name).or_default().push(below);
        }
    }
    packages
}

/// Members take version, edition, MSRV, licence and lints from the workspace.
pub(crate) fn inherited(sources: &[Source]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for path in ["Cargo.toml", "sim/Cargo.toml"] {
        for manifest in sources.iter().filter(|source| source.path == path) {
            for key in ["version", "edition", "rust-version", "license"] {
                let line = format!("{key}.workspace = true");
                if !manifest.text.lines().any(|found| found == line) {
                    complaints.push(Complaint::new(manifest, 1, format!("`{line}` is missing")));
                }
            }
            if !manifest.text.contains("[lints]\nworkspace = true") {
                complaints.push(Complaint::new(
                    manifest,
                    1,
                    "the workspace's lints are missing",
                ));
            }
        }
    }
    complaints
}
