//! What a queue is behind its handles: the words and the destination. [`turn`](super::turn) is how it delivers, [`closing`](super::closing) how it closes.
//!
//! **Locks.** `drain` is held by whoever has the turn, for as long as the turn. `closing` is held for a few instructions, never while a sink is
//! called. Writers take neither.

use std::sync::{Arc, OnceLock, Weak};
use std::task::{Wake, Waker};
use std::time::Instant;

use super::batch::{Batches, Gathered};
use super::closing::Closing;
use super::pace::{Mark, Timing};
use super::run::RunWord;
use crate::block;
use crate::clock::Clock;
use crate::contain::contain;
use crate::dead_letter::{Circumstances, DeadLetter, DeadLetters};
use crate::delivery::Journey;
use crate::intake::entrance::{Entrance, Owner};
use crate::intake::limits::Note;
use crate::intake::{Entry, Parcel};
use crate::ledger::{DropReason, Ledger};
use crate::name::Name;
use crate::pool::{Lane, Pool, Task, Turn};
use crate::shutdown::Shutdown;
use crate::sink::{Sink, SinkId};
use crate::sync::atomic::{AtomicU8, Ordering};
use crate::sync::{Mutex, lock, mutation};
use crate::telemetry::{Limit, MadeLate, Observations, Observe, Registration, Topology, as_gauge, names, register};

pub(super) struct Mailbox<E: Send> {
    pub(super) name: Name,
    pub(super) entrance: Entrance<E, Ready, Behind<E>>,
    pub(super) dead_letters: Option<Box<DeadLetters<E>>>,
    pub(super) timing: Timing,
    pub(super) limits: MadeLate<Limits>,
    /// Made when it begins to close.
    closing: OnceLock<Box<Closing>>,
    pub(super) sink: Box<dyn Sink<E>>,
    /// Where it delivers batches: the same sink for them.
    pub(super) batches: Option<Box<Batches<E>>>,
    pub(super) waker: Waker,
    this: Weak<Self>,
    registration: Registration,
    /// Held by an audit while it has the drain: it is no turn.
    #[cfg(feature = "test-util")]
    pub(super) auditing: std::sync::Mutex<()>,
}

// All that a write touches of the mailbox, but its events, on one line. Where a mutex is larger than here, it is not.
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(sinkworks_loom)))]
const _: () = assert!(size_of::<Ready>() <= 64 - 2 * 8);

// Four pairs of cache lines for the intake, two for the rest: each queue of a hundred thousand pays for one more.
#[cfg(all(
    target_os = "linux",
    target_arch = "x86_64",
    not(any(feature = "tracing", feature = "test-util", sinkworks_loom))
))]
const _: () = assert!(size_of::<Mailbox<u64>>() <= 6 * 128);

/// How much it tells of each kind of change.
#[derive(Default)]
pub(super) struct Limits {
    room: Limit,
    letters: Limit,
    pub(super) close: Limit,
    panics: Limit,
}

/// What lies on the drain's line.
pub(super) struct Behind<E> {
    /// Here because there is room for it.
    pub(super) id: SinkId,
    pub(super) drain: Mutex<Drain<E>>,
}

/// What only the one who has the turn touches.
pub(super) struct Drain<E> {
    /// The event that was not taken yet.
    pub(super) held: Option<Box<Held<E>>>,
    /// The events that are to be offered together, where there are batches.
    pub(super) batch: Option<Box<Gathered<E>>>,
    /// The time that the pool's timer was last set to.
    timer: Option<Instant>,
    /// The destination answered that it is closed.
    pub(super) destination_closed: bool,
    /// Events that the destination took, counted apart from the words, so that each can be held against the other.
    pub(super) delivered: u64,
    pub(super) mark: Option<Mark>,
}

impl<E> Default for Drain<E> {
    fn default() -> Self {
        Self { held: None, batch: None, timer: None, destination_closed: false, delivered: 0, mark: None }
    }
}

