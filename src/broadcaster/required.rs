//! What the writer is told when sinks that were [required](super::Broadcaster::add_required) did not take an event.

use std::error::Error;
use std::fmt;

use crate::error::{Class, Failure, WriteError};
use crate::retry::DestinationFull;
use crate::sink::SinkId;

/// Required sinks of a [`Broadcaster`](crate::Broadcaster) did not take an event: the [cause](Failure::cause) of the failure that the
/// broadcaster answers. The sinks that it does not name have taken the event.
///
/// ```
/// use sinkworks::{Broadcaster, Failure, RequiredSinkError, Sink, WriteError, sink_fn};
///
/// let broadcaster = Broadcaster::new();
/// let disk = broadcaster.add_required(sink_fn(|_: &u64| Err(Failure::transient("the disk is full").into())))?;
/// let Err(WriteError::Failed(failure)) = broadcaster.write(&1) else { panic!("a required sink refused it") };
/// let cause = failure.cause().downcast_ref::<RequiredSinkError>().expect("the broadcaster's own error");
/// assert_eq!(cause.refused[0].0, disk);
/// # Ok::<(), WriteError>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RequiredSinkError {
    /// Each sink that did not take the event, by the id that `add_required` gave, with its answer: [`Full`](WriteError::Full),
    /// [`Closed`](WriteError::Closed) or [`Failed`](WriteError::Failed). The cause of the failure of one that panicked is a [`SinkPanicked`].
    pub refused: Vec<(SinkId, WriteError)>,
}

impl fmt::Display for RequiredSinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not taken by the required sinks")?;
        for (n, (id, _)) in self.refused.iter().enumerate() {
            write!(f, "{} {id}", if n == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl Error for RequiredSinkError {
    /// The first sink's answer.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.refused.first().map(|(_, error)| error as _)
    }
}

/// A required sink panicked while it had the event. Nobody offers the event to it again: a panic is a defect, which no repetition mends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sink panicked")]
#[non_exhaustive]
pub struct SinkPanicked;

impl RequiredSinkError {
    /// As the writer is told: worth repeating if that helps with one sink at least; exhausted if nothing else is the matter.
    pub(super) fn into_failure(self) -> Failure {
        let is = |class| move |(_, error): &&(SinkId, WriteError)| class_of(error) == class;
        let class = if self.refused.iter().any(|refusal| is(Class::Transient)(&refusal)) {
            Class::Transient
        } else if self.refused.iter().all(|refusal| is(Class::Exhausted)(&refusal)) {
            Class::Exhausted
        } else {
            Class::Permanent
        };
        let delays = self.refused.iter().filter(is(class)).filter_map(|(_, error)| match error {
            WriteError::Failed(failure) => failure.retry_after(),
            _ => None,
        });
        let delay = delays.max();
        let failure = match class {
            Class::Transient => Failure::transient(self),
            Class::Exhausted => Failure::transient(self).exhausted(),
            Class::Permanent => Failure::permanent(self),
        };
        match delay {
            Some(delay) => failure.with_retry_after(delay),
            None => failure,
        }
    }
}

fn class_of(error: &WriteError) -> Class {
    match error {
        WriteError::Failed(failure) => failure.class(),
        WriteError::Full | WriteError::NotReady(_) => Class::Transient,
        WriteError::Closed => Class::Permanent,
    }
}

/// The answer as a failed attempt that is worth another one, if it is.
pub(super) fn transient(error: &WriteError) -> Option<Failure> {
    match error {
        WriteError::Failed(failure) if failure.class() == Class::Transient => Some(failure.clone()),
        WriteError::Full => Some(Failure::transient(DestinationFull)),
        _ => None,
    }
}
