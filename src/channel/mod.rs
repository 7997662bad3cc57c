//! From a pipeline to a reader in the same process.
//!
//! Writers and readers meet as in a queue: *push, fence, look for a reader* against *register, fence, look for an event*. What `ci/loom.sh channel` checks:
//!
//! | step | model |
//! |---|---|
//! | a reader falls asleep while an event comes | `channel_send_against_receive` |
//! | several readers: a wake for the next event is handed on | `channel_wake_is_handed_on` |
//! | the end is told to every reader, and after the last event | `channel_close_against_receive` |
//! | the receiver goes: no event is left | `channel_receiver_goes` |
//! | room | `channel_room_against_receive` |
//! | what is missed is told once, at its place, and before the end | `channel_lag_of_the_oldest`, `channel_lag_of_the_newest`, `channel_evict_against_readers`, `channel_shed_against_readers` |

mod lag;
mod receiver;

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};

use crate::clock::Clock;
use crate::contain::contain;
use crate::delivery::Delivery;
use crate::error::{BuildError, CloseError, WriteError};
use crate::intake::Parcel;
use crate::intake::entrance::{Entrance, Overflow, Owner, Place, SendError};
use crate::intake::limits::{Bounds, Note};
use crate::ledger::{DropReason, Ledger};
use crate::name::Name;
use crate::shutdown::{CloseReport, ComponentReport, Shutdown};
use crate::sink::{Sink, SinkId};
use crate::sync::atomic::{AtomicU8, Ordering, fence};
use crate::sync::mutation;
use crate::telemetry::{Limit, Observations, Observe, Registration, Topology, as_gauge, names as metric, register};
use crate::wakers::WaitList;
use lag::Lag;

pub use receiver::{Iter, Receiver, RecvError};

/// A sink whose events a [`Receiver`] takes out, in the order in which they were written.
///
/// A handle: clones write to the same channel. Closing it, or dropping its last handle, ends the receiver after the events that are
/// buffered, in every [`Shutdown`] mode. A channel whose receiver is gone is closed; what was buffered is counted as dropped.
///
/// ```
/// use sinkworks::{Channel, Sink, Shutdown};
///
/// let (channel, receiver) = Channel::bounded(16);
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         for event in 0..100 {
///             channel.write(&event).unwrap(); // waits for room
///         }
///         channel.close(Shutdown::Drain).unwrap();
///     });
///     assert!(receiver.iter().eq(0..100));
/// });
/// ```
pub struct Channel<E: Send + 'static> {
    shared: Arc<Shared<E>>,
    /// Shared by the writing handles alone.
    handle: Arc<Handle<E>>,
}

struct Shared<E: Send> {
    id: SinkId,
    name: Name,
    /// Beside the writers' words: whether the receiver is gone.
    entrance: Entrance<E, AtomicU8>,
    /// What the reader misses, where the policy drops events.
    lag: Option<Lag>,
    readers: Arc<WaitList>,
    limit: Limit,
    /// What receivers have counted, for the audit.
    #[cfg(feature = "test-util")]
    received: crate::sync::Mutex<u64>,
    registration: Registration,
}

struct Handle<E: Send + 'static>(Arc<Shared<E>>);

impl<E: Send + 'static> Drop for Handle<E> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<E: Send + 'static> Clone for Channel<E> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), handle: self.handle.clone() }
    }
}

