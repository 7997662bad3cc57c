//! Where a thread sits while it parks, so that whoever wakes it needs to know only the place. The thread in a seat changes; whoever wakes it meets no lock.
//!
//! **The race.** Who unparks an empty seat wakes nobody. Two fences make up for that:
//!
//! ```text
//! sit:    put the thread into the seat        make the condition true
//!         fence(SeqCst)                       fence(SeqCst)                 // unpark
//! park:   until the condition is true         unpark who is in the seat, if somebody is
//! ```
//!
//! One of the two sees the other's write, because both fences are in one total order: either the thread is found, or it finds the condition true when it looks before
//! it parks. So a thread looks after it has sat down, and again after each park. `ci/loom.sh seat_sit_against_unpark` checks this file over stand-ins of `ArcSwapOption`
//! and of a thread's parking.

use std::sync::Arc;
use std::time::Duration;

use super::atomic::{Ordering, fence};
use super::{ArcSwapOption, Unparker, mutation, park};

#[derive(Default)]
pub(crate) struct Seat(ArcSwapOption<Unparker>);

impl Seat {
    /// The calling thread takes the seat.
    pub(crate) fn sit(&self) {
        self.0.store(Some(Arc::new(Unparker::new())));
        // Pairs with the one in `unpark`.
        if !mutation!("seat_sit_fence") {
            fence(Ordering::SeqCst);
        }
    }

    /// Wakes whoever sits here, now or at its next park.
    pub(crate) fn unpark(&self) {
        // Pairs with the one in `sit`.
        if !mutation!("seat_unpark_fence") {
            fence(Ordering::SeqCst);
        }
        if let Some(thread) = &*self.0.load() {
            thread.unpark();
        }
    }

    /// Parks the calling thread, which sits here. May return early.
    #[allow(clippy::unused_self, reason = "the models' seat keeps the parking state in itself")]
    pub(crate) fn park(&self, timeout: Option<Duration>) {
        park(timeout);
    }
}

impl std::fmt::Debug for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seat").finish_non_exhaustive()
    }
}
