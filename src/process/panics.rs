//! Panics as values: message, location and backtrace of a panic that was caught.
//!
//! `catch_unwind` alone gives the payload; where it happened is told to the panic hook only. So a
//! hook notes each panic for the thread, and [`capture`] takes the note of the panic it caught.

use super::words;
use crate::proto::limits::FAILURE_BYTES_MAX;
use crate::proto::server::FaultText;
use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::fmt::{self, Write};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::OnceLock;

/// Most bytes of a message; what is left of [`FAILURE_BYTES_MAX`] is the backtrace's.
const MESSAGE_BYTES_MAX: usize = FAILURE_BYTES_MAX / 2;
/// Most bytes of a location.
const LOCATION_BYTES_MAX: usize = 1024;
/// Most bytes of a backtrace.
const BACKTRACE_BYTES_MAX: usize = FAILURE_BYTES_MAX - MESSAGE_BYTES_MAX - LOCATION_BYTES_MAX;
/// Most panics of one capture that are remembered, those included that were caught inside it.
const NOTES_MAX: usize = 8;
/// What stands at the end of a text that was cut.
const CUT: &str = "... (cut)";

/// How panics are treated in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Take backtraces where `RUST_BACKTRACE` asks for them. They hold names and paths of the
    /// build; the simulator leaves them out.
    pub backtraces: bool,
    /// Let the hook that was there before print captured panics too, as a process does whose
    /// parent may never ask.
    pub print: bool,
}

static OPTIONS: OnceLock<Options> = OnceLock::new();

thread_local! {
    /// How many captures are on this thread's stack.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// The panics since the outermost of them began, oldest first.
    static NOTES: RefCell<Vec<FaultText>> = const { RefCell::new(Vec::new()) };
}

/// Installs the hook, once for the process; the first options stand.
///
/// Panics outside [`capture`] go on to the hook that was there before, as if ours were not.
/// Without the hook `capture` still works, and gives the message alone.
pub fn install(options: Options) {
    if OPTIONS.set(options).is_err() {
        return;
    }
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let capturing = DEPTH.try_with(Cell::get).unwrap_or(0) > 0;
        // Each panic of a process may be the last thing that it does.
        if capturing || words::is_wanted() {
            let fault = fault_in_hook(info, options);
            words::panicked(&fault, capturing);
            if capturing {
                note(fault);
            }
        }
        if !capturing || options.print {
            previous(info);
        }
    }));
}

/// Runs `f`; a panic of it is an `Err` that says what, where, and how it came there.
///
/// Never more than [`FAILURE_BYTES_MAX`] bytes in all, cut between characters.
///
/// # Errors
/// When `f` panics.
pub fn capture<R>(f: impl FnOnce() -> R) -> Result<R, FaultText> {
    let earlier = NOTES.with(|notes| notes.borrow().len());
    DEPTH.set(DEPTH.get() + 1);
    // What `f` leaves half done stays behind with the panic: the state is rolled back by the
    // server, and a process ends.
    let result = catch_unwind(AssertUnwindSafe(f));
    DEPTH.set(DEPTH.get() - 1);
    match result {
        Ok(value) => {
            NOTES.with(|notes| notes.borrow_mut().truncate(earlier));
            Ok(value)
        }
        Err(payload) => Err(fault_of(payload, earlier)),
    }
}

/// Sets how many captures the present stack is in, and gives how many it was in.
///
/// For whoever switches stacks on one thread, as the simulator does: each stack's count must go
/// and come with it, or a panic of one would be taken for a captured one of another.
pub fn exchange_depth(depth: u32) -> u32 {
    DEPTH.replace(depth)
}

/// The backtrace of this place: only if `RUST_BACKTRACE` asks for it, and never
/// where [`Options::backtraces`] is off.
pub(crate) fn error_backtrace() -> String {
    if OPTIONS.get().is_some_and(|options| !options.backtraces) {
        return String::new();
    }
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        bounded(&backtrace, BACKTRACE_BYTES_MAX)
    } else {
        String::new()
    }
}

/// A fault with the bounds of a captured panic.
pub(crate) fn bound(fault: FaultText) -> FaultText {
    FaultText {
        message: bounded(&fault.message, MESSAGE_BYTES_MAX),
        location: bounded(&fault.location, LOCATION_BYTES_MAX),
        backtrace: bounded(&fault.backtrace, BACKTRACE_BYTES_MAX),
    }
}

/// The hook's part: what this panic says, and where it is.
fn fault_in_hook(info: &PanicHookInfo<'_>, options: Options) -> FaultText {
    FaultText {
        message: bounded(&message_of(info.payload()), MESSAGE_BYTES_MAX),
        location: info
            .location()
            .map(|location| bounded(location, LOCATION_BYTES_MAX))
            .unwrap_or_default(),
        // As everywhere in Rust it is for the environment to ask for it: it takes milliseconds,
        // and in the server everybody waits for them.
        backtrace: if options.backtraces {
            error_backtrace()
        } else {
            String::new()
        },
    }
}

