//! Giving an event up while the breaker lets nothing pass, instead of holding it.

use super::{Breaker, Permit};
use crate::delivery::Delivery;
use crate::error::Failure;
use crate::retry::strategy::{Proceed, RetryStrategy, Verdict};
use crate::telemetry::Topology;

/// A [`Breaker`] that fails fast: what [`Breaker::fail_fast`] makes.
#[derive(Debug, Clone)]
pub struct FailFast(pub(super) Breaker);

impl RetryStrategy for FailFast {
    type State = Permit;

    fn proceed(&self, permit: &mut Permit, delivery: &Delivery<'_>) -> Proceed {
        match self.0.proceed(permit, delivery) {
            // With what is kept of the event its place among the held goes, to another.
            Proceed::Wait(_) => Proceed::GiveUp,
            answer => answer,
        }
    }

    fn success(&self, permit: &mut Permit, delivery: &Delivery<'_>) {
        self.0.success(permit, delivery);
    }

    fn failure(&self, permit: &mut Permit, delivery: &Delivery<'_>, failure: &Failure) -> Verdict {
        self.0.failure(permit, delivery, failure)
    }

    fn describe(&self, topology: &mut Topology) {
        self.0.describe(topology);
    }
}
