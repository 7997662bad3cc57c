//! A queue between a writer and a sink: writing costs a push, delivery happens on a [`Pool`].
//!
//! The parts, in the order that an event meets them: the `intake` lets it in, [`run`] decides whether the mailbox must be woken, the pool gives the mailbox a
//! [`turn`], which delivers; [`mailbox`] holds them together and closes.
//!
//! # The words
//!
//! | word | what it holds | who changes it |
//! |---|---|---|
//! | `entered` | how many events were accepted, and the bit `CLOSED` | writers, the closer |
//! | `left` | how many are done with, delivered or dropped, and the bits `ABORTED` and `QUIET` | the turn, the aborting closer |
//! | `last` | `MAX`; once closed, how many were accepted in all | the first closer |
//! | `run` | whether the mailbox needs a worker: the table in [`run`] | everyone, see there |
//!
//! # The protocol
//!
//! ```text
//! write(e):  p = entered.fetch_add(one)                    // a bounded queue: by compare-exchange against `left`
//!            p has CLOSED: answer Closed                   // no undo: `last` is frozen already
//!            push e; fence(SeqCst)                         // (W)
//!            run is 0: wake()
//! wake():    run.fetch_or(ACTIVE | WAKE) had no ACTIVE: take `me`, post it
//! close():   p = entered.fetch_or(CLOSED)
//!            p had no CLOSED: last = count of p
//!            wake everyone in line for room; wake()
//! turn():    loop
//!              run.fetch_and(!(WAKE | HOLD))
//!              offer the held event, or else pop one, up to a budget
//!                taken, or lost:  left.fetch_add(one); ABORTED is set: give up all that is there
//!                not ready:       keep the event, set its timer; stop: hold
//!              budget spent:      again later; run stays ACTIVE
//!              hold:              put `me` back; run.cas(ACTIVE -> HOLD), or again
//!              empty, left == last: close the destination; ready: end, run stays ACTIVE for ever; pending: hold
//!              empty:             put `me` back; run.cas(ACTIVE -> 0), or again
//!                                 fence(SeqCst)            // (T)
//!                                 nothing to pop: end
//!                                 run.cas(0 -> ACTIVE): again; else somebody else has posted it: end
//! ```
//!
//! **No event is left lying.** Of (W) and (T) one comes first in the one order of all such fences. If (W), the turn's last look finds the event. If (T), the writer
//! finds `run` at 0 and wakes, or finds it active anew, and that turn too ends with a (T). The turn never waits for a writer that has entered and not yet pushed: that writer passes (W) later.
//!
//! **No event is lost at a close.** A write and a close meet in one read-modify-write on `entered`. A writer before the close is counted in `last`, and the
//! turn does not close the destination until `left` has reached `last`, so not before that writer has pushed and its event is done with.
//! A writer after the close is refused, although the count has moved. Between the closer's two steps `last` is still `MAX`, which `left`
//! never is; the closer wakes the mailbox after them.
//!
//! **An abort meets the turn in `left`.** `left.fetch_or(ABORTED)` splits the events: those that had left were decided before; the next one may be inside
//! the sink, where nobody can interrupt it; none after it is offered, since the turn looks at this word whenever an event has left. The closer gives up the
//! rest itself if no turn runs, and otherwise leaves them to that turn. What a writer pushes later is given up when it comes. Once the queue is
//! closed, the turn says in the same word when it is not offering (`QUIET`), so that the report counts an event as in flight only if there may be one.
//!
//! # The reference to itself
//!
//! To post a mailbox is to put an `Arc` of it on a ready list. A writer that cloned one would move the cache line with the reference count to its core, once for
//! each idle queue of a broadcast, and back when the turn ends. So the mailbox keeps one reference to itself, `Ready::me`, on the line that writers touch anyway.
//! Whoever sets `ACTIVE` takes it and posts it; the turn puts one back before `run` shows that the turn is over, and takes it out again if
//! it goes on after all. It is a cycle on purpose: it keeps the mailbox alive, with handles or without, until it has ended, and since the
//! run word then stays `ACTIVE`, it is not put back. The drop of the last handle begins the close that leads there.

