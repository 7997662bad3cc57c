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
//! `sinkworks_queue_depth{queue="audit"}` of 7. Name them apart to see them apart. Names that differ only in backslashes may look the same in the
//! Prometheus exporter.
//!
//! When a component ends, its counters stay in the sum, so that counters never fall while the process lives; its gauges go, and a gauge whose last component
//! has ended is published as 0 for ten minutes. Each name that was ever used thus costs memory, here and in the recorder, until the process
//! ends: name components after what they do, not after requests or connections that come and go.

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
pub(crate) use {
    health::Watch,
    histogram::Histogram,
    observations::Observations,
    registry::{Observe, Registration, register},
    topology::short_type_name,
};
