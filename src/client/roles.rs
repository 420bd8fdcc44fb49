//! Who writes, who reads, who sleeps, and who is woken.

use super::{CallError, Shared};
use crate::proto::client::{Client, Need};
use crate::proto::dump::CallDump;
use crate::proto::frame::Outbox;
use crate::proto::ids::{Seq, WatchId};
use crate::proto::marks::{self, Mark};
use crate::proto::planted::{self, Bug};
use crate::proto::points::{Point, Points};
use crate::proto::time::Time;
use crate::runtime::{ConnectError, LinkId, Parker, Port, Ready};
use crate::sync::{MutexGuard, lock};
use std::io::ErrorKind;
use std::sync::Arc;

/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;
/// Writes in one turn of the writer's role. A writer that others keep supplied leaves the rest to
/// the reader, so that its own reply is not kept waiting.
const WRITES_PER_TURN_MAX: usize = 16;

pub(super) type Guard<'a> = MutexGuard<'a, Inner>;

/// What a thread waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Want {
    /// The first welcome.
    Welcome,
    /// Room for one more request, which takes so much of it.
    Room(Need),
    /// The reply.
    Reply(Seq),
    /// An update of one of these.
    Update(Arc<[WatchId]>),
}

/// When a thread waits no longer, whatever has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Until {
    pub(super) deadline: Option<Time>,
    /// It waits no longer when this process is asked to end.
    pub(super) heeds: bool,
}

impl Until {
    /// It waits for as long as it takes.
    pub(super) const NEVER: Until = Until {
        deadline: None,
        heeds: false,
    };
}

/// A thread that sleeps, or slept and has not left yet.
struct Waiter {
    ticket: u64,
    want: Want,
    /// See [`Until`].
    heeds: bool,
    parker: Arc<dyn Parker>,
    /// It was woken and has not gone back to sleep: it is on its way to look.
    woken: bool,
}

/// All that the threads share.
pub(super) struct Inner {
    pub(super) machine: Client,
    points: Points,
    /// The last failure to connect.
    pub(super) connect_error: Option<std::io::Error>,
    /// Something happened that may concern waiters.
    pub(super) stirred: bool,
    link: Option<LinkId>,
    /// A connection that is to be closed as soon as the lock is free.
    closing: Option<LinkId>,
    /// In order of arrival.
    waiters: Vec<Waiter>,
    next_ticket: u64,
    /// Threads that wait for something else than a reply, and since when: for those who ask.
    resting: Vec<(Want, Time)>,
    /// Somebody has the reader's role.
    reading: bool,
    /// It waits for so much room, which others may make.
    reader_needs: Option<Need>,
    /// Somebody has the writer's role.
    writing: bool,
    /// Taken from the machine for `link`, and not sent yet. The writer has it while it writes.
    out: Outbox,
    /// The link had no room: the reader waits for it.
    blocked: bool,
    /// A write failed: what is there to read is read, then the link is given up.
    broken: bool,
    /// The last read filled the buffer: there may be more.
    unread: bool,
    /// The reader's wait rests on what is no longer so.
    recall: bool,
    /// The reader was told of the end.
    recalled_for_end: bool,
    /// This process was asked to end, as the reader has seen.
    stopping: bool,
    /// The reader has it while it reads.
    buffer: Vec<u8>,
}

/// What is to be told to other threads once the lock is free.
#[derive(Default)]
struct News {
    close: Option<LinkId>,
    wake: bool,
    unpark: Vec<Arc<dyn Parker>>,
}

impl News {
    fn tell(self, port: &dyn Port) {
        if let Some(link) = self.close {
            port.disconnect(link);
        }
        if self.wake {
            port.wake();
        }
        for parker in self.unpark {
            parker.unpark();
        }
    }
}

impl Inner {
    pub(super) fn new(machine: Client, points: Points) -> Inner {
        Inner {
            machine,
            points,
            connect_error: None,
            stirred: false,
            link: None,
            closing: None,
            waiters: Vec::new(),
            next_ticket: 0,
            resting: Vec::new(),
            reading: false,
            reader_needs: None,
            writing: false,
            out: Outbox::default(),
            blocked: false,
            broken: false,
            unread: false,
            recall: false,
            recalled_for_end: false,
            stopping: false,
            buffer: Vec::new(),
        }
    }

    /// Somebody has the reader's role.
    pub(super) fn has_reader(&self) -> bool {
        self.reading
    }

