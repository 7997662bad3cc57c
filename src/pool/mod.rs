//! The threads that queues run on.
//!
//! A queue is a mailbox, not a thread: when it has something to deliver it is put on a ready list, and one worker at a time gives it a turn. A pool has
//!
//! - **workers**, that park when nothing is ready; at most one wake-up is on its way at any time, so that a writer who posts
//!   to a thousand queues makes a few system calls, not a thousand;
//! - a **keeper**, one thread that waits for retry times and lets the pool grow when sinks block its workers;
//! - two **lanes**: queues whose turns are long never hold the last thread, so that the others keep their latency;
//! - a hard **maximum** of threads.
//!
//! Threads above the minimum end when they have been idle for a while.

mod builder;
#[cfg(not(sinkworks_loom))]
mod keeper;
#[cfg(sinkworks_loom)]
pub(crate) mod keeper;
pub(crate) mod scheduler;
#[cfg(not(sinkworks_loom))]
mod wait;
#[cfg(sinkworks_loom)]
pub(crate) mod wait;
mod worker;

use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

#[cfg(sinkworks_loom)]
use crate::block;
use crate::clock::Clock;
use crate::error::BuildError;
use crate::name::Name;
use crate::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use crate::sync::{mutation, thread};
#[cfg(any(test, feature = "test-util"))]
use crate::telemetry::readings;
use crate::telemetry::{Limit, Observations, Observe, Registration, Stalled, Watch, as_gauge, names as metric};
pub use builder::PoolBuilder;
use keeper::Keeper;
pub(crate) use scheduler::Lane;
use scheduler::Scheduler;
pub use wait::WaitStrategy;
pub(crate) use worker::SLOW_TURN;

/// What a turn has left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing that needs a worker now.
    Done,
    /// More to do: others first, then again.
    Again,
}

/// What a pool runs: a mailbox.
pub(crate) trait Task: Send + Sync {
    /// Works for a while. `began` is when.
    fn turn(&self, began: Instant) -> Turn;
    /// Something happened: post it, unless it is posted or running.
    fn wake(&self);
    fn set_lane(&self, lane: Lane);
}

/// A handle on the threads that queues run on. Clones are handles on the same pool; the threads end when the last handle is gone, those that queues hold
/// included.
///
/// A child process made by `fork` has none of them: nothing is delivered there.
///
/// ```
/// use sinkworks::{Pool, Queue, Sink, Shutdown, sink_fn};
///
/// let pool = Pool::builder().name("audit").threads(1).max_threads(8).build()?;
/// let queue = Queue::builder(sink_fn(|_: &u32| Ok(()))).pool(&pool).build()?;
/// queue.send(1)?;
/// queue.close(Shutdown::Drain)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Pool {
    /// Beside the owner, so that who posts reads one cache line less.
    inner: Arc<Inner>,
    #[cfg_attr(not(sinkworks_loom), expect(dead_code, reason = "its drop is what counts"))]
    owner: Arc<Owner>,
}

/// Ends the threads when the last handle goes. The threads themselves hold only `Inner`.
struct Owner(Arc<Inner>);

impl Owner {
    fn stop(&self) {
        self.0.scheduler.stop();
        // Release, with the Acquire in `is_stopped`. Before the unpark: the keeper finds it when it looks, or is found in its seat.
        self.0.stopped.store(1, Ordering::Release);
        if !mutation!("keeper_stop_unparks") {
            self.0.keeper.unpark();
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Inner {
    name: Name,
    scheduler: Scheduler<Arc<dyn Task>>,
    keeper: Keeper,
    clock: Clock,
    min_threads: usize,
    max_threads: usize,
    keep_alive: Duration,
    /// Places that nobody has, the lowest last.
    free: std::sync::Mutex<Vec<usize>>,
    stopped: AtomicU8,
    /// Set while fewer threads than the minimum, or no keeper, could be started.
    degraded: AtomicU8,
    spawn_failures: AtomicU64,
    panics: AtomicU64,
    /// Whether the fast lane and the slow one move.
    watches: [Watch; 2],
    /// Of being at the maximum, of panics.
    limits: [Limit; 2],
    registration: Registration,
}

/// A pool's numbers at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Worker threads, without the keeper.
    pub threads: usize,
    /// Workers that are parked.
    pub idle: usize,
    /// Queues that wait for a worker, about.
    pub ready: usize,
    /// Parked workers that were woken since the pool began.
    pub wakeups: u64,
    /// Queues that wait for a time.
    pub timers: usize,
    /// Threads that the operating system would not start.
    pub spawn_failures: u64,
    /// Panics that reached a worker: of an event's drop, say. A sink's panic is counted by its queue instead.
    pub panics: u64,
}

impl Pool {
    /// The pool that queues run on unless told otherwise: as many threads as there are processors, up to 512 when sinks block.
    ///
    /// If its threads cannot be started, what is written waits, and starting is tried again at later writes;
    /// [`PoolStats::spawn_failures`] counts.
    #[must_use]
    pub fn global() -> &'static Self {
        static GLOBAL: OnceLock<Pool> = OnceLock::new();
        GLOBAL.get_or_init(|| {
            let pool = Pool::builder().assemble(Name::known("global"));
            pool.inner.start().unwrap_or_default();
            pool
        })
    }

    /// A pool of one worker that never grows: a thread of one's own for a few queues. A sink that blocks it blocks them all.
    ///
    /// # Errors
    ///
    /// [`BuildError::Name`] and [`BuildError::Thread`].
    pub fn dedicated(name: &str) -> Result<Self, BuildError> {
        Self::builder().name(name).threads(1).max_threads(1).build()
    }

    /// A pool with options.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::new()
    }

