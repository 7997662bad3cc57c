//! A queue that is aborted while a turn runs: what the report says of each event, and of the one that is in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Wake, Waker};
use std::time::Duration;

use loom::thread;

use super::queue::{Bell, Rig, close};
use super::{Model, mutation};
use crate::clock::{Clock, ManualTime, saturating_add};
use crate::delivery::Delivery;
use crate::error::{CloseError, Wait, WriteError};
use crate::ledger::{DropReason, Ledger};
use crate::pool::Pool;
use crate::queue::Queue;
use crate::shutdown::{CloseReport, Shutdown};
use crate::sink::Sink;
use crate::sync::{Mutex, lock, now};
use crate::wakers::Wakers;

pub(super) const MODELS: &[Model] = &[
    Model {
        name: "queue_abort_against_turn",
        preemptions: Some(2),
        run: abort_against_turn,
        mutations: &[mutation("queue_abort_knows_what_is_in_flight"), mutation("queue_turn_sees_abort")],
    },
    Model {
        name: "queue_abort_against_drain",
        preemptions: Some(2),
        run: abort_against_drain,
        mutations: &[mutation("queue_offer_ignores_abort"), mutation("queue_offer_sees_abort")],
    },
    Model {
        name: "queue_abort_after_an_event",
        preemptions: Some(2),
        run: abort_after_an_event,
        mutations: &[
            mutation("queue_turn_knows_it_is_closed"),
            mutation("queue_abort_asks_whether_quiet"),
            mutation("queue_offer_is_not_quiet"),
            mutation("queue_settled_is_quiet"),
        ],
    },
    Model {
        name: "queue_abort_after_a_hold",
        preemptions: Some(2),
        run: abort_after_a_hold,
        mutations: &[mutation("queue_offer_is_not_quiet"), mutation("queue_held_is_quiet")],
    },
    Model {
        name: "queue_abort_from_two_threads",
        preemptions: Some(3),
        run: abort_from_two_threads,
        mutations: &[mutation("queue_one_closer_aborts")],
    },
    Model {
        name: "queue_abort_of_a_stuck_turn",
        preemptions: Some(2),
        run: abort_of_a_stuck_turn,
        mutations: &[mutation("queue_wake_reaches_closers")],
    },
    Model {
        name: "queue_abort_woken_by_its_turn",
        preemptions: Some(2),
        run: abort_woken_by_its_turn,
        mutations: &[mutation("queue_wake_reaches_closers"), mutation("queue_wake_in_an_offer")],
    },
    Model {
        name: "queue_deadline_comes_in_a_hold",
        preemptions: Some(3),
        run: deadline_comes_in_a_hold,
        mutations: &[mutation("queue_own_turn_ends_itself")],
    },
    Model {
        name: "queue_abort_of_a_held_event",
        preemptions: Some(3),
        run: abort_of_a_held_event,
        mutations: &[mutation("queue_abort_wakes_the_turn")],
    },
    Model {
        name: "queue_abort_while_abandoning",
        preemptions: Some(2),
        run: abort_while_abandoning,
        mutations: &[mutation("queue_abandoning_is_quiet")],
    },
];

/// An abort meets a turn at any point: the report accounts for every event.
fn abort_against_turn() {
    let rig = Rig::new();
    rig.queue.send(1).unwrap();
    rig.queue.send(2).unwrap();
    abort(rig);
}

/// The same with a close that has begun to drain: its turns say when they offer an event, and the abort decides which it is.
fn abort_against_drain() {
    let rig = Rig::new();
    rig.queue.send(1).unwrap();
    rig.queue.send(2).unwrap();
    let nobody = Waker::from(Arc::new(Bell::default()));
    assert!(rig.queue.poll_close(Shutdown::Drain, &nobody).is_pending() || rig.queue.ledger().pending == 0);
    abort(rig);
}

