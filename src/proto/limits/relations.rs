//! What must hold between limits, so that each thing fits what it travels or is kept in.

use super::{
    CREDIT_BYTES_MIN, DEPTH_MAX, FRAME_BYTES_MAX, Figure, KEY_BYTES_MAX, Limits, NO_FIGURE, Unfit,
    VALUE_BYTES_MAX,
};

/// Whether it holds, what is wrong if it does not, and the limits that it is about.
type Relation = (bool, &'static str, [Figure; 4]);

/// Fields, and behind a comma constants, with their figures.
macro_rules! figures {
    ($limits:ident: $($field:ident)* $(, $($constant:ident)*)?) => {
        padded(&[
            $((stringify!($field), $limits.$field),)*
            $($((stringify!($constant), $constant as usize),)*)?
        ])
    };
}

const fn padded(known: &[Figure]) -> [Figure; 4] {
    let mut figures = [NO_FIGURE; 4];
    let mut index = 0;
    while index < known.len() {
        figures[index] = known[index];
        index += 1;
    }
    figures
}

/// The first that does not hold.
const fn first_broken(relations: &[Relation]) -> Result<(), Unfit> {
    let mut index = 0;
    while index < relations.len() {
        let (holds, what, figures) = relations[index];
        if !holds {
            return Err(Unfit { what, figures });
        }
        index += 1;
    }
    Ok(())
}

impl Limits {
    /// What is kept fits what it is kept in.
    pub(super) const fn check_kept(&self) -> Result<(), Unfit> {
        first_broken(&[
            (
                self.value_bytes_max <= VALUE_BYTES_MAX,
                "a value may be larger than what clients and frames are made for",
                figures!(self: value_bytes_max, VALUE_BYTES_MAX),
            ),
            (
                self.key_bytes_max <= KEY_BYTES_MAX && self.depth_max <= DEPTH_MAX,
                "a key or a value's nesting may be more than what clients are made for",
                figures!(self: key_bytes_max depth_max, KEY_BYTES_MAX DEPTH_MAX),
            ),
            (
                self.value_bytes_max <= self.change_set_bytes_max,
                "a value does not fit a change set",
                figures!(self: value_bytes_max change_set_bytes_max),
            ),
            (
                self.in_flight_max >= 2,
                "a request that waits leaves no room for another",
                figures!(self: in_flight_max),
            ),
            (
                self.parts_fit(),
                "a part, a value, an argument, all that are kept: one is larger than the next",
                figures!(self: part_bytes_max value_bytes_max payload_bytes_max parts_per_session_bytes_max),
            ),
            (
                self.ends_fit(),
                "what one process owns is not released in one change set",
                figures!(self: owned_bytes_max change_set_bytes_max owned_keys_max change_set_changes_max),
            ),
            (
                self.change_set_bytes_max as u64 <= CREDIT_BYTES_MIN,
                "a change set does not fit the least credit of a watch",
                figures!(self: change_set_bytes_max, CREDIT_BYTES_MIN),
            ),
        ])
    }

    /// What is sent fits what it is sent in, and nobody takes all the room.
    pub(super) const fn check_sent(&self) -> Result<(), Unfit> {
        first_broken(&[
            (
                CREDIT_BYTES_MIN <= self.history_bytes_max as u64,
                "what a watch's credit lets through does not fit the log",
                figures!(self: history_bytes_max, CREDIT_BYTES_MIN),
            ),
            (
                self.update_bytes() <= FRAME_BYTES_MAX,
                "a change set does not fit a frame",
                figures!(self: change_set_bytes_max change_set_changes_max, FRAME_BYTES_MAX),
            ),
            (
                self.page_bytes() <= FRAME_BYTES_MAX,
                "a page does not fit a frame",
                figures!(self: page_bytes_max page_entries_max value_bytes_max, FRAME_BYTES_MAX),
            ),
            (
                self.outcomes_fit(),
                "a result does not fit a frame, or is never retained",
                figures!(self: value_bytes_max replies_bytes_max, FRAME_BYTES_MAX),
            ),
            (
                self.updates_queued_bytes_max <= self.outbox_bytes_max,
                "updates alone keep requests waiting",
                figures!(self: updates_queued_bytes_max outbox_bytes_max),
            ),
            (
                self.value_bytes_max <= self.interests_per_session_bytes_max,
                "nobody can wait for a value",
                figures!(self: value_bytes_max interests_per_session_bytes_max),
            ),
            (
                self.connections_silent_max <= self.connections_max,
                "those who say nothing take all the room for connections",
                figures!(self: connections_silent_max connections_max),
            ),
            (
                self.connections_max <= self.sessions_max,
                "a connection finds no room for its session",
                figures!(self: connections_max sessions_max),
            ),
        ])
    }

    const fn outcomes_fit(&self) -> bool {
        let outcome = self.outcome_bytes();
        outcome <= FRAME_BYTES_MAX && outcome <= self.replies_bytes_max
    }
}
