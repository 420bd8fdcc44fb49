//! A case: one run written down, as the choices that are not zero.
//!
//! A case file replays in any process of the same build, and can be kept in `proptest-regressions/`,
//! where kept cases run before everything else. When the code has changed, a kept case still is a
//! run, near the one that it was: that is why found bugs keep a test of their own besides.

use crate::choices::{Choice, Part};
use crate::explore;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// First line of a case file.
const HEADER: &str = "zproc-sim case 1";

/// One run of the built-in workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Case {
    /// What was found, for the reader: one line.
    pub(crate) about: String,
    /// The tiny world that it is a run of; `None`: of the built-in workload.
    pub(crate) world: Option<String>,
    /// False: a run without faults.
    pub(crate) faults: bool,
    /// The choices that are not zero.
    pub(crate) choices: Vec<Choice>,
}

/// Why a text is no case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// It does not begin as a case does.
    Header,
    /// Faults are drawn, or there are none.
    Faults(String),
    /// There is no such world, and which there are.
    World(String),
    /// Not the words of a choice.
    Choice(String),
    /// The part of the world is none, and which was named.
    Part(String),
    /// Not a number.
    Number(String),
    /// A choice that is not below its bound.
    TooLarge(u64, u64),
    /// The draw was given before, in that line.
    Twice(usize),
}

impl fmt::Display for Wrong {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Header => write!(to, "not a case, which begins with \"{HEADER}\""),
            Wrong::Faults(text) => write!(to, "faults are \"drawn\" or \"none\", not {text:?}"),
            Wrong::World(what) | Wrong::Part(what) => to.write_str(what),
            Wrong::Choice(text) => write!(to, "not a choice: {text:?}"),
            Wrong::Number(text) => write!(to, "not a number: {text:?}"),
            Wrong::TooLarge(value, below) => write!(to, "{value} is not below {below}"),
            Wrong::Twice(line) => write!(to, "line {line} gives this draw already"),
        }
    }
}

/// A line that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrongLine {
    /// Its number, from one.
    pub(crate) line: usize,
    /// What is wrong with it.
    pub(crate) wrong: Wrong,
}

impl fmt::Display for WrongLine {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "line {}: {}", self.line, self.wrong)
    }
}

/// A text of one line that does nothing to a terminal.
fn plain(text: &str) -> String {
    text.replace(char::is_control, " ").trim().to_owned()
}

/// A choice as it stands in a file.
fn line(choice: &Choice) -> String {
    let Choice {
        part,
        nth,
        value,
        below,
    } = choice;
    format!("{part} draw {nth} gives {value} below {below}")
}

impl Case {
    /// The case as it is written to a file.
    pub(crate) fn text(&self) -> String {
        let faults = if self.faults { "drawn" } else { "none" };
        let mut lines = vec![
            HEADER.to_owned(),
            format!("# {}", plain(&self.about)),
            format!("faults {faults}"),
        ];
        lines.extend(self.world.iter().map(|world| format!("world {world}")));
        let mut choices = self.choices.clone();
        choices.sort_unstable();
        lines.extend(choices.iter().map(line));
        lines.join("\n") + "\n"
    }

    /// The case that this text describes.
    ///
    /// # Errors
    /// The first line that is wrong, and why.
    pub(crate) fn parse(text: &str) -> Result<Case, WrongLine> {
        let mut lines = (1..).zip(text.lines().map(str::trim));
        if lines.next().is_none_or(|(_, line)| line != HEADER) {
            let wrong = Wrong::Header;
            return Err(WrongLine { line: 1, wrong });
        }
        let mut case = Case {
            about: String::new(),
            world: None,
            faults: true,
            choices: Vec::new(),
        };
        let mut given = BTreeMap::new();
        for (line, text) in lines {
            let read = case.read(text, line, &mut given);
            read.map_err(|wrong| WrongLine { line, wrong })?;
        }
        Ok(case)
    }

