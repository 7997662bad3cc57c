//! When a retry gives up: limits and the budget, through a queue whose time stands still.

mod common;

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use common::{Bell, Desk, RefusedError, assert_ledger, concurrently, offer, still_pool, watched};
use sinkworks::test_util::{Failing, ManualClock, Recording, check_contract};
use sinkworks::{
    Breaker, BreakerState, BuildError, Class, Delivery, DestinationFull, DropReason, EventId, ExponentialBackoff,
    Failure, Jitter, Journey, Pool, Queue, RetryBudget, RetryLimit, RetryStrategy, RetryingSink, Shutdown, Sink,
    SinkExt, Verdict, Wait, WriteError, sink_fn,
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// A queue before a destination that refuses everything, and time that stands still.
struct Down {
    queue: Queue<u64>,
    desk: Desk,
    pool: Pool,
    clock: ManualClock,
}

impl Down {
    fn with(strategy: impl RetryStrategy + 'static) -> Self {
        let (pool, clock) = still_pool();
        let desk = Desk::default();
        desk.refuse(true);
        let queue = Queue::builder(desk.clone().retrying(strategy)).pool(&pool).build().unwrap();
        Self { queue, desk, pool, clock }
    }

    fn send(&self, event: u64) {
        self.queue.send(event).unwrap();
        self.pool.wait_idle();
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.pool.wait_idle();
    }

    fn exhausted(&self) -> u64 {
        self.queue.ledger().dropped[DropReason::Exhausted]
    }
}

/// A backoff that waits exactly `wait`, without chance.
fn every(wait: Duration) -> ExponentialBackoff {
    ExponentialBackoff::builder().factor(wait).max(wait).jitter(Jitter::None).build().unwrap()
}

fn failed(answer: Result<(), WriteError>) -> Failure {
    match answer {
        Err(WriteError::Failed(failure)) => failure,
        other => panic!("expected a failure, got {other:?}"),
    }
}

#[test]
fn an_event_is_given_up_after_its_attempts_of_which_the_first_is_one() {
    for (limit, attempts) in [(1, 1), (0, 1), (3, 3), (40, 40)] {
        let down = Down::with(RetryLimit::attempts(limit));
        down.send(1);
        assert_eq!((down.desk.arrived(), down.exhausted()), (attempts, 1));
        // Each event has its own.
        down.send(2);
        assert_eq!((down.desk.arrived(), down.exhausted()), (2 * attempts, 2));
    }
}

#[test]
fn an_event_that_succeeds_at_its_last_attempt_is_delivered() {
    let (pool, _) = still_pool();
    let seen = Recording::new();
    let sink = Failing::first(2, seen.clone()).retrying(RetryLimit::attempts(3));
    let queue = Queue::builder(sink).pool(&pool).build().unwrap();
    queue.send("event").unwrap();
    pool.wait_idle();
    assert_eq!(seen.attempts(), [("event", 3)]);
    assert_ledger(&queue, 1, 1, &[]);
}

#[test]
fn the_answer_is_the_last_error_as_exhausted_with_its_own_type() {
    let refuse = sink_fn(|_: &u64| Err(Failure::transient(RefusedError).into()));
    let failure = failed(refuse.retrying(RetryLimit::attempts(2)).write(&1));
    assert_eq!(failure.class(), Class::Exhausted);
    assert!(failure.cause().is::<RefusedError>());

    let full = sink_fn(|_: &u64| Err(WriteError::Full));
    assert!(failed(full.retrying(RetryLimit::attempts(2)).write(&1)).cause().is::<DestinationFull>());

    // The same where it is a wait that ends with giving up.
    let clock = ManualClock::new();
    let refuse = sink_fn(|_: &u64| Err(Failure::transient(RefusedError).into()));
    let sink = refuse.retrying(every(HOUR).limited(RetryLimit::elapsed(SECOND)));
    let (answer, journey) = offer(&sink, &1, &clock, Journey::default());
    let end = Wait { until: Some(clock.clock().now() + SECOND) };
    assert!(matches!(answer, Err(WriteError::NotReady(wait)) if wait == end), "{answer:?}");
    clock.advance(SECOND);
    let failure = failed(offer(&sink, &1, &clock, journey).0);
    assert_eq!(failure.class(), Class::Exhausted);
    assert!(failure.cause().is::<RefusedError>());
}

#[test]
fn no_attempt_begins_when_the_time_since_the_first_failure_is_over() {
    let down = Down::with(every(10 * SECOND).limited(RetryLimit::elapsed(30 * SECOND)));
    down.advance(HOUR);
    down.send(1);
    for attempts in [2, 3] {
        down.advance(10 * SECOND);
        assert_eq!((down.desk.arrived(), down.exhausted()), (attempts, 0));
    }
    down.advance(10 * SECOND);
    assert_eq!((down.desk.arrived(), down.exhausted()), (3, 1), "at 30 s exactly it is over");
}

#[test]
fn a_backoff_is_cut_to_the_limit() {
    let down = Down::with(every(HOUR).limited(RetryLimit::elapsed(30 * SECOND)));
    down.send(1);
    down.advance(Duration::from_nanos(29_999_999_999));
    assert_eq!((down.exhausted(), down.queue.ledger().pending), (0, 1));
    down.advance(Duration::from_nanos(1));
    assert_eq!((down.desk.arrived(), down.exhausted()), (1, 1));
}

#[test]
fn an_open_breaker_holds_no_event_beyond_its_limit() {
    let breaker = Breaker::new(1, HOUR);
    let down = Down::with(breaker.clone().limited(RetryLimit::elapsed(30 * SECOND)));
    down.send(1);
    assert_eq!(breaker.state(), BreakerState::Open);
    down.advance(29 * SECOND);
    assert_eq!(down.exhausted(), 0);
    down.advance(SECOND);
    assert_eq!((down.desk.arrived(), down.exhausted()), (1, 1));
    // The time of one that has never failed does not run: the breaker holds it.
    down.send(2);
    down.advance(HOUR / 2);
    assert_eq!((down.exhausted(), down.queue.ledger().pending), (1, 1));
    // Forced open is no exception, for one that has failed.
    down.advance(HOUR / 2);
    assert_eq!(down.desk.arrived(), 2, "the probe");
    breaker.force_open();
    down.advance(30 * SECOND);
    assert_eq!(down.exhausted(), 2);
    assert_ledger(&down.queue, 2, 0, &[(DropReason::Exhausted, 2)]);
}

#[test]
fn a_writer_that_waits_itself_is_told_when_its_time_is_over() {
    let failure = watched(|| {
        let refuse = sink_fn(|_: &u64| Err(Failure::transient(RefusedError).into()));
        let limit = RetryLimit::elapsed(Duration::from_millis(20));
        failed(refuse.retrying(Breaker::new(1, HOUR).limited(limit)).write(&1))
    });
    assert_eq!(failure.class(), Class::Exhausted);
}

/// Answers what its destination asked for.
fn busy(retry_after: Duration) -> impl Sink<u64> {
    sink_fn(move |_: &u64| Err(Failure::transient(RefusedError).with_retry_after(retry_after).into()))
}

#[test]
fn an_event_whose_destination_asks_for_more_than_is_left_is_given_up_at_once() {
    let clock = ManualClock::new();
    for (asked, given_up) in [(9, false), (10, true), (11, true)] {
        let sink = busy(asked * SECOND).retrying(Breaker::new(9, SECOND).limited(RetryLimit::elapsed(10 * SECOND)));
        let answer = offer(&sink, &1, &clock, Journey::default()).0;
        assert_eq!(matches!(answer, Err(WriteError::Failed(_))), given_up, "{asked} s: {answer:?}");
    }
}

#[test]
fn the_order_of_a_pair_and_the_depth_of_a_limit_make_no_difference() {
    fn gives_up_in_time(strategy: impl RetryStrategy + 'static) {
        let down = Down::with(strategy);
        down.send(1);
        down.advance(4 * SECOND);
        assert_eq!(down.exhausted(), 0);
        down.advance(SECOND);
        assert_eq!((down.desk.arrived(), down.exhausted()), (1, 1));
    }
    let limit = RetryLimit::elapsed(5 * SECOND).or_attempts(9);
    gives_up_in_time((limit, Breaker::new(1, HOUR)));
    gives_up_in_time((Breaker::new(1, HOUR), limit));
    gives_up_in_time(((every(HOUR), limit), Breaker::new(1, HOUR)));
    let looser = RetryLimit::elapsed(HOUR);
    gives_up_in_time(every(HOUR).limited(limit).limited(looser));
    gives_up_in_time(every(HOUR).limited(looser).limited(limit));
    gives_up_in_time(
        Breaker::new(1, HOUR).with_backoff(every(HOUR)).within_budget(RetryBudget::new(1.0)).limited(limit),
    );
}

#[test]
fn whichever_limit_comes_first_counts() {
    let limit = RetryLimit::attempts(3).or_elapsed(25 * SECOND);
    let soon = Down::with(every(SECOND).limited(limit));
    soon.send(1);
    (0..2).for_each(|_| soon.advance(SECOND));
    assert_eq!((soon.desk.arrived(), soon.exhausted()), (3, 1));

    let late = Down::with(every(20 * SECOND).limited(limit));
    late.send(1);
    late.advance(20 * SECOND);
    late.advance(5 * SECOND);
    assert_eq!((late.desk.arrived(), late.exhausted()), (2, 1));
}

#[test]
fn an_attempt_that_has_begun_is_not_cut_short() {
    let down = Down::with(every(SECOND).limited(RetryLimit::elapsed(2 * SECOND)));
    down.send(1);
    down.desk.refuse(false);
    down.advance(SECOND);
    assert_eq!(down.desk.arrived(), 2);
    down.advance(HOUR);
    assert_eq!((down.exhausted(), down.queue.ledger().pending), (0, 1));
    down.desk.serve(1);
    down.pool.wait_idle();
    assert_ledger(&down.queue, 1, 1, &[]);
}

#[test]
fn an_age_limit_has_no_effect_without_a_stamp() {
    let down = Down::with(every(SECOND).limited(RetryLimit::age(Duration::ZERO).or_attempts(2)));
    down.send(1);
    down.advance(SECOND);
    assert_eq!((down.desk.arrived(), down.exhausted()), (2, 1));
}

#[test]
fn a_drain_makes_its_last_attempt_though_the_time_is_over() {
    let (pool, clock) = still_pool();
    let seen = Recording::new();
    let sink = Failing::first(1, seen.clone()).retrying(every(HOUR).limited(RetryLimit::elapsed(SECOND)));
    let queue = Queue::builder(sink).pool(&pool).build().unwrap();
    queue.send("event").unwrap();
    pool.wait_idle();
    // Nobody has looked at the time since.
    let gate = common::stall(&pool);
    clock.advance(SECOND);
    let closing = queue.poll_close(Shutdown::Drain, Waker::noop());
    assert!(closing.is_pending());
    gate.open();
    pool.wait_idle();
    assert_eq!(seen.attempts(), [("event", 2)]);
}

#[test]
fn a_probe_that_is_given_up_leaves_nobody_behind_the_breaker_forgotten() {
    let (pool, clock) = still_pool();
    let desk = Desk::default();
    desk.refuse(true);
    let breaker = Breaker::builder().threshold(1).backoff(SECOND).probe_timeout(HOUR).build().unwrap();
    let once = || breaker.clone().limited(RetryLimit::attempts(1));
    let queues: Vec<Queue<u64>> =
        (0..4).map(|_| Queue::builder(desk.clone().retrying(once())).pool(&pool).build().unwrap()).collect();
    for queue in &queues {
        queue.send(1).unwrap();
    }
    pool.wait_idle();
    for arrived in 1..=4 {
        // Each probe fails and its event is gone; the next one comes when the backoff is over, not an hour later.
        assert_eq!(desk.arrived(), arrived);
        clock.advance(SECOND);
        pool.wait_idle();
    }
    let exhausted: u64 = queues.iter().map(|queue| queue.ledger().dropped[DropReason::Exhausted]).sum();
    assert_eq!(exhausted, 4);
}

#[test]
fn retry_after_is_a_floor_that_neither_jitter_nor_breaker_undercuts() {
    fn waits_the_whole_time(strategy: impl RetryStrategy + 'static, waits_on: bool) {
        let clock = ManualClock::new();
        let sink = Arc::new(busy(100 * SECOND).retrying(strategy));
        let start = clock.clock().now();
        let (answer, mut journey) = offer(&sink, &1, &clock, Journey::default());
        let floor = Wait { until: Some(start + 100 * SECOND) };
        assert!(matches!(answer, Err(WriteError::NotReady(wait)) if wait == floor), "{answer:?}");
        // However often it is woken.
        for _ in 0..99 {
            clock.advance(SECOND);
            journey = offer(&sink, &1, &clock, journey).1;
            assert_eq!(sink.stats().transient, 1);
        }
        clock.advance(SECOND);
        let _ = offer(&sink, &1, &clock, journey);
        assert_eq!(sink.stats().transient, if waits_on { 1 } else { 2 });
    }
    let short = || ExponentialBackoff::new(Duration::ZERO, SECOND, SECOND);
    waits_the_whole_time(RetryLimit::attempts(9), false);
    waits_the_whole_time(Breaker::new(1, SECOND), false);
    // A strategy's own wait begins after it.
    waits_the_whole_time(every(SECOND), true);
    waits_the_whole_time((every(SECOND), Breaker::new(1, SECOND)), true);
    waits_the_whole_time((short(), Breaker::new(1, SECOND)), true);
}

#[test]
fn a_permanent_error_is_never_retried_whatever_the_strategy() {
    fn tried_once(strategy: impl RetryStrategy + 'static) {
        let (pool, _) = still_pool();
        let sink = Arc::new(sink_fn(|_: &u64| Err(Failure::permanent("no").into())).retrying(strategy));
        let queue = Queue::builder(sink.clone()).pool(&pool).build().unwrap();
        queue.send(1).unwrap();
        pool.wait_idle();
        assert_eq!((sink.stats().permanent, sink.stats().retries), (1, 0));
        assert_ledger(&queue, 1, 0, &[(DropReason::Permanent, 1)]);
    }
    tried_once(RetryLimit::attempts(9));
    tried_once(RetryBudget::new(1.0));
    tried_once(Breaker::new(1, SECOND).with_backoff(every(SECOND)).limited(RetryLimit::attempts(9)));
}

/// A budget without a reserve.
fn saved_only(ratio: f64) -> RetryBudget {
    RetryBudget::builder().ratio(ratio).min_per_second(0).build().unwrap()
}

/// Refuses odd events.
fn even_only() -> impl Sink<u64> {
    sink_fn(|event: &u64| if event % 2 == 0 { Ok(()) } else { Err(Failure::transient(RefusedError).into()) })
}

#[test]
fn retries_are_a_share_of_successes() {
    let budget = saved_only(0.5);
    let sink = RetryingSink::new(even_only(), budget.clone());
    (0..10).for_each(|_| sink.write(&0).unwrap());
    assert_eq!(budget.saved(), 5);
    let failure = failed(sink.write(&1));
    assert_eq!(failure.class(), Class::Exhausted);
    assert!(failure.cause().is::<RefusedError>());
    assert_eq!((sink.stats().retries, budget.saved(), budget.refused()), (5, 0, 1));
    failed(sink.write(&1));
    assert_eq!((sink.stats().retries, budget.refused()), (5, 2), "over budget it gives up at once");
}

#[test]
fn without_successes_the_reserve_allows_its_number_a_second() {
    let down = Down::with(RetryBudget::builder().min_per_second(4).build().unwrap());
    down.send(1);
    assert_eq!((down.desk.arrived(), down.exhausted()), (1 + 4, 1));
    down.send(2);
    assert_eq!((down.desk.arrived(), down.exhausted()), (6, 2));
    down.advance(SECOND / 2);
    down.send(3);
    assert_eq!((down.desk.arrived(), down.exhausted()), (6 + 3, 3));
    down.advance(HOUR);
    down.send(4);
    assert_eq!((down.desk.arrived(), down.exhausted()), (9 + 5, 4), "no more than a second's is kept");
}

#[test]
fn what_successes_save_has_a_maximum() {
    let budget = RetryBudget::builder().ratio(3.0).min_per_second(0).max_tokens(7).build().unwrap();
    let sink = RetryingSink::new(even_only(), budget.clone());
    (0..10).for_each(|_| sink.write(&0).unwrap());
    failed(sink.write(&1));
    assert_eq!(sink.stats().retries, 7);
}

#[test]
fn a_retry_that_is_not_made_gives_its_token_back() {
    let budget = saved_only(1.0);
    let sink = RetryingSink::new(even_only(), budget.clone().limited(RetryLimit::attempts(2)));
    sink.write(&0).unwrap();
    failed(sink.write(&1));
    assert_eq!((sink.stats().retries, budget.saved()), (1, 0), "the limit gave up the second retry");

    // The last failure of each event took a token, for a retry that the limit did not allow.
    let sink = RetryingSink::new(even_only(), budget.clone().limited(RetryLimit::attempts(1)));
    sink.write(&0).unwrap();
    (0..10).for_each(|_| drop(failed(sink.write(&1))));
    assert_eq!((budget.saved(), budget.refused()), (1, 1));

    // An event that is abandoned while it waits.
    let down = Down::with(every(HOUR).within_budget(budget.clone()));
    down.send(1);
    assert_eq!(budget.saved(), 0);
    down.queue.close(Shutdown::Abort).unwrap();
    assert_eq!(budget.saved(), 1);

    // The same for a token of the reserve.
    let reserve = RetryBudget::builder().min_per_second(1).build().unwrap();
    for abandoned in 1..=3 {
        let down = Down::with(every(HOUR).within_budget(reserve.clone()));
        down.send(1);
        assert_eq!((down.exhausted(), reserve.refused()), (0, 0), "number {abandoned}");
        down.queue.close(Shutdown::Abort).unwrap();
    }
}

#[test]
fn a_budget_is_shared_by_its_clones_and_exact_on_any_number_of_threads() {
    let budget = RetryBudget::builder().ratio(0.25).min_per_second(0).max_tokens(10_000).build().unwrap();
    concurrently(8, |_| {
        let sink = RetryingSink::new(even_only(), budget.clone());
        (0..1000).for_each(|_| sink.write(&0).unwrap());
    });
    assert_eq!(budget.saved(), 2000);
    let retries = std::sync::atomic::AtomicU64::new(0);
    concurrently(8, |_| {
        let sink = RetryingSink::new(even_only(), budget.clone());
        failed(sink.write(&1));
        retries.fetch_add(sink.stats().retries, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!((retries.into_inner(), budget.saved(), budget.refused()), (2000, 0, 8));
}

#[test]
fn a_budget_refuses_numbers_that_make_no_sense() {
    for ratio in [f64::NAN, 0.0, -1.0, 0.000_9, 1000.1, f64::INFINITY] {
        let answer = RetryBudget::builder().ratio(ratio).build();
        assert!(matches!(answer, Err(BuildError::OutOfRange { option: "ratio", .. })), "{ratio}");
        // Unchecked, it becomes one that does.
        let budget = RetryBudget::new(ratio);
        let sink = RetryingSink::new(even_only(), budget.clone());
        (0..1000).for_each(|_| sink.write(&0).unwrap());
        assert!(budget.saved() >= 1, "{ratio}");
    }
    assert_eq!(RetryBudget::builder().max_tokens(0).build().err(), Some(BuildError::Zero { option: "max_tokens" }));
    let answer = RetryBudget::builder().min_per_second(1_000_001).build();
    assert!(matches!(answer, Err(BuildError::TooLarge { option: "min_per_second", max: 1_000_000, .. })));
}

#[test]
fn all_of_it_reads_as_one_expression_and_works_together() {
    let breaker = Breaker::new(2, 10 * SECOND);
    let budget = RetryBudget::builder().min_per_second(100).build().unwrap();
    let strategy = breaker
        .clone()
        .with_backoff(every(SECOND))
        .within_budget(budget.clone())
        .limited(RetryLimit::attempts(10).or_elapsed(60 * SECOND));
    let down = Down::with(strategy);
    down.send(1);
    assert_eq!((down.desk.arrived(), breaker.state()), (1, BreakerState::Closed), "the backoff comes first");
    down.advance(SECOND);
    assert_eq!((down.desk.arrived(), breaker.state()), (2, BreakerState::Open));
    (0..9).for_each(|_| down.advance(SECOND));
    assert_eq!(down.desk.arrived(), 2);
    down.advance(SECOND);
    assert_eq!(down.desk.arrived(), 3, "a probe every ten seconds");
    (0..50).for_each(|_| down.advance(SECOND));
    // Failures at 0, 1, 11, 21, 31, 41, 51; the next probe would be at 61.
    assert_eq!((down.desk.arrived(), down.exhausted(), budget.refused()), (7, 1, 0));
}

#[test]
fn a_sink_with_all_of_it_keeps_the_contract() {
    let make = || {
        let strategy =
            Breaker::new(9, HOUR).with_backoff(ExponentialBackoff::new(Duration::ZERO, SECOND / 1000, SECOND));
        let strategy = strategy.within_budget(RetryBudget::new(0.2)).limited(RetryLimit::attempts(5).or_age(HOUR));
        Failing::first(3, Recording::new()).retrying(strategy)
    };
    check_contract(make, &1);
}

/// Two strategies that give up together; both hear of each failure.
#[test]
fn a_verdict_of_one_is_heard_by_both() {
    let (breaker, bell) = (Breaker::new(1, HOUR), Bell::new());
    let clock = ManualClock::new().clock();
    let delivery = Delivery::resume_with(&bell.1, &clock, EventId(0), Journey::default());
    let pair = breaker.clone().limited(RetryLimit::attempts(1));
    let verdict = pair.failure(&mut Default::default(), &delivery, &Failure::transient(RefusedError));
    assert_eq!((verdict, breaker.state()), (Verdict::GiveUp, BreakerState::Open));
    assert_eq!(bell.0.rung(), 0);
}

#[test]
fn an_event_that_is_too_old_is_given_up_where_the_queue_stamps() {
    for stamped in [true, false] {
        let (pool, clock) = still_pool();
        let failing = Failing::always(Recording::new());
        let limit = RetryLimit::age(Duration::from_secs(60));
        let breaker = Breaker::new(1, Duration::from_secs(50));
        let mut builder = Queue::builder(failing.retrying(breaker.limited(limit))).pool(&pool);
        if stamped {
            builder = builder.stamped();
        }
        let queue = builder.build().unwrap();
        queue.send(1).unwrap();
        pool.wait_idle();
        clock.advance(Duration::from_secs(59));
        pool.wait_idle();
        assert_ledger(&queue, 1, 0, &[]);
        clock.advance(Duration::from_secs(1));
        pool.wait_idle();
        assert_ledger(&queue, 1, 0, &[(DropReason::Exhausted, u64::from(stamped))]);
        queue.close(Shutdown::Abort).unwrap();
    }
}

/// A retry above another: when the lower one gives up, the destination does not work, whatever the event's class says.
#[test]
fn what_a_retry_below_has_given_up_is_a_failure_to_the_strategy_above() {
    let breaker = Breaker::new(1, HOUR);
    let budget = RetryBudget::builder().ratio(1.0).min_per_second(0).build().unwrap();
    let down = sink_fn(|_: &u64| Err(Failure::transient(RefusedError).into()));
    let outer = breaker.clone().within_budget(budget.clone());
    let sink = down.retrying(RetryLimit::attempts(2)).retrying(outer);
    let (answer, _) = offer(&sink, &1, &ManualClock::new(), Journey::default());
    let Err(WriteError::Failed(failure)) = answer else { panic!("{answer:?}") };
    assert_eq!(failure.class(), Class::Exhausted);
    assert_eq!((breaker.state(), budget.saved()), (BreakerState::Open, 0));
}