/// Aborts a queue of two events.
fn abort(rig: Rig) {
    let report = close(&rig.queue, Shutdown::Abort);
    rig.pool.stop_for_model();
    rig.worker.join().unwrap();
    let (ledger, delivered) = (rig.queue.ledger(), rig.delivered.load(Ordering::Relaxed));
    assert!(ledger.balances());
    assert_eq!(ledger.delivered, delivered);
    assert_eq!(ledger.accepted, 2);
    let reported = report.components().next().unwrap().1.ledger;
    assert!(reported.balances());
    assert!(reported.delivered <= delivered, "reported as delivered and was not");
    assert!(reported.pending <= 1, "at most one event is in flight");
    // The worker may have been stopped before the turn that abandons the rest.
    let abandoned = |ledger: &Ledger| ledger.dropped[DropReason::Abandoned];
    assert!(abandoned(&reported) <= abandoned(&ledger) + ledger.pending, "reported as abandoned and was not");
    // What was in flight has been decided since; nothing else has changed.
    assert!(delivered <= reported.delivered + reported.pending, "delivered after it was reported abandoned");
}

/// An event that rings when it is dropped.
#[derive(Clone)]
pub(super) struct Ringing(pub(super) Arc<Bell>);

impl Drop for Ringing {
    fn drop(&mut self) {
        self.0.wake_by_ref();
    }
}

/// Takes what it is offered, closed or not; but is not ready for the first `refusals` offers.
pub(super) struct Steady {
    pub(super) offers: AtomicU64,
    pub(super) refusals: u64,
    pub(super) delivered: Arc<AtomicU64>,
}

impl<E> Sink<E> for Steady {
    fn try_write(&self, _: &E, _: &mut Delivery<'_>) -> Result<(), WriteError> {
        if self.offers.fetch_add(1, Ordering::Relaxed) < self.refusals {
            return Err(WriteError::NotReady(Wait { until: None }));
        }
        self.delivered.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn poll_close(&self, _: Shutdown, _: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        Poll::Ready(Ok(CloseReport::new()))
    }
}

/// A queue that has no worker yet, and how many events its sink will have got.
fn steady<E: Send + 'static>(pool: &Pool, refusals: u64) -> (Queue<E>, Arc<AtomicU64>) {
    let delivered = Arc::new(AtomicU64::new(0));
    let sink = Steady { offers: AtomicU64::new(0), refusals, delivered: delivered.clone() };
    (Queue::builder(sink).name("model").pool(pool).build().unwrap(), delivered)
}

/// A close drains; the first event is done with when the abort comes. What is in flight is known exactly then: it is what the sink has got, and no other.
fn abort_after_an_event() {
    let pool = Pool::for_model(1, Clock::system());
    let (queue, delivered) = steady(&pool, 0);
    let done_with = Arc::new(Bell::default());
    queue.send(Ringing(done_with.clone())).unwrap();
    queue.send(Ringing(Arc::default())).unwrap();
    let nobody = Waker::from(Arc::new(Bell::default()));
    assert!(queue.poll_close(Shutdown::Drain, &nobody).is_pending());
    let worker = work(&pool);
    done_with.wait();
    abort_exactly(&queue, &pool, worker, &delivered);
}

pub(super) fn work(pool: &Pool) -> thread::JoinHandle<()> {
    let pool = pool.clone();
    thread::spawn(move || pool.work(0))
}

pub(super) fn abort_exactly<E: Clone + Send + 'static>(
    queue: &Queue<E>,
    pool: &Pool,
    worker: thread::JoinHandle<()>,
    delivered: &AtomicU64,
) {
    let report = close(queue, Shutdown::Abort);
    pool.stop_for_model();
    worker.join().unwrap();
    let reported = report.components().next().unwrap().1.ledger;
    let delivered = delivered.load(Ordering::Relaxed);
    assert_eq!(reported.delivered + reported.pending, delivered, "{reported:?}");
}

