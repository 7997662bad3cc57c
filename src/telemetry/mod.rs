//! Metrics of every component, through the [`metrics`](https://docs.rs/metrics) crate.
//!
//! Components count for themselves, in plain atomics, and know no recorder. [`publish`] reads them all and hands their totals to the recorder
//! that is installed. So a write pays nothing for metrics, and a recorder may be installed late, or never.
//!
//! - **With Prometheus and no HTTP server**: `serve("127.0.0.1:9100")` (feature `prometheus`) does everything.
//! - **With Prometheus and an HTTP server**: `Exporter::install()` once (feature `prometheus`), and `render()` in the handler.
//! - **With an exporter of your own**: call [`publish`] right before it renders. If it gives no such hook, or pushes, start a
//!   [`Publisher`] with its interval.
//!
//! # Names and labels
//!
//! [`metrics`](metrics()) lists every metric. Their first label is the kind of the component (`queue`, `sink`, `breaker`, `broadcaster`, `channel`, `pool`) and
//! holds the name that it was built with. Nothing else that a user gives becomes a label: no event, no URL, no text of an error.
//!
//! Components of one kind and one name are **one series, their sum**: two queues called `audit` with 3 and 4 pending events are a
//! `sinkworks_queue_depth{queue="audit"}` of 7. Name them apart to see them apart. Names that differ only in backslashes may look the same in a
//! Prometheus exporter of your own.
//!
//! # When a component ends
//!
//! - **With a name that was given**, its counters stay in the sum, so that counters never fall while the process lives; its gauges go, and a gauge whose last
//!   component has ended is published as 0 for ten minutes. Each name that was ever used thus costs memory, here and in the recorder, until the
//!   process ends: name components after what they do, not after requests or connections that come and go.
//! - **Without a name** it has one that no other component will ever have, such as `queue-17`. Its series end ten minutes after it, or when a
//!   thousand such components have ended since: then the endpoint of the feature `prometheus` renders them no more. An exporter of your own forgets them if it has a timeout for what is idle. A
//!   recorder that is installed after that has missed them.
//!
//! # Latencies
//!
//! A write looks at no clock: what follows is measured by the worker, as samples.
//!
//! - `queue_wait_seconds`: at the beginning of a turn the queue notes the number of its newest event and the time; when that event has left, it records the
//!   difference. So it says how long a backlog takes, the delivery included, from when a worker saw it. There is one such note at a time: a long wait is one sample,
//!   however many events waited. The time that a queue waits for its thread is in it only where it spans a reading of the metrics.
//! - `write_duration_seconds`: what the destination took for one event that it was offered, with all attempts that a retry made at once; taken, refused
//!   or failed. Of each turn the first event is timed and then every 64th, and a turn ends when it becomes long: so a slow destination is timed at every
//!   second event or more, a fast one at some percent, and its slow moments weigh more than their share. A write that has not ended is not in it.
//! - `retry_backoff_seconds`: every wait before an attempt.
//! - `queue_last_delivery_timestamp_seconds`: once a turn.
//!
//! They have [30 buckets](bucket_bounds) from 1 µs to 268 s and beyond. For other recorders than that of the feature `prometheus`, see [`publish`].
//!
//! # Health and topology
//!
//! [`health`] says which pools make no progress, [`topology`] how the components are connected. The server of the feature `prometheus` answers with both.
//!
//! # State changes in the log
//!
//! With the feature `tracing`, what changes is told to the subscriber, with the target `sinkworks`: a breaker's state, an eviction, the want of room, dead letters,
//! the beginning and end of a queue's close with its account, a panic that was contained, a pool that cannot grow. Each component tells at most 10 of a kind at once
//! and one a second in the long run; the next one says how many were `suppressed`. Never what is in an event, nor the text of an error. A breaker
//! that changes several times at one moment is told with its last state.

#[cfg(feature = "prometheus")]
mod exposition;
mod handing_over;
#[cfg(test)]
mod handing_over_tests;
mod health;
mod histogram;
#[cfg(feature = "prometheus")]
mod http;
mod mermaid;
pub(crate) mod names;
pub(crate) mod notices;
mod observations;
#[cfg(feature = "prometheus")]
mod prometheus;
mod publish;
mod registry;
#[cfg(all(test, feature = "prometheus"))]
mod render_tests;
#[cfg(test)]
mod tests;
mod topology;

pub use health::{Stalled, health};
pub use histogram::bucket_bounds;
pub use names::{Metric, MetricKind, metrics};
#[cfg(feature = "prometheus")]
pub use prometheus::{Exporter, MetricsServer, ServeError, serve};
pub use publish::{Publisher, publish};
pub use topology::{Topology, Value, topology};

/// A count as a gauge's value. Above 2^53 it is rounded, which no depth reaches.
#[allow(clippy::cast_precision_loss, reason = "said in the documentation")]
pub(crate) fn as_gauge(count: u64) -> f64 {
    count as f64
}
#[cfg(feature = "test-util")]
pub(crate) use registry::audit_all;
#[cfg(any(test, feature = "test-util"))]
pub(crate) use registry::under_way::readings;
pub(crate) use {
    health::Watch,
    histogram::Histogram,
    notices::{Limit, MadeLate},
    observations::Observations,
    registry::{Observe, Registration, register},
    topology::short_type_name,
};