/// Keeps it until it is caught.
fn note(fault: FaultText) {
    // A panic while the thread ends has no notes to go to; nobody captures it either.
    let _ = NOTES.try_with(|notes| {
        let mut notes = notes.borrow_mut();
        if notes.len() == NOTES_MAX {
            notes.remove(0);
        }
        notes.push(fault);
    });
}

/// The caught panic's note, or at least its message.
fn fault_of(payload: Box<dyn Any + Send>, earlier: usize) -> FaultText {
    let message = bounded(&message_of(&*payload), MESSAGE_BYTES_MAX);
    // A payload may panic when it is dropped; then it is left where it is.
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
    let noted = NOTES.with(|notes| {
        let mut notes = notes.borrow_mut();
        // Destructors that ran since may have panicked and caught it themselves, so the newest
        // note need not be of this panic.
        let own = earlier.min(notes.len());
        let position = notes[own..]
            .iter()
            .rposition(|note| note.message == message);
        let noted = position.map(|position| notes.swap_remove(own + position));
        notes.truncate(earlier);
        noted
    });
    // No note: the program has put a hook in place of ours, or `resume_unwind` told no hook.
    noted.unwrap_or(FaultText {
        message,
        location: String::new(),
        backtrace: String::new(),
    })
}

fn message_of(payload: &dyn Any) -> String {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic whose payload is no text".to_owned()
    }
}

/// A text of at most `bytes_max` bytes; what would follow is not even formatted.
pub(crate) fn bounded(text: &(impl fmt::Display + ?Sized), bytes_max: usize) -> String {
    struct Bounded {
        text: String,
        room: usize,
    }
    impl Write for Bounded {
        fn write_str(&mut self, more: &str) -> fmt::Result {
            if more.len() <= self.room {
                self.room -= more.len();
                self.text.push_str(more);
                return Ok(());
            }
            let mut cut = self.room;
            while !more.is_char_boundary(cut) {
                cut -= 1;
            }
            self.text.push_str(&more[..cut]);
            self.room = 0;
            Err(fmt::Error)
        }
    }
    let mut out = Bounded {
        text: String::new(),
        room: bytes_max - CUT.len(),
    };
    if write!(out, "{text}").is_err() {
        out.text.push_str(CUT);
    }
    out.text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed() {
        install(Options {
            backtraces: true,
            print: false,
        });
    }

    #[test]
    fn a_panic_says_what_and_where() {
        installed();
        let fault = capture(|| panic!("number {}", 5)).unwrap_err();
        assert_eq!(fault.message, "number 5");
        assert!(fault.location.contains("panics.rs:"), "{}", fault.location);
        let asked = Backtrace::capture().status() == BacktraceStatus::Captured;
        let traced = fault.backtrace.contains("a_panic_says");
        assert_eq!(traced, asked, "{}", fault.backtrace);
        assert_eq!(capture(|| 7).map_err(|fault| fault.message), Ok(7));
        assert!(NOTES.with(|notes| notes.borrow().is_empty()));
    }

    #[test]
    fn the_caught_panic_is_told_not_one_of_a_destructor() {
        struct Noisy;
        impl Drop for Noisy {
            fn drop(&mut self) {
                let _ = catch_unwind(|| panic!("inner"));
            }
        }
        installed();
        let fault = capture(|| {
            let _noisy = Noisy;
            panic!("outer")
        })
        .unwrap_err();
        assert_eq!(fault.message, "outer");
        assert!(!fault.location.is_empty());
    }

    #[test]
    fn a_nested_capture_keeps_the_outer_one_whole() {
        installed();
        let fault = capture(|| {
            let inner = capture(|| panic!("inner")).unwrap_err();
            assert_eq!(inner.message, "inner");
            panic!("outer")
        })
        .unwrap_err();
        assert_eq!(fault.message, "outer");
        assert_eq!(exchange_depth(0), 0);
    }

    #[test]
    fn odd_payloads() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("a payload's own panic")
            }
        }
        installed();
        let fault = capture(|| std::panic::panic_any(Bomb)).unwrap_err();
        assert_eq!(fault.message, "a panic whose payload is no text");
        let fault = capture(|| std::panic::resume_unwind(Box::new("quiet"))).unwrap_err();
        assert_eq!(
            (fault.message.as_str(), fault.location.as_str()),
            ("quiet", "")
        );
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        installed();
        let fault = capture(|| panic!("{}", "ä".repeat(FAILURE_BYTES_MAX))).unwrap_err();
        assert!(fault.message.len() <= MESSAGE_BYTES_MAX);
        assert!(fault.message.ends_with(CUT));
        let total = fault.message.len() + fault.location.len() + fault.backtrace.len();
        assert!(total <= FAILURE_BYTES_MAX);
    }
}
