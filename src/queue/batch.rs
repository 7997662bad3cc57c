//! A queue that delivers batches: several events in one write, to a sink of slices.
//!
//! **Why a queue and not a stage behind one.** A batch has to be gathered somewhere. A stage behind a queue is offered one event at a time, and the next only once
//! it has taken the one before: it would have to answer `Ok` for events that lie in a half-full batch. So it would hold events, and need all that a queue has: an
//! account, a timer, dead letters, a close that flushes, an abort. In a queue the events of a half-full batch are simply pending. They have not left: the
//! ledger, the bounds, the metrics and the reports know them already, whoever is in the batch. One write is in flight at a time, and the order stays.
//!
//! ```text
//! turn:      the batch has not been offered:  pop into it, up to `max_events`; an event that would make it too large is the next one's first
//!            empty:                           rest
//!            not full, linger not over, open: set the timer for the end of the linger; rest: the next write wakes the mailbox
//!            else:  end = left + events; begin_offer(): false: abandon
//!                   offer the slice
//!                     taken:      each leaves as delivered
//!                     failed:     each leaves as its outcome says, or all of them as the answer says
//!                     not ready:  those leave that the last failure says are taken. The batch stays as it is, with its journey, since the stages below
//!                                 have saved what they know of *this* slice; hold
//!            closed: no linger. Drain: one offer, the last
//! ```
//!
//! **An abort** finds at most one batch in flight. The turn says where the batch ends, in `end`, before it begins the offer with a read-modify-write of `left`, the word in
//! which the abort puts its bit. Either the abort comes first: then there is no offer. Or the closer sees `end`, and counts as in flight what lies between what has left and
//! that.
//!
//! `ci/loom.sh batch` checks that.
//!
//! **Retries** are below, as for any queue: `batches.retrying(strategy)`. What is repeated is the write of the slice; a sink that remembers which events it has
//! taken, as one of [`batch_fn`](crate::batch_fn) does, is repeated for the others only. Until then no further batch is offered. The retry notes each failure in the history of the
//! batch; so the queue learns there which events are delivered already, and if the rest is given up, those are not.

use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::mailbox::{Drain, Mailbox};
use super::pace::Pace;
use super::turn::{Stop, abandon, attempts, settled};
use crate::batch::BatchError;
use crate::clock::saturating_add;
use crate::contain::contain;
use crate::dead_letter::Circumstances;
use crate::delivery::{Delivery, EventId, Journey};
use crate::error::{BuildError, Class, CloseError, Failure, WriteError};
use crate::intake::Parcel;
use crate::intake::limits::Note;
use crate::ledger::DropReason;
use crate::shutdown::{CloseReport, Shutdown};
use crate::sink::{Sink, SinkId};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::mutation;
use crate::telemetry::Topology;

/// How a [`Queue`](crate::Queue) gathers events into batches: see [`Queue::batching`](crate::Queue::batching).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    max_events: usize,
    linger: Duration,
}

impl Batching {
    /// Batches of up to `max_events`. One that is not full is delivered when its first event has waited for `linger`; with a linger of zero, as soon as the
    /// sink is free, so that a batch is what has gathered during the last one's write.
    #[must_use]
    pub const fn new(max_events: usize, linger: Duration) -> Self {
        Self { max_events, linger }
    }

    /// Whether this goes with a queue's bounds: that of events, that of bytes, and that of the bytes of a batch.
    pub(super) fn check(
        self,
        capacity: Option<u64>,
        capacity_bytes: Option<u64>,
        max_batch_bytes: Option<u64>,
    ) -> Result<(), BuildError> {
        if self.max_events == 0 {
            return Err(BuildError::Zero { option: "max_events" });
        }
        if capacity.is_some_and(|capacity| capacity < self.max_events as u64) {
            return Err(BuildError::Below { option: "capacity", other: "max_events" });
        }
        match (max_batch_bytes, capacity_bytes) {
            (Some(0), _) => Err(BuildError::Zero { option: "max_batch_bytes" }),
            (Some(_), None) => Err(BuildError::Needs { option: "max_batch_bytes", other: "capacity_bytes" }),
            (Some(max), Some(capacity)) if capacity < max => {
                Err(BuildError::Below { option: "capacity_bytes", other: "max_batch_bytes" })
            }
            _ => Ok(()),
        }
    }

    /// The least that makes sense.
    pub(super) fn at_least_one(self) -> Self {
        Self { max_events: self.max_events.max(1), ..self }
    }
}

