//! Fan-out: every event to every sink, on the writer's thread.
//!
//! The list of sinks is a snapshot in an `ArcSwap`: a broadcast loads it wait-free and never waits for an add or a remove;
//! those copy the list and swap it in, in a loop that repeats when they meet. No lock is held while a sink is called, so a
//! sink may call its own broadcaster.
//!
//! What `ci/loom.sh broadcaster` checks, over a stand-in of `ArcSwap` that lets readers see what is being replaced:
//!
//! | step | model |
//! |---|---|
//! | no add or remove is lost, and who stays gets every event | `broadcaster_write_against_add`, `broadcaster_write_against_remove` |
//! | after a waiting remove no write reaches the sink | `broadcaster_remove_waits` |
//! | who waits for a sink that is removed goes on | `broadcaster_remove_against_hold` |
//! | a closed sink is taken out, and counted, once | `broadcaster_evicts_once` |
//! | what is added is closed, or refused | `broadcaster_close_against_add` |
//! | after a close every write is refused | `broadcaster_close_against_write` |

mod close;
mod list;
mod membership;
mod offer;
mod required;

use std::fmt;
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};

use crate::delivery::Delivery;
use crate::error::{BuildError, CloseError, WriteError};
use crate::ledger::{DropReason, Dropped};
use crate::name::Name;
use crate::shutdown::{CloseReport, Shutdown};
use crate::sink::{Sink, SinkId};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{ArcSwap, Mutex, lock, mutation};
use crate::telemetry::{Limit, Observations, Observe, Registration, Topology, as_gauge, names as metric, register};
use crate::wakers::WaitList;
use close::Closing;
use list::{Gone, List};

pub use required::{RequiredSinkError, SinkPanicked};

/// Writes every event to all of its sinks, one after the other, on the writer's thread. Put a [`Queue`](crate::Queue) before each sink that takes
/// time: then a broadcast costs a push for each.
///
/// - **Errors** of a best-effort sink, which is what [`add`](Self::add) adds, never reach the writer: they are counted in [`lost`](Self::lost). One
///   that answers [`Closed`](WriteError::Closed) is removed. If a sink panics, the others get the event.
/// - **Required** sinks, added with [`add_required`](Self::add_required), must take the event, or the write fails with a [`RequiredSinkError`] that names
///   those which did not. The other sinks get the event all the same. What a sink takes responsibility for is what its `Ok` says: a queue's, that
///   the event is stored. To learn that it has arrived, see [`Receipt`](crate::Receipt).
/// - **Not ready**: if a sink is not ready, the broadcast is not either. Offered again, the event goes only to the sinks that did not
///   take it yet. A sink added meanwhile gets the next event.
/// - **A failed write that is repeated**, as a [`RetryingSink`](crate::RetryingSink) in front of the broadcaster does, goes only to the required sinks that
///   did not take the event and may yet. This is kept in the [`Delivery`]: a caller of `write` that writes the event once more begins anew, with all sinks.
/// - **No sinks**: `Ok`.
/// - **A handle**: clones are the same broadcaster.
/// - **Order**: each sink sees the events of one writer in order. Two sinks may see events of *concurrent* writers in different orders, since
///   nobody waits for anybody. For one order everywhere, put the broadcaster behind one queue:
///   `Queue::new(broadcaster)`.
/// - **After [`remove`](Self::remove)** a write that was under way may still reach the sink;
///   [`remove_and_wait`](Self::remove_and_wait) waits until none can.
/// - **Closing** closes all its sinks at the same time. Removing does not close a sink; but if the broadcaster had the last handle of a queue, that
///   queue drains.
///
/// ```
/// use sinkworks::{Broadcaster, Queue, Shutdown, Sink, sink_fn};
///
/// let broadcaster = Broadcaster::new();
/// let queue = Queue::new(sink_fn(|event: &u64| { println!("{event}"); Ok(()) }));
/// broadcaster.add(queue.clone())?;
/// broadcaster.add(queue.clone())?; // has it already
/// assert_eq!(broadcaster.len(), 1);
/// broadcaster.write(&1)?;
/// broadcaster.close(Shutdown::Drain)?;
/// assert_eq!(queue.ledger().delivered, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Broadcaster<E: ?Sized + 'static>(Arc<Inner<E>>);

struct Inner<E: ?Sized> {
    list: ArcSwap<List<E>>,
    id: SinkId,
    name: Name,
    writes: AtomicU64,
    evictions: AtomicU64,
    lost: Mutex<Dropped>,
    closing: Mutex<Option<Closing<E>>>,
    /// Sinks that were removed and that a write may still reach.
    leaving: Mutex<Vec<(SinkId, Weak<Gone>)>>,
    /// Events that some sink was not ready for.
    waiting: Arc<WaitList>,
    /// Of evictions, of panics.
    limits: [Limit; 2],
    registration: Registration,
}

