//! Drain, until, abort: what becomes of pending events, what is reported, and what user code that misbehaves cannot break.

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use common::{Bell, Desk, assert_books, assert_closed, assert_ledger, lone_worker, stall, still_pool, watched};
use sinkworks::test_util::{Blocking, Failing, Gate, ManualClock, Panicking, Recording};
use sinkworks::{
    Breaker, Broadcaster, Channel, CloseError, CloseReport, Delivery, DropReason, EventId, Failure, Journey, Pool,
    Queue, Shutdown, Sink, SinkExt, Wakers, WriteError, sink_fn,
};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// A queue before a sink that fails, held by a breaker, on a pool whose time stands still.
struct Held {
    queue: Queue<u64>,
    sink: Arc<Failing<Recording<u64>>>,
    seen: Recording<u64>,
    pool: Pool,
    clock: ManualClock,
}

/// With `n` events, of which the first has failed once.
fn held(n: u64) -> Held {
    let (pool, clock) = still_pool();
    let seen = Recording::new();
    let sink = Arc::new(Failing::always(seen.clone()));
    let retry = sink.clone().retrying(Breaker::new(1, 10 * SECOND));
    let queue = Queue::builder(retry).pool(&pool).build().unwrap();
    (0..n).for_each(|event| queue.send(event).unwrap());
    pool.wait_idle();
    assert_eq!(sink.failures(), 1);
    Held { queue, sink, seen, pool, clock }
}

#[test]
fn drain_attempts_each_pending_event_once_more_and_delivers_what_it_can() {
    let Held { queue, sink, seen, .. } = held(5);
    sink.set_failing(false);
    let report = queue.close(Shutdown::Drain).unwrap();
    assert_eq!(report.dropped(), 0);
    assert_eq!(seen.attempts(), [(0, 2), (1, 1), (2, 1), (3, 1), (4, 1)], "the breaker's time has not come");
    assert_ledger(&queue, 5, 5, &[]);
}

#[test]
fn drain_abandons_what_fails_then() {
    let Held { queue, sink, .. } = held(5);
    let report = queue.close(Shutdown::Drain).unwrap();
    assert_eq!((report.abandoned(), report.dropped(), sink.failures()), (5, 5, 1 + 5));
    assert_ledger(&queue, 5, 0, &[(DropReason::Abandoned, 5)]);
}

#[test]
fn until_retries_as_usual_and_ends_as_soon_as_everything_is_delivered() {
    let Held { queue, sink, seen, pool, clock } = held(5);
    let deadline = Shutdown::Until(clock.clock().now() + 100 * SECOND);
    let (bell, waker) = Bell::new();
    assert!(queue.poll_close(deadline, &waker).is_pending());
    for round in 1..=3 {
        pool.wait_idle();
        assert_eq!((sink.failures(), bell.rung()), (round, 0), "one probe for each backoff");
        clock.advance(10 * SECOND);
    }
    pool.wait_idle();
    sink.set_failing(false);
    clock.advance(10 * SECOND);
    pool.wait_idle();
    assert_eq!((seen.len(), bell.rung()), (5, 1), "long before the deadline");
    assert!(queue.poll_close(deadline, &waker).is_ready());
    assert_ledger(&queue, 5, 5, &[]);
}

#[test]
fn until_becomes_an_abort_at_its_time() {
    let Held { queue, sink, pool, clock, .. } = held(5);
    let deadline = Shutdown::Until(clock.clock().now() + 15 * SECOND);
    let (bell, waker) = Bell::new();
    assert!(queue.poll_close(deadline, &waker).is_pending());
    clock.advance(14_999 * MS);
    pool.wait_idle();
    assert_eq!((sink.failures(), bell.rung()), (2, 0));
    clock.advance(MS);
    pool.wait_idle();
    assert_eq!((sink.failures(), bell.rung()), (2, 1), "nothing is attempted at the deadline");
    let Poll::Ready(Ok(report)) = queue.poll_close(deadline, &waker) else { panic!("it has ended") };
    assert_eq!(report.abandoned(), 5);
    assert_ledger(&queue, 5, 0, &[(DropReason::Abandoned, 5)]);
}

