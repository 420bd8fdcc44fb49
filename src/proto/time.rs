//! The core's clock: a number that the caller passes in.

use speedy::{Readable, Writable};

/// An instant: nanoseconds since the Unix epoch, as told by a clock that never goes back.
///
/// The core reads no clock; every call that depends on time is given its `now`.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Readable,
    Writable,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Time(pub u64);

/// As a deadline: at once. Nothing is waited for but the answer, which tells how things stand.
pub const AT_ONCE: Time = Time(0);

/// A time span as a number; what is too long for that is as good as for ever.
#[must_use]
pub fn nanoseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Time {
    /// This instant and `duration` more; the end of time if that is past it.
    #[must_use]
    pub fn after(self, duration: std::time::Duration) -> Time {
        Time(self.0.saturating_add(nanoseconds(duration)))
    }

    /// How long from `earlier` until this instant; zero if it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Time) -> std::time::Duration {
        std::time::Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}
