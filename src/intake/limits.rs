//! What an intake with a bound counts besides its words: room in events and in bytes, what became of writes that found none, and what it notes
//! beside each event.
//!
//! **Orderings.** As in the intake's words: `shed`, `taken` and `evicted` move by `AcqRel` and are looked at by Acquire, and so does `shed_done`: who sees that a writer is done with
//! an event that was shed sees its letter. `held` too is `AcqRel` where it moves, so that bytes count as free only once their event is done with; the first looks at what a
//! compare-exchange follows are Relaxed, and so is the count of refusals.

use std::time::Instant;

use crate::clock::Clock;
use crate::error::{BuildError, Failure, WriteError};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{SegQueue, mutation};

use super::Parcel;
use super::entrance::{Overflow, Refused};

/// The largest bound: what the words can count.
const MAX_CAPACITY: u64 = 1 << 62;

/// In `shed`: nothing more is accepted.
const CLOSED: u64 = 1;
/// One event in `shed`.
const SHED: u64 = 2;

/// Tells an event's size in bytes.
pub(crate) type SizeOf<E> = Box<dyn Fn(&E) -> u64 + Send + Sync>;

/// The options of a queue or channel that concern its room.
pub(crate) struct Bounds<E> {
    pub(crate) capacity: Option<u64>,
    pub(crate) bytes: Option<(u64, SizeOf<E>)>,
    pub(crate) overflow: Overflow,
    pub(crate) stamped: bool,
}

impl<E> Default for Bounds<E> {
    fn default() -> Self {
        Self { capacity: None, bytes: None, overflow: Overflow::default(), stamped: false }
    }
}

impl<E> Bounds<E> {
    pub(crate) fn of(capacity: Option<u64>, overflow: Overflow) -> Self {
        Self { capacity, overflow, ..Self::default() }
    }

    pub(crate) fn check(&self) -> Result<(), BuildError> {
        let bytes = self.bytes.as_ref().map(|(max, _)| *max);
        for (option, value) in [("capacity", self.capacity), ("capacity_bytes", bytes)] {
            match value {
                Some(0) => return Err(BuildError::Zero { option }),
                Some(value) if value > MAX_CAPACITY => {
                    return Err(BuildError::TooLarge { option, value, max: MAX_CAPACITY });
                }
                _ => {}
            }
        }
        match self.overflow {
            Overflow::BlockFor(timeout) if timeout.is_zero() => Err(BuildError::Zero { option: "overflow" }),
            _ => Ok(()),
        }
    }
}

/// What is kept beside an event while it is in the queue, and while it is delivered.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Note {
    /// The room that it takes, where bytes are counted.
    pub(crate) bytes: u64,
    /// When it was accepted, where that is wanted.
    pub(crate) accepted: Option<Instant>,
}

pub(super) struct Limits<E> {
    /// `u64::MAX` for none.
    capacity: u64,
    bytes: Option<ByteLimit<E>>,
    /// The clock that stamps.
    clock: Option<Clock>,
    /// The events that are inside, where each has a note.
    noted: Option<SegQueue<Parcel<E>>>,
    /// Events that were accepted and dropped without entering, and the bit `CLOSED`.
    shed: AtomicU64,
    /// Those of them of which all is done that their writer has to do. Until then the queue has not ended.
    shed_done: AtomicU64,
    /// Events that entered and that a writer took out to make room.
    taken: AtomicU64,
    /// Those of them of which all is done that their writer has to do.
    evicted: AtomicU64,
    /// Writes that were refused for want of room: their writers still have the events.
    refused: AtomicU64,
}

struct ByteLimit<E> {
    max: u64,
    size: SizeOf<E>,
    held: AtomicU64,
}

/// The event alone is larger than the queue may be.
#[derive(Debug, thiserror::Error)]
#[error("the event has {bytes} bytes, above the queue's bound of {max}")]
pub struct EventTooLarge {
    /// Its size, as the queue's size function says.
    pub bytes: u64,
    /// The bound in bytes.
    pub max: u64,
}

impl From<EventTooLarge> for WriteError {
    fn from(error: EventTooLarge) -> Self {
        Failure::permanent(error).into()
    }
}

