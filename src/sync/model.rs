//! The primitives that the models run on: loom's, and stand-ins for what loom does not see. Each stand-in is no stronger than the real one.
//!
//! **Orderings.** Those of `SegQueue` and of `ArcSwap` are the weakest that their real ones promise: a push is Release and a pop Acquire; a version is swapped in by `AcqRel` and loaded
//! by Acquire; `TryMutex` is got by Acquire and let go by Release. Nothing here is `SeqCst`, though the real ones are in places. What only carries values is Relaxed, or not loom's at all.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, LazyLock, LockResult, PoisonError, TryLockError, TryLockResult};
use std::task::Waker;
use std::time::{Duration, Instant};

pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard, RwLock};
pub(crate) use loom::{thread, thread_local};

pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};
}
use atomic::{AtomicBool, AtomicUsize, Ordering};

/// The steps left out in the model that is running.
static MUTATIONS: std::sync::Mutex<BTreeSet<&'static str>> = std::sync::Mutex::new(BTreeSet::new());

/// Leaves out the steps with these names from now on.
pub(crate) fn set_mutations(names: &[&'static str]) {
    *MUTATIONS.lock().unwrap_or_else(PoisonError::into_inner) = names.iter().copied().collect();
}

pub(crate) fn is_mutated(name: &str) -> bool {
    MUTATIONS.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
}

macro_rules! mutation {
    ($name:literal) => {
        $crate::sync::is_mutated($name)
    };
}
pub(crate) use mutation;

macro_rules! ordering {
    ($ordering:ident, $name:literal) => {
        if $crate::sync::is_mutated($name) {
            $crate::sync::atomic::Ordering::Relaxed
        } else {
            $crate::sync::atomic::Ordering::$ordering
        }
    };
}
pub(crate) use ordering;

pub(crate) fn spin_loop() {
    loom::thread::yield_now();
}

/// Stands in for `crossbeam_utils::Backoff`: lets the others go on, once.
#[derive(Default)]
pub(crate) struct Backoff(std::cell::Cell<bool>);

impl Backoff {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn snooze(&self) {
        self.0.set(true);
        loom::thread::yield_now();
    }

    pub(crate) fn is_completed(&self) -> bool {
        self.0.get()
    }
}

/// Slots of a stand-in queue: more than any model pushes.
const SLOTS: usize = 16;

/// Stands in for `crossbeam_queue::SegQueue`: a tail that is reserved by one read-modify-write, a flag per slot that is released after the
/// value is there, a head that is moved by compare-exchange. It has none of the real one's `SeqCst` fences, and its `pop` may overlook a push that no
/// other synchronisation shows it.
#[derive(Debug)]
pub(crate) struct SegQueue<T> {
    head: AtomicUsize,
    tail: AtomicUsize,
    full: Vec<AtomicUsize>,
    // Not loom's: it carries the values and must add no ordering.
    values: Vec<std::sync::Mutex<Option<T>>>,
}

impl<T> Default for SegQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> SegQueue<T> {
    /// An empty queue.
    pub(crate) fn new() -> Self {
        Self {
            head: AtomicUsize::new(0),
            tail: AtomicUsize::new(0),
            full: (0..SLOTS).map(|_| AtomicUsize::new(0)).collect(),
            values: (0..SLOTS).map(|_| std::sync::Mutex::new(None)).collect(),
        }
    }

    /// Adds a value.
    pub(crate) fn push(&self, value: T) {
        let slot = self.tail.fetch_add(1, Ordering::AcqRel);
        *self.values[slot].lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        self.full[slot].store(1, Ordering::Release);
    }

    /// Takes the oldest value, waiting for a push that has reserved its slot.
    pub(crate) fn pop(&self) -> Option<T> {
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            if head >= self.tail.load(Ordering::Relaxed) {
                return None;
            }
            match self.head.compare_exchange(head, head + 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break,
                Err(current) => head = current,
            }
        }
        while self.full[head].load(Ordering::Acquire) == 0 {
            loom::thread::yield_now();
        }
        self.values[head].lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether nothing is there.
    pub(crate) fn is_empty(&self) -> bool {
        self.head.load(Ordering::Acquire) >= self.tail.load(Ordering::Acquire)
    }
}

/// Stands in for a mutex that may be tried: a try of loom's own that fails is not among the orders that loom looks for. A flag that is set by compare-exchange; a try first looks, by a Relaxed
/// load, so that it may fail by an old value, as that of the real one may.
#[derive(Debug)]
pub(crate) struct TryMutex<T> {
    locked: AtomicBool,
    // Not loom's: it carries the value and must add no ordering.
    value: std::sync::Mutex<T>,
}

impl<T> TryMutex<T> {
    /// Not locked.
    pub(crate) fn new(value: T) -> Self {
        Self { locked: AtomicBool::new(false), value: std::sync::Mutex::new(value) }
    }

    /// Waits for it. Never poisoned.
    pub(crate) fn lock(&self) -> LockResult<TryMutexGuard<'_, T>> {
        loop {
            if let Some(guard) = self.set() {
                return Ok(guard);
            }
            loom::thread::yield_now();
        }
    }

    /// Does not wait.
    pub(crate) fn try_lock(&self) -> TryLockResult<TryMutexGuard<'_, T>> {
        let seen = self.locked.load(Ordering::Relaxed);
        if seen { None } else { self.set() }.ok_or(TryLockError::WouldBlock)
    }

    /// Without a lock: nobody else has it.
    #[cfg(feature = "ndjson")]
    pub(crate) fn get_mut(&mut self) -> LockResult<&mut T> {
        Ok(self.value.get_mut().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self) -> Option<TryMutexGuard<'_, T>> {
        self.locked.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).ok()?;
        let value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        Some(TryMutexGuard { value: Some(value), locked: &self.locked })
    }
}

