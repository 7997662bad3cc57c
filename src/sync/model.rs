//! The primitives that the models run on: loom's, and stand-ins for what loom does not see. Each stand-in is no stronger than the real one.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

pub(crate) use loom::sync::{Mutex, MutexGuard};

pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};
}
use atomic::{AtomicUsize, Ordering};

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

pub(crate) fn spin_loop() {
    loom::thread::yield_now();
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

/// Where a model's pool thread parks: a token under loom's mutex and condition variable, as `std::thread::park` is specified.
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

    /// Takes the token, waiting for it; with a timeout, which loom does not know, it does not wait at all: the time may be over at once.
    pub(crate) fn park(&self, timeout: Option<Duration>) {
        let mut token = super::lock(&self.token);
        while !*token && timeout.is_none() {
            token = self.wake.wait(token).unwrap_or_else(PoisonError::into_inner);
        }
        *token = false;
    }
}
