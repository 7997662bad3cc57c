//! Many events in one write: a sink of slices, `Sink<[E]>`, and how it says what became of each event.
//!
//! `Ok` is for all of them. A sink that took some and not others answers a failure with the cause [`BatchError`], which has an outcome for each. If some may pass
//! it is transient, and a retry in front repeats the write with the same [`Delivery`]; so the sink remembers there which events are done with, and goes on
//! with the rest. [`batch_fn`] does, and so no event is written again that was taken.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};

use crate::delivery::Delivery;
use crate::error::{Class, CloseError, Failure, WriteError};
use crate::shutdown::{CloseReport, Shutdown};
use crate::sink::{Sink, SinkId};
use crate::sync::mutation;
use crate::telemetry::{Topology, short_type_name};

/// What became of each event of a batch of which not all were taken: the [cause](Failure::cause) of the failure that a sink of batches answers then.
///
/// ```
/// use sinkworks::{BatchError, Class, Failure, WriteError};
///
/// let outcomes = vec![Ok(()), Err(Failure::transient("busy")), Err(Failure::permanent("no such account"))];
/// let Err(WriteError::Failed(failure)) = BatchError::check(outcomes) else { panic!("not all were taken") };
/// assert_eq!(failure.class(), Class::Transient); // one of them may be taken later
/// let error: &BatchError = failure.cause().downcast_ref().expect("the cause");
/// assert!(error.outcomes[0].is_ok());
/// assert!(BatchError::check(vec![Ok(()), Ok(())]).is_ok());
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BatchError {
    /// For each event, in their order, whether the sink has taken it, or how it failed.
    pub outcomes: Vec<Result<(), Failure>>,
}

impl BatchError {
    /// What a sink answers when these are the outcomes of a batch's events, in their order: `Ok` if all were taken.
    ///
    /// # Errors
    ///
    /// [`WriteError::Failed`], [transient](Class::Transient) if one of the events may be taken later; else permanent, or exhausted if all failures are that. Its
    /// [`retry_after`](Failure::retry_after) is the longest that one of the transient failures has.
    pub fn check(outcomes: Vec<Result<(), Failure>>) -> Result<(), WriteError> {
        let failures = || outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        let is = |class| move |failure: &&Failure| failure.class() == class;
        let class = if failures().next().is_none() {
            return Ok(());
        } else if failures().any(|failure| is(Class::Transient)(&failure)) {
            Class::Transient
        } else if failures().all(|failure| is(Class::Exhausted)(&failure)) {
            Class::Exhausted
        } else {
            Class::Permanent
        };
        let delay = failures().filter(is(class)).filter_map(Failure::retry_after).max();
        let error = Self { outcomes };
        let failure = match class {
            Class::Transient => Failure::transient(error),
            Class::Exhausted => Failure::transient(error).exhausted(),
            Class::Permanent => Failure::permanent(error),
        };
        Err(match delay {
            Some(delay) => failure.with_retry_after(delay),
            None => failure,
        }
        .into())
    }

    /// The outcomes of `events` events, if that is what the failure has.
    pub(crate) fn of(failure: &Failure, events: usize) -> Option<&[Result<(), Failure>]> {
        let error: &Self = failure.cause().downcast_ref()?;
        (error.outcomes.len() == events).then_some(&error.outcomes)
    }
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.outcomes.iter().filter(|outcome| outcome.is_err()).count();
        write!(f, "{failed} of {} events were not taken", self.outcomes.len())?;
        let first = self.outcomes.iter().find_map(|outcome| outcome.as_ref().err());
        first.map_or(Ok(()), |failure| write!(f, ", the first since: {failure}"))
    }
}

impl std::error::Error for BatchError {
    /// The first failure's cause.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.outcomes.iter().find_map(|outcome| outcome.as_ref().err()).map(|failure| failure.cause() as _)
    }
}

/// What is known of the events of a batch, from one attempt to the next.
struct Progress(Vec<Known>);

/// What an event's last attempt has come to.
#[derive(Clone)]
enum Known {
    Nothing,
    Taken,
    Failed(Failure),
}

impl Known {
    /// Whether it is to be attempted, for the first time or again.
    fn is_open(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Taken => false,
            Self::Failed(failure) => failure.class() == Class::Transient,
        }
    }

    fn outcome(&self) -> Result<(), Failure> {
        match self {
            Self::Nothing | Self::Taken => Ok(()),
            Self::Failed(failure) => Err(failure.clone()),
        }
    }
}

impl Progress {
    fn of(events: usize) -> Self {
        Self(vec![Known::Nothing; events])
    }

    /// The open ones are taken.
    fn take(&mut self) {
        self.open().for_each(|known| *known = Known::Taken);
    }