/// Lets it go when it is dropped.
pub(crate) struct TryMutexGuard<'m, T> {
    value: Option<std::sync::MutexGuard<'m, T>>,
    locked: &'m AtomicBool,
}

impl<T> Deref for TryMutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("it is there until the drop")
    }
}

impl<T> DerefMut for TryMutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("it is there until the drop")
    }
}

impl<T> Drop for TryMutexGuard<'_, T> {
    fn drop(&mut self) {
        self.value = None;
        self.locked.store(false, Ordering::Release);
    }
}

/// Where a model's pool thread parks: a token under loom's mutex and condition variable, as `std::thread::park` is specified. It also keeps an unpark for
/// who sits down later, which the real seat does not: the model `seat_sit_against_unpark` shows, on the real seat's code, that who looks before it parks misses nothing.
#[derive(Debug, Default)]
pub(crate) struct Seat {
    token: Mutex<bool>,
    wake: loom::sync::Condvar,
}

impl Seat {
    /// Nothing to do: a model's thread keeps its seat.
    pub(crate) fn sit(&self) {}

    /// Leaves a token and wakes.
    pub(crate) fn unpark(&self) {
        *super::lock(&self.token) = true;
        self.wake.notify_one();
    }

    /// Takes the token, waiting for it; with a timeout, which loom does not know, it does not wait at all: the time may be over at once. Only a
    /// timeout of an hour or more never ends.
    pub(crate) fn park(&self, timeout: Option<Duration>) {
        let forever = timeout.is_none_or(|timeout| timeout >= HOUR);
        if !forever {
            // Others first: whoever waits for a while in a loop would otherwise keep loom in it.
            thread::yield_now();
        }
        let mut token = super::lock(&self.token);
        while !*token && forever {
            token = self.wake.wait(token).unwrap_or_else(PoisonError::into_inner);
        }
        *token = false;
    }
}

const HOUR: Duration = Duration::from_secs(3600);

/// The time of a model stands still, so that its executions do not differ. A model whose time passes has a manual clock.
pub(crate) fn now() -> Instant {
    static NOW: LazyLock<Instant> = LazyLock::new(Instant::now);
    *NOW
}

/// Random numbers that are the same in each execution.
pub(crate) fn random() -> fastrand::Rng {
    fastrand::Rng::with_seed(7)
}

/// Stands in for `std::sync::OnceLock`, which loom does not see: it orders what it shows after what made it. Whoever takes the value out owns the lock alone, as the
/// last owner of an `Arc` does, and comes after all who had it: that is what the read-modify-write stands for.
pub(crate) struct OnceLock<T> {
    is_set: AtomicUsize,
    making: Mutex<()>,
    value: std::sync::OnceLock<T>,
}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        Self { is_set: AtomicUsize::new(0), making: Mutex::new(()), value: std::sync::OnceLock::new() }
    }

    pub(crate) fn take(&mut self) -> Option<T> {
        self.is_set.swap(0, Ordering::AcqRel);
        self.value.take()
    }

    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        let _making = super::lock(&self.making);
        let value = self.value.get_or_init(make);
        self.is_set.store(1, Ordering::Release);
        value
    }
}

thread_local! {
    static SEAT: Arc<Seat> = Arc::default();
}

/// Unparks one of the model's threads.
pub(crate) struct Unparker(Arc<Seat>);

impl Unparker {
    pub(crate) fn new() -> Self {
        Self(SEAT.with(Arc::clone))
    }

    pub(crate) fn unpark(&self) {
        self.0.unpark();
    }
}

