//! Sinks that are not ready at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::clock::saturating_add;
use crate::delivery::{Delivery, Frame};
use crate::error::{CloseError, WriteError};
use crate::shutdown::{CloseReport, Shutdown};
use crate::sink::{Sink, SinkId};
use crate::sync::mutation;

/// Answers that it is not ready a number of times for each event, wakes at once, and then passes the event on: it saves how often in the delivery.
#[derive(Debug)]
pub struct NotReadyYet<S> {
    inner: S,
    times: u32,
    closed: AtomicBool,
}

impl<S> NotReadyYet<S> {
    /// Not ready `times` times for each event.
    pub fn new(times: u32, inner: S) -> Self {
        Self { inner, times, closed: AtomicBool::new(false) }
    }
}

impl<E: ?Sized, S: Sink<E>> Sink<E> for NotReadyYet<S> {
    fn try_write(&self, event: &E, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        if self.closed.load(Ordering::Acquire) && !mutation!("kit_hesitating_sees_the_close") {
            return Err(WriteError::Closed);
        }
        let (so_far, mut below): (u32, Frame) = delivery.resume().unwrap_or_default();
        if so_far < self.times {
            delivery.save((so_far + 1, below));
            delivery.waker().wake();
            return Err(WriteError::not_ready_until_woken());
        }
        let answer = delivery.nest(&mut below, |delivery| self.inner.try_write(event, delivery));
        if let Err(WriteError::NotReady(_)) = answer {
            delivery.save((so_far, below));
        } else if answer.is_err() && !below.is_empty() {
            // For the next attempt, before which it hesitates again.
            delivery.save((0_u32, below));
        }
        answer
    }

    closes_inner!(closed);
}

/// Takes its time over each event, by the clock of whoever holds the event, and then passes it on. It holds no thread meanwhile, and it may have several
/// events under way.
///
/// Behind a queue on a pool with a [`ManualClock`](crate::test_util::ManualClock) a test decides when that time is over. The [last offer](Delivery::is_last_offer) of
/// an event takes none, since nobody would come back for it. A sink that blocks its thread is [`Blocking`](crate::test_util::Blocking).
///
/// ```
/// use std::time::Duration;
/// use sinkworks::test_util::{ManualClock, Recording, Slow};
/// use sinkworks::{Pool, Queue};
///
/// let clock = ManualClock::new();
/// let pool = Pool::builder().clock(clock.clock()).threads(1).build()?;
/// let seen = Recording::new();
/// let queue = Queue::builder(Slow::new(Duration::from_secs(2), seen.clone())).pool(&pool).build()?;
/// queue.send(7)?;
/// pool.wait_idle();
/// clock.advance(Duration::from_secs(1));
/// pool.wait_idle();
/// assert!(seen.is_empty());
/// clock.advance(Duration::from_secs(1));
/// pool.wait_idle();
/// assert_eq!(seen.events(), [7]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Slow<S> {
    inner: S,
    takes: Duration,
    closed: AtomicBool,
}

impl<S> Slow<S> {
    /// Takes this long over each event. A write that the sink below fails takes as long again when it is repeated.
    pub fn new(takes: Duration, inner: S) -> Self {
        Self { inner, takes, closed: AtomicBool::new(false) }
    }
}

/// What a [`Slow`] sink keeps of an event: when it is done, and what is below. Apart from a tuple, so that no other stage's state is taken for it.
struct UnderWay {
    until: Option<Instant>,
    below: Frame,
}

impl<E: ?Sized, S: Sink<E>> Sink<E> for Slow<S> {
    fn try_write(&self, event: &E, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        if self.closed.load(Ordering::Acquire) && !mutation!("kit_slow_sees_the_close") {
            return Err(WriteError::Closed);
        }
        let mut way =
            delivery.resume().unwrap_or_else(|| UnderWay { until: Some(self.done(delivery)), below: Frame::default() });
        if let Some(until) = way.until.filter(|until| delivery.now() < *until && !delivery.is_last_offer()) {
            delivery.save(way);
            return Err(WriteError::not_ready_until(until));
        }
        way.until = None;
        let answer = delivery.nest(&mut way.below, |delivery| self.inner.try_write(event, delivery));
        match &answer {
            Err(WriteError::NotReady(_)) => delivery.save(way),
            // For the next attempt, which takes its time anew.
            Err(_) if !way.below.is_empty() => {
                way.until = Some(self.done(delivery));
                delivery.save(way);
            }
            _ => {}
        }
        answer
    }

    closes_inner!(closed);
}

impl<S> Slow<S> {
    fn done(&self, delivery: &Delivery<'_>) -> Instant {
        saturating_add(delivery.now(), self.takes)
    }
}