#[test]
fn until_a_time_that_has_passed_is_an_abort() {
    let Held { queue, sink, clock, .. } = held(5);
    let deadline = Shutdown::Until(clock.clock().now());
    assert_eq!(queue.close(deadline).unwrap().abandoned(), 5);
    assert_eq!(sink.failures(), 1);
    assert_ledger(&queue, 5, 0, &[(DropReason::Abandoned, 5)]);
}

#[test]
fn an_earlier_deadline_counts_whoever_gave_it_and_a_later_one_does_not() {
    for order in [[20, 100], [100, 20]] {
        let Held { queue, pool, clock, .. } = held(5);
        let now = clock.clock().now();
        let (bell, waker) = Bell::new();
        for seconds in order {
            assert!(queue.poll_close(Shutdown::Until(now + seconds * SECOND), &waker).is_pending());
        }
        pool.wait_idle();
        clock.advance(19_999 * MS);
        pool.wait_idle();
        assert_eq!(bell.rung(), 0);
        clock.advance(MS);
        pool.wait_idle();
        assert_eq!(bell.rung(), 1, "{order:?}");
        assert_ledger(&queue, 5, 0, &[(DropReason::Abandoned, 5)]);
    }
}

#[test]
fn a_shutdown_only_ever_gets_stricter() {
    let now = Instant::now();
    let (soon, late) = (Shutdown::Until(now), Shutdown::Until(now + SECOND));
    let ascending = [Shutdown::Drain, late, soon, Shutdown::Abort];
    for (i, a) in ascending.into_iter().enumerate() {
        for (j, b) in ascending.into_iter().enumerate() {
            assert_eq!(a.escalate(b), ascending[i.max(j)]);
            assert_eq!(a.cmp(&b), i.cmp(&j));
        }
    }

    // Of a queue: an until during a drain is a deadline for it, a drain during an until changes nothing.
    let (pool, clock) = still_pool();
    let desk = Desk::default();
    let queue = Queue::builder(desk.clone().retrying(Breaker::new(1, SECOND))).pool(&pool).build().unwrap();
    queue.send(0u64).unwrap();
    pool.wait_idle();
    let (bell, waker) = Bell::new();
    assert!(queue.poll_close(Shutdown::Until(clock.clock().now() + SECOND), &waker).is_pending());
    assert!(queue.poll_close(Shutdown::Drain, &waker).is_pending());
    pool.wait_idle();
    assert_eq!(bell.rung(), 0, "a drain would have made the last offer");
    desk.serve(1);
    pool.wait_idle();
    assert_eq!(bell.rung(), 1);
    assert_ledger(&queue, 1, 1, &[]);
}

#[test]
fn an_abort_overtakes_a_drain_that_is_stuck_in_the_sink() {
    watched(|| {
        let (gate, seen) = (Gate::new(), Recording::new());
        let pool = lone_worker();
        let queue = Queue::builder(Blocking::new(gate.clone(), seen.clone())).pool(&pool).build().unwrap();
        (0..5).for_each(|event: u64| queue.send(event).unwrap());
        gate.wait_for(1);
        let (bell, waker) = Bell::new();
        assert!(queue.poll_close(Shutdown::Drain, &waker).is_pending());
        let report = queue.close(Shutdown::Abort).unwrap();
        assert_eq!((report.abandoned(), report.in_flight(), bell.rung()), (4, 1, 1));
        assert_books(&report.component(queue.id().unwrap()).unwrap().ledger, 5, 0, &[(DropReason::Abandoned, 4)]);
        assert_eq!(seen.closes(), 1, "the destination is told at once");
        gate.open();
        pool.wait_idle();
        // The ledger goes on to tell what became of it: it came to a sink that was closed.
        assert_ledger(&queue, 5, 0, &[(DropReason::Abandoned, 4), (DropReason::DestinationClosed, 1)]);
        assert_eq!(queue.close(Shutdown::Drain).unwrap().in_flight(), 1, "the report stays as it was");
    });
}

