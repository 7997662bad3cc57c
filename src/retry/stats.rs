//! What a retrying sink counts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::error::{Class, WriteError};
use crate::name::Name;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::telemetry::{Histogram, Observations, Observe, Registration, names as metric, register};

/// Apart from the sink, so that they can be read without knowing its type.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) name: Name,
    registration: Registration,
    ok: AtomicU64,
    transient: AtomicU64,
    permanent: AtomicU64,
    closed: AtomicU64,
    pub(super) retries: AtomicU64,
    /// Recorded by every thread that writes, one at a time, after a wait: what that costs is nothing beside it.
    backoff: Mutex<Histogram>,
}

/// How many attempts a [`RetryingSink`](crate::RetryingSink) has made, by outcome.
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

impl Counts {
    pub(super) fn new(name: Name) -> Arc<Self> {
        let zero = AtomicU64::default;
        Arc::new_cyclic(|this: &Weak<Self>| Self {
            name,
            registration: register(this.clone()),
            ok: zero(),
            transient: zero(),
            permanent: zero(),
            closed: zero(),
            retries: zero(),
            backoff: Mutex::default(),
        })
    }

    pub(super) fn count(&self, answer: &Result<(), WriteError>) {
        let counter = match answer {
            Ok(()) => &self.ok,
            Err(WriteError::NotReady(_)) => return,
            Err(WriteError::Closed) => &self.closed,
            Err(WriteError::Failed(failure)) if failure.class() != Class::Transient => &self.permanent,
            Err(WriteError::Full | WriteError::Failed(_)) => &self.transient,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// An event has waited for so long before an attempt.
    pub(super) fn record_backoff(&self, waited: Duration) {
        self.backoff().record(waited);
    }

    fn backoff(&self) -> MutexGuard<'_, Histogram> {
        self.backoff.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn snapshot(&self) -> RetryStats {
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
        out.histogram(&metric::RETRY_BACKOFF, &self.name, &self.backoff());
    }

    #[cfg(feature = "test-util")]
    fn audit(&self) -> Result<(), String> {
        // Each retry follows a failure that is counted before it. Acquire, with the Release where a retry is counted.
        let retries = self.retries.load(Ordering::Acquire);
        let stats = self.snapshot();
        let right = retries <= stats.transient;
        right
            .then_some(())
            .ok_or_else(|| format!("retry {}: {retries} retries of fewer failures: {stats:?}", self.name))
    }
}

impl Drop for Counts {
    fn drop(&mut self) {
        std::mem::take(&mut self.registration).retire(|out| self.observe(out));
    }
}
