//! Latencies as histograms: what the samples say, by a clock that stands still unless a sink or the test advances it.
#![cfg(feature = "prometheus")]
#![allow(clippy::float_cmp, reason = "sums of whole nanoseconds are printed exactly")]

mod common;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use common::{Desk, stall, still_pool};
use sinkworks::telemetry::Exporter;
use sinkworks::test_util::ManualClock;
use sinkworks::{Breaker, Failure, Pool, Queue, RetryingSink, Sink, WriteError, sink_fn};

/// One test at a time: who reads the metrics notes what waits, in the queues of all.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The value of the sample whose line begins with `series`.
fn value(series: &str) -> f64 {
    let text = Exporter::install().unwrap().render();
    let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {series}")).parse().unwrap()
}

/// Count and sum of a histogram.
fn histogram(metric: &str, label: &str) -> (f64, f64) {
    let sample = |kind| value(&format!("sinkworks_{metric}_seconds_{kind}{{{label}}}"));
    (sample("count"), sample("sum"))
}

fn below(metric: &str, queue: &str, bound: &str) -> f64 {
    value(&format!("sinkworks_{metric}_seconds_bucket{{queue=\"{queue}\",le=\"{bound}\"}}"))
}

/// A sink whose writes take `time` each.
fn taking(time: Duration, clock: &ManualClock) -> impl Sink<u64> + 'static {
    let clock = clock.clone();
    sink_fn(move |_: &u64| {
        clock.advance(time);
        Ok(())
    })
}

