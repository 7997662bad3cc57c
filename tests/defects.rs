//! One test for each defect of docker/go-events that DESIGN.md (contract 5) promises not to copy, in its order.

mod common;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use common::{Bell, Desk, assert_books, assert_closed, assert_ledger, concurrently, offer, still_pool, watched};
use sinkworks::test_util::{Blocking, Failing, Gate, ManualClock, Panicking, Recording};
use sinkworks::{
    Breaker, BreakerState, Broadcaster, Channel, Class, CloseError, CloseReport, Delivery, DropReason, EventId,
    ExponentialBackoff, Failure, Filter, Journey, Overflow, Pool, Proceed, Queue, RetryStrategy, RetryingSink,
    Shutdown, Sink, SinkExt, Verdict, WriteError, sink_fn,
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn defect_01_an_eviction_during_a_write_neither_skips_a_sink_nor_repeats_one() {
    for evicted in 0..4 {
        let broadcaster = Broadcaster::new();
        let sinks: Vec<Recording<u64>> = (0..4).map(|_| Recording::new()).collect();
        for sink in &sinks {
            broadcaster.add(sink.clone()).unwrap();
        }
        Sink::<u64>::close(&sinks[evicted], Shutdown::Drain).unwrap();
        broadcaster.write(&1).unwrap();
        broadcaster.write(&2).unwrap();
        for (index, sink) in sinks.iter().enumerate() {
            let expected: &[u64] = if index == evicted { &[] } else { &[1, 2] };
            assert_eq!(sink.events(), expected, "sink {index} when {evicted} is evicted");
        }
        assert_eq!((broadcaster.len(), broadcaster.evictions()), (3, 1));
        assert_eq!(broadcaster.lost()[DropReason::DestinationClosed], 1, "counted once, then gone");
    }
}

#[test]
fn defect_02_a_slow_sink_holds_up_no_add_no_remove_and_behind_a_queue_no_write() {
    watched(|| {
        let (slow, seen, other) = (Recording::new(), Recording::new(), Recording::new());
        let gate = Gate::new();
        let broadcaster = Arc::new(Broadcaster::new());
        let stuck = Arc::new(Blocking::new(gate.clone(), slow.clone()));
        broadcaster.add(stuck.clone()).unwrap();
        let writer = thread::spawn({
            let broadcaster = broadcaster.clone();
            move || broadcaster.write(&0)
        });
        gate.wait_for(1);
        // The writer stands inside the sink.
        broadcaster.add(seen.clone()).unwrap();
        assert!(broadcaster.remove(&stuck).unwrap());
        broadcaster.write(&1).unwrap();
        assert_eq!(seen.events(), [1]);

        // Behind a queue the sink may stay in the list.
        let queue = Queue::new(stuck);
        broadcaster.add(queue.clone()).unwrap();
        broadcaster.add(other.clone()).unwrap();
        for event in 2..100 {
            broadcaster.write(&event).unwrap();
        }
        assert!(other.events().into_iter().eq(2..100));
        assert!(slow.is_empty());
        gate.open();
        writer.join().unwrap().unwrap();
        queue.close(Shutdown::Drain).unwrap();
        assert_eq!(slow.len(), 99, "0 on the writer's thread and 2..100 through the queue");
        assert_ledger(&queue, 98, 98, &[]);
    });
}

/// A leaf that calls `act` for each event, and a slot for what it acts on.
fn acting<T: Send + Sync + 'static>(
    act: impl Fn(&T, u64) + Send + Sync + 'static,
) -> (impl Sink<u64> + 'static, Arc<OnceLock<T>>) {
    let slot = Arc::new(OnceLock::<T>::new());
    let on = slot.clone();
    let leaf = sink_fn(move |event: &u64| {
        act(on.get().expect("set before the first write"), *event);
        Ok(())
    });
    (leaf, slot)
}