    /// The open ones have failed, all of them or each as its outcome says.
    fn fail(&mut self, failure: &Failure) {
        let open = self.0.iter().filter(|known| known.is_open()).count();
        match BatchError::of(failure, open) {
            Some(outcomes) => self.open().zip(outcomes).for_each(|(known, outcome)| {
                *known = outcome.as_ref().err().map_or(Known::Taken, |failure| Known::Failed(failure.clone()));
            }),
            None => self.open().for_each(|known| *known = Known::Failed(failure.clone())),
        }
    }

    fn open(&mut self) -> impl Iterator<Item = &mut Known> {
        self.0.iter_mut().filter(|known| known.is_open())
    }
}

/// Calls `write` with those of the events that an earlier attempt has not done with, and remembers what is to be remembered for the next.
pub(crate) fn write_open<E>(
    events: &[E],
    delivery: &mut Delivery<'_>,
    write: impl FnOnce(&[&E]) -> Result<(), WriteError>,
) -> Result<(), WriteError> {
    let mut progress = delivery.resume().unwrap_or_else(|| Progress::of(events.len()));
    let open: Vec<&E> =
        events.iter().zip(&progress.0).filter(|(_, known)| known.is_open()).map(|(event, _)| event).collect();
    let answer = if open.is_empty() { Ok(()) } else { write(&open) };
    match answer {
        // The usual case.
        Ok(()) if open.len() == events.len() => return Ok(()),
        Ok(()) => progress.take(),
        Err(WriteError::Failed(failure)) => progress.fail(&failure),
        Err(error @ (WriteError::NotReady(_) | WriteError::Full)) => {
            delivery.save(progress);
            return Err(error);
        }
        Err(WriteError::Closed) => return Err(WriteError::Closed),
    }
    let answer = BatchError::check(progress.0.iter().map(Known::outcome).collect());
    if progress.0.iter().any(Known::is_open) {
        delivery.save(progress);
    }
    answer
}

/// Makes a sink of batches, `Sink<[E]>`, of a function. It gets the events that are to be written, in their order; `Ok` is for all of them, and with
/// [`BatchError::check`] it tells for each. When a retry repeats the write, it gets only those that failed in a way that may pass.
///
/// After it is closed it answers [`WriteError::Closed`] and the function is called no more. A batch costs an allocation.
///
/// ```
/// use std::time::Duration;
/// use sinkworks::{BatchError, Failure, Queue, Shutdown, Sink, SinkExt, batch_fn};
///
/// /// Some API that answers for each item.
/// fn post(events: &[&u64]) -> Vec<u16> {
///     events.iter().map(|event| if **event == 13 { 422 } else { 200 }).collect()
/// }
/// let api = batch_fn(|events: &[&u64]| {
///     BatchError::check(post(events).into_iter().map(|status| match status {
///         200 => Ok(()),
///         503 => Err(Failure::transient("busy")),
///         _ => Err(Failure::permanent("refused")),
///     }).collect())
/// });
/// let queue: Queue<u64> = api.batched(100, Duration::from_millis(50));
/// for event in 10..20 {
///     queue.send(event)?;
/// }
/// let report = queue.close(Shutdown::within(Duration::from_secs(5)))?;
/// assert_eq!((queue.ledger().delivered, report.dropped()), (9, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn batch_fn<F>(function: F) -> BatchFn<F> {
    BatchFn { function, closed: AtomicBool::new(false), id: SinkId::unique() }
}

/// The sink that [`batch_fn`] makes.
pub struct BatchFn<F> {
    function: F,
    closed: AtomicBool,
    id: SinkId,
}

impl<F> fmt::Debug for BatchFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchFn").field("id", &self.id).field("closed", &self.closed).finish_non_exhaustive()
    }
}

impl<E, F> Sink<[E]> for BatchFn<F>
where
    F: Fn(&[&E]) -> Result<(), WriteError> + Send + Sync,
{
    fn try_write(&self, events: &[E], delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        // Acquire, with the Release below: whoever sees the close also sees what its caller did before.
        if self.closed.load(Ordering::Acquire) && !mutation!("batch_function_sees_the_close") {
            return Err(WriteError::Closed);
        }
        write_open(events, delivery, &self.function)
    }

    fn poll_close(&self, _: Shutdown, _: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        // Release, with the Acquire above.
        self.closed.store(true, Ordering::Release);
        Poll::Ready(Ok(CloseReport::new()))
    }

    fn id(&self) -> Option<SinkId> {
        Some(self.id)
    }

    /// Called like the function, or like the one that the closure is written in.
    fn describe(&self, topology: &mut Topology) {
        topology.leaf(Some(self.id), "function", &short_type_name::<F>());
    }
}
