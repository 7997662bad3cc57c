//! A queue that delivers batches and is aborted: what the report says of the batch that is in flight, and of the events behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use super::aborts::{Ringing, Steady, abort_exactly, work};
use super::queue::{Bell, close};
use super::{Model, mutation};
use crate::batch::BatchError;
use crate::clock::{Clock, saturating_add};
use crate::delivery::Delivery;
use crate::error::{CloseError, Failure, Wait, WriteError};
use crate::pool::Pool;
use crate::queue::{Batching, Queue};
use crate::shutdown::{CloseReport, Shutdown};
use crate::sink::Sink;
use crate::sync::now;

pub(super) const MODELS: &[Model] = &[
    Model {
        name: "batch_abort_against_turn",
        preemptions: Some(2),
        run: abort_against_turn,
        mutations: &[
            mutation("queue_offer_ignores_abort"),
            mutation("batch_offer_sees_abort"),
            mutation("batch_says_where_it_ends"),
        ],
    },
    Model {
        name: "batch_abort_within_a_batch",
        preemptions: Some(2),
        run: abort_within_a_batch,
        mutations: &[
            mutation("batch_is_quiet_at_its_end"),
            mutation("batch_asks_before_it_says"),
            mutation("batch_says_where_it_ends"),
            mutation("queue_abort_asks_whether_quiet"),
            mutation("queue_settled_is_quiet"),
        ],
    },
    Model {
        name: "batch_abort_after_a_hold",
        preemptions: Some(2),
        run: abort_after_a_hold,
        mutations: &[mutation("batch_held_is_quiet"), mutation("queue_offer_is_not_quiet")],
    },
    Model {
        name: "batch_abort_after_one_that_has_left",
        preemptions: Some(2),
        run: abort_after_one_that_has_left,
        mutations: &[mutation("batch_that_has_left_is_quiet")],
    },
];

/// Counts the events of the batches that it takes.
struct Slices(Steady);

impl<E> Sink<[E]> for Slices {
    fn try_write(&self, events: &[E], _: &mut Delivery<'_>) -> Result<(), WriteError> {
        if self.0.offers.fetch_add(1, Ordering::Relaxed) < self.0.refusals {
            return Err(WriteError::NotReady(Wait { until: None }));
        }
        self.0.delivered.fetch_add(events.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn poll_close(&self, _: Shutdown, _: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        Poll::Ready(Ok(CloseReport::new()))
    }
}

/// A queue of batches of two that has no worker yet, and how many events its sink will have got.
fn pairs<E: Send + 'static>(pool: &Pool, refusals: u64) -> (Queue<E>, Arc<AtomicU64>) {
    let delivered = Arc::new(AtomicU64::new(0));
    let sink = Slices(Steady { offers: AtomicU64::new(0), refusals, delivered: delivered.clone() });
    let batching = Batching::new(2, Duration::ZERO);
    (Queue::batching(sink, batching).name("model").pool(pool).build().unwrap(), delivered)
}

/// An abort meets a turn at any point: nothing is delivered that was reported abandoned, and no more than a batch is in flight.
fn abort_against_turn() {
    let pool = Pool::for_model(1, Clock::system());
    let (queue, delivered) = pairs(&pool, 0);
    for event in 0..3 {
        queue.send(event).unwrap();
    }
    let worker = work(&pool);
    let report = close(&queue, Shutdown::Abort);
    pool.stop_for_model();
    worker.join().unwrap();
    let (ledger, delivered) = (queue.ledger(), delivered.load(Ordering::Relaxed));
    let reported = report.components().next().unwrap().1.ledger;
    assert!(ledger.balances() && reported.balances());
    assert_eq!((ledger.accepted, ledger.delivered), (3, delivered));
    assert!(reported.delivered <= delivered, "reported as delivered and was not");
    assert!(reported.pending <= 2, "at most one batch is in flight");
    assert!(delivered <= reported.delivered + reported.pending, "delivered after it was reported abandoned");
}

/// A close drains; the first event of a batch is done with when the abort comes, and the second may not be. What is in flight is known exactly then.
fn abort_within_a_batch() {
    let pool = Pool::for_model(1, Clock::system());
    let (queue, delivered) = pairs(&pool, 0);
    let done_with = Arc::new(Bell::default());
    for bell in [done_with.clone(), Arc::default(), Arc::default()] {
        queue.send(Ringing(bell)).unwrap();
    }
    let nobody = Waker::from(Arc::new(Bell::default()));
    assert!(queue.poll_close(Shutdown::Drain, &nobody).is_pending());
    let worker = work(&pool);
    done_with.wait();
    abort_exactly(&queue, &pool, worker, &delivered);
}

/// A turn of the closing queue has held its batch, and the abort meets the next one.
fn abort_after_a_hold() {
    let pool = Pool::for_model(1, Clock::system());
    let (queue, delivered) = pairs(&pool, 1);
    queue.send(1).unwrap();
    queue.send(2).unwrap();
    let never = Shutdown::Until(saturating_add(now(), Duration::MAX));
    let nobody = Waker::from(Arc::new(Bell::default()));
    assert!(queue.poll_close(never, &nobody).is_pending());
    pool.work_once();
    assert_eq!(queue.ledger().pending, 2);
    // Wakes it, as the sink would.
    assert!(queue.poll_close(never, &nobody).is_pending());
    let worker = work(&pool);
    abort_exactly(&queue, &pool, worker, &delivered);
}

/// Takes one event of a batch at a time, and tells which; then says yes to the batch.
struct OneAtATime {
    offers: AtomicU64,
    delivered: Arc<AtomicU64>,
}

impl Sink<[u32]> for OneAtATime {
    fn try_write(&self, events: &[u32], delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        let taken = self.offers.fetch_add(1, Ordering::Relaxed);
        if taken >= 2 {
            // Of the first batch there is nothing left.
            self.delivered.fetch_add(if taken == 2 { 0 } else { events.len() as u64 }, Ordering::Relaxed);
            return Ok(());
        }
        let outcome = |place| if place == taken { Ok(()) } else { Err(Failure::transient("not yet")) };
        if let Err(WriteError::Failed(failure)) = BatchError::check((0..events.len() as u64).map(outcome).collect()) {
            delivery.record(&failure);
        }
        self.delivered.fetch_add(1, Ordering::Relaxed);
        Err(WriteError::NotReady(Wait { until: None }))
    }

    fn poll_close(&self, _: Shutdown, _: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        Poll::Ready(Ok(CloseReport::new()))
    }
}

/// All events of a batch have left before it is taken, one after the other; the abort meets the turn that learns it, and goes on with the next batch.
fn abort_after_one_that_has_left() {
    let pool = Pool::for_model(1, Clock::system());
    let delivered = Arc::new(AtomicU64::new(0));
    let sink = OneAtATime { offers: AtomicU64::new(0), delivered: delivered.clone() };
    let batching = Batching::new(2, Duration::ZERO);
    let queue = Queue::batching(sink, batching).name("model").pool(&pool).build().unwrap();
    (0..3).for_each(|event| queue.send(event).unwrap());
    let never = Shutdown::Until(saturating_add(now(), Duration::MAX));
    let nobody = Waker::from(Arc::new(Bell::default()));
    // Each wakes it, as the sink would.
    for left in 1..=2 {
        assert!(queue.poll_close(never, &nobody).is_pending());
        pool.work_once();
        assert_eq!(queue.ledger().delivered, left);
    }
    assert!(queue.poll_close(never, &nobody).is_pending());
    let worker = work(&pool);
    abort_exactly(&queue, &pool, worker, &delivered);
}
