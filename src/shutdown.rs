//! How a pipeline ends: what to do with pending events, and the report of what became of them.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::CloseError;
use crate::ledger::{DropReason, Ledger};
use crate::sink::SinkId;

/// What becomes of the events that are pending when a sink is closed. Later calls can only make it stricter:
/// drain < until < abort, and an earlier deadline is stricter than a later one.
///
/// In every mode a write that a sink has already begun is left to end by itself: nothing can interrupt it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Every pending event gets one more attempt, without waiting for a backoff or a breaker. What fails is abandoned and
    /// counted. The time this takes is the time that the sinks take.
    Drain,
    /// Deliver with the usual retries until this time, then [`Abort`](Self::Abort). This is what a service wants.
    Until(Instant),
    /// Attempt nothing more. What is pending is abandoned and counted.
    Abort,
}

impl Shutdown {
    /// [`Until`](Self::Until) the time `grace` from now. A grace beyond what the clock can hold means about thirty years.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sinkworks::Shutdown;
    ///
    /// assert!(matches!(Shutdown::within(Duration::MAX), Shutdown::Until(_)));
    /// ```
    #[must_use]
    pub fn within(grace: Duration) -> Self {
        Self::Until(crate::clock::saturating_add(crate::sync::now(), grace))
    }

    /// The stricter of the two.
    #[must_use]
    pub fn escalate(self, other: Self) -> Self {
        match (self, other) {
            (Self::Until(a), Self::Until(b)) => Self::Until(a.min(b)),
            (a, b) if a.rank() >= b.rank() => a,
            (_, b) => b,
        }
    }

    fn rank(self) -> u8 {
        match self {
            Self::Drain => 0,
            Self::Until(_) => 1,
            Self::Abort => 2,
        }
    }
}

/// Ordered by strictness.
impl PartialOrd for Shutdown {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Shutdown {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Until(a), Self::Until(b)) => b.cmp(a),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }
}

/// What one component answers about its life when it has closed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ComponentReport {
    /// The component's name.
    pub name: Arc<str>,
    /// Everything it accepted, and what became of it. `pending` is what had not been decided: the events in flight.
    pub ledger: Ledger,
}

impl ComponentReport {
    /// A report for a component called `name`.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, ledger: Ledger) -> Self {
        Self { name: name.into(), ledger }
    }
}

/// What became of every event of a chain of sinks. It has one entry for each component that holds events, so that a
/// component reached on two ways, or closed by two callers, counts once.
#[derive(Debug, Clone, Default)]
pub struct CloseReport {
    components: BTreeMap<SinkId, ComponentReport>,
    errors: Vec<(Option<SinkId>, CloseError)>,
    /// What tells the errors apart, so that one which is merged on two ways counts once: the sink's id, or a number of its own.
    error_keys: Vec<SinkId>,
}

impl CloseReport {
    /// A report with nothing in it: what a sink answers that holds no events.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the entry of component `id`.
    pub fn insert(&mut self, id: SinkId, report: ComponentReport) {
        self.components.insert(id, report);
    }

    /// Notes that a sink below did not close well.
    pub fn push_error(&mut self, sink: Option<SinkId>, error: CloseError) {
        self.push_keyed(sink.unwrap_or_else(SinkId::unique), sink, error);
    }

    fn push_keyed(&mut self, key: SinkId, sink: Option<SinkId>, error: CloseError) {
        if !self.error_keys.contains(&key) {
            self.error_keys.push(key);
            self.errors.push((sink, error));
        }
    }

    /// Takes over the entries of `other`, a report of sinks further down.
    pub fn merge(&mut self, other: Self) {
        self.components.extend(other.components);
        for (key, (sink, error)) in other.error_keys.into_iter().zip(other.errors) {
            self.push_keyed(key, sink, error);
        }
    }

    /// Takes over the answer of the sink `id` further down.
    pub fn absorb(&mut self, id: Option<SinkId>, answer: Result<Self, CloseError>) {
        match answer {
            Ok(report) | Err(CloseError::Cycle(report)) => self.merge(report),
            Err(error) => self.push_error(id, error),
        }
    }

    /// The entry of the component with this id.
    #[must_use]
    pub fn component(&self, id: SinkId) -> Option<&ComponentReport> {
        self.components.get(&id)
    }

    /// All entries.
    pub fn components(&self) -> impl Iterator<Item = (SinkId, &ComponentReport)> {
        self.components.iter().map(|(id, report)| (*id, report))
    }

    /// The sinks that failed to close, each with its error.
    #[must_use]
    pub fn errors(&self) -> &[(Option<SinkId>, CloseError)] {
        &self.errors
    }

    /// Events given up at shutdown, over all components.
    #[must_use]
    pub fn abandoned(&self) -> u64 {
        self.components.values().map(|c| c.ledger.dropped.get(DropReason::Abandoned)).sum()
    }

    /// Events lost for whatever reason, over all components.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.components.values().map(|c| c.ledger.dropped.total()).sum()
    }

    /// Events that a sink was still writing when the wait for it ended: they may or may not have arrived.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.components.values().map(|c| c.ledger.pending).sum()
    }
}
