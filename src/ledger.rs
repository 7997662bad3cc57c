//! The accounting that every component which holds events shares: `accepted = delivered + dropped + pending`.

use std::fmt;
use std::ops::Index;

use crate::sync::{Mutex, lock};

/// Why an accepted event was not delivered. Every dropped event has exactly one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DropReason {
    /// There was no room: the destination answered [`Full`](crate::WriteError::Full).
    Overflow,
    /// The destination said that no repetition can succeed.
    Permanent,
    /// It failed, and either nobody retries here or the retry gave up.
    Exhausted,
    /// The destination has closed.
    DestinationClosed,
    /// It was pending when the shutdown's patience ended.
    Abandoned,
    /// The destination panicked while it had the event.
    Panicked,
}

impl DropReason {
    /// All reasons, in the order of the metrics' label values.
    pub const ALL: [Self; 6] =
        [Self::Overflow, Self::Permanent, Self::Exhausted, Self::DestinationClosed, Self::Abandoned, Self::Panicked];

    /// The reason as a metric's label value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Overflow => "overflow",
            Self::Permanent => "permanent",
            Self::Exhausted => "exhausted",
            Self::DestinationClosed => "destination_closed",
            Self::Abandoned => "abandoned",
            Self::Panicked => "panicked",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Dropped events by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped([u64; DropReason::ALL.len()]);

impl Dropped {
    /// Events dropped for `reason`.
    #[must_use]
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// Events dropped for any reason.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(crate) fn add(&mut self, reason: DropReason, events: u64) {
        self.0[reason as usize] += events;
    }
}

impl Index<DropReason> for Dropped {
    type Output = u64;

    fn index(&self, reason: DropReason) -> &u64 {
        &self.0[reason as usize]
    }
}

/// What one component accepted and what became of it: `accepted = delivered + dropped + pending`, always, in every
/// snapshot. While events move, a snapshot may show the newest of them as pending when they have just been delivered, never the
/// reverse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Ledger {
    /// Writes that were answered with `Ok`.
    pub accepted: u64,
    /// Events that the destination took.
    pub delivered: u64,
    /// Events that were lost, by reason.
    pub dropped: Dropped,
    /// Events of which nothing is decided yet: waiting, or in flight.
    pub pending: u64,
}

impl Ledger {
    /// Whether the sum holds.
    ///
    /// ```
    /// assert!(sinkworks::Ledger::default().balances());
    /// ```
    #[must_use]
    pub fn balances(&self) -> bool {
        self.accepted == self.delivered + self.dropped.total() + self.pending
    }

    /// The same, once it is decided that of the pending events all but `in_flight` are given up.
    pub(crate) fn abandoning(mut self, in_flight: u64) -> Self {
        let in_flight = in_flight.min(self.pending);
        self.dropped.add(DropReason::Abandoned, self.pending - in_flight);
        self.pending = in_flight;
        self
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, delivered, dropped, pending } = self;
        write!(f, "accepted={accepted} delivered={delivered} dropped={} pending={pending}", dropped.total())
    }
}

/// Counts dropped events. Delivered ones are not counted: they are those that left and were not dropped.
///
/// Behind a lock, which only drops and snapshots take: so a drop and the departure of its event are one step to whoever
/// looks, and no snapshot takes one event for two.
#[derive(Debug, Default)]
pub(crate) struct DropCounters(Mutex<Dropped>);

impl DropCounters {
    /// Counts, or looks, in one step with whatever else happens in `step`.
    pub(crate) fn step<R>(&self, step: impl FnOnce(&mut Dropped) -> R) -> R {
        step(&mut lock(&self.0))
    }
}
