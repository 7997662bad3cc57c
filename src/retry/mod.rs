//! Trying again: the mechanism here, the policy in a [`RetryStrategy`].

mod backoff;
mod breaker;
mod strategy;

use std::fmt;
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};
use std::time::Instant;

pub use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
pub use breaker::{Breaker, BreakerBuilder, BreakerState, Permit};
pub use strategy::{Proceed, RetryStrategy, Verdict};

use crate::clock::saturating_add;
use crate::delivery::{Delivery, Frame};
use crate::error::{BuildError, Class, CloseError, Failure, Wait, WriteError};
use crate::names;
use crate::shutdown::{CloseReport, Shutdown};
use crate::sink::{Sink, SinkId};
use crate::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use crate::telemetry::{Histogram, Observations, Observe, Registration, Topology, names as metric, register};
use crate::wakers::{Ticket, WaitList};

/// Attempts that follow each other without a wait in one call. Then the holder's other work comes first, so that a strategy that
/// never waits does not take a thread for itself.
const AT_ONCE: u32 = 16;

/// Repeats failed writes to a sink as a [`RetryStrategy`] says. It waits without a thread: a queue behind which it waits is
/// put on its pool's timers.
///
/// - The loop is that of docker/go-events: closed?, may I proceed?, wait, write, tell the strategy. After a wait the attempt is made.
/// - Only failures that may pass are repeated: [`Class::Transient`], and a [`Full`](WriteError::Full) destination. Others are answered at once.
/// - A [`retry_after`](Failure::retry_after) is a floor under what the strategy says.
/// - On the [last offer](Delivery::is_last_offer) of an event it makes one attempt without asking the strategy to wait.
/// - Closing it closes what it wraps and answers waiting writers with [`WriteError::Closed`].
///
/// ```
/// use std::time::Duration;
/// use sinkworks::{Breaker, Queue, RetryingSink, Shutdown, Sink, sink_fn};
///
/// let http = sink_fn(|_: &String| Ok(()));
/// let retry = RetryingSink::new(http, Breaker::new(5, Duration::from_secs(1)));
/// let queue = Queue::new(retry);
/// queue.send("event".to_owned())?;
/// queue.close(Shutdown::within(Duration::from_secs(5)))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RetryingSink<S, R> {
    sink: S,
    strategy: R,
    id: SinkId,
    closed: AtomicU8,
    /// Writes that wait, to be answered when the sink is closed.
    waiting: Arc<WaitList>,
    counts: Arc<Counts>,
}

/// Apart from the sink, so that they can be read without knowing its type.
#[derive(Debug)]
struct Counts {
    name: Arc<str>,
    registration: Registration,
    ok: AtomicU64,
    transient: AtomicU64,
    permanent: AtomicU64,
    closed: AtomicU64,
    retries: AtomicU64,
    backoff: Histogram,
}

/// How many attempts a [`RetryingSink`] has made, by outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RetryStats {
    /// Attempts that succeeded.
    pub ok: u64,
    /// Attempts that failed in a way that may pass.
    pub transient: u64,
    /// Attempts that failed for good.
    pub permanent: u64,
    /// Attempts that found the sink closed.
    pub closed: u64,
    /// Attempts that followed a failed one of the same event.
    pub retries: u64,
}

/// What is kept of an event that is not done.
struct Saved<T> {
    strategy: T,
    /// The destination's own wish.
    not_before: Option<Instant>,
    /// The attempt has begun: the sink below was not ready.
    under_way: bool,
    failed: bool,
    /// Since when it waits for its next attempt.
    waits_since: Option<Instant>,
    ticket: Option<Ticket>,
    below: Frame,
}

impl<T: Default> Default for Saved<T> {
    fn default() -> Self {
        Self {
            strategy: T::default(),
            not_before: None,
            under_way: false,
            failed: false,
            waits_since: None,
            ticket: None,
            below: Frame::default(),
        }
    }
}

impl<S, R: RetryStrategy> RetryingSink<S, R> {
    /// Repeats failed writes to `sink` as `strategy` says.
    pub fn new(sink: S, strategy: R) -> Self {
        let id = SinkId::unique();
        Self::assemble(sink, strategy, id, names::default("retry", id))
    }

    /// The same with a name, for metrics and `Debug`.
    ///
    /// # Errors
    ///
    /// [`BuildError::Name`].
    pub fn named(name: &str, sink: S, strategy: R) -> Result<Self, BuildError> {
        names::check(name)?;
        Ok(Self::assemble(sink, strategy, SinkId::unique(), name.into()))
    }

    fn assemble(sink: S, strategy: R, id: SinkId, name: Arc<str>) -> Self {
        Self { sink, strategy, id, closed: AtomicU8::new(0), waiting: Arc::default(), counts: Counts::new(name) }
    }

    /// What it wraps.
    pub fn get_ref(&self) -> &S {
        &self.sink
    }

    /// The attempts made so far.
    #[must_use]
    pub fn stats(&self) -> RetryStats {
        self.counts.snapshot()
    }

    fn is_closed(&self) -> bool {
        // Acquire, with the Release of the close: what the closer did before is seen.
        self.closed.load(Ordering::Acquire) != 0
    }

    /// Whether the attempt may be made now.
    fn may_proceed(&self, saved: &mut Saved<R::State>, delivery: &Delivery<'_>) -> Result<(), Wait> {
        if delivery.is_last_offer() || saved.under_way {
            return Ok(());
        }
        if let Some(at) = saved.not_before {
            if delivery.now() < at {
                return Err(Wait { until: Some(at) });
            }
            saved.not_before = None;
        }
        match self.strategy.proceed(&mut saved.strategy, delivery) {
            Proceed::Now => Ok(()),
            Proceed::Wait(wait) => Err(wait),
        }
    }

