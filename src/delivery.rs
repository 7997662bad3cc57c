//! The state of one event's journey through a pipeline.
//!
//! A sink never waits; it answers [`NotReady`](crate::WriteError::NotReady) and is offered the same event again. What it must remember until then, it
//! saves in the [`Delivery`] that came with the event, and whoever holds the event (a queue, or a blocking `write` on its
//! own stack) keeps it:
//!
//! - A **transparent** stage (a filter) passes its delivery on and saves nothing.
//! - A stage with **one child** (a retrying sink) keeps the child's [`Frame`] in its own state and calls the child inside
//!   [`Delivery::nest`].
//! - A stage with **several children** (a broadcaster) keeps a [`Journey`] for each, a frame and a history of failures of its own, and calls them
//!   inside [`Delivery::fork`].
//!
//! A sink may also save when it [fails](crate::WriteError::Failed) in a way that may pass ([`Class::Transient`](crate::Class::Transient)): a broadcaster
//! saves which sinks have the event already. This is for whoever repeats the write, and no promise: who does not repeat it drops what was saved, as a queue
//! does; who offers the event to *another* sink instead is a stage with several children. A stage with one child that keeps its child's frame when that is
//! not ready keeps it after such a failure too: else the child begins anew.
//!
//! Before the first failure a delivery reads no clock and allocates nothing.

use std::any::Any;
use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::Instant;

use crate::block;
use crate::clock::Clock;
use crate::error::Failure;

/// What tells an event from others of the same holder, the same through all attempts: its place in the queue that delivers it
/// (counted from 0), or for a blocking `write` a number that no other such write of this process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(pub u64);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What failed so far on an event's way through one branch of a pipeline.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct History {
    /// Attempts that failed.
    pub attempts: u32,
    /// When the first one failed.
    pub first_failure: Instant,
    /// How the first one failed.
    pub first_error: Failure,
    /// How the last one failed.
    pub last_error: Failure,
}

/// What a stage saved for the time until the event is offered again. Empty unless the stage answered that it was not ready, or that it failed in a way
/// that may pass.
#[derive(Default)]
pub struct Frame(Option<Box<dyn Any + Send>>);

impl Frame {
    /// Whether nothing is saved.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "Frame(empty)" } else { "Frame(saved)" })
    }
}

/// What is kept of one branch of an event's way while nobody works on it: the frame of the first stage and the failures so far.
#[derive(Debug, Default)]
pub struct Journey {
    frame: Frame,
    history: Option<Box<History>>,
}

impl Journey {
    /// The failures so far, if there were any.
    #[must_use]
    pub fn history(&self) -> Option<&History> {
        self.history.as_deref()
    }

    /// The failures alone; what stages have saved is dropped.
    pub(crate) fn into_history(self) -> Option<Box<History>> {
        self.history
    }

    /// Adds a failed attempt.
    fn record(&mut self, failure: &Failure, now: impl FnOnce() -> Instant) {
        if let Some(history) = &mut self.history {
            history.attempts = history.attempts.saturating_add(1);
            history.last_error = failure.clone();
        } else {
            self.history = Some(Box::new(History {
                attempts: 1,
                first_failure: now(),
                first_error: failure.clone(),
                last_error: failure.clone(),
            }));
        }
    }

    /// Adds the failed attempt if it is the only one.
    pub(crate) fn record_first(&mut self, failure: &Failure, clock: &Clock) {
        if self.history.is_none() {
            self.record(failure, || clock.now());
        }
    }

    /// Whether no stage has saved anything.
    #[must_use]
    pub fn is_at_start(&self) -> bool {
        self.frame.is_empty()
    }
}

/// Who holds the event: it is woken when the event is worth offering again, and its clock counts.
#[derive(Clone, Copy)]
enum Holder<'a> {
    /// A blocking `write`.
    Thread,
    /// A queue, or whatever else drives sinks.
    Driver { waker: &'a Waker, clock: &'a Clock },
}

