//! From a pipeline to a reader in the same process.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::block;
use crate::clock::saturating_add;
use crate::contain::contain;
use crate::delivery::Delivery;
use crate::error::{BuildError, CloseError, WriteError};
use crate::intake::entrance::{self, Entrance, Overflow, SendError};
use crate::ledger::{DropCounters, DropReason, Ledger};
use crate::names;
use crate::shutdown::{CloseReport, ComponentReport, Shutdown};
use crate::sink::{Sink, SinkId};
use crate::sync::atomic::{AtomicU8, Ordering, fence};
use crate::telemetry::{Observations, Observe, Registration, as_gauge, names as metric, register};
use crate::wakers::{Ticket, WaitList};

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
    name: Arc<str>,
    /// Beside the writers' words: whether the receiver is gone.
    entrance: Entrance<E, AtomicU8>,
    drops: DropCounters,
    readers: Arc<WaitList>,
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
        Self::assemble(id, names::default("channel", id), capacity, Overflow::Block)
    }

    /// A channel with options.
    pub fn builder() -> ChannelBuilder<E> {
        ChannelBuilder { name: None, capacity: None, overflow: Overflow::default(), events: PhantomData }
    }

    fn assemble(id: SinkId, name: Arc<str>, capacity: Option<u64>, overflow: Overflow) -> (Self, Receiver<E>) {
        let shared = Arc::new_cyclic(|this: &Weak<Shared<E>>| Shared {
            id,
            name,
            entrance: Entrance::new(capacity, overflow, AtomicU8::new(0)),
            drops: DropCounters::default(),
            readers: Arc::default(),
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
        match self.shared.entrance.enter() {
            Ok(()) => {
                self.shared.push(event);
                Ok(())
            }
            Err(error) => Err(SendError { event, error }),
        }
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
    fn push(&self, event: E) {
        self.entrance.intake.push(event);
        // The fence in `push` pairs with the one in `WaitList::register`: either the reader sees the event, or this sees the reader.
        self.wake_next();
        if self.entrance.intake.beside().load(Ordering::Relaxed) != 0 {
            self.discard();
        }
    }

    fn wake_next(&self) {
        if !self.readers.is_empty() {
            self.readers.wake(1);
        }
    }

    /// Drops what nobody will receive, counted.
    #[cold]
    fn discard(&self) {
        let intake = &self.entrance.intake;
        while let Some(event) = intake.pop() {
            self.drops.count(DropReason::DestinationClosed, || intake.leave());
            contain(|| drop(event));
        }
    }

    fn close(&self) {
        self.entrance.close();
        self.readers.wake_all();
    }

    fn ledger(&self) -> Ledger {
        self.drops.ledger(|| self.entrance.intake.left(), || self.entrance.intake.accepted())
    }

    fn try_recv(&self) -> Result<E, RecvError> {
        if let Some(event) = self.entrance.intake.pop() {
            self.entrance.intake.leave();
            self.entrance.free_room();
            if self.entrance.intake.is_drained() {
                // The last event has left after the close: other readers have seen neither an event nor the end. Pairs with the fence in
                // `WaitList::register`.
                fence(Ordering::SeqCst);
                self.readers.wake_all();
            }
            return Ok(event);
        }
        Err(if self.entrance.intake.is_drained() { RecvError::Closed } else { RecvError::Empty })
    }
}

impl<E: Send> Observe for Shared<E> {
    fn observe(&self, out: &mut Observations) {
        out.gauge(&metric::CHANNEL_DEPTH, &self.name, None, as_gauge(self.ledger().pending));
        // No overflow policy makes a reader miss events yet.
        out.counter(&metric::CHANNEL_LAGGED, &self.name, None, 0);
    }
}

impl<E: Send> Drop for Shared<E> {
    fn drop(&mut self) {
        std::mem::take(&mut self.registration).retire(|out| self.observe(out));
    }
}

impl<E: Clone + Send + 'static> Sink<E> for Channel<E> {
    fn try_write(&self, event: &E, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        let event = self.shared.entrance.enter_with(delivery, || event.clone())?;
        self.shared.push(event);
        Ok(())
    }

    fn poll_close(&self, _: Shutdown, _: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.shared.close();
        let mut report = CloseReport::new();
        report.insert(self.shared.id, ComponentReport { name: self.shared.name.clone(), ledger: self.shared.ledger() });
        Poll::Ready(Ok(report))
    }

    fn id(&self) -> Option<SinkId> {
        Some(self.shared.id)
    }
}

impl<E: Send + 'static> fmt::Debug for Channel<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("name", &self.name()).field("ledger", &self.ledger()).finish_non_exhaustive()
    }
}

