//! How the network is slow: delays, stalls of one connection or of many, pipes that hold little.
//!
//! A stream never loses bytes and lives on: what stands still goes on later, in its order.

use crate::choices::Part;
use crate::events::Event;
use crate::faults::Fault;
use crate::network::{PIPE_BYTES, Pipe};
use crate::world::World;
use zproc::seam::proto::ids::ProcessId;
use zproc::seam::proto::time::Time;

/// How long a stall takes.
const STALL_NS: (u64, u64) = (20_000_000, 1_500_000_000);
/// Between the stalls, and between the heals, of a swizzle.
const SWIZZLE_GAP_NS: (u64, u64) = (100_000, 50_000_000);
/// What narrow pipes hold, the mildest first.
const NARROW_BYTES: [usize; 5] = [16 * 1024, 4 * 1024, 1024, 256, 64];

impl World {
    /// The two directions of a new connection.
    pub(crate) fn pipes(&mut self, process: ProcessId) -> [Pipe; 2] {
        let is_narrow = self.strikes(Fault::Backpressure, process);
        [(); 2].map(|()| {
            if !is_narrow {
                return Pipe::new(PIPE_BYTES);
            }
            let part = Part::Fault(Fault::Backpressure, process.0);
            let drawn = self.choices.below(part, NARROW_BYTES.len() as u64);
            Pipe::new(NARROW_BYTES[drawn as usize])
        })
    }

    /// How long the next bytes of a connection take; whether they, or more, stand still for a while.
    pub(crate) fn delivery_delay(&mut self, link: usize, way: u8) -> u64 {
        let process = self.host.links[link].process;
        let of = |fault| Part::Fault(fault, process.0);
        if self.strikes(Fault::TwoWayStall, process) {
            let part = of(Fault::TwoWayStall);
            let until = Time(self.now.0 + self.choices.between(part, STALL_NS.0, STALL_NS.1));
            if let Some(story) = self.trace.story(self.now) {
                let text = format!("both ways of link {link} stand still");
                story.fault(process.into(), Fault::TwoWayStall, &text);
            }
            self.hold(link, until);
        }
        if self.strikes(Fault::Swizzle, process) {
            self.swizzle(process);
        }
        if self.strikes(Fault::Stall, process) {
            if let Some(story) = self.trace.story(self.now) {
                let text = format!("one way of link {link} stands still");
                story.fault(process.into(), Fault::Stall, &text);
            }
            let part = of(Fault::Stall);
            return self.choices.between(part, STALL_NS.0, STALL_NS.1);
        }
        if self.strikes(Fault::Delay, process) {
            return (self.choices).between(of(Fault::Delay), 100_000, 20_000_000);
        }
        let part = Part::Network(process.0, way);
        self.choices.between(part, 1_000, 30_000)
    }

    /// Until when this direction of a connection stands still, if it does.
    pub(crate) fn is_held(&self, link: usize, direction: usize) -> Option<Time> {
        let until = self.host.links[link].held_until[direction];
        (until > self.now).then_some(until)
    }

    /// Both directions of a connection stand still.
    pub(crate) fn hold(&mut self, link: usize, until: Time) {
        for held in &mut self.host.links[link].held_until {
            *held = until.max(*held);
        }
    }

    /// Stalls a drawn part of all connections one after the other, and lets them go on in another
    /// drawn order. (FoundationDB's swizzle: what depends on the order of coming back shows.)
    fn swizzle(&mut self, ProcessId(process): ProcessId) {
        let part = Part::Fault(Fault::Swizzle, process);
        let links = self.host.links.iter().enumerate();
        let open = links.filter(|(_, link)| link.client_open && link.server_open);
        let mut stalled: Vec<usize> = open.map(|(link, _)| link).collect();
        stalled.retain(|_| self.choices.below(part, 2) == 1);
        self.shuffle(part, &mut stalled);
        let mut healed: Vec<usize> = stalled.clone();
        self.shuffle(part, &mut healed);
        let count = stalled.len() as u64;
        let gap_ns = (self.choices).between(part, SWIZZLE_GAP_NS.0, SWIZZLE_GAP_NS.1);
        let all_stand_ns = count * gap_ns + self.choices.below(part, STALL_NS.1);
        if let Some(story) = self.trace.story(self.now) {
            let text = format!("links {stalled:?} stand still, {healed:?} go on");
            story.fault(ProcessId(process).into(), Fault::Swizzle, &text);
        }
        for (place, link) in (0..).zip(stalled) {
            let back = healed.iter().position(|other| *other == link);
            let back = back.expect("the same links go on") as u64;
            let until = Time(self.now.0 + all_stand_ns + back * gap_ns);
            self.after(place * gap_ns, Event::Hold { link, until });
        }
    }

    fn shuffle(&mut self, part: Part, links: &mut [usize]) {
        for place in (1..links.len()).rev() {
            // Zero leaves it where it is.
            let other = place - self.choices.below(part, place as u64 + 1) as usize;
            links.swap(place, other);
        }
    }

    /// The faults are over: all connections hold as much as any.
    pub(crate) fn widen_pipes(&mut self) {
        for link in 0..self.host.links.len() {
            let widened = &mut self.host.links[link];
            widened.to_server.widen();
            widened.to_client.widen();
            if widened.client_open && widened.server_open {
                self.room_for_server(link);
                self.wake_reader(link);
            }
        }
    }
}
