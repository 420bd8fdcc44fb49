//! The story as one page to look at: `replay SEED --html FILE`.
//!
//! The page is one file: the data as JSON, and beside it the script that draws it
//! (`sim/replay.html`). It needs nothing from outside.

use crate::faults::Fault;
use crate::simulation::Report;
use crate::story::{Item, Lane, Message, Sink, What, terminal};
use crate::trace::START;
use serde::Serialize;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use zproc::seam::proto::ids::ProcessId;
use zproc::seam::proto::time::Time;

/// The page without its data.
const TEMPLATE: &str = include_str!("replay.html");
/// Where the data goes.
const PLACE: &str = "@STORY@";

/// How many items a page shows from the beginning, and as many from the end: an endless run has
/// more than anybody reads.
const SHOWN: usize = 40_000;

/// What a page is made of, while it is told.
#[derive(Debug, Default, Clone)]
pub(crate) struct Recording(Rc<RefCell<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    first: Vec<Item>,
    last: VecDeque<Item>,
    left_out: u64,
}

impl Recording {
    /// Takes the story.
    pub(crate) fn sink(&self) -> Sink {
        let kept = Rc::clone(&self.0);
        Box::new(move |item| kept.borrow_mut().keep(item, SHOWN))
    }

    /// The page of the run of this name. `result`: the report, or the panic that left none.
    pub(crate) fn page(&self, name: &str, result: Result<&Report, &str>) -> String {
        let kept = self.0.borrow();
        let json = serde_json::to_string(&data(name, result, &kept))
            .expect("numbers and text become JSON");
        // Nothing in the data may end the element that it stands in.
        TEMPLATE.replacen(PLACE, &json.replace('<', "\\u003c"), 1)
    }
}

impl Kept {
    fn keep(&mut self, item: Item, shown: usize) {
        if self.first.len() < shown {
            self.first.push(item);
            return;
        }
        self.last.push_back(item);
        if self.last.len() > shown {
            self.last.pop_front();
            self.left_out += 1;
        }
    }
}

/// All that the page's script is given.
#[derive(Debug, Serialize)]
struct Data<'a> {
    name: &'a str,
    /// `held`, `broken`, or `panic`.
    verdict: &'static str,
    outcome: &'a str,
    hash: String,
    events: u64,
    operations: u64,
    processes: u64,
    simulated_ms: String,
    violations: Vec<Finding<'a>>,
    waiting: &'a [String],
    /// Name, how often it struck, and how often with requests in flight.
    faults: Vec<(&'static str, u64, u64)>,
    lanes: Vec<LaneRow>,
    items: Vec<Row<'a>>,
    left_out: u64,
}

/// A violation, and what it names.
#[derive(Debug, Serialize)]
struct Finding<'a> {
    guarantee: &'a str,
    explanation: &'a str,
    revisions: Vec<u64>,
    processes: Vec<u64>,
}

/// A lane: the keeper, the server or a process.
#[derive(Debug, Serialize)]
struct LaneRow {
    name: String,
    /// The number of the process.
    process: Option<u64>,
    /// What it runs.
    role: String,
}

/// An item, with names as short as there are many of it.
#[derive(Debug, Default, Serialize)]
struct Row<'a> {
    /// Nanoseconds since the start.
    t: u64,
    /// The lane's place in the list.
    l: usize,
    /// The kind.
    k: &'static str,
    /// The text.
    #[serde(skip_serializing_if = "str::is_empty")]
    x: std::borrow::Cow<'a, str>,
    /// The thread, if it is not the main one.
    #[serde(skip_serializing_if = "Option::is_none")]
    h: Option<usize>,
    /// The message's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    m: Option<u64>,
    /// The request's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<u64>,
    /// The lane of the client, of the one who changed the state.
    #[serde(skip_serializing_if = "Option::is_none")]
    p: Option<usize>,
    /// The revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    r: Option<u64>,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    d: Option<u64>,
}

fn since_start(time: Time) -> u64 {
    time.0.saturating_sub(START.0)
}

