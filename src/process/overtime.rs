//! The keeper's watch over the functions in the server: one that runs past its time costs the server
//! its life, and whoever loses the server learns why.
//!
//! While functions run the keeper looks at the shared page a few times per limit; when none has run
//! for a while it looks no more, and the server rings a bell when it begins the next one. So neither
//! a busy server nor an idle one pays for it by the call.

use super::page::{Page, Told};
use super::sys::{self, Pid};
use crate::proto::time::Time;
use crate::proto::watchdog::{Verdict, Watchdog};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// See the [module](self).
pub(crate) struct Overtime {
    page: Page,
    bell: OwnedFd,
    watchdog: Watchdog,
    limit: Duration,
    /// Its clock begins here. Time in which the machine was suspended does not count.
    begin: Instant,
    /// The server was killed for a function.
    is_over: bool,
}

impl Overtime {
    pub(crate) fn new(page: Page, limit: Duration) -> io::Result<Overtime> {
        Ok(Overtime {
            page,
            bell: sys::bell()?,
            watchdog: Watchdog::new(limit),
            limit,
            begin: Instant::now(),
            is_over: false,
        })
    }

    /// What the server rings.
    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    fn now(&self) -> Time {
        Time::default().after(self.begin.elapsed())
    }

    /// How long until the next look.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        let deadline = self.watchdog.deadline()?;
        Some(deadline.since(self.now()))
    }

    /// The bell was rung.
    pub(crate) fn rung(&mut self) {
        let _ = sys::read(self.bell.as_fd(), &mut [0; 8]);
        self.watchdog.rung(self.page.turn(), self.now());
    }

    /// Looks, if it is time; kills the server if it has to. One that is no process of the tree runs no
    /// functions of it.
    pub(crate) fn look(&mut self, server: Option<Pid>) {
        let Some(server) = server else {
            return;
        };
        let now = self.now();
        let turn = self.page.turn();
        match self.watchdog.look(turn, now, || is_held(server)) {
            Verdict::GoOn => {}
            Verdict::Rest => {
                if let Some(turn) = self.page.rest() {
                    self.watchdog.rung(turn, now);
                }
            }
            Verdict::Over => {
                self.is_over = true;
                sys::signal_child(server, libc::SIGKILL);
            }
        }
    }

    /// The server is gone, and was none of the tree's processes: tells those who have lost it.
    pub(crate) fn tell_unseen(&self) {
        self.page.tell(Told::Unseen);
    }

    /// The server was reaped: tells those who have lost it how it ended.
    pub(crate) fn tell(&self, status: libc::c_int) {
        // It may have died of something else just before.
        let by_sigkill = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL;
        self.page.tell(match self.is_over && by_sigkill {
            true => Told::TimeLimit(self.limit),
            false => Told::Status(status),
        });
    }
}

/// Is it not the function that takes the time? Who looks at it with a debugger, or has stopped it, has
/// all the time in the world; and a server that writes its core is dead already, of something else.
fn is_held(pid: Pid) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    is_held_by(&status)
}

fn is_held_by(status: &str) -> bool {
    let field = |name: &str| {
        let mut lines = status.lines();
        lines.find_map(|line| line.strip_prefix(name).map(str::trim))
    };
    field("TracerPid:").is_some_and(|tracer| tracer != "0")
        || field("State:").is_some_and(|state| state.starts_with(['T', 't']))
        || field("CoreDumping:") == Some("1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_debugs_this_test_or_it_is_known() {
        let status = std::fs::read_to_string("/proc/self/status").expect("there is /proc");
        assert_eq!(is_held(sys::pid()), !status.contains("TracerPid:\t0\n"));
    }

    #[test]
    fn a_server_that_is_stopped_traced_or_dumped_is_left_alone() {
        let status = |state, tracer, dumps| {
            format!("Name:\ta\nState:\t{state}\nTracerPid:\t{tracer}\nCoreDumping:\t{dumps}\n")
        };
        assert!(!is_held_by(&status("R (running)", 0, 0)));
        assert!(!is_held_by(&status("D (disk sleep)", 0, 0)));
        assert!(is_held_by(&status("T (stopped)", 0, 0)));
        assert!(is_held_by(&status("S (sleeping)", 17, 0)));
        assert!(is_held_by(&status("D (disk sleep)", 0, 1)));
    }
}
