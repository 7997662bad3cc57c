//! What tests of pipelines need (feature `test-util`): time that stands still until told otherwise, sinks that record, fail and block, and a check that a
//! sink keeps the [contract](crate::Sink).
//!
//! With these and [`Pool::wait_idle`](crate::Pool::wait_idle) a test never sleeps and never guesses:
//!
//! ```
//! use std::time::Duration;
//! use sinkworks::test_util::{Failing, ManualClock, Recording};
//! use sinkworks::{Breaker, Pool, Queue, Shutdown, Sink, SinkExt};
//!
//! let clock = ManualClock::new();
//! let pool = Pool::builder().clock(clock.clock()).threads(1).build()?;
//! let seen = Recording::new();
//! let flaky = Failing::first(2, seen.clone());
//! let queue = Queue::builder(flaky.retrying(Breaker::new(1, Duration::from_secs(10)))).pool(&pool).build()?;
//!
//! queue.send("event")?;
//! pool.wait_idle();
//! assert!(seen.events().is_empty()); // the breaker is open
//! clock.advance(Duration::from_secs(10));
//! pool.wait_idle();
//! assert!(seen.events().is_empty()); // the probe failed
//! clock.advance(Duration::from_secs(10));
//! pool.wait_idle();
//! assert_eq!(seen.events(), ["event"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub(crate) mod audit;
mod contract;
mod seed;
mod sinks;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, ManualTime};

pub use audit::{Audit, violations};
pub use contract::check_contract;
pub use seed::Seed;
pub use sinks::{Blocking, Failing, Flaky, Gate, NotReadyYet, Panicking, Recording, Slow};

/// A clock that stands still until it is advanced. Clones are the same clock.
#[derive(Clone)]
pub struct ManualClock(Arc<ManualTime>);

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl ManualClock {
    /// A clock that shows the present.
    #[must_use]
    pub fn new() -> Self {
        Self(ManualTime::new())
    }

    /// What to give to [`PoolBuilder::clock`](crate::PoolBuilder::clock).
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.0.clock()
    }

    /// Lets time pass. Timers that are due have fired when [`Pool::wait_idle`](crate::Pool::wait_idle) returns.
    pub fn advance(&self, by: Duration) {
        self.0.advance(by);
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManualClock").field("now", &self.clock().now()).finish()
    }
}
