//! Giving up.

use std::time::{Duration, Instant};

use crate::clock::saturating_add;
use crate::delivery::Delivery;
use crate::error::Failure;
use crate::retry::strategy::{Proceed, RetryStrategy, Verdict};

/// When an event is given up: after a number of attempts, after a time, or whichever comes first. The queue counts it as
/// [exhausted](crate::DropReason::Exhausted), with its last error.
///
/// Put it around what decides when to try, with [`limited`](RetryStrategy::limited). No wait holds an event beyond its limit, neither a backoff's nor
/// that for an open breaker nor one that the destination asked for: the wait ends at the limit, or does not begin if no attempt could follow it. An
/// attempt that has begun is not cut short. By itself it is a strategy that tries again at once. A drain makes its last attempt whatever the limit.
///
/// ```
/// use std::time::Duration;
/// use sinkworks::{Breaker, ExponentialBackoff, Queue, RetryLimit, RetryStrategy, SinkExt, sink_fn};
///
/// let limit = RetryLimit::attempts(10).or_elapsed(Duration::from_secs(3600));
/// let strategy = Breaker::new(5, Duration::from_secs(1)).with_backoff(ExponentialBackoff::default()).limited(limit);
/// let queue: Queue<u32> = sink_fn(|_: &u32| Ok(())).retrying(strategy).queued();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct RetryLimit {
    attempts: u32,
    elapsed: Option<Duration>,
    age: Option<Duration>,
}

impl RetryLimit {
    const NEVER: Self = Self { attempts: u32::MAX, elapsed: None, age: None };

    /// At most `n` attempts, of which the first is one; 0 means 1.
    pub const fn attempts(n: u32) -> Self {
        Self::NEVER.or_attempts(n)
    }

    /// No attempt begins `time` after the first failure or later.
    pub const fn elapsed(time: Duration) -> Self {
        Self::NEVER.or_elapsed(time)
    }

    /// No attempt begins `time` after the queue has accepted the event or later, not even the first: then the failure's cause is
    /// [`NotAttempted`](crate::NotAttempted). That needs a queue that [stamps](Delivery::accepted_at) its events; without a stamp this
    /// limit has no effect.
    pub const fn age(time: Duration) -> Self {
        Self::NEVER.or_age(time)
    }

    /// The same, and at most `n` attempts, as [`attempts`](Self::attempts) says. The last number given counts.
    pub const fn or_attempts(mut self, n: u32) -> Self {
        self.attempts = if n == 0 { 1 } else { n };
        self
    }

    /// The same, and the time since the first failure, as [`elapsed`](Self::elapsed) says. The last time given counts.
    pub const fn or_elapsed(mut self, time: Duration) -> Self {
        self.elapsed = Some(time);
        self
    }

    /// The same, and the time since the event was accepted, as [`age`](Self::age) says. The last time given counts.
    pub const fn or_age(mut self, time: Duration) -> Self {
        self.age = Some(time);
        self
    }

    fn time_limit(&self, first_failure: Option<Instant>, accepted: Option<Instant>) -> Option<Instant> {
        let after = |from: Option<Instant>, time: Option<Duration>| Some(saturating_add(from?, time?));
        match (after(first_failure, self.elapsed), after(accepted, self.age)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

impl RetryStrategy for RetryLimit {
    /// How many attempts of this event have failed here, and when the first did. Not the delivery's history: that has the failures of a retrying
    /// sink further down too.
    type State = Option<(u32, Instant)>;

    fn proceed(&self, state: &mut Self::State, delivery: &Delivery<'_>) -> Proceed {
        let over = self.deadline(state, delivery).is_some_and(|at| delivery.now() >= at);
        if over { Proceed::GiveUp } else { Proceed::Now }
    }

    fn success(&self, _: &mut Self::State, _: &Delivery<'_>) {}

    fn failure(&self, state: &mut Self::State, delivery: &Delivery<'_>, _: &Failure) -> Verdict {
        let (failed, _) = state.get_or_insert_with(|| (0, delivery.now()));
        *failed = failed.saturating_add(1);
        if *failed >= self.attempts { Verdict::GiveUp } else { Verdict::Retry }
    }

    fn deadline(&self, state: &Self::State, delivery: &Delivery<'_>) -> Option<Instant> {
        self.time_limit(state.map(|(_, first)| first), delivery.accepted_at())
    }
}

#[cfg(all(test, not(sinkworks_loom)))]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::clock::ManualTime;
    use crate::delivery::{EventId, Journey};
    use crate::error::{Class, WriteError};
    use crate::retry::{Breaker, NotAttempted, RetryingSink};
    use crate::sink::{Sink, sink_fn};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_earlier_of_two_times_is_the_limit_and_without_a_stamp_age_is_none() {
        let now = Instant::now();
        let both = RetryLimit::elapsed(5 * SECOND).or_age(8 * SECOND);
        assert_eq!(both.time_limit(None, None), None);
        assert_eq!(both.time_limit(Some(now), None), Some(now + 5 * SECOND));
        assert_eq!(both.time_limit(None, Some(now)), Some(now + 8 * SECOND));
        assert_eq!(both.time_limit(Some(now + 4 * SECOND), Some(now)), Some(now + 8 * SECOND));
        assert_eq!(both.time_limit(Some(now + 2 * SECOND), Some(now)), Some(now + 7 * SECOND));
        assert_eq!(RetryLimit::attempts(1).time_limit(Some(now), Some(now)), None);
        assert!(RetryLimit::elapsed(Duration::MAX).time_limit(Some(now), None) > Some(now), "no overflow");
    }

    #[test]
    fn no_attempts_mean_one() {
        assert_eq!(RetryLimit::attempts(0), RetryLimit::attempts(1));
    }

    /// Offers an event that was accepted `age` ago, and says when.
    fn offer(sink: &impl Sink<u32>, age: Option<Duration>) -> (Result<(), WriteError>, Instant) {
        let time = ManualTime::new();
        let clock = time.clock();
        let accepted = age.map(|_| clock.now());
        time.advance(age.unwrap_or_default());
        let delivery = Delivery::resume_with(Waker::noop(), &clock, EventId(0), Journey::default());
        (sink.try_write(&1, &mut delivery.with_accepted_at(accepted)), clock.now())
    }

    #[test]
    fn an_event_that_is_too_old_is_given_up_before_its_first_attempt() {
        let limit = RetryLimit::age(10 * SECOND);
        let sink = RetryingSink::new(sink_fn(|_: &u32| Ok(())), Breaker::new(1, SECOND).limited(limit));
        offer(&sink, None).0.unwrap();
        offer(&sink, Some(Duration::from_nanos(9_999_999_999))).0.unwrap();
        let Err(WriteError::Failed(failure)) = offer(&sink, Some(10 * SECOND)).0 else { panic!("it is too old") };
        assert_eq!(failure.class(), Class::Exhausted);
        assert!(failure.cause().is::<NotAttempted>());
        assert_eq!(sink.stats().ok, 2);
    }

    #[test]
    fn an_event_that_becomes_too_old_while_it_waits_waits_no_longer() {
        let breaker = Breaker::new(1, 3600 * SECOND);
        let down = sink_fn(|_: &u32| Err(Failure::transient("down").into()));
        let sink = RetryingSink::new(down, breaker.limited(RetryLimit::age(10 * SECOND)));
        let (answer, now) = offer(&sink, Some(4 * SECOND));
        let Err(WriteError::NotReady(wait)) = answer else { panic!("{answer:?}") };
        assert_eq!(wait.until, Some(now + 6 * SECOND), "what is left of ten, not the breaker's hour");
    }
}
