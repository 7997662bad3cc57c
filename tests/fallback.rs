//! The fallback: what falls over and what holds, and what the two sinks are asked in which order.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{Desk, assert_closed, assert_ledger, offer, still_pool};
use sinkworks::test_util::{Failing, NotReadyYet, Panicking, Recording};
use sinkworks::{
    Breaker, Broadcaster, BuildError, Class, DeadLetter, DropReason, Failure, Fallback, FallbackError, Journey, Queue,
    RetryLimit, RetryStrategy, Shutdown, Sink, SinkExt, WriteError, sink_fn,
};

const SECOND: Duration = Duration::from_secs(1);

fn failed(answer: Result<(), WriteError>) -> Failure {
    match answer {
        Err(WriteError::Failed(failure)) => failure,
        other => panic!("expected a failure, got {other:?}"),
    }
}

fn answering(answer: impl Fn() -> WriteError + Send + Sync + 'static) -> impl Sink<u64> {
    sink_fn(move |_: &u64| Err(answer()))
}

fn transient() -> WriteError {
    Failure::transient("down").into()
}

fn permanent() -> WriteError {
    Failure::permanent("malformed").into()
}

fn exhausted() -> WriteError {
    Failure::transient("down").exhausted().into()
}

#[test]
fn what_the_primary_takes_the_secondary_never_sees() {
    let (first, second) = (Recording::new(), Recording::new());
    let sink = NotReadyYet::new(2, first.clone()).fallback(second.clone());
    for event in 0..3 {
        sink.write(&event).unwrap();
    }
    assert_eq!((first.events(), second.len(), sink.fallen_over()), (vec![0, 1, 2], 0, 0));
}

#[test]
fn what_fails_in_a_way_that_may_pass_or_is_exhausted_full_or_closed_falls_over() {
    for answer in [transient, exhausted, || WriteError::Full, || WriteError::Closed] {
        let second = Recording::new();
        let sink = answering(answer).fallback(NotReadyYet::new(2, second.clone()));
        sink.write(&7).unwrap();
        assert_eq!((second.attempts(), sink.fallen_over()), (vec![(7, 1)], 1), "after {:?}", answer());
    }
}

#[test]
fn what_fails_for_good_goes_up_unless_told_otherwise() {
    let second = Recording::new();
    let failure = failed(answering(permanent).fallback(second.clone()).write(&7));
    assert_eq!((failure.class(), second.len()), (Class::Permanent, 0));
    assert!(!failure.cause().is::<FallbackError>(), "the primary's own answer");
    answering(permanent).fallback(second.clone()).permanent_too().write(&7).unwrap();
    assert_eq!(second.events(), [7]);
}

#[test]
fn a_breaker_that_fails_fast_falls_over_while_it_is_open_and_comes_back() {
    let (pool, clock) = still_pool();
    let (first, second) = (Recording::new(), Recording::new());
    let primary = Arc::new(Failing::first(2, first.clone()));
    let breaker = Breaker::new(2, 10 * SECOND);
    let sink = primary.clone().retrying(breaker.fail_fast()).fallback(second.clone());
    let queue = Queue::builder(sink).pool(&pool).build().unwrap();
    for event in 0..3 {
        queue.send(event).unwrap();
    }
    pool.wait_idle();
    assert_eq!((second.events(), primary.failures()), (vec![0, 1, 2], 2), "the second and third were not attempted");
    clock.advance(10 * SECOND);
    queue.send(3).unwrap();
    pool.wait_idle();
    assert_eq!((first.events(), second.len()), (vec![3], 3), "the probe has gone to the primary");
    assert_ledger(&queue, 4, 4, &[]);
    queue.close(Shutdown::Drain).unwrap();
}

#[test]
fn a_breaker_that_holds_holds() {
    let (pool, clock) = still_pool();
    let (first, second) = (Recording::new(), Recording::new());
    let sink = Failing::first(1, first.clone()).retrying(Breaker::new(1, 10 * SECOND)).fallback(second.clone());
    let queue = Queue::builder(sink).pool(&pool).build().unwrap();
    queue.send(0).unwrap();
    pool.wait_idle();
    assert_eq!((first.len(), second.len()), (0, 0));
    clock.advance(10 * SECOND);
    pool.wait_idle();
    assert_eq!((first.events(), second.len()), (vec![0], 0));
    queue.close(Shutdown::Drain).unwrap();
}

