//! A queue that delivers batches: when, what becomes of each event, and that its books are right however it ends.

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Desk, assert_books, assert_closed, assert_ledger, concurrently, still_pool, watched};
use sinkworks::test_util::{Failing, Gate, ManualClock, NotReadyYet, Panicking, Recording};
use sinkworks::{
    BatchError, Batching, Breaker, BuildError, Class, DeadLetter, Delivery, DropReason, Failure, Outcome, Overflow,
    Pool, Queue, QueueBuilder, RetryLimit, RetryStrategy, Shutdown, Sink, SinkExt, Tracked, WriteError, batch_fn,
};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// Keeps the batches that it gets.
#[derive(Clone, Default)]
struct Batches(Arc<Mutex<Vec<Vec<u64>>>>);

impl Batches {
    fn sink(&self) -> impl Sink<[u64]> + 'static {
        let kept = self.clone();
        batch_fn(move |events: &[&u64]| {
            kept.0.lock().unwrap().push(events.iter().copied().copied().collect());
            Ok(())
        })
    }

    fn take(&self) -> Vec<Vec<u64>> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// A queue of batches of three that lingers a second, where time stands still.
struct Still {
    queue: Queue<u64>,
    pool: Pool,
    clock: ManualClock,
}

impl Still {
    fn new(sink: impl Sink<[u64]> + 'static) -> Self {
        Self::with(sink, |builder| builder)
    }

    fn with(sink: impl Sink<[u64]> + 'static, options: impl FnOnce(QueueBuilder<u64>) -> QueueBuilder<u64>) -> Self {
        let (pool, clock) = still_pool();
        let queue = options(Queue::batching(sink, Batching::new(3, SECOND)).pool(&pool)).build().unwrap();
        Self { queue, pool, clock }
    }

    /// Sends them at once: the worker is held meanwhile.
    fn send(&self, events: impl IntoIterator<Item = u64>) {
        let gate = common::stall(&self.pool);
        events.into_iter().for_each(|event| self.queue.send(event).unwrap());
        gate.open();
        self.pool.wait_idle();
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.pool.wait_idle();
    }
}

#[test]
fn a_full_batch_goes_at_once_and_the_rest_when_the_first_of_it_has_lingered() {
    let seen = Batches::default();
    let still = Still::new(seen.sink());
    still.send(0..8);
    assert_eq!(seen.take(), [vec![0, 1, 2], vec![3, 4, 5]]);
    assert_ledger(&still.queue, 8, 6, &[]);
    still.advance(999 * MS);
    assert_eq!(seen.take(), Vec::<Vec<u64>>::new());
    still.advance(MS);
    assert_eq!(seen.take(), [vec![6, 7]]);
    assert_ledger(&still.queue, 8, 8, &[]);
    still.queue.close(Shutdown::Drain).unwrap();
}

#[test]
fn a_batch_that_waits_is_completed_by_later_writes_and_goes_then() {
    let seen = Batches::default();
    let still = Still::new(seen.sink());
    for event in 0..3 {
        assert_eq!(seen.take(), Vec::<Vec<u64>>::new(), "before event {event}");
        still.queue.send(event).unwrap();
        still.pool.wait_idle();
        still.advance(100 * MS);
    }
    assert_eq!(seen.take(), [vec![0, 1, 2]]);
    // The time of the next batch begins with its own first event.
    still.send([3]);
    still.advance(999 * MS);
    assert_eq!(seen.take(), Vec::<Vec<u64>>::new());
    still.advance(MS);
    assert_eq!(seen.take(), [vec![3]]);
    still.queue.close(Shutdown::Drain).unwrap();
}

#[test]
fn without_a_linger_a_batch_is_what_has_gathered() {
    let (pool, _clock) = still_pool();
    let seen = Batches::default();
    let queue = Queue::batching(seen.sink(), Batching::new(100, Duration::ZERO)).pool(&pool).build().unwrap();
    queue.send(0).unwrap();
    pool.wait_idle();
    let gate = common::stall(&pool);
    (1..5).for_each(|event| queue.send(event).unwrap());
    gate.open();
    pool.wait_idle();
    assert_eq!(seen.take(), [vec![0], vec![1, 2, 3, 4]]);
    queue.close(Shutdown::Drain).unwrap();
}

