//! The writers' side of a queue or a channel: who may enter, how many have, and how many have left. [`Entrance`](entrance::Entrance)
//! adds waiting for room.
//!
//! Three words on cache lines of their own:
//!
//! - `entered`: how many events were accepted, and the bit `CLOSED`. Only writers and the closer change it.
//! - `left`: how many of them are done with, and the bit `ABORTED`. Only the drain and the aborting closer change it.
//! - `last`: how many were accepted in all, once closed; until then `MAX`.
//!
//! A writer that enters and a closer meet in one read-modify-write on `entered`: a writer that finds `CLOSED` in what it got was not accepted, although the count
//! has moved, since `last` was frozen before. The depth, `entered - left`, is exact; it counts events that are accepted but not yet
//! pushed, so an empty queue of events does not mean that nothing is to come, and the drain never waits for it: that writer wakes it.
//!
//! A drain that advances `left` and a closer that aborts meet in one read-modify-write on `left`: events before the abort were
//! delivered, at most the one at it is in flight, none after it is attempted.

pub(crate) mod entrance;

use crossbeam_utils::CachePadded;

use crate::sync::atomic::{AtomicU64, Ordering, fence};
use crate::sync::{SegQueue, mutation, spin_loop};
use entrance::Refused;

const FLAG: u64 = 1;
const ONE: u64 = 2;

#[derive(Debug)]
pub(crate) struct Intake<E> {
    entered: CachePadded<AtomicU64>,
    left: CachePadded<AtomicU64>,
    last: AtomicU64,
    /// `u64::MAX` for none.
    capacity: u64,
    events: SegQueue<E>,
}

impl<E> Intake<E> {
    pub(crate) fn new(capacity: Option<u64>) -> Self {
        Self {
            entered: CachePadded::new(AtomicU64::new(0)),
            left: CachePadded::new(AtomicU64::new(0)),
            last: AtomicU64::new(u64::MAX),
            capacity: capacity.unwrap_or(u64::MAX),
            events: SegQueue::new(),
        }
    }

    pub(crate) fn capacity(&self) -> Option<u64> {
        (self.capacity != u64::MAX).then_some(self.capacity)
    }

    /// Takes a place for one event, which the caller pushes next.
    #[inline]
    pub(crate) fn enter(&self) -> Result<(), Refused> {
        if self.capacity != u64::MAX {
            return self.enter_bounded();
        }
        // Spares the read-modify-write where the answer is known; the decision is made by the next line.
        if self.is_closed() {
            return Err(Refused::Closed);
        }
        // AcqRel: the closer's fetch_or and this are in one order, and each sees what the other did before.
        let before = self.entered.fetch_add(ONE, Ordering::AcqRel);
        if before & FLAG != 0 && !mutation!("queue_enter_closed_check") {
            return Err(Refused::Closed);
        }
        Ok(())
    }

    /// By compare-exchange against `left`, so that the bound is exact.
    fn enter_bounded(&self) -> Result<(), Refused> {
        let mut entered = self.entered.load(Ordering::Relaxed);
        loop {
            if entered & FLAG != 0 {
                return Err(Refused::Closed);
            }
            // Acquire: a place counts as free only once its event's drain is over.
            let left = self.left.load(Ordering::Acquire);
            if (entered / ONE).saturating_sub(left / ONE) >= self.capacity {
                return Err(Refused::Full);
            }
            match self.entered.compare_exchange_weak(entered, entered + ONE, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => entered = now,
            }
        }
    }

    /// Puts the event into the place that [`enter`](Self::enter) took. The caller then looks whether the drain needs a wake: the fence in here pairs
    /// with the one in `RunWord::rest`, or with that of a `WaitList`.
    #[inline]
    pub(crate) fn push(&self, event: E) {
        self.events.push(event);
        if !mutation!("queue_push_fence") {
            fence(Ordering::SeqCst);
        }
    }

    pub(crate) fn pop(&self) -> Option<E> {
        self.events.pop()
    }

    /// Whether nothing is there to pop. More may have entered.
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Whether a write would find no room, unless the drain moves.
    pub(crate) fn is_full(&self) -> bool {
        let entered = self.entered.load(Ordering::Relaxed);
        (entered / ONE).saturating_sub(self.left.load(Ordering::Acquire) / ONE) >= self.capacity
    }

    /// One event is done with. Whether the rest is aborted.
    pub(crate) fn leave(&self) -> bool {
        // Release: what was done with the event is seen by whoever sees its place free.
        self.left.fetch_add(ONE, Ordering::AcqRel) & FLAG != 0
    }

    /// No event is attempted any more but the one that may be in flight. How many had left before.
    pub(crate) fn abort(&self) -> u64 {
        self.left.fetch_or(FLAG, Ordering::AcqRel) / ONE
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.left.load(Ordering::Acquire) & FLAG != 0
    }

    /// Accepts nothing from now on. The caller then wakes the drain.
    pub(crate) fn close(&self) {
        let before = self.entered.fetch_or(FLAG, Ordering::AcqRel);
        if before & FLAG == 0 {
            self.last.store(before / ONE, Ordering::Release);
        }
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.entered.load(Ordering::Relaxed) & FLAG != 0
    }

    /// Whether it is closed and every accepted event has left.
    pub(crate) fn is_drained(&self) -> bool {
        self.last.load(Ordering::Acquire) == self.left()
    }

    pub(crate) fn left(&self) -> u64 {
        self.left.load(Ordering::Acquire) / ONE
    }

    /// How many events were accepted.
    pub(crate) fn accepted(&self) -> u64 {
        loop {
            let entered = self.entered.load(Ordering::Acquire);
            if entered & FLAG == 0 {
                return entered / ONE;
            }
            // Closed: the count moves on with refused writers, `last` does not.
            let last = self.last.load(Ordering::Acquire);
            if last != u64::MAX {
                return last;
            }
            // The closer is between its two instructions. Only snapshots get here, never a writer.
            std::thread::yield_now();
            spin_loop();
        }
    }
}
