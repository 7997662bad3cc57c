//! The behaviours of docker/go-events' own test suite, each with its origin named. The code is ours.

mod common;

use std::collections::BTreeSet;
use std::task::Waker;
use std::time::Duration;

use common::{assert_closed, assert_closes, assert_ledger, concurrently, still_pool};
use sinkworks::test_util::{Blocking, Failing, Gate, ManualClock, Recording};
use sinkworks::{
    Breaker, Broadcaster, Channel, Delivery, EventId, ExponentialBackoff, Failure, Filter, Journey, Proceed, Queue,
    RecvError, RetryStrategy, RetryingSink, Shutdown, Sink, SinkExt, Verdict, WriteError, sink_fn,
};

const MS: Duration = Duration::from_millis(1);

fn each_once(events: &[u64], n: u64) {
    let distinct: BTreeSet<u64> = events.iter().copied().collect();
    assert_eq!(distinct, (0..n).collect(), "every event");
    assert_eq!(events.len() as u64, n, "each once");
}

/// `queue_test.go`, `TestQueue`. The sink there is slow by a sleep; here it stands still until every writer has returned.
#[test]
fn a_queue_takes_events_from_1000_writers_while_its_sink_is_slow() {
    let (seen, gate) = (Recording::new(), Gate::new());
    let queue = Queue::new(Blocking::new(gate.clone(), seen.clone()));
    concurrently(1000, |n| queue.send(n).unwrap());
    assert!(seen.is_empty(), "no writer waited for the sink");
    assert_ledger(&queue, 1000, 0, &[]);
    gate.open();
    assert_closes(&queue, &0);
    each_once(&seen.events(), 1000);
    assert_eq!(seen.closes(), 1);
    assert_ledger(&queue, 1000, 1000, &[]);
}

/// `broadcast_test.go`, `TestBroadcaster`.
#[test]
fn a_broadcaster_adds_once_removes_adds_again_and_closes_its_ten_sinks() {
    let broadcaster = Broadcaster::new();
    let sinks: Vec<Recording<u64>> = (0..10).map(|_| Recording::new()).collect();
    for sink in &sinks {
        broadcaster.add(sink.clone()).unwrap();
        broadcaster.add(sink.clone()).unwrap();
    }
    assert_eq!(broadcaster.len(), 10);

    concurrently(1000, |n| broadcaster.write(&n).unwrap());
    for sink in &sinks {
        assert!(broadcaster.remove(sink).unwrap());
        assert!(!broadcaster.remove(sink).unwrap(), "it is gone, and that is fine");
        assert_eq!(sink.closes(), 0, "removing does not close");
    }
    broadcaster.write(&1000).unwrap();
    for sink in &sinks {
        each_once(&sink.events(), 1000);
        broadcaster.add(sink.clone()).unwrap();
    }

    assert_closes(&broadcaster, &0);
    for sink in &sinks {
        assert_eq!((sink.len(), sink.closes()), (1000, 1));
        assert_closed(&broadcaster.add(sink.clone()));
        assert_closed(&broadcaster.remove(sink));
    }
    assert_eq!(broadcaster.lost().total(), 0);
}

/// `channel_test.go`, `TestChannel`.
#[test]
fn a_channel_gives_what_was_written_before_its_close_and_refuses_what_comes_after() {
    let (channel, receiver) = Channel::unbounded();
    let events: Vec<u64> = std::thread::scope(|scope| {
        scope.spawn(|| {
            concurrently(100, |n| channel.write(&n).unwrap());
            assert_closes(&channel, &0);
            concurrently(100, |n| assert_closed(&channel.write(&n)));
        });
        receiver.iter().collect()
    });
    each_once(&events, 100);
    assert_eq!(receiver.recv(), Err(RecvError::Closed));
    let ledger = receiver.ledger();
    assert_eq!((ledger.accepted, ledger.delivered, ledger.pending), (100, 100, 0));
}

/// Fails always for a while, then nine times of ten.
fn flaky(inner: Recording<u64>) -> Failing<Recording<u64>> {
    let mut random = fastrand::Rng::with_seed(1);
    let script: Vec<bool> = (0..1000).map(|n| n < 50 || random.u8(..10) != 0).collect();
    Failing::script(script, inner)
}

/// `retry_test.go`, `testRetryingSink`, with a queue in front: what waits are not the writers, so time can be made to pass.
fn all_get_through_behind_a_queue(strategy: impl RetryStrategy + 'static) {
    let (pool, clock) = still_pool();
    let seen = Recording::new();
    let queue = Queue::builder(flaky(seen.clone()).retrying(strategy)).pool(&pool).build().unwrap();
    concurrently(100, |n| queue.send(n).unwrap());
    pool.wait_idle();
    assert!(seen.len() < 100, "it waits for time that stands still");
    for _ in 0..2000 {
        clock.advance(10 * MS);
        pool.wait_idle();
    }
    each_once(&seen.events(), 100);
    assert_closes(&queue, &0);
    assert_ledger(&queue, 100, 100, &[]);
}

/// `retry_test.go`, `TestRetryingSinkBreaker`.
#[test]
fn all_events_get_through_a_flaky_sink_with_a_breaker() {
    all_get_through_behind_a_queue(Breaker::new(3, 10 * MS));
}