/// Batches of at most three events and of ten bytes, where an event has as many bytes as its number says. Holds up to a hundred bytes.
fn ten_bytes(builder: QueueBuilder<u64>) -> QueueBuilder<u64> {
    builder.capacity_bytes(100, |event| *event).max_batch_bytes(10)
}

#[test]
fn a_batch_has_no_more_bytes_than_allowed_and_no_event_stays_behind() {
    let seen = Batches::default();
    let still = Still::with(seen.sink(), ten_bytes);
    // Exactly ten; one that does not fit is the next one's first; a full one by number; one that is too large goes alone.
    still.send([4, 6, 9, 2, 1, 1, 1, 1, 11, 1]);
    assert_eq!(seen.take(), [vec![4, 6], vec![9], vec![2, 1, 1], vec![1, 1], vec![11]]);
    assert_ledger(&still.queue, 10, 9, &[]);
    still.advance(SECOND);
    assert_eq!(seen.take(), [vec![1]]);
    // The one that did not fit lingers from when its batch began, as any other.
    still.send([9, 2]);
    assert_eq!((seen.take(), still.queue.bytes()), (vec![vec![9]], Some(2)));
    still.advance(SECOND);
    assert_eq!(seen.take(), [vec![2]]);
    still.queue.close(Shutdown::Drain).unwrap();
    assert_ledger(&still.queue, 12, 12, &[]);
}

#[test]
fn a_close_delivers_the_event_that_did_not_fit_and_an_abort_gives_it_up() {
    for how in [Shutdown::Drain, Shutdown::Abort] {
        let desk = Desk::default();
        let still = Still::with(desk.clone(), ten_bytes);
        // The sink is not ready for the first batch: the nine is popped, and waits behind it.
        still.send([4, 6, 9]);
        assert_ledger(&still.queue, 3, 0, &[]);
        let report = still.queue.close(how).unwrap();
        still.pool.wait_idle();
        let reason = [(DropReason::Abandoned, 3)];
        assert_ledger(&still.queue, 3, 0, &reason);
        assert_eq!((report.abandoned(), report.in_flight(), still.queue.bytes()), (3, 0, Some(0)));
    }
    let seen = Batches::default();
    let still = Still::with(seen.sink(), ten_bytes);
    let gate = common::stall(&still.pool);
    for event in [4, 6, 9] {
        still.queue.send(event).unwrap();
    }
    std::thread::scope(|threads| {
        threads.spawn(|| still.queue.close(Shutdown::Drain).unwrap());
        gate.open();
    });
    assert_eq!(seen.take(), [vec![4, 6], vec![9]]);
    assert_ledger(&still.queue, 3, 3, &[]);
}

#[test]
fn every_way_to_close_but_an_abort_delivers_what_waits_without_lingering() {
    for how in [Shutdown::Drain, Shutdown::within(3600 * SECOND)] {
        let seen = Batches::default();
        let still = Still::new(seen.sink());
        still.send(0..4);
        let report = still.queue.close(how).unwrap();
        assert_eq!(seen.take(), [vec![0, 1, 2], vec![3]], "{how:?}");
        assert_eq!((report.dropped(), report.in_flight()), (0, 0));
        assert_ledger(&still.queue, 4, 4, &[]);
        assert_closed(&still.queue.write(&9));
    }
}

#[test]
fn the_last_handle_gone_delivers_what_waits() {
    let seen = Batches::default();
    let Still { queue, pool, .. } = Still::new(seen.sink());
    queue.send(0).unwrap();
    drop(queue);
    pool.wait_idle();
    assert_eq!(seen.take(), [vec![0]]);
}

#[test]
fn an_abort_gives_up_what_waits() {
    let seen = Batches::default();
    let still = Still::new(seen.sink());
    still.send(0..5);
    let report = still.queue.close(Shutdown::Abort).unwrap();
    assert_eq!((report.abandoned(), report.in_flight()), (2, 0));
    assert_eq!(seen.take(), [vec![0, 1, 2]]);
    assert_ledger(&still.queue, 5, 3, &[(DropReason::Abandoned, 2)]);
}

