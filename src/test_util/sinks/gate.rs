//! A sink that blocks its thread until it is let go.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Poll, Waker};

use super::lock;
use crate::delivery::Delivery;
use crate::error::{CloseError, WriteError};
use crate::shutdown::{CloseReport, Shutdown};
use crate::sink::{Sink, SinkId};

/// A door that threads wait at: closed when made. Clones are the same door.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<Door>);

#[derive(Debug, Default)]
struct Door {
    /// Whether it is open, and how many have come to it.
    state: Mutex<(bool, u64)>,
    changed: Condvar,
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everyone through, from now on.
    pub fn open(&self) {
        lock(&self.0.state).0 = true;
        self.0.changed.notify_all();
    }

    /// Waits until it is open.
    pub fn pass(&self) {
        let mut state = lock(&self.0.state);
        state.1 += 1;
        self.0.changed.notify_all();
        while !state.0 {
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until `n` have come to it, whether they got through or not.
    pub fn wait_for(&self, n: u64) {
        let mut state = lock(&self.0.state);
        while state.1 < n {
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Blocks its thread at a [`Gate`] before it passes an event on, as a leaf that waits for its I/O.
#[derive(Debug)]
pub struct Blocking<S> {
    inner: S,
    gate: Gate,
}

impl<S> Blocking<S> {
    /// Blocks at `gate`.
    pub fn new(gate: Gate, inner: S) -> Self {
        Self { inner, gate }
    }
}

impl<E: ?Sized, S: Sink<E>> Sink<E> for Blocking<S> {
    fn try_write(&self, event: &E, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        self.gate.pass();
        self.inner.try_write(event, delivery)
    }

    closes_inner!();
}
