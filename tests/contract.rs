//! The contract check on every sink of ours, on sinks that break the contract, and what builders and constructors make of bad values.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use sinkworks::test_util::{
    Blocking, Failing, Flaky, Gate, NotReadyYet, Panicking, Recording, Seed, Slow, check_contract,
};
use sinkworks::{
    BatchError, Batching, Breaker, Broadcaster, BuildError, Channel, CloseError, CloseReport, Delivery,
    ExponentialBackoff, Filter, Overflow, Pool, Queue, Receiver, RetryingSink, Shutdown, Sink, SinkExt, SinkId, Wakers,
    WriteError, sink_fn,
};

const MS: Duration = Duration::from_millis(1);

fn breaker() -> Breaker {
    Breaker::new(1, MS)
}

fn backoff() -> ExponentialBackoff {
    ExponentialBackoff::new(Duration::ZERO, MS, 5 * MS)
}

/// Fails and hesitates: what a stage around it must cope with.
fn difficult() -> impl Sink<u32> {
    NotReadyYet::new(1, Failing::first(3, NotReadyYet::new(2, Recording::new())))
}

#[test]
fn queues_keep_the_contract() {
    check_contract(|| Queue::new(Recording::new()), &1);
    check_contract(|| Queue::builder(Recording::new()).capacity(1).build().unwrap(), &1);
    check_contract(|| Queue::builder(Recording::new()).capacity(100).overflow(Overflow::Reject).build().unwrap(), &1);
    check_contract(|| difficult().retrying(breaker()).queued(), &1);
    check_contract(|| Queue::new(Queue::builder(difficult().retrying(backoff())).capacity(1).build().unwrap()), &1);
}

#[test]
fn retrying_sinks_keep_the_contract() {
    check_contract(|| difficult().retrying(breaker()), &1);
    check_contract(|| difficult().retrying(backoff()), &1);
    check_contract(|| difficult().retrying((backoff(), breaker())), &1);
    check_contract(|| difficult().retrying(backoff()).retrying(breaker()), &1);
    let full = || Queue::builder(Recording::new()).capacity(1).overflow(Overflow::Reject).build().unwrap();
    check_contract(|| full().retrying(breaker()), &1);
}

fn broadcaster(sinks: impl IntoIterator<Item = Box<dyn Sink<u32>>>) -> Broadcaster<u32> {
    let broadcaster = Broadcaster::new();
    for sink in sinks {
        broadcaster.add(sink).unwrap();
    }
    broadcaster
}

#[test]
fn broadcasters_keep_the_contract() {
    check_contract(Broadcaster::<u32>::new, &1);
    let nested = || -> Broadcaster<u32> {
        broadcaster([
            Box::new(difficult().retrying(breaker())) as Box<dyn Sink<u32>>,
            Box::new(Queue::new(Recording::new())),
            Box::new(NotReadyYet::new(3, Recording::new())),
            Box::new(Panicking::new(|_: &u32| true, Recording::new())),
        ])
    };
    check_contract(nested, &1);
    check_contract(|| broadcaster([Box::new(nested()) as Box<dyn Sink<u32>>, Box::new(difficult())]), &1);
    check_contract(|| nested().retrying(breaker()), &1);
}

#[test]
fn filters_and_functions_keep_the_contract() {
    check_contract(|| Recording::new().filtered(|_: &u32| true), &1);
    check_contract(|| Recording::new().filtered(|_: &u32| false), &1);
    check_contract(|| difficult().retrying(breaker()).filtered(|_: &u32| true), &1);
    check_contract(|| sink_fn(|_: &u32| Ok(())), &1);
    check_contract(|| sink_fn(|_: &str| Ok(())), "unsized");
}

#[test]
fn time_limits_and_fallbacks_keep_the_contract() {
    const HOUR: Duration = Duration::from_secs(3600);
    check_contract(|| difficult().retrying(breaker()).time_limit(HOUR), &1);
    check_contract(|| NotReadyYet::new(3, Recording::new()).time_limit(MS).retrying(backoff()), &1u32);
    check_contract(|| sink_fn(|_: &str| Ok(())).time_limit(HOUR), "unsized");
    check_contract(|| Recording::new().fallback(Recording::new()), &1u32);
    check_contract(|| difficult().fallback(difficult().retrying(breaker())), &1);
    check_contract(|| Failing::always(Recording::new()).fallback(Queue::new(Recording::new())), &1u32);
    check_contract(|| difficult().fallback(difficult()).retrying(breaker()), &1);
    let nested = || difficult().retrying(breaker().fail_fast()).time_limit(HOUR);
    check_contract(move || nested().fallback(nested().fallback(difficult().retrying(backoff()))), &1);
}