#[test]
fn an_abort_counts_a_batch_that_the_sink_has_as_in_flight() {
    watched(|| {
        let gate = Gate::new();
        let seen = Batches::default();
        let pool = common::lone_worker();
        let (door, kept) = (gate.clone(), seen.clone());
        let sink = batch_fn(move |events: &[&u64]| {
            door.pass();
            kept.0.lock().unwrap().push(events.iter().copied().copied().collect());
            Ok(())
        });
        let queue = Queue::batching(sink, Batching::new(3, Duration::ZERO)).pool(&pool).build().unwrap();
        let held = common::stall(&pool);
        (0..5).for_each(|event| queue.send(event).unwrap());
        held.open();
        gate.wait_for(1);
        let report = queue.close(Shutdown::Abort).unwrap();
        assert_books(&report.component(queue.id().unwrap()).unwrap().ledger, 5, 0, &[(DropReason::Abandoned, 2)]);
        assert_eq!(report.in_flight(), 3);
        gate.open();
        pool.wait_idle();
        assert_eq!(seen.take(), [vec![0, 1, 2]]);
        assert_ledger(&queue, 5, 3, &[(DropReason::Abandoned, 2)]);
    });
}

#[test]
fn an_abort_finds_nothing_in_flight_in_a_batch_that_its_sink_is_not_ready_for() {
    let desk = Desk::default();
    let still = Still::new(desk.clone());
    still.send(0..5);
    assert_eq!(desk.arrived(), 1);
    let report = still.queue.close(Shutdown::Abort).unwrap();
    assert_eq!((report.abandoned(), report.in_flight()), (5, 0));
}

#[test]
fn a_batch_that_its_sink_is_not_ready_for_stays_as_it_is() {
    let seen = Batches::default();
    let still = Still::new(NotReadyYet::new(2, NotReadyYet::new(1, seen.sink())));
    still.send(0..2);
    still.advance(SECOND);
    assert_eq!(seen.take(), [vec![0, 1]]);
    let desk = Desk::default();
    let still = Still::new(desk.clone());
    still.send(0..2);
    still.advance(SECOND);
    // It has been offered: the stages below know it as it is.
    still.send(2..7);
    desk.serve(1);
    still.pool.wait_idle();
    assert_ledger(&still.queue, 7, 2, &[]);
    desk.serve(9);
    still.pool.wait_idle();
    assert_eq!((desk.arrived(), desk.served()), (2, 2), "of two, and of three; two linger");
    still.queue.close(Shutdown::Drain).unwrap();
    assert_eq!(desk.served(), 3);
    assert_ledger(&still.queue, 7, 7, &[]);
}

fn refuse(event: u64) -> Result<(), Failure> {
    match event % 3 {
        0 => Ok(()),
        1 => Err(Failure::permanent(format!("no {event}"))),
        _ => Err(Failure::transient(format!("not yet {event}"))),
    }
}

#[test]
fn each_event_has_its_own_outcome_and_its_own_dead_letter() {
    let (pool, _) = still_pool();
    let letters = Recording::<DeadLetter<u64>>::new();
    let dead = Queue::builder(letters.clone()).pool(&pool).build().unwrap();
    let sink = batch_fn(|events: &[&u64]| BatchError::check(events.iter().map(|event| refuse(**event)).collect()));
    let still = Still::with(sink, |builder| builder.dead_letters(&dead));
    still.send(0..6);
    assert_ledger(&still.queue, 6, 2, &[(DropReason::Permanent, 2), (DropReason::Exhausted, 2)]);
    pool.wait_idle();
    let told: Vec<_> = letters
        .events()
        .into_iter()
        .map(|letter| {
            let (first, last) = (letter.first_error.unwrap().to_string(), letter.last_error.unwrap().to_string());
            assert_eq!(first, last);
            (letter.event, letter.reason, letter.attempts, last)
        })
        .collect();
    let expected = [(1, DropReason::Permanent, "no 1"), (2, DropReason::Exhausted, "not yet 2")];
    let expected =
        expected.into_iter().chain([(4, DropReason::Permanent, "no 4"), (5, DropReason::Exhausted, "not yet 5")]);
    assert_eq!(told, expected.map(|(event, reason, why)| (event, reason, 1, why.to_owned())).collect::<Vec<_>>());
    still.queue.close(Shutdown::Drain).unwrap();
    dead.close(Shutdown::Drain).unwrap();
}

