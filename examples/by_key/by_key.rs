//! A fan-out by key: each event goes to the sink of its key, which is made when the first event with that key comes.
//!
//! It is written with the public API alone, as a stage of one's own would be; what a stage has to see to is noted where it does. With a queue for each key, the events of a
//! key keep their order, and a slow or failing destination holds up its own key and no other. `tests/by_key.rs` has it checked by `check_contract`.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use sinkworks::telemetry::Topology;
use sinkworks::{CloseError, CloseReport, Delivery, Failure, Frame, Shutdown, Sink, SinkId, WriteError};

/// Sends each event to the sink of its key.
///
/// - **Keys** are bounded: an event with a new one beyond that is answered with [`WriteError::Full`]. They come from outside, and each costs a sink.
/// - **A sink that has closed** is thrown away, and the event fails in a way that may pass: a retry above gets a new sink for it.
/// - **Closing** closes all sinks at the same time, with one report.
pub(crate) struct ByKey<K, S, F, M> {
    key: F,
    make: M,
    max_keys: usize,
    sinks: Mutex<Sinks<K, S>>,
    id: SinkId,
}

/// Together under one lock, so that no sink is added after the close has looked.
struct Sinks<K, S> {
    by_key: HashMap<K, Arc<S>>,
    closed: bool,
}

/// What is kept of an event that its sink has not taken: which sink that is, and what the sink has saved.
struct Saved<S> {
    sink: Arc<S>,
    below: Frame,
}

/// The sink of an event's key has closed.
#[derive(Debug)]
pub(crate) struct KeyClosed;

impl std::fmt::Display for KeyClosed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the sink of this key has closed")
    }
}

impl std::error::Error for KeyClosed {}

impl<K: Hash + Eq + Clone, S, F, M> ByKey<K, S, F, M> {
    /// `key` says which key an event has, `make` makes a key's sink. There are at most `max_keys`.
    pub(crate) fn new(max_keys: usize, key: F, make: M) -> Self {
        let sinks = Mutex::new(Sinks { by_key: HashMap::new(), closed: false });
        Self { key, make, max_keys, sinks, id: SinkId::unique() }
    }

    fn lock(&self) -> MutexGuard<'_, Sinks<K, S>> {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key's sink, made if there is none.
    fn sink(&self, key: &K) -> Result<Arc<S>, WriteError>
    where
        M: Fn(&K) -> S,
    {
        let look = |sinks: &Sinks<K, S>| {
            if sinks.closed {
                return Err(WriteError::Closed);
            }
            match sinks.by_key.get(key) {
                None if sinks.by_key.len() >= self.max_keys => Err(WriteError::Full),
                known => Ok(known.cloned()),
            }
        };
        if let Some(known) = look(&self.lock())? {
            return Ok(known);
        }
        // The user's code, so not under the lock. Another writer may be faster; then this one is thrown away, outside the lock too.
        let made = Arc::new((self.make)(key));
        let mut sinks = self.lock();
        if let Some(known) = look(&sinks)? {
            return Ok(known);
        }
        sinks.by_key.insert(key.clone(), made.clone());
        Ok(made)
    }

    /// Throws a sink away, unless the key has another by now.
    fn evict(&self, key: &K, sink: &Arc<S>) {
        let mut sinks = self.lock();
        let is_this = sinks.by_key.get(key).is_some_and(|known| Arc::ptr_eq(known, sink));
        let evicted = if is_this { sinks.by_key.remove(key) } else { None };
        drop(sinks);
        drop(evicted);
    }

    fn all(&self) -> Vec<Arc<S>> {
        self.lock().by_key.values().cloned().collect()
    }
}

impl<E, K, S, F, M> Sink<E> for ByKey<K, S, F, M>
where
    E: ?Sized,
    K: Hash + Eq + Clone + Send + Sync,
    S: Sink<E> + 'static,
    F: Fn(&E) -> K + Send + Sync,
    M: Fn(&K) -> S + Send + Sync,
{
    fn try_write(&self, event: &E, delivery: &mut Delivery<'_>) -> Result<(), WriteError> {
        let key = (self.key)(event);
        // Offered again, the event goes to the sink that has begun with it.
        let Saved { sink, mut below } = match delivery.resume() {
            Some(saved) => saved,
            None => Saved { sink: self.sink(&key)?, below: Frame::default() },
        };
        // One child at a time, so it shares this stage's history and has a frame of its own.
        match delivery.nest(&mut below, |delivery| sink.try_write(event, delivery)) {
            Err(WriteError::Closed) if self.lock().closed => Err(WriteError::Closed),
            // To answer that it is closed would close what is above, and with it all the other keys.
            Err(WriteError::Closed) => {
                self.evict(&key, &sink);
                Err(Failure::transient(KeyClosed).into())
            }
            // What the sink has saved is kept until the event comes again, after a failure that is repeated too.
            Err(error) if matches!(error, WriteError::NotReady(_)) || !below.is_empty() => {
                delivery.save(Saved { sink, below });
                Err(error)
            }
            answer => answer,
        }
    }

    fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
        self.lock().closed = true;
        // All are asked, whatever the first answers; none under the lock. The waiters of each are woken by it.
        let asked: Vec<_> = self.all().into_iter().map(|sink| (sink.id(), sink.poll_close(how, waker))).collect();
        let (mut report, mut is_cycle) = (CloseReport::new(), false);
        for (id, answer) in asked {
            let Poll::Ready(answer) = answer else { return Poll::Pending };
            is_cycle |= matches!(answer, Err(CloseError::Cycle(_)));
            report.absorb(id, answer);
        }
        Poll::Ready(if is_cycle { Err(CloseError::Cycle(report)) } else { Ok(report) })
    }

    fn id(&self) -> Option<SinkId> {
        Some(self.id)
    }

    fn describe(&self, topology: &mut Topology) {
        topology.stage(Some(self.id), "by key", "keys", |topology| {
            self.all().iter().for_each(|sink| sink.describe(topology));
        });
    }
}
