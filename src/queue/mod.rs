//! A queue between a writer and a sink: writing costs a push, delivery happens on a [`Pool`].
//!
//! The parts, in the order that an event meets them: the `intake` lets it in, [`run`] decides whether the mailbox must be woken, the pool gives the mailbox a
//! [`turn`], which delivers, events one by one or a [`batch`] of them; [`mailbox`] holds them together; [`closing`] is how it ends.
//!
//! # The words
//!
//! | word | what it holds | who changes it |
//! |---|---|---|
//! | `entered` | how many events were accepted, and the bits `CLOSED` and `ASLEEP` | writers, the closer, the turn at its begin and its end |
//! | `left` | how many are done with, delivered or dropped, and the bits `ABORTED` and `QUIET` | the turn, the aborting closer |
//! | `last` | `MAX`; once closed, how many were accepted in all | the first closer |
//! | `shed`, `evicted` | of a bounded queue: how many were accepted and dropped without entering, and how many of those inside a writer took out to make room | writers |
//! | `run` | whether the mailbox needs a worker: the table in [`run`] | everyone, see there |
//!
//! # The protocol
//!
//! ```text
//! write(e):  p = entered.fetch_add(one)                    // a bounded queue: by compare-exchange against `left + evicted`
//!            p has CLOSED: answer Closed                   // no undo: `last` is frozen already
//!            push e
//!            p has ASLEEP: wake()
//! wake():    run.fetch_or(ACTIVE | WAKE) had no ACTIVE: take `me`, post it
//! close():   p = entered.fetch_or(CLOSED); shed.fetch_or(CLOSED)
//!            p had no CLOSED: last = count of p
//!            fence(SeqCst)                                 // (C)
//!            wake everyone in line for room; wake()
//! turn():    loop
//!              run.fetch_and(!(WAKE | HOLD)); entered has ASLEEP: entered.fetch_and(!ASLEEP)
//!              offer the held event, or else pop one, up to a budget
//!                taken, or lost:  left.fetch_add(one); ABORTED is set: give up all that is there
//!                not ready:       keep the event, set its timer; stop: hold
//!              budget spent:      again later; run stays ACTIVE
//!              hold:              put `me` back; run.cas(ACTIVE -> HOLD), or again
//!              empty, left + evicted == last: close the destination; ready: end, run stays ACTIVE for ever; pending: hold
//!              empty, entered == left + taken out:  entered.cas(the same, and ASLEEP), or again    // (T)
//!                                 put `me` back; run.cas(ACTIVE -> 0), or again
//!              empty otherwise:   somebody is between `entered` and the push: again, soon or after the others' turns
//! ```
//!
//! **No event is left lying.** A write and the end of a turn meet in one read-modify-write on `entered`. A write before (T) moves the count; so if (T) succeeds, the event of each of them is done
//! with. A write after it reads `ASLEEP` and wakes, once it has pushed: before `run` is 0, and then that step fails and the turn looks again, or after it, and then the writer posts the mailbox, whose turn
//! finds the event. `ASLEEP` goes away at the next turn's begin, whoever has woken it; a writer that has read it wakes all the same.
//!
//! **What that costs.** No writer looks at anything after its push, so none needs a fence, which took a quarter of a write's time. In return a turn cannot rest while a writer is between its two steps: it
//! looks again, for some microseconds, and then after the other queues of its pool have had their turns, letting other threads run. A few instructions are between them (and, where bytes are counted, the
//! wake of who waits for them), so that is rare; where the system interrupts a writer just there, a worker is busy until it goes on. `SegQueue`'s own `pop` waits for a writer in the same way. So do not
//! give workers a real-time priority above that of writers on the same processor.
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
//! # A full queue
//!
//! ```text
//! wait:      register in the line; fence(SeqCst); still full and not closed: not ready
//! leave:     left.fetch_add(one); fence(SeqCst); the line is not empty: wake the first
//! drop the newest:  shed.compare-exchange(+one), unless it is closed
//! drop the oldest:  pop, count it as taken out; hand the letter over; in one step count the drop and evicted.fetch_add(one)
//!            fence(SeqCst)                                 // (V)
//!            closed: wake(); then try to enter once more
//! ```
//!
//! **No writer waits beside a free place**, by the argument of `wakers.rs`. **The bound is exact**: entering is a compare-exchange from a count that was below it, and a
//! place is freed before it is taken. **A shed event is in the report**: a close ends the count of them by the same kind of bit that ends `entered`.
//! **The end is not missed when a writer takes out the last event**: of (C) and (V) one comes first. If (V), the turn that the closer wakes sees
//! the count; if (C), the writer sees that it is closed and wakes the turn. Evictions have a word of their own, since every step of `left` means that the drain is done
//! with the event it had: an abort decides by it what is in flight.
//!
//! # The reference to itself
//!
//! To post a mailbox is to put an `Arc` of it on a ready list. A writer that cloned one would move the cache line with the reference count to its core, once for
//! each idle queue of a broadcast, and back when the turn ends. So the mailbox keeps one reference to itself, `Ready::me`, on the line that writers touch anyway.
//! Whoever sets `ACTIVE` takes it and posts it; the turn puts one back before `run` shows that the turn is over, and takes it out again if
//! it goes on after all. It is a cycle on purpose: it keeps the mailbox alive, with handles or without, until it has ended, and since the
//! run word then stays `ACTIVE`, it is not put back. The drop of the last handle begins the close that leads there.

