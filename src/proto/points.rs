//! Fault points: places where the code may do what is rare, whether or not there is a reason.
//!
//! Each is something that the code has to tolerate anyway: a turn that ends early, a role that is
//! put down, an answer that comes in pieces. In the simulator some of them are active in a run, and
//! each of these strikes now and then, so that what is rare in production is met in every ensemble
//! (FoundationDB calls it buggify). Without the feature `simulation` a holder of points has no size
//! and every question is a constant `false`.

/// One place in the code. Named after what happens there when it strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
#[non_exhaustive]
pub enum Point {
    /// The server ends a connection's turn after one frame.
    TurnOfOneFrame = 0,
    /// The server takes an outbox with anything in it for full.
    OutboxFull,
    /// The server takes what is queued for a connection for too much to add updates.
    UpdatesWait,
    /// The server looks at one entry of the log in a turn.
    LogTurnOfOneEntry,
    /// A page of a scan ends after one entry.
    PageOfOneEntry,
    /// A page of past updates ends after one.
    UpdatesOfOne,
    /// The log drops its oldest entry though it is within its bounds.
    EvictEarly,
    /// A turn frees nothing of what was emptied as a whole.
    FreeLater,
    /// A change set has every watch look into the log.
    EveryWatchLooks,
    /// A change set has every wait tested again.
    EveryWaitTested,
    /// A session serves its watches out of turn.
    WatchOutOfTurn,
    /// A hello counts as too late.
    HelloTooLate,
    /// A session that comes back is told that there is no room for it now.
    ResumeRefused,
    /// The client acknowledges a reply at once, by a message of its own.
    AckAtOnce,
    /// The client gives credit back for each update.
    CreditAtOnce,
    /// The client asks for a sign that what it said has arrived.
    ProbeEarly,
    /// The client gives its output away one request at a time.
    OutputOfOne,
    /// The client takes a welcome for overdue.
    WelcomeOverdue,
    /// The client waits before it comes back, though the connection had been good.
    ComeBackLater,
    /// The writer puts its role down after one write.
    OneWriteATurn,
    /// The reader puts its role down though it has not got what it wants.
    ReaderPutsDown,
    /// A thread is woken that has got nothing.
    WrongWaiterToo,
}

/// How many there are.
pub const POINTS: usize = 22;

#[cfg(feature = "simulation")]
type Strikes = std::sync::Arc<dyn Fn(Point) -> bool + Send + Sync>;

/// The points of one server or one client: asked at each whether it strikes.
#[derive(Clone, Default)]
pub struct Points {
    /// The active ones, a bit each.
    #[cfg(feature = "simulation")]
    active: u64,
    #[cfg(feature = "simulation")]
    strikes: Option<Strikes>,
}

impl std::fmt::Debug for Points {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Points").finish_non_exhaustive()
    }
}

impl Points {
    /// Does it strike here and now? Never, but in a simulation.
    #[cfg(not(feature = "simulation"))]
    #[must_use]
    #[inline(always)]
    pub const fn strike(&self, _point: Point) -> bool {
        false
    }

    /// Does it strike here and now?
    #[cfg(feature = "simulation")]
    #[must_use]
    #[inline]
    pub fn strike(&self, point: Point) -> bool {
        self.active & (1 << point as u8) != 0
            && self.strikes.as_ref().is_some_and(|strikes| strikes(point))
    }

    /// A holder of which the points in `active` strike whenever `strikes` says so.
    #[cfg(feature = "simulation")]
    #[must_use]
    pub fn new(
        active: impl IntoIterator<Item = Point>,
        strikes: impl Fn(Point) -> bool + Send + Sync + 'static,
    ) -> Points {
        let bits = active.into_iter().map(|point| 1 << point as u8);
        Points {
            active: bits.sum(),
            strikes: Some(std::sync::Arc::new(strikes)),
        }
    }
}

#[cfg(feature = "simulation")]
impl Point {
    /// All, in the order of their numbers.
    pub const ALL: [Point; POINTS] = [
        Point::TurnOfOneFrame,
        Point::OutboxFull,
        Point::UpdatesWait,
        Point::LogTurnOfOneEntry,
        Point::PageOfOneEntry,
        Point::UpdatesOfOne,
        Point::EvictEarly,
        Point::FreeLater,
        Point::EveryWatchLooks,
        Point::EveryWaitTested,
        Point::WatchOutOfTurn,
        Point::HelloTooLate,
        Point::ResumeRefused,
        Point::AckAtOnce,
        Point::CreditAtOnce,
        Point::ProbeEarly,
        Point::OutputOfOne,
        Point::WelcomeOverdue,
        Point::ComeBackLater,
        Point::OneWriteATurn,
        Point::ReaderPutsDown,
        Point::WrongWaiterToo,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(not(feature = "simulation"))]
    #[test]
    fn without_the_simulator_it_is_nothing() {
        assert_eq!(size_of::<Points>(), 0);
        const { assert!(!Points {}.strike(Point::EvictEarly)) };
    }

    #[cfg(feature = "simulation")]
    #[test]
    fn only_what_is_active_strikes() {
        for (number, point) in Point::ALL.iter().enumerate() {
            assert_eq!(*point as usize, number);
        }
        let points = Points::new([Point::EvictEarly, Point::AckAtOnce], |point| {
            assert_ne!(point, Point::OutboxFull, "nobody asks for it");
            point == Point::EvictEarly
        });
        assert!(points.strike(Point::EvictEarly));
        assert!(!points.strike(Point::AckAtOnce) && !points.strike(Point::OutboxFull));
        assert!(!Points::default().strike(Point::EvictEarly));
    }
}
