//! The word that says whether a mailbox needs a worker.
//!
//! | bits | state |
//! |---|---|
//! | none | idle: a writer that finds it [asleep](crate::intake) wakes it |
//! | `ACTIVE` | on a ready list, or having its turn: never on two lists, never two turns at once |
//! | `ACTIVE`, `WAKE` | the same, and something has happened that the turn may have missed: it looks again before it ends |
//! | `HOLD` | the first event waits for a timer or a waker: writers leave it alone |
//! | `ACTIVE` for ever | closed and done: later wakes do nothing |
//!
//! The race that matters: the drain finds nothing and goes idle while a writer pushes. The drain falls asleep first, in the word in which writers enter, and only from a count that shows
//! that nobody is between; then it goes idle here, unless somebody has woken it since. A writer that enters after the first step wakes it: before the second, which then fails, or after it, and then that
//! writer posts it.
//!
//! **Orderings.** Whoever wakes, and a turn that ends, releases what it has done (Release); `look` acquires it (Acquire). All steps are read-modify-writes, so that none hides an
//! earlier one's release. Each of them is a mutation of a model.

use crate::sync::atomic::{AtomicU8, Ordering};
use crate::sync::{mutation, ordering};

const IDLE: u8 = 0;
const ACTIVE: u8 = 1;
const WAKE: u8 = 2;
const HOLD: u8 = 4;

#[derive(Debug)]
pub(crate) struct RunWord(AtomicU8);

impl RunWord {
    pub(crate) fn new() -> Self {
        Self(AtomicU8::new(IDLE))
    }

    /// Something happened. Whether the caller must post the mailbox.
    pub(crate) fn wake(&self) -> bool {
        let before = self.0.fetch_or(ACTIVE | WAKE, ordering!(Release, "queue_wake_ordering"));
        before & ACTIVE == 0 || mutation!("queue_wake_posts_once")
    }

    /// The turn looks at everything from here on, and finds what the wakers did before, and the turn before this one.
    pub(crate) fn look(&self) {
        self.0.fetch_and(!(WAKE | HOLD), ordering!(Acquire, "queue_look_ordering"));
    }

    /// Ends the turn until a timer or a waker. `false`: something has happened meanwhile, look again.
    pub(crate) fn hold(&self) -> bool {
        if mutation!("queue_hold_ignores_wake") {
            self.0.store(HOLD, Ordering::Release);
            return true;
        }
        let release = ordering!(Release, "queue_hold_ordering");
        self.0.compare_exchange(ACTIVE, HOLD, release, Ordering::Relaxed).is_ok()
    }

    /// Ends the turn until the next write, which finds the drain asleep already. `false`: something has happened meanwhile, look again.
    pub(crate) fn rest(&self) -> bool {
        if mutation!("queue_rest_ignores_wake") {
            self.0.store(IDLE, Ordering::Release);
            return true;
        }
        let release = ordering!(Release, "queue_rest_ordering");
        self.0.compare_exchange(ACTIVE, IDLE, release, Ordering::Relaxed).is_ok()
    }
}
