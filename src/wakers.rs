//! Lists of whom to wake.
//!
//! [`Wakers`] is for what happens once (a close). [`WaitList`] is for what happens again and again (room in a queue, a probe's end):
//! waiters are woken in the order they came, and one that goes away passes its wake on.
//!
//! The protocol that loses no wake-up (`waiter` on the left, `notifier` on the right):
//!
//! ```text
//! register: insert the waker, count it        make the condition true
//! fence(SeqCst)                               fence(SeqCst)
//! check the condition once more               if the count is not 0: wake
//! ```
//!
//! One of the two sees the other's write, because both fences are in one total order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Waker;

use crate::contain::contain;
use crate::sync::atomic::{AtomicUsize, Ordering, fence};
use crate::sync::{Mutex, lock, mutation};

/// Whom to wake when something ends. A sink whose close is pending keeps one.
#[derive(Debug, Default)]
pub struct Wakers(Mutex<Vec<Waker>>);

impl Wakers {
    /// An empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `waker`, unless the list has one that wakes the same.
    pub fn register(&self, waker: &Waker) {
        let mut wakers = lock(&self.0);
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            wakers.push(waker.clone());
        }
    }

    /// Empties the list and wakes everyone that was in it.
    pub fn wake_all(&self) {
        // Woken outside the lock: a waker may call back.
        let wakers = std::mem::take(&mut *lock(&self.0));
        wakers.into_iter().for_each(wake);
    }
}

/// The waker is the user's code: a panic in one must keep neither the others from theirs, nor the caller from what it has to do.
fn wake(waker: Waker) {
    contain(|| waker.wake());
}

/// Who waits for something that comes again and again, in the order they came.
#[derive(Debug, Default)]
pub(crate) struct WaitList {
    waiting: AtomicUsize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    wakers: BTreeMap<u64, Waker>,
}

impl WaitList {
    /// Puts `waker` into the list. The caller checks its condition once more afterwards.
    ///
    /// The waker that it replaces is given back: its drop is the user's code, and not to be run under a lock of the caller's.
    pub(crate) fn register(self: &Arc<Self>, ticket: &mut Option<Ticket>, waker: Waker) -> Option<Waker> {
        let mut inner = lock(&self.inner);
        let key = if let Some(ticket) = ticket {
            ticket.key
        } else {
            let key = inner.next;
            inner.next += 1;
            *ticket = Some(Ticket { list: Some(self.clone()), key });
            key
        };
        let replaced = inner.wakers.insert(key, waker);
        // Relaxed: the fence orders it before the caller's check.
        self.waiting.store(inner.wakers.len(), Ordering::Relaxed);
        drop(inner);
        if !mutation!("room_register_fence") {
            fence(Ordering::SeqCst);
        }
        replaced
    }

    /// Whether anyone waits. The caller has made the condition true and fenced.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) == 0
    }

    /// Wakes the first `n`.
    pub(crate) fn wake(&self, n: usize) {
        self.pop(n).into_iter().for_each(wake);
    }

    /// Takes out the first `n`, for the caller to wake once it holds no lock: a waker is the user's code and may call back.
    #[must_use]
    pub(crate) fn pop(&self, n: usize) -> Vec<Waker> {
        let mut inner = lock(&self.inner);
        let mut popped = Vec::new();
        while popped.len() < n {
            let Some((_, waker)) = inner.wakers.pop_first() else { break };
            popped.push(waker);
        }
        self.waiting.store(inner.wakers.len(), Ordering::Relaxed);
        popped
    }

    pub(crate) fn wake_all(&self) {
        self.wake(usize::MAX);
    }

    /// Takes a waiter out, and says whether it was still waiting.
    fn remove(&self, key: u64) -> bool {
        let mut inner = lock(&self.inner);
        let waited = inner.wakers.remove(&key);
        self.waiting.store(inner.wakers.len(), Ordering::Relaxed);
        // The waker is dropped by the caller's statement, outside the lock.
        drop(inner);
        waited.is_some()
    }
}

/// A place in a [`WaitList`]. Dropped before it is [spent](Self::spend), it leaves the list, or passes the wake that it got on to the next.
#[derive(Debug)]
pub(crate) struct Ticket {
    list: Option<Arc<WaitList>>,
    key: u64,
}

impl Ticket {
    /// The place's number, which no other of the list has.
    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    /// Whether it has not been woken since it was last registered.
    pub(crate) fn is_waiting(&self) -> bool {
        self.list.as_ref().is_some_and(|list| lock(&list.inner).wakers.contains_key(&self.key))
    }

    /// The waiter has what it waited for: a wake that it got is used up.
    pub(crate) fn spend(mut self) {
        if let Some(list) = self.list.take() {
            list.remove(self.key);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(list) = self.list.take() {
            if !list.remove(self.key) && !mutation!("ticket_hands_its_wake_on") {
                list.wake(1);
            }
        }
    }
}
