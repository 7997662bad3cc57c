//! Waiting longer after each failure, by chance.

use std::fmt;
use std::time::{Duration, Instant};

use crate::clock::saturating_add;
use crate::delivery::Delivery;
use crate::error::{BuildError, Failure, Wait};
use crate::retry::strategy::{Proceed, RetryStrategy, Verdict};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, lock, random};

/// How much of an [`ExponentialBackoff`]'s wait is chance. With `c` = min(base + factor · 2^(n−1), max) after `n` failures in a row:
///
/// The names and formulas are those of Marc Brooker, *Exponential Backoff and Jitter* (AWS Architecture Blog, 2015), who found that waiting without
/// chance makes clients collide again and again, and that full jitter does the least work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Jitter {
    /// A random time in [0, c).
    #[default]
    Full,
    /// c/2 + a random time in [0, c/2): never less than half of the wait.
    Equal,
    /// c: what has failed together tries again together.
    None,
}

/// Exponential backoff: after `n` failures in a row it waits up to min(base + factor · 2^(n−1), max), then tries. How long below that is chance, as its
/// [`Jitter`] says: by default a random time in [0, that). It never gives up. One success starts it anew.
///
/// The failures are those of all events that share the strategy, as in docker/go-events.
///
/// ```
/// use std::time::Duration;
/// use sinkworks::{ExponentialBackoff, Queue, SinkExt, sink_fn};
///
/// let backoff = ExponentialBackoff::builder()
///     .base(Duration::from_millis(10))
///     .factor(Duration::from_millis(100))
///     .max(Duration::from_secs(30))
///     .build()?;
/// let queue: Queue<u32> = sink_fn(|_: &u32| Ok(())).retrying(backoff).queued();
/// # drop(queue);
/// # Ok::<(), sinkworks::BuildError>(())
/// ```
pub struct ExponentialBackoff {
    base: Duration,
    factor: Duration,
    max: Duration,
    jitter: Jitter,
    failures: AtomicU64,
    random: Mutex<fastrand::Rng>,
}

impl Default for ExponentialBackoff {
    /// Base 0, factor 1 s, at most 20 s: those of an empty configuration of docker/go-events.
    fn default() -> Self {
        Self::new(Duration::ZERO, Duration::from_secs(1), Duration::from_secs(20))
    }
}

impl ExponentialBackoff {
    /// A backoff with these numbers. A `max` of zero, which would never wait, means 20 s; a `factor` of zero means 1 s, as in
    /// docker/go-events.
    #[must_use]
    pub fn new(base: Duration, factor: Duration, max: Duration) -> Self {
        let or = |value: Duration, default| if value.is_zero() { default } else { value };
        Self {
            base,
            factor: or(factor, Duration::from_secs(1)),
            max: or(max, Duration::from_secs(20)),
            jitter: Jitter::default(),
            failures: AtomicU64::new(0),
            random: Mutex::new(random()),
        }
    }

    /// A backoff with options that are checked.
    pub fn builder() -> ExponentialBackoffBuilder {
        ExponentialBackoffBuilder {
            base: Duration::ZERO,
            factor: Duration::from_secs(1),
            max: Duration::from_secs(20),
            jitter: Jitter::default(),
            seed: None,
        }
    }

    /// The upper end of the wait after `failures` in a row.
    fn ceiling(&self, failures: u64) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
        let times = u32::try_from(doublings).ok().and_then(|n| 1u32.checked_shl(n)).unwrap_or(u32::MAX);
        self.base.saturating_add(self.factor.saturating_mul(times)).min(self.max)
    }

    /// The wait below `ceiling`; zero for zero.
    fn wait(&self, ceiling: Duration) -> Duration {
        let nanos = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
        let floor = match self.jitter {
            Jitter::Full => 0,
            Jitter::Equal => nanos / 2,
            Jitter::None => nanos,
        };
        let range = nanos - floor;
        Duration::from_nanos(if range == 0 { floor } else { floor + lock(&self.random).u64(..range) })
    }
}

impl RetryStrategy for ExponentialBackoff {
    /// The time that this event waits for.
    type State = Option<Instant>;

    fn proceed(&self, until: &mut Option<Instant>, delivery: &Delivery<'_>) -> Proceed {
        let at = match *until {
            Some(at) => at,
            None => match self.failures.load(Ordering::Relaxed) {
                0 => return Proceed::Now,
                failures => saturating_add(delivery.now(), self.wait(self.ceiling(failures))),
            },
        };
        if delivery.now() >= at {
            // After its wait an event is tried, whatever happened to others meanwhile.
            *until = None;
            return Proceed::Now;
        }
        *until = Some(at);
        Proceed::Wait(Wait { until: Some(at) })
    }

