//! A stage that lets some events pass.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};

use crate::delivery::Delivery;
use crate::error::{BuildError, CloseError, WriteError};
use crate::name::Name;
use crate::shutdown::{CloseReport, Shutdown};
use crate::sink::{Sink, SinkId};
use crate::sync::mutation;
use crate::telemetry::Topology;

/// Passes an event on if a predicate says so, and otherwise answers `Ok`: not to be wanted is no error. After it is closed it answers
/// [`WriteError::Closed`] for every event, wanted or not.
///
/// The predicate is pure: an event that is offered again, since the sink below was not ready or failed, is asked about again.
///
/// ```
/// use sinkworks::{Filter, Sink, sink_fn};
///
/// let even = Filter::new(sink_fn(|event: &u64| { assert_eq!(event % 2, 0); Ok(()) }), |event: &u64| event % 2 == 0);
/// even.write(&1)?;
/// even.write(&2)?;
/// # Ok::<(), sinkworks::WriteError>(())
/// ```
pub struct Filter<S, P> {
    sink: S,
    predicate: P,
    closed: AtomicBool,
    id: SinkId,
    name: Name,
}

impl<S, P> Filter<S, P> {
    /// Passes on to `sink` the events for which `predicate` is true.
    pub fn new(sink: S, predicate: P) -> Self {
        let id = SinkId::unique();
        Self { sink, predicate, closed: AtomicBool::new(false), id, name: Name::default("filter", id) }
    }

    /// The same with a name, for `Debug`.
    ///
    /// # Errors
    ///
    /// [`BuildError::Name`].
    pub fn named(name: &str, sink: S, predicate: P) -> Result<Self, BuildError> {
        Ok(Self { name: Name::given(name)?, ..Self::new(sink, predicate) })
    }
}

impl<E: ?Sized, S: Sink<E>, P: Fn(&E) -> bool + Send + Sync> Sink<E> for Filter<S, P> {
    fn try_write(&self, event: &E, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        // Acquire, with the Release below: whoever sees the close also sees what its caller did before.
        if self.closed.load(Ordering::Acquire) && !mutation!("filter_sees_the_close") {
            return Err(WriteError::Closed);
        }
        if (self.predicate)(event) { self.sink.try_write(event, delivery) } else { Ok(()) }
    }

    fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        // Release, with the Acquire above.
        self.closed.store(true, Ordering::Release);
        self.sink.poll_close(how, waker)
    }

    fn id(&self) -> Option<SinkId> {
        Some(self.id)
    }

    fn describe(&self, topology: &mut Topology) {
        topology.stage(Some(self.id), "filter", &self.name, |topology| self.sink.describe(topology));
    }
}

impl<S, P> fmt::Debug for Filter<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter").field("name", &self.name).field("closed", &self.closed).finish_non_exhaustive()
    }
}
