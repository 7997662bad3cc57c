//! A circuit breaker that delays and never drops: the public handle. The parts:
//!
//! | file | what it has |
//! |---|---|
//! | `state` | the word that says everything to whoever passes |
//! | `machine` | the transitions |
//! | `hold` | who is held, and who probes |
//! | `permit` | what is remembered about one event |
//! | `window` | the share of failures in a sliding time |
//! | `control` | opening, closing and disabling by hand |
//! | `fail_fast` | giving up instead of holding |
//! | `builder` | the options |
//!
//! What `ci/loom.sh breaker` checks:
//!
//! | step | model |
//! |---|---|
//! | concurrent failures: none is lost, it opens once | `breaker_concurrent_failures`, `breaker_failures_by_rate` |
//! | the operator's word against attempts and probes | `breaker_control_against_attempts`, `breaker_control_against_rate`, `breaker_control_against_probe` |
//! | the exact number of probes | `breaker_probe_count_is_exact` |
//! | closing wakes in stages and leaves nobody | `breaker_close_leaves_nobody` |
//! | a probe lost by its drop, by its lease's end, or answering late | `breaker_probe_is_dropped`, `breaker_lease_ends`, `breaker_late_answer` |
//!
//! The heralds and those whom opening wakes are not needed for that: who is held also comes by itself at the time it was told, which the models leave out.

mod builder;
mod control;
mod fail_fast;
mod hold;
mod machine;
mod permit;
mod state;
mod window;

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

pub use builder::BreakerBuilder;
pub use fail_fast::FailFast;
pub use permit::Permit;
pub use state::BreakerState;

use crate::delivery::Delivery;
use crate::error::Failure;
use crate::name::Name;
use crate::retry::strategy::{Proceed, RetryStrategy, Verdict};
use crate::sink::SinkId;
use crate::sync::atomic::Ordering;
use crate::telemetry::Topology;
use machine::Machine;
use state::{CLOSED, FORCED, STATE};

/// Lets everything pass until too many attempts have failed, then nothing for a while, then a few probes: one success closes it again.
///
/// Too many is a number of failures in a row, or a [share of the attempts](BreakerBuilder::failure_rate) in a sliding time, or either.
///
/// It *holds*: a queue whose breaker is open keeps its events, costs no thread and no work, and loses nothing. Below the
/// threshold a failed attempt is repeated at once; put a backoff before it to wait there too, and a limit around both to give up in the
/// end: `breaker.with_backoff(backoff).limited(limit)`, see [`RetryStrategy`].
///
/// A handle: clones are the same breaker, so that several sinks with one destination share it. A success costs a load, a failure a
/// compare-exchange, whoever is held a lock. With a failure rate both also read the clock and count, without a lock.
///
/// By hand it can be [forced open](Self::force_open), [closed](Self::close) and [disabled](Self::disable).
///
/// ```
/// use std::time::Duration;
/// use sinkworks::{Breaker, BreakerState, Queue, Sink, SinkExt, sink_fn};
///
/// let breaker = Breaker::new(5, Duration::from_secs(1));
/// let first: Queue<u32> = sink_fn(|_: &u32| Ok(())).retrying(breaker.clone()).queued();
/// let second: Queue<u32> = sink_fn(|_: &u32| Ok(())).retrying(breaker.clone()).queued();
/// assert_eq!(breaker.state(), BreakerState::Closed);
/// first.write(&1)?;
/// second.write(&2)?;
/// # Ok::<(), sinkworks::WriteError>(())
/// ```
#[derive(Clone)]
pub struct Breaker(Arc<Machine>);

impl Breaker {
    /// Opens for `backoff` after `threshold` failures in a row. A threshold of 0 means 1; a backoff of zero makes it half-open at once.
    #[must_use]
    pub fn new(threshold: u32, backoff: Duration) -> Self {
        let id = SinkId::unique();
        Self::builder().threshold(threshold.max(1)).backoff(backoff).assemble(id, Name::default("breaker", id))
    }

    /// A breaker with options that are checked.
    pub fn builder() -> BreakerBuilder {
        BreakerBuilder::new()
    }

