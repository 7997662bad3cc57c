//! Where a thread sits while it parks, so that whoever wakes it needs to know only the place. The thread in a seat changes.
//!
//! **The race.** Who unparks an empty seat wakes nobody. The seat's lock makes up for that:
//!
//! ```text
//! sit:    lock, put the thread into the seat      make the condition true
//! park:   until the condition is true             lock, unpark who is in the seat, if somebody is      // unpark
//! ```
//!
//! Whoever has the lock second sees what the other did before: either the thread is found, or it finds the condition true when it looks before it parks. So a
//! thread looks after it has sat down, and again after each park. `ci/loom.sh seat_sit_against_unpark` checks this file over a stand-in of a thread's parking.
//!
//! **The lock** is one of readers and a writer. Only a thread that takes the seat writes, once in its life, so those who wake do not wait for each other, unless a
//! thread is just sitting down.

use std::sync::PoisonError;
use std::time::Duration;

use super::{RwLock, Unparker, mutation, park};

#[derive(Default)]
pub(crate) struct Seat(RwLock<Option<Unparker>>);

impl Seat {
    /// The calling thread takes the seat.
    pub(crate) fn sit(&self) {
        if !mutation!("seat_sit") {
            *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Unparker::new());
        }
    }

    /// Wakes whoever sits here, now or at its next park.
    pub(crate) fn unpark(&self) {
        if let Some(thread) = &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
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