#[test]
fn defect_03_a_sink_may_write_add_remove_and_close_on_its_own_broadcaster() {
    watched(|| {
        let (late, seen) = (Recording::new(), Recording::new());
        let closed = Arc::new(AtomicU64::new(0));
        let (leaf, slot) = acting({
            let (late, seen, closed) = (late.clone(), seen.clone(), closed.clone());
            move |broadcaster: &Arc<Broadcaster<u64>>, event| match event {
                0 => broadcaster.write(&100).unwrap(),
                1 => drop(broadcaster.add(late.clone()).unwrap()),
                2 => assert!(broadcaster.remove(&seen).unwrap()),
                3 => {
                    broadcaster.close(Shutdown::Drain).unwrap();
                    closed.fetch_add(1, Ordering::AcqRel);
                }
                _ => {}
            }
        });
        let broadcaster = Arc::new(Broadcaster::new());
        assert!(slot.set(broadcaster.clone()).is_ok());
        broadcaster.add(leaf).unwrap();
        broadcaster.add(seen.clone()).unwrap();

        broadcaster.write(&0).unwrap();
        assert_eq!(seen.events(), [100, 0]);
        broadcaster.write(&1).unwrap();
        assert!(late.is_empty(), "added during a write, it gets the next");
        broadcaster.write(&2).unwrap();
        assert_eq!(seen.events(), [100, 0, 1, 2], "removed during a write, it still gets that one");
        broadcaster.write(&3).unwrap();
        assert_eq!(closed.load(Ordering::Acquire), 1);
        assert_eq!(late.events(), [2], "closed before the event's turn came to it");
        assert_closed(&broadcaster.write(&4));
        assert_eq!(broadcaster.lost()[DropReason::Panicked], 0, "no assertion above was swallowed");
    });
}

#[test]
fn defect_03_a_sink_may_write_to_its_own_queue_and_close_it() {
    watched(|| {
        let (tell, told) = mpsc::channel();
        let (leaf, slot) = acting(move |queue: &Queue<u64>, event| match event {
            0 => queue.write(&1).unwrap(),
            1 => {
                for how in [Shutdown::Drain, Shutdown::within(SECOND)] {
                    tell.send(queue.close(how).map(drop)).unwrap();
                }
                assert_closed(&queue.write(&2));
            }
            _ => {}
        });
        let queue = Queue::new(leaf);
        assert!(slot.set(queue.clone()).is_ok());
        queue.write(&0).unwrap();
        for _ in 0..2 {
            assert!(matches!(told.recv().unwrap(), Err(CloseError::OnWorker)));
        }
        // The close has begun there and is waited for here.
        let report = queue.close(Shutdown::Drain).unwrap();
        assert_books(&report.component(queue.id().unwrap()).unwrap().ledger, 2, 2, &[]);
    });
}

#[test]
fn defect_03_a_sink_may_abort_its_own_queue() {
    watched(|| {
        let (tell, told) = mpsc::channel();
        let entered = Gate::new();
        let (leaf, slot) = acting({
            let entered = entered.clone();
            move |queue: &Queue<u64>, _| {
                entered.pass();
                tell.send(queue.close(Shutdown::Abort)).unwrap();
            }
        });
        let queue = Queue::new(leaf);
        assert!(slot.set(queue.clone()).is_ok());
        for event in 0..10 {
            queue.write(&event).unwrap();
        }
        entered.open();
        let report = told.recv().unwrap().expect("an abort needs no worker");
        assert_eq!((report.abandoned(), report.in_flight()), (9, 1));
        assert_eq!(queue.close(Shutdown::Drain).unwrap().in_flight(), 1, "the report is the first one's");
    });
}

#[test]
fn defect_03_a_sink_behind_a_queue_may_close_the_broadcaster_that_feeds_it() {
    watched(|| {
        let (tell, told) = mpsc::channel();
        let (leaf, slot) = acting(move |broadcaster: &Arc<Broadcaster<u64>>, _| {
            tell.send(broadcaster.close(Shutdown::Drain).map(drop)).unwrap();
        });
        let broadcaster = Arc::new(Broadcaster::new());
        assert!(slot.set(broadcaster.clone()).is_ok());
        let queue = Queue::new(leaf);
        broadcaster.add(queue.clone()).unwrap();
        broadcaster.write(&0).unwrap();
        assert!(matches!(told.recv().unwrap(), Err(CloseError::OnWorker)));
        broadcaster.close(Shutdown::Drain).unwrap();
        assert_ledger(&queue, 1, 1, &[]);
    });
}