    /// Why the machine has ended. Only asked when it has.
    pub(super) fn end_error(&self) -> CallError {
        self.machine
            .ended()
            .map_or(CallError::Closed, CallError::from)
    }

    /// Does one who heeds it wait no longer?
    fn is_stopped(&self, heeds: bool) -> bool {
        self.stopping && heeds
    }

    /// Why a call that is [not ready](Inner::is_ready) waits no longer.
    pub(super) fn given_up(&self, until: Until) -> CallError {
        match self.is_stopped(until.heeds) {
            true => CallError::Stopped,
            false => CallError::TimedOut,
        }
    }

    /// The reader has looked whether this process was asked to end.
    fn note_stopping(&mut self, stopping: bool) {
        if stopping && !self.stopping {
            marks::reached(Mark::ReaderSawStop);
            self.stopping = true;
            self.stirred = true;
        }
    }

    fn is_ready(&self, want: &Want) -> bool {
        self.machine.ended().is_some()
            || match want {
                Want::Welcome => self.machine.is_up(),
                Want::Room(need) => self.machine.room().take(*need),
                Want::Reply(seq) => self.machine.is_settled(*seq),
                Want::Update(watches) => {
                    (watches.iter()).any(|watch| self.machine.has_update(*watch))
                }
            }
    }

    /// Notes who is to be told of what, whenever the lock is put down.
    fn news(&mut self) -> News {
        let mut news = News::default();
        let ended = self.machine.ended().is_some();
        if ended && !self.writing {
            // A writer that is under way may have the goodbye still to send.
            self.closing = self.link.take().or(self.closing);
        }
        news.close = self.closing.take();
        if ended && !self.recalled_for_end {
            self.recalled_for_end = true;
            self.recall = true;
            self.stirred = true;
        }
        news.wake = std::mem::take(&mut self.recall) && self.reading;
        let stirred = std::mem::take(&mut self.stirred);
        let found = |need| self.machine.room().take(need);
        news.wake |= stirred && self.reader_needs.is_some_and(found);
        if stirred {
            self.wake_ready(&mut news);
        }
        if !self.reading && (stirred || !planted::is(Bug::RoleHandedToNobody)) {
            self.hand_on(&mut news);
        }
        news
    }

    /// Wakes those who have got what they wait for, and as many as there is room for requests.
    fn wake_ready(&mut self, news: &mut News) {
        let mut room = self.machine.room();
        for position in 0..self.waiters.len() {
            let waiter = &self.waiters[position];
            let mut ready = self.is_ready(&waiter.want) || self.is_stopped(waiter.heeds);
            if let Want::Room(need) = waiter.want
                && self.machine.ended().is_none()
            {
                ready = self.is_stopped(waiter.heeds) || room.take(need);
            }
            // Who is woken for nothing looks, and goes back to sleep.
            ready |= !ready && self.points.strike(Point::WrongWaiterToo);
            let waiter = &mut self.waiters[position];
            if ready && !waiter.woken {
                waiter.woken = true;
                news.unpark.push(waiter.parker.clone());
                if planted::is(Bug::OneWokenPerRead) {
                    break;
                }
            }
        }
    }

    /// Nobody reads: if anybody still has to wait, one of them must come and look.
    fn hand_on(&mut self, news: &mut News) {
        let mut first = None;
        for (position, waiter) in self.waiters.iter().enumerate() {
            if self.is_ready(&waiter.want) || self.is_stopped(waiter.heeds) {
                continue;
            }
            if waiter.woken {
                return;
            }
            first = first.or(Some(position));
        }
        if let Some(position) = first {
            marks::reached(Mark::ReaderHandedOn);
            self.waiters[position].woken = true;
            news.unpark.push(self.waiters[position].parker.clone());
        }
    }

    /// Takes in what the reader saw. Tells why the link is lost, if it is.
    fn take_in(&mut self, seen: Seen, broken: bool, buffer: &[u8]) -> Option<String> {
        if seen.writable {
            self.blocked = false;
        }
        self.unread = false;
        match seen.input {
            None => {}
            Some(Ok(0)) => return Some("the server closed the connection".into()),
            Some(Ok(count)) => {
                let count = count.min(buffer.len());
                self.unread = count == buffer.len();
                marks::reached_if(self.unread, Mark::ReaderReadsOn);
                self.machine.receive(&buffer[..count]);
                self.stirred = true;
            }
            Some(Err(error)) => match error.kind() {
                ErrorKind::Interrupted => self.unread = true,
                ErrorKind::WouldBlock if broken => return Some("a write failed".into()),
                ErrorKind::WouldBlock => {}
                _ => return Some(error.to_string()),
            },
        }
        if let Some(now) = seen.now {
            self.machine.tick(now);
        }
        self.machine.is_useless().map(str::to_owned)
    }