    /// This breaker as a strategy that gives an event up instead of holding it: while the breaker lets nothing pass, the answer is an
    /// [exhausted](crate::Class::Exhausted) failure at once, with the event's last error, or with [`NotAttempted`](crate::NotAttempted) as its cause. For a sink
    /// that has somewhere else to go: see [`Fallback`](crate::Fallback). Behind a queue alone it drops events.
    ///
    /// The breaker is the same: sinks that hold and sinks that fail fast can share it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sinkworks::{Breaker, Class, Failure, Sink, SinkExt, WriteError, sink_fn};
    ///
    /// let breaker = Breaker::new(1, Duration::from_secs(60));
    /// let down = sink_fn(|_: &u32| Err(Failure::transient("down").into())).retrying(breaker.fail_fast());
    /// for _ in 0..2 {
    ///     let Err(WriteError::Failed(failure)) = down.write(&1) else { panic!("the breaker is open") };
    ///     assert_eq!(failure.class(), Class::Exhausted);
    /// }
    /// assert_eq!(down.stats().transient, 1); // the second was not attempted
    /// ```
    #[must_use]
    pub fn fail_fast(&self) -> FailFast {
        FailFast(self.clone())
    }

    /// What it lets pass. An open breaker shows as open until somebody asks after its time.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        BreakerState::of(self.0.word())
    }

    /// How often it went into `state`.
    #[must_use]
    pub fn transitions_to(&self, state: BreakerState) -> u64 {
        self.0.transitions[state as usize].load(Ordering::Relaxed)
    }

    /// Whether a success that passes now has nothing to do.
    #[cfg(sinkworks_loom)]
    pub(crate) fn is_at_rest(&self) -> bool {
        self.0.word() == CLOSED
    }

    /// The name given at build time.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }
}

impl RetryStrategy for Breaker {
    type State = Permit;

    fn proceed(&self, permit: &mut Permit, delivery: &Delivery<'_>) -> Proceed {
        let state = self.0.word() & STATE;
        if state == FORCED {
            // Nothing passes, a probe that has not begun included.
            permit.lease = None;
        } else if permit.lease.is_some() {
            return Proceed::Now;
        }
        if state == CLOSED {
            permit.pass(None);
            return Proceed::Now;
        }
        self.0.ask(permit, delivery)
    }

    fn success(&self, permit: &mut Permit, delivery: &Delivery<'_>) {
        self.0.succeed(mem::take(&mut permit.lease), delivery);
    }

    fn failure(&self, permit: &mut Permit, delivery: &Delivery<'_>, _: &Failure) -> Verdict {
        self.0.fail(mem::take(&mut permit.lease), delivery.now());
        Verdict::Retry
    }

    fn describe(&self, topology: &mut Topology) {
        topology.link(self.0.id, "breaker");
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker")
            .field("name", &self.0.name)
            .field("state", &self.state())
            .field("forced_open", &self.is_forced_open())
            .field("disabled", &self.is_disabled())
            .field("threshold", &self.0.threshold)
            .field("backoff", &self.0.backoff)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(sinkworks_loom)))]
mod tests {
    use super::*;

    fn delivery() -> Delivery<'static> {
        Delivery::from_thread()
    }

    fn failure() -> Failure {
        Failure::transient("told to fail")
    }

    /// Failures are counted in a row, also while those that were held are still being woken.
    #[test]
    fn one_success_resets_while_the_held_are_being_woken() {
        let breaker = Breaker::new(2, Duration::ZERO);
        let mut permits: Vec<Permit> = (0..4).map(|_| Permit::default()).collect();
        for permit in &mut permits[..2] {
            assert_eq!(breaker.proceed(permit, &delivery()), Proceed::Now);
            breaker.failure(permit, &delivery(), &failure());
        }
        assert_eq!(breaker.state(), BreakerState::Open);
        // Its time is over: the first one asked is the probe, the others are held.
        let mut probe = Permit::default();
        assert_eq!(breaker.proceed(&mut probe, &delivery()), Proceed::Now);
        assert!(permits.iter_mut().all(|permit| breaker.proceed(permit, &delivery()) != Proceed::Now));
        breaker.success(&mut probe, &delivery());
        for _ in 0..4 {
            breaker.failure(&mut probe, &delivery(), &failure());
            assert_eq!(breaker.state(), BreakerState::Closed, "one failure after a success");
            breaker.success(&mut probe, &delivery());
        }
    }
}