#[test]
fn batches_keep_the_contract() {
    let leaf = || sinkworks::batch_fn(|_: &[&u32]| Ok(()));
    check_contract(leaf, &[1, 2, 3][..]);
    check_contract(leaf, &[][..]);
    let hesitant = || NotReadyYet::new(1, Failing::first(2, NotReadyYet::new(2, leaf())));
    check_contract(move || hesitant().retrying(breaker()), &[1, 2, 3][..]);
    check_contract(move || leaf().batched(1, Duration::ZERO), &1);
    check_contract(move || hesitant().retrying(backoff()).batched(3, MS), &1);
    let bounded = |capacity| move || Queue::batching(leaf(), Batching::new(2, MS)).capacity(capacity).build().unwrap();
    check_contract(bounded(2), &1);
    check_contract(move || Queue::builder(bounded(3)()).build().unwrap(), &1);
    // Each event of a batch is taken at another attempt.
    let stubborn = || {
        let attempts = std::sync::atomic::AtomicUsize::new(0);
        sinkworks::batch_fn(move |events: &[&u32]| {
            attempts.fetch_add(1, Ordering::Relaxed);
            let last = events.len() - 1;
            let outcome = |place| if place == last { Ok(()) } else { Err(sinkworks::Failure::transient("later")) };
            BatchError::check((0..events.len()).map(outcome).collect())
        })
    };
    check_contract(move || stubborn().retrying(backoff()), &[1, 2, 3][..]);
}

/// A channel with its reader, without which it is closed.
struct Read(Channel<u32>, #[allow(dead_code, reason = "kept")] Receiver<u32>);

impl Sink<u32> for Read {
    fn try_write(&self, event: &u32, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        self.0.try_write(event, delivery)
    }
    fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.0.poll_close(how, waker)
    }
    fn id(&self) -> Option<SinkId> {
        self.0.id()
    }
}

#[test]
fn channels_keep_the_contract() {
    let read = |(channel, receiver)| Read(channel, receiver);
    check_contract(|| read(Channel::unbounded()), &1);
    check_contract(|| read(Channel::bounded(100)), &1);
}

