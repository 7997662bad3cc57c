//! Why a write, a close or a build did not succeed. Every error is a value to match on: nothing here is ever compared
//! by its text.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Why a sink did not take an event. Whoever gets it still holds the event.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The sink has been closed, or its destination has. It will never take an event again.
    #[error("the sink is closed")]
    Closed,
    /// The sink has a bound, has reached it, and its policy is to refuse rather than to wait.
    #[error("the sink is full")]
    Full,
    /// The sink cannot take the event now; try the same event again later, as [`Wait`] says.
    #[error("the sink is not ready")]
    NotReady(Wait),
    /// The sink tried and failed; [`Failure::class`] says whether trying again makes sense.
    #[error("the write failed: {0}")]
    Failed(#[source] Failure),
}

impl WriteError {
    /// Not ready before `until`.
    #[must_use]
    pub fn not_ready_until(until: Instant) -> Self {
        Self::NotReady(Wait { until: Some(until) })
    }

    /// What a failure would be that stands for this answer: whether trying again makes sense.
    pub(crate) fn class(&self) -> Class {
        match self {
            Self::Failed(failure) => failure.class(),
            Self::Full | Self::NotReady(_) => Class::Transient,
            Self::Closed => Class::Permanent,
        }
    }

    /// How long the destination asked to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        if let Self::Failed(failure) = self { failure.retry_after() } else { None }
    }

    /// Not ready until the delivery's waker is woken. The sink has kept
    /// [`Delivery::waker`](crate::Delivery::waker) and promises to wake it.
    #[must_use]
    pub fn not_ready_until_woken() -> Self {
        Self::NotReady(Wait { until: None })
    }
}

impl From<Failure> for WriteError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// When a write that was not ready is worth repeating. Repeating it earlier is allowed and answers not ready again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// The latest time to try again. `None` means that only the delivery's waker tells.
    pub until: Option<Instant>,
}

impl Wait {
    /// The earlier of the two: what a sink answers that waits for several.
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        let until = match (self.until, other.until) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Self { until }
    }
}

/// Whether a failed write is worth repeating.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Class {
    /// It may succeed later: a timeout, a refused connection, status 503. A retrying sink tries again.
    Transient,
    /// It will never succeed: the event cannot be encoded, status 400. Nobody tries again.
    Permanent,
    /// It was retried and the retrying sink's strategy gave up.
    Exhausted,
}

/// A write that was tried and failed: its class, its cause, and how long the destination asked to be left alone.
/// Cloning shares the cause.
#[derive(Clone)]
pub struct Failure {
    class: Class,
    retry_after: Option<Duration>,
    source: Arc<dyn Error + Send + Sync>,
}

impl Failure {
    /// A failure that may pass.
    ///
    /// ```
    /// use sinkworks::{Class, Failure, WriteError};
    ///
    /// let error = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    /// let failure = Failure::transient(error);
    /// assert_eq!(failure.class(), Class::Transient);
    /// assert!(matches!(WriteError::from(failure), WriteError::Failed(_)));
    /// ```
    pub fn transient(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Class::Transient, source)
    }

    /// A failure that no repetition can mend.
    pub fn permanent(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Class::Permanent, source)
    }

    fn new(class: Class, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { class, retry_after: None, source: Arc::from(source.into()) }
    }

    /// The destination asked not to be tried again before `delay` has passed. A retrying sink treats it as a floor.
    #[must_use]
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// The same failure, as the last one of a retry that has given up.
    #[must_use]
    pub fn exhausted(mut self) -> Self {
        self.class = Class::Exhausted;
        self
    }

    /// Whether trying again makes sense.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// What went wrong, as the sink told it. Downcast it to the sink's own error type to match on it:
    /// [`source`](Error::source) cannot give it, since a failure prints as its cause and goes on with its cause's source.
    ///
    /// ```
    /// use std::io::{Error, ErrorKind};
    /// use sinkworks::Failure;
    ///
    /// let failure = Failure::transient(Error::from(ErrorKind::ConnectionRefused));
    /// let cause = failure.cause().downcast_ref::<Error>();
    /// assert_eq!(cause.map(Error::kind), Some(ErrorKind::ConnectionRefused));
    /// ```
    #[must_use]
    pub fn cause(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.source
    }

    /// Whether both tell of one failed attempt.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.source, &other.source)
    }

    /// How long the destination asked to be left alone, counted from this failure.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure")
            .field("class", &self.class)
            .field("retry_after", &self.retry_after)
            .field("source", &self.source)
            .finish()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.source()
    }
}

/// Why a close did not end with a report. Closing has begun in every case.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// `close` was called on a pool thread, which must not wait for work that may need that very thread. Closing goes on
    /// by itself.
    #[error("close was called on a pool thread: it has begun, but nobody waits for itself")]
    OnWorker,
    /// The deadline of [`Shutdown::Until`](crate::Shutdown::Until) has passed, abort has been asked for, and a sink below
    /// still has not answered that it is closed.
    #[error("a sink did not close in time")]
    TimedOut,
    /// The sink below failed to close.
    #[error("the sink below failed to close: {0}")]
    Failed(#[source] Failure),
    /// The sink below panicked while it closed.
    #[error("the sink below panicked while it closed")]
    Panicked,
    /// The sink leads back to a queue that asks it, on this very thread, whether it is closed: it has nothing to wait for but that queue. What else is below has
    /// closed, with this report. Only a sink between the queue and itself sees it, and passes it on; the queue takes it as the report of its destination.
    #[error("the sink leads back to the queue that closes it")]
    Cycle(crate::shutdown::CloseReport),
}

/// What a builder refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The value must be at least one.
    #[error("{option} must be at least 1")]
    Zero {
        /// The builder's option.
        option: &'static str,
    },
    /// The value is larger than the component can keep.
    #[error("{option} is {value}, above the maximum of {max}")]
    TooLarge {
        /// The builder's option.
        option: &'static str,
        /// What was asked for.
        value: u64,
        /// The largest value allowed.
        max: u64,
    },
    /// The value is no number, or outside the range that makes sense.
    #[error("{option} must be {range}")]
    OutOfRange {
        /// The builder's option.
        option: &'static str,
        /// The values allowed, as text.
        range: &'static str,
    },
    /// The two options contradict each other.
    #[error("{option} must not be below {other}")]
    Below {
        /// The builder's option that is too small.
        option: &'static str,
        /// The option that it must reach.
        other: &'static str,
    },
    /// The option says nothing without the other one.
    #[error("{option} needs {other}")]
    Needs {
        /// The builder's option.
        option: &'static str,
        /// The option that is missing.
        other: &'static str,
    },
    /// The name is empty, longer than 128 bytes, or has a control character in it. Names become metric labels.
    #[error("a name must have 1 to 128 bytes and no control character")]
    Name,
    /// The operating system would not start a thread.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::ErrorKind),
}