#[test]
fn a_limit_of_time_or_of_the_retry_decides_how_long_it_holds() {
    let (pool, clock) = still_pool();
    let second = Recording::new();
    let limited = Breaker::new(1, 10 * SECOND).limited(RetryLimit::elapsed(5 * SECOND));
    let queues: [Queue<u64>; 2] = [
        Queue::builder(
            Failing::always(Recording::new())
                .retrying(Breaker::new(1, 10 * SECOND))
                .time_limit(5 * SECOND)
                .fallback(second.clone()),
        ),
        Queue::builder(Failing::always(Recording::new()).retrying(limited).fallback(second.clone())),
    ]
    .map(|builder| builder.pool(&pool).build().unwrap());
    for queue in &queues {
        queue.send(7).unwrap();
    }
    pool.wait_idle();
    clock.advance(4 * SECOND);
    pool.wait_idle();
    assert_eq!(second.len(), 0);
    clock.advance(SECOND);
    pool.wait_idle();
    assert_eq!(second.events(), [7, 7]);
    for queue in queues {
        queue.close(Shutdown::Drain).unwrap();
    }
}

#[test]
fn when_both_fail_the_answer_names_both_and_is_as_bad_as_the_better_one() {
    type Answer = fn() -> WriteError;
    let table: [(Answer, Answer, Class); 6] = [
        (transient, permanent, Class::Transient),
        (exhausted, || WriteError::Full, Class::Transient),
        (|| WriteError::Closed, transient, Class::Transient),
        (exhausted, permanent, Class::Exhausted),
        (|| WriteError::Closed, exhausted, Class::Exhausted),
        (permanent, || WriteError::Closed, Class::Permanent),
    ];
    for (first, second, class) in table {
        let failure = failed(answering(first).fallback(answering(second)).permanent_too().write(&7));
        assert_eq!(failure.class(), class, "{failure}");
        let cause = failure.cause().downcast_ref::<FallbackError>().unwrap();
        assert_eq!(cause.primary.to_string(), first().to_string());
        assert_eq!(cause.secondary.to_string(), second().to_string());
    }
}

#[test]
fn a_wait_is_asked_for_only_if_both_do() {
    let waiting = |seconds| answering(move || Failure::transient("down").with_retry_after(seconds * SECOND).into());
    let after = |failure: Failure| failure.retry_after();
    assert_eq!(after(failed(waiting(3).fallback(waiting(2)).write(&7))), Some(2 * SECOND));
    assert_eq!(after(failed(waiting(3).fallback(answering(transient)).write(&7))), None);
    assert_eq!(after(failed(waiting(3).fallback(answering(permanent)).write(&7))), Some(3 * SECOND));
}

#[test]
fn a_retry_above_begins_with_the_primary_and_asks_nobody_who_refused_for_good() {
    let (pool, clock) = still_pool();
    let first = Arc::new(Failing::first(3, Recording::new()));
    let refusing = Arc::new(AtomicU64::new(0));
    let count = refusing.clone();
    let second = sink_fn(move |_: &u64| {
        count.fetch_add(1, Ordering::Relaxed);
        Err(permanent())
    });
    let sink = first.clone().fallback(second).retrying(Breaker::new(1, SECOND));
    let queue = Queue::builder(sink).pool(&pool).build().unwrap();
    queue.send(7).unwrap();
    for _ in 0..4 {
        pool.wait_idle();
        clock.advance(SECOND);
    }
    pool.wait_idle();
    assert_eq!((first.failures(), refusing.load(Ordering::Relaxed)), (3, 1));
    assert_ledger(&queue, 1, 1, &[]);
    queue.close(Shutdown::Drain).unwrap();
}

#[test]
fn a_repeated_attempt_goes_only_to_those_below_that_have_not_taken_the_event() {
    let (pool, clock) = still_pool();
    let half = |seen: &Recording<u64>, failing: usize| {
        let broadcaster = Broadcaster::new();
        broadcaster.add_required(seen.clone()).unwrap();
        broadcaster.add_required(Failing::first(failing, Recording::new())).unwrap();
        broadcaster
    };
    let (first, second) = (Recording::new(), Recording::new());
    let sink = half(&first, 9).fallback(half(&second, 2)).retrying(Breaker::new(1, SECOND));
    let queue = Queue::builder(sink).pool(&pool).build().unwrap();
    queue.send(7).unwrap();
    for _ in 0..4 {
        pool.wait_idle();
        clock.advance(SECOND);
    }
    pool.wait_idle();
    assert_eq!((first.events(), second.events()), (vec![7], vec![7]));
    assert_ledger(&queue, 1, 1, &[]);
    queue.close(Shutdown::Drain).unwrap();
}

