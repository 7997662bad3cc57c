//! Receipts: the writer of an event learns who has delivered it, once nobody can deliver it any more. The idea is that of the event finalizers of
//! [Vector](https://vector.dev).
//!
//! An event and its [`Receipt`] share a list of acknowledgements. The end of the event is the drop of its last clone: from then on the list cannot change,
//! and whoever waits is told. So a receipt comes however the event ends: delivered, dropped by a full queue, abandoned at shutdown, lost to a panic. No
//! stage in between needs to know of it. `ci/loom.sh receipt` checks that.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::block;
use crate::delivery::Delivery;
use crate::error::{CloseError, WriteError};
use crate::shutdown::{CloseReport, Shutdown};
use crate::sink::{Sink, SinkId};
use crate::sync::{Condvar, Mutex, MutexGuard, lock, mutation};
use crate::telemetry::Topology;

/// An event whose writer wants to know what becomes of it. Clones are the same event, and cost an atomic increment.
///
/// It reads as the event that is in it. Its `Debug` does not show that event.
///
/// ```
/// use sinkworks::{Broadcaster, Shutdown, Sink, SinkExt, Tracked, sink_fn};
///
/// let broadcaster = Broadcaster::new();
/// let disk = sink_fn(|event: &u64| { println!("to disk: {event}"); Ok(()) });
/// let screen = sink_fn(|event: &u64| { println!("{event}"); Ok(()) });
/// broadcaster.add(disk.acknowledged("disk").queued())?;
/// broadcaster.add(screen.queued().untracked())?; // a queue of plain events: the receipt does not wait for it
///
/// let (event, receipt) = Tracked::new(7);
/// broadcaster.write(&event)?;
/// drop(event); // as long as there is a clone, somebody may deliver it
/// let outcome = receipt.wait()?;
/// assert!(outcome.has("disk"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Tracked<E>(Arc<Parts<E>>);

/// In this order: the end is told after the event is dropped, and also if that panics.
struct Parts<E> {
    event: E,
    end: End,
}

/// Its drop is the end of the event.
struct End(Arc<Slip>);

/// What an event and its receipt share.
#[derive(Default)]
struct Slip {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    ended: bool,
    outcome: Outcome,
}

impl Slip {
    /// No user's code runs under the lock, so it is fit for use even if it is poisoned.
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        if !mutation!("receipt_end_notifies") {
            self.0.ended.notify_all();
        }
    }
}

impl<E> Tracked<E> {
    /// An event that is tracked, and its receipt. Allocates twice.
    pub fn new(event: E) -> (Self, Receipt) {
        let slip = Arc::<Slip>::default();
        (Self(Arc::new(Parts { event, end: End(slip.clone()) })), Receipt(slip))
    }

    /// Notes that `name` has delivered the event. For whoever reads tracked events from a [`Channel`](crate::Channel), or has taken one in a sink
    /// and delivers it later; [`acknowledged`](crate::SinkExt::acknowledged) does it for a sink that delivers before it answers. Takes a lock.
    pub fn acknowledge(&self, name: impl Into<Arc<str>>) {
        self.note(None, name.into());
    }

    fn note(&self, sink: Option<SinkId>, name: Arc<str>) {
        let mut state = self.0.end.0.lock();
        let known = &mut state.outcome.0;
        match known.iter_mut().find(|known| known.sink == sink && known.name == name) {
            Some(known) => known.times = known.times.saturating_add(1),
            None => known.push(Acknowledgement { sink, name, times: 1 }),
        }
    }
}

impl<E> Clone for Tracked<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E> Deref for Tracked<E> {
    type Target = E;

    fn deref(&self) -> &E {
        &self.0.event
    }
}

impl<E> fmt::Debug for Tracked<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracked").finish_non_exhaustive()
    }
}

/// Who has delivered one event, told when every clone of it is gone.
///
/// A clone that is kept somewhere keeps the receipt back: in a queue that waits for a breaker, in a channel that nobody reads, or in the writer's own
/// hand. Prefer [`wait_timeout`](Self::wait_timeout) where that may be.
pub struct Receipt(Arc<Slip>);

impl Receipt {
    /// Waits, parking the thread, until nobody can deliver the event any more.
    ///
    /// # Errors
    ///
    /// [`ReceiptError::OnWorker`].
    pub fn wait(&self) -> Result<Outcome, ReceiptError> {
        self.wait_until(None)
    }