#[test]
fn defect_04_close_returns_by_its_deadline_though_the_destination_fails_for_ever() {
    fn failing_for_ever(strategy: impl RetryStrategy + 'static) {
        let queue =
            Queue::new(Failing::always(Recording::new()).retrying(strategy).filtered(|event: &u64| event % 2 == 0));
        let fanned = Broadcaster::new();
        fanned.add(queue.clone()).unwrap();
        for event in 1..=10 {
            fanned.write(&event).unwrap();
        }
        let began = Instant::now();
        let report = fanned.close(Shutdown::within(50 * MS)).unwrap();
        let took = began.elapsed();
        assert!(took >= 50 * MS, "it goes on trying until the deadline, not {took:?}");
        // For ever is what must not be; a machine may well stop for seconds.
        assert!(took < 10 * SECOND, "{took:?}");
        assert_eq!((report.abandoned(), report.dropped(), report.in_flight()), (9, 9, 0));
        assert_ledger(&queue, 10, 1, &[(DropReason::Abandoned, 9)]);
    }
    watched(|| failing_for_ever(Breaker::new(1, Duration::from_secs(3600))));
    watched(|| failing_for_ever(Breaker::new(3, MS)));
    watched(|| failing_for_ever(Breaker::new(u32::MAX, MS)));
    watched(|| failing_for_ever(ExponentialBackoff::new(MS, MS, 5 * MS)));
}

#[test]
fn defect_04_drain_gives_each_event_one_attempt_and_waits_for_no_backoff() {
    watched(|| {
        let sink = Arc::new(Failing::always(Recording::new()).retrying(Breaker::new(1, Duration::from_secs(3600))));
        let pool = Pool::dedicated("test").unwrap();
        let queue = Queue::builder(sink.clone()).pool(&pool).build().unwrap();
        for event in 0..10 {
            queue.send(event).unwrap();
        }
        pool.wait_idle();
        assert_eq!(sink.stats().transient, 1, "the breaker is open");
        let report = queue.close(Shutdown::Drain).unwrap();
        assert_eq!(report.abandoned(), 10);
        assert_eq!(sink.stats().transient, 1 + 10);
        assert_ledger(&queue, 10, 0, &[(DropReason::Abandoned, 10)]);
    });
}

#[test]
fn defect_05_a_second_close_returns_only_after_the_flush() {
    watched(|| {
        let (seen, gate) = (Recording::new(), Gate::new());
        let queue = Queue::new(Blocking::new(gate.clone(), seen.clone()));
        for event in 0..100u64 {
            queue.send(event).unwrap();
        }
        gate.wait_for(1);
        let (bells, wakers): (Vec<_>, Vec<_>) = (0..3).map(|_| Bell::new()).unzip();
        for waker in &wakers {
            assert!(queue.poll_close(Shutdown::Drain, waker).is_pending());
        }
        let closers: Vec<_> = (0..4)
            .map(|_| {
                let (queue, seen) = (queue.clone(), seen.clone());
                thread::spawn(move || (queue.close(Shutdown::Drain).unwrap(), seen.len()))
            })
            .collect();
        gate.open();
        for closer in closers {
            let (report, seen) = closer.join().unwrap();
            assert_eq!((seen, report.dropped()), (100, 0));
        }
        assert!(bells.iter().all(|bell| bell.rung() > 0), "every closer is woken");
        assert_eq!(seen.closes(), 1);
        assert_ledger(&queue, 100, 100, &[]);
    });
}

/// A leaf whose close stands at a gate.
struct SlowToClose(Gate);

impl Sink<u64> for SlowToClose {
    fn try_write(&self, _: &u64, _: &mut Delivery<'_>) -> Result<(), WriteError> {
        Ok(())
    }
    fn poll_close(&self, _: Shutdown, _: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.0.pass();
        Poll::Ready(Ok(CloseReport::new()))
    }
}

#[test]
fn defect_05_no_writer_waits_while_the_destination_is_closed() {
    watched(|| {
        let gate = Gate::new();
        let (queue, broadcaster) = (Queue::new(SlowToClose(gate.clone())), Arc::new(Broadcaster::new()));
        broadcaster.add(queue.clone()).unwrap();
        broadcaster.add(SlowToClose(gate.clone())).unwrap();
        broadcaster.write(&0).unwrap();
        let closers: Vec<_> = (0..2)
            .map(|_| {
                let broadcaster = broadcaster.clone();
                thread::spawn(move || broadcaster.close(Shutdown::Drain).unwrap())
            })
            .collect();
        // The queue in the close of its leaf, and both closers in that of the other leaf.
        gate.wait_for(3);
        assert_closed(&queue.write(&1));
        assert_closed(&broadcaster.write(&1));
        assert_closed(&broadcaster.add(Recording::new()));
        assert_ledger(&queue, 1, 1, &[]);
        gate.open();
        for closer in closers {
            closer.join().unwrap();
        }
    });
}