#[test]
fn an_event_in_flight_at_an_abort_that_arrives_after_all_is_delivered_in_the_ledger() {
    watched(|| {
        let gate = Gate::new();
        let pool = lone_worker();
        let sink = {
            let gate = gate.clone();
            sink_fn(move |_: &u64| {
                gate.pass();
                Ok(())
            })
        };
        let queue = Queue::builder(sink).pool(&pool).build().unwrap();
        (0..5).for_each(|event| queue.send(event).unwrap());
        gate.wait_for(1);
        assert_eq!(queue.close(Shutdown::Abort).unwrap().in_flight(), 1);
        gate.open();
        pool.wait_idle();
        assert_ledger(&queue, 5, 1, &[(DropReason::Abandoned, 4)]);
    });
}

#[test]
fn an_abort_of_a_queue_whose_events_are_not_in_flight_counts_none_as_such() {
    let (pool, _clock) = still_pool();
    let gate = stall(&pool);
    let queue = Queue::builder(Recording::new()).pool(&pool).build().unwrap();
    (0..5).for_each(|event: u64| queue.send(event).unwrap());
    let report = queue.close(Shutdown::Abort).unwrap();
    assert_eq!((report.abandoned(), report.in_flight()), (5, 0));
    gate.open();
    pool.wait_idle();
    assert_ledger(&queue, 5, 0, &[(DropReason::Abandoned, 5)]);
}

/// An event whose drop stands at a gate.
struct HeldDrop(Gate);

impl Drop for HeldDrop {
    fn drop(&mut self) {
        self.0.pass();
    }
}

impl Clone for HeldDrop {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[test]
fn an_abort_while_a_delivered_event_is_being_dropped_attempts_nothing_more() {
    watched(|| {
        let (gate, pool) = (Gate::new(), lone_worker());
        let queue = Queue::builder(sink_fn(|_: &HeldDrop| Ok(()))).pool(&pool).build().unwrap();
        queue.send(HeldDrop(gate.clone())).unwrap();
        gate.wait_for(1);
        let open = Gate::new();
        open.open();
        (0..4).for_each(|_| queue.send(HeldDrop(open.clone())).unwrap());
        let report = queue.close(Shutdown::Abort).unwrap();
        gate.open();
        pool.wait_idle();
        assert_ledger(&queue, 5, 1, &[(DropReason::Abandoned, 4)]);
        // The closer cannot tell whether the turn that runs is about to offer the next one: the report may leave that one undecided.
        assert_eq!(report.abandoned() + report.in_flight(), 4);
        assert!(report.in_flight() <= 1);
    });
}

#[test]
fn each_waiter_obeys_its_own_deadline() {
    watched(|| {
        let gate = Gate::new();
        let queue = Queue::new(Blocking::new(gate.clone(), Recording::new()));
        queue.send(0u64).unwrap();
        gate.wait_for(1);
        let began = Instant::now();
        let patient = thread::spawn({
            let queue = queue.clone();
            move || queue.close(Shutdown::within(3600 * SECOND))
        });
        let hasty = thread::spawn({
            let queue = queue.clone();
            move || queue.close(Shutdown::within(20 * MS))
        });
        // The deadline of one aborts for both.
        for closer in [hasty, patient] {
            assert_eq!(closer.join().unwrap().unwrap().in_flight(), 1);
        }
        assert!(began.elapsed() < 10 * SECOND, "{:?}", began.elapsed());
        gate.open();
    });
}

/// A leaf that says it is closed only when told to.
#[derive(Clone, Default)]
struct SlowToClose(Arc<(AtomicBool, Wakers, AtomicU64)>);

impl SlowToClose {
    fn finish(&self) {
        self.0.0.store(true, Ordering::Release);
        self.0.1.wake_all();
    }