//!
//! # What the models check
//!
//! `ci/loom.sh NAME` runs one; it prints the mutations, each a step left out, that the model fails on.
//!
//! | step | model |
//! |---|---|
//! | a write against (T), and against the step to 0 after it | `queue_two_writers`, `turn_at_most_one_drainer` |
//! | a write against a close | `queue_write_against_close`, `queue_write_against_close_while_awake`, `room_enter_against_close` |
//! | close from two threads, each gets the report | `queue_close_from_two_threads` |
//! | an abort against `left` | `queue_abort_against_turn`, `queue_abort_against_drain` |
//! | `QUIET`: what is in flight | `queue_abort_after_an_event`, `queue_abort_after_a_hold`, `queue_abort_while_abandoning` |
//! | `last` is the first closer's | `queue_two_closers_against_write` |
//! | the orderings of `run` | `turn_finds_what_it_was_woken_for`, `turn_that_rests_finds_what_it_was_woken_for` |
//! | budget spent, then again | `turn_budget_is_spent` |
//! | who wakes the closers of an aborted queue | `queue_abort_of_a_stuck_turn`, `queue_abort_woken_by_its_turn`, `queue_deadline_comes_in_a_hold` |
//! | an abort from two threads, of a held event | `queue_abort_from_two_threads`, `queue_abort_of_a_held_event` |
//! | dead letters: one each, before the count | `letters_evict_against_abort`, `letters_turn_against_abort`, `letters_shed_against_the_end` |
//! | queues in a cycle | `cycle_closed_from_two_sides` |
//! | hold, against a waker, a timer, a write, room | `turn_hold_against_waker`, `turn_timer_against_write_against_room` |
//! | a queue before a queue, closing | `turn_chained_close` |
//! | waiting for room, the exact bound | `room_writer_against_drain`, `room_writer_against_close`, `room_two_writers_one_place` |
//! | a wake for room is handed on | `room_waiter_gives_up` |
//! | bytes: the exact bound, what is given back, room for two | `bytes_bound_is_exact`, `bytes_given_back`, `bytes_room_for_two` |
//! | (C) against (V), the end of the shed | `room_evict_against_close`, `room_shed_against_close` |
//! | the reference to itself | asserted in `wake_by_ref`, in all of these |

mod batch;
mod builder;
mod closing;
mod mailbox;
mod pace;
#[cfg(not(sinkworks_loom))]
mod run;
#[cfg(sinkworks_loom)]
pub(crate) mod run;
mod turn;

use std::fmt;
use std::sync::Arc;
use std::task::{Poll, Waker};

use crate::delivery::Delivery;
use crate::error::{CloseError, WriteError};
use crate::intake::entrance::{Place, SendError};
use crate::ledger::Ledger;
use crate::name::Name;
use crate::shutdown::{CloseReport, Shutdown};
use crate::sink::{Sink, SinkId};
use crate::telemetry::Topology;
use mailbox::Mailbox;

pub use batch::Batching;
pub use builder::QueueBuilder;