#[test]
fn a_retry_repeats_only_the_events_that_may_be_taken_later() {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let noted = calls.clone();
    let sink = batch_fn(move |events: &[&u64]| {
        let events: Vec<u64> = events.iter().copied().copied().collect();
        noted.lock().unwrap().push(events.clone());
        let attempt = noted.lock().unwrap().len();
        BatchError::check(events.into_iter().map(|event| if attempt > 2 { Ok(()) } else { refuse(event) }).collect())
    });
    let still = Still::new(sink.retrying(Breaker::new(1, SECOND)));
    still.send(0..3);
    still.advance(SECOND);
    still.send(3..6);
    assert_eq!(*calls.lock().unwrap(), [vec![0, 1, 2], vec![2]], "the next batch waits");
    still.advance(SECOND);
    assert_eq!(calls.lock().unwrap()[2..], [vec![2], vec![3, 4, 5]]);
    assert_ledger(&still.queue, 6, 5, &[(DropReason::Permanent, 1)]);
    still.queue.close(Shutdown::Drain).unwrap();
}

/// Takes the events that divide by three, and fails the others in a way that may pass.
fn thirds() -> impl Sink<[u64]> {
    batch_fn(|events: &[&u64]| {
        let outcome = |event: &&u64| if **event % 3 == 0 { Ok(()) } else { Err(Failure::transient("not yet")) };
        BatchError::check(events.iter().map(outcome).collect())
    })
}

#[test]
fn what_was_taken_is_delivered_while_the_rest_of_its_batch_is_retried_and_when_that_is_given_up() {
    for how in [Shutdown::Abort, Shutdown::Drain, Shutdown::within(Duration::ZERO)] {
        let still = Still::with(thirds().retrying(Breaker::new(1, SECOND)), |builder| builder.capacity(3));
        still.send(0..3);
        assert_ledger(&still.queue, 3, 1, &[]);
        still.queue.try_send(3).unwrap();
        assert!(still.queue.try_send(4).is_err(), "there was room for one");
        still.advance(SECOND);
        assert_ledger(&still.queue, 4, 1, &[]);
        let report = still.queue.close(how).unwrap();
        let delivered = if how == Shutdown::Drain { 2 } else { 1 };
        assert_eq!((report.abandoned(), report.in_flight()), (4 - delivered, 0), "{how:?}");
        assert_ledger(&still.queue, 4, delivered, &[(DropReason::Abandoned, 4 - delivered)]);
    }
}

#[test]
fn what_was_taken_is_delivered_also_if_the_next_attempt_panics_or_finds_the_sink_closed() {
    for (closes, reason) in [(true, DropReason::DestinationClosed), (false, DropReason::Panicked)] {
        let attempts = AtomicU64::new(0);
        let sink = batch_fn(move |events: &[&u64]| {
            if attempts.fetch_add(1, Ordering::AcqRel) > 0 {
                assert!(closes, "told to panic");
                return Err(WriteError::Closed);
            }
            BatchError::check(events.iter().map(|event| refuse(**event)).collect())
        });
        let still = Still::new(sink.retrying(Breaker::new(1, SECOND)));
        still.send(0..3);
        still.advance(SECOND);
        assert_ledger(&still.queue, 3, 1, &[(reason, 2)]);
        still.queue.close(Shutdown::Drain).unwrap();
    }
}

#[test]
fn a_retry_that_gives_up_leaves_each_event_its_outcome() {
    let sink = batch_fn(|events: &[&u64]| BatchError::check(events.iter().map(|event| refuse(**event)).collect()));
    let strategy = Breaker::new(9, SECOND).limited(RetryLimit::attempts(3));
    let still = Still::new(sink.retrying(strategy));
    still.send(0..3);
    assert_ledger(&still.queue, 3, 1, &[(DropReason::Permanent, 1), (DropReason::Exhausted, 1)]);
    still.queue.close(Shutdown::Drain).unwrap();
}

