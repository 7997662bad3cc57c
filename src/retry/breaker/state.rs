//! What a breaker's word says.
//!
//! | bits | meaning |
//! |---|---|
//! | 0, 1 | the state: `CLOSED`, `OPEN`, `HALF_OPEN`, `FORCED` |
//! | 2 | `STAGED`: closed, and some who were held are not yet woken |
//! | 3 | `DISABLED`: closed, and no failure counts |
//! | 4 and up | the failures in a row, while closed |
//!
//! The usual case, closed without a failure and without anyone held, is the word 0: a success needs to see no more than that.

use std::fmt;

use crate::sync::mutation;

pub(super) const CLOSED: u64 = 0;
pub(super) const OPEN: u64 = 1;
pub(super) const HALF_OPEN: u64 = 2;
/// Open until somebody says otherwise.
pub(super) const FORCED: u64 = 3;
pub(super) const STATE: u64 = 3;
pub(super) const STAGED: u64 = 4;
pub(super) const DISABLED: u64 = 8;
pub(super) const ONE_FAILURE: u64 = 16;

/// Whether an attempt that fails now counts.
pub(super) fn counts(word: u64) -> bool {
    word & (STATE | DISABLED) == CLOSED || mutation!("breaker_counts_while_closed")
}

/// What a [`Breaker`](crate::Breaker) lets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Everything. A breaker that is [disabled](crate::Breaker::disable) shows as closed.
    Closed,
    /// Nothing. A breaker that is [forced open](crate::Breaker::force_open) shows as open.
    Open,
    /// Probes.
    HalfOpen,
}

impl BreakerState {
    /// All states, in the order of the metrics' label values.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// The state as a metric's label value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }

    pub(super) fn of(word: u64) -> Self {
        match word & STATE {
            CLOSED => Self::Closed,
            HALF_OPEN => Self::HalfOpen,
            _ => Self::Open,
        }
    }
}

impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
