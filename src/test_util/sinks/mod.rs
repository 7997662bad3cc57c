//! Sinks that record, fail, hesitate, take their time, block and panic.
//!
//! **Orderings.** In `failing`, `flaky`, `hesitating` and `recording` what a test reads is set with Release, or counted with `AcqRel`, and read with Acquire: a test that sees a sink closed, or
//! a write failed, sees what led to it.

use std::sync::{Mutex, MutexGuard, PoisonError};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes `id` and `poll_close` on to the sink that `self` wraps, and answers that it is closed once it is.
///
/// With `closed`, it notes that it has been asked to: a sink that answers for itself must answer that it is closed from then on.
macro_rules! closes_inner {
    ($($closed:ident)?) => {
        fn poll_close(&self, how: Shutdown, waker: &Waker) -> Poll<Result<CloseReport, CloseError>> {
            $(self.$closed.store(true, Ordering::Release);)?
            self.inner.poll_close(how, waker)
        }

        fn id(&self) -> Option<SinkId> {
            self.inner.id()
        }

        /// Has no id of its own, and is called like its type.
        fn describe(&self, topology: &mut crate::telemetry::Topology) {
            let name = crate::telemetry::short_type_name::<Self>();
            topology.stage(None, "test", &name, |topology| self.inner.describe(topology));
        }
    };
}

mod failing;
mod flaky;
mod gate;
mod hesitating;
mod panicking;
mod recording;

pub use failing::Failing;
pub use flaky::Flaky;
pub use gate::{Blocking, Gate};
pub use hesitating::{NotReadyYet, Slow};
pub use panicking::Panicking;
pub use recording::Recording;