impl<E> Limits<E> {
    /// `None` where there is nothing to limit or to note.
    pub(super) fn new(bounds: Bounds<E>, clock: &Clock) -> Option<Box<Self>> {
        let Bounds { capacity, bytes, stamped, .. } = bounds;
        if capacity.is_none() && bytes.is_none() && !stamped {
            return None;
        }
        let takes_notes = bytes.is_some() || stamped;
        Some(Box::new(Self {
            noted: takes_notes.then(SegQueue::new),
            capacity: capacity.unwrap_or(u64::MAX),
            bytes: bytes.map(|(max, size)| ByteLimit { max, size, held: AtomicU64::new(0) }),
            clock: stamped.then(|| clock.clone()),
            shed: AtomicU64::new(0),
            shed_done: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }))
    }

    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(super) fn max_bytes(&self) -> Option<u64> {
        self.bytes.as_ref().map(|bytes| bytes.max)
    }

    pub(super) fn bytes_held(&self) -> Option<u64> {
        self.bytes.as_ref().map(|bytes| bytes.held.load(Ordering::Relaxed))
    }

    /// Whether the event's bytes would find no room now.
    pub(super) fn lacks_bytes(&self, event: &E) -> Result<bool, Refused> {
        let Some(limit) = &self.bytes else { return Ok(false) };
        let bytes = limit.size_of(event)?;
        Ok(limit.held.load(Ordering::Acquire).saturating_add(bytes) > limit.max)
    }

    /// Takes room for the event's bytes, and says how many.
    pub(super) fn reserve(&self, event: &E) -> Result<u64, Refused> {
        let Some(limit) = &self.bytes else { return Ok(0) };
        let bytes = limit.size_of(event)?;
        let mut held = limit.held.load(Ordering::Relaxed);
        loop {
            let with = held.saturating_add(bytes);
            if with > limit.max {
                return Err(Refused::Full);
            }
            if mutation!("bytes_bound_by_load") {
                limit.held.fetch_add(bytes, Ordering::AcqRel);
                return Ok(bytes);
            }
            match limit.held.compare_exchange_weak(held, with, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(bytes),
                Err(now) => held = now,
            }
        }
    }

    pub(super) fn release(&self, bytes: u64) {
        if let Some(limit) = &self.bytes {
            // Release: room counts as free only once its event is done with.
            limit.held.fetch_sub(bytes, Ordering::AcqRel);
        }
    }

    pub(super) fn release_note(&self, note: Note) {
        self.release(note.bytes);
    }

    pub(super) fn noted(&self) -> Option<&SegQueue<Parcel<E>>> {
        self.noted.as_ref()
    }

    /// The note of an event that has taken `bytes` of room.
    pub(super) fn note(&self, bytes: u64) -> Note {
        Note { bytes, accepted: self.stamp() }
    }

    /// The time now, where events are stamped.
    pub(super) fn stamp(&self) -> Option<Instant> {
        self.clock.as_ref().map(Clock::now)
    }

    /// Accepts an event only to drop it. `false`: it is closed.
    ///
    /// By compare-exchange, so that a close ends the count: what is answered with `Ok` is in every report.
    pub(super) fn shed(&self) -> bool {
        let mut shed = self.shed.load(Ordering::Relaxed);
        while shed & CLOSED == 0 || mutation!("queue_shed_ignores_close") {
            match self.shed.compare_exchange_weak(shed, shed + SHED, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => shed = now,
            }
        }
        false
    }

    pub(super) fn shed_done(&self) {
        self.shed_done.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether writers are still at work on events that were shed.
    pub(super) fn is_shedding(&self) -> bool {
        if mutation!("channel_end_after_the_gaps") {
            return false;
        }
        let done = self.shed_done.load(Ordering::Acquire);
        self.sheds() != done
    }

    pub(super) fn close(&self) {
        self.shed.fetch_or(CLOSED, Ordering::AcqRel);
    }

    pub(super) fn count_taken(&self) {
        self.taken.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Acquire)
    }

    pub(super) fn count_evicted(&self, note: Note) {
        self.evicted.fetch_add(1, Ordering::AcqRel);
        self.release_note(note);
    }

    pub(super) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn sheds(&self) -> u64 {
        self.shed.load(Ordering::Acquire) / SHED
    }

    pub(super) fn evictions(&self) -> u64 {
        self.evicted.load(Ordering::Acquire)
    }

    pub(super) fn refusals(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl<E> ByteLimit<E> {
    fn size_of(&self, event: &E) -> Result<u64, Refused> {
        let bytes = (self.size)(event);
        if bytes > self.max { Err(Refused::TooLarge { bytes, max: self.max }) } else { Ok(bytes) }
    }
}
