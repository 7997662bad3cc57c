//! Our metrics in the Prometheus text format, from the components' own counts.
//!
//! The exporter has them not, for three reasons: it cannot forget a series that has ended; it takes a histogram's samples, of which we have none, and its buckets and
//! their sum would be made of our buckets' bounds; and a series costs it ten times as much.

use std::fmt::Write as _;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use super::histogram::{BOUNDED, Buckets, bucket_bounds};
use super::names::{Metric, MetricKind, metrics};
use super::observations::{Observations, Series};

/// All our families that have series, in the order of their names and their labels. Each family ends with an empty line, as the exporter's do.
pub(super) fn families(readings: &Observations) -> Vec<String> {
    let mut samples: Vec<(&Series, Sample<'_>)> =
        readings.counters.iter().map(|(s, v)| (s, Sample::Counter(*v))).collect();
    samples.extend(readings.gauges.iter().map(|(s, v)| (s, Sample::Gauge(*v))));
    samples.extend(readings.histograms.iter().map(|(s, v)| (s, Sample::Histogram(v))));
    samples.sort_unstable_by_key(|(series, _)| (series.metric.name, &**series.name, series.extra));
    let bounds: Vec<String> = bucket_bounds().iter().map(f64::to_string).collect();
    let of_one = samples.chunk_by(|(a, _), (b, _)| a.metric.name == b.metric.name);
    of_one.map(|family| write_family(family, &bounds)).collect()
}

enum Sample<'a> {
    Counter(u64),
    Gauge(f64),
    Histogram(&'a Buckets),
}

fn write_family(family: &[(&Series, Sample<'_>)], bounds: &[String]) -> String {
    let Metric { name, help, kind, .. } = family[0].0.metric;
    let (kind, lines) = match kind {
        MetricKind::Counter => ("counter", 1),
        MetricKind::Gauge => ("gauge", 1),
        MetricKind::Histogram => ("histogram", BOUNDED + 3),
    };
    // A line has some hundred bytes.
    let mut out = String::with_capacity((2 + family.len() * lines) * 100);
    // The help texts are ours, and have nothing in them that needs an escape.
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    for (series, sample) in family {
        let labels = labels(series);
        let _ = match sample {
            Sample::Counter(value) => writeln!(out, "{name}{{{labels}}} {value}"),
            Sample::Gauge(value) => writeln!(out, "{name}{{{labels}}} {value}"),
            Sample::Histogram(buckets) => write_histogram(&mut out, name, &labels, buckets, bounds),
        };
    }
    out.push('\n');
    out
}

fn write_histogram(
    out: &mut String,
    name: &str,
    labels: &str,
    buckets: &Buckets,
    bounds: &[String],
) -> std::fmt::Result {
    let bucket = format!("{name}_bucket{{{labels},le=\"");
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
    writeln!(out, "{name}_sum{{{labels}}} {seconds}.{nanos:09}\n{name}_count{{{labels}}} {so_far}")
}

fn labels(series: &Series) -> String {
    let names = series.metric.labels;
    let mut text = format!("{}=\"{}\"", names[0], escape(&series.name));
    // Its values are ours.
    if let Some(value) = series.extra {
        let _ = write!(text, ",{}=\"{value}\"", names[1]);
    }
    text
}

/// A label's value as the format wants it.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The exporter's recorder without our metrics, which would be there twice.
pub(super) struct WithoutOurs<R>(pub(super) R);

fn is_ours(name: &str) -> bool {
    metrics().iter().any(|metric| metric.name == name)
}

impl<R: Recorder> Recorder for WithoutOurs<R> {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        if !is_ours(key.as_str()) {
            self.0.describe_counter(key, unit, description);
        }
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        if !is_ours(key.as_str()) {
            self.0.describe_gauge(key, unit, description);
        }
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        if !is_ours(key.as_str()) {
            self.0.describe_histogram(key, unit, description);
        }
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        if is_ours(key.name()) { Counter::noop() } else { self.0.register_counter(key, metadata) }
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        if is_ours(key.name()) { Gauge::noop() } else { self.0.register_gauge(key, metadata) }
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        if is_ours(key.name()) { Histogram::noop() } else { self.0.register_histogram(key, metadata) }
    }
}