    /// Waits until it has answered `n` times that it is not closed.
    fn wait_for_closers(&self, n: u64) {
        while self.0.2.load(Ordering::Acquire) < n {
            thread::yield_now();
        }
    }
}

impl Sink<u64> for SlowToClose {
    fn try_write(&self, _: &u64, _: &mut Delivery<'_>) -> Result<(), WriteError> {
        Ok(())
    }
    fn poll_close(&self, _: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.0.1.register(waker);
        if self.0.0.load(Ordering::Acquire) {
            return Poll::Ready(Ok(CloseReport::new()));
        }
        self.0.2.fetch_add(1, Ordering::AcqRel);
        Poll::Pending
    }
}

#[test]
fn a_destination_that_never_closes_costs_its_closer_the_deadline_and_no_more() {
    watched(|| {
        let (slow, pool) = (SlowToClose::default(), lone_worker());
        let queue = Queue::builder(slow.clone()).pool(&pool).build().unwrap();
        queue.send(0).unwrap();
        let began = Instant::now();
        assert!(matches!(queue.close(Shutdown::within(20 * MS)), Err(CloseError::TimedOut)));
        assert!(began.elapsed() >= 20 * MS && began.elapsed() < 10 * SECOND, "{:?}", began.elapsed());
        // It closes in the end, for those who still wait.
        let (bell, waker) = Bell::new();
        assert!(queue.poll_close(Shutdown::Drain, &waker).is_pending());
        slow.finish();
        pool.wait_idle();
        assert_eq!(bell.rung(), 1);
        assert_ledger(&queue, 1, 1, &[]);
        assert_eq!(queue.close(Shutdown::Drain).unwrap().dropped(), 0);
    });
}

#[test]
fn an_abort_ends_with_its_destination_though_another_branch_is_stuck_in_a_write() {
    watched(|| {
        let (gate, slow) = (Gate::new(), SlowToClose::default());
        let broadcaster = Broadcaster::new();
        broadcaster.add(slow.clone()).unwrap();
        broadcaster.add(Blocking::new(gate.clone(), Recording::new())).unwrap();
        let queue = Queue::new(broadcaster);
        queue.send(0).unwrap();
        gate.wait_for(1);
        let closer = thread::spawn({
            let queue = queue.clone();
            move || queue.close(Shutdown::Abort)
        });
        slow.wait_for_closers(1);
        slow.finish();
        assert_eq!(closer.join().unwrap().unwrap().in_flight(), 1);
        gate.open();
    });
}

#[test]
fn the_last_handle_to_go_drains_in_the_background() {
    let Held { queue, sink, seen, pool, .. } = held(5);
    sink.set_failing(false);
    drop(queue);
    pool.wait_idle();
    assert_eq!((seen.len(), seen.closes()), (5, 1));
}

#[test]
fn the_last_handle_to_go_does_not_soften_a_close_that_has_begun() {
    let Held { queue, sink, seen, pool, clock } = held(5);
    let deadline = Shutdown::Until(clock.clock().now() + 100 * SECOND);
    assert!(queue.poll_close(deadline, Waker::noop()).is_pending());
    drop(queue);
    pool.wait_idle();
    assert_eq!((sink.failures(), seen.closes()), (1, 0), "still until the deadline");
    sink.set_failing(false);
    clock.advance(10 * SECOND);
    pool.wait_idle();
    assert_eq!((seen.len(), seen.closes()), (5, 1));
}

#[test]
fn a_pool_lives_until_its_last_queue_has_drained() {
    watched(|| {
        let (gate, (tell, told)) = (Gate::new(), mpsc::channel());
        let pool = lone_worker();
        let sink = {
            let gate = gate.clone();
            sink_fn(move |event: &u64| {
                gate.pass();
                tell.send(*event).unwrap();
                Ok(())
            })
        };
        let queue = Queue::builder(sink).pool(&pool).build().unwrap();
        (0..5).for_each(|event| queue.send(event).unwrap());
        drop(pool);
        drop(queue);
        gate.open();
        assert!(told.iter().eq(0..5), "and then the sink is dropped");
    });
}

/// A leaf whose close goes wrong.
enum BadClose {
    Fails,
    Panics,
}

impl Sink<u64> for BadClose {
    fn try_write(&self, _: &u64, _: &mut Delivery<'_>) -> Result<(), WriteError> {
        Ok(())
    }
    fn poll_close(&self, _: Shutdown, _: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        match self {
            Self::Fails => Poll::Ready(Err(CloseError::Failed(Failure::permanent("no flush")))),
            Self::Panics => panic!("told to panic"),
        }
    }
}

#[test]
fn a_sink_that_fails_to_close_is_named_in_the_report_of_its_queue() {
    for how in [Shutdown::Drain, Shutdown::Abort] {
        let queue = Queue::new(BadClose::Fails);
        let report = queue.close(how).unwrap();
        assert!(matches!(report.errors(), [(None, CloseError::Failed(_))]), "{report:?}");
        let queue = Queue::new(BadClose::Panics);
        let report = queue.close(how).unwrap();
        assert!(matches!(report.errors(), [(None, CloseError::Panicked)]), "{report:?}");
        assert_ledger(&queue, 0, 0, &[]);
    }
}

#[test]
fn a_sink_that_fails_to_close_does_not_keep_a_broadcaster_from_closing_the_others() {
    let broadcaster = Broadcaster::new();
    let seen = Recording::new();
    let fails = broadcaster.add(BadClose::Fails).unwrap();
    let panics = broadcaster.add(BadClose::Panics).unwrap();
    let queue = Queue::new(seen.clone());
    broadcaster.add(queue.clone()).unwrap();
    broadcaster.write(&0).unwrap();
    let report = broadcaster.close(Shutdown::Drain).unwrap();
    assert_eq!((seen.len(), seen.closes()), (1, 1));
    let ids: Vec<_> = report.errors().iter().map(|(id, _)| id.unwrap()).collect();
    assert_eq!(ids, [fails, panics]);
    assert!(matches!(report.errors()[0].1, CloseError::Failed(_)));
    assert!(matches!(report.errors()[1].1, CloseError::Panicked));
    assert_eq!(report.components().count(), 1);
    assert_ledger(&queue, 1, 1, &[]);
}

#[test]
fn a_panicking_sink_loses_the_event_it_panicked_over_and_no_other() {
    let (pool, _clock) = still_pool();
    let seen = Recording::new();
    let sink = Panicking::new(|event: &u64| *event == 1, seen.clone());
    let queue = Queue::builder(sink).pool(&pool).build().unwrap();
    (0..3).for_each(|event| queue.send(event).unwrap());
    assert_eq!(queue.close(Shutdown::Drain).unwrap().dropped(), 1);
    assert_eq!(seen.events(), [0, 2]);
    assert_ledger(&queue, 3, 2, &[(DropReason::Panicked, 1)]);
    assert_eq!(pool.stats().panics, 0, "caught where the sink is called");
}

/// An event that panics when it is dropped, if it is told to, and counts its drops.
struct Bomb(bool, Arc<AtomicU64>);

impl Drop for Bomb {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::AcqRel);
        assert!(!self.0 || thread::panicking(), "told to panic");
    }
}

