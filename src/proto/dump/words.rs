//! The picture in words, for people.

use super::{
    Awaited, CallDump, Dump, Elapsed, Keys, ProcessDump, RunningDump, Standing, WatchDump, circles,
};
use crate::proto::ids::ProcessId;
use std::fmt;
use std::time::Duration;

impl Dump {
    /// A process, by all that it is called.
    pub(super) fn name(&self, id: ProcessId) -> String {
        match self.process(id) {
            Some(process) => named(id, &process.name, &process.function),
            None => named(id, "", ""),
        }
    }
}

/// A duration, as precise as anybody wants it.
struct Short(Elapsed);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = Duration::from(self.0).as_secs_f64();
        match seconds {
            ..0.001 => write!(f, "{:.0} us", seconds * 1e6),
            ..1.0 => write!(f, "{:.0} ms", seconds * 1e3),
            ..600.0 => write!(f, "{seconds:.1} s"),
            _ => write!(f, "{} min", Duration::from(self.0).as_secs() / 60),
        }
    }
}

/// A process, by all that it is called.
fn named(ProcessId(id): ProcessId, name: &str, function: &str) -> String {
    match (name, function) {
        ("", "") => format!("process {id}"),
        ("", function) => format!("process {id} ({function})"),
        (name, "") => format!("process {id} {name:?}"),
        (name, function) => format!("process {id} {name:?} ({function})"),
    }
}

/// So many that are not listed.
fn more(left_out: u64) -> String {
    match left_out {
        0 => String::new(),
        more => format!(" and {more} more"),
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Keys::Key(key) => write!(f, "key {key:?}"),
            Keys::Prefix(prefix) => write!(f, "prefix {prefix:?}"),
            Keys::Range(from, Some(until)) => write!(f, "keys from {from:?} to {until:?}"),
            Keys::Range(from, None) => write!(f, "keys from {from:?} on"),
            Keys::All => f.write_str("all keys"),
            Keys::These { keys, left_out } => write!(f, "keys {keys:?}{}", more(*left_out)),
            Keys::AllBut { keys, left_out } => {
                write!(f, "all keys but {keys:?}{}", more(*left_out))
            }
        }
    }
}

/// Keys, each with its namespace unless that goes without saying.
fn listed(all: &[(String, Keys)], usual: Option<&str>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (place, (namespace, keys)) in all.iter().enumerate() {
        f.write_str(if place > 0 { ", " } else { "" })?;
        write!(f, "{keys}")?;
        if Some(&**namespace) != usual {
            write!(f, " of namespace {namespace:?}")?;
        }
    }
    Ok(())
}

const HELD_BACK: &str =
    ", which has ended: the answer is held back until this process has acknowledged others";

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Awaited::Condition {
                function,
                namespace,
                reads,
                reads_left_out,
            } => {
                write!(f, "{function} to hold in namespace {namespace:?}; it read ")?;
                if reads.is_empty() && *reads_left_out == 0 {
                    return f.write_str("nothing, so nothing can make it hold");
                }
                listed(reads, Some(namespace), f)?;
                f.write_str(&more(*reads_left_out))
            }
            Awaited::Equal {
                namespace,
                key,
                value,
            }
            | Awaited::Key {
                namespace,
                key,
                test: value,
            } => write!(f, "key {key:?} in namespace {namespace:?} to be {value}"),
            Awaited::End {
                process,
                name,
                function,
                held_back,
            } => {
                write!(f, "join of {}", named(*process, name, function))?;
                f.write_str(if *held_back { HELD_BACK } else { "" })
            }
            Awaited::Changed {
                namespace,
                keys,
                after,
            } => write!(
                f,
                "a change of {keys} in namespace {namespace:?} after {after}"
            ),
            Awaited::Turn {
                function,
                on,
                on_left_out,
                behind,
            } => {
                write!(f, "its turn in transaction {function} on ")?;
                listed(on, None, f)?;
                f.write_str(&more(*on_left_out))?;
                match behind {
                    Some(before) => write!(f, ", behind process {}", before.0),
                    None => Ok(()),
                }
            }
            Awaited::Lock {
                name,
                holder,
                ahead,
            } => {
                write!(f, "lock {name:?}, held by process {}", holder.0)?;
                match ahead {
                    0 => Ok(()),
                    ahead => write!(f, ", as number {} of those who wait", ahead + 1),
                }
            }
        }
    }
}

impl fmt::Display for ProcessDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut name = named(self.id, &self.name, &self.function);
        if let Some(pid) = self.pid {
            name.push_str(&format!(", pid {pid},"));
        }
        let mut lines = Vec::new();
        match &self.standing {
            Standing::Starting(since) => {
                lines.push(format!(
                    "{name} was asked for {} ago and does not run yet",
                    Short(*since)
                ));
            }
            Standing::Silent(since) => lines.push(format!(
                "{name} was asked for {} ago, runs, and has not connected yet",
                Short(*since)
            )),
            Standing::Detached(since) => {
                lines.push(format!("{name} lost its connection {} ago", Short(*since)));
            }
            Standing::WithoutSession => {
                lines.push(format!("{name} goes on without a session: its calls fail"));
            }
            Standing::Ending => {
                lines.push(format!("{name} is dead: its last writes are being read"));
            }
            Standing::Connected => {}
        }
        for wait in &self.waits {
            let waited = Short(wait.waited);
            lines.push(format!("{name} waits {waited} for: {}", wait.awaited));
        }
        if let Some(since) = self.held_up {
            lines.push(format!(
                "{name} has not taken {} bytes of answers and updates: its requests are not read \
                 since {}",
                self.queued_bytes,
                Short(since)
            ));
        } else if self.queued_bytes > 0 {
            let bytes = self.queued_bytes;
            lines.push(format!("{name}: {bytes} bytes are on their way to it"));
        }
        match (lines.is_empty(), self.watches.is_empty()) {
            (false, _) => {}
            (true, true) => lines.push(format!("{name} runs, as far as the server can see")),
            (true, false) => lines.push(format!("{name} runs, or waits for an update of:")),
        }
        for watch in &self.watches {
            lines.push(format!("  {watch}"));
        }
        f.write_str(&lines.join("\n"))
    }
}

