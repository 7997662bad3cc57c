//! The options of a queue.

use std::fmt;
use std::sync::Arc;

use super::batch::{Batches, Batching, OneByOne};
use super::mailbox::{Behind, Mailbox, Ready};
use super::{Handle, Queue};
use crate::dead_letter::{DeadLetter, DeadLetters};
use crate::error::BuildError;
use crate::intake::entrance::{Entrance, Overflow};
use crate::intake::limits::Bounds;
use crate::name::Name;
use crate::pool::Pool;
use crate::sink::{Sink, SinkId};
use crate::sync::Mutex;

/// A sink of batches.
type SliceSink<E> = Arc<dyn Sink<[E]>>;

/// The options of a [`Queue`].
///
/// ```
/// use std::time::Duration;
/// use sinkworks::{Overflow, Queue, Shutdown, Sink, sink_fn};
///
/// let queue: Queue<Vec<u8>> = Queue::builder(sink_fn(|_: &Vec<u8>| Ok(())))
///     .name("uploads")
///     .capacity(10_000)
///     .capacity_bytes(64 << 20, |event| event.len() as u64)
///     .overflow(Overflow::BlockFor(Duration::from_millis(5)))
///     .build()?;
/// queue.send(vec![0; 1000])?;
/// queue.close(Shutdown::Drain)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct QueueBuilder<E> {
    sink: Box<dyn Sink<E>>,
    batches: Option<(Batching, SliceSink<E>)>,
    name: Option<String>,
    pool: Option<Pool>,
    bounds: Bounds<E>,
    max_batch_bytes: Option<u64>,
    dead_letters: Option<DeadLetters<E>>,
}

impl<E: Send + 'static> QueueBuilder<E> {
    pub(super) fn new(sink: Box<dyn Sink<E>>) -> Self {
        Self {
            sink,
            batches: None,
            name: None,
            pool: None,
            bounds: Bounds::default(),
            max_batch_bytes: None,
            dead_letters: None,
        }
    }

    pub(super) fn batching(sink: impl Sink<[E]> + 'static, options: Batching) -> Self {
        let sink: SliceSink<E> = Arc::new(sink);
        Self { batches: Some((options, sink.clone())), ..Self::new(Box::new(OneByOne(sink))) }
    }

    /// What the queue is called in metrics, in dead letters and in `Debug`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The pool that delivers. Default: [`Pool::global`].
    pub fn pool(mut self, pool: &Pool) -> Self {
        self.pool = Some(pool.clone());
        self
    }

    /// How many events may be pending at most, the one being delivered included. Default: no bound.
    pub fn capacity(mut self, events: u64) -> Self {
        self.bounds.capacity = Some(events);
        self
    }

    /// How many bytes the pending events may have together, by `size`. An event that is larger alone is refused with a permanent
    /// [`EventTooLarge`](crate::EventTooLarge). Default: no bound.
    ///
    /// `size` is called on the writers' threads, more than once for a write that finds no room: it must be quick, and what it says of an event must not
    /// change. A write costs another read-modify-write, and an event 24 bytes more.
    pub fn capacity_bytes(mut self, bytes: u64, size: impl Fn(&E) -> u64 + Send + Sync + 'static) -> Self {
        self.bounds.bytes = Some((bytes, Box::new(size)));
        self
    }

    /// How many bytes the events of a [batch](Queue::batching) may have together, by the `size` of [`capacity_bytes`](Self::capacity_bytes): a request's body that its receiver
    /// takes, say. An event that is larger alone is delivered alone. Default: no bound but that of the number.
    pub fn max_batch_bytes(mut self, bytes: u64) -> Self {
        self.max_batch_bytes = Some(bytes);
        self
    }

    /// What becomes of a write that finds no room. Default: [`Overflow::Block`].
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.bounds.overflow = overflow;
        self
    }

    /// Notes when each event was accepted, for [`Delivery::accepted_at`](crate::Delivery::accepted_at), a retry limit by age, and dead letters. Default: not
    /// noted. A write costs a look at the clock, and an event 24 bytes more.
    pub fn stamped(mut self) -> Self {
        self.bounds.stamped = true;
        self
    }

    /// Where the events go that this queue drops, for whatever reason: see [`DeadLetter`]. Default: nowhere; they are only counted.
    ///
    /// It is a queue so that nobody who drops an event, a writer included, has to wait. If it is full, the letter is counted as
    /// [lost](Queue::dead_letters_lost) under `Block`, `BlockFor` and `Reject`; `DropNewest` and `DropOldest` drop a letter and count it there, and
    /// `Disconnect` closes it for good. Give it a bound: events that overflow a queue may well overflow the next.
    ///
    /// It is not closed with this queue: other queues may have it too. Close it afterwards. Letters of writes that drop their own event (`DropNewest`) are
    /// handed over by the writer: close it when those have returned.
    pub fn dead_letters(mut self, queue: &Queue<DeadLetter<E>>) -> Self {
        self.dead_letters = Some(DeadLetters::to(queue));
        self
    }

    /// Builds the queue.
    ///
    /// # Errors
    ///
    /// [`BuildError::Name`]; [`BuildError::Zero`] for a capacity of 0 or a [`BlockFor`](Overflow::BlockFor) that does not wait;
    /// [`BuildError::TooLarge`] for a capacity above 2^62. Where it delivers [batches](Queue::batching), [`BuildError::Zero`] for a `max_events` of 0, and
    /// [`BuildError::Below`] for a capacity below that: no batch would ever be full. The same for [`max_batch_bytes`](Self::max_batch_bytes) and the capacity in bytes;
    /// without one, or without batches, [`BuildError::Needs`].
    pub fn build(self) -> Result<Queue<E>, BuildError> {
        let id = SinkId::unique();
        let name = Name::or_default(self.name.as_deref(), "queue", id)?;
        self.bounds.check()?;
        let Bounds { capacity, bytes, .. } = &self.bounds;
        match &self.batches {
            Some((batching, _)) => {
                batching.check(*capacity, bytes.as_ref().map(|(max, _)| *max), self.max_batch_bytes)?;
            }
            None if self.max_batch_bytes.is_some() => {
                return Err(BuildError::Needs { option: "max_batch_bytes", other: "Queue::batching" });
            }
            None => {}
        }
        Ok(self.assemble(id, name))
    }

    pub(super) fn assemble(self, id: SinkId, name: Name) -> Queue<E> {
        let pool = self.pool.unwrap_or_else(|| Pool::global().clone());
        let clock = pool.clock().clone();
        let behind = Behind { id, drain: Mutex::default() };
        let entrance = Entrance::new(self.bounds, &clock, Ready::new(pool), behind);
        let max_bytes = self.max_batch_bytes;
        let batches = self.batches.map(|(options, sink)| Batches::new(options.at_least_one(), max_bytes, sink));
        let mailbox = Mailbox::new(name, entrance, self.sink, batches, self.dead_letters);
        let handle = Arc::new(Handle(mailbox.clone()));
        Queue { mailbox, handle }
    }
}

impl<E> fmt::Debug for QueueBuilder<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueBuilder")
            .field("name", &self.name)
            .field("capacity", &self.bounds.capacity)
            .field("overflow", &self.bounds.overflow)
            .finish_non_exhaustive()
    }
}
