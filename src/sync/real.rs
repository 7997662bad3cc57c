//! The primitives that a service runs on.

use std::thread::Thread;
use std::time::{Duration, Instant};

pub(crate) use arc_swap::ArcSwap;
pub(crate) use crossbeam_queue::SegQueue;
pub(crate) use crossbeam_utils::Backoff;
pub(crate) use scoped_tls::scoped_thread_local;
#[cfg(feature = "ndjson")]
pub(crate) use std::sync::Mutex as TryMutex;
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, RwLock};
pub(crate) use std::{thread, thread_local};

pub(crate) mod atomic {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};
}

/// Whether the step called `$name` is left out. Never, outside the models and `ci/mutations.sh`.
#[cfg(not(sinkworks_mutated))]
macro_rules! mutation {
    ($name:literal) => {
        false
    };
}
#[cfg(sinkworks_mutated)]
macro_rules! mutation {
    ($name:literal) => {
        $crate::sync::is_mutated($name)
    };
}
pub(crate) use mutation;

/// Whether `SINKWORKS_MUTATION` names this step.
#[cfg(sinkworks_mutated)]
pub(crate) fn is_mutated(name: &str) -> bool {
    static LEFT_OUT: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    LEFT_OUT.get_or_init(|| std::env::var("SINKWORKS_MUTATION").ok()).as_deref() == Some(name)
}

/// The ordering of an atomic step.
macro_rules! ordering {
    ($ordering:ident, $name:literal) => {
        $crate::sync::atomic::Ordering::$ordering
    };
}
pub(crate) use ordering;

pub(crate) fn spin_loop() {
    std::hint::spin_loop();
}

/// The system's monotonic clock.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Random numbers that are others each time.
pub(crate) fn random() -> fastrand::Rng {
    fastrand::Rng::new()
}

/// Unparks one thread.
pub(crate) struct Unparker(Thread);

impl Unparker {
    /// That of the calling thread.
    pub(crate) fn new() -> Self {
        Self(thread::current())
    }

    pub(crate) fn unpark(&self) {
        self.0.unpark();
    }
}

/// Parks the calling thread. May return early.
pub(crate) fn park(timeout: Option<Duration>) {
    match timeout {
        None => thread::park(),
        Some(timeout) => thread::park_timeout(timeout),
    }
}
