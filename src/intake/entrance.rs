//! How a writer gets a place: at once, in line for it, in place of another event, or not at all. And what became of all that had one.
//! Shared by queues and channels.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::limits::{Bounds, EventTooLarge, Note};
use super::{Entry, Intake};
use crate::block;
use crate::clock::{Clock, saturating_add};
use crate::contain::contain;
use crate::delivery::Delivery;
use crate::error::{Wait, WriteError};
use crate::ledger::{DropCounters, DropReason, Dropped, Ledger};
use crate::sync::atomic::{AtomicU8, Ordering, fence};
use crate::sync::mutation;
use crate::wakers::{Ticket, WaitList};

/// What a queue or channel with a bound does with a write that finds no room.
///
/// | policy | the write | the event |
/// |---|---|---|
/// | `Block` | waits | gets in later |
/// | `BlockFor` | waits for a while, then [`Full`](WriteError::Full) | stays with the writer |
/// | `Reject` | [`Full`](WriteError::Full) at once | stays with the writer |
/// | `DropNewest` | `Ok` | is counted as accepted and as dropped for [`Overflow`](DropReason::Overflow) |
/// | `DropOldest` | `Ok` | gets in; the oldest that waits is dropped for [`Overflow`](DropReason::Overflow) |
/// | `Disconnect` | [`Closed`](WriteError::Closed) | stays with the writer; the queue closes |
///
/// What is dropped goes to the queue's dead letters, where it has some. No policy but the first two waits, and none ever waits on a pool thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Overflow {
    /// The writer waits for room: a blocking `write` parks, `try_write` answers [`WriteError::NotReady`]. Writers in line get room in the
    /// order they came, as far as no other comes in between. Closing frees them.
    #[default]
    Block,
    /// The same, but for no longer than this; then the write is refused with [`WriteError::Full`]. The time is that of whoever holds the event.
    BlockFor(Duration),
    /// The write is refused with [`WriteError::Full`].
    Reject,
    /// The event that is written is dropped.
    DropNewest,
    /// The event that has waited longest is dropped, and the one that is written gets its place. An event that is being delivered, or is held for a retry,
    /// cannot be dropped any more: if nothing else is inside, the event that is written is dropped. So a queue that should keep the latest one needs a capacity of 2.
    /// A write that drops another takes a short lock.
    DropOldest,
    /// The queue closes: a subscriber that is too slow is cut off instead of missing events unawares. What it has accepted, it delivers as
    /// [`Shutdown::Drain`](crate::Shutdown::Drain) does.
    Disconnect,
}

/// Why a writer may not enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Closed,
    Full,
    TooLarge { bytes: u64, max: u64 },
}

/// Whether an event that was accepted has a place.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// The caller pushes it, with the note in here.
    Taken(Entry),
    /// It is dropped, and counted.
    Shed,
}

/// The queue or channel that an entrance belongs to, as the overflow policies need it.
pub(crate) trait Owner {
    /// Takes the oldest waiting event out and drops it, counted. `false`: there is none to take.
    fn evict(&self) -> bool;

    /// An event was accepted and dropped, and counted.
    fn shed(&self) {}

    /// Closes, since there is no room.
    fn disconnect(&self);

    /// There was no room for a write, and this became of it.
    fn no_room(&self, _: &'static str) {}
}

/// A place in the line for room.
struct InLine {
    ticket: Option<Ticket>,
    /// When waiting ends.
    until: Option<Instant>,
}

/// Whether to try for a place.
enum Room {
    Perhaps(Option<InLine>),
    /// Not any more: the event is dropped.
    Shed,
}

/// An intake with a line in front and the books of what came and went.
pub(crate) struct Entrance<E, N = (), D = ()> {
    pub(crate) intake: Intake<E, N, D>,
    /// What the drain and evictions have dropped. What was shed is counted by the intake.
    pub(crate) drops: DropCounters,
    /// Writers that wait for room, where there is a bound.
    line: Option<Arc<WaitList>>,
    overflow: Overflow,
    /// Whether a write that found no room has closed it.
    cut_off: AtomicU8,
}

impl<E, N, D> Entrance<E, N, D> {
    /// `beside` is what writers touch with every event, `behind` what the drain does.
    pub(crate) fn new(bounds: Bounds<E>, clock: &Clock, beside: N, behind: D) -> Self {
        let overflow = bounds.overflow;
        let intake = Intake::new(bounds, clock, beside, behind);
        let line = intake.is_limited().then(Arc::default);
        Self { intake, drops: DropCounters::default(), line, overflow, cut_off: AtomicU8::new(0) }
    }

    /// Takes a place, parking in line for it unless on a pool thread. The caller pushes next.
    #[inline]
    pub(crate) fn enter(&self, event: &E, owner: &impl Owner) -> Result<Place, WriteError> {
        match self.intake.enter(event) {
            Ok(entry) => Ok(Place::Taken(entry)),
            Err(Refused::Closed) => Err(self.closed()),
            Err(_) => self.enter_full(event, owner),
        }
    }