/// What a mailbox has that delivers batches.
pub(super) struct Batches<E> {
    options: Batching,
    /// How many bytes the events of a batch may have together: `u64::MAX` for no bound.
    max_bytes: u64,
    sink: Arc<dyn Sink<[E]>>,
    /// How many will have left when the batch that is offered has.
    end: AtomicU64,
}

impl<E> Batches<E> {
    pub(super) fn new(options: Batching, max_bytes: Option<u64>, sink: Arc<dyn Sink<[E]>>) -> Self {
        Self { options, max_bytes: max_bytes.unwrap_or(u64::MAX), sink, end: AtomicU64::new(0) }
    }

    /// After an abort, while a turn runs and is not quiet: how many events it may be offering, where so many have left.
    pub(super) fn in_flight(&self, left: u64) -> u64 {
        // Relaxed: the abort's step of `left` comes after the one that began the offer, if one has.
        self.end.load(Ordering::Relaxed).saturating_sub(left)
    }

    pub(super) fn describe(&self, topology: &mut Topology) {
        topology.set("max_events", self.options.max_events as u64);
        if self.max_bytes != u64::MAX {
            topology.set("max_batch_bytes", self.max_bytes);
        }
        topology.set("linger", format!("{:?}", self.options.linger).as_str());
    }
}

/// The same sink for one event. The mailbox closes and describes it by this.
pub(super) struct OneByOne<E>(pub(super) Arc<dyn Sink<[E]>>);

impl<E> Sink<E> for OneByOne<E> {
    fn try_write(&self, event: &E, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        self.0.try_write(std::slice::from_ref(event), delivery)
    }

    fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.0.poll_close(how, waker)
    }

    fn id(&self) -> Option<SinkId> {
        self.0.id()
    }

    fn describe(&self, topology: &mut Topology) {
        self.0.describe(topology);
    }
}

/// Events that have been popped and have not left.
pub(super) struct Gathered<E> {
    events: Vec<E>,
    /// In the same order.
    notes: Vec<Note>,
    /// What they have together, where bytes are counted.
    bytes: u64,
    /// Was popped, and would have made the batch too large. The first of the next one.
    next: Option<Parcel<E>>,
    /// When the first was found.
    since: Option<Instant>,
    /// It has been offered, and was not taken yet: nothing is added to it.
    begun: bool,
    /// Those that have left before the others. They stay in the slice, which the stages below know. Empty: none.
    taken: Vec<bool>,
    journey: Journey,
}

impl<E> Default for Gathered<E> {
    fn default() -> Self {
        Self {
            events: Vec::new(),
            notes: Vec::new(),
            bytes: 0,
            next: None,
            since: None,
            begun: false,
            taken: Vec::new(),
            journey: Journey::default(),
        }
    }
}

impl<E> Gathered<E> {
    /// How many have been popped and have not left.
    #[cfg(feature = "test-util")]
    pub(super) fn inside(&self) -> usize {
        self.remaining() + usize::from(self.next.is_some())
    }

    /// How many of the batch have not left.
    fn remaining(&self) -> usize {
        self.events.len() - self.taken.iter().filter(|taken| **taken).count()
    }

    /// Takes what `pop` gives, while there is room. Whether there still is.
    fn gather(&mut self, batches: &Batches<E>, mut pop: impl FnMut() -> Option<Parcel<E>>) -> bool {
        let may_grow = |batch: &Self| {
            !batch.begun
                && batch.next.is_none()
                && batch.events.len() < batches.options.max_events
                && batch.bytes < batches.max_bytes
        };
        if self.events.is_empty() {
            if let Some(first) = self.next.take() {
                self.push(first);
            }
        }
        while may_grow(self) {
            let Some(parcel) = pop() else { return true };
            // One that is too large alone goes alone.
            if self.events.is_empty() || self.bytes.saturating_add(parcel.note.bytes) <= batches.max_bytes {
                self.push(parcel);
            } else {
                self.next = Some(parcel);
            }
        }
        false
    }

    fn push(&mut self, Parcel { event, note }: Parcel<E>) {
        self.bytes = self.bytes.saturating_add(note.bytes);
        self.events.push(event);
        self.notes.push(note);
    }

    /// Empties it, and answers what was in it, with its places, but for what has left. Its memory stays, and so does the first of the next.
    fn take(&mut self) -> (Vec<(usize, Parcel<E>)>, Journey) {
        let (mut parcels, mut left) = (Vec::with_capacity(self.events.len()), Vec::new());
        for (place, (event, note)) in self.events.drain(..).zip(self.notes.drain(..)).enumerate() {
            if self.taken.get(place) == Some(&true) {
                left.push(event);
            } else {
                parcels.push((place, Parcel { event, note }));
            }
        }
        self.taken.clear();
        self.bytes = 0;
        (self.since, self.begun) = (None, false);
        // The user's code.
        for event in left {
            contain(|| drop(event));
        }
        (parcels, std::mem::take(&mut self.journey))
    }

