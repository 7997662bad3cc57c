//! What becomes of events that a queue drops: letters that say why, and the way back.

use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::contain::contain;
use crate::delivery::History;
use crate::error::{Failure, WriteError};
use crate::ledger::DropReason;
use crate::queue::Queue;
use crate::sink::{Sink, SinkId};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::mutation;

/// An event that a queue has dropped, with what is known about it. Known elsewhere as a dead letter: Gregor Hohpe and Bobby Woolf, *Enterprise
/// Integration Patterns* (2003), "Dead Letter Channel".
///
/// Its times are the wall clock's, for people and files; nothing is decided by them.
///
/// ```
/// use sinkworks::{DeadLetter, DropReason, Failure, Queue, Shutdown, Sink, WriteError, sink_fn};
///
/// // Kept where somebody looks: a file, a table. Here it is printed.
/// let dead = Queue::new(sink_fn(|letter: &DeadLetter<String>| {
///     println!("{} dropped {:?}: {} after {} attempts", letter.queue, letter.event, letter.reason, letter.attempts);
///     Ok(())
/// }));
/// let refusing = sink_fn(|_: &String| Err(WriteError::Failed(Failure::permanent("no such account"))));
/// let queue = Queue::builder(refusing).name("orders").dead_letters(&dead).build()?;
///
/// queue.send("order 7".to_owned())?;
/// let report = queue.close(Shutdown::Drain)?;
/// assert_eq!(report.dropped(), 1);
/// // Closed last, by who made it: other queues may have it too.
/// let report = dead.close(Shutdown::Drain)?;
/// assert_eq!((dead.ledger().delivered, report.dropped()), (1, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct DeadLetter<E> {
    /// The event.
    pub event: E,
    /// The name of the queue that dropped it.
    pub queue: Arc<str>,
    /// Why.
    pub reason: DropReason,
    /// How often it was offered to the destination, by the count of the last stage that repeats.
    pub attempts: u32,
    /// How the first attempt failed, if one has.
    pub first_error: Option<Failure>,
    /// How the last attempt failed, if one has.
    pub last_error: Option<Failure>,
    /// When the queue accepted it, if the queue [stamps](crate::QueueBuilder::stamped).
    pub accepted: Option<SystemTime>,
    /// When the first attempt failed.
    pub first_failure: Option<SystemTime>,
    /// When it was dropped.
    pub dropped: SystemTime,
}

impl<E> DeadLetter<E> {
    pub(crate) fn new(event: E, queue: Arc<str>, reason: DropReason, what: Circumstances, now: Instant) -> Self {
        let dropped = SystemTime::now();
        let wall = |at: Instant| dropped.checked_sub(now.saturating_duration_since(at)).unwrap_or(dropped);
        let Circumstances { history, accepted, unrecorded } = what;
        let (failed, first_error, last_error, first_failure) = match history.map(|history| *history) {
            Some(History { attempts, first_failure, first_error, last_error }) => {
                (attempts, Some(first_error), Some(last_error), Some(wall(first_failure)))
            }
            None => (0, None, None, None),
        };
        Self {
            event,
            queue,
            reason,
            attempts: failed.saturating_add(unrecorded),
            first_error,
            last_error,
            accepted: accepted.map(wall),
            first_failure,
            dropped,
        }
    }

    /// Writes the event to `sink` once more: its old queue, or wherever it belongs. The letter stays with the caller, who throws it away when the write has
    /// succeeded.
    ///
    /// # Errors
    ///
    /// Those of [`Sink::write`].
    pub fn replay(&self, sink: &impl Sink<E>) -> Result<(), WriteError> {
        sink.write(&self.event)
    }
}

/// The event is not for logs.
impl<E> fmt::Debug for DeadLetter<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetter")
            .field("queue", &self.queue)
            .field("reason", &self.reason)
            .field("attempts", &self.attempts)
            .field("last_error", &self.last_error)
            .field("dropped", &self.dropped)
            .finish_non_exhaustive()
    }
}