#[test]
fn what_a_sink_answers_without_outcomes_is_so_for_the_whole_batch() {
    type Answer = fn() -> WriteError;
    let table: [(Answer, DropReason); 5] = [
        (|| Failure::transient("down").into(), DropReason::Exhausted),
        (|| Failure::permanent("no").into(), DropReason::Permanent),
        (|| WriteError::Full, DropReason::Overflow),
        (|| WriteError::Closed, DropReason::DestinationClosed),
        // Of another number of events than these: nobody knows which.
        (|| BatchError::check(vec![Ok(()), Err(Failure::permanent("no"))]).unwrap_err(), DropReason::Permanent),
    ];
    for (answer, reason) in table {
        let still = Still::new(batch_fn(move |_: &[&u64]| Err(answer())));
        still.send(0..3);
        assert_ledger(&still.queue, 3, 0, &[(reason, 3)]);
        still.queue.close(Shutdown::Drain).unwrap();
    }
}

#[test]
fn a_sink_that_closes_closes_the_queue_and_what_waits_there_is_accounted_for() {
    let still = Still::new(batch_fn(|_: &[&u64]| Err(WriteError::Closed)));
    still.send(0..5);
    assert_ledger(&still.queue, 5, 0, &[(DropReason::DestinationClosed, 5)]);
    assert_closed(&still.queue.write(&9));
}

#[test]
fn a_panic_loses_its_batch_and_no_other() {
    let seen = Batches::default();
    let still = Still::new(Panicking::new(|events: &[u64]| events.contains(&4), seen.sink()));
    still.send(0..9);
    assert_eq!(seen.take(), [vec![0, 1, 2], vec![6, 7, 8]]);
    assert_ledger(&still.queue, 9, 6, &[(DropReason::Panicked, 3)]);
    still.queue.close(Shutdown::Drain).unwrap();
}

/// An event whose drop panics, once it is told to.
struct Bomb(Arc<AtomicU64>);

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(self.0.fetch_add(1, Ordering::AcqRel) != 1, "told to panic");
    }
}

#[test]
fn an_event_whose_drop_panics_keeps_no_other_from_its_end() {
    let (pool, _clock) = still_pool();
    let dropped = Arc::new(AtomicU64::new(0));
    let queue = Queue::batching(batch_fn(|_: &[&Bomb]| Ok(())), Batching::new(3, SECOND)).pool(&pool).build().unwrap();
    for _ in 0..3 {
        assert!(queue.send(Bomb(dropped.clone())).is_ok());
    }
    pool.wait_idle();
    assert_eq!(dropped.load(Ordering::Acquire), 3);
    assert_ledger(&queue, 3, 3, &[]);
}

#[test]
fn a_drain_offers_each_batch_once() {
    let sink = Arc::new(Failing::always(Batches::default().sink()));
    let still = Still::new(sink.clone().retrying(Breaker::new(1, SECOND)));
    still.send(0..5);
    let report = still.queue.close(Shutdown::Drain).unwrap();
    assert_eq!((sink.failures(), report.abandoned()), (3, 5), "once when it came, then once for each batch");
}

#[test]
fn a_bounded_queue_counts_what_is_in_the_batch() {
    let seen = Batches::default();
    let still = Still::with(seen.sink(), |builder| builder.capacity(3).overflow(Overflow::Reject));
    still.send(0..2);
    assert_eq!((still.queue.ledger().pending, seen.take().len()), (2, 0));
    let gate = common::stall(&still.pool);
    still.queue.send(2).unwrap();
    assert!(still.queue.send(3).is_err(), "two in the batch, one behind it");
    gate.open();
    still.pool.wait_idle();
    assert_eq!(seen.take(), [vec![0, 1, 2]]);
    still.send(4..6);
    still.queue.close(Shutdown::Drain).unwrap();
    assert_ledger(&still.queue, 5, 5, &[]);
    assert_eq!(still.queue.refused(), 1);
}

#[test]
fn the_oldest_event_that_a_full_queue_drops_is_none_of_the_batch() {
    let seen = Batches::default();
    let still = Still::with(seen.sink(), |builder| builder.capacity(3).overflow(Overflow::DropOldest));
    still.send(0..2);
    still.send(2..7);
    still.queue.close(Shutdown::Drain).unwrap();
    assert_eq!(seen.take(), [vec![0, 1, 6]]);
    assert_ledger(&still.queue, 7, 3, &[(DropReason::Overflow, 4)]);
}

