//! What is closed stays closed by itself: each part answers so without the help of what is below it, which here takes everything, closed or not.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use common::{assert_closed, assert_ledger, lone_worker, stall, watched};
use sinkworks::test_util::{Failing, Flaky, Gate, Recording, Seed};
use sinkworks::{
    Batching, Breaker, Broadcaster, CloseError, CloseReport, Delivery, DropReason, Fallback, Pool, Queue, RetryingSink,
    Shutdown, Sink, WriteError, replay, sink_fn,
};

/// Takes every event, and counts what it is asked.
#[derive(Clone, Default)]
struct Careless(Arc<Counts>);

#[derive(Default)]
struct Counts {
    writes: AtomicU64,
    closes: AtomicU64,
    /// What a write waits for.
    gate: Option<Gate>,
}

impl Careless {
    fn behind(gate: &Gate) -> Self {
        Self(Arc::new(Counts { gate: Some(gate.clone()), ..Counts::default() }))
    }

    fn writes(&self) -> u64 {
        self.0.writes.load(Ordering::Relaxed)
    }

    fn closes(&self) -> u64 {
        self.0.closes.load(Ordering::Relaxed)
    }
}

impl Sink<u32> for Careless {
    fn try_write(&self, _: &u32, _: &mut Delivery<'_>) -> Result<(), WriteError> {
        self.0.gate.iter().for_each(Gate::pass);
        self.0.writes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn poll_close(&self, _: Shutdown, _: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.0.closes.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Ok(CloseReport::new()))
    }
}

#[test]
fn a_retrying_sink_asks_its_sink_no_more() {
    let below = Careless::default();
    let retry = RetryingSink::new(below.clone(), Breaker::new(3, Duration::from_secs(1)));
    retry.write(&1).unwrap();
    retry.close(Shutdown::Drain).unwrap();
    assert_closed(&retry.write(&2));
    assert_eq!(below.writes(), 1);
}

#[test]
fn the_kits_failing_sinks_answer_closed_whatever_they_are_told() {
    let failing = Failing::always(Careless::default());
    failing.close(Shutdown::Drain).unwrap();
    assert_closed(&failing.write(&1));
    let flaky = Flaky::new(&Seed::new(1), Careless::default()).failing(1.0);
    flaky.close(Shutdown::Drain).unwrap();
    assert_closed(&flaky.write(&1));
}

/// Counts its clones.
struct Counted(Arc<AtomicU64>);

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }
}

#[test]
fn a_queue_with_room_clones_no_event_for_nothing() {
    let queue = Queue::builder(sink_fn(|_: &Counted| Ok(()))).capacity(3).build().unwrap();
    let clones = Arc::default();
    let event = Counted(Arc::clone(&clones));
    queue.write(&event).unwrap();
    queue.close(Shutdown::Drain).unwrap();
    let before = clones.load(Ordering::Relaxed);
    assert_closed(&queue.write(&event));
    assert_eq!(clones.load(Ordering::Relaxed), before);
}

/// An abort ends while a turn is stuck; the turn finds everything done when it goes on.
#[test]
fn a_destination_that_has_closed_is_asked_no_more() {
    watched(|| {
        let (pool, gate) = (Pool::builder().threads(1).max_threads(1).build().unwrap(), Gate::new());
        let below = Careless::behind(&gate);
        let queue = Queue::builder(below.clone()).pool(&pool).build().unwrap();
        queue.send(1).unwrap();
        gate.wait_for(1);
        assert_eq!(queue.close(Shutdown::Abort).unwrap().in_flight(), 1);
        let closes = below.closes();
        gate.open();
        pool.wait_idle();
        assert_eq!((below.writes(), below.closes()), (1, closes));
    });
}

#[test]
fn a_broadcaster_keeps_no_sink_that_it_has_refused() {
    let broadcaster = Broadcaster::<u32>::new();
    broadcaster.add(Careless::default()).unwrap();
    assert_eq!(broadcaster.len(), 1);
    broadcaster.close(Shutdown::Drain).unwrap();
    assert!(broadcaster.is_empty());
    let late = Careless::default();
    assert_closed(&broadcaster.add(late.clone()));
    assert_eq!(Arc::strong_count(&late.0), 1);
}

/// Answers once that it has closed, and would take everything from then on.
fn forgetful<E: ?Sized>(asked: &Arc<AtomicU64>) -> impl Sink<E> + use<E> {
    let asked = Arc::clone(asked);
    sink_fn(move |_: &E| if asked.fetch_add(1, Ordering::Relaxed) == 0 { Err(WriteError::Closed) } else { Ok(()) })
}

#[test]
fn a_sink_that_has_closed_is_offered_no_other_event() {
    let (pool, asked) = (lone_worker(), Arc::default());
    let gate = stall(&pool);
    let queue = Queue::builder(forgetful(&asked)).pool(&pool).build().unwrap();
    (1..=2).for_each(|event| queue.send(event).unwrap());
    gate.open();
    pool.wait_idle();
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    assert_ledger(&queue, 2, 0, &[(DropReason::DestinationClosed, 2)]);
}

#[test]
fn a_replay_ends_with_the_close_of_its_sink() {
    let (pool, letters) = (lone_worker(), Recording::new());
    let dead = Queue::builder(letters.clone()).pool(&pool).build().unwrap();
    let fails = Failing::always(Careless::default());
    let queue = Queue::builder(fails).pool(&pool).dead_letters(&dead).build().unwrap();
    (1..=2).for_each(|event| queue.send(event).unwrap());
    pool.wait_idle();
    let asked = Arc::default();
    let replayed = replay(letters.events(), &forgetful::<u32>(&asked));
    assert_eq!((replayed.written, replayed.refused.len()), (0, 2));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[test]
fn a_fallback_asks_neither_sink_any_more() {
    let [primary, secondary] = [Careless::default(), Careless::default()];
    let fallback = Fallback::new(primary.clone(), secondary.clone());
    fallback.write(&1).unwrap();
    fallback.close(Shutdown::Drain).unwrap();
    assert_closed(&fallback.write(&2));
    assert_eq!((primary.writes(), secondary.writes()), (1, 0));
}

#[test]
fn a_sink_of_batches_that_has_closed_is_offered_no_other_batch() {
    let (pool, asked) = (lone_worker(), Arc::default());
    let gate = stall(&pool);
    let each = Batching::new(1, Duration::ZERO);
    let queue = Queue::batching(forgetful::<[u32]>(&asked), each).pool(&pool).build().unwrap();
    (1..=2).for_each(|event| queue.send(event).unwrap());
    gate.open();
    pool.wait_idle();
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    assert_ledger(&queue, 2, 0, &[(DropReason::DestinationClosed, 2)]);
}

#[test]
fn a_batch_function_is_called_no_more() {
    let sink = sinkworks::batch_fn(|_: &[&u64]| panic!("it is closed"));
    Sink::<[u64]>::close(&sink, Shutdown::Drain).expect("it closes");
    assert!(matches!(sink.write(&[1, 2][..]), Err(WriteError::Closed)));
}
