//! The breaker, as the sinks that share one ask it: each thread is one event with its permit. A held event that nobody wakes waits for ever here, which
//! loom reports as a deadlock: but for the lease that ends by time, the models leave the times that a breaker tells out, so waking must suffice.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use loom::thread;

use super::queue::Bell;
use super::{Model, mutation};
use crate::clock::{Clock, ManualTime};
use crate::delivery::{Delivery, EventId, Journey};
use crate::error::{Failure, Wait, WriteError};
use crate::retry::{Breaker, BreakerState, Permit, Proceed, RetryStrategy, RetryingSink, Verdict};
use crate::shutdown::Shutdown;
use crate::sink::{Sink, sink_fn};

pub(super) const MODELS: &[Model] = &[
    Model {
        name: "breaker_concurrent_failures",
        // Small enough for every interleaving.
        preemptions: None,
        run: concurrent_failures,
        mutations: &[mutation("breaker_failure_by_store")],
    },
    Model {
        name: "breaker_failures_by_rate",
        preemptions: Some(2),
        run: failures_by_rate,
        mutations: &[mutation("breaker_window_by_store")],
    },
    Model {
        name: "breaker_control_against_attempts",
        preemptions: Some(3),
        run: control_against_attempts,
        mutations: &[mutation("breaker_opens_by_a_second_look"), mutation("breaker_success_by_store")],
    },
    Model {
        name: "breaker_control_against_rate",
        preemptions: Some(2),
        run: control_against_rate,
        mutations: &[mutation("breaker_rate_by_a_second_look")],
    },
    Model {
        name: "breaker_control_against_probe",
        preemptions: Some(3),
        run: control_against_probe,
        mutations: &[mutation("breaker_forced_ignores_success")],
    },
    Model {
        name: "breaker_probe_count_is_exact",
        preemptions: Some(3),
        run: probe_count_is_exact,
        mutations: &[mutation("breaker_probe_count")],
    },
    Model {
        name: "breaker_close_leaves_nobody",
        preemptions: Some(2),
        run: close_leaves_nobody,
        mutations: &[
            mutation("breaker_success_wakes_the_next"),
            mutation("breaker_hold_looks_again"),
            mutation("breaker_stages_end"),
        ],
    },
    Model {
        name: "breaker_probe_is_dropped",
        preemptions: Some(3),
        run: probe_is_dropped,
        mutations: &[mutation("breaker_lost_probe_wakes")],
    },
    Model {
        name: "breaker_lease_ends",
        preemptions: Some(2),
        run: lease_ends,
        mutations: &[mutation("breaker_lease_ends")],
    },
    Model {
        name: "breaker_late_answer",
        preemptions: Some(3),
        run: late_answer,
        mutations: &[mutation("breaker_late_answer_says_nothing")],
    },
    Model {
        name: "retry_close_against_wait",
        preemptions: Some(3),
        run: close_against_wait,
        mutations: &[mutation("retry_close_wakes"), mutation("retry_wait_looks_again")],
    },
];

/// An event that goes by the breaker.
struct Event {
    breaker: Breaker,
    permit: Permit,
    bell: Arc<Bell>,
    waker: Waker,
    clock: Clock,
}

impl Event {
    fn new(breaker: &Breaker) -> Self {
        Self::timed(breaker, Clock::system())
    }

    fn timed(breaker: &Breaker, clock: Clock) -> Self {
        let bell = Arc::new(Bell::default());
        Self { breaker: breaker.clone(), permit: Permit::default(), waker: bell.clone().into(), bell, clock }
    }

    fn delivery(&self) -> Delivery<'_> {
        Delivery::resume_with(&self.waker, &self.clock, EventId(0), Journey::default())
    }

    fn asks(&mut self) -> Proceed {
        let mut permit = std::mem::take(&mut self.permit);
        let answer = self.breaker.proceed(&mut permit, &self.delivery());
        self.permit = permit;
        answer
    }

    fn may_pass(&mut self) -> bool {
        self.asks() == Proceed::Now
    }

    /// Asks, and again whenever it is woken.
    fn waits(&mut self) {
        while !self.may_pass() {
            self.bell.wait();
        }
    }

    fn succeeds(&mut self) {
        let mut permit = std::mem::take(&mut self.permit);
        self.breaker.success(&mut permit, &self.delivery());
        self.permit = permit;
    }

    fn fails(&mut self) {
        let mut permit = std::mem::take(&mut self.permit);
        self.breaker.failure(&mut permit, &self.delivery(), &Failure::transient("told to fail"));
        self.permit = permit;
    }
}

/// A breaker that has opened, and may be asked for a probe at once.
fn opened() -> Breaker {
    let breaker = Breaker::new(1, Duration::ZERO);
    let mut event = Event::new(&breaker);
    assert!(event.may_pass());
    event.fails();
    assert_eq!(breaker.state(), BreakerState::Open);
    breaker
}

/// As many fail at once as it takes: no failure is lost, and it opens once.
fn concurrent_failures() {
    let breaker = Breaker::new(2, Duration::from_secs(1));
    let fail = {
        let breaker = breaker.clone();
        move || {
            let mut event = Event::new(&breaker);
            if event.may_pass() {
                event.fails();
            }
        }
    };
    let other = thread::spawn(fail.clone());
    fail();
    other.join().unwrap();
    assert_eq!(breaker.state(), BreakerState::Open);
    assert_eq!(breaker.transitions_to(BreakerState::Open), 1);
}