/// Delivers events to a sink in the order in which they were written, one at a time, on the threads of a [`Pool`](crate::Pool). A write never waits for the
/// sink.
///
/// A handle: clones are handles on the same queue. A queue costs no thread; idle, it is about a kilobyte (`SCENARIOS=s7 ci/compare.sh`).
///
/// - **What `Ok` from a write says**: the queue has counted the event as accepted, and will count it as delivered or as dropped for
///   one [reason](crate::DropReason). It is in memory only: what is pending when the process ends is lost.
/// - **Order**: events of one writer stay in order. Concurrent writers are interleaved in one order for all.
/// - **A sink that is not ready** is offered the event again when it said, and holds no thread until then.
/// - **A sink that fails** loses the event, counted: put a [`RetryingSink`](crate::RetryingSink) before it.
/// - **What is lost** goes to the [dead letters](QueueBuilder::dead_letters), if there are some. **When it is full** it does what its
///   [`Overflow`](crate::Overflow) says.
/// - **A sink that panics** loses the event it panicked over, counted; the queue goes on.
/// - **A sink that has closed** closes the queue: writes answer [`WriteError::Closed`], what was pending is counted as dropped.
/// - **When the last handle goes** the queue drains in the background, as [`Shutdown::Drain`] does. Events that fail then are only
///   counted in the metrics: [`close`](Sink::close) before, to know.
/// - **Two bounded queues that feed each other** can wait for each other's room for ever.
///
/// A write that finds the queue running costs one read-modify-write and a push to a `SegQueue`; one before its turn has begun another read-modify-write; one that finds it idle
/// also makes it ready, and possibly wakes a thread. `SegQueue` allocates a block per 31 events, and its push waits for a moment while another thread installs one.
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
    /// A queue without a bound in front of `sink`, on the [global pool](crate::Pool::global).
    pub fn new(sink: impl Sink<E> + 'static) -> Self {
        let id = SinkId::unique();
        Self::builder(sink).assemble(id, Name::default("queue", id))
    }

    /// A queue with options that gathers events and delivers several in one write, to a sink of slices: a [`batch_fn`](crate::batch_fn), or a type of yours that is a
    /// `Sink<[E]>`. With the options' defaults: [`SinkExt::batched`](crate::SinkExt::batched).
    ///
    /// - **When**: a batch is delivered when it has as many events as [`Batching`] says, or as many [bytes](QueueBuilder::max_batch_bytes), or when its first event has waited long enough, by the pool's clock, or
    ///   when the queue closes.
    /// - **Pending**: an event in a batch that is not full is pending as any other, in the ledger, in reports and metrics, and takes a place of the bound.
    /// - **Outcomes**: if not all were taken, and the sink says which with a [`BatchError`](crate::BatchError), each event is delivered, or dropped for its own
    ///   reason, with a dead letter that has its own error. Otherwise what the sink answers is so for all of the batch: a panic too.
    /// - **Retries** belong below, as with any queue: `sink.retrying(strategy)`. A sink of [`batch_fn`](crate::batch_fn) gets only the events of the batch that
    ///   failed in a way that may pass. The next batch waits meanwhile: one write in flight, and the order of batches stays. Within one, an event that is
    ///   repeated comes after those that were taken at once; these are delivered in the ledger as soon as the retry has noted it.
    /// - **Closing**: what is pending is delivered in batches, the last one as it is. [`Drain`](crate::Shutdown::Drain) offers each batch once. An abort gives up a batch that is not
    ///   in flight.
    /// - **The delivery** that the sink gets is that of the batch: its id and its [`accepted_at`](crate::Delivery::accepted_at) are the first event's, its
    ///   attempts are those of the whole.
    /// - **Costs**: as a queue. While a batch waits, each write wakes a worker, as a write to an idle queue does.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sinkworks::{Batching, Queue, Shutdown, Sink, batch_fn};
    ///
    /// let insert = batch_fn(|rows: &[&u64]| Ok(println!("inserted {} rows", rows.len())));
    /// let queue = Queue::batching(insert, Batching::new(500, Duration::from_millis(20))).name("rows").capacity(10_000).build()?;
    /// for row in 0..1200 {
    ///     queue.send(row)?;
    /// }
    /// let report = queue.close(Shutdown::within(Duration::from_secs(5)))?;
    /// assert_eq!((queue.ledger().delivered, report.dropped()), (1200, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn batching(sink: impl Sink<[E]> + 'static, options: Batching) -> QueueBuilder<E> {
        QueueBuilder::batching(sink, options)
    }

    pub(crate) fn batched(sink: impl Sink<[E]> + 'static, options: Batching) -> Self {
        let id = SinkId::unique();
        Self::batching(sink, options).assemble(id, Name::default("queue", id))
    }

    /// A queue with options.
    pub fn builder(sink: impl Sink<E> + 'static) -> QueueBuilder<E> {
        QueueBuilder::new(Box::new(sink))
    }

    /// Writes an event without cloning it. If the queue is full, does what its [`Overflow`](crate::Overflow) says; like
    /// [`Sink::write`] it parks to wait for room, except on a pool thread.
    ///
    /// # Errors
    ///
    /// The event comes back with the reason: [`WriteError::Closed`], [`WriteError::Full`], [`WriteError::Failed`] for an event
    /// [larger](crate::EventTooLarge) than the queue, or on a pool thread [`WriteError::NotReady`].
    #[inline]
    pub fn send(&self, event: E) -> Result<(), SendError<E>> {
        let place = self.mailbox.entrance.enter(&event, &*self.mailbox);
        self.put(place, event)
    }

    /// The same without ever waiting: where [`send`](Self::send) would wait for room, the event comes back with [`WriteError::Full`].
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), without `NotReady`.
    #[inline]
    pub fn try_send(&self, event: E) -> Result<(), SendError<E>> {
        let place = self.mailbox.entrance.try_enter(&event, &*self.mailbox);
        self.put(place, event)
    }

    /// Its id, whatever its events are.
    pub(crate) fn sink_id(&self) -> SinkId {
        self.mailbox.sink_id()
    }

    #[inline]
    fn put(&self, place: Result<Place, WriteError>, event: E) -> Result<(), SendError<E>> {
        match place {
            Ok(Place::Taken(entry)) => self.mailbox.push(event, entry),
            Ok(Place::Shed) => self.mailbox.drop_shed(|| event),
            Err(error) => return Err(SendError { event, error }),
        }
        Ok(())
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

    /// Everything accepted so far and what became of it, exact whenever nothing moves; see [`Ledger`] for the rest. Costs a lock that only drops take.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.mailbox.ledger()
    }

    /// How many events may be pending at once, where there is a bound.
    #[must_use]
    pub fn capacity(&self) -> Option<u64> {
        self.mailbox.entrance.intake.capacity()
    }

    /// The most events that have been pending at once, with or without a bound. The queue looks at the beginning of each turn, so that a peak between two
    /// looks is told too low by at most what one turn delivers, 256 events.
    #[must_use]
    pub fn high_water(&self) -> u64 {
        self.mailbox.entrance.intake.high_water()
    }

    /// The bytes of what is pending, by the queue's size function, where there is a bound in bytes.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        self.mailbox.entrance.intake.bytes_held()
    }

    /// Writes that were refused for want of room, or after the queue was closed by [`Overflow::Disconnect`](crate::Overflow::Disconnect): their
    /// writers still had the events.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.mailbox.entrance.intake.refusals()
    }

    /// Dead letters that their queue did not take, since it was full or closed. Their events are gone; each is counted as dropped for its reason too.
    #[must_use]
    pub fn dead_letters_lost(&self) -> u64 {
        self.mailbox.dead_letters.as_ref().map_or(0, |letters| letters.lost())
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
        Some(self.mailbox.sink_id())
    }

    fn describe(&self, topology: &mut Topology) {
        self.mailbox.describe_to(topology);
    }

    fn direct(&self) -> Option<Arc<dyn Sink<E>>> {
        Some(self.mailbox.clone())
    }
}

impl<E: Clone + Send + 'static> Sink<E> for Mailbox<E> {
    /// Stores a clone of the event. It is cloned before a place is taken: a `Clone` that panics takes no place with it.
    fn try_write(&self, event: &E, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        match self.entrance.enter_cloned(event, delivery, self)? {
            Some((event, entry)) => self.push(event, entry),
            None => self.drop_shed(|| event.clone()),
        }
        Ok(())
    }

    fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        Self::poll_close(self, how, waker)
    }

    fn warm(&self) -> bool {
        self.entrance.intake.warm()
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
