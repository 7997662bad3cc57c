//! The options of a pool.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::keeper::Keeper;
use super::scheduler::Scheduler;
use super::wait::WaitStrategy;
use super::{Inner, NO_KEEPER, NO_WORKERS, Owner, Pool};
use crate::clock::Clock;
use crate::error::BuildError;
use crate::name::Name;
use crate::sync::atomic::{AtomicU8, AtomicU64};
use crate::telemetry::register;

/// The largest maximum that a pool can have.
const MAX_THREADS: usize = 10_000;
/// The maximum that a pool has unless told otherwise.
const DEFAULT_MAX_THREADS: usize = 512;

/// The options of a [`Pool`].
#[derive(Debug, Clone)]
#[must_use]
pub struct PoolBuilder {
    name: String,
    threads: Option<usize>,
    max_threads: Option<usize>,
    keep_alive: Duration,
    wait: WaitStrategy,
    clock: Clock,
}

impl PoolBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: "pool".to_owned(),
            threads: None,
            max_threads: None,
            keep_alive: Duration::from_secs(1),
            wait: WaitStrategy::default(),
            clock: Clock::system(),
        }
    }

    /// What the pool is called in metrics. Default: `pool`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How many workers there always are. Default: one per processor.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// How many workers there are at most, when sinks block. The threads of the keeper and of the program come on top. Default: 512,
    /// or as many as [`threads`](Self::threads) where that is more.
    pub fn max_threads(mut self, threads: usize) -> Self {
        self.max_threads = Some(threads);
        self
    }

    /// How long a worker above the minimum stays when it has nothing to do, or nothing that takes a millisecond while others are idle too; and 10 ms more for each such
    /// worker that there was before it, so that many do not end at once. Default: 1 s.
    pub fn keep_alive(mut self, keep_alive: Duration) -> Self {
        self.keep_alive = keep_alive;
        self
    }

    /// How workers wait that have nothing to do. Default: [`WaitStrategy::Park`].
    pub fn wait_strategy(mut self, wait: WaitStrategy) -> Self {
        self.wait = wait;
        self
    }

    /// The clock that retries and deadlines go by. Default: the system's monotonic clock.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Starts the pool.
    ///
    /// # Errors
    ///
    /// [`BuildError::Name`]; [`BuildError::Zero`] for no thread at all; [`BuildError::TooLarge`] above 10,000 threads; [`BuildError::Below`] for a maximum
    /// below the minimum; [`BuildError::OutOfRange`] for the times of a [`WaitStrategy`]; [`BuildError::Thread`] if not even the least threads could be started.
    pub fn build(self) -> Result<Pool, BuildError> {
        let name = Name::given(&self.name)?;
        let (threads, max_threads) = (self.threads.unwrap_or(1), self.max_threads.unwrap_or(1));
        for (option, value) in [("threads", threads), ("max_threads", max_threads)] {
            if value == 0 {
                return Err(BuildError::Zero { option });
            }
            if value > MAX_THREADS {
                return Err(BuildError::TooLarge { option, value: value as u64, max: MAX_THREADS as u64 });
            }
        }
        if self.threads.is_some() && self.max_threads.is_some_and(|max| max < threads) {
            return Err(BuildError::Below { option: "max_threads", other: "threads" });
        }
        self.wait.check()?;
        let pool = self.assemble(name);
        pool.inner.start().map_err(|error| BuildError::Thread(error.kind()))?;
        Ok(pool)
    }

    /// The pool without its threads.
    pub(super) fn assemble(self, name: Name) -> Pool {
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        let min_threads = self.threads.unwrap_or_else(|| processors().min(self.max_threads.unwrap_or(MAX_THREADS)));
        let max_threads = self.max_threads.unwrap_or_else(|| DEFAULT_MAX_THREADS.max(min_threads));
        let inner = Arc::new_cyclic(|this: &Weak<Inner>| Inner {
            name,
            scheduler: Scheduler::new(max_threads, self.wait),
            keeper: Keeper::default(),
            clock: self.clock,
            min_threads,
            max_threads,
            keep_alive: self.keep_alive,
            free: std::sync::Mutex::new((0..max_threads).rev().collect()),
            stopped: AtomicU8::new(0),
            degraded: AtomicU8::new(NO_KEEPER | NO_WORKERS),
            spawn_failures: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            watches: Default::default(),
            limits: Default::default(),
            registration: register(this.clone()),
        });
        #[cfg(any(test, feature = "test-util", sinkworks_loom))]
        inner.clock.on_advance(std::task::Waker::from(Arc::new(Advance(Arc::downgrade(&inner)))));
        Pool { owner: Arc::new(Owner(inner.clone())), inner }
    }
}

/// Wakes the keeper of a pool whose manual clock was advanced.
#[cfg(any(test, feature = "test-util", sinkworks_loom))]
struct Advance(Weak<Inner>);

#[cfg(any(test, feature = "test-util", sinkworks_loom))]
impl std::task::Wake for Advance {
    fn wake(self: Arc<Self>) {
        if let Some(inner) = self.0.upgrade() {
            inner.keeper.unpark();
        }
    }
}