fn queue(name: &str, pool: &Pool, sink: impl Sink<u64> + 'static) -> Queue<u64> {
    Queue::builder(sink).name(name).pool(pool).build().unwrap()
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn every_series_of_a_histogram_is_there_from_the_start() {
    let _alone = alone();
    let (pool, clock) = still_pool();
    let _queue = queue("latency-idle", &pool, taking(MS, &clock));
    for metric in ["queue_wait", "write_duration"] {
        assert_eq!(histogram(metric, "queue=\"latency-idle\""), (0.0, 0.0));
        for bound in ["0.000001", "0.001024", "268.435456", "+Inf"] {
            assert!(below(metric, "latency-idle", bound).abs() < f64::EPSILON);
        }
    }
    assert!(value("sinkworks_queue_last_delivery_timestamp_seconds{queue=\"latency-idle\"}").abs() < f64::EPSILON);
}

#[test]
fn a_write_counts_in_the_bucket_of_its_duration() {
    let _alone = alone();
    let (pool, clock) = still_pool();
    let queue = queue("latency-write", &pool, taking(3 * MS, &clock));
    queue.send(1).unwrap();
    pool.wait_idle();
    assert_eq!(histogram("write_duration", "queue=\"latency-write\""), (1.0, 0.003));
    assert_eq!(below("write_duration", "latency-write", "0.002048"), 0.0);
    assert_eq!(below("write_duration", "latency-write", "0.004096"), 1.0);
    queue.send(2).unwrap();
    pool.wait_idle();
    assert_eq!(histogram("write_duration", "queue=\"latency-write\""), (2.0, 0.006));
}

#[test]
fn of_a_long_turn_the_first_event_and_every_64th_are_timed_and_the_last_one_is_waited_for() {
    let _alone = alone();
    let (pool, clock) = still_pool();
    let queue = queue("latency-turn", &pool, taking(MS, &clock));
    let gate = stall(&pool);
    for event in 0..256 {
        queue.send(event).unwrap();
    }
    gate.open();
    pool.wait_idle();
    // The 1st, 65th, 129th and 193rd.
    assert_eq!(histogram("write_duration", "queue=\"latency-turn\""), (4.0, 0.004));
    assert_eq!(histogram("queue_wait", "queue=\"latency-turn\""), (1.0, 0.256));
}

#[test]
fn a_mark_is_kept_over_turns_until_its_event_has_left() {
    let _alone = alone();
    let (pool, clock) = still_pool();
    let queue = queue("latency-turns", &pool, taking(MS, &clock));
    let gate = stall(&pool);
    for event in 0..1000 {
        queue.send(event).unwrap();
    }
    gate.open();
    pool.wait_idle();
    assert_eq!(histogram("queue_wait", "queue=\"latency-turns\""), (1.0, 1.0));
}

#[test]
fn a_wait_for_a_thread_is_seen_by_who_reads_the_metrics_meanwhile() {
    let _alone = alone();
    let (pool, clock) = still_pool();
    let queue = queue("latency-stalled", &pool, taking(Duration::ZERO, &clock));
    let gate = stall(&pool);
    queue.send(1).unwrap();
    assert_eq!(histogram("queue_wait", "queue=\"latency-stalled\""), (0.0, 0.0));
    clock.advance(Duration::from_secs(30));
    gate.open();
    pool.wait_idle();
    assert_eq!(histogram("queue_wait", "queue=\"latency-stalled\""), (1.0, 30.0));
}

#[test]
fn a_failed_attempt_takes_its_time_and_the_wait_after_it_is_a_backoff() {
    let _alone = alone();
    let (pool, clock) = still_pool();
    let time = clock.clone();
    let failing = sink_fn(move |_: &u64| {
        time.advance(Duration::from_secs(2));
        Err(WriteError::Failed(Failure::transient("told to fail")))
    });
    let retrying = RetryingSink::named("latency-retry", failing, Breaker::new(1, Duration::from_secs(10))).unwrap();
    let queue = queue("latency-failing", &pool, retrying);
    queue.send(1).unwrap();
    pool.wait_idle();
    assert_eq!(histogram("write_duration", "queue=\"latency-failing\""), (1.0, 2.0));
    assert_eq!(histogram("retry_backoff", "sink=\"latency-retry\""), (0.0, 0.0));
    // The breaker holds the event: what it is offered in vain takes no time of the destination's.
    clock.advance(Duration::from_secs(9));
    pool.wait_idle();
    assert_eq!(histogram("write_duration", "queue=\"latency-failing\"").0, 1.0);
    clock.advance(Duration::from_secs(1));
    pool.wait_idle();
    assert_eq!(histogram("write_duration", "queue=\"latency-failing\""), (2.0, 4.0));
    assert_eq!(histogram("retry_backoff", "sink=\"latency-retry\""), (1.0, 10.0));
}

#[test]
fn an_offer_in_vain_takes_no_time_of_the_destinations() {
    let _alone = alone();
    let (pool, _clock) = still_pool();
    let desk = Desk::default();
    let queue = queue("latency-desk", &pool, desk.clone());
    queue.send(1).unwrap();
    pool.wait_idle();
    assert_eq!(histogram("write_duration", "queue=\"latency-desk\"").0, 0.0);
    desk.serve(1);
    pool.wait_idle();
    assert_eq!(histogram("write_duration", "queue=\"latency-desk\"").0, 1.0);
}

#[test]
fn a_delivery_sets_the_time_of_the_last_one_and_a_loss_does_not() {
    let _alone = alone();
    let series = "sinkworks_queue_last_delivery_timestamp_seconds{queue=\"latency-last\"}";
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    let (pool, _clock) = still_pool();
    let queue = queue(
        "latency-last",
        &pool,
        sink_fn(|event: &u64| match event {
            0 => Err(WriteError::Failed(Failure::permanent("told to fail"))),
            _ => Ok(()),
        }),
    );
    queue.send(0).unwrap();
    pool.wait_idle();
    assert_eq!(value(series), 0.0);
    let before = now();
    queue.send(1).unwrap();
    pool.wait_idle();
    let noted = value(series);
    assert!((before - 0.001..=now()).contains(&noted), "{before} {noted}");
    queue.send(0).unwrap();
    pool.wait_idle();
    assert_eq!(value(series), noted);
}
