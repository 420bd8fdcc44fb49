//! "Bad input is harmless": what breaks the rules costs the one connection it came on, with a typed
//! reason, and changes nothing.

use super::once::user_changes;
use super::{BAD_INPUT, Ending, Verdict};
use crate::history::{History, What};
use crate::seen::{Attack, Reaction, Refused, Seen};
use std::collections::{BTreeMap, BTreeSet};
use zproc::seam::proto::ids::ProcessId;
use zproc::seam::proto::limits::Limits;

/// The processes that break the rules.
pub(crate) fn hostile(history: &History) -> BTreeSet<ProcessId> {
    let hostile = history.entries.iter().filter_map(|entry| match entry.what {
        What::Seen(Seen::Hostile) => Some(entry.process),
        _ => None,
    });
    hostile.collect()
}

/// Judges how the server took each attack, and that it took it out on nobody else.
pub(crate) fn check(history: &History, ending: &Ending, verdict: &mut Verdict) {
    let hostile = hostile(history);
    // Limits that are met by nobody's fault.
    let is_crowded = ending.limits != Limits::USUAL || ending.has_points;
    // Reasons for which there was no room in the stream.
    let mut untold: BTreeMap<ProcessId, &Refused> = BTreeMap::new();
    // A server that is lost, or ends because the keeper is, takes its connections along.
    let mut is_doomed = false;
    let mut abandoned: BTreeSet<ProcessId> = BTreeSet::new();
    for entry in &history.entries {
        let What::Seen(seen) = &entry.what else {
            continue;
        };
        match seen {
            Seen::Attacked { attack, reaction } => {
                let untold = untold.remove(&entry.process);
                let refused = match reaction {
                    Reaction::Refused(refused) => Some(refused),
                    Reaction::Ended => untold,
                    _ => None,
                };
                let went_along = is_doomed && refused.is_none() && *reaction == Reaction::Ended;
                let fits = went_along || is_fit(*attack, reaction, refused, is_crowded);
                verdict.judge(BAD_INPUT, fits, || {
                    format!(
                        "process {} tried {attack:?} and the server's reaction was {reaction:?}",
                        entry.process
                    )
                });
            }
            Seen::Doomed { .. } => is_doomed = true,
            Seen::Abandoned => {
                abandoned.insert(entry.process);
            }
            Seen::Refused { is_told: true, .. } if hostile.contains(&entry.process) => {}
            Seen::Refused { refused, .. } if hostile.contains(&entry.process) => {
                untold.insert(entry.process, refused);
            }
            Seen::Refused { refused, .. } => {
                let is_lost = is_doomed || abandoned.contains(&entry.process);
                verdict.judge(BAD_INPUT, may_meet(refused, is_crowded, is_lost), || {
                    format!(
                        "the connection of process {}, which keeps the rules, was closed: \
                         {refused:?}",
                        entry.process
                    )
                });
            }
            _ => {}
        }
    }
    for process in &hostile {
        let mut commits = history
            .commits
            .iter()
            .filter(|commit| commit.process == *process && user_changes(commit).next().is_some());
        let change = commits.next();
        verdict.judge(BAD_INPUT, change.is_none(), || {
            format!("process {process} has sent only garbage, and made {change:02x?}")
        });
    }
}

/// Is this how the attack should end? A connection may break first, by a fault.
fn is_fit(
    attack: Attack,
    reaction: &Reaction,
    refused: Option<&Refused>,
    is_crowded: bool,
) -> bool {
    if *reaction == Reaction::Broken {
        return true;
    }
    if refused == Some(&Refused::Limit) {
        return is_crowded;
    }
    // Clocks jump and fault points strike: a hello may come too late, whatever else is wrong.
    let late = refused == Some(&Refused::Late);
    match attack {
        Attack::Truncated => late,
        Attack::SecondHello | Attack::Flood | Attack::Trailing => {
            matches!(refused, Some(Refused::Protocol(_)))
        }
        Attack::Body | Attack::MutatedRequest if late => false,
        _ if late => true,
        Attack::Length | Attack::Unintroduced => matches!(refused, Some(Refused::Protocol(_))),
        // By chance it may read as a hello of another version.
        Attack::Garbage => matches!(refused, Some(Refused::Protocol(_) | Refused::Version)),
        Attack::Version => refused == Some(&Refused::Version),
        // With a wrong key in its place where builds are not looked at.
        Attack::Build => matches!(refused, Some(Refused::Build | Refused::Credentials)),
        Attack::Credentials => refused == Some(&Refused::Credentials),
        Attack::WrongToken => refused == Some(&Refused::SessionUnknown),
        Attack::Body => *reaction == Reaction::Failed,
        // It may still be good, or mean something else.
        Attack::MutatedHello => refused.is_some() || *reaction == Reaction::Answered,
        Attack::MutatedRequest => {
            let answered = matches!(reaction, Reaction::Answered | Reaction::Failed);
            // It may have become a hello, of whatever version.
            let hello = matches!(refused, Some(Refused::Version | Refused::Private));
            answered || hello || matches!(refused, Some(Refused::Protocol(_)))
        }
    }
}

/// May this happen to one who keeps the rules?
fn may_meet(refused: &Refused, is_crowded: bool, is_lost: bool) -> bool {
    match refused {
        // It was away for too long, or its hello was held up.
        Refused::SessionUnknown | Refused::Late => true,
        Refused::Limit => is_crowded,
        // Its keeper was lost, and perhaps it is forgotten by now.
        Refused::Ended | Refused::Credentials => is_lost,
        Refused::Version | Refused::Build | Refused::Private | Refused::Protocol(_) => false,
    }
}
