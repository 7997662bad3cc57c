//! The time limit: what it cuts short, what it passes down, and what a retry above or below makes of it.

mod common;

use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use common::{Desk, assert_ledger, offer, still_pool, watched};
use sinkworks::test_util::{Failing, NotReadyYet, Recording};
use sinkworks::{
    Breaker, Broadcaster, BuildError, Class, CloseError, CloseReport, Delivery, DropReason, Failure, Journey,
    NotAttempted, Queue, Shutdown, Sink, SinkExt, TimeLimit, TimeLimitReached, WriteError,
};

const SECOND: Duration = Duration::from_secs(1);

fn failed(answer: Result<(), WriteError>) -> Failure {
    match answer {
        Err(WriteError::Failed(failure)) => failure,
        other => panic!("expected a failure, got {other:?}"),
    }
}

fn until(answer: Result<(), WriteError>) -> Instant {
    match answer {
        Err(WriteError::NotReady(wait)) => wait.until.expect("a time"),
        other => panic!("expected not ready, got {other:?}"),
    }
}

#[test]
fn a_sink_that_is_not_ready_in_time_fails_the_event_in_a_way_that_may_pass() {
    let (_pool, clock) = still_pool();
    let sink = Desk::default().time_limit(5 * SECOND);
    let began = clock.clock().now();
    let (answer, journey) = offer(&sink, &1, &clock, Journey::default());
    assert_eq!(until(answer), began + 5 * SECOND);
    clock.advance(4 * SECOND);
    let (answer, journey) = offer(&sink, &1, &clock, journey);
    assert_eq!(until(answer), began + 5 * SECOND, "the limit counts from the first offer");
    clock.advance(SECOND);
    let failure = failed(offer(&sink, &1, &clock, journey).0);
    assert_eq!(failure.class(), Class::Transient);
    assert_eq!(failure.cause().downcast_ref::<TimeLimitReached>().map(|cause| cause.limit), Some(5 * SECOND));
    assert_eq!(sink.reached(), 1);
}

#[test]
fn an_earlier_time_of_the_sink_below_is_kept() {
    let (_pool, clock) = still_pool();
    let slow = sinkworks::test_util::Slow::new(2 * SECOND, Recording::new());
    let began = clock.clock().now();
    let (answer, _) = offer(&slow.time_limit(5 * SECOND), &1, &clock, Journey::default());
    assert_eq!(until(answer), began + 2 * SECOND);
}

#[test]
fn a_sink_that_has_become_ready_takes_the_event_though_its_holder_comes_late() {
    let (_pool, clock) = still_pool();
    let desk = Desk::default();
    let sink = desk.clone().time_limit(SECOND);
    let (_, journey) = offer(&sink, &1, &clock, Journey::default());
    desk.serve(1);
    clock.advance(2 * SECOND);
    assert!(offer(&sink, &1, &clock, journey).0.is_ok());
    assert_eq!((desk.served(), sink.reached()), (1, 0));
}

#[test]
fn without_any_time_a_sink_is_asked_once() {
    let (_pool, clock) = still_pool();
    let (answer, _) = offer(&Recording::new().time_limit(Duration::ZERO), &1, &clock, Journey::default());
    assert!(answer.is_ok());
    let (answer, _) = offer(&Desk::default().time_limit(Duration::ZERO), &1, &clock, Journey::default());
    assert!(failed(answer).cause().is::<TimeLimitReached>());
}

/// Takes everything and notes the deadlines.
#[derive(Clone, Default)]
struct Deadlines(Arc<Mutex<Vec<Option<Instant>>>>);

impl Sink<u64> for Deadlines {
    fn try_write(&self, _: &u64, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        self.0.lock().unwrap().push(delivery.deadline());
        Ok(())
    }
    fn poll_close(&self, _: Shutdown, _: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        Poll::Ready(Ok(CloseReport::new()))
    }
}

#[test]
fn the_earliest_deadline_is_passed_down_and_to_no_sibling() {
    let (_pool, clock) = still_pool();
    let seen = Deadlines::default();
    let broadcaster = Broadcaster::new();
    broadcaster.add(seen.clone().time_limit(3 * SECOND).time_limit(9 * SECOND)).unwrap();
    broadcaster.add(seen.clone().time_limit(9 * SECOND).time_limit(4 * SECOND)).unwrap();
    broadcaster.add(seen.clone()).unwrap();
    let began = clock.clock().now();
    offer(&broadcaster, &1, &clock, Journey::default()).0.unwrap();
    assert_eq!(*seen.0.lock().unwrap(), [Some(began + 3 * SECOND), Some(began + 4 * SECOND), None]);
}

