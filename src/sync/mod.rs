//! The one switch between the real primitives and loom's. Whatever a model must see is named through this module.
//!
//! The switch is a cfg of this crate's own, `sinkworks_loom`, so that a `--cfg loom` meant for another crate changes nothing here.
//!
//! [`mutation!`] marks a step that a protocol needs. In a normal build it is the constant `false`; a model may switch one on and must
//! then fail. [`ordering!`] does the same for the ordering of an atomic step, which is then `Relaxed`. Steps that no interleaving is needed to miss are left out
//! under the tests instead: with `--cfg sinkworks_mutated` the environment variable `SINKWORKS_MUTATION` names one, and `ci/mutations.sh` runs the test
//! that must then fail. `loom-tests/README.md` has the list.

#[cfg(not(sinkworks_loom))]
mod real;
#[cfg(not(sinkworks_loom))]
pub(crate) use real::*;

#[cfg(sinkworks_loom)]
mod model;
#[cfg(sinkworks_loom)]
pub(crate) use model::*;

mod seat;
#[cfg(sinkworks_loom)]
pub(crate) use seat::Seat as RealSeat;
#[cfg(not(sinkworks_loom))]
pub(crate) use seat::Seat;

/// Locks a mutex whose data no panic can leave half-changed: nothing that may panic runs while one is held, or it is caught.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