/// The same by the share of failures: neither is lost in the bucket that both count in.
fn failures_by_rate() {
    let breaker = Breaker::builder().failure_rate(1.0, Duration::from_secs(10), 2).build().unwrap();
    let fail = {
        let breaker = breaker.clone();
        move || {
            let mut event = Event::new(&breaker);
            assert!(event.may_pass());
            event.fails();
        }
    };
    let other = thread::spawn(fail.clone());
    fail();
    other.join().unwrap();
    assert_eq!(breaker.state(), BreakerState::Open);
    assert_eq!(breaker.transitions_to(BreakerState::Open), 1);
}

/// What an operator says last counts, whatever attempts answer meanwhile.
fn control_against_attempts() {
    let breaker = Breaker::new(2, Duration::from_secs(1));
    let mut events = [Event::new(&breaker), Event::new(&breaker), Event::new(&breaker)];
    assert!(events.iter_mut().all(Event::may_pass));
    let [mut first, mut second, mut third] = events;
    first.fails();
    // Opens it, unless the success comes first.
    let failing = thread::spawn(move || second.fails());
    let succeeding = thread::spawn(move || third.succeeds());
    breaker.force_open();
    failing.join().unwrap();
    succeeding.join().unwrap();
    assert!(breaker.is_forced_open());
}

/// The same where it opens by the share of failures.
fn control_against_rate() {
    let breaker = Breaker::builder().failure_rate(1.0, Duration::from_secs(10), 1).build().unwrap();
    let mut event = Event::new(&breaker);
    assert!(event.may_pass());
    let failing = thread::spawn(move || event.fails());
    breaker.disable();
    failing.join().unwrap();
    assert!(breaker.is_disabled());
    assert!(Event::new(&breaker).may_pass());
}

/// A probe's success does not close what was forced open, and an ask does not make it half-open.
fn control_against_probe() {
    let breaker = opened();
    let mut probe = Event::new(&breaker);
    assert!(probe.may_pass());
    let asking = {
        let mut event = Event::new(&breaker);
        thread::spawn(move || event.asks())
    };
    let probing = thread::spawn(move || probe.succeeds());
    breaker.force_open();
    asking.join().unwrap();
    probing.join().unwrap();
    assert!(breaker.is_forced_open());
}

/// Two ask a breaker whose time has come: one is the probe.
fn probe_count_is_exact() {
    let breaker = opened();
    // The permits are kept until both have asked: a probe that goes lets another come.
    let asks = {
        let breaker = breaker.clone();
        move || {
            let mut event = Event::new(&breaker);
            (event.may_pass(), event.permit)
        }
    };
    let other = thread::spawn(asks.clone());
    let (mine, _permit) = asks();
    let (theirs, _permit) = other.join().unwrap();
    assert_eq!(u32::from(mine) + u32::from(theirs), 1);
    assert_eq!(breaker.transitions_to(BreakerState::HalfOpen), 1);
}

/// A probe succeeds while two others ask or are held: each of them passes, the second perhaps woken by the success of the first.
fn close_leaves_nobody() {
    let breaker = opened();
    let mut probe = Event::new(&breaker);
    assert!(probe.may_pass());
    let others = [0, 1].map(|_| {
        let breaker = breaker.clone();
        thread::spawn(move || {
            let mut event = Event::new(&breaker);
            event.waits();
            event.succeeds();
        })
    });
    probe.succeeds();
    others.into_iter().for_each(|other| other.join().unwrap());
    assert_eq!(breaker.state(), BreakerState::Closed);
    assert!(breaker.is_at_rest(), "every success would go on to look for somebody to wake");
}

/// A probe's event goes without an answer while another asks or is held: that one becomes the probe.
fn probe_is_dropped() {
    let breaker = opened();
    let mut probe = Event::new(&breaker);
    assert!(probe.may_pass());
    let other = {
        let breaker = breaker.clone();
        thread::spawn(move || {
            let mut event = Event::new(&breaker);
            event.waits();
            event.succeeds();
        })
    };
    drop(probe);
    other.join().unwrap();
    assert_eq!(breaker.state(), BreakerState::Closed);
}

/// A probe that never answers: another becomes the probe when the time comes that it was told. It rings as a timer does that is set for that time.
fn lease_ends() {
    overtaken(|_| {});
}

/// The same while the first one answers after all: that says nothing any more, or opens it for the other to be the probe.
fn late_answer() {
    overtaken(Event::fails);
}

fn overtaken(meanwhile: fn(&mut Event)) {
    let time = ManualTime::new();
    let breaker = opened();
    let mut late = Event::timed(&breaker, time.clock());
    assert!(late.may_pass());
    let mut other = Event::timed(&breaker, time.clock());
    time.clock().on_advance(other.waker.clone());
    let other = thread::spawn(move || {
        other.waits();
        other.succeeds();
    });
    time.advance(Duration::from_secs(31));
    meanwhile(&mut late);
    other.join().unwrap();
    assert_eq!(breaker.state(), BreakerState::Closed);
}

/// Lets nothing pass.
struct Never;

impl RetryStrategy for Never {
    type State = ();

    fn proceed(&self, (): &mut (), _: &Delivery<'_>) -> Proceed {
        Proceed::Wait(Wait { until: None })
    }
    fn success(&self, (): &mut (), _: &Delivery<'_>) {}
    fn failure(&self, (): &mut (), _: &Delivery<'_>, _: &Failure) -> Verdict {
        Verdict::Retry
    }
}

/// An event waits for its attempt while the sink is closed: its holder learns that.
fn close_against_wait() {
    let sink = Arc::new(RetryingSink::new(sink_fn(|_: &u32| Ok(())), Never));
    let holder = {
        let sink = sink.clone();
        thread::spawn(move || sink.write(&1))
    };
    let nobody = Waker::from(Arc::new(Bell::default()));
    assert!(sink.poll_close(Shutdown::Drain, &nobody).is_ready());
    assert!(matches!(holder.join().unwrap(), Err(WriteError::Closed)));
}