#[test]
fn the_delivery_is_that_of_the_first_event() {
    struct Deliveries(Mutex<Vec<(u64, u32, bool)>>);
    impl Sink<[u64]> for Deliveries {
        fn try_write(&self, _: &[u64], delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
            let seen = (delivery.id().0, delivery.attempt(), delivery.accepted_at().is_some());
            self.0.lock().unwrap().push(seen);
            Ok(())
        }
        fn poll_close(
            &self,
            _: Shutdown,
            _: &std::task::Waker,
        ) -> std::task::Poll<Result<sinkworks::CloseReport, sinkworks::CloseError>> {
            std::task::Poll::Ready(Ok(sinkworks::CloseReport::new()))
        }
    }
    let sink = Arc::new(Deliveries(Mutex::default()));
    let failing = Failing::script([false, true], sink.clone()).retrying(Breaker::new(9, SECOND));
    let still = Still::with(failing, QueueBuilder::stamped);
    still.send(0..6);
    assert_eq!(*sink.0.lock().unwrap(), [(0, 1, true), (3, 2, true)]);
    still.queue.close(Shutdown::Drain).unwrap();
}

#[test]
fn receipts_tell_which_events_of_a_batch_were_delivered() {
    let (pool, _clock) = still_pool();
    let sink = batch_fn(|events: &[&Tracked<u64>]| {
        let outcomes: Vec<_> = events.iter().map(|event| refuse(***event)).collect();
        for (event, outcome) in events.iter().zip(&outcomes) {
            if outcome.is_ok() {
                event.acknowledge("table");
            }
        }
        BatchError::check(outcomes)
    });
    let queue = Queue::batching(sink, Batching::new(3, SECOND)).pool(&pool).build().unwrap();
    let receipts: Vec<_> = (0..3)
        .map(|event| {
            let (event, receipt) = Tracked::new(event);
            queue.send(event).unwrap();
            receipt
        })
        .collect();
    pool.wait_idle();
    let has = |outcome: Outcome| outcome.has("table");
    assert_eq!(receipts.iter().map(|receipt| has(receipt.wait().unwrap())).collect::<Vec<_>>(), [true, false, false]);
    queue.close(Shutdown::Drain).unwrap();
}

#[test]
fn concurrent_writers_and_a_close_lose_nothing_and_keep_their_order() {
    watched(|| {
        let seen = Batches::default();
        let pool = Pool::builder().threads(2).build().unwrap();
        let queue = Queue::batching(seen.sink(), Batching::new(7, MS)).capacity(50).pool(&pool).build().unwrap();
        let taken = AtomicU64::new(0);
        concurrently(5, |writer| {
            if writer == 4 {
                while taken.load(Ordering::Acquire) < 2000 {
                    std::thread::yield_now();
                }
                queue.close(Shutdown::within(60 * SECOND)).unwrap();
                return;
            }
            for number in 0..1000 {
                if queue.write(&(writer * 1000 + number)).is_err() {
                    break;
                }
                taken.fetch_add(1, Ordering::AcqRel);
            }
        });
        let batches = seen.take();
        assert!(batches.iter().all(|batch| (1..=7).contains(&batch.len())));
        let all: Vec<u64> = batches.into_iter().flatten().collect();
        let taken = taken.load(Ordering::Acquire);
        for writer in 0..4 {
            let own = all.iter().copied().filter(|event| event / 1000 == writer);
            assert!(own.clone().enumerate().all(|(place, event)| event % 1000 == place as u64), "each once, in order");
        }
        assert_ledger(&queue, taken, taken, &[]);
        assert_eq!(all.len() as u64, taken);
    });
}