    /// One line but the first. `given` has the line of each draw.
    fn read(
        &mut self,
        text: &str,
        line: usize,
        given: &mut BTreeMap<(Part, u64), usize>,
    ) -> Result<(), Wrong> {
        if let Some(about) = text.strip_prefix('#') {
            self.about = plain(about);
        } else if let Some(faults) = text.strip_prefix("faults ") {
            self.faults = match faults.trim() {
                "drawn" => true,
                "none" => false,
                other => return Err(Wrong::Faults(other.to_owned())),
            };
        } else if let Some(world) = text.strip_prefix("world ") {
            let world = explore::world(world.trim()).map_err(Wrong::World)?;
            self.world = Some(world.name.to_owned());
        } else if !text.is_empty() {
            let choice = choice(text)?;
            if let Some(before) = given.insert((choice.part, choice.nth), line) {
                return Err(Wrong::Twice(before));
            }
            self.choices.push(choice);
        }
        Ok(())
    }

    /// What to say of a case of which the run that it describes drew only a part, or drew among
    /// more or fewer: the code has changed since, or somebody has written in it.
    pub(crate) fn stale(&self, drawn: &[Choice]) -> Option<String> {
        let drawn: BTreeSet<_> = (drawn.iter())
            .map(|choice| (choice.part, choice.nth, choice.below))
            .collect();
        let is_stale = |choice: &&Choice| !drawn.contains(&(choice.part, choice.nth, choice.below));
        let first = self.choices.iter().find(is_stale)?;
        Some(format!(
            "{} of the case's {} choices are not drawn, or with another bound; the first: {}",
            self.choices.iter().filter(is_stale).count(),
            self.choices.len(),
            line(first)
        ))
    }

    /// The case in this file.
    ///
    /// # Errors
    /// It can't be read, or is none.
    pub(crate) fn load(path: &Path) -> Result<Case, String> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
        Case::parse(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Writes the case to a file, with the directories above it.
    ///
    /// # Errors
    /// It can't be written.
    pub(crate) fn save(&self, path: &Path) -> Result<(), String> {
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        made.and_then(|()| std::fs::write(path, self.text()))
            .map_err(|error| format!("{}: {error}", path.display()))
    }
}

impl Case {
    /// Writes the case to a file of this name, or, where another case has it, of the next number.
    ///
    /// # Errors
    /// It can't be written.
    pub(crate) fn keep(&self, directory: &Path, name: &str) -> Result<PathBuf, String> {
        let numbered = (2..).map(|number| format!("{name}-{number}.case"));
        let mut names = std::iter::once(format!("{name}.case")).chain(numbered);
        let is_free = |path: &PathBuf| {
            !path.exists() || Case::load(path).is_ok_and(|case| case.choices == self.choices)
        };
        let path = names.find_map(|name| Some(directory.join(name)).filter(is_free));
        let path = path.expect("numbers do not end");
        self.save(&path).map(|()| path)
    }
}

/// `PART PROCESS draw N gives V below B`.
fn choice(line: &str) -> Result<Choice, Wrong> {
    let number = |text: &str| {
        let number = text.parse::<u64>();
        number.map_err(|_| Wrong::Number(text.to_owned()))
    };
    let words: Vec<&str> = line.split_whitespace().collect();
    let &[kind, process, "draw", nth, "gives", value, "below", below] = words.as_slice() else {
        return Err(Wrong::Choice(line.to_owned()));
    };
    let choice = Choice {
        part: format!("{kind} {process}").parse().map_err(Wrong::Part)?,
        nth: number(nth)?,
        value: number(value)?,
        below: number(below)?,
    };
    if choice.value >= choice.below {
        return Err(Wrong::TooLarge(choice.value, choice.below));
    }
    Ok(choice)
}

/// Where kept cases are, seen from the top of a project.
pub(crate) const KEPT: &str = "proptest-regressions/sim";
/// Where the cases of planted bugs go: they are nothing to keep.
pub(crate) const PLANTED: &str = "target/cases";

/// The files of kept cases in a directory, by name; none when there is no such directory.
///
/// # Errors
/// It can't be read.
pub(crate) fn kept(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let told = |error: std::io::Error| format!("{}: {error}", directory.display());
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(told)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(told)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "case")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Fault;