#[test]
fn a_retry_below_gives_up_at_the_deadline_with_its_last_failure() {
    let (pool, clock) = still_pool();
    let leaf = Arc::new(Failing::always(Recording::new()));
    let breaker = Breaker::new(1, 2 * SECOND);
    let queue = Queue::builder(leaf.clone().retrying(breaker).time_limit(5 * SECOND)).pool(&pool).build().unwrap();
    queue.send(1).unwrap();
    for _ in 0..20 {
        pool.wait_idle();
        clock.advance(SECOND);
    }
    pool.wait_idle();
    assert_eq!(leaf.failures(), 3, "at 0, 2 and 4 s, and none from 5 s on");
    assert_ledger(&queue, 1, 0, &[(DropReason::Exhausted, 1)]);
    queue.close(Shutdown::Drain).unwrap();
}

#[test]
fn a_breaker_that_is_open_holds_an_event_no_longer_than_the_limit() {
    let (_pool, clock) = still_pool();
    let breaker = Breaker::new(1, 3600 * SECOND);
    breaker.force_open();
    let sink = Recording::new().retrying(breaker).time_limit(5 * SECOND);
    let (answer, journey) = offer(&sink, &1, &clock, Journey::default());
    let began = clock.clock().now();
    assert_eq!(until(answer), began + 5 * SECOND);
    clock.advance(5 * SECOND);
    let failure = failed(offer(&sink, &1, &clock, journey).0);
    assert_eq!(failure.class(), Class::Exhausted);
    assert!(failure.cause().is::<NotAttempted>());
}

#[test]
fn a_retry_above_gives_each_attempt_the_whole_time_and_repeats_only_what_was_not_taken() {
    let (pool, clock) = still_pool();
    let (desk, quick) = (Desk::default(), Recording::new());
    let broadcaster = Broadcaster::new();
    broadcaster.add_required(quick.clone()).unwrap();
    broadcaster.add_required(desk.clone()).unwrap();
    let limit = Arc::new(broadcaster.time_limit(5 * SECOND));
    let queue = Queue::builder(limit.clone().retrying(Breaker::new(1, SECOND))).pool(&pool).build().unwrap();
    queue.send(1).unwrap();
    for reached in 1..=3 {
        pool.wait_idle();
        clock.advance(4 * SECOND);
        pool.wait_idle();
        assert_eq!(limit.reached(), reached - 1);
        clock.advance(SECOND);
        pool.wait_idle();
        assert_eq!(limit.reached(), reached);
        clock.advance(SECOND);
    }
    pool.wait_idle();
    desk.serve(1);
    pool.wait_idle();
    assert_eq!((quick.events(), desk.served(), desk.arrived()), (vec![1], 1, 1));
    assert_ledger(&queue, 1, 1, &[]);
    queue.close(Shutdown::Drain).unwrap();
}

#[test]
fn what_a_failing_sink_has_saved_is_kept_for_the_next_attempt() {
    let (pool, clock) = still_pool();
    let quick = Recording::new();
    let broadcaster = Broadcaster::new();
    broadcaster.add_required(quick.clone()).unwrap();
    broadcaster.add_required(Failing::first(2, Recording::new())).unwrap();
    let sink = broadcaster.time_limit(5 * SECOND).retrying(Breaker::new(1, SECOND));
    let queue = Queue::builder(sink).pool(&pool).build().unwrap();
    queue.send(1).unwrap();
    for _ in 0..3 {
        pool.wait_idle();
        clock.advance(SECOND);
    }
    pool.wait_idle();
    assert_eq!(quick.events(), [1], "it took the event once");
    assert_ledger(&queue, 1, 1, &[]);
    queue.close(Shutdown::Drain).unwrap();
}

#[test]
fn a_blocking_write_waits_no_longer() {
    watched(|| {
        let sink = Desk::default().time_limit(Duration::from_millis(1));
        assert!(failed(sink.write(&1)).cause().is::<TimeLimitReached>());
        let hesitant = NotReadyYet::new(3, Recording::new()).time_limit(3600 * SECOND);
        hesitant.write(&1).unwrap();
    });
}

#[test]
fn a_drain_abandons_what_is_not_ready_and_does_not_wait() {
    let (pool, _clock) = still_pool();
    let queue = Queue::builder(Desk::default().time_limit(5 * SECOND)).pool(&pool).build().unwrap();
    queue.send(1).unwrap();
    pool.wait_idle();
    let report = queue.close(Shutdown::Drain).unwrap();
    assert_eq!(report.abandoned(), 1);
}

#[test]
fn its_name_is_checked_and_shown() {
    assert_eq!(TimeLimit::named("", Recording::<u64>::new(), SECOND).err(), Some(BuildError::Name));
    let sink = TimeLimit::named("patience", Recording::<u64>::new(), SECOND).unwrap();
    assert!(format!("{sink:?}").contains("patience"));
    assert!(sink.get_ref().is_empty());
}