impl<E> Drain<E> {
    /// Events that were popped and have not left.
    pub(super) fn inside(&self) -> u64 {
        u64::from(self.held.is_some()) + self.batch.as_ref().map_or(0, |batch| batch.inside() as u64)
    }
}

pub(super) struct Held<E> {
    pub(super) parcel: Parcel<E>,
    pub(super) journey: Journey,
}

/// What makes a mailbox ready, on the cache line that writers touch anyway.
pub(super) struct Ready {
    pub(super) run: RunWord,
    lane: AtomicU8,
    pool: Pool,
    /// The mailbox's reference to itself while it is not on a ready list and has no turn. Whoever sets the run word active takes it and
    /// posts it; the turn puts another back before the word shows that it is over. So a writer who wakes the mailbox counts no
    /// reference, which would cost it one more cache line; and a mailbox lives, with handles or without, until it has ended.
    me: Mutex<Option<Arc<dyn Task>>>,
}

impl Ready {
    pub(super) fn new(pool: Pool) -> Self {
        // Unknown sinks may block: they prove themselves in the slow lane.
        Self { run: RunWord::new(), lane: AtomicU8::new(SLOW), pool, me: Mutex::new(None) }
    }
}

impl<E: Send + 'static> Mailbox<E> {
    pub(super) fn new(
        name: Name,
        entrance: Entrance<E, Ready, Behind<E>>,
        sink: Box<dyn Sink<E>>,
        batches: Option<Batches<E>>,
        dead_letters: Option<DeadLetters<E>>,
    ) -> Arc<Self> {
        let mailbox = Arc::new_cyclic(|this: &Weak<Self>| Self {
            name,
            entrance,
            dead_letters: dead_letters.map(Box::new),
            timing: Timing::default(),
            limits: MadeLate::default(),
            closing: OnceLock::new(),
            sink,
            batches: batches.map(Box::new),
            waker: Arc::new(WakeMailbox(this.clone())).into(),
            this: this.clone(),
            registration: register(this.clone()),
            #[cfg(feature = "test-util")]
            auditing: std::sync::Mutex::default(),
        });
        *lock(&mailbox.ready().me) = Some(mailbox.clone());
        mailbox
    }

    /// Puts an event into the place that was taken for it.
    #[inline]
    pub(super) fn push(&self, event: E, entry: Entry) {
        self.entrance.intake.push(event, entry.note);
        if entry.asleep && !mutation!("queue_push_wakes") {
            self.wake_by_ref();
        }
    }

    /// What becomes of an event that was accepted and found no place: it is counted already, the letter remains. Made where there is somebody to take it.
    pub(super) fn drop_shed(&self, event: impl FnOnce() -> E) {
        let intake = &self.entrance.intake;
        if let Some(dead_letters) = &self.dead_letters {
            let what = Circumstances { accepted: intake.stamp(), ..Circumstances::default() };
            // A `Clone` that panics costs the letter. The writer is told that the event is accepted.
            match contain(event) {
                Some(event) => {
                    let event = self.write_letter(event, DropReason::Overflow, what);
                    contain(|| drop(event));
                }
                None => dead_letters.count_lost(),
            }
        }
        intake.shed_done();
        self.wake_for_the_end();
    }

    /// A writer has done away with an event, and has fenced: perhaps that was all that the drain of a closed queue waited for.
    fn wake_for_the_end(&self) {
        if self.entrance.intake.is_closed() && !mutation!("queue_evict_wake") {
            self.wake_by_ref();
        }
    }

    /// Something happened: post the mailbox, unless it is posted or running.
    pub(super) fn wake_by_ref(&self) {
        let ready = self.ready();
        if ready.run.wake() {
            let me = lock(&ready.me).take();
            debug_assert!(me.is_some(), "a mailbox that is not active has its reference");
            if let Some(me) = me {
                let lane = if ready.lane.load(Ordering::Relaxed) == FAST { Lane::Fast } else { Lane::Slow };
                ready.pool.post(me, lane);
            }
        }
    }

    /// Ends the turn by `end`, a step of the run word, unless that says to look again.
    pub(super) fn lie_down(&self, end: impl FnOnce() -> bool) -> bool {
        let me = self.this.upgrade();
        *lock(&self.ready().me) = me.map(|me| me as Arc<dyn Task>);
        let ended = end();
        if !ended {
            // Dropped outside the lock; this turn's own reference remains.
            let me = lock(&self.ready().me).take();
            drop(me);
        }
        ended
    }

    pub(super) fn clock(&self) -> &Clock {
        self.ready().pool.clock()
    }

    /// The destination has taken an event.
    pub(super) fn deliver(&self, drain: &mut Drain<E>, parcel: Parcel<E>, sealed: bool) {
        drain.delivered += 1;
        self.settle(None, parcel.note, sealed);
        drop(parcel.event);
    }

    /// Gives an event up. Its letter is handed over before it counts as dropped: who sees the count finds the letter.
    pub(super) fn lose(&self, parcel: Parcel<E>, reason: DropReason, mut what: Circumstances, sealed: bool) {
        let Parcel { event, note } = parcel;
        what.accepted = note.accepted;
        if mutation!("letter_before_the_count") {
            self.settle(Some(reason), note, sealed);
            self.write_letter(event, reason, what);
            return;
        }
        let event = self.write_letter(event, reason, what);
        self.settle(Some(reason), note, sealed);
        // The user's code. A panic there must keep neither the other events nor a closer, on whose thread this may be, from their end.
        contain(|| drop(event));
    }

    /// Before the event is dropped, which is the user's code and may take its time: an abort that comes meanwhile counts too.
    pub(super) fn settle(&self, dropped: Option<DropReason>, note: Note, sealed: bool) {
        self.entrance.settle(dropped, note);
        if sealed && !mutation!("queue_settled_is_quiet") {
            self.entrance.intake.end_offer();
        }
    }

    /// Hands a dead letter over, where there is somebody to take it. Gives the event back otherwise.
    fn write_letter(&self, event: E, reason: DropReason, what: Circumstances) -> Option<E> {
        let Some(dead_letters) = &self.dead_letters else {
            // Perhaps the last to have the error, which is the user's.
            contain(|| drop(what));
            return Some(event);
        };
        let letter = DeadLetter::new(event, Arc::clone(&self.name), reason, what, self.clock().now());
        let event = dead_letters.write(letter);
        self.limits.letters.dead_letter(&self.name, reason, event.is_none());
        event
    }

    /// The sink has panicked over an event.
    pub(super) fn note_panic(&self) {
        self.limits.panics.panicked(&self.name, "sink");
    }

    /// The drop of an event has panicked that was delivered.
    pub(super) fn note_drop_panic(&self) {
        self.ready().pool.note_panic();
    }

    /// Gives up every event that is there.
    pub(super) fn abandon(&self, drain: &mut Drain<E>) {
        if let Some(held) = drain.held.take() {
            let Held { parcel, journey } = *held;
            let history = contain(|| journey.into_history()).flatten();
            self.lose(parcel, DropReason::Abandoned, Circumstances { history, ..Circumstances::default() }, false);
        }
        self.abandon_batch(drain);
        while let Some(parcel) = self.entrance.intake.pop() {
            self.lose(parcel, DropReason::Abandoned, Circumstances::default(), false);
        }
    }

    /// Sets the timer for the earliest of the two times, if there is one.
    pub(super) fn set_timer(&self, drain: &mut Drain<E>, until: Option<Instant>) {
        let deadline = match self.how() {
            Some(Shutdown::Until(at)) => Some(at),
            _ => None,
        };
        let at = match (until, deadline) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        if let Some(at) = at {
            // Set already, and not due: a lingering batch looks again and again while a writer is about to push.
            if drain.timer == Some(at) && at > self.clock().now() {
                return;
            }
            let task: Weak<dyn Task> = self.this.clone();
            self.ready().pool.set_timer(self.key(), drain.timer.replace(at), at, task);
        }
    }

    fn key(&self) -> u64 {
        self.sink_id().number()
    }
}

