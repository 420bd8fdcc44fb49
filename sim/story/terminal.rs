//! The story as lines for a terminal.

use super::{Item, Lane, Message, Sink, What};
use crate::trace::START;
use zproc::seam::proto::time::Time;

/// What the lines' columns and marks mean; printed above them.
pub(crate) const LEGEND: [&str; 6] = [
    "Columns: simulated time in ms; who (#1 is the program, #3.1 another thread of #3); mark; the request's number; what.",
    "  ->  sends      <-  gets       =>  the server gets, if that took 0.1 ms or more",
    "  ==  commit     !!  fault      ! small fault           xx  lost on the way     ??  broken promise",
    "  ++  begins     --  ends       ..  of note",
    "  zz  waits for a condition, an end, a message     ^^  goes on, if it was held up for 0.1 ms or more",
    "",
];

/// What takes no longer, is not worth a line.
const SLOW_NS: u64 = 100_000;

/// Gives the legend, then one line for each item that deserves one, to `print`.
/// With `colour`, what breaks is red, and what changes the state bold.
pub(crate) fn printer(colour: bool, mut print: impl FnMut(&str) + 'static) -> Sink {
    let mut begun = false;
    Box::new(move |item| {
        if !std::mem::replace(&mut begun, true) {
            LEGEND.iter().for_each(|line| print(line));
        }
        if let Some(line) = line(&item) {
            match style(&item.what) {
                Some(style) if colour => print(&format!("\x1b[{style}m{line}\x1b[0m")),
                _ => print(&line),
            }
        }
    })
}

/// Nanoseconds as milliseconds.
pub(crate) fn ms(ns: u64) -> String {
    format!("{}.{:06}", ns / 1_000_000, ns % 1_000_000)
}

/// A duration, short.
fn took(since: Time, now: Time) -> String {
    let ns = now.0.saturating_sub(since.0);
    format!("{}.{:03} ms", ns / 1_000_000, ns / 1_000 % 1_000)
}

/// The terminal's code for lines of this kind.
fn style(what: &What) -> Option<&'static str> {
    match what {
        What::Fault { small: false, .. } | What::Broken { .. } => Some("1;31"),
        What::Lost(_) => Some("31"),
        What::Commit { .. } => Some("1"),
        What::Born { .. } | What::Ended { .. } => Some("1;36"),
        What::Fault { .. } | What::Note { .. } | What::Blocks { .. } | What::GoesOn { .. } => {
            Some("2")
        }
        _ => None,
    }
}

fn line(item: &Item) -> Option<String> {
    let slow = |since: Time| item.time.0.saturating_sub(since.0) >= SLOW_NS;
    let (mark, seq, text) = match &item.what {
        What::Hash { event, hash } => return Some(format!("event {event} hash {hash:016x}")),
        What::Role { .. } => return None,
        What::Sent(message) if !message.to_server => return None,
        What::Sent(message) => ("->", message.seq, message.text.to_string()),
        What::Arrived(message) if message.to_server => {
            if !slow(message.sent) {
                return None;
            }
            ("=>", message.seq, from(message, item.time))
        }
        What::Arrived(message) => {
            let mut text = message.text.to_string();
            if slow(message.sent) {
                text += &format!(" (on the way for {})", took(message.sent, item.time));
            }
            ("<-", message.seq, text)
        }
        What::Lost(message) if message.to_server => ("xx", message.seq, message.text.to_string()),
        What::Lost(message) => {
            let text = format!("to {}: {}", message.process, message.text);
            ("xx", message.seq, text)
        }
        What::Commit { revision, text, .. } => {
            ("==", None, format!("revision {}: {text}", revision.0))
        }
        What::Fault {
            name,
            text,
            times,
            small,
        } => {
            let mark = if *small { "! " } else { "!!" };
            (mark, None, fault(name, text, *times, *small))
        }
        What::Broken { text } => ("??", None, format!("BROKEN {text}")),
        What::Born { name, slowness } => ("++", None, born(name, *slowness)),
        What::Ended { how } => ("--", None, how.clone()),
        What::Blocks { long: false, .. } => return None,
        What::Blocks { on, .. } => ("zz", None, waits(on)),
        What::GoesOn { since, .. } if !slow(*since) => return None,
        What::GoesOn { on, since } => {
            let text = format!("goes on after {}: {on}", took(*since, item.time));
            ("^^", None, text)
        }
        What::Note { text } => ("..", None, text.clone()),
    };
    let elapsed = ms(item.time.0.saturating_sub(START.0));
    let seq = seq.map_or_else(String::new, |seq| seq.to_string());
    Some(format!(
        "{elapsed:>13}  {:<7} {mark} {seq:>4}  {text}",
        who(item)
    ))
}

/// A request names itself what it waits for.
fn waits(on: &str) -> String {
    if on.starts_with("wait ") {
        on.replacen("wait", "waits", 1)
    } else {
        format!("waits for {on}")
    }
}

/// The lane, and the thread if it is not the main one.
pub(crate) fn who(item: &Item) -> String {
    match (item.lane, item.thread) {
        (Lane::Process(process), Some(thread)) if thread > 0 => format!("{process}.{thread}"),
        (lane, _) => lane.to_string(),
    }
}

fn from(message: &Message, now: Time) -> String {
    let on_the_way = took(message.sent, now);
    format!(
        "from {}, on the way for {on_the_way}: {}",
        message.process, message.text
    )
}

/// A fault in words.
pub(crate) fn fault(name: &str, text: &str, times: u64, small: bool) -> String {
    let mut line = if small { "" } else { "FAULT " }.to_owned() + name;
    if times > 1 {
        line += &format!(", {times} times");
    }
    if !text.is_empty() {
        line += &format!(": {text}");
    }
    line
}

/// A process's beginning in words.
pub(crate) fn born(name: &str, slowness: u64) -> String {
    match slowness {
        1 => format!("begins: {name}"),
        slowness => format!("begins, {slowness} times slower than others: {name}"),
    }
}