/// `retry_test.go`, `TestRetryingSinkExponentialBackoff`.
#[test]
fn all_events_get_through_a_flaky_sink_with_a_backoff() {
    all_get_through_behind_a_queue(ExponentialBackoff::new(MS, MS, 5 * MS));
}

/// `retry_test.go`, `testRetryingSink`: the writers themselves wait, a hundred at once.
fn all_get_through_on_the_writers_threads(strategy: impl RetryStrategy + 'static) {
    let seen = Recording::new();
    let sink = RetryingSink::new(Failing::first(50, seen.clone()), strategy);
    concurrently(100, |n| sink.write(&n).unwrap());
    each_once(&seen.events(), 100);
    assert_eq!((sink.stats().ok, sink.stats().transient), (100, 50));
    assert_closes(&sink, &0);
    assert_eq!(seen.closes(), 2);
}

/// `retry_test.go`, `TestRetryingSinkBreaker`.
#[test]
fn writers_that_wait_at_one_breaker_all_get_through() {
    all_get_through_on_the_writers_threads(Breaker::new(3, MS));
}

/// `retry_test.go`, `TestRetryingSinkExponentialBackoff`.
#[test]
fn writers_that_wait_for_one_backoff_all_get_through() {
    all_get_through_on_the_writers_threads(ExponentialBackoff::new(MS, MS, 5 * MS));
}

/// `retry_test.go`, `TestExponentialBackoff`.
#[test]
fn a_backoff_waits_longer_with_each_failure_and_not_at_all_after_a_success() {
    let clock = ManualClock::new().clock();
    let delivery = Delivery::resume_with(Waker::noop(), &clock, EventId(0), Journey::default());
    let backoff = ExponentialBackoff::default();
    assert_eq!(backoff.proceed(&mut None, &delivery), Proceed::Now, "untouched");

    for failures in 1..=10u32 {
        let verdict = backoff.failure(&mut None, &delivery, &Failure::transient("down"));
        assert_eq!(verdict, Verdict::Retry, "a backoff never gives up");
        let ceiling = Duration::from_secs(1 << (failures - 1)).min(Duration::from_secs(20));
        let waits: Vec<Duration> = (0..1000)
            .map(|_| match backoff.proceed(&mut None, &delivery) {
                Proceed::Now => Duration::ZERO,
                Proceed::Wait(wait) => wait.until.unwrap() - clock.now(),
                other => panic!("a backoff never gives up: {other:?}"),
            })
            .collect();
        assert!(waits.iter().all(|wait| *wait < ceiling), "after {failures} failures");
        assert!(waits.iter().any(|wait| *wait > ceiling / 2), "after {failures} failures");
    }

    backoff.success(&mut None, &delivery);
    assert_eq!(backoff.proceed(&mut None, &delivery), Proceed::Now, "recovered");
}

/// `filter_test.go`, `TestFilter`.
#[test]
fn a_filter_lets_through_what_matches_and_is_closed_for_all_once_closed() {
    let seen = Recording::new();
    let filter = Filter::new(seen.clone(), |event: &u64| event % 2 == 0);
    for event in 0..100 {
        filter.write(&event).unwrap();
    }
    assert!(seen.events().into_iter().eq((0..100).step_by(2)));
    assert_closes(&filter, &0);
    assert_closed(&filter.write(&1));
    assert_eq!(seen.len(), 50);
}

/// `common_test.go`, `checkClose`, which every test there ends with.
#[test]
fn every_component_may_be_closed_twice_and_is_closed_to_writers_then() {
    let leaf = || sink_fn(|_: &u64| Ok(()));
    let (channel, _receiver) = Channel::bounded(1);
    assert_closes(&channel, &0);
    assert_closes(&leaf(), &0);
    assert_closes(&Queue::new(leaf()), &0);
    assert_closes(&Queue::builder(leaf()).capacity(1).build().unwrap(), &0);
    assert_closes(&Broadcaster::<u64>::new(), &0);
    assert_closes(&leaf().filtered(|_: &u64| false), &0);
    assert_closes(&leaf().retrying(Breaker::new(1, MS)), &0);
    assert_closes(&leaf().retrying(ExponentialBackoff::default()), &0);
    let broadcaster = Broadcaster::new();
    broadcaster.add(leaf().retrying(Breaker::new(1, MS)).queued()).unwrap();
    assert_closes(&broadcaster, &0);
}

/// `channel.go`, `Write`: a closed channel frees its blocked writers.
#[test]
fn closing_a_full_channel_frees_its_blocked_writer_and_keeps_what_is_buffered() {
    let (channel, receiver) = Channel::bounded(1);
    channel.write(&1).unwrap();
    let answer = std::thread::scope(|scope| {
        let writer = scope.spawn(|| channel.write(&2));
        channel.close(Shutdown::Drain).unwrap();
        writer.join().unwrap()
    });
    assert!(matches!(answer, Err(WriteError::Closed)), "{answer:?}");
    assert_eq!(receiver.recv(), Ok(1));
    assert_eq!(receiver.recv(), Err(RecvError::Closed));
}
