//! Rules about what is said twice: the README and the crate's own docs agree.

use super::Complaint;
use super::source::Source;

fn find<'a>(sources: &'a [Source], path: &str) -> Option<&'a Source> {
    sources.iter().find(|source| source.path == path)
}

/// The crate's docs, as Markdown.
fn crate_docs(lib: &Source) -> String {
    let lines = lib.text.lines().filter_map(|line| line.strip_prefix("//!"));
    let lines = lines.map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line)));
    lines.collect()
}

/// The first program in a text.
fn first_program(markdown: &str) -> &str {
    let fence = "```";
    let after = markdown.split_once(fence).map_or("", |(_, after)| after);
    let code = after.split_once('\n').map_or("", |(_, code)| code);
    code.split_once(fence).map_or("", |(code, _)| code)
}

/// The first column of the table of guarantees.
fn guarantees(markdown: &str) -> Vec<&str> {
    let table = markdown
        .lines()
        .skip_while(|line| !line.ends_with("| promise |"));
    let rows = table.skip(2).take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| row.split('|').nth(1))
        .map(str::trim)
        .collect()
}

pub(crate) fn readme_and_crate_agree(sources: &[Source]) -> Vec<Complaint> {
    let (Some(readme), Some(lib)) = (find(sources, "README.md"), find(sources, "src/lib.rs"))
    else {
        return Vec::new();
    };
    let docs = crate_docs(lib);
    let mut complaints = Vec::new();
    let (ours, theirs) = (first_program(&readme.text), first_program(&docs));
    if ours != theirs || ours.is_empty() {
        let what = "the first program is not the one in the docs of src/lib.rs";
        complaints.push(Complaint::new(readme, 1, what));
    }
    let (ours, theirs) = (guarantees(&readme.text), guarantees(&docs));
    if ours != theirs || ours.is_empty() {
        let what = format!("the guarantees differ from those in src/lib.rs: {ours:?}, {theirs:?}");
        complaints.push(Complaint::new(readme, 1, what));
    }
    complaints
}

/// The paths in backticks that look like files of the repository are there.
pub(crate) fn paths_exist(sources: &[Source], exists: impl Fn(&str) -> bool) -> Vec<Complaint> {
    let tops = [
        "src/",
        "sim/",
        "tests/",
        "benches/",
        "examples/",
        "fuzz/",
        ".ci/",
    ];
    let mut complaints = Vec::new();
    for document in sources.iter().filter(|source| source.path.ends_with(".md")) {
        for (number, line) in (1..).zip(document.text.lines()) {
            let quoted = line.split('`').skip(1).step_by(2);
            let named = quoted.filter(|text| tops.iter().any(|top| text.starts_with(top)));
            for path in named.filter(|path| !path.contains(char::is_whitespace) && !exists(path)) {
                let what = format!("`{path}` is not there");
                complaints.push(Complaint::new(document, number, what));
            }
        }
    }
    complaints
}