    /// Notes that the one at `place` leaves before the others. `None` if it has already.
    fn leave_early(&mut self, place: usize) -> Option<Note> {
        self.taken.resize(self.events.len(), false);
        let is_first = !std::mem::replace(&mut self.taken[place], true);
        is_first.then(|| self.notes[place])
    }
}

/// What becomes of a batch.
enum Fate {
    NotReady(Option<Instant>, Journey),
    /// All the same, after so many attempts that are not in the history.
    All(Option<DropReason>, u32, Journey),
    Each(Failure, Journey),
}

pub(super) fn deliver<E: Send + 'static>(
    mailbox: &Mailbox<E>,
    batches: &Batches<E>,
    drain: &mut Drain<E>,
    how: Option<Shutdown>,
    sealed: bool,
    pace: &mut Pace<'_>,
) -> Stop {
    let intake = &mailbox.entrance.intake;
    loop {
        let batch = drain.batch.get_or_insert_default();
        let may_grow = batch.gather(batches, || intake.pop());
        let events = batch.events.len();
        if events == 0 {
            return Stop::Empty;
        }
        let is_closed = sealed && !mutation!("batch_close_ends_the_linger");
        let is_refused = drain.destination_closed && !mutation!("batch_closed_sink_ends_the_linger");
        if may_grow && !is_closed && !is_refused && !batches.options.linger.is_zero() {
            let now = mailbox.clock().now();
            let until = saturating_add(*batch.since.get_or_insert(now), batches.options.linger);
            if now < until {
                if !mutation!("batch_linger_sets_the_timer") {
                    mailbox.set_timer(drain, Some(until));
                }
                return Stop::Empty;
            }
        }
        let remaining = batch.remaining();
        let tried = attempts(&batch.journey);
        // Before it says where the batch ends: a closer that has aborted meanwhile would count these as in flight, though they will not be offered.
        if intake.is_aborted() && !mutation!("batch_asks_before_it_says") {
            return abandon(mailbox, drain);
        }
        if !mutation!("batch_says_where_it_ends") {
            // Relaxed: the step of `left` that begins the offer releases it.
            batches.end.store(intake.left() + remaining as u64, Ordering::Relaxed);
        }
        if !intake.begin_offer() && !mutation!("batch_offer_sees_abort") {
            return abandon(mailbox, drain);
        }
        pace.begin_batch();
        match offer(mailbox, batches, drain, how) {
            Fate::NotReady(until, journey) => {
                pace.stop_waiting(attempts(&journey) > tried);
                settle_taken(mailbox, drain, &journey);
                let batch = drain.batch.get_or_insert_default();
                (batch.begun, batch.journey) = (true, journey);
                if sealed && !mutation!("batch_held_is_quiet") {
                    intake.end_offer();
                }
                mailbox.set_timer(drain, until);
                return Stop::Hold;
            }
            Fate::All(reason, unrecorded, journey) => {
                if reason.is_some() {
                    settle_taken(mailbox, drain, &journey);
                }
                let what = settled(journey, unrecorded);
                settle(mailbox, drain, sealed, |_| (reason, Circumstances { history: what.history.clone(), ..what }));
            }
            Fate::Each(failure, journey) => {
                let what = settled(journey, 0);
                let outcomes = BatchError::of(&failure, events);
                settle(mailbox, drain, sealed, |event| {
                    match outcomes.map_or(&Err(failure.clone()), |all| &all[event]) {
                        Ok(()) => (None, Circumstances::default()),
                        Err(failure) => (Some(reason(failure)), after(failure, &what)),
                    }
                });
            }
        }
        if pace.spend_batch(drain, u32::try_from(events).unwrap_or(u32::MAX)) {
            return Stop::Spent;
        }
    }
}