#[test]
fn defect_06_a_queue_whose_destination_has_closed_closes_too_and_says_so_upstream() {
    watched(|| {
        let (gate, destination) = (Gate::new(), Recording::new());
        let pool = Pool::dedicated("test").unwrap();
        let last =
            Queue::builder(Blocking::new(gate.clone(), destination.clone())).name("last").pool(&pool).build().unwrap();
        let first = Queue::builder(last.clone()).name("first").pool(&pool).build().unwrap();
        let (broadcaster, beside) = (Broadcaster::new(), Recording::new());
        broadcaster.add(first.clone()).unwrap();
        broadcaster.add(beside.clone()).unwrap();
        for event in 0..5 {
            last.send(event).unwrap();
        }
        Sink::<u64>::close(&destination, Shutdown::Drain).unwrap();
        gate.open();
        pool.wait_idle();
        assert!(last.is_closed());
        assert_ledger(&last, 5, 0, &[(DropReason::DestinationClosed, 5)]);

        // Only an event tells the next one upstream.
        assert!(!first.is_closed());
        broadcaster.write(&5).unwrap();
        pool.wait_idle();
        assert!(first.is_closed());
        assert_ledger(&first, 1, 0, &[(DropReason::DestinationClosed, 1)]);

        broadcaster.write(&6).unwrap();
        assert_eq!((broadcaster.len(), broadcaster.evictions()), (1, 1));
        assert_eq!(beside.events(), [5, 6]);
        assert_eq!(first.close(Shutdown::Drain).unwrap().dropped(), 6, "5 of the last queue, 1 of the first");
    });
}

#[test]
fn defect_07_closing_a_retrying_sink_closes_what_it_wraps_and_frees_its_writers() {
    watched(|| {
        let seen = Recording::new();
        let sink = Arc::new(
            Failing::always(seen.clone()).retrying(ExponentialBackoff::default()).retrying(Breaker::new(1, SECOND)),
        );
        let (_pool, clock) = still_pool();
        let (waiting, journey) = offer(&sink, &1, &clock, Journey::default());
        assert!(matches!(waiting, Err(WriteError::NotReady(_))), "{waiting:?}");
        Sink::<u64>::close(&sink, Shutdown::Drain).unwrap();
        assert_eq!(seen.closes(), 1);
        assert_closed(&offer(&sink, &1, &clock, journey).0);
        assert_closed(&sink.write(&2));
    });
}

#[test]
fn defect_07_closing_a_retrying_sink_wakes_the_writer_that_waits_in_it() {
    watched(|| {
        let sink = Failing::always(Recording::new()).retrying(Breaker::new(1, Duration::from_secs(3600)));
        let ((bell, waker), clock) = (Bell::new(), still_pool().1.clock());
        let mut delivery = Delivery::resume_with(&waker, &clock, EventId(0), Journey::default());
        assert!(sink.try_write(&1, &mut delivery).is_err());
        assert_eq!(bell.rung(), 0);
        Sink::<u64>::close(&sink, Shutdown::Drain).unwrap();
        assert_eq!(bell.rung(), 1);

        // And in its blocking form, whether the close comes before or after the wait has begun.
        let sink = Failing::always(Recording::new()).retrying(Breaker::new(1, Duration::from_secs(3600)));
        thread::scope(|scope| {
            let writer = scope.spawn(|| sink.write(&1));
            Sink::<u64>::close(&sink, Shutdown::Drain).unwrap();
            assert_closed(&writer.join().unwrap());
        });
    });
}

/// Gives up after three failures.
struct Thrice;