/// Why nothing was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// Nothing is there now, or nothing came in time.
    #[error("the channel is empty")]
    Empty,
    /// Nothing is there and nothing will come.
    #[error("the channel is closed")]
    Closed,
}

/// Takes events out of a [`Channel`]. Shared by reference, several threads may receive: each event goes to one of them.
///
/// It blocks its thread: inside a sink, that is a pool thread.
pub struct Receiver<E: Send + 'static> {
    shared: Arc<Shared<E>>,
}

impl<E: Send + 'static> Receiver<E> {
    /// Takes the next event if one is there.
    ///
    /// # Errors
    ///
    /// [`RecvError::Empty`] or [`RecvError::Closed`].
    pub fn try_recv(&self) -> Result<E, RecvError> {
        self.shared.try_recv()
    }

    /// Takes the next event, parking until there is one.
    ///
    /// # Errors
    ///
    /// [`RecvError::Closed`].
    pub fn recv(&self) -> Result<E, RecvError> {
        self.recv_until(None)
    }

    /// Takes the next event, parking for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`RecvError::Empty`] if none came in time, or [`RecvError::Closed`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<E, RecvError> {
        self.recv_until(Some(saturating_add(Instant::now(), timeout)))
    }

    fn recv_until(&self, until: Option<Instant>) -> Result<E, RecvError> {
        let mut ticket: Option<Ticket> = None;
        loop {
            match self.try_recv() {
                Err(RecvError::Empty) => {}
                answer => {
                    if let Some(ticket) = ticket {
                        ticket.spend();
                        // The wake for another event may have come here while this one was on its way: hand it on.
                        if !self.shared.entrance.intake.is_empty() {
                            self.shared.wake_next();
                        }
                    }
                    return answer;
                }
            }
            if ticket.as_ref().is_some_and(Ticket::is_waiting) {
                if until.is_some_and(|until| Instant::now() >= until) {
                    return Err(RecvError::Empty);
                }
                block::park(until);
            } else {
                // Then it looks once more before it parks. Not registered again before it has looked after a wake.
                drop(self.shared.readers.register(&mut ticket, block::thread_waker()));
            }
        }
    }

    /// The events until the channel is closed, parking for each.
    pub fn iter(&self) -> Iter<'_, E> {
        Iter { receiver: self }
    }

    /// Everything that the channel accepted so far and what became of it.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.shared.ledger()
    }
}

impl<E: Send + 'static> Drop for Receiver<E> {
    fn drop(&mut self) {
        self.shared.close();
        self.shared.entrance.intake.beside().store(1, Ordering::Relaxed);
        // Pairs with the fence of a push: either that writer sees that nobody receives any more, or its event is found here.
        fence(Ordering::SeqCst);
        self.shared.discard();
    }
}

impl<E: Send + 'static> fmt::Debug for Receiver<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("name", &self.shared.name)
            .field("ledger", &self.ledger())
            .finish_non_exhaustive()
    }
}

/// The events of a [`Receiver`], by [`Receiver::iter`].
#[derive(Debug)]
pub struct Iter<'a, E: Send + 'static> {
    receiver: &'a Receiver<E>,
}

impl<E: Send + 'static> Iterator for Iter<'_, E> {
    type Item = E;

    fn next(&mut self) -> Option<E> {
        self.receiver.recv().ok()
    }
}

impl<'a, E: Send + 'static> IntoIterator for &'a Receiver<E> {
    type Item = E;
    type IntoIter = Iter<'a, E>;

    fn into_iter(self) -> Iter<'a, E> {
        self.iter()
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

    /// What becomes of a write that finds no room. Default: [`Overflow::Block`].
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Builds the channel.
    ///
    /// # Errors
    ///
    /// [`BuildError::Name`]; [`BuildError::Zero`] for a capacity of 0; [`BuildError::TooLarge`] above 2^62 events.
    pub fn build(self) -> Result<(Channel<E>, Receiver<E>), BuildError> {
        let id = SinkId::unique();
        let name = names::or_default(self.name, "channel", id)?;
        entrance::check_capacity(self.capacity)?;
        Ok(Channel::assemble(id, name, self.capacity, self.overflow))
    }
}
