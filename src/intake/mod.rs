//! The writers' side of a queue or a channel: who may enter, how many have, and how many have left. [`Entrance`](entrance::Entrance)
//! adds waiting for room.
//!
//! Three words:
//!
//! - `entered`: how many events were accepted, and the bits `CLOSED` and `ASLEEP`. Only writers and the closer change it, and the drain when it falls asleep and wakes up.
//! - `left`: how many of them are done with, and the bits `ABORTED` and `QUIET`. Only the drain and the aborting closer change it.
//! - `last`: how many were accepted in all, once closed; until then `MAX`. The drain reads this one to see whether it is closed.
//!
//! The writers' words are on one cache line, with whatever else a writer touches (`beside`), and the drain's on another, with whatever else the drain does (`behind`). A write to a queue that
//! was idle moves every line it touches from the drain's core, so each line more costs it as much as the rest of its work.
//!
//! A writer that enters and a closer meet in one read-modify-write on `entered`: a writer that finds `CLOSED` in what it got was not accepted, although the count
//! has moved, since `last` was frozen before. The depth, `entered - left`, is exact; it counts events that are accepted but not yet
//! pushed, so an empty queue of events does not mean that nothing is to come.
//!
//! A writer that enters and a drain that has nothing to do meet in the same word. The drain falls asleep by a compare-exchange that sets `ASLEEP`, from a count of which none is left inside: so
//! no writer is between its place and its push. Whoever enters later gets `ASLEEP` in what it read, and wakes the drain once it has pushed. Nobody else has to look, so a write
//! needs no fence. The price: a drain that finds nothing while a writer is in between has to look again until that writer has pushed, as it has to within the pop of a `SegQueue`, for a
//! writer that has moved its tail and not written yet. A channel's readers do not; its writers fence and look.
//!
//! A drain that advances `left` and a closer that aborts meet in one read-modify-write on `left`: events before the abort were
//! delivered, at most the one at it is in flight, none after it is attempted. Once closed, the drain also says in that word when it is not
//! offering (`QUIET`), so that the closer knows whether there is one at all; while a queue is open, nobody pays for that.
//!
//! **Orderings.** Every step of `entered`, `left`, `shed` and `evicted` is an `AcqRel` read-modify-write: of two that meet there the second sees what the first did before. `last` is
//! stored with Release and loaded with Acquire: who sees that it is closed sees the final count and all that the closer did. Looks from outside are Acquire, so that a
//! count comes with what led to it.
//!
//! An intake with a bound keeps [`Limits`] besides. Two more ways of an event begin there: it is *shed*, accepted and dropped without entering; or it is
//! *evicted*, taken out again by a writer who needs its place. So there are `entered - left - evicted` events inside, and
//! `entered + shed` were accepted. What is taken out is inside until its writer is done with it; so it is counted twice, and a drain may sleep beside it. An evicted event does not move `left`, whose steps are those of the drain alone.

#[cfg(feature = "test-util")]
pub(crate) mod audit;
pub(crate) mod entrance;
pub(crate) mod limits;

use crossbeam_utils::CachePadded;

use crate::clock::Clock;
use crate::sync::atomic::{AtomicU64, Ordering, fence};
use crate::sync::{SegQueue, mutation, spin_loop};
use entrance::Refused;
use limits::{Bounds, Limits, Note};

/// In `entered`: nothing more is accepted.
const CLOSED: u64 = 1;
/// In `entered`: the drain rests, or has just been woken. Who reads this when it enters wakes it.
const ASLEEP: u64 = 2;
/// One event in `entered`.
const ENTERED: u64 = 4;
/// In `left`: no event is attempted any more.
const ABORTED: u64 = 1;
/// In `left`: the drain is not offering an event. Once it is aborted too, that is for good.
const QUIET: u64 = 2;
/// One event in `left`.
const LEFT: u64 = 4;

pub(crate) struct Intake<E, N = (), D = ()> {
    front: CachePadded<Front<E, N>>,
    back: CachePadded<Back<D>>,
    /// The events that are inside, unless the limits have them, with a note beside each.
    plain: SegQueue<E>,
}

