//! The options of a breaker.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{Breaker, CLOSED, Cold, Inner};
use crate::error::BuildError;
use crate::names;
use crate::sink::SinkId;
use crate::sync::Mutex;
use crate::sync::atomic::AtomicU64;
use crate::telemetry::{Limit, register};

/// The options of a [`Breaker`].
#[derive(Debug, Clone)]
#[must_use]
pub struct BreakerBuilder {
    name: Option<String>,
    threshold: u32,
    backoff: Duration,
    probes: u32,
    probe_timeout: Duration,
}

impl BreakerBuilder {
    pub(super) fn new() -> Self {
        let (backoff, probe_timeout) = (Duration::from_secs(1), Duration::from_secs(30));
        Self { name: None, threshold: 5, backoff, probes: 1, probe_timeout }
    }

    /// What the breaker is called in metrics and in `Debug`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How many attempts in a row must fail for it to open. Default: 5.
    pub fn threshold(mut self, failures: u32) -> Self {
        self.threshold = failures;
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
    /// [`BuildError::Name`]; [`BuildError::Zero`] for a threshold, backoff, number of probes or probe timeout of zero.
    pub fn build(self) -> Result<Breaker, BuildError> {
        let zero = [
            ("threshold", self.threshold == 0),
            ("backoff", self.backoff.is_zero()),
            ("probes", self.probes == 0),
            ("probe_timeout", self.probe_timeout.is_zero()),
        ];
        if let Some((option, _)) = zero.into_iter().find(|(_, zero)| *zero) {
            return Err(BuildError::Zero { option });
        }
        let name = self.name.clone().map(|name| names::check(&name).map(|()| name.into())).transpose()?;
        Ok(self.assemble(name))
    }

    pub(super) fn assemble(self, name: Option<Arc<str>>) -> Breaker {
        let id = SinkId::unique();
        let name = name.unwrap_or_else(|| names::default("breaker", id));
        Breaker(Arc::new_cyclic(|this: &Weak<Inner>| Inner {
            id,
            name,
            threshold: u64::from(self.threshold),
            backoff: self.backoff,
            probes: self.probes as usize,
            probe_timeout: self.probe_timeout,
            word: AtomicU64::new(CLOSED),
            cold: Mutex::new(Cold { until: None, leases: Vec::new(), next_lease: 0, heralds: Vec::new(), stage: 1 }),
            held: Arc::default(),
            transitions: std::array::from_fn(|_| AtomicU64::new(0)),
            told: AtomicU64::new(CLOSED),
            limit: Limit::default(),
            registration: register(this.clone()),
        }))
    }
}
