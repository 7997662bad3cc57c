//! The breaker: moved by hand, tripped by a rate, asked by many threads at once, and by its own wakers.

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::time::Duration;

use common::{Bell, Desk, concurrently, still_pool, watched};
use sinkworks::telemetry::Exporter;
use sinkworks::test_util::ManualClock;
use sinkworks::{
    Breaker, BreakerBuilder, BreakerState, BuildError, Clock, Delivery, EventId, Failure, Journey, Permit, Pool,
    Proceed, Queue, RetryStrategy, SinkExt,
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// A breaker that is asked directly, at a time that stands still.
struct Asked {
    breaker: Breaker,
    clock: ManualClock,
    now: Clock,
}

impl Asked {
    fn new(builder: BreakerBuilder) -> Self {
        let clock = ManualClock::new();
        Self { breaker: builder.build().unwrap(), now: clock.clock(), clock }
    }

    fn delivery<'a>(&'a self, waker: &'a Waker) -> Delivery<'a> {
        Delivery::resume_with(waker, &self.now, EventId(0), Journey::default())
    }

    fn asks(&self, permit: &mut Permit) -> bool {
        self.asks_with(permit, Waker::noop())
    }

    fn asks_with(&self, permit: &mut Permit, waker: &Waker) -> bool {
        self.breaker.proceed(permit, &self.delivery(waker)) == Proceed::Now
    }

    fn succeeds(&self, permit: &mut Permit) {
        self.breaker.success(permit, &self.delivery(Waker::noop()));
    }

    fn fails(&self, permit: &mut Permit) {
        self.breaker.failure(permit, &self.delivery(Waker::noop()), &Failure::transient("down"));
    }

    /// Attempts of new events.
    fn attempts(&self, successes: u32, failures: u32) {
        for failed in (0..successes).map(|_| false).chain((0..failures).map(|_| true)) {
            let mut permit = Permit::default();
            assert!(self.asks(&mut permit), "it is {:?}", self.breaker);
            if failed { self.fails(&mut permit) } else { self.succeeds(&mut permit) }
        }
    }

    #[track_caller]
    fn is(&self, state: BreakerState) {
        assert_eq!(self.breaker.state(), state, "{:?}", self.breaker);
    }
}

use BreakerState::{Closed, HalfOpen, Open};

fn by_threshold(threshold: u32) -> BreakerBuilder {
    Breaker::builder().threshold(threshold).backoff(10 * SECOND).probe_timeout(60 * SECOND)
}

fn by_rate(rate: f64, minimum: u32) -> BreakerBuilder {
    Breaker::builder().failure_rate(rate, 10 * SECOND, minimum).backoff(5 * SECOND)
}

#[test]
fn forced_open_nothing_passes_and_neither_time_nor_success_ends_it() {
    let asked = Asked::new(by_threshold(1));
    let mut begun = Permit::default();
    assert!(asked.asks(&mut begun));
    asked.breaker.force_open();
    assert!(asked.breaker.is_forced_open());
    asked.is(Open);
    let mut held = Permit::default();
    for _ in 0..100 {
        assert!(!asked.asks(&mut held), "no probe");
        asked.clock.advance(HOUR);
    }
    asked.succeeds(&mut begun);
    asked.fails(&mut begun);
    assert!(asked.breaker.is_forced_open());
    assert!(!asked.asks(&mut held));
    asked.breaker.enable();
    assert!(asked.breaker.is_forced_open(), "it was not disabled");
    asked.breaker.close();
    asked.is(Closed);
    assert!(!asked.breaker.is_forced_open());
    assert!(asked.asks(&mut held));
}

#[test]
fn a_probe_loses_its_say_when_the_breaker_is_moved_by_hand() {
    for failing in [false, true] {
        let asked = Asked::new(by_threshold(1));
        asked.attempts(0, 1);
        asked.clock.advance(10 * SECOND);
        let (mut probe, mut unused) = (Permit::default(), Permit::default());
        assert!(asked.asks(&mut probe));
        asked.is(HalfOpen);
        asked.breaker.force_open();
        assert!(!asked.asks(&mut unused));
        if failing {
            asked.fails(&mut probe);
        } else {
            asked.succeeds(&mut probe);
        }
        assert!(asked.breaker.is_forced_open());
        // A lease that was not used yet is no right any more either.
        asked.breaker.close();
        asked.attempts(0, 1);
        asked.clock.advance(10 * SECOND);
        assert!(asked.asks(&mut unused));
        asked.breaker.force_open();
        assert!(!asked.asks(&mut unused));
    }
    // Closed by hand, the probe that fails afterwards does not open it.
    let asked = Asked::new(by_threshold(1));
    asked.attempts(0, 1);
    asked.clock.advance(10 * SECOND);
    let mut probe = Permit::default();
    assert!(asked.asks(&mut probe));
    asked.breaker.close();
    asked.fails(&mut probe);
    asked.is(Closed);
}

#[test]
fn closing_by_hand_forgets_the_failures() {
    let asked = Asked::new(by_threshold(3));
    asked.attempts(0, 2);
    asked.breaker.close();
    asked.attempts(0, 2);
    asked.is(Closed);
    asked.attempts(0, 1);
    asked.is(Open);
    asked.breaker.close();
    asked.attempts(0, 2);
    asked.is(Closed);

    let asked = Asked::new(by_rate(0.5, 4));
    asked.attempts(0, 3);
    asked.breaker.close();
    asked.attempts(0, 3);
    asked.is(Closed);
    asked.attempts(0, 1);
    asked.is(Open);
}

#[test]
fn disabled_everything_passes_and_nothing_trips() {
    for builder in [by_threshold(1), by_rate(0.1, 1), by_rate(0.1, 1).threshold(1)] {
        let asked = Asked::new(builder);
        for from_forced in [false, true] {
            if from_forced {
                asked.breaker.force_open();
            }
            asked.breaker.disable();
            assert!(asked.breaker.is_disabled() && !asked.breaker.is_forced_open());
            asked.attempts(1, 100);
            asked.attempts(1, 100);
            asked.is(Closed);
            asked.breaker.enable();
            assert!(!asked.breaker.is_disabled());
            asked.is(Closed);
            asked.attempts(0, 1);
            asked.is(Open);
        }
        asked.breaker.disable();
        asked.breaker.close();
        assert!(!asked.breaker.is_disabled(), "closing ends it too");
        asked.breaker.disable();
        asked.breaker.force_open();
        assert!(!asked.breaker.is_disabled() && asked.breaker.is_forced_open());
    }
}

#[test]
fn only_a_change_of_what_is_shown_counts_as_a_transition() {
    let asked = Asked::new(by_threshold(1));
    let counts = || BreakerState::ALL.map(|state| asked.breaker.transitions_to(state));
    asked.breaker.close();
    asked.breaker.disable();
    asked.breaker.enable();
    assert_eq!(counts(), [0, 0, 0]);
    asked.attempts(0, 1);
    asked.breaker.force_open();
    asked.breaker.force_open();
    assert_eq!(counts(), [0, 1, 0]);
    asked.breaker.disable();
    assert_eq!(counts(), [1, 1, 0]);
}

#[test]
fn its_metrics_stay_one_hot_when_it_is_moved_by_hand() {
    let exporter = Exporter::install().unwrap();
    let breaker = by_threshold(1).name("by-hand").build().unwrap();
    let shown = || {
        let text = exporter.render();
        BreakerState::ALL.map(|state| {
            let series = format!("sinkworks_breaker_state{{breaker=\"by-hand\",state=\"{state}\"}} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&series));
            line.unwrap_or_else(|| panic!("no {series}")).to_owned()
        })
    };
    assert_eq!(shown(), ["1", "0", "0"]);
    breaker.force_open();
    assert_eq!(shown(), ["0", "1", "0"]);
    breaker.disable();
    assert_eq!(shown(), ["1", "0", "0"]);
}

/// Queues with one event each, all behind one breaker that is forced open before anything is sent.
struct Held {
    queues: Vec<Queue<u64>>,
    breaker: Breaker,
    desk: Desk,
    pool: Pool,
    clock: ManualClock,
}

impl Held {
    fn new(n: usize) -> Self {
        let (pool, clock) = still_pool();
        let (breaker, desk) = (by_threshold(1).build().unwrap(), Desk::default());
        breaker.force_open();
        let queue = |_| Queue::builder(desk.clone().retrying(breaker.clone())).pool(&pool).build().unwrap();
        let queues: Vec<Queue<u64>> = (0..n).map(queue).collect();
        for queue in &queues {
            queue.send(0).unwrap();
        }
        pool.wait_idle();
        Self { queues, breaker, desk, pool, clock }
    }

    fn delivered(&self) -> u64 {
        self.queues.iter().map(|queue| queue.ledger().delivered).sum()
    }

    /// How many come to the desk with each one that is served, until nobody is left.
    fn stages(&self) -> Vec<u64> {
        self.pool.wait_idle();
        let mut stages = vec![self.desk.arrived()];
        while self.delivered() < self.queues.len() as u64 && stages.len() < 100 {
            let before = self.desk.arrived();
            self.desk.serve(1);
            self.pool.wait_idle();
            stages.push(self.desk.arrived() - before);
        }
        stages
    }
}

#[test]
fn those_held_by_force_stay_held_and_are_woken_in_stages_when_it_closes() {
    for disable in [false, true] {
        let held = Held::new(20);
        (0..10).for_each(|_| {
            held.clock.advance(HOUR);
            held.pool.wait_idle();
        });
        assert_eq!(held.desk.arrived(), 0);
        if disable {
            held.breaker.disable();
        } else {
            held.breaker.close();
        }
        let stages = held.stages();
        assert_eq!(held.delivered(), 20, "{stages:?}");
        assert_eq!(stages[..6], [1, 2, 4, 8, 5, 0], "disabled: {disable}");
    }
}

#[test]
fn those_held_by_force_come_by_themselves_if_the_first_ones_never_answer() {
    let held = Held::new(20);
    held.breaker.close();
    held.pool.wait_idle();
    assert_eq!(held.desk.arrived(), 1);
    held.clock.advance(60 * SECOND);
    held.pool.wait_idle();
    assert_eq!(held.desk.arrived(), 20);
}

#[test]
fn events_that_an_open_breaker_holds_stay_held_when_it_is_forced_open() {
    let (pool, clock) = still_pool();
    let (breaker, desk) = (by_threshold(1).build().unwrap(), Desk::default());
    desk.refuse(true);
    let queue: Queue<u64> = Queue::builder(desk.clone().retrying(breaker.clone())).pool(&pool).build().unwrap();
    queue.send(1).unwrap();
    pool.wait_idle();
    breaker.force_open();
    for _ in 0..10 {
        clock.advance(HOUR);
        pool.wait_idle();
    }
    assert_eq!((desk.arrived(), queue.ledger().pending), (1, 1));
    desk.refuse(false);
    desk.serve(1);
    breaker.close();
    pool.wait_idle();
    assert_eq!((queue.ledger().delivered, queue.ledger().pending), (1, 0));
}

#[test]
fn a_rate_opens_it_once_there_are_enough_attempts() {
    let asked = Asked::new(by_rate(0.5, 10));
    asked.attempts(4, 4);
    asked.is(Closed);
    asked.attempts(2, 0);
    asked.is(Closed);
    asked.attempts(0, 1);
    asked.is(Closed);
    asked.attempts(0, 1);
    asked.is(Open);
}

#[test]
fn what_has_slid_out_of_the_window_does_not_count() {
    let asked = Asked::new(by_rate(0.5, 4));
    asked.attempts(0, 3);
    asked.clock.advance(10 * SECOND);
    asked.attempts(0, 3);
    asked.is(Closed);
    // In small steps, never four in ten seconds.
    asked.clock.advance(10 * SECOND);
    for _ in 0..20 {
        asked.clock.advance(4 * SECOND);
        asked.attempts(0, 1);
        asked.is(Closed);
    }
    // Successes slide out, too.
    asked.clock.advance(10 * SECOND);
    asked.attempts(100, 0);
    asked.clock.advance(5 * SECOND);
    asked.attempts(0, 4);
    asked.is(Closed);
    asked.clock.advance(5 * SECOND);
    asked.attempts(0, 1);
    asked.is(Open);
}

#[test]
fn opened_by_the_rate_it_is_closed_by_a_probe_and_then_begins_anew() {
    let asked = Asked::new(by_rate(0.5, 4));
    let mut begun = Permit::default();
    assert!(asked.asks(&mut begun));
    asked.attempts(2, 2);
    asked.is(Open);
    asked.succeeds(&mut begun);
    asked.is(Open);
    asked.clock.advance(5 * SECOND);
    let mut probe = Permit::default();
    assert!(asked.asks(&mut probe));
    asked.succeeds(&mut begun);
    asked.is(HalfOpen);
    asked.fails(&mut probe);
    asked.is(Open);
    asked.succeeds(&mut begun);
    asked.is(Open);
    asked.clock.advance(5 * SECOND);
    assert!(asked.asks(&mut probe));
    asked.succeeds(&mut probe);
    asked.is(Closed);
    asked.attempts(0, 3);
    asked.is(Closed);
    asked.attempts(0, 1);
    asked.is(Open);
}

#[test]
fn opened_by_a_threshold_it_is_closed_by_any_success() {
    for builder in [by_threshold(2), by_rate(0.9, 1000).threshold(2)] {
        let asked = Asked::new(builder);
        let mut begun = Permit::default();
        assert!(asked.asks(&mut begun));
        asked.attempts(0, 2);
        asked.is(Open);
        asked.succeeds(&mut begun);
        asked.is(Closed);
    }
}

#[test]
fn with_both_whichever_comes_first_opens_it_and_a_rate_alone_has_no_threshold() {
    let both = || by_rate(0.5, 20).threshold(3);
    let asked = Asked::new(both());
    asked.attempts(0, 3);
    asked.is(Open);

    let asked = Asked::new(both());
    (0..9).for_each(|_| asked.attempts(1, 1));
    asked.is(Closed);
    asked.attempts(1, 1);
    asked.is(Open);

    let alone = Asked::new(by_rate(1.0, 50));
    alone.attempts(0, 49);
    alone.is(Closed);
    alone.attempts(0, 1);
    alone.is(Open);

    let neither = Asked::new(Breaker::builder());
    neither.attempts(0, 4);
    neither.is(Closed);
    neither.attempts(0, 1);
    neither.is(Open);
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    for rate in [f64::NAN, 0.0, -0.1, 1.000_1, f64::INFINITY] {
        let answer = by_rate(rate, 1).build();
        assert!(matches!(answer, Err(BuildError::OutOfRange { option: "failure_rate", .. })), "{rate}: {answer:?}");
    }
    by_rate(1.0, 100_000).build().unwrap();
    by_rate(f64::MIN_POSITIVE, 1).build().unwrap();
    let zero = |option| Some(BuildError::Zero { option });
    assert_eq!(by_rate(0.5, 0).build().err(), zero("failure_rate's minimum"));
    let no_window = Breaker::builder().failure_rate(0.5, Duration::ZERO, 1);
    assert_eq!(no_window.build().err(), zero("failure_rate's window"));
    assert!(matches!(by_rate(0.5, 100_001).build(), Err(BuildError::TooLarge { max: 100_000, .. })));
    assert_eq!(by_rate(0.5, 1).threshold(0).build().err(), zero("threshold"));
}

#[test]
fn failures_of_many_threads_are_each_counted_once() {
    let asked = Asked::new(by_threshold(8 * 500 + 1));
    concurrently(8, |_| asked.attempts(0, 500));
    asked.is(Closed);
    asked.attempts(0, 1);
    asked.is(Open);

    let asked = Asked::new(by_rate(0.5, 8 * 500 + 1));
    concurrently(8, |_| asked.attempts(100, 400));
    asked.is(Closed);
    asked.attempts(0, 1);
    asked.is(Open);
}

#[test]
fn of_many_threads_that_ask_at_once_exactly_the_probes_pass() {
    for round in 0..50 {
        let probes = 1 + round % 5;
        let asked = Asked::new(by_threshold(1).probes(probes));
        asked.attempts(0, 1);
        asked.clock.advance(10 * SECOND);
        let (passed, permits) = (AtomicU64::new(0), Mutex::new(Vec::new()));
        concurrently(8, |_| {
            let mut permit = Permit::default();
            if asked.asks(&mut permit) {
                passed.fetch_add(1, Ordering::Relaxed);
            }
            // Kept: who drops a lease gives it back.
            permits.lock().unwrap().push(permit);
        });
        assert_eq!(passed.into_inner(), u64::from(probes));
        assert_eq!(asked.breaker.transitions_to(HalfOpen), 1);
    }
}

#[test]
fn many_threads_and_an_operator_leave_it_as_the_operator_last_said() {
    let asked = Asked::new(by_threshold(3));
    concurrently(4, |thread| {
        for round in 0..2000 {
            if thread == 0 {
                match round % 4 {
                    0 => asked.breaker.force_open(),
                    1 => asked.breaker.close(),
                    2 => asked.breaker.disable(),
                    _ => asked.breaker.enable(),
                }
                continue;
            }
            let mut permit = Permit::default();
            if asked.asks(&mut permit) {
                if round % 5 == 0 { asked.succeeds(&mut permit) } else { asked.fails(&mut permit) }
            }
        }
    });
    asked.breaker.force_open();
    asked.is(Open);
    asked.breaker.close();
    asked.is(Closed);
    asked.attempts(0, 2);
    asked.is(Closed);
    asked.attempts(0, 1);
    asked.is(Open);
}

/// Asks the breaker when it is woken, as an executor does that runs at once what is woken, and moves it.
struct CallsBack {
    asked: Arc<Asked>,
    woken: AtomicU64,
}

impl Wake for CallsBack {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, Ordering::AcqRel);
        let mut permit = Permit::default();
        self.asked.asks(&mut permit);
        self.asked.succeeds(&mut permit);
        self.asked.breaker.enable();
    }
}

