//! Our histograms in the Prometheus text format, from the components' own counts: exact, and with every bucket from the start.
//!
//! The exporter cannot do this. It takes samples, of which we have none, and its buckets and their sum would be made of our buckets' bounds.

use std::fmt::Write as _;

use metrics::{Counter, Gauge, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use super::histogram::{BOUNDED, Buckets, bucket_bounds};
use super::names::{Metric, MetricKind, metrics};
use super::observations::{Observations, Series};

/// Every histogram with its series, in the order of their names. Each family ends with an empty line, as the exporter's do.
pub(super) fn histograms(readings: &Observations) -> String {
    let mut series: Vec<(&Series, &Buckets)> = readings.histograms.iter().collect();
    series.sort_unstable_by(|(a, _), (b, _)| (a.metric.name, &a.name).cmp(&(b.metric.name, &b.name)));
    let bounds: Vec<String> = bucket_bounds().iter().map(f64::to_string).collect();
    // A line has some hundred bytes.
    let mut out = String::with_capacity(series.len() * (BOUNDED + 3) * 100);
    for family in series.chunk_by(|(a, _), (b, _)| a.metric.name == b.metric.name) {
        let Metric { name, help, .. } = family[0].0.metric;
        // The help texts are ours, and have nothing in them that needs an escape.
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} histogram\n");
        for (series, buckets) in family {
            write_series(&mut out, series, buckets, &bounds);
        }
        out.push('\n');
    }
    out
}

fn write_series(out: &mut String, series: &Series, buckets: &Buckets, bounds: &[String]) {
    let Metric { name, labels, .. } = series.metric;
    let label = format!("{}=\"{}\"", labels[0], escape(&series.name));
    let bucket = format!("{name}_bucket{{{label},le=\"");
    let mut so_far: u64 = 0;
    // Most buckets are empty, so that the number is that of the one before: writing it anew would be half of the work.
    let mut number = "0\n".to_owned();
    let bounds = bounds.iter().map(String::as_str).chain(["+Inf"]);
    for (bound, count) in bounds.zip(buckets.counts) {
        if count > 0 {
            so_far = so_far.saturating_add(count);
            number = format!("{so_far}\n");
        }
        for part in [&bucket, bound, "\"} ", &number] {
            out.push_str(part);
        }
    }
    let (seconds, nanos) = (buckets.nanos / 1_000_000_000, buckets.nanos % 1_000_000_000);
    let _ = writeln!(out, "{name}_sum{{{label}}} {seconds}.{nanos:09}\n{name}_count{{{label}}} {so_far}");
}

/// A label's value as the format wants it.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The exporter's recorder without our histograms, which would be there twice.
pub(super) struct WithoutHistograms<R>(pub(super) R);

impl<R> WithoutHistograms<R> {
    fn is_ours(name: &str) -> bool {
        metrics().iter().any(|metric| metric.kind == MetricKind::Histogram && metric.name == name)
    }
}

impl<R: Recorder> Recorder for WithoutHistograms<R> {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.0.describe_counter(key, unit, description);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.0.describe_gauge(key, unit, description);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        if !Self::is_ours(key.as_str()) {
            self.0.describe_histogram(key, unit, description);
        }
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.0.register_counter(key, metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.0.register_gauge(key, metadata)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> metrics::Histogram {
        if Self::is_ours(key.name()) { metrics::Histogram::noop() } else { self.0.register_histogram(key, metadata) }
    }
}
