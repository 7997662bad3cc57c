//! A sink that fails as told.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Poll, Waker};

use super::lock;
use crate::delivery::Delivery;
use crate::error::{CloseError, Failure, WriteError};
use crate::shutdown::{CloseReport, Shutdown};
use crate::sink::{Sink, SinkId};
use crate::sync::mutation;

/// Fails some writes with a transient failure, and passes the others on.
#[derive(Debug)]
pub struct Failing<S> {
    inner: S,
    /// What the next writes do: true fails. Afterwards `then`.
    script: Mutex<VecDeque<bool>>,
    then: AtomicBool,
    failures: AtomicU64,
    closed: AtomicBool,
}

impl<S> Failing<S> {
    /// Fails the first `n` writes.
    pub fn first(n: usize, inner: S) -> Self {
        Self::script(std::iter::repeat_n(true, n), inner)
    }

    /// Fails every write until [`set_failing`](Self::set_failing) ends that.
    pub fn always(inner: S) -> Self {
        let sink = Self::first(0, inner);
        sink.set_failing(true);
        sink
    }

    /// Fails the writes for which the script says true, and none after it.
    pub fn script(script: impl IntoIterator<Item = bool>, inner: S) -> Self {
        Self {
            inner,
            script: Mutex::new(script.into_iter().collect()),
            then: AtomicBool::new(false),
            failures: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// Whether writes fail after the script.
    pub fn set_failing(&self, failing: bool) {
        self.then.store(failing, Ordering::Release);
    }

    /// How many writes it has failed.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Acquire)
    }
}

/// The error of a [`Failing`] sink.
#[derive(Debug, thiserror::Error)]
#[error("told to fail")]
pub(super) struct ToldTo;

impl<E: ?Sized, S: Sink<E>> Sink<E> for Failing<S> {
    fn try_write(&self, event: &E, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        if self.closed.load(Ordering::Acquire) && !mutation!("kit_failing_sees_the_close") {
            return Err(WriteError::Closed);
        }
        let fail = lock(&self.script).pop_front().unwrap_or_else(|| self.then.load(Ordering::Acquire));
        if fail {
            self.failures.fetch_add(1, Ordering::AcqRel);
            return Err(Failure::transient(ToldTo).into());
        }
        self.inner.try_write(event, delivery)
    }

    closes_inner!(closed);
}
