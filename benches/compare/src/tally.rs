//! What every sink of every contender does: it counts its events. The last sink that has all of them notes the time and wakes who waits.
//!
//! Each sink has a counter of its own on a cache line of its own, so that contenders are not slowed down by a counter that they share.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub struct Tally {
    shared: Arc<Shared>,
    sinks: usize,
}

#[derive(Default)]
struct Shared {
    /// How many events each sink will have had when the round is over.
    each: AtomicU64,
    unfinished: AtomicUsize,
    ended: Mutex<Option<Instant>>,
    bell: Condvar,
}

#[repr(align(128))]
pub struct Counter {
    count: AtomicU64,
    shared: Arc<Shared>,
}

impl Tally {
    /// So many counters, one for each sink.
    pub fn new(sinks: usize) -> (Self, Vec<Counter>) {
        let shared = Arc::<Shared>::default();
        let counters = (0..sinks).map(|_| Counter { count: AtomicU64::new(0), shared: shared.clone() }).collect();
        (Self { shared, sinks }, counters)
    }

    /// From here on every sink will get `events`. Call it while nothing is under way.
    pub fn expect(&self, events: u64) {
        *self.ended() = None;
        self.shared.unfinished.store(self.sinks, Ordering::Relaxed);
        self.shared.each.fetch_add(events, Ordering::Release);
    }

    /// Waits until every sink has its events. When the last one had.
    pub fn wait(&self) -> Instant {
        let ended = self.ended();
        let ended = self.shared.bell.wait_while(ended, |ended| ended.is_none());
        ended.unwrap_or_else(PoisonError::into_inner).expect("the wait is over")
    }

    /// The same where events may be lost: `None` if the time is over before.
    pub fn wait_within(&self, limit: Duration) -> Option<Instant> {
        let ended = self.shared.bell.wait_timeout_while(self.ended(), limit, |ended| ended.is_none());
        *ended.unwrap_or_else(PoisonError::into_inner).0
    }

    fn ended(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counter {
    /// One event. A sink gets one at a time, so this is no read-modify-write.
    #[inline]
    pub fn count(&self) {
        let count = self.count.load(Ordering::Relaxed) + 1;
        self.count.store(count, Ordering::Relaxed);
        self.look(count);
    }

    /// The same where several threads call one sink.
    #[inline]
    pub fn count_shared(&self) {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        self.look(count);
    }

    #[inline]
    fn look(&self, count: u64) {
        if count == self.shared.each.load(Ordering::Relaxed) {
            self.finish();
        }
    }

    #[cold]
    fn finish(&self) {
        if self.shared.unfinished.fetch_sub(1, Ordering::AcqRel) == 1 {
            let now = Instant::now();
            *self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
            self.shared.bell.notify_all();
        }
    }
}