/// The same when it is dropped.
struct CallsBackAtItsEnd(Arc<Asked>);

impl Wake for CallsBackAtItsEnd {
    fn wake(self: Arc<Self>) {}
}

impl Drop for CallsBackAtItsEnd {
    fn drop(&mut self) {
        self.0.asks(&mut Permit::default());
        self.0.breaker.close();
    }
}

/// Holds somebody with a waker that calls back, does something that wakes it, and says how often it was.
fn woken_by(act: impl FnOnce(&Asked) + Send + 'static) -> u64 {
    watched(move || {
        let asked = Arc::new(Asked::new(by_threshold(1)));
        asked.attempts(0, 1);
        let calls = Arc::new(CallsBack { asked: asked.clone(), woken: AtomicU64::new(0) });
        let mut permits: Vec<Permit> = (0..4).map(|_| Permit::default()).collect();
        for permit in &mut permits {
            assert!(!asked.asks_with(permit, &calls.clone().into()));
        }
        act(&asked);
        calls.woken.load(Ordering::Acquire)
    })
}

#[test]
fn a_waker_may_call_back_into_the_breaker() {
    // Whoever is woken succeeds, which closes it and wakes the next ones, in the end all four.
    assert_eq!(woken_by(|asked| asked.breaker.close()), 4);
    assert_eq!(woken_by(|asked| asked.breaker.disable()), 4);
    let probing = |asked: &Asked| {
        asked.clock.advance(10 * SECOND);
        let mut probe = Permit::default();
        assert!(asked.asks(&mut probe));
        probe
    };
    assert_eq!(woken_by(move |asked| asked.succeeds(&mut probing(asked))), 4);
    assert_eq!(woken_by(move |asked| asked.fails(&mut probing(asked))), 4);
    assert_eq!(woken_by(move |asked| drop(probing(asked))), 4);
}

