//! What an ensemble of runs was, in numbers.

use crate::checkers::{GIVEN_UP, GUARANTEES, SEARCHED};
use crate::choices::mix;
use crate::faults::{Fault, Struck};
use crate::points::StruckPoints;
use crate::simulation::Report;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::Duration;
use zproc::seam::proto::points::Point;

/// In so many runs every fault strikes at least once, the rarest too, and there is something to
/// judge for each guarantee.
const RUNS_TO_STRIKE: u64 = 300;

/// The sums and distributions of many runs.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) runs: u64,
    pub(crate) failed: u64,
    /// Runs whose program returned an error, as it may when its session is lost.
    program_errors: u64,
    events: u64,
    simulated: Duration,
    struck: Struck,
    struck_points: StruckPoints,
    judged: BTreeMap<&'static str, u64>,
    processes: Vec<u64>,
    operations: Vec<u64>,
    events_by_run: Vec<u64>,
    in_flight: Vec<u64>,
    hash: u64,
}

impl Summary {
    /// Adds one run.
    pub(crate) fn add(&mut self, report: &Report) {
        self.runs += 1;
        self.failed += u64::from(!report.is_clean());
        self.program_errors += u64::from(report.outcome.is_err());
        self.events += report.events;
        self.simulated += report.simulated;
        self.struck.add(&report.struck);
        self.struck_points.add(&report.struck_points);
        for (guarantee, count) in &report.judged {
            *self.judged.entry(guarantee).or_default() += count;
        }
        self.processes.push(report.processes);
        self.operations.push(report.operations);
        self.events_by_run.push(report.events);
        self.in_flight.push(report.struck.in_flight_total());
        // A sum, so that the order in which jobs finish does not matter.
        self.hash = (self.hash).wrapping_add(mix(report.hash ^ mix(report.seed)));
    }

    /// Were there so few runs that what is rare need not have come?
    pub(crate) fn is_short(&self) -> bool {
        self.runs < RUNS_TO_STRIKE
    }

    /// Guarantees that nothing was judged for.
    pub(crate) fn blind(&self) -> Vec<&'static str> {
        let judged = |name: &&&str| self.judged.get(**name).is_none_or(|count| *count == 0);
        GUARANTEES.iter().filter(judged).copied().collect()
    }

    /// Faults that were active in enough runs to strike, and never did: the simulator would be
    /// claiming what it does not do.
    pub(crate) fn idle(&self) -> Vec<String> {
        let never = |fault: &Fault| {
            let index = *fault as usize;
            self.struck.count[index] == 0 && self.struck.active[index] >= RUNS_TO_STRIKE
        };
        let faults = Fault::all()
            .filter(never)
            .map(|fault| fault.name().to_owned());
        let struck = &self.struck_points;
        let points = Point::ALL.into_iter().filter(|point| {
            let index = *point as usize;
            struck.count[index] == 0 && struck.active[index] >= RUNS_TO_STRIKE
        });
        faults
            .chain(points.map(|point| format!("{point:?}")))
            .collect()
    }

    /// The text that is shown at the end.
    pub(crate) fn text(&mut self, wall: Duration) -> String {
        let mut text = String::new();
        self.write(&mut text, wall)
            .expect("writing to a string does not fail");
        text
    }

    fn write(&mut self, to: &mut String, wall: Duration) -> fmt::Result {
        let seconds = wall.as_secs_f64().max(1e-9);
        writeln!(
            to,
            "{} runs, {} failed, {} programs ended by an error of their own",
            self.runs, self.failed, self.program_errors
        )?;
        writeln!(
            to,
            "{} events in {seconds:.1} s: {:.0} events/s; simulated {:.1} s, {:.1} times wall time",
            self.events,
            self.events as f64 / seconds,
            self.simulated.as_secs_f64(),
            self.simulated.as_secs_f64() / seconds
        )?;
        writeln!(to, "\nper run            min   median      max")?;
        for (name, values) in [
            ("processes", &mut self.processes),
            ("operations", &mut self.operations),
            ("events", &mut self.events_by_run),
            ("faults in flight", &mut self.in_flight),
        ] {
            let (low, middle, high) = spread(values);
            writeln!(to, "{name:<16} {low:>5} {middle:>8} {high:>8}")?;
        }
        writeln!(
            to,
            "\nfault                in runs   struck  with requests in flight"
        )?;
        for fault in Fault::all() {
            let index = fault as usize;
            writeln!(
                to,
                "{:<20} {:>7} {:>8} {:>8}",
                fault.name(),
                self.struck.active[index],
                self.struck.count[index],
                self.struck.in_flight[index]
            )?;
        }
        writeln!(to, "\nfault point          in runs   struck")?;
        for point in Point::ALL {
            let index = point as usize;
            writeln!(
                to,
                "{:<20} {:>7} {:>8}",
                format!("{point:?}"),
                self.struck_points.active[index],
                self.struck_points.count[index]
            )?;
        }
        writeln!(to, "\nguarantee            observations judged")?;
        for guarantee in GUARANTEES {
            let count = self.judged.get(guarantee).copied().unwrap_or(0);
            writeln!(to, "{guarantee:<20} {count:>10}")?;
        }
        for beside in [SEARCHED, GIVEN_UP] {
            let count = self.judged.get(beside).copied().unwrap_or(0);
            writeln!(to, "{beside:<20} {count:>10}")?;
        }
        write!(to, "\ntotal hash {:016x}", self.hash)
    }
}

fn spread(values: &mut [u64]) -> (u64, u64, u64) {
    values.sort_unstable();
    match values {
        [] => (0, 0, 0),
        [first, ..] => {
            let first = *first;
            (first, values[values.len() / 2], values[values.len() - 1])
        }
    }
}