/// Writes the events of dead letters to `sink`, in their order, and answers what was not taken, with the reasons. A write that must wait
/// for room waits. After [`WriteError::Closed`] the rest is not tried.
///
/// ```
/// use sinkworks::{Channel, DeadLetter, DropReason, Failure, Queue, Shutdown, Sink, WriteError, replay, sink_fn};
/// use sinkworks::test_util::Recording;
///
/// let (letters, inbox) = Channel::<DeadLetter<u32>>::unbounded();
/// let dead = Queue::new(letters);
/// let down = sink_fn(|_: &u32| Err(WriteError::Failed(Failure::permanent("not today"))));
/// let queue = Queue::builder(down).dead_letters(&dead).build()?;
/// queue.send(7)?;
/// queue.close(Shutdown::Drain)?;
/// dead.close(Shutdown::Drain)?;
///
/// let repaired = Recording::new();
/// let replayed = replay(inbox.iter(), &repaired);
/// assert_eq!((replayed.written, replayed.refused.len()), (1, 0));
/// assert_eq!(repaired.events(), [7]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn replay<E>(letters: impl IntoIterator<Item = DeadLetter<E>>, sink: &impl Sink<E>) -> Replayed<E> {
    let mut replayed = Replayed { written: 0, refused: Vec::new() };
    let mut closed = false;
    for letter in letters {
        let answer = if closed && !mutation!("letters_replay_ends_with_the_close") {
            Err(WriteError::Closed)
        } else {
            letter.replay(sink)
        };
        match answer {
            Ok(()) => replayed.written += 1,
            Err(error) => {
                closed |= matches!(error, WriteError::Closed);
                replayed.refused.push((letter, error));
            }
        }
    }
    replayed
}

/// What [`replay`] did.
#[derive(Debug)]
#[non_exhaustive]
pub struct Replayed<E> {
    /// Letters whose events the sink has taken.
    pub written: u64,
    /// The others, each with the reason. They are the caller's again.
    pub refused: Vec<(DeadLetter<E>, WriteError)>,
}

/// What is known of an event at its end.
#[derive(Default)]
pub(crate) struct Circumstances {
    pub(crate) history: Option<Box<History>>,
    pub(crate) accepted: Option<Instant>,
    /// Attempts that are not in the history: the one that panicked, or that found the destination closed or full.
    pub(crate) unrecorded: u32,
}

/// Where a queue's dead letters go.
///
/// The queue of letters is hidden in a closure: a queue of `E` that named a queue of `DeadLetter<E>` in its type would, since that is a queue too, name one
/// of `DeadLetter<DeadLetter<E>>`, and so on.
pub(crate) struct DeadLetters<E> {
    hand_over: Box<HandOver<E>>,
    queue: SinkId,
    written: AtomicU64,
    lost: AtomicU64,
}

/// Gives the event back if the letter was not taken.
type HandOver<E> = dyn Fn(DeadLetter<E>) -> Option<E> + Send + Sync;

impl<E: Send + 'static> DeadLetters<E> {
    pub(crate) fn to(queue: &Queue<DeadLetter<E>>) -> Self {
        let id = queue.sink_id();
        let queue = queue.clone();
        Self {
            queue: id,
            hand_over: Box::new(move |letter| queue.try_send(letter).err().map(|refused| refused.event.event)),
            written: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }
}

impl<E> DeadLetters<E> {
    /// Never waits. Gives the event back if nobody takes the letter. What panics there (the size function of the letters' queue) is contained: whoever drops
    /// an event goes on.
    pub(crate) fn write(&self, letter: DeadLetter<E>) -> Option<E> {
        let back = contain(|| (self.hand_over)(letter));
        if let Some(None) = back {
            self.written.fetch_add(1, Ordering::Relaxed);
        } else {
            self.count_lost();
        }
        back.flatten()
    }

    pub(crate) fn count_lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// The queue of the letters.
    pub(crate) fn queue(&self) -> SinkId {
        self.queue
    }

    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}