#[test]
fn a_held_event_that_goes_wakes_its_successor_outside_the_lock() {
    watched(|| {
        let asked = Arc::new(Asked::new(by_threshold(1)));
        asked.attempts(0, 1);
        let calls = Arc::new(CallsBack { asked: asked.clone(), woken: AtomicU64::new(0) });
        let (mut herald, mut other) = (Permit::default(), Permit::default());
        assert!(!asked.asks(&mut herald));
        assert!(!asked.asks_with(&mut other, &calls.clone().into()));
        drop(herald);
        assert_eq!(calls.woken.load(Ordering::Acquire), 1, "the other one: the herald is gone");
    });
}

#[test]
fn the_drop_of_a_waker_may_call_back_too() {
    watched(|| {
        let asked = Arc::new(Asked::new(by_threshold(1)));
        asked.attempts(0, 1);
        let mut held = Permit::default();
        assert!(!asked.asks_with(&mut held, &Arc::new(CallsBackAtItsEnd(asked.clone())).into()));
        // Replaced by the next one.
        asked.asks(&mut held);
        asked.is(Closed);

        asked.attempts(0, 1);
        assert!(!asked.asks_with(&mut held, &Arc::new(CallsBackAtItsEnd(asked.clone())).into()));
        // Not needed any more: it is the probe.
        asked.clock.advance(10 * SECOND);
        assert!(asked.asks(&mut held));
        asked.is(Closed);
    });
}