/// Parks as a [`Seat`] does.
pub(crate) fn park(timeout: Option<Duration>) {
    SEAT.with(Arc::clone).park(timeout);
}

thread_local! {
    static SCOPED: RefCell<Option<Waker>> = RefCell::new(None);
}

/// Stands in for the one scoped thread-local that the crate has: loom's threads share the real one's operating system thread.
pub(crate) struct ScopedKey;

impl ScopedKey {
    pub(crate) fn set<R>(&self, waker: &Waker, scope: impl FnOnce() -> R) -> R {
        let before = SCOPED.with(|scoped| scoped.replace(Some(waker.clone())));
        let answer = scope();
        SCOPED.with(|scoped| scoped.replace(before));
        answer
    }

    pub(crate) fn is_set(&self) -> bool {
        SCOPED.with(|scoped| scoped.borrow().is_some())
    }

    pub(crate) fn with<R>(&self, look: impl FnOnce(&Waker) -> R) -> R {
        SCOPED.with(|scoped| look(scoped.borrow().as_ref().expect("it is set")))
    }
}

macro_rules! scoped_thread_local {
    ($(#[$attribute:meta])* static $name:ident: Waker) => {
        $(#[$attribute])*
        static $name: $crate::sync::ScopedKey = $crate::sync::ScopedKey;
    };
}
pub(crate) use scoped_thread_local;

/// Stands in for `arc_swap::ArcSwap`: an index that says which version is the current one, moved by compare-exchange. Readers load it with
/// Acquire alone, so they may get a version that has been replaced, for as long as the one who replaces it has not yet settled its
/// readers' debts, as the real one does after its swap; a reader that comes too late for that takes the newest. It has none of the real one's `SeqCst`
/// operations.
pub(crate) struct ArcSwap<T> {
    current: AtomicUsize,
    /// Written when debts are settled, read when one is made and when it ends: steps at which loom may let others come in between.
    settled: AtomicUsize,
    // Not loom's: it carries the values and must add no ordering.
    versions: std::sync::Mutex<Vec<Option<Arc<T>>>>,
}

/// What [`ArcSwap::load`] gives.
pub(crate) struct Guard<'s, T> {
    value: Arc<T>,
    settled: &'s AtomicUsize,
}

impl<T> Deref for Guard<'_, T> {
    type Target = Arc<T>;

    fn deref(&self) -> &Arc<T> {
        &self.value
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // Loom looks for other orders only where threads touch the same word: who is the last to let a version go is one of them.
            self.settled.load(Ordering::Relaxed);
        }
    }
}

impl<T> ArcSwap<T> {
    pub(crate) fn from_pointee(value: T) -> Self {
        Self {
            current: AtomicUsize::new(0),
            settled: AtomicUsize::new(0),
            versions: std::sync::Mutex::new(vec![Some(Arc::new(value))]),
        }
    }

    fn version(&self, index: usize) -> Option<Arc<T>> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)[index].clone()
    }

    fn latest(&self) -> (usize, Arc<T>) {
        loop {
            let index = self.current.fetch_add(0, Ordering::AcqRel);
            if let Some(value) = self.version(index) {
                return (index, value);
            }
        }
    }

    /// The current version, or one that was replaced at this very moment.
    pub(crate) fn load(&self) -> Guard<'_, T> {
        let index = self.current.load(Ordering::Acquire);
        self.settled.load(Ordering::Relaxed);
        Guard { value: self.version(index).unwrap_or_else(|| self.latest().1), settled: &self.settled }
    }

    /// The same as an owner.
    pub(crate) fn load_full(&self) -> Arc<T> {
        Arc::clone(&self.load())
    }

    fn replace(&self, before: usize, value: Arc<T>) -> bool {
        let index = {
            let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
            versions.push(Some(value));
            versions.len() - 1
        };
        if mutation!("arcswap_compares") {
            self.current.store(index, Ordering::Release);
        } else if self.current.compare_exchange(before, index, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return false;
        }
        self.settled.store(index, Ordering::Relaxed);
        let old = self.versions.lock().unwrap_or_else(PoisonError::into_inner)[before].take();
        // Outside the lock: it may be the last owner.
        drop(old);
        true
    }

    /// Replaces whatever is there.
    pub(crate) fn store(&self, value: Arc<T>) {
        while !self.replace(self.current.fetch_add(0, Ordering::AcqRel), value.clone()) {}
    }

    /// Replaces the current version by what `next` makes of it, again if another was faster. Returns the version that was replaced.
    pub(crate) fn rcu<R: Into<Arc<T>>>(&self, mut next: impl FnMut(&Arc<T>) -> R) -> Arc<T> {
        loop {
            let (index, value) = self.latest();
            if self.replace(index, next(&value).into()) {
                return value;
            }
        }
    }
}
