//! What the program is asked to do: its commands and their options.

use crate::mutants::Mutants;
use lexopt::prelude::*;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

pub(crate) const USAGE: &str = "\
zproc-sim: zproc in a deterministic simulation

  run --seeds N [--from S] [--jobs J] [--hashes FILE] [--print-hashes] [--twice] [--no-faults]
      [--all-marks]
      runs the cases kept in proptest-regressions/sim/, then N seeds, from S on (default 1), and
      checks the guarantees; the first run that fails is shrunk and written to a case file there; with
      --all-marks it also fails if no run reached a mark that is not a rare one
  replay SEED|FILE [--hash-trace] [--no-faults] [--plant NAME] [--html PAGE]
      tells what happens in one run, given by its seed or by a case file: line by line, or drawn on
      one page to look at in a browser
  shrink SEED
      makes a failing run small and writes it to a case file
  explore [WORLD] [--changes N] [--jobs J] [--plant NAME]
      goes through all runs of tiny worlds that differ from the mildest in up to N choices (2)
  mutants [--seeds N] [--only NAME] [--share K/N] [--jobs J] [--strict]
      plants each bug of the catalogue, shows that its checker finds it, and shrinks its run;
      with --strict it must come down to 20 choices and 3 processes";

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Task {
    Run(Run),
    Replay {
        what: Wanted,
        hashes: bool,
        plant: Option<String>,
        html: Option<String>,
    },
    Shrink(u64),
    Explore {
        world: Option<String>,
        changes: usize,
        jobs: u64,
        plant: Option<String>,
    },
    Mutants(Mutants),
    Help,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    Seed { seed: u64, faults: bool },
    File(PathBuf),
}

/// Which seeds, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) seeds: u64,
    pub(crate) from: u64,
    pub(crate) jobs: u64,
    pub(crate) hashes: Option<String>,
    pub(crate) print_hashes: bool,
    pub(crate) twice: bool,
    pub(crate) faults: bool,
    pub(crate) all_marks: bool,
}

/// Does an option come with a value?
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Value,
}

/// Each command, with its options.
const COMMANDS: [(&str, &[&str]); 5] = [
    (
        "run",
        &[
            "seeds",
            "from",
            "jobs",
            "hashes",
            "print-hashes",
            "twice",
            "no-faults",
            "all-marks",
        ],
    ),
    ("replay", &["hash-trace", "no-faults", "plant", "html"]),
    ("shrink", &[]),
    ("explore", &["changes", "jobs", "plant"]),
    ("mutants", &["seeds", "only", "share", "jobs", "strict"]),
];

/// Each option, of whatever command.
const OPTIONS: [(&str, Takes); 15] = [
    ("seeds", Takes::Value),
    ("from", Takes::Value),
    ("jobs", Takes::Value),
    ("hashes", Takes::Value),
    ("print-hashes", Takes::Nothing),
    ("twice", Takes::Nothing),
    ("no-faults", Takes::Nothing),
    ("all-marks", Takes::Nothing),
    ("hash-trace", Takes::Nothing),
    ("plant", Takes::Value),
    ("html", Takes::Value),
    ("changes", Takes::Value),
    ("only", Takes::Value),
    ("share", Takes::Value),
    ("strict", Takes::Nothing),
];

