//! Each rule on a snippet that breaks it, and on the nearest one that does not.

use super::source::{Function, Source};
use super::{Complaint, LongFunction, documents, imports, manifests, style};

/// The lines of `text`, as the file `path`, that `rule` complains about.
fn lines(rule: impl Fn(&[Source]) -> Vec<Complaint>, path: &str, text: &str) -> Vec<usize> {
    let complaints = rule(&[Source::new(path, text)]);
    complaints.into_iter().map(|found| found.line).collect()
}

/// `rule` finds exactly one fault in `bad`, and none in `good`.
fn fires(rule: impl Fn(&[Source]) -> Vec<Complaint>, path: &str, bad: &str, good: &str) {
    assert_eq!(lines(&rule, path, bad).len(), 1, "not found: {bad}");
    assert_eq!(lines(&rule, path, good), [0; 0], "not a fault: {good}");
}

#[test]
fn code_comments_and_strings_are_told_apart() {
    let text = "let a = \"// \\\" no\"; // yes 'x\nlet b: &'a u8 = b'\\''; /* c /* d */ e */ f(r#\"\"g\"#);\n";
    let source = Source::new("a.rs", text);
    let code: Vec<&str> = source.code[0].split_whitespace().collect();
    assert_eq!(code, ["let", "a", "=", ";"]);
    assert_eq!(source.comments[0].trim(), "// yes 'x");
    assert!(source.code[1].starts_with("let b: &'a u8 = b    ;"));
    assert!(source.code[1].contains("f(") && !source.code[1].contains('g'));
    assert_eq!(source.comments[1].trim(), "/* c /* d */ e */");
}

#[test]
fn paths_are_spread_out() {
    let source = Source::new(
        "a.rs",
        "use std::{\n    net, io::{self, Read}};\nlet a = b::c::<D>();",
    );
    let found: Vec<String> = source
        .paths()
        .iter()
        .map(|path| format!("{} {}", path.line, path.parts.join("::")))
        .filter(|path| path.contains("::"))
        .collect();
    let expected = ["2 std::net", "2 std::io::self", "2 std::io::Read", "3 b::c"];
    assert_eq!(found, expected);
}

#[test]
fn functions_are_measured() {
    let text = "fn a(f: fn(u8)) -> [u8; 2] {\n    if b {\n    }\n}\ntrait T {\n    fn c();\n}\n";
    let one = Function {
        line: 1,
        name: "a".into(),
        lines: 4,
    };
    assert_eq!(Source::new("a.rs", text).functions(), [one]);
}

#[test]
fn a_long_file() {
    fires(
        style::file_length,
        "src/api/a.rs",
        &"\n".repeat(701),
        &"\n".repeat(700),
    );
}

#[test]
fn a_long_function() {
    let long = format!("fn a() {{\n{}}}\n", "    b();\n".repeat(69));
    let short = format!("fn a() {{\n{}}}\n", "    b();\n".repeat(68));
    fires(
        |s| style::function_length(s, &[]),
        "src/a.rs",
        &long,
        &short,
    );
    let entry = |reason| {
        [LongFunction {
            path: "src/a.rs",
            name: "a",
            reason,
        }]
    };
    let listed = |s: &[Source]| style::function_length(s, &entry("a table"));
    assert_eq!(lines(listed, "src/a.rs", &long), [0; 0], "it is listed");
    assert_eq!(
        lines(listed, "src/a.rs", &short).len(),
        1,
        "the entry is stale"
    );
    let unexplained = |s: &[Source]| style::function_length(s, &entry(" "));
    assert_eq!(lines(unexplained, "src/a.rs", &long).len(), 1, "no reason");
}

#[test]
fn an_empty_name() {
    let rule = style::module_names;
    assert_eq!(lines(rule, "src/api/utils.rs", "").len(), 1);
    assert_eq!(lines(rule, "src/core/mod.rs", "").len(), 1);
    assert_eq!(lines(rule, "src/api/score.rs", "").len(), 0);
}

#[test]
fn an_empty_module_name() {
    fires(
        style::module_names,
        "src/api/a.rs",
        "pub mod helpers;",
        "pub mod helper_thread;",
    );
}

