//! The options of a breaker.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Breaker;
use super::machine::{Cold, Machine};
use super::state::CLOSED;
use super::window::{MAX_MINIMUM, Window};
use crate::error::BuildError;
use crate::name::Name;
use crate::sink::SinkId;
use crate::sync::Mutex;
use crate::sync::atomic::AtomicU64;
use crate::telemetry::{Limit, register};

/// The options of a [`Breaker`].
#[derive(Debug, Clone)]
#[must_use]
pub struct BreakerBuilder {
    name: Option<String>,
    threshold: Option<u32>,
    rate: Option<Rate>,
    backoff: Duration,
    probes: u32,
    probe_timeout: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Rate {
    share: f64,
    window: Duration,
    minimum: u32,
}

/// The threshold where neither it nor a rate is given.
const THRESHOLD: u32 = 5;

impl BreakerBuilder {
    pub(super) fn new() -> Self {
        let (backoff, probe_timeout) = (Duration::from_secs(1), Duration::from_secs(30));
        Self { name: None, threshold: None, rate: None, backoff, probes: 1, probe_timeout }
    }

    /// What the breaker is called in metrics and in `Debug`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How many attempts in a row must fail for it to open. Default: 5, or no such threshold where a
    /// [`failure_rate`](Self::failure_rate) is given.
    pub fn threshold(mut self, failures: u32) -> Self {
        self.threshold = Some(failures);
        self
    }

    /// Opens it when at least `minimum` attempts were made in the last `window` and at least the share `rate` of them failed, from just above 0 to 1.
    /// That catches a destination which fails half of the time and never many times in a row. With a [`threshold`](Self::threshold) too, whichever
    /// comes first opens it. Default: none.
    ///
    /// The window slides in ten steps, so that between 9/10 of it and the whole counts. The share is looked at when an attempt fails. Only attempts made
    /// while it is closed count, and closing begins anew. Opened by the rate it is closed by a probe's success alone: those that had begun before
    /// succeed at their old rate, and tell nothing new.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sinkworks::Breaker;
    ///
    /// let breaker = Breaker::builder().failure_rate(0.5, Duration::from_secs(10), 20).backoff(Duration::from_secs(5)).build()?;
    /// # Ok::<(), sinkworks::BuildError>(())
    /// ```
    pub fn failure_rate(mut self, rate: f64, window: Duration, minimum: u32) -> Self {
        self.rate = Some(Rate { share: rate, window, minimum });
        self
    }

    /// How long it stays open before it lets probes pass. Default: 1 s.
    pub fn backoff(mut self, backoff: Duration) -> Self {
        self.backoff = backoff;
        self
    }

    /// How many probes are on their way at once, at most. Default: 1.
    pub fn probes(mut self, probes: u32) -> Self {
        self.probes = probes;
        self
    }

    /// How long a probe may take before another is allowed in its place: longer than the timeout of the sink. Default: 30 s.
    pub fn probe_timeout(mut self, timeout: Duration) -> Self {
        self.probe_timeout = timeout;
        self
    }

    /// Builds the breaker.
    ///
    /// # Errors
    ///
    /// [`BuildError::Name`]; [`BuildError::Zero`] for a threshold, backoff, number of probes or probe timeout of zero, and for a failure rate's window
    /// or minimum of zero; [`BuildError::OutOfRange`] for a failure rate that is not above 0 and at most 1; [`BuildError::TooLarge`] for its
    /// minimum above 100,000 attempts.
    pub fn build(self) -> Result<Breaker, BuildError> {
        let zero = [
            ("threshold", self.threshold == Some(0)),
            ("backoff", self.backoff.is_zero()),
            ("probes", self.probes == 0),
            ("probe_timeout", self.probe_timeout.is_zero()),
            ("failure_rate's window", self.rate.is_some_and(|rate| rate.window.is_zero())),
            ("failure_rate's minimum", self.rate.is_some_and(|rate| rate.minimum == 0)),
        ];
        if let Some((option, _)) = zero.into_iter().find(|(_, zero)| *zero) {
            return Err(BuildError::Zero { option });
        }
        if let Some(Rate { share, minimum, .. }) = self.rate {
            // False for what is not a number, too.
            if !(share > 0.0 && share <= 1.0) {
                return Err(BuildError::OutOfRange { option: "failure_rate", range: "above 0 and at most 1" });
            }
            if minimum > MAX_MINIMUM {
                let (value, max) = (minimum.into(), MAX_MINIMUM.into());
                return Err(BuildError::TooLarge { option: "failure_rate's minimum", value, max });
            }
        }
        let id = SinkId::unique();
        let name = Name::or_default(self.name.as_deref(), "breaker", id)?;
        Ok(self.assemble(id, name))
    }

    pub(super) fn assemble(self, id: SinkId, name: Name) -> Breaker {
        let threshold = self.threshold.or(if self.rate.is_none() { Some(THRESHOLD) } else { None });
        Breaker(Arc::new_cyclic(|this: &Weak<Machine>| Machine {
            id,
            name,
            threshold: threshold.map(u64::from),
            window: self.rate.map(|Rate { share, window, minimum }| Window::new(share, window, minimum)),
            backoff: self.backoff,
            probes: self.probes as usize,
            probe_timeout: self.probe_timeout,
            word: AtomicU64::new(CLOSED),
            cold: Mutex::new(Cold::default()),
            held: Arc::default(),
            transitions: std::array::from_fn(|_| AtomicU64::new(0)),
            told: AtomicU64::new(CLOSED),
            limit: Limit::default(),
            registration: register(this.clone()),
        }))
    }
}