    /// The link is gone. It is closed as soon as the lock is free.
    fn lose_link(&mut self, moment: Moment, reason: &str) {
        self.closing = self.link.take();
        self.out.clear();
        self.blocked = false;
        self.broken = false;
        self.unread = false;
        self.machine.disconnected(moment.now, moment.random, reason);
        self.stirred = true;
    }

    /// Something can be sent, and there is a link that would take it.
    fn can_write(&self) -> bool {
        self.link.is_some()
            && !self.blocked
            && !self.broken
            && (!self.out.is_empty() || self.machine.has_output())
    }
}

/// What is asked of the port when a link is lost or made.
#[derive(Clone, Copy)]
struct Moment {
    now: Time,
    random: u64,
}

impl Moment {
    fn of(port: &dyn Port) -> Moment {
        Moment {
            now: port.now(),
            random: port.random(),
        }
    }
}

/// One thread's time in [`Shared::wait`].
struct Turn {
    want: Want,
    until: Until,
    /// The clock, as read after the last sleep; not read at all without a deadline.
    now: Time,
    ticket: Option<u64>,
    parker: Option<Arc<dyn Parker>>,
}

impl Turn {
    fn is_late(&self) -> bool {
        let deadline = self.until.deadline;
        deadline.is_some_and(|deadline| deadline <= self.now)
    }

    /// Has it what it wants, or waits no longer?
    fn is_over(&self, inner: &Inner) -> bool {
        inner.is_ready(&self.want) || self.is_late() || inner.is_stopped(self.until.heeds)
    }
}

/// The wait for an update, for people.
fn next_update_text(watches: &[WatchId]) -> String {
    match watches {
        [] => "nothing: no key can change it".to_owned(),
        [watch] => format!("the next update of its watch {}", watch.0),
        [watch, ..] => {
            let more = watches.len() - 1;
            format!(
                "the next update of its watch {} or of {more} others",
                watch.0
            )
        }
    }
}

/// What the reader saw while the lock was free.
struct Seen {
    input: Option<std::io::Result<usize>>,
    writable: bool,
    now: Option<Time>,
    stopping: bool,
}

fn earlier(a: Option<Time>, b: Option<Time>) -> Option<Time> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

impl Shared {
    /// Puts the lock down for good, and tells what there is to tell.
    pub(super) fn release(&self, mut inner: Guard<'_>) {
        let news = inner.news();
        drop(inner);
        news.tell(&*self.port);
    }