impl<E: Send> Mailbox<E> {
    pub(super) fn sink_id(&self) -> SinkId {
        self.entrance.intake.behind().id
    }

    /// What the one who has the turn works with.
    pub(super) fn drain(&self) -> &Mutex<Drain<E>> {
        &self.entrance.intake.behind().drain
    }

    pub(super) fn closing(&self) -> &Closing {
        self.closing.get_or_init(Box::default)
    }

    /// The same if it has begun to close.
    pub(super) fn begun_closing(&self) -> Option<&Closing> {
        self.closing.get().map(|closing| &**closing)
    }

    #[inline]
    pub(super) fn ready(&self) -> &Ready {
        self.entrance.intake.beside()
    }

    pub(super) fn ledger(&self) -> Ledger {
        self.entrance.ledger()
    }

    pub(super) fn describe_to(&self, topology: &mut Topology) {
        topology.stage(Some(self.sink_id()), "queue", &self.name, |topology| {
            topology.set("depth", self.ledger().pending);
            topology.set("closed", self.entrance.intake.is_closed());
            topology.set("pool", self.ready().pool.name());
            if let Some(capacity) = self.entrance.intake.capacity() {
                topology.set("capacity", capacity);
            }
            if let Some(batches) = &self.batches {
                batches.describe(topology);
            }
            if let Some(letters) = &self.dead_letters {
                topology.link(letters.queue(), "dead letters");
            }
            self.sink.describe(topology);
        });
    }
}