mod mailbox;
#[cfg(not(sinkworks_loom))]
mod run;
#[cfg(sinkworks_loom)]
pub(crate) mod run;
mod turn;

use std::fmt;
use std::sync::Arc;
use std::task::{Poll, Waker};

use crate::delivery::Delivery;
use crate::error::{BuildError, CloseError, WriteError};
use crate::intake::entrance::{self, Entrance, Overflow, SendError};
use crate::ledger::Ledger;
use crate::names;
use crate::pool::Pool;
use crate::shutdown::{CloseReport, Shutdown};
use crate::sink::{Sink, SinkId};
use mailbox::{Mailbox, Ready};

/// Delivers events to a sink in the order in which they were written, one at a time, on the threads of a [`Pool`]. A write never waits for the
/// sink.
///
/// A handle: clones are handles on the same queue. A queue costs no thread; idle, it is about a kilobyte.
///
/// - **What `Ok` from a write says**: the queue has counted the event as accepted, and will count it as delivered or as dropped for
///   one [reason](crate::DropReason). It is in memory only: what is pending when the process ends is lost.
/// - **Order**: events of one writer stay in order. Concurrent writers are interleaved in one order for all.
/// - **A sink that is not ready** is offered the event again when it said, and holds no thread until then.
/// - **A sink that fails** loses the event, counted: put a [`RetryingSink`](crate::RetryingSink) before it.
/// - **A sink that panics** loses the event it panicked over, counted; the queue goes on.
/// - **A sink that has closed** closes the queue: writes answer [`WriteError::Closed`], what was pending is counted as dropped.
/// - **When the last handle goes** the queue drains in the background, as [`Shutdown::Drain`] does. Events that fail then are only
///   counted in the metrics: [`close`](Sink::close) before, to know.
/// - **Two bounded queues that feed each other** can wait for each other's room for ever.
///
/// A write that finds the queue running costs one read-modify-write, a push to a `SegQueue` and a fence; one that finds it idle also makes it
/// ready, and possibly wakes a thread. `SegQueue` allocates a block per 31 events, and its push waits for a moment while another thread installs one.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use std::sync::Arc;
/// use sinkworks::{Queue, Shutdown, Sink, sink_fn};
///
/// let sum = Arc::new(AtomicU64::new(0));
/// let into = sum.clone();
/// let queue = Queue::new(sink_fn(move |event: &u64| {
///     into.fetch_add(*event, Ordering::Relaxed);
///     Ok(())
/// }));
/// for event in 1..=4 {
///     queue.send(event)?;
/// }
/// let report = queue.close(Shutdown::Drain)?;
/// assert_eq!(sum.load(Ordering::Relaxed), 10);
/// assert_eq!(report.dropped(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Queue<E: Send + 'static> {
    mailbox: Arc<Mailbox<E>>,
    /// Shared by the handles alone: its drop is that of the last one.
    handle: Arc<Handle<E>>,
}

struct Handle<E: Send + 'static>(Arc<Mailbox<E>>);

impl<E: Send + 'static> Drop for Handle<E> {
    fn drop(&mut self) {
        self.0.detach();
    }
}

impl<E: Send + 'static> Clone for Queue<E> {
    fn clone(&self) -> Self {
        Self { mailbox: self.mailbox.clone(), handle: self.handle.clone() }
    }
}

