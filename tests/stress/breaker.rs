//! The breaker: asked and told by a retrying sink and by the queue before it, and moved by hand.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use fastrand::Rng;
use sinkworks::{
    Breaker, BreakerState, Class, CloseError, CloseReport, Delivery, Failure, Permit, Proceed, Queue, RetryStrategy,
    RetryingSink, Shutdown, Sink, WriteError,
};

use crate::accounts::{Accounts, assert_proper};
use crate::queue::{NAME, POOLS};
use crate::scene::{Actor, LONG, Operation, Scene};

pub(crate) struct BreakerScene {
    breaker: Breaker,
    retry: Arc<RetryingSink<Arc<Ailing>, Breaker>>,
    queue: Queue<u64>,
    ailing: Arc<Ailing>,
    accounts: Accounts,
}

/// Takes events, or fails for as long as it is ill.
#[derive(Default)]
struct Ailing {
    ill: AtomicBool,
    seen: Mutex<Vec<u64>>,
}

impl Sink<u64> for Ailing {
    fn try_write(&self, event: &u64, _: &mut Delivery<'_>) -> Result<(), WriteError> {
        if self.ill.load(Ordering::Acquire) {
            return Err(Failure::transient("ill").into());
        }
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(*event);
        Ok(())
    }

    fn poll_close(&self, _: Shutdown, _: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        Poll::Ready(Ok(CloseReport::new()))
    }
}

impl BreakerScene {
    fn attempt(&self, told: impl FnOnce(&Breaker, &mut Permit, &Delivery<'_>)) {
        let (mut permit, delivery) = (Permit::default(), Delivery::from_thread());
        if self.breaker.proceed(&mut permit, &delivery) == Proceed::Now {
            told(&self.breaker, &mut permit, &delivery);
        }
    }

    fn write(&self, actor: &mut Actor, ill: bool) {
        self.ailing.ill.store(ill, Ordering::Release);
        let event = actor.event();
        let answer = self.retry.write(&event);
        self.accounts.note(event, &answer);
    }

    fn send(&self, actor: &mut Actor, ill: bool) {
        self.ailing.ill.store(ill, Ordering::Release);
        let event = actor.event();
        self.accounts.note(event, &self.queue.send(event).map_err(|refused| refused.error));
    }
}

impl Scene for BreakerScene {
    const NAME: &'static str = "breaker";
    const SOURCES: &'static [&'static str] = &["src/retry/breaker/mod.rs", "src/retry/breaker/control.rs"];
    const OPERATIONS: &'static [Operation<Self>] = &[
        Operation::new("retry.write", |scene, actor| scene.write(actor, false)),
        Operation::new("retry.write(ill)", |scene, actor| scene.write(actor, true)),
        Operation::new("retry.try_write(ill)", |scene, actor| {
            scene.ailing.ill.store(true, Ordering::Release);
            let event = actor.event();
            scene.accounts.note(event, &scene.retry.try_write(&event, &mut Delivery::from_thread()));
        }),
        Operation::new("fail_fast", |scene, actor| {
            let event = actor.event();
            match RetryingSink::new(scene.ailing.clone(), scene.breaker.fail_fast()).write(&event) {
                Ok(()) => scene.accounts.note(event, &Ok(())),
                Err(WriteError::Failed(failure)) => assert_eq!(failure.class(), Class::Exhausted),
                Err(error) => panic!("{error:?}"),
            }
        }),
        Operation::new("queue.send", |scene, actor| scene.send(actor, false)),
        Operation::new("queue.send(ill)", |scene, actor| scene.send(actor, true)),
        Operation::new("proceed", |scene, _| scene.attempt(|_, _, _| {})),
        Operation::new("success", |scene, _| scene.attempt(Breaker::success)),
        Operation::new("failure", |scene, _| {
            for _ in 0..3 {
                scene.attempt(|breaker, permit, delivery| {
                    breaker.failure(permit, delivery, &Failure::transient("told to fail"));
                });
            }
        }),
        Operation::new("force_open", |scene, _| scene.breaker.force_open()),
        Operation::new("close", |scene, _| scene.breaker.close()),
        Operation::new("disable", |scene, _| scene.breaker.disable()),
        Operation::new("enable", |scene, _| scene.breaker.enable()),
        Operation::new("state", |scene, _| assert!(!format!("{:?}", scene.breaker.state()).is_empty())),
        Operation::new("transitions_to", |scene, _| {
            let before = scene.breaker.transitions_to(BreakerState::Open);
            assert!(before <= scene.breaker.transitions_to(BreakerState::Open));
        }),
        Operation::new("is_forced_open", |scene, _| {
            let _ = scene.breaker.is_forced_open();
        }),
        Operation::new("is_disabled", |scene, _| {
            let _ = scene.breaker.is_disabled();
        }),
        Operation::new("name", |scene, _| assert!(!scene.breaker.name().is_empty())),
        Operation::new("debug", |scene, _| assert!(!format!("{:?}", scene.breaker).is_empty())),
        Operation::new("clone", |scene, _| drop(scene.breaker.clone())),
    ];

    fn set(rng: &mut Rng) -> Self {
        let builder =
            Breaker::builder().name(NAME).probe_timeout(10 * LONG).threshold(rng.u32(1..3)).probes(rng.u32(1..3));
        let breaker = builder.backoff(Duration::from_micros(rng.u64(1..200))).build().unwrap();
        let ailing = Arc::new(Ailing::default());
        let retry = Arc::new(RetryingSink::named(NAME, ailing.clone(), breaker.clone()).unwrap());
        let queue = Queue::builder(retry.clone()).name(NAME).pool(&POOLS[rng.usize(..2)]).build().unwrap();
        match rng.u8(..8) {
            0 => breaker.force_open(),
            1 => breaker.disable(),
            // Open, or on the way there, when the actors come.
            2 | 3 => {
                breaker.failure(&mut Permit::default(), &Delivery::from_thread(), &Failure::transient("ill"));
            }
            _ => {}
        }
        Self { breaker, retry, queue, ailing, accounts: Accounts::default() }
    }

    /// The destination is well again, and the breaker lets it be tried.
    fn release(&self) {
        self.ailing.ill.store(false, Ordering::Release);
        if self.breaker.is_forced_open() {
            self.breaker.close();
        }
    }

    fn settle(self, rng: &mut Rng) {
        let Self { breaker, retry, queue, ailing, accounts } = self;
        ailing.ill.store(false, Ordering::Release);
        if breaker.is_forced_open() {
            assert_eq!(breaker.state(), BreakerState::Open);
            breaker.close();
        }
        // Whatever has happened, nobody is held for ever: no probe is missing.
        let mut last = Actor::new(2, rng.fork());
        let event = last.event();
        accounts.note(event, &retry.write(&event));
        let report = queue.close(Shutdown::within(LONG)).unwrap();
        let answers = accounts.read();
        let mut seen = ailing.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let context = (&answers, seen.clone(), &breaker);
        assert_eq!((report.dropped(), report.in_flight()), (0, 0), "{context:x?}");
        assert_proper(&seen, &answers.ok, &context);
        assert_eq!(seen.len(), answers.ok.len(), "{context:x?}");
        seen.sort_unstable();
        assert!(answers.closed.is_empty() && answers.failed.is_empty(), "{context:x?}");
        assert_eq!(breaker.state(), BreakerState::Closed, "{context:x?}");
    }
}
