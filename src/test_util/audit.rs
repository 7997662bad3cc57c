//! Whether the books of every component are right.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::telemetry::audit_all;

/// How long something that must pass in a moment may last: a thread can lose its core in that moment.
const MOMENT: Duration = Duration::from_secs(2);

/// What was found wrong when components ended.
static NOTED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Notes what a component that ends has wrong.
pub(crate) fn note(found: Result<(), String>) {
    if let Err(violation) = found {
        eprintln!("sinkworks audit: {violation}");
        NOTED.lock().unwrap_or_else(PoisonError::into_inner).push(violation);
    }
}

/// Checks the books of every component of the process that is alive, at whatever moment this is, and of all that have ended. Answers what is
/// wrong with them.
///
/// [`Ledger::balances`](crate::Ledger::balances) cannot fail, since a ledger computes what was delivered. This compares counts that are kept apart: those that the
/// turn or the reader makes with the words that writers and the drain share, and what is pending with what is there.
#[must_use]
pub fn violations() -> Vec<String> {
    let began = Instant::now();
    loop {
        let noted = NOTED.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let found = audit_all();
        if !noted.is_empty() || found.is_empty() || began.elapsed() > MOMENT {
            return noted.into_iter().chain(found).collect();
        }
        // A writer is between taking a place and pushing, or has lost its core there.
        thread::sleep(Duration::from_millis(1));
    }
}

/// Checks the books of every component when it is dropped, at the end of a test, and panics if they are wrong. In a test that has failed
/// already it does nothing.
///
/// ```
/// use sinkworks::test_util::Audit;
/// use sinkworks::{Queue, Shutdown, Sink, sink_fn};
///
/// let _audit = Audit;
/// let queue = Queue::new(sink_fn(|_: &u32| Ok(())));
/// queue.send(7)?;
/// queue.close(Shutdown::Drain)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Audit;

impl Drop for Audit {
    fn drop(&mut self) {
        if !thread::panicking() {
            let violations = violations();
            assert!(violations.is_empty(), "the books are wrong: {violations:#?}");
        }
    }
}
