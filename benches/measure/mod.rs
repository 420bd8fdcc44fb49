//! How the benches measure: ours and a peer's work in turns, round by round, so that whatever the
//! machine does meanwhile happens to both; then medians, spread, and the ratio.

use std::time::{Duration, Instant};

/// How much is measured, and how it is told.
pub(crate) struct Options {
    /// `--json`: one object a line.
    pub(crate) json: bool,
    /// False: a trial run, by `cargo test --benches`.
    pub(crate) in_earnest: bool,
}

impl Options {
    pub(crate) fn from_arguments() -> Options {
        let has = |wanted: &str| std::env::args().any(|argument| argument == wanted);
        Options {
            json: has("--json"),
            in_earnest: has("--bench"),
        }
    }
}

/// Something to measure: how long each of its runs took.
pub(crate) struct Work<'a> {
    name: &'a str,
    /// Does it once, and tells how long it took.
    run: Box<dyn FnMut() -> Duration + 'a>,
    samples: Vec<Duration>,
}

impl<'a> Work<'a> {
    pub(crate) fn new(name: &'a str, mut run: impl FnMut() + 'a) -> Work<'a> {
        Work::timed(name, move || {
            let begin = Instant::now();
            run();
            begin.elapsed()
        })
    }

    /// Work of which a part is to be measured: it does so itself.
    pub(crate) fn timed(name: &'a str, run: impl FnMut() -> Duration + 'a) -> Work<'a> {
        Work {
            name,
            run: Box::new(run),
            samples: Vec::new(),
        }
    }

    fn measure(&mut self, runs: usize) {
        for _ in 0..runs {
            let took = (self.run)();
            self.samples.push(took);
        }
    }

    /// The value below which this share of the samples lies, in microseconds.
    fn quantile(&self, percent: usize) -> f64 {
        let mut sorted = self.samples.clone();
        sorted.sort_unstable();
        let index = (sorted.len() - 1) * percent / 100;
        sorted[index].as_secs_f64() * 1e6
    }
}

/// Measures all of `ours` beside `peer`, in rounds of `runs` runs each, and prints a line for each.
pub(crate) fn beside<'a>(
    options: &Options,
    mut peer: Work<'a>,
    mut ours: Vec<Work<'a>>,
    rounds: usize,
    runs: usize,
) {
    let rounds = if options.in_earnest { rounds } else { 1 };
    // The first runs warm caches and are not counted.
    for work in ours.iter_mut().chain([&mut peer]) {
        work.measure(runs);
        work.samples.clear();
    }
    for round in 0..rounds {
        peer.measure(runs);
        // Nobody always comes after the same one.
        let count = ours.len();
        for index in 0..count {
            ours[(index + round) % count].measure(runs);
        }
    }
    for work in &ours {
        print(options, work, &peer);
    }
}

fn print(options: &Options, ours: &Work<'_>, peer: &Work<'_>) {
    let (our, their) = (ours.quantile(50), peer.quantile(50));
    let ratio = our / their;
    if options.json {
        println!(
            r#"{{"name":"{}","ours":{our:.3},"peer":{their:.3},"peer_name":"{}","unit":"us","ratio":{ratio:.3}}}"#,
            ours.name, peer.name
        );
        return;
    }
    println!("{:<10} {our:>9.1} us  {}", ours.name, spread(ours));
    println!(
        "{:<10} {their:>9.1} us  {}  {}",
        "",
        spread(peer),
        peer.name
    );
    println!("{:<10} {ratio:>9.2} x", "");
}

fn spread(work: &Work<'_>) -> String {
    let (low, high) = (work.quantile(5), work.quantile(95));
    format!(
        "(90% of {} within {low:.1} to {high:.1})",
        work.samples.len()
    )
}
