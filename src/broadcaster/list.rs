//! The list of sinks that a broadcast reads: a snapshot that is never changed, and the pure steps from one to the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sink::{Sink, SinkId};
use crate::wakers::Wakers;

/// A sink of a broadcaster.
pub(super) struct Entry<S: ?Sized> {
    pub(super) id: SinkId,
    pub(super) gone: Arc<Gone>,
    /// In here, not behind one more pointer: a broadcast to a thousand sinks is a thousand cache misses for each.
    pub(super) sink: S,
}

/// An entry whose sink takes `E`.
pub(super) type Shared<E> = Arc<Entry<dyn Sink<E>>>;

/// Tells when no snapshot has the entry any more: then no write can reach its sink.
#[derive(Default)]
pub(super) struct Gone {
    gone: AtomicBool,
    pub(super) wakers: Wakers,
}

impl Gone {
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }
}

impl<S: ?Sized> Drop for Entry<S> {
    fn drop(&mut self) {
        // Release: whoever sees it gone sees all that the last write did.
        self.gone.gone.store(true, Ordering::Release);
        self.gone.wakers.wake_all();
    }
}

/// One snapshot.
pub(super) struct List<E: ?Sized> {
    pub(super) entries: Vec<Shared<E>>,
    pub(super) closed: bool,
}

impl<E: ?Sized> Clone for List<E> {
    fn clone(&self) -> Self {
        Self { entries: self.entries.clone(), closed: self.closed }
    }
}

impl<E: ?Sized> List<E> {
    pub(super) fn empty() -> Self {
        Self { entries: Vec::new(), closed: false }
    }

    pub(super) fn get(&self, id: SinkId) -> Option<&Shared<E>> {
        self.entries.iter().find(|entry| entry.id == id)
    }

    /// With `entry` at the end; unchanged if it is there already or the list is closed.
    pub(super) fn with(self: &Arc<Self>, entry: &Shared<E>) -> Arc<Self> {
        if self.closed || self.get(entry.id).is_some() {
            return self.clone();
        }
        let mut next = Self::clone(self);
        next.entries.push(entry.clone());
        Arc::new(next)
    }

    /// Without `id`; unchanged if it is not there or the list is closed.
    pub(super) fn without(self: &Arc<Self>, id: SinkId) -> Arc<Self> {
        if self.closed || self.get(id).is_none() {
            return self.clone();
        }
        let mut next = Self::clone(self);
        next.entries.retain(|entry| entry.id != id);
        Arc::new(next)
    }

    /// Closed, with its sinks.
    pub(super) fn sealed(&self) -> Self {
        Self { entries: self.entries.clone(), closed: true }
    }
}
