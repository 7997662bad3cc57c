//! The test kit's own chance and time.

mod common;

use std::time::Duration;

use common::still_pool;
use sinkworks::test_util::{Failing, Flaky, Recording, Seed, Slow};
use sinkworks::{Breaker, Queue, Shutdown, Sink, SinkExt, WriteError};

/// What becomes of a hundred writes.
fn fates(number: u64) -> (Vec<&'static str>, Vec<u32>) {
    let taken = Recording::new();
    let seed = Seed::new(number);
    let flaky = Flaky::new(&seed, taken.clone()).failing(0.3).permanent(0.1).losing_answers(0.2);
    let fate = |event| match flaky.write(&event) {
        Ok(()) => "ok",
        Err(WriteError::Closed) => "closed",
        Err(_) => "failed",
    };
    ((0..100).map(fate).collect(), taken.events())
}

#[test]
fn the_same_seed_is_the_same_run() {
    assert_eq!(fates(7), fates(7));
    assert_ne!(fates(7), fates(8));
    let (answers, seen) = fates(7);
    assert!(answers.contains(&"ok") && answers.contains(&"failed"), "{answers:?}");
    let answered = answers.iter().filter(|answer| **answer == "ok").count();
    assert!(seen.len() > answered, "an answer is lost after the event was taken: {} {answered}", seen.len());
}

#[test]
fn a_lost_answer_makes_a_duplicate_that_the_ledger_does_not_count() {
    let (pool, _clock) = still_pool();
    let seen = Recording::new();
    let flaky = Flaky::new(&Seed::new(3), seen.clone()).losing_answers(0.5);
    let retry = flaky.retrying(Breaker::new(1000, Duration::from_secs(1)));
    let queue = Queue::builder(retry).pool(&pool).build().unwrap();
    (0..50).for_each(|event| queue.send(event).unwrap());
    pool.wait_idle();
    assert_eq!(queue.ledger().delivered, 50);
    let mut once = seen.events();
    assert!(once.len() > 50);
    once.dedup();
    assert!(once.into_iter().eq(0..50));
}

#[test]
fn a_slow_sink_takes_its_time_again_when_it_is_repeated() {
    let (pool, clock) = still_pool();
    let seen = Recording::new();
    let slow = Slow::new(Duration::from_secs(2), Failing::first(1, seen.clone()));
    let queue = Queue::builder(slow.retrying(Breaker::new(9, Duration::from_secs(1)))).pool(&pool).build().unwrap();
    queue.send(1).unwrap();
    for after in 1..=4 {
        pool.wait_idle();
        assert!(seen.is_empty(), "after {} s", after - 1);
        clock.advance(Duration::from_secs(1));
    }
    pool.wait_idle();
    assert_eq!(seen.events(), [1]);
}

#[test]
fn a_drain_does_not_wait_for_a_slow_sink() {
    let (pool, _clock) = still_pool();
    let seen = Recording::new();
    let queue = Queue::builder(Slow::new(Duration::from_secs(2), seen.clone())).pool(&pool).build().unwrap();
    (0..3).for_each(|event| queue.send(event).unwrap());
    let report = queue.close(Shutdown::Drain).unwrap();
    assert_eq!((report.dropped(), seen.len()), (0, 3));
}
