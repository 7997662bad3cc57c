//! A sink that panics as told.

use std::fmt;
use std::task::{Poll, Waker};

use crate::delivery::Delivery;
use crate::error::{CloseError, WriteError};
use crate::shutdown::{CloseReport, Shutdown};
use crate::sink::{Sink, SinkId};

/// Panics over the events for which a predicate is true, and passes the others on.
pub struct Panicking<S, P> {
    inner: S,
    over: P,
}

impl<S, P> Panicking<S, P> {
    /// Panics when `over` says so.
    pub fn new(over: P, inner: S) -> Self {
        Self { inner, over }
    }
}

impl<E: ?Sized, S: Sink<E>, P: Fn(&E) -> bool + Send + Sync> Sink<E> for Panicking<S, P> {
    fn try_write(&self, event: &E, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        assert!(!(self.over)(event), "told to panic");
        self.inner.try_write(event, delivery)
    }

    closes_inner!();
}

impl<S: fmt::Debug, P> fmt::Debug for Panicking<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Panicking").field("inner", &self.inner).finish_non_exhaustive()
    }
}