#[test]
fn while_the_secondary_is_not_ready_the_primary_is_not_asked_again() {
    let (_pool, clock) = still_pool();
    let first = Arc::new(Failing::always(Recording::new()));
    let desk = Desk::default();
    let sink = first.clone().fallback(desk.clone());
    let (mut answer, mut journey) = offer(&sink, &7u64, &clock, Journey::default());
    for _ in 0..3 {
        assert!(matches!(answer, Err(WriteError::NotReady(_))), "{answer:?}");
        (answer, journey) = offer(&sink, &7, &clock, journey);
    }
    desk.serve(1);
    assert!(offer(&sink, &7, &clock, journey).0.is_ok());
    assert_eq!((first.failures(), desk.arrived(), desk.served()), (1, 1, 1));
}

#[test]
fn a_drain_offers_to_the_secondary_what_the_primary_is_not_ready_for() {
    let (pool, _clock) = still_pool();
    let second = Recording::new();
    let queue = Queue::builder(Desk::default().fallback(second.clone())).pool(&pool).build().unwrap();
    queue.send(7).unwrap();
    pool.wait_idle();
    assert_eq!(second.len(), 0, "it holds");
    let report = queue.close(Shutdown::Drain).unwrap();
    assert_eq!((report.dropped(), second.events()), (0, vec![7]));
}

#[test]
fn it_is_closed_when_both_are() {
    let (first, second) = (Recording::new(), Recording::new());
    let sink = first.clone().fallback(second.clone());
    Sink::<u64>::close(&first, Shutdown::Drain).unwrap();
    sink.write(&1).unwrap();
    Sink::<u64>::close(&second, Shutdown::Drain).unwrap();
    assert_closed(&sink.write(&2));
    assert_eq!(second.events(), [1]);
}

#[test]
fn it_closes_both_and_reports_both() {
    let queues = [Queue::new(Recording::new()), Queue::new(Recording::new())];
    let sink = queues[0].clone().fallback(queues[1].clone());
    sink.write(&1).unwrap();
    let report = sink.close(Shutdown::Drain).unwrap();
    assert_eq!(report.components().count(), 2);
    assert_eq!(report.component(queues[0].id().unwrap()).unwrap().ledger.delivered, 1);
    assert_closed(&sink.write(&2));
}

#[test]
fn a_panic_of_the_primary_goes_up_and_is_counted_once() {
    let (pool, _clock) = still_pool();
    let second = Recording::new();
    let primary = Panicking::new(|event: &u64| *event == 1, Recording::new());
    let queue = Queue::builder(primary.fallback(second.clone())).pool(&pool).build().unwrap();
    for event in 0..3 {
        queue.send(event).unwrap();
    }
    pool.wait_idle();
    assert_ledger(&queue, 3, 2, &[(DropReason::Panicked, 1)]);
    assert!(second.is_empty());
    queue.close(Shutdown::Drain).unwrap();
}

#[test]
fn a_dead_letter_says_what_both_have_answered() {
    let (pool, _clock) = still_pool();
    let letters = Recording::<DeadLetter<u64>>::new();
    let dead = Queue::builder(letters.clone()).pool(&pool).build().unwrap();
    let sink = answering(transient).fallback(answering(permanent));
    let queue = Queue::builder(sink).pool(&pool).dead_letters(&dead).build().unwrap();
    queue.send(7).unwrap();
    pool.wait_idle();
    let letter = letters.events().pop().unwrap();
    assert_eq!((letter.event, letter.reason, letter.attempts), (7, DropReason::Exhausted, 1));
    assert!(letter.last_error.unwrap().cause().is::<FallbackError>());
    queue.close(Shutdown::Drain).unwrap();
    dead.close(Shutdown::Drain).unwrap();
}

#[test]
fn its_name_is_checked_and_it_is_seen_with_both_ways() {
    let leaf = || Recording::<u64>::new();
    assert_eq!(Fallback::named("", leaf(), leaf()).err(), Some(BuildError::Name));
    let fallback = Fallback::named("plan-b", leaf(), leaf().time_limit(SECOND)).unwrap();
    let _queue = Queue::new(fallback);
    let diagram = sinkworks::telemetry::topology().to_mermaid();
    for part in ["fallback<br/>plan-b", "|\"primary\"|", "|\"secondary\"|", "time limit"] {
        assert!(diagram.contains(part), "{part} in {diagram}");
    }
}