/// The writers' line.
struct Front<E, N> {
    entered: AtomicU64,
    /// Where there are none, a writer pays for a look at this pointer.
    limits: Option<Box<Limits<E>>>,
    beside: N,
}

/// The drain's line.
struct Back<D> {
    left: AtomicU64,
    last: AtomicU64,
    /// The most events inside that the drain has seen.
    high_water: AtomicU64,
    /// Whether there are limits: the drain asks with every event, and the writers' line, where they are, is not for it to touch.
    is_limited: bool,
    behind: D,
}

/// An event that was inside, with its note.
pub(crate) struct Parcel<E> {
    pub(crate) event: E,
    pub(crate) note: Note,
}

/// A place for an event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    /// What is kept beside the event.
    pub(crate) note: Note,
    /// The drain rests, so that its owner is to be woken after the push.
    pub(crate) asleep: bool,
}

impl Entry {
    fn new(note: Note, entered: u64) -> Self {
        Self { note, asleep: entered & ASLEEP != 0 }
    }
}

impl<E, N, D> Intake<E, N, D> {
    pub(crate) fn new(bounds: Bounds<E>, clock: &Clock, beside: N, behind: D) -> Self {
        let limits = Limits::new(bounds, clock);
        let is_limited = limits.is_some();
        let front = Front { entered: AtomicU64::new(ASLEEP), limits, beside };
        let zero = AtomicU64::default;
        let last = AtomicU64::new(u64::MAX);
        let back = Back { left: zero(), last, high_water: zero(), is_limited, behind };
        Self { front: CachePadded::new(front), back: CachePadded::new(back), plain: SegQueue::new() }
    }

    /// What lies on the writers' line.
    #[inline]
    pub(crate) fn beside(&self) -> &N {
        &self.front.beside
    }

    /// What lies on the drain's line.
    #[inline]
    pub(crate) fn behind(&self) -> &D {
        &self.back.behind
    }

    pub(crate) fn behind_mut(&mut self) -> &mut D {
        &mut self.back.behind
    }

    #[inline]
    fn limits(&self) -> Option<&Limits<E>> {
        self.front.limits.as_deref()
    }

    /// Whether writers may have to wait for others to leave.
    #[inline]
    pub(crate) fn is_limited(&self) -> bool {
        self.front.limits.is_some()
    }

    pub(crate) fn capacity(&self) -> Option<u64> {
        self.limits().map(Limits::capacity).filter(|capacity| *capacity != u64::MAX)
    }

    pub(crate) fn max_bytes(&self) -> Option<u64> {
        self.limits().and_then(Limits::max_bytes)
    }

    pub(crate) fn bytes_held(&self) -> Option<u64> {
        self.limits().and_then(Limits::bytes_held)
    }

    /// Takes a place for an event, which the caller pushes next.
    #[inline]
    pub(crate) fn enter(&self, event: &E) -> Result<Entry, Refused> {
        if let Some(limits) = self.limits() {
            return self.enter_limited(limits, event);
        }
        // Not looked at first: where the drain's core has the line, a load and then a read-modify-write would fetch it twice.
        // AcqRel: the closer's fetch_or and this are in one order, and each sees what the other did before.
        let before = self.front.entered.fetch_add(ENTERED, Ordering::AcqRel);
        if before & CLOSED != 0 && !mutation!("queue_enter_closed_check") {
            return Err(Refused::Closed);
        }
        Ok(Entry::new(Note::default(), before))
    }

