//! Trying again: the mechanism here, the policy in a [`RetryStrategy`].

mod backoff;
mod breaker;
mod budget;
mod limit;
mod stats;
mod strategy;

use std::fmt;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Instant;

pub use backoff::{ExponentialBackoff, ExponentialBackoffBuilder, Jitter};
pub use breaker::{Breaker, BreakerBuilder, BreakerState, FailFast, Permit};
pub use budget::{RetryBudget, RetryBudgetBuilder, Withdrawal};
pub use limit::RetryLimit;
pub use stats::RetryStats;
pub use strategy::{Proceed, RetryStrategy, Verdict};

use crate::clock::saturating_add;
use crate::delivery::{Delivery, Frame};
use crate::error::{BuildError, Class, CloseError, Failure, Wait, WriteError};
use crate::name::Name;
use crate::shutdown::{CloseReport, Shutdown};
use crate::sink::{Sink, SinkId};
use crate::sync::atomic::{AtomicU8, Ordering};
use crate::sync::mutation;
use crate::telemetry::Topology;
use crate::wakers::{Ticket, WaitList};
use stats::Counts;

/// Attempts that follow each other without a wait in one call. Then the holder's other work comes first, so that a strategy that
/// never waits does not take a thread for itself.
const AT_ONCE: u32 = 16;

/// Repeats failed writes to a sink as a [`RetryStrategy`] says. It waits without a thread: a queue behind which it waits is
/// put on its pool's timers.
///
/// - The loop is that of docker/go-events: closed?, may I proceed?, wait, write, tell the strategy. After a wait the attempt is made.
/// - Only failures that may pass are repeated: [`Class::Transient`], and a [`Full`](WriteError::Full) destination. Others are answered at once.
/// - A [`retry_after`](Failure::retry_after) is a floor under what the strategy says: the strategy is not asked before.
/// - When the strategy gives up, a [`RetryLimit`] for example, the answer is the last failure, as [`Class::Exhausted`]. No wait holds an event beyond the
///   strategy's [deadline](RetryStrategy::deadline), or beyond that of a [`TimeLimit`](crate::TimeLimit) above; an attempt that has begun is never cut short.
/// - On the [last offer](Delivery::is_last_offer) of an event it makes one attempt without asking the strategy.
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
        Self::assemble(sink, strategy, id, Name::default("retry", id))
    }

    /// The same with a name, for metrics and `Debug`.
    ///
    /// # Errors
    ///
    /// [`BuildError::Name`].
    pub fn named(name: &str, sink: S, strategy: R) -> Result<Self, BuildError> {
        Ok(Self::assemble(sink, strategy, SinkId::unique(), Name::given(name)?))
    }

    fn assemble(sink: S, strategy: R, id: SinkId, name: Name) -> Self {
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
    fn may_proceed(&self, saved: &mut Saved<R::State>, delivery: &Delivery<'_>) -> Proceed {
        if delivery.is_last_offer() || saved.under_way {
            return Proceed::Now;
        }
        let deadline = match (self.strategy.deadline(&saved.strategy, delivery), delivery.deadline()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        if deadline.is_some_and(|at| delivery.now() >= at) {
            return Proceed::GiveUp;
        }
        if let Some(at) = saved.not_before {
            if delivery.now() < at {
                // Nothing will let it pass earlier: why wait for the deadline.
                let hopeless = deadline.is_some_and(|deadline| at >= deadline);
                return if hopeless { Proceed::GiveUp } else { Proceed::Wait(Wait { until: Some(at) }) };
            }
            saved.not_before = None;
        }
        match self.strategy.proceed(&mut saved.strategy, delivery) {
            Proceed::Wait(wait) if !mutation!("retry_tells_the_deadline") => {
                Proceed::Wait(wait.earlier(Wait { until: deadline }))
            }
            answer => answer,
        }
    }

    /// Saves what is known and answers that it is not ready, unless it has been closed meanwhile.
    fn wait(&self, mut saved: Saved<R::State>, delivery: &mut Delivery<'_>, wait: Wait) -> WriteError {
        drop(self.waiting.register(&mut saved.ticket, delivery.waker()));
        // A close that came before the registration has woken nobody.
        if self.is_closed() && !mutation!("retry_wait_looks_again") {
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
            if self.is_closed() && !mutation!("retry_sees_the_close") {
                return Err(WriteError::Closed);
            }
            match self.may_proceed(&mut saved, delivery) {
                Proceed::Now => {}
                Proceed::Wait(wait) => {
                    saved.waits_since.get_or_insert_with(|| delivery.now());
                    return Err(self.wait(saved, delivery, wait));
                }
                Proceed::GiveUp => return Err(given_up(delivery)),
            }
            if let Some(since) = saved.waits_since.take() {
                self.counts.record_backoff(delivery.now().saturating_duration_since(since));
            }
            if saved.failed && !saved.under_way {
                // Release: who sees this retry sees the failure before it counted, for the audit.
                self.counts.retries.fetch_add(1, Ordering::Release);
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
                    if failure.class() == Class::Exhausted {
                        // A retry below has given up: the destination does not work.
                        self.strategy.failure(&mut saved.strategy, delivery, &failure);
                    } else {
                        // The destination has answered: it works, but not for this event.
                        self.strategy.success(&mut saved.strategy, delivery);
                    }
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
        // Release, with the Acquire in `is_closed`.
        self.closed.store(1, Ordering::Release);
        // Needs no fence: both this and `WaitList::register` take the list's lock. If this comes first the writer sees the close, otherwise it is woken.
        if !mutation!("retry_close_wakes") {
            self.waiting.wake_all();
        }
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

/// What is answered when the strategy gives up instead of letting an attempt pass.
#[cold]
fn given_up(delivery: &Delivery<'_>) -> WriteError {
    let last = delivery.history().map(|history| history.last_error.clone());
    last.unwrap_or_else(|| Failure::transient(NotAttempted)).exhausted().into()
}

/// The [cause](Failure::cause) where a sink below refused an event because it is [full](WriteError::Full).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sink is full")]
#[non_exhaustive]
pub struct DestinationFull;

/// The [cause](Failure::cause) where the retry strategy gave up before the first attempt: an event that was too old, say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the retry strategy gave up before the first attempt")]
#[non_exhaustive]
pub struct NotAttempted;

impl<S, R> fmt::Debug for RetryingSink<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryingSink")
            .field("name", &self.counts.name)
            .field("stats", &self.counts.snapshot())
            .finish_non_exhaustive()
    }
}
