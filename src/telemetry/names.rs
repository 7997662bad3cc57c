//! Every metric of this crate, in one table. No other place writes a metric's name, so that the code, the documentation and
//! the dashboards cannot drift apart.

use metrics::Unit;

/// How a metric behaves over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MetricKind {
    /// It only rises, from 0 at the start of the process. Its name ends in `_total`.
    Counter,
    /// It rises and falls.
    Gauge,
    /// Durations, counted by size: see [`bucket_bounds`](super::bucket_bounds). Its name ends in `_seconds`. Prometheus has it as three families of series:
    /// `_bucket`, with one more label `le`, `_sum` and `_count`.
    Histogram,
}

/// One metric: the family of all series with its name.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// The name, with the prefix `sinkworks_`. It is valid for Prometheus as it stands.
    pub name: &'static str,
    /// Whether it is a counter, a gauge or a histogram.
    pub kind: MetricKind,
    /// One sentence on what is counted, and in which unit.
    pub help: &'static str,
    /// The labels, in order. The first holds the name that the component was given when it was built; a second, where there is
    /// one, has a fixed set of values.
    pub labels: &'static [&'static str],
    /// What the values count, for the recorders that want to know.
    pub(crate) unit: Unit,
}

/// By the end of the name, where Prometheus wants the unit.
const fn unit_of(name: &str) -> Unit {
    // `str::ends_with` is not for constants.
    match name.as_bytes() {
        [.., b'_', b's', b'e', b'c', b'o', b'n', b'd', b's'] => Unit::Seconds,
        [.., b'_', b'b', b'y', b't', b'e', b's'] => Unit::Bytes,
        _ => Unit::Count,
    }
}

/// Writes each metric once, as a static of its own and as a line of the list, so that none can be missing from the list.
macro_rules! table {
    ($($constant:ident: $kind:ident $name:literal [$($label:literal),+] $help:literal;)+) => {
        $(
            pub(crate) static $constant: Metric = Metric {
                name: concat!("sinkworks_", $name),
                kind: MetricKind::$kind,
                help: $help,
                labels: &[$($label),+],
                unit: unit_of($name),
            };
        )+
        static ALL: &[&Metric] = &[$(&$constant),+];
    };
}

table! {
    QUEUE_DEPTH: Gauge "queue_depth" ["queue"]
        "Events that the queue holds: waiting, or in flight.";
    QUEUE_CAPACITY: Gauge "queue_capacity" ["queue"]
        "The most events that the queue may hold; 0 without a bound.";
    QUEUE_HIGH_WATER: Gauge "queue_depth_high_water" ["queue"]
        "The most events that the queue has held, seen once a turn and at each scrape.";
    QUEUE_BYTES: Gauge "queue_bytes" ["queue"]
        "Bytes of the events that the queue holds, by its size function; 0 without a bound in bytes.";
    QUEUE_CAPACITY_BYTES: Gauge "queue_capacity_bytes" ["queue"]
        "The most bytes that the queue may hold; 0 without a bound in bytes.";
    QUEUE_REFUSED: Counter "queue_refused_total" ["queue"]
        "Writes that were refused for want of room; their writers still had the events.";
    QUEUE_DEAD_LETTERS: Counter "queue_dead_letters_total" ["queue", "outcome"]
        "Dead letters of dropped events, by whether their queue has taken them: written or lost.";
    QUEUE_ACCEPTED: Counter "queue_accepted_total" ["queue"]
        "Events that the queue has taken responsibility for.";
    QUEUE_DELIVERED: Counter "queue_delivered_total" ["queue"]
        "Events that the queue's destination has taken.";
    QUEUE_DROPPED: Counter "queue_dropped_total" ["queue", "reason"]
        "Accepted events that were lost, by reason.";
    QUEUE_WAIT: Histogram "queue_wait_seconds" ["queue"]
        "Time until events had left the queue, counted from when its worker saw that they were there; a sample, at most one a turn.";
    QUEUE_LAST_DELIVERY: Gauge "queue_last_delivery_timestamp_seconds" ["queue"]
        "Unix time at which the destination took an event last, noted once a turn; 0 before the first.";
    WRITE_DURATION: Histogram "write_duration_seconds" ["queue"]
        "Time that the queue's destination took for an event that it was offered; a sample, of the first event of each turn and every 64th of a long one.";
    WRITE_ATTEMPTS: Counter "write_attempts_total" ["sink", "outcome"]
        "Writes that the retrying sink tried, by outcome: ok, transient, permanent or closed.";
    RETRIES: Counter "retries_total" ["sink"]
        "Writes that repeated an earlier one that had failed.";
    RETRY_BACKOFF: Histogram "retry_backoff_seconds" ["sink"]
        "Time that events waited before an attempt, for a backoff, a breaker or the destination's own wish; every such wait.";
    BREAKER_STATE: Gauge "breaker_state" ["breaker", "state"]
        "1 for the state that the breaker is in, 0 for the others: closed, open, half_open.";
    BREAKER_TRANSITIONS: Counter "breaker_transitions_total" ["breaker", "to"]
        "Changes of the breaker's state, by the state it changed to.";
    BROADCASTER_SINKS: Gauge "broadcaster_sinks" ["broadcaster"]
        "Sinks that the broadcaster writes to.";
    BROADCASTER_WRITES: Counter "broadcaster_writes_total" ["broadcaster"]
        "Events that the broadcaster has offered to its sinks.";
    BROADCASTER_EVICTIONS: Counter "broadcaster_evictions_total" ["broadcaster"]
        "Sinks that the broadcaster removed because they had closed.";
    BROADCASTER_DROPPED: Counter "broadcaster_dropped_total" ["broadcaster", "reason"]
        "Events that one of the broadcaster's best-effort sinks did not take, by reason; one that two sinks did not take counts twice.";
    CHANNEL_DEPTH: Gauge "channel_depth" ["channel"]
        "Events that wait in the channel for its reader.";
    CHANNEL_LAGGED: Counter "channel_lagged_total" ["channel"]
        "Events that the channel's reader missed because it was too slow.";
    POOL_THREADS: Gauge "pool_threads" ["pool", "state"]
        "Threads of the pool, by what they do.";
    POOL_THREADS_MAX: Gauge "pool_threads_max" ["pool"]
        "The most threads that the pool may have.";
    POOL_READY: Gauge "pool_ready" ["pool"]
        "Queues with work that wait for a thread of the pool.";
    POOL_WAKEUPS: Counter "pool_wakeups_total" ["pool"]
        "Times that a parked thread of the pool was woken.";
    POOL_TIMERS: Gauge "pool_timers" ["pool"]
        "Timers that the pool's keeper holds, such as the waits before retries.";
}

/// All metrics of this crate, so that dashboards, alerts and documentation can be generated from the table that the code uses.
/// The order is the way of an event through a pipeline. Costs nothing: the list is static.
///
/// ```
/// use sinkworks::telemetry::{MetricKind, metrics};
///
/// let dropped = metrics().iter().find(|metric| metric.name == "sinkworks_queue_dropped_total").unwrap();
/// assert_eq!(dropped.kind, MetricKind::Counter);
/// assert_eq!(dropped.labels, ["queue", "reason"]);
/// ```
#[must_use]
pub fn metrics() -> &'static [&'static Metric] {
    ALL
}