impl RetryStrategy for Thrice {
    type State = ();
    fn proceed(&self, (): &mut (), _: &Delivery<'_>) -> Proceed {
        Proceed::Now
    }
    fn success(&self, (): &mut (), _: &Delivery<'_>) {}
    fn failure(&self, (): &mut (), delivery: &Delivery<'_>, _: &Failure) -> Verdict {
        if delivery.attempt() <= 3 { Verdict::Retry } else { Verdict::GiveUp }
    }
}

#[test]
fn defect_08_a_dropped_event_is_no_success() {
    let sink = || Failing::first(3, Recording::new()).retrying(Thrice);
    let answer = sink().write(&1);
    match answer {
        Err(WriteError::Failed(failure)) => assert_eq!(failure.class(), Class::Exhausted),
        other => panic!("expected exhausted, got {other:?}"),
    }

    let (pool, _) = still_pool();
    let queue = Queue::builder(sink()).pool(&pool).build().unwrap();
    queue.send(1).unwrap();
    queue.send(2).unwrap();
    pool.wait_idle();
    assert_ledger(&queue, 2, 1, &[(DropReason::Exhausted, 1)]);

    let broadcaster = Broadcaster::new();
    broadcaster.add(sink()).unwrap();
    broadcaster.write(&1).unwrap();
    assert_eq!(broadcaster.lost()[DropReason::Exhausted], 1);
}

/// Twenty queues on a pool of one worker, each with one event held by one breaker that has just opened.
struct Held {
    queues: Vec<Queue<u64>>,
    breaker: Breaker,
    desk: Desk,
    pool: Pool,
    clock: sinkworks::test_util::ManualClock,
}

impl Held {
    const BACKOFF: Duration = Duration::from_secs(10);
    const PROBE_TIMEOUT: Duration = Duration::from_secs(60);

    fn with_probes(probes: u32) -> Self {
        let (pool, clock) = still_pool();
        let builder = Breaker::builder().threshold(1).probes(probes).backoff(Self::BACKOFF);
        let breaker = builder.probe_timeout(Self::PROBE_TIMEOUT).build().unwrap();
        let desk = Desk::default();
        desk.refuse(true);
        let queue = |_| Queue::builder(desk.clone().retrying(breaker.clone())).pool(&pool).build().unwrap();
        let queues: Vec<Queue<u64>> = (0..20).map(queue).collect();
        for queue in &queues {
            queue.send(0).unwrap();
        }
        pool.wait_idle();
        assert_eq!(desk.arrived(), 1, "the first failure opens it for all");
        desk.refuse(false);
        Self { queues, breaker, desk, pool, clock }
    }

    fn another_queue(&self) -> Queue<u64> {
        Queue::builder(self.desk.clone().retrying(self.breaker.clone())).pool(&self.pool).build().unwrap()
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.pool.wait_idle();
    }

    /// How many attempts have begun since it opened.
    fn probes(&self) -> u64 {
        self.desk.arrived() - 1
    }

    fn serve(&self, n: u64) {
        self.desk.serve(n);
        self.pool.wait_idle();
    }

