//! A queue that is aborted while a turn runs: what the report says of each event, and of the one that is in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Wake, Waker};
use std::time::Duration;

use loom::thread;

use super::queue::{Bell, Rig, close};
use super::{Model, mutation};
use crate::clock::{Clock, saturating_add};
use crate::delivery::Delivery;
use crate::error::{CloseError, Wait, WriteError};
use crate::ledger::{DropReason, Ledger};
use crate::pool::Pool;
use crate::queue::Queue;
use crate::shutdown::{CloseReport, Shutdown};
use crate::sink::Sink;
use crate::sync::now;

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
        mutations: &[mutation("queue_offer_ignores_abort")],
    },
    Model {
        name: "queue_abort_after_an_event",
        preemptions: Some(2),
        run: abort_after_an_event,
        mutations: &[
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
