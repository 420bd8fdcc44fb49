//! Why a run can't go on: who waits for what since when.
//!
//! The picture is the server's own, the one that `Context::dump` gives; to it comes what only the
//! simulator sees: the threads, and what lies in the connections.

use crate::server::Link;
use crate::world::{Sleep, Thread, World};

impl World {
    /// Who waits for what since when, a line each.
    pub(crate) fn waiting(&self) -> Vec<String> {
        let picture = self.host.server.dump(self.now).to_string();
        let mut lines: Vec<String> = picture.lines().map(str::to_owned).collect();
        for (index, thread) in self.threads.iter().enumerate() {
            lines.extend(self.sleeper(index, thread));
        }
        for (index, link) in self.host.links.iter().enumerate() {
            lines.extend(in_transit(index, link));
        }
        lines
    }

    fn sleeper(&self, index: usize, thread: &Thread) -> Option<String> {
        let does = match thread.sleep {
            Sleep::Ended => return None,
            Sleep::Awake => "could run".to_owned(),
            Sleep::Parked => "is parked".to_owned(),
            Sleep::Waiting { link, write: false } => format!("waits to read from link {link}"),
            Sleep::Waiting { link, write: true } => {
                format!("waits to read from or write to link {link}")
            }
            Sleep::Joining(other) => format!("joins thread {other}"),
        };
        let since = self.now.since(thread.since);
        let process = thread.process.0;
        Some(format!(
            "thread {index} of process {process} {does} since {since:?}"
        ))
    }
}

/// What has been written to a connection and has not been taken out of it.
fn in_transit(index: usize, link: &Link) -> Option<String> {
    if link.is_over() {
        return None;
    }
    let mut parts = Vec::new();
    for (whom, pipe) in [("server", &link.to_server), ("client", &link.to_client)] {
        let (arrived, travelling) = (pipe.readable(), pipe.travelling());
        if arrived + travelling > 0 {
            parts.push(format!(
                "{arrived} bytes have arrived at the {whom} unread, {travelling} have not{}",
                if pipe.delivering {
                    ""
                } else {
                    " and stand still"
                }
            ));
        }
    }
    if link.inbox_bytes() > 0 {
        let bytes = link.inbox_bytes();
        parts.push(format!(
            "the server has read {bytes} bytes and not taken them"
        ));
    }
    if parts.is_empty() {
        parts.push("empty".to_owned());
    }
    let process = link.process.0;
    Some(format!(
        "link {index} of process {process}: {}",
        parts.join("; ")
    ))
}
