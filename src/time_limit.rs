//! A stage that limits how long an event waits.

use std::fmt;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::clock::saturating_add;
use crate::delivery::{Delivery, Frame};
use crate::error::{BuildError, CloseError, Failure, Wait, WriteError};
use crate::name::Name;
use crate::shutdown::{CloseReport, Shutdown};
use crate::sink::{Sink, SinkId};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::mutation;
use crate::telemetry::Topology;

/// Limits the time from the first offer of an event until the sink below has taken it. When that is over and the sink is still not ready, it answers a
/// [transient](crate::Class::Transient) failure with the cause [`TimeLimitReached`].
///
/// - **Waiting is what it limits.** A sink that is not ready is asked again when the time is over, and once more not being ready ends it. A sink that blocks its
///   thread cannot be interrupted: it sees the time in [`Delivery::deadline`] and has to keep it by itself. What it answers too late is its answer all the same.
/// - **A retry below** begins no attempt from the deadline on. It gives up then with its last failure, as [exhausted](crate::Class::Exhausted):
///   `http.retrying(breaker).time_limit(total)`.
/// - **A retry above** repeats the failure, and each attempt has the whole time: `slow.time_limit(each).retrying(breaker)`. What the sink below has saved is kept for
///   the next attempt, which so goes on where this one was: a sink of a broadcaster that has taken the event does not get it again.
/// - **The time** is that of whoever holds the event, the pool of its queue or the system. Each event costs two looks at the clock at most.
/// - **A limit of zero** asks once and does not wait.
/// - Closing it closes what it wraps.
///
/// The time that an event waits in its queue does not count. For that see [`RetryLimit::or_age`](crate::RetryLimit::or_age).
///
/// ```
/// use std::time::Duration;
/// use sinkworks::test_util::{ManualClock, Recording, Slow};
/// use sinkworks::{Pool, Queue, SinkExt};
///
/// let clock = ManualClock::new();
/// let pool = Pool::builder().clock(clock.clock()).threads(1).build()?;
/// let slow = Slow::new(Duration::from_secs(60), Recording::new());
/// let queue = Queue::builder(slow.time_limit(Duration::from_secs(5))).pool(&pool).build()?;
/// queue.send(7)?;
/// pool.wait_idle();
/// clock.advance(Duration::from_secs(5));
/// pool.wait_idle();
/// assert_eq!(queue.ledger().dropped.total(), 1); // nobody retries it here
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TimeLimit<S> {
    sink: S,
    limit: Duration,
    reached: AtomicU64,
    id: SinkId,
    name: Name,
}

/// What is kept of an event that the sink below has not taken.
#[derive(Default)]
struct Saved {
    /// When its time is over; `None` before the first offer of an attempt.
    until: Option<Instant>,
    below: Frame,
}

impl<S> TimeLimit<S> {
    /// Gives `sink` no more than `limit` to take an event.
    pub fn new(sink: S, limit: Duration) -> Self {
        let id = SinkId::unique();
        Self { sink, limit, reached: AtomicU64::new(0), id, name: Name::default("time-limit", id) }
    }

    /// The same with a name, for the topology and `Debug`.
    ///
    /// # Errors
    ///
    /// [`BuildError::Name`].
    pub fn named(name: &str, sink: S, limit: Duration) -> Result<Self, BuildError> {
        Ok(Self { name: Name::given(name)?, ..Self::new(sink, limit) })
    }

    /// What it wraps.
    pub fn get_ref(&self) -> &S {
        &self.sink
    }

    /// How often the time was over before the event was taken.
    #[must_use]
    pub fn reached(&self) -> u64 {
        self.reached.load(Ordering::Relaxed)
    }
}

impl<E: ?Sized, S: Sink<E>> Sink<E> for TimeLimit<S> {
    fn try_write(&self, event: &E, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        let Saved { until, mut below } = delivery.resume().unwrap_or_default();
        let until = until.unwrap_or_else(|| saturating_add(delivery.now(), self.limit));
        // Asked also when the time is over: perhaps it has become ready, and only its holder came late.
        let answer = delivery.nest(&mut below, |delivery| {
            delivery.with_deadline(until, |delivery| self.sink.try_write(event, delivery))
        });
        match answer {
            Err(WriteError::NotReady(wait)) if delivery.now() < until => {
                delivery.save(Saved { until: Some(until), below });
                let end = if mutation!("time_limit_tells_its_end") { None } else { Some(until) };
                return Err(WriteError::NotReady(wait.earlier(Wait { until: end })));
            }
            Err(_) if !below.is_empty() => delivery.save(Saved { until: None, below }),
            _ => {}
        }
        match answer {
            Err(WriteError::NotReady(_)) => {
                self.reached.fetch_add(1, Ordering::Relaxed);
                Err(Failure::transient(TimeLimitReached { limit: self.limit }).into())
            }
            answer => answer,
        }
    }

    fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.sink.poll_close(how, waker)
    }

    fn id(&self) -> Option<SinkId> {
        Some(self.id)
    }

    fn describe(&self, topology: &mut Topology) {
        topology.stage(Some(self.id), "time limit", &self.name, |topology| {
            topology.set("limit", format!("{:?}", self.limit).as_str());
            topology.set("reached", self.reached());
            self.sink.describe(topology);
        });
    }
}

/// The [cause](Failure::cause) where the sink below a [`TimeLimit`] was not ready in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sink was not ready within {limit:?}")]
#[non_exhaustive]
pub struct TimeLimitReached {
    /// The time that it had.
    pub limit: Duration,
}

impl<S> fmt::Debug for TimeLimit<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeLimit")
            .field("name", &self.name)
            .field("limit", &self.limit)
            .field("reached", &self.reached())
            .finish_non_exhaustive()
    }
}
