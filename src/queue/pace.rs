//! How far a turn goes, and what it measures on the way: how long events wait in the queue, and how long its destination takes.
//!
//! A look at the clock costs as much as the delivery of an event to a trivial sink. So a turn looks at it only at a few *stops*, which are known
//! beforehand; between them an event costs one comparison. A turn stops
//!
//! - after its 2nd, 4th, 8th … event, to end if it has become long;
//! - before and after an event that is *timed*: its first, and every 64th. The first one's beginning is that of the turn. So a queue whose turns are long
//!   is timed more often, at every second event at least;
//! - after the event that is *marked*. A mark is the number of the newest event at some moment and that moment: when it has left, the time since then is
//!   what it has waited. A queue has one mark at a time, set at the beginning of a turn, or by who reads the metrics, if the queue waits for a turn
//!   then: so a wait for a thread is seen too, if it is longer than the time between two readings.
//!
//! A write knows nothing of all this. With `--cfg sinkworks_bare` nothing is measured: for `ci/telemetry-cost.sh`, which compares.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, OnceLock, TryLockError};
use std::time::{Duration, Instant, SystemTime};

use super::mailbox::Drain;
use crate::clock::Clock;
use crate::name::Name;
use crate::pool::SLOW_TURN;
use crate::sync::now;
use crate::telemetry::{Histogram, Observations, names};

/// Events that a turn delivers at most: some microseconds' worth of a trivial sink, so that other queues wait no longer.
#[cfg(not(sinkworks_loom))]
const BUDGET: u32 = 256;
/// Small, so that the models reach its end.
#[cfg(sinkworks_loom)]
const BUDGET: u32 = 2;

/// Whether anything is measured. Not in the models, whose executions must not differ.
const MEASURES: bool = !cfg!(any(sinkworks_bare, sinkworks_loom));

/// Of this many events of a turn, one is timed.
const TIMED: u32 = 64;

/// Where times that are kept in a word begin.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What was measured, for the metrics. Written by whoever has the turn.
#[derive(Default)]
pub(super) struct Timing {
    /// Microseconds after `EPOCH`, from 1; 0 before the first.
    last_delivery: AtomicU64,
    /// Made with the first measurement: a queue without events needs no room for any.
    measured: OnceLock<Box<Measured>>,
}

#[derive(Default)]
struct Measured {
    wait: Histogram,
    write: Histogram,
    /// Made when somebody reads the metrics.
    readers: OnceLock<Box<Readers>>,
}

/// What only who reads the metrics needs.
#[derive(Default)]
struct Readers {
    /// The last delivery that somebody has read, and its Unix time in seconds, which stays the same.
    told_delivery: std::sync::Mutex<(u64, f64)>,
    /// The mark of somebody who has read.
    noted: std::sync::Mutex<Option<Mark>>,
}

impl Measured {
    fn readers(&self) -> &Readers {
        self.readers.get_or_init(Box::default)
    }
}

impl Timing {
    /// The destination has taken an event, about then. It is made a time of the day only when somebody reads it: that would be one more look at a clock.
    pub(super) fn note_delivery(&self, at: Instant) {
        if MEASURES {
            let micros = at.saturating_duration_since(*EPOCH).as_micros();
            self.last_delivery.store(u64::try_from(micros).unwrap_or(u64::MAX).saturating_add(1), Ordering::Relaxed);
        }
    }

    /// In seconds of Unix time; 0 before the first.
    fn last_delivery(&self, clock: &Clock) -> f64 {
        let last = self.last_delivery.load(Ordering::Relaxed);
        let Some(measured) = self.measured.get() else { return 0.0 };
        let mut told = measured.readers().told_delivery.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let micros = match last.checked_sub(1) {
            Some(micros) if told.0 != last => micros,
            _ => return told.1,
        };
        let age = clock.now().saturating_duration_since(*EPOCH).saturating_sub(Duration::from_micros(micros));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        *told = (last, now.saturating_sub(age).as_secs_f64());
        told.1
    }

    fn measured(&self) -> &Measured {
        self.measured.get_or_init(Box::default)
    }

    /// Sets a mark for the newest of events that wait for a turn, or in one. Where the turn has one already, it is not used.
    pub(super) fn note_waiting(&self, entered: u64, clock: &Clock) {
        if MEASURES {
            let mut noted = self.measured().readers().noted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            noted.get_or_insert_with(|| Mark { newest: entered, since: clock.now() });
        }
    }

    /// The mark that was noted, if its event is still there.
    fn take_noted(&self, gone: u64) -> Option<Mark> {
        let mut noted = match self.measured.get()?.readers.get()?.noted.try_lock() {
            Ok(noted) => noted,
            Err(TryLockError::Poisoned(noted)) => noted.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        noted.take().filter(|mark| mark.newest > gone)
    }

    pub(super) fn observe(&self, out: &mut Observations, name: &Name, clock: &Clock) {
        let none = Histogram::default();
        let (wait, write) = self.measured.get().map_or((&none, &none), |measured| (&measured.wait, &measured.write));
        out.histogram(&names::QUEUE_WAIT, name, wait);
        out.histogram(&names::WRITE_DURATION, name, write);
        out.latest(&names::QUEUE_LAST_DELIVERY, name, self.last_delivery(clock));
    }
}

/// An event whose wait is measured.
pub(super) struct Mark {
    /// Its number, from 1: it is gone when so many are.
    newest: u64,
    since: Instant,
}

/// How much of its turn a mailbox has used, and where it stops next.
pub(super) struct Pace<'m> {
    timing: &'m Timing,
    clock: &'m Clock,
    began: Instant,
    /// Events that it is done with.
    served: u32,
    /// How many that will be at the next stop.
    stop: u32,
    /// How many that will be when the marked event has left.
    marked: u32,
    /// Since when the destination has the event, if it is timed.
    timed: Option<Instant>,
    /// The last look at the clock.
    latest: Instant,
}