    fn enter_limited(&self, limits: &Limits<E>, event: &E) -> Result<Entry, Refused> {
        // The bytes first, since they can be given back. Bytes that are taken for a moment may turn another writer away. Whoever gives them back looks again,
        // and either gets in, or finds it full; so somebody is inside whose leaving wakes that other. The look before that is for its cost alone: a writer
        // to a full queue moves no word.
        if self.lacks_place(limits) {
            // A closed one too could say that it is full: who is refused for that asks again before the overflow policy. This is the shorter way.
            return Err(if self.is_closed() { Refused::Closed } else { Refused::Full });
        }
        let bytes = limits.reserve(event)?;
        match self.take_place(limits) {
            Ok(before) => Ok(Entry::new(limits.note(bytes), before)),
            Err(refused) => {
                if !mutation!("bytes_given_back") {
                    limits.release(bytes);
                }
                Err(refused)
            }
        }
    }

    /// By compare-exchange against those that have gone, so that the bound is exact. Answers the word before.
    fn take_place(&self, limits: &Limits<E>) -> Result<u64, Refused> {
        let mut entered = self.front.entered.load(Ordering::Relaxed);
        loop {
            if entered & CLOSED != 0 && !mutation!("room_enter_closed_check") {
                return Err(Refused::Closed);
            }
            // Acquire: a place counts as free only once its event's drain is over.
            if (entered / ENTERED).saturating_sub(self.gone()) >= limits.capacity() {
                return Err(Refused::Full);
            }
            let more = entered + ENTERED;
            if mutation!("room_bound_by_load") {
                return Ok(self.front.entered.fetch_add(ENTERED, Ordering::AcqRel));
            }
            match self.front.entered.compare_exchange_weak(entered, more, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(before) => return Ok(before),
                Err(now) => entered = now,
            }
        }
    }

    /// Whether all places are taken.
    fn lacks_place(&self, limits: &Limits<E>) -> bool {
        let entered = self.front.entered.load(Ordering::Relaxed) / ENTERED;
        entered.saturating_sub(self.gone()) >= limits.capacity()
    }

    /// Whether a write would find no room, unless others leave.
    pub(crate) fn lacks_room(&self, event: &E) -> Result<bool, Refused> {
        let Some(limits) = self.limits() else { return Ok(false) };
        Ok(limits.lacks_bytes(event)? || self.lacks_place(limits))
    }

    /// Puts the event into the place that [`enter`](Self::enter) took. The caller then wakes the drain, if that was asleep.
    #[inline]
    pub(crate) fn push(&self, event: E, note: Note) {
        match self.limits().and_then(Limits::noted) {
            None => self.plain.push(event),
            Some(noted) => noted.push(Parcel { event, note }),
        }
    }

