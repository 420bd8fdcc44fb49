//! What an ensemble of runs has reached: the marks, and the kinds of messages.

use crate::say::say;
use std::fmt::Write;
use zproc::seam::proto::kinds::{RARE, unsaid};
use zproc::seam::proto::marks::{Mark, unreached};

/// Something that no run of this program has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Missed {
    /// A mark's name, or a message's and its kind's.
    name: String,
    /// What it is.
    sentence: &'static str,
    /// Why an ensemble may do without it, if it may.
    rare: Option<&'static str>,
}

/// All that this program has not come to, in all the runs that it has made.
fn missed() -> Vec<Missed> {
    let mark = |mark: Mark| Missed {
        name: mark.name().to_owned(),
        sentence: mark.sentence(),
        rare: mark.rare(),
    };
    let kind = |(of, kind): (&str, &str)| Missed {
        name: format!("{of}::{kind}"),
        sentence: "it was said",
        rare: RARE
            .iter()
            .find(|rare| (rare.0, rare.1) == (of, kind))
            .map(|rare| rare.2),
    };
    let marks = unreached().into_iter().map(mark);
    marks.chain(unsaid().into_iter().map(kind)).collect()
}

/// Tells what no run has come to; false if that is a failure, which it is only if `all` is wanted.
pub(crate) fn tell(all: bool) -> bool {
    let missed = missed();
    let told = text(&missed);
    if !told.is_empty() {
        say!("{}", told.trim_end());
    }
    let wanted = missed.iter().filter(|one| one.rare.is_none()).count();
    if all && wanted > 0 {
        say!("FAILED: {wanted} marks that are not rare were not reached");
    }
    !all || wanted == 0
}

/// The list for people; empty if nothing was missed.
fn text(missed: &[Missed]) -> String {
    let mut text = String::new();
    let (rare, wanted): (Vec<_>, Vec<_>) = missed.iter().partition(|one| one.rare.is_some());
    for (title, list) in [("not reached", wanted), ("not reached, and rare", rare)] {
        if list.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\n{title}");
        for one in list {
            let _ = write!(text, "{:<26} {}", one.name, one.sentence);
            let _ = match one.rare {
                Some(reason) => writeln!(text, " ({reason})"),
                None => writeln!(text),
            };
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_rare_is_told_apart() {
        let one = |name: &str, rare| Missed {
            name: name.to_owned(),
            sentence: "it happened",
            rare,
        };
        let missed = [one("Usual", None), one("Odd", Some("needs luck"))];
        let told = text(&missed);
        assert!(told.starts_with("\nnot reached\nUsual"), "{told}");
        assert!(told.contains("it happened (needs luck)"), "{told}");
        assert_eq!(text(&[]), "");
    }
}