    fn delivered(&self) -> u64 {
        self.queues.iter().map(|queue| queue.ledger().delivered).sum()
    }
}

#[test]
fn defect_09_when_the_backoff_ends_exactly_the_probes_are_let_through() {
    for probes in [1, 2, 5] {
        let held = Held::with_probes(probes);
        held.advance(9_999 * MS);
        assert_eq!((held.probes(), held.breaker.state()), (0, BreakerState::Open));
        held.advance(MS);
        assert_eq!((held.probes(), held.breaker.state()), (u64::from(probes), BreakerState::HalfOpen));
        // Whoever comes by now, uninvited, is held too.
        let late: Vec<_> = (0..5).map(|_| held.another_queue()).collect();
        for queue in &late {
            queue.send(0).unwrap();
        }
        held.pool.wait_idle();
        assert_eq!(held.probes(), u64::from(probes));
        held.advance(59_999 * MS);
        assert_eq!(held.probes(), u64::from(probes), "as long as they are under way");
    }
}

#[test]
fn defect_09_a_failed_probe_opens_the_breaker_again_for_the_whole_backoff() {
    let held = Held::with_probes(1);
    held.desk.refuse(true);
    for round in 1..=5 {
        held.advance(Held::BACKOFF);
        assert_eq!((held.probes(), held.breaker.state()), (round, BreakerState::Open));
    }
    assert_eq!(held.breaker.transitions_to(BreakerState::HalfOpen), 5);
    held.desk.refuse(false);
    held.serve(100);
    held.advance(Held::BACKOFF);
    assert_eq!(held.delivered(), 20, "one success lets all through");
    assert_eq!(held.breaker.state(), BreakerState::Closed);
}

#[test]
fn defect_09_a_probe_whose_event_is_abandoned_is_replaced_at_once() {
    let held = Held::with_probes(1);
    held.advance(Held::BACKOFF);
    for lost in 1..=5 {
        assert_eq!((held.probes(), held.breaker.state()), (lost, BreakerState::HalfOpen));
        // The one that probes is the one with a waker at the desk; which queue that is does not matter to the others.
        let probing = held.queues.iter().find(|queue| !queue.is_closed()).unwrap();
        probing.close(Shutdown::Abort).unwrap();
        held.pool.wait_idle();
    }
    held.serve(100);
    assert_eq!(held.delivered(), 15);
    for queue in &held.queues {
        let ledger = queue.ledger();
        assert!(ledger.balances() && ledger.pending == 0, "{ledger:?}");
    }
}

#[test]
fn defect_09_a_probe_that_never_answers_is_replaced_after_its_lease() {
    let held = Held::with_probes(2);
    held.advance(Held::BACKOFF);
    assert_eq!(held.probes(), 2);
    held.advance(Held::PROBE_TIMEOUT);
    assert_eq!(held.probes(), 4);
    assert_eq!(held.breaker.state(), BreakerState::HalfOpen);
}

#[test]
fn defect_09_when_the_breaker_closes_the_held_queues_are_woken_in_stages() {
    let held = Held::with_probes(1);
    held.advance(Held::BACKOFF);
    assert_eq!(held.probes(), 1);
    let mut stages = Vec::new();
    while held.delivered() < 20 {
        let before = held.probes();
        held.serve(1);
        stages.push(held.probes() - before);
    }
    assert_eq!(stages[..5], [1, 2, 4, 8, 4], "of nineteen");
    assert_eq!(stages[5..].iter().sum::<u64>(), 0);
}

#[test]
fn defect_10_the_breaker_goes_by_the_monotonic_clock_that_it_is_given() {
    let held = Held::with_probes(1);
    // However long this takes by the clock on the wall, no time passes.
    for _ in 0..1000 {
        held.pool.wait_idle();
    }
    assert_eq!((held.probes(), held.breaker.state()), (0, BreakerState::Open));
    held.advance(Held::BACKOFF);
    assert_eq!(held.probes(), 1);
    for source in [
        include_str!("../src/retry/breaker/mod.rs"),
        include_str!("../src/retry/breaker/builder.rs"),
        include_str!("../src/retry/breaker/control.rs"),
        include_str!("../src/retry/breaker/hold.rs"),
        include_str!("../src/retry/breaker/machine.rs"),
        include_str!("../src/retry/breaker/permit.rs"),
        include_str!("../src/retry/breaker/window.rs"),
        include_str!("../src/retry/budget/mod.rs"),
        include_str!("../src/retry/budget/reserve.rs"),
        include_str!("../src/retry/limit.rs"),
        include_str!("../src/retry/backoff.rs"),
        include_str!("../src/retry/mod.rs"),
        include_str!("../src/clock.rs"),
        include_str!("../src/delivery.rs"),
        include_str!("../src/pool/keeper.rs"),
    ] {
        assert!(!source.contains("SystemTime"), "the time of day has no business here");
    }
}

#[test]
fn defect_11_a_backoff_survives_any_number_of_failures_and_a_base_of_zero() {
    let (pool, clock) = still_pool();
    let seen = Recording::new();
    let sink = Failing::first(200, seen.clone()).retrying(ExponentialBackoff::new(
        Duration::ZERO,
        SECOND,
        Duration::from_secs(20),
    ));
    let queue = Queue::builder(sink).pool(&pool).build().unwrap();
    queue.send("event").unwrap();
    for _ in 0..200 {
        pool.wait_idle();
        assert!(seen.is_empty());
        clock.advance(Duration::from_secs(20));
    }
    pool.wait_idle();
    assert_eq!(seen.attempts(), [("event", 201)]);

    let extreme = ExponentialBackoff::new(Duration::MAX, Duration::MAX, Duration::MAX);
    let clock = clock.clock();
    let delivery = Delivery::resume_with(Waker::noop(), &clock, EventId(0), Journey::default());
    for _ in 0..200 {
        let verdict = extreme.failure(&mut None, &delivery, &Failure::transient("down"));
        assert_eq!(verdict, Verdict::Retry);
        assert_ne!(extreme.proceed(&mut None, &delivery), Proceed::Now);
    }
}

/// An event that says everything about itself when asked.
#[derive(Debug, Clone, PartialEq)]
struct Secret(String);

impl Secret {
    const MARK: &str = "hunter2";