impl<E: Send + 'static> Channel<E> {
    /// A channel without a bound.
    #[must_use]
    pub fn unbounded() -> (Self, Receiver<E>) {
        Self::with(None)
    }

    /// A channel that holds at most `events`; writers wait for room. 0 means 1.
    #[must_use]
    pub fn bounded(events: u64) -> (Self, Receiver<E>) {
        Self::with(Some(events.max(1)))
    }

    fn with(capacity: Option<u64>) -> (Self, Receiver<E>) {
        let id = SinkId::unique();
        Self::assemble(id, Name::default("channel", id), Bounds::of(capacity, Overflow::Block))
    }

    /// A channel with options.
    pub fn builder() -> ChannelBuilder<E> {
        ChannelBuilder { name: None, capacity: None, overflow: Overflow::default(), events: PhantomData }
    }

    fn assemble(id: SinkId, name: Name, bounds: Bounds<E>) -> (Self, Receiver<E>) {
        let lag = matches!(bounds.overflow, Overflow::DropNewest | Overflow::DropOldest).then(Lag::default);
        let shared = Arc::new_cyclic(|this: &Weak<Shared<E>>| Shared {
            id,
            name,
            entrance: Entrance::new(bounds, &Clock::system(), AtomicU8::new(0), ()),
            lag,
            readers: Arc::default(),
            limit: Limit::default(),
            #[cfg(feature = "test-util")]
            received: crate::sync::Mutex::default(),
            registration: register(this.clone()),
        });
        let handle = Arc::new(Handle(shared.clone()));
        (Self { shared: shared.clone(), handle }, Receiver { shared })
    }

    /// Writes an event without cloning it. If the channel is full, does what its [`Overflow`] says; waiting, it parks, except on
    /// a pool thread.
    ///
    /// # Errors
    ///
    /// The event comes back with the reason: [`WriteError::Closed`], [`WriteError::Full`], or on a pool thread [`WriteError::NotReady`].
    pub fn send(&self, event: E) -> Result<(), SendError<E>> {
        match self.shared.entrance.enter(&event, &*self.shared) {
            Ok(Place::Taken(entry)) => self.shared.push(event, entry.note),
            Ok(Place::Shed) => {}
            Err(error) => return Err(SendError { event, error }),
        }
        Ok(())
    }

    /// Everything accepted so far and what became of it. What is buffered is pending; what was received is delivered.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.shared.ledger()
    }

    /// The name given at build time, or one made of the id.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }
}

impl<E: Send> Shared<E> {
    fn push(&self, event: E, note: Note) {
        self.entrance.intake.push(event, note);
        // Pairs with the one in `WaitList::register`: either the reader sees the event, or this sees the reader.
        if !mutation!("channel_push_fence") {
            fence(Ordering::SeqCst);
        }
        self.wake_next();
        if self.entrance.intake.beside().load(Ordering::Relaxed) != 0 && !mutation!("channel_gone_look") {
            self.discard();
        }
    }

    fn wake_next(&self) {
        if !self.readers.is_empty() && !mutation!("channel_push_wakes") {
            self.readers.wake(1);
        }
    }

    /// Drops what nobody will receive, counted.
    #[cold]
    fn discard(&self) {
        while let Some(parcel) = self.entrance.intake.pop() {
            self.entrance.settle(Some(DropReason::DestinationClosed), parcel.note);
            contain(|| drop(parcel.event));
        }
    }

    fn close(&self) {
        self.entrance.close();
        if !mutation!("channel_close_wakes") {
            self.readers.wake_all();
        }
    }

    fn ledger(&self) -> Ledger {
        self.entrance.ledger()
    }
}

/// What the overflow policies need, on a writer's thread.
impl<E: Send> Owner for Shared<E> {
    fn evict(&self) -> bool {
        // Taken out and counted in one step: see `lag`.
        let evicted = self.entrance.drops.step(|dropped| {
            let Parcel { event, note } = self.entrance.intake.take_out()?;
            dropped.add(DropReason::Overflow, 1);
            self.entrance.intake.count_evicted(note);
            Some(event)
        });
        let Some(event) = evicted else { return false };
        self.tell_readers();
        contain(|| drop(event));
        true
    }

    fn shed(&self) {
        if let Some(lag) = &self.lag {
            lag.note_shed(&self.entrance.intake);
        }
        self.tell_readers();
    }

    fn disconnect(&self) {
        self.close();
    }

    fn no_room(&self, what: &'static str) {
        self.limit.no_room(&self.name, what);
    }
}

impl<E: Send> Shared<E> {
    /// Readers that have emptied the channel meanwhile learn what they missed, or that this was the last.
    fn tell_readers(&self) {
        // Needs no fence of its own: the drop was noted under a lock that a reader takes when it looks once more after it has registered, and
        // `count_evicted` fences before the look at the close.
        if mutation!("channel_tell_wakes") {
            return;
        }
        if self.entrance.intake.is_closed() && !mutation!("channel_tells_all_of_the_end") {
            self.readers.wake_all();
        } else {
            self.wake_next();
        }
    }
}