    fn success(&self, _: &mut Option<Instant>, _: &Delivery<'_>) {
        // A load first: the usual case writes to no shared line.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    fn failure(&self, _: &mut Option<Instant>, _: &Delivery<'_>, _: &Failure) -> Verdict {
        self.failures.fetch_add(1, Ordering::Relaxed);
        Verdict::Retry
    }
}

impl fmt::Debug for ExponentialBackoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExponentialBackoff")
            .field("base", &self.base)
            .field("factor", &self.factor)
            .field("max", &self.max)
            .field("jitter", &self.jitter)
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}

/// The options of an [`ExponentialBackoff`].
#[derive(Debug, Clone)]
#[must_use]
pub struct ExponentialBackoffBuilder {
    base: Duration,
    factor: Duration,
    max: Duration,
    jitter: Jitter,
    seed: Option<u64>,
}

impl ExponentialBackoffBuilder {
    /// What is added to every ceiling. Default: 0.
    pub fn base(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// The ceiling's growth at the first failure; it doubles with each further one. Default: 1 s.
    pub fn factor(mut self, factor: Duration) -> Self {
        self.factor = factor;
        self
    }

    /// The highest ceiling. Default: 20 s.
    pub fn max(mut self, max: Duration) -> Self {
        self.max = max;
        self
    }

    /// How much of the wait is chance. Default: [`Jitter::Full`].
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// Makes the random times repeatable.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Builds the backoff.
    ///
    /// # Errors
    ///
    /// [`BuildError::Zero`] for a factor or maximum of zero; [`BuildError::Below`] for a maximum below the base.
    pub fn build(self) -> Result<ExponentialBackoff, BuildError> {
        for (option, value) in [("factor", self.factor), ("max", self.max)] {
            if value.is_zero() {
                return Err(BuildError::Zero { option });
            }
        }
        if self.max < self.base {
            return Err(BuildError::Below { option: "max", other: "base" });
        }
        let backoff =
            ExponentialBackoff { jitter: self.jitter, ..ExponentialBackoff::new(self.base, self.factor, self.max) };
        if let Some(seed) = self.seed {
            lock(&backoff.random).seed(seed);
        }
        Ok(backoff)
    }
}

#[cfg(all(test, not(sinkworks_loom)))]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_ceiling_doubles_up_to_the_maximum() {
        let backoff = ExponentialBackoff::new(5 * MS, 10 * MS, 100 * MS);
        let ceilings: Vec<_> = (0..7).map(|n| backoff.ceiling(n).as_millis()).collect();
        assert_eq!(ceilings, [0, 15, 25, 45, 85, 100, 100]);
    }

    /// Contract 5, defect 11.
    #[test]
    fn defect_11_no_overflow_after_any_number_of_failures_and_no_panic_for_zero() {
        let backoff = ExponentialBackoff::new(Duration::MAX, Duration::MAX, Duration::MAX);
        for failures in [1, 2, 31, 32, 33, 56, 57, 63, 64, 65, u64::MAX] {
            assert_eq!(backoff.ceiling(failures), Duration::MAX, "after {failures} failures");
            backoff.wait(backoff.ceiling(failures));
        }
        assert_eq!(backoff.wait(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn the_jitter_is_full_and_never_reaches_the_ceiling() {
        let backoff = ExponentialBackoff::builder().seed(7).build().unwrap();
        let waits: Vec<_> = (0..10_000).map(|_| backoff.wait(100 * MS)).collect();
        assert!(waits.iter().all(|wait| *wait < 100 * MS));
        assert!(waits.iter().any(|wait| *wait < MS) && waits.iter().any(|wait| *wait > 99 * MS));
        let mean = waits.iter().sum::<Duration>() / 10_000;
        assert!(mean > 48 * MS && mean < 52 * MS, "{mean:?}");
    }

    #[test]
    fn equal_jitter_keeps_half_of_the_ceiling_and_none_all_of_it() {
        let build = |jitter| ExponentialBackoff::builder().seed(7).jitter(jitter).build().unwrap();
        let equal = build(Jitter::Equal);
        let waits: Vec<_> = (0..10_000).map(|_| equal.wait(100 * MS)).collect();
        assert!(waits.iter().all(|wait| (50 * MS..100 * MS).contains(wait)));
        assert!(waits.iter().any(|wait| *wait < 51 * MS) && waits.iter().any(|wait| *wait > 99 * MS));
        assert!((0..100).all(|_| build(Jitter::None).wait(100 * MS) == 100 * MS));
        for jitter in [Jitter::Full, Jitter::Equal, Jitter::None] {
            assert_eq!(build(jitter).wait(Duration::ZERO), Duration::ZERO);
            assert!(build(jitter).wait(Duration::from_nanos(1)) <= Duration::from_nanos(1));
            build(jitter).wait(Duration::MAX);
        }
    }
}
