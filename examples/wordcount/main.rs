//! Counts the words in every file below a directory with many processes that share one state.
//!
//! ```text
//! cargo run --release --example wordcount -- [DIR] [--workers N]
//! ```
//!
//! Kill any worker at any time: the total stays right. `--workers 0` counts in this process only
//! and prints the same.

mod count;

use count::{Counts, Plan, Total};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Instant;

/// Of the default directory no more than this is counted: it may hold years of sources.
const DEFAULT_BYTES_MAX: u64 = 256 * 1024 * 1024;

struct Options {
    directory: PathBuf,
    bytes_max: u64,
    workers: usize,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = options()?;
    let begin = Instant::now();
    let plan = Plan::below(
        &options.directory,
        options.bytes_max,
        count::CHUNK_BYTES_MAX,
    )
    .map_err(|error| format!("{}: {error}", options.directory.display()))?;
    eprintln!(
        "{}: {} files, {:.1} MB, {} workers",
        options.directory.display(),
        plan.files,
        plan.bytes as f64 / 1e6,
        options.workers
    );
    let (counts, replaced) = if options.workers == 0 {
        (count::count_here(&plan), 0)
    } else {
        let ctx = zproc::Context::new()?;
        let mut bar = Bar::new(plan.chunks.len() as u64);
        count::count_in_processes(
            &ctx,
            &plan,
            options.workers,
            |_, _| {},
            |total| bar.show(total),
        )?
    };
    if replaced > 0 {
        eprintln!("{replaced} workers were killed and replaced");
    }
    if plan.binary > 0 {
        eprintln!("{} files are binary and were left out", plan.binary);
    }
    let unreadable = plan.unreadable + counts.unreadable;
    if unreadable > 0 {
        eprintln!("{unreadable} files or directories could not be read");
    }
    print(&plan, &counts);
    eprintln!("{:.2} s", begin.elapsed().as_secs_f64());
    Ok(())
}

fn print(plan: &Plan, counts: &Counts) {
    for (word, count) in counts.commonest(10) {
        println!("{count:>10}  {word}");
    }
    println!(
        "{:>10}  words, {} different, in {} files",
        counts.total,
        counts.by_word.len(),
        plan.files
    );
}

fn options() -> Result<Options, String> {
    let usage = "usage: wordcount [DIR] [--workers N]";
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let mut workers = cores.max(2);
    let mut directory = None;
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--workers" {
            let number = arguments.next().ok_or(usage)?;
            workers = number.to_string_lossy().parse().map_err(|_| usage)?;
        } else if argument.to_string_lossy().starts_with('-') || directory.is_some() {
            return Err(usage.to_owned());
        } else {
            directory = Some(PathBuf::from(argument));
        }
    }
    Ok(Options {
        bytes_max: directory.as_ref().map_or(DEFAULT_BYTES_MAX, |_| u64::MAX),
        directory: directory.unwrap_or_else(fetched_sources),
        workers,
    })
}

/// Where cargo keeps the sources that it has fetched; this crate's own, if there are none.
fn fetched_sources() -> PathBuf {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    home.or_else(|| Some(std::env::home_dir()?.join(".cargo")))
        .map(|home| home.join("registry/src"))
        .filter(|sources| sources.is_dir())
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src"))
}

/// A bar on a terminal, a line for each tenth otherwise.
struct Bar {
    chunks: u64,
    terminal: bool,
    shown: u64,
}

impl Bar {
    fn new(chunks: u64) -> Bar {
        let terminal = std::io::stderr().is_terminal();
        Bar {
            chunks,
            terminal,
            shown: 0,
        }
    }

    fn show(&mut self, total: Total) {
        let percent = total.chunks * 100 / self.chunks.max(1);
        let step = if self.terminal { 1 } else { 10 };
        if percent < self.shown + step {
            return;
        }
        self.shown = percent - percent % step;
        let Total { chunks, words } = total;
        let text = format!(
            "{percent:>3}%  {words} words, {chunks} of {} chunks",
            self.chunks
        );
        let mut stderr = std::io::stderr();
        // Who closes stderr wants no bar.
        let _ = if self.terminal {
            let full = "#".repeat(percent as usize / 3);
            let end = if percent == 100 { "\n" } else { "" };
            write!(stderr, "\r[{full:<33}] {text}{end}")
        } else {
            writeln!(stderr, "{text}")
        };
    }
}
