//! A stage of one's own: it passes everything on, and remembers what the sink behind it last failed with.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use sinkworks::telemetry::Topology;
use sinkworks::{CloseError, CloseReport, Delivery, Shutdown, Sink, SinkId, WriteError};

/// For how long a sink must have failed before it is worth a message: a single 503 is not.
const PATIENCE: Duration = Duration::from_secs(1);

pub(crate) struct Watched<S> {
    sink: S,
    trouble: Trouble,
}

/// A handle on what the stage has seen.
#[derive(Clone, Default)]
pub(crate) struct Trouble(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    failing_since: Option<Instant>,
    reported: bool,
    last_error: Option<String>,
}

impl<S> Watched<S> {
    pub(crate) fn new(sink: S) -> (Self, Trouble) {
        let trouble = Trouble::default();
        (Self { sink, trouble: trouble.clone() }, trouble)
    }
}

impl Trouble {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is worth saying now, once for the beginning and once for the end of a time of failures.
    pub(crate) fn news(&self) -> Option<String> {
        let mut seen = self.seen();
        let failing = seen.failing_since.is_some_and(|since| since.elapsed() >= PATIENCE);
        if failing && !seen.reported {
            seen.reported = true;
            return seen.last_error.as_ref().map(|error| format!("does not get through: {error}"));
        }
        if seen.failing_since.is_none() && seen.reported {
            seen.reported = false;
            return Some("gets through again".to_owned());
        }
        None
    }

    pub(crate) fn last_error(&self) -> Option<String> {
        self.seen().last_error.clone()
    }
}

impl<E: ?Sized, S: Sink<E>> Sink<E> for Watched<S> {
    fn try_write(&self, event: &E, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        let answer = self.sink.try_write(event, delivery);
        match &answer {
            Ok(()) => self.trouble.seen().failing_since = None,
            Err(WriteError::Failed(failure)) => {
                let mut seen = self.trouble.seen();
                seen.failing_since.get_or_insert_with(Instant::now);
                // The errors of the webhook and of files have nothing of an event or of a URL in them.
                seen.last_error = Some(failure.to_string());
            }
            Err(_) => {}
        }
        answer
    }

    fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.sink.poll_close(how, waker)
    }

    fn id(&self) -> Option<SinkId> {
        self.sink.id()
    }

    fn describe(&self, topology: &mut Topology) {
        self.sink.describe(topology);
    }
}