#[test]
fn things_left_undone() {
    let rule = style::left_undone;
    fires(
        rule,
        "src/a.rs",
        "#[allow(dead_code)]",
        "#[expect(dead_code, reason = \"b\")]",
    );
    fires(
        rule,
        "src/a.rs",
        "#![allow(dead_code)]",
        "// #![allow(dead_code)]",
    );
    fires(
        rule,
        "src/a.rs",
        "#[cfg_attr(test, allow(dead_code))]",
        "#[cfg_attr(test, inline)]",
    );
    fires(rule, "src/a.rs", concat!("#[ig", "nore]"), "");
    fires(rule, "src/a.rs", concat!("to", "do!()"), "");
    fires(rule, "src/a.rs", concat!("unimple", "mented!()"), "");
    fires(
        rule,
        "src/a.rs",
        concat!("// FIX", "ME: later"),
        "// fix me",
    );
    fires(rule, "src/a.rs", concat!("/* TO", "DO */"), "");
}

#[test]
fn a_sleep() {
    let rule = |s: &[Source]| style::sleeps(s, &[]);
    let sleep = concat!("std::thread::sl", "eep(a);");
    fires(rule, "tests/a.rs", sleep, "std::thread::park();");
    let group = concat!("use std::thread::{self, sl", "eep};");
    fires(rule, "src/a.rs", group, "use std::thread::{self, spawn};");
    assert_eq!(lines(rule, "examples/a.rs", sleep), [0; 0]);
    let listed = |s: &[Source]| style::sleeps(s, &[("src/a.rs", "why")]);
    assert_eq!(lines(listed, "src/a.rs", sleep), [0; 0], "it is listed");
    assert_eq!(lines(listed, "src/a.rs", "").len(), 1, "the entry is stale");
}

#[test]
fn unsafe_code() {
    let rule = style::unsafe_code;
    let why = "// SAFETY: it is so.\nunsafe { a() }";
    fires(rule, "src/process/a.rs", "unsafe { a() }", why);
    fires(
        rule,
        "src/process/a.rs",
        "// SAFETY: old.\na();\nunsafe { b() }",
        "let b =\n// SAFETY: it is so.\nunsafe { b() };",
    );
    fires(
        rule,
        "src/process/a.rs",
        "unsafe impl Send for A {}",
        "unsafe fn a() {}",
    );
    fires(rule, "src/driver/a.rs", why, "// unsafe\n\"unsafe\";");
    assert_eq!(lines(rule, "sim/a.rs", why), [2]);
    assert_eq!(lines(rule, "sim/coroutine.rs", why), [0; 0]);
}

#[test]
fn a_path_of_a_machine() {
    let rule = style::machine_paths;
    fires(
        rule,
        "README.md",
        concat!("see /ro", "ot/a"),
        "see src/root/a",
    );
    fires(
        rule,
        "src/a.rs",
        concat!("\"/t", "mp/abc\""),
        "env::temp_dir()",
    );
    fires(
        rule,
        "a.toml",
        concat!("path = \"/ho", "me/a\""),
        "path = \"..\"",
    );
}

#[test]
fn an_impure_core() {
    let rule = imports::proto_is_pure;
    fires(
        rule,
        "src/proto/a.rs",
        "use std::{net, fmt};",
        "use std::{fmt, mem};",
    );
    fires(
        rule,
        "src/proto/a/b.rs",
        "let a = libc::getpid();",
        "// libc::getpid()",
    );
    fires(
        rule,
        "src/proto/a.rs",
        "use b::Instant;",
        "use super::time::Time;",
    );
    fires(
        rule,
        "src/proto/a.rs",
        "let a: HashMap<u8, u8>;",
        "let a: BTreeMap<u8, u8>;",
    );
    assert_eq!(lines(rule, "src/driver/a.rs", "use std::net;"), [0; 0]);
}

#[test]
fn a_wrong_import() {
    let rule = imports::rooms;
    fires(
        rule,
        "src/api/a.rs",
        "use crate::driver::B;",
        "use crate::client::B;",
    );
    fires(
        rule,
        "src/client/mod.rs",
        "use super::api::B;",
        "use super::proto::B;",
    );
    fires(
        rule,
        "src/api/a.rs",
        "use crate::{proto::B, process::spawn};",
        "use crate::{proto::B, process::code::C};",
    );
    fires(
        rule,
        "src/proto/a/b.rs",
        "use super::super::super::runtime::B;",
        "use super::super::runtime::B;",
    );
    fires(
        rule,
        "src/process/spawn.rs",
        "crate::tree::a();",
        "crate::proto::ids::a();",
    );
    assert_eq!(
        lines(rule, "src/process/entry.rs", "crate::tree::a();"),
        [0; 0]
    );
    assert_eq!(lines(rule, "src/cellar/a.rs", "").len(), 1, "not a room");
}