/// The same where a turn of the draining queue has held the event, and the abort meets the next one.
fn abort_after_a_hold() {
    let pool = Pool::for_model(1, Clock::system());
    let (queue, delivered) = steady(&pool, 1);
    queue.send(1).unwrap();
    let never = Shutdown::Until(saturating_add(now(), Duration::MAX));
    let nobody = Waker::from(Arc::new(Bell::default()));
    assert!(queue.poll_close(never, &nobody).is_pending());
    pool.work_once();
    assert!(queue.ledger().pending > 0);
    // Wakes it, as the sink would.
    assert!(queue.poll_close(never, &nobody).is_pending());
    let worker = work(&pool);
    abort_exactly(&queue, &pool, worker, &delivered);
}

/// Two abort a queue that has no turn: nothing is in flight, whoever of them gives the events up.
fn abort_from_two_threads() {
    let pool = Pool::for_model(1, Clock::system());
    let (queue, _) = steady(&pool, 0);
    queue.send(1).unwrap();
    let other = {
        let queue = queue.clone();
        thread::spawn(move || close(&queue, Shutdown::Abort))
    };
    let reports = [close(&queue, Shutdown::Abort), other.join().unwrap()];
    assert!(reports.iter().all(|report| (report.abandoned(), report.in_flight()) == (1, 0)), "{reports:?}");
    // The turn for which the abort has made it ready.
    pool.work_once();
}

/// Is stuck with an event, and closes later than it is asked to.
#[derive(Default)]
struct Slow {
    inside: Bell,
    on: Bell,
    out: Bell,
    closes_in_the_write: bool,
    closed: Mutex<bool>,
    asked: Wakers,
}

impl Slow {
    fn finish(&self) {
        *lock(&self.closed) = true;
        self.asked.wake_all();
    }
}

impl Sink<u32> for Arc<Slow> {
    fn try_write(&self, _: &u32, _: &mut Delivery<'_>) -> Result<(), WriteError> {
        self.inside.ring();
        self.on.wait();
        if self.closes_in_the_write {
            self.finish();
        }
        self.out.wait();
        Ok(())
    }

    fn poll_close(&self, _: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.asked.register(waker);
        if *lock(&self.closed) { Poll::Ready(Ok(CloseReport::new())) } else { Poll::Pending }
    }
}

/// The turn stays in the sink until the abort has ended, so that nobody but the closer can find out that the destination has closed.
fn abort_of(slow: Slow) {
    let pool = Pool::for_model(1, Clock::system());
    let slow = Arc::new(slow);
    let queue = Queue::builder(slow.clone()).name("model").pool(&pool).build().unwrap();
    queue.send(1).unwrap();
    let worker = work(&pool);
    slow.inside.wait();
    let other = (!slow.closes_in_the_write).then(|| {
        let slow = slow.clone();
        thread::spawn(move || slow.finish())
    });
    slow.on.ring();
    assert_eq!(close(&queue, Shutdown::Abort).in_flight(), 1);
    slow.out.ring();
    other.into_iter().for_each(|other| other.join().unwrap());
    pool.stop_for_model();
    worker.join().unwrap();
    assert_eq!((queue.ledger().delivered, queue.ledger().pending), (1, 0));
}

/// The destination closes, on another thread, while the turn is stuck in it.
fn abort_of_a_stuck_turn() {
    abort_of(Slow::default());
}

/// The destination closes in the very write that the turn is stuck in.
fn abort_woken_by_its_turn() {
    abort_of(Slow { closes_in_the_write: true, ..Slow::default() });
}

/// Wakes the queue that it was saved for when it is dropped, as a place in a line may.
struct WakesAtTheEnd(Waker);

impl Drop for WakesAtTheEnd {
    fn drop(&mut self) {
        self.0.wake_by_ref();
    }
}

/// Never ready.
struct Never;

impl Sink<u32> for Never {
    fn try_write(&self, _: &u32, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        delivery.save(WakesAtTheEnd(delivery.waker()));
        Err(WriteError::NotReady(Wait { until: None }))
    }