    /// The same, at most for `timeout`. The receipt can be waited for again.
    ///
    /// # Errors
    ///
    /// [`ReceiptError::TimedOut`], [`ReceiptError::OnWorker`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Outcome, ReceiptError> {
        // A time beyond what the clock can count never comes.
        self.wait_until(Instant::now().checked_add(timeout))
    }

    /// The outcome, if it is known. Does not wait.
    ///
    /// ```
    /// use sinkworks::Tracked;
    ///
    /// let (event, receipt) = Tracked::new("event");
    /// event.acknowledge("reader");
    /// assert!(receipt.try_outcome().is_none(), "there is the event, and it may be delivered again");
    /// drop(event);
    /// assert!(receipt.try_outcome().is_some_and(|outcome| outcome.has("reader")));
    /// ```
    #[must_use]
    pub fn try_outcome(&self) -> Option<Outcome> {
        let state = self.0.lock();
        (state.ended || mutation!("receipt_is_final")).then(|| state.outcome.clone())
    }

    fn wait_until(&self, until: Option<Instant>) -> Result<Outcome, ReceiptError> {
        let mut state = self.0.lock();
        while !state.ended && !mutation!("receipt_waits_for_the_end") {
            if block::on_worker() && !mutation!("receipt_parks_no_worker") {
                return Err(ReceiptError::OnWorker);
            }
            let rest = until.map(|until| until.saturating_duration_since(Instant::now()));
            state = match rest {
                Some(Duration::ZERO) => return Err(ReceiptError::TimedOut),
                Some(rest) => self.0.ended.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0,
                None => self.0.ended.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        Ok(state.outcome.clone())
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt").field("outcome", &self.try_outcome()).finish()
    }
}

/// Why a receipt did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// It was waited for on a pool thread, which may be the one that has to deliver the event.
    #[error("a receipt was waited for on a pool thread: nobody waits for itself")]
    OnWorker,
    /// The time has passed, and somebody still has the event.
    #[error("the event's outcome is not known yet")]
    TimedOut,
}

/// Who has acknowledged an event. Final: nobody has the event any more.
///
/// Who is not in it has lost the event, or never got it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
pub struct Outcome(Vec<Acknowledgement>);

/// That one sink has delivered an event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Acknowledgement {
    /// The [`Acknowledged`] sink; `None` if the event was [acknowledged by hand](Tracked::acknowledge).
    pub sink: Option<SinkId>,
    /// The name that was given for it.
    pub name: Arc<str>,
    /// How often it has delivered the event: more than once if a writer repeats a write.
    pub times: u64,
}

impl Outcome {
    /// Who has delivered the event, in the order of the first time.
    pub fn acknowledgements(&self) -> &[Acknowledgement] {
        &self.0
    }

    /// Whether one with this name has delivered it.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|known| &*known.name == name)
    }

    /// Whether all with these names have delivered it.
    ///
    /// ```
    /// use sinkworks::Tracked;
    ///
    /// let (event, receipt) = Tracked::new("event");
    /// event.acknowledge("disk");
    /// drop(event);
    /// let outcome = receipt.wait()?;
    /// assert!(outcome.has_all(["disk"]));
    /// assert!(!outcome.has_all(["disk", "http"]));
    /// # Ok::<(), sinkworks::ReceiptError>(())
    /// ```
    pub fn has_all<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> bool {
        names.into_iter().all(|name| self.has(name))
    }
}

/// Hands the event inside a [`Tracked`] one on to a sink, and acknowledges it when that answers `Ok`.
///
/// Where it stands decides what an acknowledgement says:
///
/// - **Below the queue**, where the sink's `Ok` is the delivery: `http.retrying(breaker).acknowledged("http").queued()`.
/// - **Above or below a retry** is the same, since a retry answers `Ok` when the sink below it does. Above, as here, what is retried knows nothing of
///   receipts; below, a retry can be shared with stages that take tracked events.
/// - **Below a filter**, or an event that is not wanted, which is `Ok`, counts as delivered.
/// - **Above a broadcaster** it says that all its [required](crate::Broadcaster::add_required) sinks took the event.
///
/// It is transparent: it saves nothing in the [`Delivery`], and closes what it wraps.
pub struct Acknowledged<S> {
    sink: S,
    id: SinkId,
    name: Arc<str>,
}

impl<S> Acknowledged<S> {
    /// Acknowledges, by the name of `name`, what `sink` takes. The name need not be the only one of its kind.
    pub fn new(name: impl Into<Arc<str>>, sink: S) -> Self {
        Self { sink, id: SinkId::unique(), name: name.into() }
    }
}

impl<E, S: Sink<E>> Sink<Tracked<E>> for Acknowledged<S> {
    fn try_write(&self, event: &Tracked<E>, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        self.sink.try_write(event, delivery)?;
        event.note(Some(self.id), self.name.clone());
        Ok(())
    }

    fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.sink.poll_close(how, waker)
    }

    fn id(&self) -> Option<SinkId> {
        Some(self.id)
    }

    fn describe(&self, topology: &mut Topology) {
        topology.stage(Some(self.id), "acknowledged", &self.name, |topology| self.sink.describe(topology));
    }
}

impl<S> fmt::Debug for Acknowledged<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acknowledged").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

/// Hands the event inside a [`Tracked`] one on to a sink, and acknowledges nothing: for a branch that is best-effort.
///
/// Above a queue, `http.queued().untracked()`, the queue clones the event itself and the receipt does not wait for it; below, it does.
pub struct Untracked<S> {
    sink: S,
    id: SinkId,
}

impl<S> Untracked<S> {
    /// Hands on to `sink`.
    pub fn new(sink: S) -> Self {
        Self { sink, id: SinkId::unique() }
    }
}

impl<E, S: Sink<E>> Sink<Tracked<E>> for Untracked<S> {
    fn try_write(&self, event: &Tracked<E>, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        self.sink.try_write(event, delivery)
    }

    fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.sink.poll_close(how, waker)
    }

    fn id(&self) -> Option<SinkId> {
        Some(self.id)
    }

    fn describe(&self, topology: &mut Topology) {
        topology.stage(Some(self.id), "untracked", "", |topology| self.sink.describe(topology));
    }
}

impl<S> fmt::Debug for Untracked<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Untracked").field("id", &self.id).finish_non_exhaustive()
    }
}
