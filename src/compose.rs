//! Pipelines that read in the order of an event's way, backwards: `http.retrying(breaker).queued()`.

use std::sync::Arc;
use std::time::Duration;

use crate::fallback::Fallback;
use crate::filter::Filter;
use crate::queue::{Batching, Queue};
use crate::receipt::{Acknowledged, Untracked};
use crate::retry::{RetryStrategy, RetryingSink};
use crate::sink::Sink;
use crate::time_limit::TimeLimit;

/// Wraps a sink into the stages of this crate.
///
/// The trait itself knows no event type, so that a chain does not need one named at each step: it is found where the sink says it, or where
/// something is written.
///
/// ```
/// use std::time::Duration;
/// use sinkworks::{Breaker, Sink, SinkExt, Shutdown, sink_fn};
///
/// let queue = sink_fn(|event: &u64| { println!("{event}"); Ok(()) })
///     .retrying(Breaker::new(5, Duration::from_secs(1)))
///     .filtered(|event: &u64| event % 2 == 0)
///     .queued();
/// queue.send(2)?;
/// queue.close(Shutdown::Drain)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait SinkExt: Sized {
    /// A [`RetryingSink`] around it.
    fn retrying<R: RetryStrategy>(self, strategy: R) -> RetryingSink<Self, R> {
        RetryingSink::new(self, strategy)
    }

    /// A [`Filter`] in front of it.
    fn filtered<P>(self, predicate: P) -> Filter<Self, P> {
        Filter::new(self, predicate)
    }

    /// A [`TimeLimit`] in front of it: it gets no more than `limit` to take an event.
    fn time_limit(self, limit: Duration) -> TimeLimit<Self> {
        TimeLimit::new(self, limit)
    }

    /// A [`Fallback`] of it and `secondary`, which gets what this one does not take.
    fn fallback<S>(self, secondary: S) -> Fallback<Self, S> {
        Fallback::new(self, secondary)
    }

    /// An [`Acknowledged`] around it: it takes [`Tracked`](crate::Tracked) events, and notes on each that `name` has delivered it. Put it below the
    /// queue: above, it says that the queue has stored the event.
    fn acknowledged(self, name: impl Into<Arc<str>>) -> Acknowledged<Self> {
        Acknowledged::new(name, self)
    }

    /// An [`Untracked`] around it: it takes [`Tracked`](crate::Tracked) events and acknowledges nothing.
    fn untracked(self) -> Untracked<Self> {
        Untracked::new(self)
    }

    /// A [`Queue`] in front of it, on the [global pool](crate::Pool::global).
    fn queued<E: Send + 'static>(self) -> Queue<E>
    where
        Self: Sink<E> + 'static,
    {
        Queue::new(self)
    }

    /// A [`Queue`] in front of it, on the [global pool](crate::Pool::global), that delivers up to `max_events` in one write (0 means 1), and waits no longer than
    /// `linger` for them: see [`Queue::batching`].
    fn batched<E: Send + 'static>(self, max_events: usize, linger: Duration) -> Queue<E>
    where
        Self: Sink<[E]> + 'static,
    {
        Queue::batched(self, Batching::new(max_events, linger))
    }
}

impl<S> SinkExt for S {}