impl<E: Send + 'static> Queue<E> {
    /// A queue without a bound in front of `sink`, on the [global pool](Pool::global).
    pub fn new(sink: impl Sink<E> + 'static) -> Self {
        let id = SinkId::unique();
        Self::assemble(id, names::default("queue", id), Box::new(sink), Pool::global().clone(), None, Overflow::Block)
    }

    /// A queue with options.
    pub fn builder(sink: impl Sink<E> + 'static) -> QueueBuilder<E> {
        QueueBuilder { sink: Box::new(sink), name: None, pool: None, capacity: None, overflow: Overflow::default() }
    }

    fn assemble(
        id: SinkId,
        name: Arc<str>,
        sink: Box<dyn Sink<E>>,
        pool: Pool,
        capacity: Option<u64>,
        overflow: Overflow,
    ) -> Self {
        let mailbox = Mailbox::new(id, name, Entrance::new(capacity, overflow, Ready::new(pool)), sink);
        let handle = Arc::new(Handle(mailbox.clone()));
        Self { mailbox, handle }
    }

    /// Writes an event without cloning it. If the queue is bounded and full, does what its [`Overflow`] says; like
    /// [`Sink::write`] it parks to wait for room, except on a pool thread.
    ///
    /// # Errors
    ///
    /// The event comes back with the reason: [`WriteError::Closed`], [`WriteError::Full`], or on a pool thread [`WriteError::NotReady`].
    #[inline]
    pub fn send(&self, event: E) -> Result<(), SendError<E>> {
        match self.mailbox.entrance.enter() {
            Ok(()) => {
                self.mailbox.push(event, None);
                Ok(())
            }
            Err(error) => Err(SendError { event, error }),
        }
    }

    /// Whether nothing is accepted any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.mailbox.entrance.intake.is_closed()
    }

    /// The name given at build time, or one made of the id.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.mailbox.name
    }

    /// Everything accepted so far and what became of it, exact at this moment. Costs a lock that only drops take.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.mailbox.ledger()
    }

    /// How many events may be pending at once, where there is a bound.
    #[must_use]
    pub fn capacity(&self) -> Option<u64> {
        self.mailbox.entrance.intake.capacity()
    }
}

impl<E: Clone + Send + 'static> Sink<E> for Queue<E> {
    fn try_write(&self, event: &E, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        self.mailbox.try_write(event, delivery)
    }

    fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.mailbox.poll_close(how, waker)
    }

    fn id(&self) -> Option<SinkId> {
        Some(self.mailbox.id)
    }

    fn direct(&self) -> Option<Arc<dyn Sink<E>>> {
        Some(self.mailbox.clone())
    }
}

impl<E: Clone + Send + 'static> Sink<E> for Mailbox<E> {
    /// Stores a clone of the event. It is cloned before a place is taken: a `Clone` that panics takes no place with it.
    fn try_write(&self, event: &E, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        let event = self.entrance.enter_with(delivery, || event.clone())?;
        self.push(event, delivery.batch());
        Ok(())
    }

    fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        Self::poll_close(self, how, waker)
    }

    fn warm(&self) -> bool {
        // The writers' line, and the one where the next push goes.
        self.ready().run.is_idle() & self.entrance.intake.is_empty()
    }
}

impl<E: Send + 'static> fmt::Debug for Queue<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("name", &self.name())
            .field("ledger", &self.ledger())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// The options of a [`Queue`].
#[must_use]
pub struct QueueBuilder<E> {
    sink: Box<dyn Sink<E>>,
    name: Option<String>,
    pool: Option<Pool>,
    capacity: Option<u64>,
    overflow: Overflow,
}

impl<E: Send + 'static> QueueBuilder<E> {
    /// What the queue is called in metrics and in `Debug`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The pool that delivers. Default: [`Pool::global`].
    pub fn pool(mut self, pool: &Pool) -> Self {
        self.pool = Some(pool.clone());
        self
    }

    /// How many events may be pending at most, the one being delivered included. Default: no bound.
    pub fn capacity(mut self, events: u64) -> Self {
        self.capacity = Some(events);
        self
    }

    /// What becomes of a write that finds no room. Default: [`Overflow::Block`].
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Builds the queue.
    ///
    /// # Errors
    ///
    /// [`BuildError::Name`]; [`BuildError::Zero`] for a capacity of 0; [`BuildError::TooLarge`] above 2^62 events.
    pub fn build(self) -> Result<Queue<E>, BuildError> {
        let id = SinkId::unique();
        let name = names::or_default(self.name, "queue", id)?;
        entrance::check_capacity(self.capacity)?;
        let pool = self.pool.unwrap_or_else(|| Pool::global().clone());
        Ok(Queue::assemble(id, name, self.sink, pool, self.capacity, self.overflow))
    }
}

impl<E> fmt::Debug for QueueBuilder<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueBuilder")
            .field("name", &self.name)
            .field("capacity", &self.capacity)
            .field("overflow", &self.overflow)
            .finish_non_exhaustive()
    }
}