    /// Saves what is known and answers that it is not ready, unless it has been closed meanwhile.
    fn wait(&self, mut saved: Saved<R::State>, delivery: &mut Delivery<'_>, wait: Wait) -> WriteError {
        self.waiting.register(&mut saved.ticket, delivery.waker());
        // A close that came before the registration has woken nobody.
        if self.is_closed() {
            return WriteError::Closed;
        }
        delivery.save(saved);
        WriteError::NotReady(wait)
    }
}

impl<E: ?Sized, S: Sink<E>, R: RetryStrategy> Sink<E> for RetryingSink<S, R> {
    fn try_write(&self, event: &E, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        let mut saved = delivery.resume::<Saved<R::State>>().unwrap_or_default();
        for _ in 0..AT_ONCE {
            if self.is_closed() {
                return Err(WriteError::Closed);
            }
            if let Err(wait) = self.may_proceed(&mut saved, delivery) {
                saved.waits_since.get_or_insert_with(|| delivery.now());
                return Err(self.wait(saved, delivery, wait));
            }
            if let Some(since) = saved.waits_since.take() {
                self.counts.backoff.record(delivery.now().saturating_duration_since(since));
            }
            if saved.failed && !saved.under_way {
                self.counts.retries.fetch_add(1, Ordering::Relaxed);
            }
            saved.under_way = false;
            let answer = delivery.nest(&mut saved.below, |delivery| self.sink.try_write(event, delivery));
            self.counts.count(&answer);
            let failure = match answer {
                Ok(()) => {
                    self.strategy.success(&mut saved.strategy, delivery);
                    saved.ticket.into_iter().for_each(Ticket::spend);
                    return Ok(());
                }
                Err(WriteError::NotReady(wait)) => {
                    saved.under_way = true;
                    return Err(self.wait(saved, delivery, wait));
                }
                Err(WriteError::Closed) => return Err(WriteError::Closed),
                Err(WriteError::Full) => Failure::transient(DestinationFull),
                Err(WriteError::Failed(failure)) if failure.class() != Class::Transient => {
                    // The destination has answered: it works, but not for this event.
                    self.strategy.success(&mut saved.strategy, delivery);
                    // Unless a retrying sink below has noted it already.
                    if !delivery.history().is_some_and(|history| history.last_error.is_same(&failure)) {
                        delivery.record(&failure);
                    }
                    return Err(failure.into());
                }
                Err(WriteError::Failed(failure)) => failure,
            };
            saved.failed = true;
            delivery.record(&failure);
            if self.strategy.failure(&mut saved.strategy, delivery, &failure) == Verdict::GiveUp {
                return Err(failure.exhausted().into());
            }
            if delivery.is_last_offer() {
                break;
            }
            saved.not_before = failure.retry_after().map(|delay| saturating_add(delivery.now(), delay));
        }
        let now = Wait { until: Some(delivery.now()) };
        Err(self.wait(saved, delivery, now))
    }

    fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.closed.store(1, Ordering::Release);
        // Pairs with the fence in `WaitList::register`: either the writer sees the close, or this wakes the writer.
        crate::sync::atomic::fence(Ordering::SeqCst);
        self.waiting.wake_all();
        self.sink.poll_close(how, waker)
    }

    fn id(&self) -> Option<SinkId> {
        Some(self.id)
    }

    fn describe(&self, topology: &mut Topology) {
        topology.stage(Some(self.id), "retry", &self.counts.name, |topology| {
            self.strategy.describe(topology);
            self.sink.describe(topology);
        });
    }
}

/// The sink below refused an event because it is full.
#[derive(Debug, thiserror::Error)]
#[error("the sink is full")]
pub(crate) struct DestinationFull;

impl Counts {
    fn new(name: Arc<str>) -> Arc<Self> {
        let zero = AtomicU64::default;
        Arc::new_cyclic(|this: &Weak<Self>| Self {
            name,
            registration: register(this.clone()),
            ok: zero(),
            transient: zero(),
            permanent: zero(),
            closed: zero(),
            retries: zero(),
            backoff: Histogram::default(),
        })
    }

    fn count(&self, answer: &Result<(), WriteError>) {
        let counter = match answer {
            Ok(()) => &self.ok,
            Err(WriteError::NotReady(_)) => return,
            Err(WriteError::Closed) => &self.closed,
            Err(WriteError::Failed(failure)) if failure.class() != Class::Transient => &self.permanent,
            Err(WriteError::Full | WriteError::Failed(_)) => &self.transient,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn snapshot(&self) -> RetryStats {
        RetryStats {
            ok: self.ok.load(Ordering::Relaxed),
            transient: self.transient.load(Ordering::Relaxed),
            permanent: self.permanent.load(Ordering::Relaxed),
            closed: self.closed.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
        }
    }
}

impl Observe for Counts {
    fn observe(&self, out: &mut Observations) {
        let RetryStats { ok, transient, permanent, closed, retries } = self.snapshot();
        for (outcome, attempts) in [("ok", ok), ("transient", transient), ("permanent", permanent), ("closed", closed)]
        {
            out.counter(&metric::WRITE_ATTEMPTS, &self.name, Some(outcome), attempts);
        }
        out.counter(&metric::RETRIES, &self.name, None, retries);
        out.histogram(&metric::RETRY_BACKOFF, &self.name, &self.backoff);
    }
}

impl Drop for Counts {
    fn drop(&mut self) {
        std::mem::take(&mut self.registration).retire(|out| self.observe(out));
    }
}

impl<S, R> fmt::Debug for RetryingSink<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryingSink")
            .field("name", &self.counts.name)
            .field("stats", &self.counts.snapshot())
            .finish_non_exhaustive()
    }
}