impl Holder<'_> {
    fn now(self) -> Instant {
        match self {
            Self::Thread => crate::sync::now(),
            Self::Driver { clock, .. } => clock.now(),
        }
    }
}

/// One event on its way: who it is, what went wrong so far, whom to wake, and what the stages saved.
pub struct Delivery<'a> {
    holder: Holder<'a>,
    id: Option<EventId>,
    journey: Journey,
    last: bool,
    accepted_at: Option<Instant>,
    deadline: Option<Instant>,
}

impl<'a> Delivery<'a> {
    /// The delivery of an event that the calling thread holds: its waker unparks this thread, its clock is the system's.
    #[must_use]
    pub fn from_thread() -> Self {
        Self {
            holder: Holder::Thread,
            id: None,
            journey: Journey::default(),
            last: false,
            accepted_at: None,
            deadline: None,
        }
    }

    /// The delivery of event `id`, to be resumed with what [`into_journey`](Self::into_journey) gave back last time, or
    /// with an empty journey. For whoever drives sinks without a [`Queue`](crate::Queue).
    #[must_use]
    pub fn resume_with(waker: &'a Waker, clock: &'a Clock, id: EventId, journey: Journey) -> Self {
        Self {
            holder: Holder::Driver { waker, clock },
            id: Some(id),
            journey,
            last: false,
            accepted_at: None,
            deadline: None,
        }
    }

    /// Marks this as the last offer: whoever answers that it is not ready loses the event. A retrying sink then makes its attempt
    /// without waiting.
    #[must_use]
    pub fn last_offer(mut self) -> Self {
        self.last = true;
        self
    }

    /// Whether this is the last time that this event is offered, because the pipeline drains.
    #[must_use]
    pub fn is_last_offer(&self) -> bool {
        self.last
    }

    /// When the queue that holds the event accepted it, by the queue's clock. `None` unless that queue stamps its events: a stamp
    /// costs each write a look at the clock, so it has to be asked for.
    #[must_use]
    pub fn accepted_at(&self) -> Option<Instant> {
        self.accepted_at
    }

    /// Says when the event was accepted.
    #[must_use]
    pub(crate) fn with_accepted_at(mut self, at: Option<Instant>) -> Self {
        self.accepted_at = at;
        self
    }

    /// Goes on with the holder's next event, when the one before has left nothing.
    pub(crate) fn go_on_with(&mut self, id: EventId, accepted_at: Option<Instant>) {
        debug_assert!(self.is_fresh(), "the event before has left something");
        self.id = Some(id);
        self.accepted_at = accepted_at;
    }

    /// When the patience of a stage above ends, if one has set a limit, as a [`TimeLimit`](crate::TimeLimit) does: the earliest of them. A sink that waits for
    /// something, an answer over the network say, gives up by then; a [`RetryingSink`](crate::RetryingSink) begins no attempt from then on. It does not go
    /// beyond a queue, whose events have a delivery of their own.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Calls a child with a [deadline](Self::deadline), or with the one that is set already if that is earlier. It counts for this call alone.
    pub fn with_deadline<R>(&mut self, deadline: Instant, call: impl FnOnce(&mut Self) -> R) -> R {
        let mut earliest = Some(self.deadline.map_or(deadline, |set| set.min(deadline)));
        let lent = Lent {
            delivery: self,
            theirs: &mut earliest,
            swap: |delivery, deadline| mem::swap(&mut delivery.deadline, deadline),
        };
        lent.to(call)
    }

    /// What is to be kept until the event is offered again.
    #[must_use]
    pub fn into_journey(self) -> Journey {
        self.journey
    }