fn bombs(n: u64) -> (Vec<Bomb>, Arc<AtomicU64>) {
    let drops = Arc::new(AtomicU64::new(0));
    ((0..n).map(|index| Bomb(index % 2 == 0, drops.clone())).collect(), drops)
}

#[test]
fn an_event_whose_drop_panics_is_delivered_and_the_queue_goes_on() {
    watched(|| {
        let pool = lone_worker();
        let queue = Queue::builder(sink_fn(|_: &Bomb| Ok(()))).pool(&pool).build().unwrap();
        let (events, drops) = bombs(10);
        for event in events {
            queue.send(event).unwrap();
        }
        pool.wait_idle();
        assert_eq!(drops.load(Ordering::Acquire), 10);
        assert_ledger(&queue, 10, 10, &[]);
        let stats = pool.stats();
        assert_eq!((stats.panics, stats.threads), (5, 1), "the worker has survived and counted");
        assert_eq!(queue.close(Shutdown::Drain).unwrap().dropped(), 0);
    });
}

impl Clone for Bomb {
    fn clone(&self) -> Self {
        panic!("a bomb cannot be cloned")
    }
}

#[test]
fn events_whose_drop_panics_cannot_wedge_an_abort() {
    watched(|| {
        let pool = lone_worker();
        let gate = stall(&pool);
        let queue = Queue::builder(sink_fn(|_: &Bomb| Ok(()))).pool(&pool).build().unwrap();
        let (events, drops) = bombs(10);
        for event in events {
            queue.send(event).unwrap();
        }
        let report = queue.close(Shutdown::Abort).unwrap();
        assert_eq!(drops.load(Ordering::Acquire), 10);
        assert_eq!((report.abandoned(), report.in_flight()), (10, 0));
        assert_eq!(queue.close(Shutdown::Abort).unwrap().abandoned(), 10);
        gate.open();
        pool.wait_idle();
        assert_ledger(&queue, 10, 0, &[(DropReason::Abandoned, 10)]);
    });
}

