//! A case: one run written down, as the choices that are not zero.
//!
//! A case file replays in any process of the same build, and can be kept in `proptest-regressions/`,
//! where kept cases run before everything else. When the code has changed, a kept case still is a
//! run, near the one that it was: that is why found bugs keep a test of their own besides.

use crate::choices::Choice;
use std::fmt::Write as _;
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

impl Case {
    /// The case as it is written to a file.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{HEADER}\n");
        let about = self.about.replace(['\n', '\r'], " ");
        let faults = if self.faults { "drawn" } else { "none" };
        let mut choices = self.choices.clone();
        choices.sort_unstable();
        let _ = writeln!(text, "# {about}\nfaults {faults}");
        if let Some(world) = &self.world {
            let _ = writeln!(text, "world {world}");
        }
        for choice in &choices {
            let Choice {
                part,
                nth,
                value,
                below,
            } = choice;
            let _ = writeln!(text, "{part} draw {nth} gives {value} below {below}");
        }
        text
    }

    /// The case that this text describes.
    ///
    /// # Errors
    /// The number of the line that is not understood, and why.
    pub(crate) fn parse(text: &str) -> Result<Case, String> {
        let mut lines = text.lines().enumerate();
        if lines.next().is_none_or(|(_, line)| line.trim() != HEADER) {
            return Err(format!("not a case: the first line is not \"{HEADER}\""));
        }
        let mut case = Case {
            about: String::new(),
            world: None,
            faults: true,
            choices: Vec::new(),
        };
        for (index, line) in lines {
            let line = line.trim();
            if let Some(about) = line.strip_prefix('#') {
                case.about = about.trim().to_owned();
            } else if let Some(faults) = line.strip_prefix("faults ") {
                case.faults = faults != "none";
            } else if let Some(world) = line.strip_prefix("world ") {
                case.world = Some(world.to_owned());
            } else if !line.is_empty() {
                let choice = choice(line).map_err(|why| format!("line {}: {why}", index + 1))?;
                case.choices.push(choice);
            }
        }
        Ok(case)
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
fn choice(line: &str) -> Result<Choice, String> {
    let number = |text: &str| {
        let number = text.parse::<u64>();
        number.map_err(|_| format!("not a number: {text}"))
    };
    let words: Vec<&str> = line.split_whitespace().collect();
    let &[kind, process, "draw", nth, "gives", value, "below", below] = words.as_slice() else {
        return Err(format!("not a choice: {line}"));
    };
    Ok(Choice {
        part: format!("{kind} {process}").parse()?,
        nth: number(nth)?,
        value: number(value)?,
        below: number(below)?,
    })
}

/// Where kept cases are, seen from the top of a project.
pub(crate) const KEPT: &str = "proptest-regressions/sim";

/// The files of kept cases in a directory, by name; none when there is no such directory.
pub(crate) fn kept(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut files: Vec<PathBuf> = paths
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "case")
        })
        .collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choices::Part;
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
        assert!(Case::parse("").is_err());
        assert!(Case::parse("something else").is_err());
        let mut text = example().text();
        text.push_str("workload:0 2 draw x gives 3 below 4\n");
        let error = Case::parse(&text).unwrap_err();
        assert!(error.contains("line 8") && error.contains('x'), "{error}");
        let error = Case::parse(&format!("{HEADER}\nlove 2 draw 1 gives 3 below 4"));
        assert!(error.unwrap_err().contains("love 2"));
    }
}