    /// The event's id.
    pub fn id(&mut self) -> EventId {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        *self.id.get_or_insert_with(|| EventId(NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// The number of the attempt that is being made on this branch, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.journey.history().map_or(1, |history| history.attempts.saturating_add(1))
    }

    /// The failures on this branch so far, if there were any.
    #[must_use]
    pub fn history(&self) -> Option<&History> {
        self.journey.history()
    }

    /// Adds a failed attempt to the history. A retrying sink does, for each attempt of what it wraps.
    pub fn record(&mut self, failure: &Failure) {
        let holder = self.holder;
        self.journey.record(failure, || holder.now());
    }

    /// The time now, by the clock of whoever holds the event.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.holder.now()
    }

    /// What to wake when the event is worth offering again.
    #[must_use]
    pub fn waker(&self) -> Waker {
        match self.holder {
            Holder::Thread => block::waker(),
            Holder::Driver { waker, .. } => waker.clone(),
        }
    }

    /// Saves `state` for the time until the event is offered again. What was saved before is dropped.
    pub fn save<T: Any + Send>(&mut self, state: T) {
        self.journey.frame = Frame(Some(Box::new(state)));
    }

    /// Takes back what [`save`](Self::save) saved, if it did.
    ///
    /// # Panics
    ///
    /// In debug builds, if something of another type is saved: a stage has called a child without
    /// [`nest`](Self::nest) or [`fork`](Self::fork).
    #[inline]
    pub fn resume<T: Any + Send>(&mut self) -> Option<T> {
        self.journey.frame.0.take().and_then(downcast)
    }

    /// Whether no stage below has saved or recorded anything.
    pub(crate) fn is_fresh(&self) -> bool {
        self.journey.frame.is_empty() & self.journey.history.is_none()
    }

    /// Takes out the journey, for one of several children that are called one after the other.
    pub(crate) fn take_journey(&mut self) -> Journey {
        mem::take(&mut self.journey)
    }

    /// Puts back what [`take_journey`](Self::take_journey) took.
    pub(crate) fn put_journey(&mut self, journey: Journey) {
        self.journey = journey;
    }

    /// Calls the only child with its own frame. The history stays the same.
    pub fn nest<R>(&mut self, frame: &mut Frame, call: impl FnOnce(&mut Self) -> R) -> R {
        let lent = Lent {
            delivery: self,
            theirs: frame,
            swap: |delivery, frame| mem::swap(&mut delivery.journey.frame, frame),
        };
        lent.to(call)
    }

    /// Calls one of several children with its own frame and history.
    pub fn fork<R>(&mut self, journey: &mut Journey, call: impl FnOnce(&mut Self) -> R) -> R {
        let lent = Lent {
            delivery: self,
            theirs: journey,
            swap: |delivery, journey| mem::swap(&mut delivery.journey, journey),
        };
        lent.to(call)
    }
}

/// What a stage has saved. Seldom there: apart from the look whether it is.
#[cold]
fn downcast<T: Any + Send>(saved: Box<dyn Any + Send>) -> Option<T> {
    let state = saved.downcast().ok();
    debug_assert!(state.is_some(), "the saved state belongs to another stage");
    state.map(|state| *state)
}

/// A delivery with what is a child's in place of the stage's own. Its drop puts both back, also when the child panics: who
/// catches that, as a broadcaster does, goes on with the state of the right stage.
struct Lent<'l, 'd, T> {
    delivery: &'l mut Delivery<'d>,
    theirs: &'l mut T,
    swap: fn(&mut Delivery<'d>, &mut T),
}

impl<'d, T> Lent<'_, 'd, T> {
    fn to<R>(self, call: impl FnOnce(&mut Delivery<'d>) -> R) -> R {
        (self.swap)(self.delivery, self.theirs);
        call(self.delivery)
    }
}

impl<T> Drop for Lent<'_, '_, T> {
    fn drop(&mut self) {
        (self.swap)(self.delivery, self.theirs);
    }
}

impl fmt::Debug for Delivery<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("id", &self.id)
            .field("journey", &self.journey)
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}
