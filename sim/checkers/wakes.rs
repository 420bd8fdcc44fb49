//! "No lost wake-up", and that everything finishes once the faults have ended.

use super::revision::condition_at;
use super::timeline::Timeline;
use super::{Calls, End, Ending, NO_LOST_WAKEUP, Verdict};
use crate::world::RunEnd;
use zproc::seam::proto::ids::Revision;
use zproc::seam::proto::message::{Reply, Request};

/// Judges the waits that returned, and in a run that hangs those that did not.
pub(crate) fn check(
    calls: &Calls<'_>,
    timeline: &Timeline<'_>,
    ending: &Ending,
    verdict: &mut Verdict,
) {
    let mut explained = false;
    for call in &calls.all {
        let Request::Wait {
            namespace,
            condition,
        } = &call.request
        else {
            continue;
        };
        let holds_at = |at| condition_at(namespace, condition, timeline, at);
        match &call.end {
            End::Returned {
                reply: Reply::Returned { revision, .. },
                ..
            } => {
                let Some(answer) = holds_at(*revision) else {
                    continue;
                };
                verdict.judge(NO_LOST_WAKEUP, answer.is_some(), || {
                    format!(
                        "{} returned at {revision}, where it does not hold",
                        call.story()
                    )
                });
            }
            End::Open if ending.alive.contains(&call.process) && ending.end != RunEnd::Finished => {
                let first = timeline.newest_at(call.called);
                let mut revisions = std::iter::once(first)
                    .chain(timeline.since(first.next()).iter().map(|c| c.revision));
                let held: Option<Revision> =
                    revisions.find(|at| matches!(holds_at(*at), Some(Some(_))));
                explained |= held.is_some();
                verdict.judge(NO_LOST_WAKEUP, held.is_none(), || {
                    format!("{} still waits, though it held at {held:?}", call.story())
                });
            }
            _ => {}
        }
    }
    // Another guarantee may already say why the run hangs.
    if ending.end != RunEnd::Finished && !explained && verdict.violations.is_empty() {
        let open = calls
            .all
            .iter()
            .filter(|call| matches!(call.end, End::Open) && ending.alive.contains(&call.process));
        let calls: Vec<String> = open.map(super::Call::story).collect();
        verdict.violate(
            NO_LOST_WAKEUP,
            format!(
                "the run did not finish ({:?}) although the faults had ended; waiting: {:?}; open \
                 calls: {calls:?}",
                ending.end, ending.waiting
            ),
        );
    }
}
