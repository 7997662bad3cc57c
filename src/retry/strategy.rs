//! When to try again, apart from how.

use std::time::Instant;

use super::backoff::ExponentialBackoff;
use super::budget::RetryBudget;
use super::limit::RetryLimit;
use crate::delivery::Delivery;
use crate::error::{Failure, Wait};
use crate::telemetry::Topology;

/// Decides when a [`RetryingSink`](crate::RetryingSink) makes an attempt and whether another follows a failed one. It never waits itself.
///
/// A strategy may be shared by sinks, and its methods are called from several threads at once. What it must remember about one event goes
/// into the `State`.
///
/// Strategies are combined from the inside to the outside, as one expression; each step is a pair, which is a strategy too:
///
/// ```
/// use std::time::Duration;
/// use sinkworks::{Breaker, ExponentialBackoff, Queue, RetryBudget, RetryLimit, RetryStrategy, SinkExt, sink_fn};
///
/// let patience = Breaker::new(5, Duration::from_secs(1))
///     .with_backoff(ExponentialBackoff::default())
///     .within_budget(RetryBudget::new(0.2))
///     .limited(RetryLimit::attempts(10).or_elapsed(Duration::from_secs(3600)));
/// let queue: Queue<u32> = sink_fn(|_: &u32| Ok(())).retrying(patience).queued();
/// ```
///
/// A strategy of one's own:
///
/// ```
/// use sinkworks::{Delivery, Failure, Proceed, RetryStrategy, Verdict};
///
/// /// Tries three times, at once.
/// struct Thrice;
///
/// impl RetryStrategy for Thrice {
///     type State = u32;
///
///     fn proceed(&self, _: &mut u32, _: &Delivery<'_>) -> Proceed {
///         Proceed::Now
///     }
///     fn success(&self, _: &mut u32, _: &Delivery<'_>) {}
///     fn failure(&self, failed: &mut u32, _: &Delivery<'_>, _: &Failure) -> Verdict {
///         *failed += 1;
///         if *failed < 3 { Verdict::Retry } else { Verdict::GiveUp }
///     }
/// }
/// ```
pub trait RetryStrategy: Send + Sync {
    /// What is remembered about one event between its attempts. It is dropped when the event is done with or given up,
    /// whatever the reason: a permit kept in it is given back by its `Drop`.
    type State: Default + Send + 'static;

    /// Asked before every attempt, the first included, and again when a wait is over or was cut short. `delivery` has the
    /// time, the number of the attempt and the waker.
    fn proceed(&self, state: &mut Self::State, delivery: &Delivery<'_>) -> Proceed;

    /// The attempt succeeded, or the destination answered that it will never take this event: it works.
    fn success(&self, state: &mut Self::State, delivery: &Delivery<'_>);

    /// The attempt failed in a way that may pass.
    fn failure(&self, state: &mut Self::State, delivery: &Delivery<'_>, failure: &Failure) -> Verdict;

    /// From when on no attempt of this event may begin, if there is such a time. The retrying sink cuts every wait to it, its own for a
    /// [`retry_after`](Failure::retry_after) included, and gives up then; or at once, where it is sure that the next attempt could not begin before.
    /// Asked before every attempt. Default: never.
    ///
    /// A strategy that wraps another passes this on, as pairs do.
    fn deadline(&self, state: &Self::State, delivery: &Delivery<'_>) -> Option<Instant> {
        let _ = (state, delivery);
        None
    }

    /// This strategy, after a backoff's wait: the pair `(backoff, self)`.
    fn with_backoff(self, backoff: ExponentialBackoff) -> (ExponentialBackoff, Self)
    where
        Self: Sized,
    {
        (backoff, self)
    }

    /// This strategy, until a limit is reached: the pair `(limit, self)`.
    fn limited(self, limit: RetryLimit) -> (RetryLimit, Self)
    where
        Self: Sized,
    {
        (limit, self)
    }

    /// This strategy, as long as there is budget for a retry: the pair `(budget, self)`.
    fn within_budget(self, budget: RetryBudget) -> (RetryBudget, Self)
    where
        Self: Sized,
    {
        (budget, self)
    }

    /// Says what there is to say of the strategy, about the retrying sink that is being described: see [`Sink::describe`](crate::Sink::describe). A
    /// breaker says which it is. By default nothing.
    fn describe(&self, _: &mut Topology) {}
}

/// Whether an attempt may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Proceed {
    /// Now.
    Now,
    /// Ask again then, or when the delivery's waker is woken.
    Wait(Wait),
    /// Not any more: the event is dropped as exhausted, with its last error. Where it has failed never yet, the cause is
    /// [`NotAttempted`](crate::NotAttempted).
    GiveUp,
}

/// Whether another attempt follows a failed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As soon as [`RetryStrategy::proceed`] says so.
    Retry,
    /// None: the event is dropped as exhausted.
    GiveUp,
}

/// Two strategies that must agree: an attempt is made when both say so, and retried when both do; the earlier deadline counts. The first is asked first: put what
/// waits (a backoff) before what hands out permits (a breaker).
impl<A: RetryStrategy, B: RetryStrategy> RetryStrategy for (A, B) {
    /// The states of both, and whether the first has let the coming attempt pass: it is not asked again while the second waits.
    type State = (A::State, B::State, bool);

    fn proceed(&self, state: &mut Self::State, delivery: &Delivery<'_>) -> Proceed {
        if !state.2 {
            match self.0.proceed(&mut state.0, delivery) {
                Proceed::Now => state.2 = true,
                answer @ (Proceed::Wait(_) | Proceed::GiveUp) => return answer,
            }
        }
        self.1.proceed(&mut state.1, delivery)
    }

    fn success(&self, state: &mut Self::State, delivery: &Delivery<'_>) {
        state.2 = false;
        self.0.success(&mut state.0, delivery);
        self.1.success(&mut state.1, delivery);
    }

    fn describe(&self, topology: &mut Topology) {
        self.0.describe(topology);
        self.1.describe(topology);
    }

    fn failure(&self, state: &mut Self::State, delivery: &Delivery<'_>, failure: &Failure) -> Verdict {
        state.2 = false;
        // Both are told, whatever the other says.
        let verdicts =
            (self.0.failure(&mut state.0, delivery, failure), self.1.failure(&mut state.1, delivery, failure));
        if verdicts == (Verdict::Retry, Verdict::Retry) { Verdict::Retry } else { Verdict::GiveUp }
    }

    fn deadline(&self, state: &Self::State, delivery: &Delivery<'_>) -> Option<Instant> {
        let (a, b) = (self.0.deadline(&state.0, delivery), self.1.deadline(&state.1, delivery));
        match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}
