//! Sinks that record, fail, hesitate, block and panic.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use crate::delivery::{Delivery, Frame};
use crate::error::{CloseError, Failure, WriteError};
use crate::shutdown::{CloseReport, Shutdown};
use crate::sink::{Sink, SinkId};
use crate::telemetry::{Topology, short_type_name};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes `id` and `poll_close` on to the sink that `self` wraps, and answers that it is closed once it is.
///
/// With `closed`, it notes that it has been asked to: a sink that answers for itself must answer that it is closed from then on.
macro_rules! closes_inner {
    ($($closed:ident)?) => {
        fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
            $(self.$closed.store(true, Ordering::Release);)?
            self.inner.poll_close(how, waker)
        }

        fn id(&self) -> Option<SinkId> {
            self.inner.id()
        }

        /// Has no id of its own, and is called like its type.
        fn describe(&self, topology: &mut Topology) {
            topology.stage(None, "test", &short_type_name::<Self>(), |topology| self.inner.describe(topology));
        }
    };
}

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
struct ToldTo;

impl<E: ?Sized, S: Sink<E>> Sink<E> for Failing<S> {
    fn try_write(&self, event: &E, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        if self.closed.load(Ordering::Acquire) {
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

/// Answers that it is not ready a number of times for each event, wakes at once, and then passes the event on: it saves how often in the delivery.
#[derive(Debug)]
pub struct NotReadyYet<S> {
    inner: S,
    times: u32,
    closed: AtomicBool,
}

impl<S> NotReadyYet<S> {
    /// Not ready `times` times for each event.
    pub fn new(times: u32, inner: S) -> Self {
        Self { inner, times, closed: AtomicBool::new(false) }
    }
}

impl<E: ?Sized, S: Sink<E>> Sink<E> for NotReadyYet<S> {
    fn try_write(&self, event: &E, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(WriteError::Closed);
        }
        let (so_far, mut below): (u32, Frame) = delivery.resume().unwrap_or_default();
        if so_far < self.times {
            delivery.save((so_far + 1, below));
            delivery.waker().wake();
            return Err(WriteError::not_ready_until_woken());
        }
        let answer = delivery.nest(&mut below, |delivery| self.inner.try_write(event, delivery));
        if let Err(WriteError::NotReady(_)) = answer {
            delivery.save((so_far, below));
        } else if answer.is_err() && !below.is_empty() {
            // For the next attempt, before which it hesitates again.
            delivery.save((0_u32, below));
        }
        answer
    }

    closes_inner!(closed);
}

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