    /// Puts the lock down for `work`.
    fn unlocked<'a, R>(
        &'a self,
        mut inner: Guard<'a>,
        work: impl FnOnce(&dyn Port) -> R,
    ) -> (Guard<'a>, R) {
        let news = inner.news();
        drop(inner);
        news.tell(&*self.port);
        let result = work(&*self.port);
        (lock(&self.inner), result)
    }

    /// Sends all that there is, unless somebody does so already or the link is full.
    pub(super) fn flush<'a>(&'a self, mut inner: Guard<'a>) -> Guard<'a> {
        if inner.writing || !inner.can_write() {
            return inner;
        }
        inner.writing = true;
        let mut turns_left = WRITES_PER_TURN_MAX;
        if inner.points.strike(Point::OneWriteATurn) {
            turns_left = 1;
        }
        while let Some(link) = inner.link
            && inner.can_write()
            && turns_left > 0
        {
            turns_left -= 1;
            let mut out = std::mem::take(&mut inner.out);
            if out.is_empty() {
                inner.machine.outbox(&mut out);
            }
            let (back, result) = self.unlocked(inner, |port| port.try_write(link, out.pending()));
            inner = back;
            if inner.link != Some(link) {
                marks::reached(Mark::WriterLostLink);
                // It was for a connection that is no more.
                out.clear();
                inner.out = out;
                continue;
            }
            match result {
                Ok(count) if count > 0 => out.advance(count.min(out.len())),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    inner.blocked = true;
                    inner.recall = true;
                    marks::reached(Mark::WriterBlocked);
                }
                _ => {
                    // The reader finds out why: the server may have said so before it closed.
                    out.clear();
                    inner.broken = true;
                    inner.recall = true;
                    marks::reached(Mark::WriterFailed);
                }
            }
            inner.out = out;
        }
        inner.writing = false;
        if turns_left == 0 {
            marks::reached(Mark::WriterKeptSupplied);
            inner.recall = true;
        }
        inner
    }

    /// Waits until there is what is wanted. False: the deadline came first.
    pub(super) fn wait<'a>(
        &'a self,
        mut inner: Guard<'a>,
        want: Want,
        until: Until,
    ) -> (Guard<'a>, bool) {
        let since;
        (inner, since) = self.rest(inner, &want);
        let mut turn = Turn {
            want,
            until,
            now: Time::default(),
            ticket: None,
            parker: None,
        };
        while !turn.is_over(&inner) {
            inner = if inner.reading {
                let inner = self.sleep(inner, &mut turn);
                marks::reached_if(turn.is_late(), Mark::SleeperTimedOut);
                inner
            } else {
                self.lead(inner, &mut turn)
            };
        }
        if let Some(ticket) = turn.ticket {
            inner.waiters.retain(|waiter| waiter.ticket != ticket);
        }
        if let Some(rest) = since.and_then(|rest| inner.resting.iter().position(|r| *r == rest)) {
            inner.resting.swap_remove(rest);
        }
        let ready = inner.is_ready(&turn.want);
        // Room that this thread was woken for and does not take is the next one's.
        if matches!(turn.want, Want::Room(_)) {
            inner.stirred = true;
        }
        (inner, ready)
    }

    /// Notes that a thread waits for something that no request stands for, and since when.
    fn rest<'a>(&'a self, inner: Guard<'a>, want: &Want) -> (Guard<'a>, Option<(Want, Time)>) {
        if !matches!(want, Want::Update(_) | Want::Room(_)) || inner.is_ready(want) {
            return (inner, None);
        }
        let (mut inner, now) = self.unlocked(inner, |port| port.now());
        inner.resting.push((want.clone(), now));
        (inner, Some((want.clone(), now)))
    }

    /// What threads of this process wait for, and the server does not know of.
    pub(super) fn at_rest(&self, now: Time) -> Vec<CallDump> {
        let inner = lock(&self.inner);
        let mut calls = inner.machine.unanswered();
        for (want, since) in &inner.resting {
            calls.push(CallDump {
                what: match want {
                    Want::Update(watches) => next_update_text(watches),
                    _ => "room for one more request".to_owned(),
                },
                request: None,
                sent: false,
                waited: Some(now.since(*since).into()),
            });
        }
        calls
    }

    /// Sleeps until woken or the deadline, the reader's role being another's.
    fn sleep<'a>(&'a self, inner: Guard<'a>, turn: &mut Turn) -> Guard<'a> {
        let deadline = turn.until.deadline;
        self.park(inner, turn, deadline)
    }

    /// Registers and parks. The first time it only fetches the parker, and the caller looks again.
    fn park<'a>(&'a self, mut inner: Guard<'a>, turn: &mut Turn, until: Option<Time>) -> Guard<'a> {
        let Some(parker) = &turn.parker else {
            let (inner, parker) = self.unlocked(inner, |port| port.parker());
            turn.parker = Some(parker);
            return inner;
        };
        match turn.ticket {
            Some(ticket) => {
                for waiter in &mut inner.waiters {
                    if waiter.ticket == ticket && !planted::is(Bug::WokenForGood) {
                        waiter.woken = false;
                    }
                }
            }
            None => {
                inner.next_ticket += 1;
                turn.ticket = Some(inner.next_ticket);
                let waiter = Waiter {
                    ticket: inner.next_ticket,
                    want: turn.want.clone(),
                    heeds: turn.until.heeds,
                    parker: parker.clone(),
                    woken: false,
                };
                inner.waiters.push(waiter);
            }
        }
        let with_deadline = turn.until.deadline.is_some();
        let (inner, now) = self.unlocked(inner, |port| {
            parker.park(until);
            with_deadline.then(|| port.now())
        });
        turn.now = now.unwrap_or(turn.now);
        inner
    }

    /// Takes the reader's role, and reads for all until this thread has what it wants or its
    /// deadline has come.
    fn lead<'a>(&'a self, mut inner: Guard<'a>, turn: &mut Turn) -> Guard<'a> {
        inner.reading = true;
        if let Want::Room(need) = turn.want {
            inner.reader_needs = Some(need);
        }
        let mut buffer = std::mem::take(&mut inner.buffer);
        buffer.resize(READ_BYTES, 0);
        while !turn.is_over(&inner) {
            inner = if inner.link.is_some() {
                let flushed = self.flush(inner);
                self.read(flushed, turn, &mut buffer)
            } else {
                self.reconnect(inner, turn)
            };
            if inner.points.strike(Point::ReaderPutsDown) {
                break;
            }
        }
        (inner.reading, inner.reader_needs) = (false, None);
        inner.buffer = buffer;
        marks::reached_if(turn.is_late(), Mark::ReaderTimedOut);
        if !turn.is_over(&inner) {
            // Put down before its time: others are told, and may have it.
            inner = self.unlocked(inner, |_| ()).0;
        }
        inner
    }

    /// One wait for the link, and what comes of it.
    fn read<'a>(&'a self, mut inner: Guard<'a>, turn: &mut Turn, buffer: &mut [u8]) -> Guard<'a> {
        // The flush put the lock down: look again before sleeping on it.
        let Some(link) = inner.link else {
            return inner;
        };
        if inner.is_ready(&turn.want) || inner.is_stopped(turn.until.heeds) {
            return inner;
        }
        let broken = inner.broken;
        // A writer that had enough has left something: send that before sleeping.
        let unsent = inner.can_write() && !inner.writing;
        let at_once = broken || inner.unread || unsent;
        let until = earlier(turn.until.deadline, inner.machine.deadline());
        let write = inner.blocked;
        marks::reached_if(write, Mark::ReaderWaitsToWrite);
        // What this thread itself has just noted it takes into account here.
        inner.recall = false;
        let (mut inner, seen) = self.unlocked(inner, |port| {
            let ready = if at_once {
                Ready {
                    readable: true,
                    writable: false,
                }
            } else {
                port.wait(link, write, until)
            };
            Seen {
                input: ready.readable.then(|| port.try_read(link, buffer)),
                writable: ready.writable,
                now: until.is_some().then(|| port.now()),
                stopping: port.is_stopping(),
            }
        });
        turn.now = seen.now.unwrap_or(turn.now);
        inner.note_stopping(seen.stopping);
        if inner.link != Some(link) {
            return inner;
        }
        let lost = inner.take_in(seen, broken, buffer);
        match lost {
            Some(reason) => self.lose(inner, link, &reason),
            None => inner,
        }
    }

    fn lose<'a>(&'a self, inner: Guard<'a>, link: LinkId, reason: &str) -> Guard<'a> {
        let (mut inner, moment) = self.unlocked(inner, Moment::of);
        if inner.link == Some(link) {
            marks::reached(Mark::ReaderLostLink);
            inner.lose_link(moment, reason);
        }
        inner
    }

    /// Opens a connection, or sleeps until it is time to.
    fn reconnect<'a>(&'a self, inner: Guard<'a>, turn: &mut Turn) -> Guard<'a> {
        let Some(retry_at) = inner.machine.deadline() else {
            return inner;
        };
        let (mut inner, (now, stopping)) =
            self.unlocked(inner, |port| (port.now(), port.is_stopping()));
        turn.now = now;
        // Who is told so here will not hear it from the wait for the link.
        inner.note_stopping(stopping);
        if inner.machine.ended().is_some() || turn.is_over(&inner) {
            return inner;
        }
        if now < retry_at {
            marks::reached(Mark::BackedOff);
            return self.park(inner, turn, earlier(turn.until.deadline, Some(retry_at)));
        }
        let (mut inner, (result, moment)) =
            self.unlocked(inner, |port| (port.connect(), Moment::of(port)));
        turn.now = moment.now;
        inner.stirred = true;
        match result {
            Ok(link) if inner.machine.ended().is_some() => {
                marks::reached(Mark::GoneWhileConnecting);
                inner.closing = Some(link);
            }
            Ok(link) => {
                inner.link = Some(link);
                inner.machine.connected(moment.now);
            }
            Err(ConnectError::Gone(loss)) => inner.machine.gone(loss),
            Err(ConnectError::Forked) => inner.machine.forked(),
            Err(ConnectError::Refused(error)) => {
                let reason = error.to_string();
                marks::reached(Mark::ConnectFailed);
                inner.connect_error = Some(error);
                inner
                    .machine
                    .connect_failed(moment.now, moment.random, &reason);
            }
        }
        inner
    }
}