impl<'m> Pace<'m> {
    /// A turn that began when the system's clock showed `began`.
    pub(super) fn new(timing: &'m Timing, clock: &'m Clock, began: Instant) -> Self {
        let latest = if MEASURES { clock.at(began) } else { began };
        let timed = MEASURES.then_some(latest);
        let mut pace = Self { timing, clock, began, served: 0, stop: 0, marked: u32::MAX, timed, latest };
        pace.stop = pace.next_stop();
        pace
    }

    /// Before the first event, and when it has found more after what seemed the last: sets a mark, or finds out how far it is to the one that is set.
    pub(super) fn look_for_mark(&mut self, mark: &mut Option<Mark>, entered: u64, gone: u64) {
        if !MEASURES {
            return;
        }
        // A mark whose event has gone since was evicted: that is no wait.
        if mark.as_ref().is_none_or(|mark| mark.newest <= gone) {
            *mark = self.timing.take_noted(gone);
            if mark.is_none() && self.served == 0 && entered > gone {
                *mark = Some(Mark { newest: entered, since: self.clock.at(self.began) });
            }
        }
        self.marked = mark.as_ref().map_or(u32::MAX, |mark| {
            let ahead = u32::try_from(mark.newest - gone).unwrap_or(u32::MAX);
            self.served.saturating_add(ahead)
        });
        self.stop = self.next_stop();
    }

    /// The last time that it has looked at the clock: after its first event at the earliest, unless that waits.
    pub(super) fn latest(&self) -> Instant {
        self.latest
    }

    /// One more event is done with. Whether that was the last of this turn.
    #[inline]
    pub(super) fn spend<E>(&mut self, drain: &mut Drain<E>) -> bool {
        self.served += 1;
        self.served == self.stop && self.look(drain)
    }

    #[inline(never)]
    fn look<E>(&mut self, drain: &mut Drain<E>) -> bool {
        let now = now();
        if MEASURES {
            self.measure(drain, self.clock.at(now));
        }
        if self.served >= BUDGET || (self.served > 1 && now.saturating_duration_since(self.began) > SLOW_TURN) {
            return true;
        }
        self.stop = self.next_stop();
        false
    }

    fn measure<E>(&mut self, drain: &mut Drain<E>, now: Instant) {
        self.latest = now;
        // A destination that has closed is not asked any more.
        if let Some(since) = self.timed.take().filter(|_| !drain.destination_closed) {
            self.timing.measured().write.record(now.saturating_duration_since(since));
        }
        if let Some(mark) = drain.mark.take_if(|_| self.served == self.marked) {
            self.timing.measured().wait.record(now.saturating_duration_since(mark.since));
            self.marked = u32::MAX;
        }
        self.timed = (self.served % TIMED == 0).then_some(now);
    }

    /// A batch is about to be offered: each is timed.
    pub(super) fn begin_batch(&mut self) {
        if MEASURES && self.timed.is_none() {
            self.timed = Some(self.clock.now());
        }
    }

    /// The events of a batch are done with. Whether that was the last of this turn.
    pub(super) fn spend_batch<E>(&mut self, drain: &mut Drain<E>, events: u32) -> bool {
        self.served = self.served.saturating_add(events);
        if MEASURES {
            let now = self.clock.now();
            self.latest = now;
            if let Some(since) = self.timed.take().filter(|_| !drain.destination_closed) {
                self.timing.measured().write.record(now.saturating_duration_since(since));
            }
            if let Some(mark) = drain.mark.take_if(|_| self.served >= self.marked) {
                self.timing.measured().wait.record(now.saturating_duration_since(mark.since));
                self.marked = u32::MAX;
            }
        }
        self.served >= BUDGET || now().saturating_duration_since(self.began) > SLOW_TURN
    }

    /// The event waits: the destination, or a stage on the way to it, was not ready. If an attempt was `made` before, that took its time.
    pub(super) fn stop_waiting(&mut self, made: bool) {
        if let Some(since) = self.timed.take().filter(|_| made) {
            self.timing.measured().write.record(self.clock.now().saturating_duration_since(since));
        }
    }

    fn next_stop(&self) -> u32 {
        let next = self.served + 1;
        if self.timed.is_some() {
            return next;
        }
        let stop = next.next_power_of_two().clamp(2, BUDGET.max(2)).min(self.marked);
        if MEASURES { stop.min(next.next_multiple_of(TIMED)) } else { stop.min(BUDGET) }
    }
}