#[test]
fn a_wrong_import_inside_proto() {
    let rule = |path, text| lines(imports::proto_order, path, text).len();
    assert_eq!(rule("src/proto/ids.rs", "use super::frame::A;"), 1);
    assert_eq!(rule("src/proto/frame.rs", "use super::ids::A;"), 0);
    assert_eq!(
        rule("src/proto/client.rs", "use crate::proto::server::A;"),
        1
    );
    assert_eq!(
        rule("src/proto/server/a.rs", "use super::super::client::A;"),
        1
    );
    assert_eq!(
        rule("src/proto/server/a.rs", "use super::super::frame::A;"),
        0
    );
}

#[test]
fn the_simulator_behind_the_seam() {
    let rule = imports::sim_uses_the_seam;
    fires(
        rule,
        "sim/a.rs",
        "use zproc::driver::A;",
        "use zproc::{Context, seam::ids};",
    );
}

#[test]
fn a_lock_across_the_port() {
    let rule = imports::locks_and_port;
    let path = "src/client/a.rs";
    let held = "let mut a = lock(&self.a);\nself.port.wake();\n";
    fires(
        rule,
        path,
        held,
        "let a = lock(&self.a);\ndrop(a);\nself.port.wake();",
    );
    fires(
        rule,
        path,
        held,
        "{\n    let a = lock(&self.a);\n}\nself.port.wake();",
    );
    fires(
        rule,
        path,
        "lock(&self.a).push(port.now());",
        "let a = lock(&self.a).len();\nport.now();",
    );
}

#[test]
fn a_dependency_without_a_reason() {
    let rule = manifests::reasons;
    let path = "sim/Cargo.toml";
    fires(
        rule,
        path,
        "[dependencies]\na = \"1\"",
        "[dependencies]\n# For b.\na = \"1\"",
    );
    fires(
        rule,
        path,
        "[dev-dependencies.a]\nversion = \"1\"",
        "[package]\nname = \"1\"",
    );
    let two = "[target.'cfg(loom)'.dependencies]\n# For b.\na = \"1\"\nb = \"1\"";
    assert_eq!(lines(rule, path, two), [4]);
}

#[test]
fn a_recorder_for_everybody() {
    let rule = manifests::recorder_for_tests;
    let manifest = |section: &str| {
        format!(
            "[features]\nrecording = [\"z/recording\"]\n[{section}]\nz = {{ features = [\"recording\"] }}"
        )
    };
    let (bad, good) = (manifest("dependencies"), manifest("dev-dependencies"));
    fires(rule, "sim/Cargo.toml", &bad, &good);
    let all = "[features]\ndefault = [\"recording\"]";
    assert_eq!(lines(rule, "Cargo.toml", all), [2]);
}

#[test]
fn an_async_runtime() {
    let lock = |leaf: &str| {
        format!(
            "[[package]]\nname = \"zproc\"\ndependencies = [\n \"a 1.0\",\n]\n[[package]]\nname = \"a\"\ndependencies = [\n \"{leaf}\",\n]\n"
        )
    };
    fires(
        manifests::no_async_runtime,
        "Cargo.lock",
        &lock("tokio"),
        &lock("mio"),
    );
}

#[test]
fn a_member_of_its_own_mind() {
    let good = "version.workspace = true\nedition.workspace = true\nrust-version.workspace = true\nlicense.workspace = true\n[lints]\nworkspace = true";
    let bad = good.replace(
        "version.workspace = true\nedition",
        "version = \"2.0.0\"\nedition",
    );
    fires(manifests::inherited, "sim/Cargo.toml", &bad, good);
}

#[test]
fn a_readme_of_its_own_mind() {
    let readme = "```rust\na();\n```\n| name | promise |\n|---|---|\n| Once | b |\n";
    let lib =
        "//! ```\n//! a();\n//! ```\n//! | name | promise |\n//! |---|---|\n//! | Once | c |\n";
    let rule = |readme: &str, lib: &str| {
        let sources = [
            Source::new("README.md", readme),
            Source::new("src/lib.rs", lib),
        ];
        documents::readme_and_crate_agree(&sources).len()
    };
    assert_eq!(rule(readme, lib), 0);
    assert_eq!(rule(&readme.replace("a()", "d()"), lib), 1);
    assert_eq!(rule(&readme.replace("Once", "Twice"), lib), 1);
    assert_eq!(rule("", ""), 2, "nothing is no agreement");
}

#[test]
fn a_document_that_names_what_is_gone() {
    let rule = |sources: &[Source]| documents::paths_exist(sources, |path| path == "src/a.rs");
    fires(
        rule,
        "README.md",
        "see `src/b.rs`",
        "see `src/a.rs` and `b.rs`",
    );
}