    fn new() -> Self {
        Self(Self::MARK.to_owned())
    }
}

#[test]
fn defect_12_nothing_that_can_be_logged_has_an_event_in_it() {
    fn shows(out: &mut String, what: &impl std::fmt::Debug) {
        writeln!(out, "{what:?} {what:#?}").unwrap();
    }
    let mut out = String::new();
    let (pool, _clock) = still_pool();
    let breaker = Breaker::new(1, SECOND);
    let seen = Recording::new();
    let retry = Arc::new(RetryingSink::new(Failing::always(seen.clone()), breaker.clone()));
    let queue = Queue::builder(retry.clone()).pool(&pool).name("queue").build().unwrap();
    let broadcaster = Broadcaster::new();
    let (channel, receiver) = Channel::<Secret>::builder().capacity(1).overflow(Overflow::Reject).build().unwrap();
    broadcaster.add(queue.clone()).unwrap();
    broadcaster.add(channel.clone()).unwrap();
    broadcaster.add(seen.clone()).unwrap();
    broadcaster.write(&Secret::new()).unwrap();
    pool.wait_idle();
    assert_ledger(&queue, 1, 0, &[]);

    shows(&mut out, &queue);
    shows(&mut out, &Queue::<Secret>::builder(seen.clone()).name("builder"));
    shows(&mut out, &broadcaster);
    shows(&mut out, &channel);
    shows(&mut out, &receiver);
    shows(&mut out, &receiver.iter());
    shows(&mut out, &retry);
    shows(&mut out, &breaker);
    shows(&mut out, &ExponentialBackoff::default());
    shows(&mut out, &pool);
    shows(&mut out, &seen);
    shows(&mut out, &Filter::new(seen.clone(), |_: &Secret| true));
    shows(&mut out, &sink_fn(|_: &Secret| Ok::<(), WriteError>(())));
    shows(&mut out, &Failing::always(seen.clone()));
    shows(&mut out, &Panicking::new(|_: &Secret| true, seen.clone()));

    let refused = channel.send(Secret::new()).unwrap_err();
    shows(&mut out, &refused);
    writeln!(out, "{refused} {}", refused.error).unwrap();
    assert_eq!(refused.event, Secret::new(), "it is all there, for whoever holds the error");

    let (_, clock) = still_pool();
    let (answer, journey) = offer(&retry, &Secret::new(), &clock, Journey::default());
    shows(&mut out, &answer);
    shows(&mut out, &journey);
    let clock = clock.clock();
    shows(&mut out, &Delivery::resume_with(Waker::noop(), &clock, EventId(0), journey));

    let report = broadcaster.close(Shutdown::Abort).unwrap();
    shows(&mut out, &report);
    writeln!(out, "{}", queue.ledger()).unwrap();
    assert_ledger(&queue, 1, 0, &[(DropReason::Abandoned, 1)]);
    assert_eq!(receiver.recv(), Ok(Secret::new()));

    assert!(out.contains("Queue") && out.contains("SendError"));
    assert!(!out.contains(Secret::MARK), "{out}");
}

#[test]
fn defect_13_behind_one_queue_a_broadcast_has_the_same_order_everywhere() {
    let sinks: Vec<Recording<(u64, u64)>> = (0..3).map(|_| Recording::new()).collect();
    let broadcaster = Broadcaster::new();
    for sink in &sinks {
        // One of them behind a queue of its own.
        if sink.id() == sinks[2].id() {
            broadcaster.add(sink.clone().queued()).unwrap();
        } else {
            broadcaster.add(sink.clone()).unwrap();
        }
    }
    let queue = Queue::new(broadcaster);
    concurrently(4, |writer| {
        for n in 0..2000 {
            queue.send((writer, n)).unwrap();
        }
    });
    queue.close(Shutdown::Drain).unwrap();
    let order = sinks[0].events();
    assert_eq!(order.len(), 8000);
    for writer in 0..4 {
        let of_writer = order.iter().filter(|(of, _)| *of == writer).map(|(_, n)| *n);
        assert!(of_writer.eq(0..2000), "in the order of each writer");
    }
    assert_eq!(order, sinks[1].events());
    assert_eq!(order, sinks[2].events());
    assert_ledger(&queue, 8000, 8000, &[]);
}

#[test]
fn defect_13_a_remove_that_waits_returns_when_no_write_can_reach_the_sink_any_more() {
    watched(|| {
        let (gate, seen) = (Gate::new(), Recording::new());
        let broadcaster = Arc::new(Broadcaster::new());
        let sink = Arc::new(Blocking::new(gate.clone(), seen.clone()));
        broadcaster.add(sink.clone()).unwrap();
        let writer = thread::spawn({
            let broadcaster = broadcaster.clone();
            move || broadcaster.write(&1)
        });
        gate.wait_for(1);
        assert!(!broadcaster.remove_and_wait(&sink, Duration::ZERO).unwrap(), "a write is in the sink");
        gate.open();
        writer.join().unwrap().unwrap();
        assert_eq!(seen.events(), [1]);
        assert!(broadcaster.remove_and_wait(&sink, Duration::ZERO).unwrap(), "nothing is under way");
    });
}

#[test]
fn defect_13_a_remove_that_waits_is_woken_by_the_end_of_the_last_write() {
    watched(|| {
        let (gate, seen) = (Gate::new(), Recording::new());
        let broadcaster = Arc::new(Broadcaster::new());
        let sink = Arc::new(Blocking::new(gate.clone(), seen.clone()));
        broadcaster.add(sink.clone()).unwrap();
        let writer = thread::spawn({
            let broadcaster = broadcaster.clone();
            move || broadcaster.write(&1)
        });
        gate.wait_for(1);
        let remover = thread::spawn({
            let (broadcaster, seen) = (broadcaster.clone(), seen.clone());
            move || (broadcaster.remove_and_wait(&sink, Duration::MAX), seen.len())
        });
        while !broadcaster.is_empty() {
            thread::yield_now();
        }
        gate.open();
        writer.join().unwrap().unwrap();
        let (gone, seen) = remover.join().unwrap();
        assert!(gone.unwrap());
        assert_eq!(seen, 1, "the write was over");
    });
}

#[test]
fn defect_13_a_sink_that_was_removed_before_can_still_be_waited_for() {
    watched(|| {
        let (gate, seen) = (Gate::new(), Recording::new());
        let broadcaster = Arc::new(Broadcaster::new());
        let sink = Arc::new(Blocking::new(gate.clone(), seen.clone()));
        broadcaster.add(sink.clone()).unwrap();
        let writer = thread::spawn({
            let broadcaster = broadcaster.clone();
            move || broadcaster.write(&1)
        });
        gate.wait_for(1);
        assert!(broadcaster.remove(&sink).unwrap());
        let gone = broadcaster.remove_and_wait(&sink, Duration::ZERO).unwrap();
        gate.open();
        writer.join().unwrap().unwrap();
        assert!(!gone, "a write was in the sink");
    });
}

#[test]
fn defect_13_a_held_event_counts_as_a_write_that_can_reach_the_removed_sink_until_it_is_offered_again() {
    let clock = ManualClock::new();
    // A desk has no id of its own.
    let desk = Arc::new(Desk::default().filtered(|_: &u64| true));
    let broadcaster = Broadcaster::new();
    broadcaster.add(desk.clone()).unwrap();
    let (answer, journey) = offer(&broadcaster, &1, &clock, Journey::default());
    assert!(matches!(answer, Err(WriteError::NotReady(_))), "{answer:?}");
    assert!(!broadcaster.remove_and_wait(&desk, Duration::ZERO).unwrap());
    let (answer, _) = offer(&broadcaster, &1, &clock, journey);
    assert!(answer.is_ok(), "{answer:?}");
    assert_eq!(broadcaster.lost()[DropReason::Abandoned], 1);
    assert!(broadcaster.remove_and_wait(&desk, Duration::ZERO).unwrap());
}