fn offer<E: Send + 'static>(
    mailbox: &Mailbox<E>,
    batches: &Batches<E>,
    drain: &mut Drain<E>,
    how: Option<Shutdown>,
) -> Fate {
    let batch = drain.batch.get_or_insert_default();
    let journey = std::mem::take(&mut batch.journey);
    if drain.destination_closed && !mutation!("batch_offers_nothing_to_a_closed_sink") {
        return Fate::All(Some(DropReason::DestinationClosed), 0, journey);
    }
    // The first event's.
    let id = EventId(mailbox.entrance.intake.left());
    let accepted = batch.notes.first().and_then(|note| note.accepted);
    let last = how == Some(Shutdown::Drain);
    let mut delivery = Delivery::resume_with(&mailbox.waker, mailbox.clock(), id, journey).with_accepted_at(accepted);
    if last {
        delivery = delivery.last_offer();
    }
    let answer = contain(|| batches.sink.try_write(&batch.events, &mut delivery));
    if let Some(Err(WriteError::Failed(failure))) = &answer {
        // Where no stage repeats, none has noted the failure.
        if delivery.history().is_none() {
            delivery.record(failure);
        }
    }
    let journey = delivery.into_journey();
    match answer {
        Some(Ok(())) => Fate::All(None, 0, journey),
        Some(Err(WriteError::NotReady(_))) if last => Fate::All(Some(DropReason::Abandoned), 0, journey),
        Some(Err(WriteError::NotReady(wait))) => Fate::NotReady(wait.until, journey),
        Some(Err(WriteError::Closed)) => {
            // Nothing that is written here can arrive any more: say so upstream.
            drain.destination_closed = true;
            mailbox.begin_close(Shutdown::Drain);
            Fate::All(Some(DropReason::DestinationClosed), 1, journey)
        }
        Some(Err(WriteError::Full)) => Fate::All(Some(DropReason::Overflow), 1, journey),
        Some(Err(WriteError::Failed(failure))) => Fate::Each(failure, journey),
        None => {
            mailbox.note_panic();
            Fate::All(Some(DropReason::Panicked), 1, journey)
        }
    }
}

/// All events of the batch leave, in their order, each as `fate` says of its place.
fn settle<E: Send + 'static>(
    mailbox: &Mailbox<E>,
    drain: &mut Drain<E>,
    sealed: bool,
    fate: impl Fn(usize) -> (Option<DropReason>, Circumstances),
) {
    let (parcels, _) = drain.batch.get_or_insert_default().take();
    let last = parcels.last().map(|(place, _)| *place);
    if sealed && last.is_none() && !mutation!("batch_that_has_left_is_quiet") {
        mailbox.entrance.intake.end_offer();
    }
    for (place, parcel) in parcels {
        // Quiet only when all have left.
        let sealed = sealed && (Some(place) == last || mutation!("batch_is_quiet_at_its_end"));
        match fate(place) {
            (None, _) => {
                drain.delivered += 1;
                mailbox.settle(None, parcel.note, sealed);
                // The user's code. A panic there must not keep the others from leaving.
                contain(|| drop(parcel.event));
            }
            (Some(reason), what) => mailbox.lose(parcel, reason, what, sealed),
        }
    }
}

/// The batch goes on, or ends without an answer for each event. Those that the sink had taken when it last told have been delivered all the same.
fn settle_taken<E: Send + 'static>(mailbox: &Mailbox<E>, drain: &mut Drain<E>, journey: &Journey) {
    let events = drain.batch.get_or_insert_default().events.len();
    let told = journey.history().and_then(|history| BatchError::of(&history.last_error, events));
    for (place, _) in told.unwrap_or_default().iter().enumerate().filter(|(_, outcome)| outcome.is_ok()) {
        if let Some(note) = drain.batch.get_or_insert_default().leave_early(place) {
            drain.delivered += 1;
            mailbox.settle(None, note, false);
        }
    }
}

impl<E: Send + 'static> Mailbox<E> {
    /// Gives up what is in the batch.
    pub(super) fn abandon_batch(&self, drain: &mut Drain<E>) {
        let Some(mut batch) = drain.batch.take() else { return };
        let (parcels, journey) = batch.take();
        let history = contain(|| journey.into_history()).flatten();
        for (_, parcel) in parcels {
            let what = Circumstances { history: history.clone(), ..Circumstances::default() };
            self.lose(parcel, DropReason::Abandoned, what, false);
        }
        if let Some(parcel) = batch.next {
            self.lose(parcel, DropReason::Abandoned, Circumstances::default(), false);
        }
    }
}

fn reason(failure: &Failure) -> DropReason {
    match failure.class() {
        Class::Permanent => DropReason::Permanent,
        Class::Transient | Class::Exhausted => DropReason::Exhausted,
    }
}

/// What is known of one event of a batch that has failed: the history of the batch, with the event's own failure as the last.
fn after(failure: &Failure, what: &Circumstances) -> Circumstances {
    let history = what.history.clone().map(|mut history| {
        if history.attempts <= 1 {
            history.first_error = failure.clone();
        }
        history.last_error = failure.clone();
        history
    });
    Circumstances { history, accepted: None, unrecorded: what.unrecorded }
}