    #[cold]
    fn enter_full(&self, event: &E, owner: &impl Owner) -> Result<Place, WriteError> {
        block::write(|delivery| self.reserve(event, delivery.resume(), Some(delivery), owner))
    }

    /// The same without ever waiting: in line is as good as full.
    #[inline]
    pub(crate) fn try_enter(&self, event: &E, owner: &impl Owner) -> Result<Place, WriteError> {
        self.reserve(event, None, None, owner)
    }

    /// Makes a clone of the event and takes a place for it. In this order: a `Clone` that panics takes no place with it. Where there is no room, nothing
    /// is cloned.
    #[inline]
    pub(crate) fn enter_cloned(
        &self,
        event: &E,
        delivery: &mut Delivery<'_>,
        owner: &impl Owner,
    ) -> Result<Option<(E, Entry)>, WriteError>
    where
        E: Clone,
    {
        let mut line = None;
        if self.intake.is_limited() {
            if self.intake.is_closed() && !mutation!("room_closed_clones_nothing") {
                return Err(self.closed());
            }
            line = match self.find_room(event, delivery.resume(), Some(delivery), owner)? {
                Room::Perhaps(line) => line,
                Room::Shed => return Ok(None),
            };
        }
        let clone = event.clone();
        let place = self.reserve(&clone, line, Some(delivery), owner)?;
        Ok(match place {
            Place::Taken(entry) => Some((clone, entry)),
            Place::Shed => None,
        })
    }

    /// Takes a place, or one in the line for it.
    #[inline]
    fn reserve(
        &self,
        event: &E,
        mut line: Option<InLine>,
        mut delivery: Option<&mut Delivery<'_>>,
        owner: &impl Owner,
    ) -> Result<Place, WriteError> {
        loop {
            match self.intake.enter(event) {
                Ok(entry) => {
                    if let Some(ticket) = line.and_then(|line| line.ticket) {
                        // It has its place and is not pushed yet: a waker of the user's that panics must not keep it from that.
                        contain(|| self.pass_room_on(ticket));
                    }
                    return Ok(Place::Taken(entry));
                }
                Err(Refused::Closed) => return Err(self.closed()),
                Err(Refused::Full | Refused::TooLarge { .. }) => {}
            }
            match self.find_room(event, line, delivery.as_deref_mut(), owner)? {
                Room::Perhaps(next) => line = next,
                Room::Shed => return Ok(Place::Shed),
            }
        }
    }

    /// Goes on if there is room now, and otherwise does what the overflow policy says. Without a delivery there is no waiting.
    fn find_room(
        &self,
        event: &E,
        line: Option<InLine>,
        delivery: Option<&mut Delivery<'_>>,
        owner: &impl Owner,
    ) -> Result<Room, WriteError> {
        if !self.lacks_room(event)? {
            return Ok(Room::Perhaps(line));
        }
        // Before the policy: a closed queue drops nothing for who may not enter anyhow.
        if self.intake.is_closed() && !mutation!("room_closed_before_the_policy") {
            return Err(self.closed());
        }
        let timeout = match self.overflow {
            Overflow::Block => None,
            Overflow::BlockFor(timeout) => Some(timeout),
            Overflow::Reject => return Err(self.full(owner)),
            Overflow::DropNewest => return self.shed(owner),
            Overflow::DropOldest => {
                if !owner.evict() {
                    return self.shed(owner);
                }
                owner.no_room("evicted");
                return Ok(Room::Perhaps(line));
            }
            Overflow::Disconnect => {
                // Before the close: who finds it closed by this learns why. Release, with the Acquire in `is_cut_off`; who comes by the close itself sees it by that.
                self.cut_off.store(1, Ordering::Release);
                owner.disconnect();
                owner.no_room("disconnected");
                return Err(self.closed());
            }
        };
        match delivery {
            None => Err(self.full(owner)),
            Some(delivery) => self.wait_for_room(event, line, timeout, delivery, owner),
        }
    }

    /// Gets in line.
    #[cold]
    fn wait_for_room(
        &self,
        event: &E,
        line: Option<InLine>,
        timeout: Option<Duration>,
        delivery: &mut Delivery<'_>,
        owner: &impl Owner,
    ) -> Result<Room, WriteError> {
        let mut line = line.unwrap_or_else(|| InLine {
            ticket: None,
            until: timeout.map(|timeout| saturating_add(delivery.now(), timeout)),
        });
        if line.until.is_some_and(|until| delivery.now() >= until) {
            return Err(self.full(owner));
        }
        if let Some(waiting) = &self.line {
            drop(waiting.register(&mut line.ticket, delivery.waker()));
        }
        // Room, or a close, that came before the registration has woken nobody.
        let is_closed = self.intake.is_closed() && !mutation!("room_line_sees_the_close");
        if (self.lacks_room(event)? && !is_closed) || mutation!("room_line_recheck") {
            let until = line.until;
            delivery.save(line);
            return Err(WriteError::NotReady(Wait { until }));
        }
        Ok(Room::Perhaps(Some(line)))
    }