impl<E: ?Sized + 'static> Clone for Broadcaster<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E: ?Sized + 'static> Default for Broadcaster<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E: ?Sized + 'static> Broadcaster<E> {
    /// A broadcaster without sinks.
    #[must_use]
    pub fn new() -> Self {
        let id = SinkId::unique();
        Self::assemble(id, Name::default("broadcaster", id))
    }

    /// The same with a name, for metrics and `Debug`.
    ///
    /// # Errors
    ///
    /// [`BuildError::Name`].
    pub fn named(name: &str) -> Result<Self, BuildError> {
        Ok(Self::assemble(SinkId::unique(), Name::given(name)?))
    }

    fn assemble(id: SinkId, name: Name) -> Self {
        Self(Arc::new_cyclic(|this: &Weak<Inner<E>>| Inner {
            list: ArcSwap::from_pointee(List::empty()),
            id,
            name,
            writes: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
            lost: Mutex::default(),
            closing: Mutex::new(None),
            leaving: Mutex::default(),
            waiting: Arc::default(),
            limits: Default::default(),
            registration: register(this.clone()),
        }))
    }

    /// How many sinks it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has no sinks.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Events that one of its best-effort sinks did not take, by reason; an event that two of them did not take counts twice. What a sink below a
    /// queue loses, the queue counts. What a required sink refuses is not lost here: the writer is told, still holds the event, and accounts for it.
    #[must_use]
    pub fn lost(&self) -> Dropped {
        *lock(&self.0.lost)
    }

    /// Sinks that were removed since they had closed.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.0.evictions.load(Ordering::Relaxed)
    }

    /// Events written to it.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.0.writes.load(Ordering::Relaxed)
    }

    /// The name given at build time.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }
}

impl<E: ?Sized> Inner<E> {
    fn len(&self) -> usize {
        self.read(|list| if list.closed && !mutation!("broadcaster_closed_is_empty") { 0 } else { list.members.len() })
    }

    /// Looks at the current snapshot. If that is replaced meanwhile, whoever looks may be the last to have a sink that was removed, whose drop is the
    /// user's code: a panic of it is no affair of the one who looked.
    fn read<R>(&self, look: impl FnOnce(&List<E>) -> R) -> R {
        let list = self.list.load();
        let answer = look(&list);
        offer::discard(list);
        answer
    }
}

impl<E: ?Sized> Observe for Inner<E> {
    fn observe(&self, out: &mut Observations) {
        out.gauge(&metric::BROADCASTER_SINKS, &self.name, None, as_gauge(self.len() as u64));
        out.counter(&metric::BROADCASTER_WRITES, &self.name, None, self.writes.load(Ordering::Relaxed));
        out.counter(&metric::BROADCASTER_EVICTIONS, &self.name, None, self.evictions.load(Ordering::Relaxed));
        let lost = *lock(&self.lost);
        for reason in DropReason::ALL {
            out.counter(&metric::BROADCASTER_DROPPED, &self.name, Some(reason.as_str()), lost[reason]);
        }
    }

    fn describe(&self, topology: &mut Topology) {
        topology.stage(Some(self.id), "broadcaster", &self.name, |topology| {
            self.read(|list| {
                topology.set("closed", list.closed);
                for entry in list.members.iter().map(|member| &member.entry) {
                    let label = if entry.is_required() { "required" } else { "" };
                    topology.labelled(label, |topology| entry.sink.describe(topology));
                }
            });
        });
    }
}

impl<E: ?Sized> Drop for Inner<E> {
    fn drop(&mut self) {
        std::mem::take(&mut self.registration).retire(|out| self.observe(out));
        #[cfg(feature = "test-util")]
        crate::test_util::audit::note({
            let (evictions, lost) = (self.evictions.load(Ordering::Relaxed), *lock(&self.lost));
            let right = evictions <= lost[DropReason::DestinationClosed];
            right
                .then_some(())
                .ok_or_else(|| format!("broadcaster {}: {evictions} evictions, lost {lost:?}", self.name))
        });
    }
}

impl<E: ?Sized + 'static> Sink<E> for Broadcaster<E> {
    fn try_write(&self, event: &E, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        if let Some(saved) = delivery.resume() {
            let rest = self.offer_again(saved, event, delivery);
            return self.conclude(rest, delivery);
        }
        let rest = self.0.read(|list| {
            if list.closed && !mutation!("broadcaster_write_sees_the_close") {
                return None;
            }
            self.0.writes.fetch_add(1, Ordering::Relaxed);
            Some(self.offer_first(list, event, delivery))
        });
        match rest {
            Some(None) => Ok(()),
            Some(Some(rest)) => self.conclude(*rest, delivery),
            None => Err(WriteError::Closed),
        }
    }

    fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.poll_close_all(how, waker)
    }

    fn id(&self) -> Option<SinkId> {
        Some(self.0.id)
    }

    fn describe(&self, topology: &mut Topology) {
        self.0.describe(topology);
    }
}

impl<E: ?Sized + 'static> fmt::Debug for Broadcaster<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcaster")
            .field("name", &self.0.name)
            .field("sinks", &self.len())
            .field("writes", &self.writes())
            .field("lost", &self.lost())
            .finish_non_exhaustive()
    }
}