impl fmt::Display for WatchDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "its watch {} of {} in namespace {:?}",
            self.watch, self.keys, self.namespace
        )?;
        if !self.function.is_empty() {
            write!(f, ", for `when` of {},", self.function)?;
        }
        match self.behind {
            0 => f.write_str(" has been sent all there is; ")?,
            behind => write!(
                f,
                " is {behind} revisions behind, with room for {} more bytes; ",
                self.credit_bytes
            )?,
        }
        let quiet = Short(self.quiet);
        match self.last {
            Some(last) => write!(f, "the last was {last}, {quiet} ago"),
            None => write!(f, "none has come since it began, {quiet} ago"),
        }
    }
}

impl fmt::Display for CallDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if self.request.is_some() {
            f.write_str(if self.sent {
                ": sent, not answered"
            } else {
                ": not sent yet"
            })?;
        }
        match self.waited {
            Some(waited) => write!(f, ", for {}", Short(waited)),
            None => Ok(()),
        }
    }
}

fn counted(count: usize, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.answered {
            let (count, waits) = (self.processes.len(), self.waits().count());
            write!(
                f,
                "at revision {}: {}, {}",
                self.revision,
                counted(count, "process", "processes"),
                counted(waits, "wait", "waits")
            )?;
        } else {
            f.write_str("the server did not answer")?;
            if let Some(RunningDump { function, since }) = &self.running {
                write!(f, ": it has been running {function} for {}", Short(*since))?;
            }
        }
        for process in &self.processes {
            write!(f, "\n{process}")?;
        }
        for circle in self.circles() {
            f.write_str("\n")?;
            circles::tell(self, &circle, f)?;
        }
        for call in &self.calls {
            write!(f, "\nthis process's own call: {call}")?;
        }
        for (count, what) in [
            (self.left_out.processes, "processes"),
            (self.left_out.waits, "waits"),
            (self.left_out.watches, "watches"),
            (self.left_out.calls, "calls"),
        ] {
            if count > 0 {
                write!(f, "\nnot shown: {count} more {what}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::WaitDump;
    use super::*;
    use crate::proto::ids::Revision;

    pub(in crate::proto::dump) fn process(id: u64, waits: Vec<Awaited>) -> ProcessDump {
        let wait = |(request, awaited)| WaitDump {
            request,
            tests: 1,
            waited: Duration::from_millis(12_345).into(),
            awaited,
        };
        ProcessDump {
            id: ProcessId(id),
            parent: ProcessId::PROGRAM,
            name: String::new(),
            function: format!("f{id}"),
            pid: None,
            standing: Standing::Connected,
            waits: (1..).zip(waits).map(wait).collect(),
            watches: Vec::new(),
            queued_bytes: 0,
            held_up: None,
        }
    }

    pub(in crate::proto::dump) fn dump(processes: Vec<ProcessDump>) -> Dump {
        Dump {
            answered: true,
            revision: Revision(17),
            processes,
            ..Dump::default()
        }
    }

    #[test]
    fn what_there_was_no_room_for_is_counted() {
        let mut dump = dump(Vec::new());
        dump.left_out.waits = 7;
        dump.answered = false;
        let text = dump.to_string();
        assert_eq!(text, "the server did not answer\nnot shown: 7 more waits");
        let function = "app::f".to_owned();
        dump.running = Some(RunningDump::new(function, Duration::from_millis(3_200)));
        let text = dump.to_string();
        let told = "the server did not answer: it has been running app::f for 3.2 s\n";
        assert!(text.starts_with(told), "{text}");
    }

    #[test]
    fn durations_are_short() {
        let text = |micros| Short(Duration::from_micros(micros).into()).to_string();
        assert_eq!(text(20), "20 us");
        assert_eq!(text(20_000), "20 ms");
        assert_eq!(text(12_340_000), "12.3 s");
        assert_eq!(text(3_600_000_000), "60 min");
    }

    #[test]
    fn what_is_waited_for_in_words() {
        let condition = |reads: &[(&str, Keys)]| Awaited::Condition {
            function: "c".to_owned(),
            namespace: "n".to_owned(),
            reads: reads
                .iter()
                .map(|(namespace, keys)| ((*namespace).to_owned(), keys.clone()))
                .collect(),
            reads_left_out: 0,
        };
        assert_eq!(
            condition(&[]).to_string(),
            "c to hold in namespace \"n\"; it read nothing, so nothing can make it hold"
        );
        let reads = [("n", Keys::Key("k".to_owned())), ("m", Keys::All)];
        assert_eq!(
            condition(&reads).to_string(),
            "c to hold in namespace \"n\"; it read key \"k\", all keys of namespace \"m\""
        );
    }

    #[test]
    fn what_is_under_way_in_words() {
        let mut one = process(2, vec![]);
        one.queued_bytes = 7;
        assert_eq!(
            one.to_string(),
            "process 2 (f2): 7 bytes are on their way to it"
        );
        let mut call = CallDump {
            what: "ping".to_owned(),
            request: Some(3),
            sent: true,
            waited: Some(Duration::from_secs(2).into()),
        };
        assert_eq!(call.to_string(), "ping: sent, not answered, for 2.0 s");
        (call.sent, call.waited) = (false, None);
        assert_eq!(call.to_string(), "ping: not sent yet");
    }
}