    fn lacks_room(&self, event: &E) -> Result<bool, WriteError> {
        self.intake.lacks_room(event).map_err(|refused| match refused {
            Refused::TooLarge { bytes, max } => EventTooLarge { bytes, max }.into(),
            Refused::Closed => WriteError::Closed,
            Refused::Full => WriteError::Full,
        })
    }

    fn full(&self, owner: &impl Owner) -> WriteError {
        self.intake.count_refused();
        owner.no_room("refused");
        WriteError::Full
    }

    fn closed(&self) -> WriteError {
        if self.is_cut_off() {
            self.intake.count_refused();
        }
        WriteError::Closed
    }

    /// Whether a write that found no room has closed it.
    pub(crate) fn is_cut_off(&self) -> bool {
        // Acquire, with the Release where it is set.
        self.cut_off.load(Ordering::Acquire) != 0 && !mutation!("room_knows_why_it_closed")
    }

    fn shed(&self, owner: &impl Owner) -> Result<Room, WriteError> {
        if !self.intake.shed() {
            return Err(self.closed());
        }
        owner.shed();
        owner.no_room("dropped");
        Ok(Room::Shed)
    }

    /// Who waited has got room. By its bytes it may have left some for the next in line, who gets in line again where it is if that is not enough.
    fn pass_room_on(&self, ticket: Ticket) {
        ticket.spend();
        if self.intake.max_bytes().is_some() && !mutation!("bytes_room_passed_on") {
            self.free_room();
        }
    }

    /// One event is done with: delivered, or dropped for a reason.
    #[inline]
    pub(crate) fn settle(&self, dropped: Option<DropReason>, note: Note) {
        match dropped {
            None => self.intake.leave(note),
            Some(reason) => self.drops.step(|dropped| {
                dropped.add(reason, 1);
                self.intake.leave(note);
            }),
        }
        self.free_room();
    }

    /// There is room: lets the next in line try.
    #[inline]
    pub(crate) fn free_room(&self) {
        let Some(line) = &self.line else { return };
        // Pairs with the fence in `WaitList::register`: either the writer sees the room, or this sees the writer.
        if !mutation!("room_line_fence") {
            fence(Ordering::SeqCst);
        }
        if !line.is_empty() && !mutation!("room_line_wakes") {
            line.wake(1);
        }
    }

    /// Accepts nothing from now on, and tells those in line.
    pub(crate) fn close(&self) {
        self.intake.close();
        if let Some(line) = self.line.as_ref().filter(|_| !mutation!("room_close_wakes")) {
            line.wake_all();
        }
    }

    /// The books, while the caller keeps the drain from working. `held` are the events that it has taken out and not settled.
    #[cfg(feature = "test-util")]
    pub(crate) fn books(&self, held: u64, delivered: Option<u64>) -> super::audit::Books {
        // No eviction is counted during the step. What is there is read before what entered, so that no writer seems to push before it enters.
        self.drops.step(|dropped| {
            let pushed = self.intake.pushed();
            super::audit::Books {
                left: self.intake.left(),
                evicted: self.intake.evictions(),
                dropped: dropped.total(),
                dropped_for_overflow: dropped.get(DropReason::Overflow),
                bytes: self.intake.bytes_held().unwrap_or(0),
                max_bytes: self.intake.max_bytes(),
                delivered,
                inside: held + pushed,
                entered: self.intake.entered(),
            }
        })
    }

    /// Everything accepted and what became of it.
    pub(crate) fn ledger(&self) -> Ledger {
        self.ledger_and_left().0
    }

    /// The same, with how many the drain was done with at that moment.
    ///
    /// All counts only grow, and those of the accepted are read last, so that nothing shows as delivered or dropped that does not show as accepted.
    pub(crate) fn ledger_and_left(&self) -> (Ledger, u64) {
        let (mut dropped, left, evicted): (Dropped, _, _) =
            self.drops.step(|dropped| (*dropped, self.intake.left(), self.intake.evictions()));
        let delivered = left + evicted - dropped.total();
        let shed = self.intake.sheds();
        let entered = self.intake.entered();
        dropped.add(DropReason::Overflow, shed);
        (Ledger { accepted: entered + shed, delivered, dropped, pending: entered - left - evicted }, left)
    }
}

/// A `send` that did not succeed, with the event.
#[derive(thiserror::Error)]
#[error("{error}")]
pub struct SendError<E> {
    /// The event, unchanged.
    pub event: E,
    /// Why.
    #[source]
    pub error: WriteError,
}

/// Without the event: what it contains is not for logs.
impl<E> fmt::Debug for SendError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError").field("error", &self.error).finish_non_exhaustive()
    }
}
