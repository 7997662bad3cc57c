//! The list of sinks that a broadcast reads: a snapshot that is never changed, and the pure steps from one to the next.
//!
//! **Orderings.** `gone` and `required` are set with Release and read with Acquire. Who sees that a sink is gone sees all that the last write to it did, which is what a
//! waiting remove promises; who sees that one is required sees what the caller of `add_required` did before. The list itself is ordered by `ArcSwap`.

use std::sync::Arc;
use std::task::{Poll, Waker};

use crate::delivery::Delivery;
use crate::error::{CloseError, WriteError};
use crate::shutdown::{CloseReport, Shutdown};
use crate::sink::{Sink, SinkId};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{OnceLock, mutation};
use crate::wakers::Wakers;

/// A sink of a broadcaster.
pub(super) struct Entry<S: ?Sized> {
    pub(super) id: SinkId,
    /// Made when it is removed.
    gone: OnceLock<Arc<Gone>>,
    /// Whether writes fail without it. It is only ever set, with Release against the Acquire of a write: what came before `add_required` is seen.
    required: AtomicBool,
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

impl<S: ?Sized> Entry<S> {
    /// What tells when no snapshot has it any more, for whoever removes it and so has it still.
    pub(super) fn leave(&self) -> &Arc<Gone> {
        self.gone.get_or_init(Arc::default)
    }

    pub(super) fn require(&self) {
        self.required.store(true, Ordering::Release);
    }

    pub(super) fn is_required(&self) -> bool {
        self.required.load(Ordering::Acquire)
    }
}

impl<S: ?Sized> Drop for Entry<S> {
    fn drop(&mut self) {
        // Release: whoever sees it gone sees all that the last write did.
        if let Some(gone) = self.gone.take() {
            gone.gone.store(true, Ordering::Release);
            if !mutation!("broadcaster_gone_wakes") {
                gone.wakers.wake_all();
            }
        }
    }
}

/// A sink in a snapshot.
pub(super) struct Member<E: ?Sized> {
    pub(super) entry: Shared<E>,
    /// It has lines to [fetch ahead](Sink::warm).
    pub(super) is_queue: bool,
}

impl<E: ?Sized> Clone for Member<E> {
    fn clone(&self) -> Self {
        Self { entry: self.entry.clone(), is_queue: self.is_queue }
    }
}

impl<E: ?Sized, S: Sink<E>> Sink<E> for Entry<S> {
    fn try_write(&self, event: &E, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        self.sink.try_write(event, delivery)
    }

    fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.sink.poll_close(how, waker)
    }
}

/// A sink that is to be added.
pub(super) struct NewSink<E: ?Sized> {
    call: Arc<dyn Sink<E>>,
    pub(super) entry: Shared<E>,
    is_queue: bool,
}

impl<E: ?Sized + 'static> NewSink<E> {
    pub(super) fn new<S: Sink<E> + 'static>(id: SinkId, sink: S) -> Self {
        let direct = sink.direct();
        let entry = Arc::new(Entry { id, gone: OnceLock::new(), required: AtomicBool::new(false), sink });
        let is_queue = direct.is_some();
        Self { call: direct.unwrap_or_else(|| entry.clone()), entry, is_queue }
    }
}

/// One snapshot.
pub(super) struct List<E: ?Sized> {
    /// What a broadcast calls, in the order of the members: the sink itself, or [what is behind it](Sink::direct). A broadcast to a thousand idle sinks is a
    /// thousand cache misses for each pointer on the way, unless the pointers lie one after the other as these do.
    pub(super) calls: Vec<Arc<dyn Sink<E>>>,
    pub(super) members: Vec<Member<E>>,
    /// Whether any of them is a queue.
    pub(super) has_queues: bool,
    pub(super) closed: bool,
}

impl<E: ?Sized> Clone for List<E> {
    fn clone(&self) -> Self {
        Self { calls: self.calls.clone(), members: self.members.clone(), ..*self }
    }
}

impl<E: ?Sized> List<E> {
    pub(super) fn empty() -> Self {
        Self { calls: Vec::new(), members: Vec::new(), has_queues: false, closed: false }
    }

    pub(super) fn get(&self, id: SinkId) -> Option<&Shared<E>> {
        self.members.iter().map(|member| &member.entry).find(|entry| entry.id == id)
    }

    /// With a sink at the end; unchanged if it is there already or the list is closed.
    pub(super) fn with(self: &Arc<Self>, new: &NewSink<E>) -> Arc<Self> {
        let closed = self.closed && !mutation!("broadcaster_closed_list_stays");
        let known = self.get(new.entry.id).is_some() && !mutation!("broadcaster_adds_once");
        if closed || known {
            return self.clone();
        }
        // Of the right size: a copy that is pushed to would be twice as large.
        let size = self.calls.len() + 1;
        let mut next = Self { calls: Vec::with_capacity(size), members: Vec::with_capacity(size), ..**self };
        next.calls.extend(self.calls.iter().chain([&new.call]).cloned());
        let member = Member { entry: new.entry.clone(), is_queue: new.is_queue };
        next.members.extend(self.members.iter().cloned().chain([member]));
        next.has_queues |= new.is_queue;
        Arc::new(next)
    }

    /// Without `id`; unchanged if it is not there or the list is closed.
    pub(super) fn without(self: &Arc<Self>, id: SinkId) -> Arc<Self> {
        let closed = self.closed && !mutation!("broadcaster_closed_list_keeps");
        let Some(at) = self.members.iter().position(|member| member.entry.id == id).filter(|_| !closed) else {
            return self.clone();
        };
        let mut next = Self::clone(self);
        next.calls.remove(at);
        next.members.remove(at);
        next.has_queues = next.members.iter().any(|member| member.is_queue);
        Arc::new(next)
    }

    /// Closed, with its sinks.
    pub(super) fn sealed(&self) -> Self {
        Self { closed: true, ..self.clone() }
    }
}

#[cfg(all(test, not(sinkworks_loom)))]
mod tests {
    use super::*;
    use crate::sink::sink_fn;

    #[test]
    fn a_closed_list_stays_as_it_is() {
        let member = || NewSink::<u32>::new(SinkId::unique(), sink_fn(|_: &u32| Ok(())));
        let known = member();
        let open = Arc::new(List::empty()).with(&known);
        assert_eq!(open.with(&member()).members.len(), 2);
        assert_eq!(open.without(known.entry.id).members.len(), 0);
        let closed = Arc::new(open.sealed());
        assert!(Arc::ptr_eq(&closed.with(&member()), &closed));
        assert!(Arc::ptr_eq(&closed.without(known.entry.id), &closed));
    }
}