/// What the overflow policies need, on a writer's thread.
impl<E: Send + 'static> Owner for Mailbox<E> {
    fn evict(&self) -> bool {
        let Some(Parcel { event, note }) = self.entrance.intake.take_out() else { return false };
        // The letter before the count, as in `lose`. Until it is counted, the event is inside for whoever closes.
        let what = Circumstances { accepted: note.accepted, ..Circumstances::default() };
        let count = || {
            self.entrance.drops.step(|dropped| {
                dropped.add(DropReason::Overflow, 1);
                self.entrance.intake.count_evicted(note);
            });
        };
        if mutation!("letter_before_the_eviction") {
            count();
            self.write_letter(event, DropReason::Overflow, what);
            self.wake_for_the_end();
            return true;
        }
        let event = self.write_letter(event, DropReason::Overflow, what);
        count();
        self.wake_for_the_end();
        contain(|| drop(event));
        true
    }

    fn disconnect(&self) {
        self.begin_close(Shutdown::Drain);
        self.wake_by_ref();
    }

    fn no_room(&self, what: &'static str) {
        self.limits.room.no_room(&self.name, what);
    }
}

impl<E: Send> Observe for Mailbox<E> {
    fn observe(&self, out: &mut Observations) {
        let ledger = self.ledger();
        out.gauge(&names::QUEUE_DEPTH, &self.name, None, as_gauge(ledger.pending));
        let intake = &self.entrance.intake;
        out.gauge(&names::QUEUE_CAPACITY, &self.name, None, as_gauge(intake.capacity().unwrap_or(0)));
        out.gauge(&names::QUEUE_HIGH_WATER, &self.name, None, as_gauge(intake.high_water()));
        out.gauge(&names::QUEUE_BYTES, &self.name, None, as_gauge(intake.bytes_held().unwrap_or(0)));
        out.gauge(&names::QUEUE_CAPACITY_BYTES, &self.name, None, as_gauge(intake.max_bytes().unwrap_or(0)));
        out.counter(&names::QUEUE_REFUSED, &self.name, None, intake.refusals());
        let (written, lost) = self.dead_letters.as_ref().map_or((0, 0), |dead| (dead.written(), dead.lost()));
        out.counter(&names::QUEUE_DEAD_LETTERS, &self.name, Some("written"), written);
        out.counter(&names::QUEUE_DEAD_LETTERS, &self.name, Some("lost"), lost);
        out.counter(&names::QUEUE_ACCEPTED, &self.name, None, ledger.accepted);
        out.counter(&names::QUEUE_DELIVERED, &self.name, None, ledger.delivered);
        for reason in DropReason::ALL {
            out.counter(&names::QUEUE_DROPPED, &self.name, Some(reason.as_str()), ledger.dropped[reason]);
        }
        self.timing.observe(out, &self.name, self.ready().pool.clock());
        if ledger.pending > 0 {
            self.timing.note_waiting(intake.entered(), self.ready().pool.clock());
        }
    }