fn data<'a>(name: &'a str, result: Result<&'a Report, &'a str>, kept: &'a Kept) -> Data<'a> {
    let report = result.ok();
    let lanes = Lanes::of(kept);
    let number = |of: fn(&Report) -> u64| report.map_or(0, of);
    Data {
        name,
        verdict: match result {
            Ok(report) if report.is_clean() => "held",
            Ok(_) => "broken",
            Err(_) => "panic",
        },
        outcome: match result {
            Ok(report) => report
                .outcome
                .as_ref()
                .map_or_else(String::as_str, |()| "returned"),
            Err(panic) => panic,
        },
        hash: format!("{:016x}", number(|report| report.hash)),
        events: number(|report| report.events),
        operations: number(|report| report.operations),
        processes: number(|report| report.processes),
        simulated_ms: terminal::ms(number(|report| report.simulated.as_nanos() as u64)),
        violations: report.map_or_else(Vec::new, |report| {
            (report.violations.iter())
                .map(|violation| Finding {
                    guarantee: violation.guarantee,
                    explanation: &violation.explanation,
                    revisions: named(
                        &violation.explanation,
                        &["Revision(", "revision r", "revision ", "r"],
                    ),
                    processes: named(&violation.explanation, &["ProcessId(", "#", "process "]),
                })
                .collect()
        }),
        waiting: report.map_or(&[], |report| &report.waiting),
        faults: report.map_or_else(Vec::new, |report| {
            (Fault::all().map(|fault| (fault, fault as usize)))
                .map(|(fault, index)| {
                    let struck = &report.struck;
                    (fault.name(), struck.count[index], struck.in_flight[index])
                })
                .filter(|(_, count, _)| *count > 0)
                .collect()
        }),
        items: (kept.first.iter().chain(&kept.last))
            .filter_map(|item| row(item, &lanes))
            .collect(),
        lanes: lanes.rows,
        left_out: kept.left_out,
    }
}

