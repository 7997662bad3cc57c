//! The writers' side of a queue or a channel: who may enter, how many have, and how many have left. [`Entrance`](entrance::Entrance)
//! adds waiting for room.
//!
//! Three words:
//!
//! - `entered`: how many events were accepted, and the bit `CLOSED`. Only writers and the closer change it.
//! - `left`: how many of them are done with, and the bits `ABORTED` and `QUIET`. Only the drain and the aborting closer change it.
//! - `last`: how many were accepted in all, once closed; until then `MAX`. The drain reads this one to see whether it is closed.
//!
//! The writers' words are on one cache line, with whatever else a writer touches (`beside`), and the drain's on another. A write to a queue that
//! was idle moves every line it touches from the drain's core, so each line more costs it as much as the rest of its work.
//!
//! A writer that enters and a closer meet in one read-modify-write on `entered`: a writer that finds `CLOSED` in what it got was not accepted, although the count
//! has moved, since `last` was frozen before. The depth, `entered - left`, is exact; it counts events that are accepted but not yet
//! pushed, so an empty queue of events does not mean that nothing is to come, and the drain never waits for it: that writer wakes it.
//!
//! A drain that advances `left` and a closer that aborts meet in one read-modify-write on `left`: events before the abort were
//! delivered, at most the one at it is in flight, none after it is attempted. Once closed, the drain also says in that word when it is not
//! offering (`QUIET`), so that the closer knows whether there is one at all; while a queue is open, nobody pays for that.

pub(crate) mod entrance;

use crossbeam_utils::CachePadded;

use crate::sync::atomic::{AtomicU64, Ordering, fence};
use crate::sync::{SegQueue, mutation, spin_loop};
use entrance::Refused;

/// In `entered`: nothing more is accepted.
const CLOSED: u64 = 1;
/// One event in `entered`.
const ENTERED: u64 = 2;
/// In `left`: no event is attempted any more.
const ABORTED: u64 = 1;
/// In `left`: the drain is not offering an event. Once it is aborted too, that is for good.
const QUIET: u64 = 2;
/// One event in `left`.
const LEFT: u64 = 4;

#[derive(Debug)]
pub(crate) struct Intake<E, N = ()> {
    front: CachePadded<Front<N>>,
    back: CachePadded<Back>,
    events: SegQueue<E>,
}

/// The writers' line.
#[derive(Debug)]
struct Front<N> {
    entered: AtomicU64,
    /// `u64::MAX` for none.
    capacity: u64,
    beside: N,
}

/// The drain's line.
#[derive(Debug)]
struct Back {
    left: AtomicU64,
    last: AtomicU64,
}

impl<E, N> Intake<E, N> {
    pub(crate) fn new(capacity: Option<u64>, beside: N) -> Self {
        let front = Front { entered: AtomicU64::new(0), capacity: capacity.unwrap_or(u64::MAX), beside };
        let back = Back { left: AtomicU64::new(0), last: AtomicU64::new(u64::MAX) };
        Self { front: CachePadded::new(front), back: CachePadded::new(back), events: SegQueue::new() }
    }

    /// What lies on the writers' line.
    #[inline]
    pub(crate) fn beside(&self) -> &N {
        &self.front.beside
    }

    pub(crate) fn capacity(&self) -> Option<u64> {
        (self.front.capacity != u64::MAX).then_some(self.front.capacity)
    }

    /// Takes a place for one event, which the caller pushes next.
    #[inline]
    pub(crate) fn enter(&self) -> Result<(), Refused> {
        if self.front.capacity != u64::MAX {
            return self.enter_bounded();
        }
        // Not looked at first: where the drain's core has the line, a load and then a read-modify-write would fetch it twice.
        // AcqRel: the closer's fetch_or and this are in one order, and each sees what the other did before.
        let before = self.front.entered.fetch_add(ENTERED, Ordering::AcqRel);
        if before & CLOSED != 0 && !mutation!("queue_enter_closed_check") {
            return Err(Refused::Closed);
        }
        Ok(())
    }

    /// By compare-exchange against `left`, so that the bound is exact.
    fn enter_bounded(&self) -> Result<(), Refused> {
        let mut entered = self.front.entered.load(Ordering::Relaxed);
        loop {
            if entered & CLOSED != 0 {
                return Err(Refused::Closed);
            }
            // Acquire: a place counts as free only once its event's drain is over.
            let left = self.back.left.load(Ordering::Acquire);
            if (entered / ENTERED).saturating_sub(left / LEFT) >= self.front.capacity {
                return Err(Refused::Full);
            }
            let more = entered + ENTERED;
            match self.front.entered.compare_exchange_weak(entered, more, Ordering::AcqRel, Ordering::Relaxed) {
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
        let entered = self.front.entered.load(Ordering::Relaxed);
        (entered / ENTERED).saturating_sub(self.left()) >= self.front.capacity
    }

    /// One event is done with.
    pub(crate) fn leave(&self) {
        // Release: what was done with the event is seen by whoever sees its place free.
        self.back.left.fetch_add(LEFT, Ordering::AcqRel);
    }

    /// No event is attempted any more but the one that may be in flight. How many had left before.
    pub(crate) fn abort(&self) -> u64 {
        self.back.left.fetch_or(ABORTED, Ordering::AcqRel) / LEFT
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.back.left.load(Ordering::Acquire) & ABORTED != 0
    }

    /// The drain of a closed intake is about to offer an event. `false`: it is aborted, and must not.
    pub(crate) fn begin_offer(&self) -> bool {
        let mut left = self.back.left.load(Ordering::Acquire);
        while left & ABORTED == 0 || mutation!("queue_offer_ignores_abort") {
            // Against an abort, not an AND that comes too late to take it back.
            match self.back.left.compare_exchange_weak(left, left & !QUIET, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => left = now,
            }
        }
        false
    }

    /// The drain of a closed intake offers nothing until it says so: the event that it offered has left, or is held.
    pub(crate) fn end_offer(&self) {
        self.back.left.fetch_or(QUIET, Ordering::AcqRel);
    }

    /// Whether nothing is being offered, after an abort: of what is pending then, nothing will be delivered.
    pub(crate) fn is_quiet(&self) -> bool {
        self.back.left.load(Ordering::Acquire) & QUIET != 0
    }

    /// Accepts nothing from now on. The caller then wakes the drain.
    pub(crate) fn close(&self) {
        let before = self.front.entered.fetch_or(CLOSED, Ordering::AcqRel);
        if before & CLOSED == 0 {
            self.back.last.store(before / ENTERED, Ordering::Release);
        }
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.front.entered.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// The same for the drain, which leaves the writers their line. True a moment later: when it is, the count is known too.
    pub(crate) fn is_sealed(&self) -> bool {
        self.back.last.load(Ordering::Acquire) != u64::MAX
    }

    /// Whether it is closed and every accepted event has left.
    pub(crate) fn is_drained(&self) -> bool {
        self.back.last.load(Ordering::Acquire) == self.left()
    }

    pub(crate) fn left(&self) -> u64 {
        self.back.left.load(Ordering::Acquire) / LEFT
    }

    /// How many events were accepted.
    pub(crate) fn accepted(&self) -> u64 {
        loop {
            let entered = self.front.entered.load(Ordering::Acquire);
            if entered & CLOSED == 0 {
                return entered / ENTERED;
            }
            // Closed: the count moves on with refused writers, `last` does not.
            let last = self.back.last.load(Ordering::Acquire);
            if last != u64::MAX {
                return last;
            }
            // The closer is between its two instructions. Only snapshots get here, never a writer.
            std::thread::yield_now();
            spin_loop();
        }
    }
}
