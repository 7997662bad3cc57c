//! A sink that keeps what it gets.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use super::lock;
use crate::delivery::Delivery;
use crate::error::{CloseError, WriteError};
use crate::shutdown::{CloseReport, Shutdown};
use crate::sink::{Sink, SinkId};

/// Keeps every event it gets, with the number of the attempt that brought it. Clones are the same sink.
pub struct Recording<E>(Arc<Records<E>>);

struct Records<E> {
    id: SinkId,
    events: Mutex<Vec<(E, u32)>>,
    closes: AtomicU64,
}

impl<E> Clone for Recording<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E> Default for Recording<E> {
    fn default() -> Self {
        let (events, closes) = (Mutex::new(Vec::new()), AtomicU64::new(0));
        Self(Arc::new(Records { id: SinkId::unique(), events, closes }))
    }
}

impl<E> Recording<E> {
    /// A sink with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How often it was asked to close.
    #[must_use]
    pub fn closes(&self) -> u64 {
        self.0.closes.load(Ordering::Acquire)
    }

    /// How many events it got.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.0.events).len()
    }

    /// Whether it got none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<E: Clone> Recording<E> {
    /// The events, in the order they came.
    #[must_use]
    pub fn events(&self) -> Vec<E> {
        lock(&self.0.events).iter().map(|(event, _)| event.clone()).collect()
    }

    /// The events with the number of the attempt that brought each.
    #[must_use]
    pub fn attempts(&self) -> Vec<(E, u32)> {
        lock(&self.0.events).clone()
    }
}

impl<E: Clone + Send> Sink<E> for Recording<E> {
    fn try_write(&self, event: &E, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        if self.closes() > 0 {
            return Err(WriteError::Closed);
        }
        lock(&self.0.events).push((event.clone(), delivery.attempt()));
        Ok(())
    }

    fn poll_close(&self, _: Shutdown, _: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.0.closes.fetch_add(1, Ordering::AcqRel);
        Poll::Ready(Ok(CloseReport::new()))
    }

    fn id(&self) -> Option<SinkId> {
        Some(self.0.id)
    }
}

impl<E> fmt::Debug for Recording<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").field("events", &self.len()).field("closes", &self.closes()).finish()
    }
}
