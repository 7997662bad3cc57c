//! A stage with somewhere else to go: what its primary sink does not take, its secondary sink gets.
//!
//! What the two answer, and what is made of it:
//!
//! | primary | then |
//! |---|---|
//! | takes it | done |
//! | not ready | wait: hold. On the last offer the secondary is asked, since the event would be lost |
//! | may pass (transient, full), exhausted, closed | the secondary is asked |
//! | permanent | answered as it is, or the secondary is asked: the user's choice |
//!
//! | secondary | then |
//! |---|---|
//! | takes it | done |
//! | not ready | wait for the secondary; the primary is not asked again meanwhile |
//! | fails | a failure that names both. Where a repetition may help, what both have saved is kept, and the next attempt begins with the primary |

use std::fmt;
use std::task::{Poll, Waker};

use crate::delivery::{Delivery, Journey};
use crate::error::{BuildError, Class, CloseError, Failure, WriteError};
use crate::name::Name;
use crate::retry::DestinationFull;
use crate::shutdown::{CloseReport, Shutdown};
use crate::sink::{Sink, SinkId};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::mutation;
use crate::telemetry::Topology;

/// Offers each event to a primary sink, and to a secondary one if the primary fails: a webhook, then a file.
///
/// A failure is what falls over, not a wait. So what a primary does while its breaker is open is chosen where that is built:
///
/// | primary | while the breaker is open |
/// |---|---|
/// | `http.retrying(breaker)` | holds: the event waits for the primary |
/// | `http.retrying(breaker.fail_fast())` | falls over at once, see [`Breaker::fail_fast`](crate::Breaker::fail_fast) |
/// | `http.retrying(breaker).time_limit(patience)` | holds for so long, then falls over, see [`TimeLimit`](crate::TimeLimit) |
/// | `http.retrying(breaker.limited(limit))` | holds up to the [`RetryLimit`](crate::RetryLimit), then falls over |
///
/// - **Permanent** failures do not fall over, since it is the event that is at fault: they go up, to the dead letters of the queue. With
///   [`permanent_too`](Self::permanent_too) they do.
/// - **Both fail**: the answer is a failure with the cause [`FallbackError`], transient if either may take the event later. A retry above begins with the primary
///   again; a sink that has refused the event for good is not asked again. If both are closed, the answer is [`Closed`](WriteError::Closed).
/// - **The last offer** of a queue that drains goes to the secondary if the primary is not ready.
/// - **Order**: an event that fell over and one that did not are in two places.
/// - **Once**: only one of the two has taken the event, as far as their answers tell. A primary that has timed out may have it too.
/// - **A batch** falls over as a whole: events of it that the primary has taken come to the secondary too.
/// - **A panic** of the primary does not fall over: it goes up as from any stage, and the queue counts it.
/// - Closing closes both at the same time.
///
/// ```
/// use std::time::Duration;
/// use sinkworks::{Breaker, Failure, Queue, Shutdown, Sink, SinkExt, sink_fn};
/// use sinkworks::test_util::Recording;
///
/// let down = sink_fn(|_: &u32| Err(Failure::transient("down").into()));
/// let file = Recording::new();
/// let breaker = Breaker::new(5, Duration::from_secs(1));
/// let queue = down.retrying(breaker.fail_fast()).fallback(file.clone()).queued();
/// queue.send(7)?;
/// queue.close(Shutdown::within(Duration::from_secs(5)))?;
/// assert_eq!(file.events(), [7]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Fallback<P, S> {
    primary: P,
    secondary: S,
    permanent_too: bool,
    closed: AtomicBool,
    fallen_over: AtomicU64,
    id: SinkId,
    name: Name,
}

/// What is kept of an event that neither has taken.
#[derive(Default)]
struct Saved {
    primary: Branch,
    secondary: Branch,
}

/// One of the two ways of an event.
#[derive(Default)]
struct Branch {
    journey: Journey,
    /// What it has answered in this attempt, or for good.
    refusal: Option<WriteError>,
}

impl Branch {
    fn refuse(&mut self, error: WriteError, delivery: &mut Delivery<'_>) {
        let noted = match &error {
            WriteError::Failed(failure) if failure.class() == Class::Transient => Some(failure.clone()),
            WriteError::Full => Some(Failure::transient(DestinationFull)),
            _ => None,
        };
        match noted {
            // The next attempt on this way is not its first.
            Some(failure) => delivery.fork(&mut self.journey, |delivery| delivery.record(&failure)),
            // One that has given up begins anew, if it is asked again at all.
            None => self.journey = Journey::default(),
        }
        self.refusal = Some(error);
    }

    /// A new attempt: only what was for good is still known.
    fn again(&mut self) {
        self.refusal.take_if(|error| error.class() != Class::Permanent);
    }
}

impl<P, S> Fallback<P, S> {
    /// Offers to `primary`, and what that does not take to `secondary`.
    pub fn new(primary: P, secondary: S) -> Self {
        let id = SinkId::unique();
        Self {
            primary,
            secondary,
            permanent_too: false,
            closed: AtomicBool::new(false),
            fallen_over: AtomicU64::new(0),
            id,
            name: Name::default("fallback", id),
        }
    }

    /// The same with a name, for the topology and `Debug`.
    ///
    /// # Errors
    ///
    /// [`BuildError::Name`].
    pub fn named(name: &str, primary: P, secondary: S) -> Result<Self, BuildError> {
        Ok(Self { name: Name::given(name)?, ..Self::new(primary, secondary) })
    }

    /// Lets events that the primary refuses for good ([`Class::Permanent`]) fall over too.
    #[must_use]
    pub fn permanent_too(mut self) -> Self {
        self.permanent_too = true;
        self
    }