    /// The clock that its queues go by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// The name given at build time.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its numbers now. Costs a lock that workers use when a write was not ready.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        self.inner.stats()
    }

    pub(crate) fn post(&self, task: Arc<dyn Task>, lane: Lane) {
        self.inner.scheduler.post(task, lane);
        if self.inner.degraded.load(Ordering::Relaxed) != 0 && !mutation!("pool_post_starts_what_is_missing") {
            self.inner.start().unwrap_or_default();
        }
    }

    /// Counts a panic that was none of a sink.
    pub(crate) fn note_panic(&self) {
        self.inner.note_panic();
    }

    pub(crate) fn set_timer(&self, key: u64, before: Option<Instant>, at: Instant, task: Weak<dyn Task>) {
        self.inner.keeper.set_timer(key, before, at, task);
    }

    pub(crate) fn clear_timer(&self, key: u64, at: Instant) {
        self.inner.keeper.clear_timer(key, at);
    }

    /// Waits until no queue of this pool has a turn to run and no timer is due. Queues that wait for a later time, or for a
    /// waker, count as idle. It also waits while metrics are read elsewhere: a reading holds every component of the process, so that one whose last handle
    /// was dropped may begin its drain only when the reading is over. For tests: it polls.
    #[cfg(any(test, feature = "test-util"))]
    pub fn wait_idle(&self) {
        let inner = &self.inner;
        let turns = || (0..inner.max_threads).map(|place| inner.scheduler.turns(place).0).collect::<Vec<_>>();
        loop {
            let (readings, before) = (readings(), turns());
            let is_idle = !inner.keeper.is_due(inner.clock.now()) && inner.scheduler.is_quiet() && turns() == before;
            if is_idle && readings.is_some() && readings == self::readings() {
                return;
            }
            std::thread::sleep(Duration::from_micros(20));
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("name", &self.inner.name).field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Inner {
    fn stats(&self) -> PoolStats {
        PoolStats {
            threads: self.scheduler.threads(),
            idle: self.scheduler.idle(),
            ready: self.scheduler.waiting().iter().sum(),
            wakeups: self.scheduler.wakeups(),
            timers: self.keeper.timers(),
            spawn_failures: self.spawn_failures.load(Ordering::Relaxed),
            panics: self.panics.load(Ordering::Relaxed),
        }
    }

    fn note_panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
        self.limits[1].panicked(&self.name, "drop");
    }

    fn is_stopped(&self) -> bool {
        // Acquire: the keeper ends after what was done before the stop.
        self.stopped.load(Ordering::Acquire) != 0
    }

    /// Starts the keeper and the least workers, or those of them that are missing.
    #[cold]
    fn start(self: &Arc<Self>) -> std::io::Result<()> {
        // Taken by one caller at a time; others go on without. AcqRel, as where it is set: who takes the duty to start threads sees what failed before.
        if self.degraded.swap(0, Ordering::AcqRel) & NO_KEEPER != 0 {
            let inner = self.clone();
            self.spawn("keeper", move || keeper::run(&inner), NO_KEEPER | NO_WORKERS)?;
        }
        while self.scheduler.threads() < self.min_threads {
            self.add_worker()?;
        }
        Ok(())
    }

    fn spawn(&self, role: &str, run: impl FnOnce() + Send + 'static, missing: u8) -> std::io::Result<()> {
        let spawned = thread::Builder::new().name(format!("sinkworks-{role}")).spawn(run);
        spawned.map(drop).inspect_err(|_| {
            self.spawn_failures.fetch_add(1, Ordering::Relaxed);
            // AcqRel: see `start`.
            self.degraded.fetch_or(missing, Ordering::AcqRel);
        })
    }

    /// Starts a worker if there is a place for one.
    fn add_worker(self: &Arc<Self>) -> std::io::Result<()> {
        let Some(place) = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop() else { return Ok(()) };
        self.scheduler.add_thread();
        let inner = self.clone();
        let missing = if self.scheduler.threads() <= self.min_threads { NO_WORKERS } else { 0 };
        self.spawn("worker", move || worker::run(&inner, place), missing).inspect_err(|_| self.leave(place))
    }

    /// Gives a place back.
    fn leave(&self, place: usize) {
        self.scheduler.remove_thread();
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(place);
        free.sort_unstable_by(|a, b| b.cmp(a));
    }

    /// Doubles the threads, up to the maximum. A thread that cannot be started is counted.
    fn grow(self: &Arc<Self>) {
        let threads = self.scheduler.threads();
        let more = threads.max(1).min(self.max_threads.saturating_sub(threads));
        if more == 0 {
            self.limits[0].at_maximum(&self.name, threads);
        }
        for _ in 0..more {
            if self.add_worker().is_err() {
                break;
            }
        }
    }
}

impl Observe for Inner {
    fn observe(&self, out: &mut Observations) {
        let stats = self.stats();
        let count = |count: usize| as_gauge(count as u64);
        out.gauge(&metric::POOL_THREADS, &self.name, Some("idle"), count(stats.idle));
        out.gauge(&metric::POOL_THREADS, &self.name, Some("busy"), count(stats.threads.saturating_sub(stats.idle)));
        out.gauge(&metric::POOL_READY, &self.name, None, count(stats.ready));
        out.gauge(&metric::POOL_TIMERS, &self.name, None, count(stats.timers));
        out.gauge(&metric::POOL_THREADS_MAX, &self.name, None, count(self.max_threads));
        out.counter(&metric::POOL_WAKEUPS, &self.name, None, stats.wakeups);
    }

    fn stalled(&self) -> Vec<Stalled> {
        let (waiting, mut begun) = (self.scheduler.waiting(), [0; 2]);
        for place in 0..self.max_threads {
            let (turns, _) = self.scheduler.turns(place);
            begun.iter_mut().zip(turns).for_each(|(sum, turns)| *sum += turns);
        }
        let now = self.clock.now();
        let lanes = self.watches.iter().zip(waiting).zip(begun);
        let stalled = lanes.filter_map(|((watch, waiting), begun)| {
            watch.look(waiting, begun, now).map(|waited| Stalled {
                pool: Arc::clone(&self.name),
                ready: waiting,
                waited,
                threads: self.scheduler.threads(),
                max_threads: self.max_threads,
            })
        });
        stalled.collect()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        std::mem::take(&mut self.registration).retire(|out| self.observe(out));
    }
}

const NO_KEEPER: u8 = 1;
const NO_WORKERS: u8 = 2;

#[cfg(sinkworks_loom)]
impl Pool {
    /// A pool whose threads the model starts itself: `workers` of them may call [`work`](Self::work).
    pub(crate) fn for_model(workers: usize, clock: Clock) -> Self {
        let pool = Self::builder().threads(workers).max_threads(workers).clock(clock).assemble(Name::known("model"));
        pool.inner.degraded.store(0, Ordering::Relaxed);
        (0..workers).for_each(|_| pool.inner.scheduler.add_thread());
        pool
    }

    /// A worker's life, until the pool is stopped.
    pub(crate) fn work(&self, place: usize) {
        block::enter_worker();
        let mut worker = scheduler::Worker::new(place);
        while let scheduler::Next::Run { task, lane, .. } = self.inner.scheduler.next(&mut worker, None, || false) {
            worker::turn(&self.inner, &mut worker, task, lane);
        }
    }

    /// Gives one turn to what is ready.
    pub(crate) fn work_once(&self) {
        let mut worker = scheduler::Worker::new(0);
        let next = self.inner.scheduler.next(&mut worker, None, || false);
        let scheduler::Next::Run { task, lane, .. } = next else { unreachable!("the pool is not stopped") };
        worker::turn(&self.inner, &mut worker, task, lane);
    }

    /// The keeper's life, until the pool is stopped.
    pub(crate) fn keep(&self) {
        keeper::run(&self.inner);
    }

    pub(crate) fn stop_for_model(&self) {
        self.owner.stop();
    }
}

#[cfg(all(test, not(sinkworks_loom)))]
mod tests {
    use super::*;
    use crate::queue::Queue;
    use crate::shutdown::Shutdown;
    use crate::sink::{Sink, sink_fn};

    /// As where the operating system would start none of them.
    #[test]
    fn a_pool_without_its_threads_starts_them_at_the_next_write() {
        let pool = Pool::builder().threads(2).max_threads(2).assemble(Name::known("late"));
        let queue = Queue::builder(sink_fn(|_: &u32| Ok(()))).pool(&pool).build().unwrap();
        assert_eq!(pool.stats().threads, 0);
        queue.send(1).unwrap();
        assert_eq!(pool.stats().threads, 2);
        queue.close(Shutdown::within(Duration::from_secs(30))).unwrap();
        assert_eq!(queue.ledger().delivered, 1);
    }
}