    fn describe(&self, topology: &mut Topology) {
        self.describe_to(topology);
    }

    #[cfg(feature = "test-util")]
    fn audit(&self) -> Result<(), String> {
        // A turn that runs is between an event's delivery and its count.
        let _auditing = self.auditing.lock();
        let Ok(drain) = self.drain().try_lock() else { return Ok(()) };
        let look = || self.entrance.books(drain.inside(), Some(drain.delivered));
        let books = look();
        if look() != books {
            // Writers are at work: nothing is at rest.
            return Ok(());
        }
        books.check_at_rest().map_err(|what| format!("queue {}: {what}: {books:?}", self.name))
    }
}

#[cfg(feature = "test-util")]
impl<E: Send> Mailbox<E> {
    /// What is wrong when nobody has it any more.
    fn audit_end(&self) -> Result<(), String> {
        let (held, delivered) = {
            let drain = lock(self.drain());
            (drain.inside(), drain.delivered)
        };
        let books = self.entrance.books(held, Some(delivered));
        books.check_at_end().map_err(|what| format!("queue {} at its end: {what}: {books:?}", self.name))?;
        let reported = self.closing().reported(self.sink_id());
        let Some(reported) = reported else { return Ok(()) };
        let ledger = self.ledger();
        let late = ledger.delivered.checked_sub(reported.delivered);
        if ledger.accepted == reported.accepted && late.is_some_and(|late| late <= reported.pending) {
            return Ok(());
        }
        Err(format!("queue {} at its end: the report says {reported:?}, and then it was {ledger:?}", self.name))
    }
}

impl<E: Send> Drop for Mailbox<E> {
    fn drop(&mut self) {
        std::mem::take(&mut self.registration).retire(|out| self.observe(out));
        #[cfg(feature = "test-util")]
        crate::test_util::audit::note(self.audit_end());
        let timer =
            self.entrance.intake.behind_mut().drain.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).timer;
        if let Some(at) = timer {
            self.ready().pool.clear_timer(self.sink_id().number(), at);
        }
    }
}

const SLOW: u8 = 0;
const FAST: u8 = 1;

impl<E: Send + 'static> Task for Mailbox<E> {
    fn turn(&self, began: Instant) -> Turn {
        super::turn::turn(self, began)
    }

    fn wake(&self) {
        self.wake_by_ref();
    }

    fn set_lane(&self, lane: Lane) {
        let lane = if lane == Lane::Fast { FAST } else { SLOW };
        let known = &self.ready().lane;
        if known.load(Ordering::Relaxed) != lane {
            known.store(lane, Ordering::Relaxed);
        }
    }
}

/// What sinks keep to wake a mailbox: it does not keep the mailbox alive.
struct WakeMailbox<E: Send>(Weak<Mailbox<E>>);

impl<E: Send + 'static> Wake for WakeMailbox<E> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(mailbox) = self.0.upgrade() {
            mailbox.wake_by_ref();
            // A turn that is stuck in the sink sees nothing, and perhaps no worker is free. An abort waits for neither: the closers look themselves whether
            // the destination has closed. The abort comes before the destination is told, so it is seen here.
            // Not if this comes from the mailbox's own turn while it abandons: that one ends by itself, and with settled counts.
            let intake = &mailbox.entrance.intake;
            let from_its_turn = block::is_turn_of(&mailbox.waker) && !mutation!("queue_own_turn_ends_itself");
            let is_quiet = intake.is_quiet() || mutation!("queue_wake_in_an_offer");
            if intake.is_aborted() && !(is_quiet && from_its_turn) && !mutation!("queue_wake_reaches_closers") {
                mailbox.closing().wake_closers();
            }
        }
    }
}