impl<E: Send> Observe for Shared<E> {
    fn observe(&self, out: &mut Observations) {
        let ledger = self.ledger();
        out.gauge(&metric::CHANNEL_DEPTH, &self.name, None, as_gauge(ledger.pending));
        out.counter(&metric::CHANNEL_LAGGED, &self.name, None, ledger.dropped[DropReason::Overflow]);
    }

    fn describe(&self, topology: &mut Topology) {
        topology.stage(Some(self.id), "channel", &self.name, |topology| {
            topology.set("depth", self.ledger().pending);
            topology.set("closed", self.entrance.intake.is_closed());
            if let Some(capacity) = self.entrance.intake.capacity() {
                topology.set("capacity", capacity);
            }
        });
    }
}

impl<E: Send> Drop for Shared<E> {
    fn drop(&mut self) {
        std::mem::take(&mut self.registration).retire(|out| self.observe(out));
        #[cfg(feature = "test-util")]
        crate::test_util::audit::note({
            let received = *crate::sync::lock(&self.received);
            let books = self.entrance.books(0, Some(received));
            books.check_at_end().map_err(|what| format!("channel {} at its end: {what}: {books:?}", self.name))
        });
    }
}

impl<E: Clone + Send + 'static> Sink<E> for Channel<E> {
    fn try_write(&self, event: &E, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        if let Some((event, entry)) = self.shared.entrance.enter_cloned(event, delivery, &*self.shared)? {
            self.shared.push(event, entry.note);
        }
        Ok(())
    }

    fn poll_close(&self, _: Shutdown, _: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.shared.close();
        let mut report = CloseReport::new();
        report.insert(
            self.shared.id,
            ComponentReport { name: Arc::clone(&self.shared.name), ledger: self.shared.ledger() },
        );
        Poll::Ready(Ok(report))
    }

    fn id(&self) -> Option<SinkId> {
        Some(self.shared.id)
    }

    fn describe(&self, topology: &mut Topology) {
        self.shared.describe(topology);
    }
}

impl<E: Send + 'static> fmt::Debug for Channel<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("name", &self.name()).field("ledger", &self.ledger()).finish_non_exhaustive()
    }
}

/// The options of a [`Channel`].
///
/// ```
/// use sinkworks::{Channel, Overflow, Sink};
///
/// let (channel, receiver) = Channel::builder().name("audit").capacity(100).overflow(Overflow::Reject).build()?;
/// channel.write(&7)?;
/// assert_eq!(receiver.recv(), Ok(7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct ChannelBuilder<E> {
    name: Option<String>,
    capacity: Option<u64>,
    overflow: Overflow,
    /// Of the events, so that `Channel::builder()` finds their type where it is used.
    events: PhantomData<fn(E)>,
}

impl<E: Send + 'static> ChannelBuilder<E> {
    /// What the channel is called in metrics and in `Debug`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How many events it holds at most. Default: no bound.
    pub fn capacity(mut self, events: u64) -> Self {
        self.capacity = Some(events);
        self
    }

    /// What becomes of a write that finds no room. Default: [`Overflow::Block`]. With `DropNewest` and `DropOldest` the receiver is told how many events it has
    /// missed, by [`RecvError::Lagged`], and takes a short lock for each event; with `Disconnect` it is told at the end, by
    /// [`RecvError::CutOff`].
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Builds the channel.
    ///
    /// # Errors
    ///
    /// [`BuildError::Name`]; [`BuildError::Zero`] for a capacity of 0 or a [`BlockFor`](Overflow::BlockFor) that does not wait;
    /// [`BuildError::TooLarge`] above 2^62 events.
    pub fn build(self) -> Result<(Channel<E>, Receiver<E>), BuildError> {
        let id = SinkId::unique();
        let name = Name::or_default(self.name.as_deref(), "channel", id)?;
        let bounds = Bounds::of(self.capacity, self.overflow);
        bounds.check()?;
        Ok(Channel::assemble(id, name, bounds))
    }
}