#[test]
fn aborts_at_any_moment_leave_the_books_right() {
    watched(|| {
        for round in 0..200u64 {
            let delivered = Arc::new(AtomicU64::new(0));
            let count = delivered.clone();
            let sink = batch_fn(move |events: &[&u64]| {
                count.fetch_add(events.len() as u64, Ordering::AcqRel);
                Ok(())
            });
            let pool = Pool::builder().threads(1).build().unwrap();
            let queue = Queue::batching(sink, Batching::new(5, Duration::ZERO)).pool(&pool).build().unwrap();
            let mut reported = None;
            std::thread::scope(|scope| {
                let writer = scope.spawn(|| (0..300).take_while(|event| queue.send(*event).is_ok()).count());
                while queue.ledger().accepted < round {
                    std::hint::spin_loop();
                }
                reported = Some(queue.close(Shutdown::Abort).unwrap().component(queue.id().unwrap()).unwrap().ledger);
                writer.join().unwrap();
            });
            pool.wait_idle();
            let (ledger, reported) = (queue.ledger(), reported.unwrap());
            assert!(ledger.balances() && ledger.pending == 0, "{ledger:?}");
            assert_eq!(ledger.delivered, delivered.load(Ordering::Acquire));
            assert_eq!(ledger.accepted, reported.accepted);
            assert!((reported.delivered..=reported.delivered + reported.pending).contains(&ledger.delivered));
        }
    });
}

#[test]
fn options_that_make_no_sense_are_refused_by_name() {
    let build = |max, capacity: Option<u64>| {
        let builder = Queue::batching(batch_fn(|_: &[&u64]| Ok(())), Batching::new(max, SECOND));
        capacity.into_iter().fold(builder, QueueBuilder::capacity).build().err()
    };
    assert_eq!(build(0, None), Some(BuildError::Zero { option: "max_events" }));
    assert_eq!(build(5, Some(4)), Some(BuildError::Below { option: "capacity", other: "max_events" }));
    assert_eq!(build(5, Some(5)), None);
    let batches = || Queue::batching(batch_fn(|_: &[&u64]| Ok(())), Batching::new(5, SECOND));
    let option = "max_batch_bytes";
    let error = |builder: QueueBuilder<u64>| builder.build().err();
    assert_eq!(error(ten_bytes(batches())), None);
    assert_eq!(error(ten_bytes(batches()).max_batch_bytes(0)), Some(BuildError::Zero { option }));
    let below = BuildError::Below { option: "capacity_bytes", other: option };
    assert_eq!(error(ten_bytes(batches()).max_batch_bytes(101)), Some(below));
    let needs = |other| Some(BuildError::Needs { option, other });
    assert_eq!(error(batches().max_batch_bytes(10)), needs("capacity_bytes"));
    assert_eq!(error(ten_bytes(Queue::builder(Recording::new()))), needs("Queue::batching"));
    let queue = batch_fn(|_: &[&u64]| Ok(())).batched(0, Duration::MAX);
    queue.send(1).unwrap();
    queue.close(Shutdown::Drain).unwrap();
}

#[test]
fn a_batch_that_failed_names_how_many_and_the_first_reason() {
    let Err(WriteError::Failed(failure)) = BatchError::check((0..6).map(refuse).collect()) else { panic!("some fail") };
    assert_eq!(failure.to_string(), "4 of 6 events were not taken, the first since: no 1");
    let exhausted = || Err(Failure::transient("down").exhausted());
    let classes = [
        (vec![Ok(()), exhausted()], Class::Exhausted),
        (vec![exhausted(), refuse(1)], Class::Permanent),
        (vec![exhausted(), refuse(1), refuse(2)], Class::Transient),
    ];
    for (outcomes, class) in classes {
        let Err(WriteError::Failed(failure)) = BatchError::check(outcomes) else { panic!("some fail") };
        assert_eq!(failure.class(), class);
    }
    let later = |seconds| Err(Failure::transient("busy").with_retry_after(seconds * SECOND));
    let Err(WriteError::Failed(failure)) = BatchError::check(vec![later(1), later(3), refuse(2)]) else {
        panic!("all fail")
    };
    assert_eq!(failure.retry_after(), Some(3 * SECOND));
}

#[test]
fn its_options_are_seen_in_the_topology() {
    let _queue = batch_fn(|_: &[&u64]| Ok(())).batched(12, 5 * SECOND);
    let json = sinkworks::telemetry::topology().to_json();
    assert!(json.contains("\"max_events\":12") && json.contains("\"linger\":\"5s\""), "{json}");
}