#[test]
fn events_whose_drop_panics_cannot_wedge_an_abort_on_the_worker() {
    watched(|| {
        let (pool, clock) = still_pool();
        let queue = Queue::builder(Desk::default()).pool(&pool).build().unwrap();
        let (events, drops) = bombs(10);
        for event in events {
            queue.send(event).unwrap();
        }
        pool.wait_idle();
        let (bell, waker) = Bell::new();
        let until = Shutdown::Until(clock.clock().now() + SECOND);
        assert!(queue.poll_close(until, &waker).is_pending());
        clock.advance(SECOND);
        pool.wait_idle();
        assert_eq!((drops.load(Ordering::Acquire), bell.rung()), (10, 1));
        assert_ledger(&queue, 10, 0, &[(DropReason::Abandoned, 10)]);
    });
}

#[test]
fn events_whose_drop_panics_cannot_keep_a_receiver_that_goes_from_counting_the_others() {
    let (channel, receiver) = Channel::unbounded();
    let (events, drops) = bombs(10);
    for event in events {
        channel.send(event).unwrap();
    }
    drop(receiver);
    assert_eq!(drops.load(Ordering::Acquire), 10);
    assert_books(&channel.ledger(), 10, 0, &[(DropReason::DestinationClosed, 10)]);
}

#[test]
fn a_clone_that_panics_takes_no_place_with_it() {
    watched(|| {
        let pool = lone_worker();
        let gate = stall(&pool);
        let queue = Queue::builder(sink_fn(|_: &Bomb| Ok(()))).pool(&pool).capacity(1).build().unwrap();
        let (events, _) = bombs(2);
        let write = || std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| queue.write(&events[1])));
        assert!((0..5).all(|_| write().is_err()));
        assert_ledger(&queue, 0, 0, &[]);
        // In a broadcast it is one sink's loss.
        let (broadcaster, all) = (Broadcaster::new(), Arc::new(AtomicU64::new(0)));
        broadcaster.add(queue.clone()).unwrap();
        let count = all.clone();
        broadcaster
            .add(sink_fn(move |_: &Bomb| {
                count.fetch_add(1, Ordering::AcqRel);
                Ok(())
            }))
            .unwrap();
        broadcaster.write(&events[1]).unwrap();
        assert_eq!((broadcaster.lost()[DropReason::Panicked], all.load(Ordering::Acquire)), (1, 1));
        let mut events = events.into_iter();
        std::mem::forget(events.next());
        queue.send(events.next().unwrap()).unwrap();
        assert_ledger(&queue, 1, 0, &[]);
        gate.open();
        queue.close(Shutdown::Drain).unwrap();
        assert_ledger(&queue, 1, 1, &[]);
    });
}

/// A state that panics when it is dropped.
struct SavedBomb;

impl Drop for SavedBomb {
    fn drop(&mut self) {
        assert!(thread::panicking(), "told to panic");
    }
}

struct SavesBombs;

