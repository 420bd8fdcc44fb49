//! The program `zproc-sim` as its users meet it: what it says of wrong arguments and files, and how
//! it ends when it can't write.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn program(arguments: &[&str], directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zproc-sim"));
    command.args(arguments).current_dir(directory);
    command
}

fn ran(arguments: &[&str], directory: &Path) -> Output {
    let output = program(arguments, directory).output();
    output.expect("the program can be started")
}

fn said(output: &[u8]) -> &str {
    std::str::from_utf8(output).expect("it says text")
}

#[test]
fn what_is_wrong_stands_first_and_alone() {
    let directory = tempfile::tempdir().unwrap();
    let wrong: [(&[&str], &str); 3] = [
        (&["replay"], "replay needs a seed or a case file"),
        (
            &["run", "--seeds=1", "--plant=X"],
            "--plant is not an option of run",
        ),
        (&["explore", "moon"], "no such world: moon"),
    ];
    for (arguments, told) in wrong {
        let output = ran(arguments, directory.path());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let error = said(&output.stderr);
        assert!(error.starts_with(&format!("zproc-sim: {told}")), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert_eq!(said(&output.stdout), "");
    }
}

#[test]
fn a_bad_case_is_told_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let case = "zproc-sim case 1\n# mine\nfaults drawn\nworld moon\n";
    std::fs::write(directory.path().join("bad.case"), case).unwrap();
    let output = ran(&["replay", "bad.case"], directory.path());
    assert_eq!(output.status.code(), Some(2));
    let error = said(&output.stderr);
    assert!(
        error.contains("bad.case: line 4: no such world: moon"),
        "{error}"
    );
}

#[test]
fn draws_that_do_not_come_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let case =
        "zproc-sim case 1\n# mine\nfaults none\nworld counter\nkeeper 77 draw 9 gives 1 below 8\n";
    std::fs::write(directory.path().join("old.case"), case).unwrap();
    let output = ran(&["replay", "old.case"], directory.path());
    let told = said(&output.stdout);
    assert!(
        told.contains("1 of the case's 1 choices are not drawn"),
        "{told}"
    );
    assert!(told.contains("keeper 77 draw 9"), "{told}");
    assert!(output.status.success(), "{told}");
}

#[test]
fn nobody_reads_any_more() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = program(&["replay", "1"], directory.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(said(&output.stderr), "");
    assert_eq!(output.status.code(), Some(141));
}

#[test]
fn a_full_disk_is_told() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [&["replay", "1"][..], &["--help"]] {
        let full = File::create("/dev/full").unwrap();
        let mut command = program(arguments, directory.path());
        let output = command.stdout(full).output().unwrap();
        let error = said(&output.stderr);
        assert!(error.contains("standard output: No space left"), "{error}");
        assert_eq!(output.status.code(), Some(2));
    }
}

#[test]
fn few_seeds_without_faults_pass() {
    let directory = tempfile::tempdir().unwrap();
    let output = ran(&["run", "--seeds=2", "--no-faults"], directory.path());
    let told = said(&output.stdout);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("that is no failure"), "{told}");
}

#[test]
fn kept_cases_that_can_not_be_read_are_a_failure() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("proptest-regressions")).unwrap();
    std::fs::write(directory.path().join("proptest-regressions/sim"), "").unwrap();
    let output = ran(&["run", "--seeds=1"], directory.path());
    assert_eq!(output.status.code(), Some(2));
    let error = said(&output.stderr);
    assert!(error.contains("proptest-regressions/sim: "), "{error}");
}
