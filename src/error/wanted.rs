//! What the update log no longer holds, in words: what is to be done depends on what it was for.

use crate::proto::ids::Revision;
use serde::{Deserialize, Serialize};
use std::fmt;

/// For what the update log was needed that no longer holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Wanted {
    /// What comes next for a watch.
    Next,
    /// Whether a condition was true at the next revision that changes what it reads.
    When,
    /// Where a watch was to begin.
    Begin,
    /// What happened while something was read in parts.
    Meanwhile,
    /// The state as it was.
    Past,
}

impl Wanted {
    /// That the log begins here.
    pub(super) fn fmt_of(self, oldest: Revision, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, advice) = self.in_words();
        write!(
            f,
            "the update log no longer holds {what}: its oldest revision is {oldest}, by now \
             perhaps a later one; {advice}"
        )
    }

    /// What is missing, and what is to be done.
    fn in_words(self) -> (&'static str, &'static str) {
        match self {
            Wanted::Next => (
                "what comes next",
                "`restart` takes a snapshot and goes on from there",
            ),
            Wanted::When => (
                "the next change of what the condition reads",
                "so it may have been true meanwhile, and gone by: a new `when` begins with the \
                 present; how far back the log reaches is set by `Limits::history_bytes_max`",
            ),
            Wanted::Begin => (
                "the revision to begin at",
                "begin at a later one, or by `start_with_snapshot`",
            ),
            Wanted::Meanwhile => (
                "what was changed while this was read",
                "call again, when less is written",
            ),
            Wanted::Past => (
                "what was changed since the revision that is to be read",
                "read a later one; how far back the log reaches is set by `Limits::history_bytes_max`",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    /// All were told to restart their watch.
    #[test]
    fn each_call_has_its_own_advice() {
        let cases = [
            (Wanted::Next, "`restart`"),
            (Wanted::When, "a new `when` begins"),
            (Wanted::Begin, "`start_with_snapshot`"),
            (Wanted::Meanwhile, "call again"),
            (Wanted::Past, "read a later one"),
        ];
        for (wanted, advice) in cases {
            let oldest = Revision(7);
            let text = Kind::Compacted { oldest, wanted }.to_string();
            assert!(text.contains(advice), "{text}");
            let others = cases.iter().filter(|(other, _)| *other != wanted);
            assert_eq!(others.filter(|(_, other)| text.contains(other)).count(), 0);
        }
    }
}