    fn poll_close(&self, _: Shutdown, _: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        Poll::Ready(Ok(CloseReport::new()))
    }
}

/// The deadline comes, and the turn gives up what it holds, which wakes the queue. Who waits for the close is told when everything is counted.
fn deadline_comes_in_a_hold() {
    let time = ManualTime::new();
    let clock = time.clock();
    let pool = Pool::for_model(1, clock.clone());
    let queue = Queue::builder(Never).name("model").pool(&pool).build().unwrap();
    queue.send(1).unwrap();
    pool.work_once();
    let bell = Arc::new(Bell::default());
    let waker: Waker = bell.clone().into();
    let until = Shutdown::Until(clock.now() + Duration::from_secs(1));
    assert!(queue.poll_close(until, &waker).is_pending());
    time.advance(Duration::from_secs(1));
    let turn = {
        let pool = pool.clone();
        thread::spawn(move || pool.work_once())
    };
    bell.wait();
    let Poll::Ready(Ok(report)) = queue.poll_close(until, &waker) else { panic!("rung before the end") };
    assert_eq!((report.abandoned(), queue.ledger().pending), (1, 0), "told before it was counted");
    turn.join().unwrap();
}

/// The queue holds an event, so that writers do not wake it. One has entered and pushes after the abort: its event is given up all the same.
fn abort_of_a_held_event() {
    let pool = Pool::for_model(1, Clock::system());
    let (queue, delivered) = steady(&pool, 1);
    queue.send(1).unwrap();
    pool.work_once();
    let writer = {
        let queue = queue.clone();
        thread::spawn(move || queue.send(2).is_ok())
    };
    let nobody = Waker::from(Arc::new(Bell::default()));
    assert!(queue.poll_close(Shutdown::Abort, &nobody).is_ready());
    let accepted = 1 + u64::from(writer.join().unwrap());
    pool.work_once();
    let ledger = queue.ledger();
    assert_eq!((ledger.dropped[DropReason::Abandoned], ledger.pending), (accepted, 0));
    assert_eq!(delivered.load(Ordering::Relaxed), 0);
}

/// Takes the first event and is stuck with it for a while; its close takes a second look.
struct Stuck {
    inside: Arc<Bell>,
    on: Arc<Bell>,
    polls: AtomicU64,
    delivered: Arc<AtomicU64>,
}

impl<E> Sink<E> for Stuck {
    fn try_write(&self, _: &E, _: &mut Delivery<'_>) -> Result<(), WriteError> {
        self.delivered.fetch_add(1, Ordering::Relaxed);
        self.inside.wake_by_ref();
        self.on.wait();
        Ok(())
    }

    fn poll_close(&self, _: Shutdown, _: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        let is_first = self.polls.fetch_add(1, Ordering::Relaxed) == 0;
        if is_first { Poll::Pending } else { Poll::Ready(Ok(CloseReport::new())) }
    }
}

/// The abort finds an event in flight; that one is delivered, and the turn gives up the rest, while the closer looks again: nothing is in flight then.
fn abort_while_abandoning() {
    let pool = Pool::for_model(1, Clock::system());
    let [inside, on, given_up] = [(); 3].map(|()| Arc::new(Bell::default()));
    let delivered = Arc::new(AtomicU64::new(0));
    let stuck =
        Stuck { inside: inside.clone(), on: on.clone(), polls: AtomicU64::new(0), delivered: delivered.clone() };
    let queue = Queue::builder(stuck).name("model").pool(&pool).build().unwrap();
    for bell in [Arc::default(), given_up.clone(), Arc::default()] {
        queue.send(Ringing(bell)).unwrap();
    }
    let worker = work(&pool);
    inside.wait();
    let nobody = Waker::from(Arc::new(Bell::default()));
    assert!(queue.poll_close(Shutdown::Abort, &nobody).is_pending());
    on.wake_by_ref();
    given_up.wait();
    abort_exactly(&queue, &pool, worker, &delivered);
}