#[test]
fn when_a_probe_fails_as_many_as_there_are_probes_learn_the_new_time() {
    let asked = Asked::new(by_threshold(1).probes(2));
    asked.attempts(0, 1);
    let (bell, waker) = Bell::new();
    let mut held: Vec<Permit> = (0..5).map(|_| Permit::default()).collect();
    assert!(held.iter_mut().all(|permit| !asked.asks_with(permit, &waker)));
    asked.clock.advance(10 * SECOND);
    let mut probe = Permit::default();
    assert!(asked.asks(&mut probe));
    asked.fails(&mut probe);
    asked.is(Open);
    assert_eq!(bell.rung(), 2);
}

/// Closed by hand, tripped anew, and only then does a probe of before answer.
#[test]
fn a_probe_from_before_has_lost_its_say_over_a_breaker_that_opened_by_rate() {
    let asked = Asked::new(by_rate(0.5, 4));
    asked.attempts(0, 4);
    asked.clock.advance(5 * SECOND);
    let mut probe = Permit::default();
    assert!(asked.asks(&mut probe));
    asked.breaker.close();
    asked.attempts(0, 4);
    assert_eq!(asked.breaker.state(), BreakerState::Open);
    asked.succeeds(&mut probe);
    assert_eq!(asked.breaker.state(), BreakerState::Open);
}

#[test]
fn a_rate_trips_at_exactly_its_share() {
    for percent in 1..=100_u32 {
        let asked = Asked::new(by_rate(f64::from(percent) / 100.0, 100));
        asked.attempts(100 - percent, percent);
        assert_eq!(asked.breaker.state(), BreakerState::Open, "{percent} of 100");
    }
}

#[test]
fn a_rate_counts_again_after_any_time_of_rest() {
    for days in [1, 20, 100, 1000, 10_000] {
        let asked = Asked::new(Breaker::builder().failure_rate(0.5, SECOND / 10, 4));
        asked.attempts(10, 0);
        asked.clock.advance(days * 24 * HOUR);
        asked.attempts(0, 4);
        assert_eq!(asked.breaker.state(), BreakerState::Open, "after {days} days");
    }
}
