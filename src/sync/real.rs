//! The primitives that a service runs on.

use std::thread::Thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;

pub(crate) use arc_swap::ArcSwap;
pub(crate) use crossbeam_queue::SegQueue;
pub(crate) use scoped_tls::scoped_thread_local;
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
pub(crate) use std::{thread, thread_local};

pub(crate) mod atomic {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};
}

/// Whether the step called `$name` is left out. Never, outside the models.
macro_rules! mutation {
    ($name:literal) => {
        false
    };
}
pub(crate) use mutation;

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

/// Where a pool thread sits while it parks. The thread in a seat changes; whoever wakes it meets no lock.
///
/// Who unparks an empty seat wakes nobody. The two fences make up for that: either it finds the thread, or that thread, when it looks before it parks, finds what
/// was done before the unpark. So a seat is as good as one that keeps an unpark for who comes, which is what the models have.
#[derive(Debug, Default)]
pub(crate) struct Seat(ArcSwapOption<Thread>);

impl Seat {
    /// The calling thread takes the seat.
    pub(crate) fn sit(&self) {
        self.0.store(Some(std::sync::Arc::new(thread::current())));
        atomic::fence(atomic::Ordering::SeqCst);
    }

    /// Wakes whoever sits here, now or at its next park.
    pub(crate) fn unpark(&self) {
        atomic::fence(atomic::Ordering::SeqCst);
        if let Some(thread) = &*self.0.load() {
            thread.unpark();
        }
    }

    /// Parks the calling thread, which sits here. May return early.
    #[allow(clippy::unused_self, reason = "the model's seat keeps the parking state in itself")]
    pub(crate) fn park(&self, timeout: Option<Duration>) {
        park(timeout);
    }
}
