//! Plants the bugs of the catalogue, and sees that the right checker finds each.

use crate::catalogue::catalogue;
#[cfg(feature = "planted")]
use crate::say::say;
use std::process::Command;

/// Which bugs, and how hard to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mutants {
    /// Seeds after which a bug counts as alive.
    pub(crate) seeds: u64,
    /// This one alone.
    pub(crate) only: Option<String>,
    /// One share of the catalogue: its number, from zero, and how many there are.
    pub(crate) share: (u64, u64),
    /// A bug whose run does not get small counts as alive.
    pub(crate) strict: bool,
    /// How many bugs are hunted at a time.
    pub(crate) jobs: u64,
}

impl Mutants {
    /// The names of the bugs that are wanted.
    fn names(&self) -> Result<Vec<String>, String> {
        let all = catalogue().map(|planted| format!("{:?}", planted.bug));
        let names: Vec<String> = match &self.only {
            Some(only) => all.filter(|name| name == only).collect(),
            None => {
                let (share, of) = self.share;
                let mine = all.zip(0..).filter(|(_, index)| index % of == share);
                mine.map(|(name, _)| name).collect()
            }
        };
        match &self.only {
            Some(only) if names.is_empty() => Err(format!("no such bug: {only}")),
            _ => Ok(names),
        }
    }
}

/// Without the bugs compiled in: builds this program with them, and runs that.
#[cfg(not(feature = "planted"))]
pub(crate) fn run(mutants: &Mutants) -> Result<bool, String> {
    mutants.names()?;
    let cargo = std::env::var("CARGO").unwrap_or("cargo".into());
    let mut command = Command::new(cargo);
    command.args(["run", "--release", "-p", "zproc-sim"]);
    // A directory of its own, so that the two builds don't take turns in undoing each other.
    command.args(["--features", "planted", "--target-dir", "target/planted"]);
    command.args(["--", "mutants"]);
    let (share, of) = mutants.share;
    command.arg(format!("--seeds={}", mutants.seeds));
    command.arg(format!("--share={share}/{of}"));
    command.arg(format!("--jobs={}", mutants.jobs));
    command.args(mutants.strict.then_some("--strict"));
    command.args(mutants.only.iter().map(|only| format!("--only={only}")));
    let status = command.status();
    Ok(status.map_err(|error| format!("cargo: {error}"))?.success())
}

/// Plants each bug in turn, each in a process of its own.
#[cfg(feature = "planted")]
pub(crate) fn run(mutants: &Mutants) -> Result<bool, String> {
    let names = mutants.names()?;
    if let Some(planted) =
        catalogue().find(|planted| mutants.only == Some(format!("{:?}", planted.bug)))
    {
        return Ok(crate::kill::kill(
            planted,
            &names[0],
            mutants.seeds,
            mutants.strict,
        ));
    }
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let next = std::sync::atomic::AtomicUsize::new(0);
    let hunted = std::sync::Mutex::new(Hunted::default());
    std::thread::scope(|scope| {
        for _ in 0..mutants.jobs {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some(name) = names.get(index) else { return };
                    let mut command = Command::new(&program);
                    command.args(["mutants", "--only", name]);
                    command.arg(format!("--seeds={}", mutants.seeds));
                    command.args(mutants.strict.then_some("--strict"));
                    let output = command.output();
                    let mut hunted = hunted.lock().expect("nothing panics with this lock held");
                    hunted.add(name, output);
                }
            });
        }
    });
    let mut hunted = hunted
        .into_inner()
        .expect("nothing panics with this lock held");
    Ok(hunted.tell(names.len()))
}

/// What came of all of them.
#[cfg(feature = "planted")]
#[derive(Default)]
struct Hunted {
    killed: Vec<String>,
    alive: Vec<String>,
}

#[cfg(feature = "planted")]
impl Hunted {
    fn add(&mut self, name: &str, output: std::io::Result<std::process::Output>) {
        let dead = output.as_ref().is_ok_and(|output| output.status.success());
        let text = match output {
            // A run that hangs aborts its program, and says so there.
            Ok(output) => [output.stdout, output.stderr]
                .map(|text| String::from_utf8_lossy(&text).into_owned())
                .concat(),
            Err(error) => format!("{name}: {error}"),
        };
        say!("{}", text.trim_end());
        if dead {
            let line = text.lines().find(|line| line.contains("KILLED "));
            let line = line.unwrap_or(name).replacen("KILLED ", "", 1);
            self.killed.push(line.trim().to_owned());
        } else {
            self.alive.push(name.to_owned());
        }
    }

    fn tell(&mut self, of: usize) -> bool {
        self.killed.sort_unstable();
        say!("\nkilled:\n{}", self.killed.join("\n"));
        let large = self
            .killed
            .iter()
            .filter(|line| line.ends_with("TOO LARGE"));
        let large = large.count();
        let alive = self.alive.join(" ");
        say!(
            "\n{} of {of} planted bugs killed, {large} of them with a run that stays large; alive: {}",
            self.killed.len(),
            if alive.is_empty() { "none" } else { &alive }
        );
        self.alive.is_empty() && self.killed.len() == of
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_the_whole_and_names_are_known() {
        let mutants = |only: Option<&str>, share| Mutants {
            seeds: 1,
            only: only.map(str::to_owned),
            share,
            strict: false,
            jobs: 1,
        };
        let all = mutants(None, (0, 1)).names().unwrap();
        let mut shares: Vec<String> = (0..3)
            .flat_map(|share| mutants(None, (share, 3)).names().unwrap())
            .collect();
        let mut sorted = all.clone();
        sorted.sort_unstable();
        shares.sort_unstable();
        assert_eq!(shares, sorted);
        assert_eq!(mutants(Some(&all[1]), (0, 1)).names().unwrap(), all[1..2]);
        assert!(mutants(Some("NoSuchBug"), (0, 1)).names().is_err());
    }
}