    fn example() -> Case {
        let choice = |part, nth, value| Choice {
            part,
            nth,
            value,
            below: 1 << 40,
        };
        Case {
            about: "Once: applied twice".into(),
            world: Some("counter".into()),
            faults: true,
            choices: vec![
                choice(Part::Swarm, 3, 2),
                choice(Part::Workload(2, 0), 0, 77),
                choice(Part::Fault(Fault::PartialRead, 3), 12, 9_999),
            ],
        }
    }

    #[test]
    fn a_case_is_read_back_as_it_was_written() {
        let case = example();
        assert_eq!(Case::parse(&case.text()), Ok(case));
    }

    #[test]
    fn a_kept_case_is_not_written_over() {
        let directory = std::env::temp_dir().join(format!("zproc-cases-{}", std::process::id()));
        let first = example();
        let mut second = example();
        second.choices.pop();
        let kept = [&first, &second, &first].map(|case| case.keep(&directory, "seed-7"));
        let names = ["seed-7.case", "seed-7-2.case", "seed-7.case"];
        assert_eq!(kept, names.map(|name| Ok(directory.join(name))));
        let cases = names.map(|name| Case::load(&directory.join(name)));
        assert_eq!(cases, [Ok(first.clone()), Ok(second), Ok(first)]);
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn what_is_no_case_is_refused_by_line() {
        let wrong = |line, wrong| Err(WrongLine { line, wrong });
        assert_eq!(Case::parse(""), wrong(1, Wrong::Header));
        assert_eq!(Case::parse("something else"), wrong(1, Wrong::Header));
        let of = |what: &str| what.to_owned();
        let lines = [
            (
                "workload:0 2 draw x gives 3 below 4",
                Wrong::Number(of("x")),
            ),
            ("workload:0 2 draw 9 gives 4 below 4", Wrong::TooLarge(4, 4)),
            ("workload:0 2 draw 0 gives 3 below 4", Wrong::Twice(6)),
            (
                "workload:0 2 gives 3",
                Wrong::Choice(of("workload:0 2 gives 3")),
            ),
            ("faults some", Wrong::Faults(of("some"))),
        ];
        for (line, why) in lines {
            let text = example().text() + line + "\n";
            assert_eq!(Case::parse(&text), wrong(8, why), "{line}");
        }
        let names = [
            ("love 2 draw 1 gives 3 below 4", "love 2"),
            (
                "workload:18446744073709551615 2 draw 1 gives 3 below 4",
                "615 2",
            ),
            ("world oyster", "no such world: oyster; there are counter"),
        ];
        for (line, told) in names {
            let error = Case::parse(&format!("{HEADER}\n\n{line}")).unwrap_err();
            assert!(error.to_string().starts_with("line 3: "), "{error}");
            assert!(error.to_string().contains(told), "{error}");
        }
    }

    #[test]
    fn a_comment_does_nothing_to_a_terminal() {
        let case = Case::parse(&format!("{HEADER}\n# \u{1b}[2Jred\u{9b}31m\n")).unwrap();
        assert_eq!(case.about, "[2Jred 31m");
        let about = "first\r\n\u{7}second".to_owned();
        let written = Case { about, ..example() };
        assert!(written.text().contains("# first   second\n"));
    }

    #[test]
    fn what_a_run_does_not_draw_is_told() {
        let case = example();
        assert_eq!(case.stale(&case.choices), None);
        let told = case.stale(&case.choices[1..]).unwrap();
        assert!(told.starts_with("1 of the case's 3 ") && told.ends_with("below 1099511627776"));
        let mut other = case.choices.clone();
        other[2].below -= 1;
        assert!(case.stale(&other).unwrap().contains("partial-read"));
    }

    #[test]
    fn a_directory_that_can_not_be_read_is_not_an_empty_one() {
        let file = std::env::temp_dir().join(format!("zproc-no-directory-{}", std::process::id()));
        assert_eq!(kept(&file), Ok(Vec::new()));
        std::fs::write(&file, "").unwrap();
        let error = kept(&file).unwrap_err();
        assert!(error.contains("zproc-no-directory"), "{error}");
        std::fs::remove_file(file).unwrap();
    }
}
