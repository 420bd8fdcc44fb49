//! The catalogue of planted bugs: for each, the guarantee that it breaks, what is wrong, and where.
//!
//! `proto/ids.rs` and `proto/time.rs` hold names and two sums: what could be wrong in them would be
//! wrong everywhere at once. `proto/message.rs` and `proto/limits.rs` hold types and numbers, and
//! what pictures the tree (`dump.rs`, `server/dump.rs`, `client/unanswered.rs`) is under no guarantee.

mod elsewhere;
mod server;

use zproc::seam::proto::planted::Bug;

/// One planted bug.
#[cfg_attr(
    not(any(test, feature = "planted")),
    expect(dead_code, reason = "only a build with the bugs plants them")
)]
pub(crate) struct Planted {
    pub(crate) bug: Bug,
    /// The guarantee that it breaks, whose checker must find it.
    pub(crate) guarantee: &'static str,
    /// What is wrong.
    pub(crate) explanation: &'static str,
    /// Where it is planted.
    pub(crate) file: &'static str,
}

const fn planted(
    bug: Bug,
    file: &'static str,
    guarantee: &'static str,
    explanation: &'static str,
) -> Planted {
    Planted {
        bug,
        guarantee,
        explanation,
        file,
    }
}

/// All of them.
pub(crate) fn catalogue() -> impl Iterator<Item = &'static Planted> {
    elsewhere::BUGS.iter().chain(&server::BUGS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bug_is_listed_twice() {
        for (index, planted) in catalogue().enumerate() {
            let mut before = catalogue().take(index);
            assert!(before.all(|other| other.bug != planted.bug));
            assert!(!planted.explanation.is_empty() && !planted.file.is_empty());
            assert!(crate::checkers::GUARANTEES.contains(&planted.guarantee));
        }
    }
}