    /// The sink that is asked first.
    pub fn primary(&self) -> &P {
        &self.primary
    }

    /// The sink that is asked then.
    pub fn secondary(&self) -> &S {
        &self.secondary
    }

    /// Events that the secondary sink has taken.
    #[must_use]
    pub fn fallen_over(&self) -> u64 {
        self.fallen_over.load(Ordering::Relaxed)
    }
}

impl<E: ?Sized, P: Sink<E>, S: Sink<E>> Sink<E> for Fallback<P, S> {
    fn try_write(&self, event: &E, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        // Acquire, with the Release below: whoever sees the close also sees what its caller did before.
        if self.closed.load(Ordering::Acquire) && !mutation!("fallback_sees_the_close") {
            return Err(WriteError::Closed);
        }
        let mut saved: Saved = delivery.resume().unwrap_or_default();
        if saved.primary.refusal.is_none() {
            let answer = delivery.fork(&mut saved.primary.journey, |delivery| self.primary.try_write(event, delivery));
            match answer {
                Ok(()) => return Ok(()),
                Err(WriteError::NotReady(wait)) if !delivery.is_last_offer() => {
                    delivery.save(saved);
                    return Err(WriteError::NotReady(wait));
                }
                Err(WriteError::Failed(failure)) if failure.class() == Class::Permanent && !self.permanent_too => {
                    return Err(failure.into());
                }
                Err(error) => saved.primary.refuse(error, delivery),
            }
        }
        if saved.secondary.refusal.is_none() {
            let answer =
                delivery.fork(&mut saved.secondary.journey, |delivery| self.secondary.try_write(event, delivery));
            match answer {
                Ok(()) => {
                    self.fallen_over.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
                Err(WriteError::NotReady(wait)) => {
                    delivery.save(saved);
                    return Err(WriteError::NotReady(wait));
                }
                Err(error) => saved.secondary.refuse(error, delivery),
            }
        }
        Err(fail(saved, delivery))
    }

    fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        // Release, with the Acquire above.
        self.closed.store(true, Ordering::Release);
        // Both are asked, whatever the first answers. One that is closed answers again.
        let answers = (self.primary.poll_close(how, waker), self.secondary.poll_close(how, waker));
        let (Poll::Ready(primary), Poll::Ready(secondary)) = answers else { return Poll::Pending };
        let is_cycle = [&primary, &secondary].iter().any(|answer| matches!(answer, Err(CloseError::Cycle(_))));
        let mut report = CloseReport::new();
        report.absorb(self.primary.id(), primary);
        report.absorb(self.secondary.id(), secondary);
        Poll::Ready(if is_cycle { Err(CloseError::Cycle(report)) } else { Ok(report) })
    }

    fn id(&self) -> Option<SinkId> {
        Some(self.id)
    }

    fn describe(&self, topology: &mut Topology) {
        topology.stage(Some(self.id), "fallback", &self.name, |topology| {
            topology.set("fallen_over", self.fallen_over());
            topology.labelled("primary", |topology| self.primary.describe(topology));
            topology.labelled("secondary", |topology| self.secondary.describe(topology));
        });
    }
}

/// Both have refused the event.
#[cold]
fn fail(mut saved: Saved, delivery: &mut Delivery<'_>) -> WriteError {
    let (Some(primary), Some(secondary)) = (&saved.primary.refusal, &saved.secondary.refusal) else {
        return WriteError::Closed;
    };
    if let (WriteError::Closed, WriteError::Closed) = (primary, secondary) {
        return WriteError::Closed;
    }
    let failure = FallbackError { primary: primary.clone(), secondary: secondary.clone() }.into_failure();
    if failure.class() == Class::Transient {
        saved.primary.again();
        saved.secondary.again();
        delivery.save(saved);
    }
    failure.into()
}

/// Neither sink of a [`Fallback`] took an event: the [cause](Failure::cause) of the failure that it answers.
///
/// ```
/// use sinkworks::{Failure, FallbackError, Sink, SinkExt, WriteError, sink_fn};
///
/// let down = || sink_fn(|_: &u32| Err(Failure::transient("down").into()));
/// let Err(WriteError::Failed(failure)) = down().fallback(down()).write(&1) else { panic!("both are down") };
/// let cause = failure.cause().downcast_ref::<FallbackError>().expect("the stage's own error");
/// assert!(matches!(cause.primary, WriteError::Failed(_)));
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[error("neither took the event: the primary sink: {primary}; the secondary sink: {secondary}")]
#[non_exhaustive]
pub struct FallbackError {
    /// What the primary sink answered. [`NotReady`](WriteError::NotReady) if that was on the last offer.
    pub primary: WriteError,
    /// What the secondary sink answered.
    pub secondary: WriteError,
}

impl FallbackError {
    /// Worth repeating if one of the two may take the event then, after the shorter of their waits.
    fn into_failure(self) -> Failure {
        let both = [&self.primary, &self.secondary];
        let mut waits = both.iter().filter(|error| error.class() == Class::Transient).map(|error| error.retry_after());
        let first = waits.next();
        let delay = first.and_then(|first| waits.fold(first, |a, b| Some(a?.min(b?))));
        let has = |class| both.iter().any(|error| error.class() == class);
        let failure = if has(Class::Transient) {
            Failure::transient(self)
        } else if has(Class::Exhausted) {
            Failure::transient(self).exhausted()
        } else {
            Failure::permanent(self)
        };
        match delay {
            Some(delay) => failure.with_retry_after(delay),
            None => failure,
        }
    }
}

impl<P, S> fmt::Debug for Fallback<P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback")
            .field("name", &self.name)
            .field("fallen_over", &self.fallen_over())
            .finish_non_exhaustive()
    }
}