/// The options that were given, by name; the last counts.
struct Given(BTreeMap<&'static str, String>);

impl Given {
    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    fn number<N: FromStr>(&self, name: &str) -> Result<Option<N>, String> {
        let number = |text: &String| {
            let number = text.parse();
            number.map_err(|_| format!("--{name}: not a number: {text}"))
        };
        self.0.get(name).map(number).transpose()
    }

    /// How many things are done at a time; as many as there are processors if it is not said.
    fn jobs(&self) -> Result<u64, String> {
        let processors = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
        match self.number("jobs")? {
            Some(0) => Err("--jobs: nothing is done by none".to_owned()),
            jobs => Ok(jobs.unwrap_or(processors)),
        }
    }
}

/// Reads the arguments.
///
/// # Errors
/// What is wrong with them, in one line.
pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Task, String> {
    let mut given = Given(BTreeMap::new());
    let mut words = Vec::new();
    let told = |error: lexopt::Error| error.to_string();
    while let Some(argument) = parser.next().map_err(told)? {
        match argument {
            Short('h') | Long("help") => return Ok(Task::Help),
            Long(name) => {
                let known = OPTIONS.iter().find(|(option, _)| *option == name);
                let Some((name, takes)) = known else {
                    return Err(format!("there is no option --{name}"));
                };
                let value = match takes {
                    Takes::Nothing => String::new(),
                    Takes::Value => {
                        let value = parser.value().and_then(ValueExt::string);
                        value.map_err(told)?
                    }
                };
                given.0.insert(name, value);
            }
            Value(word) => words.push(word.string().map_err(told)?),
            other => return Err(told(other.unexpected())),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let Some((command, words)) = words.split_first() else {
        return match given.0.keys().next() {
            None => Ok(Task::Help),
            Some(name) => Err(format!("--{name} of which command?")),
        };
    };
    let Some((_, options)) = COMMANDS.iter().find(|(name, _)| name == command) else {
        let names = COMMANDS.map(|(name, _)| name).join(", ");
        return Err(format!("{command} is not a command; there are {names}"));
    };
    match given.0.keys().find(|name| !options.contains(name)) {
        Some(name) => Err(format!("--{name} is not an option of {command}")),
        None => task(command, words, &given),
    }
}

fn task(command: &str, words: &[&str], given: &Given) -> Result<Task, String> {
    let faults = !given.has("no-faults");
    Ok(match (command, words) {
        ("run", []) => Task::Run(run(given)?),
        ("replay", [what]) => Task::Replay {
            what: wanted(what, faults)?,
            hashes: given.has("hash-trace"),
            plant: given.text("plant"),
            html: given.text("html"),
        },
        ("replay", []) => return Err("replay needs a seed or a case file".to_owned()),
        ("shrink", [seed]) => {
            let seed = seed.parse();
            Task::Shrink(seed.map_err(|_| "shrink needs a seed, which is a number")?)
        }
        ("shrink", []) => return Err("shrink needs a seed".to_owned()),
        ("explore", [] | [_]) => Task::Explore {
            world: words.first().map(|world| (*world).to_owned()),
            changes: given.number("changes")?.unwrap_or(2),
            jobs: given.jobs()?,
            plant: given.text("plant"),
        },
        ("mutants", []) => Task::Mutants(Mutants {
            seeds: given.number("seeds")?.unwrap_or(5_000),
            only: given.text("only"),
            share: given
                .text("share")
                .map_or(Ok((0, 1)), |text| share(&text))?,
            strict: given.has("strict"),
            jobs: given.jobs()?,
        }),
        (_, words) => {
            let last = words.last().copied().unwrap_or_default();
            return Err(format!("{command} does not know what to do with {last}"));
        }
    })
}

fn run(given: &Given) -> Result<Run, String> {
    let from = given.number("from")?.unwrap_or(1);
    let seeds = match given.number("seeds")? {
        Some(seeds) if seeds > 0 => seeds,
        _ => return Err("run needs --seeds N, one at least".to_owned()),
    };
    if u64::checked_add(from, seeds).is_none() {
        return Err("there are not so many seeds behind --from".to_owned());
    }
    Ok(Run {
        seeds,
        from,
        jobs: given.jobs()?,
        hashes: given.text("hashes"),
        print_hashes: given.has("print-hashes"),
        twice: given.has("twice"),
        faults: !given.has("no-faults"),
        all_marks: given.has("all-marks"),
    })
}

/// A number is a seed, anything else a file.
fn wanted(what: &str, faults: bool) -> Result<Wanted, String> {
    match what.parse() {
        Ok(seed) => Ok(Wanted::Seed { seed, faults }),
        Err(_) if faults => Ok(Wanted::File(PathBuf::from(what))),
        Err(_) => Err("--no-faults is for a seed: a case says itself if it has faults".to_owned()),
    }
}

/// `K/N`, the share K, from zero, of N.
fn share(text: &str) -> Result<(u64, u64), String> {
    let numbers = text
        .split_once('/')
        .and_then(|(share, of)| Some((share.parse().ok()?, of.parse().ok()?)));
    match numbers {
        Some((share, of)) if share < of => Ok((share, of)),
        _ => Err(format!("--share: not a share, as 0/4 is one: {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Task, String> {
        parse(lexopt::Parser::from_args(arguments))
    }

    #[test]
    fn what_is_asked() {
        let run = parsed(&["run", "--seeds", "20", "--from=7", "--jobs", "2", "--twice"]);
        let Ok(Task::Run(run)) = run else {
            panic!("{run:?}");
        };
        assert_eq!((run.seeds, run.from, run.jobs, run.twice), (20, 7, 2, true));
        let replay = |what| Task::Replay {
            what,
            hashes: false,
            plant: None,
            html: None,
        };
        let seed = |faults| Wanted::Seed { seed: 5, faults };
        assert_eq!(parsed(&["replay", "5"]), Ok(replay(seed(true))));
        let calm = parsed(&["replay", "5", "--no-faults"]);
        assert_eq!(calm, Ok(replay(seed(false))));
        let file = Wanted::File(PathBuf::from("x.case"));
        assert_eq!(parsed(&["replay", "x.case"]), Ok(replay(file)));
        let page = parsed(&["replay", "x.case", "--html", "x.html"]);
        assert!(
            matches!(&page, Ok(Task::Replay { html: Some(page), .. }) if page == "x.html"),
            "{page:?}"
        );
        assert_eq!(parsed(&["shrink", "7"]), Ok(Task::Shrink(7)));
        let mutants = parsed(&["mutants", "--share", "1/4", "--jobs=3"]);
        let Ok(Task::Mutants(mutants)) = mutants else {
            panic!("{mutants:?}");
        };
        assert_eq!((mutants.share, mutants.jobs), ((1, 4), 3));
        assert_eq!(parsed(&[]), Ok(Task::Help));
        assert_eq!(parsed(&["run", "--help"]), Ok(Task::Help));
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        let wrong: [(&[&str], &str); 18] = [
            (
                &["run", "--seeds=5", "--plant=X"],
                "--plant is not an option of run",
            ),
            (
                &["shrink", "5", "--plant", "X"],
                "--plant is not an option of shrink",
            ),
            (
                &["shrink", "5", "--html", "X"],
                "--html is not an option of shrink",
            ),
            (
                &["replay", "5", "--seeds", "3"],
                "--seeds is not an option of replay",
            ),
            (
                &["explore", "--no-faults"],
                "--no-faults is not an option of explore",
            ),
            (
                &["mutants", "--twice"],
                "--twice is not an option of mutants",
            ),
            (&["run", "--sedes", "5"], "there is no option --sedes"),
            (&["run", "--seeds=5", "--twice=2"], "--twice"),
            (&["--seeds", "5"], "--seeds of which command?"),
            (&["fly"], "fly is not a command; there are run, replay"),
            (&["replay"], "replay needs a seed or a case file"),
            (
                &["replay", "5", "6"],
                "replay does not know what to do with 6",
            ),
            (&["replay", "x.case", "--no-faults"], "a case says itself"),
            (&["shrink", "x"], "shrink needs a seed, which is a number"),
            (&["run"], "run needs --seeds"),
            (&["run", "--seeds", "many"], "--seeds: not a number: many"),
            (
                &["run", "--seeds=2", "--from=18446744073709551614"],
                "not so many seeds",
            ),
            (&["mutants", "--share", "4/4"], "--share: not a share"),
        ];
        for (arguments, told) in wrong {
            let error = parsed(arguments).expect_err(told);
            assert!(error.contains(told) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn every_option_is_one_of_some_command_and_in_the_usage() {
        let of_commands: Vec<&str> = COMMANDS.iter().flat_map(|(_, own)| *own).copied().collect();
        for (option, _) in OPTIONS {
            assert!(of_commands.contains(&option), "{option}");
            assert!(USAGE.contains(&format!("--{option}")), "{option}");
        }
        for option in of_commands {
            assert!(
                OPTIONS.iter().any(|(known, _)| *known == option),
                "{option}"
            );
        }
    }

    /// It was taken for one.
    #[test]
    fn no_jobs_at_all_are_refused() {
        for task in [&["run", "--seeds", "1"][..], &["explore"], &["mutants"]] {
            let given = lexopt::Parser::from_args(task.iter().chain(&["--jobs", "0"]));
            let told = parse(given).expect_err("nothing is done by none");
            assert!(told.starts_with("--jobs: "), "{told}");
        }
    }
}
