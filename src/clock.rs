//! Monotonic time, passed in by the [`Pool`](crate::Pool) so that tests can drive it.

use std::fmt;
use std::time::{Duration, Instant};

#[cfg(any(test, feature = "test-util", sinkworks_loom))]
use std::sync::Arc;
#[cfg(any(test, feature = "test-util", sinkworks_loom))]
use std::task::Waker;

use crate::sync;
#[cfg(any(test, feature = "test-util", sinkworks_loom))]
use crate::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
    lock,
};

/// How far ahead a time that does not fit is taken to be: about thirty years.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// `base + delay`, or a time about thirty years ahead where that does not fit.
pub(crate) fn saturating_add(base: Instant, delay: Duration) -> Instant {
    base.checked_add(delay.min(FAR)).unwrap_or(base)
}

/// A source of monotonic time: the system's, or a `ManualClock` in tests (feature `test-util`).
#[derive(Clone, Default)]
pub struct Clock {
    #[cfg(any(test, feature = "test-util", sinkworks_loom))]
    manual: Option<Arc<ManualTime>>,
}

impl Clock {
    /// The system's monotonic clock.
    #[must_use]
    pub const fn system() -> Self {
        Self {
            #[cfg(any(test, feature = "test-util", sinkworks_loom))]
            manual: None,
        }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Instant {
        #[cfg(any(test, feature = "test-util", sinkworks_loom))]
        if let Some(manual) = &self.manual {
            return manual.now();
        }
        sync::now()
    }

    /// The time at a moment when the system's clock showed `system`: no second look at it, unless this is a manual clock.
    #[cfg_attr(not(any(test, feature = "test-util")), allow(clippy::unused_self, reason = "a manual clock needs it"))]
    pub(crate) fn at(&self, system: Instant) -> Instant {
        #[cfg(any(test, feature = "test-util"))]
        if let Some(manual) = &self.manual {
            return manual.now();
        }
        system
    }

    /// How long to park until `at`: `None` is until something happens, since a manual clock never advances by itself.
    #[cfg_attr(
        not(any(test, feature = "test-util", sinkworks_loom)),
        allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "a manual clock needs both")
    )]
    pub(crate) fn park_until(&self, at: Instant) -> Option<Duration> {
        #[cfg(any(test, feature = "test-util", sinkworks_loom))]
        if let Some(manual) = &self.manual {
            return (at <= manual.now()).then_some(Duration::ZERO);
        }
        Some(at.saturating_duration_since(sync::now()))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[cfg(any(test, feature = "test-util", sinkworks_loom))]
        if self.manual.is_some() {
            return f.write_str("Clock(manual)");
        }
        f.write_str("Clock(system)")
    }
}

#[cfg(any(test, feature = "test-util", sinkworks_loom))]
pub(crate) struct ManualTime {
    start: Instant,
    nanos: AtomicU64,
    on_advance: Mutex<Vec<Waker>>,
}

#[cfg(any(test, feature = "test-util", sinkworks_loom))]
impl ManualTime {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { start: sync::now(), nanos: AtomicU64::new(0), on_advance: Mutex::default() })
    }

    fn now(&self) -> Instant {
        // Acquire, with the AcqRel of `advance`: who sees a time sees what a test did before it let that time come.
        self.start + Duration::from_nanos(self.nanos.load(Ordering::Acquire))
    }

    pub(crate) fn clock(self: &Arc<Self>) -> Clock {
        Clock { manual: Some(self.clone()) }
    }

    pub(crate) fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX / 2);
        // AcqRel: see `now`; of two advances the second has seen what the first had before it.
        self.nanos.fetch_add(nanos, Ordering::AcqRel);
        let wakers = lock(&self.on_advance).clone();
        wakers.iter().for_each(Waker::wake_by_ref);
    }
}

#[cfg(any(test, feature = "test-util", sinkworks_loom))]
impl Clock {
    /// Wakes `waker` at every advance of a manual clock, for as long as the clock lives.
    pub(crate) fn on_advance(&self, waker: Waker) {
        if let Some(manual) = &self.manual {
            lock(&manual.on_advance).push(waker);
        }
    }
}