#[test]
fn pointers_keep_the_contract() {
    check_contract(|| Arc::new(difficult().retrying(breaker())), &1);
    check_contract(|| Box::new(difficult().retrying(breaker())), &1);
    check_contract(|| Box::new(Recording::new()) as Box<dyn Sink<u32>>, &1);
    check_contract(|| -> &'static Recording<u32> { Box::leak(Box::new(Recording::new())) }, &1);
}

#[test]
fn the_sinks_of_the_test_kit_keep_the_contract_around_sinks_that_hesitate() {
    let retry = || difficult().retrying(breaker());
    check_contract(Recording::<u32>::new, &1);
    check_contract(|| NotReadyYet::new(2, retry()), &1);
    check_contract(|| NotReadyYet::new(2, NotReadyYet::new(3, Recording::new())), &1u32);
    check_contract(|| Failing::first(0, retry()), &1);
    check_contract(|| Flaky::new(&Seed::new(0), NotReadyYet::new(2, Recording::new())), &1u32);
    check_contract(|| Slow::new(Duration::from_millis(1), NotReadyYet::new(2, Recording::new())), &1u32);
    check_contract(|| Panicking::new(|_: &u32| false, retry()), &1);
    let open = Gate::new();
    open.open();
    check_contract(|| Blocking::new(open.clone(), retry()), &1);
}

/// What a sink of a user's may get wrong.
#[derive(Clone, Copy, PartialEq)]
enum Mistake {
    ForgetsToWake,
    SavesAndSucceeds,
    DoesNotNest,
    WakesTheLastCloserOnly,
    AcceptsAfterClose,
}

struct Broken {
    mistake: Mistake,
    inner: NotReadyYet<Recording<u32>>,
    closed: AtomicBool,
    closer: Mutex<Option<Waker>>,
}

impl Broken {
    fn by(mistake: Mistake) -> Self {
        let inner = NotReadyYet::new(1, Recording::new());
        Self { mistake, inner, closed: AtomicBool::new(false), closer: Mutex::default() }
    }
}

impl Sink<u32> for Broken {
    fn try_write(&self, event: &u32, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        if self.closed.load(Ordering::Acquire) && self.mistake != Mistake::AcceptsAfterClose {
            return Err(WriteError::Closed);
        }
        match self.mistake {
            Mistake::ForgetsToWake => Err(WriteError::not_ready_until_woken()),
            Mistake::SavesAndSucceeds => {
                delivery.save(0u8);
                Ok(())
            }
            Mistake::DoesNotNest => {
                let mine: u8 = delivery.resume().unwrap_or(0);
                let answer = self.inner.try_write(event, delivery);
                if answer.is_err() {
                    // Over what the child has saved.
                    delivery.save(mine + 1);
                }
                answer
            }
            Mistake::WakesTheLastCloserOnly | Mistake::AcceptsAfterClose => Ok(()),
        }
    }

    fn poll_close(&self, _: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        if self.mistake == Mistake::WakesTheLastCloserOnly && !self.closed.load(Ordering::Acquire) {
            let before = self.closer.lock().unwrap().replace(waker.clone());
            // The second closer ends it: the first is never told.
            if before.is_some() {
                self.closed.store(true, Ordering::Release);
                waker.wake_by_ref();
            }
            return Poll::Pending;
        }
        self.closed.store(true, Ordering::Release);
        Poll::Ready(Ok(CloseReport::new()))
    }
}

#[test]
#[should_panic(expected = "rule 2: not ready until woken, and never woken")]
fn a_sink_that_forgets_to_wake_is_found_out() {
    check_contract(|| Broken::by(Mistake::ForgetsToWake), &1);
}

#[test]
#[should_panic(expected = "rule 2: a sink that took the event must have saved nothing")]
fn a_sink_that_saves_and_succeeds_is_found_out() {
    check_contract(|| Broken::by(Mistake::SavesAndSucceeds), &1);
}

#[test]
#[should_panic(expected = "")]
fn a_stage_that_calls_its_child_without_nesting_is_found_out() {
    check_contract(|| Broken::by(Mistake::DoesNotNest), &1);
}

#[test]
#[should_panic(expected = "rule 5: a closer was not woken")]
fn a_sink_that_wakes_the_last_closer_only_is_found_out() {
    check_contract(|| Broken::by(Mistake::WakesTheLastCloserOnly), &1);
}

#[test]
#[should_panic(expected = "rule 5: a closed sink answered Ok")]
fn a_sink_that_accepts_after_its_close_is_found_out() {
    check_contract(|| Broken::by(Mistake::AcceptsAfterClose), &1);
}

/// The same with every closer woken, so that it is the mistake that is found and nothing else.
#[test]
fn a_sink_that_wakes_every_closer_passes() {
    #[derive(Default)]
    struct Patient(Wakers, AtomicBool);
    impl Sink<u32> for Patient {
        fn try_write(&self, _: &u32, _: &mut Delivery<'_>) -> Result<(), WriteError> {
            if self.1.load(Ordering::Acquire) { Err(WriteError::Closed) } else { Ok(()) }
        }
        fn poll_close(&self, _: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
            self.0.register(waker);
            if self.1.swap(true, Ordering::AcqRel) {
                self.0.wake_all();
                return Poll::Ready(Ok(CloseReport::new()));
            }
            Poll::Pending
        }
    }
    check_contract(Patient::default, &1);
}

fn is_zero<T: std::fmt::Debug>(answer: &Result<T, BuildError>, name: &str) -> bool {
    matches!(answer, Err(BuildError::Zero { option }) if *option == name)
}

#[test]
fn a_name_must_be_short_and_printable_everywhere() {
    let leaf = || sink_fn(|_: &u32| Ok(()));
    let long = "x".repeat(10_000);
    let limit = "x".repeat(129);
    for bad in ["", "\0", "a\nb", "tab\t", "\u{7f}", "\u{85}", &long, &limit] {
        let refused = [
            Queue::builder(leaf()).name(bad).build().err(),
            Channel::<u32>::builder().name(bad).build().err(),
            Broadcaster::<u32>::named(bad).err(),
            RetryingSink::named(bad, leaf(), breaker()).err(),
            Filter::named(bad, leaf(), |_: &u32| true).err(),
            Breaker::builder().name(bad).build().err(),
            Pool::builder().name(bad).build().err(),
            Pool::dedicated(bad).err(),
        ];
        assert!(refused.iter().all(|error| *error == Some(BuildError::Name)), "{refused:?} for {bad:?}");
    }
    for good in ["a", "Größe", "a b", &"x".repeat(128)] {
        assert_eq!(Queue::builder(leaf()).name(good).build().unwrap().name(), good);
        assert_eq!(Broadcaster::<u32>::named(good).unwrap().name(), good);
    }
}

#[test]
fn builders_refuse_what_makes_no_sense_by_name() {
    let leaf = || sink_fn(|_: &u32| Ok(()));
    assert!(is_zero(&Queue::builder(leaf()).capacity(0).build(), "capacity"));
    assert!(is_zero(&Channel::<u32>::builder().capacity(0).build(), "capacity"));
    let too_large = Queue::builder(leaf()).capacity(u64::MAX).build();
    assert!(
        matches!(too_large, Err(BuildError::TooLarge { option: "capacity", value: u64::MAX, .. })),
        "{too_large:?}"
    );
    assert!(Queue::builder(leaf()).capacity(1 << 62).build().is_ok());

    assert!(is_zero(&Breaker::builder().threshold(0).build(), "threshold"));
    assert!(is_zero(&Breaker::builder().backoff(Duration::ZERO).build(), "backoff"));
    assert!(is_zero(&Breaker::builder().probes(0).build(), "probes"));
    assert!(is_zero(&Breaker::builder().probe_timeout(Duration::ZERO).build(), "probe_timeout"));

    assert!(is_zero(&ExponentialBackoff::builder().factor(Duration::ZERO).build(), "factor"));
    assert!(is_zero(&ExponentialBackoff::builder().max(Duration::ZERO).build(), "max"));
    let below = ExponentialBackoff::builder().base(2 * MS).max(MS).build();
    assert!(matches!(below, Err(BuildError::Below { option: "max", other: "base" })), "{below:?}");

    assert!(is_zero(&Pool::builder().threads(0).build(), "threads"));
    assert!(is_zero(&Pool::builder().max_threads(0).build(), "max_threads"));
    let below = Pool::builder().threads(2).max_threads(1).build();
    assert!(matches!(below, Err(BuildError::Below { option: "max_threads", other: "threads" })), "{below:?}");
    let too_large = Pool::builder().max_threads(usize::MAX).build();
    assert!(matches!(too_large, Err(BuildError::TooLarge { option: "max_threads", .. })), "{too_large:?}");
    let too_large = Pool::builder().threads(10_001).build();
    assert!(matches!(too_large, Err(BuildError::TooLarge { option: "threads", .. })), "{too_large:?}");
}

#[test]
fn durations_that_overflow_the_clock_are_as_good_as_for_ever() {
    let leaf = || Failing::always(Recording::new());
    let strategies = || {
        let all = Breaker::builder().threshold(1).backoff(Duration::MAX).probe_timeout(Duration::MAX).build().unwrap();
        (
            ExponentialBackoff::builder().base(Duration::MAX).factor(Duration::MAX).max(Duration::MAX).build().unwrap(),
            all,
        )
    };
    let (pool, clock) = common::still_pool();
    let queue = Queue::builder(leaf().retrying(strategies())).pool(&pool).build().unwrap();
    queue.send(1).unwrap();
    pool.wait_idle();
    clock.advance(Duration::from_secs(3600 * 24 * 365));
    pool.wait_idle();
    assert_eq!(queue.close(Shutdown::Abort).unwrap().abandoned(), 1);
    common::assert_ledger(&queue, 1, 0, &[(sinkworks::DropReason::Abandoned, 1)]);
    assert!(Pool::builder().threads(1).keep_alive(Duration::MAX).build().is_ok());
}

#[test]
fn the_short_constructors_make_the_best_of_any_value() {
    for strategy in [Breaker::new(0, Duration::ZERO), Breaker::new(u32::MAX, Duration::MAX), Breaker::new(1, MS)] {
        let sink = Failing::first(3, Recording::new()).retrying(strategy);
        sink.write(&1).unwrap();
        assert_eq!(sink.stats().transient, 3);
    }
    let zero = Duration::ZERO;
    for [base, factor, max] in [[zero, zero, MS], [zero, MS, MS], [MS, Duration::MAX, MS], [Duration::MAX, MS, MS]] {
        let sink = Failing::first(3, Recording::new()).retrying(ExponentialBackoff::new(base, factor, max));
        sink.write(&1).unwrap();
    }
    // Too long to wait for: closing ends it.
    for backoff in [
        ExponentialBackoff::new(zero, zero, zero),
        ExponentialBackoff::new(Duration::MAX, Duration::MAX, Duration::MAX),
    ] {
        let queue = Failing::always(Recording::new()).retrying(backoff).queued();
        queue.send(1).unwrap();
        let report = queue.close(Shutdown::Abort).unwrap();
        assert_eq!(report.dropped() + report.in_flight(), 1);
    }

    let (channel, receiver) = Channel::bounded(0);
    channel.write(&1).unwrap();
    assert_eq!(receiver.recv(), Ok(1), "0 means 1");
    let (_channel, receiver) = Channel::<u32>::bounded(u64::MAX);
    assert_eq!(receiver.recv_timeout(zero), Err(sinkworks::RecvError::Empty));

    let queue = Queue::new(Recording::new());
    queue.send(1).unwrap();
    assert_eq!(queue.close(Shutdown::within(Duration::MAX)).unwrap().dropped(), 0);
    assert_eq!(queue.ledger().delivered, 1);
    assert_eq!(Queue::new(Recording::<u32>::new()).close(Shutdown::within(zero)).unwrap().dropped(), 0);
}
