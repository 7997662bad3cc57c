//! Chance that can be had again.

use std::env;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Where the seed is set: `SINKWORKS_SEED=7 cargo test`.
const VARIABLE: &str = "SINKWORKS_SEED";

/// The one number that all chance in a test comes from. If the test panics while it has the seed, it prints how to have the same run again; so keep it
/// until the end of the test.
///
/// ```
/// use sinkworks::test_util::Seed;
///
/// let (seed, again) = (Seed::new(7), Seed::new(7));
/// assert_eq!(seed.number(), again.number());
/// assert!(seed.below(10) < 10);
/// assert!(seed.chance(1.0) && !seed.chance(0.0));
/// ```
pub struct Seed {
    value: u64,
    random: Mutex<fastrand::Rng>,
}

impl Seed {
    /// This seed.
    #[must_use]
    pub fn new(value: u64) -> Self {
        Self { value, random: Mutex::new(fastrand::Rng::with_seed(value)) }
    }

    /// The seed in the environment variable `SINKWORKS_SEED`, or a new one each time.
    ///
    /// # Panics
    ///
    /// If the variable is set to something that is no number.
    #[must_use]
    pub fn from_env() -> Self {
        let Some(value) = env::var_os(VARIABLE) else { return Self::new(fastrand::u64(..)) };
        let number = value.to_str().and_then(|value| value.trim().parse().ok());
        assert!(number.is_some(), "{VARIABLE} must be a number, and is {value:?}");
        Self::new(number.unwrap_or_default())
    }

    /// The seed itself.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.value
    }

    /// The next number, to seed something of its own: a [`Flaky`](crate::test_util::Flaky) sink, an
    /// [`ExponentialBackoff`](crate::ExponentialBackoffBuilder::seed). Threads that share a seed take its numbers in no certain order: give each its own.
    pub fn number(&self) -> u64 {
        self.draw(|random| random.u64(..))
    }

    /// A number below `end`, all equally probable. 0 for 0.
    pub fn below(&self, end: u64) -> u64 {
        self.draw(|random| random.u64(..end.max(1)))
    }

    /// True with this probability.
    pub fn chance(&self, probability: f64) -> bool {
        self.draw(|random| random.f64() < probability)
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.random.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the same run again: {VARIABLE}={}", self.value);
        }
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seed").field("value", &self.value).finish_non_exhaustive()
    }
}