impl Sink<u64> for SavesBombs {
    fn try_write(&self, _: &u64, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        delivery.save(SavedBomb);
        Err(WriteError::not_ready_until_woken())
    }
    fn poll_close(&self, _: Shutdown, _: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        Poll::Ready(Ok(CloseReport::new()))
    }
}

#[test]
fn a_saved_state_whose_drop_panics_does_not_lose_the_event() {
    for how in [Shutdown::Drain, Shutdown::Abort] {
        watched(move || {
            let (pool, _clock) = still_pool();
            let queue = Queue::builder(SavesBombs).pool(&pool).build().unwrap();
            (0..3).for_each(|event| queue.send(event).unwrap());
            pool.wait_idle();
            let report = queue.close(how).unwrap();
            assert_eq!((report.dropped(), report.in_flight()), (3, 0));
            // In the drain's last offer of the first event the sink saves again, and what it saved before panics inside its write.
            let panicked = u64::from(how == Shutdown::Drain);
            assert_ledger(&queue, 3, 0, &[(DropReason::Panicked, panicked), (DropReason::Abandoned, 3 - panicked)]);
        });
    }
}

#[derive(Debug)]
struct ErrorBomb;

impl Drop for ErrorBomb {
    fn drop(&mut self) {
        panic!("an error that does not go quietly");
    }
}

impl std::fmt::Display for ErrorBomb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no")
    }
}

impl std::error::Error for ErrorBomb {}

#[test]
fn an_error_whose_drop_panics_does_not_lose_the_event() {
    watched(|| {
        let (pool, _clock) = still_pool();
        let sink = sink_fn(|_: &u64| Err(WriteError::Failed(Failure::permanent(ErrorBomb))));
        let queue = Queue::builder(sink).pool(&pool).build().unwrap();
        (0..3).for_each(|event| queue.send(event).unwrap());
        pool.wait_idle();
        assert_ledger(&queue, 3, 0, &[(DropReason::Permanent, 3)]);
        queue.close(Shutdown::Drain).unwrap();
    });
}

struct WakeBomb;

impl std::task::Wake for WakeBomb {
    fn wake(self: Arc<Self>) {
        panic!("a writer that does not want to be woken");
    }
}

#[test]
fn a_waker_that_panics_keeps_no_other_writer_waiting_and_no_close() {
    watched(|| {
        let gate = Gate::new();
        let (pool, door) = (lone_worker(), gate.clone());
        let sink = sink_fn(move |_: &u64| {
            door.pass();
            Err(WriteError::Closed)
        });
        let queue = Queue::builder(sink).pool(&pool).capacity(1).build().unwrap();
        queue.send(0).unwrap();
        gate.wait_for(1);
        let bomb = std::task::Waker::from(Arc::new(WakeBomb));
        let clock = ManualClock::new().clock();
        let mut delivery = Delivery::resume_with(&bomb, &clock, EventId(1), Journey::default());
        assert!(matches!(queue.try_write(&1, &mut delivery), Err(WriteError::NotReady(_))));
        std::thread::scope(|threads| {
            let other = threads.spawn(|| queue.write(&2));
            gate.open();
            assert_closed(&other.join().unwrap());
        });
        pool.wait_idle();
        assert_ledger(&queue, 1, 0, &[(DropReason::DestinationClosed, 1)]);
        queue.close(Shutdown::Drain).unwrap();
    });
}

#[test]
fn a_closed_channel_reports_what_is_buffered_as_pending_and_a_dropped_receiver_drops_it() {
    let (channel, receiver) = Channel::unbounded();
    (0..5).for_each(|event| channel.send(event).unwrap());
    let report = channel.close(Shutdown::Abort).unwrap();
    let id = channel.id().unwrap();
    assert_books(&report.component(id).unwrap().ledger, 5, 0, &[]);
    assert_eq!(receiver.try_recv(), Ok(0));
    drop(receiver);
    assert_books(&channel.ledger(), 5, 1, &[(DropReason::DestinationClosed, 4)]);
    assert_closed(&channel.write(&5));
}
