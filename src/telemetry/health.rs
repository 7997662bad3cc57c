//! Whether the pools make progress.
//!
//! A write looks at no clock, so nobody knows since when a queue has waited for a thread. It is found out by looking twice: if queues of a lane wait at one look
//! and at a later one, and none of that lane has got a thread in between, then the first of them has waited for at least that time. This never
//! takes a pool that works for one that is stuck, however the looks fall; it takes a stuck one for healthy for as long as the looks are apart.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::registry;

/// How long queues may wait for a thread without any of them getting one: far longer than a pool that can grow lets them, which is some 10 ms.
const PATIENCE: Duration = Duration::from_secs(5);

/// Queues of a pool that wait for a thread, and none of which gets one. Its sinks have taken all threads that it may have, or it could start none.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stalled {
    /// The pool's name.
    pub pool: Arc<str>,
    /// Queues that wait.
    pub ready: usize,
    /// How long they have, at least.
    pub waited: Duration,
    /// The pool's threads.
    pub threads: usize,
    /// The most that it may have.
    pub max_threads: usize,
}

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pool, ready, waited, threads, max_threads } = self;
        let waited = waited.as_secs();
        write!(
            f,
            "pool {pool}: {ready} queues wait for one of {threads} threads (at most {max_threads}), and none has got one for {waited} s"
        )
    }
}

/// Looks at all pools of the process, and answers those in which work has waited for more than 5 seconds without any progress. A pool without work makes progress,
/// and so does one whose queues wait for a retry: a destination that is down is no reason to restart the service.
///
/// It compares with earlier looks, so call it every few seconds. The server of `serve` (feature `prometheus`) does, for its `/healthz`.
///
/// ```
/// assert!(sinkworks::telemetry::health().is_empty());
/// ```
#[must_use]
pub fn health() -> Vec<Stalled> {
    let mut stalled = Vec::new();
    registry::visit(|component| stalled.extend(component.stalled()));
    stalled
}

/// What the looks at one lane of a pool have seen: turns begun, since when there are no more while queues wait.
#[derive(Debug, Default)]
pub(crate) struct Watch(Mutex<Option<(u64, Instant)>>);

impl Watch {
    /// Looks: how many queues wait, and how many turns have ever begun. For how long nothing has moved, if that is too long.
    pub(crate) fn look(&self, waiting: usize, begun: u64, now: Instant) -> Option<Duration> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting == 0 {
            *seen = None;
            return None;
        }
        let (_, since) = *seen.take_if(|(turns, _)| *turns == begun).get_or_insert((begun, now));
        *seen = Some((begun, since));
        Some(now.saturating_duration_since(since)).filter(|stood| *stood > PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_work_that_waits_while_nothing_begins_is_stalled() {
        let (watch, start) = (Watch::default(), Instant::now());
        let look = |waiting, begun, seconds| watch.look(waiting, begun, start + Duration::from_secs(seconds));
        assert_eq!((look(1, 7, 0), look(1, 7, 5)), (None, None));
        assert_eq!(look(2, 7, 6), Some(Duration::from_secs(6)));
        // Something has begun.
        assert_eq!((look(2, 8, 7), look(2, 8, 12)), (None, None));
        assert_eq!(look(2, 8, 13), Some(Duration::from_secs(6)));
        // Nothing waits any more; what comes later is new.
        assert_eq!((look(0, 8, 14), look(1, 8, 30), look(1, 8, 34)), (None, None, None));
    }
}