/// The numbers that follow one of `marks` as a word of its own, each once.
fn named(text: &str, marks: &[&str]) -> Vec<u64> {
    let mut numbers = Vec::new();
    for mark in marks {
        for (at, _) in text.match_indices(mark) {
            let before = text[..at].chars().next_back();
            let rest = &text[at + mark.len()..];
            let digits = rest
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(rest.len());
            let inside = before.is_some_and(char::is_alphanumeric);
            if let (false, Ok(number)) = (inside, rest[..digits].parse()) {
                numbers.push(number);
            }
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// The lanes, in their order on the page, and their places.
struct Lanes {
    rows: Vec<LaneRow>,
    places: BTreeMap<Lane, usize>,
}

impl Lanes {
    fn of(kept: &Kept) -> Lanes {
        let mut roles: BTreeMap<Lane, String> = BTreeMap::new();
        for lane in [Lane::Keeper, Lane::Server, ProcessId::PROGRAM.into()] {
            roles.insert(lane, String::new());
        }
        for item in kept.first.iter().chain(&kept.last) {
            match &item.what {
                What::Born { name, .. } => {
                    roles.insert(item.lane, name.to_string());
                }
                What::Role { role } => {
                    roles.insert(item.lane, role.to_string());
                }
                _ => {
                    roles.entry(item.lane).or_default();
                }
            }
        }
        // What happens to all is no lane: it goes across.
        roles.remove(&Lane::World);
        let places = roles.keys().copied().zip(0..).collect();
        let rows = (roles.into_iter())
            .map(|(lane, role)| LaneRow {
                name: lane.to_string(),
                process: match lane {
                    Lane::Process(ProcessId(process)) => Some(process),
                    _ => None,
                },
                role,
            })
            .collect();
        Lanes { rows, places }
    }

    fn place(&self, lane: Lane) -> usize {
        self.places.get(&lane).copied().unwrap_or(0)
    }
}

/// An end of a message; its text stands with its beginning only.
fn of_message<'a>(row: Row<'a>, k: &'static str, message: &Message, lanes: &Lanes) -> Row<'a> {
    Row {
        k,
        m: Some(message.id),
        s: message.seq,
        p: Some(lanes.place(message.process.into())),
        ..row
    }
}

fn of_text<'a>(row: Row<'a>, k: &'static str, text: &'a str) -> Row<'a> {
    let x = text.into();
    Row { k, x, ..row }
}

fn row<'a>(item: &'a Item, lanes: &Lanes) -> Option<Row<'a>> {
    let row = Row {
        t: since_start(item.time),
        l: lanes.place(item.lane),
        h: item.thread.filter(|thread| *thread > 0),
        ..Row::default()
    };
    Some(match &item.what {
        What::Sent(sent) => Row {
            x: (*sent.text).into(),
            ..of_message(row, "sent", sent, lanes)
        },
        What::Arrived(arrived) => Row {
            d: Some(since_start(arrived.sent)),
            ..of_message(row, "arrived", arrived, lanes)
        },
        What::Lost(lost) => of_message(row, "lost", lost, lanes),
        What::Commit { revision, by, text } => Row {
            k: "commit",
            x: text.into(),
            r: Some(revision.0),
            p: Some(lanes.place((*by).into())),
            ..row
        },
        What::Fault {
            name,
            text,
            times,
            small,
        } => Row {
            k: if *small { "small" } else { "fault" },
            x: terminal::fault(name, text, *times, *small).into(),
            ..row
        },
        What::Born { name, slowness } => Row {
            k: "born",
            x: terminal::born(name, *slowness).into(),
            ..row
        },
        What::Ended { how } => of_text(row, "ended", how),
        What::Blocks { on, .. } => of_text(row, "blocks", on),
        What::GoesOn { since, .. } => Row {
            k: "goes on",
            d: Some(since_start(*since)),
            ..row
        },
        What::Broken { text } => of_text(row, "broken", text),
        What::Note { text } if item.lane == Lane::World => of_text(row, "world", text),
        What::Note { text } => of_text(row, "note", text),
        What::Role { .. } | What::Hash { .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::{BOUND, Violation};
    use crate::choices::Otherwise;
    use crate::process::Program;
    use crate::simulation::{Options, Setup, simulate};
    use crate::workloads;
    use serde_json::Value;

    fn told(seed: u64, faults: bool, story: Option<Sink>, program: Program) -> Report {
        let setup = Setup {
            seed,
            options: Options {
                faults,
                ..Options::default()
            },
            only: None,
            feed: Vec::new(),
            otherwise: Otherwise::Drawn,
            record: false,
            story: story.map(|sink| (sink, false)),
        };
        simulate(setup, program).0
    }

    /// What the page's script would read.
    fn embedded(page: &str) -> Value {
        let start = "<script id=\"story\" type=\"application/json\">";
        let (_, rest) = page.split_once(start).expect("the page has its data");
        let (json, _) = rest.split_once("</script>").expect("the element ends");
        serde_json::from_str(json).expect("it is JSON")
    }

    fn texts<'a>(data: &'a Value, kind: &str) -> Vec<&'a str> {
        let items = data["items"].as_array().expect("a list");
        (items.iter())
            .filter(|item| item["k"] == kind)
            .map(|item| item["x"].as_str().unwrap_or(""))
            .collect()
    }

    #[test]
    fn a_drawn_run_is_the_same_run() {
        let silent = told(3, true, None, Box::new(workloads::program));
        let recording = Recording::default();
        let drawn = told(
            3,
            true,
            Some(recording.sink()),
            Box::new(workloads::program),
        );
        assert_eq!((drawn.hash, drawn.events), (silent.hash, silent.events));
        let data = embedded(&recording.page("seed 3", Ok(&drawn)));
        assert_eq!(data["name"], "seed 3");
        assert_eq!(data["verdict"], "held");
        assert_eq!(data["hash"], format!("{:016x}", silent.hash));
        assert_eq!(
            texts(&data, "born").len() as u64,
            silent.processes,
            "each process begins once"
        );
        let lanes = data["lanes"].as_array().expect("a list");
        assert_eq!(lanes.len() as u64, silent.processes + 2);
        assert_eq!(lanes[2]["name"], "#1");
        assert_eq!(texts(&data, "sent")[0], "hello");
        for (kind, least) in [
            ("arrived", 200),
            ("commit", 50),
            ("blocks", 100),
            ("goes on", 100),
        ] {
            assert!(texts(&data, kind).len() > least, "{kind}");
        }
    }

    const HOSTILE: &str = "</script><script>alert('1')</script> <!-- \" ' \\ & \u{2028}";

    #[test]
    fn hostile_text_stays_text() {
        let recording = Recording::default();
        let report = told(
            1,
            false,
            Some(recording.sink()),
            Box::new(|ctx| {
                ctx.state().set(HOSTILE, &HOSTILE)?;
                panic!("{HOSTILE}")
            }),
        );
        let page = recording.page("seed 1", Ok(&report));
        let ends = |text: &str| text.matches("</script").count();
        assert_eq!(ends(&page), ends(TEMPLATE));
        assert_eq!(page.matches("<!--").count(), 0);
        let data = embedded(&page);
        let outcome = data["outcome"].as_str().expect("text");
        assert!(outcome.contains(HOSTILE), "{outcome}");
        let sent = texts(&data, "sent");
        let set = format!("set default/{HOSTILE} = ");
        assert!(sent.iter().any(|text| text.starts_with(&set)), "{sent:?}");
    }

    #[test]
    fn the_page_needs_nothing_from_outside() {
        for outside in [
            "http", "src=", "href=", "@import", "url(", "fetch(", "import(",
        ] {
            assert!(!TEMPLATE.contains(outside), "{outside}");
        }
        assert_eq!(TEMPLATE.matches(PLACE).count(), 1);
        // Text of a run is never read as markup.
        assert!(!TEMPLATE.contains("innerHTML") && !TEMPLATE.contains("document.write"));
    }

    #[test]
    fn a_violation_names_what_is_marked() {
        let recording = Recording::default();
        let program = Box::new(|ctx: &zproc::Context| ctx.state().set("k", &1).map(drop));
        let mut report = told(1, false, Some(recording.sink()), program);
        report.violations.push(Violation {
            guarantee: BOUND,
            explanation: "process #1 owns k at r1, Revision(12) <b>".to_owned(),
        });
        let data = embedded(&recording.page("seed 1", Ok(&report)));
        assert_eq!(data["verdict"], "broken");
        let finding = &data["violations"][0];
        assert_eq!(finding["guarantee"], BOUND);
        assert_eq!(finding["explanation"], report.violations[0].explanation);
        assert_eq!(finding["revisions"], serde_json::json!([1, 12]));
        assert_eq!(finding["processes"], serde_json::json!([1]));
        let commits = data["items"].as_array().expect("a list").iter();
        let revisions: Vec<_> = commits.filter_map(|item| item["r"].as_u64()).collect();
        assert_eq!(revisions, [1]);
        let panic = embedded(&recording.page("seed 1", Err("of the core")));
        assert_eq!(
            (&panic["verdict"], &panic["outcome"]),
            (&"panic".into(), &"of the core".into())
        );
    }

    #[test]
    fn numbers_that_are_named() {
        let marks = ["Revision(", "r"];
        assert_eq!(named("r5 after Revision(3), for 7, r5", &marks), [3, 5]);
        assert_eq!(named("server9 r r-1 xr4", &marks), [0; 0]);
    }

    #[test]
    fn of_too_much_the_middle_is_left_out() {
        let mut kept = Kept::default();
        for time in 0..10 {
            let item = Item {
                time: Time(START.0 + time),
                lane: Lane::Server,
                thread: None,
                what: What::Note {
                    text: String::new(),
                },
            };
            kept.keep(item, 3);
        }
        let data = data("seed 1", Err("endless"), &kept);
        let times: Vec<u64> = data.items.iter().map(|item| item.t).collect();
        assert_eq!(times, [0, 1, 2, 7, 8, 9]);
        assert_eq!(data.left_out, 4);
    }
}