    /// The drain has found nothing to pop, and has `inside` events that have not left. If there are no others, it is asleep from now on: who enters wakes it. `false`: somebody is about
    /// to push, and does not; look again.
    pub(crate) fn fall_asleep(&self, inside: u64) -> bool {
        let entered = self.front.entered.load(Ordering::Relaxed);
        // What a writer has taken out is not for the drain, and may take that writer its time.
        let gone = self.left() + self.limits().map_or(0, Limits::taken) + inside;
        if mutation!("queue_sleeps_beside_a_writer") {
            self.front.entered.fetch_or(ASLEEP, Ordering::AcqRel);
            return true;
        }
        if entered & CLOSED != 0 {
            // Who was accepted before the close is waited for, since it wakes nobody. Who only has to do away with an event, taken out or shed, wakes the drain.
            return self.back.last.load(Ordering::Acquire) == gone || mutation!("queue_sleeps_when_it_is_closed");
        }
        if mutation!("queue_sleeps_by_load") && entered / ENTERED == gone {
            self.front.entered.fetch_or(ASLEEP, Ordering::AcqRel);
            return true;
        }
        entered / ENTERED == gone
            && self
                .front
                .entered
                .compare_exchange(entered, entered | ASLEEP, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }

    /// The drain has its turn: who enters need not wake it.
    pub(crate) fn wake_up(&self) {
        // Looked at first: a turn that was not preceded by sleep leaves the writers their line.
        if self.is_asleep() {
            self.front.entered.fetch_and(!ASLEEP, Ordering::AcqRel);
        }
    }

    /// Whether the next writer has to wake the drain.
    pub(crate) fn is_asleep(&self) -> bool {
        self.front.entered.load(Ordering::Relaxed) & ASLEEP != 0
    }

    pub(crate) fn pop(&self) -> Option<Parcel<E>> {
        match self.noted() {
            None => Some(Parcel { event: self.plain.pop()?, note: Note::default() }),
            Some(noted) => noted.pop(),
        }
    }

    /// Whether nothing is there to pop. More may have entered.
    pub(crate) fn is_empty(&self) -> bool {
        match self.noted() {
            None => self.plain.is_empty(),
            Some(noted) => noted.is_empty(),
        }
    }

    /// Reads what the next write will need, and nothing of the drain's line. The answer means nothing.
    pub(crate) fn warm(&self) -> bool {
        let is_empty = match self.limits().and_then(Limits::noted) {
            None => self.plain.is_empty(),
            Some(noted) => noted.is_empty(),
        };
        self.is_asleep() & is_empty
    }

    /// The drain is done with one event.
    pub(crate) fn leave(&self, note: Note) {
        // Release: what was done with the event is seen by whoever sees its place free.
        self.back.left.fetch_add(LEFT, Ordering::AcqRel);
        if let Some(limits) = self.limits_behind() {
            limits.release_note(note);
        }
    }

    /// The limits, for the drain.
    fn limits_behind(&self) -> Option<&Limits<E>> {
        if self.back.is_limited { self.limits() } else { None }
    }

    /// The events that are inside, where each has a note. For the drain.
    fn noted(&self) -> Option<&SegQueue<Parcel<E>>> {
        self.limits_behind().and_then(Limits::noted)
    }

    /// Pops an event to make room. Until it is [counted](Self::count_evicted), it is inside, but for who may sleep.
    pub(crate) fn take_out(&self) -> Option<Parcel<E>> {
        let parcel = self.pop()?;
        if let Some(limits) = self.limits() {
            limits.count_taken();
        }
        Some(parcel)
    }

    /// A writer is done with an event that it has taken out. The caller then looks whether the drain waits for its end: the fence in here pairs with the one in `close`.
    pub(crate) fn count_evicted(&self, note: Note) {
        if let Some(limits) = self.limits() {
            limits.count_evicted(note);
        }
        if !mutation!("queue_evict_fence") {
            fence(Ordering::SeqCst);
        }
    }

    /// Accepts an event only to drop it. `false`: it is closed. The caller says when it is [done](Self::shed_done) with it.
    pub(crate) fn shed(&self) -> bool {
        self.limits().is_some_and(Limits::shed)
    }

    /// All is done about an event that was shed. The caller then looks whether the drain waits for its end, as after an eviction.
    pub(crate) fn shed_done(&self) {
        if let Some(limits) = self.limits() {
            limits.shed_done();
        }
        if !mutation!("queue_shed_fence") {
            fence(Ordering::SeqCst);
        }
    }

    /// A write was refused for want of room.
    pub(crate) fn count_refused(&self) {
        if let Some(limits) = self.limits() {
            limits.count_refused();
        }
    }

    /// Events that were accepted and dropped without entering.
    pub(crate) fn sheds(&self) -> u64 {
        self.limits().map_or(0, Limits::sheds)
    }

    /// Events that a writer took out to make room.
    pub(crate) fn evictions(&self) -> u64 {
        self.limits().map_or(0, Limits::evictions)
    }

    /// Writes that were refused for want of room.
    pub(crate) fn refusals(&self) -> u64 {
        self.limits().map_or(0, Limits::refusals)
    }

    /// The drain looks how many have entered and how many are gone. It does so at the beginning of each turn, so that a peak is missed by at most what one
    /// turn delivers.
    pub(crate) fn look_at_depth(&self) -> (u64, u64) {
        let (entered, gone) = self.entered_and_gone();
        let depth = entered.saturating_sub(gone);
        if depth > self.back.high_water.load(Ordering::Relaxed) {
            // Only the drain writes it.
            self.back.high_water.store(depth, Ordering::Relaxed);
        }
        (entered, gone)
    }

    /// The most that have been inside.
    pub(crate) fn high_water(&self) -> u64 {
        self.back.high_water.load(Ordering::Relaxed).max(self.depth())
    }

    fn depth(&self) -> u64 {
        let (entered, gone) = self.entered_and_gone();
        entered.saturating_sub(gone)
    }

    /// Read in this order: what has gone meanwhile makes their difference too low, never higher than the depth has been. More may have gone than entered.
    fn entered_and_gone(&self) -> (u64, u64) {
        let entered = self.entered();
        (entered, self.gone())
    }

    /// The time now, where events are stamped.
    pub(crate) fn stamp(&self) -> Option<std::time::Instant> {
        self.limits().and_then(Limits::stamp)
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
            let offering = if mutation!("queue_offer_is_not_quiet") { left } else { left & !QUIET };
            match self.back.left.compare_exchange_weak(left, offering, Ordering::AcqRel, Ordering::Acquire) {
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
        self.back.left.load(Ordering::Acquire) & QUIET != 0 && !mutation!("queue_abort_asks_whether_quiet")
    }

    /// Accepts nothing from now on. The caller then wakes the drain.
    pub(crate) fn close(&self) {
        let before = self.front.entered.fetch_or(CLOSED, Ordering::AcqRel);
        if let Some(limits) = self.limits() {
            limits.close();
        }
        // The first closer alone: writers who were refused since have moved the count.
        if before & CLOSED == 0 || mutation!("queue_first_closer_counts") {
            self.back.last.store(before / ENTERED, Ordering::Release);
        }
        // Either a writer who evicts sees that it is closed and wakes the drain, or the drain that is woken next sees the eviction.
        if !mutation!("queue_close_fence") {
            fence(Ordering::SeqCst);
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

    /// Whether it is closed and all is done about every event that was accepted.
    pub(crate) fn is_drained(&self) -> bool {
        self.is_drained_at(self.left())
    }

    fn is_drained_at(&self, left: u64) -> bool {
        let gone = left + self.evictions();
        self.back.last.load(Ordering::Acquire) == gone && !self.limits().is_some_and(Limits::is_shedding)
    }

    /// The same for a reader that finds nothing and is about to wait, where others may take the last event meanwhile.
    pub(crate) fn is_drained_for_good(&self) -> bool {
        // By read-modify-write, against `leave`: if the last event leaves later, whoever took it sees the close that its reader has been told of, and
        // wakes the others. With a load each of the two could miss the other's step, and the end be told to nobody.
        let left = if mutation!("channel_end_by_load") {
            self.back.left.load(Ordering::Acquire)
        } else {
            self.back.left.fetch_add(0, Ordering::AcqRel)
        };
        self.is_drained_at(left / LEFT)
    }

    /// How many of those that entered are inside no longer.
    pub(crate) fn gone(&self) -> u64 {
        self.left() + self.evictions()
    }

    /// How many the drain is done with.
    pub(crate) fn left(&self) -> u64 {
        self.back.left.load(Ordering::Acquire) / LEFT
    }

    /// How many are really there to pop.
    #[cfg(feature = "test-util")]
    pub(crate) fn pushed(&self) -> u64 {
        let pushed = match self.noted() {
            None => self.plain.len(),
            Some(noted) => noted.len(),
        };
        pushed as u64
    }

    /// How many events have entered.
    pub(crate) fn entered(&self) -> u64 {
        loop {
            let entered = self.front.entered.load(Ordering::Acquire);
            if entered & CLOSED == 0 {
                return entered / ENTERED;
            }
            // Closed: the count moves on with refused writers, `last` does not.
            let last = self.back.last.load(Ordering::Acquire);
            if mutation!("queue_count_waits_for_the_close") {
                return entered / ENTERED;
            }
            if last != u64::MAX {
                return last;
            }
            // The closer is between its two instructions. Only snapshots get here, and a channel's writer that drops an event.
            std::thread::yield_now();
            spin_loop();
        }
    }
}
