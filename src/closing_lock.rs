//! A lock that a closer does not wait for, with an end.
//!
//! Who has it may take its time: it writes to a disk. A closer that does not get the lock keeps its waker and goes. Whoever has had the lock looks, once it has let it go,
//! whether there is a close, and wakes the closers, who try again.
//!
//! ```text
//! closer                              holder
//! closed = true                       unlock
//! keep the waker                      fence(SeqCst)
//! fence(SeqCst)                       if closed: wake the closers
//! try the lock
//! ```
//!
//! Of the two fences one comes first. So either the closer gets the lock, or the holder sees the close; and then it wakes that closer too, whose waker was kept before it
//! tried the lock.
//!
//! `ci/loom.sh closing_lock` checks that.

use std::ops::DerefMut;
use std::sync::{PoisonError, TryLockError};
use std::task::Waker;

use crate::sync::atomic::{AtomicBool, Ordering, fence};
use crate::sync::{TryMutex, mutation};
use crate::wakers::Wakers;

/// What is under the lock, and how it has ended.
pub(crate) struct ClosingLock<T, A> {
    inner: TryMutex<Inner<T, A>>,
    closed: AtomicBool,
    closers: Wakers,
}

struct Inner<T, A> {
    value: T,
    end: Option<A>,
}

impl<T, A: Clone> ClosingLock<T, A> {
    pub(crate) fn new(value: T) -> Self {
        let inner = TryMutex::new(Inner { value, end: None });
        Self { inner, closed: AtomicBool::new(false), closers: Wakers::new() }
    }

    /// Waits for the lock and does something with the value, closed or not.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        self.hold(|inner| work(&mut inner.value))
    }

    /// The same, unless it is closed: `None`. After a close it waits for nobody; who waits already when the close comes may still get the lock, before the end.
    pub(crate) fn with_open<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        // Acquire, with the Release in `close`: whoever sees the close also sees what its caller did before.
        if self.closed.load(Ordering::Acquire) && !mutation!("closing_lock_sees_the_close") {
            return None;
        }
        self.hold(|inner| {
            let is_open = inner.end.is_none() || mutation!("closing_lock_sees_the_end");
            is_open.then(|| work(&mut inner.value))
        })
    }

    fn hold<R>(&self, work: impl FnOnce(&mut Inner<T, A>) -> R) -> R {
        // Dropped after the guard, and also if the work panics: it may call the user's code.
        let _wake = WakeClosers { closed: &self.closed, closers: &self.closers };
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut inner)
    }

    /// Closes it, and ends it with the answer of `end` unless it has ended; that is answered from then on. `None` where somebody has the lock: then `waker` is woken when it has been
    /// let go.
    pub(crate) fn close(&self, waker: &Waker, end: impl FnOnce(&mut T) -> A) -> Option<A> {
        // Release, with the Acquire in `with_open`.
        self.closed.store(true, Ordering::Release);
        if !mutation!("closing_lock_keeps_the_waker_first") {
            self.closers.register(waker);
        }
        if !mutation!("closing_lock_closer_fence") {
            fence(Ordering::SeqCst);
        }
        let Some(mut inner) = self.try_lock() else {
            if mutation!("closing_lock_keeps_the_waker_first") {
                self.closers.register(waker);
            }
            return None;
        };
        let answer = match &inner.end {
            Some(answer) if !mutation!("closing_lock_ends_once") => answer.clone(),
            _ => end(&mut inner.value),
        };
        inner.end = Some(answer.clone());
        drop(inner);
        // Others who have come while this one had the lock. Needs no fence: both this and their `register` take the list's lock.
        if !mutation!("closing_lock_closer_wakes") {
            self.closers.wake_all();
        }
        Some(answer)
    }

    fn try_lock(&self) -> Option<impl DerefMut<Target = Inner<T, A>>> {
        match self.inner.try_lock() {
            Ok(inner) => Some(inner),
            Err(TryLockError::Poisoned(inner)) => Some(inner.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Without the lock: nobody else has it.
    #[cfg(feature = "ndjson")]
    pub(crate) fn get_mut(&mut self) -> &mut T {
        &mut self.inner.get_mut().unwrap_or_else(PoisonError::into_inner).value
    }
}

/// Wakes the closers when it is dropped, if there is a close.
struct WakeClosers<'l> {
    closed: &'l AtomicBool,
    closers: &'l Wakers,
}

impl Drop for WakeClosers<'_> {
    fn drop(&mut self) {
        if !mutation!("closing_lock_holder_fence") {
            fence(Ordering::SeqCst);
        }
        // Relaxed: the fence orders it.
        if self.closed.load(Ordering::Relaxed) && !mutation!("closing_lock_holder_wakes") {
            self.closers.wake_all();
        }
    }
}
